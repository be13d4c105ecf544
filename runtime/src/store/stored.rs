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
    Hash, PayloadFormat, VerifiedChunk, limits, outboard,
    outboard::Layout,
    tree::{chunk_range, total_chunks},
};
use serde::Serialize;

use super::{
    damage::Damage,
    error::{Misfit, StoreError},
    manifest::{DAMAGED, MANIFEST, MAX_DOCUMENT, Manifest, OUTBOARD, Offer, PAYLOAD},
    nodes,
    seen::Seen,
};
use crate::files::{Dir, sealed, split_error};

use crate::limits::MAX_DAMAGE_NOTE;

/// A finished payload and the facts about it. Reading opens its files. While a [`Payload`] of it exists, they stay
/// open, so a session goes on even if the payload is removed.
#[derive(Debug)]
pub struct Stored {
    manifest: Manifest,
    offers: Vec<Arc<Offer>>,
    path: PathBuf,
    pub(crate) mark: Mark,
    seen: Arc<Seen>,
    open: Mutex<Weak<Payload>>,
}

/// A summary of a stored payload, for `list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The payload's BLAKE3 hash.
    pub root: Hash,
    /// Its length.
    pub bytes: u64,
    /// The format, which is a hint.
    pub format: PayloadFormat,
    /// Its snapshots, by height.
    pub offers: Vec<OfferSummary>,
    /// Its folder.
    pub path: PathBuf,
}

/// A summary of one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OfferSummary {
    /// The chain.
    pub chain_id: String,
    /// Its height.
    pub height: u64,
    /// Its step.
    pub step: u64,
    /// Its block hash.
    pub block_hash: Hash,
    /// Its commitment.
    pub commitment: Hash,
}

/// Tells whether an entry of the store is still the one that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    manifest: FileMark,
    /// The mark of the note that it is damaged.
    damaged: Option<FileMark>,
    /// The marks of payload and outboard, which must not change.
    body: [Option<FileMark>; 2],
}

impl Mark {
    pub(crate) fn of(folder: &Dir) -> io::Result<Option<Self>> {
        let Some(manifest) = FileMark::of(folder, MANIFEST)? else { return Ok(None) };
        let body = [FileMark::of(folder, PAYLOAD)?, FileMark::of(folder, OUTBOARD)?];
        Ok(Some(Self { manifest, damaged: FileMark::of(folder, DAMAGED)?, body }))
    }
}

/// Tells whether a file is still the one that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileMark {
    inode: u64,
    size: i64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl FileMark {
    fn of(folder: &Dir, name: &str) -> io::Result<Option<Self>> {
        Ok(folder.stat(name)?.map(|stat| Self {
            inode: stat.st_ino,
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }))
    }
}

impl Stored {
    /// Reads `store/<root>/` and checks that it is complete.
    ///
    /// # Errors
    /// What is damaged, or the disk's error.
    pub(crate) fn load(folder: &Dir, root: &Hash) -> Result<Self, Damage> {
        let mark = Mark::of(folder).map_err(|error| unreadable(folder, MANIFEST, error))?.ok_or(Damage::NoManifest)?;
        if let Some(damage) = read_damage(folder) {
            return Err(damage);
        }
        let manifest = read_manifest(folder, root)?;
        let layout = Layout::new(manifest.bytes);
        for (name, expected) in [(PAYLOAD, manifest.bytes), (OUTBOARD, layout.file_len())] {
            let failed = |error| unreadable(folder, name, error);
            let file = folder.open_read(name).map_err(failed)?;
            let actual = file.metadata().map_err(failed)?.size();
            if actual != expected {
                return Err(Damage::Length { name, bytes: actual, expected });
            }
        }
        let offers = manifest.offers.iter().cloned().map(Arc::new).collect();
        let path = folder.path().to_owned();
        Ok(Self { manifest, offers, path, mark, seen: Arc::default(), open: Mutex::default() })
    }

    /// Carries over which parts were verified, if the payload's files were not changed. Otherwise no part counts as
    /// verified any more, even for those who have the payload open.
    pub(super) fn take_over(&mut self, before: &Self) {
        if self.mark.body != before.mark.body {
            before.seen.clear();
        }
        self.seen = Arc::clone(&before.seen);
    }

    /// This process has verified every byte and every stored hash while writing them.
    pub(super) fn set_verified(&self) {
        self.seen.set_whole();
    }

