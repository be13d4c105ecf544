//! `run`: wires the node, its control plane and its windows together, and runs until a signal.

mod announce;
mod services;
mod signals;

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt as _, path::Path};

use anyhow::Context as _;
use rpp_fleet::client::DASHBOARD_VARIABLE;
use rpp_runtime::{Config, DataLock, Node, NodeHandle, config::Effective, keys};
use tokio::sync::watch;

use self::{services::Services, signals::Signals};
use super::{config_args::ConfigArgs, logging, run_file::RunFile};
use crate::wiring::Wiring;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  rpp-node run --config node.toml
  rpp-node run --config node.toml --rpc-listen 127.0.0.1:0 --log-filter debug
  RPP_TRUST_GENESIS=5d0c... rpp-node run --config node.toml

When the node listens it prints one line with its addresses (JSON unless a person reads it) and writes the same to
<data_dir>/run.json, so that port 0 can be used. SIGTERM and SIGINT end it gracefully within 10 s; a second one at once.")]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the line of addresses as JSON also on a terminal.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let effective = args.config.load()?;
    logging::start(&effective.config.log)?;
    rpp_proofs::check_cpu()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(network_threads())
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .build()
        .context("cannot start the asynchronous runtime")?;
    let done = runtime.block_on(node(&effective, args.json));
    // What blocks is bounded and its result is durable or not needed: it is not waited for.
    runtime.shutdown_background();
    done
}

/// Half of the processors: the other half is for disk, hash and proof jobs. More of them would mostly wake each other.
/// `TOKIO_WORKER_THREADS` says otherwise.
fn network_threads() -> usize {
    let told = std::env::var("TOKIO_WORKER_THREADS").ok().and_then(|number| number.parse().ok());
    let half = || std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2));
    told.filter(|threads| *threads > 0).unwrap_or_else(half)
}

/// Disk, hash and proof jobs at once; further ones wait.
const MAX_BLOCKING_THREADS: usize = 64;

async fn node(effective: &Effective, json: bool) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let config = &effective.config;
    make_data_dir(&config.data_dir)?;
    refuse_second(&config.data_dir)?;
    let services = Services::prepare(config)?;
    let identity = keys::load_or_create_identity(&config.data_dir.join("identity.key"))?;
    let wiring = Wiring::new(config, identity.public().to_peer_id(), variable(DASHBOARD_VARIABLE).as_deref());
    let started = Node::start_with(config.clone(), identity, wiring.hooks());
    let handle = tokio::select! {
        started = started => started.context("the node did not start")?,
        () = signals.next() => return Ok(()),
    };
    let (stop, stopping) = watch::channel(false);
    let addresses = services.addresses();
    let mut running = services.start(&handle, wiring.introspection(), &stopping);
    let ended = {
        let announced = announce::when_ready(&handle, addresses, &config.data_dir, json);
        let mut announced = std::pin::pin!(announced);
        let mut queues = std::pin::pin!(wiring.follow_queues(&handle));
        let mut followed = false;
        let mut said = false;
        loop {
            tokio::select! {
                () = signals.next() => break Ok(()),
                result = &mut announced, if !said => match result {
                    Ok(()) => said = true,
                    Err(error) => break Err(error),
                },
                () = &mut queues, if !followed => followed = true,
                failed = running.ended() => break Err(failed),
                () = gone(&handle) => break Err(anyhow::anyhow!("the node's task ended unexpectedly; its log says why")),
            }
        }
    };
    tracing::info!("stopping: what is in flight may finish within 10 s; a second signal ends at once");
    let _ = stop.send(true);
    let stopped = async {
        handle.shutdown().await;
        running.drain().await;
    };
    tokio::select! {
        () = stopped => {}
        () = signals.next() => anyhow::bail!("stopped at once by a second signal"),
    }
    RunFile::remove(&config.data_dir);
    tracing::info!("stopped");
    ended
}

/// Waits until the node's task is gone without having been asked to stop.
async fn gone(handle: &NodeHandle) {
    let mut head = handle.head();
    while head.changed().await.is_ok() {}
}

/// The identity lives in it, so it must be there before the node is.
fn make_data_dir(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the data folder {} (`data_dir`)", path.display()))
}

/// A second node on the folder is told so, not that its ports are taken. The node itself takes the lock for good.
fn refuse_second(data_dir: &Path) -> anyhow::Result<()> {
    DataLock::acquire(data_dir).map(drop).context("the node did not start")
}

/// A variable; empty counts as unset.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// Whether the process of this configuration may show its control plane to other machines without TLS is the operator's
/// choice; the port itself warns.
fn rpc_token(config: &Config) -> anyhow::Result<secrecy::SecretString> {
    Ok(keys::load_token(variable("RPP_RPC_TOKEN").as_deref(), &config.rpc.token_file)?)
}

/// The token of the introspection port: its own when there is one, else the control plane's.
fn introspection_token(config: &Config) -> anyhow::Result<secrecy::SecretString> {
    let own = variable("RPP_INTROSPECTION_TOKEN");
    match keys::load_introspection_token(own.as_deref(), config.introspection.token_file.as_deref())? {
        Some(token) => Ok(token),
        None => rpc_token(config),
    }
}
