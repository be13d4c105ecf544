//! Decides which source is asked for which chunks. Pure: it knows sources by number and chunks by index, but no peer.
//!
//! ```text
//! missing chunks ──> runs, one for each source that can deliver ──> what its link wants
//! ```
//!
//! * A *run* is what a source delivers next: about two seconds of its measured rate, at least one chunk, at most its
//!   share of the window, and no more than it can deliver while the others deliver the rest. A source whose rate is not
//!   known yet gets [`FIRST_RUN`]. A source that is alone gets everything, but while others may still be added, only as
//!   many bytes as a run has may be in flight.
//! * The part of a run that may be *in flight* cannot be taken back; the rest can.
//! * A source without a run, when no chunks are left to assign, takes over chunks that another source has not begun: as
//!   many as make both finish at the same time. If there are none, it is asked for chunks that are in flight from
//!   another source and would arrive there much later: at most two sources deliver the same chunk.
//! * A source with less than an eighth of the others' mean rate for ten seconds is *slow*: it gets no run for a minute,
//!   then it is tried again. The last source that can deliver is never slow.
//!
//! Example: chunks of 1 MiB, a window of 16 MiB, two sources of 2 MiB/s and 200 KiB/s. The first gets runs of 4 MiB,
//! the second single chunks. When 3 MiB are missing, the first delivers them in 1.5 s, and the second would need 5 s
//! for one chunk: it gets none.

mod rate;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use self::rate::Rate;
use crate::{
    limits::{FIRST_RUN, RUN, SLOW_AFTER, SLOW_FOR, SLOW_PART},
    ranges::IndexRanges,
};

/// While several sources deliver, they are compared at this interval.
const LOOK: Duration = Duration::from_millis(250);
/// A chunk in flight from one source is asked of another if the first would deliver it at least this much later.
const MUCH_LATER: Duration = Duration::from_millis(500);

/// The number of a source within its download.
pub(crate) type Number = u32;

/// The chunks that must be assigned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missing<'a> {
    /// The missing chunks.
    pub(crate) missing: &'a IndexRanges,
    /// Bytes of a chunk.
    pub(crate) chunk: u64,
    /// Bytes that may wait to be durable.
    pub(crate) window: u64,
}

/// The runs of all sources.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    sources: BTreeMap<Number, Supplier>,
    next_look: Option<Instant>,
}

#[derive(Debug, Default)]
struct Supplier {
    /// It can deliver now.
    is_ready: bool,
    run: IndexRanges,
    /// Bytes of the run, from its first chunk on, that may be in flight.
    under_way: u64,
    /// The most bytes that may be in flight.
    allowance: u64,
    rate: Rate,
    pace: Tempo,
}

/// ```text
///          less than an eighth of the others        for ten seconds
///   Even ──────────────────────────────────> Behind ────────────────> Slow
///    ^ └──<── more again ──────────────────────┘                       │
///    └───────────<── a minute, or nobody else can deliver ─────────────┘
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Tempo {
    #[default]
    Even,
    Behind {
        since: Instant,
    },
    Slow {
        until: Instant,
    },
}

impl Supplier {
    fn delivers(&self) -> bool {
        self.is_ready && !matches!(self.pace, Tempo::Slow { .. })
    }
}

impl Schedule {
    /// Sets whether a source can deliver. If it cannot, its run goes to the others.
    pub(crate) fn set_ready(&mut self, number: Number, is_ready: bool) {
        let source = self.sources.entry(number).or_default();
        source.is_ready = is_ready;
        if !is_ready {
            (source.run, source.under_way) = (IndexRanges::default(), 0);
            source.rate.stop();
        }
    }

    /// A source is gone.
    pub(crate) fn remove(&mut self, number: Number) {
        self.sources.remove(&number);
    }

    /// This many bytes of a source's run, from its first chunk on, may be in flight.
    pub(crate) fn set_under_way(&mut self, number: Number, bytes: u64) {
        if let Some(source) = self.sources.get_mut(&number) {
            source.under_way = bytes;
        }
    }

    /// Chunks are in flight from this source before the missing chunks are assigned.
    pub(crate) fn begins(&mut self, now: Instant, number: Number) {
        self.sources.entry(number).or_default().rate.start(now);
    }

    /// These chunks are in flight from this source already.
    pub(crate) fn adopt(&mut self, number: Number, under_way: &IndexRanges) {
        if let Some(source) = self.sources.get_mut(&number) {
            source.run.add(under_way);
        }
    }

