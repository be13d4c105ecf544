//! The errors between an operator's request and the node. Each variant says who is at fault.

mod reason;

use std::sync::Arc;

use libp2p::{Multiaddr, PeerId, identity::DecodingError};
use rpp_p2p::{SnapshotSessionId, status::SourceKind};

pub use self::reason::{InvalidArgument, InvalidSource, ListenFault, PeerMismatch, ResumeMismatch, StorageFault};
use crate::{address::AddressError, bans::Ban, files, status::SnapshotStreamStatus};

/// An error with its causes, in one line.
pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    files::with_causes(error)
}

/// Why the node did not do what it was asked to do.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotRuntimeError {
    /// The operator's fault: neither a peer id nor a multiaddr that ends in one.
    #[error("{given:?} is neither a peer id nor a multiaddr ending in /p2p/<peer id>")]
    InvalidPeer {
        /// What was given, escaped and cut.
        given: String,
    },
    /// The operator's fault: a request's `peer` is this node.
    #[error("\"peer\": it is this node itself; name another")]
    OwnPeer,
    /// The operator's fault: a peer id whose kind of key cannot be checked here.
    #[error("peer {peer} cannot be connected to: its id holds no Ed25519 or secp256k1 key ({reason})")]
    UnusableKey {
        /// The peer.
        peer: PeerId,
        /// What is wrong with it.
        reason: UnusableKey,
    },
    /// The operator's fault: an address that cannot be dialled.
    #[error("{given:?} cannot be dialled: {reason}")]
    UndialableAddress {
        /// What was given, cut; shown escaped.
        given: String,
        /// The error, which names the part.
        reason: AddressError,
    },
    /// The operator's fault: a bare peer id, and the node knows no address of that peer.
    #[error("no address is known for peer {peer}: give a multiaddr ending in /p2p/{peer}, or add one to [p2p] peers")]
    UnknownAddress {
        /// The peer.
        peer: PeerId,
    },
    /// The operator's fault: a number that is not allowed.
    #[error(transparent)]
    InvalidArgument(#[from] InvalidArgument),
    /// The operator's fault: a resume that names another peer or chunk size than the session's.
    #[error(transparent)]
    PeerMismatch(#[from] PeerMismatch),
    /// The operator's fault: `[trust] genesis` is not set.
    #[error("no trust anchor is configured: set [trust] genesis to the provider's genesis commitment")]
    NoTrustAnchor,
    /// The operator's fault: there is no such session.
    #[error("session {session} is unknown")]
    UnknownSession {
        /// The id asked for.
        session: SnapshotSessionId,
    },
    /// The operator's fault: what was named cannot be a source.
    #[error("\"{field}\": {reason}")]
    InvalidSource {
        /// The field of the request, such as `peers[3]`.
        field: String,
        /// What is wrong with it.
        reason: InvalidSource,
    },
    /// The operator's fault: the session has no such source.
    #[error("session {session} has no source {given:?}: its status lists them")]
    UnknownSource {
        /// The session.
        session: SnapshotSessionId,
        /// What was named; shown escaped.
        given: String,
    },
    /// The operator's fault: the session already has the largest number of sources of this kind.
    #[error("session {session} has {max} {kind}s, as many as it may have: take one away first")]
    TooManySources {
        /// The session.
        session: SnapshotSessionId,
        /// Of which kind.
        kind: SourceKind,
        /// How many it may have.
        max: usize,
    },
    /// The operator's fault: the session is complete, so it needs no source.
    #[error("session {session} is complete, so it needs no source")]
    SessionOver {
        /// The session.
        session: SnapshotSessionId,
    },
    /// The operator's fault: as many sessions are alive as allowed. Sessions that ended are evicted automatically.
    #[error("{max} sessions are under way, as many as [snapshots] max_sessions allows: delete one or wait for an end")]
    TooManySessions {
        /// The bound.
        max: usize,
    },
    /// The operator's fault: the key belongs to another request.
    #[error(
        "this Idempotency-Key was used for session {session}, which has other sources, or another root or height: take a new key"
    )]
    KeyReused {
        /// The session that the first request with this key made.
        session: SnapshotSessionId,
    },
    /// The operator's or the provider's fault: offsets that are stale or impossible, or another plan.
    #[error(transparent)]
    ResumeMismatch(#[from] ResumeMismatch),
    /// The provider's fault: it broke the protocol in this session, which therefore does not go on with it.
    #[error(
        "session {} does not go on with {}, which broke the protocol ({}): add another source to it, or start a new session with \
         this one when you trust it again; what is verified is kept",
        .status.session, reason::listed(sources), .status.error.as_deref().unwrap_or("see the log")
    )]
    Distrusted {
        /// The session's sources.
        sources: Vec<String>,
        /// The session, `failed`.
        status: Box<SnapshotStreamStatus>,
    },
    /// The session failed while the caller waited. Its status says who is at fault.
    #[error("session {} failed: {}", .0.session, .0.error.as_deref().unwrap_or("it failed without saying why"))]
    Failed(Box<SnapshotStreamStatus>),
    /// The source's fault: it broke the rules and is banned. If several are banned, this is the ban that ends first.
    #[error(
        "{} {} is {}; take another source, or lift the ban with {}",
        .0.kind.as_str(), .0.source, .0.sentence(), .0.lifting()
    )]
    Banned(Arc<Ban>),
    /// The operator's fault: this source is not banned.
    #[error("{source_name} is not banned")]
    UnknownBan {
        /// What was named.
        source_name: String,
    },
    /// The node's fault: its disk or its records.
    #[error(transparent)]
    Storage(#[from] StorageFault),
    /// The node's fault: it is not ready yet.
    #[error("the node is not ready: {0}")]
    NotReady(#[from] NotReady),
    /// The node's fault: it is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// The node's fault: its task did not answer in time.
    #[error("the node did not answer within {seconds} s")]
    TimedOut {
        /// How long the caller waited.
        seconds: u64,
    },
}

/// Why a node does not serve, or not yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotReady {
    /// It was started just now.
    #[error("not listening yet")]
    Starting,
    /// A listener has no address that others could use. This passes.
    #[error("not listening yet: {listener} has no address so far")]
    NoAddress {
        /// The address on which it should listen.
        listener: Multiaddr,
    },
    /// The machine's fault: every listener was closed.
    #[error("no address of [p2p] listen is listened on any more")]
    NoListener,
    /// It is stopping.
    #[error("shutting down")]
    ShuttingDown,
}

/// A key inside a peer id that cannot be used here.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", rpp_p2p::text::escape(&.0.to_string()))]
pub struct UnusableKey(Arc<DecodingError>);

impl From<DecodingError> for UnusableKey {
    fn from(error: DecodingError) -> Self {
        Self(Arc::new(error))
    }
}
