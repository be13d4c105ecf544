//! The session manager: the driver of the [`Rules`], of each session's download, and of the store workers.

mod advice;
mod bans;
mod commands;
mod downloads;
mod heal;
mod kept;
mod mirrors;
mod rates;
mod reports;
mod seek;
mod sources;
mod tracked;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

use libp2p::PeerId;
use rpp_p2p::{
    LightClientSync, SharedVerifier, SnapshotSessionId, TrustAnchor,
    consumer::{self, Storage},
    error::Cause,
    rate::Shares,
};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};

use self::{
    heal::{payload_path, root},
    kept::Checks,
    tracked::Tracked,
};
pub(crate) use self::{kept::Kept, mirrors::MirrorTold, reports::VIOLATION_KINDS};
use super::{
    Done, Reloaded,
    authority::SharedHead,
    disk::FileDisk,
    rules::{Action, Hold, Loaded, Outcome, Rules},
    worker::{Job, Opening},
    workers::Workers,
};
use crate::{
    bans::{BanSource, Blame},
    clock::{instant_of, now_text},
    config::Config,
    error::{SnapshotRuntimeError, StorageFault},
    handle::Reply,
    hooks::Watchers,
    limits::PROOF_JOBS,
    metrics::Metrics,
    queues::Queues,
    status::{FailureCode, Head, NodeEvent, SessionState, SnapshotStreamStatus},
};

/// What the manager needs from the node around it.
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    pub(crate) me: PeerId,
    /// Checks authority; `None` if this node cannot consume.
    pub(crate) trust: Option<Arc<TrustAnchor>>,
    pub(crate) head_file: SharedHead,
    pub(crate) disk: FileDisk,
    /// For reports of blocking work.
    pub(crate) done: mpsc::Sender<Done>,
    /// Receives the newest head.
    pub(crate) head: watch::Sender<Option<Head>>,
    /// Receives what happens to sessions.
    pub(crate) events: broadcast::Sender<NodeEvent>,
    /// Receives it as numbers.
    pub(crate) metrics: Arc<Metrics>,
    /// Receive everything.
    pub(crate) watchers: Watchers,
}

/// All consumer sessions of a node.
pub(crate) struct Manager {
    config: Arc<Config>,
    me: PeerId,
    light: Option<LightClientSync>,
    trust: Option<Arc<TrustAnchor>>,
    head_file: SharedHead,
    disk: FileDisk,
    done: mpsc::Sender<Done>,
    head: watch::Sender<Option<Head>>,
    events: broadcast::Sender<NodeEvent>,
    metrics: Arc<Metrics>,
    watchers: Watchers,
    proofs: Arc<Semaphore>,
    rules: Rules<Call>,
    sessions: BTreeMap<SnapshotSessionId, Tracked>,
    workers: Workers,
    /// The session of each link whose id differs from the session's.
    links: HashMap<SnapshotSessionId, SnapshotSessionId>,
    /// Links that were dropped. The protocol forgets them in the next turn.
    retired: Vec<(PeerId, SnapshotSessionId)>,
    checks: Checks,
    /// The bans of sources that have sessions or are banned. There are at most as many entries as both together.
    standing: HashMap<BanSource, bans::SourceStanding>,
    /// The limit of payload bytes a second for all sessions together.
    download_limit: Option<u64>,
    /// Whose turn it is under that limit.
    rates: Shares<SnapshotSessionId, ()>,
    /// Sources that broke the rules. The node takes them at once.
    blames: Vec<Blame>,
}

/// A caller that waits until what it asked for is durable.
enum Call {
    Start(Reply<watch::Receiver<SnapshotStreamStatus>>),
    Cancel(Reply<()>),
}

impl Manager {
    pub(crate) fn new(context: Context) -> Self {
        let Context { config, me, trust, head_file, disk, done, head, events, metrics, watchers } = context;
        if let Some(head) = &*head.borrow() {
            metrics.head(head.height);
        }
        Self {
            light: trust.as_ref().map(|trust| LightClientSync::new((**trust).clone(), Arc::new(SharedVerifier))),
            trust,
            rules: Rules::new(config.snapshots.max_active_sessions),
            workers: Workers::new(disk.clone(), watchers.clone(), done.clone()),
            config,
            me,
            head_file,
            disk,
            done,
            head,
            events,
            metrics,
            watchers,
            proofs: Arc::new(Semaphore::new(PROOF_JOBS)),
            sessions: BTreeMap::new(),
            links: HashMap::new(),
            retired: Vec::new(),
            checks: Checks::default(),
            standing: HashMap::new(),
            blames: Vec::new(),
            download_limit: None,
            rates: Shares::default(),
        }
    }

