//! The status of a session: its state, what it waits for, and what the operator can do.

use std::time::{Duration, Instant};

use super::{
    Course, Session, SourceView, View, Waiting,
    sources::{Delivery, LinkKind},
    types::{DownloadSource, Failure},
};
use crate::{
    download::{Demand, Phase},
    link::Setback,
    schedule::Number,
    status::{FailureCode, SessionState, SourceState, WaitKind},
};

impl Session {
    /// Everything the session can say about itself at this moment.
    #[must_use]
    pub fn view(&self) -> View {
        let mut view = View {
            session: self.id(),
            source: self.source(),
            state: self.state(),
            waiting: None,
            waits_for: None,
            failure: match &self.course {
                Course::Failed { failure, .. } => Some(failure.clone()),
                Course::Running | Course::Complete => None,
            },
            trouble: self.trouble.as_ref().map(Setback::told),
            verified: matches!(self.course, Course::Complete),
            protocol: None,
            plan: None,
            verified_chunks: 0,
            verified_updates: 0,
            last_update_height: None,
            confirmed_chunks: 0,
            confirmed_updates: 0,
            bytes_received: 0,
            bytes_wasted: 0,
            bytes_verified: 0,
            bytes_rechecked: 0,
            bytes_to_recheck: 0,
            bytes_damaged: 0,
            bytes_written: 0,
            bytes_durable: 0,
            payload_path: None,
            failed_tries: 0,
            tries: 0,
            progressed: self.download.progressed(),
        };
        if let Some((waiting, source)) = self.waiting() {
            (view.waiting, view.waits_for) = (Some(waiting), source);
        }
        if let Some(link) = self.sources.lead_link() {
            link.tell(&mut view);
        }
        (view.bytes_received, view.bytes_wasted) = self.sources.gone;
        for (_, delivery) in self.sources.iter() {
            let (received, wasted) = delivery.counts();
            view.bytes_received += received;
            view.bytes_wasted += wasted;
        }
        self.download.tell(&mut view);
        view
    }

    /// The results of each source, lost ones included, in the order in which they were added.
    #[must_use]
    pub fn sources(&self, now: Instant) -> Vec<SourceView> {
        let all = self.download.demand();
        let chunk = all.plan.as_ref().map_or(0, |plan| plan.chunk_size);
        let view = |(number, delivery): (Number, &Delivery)| {
            let demand = self.sources.demand_of(number, &all, &self.schedule, self.is_fixed);
            let (_, wasted) = delivery.counts();
            let (waiting, trouble, link) = match &delivery.kind {
                LinkKind::Peer(link) => (link.waiting(&demand), link.trouble(), Some(link.session())),
                LinkKind::Mirror(mirror) => (mirror.waiting(), mirror.trouble(), None),
            };
            let out = delivery.out.as_ref().map(|out| (out.failure.code, out.failure.message.clone()));
            SourceView {
                source: delivery.source(),
                link,
                protocol: self.sources.link_of(number).and_then(crate::link::Link::protocol),
                state: self.source_state(number, delivery, &demand),
                bytes_verified: delivery.verified,
                bytes_wasted: wasted,
                rate: self.schedule.rate(now, number, chunk).filter(|_| delivery.is_alive()),
                window: self
                    .sources
                    .link_of(number)
                    .zip(demand.plan.as_deref())
                    .and_then(|(link, plan)| link.window(plan)),
                waiting: waiting.filter(|_| delivery.is_alive() && !self.is_over()),
                trouble: out.or_else(|| trouble.map(Setback::told)),
            }
        };
        self.sources.iter().map(view).collect()
    }

    fn source_state(&self, number: Number, delivery: &Delivery, demand: &Demand) -> SourceState {
        if let Some(out) = &delivery.out {
            return if out.is_banned { SourceState::Banned } else { SourceState::Refused };
        }
        if matches!(self.course, Course::Complete) {
            return SourceState::Done;
        }
        if self.schedule.slow_until(number).is_some() {
            return SourceState::Slow;
        }
        let obstacle = match &delivery.kind {
            LinkKind::Peer(link) => link.obstacle(demand),
            LinkKind::Mirror(mirror) => mirror.obstacle(),
        };
        match obstacle {
            Some(SessionState::BackingOff) => SourceState::BackingOff,
            Some(_) => SourceState::Connecting,
            None if !demand.want.is_empty() || delivery.is_read() => SourceState::Active,
            None => SourceState::Idle,
        }
    }

    /// The state of the session; [`view`](Self::view) has everything.
    #[must_use]
    pub fn state(&self) -> SessionState {
        match self.course {
            Course::Failed { .. } => return SessionState::Failed,
            Course::Complete => return SessionState::Complete,
            Course::Running => {}
        }
        let phase = self.download.phase();
        match phase {
            Phase::Paused => return SessionState::Paused,
            Phase::Verifying => return SessionState::Verifying,
            Phase::Streaming | Phase::Waiting => {}
        }
        self.obstacle().unwrap_or(match phase {
            Phase::Streaming => SessionState::Streaming,
            _ => SessionState::Verifying,
        })
    }

