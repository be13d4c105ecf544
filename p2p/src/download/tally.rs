//! Tracks what the driver was asked for and has not answered, to tell a late answer from one that answers nothing.

use std::ops::Range;

use crate::{
    consumer::{Input, Unexpected},
    have::Have,
};

/// A job with an answer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskJob {
    Authority,
    Proof,
    Open,
    Repair,
    Place,
}

/// How many jobs of each kind are outstanding, and how many more were when the disk failed. The driver drops the
/// latter, but an answer may already be on its way.
#[derive(Debug, Default)]
pub(super) struct Tally {
    out: [u32; 5],
    dropped: [u32; 5],
    /// All chunks that were ever handed out to be written, or found durable.
    handed: Option<Have>,
    /// A place was open with bytes that had to be hashed again.
    has_rechecked: bool,
}

impl Tally {
    pub(super) fn asked(&mut self, job: DiskJob) {
        self.out[job as usize] += 1;
    }

    /// `true` if the answer is to an outstanding job, `false` if it is late.
    pub(super) fn answered(&mut self, job: DiskJob, input: Input) -> Result<bool, Unexpected> {
        let (out, dropped) = (&mut self.out[job as usize], &mut self.dropped[job as usize]);
        if *out > 0 {
            *out -= 1;
            return Ok(true);
        }
        *dropped = dropped.checked_sub(1).ok_or(Unexpected { input })?;
        Ok(false)
    }

    /// The disk failed: all outstanding jobs are dropped, except the check of a proof, which needs no disk.
    pub(super) fn drop_jobs(&mut self) {
        for job in [DiskJob::Authority, DiskJob::Open, DiskJob::Repair, DiskJob::Place] {
            self.dropped[job as usize] += std::mem::take(&mut self.out[job as usize]);
        }
    }

    /// These chunks were handed out.
    pub(super) fn note_handed(&mut self, payload_bytes: u64, chunk_size: u64, chunks: Range<u64>) {
        self.handed_of(payload_bytes).insert_chunks(chunk_size, chunks);
    }

    /// This was found durable.
    pub(super) fn note_found(&mut self, have: &Have) {
        self.handed_of(have.payload_bytes()).add(have);
    }

    fn handed_of(&mut self, payload_bytes: u64) -> &mut Have {
        // Before its authority is given, a plan may be replaced by one for another payload.
        self.handed = self.handed.take().filter(|handed| handed.payload_bytes() == payload_bytes);
        self.handed.get_or_insert_with(|| Have::nothing(payload_bytes))
    }

    /// Checks a report that a chunk was written.
    pub(super) fn check_written(&self, chunk_size: u64, index: u64) -> Result<(), Unexpected> {
        let is_known = self.handed.as_ref().is_some_and(|handed| handed.has_chunk(chunk_size, index));
        if is_known { Ok(()) } else { Err(Unexpected { input: Input::Written }) }
    }

    /// Checks a report that these bytes are durable.
    pub(super) fn check_durable(&self, durable: &Have) -> Result<(), Unexpected> {
        let is_known = durable.is_empty() || self.handed.as_ref().is_some_and(|handed| durable.is_within(handed));
        if is_known { Ok(()) } else { Err(Unexpected { input: Input::Durable }) }
    }

    pub(super) fn note_recheck(&mut self, unchecked: &Have) {
        self.has_rechecked |= !unchecked.is_empty();
    }

    pub(super) fn check_recheck(&self) -> Result<(), Unexpected> {
        if self.has_rechecked { Ok(()) } else { Err(Unexpected { input: Input::Rechecked }) }
    }
}
