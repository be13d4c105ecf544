//! The protocol between two peers that follow it.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::support::{
    self, Fixture, Gate, Markers, MemoryProvider, Peer, consumer, consumer_with, provider, provider_with, session,
};
use rpp_p2p::{
    ArtefactKind, ErrorCode, Exchange, Have, NotSent, PlanWishes, SnapshotProtocolError, SnapshotsRequest, Unfit,
    Verified,
    consumer::{Action, Options, Saved, Session, Storage},
    limits::MIN_CHUNK_SIZE,
    snapshots::{Activity, Config, Ended, Event, Job, Observer, Outcome, RequestKind},
};

/// Three chunks and a bit.
const PAYLOAD: usize = 3 * MIN_CHUNK_SIZE as usize + 17;

/// A provider, what it serves from, and a consumer that has opened session 7 with it.
async fn opened(fixture: &Fixture) -> (Peer, Arc<MemoryProvider>, Peer) {
    let (provider, memory) = provider(fixture).await;
    let mut consumer = consumer(fixture).await;
    consumer.know(&provider).await;
    consumer.open(provider.peer, 7).await;
    (provider, memory, consumer)
}

#[tokio::test]
async fn a_session_from_plan_to_last_ack() {
    let fixture = Fixture::new(PAYLOAD);
    let (provider, memory) = provider(&fixture).await;
    let mut consumer = consumer(&fixture).await;
    let (us, them) = (consumer.peer, provider.peer);
    consumer.know(&provider).await; // the first request dials

    consumer.request_plan(them, 7).await;
    let Verified::Plan(plan) = consumer.verified().await else { panic!() };
    assert_eq!(*plan, fixture.plan);

    for index in 0..3 {
        consumer.with(move |b| b.request_update(them, session(7), index)).await.unwrap();
        let Verified::Update { index: got, update, .. } = consumer.verified().await else { panic!() };
        assert_eq!((got, *update), (index, fixture.updates[index as usize].clone()));
    }
    let mut payload = Vec::new();
    for index in 0..4 {
        consumer.request_chunk(them, 7, index).await;
        let Verified::Chunk(chunk) = consumer.verified().await else { panic!() };
        assert_eq!(chunk.index, index);
        payload.extend_from_slice(&chunk.bytes);
        assert_eq!(consumer.markers(them, 7).await, Some((index + 1, 3)));
    }
    assert_eq!(payload, fixture.payload);

    for (kind, index) in [(ArtefactKind::LightClientUpdate, 2), (ArtefactKind::Chunk, 3)] {
        consumer.with(move |b| b.acknowledge(them, session(7), kind, index)).await.unwrap();
        assert!(
            matches!(consumer.verified().await, Verified::Acked { kind: k, index: i, .. } if (k, i) == (kind, index))
        );
    }
    assert_eq!(memory.markers(us, session(7)), Some(Markers { chunks: 4, updates: 3 }));
    let slots = provider.with(|b| b.load().slots).await;
    assert!(slots <= 1, "the slot goes when the last ack's answer is written");
}

#[tokio::test]
async fn a_session_resumes_on_a_new_connection() {
    let fixture = Fixture::new(PAYLOAD);
    let (provider, _, mut consumer) = opened(&fixture).await;
    let them = provider.peer;
    consumer.request_chunk(them, 7, 0).await;
    consumer.verified().await;
    consumer.disconnect(them).await;
    provider.connected_to(consumer.peer, false).await;

    let plan = Arc::new(fixture.plan.clone());
    consumer.with(move |b| b.resume(them, session(7), plan, 1, 0)).await.unwrap();
    assert!(matches!(consumer.verified().await, Verified::Resumed { chunk_index: 1, update_index: 0, .. }));
    assert_eq!(consumer.markers(them, 7).await, Some((1, 0)));
    consumer.request_chunk(them, 7, 1).await;
    assert!(matches!(consumer.verified().await, Verified::Chunk(..)));
}

