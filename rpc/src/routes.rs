//! The routes and what each of them does.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use rpp_http::{Draining, Problem, json};
use rpp_p2p::SnapshotSessionId;
use rpp_runtime::{NodeHandle, SnapshotRuntimeError, handle::StartStream};
use warp::{Filter, Reply as _, filters::BoxedFilter, path::FullPath, reply::Response};

use crate::{
    answer::{self, Asked},
    error::snapshot_runtime_error_to_http,
    events, idempotency,
    metrics::{Format, Metrics},
    openapi::{OPENAPI, openapi_3_0},
    page, peers,
    recent::Recent,
    request::{Stream, added_source, banned_source_of_path, limits_change, session_of_path, source_of_path},
};

/// One path and its methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// As in `/p2p/snapshots/{session}`.
    pub path: &'static str,
    /// As in the `Allow` header. `HEAD` arrives here as `GET`.
    pub methods: &'static str,
}

/// Every route. The OpenAPI description and the metrics use the same paths.
pub const ROUTES: &[Route] = &[
    Route { path: "/p2p/snapshots", methods: "GET, HEAD, POST" },
    Route { path: "/p2p/snapshots/{session}", methods: "GET, HEAD, DELETE" },
    Route { path: "/p2p/snapshots/{session}/events", methods: "GET, HEAD" },
    Route { path: "/p2p/snapshots/{session}/sources", methods: "POST" },
    Route { path: "/p2p/snapshots/{session}/sources/{source}", methods: "DELETE" },
    Route { path: "/p2p/peers", methods: "GET, HEAD" },
    Route { path: "/p2p/offers", methods: "GET, HEAD" },
    Route { path: "/p2p/bans", methods: "GET, HEAD" },
    Route { path: "/p2p/bans/{source}", methods: "DELETE" },
    Route { path: "/p2p/limits", methods: "GET, HEAD, PATCH" },
    Route { path: "/p2p/identity", methods: "GET, HEAD" },
    Route { path: "/p2p/head", methods: "GET, HEAD" },
    Route { path: "/p2p/events", methods: "GET, HEAD" },
    // A load balancer's check uses OPTIONS by default.
    Route { path: "/healthz", methods: "GET, HEAD, OPTIONS" },
    Route { path: "/readyz", methods: "GET, HEAD, OPTIONS" },
    Route { path: "/metrics", methods: "GET, HEAD" },
    Route { path: "/openapi.json", methods: "GET, HEAD" },
    Route { path: "/openapi-3.0.json", methods: "GET, HEAD" },
];

/// Where a request goes: the path of a row of [`ROUTES`], and the text in place of `{session}` or `{source}`.
struct Target {
    path: &'static str,
    named: String,
    /// The text in place of `{source}`, in a path that also has a session.
    source: String,
}

/// Finds the row of [`ROUTES`] that a path belongs to.
fn target() -> BoxedFilter<(Target,)> {
    let at = |path| move || Target { path, named: String::new(), source: String::new() };
    let of = |path| move |named| Target { path, named, source: String::new() };
    let sessions = warp::path!("p2p" / "snapshots")
        .map(at("/p2p/snapshots"))
        .or(warp::path!("p2p" / "snapshots" / String).map(of("/p2p/snapshots/{session}")))
        .unify()
        .or(warp::path!("p2p" / "snapshots" / String / "events").map(of("/p2p/snapshots/{session}/events")))
        .unify()
        .or(warp::path!("p2p" / "snapshots" / String / "sources").map(of("/p2p/snapshots/{session}/sources")))
        .unify()
        .or(warp::path!("p2p" / "snapshots" / String / "sources" / String).map(|named, source| Target {
            path: "/p2p/snapshots/{session}/sources/{source}",
            named,
            source,
        }))
        .unify();
    let node = warp::path!("p2p" / "peers")
        .map(at("/p2p/peers"))
        .or(warp::path!("p2p" / "offers").map(at("/p2p/offers")))
        .unify()
        .or(warp::path!("p2p" / "bans").map(at("/p2p/bans")))
        .unify()
        .or(warp::path!("p2p" / "bans" / String).map(of("/p2p/bans/{source}")))
        .unify()
        .or(warp::path!("p2p" / "limits").map(at("/p2p/limits")))
        .unify()
        .or(warp::path!("p2p" / "identity").map(at("/p2p/identity")))
        .unify()
        .or(warp::path!("p2p" / "head").map(at("/p2p/head")))
        .unify()
        .or(warp::path!("p2p" / "events").map(at("/p2p/events")))
        .unify();
    let service = warp::path!("healthz")
        .map(at("/healthz"))
        .or(warp::path!("readyz").map(at("/readyz")))
        .unify()
        .or(warp::path!("metrics").map(at("/metrics")))
        .unify()
        .or(warp::path!("openapi.json").map(at("/openapi.json")))
        .unify()
        .or(warp::path!("openapi-3.0.json").map(at("/openapi-3.0.json")))
        .unify();
    sessions.or(node).unify().or(service).unify().boxed()
}

