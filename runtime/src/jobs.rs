//! Blocking work, and how it reports to the node's task.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rpp_p2p::{AuthorityError, Hash, LightClientSync, Plan, SignedChain, SnapshotSessionId, Update};
use tokio::sync::mpsc;

use crate::{
    db::Db,
    files,
    head::{HeadError, HeadFile, Verdict},
    hooks::{Watchers, Work},
    manager::{Kept, Reloaded},
    record,
    status::Head,
    store::{Found, Offer, Partial, Store, StoreError, Stored},
    writable::{Part, Writable},
    writer::{Reported, Trouble, unwritable},
};

/// How long a removal or an opening waits until an opening in progress has released the payload: less than an
/// operator's request may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// The results that come back to the node's task.
pub(crate) enum Done {
    /// The catalog was read again; whether it changed.
    Refreshed(Result<bool, String>),
    /// A session's record is durable, or could not be written.
    Recorded { session: SnapshotSessionId, epoch: u64, result: Result<(), Trouble> },
    /// The database's content could be read at last.
    TakenUp(Vec<Reloaded>),
    /// A session was removed from the database, and its partial payload was handled.
    Removed { session: SnapshotSessionId, result: Result<(), String> },
    /// Chain, signatures and head rules were checked, and the proof unless its tip is known.
    Authority { session: SnapshotSessionId, epoch: u64, result: Result<Authority, Unsettled> },
    /// The proof of a known tip was checked again.
    Proof { session: SnapshotSessionId, epoch: u64, plan_id: Hash, result: Result<(), Unsettled> },
    /// A damaged payload was turned into a partial one for this session, which fetches what is missing.
    Demoted { session: SnapshotSessionId, result: Result<bool, String> },
    /// How far the payload of a session that was complete before this process is hashed again, or what came of it.
    Kept { session: SnapshotSessionId, kept: Kept },
    /// The partial payload was opened.
    Opened { session: SnapshotSessionId, epoch: u64, result: Result<Place, Trouble> },
    /// From a session's disk worker.
    Disk(Reported),
}

/// The result of opening a payload's place.
pub(crate) enum Place {
    /// The payload is already stored.
    Stored(PathBuf, record::Progress),
    /// The partial payload, with what is durable and recorded of it.
    Partial(Box<Partial>, Arc<Vec<Update>>, record::Progress),
}

/// The result of checking authority.
#[derive(Debug)]
pub(crate) enum Authority {
    /// All of it was checked.
    Settled(Head),
    /// The tip is known. Its proof is being checked again, and [`Done::Proof`] follows.
    Known(Head),
}

/// Why authority could not be established.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsettled {
    /// The plan has no authority here.
    #[error(transparent)]
    Refused(#[from] AuthorityError),
    /// This node cannot say: the check came to no end.
    #[error("{0}")]
    Unfinished(String),
    /// This node cannot decide: its own disk failed.
    #[error("{0}")]
    Storage(String),
    /// This node cannot decide now: its own disk accepts no writes. It will be tried again.
    #[error("{0}")]
    Unwritable(String),
}

/// Checks signatures and chain of a plan, everything but the recursive proof. Returns a head if this node verified the
/// proof of its tip before: then the plan is also judged against the head, and the proof may be checked again while
/// chunks arrive. Blocking.
pub(crate) fn check_chain(
    plan: &Arc<Plan>,
    updates: &[Update],
    light: &LightClientSync,
    head: &Mutex<HeadFile>,
    writable: &Writable,
) -> Result<(SignedChain, Option<Head>), Unsettled> {
    unforeseen(|| {
        let chain = light.check_chain(Arc::clone(plan), updates).map_err(AuthorityError::from)?;
        let mut head = head.lock().unwrap_or_else(PoisonError::into_inner);
        let known = head.is_accepted(&plan.tip).then(|| accept(plan, updates, &mut head, writable)).transpose()?;
        Ok((chain, known))
    })
}

/// Checks the recursive proof of a valid chain. Blocking: about 0.1 s, and 0.25 s more once in a process.
pub(crate) fn check_proof(chain: &SignedChain, light: &LightClientSync) -> Result<(), Unsettled> {
    unforeseen(|| Ok(light.check_proof(chain).map(drop).map_err(AuthorityError::from)?))
}

/// Judges a plan with a valid chain and proof, and accepts it.
pub(crate) fn check_head(
    plan: &Plan,
    updates: &[Update],
    head: &Mutex<HeadFile>,
    writable: &Writable,
) -> Result<Head, Unsettled> {
    accept(plan, updates, &mut head.lock().unwrap_or_else(PoisonError::into_inner), writable)
}

fn unforeseen<T>(check: impl FnOnce() -> Result<T, Unsettled>) -> Result<T, Unsettled> {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|_| {
        let reason = "the check failed in an unforeseen way".to_owned();
        Err(AuthorityError::Proof { reason }.into())
    })
}

