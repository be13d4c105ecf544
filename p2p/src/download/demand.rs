//! What a download needs from its sources.

use std::{ops::Range, sync::Arc};

use crate::messages::Plan;

/// Everything that a link knows about its download.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    /// The accepted plan.
    pub(crate) plan: Option<Arc<Plan>>,
    /// Without a source the download makes no progress.
    pub(crate) is_needed: bool,
    /// The same snapshot may be planned again in smaller chunks.
    pub(crate) may_shrink: bool,
    /// The first chunk and the first update that are neither verified nor confirmed: a resume continues there.
    pub(crate) next: (u64, u64),
    /// What is wanted.
    pub(crate) want: Want,
    /// How many payload bytes of it may be in flight.
    pub(crate) budget: u64,
    /// How many received payload bytes wait to be written.
    pub(crate) unwritten: u64,
    /// What may be acknowledged.
    pub(crate) durable: Durable,
    /// Every byte is durable and was verified by this process.
    pub(crate) is_all_durable: bool,
    /// The authority over the present plan is being checked, or its place is being opened: another plan has to wait.
    pub(crate) is_in_use: bool,
    /// No verified chunk waits to be written, so the count in the present chunks may be given up.
    pub(crate) is_written: bool,
}

impl Demand {
    /// Without a plan, only the need for a source is known.
    pub(crate) fn without_plan() -> Self {
        Self {
            plan: None,
            is_needed: true,
            may_shrink: true,
            next: (0, 0),
            want: Want::default(),
            budget: 0,
            unwritten: 0,
            durable: Durable::default(),
            is_all_durable: false,
            is_in_use: false,
            is_written: true,
        }
    }
}

/// Ranges of chunks that ascend and do not touch, and one range of updates: those that are missing and may arrive now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Want {
    pub(crate) chunks: Vec<Range<u64>>,
    pub(crate) updates: Range<u64>,
}

impl Want {
    /// A want for these chunks, which ascend.
    pub(crate) fn of_chunks(single: impl Iterator<Item = u64>) -> Self {
        let mut chunks: Vec<Range<u64>> = Vec::new();
        for next in single.map(|index| index..index + 1) {
            match chunks.last_mut() {
                Some(range) if range.end == next.start => range.end = next.end,
                _ => chunks.push(next),
            }
        }
        Self { chunks, updates: 0..0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.updates.is_empty()
    }

    /// The first chunk.
    pub(crate) fn first_chunk(&self) -> Option<u64> {
        self.chunks.first().map(|range| range.start)
    }

    /// A chunk arrived: it is not wanted any more.
    pub(crate) fn without_chunk(&mut self, index: u64) {
        let Some(at) = self.chunks.iter().position(|range| range.contains(&index)) else { return };
        let range = self.chunks.remove(at);
        let parts = [range.start..index, index + 1..range.end];
        for part in parts.into_iter().rev().filter(|part| !part.is_empty()) {
            self.chunks.insert(at, part);
        }
    }

    /// An update arrived: it and those before it are not wanted any more.
    pub(crate) fn without_update(&mut self, index: u64) {
        self.updates.start = self.updates.start.max(index + 1);
        if self.updates.is_empty() {
            self.updates = 0..0;
        }
    }
}

/// How many chunks and updates, from the first on, are durable and recorded; `None` if this may not be reported now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durable {
    pub(crate) chunks: Option<u64>,
    pub(crate) updates: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_not_wanted_any_more_and_neighbours_are_one_range() {
        let mut want = Want::of_chunks([1, 2].into_iter().chain(4..9));
        assert_eq!((want.chunks.clone(), want.first_chunk()), (vec![1..3, 4..9], Some(1)));
        want.without_chunk(6);
        want.without_chunk(1);
        want.without_chunk(20);
        assert_eq!(want.chunks, [2..3, 4..6, 7..9]);
        want.without_chunk(2);
        assert_eq!(want.chunks, [4..6, 7..9]);
        want.updates = 3..5;
        want.without_update(3);
        assert_eq!(want.updates, 4..5);
        want.without_update(4);
        assert_eq!(want.updates, 0..0);
    }
}
