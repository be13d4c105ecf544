//! A payload on its way in: `partial/<root>/`.
//!
//! What a crash may lose: everything written after the last [`Partial::sync`] with [`Durability::Strict`] when power is lost; nothing when
//! only the process is killed. What is there is never believed: after a restart each byte counts only when it verifies
//! against the root with the hashes beside it, or when the caller's own durable record covers it.

use std::{fs::File, io, path::PathBuf, sync::Arc, time::Duration};

use rpp_p2p::{
    Hash, Plan, Update, VerifiedChunk,
    outboard::{self, GROUP, Layout},
    tree::{chunk_range, verify_chunk},
};

use super::{
    Inner,
    error::StoreError,
    manifest::{MAX_DOCUMENT, Manifest, OUTBOARD, Offer, PAYLOAD, PLAN, PlanFile},
    nodes,
    stored::{Stored, read_at},
};
use crate::{
    config::Durability,
    files::{Dir, is_full, sealed, sparse},
};

/// Pieces in which stored bytes are checked again.
const RECHECK: u64 = 4 * 1024 * 1024;
/// Room for manifest and folder entries.
const SLACK: u64 = 1024 * 1024;

/// The one writer of a payload. Dropping it keeps what was written.
#[derive(Debug)]
pub struct Partial {
    store: Arc<Inner>,
    /// While it lives nobody else writes.
    _held: Held,
    root: Hash,
    chunk_size: u64,
    layout: Layout,
    folder: Dir,
    payload: File,
    outboard: File,
    /// Everything before is written.
    written: u64,
    /// Everything before survives what the session's durability promises.
    durable: u64,
    /// The hashes above the last chunk, as they were written.
    above: Vec<(u64, Hash)>,
    /// After a failed flush nobody knows what is on the disk.
    poisoned: bool,
}

impl Partial {
    pub(super) fn open(
        store: Arc<Inner>,
        plan: &Plan,
        updates: &[Update],
        recorded: u64,
        patience: Duration,
    ) -> Result<Self, StoreError> {
        let snapshot = &plan.snapshot.checkpoint;
        let root = snapshot.state_root;
        store.hold_within(root, patience)?;
        let held = Held { store: store.clone(), root };
        if store.catalog().stored.contains_key(&root) {
            return Err(StoreError::Stored { root });
        }
        let layout = Layout::new(snapshot.payload_bytes);
        let path = store.partial.path().join(root.to_string());
        let opened = open_folder(&store, &root, &layout)
            .and_then(|opened| write_plan(&opened.0, plan, updates).map(|()| opened));
        let (folder, payload, outboard) = opened.map_err(|error| store.failed("open", path, error, GROUP))?;
        let mut partial = Self {
            store,
            _held: held,
            root,
            chunk_size: plan.chunk_size,
            layout,
            folder,
            payload,
            outboard,
            written: 0,
            durable: 0,
            above: Vec::new(),
            poisoned: false,
        };
        partial.durable = partial.recheck(recorded).map_err(|error| partial.failed("check", error))?;
        partial.written = partial.durable;
        partial.reserve();
        Ok(partial)
    }

