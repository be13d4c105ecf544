//! Ten thousand sessions on a simulated network. The real consumer session runs against the real slots and records. The
//! network loses, delays, duplicates and reorders messages, and either side may restart. One provider lies, another
//! changes what it offers; with several providers, one lies and others are slow, stall or die. The disk may be full,
//! and bytes and proofs on it may change between two processes. A second peer claims the same session.
//!
//! `RPP_SIM_RUNS` sets the number of runs, `RPP_SIM_SEED` the seed of the first one. A failing run prints its seed and
//! the actions of its consumer.

#[path = "simulation/consumer.rs"]
mod consumer;
#[path = "simulation/lies.rs"]
mod lies;
#[path = "simulation/provider.rs"]
mod provider;
#[path = "simulation/rng.rs"]
mod rng;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::world::WORLD;
use consumer::{Consumer, Local, Wish, options};
use libp2p::PeerId;
use provider::{Arrival, Provider, Serving, small_slots};
use rng::Rng;
use rpp_p2p::{
    ArtefactKind, Checkpoint, FailureCode, Hash, PlanWishes, RequestFailure, SessionState, SnapshotSessionId,
    SnapshotsRequest, SnapshotsResponse, Violation,
    consumer::{DownloadSource, Fault},
    error::TooSlow,
    json,
    limits::REQUEST_IDLE,
    provider::SlotLimits,
    tree::{self, ChunkError},
};

/// After this time network, disks and processes behave well, so every run has to end.
const TROUBLE: Duration = Duration::from_secs(120);
/// A run must have ended by this time.
const END: Duration = Duration::from_secs(4 * 3600);

const MOST_EVENTS: u64 = 100_000;

/// The faults of a run.
#[derive(Debug)]
struct Faults {
    loss: u64,
    duplicate: u64,
    delay: Duration,
    restarts_consumer: u64,
    restarts_provider: u64,
    disconnects: u64,
    lies: u64,
    damage: u64,
    bad_disk: bool,
    rotates: Option<Rotation>,
    stranger: bool,
    twin: bool,
    /// The number of providers. Each provider has its own faults, except that only the last one lies.
    providers: u64,
    /// The longest time that answers take, which grows with the provider's number. A stalled provider does not answer
    /// at all for a while.
    slow: u64,
    stalls: u64,
    /// The liar changes one bit of each chunk that it sends.
    flips: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rotation {
    /// A newer snapshot is offered; sessions continue.
    Publish,
    /// The tip moved, and sessions are forgotten.
    NewTip,
    /// The snapshot is gone, and sessions are forgotten.
    Replace,
    /// Sessions stream a different plan.
    ChangePlans,
}

impl Faults {
    fn random(rng: &mut Rng) -> Self {
        let some = |rng: &mut Rng, percent, from: &[u64]| if rng.chance(percent) { rng.pick(from) } else { 0 };
        Self {
            loss: some(rng, 50, &[2, 10, 30]),
            duplicate: some(rng, 40, &[5, 30]),
            delay: Duration::from_millis(rng.pick(&[1, 10, 300, 3_000, 40_000])),
            restarts_consumer: some(rng, 40, &[1, 3, 8]),
            restarts_provider: some(rng, 40, &[1, 3, 8]),
            disconnects: some(rng, 40, &[1, 3, 8]),
            lies: some(rng, 25, &[2, 10, 40]),
            damage: some(rng, 10, &[2, 10]),
            bad_disk: rng.chance(25),
            rotates: rng
                .chance(25)
                .then(|| rng.pick(&[Rotation::Publish, Rotation::NewTip, Rotation::Replace, Rotation::ChangePlans])),
            stranger: rng.chance(25),
            twin: rng.chance(15),
            providers: if rng.chance(50) { 1 } else { 2 + rng.below(4) },
            slow: some(rng, 25, &[1, 4]),
            stalls: some(rng, 25, &[1, 3]),
            flips: false,
        }
    }

