//! Events over real sockets.

use std::collections::HashMap;

use crate::support::{self, Client, options, peer, registry, soon, start};
use rpp_introspection::{
    Registry,
    client::{Recorder, Recording},
    limits::EVENT_BUFFER,
    proto::{
        self, Role,
        client_command::{Command, Source},
        event_type::event_property::PropertyType,
        server_message::Payload,
    },
};
use rpp_p2p::{FailureCode, SnapshotSessionId, SnapshotStreamStatus, WaitKind, WaitingOn};
use serde_json::{Value, json};

async fn listening(registry: &Registry) -> (support::Server, Client, HashMap<String, proto::EventType>) {
    let server = start(registry, options());
    let mut client = server.connect().await;
    let (runtime, _) = client.greeting().await;
    client.hello(0).await;
    client.command(Command::PushEnable, Source::Events).await;
    let types = runtime.event_types.into_iter().map(|kind| (kind.name.clone(), kind)).collect();
    (server, client, types)
}

async fn event(client: &mut Client) -> (String, Value) {
    match client.next().await {
        Payload::Event(event) => {
            let kind = event.r#type.unwrap();
            assert!(kind.property_types.is_empty(), "the types are announced once, in the runtime");
            assert!(event.ts > 0);
            (kind.name, serde_json::from_str(&event.content).unwrap())
        }
        other => panic!("no event but {other:?}"),
    }
}

fn id(session: u64) -> SnapshotSessionId {
    SnapshotSessionId::new(session).unwrap()
}

/// As the control plane writes it.
fn view(session: u64, state: &str) -> SnapshotStreamStatus {
    serde_json::from_value(
        json!({ "session": session, "peer": peer().to_base58(), "state": state, "plan_id": "cd".repeat(32),
        "root": "ab".repeat(32), "format": "raw", "total_chunks": 10, "total_bytes": 1000, "bytes_received": 0,
        "bytes_verified": 0, "bytes_durable": 0, "verified": false, "error": null, "error_code": null,
        "payload_path": null, "started_at": "", "updated_at": "" }),
    )
    .unwrap()
}

