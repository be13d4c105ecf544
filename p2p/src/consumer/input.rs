//! What happened.

use std::{path::PathBuf, sync::Arc, time::Instant};

use super::{FailureCode, InFlight, Link, Pause, Session, Storage, StorageState};
use crate::{
    authority::AuthorityError,
    error::{NotSent, RequestFailure, Violation},
    exchange::{Verified, VerifiedChunk},
    limits::{MAX_UNVERIFIED_BYTES, PAUSE_RECHECK},
    messages::{ArtefactKind, Plan, Update},
    text,
    types::{Hash, RequestId},
};

/// About what an update occupies in memory.
pub(super) fn weight(update: &Update) -> u64 {
    256 + update.recursive_proof.as_ref().map_or(0, |proof| proof.len() as u64) + 160 * update.signatures.len() as u64
}

impl Session {
    /// There is a connection to the peer.
    pub fn handle_connected(&mut self, _now: Instant) {
        self.link = Link::Up;
        if self.retry.as_ref().is_some_and(|retry| retry.for_connection) {
            self.retry = None;
        }
    }

    /// The last connection to the peer is gone. A request in flight is answered by its own failure.
    pub fn handle_disconnected(&mut self, now: Instant, reason: &str) {
        if self.link == Link::Down {
            return;
        }
        self.link = Link::Down;
        self.opened = false;
        if self.needs_provider() || self.asked.is_some() {
            self.back_off(
                now,
                FailureCode::Network,
                format!("the connection was lost: {}", text::escape(reason)),
                true,
            );
        }
        self.settle();
    }

    /// The peer could not be reached.
    pub fn handle_dial_failed(&mut self, now: Instant, reason: &str) {
        if !matches!(self.link, Link::Dialing(_)) {
            return;
        }
        self.link = Link::Down;
        self.back_off(now, FailureCode::Network, format!("it cannot be reached: {}", text::escape(reason)), true);
    }

    /// What became of the request that was wanted: it is in flight under this id, or nothing was sent.
    pub fn handle_sent(&mut self, now: Instant, sent: Result<RequestId, NotSent>) {
        match (sent, &mut self.asked) {
            (Ok(id), Some(asked)) => asked.id = Some(id),
            (Err(not_sent), Some(_)) => {
                self.lose_request(now, None, &RequestFailure::Io { reason: not_sent.to_string() });
            }
            (_, None) => {}
        }
    }

    /// The request in flight, if this is its id. What comes under another id is the late end of a request that this session
    /// has given up, or that was made in its name before it was resumed.
    pub(super) fn take_asked(&mut self, id: Option<RequestId>) -> Option<InFlight> {
        self.asked.take_if(|asked| asked.id == id)
    }

    /// Request `id` was answered, and its answer checked.
    pub fn handle_verified(&mut self, now: Instant, id: RequestId, verified: Verified) {
        let Some(asked) = self.take_asked(Some(id)) else { return };
        if self.is_over() {
            return;
        }
        match verified {
            Verified::Plan(plan) => self.accept_plan(now, plan.into()),
            Verified::Chunk(chunk) => self.accept_chunk(now, chunk),
            Verified::Update { index, update } => self.accept_update(now, index, *update),
            Verified::Resumed { .. } => {
                self.open_with_provider();
                self.explicit = None;
            }
            Verified::Acked { kind, index } => self.accept_ack(kind, index),
            Verified::Refused { code, message } => self.refused(now, &asked.request, code, &message),
        }
        self.settle();
    }

    /// The answer to request `id` broke the protocol: the session is over, and the provider is not trusted again.
    pub fn handle_violation(&mut self, now: Instant, id: RequestId, violation: &Violation) {
        if self.take_asked(Some(id)).is_none() || self.is_over() {
            return;
        }
        let (code, distrust) = match violation {
            Violation::Chunk { received, .. } => {
                self.slow.waste(*received);
                self.bytes_received += received;
                (FailureCode::Checksum, true)
            }
            // The anchor may be wrong on this side.
            Violation::Plan(error) if error.is_about_trust() => (FailureCode::Authentication, false),
            Violation::Update { .. } => (FailureCode::Proof, true),
            Violation::Authority(_) => (FailureCode::Authentication, true),
            _ => (FailureCode::Provider, true),
        };
        self.fail(now, code, format!("{} broke the protocol: {violation}", self.peer), distrust);
    }

