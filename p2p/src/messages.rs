//! The messages of `/rpp/snapshots/1.0.0` (`docs/protocol.md`).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::{Hash, SnapshotSessionId};

/// A consumer's wishes for a plan. For a field that is not set, the reader uses a value of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanWishes {
    /// Wanted chunk size in bytes; any positive number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_size: Option<u64>,
    /// Smallest chunk size that the consumer accepts, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_chunk_size: Option<u64>,
    /// Largest chunk size that the consumer accepts, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_chunk_size: Option<u64>,
    /// Only this payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Hash>,
    /// Only this height; the highest offer when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
}

/// A request of a consumer to a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SnapshotsRequest {
    /// Opens a session, or starts it anew.
    Plan {
        /// The session to open.
        session_id: SnapshotSessionId,
        /// The wishes for the plan.
        #[serde(flatten)]
        wishes: PlanWishes,
    },
    /// Asks for one chunk.
    Chunk {
        /// The session.
        session_id: SnapshotSessionId,
        /// Which chunk.
        chunk_index: u64,
    },
    /// Asks for one update.
    LightClientUpdate {
        /// The session.
        session_id: SnapshotSessionId,
        /// Which update.
        update_index: u64,
    },
    /// Reopens a session after a lost connection or a restart of either side.
    Resume {
        /// The session.
        session_id: SnapshotSessionId,
        /// The plan it streams.
        plan_id: Hash,
        /// The next chunk wanted.
        chunk_index: u64,
        /// The next update wanted.
        update_index: u64,
    },
    /// Everything of `kind` up to and including `index` is durable at the consumer.
    Ack {
        /// The session.
        session_id: SnapshotSessionId,
        /// Of which kind.
        kind: ArtefactKind,
        /// The last durable index.
        index: u64,
    },
    /// Cancels the session.
    Error {
        /// The session.
        session_id: SnapshotSessionId,
        /// Why, for the provider's operator.
        message: String,
    },
}

/// A provider's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SnapshotsResponse {
    /// The plan of the session.
    Plan {
        /// The session.
        session_id: SnapshotSessionId,
        /// What is offered.
        plan: Box<Plan>,
        /// The provider's smallest chunk size.
        min_chunk_size: u64,
        /// The provider's largest chunk size.
        max_chunk_size: u64,
    },
    /// One chunk with its proof.
    Chunk {
        /// The session.
        session_id: SnapshotSessionId,
        /// Which chunk.
        chunk_index: u64,
        /// The bytes (base64 on the wire).
        #[serde(with = "base64_bytes")]
        chunk: Bytes,
        /// Sibling chaining values, leaf to root.
        proof: Vec<Hash>,
    },
    /// One update.
    LightClientUpdate {
        /// The session.
        session_id: SnapshotSessionId,
        /// Which update.
        update_index: u64,
        /// The step of the chain.
        update: Box<Update>,
    },
    /// The offsets that were accepted.
    Resume {
        /// The session.
        session_id: SnapshotSessionId,
        /// The plan it streams.
        plan_id: Hash,
        /// The next chunk.
        chunk_index: u64,
        /// The next update.
        update_index: u64,
        /// The chunk size of the session.
        chunk_size: u64,
    },
    /// Confirms an ack; sent only after the ack is persisted.
    Ack {
        /// The session.
        session_id: SnapshotSessionId,
        /// Of which kind.
        kind: ArtefactKind,
        /// The last durable index.
        index: u64,
    },
    /// The request was not fulfilled.
    Error {
        /// The session; 0 when the request could not be read.
        session_id: SnapshotSessionId,
        /// The kind of refusal.
        code: ErrorCode,
        /// The provider's message; cut to 512 bytes when it is read.
        message: String,
    },
}

impl SnapshotsRequest {
    /// The session it belongs to.
    #[must_use]
    pub fn session_id(&self) -> SnapshotSessionId {
        match self {
            Self::Plan { session_id, .. }
            | Self::Chunk { session_id, .. }
            | Self::LightClientUpdate { session_id, .. }
            | Self::Resume { session_id, .. }
            | Self::Ack { session_id, .. }
            | Self::Error { session_id, .. } => *session_id,
        }
    }

    /// Its `type` on the wire.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        match self {
            Self::Plan { .. } => "plan",
            Self::Chunk { .. } => "chunk",
            Self::LightClientUpdate { .. } => "light_client_update",
            Self::Resume { .. } => "resume",
            Self::Ack { .. } => "ack",
            Self::Error { .. } => "error",
        }
    }
}

impl SnapshotsResponse {
    /// The session it belongs to; 0 in the answer to a request that could not be read.
    #[must_use]
    pub fn session_id(&self) -> SnapshotSessionId {
        match self {
            Self::Plan { session_id, .. }
            | Self::Chunk { session_id, .. }
            | Self::LightClientUpdate { session_id, .. }
            | Self::Resume { session_id, .. }
            | Self::Ack { session_id, .. }
            | Self::Error { session_id, .. } => *session_id,
        }
    }

