//! What mirrors give while the authority over the plan is still being checked and the place opened. It waits in memory, verified against
//! the root and within the window, and counts once the place is open. So the line is not idle meanwhile; nothing of it reaches the
//! disk before the authority is given.
//!
//! Only a download that has nothing yet and no limit by the byte reads ahead: else it is not known what is missing, or how
//! much may come.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Instant};

use super::{Session, serves, sources::LinkKind};
use crate::{
    download::{Demand, Want},
    exchange::VerifiedChunk,
    limits::EARLY_READ,
    messages::Plan,
    ranges::IndexRanges,
    schedule::Number,
    tree::chunk_range,
    types::Hash,
};

#[derive(Debug, Default)]
pub(super) struct Early {
    /// Root and chunk size.
    of: Option<(Hash, u64)>,
    /// What each mirror is to give, each something else.
    parts: BTreeMap<Number, Range<u64>>,
    /// The first chunk that is in no part.
    next: u64,
    came: Vec<(Number, VerifiedChunk)>,
    is_over: bool,
}

impl Early {
    /// Whether this chunk waits here until the place is open.
    pub(super) fn keeps(&self, number: Number, index: u64) -> bool {
        !self.is_over && self.parts.get(&number).is_some_and(|part| part.contains(&index))
    }

    pub(super) fn keep(&mut self, number: Number, chunk: VerifiedChunk) {
        self.came.push((number, chunk));
    }

    pub(super) fn is_reading(&self) -> bool {
        !self.is_over && !self.parts.is_empty()
    }

    /// What this mirror is to give; within the window with that of all others.
    fn part(&mut self, number: Number, plan: &Plan, share: u64, window: u64) -> Range<u64> {
        let (next, size) = (&mut self.next, plan.chunk_size);
        let part = self.parts.entry(number).or_insert_with(|| {
            let most = (share / size).max(1).min((window / size).saturating_sub(*next));
            let part = *next..(*next + most).min(plan.total_chunks);
            *next = part.end.max(*next);
            part
        });
        part.clone()
    }

    /// What of a part is still to come.
    fn missing(&self, number: Number, part: Range<u64>) -> Vec<Range<u64>> {
        let came = self.came.iter().filter(|(of, _)| *of == number).map(|(_, chunk)| chunk.index..chunk.index + 1);
        came.collect::<IndexRanges>().gaps(part)
    }
}

impl Session {
    /// What a mirror is to read ahead.
    pub(super) fn early_demand(&mut self, now: Instant, number: Number) -> Option<Demand> {
        let plan = Arc::clone(self.download.may_read_ahead().filter(|_| !self.early.is_over)?);
        let delivery = self.sources.get(number).filter(|delivery| matches!(delivery.kind, LinkKind::Mirror(_)))?;
        let own = Arc::clone(delivery.plan.as_ref().filter(|own| serves(&plan, own))?);
        let of = (plan.snapshot.checkpoint.state_root, plan.chunk_size);
        if self.early.of != Some(of) {
            self.drop_early();
            self.early.of = Some(of);
        }
        let mirrors = self.sources.alive().filter(|(_, other)| matches!(other.kind, LinkKind::Mirror(_))).count();
        let share = EARLY_READ.min(self.options.window / mirrors.max(1) as u64);
        let part = self.early.part(number, &plan, share, self.options.window);
        let (total, size) = (plan.snapshot.checkpoint.payload_bytes, plan.chunk_size);
        let room = chunk_range(total, size, part.end).start - chunk_range(total, size, part.start).start;
        let chunks = self.early.missing(number, part);
        if !chunks.is_empty() {
            self.schedule.begins(now, number);
        }
        Some(Demand { plan: Some(own), want: Want { chunks, updates: 0..0 }, room, ..Demand::without_plan() })
    }

    /// The place may be open: what was read ahead counts now.
    pub(super) fn use_early(&mut self, now: Instant) {
        if self.early.is_over || !self.download.takes_chunks() {
            return;
        }
        let early = std::mem::take(&mut self.early);
        self.early.is_over = true;
        let present = self.download.plan().map(|plan| (plan.snapshot.checkpoint.state_root, plan.chunk_size));
        for (number, chunk) in early.came {
            let bytes = chunk.bytes.len() as u64;
            let is_taken = present == early.of && self.download.accept_chunk(now, chunk);
            self.note_early(number, bytes, is_taken);
        }
        for (number, delivery) in self.sources.iter() {
            if let LinkKind::Mirror(link) = &delivery.kind {
                self.schedule.adopt(number, &link.chunks_under_way());
            }
        }
        self.touch();
    }

    /// What was read ahead is of no use.
    pub(super) fn drop_early(&mut self) {
        for (number, chunk) in std::mem::take(&mut self.early).came {
            self.note_early(number, chunk.bytes.len() as u64, false);
        }
    }

    fn note_early(&mut self, number: Number, bytes: u64, is_taken: bool) {
        let Some(delivery) = self.sources.get_mut(number) else { return };
        match &mut delivery.kind {
            _ if is_taken => delivery.verified += bytes,
            LinkKind::Mirror(link) => link.wasted(bytes),
            LinkKind::Peer(_) => {}
        }
    }
}
