//! Which parts of a stored payload this process has verified, with one bit for each 16 KiB group.
//!
//! A group counts as verified if two things hold. Its bytes lead to the root. And the stored hashes inside the chunk
//! with which it was checked match the bytes. So a chunk of any size is served without hashing if all its groups count.

use std::{
    ops::Range,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rpp_p2p::outboard::GROUP;

#[derive(Debug, Default)]
pub(crate) struct Seen {
    whole: AtomicBool,
    /// Grows to the last group that was verified: 1 MiB for a payload of 128 GiB.
    groups: Mutex<Vec<u64>>,
}

impl Seen {
    /// Everything was verified, including the outboard.
    pub(super) fn set_whole(&self) {
        self.whole.store(true, Ordering::Release);
        *self.groups() = Vec::new();
    }

    /// Like [`Self::set_whole`], but only if all groups of a payload of this many bytes count, so that none was cleared
    /// while they were verified.
    pub(super) fn set_whole_if(&self, bytes: u64) {
        let mut groups = self.groups();
        if has(&groups, &(0..bytes)) {
            self.whole.store(true, Ordering::Release);
            *groups = Vec::new();
        }
    }

    /// Whether everything was verified at once.
    pub(super) fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }

    /// No group counts any more.
    pub(super) fn clear(&self) {
        let mut groups = self.groups();
        self.whole.store(false, Ordering::Release);
        groups.clear();
    }

    /// Whether all groups of these bytes count.
    pub(super) fn has(&self, bytes: &Range<u64>) -> bool {
        if self.whole.load(Ordering::Acquire) {
            return true;
        }
        has(&self.groups(), bytes)
    }

    /// All groups of these bytes count from now on.
    pub(super) fn add(&self, bytes: &Range<u64>) {
        let mut groups = self.groups();
        for index in indices(bytes) {
            let word = (index / 64) as usize;
            if groups.len() <= word {
                groups.resize(word + 1, 0);
            }
            groups[word] |= 1 << (index % 64);
        }
    }

    fn groups(&self) -> MutexGuard<'_, Vec<u64>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn has(groups: &[u64], bytes: &Range<u64>) -> bool {
    indices(bytes).all(|index| groups.get((index / 64) as usize).is_some_and(|word| word & (1 << (index % 64)) != 0))
}

/// The groups of these bytes; an empty payload has one.
fn indices(bytes: &Range<u64>) -> Range<u64> {
    let first = bytes.start / GROUP;
    first..bytes.end.div_ceil(GROUP).max(first + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_added_counts() {
        let seen = Seen::default();
        assert!(!seen.has(&(0..0)));
        seen.add(&(64 * GROUP..66 * GROUP));
        assert!(seen.has(&(64 * GROUP..66 * GROUP)) && seen.has(&(65 * GROUP..65 * GROUP + 7)));
        assert!(!seen.has(&(63 * GROUP..65 * GROUP)) && !seen.has(&(65 * GROUP..67 * GROUP)));
        seen.add(&(0..0));
        assert!(seen.has(&(0..0)) && !seen.has(&(0..GROUP + 1)));
        seen.set_whole_if(GROUP + 1);
        assert!(!seen.is_whole());
        seen.add(&(GROUP..2 * GROUP));
        seen.set_whole_if(GROUP + 1);
        assert!(seen.is_whole() && seen.has(&(0..1 << 60)));
        seen.clear();
        assert!(!seen.is_whole() && !seen.has(&(0..1)));
        seen.set_whole();
        assert!(seen.has(&(0..1 << 60)));
    }
}
