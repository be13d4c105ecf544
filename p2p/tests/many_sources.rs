//! One download from many sources: which source leads, what is already verified, and what happens to a source that
//! fails.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::PeerId;
use rpp_p2p::{
    AuthorityError, ErrorCode, Exchange, FailureCode, Have, Plan, PlanWishes, RequestFailure, RequestId, Rules,
    SessionState, SnapshotSessionId, SnapshotsRequest, SnapshotsResponse, WaitKind,
    consumer::{
        Action, DownloadSource, Fault, MirrorFailure, MirrorId, MirrorJob, MirrorJobId, Options, Session, Storage,
    },
    error::{Cause, TooSlow},
    limits::{LEAD_PATIENCE, MAX_SOURCES, MIRROR_READS},
    mirror::{MirrorPlan, reads},
    status::SourceState,
};

use crate::world::WORLD;

const CHUNK: u64 = 16_384;
/// The payload of step 10: 13 chunks.
const PAYLOAD: u64 = 200_000;

/// A session, and the plans of its peers.
struct Rig {
    now: Instant,
    session: Session,
    /// The plan of each peer. A peer without a plan answers `not_found`.
    plans: BTreeMap<PeerId, Option<Plan>>,
    in_flight: BTreeMap<PeerId, (RequestId, Exchange)>,
    requests: u64,
    written: Have,
    /// Jobs of mirrors that are not done yet.
    jobs: Vec<(MirrorId, MirrorJobId, MirrorJob)>,
    /// Whether the answer about the plan's authority is held back.
    is_held: bool,
    /// The requested chunks, with the peer that was asked for each.
    asked: Vec<(PeerId, u64)>,
}

fn id(number: u64) -> SnapshotSessionId {
    SnapshotSessionId::new(number).unwrap()
}

fn peer(number: u8) -> PeerId {
    PeerId::from_bytes(&[0, 1, number]).unwrap()
}

fn rules() -> Rules {
    Rules { trust: Arc::clone(&WORLD.trust), ..Rules::default() }
}

fn options() -> Options {
    let wishes = PlanWishes { chunk_size: Some(CHUNK), ..Options::default().wishes };
    Options { wishes, ack_bytes: 2 * CHUNK, window: 1 << 20, seed: 1, ..Options::default() }
}

impl Rig {
    /// This many peers that serve step 10.
    fn new(peers: u8) -> Self {
        Self::of(10, peers)
    }

    /// This many peers that serve this step; their tip is the same step.
    fn of(step: u64, peers: u8) -> Self {
        let now = Instant::now();
        let mut session = Session::without_sources(id(1), options(), now);
        for number in 0..peers {
            assert!(session.add_peer(now, peer(number), id(100 + u64::from(number))));
        }
        let plan = || Some(WORLD.plan(step, step, CHUNK));
        Self {
            now,
            session,
            plans: (0..peers).map(|number| (peer(number), plan())).collect(),
            in_flight: BTreeMap::new(),
            requests: 0,
            written: Have::nothing(WORLD.checkpoint(step).payload_bytes),
            jobs: Vec::new(),
            is_held: false,
            asked: Vec::new(),
        }
    }

    /// Does all local work and sends requests; `answer` answers them.
    fn drive(&mut self) {
        while let Some(action) = self.session.poll_action(self.now) {
            let now = self.now;
            match action {
                Action::Connect(peer) => self.session.handle_connected(now, peer),
                Action::Request(peer, exchange) => {
                    self.requests += 1;
                    self.session.handle_sent(now, Ok(RequestId::new(self.requests))).unwrap();
                    exchange.fits().unwrap();
                    if let SnapshotsRequest::Chunk { chunk_index, .. } = exchange.request() {
                        self.asked.push((peer, *chunk_index));
                    }
                    let before = self.in_flight.insert(peer, (RequestId::new(self.requests), exchange));
                    assert!(before.is_none(), "a second request to {peer}");
                }
                Action::Close(peer, session) => {
                    assert!(self.session.has_link(peer, session));
                    self.in_flight.remove(&peer);
                }
                Action::Mirror(mirror, number, job) => self.jobs.push((mirror, number, job)),
                Action::VerifyAuthority { .. } if self.is_held => {}
                Action::VerifyAuthority { .. } => self.session.handle_authority(now, Ok(())).unwrap(),
                Action::OpenStorage { .. } => {
                    let unchecked = Have::nothing(self.written.payload_bytes());
                    self.session
                        .handle_storage(now, Storage::Ready { durable: self.written.clone(), unchecked })
                        .unwrap();
                }
                Action::Write(chunk) => {
                    assert!(!self.written.has_chunk(CHUNK, chunk.index), "written twice");
                    self.written.insert_chunks(CHUNK, chunk.index..chunk.index + 1);
                    self.session.handle_written(now, chunk.index).unwrap();
                }
                Action::Sync => self.session.handle_durable(now, &self.written).unwrap(),
                Action::Place => self.session.handle_placed(now, "/payload".into()).unwrap(),
                _ => {}
            }
        }
    }

