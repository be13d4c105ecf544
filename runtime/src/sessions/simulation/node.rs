//! One process: the rules, the downloads and the workers, driven as the manager drives them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use libp2p::PeerId;
use rpp_p2p::{
    ArtefactKind, ErrorCode, Exchange, Plan, PlanWishes, RequestFailure, RequestId, SessionState, SnapshotSessionId,
    SnapshotsRequest, SnapshotsResponse, Update,
    consumer::{self, Action as Wanted, Options, Storage},
    error::Cause,
};

use super::{
    super::{
        record::{self, Progress},
        rules::{Action, Hold, Lane, Loaded, Outcome, Rules},
        worker::{DiskJob, Job, Jobs, Next, Opened, Opening, Report, Reported, Worker},
    },
    disk::{SimBeside, SimDisk},
    rng::Rng,
    world::WORLD,
};
use crate::hooks::Watchers;

const CHUNK: u64 = 16_384;

#[derive(Clone, Copy, Debug)]
enum SimCall {
    Start,
    Cancel(SnapshotSessionId),
}

pub(super) struct SimNode {
    disk: SimDisk,
    rules: Rules<SimCall>,
    sessions: BTreeMap<SnapshotSessionId, Download>,
    lanes: BTreeMap<Lane, Running>,
    /// The reports of each lane, in order.
    reports: Arc<Mutex<BTreeMap<Lane, VecDeque<Reported>>>>,
    waiting: Vec<Waiting>,
    /// Sessions whose removal was answered.
    removed: Vec<SnapshotSessionId>,
    requests: u64,
    is_loaded: bool,
}

struct Download {
    record: record::Session,
    progress: Progress,
    machine: Option<consumer::Session>,
    to_open: Option<(Arc<Plan>, Arc<Vec<Update>>)>,
    /// Whether it was told that its record waits. Reports of what the worker has open at that time may no longer match
    /// any request of the machine. The manager only logs them.
    was_paused: bool,
}

struct Running {
    worker: Worker<SimDisk>,
    jobs: SimQueue,
}

#[derive(Default)]
struct SimQueue(VecDeque<Job>);

