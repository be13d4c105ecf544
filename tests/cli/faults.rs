//! A full disk and a failing disk under the real binary: sessions wait and resume by themselves, a node starts and
//! serves what it has, every failure names its file, and unwritten data never counts.
//!
//! The sweep lets the n-th write, sync, rename and open of consumer, provider, `publish` and `unpack` fail, with EIO
//! and with ENOSPC. The suite runs a sample. All of it, n from 1 until a run without a failure, is
//! `RPP_TEST_FAULTS=all cargo test --release --test cli -- --nocapture sweep`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Output,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::harness::{DEADLINE, Place, eventually};
use crate::support::{
    faults::{Call, EIO, ENOSPC, Fault, OPS, calls},
    port::reserved_port,
    process::Process,
};
use serde_json::{Value, json};

const CHUNK: usize = 16 * 1024;
const PAYLOAD: usize = 40 * CHUNK + 77;
/// Bytes after which a session is made durable. The payload has several such groups.
const GROUP: usize = 128 * 1024;

/// A publisher whose folder the tests copy, because a proof takes seconds.
struct Made {
    place: Place,
    published: Value,
    tar: Value,
    tree: PathBuf,
}

fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let place = Place::new(&["--publisher"]);
        let input = place.path("input");
        fs::write(&input, noise(PAYLOAD)).unwrap();
        let published = place.publish(7, &input);
        let tree = place.path("tree");
        for folder in ["a/b", "c"] {
            fs::create_dir_all(tree.join(folder)).unwrap();
        }
        for (file, length) in [("a/one", 3000), ("a/b/two", 0), ("c/three", 200_000), ("four", 1)] {
            fs::write(tree.join(file), noise(length)).unwrap();
        }
        std::os::unix::fs::symlink("one", tree.join("a/link")).unwrap();
        let tar = place.publish(8, &tree);
        Made { place, published, tar, tree }
    })
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new_derive_key("rpp fault test").finalize_xof().fill(&mut bytes);
    bytes
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
        let to = to.join(entry.file_name().unwrap());
        if kind.is_dir() {
            copy_tree(&entry, &to);
        } else {
            fs::copy(&entry, to).unwrap();
        }
    }
}

/// A node that serves the published snapshot, or one that trusts its publisher.
fn provider() -> Process {
    let process = Process::new(&[], reserved_port());
    copy_tree(&made().place.path("data/snapshots/store"), &process.place.path("data/snapshots/store"));
    process
}

fn consumer(provider: &Process) -> Process {
    consumer_of(&provider.address())
}

fn consumer_of(provider: &str) -> Process {
    // Nobody dials it, so any port will do.
    let mut process = Process::new(&[], 0);
    process.flag(&format!("--p2p-peers={provider}"));
    process.flag(&format!("--trust-genesis={}", text(&made().published, "genesis")));
    for (key, value) in [("chunk-size", CHUNK), ("max-chunk-size", CHUNK), ("window", 2 * GROUP), ("ack-bytes", GROUP)]
    {
        process.flag(&format!("--snapshots-{key}={value}"));
    }
    process
}

/// Makes calls on the files of a node's data folder fail from its next start on. Returns the path of the log of calls.
fn arm(process: &mut Process, fault: Fault) -> PathBuf {
    let (data, log) = (process.place.path("data"), process.place.path("calls"));
    fs::create_dir_all(&data).unwrap();
    let noted = log.clone();
    process.prepare = Some(Box::new(move |command| fault.arm(command, &data, &log)));
    noted
}

fn start_session(consumer: &Process, provider: &Process) -> Value {
    start_session_from(consumer, &provider.address())
}

fn start_session_from(consumer: &Process, provider: &str) -> Value {
    let body = json!({ "peer": provider, "root": text(&made().published, "root") });
    let (code, answer) = consumer.request("POST", "/p2p/snapshots", Some(&body));
    assert_eq!(code, 200, "{answer}");
    crate::harness::json(&answer)
}

fn status(consumer: &Process, session: u64) -> Value {
    let (code, answer) = consumer.request("GET", &format!("/p2p/snapshots/{session}"), None);
    assert_eq!(code, 200, "{answer}");
    crate::harness::json(&answer)
}

