//! One finished payload.

use std::{
    fs::{File, TryLockError},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;
use rpp_p2p::{
    Hash, PayloadFormat, limits, outboard,
    outboard::Layout,
    tree::{chunk_range, total_chunks},
};

use super::{
    error::StoreError,
    manifest::{MANIFEST, MAX_DOCUMENT, Manifest, OUTBOARD, Offer, PAYLOAD},
    nodes,
};
use crate::files::{Dir, sealed};

/// A finished payload and what is known of it. Reading opens its files; while somebody holds a [`Payload`] they stay
/// open, so that a session goes on even when the payload is removed.
#[derive(Debug)]
pub struct Stored {
    manifest: Manifest,
    offers: Vec<Arc<Offer>>,
    path: PathBuf,
    pub(crate) mark: Mark,
    open: Mutex<Weak<Payload>>,
}

/// Tells whether a manifest is still the one that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    inode: u64,
    size: i64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl Mark {
    pub(crate) fn of(folder: &Dir) -> io::Result<Option<Self>> {
        Ok(folder.stat(MANIFEST)?.map(|stat| Self {
            inode: stat.st_ino,
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }))
    }
}

impl Stored {
    /// Reads `store/<root>/` and checks that it is complete. Says what is damaged otherwise.
    pub(crate) fn load(folder: &Dir, root: &Hash) -> Result<Self, String> {
        let mark = Mark::of(folder).map_err(|error| error.to_string())?.ok_or("it has no manifest.json")?;
        let manifest = read_manifest(folder, root)?;
        let layout = Layout::new(manifest.bytes);
        for (name, expected) in [(PAYLOAD, manifest.bytes), (OUTBOARD, layout.file_len())] {
            let file = folder.open_read(name).map_err(|error| format!("{name}: {error}"))?;
            let actual = file.metadata().map_err(|error| format!("{name}: {error}"))?.size();
            if actual != expected {
                return Err(format!("{name} has {actual} bytes instead of {expected}"));
            }
        }
        let offers = manifest.offers.iter().cloned().map(Arc::new).collect();
        Ok(Self { manifest, offers, path: folder.path().to_owned(), mark, open: Mutex::default() })
    }

    /// The payload's BLAKE3 hash.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.manifest.root
    }

    /// The payload's length.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.manifest.bytes
    }

    /// A hint for the operator.
    #[must_use]
    pub fn format(&self) -> PayloadFormat {
        self.manifest.format
    }

    /// The snapshots that it is.
    #[must_use]
    pub fn offers(&self) -> &[Arc<Offer>] {
        &self.offers
    }

    /// Where the payload lies.
    #[must_use]
    pub fn payload_path(&self) -> PathBuf {
        self.path.join(PAYLOAD)
    }

    pub(crate) fn folder_path(&self) -> &Path {
        &self.path
    }

    /// The open payload; shared by everybody who reads it now.
    ///
    /// # Errors
    /// When its files cannot be opened.
    pub fn open(&self) -> Result<Arc<Payload>, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(payload) = open.upgrade() {
            return Ok(payload);
        }
        let payload = Dir::open(&self.path)
            .and_then(|folder| Payload::open(&folder, self.root(), self.bytes()))
            .map_err(|source| StoreError::Io { doing: "open", path: self.payload_path(), source })?;
        let payload = Arc::new(payload);
        *open = Arc::downgrade(&payload);
        Ok(payload)
    }

    /// One chunk with its proof. Opens the files anew unless somebody holds a [`Payload`].
    ///
    /// # Errors
    /// When there is no such chunk, or reading fails.
    pub fn read_chunk(&self, index: u64, chunk_size: u64) -> Result<(Bytes, Vec<Hash>), StoreError> {
        self.open()?.read_chunk(index, chunk_size)
    }
}

/// An open payload. While it lives, the payload counts as served: `remove` refuses it, also in another process.
#[derive(Debug)]
pub struct Payload {
    root: Hash,
    layout: Layout,
    payload: File,
    outboard: File,
    path: PathBuf,
}

impl Payload {
    fn open(folder: &Dir, root: Hash, bytes: u64) -> io::Result<Self> {
        let payload = folder.open_read(PAYLOAD)?;
        // Whoever removes it locks it alone, and only for a moment.
        payload.lock_shared()?;
        let outboard = folder.open_read(OUTBOARD)?;
        Ok(Self { root, layout: Layout::new(bytes), payload, outboard, path: folder.path().join(PAYLOAD) })
    }

    /// Its BLAKE3 hash.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.root
    }

    /// One chunk with its proof, for any chunk size that the protocol knows.
    ///
    /// # Errors
    /// When there is no such chunk, or reading fails.
    pub fn read_chunk(&self, index: u64, chunk_size: u64) -> Result<(Bytes, Vec<Hash>), StoreError> {
        if !chunk_size.is_power_of_two() || !(limits::MIN_CHUNK_SIZE..=limits::MAX_CHUNK_SIZE).contains(&chunk_size) {
            return Err(StoreError::unfit(format!("{chunk_size} is not a chunk size")));
        }
        let total = total_chunks(self.layout.payload_bytes(), chunk_size);
        if index >= total {
            return Err(StoreError::unfit(format!("there is no chunk {index}: the payload has {total}")));
        }
        let range = chunk_range(self.layout.payload_bytes(), chunk_size, index);
        let failed = |source| StoreError::Io { doing: "read", path: self.path.clone(), source };
        let bytes = read_at(&self.payload, range.start, (range.end - range.start) as usize).map_err(failed)?;
        let proof = nodes::read(&self.outboard, &outboard::proof_nodes(&self.layout, chunk_size, index));
        Ok((bytes.into(), proof.map_err(failed)?))
    }

    /// The payload's file. Its position is shared: read with `read_at`, or one reader at a time.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn reader(&self) -> io::Result<File> {
        self.payload.try_clone()
    }

    /// The outboard.
    pub(crate) fn outboard(&self) -> io::Result<File> {
        self.outboard.try_clone()
    }
}

/// Reads exactly `length` bytes, without filling the buffer with zeros first.
pub(crate) fn read_at(file: &File, start: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = start + bytes.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocator may have given more room than was asked for.
    bytes.truncate(length);
    Ok(bytes)
}

pub(crate) fn read_manifest(folder: &Dir, root: &Hash) -> Result<Manifest, String> {
    let bytes = folder.read(MANIFEST, MAX_DOCUMENT).map_err(|error| format!("manifest.json: {error}"))?;
    let manifest: Manifest = sealed::open(&bytes).map_err(|error| match std::error::Error::source(&error) {
        Some(source) => format!("manifest.json: {error}: {source}"),
        None => format!("manifest.json: {error}"),
    })?;
    manifest.check(root).map_err(|reason| format!("manifest.json: {reason}"))?;
    Ok(manifest)
}

/// The payload locked against being opened for serving; `None` when somebody, in whatever process, has it open.
pub(crate) fn lock_alone(folder: &Dir) -> io::Result<Option<Alone>> {
    let payload = match folder.open_read(PAYLOAD) {
        Ok(payload) => payload,
        // Damaged: nobody can serve it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Alone(None))),
        Err(error) => return Err(error),
    };
    match payload.try_lock() {
        Ok(()) => Ok(Some(Alone(Some(payload)))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Holds the lock.
pub(crate) struct Alone(#[allow(dead_code)] Option<File>);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn a_short_file_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"abcdef", 0).unwrap();
        assert_eq!(read_at(&file, 2, 4).unwrap(), b"cdef");
        assert_eq!(read_at(&file, 2, 5).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(read_at(&file, 6, 0).unwrap().is_empty());
    }
}