impl Jobs for SimQueue {
    fn next(&mut self) -> Next {
        self.0.pop_front().map_or(Next::Nothing, Next::Job)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Work for a download that somebody else does at a time of his own.
struct Waiting {
    session: SnapshotSessionId,
    epoch: u64,
    what: What,
}

enum What {
    Connect(PeerId),
    Authority,
    Answer(PeerId, RequestId, Box<Exchange>),
}

impl SimNode {
    pub(super) fn new(disk: SimDisk, max_active: usize) -> Self {
        disk.set_readable(true);
        Self {
            disk,
            rules: Rules::new(max_active),
            sessions: BTreeMap::new(),
            lanes: BTreeMap::new(),
            reports: Arc::default(),
            waiting: Vec::new(),
            removed: Vec::new(),
            requests: 0,
            is_loaded: true,
        }
    }

    /// Loads the state that a start finds: the database, if it can be read, and the notes beside the payloads.
    pub(super) fn load(&mut self, is_readable: bool, auto_resume: bool, now: Instant) {
        self.disk.set_readable(is_readable);
        self.is_loaded = is_readable;
        let mut found = if is_readable { self.disk.load() } else { Vec::new() };
        let mut rebuilt = Vec::new();
        for (record, progress) in self.disk.notes() {
            // A session is noted only once it has a plan. So a record without a plan is older than the note.
            let is_known = |known: &record::Session| known.plan.is_some() || known.state.is_final();
            match found.iter_mut().find(|(known, _)| known.session == record.session) {
                Some((known, _)) if is_known(known) => continue,
                Some(older) => *older = (record.clone(), progress),
                None => found.push((record.clone(), progress)),
            }
            rebuilt.push(record.session);
        }
        let hold = if auto_resume { Hold::Turn } else { Hold::Operator };
        self.take_in(found, hold);
        // The note is removed when the payload is placed.
        rebuilt.into_iter().for_each(|session| self.rules.changed(session));
        self.pump(now);
    }

    /// The database has become readable.
    pub(super) fn take_up(&mut self, now: Instant) {
        if !self.is_loaded {
            self.is_loaded = true;
            // Like the real database, it omits what was removed meanwhile.
            self.disk.set_readable(true);
            let found = self.disk.load();
            self.take_in(found, Hold::Turn);
            self.rules.loaded_all();
            self.pump(now);
        }
    }

    fn take_in(&mut self, found: Vec<(record::Session, Progress)>, hold: Hold) {
        for (record, progress) in found {
            let is_complete = record.state == SessionState::Complete;
            let is_over = record.state.is_final();
            let loaded = if is_over { Loaded::Over { is_complete } } else { Loaded::Held(hold) };
            let root = record.plan.as_ref().map(|plan| plan.snapshot.checkpoint.state_root);
            if self.rules.load(record.session, loaded, root) {
                self.sessions.insert(record.session, Download::new(record, progress));
            }
        }
    }

    pub(super) fn sessions(&self) -> Vec<SnapshotSessionId> {
        self.sessions.keys().copied().collect()
    }

    pub(super) fn take_removed(&mut self) -> Vec<SnapshotSessionId> {
        std::mem::take(&mut self.removed)
    }

    pub(super) fn start(&mut self, session: SnapshotSessionId, step: u64, now: Instant) {
        if self.rules.is_taken(session) {
            return;
        }
        let root = Some(WORLD.checkpoint(step).state_root);
        let wanted = PlanWishes { root, chunk_size: Some(CHUNK), ..Options::default().wishes };
        let text = format!(
            r#"{{ "session": {session}, "peer": "{}", "addresses": [], "wanted": {}, "plan": null, "state": "connecting",
                "error": null, "error_code": null, "started_at": "", "updated_at": "" }}"#,
            PeerId::random(),
            serde_json::to_string(&wanted).unwrap()
        );
        self.sessions.insert(session, Download::new(serde_json::from_str(&text).unwrap(), Progress::default()));
        self.rules.start(session, Hold::Turn, SimCall::Start);
        self.pump(now);
    }

    pub(super) fn start_again(&mut self, session: SnapshotSessionId) {
        self.rules.start_again(session, SimCall::Start);
        self.rules.changed(session);
    }

    pub(super) fn resume(&mut self, session: SnapshotSessionId, now: Instant) {
        let Some(download) = self.sessions.get_mut(&session) else { return };
        match &mut download.machine {
            Some(machine) if !machine.is_over() => machine.retry_now(now),
            _ if download.record.state == SessionState::Complete => {}
            _ => {
                download.record.begin();
                self.rules.resume(session);
            }
        }
        self.pump(now);
    }

    pub(super) fn cancel(&mut self, session: SnapshotSessionId) {
        if self.rules.cancel(session, SimCall::Cancel(session), self.is_loaded) {
            self.sessions.remove(&session);
        }
    }

    /// Does one thing that can happen now. Returns `false` if there is none.
    pub(super) fn happen(&mut self, rng: &mut Rng, now: Instant) -> bool {
        self.pump(now);
        let lanes: Vec<Lane> = self.lanes.keys().copied().collect();
        let reporting: Vec<Lane> = {
            let reports = self.reports.lock().unwrap();
            reports.iter().filter(|(_, queue)| !queue.is_empty()).map(|(lane, _)| *lane).collect()
        };
        let mut turns: Vec<u8> = vec![0, 1, 2];
        while !turns.is_empty() {
            let turn = turns.swap_remove(rng.below(turns.len() as u64) as usize);
            let did = match turn {
                0 if !reporting.is_empty() => {
                    let lane = rng.pick(&reporting);
                    let report = self.reports.lock().unwrap().get_mut(&lane).and_then(VecDeque::pop_front);
                    report.is_some_and(|report| {
                        self.on_report(report, now);
                        true
                    })
                }
                1 if !self.waiting.is_empty() => {
                    let at = rng.below(self.waiting.len() as u64) as usize;
                    let waiting = self.waiting.swap_remove(at);
                    self.answer(waiting, rng, now);
                    true
                }
                2 if !lanes.is_empty() => {
                    let first = rng.below(lanes.len() as u64) as usize;
                    let mut order = lanes.iter().cycle().skip(first).take(lanes.len());
                    order.any(|lane| {
                        self.lanes.get_mut(lane).is_some_and(|running| running.worker.step(&mut running.jobs))
                    })
                }
                _ => false,
            };
            if did {
                self.pump(now);
                return true;
            }
        }
        false
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let machines = self.sessions.values().filter_map(|download| download.machine.as_ref()?.poll_timeout());
        machines.chain(self.rules.poll_timeout()).min()
    }

