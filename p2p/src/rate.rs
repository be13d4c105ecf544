//! Limits by the byte: a token bucket that keys which wait for tokens share evenly. Pure: time is an argument, and all
//! arithmetic is in whole bytes and nanoseconds.
//!
//! ```text
//! ask(key, bytes) ──> waits ──(it is its turn, and the bucket is not in debt)──> poll: granted
//! ```
//!
//! **The bucket** is stored as the time at which its debt is paid. A grant of `n` bytes moves that time by `n / rate`.
//! Nothing is granted before it. If a grant is late, because a timer was late, up to [`RATE_BURST`] of tokens has been
//! saved. So the rate also holds on a busy machine.
//!
//! Example: 1,000,000 bytes a second and chunks of 100,000. The first goes at once, each further one 100 ms after the one before. A timer
//! that is 30 ms late makes the next pause 70 ms.
//!
//! **Even shares.** Each key has a tag: the number of bytes that it was granted, or the smallest tag among the waiting
//! keys if that is larger (a key has no claim to bytes for which it did not ask). The lowest tag is served first. So
//! keys that ask for large pieces get no more than others.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

use crate::limits::RATE_BURST;

/// A token bucket that may go into debt by one grant.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Bytes a second; 0: no limit.
    rate: u64,
    /// When its debt is paid; `None`: it never had one.
    paid: Option<Instant>,
}

impl Bucket {
    fn set_rate(&mut self, now: Instant, rate: u64) {
        if rate == self.rate {
            return;
        }
        // A debt in bytes stays the same at the new rate.
        let debt = self.paid.map_or(Duration::ZERO, |paid| paid.saturating_duration_since(now));
        let bytes = debt.as_nanos().saturating_mul(u128::from(self.rate)) / NANOS;
        self.paid = (self.rate != 0).then_some(now + cost(u64::try_from(bytes).unwrap_or(u64::MAX), rate));
        self.rate = rate;
    }

    fn take(&mut self, now: Instant, bytes: u64) {
        if self.rate == 0 {
            return;
        }
        let earliest = now.checked_sub(RATE_BURST).unwrap_or(now);
        let from = self.paid.map_or(now, |paid| paid.max(earliest));
        self.paid = Some(from + cost(bytes, self.rate));
    }

    /// When it grants again.
    fn free_at(&self) -> Option<Instant> {
        self.paid.filter(|_| self.rate != 0)
    }

    fn is_free(&self, now: Instant) -> bool {
        self.free_at().is_none_or(|at| at <= now)
    }

    /// Whether it holds no more than a new one would.
    fn is_idle(&self, now: Instant) -> bool {
        self.free_at().is_none_or(|at| at + RATE_BURST <= now)
    }
}

const NANOS: u128 = 1_000_000_000;
/// The longest debt. Without it, a grant at one byte per second would reach beyond the clock's range.
const LONGEST_DEBT: Duration = Duration::from_secs(24 * 60 * 60);

/// Tags that are kept; more keys than ever wait at once.
const MAX_TAGS: usize = 4096;

/// The time that `bytes` take at `rate` bytes a second, rounded up.
fn cost(bytes: u64, rate: u64) -> Duration {
    if rate == 0 {
        return Duration::ZERO;
    }
    let nanos = (u128::from(bytes) * NANOS).div_ceil(u128::from(rate));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(LONGEST_DEBT)
}

/// A limit in all, and one for each group, shared by keys. At most one request of each key waits.
#[derive(Debug)]
pub struct Shares<K, G> {
    total: Bucket,
    per_group: u64,
    groups: HashMap<G, Bucket>,
    /// In order of asking; as many as the caller has keys.
    waiting: Vec<RateWaiter<K, G>>,
    /// The tags of keys that were granted more than the key that was served last, while others wait.
    tags: HashMap<K, u64>,
    /// The tag of the key that was served last.
    level: u64,
}

#[derive(Clone, Copy, Debug)]
struct RateWaiter<K, G> {
    key: K,
    group: G,
    bytes: u64,
    tag: u64,
}

impl<K: Copy + Eq + Hash, G: Copy + Eq + Hash> Default for Shares<K, G> {
    fn default() -> Self {
        Self {
            total: Bucket::default(),
            per_group: 0,
            groups: HashMap::new(),
            waiting: Vec::new(),
            tags: HashMap::new(),
            level: 0,
        }
    }
}

impl<K: Copy + Eq + Hash, G: Copy + Eq + Hash> Shares<K, G> {
    /// Sets the bytes per second in all and for each group; 0: no limit. Earlier grants still count.
    pub fn set_rates(&mut self, now: Instant, total: u64, per_group: u64) {
        self.total.set_rate(now, total);
        self.per_group = per_group;
        self.groups.values_mut().for_each(|bucket| bucket.set_rate(now, per_group));
    }

