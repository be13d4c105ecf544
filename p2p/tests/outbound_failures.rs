//! How a consumer handles a provider that fails, vanishes or lies: one test per kind.

use std::time::{Duration, Instant};

use crate::support::{
    self, Bytes, Fixture, MemoryProvider, Node, Peer, PlainProvider, Raw, consumer, consumer_with, over_a_line,
    provider_with, raw_peer, raw_peer_speaking, response, session,
};
use libp2p::PeerId;
use rpp_p2p::{
    ErrorCode, Hash, PlanWishes, RequestFailure, SnapshotProtocolError, SnapshotsRequest, SnapshotsResponse, Verified,
    Violation,
    limits::MIN_CHUNK_SIZE,
    snapshots::{Behaviour, Config, Event, Outcome, PaceLimits},
};

const PAYLOAD: usize = 3 * MIN_CHUNK_SIZE as usize + 17;

/// A consumer connected to a raw provider.
async fn pair(fixture: &Fixture) -> (Peer, Node<Raw>) {
    let (consumer, raw) = (consumer(fixture).await, raw_peer().await);
    consumer.connect(&raw).await;
    (consumer, raw)
}

fn is_lost(failure: &RequestFailure) -> bool {
    matches!(failure, RequestFailure::ConnectionClosed { .. })
}

async fn outbound(consumer: &mut Peer, from: PeerId) -> RequestFailure {
    match consumer.outcome().await {
        Event::Error { peer, request_id: Some(_), error: SnapshotProtocolError::Outbound(failure), .. } => {
            assert_eq!(peer, from);
            failure
        }
        event => panic!("{event:?}"),
    }
}

#[tokio::test]
async fn no_answer_in_time() {
    let fixture = Fixture::new(PAYLOAD);
    let pace = PaceLimits::default().with_idle(Duration::from_millis(300));
    let config = Config::default().with_pace(pace);
    let (mut consumer, mut raw) = (consumer_with(&fixture, config).await, raw_peer().await);
    consumer.connect(&raw).await;
    consumer.request_plan(raw.peer, 7).await;
    let held = raw.asked().await;
    let failure = outbound(&mut consumer, raw.peer).await;
    assert!(matches!(failure, RequestFailure::Timeout { received: 0, .. }), "{failure}");
    assert!(failure.to_string().contains("not a byte for 0.3 s"), "{failure}");
    // The session is free for the next request, and a late answer to the first changes nothing.
    raw.answer(held, response(&fixture.plan_response(session(7)))).await;
    assert_eq!(
        consumer
            .with({
                let peer = raw.peer;
                move |b| b.is_in_flight(peer, session(7))
            })
            .await,
        Some(false)
    );
    assert_eq!(consumer.markers(raw.peer, 7).await, Some((0, 0)));
}

/// Chunks of 1 MiB.
const LARGE: u64 = 1 << 20;

#[tokio::test]
async fn a_chunk_may_take_as_long_as_its_bytes_come() {
    let fixture = Fixture::with_chunks(LARGE as usize + 17, LARGE);
    let pace = PaceLimits::default().with_idle(Duration::from_secs(4));
    let (provider, relay, mut consumer) = over_a_line(&fixture, pace, pace).await;
    consumer.open(provider.peer, 7).await;
    relay.limit(180_000);
    let start = Instant::now();
    consumer.request_chunk(provider.peer, 7, 0).await;
    assert!(matches!(consumer.verified().await, Verified::Chunk(chunk) if chunk.bytes.len() as u64 == LARGE));
    assert!(start.elapsed() > pace.idle, "it took longer than any silence may: {:?}", start.elapsed());
}

#[tokio::test]
async fn a_chunk_that_comes_byte_by_byte_is_given_up_on_both_sides() {
    let fixture = Fixture::with_chunks(LARGE as usize + 17, LARGE);
    let pace = PaceLimits::default().with_idle(support::DEADLINE).with_slowest(100_000, Duration::from_secs(1));
    let (mut provider, relay, mut consumer) = over_a_line(&fixture, pace, pace).await;
    consumer.open(provider.peer, 7).await;
    assert_eq!(provider.served().await, Outcome::Served);
    relay.limit(5000);
    consumer.request_chunk(provider.peer, 7, 0).await;
    let failure = outbound(&mut consumer, provider.peer).await;
    assert!(matches!(failure, RequestFailure::Timeout { received: 1.., .. }), "{failure:?}");
    assert!(failure.to_string().contains("only ") && failure.to_string().contains("100000"), "{failure}");
    let (outcome, why) = provider.ended().await;
    assert_eq!(outcome, Outcome::Lost, "{why}");
}

