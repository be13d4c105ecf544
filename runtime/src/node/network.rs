//! The swarm's events, and the parts of the node that receive them.

use std::time::Instant;

use libp2p::{
    PeerId, allow_block_list,
    core::ConnectedPoint,
    swarm::{ConnectionId, ListenError, SwarmEvent},
};

use super::Node;
use crate::{
    bans::{BanSource, Blame},
    discovery::Wish,
    status::NodeEvent,
    swarm::{self, NodeBehaviourEvent},
};

impl Node {
    pub(super) fn on_swarm(&mut self, event: SwarmEvent<NodeBehaviourEvent>) {
        use libp2p::metrics::Recorder as _;
        self.metrics.libp2p.record(&event);
        let now = Instant::now();
        match event {
            SwarmEvent::NewListenAddr { listener_id, address, .. } => {
                tracing::info!("listening on {address}");
                self.listeners.announced(listener_id);
                self.note_readiness();
            }
            SwarmEvent::ListenerError { error, .. } => {
                if let Some(report) = self.failed_accepts.report(now, &error) {
                    tracing::warn!("a listener reported: {report}");
                }
            }
            SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. } => {
                let asked = self.listeners.closed(listener_id).map_or_else(String::new, |asked| format!(" on {asked}"));
                tracing::error!("the listener{asked} closed: {error}");
                self.note_readiness();
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let first = self.peers.connected(peer_id, connection_id, endpoint.get_remote_address().clone());
                self.discovery.on_connected(peer_id, &endpoint);
                self.watchers.each(|watcher| {
                    watcher.connection_established(peer_id, connection_id, &endpoint, first);
                });
                if first {
                    let _ = self.events.send(NodeEvent::PeerConnected(peer_id));
                    self.manager.on_connected(peer_id, now);
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, endpoint, cause, .. } => {
                let reason = cause.map_or_else(|| "it was closed".to_owned(), |cause| cause.to_string());
                if self.on_closed(peer_id, connection_id, &endpoint, &reason, now) {
                    let _ = self.events.send(NodeEvent::PeerDisconnected(peer_id));
                    self.manager.on_disconnected(peer_id, &reason, now);
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. }
                if !self.peers.is_connected(&peer) =>
            {
                let reason = swarm::explain_dial_error(&error);
                self.discovery.on_unreachable(peer, &reason);
                self.swarm.behaviour_mut().offers.forget(&peer);
                self.manager.on_dial_failed(peer, &reason, now);
            }
            SwarmEvent::IncomingConnectionError { error: ListenError::Denied { cause }, .. }
                if cause.downcast_ref::<allow_block_list::Blocked>().is_some() =>
            {
                self.metrics.bans.refused();
            }
            SwarmEvent::Behaviour(event) => self.on_behaviour(event, now),
            _ => {}
        }
    }

    /// Tells the watchers that a connection closed. Returns whether it was the last one to its peer.
    pub(super) fn on_closed(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
        reason: &str,
        now: Instant,
    ) -> bool {
        let last = self.peers.disconnected(peer, connection, now);
        self.watchers.each(|watcher| watcher.connection_closed(peer, connection, endpoint, reason, last));
        last
    }

    fn on_behaviour(&mut self, event: NodeBehaviourEvent, now: Instant) {
        use libp2p::metrics::Recorder as _;
        match event {
            NodeBehaviourEvent::Identify(event) => {
                let (_, event) = event;
                self.metrics.libp2p.record(&event);
                if let libp2p::identify::Event::Received { peer_id, info, connection_id } = event {
                    self.peers.identified(peer_id, &info);
                    if let Some(over) = self.peers.address_of(&peer_id, connection_id) {
                        self.discovery.on_identified(&mut self.swarm.behaviour_mut().kad, peer_id, &info, over);
                    }
                    if info.agent_version.starts_with(swarm::AGENT) {
                        self.swarm.behaviour_mut().snapshots.negotiate_lazily(peer_id);
                    }
                }
            }
            NodeBehaviourEvent::Ping(event) => {
                self.metrics.libp2p.record(&event);
                if let Ok(rtt) = event.result {
                    self.peers.measured(event.peer, rtt);
                    self.manager.on_round_trip(event.peer, rtt, now);
                    self.watchers.each(|watcher| watcher.round_trip(event.peer, event.connection, rtt));
                }
            }
            NodeBehaviourEvent::Snapshots(event) => {
                if let Some((peer, evidence)) = self.warden.note(now, &event) {
                    self.accuse(Blame { source: BanSource::Peer(peer), session: None, evidence });
                }
                self.manager.on_snapshots(event, &mut self.swarm.behaviour_mut().snapshots, now);
            }
            NodeBehaviourEvent::Offers(event) => self.discovery.said.on_said(&event, &self.metrics, now),
            NodeBehaviourEvent::Kad((scope, event)) => {
                self.metrics.libp2p.record(&event);
                let kad = &mut self.swarm.behaviour_mut().kad;
                let found = self.discovery.dht.on_event(kad, scope, event, now);
                self.swarm.behaviour_mut().next_answer();
                for peer in found {
                    // Kademlia knows the addresses while its query runs.
                    if !self.peers.is_connected(&peer) {
                        let told = self.discovery.addresses(&peer);
                        swarm::dial_told(&mut self.swarm, peer, Vec::new(), told, Wish::Answer).ok();
                    }
                }
            }
            NodeBehaviourEvent::Mdns(libp2p::mdns::Event::Discovered(found)) => {
                let peers = &self.peers;
                for (peer, addresses) in self.discovery.neighbours.due(found, |peer| peers.is_connected(peer), now) {
                    tracing::debug!(%peer, "a neighbour");
                    swarm::dial_told(&mut self.swarm, peer, Vec::new(), addresses, Wish::Own).ok();
                }
            }
            _ => {}
        }
    }
}
