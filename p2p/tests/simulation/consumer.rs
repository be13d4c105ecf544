//! A consumer made of the real `Session`, with a disk that survives its restarts.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::PeerId;
use rpp_p2p::{
    ArtefactKind, AuthorityError, Exchange, Hash, Have, Plan, PlanWishes, RequestFailure, RequestId, Rules,
    SessionState, SnapshotSessionId, SnapshotsRequest, Update, Verified, VerifiedChunk, Violation,
    authority::check_authority_signatures,
    consumer::{Action, Blame, DownloadSource, Options, Saved, Session, Storage, Unexpected},
    status::SourceState,
    tree::chunk_range,
};

use crate::{simulation::rng::Rng, world::WORLD};

/// The data on the consumer's disk, and the data that is only in the page cache.
#[derive(Default)]
struct Disk {
    record: Option<(Arc<Plan>, u64, u64)>,
    /// `plan.json` of the partial payload.
    updates: Arc<Vec<Update>>,
    /// `have` of each partial payload.
    have: HashMap<Hash, Have>,
    partial: HashMap<Hash, Partial>,
    stored: HashMap<Hash, Vec<u8>>,
    /// Tips whose proof was checked: `head.json`.
    proven: HashSet<Hash>,
}

/// The progress of hashing the bytes that were there when the payload was opened.
#[derive(Default)]
struct Recheck {
    /// The number of openings.
    opening: u32,
    /// Chunks still to be hashed, in ascending order, with the next one last.
    chunks: Vec<u64>,
    missing: Vec<u64>,
}

struct Partial {
    bytes: Vec<u8>,
    written: Have,
    durable: Have,
}

impl Partial {
    fn new(bytes: u64) -> Self {
        Self { bytes: vec![0; bytes as usize], written: Have::nothing(bytes), durable: Have::nothing(bytes) }
    }

    fn holds(&self, root: &Hash, chunk_size: u64, index: u64) -> bool {
        let range = chunk_range(self.bytes.len() as u64, chunk_size, index);
        let bytes = range.start as usize..range.end as usize;
        self.bytes[bytes.clone()] == WORLD.payload(root).bytes[bytes]
    }
}

pub struct Consumer {
    pub peer: PeerId,
    pub providers: Vec<PeerId>,
    pub session: Session,
    pub life: u32,
    pub full: bool,
    /// The providers to which it is connected.
    pub connected: BTreeSet<usize>,
    /// The number of connections made to each provider.
    pub connections: Vec<u32>,
    /// The requests in flight, as the transport knows them, with the provider of each.
    pub in_flight: BTreeMap<u64, (usize, Exchange)>,
    pub requests: u64,
    /// All blames so far.
    pub blames: Vec<Blame>,
    /// Local work and dials in progress. Each will be answered.
    pub pending: u32,
    pub trace: Option<Vec<String>>,
    options: Options,
    disk: Disk,
    /// Counts disk failures, because each failure drops the work in progress.
    disk_epoch: u32,
    confirmed: (u64, u64),
    recheck: Recheck,
    failed_before: bool,
}

/// Local work of the consumer's machine, done at its own time.
pub enum Local {
    Dialled(usize, bool),
    Verify(u64, Box<(Exchange, rpp_p2p::SnapshotsResponse)>),
    Authority(Arc<Plan>, Arc<Vec<Update>>),
    Open(Arc<Plan>, Arc<Vec<Update>>),
    Write(VerifiedChunk),
    /// Sync the payload.
    Sync,
    /// Record the progress after the sync.
    Record(Have),
    /// Hash a chunk again that was on the disk.
    Recheck(u32),
    Repair(Vec<VerifiedChunk>),
    Proof(Arc<Plan>, Arc<Vec<Update>>),
    Place,
}

/// A request to the simulation.
pub enum Wish {
    Send(usize, u64, SnapshotsRequest),
    Work { work: Local, on_disk: bool, epoch: u32 },
}

