//! Makes a snapshot of a file or folder, extends the chain by it, proves and signs (`docs/storage.md`, Publishing).
//!
//! It works beside a running node: it never opens the database, changes `store/` as [`crate::store`] says, and holds
//! the lock of `chain/` for its whole duration. A publish takes these steps in this order. The table also says what the
//! next publish does after a kill between two of them:
//!
//! | step | killed after it |
//! |---|---|
//! | the payload is read once: hashed, its outboard made, copied to `chain/staging/`, made durable | staging is removed |
//! | `chain/pending.json` says which checkpoint comes | both are removed: nothing was published |
//! | the prover's state takes the step, atomically | proof and signature are made and the snapshot is stored |
//! | proof and signature go to `chain/history/<step>.json` | put in place |
//! | payload, outboard and manifest appear in `store/` by one rename | the pending file is removed |
//! | `pending.json` is removed; old snapshots too, as `keep` says | - |
//!
//! Publishing the same height, block hash and content again gives the same answer, however much later, and restores the
//! payload if it was removed. A block hash that is not given is 32 zero bytes.

mod chain;
#[cfg(test)]
pub(crate) mod fake;
mod ingest;
mod input;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rpp_p2p::{Checkpoint, Hash, PayloadFormat, SnapshotHeader, Update, plan};
use rpp_proofs::{Genesis, GenesisError, ProverError, Signer};
use serde::Serialize;

pub use self::chain::ChainDamage;
pub use crate::tar::Findings;
use crate::{
    files::{self, shown},
    store::{DiskSpace, Lack, NoRoom, Offer, Space, Store, StoreError, lack},
    tar::TarError,
};
use chain::{ChainFolder, PublishedCheckpoint};

pub(crate) use chain::{OpenProver, Prove};
use ingest::Ingested;
use input::Input;

/// What to publish, and where.
#[derive(Debug)]
pub struct PublishRequest<'a> {
    /// `data/snapshots`.
    pub snapshots_dir: &'a Path,
    /// A file or a folder.
    pub input: &'a Path,
    /// At least 1, and above that of the last checkpoint.
    pub height: u64,
    /// `None` means 32 zero bytes.
    pub block_hash: Option<Hash>,
    /// `[publisher] chain_id`.
    pub chain_id: &'a str,
    /// The publisher's key.
    pub signer: &'a Signer,
    /// `[snapshots] keep`.
    pub keep: usize,
    /// Publish a folder even if it has links that every consumer's `unpack` refuses.
    pub allow_links: bool,
}

/// What was found out about the input before any work: everything that consumers will not get unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Whether the input is a folder; else it is a file, which may be a tar.
    pub is_folder: bool,
    /// Entries that [`unpack`](crate::unpack::unpack) will refuse.
    pub refused: Findings,
    /// Files and folders that are open to fewer users here than after `unpack`.
    pub private: Findings,
}

/// The result of a publish; in JSON it has the fields of `rpp-node publish --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // named and defined in `docs/storage.md`
pub struct Published {
    pub root: Hash,
    pub height: u64,
    pub step: u64,
    pub bytes: u64,
    pub format: PayloadFormat,
    pub commitment: Hash,
    pub genesis: Hash,
    pub publisher: Hash,
}

