//! SIGKILL of a download from three providers. Their speeds differ, so the durable parts have gaps. The next process
//! does not ask again for any chunk that an earlier one reported as durable, wherever it is in the payload, even if the
//! file that records them is missing or damaged.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{CHUNK, GROUP, Random, SMALL_PAYLOAD, look_for, noise, number};
use crate::{
    harness::{self, DEADLINE},
    support::{port::reserved_port, process::Process},
};

/// Bytes a second of each provider.
const RATES: [u64; 3] = [6 << 20, 3 << 20, 1 << 20];
/// Payload bytes that may be fetched twice in one process: at the end, chunks in flight are asked of a second source,
/// and chunks that were in flight from a killed provider are asked of others.
const TWICE: u64 = 4 * GROUP;

#[test]
fn with_three_sources_no_durable_chunk_is_asked_for_again() {
    let kills = number("RPP_TEST_KILLS").unwrap_or(60);
    let seed = number("RPP_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("RPP_TEST_KILLS={kills} RPP_TEST_SEED={seed}");
    let begun = Instant::now();
    let mut world = World::new(seed);
    while world.kills < kills {
        let moment = world.below(700);
        world.watch_for(Duration::from_millis(moment));
        match world.below(6) {
            0 => world.kill_a_provider(),
            1 => world.kill_consumer(Have::Removed),
            2 => world.kill_consumer(Have::Damaged),
            _ => world.kill_consumer(Have::Whole),
        }
    }
    world.settle();
    let said = |words: &str| world.consumer.logged().matches(words).count();
    let (damaged, missing) = (said("what is had of it is damaged"), said("what is had of it is missing"));
    assert!(damaged > 0 || world.damaged == 0, "{} times damaged, and never said", world.damaged);
    println!(
        "{} kills, {} payloads in {:?}; {} kills left gaps; `have` was damaged {} times and said so {damaged} times, removed {} \
         times and said so {missing} times; {} KiB came twice in one process at most",
        world.kills,
        world.completed,
        begun.elapsed(),
        world.gaps,
        world.damaged,
        world.removed,
        world.twice / 1024
    );
}

/// What happens to the file while the consumer is dead.
#[derive(Clone, Copy, PartialEq)]
enum Have {
    Whole,
    Removed,
    Damaged,
}

struct World {
    random: Random,
    consumer: Process,
    providers: Vec<Process>,
    payload: Vec<u8>,
    root: String,
    session: u64,
    /// The durable bytes that this process of the consumer found at its start.
    found: Option<u64>,
    /// Durable bytes by the newest status.
    durable: u64,
    last: Value,
    kills: u64,
    completed: u64,
    gaps: u64,
    damaged: u64,
    removed: u64,
    twice: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let payload = noise(SMALL_PAYLOAD);
        let mut providers: Vec<Process> = Vec::new();
        let (mut root, mut genesis) = (String::new(), String::new());
        for (number, rate) in RATES.into_iter().enumerate() {
            let init: &[&str] = if number == 0 { &["--publisher"] } else { &[] };
            let mut provider = Process::new(init, reserved_port());
            if let Some(first) = providers.first() {
                let store = |of: &Process| of.place.path("data/snapshots/store");
                copy(&store(first).join(&root), &store(&provider).join(&root));
            } else {
                let input = provider.place.path("input");
                fs::write(&input, &payload).unwrap();
                let published = provider.place.publish(7, &input);
                let text = |name: &str| published[name].as_str().unwrap().to_owned();
                (root, genesis) = (text("root"), text("genesis"));
            }
            provider.flag(&format!("--limits-upload-bytes-per-second={rate}"));
            provider.start();
            providers.push(provider);
        }
        let mut consumer = Process::new(&[], reserved_port());
        consumer.flag(&format!("--trust-genesis={genesis}"));
        consumer.flag(&format!("--snapshots-chunk-size={CHUNK}"));
        consumer.flag(&format!("--snapshots-max-chunk-size={CHUNK}"));
        for key in ["window", "ack-bytes"] {
            consumer.flag(&format!("--snapshots-{key}={GROUP}"));
        }
        consumer.start();
        let mut world = Self {
            random: Random(seed),
            consumer,
            providers,
            payload,
            root,
            session: 0,
            found: None,
            durable: 0,
            last: Value::Null,
            kills: 0,
            completed: 0,
            gaps: 0,
            damaged: 0,
            removed: 0,
            twice: 0,
        };
        world.begin();
        world
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn begin(&mut self) {
        let peers: Vec<String> = self.providers.iter().map(Process::address).collect();
        let (status, answer) = self.consumer.request("POST", "/p2p/snapshots", Some(&json!({ "peers": peers })));
        assert_eq!(status, 200, "{answer}");
        self.session = harness::json(&answer)["session"].as_u64().unwrap();
        (self.found, self.durable, self.last) = (None, 0, Value::Null);
    }

    fn watch_for(&mut self, time: Duration) {
        look_for(time, || {
            self.observe();
            if self.last["verified"] == true {
                self.renew();
            }
        });
    }

    /// Waits until the present payload is complete.
    fn settle(&mut self) {
        let (before, deadline) = (self.completed, Instant::now() + 4 * DEADLINE);
        while self.completed == before {
            assert!(Instant::now() < deadline, "it does not complete any more: {}", self.last);
            self.watch_for(Duration::from_millis(50));
        }
    }

    /// Polls the session once and checks what must always hold.
    fn observe(&mut self) {
        let (code, answer) = self.consumer.request("GET", &format!("/p2p/snapshots/{}", self.session), None);
        assert_eq!(code, 200, "the session is lost: {answer}");
        let status = harness::json(&answer);
        assert_ne!(status["state"], "failed", "{status}");
        let bytes = |field: &str| status[field].as_u64().unwrap();
        let durable = bytes("bytes_durable");
        assert!(durable >= self.durable, "{durable} bytes are durable, {} were before: {status}", self.durable);
        let (received, wasted) = (bytes("bytes_received"), bytes("bytes_wasted"));
        // Some chunks may have arrived and be durable before the first poll of this process.
        let found = *self.found.get_or_insert(self.durable.max(durable.saturating_sub(received)));
        let missing = self.payload.len() as u64 - found;
        assert!(
            received - wasted <= missing,
            "{received} bytes came, {wasted} of them in vain, where {missing} were missing: {status}"
        );
        assert!(wasted <= TWICE, "{wasted} bytes came in vain: {status}");
        for source in status["sources"].as_array().unwrap() {
            assert!(!["banned", "refused"].contains(&source["state"].as_str().unwrap()), "{status}");
        }
        self.twice = self.twice.max(wasted);
        (self.durable, self.last) = (durable, status);
    }

    /// Checks the complete payload and has it streamed again.
    fn renew(&mut self) {
        let path = PathBuf::from(self.last["payload_path"].as_str().unwrap());
        assert!(fs::read(&path).unwrap() == self.payload, "the payload differs");
        self.completed += 1;
        self.consumer.kill();
        self.kills += 1;
        fs::remove_dir_all(self.consumer.place.path("data/snapshots/store").join(&self.root)).unwrap();
        self.consumer.start();
        let (code, answer) = self.consumer.request("DELETE", &format!("/p2p/snapshots/{}", self.session), None);
        assert_eq!(code, 204, "{answer}");
        self.begin();
    }

    fn kill_a_provider(&mut self) {
        let which = usize::try_from(self.below(RATES.len() as u64)).unwrap();
        self.providers[which].kill();
        self.kills += 1;
        self.providers[which].start();
    }

    fn kill_consumer(&mut self, have: Have) {
        self.consumer.kill();
        self.kills += 1;
        let confirmed = self.last["confirmed_chunk_index"].as_u64().map_or(0, |index| (index + 1) * CHUNK);
        self.gaps += u64::from(self.durable > confirmed);
        let file = self.consumer.place.path("data/snapshots/partial").join(&self.root).join("have");
        if let Ok(bytes) = fs::read(&file) {
            match have {
                Have::Whole => {}
                Have::Removed => {
                    fs::remove_file(&file).unwrap();
                    self.removed += 1;
                }
                Have::Damaged => {
                    let at = usize::try_from(self.below(bytes.len() as u64)).unwrap();
                    let mut bytes = bytes;
                    bytes[at] ^= 1 << self.below(8);
                    fs::write(&file, bytes).unwrap();
                    self.damaged += 1;
                }
            }
        }
        self.found = None;
        self.consumer.start();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