    /// A chunk arrived from this source.
    pub(crate) fn came(&mut self, now: Instant, number: Number, bytes: u64) {
        if let Some(source) = self.sources.get_mut(&number) {
            source.rate.came(now, bytes);
        }
    }

    /// The run of this source.
    pub(crate) fn run(&self, number: Number) -> Option<&IndexRanges> {
        self.sources.get(&number).map(|source| &source.run)
    }

    /// How many bytes of it may be in flight.
    pub(crate) fn allowance(&self, number: Number) -> u64 {
        self.sources.get(&number).map_or(0, |source| source.allowance)
    }

    /// Until when this source gets no run because it is slow.
    pub(crate) fn slow_until(&self, number: Number) -> Option<Instant> {
        match self.sources.get(&number)?.pace {
            Tempo::Slow { until } => Some(until),
            Tempo::Even | Tempo::Behind { .. } => None,
        }
    }

    /// A source's rate in bytes per second; up to one chunk of `chunk` bytes may be in flight.
    pub(crate) fn rate(&self, now: Instant, number: Number, chunk: u64) -> Option<u64> {
        self.sources.get(&number)?.rate.at(now, chunk)
    }

    /// When [`Self::share`] must be called again at the latest.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.next_look
    }

    /// Assigns the missing chunks.
    pub(crate) fn share(&mut self, now: Instant, work: Missing<'_>) {
        let mut unassigned = work.missing.clone();
        self.judge(now, work);
        let count = self.sources.values().filter(|source| source.delivers()).count() as u64;
        let share = (work.window / count.max(1)).max(work.chunk);
        for source in self.sources.values_mut() {
            source.run = if source.delivers() { source.run.common(work.missing) } else { IndexRanges::default() };
        }
        if count == 1 {
            // If a source turns out to be slow, its chunks in flight could not have come from the others.
            let is_alone = self.sources.len() == 1;
            for source in self.sources.values_mut().filter(|source| source.delivers()) {
                source.run = work.missing.clone();
                let most = (Self::target(source, now, work, share) / 2).max(work.chunk);
                source.allowance = if is_alone { u64::MAX } else { most };
            }
        } else {
            self.cut(now, work, share);
            self.sources.values().for_each(|source| unassigned.subtract(&source.run));
            self.hand_out(now, work, share, &mut unassigned);
            self.take_over(now, work, share);
        }
        for source in self.sources.values_mut() {
            if source.run.is_empty() { source.rate.stop() } else { source.rate.start(now) }
        }
        let waits = self.sources.values().filter(|source| source.is_ready).count() > 1 && !work.missing.is_empty();
        self.next_look = waits.then(|| now + LOOK);
    }

    /// Decides which sources are slow.
    fn judge(&mut self, now: Instant, work: Missing<'_>) {
        let rates: Vec<(Number, u64)> = self
            .sources
            .iter()
            .filter(|(_, source)| source.delivers())
            .filter_map(|(number, source)| Some((*number, source.rate.at(now, work.chunk)?)))
            .collect();
        let all = rates.iter().fold(0_u64, |sum, (_, rate)| sum.saturating_add(*rate));
        for (number, rate) in &rates {
            let Some(source) = self.sources.get_mut(number) else { continue };
            let others = rates.len() as u64 - 1;
            let is_behind = others > 0 && !source.run.is_empty() && {
                let mean = all.saturating_sub(*rate) / others;
                *rate < mean / SLOW_PART
            };
            source.pace = match source.pace {
                Tempo::Behind { since } if is_behind && now.saturating_duration_since(since) >= SLOW_AFTER => {
                    Tempo::Slow { until: now + SLOW_FOR }
                }
                Tempo::Behind { since } if is_behind => Tempo::Behind { since },
                _ if is_behind => Tempo::Behind { since: now },
                _ => Tempo::Even,
            };
        }
        let nobody = !self.sources.values().any(Supplier::delivers);
        for source in self.sources.values_mut() {
            if let Tempo::Slow { until } = source.pace
                && (until <= now || nobody)
            {
                // Its earlier rate means nothing any more.
                (source.pace, source.rate) = (Tempo::Even, Rate::default());
            }
        }
    }

    /// The bytes that a source's run should have.
    fn target(source: &Supplier, now: Instant, work: Missing<'_>, share: u64) -> u64 {
        let wanted = match source.rate.at(now, work.chunk) {
            Some(rate) => bytes_in(rate, RUN),
            None => FIRST_RUN.min(share / 2),
        };
        wanted.min(share).max(work.chunk)
    }

    /// Cuts a run that has become too long, because another source can deliver now or its own source got slower.
    fn cut(&mut self, now: Instant, work: Missing<'_>, share: u64) {
        for source in self.sources.values_mut().filter(|source| source.delivers()) {
            let target = Self::target(source, now, work, share);
            source.allowance = (target / 2).max(work.chunk);
            if bytes(&source.run, work.chunk) > target.saturating_mul(2) {
                source.run = first(&source.run, chunks(target.max(source.under_way), work.chunk));
            }
        }
    }

    /// A source with less than three quarters of its target gets the first chunks that are not assigned.
    fn hand_out(&mut self, now: Instant, work: Missing<'_>, share: u64, unassigned: &mut IndexRanges) {
        let all_rates = self.all_rates(now, work);
        let missing = bytes(work.missing, work.chunk);
        for source in self.sources.values_mut().filter(|source| source.delivers()) {
            let target = Self::target(source, now, work, share);
            let has = bytes(&source.run, work.chunk);
            if unassigned.is_empty() || has > target / 4 * 3 {
                continue;
            }
            let mut most = target - has.min(target);
            if let (Some(rate), Some(all)) = (source.rate.at(now, work.chunk), all_rates) {
                // The bytes that it can deliver until everything has arrived.
                let until_end = fraction(missing, rate, all);
                most = most.min(until_end.saturating_sub(has));
                // A chunk is not divided.
                if until_end < work.chunk && rate < all {
                    most = if until_end.saturating_mul(2) >= work.chunk && has == 0 { work.chunk } else { 0 };
                }
            }
            let taken = first(unassigned, chunks(most, work.chunk));
            unassigned.subtract(&taken);
            source.run.add(&taken);
        }
        // The rest that rounding leaves goes to the fastest source.
        if unassigned.is_empty() || self.sources.values().any(|source| source.delivers() && !source.run.is_empty()) {
            return;
        }
        let rate = |source: &Supplier| source.rate.at(now, work.chunk).unwrap_or(0);
        let fastest = self.sources.values_mut().filter(|source| source.delivers()).max_by_key(|source| rate(source));
        if let Some(source) = fastest {
            source.run = first(unassigned, 1);
            unassigned.subtract(&source.run);
        }
    }

    /// The rates of all sources that deliver, together, if all of them are known.
    fn all_rates(&self, now: Instant, work: Missing<'_>) -> Option<u64> {
        let mut all = 0_u64;
        for source in self.sources.values().filter(|source| source.delivers()) {
            all = all.saturating_add(source.rate.at(now, work.chunk)?);
        }
        Some(all)
    }

    /// Sources without a run take over from others: chunks that these have not begun, else chunks that would arrive
    /// late.
    fn take_over(&mut self, now: Instant, work: Missing<'_>, share: u64) {
        let dry: Vec<Number> = self
            .sources
            .iter()
            .filter(|(_, source)| source.delivers() && source.run.is_empty())
            .map(|(number, _)| *number)
            .collect();
        for number in dry {
            let Some(source) = self.sources.get(&number) else { continue };
            let target = Self::target(source, now, work, share);
            let rate = source.rate.at(now, work.chunk);
            let assigned: IndexRanges = self.sources.values().flat_map(|source| source.run.iter()).collect();
            let left = {
                let mut left = work.missing.clone();
                left.subtract(&assigned);
                left
            };
            if !left.is_empty() {
                continue; // It is too slow to help with what is left.
            }
            let taken = self.rest_of_another(now, work, number, rate, target);
            let taken = taken.or_else(|| self.late_elsewhere(now, work, number, rate, target));
            if let (Some(taken), Some(source)) = (taken, self.sources.get_mut(&number)) {
                source.run = taken;
            }
        }
    }

    /// The other sources with a run, those first that need longest for it: number, milliseconds, rate. `unknown`: the
    /// rate of a source whose own is not known yet; without it, such a source is left out.
    fn slowest_first(
        &self,
        now: Instant,
        work: Missing<'_>,
        but: Number,
        unknown: Option<u64>,
    ) -> Vec<(Number, u64, u64)> {
        let mut others: Vec<_> = self
            .sources
            .iter()
            .filter(|(number, source)| **number != but && !source.run.is_empty())
            .filter_map(|(number, source)| {
                let rate = source.rate.at(now, work.chunk).or(unknown)?;
                Some((*number, millis_for(bytes(&source.run, work.chunk), rate), rate))
            })
            .collect();
        others.sort_by_key(|(_, millis, _)| std::cmp::Reverse(*millis));
        others
    }

    /// Takes the end of another source's run that is not in flight.
    fn rest_of_another(
        &mut self,
        now: Instant,
        work: Missing<'_>,
        taker: Number,
        rate: Option<u64>,
        target: u64,
    ) -> Option<IndexRanges> {
        // A source with an unknown rate is assumed to be as fast as the taker.
        let unknown = Some(rate.unwrap_or(work.chunk));
        for (number, millis, owners_rate) in self.slowest_first(now, work, taker, unknown) {
            let rate = rate.unwrap_or(owners_rate);
            if millis_for(work.chunk, rate) > millis {
                continue; // It would come later than from its owner.
            }
            let owner = self.sources.get_mut(&number)?;
            let begun = chunks_up(owner.under_way, work.chunk).max(1);
            let rest = without_first(&owner.run, begun);
            let even = fraction(bytes(&owner.run, work.chunk), rate, rate.saturating_add(owners_rate)).max(work.chunk);
            let taken = last(&rest, chunks(even.min(target), work.chunk));
            if !taken.is_empty() {
                owner.run.subtract(&taken);
                return Some(taken);
            }
        }
        None
    }

    /// Chunks that are in flight from other sources and would arrive much later from there, the latest first. A taker
    /// whose rate is not known yet is assumed to deliver a chunk a second at least: if it were taken to be as slow as the
    /// others, nobody would ever make up for one that delivers nothing.
    fn late_elsewhere(
        &self,
        now: Instant,
        work: Missing<'_>,
        taker: Number,
        rate: Option<u64>,
        target: u64,
    ) -> Option<IndexRanges> {
        let mut taken = IndexRanges::default();
        let mut count = 0;
        for (number, _, owners_rate) in self.slowest_first(now, work, taker, None) {
            let run = &self.sources.get(&number)?.run;
            let rate = rate.unwrap_or(owners_rate.max(work.chunk));
            let mut place = run.count();
            for index in run.iter().rev().flat_map(Iterator::rev) {
                let comes_in = millis_for(place.saturating_mul(work.chunk), owners_rate);
                place -= 1;
                let mine = millis_for((count + 1) * work.chunk, rate);
                let is_late = comes_in > mine.saturating_mul(2).max(as_millis(MUCH_LATER));
                if !is_late || (count + 1) * work.chunk > target.max(work.chunk) {
                    break;
                }
                let bring = self.sources.values().filter(|source| source.run.contains(index)).count();
                if bring < 2 && !taken.contains(index) {
                    taken.insert(index..index + 1);
                    count += 1;
                }
            }
        }
        (!taken.is_empty()).then_some(taken)
    }
}

