//! The node's public state: its events, head, peers and identity. The status of a session is in `rpp_p2p::status`.

use libp2p::PeerId;
pub use rpp_p2p::status::{
    FailureCode, SessionState, SnapshotStreamStatus, SourceKind, SourceState, SourceStatus, WaitKind, WaitingOn,
};
use rpp_p2p::{Hash, PayloadFormat, SnapshotSessionId};
use serde::{Deserialize, Serialize};

use crate::bans::{Ban, BanKind};

/// The events of a node, for subscribers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NodeEvent {
    /// A session made progress.
    SnapshotStreamProgress(SnapshotStreamStatus),
    /// A session's payload is verified and in place.
    SnapshotStreamCompleted(SnapshotStreamStatus),
    /// A session ended with an error.
    SnapshotStreamFailed(SnapshotStreamStatus),
    /// A session was cancelled; nothing of it is left.
    SnapshotStreamCancelled(SnapshotSessionId),
    /// The first connection to a peer was established.
    PeerConnected(PeerId),
    /// The last connection to a peer was closed.
    PeerDisconnected(PeerId),
    /// A peer broke the protocol.
    ProtocolViolation {
        /// The peer.
        peer: PeerId,
        /// The session, if it happened in one.
        session: Option<SnapshotSessionId>,
        /// What it did.
        reason: String,
    },
    /// A source is banned.
    Banned(Ban),
    /// The ban of a source is over.
    BanEnded {
        /// A peer id, or the origin of a mirror.
        source: String,
        /// Whether `source` is a peer or a mirror.
        kind: BanKind,
        /// Whether an operator lifted the ban. Otherwise it ran out.
        lifted: bool,
    },
}

/// The newest checkpoint that the node has fully verified: `GET /p2p/head`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Head {
    pub step: u64,
    pub height: u64,
    pub block_hash: Hash,
    pub state_root: Hash,
    pub commitment: Hash,
}

/// One row of `GET /p2p/peers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PeerInfo {
    pub peer_id: String,
    pub connected: bool,
    pub addresses: Vec<String>,
    pub rtt_ms: Option<f64>,
    pub protocols: Vec<String>,
    pub agent: Option<String>,
}

/// `GET /p2p/identity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Identity {
    pub peer_id: String,
    pub listen: Vec<String>,
    pub genesis: Option<Hash>,
    pub publishers: Vec<Hash>,
    pub snapshots: Vec<OfferedSnapshot>,
    pub version: String,
}

/// One row of `GET /p2p/offers`: a snapshot that peers offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct OfferInfo {
    pub root: Hash,
    pub height: u64,
    pub step: u64,
    pub bytes: u64,
    pub format: PayloadFormat,
    /// The peers that offer it; those with free slots come first.
    pub peers: Vec<String>,
    /// RFC 3339: when a peer last confirmed the offer.
    pub seen_at: String,
}

/// One snapshot that this node serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct OfferedSnapshot {
    pub root: Hash,
    pub height: u64,
    pub bytes: u64,
    pub format: PayloadFormat,
}
