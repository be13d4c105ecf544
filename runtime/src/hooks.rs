//! What the program around a node can plug into it: a transport of its own, watchers, another source for the free
//! space.
//!
//! Introspection and fleet cuts use these hooks, so the node knows neither. Watchers are called on the node's task and
//! on its blocking threads. They must be quick and must not block.

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

/// A counter of the process that is to appear in the node's metrics.
#[derive(Clone, Debug)]
pub struct ProcessCounter {
    /// The name without the prefix `rpp_` and the suffix `_total`.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Clones share the count.
    pub counter: Counter,
}

/// Everything that can be plugged in. The default plugs in nothing.
#[derive(Default)]
pub struct Hooks {
    /// Replaces the node's own TCP (noise, TLS) and QUIC, for instance to count traffic. DNS names are resolved around
    /// it.
    pub transport: Option<TransportBuilder>,
    /// They are told everything that happens.
    pub watchers: Vec<Arc<dyn Watcher>>,
    /// Replaces the file system's figure for the free space.
    pub space: Option<Arc<dyn Space>>,
    /// These appear among the node's metrics.
    pub counters: Vec<ProcessCounter>,
    /// Limits on the connections that others open.
    pub connections: ConnectionRules,
}

/// Kinds of blocking work of the node itself ([`Observer`] reports the protocol's own).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Work {
    /// Signatures and commitment chain of a plan.
    Chain,
    /// The recursive proof of a plan.
    Proof,
    /// Opening and checking a partial payload.
    Open,
    /// Writing a chunk.
    Write,
    /// Making a group durable and recording it.
    Sync,
    /// Hashing a part of the payload again that was on disk before this process.
    Recheck,
    /// Moving a payload into the store.
    Place,
    /// Writing a session's record.
    Record,
}

impl Work {
    /// A stable name for it.
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

/// The content of a node's DHT.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DhtView {
    /// The protocol's name.
    pub protocol: String,
    /// How long it has been on.
    pub age: Duration,
    /// The number of peers that a bucket holds.
    pub k: u64,
    /// Peers asked at the same time in one query.
    pub alpha: u64,
    /// The buckets that hold peers, by the number of leading bits that those peers share with this node.
    pub buckets: Vec<DhtBucket>,
    /// Queries from other nodes.
    pub incoming: QueryCounts,
    /// Queries of this node.
    pub outgoing: QueryCounts,
    /// Provider records that it stores for others.
    pub records: usize,
}

/// The peers whose keys share this many leading bits with this node's key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DhtBucket {
    /// The number of common leading bits.
    pub cpl: u32,
    /// The peers.
    pub peers: Vec<DhtPeer>,
}

/// A peer in the DHT.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DhtPeer {
    /// Its id.
    pub peer: PeerId,
    /// Whether it is connected.
    pub is_connected: bool,
    /// How long it has been in the bucket.
    pub age: Duration,
}

/// How queries ended, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct QueryCounts {
    pub success: u64,
    pub error: u64,
    pub timeout: u64,
}

/// Receives everything that happens in a node. The default of each method does nothing.
pub trait Watcher: Observer {
    /// A connection was established; `first` if it is the only one to this peer.
    fn connection_established(&self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint, first: bool) {
        let _ = (peer, connection, endpoint, first);
    }

    /// A connection was closed; `last` if no other to this peer is left.
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

    /// A ping was answered.
    fn round_trip(&self, peer: PeerId, connection: ConnectionId, elapsed: Duration) {
        let _ = (peer, connection, elapsed);
    }

    /// The content of the node's DHT, once a second while it is on.
    fn dht(&self, view: &DhtView) {
        let _ = view;
    }

    /// A session's status changed.
    fn session(&self, status: &SnapshotStreamStatus) {
        let _ = status;
    }

    /// A session was removed.
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

    /// The work ended, or panicked.
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

    /// Reports blocking work until the returned value is dropped.
    pub(crate) fn work(&self, work: Work, session: SnapshotSessionId) -> Working {
        let id = if self.0.is_empty() { 0 } else { NEXT_WORK.fetch_add(1, Ordering::Relaxed) };
        self.each(|watcher| watcher.work_started(id, work, session));
        Working { watchers: self.clone(), id }
    }

    /// The observer for the protocol: metrics and all watchers.
    pub(crate) fn observer(&self, metrics: Arc<Metrics>) -> Arc<dyn Observer> {
        Arc::new(Fanout { metrics, watchers: self.clone() })
    }
}

/// Blocking work in progress.
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
