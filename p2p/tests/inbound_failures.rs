//! How a provider handles requests that are unreadable, too many, or not this peer's to make: one test per kind.

use std::{sync::Arc, time::Duration};

use crate::support::{
    self, Bytes, Fixture, Markers, MemoryProvider, Node, Peer, Raw, chunk_request, consumer, plan_request, provider,
    provider_with, raw_peer, request, session,
};
use rpp_p2p::{
    ArtefactKind, ErrorCode, Hash, PipelineError, ResumeReason, SnapshotProtocolError, SnapshotsRequest,
    error::{Full, Invalid, Unavailable},
    limits::{MAX_REQUEST_BYTES, MIN_CHUNK_SIZE},
    provider::{BudgetLimits, SlotLimits},
    snapshots::{Config, Event, Outcome, PaceLimits},
};

const PAYLOAD: usize = 3 * MIN_CHUNK_SIZE as usize + 17;

/// A provider and a raw peer connected to it.
async fn pair() -> (Peer, Arc<MemoryProvider>, Node<Raw>) {
    pair_with(Config::default()).await
}

async fn pair_with(config: Config) -> (Peer, Arc<MemoryProvider>, Node<Raw>) {
    let (provider, memory) = provider_with(&Fixture::new(PAYLOAD), config).await;
    let raw = raw_peer().await;
    raw.connect(&provider).await;
    (provider, memory, raw)
}

fn is_refusal(answer: &str, code: &str) -> bool {
    answer.contains("\"type\":\"error\"") && answer.contains(&format!("\"code\":\"{code}\""))
}

