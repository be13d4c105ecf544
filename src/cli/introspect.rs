//! `introspect`: watches a node's live state, records it, or prints a recording.

use std::{
    future::Future,
    io::{self, IsTerminal as _, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use rpp_introspection::client::{self, Connection, Forward, Recorder, RunError, Style};
use rpp_runtime::{Config, config::Overrides, keys};
use secrecy::SecretString;
use serde_json::json;

use super::{output, run_file::RunFile};

/// The address where a node listens by default.
const DEFAULT_URL: &str = "ws://127.0.0.1:7071/introspect";
/// After a signal, output that has begun is written within this time or not at all.
const UNREAD: Duration = Duration::from_secs(2);
/// The screen's size if it is unknown.
const DEFAULT_SCREEN: (usize, usize) = (120, 40);

const EXAMPLES: &str = "\
Examples:
  rpp-node introspect --config node.toml
  rpp-node introspect --config node.toml --record node.rec
  rpp-node introspect --url ws://10.0.0.7:7071/introspect --token-file introspection.token
  rpp-node introspect --replay node.rec
  rpp-node introspect --config node.toml --serve 127.0.0.1:7072    then connect the observer toolkit to ws://localhost:7072
  rpp-node introspect --config node.toml --json | jq .state.connections

Without --config and --url the node on this machine is looked for at ws://127.0.0.1:7071/introspect. The token is that of
RPP_INTROSPECTION_TOKEN, of --token-file, or of the configuration: introspection.token_file if that is set, else the
control plane's (RPP_RPC_TOKEN, rpc.token_file).";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct IntrospectArgs {
    /// The configuration of a node on this machine: where it listens, and its token.
    #[arg(long, short, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
    /// The address of any node.
    #[arg(long, value_name = "ws://HOST:PORT/introspect")]
    url: Option<String>,
    /// A file with the token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Append states and events to this file until interrupted; the libp2p observer toolkit opens it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["watch", "replay"])]
    record: Option<PathBuf>,
    /// Show connections, streams, sessions and what they wait for until interrupted (the default).
    #[arg(long, conflicts_with = "replay")]
    watch: bool,
    /// Print one JSON object a line: {"runtime":..}, {"state":..}, {"event":..}, {"notice":..} or {"configuration":..}; with --serve its address.
    #[arg(long, conflicts_with = "record")]
    json: bool,
    /// Print a recording; needs no node.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "url", "token_file"])]
    replay: Option<PathBuf>,
    /// Forward this loopback address to the node and add the token, until interrupted: for the libp2p observer toolkit.
    /// Every program on this machine can then look without the token.
    #[arg(long, value_name = "IP:PORT", conflicts_with_all = ["record", "watch", "replay"])]
    serve: Option<SocketAddr>,
    /// A web page of another machine that may connect to --serve, as `https://observer.example`.
    #[arg(long = "allowed-origin", value_name = "ORIGIN", requires = "serve")]
    allowed_origins: Vec<String>,
}

/// A second thread handles signals while the first one waits for the reader of the output.
#[tokio::main(worker_threads = 1)]
pub(crate) async fn run(args: &IntrospectArgs) -> anyhow::Result<()> {
    if let Some(path) = &args.replay {
        let out = &mut io::stdout().lock();
        return quiet_when_unread(if args.json { client::replay_json(path, out) } else { client::replay(path, out) });
    }
    let target = Target::of(args)?;
    if let Some(address) = args.serve {
        return serve(args, address, &target).await;
    }
    let connection = Connection::open(&target.url, &target.token)
        .await
        .with_context(|| format!("cannot look into the node at {}", output::escape(&target.url)))?;
    match &args.record {
        Some(path) => record(connection, path).await,
        None => watch(connection, args.json).await,
    }
}

async fn serve(args: &IntrospectArgs, address: SocketAddr, target: &Target) -> anyhow::Result<()> {
    let forward = Forward::listen(address, &target.url, &target.token, &args.allowed_origins).await?;
    let short = format!("ws://{}", forward.address());
    // If the node is absent or the token is wrong, this fails at once and not later, towards a web page.
    Connection::open(&target.url, &target.token)
        .await
        .with_context(|| format!("cannot look into the node at {}", output::escape(&target.url)))?
        .close()
        .await;
    if args.json || !output::is_terminal() {
        output::json(&json!({ "serve": short, "node": target.url }))?;
    } else {
        output::line(&format!(
            "{short} shows the node at {} without a token until Ctrl-C",
            output::escape(&target.url)
        ))?;
    }
    forward.run(output::note, interrupted()).await;
    Ok(())
}

async fn record(connection: Connection, path: &Path) -> anyhow::Result<()> {
    let mut recorder = Recorder::open(path)?;
    if recorder.cut_off() > 0 {
        output::note(&format!("cut off {} bytes of a message that was not written whole", recorder.cut_off()));
    }
    output::note(&format!("recording to {} until Ctrl-C", path.display()));
    let count = client::record(connection, &mut recorder, interrupted()).await?;
    output::note(&format!("recorded {count} messages"));
    Ok(())
}

async fn watch(connection: Connection, json: bool) -> anyhow::Result<()> {
    tokio::spawn(end_although_unread());
    let mut out = io::stdout().lock();
    if json || !out.is_terminal() {
        let style = if json { Style::Json } else { Style::Plain };
        return quiet_when_unread(client::watch(connection, || style, &mut out, interrupted()).await);
    }
    // The alternate screen, so that the terminal's former content comes back afterwards.
    write!(out, "\x1b[?1049h\x1b[?25l")?;
    let watched = client::watch(connection, screen, &mut out, interrupted()).await;
    write!(out, "\x1b[?25h\x1b[?1049l")?;
    out.flush()?;
    Ok(watched?)
}

/// If the reader of the output stalls, the command still ends.
async fn end_although_unread() {
    interrupted().await;
    tokio::time::sleep(UNREAD).await;
    std::process::exit(1);
}

/// If the reader went away, as in `| head`, that is not a failure.
fn quiet_when_unread(done: Result<(), RunError>) -> anyhow::Result<()> {
    match done {
        Err(RunError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

/// Waits for Ctrl-C or SIGTERM.
async fn interrupted() {
    #[cfg(unix)]
    let terminated: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => Box::pin(async move {
                signal.recv().await;
            }),
            Err(_) => Box::pin(std::future::pending()),
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

/// The present size of the terminal.
fn screen() -> Style {
    let (rows, columns) = terminal_size().unwrap_or((DEFAULT_SCREEN.1, DEFAULT_SCREEN.0));
    Style::Screen { columns, rows }
}

/// Rows and columns from `stty`, because there is no portable safe call for it.
fn terminal_size() -> Option<(usize, usize)> {
    let answer = std::process::Command::new("stty").arg("size").stdin(Stdio::inherit()).stderr(Stdio::null()).output();
    let text = String::from_utf8(answer.ok()?.stdout).ok()?;
    let (rows, columns) = text.trim().split_once(' ')?;
    let size = (rows.parse().ok()?, columns.parse().ok()?);
    (size.0 > 0 && size.1 > 0).then_some(size)
}

/// The address to connect to, and the token.
struct Target {
    url: String,
    token: SecretString,
}

impl Target {
    fn of(args: &IntrospectArgs) -> anyhow::Result<Self> {
        let config = match &args.config {
            Some(path) => {
                let effective =
                    Config::load(path, &Overrides::from_env()).context("the configuration is not usable")?;
                anyhow::ensure!(effective.config.introspection.enabled, "introspection.enabled is false in {path:?}");
                Some(effective.config)
            }
            None => None,
        };
        let url = match (&args.url, &config) {
            (Some(url), _) => url.clone(),
            (None, Some(config)) => url_of(listening(config)?),
            (None, None) => DEFAULT_URL.to_owned(),
        };
        Ok(Self { url, token: token(args.token_file.as_deref(), config.as_ref())? })
    }
}

/// The address where the running node listens: from the file that it wrote at its start (port 0 may be configured),
/// else from its configuration.
fn listening(config: &Config) -> anyhow::Result<SocketAddr> {
    let written = std::fs::read(RunFile::path(&config.data_dir)).ok();
    let written = written.and_then(|bytes| serde_json::from_slice::<RunFile>(&bytes).ok());
    let listen = written.and_then(|file| file.introspection).unwrap_or(config.introspection.listen);
    anyhow::ensure!(listen.port() != 0, RunFile::missing("introspection.listen", &config.data_dir));
    Ok(listen)
}

/// If a listener is on all addresses, loopback reaches it.
fn url_of(listen: SocketAddr) -> String {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("ws://{}/introspect", SocketAddr::new(ip, listen.port()))
}

fn token(file: Option<&Path>, config: Option<&Config>) -> anyhow::Result<SecretString> {
    let variable = std::env::var("RPP_INTROSPECTION_TOKEN").unwrap_or_default();
    let configured = file.or_else(|| config.and_then(|config| config.introspection.token_file.as_deref()));
    // A file that is named on the command line has priority over the environment.
    let variable = if file.is_some() { "" } else { variable.as_str() };
    if let Some(token) = keys::load_introspection_token(Some(variable), configured)? {
        return Ok(token);
    }
    let variable = std::env::var("RPP_RPC_TOKEN").unwrap_or_default();
    match config {
        Some(config) => Ok(keys::load_token(Some(&variable), &config.rpc.token_file)?),
        None if !variable.is_empty() => Ok(variable.into()),
        None => anyhow::bail!(
            "a token is needed: name a configuration with --config, a file with --token-file, or set \
             RPP_INTROSPECTION_TOKEN"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reached_on_this_machine() {
        for (listen, url) in [
            ("127.0.0.1:7071", "ws://127.0.0.1:7071/introspect"),
            ("0.0.0.0:1", "ws://127.0.0.1:1/introspect"),
            ("[::]:2", "ws://[::1]:2/introspect"),
            ("10.0.0.7:3", "ws://10.0.0.7:3/introspect"),
        ] {
            assert_eq!(url_of(listen.parse().unwrap()), url);
        }
    }
}
