//! What the driver was asked for and has not answered: so that an answer that comes late is told from one to nothing.

use crate::consumer::{Input, Unexpected};

/// Work that has an answer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskJob {
    Authority,
    Proof,
    Open,
    Repair,
    Place,
}

/// How many jobs of each kind are out, and how many more were when the disk got into trouble: the driver drops those, but an
/// answer may be on its way already.
#[derive(Debug, Default)]
pub(super) struct Tally {
    out: [u32; 5],
    dropped: [u32; 5],
    /// Chunks that were ever handed out to be written, or found durable.
    chunks: u64,
    /// A place was open in which there were bytes to be hashed again.
    has_rechecked: bool,
}

impl Tally {
    pub(super) fn asked(&mut self, job: DiskJob) {
        self.out[job as usize] += 1;
    }

    /// `true` when the answer is to something that is out, `false` when it is late.
    pub(super) fn answered(&mut self, job: DiskJob, input: Input) -> Result<bool, Unexpected> {
        let (out, dropped) = (&mut self.out[job as usize], &mut self.dropped[job as usize]);
        if *out > 0 {
            *out -= 1;
            return Ok(true);
        }
        *dropped = dropped.checked_sub(1).ok_or(Unexpected { input })?;
        Ok(false)
    }

    /// The disk is in trouble: what is out is dropped, but for the check of a proof, which needs no disk.
    pub(super) fn drop_jobs(&mut self) {
        for job in [DiskJob::Authority, DiskJob::Open, DiskJob::Repair, DiskJob::Place] {
            self.dropped[job as usize] += std::mem::take(&mut self.out[job as usize]);
        }
    }

    /// So many chunks were handed out, or found durable.
    pub(super) fn note_chunks(&mut self, chunks: u64) {
        self.chunks = self.chunks.max(chunks);
    }

    /// So many chunks are told to be written or durable.
    pub(super) fn check_chunks(&self, chunks: u64, input: Input) -> Result<(), Unexpected> {
        if chunks <= self.chunks { Ok(()) } else { Err(Unexpected { input }) }
    }

    pub(super) fn note_recheck(&mut self, unchecked: u64) {
        self.has_rechecked |= unchecked > 0;
    }

    pub(super) fn check_recheck(&self) -> Result<(), Unexpected> {
        if self.has_rechecked { Ok(()) } else { Err(Unexpected { input: Input::Rechecked }) }
    }
}
