//! The collector: takes cuts over TCP, keeps them in SQLite, answers over HTTP.
//!
//! ```text
//! process --TCP--> reader --> parse --> Cut (pure) --> Writer (one thread) --> SQLite (WAL)
//!         <------- writer <-- queue of 32 <-- Hub <-- POST /api/jump-now         |
//!                                             list, graph, waits, scoped SQL <---+
//! ```
//!
//! ```no_run
//! # async fn example() -> Result<(), rpp_fleet::collector::StartError> {
//! use rpp_fleet::collector::{Collector, Options};
//! let collector = Collector::start(Options::default().with_db("/var/lib/fleet.sqlite")).await?;
//! println!("processes report to {}, the page is at http://{}/", collector.tcp(), collector.http());
//! collector.wait().await;
//! # Ok(())
//! # }
//! ```

mod cut;
mod events;
mod http;
mod hub;
mod options;
mod page;
mod read;
mod roster;
mod sql;
mod store;
mod tcp;
mod waits;

use std::{future::Future, io, net::SocketAddr, thread};

use rpp_http::{
    Limits,
    guard::{Bearer, Gate, HostOriginRules, TokenTooShort},
};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, spawn_blocking},
};

use self::{hub::Hub, store::Writer};
pub use self::{
    options::{Options, OptionsError},
    store::StoreError,
};
use crate::limits::{MAX_BODY_BYTES, MAX_CONNECTIONS};

/// Why a collector did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting cannot be used.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The token is too short.
    #[error("RPP_COLLECTOR_TOKEN: {0}")]
    Token(#[source] TokenTooShort),
    /// The database cannot be used.
    #[error("the database cannot be opened: {0}")]
    Store(#[from] StoreError),
    /// An address is taken, or does not belong to this machine.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The machine refused something else.
    #[error("the collector could not be set up: {0}")]
    Io(#[from] io::Error),
}

/// A running collector. Dropping it stops it at once; [`stop`](Self::stop) first finishes what is in flight.
#[derive(Debug)]
pub struct Collector {
    tcp: SocketAddr,
    http: SocketAddr,
    stop: watch::Sender<bool>,
    served: JoinHandle<()>,
    writer: Option<thread::JoinHandle<()>>,
}

impl Collector {
    /// Opens the database and both ports.
    ///
    /// # Errors
    /// A setting is refused, or the database or a port cannot be used. Nothing is running then.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        raise_file_limit();
        let (options, prepared) = spawn_blocking(move || {
            let prepared = prepare(&options);
            (options, prepared)
        })
        .await
        .map_err(io::Error::from)?;
        let Prepared { tcp, http, gate, writer, thread } = prepared?;
        tcp.set_nonblocking(true)?;
        let (tcp, addresses) = (TcpListener::from_std(tcp)?, http.local_addr()?);
        let tcp_address = tcp.local_addr()?;
        if !tcp_address.ip().to_canonical().is_loopback() {
            tracing::warn!(address = %tcp_address, "any machine that reaches this port can report what it likes");
        }
        let hub = Hub::new(writer, options.timeout(), tcp_address.to_string());
        let api = http::Api::new(hub.clone(), options.db().clone());
        let (stop, stopping) = watch::channel(false);
        let processes = tcp::serve(tcp, hub, options.frame_deadline());
        let served = tokio::spawn(serve(processes, http, gate, api, stopping));
        tracing::info!(processes = %tcp_address, http = %addresses, db = %options.db().display(), "collector started");
        Ok(Self { tcp: tcp_address, http: addresses, stop, served, writer: Some(thread) })
    }

    /// The address for processes.
    #[must_use]
    pub fn tcp(&self) -> SocketAddr {
        self.tcp
    }

    /// The address for HTTP.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Waits until it fails, which it does not do by itself.
    pub async fn wait(mut self) {
        let _ = (&mut self.served).await;
    }

    /// Stops: accepts no new requests, finishes what is in flight within 10 s, then closes the database.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        let _ = (&mut self.served).await;
        if let Some(writer) = self.writer.take() {
            let _ = spawn_blocking(move || writer.join()).await;
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.served.abort();
    }
}

/// Runs a collector until `shutdown`, then stops it.
///
/// # Errors
/// It could not start.
pub async fn run(options: Options, shutdown: impl Future<Output = ()>) -> Result<(), StartError> {
    let collector = Collector::start(options).await?;
    shutdown.await;
    collector.stop().await;
    Ok(())
}

struct Prepared {
    tcp: std::net::TcpListener,
    http: std::net::TcpListener,
    gate: Gate,
    writer: Writer,
    thread: thread::JoinHandle<()>,
}

/// Everything that may block.
fn prepare(options: &Options) -> Result<Prepared, StartError> {
    let (tcp, http) = options.addresses()?;
    let listen =
        |address| std::net::TcpListener::bind(address).map_err(|source| StartError::Listen { address, source });
    let rules = HostOriginRules::default();
    let rules = rules.with_hosts(options.allowed_hosts()).with_origins(options.allowed_origins());
    let mut gate = Gate::new(rules).with_probe_path("/health");
    for path in page::PATHS {
        gate = gate.with_open_path(path);
    }
    if let Some(token) = options.token() {
        gate = gate.with_bearer(Bearer::new(token).map_err(StartError::Token)?);
    }
    let (tcp, http) = (listen(tcp)?, listen(http)?);
    let (writer, thread) = Writer::start(options.db(), options.db_max_bytes())?;
    Ok(Prepared { tcp, http, gate, writer, thread })
}

async fn serve(
    processes: impl Future<Output = ()>,
    http: std::net::TcpListener,
    gate: Gate,
    api: std::sync::Arc<http::Api>,
    mut stopping: watch::Receiver<bool>,
) {
    let limits = Limits::default().with_max_body(MAX_BODY_BYTES);
    let shutdown = async move {
        // Fails when the collector was dropped.
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    tokio::select! {
        served = rpp_http::serve(http, http::routes(api), gate, limits, shutdown) => {
            if let Err(error) = served {
                tracing::error!(%error, "HTTP ended");
            }
        }
        // This continues while HTTP drains, so that a cut in flight gets its answers.
        () = processes => {}
    }
}

/// Every process needs a file descriptor, and the usual limit is about a thousand.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(2 * MAX_CONNECTIONS as u64 + 1024);
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        if setrlimit(Resource::Nofile, limit).is_err() {
            tracing::warn!("the bound on open files could not be raised: fewer processes can connect");
        }
    }
}
