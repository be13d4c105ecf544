//! The peers that the node knows: connected ones, and configured ones. It dials the configured ones and keeps their
//! connections.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, identify, identity::PublicKey, multiaddr::Protocol, swarm::ConnectionId};
use rpp_common::{Backoff, text::escape};

use crate::error::UnusableKey;
use crate::limits::{MAX_SAID, REDIAL_MAX, REDIAL_MIN};
use crate::status::PeerInfo;

/// Checks that the key of a peer id can be used here. The ids of Ed25519 and secp256k1 keys contain the key. Those of
/// ECDSA and RSA keys are hashes, which can be checked only when the peer is connected.
///
/// # Errors
/// Why the key can never be used.
pub(crate) fn check_key(peer: &PeerId) -> Result<(), UnusableKey> {
    const IDENTITY: u64 = 0;
    let hash: &libp2p::multihash::Multihash<64> = peer.as_ref();
    if hash.code() != IDENTITY {
        return Ok(());
    }
    Ok(PublicKey::try_decode_protobuf(hash.digest()).map(drop)?)
}

/// The table of peers. It holds connected peers (bounded by the connection limits) and configured ones.
#[derive(Debug)]
pub(crate) struct Peers {
    configured: HashMap<PeerId, Configured>,
    live: HashMap<PeerId, Live>,
}

#[derive(Debug)]
struct Configured {
    addresses: Vec<Multiaddr>,
    next_dial: Instant,
    backoff: Backoff,
}

impl Configured {
    fn new(now: Instant) -> Self {
        let backoff = Backoff::new(REDIAL_MIN, REDIAL_MAX, rand::random());
        Self { addresses: Vec::new(), next_dial: now, backoff }
    }
}

#[derive(Debug, Default)]
struct Live {
    connections: HashMap<ConnectionId, Multiaddr>,
    rtt: Option<Duration>,
    protocols: Vec<String>,
    agent: Option<String>,
}

impl Peers {
    /// `configured` are multiaddrs that end in `/p2p/<id>` (the configuration checks that).
    pub(crate) fn new(configured: &[Multiaddr], now: Instant) -> Self {
        let mut peers = HashMap::new();
        for address in configured {
            if let Some(Protocol::P2p(peer)) = address.iter().last() {
                peers.entry(peer).or_insert_with(|| Configured::new(now)).addresses.push(address.clone());
            }
        }
        Self { configured: peers, live: HashMap::new() }
    }

    /// Records a connection; returns whether it is the first one to the peer.
    pub(crate) fn connected(&mut self, peer: PeerId, connection: ConnectionId, address: Multiaddr) -> bool {
        if let Some(configured) = self.configured.get_mut(&peer) {
            configured.backoff.reset();
        }
        let live = self.live.entry(peer).or_default();
        live.connections.insert(connection, address);
        live.connections.len() == 1
    }

    /// Records the end of a connection; returns whether it was the last one to the peer.
    pub(crate) fn disconnected(&mut self, peer: PeerId, connection: ConnectionId, now: Instant) -> bool {
        let Some(live) = self.live.get_mut(&peer) else { return false };
        live.connections.remove(&connection);
        if !live.connections.is_empty() {
            return false;
        }
        self.live.remove(&peer);
        if let Some(configured) = self.configured.get_mut(&peer) {
            configured.next_dial = now + configured.backoff.pause();
            configured.backoff.reset(); // no dial has failed yet
        }
        true
    }

    pub(crate) fn identified(&mut self, peer: PeerId, info: &identify::Info) {
        let Some(live) = self.live.get_mut(&peer) else { return };
        live.protocols = info.protocols.iter().take(MAX_SAID).map(|p| escape(p.as_ref())).collect();
        live.agent = Some(escape(&info.agent_version));
    }

    pub(crate) fn measured(&mut self, peer: PeerId, rtt: Duration) {
        if let Some(live) = self.live.get_mut(&peer) {
            live.rtt = Some(rtt);
        }
    }

