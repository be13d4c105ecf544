//! How much is asked for at once on a line that is too slow for a chunk.
//!
//! A session's chunk size is its plan's, so smaller chunks mean a new plan of the same snapshot. It is only ever made
//! smaller: what is durable then still ends at a chunk's end.
//!
//! Example: of a chunk of 1 MiB 300 KiB came in 100 s before the answer broke off. At that rate 45 KiB come in 15 s, half
//! of the time without a byte after which a request is given up, so chunks of 32 KiB are asked for next.

use std::time::{Duration, Instant};

use super::{Session, StorageState};
use crate::{
    error::RequestFailure,
    limits::{MIN_CHUNK_SIZE, REQUEST_IDLE},
    messages::SnapshotsRequest,
};

/// What a line has shown of itself.
#[derive(Debug, Default)]
pub(super) struct Slow {
    /// Chunks that failed on the way since the last one that came.
    failed: u32,
    /// The next plan is asked for with this chunk size.
    wanted: Option<u64>,
    /// Payload bytes that came in vain.
    wasted: u64,
}

impl Slow {
    /// Payload bytes came and are of no use.
    pub(super) fn waste(&mut self, bytes: u64) {
        self.wasted = self.wasted.saturating_add(bytes);
    }

    /// Payload bytes that came in vain.
    pub(super) fn wasted(&self) -> u64 {
        self.wasted
    }

    /// A chunk came.
    pub(super) fn reset(&mut self) {
        self.failed = 0;
    }

    /// The chunk size that the next plan is to have.
    pub(super) fn wanted(&self) -> Option<u64> {
        self.wanted
    }

    /// A plan came: whether it may have smaller chunks.
    pub(super) fn take(&mut self) -> bool {
        self.wanted.take().is_some()
    }
}

impl Session {
    /// A request failed on the way. After a chunk that the line seems too slow for, the same snapshot is planned anew in
    /// smaller ones.
    pub(super) fn note_failed(
        &mut self,
        now: Instant,
        request: &SnapshotsRequest,
        since: Instant,
        failure: &RequestFailure,
    ) {
        let received = failure.received();
        self.slow.waste(received);
        self.bytes_received = self.bytes_received.saturating_add(received);
        let (SnapshotsRequest::Chunk { .. }, Some(work)) = (request, &self.work) else { return };
        let is_slow = match failure {
            // One that brought nothing at all may have met a provider that hangs.
            RequestFailure::Timeout { .. } => received > 0 || self.slow.failed > 0,
            RequestFailure::ConnectionClosed { .. } => received > 0 && self.slow.failed > 0,
            _ => return,
        };
        self.slow.failed = self.slow.failed.saturating_add(1);
        let least = self.options.min_chunk_size.max(MIN_CHUNK_SIZE);
        let smaller = smaller(work.plan.chunk_size, received, now.saturating_duration_since(since)).max(least);
        if !is_slow || smaller >= work.plan.chunk_size {
            return;
        }
        self.slow.failed = 0;
        self.slow.wanted = Some(smaller);
        self.plan_anew = true;
        // What is verified is made durable first: it counts in the chunks of the present plan.
        if self.storage == StorageState::Open {
            self.storage = StorageState::Closed;
        }
    }
}

/// At most half, and no more than half of the patience brings at the rate that was seen.
fn smaller(chunk_size: u64, received: u64, elapsed: Duration) -> u64 {
    let half = chunk_size / 2;
    let elapsed = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    let patience = u64::try_from(REQUEST_IDLE.as_millis()).unwrap_or(u64::MAX) / 2;
    match received.saturating_mul(patience) / elapsed {
        0 => half,
        within => half.min(1 << within.ilog2()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    #[test]
    fn the_next_chunk_comes_within_half_of_the_patience() {
        for (chunk, received, seconds, expected) in [
            (1024, 300, 100, 32),
            (1024, 900, 30, 256),
            (1024, 1000, 1, 512), // fast, but it broke off
            (1024, 0, 30, 512),
            (32, 1, 30, 0), // the caller knows the least
        ] {
            let next = smaller(chunk * KIB, received * KIB, Duration::from_secs(seconds));
            assert_eq!(next / KIB, expected, "{received} of {chunk} KiB in {seconds} s");
        }
    }
}
