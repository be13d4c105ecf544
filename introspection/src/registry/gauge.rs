//! Bytes in and out, and their rates.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{
    limits::{MAX_RATE_WINDOW_MS, MIN_RATE_WINDOW_MS},
    proto,
};

/// Counters of one stream, one connection, or the whole node.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    received: AtomicU64,
    sent: AtomicU64,
    sample: Mutex<Sample>,
}

/// The figures at the previous measurement, and the rates found then.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    at_ms: Option<u64>,
    received: u64,
    sent: u64,
    rates: (u64, u64),
}

impl Gauges {
    pub(crate) fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn add(&self, received: u64, sent: u64) {
        self.received.fetch_add(received, Relaxed);
        self.sent.fetch_add(sent, Relaxed);
    }

    /// Bytes received and sent.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.received.load(Relaxed), self.sent.load(Relaxed))
    }

    /// Measures the rates since the previous call, or since `opened_ms`.
    pub(crate) fn measure(&self, now_ms: u64, opened_ms: u64) -> Measured {
        let (received, sent) = self.totals();
        let mut sample = self.sample.lock().unwrap_or_else(PoisonError::into_inner);
        let window = now_ms.saturating_sub(sample.at_ms.unwrap_or(opened_ms));
        if sample.at_ms.is_none() || window >= MIN_RATE_WINDOW_MS {
            let rate = |new: u64, old: u64| match window {
                1..=MAX_RATE_WINDOW_MS => new.saturating_sub(old).saturating_mul(1000) / window,
                _ => 0,
            };
            let rates = (rate(received, sample.received), rate(sent, sample.sent));
            *sample = Sample { at_ms: Some(now_ms), received, sent, rates };
        }
        Measured { received, sent, rates: sample.rates }
    }

    /// The figures of something that is closed.
    pub(crate) fn at_rest(&self) -> Measured {
        let (received, sent) = self.totals();
        Measured { received, sent, rates: (0, 0) }
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Bytes per second, received and sent; 0 if unknown.
    pub(crate) rates: (u64, u64),
}

impl Measured {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            received: self.received.saturating_add(other.received),
            sent: self.sent.saturating_add(other.sent),
            rates: (self.rates.0.saturating_add(other.rates.0), self.rates.1.saturating_add(other.rates.1)),
        }
    }

    pub(crate) fn traffic(self) -> proto::Traffic {
        let gauge = |cum_bytes, inst_bw| Some(proto::DataGauge { cum_bytes, cum_packets: 0, inst_bw });
        proto::Traffic { traffic_in: gauge(self.received, self.rates.0), traffic_out: gauge(self.sent, self.rates.1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_measured_since_the_previous_state() {
        let gauges = Gauges::default();
        gauges.add_received(5_000);
        assert_eq!(gauges.measure(2_000, 1_000).rates, (5_000, 0));
        gauges.add_received(1_000);
        gauges.add_sent(4_000);
        assert_eq!(gauges.measure(4_000, 1_000), Measured { received: 6_000, sent: 4_000, rates: (500, 2_000) });
    }

    #[test]
    fn two_states_in_a_moment_show_the_same_rate() {
        let gauges = Gauges::default();
        gauges.add_sent(1_000);
        assert_eq!(gauges.measure(1_000, 0).rates, (0, 1_000));
        gauges.add_sent(1_000);
        assert_eq!(gauges.measure(1_010, 0), Measured { received: 0, sent: 2_000, rates: (0, 1_000) });
    }

    #[test]
    fn a_rate_over_an_age_is_no_rate() {
        let gauges = Gauges::default();
        gauges.add_sent(1 << 40);
        assert_eq!(gauges.measure(10_000_000, 0).rates, (0, 0));
    }
}
