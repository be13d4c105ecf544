//! Child processes of this binary: commands that end, and running nodes.

use std::{
    ffi::OsStr,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use rpp_runtime::keys;
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::cli::{api::Api, run_file::RunFile};

/// Time for a node to report that it listens.
const START: Duration = Duration::from_secs(60);
/// Time for a node to end after SIGTERM: its own grace period and some more.
const STOP: Duration = Duration::from_secs(30);

/// This binary, without this environment's configuration.
fn command(arguments: &[&OsStr]) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("cannot find this binary")?;
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let ours = name.to_str().is_some_and(|name| name.starts_with("RPP_") || name == "PEEPS_DASHBOARD");
        if ours {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// Runs a command until it ends and returns its standard output.
pub(super) async fn finish(arguments: &[&OsStr]) -> anyhow::Result<Vec<u8>> {
    let output = command(arguments)?.output().await.context("cannot run this binary")?;
    if !output.status.success() {
        let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
        bail!("`rpp-node {}` failed: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// Runs a command that prints JSON.
pub(super) async fn finish_json<T: DeserializeOwned>(arguments: &[&OsStr]) -> anyhow::Result<T> {
    let stdout = finish(arguments).await?;
    serde_json::from_slice(&stdout).context("the command did not print the JSON that was expected")
}

/// A running node.
pub(super) struct Node {
    child: Child,
    pub(super) said: RunFile,
    pub(super) api: Api,
}

impl Node {
    /// Starts `run` with the configuration in `folder` on free ports, with its log in `folder/node.log`. Waits until it
    /// reports that it listens.
    pub(super) async fn start(folder: &Path, flags: &[String]) -> anyhow::Result<Self> {
        let log_path = folder.join("node.log");
        let log = File::options().create(true).append(true).open(&log_path).context("cannot open the node's log")?;
        let config = config_file(folder);
        let mut arguments: Vec<&OsStr> = vec!["run".as_ref(), "--config".as_ref(), config.as_ref()];
        for fixed in [
            "--rpc-listen=127.0.0.1:0",
            "--introspection-listen=127.0.0.1:0",
            "--p2p-listen=/ip4/127.0.0.1/tcp/0",
            "--log-format=text",
        ] {
            arguments.push(fixed.as_ref());
        }
        arguments.extend(flags.iter().map(OsStr::new));
        let mut child =
            command(&arguments)?.stdout(Stdio::piped()).stderr(log).spawn().context("cannot start a node")?;
        let said = match tokio::time::timeout(START, first_line(&mut child)).await {
            Ok(Ok(said)) => said,
            Ok(Err(error)) => return Err(error.context(format!("a node did not start; see {}", log_path.display()))),
            Err(_) => bail!("a node did not start within {} s; see {}", START.as_secs(), log_path.display()),
        };
        let token = keys::load_token(None, &folder.join("rpc.token"))?;
        let api = Api::at(said.rpc, token);
        Ok(Self { child, said, api })
    }

    /// An address of the node that ends in its peer id.
    pub(super) fn address(&self) -> anyhow::Result<&str> {
        self.said.listen.first().map(String::as_str).context("the node listens nowhere")
    }

    /// SIGKILL: no handler, no flush.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("cannot kill the node")
    }

    /// SIGTERM; checks that the exit code is 0.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        let pid = pid.context("the node has ended before it was asked to")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).context("cannot stop the node")?;
        match tokio::time::timeout(STOP, self.child.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => Ok(()),
            Ok(status) => bail!("a node did not end well after SIGTERM: {status:?}"),
            Err(_) => bail!("a node did not end within {} s after SIGTERM", STOP.as_secs()),
        }
    }
}

async fn first_line(child: &mut Child) -> anyhow::Result<RunFile> {
    let stdout = child.stdout.take().context("no pipe")?;
    let mut lines = BufReader::new(stdout).lines();
    let line = lines.next_line().await?.context("it ended before it listened")?;
    serde_json::from_str(&line).context("its first line is not the expected one")
}

/// The configuration file that `init` makes in `folder`.
pub(super) fn config_file(folder: &Path) -> PathBuf {
    folder.join("node.toml")
}
