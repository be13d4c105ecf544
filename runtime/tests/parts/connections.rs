//! Which peers a node connects to and which it refuses, and what it says when it stops.

#[path = "../../../tests/support/bound.rs"]
#[allow(dead_code)] // its filter of ports is for tests of the whole node
mod bound;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bound::Bound;
use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, Transport as _,
    core::{ConnectedPoint, muxing::StreamMuxerBox, upgrade::Version},
    identity::Keypair,
    noise, quic,
    request_response::{self, ProtocolSupport},
    swarm::{ConnectionId, NetworkBehaviour, SwarmEvent, dummy},
    tcp, tls, yamux,
};
use rpp_p2p::snapshots::Observer;
use rpp_runtime::{
    Config, ConnectionRules, Hooks, Node, NodeEvent, NodeHandle, SnapshotRuntimeError, Watcher, handle::PeerTarget,
    hooks::TransportBuilder,
};

/// Time for things that happen at once on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    handle: NodeHandle,
    _folder: tempfile::TempDir,
}

async fn start(peers: Vec<Multiaddr>, hooks: Hooks) -> Running {
    start_with(peers, hooks, |_| {}).await
}

async fn start_as(keypair: Keypair, listen: &str, peers: Vec<Multiaddr>, hooks: Hooks) -> Running {
    let listen = listen.parse().unwrap();
    launch(keypair, peers, hooks, |config| config.p2p.listen = vec![listen]).await
}

async fn start_with(peers: Vec<Multiaddr>, hooks: Hooks, change: impl FnOnce(&mut Config)) -> Running {
    launch(Keypair::generate_ed25519(), peers, hooks, change).await
}

async fn launch(keypair: Keypair, peers: Vec<Multiaddr>, hooks: Hooks, change: impl FnOnce(&mut Config)) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::defaults_in(folder.path()).unwrap();
    config.p2p.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    config.p2p.peers = peers;
    change(&mut config);
    let handle = Node::start_with(config, keypair, hooks).await.unwrap();
    Running { handle, _folder: folder }
}

impl Running {
    async fn address(&self) -> Multiaddr {
        loop {
            if let Some(address) = self.handle.identity().await.unwrap().listen.first() {
                return address.parse().unwrap();
            }
            tokio::task::yield_now().await;
        }
    }

    async fn connected(&self, peer: PeerId) {
        let mut events = self.handle.subscribe();
        let is_there = |peers: Vec<rpp_runtime::status::PeerInfo>| {
            peers.iter().any(|info| info.peer_id == peer.to_string() && info.connected)
        };
        while !is_there(self.handle.peers().await.unwrap()) {
            while !matches!(events.recv().await.unwrap(), NodeEvent::PeerConnected(connected) if connected == peer) {}
        }
    }
}

/// TCP with only one kind of encryption.
fn only<S>(security: impl FnOnce(&Keypair) -> S + Send + 'static) -> TransportBuilder
where
    S: Security,
{
    Box::new(move |keypair| Ok(security(keypair).transport()))
}

trait Security: Send + 'static {
    fn transport(self) -> libp2p::core::transport::Boxed<(PeerId, StreamMuxerBox)>;
}

macro_rules! security {
    ($($config:ty),*) => {$(
        impl Security for $config {
            fn transport(self) -> libp2p::core::transport::Boxed<(PeerId, StreamMuxerBox)> {
                tcp::tokio::Transport::new(tcp::Config::default())
                    .upgrade(Version::V1)
                    .authenticate(self)
                    .multiplex(yamux::Config::default())
                    .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
                    .boxed()
            }
        }
    )*};
}

security!(noise::Config, tls::Config);

#[tokio::test]
async fn a_node_connects_with_those_that_have_only_noise_or_only_tls() {
    for transport in
        [only(|keypair| noise::Config::new(keypair).unwrap()), only(|keypair| tls::Config::new(keypair).unwrap())]
    {
        let node = start(Vec::new(), Hooks::default()).await;
        let address = node.address().await;
        let other = start(vec![address], Hooks { transport: Some(transport), ..Hooks::default() }).await;
        let both = async {
            other.connected(node.handle.peer_id()).await;
            node.connected(other.handle.peer_id()).await;
        };
        tokio::time::timeout(PATIENCE, both).await.expect("no connection");
    }
}

