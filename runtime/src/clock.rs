//! Wall-clock text for people and records. Decisions use `Instant`.

use std::time::{Duration, Instant};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Now, as RFC 3339 in UTC.
pub(crate) fn now_text() -> String {
    text(OffsetDateTime::now_utc())
}

/// The wall-clock time of an instant to come, as RFC 3339 in UTC.
pub(crate) fn instant_text(at: Instant, now: Instant) -> String {
    let ahead = at.saturating_duration_since(now);
    text(OffsetDateTime::now_utc() + ahead)
}

fn text(at: OffsetDateTime) -> String {
    // Milliseconds are what people read; the formatter fails only for years beyond 9999.
    let at = at.replace_millisecond(at.millisecond()).unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_default()
}

/// A rate over the last seconds, from a counter that only rises.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    samples: std::collections::VecDeque<(Instant, u64)>,
}

impl Meter {
    const SPACING: Duration = Duration::from_millis(200);
    const SPAN: Duration = Duration::from_secs(5);

    /// Notes the counter's value.
    pub(crate) fn note(&mut self, now: Instant, total: u64) {
        if let Some(&(last, value)) = self.samples.back() {
            if total < value {
                self.samples.clear();
            } else if now.saturating_duration_since(last) < Self::SPACING {
                return;
            }
        }
        self.samples.push_back((now, total));
        while self.samples.len() > 2
            && self.samples.front().is_some_and(|&(at, _)| now.saturating_duration_since(at) > Self::SPAN)
        {
            self.samples.pop_front();
        }
    }

    /// Units per second up to now; `None` before there are two samples.
    pub(crate) fn per_second(&self, now: Instant, total: u64) -> Option<u64> {
        let &(at, value) = self.samples.front()?;
        let elapsed = now.saturating_duration_since(at);
        if elapsed < Self::SPACING {
            return None;
        }
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let rate = (total.saturating_sub(value) as f64 / elapsed.as_secs_f64()) as u64;
        Some(rate)
    }
}
