//! Tracks the bytes that were on the disk before this process started. They count once they were hashed again. Chunks
//! that do not match are fetched and written again. [`Window`](super::window::Window) tracks new chunks.
//!
//! ```text
//! unchecked -> checked
//!           -> missing -> (asked) -> queue -> writing -> checked
//! ```
//!
//! The driver hashes by itself and reports its progress. It pauses while a damaged chunk that it found is missing, so
//! this never holds more than the driver hashes in one step.

use std::{collections::BTreeSet, time::Instant};

use crate::{exchange::VerifiedChunk, have::Have};

#[derive(Debug)]
pub(super) struct Recheck {
    /// Bytes that were there when the partial payload was opened.
    before: u64,
    /// The bytes that have not been hashed, neither then nor since.
    unchecked: Have,
    unchecked_bytes: u64,
    since: Option<Instant>,
    /// Chunks that do not match and were not fetched yet.
    missing: BTreeSet<u64>,
    /// Bytes that did not match since the partial payload was opened.
    damaged: u64,
    /// Fetched and verified, but not handed out yet.
    queue: Vec<VerifiedChunk>,
    /// Being written and made durable.
    writing: Option<(Instant, Vec<u64>)>,
}

impl Recheck {
    /// Nothing was there of a payload of this length.
    pub(super) fn new(payload_bytes: u64) -> Self {
        Self {
            before: 0,
            unchecked: Have::nothing(payload_bytes),
            unchecked_bytes: 0,
            since: None,
            missing: BTreeSet::new(),
            damaged: 0,
            queue: Vec::new(),
            writing: None,
        }
    }

    /// The partial payload was opened with this many bytes. This process has not hashed those that are `unchecked`.
    pub(super) fn open(&mut self, now: Instant, before: u64, unchecked: Have) {
        *self = Self { before, unchecked, ..Self::new(0) };
        self.count();
        self.since = (self.unchecked_bytes > 0).then_some(now);
    }

    fn count(&mut self) {
        self.unchecked_bytes = self.unchecked.bytes();
    }

    /// Nothing is written any more. Chunks that were fetched and are not durable count as missing until the partial
    /// payload is opened again.
    pub(super) fn close(&mut self) {
        self.missing.extend(self.queue.drain(..).map(|chunk| chunk.index));
        self.missing.extend(self.writing.take().into_iter().flat_map(|(_, chunks)| chunks));
    }

    /// Chunks become smaller from now on, so knowledge about single chunks no longer applies. Chunks that did not match
    /// count as not hashed until the partial payload is opened again.
    pub(super) fn resize(&mut self, chunk_size: u64) {
        for index in std::mem::take(&mut self.missing) {
            self.unchecked.insert_chunks(chunk_size, index..index + 1);
        }
        self.count();
    }

    /// The bytes before this offset have been hashed. The chunks `missing` do not match, `damaged` bytes in all.
    pub(super) fn progress(&mut self, checked: u64, missing: &[u64], damaged: u64) {
        self.unchecked.subtract(&Have::prefix(self.unchecked.payload_bytes(), checked));
        self.count();
        self.damaged += damaged;
        self.missing.extend(missing);
    }