    /// Its `type` on the wire.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        match self {
            Self::Plan { .. } => "plan",
            Self::Chunk { .. } => "chunk",
            Self::LightClientUpdate { .. } => "light_client_update",
            Self::Resume { .. } => "resume",
            Self::Ack { .. } => "ack",
            Self::Error { .. } => "error",
        }
    }
}

/// The kind of an artefact: in an ack, a request or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtefactKind {
    /// The plan.
    Plan,
    /// A chunk.
    Chunk,
    /// A light-client update.
    LightClientUpdate,
}

/// Why a provider refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// No such session of this peer, or nothing to offer.
    NotFound,
    /// This peer may not consume here.
    Unauthorized,
    /// Retry later.
    Busy,
    /// The request breaks the protocol.
    Invalid,
    /// The named plan is not the session's.
    PlanChanged,
    /// A resume behind what was acknowledged.
    ResumeRegressed,
    /// A resume beyond the totals.
    ResumeOutOfBounds,
    /// The session was cancelled.
    Cancelled,
    /// The provider failed.
    Internal,
}

impl ArtefactKind {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Chunk => "chunk",
            Self::LightClientUpdate => "light_client_update",
        }
    }
}

impl ErrorCode {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Unauthorized => "unauthorized",
            Self::Busy => "busy",
            Self::Invalid => "invalid",
            Self::PlanChanged => "plan_changed",
            Self::ResumeRegressed => "resume_regressed",
            Self::ResumeOutOfBounds => "resume_out_of_bounds",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }
}

/// The genesis descriptor in a plan (`docs/proofs.md`, The anchor).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenesisDescriptor {
    /// Name of the chain.
    pub chain_id: String,
    /// Ed25519 keys, ascending, distinct.
    pub publishers: Vec<Hash>,
    /// How many of them must sign a tip.
    pub threshold: u64,
}

/// Whether a payload is a file or a directory packed as tar. A hint, never trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayloadFormat {
    /// A file as it is.
    Raw,
    /// A deterministic tar.
    Tar,
}

/// One checkpoint in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Position in the chain; genesis is 0.
    pub step: u64,
    /// Height.
    pub height: u64,
    /// Hash of the block.
    pub block_hash: Hash,
    /// BLAKE3 hash of the payload.
    pub state_root: Hash,
    /// Length of the payload in bytes.
    pub payload_bytes: u64,
    /// The chain's commitment at this step.
    pub commitment: Hash,
}

/// The snapshot of a plan: a checkpoint and the payload's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotHeader {
    /// The snapshot's checkpoint.
    #[serde(flatten)]
    pub checkpoint: Checkpoint,
    /// A hint for the operator.
    pub format: PayloadFormat,
}

/// The offer of a provider for a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The id of the plan, independent of the chunk size.
    pub plan_id: Hash,
    /// Name of the proof system.
    pub proof: String,
    /// Pins chain, publishers and threshold.
    pub genesis: GenesisDescriptor,
    /// The snapshot.
    pub snapshot: SnapshotHeader,
    /// The tip to which the updates lead.
    pub tip: Checkpoint,
    /// Bytes of every chunk but the last.
    pub chunk_size: u64,
    /// Number of chunks.
    pub total_chunks: u64,
    /// Number of updates.
    pub total_updates: u64,
}

/// One step of the commitment chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// The checkpoint.
    #[serde(flatten)]
    pub checkpoint: Checkpoint,
    /// The commitment of the step before.
    pub previous_commitment: Hash,
    /// On the last update, the proof (base64 on the wire); `None` on the others.
    #[serde(with = "optional_base64")]
    pub recursive_proof: Option<Bytes>,
    /// Signatures over this checkpoint.
    pub signatures: Vec<Signature>,
}

/// A publisher's signature over a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The publisher's key.
    pub publisher: Hash,
    /// 64 bytes (base64 on the wire).
    #[serde(with = "base64_bytes")]
    pub signature: Bytes,
}

mod base64_bytes {
    use base64_simd::STANDARD;
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode_to_string(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = STANDARD.decode_to_vec(text.as_bytes()).map(Bytes::from);
        bytes.map_err(|_| de::Error::custom("not standard padded base64"))
    }
}

mod optional_base64 {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    struct Wrapped(#[serde(with = "super::base64_bytes")] Bytes);

    pub(super) fn serialize<S: Serializer>(bytes: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => super::base64_bytes::serialize(bytes, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
        Ok(Option::<Wrapped>::deserialize(deserializer)?.map(|w| w.0))
    }
}
