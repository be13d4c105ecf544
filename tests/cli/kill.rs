//! SIGKILL at random moments, also during start-up. Nothing that was acknowledged is lost, every start succeeds, and
//! the bytes are equal in the end. A kill costs at most the bytes that are being made durable and those that arrive
//! meanwhile.
//!
//! A byte that changes on the disk between SIGKILL and start is never reported as verified.
//!
//! With three sources, no durable chunk is asked for again, wherever it stands.
//!
//! `RPP_TEST_KILLS` says how often (60), `RPP_TEST_FLIPS` how many bytes change (3), `RPP_TEST_SEED` repeats a run's
//! decisions.

mod sources;

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::harness::DEADLINE;
use crate::support::{port::reserved_port, process::Process};
use serde_json::{Value, json};

const PAYLOAD: usize = 32 * 1024 * 1024;
/// The payload for changed bytes, small so that its many rounds are short.
const SMALL_PAYLOAD: usize = 8 * 1024 * 1024;
const CHUNK: u64 = 32 * 1024;
/// Bytes that are made durable together.
const GROUP: u64 = 1024 * 1024;
/// Bytes that may be verified and not durable yet, so that a kill may lose them: the group that is being made durable,
/// and as many bytes that arrive meanwhile.
const AT_RISK: u64 = 2 * GROUP;

