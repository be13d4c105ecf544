//! The policy of a consumer session, rule by rule: what it requests, from which failures it recovers, and what it
//! reports.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::world::WORLD;
use libp2p::PeerId;
use rpp_p2p::{
    ArtefactKind, AuthenticationError, AuthorityError, ErrorCode, Exchange, FailureCode, Hash, Have, Plan, PlanWishes,
    RequestFailure, RequestId, Rules, SessionState, SnapshotSessionId, SnapshotsRequest, SnapshotsResponse, Update,
    UpdateError, Violation, WaitKind,
    consumer::{Action, ExplicitResume, Input, Options, Saved, Session, Storage, Unexpected, View},
    error::Cause,
};
use rpp_proofs::ProofError;

const CHUNK: u64 = 16_384;
/// The payload of step 8.
const PAYLOAD: u64 = 81_000;

/// The first `chunks` chunks.
fn first(chunks: u64) -> Have {
    Have::prefix(PAYLOAD, chunks * CHUNK)
}

/// An open payload with the first `chunks` chunks, of which this many bytes are still to be hashed.
fn ready(chunks: u64, unchecked_bytes: u64) -> Storage {
    Storage::Ready { durable: first(chunks), unchecked: Have::prefix(PAYLOAD, unchecked_bytes) }
}

/// A session for step 8's snapshot (five chunks) under tip 9, with an honest provider.
struct Rig {
    now: Instant,
    session: Session,
    /// The request in flight.
    exchange: Option<Exchange>,
    plan: Plan,
    /// The number of requests so far, which is also the last one's id.
    requests: u64,
}

fn id() -> SnapshotSessionId {
    SnapshotSessionId::new(7).unwrap()
}

/// The provider.
fn peer() -> PeerId {
    // An identity multihash of no bytes.
    PeerId::from_bytes(&[0, 0]).unwrap()
}

fn timeout(received: u64) -> RequestFailure {
    RequestFailure::Timeout { reason: rpp_p2p::snapshots::Stall::Silent(Duration::from_secs(30)).into(), received }
}

fn lost(received: u64) -> RequestFailure {
    RequestFailure::ConnectionClosed { received }
}

fn rules() -> Rules {
    Rules { trust: Arc::clone(&WORLD.trust), ..Rules::default() }
}

fn wishes(chunk_size: u64) -> PlanWishes {
    PlanWishes { chunk_size: Some(chunk_size), ..Options::default().wishes }
}

fn options() -> Options {
    Options { wishes: wishes(CHUNK), ack_bytes: 2 * CHUNK, window: 4 * CHUNK, seed: 1, ..Options::default() }
}

impl Rig {
    fn new(options: Options) -> Self {
        let now = Instant::now();
        Self::around(Session::new(id(), peer(), options, now), now)
    }

    fn around(session: Session, now: Instant) -> Self {
        Self { now, session, exchange: None, plan: WORLD.plan(8, 9, CHUNK), requests: 0 }
    }

    /// A session that an earlier process left with this many durable chunks and updates.
    fn restored(chunks: u64, updates: u64, explicit: Option<ExplicitResume>) -> Self {
        let now = Instant::now();
        let plan = Arc::new(WORLD.plan(8, 9, CHUNK));
        let saved = Saved {
            plan: Arc::clone(&plan),
            updates: (0..updates).map(|index| WORLD.update(&plan, index)).collect(),
            confirmed_chunks: chunks,
            confirmed_updates: 2,
            durable: first(chunks),
        };
        Self::around(Session::restore(id(), peer(), options(), saved, explicit, now), now)
    }

    fn action(&mut self) -> Action {
        self.maybe_action().expect("an action")
    }

    fn maybe_action(&mut self) -> Option<Action> {
        let action = self.session.poll_action(self.now);
        if let Some(Action::Request(_, exchange)) = &action {
            self.requests += 1;
            self.session.handle_sent(self.now, Ok(self.last())).unwrap();
            exchange.fits().unwrap();
            self.exchange = Some(exchange.clone());
        }
        action
    }

    /// The last request's id.
    fn last(&self) -> RequestId {
        RequestId::new(self.requests)
    }

    fn request(&mut self) -> SnapshotsRequest {
        match self.action() {
            Action::Request(_, exchange) => exchange.request().clone(),
            other => panic!("a request is due, not {other:?}"),
        }
    }

    fn idle(&mut self) {
        let action = self.maybe_action();
        assert!(action.is_none(), "nothing is due, but {action:?}");
    }

    fn connect(&mut self) {
        assert!(matches!(self.action(), Action::Connect(_)));
        self.session.handle_connected(self.now, peer());
    }

    /// The honest answer.
    fn answer(&mut self, request: &SnapshotsRequest) {
        let session_id = id();
        let response = match *request {
            SnapshotsRequest::Plan { .. } => SnapshotsResponse::Plan {
                session_id,
                plan: Box::new(self.plan.clone()),
                min_chunk_size: CHUNK,
                max_chunk_size: 4 << 20,
            },
            SnapshotsRequest::Chunk { chunk_index, .. } => {
                let payload = WORLD.payload(&self.plan.snapshot.checkpoint.state_root);
                let (chunk, proof) = payload.chunk(self.plan.chunk_size, chunk_index);
                SnapshotsResponse::Chunk { session_id, chunk_index, chunk, proof }
            }
            SnapshotsRequest::LightClientUpdate { update_index, .. } => SnapshotsResponse::LightClientUpdate {
                session_id,
                update_index,
                update: Box::new(WORLD.update(&self.plan, update_index)),
            },
            SnapshotsRequest::Resume { plan_id, chunk_index, update_index, .. } => {
                let chunk_size = self.plan.chunk_size;
                SnapshotsResponse::Resume { session_id, plan_id, chunk_index, update_index, chunk_size }
            }
            SnapshotsRequest::Ack { kind, index, .. } => SnapshotsResponse::Ack { session_id, kind, index },
            SnapshotsRequest::Error { .. } => panic!("nobody cancels here"),
        };
        self.respond(request, response);
    }

    fn refuse(&mut self, request: &SnapshotsRequest, code: ErrorCode) {
        self.respond(request, SnapshotsResponse::Error { session_id: id(), code, message: "because".to_owned() });
    }

    fn respond(&mut self, request: &SnapshotsRequest, response: SnapshotsResponse) {
        let exchange = self.exchange.take().expect("a request in flight");
        assert_eq!(exchange.request(), request);
        let verified = exchange.check(&rules(), response).unwrap();
        self.session.handle_verified(self.now, self.last(), verified).unwrap();
    }

    fn exchange_one(&mut self) -> SnapshotsRequest {
        let request = self.request();
        self.answer(&request);
        request
    }

    /// The next request for a chunk. Every other request before it is answered.
    fn exchange_until_chunk(&mut self) -> SnapshotsRequest {
        let request = self.request();
        if !matches!(request, SnapshotsRequest::Chunk { .. }) {
            self.answer(&request);
        }
        request
    }

    fn fail(&mut self, failure: &RequestFailure) {
        self.session.handle_request_failed(self.now, self.last(), failure);
    }