/// Applies the rollback and equivocation rules (`docs/storage.md`, The head). Durable on return.
fn accept(plan: &Plan, updates: &[Update], head: &mut HeadFile, writable: &Writable) -> Result<Head, Unsettled> {
    match head.judge(plan, updates) {
        Verdict::Newer | Verdict::Known => {}
        Verdict::Stale { newest } => {
            let reason = format!(
                "its tip is step {}, the accepted head is step {newest}, and nothing in it was accepted before: \
                 ask another provider, or wait until this one has caught up",
                plan.tip.step
            );
            return Err(AuthorityError::Stale { reason }.into());
        }
        Verdict::Equivocation { step, accepted, offered } => {
            let evidence = match head.keep_evidence(plan, updates) {
                Ok(Some(path)) => format!("the evidence is kept in {}", path.display()),
                Ok(None) => "there is evidence enough already".to_owned(),
                Err(error) => format!("the evidence could not be kept: {}", explain(&error)),
            };
            let reason = format!(
                "publishers signed two histories: step {step} was accepted as {accepted} and is offered as {offered}; \
                 {evidence}. Ask the publishers which one holds"
            );
            return Err(AuthorityError::Equivocation { reason }.into());
        }
    }
    head.accept(plan, updates).map_err(|error| match &error {
        // Full or failing: nothing was accepted, and the same is written again.
        HeadError::Write { .. } => {
            writable.failed(Part::Head, &explain(&error));
            Unsettled::Unwritable(unwritable(&error))
        }
        HeadError::Unreadable { .. } => Unsettled::Storage(explain(&error)),
    })?;
    writable.works(Part::Head);
    head.newest().ok_or_else(|| Unsettled::Storage("the head is empty after it was written".to_owned()))
}

/// The session for which a partial payload is opened.
pub(crate) struct Opening {
    pub(crate) record: record::Session,
    /// The progress in the database: nothing beyond it counts as durable before it is written again.
    pub(crate) progress: record::Progress,
    pub(crate) wanted: Wanted,
}

/// How often opening is tried again if the payload is moved or removed meanwhile.
const OPENING_TRIES: u32 = 4;

/// Opens the place for a payload. Nothing is allocated for a payload before its authority is checked. On return plan,
/// updates and progress are recorded, unless the session is not `wanted` any more: then nothing is left that would
/// restore it.
pub(crate) fn open_place(
    store: &Store,
    db: &Db,
    snapshots: &Path,
    plan: &Plan,
    updates: &Arc<Vec<Update>>,
    opening: &Opening,
    writable: &Writable,
) -> Result<Place, Trouble> {
    let root = plan.snapshot.checkpoint.state_root;
    let mut opened = None;
    for _ in 0..OPENING_TRIES {
        // Another process may have removed it a moment ago, or stored it.
        store.look().map_err(|error| Trouble::Other(format!("the store cannot be listed: {error}")))?;
        opened = match store.get(&root) {
            Some(stored) => open_stored(store, &stored, plan, updates, opening)?,
            None => open_partial(store, db, snapshots, plan, updates, opening, writable)?,
        };
        if opened.is_some() {
            break;
        }
    }
    let place = opened.ok_or_else(|| {
        Trouble::Other(format!("payload {root} is put into the store and taken out of it again and again"))
    })?;
    let (Place::Stored(_, recorded) | Place::Partial(_, _, recorded)) = &place;
    db.put_progress(opening.record.session, recorded)?;
    Ok(place)
}

