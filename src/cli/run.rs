//! `run`: starts the node with its control plane, introspection and reporting, and runs until a signal.

mod announce;
mod reload;
mod services;
mod supervisor;
mod tokens;

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt as _, path::Path};

use anyhow::Context as _;
use libp2p::identity::Keypair;
use rpp_fleet::client::DASHBOARD_VARIABLE;
use rpp_runtime::{DataLock, Node, NodeHandle, config::Effective, keys};
use tokio::sync::watch;

pub(crate) use self::announce::say;
use self::{services::Services, tokens::Tokens};
use super::{
    config_args::ConfigArgs,
    logging::{self, Logging},
    run_file::RunFile,
    signals::{Asked, Signals},
};
use crate::limits::MAX_BLOCKING_THREADS;
use crate::wiring::Wiring;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  rpp-node run --config node.toml
  rpp-node run --config node.toml --rpc-listen 127.0.0.1:0 --log-filter debug
  RPP_TRUST_GENESIS=5d0c... rpp-node run --config node.toml

When the node listens it prints one line with its addresses to standard output (JSON unless that is a terminal), and writes the same to
<data_dir>/run.json, so that port 0 can be used. SIGTERM and SIGINT end it gracefully within 10 s; a second one at once.
SIGHUP reads the token files and the log's filter again; a changed token file takes effect within 5 s anyway.")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the line of addresses as JSON also on a terminal.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &RunArgs) -> anyhow::Result<()> {
    let effective = args.config.load()?;
    let logging = logging::start(&effective.config.log)?;
    for warning in effective.warnings() {
        tracing::warn!("{warning}");
    }
    rpp_proofs::check_cpu()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(network_threads())
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .build()
        .context("cannot start the asynchronous runtime")?;
    let done = runtime.block_on(node(args, &effective, &logging));
    // Blocking work that is still running is bounded, and its result is either durable or not needed. So nothing waits
    // for it.
    runtime.shutdown_background();
    done
}

/// Half of the processors, because the other half is for disk, hash and proof jobs. More network threads would mostly
/// wake each other. `TOKIO_WORKER_THREADS` overrides this.
fn network_threads() -> usize {
    let told = std::env::var("TOKIO_WORKER_THREADS").ok().and_then(|number| number.parse().ok());
    let half = || std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2));
    told.filter(|threads| *threads > 0).unwrap_or_else(half)
}

async fn node(args: &RunArgs, effective: &Effective, logging: &Logging) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let config = &effective.config;
    config.check_source_folders()?;
    config.check_data_dir()?;
    make_data_dir(&config.data_dir)?;
    refuse_second(&config.data_dir)?;
    let tokens = Tokens::load(config)?;
    let services = Services::prepare(config, &tokens)?;
    let identity = identity(&config.data_dir)?;
    let wiring = Wiring::new(config, identity.public().to_peer_id(), variable(DASHBOARD_VARIABLE).as_deref());
    let mut hooks = wiring.hooks();
    hooks.counters.push(logging.counter());
    let started = Node::start_with(config.clone(), identity, hooks);
    let handle = tokio::select! {
        started = started => started.context("the node did not start")?,
        () = signals.stop() => return Ok(()),
    };
    let (stop, stopping) = watch::channel(false);
    let addresses = services.addresses();
    let mut running = services.start(&handle, wiring.introspection(), &stopping);
    tokio::spawn(supervisor::watch(handle.clone()));
    let ended = {
        let announced = announce::when_ready(&handle, addresses, &config.data_dir, args.json);
        let mut announced = std::pin::pin!(announced);
        let mut queues = std::pin::pin!(wiring.follow_queues(&handle));
        let mut followed_tokens = std::pin::pin!(tokens.follow());
        let mut followed = false;
        let mut said = false;
        loop {
            tokio::select! {
                asked = signals.next() => match asked {
                    Asked::Stop => break Ok(()),
                    Asked::Reload => {
                        supervisor::reloading().await;
                        reload::reload(&args.config, effective, logging, &tokens).await;
                        // Only when it is true.
                        if handle.readiness().is_ok() {
                            supervisor::ready(announce::status(addresses)).await;
                        }
                    }
                },
                () = &mut followed_tokens => {}
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
    supervisor::stopping().await;
    let _ = stop.send(true);
    let stopped = async {
        handle.shutdown().await;
        running.drain().await;
    };
    tokio::select! {
        () = stopped => {}
        () = signals.stop() => anyhow::bail!("stopped at once by a second signal"),
    }
    RunFile::remove(&config.data_dir);
    tracing::info!("stopped");
    ended
}

/// Waits until the node's task ends although nobody asked it to.
async fn gone(handle: &NodeHandle) {
    let mut head = handle.head();
    while head.changed().await.is_ok() {}
}

/// The identity lies in this folder, so the folder must exist before the node does.
fn make_data_dir(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the data folder {} (`data_dir`)", path.display()))
}

/// A node that had an identity would start as another one without a word if its folder were not mounted.
fn identity(data_dir: &Path) -> anyhow::Result<Keypair> {
    let file = data_dir.join("identity.key");
    let is_new = !file.try_exists().unwrap_or(true);
    let identity = keys::load_or_create_identity(&file)?;
    if is_new {
        tracing::warn!(
            "the data folder {} held no identity, so this node is a new one, peer id {}: if it had one, stop \
             it, mount or restore its folder, and start it again",
            data_dir.display(),
            identity.public().to_peer_id()
        );
    }
    Ok(identity)
}

/// A second node on the same folder must get this error, and not one about taken ports. The node itself takes the lock
/// later and keeps it.
fn refuse_second(data_dir: &Path) -> anyhow::Result<()> {
    DataLock::acquire(data_dir).map(drop).context("the node did not start")
}

/// A variable; empty counts as unset.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}
