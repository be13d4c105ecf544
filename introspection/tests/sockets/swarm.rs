//! The figures of real connections are right: two swarms over TCP and over QUIC.

#[path = "../support/bulk.rs"]
mod bulk;

use self::bulk::{Node, PROTOCOL};
use crate::support::{Client, connections, options, soon, start, streams};
use libp2p::Multiaddr;
use rpp_introspection::proto::{
    self, Role, Status,
    client_command::{Command, Source},
    server_message::Payload,
};

const BYTES: u64 = 64 * 1024 * 1024;

/// Asserts that `counted` is within two percent of what went through.
fn assert_close(counted: u64, what: &str) {
    assert!((BYTES..=BYTES + BYTES / 50).contains(&counted), "{what}: {counted} of {BYTES}");
}

fn cum_bytes(traffic: &Option<proto::Traffic>) -> (u64, u64) {
    let traffic = traffic.as_ref().unwrap();
    (traffic.traffic_in.unwrap().cum_bytes, traffic.traffic_out.unwrap().cum_bytes)
}

/// Pulls states until one has a closed stream of the protocol and a measured latency.
async fn finished(client: &mut Client) -> (proto::Connection, proto::Stream, proto::State) {
    loop {
        client.send(Command::Request, Source::State).await;
        let state = client.next_state().await;
        let stream =
            streams(&state).find(|stream| stream.protocol == PROTOCOL && stream.status() != Status::Active).cloned();
        let measured = connections(&state).iter().find(|connection| connection.latency_ns > 0).cloned();
        if let (Some(stream), Some(connection)) = (stream, measured) {
            return (connection, stream, state);
        }
    }
}

async fn watcher(node: &Node) -> (crate::support::Server, Client) {
    let server = start(&node.registry, options());
    let mut client = server.connect().await;
    client.greeting().await;
    client.hello(10).await;
    client.command(Command::PushEnable, Source::Events).await;
    (server, client)
}

