//! The metrics of bans; `docs/metrics.md` explains each.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use rpp_p2p::Offence;

use super::rules::{Ban, BanKind};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindOfSource {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OffenceLabels {
    kind: &'static str,
    offence: &'static str,
}

/// Handles to them.
pub(crate) struct BanMetrics {
    sources: Family<KindOfSource, Gauge>,
    bans: Family<OffenceLabels, Counter>,
    lifted: Counter,
    refused: Counter,
}

const KINDS: [BanKind; 2] = [BanKind::Peer, BanKind::Mirror];

impl BanMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            sources: Family::default(),
            bans: Family::default(),
            lifted: Counter::default(),
            refused: Counter::default(),
        };
        registry.register("banned_sources", "Sources that are banned now", metrics.sources.clone());
        registry.register("bans", "Bans by what the source did", metrics.bans.clone());
        registry.register("bans_lifted", "Bans that an operator lifted", metrics.lifted.clone());
        let help = "Connections of banned peers that were refused";
        registry.register("banned_connections_refused", help, metrics.refused.clone());
        for kind in KINDS.map(BanKind::as_str) {
            drop(metrics.sources.get_or_create(&KindOfSource { kind }));
            for offence in Offence::ALL.map(Offence::as_str) {
                drop(metrics.bans.get_or_create(&OffenceLabels { kind, offence }));
            }
        }
        metrics
    }

    /// A source was banned.
    pub(super) fn banned(&self, ban: &Ban, offence: Offence) {
        self.bans.get_or_create(&OffenceLabels { kind: ban.kind.as_str(), offence: offence.as_str() }).inc();
    }

    /// An operator lifted a ban.
    pub(super) fn lifted(&self) {
        self.lifted.inc();
    }

    /// A banned peer tried to connect.
    pub(crate) fn refused(&self) {
        self.refused.inc();
    }

    /// Sets the gauges.
    pub(super) fn observe(&self, bans: &[Ban]) {
        for kind in KINDS {
            let count = bans.iter().filter(|ban| ban.kind == kind).count();
            self.sources
                .get_or_create(&KindOfSource { kind: kind.as_str() })
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
