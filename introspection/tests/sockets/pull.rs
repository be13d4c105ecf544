//! The pull rules, one test each, over real sockets.

use crate::support::{Client, Server, connections, options, registry, simulate, start};
use rpp_introspection::proto::{
    client_command::{Command, Source},
    server_message::Payload,
};

/// A client that asks for a state every 10 ms and has received `count` states.
async fn let_states_pass(server: &Server, count: usize) -> Client {
    let mut other = server.connect().await;
    other.greeting().await;
    other.hello(10).await;
    other.command(Command::PushEnable, Source::State).await;
    for _ in 0..count {
        other.state().await;
    }
    other
}

#[tokio::test]
async fn the_runtime_comes_first_then_a_state() {
    let registry = registry();
    let _open = simulate(&registry, 3);
    let server = start(&registry, options());
    let mut client = server.connect().await;
    let (runtime, state) = client.greeting().await;
    assert_eq!((runtime.implementation.as_str(), runtime.version.as_str()), ("rpp-node", "0.0.0-test"));
    assert_eq!(connections(&state).len(), 3);
    server.stop().await;
}

#[tokio::test]
async fn who_never_says_ready_gets_nothing_after_the_first_state() {
    let server = start(&registry(), options());
    let mut silent = server.connect().await;
    silent.greeting().await;
    let_states_pass(&server, 20).await;
    silent.hello(0).await; // panics if a state stands before the response
    silent.expect_silence().await;
}

#[tokio::test]
async fn a_state_is_sent_once_however_often_ready_is_said() {
    let server = start(&registry(), options());
    let mut client = server.connect().await;
    let (_, first) = client.greeting().await;
    // The newest state was sent and the next one is two seconds away, so nothing is due.
    for _ in 0..3 {
        client.ready().await;
    }
    client.hello(0).await;
    // Several ready messages count once: the next state comes, later ones do not.
    let mut other = let_states_pass(&server, 1).await;
    let second = client.state().await;
    assert!(second.instant_ts > first.instant_ts);
    for _ in 0..20 {
        other.state().await;
    }
    client.expect_silence().await;
}

#[tokio::test]
async fn who_skips_states_gets_the_newest_and_no_backlog() {
    let server = start(&registry(), options());
    let mut client = server.connect().await;
    let (_, first) = client.greeting().await;
    let mut other = let_states_pass(&server, 20).await;
    let newest_seen = other.state().await;
    client.ready().await;
    let state = client.state().await;
    assert!(state.instant_ts >= newest_seen.instant_ts && newest_seen.instant_ts > first.instant_ts);
    client.hello(0).await;
    client.expect_silence().await;
}

#[tokio::test]
async fn a_client_pulls_at_its_own_pace_with_texts_alone() {
    let server = start(&registry(), options());
    let _other = let_states_pass(&server, 1).await;
    let mut client = server.connect().await;
    let (_, first) = client.greeting().await;
    let mut last = first.instant_ts;
    for _ in 0..10 {
        client.ready().await;
        let state = client.state().await;
        assert!(state.instant_ts > last, "a new one each time");
        last = state.instant_ts;
    }
}

#[tokio::test]
async fn a_request_is_answered_at_once_and_by_a_state_that_was_not_sent() {
    let server = start(&registry(), options());
    let mut client = server.connect().await;
    let (_, first) = client.greeting().await;
    client.hello(10).await;
    assert!(client.command(Command::Request, Source::State).await.error.is_empty());
    let second = client.state().await;
    assert!(second.instant_ts > first.instant_ts);
    client.expect_silence().await;
    assert!(client.command(Command::Request, Source::Runtime).await.error.is_empty());
    assert!(matches!(client.next().await, Payload::Runtime(_)));
    assert!(!client.command(Command::Request, Source::Events).await.error.is_empty());
}

#[tokio::test]
async fn a_standing_ready_brings_every_state_until_it_is_paused_or_ended() {
    let server = start(&registry(), options());
    let mut other = let_states_pass(&server, 1).await;
    let mut client = server.connect().await;
    client.greeting().await;
    client.hello(0).await;
    client.command(Command::PushEnable, Source::State).await;
    for _ in 0..5 {
        client.state().await;
    }
    for command in [Command::PushPause, Command::PushPause] {
        drain_until_response(&mut client, command, Source::State).await;
    }
    for _ in 0..10 {
        other.state().await;
    }
    // Still paused: the response comes with no state before it.
    client.command(Command::PushEnable, Source::State).await;
    client.command(Command::PushResume, Source::State).await;
    client.state().await;
    drain_until_response(&mut client, Command::PushDisable, Source::State).await;
    for _ in 0..10 {
        other.state().await;
    }
    client.expect_silence().await;
}

/// States may already be in flight.
async fn drain_until_response(client: &mut Client, command: Command, source: Source) {
    let id = client.send(command, source).await;
    loop {
        match client.next().await {
            Payload::Response(response) => {
                assert_eq!(response.id, id);
                return;
            }
            Payload::State(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_new_client_gets_a_state_that_is_young_enough() {
    let registry = registry();
    let server = start(&registry, options());
    let mut first = server.connect().await;
    let (_, state) = first.greeting().await;
    let mut second = server.connect().await;
    let (_, same) = second.greeting().await;
    assert_eq!(state.instant_ts, same.instant_ts, "it is younger than the interval of 2 s");
}
