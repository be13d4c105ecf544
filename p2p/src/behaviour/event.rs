//! The events of the behaviour, and small types that its calls and events share.

use std::time::Duration;

use libp2p::PeerId;
use serde::Serialize;

use crate::{
    error::SnapshotProtocolError,
    exchange::Verified,
    messages::{ArtefactKind, ErrorCode, SnapshotsRequest},
    stream::Protocol,
    types::SnapshotSessionId,
};

pub use crate::types::RequestId;

/// The kinds of requests, for metrics and introspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RequestKind {
    /// Opens a session.
    Plan,
    /// One chunk.
    Chunk,
    /// One update.
    LightClientUpdate,
    /// Reopens a session.
    Resume,
    /// Acknowledges what is durable.
    Ack,
    /// Cancels a session (`error` on the wire).
    Cancel,
}

impl RequestKind {
    /// The kind of `request`.
    #[must_use]
    pub fn of(request: &SnapshotsRequest) -> Self {
        match request {
            SnapshotsRequest::Plan { .. } => Self::Plan,
            SnapshotsRequest::Chunk { .. } => Self::Chunk,
            SnapshotsRequest::LightClientUpdate { .. } => Self::LightClientUpdate,
            SnapshotsRequest::Resume { .. } => Self::Resume,
            SnapshotsRequest::Ack { .. } => Self::Ack,
            SnapshotsRequest::Error { .. } => Self::Cancel,
        }
    }

    /// The kind as one stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Chunk => "chunk",
            Self::LightClientUpdate => "light_client_update",
            Self::Resume => "resume",
            Self::Ack => "ack",
            Self::Cancel => "cancel",
        }
    }
}

impl From<ArtefactKind> for RequestKind {
    fn from(kind: ArtefactKind) -> Self {
        match kind {
            ArtefactKind::Plan => Self::Plan,
            ArtefactKind::Chunk => Self::Chunk,
            ArtefactKind::LightClientUpdate => Self::LightClientUpdate,
        }
    }
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Answered as asked; at the consumer, verified too.
    Served,
    /// The provider answered with this code.
    Refused(ErrorCode),
    /// The response broke the protocol or did not verify.
    Violation,
    /// The transport lost it, or no response came in time. What the other side did is unknown.
    Lost,
    /// Our side gave it up before it ended.
    Abandoned,
}

impl Outcome {
    /// The outcome as one stable word; the code of a refusal.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Refused(code) => code.as_str(),
            Self::Violation => "violation",
            Self::Lost => "lost",
            Self::Abandoned => "abandoned",
        }
    }
}

/// An event for the application. It carries the peer, the session and, if there is one, the request.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A response that matches its request and whose content was verified.
    Verified {
        /// Who answered.
        peer: PeerId,
        /// The session.
        session: SnapshotSessionId,
        /// The request it answers.
        request_id: RequestId,
        /// The version of the protocol that carried it.
        protocol: Protocol,
        /// What was verified; never `Refused`.
        verified: Verified,
        /// Bytes of the response.
        bytes: usize,
        /// From the request to the end of its checks.
        elapsed: Duration,
    },
    /// A chunk or an update that came on a session's stream, and was verified.
    Streamed {
        /// Who sent it.
        peer: PeerId,
        /// The session.
        session: SnapshotSessionId,
        /// The plan or resume that opened the stream.
        request_id: RequestId,
        /// What was verified.
        verified: Verified,
        /// Bytes on the wire.
        bytes: usize,
    },
    /// The stream of a session is over. A message that was not answered has an event of its own, before this one.
    StreamEnded {
        /// The other side.
        peer: PeerId,
        /// The session.
        session: SnapshotSessionId,
        /// The plan or resume that opened the stream.
        request_id: RequestId,
        /// Why; the type says who is at fault.
        error: SnapshotProtocolError,
    },
    /// The provider confirmed a cancel; the session was dropped on our side.
    Cancelled {
        /// Who answered.
        peer: PeerId,
        /// The session.
        session: SnapshotSessionId,
        /// The request it answers.
        request_id: RequestId,
    },
    /// A request failed, or could not be made. The error's type says who is at fault.
    Error {
        /// The other side.
        peer: PeerId,
        /// The session.
        session: SnapshotSessionId,
        /// The request; `None` when none was sent.
        request_id: Option<RequestId>,
        /// What happened.
        error: SnapshotProtocolError,
    },
    /// A peer's request ended (provider side).
    Inbound {
        /// Who asked.
        peer: PeerId,
        /// Its session; `UNREADABLE` if the request could not be parsed.
        session: SnapshotSessionId,
        /// The id of the request among those received.
        request_id: RequestId,
        /// The kind of request; `None` if it could not be parsed.
        kind: Option<RequestKind>,
        /// The outcome.
        outcome: Outcome,
        /// Bytes of the response.
        bytes: usize,
        /// From its arrival to its end.
        elapsed: Duration,
        /// Why it could not be parsed or answered.
        error: Option<SnapshotProtocolError>,
    },
}

impl Event {
    /// Our peer and session that the event is about; `None` for an event about a peer's session.
    #[must_use]
    pub fn of(&self) -> Option<(PeerId, SnapshotSessionId)> {
        match self {
            Self::Verified { peer, session, .. }
            | Self::Cancelled { peer, session, .. }
            | Self::Streamed { peer, session, .. }
            | Self::StreamEnded { peer, session, .. }
            | Self::Error { peer, session, .. } => Some((*peer, *session)),
            Self::Inbound { .. } => None,
        }
    }
}
