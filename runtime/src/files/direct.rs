//! Writes large pieces of a file with `O_DIRECT`, which bypasses the page cache.
//!
//! A payload is written once and seldom read soon after, so a copy in the page cache costs processor time (the copy,
//! and fresh pages) and evicts other data. With direct writes, a later flush has only the metadata left to write. The
//! page cache is used if the file system does not support direct writes, and for bytes that do not fill whole blocks.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use super::Dir;

/// Address, position in the file and length of a direct write are multiples of this. It suits every usual disk.
const ALIGNMENT: usize = 4096;
/// Below this, waiting for the disk costs more than the copy.
const LEAST: usize = 256 * 1024;
/// Bytes that are not aligned in memory are copied in pieces of this size.
const PIECE: usize = 1024 * 1024;

/// A second descriptor of a file, for direct writes.
#[derive(Debug)]
pub(crate) struct Direct {
    /// `None`: this file system does not support them.
    file: Option<File>,
    /// The buffer for bytes that are not aligned in memory; allocated when it is first needed.
    aligned: Vec<u8>,
}

impl Direct {
    /// Opens `name`, which must exist. If the file system cannot do it, all writes use the page cache.
    pub(crate) fn open(folder: &Dir, name: &str) -> Self {
        Self { file: folder.open_direct(name).ok(), aligned: Vec::new() }
    }

    /// Writes `bytes` at `at`. Bytes that cannot be written directly are written through `file`, which is the same
    /// file.
    ///
    /// # Errors
    /// As a plain write; any part of the range may then have old or new bytes.
    pub(crate) fn write_all_at(&mut self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        let whole = bytes.len() / ALIGNMENT * ALIGNMENT;
        let mut done = 0;
        if whole >= LEAST && at.is_multiple_of(ALIGNMENT as u64) {
            while done < whole && self.file.is_some() {
                done += self.write(&bytes[done..whole], at + done as u64)?;
            }
        }
        file.write_all_at(&bytes[done..], at + done as u64)
    }

    /// Writes whole blocks of `bytes` directly and returns their length. 0: this is not possible, now or ever.
    fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let Some(file) = &self.file else { return Ok(0) };
        let written = match bytes.as_ptr().addr().is_multiple_of(ALIGNMENT) {
            true => file.write_at(bytes, at),
            false => file.write_at(aligned(&mut self.aligned, &bytes[..bytes.len().min(PIECE)]), at),
        };
        match written {
            // If a write ended within a block, that block is written again.
            Ok(written) if written >= ALIGNMENT => Ok(written / ALIGNMENT * ALIGNMENT),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.write(bytes, at),
            Err(error) if !is_refusal(&error) => Err(error),
            Ok(_) | Err(_) => {
                self.file = None;
                Ok(0)
            }
        }
    }
}

/// The errors of file systems that do not support such a write.
fn is_refusal(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::INVAL, Errno::OPNOTSUPP].iter().any(|refusal| error.raw_os_error() == Some(refusal.raw_os_error()))
}

/// A copy of `bytes` at an aligned address.
fn aligned<'a>(buffer: &'a mut Vec<u8>, bytes: &[u8]) -> &'a [u8] {
    if buffer.is_empty() {
        buffer.resize(PIECE + ALIGNMENT, 0);
    }
    let pad = buffer.as_ptr().addr().next_multiple_of(ALIGNMENT) - buffer.as_ptr().addr();
    let copy = &mut buffer[pad..pad + bytes.len()];
    copy.copy_from_slice(bytes);
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If the folder for temporary files is in memory, all writes are plain ones.
    fn folder() -> (tempfile::TempDir, Dir) {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        (folder, dir)
    }

    fn content(length: usize) -> Vec<u8> {
        (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    #[test]
    fn every_byte_lands_in_its_place_whatever_its_alignment() {
        let (_folder, dir) = folder();
        let bytes = content(3 * PIECE + 5000);
        for (from, length, at) in [
            (0, 3 * PIECE, 0),
            (1, 3 * PIECE, 0),
            (0, LEAST, 4096),
            (7, LEAST + 1, 8192),
            (0, LEAST, 100),
            (0, LEAST - 1, 0),
            (3, 2 * PIECE + 4999, 12_288),
            (0, 0, 0),
        ] {
            let name = format!("{from}-{length}-{at}");
            let file = dir.open_write(&name).unwrap();
            let mut direct = Direct::open(&dir, &name);
            direct.write_all_at(&file, &bytes[from..from + length], at).unwrap();
            let mut there = std::fs::read(dir.path().join(&name)).unwrap();
            assert_eq!(there.len(), if length == 0 { 0 } else { at as usize + length }, "{name}");
            let written = there.split_off((at as usize).min(there.len()));
            assert!(written == bytes[from..from + length], "{name}");
        }
    }

    #[test]
    fn a_file_system_that_refuses_gets_plain_writes() {
        let (_folder, dir) = folder();
        let file = dir.open_write("file").unwrap();
        let mut without = Direct { file: None, aligned: Vec::new() };
        let bytes = content(LEAST);
        without.write_all_at(&file, &bytes, 0).unwrap();
        assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), bytes);
        // A descriptor for reading only: the write fails, and that must not count as missing support.
        let mut broken = Direct { file: Some(dir.open_read("file").unwrap()), aligned: Vec::new() };
        assert!(broken.write_all_at(&file, &bytes, 0).is_err());
    }
}
