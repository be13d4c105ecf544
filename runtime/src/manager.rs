//! The session manager. It drives the machine of every consumer session, and applies the rules between sessions (how
//! many are active, which one writes a payload).

mod bans;
mod commands;
mod heal;
mod kept;
mod rates;
mod reports;
mod seek;
mod tracked;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::future::join_all;
use libp2p::{PeerId, Swarm};
use rpp_p2p::{
    Exchange, Hash, LightClientSync, SharedVerifier, SnapshotSessionId, TrustAnchor,
    consumer::{self, Action, ExplicitResume, Storage},
    limits,
    plan::PlanBounds,
    rate::Shares,
};
use tokio::{
    sync::{Semaphore, broadcast, mpsc, watch},
    task::JoinHandle,
};

use self::{
    heal::payload_path,
    kept::Checks,
    tracked::{Hold, Tracked, trouble},
};
pub(crate) use self::{kept::Kept, reports::VIOLATION_KINDS};
use crate::{
    bans::Blame,
    clock::{instant_of, now_text},
    config::Config,
    db::Db,
    error::SnapshotRuntimeError,
    handle::Reply,
    head::HeadFile,
    hooks::{Watchers, Work},
    jobs::{self, Authority, Done, Entry, Opening, Unsettled, Wanted},
    limits::{PROOF_JOBS, RECORDER_QUEUE},
    metrics::Metrics,
    peers::Peers,
    queues::Queues,
    record,
    status::{FailureCode, Head, NodeEvent, SessionState, SnapshotStreamStatus},
    store::Store,
    swarm::{self, NodeBehaviour},
    writable::Writable,
    writer::{DiskJob, Trouble, Writer},
};

/// All consumer sessions of a node.
pub(crate) struct Manager {
    config: Arc<Config>,
    /// Checks authority by the trust anchor; `None` without one.
    light: Option<LightClientSync>,
    db: Db,
    store: Arc<Store>,
    head_file: Result<Arc<Mutex<HeadFile>>, String>,
    head: watch::Sender<Option<Head>>,
    done: mpsc::Sender<Done>,
    recorder: mpsc::Sender<Entry>,
    recorder_ended: Option<JoinHandle<()>>,
    events: broadcast::Sender<NodeEvent>,
    metrics: Arc<Metrics>,
    watchers: Watchers,
    writable: Arc<Writable>,
    me: PeerId,
    /// `data/snapshots/`.
    snapshots: PathBuf,
    proofs: Arc<Semaphore>,
    sessions: BTreeMap<SnapshotSessionId, Tracked>,
    /// The session that writes each payload.
    roots: HashMap<Hash, SnapshotSessionId>,
    /// Disk workers that are finishing, by payload: the next worker waits for them.
    closing: HashMap<Hash, JoinHandle<()>>,
    /// Callers that wait until a record is durable.
    started: HashMap<SnapshotSessionId, Vec<Reply<watch::Receiver<SnapshotStreamStatus>>>>,
    removed: HashMap<SnapshotSessionId, Reply<()>>,
    /// Sessions that were cancelled while the database could not be read.
    forgotten: BTreeSet<SnapshotSessionId>,
    checks: Checks,
    /// What is known of the bans of peers that have sessions, or are banned: at most as many as both together.
    standing: HashMap<PeerId, bans::Standing>,
    /// Bytes of payload a second of all sessions together.
    download_limit: Option<u64>,
    /// Whose turn it is under that limit.
    rates: Shares<SnapshotSessionId, ()>,
    /// Who broke the rules; the node takes them at once.
    blames: Vec<Blame>,
}

