//! `/rpp/snapshots/2.0.0` over real swarms: two peers that follow it, peers with different versions, and peers that
//! break it.

#![allow(clippy::single_range_in_vec_init, reason = "what is wanted is a list of ranges")]

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use rpp_p2p::{
    ArtefactKind, ErrorCode, Evidence, FailureCode, Have, Offence, PlanWishes, Protocol, Protocols, SessionState,
    SnapshotsRequest, SnapshotsResponse, WaitKind,
    consumer::{Action, Options, Session, Storage, View},
    limits::{FIRST_FRAME, MIN_CHUNK_SIZE},
    snapshots::{Behaviour, Config, Event, Load, Outcome, PaceLimits},
    stream::{ConsumerFrame, Wanted, frame},
};

use crate::support::{
    Fixture, Markers, MemoryProvider, Node, Peer, RawEnd, RawStreams, chunk_frame, consumer_with, provider,
    provider_with, raw_peer, response, session,
};

/// Ten chunks and a bit.
const PAYLOAD: usize = 10 * MIN_CHUNK_SIZE as usize + 17;

/// A session that is driven as in a node, with its disk in memory.
struct Download {
    session: Session,
    disk: Vec<u8>,
    /// While this is set, the disk reports neither written nor durable chunks.
    holds_disk: bool,
}

impl Download {
    fn new(provider: libp2p::PeerId, options: Options) -> Self {
        let session = Session::new(session(7), provider, options, Instant::now());
        Self { session, disk: Vec::new(), holds_disk: false }
    }

    fn view(&self) -> View {
        self.session.view()
    }

    /// Carries out the session's current actions.
    async fn act(&mut self, consumer: &Peer) {
        let now = Instant::now();
        while let Some(action) = self.session.poll_action(now) {
            match action {
                Action::Connect(peer) => self.session.handle_connected(now, peer),
                Action::Request(peer, exchange) => {
                    let sent = consumer.with(move |b| b.request(peer, exchange)).await;
                    self.session.handle_sent(now, sent).unwrap();
                }
                Action::Grant(peer, grant) => consumer.with(move |b| b.grant(peer, grant)).await,
                Action::VerifyAuthority { .. } => self.session.handle_authority(now, Ok(())).unwrap(),
                Action::OpenStorage { plan, .. } => {
                    let nothing = Have::nothing(plan.snapshot.checkpoint.payload_bytes);
                    self.session
                        .handle_storage(now, Storage::Ready { durable: nothing.clone(), unchecked: nothing })
                        .unwrap();
                }
                Action::Write(chunk) => {
                    self.disk.extend_from_slice(&chunk.bytes);
                    if !self.holds_disk {
                        self.session.handle_written(now, chunk.index).unwrap();
                    }
                }
                Action::Sync if self.holds_disk => {}
                Action::Sync => {
                    let total = self.session.plan().unwrap().snapshot.checkpoint.payload_bytes;
                    self.session.handle_durable(now, &Have::prefix(total, self.disk.len() as u64)).unwrap();
                }
                Action::Place => self.session.handle_placed(now, PathBuf::from("memory")).unwrap(),
                _ => {}
            }
        }
    }

    /// Runs until `until` returns `true`.
    async fn run(&mut self, consumer: &mut Peer, until: impl Fn(&View) -> bool) {
        loop {
            self.act(consumer).await;
            if until(&self.view()) {
                return;
            }
            let at = self.session.poll_timeout().unwrap_or_else(|| Instant::now() + Duration::from_secs(60));
            match tokio::time::timeout_at(at.into(), consumer.event()).await {
                Ok(event) => {
                    if event.of().is_some_and(|(peer, link)| self.session.has_link(peer, link)) {
                        event.tell(&mut self.session, Instant::now()).unwrap();
                    }
                }
                Err(_) => self.session.handle_timeout(Instant::now()),
            }
        }
    }

    async fn finish(&mut self, consumer: &mut Peer) -> View {
        self.run(consumer, |view| view.state.is_final()).await;
        self.view()
    }
}