    fn request(&self, peer: PeerId) -> Option<&SnapshotsRequest> {
        self.in_flight.get(&peer).map(|(_, exchange)| exchange.request())
    }

    fn response(&self, peer: PeerId) -> SnapshotsResponse {
        let request = self.request(peer).expect("a request");
        let session_id = request.session_id();
        let Some(plan) = self.plans[&peer].clone() else {
            let (code, message) = (ErrorCode::NotFound, "not here".to_owned());
            return SnapshotsResponse::Error { session_id, code, message };
        };
        match *request {
            SnapshotsRequest::Plan { .. } => SnapshotsResponse::Plan {
                session_id,
                plan: Box::new(plan),
                min_chunk_size: CHUNK,
                max_chunk_size: 4 << 20,
            },
            SnapshotsRequest::Chunk { chunk_index, .. } => {
                let payload = WORLD.payload(&plan.snapshot.checkpoint.state_root);
                let (chunk, proof) = payload.chunk(plan.chunk_size, chunk_index);
                SnapshotsResponse::Chunk { session_id, chunk_index, chunk, proof }
            }
            SnapshotsRequest::LightClientUpdate { update_index, .. } => {
                let update = Box::new(WORLD.update(&plan, update_index));
                SnapshotsResponse::LightClientUpdate { session_id, update_index, update }
            }
            SnapshotsRequest::Resume { plan_id, chunk_index, update_index, .. } => {
                let chunk_size = plan.chunk_size;
                SnapshotsResponse::Resume { session_id, plan_id, chunk_index, update_index, chunk_size }
            }
            SnapshotsRequest::Ack { kind, index, .. } => SnapshotsResponse::Ack { session_id, kind, index },
            SnapshotsRequest::Error { .. } => panic!("nobody cancels here"),
        }
    }

    /// This peer answers.
    fn answer(&mut self, peer: PeerId) {
        let response = self.response(peer);
        self.respond(peer, response);
    }

    fn respond(&mut self, peer: PeerId, response: SnapshotsResponse) {
        let (request, exchange) = self.in_flight.remove(&peer).expect("a request in flight");
        match exchange.check(&rules(), response) {
            Ok(verified) => self.session.handle_verified(self.now, request, verified).unwrap(),
            Err(violation) => self.session.handle_violation(self.now, request, &violation),
        }
        self.drive();
    }

    /// Each peer answers once.
    fn round(&mut self) {
        self.drive();
        let peers: Vec<PeerId> = self.in_flight.keys().copied().collect();
        for peer in peers {
            if self.in_flight.contains_key(&peer) {
                self.answer(peer);
            }
        }
        self.now += Duration::from_millis(10);
    }

    fn rounds_until(&mut self, mut is_there: impl FnMut(&Self) -> bool) {
        for _ in 0..200 {
            if is_there(self) {
                return;
            }
            self.round();
        }
        panic!("it does not come to that: {:?}", self.session.view());
    }

    /// Like [`Self::finish`], but mirrors also do their jobs.
    fn finish_with_mirrors(&mut self) {
        for _ in 0..200 {
            while !self.jobs.is_empty() {
                self.mirror();
            }
            self.round();
        }
        self.finish();
    }

