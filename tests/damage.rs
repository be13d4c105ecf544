//! What a killed or damaged session database leaves behind: the node starts, says what it did, and completes with
//! everything kept that was durable.
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
use support::{FIRST_BYTES, Home, files_under, interrupt, made, noise};

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
async fn survives(damage: impl FnOnce(&Path), said: &[&str]) -> (Value, Value) {
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
    (before, first)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leftover_of_a_killed_process_is_removed_and_nothing_is_lost() {
    let leave = |database: &Path| {
        fs::write(database.join("snap.00000000DEADBEEF.generating"), noise(9, 700)).unwrap();
        fs::write(database.join("snap.0000000000000001.generating"), "").unwrap();
    };
    let (before, first) = survives(leave, &["removed", "DEADBEEF.generating", "leftover"]).await;
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
    survives(remove, said).await;
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
