//! A byte budget for answers in flight, in all, for each peer and for each source. An answer that does not fit waits a
//! short time, in order.
//!
//! As with slots, a source gets more bytes only while it holds no more than remains free. So answers that one address
//! does not read leave bytes for all others.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    hash::Hash,
    time::{Duration, Instant},
};

use libp2p::PeerId;

use super::{SessionKey, Source};
use crate::limits::{MAX_RESPONSE_BYTES_IN_FLIGHT, MAX_RESPONSE_BYTES_IN_FLIGHT_PER_PEER, RESPONSE_BUDGET_WAIT};

/// The most bytes of answers in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetLimits {
    /// In all.
    pub total: usize,
    /// To one peer.
    pub per_peer: usize,
    /// How long an answer waits for bytes.
    pub wait: Duration,
}

impl Default for BudgetLimits {
    fn default() -> Self {
        Self {
            total: MAX_RESPONSE_BYTES_IN_FLIGHT,
            per_peer: MAX_RESPONSE_BYTES_IN_FLIGHT_PER_PEER,
            wait: RESPONSE_BUDGET_WAIT,
        }
    }
}

impl BudgetLimits {
    /// Sets the most bytes of answers in flight in all.
    #[must_use]
    pub fn with_total(mut self, total: usize) -> Self {
        self.total = total;
        self
    }

    /// Sets the most bytes of answers in flight to one peer.
    #[must_use]
    pub fn with_per_peer(mut self, per_peer: usize) -> Self {
        self.per_peer = per_peer;
        self
    }

    /// Sets how long an answer waits for bytes before the request is told `busy`.
    #[must_use]
    pub fn with_wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

/// The result of asking for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BudgetWait {
    /// The bytes are reserved.
    Granted,
    /// Not yet: [`Budget::poll`] returns it later.
    Waiting,
}

/// The bytes of answers in flight. Each session asks once for each request, so at most as many answers wait as there
/// are slots.
#[derive(Debug, Default)]
pub struct Budget {
    limits: BudgetLimits,
    total: usize,
    peers: HashMap<PeerId, usize>,
    sources: HashMap<Source, usize>,
    held: HashMap<SessionKey, (Source, usize)>,
    waiting: VecDeque<Queued>,
}

#[derive(Debug)]
struct Queued {
    key: SessionKey,
    source: Source,
    bytes: usize,
    until: Instant,
}

impl Budget {
    /// An empty budget: nothing is in flight.
    #[must_use]
    pub fn new(limits: BudgetLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Asks for the bytes of a session's answer. An answer that is larger than a bound is admitted if nothing else
    /// counts against that bound.
    pub fn ask(&mut self, now: Instant, source: Source, key: SessionKey, bytes: usize) -> BudgetWait {
        self.leave(key);
        if self.waiting.is_empty() && self.fits_total(bytes) && self.fits_share(source, key.0, bytes) {
            self.take(source, key, bytes);
            return BudgetWait::Granted;
        }
        self.waiting.push_back(Queued { key, source, bytes, until: now + self.limits.wait });
        BudgetWait::Waiting
    }

    /// Changes the bytes that a session holds. It gets more only if no session waits and they fit; then `true`.
    pub fn resize(&mut self, key: SessionKey, bytes: usize) -> bool {
        let Some((source, held)) = self.held.get(&key).copied() else { return false };
        if bytes > held {
            let more = bytes - held;
            if !self.waiting.is_empty() || !self.fits_total(more) || !self.fits_share(source, key.0, more) {
                return false;
            }
        }
        self.leave(key);
        self.take(source, key, bytes);
        true
    }

    /// The answer was sent or is no longer wanted: frees its bytes, or removes it from the queue.
    pub fn leave(&mut self, key: SessionKey) {
        self.waiting.retain(|waiter| waiter.key != key);
        let Some((source, bytes)) = self.held.remove(&key) else { return };
        self.total = self.total.saturating_sub(bytes);
        give_back(&mut self.peers, key.0, bytes);
        give_back(&mut self.sources, source, bytes);
    }

    /// The next session whose wait has ended: `true` if its bytes are reserved, `false` if its time is up (`busy`).
    ///
    /// In order of asking. While a session waits for bytes of its own peer or source, others may pass it. While a
    /// session waits for the total, none may.
    pub fn poll(&mut self, now: Instant) -> Option<(SessionKey, bool)> {
        if let Some(late) = self.waiting.iter().position(|waiter| waiter.until <= now) {
            return self.waiting.remove(late).map(|waiter| (waiter.key, false));
        }
        let mut next = None;
        for (place, waiter) in self.waiting.iter().enumerate() {
            if !self.fits_total(waiter.bytes) {
                break;
            }
            if self.fits_share(waiter.source, waiter.key.0, waiter.bytes) {
                next = Some(place);
                break;
            }
        }
        let waiter = self.waiting.remove(next?)?;
        self.take(waiter.source, waiter.key, waiter.bytes);
        Some((waiter.key, true))
    }

    /// When [`Self::poll`] must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiter| waiter.until).min()
    }

    /// Bytes in flight.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.total
    }

    /// Answers that wait for bytes.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn fits_total(&self, bytes: usize) -> bool {
        self.total == 0 || self.total.saturating_add(bytes) <= self.limits.total
    }

    fn fits_share(&self, source: Source, peer: PeerId, bytes: usize) -> bool {
        let held = self.peers.get(&peer).copied().unwrap_or(0);
        let by_source = self.sources.get(&source).copied().unwrap_or(0);
        let free = self.limits.total.saturating_sub(self.total);
        (held == 0 || held.saturating_add(bytes) <= self.limits.per_peer)
            && (by_source == 0 || by_source.saturating_add(bytes) <= free)
    }

    fn take(&mut self, source: Source, key: SessionKey, bytes: usize) {
        self.total += bytes;
        *self.peers.entry(key.0).or_insert(0) += bytes;
        *self.sources.entry(source).or_insert(0) += bytes;
        self.held.insert(key, (source, bytes));
    }
}

fn give_back<K: Eq + Hash>(held: &mut HashMap<K, usize>, key: K, bytes: usize) {
    if let Entry::Occupied(mut entry) = held.entry(key) {
        *entry.get_mut() = entry.get().saturating_sub(bytes);
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}
