//! A consumer made of the real `Session`, with a disk that survives its restarts.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::PeerId;
use rpp_p2p::{
    ArtefactKind, AuthorityError, Exchange, Hash, Plan, PlanWishes, RequestFailure, RequestId, Rules, SessionState,
    SnapshotSessionId, SnapshotsRequest, Update, Verified, VerifiedChunk, Violation,
    authority::check_authority_signatures,
    consumer::{Action, Options, Saved, Session, Storage, Unexpected},
    tree::chunk_range,
};

use crate::{simulation::rng::Rng, world::WORLD};

/// What is on the consumer's disk, and what only its page cache has.
#[derive(Default)]
struct Disk {
    record: Option<(Arc<Plan>, u64, u64)>,
    /// `plan.json` of the partial payload.
    updates: Arc<Vec<Update>>,
    partial: HashMap<Hash, Partial>,
    stored: HashMap<Hash, Vec<u8>>,
    /// Tips whose proof was checked: `head.json`.
    proven: HashSet<Hash>,
}

/// Hashing again what was there when the place was opened.
#[derive(Default)]
struct Recheck {
    /// Counts openings.
    opening: u32,
    at: u64,
    end: u64,
    missing: Vec<u64>,
}

#[derive(Default)]
struct Partial {
    bytes: Vec<u8>,
    durable: usize,
}

pub struct Consumer {
    pub peer: PeerId,
    pub provider: PeerId,
    pub session: Session,
    pub life: u32,
    pub full: bool,
    pub connected: bool,
    /// Counts connections.
    pub connection: u32,
    /// The request in flight, as the transport knows it.
    pub request: Option<(u64, Exchange)>,
    pub requests: u64,
    /// Local work and dials under way: each will be answered.
    pub pending: u32,
    pub trace: Option<Vec<String>>,
    options: Options,
    disk: Disk,
    /// Trouble drops what was outstanding.
    disk_epoch: u32,
    confirmed: (u64, u64),
    recheck: Recheck,
    failed_before: bool,
}

/// Work that the consumer's machine does in its own time.
pub enum Local {
    Dialled(bool),
    Verify(Box<(Exchange, rpp_p2p::SnapshotsResponse)>),
    Authority(Arc<Plan>, Arc<Vec<Update>>),
    Open(Arc<Plan>, Arc<Vec<Update>>),
    Write(VerifiedChunk),
    /// The payload is synced now,
    Sync,
    /// and then that is recorded.
    Record(u64),
    /// A chunk that was there is hashed again.
    Recheck(u32),
    Repair(Vec<VerifiedChunk>),
    Proof(Arc<Plan>, Arc<Vec<Update>>),
    Place,
}

/// What a consumer wants of the simulation.
pub enum Wish {
    Send(u64, SnapshotsRequest),
    Work { work: Local, on_disk: bool, epoch: u32 },
}

