//! `snapshots.json`.

use rpp_p2p::{Hash, PayloadFormat};
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;

/// The list of a mirror's snapshots, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotList {
    version: u32,
    /// The snapshots.
    pub snapshots: Vec<ListedSnapshot>,
}

/// One entry of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ListedSnapshot {
    pub root: Hash,
    pub height: u64,
    pub bytes: u64,
    pub format: PayloadFormat,
}

/// A mirror's list cannot be used. Its writer is at fault, or this program is older than the list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnreadableList {
    /// It is not a list. The error repeats no text of the server.
    #[error("its snapshots.json cannot be read")]
    Shape,
    /// It has another version.
    #[error("its snapshots.json is of version {found}, this program reads {VERSION}")]
    Version {
        /// The version that it names.
        found: u32,
    },
}

impl Default for SnapshotList {
    fn default() -> Self {
        Self { version: VERSION, snapshots: Vec::new() }
    }
}

impl SnapshotList {
    /// Parses a list.
    ///
    /// # Errors
    /// The bytes are not a list, or it has another version.
    pub fn read(bytes: &[u8]) -> Result<Self, UnreadableList> {
        let list: Self = serde_json::from_slice(bytes).map_err(|_| UnreadableList::Shape)?;
        match list.version {
            VERSION => Ok(list),
            found => Err(UnreadableList::Version { found }),
        }
    }

    pub(super) fn write(&self) -> Vec<u8> {
        // A list of numbers and hashes can always be written.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Adds snapshots, and keeps the `keep` newest (0: all). Returns the roots that are no longer listed.
    pub(super) fn add(&mut self, new: &[ListedSnapshot], keep: usize) -> Vec<Hash> {
        for listed in new {
            self.snapshots.retain(|old| (old.root, old.height) != (listed.root, listed.height));
            self.snapshots.push(*listed);
        }
        self.snapshots.sort_by(|a, b| b.height.cmp(&a.height).then(a.root.cmp(&b.root)));
        if keep == 0 || self.snapshots.len() <= keep {
            return Vec::new();
        }
        let gone = self.snapshots.split_off(keep);
        let mut roots: Vec<Hash> = gone.iter().map(|listed| listed.root).collect();
        roots.retain(|root| !self.snapshots.iter().any(|kept| kept.root == *root));
        roots.sort_unstable();
        roots.dedup();
        roots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(root: u8, height: u64) -> ListedSnapshot {
        ListedSnapshot { root: Hash([root; 32]), height, bytes: 1, format: PayloadFormat::Raw }
    }

    #[test]
    fn the_newest_come_first_and_the_oldest_go() {
        let mut list = SnapshotList::default();
        assert_eq!(list.add(&[listed(1, 10), listed(2, 30)], 0), []);
        // A root that is still listed at another height stays.
        assert_eq!(list.add(&[listed(3, 20), listed(2, 5), listed(2, 30)], 3), []);
        assert_eq!(list.snapshots, [listed(2, 30), listed(3, 20), listed(1, 10)]);
        assert_eq!(list.add(&[listed(4, 40)], 3), [Hash([1; 32])]);
        assert_eq!(SnapshotList::read(&list.write()), Ok(list));
        assert!(SnapshotList::read(br#"{"version":2,"snapshots":[]}"#).unwrap_err().to_string().contains("version 2"));
    }
}
