//! The exact reasons of errors that have several.

use std::{error::Error, fmt, io, path::PathBuf, sync::Arc};

use libp2p::PeerId;
use rpp_p2p::{Hash, SnapshotSessionId, error::Cause};

use super::explain;
use crate::files::shown;

/// A number that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidArgument {
    /// A size of 0.
    #[error("{name} must be at least 1 byte")]
    Zero {
        /// Which size.
        name: &'static str,
    },
    /// Bounds that allow no size.
    #[error(
        "no chunk size fits: the smallest allowed is {min} bytes, the largest {max} bytes (the node's own bounds are {own_min} and {own_max})"
    )]
    NoChunkSize {
        /// The smallest that request and node allow, bytes.
        min: u64,
        /// The largest, bytes.
        max: u64,
        /// The smallest that the node allows, bytes.
        own_min: u64,
        /// The largest, bytes.
        own_max: u64,
    },
}

/// A resume that names something else than the session has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerMismatch {
    /// A peer that is none of its sources.
    #[error("session {session} streams from {}, not from {asked}", listed(sources))]
    Peer {
        /// The session.
        session: SnapshotSessionId,
        /// Its sources.
        sources: Vec<String>,
        /// The peer that was named.
        asked: PeerId,
    },
    /// Another chunk size.
    #[error("session {session} has chunks of {size} bytes, not {asked}; a chunk size never changes within a session")]
    ChunkSize {
        /// The session.
        session: SnapshotSessionId,
        /// Its chunk size, bytes.
        size: u64,
        /// The size that was named, bytes.
        asked: u64,
    },
}

/// A resume from a point at which the session cannot continue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeMismatch {
    /// Nothing was planned so far.
    #[error("session {session} has no plan yet: resume it without plan_id and indices")]
    NoPlan {
        /// The session.
        session: SnapshotSessionId,
    },
    /// Another plan.
    #[error("session {session} streams plan {plan}, not {asked}")]
    OtherPlan {
        /// The session.
        session: SnapshotSessionId,
        /// Its plan.
        plan: Hash,
        /// The plan that was named.
        asked: Hash,
    },
    /// An index below what is confirmed.
    #[error(
        "resume of session {session} at {marker} {asked} is behind what is confirmed: expected {marker} {expected} or later"
    )]
    Behind {
        /// The session.
        session: SnapshotSessionId,
        /// `chunk` or `update`.
        marker: &'static str,
        /// The index that was named.
        asked: u64,
        /// The smallest index that is accepted.
        expected: u64,
    },
    /// An index beyond the plan.
    #[error("resume of session {session} at {marker} {asked} is beyond the plan: expected {marker} {total} at most")]
    Beyond {
        /// The session.
        session: SnapshotSessionId,
        /// `chunk` or `update`.
        marker: &'static str,
        /// The index that was named.
        asked: u64,
        /// How many the plan has.
        total: u64,
    },
}

/// Why something cannot be a source. It contains no secret part of a URL.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSource {
    /// More peers than a download may have.
    #[error("they are {count} peers{}: a download may have {max}", if *is_beside_one { " with \"peer\"" } else { "" })]
    TooManyPeers {
        /// How many were named.
        count: usize,
        /// Whether one of them is in the field `peer`.
        is_beside_one: bool,
        /// How many may be.
        max: usize,
    },
    /// More mirrors than a download may have.
    #[error("they are {count} mirrors: a download may have {max}")]
    TooManyMirrors {
        /// How many were named.
        count: usize,
        /// How many may be.
        max: usize,
    },
    /// The node that was asked.
    #[error("it is this node itself")]
    ThisNode,
    /// A peer that was named before.
    #[error("it is the same peer as \"{before}\"")]
    SamePeer {
        /// Where in the request.
        before: String,
    },
    /// A mirror that was named before.
    #[error("it is the same mirror as \"{before}\"")]
    SameMirror {
        /// Where in the request.
        before: String,
    },
    /// A folder that must not be read.
    #[error("the folder {} is not beneath one of those in [sources] file_roots", shown(folder))]
    OutsideRoots {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder of the node's own.
    #[error("the folder {} is in this node's own data folder, which needs no mirror", shown(folder))]
    OwnFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder that is not there, or not readable.
    #[error("the folder {} cannot be opened: {error}", shown(folder))]
    Unopened {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        error: Arc<io::Error>,
    },
}

/// Why the node cannot listen on an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenFault {
    /// Another program uses the port.
    #[error("another program listens there: give this node another port")]
    Taken,
    /// The transport's own error.
    #[error("{0}")]
    Transport(#[source] Cause),
}

/// A failure of the node's disk or its records, with what to do.
#[derive(Clone)]
pub struct StorageFault(Arc<dyn Error + Send + Sync>);

impl StorageFault {
    /// Keeps the error; its text and those of its causes are shown.
    #[must_use]
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }
}

impl fmt::Display for StorageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&explain(&*self.0))
    }
}

impl fmt::Debug for StorageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

// There is no source, because its text has the causes already.
impl Error for StorageFault {}

/// Names of sources in a sentence.
pub(super) fn listed(sources: &[String]) -> String {
    match sources {
        [] => "no source".to_owned(),
        sources => sources.join(", "),
    }
}
