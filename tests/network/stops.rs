//! In each test a session stops for a real reason. One `GET` must then say what it waits for, on whom, since when, and
//! what to do.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    sync::{Arc, Mutex},
};

use crate::support::{
    CHUNK, FIRST_BYTES, Home, Running, TOKEN, eventually,
    gate::{Gate, Trip},
    http, made, noise,
    port::reserved_port,
    rogue::{Rogue, Said, flipped},
};
use libp2p::Multiaddr;
use rpp_p2p::{ArtefactKind, ErrorCode, SnapshotsRequest, SnapshotsResponse};
use rpp_runtime::{Hooks, Work, store::Quota};
use serde_json::{Value, json};

/// Starts a session for the first snapshot, and returns its number even if it has failed already.
async fn begin(node: &Running, provider: &Multiaddr) -> u64 {
    begin_with(node, json!({ "peer": provider.to_string(), "height": 100 })).await
}

async fn begin_with(node: &Running, body: Value) -> u64 {
    let known = sessions(node).await;
    node.request("POST", "/p2p/snapshots", Some(body)).await;
    let new: Vec<_> = sessions(node).await.into_iter().filter(|session| !known.contains(session)).collect();
    assert_eq!(new.len(), 1);
    new[0]
}

async fn sessions(node: &Running) -> Vec<u64> {
    node.get("/p2p/snapshots").await.as_array().unwrap().iter().map(|one| one["session"].as_u64().unwrap()).collect()
}

/// Waits until the session waits for `what` and its reason has these words. The status must also say on whom and since when.
async fn waits(node: &Running, session: u64, what: &str, whom: Option<String>, words: &[&str]) -> Value {
    let status = node
        .status_where(session, &format!("the wait for {what}, saying {words:?}"), |status| {
            let wait = &status["waiting_on"];
            let reason = wait["reason"].as_str().unwrap_or_default();
            wait["what"] == what && words.iter().all(|word| reason.contains(word))
        })
        .await;
    explained(&status, whom, words);
    status
}

fn explained(status: &Value, whom: Option<String>, words: &[&str]) {
    let wait = &status["waiting_on"];
    assert!(wait["since_ms"].is_u64(), "{status}");
    assert_eq!(wait["peer"].as_str().map(str::to_owned), whom, "{status}");
    let reason = wait["reason"].as_str().unwrap();
    for word in words {
        assert!(reason.contains(word), "{word:?} is not said: {status}");
    }
}

/// Waits until the session has failed with `code`. The error must have these words, and the advice must contain `advice`.
async fn fails(node: &Running, session: u64, code: &str, words: &[&str], advice: &str) -> Value {
    let resume = format!("{{\"resume\":{{\"session\":{session}}}}}");
    failed(node, session, code, words, &[advice, &resume, "tries again", "DELETE"]).await
}

/// The same for a failure after which the session may not be resumed with its provider.
async fn fails_for_good(node: &Running, session: u64, code: &str, words: &[&str]) -> Value {
    let adds = format!("`rpp-node sources {session} --add-peer PEER`");
    let advice = ["broke the protocol", "add another source", &adds, "adds a source", "DELETE"];
    let status = failed(node, session, code, words, &advice).await;
    let advice = status["waiting_on"]["reason"].as_str().unwrap();
    assert!(!advice.contains("resume") && !advice.contains("tries again"), "{advice}");
    status
}

async fn failed(node: &Running, session: u64, code: &str, words: &[&str], advice: &[&str]) -> Value {
    let status = node.status_where(session, "the failure", |status| status["state"] == "failed").await;
    assert_eq!(status["error_code"], code, "{status}");
    assert_eq!(status["waiting_on"]["what"], "operator", "{status}");
    explained(&status, None, advice);
    let error = status["error"].as_str().unwrap();
    for word in words {
        assert!(error.contains(word), "{word:?} is not said: {status}");
    }
    assert_eq!(status["verified"], false);
    assert!(status["payload_path"].is_null());
    status
}

async fn cancel(node: &Running, session: u64) {
    assert_eq!(node.request("DELETE", &format!("/p2p/snapshots/{session}"), None).await.status, 204);
}