    /// Advances the time to the session's timeout.
    fn wait(&mut self) -> Duration {
        let until = self.session.poll_timeout().expect("a timeout");
        let waited = until - self.now;
        self.now = until;
        self.session.handle_timeout(self.now);
        waited
    }

    fn until_updates(&mut self) {
        self.connect();
        self.exchange_one();
        assert!(matches!(self.action(), Action::PlanAccepted(_)));
    }

    fn until_authority(&mut self) -> Arc<Vec<Update>> {
        self.until_updates();
        self.exchange_one();
        self.exchange_one();
        match self.action() {
            Action::VerifyAuthority { updates, .. } => updates,
            other => panic!("{other:?}"),
        }
    }

    fn until_storage(&mut self) {
        self.until_authority();
        self.idle();
        self.session.handle_authority(self.now, Ok(())).unwrap();
        assert!(matches!(self.action(), Action::OpenStorage { .. }));
    }

    fn until_streaming(&mut self) {
        self.until_storage();
        self.session.handle_storage(self.now, ready(0, 0)).unwrap();
        let ack = self.exchange_one();
        assert!(matches!(ack, SnapshotsRequest::Ack { kind: ArtefactKind::LightClientUpdate, index: 1, .. }));
    }

    /// Fetches the next chunk and passes it to the disk.
    fn chunk(&mut self, index: u64) {
        let request = self.exchange_one();
        assert!(matches!(request, SnapshotsRequest::Chunk { chunk_index, .. } if chunk_index == index), "{request:?}");
        assert!(matches!(self.action(), Action::Write(chunk) if chunk.index == index));
    }

    fn failed(&self, code: FailureCode, distrust: bool) {
        let view = self.session.view();
        let failure = view.failure.expect("failed");
        assert_eq!(
            (view.state, failure.code, failure.distrust),
            (SessionState::Failed, code, distrust),
            "{}",
            failure.message
        );
        // The message names the party at fault.
        let names_itself = failure.message.starts_with("this node");
        assert!(failure.message.contains(&peer().to_string()) || names_itself, "{}", failure.message);
        self.waits(SessionState::Failed, WaitKind::Operator);
    }

    fn waits(&self, state: SessionState, what: WaitKind) -> String {
        let view = self.session.view();
        assert_eq!(view.state, state);
        let waiting = view.waiting.expect("it waits");
        assert_eq!(waiting.what, what, "{}", waiting.reason);
        assert!(waiting.since <= self.now);
        waiting.reason
    }
}

#[test]
fn authority_comes_before_the_first_chunk_and_every_wait_has_its_word() {
    let mut rig = Rig::new(options());
    assert!(matches!(rig.action(), Action::Connect(_)));
    rig.waits(SessionState::Connecting, WaitKind::Connection);
    rig.session.handle_connected(rig.now, peer());
    let request = rig.request();
    rig.waits(SessionState::Planning, WaitKind::Plan);
    rig.answer(&request);
    assert!(matches!(rig.action(), Action::PlanAccepted(_)));
    let request = rig.request();
    rig.waits(SessionState::Verifying, WaitKind::LightClientUpdate);
    rig.answer(&request);
    rig.exchange_one();
    assert!(matches!(rig.action(), Action::VerifyAuthority { .. }));
    rig.idle();
    rig.waits(SessionState::Verifying, WaitKind::Proof);
    assert_eq!(rig.session.view().verified_updates, 1, "the last one counts with its proof");
    rig.session.handle_authority(rig.now, Ok(())).unwrap();
    assert_eq!(rig.session.view().last_update_height, Some(90));
    assert!(matches!(rig.action(), Action::OpenStorage { .. }));
    rig.idle();
    rig.waits(SessionState::Verifying, WaitKind::Disk);
    rig.session.handle_storage(rig.now, ready(0, 0)).unwrap();
    let request = rig.request();
    rig.waits(SessionState::Streaming, WaitKind::Ack);
    rig.answer(&request);
    let request = rig.request();
    let reason = rig.waits(SessionState::Streaming, WaitKind::Chunk);
    assert!(reason.contains("chunk 0") && reason.contains(&peer().to_string()), "{reason}");
    assert_eq!(rig.session.view().waiting.unwrap().index, Some(0));
    rig.answer(&request);
}

#[test]
fn a_session_runs_to_its_end() {
    let mut rig = Rig::new(options());
    rig.until_streaming();
    rig.chunk(0);
    rig.session.handle_written(rig.now, 0).unwrap();
    rig.chunk(1);
    rig.session.handle_written(rig.now, 1).unwrap();
    assert!(matches!(rig.action(), Action::Sync), "a group is full");
    let request = rig.request();
    assert!(matches!(request, SnapshotsRequest::Chunk { chunk_index: 2, .. }), "the wire stays busy meanwhile");
    rig.session.handle_durable(rig.now, &first(2)).unwrap();
    assert_eq!(rig.session.view().confirmed_chunks, 2);
    rig.answer(&request);
    assert!(matches!(rig.action(), Action::Write(_)));
    let ack = rig.exchange_one();
    assert!(matches!(ack, SnapshotsRequest::Ack { kind: ArtefactKind::Chunk, index: 1, .. }), "before the next chunk");
    for index in 3..5 {
        rig.chunk(index);
    }
    rig.idle();
    for index in 2..5 {
        rig.session.handle_written(rig.now, index).unwrap();
    }
    assert!(matches!(rig.action(), Action::Sync));
    rig.idle();
    rig.waits(SessionState::Streaming, WaitKind::Disk);
    rig.session.handle_durable(rig.now, &first(5)).unwrap();
    let ack = rig.exchange_one();
    assert!(matches!(ack, SnapshotsRequest::Ack { index: 4, .. }));
    assert!(matches!(rig.action(), Action::Place));
    rig.waits(SessionState::Verifying, WaitKind::Disk);
    assert!(!rig.session.view().verified);
    rig.session.handle_placed(rig.now, PathBuf::from("/store")).unwrap();
    let view = rig.session.view();
    assert!(view.verified && view.state == SessionState::Complete && view.waiting.is_none());
    assert_eq!(view.payload_path, Some(PathBuf::from("/store")));
    assert_eq!((view.bytes_received, view.bytes_verified, view.bytes_durable), (81_000, 81_000, 81_000));
    assert!(rig.maybe_action().is_none() && rig.session.poll_timeout().is_none());
}

#[test]
fn what_waits_in_memory_stays_within_the_window_and_what_is_not_durable_within_two() {
    let mut rig = Rig::new(Options { window: 2 * CHUNK, ack_bytes: 1 << 30, ..options() });
    rig.until_streaming();
    rig.chunk(0);
    rig.chunk(1);
    rig.idle();
    rig.session.handle_written(rig.now, 0).unwrap();
    rig.chunk(2);
    rig.idle();
    // A group is at most as large as a window.
    rig.session.handle_written(rig.now, 1).unwrap();
    assert!(matches!(rig.action(), Action::Sync));
    rig.chunk(3);
    rig.idle();
    rig.session.handle_written(rig.now, 2).unwrap();
    rig.idle();
    rig.session.handle_durable(rig.now, &first(2)).unwrap();
    rig.exchange_one();
    rig.chunk(4);
    rig.idle();
    for index in 3..5 {
        rig.session.handle_written(rig.now, index).unwrap();
    }
    assert!(matches!(rig.action(), Action::Sync));
}

