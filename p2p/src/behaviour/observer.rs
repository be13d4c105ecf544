//! What metrics and introspection may watch.

use std::time::Duration;

use libp2p::PeerId;

use super::event::{RequestId, RequestKind};
use crate::types::SnapshotSessionId;

/// A request on its way, on either side. On the provider's side `id` counts the requests that arrived and the jobs that
/// were begun ahead of any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Activity {
    /// Names the request among those of its direction.
    pub id: RequestId,
    /// The other side.
    pub peer: PeerId,
    /// Its session; `UNREADABLE` for a request that could not be read.
    pub session: SnapshotSessionId,
    /// What is asked; `None` for a request that could not be read.
    pub kind: Option<RequestKind>,
    /// Which chunk or update.
    pub index: Option<u64>,
}

/// How a request came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// What became of it.
    pub outcome: super::event::Outcome,
    /// Bytes of the request.
    pub request_bytes: usize,
    /// Bytes of the response; 0 when there was none.
    pub response_bytes: usize,
    /// From the first byte asked for to the end, checks included.
    pub elapsed: Duration,
}

/// What a blocking thread is used for.
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

/// Told of every request, response and blocking job. All methods do nothing unless implemented; they are called on the
/// swarm's task, those about blocking jobs on blocking threads: they must be quick and must not block.
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

    /// A peer's request was answered, or the answer could not be brought to it.
    fn response_finished(&self, response: &Activity, ended: &Ended) {
        let _ = (response, ended);
    }

    /// A peer's request waits for a blocking job that began before it came: the one that makes ready what it asks for.
    fn response_waits(&self, response: &Activity, job: &Activity) {
        let _ = (response, job);
    }

    /// A blocking job begins on its thread.
    fn blocking_job_started(&self, job: Job, about: &Activity) {
        let _ = (job, about);
    }

    /// A blocking job ended, by a panic too.
    fn blocking_job_finished(&self, job: Job, about: &Activity, elapsed: Duration) {
        let _ = (job, about, elapsed);
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}
