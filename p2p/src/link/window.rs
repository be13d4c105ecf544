//! How many bytes of a stream may be in flight or wait for the disk: enough to keep the path full, and no more memory
//! than that needs.
//!
//! ```text
//! window = 2 * rate * round trip + head room,   at least two chunks, at most what is configured
//! ```
//!
//! The rate is the highest of the last eight spans. While the window limits the rate, twice the product of rate and
//! round trip exceeds the window. So the window doubles until something else limits the rate. The round trip is the
//! smallest one of the last minutes, because the others have waited behind the payload itself.
//!
//! Example with 32 MiB configured. At 50 ms and 100 MB/s the product is 5 MB, and the window 21.5 MiB. On loopback, at
//! 0.2 ms and 700 MB/s, it is 12.3 MiB. Before any round trip was measured it is 32 MiB.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::limits::{FIRST_RATE, ROUND_TRIP_MEMORY, WINDOW_HEAD_ROOM};

/// The rate is measured over at least this long, and over at least two round trips.
const SPAN: Duration = Duration::from_millis(100);
/// Spans whose highest rate counts.
const SPANS: usize = 8;
/// Until data has arrived for this long, the rate counts as at least [`FIRST_RATE`]: the transport may still be getting
/// faster.
const YOUNG: Duration = Duration::from_secs(2);

/// The window of one stream.
#[derive(Debug)]
pub(super) struct PathWindow {
    /// The configured window.
    most: u64,
    round_trips: RoundTrips,
    /// When the stream was opened.
    opened: Instant,
    /// When the present span began, and the bytes that arrived in it.
    since: Instant,
    bytes: u64,
    /// Bytes per second of the last spans.
    rates: VecDeque<u64>,
}

impl PathWindow {
    pub(super) fn new(now: Instant, most: u64) -> Self {
        let round_trips = RoundTrips::default();
        Self { most, round_trips, opened: now, since: now, bytes: 0, rates: VecDeque::new() }
    }

    /// A new stream with the same peer: its rate is not known yet.
    pub(super) fn reopen(&mut self, now: Instant) {
        (self.opened, self.since, self.bytes) = (now, now, 0);
        self.rates.clear();
    }

    pub(super) fn measured(&mut self, now: Instant, round_trip: Duration) {
        self.round_trips.measured(now, round_trip);
    }

    /// Payload bytes arrived.
    pub(super) fn came(&mut self, now: Instant, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        let elapsed = now.saturating_duration_since(self.since);
        let round_trip = self.round_trips.least().unwrap_or_default();
        if elapsed >= SPAN.max(round_trip.saturating_mul(2)) {
            if self.rates.len() == SPANS {
                self.rates.pop_front();
            }
            self.rates.push_back(per_second(self.bytes, elapsed));
            (self.since, self.bytes) = (now, 0);
        }
    }

    /// Bytes that may be in flight or wait for the disk, in chunks of this size.
    pub(super) fn bytes(&self, chunk: u64) -> u64 {
        let Some(round_trip) = self.round_trips.least() else { return self.most };
        let is_young = self.since.saturating_duration_since(self.opened) < YOUNG;
        let first = if is_young { FIRST_RATE } else { 0 };
        let rate = self.rates.iter().copied().fold(first, u64::max);
        let product = u128::from(rate).saturating_mul(round_trip.as_nanos()) / NANOS;
        let wanted = u64::try_from(product.saturating_mul(2)).unwrap_or(u64::MAX).saturating_add(WINDOW_HEAD_ROOM);
        wanted.max(chunk.saturating_mul(2)).min(self.most)
    }
}

const NANOS: u128 = 1_000_000_000;

fn per_second(bytes: u64, elapsed: Duration) -> u64 {
    u64::try_from(u128::from(bytes) * NANOS / elapsed.as_nanos().max(1)).unwrap_or(u64::MAX)
}

/// The least round trip of the last [`ROUND_TRIP_MEMORY`], or up to twice as long.
#[derive(Debug, Default)]
struct RoundTrips {
    since: Option<Instant>,
    before: Option<Duration>,
    present: Option<Duration>,
}

impl RoundTrips {
    fn measured(&mut self, now: Instant, round_trip: Duration) {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= ROUND_TRIP_MEMORY {
            (self.since, self.before) = (Some(now), self.present.take());
        }
        self.present = Some(self.present.map_or(round_trip, |least| least.min(round_trip)));
    }

