//! Tracks what was on the disk before this process started. It counts once it was hashed again, and chunks that do not
//! match are fetched and written again. [`Window`](super::window::Window) counts new chunks.
//!
//! ```text
//! unchecked -> checked
//!           -> missing -> (asked) -> queue -> writing -> checked
//! ```
//!
//! The driver hashes by itself and reports its progress. It pauses while a damaged chunk that it found is missing, so
//! what is kept here is never more than what it hashes in one step.

use std::{collections::BTreeSet, time::Instant};

use crate::exchange::VerifiedChunk;

#[derive(Debug, Default)]
pub(super) struct Recheck {
    /// Bytes that were there when the partial payload was opened.
    before: u64,
    /// The end of those that were not hashed then,
    end: u64,
    /// and how many of them have been hashed since.
    checked: u64,
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
    /// The partial payload was opened with so many bytes, of which this process has not hashed the first `unchecked`.
    pub(super) fn open(&mut self, now: Instant, before: u64, unchecked: u64) {
        let end = unchecked.min(before);
        *self = Self { before, end, since: (end > 0).then_some(now), ..Self::default() };
    }

    /// Nothing is written any more. What was fetched and is not durable counts as missing until the partial payload is
    /// opened again.
    pub(super) fn close(&mut self) {
        self.missing.extend(self.queue.drain(..).map(|chunk| chunk.index));
        self.missing.extend(self.writing.take().into_iter().flat_map(|(_, chunks)| chunks));
    }

    /// Chunks become smaller from now on, so what is known of single ones no longer applies. Chunks that did not match
    /// count as not hashed until the partial payload is opened again.
    pub(super) fn resize(&mut self, chunk_size: u64) {
        if let Some(first) = self.missing.first() {
            self.checked = self.checked.min(first * chunk_size);
        }
        self.missing.clear();
    }

    /// The first `checked` bytes have been hashed; the chunks `missing` do not match, `damaged` bytes in all.
    pub(super) fn progress(&mut self, checked: u64, missing: &[u64], damaged: u64) {
        self.checked = self.checked.max(checked).min(self.end);
        self.damaged += damaged;
        self.missing.extend(missing);
    }

    /// The chunks to ask for, while less than `window` bytes wait to be written.
    pub(super) fn wanted(&self, window: u64) -> impl Iterator<Item = u64> + '_ {
        let has_room = self.queue.is_empty() || self.queued_bytes() < window;
        self.missing.iter().copied().filter(move |_| has_room)
    }

    /// How many bytes of them may be under way, of chunks of this size: up to the window, and the one that passes it.
    pub(super) fn room(&self, window: u64, size: impl Fn(u64) -> u64) -> u64 {
        let mut room = 0;
        for index in self.wanted(window) {
            room += size(index);
            if room + self.queued_bytes() >= window {
                break;
            }
        }
        room
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

    /// What was handed out is written and durable.
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

    /// Whether everything that was there has been checked, or was written again.
    pub(super) fn is_done(&self) -> bool {
        self.checked == self.end && self.is_sound()
    }

    /// Whether nothing is known to be damaged now.
    pub(super) fn is_sound(&self) -> bool {
        self.missing.is_empty() && self.is_idle()
    }

    pub(super) fn missing(&self) -> impl Iterator<Item = u64> + '_ {
        self.missing.iter().copied()
    }

    /// The first chunk that does not count, because it is unchecked or missing. `None` if all count.
    pub(super) fn first_doubtful(&self, chunk_size: u64) -> Option<u64> {
        let unchecked = (self.checked < self.end).then(|| self.checked / chunk_size.max(1));
        [unchecked, self.missing.first().copied()].into_iter().flatten().min()
    }

    /// Bytes that were not hashed yet.
    pub(super) fn unchecked_bytes(&self) -> u64 {
        self.end - self.checked
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

    fn chunk(index: u64) -> VerifiedChunk {
        VerifiedChunk { index, bytes: Bytes::from(vec![0; 10]), proof: Vec::new(), groups: Vec::new() }
    }

    #[test]
    fn what_does_not_hold_is_fetched_and_written_before_it_is_done() {
        let now = Instant::now();
        let mut recheck = Recheck::default();
        assert!(recheck.is_done());
        recheck.open(now, 150, 100);
        assert_eq!((recheck.checked_bytes(), recheck.total_bytes()), (50, 150));
        assert!(!recheck.is_done() && recheck.is_sound() && recheck.busy_since() == Some(now));
        recheck.progress(60, &[2, 4], 20);
        assert_eq!((recheck.first_doubtful(10), recheck.unchecked_bytes()), (Some(2), 40));
        assert_eq!(recheck.wanted(100).next(), Some(2));
        recheck.push(chunk(2));
        assert!(recheck.next_repair(now, 100, false).is_none(), "another one is still to come");
        assert_eq!(recheck.wanted(100).next(), Some(4));
        assert_eq!(recheck.wanted(10).next(), None, "no more than the window waits");
        recheck.push(chunk(4));
        assert_eq!(recheck.next_repair(now, 100, false).map(|chunks| chunks.len()), Some(2));
        assert!(!recheck.is_sound());
        recheck.progress(100, &[], 0);
        assert!(!recheck.is_done());
        recheck.repaired();
        assert!(recheck.is_done() && recheck.damaged_bytes() == 20 && recheck.busy_since().is_none());
        assert_eq!(recheck.first_doubtful(10), None);
    }

    #[test]
    fn what_is_not_written_when_the_place_closes_does_not_count() {
        let now = Instant::now();
        let mut recheck = Recheck::default();
        recheck.open(now, 100, 100);
        recheck.progress(50, &[1], 10);
        recheck.push(chunk(1));
        recheck.close();
        assert!(recheck.is_idle() && recheck.first_doubtful(10) == Some(1));
        recheck.open(now, 100, 0);
        assert!(recheck.is_done());
    }
}
