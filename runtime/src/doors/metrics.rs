//! The metrics of connections and of the provider's slots; `docs/metrics.md` explains each.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use rpp_p2p::snapshots::Load;

use super::rules::{Closed, ConnectionRefusal, Counts};
use crate::metrics::raise;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PlaceLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// Handles to them.
pub(crate) struct DoorMetrics {
    connections: Family<PlaceLabel, Gauge>,
    sources: Gauge,
    of_busiest_source: Gauge,
    refused: Family<Reason, Counter>,
    closed: Family<Reason, Counter>,
    slots: Family<PlaceLabel, Gauge>,
    slots_gave_way: Counter,
}

impl DoorMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            connections: Family::default(),
            sources: Gauge::default(),
            of_busiest_source: Gauge::default(),
            refused: Family::default(),
            closed: Family::default(),
            slots: Family::default(),
            slots_gave_way: Counter::default(),
        };
        registry.register("connections", "Connections by state", metrics.connections.clone());
        let help = "Addresses (of IPv6: /64) that connections are with";
        registry.register("connection_addresses", help, metrics.sources.clone());
        let help = "Connections with the address that has most of them";
        registry.register("connections_of_busiest_address", help, metrics.of_busiest_source.clone());
        registry.register("connections_refused", "Connections of others that were refused", metrics.refused.clone());
        let help = "Connections without a session that were closed";
        registry.register("connections_closed", help, metrics.closed.clone());
        registry.register("provider_slots", "Sessions of others by what they have", metrics.slots.clone());
        let help = "Slots that went from a quiet session to another";
        registry.register("provider_slots_gave_way", help, metrics.slots_gave_way.clone());
        metrics
    }

    /// Sets the metrics from the connections and the provider's load.
    pub(crate) fn observe(&self, counts: &Counts, load: &Load) {
        for (state, count) in [("being_made", counts.being_made), ("made", counts.made), ("closing", counts.closing)] {
            self.connections.get_or_create(&PlaceLabel { state }).set(gauge(count));
        }
        self.sources.set(gauge(counts.sources));
        self.of_busiest_source.set(gauge(counts.of_busiest_source));
        for refusal in ConnectionRefusal::ALL {
            let reason = Reason { reason: refusal.name() };
            raise(&self.refused.get_or_create(&reason), counts.refused.get(&refusal).copied().unwrap_or(0));
        }
        for closed in Closed::ALL {
            let reason = Reason { reason: closed.name() };
            raise(&self.closed.get_or_create(&reason), counts.closed.get(&closed).copied().unwrap_or(0));
        }
        self.slots.get_or_create(&PlaceLabel { state: "taken" }).set(gauge(load.slots));
        self.slots.get_or_create(&PlaceLabel { state: "waiting" }).set(gauge(load.waiting_for_slot));
        raise(&self.slots_gave_way, load.slots_that_gave_way);
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