    fn least(&self) -> Option<Duration> {
        self.before.into_iter().chain(self.present).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const CHUNK: u64 = MIB / 4;

    /// A path with this many bytes per second and this delay each way, from a source that always has the next chunk to
    /// a disk that accepts each chunk at once. Time is in microseconds.
    struct Path {
        rate: u64,
        one_way: u64,
        start: Instant,
        now: u64,
        window: PathWindow,
        /// Chunks in flight, by the time of their arrival.
        coming: VecDeque<u64>,
        /// Credit in flight: the time of its arrival, and its amount.
        credit: VecDeque<(u64, u64)>,
        granted: u64,
        known: u64,
        sent: u64,
        received: u64,
        free: u64,
        largest: u64,
    }

    impl Path {
        fn new(rate: u64, round_trip: Duration, most: u64) -> Self {
            let start = Instant::now();
            let mut window = PathWindow::new(start, most);
            window.measured(start, round_trip);
            Self {
                rate,
                one_way: u64::try_from(round_trip.as_micros()).unwrap() / 2,
                start,
                now: 0,
                window,
                coming: VecDeque::new(),
                credit: VecDeque::new(),
                granted: 0,
                known: 0,
                sent: 0,
                received: 0,
                free: 0,
                largest: 0,
            }
        }

        fn grant(&mut self) {
            let bytes = self.window.bytes(CHUNK);
            self.largest = self.largest.max(bytes);
            if self.received + bytes > self.granted {
                self.granted = self.received + bytes;
                self.credit.push_back((self.now + self.one_way, self.granted));
            }
        }

        /// The bytes that arrived in this many milliseconds.
        fn run(&mut self, millis: u64) -> u64 {
            let (end, before) = (self.now + millis * 1000, self.received);
            self.grant();
            while self.now < end {
                while self.credit.front().is_some_and(|(at, _)| *at <= self.now) {
                    self.known = self.credit.pop_front().unwrap().1;
                }
                while self.sent + CHUNK <= self.known {
                    self.free = self.free.max(self.now) + CHUNK * 1_000_000 / self.rate;
                    self.coming.push_back(self.free + self.one_way);
                    self.sent += CHUNK;
                }
                while self.coming.front().is_some_and(|at| *at <= self.now) {
                    self.coming.pop_front();
                    self.received += CHUNK;
                    self.window.came(self.start + Duration::from_micros(self.now), CHUNK);
                    self.grant();
                }
                let next = self.coming.front().copied().into_iter().chain(self.credit.front().map(|(at, _)| *at)).min();
                self.now = next.unwrap_or(end).clamp(self.now + 1, end);
            }
            self.received - before
        }
    }

    #[test]
    fn every_path_is_kept_full_and_no_more_than_that_is_under_way() {
        for (mbit, millis) in [(10, 1), (10, 300), (100, 20), (1_000, 1), (1_000, 50), (1_000, 200), (10_000, 100)] {
            let (rate, round_trip) = (mbit * 125_000, Duration::from_millis(millis));
            let mut path = Path::new(rate, round_trip, 1 << 30);
            path.run(5_000);
            path.largest = 0;
            let came = path.run(20_000);
            assert!(came >= rate * 20 / 100 * 97, "{mbit} Mbit/s, {millis} ms: {came}");
            let product = rate * millis / 1000;
            assert!(path.largest <= product * 5 / 2 + WINDOW_HEAD_ROOM, "{mbit} {millis}: {}", path.largest);
        }
    }

    #[test]
    fn a_long_fast_path_is_filled_from_the_start_and_a_faster_one_after_some_round_trips() {
        let mut path = Path::new(125_000_000, Duration::from_millis(50), 1 << 30);
        assert!(path.run(1_000) >= 125_000_000 / 100 * 93, "one round trip is lost");
        let mut path = Path::new(1_250_000_000, Duration::from_millis(50), 1 << 30);
        path.run(1_000);
        assert!(path.run(1_000) >= 1_250_000_000 / 100 * 97);
    }

    #[test]
    fn it_follows_a_path_that_gets_slower_or_faster() {
        let mut path = Path::new(125_000_000, Duration::from_millis(100), 1 << 30);
        path.run(5_000);
        let wide = path.window.bytes(CHUNK);
        path.rate = 1_250_000;
        path.run(30_000);
        let narrow = path.window.bytes(CHUNK);
        assert!(narrow <= WINDOW_HEAD_ROOM + 400_000 && wide >= 25_000_000, "{wide}, then {narrow}");
        path.rate = 125_000_000;
        // Bytes that were in flight at the slow rate still arrive at it: 12 MiB in 10 s.
        path.run(15_000);
        assert!(path.run(5_000) >= 125_000_000 * 5 / 100 * 97);
    }

    #[test]
    fn what_is_configured_is_never_exceeded_and_two_chunks_always_fit_it() {
        let now = Instant::now();
        let mut window = PathWindow::new(now, 16 * MIB);
        assert_eq!(window.bytes(MIB), 16 * MIB, "no round trip is known");
        window.measured(now, Duration::from_micros(200));
        assert_eq!(window.bytes(MIB), WINDOW_HEAD_ROOM + 53_686);
        assert_eq!(window.bytes(7 * MIB), 14 * MIB);
        window.measured(now + 2 * ROUND_TRIP_MEMORY, Duration::from_secs(1));
        assert_eq!(window.bytes(MIB), WINDOW_HEAD_ROOM + 53_686, "the least one counts");
        window.measured(now + 4 * ROUND_TRIP_MEMORY, Duration::from_secs(1));
        assert_eq!(window.bytes(MIB), 16 * MIB, "until it is forgotten");
        let narrow = PathWindow::new(now, MIB);
        assert_eq!(narrow.bytes(MIB), MIB);
        let mut extreme = PathWindow::new(now, u64::MAX);
        extreme.measured(now, Duration::MAX);
        extreme.came(now + Duration::from_secs(100), u64::MAX);
        assert!(extreme.bytes(MIB) > 16 * MIB);
    }
}
