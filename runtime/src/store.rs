//! The store: finished payloads in `store/<root>/`, and payloads being fetched in `partial/<root>/`.
//!
//! `publish` and the other commands work beside a running node. Both they and the node change `store/` only under the
//! lock of `store/.lock`, and each change is one rename. So a reader sees the state before or after. A killed process
//! leaves a state that the next [`Store::open`] completes or cleans up:
//!
//! | left behind | what happens |
//! |---|---|
//! | a temporary file | removed |
//! | `partial/<root>/` with a manifest | everything in it was durable before the manifest was: moved into `store/` |
//! | `store/.removed-*` | removed |
//! | `store/<root>/plan.json` | removed |
//! | a damaged or incomplete `store/<root>/` | reported, not offered, and left unchanged |
//!
//! Opening the store checks only lengths; bytes are checked when they are first read. So this process has verified
//! everything that it serves. A payload that does not match its root gets a note, `damaged`. Then no process offers it
//! until it is removed or fetched again.
//!
//! A payload counts as served while any process has a [`Payload`] of it open.

mod catalog;
mod damage;
mod error;
mod have;
mod manifest;
mod mounts;
pub(crate) mod nodes;
mod partial;
mod recheck;
mod removal;
mod room;
mod scan;
mod seen;
mod space;
mod stored;

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rpp_p2p::{Hash, Plan, Update, outboard::GROUP};

pub use catalog::Damaged;
pub use damage::Damage;
pub use error::{Misfit, StoreError};
pub use manifest::{ChainFlaw, Manifest, ManifestFlaw, Offer, OfferFlaw};
pub use mounts::check_mounts;
pub use partial::{Partial, PartialPlan};
pub use room::NoRoom;
pub use space::{DiskSpace, Mount, Quota, Space};
pub use stored::{OfferSummary, Payload, Stored, Summary};

pub(crate) use error::place;
pub(crate) use manifest::{MANIFEST, OUTBOARD, PAYLOAD};
pub(crate) use recheck::Found;
pub(crate) use room::{Lack, explained, lack};
pub(crate) use scan::NotInPlace;
pub(crate) use stored::read_at;

use crate::files::{Dir, is_full, sealed, split_error};
use catalog::Catalog;
use manifest::{DAMAGED, OFFERS, PLAN};
use stored::read_manifest;

const LOCK: &str = ".lock";
const REMOVED: &str = ".removed-";

/// The store under one `snapshots` folder. Cheap to clone; calls block.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    store: Dir,
    partial: Dir,
    space: Arc<dyn Space>,
    catalog: RwLock<Arc<Catalog>>,
    /// Roots that are being written, with the number of bytes that each still needs.
    held: Mutex<HashMap<Hash, u64>>,
    /// Notified when one of them is released.
    released: Condvar,
    /// Only one scan at a time.
    scan: Mutex<()>,
    /// Whether the catalog changed since [`Store::refresh`] last reported it.
    news: AtomicBool,
    /// The reasons for damaged payloads whose note could not be written.
    condemned: Mutex<HashMap<Hash, Damage>>,
}

impl Store {
    /// Opens the store under `data/snapshots/`, which is created if absent. Completes or cleans up what a killed
    /// process left. On a file system that is read-only this is left undone, and the store can be read.
    ///
    /// # Errors
    /// The folders cannot be created, opened or listed. A damaged entry is not an error: see [`Store::damaged`].
    pub fn open(snapshots_dir: &Path) -> Result<Self, StoreError> {
        Self::opened(snapshots_dir, Arc::new(DiskSpace), |error| error.kind() == io::ErrorKind::ReadOnlyFilesystem)
    }

    /// [`Store::open`] for a program that will write, with another source for the free space.
    ///
    /// # Errors
    /// As [`Store::open`], and when the file system is read-only.
    pub fn open_with(snapshots_dir: &Path, space: Arc<dyn Space>) -> Result<Self, StoreError> {
        Self::opened(snapshots_dir, space, |_| false)
    }

