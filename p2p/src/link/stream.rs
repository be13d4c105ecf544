//! `/rpp/snapshots/2.0.0`: what a link says goes out as it is, and what comes is not asked for one by one.
//!
//! A stream carries each thing once. Where the download wants something again that came (the disk lost it, or what was kept of
//! the chain does not hold), the session is resumed on another stream.

use std::{ops::Range, sync::Arc, time::Instant};

use super::{Intent, Link, LinkState, Setback, Trouble};
use crate::{
    download::{Demand, Want},
    error::{RequestFailure, SnapshotProtocolError},
    exchange::Verified,
    messages::{Checkpoint, Plan, SnapshotsRequest},
    ranges::IndexRanges,
    stream::{Protocol, Wanted},
    types::{RequestId, SnapshotSessionId},
};

/// What a session's peer is to be told on its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The session.
    pub session: SnapshotSessionId,
    /// The plan or resume that opened the stream.
    pub request_id: RequestId,
    /// What the session streams.
    pub plan: Arc<Plan>,
    /// Replaces what was wanted.
    pub want: Option<Wanted>,
    /// Payload bytes of chunks granted since the stream was opened.
    pub credit: Option<u64>,
    /// The update before the first one that is wanted, where it is known.
    pub previous: Option<Checkpoint>,
}

impl Grant {
    /// For an application that drives a session itself: what is wanted and granted of `plan`, whose stream `request_id` opened.
    #[must_use]
    pub fn new(
        session: SnapshotSessionId,
        request_id: RequestId,
        plan: Arc<Plan>,
        want: Option<Wanted>,
        credit: Option<u64>,
    ) -> Self {
        Self { session, request_id, plan, want, credit, previous: None }
    }
}

/// The stream of an open session.
#[derive(Debug)]
pub(super) struct LinkStream {
    /// The request that opened it.
    id: RequestId,
    /// What came on it.
    chunks: IndexRanges,
    updates: IndexRanges,
    /// When it was opened, or when something came last.
    since: Instant,
}

impl LinkStream {
    pub(super) fn new(id: RequestId, now: Instant) -> Self {
        Self { id, chunks: IndexRanges::default(), updates: IndexRanges::default(), since: now }
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Whether something is wanted that came already.
    fn has_had(&self, want: &Want) -> bool {
        let had = |came: &IndexRanges, range: &Range<u64>| came.overlaps(range);
        had(&self.updates, &want.updates) || want.chunks.iter().any(|range| had(&self.chunks, range))
    }
}

impl Link {
    /// The answer to request `id` comes by this version of the protocol.
    pub(crate) fn carried_by(&mut self, id: RequestId, protocol: Protocol) {
        if self.in_flight().is_some_and(|request| request.id == Some(id)) {
            self.carried = Some((id, protocol));
        }
    }

    /// The session is open, and by a stream.
    pub(super) fn is_streaming(&self) -> bool {
        matches!(self.state, LinkState::Open { .. }) && self.stream.is_some()
    }

    /// Whether this request opened the session's stream, which may have been lost with its connection.
    pub(crate) fn is_stream(&self, id: RequestId) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.id == id)
    }

    /// Something comes on the stream that this request opened; `false` when that is not the session's any more.
    pub(crate) fn came_on(&mut self, id: RequestId, now: Instant, verified: &Verified) -> bool {
        let is_stream = self.is_stream(id) && self.is_streaming();
        if let Some(stream) = self.stream.as_mut().filter(|_| is_stream) {
            stream.since = now;
            match verified {
                Verified::Chunk(chunk) => {
                    stream.chunks.insert(chunk.index..chunk.index + 1);
                    self.window.came(now, chunk.bytes.len() as u64);
                }
                Verified::Update { index, .. } => stream.updates.insert(*index..*index + 1),
                _ => {}
            }
        }
        is_stream
    }

    /// What to tell the peer on the stream. `previous`: the update before another one, where it is known.
    pub(crate) fn poll_grant(
        &mut self,
        demand: &Demand,
        previous: impl Fn(u64) -> Option<Checkpoint>,
    ) -> Option<Grant> {
        if !self.is_streaming() {
            return None;
        }
        let (stream, plan) = (self.stream.as_ref()?, demand.plan.clone()?);
        if stream.has_had(&demand.want) {
            self.state = LinkState::Up;
            return None;
        }
        let request_id = stream.id;
        // What waits for the disk is in memory, too.
        let window = self.window.bytes(plan.chunk_size);
        let budget = window.saturating_sub(demand.unwritten).min(demand.budget);
        // Seldom, and never so late that a chunk does not fit.
        let step = (window / 4).min(budget / 2).max(plan.chunk_size);
        let (mut want, mut credit) = (None, None);
        while let Some(intent) = self.said.next(&self.state, None, demand, budget, step) {
            match intent {
                Intent::Want(Want { chunks, updates }) => want = Some(Wanted { chunks, updates }),
                Intent::Credit(granted) => credit = Some(granted),
                Intent::Message(_) => {}
            }
        }
        if want.is_none() && credit.is_none() {
            return None;
        }
        let first = want.as_ref().map(|wanted| wanted.updates.clone()).filter(|updates| !updates.is_empty());
        let previous = first.and_then(|updates| previous(updates.start));
        Some(Grant { session: self.session, request_id, plan, want, credit, previous })
    }

    /// The stream is over.
    pub(crate) fn stream_ended(
        &mut self,
        now: Instant,
        error: &SnapshotProtocolError,
        demand: &Demand,
    ) -> Option<Trouble> {
        let is_open = self.is_streaming();
        let since = self.stream.take().map_or(now, |stream| stream.since());
        let want = self.said.want();
        let (chunk, has_updates) = (want.first_chunk(), !want.updates.is_empty());
        let is_expecting = has_updates || (chunk.is_some() && self.said.left() > 0);
        let plan = demand.plan.as_deref().filter(|_| chunk.is_some());
        let lost = |link: &mut Self, failure| link.note_lost(now, since, failure, plan, demand.may_shrink);
        match error {
            // The connection was heard of first.
            SnapshotProtocolError::Outbound(failure) if !is_open => {
                lost(self, failure);
                None
            }
            _ if !is_open => None,
            SnapshotProtocolError::Provider { code, message } => {
                let request =
                    SnapshotsRequest::Chunk { session_id: self.session, chunk_index: chunk.unwrap_or_default() };
                self.refused(now, &request, *code, message, demand)
            }
            // A provider closes a stream on which nothing moves for long.
            SnapshotProtocolError::Outbound(RequestFailure::ConnectionClosed { received: 0 })
                if !is_expecting && self.in_flight().is_none() =>
            {
                self.state = LinkState::Up;
                None
            }
            SnapshotProtocolError::Outbound(failure) => {
                lost(self, failure);
                self.back_off(now, Setback::NoAnswer(failure.clone()), false)
            }
            other => self.back_off(now, Setback::from(other), false),
        }
    }
}
