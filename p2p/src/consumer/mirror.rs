//! A mirror: it delivers a plan with its updates, and chunks by ranges. Pure: the driver reads and checks. A mirror is
//! not a peer: nobody is dialled, and nothing is acknowledged. Several reads are in flight at once, so the next answer
//! arrives right after the last one.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use super::{
    sources::Out,
    types::{Failure, MirrorId, MirrorJob, MirrorJobId, Waiting},
};
use crate::{
    download::Demand,
    error::Cause,
    limits::MIRROR_READS,
    link::{Backoff, Setback},
    messages::{Plan, PlanWishes},
    ranges::IndexRanges,
    status::{FailureCode, SessionState, WaitKind},
    tree::chunk_range,
};

/// One mirror of a download.
#[derive(Debug)]
pub(super) struct MirrorLink {
    id: MirrorId,
    wishes: PlanWishes,
    state: State,
    next_job: u64,
    /// It had no plan for the wishes, at a time when the payload was not fixed.
    has_no_plan: bool,
    backoff: Backoff,
    /// How many reads may be in flight; halved after a failure.
    most_reads: usize,
    /// It has not failed, so the payload may be asked for together with its plan.
    begins_early: bool,
    received: u64,
    wasted: u64,
    last: Option<Setback>,
}

/// ```text
///             needed               plan
///   Idle ─────────────> Planning ────────> Open: up to MIRROR_READS reads at once
///    ^                     │                │
///    └──<── time ── BackingOff <── failed ──┘
/// ```
#[derive(Debug)]
enum State {
    Idle,
    Planning {
        job: MirrorJobId,
        since: Instant,
        wishes: PlanWishes,
    },
    Open {
        reads: Vec<Read>,
    },
    /// `is_barred`: nothing failed, but the driver asks nothing of the mirror before `at`.
    BackingOff {
        at: Instant,
        since: Instant,
        cause: Cause,
        is_barred: bool,
    },
}

/// One read of the payload.
#[derive(Debug)]
struct Read {
    job: MirrorJobId,
    /// When its last chunk arrived, or when it began.
    since: Instant,
    /// The chunks that have not arrived yet.
    chunks: Range<u64>,
}

/// The state of the job to which an event belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobState {
    UnderWay,
    /// The job was given up: its events are late.
    GivenUp,
    /// There never was such a job.
    Unknown,
}

impl MirrorLink {
    pub(super) fn new(id: MirrorId, wishes: PlanWishes, give_up_after: Option<Duration>, seed: u64) -> Self {
        let backoff = Backoff::new(give_up_after, seed);
        Self {
            id,
            wishes,
            state: State::Idle,
            next_job: 0,
            has_no_plan: false,
            backoff,
            most_reads: MIRROR_READS,
            begins_early: true,
            received: 0,
            wasted: 0,
            last: None,
        }
    }

    pub(super) fn id(&self) -> MirrorId {
        self.id
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    pub(super) fn is_planning(&self) -> bool {
        matches!(self.state, State::Planning { .. })
    }

    pub(super) fn is_backing_off(&self) -> bool {
        matches!(self.state, State::BackingOff { .. })
    }

    pub(super) fn is_busy(&self) -> bool {
        self.is_planning() || !self.reads().is_empty()
    }

    fn reads(&self) -> &[Read] {
        match &self.state {
            State::Open { reads } => reads,
            _ => &[],
        }
    }

    /// The chunks that are being read.
    pub(super) fn chunks_under_way(&self) -> IndexRanges {
        self.reads().iter().map(|read| read.chunks.clone()).collect()
    }

    pub(super) fn job_state(&self, job: MirrorJobId) -> JobState {
        let is_planning = matches!(self.state, State::Planning { job: current, .. } if current == job);
        match is_planning || self.reads().iter().any(|read| read.job == job) {
            true => JobState::UnderWay,
            false if job.0 < self.next_job => JobState::GivenUp,
            false => JobState::Unknown,
        }
    }

    pub(super) fn counts(&self) -> (u64, u64) {
        (self.received, self.wasted)
    }

    pub(super) fn trouble(&self) -> Option<&Setback> {
        self.last.as_ref()
    }

    pub(super) fn under_way(&self, plan: &Plan) -> u64 {
        self.reads().iter().map(|read| bytes_of(plan, &read.chunks)).sum()
    }

    pub(super) fn set_wishes(&mut self, wishes: PlanWishes) {
        (self.wishes, self.has_no_plan) = (wishes, false);
    }

    pub(super) fn reopen(&mut self) {
        if self.is_open() {
            self.state = State::Idle;
        }
    }

    /// The next thing to read.
    pub(super) fn poll_job(&mut self, now: Instant, demand: &Demand) -> Option<(MirrorJobId, MirrorJob)> {
        let job = MirrorJobId(self.next_job);
        let begun = match &mut self.state {
            State::Idle if demand.is_needed => {
                self.state = State::Planning { job, since: now, wishes: self.wishes };
                MirrorJob::Plan { wishes: self.wishes, ahead: 0..0 }
            }
            State::Open { reads } => {
                let plan = demand.plan.clone()?;
                let chunks = next_read(&plan, reads, self.most_reads, demand)?;
                reads.push(Read { job, since: now, chunks: chunks.clone() });
                MirrorJob::Chunks { plan, chunks }
            }
            _ => return None,
        };
        self.next_job += 1;
        Some((job, begun))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::BackingOff { at, .. } => Some(at),
            _ => None,
        }
    }

