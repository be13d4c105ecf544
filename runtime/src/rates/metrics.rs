//! The metric of the byte rate limits; `docs/metrics.md` explains it.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use super::ByteLimits;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    limit: &'static str,
}

/// Handle to it.
pub(crate) struct LimitMetrics {
    in_force: Family<LimitLabel, Gauge>,
}

impl LimitMetrics {
    /// All series begin at 0, which means that there is no limit.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { in_force: Family::default() };
        let help = "Bytes of payload a second that a limit allows; 0: no limit";
        registry.register("limit_bytes_per_second", help, metrics.in_force.clone());
        metrics.observe(ByteLimits::default());
        metrics
    }

    /// Sets the gauges to the limits in force.
    pub(super) fn observe(&self, limits: ByteLimits) {
        for (limit, bytes) in [
            ("download", limits.download_bytes_per_second),
            ("upload", limits.upload_bytes_per_second),
            ("upload_per_peer", limits.upload_bytes_per_second_per_peer),
        ] {
            self.in_force.get_or_create(&LimitLabel { limit }).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
}