#[test]
fn a_group_has_an_age_and_a_full_window_is_synced_when_everything_is_written() {
    let mut rig = Rig::new(Options { window: 2 * CHUNK, ack_bytes: 1 << 30, ..options() });
    rig.until_streaming();
    rig.chunk(0);
    rig.chunk(1);
    rig.session.handle_written(rig.now, 0).unwrap();
    rig.chunk(2);
    rig.idle();
    assert_eq!(rig.wait(), Duration::from_millis(500));
    assert!(matches!(rig.action(), Action::Sync));
}

#[test]
fn a_chunk_larger_than_the_window_passes_alone() {
    let mut rig = Rig::new(Options { window: 0, ..options() });
    rig.until_streaming();
    rig.chunk(0);
    rig.idle();
    rig.session.handle_written(rig.now, 0).unwrap();
    assert!(matches!(rig.action(), Action::Sync));
    rig.idle();
    rig.session.handle_durable(rig.now, &first(1)).unwrap();
    rig.exchange_one();
    rig.chunk(1);
}

#[test]
fn busy_internal_and_lost_answers_are_backed_off_and_resumed() {
    let mut rig = Rig::new(options());
    rig.until_streaming();
    rig.chunk(0);
    let mut last = Duration::ZERO;
    for turn in 0..8 {
        let request = rig.request();
        match turn % 4 {
            0 => rig.refuse(&request, ErrorCode::Busy),
            1 => rig.refuse(&request, ErrorCode::Internal),
            2 => rig.fail(&timeout(0)),
            _ => rig.fail(&lost(0)),
        }
        rig.idle();
        let reason = rig.waits(SessionState::BackingOff, WaitKind::Retry);
        assert!(reason.contains(&format!("try {}", turn + 1)), "{reason}");
        let view = rig.session.view();
        assert_eq!(view.waiting.unwrap().retry_at, rig.session.poll_timeout());
        assert_eq!(view.verified_chunks, 1, "what is verified stays");
        let waited = rig.wait();
        assert!(waited > last || waited >= Duration::from_secs(45), "{waited:?} after {last:?}");
        last = waited;
        let resume = rig.exchange_one();
        assert!(matches!(resume, SnapshotsRequest::Resume { chunk_index: 1, update_index: 2, .. }), "{resume:?}");
    }
    rig.chunk(1);
    assert_eq!(rig.session.view().failed_tries, 0, "progress ends a streak");
}

/// A session whose five smallest chunks become two chunks of four times that size. One of the five is durable.
fn in_large_chunks() -> Rig {
    let mut rig = Rig::new(Options { wishes: wishes(4 * CHUNK), window: 8 * CHUNK, ..options() });
    rig.plan = WORLD.plan(8, 9, 4 * CHUNK);
    rig.until_streaming();
    rig.exchange_one();
    assert!(matches!(rig.action(), Action::Write(chunk) if chunk.index == 0));
    rig
}

#[test]
fn a_line_too_slow_for_a_chunk_is_asked_for_less_and_nothing_durable_is_fetched_again() {
    let mut rig = in_large_chunks();
    let request = rig.request();
    assert!(matches!(request, SnapshotsRequest::Chunk { chunk_index: 1, .. }), "{request:?}");
    rig.now += Duration::from_secs(40);
    rig.fail(&timeout(10_000));
    let view = rig.session.view();
    assert_eq!((view.bytes_wasted, view.bytes_received), (10_000, 4 * CHUNK + 10_000));
    rig.waits(SessionState::BackingOff, WaitKind::Retry);
    // Verified chunks count in the old size, so they become durable before the size changes.
    rig.session.handle_written(rig.now, 0).unwrap();
    assert!(matches!(rig.action(), Action::Sync));
    rig.wait();
    rig.idle();
    rig.waits(SessionState::Planning, WaitKind::Disk);
    rig.session.handle_durable(rig.now, &first(4)).unwrap();
    let SnapshotsRequest::Plan { wishes, .. } = rig.request() else { panic!() };
    let PlanWishes { chunk_size, max_chunk_size, root, height, .. } = wishes;
    assert_eq!((chunk_size, max_chunk_size), (Some(CHUNK), Some(4 * CHUNK)));
    assert_eq!((root, height), (Some(rig.plan.snapshot.checkpoint.state_root), Some(80)));
    rig.plan = WORLD.plan(8, 9, CHUNK);
    let asked =
        SnapshotsRequest::Plan { session_id: id(), wishes: PlanWishes { min_chunk_size: Some(CHUNK), ..wishes } };
    rig.answer(&asked);
    assert!(matches!(rig.action(), Action::PlanAccepted(plan) if plan.chunk_size == CHUNK));
    let view = rig.session.view();
    assert_eq!((view.confirmed_chunks, view.confirmed_updates), (4, 2), "the same bytes in smaller chunks");
    assert_eq!(view.bytes_durable, 4 * CHUNK);
    // Its authority is already verified.
    assert!(matches!(rig.action(), Action::OpenStorage { plan, .. } if plan.chunk_size == CHUNK));
    rig.session.handle_storage(rig.now, ready(4, 0)).unwrap();
    let ack = rig.exchange_one();
    assert!(matches!(ack, SnapshotsRequest::Ack { kind: ArtefactKind::LightClientUpdate, .. }), "{ack:?}");
    let ack = rig.exchange_one();
    assert!(matches!(ack, SnapshotsRequest::Ack { kind: ArtefactKind::Chunk, index: 3, .. }), "{ack:?}");
    rig.chunk(4);
    let view = rig.session.view();
    assert_eq!((view.verified_chunks, view.bytes_wasted), (5, 10_000));
}

#[test]
fn less_is_asked_for_only_when_the_line_may_be_why() {
    // A provider that hangs once, or answers nothing at all and then something else, is not treated as a slow line.
    let cases: [(&[RequestFailure], bool); 6] = [
        (&[timeout(1)], true),
        (&[timeout(0)], false),
        (&[timeout(0), timeout(0)], true),
        (&[lost(5000)], false),
        (&[lost(5000), lost(5000)], true),
        (&[lost(0), lost(0)], false),
    ];
    for (failures, smaller) in cases {
        let mut rig = in_large_chunks();
        rig.session.handle_written(rig.now, 0).unwrap();
        assert!(matches!(rig.action(), Action::Sync));
        rig.session.handle_durable(rig.now, &first(4)).unwrap();
        for failure in failures {
            let mut request = rig.exchange_until_chunk();
            while !matches!(request, SnapshotsRequest::Chunk { .. }) {
                request = rig.exchange_until_chunk();
            }
            rig.fail(failure);
            rig.wait();
        }
        let request = rig.request();
        assert_eq!(matches!(request, SnapshotsRequest::Plan { .. }), smaller, "{failures:?}: {request:?}");
    }
    // The smallest chunk size is not reduced further.
    let mut rig = Rig::new(options());
    rig.until_streaming();
    rig.request();
    rig.fail(&timeout(100));
    rig.wait();
    assert!(matches!(rig.request(), SnapshotsRequest::Resume { .. }));
}

