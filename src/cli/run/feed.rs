//! What the node tells introspection.

use std::{sync::Arc, time::Duration};

use libp2p::{PeerId, core::ConnectedPoint, identity::Keypair, swarm::ConnectionId};
use rpp_introspection::{Registry, SessionView, WaitingView, transport};
use rpp_p2p::{SnapshotSessionId, snapshots::Observer};
use rpp_runtime::{Hooks, SnapshotStreamStatus, WaitingOn, Watcher};
use serde::Serialize;

/// Plugs a new registry into a node that is about to start: a counted transport, and a watcher.
pub(super) fn plug_in(identity: &Keypair, hooks: &mut Hooks) -> Registry {
    let registry = Registry::new(&identity.public().to_peer_id(), env!("CARGO_PKG_VERSION"));
    let counted = registry.clone();
    hooks.transport = Some(Box::new(move |identity: &Keypair| transport::transport(identity, &counted)));
    hooks.watchers.push(Arc::new(Feed(registry.clone())));
    registry
}

struct Feed(Registry);

impl Observer for Feed {}

impl Watcher for Feed {
    fn connection_established(&self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint, first: bool) {
        self.0.connection_established(&peer, connection, endpoint, first);
    }

    fn connection_closed(&self, peer: PeerId, _: ConnectionId, endpoint: &ConnectedPoint, reason: &str, last: bool) {
        if last {
            self.0.peer_disconnected(&peer, endpoint.get_remote_address(), reason);
        }
    }

    fn round_trip(&self, peer: PeerId, connection: ConnectionId, elapsed: Duration) {
        self.0.latency(&peer, connection, elapsed);
    }

    fn session(&self, status: &SnapshotStreamStatus) {
        self.0.session(view(status));
    }

    fn session_removed(&self, session: SnapshotSessionId) {
        self.0.session_removed(session.get());
    }

    fn protocol_violation(&self, peer: PeerId, session: SnapshotSessionId, reason: &str) {
        let session = (session != SnapshotSessionId::UNREADABLE).then(|| session.get());
        self.0.protocol_violation(&peer, session, reason);
    }
}

fn view(status: &SnapshotStreamStatus) -> SessionView {
    SessionView {
        session: status.session.get(),
        peer: status.peer.to_base58(),
        state: word(&status.state),
        root: status.root.map(|root| root.to_string()),
        height: status.height,
        total_chunks: status.total_chunks,
        total_updates: status.total_updates,
        total_bytes: status.total_bytes,
        last_chunk_index: status.last_chunk_index,
        last_update_index: status.last_update_index,
        confirmed_chunk_index: status.confirmed_chunk_index,
        confirmed_update_index: status.confirmed_update_index,
        bytes_received: status.bytes_received,
        bytes_verified: status.bytes_verified,
        bytes_durable: status.bytes_durable,
        verified_bytes_per_second: status.verified_bytes_per_second,
        waiting_on: status.waiting_on.as_ref().map(waiting),
        error: status.error.clone(),
        error_code: status.error_code.as_ref().map(word),
    }
}

fn waiting(on: &WaitingOn) -> WaitingView {
    WaitingView {
        what: word(&on.what),
        index: on.index,
        peer: on.peer.clone(),
        since_ms: on.since_ms,
        reason: on.reason.clone(),
        retry_at: on.retry_at.clone(),
    }
}

/// The word that the status's JSON has for it.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_says_what_the_status_says() {
        let json = serde_json::json!({
            "session": 7, "peer": "12D3KooWGjLmW1BoGWE2fvTUrXVqXCvK8Yd2jGVHYiFDy5vQpQg6", "state": "backing_off",
            "root": "ab".repeat(32), "height": 12, "total_chunks": 1024, "total_updates": 3, "total_bytes": 1_073_741_824_u64,
            "last_chunk_index": 311, "last_update_index": 2, "confirmed_chunk_index": 303, "confirmed_update_index": 1,
            "bytes_received": 3, "bytes_verified": 2, "bytes_durable": 1, "verified_bytes_per_second": 5, "verified": false,
            "waiting_on": {"what": "light_client_update", "index": 3, "peer": "12D3", "since_ms": 14, "reason": "asked",
                           "retry_at": "2026-01-01T00:00:00Z"},
            "error": "no route", "error_code": "network", "payload_path": null, "started_at": "", "updated_at": ""
        });
        let status: SnapshotStreamStatus = serde_json::from_value(json.clone()).unwrap();
        let expected: SessionView = serde_json::from_value(json).unwrap();
        assert_eq!(view(&status), expected);
    }
}
