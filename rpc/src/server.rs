//! Combines gate, routes and limits.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use rpp_http::{
    Limits,
    guard::{Bearer, Gate, HostOriginRules, Token, TokenTooShort},
};
use rpp_runtime::NodeHandle;
use secrecy::SecretString;

use crate::{
    limits::FIRST_ANSWER,
    metrics::Metrics,
    page,
    peers::{Count, Traffic},
    routes,
};

/// The settings of the control plane.
#[derive(Debug)]
pub struct Options {
    token: Result<Token, TokenTooShort>,
    allowed_hosts: Vec<String>,
    allowed_origins: Vec<String>,
    limits: Limits,
    first_answer: Duration,
    traffic: Option<Count>,
}

impl Options {
    /// Asks callers for exactly this token.
    #[must_use]
    pub fn new(token: SecretString) -> Self {
        Self::of(Token::new(&token))
    }

    /// Asks callers for the present value of this token, even after it was replaced.
    #[must_use]
    pub fn shared(token: Token) -> Self {
        Self::of(Ok(token))
    }

    fn of(token: Result<Token, TokenTooShort>) -> Self {
        Self {
            token,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            limits: Limits::default(),
            first_answer: FIRST_ANSWER,
            traffic: None,
        }
    }

    /// Names, besides IP literals and `localhost`, that `Host` may carry (`[rpc] allowed_hosts`).
    #[must_use]
    pub fn with_allowed_hosts(mut self, hosts: impl IntoIterator<Item = String>) -> Self {
        self.allowed_hosts.extend(hosts);
        self
    }

    /// Origins of web pages, besides those of the port's own host, that may send requests (`[rpc] allowed_origins`).
    /// Behind a TLS proxy the port's own page has another origin.
    #[must_use]
    pub fn with_allowed_origins(mut self, origins: impl IntoIterator<Item = String>) -> Self {
        self.allowed_origins.extend(origins);
        self
    }

    /// Sets other bounds than the defaults of [`Limits`].
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets another time to wait for a provider's first answer than [`FIRST_ANSWER`].
    #[must_use]
    pub fn with_first_answer(mut self, wait: Duration) -> Self {
        self.first_answer = wait;
        self
    }

    /// Sets the function that `GET /p2p/peers` calls for the traffic of each connected peer, by its id as text.
    #[must_use]
    pub fn with_traffic(mut self, count: impl Fn() -> HashMap<String, Traffic> + Send + Sync + 'static) -> Self {
        self.traffic = Some(Count(Arc::new(count)));
        self
    }
}

/// Why the control plane cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The operator's fault: the token could be guessed.
    #[error("the control plane's token is not good enough: {0}")]
    Token(#[from] TokenTooShort),
    /// The system's fault: the listener cannot be used.
    #[error("the control plane's listener cannot be used")]
    Listener(#[from] io::Error),
}

/// Serves the control plane of `node` until `shutdown`, then drains within [`Limits::drain`]. Event streams end with a
/// last event, and a `POST` that waits for a provider answers with what is known.
///
/// # Errors
/// The token is too short, or the listener cannot be used.
pub async fn serve(
    listener: std::net::TcpListener,
    node: NodeHandle,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let metrics = Arc::new(Metrics::default());
    let counted = Arc::clone(&metrics);
    let rules = HostOriginRules::default().with_hosts(options.allowed_hosts).with_origins(options.allowed_origins);
    let mut app = routes::App::new(node.clone(), options.first_answer, metrics);
    app.traffic = options.traffic;
    let follow = app.recent.clone().follow(node.subscribe());
    let gate = page::PATHS.into_iter().fold(Gate::new(rules), Gate::with_open_path);
    let gate = gate
        .with_bearer(Bearer::shared(options.token?))
        .with_probe_path("/healthz")
        .with_probe_path("/readyz")
        .with_observer(move |problem| counted.note_refusal(problem.code()));
    tokio::select! {
        served = rpp_http::serve(listener, routes::filter(app), gate, options.limits, shutdown) => Ok(served?),
        () = follow => Ok(()), // it never ends
    }
}
