//! The interface for metrics and introspection.

use std::time::Duration;

use libp2p::PeerId;

use super::{
    event::{RequestId, RequestKind},
    serve::index_of,
};
use crate::{messages::SnapshotsRequest, stream::Protocol, types::SnapshotSessionId};

/// A request in flight, on either side. On the provider's side `id` counts the requests that arrived and the prefetch
/// jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Activity {
    /// The id of the request within its direction.
    pub id: RequestId,
    /// The other side.
    pub peer: PeerId,
    /// Its session; `UNREADABLE` if the request could not be parsed.
    pub session: SnapshotSessionId,
    /// The kind of request; `None` if it could not be parsed.
    pub kind: Option<RequestKind>,
    /// Which chunk or update.
    pub index: Option<u64>,
    /// The protocol that carries it. A message that opens a stream counts as that stream's, even if it is then sent as
    /// a request because the peer does not support streams.
    pub protocol: Protocol,
}

impl Activity {
    /// Describes a request; `None`: it could not be parsed.
    pub(super) fn of(protocol: Protocol, id: RequestId, peer: PeerId, request: Option<&SnapshotsRequest>) -> Self {
        Self {
            protocol,
            id,
            peer,
            session: request.map_or(SnapshotSessionId::UNREADABLE, SnapshotsRequest::session_id),
            kind: request.map(RequestKind::of),
            index: request.and_then(index_of),
        }
    }
}

/// The ids of the requests of one direction, each once.
#[derive(Debug, Default)]
pub(super) struct RequestIds(u64);

impl RequestIds {
    pub(super) fn next(&mut self) -> RequestId {
        self.0 += 1;
        RequestId(self.0)
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// The outcome.
    pub outcome: super::event::Outcome,
    /// Bytes of the request.
    pub request_bytes: usize,
    /// Bytes of the response; 0 when there was none.
    pub response_bytes: usize,
    /// From the first byte that was asked for to the end, checks included.
    pub elapsed: Duration,
}

/// The purposes of blocking threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Job {
    /// A response is decoded and checked (our request).
    Check,
    /// The provider is asked and its answer encoded (a peer's request).
    Provide,
}

impl Job {
    /// The job as one stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Provide => "provide",
        }
    }
}

/// Receives a report of every request, response and blocking job. All methods do nothing unless implemented. They are
/// called on the swarm's task, and those about blocking jobs on blocking threads. So they must be quick and must not
/// block.
pub trait Observer: Send + Sync + 'static {
    /// We sent a request.
    fn request_started(&self, request: &Activity) {
        let _ = request;
    }

    /// A request of ours was answered, or failed.
    fn request_finished(&self, request: &Activity, ended: &Ended) {
        let _ = (request, ended);
    }

    /// A peer's request arrived.
    fn response_started(&self, response: &Activity) {
        let _ = response;
    }

    /// A peer's request was answered, or the answer could not be delivered.
    fn response_finished(&self, response: &Activity, ended: &Ended) {
        let _ = (response, ended);
    }

    /// A peer's request waits for a blocking job that began earlier: the one that prefetches what it asks for.
    fn response_waits(&self, response: &Activity, job: &Activity) {
        let _ = (response, job);
    }

    /// A blocking job begins on its thread.
    fn blocking_job_started(&self, job: Job, about: &Activity) {
        let _ = (job, about);
    }

    /// A blocking job ended, or panicked.
    fn blocking_job_finished(&self, job: Job, about: &Activity, elapsed: Duration) {
        let _ = (job, about, elapsed);
    }
}

/// Ignores all reports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}
