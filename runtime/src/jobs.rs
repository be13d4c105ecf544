//! Work that blocks, and how it reports back to the node's task.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rpp_p2p::{LightClientSync, Plan, SnapshotSessionId, TrustAnchor, Update, consumer::AuthorityError};
use tokio::sync::mpsc;

use crate::{
    db::Db,
    head::{HeadFile, Verdict},
    record,
    status::Head,
    store::{Offer, Partial, Store, StoreError},
    writer::Reported,
};

/// What comes back to the node's task.
pub(crate) enum Done {
    /// The catalog was read again; whether it changed.
    Refreshed(Result<bool, String>),
    /// A session's record is durable, or could not be written.
    Recorded { session: SnapshotSessionId, epoch: u64, result: Result<(), String> },
    /// A session is gone from the database and its partial payload is dealt with.
    Removed { session: SnapshotSessionId, result: Result<(), String> },
    /// Chain, signatures, proof and head rules are checked.
    Authority { session: SnapshotSessionId, epoch: u64, result: Result<Head, AuthorityError> },
    /// The place for the payload is open.
    Opened { session: SnapshotSessionId, epoch: u64, result: Result<Place, StoreError> },
    /// From a session's disk worker.
    Disk(Reported),
}

/// Where a payload goes.
pub(crate) enum Place {
    /// It is stored already.
    Stored(PathBuf),
    /// Here, with so many bytes durable.
    Partial(Box<Partial>, u64),
}

/// Checks a whole chain and judges it against the head. Blocking, about 0.1 s, once per process 2 s more.
pub(crate) fn check_authority(
    plan: &Plan,
    updates: &[Update],
    trust: &TrustAnchor,
    head: &Mutex<HeadFile>,
) -> Result<Head, AuthorityError> {
    let check = || -> Result<Head, AuthorityError> {
        let mut light = LightClientSync::new(trust.clone(), Arc::new(rpp_proofs::Verifier::shared()));
        light.accept_plan(plan)?;
        for (index, update) in (0..).zip(updates) {
            light.accept_update(index, update)?;
        }
        let mut head = head.lock().unwrap_or_else(PoisonError::into_inner);
        match head.judge(plan, updates) {
            Verdict::Newer => head
                .accept(plan, updates)
                .map_err(|error| AuthorityError::Storage(format!("the head could not be recorded: {error}")))?,
            Verdict::Known => {}
            Verdict::Stale(message) => return Err(AuthorityError::Stale(message)),
            Verdict::Equivocation(message) => return Err(AuthorityError::Equivocation(message)),
        }
        head.newest().ok_or_else(|| AuthorityError::Storage("the head is empty after it was written".to_owned()))
    };
    catch_unwind(AssertUnwindSafe(check))
        .unwrap_or_else(|_| Err(AuthorityError::Proof("the check of the proof failed in an unforeseen way".to_owned())))
}

/// Opens the place for a payload: nothing is allocated for a payload before its authority is checked.
pub(crate) fn open_place(
    store: &Store,
    plan: &Plan,
    updates: &[Update],
    record: &record::Session,
) -> Result<Place, StoreError> {
    let root = plan.snapshot.checkpoint.state_root;
    if let Some(stored) = store.get(&root) {
        store.add_offer(&root, Offer::new(plan, updates))?;
        return Ok(Place::Stored(stored.payload_path()));
    }
    let mut partial = store.partial(plan, updates)?;
    partial.preflight()?;
    crate::rebuild::note_session(partial.folder(), record)
        .map_err(|source| StoreError::Io { path: partial.folder().to_owned(), source })?;
    let durable = partial.durable_bytes();
    Ok(Place::Partial(Box::new(partial), durable))
}

/// What the recorder is asked to write, in order.
pub(crate) enum Entry {
    Put { record: Box<record::Session>, epoch: u64 },
    Remove { session: SnapshotSessionId, partial: Option<RemovePartial> },
}

/// A partial payload to remove once its worker has let go of it.
pub(crate) struct RemovePartial {
    pub(crate) root: rpp_p2p::Hash,
    pub(crate) writer: Option<tokio::task::JoinHandle<()>>,
    /// Kept when another session uses it.
    pub(crate) remove: bool,
}

/// Starts the one thread that writes session records, so that they are written in order.
pub(crate) fn spawn_recorder(db: Db, store: Arc<Store>, done: mpsc::Sender<Done>, queue: usize) -> mpsc::Sender<Entry> {
    let (entries, mut received) = mpsc::channel(queue);
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        while let Some(entry) = received.blocking_recv() {
            let report = match entry {
                Entry::Put { record, epoch } => Done::Recorded {
                    session: record.session,
                    epoch,
                    result: db.put_session(&record).map_err(|error| error.to_string()),
                },
                Entry::Remove { session, partial } => {
                    Done::Removed { session, result: remove(&db, &store, session, partial, &runtime) }
                }
            };
            if done.blocking_send(report).is_err() {
                return; // the node is gone
            }
        }
    });
    entries
}

fn remove(
    db: &Db,
    store: &Store,
    session: SnapshotSessionId,
    partial: Option<RemovePartial>,
    runtime: &tokio::runtime::Handle,
) -> Result<(), String> {
    // The record goes first: whatever a crash leaves after that is only bytes, and a later session uses them.
    db.remove_session(session).map_err(|error| error.to_string())?;
    let Some(RemovePartial { root, writer, remove }) = partial else { return Ok(()) };
    if let Some(writer) = writer {
        let _ = runtime.block_on(writer);
        // The worker's last flush may have written its progress once more.
        db.remove_session(session).map_err(|error| error.to_string())?;
    }
    if remove { store.remove_partial(&root).map_err(|error| error.to_string()) } else { Ok(()) }
}