/// The stages of a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishProgress {
    /// Findings that the publisher should know; sent before any work.
    Surveyed(Arc<Survey>),
    /// An earlier publish that was killed is completed first.
    Completing {
        /// Its height.
        height: u64,
    },
    /// The payload is being read, hashed and copied.
    Reading {
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The copy is being made durable.
    Flushing,
    /// The prover is being opened. This takes seconds, whatever the payload's size.
    Preparing,
    /// The chain is being extended by the step.
    Extending,
    /// The proof is being made. This takes seconds, whatever the payload's size.
    Proving,
    /// The payload is being moved into the store.
    Placing,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The operator's fault: heights must rise.
    #[error(
        "height {height} is not above the last published height {last}, and not a repetition of what was published there"
    )]
    NotAbove {
        /// The height that was given.
        height: u64,
        /// The last published height.
        last: u64,
    },
    /// The operator's fault: heights begin at 1.
    #[error("height must be at least 1")]
    HeightZero,
    /// The operator's fault: the input cannot be published.
    #[error("{} is neither a file nor a directory", shown(.path))]
    Unsupported {
        /// The input.
        path: PathBuf,
    },
    /// The operator's fault: the input cannot be read, or it changed meanwhile.
    #[error(transparent)]
    Input(#[from] TarError),
    /// The operator's fault: consumers could not unpack it.
    #[error(
        "every consumer's `unpack` would refuse {} of its links, first \"{}\": {}; change or remove them, \
         or publish them all the same with --allow-links",
        .0.total, first(.0).0, first(.0).1
    )]
    RefusedLinks(Findings),
    /// The operator's fault: the chain id is not valid.
    #[error("[publisher] chain_id: {0}")]
    Genesis(#[from] GenesisError),
    /// The operator's fault: the folder has another publisher's chain.
    #[error(
        "{path} belongs to the chain with genesis {found}, key and chain_id make {expected}: \
         restore [publisher] key_file and chain_id, or use another data_dir"
    )]
    OtherChain {
        /// The chain's folder.
        path: PathBuf,
        /// The genesis of that chain.
        found: Hash,
        /// The genesis of this publisher's chain.
        expected: Hash,
    },
    /// Another publish is running.
    #[error("another publish is running: {path} is locked")]
    InUse {
        /// The chain's folder.
        path: PathBuf,
    },
    /// The machine's fault: the chain's files contradict each other.
    #[error("{path} is damaged: {reason}; restore the chain folder from a backup")]
    ChainDamaged {
        /// The chain's folder.
        path: PathBuf,
        /// What is wrong.
        #[source]
        reason: ChainDamage,
    },
    /// The machine's fault: the disk is full.
    #[error("not enough disk space{}: {needed} bytes are needed, {free} are free", crate::store::place(.path.as_ref()))]
    Full {
        /// The file whose write failed; `None` before anything is written.
        path: Option<PathBuf>,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The machine's fault: a write failed for lack of room, although bytes are free.
    #[error("cannot write {path}")]
    NoRoom {
        /// The file whose write failed.
        path: PathBuf,
        /// What was lacking.
        #[source]
        reason: NoRoom,
    },
    /// The machine's fault: this processor cannot prove.
    #[error(transparent)]
    Cpu(#[from] rpp_proofs::CpuError),
    /// The machine's fault: proving failed.
    #[error("the chain could not be extended or proven")]
    Prover(#[source] ProverError),
    /// The machine's fault: the store failed.
    #[error(transparent)]
    Store(StoreError),
    /// The machine's fault: reading or writing failed.
    #[error("cannot write {path}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// The first finding, escaped.
fn first(findings: &Findings) -> (&str, &str) {
    findings.first.first().map_or(("", ""), |(path, what)| (path, what))
}

impl PublishError {
    /// A file could not be made or written.
    fn unwritten(path: PathBuf, source: std::io::Error) -> Self {
        let folder = path.parent().unwrap_or(&path).to_owned();
        Self::lacking(path, source, 0, &DiskSpace, &folder)
    }

    /// The same for a write of `needed` bytes; `folder`: whose file system has to take them.
    fn lacking(path: PathBuf, source: std::io::Error, needed: u64, space: &dyn Space, folder: &Path) -> Self {
        match lack(source, needed, space, folder) {
            Ok(Lack::Bytes { free }) => Self::Full { path: Some(path), needed, free },
            Ok(Lack::Room(reason)) => Self::NoRoom { path, reason },
            Err(source) => Self::Io { path, source },
        }
    }
}

impl From<ProverError> for PublishError {
    fn from(error: ProverError) -> Self {
        match error {
            ProverError::Io { path, source } if files::is_full(&source) => Self::unwritten(path, source),
            other => Self::Prover(other),
        }
    }
}

impl From<StoreError> for PublishError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full { path, needed, free } => Self::Full { path, needed, free },
            StoreError::NoRoom { path, reason } => Self::NoRoom { path, reason },
            other => Self::Store(other),
        }
    }
}

/// Publishes. Blocks while it reads the input, and then some seconds for the proof.
///
/// # Errors
/// See [`PublishError`]. On an error nothing was published, and earlier snapshots are unchanged.
pub fn publish(
    request: &PublishRequest<'_>,
    progress: &mut dyn FnMut(PublishProgress),
) -> Result<Published, PublishError> {
    publish_with(request, Arc::new(DiskSpace), progress)
}

/// [`publish`] with another source for the free space.
///
/// # Errors
/// As [`publish`].
pub fn publish_with(
    request: &PublishRequest<'_>,
    space: Arc<dyn Space>,
    progress: &mut dyn FnMut(PublishProgress),
) -> Result<Published, PublishError> {
    rpp_proofs::check_cpu()?;
    run(request, space, &chain::open_prover, progress)
}

