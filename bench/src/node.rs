//! A real `rpp-node`: its folder, its process, its control plane over HTTP.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::process::{Process, Usage, usage};

/// Time between two polls of a session.
const POLL: Duration = Duration::from_millis(10);

/// A node's folder.
pub(crate) struct Folder {
    binary: PathBuf,
    pub(crate) path: PathBuf,
}

/// The results of a publish.
pub(crate) struct Published {
    pub(crate) answer: Value,
    /// The time until the payload was stored and durable, before the prover was opened.
    pub(crate) stored: Duration,
    pub(crate) peak_mib: f64,
}

impl Published {
    pub(crate) fn genesis(&self) -> Result<&str> {
        self.answer["genesis"].as_str().context("no genesis in the answer")
    }
}

impl Folder {
    /// Makes a publisher's folder, or, with the genesis of its chain, a consumer's.
    pub(crate) fn make(binary: &Path, path: PathBuf, genesis: Option<&str>) -> Result<Self> {
        let mut command = bare(binary);
        command.arg("init").arg("--dir").arg(&path);
        match genesis {
            Some(genesis) => command.args(["--genesis", genesis]),
            None => command.arg("--publisher"),
        };
        let made = command.output()?;
        ensure!(made.status.success(), "init failed: {}", String::from_utf8_lossy(&made.stderr));
        Ok(Self { binary: binary.to_owned(), path })
    }

    /// A command of the node that knows its configuration.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = bare(&self.binary);
        command.arg(name).arg("--config").arg(self.path.join("node.toml"));
        command
    }

    pub(crate) fn publish(&self, input: &Path, height: u64) -> Result<Published> {
        let mut command = self.command("publish");
        command.args(["--json", "--height", &height.to_string()]).arg(input);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (begun, mut peak_mib, mut stored) = (Instant::now(), 0.0, None);
        for line in BufReader::new(child.stderr.take().context("no standard error")?).lines() {
            if line?.contains("preparing the prover") {
                stored.get_or_insert(begun.elapsed());
            }
            peak_mib = usage(child.id()).peak_mib.max(peak_mib);
        }
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "publish failed: {}", output.status);
        let stored = stored.context("publish did not say when it had stored the payload")?;
        Ok(Published { answer: serde_json::from_slice(&output.stdout)?, stored, peak_mib })
    }

    /// Starts the node. It listens for peers at `address`; `inside` is the network namespace that it runs in.
    pub(crate) fn run(&self, address: IpAddr, inside: Option<&str>, flags: &[&str]) -> Result<Node> {
        let mut command = within(inside, self.command("run"));
        let version = if address.is_ipv4() { "ip4" } else { "ip6" };
        command
            .arg(format!("--p2p-listen=/{version}/{address}/tcp/0"))
            .args(["--rpc-listen=127.0.0.1:0", "--introspection-listen=127.0.0.1:0"])
            .args(flags)
            .stderr(Stdio::null());
        let mut process = Process::start(command)?;
        let said: Value = serde_json::from_str(&process.line()?)?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("an unknown first line");
        let token = fs::read_to_string(self.path.join("rpc.token"))?.trim().to_owned();
        Ok(Node { process, address: text(&said["listen"][0])?, rpc: text(&said["rpc"])?, token })
    }
}

/// A running node.
pub(crate) struct Node {
    pub(crate) process: Process,
    pub(crate) address: String,
    rpc: String,
    token: String,
}

/// The course of a download.
pub(crate) struct Course {
    /// From the request until everything was verified, durable and in place.
    pub(crate) total: Duration,
    /// From the first poll that found it streaming.
    pub(crate) streamed: Duration,
    /// The consumer's usage at that time.
    pub(crate) before: Usage,
    /// The session's last status.
    pub(crate) status: Value,
}

impl Node {
    /// Asks for a snapshot and waits until it is complete.
    pub(crate) fn fetch(&self, request: &Value) -> Result<Course> {
        self.fetch_shown(request, |_| {})
    }

    /// The same; passes each status on the way to `show`.
    pub(crate) fn fetch_shown(&self, request: &Value, mut show: impl FnMut(&Value)) -> Result<Course> {
        let begun = Instant::now();
        let answer = self.request("POST", "/p2p/snapshots", &request.to_string())?;
        let session = answer["session"].as_u64().context("no session in the answer")?;
        let mut streaming = None;
        loop {
            let status = self.status(session)?;
            show(&status);
            let state = status["state"].as_str().unwrap_or_default();
            if state == "streaming" || state == "complete" || received(&status) > 0 {
                streaming.get_or_insert_with(|| (Instant::now(), self.process.usage()));
            }
            match (state, streaming) {
                ("complete", Some((since, before))) => {
                    ensure!(status["verified"] == true, "complete and not verified: {status}");
                    return Ok(Course { total: begun.elapsed(), streamed: since.elapsed(), before, status });
                }
                // It would go on when there is room, but its time would say nothing.
                ("failed" | "paused", _) => bail!("the session is {state}: {status}"),
                _ => thread::sleep(POLL),
            }
        }
    }

    pub(crate) fn start(&self, request: &Value) -> Result<u64> {
        let answer = self.request("POST", "/p2p/snapshots", &request.to_string())?;
        answer["session"].as_u64().context("no session in the answer")
    }

    pub(crate) fn status(&self, session: u64) -> Result<Value> {
        self.request("GET", &format!("/p2p/snapshots/{session}"), "")
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Result<Value> {
        let mut stream = TcpStream::connect(&self.rpc)?;
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.rpc,
            self.token,
            body.len()
        );
        stream.write_all(text.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a head")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{answer}");
        Ok(serde_json::from_str(body)?)
    }
}

pub(crate) fn received(status: &Value) -> u64 {
    status["bytes_received"].as_u64().unwrap_or(0)
}

/// The request for a snapshot at `height`.
pub(crate) fn wanted(peer: &str, chunk_size: u64, height: u64) -> Value {
    json!({ "peer": peer, "chunk_size": chunk_size, "height": height })
}

/// The command without any configuration from the environment.
fn bare(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RPP_") || name == "PEEPS_DASHBOARD" {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// The same command in a network namespace. `ip` becomes the command, so the process id is the same.
pub(crate) fn within(namespace: Option<&str>, command: Command) -> Command {
    let Some(namespace) = namespace else { return command };
    let mut outer = Command::new("ip");
    outer.args(["netns", "exec", namespace]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}
