//! What the program around a node may plug into it: its own transport, watchers, another idea of free space.
//!
//! Introspection and fleet cuts are built on this, so the node knows neither. Watchers are called on the node's task and
//! on its blocking threads: they must be quick and must not block.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use libp2p::{
    PeerId,
    core::{ConnectedPoint, muxing::StreamMuxerBox, transport::Boxed},
    identity::Keypair,
    swarm::ConnectionId,
};
use rpp_p2p::{
    SnapshotSessionId,
    snapshots::{Activity, Ended, Job, Observer},
};

use crate::{doors::ConnectionRules, metrics::Metrics, status::SnapshotStreamStatus, store::Space};

/// Builds a transport for an identity; see [`Hooks::transport`].
pub type TransportBuilder = Box<
    dyn FnOnce(&Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Box<dyn std::error::Error + Send + Sync>> + Send,
>;

pub use prometheus_client::metrics::counter::Counter;

/// Something that the process counts and that belongs into the node's metrics.
#[derive(Clone, Debug)]
pub struct ProcessCounter {
    /// Without `rpp_` before it and `_total` behind it.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Clones count together.
    pub counter: Counter,
}

/// Everything that can be plugged in. The default plugs in nothing.
#[derive(Default)]
pub struct Hooks {
    /// In place of the node's own TCP (noise, TLS) and QUIC; to count traffic, say. DNS names are resolved around it.
    pub transport: Option<TransportBuilder>,
    /// Who is told what happens.
    pub watchers: Vec<Arc<dyn Watcher>>,
    /// In place of the file system's word on free space.
    pub space: Option<Arc<dyn Space>>,
    /// Shown among the node's metrics.
    pub counters: Vec<ProcessCounter>,
    /// Bounds on the connections that others make.
    pub connections: ConnectionRules,
}

/// Blocking work of the node itself (the protocol's own is told by [`Observer`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Work {
    /// Signatures and commitment chain of a plan.
    Chain,
    /// The recursive proof of a plan.
    Proof,
    /// A partial payload is opened and checked.
    Open,
    /// A chunk is written.
    Write,
    /// A group is made durable and recorded.
    Sync,
    /// A part of what was on the disk before is hashed again.
    Recheck,
    /// A payload is put in place.
    Place,
    /// A session's record is written.
    Record,
}

impl Work {
    /// One stable word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Proof => "proof",
            Self::Open => "open",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Recheck => "recheck",
            Self::Place => "place",
            Self::Record => "record",
        }
    }
}

/// Told of everything that happens in a node. All methods do nothing unless implemented.
pub trait Watcher: Observer {
    /// A connection is up; `first` when it is the only one to this peer.
    fn connection_established(&self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint, first: bool) {
        let _ = (peer, connection, endpoint, first);
    }

    /// A connection is gone; `last` when no other to this peer is left.
    fn connection_closed(
        &self,
        peer: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
        reason: &str,
        last: bool,
    ) {
        let _ = (peer, connection, endpoint, reason, last);
    }

    /// A ping came back.
    fn round_trip(&self, peer: PeerId, connection: ConnectionId, elapsed: Duration) {
        let _ = (peer, connection, elapsed);
    }

    /// A session's status changed.
    fn session(&self, status: &SnapshotStreamStatus) {
        let _ = status;
    }

    /// A session is gone.
    fn session_removed(&self, session: SnapshotSessionId) {
        let _ = session;
    }

    /// A peer broke the protocol.
    fn protocol_violation(&self, peer: PeerId, session: SnapshotSessionId, reason: &str) {
        let _ = (peer, session, reason);
    }

    /// Blocking work begins; `id` is unique in this process.
    fn work_started(&self, id: u64, work: Work, session: SnapshotSessionId) {
        let _ = (id, work, session);
    }

    /// It ended, by a panic too.
    fn work_finished(&self, id: u64) {
        let _ = id;
    }
}

/// All watchers of a node; cheap to clone.
#[derive(Clone)]
pub(crate) struct Watchers(Arc<[Arc<dyn Watcher>]>);

static NEXT_WORK: AtomicU64 = AtomicU64::new(1);

impl Watchers {
    pub(crate) fn new(watchers: Vec<Arc<dyn Watcher>>) -> Self {
        Self(watchers.into())
    }

    pub(crate) fn each(&self, tell: impl Fn(&dyn Watcher)) {
        self.0.iter().for_each(|watcher| tell(&**watcher));
    }

    /// Tells of blocking work until what is returned is dropped.
    pub(crate) fn work(&self, work: Work, session: SnapshotSessionId) -> Working {
        let id = if self.0.is_empty() { 0 } else { NEXT_WORK.fetch_add(1, Ordering::Relaxed) };
        self.each(|watcher| watcher.work_started(id, work, session));
        Working { watchers: self.clone(), id }
    }

    /// The protocol's observer: metrics and all watchers.
    pub(crate) fn observer(&self, metrics: Arc<Metrics>) -> Arc<dyn Observer> {
        Arc::new(Fanout { metrics, watchers: self.clone() })
    }
}

/// Blocking work that is going on.
pub(crate) struct Working {
    watchers: Watchers,
    id: u64,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.watchers.each(|watcher| watcher.work_finished(self.id));
    }
}

struct Fanout {
    metrics: Arc<Metrics>,
    watchers: Watchers,
}

impl Fanout {
    fn each(&self, tell: impl Fn(&dyn Observer)) {
        tell(&*self.metrics);
        self.watchers.each(|watcher| tell(watcher));
    }
}

impl Observer for Fanout {
    fn request_started(&self, request: &Activity) {
        self.each(|observer| observer.request_started(request));
    }

    fn request_finished(&self, request: &Activity, ended: &Ended) {
        self.each(|observer| observer.request_finished(request, ended));
    }

    fn response_started(&self, response: &Activity) {
        self.each(|observer| observer.response_started(response));
    }

    fn response_finished(&self, response: &Activity, ended: &Ended) {
        self.each(|observer| observer.response_finished(response, ended));
    }

    fn response_waits(&self, response: &Activity, job: &Activity) {
        self.each(|observer| observer.response_waits(response, job));
    }

    fn blocking_job_started(&self, job: Job, about: &Activity) {
        self.each(|observer| observer.blocking_job_started(job, about));
    }

    fn blocking_job_finished(&self, job: Job, about: &Activity, elapsed: Duration) {
        self.each(|observer| observer.blocking_job_finished(job, about, elapsed));
    }
}