fn speaking(protocols: Protocols) -> Config {
    Config::default().with_protocols(protocols)
}

/// Downloads everything, and returns the final view, which names the protocol version.
async fn exchanged(provider: Protocols, consumer: Protocols) -> View {
    let fixture = Fixture::new(PAYLOAD);
    let (provider, memory) = provider_with(&fixture, speaking(provider)).await;
    let mut consumer = consumer_with(&fixture, speaking(consumer)).await;
    consumer.connect(&provider).await;
    let mut download = Download::new(provider.peer, Options::default());
    let view = download.finish(&mut consumer).await;
    if view.state == SessionState::Complete {
        assert_eq!(download.disk, fixture.payload);
        assert_eq!(memory.markers(consumer.peer, session(7)), Some(Markers { chunks: 11, updates: 3 }));
    }
    view
}

#[tokio::test]
async fn a_session_by_a_stream_from_plan_to_last_ack() {
    let view = exchanged(Protocols::Auto, Protocols::Auto).await;
    assert_eq!((view.state, view.protocol), (SessionState::Complete, Some(Protocol::V2)));
    assert_eq!((view.bytes_received, view.bytes_wasted, view.tries), (PAYLOAD as u64, 0, 1));
}

#[tokio::test]
async fn a_consumer_falls_back_where_the_provider_has_1_0_0_only() {
    let view = exchanged(Protocols::V1, Protocols::Auto).await;
    assert_eq!((view.state, view.protocol, view.tries), (SessionState::Complete, Some(Protocol::V1), 1));
}

#[tokio::test]
async fn a_consumer_of_1_0_0_is_served_by_a_provider_of_both() {
    let view = exchanged(Protocols::Auto, Protocols::V1).await;
    assert_eq!((view.state, view.protocol, view.tries), (SessionState::Complete, Some(Protocol::V1), 1));
}

#[tokio::test]
async fn who_insists_on_2_0_0_says_that_the_peer_has_it_not() {
    let view = exchanged(Protocols::V1, Protocols::V2).await;
    let failure = view.failure.unwrap();
    assert_eq!(failure.code, FailureCode::Provider);
    assert!(failure.message.contains("/rpp/snapshots/2.0.0") && !failure.distrust, "{}", failure.message);
}

#[tokio::test]
async fn both_insist_on_2_0_0() {
    let view = exchanged(Protocols::V2, Protocols::V2).await;
    assert_eq!((view.state, view.protocol), (SessionState::Complete, Some(Protocol::V2)));
}

/// The stream is proposed together with its first frame.
async fn lazily(provider: Protocols) -> View {
    let fixture = Fixture::new(PAYLOAD);
    let behaviour = |protocols| {
        let config = speaking(protocols).with_trust(fixture.trust());
        Behaviour::new(MemoryProvider::new(fixture.clone()), config)
    };
    let provider: Peer = Node::start_lazy(behaviour(provider)).await;
    let mut consumer: Peer = Node::start_lazy(behaviour(Protocols::Auto)).await;
    consumer.connect(&provider).await;
    let them = provider.peer;
    consumer.with(move |b| b.negotiate_lazily(them)).await;
    let mut download = Download::new(them, Options::default());
    let view = download.finish(&mut consumer).await;
    assert_eq!(download.disk, fixture.payload);
    view
}

#[tokio::test]
async fn a_lazy_proposal_is_taken() {
    let view = lazily(Protocols::Auto).await;
    assert_eq!((view.state, view.protocol, view.tries), (SessionState::Complete, Some(Protocol::V2), 1));
}

#[tokio::test]
async fn a_lazy_proposal_that_is_refused_leads_to_1_0_0() {
    let view = lazily(Protocols::V1).await;
    assert_eq!((view.state, view.protocol, view.tries), (SessionState::Complete, Some(Protocol::V1), 1));
}

