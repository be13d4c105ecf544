//! Prefetch from mirrors while the authority over the plan is checked and the place is opened. Prefetched chunks are
//! verified against the root and wait in memory, within the window. They count once the place is open. So the line is
//! not idle meanwhile, and no byte reaches the disk before authority is given.
//!
//! The range for each mirror is chosen before its plan is there, so the reader can ask for that range and the manifest
//! at the same time.
//!
//! Only a download without any bytes and without a limit by the byte prefetches. Otherwise it is not known yet which
//! bytes are missing, or how many may arrive.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Instant};

use super::{Session, serves, sources::LinkKind};
use crate::{
    download::{Demand, Want},
    exchange::VerifiedChunk,
    limits::EARLY_READ,
    messages::PlanWishes,
    plan::ChunkBounds,
    ranges::IndexRanges,
    schedule::Number,
    tree::chunk_range,
    types::Hash,
};

#[derive(Debug, Default)]
pub(super) struct Early {
    /// Root and chunk size.
    of: Option<(Hash, u64)>,
    /// The range for each mirror, in bytes of the payload; the ranges do not overlap.
    parts: BTreeMap<Number, Range<u64>>,
    /// The first byte after all ranges.
    next: u64,
    came: Vec<(Number, VerifiedChunk)>,
    is_over: bool,
}

impl Early {
    /// Whether this chunk waits here until the place is open.
    pub(super) fn keeps(&self, number: Number, index: u64) -> bool {
        let Some((_, size)) = self.of.filter(|_| !self.is_over) else { return false };
        self.parts.get(&number).is_some_and(|part| part.contains(&index.saturating_mul(size)))
    }

    pub(super) fn keep(&mut self, number: Number, chunk: VerifiedChunk) {
        self.came.push((number, chunk));
    }

    pub(super) fn is_reading(&self) -> bool {
        !self.is_over && self.of.is_some() && !self.parts.is_empty()
    }

    /// The range for this mirror, in whole chunks of `size` bytes; the ranges of all mirrors together fit the window.
    fn part(&mut self, number: Number, size: u64, share: u64, window: u64) -> Range<u64> {
        let next = &mut self.next;
        let part = self.parts.entry(number).or_insert_with(|| {
            // A power of two, like a chunk, so the next range begins at a chunk's start whatever the chunk size.
            let share = share.checked_ilog2().map_or(0, |power| 1 << power);
            let most = share.max(size).min(window.saturating_sub(*next)) / size * size;
            let part = *next..*next + most;
            *next = part.end;
            part
        });
        part.clone()
    }

    /// Fixes root and chunk size. `false` if the ranges that were chosen before do not fit them.
    fn settle(&mut self, of: (Hash, u64)) -> bool {
        let begins_with_chunk = |part: &Range<u64>| part.start.is_multiple_of(of.1) && part.end.is_multiple_of(of.1);
        let is_fit = self.of == Some(of) || (self.of.is_none() && self.parts.values().all(begins_with_chunk));
        if is_fit {
            self.of = Some(of);
        }
        is_fit
    }

    /// The parts of a range that have not arrived yet.
    fn missing(&self, number: Number, part: Range<u64>) -> Vec<Range<u64>> {
        let came = self.came.iter().filter(|(of, _)| *of == number).map(|(_, chunk)| chunk.index..chunk.index + 1);
        came.collect::<IndexRanges>().gaps(part)
    }
}

impl Session {
    /// The range that a mirror will be asked for first, if its plan is accepted. Chosen before there is a plan.
    pub(super) fn early_part(&mut self, number: Number, wishes: &PlanWishes) -> Range<u64> {
        if self.early.is_over || !self.download.may_read_before_plan() {
            return 0..0;
        }
        match wishes.fit_chunk_size(ChunkBounds::default()) {
            Ok(size) => self.early.part(number, size, self.early_share(), self.options.window),
            Err(_) => 0..0,
        }
    }

    fn early_share(&self) -> u64 {
        let mirrors = self.sources.alive().filter(|(_, other)| matches!(other.kind, LinkKind::Mirror(_))).count();
        EARLY_READ.min(self.options.window / mirrors.max(1) as u64)
    }

    /// What to prefetch from a mirror.
    pub(super) fn early_demand(&mut self, now: Instant, number: Number) -> Option<Demand> {
        let plan = Arc::clone(self.download.may_read_ahead().filter(|_| !self.early.is_over)?);
        let delivery = self.sources.get(number).filter(|delivery| matches!(delivery.kind, LinkKind::Mirror(_)))?;
        let own = Arc::clone(delivery.plan.as_ref().filter(|own| serves(&plan, own))?);
        let of = (plan.snapshot.checkpoint.state_root, plan.chunk_size);
        if !self.early.settle(of) {
            self.drop_early();
            self.early.settle(of);
        }
        let (total, size) = (plan.snapshot.checkpoint.payload_bytes, plan.chunk_size);
        let part = self.early.part(number, size, self.early_share(), self.options.window);
        let part = (part.start / size).min(plan.total_chunks)..(part.end / size).min(plan.total_chunks);
        let budget = chunk_range(total, size, part.end).start - chunk_range(total, size, part.start).start;
        let chunks = self.early.missing(number, part);
        if !chunks.is_empty() {
            self.schedule.begins(now, number);
        }
        Some(Demand { plan: Some(own), want: Want { chunks, updates: 0..0 }, budget, ..Demand::without_plan() })
    }

    /// The place may be open: prefetched chunks count now.
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

    /// Drops the prefetched chunks, which are of no use.
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
