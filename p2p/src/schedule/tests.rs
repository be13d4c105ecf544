use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;
const WINDOW: u64 = 16 * MIB;

/// Sources that deliver at a fixed rate, chunk after chunk, and may stall or die.
struct Line {
    rate: u64,
    /// From then on it delivers nothing, without an error.
    stalls: Option<u64>,
    /// From then on it is known to be lost.
    dies: Option<u64>,
    /// The chunk in flight, and the time of its arrival in microseconds.
    under_way: Option<(u64, u64)>,
    brought: u64,
}

impl Line {
    fn new(rate: u64) -> Self {
        Self { rate, stalls: None, dies: None, under_way: None, brought: 0 }
    }
}

struct Run {
    micros: u64,
    wasted: u64,
    brought: Vec<u64>,
}

/// Downloads `total` chunks of 1 MiB; checks the invariants at each step.
fn download(total: u64, mut lines: Vec<Line>) -> Run {
    let start = Instant::now();
    let (mut schedule, mut missing, mut now, mut wasted) = (Schedule::default(), IndexRanges::of(0..total), 0_u64, 0);
    for number in 0..lines.len() {
        schedule.set_ready(number as u32, true);
    }
    while !missing.is_empty() {
        let at = start + Duration::from_micros(now);
        for (number, line) in (0..).zip(&mut lines) {
            if line.dies.is_some_and(|dies| now >= dies) {
                schedule.set_ready(number, false);
                line.under_way = None;
            }
            schedule.set_under_way(number, if line.under_way.is_some() { MIB } else { 0 });
        }
        let work = Missing { missing: &missing, chunk: MIB, window: WINDOW };
        schedule.share(at, work);
        check(&schedule, &missing);
        for (number, line) in (0..).zip(&mut lines) {
            let next = schedule.run(number).and_then(IndexRanges::first);
            if let (None, Some(index)) = (line.under_way, next) {
                let there = now + MIB * 1_000_000 / line.rate;
                line.under_way =
                    Some((index, if line.stalls.is_some_and(|from| there >= from) { u64::MAX } else { there }));
            }
        }
        let arrival = lines.iter().filter_map(|line| line.under_way).map(|(_, there)| there).min().unwrap_or(u64::MAX);
        let look = schedule.next_look().map_or(u64::MAX, |look| (look - start).as_micros() as u64);
        let death = lines.iter().filter_map(|line| line.dies).filter(|dies| *dies > now).min().unwrap_or(u64::MAX);
        let next = arrival.min(look).min(death);
        assert!(next < 3_600_000_000, "nothing happens any more: {schedule:?}");
        now = next.max(now);
        let at = start + Duration::from_micros(now);
        for (number, line) in (0..).zip(&mut lines) {
            if let Some((index, there)) = line.under_way.filter(|(_, there)| *there <= now) {
                assert!(there <= now);
                line.under_way = None;
                schedule.came(at, number, MIB);
                if missing.contains(index) {
                    missing.remove(index..index + 1);
                    line.brought += 1;
                } else {
                    wasted += 1;
                }
            }
        }
    }
    Run { micros: now, wasted, brought: lines.iter().map(|line| line.brought).collect() }
}

/// What must hold after each assignment.
fn check(schedule: &Schedule, missing: &IndexRanges) {
    let delivering = schedule.sources.values().filter(|source| source.delivers()).count();
    assert!(delivering > 0 || !schedule.sources.values().any(|source| source.is_ready), "the last one is never slow");
    let mut once = IndexRanges::default();
    let mut twice = IndexRanges::default();
    for source in schedule.sources.values() {
        assert!(source.run.is_within(missing), "what is there is not asked for");
        assert!(source.delivers() || source.run.is_empty(), "nothing is asked of who cannot deliver, or is slow");
        assert!(!twice.iter().any(|range| source.run.overlaps(&range)), "asked of three");
        twice.add(&once.common(&source.run));
        once.add(&source.run);
    }
    assert!(delivering == 0 || missing.is_empty() || !once.is_empty(), "somebody delivers: {schedule:?}");
    assert!(twice.is_empty() || once == *missing, "asked for twice before all is asked for once");
}