#[tokio::test]
async fn a_peer_that_refuses_the_stream_gets_the_same_request() {
    let fixture = Fixture::new(PAYLOAD);
    let mut raw = raw_peer().await;
    let mut consumer = consumer_with(&fixture, Config::default()).await;
    consumer.connect(&raw).await;
    let mut download = Download::new(raw.peer, Options::default());
    download.act(&consumer).await;
    let asked = raw.asked().await;
    assert!(asked.text.contains("\"plan\""), "{}", asked.text);
    raw.answer(asked, response(&fixture.plan_response(session(7)))).await;
    download.run(&mut consumer, |view| view.plan.is_some()).await;
    assert_eq!(download.view().protocol, Some(Protocol::V1));
}

#[tokio::test]
async fn a_session_goes_on_by_another_stream_on_a_new_connection() {
    let fixture = Fixture::new(PAYLOAD);
    let (provider, memory) = provider(&fixture).await;
    let mut consumer = consumer_with(&fixture, Config::default()).await;
    consumer.connect(&provider).await;
    let mut download = Download::new(provider.peer, Options { window: 2 * MIN_CHUNK_SIZE, ..Options::default() });
    download.run(&mut consumer, |view| view.verified_chunks >= 4).await;
    consumer.disconnect(provider.peer).await;
    let view = download.finish(&mut consumer).await;
    assert_eq!((view.state, view.protocol), (SessionState::Complete, Some(Protocol::V2)));
    assert_eq!(download.disk, fixture.payload);
    assert!(view.bytes_wasted <= 2 * MIN_CHUNK_SIZE);
    assert_eq!(memory.markers(consumer.peer, session(7)).unwrap().chunks, 11);
}

#[tokio::test]
async fn a_new_connection_may_bring_another_version() {
    let fixture = Fixture::new(PAYLOAD);
    let (provider, _) = provider_with(&fixture, speaking(Protocols::V1)).await;
    let mut consumer = consumer_with(&fixture, Config::default()).await;
    consumer.connect(&provider).await;
    let mut download = Download::new(provider.peer, Options { window: 2 * MIN_CHUNK_SIZE, ..Options::default() });
    download.run(&mut consumer, |view| view.verified_chunks >= 4).await;
    assert_eq!(download.view().protocol, Some(Protocol::V1));
    assert_eq!(download.finish(&mut consumer).await.state, SessionState::Complete);
}

#[tokio::test]
async fn no_more_comes_than_the_window_and_the_status_says_credit() {
    let fixture = Fixture::new(PAYLOAD);
    let (provider, _) = provider(&fixture).await;
    let mut consumer = consumer_with(&fixture, Config::default()).await;
    consumer.connect(&provider).await;
    let mut download = Download::new(provider.peer, Options { window: 3 * MIN_CHUNK_SIZE, ..Options::default() });
    download.holds_disk = true;
    let is_credit = |view: &View| view.waiting.as_ref().is_some_and(|waiting| waiting.what == WaitKind::Credit);
    download.run(&mut consumer, is_credit).await;
    let view = download.view();
    assert_eq!((view.bytes_received, view.waiting.unwrap().index), (3 * MIN_CHUNK_SIZE, Some(3)));
    download.holds_disk = false;
    let durable = Have::prefix(fixture.payload.len() as u64, download.disk.len() as u64);
    download.session.handle_durable(Instant::now(), &durable).unwrap();
    assert_eq!(download.finish(&mut consumer).await.state, SessionState::Complete);
    assert_eq!(download.disk, fixture.payload);
}

#[tokio::test]
async fn a_cancel_ends_the_stream_on_both_sides() {
    let fixture = Fixture::new(PAYLOAD);
    let (provider, _) = provider(&fixture).await;
    let mut consumer = consumer_with(&fixture, Config::default()).await;
    consumer.connect(&provider).await;
    let them = provider.peer;
    let mut download = Download::new(them, Options { window: MIN_CHUNK_SIZE, ..Options::default() });
    download.holds_disk = true;
    download.run(&mut consumer, |view| view.bytes_received > 0).await;
    while download.session.in_flight() {
        consumer.event().await.tell(&mut download.session, Instant::now()).unwrap();
    }
    consumer.with(move |b| b.cancel(them, session(7), "enough")).await.unwrap();
    let cancelled = consumer.pick(|event| matches!(event, Event::Cancelled { .. }).then_some(())).await;
    assert_eq!((cancelled, consumer.with(|b| b.load().streams_open).await), ((), 0));
    let load = provider.with(|b| b.load()).await;
    assert_eq!((load.slots, load.response_bytes_in_flight), (0, 0));
}

