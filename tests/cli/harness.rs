//! Running the binary.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// Generous: the machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The binary, without this environment's configuration.
pub(crate) fn rpp_node() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rpp-node"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RPP_") || name == "PEEPS_DASHBOARD" {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a command until it ends.
pub(crate) fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    rpp_node().args(arguments).output().unwrap()
}

/// Runs a command until it ends; it must succeed. Returns standard output.
pub(crate) fn succeed<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command until it ends; it must exit with 1. Returns standard error.
pub(crate) fn fail<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    stderr(&output)
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The repository's root.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder with a configuration on free ports, made by `init`.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    pub(crate) made: Value,
}

impl Place {
    pub(crate) fn new(init_flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().to_str().unwrap();
        let made = json(&succeed(["init", "--json", "--dir", place].iter().chain(init_flags)));
        Self { folder, made }
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("node.toml")
    }

    /// A command with `--config` and free ports.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = rpp_node();
        command
            .arg(name)
            .arg("--config")
            .arg(self.config())
            .arg("--p2p-listen=/ip4/127.0.0.1/tcp/0")
            .arg("--rpc-listen=127.0.0.1:0")
            .arg("--introspection-listen=127.0.0.1:0");
        command
    }

    /// Runs such a command until it ends.
    pub(crate) fn output(&self, name: &str, arguments: &[&str]) -> Output {
        self.command(name).args(arguments).output().unwrap()
    }

    /// The same for a command that must succeed.
    pub(crate) fn succeed(&self, name: &str, arguments: &[&str]) -> String {
        let output = self.output(name, arguments);
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same for a command that must fail with 1.
    pub(crate) fn fail(&self, name: &str, arguments: &[&str]) -> String {
        let output = self.output(name, arguments);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", stderr(&output));
        stderr(&output)
    }

    /// The same without the flags for free ports.
    pub(crate) fn fail_with(&self, name: &str, arguments: &[&str]) -> String {
        let mut command = rpp_node();
        let output = command.arg(name).arg("--config").arg(self.config()).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}: {}", stderr(&output));
        stderr(&output)
    }

    pub(crate) fn publish(&self, height: u64, input: &Path) -> Value {
        let height = height.to_string();
        json(&self.succeed("publish", &["--json", "--height", &height, input.to_str().unwrap()]))
    }

    /// Starts `run` and waits for its first line.
    pub(crate) fn start(&self, flags: &[&str]) -> Running {
        Running::start(self.command("run").args(flags))
    }
}

/// A running node; killed when dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) said: Value,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_logging(command, tempfile::tempfile().unwrap())
    }

    pub(crate) fn start_logging(command: &mut Command, log: fs::File) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(log.try_clone().unwrap()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            let _ = child.wait();
            panic!("the node did not start: {}", read_all(log));
        }
        Self { child, said: json(&line) }
    }

    /// The first address to dial.
    pub(crate) fn address(&self) -> &str {
        self.said["listen"][0].as_str().unwrap()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the node to end", || self.child.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_all(mut file: fs::File) -> String {
    use std::io::{Read as _, Seek as _};
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).unwrap();
    text
}

/// Waits for a condition.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "waited too long for {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