    /// The provider broke the protocol elsewhere, in a session for the same payload: it is refused here as well.
    pub fn handle_distrust(&mut self, now: Instant, message: &str) {
        self.asked = None;
        if !self.is_over() {
            self.fail(now, FailureCode::Provider, message.to_owned(), true);
        }
    }

    /// The authority over the plan was checked.
    pub fn handle_authority(&mut self, now: Instant, result: Result<(), AuthorityError>) {
        if self.is_over() || !matches!(self.storage, StorageState::Checking(_)) {
            return;
        }
        self.storage = StorageState::Closed;
        match result {
            Ok(()) => self.authority = true,
            Err(error) if std::mem::take(&mut self.updates_from_disk) => self.forget_updates(&error),
            Err(error) => self.refuse_authority(now, &error),
        }
    }

    /// Signatures and chain of the plan hold, and this node verified its proof before: chunks may come. The proof is being
    /// checked again, and nothing is called verified before [`Self::handle_proof`] says that it holds.
    pub fn handle_known_chain(&mut self, now: Instant) {
        if self.is_over() || !matches!(self.storage, StorageState::Checking(_)) {
            return;
        }
        self.storage = StorageState::Closed;
        self.authority = true;
        self.proving = Some(now);
    }

    /// The proof of a known chain was checked again; of another plan than the present one it says nothing.
    pub fn handle_proof(&mut self, now: Instant, plan_id: &Hash, result: Result<(), AuthorityError>) {
        let is_present = self.work.as_ref().is_some_and(|work| work.plan.plan_id == *plan_id);
        if self.is_over() || !is_present || self.proving.take().is_none() {
            return;
        }
        match result {
            Ok(()) => self.settle(),
            Err(error) if std::mem::take(&mut self.updates_from_disk) => {
                self.authority = false;
                if matches!(self.storage, StorageState::Open | StorageState::Placed) {
                    self.storage = StorageState::Closed;
                }
                self.forget_updates(&error);
            }
            Err(error) => self.refuse_authority(now, &error),
        }
    }

    /// The check of the chain, or of its proof, came to no end on this machine: it says neither yes nor no, and nothing of the
    /// provider. The session ends, because nobody would answer it any more; a resume checks again.
    pub fn handle_unsettled(&mut self, now: Instant, reason: &str) {
        let is_checked = matches!(self.storage, StorageState::Checking(_)) || self.proving.is_some();
        if is_checked && !self.is_over() {
            let message =
                format!("this node could not finish checking the chain and its proof: {}", text::escape(reason));
            self.fail(now, FailureCode::Proof, message, false);
        }
    }

    /// What the disk had of the chain does not hold: the provider is asked for it.
    fn forget_updates(&mut self, error: &AuthorityError) {
        let Some(work) = &mut self.work else { return };
        work.updates = Arc::default();
        work.update_bytes = 0;
        let cause = format!("what this node had kept of the chain does not hold and is fetched again: {error}");
        self.trouble = Some((FailureCode::Storage, text::escape(&cause)));
    }

    fn refuse_authority(&mut self, now: Instant, error: &AuthorityError) {
        let (code, distrust) = match error {
            AuthorityError::Signatures(_) | AuthorityError::Authentication { .. } => {
                (FailureCode::Authentication, true)
            }
            AuthorityError::Chain { .. } | AuthorityError::Proof { .. } => (FailureCode::Proof, true),
            AuthorityError::Stale { .. } => (FailureCode::Stale, false),
            AuthorityError::Equivocation { .. } => (FailureCode::Equivocation, false),
        };
        self.fail(now, code, format!("the plan of {} is refused: {error}", self.peer), distrust);
    }