#[tokio::test]
async fn many_sessions_share_the_slots_and_the_bytes() {
    let fixture = Fixture::new(40 * MIN_CHUNK_SIZE as usize);
    let (provider, _) = provider(&fixture).await;
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let (fixture, peer, address) = (fixture.clone(), provider.peer, provider.address.clone());
            tokio::spawn(async move {
                let mut consumer = consumer_with(&fixture, Config::default()).await;
                consumer.call(move |swarm| swarm.add_peer_address(peer, address)).await;
                let mut download = Download::new(peer, Options { window: 4 * MIN_CHUNK_SIZE, ..Options::default() });
                let view = download.finish(&mut consumer).await;
                assert_eq!(download.disk, fixture.payload);
                view.state
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), SessionState::Complete);
    }
}

/// A raw provider, and a consumer whose session it has planned by a stream; the updates are sent.
async fn streaming(fixture: &Fixture, options: Options) -> (Node<RawStreams>, RawEnd, Peer, Download) {
    streaming_with(fixture, options, crate::support::DEADLINE).await
}

/// Like [`streaming`], with a consumer that takes a silence of `idle` for a stall.
async fn streaming_with(
    fixture: &Fixture,
    options: Options,
    idle: Duration,
) -> (Node<RawStreams>, RawEnd, Peer, Download) {
    let mut raw = RawStreams::start().await;
    let pace = PaceLimits::default().with_idle(idle);
    let mut consumer = consumer_with(fixture, Config::default().with_pace(pace)).await;
    consumer.connect(&raw).await;
    let mut download = Download::new(raw.peer, options);
    download.act(&consumer).await;
    let mut end = raw.taken().await;
    assert!(matches!(end.heard().await, Some(ConsumerFrame::Message(SnapshotsRequest::Plan { .. }))));
    end.say(&fixture.plan_response(session(7))).await;
    download.run(&mut consumer, |view| view.plan.is_some()).await;
    download.act(&consumer).await;
    assert_eq!(end.wanted().await, Wanted { chunks: Vec::new(), updates: 0..3 });
    for index in 0..3 {
        end.say(&fixture.update_response(session(7), index)).await;
    }
    download.run(&mut consumer, |view| view.state == SessionState::Streaming).await;
    download.act(&consumer).await;
    assert_eq!(end.wanted().await, Wanted { chunks: vec![0..11], updates: 0..0 });
    let (session_id, kind, index) = (session(7), ArtefactKind::LightClientUpdate, 2);
    while end.heard().await != Some(ConsumerFrame::Message(SnapshotsRequest::Ack { session_id, kind, index })) {}
    end.say(&SnapshotsResponse::Ack { session_id, kind, index }).await;
    download.run(&mut consumer, |view| view.state == SessionState::Streaming).await;
    while download.session.in_flight() {
        consumer.event().await.tell(&mut download.session, Instant::now()).unwrap();
    }
    (raw, end, consumer, download)
}

/// The error of a session whose provider sends these frames.
async fn refused(frames: &[Vec<u8>]) -> String {
    let fixture = Fixture::new(PAYLOAD);
    let options = Options { window: 3 * MIN_CHUNK_SIZE, ..Options::default() };
    let (raw, mut end, mut consumer, mut download) = streaming(&fixture, options).await;
    download.holds_disk = true;
    for frame in frames {
        end.send(frame).await;
    }
    let failure = download.finish(&mut consumer).await.failure.unwrap();
    assert!(failure.distrust && failure.message.contains(&raw.peer.to_string()), "{}", failure.message);
    failure.message
}

fn chunks(indices: &[u64]) -> Vec<Vec<u8>> {
    let fixture = Fixture::new(PAYLOAD);
    indices.iter().map(|index| chunk_frame(&fixture, *index)).collect()
}

