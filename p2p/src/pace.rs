//! How slowly a message may come or go: no byte for too long, or too few over a while. Pure, the time is an argument.
//!
//! A limit on the whole would be a limit on the line: a chunk that takes a minute is well as long as its bytes come. So
//! the time counts from the last byte; and that one byte now and then is no way to hold a place, there is a slowest rate.
//!
//! Example, with the defaults: nothing comes for 29 s, then 100 bytes a second. After 60 s of those only 6,000 bytes came
//! where 61,440 are the least: too slow. At 2,000 bytes a second it goes on for as long as it takes.

use std::time::{Duration, Instant};

use crate::limits;

/// How slow a message may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PaceLimits {
    /// Longest time without a byte.
    pub idle: Duration,
    /// Slowest rate once bytes come, in bytes a second,
    pub slowest: u32,
    /// over each stretch of this length.
    pub over: Duration,
}

impl Default for PaceLimits {
    fn default() -> Self {
        Self { idle: limits::REQUEST_IDLE, slowest: limits::SLOWEST_RATE, over: limits::SLOWEST_OVER }
    }
}

impl PaceLimits {
    /// 30 s without a byte and 1 KiB/s over 60 s, unless set otherwise.
    #[must_use]
    pub fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Slowest rate in bytes a second, over each stretch of this length.
    #[must_use]
    pub fn with_slowest(mut self, bytes_per_second: u32, over: Duration) -> Self {
        (self.slowest, self.over) = (bytes_per_second, over);
        self
    }

    /// The least that comes in one stretch.
    fn least(&self) -> u64 {
        u64::try_from(self.over.as_millis() * u128::from(self.slowest) / 1000).unwrap_or(u64::MAX)
    }

    /// The longest that a message of `bytes` can take. For whoever needs a bound on the whole.
    pub(crate) fn longest(&self, bytes: usize) -> Duration {
        let seconds = u64::try_from(bytes).unwrap_or(u64::MAX) / u64::from(self.slowest.max(1));
        Duration::from_secs(seconds).saturating_add(self.over).saturating_add(self.idle.saturating_mul(2))
    }
}

/// Why a message is not waited for any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stall {
    /// Nothing moved.
    #[error("not a byte for {} s", .0.as_secs_f64())]
    Silent(Duration),
    /// Too little moved.
    #[error("only {bytes} bytes in {} s, the least are {least}", .over.as_secs_f64())]
    Slow {
        /// So much,
        bytes: u64,
        /// so much is the least,
        least: u64,
        /// in this time.
        over: Duration,
    },
}

/// One message under way.
#[derive(Debug)]
pub(crate) struct Pace {
    limits: PaceLimits,
    last: Instant,
    /// The present stretch: since when, and what moved in it. `None` before the first byte.
    stretch: Option<(Instant, u64)>,
}

impl Pace {
    pub(crate) fn new(limits: PaceLimits, now: Instant) -> Self {
        Self { limits, last: now, stretch: None }
    }

    /// Bytes moved.
    pub(crate) fn moved(&mut self, now: Instant, bytes: usize) {
        if bytes > 0 {
            self.last = now;
            self.stretch.get_or_insert((now, 0)).1 += bytes as u64;
        }
    }

    /// When to [`check`](Self::check) again, if nothing moves until then.
    pub(crate) fn deadline(&self) -> Instant {
        let silent = self.last + self.limits.idle;
        self.stretch.map_or(silent, |(since, _)| silent.min(since + self.limits.over))
    }

    /// Whether it is too slow by now.
    pub(crate) fn check(&mut self, now: Instant) -> Result<(), Stall> {
        if now >= self.last + self.limits.idle {
            return Err(Stall::Silent(self.limits.idle));
        }
        let (over, least) = (self.limits.over, self.limits.least());
        match self.stretch {
            Some((since, bytes)) if now >= since + over => {
                if bytes < least {
                    return Err(Stall::Slow { bytes, least, over });
                }
                self.stretch = Some((now, 0));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Bytes a second, from the first second on, until it is too slow; at most a day.
    fn run(bytes_per_second: impl Fn(u32) -> usize) -> (u32, Option<Stall>) {
        let start = Instant::now();
        let mut pace = Pace::new(PaceLimits::default(), start);
        for second in 1..=86_400 {
            let now = start + SECOND * second;
            // Looked at as late as it allows itself to be looked at.
            if pace.deadline() <= now
                && let Err(stall) = pace.check(now)
            {
                return (second, Some(stall));
            }
            pace.moved(now, bytes_per_second(second));
        }
        (86_400, None)
    }

    #[test]
    fn silence_ends_it_after_30_s_whenever_it_begins() {
        assert_eq!(run(|_| 0), (30, Some(Stall::Silent(30 * SECOND))));
        // 100 s of 4 KiB each.
        let stops = run(|second| if second <= 100 { 4096 } else { 0 });
        assert_eq!(stops, (130, Some(Stall::Silent(30 * SECOND))));
    }

    #[test]
    fn the_slowest_rate_goes_on_for_ever_and_a_slower_one_for_a_stretch() {
        assert_eq!(run(|_| 1025).1, None);
        // In bursts, as a window of the multiplexer lets them through.
        assert_eq!(run(|second| if second % 25 == 0 { 128 * 1024 } else { 0 }).1, None);
        assert_eq!(run(|_| 1), (61, Some(Stall::Slow { bytes: 60, least: 61_440, over: 60 * SECOND })));
        // Fast first does not help later.
        let (second, stall) = run(|second| if second <= 60 { 1 << 20 } else { 1 });
        assert!(second <= 181 && matches!(stall, Some(Stall::Slow { .. })), "{second} {stall:?}");
    }

    #[test]
    fn a_message_that_ends_within_a_stretch_has_no_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(PaceLimits::default(), start);
        pace.moved(start + 29 * SECOND, 1);
        assert_eq!(pace.check(start + 58 * SECOND), Ok(()));
    }

    #[test]
    fn the_longest_message_has_a_bound() {
        let longest = PaceLimits::default().longest(8 << 20);
        assert_eq!(longest, Duration::from_secs(8192 + 60 + 60));
    }
}