    /// `is_borne`: whether this error is tolerated, so that files of a killed process may stay although they cannot be
    /// cleaned up.
    fn opened(
        snapshots_dir: &Path,
        space: Arc<dyn Space>,
        is_borne: impl Fn(&io::Error) -> bool,
    ) -> Result<Self, StoreError> {
        check_mounts(snapshots_dir, &*space)?;
        let failed = |source| StoreError::Io { doing: "open", path: snapshots_dir.to_owned(), source };
        let snapshots = Dir::create(snapshots_dir).map_err(failed)?;
        let store = snapshots.create_dir("store").map_err(failed)?;
        let partial = snapshots.create_dir("partial").map_err(failed)?;
        let inner = Arc::new(Inner {
            store,
            partial,
            space,
            catalog: RwLock::default(),
            held: Mutex::default(),
            released: Condvar::new(),
            scan: Mutex::default(),
            news: AtomicBool::new(false),
            condemned: Mutex::default(),
        });
        inner.recover().or_else(|error| if is_borne(&error) { Ok(()) } else { Err(failed(error)) })?;
        inner.scan().map_err(failed)?;
        Ok(Self { inner })
    }

    /// All stored payloads, by root.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Stored>> {
        self.inner.catalog().stored.values().cloned().collect()
    }

    /// Entries of `store/` that are not offered, and why.
    #[must_use]
    pub fn damaged(&self) -> Vec<Damaged> {
        self.inner.catalog().damaged.values().cloned().collect()
    }

    /// Loads changes that others made; this is cheap if there are none. Returns whether anything changed since the last
    /// call, by this process or another.
    ///
    /// # Errors
    /// When `store/` cannot be listed.
    pub fn refresh(&self) -> io::Result<bool> {
        self.look()?;
        Ok(self.inner.news.swap(false, Ordering::AcqRel))
    }

    /// Like [`Store::refresh`], but does not report: the next [`Store::refresh`] still reports the change.
    ///
    /// # Errors
    /// When `store/` cannot be listed.
    pub fn look(&self) -> io::Result<()> {
        self.inner.scan().map(drop)
    }

    /// A stored payload was found damaged. It is no longer offered from now on, also by other processes and after a
    /// restart.
    pub fn condemn(&self, root: &Hash, reason: impl std::fmt::Display) {
        let reason = &*reason.to_string();
        tracing::error!(%root, "a stored payload is damaged and is not offered any more: {reason}");
        self.inner.condemn(root, reason);
    }

    /// Turns a damaged stored payload into a partial one, so that only damaged chunks are fetched again. Returns
    /// whether there was one that nobody is fetching already.
    ///
    /// # Errors
    /// The disk failed. The next start completes a half-done move.
    pub fn demote(&self, root: &Hash) -> Result<bool, StoreError> {
        let lock = self.inner.lock()?;
        let demoted = self.inner.demote(root)?;
        drop(lock);
        self.inner.rescan()?;
        Ok(demoted)
    }

    /// One stored payload.
    #[must_use]
    pub fn get(&self, root: &Hash) -> Option<Arc<Stored>> {
        self.inner.catalog().stored.get(root).cloned()
    }

    /// The highest snapshot, or the one of this root or height, with the updates to the newest checkpoint that is known
    /// to follow.
    #[must_use]
    pub fn best_offer(&self, root: Option<Hash>, height: Option<u64>) -> Option<(Arc<Stored>, Arc<Offer>)> {
        self.inner.catalog().best(root, height)
    }

    /// The source of a plan that this store once offered, even if newer ones exist. `None` if its payload or its proof
    /// is gone.
    #[must_use]
    pub fn resolve(&self, plan: &Plan) -> Option<(Arc<Stored>, Arc<Offer>)> {
        self.inner.catalog().resolve(plan)
    }

    /// Starts or continues the payload of a plan. Everything that is already there is checked against the root, which
    /// takes as long as reading it.
    ///
    /// # Errors
    /// [`StoreError::Stored`] when it is complete already, [`StoreError::Held`] when another session writes it.
    pub fn partial(&self, plan: &Plan, updates: &[Update]) -> Result<Partial, StoreError> {
        self.partial_from(plan, updates, 0)
    }

    /// [`Store::partial`], except that a durable record covers the first `recorded` bytes: [`Partial::recheck`] hashes
    /// them later.
    ///
    /// # Errors
    /// As [`Store::partial`].
    pub fn partial_from(&self, plan: &Plan, updates: &[Update], recorded: u64) -> Result<Partial, StoreError> {
        self.partial_within(plan, updates, recorded, Duration::ZERO, &mut |_| true)
    }

    /// [`Store::partial_from`], but waits until another writer has released the payload, and reports its progress.
    pub(crate) fn partial_within(
        &self,
        plan: &Plan,
        updates: &[Update],
        recorded: u64,
        patience: Duration,
        watch: &mut dyn FnMut(Found) -> bool,
    ) -> Result<Partial, StoreError> {
        Partial::open(self.inner.clone(), plan, updates, recorded, patience, watch)
    }

    /// The roots with a partial payload.
    ///
    /// # Errors
    /// When `partial/` cannot be listed.
    pub fn partials(&self) -> io::Result<Vec<Hash>> {
        Ok(self.inner.partial.names()?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// The plan for which the partial payload of `root` was started.
    ///
    /// # Errors
    /// There is none, or its `plan.json` is damaged.
    pub fn partial_plan(&self, root: &Hash) -> Result<PartialPlan, StoreError> {
        partial::read_plan(&self.inner.partial, root)
    }

    /// Removes a partial payload, if there is one.
    ///
    /// # Errors
    /// [`StoreError::Held`] if a session is writing it and does not release it within `patience`.
    pub fn remove_partial(&self, root: &Hash, patience: Duration) -> Result<(), StoreError> {
        self.inner.hold_within(*root, patience)?;
        let removed = self.inner.partial.remove_all(&root.to_string());
        self.inner.release(root);
        let path = self.inner.partial.path().join(root.to_string());
        removed.map_err(|source| StoreError::Io { doing: "remove", path, source })
    }

    /// Whether this partial payload was stored before and found damaged.
    pub(crate) fn is_demoted(&self, root: &Hash) -> bool {
        let folder = self.inner.partial.dir(&root.to_string());
        folder.and_then(|folder| folder.exists(OFFERS)).unwrap_or(false)
    }

    /// Adds an offer to a stored payload. Returns whether that changed anything.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when the payload is not stored.
    pub fn add_offer(&self, root: &Hash, offer: Offer) -> Result<bool, StoreError> {
        let lock = self.inner.lock()?;
        let changed = self.inner.add_offer(&lock, root, offer)?;
        drop(lock);
        self.inner.rescan()?;
        Ok(changed)
    }

    /// Whether the updates of an offer of this store hash to its tip, and enough publishers signed the tip. The offer
    /// may have been put together from several. If it does not hold, every stored payload whose manifest does not hold
    /// is no longer offered.
    pub(crate) fn is_sound(&self, offer: &Offer) -> bool {
        let Err(reason) = offer.check_chain() else { return true };
        let mut found = false;
        for stored in self.list() {
            if let Some(reason) = stored.offers().iter().find_map(|offer| offer.check_chain().err()) {
                self.condemn(&stored.root(), &reason);
                found = true;
            }
        }
        if !found {
            tracing::error!("an offer is not served, although the manifests that it is made of hold: {reason}");
        }
        false
    }

    /// Bytes that may still be written.
    ///
    /// # Errors
    /// The file system cannot tell.
    pub fn free_bytes(&self) -> Result<u64, StoreError> {
        self.inner.free_bytes()
    }

    /// Moves a folder with a durable payload and outboard into the store.
    pub(crate) fn place(
        &self,
        folder: &Dir,
        parent: &Dir,
        name: &str,
        offer: Offer,
    ) -> Result<Arc<Stored>, StoreError> {
        self.inner.place(folder, parent, name, Manifest::new(offer))
    }

    pub(crate) fn space(&self) -> &Arc<dyn Space> {
        &self.inner.space
    }
}

/// Held while `store/` is being changed.
pub(crate) struct Lock(#[allow(dead_code)] File);

impl Inner {
    fn catalog(&self) -> Arc<Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock(&self) -> Result<Lock, StoreError> {
        let locked = self.store.open_write(LOCK).and_then(|file| file.lock().map(|()| Lock(file)));
        locked.map_err(|source| self.io("lock", self.store.path().join(LOCK), source))
    }

    fn add_offer(&self, _lock: &Lock, root: &Hash, offer: Offer) -> Result<bool, StoreError> {
        let name = root.to_string();
        let folder = match self.store.dir(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StoreError::Unknown { root: *root }),
            other => other.map_err(|source| self.io("open", self.store.path().join(&name), source))?,
        };
        let damaged = |reason| StoreError::Damaged { path: folder.path().to_owned(), reason };
        let mut manifest = read_manifest(&folder, root).map_err(damaged)?;
        let changed = manifest.add(offer)?;
        if changed {
            self.write_manifest(&folder, &manifest)?;
        }
        Ok(changed)
    }

    fn write_manifest(&self, folder: &Dir, manifest: &Manifest) -> Result<(), StoreError> {
        let bytes = sealed::seal(manifest).map_err(Misfit::from)?;
        let written =
            self.space.before_write(bytes.len() as u64).and_then(|()| folder.write_atomic(MANIFEST, &bytes, 0o600));
        written.map_err(|error| self.failed("write", folder.path().join(MANIFEST), error, bytes.len() as u64))
    }

    /// Moves `parent/name`, whose payload and outboard are durable, into the store.
    fn place(&self, folder: &Dir, parent: &Dir, name: &str, manifest: Manifest) -> Result<Arc<Stored>, StoreError> {
        let root = manifest.root;
        let lock = self.lock()?;
        let is_new = self.place_locked(&lock, folder, parent, name, manifest)?;
        drop(lock);
        self.rescan()?;
        let catalog = self.catalog();
        let stored = catalog.stored.get(&root).cloned().ok_or_else(|| StoreError::Damaged {
            path: self.store.path().join(root.to_string()),
            reason: match catalog.damaged.get(&root) {
                Some(entry) => Damage::UnreadableWhenPlaced(Box::new(entry.reason.clone())),
                None => Damage::GoneWhenPlaced,
            },
        })?;
        if is_new {
            stored.set_verified();
        }
        Ok(stored)
    }

    fn condemn(&self, root: &Hash, reason: &str) {
        let note = || -> Result<(), StoreError> {
            let _lock = self.lock()?;
            let path = self.store.path().join(root.to_string());
            let noted = self
                .store
                .dir(&root.to_string())
                .and_then(|folder| folder.write_atomic(DAMAGED, reason.as_bytes(), 0o600));
            noted.map_err(|source| self.io("note the damage in", path, source))
        };
        if let Err(error) = note() {
            tracing::warn!(%root, "the note of it could not be written, so another process may offer it: {error}");
            self.condemned().insert(*root, Damage::Noted(reason.to_owned()));
        }
        if let Err(error) = self.rescan() {
            tracing::warn!("the catalog could not be read again: {error}");
        }
    }

    fn condemned(&self) -> MutexGuard<'_, HashMap<Hash, Damage>> {
        self.condemned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rename comes first: after a crash, [`Self::complete`] finds the damage and finishes the rest.
    fn demote(&self, root: &Hash) -> Result<bool, StoreError> {
        let name = root.to_string();
        let failed = |source| self.io("take apart", self.store.path().join(&name), source);
        let is_free = !self.held().contains_key(root) && !self.partial.exists(&name).map_err(failed)?;
        if !is_free || !self.store.exists(&name).map_err(failed)? {
            return Ok(false);
        }
        let folder = self.store.dir(&name).map_err(failed)?;
        self.store.rename_new(&name, &self.partial, &name).map_err(failed)?;
        let cleaned = folder.remove_file(OFFERS).and_then(|()| {
            if folder.exists(MANIFEST)? { folder.rename_new(MANIFEST, &folder, OFFERS) } else { Ok(()) }
        });
        let synced = cleaned
            .and_then(|()| folder.remove_file(DAMAGED))
            .and_then(|()| folder.sync())
            .and_then(|()| self.partial.sync())
            .and_then(|()| self.store.sync());
        synced.map_err(failed)?;
        self.condemned().remove(root);
        Ok(true)
    }

    fn place_locked(
        &self,
        lock: &Lock,
        folder: &Dir,
        parent: &Dir,
        name: &str,
        manifest: Manifest,
    ) -> Result<bool, StoreError> {
        let root = manifest.root;
        let final_name = root.to_string();
        let failed = |source| self.io("place", self.store.path().join(&final_name), source);
        if self.store.exists(&final_name).map_err(failed)? {
            let whole = self.store.dir(&final_name).ok();
            let is_sound = !self.condemned().contains_key(&root);
            if is_sound && whole.is_some_and(|there| Stored::load(&there, &root).is_ok()) {
                for offer in manifest.offers {
                    self.add_offer(lock, &root, offer)?;
                }
                return parent.remove_all(name).map(|()| false).map_err(failed);
            }
            // The existing entry cannot be read; the new one is verified.
            self.set_aside(&final_name).map_err(failed)?;
        }
        self.write_manifest(folder, &manifest)?;
        parent.rename_new(name, &self.store, &final_name).map_err(failed)?;
        self.condemned().remove(&root);
        self.store.sync().and_then(|()| parent.sync()).and_then(|()| folder.remove_file(PLAN)).map_err(failed)?;
        Ok(true)
    }

    fn hold_within(&self, root: Hash, patience: Duration) -> Result<(), StoreError> {
        let waited = self.released.wait_timeout_while(self.held(), patience, |held| held.contains_key(&root));
        match waited.unwrap_or_else(PoisonError::into_inner).0.entry(root) {
            std::collections::hash_map::Entry::Occupied(_) => Err(StoreError::Held { root }),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(0);
                Ok(())
            }
        }
    }

    fn release(&self, root: &Hash) {
        self.held().remove(root);
        self.released.notify_all();
    }

    fn reserve(&self, root: Hash, missing: u64) {
        if let Some(reserved) = self.held().get_mut(&root) {
            *reserved = missing;
        }
    }

    fn reserved_by_others(&self, root: &Hash) -> u64 {
        self.held().iter().filter(|(other, _)| *other != root).map(|(_, bytes)| *bytes).sum()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Hash, u64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn free_bytes(&self) -> Result<u64, StoreError> {
        self.space
            .free_bytes(self.partial.path())
            .map_err(|source| self.io("ask for the free space of", self.partial.path().to_owned(), source))
    }

    /// Turns a failed write into an error to which the session can react.
    fn failed(&self, doing: &'static str, path: PathBuf, source: io::Error, needed: u64) -> StoreError {
        let (name, source) = split_error(source);
        let path = match name {
            Some(named) if named.is_absolute() => named,
            Some(name) if path.ends_with(PAYLOAD) => path.with_file_name(name),
            Some(name) => path.join(name),
            None => path,
        };
        match lack(source, needed, &*self.space, self.partial.path()) {
            Ok(Lack::Bytes { free }) => StoreError::Full { path: Some(path), needed, free },
            Ok(Lack::Room(reason)) => StoreError::NoRoom { path, reason },
            Err(source) => StoreError::Io { doing, path, source },
        }
    }

    /// The same for a note beside a payload, which is tried again whatever the error is.
    fn note_failed(&self, path: PathBuf, source: io::Error) -> StoreError {
        if is_full(&source) {
            let (_, source) = split_error(source);
            return self.failed("write", path, source, GROUP);
        }
        StoreError::Note { path, source }
    }

    fn io(&self, doing: &'static str, path: PathBuf, source: io::Error) -> StoreError {
        StoreError::Io { doing, path, source }
    }
}

#[cfg(test)]
mod tests;
