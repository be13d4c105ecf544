//! `/rpp/snapshots/2.0.0`: a link's intents are sent as they are, and chunks arrive without a request for each.
//!
//! A stream carries each item once. If the download wants an item again that arrived already (the disk lost it, or
//! updates from the disk do not verify), the session is resumed on another stream.

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

/// Wants and credit for a session's peer on its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The session.
    pub session: SnapshotSessionId,
    /// The plan or resume that opened the stream.
    pub request_id: RequestId,
    /// The session's plan.
    pub plan: Arc<Plan>,
    /// Replaces the earlier wants.
    pub want: Option<Wanted>,
    /// Payload bytes of chunks granted since the stream was opened.
    pub credit: Option<u64>,
    /// The update before the first wanted one, if it is known.
    pub previous: Option<Checkpoint>,
}

impl Grant {
    /// For an application that drives a session itself: wants and credit for `plan`, on the stream that `request_id`
    /// opened.
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
    /// The chunks that arrived on it.
    chunks: IndexRanges,
    updates: IndexRanges,
    /// When it was opened, or when something last arrived.
    since: Instant,
}

impl LinkStream {
    pub(super) fn new(id: RequestId, now: Instant) -> Self {
        Self { id, chunks: IndexRanges::default(), updates: IndexRanges::default(), since: now }
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Whether an item is wanted that arrived already.
    fn has_had(&self, want: &Want) -> bool {
        let had = |came: &IndexRanges, range: &Range<u64>| came.overlaps(range);
        had(&self.updates, &want.updates) || want.chunks.iter().any(|range| had(&self.chunks, range))
    }
}

impl Link {
    /// The answer to request `id` arrives over this version of the protocol.
    pub(crate) fn carried_by(&mut self, id: RequestId, protocol: Protocol) {
        if self.in_flight().is_some_and(|request| request.id == Some(id)) {
            self.carried = Some((id, protocol));
        }
    }

    /// Whether the session is open and carried by a stream.
    pub(super) fn is_streaming(&self) -> bool {
        matches!(self.state, LinkState::Open { .. }) && self.stream.is_some()
    }

    /// Whether this request opened the session's stream, which may have been lost with its connection.
    pub(crate) fn is_stream(&self, id: RequestId) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.id == id)
    }

    /// Something arrived on the stream that this request opened; `false` if that is not the session's stream any more.
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

    /// What to tell the peer on the stream. `previous`: returns the update before a given one, if it is known.
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
        // Chunks that wait for the disk are in memory, too.
        let window = self.window.bytes(plan.chunk_size);
        let budget = window.saturating_sub(demand.unwritten).min(demand.budget);
        // Rarely, but always before a chunk no longer fits.
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

    /// The stream has ended.
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
            // The loss of the connection was reported first.
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