    fn finish(&mut self) {
        self.rounds_until(|rig| rig.session.view().state == SessionState::Complete);
        assert!(self.written.is_all());
    }

    fn state(&self, source: DownloadSource) -> SourceState {
        self.session.sources(self.now).into_iter().find(|view| view.source == source).expect("a source").state
    }

    /// Does the next job of a mirror, honestly.
    fn mirror(&mut self) {
        let (mirror, number, job) = self.jobs.remove(0);
        match job {
            MirrorJob::Plan { wishes, .. } => {
                let plan = WORLD.plan(10, 10, CHUNK);
                let updates = (0..plan.total_updates).map(|index| WORLD.update(&plan, index)).collect();
                let plan = MirrorPlan::check(plan, updates, wishes, &rules()).unwrap();
                self.session.handle_mirror_plan(self.now, mirror, number, plan).unwrap();
            }
            MirrorJob::Chunks { plan, chunks } => {
                for index in chunks {
                    let header = &plan.snapshot.checkpoint;
                    let (bytes, proof) = WORLD.payload(&header.state_root).chunk(CHUNK, index);
                    let chunk = rpp_p2p::VerifiedChunk::verify(
                        &header.state_root,
                        header.payload_bytes,
                        CHUNK,
                        index,
                        bytes,
                        proof,
                    );
                    self.session.handle_mirror_chunk(self.now, mirror, number, chunk.unwrap()).unwrap();
                    self.drive();
                }
                self.session.handle_mirror_read(mirror, number).unwrap();
            }
            other => panic!("{other:?}"),
        }
        self.drive();
    }
}

#[test]
fn what_the_first_plan_settles_is_asked_of_the_others_and_all_deliver() {
    let mut rig = Rig::new(3);
    rig.drive();
    assert!(matches!(rig.request(peer(0)), Some(SnapshotsRequest::Plan { .. })));
    assert_eq!(rig.in_flight.len(), 1, "the others wait until something is settled");
    rig.rounds_until(|rig| rig.in_flight.contains_key(&peer(1)));
    let plan = rig.plans[&peer(0)].clone().unwrap();
    let Some(SnapshotsRequest::Plan { session_id, wishes }) = rig.request(peer(1)) else { panic!() };
    assert_eq!(*session_id, id(101), "each link has an id of its own");
    let sizes = (wishes.chunk_size, wishes.min_chunk_size, wishes.max_chunk_size);
    assert_eq!(sizes, (Some(CHUNK), Some(CHUNK), Some(CHUNK)));
    assert_eq!((wishes.root, wishes.height), (Some(plan.snapshot.checkpoint.state_root), Some(100)));
    rig.finish();
    let brought = |number: usize| rig.session.sources(rig.now)[number].bytes_verified;
    assert!((0..3).all(|number| brought(number) > 0));
    assert_eq!((0..3).map(brought).sum::<u64>(), PAYLOAD);
    assert_eq!(rig.state(DownloadSource::Peer(peer(2))), SourceState::Done);
    let mut once: Vec<u64> = rig.asked.iter().map(|(_, index)| *index).collect();
    once.sort_unstable();
    assert_eq!(once, (0..13).collect::<Vec<_>>(), "each chunk is asked for once");
}

#[test]
fn a_tip_of_its_own_is_no_matter_and_who_has_not_got_it_is_refused() {
    let mut rig = Rig::of(9, 3);
    rig.plans.insert(peer(1), Some(WORLD.plan(9, 10, CHUNK)));
    rig.plans.insert(peer(2), None);
    rig.rounds_until(|rig| rig.state(DownloadSource::Peer(peer(2))) == SourceState::Refused);
    let refused = rig.session.sources(rig.now).pop().unwrap();
    let (code, message) = refused.trouble.unwrap();
    assert!(code == FailureCode::Provider && message.contains("not here"), "{message}");
    assert_eq!(rig.session.poll_blame(), None, "that is no offence");
    rig.finish();
    assert!(rig.session.sources(rig.now)[1].bytes_verified > 0);
    assert_eq!(rig.session.plan().unwrap().tip, WORLD.checkpoint(9), "the plan is the leader's");
}

