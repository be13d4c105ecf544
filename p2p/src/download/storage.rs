//! Events of the disk.

use std::{path::PathBuf, time::Instant};

use super::{DiskJob, Download, Pause, Paused, Place, Work, recheck::Recheck};
use crate::{
    consumer::{Input, Storage, Unexpected},
    error::Cause,
    have::Have,
    limits::PAUSE_RECHECK,
};

/// This node's own files failed: the message for the operator.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node's own files failed: {0}")]
pub(crate) struct DiskFailed(pub(crate) Cause);

impl Download {
    /// The state of the partial payload, or a failure of any of the session's files. After a failure the driver drops
    /// everything else that was outstanding, and the session asks for it again.
    pub(crate) fn handle_storage(
        &mut self,
        now: Instant,
        storage: Storage,
    ) -> Result<Result<(), DiskFailed>, Unexpected> {
        match storage {
            Storage::Ready { durable, unchecked } => {
                if self.ends_opening()? {
                    let unchecked = unchecked.common(&durable);
                    self.tally.note_recheck(&unchecked);
                    self.opened(Place::Open, &durable, |work| {
                        work.window.open(&durable);
                        work.recheck.open(now, work.window.durable_bytes(), unchecked);
                    });
                }
            }
            Storage::AlreadyStored { path } => {
                if self.ends_opening()? {
                    let all = Have::everything(self.work().map_or(0, Work::payload_bytes));
                    self.opened(Place::Placed { path }, &all, |work| {
                        work.window.open_complete();
                        work.recheck = Recheck::new(work.payload_bytes());
                    });
                }
            }
            Storage::HeldBy(session) => {
                if self.tally.answered(DiskJob::Open, Input::StorageHeld)? {
                    self.pause(now, Pause::Held(session));
                }
            }
            Storage::Full { needed, free } => self.pause(now, Pause::Full { needed, free }),
            Storage::Unwritable(reason) => self.pause(now, Pause::Unwritable(reason)),
            Storage::Failed(reason) => return Ok(Err(DiskFailed(reason))),
        }
        Ok(Ok(()))
    }

    /// Whether the opening that has ended is the one that the session waits for, and its reason still holds.
    fn ends_opening(&mut self) -> Result<bool, Unexpected> {
        let is_out = self.tally.answered(DiskJob::Open, Input::StorageOpen)?;
        let Some(work) = self.work_mut() else { return Ok(false) };
        if !is_out || !matches!(work.place, Place::Opening { .. }) {
            return Ok(false);
        }
        if !work.authority.is_given() {
            work.place = Place::Closed;
        }
        Ok(work.authority.is_given())
    }

    fn opened(&mut self, place: Place, durable: &Have, open: impl FnOnce(&mut Work)) {
        self.tally.note_found(durable);
        let Some(work) = self.work_mut() else { return };
        // Opening does not show that the disk accepts writes again. That shows only when something is durable.
        if matches!(work.pause, Some(Paused { why: Pause::Held(_), .. })) || matches!(place, Place::Placed { .. }) {
            work.pause = None;
        }
        work.place = place;
        open(work);
        work.recorded = durable.clone();
        let (durable, updates) = (work.window.durable_prefix(), work.plan.total_updates);
        self.confirmed_chunks = self.confirmed_chunks.max(durable);
        self.confirmed_updates = self.confirmed_updates.max(updates);
    }

    fn pause(&mut self, now: Instant, why: Pause) {
        self.tally.drop_jobs();
        let Some(work) = self.work_mut() else { return };
        let recheck = now + PAUSE_RECHECK;
        work.place = Place::Paused;
        work.pause = Some(match work.pause.take() {
            Some(before) if why.is_no_news_after(&before.why) => Paused { recheck, ..before },
            Some(before) if why.continues(&before.why) => Paused { why, since: before.since, recheck },
            _ => Paused { why, since: now, recheck },
        });
        work.give_up_check();
        let lost = work.window.verified_bytes() - work.window.durable_bytes();
        work.window.close();
        work.recheck.close();
        self.wasted += lost;
    }

    /// Every chunk that was handed out up to this one was written; not durable yet.
    pub(crate) fn handle_written(&mut self, now: Instant, index: u64) -> Result<(), Unexpected> {
        let chunk_size = self.plan().map_or(0, |plan| plan.chunk_size);
        self.tally.check_written(chunk_size, index)?;
        if let Some(work) = self.work_mut() {
            work.window.written(now, index);
        }
        Ok(())
    }

    /// All of this is durable and recorded.
    pub(crate) fn handle_durable(&mut self, now: Instant, durable: &Have) -> Result<(), Unexpected> {
        self.tally.check_durable(durable)?;
        if let Some(work) = self.work_mut().filter(|work| work.payload_bytes() == durable.payload_bytes()) {
            let before = work.window.durable_bytes();
            work.window.synced(now, durable);
            if work.place == Place::Open && work.window.durable_bytes() > before {
                work.pause = None;
            }
            if work.window.is_open() {
                work.recorded.add(durable);
            }
            let durable = work.window.durable_prefix();
            self.confirmed_chunks = self.confirmed_chunks.max(durable);
        }
        Ok(())
    }

    /// Bytes on the disk before this offset have been hashed; the `missing` chunks do not match.
    pub(crate) fn handle_rechecked(&mut self, checked: u64, missing: &[u64]) -> Result<(), Unexpected> {
        self.tally.check_recheck()?;
        let Some(work) = self.work_mut().filter(|work| work.place == Place::Open) else { return Ok(()) };
        let known: Vec<u64> = missing.iter().copied().filter(|index| work.window.is_durable(*index)).collect();
        let damaged = known.iter().map(|index| work.window.size(*index)).sum();
        work.recheck.progress(checked, &known, damaged);
        Ok(())
    }

    /// The chunks that did not match are written again and durable.
    pub(crate) fn handle_repaired(&mut self) -> Result<(), Unexpected> {
        if self.tally.answered(DiskJob::Repair, Input::Repaired)?
            && let Some(work) = self.work_mut()
        {
            work.recheck.repaired();
        }
        Ok(())
    }

    /// The payload is in its place.
    pub(crate) fn handle_placed(&mut self, path: PathBuf) -> Result<(), Unexpected> {
        let is_out = self.tally.answered(DiskJob::Place, Input::Placed)?;
        if let Some(work) = self.work_mut()
            && is_out
            && matches!(work.place, Place::Placing { .. })
        {
            (work.place, work.pause) = (Place::Placed { path }, None);
        }
        Ok(())
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Some(work) = self.work_mut()
            && work.retry_at().is_some_and(|at| at <= now)
        {
            work.place = Place::Closed;
        }
    }

    /// Ends a pause at once.
    pub(crate) fn retry_now(&mut self) {
        if let Some(work) = self.work_mut()
            && work.place == Place::Paused
        {
            work.place = Place::Closed;
        }
    }
}

impl Work {
    /// The end of a pause, when the place is opened again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.pause.as_ref().filter(|_| self.place == Place::Paused).map(|pause| pause.recheck)
    }

    /// The node could not finish a check of the authority: the session asks for it again.
    fn give_up_check(&mut self) {
        if matches!(self.authority, super::Authority::Checking { .. }) {
            self.authority = super::Authority::Missing;
        }
    }
}
