//! Which parts of a payload are present: a set of its groups of 16 KiB.
//!
//! The set has groups, not chunks, so it stays valid for another plan of the same payload with other chunks. A chunk is
//! present when all its groups are. An empty payload is one group of no bytes.
//!
//! # The file
//!
//! `partial/<root>/have`, integers little-endian:
//!
//! ```text
//! "rpp-have"  version u8 (1)  root (32 bytes)  payload_bytes u64  number of ranges u32
//! for each range, ascending: groups that are missing before it, groups in it (LEB128 each, the second at least 1)
//! BLAKE3 hash of everything before (32 bytes)
//! ```

use std::ops::Range;

use crate::{
    limits::MAX_HAVE_RANGES,
    ranges::IndexRanges,
    tree::{GROUP, chunk_range, total_chunks},
    types::Hash,
};

const MAGIC: &[u8; 8] = b"rpp-have";
const VERSION: u8 = 1;
const HEAD: usize = MAGIC.len() + 1 + 32 + 8 + 4;
const CHECKSUM: usize = 32;
/// The most bytes of a LEB128 number of 64 bits.
const MAX_NUMBER: usize = 10;

/// The largest file that [`Have::encode`] makes, in bytes.
pub const MAX_HAVE_BYTES: usize = HEAD + MAX_HAVE_RANGES * 2 * MAX_NUMBER + CHECKSUM;

/// The groups of one payload that are present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Have {
    payload_bytes: u64,
    groups: IndexRanges,
}

/// Why a file of this format cannot be used. The bytes that it names are found again by hashing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HaveError {
    /// It is cut short, too long, or of another kind or version.
    #[error("it is cut short, or not what this program wrote")]
    Shape,
    /// It was changed after it was written.
    #[error("its checksum does not match")]
    Checksum,
    /// It belongs to another payload.
    #[error("it is of another payload")]
    Payload,
}

impl Have {
    /// Nothing of a payload of this length.
    #[must_use]
    pub fn nothing(payload_bytes: u64) -> Self {
        Self { payload_bytes, groups: IndexRanges::default() }
    }

    /// All of it.
    #[must_use]
    pub fn everything(payload_bytes: u64) -> Self {
        Self { payload_bytes, groups: IndexRanges::of(0..total_chunks(payload_bytes, GROUP)) }
    }

    /// Whole groups of the first `bytes` bytes; the last group also when it is shorter.
    #[must_use]
    pub fn prefix(payload_bytes: u64, bytes: u64) -> Self {
        let mut have = Self::nothing(payload_bytes);
        have.insert_bytes(0..bytes);
        have
    }

    /// The length of the payload in bytes.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// Adds the groups that are wholly within these bytes. An empty payload has one group, which is within any range.
    pub fn insert_bytes(&mut self, bytes: Range<u64>) {
        self.groups.insert(self.groups_in(bytes));
    }

    /// Removes the groups that these bytes touch.
    pub fn remove_bytes(&mut self, bytes: Range<u64>) {
        if !bytes.is_empty() {
            self.groups.remove(bytes.start / GROUP..bytes.end.div_ceil(GROUP));
        }
    }

    fn groups_in(&self, bytes: Range<u64>) -> Range<u64> {
        let end = if bytes.end >= self.payload_bytes { self.total() } else { bytes.end / GROUP };
        bytes.start.div_ceil(GROUP)..end
    }

    fn total(&self) -> u64 {
        total_chunks(self.payload_bytes, GROUP)
    }

    /// Adds these chunks.
    pub fn insert_chunks(&mut self, chunk_size: u64, chunks: Range<u64>) {
        if !chunks.is_empty() {
            self.groups.insert(self.groups_of(chunk_size, chunks));
        }
    }

    fn groups_of(&self, chunk_size: u64, chunks: Range<u64>) -> Range<u64> {
        let per_chunk = (chunk_size / GROUP).max(1);
        let at = |chunk: u64| chunk.saturating_mul(per_chunk).min(self.total());
        at(chunks.start)..at(chunks.end)
    }

    /// Whether a chunk is wholly present; `false` for a chunk that does not exist.
    #[must_use]
    pub fn has_chunk(&self, chunk_size: u64, index: u64) -> bool {
        let groups = self.groups_of(chunk_size, index..index.saturating_add(1));
        !groups.is_empty() && self.groups.covers(&groups)
    }

    /// The chunks that are wholly present, as ascending ranges that do not touch.
    pub fn chunks(&self, chunk_size: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        let per_chunk = (chunk_size / GROUP).max(1);
        let (total, chunks) = (self.total(), total_chunks(self.payload_bytes, chunk_size));
        self.groups.iter().filter_map(move |groups| {
            let end = if groups.end == total { chunks } else { groups.end / per_chunk };
            let range = groups.start.div_ceil(per_chunk)..end;
            (!range.is_empty()).then_some(range)
        })
    }

