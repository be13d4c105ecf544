//! The window of chunks between verified and durable. A chunk is queued, then handed out to be written, then written,
//! then durable. Chunks arrive in any order, and each is made durable at its own place.
//!
//! Two amounts are bounded. The window bounds the chunks that wait in memory to be written. Two windows bound the
//! chunks that are not durable, which are lost if the disk fails: one window is being made durable while another one
//! arrives.
//!
//! Example with chunks of 1 MiB, and a window and groups of 4 MiB. Chunks 0, 1, 7 and 8 are verified. Nothing more is
//! asked for, because a fifth chunk would make 5 MiB in memory. Chunks 0 and 7 are written, so two more may be asked
//! for. When 1 and 8 are written as well, a group is full, and a sync is due. Until the sync ends, four chunks may
//! arrive, written or not: with a fifth, more than two windows would not be durable.

use std::{
    collections::VecDeque,
    ops::Range,
    time::{Duration, Instant},
};

use crate::{exchange::VerifiedChunk, have::Have, messages::Plan, ranges::IndexRanges, tree::chunk_range};

/// The largest batch in bytes.
const MAX_BATCH: u64 = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Window {
    payload_bytes: u64,
    chunk_size: u64,
    total: u64,
    capacity: u64,
    group: u64,
    interval: Duration,
    /// Chunks are handed out once this many bytes are queued, so that small ones do not wake the disk thread one by
    /// one.
    batch: u64,
    /// Whether the queue is being handed out.
    handing: bool,
    /// Whether chunks may be handed out: the partial payload is open.
    open: bool,
    /// Verified, but not yet handed out; at most the window.
    queue: VecDeque<VerifiedChunk>,
    queued_bytes: u64,
    /// Handed out in this order, and not written yet.
    writing: VecDeque<u64>,
    writing_bytes: u64,
    /// Written, and not durable yet.
    written: IndexRanges,
    /// All verified chunks: queued, being written, written and durable.
    verified: IndexRanges,
    verified_bytes: u64,
    durable: IndexRanges,
    durable_bytes: u64,
    /// Since when a chunk that was handed out is being written.
    writing_since: Option<Instant>,
    syncing: Option<Instant>,
    /// When the first chunk was verified that no sync covers yet.
    dirty_since: Option<Instant>,
}

impl Window {
    pub(super) fn new(plan: &Plan, window: u64, group: u64, interval: Duration) -> Self {
        // While one group is made durable, as many bytes may arrive.
        let group = group.min(window);
        Self {
            payload_bytes: plan.snapshot.checkpoint.payload_bytes,
            chunk_size: plan.chunk_size,
            total: plan.total_chunks,
            capacity: window,
            group,
            interval,
            batch: (group / 4).min(MAX_BATCH),
            handing: false,
            open: false,
            queue: VecDeque::new(),
            queued_bytes: 0,
            writing: VecDeque::new(),
            writing_bytes: 0,
            written: IndexRanges::default(),
            verified: IndexRanges::default(),
            verified_bytes: 0,
            durable: IndexRanges::default(),
            durable_bytes: 0,
            writing_since: None,
            syncing: None,
            dirty_since: None,
        }
    }

    /// The partial payload was opened with these durable chunks.
    pub(super) fn open(&mut self, durable: &Have) {
        self.rewind(durable.chunks(self.chunk_size).collect());
        self.open = true;
    }

    /// The payload was already complete.
    pub(super) fn open_complete(&mut self) {
        self.rewind(IndexRanges::of(0..self.total));
        self.open = true;
    }

    /// The disk failed: chunks that are not durable count as lost, and nothing is handed out until the partial payload
    /// is opened again.
    pub(super) fn close(&mut self) {
        let durable = std::mem::take(&mut self.durable);
        self.rewind(durable);
        self.open = false;
    }