/// A stored payload completes a session once this process has hashed it. `None` if it is damaged or gone: then it is no
/// longer offered either.
fn open_stored(
    store: &Store,
    stored: &Stored,
    plan: &Plan,
    updates: &[Update],
    opening: &Opening,
) -> Result<Option<Place>, Trouble> {
    let root = stored.root();
    let verified = stored.verify(&mut |checked| {
        opening.wanted.checked(checked, stored.bytes());
        *opening.wanted.lock()
    });
    match verified {
        Ok(true) => {}
        Ok(false) => return Err(cancelled()),
        Err(StoreError::Damaged { reason, .. }) => {
            store.condemn(&root, &reason);
            return store.demote(&root).map(|_| None).map_err(Trouble::from);
        }
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    match store.add_offer(&root, Offer::from_plan(plan, updates)) {
        Ok(_) => {}
        Err(StoreError::Unknown { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let progress = record::Progress::of(plan, plan.snapshot.checkpoint.payload_bytes);
    Ok(Some(Place::Stored(stored.payload_path(), progress)))
}

/// `None` if it was stored meanwhile.
fn open_partial(
    store: &Store,
    db: &Db,
    snapshots: &Path,
    plan: &Plan,
    updates: &Arc<Vec<Update>>,
    opening: &Opening,
    writable: &Writable,
) -> Result<Option<Place>, Trouble> {
    let Opening { record, progress: before, wanted } = opening;
    let root = plan.snapshot.checkpoint.state_root;
    let progress = |durable| record::Progress::of(plan, durable).after(before);
    let mut recorded = before.bytes_durable;
    // A process that was killed here need not write the same bytes again.
    let mut watch = |found: Found| {
        wanted.checked(found.checked, found.there);
        if found.durable > recorded && *wanted.lock() {
            recorded = found.durable;
            if let Err(error) = db.put_progress(record.session, &progress(recorded)) {
                tracing::warn!(session = %record.session, "its progress could not be recorded: {}", explain(&error));
            }
        }
    };
    let said = |error: StoreError| {
        writable.store_failed(&error);
        Trouble::from(error)
    };
    let partial = match store.partial_within(plan, updates, before.bytes_durable, PATIENCE, &mut watch) {
        Err(StoreError::Stored { .. }) => return Ok(None),
        opened => opened.map_err(said)?,
    };
    partial.preflight()?;
    let wanted = wanted.lock();
    if !*wanted {
        return Err(cancelled());
    }
    let folder = snapshots.join("partial").join(root.to_string());
    crate::rebuild::note_session(&folder, record)
        .map_err(|source| said(StoreError::Note { path: folder.join(crate::rebuild::NOTE), source }))?;
    let durable = progress(partial.durable_bytes());
    Ok(Some(Place::Partial(Box::new(partial), Arc::clone(updates), durable)))
}

fn cancelled() -> Trouble {
    Trouble::Other("the session was cancelled".to_owned())
}

/// Whether a session whose place is being opened still exists. It is locked while the session is written down, so that
/// a cancelled session is either not written any more, or found and removed.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    wanted: Arc<Mutex<bool>>,
    /// Bytes on the disk that were hashed, and their total.
    checked: Arc<[AtomicU64; 2]>,
}

impl Wanted {
    pub(crate) fn new() -> Self {
        Self { wanted: Arc::new(Mutex::new(true)), checked: Arc::default() }
    }

    /// How many bytes on the disk were hashed, of how many; both are 0 if there are none.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.checked[0].load(Ordering::Relaxed), self.checked[1].load(Ordering::Relaxed))
    }

    fn checked(&self, checked: u64, there: u64) {
        self.checked[0].store(checked, Ordering::Relaxed);
        self.checked[1].store(there, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error with its causes, in one line.
pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    files::with_causes(error)
}

/// What the recorder is to write, in order.
pub(crate) enum Entry {
    Put { record: Box<record::Session>, epoch: u64 },
    Remove { session: SnapshotSessionId, partial: Option<RemovePartial> },
}

/// A partial payload to remove once its worker has released it.
pub(crate) struct RemovePartial {
    pub(crate) root: Hash,
    pub(crate) writer: Option<tokio::task::JoinHandle<()>>,
    /// Set while its place is being opened.
    pub(crate) opening: Option<Wanted>,
    /// `false` if another session uses it.
    pub(crate) remove: bool,
}

/// Starts the one thread that writes session records, so that they are written in order. It ends when the sender is
/// dropped.
pub(crate) fn spawn_recorder(
    db: Db,
    store: Arc<Store>,
    partials: PathBuf,
    done: mpsc::Sender<Done>,
    watchers: Watchers,
    queue: usize,
) -> (mpsc::Sender<Entry>, tokio::task::JoinHandle<()>) {
    let (entries, mut received) = mpsc::channel(queue);
    let runtime = tokio::runtime::Handle::current();
    let ended = tokio::task::spawn_blocking(move || {
        while let Some(entry) = received.blocking_recv() {
            let session = match &entry {
                Entry::Put { record, .. } => record.session,
                Entry::Remove { session, .. } => *session,
            };
            let work = watchers.work(Work::Record, session);
            let report = match entry {
                Entry::Put { record, epoch } => Done::Recorded {
                    session: record.session,
                    epoch,
                    result: db.put_session(&record).map_err(Trouble::from),
                },
                Entry::Remove { session, partial } => {
                    Done::Removed { session, result: remove(&db, &store, &partials, session, partial, &runtime) }
                }
            };
            drop(work);
            if done.blocking_send(report).is_err() {
                return; // The node has ended.
            }
        }
    });
    (entries, ended)
}

fn forget(db: &Db, session: SnapshotSessionId) {
    if let Err(error) = db.remove_session(session) {
        tracing::warn!(
            %session,
            "the session is gone, but its record only when the database can be written again: {}",
            explain(&error)
        );
    }
}

fn remove(
    db: &Db,
    store: &Store,
    partials: &Path,
    session: SnapshotSessionId,
    partial: Option<RemovePartial>,
    runtime: &tokio::runtime::Handle,
) -> Result<(), String> {
    if let Some(RemovePartial { root, opening, .. }) = &partial {
        if let Some(opening) = opening {
            *opening.lock() = false;
        }
        let folder = partials.join(root.to_string());
        crate::rebuild::forget_session(&folder, session).map_err(|error| explain(&error))?;
    }
    // Then the record: what a crash leaves after that is only bytes, and a later session uses them.
    forget(db, session);
    let Some(RemovePartial { root, writer, remove, .. }) = partial else { return Ok(()) };
    if let Some(writer) = writer {
        let _ = runtime.block_on(writer);
        // The worker's last flush may have written its progress again.
        forget(db, session);
    }
    if !remove {
        return Ok(());
    }
    match store.remove_partial(&root, PATIENCE) {
        Err(StoreError::Held { .. }) => {
            tracing::warn!("{root}: still being read; what is there of it stays, and the next session uses it");
            Ok(())
        }
        removed => removed.map_err(|error| explain(&error)),
    }
}