#[test]
fn one_source_has_everything_at_once() {
    let mut schedule = Schedule::default();
    schedule.set_ready(0, true);
    let missing = IndexRanges::of(3..1000);
    schedule.share(Instant::now(), Missing { missing: &missing, chunk: MIB, window: WINDOW });
    assert_eq!((schedule.run(0), schedule.allowance(0)), (Some(&missing), u64::MAX));
    assert_eq!(schedule.next_look(), None);
}

#[test]
fn two_alike_take_half_the_time_and_waste_nothing() {
    let one = download(400, vec![Line::new(10 * MIB)]);
    let two = download(400, vec![Line::new(10 * MIB), Line::new(10 * MIB)]);
    assert_eq!(one.micros, 40_000_000);
    assert!(two.micros <= 20_200_000, "{}", two.micros);
    assert_eq!(two.wasted, 0);
    assert!(two.brought.iter().all(|brought| *brought >= 190), "{:?}", two.brought);
}

#[test]
fn a_slow_one_helps_and_nobody_waits_for_it_at_the_end() {
    let run = download(400, vec![Line::new(10 * MIB), Line::new(10 * MIB), Line::new(MIB)]);
    // 21 MiB/s in all.
    assert!(run.micros <= 19_700_000, "{}", run.micros);
    assert!(run.brought[2] > 0 && run.wasted <= 2, "{:?}, {} in vain", run.brought, run.wasted);
    let run = download(100, vec![Line::new(20 * MIB), Line::new(MIB / 2)]);
    assert!(run.micros <= 5_200_000, "{}", run.micros);
}

#[test]
fn one_that_dies_costs_no_more_than_its_part() {
    let dying = Line { dies: Some(10_000_000), ..Line::new(10 * MIB) };
    let run = download(400, vec![Line::new(10 * MIB), dying]);
    // 200 MiB in the first 10 s, the other 200 in 20 s, and the chunks that were in flight.
    assert!(run.micros <= 30_300_000, "{}", run.micros);
}

#[test]
fn one_that_stalls_without_a_word_is_slow_soon_and_the_others_go_on() {
    let stalling = Line { stalls: Some(5_000_000), ..Line::new(10 * MIB) };
    let run = download(600, vec![Line::new(10 * MIB), stalling, Line::new(10 * MIB)]);
    // 150 MiB in the first 5 s, the other 450 in 22.5 s.
    assert!(run.micros <= 28_300_000, "{}", run.micros);
}

#[test]
fn at_the_end_too() {
    let stalling = Line { stalls: Some(2_000_000), ..Line::new(10 * MIB) };
    let run = download(40, vec![Line::new(10 * MIB), stalling]);
    // 40 MiB in 2 s, and the stalled source's chunks come from the other one.
    assert!(run.micros <= 4_000_000, "{}", run.micros);
}

#[test]
fn a_payload_of_few_chunks_does_not_wait_for_one_that_never_delivers() {
    let stalling = || Line { stalls: Some(0), ..Line::new(MIB) };
    // The others are done before their rates are known.
    let run = download(4, vec![Line::new(6 * MIB), Line::new(6 * MIB), Line::new(6 * MIB), stalling()]);
    assert!(run.micros <= 3_000_000, "{}", run.micros);
    // The other one has had nothing to deliver yet.
    let run = download(1, vec![stalling(), Line::new(6 * MIB)]);
    assert!(run.micros <= 3_000_000, "{}", run.micros);
    // One that stalls is asked for what another one stalls with.
    let run = download(4, vec![stalling(), stalling(), Line::new(MIB / 4)]);
    assert!(run.micros <= 30_000_000, "{}", run.micros);
}

