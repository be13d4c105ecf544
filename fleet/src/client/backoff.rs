//! The pauses between attempts to connect.

use std::time::Duration;

use crate::limits::{RECONNECT_FIRST, RECONNECT_MAX};

/// 1 s, doubling to 30 s, each shortened or lengthened by up to a fifth, for ever.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next pause; `jitter` in `0.0 .. 1.0`.
    pub(super) fn pause(&mut self, jitter: f64) -> Duration {
        let doubled = RECONNECT_FIRST.saturating_mul(2u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        doubled.min(RECONNECT_MAX).mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0))
    }

    /// No failure since the last success.
    pub(super) fn is_fresh(&self) -> bool {
        self.failures == 0
    }

    /// The dashboard spoke to us: the next loss starts from the beginning.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_its_bound_and_never_ends() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u64> = (0..8).map(|_| backoff.pause(0.5).as_millis() as u64).collect();
        assert_eq!(pauses, [1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
        // An hour, a year: the pause stays what it is.
        backoff.failures = u32::MAX - 1;
        for _ in 0..3 {
            assert_eq!(backoff.pause(0.0), Duration::from_secs(24));
            assert_eq!(backoff.pause(1.0), Duration::from_secs(36));
        }
        backoff.reset();
        assert_eq!(backoff.pause(0.0), Duration::from_millis(800));
    }
}