    fn rewind(&mut self, durable: IndexRanges) {
        self.queue.clear();
        self.writing.clear();
        (self.handing, self.queued_bytes, self.writing_bytes) = (false, 0, 0);
        self.durable_bytes = self.bytes_of(&durable);
        (self.verified_bytes, self.verified) = (self.durable_bytes, durable.clone());
        (self.written, self.durable) = (IndexRanges::default(), durable);
        (self.writing_since, self.syncing, self.dirty_since) = (None, None, None);
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Adds a verified chunk, unless it was verified before.
    pub(super) fn push(&mut self, now: Instant, chunk: VerifiedChunk) -> bool {
        let is_new = self.open && chunk.index < self.total && !self.verified.contains(chunk.index);
        if is_new {
            let size = self.size(chunk.index);
            self.verified.insert(chunk.index..chunk.index + 1);
            self.verified_bytes += size;
            self.queued_bytes += size;
            self.queue.push_back(chunk);
            self.dirty_since.get_or_insert(now);
        }
        is_new
    }

    /// The chunks that are wanted, ascending.
    pub(super) fn wanted(&self) -> Vec<Range<u64>> {
        if self.open { self.verified.gaps(0..self.total) } else { Vec::new() }
    }

    /// Whether every chunk is verified.
    pub(super) fn is_all_verified(&self) -> bool {
        self.verified.covers(&(0..self.total))
    }

    /// How many bytes of them may be in flight: the rest of the window. One chunk is always allowed when no chunk waits
    /// to be durable.
    pub(super) fn budget(&self) -> u64 {
        let lost_with_the_disk = self.pending_bytes();
        if lost_with_the_disk == 0 {
            return self.capacity.max(self.next_size());
        }
        let in_memory = self.unwritten_bytes();
        let not_durable = self.capacity.saturating_mul(2).saturating_sub(lost_with_the_disk);
        self.capacity.saturating_sub(in_memory).min(not_durable)
    }

    /// Bytes that wait to be written, or are being written.
    pub(super) fn unwritten_bytes(&self) -> u64 {
        self.queued_bytes + self.writing_bytes
    }

    /// Bytes of the first chunk that is wanted.
    fn next_size(&self) -> u64 {
        self.size(self.verified.prefix())
    }

    /// Whether verified chunks keep the next one from being asked for.
    pub(super) fn is_blocked(&self) -> bool {
        self.open && !self.is_all_verified() && self.next_size() > self.budget()
    }

    /// The next chunk to write, if a batch is full or old enough, or nothing more arrives before that (see
    /// `start_sync`).
    pub(super) fn next_write(&mut self, now: Instant, flush: bool) -> Option<VerifiedChunk> {
        let full = self.queued_bytes >= self.batch;
        let due = full || self.nothing_follows(flush) || self.sync_at().is_some_and(|at| at <= now);
        if !self.handing && !due {
            return None;
        }
        let chunk = self.queue.pop_front()?;
        let size = self.size(chunk.index);
        self.handing = !self.queue.is_empty();
        self.queued_bytes -= size;
        self.writing_bytes += size;
        self.writing.push_back(chunk.index);
        self.writing_since.get_or_insert(now);
        Some(chunk)
    }

    /// Everything that was handed out up to this chunk is written.
    pub(super) fn written(&mut self, now: Instant, index: u64) {
        let Some(at) = self.writing.iter().position(|handed| *handed == index) else { return };
        for handed in self.writing.drain(..=at).collect::<Vec<_>>() {
            self.writing_bytes -= self.size(handed);
            self.written.insert(handed..handed + 1);
        }
        self.writing_since = (!self.writing.is_empty()).then_some(now);
    }

    /// Whether no further chunk is asked for before the queued ones are handled.
    fn nothing_follows(&self, flush: bool) -> bool {
        flush || self.is_all_verified() || self.is_blocked()
    }

    /// Whether a sync starts now: a group is full or old enough, or nothing more arrives before that (the last chunk, a
    /// full window, or `flush`).
    pub(super) fn start_sync(&mut self, now: Instant, flush: bool) -> bool {
        let is_quiet = self.queue.is_empty() && self.writing.is_empty();
        let due = self.written_bytes() - self.durable_bytes >= self.group
            || self.sync_at().is_some_and(|at| at <= now)
            || (is_quiet && self.nothing_follows(flush));
        let starts = self.open && self.syncing.is_none() && !self.written.is_empty() && due;
        if starts {
            self.syncing = Some(now);
            self.dirty_since = (!is_quiet).then_some(now);
        }
        starts
    }

    /// When a sync is due by age, unless only the disk can make progress.
    pub(super) fn sync_at(&self) -> Option<Instant> {
        if self.syncing.is_some() || (self.queue.is_empty() && self.written.is_empty()) {
            return None;
        }
        self.dirty_since.map(|since| since + self.interval)
    }

    /// All bytes that are durable now. Chunks that were not handed out belong to an earlier opening, and do not count.
    pub(super) fn synced(&mut self, now: Instant, durable: &Have) {
        self.syncing = None;
        // A sync may cover chunks that were written while it ran, before that was reported.
        let told: IndexRanges = durable.chunks(self.chunk_size).collect();
        let (also, writing): (Vec<_>, Vec<_>) = self.writing.drain(..).partition(|index| told.contains(*index));
        self.writing = writing.into();
        for index in also {
            self.writing_bytes -= self.size(index);
            self.written.insert(index..index + 1);
        }
        let synced = self.written.common(&told);
        self.written.subtract(&synced);
        self.durable.add(&synced);
        self.durable_bytes += self.bytes_of(&synced);
        self.writing_since = self.writing_since.filter(|_| !self.writing.is_empty());
        self.dirty_since = (self.pending() > 0).then(|| self.dirty_since.unwrap_or(now));
    }

    /// Whether no chunk is queued, handed out or being synced.
    pub(super) fn is_idle(&self) -> bool {
        self.syncing.is_none() && self.pending() == 0
    }

    /// How many verified chunks, or runs of chunks, are not durable.
    fn pending(&self) -> usize {
        self.queue.len() + self.writing.len() + self.written.pieces()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.open && self.durable.covers(&(0..self.total))
    }

    /// Since when a write or a sync has been in progress.
    pub(super) fn busy_since(&self) -> Option<Instant> {
        self.syncing.or(self.writing_since).or(self.dirty_since)
    }

    /// Chunks verified from the first on without a gap.
    pub(super) fn verified_prefix(&self) -> u64 {
        self.verified.prefix()
    }

    /// Chunks durable from the first on without a gap.
    pub(super) fn durable_prefix(&self) -> u64 {
        self.durable.prefix()
    }

    pub(super) fn is_durable(&self, index: u64) -> bool {
        self.durable.contains(index)
    }

    /// Bytes that may wait to be written.
    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes that are made durable together.
    pub(super) fn group(&self) -> u64 {
        self.group
    }

    pub(super) fn verified_bytes(&self) -> u64 {
        self.verified_bytes
    }

    pub(super) fn written_bytes(&self) -> u64 {
        self.verified_bytes - self.queued_bytes - self.writing_bytes
    }

    pub(super) fn durable_bytes(&self) -> u64 {
        self.durable_bytes
    }

    fn pending_bytes(&self) -> u64 {
        self.verified_bytes - self.durable_bytes
    }

    fn bytes_of(&self, chunks: &IndexRanges) -> u64 {
        chunks.iter().map(|range| self.bytes(range.end) - self.bytes(range.start)).sum()
    }

    /// Bytes of the first `chunks` chunks.
    pub(super) fn bytes(&self, chunks: u64) -> u64 {
        chunk_range(self.payload_bytes, self.chunk_size, chunks).start
    }

    /// Bytes of one chunk.
    pub(super) fn size(&self, index: u64) -> u64 {
        let range = chunk_range(self.payload_bytes, self.chunk_size, index);
        range.end - range.start
    }
}