#[test]
fn a_source_is_slow_after_ten_seconds_and_tried_again_after_sixty() {
    let start = Instant::now();
    let mut schedule = Schedule::default();
    let missing = IndexRanges::of(0..1_000_000);
    let work = Missing { missing: &missing, chunk: MIB, window: WINDOW };
    (0..3).for_each(|number| schedule.set_ready(number, true));
    let mut slow_at = None;
    let mut again_at = None;
    for tenth in 0..1000_u64 {
        let now = start + Duration::from_millis(100 * tenth);
        schedule.came(now, 0, MIB);
        schedule.came(now, 1, MIB);
        if tenth % 10 == 0 {
            schedule.came(now, 2, MIB / 2);
        }
        schedule.share(now, work);
        check(&schedule, &missing);
        let is_slow = schedule.slow_until(2).is_some();
        if is_slow && slow_at.is_none() {
            slow_at = Some(now);
            assert!(schedule.run(2).unwrap().is_empty());
        }
        if slow_at.is_some() && !is_slow && again_at.is_none() {
            again_at = Some(now);
            assert!(!schedule.run(2).unwrap().is_empty());
        }
    }
    let (slow_at, again_at) = (slow_at.unwrap() - start, again_at.unwrap() - start);
    assert!(slow_at >= SLOW_AFTER && slow_at <= SLOW_AFTER + Duration::from_secs(3), "{slow_at:?}");
    assert_eq!(again_at - slow_at, SLOW_FOR);
    // If it is alone, it counts as well as any other.
    schedule.set_ready(0, false);
    schedule.set_ready(1, false);
    schedule.share(start + Duration::from_secs(101), work);
    assert_eq!(schedule.run(2), Some(&missing));
}

#[test]
fn what_is_under_way_is_not_taken_back_when_another_source_comes() {
    let start = Instant::now();
    let missing = IndexRanges::of(0..1000);
    let work = Missing { missing: &missing, chunk: MIB, window: WINDOW };
    let mut schedule = Schedule::default();
    schedule.set_ready(0, true);
    schedule.share(start, work);
    schedule.set_under_way(0, 16 * MIB);
    schedule.set_ready(1, true);
    schedule.share(start, work);
    assert!(schedule.run(0).unwrap().covers(&(0..16)));
    assert_eq!(schedule.run(1).unwrap().first(), Some(16));
    assert!(schedule.allowance(0) <= WINDOW / 2 && schedule.allowance(1) <= WINDOW / 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn whatever_the_sources_do_the_download_ends(
        total in 1_u64..120,
        rates in prop::collection::vec(1_u64..40, 1..6),
        stalls in prop::collection::vec(prop::option::of(0_u64..30), 5),
        dies in prop::collection::vec(prop::option::of(0_u64..30), 5),
    ) {
        let lines: Vec<Line> = rates.iter().enumerate().map(|(at, rate)| Line {
            // The first one is honest.
            stalls: stalls[at].filter(|_| at > 0).map(|s| s * 1_000_000),
            dies: dies[at].filter(|_| at > 0).map(|s| s * 1_000_000),
            ..Line::new(rate * MIB)
        }).collect();
        let run = download(total, lines);
        prop_assert_eq!(run.brought.iter().sum::<u64>(), total);
        // In the worst case the first one does everything, after the others were given up.
        prop_assert!(run.micros <= total * 1_000_000 / rates[0] + 25_000_000, "{}", run.micros);
    }

    #[test]
    fn any_order_of_events_keeps_the_rules(steps in prop::collection::vec((0_u8..6, 0_u32..5, 0_u64..64), 1..200)) {
        let start = Instant::now();
        let (mut schedule, mut missing, mut millis) = (Schedule::default(), IndexRanges::of(0..64), 0_u64);
        let mut known = BTreeSet::new();
        for (what, number, value) in steps {
            let now = start + Duration::from_millis(millis);
            match what {
                0 => { known.insert(number); schedule.set_ready(number, value % 4 != 0); }
                1 => { missing.remove(value..value + 1); schedule.came(now, number, MIB); }
                2 => millis += value * 200,
                3 => schedule.set_under_way(number, value * MIB / 8),
                4 => missing.insert(value..value + value % 5),
                _ => { known.remove(&number); schedule.remove(number); }
            }
            let now = start + Duration::from_millis(millis);
            schedule.share(now, Missing { missing: &missing, chunk: MIB, window: WINDOW });
            check(&schedule, &missing);
        }
    }
}
