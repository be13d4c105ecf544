//! The prover's state on disk: one file, replaced as a whole.
//!
//! ```text
//! magic 8 | verifier's key 32 | genesis 32 | previous commitment 32 | step 8 | height 8 | block hash 32
//! | state root 32 | payload bytes 8 | commitment 32 | length 8 | folded chain | BLAKE3 of all that 32
//! ```
//!
//! **Durability.** The new state is written beside the old one, synced and renamed over it, and the folder is synced. A
//! crash at any moment leaves the old state or the new one, complete; a test kills a process between any two of these
//! steps. Damage that the disk does later is found by the checksum at the next load. It is reported and never repaired
//! by guessing.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::{chain::Checkpoint, commitment::Commitment, params::VERIFIER_KEY_SHA256};

/// The state's name in the prover's folder.
pub(crate) const FILE: &str = "state";
/// The new state is written here before it replaces the old one.
const TEMPORARY: &str = "state.tmp";
/// Locked by the process that uses the folder.
const LOCK: &str = "state.lock";
/// Format and its version.
const MAGIC: &[u8; 8] = b"rppst\0\0\x01";
/// A state has about 1.7 MB; a larger file is not one.
const MAX_BYTES: u64 = 16 << 20;
/// The size of everything but the folded chain.
const FIXED: usize = 8 + 3 * 32 + 2 * 8 + 2 * 32 + 8 + 32 + 8 + 32;

/// One link of the chain with both its ends: a publisher needs all of it to offer the link as an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The commitment before this link.
    pub previous: Commitment,
    /// The checkpoint of this link.
    pub checkpoint: Checkpoint,
    /// The commitment of this link.
    pub commitment: Commitment,
}

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) genesis: Commitment,
    pub(crate) last: Link,
    pub(crate) folded: Vec<u8>,
}

/// Why the state file cannot be extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file is shorter or longer than its length field says.
    #[error("it is cut short or has bytes left over")]
    Length,
    /// Some bytes have changed since they were written.
    #[error("its checksum does not match")]
    Checksum,
    /// The file is something else, or has another format.
    #[error("it is not a prover's state of this version")]
    Format,
    /// The state was made with another circuit or version of the proof system.
    #[error("it was made with another proof system")]
    ProofSystem,
    /// The state belongs to another chain.
    #[error("it belongs to the chain with genesis {0}")]
    Genesis(Commitment),
    /// The checksum is right, but the folded chain does not prove the recorded step.
    #[error("its proof does not verify")]
    Proof,
}

/// The moments of writing a state between which a crash can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Created,
    HalfWritten,
    Written,
    Synced,
    Renamed,
    Durable,
}

impl State {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Link { previous, checkpoint, commitment } = &self.last;
        let mut bytes = Vec::with_capacity(FIXED + self.folded.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&key());
        bytes.extend_from_slice(self.genesis.as_bytes());
        bytes.extend_from_slice(previous.as_bytes());
        bytes.extend_from_slice(&checkpoint.step.to_le_bytes());
        bytes.extend_from_slice(&checkpoint.height.to_le_bytes());
        bytes.extend_from_slice(&checkpoint.block_hash);
        bytes.extend_from_slice(&checkpoint.state_root);
        bytes.extend_from_slice(&checkpoint.payload_bytes.to_le_bytes());
        bytes.extend_from_slice(commitment.as_bytes());
        bytes.extend_from_slice(&(self.folded.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&self.folded);
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let (content, checksum) = bytes.split_last_chunk::<32>().ok_or(StateError::Length)?;
        let mut reader = Reader(content);
        if reader.array::<8>()? != *MAGIC {
            return Err(StateError::Format);
        }
        if blake3::hash(content) != blake3::Hash::from_bytes(*checksum) {
            return Err(StateError::Checksum);
        }
        if reader.array()? != key() {
            return Err(StateError::ProofSystem);
        }
        let genesis = reader.commitment()?;
        let previous = reader.commitment()?;
        let checkpoint = Checkpoint {
            step: reader.number()?,
            height: reader.number()?,
            block_hash: reader.array()?,
            state_root: reader.array()?,
            payload_bytes: reader.number()?,
        };
        let commitment = reader.commitment()?;
        if reader.number()? != reader.0.len() as u64 {
            return Err(StateError::Length);
        }
        Ok(Self { genesis, last: Link { previous, checkpoint, commitment }, folded: reader.0.to_vec() })
    }
}

fn key() -> [u8; 32] {
    let mut key = [0; 32];
    // The constant is hex; a test compares it with the real key.
    let _ = hex::decode_to_slice(VERIFIER_KEY_SHA256, &mut key);
    key
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(StateError::Length)?;
        self.0 = rest;
        Ok(*array)
    }

    fn number(&mut self) -> Result<u64, StateError> {
        self.array().map(u64::from_le_bytes)
    }

    fn commitment(&mut self) -> Result<Commitment, StateError> {
        Commitment::from_bytes(self.array()?).map_err(|_| StateError::Format)
    }
}

/// The prover's folder, locked by this process.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Dropping this frees the lock.
    _lock: File,
}

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("another process holds it")]
    Held,
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl FolderError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Io { path, source }
    }
}

impl Folder {
    /// Creates the folder if it is absent and locks it. Removes what an interrupted write left behind.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(FolderError::at(path))?;
        let (lock_path, temporary) = (path.join(LOCK), path.join(TEMPORARY));
        let lock = options().create(true).truncate(false).open(&lock_path).map_err(FolderError::at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(FolderError::Held),
            Err(fs::TryLockError::Error(error)) => return Err(FolderError::at(&lock_path)(error)),
        }
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FolderError::at(&temporary)(error)),
            _ => Ok(Self { path: path.to_owned(), _lock: lock }),
        }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.path.join(FILE)
    }

    /// The file's bytes; `None` when there is no state yet.
    pub(crate) fn load(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match OpenOptions::new().read(true).custom_flags(no_follow()).open(self.file()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Replaces the state. When this returns, the new state survives a power loss. `observe` is called at each moment.
    pub(crate) fn save(&self, bytes: &[u8], observe: &mut dyn FnMut(Moment)) -> io::Result<()> {
        let temporary = self.path.join(TEMPORARY);
        let mut file = options().create(true).truncate(true).open(&temporary)?;
        observe(Moment::Created);
        let (first, second) = bytes.split_at(bytes.len() / 2);
        file.write_all(first)?;
        observe(Moment::HalfWritten);
        file.write_all(second)?;
        observe(Moment::Written);
        file.sync_all()?;
        observe(Moment::Synced);
        fs::rename(&temporary, self.file())?;
        observe(Moment::Renamed);
        File::open(&self.path)?.sync_all()?;
        observe(Moment::Durable);
        Ok(())
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(no_follow());
    options
}

/// Nothing in the folder is opened through a symbolic link.
fn no_follow() -> i32 {
    OFlags::NOFOLLOW.bits().cast_signed()
}