#[test]
fn sigkill_at_random_moments_costs_what_is_not_durable_at_most() {
    let kills = number("RPP_TEST_KILLS").unwrap_or(60);
    let seed = number("RPP_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("RPP_TEST_KILLS={kills} RPP_TEST_SEED={seed}");
    let begun = Instant::now();
    let mut world = World::new(seed, PAYLOAD);
    while world.kills < kills {
        let moment = world.below(2_500);
        world.watch_for(Duration::from_millis(moment));
        match world.below(5) {
            0 | 1 => world.kill_and_restart(Who::Consumer),
            2 | 3 => world.kill_and_restart(Who::Provider),
            _ => {
                world.kill(Who::Consumer);
                world.kill_and_restart(Who::Provider);
                world.restart(Who::Consumer);
            }
        }
    }
    let before = world.completed;
    let deadline = Instant::now() + 4 * DEADLINE;
    while world.completed == before {
        assert!(Instant::now() < deadline, "it does not complete any more: {}", world.last);
        world.watch_for(Duration::from_millis(50));
    }
    println!(
        "{} kills, {} of them during start-up; {} payloads in {:?}; lost by kills and fetched again: {} KiB, {} KiB at most by one",
        world.kills,
        world.early_kills,
        world.completed,
        begun.elapsed(),
        world.lost / 1024,
        world.lost_most / 1024
    );
}

#[test]
fn a_byte_that_changes_between_sigkill_and_start_is_never_called_verified() {
    let flips = number("RPP_TEST_FLIPS").unwrap_or(3);
    let seed = number("RPP_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("RPP_TEST_FLIPS={flips} RPP_TEST_SEED={seed}");
    let begun = Instant::now();
    let mut world = World::new(seed, SMALL_PAYLOAD);
    let mut flipped = 0;
    while flipped < flips {
        // The kill is at a random place of the payload, whatever the speed of this machine.
        let place = world.below(world.payload.len() as u64);
        world.watch_until(|status| status["bytes_durable"].as_u64() >= Some(place));
        world.kill(Who::Consumer);
        flipped += u64::from(world.flip());
        world.consumer.start();
        let before = world.completed;
        let deadline = Instant::now() + 4 * DEADLINE;
        // `renew` compares every byte and starts the next payload.
        while world.completed == before {
            assert!(Instant::now() < deadline, "it does not complete any more: {}", world.last);
            world.watch_for(Duration::from_millis(50));
        }
    }
    let found = world.consumer.logged().matches("does not hold: it is fetched again").count();
    println!(
        "{flips} bytes changed in {:?}: 0 wrong bytes called verified, {found} found in what was recorded",
        begun.elapsed()
    );
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text}")))
}

/// splitmix64
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[derive(Clone, Copy)]
enum Who {
    Consumer,
    Provider,
}

struct World {
    random: Random,
    consumer: Process,
    provider: Process,
    payload: Vec<u8>,
    root: String,
    session: u64,
    kills: u64,
    early_kills: u64,
    completed: u64,
    /// The newest status.
    last: Value,
    /// The largest number of confirmed chunks that this session has reported.
    confirmed: u64,
    /// The largest number of verified bytes reported since the consumer started.
    verified: u64,
    /// The consumer was killed since the last status.
    restarted: bool,
    /// Bytes received and verified at the first poll after the consumer's start.
    before: (u64, u64),
    lost: u64,
    lost_most: u64,
    /// Chunks that were needed before the provider started: those of completed payloads, and acknowledged ones.
    served_from: u64,
    consumer_kills_of_provider: u64,
}

impl World {
    fn new(seed: u64, payload_bytes: usize) -> Self {
        let (consumer_port, provider_port) = (reserved_port(), reserved_port());
        let mut consumer = Process::new(&[], consumer_port);
        let mut provider = Process::new(&["--publisher"], provider_port);
        let payload = noise(payload_bytes);
        let input = provider.place.path("input");
        fs::write(&input, &payload).unwrap();
        let published = provider.place.publish(7, &input);
        consumer.flag(&format!("--p2p-peers={}", provider.address()));
        provider.flag(&format!("--p2p-peers={}", consumer.address()));
        consumer.flag(&format!("--trust-genesis={}", published["genesis"].as_str().unwrap()));
        consumer.flag(&format!("--snapshots-chunk-size={CHUNK}"));
        consumer.flag(&format!("--snapshots-max-chunk-size={CHUNK}"));
        for key in ["window", "ack-bytes"] {
            consumer.flag(&format!("--snapshots-{key}={GROUP}"));
        }
        provider.start();
        consumer.start();
        let mut world = Self {
            random: Random(seed),
            consumer,
            provider,
            payload,
            root: published["root"].as_str().unwrap().to_owned(),
            session: 0,
            kills: 0,
            early_kills: 0,
            completed: 0,
            last: Value::Null,
            confirmed: 0,
            verified: 0,
            restarted: false,
            before: (0, 0),
            lost: 0,
            lost_most: 0,
            served_from: 0,
            consumer_kills_of_provider: 0,
        };
        world.begin();
        world
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn begin(&mut self) {
        let body = json!({ "peer": self.provider.address() });
        let (status, answer) = self.consumer.request("POST", "/p2p/snapshots", Some(&body));
        assert_eq!(status, 200, "{answer}");
        self.session = crate::harness::json(&answer)["session"].as_u64().unwrap();
        (self.confirmed, self.verified, self.restarted, self.before) = (0, 0, false, (0, 0));
    }

    fn watch_for(&mut self, time: Duration) {
        look_for(time, || {
            self.observe();
            // A payload that an earlier process completed is not verified until this process has hashed it.
            if self.last["verified"] == true {
                self.renew();
            }
        });
    }

    /// Polls until the session is as `wanted`, or has ended.
    fn watch_until(&mut self, wanted: impl Fn(&Value) -> bool) {
        let begun = Instant::now();
        loop {
            self.observe();
            if wanted(&self.last) || self.last["verified"] == true {
                return;
            }
            assert!(begun.elapsed() < 4 * DEADLINE, "it does not get on: {}", self.last);
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Polls the session once and checks what must always hold.
    fn observe(&mut self) {
        let (code, answer) = self.consumer.request("GET", &format!("/p2p/snapshots/{}", self.session), None);
        assert_eq!(code, 200, "the session is lost: {answer}");
        let status = crate::harness::json(&answer);
        assert_ne!(status["state"], "failed", "{status}");
        assert!(!answer.contains("resume_regressed"), "something acknowledged was lost: {status}");
        let confirmed = status["confirmed_chunk_index"].as_u64().map_or(0, |index| index + 1);
        assert!(
            confirmed >= self.confirmed,
            "{confirmed} chunks are confirmed, {} were before: {status}",
            self.confirmed
        );
        let bytes = |field: &str| status[field].as_u64().unwrap();
        assert!(bytes("bytes_verified") <= bytes("bytes_durable") + AT_RISK, "{status}");
        let rechecked = status["rechecked_bytes"].as_u64().unwrap_or(0);
        let is_complete = status["state"] == "complete";
        assert!(is_complete || bytes("bytes_verified") <= bytes("bytes_received") + rechecked, "{status}");
        if std::mem::take(&mut self.restarted) {
            let lost = self.verified.saturating_sub(bytes("bytes_durable"));
            assert!(lost <= AT_RISK, "a kill cost {lost} bytes: {status} after {}", self.last);
            self.lost += lost;
            self.lost_most = self.lost_most.max(lost);
            self.verified = 0;
        }
        // Durable bytes that this process has not hashed yet were verified by the one before it.
        self.verified = self.verified.max(bytes("bytes_verified")).max(bytes("bytes_durable"));
        self.confirmed = confirmed;
        self.last = status;
    }

    /// Checks the complete payload and has it streamed again.
    fn renew(&mut self) {
        let path = PathBuf::from(self.last["payload_path"].as_str().unwrap());
        assert_eq!(self.last["state"], "complete");
        assert!(fs::read(&path).unwrap() == self.payload, "the payload differs");
        self.completed += 1;
        self.kill(Who::Consumer);
        fs::remove_dir_all(self.consumer.place.path("data/snapshots/store").join(&self.root)).unwrap();
        self.consumer.start();
        let (code, answer) = self.consumer.request("DELETE", &format!("/p2p/snapshots/{}", self.session), None);
        assert_eq!(code, 204, "{answer}");
        self.begin();
        self.last = Value::Null;
    }

    /// Changes a byte of what the killed consumer left. Returns `false` when there is nothing yet.
    fn flip(&mut self) -> bool {
        let name = if self.below(4) == 0 { "outboard" } else { "payload" };
        let path = self.consumer.place.path("data/snapshots/partial").join(&self.root).join(name);
        let Ok(file) = fs::OpenOptions::new().read(true).write(true).open(&path) else { return false };
        let len = file.metadata().unwrap().len();
        if len == 0 {
            return false;
        }
        let at = self.below(len);
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ (1 << self.below(8))], at).unwrap();
        true
    }

    fn kill(&mut self, who: Who) {
        match who {
            Who::Consumer => {
                self.restarted = true;
                self.consumer_kills_of_provider += 1;
                self.consumer.kill();
            }
            Who::Provider => {
                self.count_served();
                self.provider.kill();
            }
        }
        self.kills += 1;
    }

    /// Checks that the provider served no more chunks than were needed, plus those at risk for each kill of the
    /// consumer.
    fn count_served(&mut self) {
        if !self.consumer.is_running() {
            return;
        }
        let (code, metrics) = self.provider.request("GET", "/metrics", None);
        assert_eq!(code, 200, "{metrics}");
        let prefix = "rpp_snapshot_requests_total{direction=\"received\",kind=\"chunk\",outcome=\"served\"} ";
        let served: u64 = metrics.lines().find_map(|line| line.strip_prefix(prefix)).map_or(0, |n| n.parse().unwrap());
        self.observe();
        let needed = self.chunks(self.verified / CHUNK) - self.served_from;
        // One more chunk may be in flight.
        let spare = (self.consumer_kills_of_provider + 1) * (AT_RISK / CHUNK + 1);
        assert!(served <= needed + spare, "{served} chunks were served where {needed} were needed, {spare} to spare");
    }

    /// Chunks in all, with those of completed payloads.
    fn chunks(&self, of_this: u64) -> u64 {
        self.completed * (self.payload.len() as u64 / CHUNK) + of_this
    }

    fn kill_and_restart(&mut self, who: Who) {
        self.kill(who);
        self.restart(who);
    }

    /// Starts it again; sometimes it is killed before it is ready.
    fn restart(&mut self, who: Who) {
        if let Who::Provider = who {
            self.served_from = self.chunks(self.confirmed);
            self.consumer_kills_of_provider = 0;
        }
        while self.below(3) == 0 {
            let moment = Duration::from_millis(self.below(400));
            let process = self.process(who);
            process.launch();
            // This waits for nothing: the random moment itself is the point.
            std::thread::park_timeout(moment);
            process.kill();
            self.kills += 1;
            self.early_kills += 1;
        }
        self.process(who).start();
    }

    fn process(&mut self, who: Who) -> &mut Process {
        match who {
            Who::Consumer => &mut self.consumer,
            Who::Provider => &mut self.provider,
        }
    }
}

/// Polls every 20 ms for this time, at least once.
fn look_for(time: Duration, mut look: impl FnMut()) {
    let until = Instant::now() + time;
    loop {
        look();
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left.min(Duration::from_millis(20)));
    }
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new_derive_key("rpp kill test").finalize_xof().fill(&mut bytes);
    bytes
}
