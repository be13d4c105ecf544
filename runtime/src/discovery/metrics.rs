//! The metrics of discovery; `docs/metrics.md` explains each.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use rpp_p2p::offers::{Book, PeerSaid};

use crate::{hooks::DhtView, metrics::raise};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    said: &'static str,
}

/// Handles to them.
pub(crate) struct DiscoveryMetrics {
    asked: Family<Label, Counter>,
    offers: Gauge,
    newest: Gauge,
    dht_peers: Gauge,
    dht_records: Gauge,
    withheld: Counter,
}

impl DiscoveryMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            asked: Family::default(),
            offers: Gauge::default(),
            newest: Gauge::default(),
            dht_peers: Gauge::default(),
            dht_records: Gauge::default(),
            withheld: Counter::default(),
        };
        let help = "Times that a peer was asked what it offers, by what it said";
        registry.register("offer_questions", help, metrics.asked.clone());
        registry.register(
            "offers",
            "Snapshots that peers offer, their tips' signatures verified",
            metrics.offers.clone(),
        );
        let help = "Height of the newest snapshot that peers offer; 0 for none";
        registry.register("newest_offer_height", help, metrics.newest.clone());
        registry.register("dht_peers", "Peers in the routing tables of the DHT", metrics.dht_peers.clone());
        let help = "Records of providers that are kept for others in the DHT";
        registry.register("dht_records", help, metrics.dht_records.clone());
        let help =
            "Addresses that others named and that were not dialled, beyond eight of a peer or the budgets of dials";
        registry.register("addresses_withheld", help, metrics.withheld.clone());
        for said in PeerSaid::WORDS {
            drop(metrics.asked.get_or_create(&Label { said }));
        }
        metrics
    }

    pub(crate) fn said(&self, said: &PeerSaid) {
        self.asked.get_or_create(&Label { said: said.as_str() }).inc();
    }

    pub(crate) fn dht(&self, view: &DhtView) {
        let peers: usize = view.buckets.iter().map(|bucket| bucket.peers.len()).sum();
        self.dht_peers.set(i64::try_from(peers).unwrap_or(i64::MAX));
        self.dht_records.set(i64::try_from(view.records).unwrap_or(i64::MAX));
    }

    /// `withheld`: the addresses that were not dialled since the start.
    pub(crate) fn observe(&self, book: &Book, withheld: u64) {
        raise(&self.withheld, withheld);
        self.offers.set(i64::try_from(book.len()).unwrap_or(i64::MAX));
        let newest = book.newest_first().first().map_or(0, |known| known.snapshot.checkpoint.height);
        self.newest.set(i64::try_from(newest).unwrap_or(i64::MAX));
    }
}
