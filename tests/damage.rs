//! What a killed or damaged session database leaves behind: the node starts, says what it did, and completes with
//! everything kept that was durable. And what a byte that changed on the disk does: it never counts, and is fetched again.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod support;

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Mutex, Once},
};

use serde_json::{Value, json};
use support::{CHUNK, FIRST_BYTES, Home, Running, eventually, files_under, interrupt, made, noise};

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn keep_the_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).init());
}

/// Whether one line of the log has all these words.
fn is_logged(words: &[&str]) -> bool {
    let log = String::from_utf8_lossy(&LOG.lock().unwrap()).into_owned();
    log.lines().any(|line| words.iter().all(|word| line.contains(word)))
}

/// A consumer that was stopped half-way: its session, and its status when all it had was durable.
async fn interrupted(home: &mut Home, provider: &Home) -> (u64, Value) {
    let (node, session, status) = interrupt(home, provider).await;
    node.stop().await;
    (session, status)
}

/// Damages the database of an interrupted session and lets it go on; what is said of the session at first.
async fn survives(damage: impl FnOnce(&Path), said: &[&str]) -> (Value, Value, Value) {
    keep_the_log();
    let (mut home, provider) = (Home::consumer(), Home::provider());
    let (session, before) = interrupted(&mut home, &provider).await;
    let database = home.snapshots().join("sessions");
    assert!(database.join("db").exists(), "{:?}", files_under(&database));
    damage(&database);

    let node = home.start().await;
    let all = node.get("/p2p/snapshots").await;
    let first = all.as_array().unwrap().iter().find(|status| status["session"] == session).cloned();
    let first = first.unwrap_or_else(|| panic!("session {session} is gone: {all}"));
    assert_eq!(first["root"], before["root"], "{first}");
    let (folder, number) = (home.snapshots().display().to_string(), session.to_string());
    let (of_this, of_session) = ([said, &[&folder]].concat(), [said, &[&number]].concat());
    assert!(said.is_empty() || is_logged(&of_this) || is_logged(&of_session), "{said:?} is not in the log");

    let serving = provider.start().await;
    let body = json!({ "peer": serving.address.to_string(), "resume": { "session": session } });
    let answer = node.request("POST", "/p2p/snapshots", Some(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let done = node.complete(session).await;
    assert!(fs::read(done["payload_path"].as_str().unwrap()).unwrap() == noise(1, FIRST_BYTES), "the payload differs");
    assert_eq!(done["root"], made().first.root.to_string());

    // Only what was missing came again.
    let metrics = serving.request("GET", "/metrics", None).await.body;
    let prefix = "rpp_snapshot_requests_total{direction=\"received\",kind=\"chunk\",outcome=\"served\"} ";
    let served: u64 = metrics.lines().find_map(|line| line.strip_prefix(prefix)).unwrap().parse().unwrap();
    let missing = before["total_chunks"].as_u64().unwrap() - before["confirmed_chunk_index"].as_u64().unwrap() - 1;
    assert_eq!(served, missing, "durable chunks were not kept");

    // And it is remembered as complete.
    node.stop().await;
    let node = home.start().await;
    assert_eq!(node.get(&format!("/p2p/snapshots/{session}")).await["state"], "complete");
    (before, first, done)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leftover_of_a_killed_process_is_removed_and_nothing_is_lost() {
    let leave = |database: &Path| {
        fs::write(database.join("snap.00000000DEADBEEF.generating"), noise(9, 700)).unwrap();
        fs::write(database.join("snap.0000000000000001.generating"), "").unwrap();
    };
    let (before, first, _) = survives(leave, &["removed", "DEADBEEF.generating", "leftover"]).await;
    assert_eq!(first["confirmed_chunk_index"], before["confirmed_chunk_index"]);
    assert_eq!(first["bytes_durable"], before["bytes_durable"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwritten_database_is_set_aside_or_made_good() {
    let overwrite = |database: &Path| {
        let path = database.join("db");
        let len = fs::metadata(&path).unwrap().len();
        fs::write(&path, noise(10, usize::try_from(len).unwrap())).unwrap();
    };
    survives(overwrite, &["rebuilt from"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_with_damage_in_its_middle_is_set_aside_or_made_good() {
    for at in [0_u64, 40, 300, 4096, 20_000] {
        let overwrite = |database: &Path| {
            let file = fs::OpenOptions::new().write(true).open(database.join("db")).unwrap();
            file.write_all_at(&noise(at, 200), at).unwrap();
        };
        survives(overwrite, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_database_is_set_aside_or_made_good() {
    for (keep_of_8, said) in [(0, &["rebuilt from"] as &[&str]), (1, &[]), (4, &[])] {
        let cut = |database: &Path| {
            let file = fs::OpenOptions::new().write(true).open(database.join("db")).unwrap();
            file.set_len(file.metadata().unwrap().len() * keep_of_8 / 8).unwrap();
        };
        survives(cut, said).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_gone_is_rebuilt() {
    let remove = |database: &Path| fs::remove_dir_all(database).unwrap();
    let said = &["rebuilt from its partial payload"];
    // The folder is looked for before the damage; what is rebuilt is named by session.
    let (before, _, done) = survives(remove, said).await;
    // What was found on the disk did not come over the wire.
    let missing = FIRST_BYTES as u64 - before["bytes_durable"].as_u64().unwrap();
    assert_eq!((&done["bytes_received"], &done["bytes_durable"]), (&json!(missing), &json!(FIRST_BYTES)), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settings_file_that_is_damaged_is_no_end() {
    let spoil = |database: &Path| fs::write(database.join("conf"), noise(11, 60)).unwrap();
    survives(spoil, &["rebuilt from"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_session_is_not_rebuilt() {
    keep_the_log();
    let (mut home, provider) = (Home::consumer(), Home::provider());
    let (session, _) = interrupted(&mut home, &provider).await;
    let node = home.start().await;
    assert_eq!(node.request("DELETE", &format!("/p2p/snapshots/{session}"), None).await.status, 204);
    node.stop().await;
    fs::remove_dir_all(home.snapshots().join("sessions")).unwrap();
    let node = home.start().await;
    assert!(node.get("/p2p/snapshots").await.as_array().unwrap().is_empty());
}

/// Chunks that a provider served since it started.
async fn served(provider: &Running) -> u64 {
    let metrics = provider.request("GET", "/metrics", None).await.body;
    let prefix = "rpp_snapshot_requests_total{direction=\"received\",kind=\"chunk\",outcome=\"served\"} ";
    metrics.lines().find_map(|line| line.strip_prefix(prefix)).map_or(0, |count| count.parse().unwrap())
}

fn change(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_of_a_partial_payload_that_changes_while_the_node_is_down_is_fetched_again() {
    keep_the_log();
    let (mut home, provider) = (Home::consumer(), Home::provider());
    let (session, before) = interrupted(&mut home, &provider).await;
    let partial = home.snapshots().join("partial").join(made().first.root.to_string());
    change(&partial.join("payload"), 20 * CHUNK + 99);

    let node = home.start().await;
    let first = node.get(&format!("/p2p/snapshots/{session}")).await;
    assert_eq!(first["confirmed_chunk_index"], before["confirmed_chunk_index"], "what is confirmed never falls");
    let hashed = first["rechecked_bytes"].as_u64().unwrap_or(0);
    assert!(first["bytes_verified"].as_u64().unwrap() <= hashed, "something counts that was not hashed: {first}");
    let serving = provider.start().await;
    let body = json!({ "peer": serving.address.to_string(), "resume": { "session": session } });
    assert_eq!(node.request("POST", "/p2p/snapshots", Some(body)).await.status, 200);
    let done = node.complete(session).await;
    assert!(fs::read(done["payload_path"].as_str().unwrap()).unwrap() == noise(1, FIRST_BYTES), "the payload differs");
    assert!(is_logged(&["chunks 20 ", "does not hold", "fetched again", &session.to_string()]));
    let metrics = node.request("GET", "/metrics", None).await.body;
    assert!(metrics.contains("rpp_damaged_chunks_total 1\n"), "{metrics}");
    // The chunk that was hit, and what was missing before.
    let missing = before["total_chunks"].as_u64().unwrap() - before["confirmed_chunk_index"].as_u64().unwrap() - 1;
    assert_eq!(served(&serving).await, missing + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_else_lies_beside_a_partial_payload_is_not_believed_either() {
    for (name, at) in [("outboard", 700), ("plan.json", 900), ("session.json", 40), ("payload", 0)] {
        let (mut home, provider) = (Home::consumer(), Home::provider());
        let (session, _) = interrupted(&mut home, &provider).await;
        let partial = home.snapshots().join("partial").join(made().first.root.to_string());
        change(&partial.join(name), at);
        if name == "session.json" {
            // It is read only when the database is lost: then a changed one brings nothing back.
            fs::remove_dir_all(home.snapshots().join("sessions")).unwrap();
            let node = home.start().await;
            assert!(node.get("/p2p/snapshots").await.as_array().unwrap().is_empty());
            continue;
        }
        let node = home.start().await;
        let serving = provider.start().await;
        let body = json!({ "peer": serving.address.to_string(), "resume": { "session": session } });
        assert_eq!(node.request("POST", "/p2p/snapshots", Some(body)).await.status, 200);
        let done = node.complete(session).await;
        assert!(fs::read(done["payload_path"].as_str().unwrap()).unwrap() == noise(1, FIRST_BYTES), "{name}");
        let outboard = |home: &Home| {
            let folder = home.snapshots().join("store").join(made().first.root.to_string());
            fs::read(folder.join("outboard")).unwrap()
        };
        assert!(outboard(&home) == outboard(&provider), "{name}: the outboard differs");
    }
}

/// A mirror that fetched the first snapshot and was stopped, with a byte of what it stores changed.
async fn spoilt_mirror(origin: &Running, home: &Home) -> u64 {
    let node = home.start().await;
    let session = node.stream(json!({ "peer": origin.address.to_string(), "height": 100 })).await;
    node.complete(session).await;
    node.stop().await;
    let folder = home.snapshots().join("store").join(made().first.root.to_string());
    change(&folder.join("payload"), 30 * CHUNK + 5);
    session
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_byte_that_changed_is_not_served_and_is_fetched_again_from_where_it_came() {
    keep_the_log();
    let origin = Home::provider().start().await;
    let mut home = Home::consumer();
    home.config.snapshots.scrub_bytes_per_second = 0;
    let session = spoilt_mirror(&origin, &home).await;
    let mirror = home.start().await;
    let before = served(&origin).await;
    let third = Home::consumer().start().await;
    let body = json!({ "peer": mirror.address.to_string(), "height": 100 });
    let answer = third.request("POST", "/p2p/snapshots", Some(body)).await;
    let reader = match answer.status {
        200 => answer.json()["session"].as_u64().unwrap(),
        _ => third.get("/p2p/snapshots").await[0]["session"].as_u64().unwrap(),
    };
    // It is told that the snapshot is not offered any more, and got no wrong byte before; or it comes after the repair.
    let ended = |status: &Value| ["complete", "failed"].contains(&status["state"].as_str().unwrap());
    let status = third.status_where(reader, "the reader to end", ended).await;
    if status["state"] == "failed" {
        assert_eq!(status["error_code"], "provider", "{status}");
        assert!(status["error"].as_str().unwrap().contains("no longer offers"), "{status}");
    }
    let root = made().first.root.to_string();
    assert!(is_logged(&["a stored payload is damaged", &root, "do not lead to its root"]));
    // By itself, and no more than what was damaged.
    let healed = |status: &Value| status["state"] == "complete" && status["payload_path"].is_string();
    mirror.status_where(session, "the repair", |status| healed(status) && status["verified"] == true).await;
    eventually("the payload to be on offer again", || async {
        let offered = mirror.get("/p2p/identity").await;
        (offered["snapshots"].as_array()?.iter().any(|one| one["root"] == root.as_str())).then_some(())
    })
    .await;
    let payload = home.snapshots().join("store").join(&root).join("payload");
    assert!(fs::read(payload).unwrap() == noise(1, FIRST_BYTES));
    assert_eq!(served(&origin).await - before, 1);
    if status["state"] == "failed" {
        let resume = json!({ "resume": { "session": reader } });
        assert_eq!(third.request("POST", "/p2p/snapshots", Some(resume)).await.status, 200);
    }
    third.complete(reader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_byte_that_changed_is_found_without_being_asked_for() {
    // Nobody knows where a publisher's payload would come from: it is left out and said.
    let home = Home::provider().only(made().first.root);
    let folder = home.snapshots().join("store").join(made().first.root.to_string());
    change(&folder.join("payload"), 123_456);
    let node = home.start().await;
    eventually("the offer to be withdrawn", || async {
        node.get("/p2p/identity").await["snapshots"].as_array()?.is_empty().then_some(())
    })
    .await;
    let metrics = node.request("GET", "/metrics", None).await.body;
    assert!(metrics.contains("rpp_store_damaged 1\n"), "{metrics}");
    let told = fs::read_to_string(folder.join("damaged")).unwrap();
    assert!(told.contains("do not lead to its root"), "{told}");
    // For other processes and other starts as well.
    let store = rpp_runtime::store::Store::open(&home.snapshots()).unwrap();
    assert!(store.list().is_empty() && store.damaged()[0].reason == told);

    // A mirror does: it is repaired.
    let origin = Home::provider().start().await;
    let home = Home::consumer();
    let session = spoilt_mirror(&origin, &home).await;
    let before = served(&origin).await;
    let mirror = home.start().await;
    let payload = home.snapshots().join("store").join(made().first.root.to_string()).join("payload");
    eventually("the repair", || async { (fs::read(&payload).ok()? == noise(1, FIRST_BYTES)).then_some(()) }).await;
    mirror.complete(session).await;
    assert_eq!(served(&origin).await - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_already_is_hashed_before_a_session_is_complete_with_it() {
    let origin = Home::provider().start().await;
    let mut home = Home::consumer();
    home.config.snapshots.scrub_bytes_per_second = 0;
    spoilt_mirror(&origin, &home).await;
    let mirror = home.start().await;
    let session = mirror.stream(json!({ "peer": origin.address.to_string(), "height": 100 })).await;
    let done = mirror.complete(session).await;
    assert!(fs::read(done["payload_path"].as_str().unwrap()).unwrap() == noise(1, FIRST_BYTES), "{done}");
}