/// What the routes need.
pub(crate) struct App {
    node: NodeHandle,
    first_answer: Duration,
    places: events::Places,
    metrics: Arc<Metrics>,
    pub(crate) recent: Recent,
    pub(crate) traffic: Option<peers::Count>,
}

/// All routes and the page's files as one filter. It rejects every other path.
pub(crate) fn filter(app: App) -> BoxedFilter<(Response,)> {
    let app = Arc::new(app);
    let files = warp::method().and(warp::path::full()).and_then(|method: Method, path: FullPath| async move {
        let file = page::answer(&method, path.as_str()).ok_or_else(warp::reject::not_found)?;
        Ok::<_, warp::Rejection>(file.unwrap_or_else(Problem::into_response))
    });
    let routes = target()
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::body::bytes())
        .and(warp::ext::get::<Draining>())
        .then(move |target: Target, method: Method, headers: HeaderMap, body: Bytes, draining: Draining| {
            let app = Arc::clone(&app);
            async move { app.answer(&method, &target, &Call { headers, body, draining }).await }
        });
    files.or(routes).unify().boxed()
}

/// The parts of a request besides method and path.
struct Call {
    headers: HeaderMap,
    body: Bytes,
    draining: Draining,
}

impl App {
    pub(crate) fn new(node: NodeHandle, first_answer: Duration, metrics: Arc<Metrics>) -> Self {
        let (places, recent) = (events::Places::default(), Recent::default());
        Self { node, first_answer, places, metrics, recent, traffic: None }
    }

    async fn answer(&self, method: &Method, target: &Target, call: &Call) -> Response {
        let started = Instant::now();
        let answer = self.dispatch(method, target, call).await;
        let response = answer.unwrap_or_else(Problem::into_response);
        self.metrics.note(target.path, method, response.status(), started.elapsed());
        response
    }

    /// Our code, not warp's filters, selects the method: a rejection of warp does not say which methods a route has.
    async fn dispatch(&self, method: &Method, target: &Target, call: &Call) -> Result<Response, Problem> {
        let session = || session_of_path(&target.named);
        match (method.as_str(), target.path) {
            ("POST", "/p2p/snapshots") => self.stream(call).await,
            ("GET", "/p2p/snapshots") => self.ask(self.node.snapshot_streams()).await,
            ("GET", "/p2p/snapshots/{session}") => self.ask(self.node.snapshot_stream_status(session()?)).await,
            ("DELETE", "/p2p/snapshots/{session}") => self.cancel(session()?).await,
            ("GET", "/p2p/snapshots/{session}/events") => {
                events::answer(&self.node, session()?, &self.places, call.draining.clone()).await
            }
            ("POST", "/p2p/snapshots/{session}/sources") => {
                let session = session()?;
                self.ask(self.node.add_source(session, added_source(&call.body)?)).await
            }
            ("DELETE", "/p2p/snapshots/{session}/sources/{source}") => {
                let session = session()?;
                self.ask(self.node.remove_source(session, source_of_path(&target.source)?)).await
            }
            ("GET", "/p2p/peers") => self.peers().await,
            ("GET", "/p2p/offers") => self.ask(self.node.offers()).await,
            ("GET", "/p2p/bans") => self.ask(self.node.bans()).await,
            ("DELETE", "/p2p/bans/{source}") => self.lift(&target.named).await,
            ("GET", "/p2p/limits") => self.ask(self.node.limits()).await,
            ("PATCH", "/p2p/limits") => self.ask(self.node.change_limits(limits_change(&call.body)?)).await,
            ("GET", "/p2p/identity") => self.ask(self.node.identity()).await,
            ("GET", "/p2p/head") => self.head(),
            ("GET", "/p2p/events") => Ok(json(StatusCode::OK, &self.recent.all())),
            ("GET" | "OPTIONS", "/healthz") => self.health().await,
            ("GET" | "OPTIONS", "/readyz") => self.readiness().await,
            ("GET", "/metrics") => self.metrics(Format::accepted(&call.headers)).await,
            ("GET", "/openapi.json") => Ok(typed("application/json", OPENAPI.into())),
            ("GET", "/openapi-3.0.json") => Ok(typed("application/json", openapi_3_0().into())),
            (_, path) => Err(Problem::method_not_allowed(allowed(path))),
        }
    }

    async fn ask<T: serde::Serialize>(
        &self,
        call: impl Future<Output = Result<T, SnapshotRuntimeError>>,
    ) -> Result<Response, Problem> {
        Ok(json(StatusCode::OK, &call.await.map_err(to_http)?))
    }

