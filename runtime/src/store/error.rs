//! Errors of the store.

use std::{io, path::PathBuf};

use rpp_p2p::Hash;

use super::{damage::Damage, manifest::OfferFlaw, room::NoRoom};

/// Why the store could not do what it was asked to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The machine's fault: the disk is full. This passes when there is room.
    #[error("not enough disk space{}: {needed} bytes are needed, {free} are free", place(.path.as_ref()))]
    Full {
        /// The file whose write failed; `None` before anything is written.
        path: Option<PathBuf>,
        /// Bytes still to be written.
        needed: u64,
        /// Bytes that may be written, without those that other sessions still need.
        free: u64,
    },
    /// The machine's fault: a write failed for lack of room, although bytes are free. This passes when there is room.
    #[error("cannot write {path}")]
    NoRoom {
        /// The file whose write failed.
        path: PathBuf,
        /// What was lacking.
        #[source]
        reason: NoRoom,
    },
    /// Another session of this node writes this payload.
    #[error("payload {root} is being written by another session")]
    Held {
        /// Which.
        root: Hash,
    },
    /// Nobody's fault: the session that wanted the payload opened does not want it any more.
    #[error("the opening of payload {root} was given up")]
    Abandoned {
        /// Which.
        root: Hash,
    },
    /// The payload is stored already.
    #[error("payload {root} is stored already")]
    Stored {
        /// Which.
        root: Hash,
    },
    /// The operator's fault: the payload is being served, so it cannot be removed now.
    #[error("payload {root} is being served: try again later, or force it")]
    Served {
        /// Which.
        root: Hash,
    },
    /// The operator's fault: there is no such payload.
    #[error("no payload {root} is stored")]
    Unknown {
        /// Which.
        root: Hash,
    },
    /// The operator's fault: a finished payload could not be moved into the store.
    #[error(
        "{folder} is a mount of its own: payloads come into their place by a rename, which cannot leave a mount; mount \
         {snapshots}, or the whole data_dir, instead"
    )]
    OtherMount {
        /// The folder.
        folder: PathBuf,
        /// The folder that may be a mount.
        snapshots: PathBuf,
    },
    /// The caller's fault: a chunk, plan or offer does not match the payload.
    #[error(transparent)]
    Unfit(#[from] Misfit),
    /// The disk's fault: the stored bytes differ from what was written.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        reason: Damage,
    },
    /// The machine's fault: a note beside a payload cannot be written. This passes when the disk accepts writes again.
    #[error("cannot write {path}")]
    Note {
        /// The note.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The machine's fault: reading or writing failed.
    #[error("cannot {doing} {path}")]
    Io {
        /// What the store was doing.
        doing: &'static str,
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// " to write <path>", when there is one.
pub(crate) fn place(path: Option<&PathBuf>) -> String {
    path.map_or_else(String::new, |path| format!(" to write {}", path.display()))
}

/// What does not match the payload.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// Chunks cannot have this size.
    #[error("{chunk_size} is not a chunk size")]
    ChunkSize {
        /// The size that was asked for.
        chunk_size: u64,
    },
    /// The payload has no such chunk.
    #[error("there is no chunk {index}: the payload has {total}")]
    NoChunk {
        /// The chunk that was asked for.
        index: u64,
        /// How many there are.
        total: u64,
    },
    /// The chunk has another length.
    #[error("chunk {index} has {bytes} bytes")]
    ChunkBytes {
        /// Which.
        index: u64,
        /// Its length.
        bytes: usize,
    },
    /// The payload was to be finished before all of it is written.
    #[error("only {written} bytes are written")]
    Unwritten {
        /// Bytes that are written.
        written: u64,
    },
    /// The payload was to be finished before all of it was hashed.
    #[error("what was there before is not checked yet")]
    Unchecked,
    /// A chunk was to be repaired that is not damaged.
    #[error("chunk {index} needs no repair, or is of another size")]
    NoRepair {
        /// Which.
        index: u64,
    },
    /// The offer belongs to another payload, or contradicts itself.
    #[error(transparent)]
    Offer(#[from] OfferFlaw),
    /// The manifest cannot be written as JSON, which is a bug.
    #[error(transparent)]
    Manifest(#[from] serde_json::Error),
}