    pub(super) fn timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.retry_now();
        }
    }

    pub(super) fn retry_now(&mut self) {
        if let State::BackingOff { is_barred, .. } = self.state {
            if is_barred {
                self.last = None;
            }
            self.state = State::Idle;
        }
    }

    /// The mirror is read in another way from now on: reads in flight are given up, and it is asked at once.
    pub(super) fn renew(&mut self) {
        (self.state, self.last) = (State::Idle, None);
        (self.most_reads, self.begins_early) = (MIRROR_READS, true);
        self.backoff.reset();
    }

    /// The plan that was asked for has arrived.
    pub(super) fn planned(&mut self) {
        self.state = State::Open { reads: Vec::new() };
    }

    /// Its plan is for the wishes before the payload was fixed.
    pub(super) fn plans_as_before(&self) -> bool {
        matches!(self.state, State::Planning { wishes, .. } if wishes != self.wishes)
    }

    /// It has no plan for these wishes; it may have one for the payload that will be fixed.
    pub(super) fn has_no_plan_yet(&mut self) {
        self.has_no_plan = !self.plans_as_before();
        self.state = State::Idle;
    }

    /// Whether it may be asked for the payload together with the plan.
    pub(super) fn begins_early(&self) -> bool {
        self.begins_early
    }

    /// Whether it may be asked for a plan before the payload is fixed.
    pub(super) fn may_plan_early(&self) -> bool {
        !self.has_no_plan
    }

    /// Whether this is the next chunk of that read. If so, it counts as read.
    pub(super) fn takes(&mut self, now: Instant, job: MirrorJobId, index: u64) -> bool {
        let State::Open { reads } = &mut self.state else { return false };
        match reads.iter_mut().find(|read| read.job == job) {
            Some(read) if read.chunks.start == index && !read.chunks.is_empty() => {
                read.chunks.start += 1;
                read.since = now;
                true
            }
            _ => false,
        }
    }

    /// A chunk arrived; it is not known yet whether it can be used.
    pub(super) fn received(&mut self, bytes: u64) {
        self.received = self.received.saturating_add(bytes);
    }

    /// These bytes cannot be used.
    pub(super) fn wasted(&mut self, bytes: u64) {
        self.wasted = self.wasted.saturating_add(bytes);
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

    /// That read has ended.
    pub(super) fn read(&mut self, job: MirrorJobId) {
        if let State::Open { reads } = &mut self.state {
            reads.retain(|read| read.job != job);
        }
    }

    /// A job failed in a way that may pass; the mirror's other jobs are given up with it. `Some`: the mirror has failed
    /// for too long.
    pub(super) fn back_off(&mut self, now: Instant, reason: &Cause, least: Option<Duration>) -> Option<Out> {
        self.last = Some(Setback::Mirror(reason.clone()));
        // The mirror may not accept so many reads at once.
        self.begins_early = false;
        if self.reads().len() > 1 {
            self.most_reads = (self.most_reads / 2).max(1);
        }
        match self.backoff.next(now) {
            Some(at) => {
                let at = at.max(now + least.unwrap_or_default());
                self.state = State::BackingOff { at, since: now, cause: reason.clone(), is_barred: false };
                None
            }
            None => Some(Out { failure: no_help(FailureCode::Network, reason), is_banned: false }),
        }
    }

    /// The driver asks nothing of the mirror before `until`, and its jobs are given up. `Some`: the mirror has
    /// delivered nothing for too long.
    pub(super) fn barred(&mut self, now: Instant, until: Instant, cause: &str) -> Option<Failure> {
        let cause = Cause::told(cause);
        self.last = Some(Setback::Barred(cause.clone()));
        match self.backoff.not_before(now, until) {
            Some(at) => {
                self.state = State::BackingOff { at, since: now, cause, is_barred: true };
                None
            }
            None => Some(no_help(FailureCode::Provider, &cause)),
        }
    }

    pub(super) fn waiting(&self) -> Option<Waiting> {
        let (what, index, since, reason, retry_at) = match &self.state {
            State::Planning { since, .. } => {
                (WaitKind::Plan, None, *since, "reading the manifest of a mirror".to_owned(), None)
            }
            State::Open { reads } => {
                let first = reads.iter().min_by_key(|read| read.chunks.start)?;
                let last = reads.iter().map(|read| read.chunks.end).max()?;
                let since = reads.iter().map(|read| read.since).max()?;
                let reason = format!(
                    "reading chunks {} to {} from a mirror",
                    first.chunks.start,
                    last.saturating_sub(1).max(first.chunks.start)
                );
                (WaitKind::Chunk, Some(first.chunks.start), since, reason, None)
            }
            State::BackingOff { at, since, cause, is_barred: true } => {
                let reason = format!("a mirror is {cause}; it is asked again by itself then");
                (WaitKind::Retry, None, *since, reason, Some(*at))
            }
            State::BackingOff { at, since, cause, is_barred: false } => {
                let reason = format!("a mirror failed: {cause}; the next try comes by itself");
                (WaitKind::Retry, None, *since, reason, Some(*at))
            }
            State::Idle => return None,
        };
        Some(Waiting { what, index, session: None, since, reason, retry_at })
    }

    /// What keeps it from delivering.
    pub(super) fn obstacle(&self) -> Option<SessionState> {
        match self.state {
            State::Idle | State::Planning { .. } => Some(SessionState::Planning),
            State::BackingOff { .. } => Some(SessionState::BackingOff),
            State::Open { .. } => None,
        }
    }
}

