//! The window of chunks between verified and durable. It keeps four counts of chunks from the first on, in falling
//! order: verified, handed out to be written, written, and durable.
//!
//! Example with chunks of 1 MiB, a window of 4 MiB and groups of 2 MiB. Chunks 0 to 3 are verified: nothing more is
//! asked for, because a fifth would make 5 MiB that are not durable. 0 and 1 are written: a group is full, so a sync is
//! due. While it runs, 2 and 3 are written. The sync ends with 2 durable chunks: 2 MiB of the window are free, so 4 and
//! 5 may be asked for.

use std::{
    collections::VecDeque,
    ops::Range,
    time::{Duration, Instant},
};

use crate::{exchange::VerifiedChunk, messages::Plan, tree::chunk_range};

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
    verified: u64,
    handed: u64,
    written: u64,
    durable: u64,
    /// Since when a chunk that was handed out is being written.
    writing: Option<Instant>,
    syncing: Option<Instant>,
    /// When the first chunk was verified that no sync covers yet.
    dirty_since: Option<Instant>,
}

impl Window {
    pub(super) fn new(plan: &Plan, window: u64, group: u64, interval: Duration) -> Self {
        // While one half of the window is made durable, the other half fills.
        let group = group.min(window / 2);
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
            verified: 0,
            handed: 0,
            written: 0,
            durable: 0,
            writing: None,
            syncing: None,
            dirty_since: None,
        }
    }

    /// The partial payload was opened with this many durable chunks.
    pub(super) fn open(&mut self, durable: u64) {
        self.rewind(durable.min(self.total));
        self.open = true;
    }

    /// The payload was already complete.
    pub(super) fn open_complete(&mut self) {
        self.open(self.total);
    }

    /// The disk failed: what is not durable counts as lost, and nothing is handed out until the partial payload is
    /// opened again.
    pub(super) fn close(&mut self) {
        self.rewind(self.durable);
        self.open = false;
    }

    fn rewind(&mut self, durable: u64) {
        self.queue.clear();
        self.handing = false;
        (self.verified, self.handed, self.written, self.durable) = (durable, durable, durable, durable);
        (self.writing, self.syncing, self.dirty_since) = (None, None, None);
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Adds a verified chunk if it is the next one.
    pub(super) fn push(&mut self, now: Instant, chunk: VerifiedChunk) -> bool {
        let is_next = self.open && chunk.index == self.verified && chunk.index < self.total;
        if is_next {
            self.verified += 1;
            self.queue.push_back(chunk);
            self.dirty_since.get_or_insert(now);
        }
        is_next
    }

    /// The chunks that are to come.
    pub(super) fn wanted(&self) -> Option<Range<u64>> {
        (self.open && self.verified < self.total).then_some(self.verified..self.total)
    }

    /// How many bytes of them may be under way: what is left of the window. One chunk may always come when nothing waits to
    /// be durable.
    pub(super) fn room(&self) -> u64 {
        match self.bytes(self.verified) - self.bytes(self.durable) {
            0 => self.capacity.max(self.size(self.verified)),
            pending => self.capacity.saturating_sub(pending),
        }
    }

    fn fits(&self) -> bool {
        self.size(self.verified) <= self.room()
    }

    /// Whether verified chunks keep the next one from being asked for.
    pub(super) fn is_blocked(&self) -> bool {
        self.open && self.verified < self.total && !self.fits()
    }

    /// The next chunk to write, if a batch is full or old enough, or nothing more arrives before that (see
    /// `start_sync`).
    pub(super) fn next_write(&mut self, now: Instant, flush: bool) -> Option<VerifiedChunk> {
        let full = self.bytes(self.verified) - self.bytes(self.handed) >= self.batch;
        let due = full || self.nothing_follows(flush) || self.sync_at().is_some_and(|at| at <= now);
        if !self.handing && !due {
            return None;
        }
        let chunk = self.queue.pop_front()?;
        self.handing = !self.queue.is_empty();
        self.handed += 1;
        self.writing.get_or_insert(now);
        Some(chunk)
    }

    /// Everything up to `index` is written.
    pub(super) fn written(&mut self, now: Instant, index: u64) {
        if index >= self.written && index < self.handed {
            self.written = index + 1;
            self.writing = (self.written < self.handed).then_some(now);
        }
    }

    /// Whether no further chunk is asked for before the queued ones are handled.
    fn nothing_follows(&self, flush: bool) -> bool {
        flush || self.verified == self.total || self.is_blocked()
    }

    /// Whether a sync starts now: a group is full or old enough, or nothing more arrives before that (the last chunk, a
    /// full window, or `flush`).
    pub(super) fn start_sync(&mut self, now: Instant, flush: bool) -> bool {
        let dirty = self.bytes(self.written) - self.bytes(self.durable);
        let is_quiet = self.queue.is_empty() && self.handed == self.written;
        let due = dirty >= self.group
            || self.sync_at().is_some_and(|at| at <= now)
            || (is_quiet && self.nothing_follows(flush));
        let starts = self.open && self.syncing.is_none() && self.written > self.durable && due;
        if starts {
            self.syncing = Some(now);
            self.dirty_since = (self.verified > self.written).then_some(now);
        }
        starts
    }

    /// When a sync is due by age, unless only the disk can make progress.
    pub(super) fn sync_at(&self) -> Option<Instant> {
        if self.syncing.is_some() || (self.queue.is_empty() && self.written == self.durable) {
            return None;
        }
        self.dirty_since.map(|since| since + self.interval)
    }

    pub(super) fn synced(&mut self, now: Instant, durable: u64) {
        if durable > self.handed {
            return; // not of this place
        }
        self.syncing = None;
        // A sync may cover chunks that were written while it ran, before that was reported.
        self.durable = self.durable.max(durable);
        self.written = self.written.max(self.durable);
        self.writing = self.writing.filter(|_| self.written < self.handed);
        self.dirty_since = (self.verified > self.durable).then(|| self.dirty_since.unwrap_or(now));
    }

    /// Whether nothing is queued, handed out or being synced.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.handed == self.written && self.syncing.is_none() && self.written == self.durable
    }

    pub(super) fn is_complete(&self) -> bool {
        self.open && self.durable == self.total
    }

    /// Since when a write or a sync has been in progress.
    pub(super) fn busy_since(&self) -> Option<Instant> {
        self.syncing.or(self.writing).or(self.dirty_since)
    }

    pub(super) fn verified_chunks(&self) -> u64 {
        self.verified
    }

    /// Chunks that were handed out, or found durable.
    pub(super) fn handed_chunks(&self) -> u64 {
        self.handed
    }

    pub(super) fn durable_chunks(&self) -> u64 {
        self.durable
    }

    /// Bytes that may wait to be durable.
    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes that are made durable together.
    pub(super) fn group(&self) -> u64 {
        self.group
    }

    pub(super) fn verified_bytes(&self) -> u64 {
        self.bytes(self.verified)
    }

    pub(super) fn written_bytes(&self) -> u64 {
        self.bytes(self.written)
    }

    pub(super) fn durable_bytes(&self) -> u64 {
        self.bytes(self.durable)
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