#[tokio::test]
async fn none_while_a_request_is_in_flight() {
    let fixture = Fixture::new(PAYLOAD);
    let (provider, memory, mut consumer) = opened(&fixture).await;
    let them = provider.peer;
    let gate = memory.hold();

    consumer.request_chunk(them, 7, 0).await;
    gate.arrived(1).await;
    let plan = Arc::new(fixture.plan.clone());
    let refused = consumer
        .with(move |b| {
            [
                b.request_plan(them, session(7), PlanWishes::default()),
                b.request_chunk(them, session(7), 1),
                b.request_update(them, session(7), 0),
                b.resume(them, session(7), plan, 0, 0),
                b.acknowledge(them, session(7), ArtefactKind::Chunk, 0),
                b.cancel(them, session(7), "enough"),
            ]
        })
        .await;
    assert_eq!(refused, [None; 6]);
    assert_eq!(consumer.with(move |b| b.is_in_flight(them, session(7))).await, Some(true));
    gate.open();
    // The next event is about the chunk. Backpressure causes no event of its own.
    assert!(matches!(consumer.verified().await, Verified::Chunk(chunk) if chunk.index == 0));
    consumer.request_chunk(them, 7, 1).await;
}

/// Carries out the actions of `machine` until it has sent a request. Its plan's authority and its storage are granted.
async fn next_request(consumer: &Peer, machine: &mut Session) -> SnapshotsRequest {
    loop {
        let now = Instant::now();
        match machine.poll_action(now).expect("a request is due") {
            Action::Connect(peer) => machine.handle_connected(now, peer),
            Action::Request(peer, exchange) => {
                let asked = exchange.request().clone();
                let sent = consumer.with(move |b| b.request(peer, exchange)).await;
                machine.handle_sent(now, sent).unwrap();
                return asked;
            }
            Action::VerifyAuthority { .. } => machine.handle_authority(now, Ok(())).unwrap(),
            Action::OpenStorage { .. } => {
                let nothing = Have::nothing(machine.plan().unwrap().snapshot.checkpoint.payload_bytes);
                machine.handle_storage(now, Storage::Ready { durable: nothing.clone(), unchecked: nothing }).unwrap();
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_late_event_does_not_reach_a_session_that_was_resumed_meanwhile() {
    let fixture = Fixture::new(PAYLOAD);
    let (provider, memory, mut consumer) = opened(&fixture).await;
    let them = provider.peer;
    let saved = || Saved {
        plan: Arc::new(fixture.plan.clone()),
        updates: fixture.updates.clone(),
        confirmed_chunks: 0,
        confirmed_updates: 0,
        durable: Have::nothing(fixture.plan.snapshot.checkpoint.payload_bytes),
    };
    let machine = || Session::restore(session(7), them, Options::default(), saved(), None, Instant::now());

    // The end of the first machine's request has arrived, but is not handled yet.
    let mut first = machine();
    assert!(matches!(next_request(&consumer, &mut first).await, SnapshotsRequest::Resume { .. }));
    let late = consumer.outcome().await;
    assert!(matches!(late, Event::Verified { verified: Verified::Resumed { .. }, .. }), "{late:?}");

    // The session was resumed meanwhile, so the provider is about to answer the second machine.
    consumer.with(move |b| b.forget(them, session(7))).await;
    let gate = memory.hold();
    let mut second = machine();
    assert!(matches!(next_request(&consumer, &mut second).await, SnapshotsRequest::Resume { .. }));
    gate.arrived(1).await;
    let before = second.view();
    late.tell(&mut second, Instant::now()).unwrap();
    assert_eq!(second.view(), before, "it still waits for the answer to its own request");
    assert!(second.in_flight());
    gate.open();
    consumer.outcome().await.tell(&mut second, Instant::now()).unwrap();
    assert!(!second.in_flight() && second.view().trouble.is_none());
    assert!(matches!(next_request(&consumer, &mut second).await, SnapshotsRequest::Ack { .. }), "it is open");
}

#[tokio::test]
async fn a_command_says_why_it_was_not_sent_and_makes_no_event() {
    let fixture = Fixture::new(PAYLOAD);
    let (provider, memory, mut consumer) = opened(&fixture).await;
    let them = provider.peer;
    let gate = memory.hold();
    let offered = Arc::new(fixture.plan.clone());
    let chunk = move |id, chunk_index| {
        let request = SnapshotsRequest::Chunk { session_id: session(id), chunk_index };
        Exchange::new(request, Some(Arc::clone(&offered)), None)
    };
    let plan =
        Exchange::new(SnapshotsRequest::Plan { session_id: session(8), wishes: PlanWishes::default() }, None, None);
    let refused = consumer
        .with(move |b| {
            let outside = b.request(them, chunk(7, 4));
            let sent = b.request(them, chunk(7, 0));
            let (busy, unknown) = (b.request(them, chunk(7, 1)), b.request(them, chunk(8, 0)));
            b.request(them, plan).unwrap();
            b.forget(them, session(8));
            (sent, [outside, busy, unknown])
        })
        .await;
    let errors = [NotSent::Unfit(Unfit::OutsidePlan), NotSent::Busy, NotSent::UnknownSession(session(8))];
    assert_eq!(refused.1, errors.map(Err));
    gate.open();
    match consumer.outcome().await {
        Event::Verified { request_id, .. } => assert_eq!(Ok(request_id), refused.0),
        event => panic!("{event:?}"),
    }
}

/// The number of chunks in [`LONG`].
const CHUNKS: u64 = 6;
const LONG: usize = (CHUNKS as usize - 1) * MIN_CHUNK_SIZE as usize + 17;

#[tokio::test]
async fn chunks_in_a_row_are_read_before_they_are_asked_for() {
    let fixture = Fixture::new(LONG);
    let (provider, memory, mut consumer) = opened(&fixture).await;
    let them = provider.peer;
    let reads = Gate::closed();
    reads.open();
    let turnstile = reads.turnstile();
    memory.hook(move |_| {
        turnstile.pass();
        Ok(())
    });
    for index in 0..2 {
        consumer.request_chunk(them, 7, index).await;
        consumer.verified().await;
    }
    // All chunks were read, and there was one try beyond the last.
    reads.arrived(CHUNKS as usize + 1).await;
    assert!(provider.with(|b| b.load().read_ahead_bytes).await > 0);
    let mut payload = Vec::new();
    for index in 2..CHUNKS {
        consumer.request_chunk(them, 7, index).await;
        let Verified::Chunk(chunk) = consumer.verified().await else { panic!() };
        payload.extend_from_slice(&chunk.bytes);
    }
    assert_eq!(payload, fixture.payload[2 * MIN_CHUNK_SIZE as usize..]);
    assert_eq!(reads.arrivals(), CHUNKS as usize + 1, "nothing is read twice");
    support::within(async { while provider.with(|b| b.load().read_ahead_bytes).await > 0 {} }).await;
}

#[tokio::test]
async fn a_cancel_ends_reading_ahead_and_comes_after_it() {
    let fixture = Fixture::new(LONG);
    let (provider, memory, mut consumer) = opened(&fixture).await;
    let them = provider.peer;
    let (gate, calls) = (Gate::closed(), Arc::new(Mutex::new(Vec::new())));
    let (turnstile, called) = (gate.turnstile(), Arc::clone(&calls));
    memory.hook(move |call| {
        let count = {
            let mut calls = called.lock().unwrap();
            calls.push(call.to_owned());
            calls.len()
        };
        if count == 3 {
            turnstile.pass();
        }
        Ok(())
    });
    for index in 0..2 {
        consumer.request_chunk(them, 7, index).await;
        consumer.verified().await;
    }
    gate.arrived(1).await;
    support::within(async { while provider.with(|b| b.load().responses_in_flight).await > 0 {} }).await;
    consumer.with(move |b| b.cancel(them, session(7), "enough")).await.unwrap();
    support::within(async { while provider.with(|b| b.load().responses_in_flight).await == 0 {} }).await;
    gate.open();
    assert!(matches!(consumer.outcome().await, Event::Cancelled { .. }));
    assert_eq!(*calls.lock().unwrap(), ["chunk", "chunk", "chunk", "cancel"]);
}

#[tokio::test]
async fn an_unknown_session_is_none_and_an_error() {
    let fixture = Fixture::new(PAYLOAD);
    let (provider, _, mut consumer) = opened(&fixture).await;
    let them = provider.peer;
    let other = libp2p::PeerId::random();

    for (peer, id) in [(them, 8), (other, 7)] {
        assert_eq!(consumer.with(move |b| b.request_chunk(peer, session(id), 0)).await, None);
        match consumer.outcome().await {
            Event::Error { peer: p, session: s, request_id: None, error: SnapshotProtocolError::UnknownSession(u) } => {
                assert_eq!((p, s, u), (peer, session(id), session(id)));
            }
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(consumer.markers(them, 7).await, Some((0, 0)));
}

#[tokio::test]
async fn an_index_outside_the_plan_and_a_request_before_it_are_errors_of_ours() {
    let fixture = Fixture::new(PAYLOAD);
    let (provider, _, mut consumer) = opened(&fixture).await;
    let them = provider.peer;
    assert_eq!(consumer.with(move |b| b.request_chunk(them, session(7), 4)).await, None);
    assert!(matches!(consumer.error().await, SnapshotProtocolError::Unfit { .. }));
}

#[tokio::test]
async fn sessions_are_bounded() {
    let fixture = Fixture::new(PAYLOAD);
    let (provider, _) = provider(&fixture).await;
    let mut consumer = consumer_with(&fixture, Config::default().with_max_sessions(2)).await;
    let them = provider.peer;
    consumer.know(&provider).await;
    consumer.open(them, 1).await;
    consumer.open(them, 2).await;
    assert_eq!(consumer.with(move |b| b.request_plan(them, session(3), PlanWishes::default())).await, None);
    assert!(matches!(consumer.error().await, SnapshotProtocolError::Unfit { .. }));
    consumer.with(move |b| b.forget(them, session(1))).await;
    consumer.open(them, 3).await;
}

#[tokio::test]
async fn a_cancel_is_confirmed_and_ends_the_session_on_both_sides() {
    let fixture = Fixture::new(PAYLOAD);
    let (provider, memory) = provider(&fixture).await;
    let mut consumer = consumer(&fixture).await;
    let (us, them) = (consumer.peer, provider.peer);
    consumer.know(&provider).await;
    consumer.open(them, 7).await;
    let id = consumer.with(move |b| b.cancel(them, session(7), "the operator said so")).await.unwrap();
    match consumer.outcome().await {
        Event::Cancelled { peer, session: s, request_id } => assert_eq!((peer, s, request_id), (them, session(7), id)),
        event => panic!("{event:?}"),
    }
    assert_eq!(consumer.markers(them, 7).await, None);
    assert_eq!(memory.markers(us, session(7)), None);
}

#[tokio::test]
async fn what_a_forgotten_session_asked_for_makes_no_event() {
    let fixture = Fixture::new(PAYLOAD);
    let (provider, memory) = provider(&fixture).await;
    let watch = Arc::new(Watch::default());
    let mut consumer = consumer_with(&fixture, Config::default().with_observer(watch.clone())).await;
    let them = provider.peer;
    consumer.know(&provider).await;
    consumer.open(them, 7).await;
    consumer.open(them, 8).await;
    let gate = memory.hold();
    consumer.request_chunk(them, 7, 0).await;
    gate.arrived(1).await;
    consumer.with(move |b| b.forget(them, session(7))).await;
    gate.open();
    // The answer of session 7 is in flight before session 8 requests its own.
    watch.wait(|ended| ended.iter().any(|(_, ended)| ended.outcome == Outcome::Abandoned)).await;
    consumer.request_chunk(them, 8, 0).await;
    match consumer.outcome().await {
        Event::Verified { session: s, .. } => assert_eq!(s, session(8)),
        event => panic!("{event:?}"),
    }
    let load = consumer.with(|b| b.load()).await;
    assert_eq!((load.sessions, load.requests_in_flight), (1, 0));
}

#[tokio::test]
async fn both_peers_can_be_provider_and_consumer_of_each_other_under_one_session_id() {
    let (one, two) = (Fixture::new(PAYLOAD), Fixture::new(20_000));
    let (mut a, _) = provider_with(&one, Config::default().with_trust(two.trust())).await;
    let (mut b, _) = provider_with(&two, Config::default().with_trust(one.trust())).await;
    a.connect(&b).await;
    a.open(b.peer, 7).await;
    b.open(a.peer, 7).await;
    a.request_chunk(b.peer, 7, 0).await;
    assert!(matches!(a.verified().await, Verified::Chunk(..)));
    assert_eq!((a.markers(b.peer, 7).await, b.markers(a.peer, 7).await), (Some((1, 0)), Some((0, 0))));
}

#[tokio::test]
async fn the_observer_sees_every_beginning_and_its_end() {
    let fixture = Fixture::new(PAYLOAD);
    let (theirs, ours) = (Arc::new(Watch::default()), Arc::new(Watch::default()));
    let (mut provider, memory) = provider_with(&fixture, Config::default().with_observer(theirs.clone())).await;
    let mut consumer = consumer_with(&fixture, Config::default().with_observer(ours.clone())).await;
    let them = provider.peer;
    consumer.know(&provider).await;
    consumer.open(them, 7).await;
    consumer.request_chunk(them, 7, 2).await;
    consumer.verified().await;
    memory.hook(|_| Err(rpp_p2p::PipelineError::Unauthorized));
    consumer.request_chunk(them, 7, 3).await;
    consumer.error().await;
    for _ in 0..3 {
        provider.served().await;
    }
    let expected = [
        (RequestKind::Plan, None, Outcome::Served),
        (RequestKind::Chunk, Some(2), Outcome::Served),
        (RequestKind::Chunk, Some(3), Outcome::Refused(ErrorCode::Unauthorized)),
    ];
    // Answers as small as a chunk of 16 KiB are checked without a blocking thread, except for the plan.
    for (watch, jobs) in [(ours, 1), (theirs, 3)] {
        let ended = watch.ended.lock().unwrap().clone();
        let seen: Vec<_> = ended.iter().map(|(a, e)| (a.kind.unwrap(), a.index, e.outcome)).collect();
        assert_eq!(seen, expected);
        assert!(ended[1].1.response_bytes > MIN_CHUNK_SIZE as usize, "base64 is longer than its bytes");
        let started: Vec<_> = watch.started.lock().unwrap().iter().map(|a| a.id).collect();
        assert_eq!(started, ended.iter().map(|(a, _)| a.id).collect::<Vec<_>>());
        assert_eq!(*watch.jobs.lock().unwrap(), (jobs, jobs));
    }
}

/// Remembers the reports that it receives.
#[derive(Default)]
struct Watch {
    started: Mutex<Vec<Activity>>,
    ended: Mutex<Vec<(Activity, Ended)>>,
    jobs: Mutex<(usize, usize)>,
    changed: tokio::sync::Notify,
}

impl Watch {
    async fn wait(&self, mut done: impl FnMut(&[(Activity, Ended)]) -> bool) {
        support::within(async {
            loop {
                let changed = self.changed.notified();
                if done(&self.ended.lock().unwrap()) {
                    return;
                }
                changed.await;
            }
        })
        .await;
    }

    fn end(&self, activity: &Activity, ended: &Ended) {
        self.ended.lock().unwrap().push((*activity, *ended));
        self.changed.notify_waiters();
    }
}

impl Observer for Watch {
    fn request_started(&self, request: &Activity) {
        self.started.lock().unwrap().push(*request);
    }

    fn request_finished(&self, request: &Activity, ended: &Ended) {
        self.end(request, ended);
    }

    fn response_started(&self, response: &Activity) {
        self.started.lock().unwrap().push(*response);
    }

    fn response_finished(&self, response: &Activity, ended: &Ended) {
        self.end(response, ended);
    }

    fn blocking_job_started(&self, _: Job, _: &Activity) {
        self.jobs.lock().unwrap().0 += 1;
    }

    fn blocking_job_finished(&self, _: Job, _: &Activity, _: Duration) {
        self.jobs.lock().unwrap().1 += 1;
    }
}