#[tokio::test]
async fn a_node_connects_with_peers_of_every_kind_of_key() {
    let kinds = [
        ("secp256k1", Keypair::generate_secp256k1()),
        ("ECDSA", Keypair::generate_ecdsa()),
        ("RSA", Keypair::rsa_from_pkcs8(&mut include_bytes!("rsa-2048.pk8").to_vec()).unwrap()),
    ];
    for (kind, keypair) in kinds {
        for listen in ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"] {
            let other = start_as(keypair.clone(), listen, Vec::new(), Hooks::default()).await;
            let address = other.address().await;
            let text = address.to_string();
            assert!(text.parse::<PeerTarget>().is_ok(), "{kind}: {text}");
            let node = start(vec![address], Hooks::default()).await;
            let both = async {
                other.connected(node.handle.peer_id()).await;
                node.connected(other.handle.peer_id()).await;
            };
            tokio::time::timeout(PATIENCE, both).await.unwrap_or_else(|_| panic!("no connection: {kind} at {text}"));
        }
    }
}

#[test]
fn a_peer_whose_id_holds_no_key_that_can_be_checked_is_refused_by_name() {
    // A key type that no libp2p library has.
    let unknown = PeerId::from_bytes(&[0, 5, 8, 7, 18, 1, 0]).unwrap();
    for text in [unknown.to_string(), format!("/ip4/10.0.0.7/tcp/4001/p2p/{unknown}")] {
        let error = text.parse::<PeerTarget>().unwrap_err();
        assert!(matches!(error, SnapshotRuntimeError::UnusableKey { peer, .. } if peer == unknown), "{error}");
        assert!(error.to_string().contains(&unknown.to_string()), "{error}");
    }
}

/// The reasons of connections that closed, and whether each was the last to its peer.
#[derive(Default)]
struct Closed(Mutex<Vec<(PeerId, String, bool)>>);

impl Observer for Closed {}

impl Watcher for Closed {
    fn connection_closed(&self, peer: PeerId, _: ConnectionId, _: &ConnectedPoint, reason: &str, last: bool) {
        self.0.lock().unwrap().push((peer, reason.to_owned(), last));
    }
}

#[tokio::test]
async fn a_node_that_stops_closes_its_connections_and_says_so() {
    let closed = Arc::new(Closed::default());
    let watchers: Vec<Arc<dyn Watcher>> = vec![closed.clone()];
    let node = start(Vec::new(), Hooks { watchers, ..Hooks::default() }).await;
    let other = start(vec![node.address().await], Hooks::default()).await;
    tokio::time::timeout(PATIENCE, node.connected(other.handle.peer_id())).await.expect("no connection");
    let mut events = other.handle.subscribe();
    node.handle.shutdown().await;
    assert_eq!(*closed.0.lock().unwrap(), [(other.handle.peer_id(), "this node stops".to_owned(), true)]);
    let noticed = async {
        let peer = node.handle.peer_id();
        while !matches!(events.recv().await.unwrap(), NodeEvent::PeerDisconnected(gone) if gone == peer) {}
    };
    tokio::time::timeout(PATIENCE, noticed).await.expect("the other side has not noticed");
}