    /// Five providers. They are slow, stall and die, and one of them flips a bit in each chunk.
    fn of_five(rng: &mut Rng) -> Self {
        let some = |rng: &mut Rng, percent, from: &[u64]| if rng.chance(percent) { rng.pick(from) } else { 0 };
        Self {
            loss: 0,
            duplicate: 0,
            delay: Duration::from_millis(rng.pick(&[1, 10, 100])),
            restarts_consumer: some(rng, 40, &[1, 3]),
            restarts_provider: some(rng, 20, &[1, 3]),
            disconnects: some(rng, 20, &[1, 3]),
            lies: 0,
            damage: 0,
            bad_disk: rng.chance(10),
            rotates: None,
            stranger: false,
            twin: false,
            providers: 5,
            slow: some(rng, 30, &[1, 4]),
            stalls: some(rng, 30, &[1, 3]),
            flips: true,
        }
    }
}

enum Event {
    /// A request reaches the provider.
    Request {
        from: usize,
        to: usize,
        life: u32,
        connection: u32,
        id: u64,
        bytes: Vec<u8>,
    },
    /// The provider has an answer ready.
    Served {
        from: usize,
        by: usize,
        life: u32,
        id: u64,
        serving: Box<Serving>,
    },
    /// An answer reaches the consumer.
    Response {
        to: usize,
        life: u32,
        id: u64,
        bytes: Vec<u8>,
    },
    /// A request has taken too long.
    Late {
        who: usize,
        life: u32,
        id: u64,
    },
    Work {
        who: usize,
        life: u32,
        work: Box<Local>,
        epoch: u32,
    },
    Tick {
        who: usize,
        life: u32,
    },
    RestartConsumer(usize),
    ProviderDown(usize),
    ProviderUp(usize),
    Stall(usize, bool),
    Disconnect(usize, usize),
    Disk {
        who: usize,
        full: bool,
    },
    Rotate(usize, Rotation),
    Stranger,
}

/// A chunk with a changed bit, and the hash to which it leads.
#[derive(Clone, Debug, PartialEq)]
struct Flipped {
    session: SnapshotSessionId,
    index: u64,
    length: u64,
    leads_to: Hash,
}

struct Simulation {
    rng: Rng,
    faults: Faults,
    start: Instant,
    now: Duration,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    events: BTreeMap<u64, Event>,
    sequence: u64,
    consumers: Vec<Consumer>,
    disk_free: Vec<Duration>,
    ticks: Vec<Option<Duration>>,
    providers: Vec<Provider>,
    stalled: Vec<bool>,
    /// The number of the provider that lies, if one does.
    liar: usize,
    /// Chunks with a changed bit, by request.
    flipped: BTreeMap<u64, Flipped>,
    /// The first changed chunk that reached the consumer.
    caught: Option<Flipped>,
    stranger: PeerId,
}

impl Simulation {
    fn new(seed: u64, trace: bool, of_five: bool) -> Self {
        let mut rng = Rng::new(seed);
        let faults = if of_five { Faults::of_five(&mut rng) } else { Faults::random(&mut rng) };
        let start = Instant::now();
        // With five providers, a snapshot with several chunks is used.
        let snapshot = if of_five { WORLD.steps() - rng.below(2) } else { 1 + rng.below(WORLD.steps()) };
        let tip = (snapshot + rng.below(4)).min(WORLD.steps());
        let slots = if rng.chance(50) { small_slots() } else { SlotLimits::default() };
        let id = SnapshotSessionId::new(1 + rng.below(1 << 50)).unwrap();
        let provider_ids: Vec<PeerId> = (0..faults.providers).map(|_| peer(&mut rng)).collect();
        let count = if faults.twin { 2 } else { 1 };
        let consumers: Vec<Consumer> = (0..count)
            .map(|_| {
                // All sessions have the same id, because a session is identified by peer and id.
                let peer = peer(&mut rng);
                let mut options = options(&mut rng);
                if of_five {
                    options.wishes.chunk_size = Some(16_384);
                    options.give_up_after = None;
                }
                let mut consumer = Consumer::new(peer, provider_ids.clone(), id, options, start);
                consumer.trace = trace.then(Vec::new);
                consumer
            })
            .collect();
        let mut simulation = Self {
            stranger: peer(&mut rng),
            faults,
            start,
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            disk_free: vec![Duration::ZERO; count],
            ticks: vec![None; count],
            consumers,
            providers: provider_ids.iter().map(|_| Provider::new(vec![(snapshot, tip)], slots)).collect(),
            stalled: vec![false; provider_ids.len()],
            liar: if of_five { rng.below(5) as usize } else { provider_ids.len() - 1 },
            flipped: BTreeMap::new(),
            caught: None,
            rng,
        };
        simulation.plan_faults();
        simulation
    }

