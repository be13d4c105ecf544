//! What to do next.

use std::{sync::Arc, time::Instant};

use super::{Action, InFlight, Link, Session, StorageState};
use crate::messages::{ArtefactKind, SnapshotsRequest};

impl Session {
    /// The next thing to do, until there is none for now. Finished local work goes first, then requests.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if self.is_over() {
            return None;
        }
        if std::mem::take(&mut self.announce)
            && let Some(work) = &self.work
        {
            return Some(Action::PlanAccepted(Arc::clone(&work.plan)));
        }
        self.disk_action(now)
            .or_else(|| self.authority_action(now))
            .or_else(|| self.storage_action(now))
            .or_else(|| self.request_action(now))
            .or_else(|| self.connect_action(now))
            .or_else(|| self.place_action(now))
    }

    /// When `handle_timeout` is to be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_over() {
            return None;
        }
        let retry = self.retry.as_ref().map(|retry| retry.at);
        let recheck = match self.storage {
            StorageState::Paused { recheck, .. } => Some(recheck),
            _ => None,
        };
        let sync = self.work.as_ref().and_then(|work| work.window.sync_at());
        [retry, recheck, sync, self.ack_after].into_iter().flatten().min()
    }

    fn disk_action(&mut self, now: Instant) -> Option<Action> {
        let flush = self.storage == StorageState::Closed;
        let work = self.work.as_mut()?;
        if let Some(chunks) = work.recheck.next_repair(now, work.window.group(), flush) {
            return Some(Action::Repair(chunks));
        }
        let window = &mut work.window;
        if let Some(chunk) = window.next_write(now, flush) {
            return Some(Action::Write(chunk));
        }
        window.start_sync(now, flush).then_some(Action::Sync)
    }

    fn authority_action(&mut self, now: Instant) -> Option<Action> {
        let work = self.work.as_ref()?;
        // What an operator named is put to the provider before anything else.
        if self.authority
            || self.storage != StorageState::Closed
            || work.has_missing_updates()
            || self.explicit.is_some()
            || self.plan_anew
        {
            return None;
        }
        self.storage = StorageState::Checking(now);
        Some(Action::VerifyAuthority { plan: Arc::clone(&work.plan), updates: Arc::clone(&work.updates) })
    }

    fn storage_action(&mut self, now: Instant) -> Option<Action> {
        let work = self.work.as_ref()?;
        let idle = work.window.is_idle() && work.recheck.is_idle();
        if !self.authority || self.storage != StorageState::Closed || self.plan_anew || !idle {
            return None;
        }
        self.storage = StorageState::Opening(now);
        Some(Action::OpenStorage { plan: Arc::clone(&work.plan), updates: Arc::clone(&work.updates) })
    }

    fn request_action(&mut self, now: Instant) -> Option<Action> {
        if self.link != Link::Up || self.asked.is_some() || self.retry.is_some() {
            return None;
        }
        let request = if self.opened { self.next_request() } else { self.opening_request() }?;
        self.asked = Some(InFlight { request: request.clone(), id: None, since: now });
        Some(Action::Request(request))
    }

    /// `plan` or `resume`, when the provider is needed.
    fn opening_request(&self) -> Option<SnapshotsRequest> {
        if !self.needs_provider() {
            return None;
        }
        if self.work.is_none() || self.plan_anew { self.plan_request() } else { self.resume_request() }
    }

    fn plan_request(&self) -> Option<SnapshotsRequest> {
        let options = &self.options;
        let Some(work) = &self.work else {
            return Some(SnapshotsRequest::Plan {
                session_id: self.id,
                chunk_size: Some(options.chunk_size),
                min_chunk_size: Some(options.min_chunk_size),
                max_chunk_size: Some(options.max_chunk_size),
                root: options.root,
                height: options.height,
            });
        };
        // Not under the feet of work that is done for the present plan.
        if matches!(self.storage, StorageState::Checking(_) | StorageState::Opening(_)) {
            return None;
        }
        // The same snapshot in the same chunks goes on, or in smaller ones once nothing counts in the present ones any
        // more; else only tip and updates may be new.
        let present = work.plan.chunk_size;
        let (chunk_size, least) = match self.slow.wanted() {
            Some(_) if !work.window.is_idle() || !work.recheck.is_idle() => return None,
            Some(smaller) => (smaller, self.options.min_chunk_size.min(smaller)),
            None => (present, present),
        };
        Some(SnapshotsRequest::Plan {
            session_id: self.id,
            chunk_size: Some(chunk_size),
            min_chunk_size: Some(least),
            max_chunk_size: Some(present),
            root: Some(work.plan.snapshot.checkpoint.state_root),
            height: Some(work.plan.snapshot.checkpoint.height),
        })
    }

    fn resume_request(&self) -> Option<SnapshotsRequest> {
        let work = self.work.as_ref()?;
        let (plan_id, chunk_index, update_index) = match self.explicit {
            Some(explicit) => (explicit.plan_id, explicit.chunk_index, explicit.update_index),
            None => {
                let updates = self.confirmed_updates.max(work.updates.len() as u64);
                let chunks = self.confirmed_chunks.max(work.window.verified_chunks());
                (work.plan.plan_id, chunks, updates.min(work.plan.total_updates))
            }
        };
        Some(SnapshotsRequest::Resume { session_id: self.id, plan_id, chunk_index, update_index })
    }

    /// Updates, then acks, then chunks: those that do not hold on the disk, then new ones.
    fn next_request(&self) -> Option<SnapshotsRequest> {
        let work = self.work.as_ref()?;
        if work.has_missing_updates() {
            let update_index = work.updates.len() as u64;
            return Some(SnapshotsRequest::LightClientUpdate { session_id: self.id, update_index });
        }
        if !work.window.is_open() || !matches!(self.storage, StorageState::Open | StorageState::Placed) {
            return None;
        }
        if let Some((kind, index)) = self.ack_due() {
            return Some(SnapshotsRequest::Ack { session_id: self.id, kind, index });
        }
        // What does not hold comes before what is new: acks wait for it.
        let chunk_index = work.recheck.wanted(work.window.capacity()).or_else(|| work.window.wanted())?;
        Some(SnapshotsRequest::Chunk { session_id: self.id, chunk_index })
    }

    /// What is durable and recorded here, and not acknowledged yet.
    fn ack_due(&self) -> Option<(ArtefactKind, u64)> {
        let work = self.work.as_ref()?;
        if self.ack_given_up || self.ack_after.is_some() {
            return None;
        }
        let updates = work.plan.total_updates;
        if self.acked_updates < updates && self.confirmed_updates >= updates {
            return Some((ArtefactKind::LightClientUpdate, updates - 1));
        }
        let durable = work.window.durable_chunks();
        // Below what was confirmed once (a partial payload that was lost) the provider would refuse it.
        let is_due = durable > self.acked_chunks && durable >= self.confirmed_chunks && work.recheck.is_sound();
        is_due.then(|| (ArtefactKind::Chunk, durable - 1))
    }

    fn connect_action(&mut self, now: Instant) -> Option<Action> {
        if self.link != Link::Down || self.retry.is_some() || !self.needs_provider() {
            return None;
        }
        self.link = Link::Dialing(now);
        Some(Action::Connect)
    }

    /// The payload goes into its place once everything is durable and the provider was told, if it can be.
    fn place_action(&mut self, now: Instant) -> Option<Action> {
        let can_place = self.authority
            && self.proving.is_none()
            && self.storage == StorageState::Open
            && self.asked.is_none()
            && self.is_all_durable()
            && !self.can_ack();
        if !can_place {
            return None;
        }
        self.storage = StorageState::Placing(now);
        Some(Action::Place)
    }

    /// An ack is due and the provider is there to take it.
    pub(super) fn can_ack(&self) -> bool {
        self.link == Link::Up && self.opened && self.retry.is_none() && self.ack_due().is_some()
    }
}
