//! The metrics of sources; `docs/metrics.md` explains each. Peers and URLs are never labels, so that neither strangers
//! nor operators can make the number of series grow.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use rpp_p2p::SnapshotSessionId;

use crate::status::{SnapshotStreamStatus, SourceKind, SourceState};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabels {
    kind: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GivenBy {
    kind: &'static str,
}

/// Handles to them.
pub(crate) struct SourceMetrics {
    sources: Family<SourceLabels, Gauge>,
    verified: Family<GivenBy, Counter>,
    wasted: Family<GivenBy, Counter>,
    /// The counts of each source when it was last observed. There are at most as many entries as the sessions have
    /// sources.
    counted: Mutex<BTreeMap<(SnapshotSessionId, String), (u64, u64)>>,
}

impl SourceMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            sources: Family::default(),
            verified: Family::default(),
            wasted: Family::default(),
            counted: Mutex::default(),
        };
        registry.register("sources", "Sources of the downloads under way", metrics.sources.clone());
        let help = "Verified payload bytes of sources that were of use";
        registry.register("source_verified_bytes", help, metrics.verified.clone());
        registry.register("source_wasted_bytes", "Payload bytes of sources that came in vain", metrics.wasted.clone());
        metrics.observe(&[]);
        metrics
    }

    /// Sets the gauges, and counts what arrived since the last call.
    pub(crate) fn observe(&self, sessions: &[SnapshotStreamStatus]) {
        let live = sessions.iter().filter(|status| !status.state.is_final());
        let live: Vec<_> = live.flat_map(|status| &status.sources).collect();
        for kind in SourceKind::ALL {
            for state in SourceState::ALL {
                let count = live.iter().filter(|source| source.kind == *kind && source.state == *state).count();
                let labels = SourceLabels { kind: kind.as_str(), state: state.as_str() };
                self.sources.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
            }
            self.count(*kind, sessions);
        }
        // Sources that no longer exist are forgotten.
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let all = sessions.iter().flat_map(|status| status.sources.iter().map(|source| (status.session, source)));
        *counted = all
            .map(|(session, source)| ((session, source.source.clone()), (source.bytes_verified, source.bytes_wasted)))
            .collect();
    }

    fn count(&self, kind: SourceKind, sessions: &[SnapshotStreamStatus]) {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut verified, mut wasted) = (0_u64, 0_u64);
        for status in sessions {
            for source in status.sources.iter().filter(|source| source.kind == kind) {
                let known = counted.get(&(status.session, source.source.clone())).copied().unwrap_or_default();
                // A source that was removed and added again begins at 0.
                verified = verified.saturating_add(source.bytes_verified.saturating_sub(known.0));
                wasted = wasted.saturating_add(source.bytes_wasted.saturating_sub(known.1));
            }
        }
        let labels = GivenBy { kind: kind.as_str() };
        self.verified.get_or_create(&labels).inc_by(verified);
        self.wasted.get_or_create(&labels).inc_by(wasted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(state: &str, sources: &[(&str, &str, &str, u64, u64)]) -> SnapshotStreamStatus {
        let sources: Vec<_> = sources
            .iter()
            .map(|(source, kind, state, verified, wasted)| {
                serde_json::json!({ "source": source, "kind": kind, "state": state, "bytes_verified": verified,
                    "bytes_wasted": wasted, "waiting_on": null, "error": null, "error_code": null })
            })
            .collect();
        serde_json::from_value(serde_json::json!({
            "session": 7, "state": state, "bytes_received": 0, "bytes_verified": 0, "bytes_durable": 0,
            "verified": false, "waiting_on": null, "error": null, "error_code": null, "payload_path": null,
            "started_at": "", "updated_at": "", "sources": sources
        }))
        .unwrap()
    }

    #[test]
    fn live_sources_are_counted_by_state_and_bytes_only_once() {
        let mut registry = Registry::default();
        let metrics = SourceMetrics::register(&mut registry);
        let has = |line: &str| {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
            for secret in ["12D3", "host"] {
                assert!(!text.contains(secret), "{text}");
            }
        };
        has("sources{kind=\"mirror\",state=\"banned\"} 0");
        has("source_verified_bytes_total{kind=\"mirror\"} 0");
        let first =
            session("streaming", &[("12D3a", "peer", "active", 100, 1), ("https://host/", "mirror", "slow", 10, 0)]);
        metrics.observe(std::slice::from_ref(&first));
        metrics.observe(&[first]);
        has("sources{kind=\"peer\",state=\"active\"} 1");
        has("sources{kind=\"mirror\",state=\"slow\"} 1");
        has("source_verified_bytes_total{kind=\"peer\"} 100");
        has("source_verified_bytes_total{kind=\"mirror\"} 10");
        metrics.observe(&[session("complete", &[("12D3a", "peer", "done", 150, 1), ("12D3b", "peer", "done", 5, 7)])]);
        has("sources{kind=\"peer\",state=\"active\"} 0");
        has("sources{kind=\"peer\",state=\"done\"} 0");
        has("source_verified_bytes_total{kind=\"peer\"} 155");
        has("source_wasted_bytes_total{kind=\"peer\"} 8");
        // A source that is added again begins at 0.
        metrics.observe(&[session("streaming", &[("12D3a", "peer", "idle", 3, 0)])]);
        metrics.observe(&[session("streaming", &[("12D3a", "peer", "idle", 4, 0)])]);
        has("source_verified_bytes_total{kind=\"peer\"} 156");
        metrics.observe(&[]);
        assert!(metrics.counted.lock().unwrap().is_empty());
    }
}