    fn plan_faults(&mut self) {
        for who in 0..self.consumers.len() {
            for _ in 0..self.faults.restarts_consumer {
                self.some_time(Event::RestartConsumer(who));
            }
            for from in 0..self.providers.len() {
                for _ in 0..self.faults.disconnects {
                    self.some_time(Event::Disconnect(who, from));
                }
            }
            if self.faults.bad_disk {
                self.some_time(Event::Disk { who, full: true });
                self.at(TROUBLE, Event::Disk { who, full: false });
            }
        }
        for which in 0..self.providers.len() {
            for _ in 0..self.faults.restarts_provider {
                self.some_time(Event::ProviderDown(which));
            }
            for _ in 0..self.faults.stalls {
                self.some_time(Event::Stall(which, true));
                self.some_time(Event::Stall(which, false));
            }
            self.at(TROUBLE, Event::Stall(which, false));
            if let Some(rotation) = self.faults.rotates {
                self.some_time(Event::Rotate(which, rotation));
            }
        }
        if self.faults.stranger {
            for _ in 0..20 {
                self.some_time(Event::Stranger);
            }
        }
    }

    /// Most sessions end soon, so most trouble comes early.
    fn some_time(&mut self, event: Event) {
        let within = self.rng.pick(&[50, 500, 5_000, 60_000, TROUBLE.as_millis() as u64]);
        let at = Duration::from_micros(self.rng.below(within * 1000));
        self.at(at, event);
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((at.max(self.now), self.sequence)));
        self.events.insert(self.sequence, event);
    }

    fn soon(&mut self, within: Duration, event: Event) {
        let delay = Duration::from_micros(self.rng.below(within.as_micros() as u64));
        self.at(self.now + delay, event);
    }