#[tokio::test]
async fn a_provider_gives_up_on_a_consumer_that_takes_nothing() {
    let fixture = Fixture::with_chunks(LARGE as usize + 17, LARGE);
    let patient = PaceLimits::default().with_idle(support::DEADLINE);
    let pace = patient.with_idle(Duration::from_secs(5));
    let (mut provider, relay, mut consumer) = over_a_line(&fixture, pace, patient).await;
    consumer.open(provider.peer, 7).await;
    assert_eq!(provider.served().await, Outcome::Served);
    // Requests travel in the other direction, which is not limited.
    relay.limit(0);
    consumer.request_chunk(provider.peer, 7, 0).await;
    let (outcome, why) = provider.ended().await;
    assert_eq!(outcome, Outcome::Lost);
    assert!(why.contains("not a byte for 5 s"), "{why}");
    assert_eq!(provider.with(|b| b.load().response_bytes_in_flight).await, 0);
}

#[tokio::test]
async fn the_connection_closes_mid_request() {
    let fixture = Fixture::new(PAYLOAD);
    let (mut consumer, mut raw) = pair(&fixture).await;
    consumer.open_raw(&mut raw, &fixture, 7).await;
    consumer.request_chunk(raw.peer, 7, 0).await;
    raw.asked().await;
    raw.disconnect(consumer.peer).await;
    assert!(is_lost(&outbound(&mut consumer, raw.peer).await));
    let load = consumer.with(|b| b.load()).await;
    assert_eq!((load.sessions, load.requests_in_flight), (1, 0), "the session outlives its connection");
}

#[tokio::test]
async fn the_peer_speaks_another_protocol() {
    let fixture = Fixture::new(PAYLOAD);
    let mut consumer = consumer(&fixture).await;
    let raw = raw_peer_speaking("/rpp/snapshots/0.1.0").await;
    consumer.connect(&raw).await;
    consumer.request_plan(raw.peer, 7).await;
    assert_eq!(outbound(&mut consumer, raw.peer).await, RequestFailure::Unsupported { protocol: rpp_p2p::PROTOCOL_V1 });
}

#[tokio::test]
async fn the_peer_speaks_another_protocol_and_we_negotiate_lazily() {
    let fixture = Fixture::new(PAYLOAD);
    let mut consumer = lazy_consumer(&fixture).await;
    let raw = raw_peer_speaking("/rpp/snapshots/0.1.0").await;
    consumer.connect(&raw).await;
    let them = raw.peer;
    for lazy in [false, true] {
        if lazy {
            consumer.with(move |b| b.negotiate_lazily(them)).await;
        }
        consumer.request_plan(them, 7).await;
        assert_eq!(
            outbound(&mut consumer, them).await,
            RequestFailure::Unsupported { protocol: rpp_p2p::PROTOCOL_V1 },
            "lazily: {lazy}"
        );
    }
}

#[tokio::test]
async fn a_provider_that_does_not_listen_before_it_has_confirmed_the_protocol_is_waited_for() {
    let fixture = Fixture::new(PAYLOAD);
    // This is long enough for the earlier answers, even on a busy machine.
    let pace = PaceLimits::default().with_idle(Duration::from_secs(6));
    let config = Config::default().with_trust(fixture.trust()).with_pace(pace);
    let memory = MemoryProvider::new(fixture.clone());
    let mut consumer = Node::start_lazy(Behaviour::new(memory, config)).await;
    let provider = PlainProvider::start(&fixture).await;
    let (them, address) = (provider.peer, provider.address.clone());
    consumer.call(move |swarm| swarm.add_peer_address(them, address)).await;
    consumer.open(them, 7).await;
    for index in 0..4 {
        consumer.request_chunk(them, 7, index).await;
        assert!(matches!(consumer.verified().await, Verified::Chunk(chunk) if chunk.index == index));
    }
    // Shows that the stand-in works as intended: it loses the bytes that arrive together with the proposal.
    consumer.with(move |b| b.negotiate_lazily(them)).await;
    consumer.request_chunk(them, 7, 0).await;
    let failure = outbound(&mut consumer, them).await;
    assert!(matches!(failure, RequestFailure::Timeout { .. }), "{failure}");
}

