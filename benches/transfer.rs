//! First figures of the main job, over loopback, with the real binary: publishing, and file to file at two chunk sizes.
//!
//! `cargo bench --bench transfer`; `RPP_BENCH_MIB` sets the payload (default 1024). Needs four times that of free disk.
//! Every figure is printed with what it is measured against: a plain copy of the same file, made durable, in the same run.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

const MIB: u64 = 1024 * 1024;

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return; // asked by `cargo test --benches`
    }
    let mib: u64 = std::env::var("RPP_BENCH_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(1024);
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("payload");
    make_payload(&input, mib);

    let copied = timed(|| durable_copy(&input, &folder.path().join("copy")));
    fs::remove_file(folder.path().join("copy")).unwrap();
    row("plain durable copy of the file", mib, copied, "");

    let provider = Place::new(folder.path().join("provider"), &["--publisher"]);
    let (published, stages, memory) = provider.publish(&input);
    let genesis = published["genesis"].as_str().unwrap().to_owned();
    println!("publish stages: {stages}");
    println!("publish: peak memory {memory} MiB");

    let serving = provider.run(&[]);
    for (name, chunk_size) in [("1 MiB chunks", MIB), ("32 KiB chunks", 32 * 1024)] {
        let consumer = Place::new(folder.path().join(format!("consumer-{chunk_size}")), &["--genesis", &genesis]);
        let node = consumer.run(&[]);
        let done = consumer.fetch(&serving.address, chunk_size);
        let elapsed = streaming_time(&done, &consumer);
        row(&format!("streamed and durable, {name}"), mib, elapsed, &format!("peak memory {} MiB", node.peak_mib()));
        assert_eq!(done["verified"], true);
        drop(node);
        fs::remove_dir_all(&consumer.folder).unwrap();
    }
    println!("provider: peak memory {} MiB", serving.peak_mib());
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
    let mut file = File::create(path).unwrap();
    let mut noise = blake3::Hasher::new_derive_key("rpp bench").finalize_xof();
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

/// From the status: from the start of the session to its end.
fn streaming_time(done: &Value, _place: &Place) -> Duration {
    let at = |field: &str| {
        let text = done[field].as_str().unwrap();
        time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap()
    };
    (at("updated_at") - at("started_at")).unsigned_abs()
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

    fn publish(&self, input: &Path) -> (Value, String, u64) {
        let mut child = command()
            .args(["publish", "--json", "--height", "1", "--config", &self.config()])
            .arg(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (begun, mut peak, mut stages) = (Instant::now(), 0, Vec::new());
        for line in BufReader::new(child.stderr.take().unwrap()).lines() {
            stages.push(format!("{:.2} s {}", begun.elapsed().as_secs_f64(), line.unwrap()));
            peak = peak.max(peak_mib(child.id()));
        }
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        stages.push(format!("{:.2} s done", begun.elapsed().as_secs_f64()));
        (serde_json::from_slice(&output.stdout).unwrap(), stages.join(" | "), peak)
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
        Running { child, address: said["listen"][0].as_str().unwrap().to_owned() }
    }

    fn fetch(&self, peer: &str, chunk_size: u64) -> Value {
        let output = command()
            .args(["fetch", "--json", "--config", &self.config(), "--peer", peer])
            .args(["--chunk-size", &chunk_size.to_string()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

struct Running {
    child: Child,
    address: String,
}

impl Running {
    fn peak_mib(&self) -> u64 {
        peak_mib(self.child.id())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `VmHWM` of a process.
fn peak_mib(pid: u32) -> u64 {
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
