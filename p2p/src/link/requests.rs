//! `/rpp/snapshots/1.0.0`: turns a link's intents into one request at a time.
//!
//! Over 1.0.0 the peer knows nothing of wants and credit, so this side keeps both. The next request is the next
//! message, else the first wanted update, else the first wanted chunk if all of it fits the credit.

use std::time::Instant;

use super::Intent;
use crate::{
    download::Want,
    exchange::Verified,
    messages::{Plan, SnapshotsRequest},
    tree::chunk_range,
    types::{RequestId, SnapshotSessionId},
};

/// The request in flight.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) request: SnapshotsRequest,
    /// Only an event with this id is its answer; `None` until the driver has sent the request.
    pub(super) id: Option<RequestId>,
    pub(crate) since: Instant,
}

impl InFlight {
    /// Whether this is an answer of the right kind and about the right item. The check of the answer itself already
    /// ensures both.
    pub(crate) fn is_answered_by(&self, verified: &Verified) -> bool {
        match (&self.request, verified) {
            (SnapshotsRequest::Plan { .. }, Verified::Plan(_))
            | (SnapshotsRequest::Resume { .. }, Verified::Resumed { .. })
            | (_, Verified::Refused { .. }) => true,
            (SnapshotsRequest::Chunk { chunk_index, .. }, Verified::Chunk(chunk)) => chunk.index == *chunk_index,
            (SnapshotsRequest::LightClientUpdate { update_index, .. }, Verified::Update { index, .. }) => {
                update_index == index
            }
            (SnapshotsRequest::Ack { kind, index, .. }, Verified::Acked { kind: acked, index: mirrored }) => {
                (kind, index) == (acked, mirrored)
            }
            _ => false,
        }
    }
}

/// The requests of one session.
#[derive(Debug, Default)]
pub(super) struct Requests {
    in_flight: Option<InFlight>,
    want: Want,
    credit: u64,
    /// Payload bytes of the chunks that were asked for.
    spent: u64,
}

impl Requests {
    pub(super) fn in_flight(&self) -> Option<&InFlight> {
        self.in_flight.as_ref()
    }

    /// The session was opened again: nothing is wanted or granted yet.
    pub(super) fn reset(&mut self) {
        (self.want, self.credit, self.spent) = (Want::default(), 0, 0);
    }

    /// Records an intent. `Some`: a request to send for it at once.
    pub(super) fn hear(&mut self, intent: Intent) -> Option<SnapshotsRequest> {
        match intent {
            Intent::Message(message) => return Some(message),
            Intent::Want(want) => self.want = want,
            Intent::Credit(credit) => self.credit = credit,
        }
        None
    }

    /// The request for the first wanted item. `budget`: how many bytes may be in flight now. If that is less than the
    /// earlier credit, it replaces the credit, because over 1.0.0 the peer never received the credit.
    pub(super) fn wanted(
        &mut self,
        session_id: SnapshotSessionId,
        plan: Option<&Plan>,
        budget: u64,
    ) -> Option<SnapshotsRequest> {
        if !self.want.updates.is_empty() {
            let update_index = self.want.updates.start;
            self.want.without_update(update_index);
            return Some(SnapshotsRequest::LightClientUpdate { session_id, update_index });
        }
        let (plan, chunk_index) = (plan?, self.want.first_chunk()?);
        let range = chunk_range(plan.snapshot.checkpoint.payload_bytes, plan.chunk_size, chunk_index);
        let bytes = range.end - range.start;
        let spent = self.spent + bytes;
        if spent > self.credit || bytes > budget {
            return None;
        }
        self.spent = spent;
        self.want.without_chunk(chunk_index);
        Some(SnapshotsRequest::Chunk { session_id, chunk_index })
    }

    pub(super) fn start(&mut self, now: Instant, request: SnapshotsRequest) {
        self.in_flight = Some(InFlight { request, id: None, since: now });
    }

    /// The request that was returned is in flight under this id; `false` if there is none.
    pub(super) fn sent(&mut self, id: RequestId) -> bool {
        let unsent = self.in_flight.as_mut().filter(|request| request.id.is_none());
        unsent.map(|request| request.id = Some(id)).is_some()
    }

    /// Removes and returns the request in flight if this is its id (`None`: it was not sent). An event with another id
    /// is the late end of a request that this session has given up, or that was made before the session was resumed.
    pub(super) fn end(&mut self, id: Option<RequestId>) -> Option<InFlight> {
        self.in_flight.take_if(|request| request.id == id)
    }

    /// Gives up the request in flight.
    pub(super) fn give_up(&mut self) {
        self.in_flight = None;
    }
}
