//! Announces where the node listens: one line on standard output, and `run.json` in the data folder. If the reader of
//! the line stalls or is gone, the node goes on.

use std::{
    io::{self, IsTerminal as _},
    net::SocketAddr,
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use rpp_runtime::NodeHandle;

use super::supervisor;
use crate::cli::{output, run_file::RunFile};

/// Time between two checks of readiness.
const POLL: Duration = Duration::from_millis(20);
/// If the node is not ready after this time, the log says why.
const SLOW: Duration = Duration::from_secs(5);

/// The addresses of the bound HTTP ports.
#[derive(Clone, Copy)]
pub(super) struct Addresses {
    pub(super) rpc: SocketAddr,
    pub(super) introspection: Option<SocketAddr>,
}

/// Waits until the node is ready, then announces where it listens.
pub(super) async fn when_ready(
    handle: &NodeHandle,
    addresses: Addresses,
    data_dir: &Path,
    json: bool,
) -> anyhow::Result<()> {
    RunFile::remove(data_dir); // Left by a process that was killed.
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
    supervisor::ready(status(addresses)).await;
    // A full disk does not end a node; the line below has the same content.
    if let Err(error) = file.write(data_dir) {
        let path = RunFile::path(data_dir);
        tracing::warn!("cannot write {}: {error}; commands look for the node at [rpc] listen instead", path.display());
    }
    let text = match json || !io::stdout().is_terminal() {
        true => serde_json::to_string(&file).context("the addresses cannot be written as JSON")?,
        false => describe(&file),
    };
    say(text, "the addresses are in run.json in the data folder").await;
    Ok(())
}

/// The status text for the service manager.
pub(super) fn status(addresses: Addresses) -> String {
    format!("control plane on http://{}", addresses.rpc)
}

/// Prints a line of a long-running command and returns when it is written. If that fails, only a warning is logged.
pub(crate) async fn say(text: String, instead: &str) {
    // A stalled reader blocks only this thread, and nothing waits for it at the end.
    let (written, outcome) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = written.send(output::try_bytes(format!("{text}\n").as_bytes()));
    });
    if let Ok(Err(error)) = outcome.await {
        tracing::warn!("nobody reads standard output ({error}); the process goes on: {instead}");
    }
}

async fn wait_until_ready(handle: &NodeHandle) {
    let begun = tokio::time::Instant::now();
    let (mut told, mut supervised) = (None, begun);
    while let Err(reason) = handle.readiness() {
        if supervised.elapsed() >= supervisor::STILL_STARTING {
            supervised = tokio::time::Instant::now();
            supervisor::starting(format!("not ready yet: {reason}")).await;
        }
        if begun.elapsed() >= SLOW && told.as_ref() != Some(&reason) {
            tracing::warn!("not ready yet: {reason}");
            told = Some(reason);
        }
        tokio::time::sleep(POLL).await;
    }
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
