//! Milliseconds since the Unix epoch that never go back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A source of times.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// The wall clock at the start plus the monotonic time since: a change of the wall clock has no effect.
    System {
        start: Instant,
        unix_ms: u64,
    },
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(Source::System { start: Instant::now(), unix_ms: millis(unix) })
    }

    /// A clock that is set through the shared number. For tests and simulations.
    #[must_use]
    pub fn manual(now_ms: Arc<AtomicU64>) -> Self {
        Self(Source::Manual(now_ms))
    }

    /// Now.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            Source::System { start, unix_ms } => unix_ms.saturating_add(millis(start.elapsed())),
            Source::Manual(now) => now.load(Ordering::Relaxed),
        }
    }
}

/// Milliseconds of a time in the control plane's form (RFC 3339).
pub(crate) fn parse_ms(text: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
