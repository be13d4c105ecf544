//! Wall-clock times as text, for people and records. Decisions use `Instant`.

use std::time::{Duration, Instant};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Now, as RFC 3339 in UTC.
pub(crate) fn now_text() -> String {
    text(OffsetDateTime::now_utc())
}

/// The wall-clock time of a past instant, as RFC 3339 in UTC.
pub(crate) fn past_text(at: Instant, now: Instant) -> String {
    text(OffsetDateTime::now_utc() - now.saturating_duration_since(at))
}

/// The wall-clock time of a future instant, as RFC 3339 in UTC.
pub(crate) fn instant_text(at: Instant, now: Instant) -> String {
    let ahead = at.saturating_duration_since(now);
    text(OffsetDateTime::now_utc() + ahead)
}

/// The instant at which the wall clock will show `at`; `now` if that time has passed.
pub(crate) fn instant_at(at: OffsetDateTime, now: Instant) -> Instant {
    now + Duration::try_from(at - OffsetDateTime::now_utc()).unwrap_or_default()
}

/// The instant at which the wall clock showed `text`; `now` if that is unknown.
pub(crate) fn instant_of(text: &str, now: Instant) -> Instant {
    let then = OffsetDateTime::parse(text, &Rfc3339).ok();
    let ago = then.and_then(|then| Duration::try_from(OffsetDateTime::now_utc() - then).ok());
    ago.and_then(|ago| now.checked_sub(ago)).unwrap_or(now)
}

/// How long ago the wall clock showed `text`; `None` if `text` is not a time. A future time counts as now, because
/// clocks may be set back.
pub(crate) fn age_of(text: &str) -> Option<Duration> {
    let then = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(Duration::try_from(OffsetDateTime::now_utc() - then).unwrap_or_default())
}

/// Milliseconds since then; 0 if that time is in the future.
pub(crate) fn age(since: OffsetDateTime) -> u64 {
    u64::try_from((OffsetDateTime::now_utc() - since).whole_milliseconds()).unwrap_or_default()
}

/// Serialises a time as RFC 3339.
pub(crate) mod rfc3339 {
    use serde::{Deserialize as _, Deserializer, Serializer, de};
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};

    pub(crate) fn serialize<S: Serializer>(at: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::text(*at))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OffsetDateTime, D::Error> {
        OffsetDateTime::parse(&String::deserialize(deserializer)?, &Rfc3339).map_err(de::Error::custom)
    }
}

pub(crate) fn text(at: OffsetDateTime) -> String {
    // People read milliseconds; formatting fails only for years beyond 9999.
    let at = at.replace_millisecond(at.millisecond()).unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_default()
}

/// The rate of a rising counter over the last seconds.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    samples: std::collections::VecDeque<(Instant, u64)>,
}

impl Meter {
    const SPACING: Duration = Duration::from_millis(200);
    const SPAN: Duration = Duration::from_secs(5);

    /// Records the counter's value.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_on_record_is_found_again_on_this_clock() {
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        let then = instant_of(&text(OffsetDateTime::now_utc() - hour), now);
        let ago = now.saturating_duration_since(then);
        assert!((hour..hour + Duration::from_secs(60)).contains(&ago), "{ago:?}");
    }

    #[test]
    fn what_is_no_time_or_not_yet_is_now() {
        let now = Instant::now();
        let ahead = text(OffsetDateTime::now_utc() + Duration::from_secs(3600));
        for text in ["", "yesterday", "0000-00-00T00:00:00Z", ahead.as_str()] {
            assert_eq!(instant_of(text, now), now, "{text}");
        }
    }
}
