//! The next message to a peer: it opens the session, or acknowledges.

use super::{Link, LinkState, Opening};
use crate::{
    download::Demand,
    limits::MIN_CHUNK_SIZE,
    messages::{ArtefactKind, PlanWishes, SnapshotsRequest},
};

impl Link {
    /// The next message: it opens the session, or acknowledges.
    pub(super) fn message_due(&self, demand: &Demand) -> Option<SnapshotsRequest> {
        match self.state {
            LinkState::Up => self.opening_message(demand),
            LinkState::Open { .. } => self.ack_due(demand).map(|(kind, index)| SnapshotsRequest::Ack {
                session_id: self.session,
                kind,
                index,
            }),
            _ => None,
        }
    }

    /// `plan` or `resume`, when the peer is needed.
    fn opening_message(&self, demand: &Demand) -> Option<SnapshotsRequest> {
        if !self.is_needed(demand) {
            return None;
        }
        let Some(plan) = &demand.plan else { return Some(self.first_plan()) };
        let (session_id, present) = (self.session, plan.chunk_size);
        let (plan_id, chunk_index, update_index) = match self.opening {
            Opening::Usual => (plan.plan_id, demand.next.0, demand.next.1),
            Opening::Named(named) => (named.plan_id, named.chunk_index, named.update_index),
            // Not while this machine works on the present plan.
            Opening::Anew | Opening::Smaller(_) if demand.is_in_use => return None,
            // Nor while verified chunks of the present size wait to be written.
            Opening::Smaller(_) if !demand.is_written => return None,
            // The same snapshot continues in the same chunks, or in smaller ones. Otherwise only tip and updates may be
            // new.
            Opening::Anew | Opening::Smaller(_) => {
                let (chunk_size, least) = match self.opening {
                    Opening::Smaller(smaller) => {
                        (smaller, self.options.wishes.min_chunk_size.unwrap_or(MIN_CHUNK_SIZE).min(smaller))
                    }
                    _ => (present, present),
                };
                let wishes = PlanWishes {
                    chunk_size: Some(chunk_size),
                    min_chunk_size: Some(least),
                    max_chunk_size: Some(present),
                    root: Some(plan.snapshot.checkpoint.state_root),
                    height: Some(plan.snapshot.checkpoint.height),
                };
                return Some(SnapshotsRequest::Plan { session_id, wishes });
            }
        };
        Some(SnapshotsRequest::Resume { session_id, plan_id, chunk_index, update_index })
    }

    fn first_plan(&self) -> SnapshotsRequest {
        SnapshotsRequest::Plan { session_id: self.session, wishes: self.options.wishes }
    }

    /// The durable and recorded chunks or updates that are not acknowledged yet.
    fn ack_due(&self, demand: &Demand) -> Option<(ArtefactKind, u64)> {
        if self.acks.given_up || self.acks.after.is_some() {
            return None;
        }
        let due = |durable: Option<u64>, acked: u64| durable.filter(|durable| *durable > acked).map(|all| all - 1);
        due(demand.durable.updates, self.acks.updates)
            .map(|index| (ArtefactKind::LightClientUpdate, index))
            .or_else(|| due(demand.durable.chunks, self.acks.chunks).map(|index| (ArtefactKind::Chunk, index)))
    }

    /// Whether an ack is due and the peer can receive it.
    pub(crate) fn can_ack(&self, demand: &Demand) -> bool {
        matches!(self.state, LinkState::Open { .. }) && self.ack_due(demand).is_some()
    }
}
