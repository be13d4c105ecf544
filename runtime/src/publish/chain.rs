//! `chain/`: the publisher's state. `prover/` is the proof system's; `history/<step>.json` keeps every checkpoint with its
//! proof and signature; `pending.json` says which checkpoint is being published; `staging/` is its payload.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use rpp_p2p::{Hash, PayloadFormat, Update};
use rpp_proofs::{Checkpoint, Commitment, Genesis, Prover, ProverError, Tip, next_commitment};
use serde::{Deserialize, Serialize};

use super::PublishError;
use crate::files::{
    Dir,
    sealed::{self, SealError},
};

pub(super) const STAGING: &str = "staging";
const PENDING: &str = "pending.json";
const HISTORY: &str = "history";
const PROVER: &str = "prover";
const LOCK: &str = ".lock";
const VERSION: u32 = 1;
/// A checkpoint with proof and signature takes some 15 KB.
const MAX_ENTRY: u64 = 1024 * 1024;

/// Damage in the files of a chain. The machine is at fault, or the program or person that changed them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainDamage {
    /// A file cannot be read.
    #[error("{name}: {source}")]
    Lost {
        /// Which.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// A file differs from what was written.
    #[error("{name}: {source}")]
    Seal {
        /// Which.
        name: String,
        /// What is wrong with it.
        source: SealError,
    },
    /// A file of the history does not contain the entry that its name says.
    #[error("{name} is not of this step or version")]
    OtherEntry {
        /// Which.
        name: String,
    },
    /// The prover's commitment belongs to another history.
    #[error("the prover's commitment does not follow from the history")]
    Commitment,
    /// A step is missing.
    #[error("step {step} does not follow step {newest}")]
    Gap {
        /// The step to be added.
        step: u64,
        /// The newest step of the history.
        newest: u64,
    },
    /// The prover is at another step than the publication that was interrupted.
    #[error("the prover stands elsewhere than {PENDING} says")]
    ProverElsewhere,
    /// Prover and history end at different steps.
    #[error("the prover's state and the history do not end at the same step")]
    Ends,
}

/// The part of the proof system that publishing needs.
pub(crate) trait Prove {
    /// The chain's last step.
    fn last(&self) -> Option<Tip>;
    /// Extends the chain by one step, durably.
    fn extend(&mut self, checkpoint: &Checkpoint) -> Result<(), ProverError>;
    /// Proves the chain's last step.
    fn prove(&self) -> Result<Vec<u8>, ProverError>;
}

impl Prove for Prover {
    fn last(&self) -> Option<Tip> {
        self.tip()
    }

    fn extend(&mut self, checkpoint: &Checkpoint) -> Result<(), ProverError> {
        Self::extend(self, checkpoint).map(drop)
    }

    fn prove(&self) -> Result<Vec<u8>, ProverError> {
        Self::prove(self)
    }
}

/// Opens the prover of a chain in a folder.
pub(crate) type OpenProver<'a> = &'a dyn Fn(&Path, &Genesis) -> Result<Box<dyn Prove>, ProverError>;

pub(super) fn open_prover(folder: &Path, genesis: &Genesis) -> Result<Box<dyn Prove>, ProverError> {
    Ok(Box::new(Prover::open(folder, genesis.clone())?))
}

/// One checkpoint of the history.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PublishedCheckpoint {
    version: u32,
    genesis: Hash,
    pub(super) format: PayloadFormat,
    pub(super) update: Update,
}

impl PublishedCheckpoint {
    pub(super) fn new(update: Update, format: PayloadFormat) -> Self {
        Self { version: VERSION, genesis: Hash::default(), format, update }
    }

    pub(super) fn step(&self) -> u64 {
        self.update.checkpoint.step
    }

    pub(super) fn height(&self) -> u64 {
        self.update.checkpoint.height
    }
}

/// The checkpoint that is being published.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) checkpoint: Checkpoint,
    pub(super) format: PayloadFormat,
}

#[derive(Serialize, Deserialize)]
struct PendingFile {
    version: u32,
    step: u64,
    height: u64,
    block_hash: Hash,
    state_root: Hash,
    payload_bytes: u64,
    format: PayloadFormat,
}

/// The chain's folder, open and locked.
#[derive(Debug)]
pub(super) struct ChainFolder {
    folder: Dir,
    history: Dir,
    genesis: Hash,
    /// The newest step in `history/`.
    newest: u64,
    _lock: File,
}

