//! Everything that introspection knows of the node. The counting wrapper and the node write it; the server reads it.
//!
//! Everything in it is bounded ([`limits`](crate::limits)). Closed connections and streams, and events, are kept only
//! while a client is connected. Without one, its size depends only on the live connections and sessions.

mod gauge;
mod records;
mod sessions;
mod state;
mod table;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId,
    core::ConnectedPoint,
    swarm::{ConnectionId, SwarmEvent},
};
use rpp_p2p::{
    SnapshotSessionId, SnapshotStreamStatus,
    stream_tags::{self, StreamTags},
};
use tokio::sync::broadcast;

pub use records::NewConnection;
pub(crate) use state::without_older;
pub(crate) use table::without_peer;

use crate::{
    clock::Clock,
    events::{Event, Frame, Kind},
    limits::{DEFAULT_INTERVAL_MS, EVENT_CHANNEL, MAX_CONNECTIONS},
    proto::{self, Role},
};
use gauge::Gauges;
use records::{ConnectionRecord, StreamCounts, StreamRecord};
use sessions::Sessions;
use table::Table;

/// A cheap handle to the registry.
#[derive(Clone, Debug)]
pub struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started_ms: u64,
    clock: Clock,
    runtime: proto::Runtime,
    next_id: AtomicU64,
    table: Mutex<Table>,
    counts: Arc<StreamCounts>,
    /// Traffic of closed connections.
    past: Gauges,
    sessions: Mutex<Sessions>,
    dht: Mutex<Option<proto::Dht>>,
    viewers: AtomicUsize,
    /// The longest retention of all clients.
    retention_ms: AtomicU64,
    /// When the previous state was taken; 0: never.
    previous_ms: AtomicU64,
    events: broadcast::Sender<Arc<Frame>>,
}

impl Registry {
    /// A registry for a node with this identity.
    #[must_use]
    pub fn new(peer: &PeerId, version: &str) -> Self {
        Self::with_clock(peer, version, Clock::system())
    }

    /// A registry with another clock, for tests and simulations.
    #[must_use]
    pub fn with_clock(peer: &PeerId, version: &str, clock: Clock) -> Self {
        let runtime = proto::Runtime {
            implementation: "rpp-node".to_owned(),
            version: version.to_owned(),
            platform: std::env::consts::OS.to_owned(),
            peer_id: peer.to_base58(),
            event_types: Kind::ALL.map(Kind::announcement).to_vec(),
        };
        Self(Arc::new(Inner {
            started_ms: clock.now_ms(),
            clock,
            runtime,
            next_id: AtomicU64::new(1),
            table: Mutex::default(),
            counts: Arc::default(),
            past: Gauges::default(),
            sessions: Mutex::default(),
            dht: Mutex::default(),
            viewers: AtomicUsize::new(0),
            retention_ms: AtomicU64::new(0),
            previous_ms: AtomicU64::new(0),
            events: broadcast::channel(EVENT_CHANNEL).0,
        }))
    }

    /// Records a new connection. The record lives as long as the returned value.
    #[must_use]
    pub fn connection_opened(&self, about: NewConnection) -> OpenConnection {
        let now_ms = self.now_ms();
        let record = Arc::new(ConnectionRecord::new(self.next_id(), about, now_ms, Arc::clone(&self.0.counts)));
        self.table().add(&record);
        OpenConnection { registry: self.clone(), record }
    }

    /// The swarm established a connection. Records the swarm's id for it, and whether it is the first one to this peer.
    /// [`Self::handle_swarm_event`] calls this.
    pub fn connection_established(
        &self,
        peer: &PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
        first: bool,
    ) {
        let (role, remote) = (role_of(endpoint), endpoint.get_remote_address());
        self.table().bind(connection, peer, role, remote);
        if first {
            self.peer_connected(peer, remote, role);
        }
    }

