//! What can go wrong between an operator's request and the node, with who is at fault in the variant.

use libp2p::PeerId;
use rpp_p2p::SnapshotSessionId;

use crate::{address::AddressError, status::SnapshotStreamStatus};

/// Why the node did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotRuntimeError {
    /// The operator's: neither a peer id nor a multiaddr that ends in one.
    #[error("{given:?} is neither a peer id nor a multiaddr ending in /p2p/<peer id>")]
    InvalidPeer {
        /// What was given, escaped and cut.
        given: String,
    },
    /// The operator's: a peer id whose key is of no kind that can be checked here.
    #[error("peer {peer} cannot be connected to: its id holds no Ed25519 or secp256k1 key ({reason})")]
    UnusableKey {
        /// The peer.
        peer: PeerId,
        /// What is wrong with it.
        reason: String,
    },
    /// The operator's: an address that would be dialled in vain.
    #[error("{given:?} cannot be dialled: {reason}")]
    UndialableAddress {
        /// What was given, cut; shown escaped.
        given: String,
        /// Names the part.
        reason: AddressError,
    },
    /// The operator's: a bare peer id of which the node knows no address.
    #[error("no address is known for peer {peer}: give a multiaddr ending in /p2p/{peer}, or add one to [p2p] peers")]
    UnknownAddress {
        /// The peer.
        peer: PeerId,
    },
    /// The operator's: a number outside what is allowed.
    #[error("{message}")]
    InvalidArgument {
        /// Which, and what is allowed.
        message: String,
    },
    /// The operator's: a resume that names another peer or chunk size than the session has.
    #[error("{message}")]
    PeerMismatch {
        /// What the session has and what was asked.
        message: String,
    },
    /// The operator's: `[trust] genesis` is not set.
    #[error("no trust anchor is configured: set [trust] genesis to the provider's genesis commitment")]
    NoTrustAnchor,
    /// The operator's: no such session.
    #[error("session {session} is unknown")]
    UnknownSession {
        /// The id asked for.
        session: SnapshotSessionId,
    },
    /// The operator's: as many live sessions as allowed; those that ended give way by themselves.
    #[error("{max} sessions are under way, as many as [snapshots] max_sessions allows: delete one or wait for an end")]
    TooManySessions {
        /// The bound.
        max: usize,
    },
    /// The operator's: the key of another request.
    #[error(
        "this Idempotency-Key was used for session {session}, which has another peer, root or height: take a new key"
    )]
    KeyReused {
        /// The session that the first request with this key made.
        session: SnapshotSessionId,
    },
    /// The operator's or the provider's: offsets that are stale or impossible, or another plan.
    #[error("{message}")]
    ResumeMismatch {
        /// Names the offending chunk or update and the number expected.
        message: String,
        /// The session, when it was touched.
        status: Option<Box<SnapshotStreamStatus>>,
    },
    /// The provider's: it refused for good, or broke the protocol.
    #[error("{message}")]
    Provider {
        /// Who and why.
        message: String,
        /// The session, `failed`.
        status: Option<Box<SnapshotStreamStatus>>,
    },
    /// The node's: its disk or its records.
    #[error("{message}")]
    Storage {
        /// What and what to do.
        message: String,
    },
    /// The node's: not ready yet.
    #[error("the node is not ready: {reason}")]
    NotReady {
        /// What is missing.
        reason: String,
    },
    /// The node's: it is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// The node's: no answer from its task in time.
    #[error("the node did not answer within {seconds} s")]
    TimedOut {
        /// How long was waited.
        seconds: u64,
    },
}
