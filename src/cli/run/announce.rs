//! Says where the node listens: one line on standard output, and `run.json` in the data folder.

use std::{
    io::{self, IsTerminal as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use rpp_runtime::NodeHandle;
use serde::{Deserialize, Serialize};

use crate::cli::output;

/// How often readiness is looked at.
const POLL: Duration = Duration::from_millis(20);
/// After this long without being ready the log says why.
const SLOW: Duration = Duration::from_secs(5);

/// Where a running node listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunFile {
    /// Always `listening`.
    pub(crate) event: String,
    pub(crate) pid: u32,
    pub(crate) peer_id: String,
    /// Multiaddrs ending in the peer id.
    pub(crate) listen: Vec<String>,
    pub(crate) rpc: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) introspection: Option<SocketAddr>,
    pub(crate) version: String,
}

impl RunFile {
    /// Where it lies.
    pub(crate) fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("run.json")
    }
}

/// The HTTP ports as bound.
#[derive(Clone, Copy)]
pub(super) struct Addresses {
    pub(super) rpc: SocketAddr,
    pub(super) introspection: Option<SocketAddr>,
}

/// Waits until the node is ready, then says where it listens.
pub(super) async fn when_ready(
    handle: &NodeHandle,
    addresses: Addresses,
    data_dir: &Path,
    json: bool,
) -> anyhow::Result<()> {
    remove(data_dir); // of a process that was killed
    wait_until_ready(handle).await;
    let identity = handle.identity().await.context("the node does not say where it listens")?;
    let file = RunFile {
        event: "listening".to_owned(),
        pid: std::process::id(),
        peer_id: identity.peer_id,
        listen: identity.listen,
        rpc: addresses.rpc,
        introspection: addresses.introspection,
        version: identity.version,
    };
    write(data_dir, &file).with_context(|| format!("cannot write {}", RunFile::path(data_dir).display()))?;
    if json || !io::stdout().is_terminal() {
        return output::json(&file);
    }
    output::line(&describe(&file))
}

async fn wait_until_ready(handle: &NodeHandle) {
    let begun = tokio::time::Instant::now();
    let mut told = String::new();
    while let Err(reason) = handle.readiness() {
        if begun.elapsed() >= SLOW && told != reason {
            tracing::warn!("not ready yet: {reason}");
            told = reason;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whole or not at all. Nothing relies on it after a power loss.
fn write(data_dir: &Path, file: &RunFile) -> io::Result<()> {
    let mut new = tempfile::Builder::new().prefix(".run-").tempfile_in(data_dir)?;
    serde_json::to_writer(&mut new, file)?;
    new.write_all(b"\n")?;
    new.persist(RunFile::path(data_dir)).map_err(|error| error.error)?;
    Ok(())
}

/// Removes the file, if it is there.
pub(super) fn remove(data_dir: &Path) {
    let _ = std::fs::remove_file(RunFile::path(data_dir));
}

fn describe(file: &RunFile) -> String {
    let mut lines = vec![format!("peer id        {}", file.peer_id)];
    for address in &file.listen {
        lines.push(format!("peers          {address}"));
    }
    lines.push(format!("control plane  http://{}", file.rpc));
    if let Some(address) = file.introspection {
        lines.push(format!("introspection  ws://{address}/introspect"));
    }
    lines.push("running until Ctrl-C or SIGTERM".to_owned());
    lines.join("\n")
}
