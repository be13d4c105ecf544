//! The gauges of this node's own sessions: their states, and what they wait for.

use std::ops::Deref;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::status::{SessionState, SnapshotStreamStatus, WaitKind};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WaitLabel {
    what: &'static str,
}

/// Handles to them.
pub(super) struct SessionMetrics {
    states: Family<StateLabel, Gauge>,
    waits: Family<WaitLabel, Gauge>,
    durable_lag: Gauge,
}

impl SessionMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { states: Family::default(), waits: Family::default(), durable_lag: Gauge::default() };
        registry.register("sessions", "Consumer sessions by state", metrics.states.clone());
        registry.register("sessions_waiting", "Consumer sessions by what they wait for", metrics.waits.clone());
        let help = "Verified bytes that are not durable yet, all sessions";
        registry.register("durable_lag_bytes", help, metrics.durable_lag.clone());
        metrics.observe(std::iter::empty::<&SnapshotStreamStatus>());
        metrics
    }

    /// Sets every series, so that each falls back to 0 when its last session leaves it.
    pub(super) fn observe<S: Deref<Target = SnapshotStreamStatus>>(&self, statuses: impl Iterator<Item = S>) {
        let mut states = [0_i64; SessionState::ALL.len()];
        let mut waits = [0_i64; WaitKind::ALL.len()];
        let mut lag = 0_u64;
        for status in statuses {
            count(SessionState::ALL, status.state, &mut states);
            lag = lag.saturating_add(status.bytes_verified.saturating_sub(status.bytes_durable));
            if let Some(wait) = status.waiting_on.as_ref().filter(|_| !status.state.is_final()) {
                count(WaitKind::ALL, wait.what, &mut waits);
            }
        }
        for (state, count) in SessionState::ALL.iter().zip(states) {
            self.states.get_or_create(&StateLabel { state: state.as_str() }).set(count);
        }
        for (wait, count) in WaitKind::ALL.iter().zip(waits) {
            self.waits.get_or_create(&WaitLabel { what: wait.as_str() }).set(count);
        }
        self.durable_lag.set(i64::try_from(lag).unwrap_or(i64::MAX));
    }
}

fn count<T: PartialEq + Copy>(all: &[T], one: T, counts: &mut [i64]) {
    for (_, count) in all.iter().zip(counts).filter(|(known, _)| **known == one) {
        *count += 1;
    }
}