impl Consumer {
    pub fn new(peer: PeerId, providers: Vec<PeerId>, id: SnapshotSessionId, options: Options, now: Instant) -> Self {
        let mut session = Session::new(id, providers[0], options.clone(), now);
        add_others(&mut session, &providers, now);
        Self {
            peer,
            session,
            life: 0,
            full: false,
            connected: BTreeSet::new(),
            connections: vec![0; providers.len()],
            providers,
            in_flight: BTreeMap::new(),
            requests: 0,
            blames: Vec::new(),
            pending: 0,
            trace: None,
            options,
            disk: Disk::default(),
            disk_epoch: 0,
            confirmed: (0, 0),
            recheck: Recheck::default(),
            failed_before: false,
        }
    }

    /// The process was killed and starts again.
    pub fn restart(&mut self, now: Instant, rng: &mut Rng) {
        let id = self.session.id();
        self.life += 1;
        self.disk_epoch += 1;
        self.connected.clear();
        self.connections.iter_mut().for_each(|connection| *connection += 1);
        self.in_flight.clear();
        self.pending = 0;
        for (root, partial) in &mut self.disk.partial {
            // Some data that was not synced may have reached the disk all the same, in whole chunks that verify.
            if !rng.chance(30) {
                for lost in partial.durable.missing_bytes() {
                    partial.bytes[lost.start as usize..lost.end as usize].fill(0);
                }
            }
            partial.written = partial.durable.clone();
            if rng.chance(2) {
                *partial = Partial::new(partial.bytes.len() as u64);
                self.disk.have.remove(root);
            }
            // A damaged `have` file is as good as none.
            if rng.chance(5) {
                self.disk.have.remove(root);
            }
            if rng.chance(30) && !partial.bytes.is_empty() {
                let at = rng.below(partial.bytes.len() as u64) as usize;
                partial.bytes[at] ^= 1 << rng.below(8);
            }
        }
        self.recheck = Recheck { opening: self.recheck.opening + 1, ..Recheck::default() };
        self.session = match &self.disk.record {
            None => Session::new(id, self.providers[0], self.options.clone(), now),
            Some((plan, chunks, updates)) => {
                let kept = if rng.chance(50) { rng.below(self.disk.updates.len() as u64 + 1) } else { 0 };
                let mut found = self.disk.updates[..kept as usize].to_vec();
                if let Some(last) = found.last_mut().filter(|_| rng.chance(20)) {
                    last.recursive_proof = Some("damaged".into());
                    last.signatures.truncate(1);
                }
                let saved = Saved {
                    plan: Arc::clone(plan),
                    updates: found,
                    confirmed_chunks: *chunks,
                    confirmed_updates: *updates,
                    durable: self.recorded(plan),
                };
                Session::restore(id, self.providers[0], self.options.clone(), saved, None, now)
            }
        };
        add_others(&mut self.session, &self.providers, now);
        // Bans survive the restart.
        for blame in &self.blames {
            if let DownloadSource::Peer(peer) = blame.source {
                self.session.handle_distrust(now, peer, &format!("{peer} is banned"));
            }
        }
        self.note(|| "restarted".to_owned());
    }

    /// Carries out all actions, checks the invariants, and returns what is to happen.
    pub fn drive(&mut self, now: Instant) -> Vec<Wish> {
        let mut wishes = Vec::new();
        while let Some(action) = self.session.poll_action(now) {
            assert!(wishes.len() < 1000, "actions without end");
            self.note(|| format!("{action:?}").chars().take(200).collect());
            wishes.extend(self.act(now, action));
        }
        self.take_blames();
        self.check();
        wishes
    }