    /// What became of the partial payload: the answer to `OpenStorage`, or trouble with a write, a sync or placing. After
    /// trouble, whatever else was outstanding is dropped by the driver and asked for again.
    pub fn handle_storage(&mut self, now: Instant, storage: Storage) {
        if self.is_over() {
            return;
        }
        let was_opening = matches!(self.storage, StorageState::Opening(_));
        match storage {
            // What it was opened for does not hold any more.
            Storage::Ready { .. } | Storage::AlreadyStored { .. } if was_opening && !self.authority => {
                self.storage = StorageState::Closed;
            }
            Storage::Ready { durable_chunks, unchecked_bytes } if was_opening => {
                self.storage = StorageState::Open;
                self.opened_storage(|work| {
                    work.window.open(durable_chunks);
                    work.recheck.open(now, work.window.durable_bytes(), unchecked_bytes);
                });
            }
            Storage::AlreadyStored { path } if was_opening => {
                self.storage = StorageState::Placed;
                self.placed = Some(path);
                self.opened_storage(|work| {
                    work.window.open_complete();
                    work.recheck.open(now, 0, 0);
                });
            }
            Storage::Ready { .. } | Storage::AlreadyStored { .. } => {}
            Storage::HeldBy(session) => self.pause(now, Pause::Held(session)),
            Storage::Full { needed, free } => self.pause(now, Pause::Full { needed, free }),
            Storage::Unwritable(reason) => self.pause(now, Pause::Unwritable(text::escape(&reason))),
            Storage::Failed(reason) => {
                let message = format!("this node's own files failed: {}", text::escape(&reason));
                self.fail(now, FailureCode::Storage, message, false);
            }
        }
        self.settle();
    }

    fn opened_storage(&mut self, open: impl FnOnce(&mut super::Work)) {
        let Some(work) = &mut self.work else { return };
        open(work);
        self.confirmed_chunks = self.confirmed_chunks.max(work.window.durable_chunks());
        self.confirmed_updates = self.confirmed_updates.max(work.plan.total_updates);
    }

    fn pause(&mut self, now: Instant, why: Pause) {
        let since = match &self.storage {
            StorageState::Paused { since, why: before, .. } if *before == why => *since,
            _ => now,
        };
        self.storage = StorageState::Paused { why, since, recheck: now + PAUSE_RECHECK };
        if let Some(work) = &mut self.work {
            let lost = work.window.verified_bytes() - work.window.durable_bytes();
            work.window.close();
            work.recheck.close();
            self.slow.waste(lost);
        }
    }

    /// Every chunk up to `index` was written; not durable yet.
    pub fn handle_written(&mut self, now: Instant, index: u64) {
        if let Some(work) = &mut self.work {
            work.window.written(now, index);
        }
    }

    /// The first `chunks` chunks are durable and recorded.
    pub fn handle_durable(&mut self, now: Instant, chunks: u64) {
        if let Some(work) = &mut self.work {
            work.window.synced(now, chunks);
            self.confirmed_chunks = self.confirmed_chunks.max(work.window.durable_chunks());
        }
    }

    /// Of what was on the disk before, the first `checked` bytes were hashed by now. The `missing` chunks do not hold; the
    /// driver hashes on when they are repaired.
    pub fn handle_rechecked(&mut self, _now: Instant, checked: u64, missing: &[u64]) {
        let Some(work) = self.work.as_mut().filter(|_| self.storage == StorageState::Open) else { return };
        let known: Vec<u64> = missing.iter().copied().filter(|index| *index < work.window.durable_chunks()).collect();
        let damaged = known.iter().map(|index| work.window.size(*index)).sum();
        work.recheck.progress(checked, &known, damaged);
        self.settle();
    }

    /// The chunks of the last [`Action::Repair`](super::Action::Repair) are written and durable.
    pub fn handle_repaired(&mut self, _now: Instant) {
        if let Some(work) = &mut self.work {
            work.recheck.repaired();
        }
        self.settle();
    }

    /// The payload is in its place.
    pub fn handle_placed(&mut self, _now: Instant, path: PathBuf) {
        if self.is_over() || !matches!(self.storage, StorageState::Placing(_)) {
            return;
        }
        self.storage = StorageState::Placed;
        self.placed = Some(path);
        self.settle();
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.retry.as_ref().is_some_and(|retry| retry.at <= now) {
            self.retry = None;
        }
        if self.ack_after.is_some_and(|at| at <= now) {
            self.ack_after = None;
        }
        if matches!(self.storage, StorageState::Paused { recheck, .. } if recheck <= now) {
            self.storage = StorageState::Closed;
        }
    }

    /// The operator (or whoever knows that something changed) wants it to go on: ends a back-off or a pause at once, else
    /// changes nothing.
    pub fn retry_now(&mut self, _now: Instant) {
        self.retry = None;
        self.ack_after = None;
        if matches!(self.storage, StorageState::Paused { .. }) {
            self.storage = StorageState::Closed;
        }
    }

