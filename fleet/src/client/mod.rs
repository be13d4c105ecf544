//! The reporting client: answers a collector's requests with the registry's graph.
//!
//! It runs on a thread of its own, so it neither needs nor slows the program's runtime. It makes or writes at most one
//! reply at a time; further requests wait in the socket.

use std::{io, thread, time::Duration};

use rpp_common::{Backoff, text::escape};
use tokio::{
    net::TcpStream,
    runtime,
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    frame::{self, Budget, FrameError, Reader},
    limits::{
        CONNECT_TIMEOUT, FRAME_DEADLINE, GRAPH_INTERVAL, MAX_REQUEST_BYTES, RECONNECT_FIRST, RECONNECT_MAX,
        REPLY_WRITE_TIMEOUT,
    },
    registry::Registry,
    socket,
    wire::{self, Request},
};

/// The variable with the dashboard's address.
pub const DASHBOARD_VARIABLE: &str = "PEEPS_DASHBOARD";

/// Reports a registry to a dashboard until it is dropped.
#[derive(Debug)]
#[must_use = "reporting ends when this is dropped"]
pub struct Reporter {
    registry: Registry,
    status: watch::Receiver<Status>,
    _stop: Option<watch::Sender<()>>,
}

/// The state of the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Whether a connection is open.
    pub connected: bool,
    /// Replies written, since the start.
    pub replies: u64,
    /// Connections that could not be made or were lost, since the start.
    pub losses: u64,
    /// Frames that could not be read, since the start.
    pub skipped: u64,
}

impl Reporter {
    /// Reports to `PEEPS_DASHBOARD=<host:port>`. `process` is the name that people see. If the variable is unset or
    /// empty, the registry is off and nothing runs.
    pub fn from_env(process: &str) -> Self {
        Self::to(std::env::var(DASHBOARD_VARIABLE).ok().as_deref(), process)
    }

    /// Like [`from_env`](Self::from_env), but uses the configured address if the variable is unset or empty.
    pub fn from_env_or(configured: &str, process: &str) -> Self {
        let variable = std::env::var(DASHBOARD_VARIABLE).ok().filter(|value| !value.trim().is_empty());
        Self::to(Some(variable.as_deref().unwrap_or(configured)), process)
    }

    /// Reports to `dashboard`. If that is `None` or empty, the registry is off and nothing runs.
    pub fn to(dashboard: Option<&str>, process: &str) -> Self {
        match dashboard.map(str::trim).filter(|dashboard| !dashboard.is_empty()) {
            None => Self::off(),
            Some(dashboard) => spawn(dashboard, Registry::new(process)).unwrap_or_else(|error| {
                tracing::warn!(%error, "no thread for fleet reports: this process will not appear in cuts");
                Self::off()
            }),
        }
    }

    /// Reports nothing.
    pub fn off() -> Self {
        Self { registry: Registry::off(), status: watch::channel(Status::default()).1, _stop: None }
    }

    /// The registry to which the program adds what is alive in it.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The state of the client, and a way to wait for a change.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }
}

/// Starts to report `registry` to `dashboard` (`host:port`), on a thread of its own.
///
/// # Errors
/// The thread or its runtime could not be made. An unreachable dashboard is not an error: it is tried again without
/// end.
pub fn spawn(dashboard: &str, registry: Registry) -> io::Result<Reporter> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let (status, watching) = watch::channel(Status::default());
    let (stop, mut stopped) = watch::channel(());
    let client = Client { dashboard: dashboard.to_owned(), registry: registry.clone(), status };
    thread::Builder::new().name("rpp-fleet".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = client.run() => {}
                // Fails when the reporter is gone.
                _ = stopped.changed() => {}
            }
        });
        // A name look-up in progress must not keep the thread.
        runtime.shutdown_background();
    })?;
    Ok(Reporter { registry, status: watching, _stop: Some(stop) })
}

struct Client {
    dashboard: String,
    registry: Registry,
    status: watch::Sender<Status>,
}

impl Client {
    async fn run(self) {
        let mut backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_MAX, rand::random());
        loop {
            let loss = self.connection(&mut backoff).await;
            self.status.send_modify(|status| {
                status.connected = false;
                status.losses += 1;
            });
            let first = backoff.failures() == 0;
            let pause = backoff.pause();
            let dashboard = escape(&self.dashboard);
            if first {
                tracing::warn!(dashboard, error = %loss, ?pause, "not connected to the dashboard; trying again, for ever");
            } else {
                tracing::debug!(dashboard, error = %loss, ?pause, "not connected to the dashboard");
            }
            sleep(pause).await;
        }
    }

    /// One connection, from the attempt to its loss.
    async fn connection(&self, backoff: &mut Backoff) -> Loss {
        let mut stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(self.dashboard.as_str())).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Loss::Connect(error),
            Err(_) => return Loss::Connect(io::ErrorKind::TimedOut.into()),
        };
        socket::keep_alive(&stream);
        tracing::info!(dashboard = escape(&self.dashboard), "reporting to the dashboard");
        self.status.send_modify(|status| status.connected = true);
        let since = Instant::now();
        let loss = self.answer_all(&mut stream, backoff).await;
        if since.elapsed() >= RECONNECT_MAX {
            backoff.reset();
        }
        loss
    }

    async fn answer_all(&self, stream: &mut TcpStream, backoff: &mut Backoff) -> Loss {
        let (read, mut write) = stream.split();
        let mut reader = Reader::new(read, MAX_REQUEST_BYTES, FRAME_DEADLINE, Budget::new(2 * MAX_REQUEST_BYTES));
        let mut next_graph = Instant::now();
        let mut skips = Skips::default();
        loop {
            let frame = match reader.next().await {
                Ok(frame) => frame,
                Err(error) => return Loss::Read(error),
            };
            let request = match wire::decode_request(&frame) {
                Ok(request) => request,
                Err(error) => {
                    skips.log(&error);
                    self.status.send_modify(|status| status.skipped += 1);
                    continue;
                }
            };
            backoff.reset();
            sleep_until(next_graph).await;
            next_graph = Instant::now() + GRAPH_INTERVAL;
            match timeout(REPLY_WRITE_TIMEOUT, frame::write(&mut write, &self.reply(request))).await {
                Ok(Ok(())) => self.status.send_modify(|status| status.replies += 1),
                Ok(Err(error)) => return Loss::Write(error),
                Err(_) => return Loss::Write(io::ErrorKind::TimedOut.into()),
            }
        }
    }

    fn reply(&self, request: Request) -> Vec<u8> {
        let graph = self.registry.graph();
        wire::encode_reply(request.snapshot_id, self.registry.process(), self.registry.pid(), graph.as_ref())
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum Loss {
    #[error("could not connect: {0}")]
    Connect(#[source] io::Error),
    #[error("nothing more to read: {0}")]
    Read(#[source] FrameError),
    #[error("could not write: {0}")]
    Write(#[source] io::Error),
}

/// Logs that frames are skipped, at most once in ten seconds, so that a stranger cannot fill the log.
#[derive(Default)]
struct Skips {
    said: Option<Instant>,
    unsaid: u64,
}

impl Skips {
    fn log(&mut self, error: &wire::SkipError) {
        self.unsaid += 1;
        if self.said.is_none_or(|said| said.elapsed() >= Duration::from_secs(10)) {
            tracing::warn!(error = escape(&error.to_string()), frames = self.unsaid, "skipped what the dashboard sent");
            (self.said, self.unsaid) = (Some(Instant::now()), 0);
        }
    }
}