impl Consumer {
    pub fn new(peer: PeerId, provider: PeerId, id: SnapshotSessionId, options: Options, now: Instant) -> Self {
        Self {
            peer,
            provider,
            session: Session::new(id, provider, options.clone(), now),
            life: 0,
            full: false,
            connected: false,
            connection: 0,
            request: None,
            requests: 0,
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
        self.connected = false;
        self.connection += 1;
        self.request = None;
        self.pending = 0;
        for partial in self.disk.partial.values_mut() {
            // Some of what was not synced may have reached the disk all the same, in whole chunks that verify.
            let survives = rng.chance(30);
            partial.bytes.truncate(if survives { partial.bytes.len() } else { partial.durable });
            partial.durable = partial.bytes.len();
            if rng.chance(2) {
                *partial = Partial::default();
            }
            if rng.chance(30) && !partial.bytes.is_empty() {
                let at = rng.below(partial.bytes.len() as u64) as usize;
                partial.bytes[at] ^= 1 << rng.below(8);
            }
        }
        self.recheck = Recheck { opening: self.recheck.opening + 1, ..Recheck::default() };
        self.session = match &self.disk.record {
            None => Session::new(id, self.provider, self.options.clone(), now),
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
                };
                Session::restore(id, self.provider, self.options.clone(), saved, None, now)
            }
        };
        self.note(|| "restarted".to_owned());
    }

    /// Takes all actions, checks the invariants, and says what is to happen.
    pub fn drive(&mut self, now: Instant) -> Vec<Wish> {
        let mut wishes = Vec::new();
        while let Some(action) = self.session.poll_action(now) {
            assert!(wishes.len() < 1000, "actions without end");
            self.note(|| format!("{action:?}").chars().take(200).collect());
            wishes.extend(self.act(now, action));
        }
        self.check();
        wishes
    }

    fn act(&mut self, now: Instant, action: Action) -> Option<Wish> {
        let (work, on_disk) = match action {
            Action::Connect => (Local::Dialled(true), false),
            Action::Request(exchange) => {
                let request = exchange.request().clone();
                self.check_request(&request);
                assert!(self.request.is_none(), "a second request in flight");
                exchange.fits().expect("the request does not fit its plan");
                self.requests += 1;
                self.request = Some((self.requests, exchange));
                self.session.handle_sent(now, Ok(self.last())).unwrap();
                return Some(Wish::Send(self.requests, request));
            }
            Action::PlanAccepted(plan) => {
                // The same bytes are more chunks in a plan with smaller ones.
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

    /// An ack never says more than what is durable and recorded.
    fn check_request(&self, request: &SnapshotsRequest) {
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
                let end = chunk_range(plan.snapshot.checkpoint.payload_bytes, plan.chunk_size, *index).end as usize;
                let partial = self.disk.partial.get(&root).map_or(0, |partial| partial.durable);
                assert!(
                    self.disk.stored.contains_key(&root) || end <= partial,
                    "ack of chunk {index}: {partial} durable"
                );
            }
            ArtefactKind::LightClientUpdate => {
                assert!(*index < *updates && *index < self.disk.updates.len() as u64, "ack of update {index}");
            }
            ArtefactKind::Plan => {}
        }
    }

    /// Only what an honest publisher published is ever written.
    fn check_chunk(&self, chunk: &VerifiedChunk) {
        let plan = self.session.plan().unwrap();
        let (bytes, proof) = WORLD.payload(&plan.snapshot.checkpoint.state_root).chunk(plan.chunk_size, chunk.index);
        assert!(bytes == chunk.bytes && proof == chunk.proof, "a false chunk {} is written", chunk.index);
        assert!(self.disk.record.is_some());
    }

    fn check(&mut self) {
        let view = self.session.view();
        assert_eq!(self.session.in_flight(), self.request.is_some());
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
                // An answer, a timeout or local work will come.
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

    /// Lets something happen and checks that markers move only when they may.
    fn told(&mut self, may_verify: bool, tell: impl FnOnce(&mut Session)) {
        self.expected(may_verify, |session| {
            tell(session);
            Ok(())
        });
    }

    /// The same, of what the session must have asked for.
    fn expected(&mut self, may_verify: bool, tell: impl FnOnce(&mut Session) -> Result<(), Unexpected>) {
        let before = self.session.view();
        if let Err(unexpected) = tell(&mut self.session) {
            panic!("{unexpected}: {:?}", self.session);
        }
        let after = self.session.view();
        let moved = after.verified_chunks > before.verified_chunks || after.verified_updates > before.verified_updates;
        assert!(may_verify || !moved, "a marker moved without verified data");
    }

    pub fn connect(&mut self, now: Instant, works: bool) {
        self.pending -= 1;
        self.note(|| format!("dialled: {works}"));
        if works {
            self.connected = true;
            self.told(false, |session| session.handle_connected(now));
        } else {
            self.told(false, |session| session.handle_dial_failed(now, "simulated"));
        }
    }

    /// The connection is lost; so is the request in flight. Either is heard of first.
    pub fn disconnect(&mut self, now: Instant, rng: &mut Rng) {
        if !self.connected {
            return;
        }
        self.connected = false;
        self.connection += 1;
        self.note(|| "disconnected".to_owned());
        let request_first = rng.chance(50);
        if request_first {
            self.request_failed(now, &RequestFailure::ConnectionClosed { received: rng.below(3) * 10_000 });
        }
        self.told(false, |session| session.handle_disconnected(now, "simulated"));
        if !request_first {
            self.request_failed(now, &RequestFailure::ConnectionClosed { received: rng.below(3) * 10_000 });
        }
    }

    pub fn request_failed(&mut self, now: Instant, failure: &RequestFailure) {
        if self.request.take().is_some() {
            self.note(|| failure.to_string());
            let id = self.last();
            self.told(false, |session| session.handle_request_failed(now, id, failure));
        }
    }

    /// The id of the last request: the one in flight, if one is.
    fn last(&self) -> RequestId {
        RequestId::new(self.requests)
    }

    /// The end of a request that the session gave up, or that was made in an earlier life, is heard of only now.
    pub fn late(&mut self, now: Instant, id: u64) {
        let before = self.session.view();
        self.session.handle_request_failed(now, RequestId::new(id), &RequestFailure::ConnectionClosed { received: 1 });
        assert_eq!(before, self.session.view(), "the late end of request {id} reached the session");
    }

    pub fn violated(&mut self, now: Instant, violation: &Violation) {
        self.note(|| violation.to_string());
        let id = self.last();
        self.told(false, |session| session.handle_violation(now, id, violation));
        let failure = self.session.view().failure.expect("a violation ends the session");
        assert!(failure.message.contains(&self.provider.to_string()), "the error names the peer: {}", failure.message);
    }

    pub fn verified(&mut self, now: Instant, verified: Verified) {
        self.note(|| format!("{verified:?}").chars().take(160).collect());
        let id = self.last();
        self.expected(true, |session| session.handle_verified(now, id, verified));
    }

    pub fn timeout(&mut self, now: Instant) {
        self.told(false, |session| session.handle_timeout(now));
    }

    /// Local work is done. `trouble`: the disk may misbehave.
    pub fn done(&mut self, now: Instant, work: Local, epoch: u32, rng: &mut Rng, trouble: bool) -> Option<Wish> {
        let is_remote = matches!(work, Local::Dialled(_) | Local::Verify(_) | Local::Authority(..) | Local::Proof(..));
        if epoch != self.disk_epoch && !is_remote {
            self.pending -= 1;
            return None;
        }
        match work {
            Local::Dialled(works) => self.connect(now, works),
            Local::Verify(checked) => {
                let (exchange, response) = *checked;
                let rules = Rules { trust: Arc::clone(&WORLD.trust), ..Rules::default() };
                match exchange.check(&rules, response) {
                    Ok(verified) => self.verified(now, verified),
                    Err(violation) => self.violated(now, &violation),
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
                // The last update counts when its proof is checked.
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
                let plan = self.session.plan().unwrap();
                let (root, chunk_size) = (plan.snapshot.checkpoint.state_root, plan.chunk_size);
                let range = self.recheck.at..(self.recheck.at + chunk_size).min(self.recheck.end);
                let bytes = range.start as usize..range.end as usize;
                let holds = self.disk.partial[&root].bytes[bytes.clone()] == WORLD.payload(&root).bytes[bytes];
                self.recheck.at = range.end;
                self.recheck.missing = if holds { Vec::new() } else { vec![range.start / chunk_size] };
                let missing = self.recheck.missing.clone();
                self.note(|| format!("hashed up to {}, damaged: {missing:?}", range.end));
                self.expected(true, |session| session.handle_rechecked(now, range.end, &missing));
                return self.recheck_on(epoch);
            }
            Local::Repair(chunks) => {
                if self.is_full(now, rng, trouble) {
                    return None;
                }
                self.pending -= 1;
                let plan = self.session.plan().unwrap();
                let partial = self.disk.partial.entry(plan.snapshot.checkpoint.state_root).or_default();
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
                let start = chunk.index * plan.chunk_size;
                let partial = self.disk.partial.entry(plan.snapshot.checkpoint.state_root).or_default();
                assert_eq!(start, partial.bytes.len() as u64, "a chunk out of order");
                partial.bytes.extend_from_slice(&chunk.bytes);
                self.expected(false, |session| session.handle_written(now, chunk.index));
            }
            Local::Sync => {
                if self.is_full(now, rng, trouble) {
                    return None;
                }
                let plan = self.session.plan().unwrap();
                let partial = self.disk.partial.entry(plan.snapshot.checkpoint.state_root).or_default();
                partial.durable = partial.bytes.len();
                let chunks = durable_chunks(plan, partial);
                return Some(Wish::Work { work: Local::Record(chunks), on_disk: true, epoch });
            }
            Local::Record(chunks) => {
                self.pending -= 1;
                if let Some((_, recorded, _)) = &mut self.disk.record {
                    *recorded = (*recorded).max(chunks);
                }
                self.expected(false, |session| session.handle_durable(now, chunks));
            }
            Local::Place => {
                if self.is_full(now, rng, trouble) {
                    return None;
                }
                self.pending -= 1;
                let root = self.session.plan().unwrap().snapshot.checkpoint.state_root;
                let partial = self.disk.partial.remove(&root).unwrap_or_default();
                assert_eq!(partial.durable, partial.bytes.len());
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
        let partial = self.disk.partial.entry(root).or_default();
        let total = plan.snapshot.checkpoint.payload_bytes;
        let recorded =
            self.disk.record.as_ref().map_or(0, |(_, chunks, _)| chunk_range(total, plan.chunk_size, *chunks).start);
        let recorded = recorded.min(partial.bytes.len() as u64);
        // Beyond the record, what verifies is written again and synced, which opening does.
        let honest = &WORLD.payload(&root).bytes;
        let good = partial.bytes[recorded as usize..].iter().zip(&honest[recorded as usize..]);
        let good = recorded as usize + good.take_while(|(is, ought)| is == ought).count();
        partial.bytes.truncate(good);
        partial.durable = partial.bytes.len();
        let is_stored = self.disk.stored.contains_key(&root);
        let durable_chunks = if is_stored { plan.total_chunks } else { durable_chunks(plan, partial) };
        self.disk.updates = updates;
        if let Some((_, chunks, updates)) = &mut self.disk.record {
            *chunks = (*chunks).max(durable_chunks);
            *updates = (*updates).max(plan.total_updates);
        }
        if is_stored {
            return Storage::AlreadyStored { path: PathBuf::from("/payload") };
        }
        // A last chunk that is not whole begins anew.
        let durable = chunk_range(total, plan.chunk_size, durable_chunks).start;
        partial.bytes.truncate(durable as usize);
        partial.durable = partial.bytes.len();
        let unchecked_bytes = recorded.min(durable);
        self.recheck.end = unchecked_bytes;
        Storage::Ready { durable_chunks, unchecked_bytes }
    }

    /// The next chunk to hash again, unless something is missing or all is done.
    fn recheck_on(&mut self, epoch: u32) -> Option<Wish> {
        if !self.recheck.missing.is_empty() || self.recheck.at >= self.recheck.end {
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

fn check_proof(plan: &Plan, updates: &[Update]) -> Result<(), AuthorityError> {
    let proof = updates.last().and_then(|last| last.recursive_proof.clone());
    let holds = proof == Some(WORLD.proof_of(plan.tip.step));
    if holds { Ok(()) } else { Err(AuthorityError::Proof { reason: "simulated".to_owned() }) }
}

fn durable_chunks(plan: &Plan, partial: &Partial) -> u64 {
    if partial.durable as u64 == plan.snapshot.checkpoint.payload_bytes {
        plan.total_chunks
    } else {
        partial.durable as u64 / plan.chunk_size
    }
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
