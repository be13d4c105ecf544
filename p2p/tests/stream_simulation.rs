//! Sessions over simulated streams: the real consumer session and both real ends of `/rpp/snapshots/2.0.0`, frame by
//! frame. Bytes arrive in pieces of any size, streams are lost, either side may crash anywhere, and a provider sends
//! what it may not.
//!
//! `RPP_STREAM_SIM_RUNS` sets the number of runs, `RPP_STREAM_SIM_SEED` the seed of the first one. A failing run prints
//! its seed. For ten thousand runs: `RPP_STREAM_SIM_RUNS=10000 cargo test --release --test rules stream_simulation`.

#![allow(clippy::single_range_in_vec_init, reason = "what is wanted is a list of ranges")]

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use libp2p::PeerId;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use rpp_p2p::{
    ArtefactKind, FailureCode, Have, PipelineError, Plan, Protocol, RequestFailure, RequestId, Rules, SessionState,
    SnapshotProtocolError, SnapshotSessionId, SnapshotsRequest, SnapshotsResponse, Verified, Violation,
    authority::check_authority_signatures,
    consumer::{Action, Options, Saved, Session, Storage},
    json,
    limits::{MAX_CHUNK_SIZE, MIN_CHUNK_SIZE},
    provider::{Record, RecordLimits, Records},
    stream::{
        Came, ConsumerFrame, Incoming, Served, StreamWork, Totals, Wanted,
        frame::{self, ConsumerDecoder},
    },
};

use crate::world::WORLD;

/// A forbidden action of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    BeyondCredit,
    Unwanted,
    Twice,
    OutOfOrder,
    Damaged,
}

/// The data that survives a crash of the consumer.
#[derive(Default)]
struct Disk {
    record: Option<(Arc<Plan>, Vec<rpp_p2p::Update>)>,
    bytes: Vec<u8>,
    durable: u64,
}

/// One stream: its bytes in flight, and both ends.
struct Stream {
    id: RequestId,
    to_provider: VecDeque<u8>,
    to_consumer: VecDeque<u8>,
    incoming: Incoming,
    decoder: ConsumerDecoder,
    served: Served,
    is_open: bool,
    message: Option<RequestId>,
    lied: bool,
}

struct Run {
    rng: StdRng,
    now: Instant,
    peer: PeerId,
    options: Options,
    session: Session,
    disk: Disk,
    /// Local work in progress.
    work: VecDeque<Action>,
    stream: Option<Stream>,
    next_id: u64,
    records: Records,
    offer: (u64, u64),
    lie: Option<Lie>,
    faults: u32,
    lied: bool,
    placed: bool,
}

fn rules() -> Rules {
    Rules { trust: Arc::clone(&WORLD.trust), ..Rules::default() }
}

