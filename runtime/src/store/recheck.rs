//! Checks the bytes of a partial payload from before this process.

use std::{io, ops::Range};

use rpp_p2p::{
    Hash, Have, VerifiedChunk,
    outboard::{self, GROUP},
    tree::{chunk_range, total_chunks},
};

use super::{
    error::{Misfit, StoreError},
    have::{self, Said},
    nodes,
    partial::Partial,
    stored::read_at,
};
use crate::{
    files::sparse::{self, Extent, Map},
    limits::{RECHECK_SLICE, RECHECK_STEP},
};

/// The largest piece that is hashed at once, of the bytes that no record covers.
const PIECE: u64 = 4 * 1024 * 1024;

/// The progress of opening a partial payload, in the bytes that no record covers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// Bytes that were checked.
    pub(crate) checked: u64,
    /// Bytes that must be checked.
    pub(crate) there: u64,
}

/// The progress of checking the bytes that no record covers.
struct TakenIn {
    checked: u64,
    /// Bytes that were written again since the last flush.
    unflushed: u64,
    there: u64,
}

impl Partial {
    /// The durable part from before this process that is not hashed yet.
    #[must_use]
    pub fn unchecked(&self) -> &Have {
        &self.unchecked
    }

    /// The number of bytes that are not hashed yet.
    #[must_use]
    pub fn unchecked_bytes(&self) -> u64 {
        self.unchecked.bytes()
    }

    /// Up to this offset, all bytes from before this process are hashed.
    #[must_use]
    pub fn checked_to(&self) -> u64 {
        self.unchecked.byte_ranges().next().map_or(self.layout.payload_bytes(), |range| range.start)
    }

    /// Hashes the next part of the bytes from before this process, in ascending order. Returns its damaged chunks. They
    /// must be repaired first: until then, further calls do nothing.
    ///
    /// # Errors
    /// The hashes of good chunks cannot be written.
    pub fn recheck(&mut self) -> Result<Vec<u64>, StoreError> {
        self.usable()?;
        let next = self.unchecked.byte_ranges().next();
        let Some(there) = next.filter(|_| self.damaged.is_empty()) else { return Ok(Vec::new()) };
        let step = RECHECK_STEP.max(self.chunk_size);
        let range = chunk_range(self.layout.payload_bytes(), step, there.start / step);
        let end = range.end.min(there.end);
        let is_whole = range.start == there.start && range.end <= there.end && self.holds(step, range.start / step)?;
        if !is_whole {
            let first = there.start / self.chunk_size;
            let last = total_chunks(end, self.chunk_size);
            for index in first..last {
                if !self.holds(self.chunk_size, index)? {
                    self.damaged.insert(index);
                }
            }
        }
        self.unchecked.remove_bytes(there.start..end);
        Ok(self.damaged.iter().copied().collect())
    }

    /// Writes chunks over damaged ones, and makes them durable.
    ///
    /// # Errors
    /// As [`Self::write`] and [`Self::sync`].
    pub fn repair(&mut self, chunks: &[VerifiedChunk]) -> Result<(), StoreError> {
        self.usable()?;
        for chunk in chunks {
            let range = chunk_range(self.layout.payload_bytes(), self.chunk_size, chunk.index);
            if !self.damaged.contains(&chunk.index) || range.end - range.start != chunk.bytes.len() as u64 {
                return Err(Misfit::NoRepair { index: chunk.index }.into());
            }
            let written = self.store.space.before_rewrite(chunk.bytes.len() as u64);
            written.and_then(|()| self.write_at(chunk, range.start)).map_err(|error| self.failed("write", error))?;
        }
        self.flush()?;
        for chunk in chunks {
            self.damaged.remove(&chunk.index);
        }
        Ok(())
    }

    /// Handles the bytes that are on the disk. The bytes that `have` names count as durable and are hashed later;
    /// without `have`, this applies to the first `recorded` bytes. All other bytes are hashed, written again and made
    /// durable now. `watch` is called for each slice of them and returns whether to go on.
    pub(super) fn take_in(&mut self, recorded: u64, watch: &mut dyn FnMut(Found) -> bool) -> Result<(), StoreError> {
        let total = self.layout.payload_bytes();
        let there = self.payload.metadata().map_err(|error| self.failed("look at", error))?.len();
        let said = have::read(&self.folder, &self.root, total);
        let (known, is_to_be_written) = match said {
            Said::Has(known) => (known, true),
            Said::Missing => {
                if there > recorded {
                    tracing::warn!(
                        root = %self.root,
                        "the file that says what is had of it is missing: what is there is hashed to find out"
                    );
                }
                (Have::prefix(total, recorded), false)
            }
            Said::Damaged(reason) => {
                tracing::warn!(
                    root = %self.root,
                    "the file that says what is had of it is damaged ({reason}): what is there is hashed to find out"
                );
                (Have::prefix(total, recorded), true)
            }
        };
        let known = self.whole_chunks(&known.common(&Have::prefix(total, there)));
        self.durable = known.clone();
        if total > 0 {
            self.unchecked = known.clone();
        }
        let mut found = known.clone();
        let mut progress = TakenIn { checked: known.bytes(), unflushed: 0, there };
        for gap in known.missing_bytes() {
            self.take_in_gap(gap.start..gap.end.min(there), &mut found, &mut progress, watch)?;
        }
        let found = self.whole_chunks(&found);
        if found != self.durable {
            self.flush()?;
            self.durable = found;
        }
        self.written = self.durable.clone();
        if is_to_be_written && self.durable != known {
            self.write_have(&self.durable)?;
        }
        Ok(())
    }

