//! How fast a source delivers, measured while it has something to deliver.

use std::time::{Duration, Instant};

/// A rate is measured over at least this long,
const SPAN: Duration = Duration::from_secs(1);
/// and over this while it grows: connections start slowly, so the first bytes say little about the rate.
const FIRST_SPAN: Duration = Duration::from_millis(200);

/// Bytes per second of one source.
///
/// Example: 4 MiB arrived in the last full second, so the rate is 4 MiB/s. Then nothing arrives. After 4 s with chunks
/// of 1 MiB the rate is at most 256 KiB/s, because one whole chunk may be almost there; after 10 s it is at most 100
/// KiB/s.
#[derive(Debug, Default)]
pub(super) struct Rate {
    known: Option<u64>,
    /// When the present span began; `None` while the source has nothing to deliver.
    since: Option<Instant>,
    /// When something last arrived in it; at first, its start.
    last: Option<Instant>,
    bytes: u64,
    /// It did not deliver much more than in the span before.
    is_steady: bool,
}

impl Rate {
    /// The source has something to deliver from now on.
    pub(super) fn start(&mut self, now: Instant) {
        if self.since.is_none() {
            (self.since, self.last, self.bytes) = (Some(now), Some(now), 0);
        }
    }

    /// The source has nothing to deliver: the time does not count. If it delivered everything before a span was over, it
    /// is taken to be as fast as if it had needed the whole span.
    pub(super) fn stop(&mut self) {
        if self.known.is_none() && self.bytes > 0 {
            self.known = Some(per_second(self.bytes, FIRST_SPAN));
        }
        (self.since, self.last) = (None, None);
    }

    pub(super) fn came(&mut self, now: Instant, bytes: u64) {
        let Some(since) = self.since else { return };
        self.bytes = self.bytes.saturating_add(bytes);
        self.last = Some(now);
        let elapsed = now.saturating_duration_since(since);
        let span = if self.is_steady { SPAN } else { FIRST_SPAN };
        if elapsed >= span {
            let measured = per_second(self.bytes, elapsed);
            self.is_steady |= self.known.is_some_and(|known| measured <= known.saturating_add(known / 4));
            self.known = Some(match self.known {
                Some(known) if self.is_steady => known / 2 + measured / 2,
                _ => measured,
            });
            (self.since, self.bytes) = (Some(now), 0);
        }
    }

    /// Bytes per second, at least 1; `None` before anything is known. Up to one chunk of `chunk` bytes may be in
    /// flight.
    pub(super) fn at(&self, now: Instant, chunk: u64) -> Option<u64> {
        let quiet = self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        let most = (quiet > SPAN).then(|| per_second(chunk, quiet));
        let rate = match (self.known, most) {
            (Some(known), Some(most)) => Some(known.min(most)),
            (known, most) => known.or(most),
        };
        rate.map(|rate| rate.max(1))
    }
}

fn per_second(bytes: u64, elapsed: Duration) -> u64 {
    let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1);
    u64::try_from(u128::from(bytes) * 1_000_000 / u128::from(micros)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn it_is_measured_while_something_is_to_come_and_falls_while_nothing_comes() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rate = Rate::default();
        rate.start(start);
        assert_eq!(rate.at(at(100), MIB), None);
        rate.came(at(100), MIB);
        rate.came(at(250), MIB);
        assert_eq!(rate.at(at(250), MIB), Some(8 * MIB));
        rate.came(at(1_250), 4 * MIB);
        assert_eq!(rate.at(at(1_250), MIB), Some(6 * MIB), "half of the old, half of the new");
        assert_eq!(rate.at(at(1_250 + 4_000), MIB), Some(MIB / 4));
        rate.stop();
        assert_eq!(rate.at(at(60_000), MIB), Some(6 * MIB), "it had nothing to do");
        rate.start(at(60_000));
        rate.came(at(61_000), 6 * MIB);
        assert_eq!(rate.at(at(61_000), MIB), Some(6 * MIB));
    }

    #[test]
    fn a_connection_that_begins_slowly_is_known_as_soon_as_it_is_fast() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rate = Rate::default();
        rate.start(start);
        for (ms, mib, known) in [(250, 1, 4), (500, 2, 8), (750, 4, 16), (1_000, 4, 16), (1_250, 8, 16), (2_000, 4, 14)]
        {
            rate.came(at(ms), mib * MIB);
            assert_eq!(rate.at(at(ms), MIB), Some(known * MIB), "{ms}");
        }
    }

    #[test]
    fn one_that_has_brought_all_it_had_to_before_a_span_is_over_has_a_rate() {
        let start = Instant::now();
        let mut rate = Rate::default();
        rate.start(start);
        rate.came(start + Duration::from_millis(10), MIB);
        assert_eq!(rate.at(start + Duration::from_millis(10), MIB), None);
        rate.stop();
        assert_eq!(rate.at(start + Duration::from_secs(60), MIB), Some(5 * MIB));
        let mut idle = Rate::default();
        idle.stop();
        idle.start(start);
        idle.stop();
        assert_eq!(idle.at(start, MIB), None, "it brought nothing");
    }

    #[test]
    fn one_that_never_brought_anything_has_a_rate_after_a_while() {
        let start = Instant::now();
        let mut rate = Rate::default();
        rate.start(start);
        assert_eq!(rate.at(start + Duration::from_secs(10), 10), Some(1));
    }
}
