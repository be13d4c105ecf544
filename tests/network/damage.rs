//! A killed or damaged session database: the node starts, says what it did, keeps everything that was durable, and
//! completes. A byte that changed on the disk: it never counts, and its chunk is fetched again.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Mutex, Once},
};

use crate::support::{CHUNK, FIRST_BYTES, Home, Running, eventually, files_under, gate::Gate, interrupt, made, noise};
use rpp_p2p::Hash;
use serde_json::{Value, json};

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

/// A consumer that was stopped half-way. Returns its session, and the status when everything verified was durable.
async fn interrupted(home: &mut Home, provider: &Home) -> (u64, Value) {
    let (node, session, status) = interrupt(home, provider).await;
    node.stop().await;
    (session, status)
}

/// Damages the database of an interrupted session and lets it complete. Returns the first status after the restart.
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

    // Only what was missing was fetched.
    let metrics = serving.request("GET", "/metrics", None).await.body;
    let prefix = "rpp_snapshot_requests_total{direction=\"received\",kind=\"chunk\",outcome=\"served\"} ";
    let served: u64 = metrics.lines().find_map(|line| line.strip_prefix(prefix)).unwrap().parse().unwrap();
    let missing = before["total_chunks"].as_u64().unwrap() - before["confirmed_chunk_index"].as_u64().unwrap() - 1;
    assert_eq!(served, missing, "durable chunks were not kept");

    // It is recorded as complete.
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
    // The log names each session that is rebuilt.
    let (before, _, done) = survives(remove, said).await;
    // Chunks that were on the disk were not fetched again.
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
    // The damaged chunk, and those that were missing before.
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
            // This file is read only when the database is lost. A changed one then restores nothing.
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

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_payload_that_is_gone_is_fetched_again_and_what_is_confirmed_does_not_fall() {
    let (mut home, provider) = (Home::consumer(), Home::provider());
    // More is acknowledged than one group, which is what is made durable at once.
    let (session, before) = interrupted(&mut home, &provider).await;
    fs::remove_dir_all(home.snapshots().join("partial").join(made().first.root.to_string())).unwrap();

    let node = home.start().await;
    let first = node.get(&format!("/p2p/snapshots/{session}")).await;
    assert_eq!(first["confirmed_chunk_index"], before["confirmed_chunk_index"]);
    let serving = provider.start().await;
    let body = json!({ "peer": serving.address.to_string(), "resume": { "session": session } });
    assert_eq!(node.request("POST", "/p2p/snapshots", Some(body)).await.status, 200);
    let done = node.complete(session).await;
    assert!(fs::read(done["payload_path"].as_str().unwrap()).unwrap() == noise(1, FIRST_BYTES), "the payload differs");
    assert_eq!(served(&serving).await, before["total_chunks"].as_u64().unwrap());
}