fn session_id() -> SnapshotSessionId {
    SnapshotSessionId::new(7).unwrap()
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let now = Instant::now();
        let peer = PeerId::random();
        let chunk_size = 1 << rng.random_range(14..18_u32);
        let mut options = Options { seed, ..Options::default() };
        options.wishes.chunk_size = Some(chunk_size);
        options.window = [2 * chunk_size, 4 * chunk_size, 1 << 20][rng.random_range(0..3)];
        options.ack_bytes = [1, 20_000, 16 << 20][rng.random_range(0..3)];
        let snapshot = 1 + rng.random_range(0..WORLD.steps());
        let tip = (snapshot + rng.random_range(0..4)).min(WORLD.steps());
        let lies = [Lie::BeyondCredit, Lie::Unwanted, Lie::Twice, Lie::OutOfOrder, Lie::Damaged];
        let lie = rng.random_bool(0.3).then(|| lies[rng.random_range(0..lies.len())]);
        Self {
            session: Session::new(session_id(), peer, options.clone(), now),
            faults: if rng.random_bool(0.6) { rng.random_range(1..8) } else { 0 },
            rng,
            now,
            peer,
            options,
            disk: Disk::default(),
            work: VecDeque::new(),
            stream: None,
            next_id: 1,
            records: Records::new(RecordLimits::default()),
            offer: (snapshot, tip),
            lie,
            lied: false,
            placed: false,
        }
    }

    fn run(&mut self) {
        for step in 0..200_000 {
            self.poll();
            if self.session.is_over() {
                return self.check_end();
            }
            if self.faults > 0 && self.rng.random_bool(0.02) {
                self.faults -= 1;
                self.fault();
                continue;
            }
            let turn = self.rng.random_range(0..4);
            let moved = (0..4).any(|offset| match (turn + offset) % 4 {
                0 => self.work(),
                1 => self.deliver_to_provider(),
                2 => self.provide(),
                _ => self.deliver_to_consumer(),
            });
            if !moved {
                let at = self.session.poll_timeout().unwrap_or_else(|| {
                    panic!("step {step}: nothing will ever happen again: {:?}", self.session.view())
                });
                self.now = self.now.max(at);
                self.session.handle_timeout(self.now);
            }
        }
        panic!("no end in sight: {:?}", self.session.view());
    }

    fn check_end(&self) {
        let view = self.session.view();
        match view.state {
            SessionState::Complete => {
                let root = view.plan.unwrap().snapshot.checkpoint.state_root;
                assert!(self.placed && self.disk.bytes == WORLD.payload(&root).bytes.as_ref());
                let record = self.records.get(self.peer, session_id());
                assert!(record.is_ok_and(|record| record.plan.total_chunks > 0));
            }
            _ => {
                let failure = view.failure.unwrap();
                assert!(self.lied && failure.distrust, "an honest provider was accused: {}", failure.message);
                assert!(failure.message.contains(&self.peer.to_string()), "{}", failure.message);
                assert!(matches!(failure.code, FailureCode::Provider | FailureCode::Checksum), "{failure:?}");
            }
        }
    }

    fn poll(&mut self) {
        while let Some(action) = self.session.poll_action(self.now) {
            match action {
                Action::Connect(peer) => self.session.handle_connected(self.now, peer),
                Action::Request(_, exchange) => self.request(&exchange),
                Action::Grant(_, grant) => {
                    let Some(stream) = self.stream.as_mut().filter(|stream| stream.id == grant.request_id) else {
                        continue;
                    };
                    if let Some(wanted) = grant.want {
                        stream.to_provider.extend(frame::want(&wanted));
                        stream.incoming.wanting(grant.plan, wanted, grant.previous);
                    }
                    if let Some(credit) = grant.credit {
                        stream.to_provider.extend(frame::credit(credit));
                        stream.incoming.granting(credit);
                    }
                }
                Action::PlanAccepted(plan) => {
                    self.disk.record = Some((plan, Vec::new()));
                }
                work => self.work.push_back(work),
            }
        }
    }

    fn request(&mut self, exchange: &rpp_p2p::Exchange) {
        let id = RequestId::new(self.next_id);
        self.next_id += 1;
        let opens = matches!(exchange.request(), SnapshotsRequest::Plan { .. } | SnapshotsRequest::Resume { .. });
        if opens {
            self.stream = Some(Stream {
                id,
                to_provider: VecDeque::new(),
                to_consumer: VecDeque::new(),
                incoming: Incoming::new(session_id(), rules()),
                decoder: ConsumerDecoder::default(),
                served: Served::default(),
                is_open: false,
                message: None,
                lied: false,
            });
        }
        let sent = match &mut self.stream {
            Some(stream) => {
                stream.to_provider.extend(frame::message(&json::encode_request(exchange.request())));
                stream.incoming.asking(exchange.clone());
                stream.message = Some(id);
                Ok(id)
            }
            None => Err(rpp_p2p::NotSent::Busy),
        };
        self.session.handle_sent(self.now, sent).unwrap();
    }

    /// Does one piece of local work.
    fn work(&mut self) -> bool {
        let Some(action) = self.work.pop_front() else { return false };
        let now = self.now;
        match action {
            Action::VerifyAuthority { plan, updates } => {
                let result = check_authority_signatures(&plan, &updates, &WORLD.trust);
                self.session.handle_authority(now, result).unwrap();
            }
            Action::OpenStorage { plan, updates } => {
                let total = plan.snapshot.checkpoint.payload_bytes;
                // For an empty payload, nothing is on the disk before the chunk arrives.
                let durable = match self.disk.durable {
                    0 => Have::nothing(total),
                    bytes => Have::prefix(total, bytes),
                };
                self.disk.bytes.truncate(usize::try_from(self.disk.durable).unwrap());
                self.disk.record = Some((plan, updates.to_vec()));
                self.session.handle_storage(now, Storage::Ready { durable, unchecked: Have::nothing(total) }).unwrap();
            }
            Action::Write(chunk) => {
                if self.faults > 0 && self.rng.random_bool(0.01) {
                    // The disk is full for a moment. Data that is not durable is lost, and arrives again on another
                    // stream.
                    self.faults -= 1;
                    self.work.retain(|work| !matches!(work, Action::Write(_) | Action::Sync | Action::Place));
                    self.disk.bytes.truncate(usize::try_from(self.disk.durable).unwrap());
                    self.session.handle_storage(now, Storage::Full { needed: 2, free: 1 }).unwrap();
                    return true;
                }
                let chunk_size = self.session.plan().unwrap().chunk_size;
                assert_eq!(self.disk.bytes.len() as u64, chunk.index * chunk_size, "a chunk out of order");
                self.disk.bytes.extend_from_slice(&chunk.bytes);
                self.session.handle_written(now, chunk.index).unwrap();
            }
            Action::Sync => {
                let total = self.session.plan().unwrap().snapshot.checkpoint.payload_bytes;
                self.disk.durable = self.disk.bytes.len() as u64;
                self.session.handle_durable(now, &Have::prefix(total, self.disk.durable)).unwrap();
            }
            Action::Place => {
                self.placed = true;
                self.session.handle_placed(now, PathBuf::from("/payload")).unwrap();
            }
            other => panic!("{other:?}"),
        }
        true
    }

    fn fault(&mut self) {
        match self.rng.random_range(0..3) {
            // The stream is lost, or its whole connection.
            0 => self.lose_stream(),
            1 => {
                self.lose_stream();
                self.session.handle_disconnected(self.now, self.peer, "simulated");
            }
            // The consumer's process crashes.
            _ => {
                self.stream = None;
                self.work.clear();
                self.placed = false;
                self.disk.bytes.truncate(usize::try_from(self.disk.durable).unwrap());
                let options = self.options.clone();
                self.session = match &self.disk.record {
                    Some((plan, updates)) => {
                        let is_all = self.disk.durable == plan.snapshot.checkpoint.payload_bytes;
                        let saved = Saved {
                            plan: Arc::clone(plan),
                            updates: updates.clone(),
                            confirmed_chunks: if is_all {
                                plan.total_chunks
                            } else {
                                self.disk.durable / plan.chunk_size
                            },
                            confirmed_updates: updates.len() as u64,
                            durable: Have::prefix(plan.snapshot.checkpoint.payload_bytes, self.disk.durable),
                        };
                        Session::restore(session_id(), self.peer, options, saved, None, self.now)
                    }
                    None => Session::new(session_id(), self.peer, options, self.now),
                };
            }
        }
    }

    fn lose_stream(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        let received = stream.incoming.unfinished_bytes();
        let failure = RequestFailure::ConnectionClosed { received };
        if let Some(message) = stream.message {
            self.session.handle_request_failed(self.now, message, &failure);
        }
        if stream.is_open {
            self.session.handle_stream_ended(self.now, stream.id, &SnapshotProtocolError::Outbound(failure));
        }
    }

    fn deliver_to_provider(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let bytes = piece(&mut self.rng, &mut stream.to_provider);
        if bytes.is_empty() {
            return false;
        }
        let mut rest = bytes.as_slice();
        while let Some(heard) = stream.decoder.feed(&mut rest).unwrap() {
            stream.served.heard(heard).expect("an honest consumer was accused");
        }
        true
    }

    /// The provider does one thing.
    fn provide(&mut self) -> bool {
        let Some(mut stream) = self.stream.take() else { return false };
        let before = stream.served.next_request();
        let most = self.rng.random_range(1..300_000);
        let work = stream.served.poll_work(most).unwrap();
        let did = match work {
            None => self.lie_when_idle(&mut stream),
            Some(StreamWork::Message(message)) => {
                self.answer(&mut stream, &message);
                true
            }
            Some(StreamWork::Update(index)) => {
                let plan = Arc::clone(&self.records.get(self.peer, session_id()).unwrap().plan);
                let update = Box::new(WORLD.update(&plan, index));
                let response =
                    SnapshotsResponse::LightClientUpdate { session_id: session_id(), update_index: index, update };
                stream.to_consumer.extend(frame::message(&json::encode_response(&response)));
                true
            }
            Some(StreamWork::Chunks(mut chunks)) => {
                assert!(before.is_some());
                match self.lie.filter(|_| !stream.lied && self.rng.random_bool(0.2)) {
                    Some(Lie::OutOfOrder) if chunks.len() > 1 => {
                        chunks.swap(0, 1);
                        self.lied(&mut stream);
                    }
                    Some(Lie::Twice) => {
                        chunks.push(chunks[0]);
                        self.lied(&mut stream);
                    }
                    Some(Lie::Damaged) => {
                        self.lied(&mut stream);
                        self.send_chunk(&mut stream, chunks[0], true);
                        chunks.remove(0);
                    }
                    _ => {}
                }
                for index in chunks {
                    self.send_chunk(&mut stream, index, false);
                }
                true
            }
        };
        self.stream = Some(stream);
        did
    }

    /// When there is nothing left that it may send, it sends something forbidden.
    fn lie_when_idle(&mut self, stream: &mut Stream) -> bool {
        let Ok(plan) = self.records.get(self.peer, session_id()).map(|record| Arc::clone(&record.plan)) else {
            return false;
        };
        if !stream.is_open || stream.lied || !self.rng.random_bool(0.5) {
            return false;
        }
        let view = self.session.view();
        match self.lie {
            // Everything that was granted is in flight, so anything more is too much.
            Some(Lie::BeyondCredit) if view.verified_updates == plan.total_updates => {
                let next = stream.sent_next(&plan);
                if next >= plan.total_chunks {
                    return false;
                }
                self.lied(stream);
                self.send_chunk(stream, next, false);
                true
            }
            Some(Lie::Unwanted) => {
                self.lied(stream);
                let mut frame = frame::chunk_head(plan.total_chunks + 3, &[], 1);
                frame.push(0);
                stream.to_consumer.extend(frame);
                true
            }
            _ => false,
        }
    }

    fn lied(&mut self, stream: &mut Stream) {
        stream.lied = true;
        self.lied = true;
    }

    fn send_chunk(&mut self, stream: &mut Stream, index: u64, damaged: bool) {
        let plan = Arc::clone(&self.records.get(self.peer, session_id()).unwrap().plan);
        let (bytes, proof) = WORLD.payload(&plan.snapshot.checkpoint.state_root).chunk(plan.chunk_size, index);
        stream.to_consumer.extend(frame::chunk_head(index, &proof, bytes.len()));
        let mut bytes = bytes.to_vec();
        if let (true, Some(last)) = (damaged, bytes.last_mut()) {
            *last ^= 1;
        }
        stream.to_consumer.extend(bytes);
    }

    fn answer(&mut self, stream: &mut Stream, message: &SnapshotsRequest) {
        let (peer, session, wall) =
            (self.peer, session_id(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        stream.served.answered();
        let response: Result<SnapshotsResponse, PipelineError> = match *message {
            SnapshotsRequest::Plan { wishes, .. } => {
                let chunk_size = wishes.chunk_size.unwrap();
                let plan = WORLD.plan(self.offer.0, self.offer.1, chunk_size);
                self.records.put(peer, session, Record::new(Arc::new(plan.clone()), wall));
                stream.served.opened(totals(&plan)).unwrap();
                Ok(SnapshotsResponse::Plan {
                    session_id: session,
                    plan: Box::new(plan),
                    min_chunk_size: MIN_CHUNK_SIZE,
                    max_chunk_size: MAX_CHUNK_SIZE,
                })
            }
            SnapshotsRequest::Resume { plan_id, chunk_index, update_index, .. } => {
                self.records.resume(peer, session, plan_id, chunk_index, update_index, wall).map(|at| {
                    let plan = Arc::clone(&self.records.get(peer, session).unwrap().plan);
                    stream.served.opened(totals(&plan)).unwrap();
                    SnapshotsResponse::Resume {
                        session_id: session,
                        plan_id: at.plan_id,
                        chunk_index: at.chunk_index,
                        update_index: at.update_index,
                        chunk_size: at.chunk_size,
                    }
                })
            }
            SnapshotsRequest::Ack { kind, index, .. } => {
                self.records.acknowledged(peer, session, kind, index, wall).map(|record| {
                    assert!(kind != ArtefactKind::Chunk || index < record.plan.total_chunks);
                    self.records.put(peer, session, record);
                    SnapshotsResponse::Ack { session_id: session, kind, index }
                })
            }
            _ => panic!("{message:?}"),
        };
        let response = response.unwrap_or_else(|error| SnapshotsResponse::Error {
            session_id: session,
            code: error.code(),
            message: error.to_string(),
        });
        stream.to_consumer.extend(frame::message(&json::encode_response(&response)));
        stream.served.answer_written();
    }

    fn deliver_to_consumer(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let bytes = piece(&mut self.rng, &mut stream.to_consumer);
        if bytes.is_empty() {
            return false;
        }
        let mut rest = bytes.as_slice();
        loop {
            let Some(stream) = &mut self.stream else { return true };
            match feed(&mut self.rng, &mut stream.incoming, &mut rest) {
                Ok(None) => return true,
                Ok(Some(Came::Answer(verified, _))) => {
                    let id = stream.message.take().unwrap();
                    stream.is_open |= !matches!(verified, Verified::Refused { .. });
                    self.session.handle_protocol(id, Protocol::V2);
                    self.session.handle_verified(self.now, id, verified).unwrap();
                }
                Ok(Some(Came::Artefact(verified, _))) => {
                    let id = stream.id;
                    self.session.handle_streamed(self.now, id, verified).unwrap();
                }
                Ok(Some(other)) => panic!("{other:?}"),
                Err(violation) => {
                    assert!(stream.lied, "an honest provider was accused: {violation}");
                    let stream = self.stream.take().unwrap();
                    let id = stream.message.unwrap_or(stream.id);
                    self.session.handle_violation(self.now, id, &violation);
                    assert!(self.session.is_over(), "a violation ends the session");
                    return true;
                }
            }
            // As on a real swarm, the session may send its next request before the rest arrives.
            if self.rng.random_bool(0.5) {
                self.poll();
                if self.session.is_over() {
                    return true;
                }
            }
        }
    }
}

impl Stream {
    /// The first chunk that was not sent yet.
    fn sent_next(&self, plan: &Plan) -> u64 {
        let mut probe = 0;
        while probe < plan.total_chunks && self.served.has_sent(probe) {
            probe += 1;
        }
        probe
    }
}

fn totals(plan: &Plan) -> Totals {
    Totals {
        payload_bytes: plan.snapshot.checkpoint.payload_bytes,
        chunk_size: plan.chunk_size,
        chunks: plan.total_chunks,
        updates: plan.total_updates,
    }
}

/// The next bytes in flight: often all of them, sometimes only one.
fn piece(rng: &mut StdRng, way: &mut VecDeque<u8>) -> Vec<u8> {
    let most = match rng.random_range(0..4) {
        0 => 1,
        1 => rng.random_range(1..100),
        2 => rng.random_range(1..70_000),
        _ => usize::MAX,
    };
    let length = most.min(way.len());
    way.drain(..length).collect()
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn every_session_ends_complete_or_with_the_liar_named() {
    let (runs, first) = (setting("RPP_STREAM_SIM_RUNS", 2_000), setting("RPP_STREAM_SIM_SEED", 1));
    let mut lies = 0;
    for seed in first..first + runs {
        let mut run = Run::new(seed);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run.run())) {
            println!("seed {seed}: RPP_STREAM_SIM_SEED={seed} RPP_STREAM_SIM_RUNS=1");
            std::panic::resume_unwind(panic);
        }
        lies += u32::from(run.lied);
    }
    assert!(runs < 500 || lies > 50, "too few lies were told: {lies}");
}

