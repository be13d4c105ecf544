//! The main figures over loopback, with the real binary: publishing, and a transfer from file to file at two chunk
//! sizes.
//!
//! `cargo bench --bench transfer`; `RPP_BENCH_MIB` sets the payload (default 1024). It needs four times that in free
//! disk space. Beside every figure stands a comparison from the same run: a plain durable copy of the same file, and a
//! bare request/response exchange of messages of the same size over the same transport. The cost of trust (the first
//! check of a proof in a process) and the time to make the proof are printed separately.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "transfer/bare.rs"]
mod bare;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

const MIB: u64 = 1024 * 1024;
/// Time between two polls of a session.
const POLL: Duration = Duration::from_millis(20);
/// Sessions at once in the last part, and the payload of each.
const SESSIONS: u64 = 8;
const SESSION_MIB: u64 = 64;

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return; // Called by `cargo test --benches`.
    }
    let mib: u64 = std::env::var("RPP_BENCH_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(1024);
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("payload");
    make_payload(&input, mib);

    let copied = timed(|| durable_copy(&input, &folder.path().join("copy")));
    fs::remove_file(folder.path().join("copy")).unwrap();
    row("plain durable copy of the file", mib, copied, "");

    let provider = Place::new(folder.path().join("provider"), &["--publisher"]);
    let published = provider.publish(&input, 1);
    let genesis = published.answer["genesis"].as_str().unwrap().to_owned();
    row("published: read, hashed, copied, durable", mib, published.stored, &relative(published.stored, copied));
    println!(
        "    the proof beside it: {:.1} s; peak memory {} MiB",
        published.proved.as_secs_f64(),
        published.peak_mib
    );

    let serving = provider.run(&[]);
    for (name, chunk_size) in [("1 MiB chunks", MIB), ("32 KiB chunks", 32 * 1024)] {
        let bare = bare::exchange(chunk_size, mib);
        row(&format!("bare exchange, {name}"), mib, bare, "nothing checked, nothing stored");
        let consumer = Place::new(folder.path().join(format!("consumer-{chunk_size}")), &["--genesis", &genesis]);
        let node = consumer.run(&[]);
        let session = node.start(&json!({ "peer": serving.address, "chunk_size": chunk_size, "height": 1 }));
        let (trusted, streamed) = node.complete(session);
        row(&format!("streamed and durable, {name}"), mib, streamed, &relative(streamed, bare));
        println!(
            "    the check of its authority before: {:.1} s; peak memory {} MiB",
            trusted.as_secs_f64(),
            node.peak_mib()
        );
        drop(node);
        fs::remove_dir_all(&consumer.folder).unwrap();
    }
    println!("provider: peak memory {} MiB", serving.peak_mib());
    fs::remove_file(&input).unwrap();
    at_once(folder.path(), &provider, &serving, &genesis);
}

/// Many sessions at once; only their memory matters here.
fn at_once(folder: &Path, provider: &Place, serving: &Running, genesis: &str) {
    let input = folder.join("another");
    for height in 2..2 + SESSIONS {
        make_payload_from(&input, SESSION_MIB, &height.to_string());
        provider.publish(&input, height);
    }
    let consumer = Place::new(folder.join("consumer-many"), &["--genesis", genesis]);
    let node = consumer.run(&[]);
    let begun = Instant::now();
    let sessions: Vec<_> = (2..2 + SESSIONS)
        .map(|height| node.start(&json!({ "peer": serving.address, "height": height, "chunk_size": MIB })))
        .collect();
    for session in sessions {
        node.complete(session);
    }
    row(&format!("{SESSIONS} sessions at once, authority included"), SESSIONS * SESSION_MIB, begun.elapsed(), "");
    println!("    consumer: peak memory {} MiB; provider: {} MiB", node.peak_mib(), serving.peak_mib());
}

fn relative(measured: Duration, reference: Duration) -> String {
    format!("{:.2} times the time of the line above it", measured.as_secs_f64() / reference.as_secs_f64())
}