    fn act(&mut self, now: Instant, action: Action) -> Option<Wish> {
        let (work, on_disk) = match action {
            Action::Connect(peer) => (Local::Dialled(self.number(peer), true), false),
            Action::Close(peer, session) => {
                assert!(self.session.has_link(peer, session));
                let with = self.number(peer);
                self.in_flight.retain(|_, (other, _)| *other != with);
                return None;
            }
            Action::Request(peer, exchange) => {
                let request = exchange.request().clone();
                let with = self.number(peer);
                assert!(self.session.has_link(peer, request.session_id()));
                self.check_request(&request);
                assert!(!self.in_flight.values().any(|(other, _)| *other == with), "a second request in flight");
                exchange.fits().expect("the request does not fit its plan");
                self.requests += 1;
                self.in_flight.insert(self.requests, (with, exchange));
                self.session.handle_sent(now, Ok(RequestId::new(self.requests))).unwrap();
                return Some(Wish::Send(with, self.requests, request));
            }
            Action::PlanAccepted(plan) => {
                // In a plan with smaller chunks, the same bytes are more chunks.
                let (chunks, updates) = self.disk.record.as_ref().map_or((0, 0), |(old, chunks, updates)| {
                    let bytes = chunk_range(old.snapshot.checkpoint.payload_bytes, old.chunk_size, *chunks).start;
                    (if *chunks == old.total_chunks { plan.total_chunks } else { bytes / plan.chunk_size }, *updates)
                });
                self.disk.record = Some((plan, chunks, updates));
                return None;
            }
            Action::VerifyAuthority { plan, updates } => (Local::Authority(plan, updates), false),
            Action::OpenStorage { plan, updates } => (Local::Open(plan, updates), true),
            Action::Write(chunk) => {
                self.check_chunk(&chunk);
                (Local::Write(chunk), true)
            }
            Action::Sync => (Local::Sync, true),
            Action::Repair(chunks) => {
                chunks.iter().for_each(|chunk| self.check_chunk(chunk));
                (Local::Repair(chunks), true)
            }
            Action::Place => (Local::Place, true),
            other => panic!("unknown action {other:?}"),
        };
        self.pending += 1;
        Some(Wish::Work { work, on_disk, epoch: self.disk_epoch })
    }

    pub fn number(&self, peer: PeerId) -> usize {
        self.providers.iter().position(|provider| *provider == peer).expect("one of the providers")
    }

    fn take_blames(&mut self) {
        while let Some(blame) = self.session.poll_blame() {
            self.blames.push(blame);
        }
    }

    /// An ack never covers more than what is durable and recorded, and durable chunks are not requested.
    fn check_request(&self, request: &SnapshotsRequest) {
        if let SnapshotsRequest::Chunk { chunk_index, .. } = request {
            let (plan, _, _) = self.disk.record.as_ref().expect("a chunk without a record");
            let durable = self.disk.partial.get(&plan.snapshot.checkpoint.state_root).map(|partial| &partial.durable);
            let is_there = durable.is_some_and(|durable| durable.has_chunk(plan.chunk_size, *chunk_index));
            assert!(!is_there || self.recheck.missing.contains(chunk_index), "chunk {chunk_index} is durable");
            return;
        }
        let SnapshotsRequest::Ack { kind, index, .. } = request else { return };
        let (plan, chunks, updates) = self.disk.record.as_ref().expect("an ack without a record");
        match kind {
            ArtefactKind::Chunk => {
                let root = plan.snapshot.checkpoint.state_root;
                assert!(*index < *chunks, "ack of chunk {index}, recorded are {chunks}");
                assert!(
                    self.recheck.missing.is_empty(),
                    "ack of chunk {index}, damaged are {:?}",
                    self.recheck.missing
                );
                let partial = self.disk.partial.get(&root).map(|partial| &partial.durable);
                assert!(
                    self.disk.stored.contains_key(&root)
                        || partial.is_some_and(|durable| durable.prefix_chunks(plan.chunk_size) > *index),
                    "ack of chunk {index}: {partial:?} durable"
                );
            }
            ArtefactKind::LightClientUpdate => {
                assert!(*index < *updates && *index < self.disk.updates.len() as u64, "ack of update {index}");
            }
            ArtefactKind::Plan => {}
        }
    }

    /// Only bytes that an honest publisher published are ever written.
    fn check_chunk(&self, chunk: &VerifiedChunk) {
        let plan = self.session.plan().unwrap();
        let (bytes, proof) = WORLD.payload(&plan.snapshot.checkpoint.state_root).chunk(plan.chunk_size, chunk.index);
        assert!(bytes == chunk.bytes && proof == chunk.proof, "a false chunk {} is written", chunk.index);
        assert!(self.disk.record.is_some());
    }