#[test]
fn a_provider_that_makes_no_smaller_chunks_is_asked_for_what_it_has() {
    let mut rig = in_large_chunks();
    let _ = rig.request();
    rig.session.handle_written(rig.now, 0).unwrap();
    rig.fail(&timeout(100));
    assert!(matches!(rig.action(), Action::Sync));
    rig.session.handle_durable(rig.now, &first(4)).unwrap();
    rig.wait();
    let plan = rig.exchange_one();
    assert!(matches!(plan, SnapshotsRequest::Plan { .. }), "{plan:?}");
    assert!(matches!(rig.action(), Action::OpenStorage { plan, .. } if plan.chunk_size == 4 * CHUNK));
    rig.session.handle_storage(rig.now, ready(4, 0)).unwrap();
    rig.exchange_one();
    rig.exchange_one();
    let request = rig.request();
    assert!(matches!(request, SnapshotsRequest::Chunk { chunk_index: 1, .. }), "{request:?}");
}

#[test]
fn a_lost_connection_is_dialled_again_and_one_from_the_other_side_ends_the_wait() {
    let mut rig = Rig::new(options());
    rig.until_streaming();
    let _ = rig.request();
    rig.session.handle_disconnected(rig.now, peer(), "reset\u{202e}");
    rig.waits(SessionState::BackingOff, WaitKind::Retry);
    assert!(rig.session.in_flight(), "the request in flight is answered by its own failure");
    rig.idle();
    rig.fail(&lost(0));
    let reason = rig.waits(SessionState::BackingOff, WaitKind::Retry);
    assert!(reason.contains("reset\\u{202e}"), "{reason}");
    assert_eq!(rig.session.view().failed_tries, 1, "one loss is one failure");
    rig.wait();
    assert!(matches!(rig.action(), Action::Connect(_)));
    rig.session.handle_dial_failed(rig.now, peer(), "refused");
    assert_eq!(rig.session.view().failed_tries, 2);
    rig.session.handle_connected(rig.now, peer());
    assert!(matches!(rig.request(), SnapshotsRequest::Resume { .. }));
}

#[test]
fn a_lost_session_is_planned_anew_once() {
    for code in [ErrorCode::NotFound, ErrorCode::PlanChanged, ErrorCode::ResumeRegressed] {
        let mut rig = Rig::new(options());
        rig.until_streaming();
        rig.chunk(0);
        let chunk = rig.request();
        rig.refuse(&chunk, ErrorCode::NotFound);
        rig.wait();
        let resume = rig.request();
        rig.refuse(&resume, code);
        let plan = rig.request();
        let snapshot = rig.plan.snapshot.checkpoint;
        let SnapshotsRequest::Plan { wishes, .. } = plan else { panic!("{plan:?}") };
        let PlanWishes { chunk_size, min_chunk_size, max_chunk_size, root, height } = wishes;
        assert_eq!((root, height), (Some(snapshot.state_root), Some(snapshot.height)));
        assert_eq!((chunk_size, min_chunk_size, max_chunk_size), (Some(CHUNK), Some(CHUNK), Some(CHUNK)));
        rig.answer(&plan);
        // The provider's record is new, so it is told at once what is durable here.
        assert!(matches!(rig.exchange_one(), SnapshotsRequest::Ack { kind: ArtefactKind::LightClientUpdate, .. }));
        let chunk = rig.request();
        assert!(matches!(chunk, SnapshotsRequest::Chunk { chunk_index: 1, .. }), "no chunk twice");
        rig.refuse(&chunk, ErrorCode::NotFound);
        rig.wait();
        let resume = rig.request();
        rig.refuse(&resume, code);
        rig.failed(FailureCode::ResumeMismatch, false);
    }
}

#[test]
fn a_snapshot_that_is_gone_fails_and_keeps_what_is_there() {
    let mut rig = Rig::restored(3, 0, None);
    rig.connect();
    let resume = rig.request();
    assert!(matches!(resume, SnapshotsRequest::Resume { chunk_index: 3, update_index: 2, .. }));
    rig.refuse(&resume, ErrorCode::NotFound);
    let plan = rig.request();
    rig.refuse(&plan, ErrorCode::NotFound);
    rig.failed(FailureCode::Provider, false);
    let view = rig.session.view();
    assert_eq!((view.confirmed_chunks, view.bytes_durable), (3, 3 * CHUNK));
    assert!(view.failure.unwrap().message.contains("no longer offers"));
}

#[test]
fn the_same_snapshot_under_a_new_tip_goes_on_after_its_chain_is_checked() {
    let mut rig = Rig::new(options());
    rig.until_streaming();
    rig.chunk(0);
    rig.session.handle_written(rig.now, 0).unwrap();
    let chunk = rig.request();
    rig.refuse(&chunk, ErrorCode::Busy);
    rig.wait();
    assert!(matches!(rig.action(), Action::Sync), "its group is old enough by now");
    rig.session.handle_durable(rig.now, &first(1)).unwrap();
    rig.wait();
    let resume = rig.request();
    rig.refuse(&resume, ErrorCode::NotFound);
    rig.plan = WORLD.plan(8, 10, CHUNK);
    rig.exchange_one();
    assert!(matches!(rig.action(), Action::PlanAccepted(plan) if plan.total_updates == 3));
    for _ in 0..3 {
        assert!(matches!(rig.exchange_one(), SnapshotsRequest::LightClientUpdate { .. }));
    }
    assert!(matches!(rig.action(), Action::VerifyAuthority { .. }));
    rig.session.handle_authority(rig.now, Ok(())).unwrap();
    assert!(matches!(rig.action(), Action::OpenStorage { .. }));
    rig.session.handle_storage(rig.now, ready(1, 0)).unwrap();
    rig.exchange_one();
    assert!(matches!(rig.exchange_one(), SnapshotsRequest::Ack { kind: ArtefactKind::Chunk, index: 0, .. }));
    rig.chunk(1);
}