    pub(super) fn on_time(&mut self, now: Instant) {
        for machine in self.sessions.values_mut().filter_map(|download| download.machine.as_mut()) {
            if machine.poll_timeout().is_some_and(|at| at <= now) {
                machine.handle_timeout(now);
            }
        }
        self.rules.handle_timeout(now);
        self.pump(now);
    }

    fn pump(&mut self, now: Instant) {
        loop {
            while let Some(action) = self.rules.poll_action() {
                self.act(action, now);
            }
            for session in self.sessions() {
                while let Some(wanted) =
                    self.sessions.get_mut(&session).and_then(|download| download.machine.as_mut()?.poll_action(now))
                {
                    self.perform(session, wanted, now);
                }
                self.settle(session);
            }
            if self.rules.is_idle() {
                return;
            }
        }
    }

    fn act(&mut self, action: Action<SimCall>, now: Instant) {
        match action {
            Action::Record { session, lane, .. } => {
                let record = self.sessions[&session].record.clone();
                self.send(lane, Job::Record(Box::new(record)));
            }
            Action::Begin { session, .. } => self.sessions.get_mut(&session).unwrap().begin(now),
            Action::Open { session, root, epoch } => {
                let download = self.sessions.get_mut(&session).unwrap();
                let (plan, updates) = download.to_open.take().expect("what is to be opened");
                let (record, before) = (download.record.clone(), download.progress);
                self.send(Some(root), Job::Open(Box::new(Opening { epoch, record, plan, updates, before })));
            }
            Action::HeldBy { session, holder } => {
                assert!(self.sessions.contains_key(&holder), "held by one that is gone");
                self.tell(session, now, Storage::HeldBy(holder));
            }
            Action::Close { session, root } => self.send(Some(root), Job::Close(session)),
            Action::Paused { session, error } => {
                self.sessions.get_mut(&session).unwrap().was_paused = true;
                self.tell(session, now, Storage::Unwritable(Cause::new(error)));
            }
            Action::Unrecordable { .. } | Action::Drop { .. } => panic!("every record can be encoded"),
            Action::Retire { session } => self.sessions.get_mut(&session).unwrap().machine = None,
            Action::Show { session } => self.show(session),
            Action::Remove { session, lane, payload } => self.send(lane, Job::Remove { session, payload }),
            Action::Removed { .. } => {}
            Action::Dismiss { lane } => {
                if let Some(running) = self.lanes.remove(&lane) {
                    // Only jobs for a payload that was closed meanwhile may be left.
                    let is_late = |job: &Job| matches!(job, Job::Disk { .. });
                    assert!(running.jobs.0.iter().all(is_late), "a worker was dismissed with jobs");
                    let is_open = lane.is_some_and(|root| self.disk.is_open(&root));
                    assert!(!is_open, "a worker was dismissed with an open payload");
                }
            }
            Action::Answer { call, outcome } => self.answered(call, outcome),
        }
    }

    fn answered(&mut self, call: SimCall, outcome: Outcome) {
        match (call, outcome) {
            (SimCall::Start, Outcome::Started(session)) => {
                let is_told = self.rules.standing(session).unwritten.is_some();
                let is_durable = self.disk.recorded(session).is_some() || self.disk.is_noted(session);
                assert!(is_told || is_durable || self.disk.is_crashed(), "{session} was promised and is not recorded");
            }
            (SimCall::Cancel(session), Outcome::Removed) => self.removed.push(session),
            (_, Outcome::Unknown(_)) => {}
            (call, outcome) => panic!("{call:?} was answered {outcome:?}"),
        }
    }