    /// The payload's root.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.root
    }

    /// Bytes from the beginning that are verified and durable; after opening, what was found so.
    #[must_use]
    pub fn durable_bytes(&self) -> u64 {
        self.durable
    }

    /// Bytes from the beginning that are written.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written
    }

    /// Whether what is still missing fits on the disk, beside what other sessions still need.
    ///
    /// # Errors
    /// [`StoreError::Full`] when it does not.
    pub fn preflight(&self) -> Result<(), StoreError> {
        let needed = self.missing().saturating_add(self.layout.file_len()).saturating_add(SLACK);
        let free = self.store.free_bytes()?.saturating_sub(self.store.reserved_by_others(&self.root));
        if needed > free { Err(StoreError::Full { needed, free }) } else { Ok(()) }
    }

    /// Writes a chunk where it belongs, and the hashes that it brought. Chunks come without gaps.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there is no room: nothing counts as written, and the same chunk may be tried again.
    pub fn write(&mut self, chunk: &VerifiedChunk) -> Result<(), StoreError> {
        self.usable()?;
        let range = chunk_range(self.layout.payload_bytes(), self.chunk_size, chunk.index);
        if range.end - range.start != chunk.bytes.len() as u64 {
            return Err(StoreError::unfit(format!("chunk {} has {} bytes", chunk.index, chunk.bytes.len())));
        }
        if range.start > self.written {
            return Err(StoreError::unfit(format!("chunk {} comes before the bytes ahead of it", chunk.index)));
        }
        self.write_at(chunk, range.start).map_err(|error| self.failed("write", error))?;
        self.written = self.written.max(range.end);
        self.reserve();
        Ok(())
    }

    fn write_at(&mut self, chunk: &VerifiedChunk, start: u64) -> io::Result<()> {
        self.store.space.before_write(chunk.bytes.len() as u64)?;
        sparse::write_at(&self.payload, &chunk.bytes, start)?;
        let groups = chunk.groups.clone();
        let mut hashes = outboard::nodes_of_groups(&self.layout, self.chunk_size, chunk.index, groups);
        let above = outboard::proof_placement(&self.layout, self.chunk_size, chunk.index, &chunk.proof);
        // Neighbours share most of what is above them.
        hashes.extend(above.iter().filter(|node| !self.above.contains(node)));
        nodes::write(&self.outboard, hashes)?;
        self.above = above;
        Ok(())
    }

    /// Makes everything written survive what `durability` says, and returns how many bytes from the beginning do.
    ///
    /// # Errors
    /// After a failed flush the partial is not used any more: open it again.
    pub fn sync(&mut self, durability: Durability) -> Result<u64, StoreError> {
        self.usable()?;
        if durability == Durability::Strict {
            self.flush()?;
        }
        self.durable = self.written;
        Ok(self.durable)
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.payload.sync_data().and_then(|()| self.outboard.sync_data()).map_err(|error| {
            self.poisoned = true;
            self.failed("flush", error)
        })
    }

    /// Puts the complete payload into the store: the outboard is completed and must lead to the root, everything is made
    /// durable, then the folder moves as a whole.
    ///
    /// # Errors
    /// When something is missing or damaged; what is there is kept.
    pub fn finish(mut self, offer: Offer) -> Result<Arc<Stored>, StoreError> {
        self.usable()?;
        if self.written != self.layout.payload_bytes() {
            return Err(StoreError::unfit(format!("only {} bytes are written", self.written)));
        }
        offer.check(&self.root, self.layout.payload_bytes()).map_err(StoreError::unfit)?;
        self.complete_outboard()?;
        self.flush()?;
        let manifest = Manifest::new(offer);
        self.store.place(&self.folder, &self.store.partial, &self.root.to_string(), manifest)
    }

    fn complete_outboard(&mut self) -> Result<(), StoreError> {
        if self.outboard_root().map_err(|error| self.failed("complete the outboard of", error))? == self.root {
            return Ok(());
        }
        // Hashes can be lost where bytes were not; the bytes decide.
        let rebuilt = nodes::rebuild(&self.payload, &self.outboard, &self.layout)
            .map_err(|error| self.failed("rebuild the outboard of", error))?;
        if rebuilt == self.root {
            return Ok(());
        }
        let reason = format!("its bytes hash to {rebuilt}; remove it and fetch it again");
        Err(StoreError::Damaged { path: self.folder.path().join(PAYLOAD), reason })
    }

    fn outboard_root(&self) -> io::Result<Hash> {
        match nodes::fill(&self.outboard, &self.layout)? {
            Some(root) => Ok(root),
            None => nodes::single(&self.payload, self.layout.payload_bytes()),
        }
    }

    /// How far the bytes verify, from what is recorded on.
    fn recheck(&self, recorded: u64) -> io::Result<u64> {
        let total = self.layout.payload_bytes();
        let there = self.payload.metadata()?.len();
        let mut at = recorded.min(total).min(there);
        if at < total {
            at -= at % GROUP;
        }
        while at < total {
            match self.verified_piece(at, there)? {
                0 => break,
                length => at += length,
            }
        }
        Ok(at)
    }

    /// The length of the largest piece at `at` that verifies; 0 when none does.
    fn verified_piece(&self, at: u64, there: u64) -> io::Result<u64> {
        let mut size = if at == 0 { RECHECK } else { RECHECK.min(1 << at.trailing_zeros()) };
        while size >= GROUP {
            let range = chunk_range(self.layout.payload_bytes(), size, at / size);
            if range.end <= there && self.verifies(size, at / size)? {
                return Ok(range.end - range.start);
            }
            size /= 2;
        }
        Ok(0)
    }

    fn verifies(&self, size: u64, index: u64) -> io::Result<bool> {
        let range = chunk_range(self.layout.payload_bytes(), size, index);
        let bytes = read_at(&self.payload, range.start, (range.end - range.start) as usize)?;
        let proof = nodes::read(&self.outboard, &outboard::proof_nodes(&self.layout, size, index))?;
        let verified = verify_chunk(&self.root, self.layout.payload_bytes(), size, index, &bytes, &proof).is_ok();
        if verified {
            // The hashes inside may have been lost without the bytes.
            nodes::write(&self.outboard, outboard::chunk_nodes(&self.layout, size, index, &bytes))?;
        }
        Ok(verified)
    }

    fn missing(&self) -> u64 {
        self.layout.payload_bytes() - self.written
    }

    /// Tells the others how much this one still needs.
    fn reserve(&self) {
        self.store.reserve(self.root, self.missing());
    }

    fn usable(&self) -> Result<(), StoreError> {
        if self.poisoned {
            let reason = "a flush failed before: open it again".to_owned();
            return Err(StoreError::Damaged { path: self.folder.path().to_owned(), reason });
        }
        Ok(())
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> StoreError {
        let needed = self.missing().max(self.chunk_size);
        self.store.failed(doing, self.folder.path().join(PAYLOAD), source, needed)
    }
}