pub(crate) fn run(
    request: &PublishRequest<'_>,
    space: Arc<dyn Space>,
    open_prover: OpenProver<'_>,
    progress: &mut dyn FnMut(PublishProgress),
) -> Result<Published, PublishError> {
    if request.height == 0 {
        return Err(PublishError::HeightZero);
    }
    let genesis = Genesis::new(request.chain_id.to_owned(), vec![request.signer.public()], 1)?;
    let input = survey(request, progress)?;
    let store = Store::open_with(request.snapshots_dir, space)?;
    let chain = ChainFolder::open(&request.snapshots_dir.join("chain"), &genesis)?;
    let mut publisher = Publishing { request, input, genesis, store, chain, open_prover, prover: None, progress };
    publisher.complete_pending()?;
    let published = match publisher.chain.at_height(request.height)? {
        Some(entry) => publisher.repeat(&entry)?,
        None => publisher.publish()?,
    };
    publisher.store.keep(&plan::descriptor(&publisher.genesis), request.keep)?;
    Ok(published)
}

/// Opens the input, and reports everything that consumers will not get unchanged.
fn survey(request: &PublishRequest<'_>, progress: &mut dyn FnMut(PublishProgress)) -> Result<Input, PublishError> {
    let input = Input::open(request.input)?;
    let survey = input.survey()?;
    let refused = survey.refused.clone();
    // A file may hold any bytes. It is unknown whether anybody wants to unpack it.
    let is_final = survey.is_folder && !request.allow_links && refused.total > 0;
    if refused.total > 0 || survey.private.total > 0 {
        progress(PublishProgress::Surveyed(Arc::new(survey)));
    }
    if is_final { Err(PublishError::RefusedLinks(refused)) } else { Ok(input) }
}

struct Publishing<'a, 'b> {
    request: &'a PublishRequest<'a>,
    input: Input,
    genesis: Genesis,
    store: Store,
    chain: ChainFolder,
    open_prover: OpenProver<'a>,
    /// The prover is opened only when it is needed, because that takes seconds.
    prover: Option<Box<dyn Prove>>,
    progress: &'b mut dyn FnMut(PublishProgress),
}

impl Publishing<'_, '_> {
    /// Completes or undoes what a killed publish left.
    fn complete_pending(&mut self) -> Result<(), PublishError> {
        let Some(pending) = self.chain.pending()? else {
            return self.chain.remove_staging();
        };
        let last = self.prover()?.last();
        let took_the_step = last.is_some_and(|last| last.step == pending.checkpoint.step);
        if took_the_step {
            (self.progress)(PublishProgress::Completing { height: pending.checkpoint.height });
            let entry = self.entry(&pending.checkpoint, pending.format)?;
            self.place(&entry)?;
        }
        self.chain.remove_pending()?;
        self.chain.remove_staging()
    }

    fn publish(&mut self) -> Result<Published, PublishError> {
        let last = self.chain.last()?;
        if let Some(last) = last.as_ref().filter(|last| last.height() >= self.request.height) {
            return Err(PublishError::NotAbove { height: self.request.height, last: last.height() });
        }
        let (ingested, format) = self.ingest(true)?;
        let checkpoint = rpp_proofs::Checkpoint {
            step: last.as_ref().map_or(1, |last| last.step() + 1),
            height: self.request.height,
            block_hash: self.block_hash().0,
            state_root: ingested.root.0,
            payload_bytes: ingested.bytes,
        };
        self.check_prover(last.as_ref())?;
        self.chain.set_pending(&checkpoint, format)?;
        (self.progress)(PublishProgress::Extending);
        self.prover()?.extend(&checkpoint)?;
        let entry = self.entry(&checkpoint, format)?;
        self.place(&entry)?;
        self.chain.remove_pending()?;
        self.chain.remove_staging()?;
        Ok(self.published(&entry))
    }

    /// The same publish again. Returns the same answer, and restores the payload if it is missing.
    fn repeat(&mut self, entry: &PublishedCheckpoint) -> Result<Published, PublishError> {
        let last = self.chain.last()?.map_or(0, |last| last.height());
        let different = PublishError::NotAbove { height: self.request.height, last };
        if entry.update.checkpoint.block_hash != self.block_hash() {
            return Err(different);
        }
        let root = entry.update.checkpoint.state_root;
        let is_stored = self.store.get(&root).is_some();
        let (ingested, _) = self.ingest(!is_stored)?;
        if ingested.root != root || ingested.bytes != entry.update.checkpoint.payload_bytes {
            self.chain.remove_staging()?;
            return Err(different);
        }
        self.place(entry)?;
        self.chain.remove_staging()?;
        Ok(self.published(entry))
    }

