//! Chunks of a payload and their proofs in its BLAKE3 tree (`docs/protocol.md`, Chunk proofs).
//!
//! The root is the plain BLAKE3 hash of the payload. A node of `n` bytes has a left child of the largest power-of-two
//! number of 1,024-byte units that is smaller than its own number. A chunk is a power of two from 16 KiB up, so chunk
//! `k` is always a whole subtree, and total and index alone determine the shape of its proof.

use std::ops::Range;

use blake3::hazmat::{ChainingValue, HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::types::Hash;

/// Bytes of one group: the smallest chunk, and one leaf of an [`outboard`](crate::outboard).
pub const GROUP: u64 = 16 * 1024;

/// Why a chunk is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// The chunk size is not a power of two of at least 1,024 bytes.
    #[error("{chunk_size} is not a chunk size")]
    ChunkSize {
        /// What was given.
        chunk_size: u64,
    },
    /// There is no such chunk.
    #[error("there are {total} chunks only")]
    Index {
        /// How many there are.
        total: u64,
    },
    /// There are too many or too few bytes.
    #[error("{actual} bytes instead of {expected}")]
    Length {
        /// What the plan says.
        expected: u64,
        /// What came.
        actual: u64,
    },
    /// The number of hashes in the proof does not match the tree's shape.
    #[error("a proof of {actual} hashes instead of {expected}")]
    ProofLength {
        /// The number for that shape.
        expected: usize,
        /// What came.
        actual: usize,
    },
    /// Bytes and proof do not lead to the root.
    #[error("bytes and proof lead to {computed}, not to the root {root}")]
    Root {
        /// The payload's root.
        root: Hash,
        /// The hash to which they lead.
        computed: Hash,
    },
}

/// `max(1, ceil(payload_bytes / chunk_size))`; 1 for a chunk size of 0, which no plan has.
#[must_use]
pub fn total_chunks(payload_bytes: u64, chunk_size: u64) -> u64 {
    if chunk_size == 0 { 1 } else { payload_bytes.div_ceil(chunk_size).max(1) }
}

/// The bytes of chunk `index`; empty beyond the last.
#[must_use]
pub fn chunk_range(payload_bytes: u64, chunk_size: u64, index: u64) -> Range<u64> {
    let start = index.saturating_mul(chunk_size).min(payload_bytes);
    start..start.saturating_add(chunk_size).min(payload_bytes)
}

/// The number of sibling hashes that prove chunk `index`; 0 if there is no such chunk.
#[must_use]
pub fn proof_len(payload_bytes: u64, chunk_size: u64, index: u64) -> usize {
    if !is_chunk_size(chunk_size) || index >= total_chunks(payload_bytes, chunk_size) {
        return 0;
    }
    path(payload_bytes, chunk_size, index).len()
}

/// Checks one chunk alone against the root.
///
/// # Errors
/// Anything that does not match; nothing of the chunk may be used then.
pub fn verify_chunk(
    root: &Hash,
    payload_bytes: u64,
    chunk_size: u64,
    index: u64,
    bytes: &[u8],
    proof: &[Hash],
) -> Result<(), ChunkError> {
    verify_chunk_groups(root, payload_bytes, chunk_size, index, bytes, None, proof).map(drop)
}

/// Checks one chunk alone against the root, and returns the chaining values of its groups that this computes. A
/// payload's outboard is made from them without hashing its bytes again. Empty for a payload of one group, and for
/// chunks smaller than a group. `hashed`: those values, if the bytes were already hashed.
pub(crate) fn verify_chunk_groups(
    root: &Hash,
    payload_bytes: u64,
    chunk_size: u64,
    index: u64,
    bytes: &[u8],
    hashed: Option<Vec<Hash>>,
    proof: &[Hash],
) -> Result<Vec<Hash>, ChunkError> {
    if !is_chunk_size(chunk_size) {
        return Err(ChunkError::ChunkSize { chunk_size });
    }
    let total = total_chunks(payload_bytes, chunk_size);
    if index >= total {
        return Err(ChunkError::Index { total });
    }
    let range = chunk_range(payload_bytes, chunk_size, index);
    let (expected, actual) = (range.end - range.start, bytes.len() as u64);
    if expected != actual {
        return Err(ChunkError::Length { expected, actual });
    }
    let path = path(payload_bytes, chunk_size, index);
    if path.len() != proof.len() {
        return Err(ChunkError::ProofLength { expected: path.len(), actual: proof.len() });
    }
    let whole_groups = chunk_size >= GROUP && payload_bytes > GROUP;
    let groups = match hashed {
        _ if !whole_groups => Vec::new(),
        Some(groups) if groups.len() as u64 == actual.div_ceil(GROUP) => groups,
        _ => self::groups(range.start, bytes),
    };
    let computed = match (path.split_last(), ascend(&groups, if path.is_empty() { 2 } else { 1 }).as_slice()) {
        (None, [left, right]) => merge_subtrees_root(&left.0, &right.0, Mode::Hash).into(),
        (None, _) => blake3::hash(bytes).into(),
        (Some((top, inner)), [value]) => climb(value.0, *top, inner, proof),
        (Some((top, inner)), _) => climb(subtree_value(range.start, bytes), *top, inner, proof),
    };
    if computed == *root { Ok(groups) } else { Err(ChunkError::Root { root: *root, computed }) }
}

