//! The errors; the type says who is at fault.
//!
//! * [`PipelineError`]: the provider's own answer to a request that it cannot serve.
//! * [`Violation`]: the other side broke the protocol; nothing of its message is used.
//! * [`RequestFailure`]: no answer came; whether the provider acted on the request is unknown.
//! * [`NotSent`]: the caller asked for something that cannot be sent, or not now.
//! * [`SnapshotProtocolError`]: what the behaviour reports, with one variant for each side at fault.

#[cfg(feature = "proofs")]
use crate::{
    authority::{AuthorityError, UpdateError},
    json::DecodeError,
    plan::PlanError,
    text,
    tree::ChunkError,
};
use crate::{
    messages::{ArtefactKind, ErrorCode},
    types::Hash,
};

/// Why a provider does not serve a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// There is no such session of this peer, or nothing to offer.
    #[error("{what}")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// This peer may not consume here.
    #[error("this peer may not consume snapshots here")]
    Unauthorized,
    /// The consumer's request breaks a rule.
    #[error("{reason}")]
    Invalid {
        /// Which rule, with the numbers.
        reason: String,
    },
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
    #[error("{reason}; retry later")]
    Busy {
        /// What is full.
        reason: String,
    },
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
    pub fn unknown_session(session: crate::SnapshotSessionId) -> Self {
        Self::NotFound { what: format!("session {session} is not open here") }
    }

    /// The code on the wire.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::Unauthorized => ErrorCode::Unauthorized,
            Self::Invalid { .. } => ErrorCode::Invalid,
            Self::PlanChanged { .. } => ErrorCode::PlanChanged,
            Self::SnapshotVerification { reason: ResumeReason::ResumeRegressed { .. } } => ErrorCode::ResumeRegressed,
            Self::SnapshotVerification { reason: ResumeReason::ResumeOutOfBounds { .. } } => {
                ErrorCode::ResumeOutOfBounds
            }
            Self::Busy { .. } => ErrorCode::Busy,
            Self::Cancelled => ErrorCode::Cancelled,
            Self::Internal(_) => ErrorCode::Internal,
        }
    }
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

/// The provider broke the protocol. Nothing of its message is used, and the session does not trust it again.
#[cfg(feature = "proofs")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The answer is not a message of the protocol.
    #[error("an unreadable answer: {0}")]
    Unreadable(#[from] DecodeError),
    /// The answer belongs to something else than what was asked for.
    #[error("the answer does not match the request: {what}")]
    Mismatch {
        /// What was asked and what came.
        what: String,
    },
    /// The plan breaks a rule, or does not belong to the chain that is trusted here.
    #[error("an unacceptable plan: {0}")]
    Plan(#[from] PlanError),
    /// A chunk does not verify against the root.
    #[error("chunk {index} does not verify: {source}")]
    Chunk {
        /// Which.
        index: u64,
        /// How many bytes came.
        received: u64,
        /// What is wrong.
        source: ChunkError,
    },
    /// An update does not continue the chain.
    #[error("update {index} does not verify: {reason}")]
    Update {
        /// Which.
        index: u64,
        /// What is wrong.
        reason: UpdateError,
    },
    /// The tip is not authorised by its publishers.
    #[error("{0}")]
    Authority(#[from] AuthorityError),
    /// What came on a stream was not wanted, not granted, or not in order.
    #[error("{0}")]
    Stream(#[from] crate::stream::StreamViolation),
}

/// No answer came. Whether the provider acted on the request is unknown; every request is safe to repeat after `resume`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestFailure {
    /// The answer came too slowly, or not at all.
    #[error("no answer in time: {reason}")]
    Timeout {
        /// How slow it was.
        reason: String,
        /// About how many bytes of the requested chunk arrived nevertheless.
        received: u64,
    },
    /// The connection ended, or the provider closed the stream without an answer (because it accepts no further
    /// stream).
    #[error("the connection was lost before the answer came")]
    ConnectionClosed {
        /// About how many bytes of the requested chunk arrived nevertheless.
        received: u64,
    },
    /// The peer could not be dialled.
    #[error("the peer cannot be reached: {reason}")]
    Dial {
        /// Why.
        reason: String,
    },
    /// The peer speaks no version of the protocol that this side speaks.
    #[error("the peer does not offer {protocol}")]
    Unsupported {
        /// The last one that was tried.
        protocol: &'static str,
    },
    /// The stream failed.
    #[error("the stream failed: {reason}")]
    Io {
        /// Why.
        reason: String,
    },
}

impl RequestFailure {
    /// About how many bytes of the requested chunk arrived in vain.
    #[must_use]
    pub fn received(&self) -> u64 {
        match self {
            Self::Timeout { received, .. } | Self::ConnectionClosed { received } => *received,
            _ => 0,
        }
    }
}

/// Why a command sent nothing. The session is unchanged, and no event follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotSent {
    /// Backpressure: the session has a request in flight, or the bound on requests in flight (to that peer, or in all)
    /// is reached. Ask again after the session's next event.
    #[error("a request of an earlier try is still under way, or the peer's streams are all taken")]
    Busy,
    /// The session was never opened here, or was forgotten. Open it by a plan or a resume.
    #[error("session {0} is unknown")]
    UnknownSession(crate::SnapshotSessionId),
    /// The request does not fit the session, so there is no use in asking again.
    #[error("the request does not fit the session: {0}")]
    Unfit(#[from] Unfit),
}

/// Why a request does not fit its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// It needs a plan, and none was accepted yet.
    #[error("the session has no plan yet")]
    NoPlan,
    /// It names an index, or a plan, that the session's plan does not have.
    #[error("the request is outside the session's plan")]
    OutsidePlan,
    /// It would exceed the bound on open sessions.
    #[error("{open} sessions are open here, the bound is {max}")]
    TooManySessions {
        /// How many are open.
        open: usize,
        /// How many may be.
        max: usize,
    },
}

/// The errors of the behaviour; the variant is the side at fault.
#[cfg(feature = "proofs")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotProtocolError {
    /// The provider answered with a refusal.
    #[error("the provider refused ({}): {}", .code.as_str(), text::escape(.message))]
    Provider {
        /// Its code.
        code: ErrorCode,
        /// Its message, not escaped.
        message: String,
    },
    /// The remote broke the protocol.
    #[error("the provider broke the protocol: {0}")]
    Remote(#[from] Violation),
    /// Our request got no answer.
    #[error(transparent)]
    Outbound(#[from] RequestFailure),
    /// A consumer's request could not be answered: it was unreadable, or its stream failed.
    #[error("a consumer's request failed: {reason}")]
    Inbound {
        /// Why.
        reason: String,
    },
    /// Our fault: the session was never opened here, or was forgotten.
    #[error("session {0} is unknown")]
    UnknownSession(crate::SnapshotSessionId),
    /// Our fault: the request does not fit the session (no plan yet, or an index beyond its totals).
    #[error("the request does not fit the session: {0}")]
    Unfit(#[from] Unfit),
}
