//! A payload that is being fetched: `partial/<root>/`.
//!
//! With [`Durability::Strict`], a power loss may lose everything written after the last [`Partial::sync`]. A kill of
//! the process loses nothing. Nothing on the disk is trusted, whatever a record says about it:
//!
//! * Bytes that `have` does not name may have been only in the page cache, after a flush that failed. They are hashed
//!   when the payload is opened, *written again*, and made durable. If `have` is missing or damaged, this applies to
//!   everything except the first bytes, as far as the caller's record covers them.
//! * Bytes that `have` names are durable, but may have changed since. They are hashed step by step while new chunks
//!   arrive ([`Partial::recheck`]). Damaged chunks are written again ([`Partial::repair`]). The payload is not finished
//!   before that.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rpp_p2p::{
    Hash, Have, Plan, Update, VerifiedChunk,
    outboard::{self, GROUP, Layout},
    tree::chunk_range,
};

use super::{
    Inner,
    damage::Damage,
    error::{Misfit, StoreError},
    have::{self, HAVE},
    manifest::{DAMAGED, MAX_DOCUMENT, Manifest, OFFERS, OUTBOARD, Offer, PAYLOAD, PLAN, PlanFile},
    nodes,
    recheck::Found,
    stored::Stored,
};
use crate::{
    config::Durability,
    files::{Dir, direct::Direct, in_file, sealed, sparse},
};

/// Space for the manifest and folder entries.
const SLACK: u64 = 1024 * 1024;

/// The only writer of a payload. Dropping it keeps what was written.
#[derive(Debug)]
pub struct Partial {
    pub(super) store: Arc<Inner>,
    /// While this exists, there is no other writer.
    _held: Held,
    pub(super) root: Hash,
    pub(super) chunk_size: u64,
    pub(super) layout: Layout,
    pub(super) folder: Arc<Dir>,
    pub(super) payload: Arc<File>,
    direct: Direct,
    pub(super) outboard: Arc<File>,
    /// Chunks that are completely written.
    pub(super) written: Have,
    /// Those of the written chunks that are durable as the session requires it.
    pub(super) durable: Have,
    /// Those of the durable chunks that are from before this process, and that it has not hashed yet.
    pub(super) unchecked: Have,
    /// Damaged chunks, which must be written again.
    pub(super) damaged: BTreeSet<u64>,
    /// The hashes above the last written chunk, as they were written.
    above: Vec<(u64, Hash)>,
    /// Set after a failed flush, because it is then unknown what is on the disk.
    poisoned: Arc<AtomicBool>,
}

impl Partial {
    pub(super) fn open(
        store: Arc<Inner>,
        plan: &Plan,
        updates: &[Update],
        recorded: u64,
        patience: Duration,
        watch: &mut dyn FnMut(Found) -> bool,
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
        let opened = open_folder(&store, &root, &layout);
        let (folder, payload, outboard) = opened.map_err(|error| store.failed("open", path.clone(), error, GROUP))?;
        write_plan(&folder, plan, updates).map_err(|source| store.note_failed(path.join(PLAN), source))?;
        let direct = Direct::open(&folder, PAYLOAD);
        let mut partial = Self {
            store,
            _held: held,
            root,
            chunk_size: plan.chunk_size,
            layout,
            folder: Arc::new(folder),
            payload: Arc::new(payload),
            direct,
            outboard: Arc::new(outboard),
            written: Have::nothing(snapshot.payload_bytes),
            durable: Have::nothing(snapshot.payload_bytes),
            unchecked: Have::nothing(snapshot.payload_bytes),
            damaged: BTreeSet::new(),
            above: Vec::new(),
            poisoned: Arc::default(),
        };
        partial.take_in(recorded, watch)?;
        partial.reserve();
        Ok(partial)
    }

