//! Who we know: connected peers, and the configured ones that are dialled and kept.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, identify, identity::PublicKey, multiaddr::Protocol, swarm::ConnectionId};
use rpp_p2p::text::escape;

use crate::status::PeerInfo;

/// First wait before a configured peer is dialled again; it doubles up to [`REDIAL_MAX`].
const REDIAL_MIN: Duration = Duration::from_secs(1);
/// Longest wait before a configured peer is dialled again.
const REDIAL_MAX: Duration = Duration::from_secs(60);
/// Addresses and protocols kept of what a peer says of itself.
const MAX_SAID: usize = 32;

/// Whether a peer id is of a key that can be checked here. The ids of Ed25519 and secp256k1 keys hold the key itself; those
/// of ECDSA and RSA keys are a hash, which says nothing before the peer is met.
///
/// # Errors
/// Why it never can be.
pub(crate) fn check_key(peer: &PeerId) -> Result<(), String> {
    const IDENTITY: u64 = 0;
    let hash: &libp2p::multihash::Multihash<64> = peer.as_ref();
    if hash.code() != IDENTITY {
        return Ok(());
    }
    PublicKey::try_decode_protobuf(hash.digest()).map(drop).map_err(|error| escape(&error.to_string()))
}

/// The table. Holds connected peers (bounded by the connection limits) and configured ones.
#[derive(Debug)]
pub(crate) struct Peers {
    configured: HashMap<PeerId, Configured>,
    live: HashMap<PeerId, Live>,
}

#[derive(Debug)]
struct Configured {
    addresses: Vec<Multiaddr>,
    next_dial: Instant,
    wait: Duration,
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
                peers
                    .entry(peer)
                    .or_insert_with(|| Configured { addresses: Vec::new(), next_dial: now, wait: REDIAL_MIN })
                    .addresses
                    .push(address.clone());
            }
        }
        Self { configured: peers, live: HashMap::new() }
    }

    /// Whether this was the first connection to the peer.
    pub(crate) fn connected(&mut self, peer: PeerId, connection: ConnectionId, address: Multiaddr) -> bool {
        if let Some(configured) = self.configured.get_mut(&peer) {
            configured.wait = REDIAL_MIN;
        }
        let live = self.live.entry(peer).or_default();
        live.connections.insert(connection, address);
        live.connections.len() == 1
    }

    /// Whether this was the last connection to the peer.
    pub(crate) fn disconnected(&mut self, peer: PeerId, connection: ConnectionId, now: Instant) -> bool {
        let Some(live) = self.live.get_mut(&peer) else { return false };
        live.connections.remove(&connection);
        if !live.connections.is_empty() {
            return false;
        }
        self.live.remove(&peer);
        if let Some(configured) = self.configured.get_mut(&peer) {
            configured.next_dial = now + configured.wait;
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

    pub(crate) fn is_connected(&self, peer: &PeerId) -> bool {
        self.live.contains_key(peer)
    }

    /// Whom the configuration names.
    pub(crate) fn configured(&self) -> impl Iterator<Item = PeerId> {
        self.configured.keys().copied()
    }

    /// Addresses from the configuration.
    pub(crate) fn addresses(&self, peer: &PeerId) -> &[Multiaddr] {
        self.configured.get(peer).map_or(&[], |configured| &configured.addresses)
    }

    /// Configured peers that are due for a dial; each is put off by its doubling wait.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let mut due = Vec::new();
        for (peer, configured) in &mut self.configured {
            if !self.live.contains_key(peer) && configured.next_dial <= now {
                configured.next_dial = now + configured.wait;
                configured.wait = (configured.wait * 2).min(REDIAL_MAX);
                due.push((*peer, configured.addresses.clone()));
            }
        }
        due
    }

    /// When [`Self::due`] next has something.
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
