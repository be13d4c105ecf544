//! The node's own metrics; `docs/metrics.md` explains each. libp2p's are registered beside them under `libp2p_`.

mod known;
mod sessions;

use std::ops::Deref;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};
use rpp_p2p::snapshots::{Activity, Ended, Observer, Outcome, RequestKind};

use crate::{
    bans::BanMetrics, discovery::DiscoveryMetrics, doors, hooks::ProcessCounter, queues::Queues, rates::LimitMetrics,
    sources::metrics::SourceMetrics, status::SnapshotStreamStatus, writable::Part,
};

/// Which way bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Direction {
    #[allow(non_camel_case_types)]
    received,
    #[allow(non_camel_case_types)]
    sent,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionKind {
    direction: Direction,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    direction: Direction,
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result_ {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartLabel {
    part: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queue {
    queue: &'static str,
}

/// The node's metrics and their registry.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) libp2p: libp2p::metrics::Metrics,
    pub(crate) doors: doors::DoorMetrics,
    pub(crate) discovery: DiscoveryMetrics,
    pub(crate) bans: BanMetrics,
    pub(crate) limits: LimitMetrics,
    pub(crate) sources: SourceMetrics,
    bytes: Family<DirectionKind, Counter>,
    requests: Family<RequestLabels, Counter>,
    round_trip: Family<KindLabel, Histogram>,
    sessions: sessions::SessionMetrics,
    resumes: Family<Result_, Counter>,
    verification_failures: Family<KindLabel, Counter>,
    acks: Family<DirectionKind, Counter>,
    retries: Family<KindLabel, Counter>,
    queue_depth: Family<Queue, Gauge>,
    head_height: Gauge,
    store_damaged: Gauge,
    store_scrubbed: Counter,
    damaged_chunks: Counter,
    cannot_write: Family<PartLabel, Gauge>,
}

impl Metrics {
    /// `others`: counters of the process in which the node runs.
    pub(crate) fn new(others: &[ProcessCounter]) -> Self {
        let mut registry = Registry::default();
        let libp2p = libp2p::metrics::Metrics::new(&mut registry);
        let ours = registry.sub_registry_with_prefix("rpp");
        let doors = doors::DoorMetrics::register(ours);
        let discovery = DiscoveryMetrics::register(ours);
        let bans = BanMetrics::register(ours);
        let limits = LimitMetrics::register(ours);
        let sessions = sessions::SessionMetrics::register(ours);
        let sources = SourceMetrics::register(ours);
        ours.register("build", "Version of the node", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        macro_rules! metric {
            ($name:literal, $help:literal, $metric:expr) => {{
                let metric = $metric;
                ours.register($name, $help, metric.clone());
                metric
            }};
        }
        let bytes = metric!("snapshot_bytes", "Message bytes by direction and kind of request", Family::default());
        let requests = metric!("snapshot_requests", "Requests by direction, kind and outcome", Family::default());
        let round_trip = metric!(
            "snapshot_request_seconds",
            "Time from a request to its checked answer",
            Family::<KindLabel, Histogram>::new_with_constructor(|| Histogram::new([
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0
            ]))
        );
        let resumes = metric!("resumes", "Resumes by result", Family::default());
        let verification_failures =
            metric!("verification_failures", "Answers that did not verify, by kind", Family::default());
        let acks = metric!("acks", "Acknowledgements that were persisted, by direction", Family::default());
        let retries = metric!("retries", "Back-offs by cause", Family::default());
        let queue_depth = metric!("queue_depth", "Entries waiting, by queue", Family::default());
        let head_height = metric!("head_height", "Height of the newest verified checkpoint", Gauge::default());
        let cannot_write =
            metric!("cannot_write", "1 while a part of the node's own files cannot be written", Family::default());
        let store_damaged =
            metric!("store_damaged", "Stored payloads that are damaged and therefore not offered", Gauge::default());
        let store_scrubbed = metric!(
            "store_scrubbed_bytes",
            "Bytes of stored payloads read and hashed in the background",
            Counter::default()
        );
        let damaged_chunks = metric!(
            "damaged_chunks",
            "Chunks of partial payloads that did not hold after a restart and were fetched again",
            Counter::default()
        );
        for ProcessCounter { name, help, counter } in others {
            ours.register(*name, *help, counter.clone());
        }
        let metrics = Self {
            registry,
            libp2p,
            doors,
            discovery,
            bans,
            limits,
            sources,
            bytes,
            requests,
            round_trip,
            sessions,
            resumes,
            verification_failures,
            acks,
            retries,
            queue_depth,
            head_height,
            cannot_write,
            store_damaged,
            store_scrubbed,
            damaged_chunks,
        };
        metrics.begin_at_0();
        metrics
    }

    pub(crate) fn verification_failed(&self, kind: &'static str) {
        self.verification_failures.get_or_create(&KindLabel { kind }).inc();
    }

    pub(crate) fn retried(&self, cause: &'static str) {
        self.retries.get_or_create(&KindLabel { kind: cause }).inc();
    }

    pub(crate) fn queues(&self, queues: &Queues) {
        for (queue, fill) in queues.named() {
            self.queue_depth.get_or_create(&Queue { queue }).set(i64::try_from(fill).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn cannot_write(&self, part: Part, failed: bool) {
        self.cannot_write.get_or_create(&PartLabel { part: part.name() }).set(i64::from(failed));
    }

    pub(crate) fn head(&self, height: u64) {
        self.head_height.set(i64::try_from(height).unwrap_or(i64::MAX));
    }

    pub(crate) fn damaged(&self, payloads: usize) {
        self.store_damaged.set(i64::try_from(payloads).unwrap_or(i64::MAX));
    }

    pub(crate) fn scrubbed(&self, bytes: u64) {
        self.store_scrubbed.inc_by(bytes);
    }

    pub(crate) fn damaged_chunks(&self, chunks: u64) {
        self.damaged_chunks.inc_by(chunks);
    }

    /// Sets the gauges that depend on the sessions.
    pub(crate) fn sessions<S: Deref<Target = SnapshotStreamStatus>>(&self, statuses: impl Iterator<Item = S>) {
        self.sessions.observe(statuses);
    }

    /// All metrics as OpenMetrics text.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail; a metric that cannot be encoded would leave the text without its end.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}

impl Observer for Metrics {
    fn request_finished(&self, request: &Activity, ended: &Ended) {
        let kind = kind_name(request.kind);
        self.exchanged(Direction::sent, Direction::received, kind, ended);
        self.round_trip.get_or_create(&KindLabel { kind }).observe(ended.elapsed.as_secs_f64());
        match (request.kind, ended.outcome) {
            (Some(RequestKind::Resume), outcome) => {
                self.resumes.get_or_create(&Result_ { result: outcome.as_str() }).inc();
            }
            (Some(RequestKind::Ack), Outcome::Served) => {
                self.acks.get_or_create(&DirectionKind { direction: Direction::sent, kind }).inc();
            }
            _ => {}
        }
    }

    fn response_finished(&self, response: &Activity, ended: &Ended) {
        let kind = kind_name(response.kind);
        self.exchanged(Direction::received, Direction::sent, kind, ended);
        if let (Some(RequestKind::Ack), Outcome::Served) = (response.kind, ended.outcome) {
            self.acks.get_or_create(&DirectionKind { direction: Direction::received, kind }).inc();
        }
    }
}

impl Metrics {
    /// `request` is the direction of the request, `response` that of the answer.
    fn exchanged(&self, request: Direction, response: Direction, kind: &'static str, ended: &Ended) {
        self.requests.get_or_create(&RequestLabels { direction: request, kind, outcome: ended.outcome.as_str() }).inc();
        let bytes = |direction, bytes: usize| {
            self.bytes.get_or_create(&DirectionKind { direction, kind }).inc_by(bytes as u64);
        };
        bytes(request, ended.request_bytes);
        bytes(response, ended.response_bytes);
    }
}

fn kind_name(kind: Option<RequestKind>) -> &'static str {
    kind.map_or("unreadable", RequestKind::as_str)
}

/// Raises a counter to a sum that is counted elsewhere.
pub(crate) fn raise(counter: &Counter, sum: u64) {
    counter.inc_by(sum.saturating_sub(counter.get()));
}