    fn check(&mut self) {
        let view = self.session.view();
        assert_eq!(self.session.in_flight(), !self.in_flight.is_empty());
        for source in self.session.sources(Instant::now()) {
            let is_out = matches!(source.state, SourceState::Banned | SourceState::Refused);
            assert!(!is_out || source.trouble.is_some(), "{source:?}");
            let is_blamed = self.blames.iter().any(|blame| blame.source == source.source);
            assert!(is_blamed || source.state != SourceState::Banned, "{source:?}");
        }
        assert!(view.bytes_received >= view.bytes_wasted);
        let doubtful = view.bytes_to_recheck - view.bytes_rechecked + view.bytes_damaged;
        assert!(view.bytes_verified + doubtful >= view.bytes_written);
        assert!(view.bytes_to_recheck == 0 || view.bytes_verified + view.bytes_to_recheck >= view.bytes_rechecked);
        let opened = view.verified_chunks > 0 || view.bytes_written > 0;
        assert!(!opened || view.bytes_written >= view.bytes_durable);
        let confirmed = (view.confirmed_chunks, view.confirmed_updates);
        assert!(confirmed.0 >= self.confirmed.0 && confirmed.1 >= self.confirmed.1, "confirmed fell: {confirmed:?}");
        self.confirmed = confirmed;
        let recorded = self.disk.record.as_ref().map_or((0, 0), |(_, chunks, updates)| (*chunks, *updates));
        assert!(
            recorded.0 >= confirmed.0 && recorded.1 >= confirmed.1,
            "confirmed {confirmed:?}, recorded {recorded:?}"
        );
        assert_eq!(view.verified, view.state == SessionState::Complete);
        match view.state {
            SessionState::Complete => self.check_complete(),
            SessionState::Failed => {
                let failure = view.failure.expect("a failed session says why");
                assert!(!failure.message.is_empty() && failure.message.len() < 2000);
                assert!(view.waiting.is_some_and(|waiting| !waiting.reason.is_empty()));
                self.failed_before = true;
            }
            state => {
                assert!(!self.failed_before || self.life > 0);
                let waiting = view.waiting.unwrap_or_else(|| panic!("{state:?} waits for nothing: {:?}", self.session));
                assert!(!waiting.reason.is_empty());
                // An answer, a timeout or the end of local work will come.
                let goes_on = self.session.in_flight() || self.session.poll_timeout().is_some() || self.pending > 0;
                assert!(goes_on, "stuck: {:?}", self.session);
            }
        }
    }

    fn check_complete(&self) {
        let plan = self.session.plan().unwrap();
        let root = plan.snapshot.checkpoint.state_root;
        let stored = self.disk.stored.get(&root).expect("complete without a payload");
        assert_eq!(stored.as_slice(), WORLD.payload(&root).bytes.as_ref());
        assert_eq!(self.disk.updates.len() as u64, plan.total_updates);
    }

    /// Reports an event to the session, and checks that markers move only when they may.
    fn told(&mut self, may_verify: bool, tell: impl FnOnce(&mut Session)) {
        self.expected(may_verify, |session| {
            tell(session);
            Ok(())
        });
    }

    /// Like [`Self::told`], for an event that the session must have asked for.
    fn expected(&mut self, may_verify: bool, tell: impl FnOnce(&mut Session) -> Result<(), Unexpected>) {
        let before = self.session.view();
        if let Err(unexpected) = tell(&mut self.session) {
            panic!("{unexpected}: {:?}", self.session);
        }
        let after = self.session.view();
        let moved = after.verified_chunks > before.verified_chunks || after.verified_updates > before.verified_updates;
        assert!(may_verify || !moved, "a marker moved without verified data");
    }

    pub fn connect(&mut self, now: Instant, to: usize, works: bool) {
        self.pending -= 1;
        self.note(|| format!("dialled {to}: {works}"));
        let peer = self.providers[to];
        if works {
            self.connected.insert(to);
            self.told(false, |session| session.handle_connected(now, peer));
        } else {
            self.told(false, |session| session.handle_dial_failed(now, peer, "simulated"));
        }
    }

    /// The connection is lost, and so is the request in flight. Either may be reported first.
    pub fn disconnect(&mut self, now: Instant, from: usize, rng: &mut Rng) {
        if !self.connected.remove(&from) {
            return;
        }
        self.connections[from] += 1;
        self.note(|| format!("disconnected from {from}"));
        let peer = self.providers[from];
        let request_first = rng.chance(50);
        let received = rng.below(3) * 10_000;
        let lost = self.in_flight.iter().find(|(_, (with, _))| *with == from).map(|(id, _)| *id);
        let fail = |consumer: &mut Self| {
            if let Some(id) = lost {
                consumer.request_failed(now, id, &RequestFailure::ConnectionClosed { received });
            }
        };
        if request_first {
            fail(self);
        }
        self.told(false, |session| session.handle_disconnected(now, peer, "simulated"));
        if !request_first {
            fail(self);
        }
    }

