//! How often this node dials addresses that others told it. Pure.
//!
//! Peers, the DHT and mDNS may name any address as that of any peer, so also the address of a machine that has nothing
//! to do with this network. One such answer names thousands of them. So a dial at an address where this node has not
//! reached the peer before takes a part of two budgets: that of the host, and one of all hosts together. A dial that
//! reaches the peer gives its part back. The parts of the others come back slowly, one after the other. Peers that are where others say they
//! are can therefore be as many as they like, and somebody else's machine gets a fixed number of connections, however
//! many addresses are claimed.
//!
//! The budgets are shared by all who name addresses. So that one liar does not use up the budget of a host where a
//! provider is, Kademlia's own walk may take only half of each, and one answer about providers only
//! [`UNPROVEN_DIALS_PER_ANSWER`] at one host. Whoever answers at an address under another identity than the named one is
//! remembered there, and then dialled without a budget.

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, core::ConnectedPoint, swarm::ConnectionId, swarm::DialError};
use rpp_p2p::provider::Source;

use super::addresses::{AddressBook, without_peer};
use crate::{
    doors::{RefusalLog, RefusalSummary},
    limits::{
        MAX_ADDRESSES, UNPROVEN_AGAIN, UNPROVEN_DIALS, UNPROVEN_DIALS_PER_ANSWER, UNPROVEN_DIALS_PER_HOST,
        UNPROVEN_HOST_AGAIN,
    },
};

/// Who wants to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A search of Kademlia, on its way to the peers that know.
    Walk,
    /// The node, because an answer named the peer as a provider.
    Answer,
    /// The node, for another reason.
    Own,
}

/// The budgets, and what the running dials took of them.
#[derive(Debug, Default)]
pub(super) struct UnprovenDials {
    /// Hosts at which dials were in vain or are under way. All names are one host, because the owner of a zone can make
    /// any number of names for one machine.
    hosts: HashMap<Source, Budget>,
    all: Budget,
    /// The addresses for which a running dial has taken a part.
    dials: HashMap<ConnectionId, Vec<Multiaddr>>,
    /// What the dials took at each host that are made because of the present answer.
    answer: HashMap<Source, u32>,
    /// Where a dial of this node reached a peer.
    proven: AddressBook,
    /// The addresses that were not dialled since the start.
    withheld: u64,
    log: RefusalLog,
}

impl UnprovenDials {
    /// Dials for [`Wish::Answer`] belong to another answer from now on.
    pub(super) fn next_answer(&mut self) {
        self.answer.clear();
    }

    /// The addresses of these at which a peer may be dialled now. Those where it was reached before are free. `taken`: what
    /// was admitted for the same dial before.
    pub(super) fn admit(
        &mut self,
        peer: PeerId,
        named: Vec<Multiaddr>,
        taken: Vec<Multiaddr>,
        wish: Wish,
        now: Instant,
    ) -> Admitted {
        let mut admitted = Admitted { taken, ..Admitted::default() };
        let mut seen = admitted.taken.clone();
        for address in named {
            let plain = without_peer(&address);
            if seen.contains(&plain) || crate::address::dialable(&address).is_err() {
                continue;
            }
            if !self.proven.has(&peer, &plain) {
                if admitted.taken.len() >= MAX_ADDRESSES || !self.take(&plain, wish, now) {
                    self.log.refused(now, Source::of_address(&plain));
                    admitted.withheld += 1;
                    self.withheld += 1;
                    continue;
                }
                admitted.taken.push(plain.clone());
            }
            seen.push(plain);
            admitted.addresses.push(address);
        }
        admitted
    }

    /// A dial begins for which this was taken.
    pub(super) fn on_dial(&mut self, connection: ConnectionId, taken: Vec<Multiaddr>) {
        if !taken.is_empty() {
            self.dials.insert(connection, taken);
        }
    }

    /// No dial was made for which this was taken.
    pub(super) fn on_no_dial(&mut self, taken: &[Multiaddr]) {
        taken.iter().for_each(|address| self.budgets(address, Budget::give_back));
    }

    /// A dial reached the peer. Its other addresses may still be somebody else's.
    pub(super) fn on_connected(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        endpoint: &ConnectedPoint,
        now: Instant,
    ) {
        let ConnectedPoint::Dialer { address, .. } = endpoint else { return };
        let address = without_peer(address);
        for taken in self.dials.remove(&connection).unwrap_or_default() {
            let is_proven = taken == address;
            self.budgets(&taken, |budget| if is_proven { budget.give_back() } else { budget.lose(now) });
        }
        self.proven.note(peer, &address, &address);
    }

