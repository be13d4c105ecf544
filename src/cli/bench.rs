//! `bench`: measures the path to a provider without storing anything.

mod path;
mod usage;

use std::time::Duration;

use anyhow::Context as _;
use libp2p::identity::Keypair;
use rpp_p2p::PlanWishes;
use rpp_runtime::{address, keys, node::trust_anchor};

use self::path::{Bench, Measured};
use super::{config_args::ConfigArgs, human, output};

#[derive(clap::Args)]
#[command(after_help = "Examples:
  rpp-node bench --config node.toml --peer /ip4/10.0.0.7/tcp/4001/p2p/12D3...
  rpp-node bench --config node.toml --peer ADDRESS --snapshots-window 67108864     with a window of 64 MiB
  rpp-node bench --config node.toml --peer ADDRESS --snapshots-protocol 1.0.0 --json

It opens a session as a download does, verifies each chunk against the root of the plan, and drops it. It does not check the
authority of the plan and does not use the disk, so a download takes longer if the disk is slower than the path. The node
need not run. The peer sees an identity that is made for this run, unless --as-node is given.")]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The provider: a multiaddr ending in /p2p/PEER_ID.
    #[arg(long, value_name = "PEER", value_parser = |text: &str| address::of_peer(text))]
    peer: libp2p::Multiaddr,
    /// Only the snapshot of this height; without it, the highest.
    #[arg(long, value_name = "N")]
    height: Option<u64>,
    /// Wanted chunk size in bytes.
    #[arg(long, value_name = "N")]
    chunk_size: Option<u64>,
    /// Stop after this many MiB, or at the end of the payload.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    mib: u64,
    /// Stop after this many seconds.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Connect with this node's identity, for a provider that serves only peers that it knows. Stop the node first.
    #[arg(long)]
    as_node: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// One network thread, as the node has.
#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
pub(crate) async fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let config = args.config.load()?.config;
    let trust = trust_anchor(&config).context(
        "no plan can be accepted without an anchor of trust: set [trust] genesis to the provider's, or give --trust-genesis",
    )?;
    let identity = match args.as_node {
        true => keys::load_or_create_identity(&config.data_dir.join("identity.key"))?,
        false => Keypair::generate_ed25519(),
    };
    let chunk_size = args.chunk_size.unwrap_or(config.snapshots.chunk_size);
    let wishes = PlanWishes { chunk_size: Some(chunk_size), height: args.height, ..PlanWishes::default() };
    let bench = Bench {
        wishes,
        bytes: args.mib << 20,
        time: Duration::from_secs(args.seconds),
        window: config.snapshots.window,
        protocol: config.snapshots.protocol,
    };
    let measured = path::measure(identity, &trust, &args.peer, &bench).await.context("the path was not measured")?;
    if args.json { output::json(&measured) } else { report(&measured) }
}

fn report(measured: &Measured) -> anyhow::Result<()> {
    let time = Duration::from_secs_f64(measured.seconds);
    let milliseconds = |value: Option<f64>| value.map_or("unknown".to_owned(), |value| format!("{value:.1} ms"));
    output::line(&format!("rate          {}", human::rate(measured.bytes, time)))?;
    output::line(&format!("payload       {} in {}", human::bytes(measured.bytes), human::duration(time)))?;
    output::line(&format!("round trip    {}", milliseconds(measured.round_trip_ms)))?;
    output::line(&format!("under load    {}", milliseconds(measured.round_trip_under_load_ms)))?;
    output::line(&format!("connected     after {:.1} ms", measured.connect_ms))?;
    output::line(&format!("first chunk   after {:.1} ms more", measured.first_chunk_ms))?;
    output::line(&format!("processor     {:.2} s per GiB, of this side", measured.cpu_seconds_per_gib))?;
    output::line(&format!("memory        {} at most", human::bytes(measured.peak_memory_bytes)))?;
    let (chunk, window) = (human::bytes(measured.chunk_size), human::bytes(measured.window));
    output::line(&format!("protocol      {}, chunks of {chunk}, window of {window}", measured.protocol))?;
    output::line(&format!("snapshot      height {}  {}", measured.height, measured.root))?;
    if let Some(advice) = measured.advice() {
        output::note(&advice);
    }
    Ok(())
}
