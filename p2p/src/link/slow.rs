//! Chooses smaller chunks on a line that is too slow for the present ones.
//!
//! A session's chunk size is fixed by its plan, so smaller chunks need a new plan of the same snapshot. The size only
//! ever gets smaller, so what is durable still ends at the end of a chunk.
//!
//! Example: of a chunk of 1 MiB, 300 KiB arrived in 100 s before the answer broke off. At that rate 45 KiB arrive in 15
//! s, half of the time without a byte after which a request is abandoned. So chunks of 32 KiB are asked for next.

use std::time::{Duration, Instant};

use super::{Link, Opening, requests::InFlight};
use crate::{
    download::Demand,
    error::RequestFailure,
    limits::{MIN_CHUNK_SIZE, REQUEST_IDLE},
    messages::{Plan, SnapshotsRequest},
};

impl Link {
    /// A request failed in transit. If the line seems too slow for the chunk, the same snapshot is planned again in
    /// smaller chunks.
    pub(super) fn note_failed(&mut self, now: Instant, ended: &InFlight, failure: &RequestFailure, demand: &Demand) {
        let is_chunk = matches!(ended.request, SnapshotsRequest::Chunk { .. });
        self.note_lost(now, ended.since, failure, demand.plan.as_deref().filter(|_| is_chunk), demand.may_shrink);
    }

    /// The same for a stream. `since`: when something last arrived. `plan`: the plan of the chunk that was expected.
    pub(super) fn note_lost(
        &mut self,
        now: Instant,
        since: Instant,
        failure: &RequestFailure,
        plan: Option<&Plan>,
        may_shrink: bool,
    ) {
        let received = failure.received();
        self.wasted = self.wasted.saturating_add(received);
        self.received = self.received.saturating_add(received);
        let Some(plan) = plan else { return };
        let is_slow = match failure {
            // If a request brought no bytes, its provider may have hung.
            RequestFailure::Timeout { .. } => received > 0 || self.failed_chunks > 0,
            RequestFailure::ConnectionClosed { .. } => received > 0 && self.failed_chunks > 0,
            _ => return,
        };
        self.failed_chunks = self.failed_chunks.saturating_add(1);
        let least = self.options.wishes.min_chunk_size.unwrap_or(0).max(MIN_CHUNK_SIZE);
        let smaller = smaller(plan.chunk_size, received, now.saturating_duration_since(since)).max(least);
        if is_slow && smaller < plan.chunk_size && may_shrink {
            self.failed_chunks = 0;
            self.opening = Opening::Smaller(smaller);
        }
    }
}
/// At most half the size, and at most what arrives in half of the idle time-out at the measured rate.
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