    /// The chunks to ask for, while less than `window` bytes wait to be written.
    pub(super) fn wanted(&self, window: u64) -> impl Iterator<Item = u64> + '_ {
        let has_budget = self.queue.is_empty() || self.queued_bytes() < window;
        self.missing.iter().copied().filter(move |_| has_budget)
    }

    /// How many bytes of them may be in flight, for chunks of this size: up to the window, plus the one chunk that
    /// exceeds it.
    pub(super) fn budget(&self, window: u64, size: impl Fn(u64) -> u64) -> u64 {
        let mut budget = 0;
        for index in self.wanted(window) {
            budget += size(index);
            if budget + self.queued_bytes() >= window {
                break;
            }
        }
        budget
    }

    /// Whether this chunk is missing.
    pub(super) fn is_missing(&self, index: u64) -> bool {
        self.missing.contains(&index)
    }

    /// Adds a chunk that was missing.
    pub(super) fn push(&mut self, chunk: VerifiedChunk) {
        self.missing.remove(&chunk.index);
        self.queue.push(chunk);
    }

    /// The chunks to write, if nothing more arrives before that.
    pub(super) fn next_repair(&mut self, now: Instant, group: u64, flush: bool) -> Option<Vec<VerifiedChunk>> {
        let is_due = flush || self.missing.is_empty() || self.queued_bytes() >= group;
        if self.queue.is_empty() || self.writing.is_some() || !is_due {
            return None;
        }
        let chunks = std::mem::take(&mut self.queue);
        self.writing = Some((now, chunks.iter().map(|chunk| chunk.index).collect()));
        Some(chunks)
    }

    /// The chunks that were handed out are written and durable.
    pub(super) fn repaired(&mut self) {
        self.writing = None;
    }

    pub(super) fn has_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Whether nothing is queued or being written.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.writing.is_none()
    }

    /// Whether all bytes that were there have been hashed, or written again.
    pub(super) fn is_done(&self) -> bool {
        self.unchecked_bytes == 0 && self.is_sound()
    }

    /// Whether no chunk is known to be damaged now.
    pub(super) fn is_sound(&self) -> bool {
        self.missing.is_empty() && self.is_idle()
    }

    pub(super) fn missing(&self) -> impl Iterator<Item = u64> + '_ {
        self.missing.iter().copied()
    }

    /// The first chunk that does not count, because it is unchecked or missing. `None` if all count.
    pub(super) fn first_doubtful(&self, chunk_size: u64) -> Option<u64> {
        let unchecked = self.unchecked.byte_ranges().next().map(|range| range.start / chunk_size.max(1));
        [unchecked, self.missing.first().copied()].into_iter().flatten().min()
    }

    /// Bytes that were not hashed yet.
    pub(super) fn unchecked_bytes(&self) -> u64 {
        self.unchecked_bytes
    }

    /// Bytes on the disk that are hashed, at the opening or since.
    pub(super) fn checked_bytes(&self) -> u64 {
        self.before - self.unchecked_bytes()
    }

    pub(super) fn total_bytes(&self) -> u64 {
        self.before
    }

    pub(super) fn damaged_bytes(&self) -> u64 {
        self.damaged
    }

    /// Since when hashing or repairing has been in progress.
    pub(super) fn busy_since(&self) -> Option<Instant> {
        let writing = self.writing.as_ref().map(|(since, _)| *since);
        writing.or(self.since.filter(|_| !self.is_done()))
    }

    fn queued_bytes(&self) -> u64 {
        self.queue.iter().map(|chunk| chunk.bytes.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::tree::GROUP;

    fn chunk(index: u64) -> VerifiedChunk {
        VerifiedChunk { index, bytes: Bytes::from(vec![0; 10]), proof: Vec::new(), groups: Vec::new() }
    }

    #[test]
    fn what_does_not_hold_is_fetched_and_written_before_it_is_done() {
        let now = Instant::now();
        let mut recheck = Recheck::new(15 * GROUP);
        assert!(recheck.is_done());
        // Of 15 groups the first 8 and two more are to be hashed.
        let mut unchecked = Have::prefix(15 * GROUP, 8 * GROUP);
        unchecked.insert_chunks(GROUP, 12..14);
        recheck.open(now, 15 * GROUP, unchecked);
        assert_eq!((recheck.checked_bytes(), recheck.total_bytes()), (5 * GROUP, 15 * GROUP));
        assert!(!recheck.is_done() && recheck.is_sound() && recheck.busy_since() == Some(now));
        recheck.progress(6 * GROUP, &[2, 4], 20);
        assert_eq!((recheck.first_doubtful(GROUP), recheck.unchecked_bytes()), (Some(2), 4 * GROUP));
        assert_eq!(recheck.wanted(100).next(), Some(2));
        recheck.push(chunk(2));
        assert!(recheck.next_repair(now, 100, false).is_none(), "another one is still to come");
        assert_eq!(recheck.wanted(100).next(), Some(4));
        assert_eq!(recheck.wanted(10).next(), None, "no more than the window waits");
        recheck.push(chunk(4));
        assert_eq!(recheck.next_repair(now, 100, false).map(|chunks| chunks.len()), Some(2));
        assert!(!recheck.is_sound());
        recheck.progress(9 * GROUP, &[], 0);
        assert_eq!(recheck.first_doubtful(GROUP), Some(12), "what follows a gap is still to be hashed");
        recheck.progress(14 * GROUP, &[], 0);
        assert!(!recheck.is_done());
        recheck.repaired();
        assert!(recheck.is_done() && recheck.damaged_bytes() == 20 && recheck.busy_since().is_none());
        assert_eq!(recheck.first_doubtful(GROUP), None);
    }

    #[test]
    fn what_is_not_written_when_the_place_closes_does_not_count() {
        let now = Instant::now();
        let mut recheck = Recheck::new(8 * GROUP);
        recheck.open(now, 8 * GROUP, Have::everything(8 * GROUP));
        recheck.progress(4 * GROUP, &[1], 10);
        recheck.push(chunk(1));
        recheck.close();
        assert!(recheck.is_idle() && recheck.first_doubtful(GROUP) == Some(1));
        recheck.resize(2 * GROUP);
        assert_eq!((recheck.first_doubtful(GROUP), recheck.unchecked_bytes()), (Some(2), 6 * GROUP));
        recheck.open(now, 8 * GROUP, Have::nothing(8 * GROUP));
        assert!(recheck.is_done());
    }
}
