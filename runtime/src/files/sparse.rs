//! Writes files without allocating space for zeros, and reads files without reading holes.
//!
//! A file reads the same whether its zeros are written or are a hole. So nothing here changes a payload's bytes or
//! root.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::{FileExt as _, MetadataExt as _},
};

use rustix::fs::{FallocateFlags, SeekFrom};

/// Zeros are left out in whole blocks of this size, which most file systems allocate.
pub(crate) const BLOCK: usize = 4096;
/// The content of a hole.
pub(crate) static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Writes `bytes` at `at` over whatever is there, and frees whole blocks of zeros. The file grows as with a plain
/// write. Nobody else may change the file's length meanwhile.
///
/// # Errors
/// As a plain write; any part of the range may then have old or new bytes.
pub(crate) fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    write_at_with(file, bytes, at, |bytes, at| file.write_all_at(bytes, at))
}

/// The same; `write` writes the bytes that are not zeros.
///
/// # Errors
/// As [`write_at`].
pub(crate) fn write_at_with(
    file: &File,
    bytes: &[u8],
    at: u64,
    mut write: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut there = None;
    for (range, zeros) in runs(bytes, at) {
        let start = at + range.start as u64;
        if zeros {
            let end = start + range.len() as u64;
            let known = match there {
                Some(known) => known,
                None => file.metadata()?.len(),
            };
            clear(file, start..end.min(known))?;
            if end > known {
                file.set_len(end)?;
            }
            there = Some(known.max(end));
        } else {
            write(&bytes[range], start)?;
            // An earlier write may have made it longer.
            there = None;
        }
    }
    Ok(())
}

/// Writes `bytes` at `at`, where the file has nothing yet, and leaves blocks of zeros out. The caller sets the length
/// at the end. Returns the end of the last data, if there was any.
///
/// # Errors
/// As a plain write.
pub(crate) fn write_new_at(file: &File, bytes: &[u8], at: u64) -> io::Result<Option<u64>> {
    write_new_at_with(bytes, at, |bytes, at| file.write_all_at(bytes, at))
}

/// The same; `write` writes the bytes that are not zeros.
///
/// # Errors
/// As [`write_new_at`].
pub(crate) fn write_new_at_with(
    bytes: &[u8],
    at: u64,
    mut write: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<Option<u64>> {
    let mut end = None;
    for (range, _) in runs(bytes, at).filter(|(_, zeros)| !zeros) {
        write(&bytes[range.clone()], at + range.start as u64)?;
        end = Some(at + range.end as u64);
    }
    Ok(end)
}

/// The number of bytes that [`write_new_at`] writes.
pub(crate) fn data_len(bytes: &[u8], at: u64) -> u64 {
    runs(bytes, at).filter(|(_, zeros)| !zeros).map(|(range, _)| range.len() as u64).sum()
}

/// Makes a range within the file read as zeros.
fn clear(file: &File, range: Range<u64>) -> io::Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, flags, range.start, range.end - range.start) {
        Ok(()) => Ok(()),
        // Not every file system supports this; then zeros are written.
        Err(_) => range.clone().step_by(ZEROS.len()).try_for_each(|start| {
            let length = (range.end - start).min(ZEROS.len() as u64) as usize;
            file.write_all_at(&ZEROS[..length], start)
        }),
    }
}

/// Runs of neighbouring blocks that are all zeros or all data. Blocks are aligned in the file.
fn runs(bytes: &[u8], at: u64) -> impl Iterator<Item = (Range<usize>, bool)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let first = block(bytes.len(), start, at)?;
        let zeros = is_zero(&bytes[start..first]);
        let mut end = first;
        while let Some(next) = block(bytes.len(), end, at)
            && is_zero(&bytes[end..next]) == zeros
        {
            end = next;
        }
        let range = start..end;
        start = end;
        Some((range, zeros))
    })
}

/// The end of the block that begins at `start`.
fn block(length: usize, start: usize, at: u64) -> Option<usize> {
    let within = ((at + start as u64) % BLOCK as u64) as usize;
    (start < length).then(|| (start + BLOCK - within).min(length))
}

fn is_zero(bytes: &[u8]) -> bool {
    // In steps of 64 bytes without a branch: as fast as memory can be read.
    bytes.chunks(64).all(|chunk| chunk.iter().fold(0, |seen, byte| seen | byte) == 0)
}

/// What is at a position of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// This many bytes must be read.
    Data(u64),
    /// This many bytes read as zeros.
    Hole(u64),
}

/// Whether a file of this length has a block of the system (512 bytes) for each of its bytes, and so no holes.
pub(crate) fn is_full(length: u64, blocks: u64) -> bool {
    blocks.saturating_mul(512) >= length
}