#[tokio::test]
async fn every_event_is_typed_as_announced() {
    let registry = registry();
    let (_server, mut client, types) = listening(&registry).await;
    let (someone, address) = (peer(), "/ip4/1.2.3.4/tcp/4001".parse().unwrap());
    registry.peer_connected(&someone, &address, Role::Responder);
    registry.protocol_violation(&someone, Some(id(7)), "an answer to no question");
    let waiting_on = WaitingOn::new(WaitKind::Chunk, 14, "asked, not answered yet".into()).with(|wait| {
        wait.index = Some(4);
        wait.peer = Some(someone.to_base58());
        wait.retry_at = Some("2026-01-01T00:00:00Z".into());
    });
    registry.session(&view(7, "streaming").with(|status| status.waiting_on = Some(waiting_on)));
    registry.session(&view(7, "streaming").with(|status| {
        status.last_chunk_index = Some(3);
        status.bytes_durable = 300;
    }));
    registry.session(&view(7, "complete"));
    registry.session(&view(8, "connecting"));
    registry.session(&view(8, "failed").with(|status| {
        status.error = Some("no route".into());
        status.error_code = Some(FailureCode::Network);
    }));
    registry.peer_disconnected(&someone, &address, "closed");
    let mut seen = Vec::new();
    while seen.last().map(String::as_str) != Some("PeerDisconnected") {
        let (name, content) = event(&mut client).await;
        let announced: HashMap<_, _> =
            types[&name].property_types.iter().map(|property| (property.name.as_str(), property.r#type())).collect();
        if name == "SessionWaiting" {
            assert_eq!(content["retry_at"], 1_767_225_600_000u64, "a time, as `since` is");
        }
        for (key, value) in content.as_object().unwrap() {
            let fits = match announced[key.as_str()] {
                PropertyType::Number | PropertyType::Time => value.is_u64(),
                PropertyType::Peerid => value.as_str().unwrap().parse::<libp2p::PeerId>().is_ok(),
                PropertyType::Multiaddr => value.as_str().unwrap().parse::<libp2p::Multiaddr>().is_ok(),
                PropertyType::String => value.is_string(),
                PropertyType::Json => true,
            };
            assert!(fits, "{name}.{key} = {value}");
        }
        seen.push(name);
    }
    seen.retain(|name| name != "SessionProgress"); // held back for up to a quarter of a second
    let expected = [
        "PeerConnected",
        "ProtocolViolation",
        "SessionStarted",
        "SessionWaiting",
        "SessionCompleted",
        "SessionStarted",
        "SessionFailed",
        "PeerDisconnected",
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn progress_that_was_held_back_comes_a_moment_later() {
    let registry = registry();
    let (_server, mut client, _) = listening(&registry).await;
    registry.session(&view(7, "streaming"));
    for chunk in 0..500 {
        registry.session(&view(7, "streaming").with(|status| status.last_chunk_index = Some(chunk)));
    }
    assert_eq!(event(&mut client).await.0, "SessionStarted");
    let mut told = 0;
    loop {
        let (name, content) = event(&mut client).await;
        assert_eq!(name, "SessionProgress");
        told += 1;
        if content["last_chunk_index"] == 499 {
            break;
        }
    }
    assert!(told < 500, "{told}");
}

#[tokio::test]
async fn who_begins_to_listen_learns_of_running_sessions_and_what_they_wait_for() {
    let registry = registry();
    let waiting_on = WaitingOn::new(WaitKind::Disk, 0, "full".into());
    registry.session(&view(7, "paused").with(|status| status.waiting_on = Some(waiting_on)));
    registry.session(&view(8, "complete"));
    let (_server, mut client, _) = listening(&registry).await;
    let names = [event(&mut client).await.0, event(&mut client).await.0, event(&mut client).await.0];
    assert_eq!(names, ["SessionStarted", "SessionProgress", "SessionWaiting"]);
    client.expect_silence().await;
}

#[tokio::test]
async fn events_wait_while_paused_and_an_overflow_is_told_once() {
    let registry = registry();
    let (_server, mut client, _) = listening(&registry).await;
    client.command(Command::PushPause, Source::Events).await;
    let (someone, total) = (peer(), EVENT_BUFFER + 100);
    for number in 0..total {
        registry.protocol_violation(&someone, SnapshotSessionId::new(number as u64 + 1), "");
        if number % 100 == 0 {
            // The client's task keeps up: only its own buffer overflows.
            client.expect_silence().await;
        }
    }
    client.command(Command::PushResume, Source::Events).await;
    let discarding = |payload: Option<Payload>| matches!(payload, Some(Payload::Notice(notice)) if notice.kind() == proto::server_notice::Kind::DiscardingEvents);
    let notice = soon(client.connection.next()).await.unwrap();
    assert!(discarding(notice.message.payload.clone()));
    // The recording keeps the notice, so that a later reader knows that events are missing.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.rec");
    assert!(Recorder::open(&path).unwrap().append(&notice).unwrap());
    assert!(discarding(Recording::open(&path).unwrap().next().unwrap().unwrap().payload));
    let mut last = 0;
    for _ in 0..EVENT_BUFFER {
        let (_, content) = event(&mut client).await;
        last = content["session"].as_u64().unwrap();
    }
    assert_eq!(last, total as u64, "the newest are kept");
    client.expect_silence().await;
}

#[tokio::test]
async fn events_end_with_push_disable() {
    let registry = registry();
    let (_server, mut client, _) = listening(&registry).await;
    client.command(Command::PushDisable, Source::Events).await;
    registry.protocol_violation(&peer(), None, "x");
    client.expect_silence().await;
}
