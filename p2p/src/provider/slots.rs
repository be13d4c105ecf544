//! Which sessions are active on a provider, and that each has one request in flight.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::PeerId;

use super::SessionKey;
use crate::{
    error::PipelineError,
    limits::{MAX_SLOTS, MAX_SLOTS_PER_PEER, SLOT_IDLE},
    types::SnapshotSessionId,
};

/// How many sessions may be active, and for how long without a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotLimits {
    /// In all.
    pub total: usize,
    /// Of one peer.
    pub per_peer: usize,
    /// A slot is freed after this long without a request.
    pub idle: Duration,
}

impl Default for SlotLimits {
    fn default() -> Self {
        Self { total: MAX_SLOTS, per_peer: MAX_SLOTS_PER_PEER, idle: SLOT_IDLE }
    }
}

/// The right to serve one request; goes back through [`Slots::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a ticket that is not released keeps its session busy"]
pub struct Ticket {
    key: SessionKey,
    generation: u64,
}

impl Ticket {
    /// The session that it serves.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        self.key
    }
}

/// What becomes of the slot when a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
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
///     ^                 │ release(Free), or free() before      │ 60 s, or free()
///     └─────────────────┴──────────────────────────────────────┘
/// ```
#[derive(Debug, Default)]
pub struct Slots {
    limits: SlotLimits,
    slots: HashMap<SessionKey, Slot>,
    generation: u64,
}

#[derive(Debug)]
struct Slot {
    generation: u64,
    serving: bool,
    /// To be freed when the request in flight is answered.
    doomed: bool,
    last_used: Instant,
}

impl Slots {
    /// No session is active.
    #[must_use]
    pub fn new(limits: SlotLimits) -> Self {
        Self { limits, slots: HashMap::new(), generation: 0 }
    }

    /// Admits one request of a session, which takes a slot if it has none.
    ///
    /// # Errors
    /// [`PipelineError::Busy`]: the session has a request in flight, or there is no slot left.
    pub fn admit(&mut self, now: Instant, peer: PeerId, session: SnapshotSessionId) -> Result<Ticket, PipelineError> {
        let key = (peer, session);
        if let Some(slot) = self.slots.get_mut(&key) {
            if slot.serving {
                return Err(busy(format!("session {session} has a request in flight already")));
            }
            slot.serving = true;
            slot.last_used = now;
            return Ok(Ticket { key, generation: slot.generation });
        }
        self.expire(now);
        if self.of_peer(peer) >= self.limits.per_peer {
            return Err(busy(format!("all {} session slots of this peer are taken", self.limits.per_peer)));
        }
        if self.slots.len() >= self.limits.total {
            return Err(busy(format!("all {} session slots are taken", self.limits.total)));
        }
        self.generation += 1;
        let generation = self.generation;
        self.slots.insert(key, Slot { generation, serving: true, doomed: false, last_used: now });
        Ok(Ticket { key, generation })
    }

    /// The request is answered.
    pub fn release(&mut self, now: Instant, ticket: Ticket, outcome: Outcome) {
        let Some(slot) = self.slots.get_mut(&ticket.key).filter(|slot| slot.generation == ticket.generation) else {
            return;
        };
        slot.serving = false;
        slot.last_used = now;
        if slot.doomed || outcome == Outcome::Free {
            self.slots.remove(&ticket.key);
        }
    }

    /// Frees the slot of a session (it was cancelled); once its request is answered, if one is in flight.
    pub fn free(&mut self, peer: PeerId, session: SnapshotSessionId) {
        if let Some(slot) = self.slots.get_mut(&(peer, session)) {
            slot.doomed = true;
            if !slot.serving {
                self.slots.remove(&(peer, session));
            }
        }
    }

    /// Frees the slots that were idle for too long. [`Self::admit`] does the same when it needs one.
    pub fn expire(&mut self, now: Instant) {
        let idle = self.limits.idle;
        self.slots.retain(|_, slot| slot.serving || now.saturating_duration_since(slot.last_used) < idle);
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

    /// Whether a session has a slot.
    #[must_use]
    pub fn contains(&self, peer: PeerId, session: SnapshotSessionId) -> bool {
        self.slots.contains_key(&(peer, session))
    }

    fn of_peer(&self, peer: PeerId) -> usize {
        self.slots.keys().filter(|(owner, _)| *owner == peer).count()
    }
}

fn busy(reason: String) -> PipelineError {
    PipelineError::Busy { reason }
}