/// Finds the holes of a file, with one system call for each hole. Moves the file's position.
#[derive(Debug)]
pub(crate) struct Map<'a> {
    file: &'a File,
    end: u64,
    /// The range that was found last.
    known: Range<u64>,
    hole: bool,
}

impl<'a> Map<'a> {
    /// For the first `end` bytes. If a file has as many blocks as bytes, it is not searched for holes.
    pub(crate) fn new(file: &'a File, end: u64) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self::with(file, end, is_full(meta.len(), meta.blocks())))
    }

    /// The same, where it is known already whether the file [is full](is_full).
    pub(crate) fn with(file: &'a File, end: u64, full: bool) -> Self {
        Self { file, end, known: 0..if full { end } else { 0 }, hole: false }
    }

    /// What is at `at`, which must be before the end.
    pub(crate) fn at(&mut self, at: u64) -> io::Result<Extent> {
        if !self.known.contains(&at) {
            self.ask(at)?;
        }
        let length = self.known.end - at;
        Ok(if self.hole { Extent::Hole(length) } else { Extent::Data(length) })
    }

    fn ask(&mut self, at: u64) -> io::Result<()> {
        let data = match rustix::fs::seek(self.file, SeekFrom::Data(at)) {
            Ok(data) => data.min(self.end),
            // Only a hole up to the end.
            Err(rustix::io::Errno::NXIO) => self.end,
            // The file system has no holes.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOTSUP) => {
                (self.known, self.hole) = (at..self.end, false);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if data > at {
            (self.known, self.hole) = (at..data, true);
            return Ok(());
        }
        let hole = rustix::fs::seek(self.file, SeekFrom::Hole(at))?.min(self.end);
        // The file shrank meanwhile; whoever reads it will notice.
        (self.known, self.hole) = (at..if hole > at { hole } else { self.end }, false);
        Ok(())
    }

    /// The most bytes that a copy without holes writes; the copy may be shifted against the blocks.
    pub(crate) fn data_bytes(&mut self) -> io::Result<u64> {
        let (mut at, mut bytes, mut pieces) = (0, 0u64, 0u64);
        while at < self.end {
            match self.at(at)? {
                Extent::Data(length) => (at, bytes, pieces) = (at + length, bytes + length, pieces + 1),
                Extent::Hole(length) => at += length,
            }
        }
        Ok(bytes.saturating_add(pieces * 2 * BLOCK as u64).min(self.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocated(file: &File) -> u64 {
        file.metadata().unwrap().blocks() * 512
    }

    fn content(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn zeros_take_no_room_and_read_the_same_whatever_was_there() {
        let mut bytes = vec![0; 1 << 20];
        bytes[5] = 1;
        bytes[700_000] = 2;
        for old in [0, 300_000, 1 << 20, (1 << 20) + 77] {
            for at in [0, 1, 4096, 9000] {
                let file = tempfile::tempfile().unwrap();
                let mut expected = vec![7; old];
                file.write_all_at(&expected, 0).unwrap();
                write_at(&file, &bytes, at as u64).unwrap();
                expected.resize(expected.len().max(at + bytes.len()), 0);
                expected[at..at + bytes.len()].copy_from_slice(&bytes);
                assert!(content(&file) == expected, "{old} {at}");
                assert!(allocated(&file) < 64 * 1024, "{old} {at}: {}", allocated(&file));
            }
        }
    }

    #[test]
    fn a_new_file_gets_its_data_only() {
        let file = tempfile::tempfile().unwrap();
        let mut bytes = vec![0; 100_000];
        bytes[50_000..50_100].fill(1);
        assert_eq!((data_len(&bytes, 0), write_new_at(&file, &bytes, 0).unwrap()), (4096, Some(53_248)));
        file.set_len(100_000).unwrap();
        assert_eq!(content(&file), bytes);
    }

    #[test]
    fn holes_are_found_and_their_data_is_counted() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10 << 20).unwrap();
        file.write_all_at(&[1; 8192], 4 << 20).unwrap();
        let mut map = Map::new(&file, 10 << 20).unwrap();
        assert_eq!(map.at(0).unwrap(), Extent::Hole(4 << 20));
        assert_eq!(map.at(4 << 20).unwrap(), Extent::Data(8192));
        assert_eq!(map.at((4 << 20) + 8192).unwrap(), Extent::Hole((6 << 20) - 8192));
        assert_eq!(map.data_bytes().unwrap(), 4 * 4096);
        let full = tempfile::tempfile().unwrap();
        full.write_all_at(&[1; 10_000], 0).unwrap();
        assert_eq!(Map::new(&full, 10_000).unwrap().at(10).unwrap(), Extent::Data(9990));
    }
}