#[tokio::test]
async fn lazy_negotiation_works_with_a_provider() {
    let fixture = Fixture::new(PAYLOAD);
    let (provider, _) = support::provider(&fixture).await;
    let mut consumer = lazy_consumer(&fixture).await;
    consumer.connect(&provider).await;
    let them = provider.peer;
    consumer.with(move |b| b.negotiate_lazily(them)).await;
    consumer.open(provider.peer, 7).await;
    consumer.request_chunk(provider.peer, 7, 3).await;
    assert!(matches!(consumer.verified().await, Verified::Chunk(..)));
}

/// With `V1Lazy` for substreams, as a node should.
async fn lazy_consumer(fixture: &Fixture) -> Peer {
    let memory = MemoryProvider::new(fixture.clone());
    Node::start_lazy(Behaviour::new(memory, Config::default().with_trust(fixture.trust()))).await
}

#[tokio::test]
async fn the_peer_cannot_be_dialled() {
    let fixture = Fixture::new(PAYLOAD);
    let mut consumer = consumer(&fixture).await;
    let nobody = PeerId::random();
    consumer.request_plan(nobody, 7).await;
    let RequestFailure::Dial { reason } = outbound(&mut consumer, nobody).await else { panic!() };
    assert!(!["", "dialling failed"].contains(&reason.as_str()), "{reason}");
    // Nothing listens on this address.
    consumer.call(move |swarm| swarm.add_peer_address(nobody, "/memory/1".parse().unwrap())).await;
    consumer.request_plan(nobody, 7).await;
    assert!(matches!(outbound(&mut consumer, nobody).await, RequestFailure::Dial { .. }));
}

#[tokio::test]
async fn a_stream_that_ends_before_its_answer_is_a_lost_connection() {
    let fixture = Fixture::new(PAYLOAD);
    let (mut consumer, mut raw) = pair(&fixture).await;
    consumer.open_raw(&mut raw, &fixture, 7).await;
    let whole = response(&fixture.chunk_response(session(7), 0)).into_bytes();
    for cut in [0, 1, 20, 10_000, whole.len() - 1] {
        for end in [Bytes::Whole(whole[..cut].to_vec()), Bytes::Reset(whole[..cut].to_vec())] {
            consumer.request_chunk(raw.peer, 7, 0).await;
            let asked = raw.asked().await;
            raw.answer(asked, end).await;
            let failure = outbound(&mut consumer, raw.peer).await;
            assert!(is_lost(&failure), "cut at {cut}: {failure}");
            let wasted = failure.received();
            assert!(wasted <= cut as u64 && (cut < 100 || wasted > cut as u64 / 2), "{wasted} of {cut} bytes");
        }
    }
    // The provider drops the request without an answer.
    consumer.request_chunk(raw.peer, 7, 0).await;
    drop(raw.asked().await);
    assert!(is_lost(&outbound(&mut consumer, raw.peer).await));
    assert_eq!(consumer.markers(raw.peer, 7).await, Some((0, 0)));
}

/// Texts after a document. Only JSON's own white space is allowed there.
const AFTER_THE_END: [&[u8]; 10] =
    [b"x", b" x", b"{", b"}", b"null", b"\0", b"\x0c", b"\xc2\xa0", b"\xff", b"\n\n\t\xe2\x82"];

