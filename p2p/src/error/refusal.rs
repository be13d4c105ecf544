//! Why a provider does not serve a request: each reason with its numbers.

use crate::{
    messages::{ArtefactKind, ErrorCode, PlanWishes},
    provider::{ChunkSizeError, SlotLimits},
    types::{Hash, SnapshotSessionId},
};

/// Why a provider does not serve a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// There is no such session of this peer, or nothing to offer.
    #[error(transparent)]
    NotFound(#[from] Unavailable),
    /// This peer may not consume here.
    #[error("this peer may not consume snapshots here")]
    Unauthorized,
    /// The consumer's request breaks a rule.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The named plan is not the session's.
    #[error("this session streams plan {current}, not {asked}")]
    PlanChanged {
        /// The session's.
        current: Hash,
        /// What the consumer named.
        asked: Hash,
    },
    /// A resume that does not match the session's markers.
    #[error("{reason}")]
    SnapshotVerification {
        /// Which index, and what was expected.
        reason: ResumeReason,
    },
    /// No capacity now; retry later.
    #[error("{0}; retry later")]
    Busy(#[from] Full),
    /// The session was cancelled.
    #[error("the session was cancelled")]
    Cancelled,
    /// The provider's own failure. The source is for its operator; the consumer does not get it.
    #[error("the provider failed to serve the request")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl PipelineError {
    /// Wraps a failure of the provider itself.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }

    /// The answer to a request for a session that this peer has not opened.
    #[must_use]
    pub fn unknown_session(session: SnapshotSessionId) -> Self {
        Unavailable::Session(session).into()
    }

    /// The code on the wire.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound(_) => ErrorCode::NotFound,
            Self::Unauthorized => ErrorCode::Unauthorized,
            Self::Invalid(_) => ErrorCode::Invalid,
            Self::PlanChanged { .. } => ErrorCode::PlanChanged,
            Self::SnapshotVerification { reason: ResumeReason::ResumeRegressed { .. } } => ErrorCode::ResumeRegressed,
            Self::SnapshotVerification { reason: ResumeReason::ResumeOutOfBounds { .. } } => {
                ErrorCode::ResumeOutOfBounds
            }
            Self::Busy(_) => ErrorCode::Busy,
            Self::Cancelled => ErrorCode::Cancelled,
            Self::Internal(_) => ErrorCode::Internal,
        }
    }
}

impl From<ChunkSizeError> for PipelineError {
    fn from(error: ChunkSizeError) -> Self {
        Invalid::ChunkSize(error).into()
    }
}

/// What a provider does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The peer has not opened this session, or it was forgotten.
    #[error("session {0} is not open here")]
    Session(SnapshotSessionId),
    /// The snapshot of this session is not there any more.
    #[error("the snapshot of session {0} is not offered any more")]
    Gone(SnapshotSessionId),
    /// No snapshot is offered that has the root and height of these wishes.
    #[error("no snapshot{} is offered here", which(.0))]
    Snapshot(PlanWishes),
    /// A reason of the application's own.
    #[error("{0}")]
    Own(&'static str),
}

fn which(wishes: &PlanWishes) -> String {
    match (wishes.root, wishes.height) {
        (None, None) => String::new(),
        (Some(root), None) => format!(" with root {root}"),
        (None, Some(height)) => format!(" at height {height}"),
        (Some(root), Some(height)) => format!(" with root {root} at height {height}"),
    }
}

/// Which rule a consumer's request breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// It asks for an artefact that the plan does not have.
    #[error("{} {index} is beyond the plan: there are {total}", kind_word(*.kind))]
    BeyondPlan {
        /// Chunk or update.
        kind: ArtefactKind,
        /// Which.
        index: u64,
        /// How many there are.
        total: u64,
    },
    /// It acknowledges an artefact that the plan does not have.
    #[error("ack of {} {index} is beyond the plan: there are {total}", kind_word(*.kind))]
    AckBeyondPlan {
        /// Of which kind.
        kind: ArtefactKind,
        /// Which.
        index: u64,
        /// How many there are.
        total: u64,
    },
    /// It acknowledges less than an earlier ack.
    #[error("ack of {} {index} is below the latest, {latest}", kind_word(*.kind))]
    AckBelowLatest {
        /// Of which kind.
        kind: ArtefactKind,
        /// Which.
        index: u64,
        /// The earlier one.
        latest: u64,
    },
    /// No chunk size suits both sides.
    #[error(transparent)]
    ChunkSize(#[from] ChunkSizeError),
    /// It breaks a rule of streams.
    #[cfg(feature = "proofs")]
    #[error("the stream breaks the protocol: {0}")]
    Stream(#[from] crate::stream::Breach),
    /// A reason of the application's own.
    #[error("{0}")]
    Own(&'static str),
}

/// What a provider has no capacity for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Full {
    /// A session has one request in flight at a time.
    #[error("session {0} has a request in flight already")]
    InFlight(SnapshotSessionId),
    /// The peer has all session slots that one peer may have.
    #[error("all {} session slots of this peer are taken", .0.per_peer)]
    PeerSlots(SlotLimits),
    /// All session slots are taken.
    #[error("all {} session slots are taken", .0.total)]
    Slots(SlotLimits),
    /// The consumer's address has its share of the session slots.
    #[error("this address has its share of the {total} session slots, {held}")]
    AddressSlots {
        /// All slots.
        total: usize,
        /// Those of the address.
        held: usize,
    },
    /// The peer's session records are all in use.
    #[error("all {0} session records of this peer are in use")]
    PeerRecords(usize),
    /// The address's session records are all in use.
    #[error("all {0} session records of this address are in use")]
    AddressRecords(usize),
    /// All session records are in use.
    #[error("all {0} session records are in use")]
    Records(usize),
    /// The byte budget for responses is used up.
    #[error("too many response bytes are under way")]
    ResponseBytes,
    /// The records of earlier sessions cannot be read now.
    #[error("what this provider knows of earlier sessions cannot be read now")]
    UnreadRecords,
    /// Acknowledgements cannot be made durable now.
    #[error("acknowledgements cannot be recorded here now")]
    Unrecorded,
    /// A reason of the application's own.
    #[error("{0}")]
    Own(&'static str),
}

/// Why a resume does not match. The message names the chunk or update and the number expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeReason {
    /// Behind what was acknowledged.
    #[error(
        "resume at {} {asked} is behind what was acknowledged: expected {expected} or later",
        kind_word(*.kind)
    )]
    ResumeRegressed {
        /// Chunk or update.
        kind: ArtefactKind,
        /// The index asked for.
        asked: u64,
        /// The smallest that is accepted.
        expected: u64,
    },
    /// Beyond the totals.
    #[error("resume at {} {asked} is beyond the plan: expected {total} at most", kind_word(*.kind))]
    ResumeOutOfBounds {
        /// Chunk or update.
        kind: ArtefactKind,
        /// The index asked for.
        asked: u64,
        /// The plan's total, the largest that is accepted.
        total: u64,
    },
}

/// "chunk", "update" or "plan", for messages.
#[must_use]
pub fn kind_word(kind: ArtefactKind) -> &'static str {
    match kind {
        ArtefactKind::Plan => "plan",
        ArtefactKind::Chunk => "chunk",
        ArtefactKind::LightClientUpdate => "update",
    }
}