async fn next_event(client: &mut Client) -> (String, serde_json::Value) {
    loop {
        if let Payload::Event(event) = client.next().await {
            return (event.r#type.unwrap().name, serde_json::from_str(&event.content).unwrap());
        }
    }
}

async fn transfer(listen: &str, transport: &str, multiplexer: &str, encryption: &str) {
    let (mut consumer, mut provider) = (Node::new(), Node::new());
    let address = soon(provider.listen(listen)).await;
    let (provider_peer, consumer_peer) = (provider.peer(), consumer.peer());
    let (_provider_server, mut provider_client) = watcher(&provider).await;
    let (_consumer_server, mut consumer_client) = watcher(&consumer).await;
    consumer.swarm.add_peer_address(provider_peer, address.clone());
    let serving = tokio::spawn(async move { provider.serve().await });
    soon(consumer.fetch(provider_peer, BYTES)).await;
    let running = tokio::spawn(async move {
        loop {
            consumer.next().await;
        }
    });

    let (name, content) = soon(next_event(&mut consumer_client)).await;
    assert_eq!((name.as_str(), &content["role"]), ("PeerConnected", &"initiator".into()));
    assert_eq!(content["peer"], provider_peer.to_base58());

    let (connection, stream, state) = soon(finished(&mut consumer_client)).await;
    assert_eq!((connection.role(), stream.role()), (Role::Initiator, Role::Initiator));
    assert_eq!(connection.peer_id, provider_peer.to_base58());
    assert_eq!(connection.status(), Status::Active);
    assert_close(cum_bytes(&stream.traffic).0, "the consumer's stream, in");
    assert_close(cum_bytes(&connection.traffic).0, "the consumer's connection, in");
    assert_close(cum_bytes(&state.traffic).0, "the consumer's node, in");
    assert!(cum_bytes(&stream.traffic).1 < 1_000, "little went out");
    assert_eq!(stream.user_provided_tags, ["session=7"]);
    assert_eq!(stream.status(), Status::Closed);
    let attributes = connection.attribs.as_ref().unwrap();
    assert_eq!((attributes.multiplexer.as_str(), attributes.encryption.as_str()), (multiplexer, encryption));
    assert_eq!(connection.transport_id, transport.as_bytes());
    let endpoints = connection.endpoints.as_ref().unwrap();
    assert_eq!(endpoints.dst_multiaddr, address.to_string());
    let timeline = connection.timeline.unwrap();
    assert!(0 < timeline.open_ts && timeline.open_ts <= timeline.upgraded_ts && timeline.close_ts == 0);

    let (connection, stream, _) = soon(finished(&mut provider_client)).await;
    assert_eq!((connection.role(), stream.role()), (Role::Responder, Role::Responder));
    assert_eq!(connection.peer_id, consumer_peer.to_base58());
    assert_close(cum_bytes(&stream.traffic).1, "the provider's stream, out");
    assert_close(cum_bytes(&connection.traffic).1, "the provider's connection, out");
    let seen = connection.endpoints.as_ref().unwrap();
    assert_eq!(seen.src_multiaddr, address.to_string());
    if transport == "tcp" {
        // Each side's view of the two addresses is the other's.
        assert_eq!(endpoints.src_multiaddr, seen.dst_multiaddr);
    }
    assert!(seen.dst_multiaddr.parse::<Multiaddr>().is_ok());

    running.abort();
    assert!(soon(running).await.unwrap_err().is_cancelled());
    loop {
        let (name, content) = soon(next_event(&mut provider_client)).await;
        if name == "PeerDisconnected" {
            assert_eq!(content["peer"], consumer_peer.to_base58());
            break;
        }
    }
    provider_client.send(Command::Request, Source::State).await;
    soon(async {
        loop {
            let state = provider_client.next_state().await;
            let [connection] = connections(&state) else { panic!("it stays visible") };
            if connection.status() == Status::Closed {
                assert!(connection.timeline.unwrap().close_ts >= timeline.upgraded_ts);
                break;
            }
            provider_client.send(Command::Request, Source::State).await;
        }
    })
    .await;
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_mebibytes_over_tcp() {
    transfer("/ip4/127.0.0.1/tcp/0", "tcp", "/yamux/1.0.0", "/tls/1.0.0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_mebibytes_over_quic() {
    transfer("/ip4/127.0.0.1/udp/0/quic-v1", "quic-v1", "quic-v1", "/tls/1.0.0").await;
}

/// Noise alone. The caller's names are added from outside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_transport_can_be_observed() {
    use libp2p::{
        Swarm, Transport as _,
        core::{muxing::StreamMuxerBox, upgrade::Version},
        identity::Keypair,
        noise, swarm, tcp, yamux,
    };
    use rpp_introspection::{
        Registry,
        transport::{self, Names},
    };

    let node = || {
        let keypair = Keypair::generate_ed25519();
        let peer = keypair.public().to_peer_id();
        let registry = Registry::new(&peer, "0");
        let plain = tcp::tokio::Transport::default()
            .upgrade(Version::V1)
            .authenticate(noise::Config::new(&keypair).unwrap())
            .multiplex(yamux::Config::default());
        let counted = transport::observe(plain, &registry, Names::new("tcp", "/yamux/1.0.0", "/noise"))
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
            .boxed();
        let config =
            swarm::Config::with_tokio_executor().with_idle_connection_timeout(std::time::Duration::from_secs(60));
        Node { swarm: Swarm::new(counted, bulk::Behaviour::new(), peer, config), registry }
    };
    let (mut consumer, mut provider) = (node(), node());
    let address = soon(provider.listen("/ip4/127.0.0.1/tcp/0")).await;
    let from = provider.peer();
    consumer.swarm.add_peer_address(from, address);
    let serving = tokio::spawn(async move { provider.serve().await });
    soon(consumer.fetch(from, 1_000_000)).await;
    let state = consumer.registry.state();
    let [connection] = connections(&state) else { panic!("{state:?}") };
    assert_eq!(connection.attribs.as_ref().unwrap().encryption, "/noise");
    assert!(cum_bytes(&connection.traffic).0 >= 1_000_000);
    assert!(connection.endpoints.as_ref().unwrap().src_multiaddr.is_empty(), "not known from outside");
    serving.abort();
}