    /// A dial reached nobody, or somebody else.
    pub(super) fn on_failed(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        error: &DialError,
        now: Instant,
    ) {
        let taken = self.dials.remove(&connection).unwrap_or_default();
        if matches!(error, DialError::DialPeerConditionFalse(_) | DialError::NoAddresses) {
            return self.on_no_dial(&taken);
        }
        taken.iter().for_each(|address| self.budgets(address, |budget| budget.lose(now)));
        match (error, peer) {
            (DialError::Transport(tried), Some(peer)) => {
                tried.iter().for_each(|(address, _)| self.proven.forget(&peer, address));
            }
            (DialError::WrongPeerId { obtained, address }, Some(peer)) => {
                self.proven.forget(&peer, address);
                self.proven.note(*obtained, address, address);
            }
            _ => {}
        }
    }

    /// The number of addresses that were not dialled since the start, for metrics.
    pub(super) fn withheld(&self) -> u64 {
        self.withheld
    }

    /// What to log, at most once a minute.
    pub(super) fn poll_report(&mut self, now: Instant) -> Option<Withheld> {
        self.log.poll(now).map(Withheld)
    }

    fn take(&mut self, address: &Multiaddr, wish: Wish, now: Instant) -> bool {
        let share = if wish == Wish::Walk { 2 } else { 1 };
        let source = Source::of_address(address);
        self.hosts.retain(|_, budget| budget.taken(now, UNPROVEN_HOST_AGAIN) > 0);
        let of_host = self.hosts.get_mut(&source).map_or(0, |budget| budget.taken(now, UNPROVEN_HOST_AGAIN));
        let of_answer = self.answer.get(&source).copied().unwrap_or_default();
        if self.all.taken(now, UNPROVEN_AGAIN) >= UNPROVEN_DIALS / share
            || of_host >= UNPROVEN_DIALS_PER_HOST / share
            || (wish == Wish::Answer && of_answer >= UNPROVEN_DIALS_PER_ANSWER)
        {
            return false;
        }
        if wish == Wish::Answer {
            *self.answer.entry(source).or_default() += 1;
        }
        self.hosts.entry(source).or_default();
        self.budgets(address, |budget| budget.running += 1);
        true
    }

    /// Changes both budgets of an address that has taken a part.
    fn budgets(&mut self, address: &Multiaddr, change: impl Fn(&mut Budget)) {
        if let Some(host) = self.hosts.get_mut(&Source::of_address(address)) {
            change(host);
        }
        change(&mut self.all);
    }
}

/// Which of a peer's addresses may be dialled.
#[derive(Debug, Default)]
pub(super) struct Admitted {
    pub(super) addresses: Vec<Multiaddr>,
    /// Those of the dial that took a part of the budgets, without peer ids.
    pub(super) taken: Vec<Multiaddr>,
    /// The number of the others.
    pub(super) withheld: usize,
}

/// Parts that are taken.
#[derive(Debug, Default)]
struct Budget {
    /// By dials under way.
    running: u32,
    /// By dials in vain. One comes back after each period.
    lost: u32,
    /// The beginning of the present period, while there are lost ones.
    since: Option<Instant>,
}

impl Budget {
    /// How many are taken now.
    fn taken(&mut self, now: Instant, again: Duration) -> u32 {
        if let Some(since) = self.since {
            let periods = now.saturating_duration_since(since).as_millis() / again.as_millis().max(1);
            let periods = u32::try_from(periods).unwrap_or(u32::MAX).min(self.lost);
            self.lost -= periods;
            self.since = (self.lost > 0).then(|| since + again * periods);
        }
        self.running + self.lost
    }

    fn give_back(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    fn lose(&mut self, now: Instant) {
        self.give_back();
        self.lost += 1;
        self.since.get_or_insert(now);
    }
}

/// The addresses that were not dialled since the last line about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Withheld(RefusalSummary);

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RefusalSummary { refused, worst, of_worst, .. } = self.0;
        write!(
            f,
            "discovery: {refused} addresses that others named were not dialled since the last such line, because dials \
             there, or in all, reached too few of the named peers; {of_worst} of them at {worst}. Configured peers, and \
             addresses where a peer was reached before, are dialled as always"
        )
    }
}

#[cfg(test)]
mod tests;
