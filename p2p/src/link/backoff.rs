//! When a session tries again, and when it gives up.

use std::time::{Duration, Instant};

use crate::limits::{BACKOFF_MAX, BACKOFF_MIN};

#[derive(Debug)]
pub(crate) struct Backoff {
    give_up_after: Option<Duration>,
    /// The first failure since the last progress.
    since: Option<Instant>,
    pauses: rpp_common::Backoff,
}

impl Backoff {
    pub(crate) fn new(give_up_after: Option<Duration>, seed: u64) -> Self {
        Self { give_up_after, since: None, pauses: rpp_common::Backoff::new(BACKOFF_MIN, BACKOFF_MAX, seed) }
    }

    /// When to try next; `None` when it is time to give up.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Instant> {
        let since = *self.since.get_or_insert(now);
        let deadline = self.give_up_after.map(|limit| since + limit);
        // The first failure is always tried again, however small `give_up_after` is.
        if self.tries() > 0 && deadline.is_some_and(|deadline| now >= deadline) {
            return None;
        }
        let at = now + self.pauses.pause();
        Some(deadline.map_or(at, |deadline| at.min(deadline.max(now))))
    }

    /// When to try next if nothing may be tried before `until`; `None` when it is time to give up. This wait is not a
    /// failure, so it does not lengthen the pause after the next one.
    pub(crate) fn not_before(&mut self, now: Instant, until: Instant) -> Option<Instant> {
        let since = *self.since.get_or_insert(now);
        match self.give_up_after.map(|limit| since + limit) {
            Some(deadline) if now >= deadline => None,
            Some(deadline) => Some(until.min(deadline)),
            None => Some(until),
        }
    }

    /// There was progress, so the next failure counts as the first.
    pub(crate) fn reset(&mut self) {
        self.pauses.reset();
        self.since = None;
    }

    pub(crate) fn tries(&self) -> u32 {
        self.pauses.failures()
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
    fn a_wait_that_is_no_failure_counts_for_the_patience_alone() {
        let now = Instant::now();
        let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86400));
        let mut backoff = Backoff::new(Some(day), 7);
        for _ in 0..9 {
            assert_eq!(backoff.not_before(now, now + hour), Some(now + hour));
        }
        assert_eq!((backoff.tries(), backoff.not_before(now, now + 2 * day)), (0, Some(now + day)));
        assert!(backoff.next(now).unwrap() - now <= Duration::from_millis(1250));
        assert_eq!(backoff.not_before(now + day, now + 2 * day), None);
        assert_eq!(Backoff::new(None, 7).not_before(now, now + 9 * day), Some(now + 9 * day));
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