/// Collects a node's log for as long as it lives.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Message(String);
        impl tracing::field::Visit for Message {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{value:?}"));
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().unwrap().push(message.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

impl Running {
    /// Waits until a metric has this value.
    async fn metric(&self, name: &str, wanted: impl Fn(u64) -> bool) {
        let reached = async {
            loop {
                let text = self.handle.metrics_text().await.unwrap();
                let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
                if value.is_some_and(&wanted) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("waited too long for {name}"));
    }
}

/// A connection from host number `host` of 127.0.0.0/8 that sends nothing.
async fn silent(host: u8, to: &Multiaddr) -> tokio::net::TcpStream {
    Bound(host).connect(bound::socket_address(to).unwrap()).await.unwrap()
}

#[tokio::test]
async fn silent_sockets_from_one_address_keep_nobody_else_out() {
    let log = Log::default();
    // For each place that logs, tracing asks once whether anybody listens, and keeps the answer. While a process has one dispatcher, it asks
    // the thread that comes there first, which may be another test's. While it has two, it asks all of them.
    let _second = tracing::Dispatch::new(Log::default());
    let _guard = tracing::subscriber::set_default(log.clone());
    // Here the node does not drop idle handshakes, so a stranger keeps every place that it takes.
    let connections = ConnectionRules { handshake_time: PATIENCE * 10, burst: 1000, ..ConnectionRules::default() };
    let node = start(Vec::new(), Hooks { connections, ..Hooks::default() }).await;
    let address = node.address().await;
    // A place that another thread reached while this test began is asked about again.
    tracing::callsite::rebuild_interest_cache();
    let mut sockets = Vec::new();
    for _ in 0..300 {
        sockets.push(silent(2, &address).await);
    }
    let most = connections.handshakes_per_source as u64;
    node.metric("rpp_connections_refused_total{reason=\"handshakes_of_address\"}", |count| count == 300 - most).await;
    node.metric("rpp_connections{state=\"being_made\"}", |count| count == most).await;
    let honest = start(vec![address], Hooks::default()).await;
    tokio::time::timeout(PATIENCE, node.connected(honest.handle.peer_id())).await.expect("it was kept out");
    // The log mentions this once, with the stranger's address.
    let lines: Vec<_> = log.0.lock().unwrap().iter().filter(|line| line.contains("refused")).cloned().collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("from 127.0.0.2"), "{lines:?}");
    drop(sockets);
}

#[tokio::test]
async fn a_handshake_that_does_not_come_gives_its_place_back() {
    let connections = ConnectionRules { handshake_time: Duration::from_millis(200), ..ConnectionRules::default() };
    let node = start(Vec::new(), Hooks { connections, ..Hooks::default() }).await;
    let _socket = silent(2, &node.address().await).await;
    node.metric("rpp_connections{state=\"being_made\"}", |count| count == 1).await;
    node.metric("rpp_connections{state=\"being_made\"}", |count| count == 0).await;
}

/// A swarm with a key of its own that comes from `host` of 127.0.0.0/8.
async fn stranger<B: NetworkBehaviour>(host: u8, behaviour: B) -> Swarm<B> {
    let transport = |keypair: &Keypair| {
        let noise = noise::Config::new(keypair)?;
        Ok(Bound(host).upgrade(Version::V1).authenticate(noise).multiplex(yamux::Config::default()))
    };
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(transport)
        .unwrap()
        .with_other_transport(|keypair| quic::tokio::Transport::new(quic::Config::new(keypair)))
        .unwrap()
        .with_behaviour(|_| behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(PATIENCE * 10))
        .build();
    // A QUIC dial uses the socket that it listens on, and therefore that socket's address.
    swarm.listen_on(format!("/ip4/127.0.0.{host}/udp/0/quic-v1").parse().unwrap()).unwrap();
    while !matches!(swarm.select_next_some().await, SwarmEvent::NewListenAddr { .. }) {}
    swarm
}

/// Connects, and keeps the connection open in a task of its own.
async fn hold<B: NetworkBehaviour>(mut swarm: Swarm<B>, address: &Multiaddr) -> tokio::task::JoinHandle<()>
where
    Swarm<B>: Send,
    B::ToSwarm: Send,
{
    swarm.dial(address.clone()).unwrap();
    let connected = async {
        while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionEstablished { .. }) {}
        swarm
    };
    let mut swarm = tokio::time::timeout(PATIENCE, connected).await.expect("no connection");
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    })
}

