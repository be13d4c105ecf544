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
    messages::{ArtefactKind, ErrorCode},
    plan::PlanError,
    text,
    tree::ChunkError,
    types::{Hash, SnapshotSessionId},
};

#[cfg(feature = "proofs")]
mod failure;
mod refusal;

#[cfg(feature = "proofs")]
pub use failure::{Cause, RequestFailure, StreamFailure, TooSlow, Unserved};
pub use refusal::{Full, Invalid, PipelineError, ResumeReason, Unavailable, kind_word};

/// The provider broke the protocol. Nothing of its message is used, and the session does not trust it again.
#[cfg(feature = "proofs")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The answer is for something else than was asked for.
    #[error("an unreadable answer: {0}")]
    Unreadable(#[from] DecodeError),
    /// The answer belongs to something else than what was asked for.
    #[error("the answer does not match the request: {0}")]
    Mismatch(#[from] Mismatch),
    /// The plan breaks a rule, or does not belong to the chain that is trusted here.
    #[error("an unacceptable plan: {0}")]
    Plan(#[from] PlanError),
    /// A chunk does not verify against the root.
    #[error("chunk {index} does not verify: {source}")]
    Chunk {
        /// Which chunk.
        index: u64,
        /// How many bytes arrived.
        received: u64,
        /// What is wrong.
        source: ChunkError,
    },
    /// An update does not continue the chain.
    #[error("update {index} does not verify: {reason}")]
    Update {
        /// Which update.
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

/// What was asked for, and what arrived instead.
#[cfg(feature = "proofs")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// An answer for another session.
    #[error("session {found} instead of {asked}")]
    Session {
        /// The one that was asked about.
        asked: SnapshotSessionId,
        /// The answer's.
        found: SnapshotSessionId,
    },
    /// A refusal for another session.
    #[error("an error for session {found} instead of {asked}")]
    RefusedSession {
        /// The one that was asked about.
        asked: SnapshotSessionId,
        /// The refusal's.
        found: SnapshotSessionId,
    },
    /// An answer to another kind of request.
    #[error("{found} in answer to {asked}")]
    Answer {
        /// The type of the request.
        asked: &'static str,
        /// The type of the answer.
        found: &'static str,
    },
    /// The confirmation of another kind of ack.
    #[error("an ack of kind {found:?} instead of {asked:?}")]
    AckKind {
        /// The kind that was acknowledged.
        asked: ArtefactKind,
        /// The answer's.
        found: ArtefactKind,
    },
    /// Another number than was asked for.
    #[error("{what} {found} instead of {asked}")]
    Number {
        /// Which number.
        what: &'static str,
        /// The one that was asked for.
        asked: u64,
        /// The answer's.
        found: u64,
    },
    /// A session of another plan.
    #[error("plan {found} instead of {asked}")]
    Plan {
        /// The plan that was asked for.
        asked: Hash,
        /// The answer's.
        found: Hash,
    },
    /// Something that nobody asked for.
    #[error("{0}")]
    Unasked(&'static str),
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
    #[error("a consumer's request failed: {0}")]
    Inbound(#[from] Unserved),
    /// Our fault: the session was never opened here, or was forgotten.
    #[error("session {0} is unknown")]
    UnknownSession(crate::SnapshotSessionId),
    /// Our fault: the request does not fit the session (no plan yet, or an index beyond its totals).
    #[error("the request does not fit the session: {0}")]
    Unfit(#[from] Unfit),
}
