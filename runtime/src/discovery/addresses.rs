//! Addresses of peers, only from the peers themselves: an address where the peer proved its identity, or one that it
//! named over an authenticated connection. Pure.

use std::collections::{HashMap, VecDeque};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use super::scope::{is_loopback, is_public};
use crate::limits::{MAX_ADDRESS_BOOK, MAX_ADDRESSES};

/// The addresses of the newest 1,024 peers, eight each.
#[derive(Debug, Default)]
pub(super) struct AddressBook {
    peers: HashMap<PeerId, VecDeque<Multiaddr>>,
    /// Oldest first.
    order: VecDeque<PeerId>,
}

impl AddressBook {
    /// Records an address that was learned over a connection to `over`. A private address is accepted only over a
    /// private one, and a loopback address only from a peer on this machine.
    pub(super) fn note(&mut self, peer: PeerId, address: &Multiaddr, over: &Multiaddr) {
        let is_elsewhere = is_loopback(address) && !is_loopback(over);
        if is_elsewhere || (is_public(over) && !is_public(address)) || crate::address::dialable(address).is_err() {
            return;
        }
        let address = without_peer(address);
        if !self.peers.contains_key(&peer) {
            self.order.push_back(peer);
            if self.order.len() > MAX_ADDRESS_BOOK
                && let Some(oldest) = self.order.pop_front()
            {
                self.peers.remove(&oldest);
            }
        }
        let known = self.peers.entry(peer).or_default();
        known.retain(|before| *before != address);
        known.push_front(address);
        known.truncate(MAX_ADDRESSES);
    }

    /// Whether this address, which is without a peer id, is known for the peer.
    pub(super) fn has(&self, peer: &PeerId, address: &Multiaddr) -> bool {
        self.peers.get(peer).is_some_and(|known| known.contains(address))
    }

    /// Drops an address of a peer.
    pub(super) fn forget(&mut self, peer: &PeerId, address: &Multiaddr) {
        let address = without_peer(address);
        let Some(known) = self.peers.get_mut(peer) else { return };
        known.retain(|before| *before != address);
        if known.is_empty() {
            self.peers.remove(peer);
            self.order.retain(|before| before != peer);
        }
    }

    /// Newest first.
    pub(super) fn of(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.peers.get(peer).into_iter().flatten().cloned().collect()
    }
}

/// The address without peer ids.
pub(super) fn without_peer(address: &Multiaddr) -> Multiaddr {
    address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_public_peer_cannot_name_private_addresses() {
        let (mut book, peer) = (AddressBook::default(), PeerId::random());
        let (public, private) = (address("/ip4/8.8.8.8/tcp/4001"), address("/ip4/10.0.0.7/tcp/4001"));
        book.note(peer, &private, &public);
        assert!(book.of(&peer).is_empty());
        book.note(peer, &public, &public);
        book.note(peer, &private, &private);
        assert_eq!(book.of(&peer), [private.clone(), public.clone()]);
        book.note(peer, &address("/ip4/127.0.0.1/tcp/4001"), &private);
        assert_eq!(book.of(&peer), [private, public], "another machine's loopback is none of ours");
    }

    #[test]
    fn what_no_transport_dials_is_not_kept_and_the_oldest_go() {
        let mut book = AddressBook::default();
        let (first, over) = (PeerId::random(), address("/ip4/127.0.0.1/tcp/1"));
        book.note(first, &address("/ip4/127.0.0.1/tcp/1/ws"), &over);
        assert!(book.of(&first).is_empty());
        for port in 0..=MAX_ADDRESSES {
            book.note(first, &address(&format!("/ip4/127.0.0.1/tcp/{port}")), &over);
        }
        assert_eq!(book.of(&first).len(), MAX_ADDRESSES);
        assert_eq!(book.of(&first)[0], address(&format!("/ip4/127.0.0.1/tcp/{MAX_ADDRESSES}")));
        for _ in 0..MAX_ADDRESS_BOOK {
            book.note(PeerId::random(), &over, &over);
        }
        assert!(book.of(&first).is_empty(), "the oldest");
        assert_eq!((book.peers.len(), book.order.len()), (MAX_ADDRESS_BOOK, MAX_ADDRESS_BOOK));
    }
}