    pub fn request_failed(&mut self, now: Instant, id: u64, failure: &RequestFailure) {
        if self.in_flight.remove(&id).is_some() {
            self.note(|| format!("{id}: {failure}"));
            self.told(false, |session| session.handle_request_failed(now, RequestId::new(id), failure));
        }
    }

    /// The end of a request that the session cancelled, or that was made before a restart, is reported only now.
    pub fn late(&mut self, now: Instant, id: u64) {
        let before = self.session.view();
        self.session.handle_request_failed(now, RequestId::new(id), &RequestFailure::ConnectionClosed { received: 1 });
        assert_eq!(before, self.session.view(), "the late end of request {id} reached the session");
    }

    pub fn violated(&mut self, now: Instant, id: u64, violation: &Violation) {
        self.note(|| violation.to_string());
        let Some((with, _)) = self.in_flight.remove(&id) else { return };
        let peer = self.providers[with];
        let was_over = self.session.is_over();
        self.told(false, |session| session.handle_violation(now, RequestId::new(id), violation));
        if was_over {
            return; // Nobody needs its answer any more.
        }
        let source =
            self.session.sources(now).into_iter().find(|source| source.source == DownloadSource::Peer(peer)).unwrap();
        assert!(matches!(source.state, SourceState::Banned | SourceState::Refused), "{source:?}");
        let (_, message) = source.trouble.unwrap();
        assert!(message.contains(&peer.to_string()), "the error names the peer: {message}");
        self.take_blames();
    }

    pub fn verified(&mut self, now: Instant, id: u64, verified: Verified) {
        self.note(|| format!("{id}: {verified:?}").chars().take(160).collect());
        if self.in_flight.remove(&id).is_some() {
            self.expected(true, |session| session.handle_verified(now, RequestId::new(id), verified));
        }
    }

    pub fn timeout(&mut self, now: Instant) {
        self.told(false, |session| session.handle_timeout(now));
    }