fn status_where(consumer: &Process, session: u64, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let begun = Instant::now();
    loop {
        let status = status(consumer, session);
        if wanted(&status) {
            return status;
        }
        assert!(begun.elapsed() < DEADLINE, "waited too long for {what}: {last}\n{}", consumer.logged());
        last = status;
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// A node that reports `verified` must have exactly the published bytes.
fn complete(consumer: &Process, session: u64) -> Value {
    let status = status_where(consumer, session, "the session to end", |status| {
        assert!(status["verified"] == false || status["state"] == "complete", "{status}");
        status["verified"] == true || status["state"] == "failed"
    });
    assert_eq!(text(&status, "state"), "complete", "{status}");
    assert!(fs::read(text(&status, "payload_path")).unwrap() == noise(PAYLOAD), "the payload differs");
    status
}

/// Waits until the log has these words: a node writes its log on a thread of its own.
fn logs(node: &Process, words: &str) {
    let begun = Instant::now();
    while !node.logged().contains(words) {
        assert!(begun.elapsed() < DEADLINE, "the log does not say {words:?}: {}", node.logged());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// The record of a session is tried every two seconds; only another reason makes another line in the log.
fn tries_again_and_logs_it_once(node: &Process, session: u64) {
    let next_try = |status: &Value| status["waiting_on"]["retry_at"].as_str().map(str::to_owned);
    for _ in 0..2 {
        let before = next_try(&status(node, session));
        status_where(node, session, "another try", |status| {
            next_try(status).is_some_and(|next| before.as_ref().is_none_or(|before| next > *before))
        });
    }
    let log = node.logged();
    let lines = log.lines().filter(|line| line.contains("record is not written"));
    let words: Vec<_> = lines.map(|line| line.split_once("record is not written").unwrap().1).collect();
    let reasons: BTreeSet<_> = words.iter().collect();
    assert_eq!(words.len(), reasons.len(), "said again and again: {words:?}");
}

/// Checks the probes and the metric, while a part cannot be written and afterwards.
fn says_it_cannot_write(node: &Process, part: &str) {
    eventually("the probe", || {
        let (code, answer) = node.request("GET", "/readyz", None);
        (code == 503 && answer.contains("\"cannot_write\"")).then_some(())
    });
    let (code, answer) = node.request("GET", "/healthz", None);
    assert!(code == 200 && answer.contains("cannot write"), "{code} {answer}");
    let (_, metrics) = node.request("GET", "/metrics", None);
    assert!(metrics.contains(&format!("rpp_cannot_write{{part=\"{part}\"}} 1")), "{metrics}");
}

fn says_it_can_write(node: &Process) {
    eventually("the probe", || (node.request("GET", "/readyz", None).0 == 200).then_some(()));
    let (code, answer) = node.request("GET", "/healthz", None);
    assert_eq!((code, answer.as_str()), (200, "{\"status\":\"ok\"}"));
    let (_, metrics) = node.request("GET", "/metrics", None);
    for part in ["database", "head", "store"] {
        assert!(metrics.contains(&format!("rpp_cannot_write{{part=\"{part}\"}} 0")), "{metrics}");
    }
}

#[test]
fn a_full_disk_pauses_whatever_it_hits_and_the_session_goes_on_when_there_is_room() {
    let mut provider = provider();
    provider.start();
    // Each row: the file (database, head, those beside a partial payload, the payload's own), the first write that
    // fails, the error, and the words of the status. For a file that takes a single write, the session waits after
    // either error.
    for (only, at, error, part, named) in [
        ("/sessions/", 1, ENOSPC, "database", "sessions"),
        ("/sessions/", 4, ENOSPC, "database", "sessions"),
        ("snapshots/.tmp-", 1, ENOSPC, "head", "head.json"),
        ("snapshots/.tmp-", 1, EIO, "head", "head.json"),
        ("/partial/", 1, ENOSPC, "store", "/partial/"),
        ("/partial/", 2, ENOSPC, "store", "/partial/"),
        ("/partial/", 3, ENOSPC, "store", "/partial/"),
        ("/.tmp-", 1, EIO, "head", "head.json"),
        ("/.tmp-", 2, EIO, "store", "plan.json"),
        ("/.tmp-", 3, EIO, "store", "session.json"),
        ("/payload", 3, ENOSPC, "store", "payload"),
        ("/outboard", 3, ENOSPC, "store", "outboard"),
    ] {
        let mut node = consumer(&provider);
        let full = node.place.path("full");
        arm(&mut node, Fault { at, error, ..Fault::full(full.clone(), Some(only)) });
        node.start();
        fs::write(&full, "").unwrap();
        let session = start_session(&node, &provider)["session"].as_u64().unwrap();
        let waits = status_where(&node, session, &format!("the pause for {only} {at}"), |status| {
            assert_ne!(status["state"], "failed", "{only}: {status}");
            status["state"] == "paused"
        });
        let reason = text(&waits["waiting_on"], "reason");
        assert_eq!(
            (&waits["waiting_on"]["what"], &waits["error_code"]),
            (&json!("disk"), &json!("storage")),
            "{waits}"
        );
        assert!(reason.contains(named) && reason.contains("make room") && reason.contains("by itself"), "{waits}");
        assert!(!reason.contains("Os {"), "{waits}");
        says_it_cannot_write(&node, part);
        if part == "database" {
            tries_again_and_logs_it_once(&node, session);
        }
        fs::remove_file(&full).unwrap();
        complete(&node, session);
        says_it_can_write(&node);
        // The session is recorded as complete.
        node.kill();
        node.prepare = None;
        node.start();
        assert_eq!(status(&node, session)["state"], "complete", "{only}");
    }
}

#[test]
fn a_post_on_a_full_disk_is_taken_and_waits() {
    let mut provider = provider();
    provider.start();
    let mut node = consumer(&provider);
    let full = node.place.path("full");
    arm(&mut node, Fault::full(full.clone(), None));
    node.start();
    fs::write(&full, "").unwrap();
    let waits = start_session(&node, &provider);
    assert_eq!((&waits["state"], &waits["waiting_on"]["what"]), (&json!("paused"), &json!("disk")), "{waits}");
    // A session that is cancelled meanwhile stays cancelled.
    let body = json!({ "peer": provider.address(), "root": text(&made().tar, "root") });
    let other =
        crate::harness::json(&node.request("POST", "/p2p/snapshots", Some(&body)).1)["session"].as_u64().unwrap();
    assert_eq!(node.request("DELETE", &format!("/p2p/snapshots/{other}"), None).0, 204);
    fs::remove_file(&full).unwrap();
    let session = waits["session"].as_u64().unwrap();
    complete(&node, session);
    node.kill();
    node.prepare = None;
    node.start();
    let (_, all) = node.request("GET", "/p2p/snapshots", None);
    let all = crate::harness::json(&all);
    let ids: Vec<_> = all.as_array().unwrap().iter().map(|one| one["session"].as_u64().unwrap()).collect();
    assert_eq!(ids, [session], "{all}");
}

#[test]
fn a_node_starts_on_a_full_disk_and_goes_on_with_its_sessions() {
    let mut provider = provider();
    provider.start();
    let mut node = consumer(&provider);
    let full = node.place.path("full");
    arm(&mut node, Fault { at: 3, ..Fault::full(full.clone(), Some("/payload")) });
    fs::write(&full, "").unwrap();
    node.start();
    let session = start_session(&node, &provider)["session"].as_u64().unwrap();
    status_where(&node, session, "the pause", |status| status["state"] == "paused");
    node.kill();
    // Now no file at all can be written.
    arm(&mut node, Fault::full(full.clone(), None));
    node.start();
    says_it_cannot_write(&node, "database");
    let held = status(&node, session);
    assert_eq!(held["root"], made().published["root"], "it is known all the same: {held}");
    logs(&node, "cannot write");
    fs::remove_file(&full).unwrap();
    complete(&node, session);
    says_it_can_write(&node);
}

#[test]
fn a_provider_on_a_full_disk_serves_what_it_has_and_acknowledges_when_there_is_room() {
    let mut provider = provider();
    let full = provider.place.path("full");
    arm(&mut provider, Fault::full(full.clone(), None));
    fs::write(&full, "").unwrap();
    provider.start();
    says_it_cannot_write(&provider, "database");
    let acks = |provider: &Process| {
        let (_, metrics) = provider.request("GET", "/metrics", None);
        let prefix = "rpp_acks_total{direction=\"received\",kind=\"ack\"} ";
        metrics.lines().find_map(|line| line.strip_prefix(prefix)).map_or(0, |n| n.parse::<u64>().unwrap())
    };
    let mut node = consumer(&provider);
    node.start();
    let session = start_session(&node, &provider)["session"].as_u64().unwrap();
    complete(&node, session);
    assert_eq!(acks(&provider), 0, "an acknowledgement was mirrored that is not on the disk");
    fs::remove_file(&full).unwrap();
    says_it_can_write(&provider);
    let mut node = consumer(&provider);
    node.start();
    let session = start_session(&node, &provider)["session"].as_u64().unwrap();
    complete(&node, session);
    assert!(acks(&provider) > 0);
}

/// An error of the disk does not prove that a file is missing or damaged.
#[test]
fn what_could_not_be_read_at_the_start_is_named_and_offered_once_it_can_be_read() {
    for part in ["manifest.json", "outboard"] {
        let mut provider = provider();
        let log = arm(&mut provider, Fault { only: Some(part), ..Fault::nth("open", 1, EIO) });
        provider.start();
        offers(&provider);
        let call = failed_call(&log).unwrap();
        assert!(call.path.ends_with(part), "{call:?}");
        logs(&provider, &call.path.display().to_string());
        logs(&provider, "can be read again");
    }
}

/// The database's library panics in the running node when its last flush fails. The panic is one record in the log, in
/// the log's format, and counts one in the metric. The node keeps running.
#[test]
fn a_panic_in_the_running_node_is_one_record_in_the_logs_format_and_counts() {
    let mut node = Process::new(&[], reserved_port());
    node.flag(&format!("--trust-genesis={}", "07".repeat(32)));
    let failing = node.place.path("failing");
    arm(&mut node, Fault { only: Some("/sessions/"), holds: Some(failing.clone()), ..Fault::nth("fsync", 1, EIO) });
    node.start();
    let panics = |node: &Process| {
        let (_, metrics) = node.request("GET", "/metrics", None);
        let count = metrics.lines().find_map(|line| line.strip_prefix("rpp_panics_total "));
        count.unwrap_or_else(|| panic!("{metrics}")).parse::<usize>().unwrap()
    };
    assert_eq!(panics(&node), 0);
    fs::write(&failing, "").unwrap();
    let peer = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    // On a busy machine, the answer may take longer than the node waits for it.
    let (code, answer) = node.request("POST", "/p2p/snapshots", Some(&json!({ "peer": peer })));
    assert!([200, 504].contains(&code), "{answer}");
    eventually("the panic", || (panics(&node) > 0).then_some(()));
    fs::remove_file(&failing).unwrap();
    says_it_can_write(&node);

    let text = node.logged();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let told: Vec<_> = records.iter().filter(|record| record["target"] == "rpp::panic").collect();
    assert_eq!(told.len(), panics(&node), "{text}");
    for record in told {
        assert_eq!(record["level"], "ERROR", "{record}");
        assert!(record["panic"].as_str().unwrap().contains("code: 5") && record["place"].is_string(), "{record}");
    }
}

#[test]
fn a_store_or_partial_on_a_mount_of_its_own_is_said_before_any_work() {
    for folder in ["store", "partial", "chain"] {
        let place = Place::new(&["--publisher"]);
        let mount = place.path("data/snapshots").join(folder);
        fs::create_dir_all(&mount).unwrap();
        let input = place.path("input");
        fs::write(&input, "some").unwrap();
        let config = place.config();
        for arguments in [
            vec!["config", "check", "--config", config.to_str().unwrap(), "--quiet"],
            vec![
                "run",
                "--config",
                config.to_str().unwrap(),
                "--p2p-listen=/ip4/127.0.0.1/tcp/0",
                "--rpc-listen=127.0.0.1:0",
            ],
            vec!["publish", "--config", config.to_str().unwrap(), "--height", "1", input.to_str().unwrap()],
        ] {
            let script = "mount -t tmpfs none \"$0\" || exit 99; exec \"$@\"";
            let Some(output) = with_a_mount(script, &[mount.as_os_str()], &arguments) else { return };
            let said = crate::harness::stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
            assert!(said.contains(&mount.display().to_string()) && said.contains("mount of its own"), "{said}");
        }
        assert!(!place.path("data/snapshots/sessions").exists(), "work was begun");
    }
}

/// Runs the program in a mount namespace of its own, after `script`, whose parameters come before the program. `None`: only
/// root may make one, or nothing can be mounted; then it says so.
fn with_a_mount(script: &str, parameters: &[&std::ffi::OsStr], arguments: &[&str]) -> Option<std::process::Output> {
    let output = std::process::Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .args(parameters)
        .arg(env!("CARGO_BIN_EXE_rpp-node"))
        .args(arguments)
        .output();
    match output {
        Ok(output) if output.status.code() == Some(0) || output.status.code() == Some(1) => Some(output),
        other => {
            println!("skipped: a tmpfs cannot be mounted here: {other:?}");
            None
        }
    }
}

#[test]
fn without_inodes_publish_unpack_and_mirror_say_what_is_lacking() {
    let made = made();
    let root = text(&made.tar, "root");
    let place = Place::new(&["--publisher"]);
    copy_tree(&made.place.path("data/snapshots/store"), &place.path("data/snapshots/store"));
    let input = place.path("input");
    fs::write(&input, "some").unwrap();
    let config = place.config();
    let config = config.to_str().unwrap();
    let small = place.path("small");
    fs::create_dir(&small).unwrap();
    let (data, dest) = (small.join("data"), small.join("dest"));
    let (data, dest) = (data.to_str().unwrap(), dest.to_str().unwrap());
    let publish = ["publish", "--config", config, "--data-dir", data, "--height", "1", input.to_str().unwrap()];
    let url = format!("file://{}", small.join("mirror").display());
    let mirror = ["mirror", "--config", config, &url];
    // The number of files that can be made, besides those for `publish` to begin with.
    for (files, arguments, words) in [
        (2, &["unpack", "--config", config, root, dest][..], "cannot write /"),
        (0, &publish[..], "cannot write /"),
        (1, &publish[..], "cannot write /"),
        (2, &publish[..], "cannot write /"),
        (3, &publish[..], "cannot write /"),
        (0, &mirror[..], "/mirror cannot be made"),
        (1, &mirror[..], "the request for its payload failed"),
        (2, &mirror[..], "the request for its payload failed"),
        (3, &mirror[..], "the request for its outboard failed"),
    ] {
        // One inode is the folder's own. What an earlier call of `publish` makes is there already.
        let script = "mount -t tmpfs none \"$0\" && mkdir -p \"$0/data/snapshots/chain/history\" \"$0/data/snapshots/chain/prover\" \
                      \"$0/data/snapshots/store\" \"$0/data/snapshots/partial\" && touch \"$0/data/snapshots/store/.lock\" \
                      \"$0/data/snapshots/chain/.lock\" \"$0/data/snapshots/chain/prover/state.lock\" && \
                      mount -o remount,nr_inodes=$(($(find \"$0\" | wc -l) + $1)) \"$0\" || exit 99; shift; exec \"$@\"";
        let files_left = files.to_string();
        let Some(output) = with_a_mount(script, &[small.as_os_str(), files_left.as_ref()], arguments) else { return };
        let said = crate::harness::stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{files} {arguments:?}: {said}");
        assert!(said.contains(words) && said.contains("no inodes are left (df -i)"), "{files}: {said}");
    }
}

#[test]
fn messages_say_what_is_wrong_with_what_in_one_line() {
    // A damaged manifest must not be reported as "not stored here".
    let place = Place::new(&["--publisher"]);
    let store = place.path("data/snapshots/store");
    copy_tree(&made().place.path("data/snapshots/store"), &store);
    let root = text(&made().published, "root");
    let manifest = store.join(root).join("manifest.json");
    let mut bytes = fs::read(&manifest).unwrap();
    bytes[40] ^= 1;
    fs::write(&manifest, bytes).unwrap();
    for (command, arguments) in [("verify", vec![root]), ("unpack", vec![root, "dest"])] {
        let said = place.fail(command, &arguments);
        assert!(said.contains("damaged") && said.contains("manifest.json"), "{said}");
        assert!(!said.contains("not stored here"), "{said}");
    }
    place.succeed("remove", &[root]);
    assert!(place.fail("verify", &[root]).contains("not stored here"));

    // The names in a folder may come from a stranger.
    let folder = place.path("folder");
    fs::create_dir(&folder).unwrap();
    let name = folder.join("one\nerror: two");
    rustix::fs::mknodat(rustix::fs::CWD, &name, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let said = place.fail("publish", &["--height", "1", folder.to_str().unwrap()]);
    assert!(said.contains("one\\u{a}error: two") && !said.contains("\nerror: two"), "{said}");
    let missing = place.path("no\nsuch");
    let said = place.fail("publish", &["--height", "1", missing.to_str().unwrap()]);
    assert!(said.contains("no\\u{a}such") && !said.contains("\nsuch"), "{said}");
}

#[test]
fn an_unreadable_head_is_said_wherever_it_is_asked_for() {
    let provider = provider();
    let mut node = consumer(&provider);
    let head = node.place.path("data/snapshots/head.json");
    fs::create_dir_all(head.parent().unwrap()).unwrap();
    fs::write(&head, "{}").unwrap();
    node.start();
    let (code, answer) = node.request("GET", "/p2p/head", None);
    assert!(code == 500 && answer.contains(&head.display().to_string()) && answer.contains("mv "), "{code} {answer}");
    let body = json!({ "peer": provider.address() });
    let (code, answer) = node.request("POST", "/p2p/snapshots", Some(&body));
    assert!(code == 500 && answer.contains(&head.display().to_string()), "{code} {answer}");
}

/// How much of a sweep runs: every n, or some.
fn is_all() -> bool {
    std::env::var("RPP_TEST_FAULTS").is_ok_and(|word| word == "all")
}

/// Calls `run` with the n-th call failing, for n from 1 until a run without a failure; a sample uses only some n. `run`
/// returns the call that failed. Several runs work at once, because each mostly waits for its disk and its peer. If a
/// run computes for seconds, `known` has the calls of a run without a failure; a sample then ends with the last of
/// them, and runs one after the other.
fn sweep(what: &str, sample: u64, known: &[Call], run: impl Fn(&Fault) -> Option<Call> + Sync) {
    let begun = Instant::now();
    let at_once = match known.is_empty() || is_all() {
        true => std::thread::available_parallelism().map_or(2, usize::from) * 2,
        false => 1,
    };
    for op in OPS {
        for error in [EIO, ENOSPC] {
            // The steps differ, so that the samples of different errors hit different calls.
            let step = if is_all() { 1 } else { sample + u64::from(error == EIO) * sample / 2 };
            let last = match at_once {
                1 => known.iter().filter(|call| call.op == op).count() as u64,
                _ => u64::MAX,
            };
            let (next, clean, failed) = (AtomicU64::new(1), AtomicU64::new(last), AtomicU64::new(0));
            let work = || loop {
                let n = next.fetch_add(step, Ordering::SeqCst);
                if n > clean.load(Ordering::SeqCst) {
                    return;
                }
                match run(&Fault::nth(op, n, error)) {
                    Some(_) => failed.fetch_add(1, Ordering::SeqCst),
                    None => clean.fetch_min(n, Ordering::SeqCst),
                };
            };
            std::thread::scope(|scope| (0..at_once).for_each(|_| drop(scope.spawn(work))));
            println!(
                "{what}: {op} with error {error}: {failed:?} runs failed a call, the first without one is {clean:?}"
            );
        }
    }
    println!("{what}: {:?}", begun.elapsed());
}

fn failed_call(log: &Path) -> Option<Call> {
    calls(log).into_iter().find(|call| call.failed)
}

/// Whether a message names the file of a call. For a temporary file, the message must name the final file in the same
/// folder; for what is made to find out whether a folder takes files, that folder. For a file of the database, which
/// belongs to its library, it must name the database's folder.
fn names(message: &str, call: &Call) -> bool {
    let parent = call.path.parent().unwrap();
    let name = call.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let is_temporary =
        [".tmp-", ".rpp-node-check-"].iter().any(|start| name.starts_with(start)) || name.ends_with(".tmp");
    // The path without a `.` at its end; folders are synced and listed with one.
    let path: PathBuf =
        if is_temporary || parent.ends_with("sessions") { parent } else { &call.path }.components().collect();
    // An entry that is being unpacked is named as the tar names it.
    let mut parts = path.components();
    if parts.any(|part| part.as_os_str().to_string_lossy().contains("unpacking")) {
        let entry = parts.as_path().display().to_string();
        return message.contains(if entry.is_empty() { "dest" } else { &entry });
    }
    message.contains(&path.display().to_string())
}

/// Runs a command with a fault below `folder`. Returns the output and the call that failed.
fn run_with(place: &Place, fault: &Fault, folder: &Path, name: &str, arguments: &[&str]) -> (Output, Option<Call>) {
    let log = place.path("calls");
    let _ = fs::remove_file(&log);
    let mut command = place.command(name);
    fault.arm(&mut command, folder, &log);
    let output = command.args(arguments).output().unwrap();
    (output, failed_call(&log))
}

/// Checks a command during which a call failed. Either it succeeded, or it ended with exit code 1 and named the file,
/// without debug text.
fn judge(fault: &Fault, output: &Output, call: Option<&Call>) {
    let said = crate::harness::stderr(output);
    match (output.status.code(), call) {
        (Some(0), _) => {}
        (Some(1), Some(call)) => {
            assert!(names(&said, call), "{call:?} is not named: {said}");
            assert!(!said.contains("Os {") && !said.contains("kind:"), "{fault:?}: {said}");
            let error = std::io::Error::from_raw_os_error(fault.error).to_string();
            assert!(said.matches(&error).count() <= 1, "{fault:?}: a cause is said twice: {said}");
        }
        _ => panic!("{fault:?} {call:?}: {:?} {said}", output.status),
    }
}

#[test]
fn sweep_unpack() {
    let made = made();
    let root = text(&made.tar, "root");
    sweep("unpack", 5, &[], |fault| {
        let place = Place::new(&[]);
        copy_tree(&made.place.path("data/snapshots/store"), &place.path("data/snapshots/store"));
        let folder = place.path("");
        let dest = place.path("dest");
        let (output, call) = run_with(&place, fault, &folder, "unpack", &[root, dest.to_str().unwrap()]);
        judge(fault, &output, call.as_ref());
        if output.status.success() {
            assert_same(&made.tree, &dest);
            fs::remove_dir_all(&dest).unwrap();
        } else if dest.exists() {
            // A folder appears only when it is complete. So the call that failed was the one that makes its name
            // durable, and the message must not say that nothing was unpacked.
            assert!(
                !crate::harness::stderr(&output).contains("was not unpacked"),
                "{fault:?}: {}",
                crate::harness::stderr(&output)
            );
            assert_same(&made.tree, &dest);
            fs::remove_dir_all(&dest).unwrap();
        }
        let left = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("unpacking")).collect();
        assert!(left.is_empty(), "{fault:?} {call:?}: {left:?} {}", crate::harness::stderr(&output));
        call
    });
}

fn assert_same(one: &Path, other: &Path) {
    let same =
        std::process::Command::new("diff").arg("-r").arg("--no-dereference").args([one, other]).output().unwrap();
    assert!(same.status.success(), "{}", String::from_utf8_lossy(&same.stdout));
}

/// Names and lengths of the files in a folder, without the random numbers in the names of temporary files.
fn names_below(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let entry = entry.unwrap();
            let (path, length) = (entry.path(), entry.metadata().unwrap().len());
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            let name = name.split(".tmp-").next().unwrap();
            match path.is_dir() {
                true => folders.push(path),
                false => names.push(format!("{name} {length}")),
            }
        }
    }
    names.sort();
    names
}

#[test]
fn sweep_publish() {
    let input = made().place.path("input");
    // Leftovers of the same form are completed only once, because each time takes a proof.
    let completed: Mutex<BTreeSet<Vec<String>>> = Mutex::default();
    let publish = |fault: &Fault| {
        let place = Place::new(&["--publisher"]);
        let data = place.path("data");
        fs::create_dir_all(&data).unwrap();
        let arguments = ["--json", "--height", "7", input.to_str().unwrap()];
        let (output, call) = run_with(&place, fault, &data, "publish", &arguments);
        judge(fault, &output, call.as_ref());
        if !output.status.success() && !completed.lock().unwrap().insert(names_below(&data)) {
            return calls(&place.path("calls"));
        }
        // Publishing again completes it, and the store then has the published snapshot.
        let again = crate::harness::json(&place.succeed("publish", &arguments));
        if output.status.success() {
            assert_eq!(crate::harness::json(&String::from_utf8_lossy(&output.stdout)), again);
        }
        let root = text(&again, "root");
        assert_eq!(root, blake3::hash(&fs::read(&input).unwrap()).to_hex().as_str());
        assert!(fs::read(data.join("snapshots/store").join(root).join("payload")).unwrap() == noise(PAYLOAD));
        calls(&place.path("calls"))
    };
    // A run without a failure.
    let known = publish(&Fault::nth("write", u64::MAX >> 1, EIO));
    assert!(OPS.iter().all(|op| known.iter().any(|call| call.op == *op && !call.failed)), "{known:?}");
    sweep("publish", 24, &known, |fault| publish(fault).into_iter().find(|call| call.failed));
}

#[test]
fn sweep_consumer() {
    let mut serving = provider();
    serving.start();
    let provider = serving.address();
    sweep("consumer", 60, &[], |fault| {
        let mut node = consumer_of(&provider);
        let log = arm(&mut node, fault.clone());
        let mut session = None;
        if node.try_start() {
            let body = json!({ "peer": provider, "root": text(&made().published, "root") });
            let (code, answer) = node.request("POST", "/p2p/snapshots", Some(&body));
            if code == 200 || code == 502 {
                let all = crate::harness::json(&node.request("GET", "/p2p/snapshots", None).1);
                session = all[0]["session"].as_u64();
            } else {
                let call = failed_call(&log).unwrap_or_else(|| panic!("{code} {answer}"));
                assert!(names(&answer, &call), "{call:?} is not named: {answer}");
            }
            if let Some(session) = session {
                let ended = status_where(&node, session, "the end", |status| {
                    ["complete", "failed"].contains(&text(status, "state"))
                });
                if ended["state"] == "failed" {
                    let call = failed_call(&log).unwrap_or_else(|| panic!("{ended}"));
                    let error = text(&ended, "error");
                    assert_eq!(ended["error_code"], "storage", "{ended}");
                    assert!(names(error, &call), "{call:?} is not named: {ended}");
                    assert!(!error.contains("Os {"), "{ended}");
                } else {
                    complete(&node, session);
                }
            }
            node.kill();
        } else {
            let call = failed_call(&log).unwrap_or_else(|| panic!("{}", node.logged()));
            assert!(names(&node.logged(), &call), "{call:?} is not named: {}", node.logged());
        }
        let call = failed_call(&log);
        // Without the fault, everything that had counted is still there, and the session completes.
        node.prepare = None;
        node.start();
        let session = match session {
            Some(session) => {
                let body = json!({ "resume": { "session": session } });
                assert_eq!(node.request("POST", "/p2p/snapshots", Some(&body)).0, 200);
                session
            }
            None => start_session_from(&node, &provider)["session"].as_u64().unwrap(),
        };
        complete(&node, session);
        call
    });
}

#[test]
fn sweep_provider() {
    sweep("provider", 40, &[], |fault| {
        let mut provider = provider();
        let log = arm(&mut provider, fault.clone());
        let started = provider.try_start();
        let call = failed_call(&log);
        if !started {
            let call = call.as_ref().unwrap_or_else(|| panic!("{}", provider.logged()));
            assert!(names(&provider.logged(), call), "{call:?} is not named: {}", provider.logged());
            return Some(call.clone());
        }
        // Snapshots that it could not read at its start are offered as soon as it can read them.
        offers(&provider);
        let mut node = consumer(&provider);
        node.start();
        let session = start_session(&node, &provider)["session"].as_u64().unwrap();
        complete(&node, session);
        failed_call(&log)
    });
}

/// Waits until a provider offers the published snapshot.
fn offers(provider: &Process) {
    let root = text(&made().published, "root");
    eventually("the offer", || provider.request("GET", "/p2p/identity", None).1.contains(root).then_some(()));
}
