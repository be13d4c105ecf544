//! The control plane's own metrics, and the node's, in one text.

mod format;

use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use rpp_http::{guard::REFUSALS, panics};

use crate::routes::ROUTES;

pub(crate) use self::format::Format;

/// The line that ends an OpenMetrics text.
const END: &str = "# EOF\n";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    /// One of [`ROUTES`](crate::ROUTES), so that callers cannot make the number of series grow.
    route: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    /// Always one of our codes, never text of the caller.
    code: &'static str,
}

/// Counts the answers of the routes and the refusals of the gate.
pub(crate) struct Metrics {
    registry: Registry,
    panics: Counter,
    refused: Family<Refused, Counter>,
    answered: Family<Answered, Counter>,
    seconds: Family<RouteLabel, Histogram>,
    event_streams: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut root = Registry::with_prefix("rpp");
        let panics = Counter::default();
        root.register("panics", "Tasks of the process that panicked, each a fault of the program", panics.clone());
        let registry = root.sub_registry_with_prefix("http");
        let answered = Family::default();
        registry.register("requests", "Requests answered by the control plane's routes", answered.clone());
        let refused = Family::default();
        registry.register("refusals", "Requests refused before they reached a route", refused.clone());
        let seconds = Family::new_with_constructor(seconds as fn() -> Histogram);
        registry.register("request_seconds", "Time until a route answered", seconds.clone());
        let event_streams = Gauge::default();
        registry.register("event_streams", "Streams of session events that are open", event_streams.clone());
        let metrics = Self { registry: root, panics, refused, answered, seconds, event_streams };
        metrics.begin_at_0();
        metrics
    }
}

/// Methods that are counted by name; `HEAD` is counted as `GET`.
const METHODS: [&str; 4] = ["GET", "POST", "PATCH", "DELETE"];
/// Statuses that mean a problem of the node and not of the request.
const FAILURES: [u16; 4] = [500, 502, 503, 504];

/// `POST /p2p/snapshots` may wait 5 s for a provider, and another 5 s for the node's task.
fn seconds() -> Histogram {
    Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0])
}

impl Metrics {
    /// A series that appears with its first event shows no increase at that event, so an alert on the increase would
    /// never fire.
    fn begin_at_0(&self) {
        for code in REFUSALS {
            drop(self.refused.get_or_create(&Refused { code }));
        }
        for route in ROUTES {
            drop(self.seconds.get_or_create(&RouteLabel { route: route.path }));
            for method in route.methods.split(", ").filter(|method| METHODS.contains(method)) {
                for status in FAILURES.into_iter().chain([if method == "DELETE" { 204 } else { 200 }]) {
                    drop(self.answered.get_or_create(&Answered { route: route.path, method, status }));
                }
            }
        }
    }

    pub(crate) fn note(&self, route: &'static str, method: &Method, status: StatusCode, took: Duration) {
        let answered = Answered { route, method: known(method), status: status.as_u16() };
        self.answered.get_or_create(&answered).inc();
        self.seconds.get_or_create(&RouteLabel { route }).observe(took.as_secs_f64());
    }

    pub(crate) fn note_refusal(&self, code: &'static str) {
        self.refused.get_or_create(&Refused { code }).inc();
    }

    /// The node's text with our metrics added.
    pub(crate) fn text(&self, node: &str, event_streams: usize, format: Format) -> Result<String, std::fmt::Error> {
        self.event_streams.set(i64::try_from(event_streams).unwrap_or(i64::MAX));
        self.panics.inc_by(panics::count().saturating_sub(self.panics.get()));
        let mut all = node.strip_suffix(END).unwrap_or(node).to_owned();
        text::encode(&mut all, &self.registry)?;
        Ok(format.written(all))
    }
}

fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