    /// The payload's root.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.root
    }

    /// The durable part, in whole chunks. After opening, this is what is recorded and what was found beyond it.
    /// [`Self::unchecked`] tells which part of it is not verified yet.
    #[must_use]
    pub fn durable(&self) -> &Have {
        &self.durable
    }

    /// The number of durable bytes.
    #[must_use]
    pub fn durable_bytes(&self) -> u64 {
        self.durable.bytes()
    }

    /// The number of written bytes.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written.bytes()
    }

    /// Checks that the missing bytes fit on the disk, beside those that other sessions still need.
    ///
    /// # Errors
    /// [`StoreError::Full`] when it does not.
    pub fn preflight(&self) -> Result<(), StoreError> {
        let needed = self.missing().saturating_add(self.layout.file_len()).saturating_add(SLACK);
        let free = self.store.free_bytes()?.saturating_sub(self.store.reserved_by_others(&self.root));
        if needed > free { Err(StoreError::Full { path: None, needed, free }) } else { Ok(()) }
    }

    /// Writes a chunk at its place, and the hashes that came with it. Chunks come in any order.
    ///
    /// # Errors
    /// [`StoreError::Full`] if there is no room: nothing counts as written, and the same chunk may be tried again.
    pub fn write(&mut self, chunk: &VerifiedChunk) -> Result<(), StoreError> {
        self.usable()?;
        let range = chunk_range(self.layout.payload_bytes(), self.chunk_size, chunk.index);
        if range.end - range.start != chunk.bytes.len() as u64 {
            return Err(Misfit::ChunkBytes { index: chunk.index, bytes: chunk.bytes.len() }.into());
        }
        let has_room = self.store.space.before_write(chunk.bytes.len() as u64);
        has_room.and_then(|()| self.write_at(chunk, range.start)).map_err(|error| self.failed("write", error))?;
        self.written.insert_chunks(self.chunk_size, chunk.index..chunk.index + 1);
        self.reserve();
        Ok(())
    }

    pub(super) fn write_at(&mut self, chunk: &VerifiedChunk, start: u64) -> io::Result<()> {
        let (payload, direct) = (&self.payload, &mut self.direct);
        sparse::write_at_with(payload, &chunk.bytes, start, |bytes, at| direct.write_all_at(payload, bytes, at))?;
        let groups = chunk.groups.clone();
        let mut hashes = outboard::nodes_of_groups(&self.layout, self.chunk_size, chunk.index, groups);
        let above = outboard::proof_placement(&self.layout, self.chunk_size, chunk.index, &chunk.proof);
        // Neighbouring chunks share most of the hashes above them.
        hashes.extend(above.iter().filter(|node| !self.above.contains(node)));
        nodes::write(&self.outboard, hashes).map_err(in_file(OUTBOARD))?;
        self.above = above;
        Ok(())
    }

    /// Makes everything written durable as `durability` says, then writes the file that names the durable parts.
    /// Returns them.
    ///
    /// # Errors
    /// After a failed flush this partial payload cannot be used any more: open it again.
    pub fn sync(&mut self, durability: Durability) -> Result<&Have, StoreError> {
        let group = self.group(durability)?;
        let durable = group.make_durable()?;
        Ok(self.synced(durable))
    }

    /// What is written now, to be made durable on any thread. Chunks may be written meanwhile, but nothing else may be
    /// done with this partial payload.
    ///
    /// # Errors
    /// An earlier flush failed.
    pub(crate) fn group(&self, durability: Durability) -> Result<Group, StoreError> {
        self.usable()?;
        Ok(Group {
            is_flushed: durability == Durability::Strict,
            is_noted: self.durable != self.written,
            files: self.files(),
            written: self.written.clone(),
        })
    }

    /// The result of [`Group::make_durable`] for the last group.
    pub(crate) fn synced(&mut self, durable: Have) -> &Have {
        self.durable = durable;
        &self.durable
    }

    fn files(&self) -> Files {
        Files {
            store: Arc::clone(&self.store),
            root: self.root,
            folder: Arc::clone(&self.folder),
            payload: Arc::clone(&self.payload),
            outboard: Arc::clone(&self.outboard),
            poisoned: Arc::clone(&self.poisoned),
            needed: self.needed(),
        }
    }

    pub(super) fn write_have(&self, have: &Have) -> Result<(), StoreError> {
        self.files().write_have(have)
    }

    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        self.files().flush()
    }

    /// Moves the complete payload into the store. The outboard is completed and must lead to the root. Then everything
    /// is made durable, and the folder is moved as a whole.
    ///
    /// # Errors
    /// Something is missing or damaged. What is on the disk is kept.
    pub fn finish(mut self, offer: Offer) -> Result<Arc<Stored>, StoreError> {
        self.usable()?;
        if !self.written.is_all() {
            return Err(Misfit::Unwritten { written: self.written.bytes() }.into());
        }
        if !self.unchecked.is_empty() || !self.damaged.is_empty() {
            return Err(Misfit::Unchecked.into());
        }
        offer.check(&self.root, self.layout.payload_bytes()).map_err(Misfit::from)?;
        self.complete_outboard()?;
        self.flush()?;
        // From here on the payload is complete, so the file is not needed.
        self.folder.remove_file(HAVE).map_err(|error| self.failed("clean up", error))?;
        let mut manifest = Manifest::new(offer);
        self.take_offers(&mut manifest);
        self.store.place(&self.folder, &self.store.partial, &self.root.to_string(), manifest)
    }

    /// Adds the offers that the payload had before it was found damaged.
    fn take_offers(&self, manifest: &mut Manifest) {
        let kept = self.folder.read(OFFERS, MAX_DOCUMENT).ok().and_then(|bytes| sealed::open::<Manifest>(&bytes).ok());
        // The offer of the fetched snapshot was verified. An earlier offer of the same snapshot counts only if it leads
        // to a later tip.
        let fetched: Vec<_> = manifest.offers.iter().map(|offer| (offer.key(), offer.tip.step)).collect();
        let is_older = |offer: &Offer| fetched.iter().any(|(key, tip)| *key == offer.key() && offer.tip.step <= *tip);
        let kept = kept.into_iter().filter(|kept| kept.check(&self.root).is_ok()).flat_map(|kept| kept.offers);
        for offer in kept.filter(|offer| !is_older(offer)) {
            if let Err(reason) = offer.check_chain() {
                tracing::warn!(root = %self.root, "an earlier offer of the payload is left out: {reason}");
            } else if let Err(error) = manifest.add(offer) {
                tracing::warn!(root = %self.root, "an earlier offer of the payload is lost: {error}");
            }
        }
        // If the file stays, nothing reads it.
        let _ = self.folder.remove_file(OFFERS);
    }

    fn complete_outboard(&mut self) -> Result<(), StoreError> {
        if self.outboard_root().map_err(|error| self.failed("complete the outboard of", error))? == self.root {
            return Ok(());
        }
        // Hashes can be lost while the bytes are intact. The bytes decide.
        let rebuilt = nodes::rebuild(&self.payload, &self.outboard, &self.layout)
            .map_err(|error| self.failed("rebuild the outboard of", error))?;
        if rebuilt == self.root {
            return Ok(());
        }
        let reason = Damage::Root { found: rebuilt };
        Err(StoreError::Damaged { path: self.folder.path().join(PAYLOAD), reason })
    }

    fn outboard_root(&self) -> io::Result<Hash> {
        match nodes::fill(&self.outboard, &self.layout).map_err(in_file(OUTBOARD))? {
            Some(root) => Ok(root),
            None => nodes::single(&self.payload, self.layout.payload_bytes()),
        }
    }

    fn missing(&self) -> u64 {
        self.layout.payload_bytes() - self.written.bytes()
    }

    /// Reserves the space that this session still needs, for other sessions to see.
    fn reserve(&self) {
        self.store.reserve(self.root, self.missing());
    }

    pub(super) fn usable(&self) -> Result<(), StoreError> {
        if self.poisoned.load(Ordering::Relaxed) {
            return Err(StoreError::Damaged { path: self.folder.path().to_owned(), reason: Damage::Unflushed });
        }
        Ok(())
    }

    pub(super) fn failed(&self, doing: &'static str, source: io::Error) -> StoreError {
        self.store.failed(doing, self.folder.path().join(PAYLOAD), source, self.needed())
    }

    /// Bytes of room without which a write failed.
    fn needed(&self) -> u64 {
        self.missing().max(self.chunk_size)
    }
}

