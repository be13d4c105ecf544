//! Passes to the introspection registry what the node reports to its observers. The transport reports traffic by
//! itself.

use std::time::Duration;

use libp2p::{PeerId, core::ConnectedPoint, swarm::ConnectionId};
use rpp_introspection::{Registry, proto};
use rpp_p2p::{SnapshotSessionId, snapshots::Observer};
use rpp_runtime::{DhtView, QueryCounts, SnapshotStreamStatus, Watcher};

/// Feeds a registry.
pub(crate) struct Introspection(Registry);

impl Introspection {
    pub(crate) fn new(registry: Registry) -> Self {
        Self(registry)
    }
}

impl Observer for Introspection {}

impl Watcher for Introspection {
    fn connection_established(&self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint, first: bool) {
        self.0.connection_established(&peer, connection, endpoint, first);
    }

    fn connection_closed(
        &self,
        peer: PeerId,
        _connection: ConnectionId,
        endpoint: &ConnectedPoint,
        reason: &str,
        last: bool,
    ) {
        if last {
            self.0.peer_disconnected(&peer, endpoint.get_remote_address(), &rpp_p2p::text::escape(reason));
        }
    }

    fn round_trip(&self, peer: PeerId, connection: ConnectionId, elapsed: Duration) {
        self.0.latency(&peer, connection, elapsed);
    }

    fn dht(&self, view: &DhtView) {
        self.0.dht(dht(view, self.0.clock_ms()));
    }

    fn session(&self, status: &SnapshotStreamStatus) {
        self.0.session(status);
    }

    fn session_removed(&self, session: SnapshotSessionId) {
        self.0.session_removed(session);
    }

    fn protocol_violation(&self, peer: PeerId, session: SnapshotSessionId, reason: &str) {
        let session = Some(session).filter(|session| *session != SnapshotSessionId::UNREADABLE);
        self.0.protocol_violation(&peer, session, reason);
    }
}

/// The DHT in introspection's form.
fn dht(view: &DhtView, now_ms: u64) -> proto::Dht {
    use proto::dht::{Bucket, Params, PeerInDht, QueryGauge, peer_in_dht::Status};
    let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    let gauge = |counts: QueryCounts| {
        Some(QueryGauge { success: counts.success, error: counts.error, timeout: counts.timeout })
    };
    let peer = |peer: &rpp_runtime::DhtPeer| PeerInDht {
        peer_id: peer.peer.to_base58(),
        status: if peer.is_connected { Status::Active } else { Status::Missing }.into(),
        age_in_bucket: u32::try_from(peer.age.as_secs()).unwrap_or(u32::MAX),
    };
    let bucket =
        |bucket: &rpp_runtime::DhtBucket| Bucket { cpl: bucket.cpl, peers: bucket.peers.iter().map(peer).collect() };
    let mut buckets: Vec<_> = view.buckets.iter().map(bucket).collect();
    // The observer toolkit requires a first bucket, and takes it for that of peers that share no bit.
    if buckets.first().is_none_or(|first| first.cpl != 0) {
        buckets.insert(0, Bucket { cpl: 0, peers: Vec::new() });
    }
    proto::Dht {
        protocol: view.protocol.clone(),
        enabled: true,
        start_ts: now_ms.saturating_sub(millis(view.age)),
        params: Some(Params { k: view.k, alpha: view.alpha, disjoint_paths: 0, beta: 0 }),
        buckets,
        incoming_queries: gauge(view.incoming),
        outgoing_queries: gauge(view.outgoing),
    }
}
