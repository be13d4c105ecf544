//! What has to be done on this machine, and what has to come from the sources.

use std::{sync::Arc, time::Instant};

use super::{Authority, Demand, DiskJob, Download, DownloadState, Durable, Place, Want, Work};
use crate::{consumer::Action, messages::Plan};

/// What must not start before the next opening is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    Nothing,
    /// The operator's offsets are sent to the provider before anything is checked.
    Authority,
    /// Another plan follows: the authority over this one is not checked, and no place is opened for it.
    Plan,
}

impl Download {
    /// The next action on this machine, in the order of the disk: verified chunks are written first.
    pub(crate) fn poll_action(&mut self, now: Instant, hold: Hold) -> Option<Action> {
        let (tally, work) = match &mut self.state {
            DownloadState::Unplanned => return None,
            DownloadState::Planned(work) => (&mut self.tally, work),
        };
        if std::mem::take(&mut work.announce) {
            return Some(Action::PlanAccepted(Arc::clone(&work.plan)));
        }
        if let Some(action) = work.disk_action(now) {
            match &action {
                Action::Write(chunk) => {
                    let range = chunk.index..chunk.index + 1;
                    tally.note_handed(work.payload_bytes(), work.plan.chunk_size, range);
                }
                Action::Repair(_) => tally.asked(DiskJob::Repair),
                _ => {}
            }
            return Some(action);
        }
        if let Some(action) = work.authority_action(now, hold) {
            tally.asked(DiskJob::Authority);
            return Some(action);
        }
        let action = work.storage_action(now, hold)?;
        tally.asked(DiskJob::Open);
        Some(action)
    }

    /// Places the payload if everything is durable.
    pub(crate) fn place_action(&mut self, now: Instant) -> Option<Action> {
        let work = self.work_mut()?;
        if work.authority != Authority::Holds || work.place != Place::Open || !work.is_all_durable() {
            return None;
        }
        work.place = Place::Placing { since: now };
        self.tally.asked(DiskJob::Place);
        Some(Action::Place)
    }

    /// When [`Self::handle_timeout`] must be called at the latest.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let work = self.work()?;
        [work.retry_at(), work.window.sync_at()].into_iter().flatten().min()
    }

    /// What the sources have to deliver, and what may be acknowledged to them.
    pub(crate) fn demand(&self) -> Demand {
        let Some(work) = self.work() else { return Demand::without_plan() };
        let updates = self.confirmed_updates.max(work.chain.updates.len() as u64).min(work.plan.total_updates);
        Demand {
            plan: Some(Arc::clone(&work.plan)),
            is_needed: self.is_needed(work),
            may_shrink: true,
            next: (self.confirmed_chunks.max(work.window.verified_prefix()), updates),
            want: work.want(),
            budget: self.throttle.as_ref().map_or(work.budget(), |throttle| throttle.cap(work.budget())),
            unwritten: work.window.unwritten_bytes(),
            durable: self.durable(work),
            is_all_durable: work.is_all_durable(),
            is_in_use: work.is_in_use(),
            is_written: work.is_written(),
        }
    }

    /// Whether the authority over the plan is given, now or according to the record: root, length and chunk size are
    /// fixed.
    pub(crate) fn is_fixed(&self) -> bool {
        self.confirmed_updates > 0 || self.work().is_some_and(|work| work.authority.is_given())
    }

    /// Whether updates of the plan are missing.
    pub(crate) fn wants_updates(&self) -> bool {
        self.work().is_some_and(Work::has_missing_updates)
    }

    /// The plan, if no byte of it is present, its place is not open yet, and there is no limit by the byte.
    pub(crate) fn may_read_ahead(&self) -> Option<&Arc<Plan>> {
        let work = self.work()?;
        let is_to_open = matches!(work.place, Place::Closed | Place::Opening { .. }) && !work.window.is_open();
        let is_new = self.confirmed_chunks == 0 && work.recorded.bytes() == 0;
        (is_to_open && is_new && self.throttle.is_none()).then_some(&work.plan)
    }

    /// Whether bytes that are prefetched before there is a plan may be used.
    pub(crate) fn may_read_before_plan(&self) -> bool {
        match self.work() {
            None => self.confirmed_chunks == 0 && self.throttle.is_none(),
            Some(_) => self.may_read_ahead().is_some(),
        }
    }

    /// Whether the place for chunks is open.
    pub(crate) fn takes_chunks(&self) -> bool {
        self.work().is_some_and(|work| work.window.is_open())
    }

    /// Drops the plan: its source delivers nothing, and nothing is fixed yet. `false` while this machine works on the
    /// plan.
    pub(crate) fn forget_plan(&mut self) -> bool {
        let is_free = !self.is_fixed() && self.work().is_none_or(|work| !work.is_in_use() && work.is_written());
        if is_free {
            self.state = DownloadState::Unplanned;
        }
        is_free
    }

    fn is_needed(&self, work: &Work) -> bool {
        if work.has_missing_updates() {
            return true;
        }
        match work.place {
            // While the authority is checked, the session is opened at the provider, unless nothing seems to be
            // missing.
            Place::Closed | Place::Opening { .. } => self.confirmed_chunks < work.plan.total_chunks,
            Place::Open => !work.window.is_all_verified() || work.recheck.has_missing(),
            Place::Paused | Place::Placing { .. } | Place::Placed { .. } => false,
        }
    }

    /// A provider refuses markers below those that were confirmed once. After a partial payload was lost, the chunks
    /// that are fetched again are not there yet, so nothing may be reported.
    fn durable(&self, work: &Work) -> Durable {
        if !work.is_open() {
            return Durable::default();
        }
        let (chunks, updates) = (work.window.durable_prefix(), work.plan.total_updates);
        Durable {
            chunks: (chunks >= self.confirmed_chunks && work.recheck.is_sound()).then_some(chunks),
            updates: (self.confirmed_updates >= updates).then_some(updates),
        }
    }
}

