//! A limit by the byte: bytes that may arrive are granted from outside, piece by piece.
//!
//! Downloads that do not know each other share the limit, so the limit itself is not here. A download says how many
//! bytes it would accept ([`Download::thirst`]), and is granted that many when it is its turn. Granted bytes that have
//! not arrived yet bound what a source may send. Bytes that could not be used are not granted again.

use std::time::Instant;

use super::Download;
use crate::{consumer::Waiting, limits::RATE_AHEAD, status::WaitKind};

#[derive(Debug)]
pub(super) struct Throttle {
    /// Bytes per second, of all downloads together.
    limit: u64,
    /// Payload bytes that are granted and have not arrived yet.
    ahead: u64,
    /// Since when the download has wanted more.
    since: Option<Instant>,
}

impl Throttle {
    /// How much of this budget may be used.
    pub(super) fn cap(&self, budget: u64) -> u64 {
        budget.min(self.ahead)
    }

    pub(super) fn came(&mut self, bytes: u64) {
        self.ahead = self.ahead.saturating_sub(bytes);
    }
}

impl Download {
    /// Sets how many bytes per second all downloads share; `None`: no limit.
    pub(crate) fn limit_rate(&mut self, limit: Option<u64>) {
        match (&mut self.throttle, limit) {
            (Some(throttle), Some(limit)) => throttle.limit = limit,
            (None, Some(limit)) => self.throttle = Some(Throttle { limit, ahead: 0, since: None }),
            (_, None) => self.throttle = None,
        }
    }

    /// Whether there is a limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.throttle.is_some()
    }

    /// How many bytes it would accept next. `None` while there is no limit, nothing is wanted, or enough is granted.
    /// Enough is one chunk for each of this many sources, so a slow source with a chunk in flight does not keep the
    /// others from being asked.
    pub(crate) fn thirst(&mut self, now: Instant, sources: u64) -> Option<u64> {
        let (chunk_size, budget, is_wanted) = match self.work() {
            Some(work) => (work.plan.chunk_size, work.budget(), work.want().first_chunk().is_some()),
            None => (0, 0, false),
        };
        let throttle = self.throttle.as_mut()?;
        let ahead = RATE_AHEAD.as_millis().saturating_mul(u128::from(throttle.limit)) / 1000;
        let a_chunk_each = chunk_size.saturating_mul(sources.max(1));
        let enough = a_chunk_each.max(u64::try_from(ahead).unwrap_or(u64::MAX)).min(budget);
        if !is_wanted || throttle.ahead >= enough {
            throttle.since = None;
            return None;
        }
        throttle.since.get_or_insert(now);
        Some(chunk_size.min(budget - throttle.ahead))
    }

    /// Grants this many further bytes.
    pub(crate) fn allow(&mut self, bytes: u64) {
        if let Some(throttle) = &mut self.throttle {
            throttle.ahead = throttle.ahead.saturating_add(bytes);
            throttle.since = None;
        }
    }

    /// The wait for the limit, if it holds the download back.
    pub(crate) fn held_back(&self) -> Option<Waiting> {
        let throttle = self.throttle.as_ref()?;
        let reason = format!(
            "held back by this node's own limit: [limits] download_bytes_per_second is {}, which all downloads share; \
             `rpp-node limits --download RATE` changes it",
            throttle.limit
        );
        let (what, since) = (WaitKind::Throttle, throttle.since?);
        Some(Waiting { what, index: None, session: None, since, reason, retry_at: None })
    }
}
