//! Limits how slow a message may be: no byte for too long, or too few bytes over a period. Pure; time is an argument.
//!
//! A limit on the whole message would exclude slow lines: a chunk may take a minute as long as its bytes keep arriving.
//! So the time counts from the last byte. There is also a slowest rate, so that a peer cannot hold a place by sending
//! one byte now and then.
//!
//! Example with the defaults: nothing arrives for 29 s, then 100 bytes a second. After 60 s at that rate only 6,000
//! bytes have arrived, but 61,440 are required: too slow. At 2,000 bytes a second the message may take as long as it
//! needs.

use std::time::{Duration, Instant};

use crate::limits;

/// How slow a message may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PaceLimits {
    /// Longest time without a byte.
    pub idle: Duration,
    /// Slowest rate once bytes arrive, in bytes per second,
    pub slowest: u32,
    /// measured over each period of this length.
    pub over: Duration,
}

impl Default for PaceLimits {
    fn default() -> Self {
        Self { idle: limits::REQUEST_IDLE, slowest: limits::SLOWEST_RATE, over: limits::SLOWEST_OVER }
    }
}

impl PaceLimits {
    /// 30 s without a byte and 1 KiB/s over 60 s, by default.
    #[must_use]
    pub fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Sets the slowest rate in bytes per second, measured over each period of this length.
    #[must_use]
    pub fn with_slowest(mut self, bytes_per_second: u32, over: Duration) -> Self {
        (self.slowest, self.over) = (bytes_per_second, over);
        self
    }

    /// The fewest bytes that must arrive in one period.
    #[must_use]
    pub fn least(&self) -> u64 {
        u64::try_from(self.over.as_millis() * u128::from(self.slowest) / 1000).unwrap_or(u64::MAX)
    }

    /// The longest time that a message of `bytes` can take. For callers that need a bound on the whole.
    pub(crate) fn longest(&self, bytes: usize) -> Duration {
        let seconds = u64::try_from(bytes).unwrap_or(u64::MAX) / u64::from(self.slowest.max(1));
        Duration::from_secs(seconds).saturating_add(self.over).saturating_add(self.idle.saturating_mul(2))
    }
}

/// Why a message is abandoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stall {
    /// Nothing moved.
    #[error("not a byte for {} s", .0.as_secs_f64())]
    Silent(Duration),
    /// Too few bytes moved.
    #[error("only {bytes} bytes in {} s, the least are {least}", .over.as_secs_f64())]
    Slow {
        /// The number of bytes,
        bytes: u64,
        /// the fewest that must move
        least: u64,
        /// in this time.
        over: Duration,
    },
}

/// One message in flight.
#[derive(Debug)]
pub(crate) struct Pace {
    limits: PaceLimits,
    last: Instant,
    /// The present period: its start, and the bytes that moved in it. `None` before the first byte.
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

    /// When to call [`check`](Self::check) again if nothing moves until then.
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

    /// Runs with this number of bytes in each second, from the first second on, until it is too slow; at most a day.
    fn run(bytes_per_second: impl Fn(u32) -> usize) -> (u32, Option<Stall>) {
        let start = Instant::now();
        let mut pace = Pace::new(PaceLimits::default(), start);
        for second in 1..=86_400 {
            let now = start + SECOND * second;
            // Checked as late as the deadline allows.
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
        // In bursts, as with a multiplexer's window.
        assert_eq!(run(|second| if second % 25 == 0 { 128 * 1024 } else { 0 }).1, None);
        assert_eq!(run(|_| 1), (61, Some(Stall::Slow { bytes: 60, least: 61_440, over: 60 * SECOND })));
        // Bytes that arrived quickly at first do not help later.
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
