//! What stays visible, and for how long.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::support::{Client, Server, connections, new_connection, options, peer, simulate, start, streams};
use rpp_introspection::{
    Registry,
    clock::Clock,
    limits::{MAX_CLOSED_STREAMS_PER_CONNECTION, MAX_CONNECTIONS},
    proto::{
        Configuration, Role, State, Status,
        client_command::{Command, Source},
    },
};

const START: u64 = 1_000_000;

fn clocked() -> (Registry, Arc<AtomicU64>) {
    let now = Arc::new(AtomicU64::new(START));
    (Registry::with_clock(&peer(), "0", Clock::manual(Arc::clone(&now))), now)
}

async fn client_with_retention(server: &Server, retention_period_ms: u64) -> Client {
    let mut client = server.connect().await;
    client.greeting().await;
    client.hello_with(Configuration { retention_period_ms, state_snapshot_interval_ms: 10 }).await;
    client
}

/// A state that was made after this call.
async fn fresh(client: &mut Client) -> State {
    for _ in 0..2 {
        client.send(Command::Request, Source::State).await;
        client.next_state().await;
    }
    client.send(Command::Request, Source::State).await;
    client.next_state().await
}

#[tokio::test]
async fn closed_items_stay_for_the_retention_of_each_client_then_go() {
    let (registry, now) = clocked();
    let server = start(&registry, options());
    let mut short = client_with_retention(&server, 5_000).await;
    let mut long = client_with_retention(&server, 20_000).await;
    let connection = registry.connection_opened(new_connection(peer()));
    let lasting = registry.connection_opened(new_connection(peer()));
    let stream = lasting.stream_opened(Role::Responder);
    now.store(START + 1_000, Relaxed);
    drop((connection, stream));
    for client in [&mut short, &mut long] {
        let state = fresh(client).await;
        assert_eq!(connections(&state).len(), 2);
        let closed = connections(&state).iter().find(|entry| entry.status() == Status::Closed).unwrap();
        assert_eq!(closed.timeline.unwrap().close_ts, START + 1_000);
        let stream = streams(&state).next().unwrap();
        assert_eq!((stream.status(), stream.timeline.unwrap().close_ts), (Status::Closed, START + 1_000));
    }
    now.store(START + 10_000, Relaxed);
    let state = fresh(&mut short).await;
    assert_eq!((connections(&state).len(), streams(&state).count()), (1, 0));
    let state = fresh(&mut long).await;
    assert_eq!((connections(&state).len(), streams(&state).count()), (2, 1));
    now.store(START + 30_000, Relaxed);
    let state = fresh(&mut long).await;
    assert_eq!((connections(&state).len(), streams(&state).count()), (1, 0));
}

#[tokio::test]
async fn nothing_is_kept_while_no_client_is_connected() {
    let (registry, _) = clocked();
    let connection = registry.connection_opened(new_connection(peer()));
    for _ in 0..10_000 {
        drop(connection.stream_opened(Role::Initiator));
        drop(registry.connection_opened(new_connection(peer())));
    }
    let state = registry.state();
    assert_eq!((connections(&state).len(), streams(&state).count()), (1, 0));
    // Streams that were retained for a client are dropped when it disconnects.
    let server = start(&registry, options());
    let mut client = client_with_retention(&server, 0).await;
    drop(connection.stream_opened(Role::Initiator));
    assert_eq!(streams(&fresh(&mut client).await).count(), 1);
    client.connection.close().await;
    server.stop().await;
    assert_eq!(streams(&registry.state()).count(), 0);
}

#[tokio::test]
async fn closed_streams_are_bounded_and_the_newest_stay() {
    let (registry, now) = clocked();
    let server = start(&registry, options());
    let mut client = client_with_retention(&server, 0).await;
    let connection = registry.connection_opened(new_connection(peer()));
    for number in 0..3 * MAX_CLOSED_STREAMS_PER_CONNECTION {
        now.store(START + number as u64, Relaxed);
        drop(connection.stream_opened(Role::Initiator));
    }
    let state = fresh(&mut client).await;
    let closed: Vec<_> = streams(&state).map(|stream| stream.timeline.unwrap().close_ts).collect();
    assert_eq!(closed.len(), MAX_CLOSED_STREAMS_PER_CONNECTION);
    assert_eq!(*closed.iter().max().unwrap(), START + 3 * MAX_CLOSED_STREAMS_PER_CONNECTION as u64 - 1);
}

#[test]
fn a_state_is_cut_at_its_bound_and_the_traffic_is_still_whole() {
    let (registry, _) = clocked();
    let open = simulate(&registry, MAX_CONNECTIONS + 10);
    let state = registry.state();
    assert_eq!(connections(&state).len(), MAX_CONNECTIONS);
    drop(open);
    let state = registry.state();
    assert_eq!(connections(&state).len(), 0);
    let received = state.traffic.unwrap().traffic_in.unwrap().cum_bytes;
    assert_eq!(received, (MAX_CONNECTIONS as u64 + 10) * 4 * 1_000_000);
}

#[test]
fn figures_and_labels_are_those_that_were_reported() {
    let (registry, now) = clocked();
    let about = new_connection(peer());
    let connection = registry.connection_opened(about.clone());
    let mut stream = connection.stream_opened(Role::Responder);
    stream.set_protocol(Some("/a/1".into()), false);
    let state = registry.state();
    let opening = streams(&state).next().unwrap();
    assert_eq!((opening.status(), opening.protocol.as_str()), (Status::Opening, "/a/1"));
    stream.set_protocol(Some("/a/1".into()), true);
    stream.received(4_000);
    stream.sent(1_000);
    now.store(START + 2_000, Relaxed);
    let state = registry.state();
    let [entry] = connections(&state) else { panic!() };
    assert_eq!(
        (entry.status(), entry.role(), entry.peer_id.as_str()),
        (Status::Active, Role::Initiator, &*about.peer.to_base58())
    );
    let endpoints = entry.endpoints.as_ref().unwrap();
    assert_eq!(
        (Some(&endpoints.src_multiaddr), Some(&endpoints.dst_multiaddr)),
        (about.local.as_ref(), about.remote.as_ref())
    );
    let attributes = entry.attribs.as_ref().unwrap();
    assert_eq!((attributes.multiplexer.as_str(), attributes.encryption.as_str()), ("/yamux/1.0.0", "/noise"));
    let stream = streams(&state).next().unwrap();
    assert_eq!((stream.status(), stream.role()), (Status::Active, Role::Responder));
    for traffic in [&entry.traffic, &stream.traffic, &state.traffic] {
        let traffic = traffic.as_ref().unwrap();
        let (inward, outward) = (traffic.traffic_in.unwrap(), traffic.traffic_out.unwrap());
        assert_eq!((inward.cum_bytes, inward.cum_packets, outward.cum_bytes), (4_000, 0, 1_000));
    }
    assert_eq!(stream.traffic.as_ref().unwrap().traffic_in.unwrap().inst_bw, 2_000, "over two seconds");
    assert_eq!((state.start_ts, state.instant_ts, state.snapshot_duration_ms), (START, START + 2_000, 2_000));
}
