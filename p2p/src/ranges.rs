//! Sets of chunk or group numbers, as ascending ranges that neither overlap nor touch.

use std::ops::Range;

use rangemap::RangeSet;

/// A set of numbers. It takes memory for each gap, not for each number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexRanges(RangeSet<u64>);

impl IndexRanges {
    pub(crate) fn of(range: Range<u64>) -> Self {
        let mut ranges = Self::default();
        ranges.insert(range);
        ranges
    }

    /// An empty range adds nothing.
    pub(crate) fn insert(&mut self, range: Range<u64>) {
        if !range.is_empty() {
            self.0.insert(range);
        }
    }

    pub(crate) fn remove(&mut self, range: Range<u64>) {
        if !range.is_empty() {
            self.0.remove(range);
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        other.iter().for_each(|range| self.insert(range));
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        other.iter().for_each(|range| self.remove(range));
    }

    /// The numbers that are in both.
    pub(crate) fn common(&self, other: &Self) -> Self {
        let mut common = Self::default();
        self.0.intersection(&other.0).for_each(|range| common.insert(range));
        common
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.0.contains(&number)
    }

    /// The first number of `within` that is not in the set.
    pub(crate) fn first_missing(&self, within: &Range<u64>) -> Option<u64> {
        let first = self.0.get(&within.start).map_or(within.start, |range| range.end);
        (first < within.end).then_some(first)
    }

    /// Whether all of this range is in the set.
    pub(crate) fn covers(&self, range: &Range<u64>) -> bool {
        range.is_empty() || self.0.get(&range.start).is_some_and(|found| range.end <= found.end)
    }

    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.iter().all(|range| other.covers(&range))
    }

    pub(crate) fn overlaps(&self, range: &Range<u64>) -> bool {
        !range.is_empty() && self.0.overlaps(range)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, ascending.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + '_ {
        self.0.iter().cloned()
    }

    /// How many ranges there are.
    pub(crate) fn pieces(&self) -> usize {
        self.0.len()
    }

    /// How many numbers there are.
    pub(crate) fn count(&self) -> u64 {
        self.iter().map(|range| range.end - range.start).sum()
    }

    /// The parts of `outer` that are not in the set, ascending.
    pub(crate) fn gaps(&self, outer: Range<u64>) -> Vec<Range<u64>> {
        if outer.is_empty() { Vec::new() } else { self.0.gaps(&outer).collect() }
    }

    /// The first number, from 0 on, that is not in the set.
    pub(crate) fn prefix(&self) -> u64 {
        self.0.first().filter(|first| first.start == 0).map_or(0, |first| first.end)
    }

    #[cfg(test)]
    pub(crate) fn first(&self) -> Option<u64> {
        self.0.first().map(|range| range.start)
    }
}

impl FromIterator<Range<u64>> for IndexRanges {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut set = Self::default();
        ranges.into_iter().for_each(|range| set.insert(range));
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn numbers(ranges: &IndexRanges) -> BTreeSet<u64> {
        ranges.iter().flatten().collect()
    }

    proptest! {
        #[test]
        fn it_is_a_set_of_numbers(steps in prop::collection::vec((any::<bool>(), 0_u64..40, 0_u64..12), 0..40), from in 0_u64..40, long in 0_u64..20) {
            let (mut ranges, mut model) = (IndexRanges::default(), BTreeSet::new());
            let mut other = IndexRanges::default();
            for (adds, start, length) in steps {
                let range = start..start + length;
                if adds {
                    ranges.insert(range.clone());
                    model.extend(range);
                } else {
                    ranges.remove(range.clone());
                    model.retain(|number| !range.contains(number));
                    other.insert(range);
                }
            }
            prop_assert_eq!(numbers(&ranges), model.clone());
            prop_assert_eq!(ranges.count(), model.len() as u64);
            prop_assert_eq!(ranges.prefix(), (0..).find(|number| !model.contains(number)).unwrap());
            prop_assert_eq!(ranges.first(), model.first().copied());
            let outer = from..from + long;
            let gaps: BTreeSet<u64> = ranges.gaps(outer.clone()).into_iter().flatten().collect();
            prop_assert_eq!(gaps, outer.clone().filter(|number| !model.contains(number)).collect::<BTreeSet<_>>());
            prop_assert_eq!(ranges.covers(&outer), outer.clone().all(|number| model.contains(&number)));
            prop_assert_eq!(ranges.contains(from), model.contains(&from));
            prop_assert_eq!(ranges.first_missing(&outer), outer.clone().find(|number| !model.contains(number)));
            prop_assert_eq!(ranges.overlaps(&outer), outer.clone().any(|number| model.contains(&number)));
            let theirs = numbers(&other);
            prop_assert_eq!(numbers(&ranges.common(&other)), model.intersection(&theirs).copied().collect::<BTreeSet<_>>());
            let mut less = ranges.clone();
            less.subtract(&other);
            prop_assert_eq!(numbers(&less), model.difference(&theirs).copied().collect::<BTreeSet<_>>());
            prop_assert!(less.is_within(&ranges));
            less.add(&ranges.common(&other));
            prop_assert_eq!(less, ranges);
        }
    }
}
