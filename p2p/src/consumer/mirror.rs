//! What a mirror gives: a plan with its updates, and chunks by ranges. Pure: reading and checking is the driver's. A mirror is no
//! peer: nobody is dialled, nothing is acknowledged, and one job is under way at a time.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use super::{
    sources::Out,
    types::{Failure, MirrorId, MirrorJob, Waiting},
};
use crate::{
    download::Demand,
    error::Cause,
    link::Backoff,
    messages::{Plan, PlanWishes},
    status::{FailureCode, SessionState, WaitKind},
    tree::chunk_range,
};

/// One mirror of a download.
#[derive(Debug)]
pub(super) struct MirrorLink {
    id: MirrorId,
    wishes: PlanWishes,
    state: State,
    backoff: Backoff,
    received: u64,
    wasted: u64,
    last: Option<(FailureCode, String)>,
}

/// ```text
///             needed               plan                  chunks wanted
///   Idle ─────────────> Planning ────────> Open ───────────────────────> Reading
///    ^                     │                ^ └────────<── all came ────────┘ │
///    └──<── time ── BackingOff <──────────────────────── failed ─────────────┘
/// ```
#[derive(Debug)]
enum State {
    Idle,
    Planning { since: Instant },
    Open,
    Reading { since: Instant, chunks: Range<u64> },
    BackingOff { at: Instant, since: Instant, cause: String },
}

impl MirrorLink {
    pub(super) fn new(id: MirrorId, wishes: PlanWishes, give_up_after: Option<Duration>, seed: u64) -> Self {
        let backoff = Backoff::new(give_up_after, seed);
        Self { id, wishes, state: State::Idle, backoff, received: 0, wasted: 0, last: None }
    }

    pub(super) fn id(&self) -> MirrorId {
        self.id
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open | State::Reading { .. })
    }

    pub(super) fn is_backing_off(&self) -> bool {
        matches!(self.state, State::BackingOff { .. })
    }

    pub(super) fn is_busy(&self) -> bool {
        matches!(self.state, State::Planning { .. } | State::Reading { .. })
    }

    pub(super) fn is_reading(&self) -> bool {
        matches!(self.state, State::Reading { .. })
    }

    pub(super) fn counts(&self) -> (u64, u64) {
        (self.received, self.wasted)
    }

    pub(super) fn trouble(&self) -> Option<&(FailureCode, String)> {
        self.last.as_ref()
    }

    pub(super) fn under_way(&self, plan: &Plan) -> u64 {
        match &self.state {
            State::Reading { chunks, .. } => bytes_of(plan, chunks),
            _ => 0,
        }
    }

    pub(super) fn set_wishes(&mut self, wishes: PlanWishes) {
        self.wishes = wishes;
    }

    pub(super) fn reopen(&mut self) {
        if self.is_open() {
            self.state = State::Idle;
        }
    }

    /// The next thing to read.
    pub(super) fn poll_job(&mut self, now: Instant, demand: &Demand) -> Option<MirrorJob> {
        match self.state {
            State::Idle if demand.is_needed => {
                self.state = State::Planning { since: now };
                Some(MirrorJob::Plan { wishes: self.wishes })
            }
            State::Open => {
                let plan = demand.plan.clone()?;
                let first = demand.want.chunks.first()?.clone();
                let mut end = first.start;
                // Neighbours in one read, as far as there is room.
                while end < first.end && bytes_of(&plan, &(first.start..end + 1)) <= demand.room {
                    end += 1;
                }
                let chunks = first.start..end;
                if chunks.is_empty() {
                    return None;
                }
                self.state = State::Reading { since: now, chunks: chunks.clone() };
                Some(MirrorJob::Chunks { plan, chunks })
            }
            _ => None,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::BackingOff { at, .. } => Some(at),
            _ => None,
        }
    }

    pub(super) fn timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.state = State::Idle;
        }
    }

    pub(super) fn retry_now(&mut self) {
        if self.is_backing_off() {
            self.state = State::Idle;
        }
    }

    /// A plan was asked for; `false`: it was not.
    pub(super) fn planned(&mut self) -> bool {
        let asked = matches!(self.state, State::Planning { .. });
        if asked {
            self.state = State::Open;
        }
        asked
    }

    /// Whether this is the next chunk of the read under way; then it counts as read.
    pub(super) fn takes(&mut self, now: Instant, index: u64) -> bool {
        match &mut self.state {
            State::Reading { since, chunks } if chunks.start == index && !chunks.is_empty() => {
                chunks.start += 1;
                *since = now;
                true
            }
            _ => false,
        }
    }

    pub(super) fn chunk_came(&mut self, bytes: u64, is_taken: bool) {
        self.received = self.received.saturating_add(bytes);
        if is_taken {
            self.backoff.reset();
            self.last = None;
        } else {
            self.wasted = self.wasted.saturating_add(bytes);
        }
    }

    pub(super) fn lie_came(&mut self, bytes: u64) {
        self.received = self.received.saturating_add(bytes);
        self.wasted = self.wasted.saturating_add(bytes);
    }

    /// The read under way is over; `false`: none was.
    pub(super) fn read(&mut self) -> bool {
        let was_reading = self.is_reading();
        if was_reading {
            self.state = State::Open;
        }
        was_reading
    }

    /// The job under way failed in a way that passes. `Some`: the patience is at its end.
    pub(super) fn back_off(&mut self, now: Instant, reason: &Cause, least: Option<Duration>) -> Option<Out> {
        self.last = Some((FailureCode::Network, reason.to_string()));
        match self.backoff.next(now) {
            Some(at) => {
                let at = at.max(now + least.unwrap_or_default());
                self.state = State::BackingOff { at, since: now, cause: reason.to_string() };
                None
            }
            None => {
                let message = format!("the mirror was no help as long as give_up_after_s allows: {reason}");
                let failure = Failure { code: FailureCode::Network, message, distrust: false };
                Some(Out { failure, is_banned: false })
            }
        }
    }

    pub(super) fn waiting(&self) -> Option<Waiting> {
        let (what, index, since, reason, retry_at) = match &self.state {
            State::Planning { since } => {
                (WaitKind::Plan, None, *since, "reading the manifest of a mirror".to_owned(), None)
            }
            State::Reading { since, chunks } => {
                let reason =
                    format!("reading chunks {} to {} from a mirror", chunks.start, chunks.end.saturating_sub(1));
                (WaitKind::Chunk, Some(chunks.start), *since, reason, None)
            }
            State::BackingOff { at, since, cause } => {
                let reason = format!("a mirror failed: {cause}; the next try comes by itself");
                (WaitKind::Retry, None, *since, reason, Some(*at))
            }
            State::Idle | State::Open => return None,
        };
        Some(Waiting { what, index, session: None, since, reason, retry_at })
    }

    /// What keeps it from delivering.
    pub(super) fn obstacle(&self) -> Option<SessionState> {
        match self.state {
            State::Idle | State::Planning { .. } => Some(SessionState::Planning),
            State::BackingOff { .. } => Some(SessionState::BackingOff),
            State::Open | State::Reading { .. } => None,
        }
    }
}

fn bytes_of(plan: &Plan, chunks: &Range<u64>) -> u64 {
    let total = plan.snapshot.checkpoint.payload_bytes;
    let start = chunk_range(total, plan.chunk_size, chunks.start).start;
    chunk_range(total, plan.chunk_size, chunks.end).start - start
}
