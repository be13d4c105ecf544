//! Compares `rpp-node` with the programs that people would use instead. See `docs/performance.md`.
//!
//! Each case runs real processes: a provider and, for every repetition, a fresh consumer. The contenders run in turn
//! within one run, and each figure is the median of its repetitions.

mod cases;
mod contender;
mod folders;
mod iroh_blobs_role;
mod node;
mod process;
mod relay;
mod report;
mod tls;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};

/// The command line.
#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

/// What all cases take.
#[derive(Args, Clone)]
pub(crate) struct Options {
    /// The rpp-node to measure.
    #[arg(long, global = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/rpp-node"))]
    node: PathBuf,
    /// Another rpp-node, measured beside it: an earlier build.
    #[arg(long, global = true)]
    against: Option<PathBuf>,
    /// Repetitions of everything; the medians are reported.
    #[arg(long, global = true, default_value_t = 5)]
    repetitions: usize,
    /// Where payloads and stores are made, and removed again; needs five times the payload.
    #[arg(long, global = true, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Only contenders whose name contains one of these.
    #[arg(long, global = true, value_delimiter = ',')]
    only: Vec<String>,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// A payload, file to file over loopback.
    Loopback(Transfer),
    /// The same while every core has other work.
    Busy {
        #[command(flatten)]
        transfer: Transfer,
        /// Processes that compute without end, at the same priority.
        #[arg(long, default_value_t = std::thread::available_parallelism().map_or(2, usize::from))]
        others: usize,
    },
    /// The same over a slow link. `link.sh` makes it and runs this in its namespace.
    Link {
        #[command(flatten)]
        transfer: Transfer,
        /// Network namespace of the providers.
        #[arg(long)]
        provider_namespace: String,
        /// Address of the providers.
        #[arg(long)]
        address: IpAddr,
    },
    /// Many downloads at once from one provider, each by a process of its own, and one alone.
    Many {
        /// MiB of the payload.
        #[arg(long, default_value_t = 128)]
        mib: u64,
        /// Downloads at once.
        #[arg(long, default_value_t = 8)]
        count: usize,
        /// Network namespace of the provider, made by `link.sh`; without it all is on loopback.
        #[arg(long, requires = "address")]
        provider_namespace: Option<String>,
        /// Address of the provider.
        #[arg(long)]
        address: Option<IpAddr>,
    },
    /// The consumer is killed at half of a payload and started again.
    Restart {
        /// MiB of the payload.
        #[arg(long, default_value_t = 1024)]
        mib: u64,
    },
    /// Publishes and transfers a file that is one hole, for the memory that it takes.
    Sparse {
        /// GiB of the payload.
        #[arg(long, default_value_t = 64)]
        gib: u64,
    },
    /// Publishes and unpacks a folder of many small files, beside GNU tar.
    Folders {
        /// Files of 4 KiB.
        #[arg(long, default_value_t = 100_000)]
        files: u64,
    },
    /// The time until a fresh process has verified its first proof, and a later one.
    Proof,
    #[command(flatten)]
    Role(Role),
}

/// A payload and what it is cut into.
#[derive(Args, Clone)]
pub(crate) struct Transfer {
    /// MiB of the payload.
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// KiB of a chunk; powers of two between 16 and 4096.
    #[arg(long, value_delimiter = ',', default_value = "1024,4096")]
    chunk_kib: Vec<u64>,
    /// Versions of /rpp/snapshots that the consumer speaks.
    #[arg(long, value_delimiter = ',', default_value = "auto,1.0.0")]
    protocols: Vec<String>,
}

/// The part of this program that runs as another process.
#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    IrohProvider { store: PathBuf, payload: PathBuf, address: IpAddr },
    #[command(hide = true)]
    IrohConsumer { store: PathBuf },
    #[command(hide = true)]
    TlsProvider { payload: PathBuf, address: IpAddr },
    #[command(hide = true)]
    TlsConsumer { payload: PathBuf },
    #[command(hide = true)]
    Burn,
    /// Joins two TUN devices by a link with a delay and a rate. `link.sh` starts it; it needs root.
    Relay {
        /// Names of the devices.
        #[arg(long, num_args = 2, default_values = ["rppbench0", "rppbench1"])]
        devices: Vec<String>,
        /// Round trip.
        #[arg(long, default_value_t = 50)]
        rtt_ms: u64,
        /// Rate in each direction.
        #[arg(long, default_value_t = 1000)]
        mbit: u64,
    },
}

fn main() -> Result<()> {
    let Cli { options, command } = Cli::parse();
    if let Command::Role(role) = command {
        return play(role);
    }
    check_node(&options.node)?;
    if let Some(against) = &options.against {
        check_node(against)?;
    }
    if options.repetitions == 0 {
        bail!("--repetitions must be at least 1");
    }
    let local = contender::Place::local();
    let there = |namespace: String, address| contender::Place { provider_namespace: Some(namespace), address };
    match command {
        Command::Loopback(transfer) => cases::transfer(&options, "loopback", &transfer, &local, 0),
        Command::Busy { transfer, others } => cases::transfer(&options, "busy", &transfer, &local, others),
        Command::Link { transfer, provider_namespace, address } => {
            cases::transfer(&options, "link", &transfer, &there(provider_namespace, address), 0)
        }
        Command::Many { mib, count, provider_namespace, address } => {
            let place = provider_namespace.zip(address).map_or(local, |(name, address)| there(name, address));
            cases::many(&options, mib, count, &place)
        }
        Command::Restart { mib } => cases::restart(&options, mib),
        Command::Sparse { gib } => cases::sparse(&options, gib),
        Command::Folders { files } => folders::run(&options, files),
        Command::Proof => cases::proof(&options),
        Command::Role(_) => unreachable!("played above"),
    }
}

fn play(role: Role) -> Result<()> {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match role {
        Role::IrohProvider { store, payload, address } => {
            runtime()?.block_on(iroh_blobs_role::provide(&store, &payload, address))
        }
        Role::IrohConsumer { store } => runtime()?.block_on(iroh_blobs_role::consume(&store)),
        Role::TlsProvider { payload, address } => runtime()?.block_on(tls::provide(payload, address)),
        Role::TlsConsumer { payload } => runtime()?.block_on(tls::consume(&payload)),
        Role::Burn => loop {
            std::hint::black_box((0..1_000_000_u64).fold(0, |sum: u64, next| sum.wrapping_mul(31).wrapping_add(next)));
        },
        Role::Relay { devices, rtt_ms, mbit } => relay::run(&devices[0], &devices[1], rtt_ms, mbit),
    }
}

fn check_node(binary: &Path) -> Result<()> {
    let version = std::process::Command::new(binary).arg("--version").output();
    let version = version.with_context(|| {
        format!("{} does not run: build it first (`cargo build --release`), or name one with --node", binary.display())
    })?;
    if !version.status.success() {
        bail!("{} --version failed: {}", binary.display(), String::from_utf8_lossy(&version.stderr));
    }
    Ok(())
}
