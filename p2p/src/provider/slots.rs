//! Decides which sessions are active on a provider, keeps each to one request in flight, and decides who gets the next
//! slot.
//!
//! Keys cost nothing, so slots are shared by [`Source`]: a source gets another slot only while it holds fewer than are
//! free. Of 64 slots, one source alone gets at most 32, two get 21 each, and a client from elsewhere still finds one. A
//! slot whose session has been quiet for a moment is given to a session without one. Nothing is lost: the quiet
//! session's record is kept, and its next request takes a slot again. A session that still finds no slot waits a short
//! time; the one whose source holds least comes first.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use libp2p::PeerId;

use super::{SessionKey, Source};
use crate::{
    error::{Full, PipelineError},
    limits::{MAX_SLOT_WAITERS, MAX_SLOTS, MAX_SLOTS_PER_PEER, SLOT_GIVES_WAY, SLOT_IDLE, SLOT_WAIT},
    types::SnapshotSessionId,
};

/// The most active sessions, and how long they may stay without a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotLimits {
    /// In all.
    pub total: usize,
    /// Of one peer.
    pub per_peer: usize,
    /// A slot is freed after this long without a request.
    pub idle: Duration,
    /// After this long without a request, a slot may be given to another session.
    pub gives_way: Duration,
    /// How long a session waits for a slot before it is told `busy`.
    pub wait: Duration,
}

impl Default for SlotLimits {
    fn default() -> Self {
        Self {
            total: MAX_SLOTS,
            per_peer: MAX_SLOTS_PER_PEER,
            idle: SLOT_IDLE,
            gives_way: SLOT_GIVES_WAY,
            wait: SLOT_WAIT,
        }
    }
}

impl SlotLimits {
    /// Sets the most active sessions in all.
    #[must_use]
    pub fn with_total(mut self, total: usize) -> Self {
        self.total = total;
        self
    }

    /// Sets the most active sessions of one peer.
    #[must_use]
    pub fn with_per_peer(mut self, per_peer: usize) -> Self {
        self.per_peer = per_peer;
        self
    }

    /// Sets how long a session keeps its slot without a request.
    #[must_use]
    pub fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Sets how long after its last request a session keeps its slot when another one wants it.
    #[must_use]
    pub fn with_gives_way(mut self, gives_way: Duration) -> Self {
        self.gives_way = gives_way;
        self
    }

    /// Sets how long a session waits for a slot before it is told `busy`.
    #[must_use]
    pub fn with_wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

/// The right to serve one request; it is returned through [`Slots::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a ticket that is not released keeps its session busy"]
pub struct Ticket {
    key: SessionKey,
    generation: u64,
}

impl Ticket {
    /// The session for which it is.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        self.key
    }
}

/// The result of asking for a slot.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a ticket that is not released keeps its session busy"]
#[non_exhaustive]
pub enum Asked {
    /// The request may be served.
    Granted(Ticket),
    /// Not yet: [`Slots::poll`] returns it later.
    Waiting,
}

/// What happens to the slot when a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlotOutcome {
    /// The session goes on.
    Keep,
    /// The session is finished, cancelled, or was never opened.
    Free,
}

/// The slots of a provider.
///
/// ```text
///            admit                     release(Keep)
/// (no slot) ───────> serving ───────────────────────────> waiting ── admit ──> serving
///     ^                 │ release(Free), or free() before      │ 60 s, or free(), or
///     └─────────────────┴──────────────────────────────────────┘ 1 s and somebody needs it
/// ```
#[derive(Debug, Default)]
pub struct Slots {
    limits: SlotLimits,
    slots: HashMap<SessionKey, Slot>,
    generation: u64,
    /// Sessions that wait for a slot, in order of asking; at most [`MAX_SLOT_WAITERS`].
    waiting: VecDeque<Waiter>,
    /// Whether something happened since the waiting sessions were last checked.
    changed: bool,
    /// When the next slot will have been quiet for long enough to be given away.
    next_quiet: Option<Instant>,
    gave_way: u64,
}

#[derive(Debug)]
struct Slot {
    generation: u64,
    source: Source,
    serving: bool,
    /// To be freed when the request in flight is answered.
    doomed: bool,
    last_used: Instant,
}

#[derive(Debug)]
struct Waiter {
    key: SessionKey,
    source: Source,
    until: Instant,
}

/// What decides whether a new session gets a slot.
#[derive(Clone, Copy)]
struct Held {
    total: usize,
    by_peer: usize,
    by_source: usize,
}

