//! Strangers from one address (127.0.0.2), against a consumer from another (127.0.0.1).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, StreamProtocol, Swarm, SwarmBuilder, Transport as _,
    core::upgrade::Version,
    futures::StreamExt as _,
    identity::Keypair,
    multiaddr::Protocol,
    noise,
    request_response::{self, Event, Message, ProtocolSupport},
    swarm::{NetworkBehaviour, SwarmEvent, dummy},
    yamux,
};
use rpp_p2p::{PlanWishes, SnapshotSessionId, SnapshotsRequest, json};
use tokio::{io::AsyncReadExt as _, task::JoinSet};

use crate::support::{
    self, CHUNK, DEADLINE, Home, Running,
    bound::{Bound, socket_address},
    eventually, made,
    rogue::Plain,
};

/// The strangers' host number.
const ELSEWHERE: u8 = 2;

/// Strangers that run until this is dropped.
struct Strangers {
    _tasks: JoinSet<()>,
}

/// Sockets that send nothing. Each is opened again when it is closed.
fn silent_sockets(count: usize, address: &Multiaddr) -> Strangers {
    let to = socket_address(address).unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        tasks.spawn(async move {
            loop {
                if let Ok(mut socket) = Bound(ELSEWHERE).connect(to).await {
                    let _ = socket.read(&mut [0]).await;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
    Strangers { _tasks: tasks }
}

fn swarm<B: NetworkBehaviour>(behaviour: B) -> Swarm<B> {
    let transport = |keypair: &Keypair| {
        let noise = noise::Config::new(keypair)?;
        Ok(Bound(ELSEWHERE).upgrade(Version::V1).authenticate(noise).multiplex(yamux::Config::default()))
    };
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(transport)
        .unwrap()
        .with_behaviour(|_| behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(DEADLINE * 10))
        .build()
}

/// Connections with throw-away keys that do nothing. Each is opened again when it is closed.
fn held_connections(count: usize, address: &Multiaddr) -> Strangers {
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let (mut swarm, address) = (swarm(dummy::Behaviour), address.clone());
        tasks.spawn(async move {
            loop {
                let _ = swarm.dial(address.clone());
                while !matches!(
                    swarm.select_next_some().await,
                    SwarmEvent::ConnectionClosed { .. } | SwarmEvent::OutgoingConnectionError { .. }
                ) {}
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
    }
    Strangers { _tasks: tasks }
}

/// Sessions with throw-away keys that never idle: each takes a slot as soon as it gets one, and repeats its requests.
fn held_slots(count: usize, address: &Multiaddr, opened: Arc<AtomicUsize>) -> Strangers {
    let Some(Protocol::P2p(provider)) = address.iter().last() else { panic!("{address}") };
    let session_id = SnapshotSessionId::new(1).unwrap();
    let wishes = PlanWishes { chunk_size: Some(CHUNK), height: Some(100), ..PlanWishes::default() };
    let plan = json::encode_request(&SnapshotsRequest::Plan { session_id, wishes });
    let chunk = json::encode_request(&SnapshotsRequest::Chunk { session_id, chunk_index: 0 });
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let protocols = [(StreamProtocol::new(rpp_p2p::PROTOCOL_V1), ProtocolSupport::Full)];
        let config = request_response::Config::default();
        let mut swarm = swarm(request_response::Behaviour::with_codec(Plain, protocols, config));
        swarm.add_peer_address(provider, address.clone());
        let (plan, chunk, opened) = (plan.clone(), chunk.clone(), Arc::clone(&opened));
        tasks.spawn(async move {
            swarm.behaviour_mut().send_request(&provider, plan.clone());
            let mut open = false;
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::Behaviour(Event::Message { message: Message::Response { response, .. }, .. }) => {
                        if !open && String::from_utf8_lossy(&response).contains("\"type\":\"plan\"") {
                            open = true;
                            opened.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    SwarmEvent::Behaviour(Event::OutboundFailure { .. }) => {}
                    _ => continue,
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
                let next = if open { chunk.clone() } else { plan.clone() };
                swarm.behaviour_mut().send_request(&provider, next);
            }
        });
    }
    Strangers { _tasks: tasks }
}

impl Running {
    async fn metric(&self, name: &str, wanted: impl Fn(u64) -> bool) {
        eventually(name, || async {
            let text = self.handle.metrics_text().await.unwrap();
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            value.is_some_and(&wanted).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_with_throw_away_keys_from_one_address_leave_slots_for_others() {
    let mut home = Home::provider();
    home.config.snapshots.max_inbound_sessions = 8;
    let provider = home.start().await;
    let opened = Arc::default();
    let strangers = held_slots(16, &provider.address, Arc::clone(&opened));
    eventually("half of the slots to be theirs", || async { (opened.load(Ordering::Relaxed) >= 4).then_some(()) })
        .await;
    provider
        .metric("rpp_snapshot_requests_total{direction=\"received\",kind=\"plan\",outcome=\"busy\"}", |n| n > 0)
        .await;
    let consumer = Home::consumer().start().await;
    let session = consumer.stream_from(&provider).await;
    consumer.complete(session).await;
    provider.metric("rpp_provider_slots{state=\"taken\"}", |taken| taken <= 5).await;
    drop(strangers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_from_elsewhere_streams_beside_silent_sockets_and_held_connections() {
    let provider = Home::provider().start().await;
    let _silent = silent_sockets(70, &provider.address);
    provider.metric("rpp_connections_refused_total{reason=\"handshakes_of_address\"}", |count| count > 0).await;
    let _held = held_connections(20, &provider.address);
    let consumer = Home::consumer().start().await;
    let session = consumer.stream_from(&provider).await;
    consumer.complete(session).await;
}

/// Bytes of the payload of [`the_bar`].
const LARGE: usize = 128 << 20;

/// The time until the plan arrives, and the bytes per second from then on.
async fn measure(provider: &Running) -> (Duration, f64) {
    let mut home = Home::consumer();
    home.config.snapshots.chunk_size = 1 << 20;
    let consumer = home.start().await;
    let asked = Instant::now();
    let session = consumer.stream_from(provider).await;
    consumer.status_where(session, "the plan", |status| status["total_bytes"].as_u64() > Some(0)).await;
    let planned = asked.elapsed();
    let begun = Instant::now();
    let all = Some(LARGE as u64);
    consumer.status_where(session, "all bytes", |status| status["bytes_verified"].as_u64() >= all).await;
    let speed = LARGE as f64 / begun.elapsed().as_secs_f64();
    consumer.stop().await;
    (planned, speed)
}

/// `cargo test --release --test network the_bar -- --ignored --nocapture`; see `docs/security.md`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; wants a quiet machine"]
async fn the_bar() {
    made();
    let home = Home::large(support::noise(5, LARGE));
    let provider = home.start().await;
    let (alone, speed) = measure(&provider).await;
    println!("{:24} plan after {alone:>9.1?}, {:6.1} MiB/s", "nobody else", speed / f64::from(1 << 20));
    let mut held = true;
    for what in ["300 silent sockets", "256 held connections", "64 sessions"] {
        let opened = Arc::default();
        let strangers = match what {
            "300 silent sockets" => silent_sockets(300, &provider.address),
            "256 held connections" => held_connections(256, &provider.address),
            _ => held_slots(64, &provider.address, Arc::clone(&opened)),
        };
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (plan, beside) = measure(&provider).await;
        println!(
            "{what:24} plan after {plan:>9.1?}, {:6.1} MiB/s, {:.2} of it",
            beside / f64::from(1 << 20),
            beside / speed
        );
        held &= plan <= Duration::from_secs(2) && beside >= speed / 2.0;
        drop(strangers);
    }
    assert!(held, "a plan took more than 2 s, or half of the speed was lost");
}
