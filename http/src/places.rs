//! The places for connections of one port. This is pure bookkeeping, without a socket.
//!
//! ```text
//!                 free, and the address holds fewer than its share
//! a connection  ----------------------------------------------------->  an ordinary place
//!               --- else, when the port has open paths -------------->  a spare place, for one request of an open path
//!               --- else ------------------------------------------->  none: it is told "too many"
//! ```
//! A spare place is always granted: the oldest connection whose request has not arrived yet is closed for the new one.
//! So a client that sends its request at once gets an answer, however many others hold their connections open.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    address::network_of,
    limits::{MAX_SPARE, MAX_SPARE_PER_ADDRESS},
    phase::Phase,
};

/// The places of a port.
#[derive(Clone, Debug)]
pub(crate) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max: usize,
    per_address: usize,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Open connections, including those that were told to close.
    live: usize,
    ordinary: usize,
    /// Ordinary places by address; never more entries than places.
    held: HashMap<IpAddr, usize>,
    /// Oldest first.
    spare: Vec<Spare>,
    next: u64,
}

#[derive(Debug)]
struct Spare {
    number: u64,
    address: IpAddr,
    phase: Arc<Phase>,
    cut: CancellationToken,
}

/// A place, held as long as the connection lives. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Place {
    shared: Arc<Shared>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Ordinary(IpAddr),
    Spare(u64),
}

impl Places {
    pub(crate) fn new(max: usize, per_address: usize) -> Self {
        Self(Arc::new(Shared { max, per_address, state: Mutex::default(), freed: Notify::new() }))
    }

    /// Takes an ordinary place, unless all are taken or the address has used up its share.
    pub(crate) fn take(&self, from: IpAddr) -> Option<Place> {
        let address = network_of(from);
        let mut state = self.0.state();
        if state.ordinary >= self.0.max || state.held.get(&address).is_some_and(|held| *held >= self.0.per_address) {
            return None;
        }
        state.live += 1;
        state.ordinary += 1;
        *state.held.entry(address).or_default() += 1;
        Some(self.place(Kind::Ordinary(address)))
    }

    /// Takes a spare place. `phase` is the connection's; `cut` closes it when it must make room.
    pub(crate) fn take_spare(&self, from: IpAddr, phase: Arc<Phase>, cut: CancellationToken) -> Place {
        let address = network_of(from);
        let mut state = self.0.state();
        state.make_room(address);
        let number = state.next;
        state.next += 1;
        state.live += 1;
        state.spare.push(Spare { number, address, phase, cut });
        self.place(Kind::Spare(number))
    }

    /// Waits until no connection is open.
    pub(crate) async fn empty(&self) {
        loop {
            let freed = self.0.freed.notified();
            if self.0.state().live == 0 {
                return;
            }
            freed.await;
        }
    }

    fn place(&self, kind: Kind) -> Place {
        Place { shared: Arc::clone(&self.0), kind }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Closes a spare connection: one of this address if it is above its share, else, when all are taken, the oldest of
    /// any address.
    fn make_room(&mut self, address: IpAddr) {
        let own = self.spare.iter().filter(|spare| spare.address == address).count();
        let goes = if own >= MAX_SPARE_PER_ADDRESS {
            self.first_to_go(|spare| spare.address == address)
        } else if self.spare.len() >= MAX_SPARE {
            self.first_to_go(|_| true)
        } else {
            None
        };
        if let Some(at) = goes {
            self.spare.remove(at).cut.cancel();
        }
    }

    fn first_to_go(&self, concerned: impl Fn(&Spare) -> bool) -> Option<usize> {
        let waiting = self.spare.iter().position(|spare| concerned(spare) && !spare.phase.is_answering());
        waiting.or_else(|| self.spare.iter().position(concerned))
    }
}

impl Place {
    pub(crate) fn is_spare(&self) -> bool {
        matches!(self.kind, Kind::Spare(_))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.live = state.live.saturating_sub(1);
        match self.kind {
            Kind::Ordinary(address) => {
                state.ordinary = state.ordinary.saturating_sub(1);
                if let Some(held) = state.held.get_mut(&address) {
                    *held = held.saturating_sub(1);
                    if *held == 0 {
                        state.held.remove(&address);
                    }
                }
            }
            // Absent if it had to make room.
            Kind::Spare(number) => state.spare.retain(|spare| spare.number != number),
        }
        drop(state);
        self.shared.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    fn spare(places: &Places, n: u32, answering: bool) -> (Place, CancellationToken) {
        let (phase, cut) = (Arc::new(Phase::default()), CancellationToken::new());
        if answering {
            phase.answer();
        }
        (places.take_spare(address(n), phase, cut.clone()), cut)
    }

    #[test]
    fn no_address_holds_all_and_places_come_back() {
        let places = Places::new(4, 3);
        let mut held: Vec<_> = (0..3).map(|_| places.take(address(1)).unwrap()).collect();
        assert!(places.take(address(1)).is_none(), "its share is used up");
        let other = places.take(address(2)).unwrap();
        assert!(places.take(address(3)).is_none(), "all are taken");
        held.pop();
        assert!(places.take(address(1)).is_some());
        drop((held, other));
        assert!(places.0.state().held.is_empty());
    }

    #[test]
    fn the_oldest_that_waits_gives_way() {
        let places = Places::new(1, 1);
        let (busy, busy_cut) = spare(&places, 1, true);
        let mut own: Vec<_> = (1..MAX_SPARE_PER_ADDRESS).map(|_| spare(&places, 1, false)).collect();
        own.push(spare(&places, 1, false));
        assert!(!busy_cut.is_cancelled(), "its request is being answered");
        assert!(own[0].1.is_cancelled(), "the address's own oldest goes");
        assert_eq!(own.iter().filter(|(_, cut)| cut.is_cancelled()).count(), 1);
        let others: Vec<_> = (2..40).map(|n| spare(&places, n, false)).collect();
        assert!(places.0.state().spare.len() <= MAX_SPARE);
        assert!(!busy_cut.is_cancelled() && !others.last().unwrap().1.is_cancelled());
        drop((busy, own, others));
        assert_eq!(places.0.state().live, 0);
    }
}