impl Manager {
    #[allow(clippy::too_many_arguments)] // Called once, by `Node::start`.
    pub(crate) fn new(
        config: Arc<Config>,
        trust: Option<Arc<TrustAnchor>>,
        db: Db,
        store: Arc<Store>,
        head_file: Result<Arc<Mutex<HeadFile>>, String>,
        head: watch::Sender<Option<Head>>,
        done: mpsc::Sender<Done>,
        events: broadcast::Sender<NodeEvent>,
        metrics: Arc<Metrics>,
        watchers: Watchers,
        writable: Arc<Writable>,
        me: PeerId,
    ) -> Self {
        let snapshots = config.data_dir.join("snapshots");
        let partials = snapshots.join("partial");
        let (told, watching) = (done.clone(), watchers.clone());
        let (recorder, recorder_ended) =
            jobs::spawn_recorder(db.clone(), Arc::clone(&store), partials, told, watching, RECORDER_QUEUE);
        if let Some(head) = &*head.borrow() {
            metrics.head(head.height);
        }
        Self {
            config,
            light: trust.map(|trust| LightClientSync::new((*trust).clone(), Arc::new(SharedVerifier))),
            db,
            store,
            head_file,
            head,
            done,
            recorder,
            recorder_ended: Some(recorder_ended),
            events,
            metrics,
            watchers,
            writable,
            me,
            snapshots,
            proofs: Arc::new(Semaphore::new(PROOF_JOBS)),
            sessions: BTreeMap::new(),
            roots: HashMap::new(),
            closing: HashMap::new(),
            started: HashMap::new(),
            removed: HashMap::new(),
            forgotten: BTreeSet::new(),
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
        for Reloaded { record, progress, updates } in sessions {
            // Started, rebuilt or cancelled before the database could be read.
            if self.sessions.contains_key(&record.session) || self.forgotten.remove(&record.session) {
                continue;
            }
            let hold = match (record.state.is_final(), self.config.snapshots.auto_resume) {
                (true, _) => None,
                (false, true) if record.provider().is_none() => Some(Hold::Seek),
                (false, true) => Some(Hold::Turn),
                (false, false) => Some(Hold::Operator),
            };
            tracing::info!(session = %record.session, state = record.state.as_str(), "session reloaded");
            let session = record.session;
            // One that failed has been waiting for its operator since then; what holds the others holds them from now on.
            let has_failed = record.state == SessionState::Failed;
            let since = if has_failed { instant_of(&record.updated_at, now) } else { now };
            let path = payload_path(&self.store, &record);
            let is_over = record.state.is_final().then_some(record.state);
            let mut tracked = Tracked::new(record, progress, path, hold, since, now);
            tracked.updates = updates;
            tracked.announced = is_over;
            self.sessions.insert(session, tracked);
            self.apply_standing(session, now);
            if hold.is_some() {
                self.publish(session, now);
            }
        }
        self.check_kept();
    }

    /// Lets every session do what it can do now.
    pub(crate) fn pump(&mut self, swarm: &mut Swarm<NodeBehaviour>, peers: &Peers, now: Instant) {
        self.activate(now);
        let active: Vec<_> =
            self.sessions.iter().filter(|(_, tracked)| tracked.is_active()).map(|(session, _)| *session).collect();
        for session in active {
            self.drive(session, swarm, peers, now);
        }
        while let Some(session) = self.next_grant(now) {
            self.drive(session, swarm, peers, now);
        }
    }

    fn next_action(&mut self, session: SnapshotSessionId, now: Instant) -> Option<Action> {
        self.sessions.get_mut(&session)?.machine.as_mut()?.poll_action(now)
    }

    /// Starts sessions that wait for their turn, lowest id first, while fewer than allowed are active.
    fn activate(&mut self, now: Instant) {
        let mut room = self
            .config
            .snapshots
            .max_active_sessions
            .saturating_sub(self.sessions.values().filter(|tracked| tracked.is_active()).count());
        let turn: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, tracked)| tracked.hold == Some(Hold::Turn) && tracked.machine.is_none())
            .map(|(session, _)| *session)
            .collect();
        for session in turn {
            if room == 0 {
                break;
            }
            room -= 1;
            self.set_machine(session, None, now);
        }
    }

    /// Makes the machine of a session from its record. `explicit`: offsets that an operator insists on.
    fn set_machine(&mut self, session: SnapshotSessionId, explicit: Option<ExplicitResume>, now: Instant) {
        let options = self.options(session);
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        let (id, peer) = (tracked.record.session, tracked.record.peer);
        tracked.machine = Some(match &tracked.record.plan {
            Some(plan) => {
                let saved = consumer::Saved {
                    plan: Arc::new(plan.clone()),
                    updates: std::mem::take(&mut tracked.updates),
                    confirmed_chunks: tracked.progress.confirmed_chunks,
                    confirmed_updates: tracked.progress.confirmed_updates,
                };
                consumer::Session::restore(id, peer, options, saved, explicit, now)
            }
            None => consumer::Session::new(id, peer, options, now),
        });
        tracked.hold = None;
        tracked.epoch += 1;
        tracked.record.state = SessionState::Connecting;
        tracked.record.error = None;
        tracked.record.error_code = None;
        tracked.record.advice = None;
        tracked.record.distrust = false;
    }

    fn options(&self, session: SnapshotSessionId) -> consumer::Options {
        let snapshots = &self.config.snapshots;
        let wanted = self.sessions.get(&session).map(|tracked| tracked.record.wanted);
        let mut options = consumer::Options {
            ack_bytes: snapshots.ack_bytes,
            ack_interval: Duration::from_millis(snapshots.ack_ms),
            window: snapshots.window,
            give_up_after: (snapshots.give_up_after_s > 0).then(|| Duration::from_secs(snapshots.give_up_after_s)),
            ..consumer::Options::default()
        };
        if let Some(wanted) = wanted {
            options.wishes = wanted;
        }
        options
    }

    fn perform(
        &mut self,
        session: SnapshotSessionId,
        action: Action,
        swarm: &mut Swarm<NodeBehaviour>,
        peers: &Peers,
        now: Instant,
    ) {
        match action {
            Action::Connect => self.connect(session, swarm, peers, now),
            Action::Request(exchange) => self.request(session, exchange, swarm, now),
            Action::Grant(grant) => {
                if let Some(tracked) = self.sessions.get(&session) {
                    swarm.behaviour_mut().snapshots.grant(tracked.record.peer, grant);
                }
            }
            Action::PlanAccepted(plan) => {
                if let Some(tracked) = self.sessions.get_mut(&session) {
                    if tracked.record.plan.as_ref().is_some_and(|old| old.chunk_size != plan.chunk_size) {
                        // In a plan with smaller chunks, the same bytes are more chunks.
                        let same = record::Progress::of(&plan, tracked.progress.bytes_durable);
                        tracked.progress.confirmed_chunks = same.confirmed_chunks;
                    }
                    tracked.record.plan = Some((*plan).clone());
                }
                self.put(session);
            }
            Action::VerifyAuthority { plan, updates } => self.verify(session, plan, updates),
            Action::OpenStorage { plan, updates } => self.open(session, plan, updates, now),
            Action::Write(chunk) => self.disk_job(session, DiskJob::Write(chunk), now),
            Action::Sync => self.disk_job(session, DiskJob::Sync, now),
            Action::Repair(chunks) => self.disk_job(session, DiskJob::Repair(chunks), now),
            Action::Place => self.disk_job(session, DiskJob::Place, now),
            other => tracing::error!(%session, "an action this node does not know: {other:?}"),
        }
    }

    fn connect(&mut self, session: SnapshotSessionId, swarm: &mut Swarm<NodeBehaviour>, peers: &Peers, now: Instant) {
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        if let Some(reason) = bans::not_dialled(tracked) {
            if let Some(machine) = &mut tracked.machine {
                machine.handle_dial_failed(now, &reason);
            }
            return;
        }
        let Some(machine) = &mut tracked.machine else { return };
        let peer = tracked.record.peer;
        if swarm.is_connected(&peer) {
            machine.handle_connected(now);
            return;
        }
        let mut addresses = tracked.record.addresses.clone();
        addresses.extend(peers.addresses(&peer).iter().cloned());
        if let Err(reason) = swarm::dial(swarm, peer, addresses) {
            machine.handle_dial_failed(now, &reason);
        }
    }

    fn request(
        &mut self,
        session: SnapshotSessionId,
        exchange: Exchange,
        swarm: &mut Swarm<NodeBehaviour>,
        now: Instant,
    ) {
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        let Some(machine) = &mut tracked.machine else { return };
        let peer = tracked.record.peer;
        let behaviour = &mut swarm.behaviour_mut().snapshots;
        let sent = behaviour.request(peer, exchange);
        expected(session, machine.handle_sent(now, sent));
    }

    fn verify(&mut self, session: SnapshotSessionId, plan: Arc<rpp_p2p::Plan>, updates: Arc<Vec<rpp_p2p::Update>>) {
        let Some(tracked) = self.sessions.get(&session) else { return };
        let epoch = tracked.epoch;
        let (head, light) = (self.head_file.clone(), self.light.clone());
        let (permits, done) = (Arc::clone(&self.proofs), self.done.clone());
        let (watchers, writable) = (self.watchers.clone(), Arc::clone(&self.writable));
        let plan_id = plan.plan_id;
        tokio::spawn(async move {
            let no_anchor = || Unsettled::Unfinished(SnapshotRuntimeError::NoTrustAnchor.to_string());
            let anchored = light.ok_or_else(no_anchor);
            let (light, head) = match anchored.and_then(|light| Ok((light, head.map_err(Unsettled::Storage)?))) {
                Ok(both) => both,
                Err(error) => {
                    let _ = done.send(Done::Authority { session, epoch, result: Err(error) }).await;
                    return;
                }
            };
            let chain = blocking({
                let (plan, updates, head, watchers) = (plan.clone(), updates.clone(), head.clone(), watchers.clone());
                let (light, writable) = (light.clone(), Arc::clone(&writable));
                move || {
                    let _work = watchers.work(Work::Chain, session);
                    jobs::check_chain(&plan, &updates, &light, &head, &writable)
                }
            })
            .await;
            let (chain, known) = match chain {
                Ok(checked) => checked,
                Err(error) => {
                    let _ = done.send(Done::Authority { session, epoch, result: Err(error) }).await;
                    return;
                }
            };
            let is_known = known.is_some();
            if let Some(head) = known {
                let result = Ok(Authority::Known(head));
                let _ = done.send(Done::Authority { session, epoch, result }).await;
            }
            let permit = permits.acquire_owned().await;
            let proven = blocking(move || {
                let _permit = permit;
                let _work = watchers.work(Work::Proof, session);
                jobs::check_proof(&chain, &light)?;
                if is_known { Ok(None) } else { jobs::check_head(&plan, &updates, &head, &writable).map(Some) }
            })
            .await;
            let report = match proven {
                Ok(Some(head)) => Done::Authority { session, epoch, result: Ok(Authority::Settled(head)) },
                Ok(None) => Done::Proof { session, epoch, plan_id, result: Ok(()) },
                Err(error) if is_known => Done::Proof { session, epoch, plan_id, result: Err(error) },
                Err(error) => Done::Authority { session, epoch, result: Err(error) },
            };
            let _ = done.send(report).await;
        });
    }

    fn open(
        &mut self,
        session: SnapshotSessionId,
        plan: Arc<rpp_p2p::Plan>,
        updates: Arc<Vec<rpp_p2p::Update>>,
        now: Instant,
    ) {
        let root = plan.snapshot.checkpoint.state_root;
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        let Some(machine) = &mut tracked.machine else { return };
        if let Some(&holder) = self.roots.get(&root).filter(|holder| **holder != session) {
            expected(session, machine.handle_storage(now, Storage::HeldBy(holder)));
            return;
        }
        self.roots.insert(root, session);
        self.let_go(session);
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        let epoch = tracked.epoch;
        let opening = Opening {
            record: tracked.record.clone(),
            progress: tracked.progress,
            wanted: tracked.opening.get_or_insert_with(Wanted::new).clone(),
        };
        let (store, done, snapshots) = (Arc::clone(&self.store), self.done.clone(), self.snapshots.clone());
        let (db, watchers, writable) = (self.db.clone(), self.watchers.clone(), Arc::clone(&self.writable));
        let previous = self.closing.remove(&root);
        tokio::spawn(async move {
            if let Some(previous) = previous {
                let _ = previous.await; // Only one writer for a payload, also across tries.
            }
            let opened = tokio::task::spawn_blocking(move || {
                let _work = watchers.work(Work::Open, session);
                jobs::open_place(&store, &db, &snapshots, &plan, &updates, &opening, &writable)
            })
            .await;
            let result = opened.unwrap_or_else(|error| Err(Trouble::Other(error.to_string())));
            let _ = done.send(Done::Opened { session, epoch, result }).await;
        });
    }

    /// Lets a session's disk worker finish by itself; the payload's next worker waits for it.
    fn let_go(&mut self, session: SnapshotSessionId) {
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        let (Some(writer), Some(plan)) = (tracked.writer.take(), &tracked.record.plan) else { return };
        self.closing.insert(plan.snapshot.checkpoint.state_root, writer.close());
        self.closing.retain(|_, worker| !worker.is_finished());
    }

    fn disk_job(&mut self, session: SnapshotSessionId, job: DiskJob, now: Instant) {
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        let accepted = tracked.writer.as_ref().is_some_and(|writer| writer.send(job));
        if let (false, Some(machine)) = (accepted, &mut tracked.machine) {
            let reason = "the disk worker is gone or does not keep up".to_owned();
            expected(session, machine.handle_storage(now, Storage::Failed(reason)));
        }
    }

    /// Persists a session's record. Its status is updated when that is done. `false` if the database does not keep up.
    fn put(&mut self, session: SnapshotSessionId) -> bool {
        let Some(tracked) = self.sessions.get_mut(&session) else { return false };
        tracked.record.updated_at = now_text();
        if let Some(unrecorded) = &mut tracked.unrecorded {
            unrecorded.next = None;
        }
        let entry = Entry::Put { record: Box::new(tracked.record.clone()), epoch: tracked.epoch };
        match self.recorder.try_send(entry) {
            Ok(()) => {
                tracked.recording += 1;
                true
            }
            Err(error) => {
                tracing::error!(%session, "the record could not be handed to the database: {error}");
                false
            }
        }
    }

    /// Called after a session did what it could: persists final states, publishes changes, and passes on its turn and
    /// payload.
    fn settle(&mut self, session: SnapshotSessionId, now: Instant) {
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        if let Some(machine) = &tracked.machine
            && machine.state().is_final()
            && !tracked.record.state.is_final()
        {
            let view = machine.view();
            let trouble = view.failure.as_ref().and_then(|_| trouble(&view));
            let distrust = view.failure.as_ref().is_some_and(|failure| failure.distrust);
            tracked.record.state = view.state;
            (tracked.record.error_code, tracked.record.error) = trouble.unzip();
            tracked.record.advice = view.failure.and(view.waiting).map(|wait| wait.reason);
            tracked.here.payload_path = view.payload_path;
            tracked.here.is_verified = tracked.record.state == SessionState::Complete;
            tracked.record.distrust = distrust;
            self.put(session);
            if distrust {
                self.distrust(session, now);
            }
            return;
        }
        if !tracked.may_wait(now) {
            self.publish(session, now);
        }
    }

    fn publish(&mut self, session: SnapshotSessionId, now: Instant) {
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        let renewed = tracked.publish(now);
        // A session that waits from its first moment on has never changed, but that is news as well.
        let unheard = tracked.recording == 0 && tracked.announced != Some(tracked.status.borrow().state);
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

    /// A session ended: its machine is dropped, and its payload is free for the next one.
    fn retire(&mut self, session: SnapshotSessionId, now: Instant) {
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        tracked.end_machine();
        tracked.held_since = now;
        self.let_go(session);
        self.release_root(session);
    }

    fn release_root(&mut self, session: SnapshotSessionId) {
        self.roots.retain(|_, holder| *holder != session);
    }

    /// The peers of the sessions that are not over.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> {
        let alive = self.sessions.values().filter(|tracked| !tracked.record.state.is_final());
        alive.filter_map(|tracked| tracked.record.provider())
    }

    /// Updates the gauges.
    pub(crate) fn observe(&self) {
        self.metrics.sessions(self.sessions.values().map(|tracked| {
            let status = tracked.status.borrow();
            (status.state, status.bytes_verified.saturating_sub(status.bytes_durable))
        }));
        self.metrics.damaged(self.store.damaged().len());
    }

    /// How full its queues are.
    pub(crate) fn queues(&self) -> Queues {
        Queues {
            disk: self.sessions.values().filter_map(|tracked| tracked.writer.as_ref()).map(Writer::depth).sum(),
            recorder: self.recorder.max_capacity() - self.recorder.capacity(),
            reports: self.done.max_capacity() - self.done.capacity(),
            ..Queues::default()
        }
    }

    /// Resolves once the manager is dropped and its records are written.
    pub(crate) fn take_recorder(&mut self) -> Option<JoinHandle<()>> {
        self.recorder_ended.take()
    }

    /// Ends all writers after their queued jobs. Resolves when everything they wrote is durable and recorded.
    pub(crate) fn close(&mut self) -> impl Future<Output = ()> + use<> {
        let writers: Vec<_> = self
            .sessions
            .values_mut()
            .filter_map(|tracked| tracked.writer.take())
            .map(Writer::close)
            .chain(self.closing.drain().map(|(_, worker)| worker))
            .collect();
        let db = self.db.clone();
        async move {
            join_all(writers).await;
            let _ = tokio::task::spawn_blocking(move || db.flush()).await;
        }
    }

    fn machine_of(&mut self, session: SnapshotSessionId, peer: PeerId) -> Option<&mut consumer::Session> {
        self.sessions.get_mut(&session).filter(|tracked| tracked.record.peer == peer)?.machine.as_mut()
    }

    fn current(&mut self, session: SnapshotSessionId, epoch: u64) -> Option<&mut consumer::Session> {
        self.sessions.get_mut(&session).filter(|tracked| tracked.epoch == epoch)?.machine.as_mut()
    }
}