#[tokio::test]
async fn text_after_an_answer_is_a_violation_and_no_lost_connection() {
    let fixture = Fixture::new(PAYLOAD);
    let (mut consumer, mut raw) = pair(&fixture).await;
    for after in AFTER_THE_END {
        for end in [Bytes::Whole, Bytes::Reset] {
            // This holds for an answer that is buffered, and for one that is parsed while it arrives.
            consumer.request_plan(raw.peer, 7).await;
            let asked = raw.asked().await;
            let plan = response(&fixture.plan_response(session(7))).into_bytes();
            raw.answer(asked, end([&plan, after].concat())).await;
            let violation = consumer.violation().await;
            assert!(matches!(violation, Violation::Unreadable(_)), "{after:?}: {violation}");
            assert_eq!(consumer.markers(raw.peer, 7).await, None, "the session is over");

            consumer.open_raw(&mut raw, &fixture, 7).await;
            consumer.request_chunk(raw.peer, 7, 0).await;
            let asked = raw.asked().await;
            let chunk = response(&fixture.chunk_response(session(7), 0)).into_bytes();
            raw.answer(asked, end([&chunk, after].concat())).await;
            let violation = consumer.violation().await;
            assert!(matches!(violation, Violation::Unreadable(_)), "{after:?}: {violation}");
            assert_eq!(consumer.markers(raw.peer, 7).await, None, "the session is over");
        }
    }
    // White space alone is not an answer.
    consumer.open_raw(&mut raw, &fixture, 7).await;
    consumer.request_chunk(raw.peer, 7, 0).await;
    let asked = raw.asked().await;
    raw.answer(asked, response(&fixture.chunk_response(session(7), 0)) + " \t\r\n").await;
    assert!(matches!(consumer.verified().await, Verified::Chunk(..)));
}

#[tokio::test]
async fn an_answer_that_is_whole_counts_however_its_stream_ends() {
    let fixture = Fixture::new(PAYLOAD);
    let (mut consumer, mut raw) = pair(&fixture).await;
    consumer.open_raw(&mut raw, &fixture, 7).await;
    consumer.request_chunk(raw.peer, 7, 0).await;
    let asked = raw.asked().await;
    let chunk = response(&fixture.chunk_response(session(7), 0)).into_bytes();
    raw.answer(asked, Bytes::Reset(chunk)).await;
    assert!(matches!(consumer.verified().await, Verified::Chunk(..)));
}

#[tokio::test]
async fn a_provider_at_its_stream_limit_looks_lost() {
    let fixture = Fixture::new(PAYLOAD);
    let (provider, memory) = provider_with(&fixture, Config::default().with_max_streams_per_connection(1)).await;
    let mut consumer = consumer(&fixture).await;
    consumer.connect(&provider).await;
    consumer.open(provider.peer, 1).await;
    let gate = memory.hold();
    consumer.request_chunk(provider.peer, 1, 0).await;
    gate.arrived(1).await;
    consumer.request_plan(provider.peer, 2).await;
    assert!(is_lost(&outbound(&mut consumer, provider.peer).await));
    gate.open();
    assert!(matches!(consumer.verified().await, Verified::Chunk(..)));
}

#[tokio::test]
async fn requests_to_one_peer_are_bounded_by_the_streams_of_a_connection() {
    let fixture = Fixture::new(PAYLOAD);
    let config = Config::default().with_max_streams_per_connection(2);
    let (mut consumer, mut raw) = (consumer_with(&fixture, config).await, raw_peer().await);
    consumer.connect(&raw).await;
    let from = raw.peer;
    let sent = consumer
        .with(move |b| [1, 2, 3].map(|id| b.request_plan(from, session(id), PlanWishes::default()).is_some()))
        .await;
    assert_eq!(sent, [true, true, false]);
    assert_eq!(consumer.with(|b| b.load().sessions).await, 2, "what was not sent opened nothing");
    let asked = raw.asked().await;
    drop(asked);
    outbound(&mut consumer, from).await;
    consumer.request_plan(from, 3).await;
}

#[tokio::test]
async fn a_response_above_the_bound_is_refused_naming_size_and_bound() {
    let fixture = Fixture::new(PAYLOAD);
    let config = Config::default().with_max_response_bytes(20_000);
    let (mut consumer, mut raw) = (consumer_with(&fixture, config).await, raw_peer().await);
    consumer.connect(&raw).await;
    consumer.request_plan(raw.peer, 7).await;
    let mut padded = response(&fixture.plan_response(session(7))).into_bytes();
    padded.resize(20_001, b' ');
    let asked = raw.asked().await;
    raw.answer(asked, padded.clone()).await;
    let violation = consumer.violation().await.to_string();
    assert!(violation.contains("20001") && violation.contains("20000"), "{violation}");
    // An answer of exactly the limit is read.
    consumer.request_plan(raw.peer, 8).await;
    let mut padded = response(&fixture.plan_response(session(8))).into_bytes();
    padded.resize(20_000, b' ');
    let asked = raw.asked().await;
    raw.answer(asked, padded).await;
    assert!(matches!(consumer.verified().await, Verified::Plan(..)));
}

