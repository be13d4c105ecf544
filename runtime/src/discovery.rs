//! Which snapshots peers offer, and how peers are reached.
//!
//! `rpp_p2p::offers` asks peers and checks their answers. This folder decides what this node offers itself
//! ([`offered`]), remembers proven addresses ([`addresses`]), finds peers by Kademlia ([`dht`]) and mDNS
//! ([`neighbours`]), and explains which peers were asked and what they answered. It treats public and private peers
//! separately ([`scoped`]), and bounds the dials at addresses that only others told ([`unproven`], [`gate`]).

mod addresses;
pub(crate) mod dht;
pub(crate) mod gate;
mod metrics;
pub(crate) mod neighbours;
mod offered;
mod records;
mod said;
mod scope;
pub(crate) mod scoped;
mod unproven;

use std::{collections::VecDeque, sync::Arc, time::Instant};

use libp2p::{Multiaddr, PeerId, core::ConnectedPoint, identify};
use rpp_p2p::{
    offers::{self, PeerSaid},
    plan::PlanBounds,
};

use self::{
    addresses::{AddressBook, without_peer},
    dht::{Dht, Kad},
    neighbours::Neighbours,
    scoped::Scope,
};
pub(crate) use self::{metrics::DiscoveryMetrics, offered::Offered, unproven::Wish};
use crate::{
    clock::past_text,
    limits::{MAX_EXPLAINED, MAX_SAID, MAX_UNREACHABLE},
    node::trust_anchor,
    status::OfferInfo,
};

/// The addresses of peers, and the peers that could not be reached.
pub(crate) struct Finder {
    /// The state of Kademlia; idle while that is off.
    pub(crate) dht: Dht,
    pub(crate) neighbours: Neighbours,
    addresses: AddressBook,
    unreachable: VecDeque<(PeerId, String)>,
    /// The log about peers' answers.
    pub(crate) said: said::SaidLog,
    /// This node's own offers.
    pub(crate) offered: Arc<Offered>,
}

impl Finder {
    pub(crate) fn new(config: &crate::Config, me: PeerId, now: Instant) -> Self {
        let discovery = &config.discovery;
        if !discovery.kad && !discovery.bootstrap.is_empty() {
            tracing::warn!("[discovery] bootstrap names peers, but they are not used: [discovery] kad is off");
        }
        let bootstrap = if discovery.kad { &discovery.bootstrap[..] } else { &[] };
        Self {
            dht: Dht::new(me, bootstrap, now),
            neighbours: Neighbours::default(),
            addresses: AddressBook::default(),
            unreachable: VecDeque::new(),
            said: said::SaidLog::default(),
            offered: Arc::default(),
        }
    }

    pub(crate) fn on_connected(&mut self, peer: PeerId, endpoint: &ConnectedPoint) {
        self.unreachable.retain(|(gone, _)| *gone != peer);
        if let ConnectedPoint::Dialer { address, .. } = endpoint {
            self.addresses.note(peer, address, address);
        }
    }

    /// A peer reports where it listens; `over`: the address of a connection with it.
    pub(crate) fn on_identified(&mut self, kad: &mut Kad, peer: PeerId, info: &identify::Info, over: &Multiaddr) {
        let is_reached = self.addresses.has(&peer, &without_peer(over));
        for address in info.listen_addrs.iter().take(MAX_SAID) {
            self.addresses.note(peer, address, over);
        }
        // However many the peer names, the address where it was dialled stays.
        if is_reached {
            self.addresses.note(peer, over, over);
        }
        let addresses = self.addresses.of(&peer);
        self.dht.on_identified(kad, peer, Scope::of(over), info, &addresses);
    }

    pub(crate) fn on_unreachable(&mut self, peer: PeerId, reason: &str) {
        self.unreachable.retain(|(gone, _)| *gone != peer);
        self.unreachable.push_back((peer, reason.to_owned()));
        while self.unreachable.len() > MAX_UNREACHABLE {
            self.unreachable.pop_front();
        }
    }

    /// Addresses of a peer that it proved or named itself.
    pub(crate) fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.addresses.of(peer)
    }

    /// Why no provider is found: which peers were asked and what they answered. `tried`: peers that offered the
    /// snapshot and could not serve it.
    pub(crate) fn explain(&self, offers: &offers::OffersBehaviour, tried: &[(PeerId, String)]) -> String {
        let tried = tried.iter().map(|(peer, reason)| (*peer, format!("offers it, but could not serve it: {reason}")));
        let said = |said: Option<&PeerSaid>| said.map_or_else(|| "is being asked".to_owned(), PeerSaid::to_string);
        let asked = offers.said().map(|(peer, what)| (*peer, said(what)));
        let unreachable = self.unreachable.iter().rev();
        let unreachable = unreachable.map(|(peer, reason)| (*peer, format!("cannot be reached: {reason}")));
        // Peers whose answers say most come first; each peer appears once.
        let mut told: Vec<(PeerId, String)> = Vec::new();
        for (peer, what) in tried.chain(asked).chain(unreachable) {
            if !told.iter().any(|(before, _)| *before == peer) {
                told.push((peer, what));
            }
        }
        if told.is_empty() {
            return "no peer is connected, so nobody can be asked what it offers: add one to [p2p] peers or to [discovery] \
                    bootstrap, switch [discovery] mdns on, or name a provider"
                .to_owned();
        }
        let named: Vec<_> = told.iter().take(MAX_EXPLAINED).map(|(peer, what)| format!("{peer} {what}")).collect();
        let more = match told.len() - named.len() {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let peers = if told.len() == 1 { "1 peer was asked" } else { &format!("{} peers were asked", told.len()) };
        format!("nobody was found to take it from; {peers}: {}{more}", named.join("; "))
    }
}

/// `GET /p2p/offers`.
pub(crate) fn list(book: &offers::Book, now: Instant) -> Vec<OfferInfo> {
    let row = |known: &offers::Known| {
        let snapshot = &known.snapshot.checkpoint;
        let mut peers = known.peers.clone();
        peers.sort_unstable_by_key(|holder| (std::cmp::Reverse(holder.free_slots), holder.peer));
        OfferInfo {
            root: snapshot.state_root,
            height: snapshot.height,
            step: snapshot.step,
            bytes: snapshot.payload_bytes,
            format: known.snapshot.format,
            peers: peers.iter().map(|holder| holder.peer.to_string()).collect(),
            seen_at: past_text(known.seen, now),
        }
    };
    book.newest_first().into_iter().map(row).collect()
}

/// Decides which offers count at this node; `None` without a trust anchor.
pub(crate) fn judge(config: &crate::Config, bounds: PlanBounds) -> Option<offers::Judge> {
    trust_anchor(config).map(|trust| offers::Judge { trust: (*trust).clone(), bounds })
}
