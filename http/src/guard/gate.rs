//! The gate in front of a port's routes.

use std::{net::SocketAddr, time::Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header, request};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};

use super::{Bearer, HostOriginRules, body, target};
use crate::{Limits, Problem};

/// The codes of all refusals. A counter needs them in advance: only a series that begins at 0 shows its first event.
pub const REFUSALS: &[&str] = &[
    "body_timeout",
    "host_not_allowed",
    "invalid_target",
    "malformed_body",
    "method_not_allowed",
    "not_found",
    "origin_not_allowed",
    "too_large",
    "too_many_connections",
    "too_many_wrong_tokens",
    "unauthorized",
    "unsupported_media_type",
];

type Observer = Box<dyn Fn(&Problem) + Send + Sync>;

/// Decides which requests reach the routes. It checks the form of the target, then [`HostOriginRules`], then the token,
/// then the body.
pub struct Gate {
    rules: HostOriginRules,
    bearer: Option<Bearer>,
    open: Vec<String>,
    probes: Vec<String>,
    observer: Option<Observer>,
}

impl Gate {
    /// A gate that asks for no token.
    #[must_use]
    pub fn new(rules: HostOriginRules) -> Self {
        Self { rules, bearer: None, open: Vec::new(), probes: Vec::new(), observer: None }
    }

    /// Asks for a token on every path except the open ones, also on paths that do not exist.
    #[must_use]
    pub fn with_bearer(mut self, bearer: Bearer) -> Self {
        self.bearer = Some(bearer);
        self
    }

    /// Adds a path, exactly as it stands in a request, that needs no token. Some connections are reserved for such
    /// paths, for the time when all ordinary places are taken.
    #[must_use]
    pub fn with_open_path(mut self, path: impl Into<String>) -> Self {
        self.open.push(path.into());
        self
    }

    /// Adds an open path for monitors. It also accepts requests without `Host`, because HTTP/1.0 has none.
    #[must_use]
    pub fn with_probe_path(mut self, path: impl Into<String>) -> Self {
        let path = path.into();
        self.probes.push(path.clone());
        self.with_open_path(path)
    }

    /// Calls this for every refusal, to count it.
    #[must_use]
    pub fn with_observer(mut self, observer: impl Fn(&Problem) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    pub(crate) fn has_open_paths(&self) -> bool {
        !self.open.is_empty()
    }

    /// The answer to a connection that finds no free place.
    pub(crate) fn too_many_connections(&self) -> Problem {
        let problem = no_place();
        self.observe(&problem);
        problem
    }

    /// The request with its body read, or the refusal. With `spare`, only open paths are allowed.
    pub(crate) async fn admit(
        &self,
        from: SocketAddr,
        spare: bool,
        limits: &Limits,
        request: Request<Incoming>,
    ) -> Result<Request<Full<Bytes>>, Problem> {
        let (mut parts, body) = request.into_parts();
        let unread = !body.is_end_stream();
        let admitted = match self.admit_head(from, spare, &mut parts) {
            Ok(()) => body::read(&parts.headers, body, limits).await,
            Err(problem) if unread => Err(problem.and_close()),
            Err(problem) => Err(problem),
        };
        let body = admitted.inspect_err(|problem| self.observe(problem))?;
        // The body is complete now, so the headers about its transfer no longer apply.
        if parts.headers.remove(header::TRANSFER_ENCODING).is_some() {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        Ok(Request::from_parts(parts, Full::new(body)))
    }

    fn admit_head(&self, from: SocketAddr, spare: bool, parts: &mut request::Parts) -> Result<(), Problem> {
        target::check(&parts.method, &parts.uri)?;
        let names = |paths: &[String]| paths.iter().any(|path| path == parts.uri.path());
        let (open, probe) = (names(&self.open), names(&self.probes));
        if spare && !open {
            return Err(no_place());
        }
        self.rules.check(&parts.headers, probe)?;
        match &self.bearer {
            Some(bearer) if !open => bearer.check(from.ip(), Instant::now(), parts),
            _ => {
                parts.headers.remove(header::AUTHORIZATION);
                Ok(())
            }
        }
    }

    fn observe(&self, problem: &Problem) {
        if let Some(observer) = &self.observer {
            observer(problem);
        }
    }
}

fn no_place() -> Problem {
    let message = "all connections of this port, or of your address, are in use: try again later";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", message)
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
}