fn row(what: &str, mib: u64, elapsed: Duration, more: &str) {
    #[allow(clippy::cast_precision_loss)]
    let rate = (mib * MIB) as f64 / 1e6 / elapsed.as_secs_f64();
    println!("{what:<42} {mib:>6} MiB {:>8.2} s {rate:>8.0} MB/s  {more}", elapsed.as_secs_f64());
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

fn make_payload(path: &Path, mib: u64) {
    make_payload_from(path, mib, "");
}

fn make_payload_from(path: &Path, mib: u64, seed: &str) {
    let mut file = File::create(path).unwrap();
    let mut noise = blake3::Hasher::new_derive_key("rpp bench").update(seed.as_bytes()).finalize_xof();
    let mut block = vec![0; MIB as usize];
    for _ in 0..mib {
        noise.fill(&mut block);
        file.write_all(&block).unwrap();
    }
    file.sync_all().unwrap();
}

fn durable_copy(from: &Path, to: &Path) {
    let (mut from, mut to) = (File::open(from).unwrap(), File::create(to).unwrap());
    let mut block = vec![0; MIB as usize];
    loop {
        match from.read(&mut block).unwrap() {
            0 => break,
            length => to.write_all(&block[..length]).unwrap(),
        }
    }
    to.sync_data().unwrap();
}

struct Place {
    folder: PathBuf,
}

impl Place {
    fn new(folder: PathBuf, flags: &[&str]) -> Self {
        let status = command().args(["init", "--dir", folder.to_str().unwrap()]).args(flags).output().unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
        Self { folder }
    }

    fn config(&self) -> String {
        self.folder.join("node.toml").to_str().unwrap().to_owned()
    }

    fn publish(&self, input: &Path, height: u64) -> Published {
        let mut child = command()
            .args(["publish", "--json", "--height", &height.to_string(), "--config", &self.config()])
            .arg(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (begun, mut peak_mib, mut stored) = (Instant::now(), 0, None);
        for line in BufReader::new(child.stderr.take().unwrap()).lines() {
            if line.unwrap().contains("preparing the prover") {
                stored.get_or_insert(begun.elapsed());
            }
            peak_mib = peak_mib.max(peak_of(child.id()));
        }
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let stored = stored.unwrap();
        let answer = serde_json::from_slice(&output.stdout).unwrap();
        Published { answer, stored, proved: begun.elapsed() - stored, peak_mib }
    }

    fn run(&self, flags: &[&str]) -> Running {
        let mut child = command()
            .args(["run", "--config", &self.config(), "--p2p-listen=/ip4/127.0.0.1/tcp/0"])
            .args(["--rpc-listen=127.0.0.1:0", "--introspection-listen=127.0.0.1:0"])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let text = |field: &Value| field.as_str().unwrap().to_owned();
        let token = fs::read_to_string(self.folder.join("rpc.token")).unwrap().trim().to_owned();
        Running { child, address: text(&said["listen"][0]), rpc: text(&said["rpc"]), token }
    }
}

struct Published {
    answer: Value,
    stored: Duration,
    proved: Duration,
    peak_mib: u64,
}

struct Running {
    child: Child,
    address: String,
    rpc: String,
    token: String,
}

impl Running {
    fn peak_mib(&self) -> u64 {
        peak_of(self.child.id())
    }

    fn start(&self, request: &Value) -> u64 {
        self.request("POST", "/p2p/snapshots", &request.to_string())["session"].as_u64().unwrap()
    }

    /// The time until the first chunk was asked for, and from then until everything was verified and in place.
    fn complete(&self, session: u64) -> (Duration, Duration) {
        let (begun, mut streaming) = (Instant::now(), None);
        loop {
            let status = self.request("GET", &format!("/p2p/snapshots/{session}"), "");
            match status["state"].as_str().unwrap() {
                "streaming" => {
                    streaming.get_or_insert_with(Instant::now);
                }
                "complete" => {
                    assert_eq!(status["verified"], true);
                    let streaming = streaming.unwrap_or(begun);
                    return (streaming - begun, streaming.elapsed());
                }
                "failed" => panic!("{status}"),
                _ => {}
            }
            thread::sleep(POLL);
        }
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Value {
        let mut stream = TcpStream::connect(&self.rpc).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.rpc,
            self.token,
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(body).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `VmHWM` of a process.
fn peak_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rpp-node"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RPP_") || name == "PEEPS_DASHBOARD" {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}