#[test]
fn explicit_offsets_are_put_first_and_never_recovered() {
    let plan_id = WORLD.plan(8, 9, CHUNK).plan_id;
    let explicit = ExplicitResume { plan_id, chunk_index: 4, update_index: 2 };
    for (code, failure) in [
        (ErrorCode::NotFound, FailureCode::ResumeMismatch),
        (ErrorCode::PlanChanged, FailureCode::ResumeMismatch),
        (ErrorCode::ResumeRegressed, FailureCode::ResumeMismatch),
        (ErrorCode::ResumeOutOfBounds, FailureCode::ResumeMismatch),
    ] {
        let mut rig = Rig::restored(3, 2, Some(explicit));
        rig.connect();
        let resume = rig.request();
        assert!(matches!(resume, SnapshotsRequest::Resume { chunk_index: 4, update_index: 2, .. }));
        rig.refuse(&resume, code);
        rig.failed(failure, false);
    }
    let mut rig = Rig::restored(3, 2, Some(explicit));
    rig.connect();
    rig.exchange_one();
    // The resume is accepted. From here on the session continues with its own markers.
    assert!(matches!(rig.action(), Action::VerifyAuthority { .. }));
    rig.session.handle_authority(rig.now, Ok(())).unwrap();
    rig.action();
    rig.session.handle_storage(rig.now, ready(3, 0)).unwrap();
    rig.exchange_one();
    rig.exchange_one();
    rig.chunk(3);
    let other = ExplicitResume { plan_id: WORLD.trust.genesis, ..explicit };
    let rig = Rig::restored(3, 2, Some(other));
    assert_eq!(rig.session.view().failure.unwrap().code, FailureCode::ResumeMismatch);
}

#[test]
fn final_refusals_end_the_session() {
    for (code, failure) in [
        (ErrorCode::Invalid, FailureCode::Provider),
        (ErrorCode::Unauthorized, FailureCode::Authentication),
        (ErrorCode::ResumeOutOfBounds, FailureCode::ResumeMismatch),
        (ErrorCode::Cancelled, FailureCode::Cancelled),
        (ErrorCode::NotFound, FailureCode::Provider),
    ] {
        let mut rig = Rig::new(options());
        rig.connect();
        let plan = rig.request();
        rig.refuse(&plan, code);
        rig.failed(failure, false);
        assert!(rig.maybe_action().is_none() && rig.session.poll_timeout().is_none());
        rig.session.retry_now(rig.now);
        assert!(rig.maybe_action().is_none(), "it is over");
    }
    let mut rig = Rig::new(options());
    rig.connect();
    let _ = rig.request();
    rig.fail(&RequestFailure::Unsupported { protocol: rpp_p2p::PROTOCOL_V1 });
    rig.failed(FailureCode::Provider, false);
}

#[test]
fn a_violation_ends_the_session_and_the_trust() {
    let mut rig = Rig::new(options());
    rig.until_streaming();
    rig.request();
    let (chunk, mut proof) = WORLD.payload(&rig.plan.snapshot.checkpoint.state_root).chunk(CHUNK, 0);
    proof[0].0[0] ^= 1;
    let response = SnapshotsResponse::Chunk { session_id: id(), chunk_index: 0, chunk, proof };
    let violation = rig.exchange.take().unwrap().check(&rules(), response).unwrap_err();
    assert!(matches!(violation, Violation::Chunk { index: 0, .. }));
    rig.session.handle_violation(rig.now, rig.last(), &violation);
    rig.failed(FailureCode::Checksum, true);
    let view = rig.session.view();
    assert_eq!((view.bytes_received, view.bytes_verified, view.verified_chunks), (CHUNK, 0, 0));
}

#[test]
fn each_refusal_of_authority_has_its_word() {
    let (accepted, offered) = (Hash([1; 32]), Hash([2; 32]));
    for (error, code, distrust) in [
        (AuthorityError::Authentication { reason: AuthenticationError::NotTrusted }, FailureCode::Authentication, true),
        (AuthorityError::Chain { index: 1, reason: UpdateError::Previous }, FailureCode::Proof, true),
        (AuthorityError::Proof { reason: ProofError::Height }, FailureCode::Proof, true),
        (AuthorityError::Stale { tip: 1, head: 2 }, FailureCode::Stale, false),
        (
            AuthorityError::Equivocation { step: 1, accepted, offered, evidence: String::new() },
            FailureCode::Equivocation,
            false,
        ),
    ] {
        let mut rig = Rig::new(options());
        rig.until_authority();
        rig.session.handle_authority(rig.now, Err(error)).unwrap();
        rig.failed(code, distrust);
    }
}

#[test]
fn a_full_disk_pauses_and_goes_on_when_there_is_room() {
    let mut rig = Rig::new(options());
    rig.until_storage();
    rig.session.handle_storage(rig.now, Storage::Full { needed: 81_000, free: 10 }).unwrap();
    let reason = rig.waits(SessionState::Paused, WaitKind::Disk);
    assert!(reason.contains("81000") && reason.contains("10 are free"), "{reason}");
    let since = rig.session.view().waiting.unwrap().since;
    rig.wait();
    assert!(matches!(rig.action(), Action::OpenStorage { .. }));
    rig.session.handle_storage(rig.now, Storage::Full { needed: 81_000, free: 10 }).unwrap();
    let again = rig.session.view().waiting.unwrap().since;
    assert!(again >= since);
    rig.wait();
    rig.action();
    rig.session.handle_storage(rig.now, ready(0, 0)).unwrap();
    rig.exchange_one();
    rig.chunk(0);
    rig.chunk(1);
    rig.session.handle_written(rig.now, 0).unwrap();
    // The disk fills up while writing. Only chunks that are not durable are fetched again.
    rig.session.handle_storage(rig.now, Storage::Full { needed: 5, free: 0 }).unwrap();
    rig.waits(SessionState::Paused, WaitKind::Disk);
    rig.session.handle_written(rig.now, 1).unwrap();
    rig.idle();
    rig.session.retry_now(rig.now);
    assert!(matches!(rig.action(), Action::OpenStorage { .. }));
    rig.session.handle_storage(rig.now, ready(1, 0)).unwrap();
    assert!(matches!(rig.exchange_one(), SnapshotsRequest::Ack { kind: ArtefactKind::Chunk, index: 0, .. }));
    rig.chunk(1);
    rig.session.handle_storage(rig.now, Storage::Failed(Cause::told("I/O error"))).unwrap();
    rig.failed(FailureCode::Storage, false);
}

/// While nothing changes, a session that waits for the disk or for another session reports that without interruption,
/// and since when.
#[test]
fn a_pause_lasts_while_its_end_is_tried_in_vain() {
    let held = || Storage::HeldBy(SnapshotSessionId::new(99).unwrap());
    let full = |free| Storage::Full { needed: 64 << 20, free };
    let unwritable = || Storage::Unwritable(Cause::told("head.json: I/O error"));
    let cases: [(WaitKind, [Storage; 3]); 3] = [
        (WaitKind::Session, [held(), held(), held()]),
        // Other programs use the disk as well.
        (WaitKind::Disk, [full(4096), full(8192), full(0)]),
        (WaitKind::Disk, [unwritable(), unwritable(), unwritable()]),
    ];
    for (what, [first, tries @ ..]) in cases {
        let mut rig = Rig::new(options());
        rig.until_storage();
        rig.session.handle_storage(rig.now, first).unwrap();
        rig.waits(SessionState::Paused, what);
        let without_time = |view: &View| {
            let wait = view.waiting.clone().unwrap();
            (view.state, wait.what, wait.since, wait.reason, wait.session, view.waits_for)
        };
        let before = rig.session.view();
        for tried in tries {
            rig.wait();
            assert_eq!(without_time(&rig.session.view()), without_time(&before), "before the try");
            assert!(matches!(rig.action(), Action::OpenStorage { .. }));
            assert_eq!(without_time(&rig.session.view()), without_time(&before), "during the try");
            rig.session.handle_storage(rig.now, tried).unwrap();
            assert_eq!(without_time(&rig.session.view()), without_time(&before), "after the try");
            assert!(rig.session.view().waiting.unwrap().retry_at > before.waiting.as_ref().unwrap().retry_at);
        }
        // The next try succeeds.
        rig.wait();
        rig.action();
        rig.session.handle_storage(rig.now, ready(0, 0)).unwrap();
        assert_eq!(rig.session.view().state, SessionState::Streaming);
    }
}