    /// Handles an event of the swarm. From these the registry learns the swarm's ids of connections, when the first
    /// connection to a peer is established, and when the last one is closed. Call it with every event.
    pub fn handle_swarm_event<E>(&self, event: &SwarmEvent<E>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, num_established, .. } => {
                self.connection_established(peer_id, *connection_id, endpoint, num_established.get() == 1);
            }
            SwarmEvent::ConnectionClosed { peer_id, endpoint, num_established: 0, cause, .. } => {
                let reason = cause.as_ref().map_or_else(|| "closed".to_owned(), ToString::to_string);
                self.peer_disconnected(peer_id, endpoint.get_remote_address(), &reason);
            }
            _ => {}
        }
    }

    /// The first connection to a peer was established. [`Self::handle_swarm_event`] calls this.
    pub fn peer_connected(&self, peer: &PeerId, address: &Multiaddr, role: Role) {
        self.publish(|now_ms| {
            vec![
                Event::new(Kind::PeerConnected, now_ms)
                    .with("peer", &peer.to_base58())
                    .with("address", &address.to_string())
                    .with("role", role.as_str_name().to_ascii_lowercase().as_str()),
            ]
        });
    }

    /// The last connection to a peer was closed. [`Self::handle_swarm_event`] calls this.
    pub fn peer_disconnected(&self, peer: &PeerId, address: &Multiaddr, reason: &str) {
        self.publish(|now_ms| {
            vec![
                Event::new(Kind::PeerDisconnected, now_ms)
                    .with("peer", &peer.to_base58())
                    .with("address", &address.to_string())
                    .with("reason", reason),
            ]
        });
    }

    /// The round trip of a ping on this connection.
    pub fn latency(&self, peer: &PeerId, connection: ConnectionId, round_trip: Duration) {
        if let Some(record) = self.table().find(connection, peer) {
            let nanos = u64::try_from(round_trip.as_nanos()).unwrap_or(u64::MAX);
            record.latency_ns.store(nanos.max(1), Relaxed);
        }
    }

    /// Call this whenever a session's status has changed. The events (started, progress, waiting, completed, failed)
    /// and how often they are sent follow from it.
    pub fn session(&self, status: &SnapshotStreamStatus) {
        let now_ms = self.now_ms();
        let events = self.sessions().handle_status(now_ms, status.clone());
        self.send(&events);
    }

    /// A session was cancelled or its record is gone.
    pub fn session_removed(&self, session: SnapshotSessionId) {
        let now_ms = self.now_ms();
        let events = self.sessions().handle_removed(now_ms, session);
        self.send(&events);
    }

    /// A peer broke the protocol.
    pub fn protocol_violation(&self, peer: &PeerId, session: Option<SnapshotSessionId>, reason: &str) {
        self.publish(|now_ms| {
            vec![
                Event::new(Kind::ProtocolViolation, now_ms)
                    .with("peer", &peer.to_base58())
                    .with("session", session.map(SnapshotSessionId::get))
                    .with("reason", reason),
            ]
        });
    }

    /// Milliseconds since the Unix epoch, by this registry's clock.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.0.clock.now_ms()
    }

    /// The runtime that each client gets once, with all event types.
    #[must_use]
    pub fn runtime(&self) -> &proto::Runtime {
        &self.0.runtime
    }

    /// The present state. Rates are those since the previous call.
    #[must_use]
    pub fn state(&self) -> proto::State {
        let now_ms = self.now_ms();
        let records = self.table().all(MAX_CONNECTIONS);
        let mut total = self.0.past.at_rest();
        let mut connections = Vec::with_capacity(records.len());
        for record in &records {
            let (entry, measured) = state::connection(record, now_ms);
            if entry.status() != proto::Status::Closed {
                total = total.plus(measured);
            }
            connections.push(entry);
        }
        let previous_ms = self.0.previous_ms.swap(now_ms, Relaxed);
        let covered = match previous_ms {
            0 => now_ms.saturating_sub(self.0.started_ms).min(DEFAULT_INTERVAL_MS),
            previous_ms => now_ms.saturating_sub(previous_ms),
        };
        proto::State {
            subsystems: Some(proto::Subsystems {
                connections,
                dht: self.0.dht.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            }),
            traffic: Some(total.traffic()),
            instant_ts: now_ms,
            start_ts: now_ms - covered,
            snapshot_duration_ms: u32::try_from(covered).unwrap_or(u32::MAX),
        }
    }

    /// Sets the present content of the node's DHT. The caller bounds it: Kademlia's tables have 256 buckets of 20
    /// peers.
    pub fn dht(&self, dht: proto::Dht) {
        *self.0.dht.lock().unwrap_or_else(PoisonError::into_inner) = Some(dht);
    }

    /// The time of this registry's clock, milliseconds since 1970.
    #[must_use]
    pub fn clock_ms(&self) -> u64 {
        self.now_ms()
    }

    /// Bytes received from and sent to each peer over its live connections, by its id as text.
    #[must_use]
    pub fn traffic(&self) -> HashMap<String, (u64, u64)> {
        let mut traffic = HashMap::new();
        for record in self.table().all(MAX_CONNECTIONS) {
            if record.closed_ms.load(Relaxed) == 0 {
                let (received, sent) = record.gauges.totals();
                let both: &mut (u64, u64) = traffic.entry(record.peer_text.clone()).or_default();
                *both = (both.0.saturating_add(received), both.1.saturating_add(sent));
            }
        }
        traffic
    }

    /// Sets the number of clients and the longest of their retentions. Items that were closed longer ago are dropped;
    /// without clients, all of them.
    pub(crate) fn set_viewers(&self, viewers: usize, retention_ms: u64) {
        self.0.viewers.store(viewers, Relaxed);
        self.0.retention_ms.store(retention_ms, Relaxed);
        if viewers == 0 {
            self.0.previous_ms.store(0, Relaxed);
            self.forget(u64::MAX);
        }
    }

    /// Drops what was closed longer ago than the longest retention.
    pub(crate) fn expire(&self) {
        self.forget(self.now_ms().saturating_sub(self.0.retention_ms.load(Relaxed)));
    }

    /// Sends the session events that were held back and are due.
    pub(crate) fn handle_timeout(&self) {
        let now_ms = self.now_ms();
        let events = self.sessions().handle_timeout(now_ms);
        self.send(&events);
    }

    /// The running sessions, and all events from now on.
    pub(crate) fn listen(&self) -> (Vec<Arc<Frame>>, broadcast::Receiver<Arc<Frame>>) {
        let now_ms = self.now_ms();
        // The lock ensures that no session event falls between the two.
        let sessions = self.sessions();
        let receiver = self.0.events.subscribe();
        let present = sessions.present(now_ms).iter().map(|event| Arc::new(event.frame())).collect();
        (present, receiver)
    }

    fn forget(&self, horizon_ms: u64) {
        self.table().forget(horizon_ms);
    }

    fn publish(&self, events: impl FnOnce(u64) -> Vec<Event>) {
        if self.is_watched() {
            self.send(&events(self.now_ms()));
        }
    }

    fn send(&self, events: &[Event]) {
        if self.is_watched() {
            for event in events {
                // It is not an error if nobody listens.
                let _ = self.0.events.send(Arc::new(event.frame()));
            }
        }
    }

    fn is_watched(&self) -> bool {
        self.0.viewers.load(Relaxed) > 0
    }

    fn next_id(&self) -> u64 {
        self.0.next_id.fetch_add(1, Relaxed)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Our role in the connection.
pub(crate) fn role_of(endpoint: &ConnectedPoint) -> Role {
    if endpoint.is_dialer() { Role::Initiator } else { Role::Responder }
}

/// An open connection. Dropping it marks it as closed in the registry.
#[derive(Debug)]
pub struct OpenConnection {
    registry: Registry,
    record: Arc<ConnectionRecord>,
}

impl OpenConnection {
    /// Records a new stream. The record lives as long as the returned value.
    #[must_use]
    pub fn stream_opened(&self, role: Role) -> OpenStream {
        let record = Arc::new(StreamRecord::new(self.registry.next_id(), role, self.registry.now_ms()));
        self.record.add_stream(&record);
        OpenStream { registry: self.registry.clone(), connection: Arc::clone(&self.record), record, tags: None }
    }

    /// The remote address changed.
    pub fn set_remote(&self, address: &Multiaddr) {
        self.record.addresses().remote = Some(without_peer(address).to_string());
    }

    /// It is being closed.
    pub fn closing(&self) {
        self.record.closing.store(true, Relaxed);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let (received, sent) = self.record.gauges.totals();
        self.registry.0.past.add(received, sent);
        self.record.closed_ms.store(self.registry.now_ms().max(1), Relaxed);
        self.registry.table().end(&self.record, self.registry.is_watched());
    }
}

/// An open stream. Dropping it marks it as closed in the registry.
#[derive(Debug)]
pub struct OpenStream {
    registry: Registry,
    connection: Arc<ConnectionRecord>,
    record: Arc<StreamRecord>,
    /// The tags in the record.
    tags: Option<StreamTags>,
}

impl OpenStream {
    /// Counts received bytes.
    pub fn received(&mut self, bytes: usize) {
        self.record.gauges.add_received(bytes);
        self.connection.gauges.add_received(bytes);
    }

    /// Counts sent bytes.
    pub fn sent(&mut self, bytes: usize) {
        self.record.gauges.add_sent(bytes);
        self.connection.gauges.add_sent(bytes);
        self.take_tags();
    }

    /// The protocol that was proposed, or (`agreed`) agreed on.
    pub fn set_protocol(&self, protocol: Option<String>, agreed: bool) {
        self.record.set_protocol(protocol, agreed);
    }

    /// Sets what the stream serves. Bytes sent while [`stream_tags`] are set do this by themselves.
    pub fn set_tags(&mut self, tags: &StreamTags) {
        if !self.tags.as_ref().is_some_and(|known| Arc::ptr_eq(known, tags)) {
            self.tags = Some(Arc::clone(tags));
            self.record.labels().tags = Some(Arc::clone(tags));
        }
    }

    /// An operation on it failed.
    pub fn failed(&self) {
        self.record.fail();
    }

    fn take_tags(&mut self) {
        stream_tags::current(&mut |tags| self.set_tags(tags));
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.record.end(self.registry.now_ms());
        self.connection.end_stream(&self.record, self.registry.is_watched());
    }
}