#[test]
fn a_source_that_lies_is_cut_off_with_evidence_and_its_run_goes_to_the_others() {
    let mut rig = Rig::new(3);
    rig.rounds_until(|rig| matches!(rig.request(peer(1)), Some(SnapshotsRequest::Chunk { .. })));
    let Some(SnapshotsRequest::Chunk { chunk_index, .. }) = rig.request(peer(1)).cloned() else { panic!() };
    let mut lie = rig.response(peer(1));
    if let SnapshotsResponse::Chunk { chunk, .. } = &mut lie {
        let mut bytes = chunk.to_vec();
        bytes[5] ^= 4;
        *chunk = bytes.into();
    }
    rig.respond(peer(1), lie);
    let blame = rig.session.poll_blame().expect("blamed");
    assert_eq!((blame.source, blame.link), (DownloadSource::Peer(peer(1)), Some(id(101))));
    assert_eq!(blame.plan_id, Some(rig.plans[&peer(1)].as_ref().unwrap().plan_id));
    assert!(matches!(blame.fault, Fault::Violation(rpp_p2p::Violation::Chunk { index, .. }) if index == chunk_index));
    assert_eq!(rig.state(DownloadSource::Peer(peer(1))), SourceState::Banned);
    assert!(!rig.session.add_peer(rig.now, peer(1), id(55)), "it does not come back");
    rig.finish();
    assert!(rig.asked.iter().filter(|(_, index)| *index == chunk_index).any(|(asked, _)| *asked != peer(1)));
    assert_eq!(rig.session.poll_blame(), None);
    assert!(rig.session.view().bytes_wasted >= CHUNK);
}

#[test]
fn a_plan_without_authority_gives_way_to_the_next_source() {
    let mut rig = Rig::new(2);
    let mut refused = false;
    for _ in 0..50 {
        while let Some(action) = rig.session.poll_action(rig.now) {
            match action {
                Action::Connect(peer) => rig.session.handle_connected(rig.now, peer),
                Action::Request(peer, exchange) => {
                    rig.requests += 1;
                    let request = RequestId::new(rig.requests);
                    rig.session.handle_sent(rig.now, Ok(request)).unwrap();
                    rig.in_flight.insert(peer, (request, exchange));
                }
                Action::VerifyAuthority { .. } => {
                    let stale = AuthorityError::Stale { tip: 1, head: 2 };
                    rig.session.handle_authority(rig.now, Err(stale)).unwrap();
                    refused = true;
                }
                _ => {}
            }
            if refused {
                break;
            }
        }
        if refused {
            break;
        }
        let peers: Vec<PeerId> = rig.in_flight.keys().copied().collect();
        for peer in peers {
            let response = rig.response(peer);
            let (request, exchange) = rig.in_flight.remove(&peer).unwrap();
            rig.session.handle_verified(rig.now, request, exchange.check(&rules(), response).unwrap()).unwrap();
        }
    }
    assert_eq!(rig.state(DownloadSource::Peer(peer(0))), SourceState::Refused);
    assert!(rig.session.plan().is_none(), "nothing of it is kept");
    rig.drive();
    let Some(SnapshotsRequest::Plan { wishes, .. }) = rig.request(peer(1)) else { panic!("the next one leads") };
    assert_eq!((wishes.root, wishes.max_chunk_size), (None, options().wishes.max_chunk_size), "nothing is settled");
    assert_eq!(rig.session.poll_blame(), None, "an old tip is no offence");
    rig.finish();
}

#[test]
fn a_leader_that_says_nothing_gives_way_before_anything_is_settled() {
    let mut rig = Rig::new(2);
    rig.drive();
    assert!(rig.in_flight.contains_key(&peer(0)));
    let at = rig.session.poll_timeout().unwrap();
    assert_eq!(at, rig.now + LEAD_PATIENCE);
    rig.now = at;
    rig.session.handle_timeout(at);
    rig.drive();
    assert!(matches!(rig.request(peer(1)), Some(SnapshotsRequest::Plan { .. })));
    let silent = rig.in_flight.remove(&peer(0)).unwrap();
    rig.finish();
    // The end of its request is reported late.
    let failure = RequestFailure::Timeout { reason: TooSlow::Whole, received: 0 };
    rig.session.handle_request_failed(rig.now, silent.0, &failure);
    assert_eq!(rig.session.source(), Some(DownloadSource::Peer(peer(1))));
}