    /// Reads the input once, and copies it to staging if `copy` is set.
    fn ingest(&mut self, copy: bool) -> Result<(Ingested, PayloadFormat), PublishError> {
        let staging = if copy { Some(self.chain.new_staging()?) } else { None };
        let space = self.store.space().clone();
        match ingest::run(&self.input, staging.as_ref(), self.chain.folder().path(), &*space, self.progress) {
            Ok(ingested) => Ok((ingested, self.input.format())),
            Err(error) => {
                // This frees the space of what was written, on a disk that may be full.
                let _ = self.chain.remove_staging();
                Err(error)
            }
        }
    }

    /// The history's entry of a step that the prover has taken. If the entry is missing, it is proved and signed.
    fn entry(
        &mut self,
        checkpoint: &rpp_proofs::Checkpoint,
        format: PayloadFormat,
    ) -> Result<PublishedCheckpoint, PublishError> {
        if let Some(entry) = self.chain.entry(checkpoint.step)? {
            return Ok(entry);
        }
        let last =
            self.prover()?.last().filter(|last| last.step == checkpoint.step && last.height == checkpoint.height);
        let last = last.ok_or_else(|| self.chain.damaged(ChainDamage::ProverElsewhere))?;
        let previous = self.chain.entry(checkpoint.step - 1)?.map(|entry| entry.update.checkpoint.commitment);
        let genesis = self.genesis.commitment();
        (self.progress)(PublishProgress::Proving);
        let proof = self.prover()?.prove()?;
        let signature = self.request.signer.sign(&genesis, &last.commitment, last.height, last.step);
        let update = Update {
            checkpoint: Checkpoint {
                step: checkpoint.step,
                height: checkpoint.height,
                block_hash: Hash(checkpoint.block_hash),
                state_root: Hash(checkpoint.state_root),
                payload_bytes: checkpoint.payload_bytes,
                commitment: Hash(last.commitment.to_bytes()),
            },
            previous_commitment: previous.unwrap_or(Hash(genesis.to_bytes())),
            recursive_proof: Some(proof.into()),
            signatures: vec![(&signature).into()],
        };
        let entry = PublishedCheckpoint::new(update, format);
        self.chain.check_link(&entry)?;
        self.chain.add(&entry)?;
        Ok(entry)
    }

    /// Adds the payload and the offer of an entry to the store, if they are missing there.
    fn place(&mut self, entry: &PublishedCheckpoint) -> Result<(), PublishError> {
        (self.progress)(PublishProgress::Placing);
        let checkpoint = entry.update.checkpoint;
        let snapshot = SnapshotHeader { checkpoint, format: entry.format };
        let offer = Offer::new(plan::descriptor(&self.genesis), snapshot, checkpoint, vec![entry.update.clone()]);
        match self.chain.staging()? {
            _ if self.store.get(&checkpoint.state_root).is_some() => {
                self.store.add_offer(&checkpoint.state_root, offer)?;
            }
            Some(staging) => {
                self.store.place(&staging, self.chain.folder(), chain::STAGING, offer)?;
            }
            None => tracing::warn!(
                root = %checkpoint.state_root, height = checkpoint.height,
                "the payload of a publish that was killed is gone: publish it again to offer it"
            ),
        }
        Ok(())
    }

    /// Opens the prover, and checks that it ends at the same step as the history.
    fn check_prover(&mut self, last: Option<&PublishedCheckpoint>) -> Result<(), PublishError> {
        let stands = self.prover()?.last().map(|tip| (tip.step, Hash(tip.commitment.to_bytes())));
        let expected = last.map(|entry| (entry.step(), entry.update.checkpoint.commitment));
        if stands == expected {
            return Ok(());
        }
        Err(self.chain.damaged(ChainDamage::Ends))
    }

    fn prover(&mut self) -> Result<&mut Box<dyn Prove>, PublishError> {
        let prover = match self.prover.take() {
            Some(prover) => prover,
            None => {
                (self.progress)(PublishProgress::Preparing);
                (self.open_prover)(&self.chain.prover_path(), &self.genesis)?
            }
        };
        Ok(self.prover.insert(prover))
    }

    fn block_hash(&self) -> Hash {
        self.request.block_hash.unwrap_or_default()
    }

    fn published(&self, entry: &PublishedCheckpoint) -> Published {
        let checkpoint = &entry.update.checkpoint;
        Published {
            root: checkpoint.state_root,
            height: checkpoint.height,
            step: checkpoint.step,
            bytes: checkpoint.payload_bytes,
            format: entry.format,
            commitment: checkpoint.commitment,
            genesis: Hash(self.genesis.commitment().to_bytes()),
            publisher: Hash(self.request.signer.public()),
        }
    }
}

#[cfg(test)]
mod tests;
