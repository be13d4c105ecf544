//! Streaming a snapshot, end to end: HTTP, network, persistence, verifier.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use crate::support::{
    CHUNK, FIRST_BYTES, Home, Running, SECOND_BYTES, TOKEN, eventually, http, made, noise, rogue::Rogue, with_space,
};
use rpp_p2p::SnapshotsRequest;
use rpp_runtime::{NodeEvent, config::Protocol, store::Space};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_streamed_verified_and_put_in_place() {
    let provider = Home::provider().start().await;
    let consumer = Home::consumer();
    let node = consumer.start().await;
    let mut events = node.handle.subscribe();
    let session = node.stream(json!({ "peer": provider.address.to_string(), "height": 100 })).await;
    let status = node.complete(session).await;

    let total_chunks = (FIRST_BYTES as u64).div_ceil(CHUNK);
    assert_eq!(status["verified"], true);
    assert_eq!(status["root"], made().first.root.to_string());
    assert_eq!(status["height"], 100);
    assert_eq!(status["total_bytes"], FIRST_BYTES);
    assert_eq!(status["total_chunks"], total_chunks);
    assert_eq!(status["last_chunk_index"], total_chunks - 1);
    assert_eq!(status["confirmed_chunk_index"], total_chunks - 1);
    assert_eq!(status["total_updates"], 2, "the snapshot's checkpoint and the tip's");
    assert_eq!(status["confirmed_update_index"], 1);
    assert_eq!(status["bytes_durable"], FIRST_BYTES);
    assert_eq!(status["protocol"], "/rpp/snapshots/2.0.0");
    assert!(status["error"].is_null() && status["error_code"].is_null() && status["waiting_on"].is_null(), "{status}");
    let path = status["payload_path"].as_str().unwrap();
    assert!(fs::read(path).unwrap() == noise(1, FIRST_BYTES), "the payload differs");

    // The head is the chain's tip, which is newer than the snapshot.
    let head = node.get("/p2p/head").await;
    assert_eq!((head["height"].as_u64(), head["step"].as_u64()), (Some(110), Some(2)));
    assert_eq!(head["commitment"], made().second.commitment.to_string());

    let mut progressed = false;
    loop {
        match events.recv().await.unwrap() {
            NodeEvent::SnapshotStreamProgress(_) => progressed = true,
            NodeEvent::SnapshotStreamCompleted(status) => {
                assert!(status.verified && progressed);
                break;
            }
            NodeEvent::SnapshotStreamFailed(status) => panic!("{:?}", status.error),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_use_the_newest_protocol_that_both_may_speak() {
    for (offers, asks, used) in [
        (Protocol::Auto, Protocol::V1, Some("1.0.0")),
        (Protocol::V1, Protocol::Auto, Some("1.0.0")),
        (Protocol::V2, Protocol::Auto, Some("2.0.0")),
        (Protocol::Auto, Protocol::V2, Some("2.0.0")),
        (Protocol::V1, Protocol::V2, None),
    ] {
        let (mut provider, mut consumer) = (Home::provider(), Home::consumer());
        provider.config.snapshots.protocol = offers;
        consumer.config.snapshots.protocol = asks;
        let (provider, node) = (provider.start().await, consumer.start().await);
        let Some(used) = used else {
            let body = json!({ "peer": provider.address.to_string() });
            let answer = node.request("POST", "/p2p/snapshots", Some(body)).await.body;
            assert!(answer.contains("does not offer /rpp/snapshots/2.0.0"), "{answer}");
            continue;
        };
        let session = node.stream_from(&provider).await;
        let status = node.complete(session).await;
        assert_eq!(status["protocol"], format!("/rpp/snapshots/{used}"), "{offers:?} {asks:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_highest_snapshot_is_the_default_and_a_root_can_be_named() {
    let provider = Home::provider().start().await;
    let node = Home::consumer();
    let node = node.start().await;
    let session = node.stream_from(&provider).await;
    let status = node.complete(session).await;
    assert_eq!((status["height"].as_u64(), status["total_bytes"].as_u64()), (Some(110), Some(SECOND_BYTES as u64)));

    let root = made().first.root.to_string();
    let session = node.stream(json!({ "peer": provider.address.to_string(), "root": root })).await;
    assert_eq!(node.complete(session).await["root"], root);

    // A payload that is stored already is complete after the authority check; no chunk is fetched.
    let session = node.stream(json!({ "peer": provider.address.to_string(), "root": root })).await;
    assert_eq!(node.complete(session).await["root"], root);
    assert_eq!(node.get("/p2p/snapshots").await.as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_becomes_a_mirror_with_the_same_proofs() {
    let origin = Home::provider().start().await;
    let mirror = Home::consumer();
    let mirror = mirror.start().await;
    let session = mirror.stream_from(&origin).await;
    mirror.complete(session).await;
    origin.stop().await;

    let node = Home::consumer();
    let node = node.start().await;
    let session = node.stream_from(&mirror).await;
    let status = node.complete(session).await;
    assert!(fs::read(status["payload_path"].as_str().unwrap()).unwrap() == noise(2, SECOND_BYTES));
    let offered = &mirror.get("/p2p/identity").await["snapshots"];
    assert_eq!(offered[0]["root"], made().second.root.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_after_both_nodes_were_stopped() {
    let provider = Home::provider();
    let serving = provider.start().await;
    let home = Home::consumer();
    let node = home.start().await;
    let session = node.stream(json!({ "peer": serving.address.to_string(), "height": 100 })).await;
    let before = node
        .status_where(session, "some durable chunks", |status| status["confirmed_chunk_index"].as_u64() > Some(3))
        .await;
    let confirmed = before["confirmed_chunk_index"].as_u64().unwrap();
    serving.stop().await;
    node.stop().await;

    // The provider comes back on another port, and the operator names its new address.
    let node = home.start().await;
    let status = node.get(&format!("/p2p/snapshots/{session}")).await;
    assert!(status["confirmed_chunk_index"].as_u64().unwrap() >= confirmed, "{status}");
    assert_eq!(status["root"], made().first.root.to_string());
    let serving = provider.start().await;
    let answer = node
        .request(
            "POST",
            "/p2p/snapshots",
            Some(json!({ "peer": serving.address.to_string(), "resume": { "session": session } })),
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let status = node.complete(session).await;
    assert!(fs::read(status["payload_path"].as_str().unwrap()).unwrap() == noise(1, FIRST_BYTES));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_removes_status_record_and_partial_payload_for_good() {
    let provider = Home::provider().start().await;
    let home = Home::consumer();
    let node = home.start().await;
    let session = node.stream(json!({ "peer": provider.address.to_string(), "height": 100 })).await;
    node.status_where(session, "a durable chunk", |status| status["confirmed_chunk_index"].is_u64()).await;
    let path = format!("/p2p/snapshots/{session}");
    assert_eq!(node.request("DELETE", &path, None).await.status, 204);
    assert_eq!(node.request("DELETE", &path, None).await.status, 404);
    assert_eq!(node.request("GET", &path, None).await.status, 404);
    let partial = home.snapshots().join("partial").join(made().first.root.to_string());
    assert!(!partial.exists());
    node.stop().await;
    let node = home.start().await;
    assert_eq!(node.request("GET", &path, None).await.status, 404);
    assert!(node.get("/p2p/snapshots").await.as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_identity_health_and_metrics_tell_the_truth() {
    let home = Home::provider();
    let provider = home.start().await;
    let node = Home::consumer();
    let node = node.start().await;
    assert_eq!(node.request("GET", "/p2p/head", None).await.status, 404);
    let session = node.stream_from(&provider).await;
    node.complete(session).await;

    let row = eventually("the peer to be identified", || async {
        let peers = node.get("/p2p/peers").await;
        let row = peers.as_array().unwrap().iter().find(|row| row["peer_id"] == home.peer().to_string()).cloned()?;
        (row["agent"].is_string() && row["rtt_ms"].is_number()).then_some(row)
    })
    .await;
    assert_eq!(row["connected"], true);
    for version in ["1.0.0", "2.0.0"] {
        assert!(row["protocols"].as_array().unwrap().contains(&json!(format!("/rpp/snapshots/{version}"))), "{row}");
    }

    for path in ["/healthz", "/readyz"] {
        assert_eq!(http::request(node.http, "GET", path, None, None).await.status, 200);
    }
    let metrics = node.request("GET", "/metrics", None).await.body;
    let chunks = (SECOND_BYTES as u64).div_ceil(CHUNK);
    for line in [
        format!("rpp_snapshot_requests_total{{direction=\"sent\",kind=\"chunk\",outcome=\"served\"}} {chunks}"),
        "rpp_sessions{state=\"complete\"} 1".to_owned(),
        "rpp_head_height 110".to_owned(),
        "rpp_durable_lag_bytes 0".to_owned(),
    ] {
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    assert!(metrics.contains("libp2p_"), "libp2p's own metrics are missing");
    let served = provider.request("GET", "/metrics", None).await.body;
    assert!(
        served.contains(&format!(
            "rpp_snapshot_requests_total{{direction=\"received\",kind=\"chunk\",outcome=\"served\"}} {chunks}"
        )),
        "{served}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_nothing_is_told_or_done() {
    let home = Home::consumer();
    let node = home.start().await;
    for (method, path) in [("GET", "/p2p/snapshots"), ("POST", "/p2p/snapshots"), ("GET", "/metrics")] {
        for token in [None, Some("another-token-of-some-length")] {
            let answer = http::request(node.http, method, path, token, None).await;
            assert_eq!(answer.status, 401, "{method} {path}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_was_removed_is_fetched_at_once_and_named_where_it_is() {
    let provider = Home::provider().start().await;
    let mut home = Home::consumer();
    let node = home.start().await;
    let root = made().first.root;
    let body = json!({ "peer": provider.address.to_string(), "root": root.to_string() });
    let first = node.stream(body.clone()).await;
    node.complete(first).await;
    // Another process removes the payload, as `rpp-node remove` does, and the node has not looked at the store since.
    let store = rpp_runtime::store::Store::open(&home.snapshots()).unwrap();
    store.remove(&root, false).unwrap();
    let second = node.stream(body.clone()).await;
    let done = node.complete(second).await;
    assert!(fs::read(done["payload_path"].as_str().unwrap()).unwrap() == noise(1, FIRST_BYTES));

    store.look().unwrap();
    store.remove(&root, false).unwrap();
    for session in [first, second] {
        let status = node.status_where(session, "the path to go", |status| status["payload_path"].is_null()).await;
        assert_eq!(status["state"], "complete", "{status}");
    }
    let third = node.stream(body).await;
    node.complete(third).await;
    node.stop().await;

    // The data folder is moved while the node is down.
    let moved = home.config.data_dir.with_file_name("moved");
    fs::rename(&home.config.data_dir, &moved).unwrap();
    home.config.data_dir = moved.clone();
    let node = home.start().await;
    let path = moved.join("snapshots/store").join(root.to_string()).join("payload");
    let status = node.complete(third).await;
    assert_eq!(status["payload_path"], path.to_str().unwrap(), "{status}");
}

/// A provider that never answers for one chunk, so that the session stays alive.
async fn lasting() -> Rogue {
    Rogue::silent_at(|request| matches!(request, SnapshotsRequest::Chunk { chunk_index: 3, .. })).await
}

/// The waiting session checks every two seconds whether the other one has ended. A check that changes nothing causes no
/// event and begins no new wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_waits_for_another_one_waits_without_a_break() {
    let rogue = lasting().await;
    let provider = Home::provider().start().await;
    let node = Home::consumer().start().await;
    let root = made().first.root.to_string();
    let holder = node.stream(json!({ "peer": rogue.address.to_string(), "root": root })).await;
    node.status_where(holder, "its payload to be open", |status| status["state"] == "streaming").await;
    let session = node.stream(json!({ "peer": provider.address.to_string(), "root": root })).await;
    let status = node.status_where(session, "two more looks", |status| {
        status["waiting_on"]["what"] == "session" && status["waiting_on"]["since_ms"].as_u64() > Some(4500)
    });
    assert_eq!(status.await["waiting_on"]["peer"], holder.to_string());
    let events = node.get("/p2p/events").await;
    let states = events.as_array().unwrap().iter().filter(|event| event["session"] == session);
    let states: Vec<_> = states.filter_map(|event| event["state"].as_str()).collect();
    let paused = states.iter().filter(|state| **state == "paused").count();
    assert_eq!((paused, states.last()), (1, Some(&"paused")), "{states:?}");
    // The session goes on when the other one ends.
    assert_eq!(node.request("DELETE", &format!("/p2p/snapshots/{holder}"), None).await.status, 204);
    node.complete(session).await;
}

async fn post(node: &Running, key: &str, body: Value) -> http::Answer {
    http::request_with(node.http, "POST", "/p2p/snapshots", Some(TOKEN), &[("idempotency-key", key)], Some(body)).await
}

async fn sessions(node: &Running) -> Vec<u64> {
    node.get("/p2p/snapshots").await.as_array().unwrap().iter().map(|one| one["session"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_post_is_answered_with_the_session_that_is_alive() {
    let rogue = lasting().await;
    let home = Home::consumer();
    let node = home.start().await;
    let body = json!({ "peer": rogue.address.to_string(), "height": 100 });
    // The same holds while the first session's record is not written yet, and for another chunk size.
    let other = json!({ "peer": rogue.peer.to_string(), "height": 100, "chunk_size": 32768 });
    let (first, second) = tokio::join!(node.stream(body.clone()), node.stream(body.clone()));
    assert_eq!((first, node.stream(other).await), (second, first));
    assert_eq!(sessions(&node).await, [first]);
    let root = json!({ "peer": rogue.address.to_string(), "root": made().first.root.to_string() });
    let another = node.stream(root).await;
    assert_ne!(another, first, "another request is another session");
    // The same request makes a new session only after the first one has ended or was deleted.
    assert_eq!(node.request("DELETE", &format!("/p2p/snapshots/{first}"), None).await.status, 204);
    let new = node.stream(body).await;
    assert!(![first, another].contains(&new));
    assert_eq!(sessions(&node).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_names_its_session_after_its_end_and_a_restart() {
    let provider = Home::provider().start().await;
    let home = Home::consumer();
    let mut node = home.start().await;
    let body = json!({ "peer": provider.address.to_string(), "height": 110 });
    let first = post(&node, "monday", body.clone()).await.json()["session"].as_u64().unwrap();
    node.complete(first).await;
    for restarted in [false, true] {
        if restarted {
            node.stop().await;
            node = home.start().await;
        }
        let answer = post(&node, "monday", body.clone()).await;
        assert_eq!((answer.status, &answer.json()["session"]), (200, &json!(first)), "{}", answer.body);
        let answer = post(&node, "monday", json!({ "peer": provider.address.to_string(), "height": 100 })).await;
        assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("idempotency_key_reused")));
    }
    // A request with another key, or without one, is a new request.
    let second = post(&node, "tuesday", body.clone()).await.json()["session"].as_u64().unwrap();
    assert_ne!(second, first);
    node.complete(second).await;
    assert_eq!(post(&node, "tuesday", body.clone()).await.json()["session"], second);
    let third = node.stream(body.clone()).await;
    assert!(![first, second].contains(&third));
    let answer = post(&node, "", body).await;
    assert_eq!((answer.status, &answer.json()["code"]), (400, &json!("invalid_idempotency_key")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_finished_record_gives_way_and_a_live_one_never() {
    let provider = Home::provider().start().await;
    let mut home = Home::consumer();
    home.config.snapshots.max_sessions = 2;
    let node = home.start().await;
    let fetch = json!({ "peer": provider.address.to_string(), "height": 110 });
    let mut done = Vec::new();
    for _ in 0..3 {
        let session = node.stream(fetch.clone()).await;
        node.complete(session).await;
        done.push(session);
        let mut kept: Vec<_> = done.iter().rev().take(2).copied().collect();
        kept.sort_unstable();
        assert_eq!(sessions(&node).await, kept);
    }
    let payload = home.snapshots().join("store").join(made().second.root.to_string()).join("payload");
    assert!(payload.is_file(), "what was fetched stays");
    let rogue = lasting().await;
    let mut alive = Vec::new();
    for height in [json!({ "height": 100 }), json!({ "root": made().first.root.to_string() })] {
        let mut body = json!({ "peer": rogue.address.to_string() });
        body.as_object_mut().unwrap().extend(height.as_object().unwrap().clone());
        alive.push(node.stream(body).await);
    }
    alive.sort_unstable();
    assert_eq!(sessions(&node).await, alive);
    let answer = node.request("POST", "/p2p/snapshots", Some(fetch)).await;
    assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("too_many_sessions")), "{}", answer.body);
    assert_eq!(sessions(&node).await, alive);
    node.stop().await;
    let node = home.start().await;
    assert_eq!(sessions(&node).await, alive, "those that gave way are gone for good");
}

/// A disk whose flushes take a second, until a chunk was written during one of them.
#[derive(Debug, Default)]
struct Slow {
    state: Mutex<Flushing>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Flushing {
    writes: u64,
    flushes: u64,
    wrote_meanwhile: bool,
}

impl Space for Slow {
    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(1 << 40)
    }

    fn before_write(&self, _: u64) -> io::Result<()> {
        self.state.lock().unwrap().writes += 1;
        self.changed.notify_all();
        Ok(())
    }

    fn before_sync(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.flushes += 1;
        if !state.wrote_meanwhile {
            let before = state.writes;
            let waited = self.changed.wait_timeout_while(state, Duration::from_secs(1), |now| now.writes == before);
            let (mut state, waited) = waited.unwrap();
            state.wrote_meanwhile = !waited.timed_out();
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_group_is_written_while_one_is_made_durable() {
    let provider = Home::provider().start().await;
    let mut consumer = Home::consumer();
    consumer.config.snapshots.ack_bytes = 4 * CHUNK;
    // Two windows may be not durable, so there is room for a write during a flush.
    consumer.config.snapshots.window = 40 * CHUNK;
    let disk = Arc::new(Slow::default());
    let node = consumer.start_with(with_space(disk.clone())).await;
    let session = node.stream(json!({ "peer": provider.address.to_string(), "height": 100 })).await;
    let status = node.complete(session).await;
    assert_eq!(status["bytes_durable"], FIRST_BYTES);
    let state = disk.state.lock().unwrap();
    assert!(state.wrote_meanwhile, "{state:?}");
}
