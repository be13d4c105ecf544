//! When to try again: 1 s, doubling to 60 s, with jitter.

use std::time::{Duration, Instant};

use crate::limits::{BACKOFF_MAX, BACKOFF_MIN};

#[derive(Debug)]
pub(super) struct Backoff {
    give_up_after: Option<Duration>,
    tries: u32,
    /// The first failure since the last progress.
    since: Option<Instant>,
    random: u64,
}

impl Backoff {
    pub(super) fn new(give_up_after: Option<Duration>, seed: u64) -> Self {
        Self { give_up_after, tries: 0, since: None, random: seed }
    }

    /// When to try next; `None` when it is time to give up.
    pub(super) fn next(&mut self, now: Instant) -> Option<Instant> {
        let since = *self.since.get_or_insert(now);
        let deadline = self.give_up_after.map(|limit| since + limit);
        // The first failure is always tried again, however short the patience.
        if self.tries > 0 && deadline.is_some_and(|deadline| now >= deadline) {
            return None;
        }
        let doubled = BACKOFF_MIN.saturating_mul(1_u32.checked_shl(self.tries).unwrap_or(u32::MAX));
        self.tries = self.tries.saturating_add(1);
        let at = now + (doubled.min(BACKOFF_MAX) * self.percent() / 100).min(BACKOFF_MAX);
        Some(deadline.map_or(at, |deadline| at.min(deadline.max(now))))
    }

    /// There was progress: the next failure is a first one.
    pub(super) fn reset(&mut self) {
        self.tries = 0;
        self.since = None;
    }

    pub(super) fn tries(&self) -> u32 {
        self.tries
    }

    /// 75 to 125 (splitmix64), so that many consumers of one provider do not come back together.
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

    #[test]
    fn doubles_with_jitter_and_stays_below_a_minute() {
        let now = Instant::now();
        let mut backoff = Backoff::new(None, 7);
        for expected in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let wait = backoff.next(now).unwrap() - now;
            let expected = Duration::from_secs(expected);
            assert!(wait >= expected * 75 / 100 && wait <= expected * 125 / 100 && wait <= BACKOFF_MAX, "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.next(now).unwrap() - now <= Duration::from_millis(1250));
    }

    #[test]
    fn gives_up_only_after_its_patience_and_tries_once_more_at_its_end() {
        let start = Instant::now();
        let mut backoff = Backoff::new(Some(Duration::from_secs(3)), 7);
        let mut now = start;
        while let Some(next) = backoff.next(now) {
            now = next;
        }
        assert_eq!(now - start, Duration::from_secs(3));
    }

    #[test]
    fn a_very_long_streak_does_not_overflow() {
        let now = Instant::now();
        let mut backoff = Backoff::new(None, 1);
        for _ in 0..100 {
            assert!(backoff.next(now).unwrap() <= now + BACKOFF_MAX);
        }
    }
}