    fn instant(&self) -> Instant {
        self.start + self.now
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000) + self.now
    }

    fn is_trouble(&self) -> bool {
        self.now < TROUBLE
    }

    fn run(&mut self) {
        for who in 0..self.consumers.len() {
            self.drive(who);
        }
        while self.consumers.iter().any(|consumer| !consumer.session.is_over()) {
            let Some(Reverse((at, sequence))) = self.queue.pop() else { panic!("nothing will ever happen again") };
            assert!(at < END && self.sequence < MOST_EVENTS, "no end in sight");
            self.now = at;
            let event = self.events.remove(&sequence).unwrap();
            self.happen(event);
        }
        for who in 0..self.consumers.len() {
            self.check_end(who);
            self.check_blames(who);
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.instant();
        match event {
            Event::Request { from, to, life, connection, id, bytes } => {
                // Anything sent on a closed connection never arrives.
                if self.providers[to].up && self.consumers[from].connections[to] == connection {
                    self.request_arrives(from, to, life, id, &bytes);
                }
            }
            Event::Served { from, by, life, id, serving } => {
                let provider = &mut self.providers[by];
                if serving.life == provider.life && provider.up {
                    let wall = UNIX_EPOCH + Duration::from_secs(1_800_000_000) + self.now;
                    let response = provider.serve(now, wall, *serving);
                    // A provider that stalls did the work, but does not answer.
                    if !self.stalled[by] {
                        self.answer(from, by, life, id, response);
                    }
                }
            }
            Event::Response { to, life, id, bytes } => self.response_arrives(to, life, id, &bytes),
            Event::Late { who, life, id } => {
                let consumer = &mut self.consumers[who];
                if consumer.life == life && consumer.in_flight.contains_key(&id) {
                    // A part of the answer may have arrived.
                    let received = if self.rng.chance(50) { self.rng.below(100_000) } else { 0 };
                    let reason = TooSlow::Whole;
                    consumer.request_failed(now, id, &RequestFailure::Timeout { reason, received });
                    self.drive(who);
                }
            }
            Event::Work { who, life, work, epoch } => {
                if self.consumers[who].life == life {
                    self.work_done(who, *work, epoch);
                }
            }
            Event::Tick { who, life } => {
                self.ticks[who] = None;
                if self.consumers[who].life == life {
                    self.consumers[who].timeout(now);
                }
                self.drive(who);
                let next = self.consumers[who].session.poll_timeout();
                assert!(next.is_none_or(|at| at > now), "time stands still: {:?}", self.consumers[who].session);
            }
            Event::RestartConsumer(who) => {
                if !self.consumers[who].session.is_over() {
                    self.consumers[who].restart(now, &mut self.rng);
                    self.disk_free[who] = self.now;
                    self.drive(who);
                }
            }
            Event::ProviderDown(which) => {
                self.providers[which].up = false;
                self.disconnect_all(which);
                self.soon(Duration::from_secs(10), Event::ProviderUp(which));
            }
            Event::ProviderUp(which) => self.providers[which].restart(),
            Event::Stall(which, stalls) => self.stalled[which] = stalls && self.is_trouble(),
            Event::Disconnect(who, from) => {
                self.consumers[who].disconnect(now, from, &mut self.rng);
                self.drive(who);
            }
            Event::Disk { who, full } => self.consumers[who].full = full,
            Event::Rotate(which, rotation) => self.rotate(which, rotation),
            Event::Stranger => self.stranger_meddles(),
        }
    }

    fn drive(&mut self, who: usize) {
        let now = self.instant();
        for wish in self.consumers[who].drive(now) {
            self.grant(who, wish);
        }
        let Some(at) = self.consumers[who].session.poll_timeout() else { return };
        // Another event may happen at the very moment of a timeout, before the timeout is handled.
        assert!(at >= now, "a timeout in the past: {:?}", self.consumers[who].session);
        let at = at.saturating_duration_since(self.start).max(self.now);
        if self.ticks[who].is_none_or(|planned| at < planned) {
            self.ticks[who] = Some(at);
            let life = self.consumers[who].life;
            self.at(at, Event::Tick { who, life });
        }
    }

    fn grant(&mut self, who: usize, wish: Wish) {
        let life = self.consumers[who].life;
        match wish {
            Wish::Send(to, id, request) => {
                self.at(self.now + REQUEST_IDLE, Event::Late { who, life, id });
                let bytes = json::encode_request(&request);
                for copy in 0..self.copies() {
                    // A second copy may arrive much later: after requests that were sent after it.
                    let delay = if copy == 0 { self.faults.delay } else { Duration::from_secs(60) };
                    let delay = if self.is_trouble() { delay } else { Duration::from_millis(5) };
                    let connection = self.consumers[who].connections[to];
                    self.soon(delay, Event::Request { from: who, to, life, connection, id, bytes: bytes.clone() });
                }
            }
            Wish::Work { work, on_disk, epoch } => {
                let took = Duration::from_micros(self.rng.below(20_000));
                // The disk does one thing at a time.
                let start = if on_disk { self.disk_free[who].max(self.now) } else { self.now };
                if on_disk {
                    self.disk_free[who] = start + took;
                }
                self.at(start + took, Event::Work { who, life, work: Box::new(work), epoch });
            }
        }
    }

    fn copies(&mut self) -> u32 {
        match self.is_trouble() {
            true if self.rng.chance(self.faults.loss) => 0,
            true if self.rng.chance(self.faults.duplicate) => 2,
            _ => 1,
        }
    }

    fn request_arrives(&mut self, from: usize, to: usize, life: u32, id: u64, bytes: &[u8]) {
        let now = self.instant();
        let peer = self.consumers[from].peer;
        match self.providers[to].arrive(now, peer, bytes) {
            Arrival::Answer(response) => self.answer(from, to, life, id, response),
            Arrival::Serve(serving) => {
                let event = Event::Served { from, by: to, life, id, serving };
                self.soon(Duration::from_millis(20), event);
            }
        }
    }

    fn answer(&mut self, to: usize, by: usize, life: u32, id: u64, mut response: SnapshotsResponse) {
        if self.faults.flips && by == self.liar {
            self.flip(id, &mut response);
        }
        let may_lie = self.is_trouble() && by == self.liar;
        if may_lie && self.rng.chance(self.faults.lies) {
            lies::lie(&mut self.rng, &mut response);
        }
        let mut bytes = json::encode_response(&response);
        if may_lie && self.rng.chance(self.faults.damage) {
            lies::damage(&mut self.rng, &mut bytes);
        }
        for _ in 0..self.copies() {
            let delay = if self.is_trouble() { self.faults.delay } else { Duration::from_millis(5) };
            // Each provider is slower than the previous one.
            let delay = delay * (1 + (self.faults.slow * by as u64) as u32);
            self.soon(delay, Event::Response { to, life, id, bytes: bytes.clone() });
        }
    }

    /// Changes one bit of a chunk, or of its proof.
    fn flip(&mut self, id: u64, response: &mut SnapshotsResponse) {
        let SnapshotsResponse::Chunk { session_id, chunk_index, chunk, proof } = response else { return };
        let (mut bytes, hashes) = (chunk.to_vec(), proof.len() as u64 * 32);
        let at = self.rng.below(bytes.len() as u64 + hashes) as usize;
        let bit = 1 << self.rng.below(8);
        match bytes.get_mut(at) {
            Some(byte) => *byte ^= bit,
            None => proof[(at - bytes.len()) / 32].0[(at - bytes.len()) % 32] ^= bit,
        }
        *chunk = bytes.into();
        let Some(plan) = self.consumers[0].session.plan() else { return };
        let Checkpoint { state_root, payload_bytes, .. } = plan.snapshot.checkpoint;
        match tree::verify_chunk(&state_root, payload_bytes, plan.chunk_size, *chunk_index, chunk, proof) {
            Err(ChunkError::Root { computed, .. }) => {
                let (session, index, length) = (*session_id, *chunk_index, chunk.len() as u64);
                self.flipped.insert(id, Flipped { session, index, length, leads_to: computed });
            }
            other => panic!("a changed bit is noticed: {other:?}"),
        }
    }

    fn response_arrives(&mut self, to: usize, life: u32, id: u64, bytes: &[u8]) {
        let now = self.instant();
        let consumer = &mut self.consumers[to];
        // On streams, an answer belongs to its request. Other answers are lost with their stream, but the end of a
        // stream may be reported late.
        let is_current = consumer.in_flight.contains_key(&id);
        if consumer.life != life || !is_current {
            consumer.late(now, id);
            return;
        }
        if let (None, Some(flipped)) = (&self.caught, self.flipped.get(&id)) {
            self.caught = Some(flipped.clone());
        }
        match json::decode_response(bytes) {
            Err(error) => consumer.violated(now, id, &Violation::Unreadable(error)),
            Ok(response) => {
                let (_, exchange) = consumer.in_flight[&id].clone();
                // The answer is checked on another thread; this simulation reports the result at once.
                consumer.done(now, Local::Verify(id, Box::new((exchange, response))), 0, &mut self.rng, false);
            }
        }
        self.drive(to);
    }

    fn work_done(&mut self, who: usize, work: Local, epoch: u32) {
        let now = self.instant();
        let work = match work {
            Local::Dialled(to, _) => Local::Dialled(to, self.providers[to].up),
            other => other,
        };
        let trouble = self.is_trouble() && self.faults.bad_disk;
        if let Some(wish) = self.consumers[who].done(now, work, epoch, &mut self.rng, trouble) {
            self.grant(who, wish);
        }
        self.drive(who);
    }

    fn disconnect_all(&mut self, from: usize) {
        let now = self.instant();
        for who in 0..self.consumers.len() {
            self.consumers[who].disconnect(now, from, &mut self.rng);
            self.drive(who);
        }
    }

    /// Happens while the provider is offline.
    fn rotate(&mut self, which: usize, rotation: Rotation) {
        self.disconnect_all(which);
        let provider = &mut self.providers[which];
        provider.restart();
        let (snapshot, tip) = provider.offers[0];
        let last = WORLD.steps();
        match rotation {
            Rotation::Publish => provider.offers.push((last, last)),
            Rotation::NewTip => {
                provider.offers = vec![(snapshot, (tip + 1).min(last))];
                provider.forget_everything();
            }
            Rotation::Replace => {
                provider.offers = vec![(if snapshot == last { 1 } else { snapshot + 1 }, last)];
                provider.forget_everything();
            }
            Rotation::ChangePlans => {
                provider.offers = vec![(snapshot, (tip + 1).min(last))];
                provider.change_plans();
            }
        }
    }

    /// Another peer sends arbitrary requests under the session's id.
    fn stranger_meddles(&mut self) {
        if !self.providers[0].up {
            return;
        }
        let (now, wall) = (self.instant(), self.wall());
        let session_id = self.consumers[0].session.id();
        let index = self.rng.below(5);
        let plan_id = self.consumers[0].session.plan().map_or(Hash::default(), |plan| plan.plan_id);
        let request = match self.rng.below(6) {
            0 => SnapshotsRequest::Chunk { session_id, chunk_index: index },
            1 => SnapshotsRequest::LightClientUpdate { session_id, update_index: index },
            2 => SnapshotsRequest::Resume { session_id, plan_id, chunk_index: index, update_index: index },
            3 => SnapshotsRequest::Ack { session_id, kind: ArtefactKind::Chunk, index },
            4 => SnapshotsRequest::Error { session_id, message: "it is over".to_owned() },
            _ => SnapshotsRequest::Plan {
                session_id,
                wishes: PlanWishes { chunk_size: Some(16_384), ..PlanWishes::default() },
            },
        };
        let owned = self.providers[0].record(self.stranger, session_id).is_some();
        let victim = self.providers[0].record(self.consumers[0].peer, session_id);
        let bytes = json::encode_request(&request);
        let response = match self.providers[0].arrive(now, self.stranger, &bytes) {
            Arrival::Answer(response) => response,
            Arrival::Serve(serving) => self.providers[0].serve(now, wall, *serving),
        };
        assert_eq!(
            victim,
            self.providers[0].record(self.consumers[0].peer, session_id),
            "a stranger touched a session"
        );
        let opens = matches!(request, SnapshotsRequest::Plan { .. });
        let is_refused = matches!(response, SnapshotsResponse::Error { .. });
        assert!(owned || opens || is_refused, "a stranger got {response:?}");
    }

    /// The session must be complete, or must have an honest reason for its failure.
    fn check_end(&mut self, who: usize) {
        let faults = &self.faults;
        let consumer = &self.consumers[who];
        let view = consumer.session.view();
        if view.state == SessionState::Complete {
            return;
        }
        let failure = view.failure.expect("neither complete nor failed");
        let lied = faults.lies > 0 || faults.damage > 0;
        let rotated = matches!(faults.rotates, Some(Rotation::NewTip | Rotation::Replace | Rotation::ChangePlans));
        let is_honest = match failure.code {
            FailureCode::Network => true, // only `give_up_after` makes it
            FailureCode::Provider | FailureCode::ResumeMismatch => lied || rotated,
            _ => lied,
        };
        assert!(is_honest, "{failure:?} with {faults:?}");
        assert!(!failure.distrust || lied, "an honest provider is blamed: {failure:?}");
    }

    /// Nobody is blamed who did not lie. A provider that changed a bit is blamed, with evidence.
    fn check_blames(&self, who: usize) {
        let lied = self.faults.lies > 0 || self.faults.damage > 0 || self.faults.flips;
        let consumer = &self.consumers[who];
        for blame in &consumer.blames {
            let DownloadSource::Peer(peer) = blame.source else { panic!("{blame:?}") };
            assert!(lied && consumer.number(peer) == self.liar, "{blame:?} is honest: {:?}", self.faults);
        }
        if !self.faults.flips {
            return;
        }
        let plan = consumer.session.plan().unwrap();
        let blames = consumer.blames.iter().map(|blame| {
            assert_eq!(blame.plan_id, Some(plan.plan_id));
            match &blame.fault {
                Fault::Violation(Violation::Chunk { index, received, source: ChunkError::Root { root, computed } }) => {
                    assert_eq!(*root, plan.snapshot.checkpoint.state_root);
                    let session = blame.link.unwrap();
                    Flipped { session, index: *index, length: *received, leads_to: *computed }
                }
                other => panic!("another reason: {other:?}"),
            }
        });
        assert_eq!(
            blames.collect::<Vec<_>>(),
            self.caught.iter().cloned().collect::<Vec<_>>(),
            "blamed once, and rightly"
        );
        assert_eq!(consumer.session.view().state, SessionState::Complete);
    }
}