    fn send(&mut self, lane: Lane, job: Job) {
        if matches!(job, Job::Disk { .. }) && !self.lanes.contains_key(&lane) {
            return;
        }
        let running = self.lanes.entry(lane).or_insert_with(|| {
            let reports = Arc::clone(&self.reports);
            let tell = move |reported: Reported| {
                reports.lock().unwrap().entry(reported.lane).or_default().push_back(reported);
                true
            };
            let watchers = Watchers::new(Vec::new());
            Running {
                worker: Worker::new(lane, self.disk.clone(), Box::new(SimBeside::default()), watchers, Box::new(tell)),
                jobs: SimQueue::default(),
            }
        });
        running.jobs.0.push_back(job);
    }

    fn perform(&mut self, session: SnapshotSessionId, wanted: Wanted, now: Instant) {
        let epoch = self.rules.epoch(session);
        let download = self.sessions.get_mut(&session).unwrap();
        let machine = download.machine.as_mut().unwrap();
        let root = |download: &Download| Some(download.record.plan.as_ref()?.snapshot.checkpoint.state_root);
        let what = match wanted {
            Wanted::Connect(peer) => What::Connect(peer),
            Wanted::VerifyAuthority { .. } => What::Authority,
            Wanted::Request(peer, exchange) => {
                self.requests += 1;
                let id = RequestId::new(self.requests);
                machine.handle_sent(now, Ok(id)).unwrap();
                if let SnapshotsRequest::Ack { kind: ArtefactKind::Chunk, index, .. } = exchange.request()
                    && !self.disk.is_crashed()
                {
                    self.disk.assert_durable(session, exchange.plan().unwrap(), *index);
                }
                What::Answer(peer, id, Box::new(exchange))
            }
            Wanted::PlanAccepted(plan) => {
                download.record.plan = Some((*plan).clone());
                return self.rules.planned(session, plan.snapshot.checkpoint.state_root);
            }
            Wanted::OpenStorage { plan, updates } => {
                download.to_open = Some((plan, updates));
                return self.rules.open(session);
            }
            other => {
                let job = match other {
                    Wanted::Write(chunk) => DiskJob::Write(chunk),
                    Wanted::Sync => DiskJob::Sync,
                    Wanted::Repair(chunks) => DiskJob::Repair(chunks),
                    Wanted::Place => DiskJob::Place,
                    other => panic!("unknown action {other:?}"),
                };
                let lane = root(download);
                return self.send(lane, Job::Disk { session, epoch, job });
            }
        };
        self.waiting.push(Waiting { session, epoch, what });
    }

    fn settle(&mut self, session: SnapshotSessionId) {
        let Some(download) = self.sessions.get_mut(&session) else { return };
        if let Some(machine) = &download.machine
            && machine.is_over()
            && self.rules.is_active(session)
        {
            let view = machine.view();
            download.record.state = view.state;
            download.record.error = view.failure.map(|failure| failure.message);
            self.rules.ended(session, view.state == SessionState::Complete);
        }
        self.show(session);
    }

    /// Checks that the status that would be shown now is on the disk.
    fn show(&self, session: SnapshotSessionId) {
        let standing = self.rules.standing(session);
        let Some(download) = self.sessions.get(&session) else { return };
        if standing.is_recording || standing.unwritten.is_some() || self.disk.is_crashed() {
            return;
        }
        let Some(recorded) = self.disk.recorded(session) else {
            // The session was rebuilt from its note, which includes the plan.
            assert!(
                self.disk.is_noted(session) && !download.record.state.is_final(),
                "{session} is shown and not recorded"
            );
            return;
        };
        let is_same = recorded.plan == download.record.plan;
        assert!(is_same || self.disk.is_noted(session), "another plan is shown");
        if download.record.state.is_final() {
            assert_eq!(recorded.state, download.record.state, "{session}: an end is shown and not recorded");
        }
        if download.record.state == SessionState::Complete {
            let root = download.record.plan.as_ref().unwrap().snapshot.checkpoint.state_root;
            assert!(self.disk.is_stored(&root), "{session} is complete, and its payload is not stored");
        }
    }