    /// Handles the bytes between two known parts, and keeps those that verify.
    fn take_in_gap(
        &mut self,
        gap: Range<u64>,
        found: &mut Have,
        progress: &mut TakenIn,
        watch: &mut dyn FnMut(Found) -> bool,
    ) -> Result<(), StoreError> {
        let mut at = gap.start;
        while at < gap.end {
            at = self.written_from(at, gap.end)?;
            if at >= gap.end {
                break;
            }
            let mut size = if at == 0 { PIECE } else { PIECE.min(1 << at.trailing_zeros()) };
            let piece = loop {
                let end = chunk_range(self.layout.payload_bytes(), size, at / size).end;
                let fits = end <= gap.end;
                if let Some(piece) = if fits { self.good(size, at / size)? } else { None } {
                    break Some(piece);
                }
                if size == GROUP {
                    break None;
                }
                size /= 2;
            };
            let Some(piece) = piece else {
                at += GROUP;
                continue;
            };
            let length = piece.len() as u64;
            let written = self.store.space.before_rewrite(length);
            written
                .and_then(|()| sparse::write_at(&self.payload, &piece, at))
                .map_err(|error| self.failed("write", error))?;
            found.insert_bytes(at..at + length);
            at += length;
            progress.checked += length;
            progress.unflushed += length;
            if progress.unflushed >= RECHECK_SLICE {
                self.flush()?;
                self.durable = self.whole_chunks(found);
                // If the process is killed here, the next one need not write the same bytes again.
                self.write_have(&self.durable)?;
                progress.unflushed = 0;
            }
            if !watch(Found { checked: progress.checked, there: progress.there }) {
                return Err(StoreError::Abandoned { root: self.root });
            }
        }
        Ok(())
    }

    /// The start of the first group from `at` on that may have been written. A hole reads as zeros, which are good if the
    /// outboard has a hash for them.
    fn written_from(&self, at: u64, end: u64) -> Result<u64, StoreError> {
        let look = || -> io::Result<u64> {
            let Extent::Hole(length) = Map::new(&self.payload, end)?.at(at)? else { return Ok(at) };
            if self.layout.levels() == 0 {
                return Ok(at);
            }
            let hole = at / GROUP..(at + length).min(end).div_ceil(GROUP);
            let hashed = nodes::first_leaf(&self.outboard, hole.clone())?;
            // The group in which the hole ends may have data.
            Ok(hashed.map_or(if at + length < end { (at + length) / GROUP } else { hole.end }, |group| group) * GROUP)
        };
        look().map(|from| from.max(at)).map_err(|error| self.failed("look at", error))
    }

    /// The part that consists of whole chunks.
    fn whole_chunks(&self, have: &Have) -> Have {
        let mut whole = Have::nothing(self.layout.payload_bytes());
        for chunks in have.chunks(self.chunk_size) {
            whole.insert_chunks(self.chunk_size, chunks);
        }
        whole
    }

    fn holds(&self, size: u64, index: u64) -> Result<bool, StoreError> {
        self.good(size, index).map(|bytes| bytes.is_some())
    }

    /// Returns the bytes of this chunk if they lead to the root. The hashes inside it may have been lost although its
    /// bytes are intact; then they are written again.
    fn good(&self, size: u64, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some((bytes, groups)) = self.verified(size, index) else { return Ok(None) };
        let inside = outboard::nodes_of_groups(&self.layout, size, index, groups);
        let mended = nodes::differing(&self.outboard, inside).and_then(|lost| nodes::write(&self.outboard, lost));
        mended.map_err(|error| self.failed("mend the outboard of", error))?;
        Ok(Some(bytes))
    }

    /// A chunk that cannot be read counts as damaged.
    fn verified(&self, size: u64, index: u64) -> Option<(Vec<u8>, Vec<Hash>)> {
        let total = self.layout.payload_bytes();
        let range = chunk_range(total, size, index);
        let read = || -> io::Result<_> {
            let bytes = read_at(&self.payload, range.start, (range.end - range.start) as usize)?;
            Ok((bytes, nodes::read(&self.outboard, &outboard::proof_nodes(&self.layout, size, index))?))
        };
        let (bytes, proof) = match read() {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(root = %self.root, "bytes from {} on cannot be read and are fetched again: {error}", range.start);
                return None;
            }
        };
        let chunk = VerifiedChunk::verify(&self.root, total, size, index, bytes.into(), proof).ok()?;
        Some((chunk.bytes.into(), chunk.groups))
    }
}
