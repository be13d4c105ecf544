//! The WebSocket server.

mod client;
mod hub;
mod machine;
mod outbox;

use std::{future::Future, io, net::TcpListener, sync::Arc, time::Duration};

use rpp_http::{
    Draining, Limits, Peer, Problem,
    guard::{Bearer, Gate, HostOriginRules, Token, TokenTooShort},
};
use secrecy::SecretString;
use tokio::sync::Semaphore;
use warp::{Filter, Reply as _, reply::Response, ws::Ws};

use crate::{
    limits::{CLIENT_WRITE_TIMEOUT, SPARE_CONNECTIONS},
    limits::{MAX_CLIENTS, MAX_READ_BYTES, PING_INTERVAL},
    registry::Registry,
};
use hub::Hub;
use machine::Bounds;

/// Who may connect, and how many.
#[derive(Clone, Debug)]
pub struct Options {
    token: Result<Token, TokenTooShort>,
    allowed_hosts: Vec<String>,
    allowed_origins: Vec<String>,
    max_clients: usize,
    ping_interval: Duration,
    bounds: Bounds,
}

impl Options {
    /// Sets the token that clients must send: the read-only one of introspection if one is configured, else the control
    /// plane's.
    #[must_use]
    pub fn new(token: SecretString) -> Self {
        Self::of(Token::new(&token))
    }

    /// Uses the present value of `token` whenever a client connects.
    #[must_use]
    pub fn shared(token: Token) -> Self {
        Self::of(Ok(token))
    }

    fn of(token: Result<Token, TokenTooShort>) -> Self {
        Self {
            token,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            max_clients: MAX_CLIENTS,
            ping_interval: PING_INTERVAL,
            bounds: Bounds::default(),
        }
    }

    /// Names that `Host` may carry besides IP addresses and `localhost`.
    #[must_use]
    pub fn with_allowed_hosts(mut self, hosts: impl IntoIterator<Item = String>) -> Self {
        self.allowed_hosts = hosts.into_iter().collect();
        self
    }

    /// Web pages that may connect besides the listener's own.
    #[must_use]
    pub fn with_allowed_origins(mut self, origins: impl IntoIterator<Item = String>) -> Self {
        self.allowed_origins = origins.into_iter().collect();
        self
    }

    /// Clients at a time (default 32); the next one gets `503`.
    #[must_use]
    pub fn with_max_clients(mut self, clients: usize) -> Self {
        self.max_clients = clients;
        self
    }

    /// Time between two pings of a client (default 20 s). For tests.
    #[must_use]
    pub fn with_ping_interval(mut self, interval: Duration) -> Self {
        self.ping_interval = interval;
        self
    }

    /// The smallest interval a client gets, in milliseconds (default 200). For tests.
    #[must_use]
    pub fn with_min_interval_ms(mut self, interval_ms: u64) -> Self {
        let end = *self.bounds.interval_ms.end();
        self.bounds.interval_ms = interval_ms.clamp(1, end)..=end;
        self
    }
}

/// Why the server does not run. The operator or the machine is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The token could be guessed.
    #[error("the introspection token cannot be used: {0}")]
    Token(#[from] rpp_http::guard::TokenTooShort),
    /// The listener cannot be used.
    #[error("the introspection listener cannot be used")]
    Listener(#[from] io::Error),
}

/// Serves `/introspect` until `shutdown`, then closes its clients' connections.
///
/// # Errors
/// The token is too short, or the listener cannot be used.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let rules = HostOriginRules::default().with_hosts(&options.allowed_hosts).with_origins(&options.allowed_origins);
    let gate = Gate::new(rules).with_bearer(Bearer::shared(options.token.clone()?).with_query_token());
    let limits = Limits::default()
        .with_max_connections(options.max_clients.saturating_add(SPARE_CONNECTIONS))
        .with_max_connections_per_address(options.max_clients.saturating_add(SPARE_CONNECTIONS / 2))
        .with_write_timeout(CLIENT_WRITE_TIMEOUT);
    let hub = Hub::new(registry);
    let door = Door {
        hub: Arc::clone(&hub),
        places: Arc::new(Semaphore::new(options.max_clients.min(Semaphore::MAX_PERMITS))),
        max_clients: options.max_clients,
        ping_interval: options.ping_interval,
        bounds: options.bounds,
    };
    let route = warp::path!("introspect")
        .and(warp::ws())
        .and(warp::ext::get::<Peer>())
        .and(warp::ext::get::<Draining>())
        .map(move |socket: Ws, peer: Peer, draining: Draining| door.open(socket, peer, draining));
    tokio::select! {
        served = rpp_http::serve(listener, route, gate, limits, shutdown) => Ok(served?),
        () = hub.run() => Ok(()),
    }
}

/// Accepts clients up to the maximum.
#[derive(Clone)]
struct Door {
    hub: Arc<Hub>,
    places: Arc<Semaphore>,
    max_clients: usize,
    ping_interval: Duration,
    bounds: Bounds,
}

impl Door {
    fn open(&self, socket: Ws, Peer(from): Peer, Draining(stop): Draining) -> Response {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let message = format!("{} clients are connected, and no more are allowed", self.max_clients);
            return Problem::new(http::StatusCode::SERVICE_UNAVAILABLE, "too_many_clients", message).into_response();
        };
        let (hub, bounds, ping_interval) = (Arc::clone(&self.hub), self.bounds.clone(), self.ping_interval);
        socket
            .max_message_size(MAX_READ_BYTES)
            .max_frame_size(MAX_READ_BYTES)
            .on_upgrade(move |socket| async move {
                client::run(socket, from, hub, bounds, ping_interval, stop).await;
                drop(place);
            })
            .into_response()
    }
}
