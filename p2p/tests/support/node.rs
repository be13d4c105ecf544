//! A swarm that runs on a task of its own. Its events can be read, and closures can be run on it.

use std::{collections::HashSet, fmt::Debug, time::Duration};

use futures::{AsyncRead, AsyncWrite, StreamExt as _};
use libp2p::{
    Multiaddr, PeerId, Swarm, Transport,
    core::{transport::MemoryTransport, upgrade::Version},
    identity::Keypair,
    noise,
    swarm::{self, NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

/// The most time that anything may take, even on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

type Command<B> = Box<dyn FnOnce(&mut Swarm<B>) + Send>;

/// One running swarm.
pub struct Node<B: NetworkBehaviour> {
    pub peer: PeerId,
    pub address: Multiaddr,
    commands: mpsc::Sender<Command<B>>,
    events: mpsc::Receiver<B::ToSwarm>,
    connected: watch::Receiver<HashSet<PeerId>>,
    task: JoinHandle<()>,
}

impl<B> Node<B>
where
    B: NetworkBehaviour + Send,
    B::ToSwarm: Debug + Send,
{
    /// With a fresh identity, on a fresh memory address.
    pub async fn start(behaviour: B) -> Self {
        Self::negotiating(behaviour, Version::V1).await
    }

    /// With `V1Lazy` for substreams, as a node should.
    pub async fn start_lazy(behaviour: B) -> Self {
        Self::negotiating(behaviour, Version::V1Lazy).await
    }

    /// On TCP and with this identity, so that a test can put something into the line.
    pub async fn start_tcp(behaviour: B, identity: Keypair) -> Self {
        let tcp = tcp::tokio::Transport::new(tcp::Config::default());
        Self::over(tcp, "/ip4/127.0.0.1/tcp/0", behaviour, identity, Version::V1).await
    }

    async fn negotiating(behaviour: B, version: Version) -> Self {
        Self::over(MemoryTransport::default(), "/memory/0", behaviour, Keypair::generate_ed25519(), version).await
    }

    async fn over<T>(transport: T, listen: &str, behaviour: B, identity: Keypair, version: Version) -> Self
    where
        T: Transport<Output: AsyncRead + AsyncWrite + Send + Unpin + 'static, Error: Send + Sync + 'static>,
        T: Send + Unpin + 'static,
        T::Dial: Send,
        T::ListenerUpgrade: Send,
    {
        let transport = transport
            .upgrade(Version::V1)
            .authenticate(noise::Config::new(&identity).unwrap())
            .multiplex(yamux::Config::default())
            .boxed();
        let config = swarm::Config::with_tokio_executor().with_substream_upgrade_protocol_override(version);
        let mut swarm = Swarm::new(transport, behaviour, identity.public().to_peer_id(), config);
        swarm.listen_on(listen.parse().unwrap()).unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        let peer = *swarm.local_peer_id();
        let (commands, inbox) = mpsc::channel(64);
        let (outbox, events) = mpsc::channel(4096);
        let (connections, connected) = watch::channel(HashSet::new());
        let task = tokio::spawn(run(swarm, inbox, outbox, connections));
        Self { peer, address, commands, events, connected, task }
    }

    /// Runs `act` on the swarm.
    pub async fn call<R: Send + 'static>(&self, act: impl FnOnce(&mut Swarm<B>) -> R + Send + 'static) -> R {
        let (reply, answer) = oneshot::channel();
        let command: Command<B> = Box::new(move |swarm| drop(reply.send(act(swarm))));
        assert!(self.commands.send(command).await.is_ok(), "the swarm's task is gone");
        within(answer).await.unwrap()
    }

    /// The next event of the behaviour.
    pub async fn event(&mut self) -> B::ToSwarm {
        within(self.events.recv()).await.unwrap()
    }

    /// The next event that `pick` accepts. Other events are dropped.
    pub async fn pick<R>(&mut self, mut pick: impl FnMut(B::ToSwarm) -> Option<R>) -> R {
        loop {
            if let Some(picked) = pick(self.event().await) {
                return picked;
            }
        }
    }

    /// Dials `other` and waits until both sides know.
    pub async fn connect<O>(&self, other: &Node<O>)
    where
        O: NetworkBehaviour + Send,
        O::ToSwarm: Debug + Send,
    {
        self.know(other).await;
        let peer = other.peer;
        self.call(move |swarm| swarm.dial(peer).unwrap()).await;
        self.connected_to(other.peer, true).await;
        other.connected_to(self.peer, true).await;
    }

    /// Learns the address of `other`, so that a request can dial it.
    pub async fn know<O>(&self, other: &Node<O>)
    where
        O: NetworkBehaviour + Send,
        O::ToSwarm: Debug + Send,
    {
        let (peer, address) = (other.peer, other.address.clone());
        self.call(move |swarm| swarm.add_peer_address(peer, address)).await;
    }

    /// Closes all connections to `peer` and waits until this side knows.
    pub async fn disconnect(&self, peer: PeerId) {
        // An error means that there is no connection, which is fine.
        let _ = self.call(move |swarm| swarm.disconnect_peer_id(peer)).await;
        self.connected_to(peer, false).await;
    }

    /// Waits until `peer` is connected, or until it is not.
    pub async fn connected_to(&self, peer: PeerId, connected: bool) {
        let mut watch = self.connected.clone();
        within(watch.wait_for(|peers| peers.contains(&peer) == connected)).await.unwrap();
    }
}

impl<B: NetworkBehaviour> Drop for Node<B> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Awaits `future`. Fails the test after the deadline.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.expect("nothing happened within the deadline")
}

async fn run<B>(
    mut swarm: Swarm<B>,
    mut inbox: mpsc::Receiver<Command<B>>,
    outbox: mpsc::Sender<B::ToSwarm>,
    connected: watch::Sender<HashSet<PeerId>>,
) where
    B: NetworkBehaviour + Send,
    B::ToSwarm: Debug + Send,
{
    loop {
        tokio::select! {
            Some(command) = inbox.recv() => command(&mut swarm),
            event = swarm.select_next_some() => match event {
                SwarmEvent::Behaviour(event) => assert!(outbox.try_send(event).is_ok(), "events nobody reads"),
                SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                    connected.send_if_modified(|peers| peers.insert(peer_id));
                }
                SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => {
                    connected.send_if_modified(|peers| peers.remove(&peer_id));
                }
                _ => {}
            },
        }
    }
}
