//! Tells the introspection registry what the node tells its watchers. Traffic comes from the transport by itself.

use std::time::Duration;

use libp2p::{PeerId, core::ConnectedPoint, swarm::ConnectionId};
use rpp_introspection::Registry;
use rpp_p2p::{SnapshotSessionId, snapshots::Observer};
use rpp_runtime::{SnapshotStreamStatus, Watcher};

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