/// What this node tells a session answers something that the session asked for: else one of the two has a fault, and the
/// session goes on without.
fn expected(session: SnapshotSessionId, told: Result<(), consumer::Unexpected>) {
    if let Err(unexpected) = told {
        tracing::error!(%session, "a fault of this node: {unexpected}; please report it");
    }
}

/// Runs a check of authority on a blocking thread.
async fn blocking<T: Send + 'static>(
    check: impl FnOnce() -> Result<T, Unsettled> + Send + 'static,
) -> Result<T, Unsettled> {
    tokio::task::spawn_blocking(check).await.unwrap_or_else(|error| Err(Unsettled::Unfinished(error.to_string())))
}

/// A session as it was found at the start.
pub(crate) struct Reloaded {
    pub(crate) record: record::Session,
    pub(crate) progress: record::Progress,
    /// The updates stored beside its partial payload.
    pub(crate) updates: Vec<rpp_p2p::Update>,
}

/// The bounds on plans, from the configuration.
pub(crate) fn plan_bounds(config: &Config) -> PlanBounds {
    PlanBounds {
        min_chunk_size: config.snapshots.min_chunk_size,
        max_chunk_size: config.snapshots.max_chunk_size,
        max_updates: config.snapshots.max_updates.min(limits::MAX_UPDATES),
        max_payload_bytes: config.snapshots.max_payload_bytes,
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