/// The chaining values of the groups in `bytes`, which start at `start` in a payload of more than one group.
#[must_use]
pub fn groups(start: u64, bytes: &[u8]) -> Vec<Hash> {
    bytes
        .chunks(GROUP as usize)
        .zip((start..).step_by(GROUP as usize))
        .map(|(group, at)| Hash(subtree_value(at, group)))
        .collect()
}

/// The parents of neighbouring nodes; an odd last node is promoted.
pub(crate) fn pair_up(values: &[Hash]) -> Vec<Hash> {
    values
        .chunks(2)
        .map(|pair| match pair {
            [left, right] => Hash(merge_subtrees_non_root(&left.0, &right.0, Mode::Hash)),
            _ => pair[0],
        })
        .collect()
}

/// The chaining value of a subtree that is not the whole tree, from its bytes. `start` is its position in the payload.
fn subtree_value(start: u64, bytes: &[u8]) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(start);
    hasher.update(bytes);
    hasher.finalize_non_root()
}

pub(crate) fn is_chunk_size(chunk_size: u64) -> bool {
    chunk_size.is_power_of_two() && chunk_size >= blake3::CHUNK_LEN as u64
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// The side on which the node is at each level, leaf to root.
fn path(payload_bytes: u64, chunk_size: u64, index: u64) -> Vec<Side> {
    let mut node = 0..payload_bytes;
    let wanted = index * chunk_size;
    let mut sides = Vec::new();
    while node.end - node.start > chunk_size {
        let middle = node.start + left_subtree_len(node.end - node.start);
        if wanted < middle {
            sides.push(Side::Left);
            node.end = middle;
        } else {
            sides.push(Side::Right);
            node.start = middle;
        }
    }
    sides.reverse();
    sides
}

/// The largest power-of-two number of units that is smaller than the units of `len`, in bytes. `len` is above one unit.
/// (blake3's own function overflows near 2^64.)
fn left_subtree_len(len: u64) -> u64 {
    const UNIT: u64 = blake3::CHUNK_LEN as u64;
    1 << (len.div_ceil(UNIT) - 1).ilog2() << UNIT.ilog2()
}

/// Parents of parents of these groups, until at most `most` are left.
fn ascend(groups: &[Hash], most: usize) -> Vec<Hash> {
    let mut values = groups.to_vec();
    while values.len() > most {
        values = pair_up(&values);
    }
    values
}

/// The root above a subtree with the value `value`. `proof` has one hash for each of `inner`, and one for `top`.
fn climb(mut value: ChainingValue, top: Side, inner: &[Side], proof: &[Hash]) -> Hash {
    for (side, sibling) in inner.iter().zip(proof) {
        let (left, right) = ordered(*side, &value, &sibling.0);
        value = merge_subtrees_non_root(left, right, Mode::Hash);
    }
    let (left, right) = ordered(top, &value, &proof[inner.len()].0);
    merge_subtrees_root(left, right, Mode::Hash).into()
}

fn ordered<'a>(
    side: Side,
    value: &'a ChainingValue,
    sibling: &'a ChainingValue,
) -> (&'a ChainingValue, &'a ChainingValue) {
    match side {
        Side::Left => (value, sibling),
        Side::Right => (sibling, value),
    }
}
