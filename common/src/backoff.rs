//! When to try again.

use std::time::Duration;

/// Pauses between tries. They double up to a bound, and jitter shortens or lengthens each by up to a quarter, but never
/// beyond the bound. So many nodes that lost the same peer do not all return at once.
///
/// ```
/// use std::time::Duration;
/// # use rpp_common::Backoff;
///
/// let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 7);
/// assert!(backoff.pause() <= Duration::from_millis(1250));
/// assert!(backoff.pause() >= Duration::from_millis(1500));
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
    random: u64,
}

impl Backoff {
    /// The jitter comes from `seed`: a random number, or a fixed one to repeat a run.
    #[must_use]
    pub fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        Self { first, longest, failures: 0, random: seed }
    }

    /// Counts one more failure and returns the pause before the next try.
    pub fn pause(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        (doubled.min(self.longest) * self.percent() / 100).min(self.longest)
    }

    /// How many tries failed since the last success.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Call it after a success: the next pause is a first one again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// 75 to 125 (splitmix64).
    fn percent(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        75 + ((mixed >> 33) % 51) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(60);

    #[test]
    fn doubles_with_jitter_to_its_bound_and_begins_anew_after_a_success() {
        let mut backoff = Backoff::new(FIRST, LONGEST, 7);
        for expected in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let (pause, expected) = (backoff.pause(), Duration::from_secs(expected));
            assert!(pause >= expected * 75 / 100 && pause <= expected * 125 / 100 && pause <= LONGEST, "{pause:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= FIRST * 125 / 100);
    }

    #[test]
    fn never_ends_and_never_overflows() {
        let mut backoff = Backoff { failures: u32::MAX - 1, ..Backoff::new(FIRST, LONGEST, 1) };
        for _ in 0..100 {
            assert!((LONGEST * 75 / 100..=LONGEST).contains(&backoff.pause()));
        }
        assert_eq!(backoff.failures(), u32::MAX);
    }

    #[test]
    fn two_that_fail_together_do_not_come_back_together() {
        let pauses = |seed| {
            let mut backoff = Backoff::new(FIRST, LONGEST, seed);
            std::array::from_fn::<_, 8, _>(|_| backoff.pause())
        };
        assert_ne!(pauses(1), pauses(2));
        assert_eq!(pauses(1), pauses(1));
    }
}