fn peer(rng: &mut Rng) -> PeerId {
    let mut bytes = [0; 34];
    bytes[..2].copy_from_slice(&[0x12, 0x20]);
    for byte in &mut bytes[2..] {
        *byte = rng.next() as u8;
    }
    PeerId::from_bytes(&bytes).unwrap()
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// Returns how each consumer ended, and whether a changed bit reached one.
fn run(seed: u64, trace: bool, of_five: bool) -> Result<([Option<FailureCode>; 2], bool), String> {
    let mut simulation = Simulation::new(seed, trace, of_five);
    let result = catch_unwind(AssertUnwindSafe(|| simulation.run()));
    if result.is_err() {
        let mut told = format!("{:?}\n", simulation.faults);
        for consumer in &simulation.consumers {
            let notes = consumer.trace.as_deref().unwrap_or_default();
            let from = notes.len().saturating_sub(60);
            told += &format!("--- {} (life {})\n{}\n", consumer.peer, consumer.life, notes[from..].join("\n"));
        }
        return Err(told);
    }
    let mut ends = [None; 2];
    for (end, consumer) in ends.iter_mut().zip(&simulation.consumers) {
        *end = consumer.session.view().failure.map(|failure| failure.code);
    }
    Ok((ends, simulation.caught.is_some()))
}

/// Runs all seeds on all processors. Returns how many runs are complete, how many failed honestly, and in how many a
/// liar was caught.
fn run_all(default: u64, of_five: bool) -> (u64, u64, u64, u64) {
    let (first, runs) = (number("RPP_SIM_SEED", 1), number("RPP_SIM_RUNS", default));
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(8)) as u64;
    let results: Vec<(u64, u64, u64)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    let (mut complete, mut failed, mut caught) = (0, 0, 0);
                    for seed in (first + worker..first + runs).step_by(threads as usize) {
                        match run(seed, false, of_five) {
                            Ok((ends, liar)) => {
                                caught += u64::from(liar);
                                if ends.iter().all(Option::is_none) { complete += 1 } else { failed += 1 }
                            }
                            Err(_) => {
                                let told = run(seed, true, of_five).err().unwrap_or_default();
                                panic!("simulation failed: RPP_SIM_SEED={seed} RPP_SIM_RUNS=1\n{told}");
                            }
                        }
                    }
                    (complete, failed, caught)
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("a run failed: see its seed above")).collect()
    });
    let (complete, failed, caught) =
        results.iter().fold((0, 0, 0), |all, one| (all.0 + one.0, all.1 + one.1, all.2 + one.2));
    println!(
        "{runs} runs from seed {first}: {complete} complete, {failed} ended with an honest failure, {caught} liars"
    );
    (runs, complete, failed, caught)
}

#[test]
fn every_session_ends_complete_or_with_an_honest_reason() {
    let (runs, complete, failed, _) = run_all(10_000, false);
    assert!(runs < 1000 || (complete > runs / 2 && failed > runs / 100), "the faults are not what they should be");
}

/// One of five providers flips one bit in each chunk. Whenever such a chunk arrives, that provider is blamed with
/// evidence. Nobody else is ever blamed, none of its changed bytes is durable, and the download completes. Ten thousand
/// runs: `RPP_SIM_RUNS=10000`.
#[test]
fn of_five_providers_the_one_that_lies_is_blamed_with_evidence() {
    let (runs, complete, failed, caught) = run_all(1_000, true);
    assert_eq!((complete, failed), (runs, 0));
    // In the other runs, the download ended before the liar had sent a chunk.
    assert!(runs < 100 || caught > runs / 3 * 2, "{caught} of {runs} liars had something to say");
}