    fn accept_plan(&mut self, now: Instant, plan: Arc<Plan>) {
        self.open_with_provider();
        self.plan_anew = false;
        // The provider has a new record.
        (self.acked_chunks, self.acked_updates) = (0, 0);
        let may_shrink = self.slow.take();
        let Some(work) = &self.work else {
            self.work = Some(self.work_on(plan));
            self.announce = true;
            return;
        };
        let (old, new) = (&work.plan.snapshot.checkpoint, &plan.snapshot.checkpoint);
        let shrinks = may_shrink && plan.chunk_size < work.plan.chunk_size;
        if old.state_root != new.state_root || (work.plan.chunk_size != plan.chunk_size && !shrinks) {
            // The check of the answer refuses this already.
            let message = format!("{} answered with another snapshot than the session's", self.peer);
            return self.fail(now, FailureCode::Provider, message, true);
        }
        let same = work.plan.plan_id == plan.plan_id;
        if same && !shrinks {
            return;
        }
        let window = shrinks.then(|| self.window_for(&plan));
        let Some(work) = &mut self.work else { return };
        if let Some(window) = window {
            // Everything is durable, in chunks of which the new ones are parts.
            self.confirmed_chunks = match self.confirmed_chunks {
                all if all == work.plan.total_chunks => plan.total_chunks,
                some => work.window.bytes(some) / plan.chunk_size,
            };
            work.window = window;
            // What does not hold is found again, in smaller chunks, when the place is opened for them.
            work.recheck.resize(work.plan.chunk_size);
        }
        work.plan = plan;
        self.announce = true;
        if !same {
            // The same snapshot under another tip: its chain is checked, and recorded, like the first one.
            work.updates = Arc::default();
            work.update_bytes = 0;
            self.authority = false;
            self.proving = None;
            self.updates_from_disk = false;
        }
        if self.storage == StorageState::Open {
            self.storage = StorageState::Closed;
        }
    }

    fn accept_update(&mut self, now: Instant, index: u64, update: Update) {
        let Some(work) = &mut self.work else { return };
        if index != work.updates.len() as u64 {
            return;
        }
        work.update_bytes = work.update_bytes.saturating_add(weight(&update));
        if work.update_bytes > MAX_UNVERIFIED_BYTES {
            let bound = MAX_UNVERIFIED_BYTES >> 20;
            let message =
                format!("the updates of {} take more than {bound} MiB before their chain is verified", self.peer);
            return self.fail(now, FailureCode::Provider, message, true);
        }
        Arc::make_mut(&mut work.updates).push(update);
        self.progressed(now);
    }

    fn accept_chunk(&mut self, now: Instant, chunk: VerifiedChunk) {
        let Some(work) = &mut self.work else { return };
        let size = chunk.bytes.len() as u64;
        self.bytes_received += size;
        let is_taken = if work.recheck.is_missing(chunk.index) {
            work.recheck.push(chunk);
            true
        } else {
            work.window.push(now, chunk)
        };
        if is_taken {
            self.planned_anew = false;
            self.slow.reset();
            self.progressed(now);
        } else {
            self.slow.waste(size);
        }
    }

    fn accept_ack(&mut self, kind: ArtefactKind, index: u64) {
        match kind {
            ArtefactKind::Plan => {}
            ArtefactKind::Chunk => {
                self.acked_chunks = self.acked_chunks.max(index + 1);
                self.recovered();
            }
            ArtefactKind::LightClientUpdate => self.acked_updates = self.acked_updates.max(index + 1),
        }
    }

    fn open_with_provider(&mut self) {
        self.opened = true;
        self.tries = self.backoff.tries() + 1;
    }

    fn progressed(&mut self, now: Instant) {
        self.progressed = now;
        self.recovered();
    }

    fn recovered(&mut self) {
        self.backoff.reset();
        self.trouble = None;
    }

    /// Complete when the payload is in its place and nobody is left to be told.
    pub(super) fn settle(&mut self) {
        let is_placed = self.storage == StorageState::Placed && self.proving.is_none();
        let is_done = is_placed && self.asked.is_none() && !self.can_ack();
        if is_done && self.failure.is_none() {
            self.complete = true;
            self.retry = None;
        }
    }
}
