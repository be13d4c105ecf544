//! What a download reports about itself: its progress, and what it waits for on this machine.

use std::{sync::Arc, time::Instant};

use super::{Authority, Download, Pause, Paused, Place, Work};
use crate::{
    consumer::{View, Waiting},
    messages::Update,
    status::WaitKind,
};

/// The phase of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It cannot go on now.
    Paused,
    /// Something is checked, opened or placed on this machine.
    Verifying,
    /// Chunks arrive.
    Streaming,
    /// Everything that it needs has to come from a source first.
    Waiting,
}

impl Download {
    pub(crate) fn phase(&self) -> Phase {
        let Some(work) = self.work() else { return Phase::Waiting };
        if work.paused().is_some() {
            return Phase::Paused;
        }
        match (&work.place, &work.authority) {
            (Place::Opening { .. } | Place::Placing { .. }, _) | (_, Authority::Checking { .. }) => Phase::Verifying,
            (Place::Open, _) if !work.is_only_checking() => Phase::Streaming,
            _ => Phase::Waiting,
        }
    }

    /// When something was verified the last time; the start before that.
    pub(crate) fn progressed(&self) -> Instant {
        self.progressed
    }

    /// Fills in what is known about the payload.
    pub(crate) fn tell(&self, view: &mut View) {
        view.confirmed_chunks = self.confirmed_chunks;
        view.confirmed_updates = self.confirmed_updates;
        view.bytes_wasted += self.wasted;
        let Some(work) = self.work() else { return };
        let (window, recheck, updates) = (&work.window, &work.recheck, work.verified_updates());
        view.plan = Some(Arc::clone(&work.plan));
        view.verified_chunks = work.verified_chunks();
        view.verified_updates = updates.len() as u64;
        view.last_update_height = updates.last().map(|update| update.checkpoint.height);
        view.bytes_verified = work.verified_bytes();
        view.bytes_rechecked = recheck.checked_bytes();
        view.bytes_to_recheck = recheck.total_bytes();
        view.bytes_damaged = recheck.damaged_bytes();
        view.bytes_written = window.written_bytes();
        // Before the partial payload is open, the record's count.
        view.bytes_durable =
            if window.is_open() || window.durable_bytes() > 0 { window.durable_bytes() } else { work.recorded.bytes() };
        if let (true, Place::Placed { path }) = (view.verified, &work.place) {
            view.payload_path = Some(path.clone());
        }
    }

    /// The wait on this machine that no source can shorten, if there is one.
    pub(crate) fn waiting_on_this_side(&self) -> Option<Waiting> {
        let work = self.work()?;
        if let Some(pause) = work.paused() {
            return Some(Waiting { retry_at: Some(pause.recheck), ..paused(&pause.why, pause.since) });
        }
        if let Authority::Checking { since } = work.authority {
            let reason =
                "signatures, commitment chain and recursive proof of the tip are being checked on this machine";
            return Some(wait(WaitKind::Proof, since, reason));
        }
        Some(match &work.place {
            Place::Opening { since } => wait(
                WaitKind::Disk,
                *since,
                "the partial payload is being opened, and what is already there is being checked",
            ),
            Place::Placing { since } => wait(
                WaitKind::Disk,
                *since,
                "every byte is verified and durable; the payload is being put in its place",
            ),
            Place::Closed | Place::Open | Place::Placed { .. } | Place::Paused => return None,
        })
    }

    /// What remains to be written, hashed or checked when nothing else has to arrive.
    pub(crate) fn waiting_on_the_rest(&self) -> Option<Waiting> {
        let work = self.work()?;
        if let Some(since) = work.window.busy_since() {
            let pending = work.window.verified_bytes() - work.window.durable_bytes();
            let reason = format!("{pending} verified bytes are being made durable; a slow disk shows here");
            return Some(wait(WaitKind::Disk, since, reason));
        }
        if let Some(since) = work.recheck.busy_since() {
            let (done, all) = (work.recheck.checked_bytes(), work.recheck.total_bytes());
            let reason = format!(
                "what was on the disk before this start is hashed again: {done} of {all} bytes are done, and nothing of it \
                 counts before"
            );
            return Some(wait(WaitKind::Disk, since, reason));
        }
        let Authority::Known { since } = work.authority else { return None };
        let reason = "every byte is verified and durable; the recursive proof of the tip, which this node knows from \
                      before, is being checked again";
        Some(wait(WaitKind::Proof, since, reason))
    }
}

impl Work {
    /// The pause, if it lasts. It also lasts while a try to end it opens the place again or moves the payload to its
    /// place. It does not last while something must first arrive from a source.
    fn paused(&self) -> Option<&Paused> {
        let pause = self.pause.as_ref()?;
        let lasts = match self.place {
            Place::Paused | Place::Opening { .. } | Place::Placing { .. } => true,
            Place::Closed => !self.has_missing_updates(),
            Place::Open => self.is_all_durable(),
            Place::Placed { .. } => false,
        };
        lasts.then_some(pause)
    }

    /// The last update has the proof of the others, so it counts only after that was checked.
    fn verified_updates(&self) -> &[Update] {
        let is_unproven = !self.authority.is_given() && !self.has_missing_updates();
        match self.chain.updates.split_last() {
            Some((_, others)) if is_unproven => others,
            _ => &self.chain.updates,
        }
    }

    /// Whether every chunk is durable, and only hashing old bytes or checking the proof remains.
    fn is_only_checking(&self) -> bool {
        let is_checked = self.recheck.is_done() && !matches!(self.authority, Authority::Known { .. });
        self.window.is_complete() && !self.recheck.has_missing() && !is_checked
    }

    /// The number of chunks, from the first on, that this process verified.
    fn verified_chunks(&self) -> u64 {
        let verified = self.window.verified_prefix();
        self.recheck.first_doubtful(self.plan.chunk_size).map_or(verified, |doubtful| doubtful.min(verified))
    }

    /// Bytes that this process verified.
    fn verified_bytes(&self) -> u64 {
        let missing: u64 = self.recheck.missing().map(|index| self.window.size(index)).sum();
        self.window.verified_bytes().saturating_sub(self.recheck.unchecked_bytes() + missing)
    }
}

fn paused(why: &Pause, since: Instant) -> Waiting {
    match why {
        Pause::Held(session) => Waiting {
            session: Some(*session),
            ..wait(
                WaitKind::Session,
                since,
                format!(
                    "session {session} of this node writes the same payload: this one goes on by itself when that one ends; \
                     cancel either to go on with the other"
                ),
            )
        },
        Pause::Full { needed, free } => wait(
            WaitKind::Disk,
            since,
            format!(
                "the disk is full: {needed} bytes are needed, {free} are free; make room, and the session goes on by itself"
            ),
        ),
        Pause::Unwritable(reason) => wait(WaitKind::Disk, since, reason.to_string()),
    }
}

fn wait(what: WaitKind, since: Instant, reason: impl Into<String>) -> Waiting {
    Waiting { what, index: None, session: None, since, reason: reason.into(), retry_at: None }
}
