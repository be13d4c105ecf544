//! Who a node connects with, and what it says when it stops.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId, Transport as _,
    core::{ConnectedPoint, muxing::StreamMuxerBox, upgrade::Version},
    identity::Keypair,
    noise,
    swarm::ConnectionId,
    tcp, tls, yamux,
};
use rpp_p2p::snapshots::Observer;
use rpp_runtime::{
    Config, Hooks, Node, NodeEvent, NodeHandle, SnapshotRuntimeError, Watcher, handle::PeerTarget,
    hooks::TransportBuilder,
};

/// For what comes at once; a loaded machine may take its time.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    handle: NodeHandle,
    _folder: tempfile::TempDir,
}

async fn start(peers: Vec<Multiaddr>, hooks: Hooks) -> Running {
    start_as(Keypair::generate_ed25519(), "/ip4/127.0.0.1/tcp/0", peers, hooks).await
}

async fn start_as(keypair: Keypair, listen: &str, peers: Vec<Multiaddr>, hooks: Hooks) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::defaults_in(folder.path()).unwrap();
    config.p2p.listen = vec![listen.parse().unwrap()];
    config.p2p.peers = peers;
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

/// TCP with a single encryption.
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
    // A key of a type that nobody has.
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