    /// The bytes that are present, as ascending ranges that do not touch. Empty for an empty payload.
    pub fn byte_ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.groups.iter().map(|groups| self.bytes_of(&groups)).filter(|range| !range.is_empty())
    }

    fn bytes_of(&self, groups: &Range<u64>) -> Range<u64> {
        let end = groups.end.saturating_sub(1);
        chunk_range(self.payload_bytes, GROUP, groups.start).start..chunk_range(self.payload_bytes, GROUP, end).end
    }

    /// How many bytes are present.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.byte_ranges().map(|range| range.end - range.start).sum()
    }

    /// How many bytes are present from the first on without a gap.
    #[must_use]
    pub fn prefix_bytes(&self) -> u64 {
        self.groups.prefix().saturating_mul(GROUP).min(self.payload_bytes)
    }

    /// How many chunks are present from the first on without a gap.
    #[must_use]
    pub fn prefix_chunks(&self, chunk_size: u64) -> u64 {
        self.chunks(chunk_size).next().filter(|first| first.start == 0).map_or(0, |first| first.end)
    }

    /// The bytes that are missing, as ascending ranges that do not touch.
    #[must_use]
    pub fn missing_bytes(&self) -> Vec<Range<u64>> {
        let gaps = self.groups.gaps(0..self.total());
        gaps.iter().map(|groups| self.bytes_of(groups)).filter(|range| !range.is_empty()).collect()
    }

    /// Whether no group is present.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether every group is present.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.groups.covers(&(0..self.total()))
    }

    /// Adds the groups of `other`, which is of the same payload.
    pub fn add(&mut self, other: &Self) {
        self.groups.add(&other.groups);
    }

    /// Removes the groups of `other`.
    pub fn subtract(&mut self, other: &Self) {
        self.groups.subtract(&other.groups);
    }

    /// The groups that both have.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        Self { payload_bytes: self.payload_bytes, groups: self.groups.common(&other.groups) }
    }

    /// Whether `other` has all groups of this set.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.groups.is_within(&other.groups)
    }

    /// The number of ranges in the set.
    #[must_use]
    pub fn pieces(&self) -> usize {
        self.groups.pieces()
    }

    /// The content of the file. If there are more than [`MAX_HAVE_RANGES`] ranges, only the first ones are written; the
    /// others are found by hashing.
    #[must_use]
    pub fn encode(&self, root: &Hash) -> Vec<u8> {
        let count = self.groups.pieces().min(MAX_HAVE_RANGES);
        let mut bytes = Vec::with_capacity(HEAD + count * 4 + CHECKSUM);
        bytes.extend_from_slice(MAGIC);
        bytes.push(VERSION);
        bytes.extend_from_slice(&root.0);
        bytes.extend_from_slice(&self.payload_bytes.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        let mut at = 0;
        for groups in self.groups.iter().take(count) {
            put_number(&mut bytes, groups.start - at);
            put_number(&mut bytes, groups.end - groups.start);
            at = groups.end;
        }
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        bytes
    }

    /// Reads the file of this payload.
    ///
    /// # Errors
    /// It is damaged, or belongs to another payload.
    pub fn decode(root: &Hash, payload_bytes: u64, bytes: &[u8]) -> Result<Self, HaveError> {
        let body = bytes.len().checked_sub(CHECKSUM).ok_or(HaveError::Shape)?;
        if bytes.len() > MAX_HAVE_BYTES {
            return Err(HaveError::Shape);
        }
        let (body, checksum) = bytes.split_at(body);
        if blake3::hash(body).as_bytes().as_slice() != checksum {
            return Err(HaveError::Checksum);
        }
        let mut rest = body.strip_prefix(MAGIC).ok_or(HaveError::Shape)?;
        if take::<1>(&mut rest)? != [VERSION] {
            return Err(HaveError::Shape);
        }
        if take(&mut rest)? != root.0 || u64::from_le_bytes(take(&mut rest)?) != payload_bytes {
            return Err(HaveError::Payload);
        }
        let count = u32::from_le_bytes(take(&mut rest)?) as usize;
        let mut have = Self::nothing(payload_bytes);
        let (total, mut at) = (have.total(), 0_u64);
        for _ in 0..count {
            let start = at.checked_add(take_number(&mut rest)?).ok_or(HaveError::Shape)?;
            let end = start.checked_add(take_number(&mut rest)?).ok_or(HaveError::Shape)?;
            if end == start || end > total {
                return Err(HaveError::Shape);
            }
            have.groups.insert(start..end);
            at = end;
        }
        let is_whole = rest.is_empty() && count <= MAX_HAVE_RANGES && have.pieces() == count;
        if is_whole { Ok(have) } else { Err(HaveError::Shape) }
    }
}

fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_number(rest: &mut &[u8]) -> Result<u64, HaveError> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte] = take(rest)?;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part {
            return Err(HaveError::Shape);
        }
        number |= part << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(HaveError::Shape)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], HaveError> {
    let (taken, left) = rest.split_first_chunk::<N>().ok_or(HaveError::Shape)?;
    *rest = left;
    Ok(*taken)
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)] // ranges are what is compared
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOT: Hash = Hash([7; 32]);

    #[test]
    fn a_chunk_is_had_when_all_its_groups_are_whatever_its_size() {
        // Five groups, the last one short.
        let payload = 4 * GROUP + 5;
        let mut have = Have::nothing(payload);
        have.insert_chunks(2 * GROUP, 1..2);
        assert!(have.has_chunk(GROUP, 2) && have.has_chunk(2 * GROUP, 1) && !have.has_chunk(4 * GROUP, 0));
        have.insert_chunks(4 * GROUP, 1..2);
        assert_eq!(have.bytes(), 2 * GROUP + 5);
        assert_eq!(have.byte_ranges().collect::<Vec<_>>(), [2 * GROUP..payload]);
        assert_eq!(have.chunks(GROUP).collect::<Vec<_>>(), [2..5]);
        assert_eq!(have.chunks(4 * GROUP).collect::<Vec<_>>(), [1..2]);
        assert_eq!(have.chunks(8 * GROUP).count(), 0);
        assert_eq!((have.prefix_bytes(), have.missing_bytes()), (0, vec![0..2 * GROUP]));
        assert!(!have.has_chunk(GROUP, 5), "there is no such chunk");
        have.insert_bytes(0..2 * GROUP);
        assert!(have.is_all() && have.prefix_chunks(8 * GROUP) == 1 && have.prefix_bytes() == payload);
        have.remove_bytes(GROUP + 1..GROUP + 2);
        assert_eq!((have.prefix_bytes(), have.prefix_chunks(2 * GROUP)), (GROUP, 0));
    }

    #[test]
    fn an_empty_payload_is_one_chunk_of_no_bytes() {
        let mut have = Have::nothing(0);
        assert!(!have.is_all() && !have.has_chunk(GROUP, 0));
        have.insert_chunks(GROUP, 0..1);
        assert!(have.is_all() && have.has_chunk(GROUP, 0) && have.bytes() == 0);
        assert_eq!(have, Have::prefix(0, 0));
        assert_eq!(Have::decode(&ROOT, 0, &have.encode(&ROOT)), Ok(have));
    }

    #[test]
    fn a_part_of_a_group_does_not_count() {
        assert_eq!(Have::prefix(3 * GROUP, 2 * GROUP - 1).bytes(), GROUP);
        assert_eq!(Have::prefix(3 * GROUP - 1, 3 * GROUP - 1).bytes(), 3 * GROUP - 1);
    }

    #[test]
    fn every_flip_and_every_cut_of_the_file_is_noticed() {
        let mut have = Have::nothing(1 << 40);
        for start in [0, 5, 77_777, 1 << 20] {
            have.groups.insert(start..start + 3);
        }
        let bytes = have.encode(&ROOT);
        assert_eq!(Have::decode(&ROOT, 1 << 40, &bytes), Ok(have));
        assert_eq!(Have::decode(&Hash([8; 32]), 1 << 40, &bytes), Err(HaveError::Payload));
        assert_eq!(Have::decode(&ROOT, 1 << 39, &bytes), Err(HaveError::Payload));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Have::decode(&ROOT, 1 << 40, &bad).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Have::decode(&ROOT, 1 << 40, &bytes[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn of_too_many_ranges_the_first_are_kept_and_no_file_has_more() {
        let payload = GROUP * 2 * (MAX_HAVE_RANGES as u64 + 2);
        let mut have = Have::nothing(payload);
        for range in 0..=MAX_HAVE_RANGES as u64 {
            have.groups.insert(2 * range..2 * range + 1);
        }
        let kept = Have::decode(&ROOT, payload, &have.encode(&ROOT)).unwrap();
        assert!(kept.pieces() == MAX_HAVE_RANGES && kept.is_within(&have) && have.has_chunk(GROUP, 0));
        assert!(have.encode(&ROOT).len() <= MAX_HAVE_BYTES);
        let mut more = have.encode(&ROOT);
        more.truncate(more.len() - CHECKSUM);
        more[HEAD - 4..HEAD].copy_from_slice(&(MAX_HAVE_RANGES as u32 + 1).to_le_bytes());
        more.extend([1, 1]);
        let checksum = blake3::hash(&more);
        more.extend_from_slice(checksum.as_bytes());
        assert_eq!(Have::decode(&ROOT, payload, &more), Err(HaveError::Shape));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            // With a valid checksum, so that the reader gets to the ranges.
            let mut file = bytes;
            let checksum = blake3::hash(&file);
            file.extend_from_slice(checksum.as_bytes());
            let _ = Have::decode(&ROOT, 1 << 30, &file);
        }

        #[test]
        fn what_is_written_is_read(ranges in prop::collection::vec((0_u64..1 << 40, 1_u64..1 << 20), 0..50)) {
            let payload = 1 << 60;
            let mut have = Have::nothing(payload);
            ranges.into_iter().for_each(|(start, length)| have.groups.insert(start..start + length));
            prop_assert_eq!(Have::decode(&ROOT, payload, &have.encode(&ROOT)), Ok(have));
        }
    }
}