/// A disk that accepts no writes is reported as failing since the first failure, even if the payload can be opened in
/// between.
#[test]
fn a_disk_that_fails_at_each_write_has_failed_since_the_first_one() {
    let unwritable = || Storage::Unwritable(Cause::told("payload: I/O error"));
    let mut rig = Rig::new(options());
    rig.until_streaming();
    rig.chunk(0);
    rig.session.handle_storage(rig.now, unwritable()).unwrap();
    let since = rig.session.view().waiting.unwrap().since;
    for _ in 0..3 {
        rig.wait();
        rig.action();
        rig.session.handle_storage(rig.now, ready(0, 0)).unwrap();
        assert_eq!(rig.session.view().state, SessionState::Streaming);
        rig.session.handle_storage(rig.now, unwritable()).unwrap();
        assert_eq!(rig.session.view().waiting.unwrap().since, since);
    }
}

#[test]
fn a_payload_that_another_session_writes_is_waited_for() {
    let mut rig = Rig::new(options());
    rig.until_storage();
    let holder = SnapshotSessionId::new(99).unwrap();
    rig.session.handle_storage(rig.now, Storage::HeldBy(holder)).unwrap();
    let reason = rig.waits(SessionState::Paused, WaitKind::Session);
    assert!(reason.contains("99"));
    assert_eq!(rig.session.view().waiting.unwrap().session, Some(holder));
    rig.wait();
    assert!(matches!(rig.action(), Action::OpenStorage { .. }));
    // The other session has finished meanwhile.
    rig.session.handle_storage(rig.now, Storage::AlreadyStored { path: PathBuf::from("/there") }).unwrap();
    assert!(matches!(rig.exchange_one(), SnapshotsRequest::Ack { kind: ArtefactKind::LightClientUpdate, .. }));
    assert!(matches!(rig.exchange_one(), SnapshotsRequest::Ack { kind: ArtefactKind::Chunk, index: 4, .. }));
    let view = rig.session.view();
    assert_eq!((view.state, view.payload_path), (SessionState::Complete, Some(PathBuf::from("/there"))));
}

#[test]
fn the_last_ack_holds_nothing_up() {
    for trouble in 0..4 {
        let mut rig = Rig::new(options());
        rig.until_storage();
        rig.session.handle_storage(rig.now, ready(5, 0)).unwrap();
        let ack = rig.request();
        match trouble {
            0 => rig.refuse(&ack, ErrorCode::Busy),
            1 => rig.refuse(&ack, ErrorCode::Invalid),
            2 => rig.fail(&timeout(0)),
            _ => {
                rig.session.handle_disconnected(rig.now, peer(), "gone");
                rig.fail(&lost(0));
            }
        }
        assert!(matches!(rig.action(), Action::Place), "trouble {trouble}");
        rig.session.handle_placed(rig.now, PathBuf::from("/store")).unwrap();
        assert!(rig.session.view().verified);
    }
}

#[test]
fn what_is_complete_on_disk_needs_no_provider() {
    let mut rig = Rig::restored(5, 2, None);
    assert!(matches!(rig.action(), Action::VerifyAuthority { .. }));
    rig.idle();
    rig.session.handle_authority(rig.now, Ok(())).unwrap();
    assert!(matches!(rig.action(), Action::OpenStorage { .. }));
    rig.session.handle_storage(rig.now, ready(5, 0)).unwrap();
    assert!(matches!(rig.action(), Action::Place));
    rig.session.handle_placed(rig.now, PathBuf::from("/store")).unwrap();
    assert_eq!(rig.session.view().state, SessionState::Complete);
}

#[test]
fn a_partial_payload_that_was_lost_is_fetched_again_and_confirmed_does_not_fall() {
    let mut rig = Rig::restored(4, 2, None);
    assert!(matches!(rig.action(), Action::VerifyAuthority { .. }));
    rig.connect();
    let resume = rig.exchange_one();
    assert!(matches!(resume, SnapshotsRequest::Resume { chunk_index: 4, .. }));
    rig.session.handle_authority(rig.now, Ok(())).unwrap();
    rig.action();
    rig.session.handle_storage(rig.now, ready(1, 0)).unwrap();
    assert_eq!(rig.session.view().confirmed_chunks, 4);
    rig.exchange_one();
    for index in 1..3 {
        rig.chunk(index);
        rig.session.handle_written(rig.now, index).unwrap();
    }
    assert!(matches!(rig.action(), Action::Sync));
    rig.session.handle_durable(rig.now, &first(3)).unwrap();
    // An ack of chunk 2 would be below the provider's marker.
    rig.chunk(3);
    assert_eq!(rig.session.view().confirmed_chunks, 4);
}

#[test]
fn patience_ends_only_when_it_was_limited() {
    let mut rig = Rig::new(Options { give_up_after: Some(Duration::from_secs(5)), ..options() });
    let start = rig.now;
    loop {
        match rig.maybe_action() {
            Some(Action::Connect(_)) => rig.session.handle_dial_failed(rig.now, peer(), "refused"),
            Some(other) => panic!("{other:?}"),
            None if rig.session.is_over() => break,
            None => {
                rig.wait();
            }
        }
    }
    assert_eq!(rig.now - start, Duration::from_secs(5));
    rig.failed(FailureCode::Network, false);
    let mut rig = Rig::new(options());
    for _ in 0..500 {
        assert!(matches!(rig.action(), Action::Connect(_)));
        rig.session.handle_dial_failed(rig.now, peer(), "refused");
        rig.wait();
    }
    assert!(!rig.session.is_over());
}

#[test]
fn retry_now_ends_a_back_off_and_changes_nothing_else() {
    let mut rig = Rig::new(options());
    assert!(matches!(rig.action(), Action::Connect(_)));
    rig.session.handle_dial_failed(rig.now, peer(), "refused");
    rig.idle();
    rig.session.retry_now(rig.now);
    assert!(matches!(rig.action(), Action::Connect(_)));
    rig.session.retry_now(rig.now);
    rig.idle();
}