fn no_help(code: FailureCode, reason: &dyn std::fmt::Display) -> Failure {
    let message = format!("the mirror was no help as long as give_up_after_s allows: {reason}");
    Failure { code, message, distrust: false }
}

/// The range of the next read: adjacent chunks that are wanted and not in flight. A read is only a part of the bytes
/// that may be in flight, so other reads are in flight when it ends. A small rest is not read alone, but waits until it
/// can be part of a larger read.
fn next_read(plan: &Plan, reads: &[Read], most_reads: usize, demand: &Demand) -> Option<Range<u64>> {
    if reads.len() >= most_reads {
        return None;
    }
    let mut wanted: IndexRanges = demand.want.chunks.iter().cloned().collect();
    reads.iter().for_each(|read| wanted.remove(read.chunks.clone()));
    let first = wanted.iter().next()?;
    let under_way: u64 = reads.iter().map(|read| bytes_of(plan, &read.chunks)).sum();
    let free = demand.budget.saturating_sub(under_way);
    let left = under_way + wanted.iter().map(|range| bytes_of(plan, &range)).sum::<u64>();
    let part = crate::mirror::read_bytes(demand.budget.min(left), plan.chunk_size);
    let (mut end, most) = (first.start, part.min(free));
    while end < first.end && bytes_of(plan, &(first.start..end + 1)) <= most {
        end += 1;
    }
    let chunks = first.start..end;
    let is_cut_short = end < first.end && bytes_of(plan, &chunks) < part / 2;
    (!chunks.is_empty() && (reads.is_empty() || !is_cut_short)).then_some(chunks)
}

fn bytes_of(plan: &Plan, chunks: &Range<u64>) -> u64 {
    let total = plan.snapshot.checkpoint.payload_bytes;
    let start = chunk_range(total, plan.chunk_size, chunks.start).start;
    chunk_range(total, plan.chunk_size, chunks.end).start - start
}
