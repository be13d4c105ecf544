//! What a download goes on from: a failure that may pass, kept as it happened until the status says it in words.

use libp2p::PeerId;

use crate::{
    authority::AuthorityError,
    error::{Cause, RequestFailure, SnapshotProtocolError},
    messages::ErrorCode,
    status::FailureCode,
    text,
};

/// A failure that may pass. Its words are escaped.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Setback {
    /// The last connection to a peer ended.
    #[error("the connection was lost: {0}")]
    Disconnected(#[source] Cause),
    /// No connection to a peer could be made.
    #[error("it cannot be reached: {0}")]
    NotReached(#[source] Cause),
    /// A peer did not answer.
    #[error("{}", text::escape(&.0.to_string()))]
    NoAnswer(#[source] RequestFailure),
    /// A stream ended by something that is no fault of its connection.
    #[error("{0}")]
    Stream(#[source] Cause),
    /// A peer answered that it does not.
    #[error("{peer} refused {asked} ({}): {words}", .code.as_str())]
    Refused {
        /// Who.
        peer: PeerId,
        /// The type of the request.
        asked: &'static str,
        /// Its reason.
        code: ErrorCode,
        /// Its words.
        words: Cause,
    },
    /// A mirror could not be read.
    #[error("{0}")]
    Mirror(#[source] Cause),
    /// The driver asks nothing of it for a while: of a source that is banned, for instance.
    #[error("{0}")]
    Barred(#[source] Cause),
    /// What this node had kept of the chain has no authority.
    #[error("{}", kept(.0))]
    Kept(#[source] AuthorityError),
}

impl Setback {
    /// The stable word for it.
    pub(crate) fn code(&self) -> FailureCode {
        match self {
            Self::Disconnected(_) | Self::NotReached(_) | Self::NoAnswer(_) | Self::Stream(_) | Self::Mirror(_) => {
                FailureCode::Network
            }
            Self::Refused { .. } | Self::Barred(_) => FailureCode::Provider,
            Self::Kept(_) => FailureCode::Storage,
        }
    }

    /// As a status shows it.
    pub(crate) fn told(&self) -> (FailureCode, String) {
        (self.code(), self.to_string())
    }
}

impl From<&SnapshotProtocolError> for Setback {
    fn from(error: &SnapshotProtocolError) -> Self {
        match error {
            SnapshotProtocolError::Outbound(failure) => Self::NoAnswer(failure.clone()),
            other => Self::Stream(Cause::told(other)),
        }
    }
}

fn kept(error: &AuthorityError) -> String {
    text::escape(&format!("what this node had kept of the chain does not hold and is fetched again: {error}"))
}