#[tokio::test]
async fn bytes_beyond_the_credit_end_the_session() {
    let words = Box::pin(refused(&chunks(&[0, 1, 2, 3]))).await;
    assert!(words.contains("chunk 3 makes 65536 bytes, and 49152 were granted"), "{words}");
}

#[tokio::test]
async fn an_unwanted_chunk_ends_the_session() {
    let mut frame = frame::chunk_head(11, &[], 16);
    frame.extend_from_slice(&[0; 16]);
    let words = Box::pin(refused(&[frame])).await;
    assert!(words.contains("chunk 11, which was not wanted"), "{words}");
}

#[tokio::test]
async fn a_chunk_twice_ends_the_session() {
    let words = Box::pin(refused(&chunks(&[0, 0]))).await;
    assert!(words.contains("chunk 0 a second time"), "{words}");
}

#[tokio::test]
async fn a_chunk_out_of_order_ends_the_session() {
    let words = Box::pin(refused(&chunks(&[1]))).await;
    assert!(words.contains("chunk 1 before 0, which is wanted first"), "{words}");
}

#[tokio::test]
async fn a_chunk_that_does_not_verify_ends_the_session() {
    let mut frames = chunks(&[0]);
    *frames[0].last_mut().unwrap() ^= 1;
    let words = Box::pin(refused(&frames)).await;
    assert!(words.contains("chunk 0 does not verify"), "{words}");
}

#[tokio::test]
async fn a_chunk_of_another_length_ends_the_session() {
    let mut frame = frame::chunk_head(0, &[], 16);
    frame.extend_from_slice(&[0; 16]);
    let words = Box::pin(refused(&[frame])).await;
    assert!(words.contains("16 bytes instead of 16384"), "{words}");
}

#[tokio::test]
async fn an_unknown_frame_ends_the_session() {
    let words = Box::pin(refused(&[vec![0, 0, 0, 1, 0x7f]])).await;
    assert!(words.contains("unknown type 0x7f"), "{words}");
}

#[tokio::test]
async fn an_oversize_frame_ends_the_session_before_it_comes() {
    let words = Box::pin(refused(&[vec![0, 0x90, 0, 0, 0x10]])).await;
    assert!(words.contains("the bound is 8454144"), "{words}");
}

#[tokio::test]
async fn an_answer_to_nothing_ends_the_session() {
    let ack = SnapshotsResponse::Ack { session_id: session(7), kind: ArtefactKind::Chunk, index: 0 };
    let message = frame::message(&rpp_p2p::json::encode_response(&ack));
    let words = Box::pin(refused(&[message])).await;
    assert!(words.contains("does not match") || words.contains("nothing asked for"), "{words}");
}

#[tokio::test]
async fn a_chunk_in_single_bytes_is_as_good_as_any() {
    let fixture = Fixture::new(MIN_CHUNK_SIZE as usize / 4);
    let mut raw = RawStreams::start().await;
    let mut consumer = consumer_with(&fixture, Config::default()).await;
    consumer.connect(&raw).await;
    let mut download = Download::new(raw.peer, Options::default());
    download.act(&consumer).await;
    let mut end = raw.taken().await;
    let provider = tokio::spawn(async move {
        while let Some(heard) = end.heard().await {
            match heard {
                ConsumerFrame::Message(SnapshotsRequest::Plan { .. }) => {
                    end.say(&fixture.plan_response(session(7))).await;
                }
                ConsumerFrame::Message(SnapshotsRequest::Ack { session_id, kind, index }) => {
                    end.say(&SnapshotsResponse::Ack { session_id, kind, index }).await;
                }
                ConsumerFrame::Want(wanted) if !wanted.updates.is_empty() => {
                    for index in wanted.updates {
                        end.say(&fixture.update_response(session(7), index)).await;
                    }
                }
                ConsumerFrame::Credit(_) => {
                    for byte in chunk_frame(&fixture, 0) {
                        end.send(&[byte]).await;
                    }
                }
                _ => {}
            }
        }
        drop(raw);
    });
    let view = download.finish(&mut consumer).await;
    assert_eq!(view.state, SessionState::Complete);
    provider.abort();
}