    /// The remote address of a connection.
    pub(crate) fn address_of(&self, peer: &PeerId, connection: ConnectionId) -> Option<&Multiaddr> {
        self.live.get(peer)?.connections.get(&connection)
    }

    pub(crate) fn is_connected(&self, peer: &PeerId) -> bool {
        self.live.contains_key(peer)
    }

    /// The configured peers.
    pub(crate) fn configured(&self) -> impl Iterator<Item = PeerId> {
        self.configured.keys().copied()
    }

    /// Addresses from the configuration.
    pub(crate) fn addresses(&self, peer: &PeerId) -> &[Multiaddr] {
        self.configured.get(peer).map_or(&[], |configured| &configured.addresses)
    }

    /// Configured peers that are due for a dial; each is put off by its back-off.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let mut due = Vec::new();
        for (peer, configured) in &mut self.configured {
            if !self.live.contains_key(peer) && configured.next_dial <= now {
                configured.next_dial = now + configured.backoff.pause();
                due.push((*peer, configured.addresses.clone()));
            }
        }
        due
    }

    /// When the next configured peer is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.configured
            .iter()
            .filter(|(peer, _)| !self.live.contains_key(*peer))
            .map(|(_, configured)| configured.next_dial)
            .min()
    }

    /// `GET /p2p/peers`, by peer id.
    pub(crate) fn list(&self) -> Vec<PeerInfo> {
        let mut rows: Vec<_> = self
            .live
            .iter()
            .map(|(peer, live)| PeerInfo {
                peer_id: peer.to_string(),
                connected: true,
                addresses: live.connections.values().map(ToString::to_string).collect(),
                rtt_ms: live.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
                protocols: live.protocols.clone(),
                agent: live.agent.clone(),
            })
            .chain(self.configured.iter().filter(|(peer, _)| !self.live.contains_key(*peer)).map(
                |(peer, configured)| PeerInfo {
                    peer_id: peer.to_string(),
                    connected: false,
                    addresses: configured.addresses.iter().map(ToString::to_string).collect(),
                    rtt_ms: None,
                    protocols: Vec::new(),
                    agent: None,
                },
            ))
            .collect();
        rows.sort_by(|a, b| a.peer_id.cmp(&b.peer_id));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> (PeerId, Multiaddr) {
        let peer = PeerId::random();
        (peer, format!("/ip4/10.0.0.7/tcp/4001/p2p/{peer}").parse().unwrap())
    }

    #[test]
    fn a_configured_peer_is_dialled_again_after_doubling_pauses_with_jitter() {
        let start = Instant::now();
        let (peer, address) = peer();
        let mut peers = Peers::new(std::slice::from_ref(&address), start);
        let mut now = start;
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(peers.due(now), [(peer, vec![address.clone()])]);
            assert!(peers.due(now).is_empty(), "put off");
            let (next, expected) = (peers.next_due().unwrap(), Duration::from_secs(expected));
            let pause = next - now;
            assert!(pause >= expected * 3 / 4 && pause <= (expected * 5 / 4).min(REDIAL_MAX), "{pause:?}");
            now = next;
        }
        // A lost connection starts the back-off anew, so the next dial waits for a moment.
        let connection = ConnectionId::new_unchecked(1);
        assert!(peers.connected(peer, connection, address));
        assert_eq!((peers.next_due(), peers.due(now).len()), (None, 0));
        assert!(peers.disconnected(peer, connection, now));
        let pause = peers.next_due().unwrap() - now;
        assert!(pause >= REDIAL_MIN * 3 / 4 && pause <= REDIAL_MIN * 5 / 4, "{pause:?}");
    }

    #[test]
    fn peers_that_were_lost_together_are_not_dialled_together() {
        let now = Instant::now();
        let addresses: Vec<_> = (0..16).map(|_| peer().1).collect();
        let mut peers = Peers::new(&addresses, now);
        assert_eq!(peers.due(now).len(), 16);
        let next: std::collections::HashSet<_> =
            peers.configured.values().map(|configured| configured.next_dial).collect();
        assert!(next.len() > 1, "all at once");
    }
}
