//! Peers on the same link, found by mDNS. mDNS proves nothing: a peer is dialled at the address that it names, and the
//! handshake proves who it is.

use std::{collections::HashMap, time::Instant};

use libp2p::{Multiaddr, PeerId, mdns};

use crate::limits::{MAX_NEIGHBOURS, NEIGHBOUR_AGAIN};

/// `None` unless `[discovery] mdns` is on and this machine can send to its links.
pub(crate) fn behaviour(enabled: bool, me: PeerId) -> Option<mdns::tokio::Behaviour> {
    if !enabled {
        return None;
    }
    match mdns::tokio::Behaviour::new(mdns::Config::default(), me) {
        Ok(behaviour) => Some(behaviour),
        Err(error) => {
            tracing::warn!("[discovery] mdns is on, but neighbours cannot be looked for here: {error}");
            None
        }
    }
}

/// The neighbours that were dialled recently.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    dialled: HashMap<PeerId, Instant>,
}

impl Neighbours {
    /// The neighbours that may be dialled now, each with its announced addresses.
    pub(crate) fn due(
        &mut self,
        found: Vec<(PeerId, Multiaddr)>,
        is_connected: impl Fn(&PeerId) -> bool,
        now: Instant,
    ) -> Vec<(PeerId, Vec<Multiaddr>)> {
        self.dialled.retain(|_, at| now.saturating_duration_since(*at) < NEIGHBOUR_AGAIN);
        let mut due: Vec<(PeerId, Vec<Multiaddr>)> = Vec::new();
        for (peer, address) in found {
            if crate::address::dialable(&address).is_err() || is_connected(&peer) {
                continue;
            }
            if let Some((_, addresses)) = due.iter_mut().find(|(known, _)| *known == peer) {
                addresses.push(address);
                addresses.truncate(crate::limits::MAX_ADDRESSES);
            } else if self.dialled.len() < MAX_NEIGHBOURS && !self.dialled.contains_key(&peer) {
                self.dialled.insert(peer, now);
                due.push((peer, vec![address]));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_neighbours_is_dialled_within_bounds() {
        let (mut neighbours, now) = (Neighbours::default(), Instant::now());
        let address: Multiaddr = "/ip4/10.0.0.7/tcp/4001".parse().unwrap();
        let (friend, connected) = (PeerId::random(), PeerId::random());
        let found = vec![
            (friend, address.clone()),
            (friend, "/ip4/10.0.0.7/udp/4001/quic-v1".parse().unwrap()),
            (friend, "/ip4/10.0.0.7/udp/1".parse().unwrap()),
            (connected, address.clone()),
        ];
        let due = neighbours.due(found.clone(), |peer| *peer == connected, now);
        assert_eq!(due.iter().map(|(peer, addresses)| (*peer, addresses.len())).collect::<Vec<_>>(), [(friend, 2)]);
        assert!(neighbours.due(found.clone(), |peer| *peer == connected, now).is_empty(), "a moment ago");
        let flood = (0..1000).map(|_| (PeerId::random(), address.clone())).collect();
        assert_eq!(neighbours.due(flood, |_| false, now).len(), MAX_NEIGHBOURS - 1);
        assert_eq!(neighbours.due(found, |peer| *peer == connected, now + NEIGHBOUR_AGAIN).len(), 1);
    }
}