#[tokio::test]
async fn a_provider_that_says_busy_is_resumed_later() {
    let fixture = Fixture::new(PAYLOAD);
    let (raw, mut end, mut consumer, mut download) = streaming(&fixture, Options::default()).await;
    end.chunk(&fixture, 0).await;
    let (session_id, message) = (session(7), "full".to_owned());
    end.say(&SnapshotsResponse::Error { session_id, code: ErrorCode::Busy, message }).await;
    download.run(&mut consumer, |view| view.state == SessionState::BackingOff).await;
    let view = download.view();
    let (code, cause) = view.trouble.unwrap();
    assert_eq!((code, view.verified_chunks), (FailureCode::Provider, 1));
    assert!(cause.contains("busy") && cause.contains(&raw.peer.to_string()), "{cause}");
}

#[tokio::test]
async fn a_stream_that_ends_early_is_a_lost_connection() {
    let fixture = Fixture::new(PAYLOAD);
    let (mut raw, mut end, mut consumer, mut download) = streaming(&fixture, Options::default()).await;
    end.chunk(&fixture, 0).await;
    end.send(&chunk_frame(&fixture, 1)[..9000]).await;
    download.run(&mut consumer, |view| view.verified_chunks == 1).await;
    drop(end);
    download.run(&mut consumer, |view| view.state == SessionState::BackingOff).await;
    assert_eq!(download.view().trouble.unwrap().0, FailureCode::Network);
    download.run(&mut consumer, |view| view.state == SessionState::Planning).await;
    let mut end = raw.taken().await;
    let resumed = end.heard().await;
    let Some(ConsumerFrame::Message(SnapshotsRequest::Resume { chunk_index, update_index, .. })) = resumed else {
        panic!("{resumed:?}")
    };
    assert_eq!((chunk_index, update_index), (1, 3));
}

#[tokio::test]
async fn a_provider_that_sends_nothing_although_it_may_is_stalled_and_named() {
    let fixture = Fixture::new(PAYLOAD);
    // This is long enough for the earlier answers, even on a busy machine.
    let idle = Duration::from_secs(5);
    let (raw, mut end, mut consumer, mut download) = streaming_with(&fixture, Options::default(), idle).await;
    end.chunk(&fixture, 0).await;
    download.run(&mut consumer, |view| view.state == SessionState::BackingOff).await;
    let view = download.view();
    let (code, cause) = view.trouble.unwrap();
    assert_eq!(code, FailureCode::Network);
    assert!(cause.contains("stalled") && cause.contains(&raw.peer.to_string()), "{cause}");
    assert!(view.waiting.unwrap().reason.contains("stalled"));
}

/// A provider, and a raw consumer that has opened session 7 by a stream.
async fn opened(fixture: &Fixture) -> (Peer, Arc<MemoryProvider>, Node<RawStreams>, RawEnd) {
    let (provider, memory) = provider(fixture).await;
    let mut raw = RawStreams::start().await;
    provider.connect(&raw).await;
    let mut end = raw.open(provider.peer).await;
    end.ask(&SnapshotsRequest::Plan { session_id: session(7), wishes: PlanWishes::default() }).await;
    assert!(matches!(end.told().await, SnapshotsResponse::Plan { .. }));
    (provider, memory, raw, end)
}

fn want(chunks: &[std::ops::Range<u64>], updates: std::ops::Range<u64>) -> Vec<u8> {
    frame::want(&Wanted { chunks: chunks.to_vec(), updates })
}

/// The provider's answer to a consumer that sends these bytes.
async fn breach(bytes: &[Vec<u8>]) -> String {
    breach_and_evidence(bytes).await.0
}