/// The wanted ranges change all the time, while old ones are still in flight.
#[test]
fn whatever_is_wanted_meanwhile_each_thing_comes_once_and_nobody_is_accused() {
    for seed in 1..=500 {
        let mut rng = StdRng::seed_from_u64(seed);
        let step = 1 + rng.random_range(0..WORLD.steps());
        let plan = Arc::new(WORLD.plan(step, WORLD.steps(), MIN_CHUNK_SIZE));
        let (mut incoming, mut served) = (Incoming::new(session_id(), rules()), Served::default());
        let wishes = Default::default();
        served.heard(ConsumerFrame::Message(SnapshotsRequest::Plan { session_id: session_id(), wishes })).unwrap();
        assert!(matches!(served.poll_work(0), Ok(Some(StreamWork::Message(_)))));
        served.answered();
        served.answer_written();
        served.opened(totals(&plan)).unwrap();

        let (mut to_provider, mut to_consumer) = (VecDeque::new(), VecDeque::new());
        let (mut decoder, mut credit, mut came) = (ConsumerDecoder::default(), 0, Vec::new());
        let all = Wanted { chunks: vec![0..plan.total_chunks], updates: 0..plan.total_updates };
        for turn in 0..400 {
            let is_last = turn >= 300;
            if turn == 300 || (!is_last && rng.random_bool(0.2) && incoming.open_wants() < 12) {
                let wanted = if is_last { all.clone() } else { some_of(&mut rng, &plan) };
                to_provider.extend(frame::want(&wanted));
                incoming.wanting(Arc::clone(&plan), wanted, None);
            }
            if turn == 300 || rng.random_bool(0.2) {
                credit += if is_last { 1 << 40 } else { rng.random_range(0..4 * MIN_CHUNK_SIZE) };
                to_provider.extend(frame::credit(credit));
                incoming.granting(credit);
            }
            let heard = if is_last { to_provider.drain(..).collect() } else { piece(&mut rng, &mut to_provider) };
            let mut rest = heard.as_slice();
            while let Some(heard) = decoder.feed(&mut rest).unwrap() {
                served.heard(heard).unwrap();
            }
            if let Some(work) = served.poll_work(rng.random_range(1..50_000)).unwrap() {
                match work {
                    StreamWork::Update(index) => {
                        let update = Box::new(WORLD.update(&plan, index));
                        let response = SnapshotsResponse::LightClientUpdate {
                            session_id: session_id(),
                            update_index: index,
                            update,
                        };
                        to_consumer.extend(frame::message(&json::encode_response(&response)));
                    }
                    StreamWork::Chunks(chunks) => {
                        for index in chunks {
                            let root = plan.snapshot.checkpoint.state_root;
                            let (bytes, proof) = WORLD.payload(&root).chunk(plan.chunk_size, index);
                            to_consumer.extend(frame::chunk_head(index, &proof, bytes.len()));
                            to_consumer.extend(bytes);
                        }
                    }
                    StreamWork::Message(message) => panic!("{message:?}"),
                }
            }
            let bytes = if is_last { to_consumer.drain(..).collect() } else { piece(&mut rng, &mut to_consumer) };
            let mut rest = bytes.as_slice();
            loop {
                match feed(&mut rng, &mut incoming, &mut rest) {
                    Ok(None) => break,
                    Ok(Some(Came::Artefact(Verified::Chunk(chunk), _))) => came.push(chunk.index),
                    Ok(Some(Came::Artefact(..))) => {}
                    Ok(Some(other)) => panic!("{other:?}"),
                    Err(violation) => panic!("seed {seed}: {violation}"),
                }
            }
        }
        came.sort_unstable();
        assert!(came.iter().copied().eq(0..plan.total_chunks), "seed {seed}: {came:?} of {}", plan.total_chunks);
        assert!(!incoming.is_expecting());
    }
}

/// Feeds the received bytes. The bytes of a chunk may also be placed directly into its buffer.
fn feed(rng: &mut StdRng, incoming: &mut Incoming, rest: &mut &[u8]) -> Result<Option<Came>, Violation> {
    let space = incoming.space();
    let count = space.len().min(rest.len());
    if count == 0 || rng.random_bool(0.5) {
        return incoming.feed(rest);
    }
    let (placed, others) = rest.split_at(count);
    space[..count].copy_from_slice(placed);
    *rest = others;
    match incoming.filled(count)? {
        None => incoming.feed(rest),
        came => Ok(came),
    }
}

/// Some ranges of chunks, and perhaps all updates.
fn some_of(rng: &mut StdRng, plan: &Plan) -> Wanted {
    let (mut chunks, mut at) = (Vec::new(), 0);
    while at < plan.total_chunks && rng.random_bool(0.7) {
        let start = at + rng.random_range(0..3);
        let end = (start + 1 + rng.random_range(0..4)).min(plan.total_chunks);
        if start < end {
            chunks.push(start..end);
        }
        at = end.max(start + 1);
    }
    let updates = if rng.random_bool(0.5) { 0..plan.total_updates } else { 0..0 };
    Wanted { chunks, updates }
}
