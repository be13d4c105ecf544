//! Access to the outboard file: writes hashes in runs, reads them through a window, and fills levels upwards.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _};

use rpp_p2p::{
    Hash,
    outboard::{self, GROUP, Layout, NODE},
};

const WINDOW: usize = 256 * 1024;

/// Writes nodes. Neighbouring nodes are written in one call.
pub(crate) fn write(file: &File, mut nodes: Vec<(u64, Hash)>) -> io::Result<()> {
    nodes.sort_unstable_by_key(|&(offset, _)| offset);
    nodes.dedup_by_key(|&mut (offset, _)| offset);
    let mut run = Vec::new();
    let mut start = 0;
    for (offset, hash) in nodes {
        if offset != start + run.len() as u64 {
            file.write_all_at(&run, start)?;
            run.clear();
            start = offset;
        }
        run.extend_from_slice(&hash.0);
    }
    file.write_all_at(&run, start)
}

/// Reads the nodes at these offsets.
pub(crate) fn read(file: &File, offsets: &[u64]) -> io::Result<Vec<Hash>> {
    offsets
        .iter()
        .map(|&offset| {
            let mut hash = [0; NODE as usize];
            file.read_exact_at(&mut hash, offset)?;
            Ok(Hash(hash))
        })
        .collect()
}

/// The first of these groups whose hash is in the file. A hash that was never written reads as zeros.
pub(crate) fn first_leaf(file: &File, groups: Range<u64>) -> io::Result<Option<u64>> {
    let mut buffer = vec![0; WINDOW];
    let mut group = groups.start;
    while group < groups.end {
        let count = (groups.end - group).min(WINDOW as u64 / NODE);
        let bytes = &mut buffer[..(count * NODE) as usize];
        file.read_exact_at(bytes, group * NODE)?;
        let first = bytes.chunks_exact(NODE as usize).position(|hash| hash.iter().any(|byte| *byte != 0));
        if let Some(first) = first {
            return Ok(Some(group + first as u64));
        }
        group += count;
    }
    Ok(None)
}

/// The nodes among these that differ from the file.
pub(crate) fn differing(file: &File, mut nodes: Vec<(u64, Hash)>) -> io::Result<Vec<(u64, Hash)>> {
    nodes.sort_unstable_by_key(|&(offset, _)| offset);
    let mut lost = Vec::new();
    // Neighbouring nodes are read together.
    for run in nodes.chunk_by(|one, next| one.0 + NODE == next.0) {
        let mut bytes = vec![0; run.len() * NODE as usize];
        file.read_exact_at(&mut bytes, run[0].0)?;
        let there = bytes.chunks_exact(NODE as usize);
        lost.extend(run.iter().zip(there).filter(|((_, hash), there)| hash.0 != **there).map(|(node, _)| *node));
    }
    Ok(lost)
}

/// The chaining values of the groups in `bytes`, which start at `start` in the payload; they form level 0.
pub(crate) fn groups(start: u64, bytes: &[u8]) -> Vec<u8> {
    outboard::groups(start, bytes).iter().flat_map(|value| value.0).collect()
}

/// Fills the levels above the groups and returns the root; `None` for a payload of a single group.
pub(crate) fn fill(file: &File, layout: &Layout) -> io::Result<Option<Hash>> {
    let window = std::cell::RefCell::new(Window { file, start: 0, bytes: Vec::new(), run: Vec::new(), run_start: 0 });
    let root = outboard::parents(
        layout,
        GROUP,
        |offset| window.borrow_mut().read(offset),
        |offset, hash| window.borrow_mut().write(offset, hash),
    )?;
    window.into_inner().flush()?;
    Ok(root)
}

/// Computes the whole outboard and the root from the payload.
pub(crate) fn rebuild(payload: &File, file: &File, layout: &Layout) -> io::Result<Hash> {
    const PIECE: usize = 4 * 1024 * 1024;
    if layout.levels() == 0 {
        return single(payload, layout.payload_bytes());
    }
    file.set_len(layout.file_len())?;
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < layout.payload_bytes() {
        let want = PIECE.min(usize::try_from(layout.payload_bytes() - at).unwrap_or(PIECE));
        payload.read_exact_at(&mut buffer[..want], at)?;
        file.write_all_at(&groups(at, &buffer[..want]), at / GROUP * NODE)?;
        at += want as u64;
    }
    fill(file, layout)?.ok_or_else(|| io::Error::other("a tree without a root"))
}

/// The root of a payload of a single group.
pub(crate) fn single(payload: &File, length: u64) -> io::Result<Hash> {
    let mut bytes = vec![0; length.min(GROUP) as usize];
    payload.read_exact_at(&mut bytes, 0)?;
    Ok(blake3::hash(&bytes).into())
}

/// Reads ahead and writes behind. Both proceed upwards through the file, so few calls reach it.
struct Window<'a> {
    file: &'a File,
    start: u64,
    bytes: Vec<u8>,
    run: Vec<u8>,
    run_start: u64,
}

impl Window<'_> {
    fn read(&mut self, offset: u64) -> io::Result<Hash> {
        if offset < self.start || offset + NODE > self.start + self.bytes.len() as u64 {
            self.load(offset)?;
        }
        let at = (offset - self.start) as usize;
        let bytes = self.bytes.get(at..at + NODE as usize).ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut hash = [0; NODE as usize];
        hash.copy_from_slice(bytes);
        Ok(Hash(hash))
    }

    fn load(&mut self, offset: u64) -> io::Result<()> {
        self.flush()?;
        self.bytes.resize(WINDOW, 0);
        let mut filled = 0;
        while filled < WINDOW {
            match self.file.read_at(&mut self.bytes[filled..], offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        self.bytes.truncate(filled);
        self.start = offset;
        Ok(())
    }

    fn write(&mut self, offset: u64, hash: Hash) -> io::Result<()> {
        if offset != self.run_start + self.run.len() as u64 || self.run.len() >= WINDOW {
            self.flush()?;
            self.run_start = offset;
        }
        self.run.extend_from_slice(&hash.0);
        // The window may contain nodes beyond its level.
        if offset >= self.start && offset + NODE <= self.start + self.bytes.len() as u64 {
            let at = (offset - self.start) as usize;
            self.bytes[at..at + NODE as usize].copy_from_slice(&hash.0);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.run, self.run_start)?;
        self.run_start += self.run.len() as u64;
        self.run.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rebuilt_outboard_has_the_root_of_the_bytes() {
        for length in [0, 1, 16_384, 16_385, 32_768, 49_153, 5 * 1024 * 1024 + 17, 9_000_000] {
            let bytes: Vec<u8> = (0..length).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            let payload = tempfile::tempfile().unwrap();
            payload.write_all_at(&bytes, 0).unwrap();
            let file = tempfile::tempfile().unwrap();
            let layout = Layout::new(u64::from(length));
            let root = rebuild(&payload, &file, &layout).unwrap();
            assert_eq!(root, blake3::hash(&bytes).into(), "{length}");
            assert_eq!(file.metadata().unwrap().len(), layout.file_len());
        }
    }

    #[test]
    fn nodes_are_written_where_they_belong() {
        let file = tempfile::tempfile().unwrap();
        let nodes: Vec<(u64, Hash)> = [5, 1, 2, 9, 0].map(|i: u8| (u64::from(i) * NODE, Hash([i; 32]))).to_vec();
        write(&file, nodes.clone()).unwrap();
        for (offset, hash) in nodes {
            assert_eq!(read(&file, &[offset]).unwrap(), [hash]);
        }
    }
}
