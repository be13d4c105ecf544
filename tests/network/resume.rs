//! Resume rules, over HTTP and over the runtime handle.

use crate::support::{Home, OTHER_BYTES, Running, eventually, gate::Gate, interrupt, made, only::Only, relay::Relay};
use libp2p::{Transport as _, core::upgrade::Version, multiaddr::Protocol, noise, yamux};
use rpp_p2p::SnapshotSessionId;
use rpp_runtime::{Hooks, SnapshotRuntimeError, handle::ResumeStream, hooks::TransportBuilder};
use serde_json::{Value, json};

async fn resume(node: &Running, session: u64, marker: Value) -> (u16, Value) {
    let mut resume = json!({ "session": session });
    resume.as_object_mut().unwrap().extend(marker.as_object().unwrap().clone());
    let answer = node.request("POST", "/p2p/snapshots", Some(json!({ "resume": resume }))).await;
    (answer.status, answer.json())
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_and_impossible_offsets_are_refused_naming_the_chunk_or_update() {
    let (mut home, provider) = (Home::consumer(), Home::provider());
    let (node, session, status) = interrupt(&mut home, &provider).await;
    let confirmed = status["confirmed_chunk_index"].as_u64().unwrap();
    let total = status["total_chunks"].as_u64().unwrap();
    for (marker, words) in [
        (json!({ "chunk_index": confirmed }), vec![format!("chunk {confirmed}"), (confirmed + 1).to_string()]),
        (json!({ "chunk_index": total + 1 }), vec![format!("chunk {}", total + 1), total.to_string()]),
        (json!({ "update_index": 0 }), vec!["update 0".to_owned(), "2".to_owned()]),
        (json!({ "update_index": 3 }), vec!["update 3".to_owned(), "2".to_owned()]),
        (json!({ "plan_id": "ab".repeat(32) }), vec!["plan".to_owned(), "ab".repeat(32)]),
    ] {
        let (code, body) = resume(&node, session, marker.clone()).await;
        assert_eq!(code, 500, "{marker}: {body}");
        let error = body["error"].as_str().unwrap();
        assert!(words.iter().all(|word| error.contains(word)), "{marker}: {error}");
    }
    // The session did not change.
    let after = node.get(&format!("/p2p/snapshots/{session}")).await;
    assert_eq!(after["confirmed_chunk_index"], status["confirmed_chunk_index"]);
    assert_ne!(after["state"], "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_rules_hold_over_the_runtime_handle() {
    let (mut home, provider) = (Home::consumer(), Home::provider());
    let (node, session, status) = interrupt(&mut home, &provider).await;
    let confirmed = status["confirmed_chunk_index"].as_u64().unwrap();
    let request = |chunk_index| ResumeStream {
        session: SnapshotSessionId::new(session).unwrap(),
        peer: None,
        chunk_size: None,
        plan_id: None,
        chunk_index,
        update_index: None,
    };
    let error = node.handle.resume_snapshot_stream(request(Some(confirmed))).await.unwrap_err();
    assert!(matches!(&error, SnapshotRuntimeError::ResumeMismatch { .. }), "{error}");
    assert!(error.to_string().contains(&format!("chunk {confirmed}")), "{error}");
    let unknown = ResumeStream { session: SnapshotSessionId::new(12_345).unwrap(), ..request(None) };
    let error = node.handle.resume_snapshot_stream(unknown).await.unwrap_err();
    assert!(matches!(error, SnapshotRuntimeError::UnknownSession { .. }), "{error}");
    node.handle.resume_snapshot_stream(request(Some(confirmed + 1))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_peer_or_chunk_size_than_the_sessions_is_a_mistake() {
    let (mut home, provider) = (Home::consumer(), Home::provider());
    let (node, session, _) = interrupt(&mut home, &provider).await;
    let stranger = Home::new().peer().to_string();
    for body in [
        json!({ "peer": stranger, "resume": { "session": session } }),
        json!({ "chunk_size": 65536, "resume": { "session": session } }),
    ] {
        let answer = node.request("POST", "/p2p/snapshots", Some(body)).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("peer_mismatch")), "{}", answer.body);
    }
    let answer = node.request("POST", "/p2p/snapshots", Some(json!({ "resume": { "session": 4711 } }))).await;
    assert_eq!(answer.status, 404, "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn resuming_a_complete_session_gives_its_status_and_changes_nothing() {
    let provider = Home::provider().start().await;
    let home = Home::consumer();
    let node = home.start().await;
    let session = node.stream_from(&provider).await;
    let done = node.complete(session).await;
    let (code, status) = resume(&node, session, json!({})).await;
    assert_eq!(code, 200, "{status}");
    assert_eq!((&status["state"], &status["payload_path"]), (&json!("complete"), &done["payload_path"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_session_starts_again_and_clears_its_error() {
    // The provider has another chain than the trusted one. Later the operator corrects the trust anchor.
    let provider = Home::provider_of_other_chain().start().await;
    let mut home = Home::consumer();
    let node = home.start().await;
    let answer = node.request("POST", "/p2p/snapshots", Some(json!({ "peer": provider.address.to_string() }))).await;
    assert_eq!(answer.status, 502, "{}", answer.body);
    let all = node.get("/p2p/snapshots").await;
    assert_eq!(all[0]["state"], "failed", "{all}");
    assert_eq!(all[0]["error_code"], "authentication", "{all}");
    assert_eq!(all[0]["waiting_on"]["what"], "operator", "{all}");
    let session = all[0]["session"].as_u64().unwrap();
    node.stop().await;

    home.config.trust.genesis = Some(made().other_chain.genesis);
    let node = home.start().await;
    assert_eq!(node.get(&format!("/p2p/snapshots/{session}")).await["state"], "failed", "a failure survives a restart");
    let (code, status) = resume(&node, session, json!({})).await;
    assert_eq!(code, 200, "{status}");
    let status = node.complete(session).await;
    assert!(status["error"].is_null() && status["error_code"].is_null(), "{status}");
    assert_eq!(status["root"], made().other_chain.root.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_lost_its_records_is_asked_for_the_plan_once_more() {
    let (mut home, provider) = (Home::consumer(), Home::provider());
    let (node, session, before) = interrupt(&mut home, &provider).await;
    std::fs::remove_dir_all(provider.snapshots().join("sessions")).unwrap();
    let serving = provider.start().await;
    let body = json!({ "peer": serving.address.to_string(), "resume": { "session": session } });
    assert_eq!(node.request("POST", "/p2p/snapshots", Some(body)).await.status, 200);
    let status = node.complete(session).await;
    assert_eq!(status["plan_id"], before["plan_id"]);
    // Verified bytes were kept. Only what was missing was fetched.
    let metrics = serving.request("GET", "/metrics", None).await.body;
    let prefix = "rpp_snapshot_requests_total{direction=\"received\",kind=\"chunk\",outcome=\"served\"} ";
    let served: u64 = metrics.lines().find_map(|line| line.strip_prefix(prefix)).unwrap().parse().unwrap();
    let missing = before["total_chunks"].as_u64().unwrap() - (before["confirmed_chunk_index"].as_u64().unwrap() + 1);
    assert_eq!(served, missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_is_known_streams_before_its_proof_is_checked_again() {
    let (mut home, provider) = (Home::consumer(), Home::provider());
    let (node, session, before) = interrupt(&mut home, &provider).await;
    node.stop().await;
    // The gate stands for a machine on which checking the proof takes long.
    let gate = Gate::new(rpp_runtime::Work::Proof, 0);
    let node = home.start_with(gate.hooks()).await;
    let serving = provider.start().await;
    let body = json!({ "peer": serving.address.to_string(), "resume": { "session": session } });
    assert_eq!(node.request("POST", "/p2p/snapshots", Some(body)).await.status, 200);
    let status = node.status_where(session, "the proof to be all that is missing", |status| {
        status["waiting_on"]["what"] == "proof" && status["bytes_verified"] == status["total_bytes"]
    });
    let status = status.await;
    assert_eq!((&status["state"], &status["verified"]), (&json!("verifying"), &json!(false)), "{status}");
    assert!(status["confirmed_chunk_index"].as_u64() > before["confirmed_chunk_index"].as_u64(), "{status}");
    assert!(status["payload_path"].is_null(), "{status}");
    gate.open();
    assert_eq!(node.complete(session).await["verified"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_slow_line_that_breaks_smaller_chunks_are_fetched_and_what_was_wasted_is_said() {
    const LARGE: u64 = 256 * 1024;
    let provider = Home::provider_of_other_chain().start().await;
    let relay = Relay::start(&provider.address).await;
    // 300 kbit/s.
    relay.limit(37_500);
    let mut home = Home::consumer();
    home.config.trust.genesis = Some(made().other_chain.genesis);
    home.config.snapshots.chunk_size = LARGE;
    let Some(Protocol::Tcp(port)) = relay.address.iter().last() else { panic!("{}", relay.address) };
    // The transport reaches the relay only, even if the node learns another address.
    let only: TransportBuilder = Box::new(move |keypair| {
        let noise = noise::Config::new(keypair)?;
        Ok(Only::new(port).upgrade(Version::V1).authenticate(noise).multiplex(yamux::Config::default()).boxed())
    });
    let node = home.start_with(Hooks { transport: Some(only), ..Hooks::default() }).await;
    let peer = format!("{}/p2p/{}", relay.address, provider.address.iter().last().unwrap().to_string().split_off(5));
    let session = node.stream(json!({ "peer": peer })).await;
    // The whole payload is one chunk. Twice the connection breaks in the middle of it.
    let mut wasted = 0;
    for _ in 0..2 {
        let asked = |status: &Value| status["waiting_on"]["what"] == "chunk";
        let status = node.status_where(session, "the chunk to be asked for", asked).await;
        assert_eq!(status["chunk_size"], LARGE, "{status}");
        // More bytes than the transport buffers before it decrypts them.
        let before = relay.passed();
        eventually("a part of the chunk", || async { (relay.passed() > before + 150_000).then_some(()) }).await;
        relay.cut();
        let status = node.status_where(session, "the loss", |status| {
            assert_eq!(status["bytes_verified"], 0, "{status}");
            // Wasted bytes do not count as speed.
            assert_eq!(status["verified_bytes_per_second"].as_u64().unwrap_or(0), 0, "{status}");
            status["bytes_wasted"].as_u64() > Some(wasted)
        });
        wasted = status.await["bytes_wasted"].as_u64().unwrap();
    }
    let done = node.complete(session).await;
    assert!(done["chunk_size"].as_u64() < Some(LARGE), "{done}");
    let received = json!(OTHER_BYTES as u64 + wasted);
    assert_eq!((&done["bytes_wasted"], &done["bytes_received"]), (&json!(wasted), &received), "{done}");
    assert!(wasted > 60_000, "{done}");
    assert!(
        std::fs::read(done["payload_path"].as_str().unwrap()).unwrap() == crate::support::noise(3, OTHER_BYTES),
        "other bytes"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_trust_anchor_is_gone_says_so_instead_of_waiting() {
    let (mut home, provider) = (Home::consumer(), Home::provider());
    let (node, session, _) = interrupt(&mut home, &provider).await;
    node.stop().await;
    let genesis = home.config.trust.genesis.take();
    let node = home.start().await;
    let failed = node.status_where(session, "the end", |status| status["state"] == "failed").await;
    assert_eq!(failed["error_code"], "proof", "{failed}");
    assert!(failed["error"].as_str().unwrap().contains("trust"), "{failed}");
    node.stop().await;
    // With the right anchor the session can go on.
    home.config.trust.genesis = genesis;
    let node = home.start().await;
    let serving = provider.start().await;
    let body = json!({ "peer": serving.address.to_string(), "resume": { "session": session } });
    assert_eq!(node.request("POST", "/p2p/snapshots", Some(body)).await.status, 200);
    node.complete(session).await;
}