#[tokio::test]
async fn an_unreadable_request_is_answered_invalid_with_session_0() {
    let (mut provider, _, mut raw) = pair().await;
    let valid = plan_request(7);
    let texts = [
        String::new(),
        " \n".to_owned(),
        "x".to_owned(),
        "null".to_owned(),
        "{}".to_owned(),
        valid[..valid.len() - 1].to_owned(),
        format!("{valid} {valid}"),
        valid.replacen("7", "0", 1),
        valid.replacen("7", "-7", 1),
        valid.replacen("7", "\"7\"", 1),
        valid.replacen("7", "7e0", 1),
        "{\"type\":\"surprise\",\"session_id\":7}".to_owned(),
        format!("{{\"type\":\"plan\",\"session_id\":7,\"x\":{}{}}}", "[".repeat(1000), "]".repeat(1000)),
    ];
    // Only JSON's own white space may follow the end of the document.
    let after: [&[u8]; 8] = [b"x", b"{", b"}", b"null", b"\0", b"\x0c", b"\xc2\xa0", b"\xff"];
    let followed = after.map(|after| [valid.as_bytes(), after].concat());
    for text in texts.map(String::into_bytes).into_iter().chain(followed) {
        let answer = raw.ask(provider.peer, text.clone()).await;
        let text = String::from_utf8_lossy(&text);
        assert!(is_refusal(&answer, "invalid") && answer.contains("\"session_id\":0"), "{text}: {answer}");
        match provider.event().await {
            Event::Inbound { peer, session, kind: None, outcome, error, .. } => {
                assert_eq!((peer, session.get(), outcome), (raw.peer, 0, Outcome::Refused(ErrorCode::Invalid)));
                assert!(matches!(error, Some(SnapshotProtocolError::Inbound(_))));
            }
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(provider.with(|b| b.load().slots).await, 0);
}

#[tokio::test]
async fn a_request_above_the_bound_is_refused_naming_size_and_bound() {
    let (provider, _, mut raw) = pair().await;
    let mut padded = plan_request(7).into_bytes();
    padded.resize(MAX_REQUEST_BYTES, b' ');
    assert!(raw.ask(provider.peer, padded.clone()).await.contains("\"type\":\"plan\""), "at the bound it is served");
    for size in [MAX_REQUEST_BYTES + 1, 8 * MAX_REQUEST_BYTES] {
        padded.resize(size, b' ');
        let answer = raw.ask(provider.peer, padded.clone()).await;
        assert!(is_refusal(&answer, "invalid") && answer.contains("\"session_id\":0"), "{answer}");
        assert!(answer.contains(&size.to_string()) && answer.contains("65536"), "{answer}");
    }
}

#[tokio::test]
async fn a_request_that_breaks_off_harms_nobody() {
    let (provider, _, mut raw) = pair().await;
    for bytes in [Bytes::Reset(Vec::new()), Bytes::Reset(b"{\"type\":".to_vec())] {
        let sent = raw.send(provider.peer, bytes).await;
        raw.answer_to(sent).await;
    }
    assert!(raw.ask(provider.peer, plan_request(7)).await.contains("\"type\":\"plan\""));
}

#[tokio::test]
async fn each_refusal_reaches_the_consumer_with_its_code() {
    type Refusal = fn() -> PipelineError;
    let refusals: [(Refusal, ErrorCode); 9] = [
        (|| Unavailable::Own("nothing").into(), ErrorCode::NotFound),
        (|| PipelineError::Unauthorized, ErrorCode::Unauthorized),
        (|| Invalid::Own("no").into(), ErrorCode::Invalid),
        (|| PipelineError::PlanChanged { current: Hash([1; 32]), asked: Hash([2; 32]) }, ErrorCode::PlanChanged),
        (
            || PipelineError::SnapshotVerification {
                reason: ResumeReason::ResumeRegressed { kind: ArtefactKind::Chunk, asked: 1, expected: 2 },
            },
            ErrorCode::ResumeRegressed,
        ),
        (
            || PipelineError::SnapshotVerification {
                reason: ResumeReason::ResumeOutOfBounds { kind: ArtefactKind::Chunk, asked: 9, total: 4 },
            },
            ErrorCode::ResumeOutOfBounds,
        ),
        (|| Full::Own("full").into(), ErrorCode::Busy),
        (|| PipelineError::Cancelled, ErrorCode::Cancelled),
        (|| PipelineError::internal(std::io::Error::other("/secret/path: broken")), ErrorCode::Internal),
    ];
    let fixture = Fixture::new(PAYLOAD);
    let (mut provider, memory) = provider(&fixture).await;
    let mut consumer = consumer(&fixture).await;
    let them = provider.peer;
    consumer.know(&provider).await;
    consumer.open(them, 7).await;
    provider.served().await;
    for (refusal, expected) in refusals {
        memory.hook(move |_| Err(refusal()));
        let plan = Arc::new(fixture.plan.clone());
        consumer.with(move |b| b.resume(them, session(7), plan, 0, 0)).await.unwrap();
        let SnapshotProtocolError::Provider { code, message } = consumer.error().await else { panic!() };
        assert_eq!(code, expected);
        assert!(!message.contains("secret"), "what is inside the provider stays there: {message}");
        assert_eq!(provider.served().await, Outcome::Refused(expected));
        assert_eq!(provider.with(|b| b.load().slots).await, 0, "a session that was not reopened holds no slot");
    }
}

#[tokio::test]
async fn a_provider_that_panics_is_internal_and_goes_on() {
    let (provider, memory, mut raw) = pair().await;
    memory.hook(|call| if call == "chunk" { panic!("a bug at /secret/path") } else { Ok(()) });
    raw.ask(provider.peer, plan_request(7)).await;
    for _ in 0..8 {
        let answer = raw.ask(provider.peer, chunk_request(7, 0)).await;
        assert!(is_refusal(&answer, "internal") && !answer.contains("secret"), "{answer}");
    }
    memory.unhook();
    assert!(raw.ask(provider.peer, chunk_request(7, 0)).await.contains("\"type\":\"chunk\""));
}

#[tokio::test]
async fn a_second_request_of_a_session_is_busy_while_the_first_is_in_flight() {
    let (provider, memory, mut raw) = pair().await;
    raw.ask(provider.peer, plan_request(7)).await;
    let gate = memory.hold();
    let first = raw.send(provider.peer, chunk_request(7, 0)).await;
    gate.arrived(1).await;
    let cancel = SnapshotsRequest::Error { session_id: session(7), message: String::new() };
    for second in [chunk_request(7, 1), plan_request(7), request(&cancel)] {
        let answer = raw.ask(provider.peer, second).await;
        assert!(is_refusal(&answer, "busy") && answer.contains("\"session_id\":7"), "{answer}");
    }
    // It does not block another session of the same peer.
    let other = raw.send(provider.peer, plan_request(8)).await;
    gate.arrived(2).await;
    gate.open();
    let [first, other] = raw.answers_to([first, other]).await;
    assert!(first.contains("\"type\":\"chunk\""), "{first}");
    assert!(other.contains("\"type\":\"plan\""), "{other}");
    assert!(raw.ask(provider.peer, chunk_request(7, 1)).await.contains("\"type\":\"chunk\""));
}

#[tokio::test]
async fn another_peers_session_is_not_found_and_stays_as_it_is() {
    let (provider, memory, mut owner) = pair().await;
    let mut stranger = raw_peer().await;
    stranger.connect(&provider).await;
    let them = provider.peer;
    owner.ask(them, plan_request(7)).await;
    let ack = |index| SnapshotsRequest::Ack { session_id: session(7), kind: ArtefactKind::Chunk, index };
    owner.ask(them, request(&ack(1))).await;
    let before = memory.markers(owner.peer, session(7));
    assert_eq!(before, Some(Markers { chunks: 2, updates: 0 }));

    let resume = SnapshotsRequest::Resume {
        session_id: session(7),
        plan_id: memory.fixture.plan.plan_id,
        chunk_index: 0,
        update_index: 0,
    };
    let update = SnapshotsRequest::LightClientUpdate { session_id: session(7), update_index: 0 };
    for claim in [chunk_request(7, 0), request(&update), request(&resume), request(&ack(3))] {
        let answer = stranger.ask(them, claim).await;
        assert!(is_refusal(&answer, "not_found"), "{answer}");
    }
    let cancel = SnapshotsRequest::Error { session_id: session(7), message: "over".to_owned() };
    assert!(is_refusal(&stranger.ask(them, request(&cancel)).await, "cancelled"));
    assert_eq!(memory.markers(owner.peer, session(7)), before);
    // The stranger may open a session under the same id. It is a different session.
    stranger.ask(them, plan_request(7)).await;
    assert_eq!(memory.markers(owner.peer, session(7)), before);
    assert!(owner.ask(them, chunk_request(7, 2)).await.contains("\"type\":\"chunk\""));
}

/// Limits under which a peer that finds no slot is told so at once.
fn at_once() -> SlotLimits {
    SlotLimits::default().with_gives_way(SlotLimits::default().idle).with_wait(Duration::ZERO)
}

#[tokio::test]
async fn a_cancel_is_answered_cancelled_for_any_session_and_without_a_slot() {
    let (provider, memory, mut raw) = pair_with(Config::default().with_slots(at_once().with_total(1))).await;
    let cancel = |id| request(&SnapshotsRequest::Error { session_id: session(id), message: "enough".to_owned() });
    let answer = raw.ask(provider.peer, cancel(1)).await;
    assert!(is_refusal(&answer, "cancelled") && answer.contains("\"session_id\":1"), "{answer}");
    raw.ask(provider.peer, plan_request(2)).await;
    assert!(is_refusal(&raw.ask(provider.peer, plan_request(3)).await, "busy"));
    assert!(is_refusal(&raw.ask(provider.peer, cancel(3)).await, "cancelled"));
    assert!(is_refusal(&raw.ask(provider.peer, cancel(2)).await, "cancelled"));
    assert_eq!(memory.markers(raw.peer, session(2)), None);
    assert!(raw.ask(provider.peer, plan_request(3)).await.contains("\"type\":\"plan\""), "its slot is free");
}

#[tokio::test]
async fn slots_are_shared_and_bounded_per_peer() {
    let limits = at_once().with_total(4).with_per_peer(2);
    let (provider, _, mut raw) = pair_with(Config::default().with_slots(limits)).await;
    let mut other = raw_peer().await;
    other.connect(&provider).await;
    let them = provider.peer;
    for id in [1, 2] {
        raw.ask(them, plan_request(id)).await;
    }
    assert!(is_refusal(&raw.ask(them, plan_request(3)).await, "busy"), "per peer");
    other.ask(them, plan_request(1)).await;
    assert!(is_refusal(&other.ask(them, plan_request(2)).await, "busy"), "it leaves as many as it has");
    assert!(raw.ask(them, chunk_request(1, 0)).await.contains("\"type\":\"chunk\""), "who has a slot goes on");
    // The last ack frees a slot.
    for (kind, index) in [(ArtefactKind::LightClientUpdate, 2), (ArtefactKind::Chunk, 3)] {
        raw.ask(them, request(&SnapshotsRequest::Ack { session_id: session(1), kind, index })).await;
    }
    assert!(other.ask(them, plan_request(2)).await.contains("\"type\":\"plan\""));
}

#[tokio::test]
async fn one_who_waits_gets_the_slot_of_a_quiet_session_and_nothing_is_lost_with_it() {
    let limits = SlotLimits::default().with_total(1).with_wait(support::DEADLINE);
    let (provider, memory, mut raw) = pair_with(Config::default().with_slots(limits)).await;
    let mut other = raw_peer().await;
    other.connect(&provider).await;
    let them = provider.peer;
    raw.ask(them, plan_request(1)).await;
    raw.ask(them, request(&SnapshotsRequest::Ack { session_id: session(1), kind: ArtefactKind::Chunk, index: 1 }))
        .await;
    let before = memory.markers(raw.peer, session(1));
    let asked = other.send(them, plan_request(1)).await;
    support::within(async { while provider.with(|b| b.load().slots_that_gave_way).await == 0 {} }).await;
    assert!(other.answer_to(asked).await.contains("\"type\":\"plan\""));
    assert_eq!(provider.with(|b| (b.load().slots, b.load().waiting_for_slot)).await, (1, 0));
    assert_eq!(memory.markers(raw.peer, session(1)), before, "its record stays");
    assert!(raw.ask(them, chunk_request(1, 2)).await.contains("\"type\":\"chunk\""), "it takes one again");
}

#[tokio::test]
async fn a_peer_that_leaves_while_waiting_for_a_slot_is_forgotten() {
    let limits = SlotLimits::default().with_total(1).with_gives_way(support::DEADLINE).with_wait(support::DEADLINE);
    let (mut provider, _, mut raw) = pair_with(Config::default().with_slots(limits)).await;
    let other = raw_peer().await;
    other.connect(&provider).await;
    raw.ask(provider.peer, plan_request(1)).await;
    provider.served().await;
    other.send(provider.peer, plan_request(1)).await;
    support::within(async { while provider.with(|b| b.load().waiting_for_slot).await == 0 {} }).await;
    other.disconnect(provider.peer).await;
    assert_eq!(provider.served().await, Outcome::Lost);
    let load = provider.with(|b| b.load()).await;
    assert_eq!((load.waiting_for_slot, load.slots, load.responses_in_flight), (0, 1, 0));
}

#[tokio::test]
async fn a_slot_is_freed_when_its_session_is_idle() {
    let limits = SlotLimits::default().with_total(1).with_idle(Duration::from_millis(50));
    let (mut provider, _, mut raw) = pair_with(Config::default().with_slots(limits)).await;
    raw.ask(provider.peer, plan_request(1)).await;
    provider.served().await;
    // The slot is freed although no other request comes.
    support::within(async {
        while provider.with(|b| b.load().slots).await > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(raw.ask(provider.peer, chunk_request(1, 0)).await.contains("\"type\":\"chunk\""), "it takes one again");
}

#[tokio::test]
async fn bytes_under_way_are_bounded_and_who_waits_too_long_is_busy() {
    let budget = BudgetLimits::default().with_total(1).with_per_peer(1).with_wait(Duration::from_secs(2));
    let (provider, memory, mut raw) = pair_with(Config::default().with_budget(budget)).await;
    let them = provider.peer;
    for id in [1, 2] {
        raw.ask(them, plan_request(id)).await;
    }
    let gate = memory.hold();
    let first = raw.send(them, chunk_request(1, 0)).await;
    gate.arrived(1).await;
    let answer = raw.ask(them, chunk_request(2, 0)).await;
    assert!(is_refusal(&answer, "busy") && answer.contains("\"session_id\":2"), "{answer}");
    assert_eq!(gate.arrivals(), 1, "the provider was not asked");
    gate.open();
    assert!(raw.answer_to(first).await.contains("\"type\":\"chunk\""));
    assert!(raw.ask(them, chunk_request(2, 0)).await.contains("\"type\":\"chunk\""));
}

#[tokio::test]
async fn who_waits_for_room_is_served_when_there_is_some() {
    let budget = BudgetLimits::default().with_total(1).with_per_peer(1).with_wait(support::DEADLINE);
    let (provider, memory, mut raw) = pair_with(Config::default().with_budget(budget)).await;
    let mut other = raw_peer().await;
    other.connect(&provider).await;
    let them = provider.peer;
    raw.ask(them, plan_request(1)).await;
    other.ask(them, plan_request(1)).await;
    let gate = memory.hold();
    let first = raw.send(them, chunk_request(1, 0)).await;
    gate.arrived(1).await;
    let second = other.send(them, chunk_request(1, 1)).await;
    support::within(async {
        while provider.with(|b| b.load().waiting_for_budget).await == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    gate.open();
    assert!(raw.answer_to(first).await.contains("\"type\":\"chunk\""));
    assert!(other.answer_to(second).await.contains("\"type\":\"chunk\""));
}

#[tokio::test]
async fn a_peer_that_leaves_frees_what_it_held() {
    let config = Config::default().with_max_provider_jobs(1);
    let (mut provider, memory, mut raw) = pair_with(config).await;
    for id in [1, 2] {
        raw.ask(provider.peer, plan_request(id)).await;
        provider.served().await;
    }
    let gate = memory.hold();
    raw.send(provider.peer, chunk_request(1, 0)).await;
    gate.arrived(1).await;
    raw.send(provider.peer, chunk_request(2, 0)).await;
    support::within(async {
        while provider.with(|b| b.load().provider_jobs_queued).await == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    raw.disconnect(provider.peer).await;

    // The call that had not begun is cancelled at once.
    match provider.event().await {
        Event::Inbound { session: id, outcome: Outcome::Lost, error: Some(_), .. } => assert_eq!(id, session(2)),
        event => panic!("{event:?}"),
    }
    let load = provider.with(|b| b.load()).await;
    assert_eq!((load.responses_in_flight, load.provider_jobs_queued, load.inbound_failures), (1, 0, 2));
    // The call that is running keeps its session in flight until it is done.
    raw.connect(&provider).await;
    assert!(is_refusal(&raw.ask(provider.peer, chunk_request(1, 1)).await, "busy"));
    assert_eq!(provider.served().await, Outcome::Refused(ErrorCode::Busy));
    gate.open();
    assert_eq!(provider.served().await, Outcome::Lost);
    let load = provider.with(|b| b.load()).await;
    assert_eq!((load.responses_in_flight, load.response_bytes_in_flight, load.provider_jobs_running), (0, 0, 0));
    assert_eq!(gate.arrivals(), 1);
    assert!(raw.ask(provider.peer, chunk_request(1, 1)).await.contains("\"type\":\"chunk\""));
}

#[tokio::test]
async fn a_peer_that_leaves_while_waiting_for_budget_is_forgotten() {
    let budget = BudgetLimits::default().with_total(1).with_per_peer(1).with_wait(support::DEADLINE);
    let (mut provider, memory, mut raw) = pair_with(Config::default().with_budget(budget)).await;
    let mut other = raw_peer().await;
    other.connect(&provider).await;
    for peer in [&mut raw, &mut other] {
        peer.ask(provider.peer, plan_request(1)).await;
        provider.served().await;
    }
    let gate = memory.hold();
    let first = raw.send(provider.peer, chunk_request(1, 0)).await;
    gate.arrived(1).await;
    other.send(provider.peer, chunk_request(1, 0)).await;
    support::within(async {
        while provider.with(|b| b.load().waiting_for_budget).await == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    other.disconnect(provider.peer).await;
    assert_eq!(provider.served().await, Outcome::Lost);
    assert_eq!(provider.with(|b| b.load().waiting_for_budget).await, 0);
    gate.open();
    assert!(raw.answer_to(first).await.contains("\"type\":\"chunk\""));
    assert_eq!(gate.arrivals(), 1);
}

#[tokio::test]
async fn a_response_above_the_bound_is_never_sent() {
    let (provider, _, mut raw) = pair_with(Config::default().with_max_response_bytes(10_000)).await;
    raw.ask(provider.peer, plan_request(7)).await;
    let answer = raw.ask(provider.peer, chunk_request(7, 0)).await;
    assert!(is_refusal(&answer, "internal") && answer.contains("10000"), "{answer}");
    assert!(raw.ask(provider.peer, chunk_request(7, 3)).await.contains("\"type\":\"chunk\""), "a small one is");
}

#[tokio::test]
async fn a_provider_call_that_outlasts_the_request_is_lost() {
    let config = Config::default().with_pace(PaceLimits::default().with_idle(Duration::from_secs(3)));
    let (mut provider, memory, mut raw) = pair_with(config).await;
    raw.ask(provider.peer, plan_request(7)).await;
    provider.served().await;
    let gate = memory.hold();
    let sent = raw.send(provider.peer, chunk_request(7, 0)).await;
    gate.arrived(1).await;
    raw.answer_to(sent).await;
    assert_eq!(provider.with(|b| b.load().inbound_failures).await, 1);
    gate.open();
    assert_eq!(provider.served().await, Outcome::Lost);
    assert!(raw.ask(provider.peer, chunk_request(7, 0)).await.contains("\"type\":\"chunk\""));
}

#[tokio::test]
async fn an_invalid_answer_reaches_an_honest_consumer_as_a_refusal() {
    // A provider that could not read all of our request answers with session 0.
    let fixture = Fixture::new(PAYLOAD);
    let (provider, _) = provider_with(&fixture, Config::default().with_max_request_bytes(20)).await;
    let mut consumer = consumer(&fixture).await;
    consumer.know(&provider).await;
    consumer.request_plan(provider.peer, 7).await;
    let error = consumer.error().await;
    assert!(matches!(error, SnapshotProtocolError::Provider { code: ErrorCode::Invalid, .. }), "{error:?}");
}