    /// Local work is finished. `trouble`: the disk may fail.
    pub fn done(&mut self, now: Instant, work: Local, epoch: u32, rng: &mut Rng, trouble: bool) -> Option<Wish> {
        let is_remote =
            matches!(work, Local::Dialled(..) | Local::Verify(..) | Local::Authority(..) | Local::Proof(..));
        if epoch != self.disk_epoch && !is_remote {
            self.pending -= 1;
            return None;
        }
        match work {
            Local::Dialled(to, works) => self.connect(now, to, works),
            Local::Verify(id, checked) => {
                let (exchange, response) = *checked;
                let rules = Rules { trust: Arc::clone(&WORLD.trust), ..Rules::default() };
                match exchange.check(&rules, response) {
                    Ok(verified) => self.verified(now, id, verified),
                    Err(violation) => self.violated(now, id, &violation),
                }
            }
            Local::Authority(plan, updates) => {
                self.pending -= 1;
                let chain = check_authority_signatures(&plan, &updates, &WORLD.trust);
                if chain.is_ok() && self.disk.proven.contains(&plan.tip.commitment) {
                    self.note(|| "a known chain".to_owned());
                    self.expected(true, |session| session.handle_known_chain(now));
                    self.pending += 1;
                    return Some(Wish::Work { work: Local::Proof(plan, updates), on_disk: false, epoch });
                }
                let result = chain.and_then(|()| check_proof(&plan, &updates));
                self.note(|| format!("authority: {result:?}"));
                // The last update counts once its proof is checked.
                let is_good = result.is_ok();
                let _ = is_good && self.disk.proven.insert(plan.tip.commitment);
                self.expected(is_good, |session| session.handle_authority(now, result));
            }
            Local::Proof(plan, updates) => {
                self.pending -= 1;
                let result = check_proof(&plan, &updates);
                self.note(|| format!("proof: {result:?}"));
                self.expected(false, |session| session.handle_proof(now, &plan.plan_id, result));
            }
            Local::Open(plan, updates) => {
                self.pending -= 1;
                let storage = self.open(&plan, updates, rng, trouble);
                self.expected(true, |session| session.handle_storage(now, storage));
                return self.recheck_on(epoch);
            }
            Local::Recheck(opening) => {
                self.pending -= 1;
                if opening != self.recheck.opening {
                    return None;
                }
                let index = self.recheck.chunks.pop()?;
                let plan = self.session.plan().unwrap();
                let (root, chunk_size) = (plan.snapshot.checkpoint.state_root, plan.chunk_size);
                let partial = &self.disk.partial[&root];
                let end = chunk_range(partial.bytes.len() as u64, chunk_size, index).end;
                self.recheck.missing = if partial.holds(&root, chunk_size, index) { Vec::new() } else { vec![index] };
                let missing = self.recheck.missing.clone();
                self.note(|| format!("hashed up to {end}, damaged: {missing:?}"));
                self.expected(true, |session| session.handle_rechecked(now, end, &missing));
                return self.recheck_on(epoch);
            }
            Local::Repair(chunks) => {
                if self.is_full(now, rng, trouble) {
                    return None;
                }
                self.pending -= 1;
                let plan = self.session.plan().unwrap();
                let partial = self.disk.partial.get_mut(&plan.snapshot.checkpoint.state_root).unwrap();
                for chunk in chunks {
                    let start = (chunk.index * plan.chunk_size) as usize;
                    partial.bytes[start..start + chunk.bytes.len()].copy_from_slice(&chunk.bytes);
                    self.recheck.missing.retain(|index| *index != chunk.index);
                }
                self.expected(false, |session| session.handle_repaired(now));
                return self.recheck_on(epoch);
            }
            Local::Write(chunk) => {
                if self.is_full(now, rng, trouble) {
                    return None;
                }
                self.pending -= 1;
                let plan = self.session.plan().unwrap();
                let start = (chunk.index * plan.chunk_size) as usize;
                let partial = self.disk.partial.get_mut(&plan.snapshot.checkpoint.state_root).unwrap();
                assert!(
                    !partial.written.has_chunk(plan.chunk_size, chunk.index),
                    "chunk {} is written twice",
                    chunk.index
                );
                partial.bytes[start..start + chunk.bytes.len()].copy_from_slice(&chunk.bytes);
                partial.written.insert_chunks(plan.chunk_size, chunk.index..chunk.index + 1);
                self.expected(false, |session| session.handle_written(now, chunk.index));
            }
            Local::Sync => {
                if self.is_full(now, rng, trouble) {
                    return None;
                }
                let plan = self.session.plan().unwrap();
                let partial = self.disk.partial.get_mut(&plan.snapshot.checkpoint.state_root).unwrap();
                partial.durable = partial.written.clone();
                return Some(Wish::Work { work: Local::Record(partial.durable.clone()), on_disk: true, epoch });
            }
            Local::Record(durable) => {
                self.pending -= 1;
                if let Some((plan, recorded, _)) = &mut self.disk.record {
                    *recorded = (*recorded).max(durable.prefix_chunks(plan.chunk_size));
                    self.disk.have.insert(plan.snapshot.checkpoint.state_root, durable.clone());
                }
                self.expected(false, |session| session.handle_durable(now, &durable));
            }
            Local::Place => {
                if self.is_full(now, rng, trouble) {
                    return None;
                }
                self.pending -= 1;
                let root = self.session.plan().unwrap().snapshot.checkpoint.state_root;
                let partial = self.disk.partial.remove(&root).unwrap();
                self.disk.have.remove(&root);
                assert!(partial.durable.is_all());
                self.disk.stored.insert(root, partial.bytes);
                self.expected(false, |session| session.handle_placed(now, PathBuf::from("/payload")));
            }
        }
        None
    }