/// Written chunks that are to be made durable together.
#[derive(Debug)]
pub(crate) struct Group {
    files: Files,
    /// Everything that was written when the group was formed.
    written: Have,
    is_flushed: bool,
    /// Whether the file `have` does not name all of it yet.
    is_noted: bool,
}

impl Group {
    /// Makes the group durable, then writes the file that names the durable parts. Returns them.
    ///
    /// # Errors
    /// As [`Partial::sync`].
    pub(crate) fn make_durable(self) -> Result<Have, StoreError> {
        if self.is_flushed {
            self.files.flush()?;
        }
        if self.is_noted {
            self.files.write_have(&self.written)?;
        }
        Ok(self.written)
    }
}

/// The files of a partial payload, for whoever makes them durable.
#[derive(Debug)]
struct Files {
    store: Arc<Inner>,
    root: Hash,
    folder: Arc<Dir>,
    payload: Arc<File>,
    outboard: Arc<File>,
    poisoned: Arc<AtomicBool>,
    needed: u64,
}

impl Files {
    fn flush(&self) -> Result<(), StoreError> {
        let ready = self.store.space.before_sync();
        let flushed = ready.and_then(|()| self.payload.sync_data());
        flushed.and_then(|()| self.outboard.sync_data().map_err(in_file(OUTBOARD))).map_err(|error| {
            self.poisoned.store(true, Ordering::Relaxed);
            self.store.failed("flush", self.folder.path().join(PAYLOAD), error, self.needed)
        })
    }