    /// Starts or resumes, then waits a moment for the provider.
    async fn stream(&self, call: &Call) -> Result<Response, Problem> {
        let idempotency_key = idempotency::key(&call.headers)?;
        let (mut watched, wanted) = match Stream::read(&call.body)? {
            Stream::Start(request) => {
                let request = StartStream { idempotency_key, ..request };
                (self.node.start_snapshot_stream(request).await, Asked::Start)
            }
            Stream::Resume(request) => (self.node.resume_snapshot_stream(request).await, Asked::Resume),
        };
        let watched = watched.as_mut().map_err(|error| snapshot_runtime_error_to_http(error))?;
        let status = answer::first(watched, wanted, self.first_answer, &call.draining.0).await.map_err(to_http)?;
        // The times in a watched status are those of its last change; the node's own answer has the present times.
        let now = self.node.snapshot_stream_status(status.session).await.unwrap_or(status);
        Ok(json(StatusCode::OK, &now))
    }

    async fn cancel(&self, session: SnapshotSessionId) -> Result<Response, Problem> {
        self.node.cancel_snapshot_stream(session).await.map_err(to_http)?;
        Ok(no_content())
    }

    async fn lift(&self, source: &str) -> Result<Response, Problem> {
        self.node.lift_ban(banned_source_of_path(source)?).await.map_err(to_http)?;
        Ok(no_content())
    }

    async fn peers(&self) -> Result<Response, Problem> {
        let peers = self.node.peers().await.map_err(to_http)?;
        Ok(json(StatusCode::OK, &peers::rows(peers, self.traffic.as_ref())))
    }

    fn head(&self) -> Result<Response, Problem> {
        match (&*self.node.head().borrow(), self.node.head_error()) {
            (Some(head), _) => Ok(json(StatusCode::OK, head)),
            (None, Some(fault)) => Err(to_http(SnapshotRuntimeError::Storage(fault))),
            (None, None) => Err(Problem::new(StatusCode::NOT_FOUND, "no_head", "no checkpoint has been verified yet")),
        }
    }

    /// Whether the node's task answers at all.
    async fn health(&self) -> Result<Response, Problem> {
        // The cheapest query: no session has this id.
        match self.node.snapshot_stream_status(SnapshotSessionId::UNREADABLE).await {
            Ok(_) | Err(SnapshotRuntimeError::UnknownSession { .. }) => Ok(self.alive()),
            // Only here, silence of the node is itself the answer.
            Err(error) => {
                let problem = to_http(error);
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, problem.code(), problem.message()))
            }
        }
    }

    /// A node that cannot write counts as alive, too: a restart would not free any space.
    fn alive(&self) -> Response {
        match self.node.cannot_write() {
            None => json(StatusCode::OK, &serde_json::json!({ "status": "ok" })),
            Some(reason) => json(StatusCode::OK, &serde_json::json!({ "status": "cannot write", "reason": reason })),
        }
    }

    async fn readiness(&self) -> Result<Response, Problem> {
        self.node.readiness().map_err(|reason| to_http(reason.into()))?;
        match self.node.cannot_write() {
            None => self.health().await,
            Some(reason) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "cannot_write", reason)),
        }
    }

    async fn metrics(&self, format: Format) -> Result<Response, Problem> {
        let node = self.node.metrics_text().await.map_err(to_http)?;
        let text = self.metrics.text(&node, self.places.taken(), format).map_err(|error| {
            tracing::error!(%error, "the metrics could not be written");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the metrics could not be written")
        })?;
        let mut response = typed(format.content_type(), text);
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
        Ok(response)
    }
}

/// The methods that a route knows.
fn allowed(path: &str) -> Option<HeaderValue> {
    ROUTES.iter().find(|route| route.path == path).map(|route| HeaderValue::from_static(route.methods))
}

fn to_http(error: SnapshotRuntimeError) -> Problem {
    snapshot_runtime_error_to_http(&error)
}

fn no_content() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn typed(content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn found(path: &str) -> Option<(&'static str, String)> {
        let target = warp::test::request().path(path).filter(&target()).await.ok()?;
        Some((target.path, target.named))
    }

    #[tokio::test]
    async fn paths_find_their_route() {
        for route in ROUTES {
            let named = if route.path.contains('{') { "x" } else { "" };
            let path = route.path.replace("{session}", named).replace("{source}", named);
            assert_eq!(found(&path).await, Some((route.path, named.to_owned())), "{path}");
            for wrong in [format!("/{path}"), format!("{path}/x/y/z"), path.to_uppercase()] {
                assert_eq!(found(&wrong).await, None, "{wrong}");
            }
        }
        for path in ["/", "/p2p", "/p2p/", "/p2p//snapshots", "/p2p/snapshots//events", "/p2p/snapshots/7/events/7"] {
            assert_eq!(found(path).await, None, "{path}");
        }
        let removed = "/p2p/snapshots/7/sources/https%3A%2F%2Fhost%2Fa";
        let target = warp::test::request().method("DELETE").path(removed).filter(&target()).await.unwrap();
        assert_eq!((target.named.as_str(), target.source.as_str()), ("7", "https%3A%2F%2Fhost%2Fa"));
        assert_eq!(found("/p2p/peers?a=b/").await.map(|(path, _)| path), Some("/p2p/peers"));
    }
}