    /// Hashes everything that this process has not verified yet. `watch` is called with the number of bytes done; if it
    /// returns `false`, hashing stops. Blocks while it reads. Returns whether it reached the end.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names the first damaged part.
    pub(crate) fn verify(&self, watch: &mut dyn FnMut(u64) -> bool) -> Result<bool, StoreError> {
        if self.is_verified() {
            return Ok(watch(self.bytes()));
        }
        // This does not count as serving: the payload may be removed meanwhile.
        let open = self.open_files(false)?;
        for index in 0..total_chunks(self.bytes(), STEP) {
            let range = chunk_range(self.bytes(), STEP, index);
            if !self.seen.has(&range) {
                open.check(index, STEP)?;
            }
            if !watch(range.end) {
                return Ok(false);
            }
        }
        self.seen.set_whole_if(self.bytes());
        Ok(true)
    }

    /// Whether this process has verified all of it, and nobody has touched its files since.
    pub(crate) fn is_verified(&self) -> bool {
        self.seen.is_whole()
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

    /// The snapshots whose payload this is.
    #[must_use]
    pub fn offers(&self) -> &[Arc<Offer>] {
        &self.offers
    }

    /// The path of the payload.
    #[must_use]
    pub fn payload_path(&self) -> PathBuf {
        self.path.join(PAYLOAD)
    }

    /// The summary that `list` shows.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut offers: Vec<_> = self.offers.iter().map(|offer| OfferSummary::of(offer)).collect();
        offers.sort_by_key(|offer| offer.height);
        Summary { root: self.root(), bytes: self.bytes(), format: self.format(), offers, path: self.payload_path() }
    }

    pub(crate) fn folder_path(&self) -> &Path {
        &self.path
    }

    /// Opens the payload. All current readers share one [`Payload`].
    ///
    /// # Errors
    /// When its files cannot be opened.
    pub fn open(&self) -> Result<Arc<Payload>, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(payload) = open.upgrade() {
            return Ok(payload);
        }
        let payload = Arc::new(self.open_files(true)?);
        *open = Arc::downgrade(&payload);
        Ok(payload)
    }

    fn open_files(&self, counts_as_served: bool) -> Result<Payload, StoreError> {
        Dir::open(&self.path)
            .and_then(|folder| {
                Payload::open(&folder, self.root(), self.bytes(), Arc::clone(&self.seen), counts_as_served)
            })
            .map_err(|source| StoreError::Io { doing: "open", path: self.payload_path(), source })
    }

    /// Reads one chunk and hashes it, even if that was done before. Does not keep the payload from being removed.
    ///
    /// # Errors
    /// As [`Payload::read_chunk`].
    pub(crate) fn check(&self, index: u64, chunk_size: u64) -> Result<(), StoreError> {
        self.open_files(false)?.check(index, chunk_size)
    }

    /// One chunk with its proof. Opens the files again unless a [`Payload`] exists.
    ///
    /// # Errors
    /// When there is no such chunk, or reading fails.
    pub fn read_chunk(&self, index: u64, chunk_size: u64) -> Result<(Bytes, Vec<Hash>), StoreError> {
        self.open()?.read_chunk(index, chunk_size)
    }
}

impl OfferSummary {
    fn of(offer: &Offer) -> Self {
        let snapshot = &offer.snapshot.checkpoint;
        Self {
            chain_id: offer.genesis.chain_id.clone(),
            height: snapshot.height,
            step: snapshot.step,
            block_hash: snapshot.block_hash,
            commitment: snapshot.commitment,
        }
    }
}

/// An open payload. While it exists, the payload counts as served: `remove` refuses it, even in another process.
#[derive(Debug)]
pub struct Payload {
    root: Hash,
    layout: Layout,
    payload: File,
    outboard: File,
    path: PathBuf,
    seen: Arc<Seen>,
}

/// Bytes that are hashed in one step if no chunk size is given.
const STEP: u64 = 1024 * 1024;

impl Payload {
    fn open(folder: &Dir, root: Hash, bytes: u64, seen: Arc<Seen>, counts_as_served: bool) -> io::Result<Self> {
        let payload = folder.open_read(PAYLOAD)?;
        // A removal takes an exclusive lock, and only for a moment.
        if counts_as_served {
            payload.lock_shared()?;
        }
        let outboard = folder.open_read(OUTBOARD)?;
        Ok(Self { root, layout: Layout::new(bytes), payload, outboard, path: folder.path().join(PAYLOAD), seen })
    }

