//! Setbacks: failures from which a download recovers. They stay typed until a status puts them into words.

use libp2p::PeerId;

use crate::{
    authority::AuthorityError,
    error::{Cause, RequestFailure, SnapshotProtocolError},
    messages::ErrorCode,
    status::FailureCode,
    text,
};

/// A failure that may pass. Its text is escaped.
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
    /// A stream ended, but not because of its connection.
    #[error("{0}")]
    Stream(#[source] Cause),
    /// A peer refused a request.
    #[error("{peer} refused {asked} ({}): {words}", .code.as_str())]
    Refused {
        /// Who.
        peer: PeerId,
        /// The type of the request.
        asked: &'static str,
        /// The code of its answer.
        code: ErrorCode,
        /// The text of its answer.
        words: Cause,
    },
    /// A mirror could not be read.
    #[error("{0}")]
    Mirror(#[source] Cause),
    /// The driver asks nothing of the source for a while, for instance because the source is banned.
    #[error("{0}")]
    Barred(#[source] Cause),
    /// The updates that this node had stored have no authority.
    #[error("{}", kept(.0))]
    Kept(#[source] AuthorityError),
}

impl Setback {
    /// Its code in the status.
    pub(crate) fn code(&self) -> FailureCode {
        match self {
            Self::Disconnected(_) | Self::NotReached(_) | Self::NoAnswer(_) | Self::Stream(_) | Self::Mirror(_) => {
                FailureCode::Network
            }
            Self::Refused { .. } | Self::Barred(_) => FailureCode::Provider,
            Self::Kept(_) => FailureCode::Storage,
        }
    }

    /// Code and text, as the status shows them.
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