/// Like [`breach`], with the evidence against the consumer.
async fn breach_and_evidence(bytes: &[Vec<u8>]) -> (String, Option<Offence>) {
    let fixture = Fixture::new(PAYLOAD);
    let (mut provider, _, _raw, mut end) = opened(&fixture).await;
    for bytes in bytes {
        end.send(bytes).await;
    }
    let SnapshotsResponse::Error { code, message, .. } = end.told().await else { panic!("no error") };
    assert_eq!(code, ErrorCode::Invalid);
    end.ended().await;
    let offence = provider
        .pick(|event| match event {
            Event::Inbound { error: Some(error), outcome, .. } => {
                // The answer is refused, so that it counts towards a flood.
                assert_eq!(outcome, Outcome::Refused(ErrorCode::Invalid));
                Some(Evidence::of_error(&error).map(|evidence| evidence.kind))
            }
            _ => None,
        })
        .await;
    assert_eq!(provider.with(|b| b.load().inbound_failures).await, 1);
    (message, offence)
}

#[tokio::test]
async fn chunks_come_as_far_as_the_credit_goes() {
    let fixture = Fixture::new(PAYLOAD);
    let (_provider, _, _raw, mut end) = opened(&fixture).await;
    end.send(&want(&[2..4, 6..9], 1..3)).await;
    for index in 1..3 {
        assert!(matches!(end.told().await,
            SnapshotsResponse::LightClientUpdate { update_index, .. } if update_index == index));
    }
    end.send(&frame::credit(3 * MIN_CHUNK_SIZE - 1)).await;
    let index = |frame: Option<(u8, Vec<u8>)>| {
        let (kind, body) = frame.unwrap();
        assert_eq!(kind, frame::CHUNK);
        u64::from_be_bytes(*body.first_chunk().unwrap())
    };
    assert_eq!((index(end.frame().await), index(end.frame().await)), (2, 3));
    // The rest is replaced. Chunks that were already sent are not sent again.
    end.send(&want(&[3..4, 10..11], 0..0)).await;
    end.send(&frame::credit(3 * MIN_CHUNK_SIZE)).await;
    assert_eq!(index(end.frame().await), 10);
    end.ask(&SnapshotsRequest::Ack { session_id: session(7), kind: ArtefactKind::Chunk, index: 3 }).await;
    assert!(matches!(end.told().await, SnapshotsResponse::Ack { index: 3, .. }));
}

#[tokio::test]
async fn a_credit_that_falls_is_refused_and_an_offence() {
    let (words, offence) = breach_and_evidence(&[frame::credit(5), frame::credit(4)]).await;
    assert!(words.contains("the credit fell from 5 to 4 bytes"), "{words}");
    assert_eq!(offence, Some(Offence::Credit));
}

#[tokio::test]
async fn chunks_outside_the_plan_are_refused() {
    let (words, offence) = breach_and_evidence(&[want(&[9..12], 0..0)]).await;
    assert!(words.contains("chunks up to 12 are wanted, and there are 11"), "{words}");
    assert_eq!(offence, None);
}

#[tokio::test]
async fn updates_outside_the_plan_are_refused() {
    let words = breach(&[want(&[], 0..4)]).await;
    assert!(words.contains("updates up to 4 are wanted, and there are 3"), "{words}");
}

#[tokio::test]
async fn ranges_that_overlap_are_refused() {
    let words = breach(&[want(&[1..3, 2..4], 0..0)]).await;
    assert!(words.contains("overlap"), "{words}");
}

#[tokio::test]
async fn ranges_that_descend_are_refused() {
    let words = breach(&[want(&[5..6, 1..2], 0..0)]).await;
    assert!(words.contains("do not ascend"), "{words}");
}

#[tokio::test]
async fn an_unknown_frame_is_refused() {
    let words = breach(&[vec![0, 0, 0, 1, 0x10]]).await;
    assert!(words.contains("unknown type 0x10"), "{words}");
}

#[tokio::test]
async fn an_oversize_frame_is_refused_before_it_comes() {
    let words = breach(&[vec![0, 0, 0, 10, frame::CREDIT]]).await;
    assert!(words.contains("10 bytes, the bound is 9"), "{words}");
}

