//! A served registry, simulated connections, and clients over real sockets.
#![allow(dead_code, unreachable_pub)] // each test file uses a part of it

use std::{future::Future, net::SocketAddr, time::Duration};

use libp2p::{PeerId, identity::Keypair};
use rpp_introspection::{
    NewConnection, OpenConnection, OpenStream, Options, Registry,
    client::{ClientError, Connection},
    proto::{
        self, CommandResponse, Configuration, Role, State,
        client_command::{Command, Source},
        server_message::Payload,
    },
    serve,
};
use secrecy::SecretString;
use tokio::{sync::oneshot, task::JoinHandle};

pub const TOKEN: &str = "a-token-of-more-than-16-bytes";

/// Time for what must happen, also on a loaded machine.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it did not happen within a minute")
}

pub fn peer() -> PeerId {
    Keypair::generate_ed25519().public().to_peer_id()
}

pub fn registry() -> Registry {
    Registry::new(&peer(), "0.0.0-test")
}

pub struct Server {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// States as often as every 10 ms.
pub fn options() -> Options {
    Options::new(TOKEN.into()).with_min_interval_ms(10)
}

pub fn start(registry: &Registry, options: Options) -> Server {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let registry = registry.clone();
    let task = tokio::spawn(async move {
        serve(listener, registry, options, async { drop(stopped.await) }).await.unwrap();
    });
    Server { address, stop: Some(stop), task }
}

impl Server {
    pub fn url(&self) -> String {
        format!("ws://{}/introspect", self.address)
    }

    pub async fn connect(&self) -> Client {
        let token = SecretString::from(TOKEN);
        Client { connection: soon(Connection::open(&self.url(), &token)).await.unwrap() }
    }

    pub async fn stop(mut self) {
        drop(self.stop.take());
        soon(&mut self.task).await.unwrap();
    }
}

pub struct Client {
    pub connection: Connection,
}

impl Client {
    pub async fn next(&mut self) -> Payload {
        self.try_next().await.unwrap()
    }

    pub async fn try_next(&mut self) -> Result<Payload, ClientError> {
        let part = soon(self.connection.next()).await?;
        assert_eq!(part.message.version.unwrap().version, 1);
        Ok(part.message.payload.unwrap())
    }

    /// Takes the runtime and the first state.
    pub async fn greeting(&mut self) -> (proto::Runtime, State) {
        let Payload::Runtime(runtime) = self.next().await else { panic!("no runtime") };
        (runtime, self.state().await)
    }

    /// The next message, which must be a state.
    pub async fn state(&mut self) -> State {
        match self.next().await {
            Payload::State(state) => state,
            other => panic!("no state but {other:?}"),
        }
    }

    /// The next state, whatever comes before it.
    pub async fn next_state(&mut self) -> State {
        loop {
            if let Payload::State(state) = self.next().await {
                return state;
            }
        }
    }

    /// The next message, which must be a response.
    pub async fn response(&mut self) -> CommandResponse {
        match self.next().await {
            Payload::Response(response) => response,
            other => panic!("no response but {other:?}"),
        }
    }

    pub async fn ready(&mut self) {
        self.connection.ready().await.unwrap();
    }

    pub async fn send(&mut self, command: Command, source: Source) -> u64 {
        self.connection.command(command, source).await.unwrap()
    }

    /// Sends a command and takes its response, which must come next.
    pub async fn command(&mut self, command: Command, source: Source) -> CommandResponse {
        let id = self.send(command, source).await;
        let response = self.response().await;
        assert_eq!(response.id, id);
        response
    }

    /// Sends the hello with the wanted interval (0: the node's).
    pub async fn hello(&mut self, interval_ms: u64) -> Configuration {
        let asked = Configuration { retention_period_ms: 0, state_snapshot_interval_ms: interval_ms };
        self.hello_with(asked).await
    }

    pub async fn hello_with(&mut self, asked: Configuration) -> Configuration {
        self.connection.hello(asked).await.unwrap();
        self.response().await.effective_config.unwrap()
    }

    /// Sends a command and fails if anything comes before its response.
    pub async fn expect_silence(&mut self) {
        self.command(Command::PushDisable, Source::State).await;
    }
}

pub fn new_connection(peer: PeerId) -> NewConnection {
    NewConnection {
        peer,
        role: Role::Initiator,
        transport: "tcp".into(),
        local: Some("/ip4/127.0.0.1/tcp/50000".into()),
        remote: Some("/ip4/127.0.0.1/tcp/4001".into()),
        opened_ms: 1,
        multiplexer: "/yamux/1.0.0".into(),
        encryption: "/noise".into(),
    }
}

/// `count` connections with four streams each, which have moved some bytes.
pub fn simulate(registry: &Registry, connections: usize) -> Vec<(OpenConnection, Vec<OpenStream>)> {
    let peer = peer();
    let open = |_| {
        let connection = registry.connection_opened(new_connection(peer));
        let streams = (0..4).map(|stream| {
            let mut open = connection.stream_opened(Role::Initiator);
            open.set_protocol(Some("/rpp/snapshots/1.0.0".into()), true);
            open.set_tags(&["session=7".to_owned(), format!("chunk={stream}")].into());
            open.received(1_000_000);
            open.sent(1_000);
            open
        });
        let streams = streams.collect();
        (connection, streams)
    };
    (0..connections).map(open).collect()
}

pub fn connections(state: &State) -> &[proto::Connection] {
    &state.subsystems.as_ref().unwrap().connections
}

pub fn streams(state: &State) -> impl Iterator<Item = &proto::Stream> {
    connections(state).iter().flat_map(|connection| &connection.streams.as_ref().unwrap().streams)
}