impl Slots {
    /// No session is active.
    #[must_use]
    pub fn new(limits: SlotLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Admits one request of a session at once, or refuses it. A session without a slot gets a free one, or one that is
    /// given away.
    ///
    /// # Errors
    /// [`PipelineError::Busy`]: the session has a request in flight, or there is no slot for it.
    pub fn admit(
        &mut self,
        now: Instant,
        source: Source,
        peer: PeerId,
        session: SnapshotSessionId,
    ) -> Result<Ticket, PipelineError> {
        let key = (peer, session);
        if let Some(slot) = self.slots.get_mut(&key) {
            if slot.serving {
                return Err(Full::InFlight(session).into());
            }
            slot.serving = true;
            slot.last_used = now;
            return Ok(Ticket { key, generation: slot.generation });
        }
        self.expire(now);
        let held = self.held(source, peer);
        if !held.leaves_room(&self.limits) {
            let Some(quiet) = self.giving_way(now, source, peer, held) else { return Err(self.none_left(held)) };
            self.slots.remove(&quiet);
            self.gave_way += 1;
        }
        self.generation += 1;
        let generation = self.generation;
        self.slots.insert(key, Slot { generation, source, serving: true, doomed: false, last_used: now });
        Ok(Ticket { key, generation })
    }

    /// Like [`Self::admit`], but a session that finds no slot may wait for one.
    ///
    /// # Errors
    /// [`PipelineError::Busy`]: the session has a request in flight or waits already, or too many wait.
    pub fn ask(
        &mut self,
        now: Instant,
        source: Source,
        peer: PeerId,
        session: SnapshotSessionId,
    ) -> Result<Asked, PipelineError> {
        let key = (peer, session);
        if self.waiting.iter().any(|waiter| waiter.key == key) {
            return Err(Full::InFlight(session).into());
        }
        let ahead = self.waiting.iter().filter(|waiter| waiter.source == source).count();
        // Earlier sessions from the same source come first.
        let refusal = if ahead == 0 || self.slots.contains_key(&key) {
            match self.admit(now, source, peer, session) {
                Ok(ticket) => return Ok(Asked::Granted(ticket)),
                Err(refusal) => refusal,
            }
        } else {
            self.none_left(self.held(source, peer))
        };
        let of_peer = self.waiting.iter().filter(|waiter| waiter.key.0 == peer).count();
        let places = MAX_SLOT_WAITERS - self.waiting.len();
        if self.slots.contains_key(&key)
            || self.limits.wait.is_zero()
            || ahead >= places
            || of_peer >= self.limits.per_peer
        {
            return Err(refusal);
        }
        self.waiting.push_back(Waiter { key, source, until: now + self.limits.wait });
        self.changed = true;
        Ok(Asked::Waiting)
    }

    /// The session no longer waits: its stream has failed.
    pub fn leave(&mut self, key: SessionKey) {
        self.waiting.retain(|waiter| waiter.key != key);
    }

    /// The next session whose wait has ended: with a ticket, or with [`PipelineError::Busy`] if its time is up.
    pub fn poll(&mut self, now: Instant) -> Option<(SessionKey, Result<Ticket, PipelineError>)> {
        if self.waiting.is_empty() {
            return None;
        }
        if let Some(late) = self.waiting.iter().position(|waiter| waiter.until <= now) {
            let waiter = self.waiting.remove(late)?;
            let refusal = self.none_left(self.held(waiter.source, waiter.key.0));
            return Some((waiter.key, Err(refusal)));
        }
        if !self.changed && self.next_quiet.is_none_or(|at| at > now) {
            return None;
        }
        let mut order: Vec<_> = self
            .waiting
            .iter()
            .enumerate()
            .map(|(place, waiter)| (self.slots.values().filter(|slot| slot.source == waiter.source).count(), place))
            .collect();
        order.sort_unstable();
        let mut without = HashSet::new();
        for (_, place) in order {
            let Waiter { key: (peer, session), source, .. } = *self.waiting.get(place)?;
            if without.contains(&source) {
                continue;
            }
            if let Ok(ticket) = self.admit(now, source, peer, session) {
                self.waiting.remove(place);
                return Some(((peer, session), Ok(ticket)));
            }
            if self.held(source, peer).by_peer < self.limits.per_peer {
                without.insert(source); // There is no slot for the others from this source either.
            }
        }
        self.changed = false;
        let quiet = |slot: &Slot| slot.last_used + self.limits.gives_way;
        self.next_quiet = self.slots.values().filter(|slot| !slot.serving).map(quiet).filter(|at| *at > now).min();
        None
    }

    /// When [`Self::poll`] must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let late = self.waiting.iter().map(|waiter| waiter.until).min()?;
        Some(self.next_quiet.map_or(late, |quiet| quiet.min(late)))
    }

