//! Why a request got no answer.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use libp2p::PeerId;

use super::NotSent;
use crate::{json::DecodeError, pace::Stall, stream::Breach, text};

/// No answer came. Whether the provider acted on the request is unknown; every request is safe to repeat after `resume`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestFailure {
    /// The answer came too slowly, or not at all.
    #[error("no answer in time: {reason}")]
    Timeout {
        /// How slow it was.
        reason: TooSlow,
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
        /// Why, as the transport says.
        reason: Cause,
    },
    /// The peer speaks no version of the protocol that this side speaks.
    #[error("the peer does not offer {protocol}")]
    Unsupported {
        /// The last one that was tried.
        protocol: &'static str,
    },
    /// The stream failed.
    #[error("the stream failed: {0}")]
    Io(#[from] StreamFailure),
}

impl RequestFailure {
    /// About how many bytes of the requested chunk arrived and could not be used.
    #[must_use]
    pub fn received(&self) -> u64 {
        match self {
            Self::Timeout { received, .. } | Self::ConnectionClosed { received } => *received,
            _ => 0,
        }
    }
}

/// How slow a peer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TooSlow {
    /// The answer came too slowly.
    #[error(transparent)]
    Answer(#[from] Stall),
    /// What was wanted on a stream arrived too slowly, or not at all.
    #[error("{peer} is stalled: {stall}, although it has something to send and may")]
    Stream {
        /// The provider.
        peer: PeerId,
        /// How slow it was.
        stall: Stall,
    },
    /// The protocol was not agreed on.
    #[error("the protocol of a stream was not agreed on in time")]
    Negotiation,
    /// The whole exchange took longer than any exchange may.
    #[error("it took too long")]
    Whole,
}

/// How a stream failed that was neither too slow nor cut off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamFailure {
    /// The transport's own error.
    #[error(transparent)]
    Transport(Cause),
    /// Nothing was sent.
    #[error(transparent)]
    NotSent(#[from] NotSent),
    /// The check of an answer panicked, which is a fault of this program.
    #[error("checking the answer panicked: {0}")]
    Panicked(Cause),
    /// There is no runtime to check an answer on.
    #[error("no tokio runtime to check answers on")]
    NoRuntime,
    /// It ended together with another request of its stream.
    #[error(transparent)]
    Together(Cause),
}

/// Why a consumer's request was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unserved {
    /// It is not a request of the protocol.
    #[error("the request cannot be read: {0}")]
    Unreadable(#[from] DecodeError),
    /// Its stream breaks a rule.
    #[error("the stream breaks the protocol: {0}")]
    Breach(#[from] Breach),
    /// The application's provider took too long.
    #[error("the provider did not answer within {} s", .0.as_secs_f64())]
    Unanswered(Duration),
    /// Nothing moved on its stream.
    #[error("nothing moved for {} s", .0.as_secs())]
    Idle(Duration),
    /// Its stream was opened, and no frame arrived.
    #[error("no frame within {} s", .0.as_secs())]
    NoFrame(Duration),
    /// The consumer reads too slowly.
    #[error("the consumer does not read what it wanted: {0}")]
    Unread(Stall),
    /// The answer did not reach the consumer.
    #[error(transparent)]
    Lost(Cause),
}

/// A failure of a part below or beside this crate (a transport, a disk, a web server), kept to be shown. Two causes are
/// equal if their texts are. The text is escaped.
#[derive(Clone)]
pub struct Cause {
    words: Arc<str>,
    error: Option<Arc<dyn Error + Send + Sync>>,
    /// The words are those of the innermost error in the chain, so they have no further source.
    is_innermost: bool,
}

impl Cause {
    /// The error itself, kept as the [source](Cause::error).
    #[must_use]
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self { words: text::escape(&error.to_string()).into(), error: Some(Arc::new(error)), is_innermost: false }
    }

    /// The error itself, with the words of the innermost error in its chain of sources. These say what happened
    /// ("Connection refused"); the words of the others only say where.
    #[must_use]
    pub fn innermost(error: impl Error + Send + Sync + 'static) -> Self {
        let mut last: &dyn Error = &error;
        while let Some(source) = last.source() {
            last = source;
        }
        let words = text::escape(&last.to_string()).into();
        Self { words, error: Some(Arc::new(error)), is_innermost: true }
    }

    /// Only its text, for an error that cannot be kept.
    #[must_use]
    pub fn told(said: &(impl fmt::Display + ?Sized)) -> Self {
        Self { words: text::escape(&said.to_string()).into(), error: None, is_innermost: false }
    }

    /// Its text, escaped.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.words
    }

    /// The error, if it was kept.
    #[must_use]
    pub fn error(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.error.as_deref()
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        self.words == other.words
    }
}

impl Eq for Cause {}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.words, f)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.as_deref().filter(|_| !self.is_innermost).and_then(|error| error.source())
    }
}
