//! What the log says about peers' answers to the question what they offer.

use std::time::Instant;

use rpp_p2p::offers::{OffersEvent, PeerSaid};

use crate::{
    limits::{MAX_SAID_LINES, REFUSAL_LOG_INTERVAL},
    metrics::Metrics,
};

/// Bounds the lines, because identities of peers cost nothing.
#[derive(Debug, Default)]
pub(crate) struct SaidLog {
    /// The first line of this interval.
    since: Option<Instant>,
    lines: usize,
    left_out: u64,
}

impl SaidLog {
    /// One line about an answer that is useless, or that has changed.
    pub(crate) fn on_said(&mut self, event: &OffersEvent, metrics: &Metrics, now: Instant) {
        let OffersEvent::Said { peer, said, is_news } = event else { return };
        metrics.discovery.said(said);
        match said {
            PeerSaid::Offers { refused: 1.., .. } | PeerSaid::Unreadable { .. } if *is_news && self.may_write(now) => {
                tracing::warn!(%peer, "{peer} {said}")
            }
            PeerSaid::Offers { found: 1.., .. } if *is_news && self.may_write(now) => {
                tracing::info!(%peer, "{peer} {said}")
            }
            _ => tracing::debug!(%peer, "{peer} {said}"),
        }
    }

    /// The number of lines that were left out, at the end of an interval.
    pub(crate) fn poll_left_out(&mut self, now: Instant) -> Option<u64> {
        if !self.is_over(now) {
            return None;
        }
        let Self { left_out, .. } = std::mem::take(self);
        (left_out > 0).then_some(left_out)
    }

    fn may_write(&mut self, now: Instant) -> bool {
        if self.lines >= MAX_SAID_LINES {
            self.left_out += 1;
            return false;
        }
        self.since.get_or_insert(now);
        self.lines += 1;
        true
    }

    fn is_over(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) >= REFUSAL_LOG_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lines_about_answers_are_bounded_and_the_others_are_counted() {
        let (mut log, now) = (SaidLog::default(), Instant::now());
        assert_eq!((0..10_000).filter(|_| log.may_write(now)).count(), MAX_SAID_LINES);
        let almost = now + REFUSAL_LOG_INTERVAL - Duration::from_millis(1);
        assert_eq!((log.poll_left_out(almost), log.may_write(almost)), (None, false));
        let later = now + REFUSAL_LOG_INTERVAL;
        assert_eq!(log.poll_left_out(later), Some(10_001 - MAX_SAID_LINES as u64));
        assert!(log.may_write(later) && log.poll_left_out(later).is_none());
        assert_eq!(log.poll_left_out(later + REFUSAL_LOG_INTERVAL), None, "nothing was left out");
    }
}
