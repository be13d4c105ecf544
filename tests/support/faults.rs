//! Runs the binary with file calls that fail: the `n`-th one of a kind, or all of them while a file exists. See `faults.c`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

pub const EIO: i32 = 5;
pub const ENOSPC: i32 = 28;

/// The kinds of calls, with their names in `faults.c`; those with few calls first.
pub const OPS: [&str; 4] = ["rename", "sync", "open", "write"];

/// The call that is to fail.
#[derive(Clone, Debug)]
pub struct Fault {
    pub op: &'static str,
    pub at: u64,
    pub error: i32,
    /// Only files with this in their path.
    pub only: Option<&'static str>,
    /// All calls from `at` on fail while this file exists.
    pub holds: Option<PathBuf>,
}

/// A call in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub op: String,
    pub n: u64,
    pub failed: bool,
    pub path: PathBuf,
}

impl Fault {
    /// The `at`-th call.
    pub fn nth(op: &'static str, at: u64, error: i32) -> Self {
        Self { op, at, error, only: None, holds: None }
    }

    /// A disk that is full while `file` exists: nothing can be written to paths that contain `only`.
    pub fn full(file: PathBuf, only: Option<&'static str>) -> Self {
        Self { only, holds: Some(file), ..Self::nth("write", 1, ENOSPC) }
    }

    /// Makes file calls of a command below `folder` fail, and logs them in `log`.
    pub fn arm(&self, command: &mut Command, folder: &Path, log: &Path) {
        command
            .env("LD_PRELOAD", library())
            .env("FAULT_DIR", folder.canonicalize().unwrap())
            .env("FAULT_OP", self.op)
            .env("FAULT_AT", self.at.to_string())
            .env("FAULT_ERRNO", self.error.to_string())
            .env("FAULT_LOG", log);
        if let Some(only) = self.only {
            command.env("FAULT_MATCH", only);
        }
        if let Some(holds) = &self.holds {
            command.env("FAULT_WHILE", holds);
        }
    }
}

/// The calls in a log.
pub fn calls(log: &Path) -> Vec<Call> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let call = |line: &str| {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (op, n, failed, path) = (word(), word(), word() == "failed", word());
        Call { op, n: n.parse().unwrap(), failed, path: path.into() }
    };
    text.lines().map(call).collect()
}

/// Compiled once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = LIBRARY.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("faults.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/faults.c");
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let made = Command::new(&compiler)
            .args(["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"])
            .args([&path, &source])
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", compiler.display()));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        (folder, path)
    });
    path
}