    /// One permit for each proof that may be checked at once.
    pub(crate) fn proof_permits(&self) -> Arc<Semaphore> {
        Arc::clone(&self.proofs)
    }

    /// A sender for reports of blocking work.
    pub(crate) fn done(&self) -> mpsc::Sender<Done> {
        self.done.clone()
    }

    /// Loads the sessions of the database.
    pub(crate) fn reload(&mut self, sessions: Vec<Reloaded>) {
        let now = Instant::now();
        for Reloaded { record, progress, updates, is_rebuilt } in sessions {
            let is_complete = record.state == SessionState::Complete;
            let loaded = match (record.state.is_final(), self.config.snapshots.auto_resume) {
                (true, _) => Loaded::Over { is_complete },
                (false, true) if record.seeks() => Loaded::Held(Hold::Seek),
                (false, true) => Loaded::Held(Hold::Turn),
                (false, false) => Loaded::Held(Hold::Operator),
            };
            // The session was started, rebuilt or cancelled before the database could be read.
            if !self.rules.load(record.session, loaded, root(&record)) {
                continue;
            }
            tracing::info!(session = %record.session, state = record.state.as_str(), "session reloaded");
            let session = record.session;
            // A failed session has been waiting for its operator since it failed. Any other session begins to wait now.
            let has_failed = record.state == SessionState::Failed;
            let since = if has_failed { instant_of(&record.updated_at, now) } else { now };
            let path = payload_path(&self.disk.store, &record);
            let is_over = record.state.is_final().then_some(record.state);
            let is_held = is_over.is_none();
            let standing = self.rules.standing(session);
            let mut tracked = Tracked::new(record, progress, path, &standing, since, now);
            tracked.updates = updates;
            tracked.announced = is_over;
            self.sessions.insert(session, tracked);
            self.apply_standing(session, now);
            if is_rebuilt {
                self.rules.changed(session);
            }
            if is_held {
                self.publish(session, now);
            }
        }
        self.check_kept();
    }

    /// Carries out what the rules ask for.
    pub(super) fn apply(&mut self, now: Instant) {
        while let Some(action) = self.rules.poll_action() {
            match action {
                Action::Record { session, lane, .. } => {
                    let Some(tracked) = self.sessions.get_mut(&session) else { continue };
                    tracked.record.updated_at = now_text();
                    self.workers.send(lane, Job::Record(Box::new(tracked.record.clone())));
                }
                Action::Begin { session, .. } => self.begin(session, now),
                Action::Open { session, root, epoch } => {
                    let Some(tracked) = self.sessions.get_mut(&session) else { continue };
                    let Some((plan, updates)) = tracked.to_open.take() else { continue };
                    let (record, before) = (tracked.record.clone(), tracked.progress);
                    tracked.opening = Some((0, 0));
                    let opening = Box::new(Opening { epoch, record, plan, updates, before });
                    self.workers.send(Some(root), Job::Open(opening));
                }
                Action::HeldBy { session, holder } => self.tell_storage(session, now, Storage::HeldBy(holder)),
                Action::Close { session, root } => self.workers.send(Some(root), Job::Close(session)),
                Action::Paused { session, error } => {
                    self.tell_storage(session, now, Storage::Unwritable(Cause::new(error)));
                }
                Action::Unrecordable { session, error } => {
                    self.tell_storage(session, now, Storage::Failed(Cause::new(error)));
                }
                Action::Retire { session } => {
                    let Some(tracked) = self.sessions.get_mut(&session) else { continue };
                    let links = tracked.machine.iter().flat_map(consumer::Session::links);
                    self.retired.extend(links);
                    tracked.end_machine(now);
                    tracked.held_since = now;
                }
                Action::Show { session } => self.publish(session, now),
                Action::Drop { session } => drop(self.sessions.remove(&session)),
                Action::Remove { session, lane, payload } => {
                    self.workers.send(lane, Job::Remove { session, payload });
                }
                Action::Removed { session } => {
                    let _ = self.events.send(NodeEvent::SnapshotStreamCancelled(session));
                }
                Action::Dismiss { lane } => self.workers.dismiss(lane),
                Action::Answer { call, outcome } => self.answer(call, outcome),
            }
        }
    }

    fn tell_storage(&mut self, session: SnapshotSessionId, now: Instant, storage: Storage) {
        if let Some(machine) = self.sessions.get_mut(&session).and_then(|tracked| tracked.machine.as_mut()) {
            expected(session, machine.handle_storage(now, storage));
        }
    }