#[tokio::test]
async fn a_request_for_one_chunk_is_refused() {
    let request = SnapshotsRequest::Chunk { session_id: session(7), chunk_index: 0 };
    let words = breach(&[frame::message(&rpp_p2p::json::encode_request(&request))]).await;
    assert!(words.contains("chunk is no message of a stream"), "{words}");
}

#[tokio::test]
async fn a_message_of_another_session_is_refused() {
    let request = SnapshotsRequest::Plan { session_id: session(8), wishes: PlanWishes::default() };
    let words = breach(&[frame::message(&rpp_p2p::json::encode_request(&request))]).await;
    assert!(words.contains("a message of session 8 on the stream of session 7"), "{words}");
}

#[tokio::test]
async fn a_stream_begins_with_a_message() {
    let fixture = Fixture::new(PAYLOAD);
    let (provider, _) = provider(&fixture).await;
    let mut raw = RawStreams::start().await;
    provider.connect(&raw).await;
    let mut end = raw.open(provider.peer).await;
    end.send(&frame::credit(1)).await;
    let SnapshotsResponse::Error { message, .. } = end.told().await else { panic!("no error") };
    assert!(message.contains("begins with plan, resume or error, not with credit"), "{message}");
    end.ended().await;
}

#[tokio::test]
async fn a_stream_without_a_frame_is_closed() {
    let fixture = Fixture::new(PAYLOAD);
    let (mut provider, _) = provider(&fixture).await;
    let mut raw = RawStreams::start().await;
    provider.connect(&raw).await;
    let since = Instant::now();
    let mut end = raw.open(provider.peer).await;
    end.send(&[0, 0]).await;
    end.ended().await;
    assert!(since.elapsed() >= FIRST_FRAME - Duration::from_millis(100));
    let (_, words) = provider.ended().await;
    assert!(words.contains("no frame within 10 s"), "{words}");
}

#[tokio::test]
async fn what_a_limit_grants_for_a_chunk_is_not_spent_on_an_ack() {
    let fixture = Fixture::new(PAYLOAD);
    let (provider, _, _raw, mut end) = opened(&fixture).await;
    // One chunk a second.
    provider.with(|b| b.limit_upload(MIN_CHUNK_SIZE, 0)).await;
    end.send(&want(&[0..2], 0..0)).await;
    end.send(&frame::credit(2 * MIN_CHUNK_SIZE)).await;
    assert_eq!(end.frame().await.unwrap().0, frame::CHUNK);
    // When the chunk is written and its job is over, the next one waits for its grant.
    let at_work =
        |load: Load| load.response_bytes_in_flight + load.provider_jobs_running + load.provider_jobs_queued > 0;
    while at_work(provider.with(|b| b.load()).await) {
        tokio::task::yield_now().await;
    }
    // The ack arrives while the next chunk waits, and is answered before that chunk, or after it on a busy machine.
    end.ask(&SnapshotsRequest::Ack { session_id: session(7), kind: ArtefactKind::Chunk, index: 0 }).await;
    if end.frame().await.unwrap().0 == frame::MESSAGE {
        // A chunk that is not granted yet would now take hours.
        provider.with(|b| b.limit_upload(1, 0)).await;
        assert_eq!(end.frame().await.unwrap().0, frame::CHUNK);
    }
}

#[tokio::test]
async fn a_newer_stream_takes_the_session() {
    let fixture = Fixture::new(PAYLOAD);
    let (provider, _, mut raw, mut end) = opened(&fixture).await;
    let mut newer = raw.open(provider.peer).await;
    let plan_id = fixture.plan.plan_id;
    newer.ask(&SnapshotsRequest::Resume { session_id: session(7), plan_id, chunk_index: 5, update_index: 0 }).await;
    assert!(matches!(newer.told().await, SnapshotsResponse::Resume { chunk_index: 5, .. }));
    end.ended().await;
    newer.send(&want(&[5..6], 0..0)).await;
    newer.send(&frame::credit(MIN_CHUNK_SIZE)).await;
    assert_eq!(newer.frame().await.unwrap().0, frame::CHUNK);
}
