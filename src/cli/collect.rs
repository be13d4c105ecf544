//! `collect`: takes one graph of live work over many processes, keeps it, and shows it.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use rpp_fleet::collector::{Collector, Options};
use rpp_runtime::config::{Log, LogFormat};
use secrecy::SecretString;
use serde_json::json;

use super::{logging, output, run::say, signals::Signals};

const EXAMPLES: &str = "\
Examples:
  rpp-node collect
  rpp-node collect --db /var/lib/fleet/cuts.sqlite --http 127.0.0.1:9200
  PEEPS_DASHBOARD=127.0.0.1:9119 rpp-node run --config node.toml     reports to it
  curl -X POST http://127.0.0.1:9130/api/jump-now                    takes a cut

Open the address that is printed in a browser. RPP_COLLECTOR_TOKEN sets a token for HTTP, at least 16 bytes; it is needed
when --http is not loopback. The processes' protocol has no authentication: --listen other than loopback is refused unless
RPP_COLLECTOR_INSECURE_TCP=1.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CollectArgs {
    /// The address to which processes report.
    #[arg(long, env = "PEEPS_LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:9119")]
    listen: String,
    /// The address of the HTTP port.
    #[arg(long, env = "PEEPS_HTTP", value_name = "HOST:PORT", default_value = "127.0.0.1:9130")]
    http: String,
    /// The SQLite file.
    #[arg(long, env = "PEEPS_DB", value_name = "FILE", default_value = "./peeps-web.sqlite")]
    db: PathBuf,
    /// Largest size of the SQLite file and its log in bytes; the oldest cuts are evicted first.
    #[arg(long, env = "PEEPS_DB_MAX_BYTES", value_name = "BYTES", default_value_t = rpp_fleet::limits::DEFAULT_DB_BYTES)]
    max_bytes: u64,
    /// Another name that the Host header may carry.
    #[arg(long = "allowed-host", value_name = "NAME")]
    allowed_hosts: Vec<String>,
    /// Another origin whose web pages may send requests, for instance that of the page behind a TLS proxy.
    #[arg(long = "allowed-origin", value_name = "ORIGIN")]
    allowed_origins: Vec<String>,
    /// The log's filter: a level or directives.
    #[arg(long, env = "RPP_LOG_FILTER", value_name = "FILTER", default_value = "info")]
    log_filter: String,
    /// Print the addresses as JSON also on a terminal.
    #[arg(long)]
    json: bool,
}

/// Runs a collector until a signal.
#[tokio::main]
pub(crate) async fn run(args: &CollectArgs) -> anyhow::Result<()> {
    let _logging = logging::start(&Log { format: LogFormat::Auto, filter: args.log_filter.clone() })?;
    let mut signals = Signals::new()?;
    let collector = Collector::start(options(args)).await.context("the collector did not start")?;
    let announced = announce(args, collector.tcp(), collector.http());
    tokio::select! {
        // A collector reads nothing again, so SIGHUP does nothing.
        () = signals.stop() => {}
        () = async { announced.await; std::future::pending().await } => {}
    }
    tracing::info!("stopping: what is in flight may finish within 10 s; a second signal ends at once");
    tokio::select! {
        () = collector.stop() => Ok(()),
        () = signals.stop() => anyhow::bail!("stopped at once by a second signal"),
    }
}

fn options(args: &CollectArgs) -> Options {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    Options::default()
        .with_listen(&args.listen)
        .with_http(&args.http)
        .with_db(&args.db)
        .with_db_max_bytes(args.max_bytes)
        .with_token(variable("RPP_COLLECTOR_TOKEN").map(SecretString::from))
        .with_insecure_tcp(variable("RPP_COLLECTOR_INSECURE_TCP").as_deref() == Some("1"))
        .with_allowed_hosts(args.allowed_hosts.clone())
        .with_allowed_origins(args.allowed_origins.clone())
}

/// One line, so that port 0 is usable.
async fn announce(args: &CollectArgs, tcp: SocketAddr, http: SocketAddr) {
    tracing::info!(listen = %tcp, http = %http, "collecting");
    let text = match args.json || !output::is_terminal() {
        true => json!({ "listen": tcp, "http": http }).to_string(),
        false => format!("processes report to {tcp} (PEEPS_DASHBOARD={tcp}); the page is at http://{http}/"),
    };
    say(text, "the addresses are in the log").await;
}
