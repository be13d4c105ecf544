//! Ten thousand sessions on a simulated network: the real consumer session against the real slots and
//! records, with losses, delays, duplicates, reordering, restarts of either side, a lying provider, one that changes what
//! it offers, a full disk, bytes and proofs that change on the disk between two processes, and a second peer that claims the same session.
//!
//! `RPP_SIM_RUNS` sets the number of runs, `RPP_SIM_SEED` the seed of the first one; a failing run prints its seed and what
//! its consumer did.

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
    ArtefactKind, FailureCode, Hash, PlanWishes, RequestFailure, SessionState, SnapshotSessionId, SnapshotsRequest,
    SnapshotsResponse, Violation, json, limits::REQUEST_IDLE, provider::SlotLimits,
};

/// After this, network, disks and processes behave, so that every run has to end.
const TROUBLE: Duration = Duration::from_secs(120);
/// By then it has ended.
const END: Duration = Duration::from_secs(4 * 3600);

const MOST_EVENTS: u64 = 100_000;

/// What goes wrong in a run.
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rotation {
    /// A newer snapshot is offered; sessions go on.
    Publish,
    /// The tip moved, and the sessions are forgotten.
    NewTip,
    /// The snapshot is gone, and the sessions are forgotten.
    Replace,
    /// The sessions stream another plan.
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
        }
    }
}