fn bytes(run: &IndexRanges, chunk: u64) -> u64 {
    run.count().saturating_mul(chunk)
}

fn chunks(bytes: u64, chunk: u64) -> u64 {
    bytes / chunk.max(1)
}

fn chunks_up(bytes: u64, chunk: u64) -> u64 {
    bytes.div_ceil(chunk.max(1))
}

fn bytes_in(rate: u64, time: Duration) -> u64 {
    rate.saturating_mul(as_millis(time)) / 1000
}

fn millis_for(bytes: u64, rate: u64) -> u64 {
    u64::try_from(u128::from(bytes) * 1000 / u128::from(rate.max(1))).unwrap_or(u64::MAX)
}

fn as_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// `whole * part / all`.
fn fraction(whole: u64, part: u64, all: u64) -> u64 {
    u64::try_from(u128::from(whole) * u128::from(part) / u128::from(all.max(1))).unwrap_or(u64::MAX)
}

/// The first `count` numbers.
fn first(ranges: &IndexRanges, mut count: u64) -> IndexRanges {
    let mut taken = IndexRanges::default();
    for range in ranges.iter() {
        let end = range.end.min(range.start.saturating_add(count));
        count -= end - range.start;
        taken.insert(range.start..end);
        if count == 0 {
            break;
        }
    }
    taken
}

fn without_first(ranges: &IndexRanges, count: u64) -> IndexRanges {
    let mut left = ranges.clone();
    left.subtract(&first(ranges, count));
    left
}

/// The last `count` numbers.
fn last(ranges: &IndexRanges, count: u64) -> IndexRanges {
    without_first(ranges, ranges.count().saturating_sub(count))
}

#[cfg(test)]
mod tests;
