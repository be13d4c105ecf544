//! Room for the bytes of answers under way, in all and per peer. Who does not fit waits a little, in order.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use libp2p::PeerId;

use super::SessionKey;
use crate::limits::{MAX_RESPONSE_BYTES_IN_FLIGHT, MAX_RESPONSE_BYTES_IN_FLIGHT_PER_PEER, RESPONSE_ROOM_WAIT};

/// How many bytes of answers may be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomLimits {
    /// In all.
    pub total: usize,
    /// To one peer.
    pub per_peer: usize,
    /// How long one waits for room.
    pub wait: Duration,
}

impl Default for RoomLimits {
    fn default() -> Self {
        Self {
            total: MAX_RESPONSE_BYTES_IN_FLIGHT,
            per_peer: MAX_RESPONSE_BYTES_IN_FLIGHT_PER_PEER,
            wait: RESPONSE_ROOM_WAIT,
        }
    }
}

/// What came of asking for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomWait {
    /// The bytes are reserved.
    Granted,
    /// Not yet: [`Room::poll`] says when.
    Waiting,
}

/// The bytes of answers under way. Each session asks once per request, so at most as many wait as there are slots.
#[derive(Debug, Default)]
pub struct Room {
    limits: RoomLimits,
    total: usize,
    peers: HashMap<PeerId, usize>,
    held: HashMap<SessionKey, usize>,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    key: SessionKey,
    bytes: usize,
    until: Instant,
}

impl Room {
    /// Nothing is under way.
    #[must_use]
    pub fn new(limits: RoomLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Asks for room for one answer of a session. An answer larger than a bound is let through alone.
    pub fn ask(&mut self, now: Instant, key: SessionKey, bytes: usize) -> RoomWait {
        self.leave(key);
        if self.waiting.is_empty() && self.fits(key.0, bytes) {
            self.take(key, bytes);
            return RoomWait::Granted;
        }
        self.waiting.push_back(Waiter { key, bytes, until: now + self.limits.wait });
        RoomWait::Waiting
    }

    /// The answer is sent, or not wanted any more: gives its room back, or leaves the queue.
    pub fn leave(&mut self, key: SessionKey) {
        self.waiting.retain(|waiter| waiter.key != key);
        let Some(bytes) = self.held.remove(&key) else { return };
        self.total = self.total.saturating_sub(bytes);
        if let Some(held) = self.peers.get_mut(&key.0) {
            *held = held.saturating_sub(bytes);
            if *held == 0 {
                self.peers.remove(&key.0);
            }
        }
    }

    /// The next session whose wait has ended: `true` when its room is reserved, `false` when its time is up (`busy`).
    ///
    /// In order of asking; one that waits for its own peer's bytes lets others pass, one that waits for the total does not.
    pub fn poll(&mut self, now: Instant) -> Option<(SessionKey, bool)> {
        if let Some(late) = self.waiting.iter().position(|waiter| waiter.until <= now) {
            return self.waiting.remove(late).map(|waiter| (waiter.key, false));
        }
        let mut next = None;
        for (place, waiter) in self.waiting.iter().enumerate() {
            if !self.fits_total(waiter.bytes) {
                break;
            }
            if self.fits_peer(waiter.key.0, waiter.bytes) {
                next = Some(place);
                break;
            }
        }
        let waiter = self.waiting.remove(next?)?;
        self.take(waiter.key, waiter.bytes);
        Some((waiter.key, true))
    }

    /// When [`Self::poll`] has something to say at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiter| waiter.until).min()
    }

    /// Bytes under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.total
    }

    /// Answers that wait for room.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn fits(&self, peer: PeerId, bytes: usize) -> bool {
        self.fits_total(bytes) && self.fits_peer(peer, bytes)
    }

    fn fits_total(&self, bytes: usize) -> bool {
        self.total == 0 || self.total.saturating_add(bytes) <= self.limits.total
    }

    fn fits_peer(&self, peer: PeerId, bytes: usize) -> bool {
        let held = self.peers.get(&peer).copied().unwrap_or(0);
        held == 0 || held.saturating_add(bytes) <= self.limits.per_peer
    }

    fn take(&mut self, key: SessionKey, bytes: usize) {
        self.total += bytes;
        *self.peers.entry(key.0).or_insert(0) += bytes;
        self.held.insert(key, bytes);
    }
}