    /// Its BLAKE3 hash.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.root
    }

    /// One chunk with its proof, for any chunk size of the protocol. If this process has not verified the chunk yet, it
    /// does that first.
    ///
    /// # Errors
    /// There is no such chunk, or reading failed; [`StoreError::Damaged`] if it does not lead to the root.
    pub fn read_chunk(&self, index: u64, chunk_size: u64) -> Result<(Bytes, Vec<Hash>), StoreError> {
        self.read(index, chunk_size, false)
    }

    /// Reads one chunk and hashes it, even if that was done before.
    ///
    /// # Errors
    /// As [`Self::read_chunk`].
    pub fn check(&self, index: u64, chunk_size: u64) -> Result<(), StoreError> {
        self.read(index, chunk_size, true).map(drop)
    }

    fn read(&self, index: u64, chunk_size: u64, again: bool) -> Result<(Bytes, Vec<Hash>), StoreError> {
        if !chunk_size.is_power_of_two() || !(limits::MIN_CHUNK_SIZE..=limits::MAX_CHUNK_SIZE).contains(&chunk_size) {
            return Err(Misfit::ChunkSize { chunk_size }.into());
        }
        let total = total_chunks(self.layout.payload_bytes(), chunk_size);
        if index >= total {
            return Err(Misfit::NoChunk { index, total }.into());
        }
        let range = chunk_range(self.layout.payload_bytes(), chunk_size, index);
        let bytes = read_at(&self.payload, range.start, (range.end - range.start) as usize);
        let bytes = Bytes::from(bytes.map_err(|source| self.unreadable(PAYLOAD, source))?);
        let proof = nodes::read(&self.outboard, &outboard::proof_nodes(&self.layout, chunk_size, index));
        let proof = proof.map_err(|source| self.unreadable(OUTBOARD, source))?;
        if !again && self.seen.has(&range) {
            return Ok((bytes, proof));
        }
        let total = self.layout.payload_bytes();
        let chunk = VerifiedChunk::verify(&self.root, total, chunk_size, index, bytes, proof)
            .map_err(|_| self.damaged(Damage::Bytes { start: range.start, end: range.end }))?;
        // The hashes inside it are the proofs of smaller chunks.
        let inside = outboard::nodes_of_groups(&self.layout, chunk_size, index, chunk.groups);
        let differing = nodes::differing(&self.outboard, inside).map_err(|source| self.unreadable(OUTBOARD, source))?;
        if !differing.is_empty() {
            return Err(self.damaged(Damage::Hashes { start: range.start, end: range.end }));
        }
        self.seen.add(&range);
        Ok((chunk.bytes, chunk.proof))
    }

    fn damaged(&self, reason: Damage) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), reason }
    }

    /// A part that the disk cannot return is lost. Any other error may pass.
    fn unreadable(&self, name: &'static str, source: io::Error) -> StoreError {
        const EIO: i32 = rustix::io::Errno::IO.raw_os_error();
        if source.kind() == io::ErrorKind::UnexpectedEof || source.raw_os_error() == Some(EIO) {
            return self.damaged(Damage::Lost { name, source: source.into() });
        }
        StoreError::Io { doing: "read", path: self.path.with_file_name(name), source }
    }

    /// The payload's file. Its position is shared: use `read_at`, or one reader at a time.
    ///
    /// # Errors
    /// There is no descriptor left.
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
    // The allocator may have returned more space than was requested.
    bytes.truncate(length);
    Ok(bytes)
}

pub(crate) fn read_manifest(folder: &Dir, root: &Hash) -> Result<Manifest, Damage> {
    let bytes = folder.read(MANIFEST, MAX_DOCUMENT).map_err(|error| unreadable(folder, MANIFEST, error))?;
    let manifest: Manifest =
        sealed::open(&bytes).map_err(|error| Damage::Seal { name: Some(MANIFEST), reason: error.into() })?;
    manifest.check(root)?;
    Ok(manifest)
}

/// The error names the file.
fn unreadable(folder: &Dir, name: &str, error: io::Error) -> Damage {
    let (path, source) = split_error(error);
    Damage::Io { path: path.unwrap_or_else(|| folder.path().join(name)), source: source.into() }
}

/// Why a payload is no longer offered, if it was found damaged.
fn read_damage(folder: &Dir) -> Option<Damage> {
    match folder.exists(DAMAGED) {
        Ok(false) => return None,
        Ok(true) => {}
        Err(error) => return Some(unreadable(folder, DAMAGED, error)),
    }
    Some(match folder.read(DAMAGED, MAX_DAMAGE_NOTE) {
        Ok(note) => Damage::Noted(rpp_p2p::text::escape(String::from_utf8_lossy(&note).trim_end())),
        Err(error) => Damage::NoteUnreadable(error.into()),
    })
}

/// The payload, locked against being opened for serving; `None` if any process has it open.
pub(crate) fn lock_alone(folder: &Dir) -> io::Result<Option<Alone>> {
    let payload = match folder.open_read(PAYLOAD) {
        Ok(payload) => payload,
        // The payload is damaged, so nobody can serve it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Alone(None))),
        Err(error) => return Err(error),
    };
    match payload.try_lock() {
        Ok(()) => Ok(Some(Alone(Some(payload)))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Keeps the lock until dropped.
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