impl ChainFolder {
    pub(super) fn open(path: &Path, genesis: &Genesis) -> Result<Self, PublishError> {
        let failed = |source| PublishError::unwritten(path.to_owned(), source);
        let folder = Dir::create(path).map_err(failed)?;
        let lock = folder.open_write(LOCK).map_err(failed)?;
        match crate::lock::lock_soon(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PublishError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let history = folder.create_dir(HISTORY).map_err(failed)?;
        folder.remove_temporaries().and_then(|()| history.remove_temporaries()).map_err(failed)?;
        let newest = history.names().map_err(failed)?.iter().filter_map(|name| step_of(name)).max().unwrap_or(0);
        let genesis = Hash(genesis.commitment().to_bytes());
        let chain = Self { folder, history, genesis, newest, _lock: lock };
        chain.last()?;
        Ok(chain)
    }

    pub(super) fn folder(&self) -> &Dir {
        &self.folder
    }

    pub(super) fn prover_path(&self) -> PathBuf {
        self.folder.path().join(PROVER)
    }

    /// The newest checkpoint.
    pub(super) fn last(&self) -> Result<Option<PublishedCheckpoint>, PublishError> {
        if self.newest == 0 { Ok(None) } else { self.existing(self.newest).map(Some) }
    }

    /// The checkpoint of a step, if it was published.
    pub(super) fn entry(&self, step: u64) -> Result<Option<PublishedCheckpoint>, PublishError> {
        if step == 0 || step > self.newest { Ok(None) } else { self.existing(step).map(Some) }
    }

    /// The checkpoint at a height, if there is one; heights rise with the steps.
    pub(super) fn at_height(&self, height: u64) -> Result<Option<PublishedCheckpoint>, PublishError> {
        let (mut low, mut high) = (1, self.newest);
        while low <= high {
            let middle = low + (high - low) / 2;
            let entry = self.existing(middle)?;
            match entry.height().cmp(&height) {
                std::cmp::Ordering::Equal => return Ok(Some(entry)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle - 1,
            }
        }
        Ok(None)
    }

    fn existing(&self, step: u64) -> Result<PublishedCheckpoint, PublishError> {
        let name = file_name(step);
        let bytes = self.history.read(&name, MAX_ENTRY);
        let bytes = bytes.map_err(|source| self.damaged(ChainDamage::Lost { name: name.clone(), source }))?;
        let entry: PublishedCheckpoint =
            sealed::open(&bytes).map_err(|source| self.damaged(ChainDamage::Seal { name: name.clone(), source }))?;
        if entry.version != VERSION || entry.step() != step {
            return Err(self.damaged(ChainDamage::OtherEntry { name }));
        }
        if entry.genesis != self.genesis {
            return Err(PublishError::OtherChain {
                path: self.folder.path().to_owned(),
                found: entry.genesis,
                expected: self.genesis,
            });
        }
        Ok(entry)
    }

    /// Checks that the entry's commitment follows from the previous entry and the checkpoint.
    pub(super) fn check_link(&self, entry: &PublishedCheckpoint) -> Result<(), PublishError> {
        let update = &entry.update;
        let made = Commitment::from_bytes(update.previous_commitment.0)
            .map(|previous| next_commitment(&previous, &(&update.checkpoint).into()).to_bytes());
        if made == Ok(update.checkpoint.commitment.0) {
            return Ok(());
        }
        Err(self.damaged(ChainDamage::Commitment))
    }

    /// Adds a checkpoint to the history.
    pub(super) fn add(&mut self, entry: &PublishedCheckpoint) -> Result<(), PublishError> {
        let step = entry.step();
        if step != self.newest + 1 {
            return Err(self.damaged(ChainDamage::Gap { step, newest: self.newest }));
        }
        let bytes = self.seal(&PublishedCheckpoint { genesis: self.genesis, ..entry.clone() })?;
        self.history.write_atomic(&file_name(step), &bytes, 0o600).map_err(|source| self.io(HISTORY, source))?;
        self.newest = step;
        Ok(())
    }

    pub(super) fn pending(&self) -> Result<Option<Pending>, PublishError> {
        let bytes = match self.folder.read(PENDING, MAX_ENTRY) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io(PENDING, error)),
        };
        let file: PendingFile = sealed::open(&bytes)
            .map_err(|source| self.damaged(ChainDamage::Seal { name: PENDING.to_owned(), source }))?;
        let checkpoint = Checkpoint {
            step: file.step,
            height: file.height,
            block_hash: file.block_hash.0,
            state_root: file.state_root.0,
            payload_bytes: file.payload_bytes,
        };
        Ok(Some(Pending { checkpoint, format: file.format }))
    }

    pub(super) fn set_pending(&self, checkpoint: &Checkpoint, format: PayloadFormat) -> Result<(), PublishError> {
        let bytes = self.seal(&PendingFile {
            version: VERSION,
            step: checkpoint.step,
            height: checkpoint.height,
            block_hash: Hash(checkpoint.block_hash),
            state_root: Hash(checkpoint.state_root),
            payload_bytes: checkpoint.payload_bytes,
            format,
        })?;
        self.folder.write_atomic(PENDING, &bytes, 0o600).map_err(|source| self.io(PENDING, source))
    }

    pub(super) fn remove_pending(&self) -> Result<(), PublishError> {
        let removed = self.folder.remove_file(PENDING).and_then(|()| self.folder.sync());
        removed.map_err(|source| self.io(PENDING, source))
    }

    /// The payload of the publish in progress, if it is there.
    pub(super) fn staging(&self) -> Result<Option<Dir>, PublishError> {
        match self.folder.dir(STAGING) {
            Ok(folder) => Ok(Some(folder)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.io(STAGING, error)),
        }
    }

    pub(super) fn new_staging(&self) -> Result<Dir, PublishError> {
        self.remove_staging()?;
        self.folder.create_dir(STAGING).map_err(|source| self.io(STAGING, source))
    }

    pub(super) fn remove_staging(&self) -> Result<(), PublishError> {
        self.folder.remove_all(STAGING).map_err(|source| self.io(STAGING, source))
    }

    pub(super) fn damaged(&self, reason: ChainDamage) -> PublishError {
        PublishError::ChainDamaged { path: self.folder.path().to_owned(), reason }
    }

    fn seal(&self, value: &impl Serialize) -> Result<Vec<u8>, PublishError> {
        sealed::seal(value).map_err(|error| self.io("chain", error.into()))
    }

    fn io(&self, name: &str, source: io::Error) -> PublishError {
        PublishError::unwritten(self.folder.path().join(name), source)
    }
}

fn file_name(step: u64) -> String {
    format!("{step:020}.json")
}

fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_suffix(".json")?.parse().ok()?;
    (file_name(step) == name).then_some(step)
}
