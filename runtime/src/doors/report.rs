//! One log line a minute about refused connections, however many there are.

use std::{collections::HashMap, fmt, time::Instant};

use rpp_p2p::provider::Source;

use crate::limits::{MAX_COUNTED_SOURCES, REFUSAL_LOG_INTERVAL};

/// The next report, and when it is due.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    refused: u64,
    gave_way: u64,
    by_source: HashMap<Source, u64>,
    said: Option<Instant>,
    /// When the first refusal of this report happened.
    since: Option<Instant>,
}

/// The events since the last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefusalSummary {
    pub(crate) refused: u64,
    pub(crate) gave_way: u64,
    pub(crate) worst: Source,
    pub(crate) of_worst: u64,
}

impl RefusalLog {
    pub(crate) fn refused(&mut self, now: Instant, source: Source) {
        self.refused += 1;
        self.count(now, source);
    }

    pub(crate) fn gave_way(&mut self, now: Instant, source: Source) {
        self.gave_way += 1;
        self.count(now, source);
    }

    /// The first refusal is reported at once, further ones after a minute.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<RefusalSummary> {
        self.since?;
        if self.said.is_some_and(|said| now.saturating_duration_since(said) < REFUSAL_LOG_INTERVAL) {
            return None;
        }
        let (worst, of_worst) = self.by_source.drain().max_by_key(|(source, count)| (*count, *source))?;
        let summary = RefusalSummary { refused: self.refused, gave_way: self.gave_way, worst, of_worst };
        *self = Self { said: Some(now), ..Self::default() };
        Some(summary)
    }

    fn count(&mut self, now: Instant, source: Source) {
        self.since.get_or_insert(now);
        if self.by_source.len() < MAX_COUNTED_SOURCES || self.by_source.contains_key(&source) {
            *self.by_source.entry(source).or_default() += 1;
        }
    }
}

impl fmt::Display for RefusalSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { refused, gave_way, worst, of_worst } = self;
        write!(
            f,
            "connections: {refused} refused and {gave_way} without a session closed to make room since the last such line, \
             {of_worst} of them from {worst}. Others and configured peers get in; if it does not end, have your firewall \
             limit that address"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use super::*;

    fn source(host: u32) -> Source {
        Source::of_ip(Ipv4Addr::from_bits(0x0a00_0000 + host).into())
    }

    #[test]
    fn one_line_a_minute_names_the_address_with_most() {
        let now = Instant::now();
        let mut report = RefusalLog::default();
        assert_eq!(report.poll(now), None);
        report.refused(now, source(1));
        let first = report.poll(now).unwrap();
        assert_eq!((first.refused, first.gave_way, first.of_worst, first.worst), (1, 0, 1, source(1)));
        for count in 0..10_000 {
            report.refused(now, source(count % 1000));
            report.gave_way(now, source(7));
            assert_eq!(report.poll(now + REFUSAL_LOG_INTERVAL - Duration::from_millis(1)), None);
        }
        assert_eq!(report.by_source.len(), MAX_COUNTED_SOURCES);
        let second = report.poll(now + REFUSAL_LOG_INTERVAL).unwrap();
        assert_eq!((second.refused, second.gave_way, second.of_worst), (10_000, 10_000, 10_010));
        assert!(second.to_string().contains("10010 of them from 10.0.0.7"), "{second}");
        assert_eq!(report.poll(now + REFUSAL_LOG_INTERVAL * 10), None, "nothing happened since");
    }
}