/// A mirror that fetched the first snapshot and was stopped. One byte of its stored payload is changed.
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
    // The third node asks for it before the mirror has hashed it.
    let gate = Gate::new(rpp_runtime::Work::Recheck, 0);
    let mirror = home.start_with(gate.hooks()).await;
    let before = served(&origin).await;
    let third = Home::consumer().start().await;
    let body = json!({ "peer": mirror.address.to_string(), "height": 100 });
    let answer = third.request("POST", "/p2p/snapshots", Some(body)).await;
    let reader = match answer.status {
        200 => answer.json()["session"].as_u64().unwrap(),
        _ => third.get("/p2p/snapshots").await[0]["session"].as_u64().unwrap(),
    };
    // Either it learns that the snapshot is no longer offered, or it completes after the repair. No wrong byte arrives.
    let ended = |status: &Value| ["complete", "failed"].contains(&status["state"].as_str().unwrap());
    let status = third.status_where(reader, "the reader to end", |status| {
        gate.open_when(is_logged(&["a stored payload is damaged", "do not lead to its root"]));
        ended(status)
    });
    let status = status.await;
    if status["state"] == "failed" {
        assert_eq!(status["error_code"], "provider", "{status}");
        assert!(status["error"].as_str().unwrap().contains("offers"), "{status}");
    }
    let root = made().first.root.to_string();
    assert!(is_logged(&["a stored payload is damaged", &root, "do not lead to its root"]));
    // The mirror repairs itself, and fetches only what was damaged.
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
    // A publisher cannot fetch its own payload from anybody, so the damaged snapshot is not offered, and is reported.
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
    // Other processes and later starts leave it out too.
    let store = rpp_runtime::store::Store::open(&home.snapshots()).unwrap();
    assert!(store.list().is_empty() && store.damaged()[0].reason.to_string() == told);

    // A mirror knows its source, so its copy is repaired.
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

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_session_is_called_verified_once_this_process_has_hashed_its_payload() {
    let origin = Home::provider().start().await;
    let mut home = Home::consumer();
    home.config.snapshots.scrub_bytes_per_second = 0;
    let node = home.start().await;
    let session = node.stream(json!({ "peer": origin.address.to_string(), "height": 100 })).await;
    let before = node.complete(session).await;
    node.stop().await;

    let gate = Gate::new(rpp_runtime::Work::Recheck, 0);
    let node = home.start_with(gate.hooks()).await;
    eventually("the hashing to begin", || async { gate.is_reached().then_some(()) }).await;
    let held = node.get(&format!("/p2p/snapshots/{session}")).await;
    assert_eq!((&held["state"], &held["verified"]), (&json!("complete"), &json!(false)), "{held}");
    assert!(held["payload_path"].is_null() && held["last_chunk_index"].is_null(), "{held}");
    assert_eq!((&held["bytes_verified"], &held["rechecked_bytes"]), (&json!(0), &json!(0)), "{held}");
    assert_eq!((&held["recheck_bytes"], &held["bytes_durable"]), (&json!(FIRST_BYTES), &json!(FIRST_BYTES)), "{held}");
    assert_eq!(held["confirmed_chunk_index"], before["confirmed_chunk_index"], "what is confirmed never falls");
    assert_eq!(held["waiting_on"]["what"], "disk", "{held}");
    assert_eq!(node.get("/p2p/snapshots").await[0]["verified"], false);
    gate.open();
    let done = node.complete(session).await;
    for field in ["verified", "bytes_verified", "last_chunk_index", "payload_path", "waiting_on"] {
        assert_eq!(done[field], before[field], "{field}: {done}");
    }
    assert!(done["rechecked_bytes"].is_null(), "{done}");

    // A file that changes under a running node is hashed again, and only the changed chunk is fetched.
    let before = served(&origin).await;
    change(Path::new(done["payload_path"].as_str().unwrap()), 7 * CHUNK);
    eventually("the repair", || async { (served(&origin).await == before + 1).then_some(()) }).await;
    node.complete(session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_session_whose_payload_changed_while_the_node_was_down_is_never_called_verified_as_it_is() {
    keep_the_log();
    let origin = Home::provider().start().await;
    let mut home = Home::consumer();
    home.config.snapshots.scrub_bytes_per_second = 0;
    let session = spoilt_mirror(&origin, &home).await;
    let node = home.start().await;
    let payload = home.snapshots().join("store").join(made().first.root.to_string()).join("payload");
    let status = node.status_where(session, "the repair", |status| {
        let is_verified = status["verified"] == true;
        assert!(!is_verified || fs::read(&payload).unwrap() == noise(1, FIRST_BYTES), "{status}");
        is_verified
    });
    assert_eq!(status.await["state"], "complete");
    assert_eq!(served(&origin).await, (FIRST_BYTES as u64).div_ceil(CHUNK) + 1, "the damaged chunk alone came again");
}

/// Changes the text of a document that ends in its checksum, and writes a new checksum.
fn forge(path: &Path, change: impl FnOnce(String) -> String) {
    const TAIL: usize = ",\"checksum\":\"\"}\n".len() + 64;
    let sealed = fs::read_to_string(path).unwrap();
    let forged = change(sealed[..sealed.len() - TAIL].to_owned());
    assert_ne!(forged, sealed[..sealed.len() - TAIL], "nothing was changed in {}", path.display());
    let mut hasher = blake3::Hasher::new();
    hasher.update(forged.as_bytes()).update(b"}");
    fs::write(path, format!("{forged},\"checksum\":\"{}\"}}\n", hasher.finalize().to_hex())).unwrap();
}

/// Changes a document's text.
type Forgery = fn(String) -> String;

/// Another block hash everywhere in the document: its numbers and links fit together, its hashes do not.
fn with_another_block_hash(text: String) -> String {
    text.replace(&"07".repeat(32), &"08".repeat(32))
}

/// Turns the first letter of the value of each `field` into another one.
fn with_another(field: &str, text: &str) -> String {
    let (begin, mut forged) = (format!("\"{field}\":\""), String::new());
    for (index, part) in text.split(&begin).enumerate() {
        if index == 0 {
            forged.push_str(part);
            continue;
        }
        forged.push_str(&begin);
        forged.push(if part.starts_with('A') { 'B' } else { 'A' });
        forged.push_str(&part[1..]);
    }
    forged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_with_a_right_checksum_is_not_served_when_its_chain_does_not_hold() {
    keep_the_log();
    // A hash in the older offer, and a signature in the newer one, to which the older one's updates lead.
    let forgeries: [(u64, Hash, Forgery); 2] = [
        (100, made().first.root, with_another_block_hash),
        (110, made().second.root, |text| with_another("signature", &text)),
    ];
    for (height, root, forgery) in forgeries {
        let home = Home::provider();
        let folder = home.snapshots().join("store").join(root.to_string());
        forge(&folder.join("manifest.json"), forgery);
        let node = home.start().await;
        let consumer = Home::consumer().start().await;
        let body = json!({ "peer": node.address.to_string(), "height": height });
        let answer = consumer.request("POST", "/p2p/snapshots", Some(body)).await;
        // The node sends nothing for which it could be banned, and still serves the other snapshot.
        assert_eq!(answer.status, 502, "{height}: {}", answer.body);
        assert!(answer.body.contains(&format!("no snapshot at height {height} is offered here")), "{}", answer.body);
        let told = fs::read_to_string(folder.join("damaged")).unwrap();
        let words = format!("the chain of the offer at height {height} in manifest.json does not hold");
        assert!(told.contains(&words), "{told}");
        let other = json!({ "peer": node.address.to_string(), "height": 210 - height });
        let session = consumer.stream(other).await;
        consumer.complete(session).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_whose_proof_does_not_hold_is_found_and_not_served() {
    keep_the_log();
    let root = made().second.root;
    let mut home = Home::provider();
    // In the background the node reads only the documents that vouch for the payload.
    home.config.snapshots.scrub_bytes_per_second = 0;
    let folder = home.snapshots().join("store").join(root.to_string());
    forge(&folder.join("manifest.json"), |text| with_another("recursive_proof", &text));
    let node = home.start().await;
    eventually("the damage to be found", async || folder.join("damaged").exists().then_some(())).await;
    let told = fs::read_to_string(folder.join("damaged")).unwrap();
    assert!(told.contains("the proof of the offer at height 110 in manifest.json does not hold"), "{told}");
    let consumer = Home::consumer().start().await;
    let other = json!({ "peer": node.address.to_string(), "height": 110 });
    let answer = consumer.request("POST", "/p2p/snapshots", Some(other)).await;
    assert_eq!(answer.status, 502, "{}", answer.body);
    let session = consumer.stream(json!({ "peer": node.address.to_string(), "height": 100 })).await;
    consumer.complete(session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_session_whose_manifest_was_forged_is_fetched_again_before_it_is_called_verified() {
    let forgeries: [(&str, Forgery); 3] = [
        ("block_hash", with_another_block_hash),
        ("signature", |text| with_another("signature", &text)),
        ("recursive_proof", |text| with_another("recursive_proof", &text)),
    ];
    for (what, forgery) in forgeries {
        let origin = Home::provider().start().await;
        let mut home = Home::consumer();
        home.config.snapshots.scrub_bytes_per_second = 0;
        let node = home.start().await;
        let session = node.stream(json!({ "peer": origin.address.to_string(), "height": 100 })).await;
        node.complete(session).await;
        node.stop().await;
        let manifest = home.snapshots().join("store").join(made().first.root.to_string()).join("manifest.json");
        let right = fs::read(&manifest).unwrap();
        forge(&manifest, forgery);
        let node = home.start().await;
        let status = node.status_where(session, "the repair", |status| {
            assert_ne!(status["state"], "failed", "{what}: {status}");
            let is_verified = status["verified"] == true;
            assert!(!is_verified || fs::read(&manifest).unwrap() == right, "{what}: {status}");
            is_verified
        });
        status.await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_documents_beside_a_partial_payload_never_end_in_other_bytes_called_verified() {
    for (name, database) in [("plan.json", true), ("plan.json", false), ("session.json", false)] {
        let (mut home, provider) = (Home::consumer(), Home::provider());
        let (session, _) = interrupted(&mut home, &provider).await;
        let partial = home.snapshots().join("partial").join(made().first.root.to_string());
        forge(&partial.join(name), with_another_block_hash);
        if !database {
            fs::remove_dir_all(home.snapshots().join("sessions")).unwrap();
        }
        let node = home.start().await;
        let serving = provider.start().await;
        let body = json!({ "peer": serving.address.to_string(), "resume": { "session": session } });
        let answer = node.request("POST", "/p2p/snapshots", Some(body)).await;
        let ended =
            node.status_where(session, "the end", |status| status["verified"] == true || status["state"] == "failed");
        let ended = ended.await;
        if name == "plan.json" {
            assert_eq!((answer.status, &ended["state"]), (200, &json!("complete")), "{name}: {ended}");
        }
        if ended["state"] == "complete" {
            assert!(fs::read(ended["payload_path"].as_str().unwrap()).unwrap() == noise(1, FIRST_BYTES), "{name}");
            continue;
        }
        // The note names a snapshot that the provider does not have. The node believes none of it and blames nobody.
        assert!(ended["payload_path"].is_null(), "{ended}");
        assert!(["resume_mismatch", "provider"].contains(&ended["error_code"].as_str().unwrap()), "{ended}");
        let anew = node.stream(json!({ "peer": serving.address.to_string(), "height": 100 })).await;
        let done = node.complete(anew).await;
        assert!(fs::read(done["payload_path"].as_str().unwrap()).unwrap() == noise(1, FIRST_BYTES), "{name}");
    }
}