#[tokio::test]
async fn held_connections_with_throw_away_keys_give_way_to_who_comes_from_elsewhere() {
    let connections = ConnectionRules { burst: 1000, ..ConnectionRules::default() };
    let node = start_with(Vec::new(), Hooks { connections, ..Hooks::default() }, |config| {
        config.p2p.max_connections = 16;
        config.p2p.listen.push("/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap());
    })
    .await;
    let addresses = loop {
        let listen = node.handle.identity().await.unwrap().listen;
        if listen.len() == 2 {
            break listen.into_iter().map(|address| address.parse().unwrap()).collect::<Vec<Multiaddr>>();
        }
        tokio::task::yield_now().await;
    };
    // There are more connections than places, first from one address, then from others.
    let mut held = Vec::new();
    for host in [2, 2, 2, 3, 4, 5] {
        for number in 0..6 {
            let swarm = stranger(host, dummy::Behaviour).await;
            held.push(hold(swarm, &addresses[number % addresses.len()]).await);
        }
        let most = if host == 2 { 4 } else { 16 };
        node.metric("rpp_connections{state=\"made\"}", |count| count <= most).await;
    }
    node.metric("rpp_connections{state=\"made\"}", |count| count == 16).await;
    let honest = start(vec![addresses[0].clone()], Hooks::default()).await;
    tokio::time::timeout(PATIENCE, node.connected(honest.handle.peer_id())).await.expect("it was kept out");
    node.metric("rpp_connections{state=\"made\"}", |count| count == 16).await;
    node.metric("rpp_connections_of_busiest_address", |count| count <= 4).await;
    held.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Waits until the node has closed its connections. Returns the reason of the last one.
async fn reason(closed: &Closed) -> String {
    let noticed = async {
        loop {
            if let Some((_, reason, _)) = closed.0.lock().unwrap().last() {
                break reason.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, noticed).await.expect("the connection stays")
}

#[tokio::test]
async fn a_connection_to_a_peer_that_does_not_know_ping_closes_when_it_is_idle() {
    let closed = Arc::new(Closed::default());
    let connections = ConnectionRules {
        idle: Duration::from_secs(2),
        ping: Duration::from_millis(200),
        quiet: PATIENCE * 10,
        ..ConnectionRules::default()
    };
    let node = start(Vec::new(), Hooks { watchers: vec![closed.clone()], connections, ..Hooks::default() }).await;
    let held = hold(stranger(2, dummy::Behaviour).await, &node.address().await).await;
    let reason = reason(&closed).await;
    assert!(reason.contains("keep-alive"), "{reason}");
    held.abort();
}

/// A behaviour that answers nothing.
#[derive(Clone, Default)]
struct Mute;

impl request_response::Codec for Mute {
    type Protocol = StreamProtocol;
    type Request = ();
    type Response = ();

    async fn read_request<T: Send>(&mut self, _: &StreamProtocol, _: &mut T) -> std::io::Result<()> {
        Ok(())
    }

    async fn read_response<T: Send>(&mut self, _: &StreamProtocol, _: &mut T) -> std::io::Result<()> {
        Ok(())
    }

    async fn write_request<T: Send>(&mut self, _: &StreamProtocol, _: &mut T, (): ()) -> std::io::Result<()> {
        Ok(())
    }

    async fn write_response<T: Send>(&mut self, _: &StreamProtocol, _: &mut T, (): ()) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_peer_that_only_opens_streams_has_no_place_for_ever() {
    let closed = Arc::new(Closed::default());
    let connections =
        ConnectionRules { idle: PATIENCE * 10, quiet: Duration::from_secs(1), ..ConnectionRules::default() };
    let node = start(Vec::new(), Hooks { watchers: vec![closed.clone()], connections, ..Hooks::default() }).await;
    let protocols = [(StreamProtocol::new("/something/else"), ProtocolSupport::Full)];
    let behaviour = request_response::Behaviour::<Mute>::new(protocols, request_response::Config::default());
    let mut swarm = stranger(2, behaviour).await;
    swarm.dial(node.address().await).unwrap();
    let peer = node.handle.peer_id();
    let busy = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tokio::select! {
                _ = tick.tick() => drop(swarm.behaviour_mut().send_request(&peer, ())),
                _ = swarm.select_next_some() => {}
            }
        }
    });
    assert_eq!(reason(&closed).await, "it was closed");
    node.metric("rpp_connections_closed_total{reason=\"idle\"}", |count| count > 0).await;
    busy.abort();
}
