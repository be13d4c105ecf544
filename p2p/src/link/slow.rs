//! How much is asked for at once on a line that is too slow for a chunk.
//!
//! A session's chunk size is its plan's, so smaller chunks mean a new plan of the same snapshot. It is only ever made
//! smaller: what is durable then still ends at a chunk's end.
//!
//! Example: of a chunk of 1 MiB 300 KiB came in 100 s before the answer broke off. At that rate 45 KiB come in 15 s, half
//! of the time without a byte after which a request is given up, so chunks of 32 KiB are asked for next.

use std::time::{Duration, Instant};

use super::{Link, Opening, requests::InFlight};
use crate::{
    error::RequestFailure,
    limits::{MIN_CHUNK_SIZE, REQUEST_IDLE},
    messages::{Plan, SnapshotsRequest},
};

impl Link {
    /// A request failed on the way. After a chunk that the line seems too slow for, the same snapshot is planned anew in
    /// smaller ones.
    pub(super) fn note_failed(
        &mut self,
        now: Instant,
        ended: &InFlight,
        failure: &RequestFailure,
        plan: Option<&Plan>,
    ) {
        let received = failure.received();
        self.wasted = self.wasted.saturating_add(received);
        self.received = self.received.saturating_add(received);
        let (SnapshotsRequest::Chunk { .. }, Some(plan)) = (&ended.request, plan) else { return };
        let is_slow = match failure {
            // One that brought nothing at all may have met a provider that hangs.
            RequestFailure::Timeout { .. } => received > 0 || self.failed_chunks > 0,
            RequestFailure::ConnectionClosed { .. } => received > 0 && self.failed_chunks > 0,
            _ => return,
        };
        self.failed_chunks = self.failed_chunks.saturating_add(1);
        let least = self.options.wishes.min_chunk_size.unwrap_or(0).max(MIN_CHUNK_SIZE);
        let smaller = smaller(plan.chunk_size, received, now.saturating_duration_since(ended.since)).max(least);
        if is_slow && smaller < plan.chunk_size {
            self.failed_chunks = 0;
            self.opening = Opening::Smaller(smaller);
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