    fn on_report(&mut self, reported: Reported, now: Instant) {
        let Reported { lane, session, epoch, report } = reported;
        let is_current = self.rules.is_current(session, epoch);
        match report {
            Report::Recorded(result) => return self.rules.handle_recorded(now, lane, session, result),
            Report::Removed(result) => return self.rules.handle_removed(lane, session, result),
            Report::Closed => return self.rules.handle_closed(lane, session),
            Report::Demoted(_) => return self.rules.handle_demoted(lane),
            Report::Opened(result) => {
                self.rules.handle_opened(lane, session, matches!(result, Ok(Opened::Partial { .. })));
                let Some(download) = self.sessions.get_mut(&session).filter(|_| is_current) else { return };
                let storage = match result {
                    Ok(Opened::Stored { path, progress }) => {
                        download.progress = progress;
                        Storage::AlreadyStored { path }
                    }
                    Ok(Opened::Partial { progress, durable, unchecked }) => {
                        download.progress = progress;
                        Storage::Ready { durable, unchecked }
                    }
                    Err(trouble) => trouble.into(),
                };
                return self.tell(session, now, storage);
            }
            Report::Trouble(trouble) => {
                self.rules.handle_trouble(lane, session);
                if is_current {
                    self.tell(session, now, trouble.into());
                }
                return;
            }
            _ => {}
        }
        let Some(download) = self.sessions.get_mut(&session).filter(|_| is_current) else { return };
        let Some(machine) = &mut download.machine else { return };
        let told = match report {
            Report::Written(index) => machine.handle_written(now, index),
            Report::Durable { progress, durable } => {
                if progress.bytes_durable > download.progress.bytes_durable {
                    download.progress = progress;
                }
                machine.handle_durable(now, &durable)
            }
            Report::Rechecked { checked, missing } => machine.handle_rechecked(now, checked, &missing),
            Report::Placed(path) => machine.handle_placed(now, path),
            _ => Ok(()),
        };
        assert!(told.is_ok() || download.was_paused, "{session}: {told:?}");
    }

    fn tell(&mut self, session: SnapshotSessionId, now: Instant, storage: Storage) {
        if let Some(machine) = self.sessions.get_mut(&session).and_then(|download| download.machine.as_mut()) {
            machine.handle_storage(now, storage).unwrap();
        }
    }

    /// Answers as a peer that is honest but not always reachable, or as this node's own checks.
    fn answer(&mut self, waiting: Waiting, rng: &mut Rng, now: Instant) {
        let Waiting { session, epoch, what } = waiting;
        let is_current = self.rules.is_current(session, epoch);
        let Some(download) = self.sessions.get_mut(&session).filter(|_| is_current) else { return };
        let Some(machine) = &mut download.machine else { return };
        match what {
            What::Connect(peer) if rng.chance(10) => machine.handle_dial_failed(now, peer, "nobody is there"),
            What::Connect(peer) => machine.handle_connected(now, peer),
            What::Authority => machine.handle_authority(now, Ok(())).unwrap(),
            What::Answer(peer, id, _) if rng.chance(4) => {
                machine.handle_request_failed(now, id, &RequestFailure::ConnectionClosed { received: 0 });
                machine.handle_disconnected(now, peer, "it was closed");
            }
            What::Answer(_, id, exchange) => {
                let response = respond(&exchange, rng.chance(5));
                let rules = rpp_p2p::Rules { trust: Arc::clone(&WORLD.trust), ..rpp_p2p::Rules::default() };
                let verified = exchange.check(&rules, response).expect("an honest answer");
                machine.handle_verified(now, id, verified).unwrap();
            }
        }
    }