/// The right to write a root.
#[derive(Debug)]
struct Held {
    store: Arc<Inner>,
    root: Hash,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.store.release(&self.root);
    }
}

fn open_folder(store: &Inner, root: &Hash, layout: &Layout) -> io::Result<(Dir, File, File)> {
    let folder = store.partial.create_dir(&root.to_string())?;
    folder.remove_temporaries()?;
    let payload = folder.open_write(PAYLOAD)?;
    if payload.metadata()?.len() > layout.payload_bytes() {
        payload.set_len(layout.payload_bytes())?;
    }
    let outboard = folder.open_write(OUTBOARD)?;
    // Sparse: hashes that are not there yet read as zeros, which prove nothing.
    outboard.set_len(layout.file_len())?;
    folder.sync()?;
    store.partial.sync()?;
    Ok((folder, payload, outboard))
}

fn write_plan(folder: &Dir, plan: &Plan, updates: &[Update]) -> io::Result<()> {
    let bytes = sealed::seal(&PlanFile::new(plan.clone(), updates.to_vec()))?;
    match folder.read(PLAN, MAX_DOCUMENT) {
        Ok(known) if known == bytes => Ok(()),
        _ => folder.write_atomic(PLAN, &bytes, 0o600),
    }
}

/// What `partial/<root>/plan.json` says; for rebuilding sessions after the database was lost.
#[derive(Clone, Debug)]
pub struct PartialPlan {
    /// The plan that was streamed.
    pub plan: Plan,
    /// All its updates.
    pub updates: Vec<Update>,
    /// Where it lies.
    pub path: PathBuf,
}

pub(super) fn read_plan(partial: &Dir, root: &Hash) -> Result<PartialPlan, StoreError> {
    let name = root.to_string();
    let path = partial.path().join(&name);
    let damaged = |reason: String| StoreError::Damaged { path: path.join(PLAN), reason };
    let bytes = partial
        .dir(&name)
        .and_then(|folder| folder.read(PLAN, MAX_DOCUMENT))
        .map_err(|source| StoreError::Io { doing: "read", path: path.join(PLAN), source })?;
    let file: PlanFile = sealed::open(&bytes).map_err(|error| damaged(error.to_string()))?;
    if file.plan.snapshot.checkpoint.state_root != *root {
        return Err(damaged("it is of another payload".to_owned()));
    }
    Ok(PartialPlan { plan: file.plan, updates: file.updates, path })
}

/// Turns what a write said into the error that the session can act on.
pub(super) fn write_error(
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
    needed: u64,
    free: impl FnOnce() -> u64,
) -> StoreError {
    if is_full(&source) {
        return StoreError::Full { needed, free: free() };
    }
    StoreError::Io { doing, path, source }
}