#[tokio::test]
async fn an_answer_that_is_no_message_is_a_violation() {
    let fixture = Fixture::new(PAYLOAD);
    let (mut consumer, mut raw) = pair(&fixture).await;
    let valid = response(&fixture.plan_response(session(7)));
    let deep = format!("{{\"type\":\"ack\",\"x\":{}{}}}", "[".repeat(40), "]".repeat(40));
    let texts = [
        "null".to_owned(),
        "[]".to_owned(),
        "garbage}".to_owned(),
        "{}".to_owned(),
        "{\"type\":\"surprise\",\"session_id\":7}".to_owned(),
        valid.replacen("\"session_id\"", "\"session_id\":7,\"session_id\"", 1),
        valid.replacen("\"session_id\":7", "\"session_id\":7.0", 1),
        valid.replacen("\"session_id\":7", "\"session_id\":9007199254740992", 1),
        format!("{valid}{valid}"),
        deep,
    ];
    for text in texts {
        consumer.request_plan(raw.peer, 7).await;
        let asked = raw.asked().await;
        raw.answer(asked, text.clone()).await;
        let violation = consumer.violation().await;
        assert!(matches!(violation, Violation::Unreadable(_)), "{text}: {violation:?}");
        assert_eq!(consumer.markers(raw.peer, 7).await, None, "the session is over");
    }
}

#[tokio::test]
async fn an_answer_to_something_else_is_a_violation() {
    let fixture = Fixture::new(PAYLOAD);
    let (mut consumer, mut raw) = pair(&fixture).await;
    let error =
        |id| SnapshotsResponse::Error { session_id: session(id), code: ErrorCode::Internal, message: String::new() };
    let ack = SnapshotsResponse::Ack { session_id: session(7), kind: rpp_p2p::ArtefactKind::Chunk, index: 0 };
    let wrong = [
        fixture.update_response(session(7), 0),
        fixture.plan_response(session(7)),
        ack,
        fixture.chunk_response(session(8), 1),
        fixture.chunk_response(session(7), 0),
        error(8),
    ];
    for answer in wrong {
        consumer.open_raw(&mut raw, &fixture, 7).await;
        consumer.request_chunk(raw.peer, 7, 1).await;
        let asked = raw.asked().await;
        raw.answer(asked, response(&answer)).await;
        assert_refused(&mut consumer, raw.peer, &answer).await;
    }
}

#[tokio::test]
async fn a_chunk_that_does_not_verify_is_a_violation() {
    let fixture = Fixture::new(PAYLOAD);
    let (mut consumer, mut raw) = pair(&fixture).await;
    type Change = fn(&mut Vec<u8>, &mut Vec<Hash>);
    let changes: [Change; 7] = [
        |bytes, _| bytes[0] ^= 1,
        |bytes, _| *bytes.last_mut().unwrap() ^= 0x80,
        |bytes, _| bytes.truncate(bytes.len() - 1),
        |bytes, _| bytes.push(0),
        |_, proof| proof[1].0[31] ^= 1,
        |_, proof| proof.truncate(proof.len() - 1),
        |_, proof| proof.push(Hash([0; 32])),
    ];
    for change in changes {
        consumer.open_raw(&mut raw, &fixture, 7).await;
        consumer.request_chunk(raw.peer, 7, 1).await;
        let data = fixture.chunk(1);
        let (mut bytes, mut proof) = (data.bytes.to_vec(), data.proof);
        change(&mut bytes, &mut proof);
        let answer = SnapshotsResponse::Chunk { session_id: session(7), chunk_index: 1, chunk: bytes.into(), proof };
        let asked = raw.asked().await;
        raw.answer(asked, response(&answer)).await;
        assert_refused(&mut consumer, raw.peer, &answer).await;
    }
}