    fn answer(&self, call: Call, outcome: Outcome) {
        let result = match outcome {
            Outcome::Started(session) => self.watch(session).map(Some),
            Outcome::Unknown(session) => Err(SnapshotRuntimeError::UnknownSession { session }),
            Outcome::NotRecorded(error) => Err(StorageFault::new(error).into()),
            Outcome::Removed => Ok(None),
            Outcome::NotRemoved(error) => Err(StorageFault::new(error).into()),
        };
        // The caller may be gone.
        match (call, result) {
            (Call::Start(reply), Ok(Some(watched))) => drop(reply.send(Ok(watched))),
            (Call::Cancel(reply), Ok(_)) => drop(reply.send(Ok(()))),
            (Call::Start(reply), Err(error)) => drop(reply.send(Err(error))),
            (Call::Cancel(reply), Err(error)) => drop(reply.send(Err(error))),
            (Call::Start(_), Ok(None)) => tracing::error!("a fault of this node: a start was answered as a removal"),
        }
    }

    pub(super) fn publish(&mut self, session: SnapshotSessionId, now: Instant) {
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        let standing = self.rules.standing(session);
        let renewed = tracked.publish(&standing, now);
        // The state of a session that waits from its first moment on never changed, but watchers have not heard of it
        // yet.
        let unheard = !standing.is_recording && tracked.announced != Some(tracked.status.borrow().state);
        if renewed || unheard {
            let status = tracked.status.borrow().clone();
            self.watchers.each(|watcher| watcher.session(&status));
            self.announce(status);
        }
    }

    fn announce(&mut self, status: SnapshotStreamStatus) {
        let Some(tracked) = self.sessions.get_mut(&status.session) else { return };
        let changed = tracked.announced.replace(status.state) != Some(status.state);
        let event = match status.state {
            SessionState::Complete if changed => NodeEvent::SnapshotStreamCompleted(status),
            SessionState::Failed if changed => {
                snapshot_stream_failure(&status);
                NodeEvent::SnapshotStreamFailed(status)
            }
            SessionState::Complete | SessionState::Failed => return,
            _ => {
                if changed {
                    tracing::info!(session = %status.session, state = status.state.as_str(), "session");
                    if status.state == SessionState::BackingOff {
                        self.metrics.retried(status.error_code.map_or("network", FailureCode::as_str));
                    }
                }
                NodeEvent::SnapshotStreamProgress(status)
            }
        };
        let _ = self.events.send(event);
    }

    /// The peers of the sessions that have not ended.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> {
        let alive = self.sessions.values().filter(|tracked| !tracked.record.state.is_final());
        alive.flat_map(|tracked| tracked.record.peers().chain(tracked.joined.addresses.keys().copied()))
    }

    /// Updates the gauges.
    pub(crate) fn observe(&self) {
        self.metrics.sessions(self.sessions.values().map(|tracked| tracked.status.borrow()));
        self.metrics.damaged(self.disk.store.damaged().len());
    }

    /// How full its queues are.
    pub(crate) fn queues(&self) -> Queues {
        let recorder = self.rules.records_under_way();
        Queues {
            disk: self.workers.depth().saturating_sub(recorder),
            recorder,
            reports: self.done.max_capacity() - self.done.capacity(),
            ..Queues::default()
        }
    }

    /// Ends all store workers after their jobs. Resolves when everything they wrote is durable and recorded.
    pub(crate) fn close(&mut self) -> impl Future<Output = ()> + use<> {
        let workers = self.workers.close();
        let db = self.disk.db.clone();
        async move {
            workers.await;
            let _ = tokio::task::spawn_blocking(move || db.flush()).await;
        }
    }

    /// The session that has this link.
    fn download_of(&self, peer: PeerId, link: SnapshotSessionId) -> Option<SnapshotSessionId> {
        let session = *self.links.get(&link).unwrap_or(&link);
        let machine = self.sessions.get(&session)?.machine.as_ref()?;
        machine.has_link(peer, link).then_some(session)
    }

    fn current(&mut self, session: SnapshotSessionId, epoch: u64) -> Option<&mut consumer::Session> {
        if !self.rules.is_current(session, epoch) {
            return None;
        }
        self.sessions.get_mut(&session)?.machine.as_mut()
    }
}

/// Checks that what this node told a session answers a request of the session. Otherwise one of the two has a fault,
/// and the session continues without it.
fn expected(session: SnapshotSessionId, told: Result<(), consumer::Unexpected>) {
    if let Err(unexpected) = told {
        tracing::error!(%session, "a fault of this node: {unexpected}; please report it");
    }
}

/// Every failure of a session passes here.
fn snapshot_stream_failure(status: &SnapshotStreamStatus) {
    tracing::error!(
        session = %status.session,
        peer = status.peer.map(tracing::field::display),
        code = status.error_code.map_or("none", FailureCode::as_str),
        "session failed: {}",
        status.error.as_deref().unwrap_or("no reason recorded")
    );
}