impl Work {
    fn disk_action(&mut self, now: Instant) -> Option<Action> {
        let flush = self.place == Place::Closed && !matches!(self.authority, Authority::Checking { .. });
        if let Some(chunks) = self.recheck.next_repair(now, self.window.group(), flush) {
            return Some(Action::Repair(chunks));
        }
        if let Some(chunk) = self.window.next_write(now, flush) {
            return Some(Action::Write(chunk));
        }
        self.window.start_sync(now, flush).then_some(Action::Sync)
    }

    fn authority_action(&mut self, now: Instant, hold: Hold) -> Option<Action> {
        let is_due = self.authority == Authority::Missing && self.place == Place::Closed && hold == Hold::Nothing;
        if !is_due || self.has_missing_updates() {
            return None;
        }
        self.authority = Authority::Checking { since: now };
        Some(Action::VerifyAuthority { plan: Arc::clone(&self.plan), updates: Arc::clone(&self.chain.updates) })
    }

    fn storage_action(&mut self, now: Instant, hold: Hold) -> Option<Action> {
        let is_due = self.authority.is_given() && self.place == Place::Closed && hold != Hold::Plan;
        if !is_due || !self.is_written() {
            return None;
        }
        self.place = Place::Opening { since: now };
        Some(Action::OpenStorage { plan: Arc::clone(&self.plan), updates: Arc::clone(&self.chain.updates) })
    }

    fn is_in_use(&self) -> bool {
        matches!(self.authority, Authority::Checking { .. }) || matches!(self.place, Place::Opening { .. })
    }

    fn is_written(&self) -> bool {
        self.window.is_idle() && self.recheck.is_idle()
    }

    /// Whether chunks may arrive and be acknowledged.
    fn is_open(&self) -> bool {
        let is_open = self.window.is_open() && matches!(self.place, Place::Open | Place::Placed { .. });
        is_open && !self.has_missing_updates()
    }

    /// Updates first. Then, once the place is open, chunks: first those on the disk that do not match (acks wait for
    /// them), then new ones.
    pub(super) fn want(&self) -> Want {
        if self.has_missing_updates() {
            return Want { updates: self.chain.updates.len() as u64..self.plan.total_updates, chunks: Vec::new() };
        }
        if !self.is_open() {
            return Want::default();
        }
        let repairs = Want::of_chunks(self.recheck.wanted(self.window.capacity()));
        if repairs.is_empty() { Want { chunks: self.window.wanted(), updates: 0..0 } } else { repairs }
    }

    /// Chunks that do not match come before new ones, and may use the whole window.
    pub(super) fn budget(&self) -> u64 {
        if !self.is_open() {
            return 0;
        }
        match self.recheck.budget(self.window.capacity(), |index| self.window.size(index)) {
            0 if !self.window.is_all_verified() => self.window.budget(),
            repairs => repairs,
        }
    }
}