    /// Whether there is any limit.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.total.rate != 0 || self.per_group != 0
    }

    /// Asks for bytes for a key in a group; replaces the key's earlier request.
    pub fn ask(&mut self, key: K, group: G, bytes: u64) {
        if let Some(waiter) = self.waiting.iter_mut().find(|waiter| waiter.key == key) {
            (waiter.group, waiter.bytes) = (group, bytes);
            return;
        }
        let tag = self.tags.get(&key).copied().unwrap_or(0).max(self.level);
        self.waiting.push(RateWaiter { key, group, bytes, tag });
    }

    /// The key does not wait any more.
    pub fn leave(&mut self, key: K) {
        self.waiting.retain(|waiter| waiter.key != key);
    }

    /// Whether the key waits.
    #[must_use]
    pub fn waits(&self, key: K) -> bool {
        self.waiting.iter().any(|waiter| waiter.key == key)
    }

    /// The next key that is granted what it asked for.
    pub fn poll(&mut self, now: Instant) -> Option<(K, u64)> {
        if self.waiting.is_empty() || !self.total.is_free(now) {
            return None;
        }
        let is_free =
            |waiter: &RateWaiter<K, G>| self.groups.get(&waiter.group).is_none_or(|bucket| bucket.is_free(now));
        let (place, _) = self
            .waiting
            .iter()
            .enumerate()
            .filter(|(_, waiter)| is_free(waiter))
            .min_by_key(|(_, waiter)| waiter.tag)?;
        let RateWaiter { key, group, bytes, tag } = self.waiting.remove(place);
        self.total.take(now, bytes);
        if self.per_group != 0 {
            self.groups.retain(|_, bucket| !bucket.is_idle(now));
            let fresh = Bucket { rate: self.per_group, paid: None };
            self.groups.entry(group).or_insert(fresh).take(now, bytes);
        }
        self.level = self.level.max(tag);
        self.tags.insert(key, tag.saturating_add(bytes));
        let level = self.level;
        self.tags.retain(|_, tag| *tag > level);
        if self.waiting.is_empty() || self.tags.len() > MAX_TAGS {
            // No key kept another one waiting.
            self.tags.clear();
            self.waiting.iter_mut().for_each(|waiter| waiter.tag = 0);
            self.level = 0;
        }
        Some((key, bytes))
    }

    /// When [`poll`](Self::poll) must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        // There is nothing to wait for at a limit that is not in debt; the caller polls after each `ask`.
        let of_group = |waiter: &RateWaiter<K, G>| self.groups.get(&waiter.group).and_then(Bucket::free_at);
        self.waiting.iter().filter_map(|waiter| of_group(waiter).max(self.total.free_at())).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Keys that ask again at once, on a machine whose timers are late by up to `late`; counts the bytes granted to
    /// each in `time`.
    struct World {
        shares: Shares<u64, u64>,
        now: Instant,
        granted: HashMap<u64, u64>,
        pieces: Vec<(u64, u64, u64)>,
        late: Duration,
        turn: u32,
    }

    impl World {
        /// `pieces`: key, group, bytes of a piece.
        fn new(total: u64, per_group: u64, pieces: Vec<(u64, u64, u64)>) -> Self {
            let (mut shares, now) = (Shares::default(), Instant::now() + Duration::from_secs(3600));
            shares.set_rates(now, total, per_group);
            Self { shares, now, granted: HashMap::new(), pieces, late: Duration::ZERO, turn: 0 }
        }

        fn run(&mut self, time: Duration) -> HashMap<u64, u64> {
            let end = self.now + time;
            self.granted.clear();
            loop {
                for (key, group, bytes) in self.pieces.clone() {
                    if !self.shares.waits(key) {
                        self.shares.ask(key, group, bytes);
                    }
                }
                while let Some((key, bytes)) = self.shares.poll(self.now) {
                    *self.granted.entry(key).or_default() += bytes;
                }
                for (key, group, bytes) in self.pieces.clone() {
                    if !self.shares.waits(key) {
                        self.shares.ask(key, group, bytes);
                    }
                }
                self.turn += 1;
                let due = self.shares.poll_timeout().unwrap_or(self.now);
                // A timer that is due at once is not waited for.
                let next = if due <= self.now { self.now } else { due + self.late * (self.turn % 3) };
                if next > end {
                    self.now = end;
                    return self.granted.clone();
                }
                self.now = next;
            }
        }
    }

    fn near(actual: u64, expected: u64, of_thousand: u64) -> bool {
        actual.abs_diff(expected) * 1000 <= expected * of_thousand
    }

    #[test]
    fn a_rate_holds_within_three_percent_whatever_the_pieces_and_however_late_the_timers() {
        for (rate, piece) in [(MIB, 16 << 10), (10 * MIB, 64 << 10), (100 * MIB, MIB), (1_000_003, 9_973)] {
            for late in [0, 1, 20, 60] {
                let mut world = World::new(rate, 0, vec![(1, 1, piece)]);
                world.late = Duration::from_millis(late);
                for _ in 0..3 {
                    let granted = world.run(Duration::from_secs(10))[&1];
                    assert!(near(granted, 10 * rate, 30), "{granted} of {rate} in pieces of {piece}, {late} ms late");
                }
            }
        }
    }

    #[test]
    fn a_rate_that_is_changed_holds_from_then_on() {
        let mut world = World::new(MIB, 0, vec![(1, 1, 16 << 10)]);
        world.run(Duration::from_secs(3));
        for rate in [8 * MIB, MIB / 2, 3 * MIB] {
            let now = world.now;
            world.shares.set_rates(now, rate, 0);
            let granted = world.run(Duration::from_secs(10))[&1];
            assert!(near(granted, 10 * rate, 50), "{granted} of {rate}");
        }
        // A debt that was made at a low rate is paid at the new one.
        let mut shares = Shares::<u64, ()>::default();
        let now = Instant::now();
        shares.set_rates(now, 1000, 0);
        shares.ask(1, (), 1_000_000);
        assert_eq!(shares.poll(now), Some((1, 1_000_000)));
        shares.ask(1, (), 1);
        assert_eq!(shares.poll_timeout(), Some(now + Duration::from_secs(1000)));
        shares.set_rates(now, 1_000_000, 0);
        assert_eq!(shares.poll_timeout(), Some(now + Duration::from_secs(1)));
        shares.set_rates(now, 0, 0);
        assert!(!shares.is_limited());
        assert_eq!((shares.poll_timeout(), shares.poll(now)), (None, Some((1, 1))), "nothing holds it back");
    }

    #[test]
    fn eight_share_evenly_also_when_their_pieces_differ() {
        let pieces: Vec<_> = (0..8).map(|key| (key, key, 16 << (10 + key % 4))).collect();
        let granted = World::new(4 * MIB, 0, pieces).run(Duration::from_secs(20));
        for key in 0..8 {
            assert!(near(granted[&key], 10 * MIB, 50), "{key}: {granted:?}");
        }
    }

    #[test]
    fn who_was_away_has_no_claim_on_what_he_did_not_ask_for() {
        let mut world = World::new(MIB, 0, vec![(1, 1, 16 << 10)]);
        world.run(Duration::from_secs(60));
        world.pieces.push((2, 2, 16 << 10));
        let granted = world.run(Duration::from_secs(10));
        assert!(near(granted[&1], granted[&2], 30), "{granted:?}");
    }

    #[test]
    fn a_group_has_its_own_limit_and_holds_nobody_else_back() {
        // Two of one group, one of another.
        let pieces = vec![(1, 1, 16 << 10), (2, 1, 16 << 10), (3, 2, 16 << 10)];
        let granted = World::new(0, MIB, pieces.clone()).run(Duration::from_secs(10));
        assert!(near(granted[&1] + granted[&2], 10 * MIB, 30) && near(granted[&3], 10 * MIB, 30), "{granted:?}");
        let granted = World::new(3 * MIB / 2, MIB, pieces).run(Duration::from_secs(10));
        assert!(near(granted.values().sum(), 15 * MIB, 30), "{granted:?}");
        assert!(granted[&1] + granted[&2] <= 10 * MIB + MIB / 3, "{granted:?}");
    }

    #[test]
    fn what_is_remembered_is_bounded_by_those_who_ask() {
        let (mut shares, now) = (Shares::<u64, u64>::default(), Instant::now() + Duration::from_secs(60));
        shares.set_rates(now, 1 << 40, 1 << 40);
        for key in 0..10_000 {
            let now = now + Duration::from_millis(key * 300);
            shares.ask(key, key, 16 << 10);
            assert!(shares.poll(now).is_some());
            assert!(
                shares.groups.len() <= 2 && shares.tags.len() <= 2,
                "{} {}",
                shares.groups.len(),
                shares.tags.len()
            );
        }
        shares.ask(7, 7, 1);
        shares.leave(7);
        assert!(!shares.waits(7) && shares.poll_timeout().is_none());
    }
}