#[tokio::test]
async fn an_update_that_does_not_verify_is_a_violation() {
    let fixture = Fixture::new(PAYLOAD);
    let (mut consumer, mut raw) = pair(&fixture).await;
    type Change = fn(&mut rpp_p2p::Update);
    let changes: [Change; 8] = [
        |update| update.checkpoint.step += 1,
        |update| update.checkpoint.height += 1,
        |update| update.checkpoint.block_hash.0[0] ^= 1,
        |update| update.checkpoint.state_root.0[0] ^= 1,
        |update| update.checkpoint.payload_bytes += 1,
        |update| update.checkpoint.commitment.0[0] ^= 1,
        |update| update.previous_commitment.0[0] ^= 1,
        |update| update.recursive_proof = Some(bytes::Bytes::from_static(b"not here")),
    ];
    for change in changes {
        consumer.open_raw(&mut raw, &fixture, 7).await;
        consumer
            .with({
                let peer = raw.peer;
                move |b| b.request_update(peer, session(7), 1)
            })
            .await
            .unwrap();
        let mut update = fixture.updates[1].clone();
        change(&mut update);
        let answer =
            SnapshotsResponse::LightClientUpdate { session_id: session(7), update_index: 1, update: Box::new(update) };
        let asked = raw.asked().await;
        raw.answer(asked, response(&answer)).await;
        assert_refused(&mut consumer, raw.peer, &answer).await;
    }
}

#[tokio::test]
async fn a_plan_that_contradicts_itself_or_the_anchor_is_a_violation() {
    let fixture = Fixture::new(PAYLOAD);
    let (mut consumer, mut raw) = pair(&fixture).await;
    type Change = fn(&mut rpp_p2p::Plan);
    let changes: [Change; 11] = [
        |plan| plan.plan_id.0[0] ^= 1,
        |plan| plan.proof = "none".to_owned(),
        |plan| plan.genesis.chain_id = "other".to_owned(),
        |plan| plan.genesis.threshold = 0,
        |plan| plan.snapshot.checkpoint.height += 1,
        |plan| plan.snapshot.checkpoint.payload_bytes = u64::from(u32::MAX),
        |plan| plan.tip.step += 1,
        |plan| plan.chunk_size += 1,
        |plan| plan.chunk_size = 8 * 1024,
        |plan| plan.total_chunks += 1,
        |plan| plan.total_updates = 1 << 50,
    ];
    for change in changes {
        let mut plan = fixture.plan.clone();
        change(&mut plan);
        let answer = SnapshotsResponse::Plan {
            session_id: session(7),
            plan: Box::new(plan),
            min_chunk_size: MIN_CHUNK_SIZE,
            max_chunk_size: rpp_p2p::limits::MAX_CHUNK_SIZE,
        };
        consumer.request_plan(raw.peer, 7).await;
        let asked = raw.asked().await;
        raw.answer(asked, response(&answer)).await;
        assert_refused(&mut consumer, raw.peer, &answer).await;
    }
}

#[tokio::test]
async fn a_resume_answered_with_other_offsets_is_a_violation() {
    let fixture = Fixture::new(PAYLOAD);
    let (mut consumer, mut raw) = pair(&fixture).await;
    let (plan_id, chunk_size) = (fixture.plan.plan_id, fixture.plan.chunk_size);
    let resumed = |plan_id, chunk_index, update_index, chunk_size| SnapshotsResponse::Resume {
        session_id: session(7),
        plan_id,
        chunk_index,
        update_index,
        chunk_size,
    };
    let wrong = [
        resumed(Hash([1; 32]), 2, 3, chunk_size),
        resumed(plan_id, 1, 3, chunk_size),
        resumed(plan_id, 2, 0, chunk_size),
        resumed(plan_id, 2, 3, chunk_size + 1),
    ];
    for answer in wrong {
        let (plan, peer) = (fixture.plan.clone().into(), raw.peer);
        consumer.with(move |b| b.resume(peer, session(7), plan, 2, 3)).await.unwrap();
        let asked = raw.asked().await;
        raw.answer(asked, response(&answer)).await;
        assert_refused(&mut consumer, raw.peer, &answer).await;
    }
}

