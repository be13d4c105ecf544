//! Checks what was in a partial payload before this process opened it.

use std::io;

use rpp_p2p::{
    Hash, VerifiedChunk,
    outboard::{self, GROUP},
    tree::{chunk_range, total_chunks},
};

use super::{error::StoreError, nodes, partial::Partial, stored::read_at};
use crate::files::sparse;
use crate::limits::{RECHECK_SLICE, RECHECK_STEP};

/// The largest piece of bytes that no record covers.
const PIECE: u64 = 4 * 1024 * 1024;

/// The progress of opening a partial payload, in the bytes that no record covers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// Bytes from the beginning that are durable now.
    pub(crate) durable: u64,
    /// Bytes that were checked.
    pub(crate) checked: u64,
    /// Bytes that are there.
    pub(crate) there: u64,
}

impl Partial {
    /// Bytes that were recorded before this process opened the payload and that it has not hashed yet.
    #[must_use]
    pub fn unchecked_bytes(&self) -> u64 {
        self.unchecked.end - self.unchecked.start
    }

    /// Hashes the next part of what was there. Returns its damaged chunks: they must be repaired before this continues,
    /// and until then it does nothing.
    ///
    /// # Errors
    /// The hashes of good chunks cannot be written.
    pub fn recheck(&mut self) -> Result<Vec<u64>, StoreError> {
        self.usable()?;
        if self.unchecked.is_empty() || !self.damaged.is_empty() {
            return Ok(Vec::new());
        }
        let step = RECHECK_STEP.max(self.chunk_size);
        let range = chunk_range(self.layout.payload_bytes(), step, self.unchecked.start / step);
        let end = range.end.min(self.unchecked.end);
        let is_whole = range.end <= self.unchecked.end && self.holds(step, self.unchecked.start / step)?;
        if !is_whole {
            let first = range.start / self.chunk_size;
            let last = total_chunks(end, self.chunk_size);
            for index in first..last {
                if !self.holds(self.chunk_size, index)? {
                    self.damaged.insert(index);
                }
            }
        }
        self.unchecked.start = end;
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
                return Err(StoreError::unfit(format!("chunk {} needs no repair, or is of another size", chunk.index)));
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

    /// Processes what is there. Recorded bytes count as durable and are hashed later. Bytes beyond that are hashed,
    /// written again and made durable now; `watch` is called for each piece of them,
    /// and says whether to go on.
    pub(super) fn take_in(&mut self, recorded: u64, watch: &mut dyn FnMut(Found) -> bool) -> Result<(), StoreError> {
        let total = self.layout.payload_bytes();
        let there = self.payload.metadata().map_err(|error| self.failed("look at", error))?.len();
        let mut at = recorded.min(total).min(there);
        if at < total {
            at -= at % self.chunk_size;
        }
        self.unchecked = 0..at;
        self.durable = at;
        while at < total {
            let Some(piece) = self.good_piece(at, there)? else { break };
            let length = piece.len() as u64;
            let written = self.store.space.before_rewrite(length);
            written
                .and_then(|()| sparse::write_at(&self.payload, &piece, at))
                .map_err(|error| self.failed("write", error))?;
            at += length;
            if at - self.durable >= RECHECK_SLICE {
                self.flush()?;
                self.durable = at;
            }
            if !watch(Found { durable: self.durable, checked: at, there }) {
                return Err(StoreError::Abandoned { root: self.root });
            }
        }
        if at > self.durable {
            self.flush()?;
            self.durable = at;
        }
        Ok(())
    }

    /// The largest good piece at `at`.
    fn good_piece(&self, at: u64, there: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let mut size = if at == 0 { PIECE } else { PIECE.min(1 << at.trailing_zeros()) };
        while size >= GROUP {
            let end = chunk_range(self.layout.payload_bytes(), size, at / size).end;
            if end <= there
                && let Some(piece) = self.good(size, at / size)?
            {
                return Ok(Some(piece));
            }
            size /= 2;
        }
        Ok(None)
    }

    fn holds(&self, size: u64, index: u64) -> Result<bool, StoreError> {
        self.good(size, index).map(|bytes| bytes.is_some())
    }

    /// The bytes of this chunk, if they lead to the root. Hashes inside it may have been lost without the bytes; they
    /// are written again.
    fn good(&self, size: u64, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some((bytes, groups)) = self.verified(size, index) else { return Ok(None) };
        let inside = outboard::nodes_of_groups(&self.layout, size, index, groups);
        let mended = nodes::differing(&self.outboard, inside).and_then(|lost| nodes::write(&self.outboard, lost));
        mended.map_err(|error| self.failed("mend the outboard of", error))?;
        Ok(Some(bytes))
    }

    /// What cannot be read counts as damaged.
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