    /// Checks that everything ended well, and that nothing is open or in progress. Returns the number of sessions.
    pub(super) fn check_end(&mut self, now: Instant) -> u64 {
        self.pump(now);
        for (session, download) in &self.sessions {
            let record = &download.record;
            assert_eq!(record.state, SessionState::Complete, "{session}: {:?}\n{}", record.error, self.describe());
            assert!(download.machine.is_none(), "{session} has a download yet");
            assert_eq!(self.disk.recorded(*session).map(|recorded| recorded.state), Some(record.state));
        }
        assert!(self.lanes.is_empty(), "workers are left: {:?}", self.lanes.keys());
        assert!(!self.disk.is_anything_open() && self.rules.records_under_way() == 0);
        self.sessions.len() as u64
    }

    pub(super) fn describe(&self) -> String {
        let of = |(session, download): (&SnapshotSessionId, &Download)| {
            let view = download.machine.as_ref().map(consumer::Session::view);
            let wait = view.and_then(|view| Some((view.state, view.waiting?.reason)));
            format!("{session}: {:?} {wait:?} {:?}", download.record.state, self.rules.standing(*session))
        };
        self.sessions.iter().map(of).collect::<Vec<_>>().join("\n")
    }
}

impl Download {
    fn new(record: record::Session, progress: Progress) -> Self {
        Self { record, progress, machine: None, to_open: None, was_paused: false }
    }

    fn begin(&mut self, now: Instant) {
        let (id, peer) = (self.record.session, self.record.peer);
        let (ack_bytes, window) = (2 * CHUNK, 4 * CHUNK);
        let ack_interval = Duration::from_millis(200);
        let options =
            Options { wishes: self.record.wanted, ack_bytes, window, ack_interval, seed: 1, ..Options::default() };
        self.machine = Some(match &self.record.plan {
            Some(plan) => {
                let saved = consumer::Saved {
                    plan: Arc::new(plan.clone()),
                    updates: Vec::new(),
                    confirmed_chunks: self.progress.confirmed_chunks,
                    confirmed_updates: self.progress.confirmed_updates,
                    durable: rpp_p2p::Have::prefix(
                        plan.snapshot.checkpoint.payload_bytes,
                        self.progress.confirmed_bytes(plan),
                    ),
                };
                consumer::Session::restore(id, peer, options, saved, None, now)
            }
            None => consumer::Session::new(id, peer, options, now),
        });
        self.record.begin();
        self.was_paused = false;
    }
}

fn respond(exchange: &Exchange, is_busy: bool) -> SnapshotsResponse {
    let session_id = exchange.request().session_id();
    if is_busy {
        return SnapshotsResponse::Error { session_id, code: ErrorCode::Busy, message: "later".to_owned() };
    }
    match *exchange.request() {
        SnapshotsRequest::Plan { wishes, .. } => {
            let is_wanted = |step: &u64| Some(WORLD.checkpoint(*step).state_root) == wishes.root;
            let step = (1..=WORLD.steps()).find(is_wanted).expect("a root of the chain");
            let plan = Box::new(WORLD.plan(step, (step + 1).min(WORLD.steps()), CHUNK));
            SnapshotsResponse::Plan { session_id, plan, min_chunk_size: CHUNK, max_chunk_size: CHUNK }
        }
        SnapshotsRequest::Chunk { chunk_index, .. } => {
            let plan = exchange.plan().expect("a plan");
            let payload = WORLD.payload(&plan.snapshot.checkpoint.state_root);
            let (chunk, proof) = payload.chunk(plan.chunk_size, chunk_index);
            SnapshotsResponse::Chunk { session_id, chunk_index, chunk, proof }
        }
        SnapshotsRequest::LightClientUpdate { update_index, .. } => {
            let update = Box::new(WORLD.update(exchange.plan().expect("a plan"), update_index));
            SnapshotsResponse::LightClientUpdate { session_id, update_index, update }
        }
        SnapshotsRequest::Resume { plan_id, chunk_index, update_index, .. } => {
            let chunk_size = exchange.plan().expect("a plan").chunk_size;
            SnapshotsResponse::Resume { session_id, plan_id, chunk_index, update_index, chunk_size }
        }
        SnapshotsRequest::Ack { kind, index, .. } => SnapshotsResponse::Ack { session_id, kind, index },
        SnapshotsRequest::Error { .. } => unreachable!("nobody tells a peer of a cancelled session here"),
    }
}