#[tokio::test]
async fn a_resume_answered_with_another_size_of_chunks_is_a_plan_that_changed() {
    let fixture = Fixture::new(PAYLOAD);
    let (mut consumer, mut raw) = pair(&fixture).await;
    let (plan, peer, plan_id) = (fixture.plan.clone().into(), raw.peer, fixture.plan.plan_id);
    let chunk_size = fixture.plan.chunk_size * 2;
    consumer.with(move |b| b.resume(peer, session(7), plan, 2, 3)).await.unwrap();
    let asked = raw.asked().await;
    let answer =
        SnapshotsResponse::Resume { session_id: session(7), plan_id, chunk_index: 2, update_index: 3, chunk_size };
    raw.answer(asked, response(&answer)).await;
    match consumer.outcome().await {
        Event::Error { error: SnapshotProtocolError::Provider { code: ErrorCode::PlanChanged, .. }, .. } => {}
        event => panic!("{answer:?}: {event:?}"),
    }
}

/// Checks that the sender is named, that the session is over, and that no event contains a part of the answer.
async fn assert_refused(consumer: &mut Peer, from: PeerId, answer: &SnapshotsResponse) {
    match consumer.outcome().await {
        Event::Error { peer, session: id, request_id: Some(_), error: SnapshotProtocolError::Remote(_) } => {
            assert_eq!((peer, id), (from, session(7)));
        }
        event => panic!("{answer:?}: {event:?}"),
    }
    assert_eq!(consumer.markers(from, 7).await, None);
}

#[tokio::test]
async fn a_refusal_is_the_providers_with_its_words_cut() {
    let fixture = Fixture::new(PAYLOAD);
    let (mut consumer, mut raw) = pair(&fixture).await;
    consumer.open_raw(&mut raw, &fixture, 7).await;
    let codes = [
        ("\"code\":\"busy\",", ErrorCode::Busy),
        ("\"code\":\"plan_changed\",", ErrorCode::PlanChanged),
        ("", ErrorCode::Internal),
    ];
    for (text, expected) in codes {
        consumer.request_chunk(raw.peer, 7, 0).await;
        let asked = raw.asked().await;
        let words = format!("\\u001b[31m{}", "x".repeat(2000));
        raw.answer(asked, format!("{{\"type\":\"error\",\"session_id\":7,{text}\"message\":\"{words}\"}}")).await;
        let error = consumer.error().await;
        let shown = error.to_string();
        assert!(!shown.contains('\u{1b}') && shown.len() < 700, "{shown}");
        let SnapshotProtocolError::Provider { code, message } = error else { panic!() };
        assert_eq!(code, expected);
        assert!(message.len() <= 512);
    }
    assert_eq!(consumer.markers(raw.peer, 7).await, Some((0, 0)), "a refusal ends nothing");
}

#[tokio::test]
async fn what_a_stranger_sends_never_touches_a_session_with_another_peer() {
    let fixture = Fixture::new(PAYLOAD);
    let (mut consumer, mut raw) = pair(&fixture).await;
    let mut stranger = raw_peer().await;
    stranger.connect(&consumer).await;
    consumer.open_raw(&mut raw, &fixture, 7).await;
    consumer.request_chunk(raw.peer, 7, 0).await;
    let asked = raw.asked().await;

    let error = SnapshotsRequest::Error { session_id: session(7), message: "over".to_owned() };
    assert!(stranger.ask(consumer.peer, support::request(&error)).await.contains("\"cancelled\""));
    // A response is sent in place of a request. At most it could be read as a request for a session that the stranger
    // has not opened.
    let chunk = response(&fixture.chunk_response(session(7), 0));
    assert!(stranger.ask(consumer.peer, chunk).await.contains("\"not_found\""));
    let ack = SnapshotsResponse::Ack { session_id: session(7), kind: rpp_p2p::ArtefactKind::Chunk, index: 3 };
    assert!(stranger.ask(consumer.peer, response(&ack)).await.contains("\"not_found\""));

    raw.answer(asked, response(&fixture.chunk_response(session(7), 0))).await;
    assert!(matches!(consumer.verified().await, Verified::Chunk(..)));
    assert_eq!(consumer.markers(raw.peer, 7).await, Some((1, 0)));
}
