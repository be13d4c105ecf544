//! Sets of indices, as ranges.

use std::ops::Range;

/// A set of indices: ranges that ascend and do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds an index.
    pub(crate) fn insert(&mut self, index: u64) {
        let at = self.0.partition_point(|range| range.end < index);
        let Some(range) = self.0.get_mut(at) else {
            self.0.push(index..index + 1);
            return;
        };
        if range.contains(&index) {
            return;
        }
        if range.end == index {
            range.end += 1;
            let end = range.end;
            if self.0.get(at + 1).is_some_and(|next| next.start == end) {
                let next = self.0.remove(at + 1);
                self.0[at].end = next.end;
            }
        } else if range.start == index + 1 {
            range.start = index;
        } else {
            self.0.insert(at, index..index + 1);
        }
    }

    /// Whether the index is in it.
    pub(crate) fn contains(&self, index: u64) -> bool {
        self.range_at(index).is_some()
    }

    /// The first index of `within` that is not in it.
    pub(crate) fn first_missing(&self, within: &Range<u64>) -> Option<u64> {
        let first = self.range_at(within.start).map_or(within.start, |range| range.end);
        (first < within.end).then_some(first)
    }

    /// Whether any index of `range` is in it.
    pub(crate) fn overlaps(&self, range: &Range<u64>) -> bool {
        let at = self.0.partition_point(|known| known.end <= range.start);
        !range.is_empty() && self.0.get(at).is_some_and(|known| known.start < range.end)
    }

    /// How many ranges it takes.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    fn range_at(&self, index: u64) -> Option<&Range<u64>> {
        let at = self.0.partition_point(|range| range.end <= index);
        self.0.get(at).filter(|range| range.start <= index)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(indices in prop::collection::vec(0_u64..40, 0..60), start in 0_u64..45, length in 0_u64..10) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for index in indices {
                ranges.insert(index);
                set.insert(index);
            }
            for pair in ranges.0.windows(2) {
                prop_assert!(pair[0].end < pair[1].start, "{:?}", ranges);
            }
            let within = start..start + length;
            prop_assert_eq!(ranges.contains(start), set.contains(&start));
            prop_assert_eq!(ranges.overlaps(&within), within.clone().any(|index| set.contains(&index)));
            prop_assert_eq!(ranges.first_missing(&within), within.clone().find(|index| !set.contains(index)));
            prop_assert_eq!(ranges.0.iter().map(|range| range.end - range.start).sum::<u64>(), set.len() as u64);
        }
    }
}