enum Event {
    /// A request reaches the provider.
    Request {
        from: usize,
        life: u32,
        connection: u32,
        id: u64,
        bytes: Vec<u8>,
    },
    /// The provider has an answer ready.
    Served {
        from: usize,
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
    ProviderDown,
    ProviderUp,
    Disconnect(usize),
    Disk {
        who: usize,
        full: bool,
    },
    Rotate(Rotation),
    Stranger,
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
    provider: Provider,
    stranger: PeerId,
}

impl Simulation {
    fn new(seed: u64, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let faults = Faults::random(&mut rng);
        let start = Instant::now();
        let snapshot = 1 + rng.below(WORLD.steps());
        let tip = (snapshot + rng.below(4)).min(WORLD.steps());
        let slots = if rng.chance(50) { small_slots() } else { SlotLimits::default() };
        let id = SnapshotSessionId::new(1 + rng.below(1 << 50)).unwrap();
        let provider_id = peer(&mut rng);
        let count = if faults.twin { 2 } else { 1 };
        let consumers: Vec<Consumer> = (0..count)
            .map(|_| {
                // All with the same session id: sessions belong to (peer, id).
                let peer = peer(&mut rng);
                let mut consumer = Consumer::new(peer, provider_id, id, options(&mut rng), start);
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
            provider: Provider::new(vec![(snapshot, tip)], slots),
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
            for _ in 0..self.faults.disconnects {
                self.some_time(Event::Disconnect(who));
            }
            if self.faults.bad_disk {
                self.some_time(Event::Disk { who, full: true });
                self.at(TROUBLE, Event::Disk { who, full: false });
            }
        }
        for _ in 0..self.faults.restarts_provider {
            self.some_time(Event::ProviderDown);
        }
        if let Some(rotation) = self.faults.rotates {
            self.some_time(Event::Rotate(rotation));
        }
        if self.faults.stranger {
            for _ in 0..20 {
                self.some_time(Event::Stranger);
            }
        }
    }

    /// Most sessions are over soon: so most trouble comes early.
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
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.instant();
        match event {
            Event::Request { from, life, connection, id, bytes } => {
                // What was sent on a connection that is gone never arrives.
                if self.provider.up && self.consumers[from].connection == connection {
                    self.request_arrives(from, life, id, &bytes);
                }
            }
            Event::Served { from, life, id, serving } => {
                if serving.life == self.provider.life && self.provider.up {
                    let wall = self.wall();
                    let response = self.provider.serve(now, wall, *serving);
                    self.answer(from, life, id, response);
                }
            }
            Event::Response { to, life, id, bytes } => self.response_arrives(to, life, id, &bytes),
            Event::Late { who, life, id } => {
                let consumer = &mut self.consumers[who];
                if consumer.life == life && consumer.request.as_ref().is_some_and(|(current, _)| *current == id) {
                    // Some of it may have come.
                    let received = if self.rng.chance(50) { self.rng.below(100_000) } else { 0 };
                    let reason = "simulated".to_owned();
                    consumer.request_failed(now, &RequestFailure::Timeout { reason, received });
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
            }
            Event::RestartConsumer(who) => {
                if !self.consumers[who].session.is_over() {
                    self.consumers[who].restart(now, &mut self.rng);
                    self.disk_free[who] = self.now;
                    self.drive(who);
                }
            }
            Event::ProviderDown => {
                self.provider.up = false;
                self.disconnect_all();
                self.soon(Duration::from_secs(10), Event::ProviderUp);
            }
            Event::ProviderUp => self.provider.restart(),
            Event::Disconnect(who) => {
                self.consumers[who].disconnect(now, &mut self.rng);
                self.drive(who);
            }
            Event::Disk { who, full } => self.consumers[who].full = full,
            Event::Rotate(rotation) => self.rotate(rotation),
            Event::Stranger => self.stranger_meddles(),
        }
    }

    fn drive(&mut self, who: usize) {
        let now = self.instant();
        for wish in self.consumers[who].drive(now) {
            self.grant(who, wish);
        }
        let Some(at) = self.consumers[who].session.poll_timeout() else { return };
        assert!(at > now, "a timeout in the past: {:?}", self.consumers[who].session);
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
            Wish::Send(id, request) => {
                self.at(self.now + REQUEST_IDLE, Event::Late { who, life, id });
                let bytes = json::encode_request(&request);
                for copy in 0..self.copies() {
                    // A second copy may come much later: after requests that were sent after it.
                    let delay = if copy == 0 { self.faults.delay } else { Duration::from_secs(60) };
                    let delay = if self.is_trouble() { delay } else { Duration::from_millis(5) };
                    let connection = self.consumers[who].connection;
                    self.soon(delay, Event::Request { from: who, life, connection, id, bytes: bytes.clone() });
                }
            }
            Wish::Work { work, on_disk, epoch } => {
                let took = Duration::from_micros(self.rng.below(20_000));
                // The disk does one thing after the other.
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

    fn request_arrives(&mut self, from: usize, life: u32, id: u64, bytes: &[u8]) {
        let now = self.instant();
        let peer = self.consumers[from].peer;
        match self.provider.arrive(now, peer, bytes) {
            Arrival::Answer(response) => self.answer(from, life, id, response),
            Arrival::Serve(serving) => {
                let event = Event::Served { from, life, id, serving };
                self.soon(Duration::from_millis(20), event);
            }
        }
    }

    fn answer(&mut self, to: usize, life: u32, id: u64, mut response: SnapshotsResponse) {
        let lies = self.is_trouble() && self.rng.chance(self.faults.lies);
        if lies {
            lies::lie(&mut self.rng, &mut response);
        }
        let mut bytes = json::encode_response(&response);
        if self.is_trouble() && self.rng.chance(self.faults.damage) {
            lies::damage(&mut self.rng, &mut bytes);
        }
        for _ in 0..self.copies() {
            let delay = if self.is_trouble() { self.faults.delay } else { Duration::from_millis(5) };
            self.soon(delay, Event::Response { to, life, id, bytes: bytes.clone() });
        }
    }

    fn response_arrives(&mut self, to: usize, life: u32, id: u64, bytes: &[u8]) {
        let now = self.instant();
        let consumer = &mut self.consumers[to];
        // Streams match answers to requests: others vanish with their stream, but the end of that may be heard of late.
        let is_current = consumer.request.as_ref().is_some_and(|(current, _)| *current == id);
        if consumer.life != life || !is_current {
            consumer.late(now, id);
            return;
        }
        match json::decode_response(bytes) {
            Err(error) => {
                consumer.request = None;
                consumer.violated(now, &Violation::Unreadable(error));
            }
            Ok(response) => {
                let (_, exchange) = consumer.request.take().unwrap();
                // Checked on another thread, which is quicker here than there: the session hears of it at once.
                consumer.done(now, Local::Verify(Box::new((exchange, response))), 0, &mut self.rng, false);
            }
        }
        self.drive(to);
    }

    fn work_done(&mut self, who: usize, work: Local, epoch: u32) {
        let now = self.instant();
        let work = match work {
            Local::Dialled(_) => Local::Dialled(self.provider.up),
            other => other,
        };
        let trouble = self.is_trouble() && self.faults.bad_disk;
        if let Some(wish) = self.consumers[who].done(now, work, epoch, &mut self.rng, trouble) {
            self.grant(who, wish);
        }
        self.drive(who);
    }

    fn disconnect_all(&mut self) {
        let now = self.instant();
        for who in 0..self.consumers.len() {
            self.consumers[who].disconnect(now, &mut self.rng);
            self.drive(who);
        }
    }

    /// Happens while the provider is offline.
    fn rotate(&mut self, rotation: Rotation) {
        self.disconnect_all();
        self.provider.restart();
        let (snapshot, tip) = self.provider.offers[0];
        let last = WORLD.steps();
        match rotation {
            Rotation::Publish => self.provider.offers.push((last, last)),
            Rotation::NewTip => {
                self.provider.offers = vec![(snapshot, (tip + 1).min(last))];
                self.provider.forget_everything();
            }
            Rotation::Replace => {
                self.provider.offers = vec![(if snapshot == last { 1 } else { snapshot + 1 }, last)];
                self.provider.forget_everything();
            }
            Rotation::ChangePlans => {
                self.provider.offers = vec![(snapshot, (tip + 1).min(last))];
                self.provider.change_plans();
            }
        }
    }

    /// Another peer sends anything it likes under the session's id.
    fn stranger_meddles(&mut self) {
        if !self.provider.up {
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
        let owned = self.provider.record(self.stranger, session_id).is_some();
        let victim = self.provider.record(self.consumers[0].peer, session_id);
        let bytes = json::encode_request(&request);
        let response = match self.provider.arrive(now, self.stranger, &bytes) {
            Arrival::Answer(response) => response,
            Arrival::Serve(serving) => self.provider.serve(now, wall, *serving),
        };
        assert_eq!(victim, self.provider.record(self.consumers[0].peer, session_id), "a stranger touched a session");
        let opens = matches!(request, SnapshotsRequest::Plan { .. });
        let is_refused = matches!(response, SnapshotsResponse::Error { .. });
        assert!(owned || opens || is_refused, "a stranger got {response:?}");
    }

    /// Complete, or an honest reason why not.
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

fn run(seed: u64, trace: bool) -> Result<[Option<FailureCode>; 2], String> {
    let mut simulation = Simulation::new(seed, trace);
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
    Ok(ends)
}

#[test]
fn every_session_ends_complete_or_with_an_honest_reason() {
    let (first, runs) = (number("RPP_SIM_SEED", 1), number("RPP_SIM_RUNS", 10_000));
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(8)) as u64;
    let results: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    let (mut complete, mut failed) = (0, 0);
                    for seed in (first + worker..first + runs).step_by(threads as usize) {
                        match run(seed, false) {
                            Ok(ends) if ends.iter().all(Option::is_none) => complete += 1,
                            Ok(_) => failed += 1,
                            Err(_) => {
                                let told = run(seed, true).err().unwrap_or_default();
                                panic!("simulation failed: RPP_SIM_SEED={seed} RPP_SIM_RUNS=1\n{told}");
                            }
                        }
                    }
                    (complete, failed)
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("a run failed: see its seed above")).collect()
    });
    let (complete, failed) = results.iter().fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    println!("{runs} runs from seed {first}: {complete} complete, {failed} ended with an honest failure");
    assert!(runs < 1000 || (complete > runs / 2 && failed > runs / 100), "the faults are not what they should be");
}