#[test]
fn answers_to_nothing_change_nothing_and_are_told_from_late_ones() {
    let mut rig = Rig::new(options());
    rig.until_streaming();
    rig.chunk(0);
    let before = rig.session.view();
    let (session, now) = (&mut rig.session, rig.now);
    let unexpected = |input| Err(Unexpected { input });
    assert_eq!(session.handle_sent(now, Ok(RequestId::new(99))), unexpected(Input::Sent));
    let stale = Err(AuthorityError::Stale { tip: 1, head: 2 });
    assert_eq!(session.handle_authority(now, stale), unexpected(Input::Authority));
    assert_eq!(session.handle_known_chain(now), unexpected(Input::KnownChain));
    assert_eq!(session.handle_proof(now, &rig.plan.plan_id, Ok(())), unexpected(Input::Proof));
    let five = ready(5, 0);
    assert_eq!(session.handle_storage(now, five), unexpected(Input::StorageOpen));
    let held = Storage::HeldBy(SnapshotSessionId::new(99).unwrap());
    assert_eq!(session.handle_storage(now, held), unexpected(Input::StorageHeld));
    assert_eq!(session.handle_written(now, 4), unexpected(Input::Written));
    assert_eq!(session.handle_durable(now, &first(5)), unexpected(Input::Durable));
    assert_eq!(session.handle_rechecked(now, 1, &[]), unexpected(Input::Rechecked));
    assert_eq!(session.handle_repaired(now), unexpected(Input::Repaired));
    assert_eq!(session.handle_placed(now, PathBuf::from("/x")), unexpected(Input::Placed));
    // The end of a cancelled request, a dial for another session of this peer, and the passing of time change nothing.
    session.handle_request_failed(now, RequestId::new(1), &timeout(0));
    session.handle_dial_failed(now, peer(), "x");
    session.handle_timeout(now);
    let after = rig.session.view();
    assert_eq!((after.confirmed_chunks, after.state), (before.confirmed_chunks, before.state));
    assert!(!after.verified);
    assert_eq!(after, before);
}

#[test]
fn what_was_under_way_when_the_disk_filled_may_still_be_told() {
    let mut rig = Rig::new(options());
    rig.until_streaming();
    rig.chunk(0);
    rig.chunk(1);
    rig.session.handle_storage(rig.now, Storage::Full { needed: 5, free: 0 }).unwrap();
    let before = rig.session.view();
    rig.session.handle_written(rig.now, 1).unwrap();
    rig.session.handle_durable(rig.now, &first(2)).unwrap();
    assert_eq!(rig.session.view(), before, "the place is opened again, and says itself what is durable");
    rig.wait();
    assert!(matches!(rig.action(), Action::OpenStorage { .. }));
    rig.session.handle_storage(rig.now, Storage::Full { needed: 5, free: 0 }).unwrap();
    // The result of the first opening was already in flight.
    rig.session.handle_storage(rig.now, ready(2, 0)).unwrap();
    rig.waits(SessionState::Paused, WaitKind::Disk);
    let two = ready(2, 0);
    assert!(rig.session.handle_storage(rig.now, two).is_err(), "there were not so many");
}

#[test]
fn an_answer_to_another_question_is_a_fault_of_the_driver() {
    let mut rig = Rig::new(options());
    rig.until_streaming();
    let request = rig.request();
    assert!(matches!(request, SnapshotsRequest::Chunk { .. }));
    let plan_request = SnapshotsRequest::Plan { session_id: id(), wishes: PlanWishes::default() };
    let plan = SnapshotsResponse::Plan {
        session_id: id(),
        plan: Box::new(rig.plan.clone()),
        min_chunk_size: CHUNK,
        max_chunk_size: 4 << 20,
    };
    let verified = Exchange::new(plan_request, None, None).check(&rules(), plan).unwrap();
    let told = rig.session.handle_verified(rig.now, rig.last(), verified);
    assert_eq!(told, Err(Unexpected { input: Input::Verified }));
}

/// A session that an earlier process left with this many recorded chunks. Its storage is open again.
fn reopened(durable_chunks: u64, unchecked_bytes: u64) -> Rig {
    let mut rig = Rig::restored(durable_chunks, 2, None);
    loop {
        match rig.action() {
            Action::VerifyAuthority { .. } => rig.session.handle_authority(rig.now, Ok(())).unwrap(),
            Action::OpenStorage { .. } => break,
            Action::Connect(_) => rig.session.handle_connected(rig.now, peer()),
            Action::Request(_, exchange) => rig.answer(exchange.request()),
            other => panic!("{other:?}"),
        }
    }
    rig.session.handle_storage(rig.now, ready(durable_chunks, unchecked_bytes)).unwrap();
    rig
}

#[test]
fn what_was_there_before_counts_when_it_was_hashed_again() {
    let mut rig = reopened(5, 81_000);
    let view = rig.session.view();
    assert_eq!((view.bytes_verified, view.verified_chunks, view.confirmed_chunks), (0, 0, 5));
    assert_eq!((view.bytes_rechecked, view.bytes_to_recheck, view.bytes_received), (0, 81_000, 0));
    let reason = rig.waits(SessionState::Verifying, WaitKind::Disk);
    assert!(reason.contains("hashed again: 0 of 81000 bytes"), "{reason}");
    rig.idle();
    rig.session.handle_rechecked(rig.now, 2 * CHUNK, &[]).unwrap();
    let view = rig.session.view();
    assert_eq!((view.bytes_verified, view.verified_chunks), (2 * CHUNK, 2));
    rig.idle();
    rig.session.handle_rechecked(rig.now, 81_000, &[]).unwrap();
    assert_eq!(rig.session.view().verified_chunks, 5);
    // Nothing was missing, so the provider was not even asked.
    assert!(matches!(rig.action(), Action::Place));
}

#[test]
fn new_chunks_come_while_the_old_ones_are_hashed() {
    let mut rig = reopened(2, 2 * CHUNK);
    rig.connect();
    let resume = rig.exchange_one();
    assert!(matches!(resume, SnapshotsRequest::Resume { chunk_index: 2, .. }), "{resume:?}");
    let ack = rig.exchange_one();
    assert!(matches!(ack, SnapshotsRequest::Ack { kind: ArtefactKind::LightClientUpdate, .. }), "{ack:?}");
    let ack = rig.exchange_one();
    assert!(matches!(ack, SnapshotsRequest::Ack { kind: ArtefactKind::Chunk, index: 1, .. }), "{ack:?}");
    let mut written = 2;
    while let Some(action) = rig.maybe_action() {
        match action {
            Action::Sync => rig.session.handle_durable(rig.now, &first(written)).unwrap(),
            Action::Request(_, exchange) => rig.answer(exchange.request()),
            Action::Write(chunk) => {
                written = chunk.index + 1;
                rig.session.handle_written(rig.now, chunk.index).unwrap();
            }
            other => panic!("nothing is put in place before all is hashed: {other:?}"),
        }
    }
    let view = rig.session.view();
    assert_eq!((view.bytes_durable, view.bytes_verified), (81_000, 81_000 - 2 * CHUNK));
    rig.waits(SessionState::Verifying, WaitKind::Disk);
    rig.session.handle_rechecked(rig.now, 2 * CHUNK, &[]).unwrap();
    assert!(matches!(rig.action(), Action::Place));
}

