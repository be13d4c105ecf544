//! What the node persists of a consumer session.

use std::path::PathBuf;

use libp2p::{Multiaddr, PeerId};
use rpp_p2p::{Hash, Plan, SnapshotSessionId};
use serde::{Deserialize, Serialize};

use crate::status::{SessionState, StatusErrorCode};

/// A session, but for its progress. Written before a change of it shows in the status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// The id.
    pub(crate) session: SnapshotSessionId,
    /// The provider.
    #[serde(with = "peer_text")]
    pub(crate) peer: PeerId,
    /// Addresses that the operator gave for it.
    pub(crate) addresses: Vec<Multiaddr>,
    /// What was asked for.
    pub(crate) wanted: Wanted,
    /// The plan, once accepted.
    pub(crate) plan: Option<Plan>,
    /// Final states are kept as they are; any other is taken up again.
    pub(crate) state: SessionState,
    /// Why it failed.
    pub(crate) error: Option<String>,
    /// The word for it.
    pub(crate) error_code: Option<StatusErrorCode>,
    /// What the operator can do about it.
    #[serde(default)]
    pub(crate) advice: Option<String>,
    /// Where the verified payload is.
    pub(crate) payload_path: Option<PathBuf>,
    /// RFC 3339.
    pub(crate) started_at: String,
    /// RFC 3339.
    pub(crate) updated_at: String,
}

/// What an operator asked for when the session was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// Bytes.
    pub(crate) chunk_size: u64,
    /// Bytes.
    pub(crate) min_chunk_size: u64,
    /// Bytes.
    pub(crate) max_chunk_size: u64,
    /// Only this payload.
    pub(crate) root: Option<Hash>,
    /// Only this height.
    pub(crate) height: Option<u64>,
}

/// How far a session is durable on this disk. Counts, so that nothing yet is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Chunks from the first on.
    pub(crate) confirmed_chunks: u64,
    /// Updates from the first on.
    pub(crate) confirmed_updates: u64,
    /// Payload bytes.
    pub(crate) bytes_durable: u64,
}

impl Progress {
    /// What `bytes_durable` bytes of a plan's payload mean. The updates are recorded before the first byte is.
    #[must_use]
    pub(crate) fn of(plan: &Plan, bytes_durable: u64) -> Self {
        let complete = bytes_durable >= plan.snapshot.checkpoint.payload_bytes;
        let confirmed_chunks = if complete { plan.total_chunks } else { bytes_durable / plan.chunk_size };
        Self { confirmed_chunks, confirmed_updates: plan.total_updates, bytes_durable }
    }
}

mod peer_text {
    use libp2p::PeerId;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(peer: &PeerId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(peer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PeerId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