    /// What holds up a download that needs a source; `None` while any source delivers.
    pub(super) fn obstacle(&self) -> Option<SessionState> {
        let all = self.download.demand();
        if self.sources.alive().next().is_none() {
            return all.is_needed.then_some(SessionState::Connecting);
        }
        // The source that will deliver soonest.
        let rank = |obstacle: &Option<SessionState>| match obstacle {
            None => 0,
            Some(SessionState::Planning) => 1,
            Some(SessionState::Connecting) => 2,
            Some(_) => 3,
        };
        let obstacles = self.sources.alive().filter_map(|(number, delivery)| {
            let demand = self.sources.demand_of(number, &all, &self.schedule, self.is_fixed);
            match &delivery.kind {
                LinkKind::Peer(link) if link.is_needed(&demand) || !all.is_needed => Some(link.obstacle(&demand)),
                // It has to wait until the payload is fixed.
                LinkKind::Peer(_) => None,
                LinkKind::Mirror(_) if !demand.is_needed && all.is_needed => None,
                LinkKind::Mirror(mirror) => Some(mirror.obstacle()),
            }
        });
        obstacles.min_by_key(rank).flatten()
    }

    /// The wait for the limit by the byte, if the limit keeps the next chunk from being asked for and there is a source
    /// to ask.
    fn held_back(&self) -> Option<Waiting> {
        let is_reached = self.obstacle().is_none() && self.sources.alive().next().is_some();
        self.download.held_back().filter(|_| is_reached)
    }

    /// What the session waits for, and the source, if it waits for one.
    fn waiting(&self) -> Option<(Waiting, Option<DownloadSource>)> {
        match &self.course {
            Course::Failed { failure, since } => {
                let reason = advice(failure);
                let (what, since) = (WaitKind::Operator, *since);
                return Some((Waiting { what, index: None, session: None, since, reason, retry_at: None }, None));
            }
            Course::Complete => return None,
            Course::Running => {}
        }
        let here = self.download.waiting_on_this_side().or_else(|| self.held_back()).map(|wait| (wait, None));
        let rest = || self.download.waiting_on_the_rest().map(|wait| (wait, None));
        here.or_else(|| self.waiting_on_sources()).or_else(rest)
    }

    /// What holds up the whole session: the newest wait for something in flight, else the wait for what comes next. A
    /// slow source beside a fast one does not appear here.
    fn waiting_on_sources(&self) -> Option<(Waiting, Option<DownloadSource>)> {
        let all = self.download.demand();
        if self.sources.alive().next().is_none() && all.is_needed {
            let reason = "it has no source: add a peer or a mirror to it, and it goes on by itself".to_owned();
            let (what, since) = (WaitKind::Operator, self.sourceless_since);
            return Some((Waiting { what, index: None, session: None, since, reason, retry_at: None }, None));
        }
        let waits = self.sources.alive().filter_map(|(number, delivery)| {
            let demand = self.sources.demand_of(number, &all, &self.schedule, self.is_fixed);
            let waiting = match &delivery.kind {
                LinkKind::Peer(link) => link.waiting(&demand),
                LinkKind::Mirror(mirror) => mirror.waiting(),
            };
            Some((waiting?, Some(delivery.source())))
        });
        let is_under_way = |wait: &Waiting| wait.retry_at.is_none() && wait.what != WaitKind::Connection;
        waits.max_by_key(|(wait, _)| {
            (is_under_way(wait), wait.retry_at.is_none(), wait.retry_at.map(std::cmp::Reverse), wait.since)
        })
    }
}

/// What the operator of a failed session can do.
fn advice(failure: &Failure) -> String {
    let kept = "what is verified is kept";
    match failure.code {
        _ if failure.distrust => {
            format!(
                "its source broke the protocol and is refused for this payload: add another source, or start a new session with \
                 this one when you trust it again; {kept}"
            )
        }
        FailureCode::Network => {
            format!("resume this session when a source of it can be reached, or add another source; {kept}")
        }
        FailureCode::Authentication => {
            "check [trust] against what the chain's publisher announced, that this node may consume there, and the credentials of \
             a mirror; or add another source"
                .to_owned()
        }
        FailureCode::ResumeMismatch => {
            format!("resume without explicit offsets, or start a new session for the same root; {kept}")
        }
        FailureCode::Storage => format!("look at the disk and the node's log, then resume this session; {kept}"),
        FailureCode::Stale => "add a source whose tip is newer than this node's head".to_owned(),
        FailureCode::Equivocation => {
            "the publishers signed two histories: ask them which one holds before you consume anything".to_owned()
        }
        FailureCode::Provider | FailureCode::Checksum | FailureCode::Proof | FailureCode::Cancelled => {
            format!("add another source, or resume this session when the cause is gone; {kept}")
        }
    }
}

impl Waiting {
    /// The time since the wait began.
    #[must_use]
    pub fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}