#[test]
fn without_a_source_it_waits_and_goes_on_with_the_next() {
    let mut rig = Rig::new(1);
    rig.rounds_until(|rig| matches!(rig.request(peer(0)), Some(SnapshotsRequest::Chunk { .. })));
    rig.round();
    rig.now += Duration::from_secs(5);
    let removed_at = rig.now;
    assert!(
        rig.session.remove_source(rig.now, DownloadSource::Peer(peer(0)))
            && !rig.session.remove_source(rig.now, DownloadSource::Peer(peer(0)))
    );
    rig.in_flight.clear();
    rig.drive();
    let view = rig.session.view();
    assert_eq!((view.state, view.source), (SessionState::Connecting, None));
    let waiting = view.waiting.unwrap();
    assert!(waiting.what == WaitKind::Operator && waiting.reason.contains("add a peer"), "{}", waiting.reason);
    assert_eq!(waiting.since, removed_at, "the wait began when the source was removed");
    assert!(view.bytes_received > 0, "what it brought still counts");
    rig.plans.insert(peer(4), Some(WORLD.plan(10, 10, CHUNK)));
    assert!(rig.session.add_peer(rig.now, peer(4), id(9)));
    assert!(!rig.session.add_peer(rig.now, peer(4), id(10)), "it is there already");
    rig.finish();
    assert!(rig.asked.iter().filter(|(_, index)| *index == 0).count() == 1, "what is durable is not asked for again");
}

#[test]
fn with_the_last_source_the_download_fails() {
    let mut rig = Rig::new(2);
    rig.plans.insert(peer(0), None);
    rig.plans.insert(peer(1), None);
    for _ in 0..4 {
        rig.round();
    }
    let view = rig.session.view();
    assert_eq!(view.state, SessionState::Failed);
    assert!(view.failure.unwrap().message.contains(&peer(1).to_string()));
}

