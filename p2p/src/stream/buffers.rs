//! Memory for the chunks of one stream, which is reused.
//!
//! A chunk's memory is allocated on one thread and freed on another, and large memory is returned to the system in
//! between. Without this pool, the system would provide each page of each chunk anew. Chunks are aligned as disks
//! require it, so they can be written from where they were received.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;

/// Alignment of a chunk's first byte.
const ALIGNMENT: usize = 4096;

type Free = Mutex<Vec<Vec<u8>>>;

/// Free memory. There is never more of it than was in use at one time, which the credit bounds. It is freed when the
/// stream ends.
#[derive(Debug, Default)]
pub(super) struct Buffers(Arc<Free>);

/// A chunk's bytes while they arrive.
#[derive(Debug)]
pub(super) struct Filling {
    memory: Memory,
    filled: usize,
}

/// The memory of a chunk; it returns to the pool when nothing uses it any more.
#[derive(Debug)]
struct Memory {
    bytes: Vec<u8>,
    range: Range<usize>,
    home: Weak<Free>,
}

impl Buffers {
    /// Memory for `length` bytes.
    pub(super) fn take(&self, length: usize) -> Filling {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes =
            free.filter(|bytes| bytes.len() >= length + ALIGNMENT).unwrap_or_else(|| vec![0; length + ALIGNMENT]);
        let pad = bytes.as_ptr().addr().next_multiple_of(ALIGNMENT) - bytes.as_ptr().addr();
        let range = pad..pad + length;
        Filling { memory: Memory { bytes, range, home: Arc::downgrade(&self.0) }, filled: 0 }
    }
}

impl Filling {
    pub(super) fn filled(&self) -> &[u8] {
        &self.memory.as_ref()[..self.filled]
    }

    pub(super) fn is_full(&self) -> bool {
        self.filled == self.memory.range.len()
    }

    /// The space for the next bytes.
    pub(super) fn space(&mut self) -> &mut [u8] {
        let start = self.memory.range.start + self.filled;
        &mut self.memory.bytes[start..self.memory.range.end]
    }

    /// This many bytes were written to the space.
    pub(super) fn advance(&mut self, count: usize) {
        self.filled = (self.filled + count).min(self.memory.range.len());
    }

    pub(super) fn into_bytes(self) -> Bytes {
        let filled = self.filled;
        Bytes::from_owner(self.memory).slice(..filled)
    }
}

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.range.clone()]
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            home.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(buffers: &Buffers, bytes: &[u8]) -> Bytes {
        let mut filling = buffers.take(bytes.len());
        filling.space().copy_from_slice(bytes);
        filling.advance(bytes.len());
        assert!(filling.is_full());
        filling.into_bytes()
    }

    #[test]
    fn memory_is_used_again_when_nobody_has_it_any_more() {
        let buffers = Buffers::default();
        let (one, two) = (chunk(&buffers, &[1; 9000]), chunk(&buffers, &[2; 9000]));
        let clone = one.clone();
        let place = one.as_ptr();
        drop(one);
        assert!(chunk(&buffers, &[3; 9000]).as_ptr() != place, "somebody still has it");
        assert_eq!(clone, [1; 9000][..]);
        assert_eq!(two, [2; 9000][..]);
        drop(clone);
        let shorter = chunk(&buffers, &[4; 100]);
        assert_eq!((shorter.as_ptr(), shorter.len()), (place, 100));
        drop(buffers);
        assert_eq!(shorter, [4; 100][..], "it outlives the stream");
    }

    #[test]
    fn what_is_too_small_is_not_used() {
        let buffers = Buffers::default();
        drop(chunk(&buffers, &[1; 10]));
        assert_eq!(chunk(&buffers, &[2; 20_000]), [2; 20_000][..]);
    }

    #[test]
    fn every_chunk_is_aligned() {
        let buffers = Buffers::default();
        let chunks: Vec<_> = [1, 4096, 100_000].iter().map(|length| chunk(&buffers, &vec![7; *length])).collect();
        assert!(chunks.iter().all(|chunk| chunk.as_ptr().addr().is_multiple_of(ALIGNMENT)));
        assert_eq!(chunk(&buffers, &[]).len(), 0);
    }
}
