//! The control plane's own metrics, beside the node's in one text.

use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// What `GET /metrics` is served as. The text is OpenMetrics, which has types that Prometheus' older format does not know.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The line that ends an OpenMetrics text.
const END: &str = "# EOF\n";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    /// From [`ROUTES`](crate::ROUTES), so that callers cannot make the number of series grow.
    route: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    /// Each a word of ours, never the caller's.
    code: &'static str,
}

/// Counts what the routes answer, and what the gate refuses.
pub(crate) struct Metrics {
    registry: Registry,
    refused: Family<Refused, Counter>,
    answered: Family<Answered, Counter>,
    seconds: Family<Route, Histogram>,
    event_streams: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("rpp_http");
        let answered = Family::default();
        registry.register("requests", "Requests answered by the control plane's routes", answered.clone());
        let refused = Family::default();
        registry.register("refusals", "Requests refused before they reached a route", refused.clone());
        let seconds = Family::new_with_constructor(seconds as fn() -> Histogram);
        registry.register("request_seconds", "Time until a route answered", seconds.clone());
        let event_streams = Gauge::default();
        registry.register("event_streams", "Streams of session events that are open", event_streams.clone());
        Self { registry, refused, answered, seconds, event_streams }
    }
}

/// `POST /p2p/snapshots` may wait 5 s for a provider and as long for the node.
fn seconds() -> Histogram {
    Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0])
}

impl Metrics {
    pub(crate) fn note(&self, route: &'static str, method: &Method, status: StatusCode, took: Duration) {
        let answered = Answered { route, method: known(method), status: status.as_u16() };
        self.answered.get_or_create(&answered).inc();
        self.seconds.get_or_create(&Route { route }).observe(took.as_secs_f64());
    }

    pub(crate) fn note_refusal(&self, code: &'static str) {
        self.refused.get_or_create(&Refused { code }).inc();
    }

    /// The node's text with ours added.
    pub(crate) fn text(&self, node: &str, event_streams: usize) -> Result<String, std::fmt::Error> {
        self.event_streams.set(i64::try_from(event_streams).unwrap_or(i64::MAX));
        let mut all = node.strip_suffix(END).unwrap_or(node).to_owned();
        text::encode(&mut all, &self.registry)?;
        Ok(all)
    }
}

fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