#[test]
fn a_mirror_alone_is_a_verified_start_like_any_other() {
    let mut rig = Rig::new(0);
    assert!(rig.session.add_mirror(MirrorId(3)) && !rig.session.add_mirror(MirrorId(3)));
    rig.drive();
    assert!(matches!(rig.jobs.as_slice(), [(MirrorId(3), _, MirrorJob::Plan { .. })]));
    rig.mirror();
    let reads: Vec<_> = rig
        .jobs
        .iter()
        .map(|(_, _, job)| match job {
            MirrorJob::Chunks { chunks, .. } => chunks.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(reads.len(), MIRROR_READS, "the next answers are on their way before the first one ends");
    assert!(reads[0].start == 0 && reads.windows(2).all(|pair| pair[0].end == pair[1].start), "{reads:?}");
    assert!(reads.iter().all(|read| read.end - read.start > 1), "neighbours are read in one go: {reads:?}");
    while !rig.jobs.is_empty() {
        rig.mirror();
    }
    let view = rig.session.view();
    assert_eq!((view.state, view.source), (SessionState::Complete, Some(DownloadSource::Mirror(MirrorId(3)))));
    assert_eq!((view.bytes_received, view.bytes_wasted), (PAYLOAD, 0));
}

#[test]
fn while_the_authority_is_checked_mirrors_are_read_ahead_and_nothing_reaches_the_disk() {
    let mut rig = Rig::new(0);
    rig.is_held = true;
    for number in 0..2 {
        assert!(rig.session.add_mirror(MirrorId(number)));
    }
    rig.drive();
    assert_eq!(rig.jobs.len(), 2, "both manifests are read at once");
    while !rig.jobs.is_empty() {
        rig.mirror();
    }
    let view = rig.session.view();
    assert_eq!((view.state, view.bytes_received, view.bytes_wasted), (SessionState::Verifying, PAYLOAD, 0));
    assert_eq!((view.bytes_verified, view.bytes_written, rig.written.bytes()), (0, 0, 0));
    rig.session.handle_authority(rig.now, Ok(())).unwrap();
    rig.drive();
    let view = rig.session.view();
    assert_eq!((view.state, view.bytes_received, view.bytes_wasted), (SessionState::Complete, PAYLOAD, 0));
    assert!(rig.written.is_all() && rig.jobs.is_empty(), "nothing is read twice: {:?}", rig.jobs);
    let gave: Vec<u64> = rig.session.sources(rig.now).iter().map(|view| view.bytes_verified).collect();
    assert_eq!(gave.iter().sum::<u64>(), PAYLOAD, "{gave:?}");
}

#[test]
fn what_is_read_ahead_fits_the_window_and_nothing_of_it_counts_without_authority() {
    let mut rig = Rig::new(0);
    rig.is_held = true;
    rig.session = Session::without_sources(id(1), Options { window: 4 * CHUNK, ..options() }, rig.now);
    (0..2).for_each(|number| assert!(rig.session.add_mirror(MirrorId(number))));
    rig.drive();
    while !rig.jobs.is_empty() {
        rig.mirror();
    }
    assert_eq!(rig.session.view().bytes_received, 4 * CHUNK);
    rig.session.handle_authority(rig.now, Err(AuthorityError::Stale { tip: 1, head: 2 })).unwrap();
    rig.drive();
    let view = rig.session.view();
    assert_eq!((view.bytes_verified, rig.written.bytes()), (0, 0), "{view:?}");
}

#[test]
fn a_mirror_is_told_with_the_plan_what_will_be_read_of_it_first() {
    let mut rig = Rig::new(0);
    rig.is_held = true;
    rig.session = Session::without_sources(id(1), Options { window: 16 * CHUNK, ..options() }, rig.now);
    (0..2).for_each(|number| assert!(rig.session.add_mirror(MirrorId(number))));
    rig.drive();
    let of_plan = |(_, _, job): &(MirrorId, MirrorJobId, MirrorJob)| match job {
        MirrorJob::Plan { ahead, .. } => ahead.clone(),
        other => panic!("{other:?}"),
    };
    let parts: Vec<_> = rig.jobs.iter().map(of_plan).collect();
    assert_eq!(parts, [0..8 * CHUNK, 8 * CHUNK..16 * CHUNK], "each something else, and no more than the window");
    rig.mirror();
    rig.mirror();
    for (number, part) in (0..).zip(parts) {
        let due =
            reads(part.start..part.end.min(PAYLOAD), CHUNK).map(|read| read.start / CHUNK..read.end.div_ceil(CHUNK));
        let of_chunks = |(mirror, _, job): &(MirrorId, MirrorJobId, MirrorJob)| match job {
            MirrorJob::Chunks { chunks, .. } => (*mirror == MirrorId(number)).then(|| chunks.clone()),
            other => panic!("{other:?}"),
        };
        assert_eq!(rig.jobs.iter().filter_map(of_chunks).collect::<Vec<_>>(), due.collect::<Vec<_>>());
    }
}

#[test]
fn a_mirror_that_fails_while_several_reads_are_under_way_is_read_by_fewer() {
    let mut rig = Rig::new(0);
    assert!(rig.session.add_mirror(MirrorId(0)));
    rig.drive();
    for reads in [MIRROR_READS, MIRROR_READS / 2, MIRROR_READS / 4, 1] {
        rig.mirror();
        assert_eq!(rig.jobs.len(), reads, "{:?}", rig.jobs);
        let (mirror, job, _) = rig.jobs.swap_remove(0);
        rig.jobs.clear();
        let later = MirrorFailure::Passing { reason: Cause::told("503"), retry_after: None };
        rig.session.handle_mirror_failed(rig.now, mirror, job, later).unwrap();
        while rig.jobs.is_empty() {
            rig.now = rig.session.poll_timeout().expect("it is asked again");
            rig.session.handle_timeout(rig.now);
            rig.drive();
        }
        let is_plan_alone = |job: &MirrorJob| matches!(job, MirrorJob::Plan { ahead, .. } if ahead.is_empty());
        assert!(is_plan_alone(&rig.jobs[0].2), "{:?}", rig.jobs);
    }
    while !rig.jobs.is_empty() {
        rig.mirror();
    }
    assert_eq!(rig.session.view().state, SessionState::Complete);
}

#[test]
fn a_part_is_read_in_pieces_of_whole_chunks() {
    let pieces = |part, size| reads(part, size).collect::<Vec<_>>();
    assert_eq!(pieces(0..24, 2), [0..4, 4..8, 8..12, 12..16, 16..20, 20..24]);
    assert_eq!(pieces(8..22, 2), [8..10, 10..12, 12..14, 14..16, 16..18, 18..20], "the rest is read after them");
    assert_eq!(pieces(16..21, 4), [16..20, 20..21], "the last chunk may be shorter");
    assert_eq!(pieces(0..3, 4), vec![std::ops::Range { start: 0, end: 3 }]);
    assert_eq!((pieces(7..7, 4), pieces(3..5, 0)), (Vec::new(), vec![3..4, 4..5]));
    assert_eq!(pieces(0..u64::MAX, u64::MAX), vec![std::ops::Range { start: 0, end: u64::MAX }]);
}

#[test]
fn under_a_limit_by_the_byte_nothing_is_read_ahead() {
    let mut rig = Rig::new(0);
    rig.is_held = true;
    rig.session.limit_rate(Some(1 << 20));
    assert!(rig.session.add_mirror(MirrorId(0)));
    rig.drive();
    assert!(matches!(&rig.jobs[0].2, MirrorJob::Plan { ahead, .. } if ahead.is_empty()), "{:?}", rig.jobs);
    rig.mirror();
    assert!(rig.jobs.is_empty(), "{:?}", rig.jobs);
}

#[test]
fn a_mirror_with_nothing_newest_is_asked_again_for_what_is_settled() {
    let mut rig = Rig::new(1);
    assert!(rig.session.add_mirror(MirrorId(0)));
    rig.drive();
    let (mirror, job, MirrorJob::Plan { wishes, .. }) = rig.jobs.remove(0) else { panic!("{:?}", rig.jobs) };
    assert_eq!(wishes.root, None, "nothing is settled yet");
    let refused = MirrorFailure::Refused { code: FailureCode::Provider, reason: Cause::told("no snapshots.json") };
    rig.session.handle_mirror_failed(rig.now, mirror, job, refused).unwrap();
    rig.rounds_until(|rig| !rig.jobs.is_empty());
    let Some((_, _, MirrorJob::Plan { wishes, ahead })) = rig.jobs.last() else { panic!("{:?}", rig.jobs) };
    assert_eq!(wishes.root, Some(WORLD.checkpoint(10).state_root));
    assert!(ahead.is_empty(), "by now there is a place, and runs: {ahead:?}");
    rig.finish_with_mirrors();
}

#[test]
fn a_mirror_that_is_read_in_another_way_is_asked_at_once() {
    let mut rig = Rig::new(1);
    rig.session.add_mirror(MirrorId(0));
    rig.drive();
    let (mirror, job, _) = rig.jobs.remove(0);
    let later = MirrorFailure::Passing { reason: Cause::told("503"), retry_after: Some(Duration::from_secs(900)) };
    rig.session.handle_mirror_failed(rig.now, mirror, job, later).unwrap();
    assert_eq!(rig.state(DownloadSource::Mirror(mirror)), SourceState::BackingOff);
    assert!(rig.session.renew_mirror(mirror) && !rig.session.renew_mirror(MirrorId(7)));
    rig.drive();
    assert!(matches!(rig.jobs.as_slice(), [(_, _, MirrorJob::Plan { .. })]), "{:?}", rig.jobs);
    assert!(rig.session.sources(rig.now)[1].trouble.is_none(), "what was before says nothing any more");
    rig.finish_with_mirrors();
}

#[test]
fn a_mirror_that_fails_waits_as_long_as_it_says_and_one_that_lies_is_banned() {
    let mut rig = Rig::new(1);
    rig.session.add_mirror(MirrorId(0));
    rig.drive();
    let (_, job, _) = rig.jobs.remove(0);
    let (reason, retry_after) = (Cause::told("503"), Some(Duration::from_secs(30)));
    let failure = MirrorFailure::Passing { reason, retry_after };
    rig.session.handle_mirror_failed(rig.now, MirrorId(0), job, failure.clone()).unwrap();
    rig.session.handle_mirror_failed(rig.now, MirrorId(0), job, failure.clone()).unwrap();
    let never = MirrorJobId(job.0 + 1);
    assert!(rig.session.handle_mirror_failed(rig.now, MirrorId(0), never, failure).is_err(), "there is no such job");
    assert_eq!(rig.state(DownloadSource::Mirror(MirrorId(0))), SourceState::BackingOff);
    rig.rounds_until(|rig| matches!(rig.request(peer(0)), Some(SnapshotsRequest::Chunk { .. })));
    rig.now += Duration::from_secs(29);
    rig.session.handle_timeout(rig.now);
    assert_eq!(rig.state(DownloadSource::Mirror(MirrorId(0))), SourceState::BackingOff);
    rig.now += Duration::from_secs(1);
    rig.session.handle_timeout(rig.now);
    rig.drive();
    rig.mirror();
    let (_, job, MirrorJob::Chunks { chunks, .. }) = rig.jobs.remove(0) else { panic!("{:?}", rig.jobs) };
    let root = WORLD.checkpoint(10).state_root;
    let source = rpp_p2p::tree::ChunkError::Root { root, computed: rpp_p2p::Hash([1; 32]) };
    let lie = rpp_p2p::Violation::Chunk { index: chunks.start, received: CHUNK, source };
    rig.session.handle_mirror_failed(rig.now, MirrorId(0), job, MirrorFailure::Lied(lie)).unwrap();
    assert_eq!(rig.state(DownloadSource::Mirror(MirrorId(0))), SourceState::Banned);
    let blame = rig.session.poll_blame().unwrap();
    assert_eq!((blame.source, blame.link), (DownloadSource::Mirror(MirrorId(0)), None));
    rig.finish();
}

#[test]
fn the_number_of_sources_is_bounded_and_one_that_was_refused_may_come_back() {
    let mut rig = Rig::new(0);
    for number in 0..MAX_SOURCES as u8 {
        assert!(rig.session.add_peer(rig.now, peer(number), id(1000 + u64::from(number))));
        rig.plans.insert(peer(number), None);
    }
    assert!(!rig.session.add_peer(rig.now, peer(200), id(5)) && !rig.session.add_mirror(MirrorId(0)));
    rig.round();
    assert_eq!(rig.state(DownloadSource::Peer(peer(0))), SourceState::Refused);
    assert!(rig.session.add_peer(rig.now, peer(0), id(6)), "in its own place");
    assert_eq!(rig.session.sources(rig.now).len(), MAX_SOURCES);
}

#[test]
fn many_small_windows_never_hold_more_than_one_window() {
    let mut rig = Rig::new(5);
    rig.session = {
        let options = Options { window: 4 * CHUNK, ack_bytes: 1 << 30, ..options() };
        let mut session = Session::without_sources(id(1), options, rig.now);
        (0..5).for_each(|number| assert!(session.add_peer(rig.now, peer(number), id(100 + u64::from(number)))));
        session
    };
    for _ in 0..100 {
        rig.round();
        let view = rig.session.view();
        let chunks =
            rig.in_flight.values().filter(|(_, exchange)| matches!(exchange.request(), SnapshotsRequest::Chunk { .. }));
        let under_way = chunks.count() as u64 * CHUNK;
        let in_memory = view.bytes_verified.saturating_sub(view.bytes_written) + under_way;
        let pending = view.bytes_verified.saturating_sub(view.bytes_durable) + under_way;
        let is_bounded = in_memory <= 4 * CHUNK && pending <= 8 * CHUNK;
        assert!(is_bounded || view.state == SessionState::Complete, "{in_memory} {pending}");
    }
    assert_eq!(rig.session.view().state, SessionState::Complete);
}
