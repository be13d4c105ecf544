//! The steps of a [`Worker`](super::worker::Worker) on the disk: payloads in the store, records in the database.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use rpp_p2p::{Hash, Have, Plan, SnapshotSessionId, Update, VerifiedChunk};

use super::{
    note,
    record::{self, Progress},
    trouble::{RecordError, RemoveError, Trouble},
    worker::{Disk, MakeDurable, Opening, Place},
};
use crate::{
    config::Durability,
    db::Db,
    error::explain,
    store::{Found, Offer, Partial, Store, StoreError, Stored},
    writable::{Part, Writable},
};

/// How long a removal or an opening waits for another process to release the payload. This is shorter than the timeout
/// of an operator's request.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often opening is tried again if the payload is moved or removed meanwhile.
const OPENING_TRIES: u32 = 4;

/// The node's own disk.
#[derive(Clone)]
pub(crate) struct FileDisk {
    pub(crate) store: Arc<Store>,
    pub(crate) db: Db,
    pub(crate) writable: Arc<Writable>,
    /// `data/snapshots/partial/`.
    pub(crate) partials: PathBuf,
    pub(crate) durability: Durability,
}

impl Disk for FileDisk {
    type Partial = Box<Partial>;

    fn record(&self, record: &record::Session) -> Result<(), RecordError> {
        Ok(self.db.put_session(record)?)
    }

    fn record_progress(&self, session: SnapshotSessionId, progress: &Progress) -> Result<(), Trouble> {
        Ok(self.db.put_progress(session, progress)?)
    }

    fn remove_note(&self, root: &Hash, session: SnapshotSessionId) -> Result<(), RemoveError> {
        let folder = self.folder(root);
        note::forget_session(&folder, session)
            .map_err(|source| RemoveError::Note { path: folder.join(note::NOTE), source })
    }

    fn remove_record(&self, session: SnapshotSessionId) {
        if let Err(error) = self.db.remove_session(session) {
            tracing::warn!(
                %session,
                "the session is gone, but its record only when the database can be written again: {}",
                explain(&error)
            );
        }
    }

    fn remove_payload(&self, root: &Hash) -> Result<(), RemoveError> {
        match self.store.remove_partial(root, PATIENCE) {
            Err(StoreError::Held { .. }) => {
                tracing::warn!("{root}: still being read; what is there of it stays, and the next session uses it");
                Ok(())
            }
            removed => Ok(removed?),
        }
    }

    fn demote(&self, root: &Hash) -> Result<bool, StoreError> {
        self.store.demote(root)
    }

    /// Nothing is allocated for a payload before its authority is checked.
    fn open(&self, opening: &Opening, watch: &mut dyn FnMut(Found) -> bool) -> Result<Place<Self::Partial>, Trouble> {
        let root = opening.plan.snapshot.checkpoint.state_root;
        for _ in 0..OPENING_TRIES {
            // Another process may have removed or stored it a moment ago.
            self.store.look().map_err(Trouble::Unlisted)?;
            let opened = match self.store.get(&root) {
                Some(stored) => self.open_stored(&stored, opening, watch)?,
                None => self.open_partial(opening, watch)?,
            };
            if let Some(place) = opened {
                return Ok(place);
            }
        }
        Err(Trouble::Unsteady { root })
    }

    fn write_note(&self, opening: &Opening) -> Result<(), Trouble> {
        let folder = self.folder(&opening.plan.snapshot.checkpoint.state_root);
        note::note_session(&folder, &opening.record)
            .map_err(|source| self.said(StoreError::Note { path: folder.join(note::NOTE), source }))
    }

    fn durable(&self, partial: &Self::Partial) -> Have {
        partial.durable().clone()
    }

    fn unchecked(&self, partial: &Self::Partial) -> Have {
        partial.unchecked().clone()
    }

    fn write(&self, partial: &mut Self::Partial, chunk: &VerifiedChunk) -> Result<(), Trouble> {
        partial.write(chunk).map_err(|error| self.said(error))
    }

    fn group(&self, partial: &mut Self::Partial) -> Result<MakeDurable, Trouble> {
        let group = partial.group(self.durability).map_err(|error| self.said(error))?;
        let disk = self.clone();
        Ok(Box::new(move || group.make_durable().map_err(|error| disk.said(error))))
    }

    fn synced(&self, partial: &mut Self::Partial, durable: Have) {
        partial.synced(durable);
    }

    fn works(&self) {
        self.writable.works(Part::Store);
    }

    fn recheck(&self, partial: &mut Self::Partial) -> Result<Vec<u64>, Trouble> {
        partial.recheck().map_err(|error| self.said(error))
    }

    fn repair(&self, partial: &mut Self::Partial, chunks: &[VerifiedChunk]) -> Result<(), Trouble> {
        partial.repair(chunks).map_err(|error| self.said(error))?;
        self.writable.works(Part::Store);
        Ok(())
    }

    fn place(&self, partial: Self::Partial, plan: &Plan, updates: &[Update]) -> Result<PathBuf, Trouble> {
        let stored = partial.finish(Offer::from_plan(plan, updates)).map_err(|error| self.said(error))?;
        self.writable.works(Part::Store);
        // This returns at once, unless another process had stored the same payload.
        stored.verify(&mut |_| true)?;
        Ok(stored.payload_path())
    }
}

impl FileDisk {
    fn folder(&self, root: &Hash) -> PathBuf {
        self.partials.join(root.to_string())
    }

    /// Converts the store's error. If it says that the store cannot write, the node reports that as well.
    fn said(&self, error: StoreError) -> Trouble {
        self.writable.store_failed(&error);
        error.into()
    }

    /// A stored payload completes a session once this process has hashed it. Returns `None` if the payload is damaged
    /// or gone; then it is no longer offered either.
    fn open_stored(
        &self,
        stored: &Stored,
        opening: &Opening,
        watch: &mut dyn FnMut(Found) -> bool,
    ) -> Result<Option<Place<Box<Partial>>>, Trouble> {
        let root = stored.root();
        let verified = stored.verify(&mut |checked| watch(Found { checked, there: stored.bytes() }));
        match verified {
            Ok(true) => {}
            Ok(false) => return Err(Trouble::Cancelled),
            Err(StoreError::Damaged { reason, .. }) => {
                self.store.condemn(&root, &reason);
                return self.store.demote(&root).map(|_| None).map_err(Trouble::from);
            }
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        match self.store.add_offer(&root, Offer::from_plan(&opening.plan, &opening.updates)) {
            Ok(_) => Ok(Some(Place::Stored(stored.payload_path()))),
            Err(StoreError::Unknown { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns `None` if the payload was stored meanwhile.
    fn open_partial(
        &self,
        opening: &Opening,
        watch: &mut dyn FnMut(Found) -> bool,
    ) -> Result<Option<Place<Box<Partial>>>, Trouble> {
        let Opening { plan, updates, before, .. } = opening;
        let partial = match self.store.partial_within(plan, updates, before.confirmed_bytes(plan), PATIENCE, watch) {
            Err(StoreError::Stored { .. }) => return Ok(None),
            opened => opened.map_err(|error| self.said(error))?,
        };
        partial.preflight()?;
        Ok(Some(Place::Partial(Box::new(partial))))
    }
}