#[test]
fn a_chunk_that_does_not_hold_is_asked_for_again_and_holds_acks_up() {
    let mut rig = reopened(5, 81_000);
    rig.session.handle_rechecked(rig.now, 3 * CHUNK, &[1, 2]).unwrap();
    let view = rig.session.view();
    assert_eq!((view.bytes_verified, view.verified_chunks, view.bytes_damaged), (CHUNK, 1, 2 * CHUNK));
    assert_eq!(view.confirmed_chunks, 5, "what is confirmed never falls");
    loop {
        match rig.action() {
            Action::Connect(_) => rig.session.handle_connected(rig.now, peer()),
            Action::Request(_, exchange) => {
                let request = exchange.request();
                let resumes_at_the_end =
                    matches!(request, SnapshotsRequest::Resume { chunk_index: 5, update_index: 2, .. });
                let is_of_updates =
                    matches!(request, SnapshotsRequest::Ack { kind: ArtefactKind::LightClientUpdate, .. });
                let is_missing = matches!(request, SnapshotsRequest::Chunk { chunk_index: 1 | 2, .. });
                assert!(resumes_at_the_end || is_of_updates || is_missing, "{request:?}");
                rig.answer(request);
            }
            Action::Repair(chunks) => {
                assert_eq!(chunks.iter().map(|chunk| chunk.index).collect::<Vec<_>>(), [1, 2]);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    rig.idle();
    rig.session.handle_repaired(rig.now).unwrap();
    assert_eq!(rig.session.view().verified_chunks, 3);
    let ack = rig.exchange_one();
    assert!(matches!(ack, SnapshotsRequest::Ack { kind: ArtefactKind::Chunk, index: 4, .. }), "{ack:?}");
    rig.idle();
    rig.session.handle_rechecked(rig.now, 81_000, &[]).unwrap();
    assert!(matches!(rig.action(), Action::Place));
}

#[test]
fn what_was_fetched_again_and_not_written_is_found_again() {
    let mut rig = reopened(5, 81_000);
    rig.session.handle_rechecked(rig.now, CHUNK, &[0]).unwrap();
    loop {
        match rig.action() {
            Action::Connect(_) => rig.session.handle_connected(rig.now, peer()),
            Action::Request(_, exchange) => rig.answer(exchange.request()),
            Action::Repair(_) => break,
            other => panic!("{other:?}"),
        }
    }
    rig.session.handle_storage(rig.now, Storage::Full { needed: 2, free: 1 }).unwrap();
    let view = rig.session.view();
    assert_eq!((view.state, view.bytes_verified), (SessionState::Paused, 0));
    rig.wait();
    assert!(matches!(rig.action(), Action::OpenStorage { .. }));
    rig.session.handle_storage(rig.now, ready(5, 81_000)).unwrap();
    let view = rig.session.view();
    assert_eq!((view.bytes_to_recheck, view.bytes_rechecked), (81_000, 0));
}

#[test]
fn a_known_chain_streams_at_once_and_is_not_called_verified_before_its_proof_is() {
    let mut rig = Rig::new(options());
    rig.until_authority();
    rig.session.handle_known_chain(rig.now).unwrap();
    assert!(matches!(rig.action(), Action::OpenStorage { .. }));
    rig.session.handle_storage(rig.now, Storage::AlreadyStored { path: PathBuf::from("/there") }).unwrap();
    while let Some(Action::Request(_, exchange)) = rig.maybe_action() {
        rig.answer(exchange.request());
    }
    assert!(!rig.session.view().verified);
    rig.waits(SessionState::Verifying, WaitKind::Proof);
    // A result for another plan changes nothing.
    rig.session.handle_proof(rig.now, &WORLD.plan(8, 10, CHUNK).plan_id, Ok(())).unwrap();
    rig.waits(SessionState::Verifying, WaitKind::Proof);
    let plan_id = rig.plan.plan_id;
    rig.session.handle_proof(rig.now, &plan_id, Ok(())).unwrap();
    assert!(rig.session.view().verified);
}

#[test]
fn a_known_chain_whose_proof_does_not_hold_fails_the_session() {
    let mut rig = Rig::new(options());
    rig.until_authority();
    rig.session.handle_known_chain(rig.now).unwrap();
    assert!(matches!(rig.action(), Action::OpenStorage { .. }));
    rig.session.handle_storage(rig.now, ready(0, 0)).unwrap();
    rig.exchange_one();
    rig.chunk(0);
    let plan_id = rig.plan.plan_id;
    rig.session.handle_proof(rig.now, &plan_id, Err(AuthorityError::Proof { reason: ProofError::Height })).unwrap();
    rig.failed(FailureCode::Proof, true);
}

#[test]
fn a_check_that_comes_to_no_end_fails_the_session_and_blames_nobody() {
    for known in [false, true] {
        let mut rig = Rig::new(options());
        rig.until_authority();
        if known {
            rig.session.handle_known_chain(rig.now).unwrap();
            assert!(matches!(rig.action(), Action::OpenStorage { .. }));
            rig.session.handle_storage(rig.now, ready(0, 0)).unwrap();
        }
        rig.session.handle_unsettled(rig.now, "its thread ended").unwrap();
        rig.failed(FailureCode::Proof, false);
        assert!(rig.session.view().failure.unwrap().message.contains("could not finish"));
    }
    // A session that waits for no check does not accept it.
    let mut rig = Rig::new(options());
    rig.until_streaming();
    let told = rig.session.handle_unsettled(rig.now, "too late");
    assert_eq!(told, Err(Unexpected { input: Input::Unsettled }));
    assert!(rig.session.view().failure.is_none());
}

#[test]
fn what_the_disk_had_of_the_chain_is_not_the_providers_fault() {
    let refused = || Err(AuthorityError::Proof { reason: ProofError::Height });
    // The fault is found by the check, or when the proof of a known chain is checked again.
    for known in [false, true] {
        let mut rig = Rig::restored(2, 2, None);
        let mut refusals = 0;
        loop {
            match rig.action() {
                Action::Connect(_) => rig.session.handle_connected(rig.now, peer()),
                Action::Request(_, exchange) => rig.answer(exchange.request()),
                Action::VerifyAuthority { .. } if refusals == 0 => {
                    refusals = 1;
                    if known {
                        rig.session.handle_known_chain(rig.now).unwrap();
                        let plan_id = rig.plan.plan_id;
                        rig.session.handle_proof(rig.now, &plan_id, refused()).unwrap();
                    } else {
                        rig.session.handle_authority(rig.now, refused()).unwrap();
                    }
                    assert!(rig.session.view().failure.is_none());
                }
                // The updates come from the provider this time.
                Action::VerifyAuthority { updates, .. } => {
                    assert_eq!(updates.len(), 2);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        rig.session.handle_authority(rig.now, refused()).unwrap();
        rig.failed(FailureCode::Proof, true);
    }
}

#[test]
fn a_provider_that_lied_elsewhere_is_refused_here_too() {
    let mut rig = Rig::new(options());
    rig.until_streaming();
    rig.request();
    let message = format!("{} is refused", peer());
    rig.session.handle_distrust(rig.now, peer(), &message);
    rig.failed(FailureCode::Provider, true);
    assert!(rig.session.view().waiting.unwrap().reason.contains("add another source"));
}
