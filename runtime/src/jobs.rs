//! Work that blocks, and how it reports back to the node's task.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rpp_p2p::{
    AuthorityError, Plan, SnapshotSessionId, TrustAnchor, Update,
    light_client::{LightClientSync, RecursiveProofVerifier, SyncError},
};
use tokio::sync::mpsc;

use crate::{
    db::Db,
    head::{HeadError, HeadFile, Verdict},
    hooks::{Watchers, Work},
    record,
    status::Head,
    store::{Offer, Partial, Store, StoreError},
    writer::{Reported, Trouble},
};

/// How long a removal, or an opening, waits for an opening under way to let go of the payload: less than an operator's
/// request lasts.
const PATIENCE: Duration = Duration::from_secs(4);

/// What comes back to the node's task.
pub(crate) enum Done {
    /// The catalog was read again; whether it changed.
    Refreshed(Result<bool, String>),
    /// A session's record is durable, or could not be written.
    Recorded { session: SnapshotSessionId, epoch: u64, result: Result<(), String> },
    /// A session is gone from the database and its partial payload is dealt with.
    Removed { session: SnapshotSessionId, result: Result<(), String> },
    /// Chain, signatures, proof and head rules are checked.
    Authority { session: SnapshotSessionId, epoch: u64, result: Result<Head, Unsettled> },
    /// The place for the payload is open.
    Opened { session: SnapshotSessionId, epoch: u64, result: Result<Place, Trouble> },
    /// From a session's disk worker.
    Disk(Reported),
}

/// Where a payload goes.
pub(crate) enum Place {
    /// It is stored already.
    Stored(PathBuf, record::Progress),
    /// Here; so much of it is durable and recorded.
    Partial(Box<Partial>, Arc<Vec<Update>>, record::Progress),
}

/// The process's one verifier; its parameters are made at first use.
struct Shared;

impl RecursiveProofVerifier for Shared {
    fn verify(
        &self,
        genesis: &rpp_proofs::Genesis,
        tip: &rpp_p2p::Checkpoint,
        proof: &[u8],
    ) -> Result<(), rpp_proofs::ProofError> {
        RecursiveProofVerifier::verify(rpp_proofs::Verifier::shared(), genesis, tip, proof)
    }
}

/// Why authority could not be established.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsettled {
    /// The plan has none here.
    #[error(transparent)]
    Refused(#[from] AuthorityError),
    /// This node cannot say: its own disk failed.
    #[error("{0}")]
    Storage(String),
}

/// Checks a whole chain and judges it against the head. Blocking, about 0.1 s, once per process 0.25 s more.
pub(crate) fn check_authority(
    plan: &Arc<Plan>,
    updates: &[Update],
    trust: &TrustAnchor,
    head: &Mutex<HeadFile>,
) -> Result<Head, Unsettled> {
    let check = || -> Result<Head, Unsettled> {
        let mut light = LightClientSync::new(trust.clone(), Arc::new(Shared));
        light.accept_plan(Arc::clone(plan)).map_err(refusal)?;
        for (index, update) in (0..).zip(updates) {
            light.accept_update(index, update).map_err(refusal)?;
        }
        accept(plan, updates, &mut head.lock().unwrap_or_else(PoisonError::into_inner))
    };
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|_| {
        let reason = "the check failed in an unforeseen way".to_owned();
        Err(AuthorityError::Proof { reason }.into())
    })
}

/// Rollback and equivocation rules (`node.md` section 1); durable before it returns.
fn accept(plan: &Plan, updates: &[Update], head: &mut HeadFile) -> Result<Head, Unsettled> {
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
    let storage = |error: HeadError| Unsettled::Storage(explain(&error));
    head.accept(plan, updates).map_err(storage)?;
    head.newest().ok_or_else(|| Unsettled::Storage("the head is empty after it was written".to_owned()))
}

fn refusal(error: SyncError) -> Unsettled {
    let reason = error.to_string();
    let refused = match error {
        SyncError::Signatures(source) => AuthorityError::Signatures(source),
        SyncError::Proof(_) => AuthorityError::Proof { reason },
        SyncError::Update { index, reason } => AuthorityError::Chain { index, reason },
        SyncError::Equivocation { .. } => AuthorityError::Equivocation { reason },
        _ => AuthorityError::Authentication { reason },
    };
    Unsettled::Refused(refused)
}

/// For whom a place is opened.
pub(crate) struct Opening {
    pub(crate) record: record::Session,
    /// Bytes that are durable according to the database: they are not read again.
    pub(crate) recorded: u64,
    pub(crate) wanted: Wanted,
}

/// Opens the place for a payload: nothing is allocated for a payload before its authority is checked. On return plan, updates and progress are recorded,
/// unless the session is not `wanted` any more: then nothing is left that would bring it back.
pub(crate) fn open_place(
    store: &Store,
    db: &Db,
    snapshots: &Path,
    plan: &Plan,
    updates: &Arc<Vec<Update>>,
    opening: &Opening,
) -> Result<Place, Trouble> {
    let Opening { record, recorded, wanted } = opening;
    let root = plan.snapshot.checkpoint.state_root;
    let progress = |bytes_durable: u64| record::Progress::of(plan, bytes_durable);
    let place = match store.get(&root) {
        Some(stored) => {
            store.add_offer(&root, Offer::from_plan(plan, updates))?;
            Place::Stored(stored.payload_path(), progress(plan.snapshot.checkpoint.payload_bytes))
        }
        None => {
            let partial = store.partial_within(plan, updates, *recorded, PATIENCE)?;
            partial.preflight()?;
            let wanted = wanted.lock();
            if !*wanted {
                return Err(Trouble::Other("the session was cancelled".to_owned()));
            }
            let folder = snapshots.join("partial").join(root.to_string());
            crate::rebuild::note_session(&folder, record).map_err(|source| StoreError::Io {
                doing: "write the session's note in",
                path: folder,
                source,
            })?;
            let durable = progress(partial.durable_bytes());
            Place::Partial(Box::new(partial), Arc::clone(updates), durable)
        }
    };
    let (Place::Stored(_, recorded) | Place::Partial(_, _, recorded)) = &place;
    db.put_progress(record.session, recorded).map_err(|error| Trouble::Other(explain(&error)))?;
    Ok(place)
}

/// Whether a session whose place is being opened still exists. Held while it is written down, so that a cancelled one is
/// either not written any more or found and removed.
#[derive(Clone, Debug)]
pub(crate) struct Wanted(Arc<Mutex<bool>>);

impl Wanted {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(true)))
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error with its causes, in one line.
pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
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
    /// Its place is being opened.
    pub(crate) opening: Option<Wanted>,
    /// Kept when another session uses it.
    pub(crate) remove: bool,
}

/// Starts the one thread that writes session records, so that they are written in order; it ends when the sender is gone.
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
                    result: db.put_session(&record).map_err(|error| explain(&error)),
                },
                Entry::Remove { session, partial } => {
                    Done::Removed { session, result: remove(&db, &store, &partials, session, partial, &runtime) }
                }
            };
            drop(work);
            if done.blocking_send(report).is_err() {
                return; // the node is gone
            }
        }
    });
    (entries, ended)
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
    // Then the record: whatever a crash leaves after that is only bytes, and a later session uses them.
    db.remove_session(session).map_err(|error| explain(&error))?;
    let Some(RemovePartial { root, writer, remove, .. }) = partial else { return Ok(()) };
    if let Some(writer) = writer {
        let _ = runtime.block_on(writer);
        // The worker's last flush may have written its progress once more.
        db.remove_session(session).map_err(|error| explain(&error))?;
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