/// A consumer whose session has some durable chunks and is blocked by its own disk. A test can stop its provider
/// meanwhile.
async fn held_half_way(provider: &Running) -> (Gate, Home, Running, u64) {
    let gate = Gate::new(Work::Write, 40);
    let mut home = Home::consumer();
    home.config.snapshots.ack_bytes = 4 * CHUNK;
    home.config.snapshots.window = 8 * CHUNK;
    let node = home.start_with(gate.hooks()).await;
    let session = begin(&node, &provider.address).await;
    // At most two windows are not durable.
    node.status_where(session, "durable chunks", |status| status["confirmed_chunk_index"].as_u64() >= Some(20)).await;
    eventually("the gate", || async { gate.is_reached().then_some(()) }).await;
    (gate, home, node, session)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_provider_is_named_with_what_it_owes() {
    type Silence = fn(&SnapshotsRequest) -> bool;
    let cases: [(&str, Option<u64>, Silence); 5] = [
        ("plan", None, |request| matches!(request, SnapshotsRequest::Plan { .. })),
        ("light_client_update", Some(1), |request| {
            matches!(request, SnapshotsRequest::LightClientUpdate { update_index: 1, .. })
        }),
        ("chunk", Some(3), |request| matches!(request, SnapshotsRequest::Chunk { chunk_index: 3, .. })),
        ("ack", Some(1), |request| {
            matches!(request, SnapshotsRequest::Ack { kind: ArtefactKind::LightClientUpdate, .. })
        }),
        ("ack", Some(FIRST_BYTES as u64 / CHUNK), |request| {
            let last = FIRST_BYTES as u64 / CHUNK;
            matches!(request, SnapshotsRequest::Ack { kind: ArtefactKind::Chunk, index, .. } if *index == last)
        }),
    ];
    for (what, index, silence) in cases {
        let rogue = Rogue::silent_at(silence).await;
        let home = Home::consumer();
        let node = home.start().await;
        let session = begin(&node, &rogue.address).await;
        let words = ["not answered yet", "given up after 30 s", &rogue.peer.to_string()];
        let status = node
            .status_where(session, "the wait", |status| {
                status["waiting_on"]["what"] == what && status["waiting_on"]["index"].as_u64() == index
            })
            .await;
        explained(&status, Some(rogue.peer.to_string()), &words);
        assert!(status["error"].is_null(), "{status}");
        // `since_ms` keeps growing.
        let since = status["waiting_on"]["since_ms"].as_u64();
        node.status_where(session, "time to pass", |status| status["waiting_on"]["since_ms"].as_u64() > since).await;
        if what == "chunk" {
            assert_eq!((&status["state"], &status["last_chunk_index"]), (&json!("streaming"), &json!(2)));
        }
    }
}

/// The only test that waits for a time-out of the protocol: 30 s for a request.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_answered_in_time_is_tried_again() {
    let rogue = Rogue::silent_at(|request| matches!(request, SnapshotsRequest::Chunk { chunk_index: 3, .. })).await;
    let home = Home::consumer();
    let node = home.start().await;
    let session = begin(&node, &rogue.address).await;
    let peer = rogue.peer.to_string();
    waits(&node, session, "chunk", Some(peer.clone()), &["chunk 3"]).await;
    let status = waits(&node, session, "retry", Some(peer), &["no answer in time", "failed"]).await;
    assert_eq!((&status["error_code"], &status["last_chunk_index"]), (&json!("network"), &json!(2)), "{status}");
    rogue.now(|_, honest| honest.into());
    node.complete(session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_does_not_answer_and_one_that_refuses_are_told_apart() {
    // This listener accepts connections and never writes to them.
    let mute = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = |port: u16, peer| -> Multiaddr { format!("/ip4/127.0.0.1/tcp/{port}/p2p/{peer}").parse().unwrap() };
    let home = Home::consumer();
    let node = home.start().await;
    let peer = Home::new().peer();
    let session = begin(&node, &at(mute.local_addr().unwrap().port(), peer)).await;
    let words = ["connecting to", &peer.to_string(), "check its address"];
    let status = waits(&node, session, "connection", Some(peer.to_string()), &words).await;
    assert_eq!(status["state"], "connecting");
    cancel(&node, session).await;

    let nobody = reserved_port();
    let peer = Home::new().peer();
    let session = begin(&node, &at(nobody, peer)).await;
    let words = ["cannot be reached", "refused", "at once by a resume", &peer.to_string()];
    let status = waits(&node, session, "retry", Some(peer.to_string()), &words).await;
    assert_eq!((&status["state"], &status["error_code"]), (&json!("backing_off"), &json!("network")));
    assert!(status["waiting_on"]["retry_at"].is_string(), "{status}");
    // `since_ms` starts anew with each try; `stalled_ms` counts over all tries.
    let status = node.status_where(session, "a second try", |status| status["tries"].as_u64() >= Some(3)).await;
    assert!(status["stalled_ms"].as_u64() > status["waiting_on"]["since_ms"].as_u64(), "{status}");
    assert!(status["stalled_ms"].as_u64() >= Some(1000), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn patience_that_ends_is_a_network_failure() {
    let nobody = reserved_port();
    let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/{nobody}/p2p/{}", Home::new().peer()).parse().unwrap();
    let mut home = Home::consumer();
    home.config.snapshots.give_up_after_s = 1;
    let node = home.start().await;
    let session = begin(&node, &address).await;
    fails(&node, session, "network", &["no help for 1 s", "cannot be reached"], "when a source of it can be reached")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_stopped_or_gone_is_tried_again() {
    let served = Home::provider();
    let provider = served.start().await;
    let (gate, _home, node, session) = held_half_way(&provider).await;
    provider.stop().await;
    let status = waits(&node, session, "retry", Some(served.peer().to_string()), &["connection was lost"]).await;
    assert_eq!(status["error_code"], "network", "{status}");
    gate.open();
    // The provider comes back. The status then shows nothing of the earlier failure.
    let provider = served.start().await;
    let body = json!({ "peer": provider.address.to_string(), "resume": { "session": session } });
    assert_eq!(node.request("POST", "/p2p/snapshots", Some(body)).await.status, 200);
    let done = node.complete(session).await;
    assert!(done["error"].is_null() && done["waiting_on"].is_null(), "{done}");
    assert!(done["tries"].is_null() && done["stalled_ms"].is_null(), "{done}");

    let rogue = Rogue::silent_at(|request| matches!(request, SnapshotsRequest::Chunk { chunk_index: 5, .. })).await;
    let home = Home::consumer();
    let node = home.start().await;
    let session = begin(&node, &rogue.address).await;
    let peer = rogue.peer.to_string();
    waits(&node, session, "chunk", Some(peer.clone()), &["chunk 5"]).await;
    drop(rogue);
    let status = waits(&node, session, "retry", Some(peer), &["failed", "look at"]).await;
    assert_eq!((&status["error_code"], &status["last_chunk_index"]), (&json!("network"), &json!(4)), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saturated_provider_says_so_and_takes_the_session_later() {
    let mut served = Home::provider();
    served.config.snapshots.max_inbound_sessions = 1;
    // The only slot is busy: its session waits for a chunk, so the slot is not given to another session.
    let gate = Gate::of_reads(40);
    let provider = served.start_with(gate.hooks()).await;
    let first_home = Home::consumer();
    let first = first_home.start().await;
    let first_session = begin(&first, &provider.address).await;
    eventually("the gate", || async { gate.is_reached().then_some(()) }).await;
    waits(&first, first_session, "chunk", Some(served.peer().to_string()), &[]).await;
    let home = Home::consumer();
    let second = home.start().await;
    let session = begin(&second, &provider.address).await;
    let words = ["refused plan (busy)", "slots are taken", "retry later"];
    let status = waits(&second, session, "retry", Some(served.peer().to_string()), &words).await;
    assert_eq!((&status["state"], &status["error_code"]), (&json!("backing_off"), &json!("provider")));
    gate.open();
    first.complete(first_session).await;
    second.complete(session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_has_rotated_its_snapshot_is_told_from_one_that_forgot() {
    let served = Home::provider();
    let provider = served.start().await;
    let (gate, _home, node, session) = held_half_way(&provider).await;
    provider.stop().await;
    waits(&node, session, "retry", Some(served.peer().to_string()), &[]).await;
    gate.open();
    fs::remove_dir_all(served.snapshots().join("store").join(made().first.root.to_string())).unwrap();
    let provider = served.start().await;
    let body = json!({ "peer": provider.address.to_string(), "resume": { "session": session } });
    node.request("POST", "/p2p/snapshots", Some(body)).await;
    let words = ["not_found", "no longer offers this snapshot", &served.peer().to_string()];
    let status = fails(&node, session, "provider", &words, "add another source").await;
    assert!(status["confirmed_chunk_index"].as_u64() >= Some(20), "what is durable is kept: {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_pauses_with_the_numbers_and_goes_on_when_there_is_room() {
    let provider = Home::provider().start().await;
    let mut home = Home::consumer();
    home.config.snapshots.ack_bytes = 16 * CHUNK;
    let quota = Arc::new(Quota::new(1_000_000));
    let filling = Arc::clone(&quota);
    let fill = Trip::new(Work::Write, 60, move || filling.set_free(0));
    let hooks = Hooks { space: Some(quota.clone()), watchers: vec![fill], ..Hooks::default() };
    let node = home.start_with(hooks).await;
    let session = begin(&node, &provider.address).await;
    // The disk is full before the first chunk.
    let words = ["the disk is full", "1000000 are free", "make room", "by itself"];
    let status = waits(&node, session, "disk", None, &words).await;
    assert_eq!((&status["state"], &status["error_code"]), (&json!("paused"), &json!("storage")), "{status}");
    assert!(status["last_chunk_index"].is_null(), "{status}");
    // The disk fills up in the middle of the download.
    quota.set_free(1 << 40);
    let status = node
        .status_where(session, "the disk to fill", |status| {
            status["state"] == "paused" && status["confirmed_chunk_index"].is_u64()
        })
        .await;
    explained(&status, None, &["the disk is full", "make room"]);
    assert_eq!(status["error_code"], "storage", "{status}");
    quota.set_free(1 << 40);
    let done = node.complete(session).await;
    assert!(done["error"].is_null(), "{done}");
    assert!(fs::read(done["payload_path"].as_str().unwrap()).unwrap() == noise(1, FIRST_BYTES));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_and_the_proof_show_as_what_they_are() {
    for (work, what, state, words) in [
        (Work::Proof, "proof", "verifying", ["recursive proof", "this machine"]),
        (Work::Open, "disk", "verifying", ["being opened", "being checked"]),
        (Work::Sync, "credit", "streaming", ["not durable yet", "slow disk"]),
        (Work::Place, "disk", "verifying", ["verified and durable", "put in its place"]),
    ] {
        let provider = Home::provider().start().await;
        let gate = Gate::new(work, 0);
        let mut home = Home::consumer();
        home.config.snapshots.window = 4 * CHUNK;
        let node = home.start_with(gate.hooks()).await;
        let session = begin(&node, &provider.address).await;
        eventually("the gate", || async { gate.is_reached().then_some(()) }).await;
        let status = waits(&node, session, what, None, &words).await;
        assert_eq!(status["state"], state, "{status}");
        gate.open();
        node.complete(session).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_fails_is_the_operators() {
    let provider = Home::provider().start().await;
    let home = Home::consumer();
    let node = home.start().await;
    let partial = home.snapshots().join("partial");
    fs::create_dir_all(&partial).unwrap();
    let blocked = partial.join(made().first.root.to_string());
    fs::write(&blocked, "in the way").unwrap();
    let session = begin(&node, &provider.address).await;
    fails(&node, session, "storage", &["own files failed", &blocked.display().to_string()], "look at the disk").await;
    fs::remove_file(&blocked).unwrap();
    let body = json!({ "resume": { "session": session } });
    assert_eq!(node.request("POST", "/p2p/snapshots", Some(body)).await.status, 200);
    node.complete(session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_session_on_a_payload_waits_for_the_first_and_names_it() {
    let rogue = Rogue::silent_at(|request| matches!(request, SnapshotsRequest::Chunk { chunk_index: 3, .. })).await;
    let provider = Home::provider().start().await;
    let mut home = Home::consumer();
    home.config.snapshots.max_active_sessions = 2;
    let node = home.start().await;
    let first = begin(&node, &rogue.address).await;
    waits(&node, first, "chunk", Some(rogue.peer.to_string()), &[]).await;
    let second = begin(&node, &provider.address).await;
    let words = ["writes the same payload", "goes on by itself", "cancel", &first.to_string()];
    let status = waits(&node, second, "session", Some(first.to_string()), &words).await;
    assert_eq!((&status["state"], &status["error"]), (&json!("paused"), &Value::Null), "{status}");
    // Two sessions may be active, so the third waits.
    let third = begin_with(&node, json!({ "peer": provider.address.to_string(), "height": 110 })).await;
    let status = waits(&node, third, "session", None, &["max_active_sessions", "starts when"]).await;
    assert_eq!(status["state"], "paused");
    cancel(&node, first).await;
    node.complete(second).await;
    node.complete(third).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_auto_resume_the_operator_is_waited_for() {
    let rogue = Rogue::silent_at(|request| matches!(request, SnapshotsRequest::Chunk { chunk_index: 3, .. })).await;
    let mut home = Home::consumer();
    home.config.snapshots.auto_resume = false;
    let node = home.start().await;
    let session = begin(&node, &rogue.address).await;
    waits(&node, session, "chunk", Some(rogue.peer.to_string()), &[]).await;
    node.stop().await;
    let node = home.start().await;
    let resume = format!("{{\"resume\":{{\"session\":{session}}}}}");
    let status = waits(&node, session, "operator", None, &["auto_resume is off", &resume]).await;
    assert_eq!(status["state"], "paused");
    rogue.now(|_, honest| honest.into());
    let body = json!({ "resume": { "session": session } });
    assert_eq!(node.request("POST", "/p2p/snapshots", Some(body)).await.status, 200);
    node.complete(session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lie_fails_the_session_and_names_the_liar() {
    type Lie = fn(&SnapshotsRequest, SnapshotsResponse) -> Said;
    // The third field says whether the answer breaks the protocol; if not, the provider is only not trusted.
    let lies: [(&str, &str, bool, Lie); 5] = [
        ("checksum", "chunk 2", true, |_, mut honest| {
            if let SnapshotsResponse::Chunk { chunk_index: 2, chunk, .. } = &mut honest {
                *chunk = flipped(chunk, 4711);
            }
            honest.into()
        }),
        ("checksum", "chunk 0", true, |_, mut honest| {
            if let SnapshotsResponse::Chunk { proof, .. } = &mut honest {
                proof[1].0[7] ^= 1;
            }
            honest.into()
        }),
        ("proof", "proof", true, |_, mut honest| {
            if let SnapshotsResponse::LightClientUpdate { update_index: 1, update, .. } = &mut honest {
                update.recursive_proof = update.recursive_proof.as_ref().map(|proof| flipped(proof, 5000));
            }
            honest.into()
        }),
        ("authentication", "signature", true, |_, mut honest| {
            if let SnapshotsResponse::LightClientUpdate { update_index: 1, update, .. } = &mut honest {
                update.signatures[0].signature = flipped(&update.signatures[0].signature, 9);
            }
            honest.into()
        }),
        ("authentication", "signature", false, |_, mut honest| {
            if let SnapshotsResponse::LightClientUpdate { update_index: 1, update, .. } = &mut honest {
                update.signatures[0].publisher.0[3] ^= 1;
            }
            honest.into()
        }),
    ];
    for (code, words, is_lie, lie) in lies {
        let rogue = Rogue::start(lie).await;
        let home = Home::consumer();
        let node = home.start().await;
        let session = begin(&node, &rogue.address).await;
        let words = [words, &rogue.peer.to_string()];
        fails_for_good(&node, session, code, &words).await;
        if code != "checksum" {
            assert!(!home.snapshots().join("partial").join(made().first.root.to_string()).exists());
        }
        // After a restart the session has failed with the same words.
        node.stop().await;
        let node = home.start().await;
        let failed = fails_for_good(&node, session, code, &words).await;
        // A resume would ask the same peer again, so it is refused and changes nothing.
        rogue.now(|_, honest| honest.into());
        let resume = json!({ "resume": { "session": session } });
        let answer = node.request("POST", "/p2p/snapshots", Some(resume)).await;
        let expected = if is_lie { (409, Some("peer_banned")) } else { (502, Some(code)) };
        assert_eq!((answer.status, answer.json()["code"].as_str()), expected, "{}", answer.body);
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        let says =
            if is_lie { ["is banned until", "lift the ban"] } else { ["does not go on", "add another source to it"] };
        assert!(says.iter().all(|words| error.contains(words)), "{error}");
        let bans = node.get("/p2p/bans").await;
        assert_eq!(bans.as_array().unwrap().len(), usize::from(is_lie), "{bans}");
        let after = node.get(&format!("/p2p/snapshots/{session}")).await;
        assert_eq!((&after["state"], &after["error"]), (&failed["state"], &failed["error"]));
        if is_lie {
            let lift = format!("/p2p/bans/{}", rogue.peer);
            assert_eq!(node.request("DELETE", &lift, None).await.status, 204);
        }
        // The operator may start a new session with the same peer.
        let anew = begin(&node, &rogue.address).await;
        let done = node.complete(anew).await;
        assert_ne!(done["session"], session);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_after_an_answer_ends_the_session_and_names_the_peer() {
    for after in ["x", " {}", "\0"] {
        let rogue = Rogue::start(move |request, honest| match request {
            SnapshotsRequest::Chunk { chunk_index: 2, .. } => Said::followed(&honest, after),
            _ => honest.into(),
        })
        .await;
        let home = Home::consumer();
        let node = home.start().await;
        let session = begin(&node, &rogue.address).await;
        let words = ["broke the protocol", "after the document", &rogue.peer.to_string()];
        fails_for_good(&node, session, "provider", &words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_line_that_breaks_in_large_chunks_a_session_goes_on_in_smaller_ones() {
    const LARGE: u64 = 1 << 20;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let rogue = Rogue::start(move |_, honest| match &honest {
        SnapshotsResponse::Chunk { chunk_index, chunk, .. } => {
            log.lock().unwrap().push((*chunk_index, chunk.len() as u64));
            let breaks = *chunk_index > 0 && chunk.len() as u64 == LARGE;
            if breaks { Said::half(&honest) } else { honest.into() }
        }
        _ => honest.into(),
    })
    .await;
    let mut home = Home::consumer();
    home.config.snapshots.chunk_size = LARGE;
    let node = home.start().await;
    let session = begin(&node, &rogue.address).await;
    let done = node.complete(session).await;
    assert_eq!(done["chunk_size"], LARGE / 2, "{done}");
    assert_eq!(done["verified"], true);
    // Twice, half of a chunk was lost: `bytes_wasted` is about those bytes. No verified chunk was fetched again.
    let wasted = done["bytes_wasted"].as_u64().unwrap();
    assert!((LARGE * 9 / 10..LARGE * 11 / 10).contains(&wasted), "{done}");
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked[..5], [(0, LARGE), (1, LARGE), (1, LARGE), (2, LARGE / 2), (3, LARGE / 2)], "{asked:?}");
    assert_eq!(asked.len(), 8);
    let payload = fs::read(done["payload_path"].as_str().unwrap()).unwrap();
    assert_eq!(blake3::hash(&payload).to_hex().as_str(), made().first.root.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_refusals_have_their_codes() {
    for (refusal, code, word, advice) in [
        (ErrorCode::Cancelled, "cancelled", "cancelled", "add another source"),
        (ErrorCode::Unauthorized, "authentication", "unauthorized", "may consume there"),
        (ErrorCode::Invalid, "provider", "invalid", "add another source"),
    ] {
        let rogue = Rogue::start(move |request, honest| match request {
            SnapshotsRequest::Chunk { chunk_index: 2, .. } => Said::refusal(request, refusal),
            _ => honest.into(),
        })
        .await;
        let home = Home::consumer();
        let node = home.start().await;
        let session = begin(&node, &rogue.address).await;
        let words = [&format!("refused chunk ({word})"), "the script says so", &rogue.peer.to_string()];
        fails(&node, session, code, &words.map(|word| word as &str), advice).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_that_the_provider_finds_impossible_is_a_mismatch() {
    let rogue = Rogue::start(|request, honest| match request {
        SnapshotsRequest::Chunk { chunk_index: 3, .. } => Said::refusal(request, ErrorCode::Internal),
        SnapshotsRequest::Resume { .. } => Said::refusal(request, ErrorCode::ResumeOutOfBounds),
        _ => honest.into(),
    })
    .await;
    let home = Home::consumer();
    let node = home.start().await;
    let session = begin(&node, &rogue.address).await;
    let words = ["refused resume (resume_out_of_bounds)", &rogue.peer.to_string()];
    fails(&node, session, "resume_mismatch", &words, "without explicit offsets").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_chain_than_the_trusted_one_is_refused() {
    let provider = Home::provider_of_other_chain().start().await;
    let home = Home::consumer();
    let node = home.start().await;
    let body = json!({ "peer": provider.address.to_string() });
    let session = begin_with(&node, body).await;
    fails(&node, session, "authentication", &["genesis"], "check [trust]").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_above_this_node_s_bound_is_no_fault_of_its_provider() {
    let provider = Home::provider().start().await;
    let mut home = Home::consumer();
    home.config.snapshots.max_payload_bytes = 1000;
    let node = home.start().await;
    let session = begin(&node, &provider.address).await;
    let words = ["cannot serve this", "it must be 1000 at most", "max_payload_bytes"];
    let status = fails(&node, session, "provider", &words, "resume this session when the cause is gone").await;
    assert!(!status.to_string().contains("broke the protocol"), "{status}");
    node.stop().await;
    home.config.snapshots.max_payload_bytes = 0;
    let node = home.start().await;
    let resume = json!({ "resume": { "session": session } });
    assert_eq!(node.request("POST", "/p2p/snapshots", Some(resume)).await.status, 200);
    node.complete(session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_history_is_stale_and_a_second_one_is_equivocation() {
    let provider = Home::provider().start().await;
    let forked = Home::provider_of_fork();
    let forked = forked.start().await;

    // This node has accepted step 2 and later ones, so it cannot tell whether the offered step belongs to that history.
    let home = Home::consumer();
    let node = home.start().await;
    let session = begin_with(&node, json!({ "peer": provider.address.to_string(), "height": 110 })).await;
    node.complete(session).await;
    let session = begin(&node, &forked.address).await;
    fails(&node, session, "stale", &["tip is step 1", "head is step 2"], "newer than this node's head").await;
    let head = node.get("/p2p/head").await;
    assert_eq!(head["step"], 2, "the head does not go back");

    // This node has accepted another checkpoint at step 1.
    let home = Home::consumer();
    let node = home.start().await;
    let session = begin(&node, &provider.address).await;
    node.complete(session).await;
    let session = begin(&node, &forked.address).await;
    let words = ["two histories", "step 1", &crate::support::fork().0.commitment.to_string(), "evidence is kept in"];
    fails(&node, session, "equivocation", &words, "ask them which one holds").await;
    let evidence = crate::support::files_under(&home.snapshots());
    assert!(evidence.keys().any(|path| path.to_string_lossy().starts_with("equivocation-1-")), "{evidence:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_get_is_enough_also_in_the_list() {
    let rogue = Rogue::silent_at(|request| matches!(request, SnapshotsRequest::Chunk { chunk_index: 3, .. })).await;
    let home = Home::consumer();
    let node = home.start().await;
    let session = begin(&node, &rogue.address).await;
    waits(&node, session, "chunk", Some(rogue.peer.to_string()), &["chunk 3,"]).await;
    let answer = http::request(node.http, "GET", "/p2p/snapshots", Some(TOKEN), None).await;
    explained(&answer.json()[0], Some(rogue.peer.to_string()), &["chunk 3"]);
}
