//! What a session says of itself (`docs/http.md`, Status), and the node's events.

use std::path::PathBuf;

use libp2p::PeerId;
use rpp_p2p::{Hash, PayloadFormat, SnapshotSessionId, consumer};
use serde::{Deserialize, Serialize, Serializer};

/// Where a session stands.
///
/// ```text
/// connecting -> planning -> verifying -> streaming -> complete
///      ^            \___________\___________/ |
///      |                 backing_off, paused  +-> failed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// No connection to the provider yet.
    Connecting,
    /// The plan or the resume is asked for.
    Planning,
    /// Chunks are coming.
    Streaming,
    /// Updates, signatures and proof are being fetched and checked, or the payload is being put in place.
    Verifying,
    /// Something failed that may pass; see `waiting_on.retry_at`.
    BackingOff,
    /// The node itself waits: disk full, or another session.
    Paused,
    /// The verified payload is in place.
    Complete,
    /// Ended by a refusal, a violation or a failure; see `error`.
    Failed,
}

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitKind {
    /// A connection to the provider.
    Connection,
    /// The plan, or the answer to a resume.
    Plan,
    /// A chunk.
    Chunk,
    /// A light-client update.
    LightClientUpdate,
    /// The mirror of an ack.
    Ack,
    /// The check of chain, signatures and proof.
    Proof,
    /// A write, a flush, or free space.
    Disk,
    /// Another session of this node.
    Session,
    /// The end of a back-off.
    Retry,
    /// The operator.
    Operator,
}

/// Stable words for what ended or holds a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the words are the documentation; `docs/troubleshooting.md` explains each
pub enum StatusErrorCode {
    Network,
    Checksum,
    Authentication,
    ResumeMismatch,
    Provider,
    Storage,
    Proof,
    Stale,
    Equivocation,
    Cancelled,
}

/// Who or what a session waits for, and since when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitingOn {
    /// What.
    pub what: WaitKind,
    /// Which chunk or update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// Whom (a peer id, or a session number for `session`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// For how long, in milliseconds.
    pub since_ms: u64,
    /// One clear sentence, with what the operator can do.
    pub reason: String,
    /// When the next try is (RFC 3339), for `retry`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<String>,
}

/// Everything a session can say. Fields without a value are left out of the JSON, but for the four that are always there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // named and defined one by one in `docs/http.md`
pub struct SnapshotStreamStatus {
    pub session: SnapshotSessionId,
    #[serde(serialize_with = "as_text", deserialize_with = "peer_from_text")]
    pub peer: PeerId,
    pub state: SessionState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Hash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<Hash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<PayloadFormat>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_chunks: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_updates: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_chunk_index: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_update_index: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_update_height: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_chunk_index: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_update_index: Option<u64>,
    pub bytes_received: u64,
    pub bytes_verified: u64,
    pub bytes_durable: u64,
    #[serde(default)]
    pub bytes_wasted: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rechecked_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recheck_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_bytes_per_second: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled_ms: Option<u64>,
    pub verified: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    pub waiting_on: Option<WaitingOn>,
    pub error: Option<String>,
    pub error_code: Option<StatusErrorCode>,
    pub payload_path: Option<PathBuf>,
    pub started_at: String,
    pub updated_at: String,
}

impl SnapshotStreamStatus {
    /// Whether it is complete by its record, and this process has yet to verify what is stored.
    #[must_use]
    pub fn is_being_verified_again(&self) -> bool {
        self.state == SessionState::Complete && !self.verified && self.recheck_bytes.is_some()
    }
}

fn as_text<S: Serializer>(peer: &PeerId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(peer)
}

fn peer_from_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<PeerId, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

/// What happens in the node, for whoever subscribed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NodeEvent {
    /// A session moved.
    SnapshotStreamProgress(SnapshotStreamStatus),
    /// A session's payload is verified and in place.
    SnapshotStreamCompleted(SnapshotStreamStatus),
    /// A session ended with an error.
    SnapshotStreamFailed(SnapshotStreamStatus),
    /// A session was cancelled; nothing of it is left.
    SnapshotStreamCancelled(SnapshotSessionId),
    /// A connection to a peer (the first one) is up.
    PeerConnected(PeerId),
    /// The last connection to a peer is gone.
    PeerDisconnected(PeerId),
    /// A peer broke the protocol.
    ProtocolViolation {
        /// Who.
        peer: PeerId,
        /// In which session, if in one.
        session: Option<SnapshotSessionId>,
        /// What it did.
        reason: String,
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

/// One snapshot that this node serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct OfferedSnapshot {
    pub root: Hash,
    pub height: u64,
    pub bytes: u64,
    pub format: PayloadFormat,
}

impl SessionState {
    /// The word that statuses and metrics use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Planning => "planning",
            Self::Streaming => "streaming",
            Self::Verifying => "verifying",
            Self::BackingOff => "backing_off",
            Self::Paused => "paused",
            Self::Complete => "complete",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing more happens without the operator.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Complete | Self::Failed)
    }
}

impl StatusErrorCode {
    /// The word that statuses and metrics use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Checksum => "checksum",
            Self::Authentication => "authentication",
            Self::ResumeMismatch => "resume_mismatch",
            Self::Provider => "provider",
            Self::Storage => "storage",
            Self::Proof => "proof",
            Self::Stale => "stale",
            Self::Equivocation => "equivocation",
            Self::Cancelled => "cancelled",
        }
    }
}

impl From<consumer::State> for SessionState {
    fn from(state: consumer::State) -> Self {
        match state {
            consumer::State::Connecting => Self::Connecting,
            consumer::State::Planning => Self::Planning,
            consumer::State::Streaming => Self::Streaming,
            consumer::State::Verifying => Self::Verifying,
            consumer::State::BackingOff => Self::BackingOff,
            consumer::State::Paused => Self::Paused,
            consumer::State::Complete => Self::Complete,
            consumer::State::Failed => Self::Failed,
        }
    }
}

impl From<consumer::WaitKind> for WaitKind {
    fn from(what: consumer::WaitKind) -> Self {
        match what {
            consumer::WaitKind::Connection => Self::Connection,
            consumer::WaitKind::Plan => Self::Plan,
            consumer::WaitKind::Chunk => Self::Chunk,
            consumer::WaitKind::LightClientUpdate => Self::LightClientUpdate,
            consumer::WaitKind::Ack => Self::Ack,
            consumer::WaitKind::Proof => Self::Proof,
            consumer::WaitKind::Disk => Self::Disk,
            consumer::WaitKind::Session => Self::Session,
            consumer::WaitKind::Retry => Self::Retry,
            consumer::WaitKind::Operator => Self::Operator,
        }
    }
}

impl From<consumer::FailureCode> for StatusErrorCode {
    fn from(code: consumer::FailureCode) -> Self {
        match code {
            consumer::FailureCode::Network => Self::Network,
            consumer::FailureCode::Checksum => Self::Checksum,
            consumer::FailureCode::Authentication => Self::Authentication,
            consumer::FailureCode::ResumeMismatch => Self::ResumeMismatch,
            consumer::FailureCode::Provider => Self::Provider,
            consumer::FailureCode::Storage => Self::Storage,
            consumer::FailureCode::Proof => Self::Proof,
            consumer::FailureCode::Stale => Self::Stale,
            consumer::FailureCode::Equivocation => Self::Equivocation,
            consumer::FailureCode::Cancelled => Self::Cancelled,
        }
    }
}