    fn write_have(&self, have: &Have) -> Result<(), StoreError> {
        let noted = have::write(&self.folder, &self.root, have);
        noted.map_err(|source| self.store.note_failed(self.folder.path().join(HAVE), source))
    }
}

/// The exclusive right to write a root's payload.
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
    folder.remove_file(DAMAGED)?;
    let payload = folder.open_write(PAYLOAD).map_err(in_file(PAYLOAD))?;
    if payload.metadata()?.len() > layout.payload_bytes() {
        payload.set_len(layout.payload_bytes()).map_err(in_file(PAYLOAD))?;
    }
    let outboard = folder.open_write(OUTBOARD).map_err(in_file(OUTBOARD))?;
    // The file is sparse. Missing hashes read as zeros, which prove nothing.
    outboard.set_len(layout.file_len()).map_err(in_file(OUTBOARD))?;
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

/// The content of `partial/<root>/plan.json`. Sessions are rebuilt from it if the database is lost.
#[derive(Clone, Debug)]
pub struct PartialPlan {
    /// The plan that was streamed.
    pub plan: Plan,
    /// All its updates.
    pub updates: Vec<Update>,
    /// Its folder.
    pub path: PathBuf,
}

pub(super) fn read_plan(partial: &Dir, root: &Hash) -> Result<PartialPlan, StoreError> {
    let name = root.to_string();
    let path = partial.path().join(&name);
    let damaged = |reason| StoreError::Damaged { path: path.join(PLAN), reason };
    let bytes = partial
        .dir(&name)
        .and_then(|folder| folder.read(PLAN, MAX_DOCUMENT))
        .map_err(|source| StoreError::Io { doing: "read", path: path.join(PLAN), source })?;
    let file: PlanFile =
        sealed::open(&bytes).map_err(|error| damaged(Damage::Seal { name: None, reason: error.into() }))?;
    if file.plan.snapshot.checkpoint.state_root != *root {
        return Err(damaged(Damage::OtherPayload));
    }
    Ok(PartialPlan { plan: file.plan, updates: file.updates, path })
}
