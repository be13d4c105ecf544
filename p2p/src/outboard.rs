//! The interior hashes of a payload's BLAKE3 tree, and their places in the outboard file. No I/O: this module computes
//! positions and values.
//!
//! Level 0 has the chaining values of the 16 KiB groups. Each level above has the parents of the one below. The levels
//! follow each other, with 32 bytes for each node. An odd last node is promoted: it counts as a node of the level above
//! and is not stored again. The root is not stored. One outboard serves every chunk size. Because levels are
//! contiguous, a consumer can fill it in any order, from chunks and from verified proofs.

use std::io;

use blake3::hazmat::{Mode, merge_subtrees_non_root, merge_subtrees_root};

pub use crate::tree::{GROUP, groups};
use crate::{
    tree::{chunk_range, is_chunk_size, pair_up},
    types::Hash,
};

/// Bytes of one node in the file.
pub const NODE: u64 = 32;

/// The place of each node of one payload's tree in the outboard file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    payload_bytes: u64,
    levels: Vec<Level>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    /// Nodes of this level, including a promoted one.
    count: u64,
    /// Nodes that are stored on this level.
    stored: u64,
    /// Bytes before this level.
    start: u64,
}

impl Layout {
    /// The layout for a payload of this length.
    #[must_use]
    pub fn new(payload_bytes: u64) -> Self {
        let mut count = payload_bytes.div_ceil(GROUP).max(1);
        let mut stored = count;
        let mut start = 0;
        let mut levels = Vec::new();
        while count > 1 {
            levels.push(Level { count, stored, start });
            start += stored * NODE;
            stored = count / 2;
            count = count.div_ceil(2);
        }
        Self { payload_bytes, levels }
    }

    /// Bytes of the payload.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// Bytes of the outboard file.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.levels.last().map_or(0, |top| top.start + top.stored * NODE)
    }

    /// The number of stored levels: 0 if the payload is a single group.
    #[must_use]
    pub fn levels(&self) -> u32 {
        // At most 50: the payload has fewer than 2^64 bytes.
        self.levels.len() as u32
    }

    /// The place of a node; that of a promoted one is on the level below. `None` beyond the tree, and for the root.
    #[must_use]
    pub fn offset(&self, level: u32, index: u64) -> Option<u64> {
        let mut here = self.levels.get(level as usize)?;
        if index >= here.count {
            return None;
        }
        let (mut level, mut index) = (level as usize, index);
        while index >= here.stored {
            level = level.checked_sub(1)?;
            here = &self.levels[level];
            index *= 2;
        }
        Some(here.start + index * NODE)
    }

    fn own_offset(&self, level: usize, index: u64) -> Option<u64> {
        let here = self.levels.get(level)?;
        (index < here.stored).then(|| here.start + index * NODE)
    }
}

/// The level whose nodes are chunks of this size; `None` if this is not a chunk size.
fn chunk_level(chunk_size: u64) -> Option<u32> {
    (is_chunk_size(chunk_size) && chunk_size >= GROUP).then(|| (chunk_size / GROUP).ilog2())
}

/// Byte offsets of the siblings that prove a chunk, leaf to root.
#[must_use]
pub fn proof_nodes(layout: &Layout, chunk_size: u64, index: u64) -> Vec<u64> {
    let Some(level) = chunk_level(chunk_size) else { return Vec::new() };
    let mut index = index;
    let mut nodes = Vec::new();
    for (level, here) in layout.levels.iter().enumerate().skip(level as usize) {
        if index >= here.count {
            return Vec::new();
        }
        nodes.extend(layout.offset(level as u32, index ^ 1));
        index /= 2;
    }
    nodes
}

/// The places of the hashes of a verified proof, so that a partial outboard can be filled from them.
#[must_use]
pub fn proof_placement(layout: &Layout, chunk_size: u64, index: u64, proof: &[Hash]) -> Vec<(u64, Hash)> {
    proof_nodes(layout, chunk_size, index).into_iter().zip(proof.iter().copied()).collect()
}

/// Every stored node inside a chunk, including its top, computed from its bytes: byte offset and value. Empty if the
/// bytes do not have the length of that chunk.
#[must_use]
pub fn chunk_nodes(layout: &Layout, chunk_size: u64, index: u64, bytes: &[u8]) -> Vec<(u64, Hash)> {
    let range = chunk_range(layout.payload_bytes, chunk_size, index);
    if layout.levels.is_empty() || range.end - range.start != bytes.len() as u64 {
        return Vec::new();
    }
    nodes_of_groups(layout, chunk_size, index, groups(range.start, bytes))
}

/// The same, computed from the chaining values of the chunk's [`groups`]. Empty if their number is not that of such a
/// chunk.
#[must_use]
pub fn nodes_of_groups(layout: &Layout, chunk_size: u64, index: u64, groups: Vec<Hash>) -> Vec<(u64, Hash)> {
    let range = chunk_range(layout.payload_bytes, chunk_size, index);
    let Some(top) = chunk_level(chunk_size) else { return Vec::new() };
    let expected = (range.end - range.start).div_ceil(GROUP);
    if layout.levels.is_empty() || groups.is_empty() || groups.len() as u64 != expected {
        return Vec::new();
    }
    let mut values = groups;
    let mut nodes = Vec::with_capacity(values.len() * 2);
    let mut first = range.start / GROUP;
    for level in 0..=top.min(layout.levels() - 1) as usize {
        if level > 0 {
            values = pair_up(&values);
            first /= 2;
        }
        nodes.extend((first..).zip(&values).filter_map(|(i, value)| Some((layout.own_offset(level, i)?, *value))));
    }
    nodes
}

/// Fills the levels above `chunk_size` from the complete level of the chunks, and returns the root. `None` for a
/// payload of a single group, which has no outboard: its root is the hash of its bytes.
///
/// # Errors
/// The callbacks' own.
pub fn parents(
    layout: &Layout,
    chunk_size: u64,
    mut read: impl FnMut(u64) -> io::Result<Hash>,
    mut write: impl FnMut(u64, Hash) -> io::Result<()>,
) -> io::Result<Option<Hash>> {
    let first = chunk_level(chunk_size).ok_or_else(|| io::Error::other("not a chunk size"))?;
    for level in first + 1..layout.levels() {
        for index in 0..layout.levels[level as usize].stored {
            let left = read(stored_at(layout, level - 1, index * 2)?)?;
            let right = read(stored_at(layout, level - 1, index * 2 + 1)?)?;
            let parent = Hash(merge_subtrees_non_root(&left.0, &right.0, Mode::Hash));
            write(stored_at(layout, level, index)?, parent)?;
        }
    }
    root(layout, read)
}

/// The root from the two nodes below it. `None` for a payload of a single group.
///
/// # Errors
/// The callback's own.
pub fn root(layout: &Layout, mut read: impl FnMut(u64) -> io::Result<Hash>) -> io::Result<Option<Hash>> {
    let Some(top) = layout.levels().checked_sub(1) else { return Ok(None) };
    let left = read(stored_at(layout, top, 0)?)?;
    let right = read(stored_at(layout, top, 1)?)?;
    Ok(Some(merge_subtrees_root(&left.0, &right.0, Mode::Hash).into()))
}

fn stored_at(layout: &Layout, level: u32, index: u64) -> io::Result<u64> {
    layout.offset(level, index).ok_or_else(|| io::Error::other("a node outside the tree"))
}