    /// The request was answered.
    pub fn release(&mut self, now: Instant, ticket: Ticket, outcome: SlotOutcome) {
        let Some(slot) = self.slots.get_mut(&ticket.key).filter(|slot| slot.generation == ticket.generation) else {
            return;
        };
        slot.serving = false;
        slot.last_used = now;
        self.changed = true;
        if slot.doomed || outcome == SlotOutcome::Free {
            self.slots.remove(&ticket.key);
        }
    }

    /// Frees the slot of a cancelled session; if a request is in flight, once that is answered.
    pub fn free(&mut self, peer: PeerId, session: SnapshotSessionId) {
        if let Some(slot) = self.slots.get_mut(&(peer, session)) {
            slot.doomed = true;
            if !slot.serving {
                self.slots.remove(&(peer, session));
                self.changed = true;
            }
        }
    }

    /// Frees the slots that were idle for too long. [`Self::admit`] does the same if it needs one.
    pub fn expire(&mut self, now: Instant) {
        let (idle, before) = (self.limits.idle, self.slots.len());
        self.slots.retain(|_, slot| slot.serving || now.saturating_duration_since(slot.last_used) < idle);
        self.changed |= self.slots.len() != before;
    }

    /// Slots taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether no session is active.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Requests being served.
    #[must_use]
    pub fn serving(&self) -> usize {
        self.slots.values().filter(|slot| slot.serving).count()
    }

    /// Sessions that wait for a slot.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Slots that were given to another session before their time, since the start.
    #[must_use]
    pub fn gave_way(&self) -> u64 {
        self.gave_way
    }

    /// Whether a session has a slot.
    #[must_use]
    pub fn contains(&self, peer: PeerId, session: SnapshotSessionId) -> bool {
        self.slots.contains_key(&(peer, session))
    }

    /// The peers that have a slot or wait for one; a peer may appear several times.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.slots.keys().chain(self.waiting.iter().map(|waiter| &waiter.key)).map(|(peer, _)| *peer)
    }

    fn held(&self, source: Source, peer: PeerId) -> Held {
        Held {
            total: self.slots.len(),
            by_peer: self.slots.keys().filter(|(owner, _)| *owner == peer).count(),
            by_source: self.slots.values().filter(|slot| slot.source == source).count(),
        }
    }

    /// The slot that a new session gets in place of another. It belongs to the session's own peer or source, or to a
    /// source that holds more. Of these it is one of the source that holds most, and there the one that has been quiet
    /// for longest.
    fn giving_way(&self, now: Instant, source: Source, peer: PeerId, held: Held) -> Option<SessionKey> {
        let mut crowds: HashMap<Source, usize> = HashMap::new();
        for slot in self.slots.values() {
            *crowds.entry(slot.source).or_default() += 1;
        }
        let crowd = |slot: &Slot| crowds.get(&slot.source).copied().unwrap_or(0);
        let may_go = |key: &SessionKey, slot: &Slot| {
            let is_quiet = !slot.serving && now.saturating_duration_since(slot.last_used) >= self.limits.gives_way;
            let is_ours = key.0 == peer || slot.source == source;
            is_quiet
                && (is_ours || crowd(slot) > held.by_source)
                && held.without(key.0 == peer, slot.source == source).leaves_room(&self.limits)
        };
        self.slots
            .iter()
            .filter(|(key, slot)| may_go(key, slot))
            .min_by_key(|(key, slot)| (Reverse(crowd(slot)), slot.last_used, **key))
            .map(|(key, _)| *key)
    }

    fn none_left(&self, held: Held) -> PipelineError {
        let SlotLimits { total, per_peer, .. } = self.limits;
        if held.by_peer >= per_peer {
            Full::PeerSlots(self.limits).into()
        } else if held.total >= total {
            Full::Slots(self.limits).into()
        } else {
            Full::AddressSlots { total, held: held.by_source }.into()
        }
    }
}

impl Held {
    /// Whether the source leaves at least as much free as it would hold; this is its share.
    fn leaves_room(self, limits: &SlotLimits) -> bool {
        self.by_peer < limits.per_peer && self.by_source < limits.total.saturating_sub(self.total)
    }

    fn without(self, of_peer: bool, of_source: bool) -> Self {
        Self {
            total: self.total.saturating_sub(1),
            by_peer: self.by_peer.saturating_sub(usize::from(of_peer)),
            by_source: self.by_source.saturating_sub(usize::from(of_source)),
        }
    }
}