    fn open(&mut self, plan: &Plan, updates: Arc<Vec<Update>>, rng: &mut Rng, trouble: bool) -> Storage {
        self.recheck = Recheck { opening: self.recheck.opening + 1, ..Recheck::default() };
        if self.full {
            return Storage::Full { needed: 10, free: 1 };
        }
        if trouble && rng.chance(5) {
            return Storage::HeldBy(SnapshotSessionId::random());
        }
        let root = plan.snapshot.checkpoint.state_root;
        let total = plan.snapshot.checkpoint.payload_bytes;
        let recorded = self.recorded(plan);
        let partial = self.disk.partial.entry(root).or_insert_with(|| Partial::new(total));
        // Beyond the record, chunks that verify are written again and synced, as opening does.
        partial.durable = recorded.clone();
        for index in (0..plan.total_chunks).filter(|index| !recorded.has_chunk(plan.chunk_size, *index)) {
            if total > 0 && partial.holds(&root, plan.chunk_size, index) {
                partial.durable.insert_chunks(plan.chunk_size, index..index + 1);
            }
        }
        partial.written = partial.durable.clone();
        let durable = partial.durable.clone();
        let is_stored = self.disk.stored.contains_key(&root);
        let chunks_now = if is_stored { plan.total_chunks } else { durable.prefix_chunks(plan.chunk_size) };
        self.disk.updates = updates;
        if let Some((_, chunks, updates)) = &mut self.disk.record {
            *chunks = (*chunks).max(chunks_now);
            *updates = (*updates).max(plan.total_updates);
        }
        if is_stored {
            return Storage::AlreadyStored { path: PathBuf::from("/payload") };
        }
        self.disk.have.insert(root, durable.clone());
        self.recheck.chunks = recorded.chunks(plan.chunk_size).flatten().filter(|_| total > 0).collect();
        self.recheck.chunks.reverse();
        Storage::Ready { durable, unchecked: recorded }
    }

    /// The content of the `have` file, in whole chunks.
    fn recorded(&self, plan: &Plan) -> Have {
        let total = plan.snapshot.checkpoint.payload_bytes;
        let mut recorded = Have::nothing(total);
        if let Some(have) = self.disk.have.get(&plan.snapshot.checkpoint.state_root) {
            have.chunks(plan.chunk_size).for_each(|chunks| recorded.insert_chunks(plan.chunk_size, chunks));
        }
        recorded
    }

    /// The next chunk to hash, unless a chunk is missing or all are done.
    fn recheck_on(&mut self, epoch: u32) -> Option<Wish> {
        if !self.recheck.missing.is_empty() || self.recheck.chunks.is_empty() {
            return None;
        }
        self.pending += 1;
        Some(Wish::Work { work: Local::Recheck(self.recheck.opening), on_disk: true, epoch })
    }

    fn is_full(&mut self, now: Instant, rng: &mut Rng, trouble: bool) -> bool {
        let fails = self.full || (trouble && rng.chance(2));
        if fails {
            self.pending -= 1;
            self.disk_epoch += 1;
            self.note(|| "disk full".to_owned());
            self.expected(false, |session| session.handle_storage(now, Storage::Full { needed: 10, free: 1 }));
        }
        fails
    }

    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(what());
        }
    }
}

/// Adds all providers except the first, whose link has the session's own id.
fn add_others(session: &mut Session, providers: &[PeerId], now: Instant) {
    for peer in &providers[1..] {
        assert!(session.add_peer(now, *peer, SnapshotSessionId::random()));
    }
}

fn check_proof(plan: &Plan, updates: &[Update]) -> Result<(), AuthorityError> {
    let proof = updates.last().and_then(|last| last.recursive_proof.clone());
    let holds = proof == Some(WORLD.proof_of(plan.tip.step));
    if holds { Ok(()) } else { Err(AuthorityError::Proof { reason: rpp_proofs::ProofError::Height }) }
}

pub fn options(rng: &mut Rng) -> Options {
    Options {
        wishes: PlanWishes {
            chunk_size: Some(rng.pick(&[1, 16_384, 20_000, 32_768, 65_536, 1 << 20])),
            ..Options::default().wishes
        },
        window: rng.pick(&[0, 32_768, 65_536, 1 << 20]),
        ack_bytes: rng.pick(&[1, 16_384, 40_000, 16 << 20]),
        ack_interval: Duration::from_millis(rng.pick(&[0, 100, 500])),
        give_up_after: if rng.chance(10) { Some(Duration::from_secs(1 + rng.below(60))) } else { None },
        seed: rng.next(),
    }
}
