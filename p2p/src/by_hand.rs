//! The state that the behaviour keeps of sessions that the application drives call by call. A
//! [`consumer::Session`](crate::consumer::Session) has its own markers and needs none of this.

use std::sync::Arc;

use crate::{
    exchange::{Exchange, Verified},
    messages::{Checkpoint, Plan, SnapshotsRequest},
};

/// Plan and markers of one such session. Only verified answers move the markers.
#[derive(Debug, Default)]
pub struct ByHand {
    plan: Option<Arc<Plan>>,
    next_chunk: u64,
    next_update: u64,
    /// The newest verified update: the next one must continue it.
    last_update: Option<(u64, Checkpoint)>,
}

impl ByHand {
    /// A session whose plan was accepted earlier. One that starts from nothing is the default.
    #[must_use]
    pub fn resumed(plan: Arc<Plan>, next_chunk: u64, next_update: u64) -> Self {
        Self {
            next_chunk: next_chunk.min(plan.total_chunks),
            next_update: next_update.min(plan.total_updates),
            last_update: None,
            plan: Some(plan),
        }
    }

    /// The chunk and the update after the last verified ones.
    #[must_use]
    pub fn markers(&self) -> (u64, u64) {
        (self.next_chunk, self.next_update)
    }

    /// A request of this session, with what its answer is checked against.
    #[must_use]
    pub fn exchange(&self, request: SnapshotsRequest) -> Exchange {
        let previous = match (&request, &self.last_update) {
            (SnapshotsRequest::LightClientUpdate { update_index, .. }, Some((index, checkpoint)))
                if index.checked_add(1) == Some(*update_index) =>
            {
                Some(*checkpoint)
            }
            _ => None,
        };
        Exchange::new(request, self.plan.clone(), previous)
    }

    /// The request in flight was answered.
    pub fn verified(&mut self, verified: &Verified) {
        match verified {
            Verified::Plan(plan) => *self = Self::resumed(Arc::from(plan.clone()), 0, 0),
            Verified::Chunk(chunk) if chunk.index == self.next_chunk => self.next_chunk += 1,
            Verified::Update { index, update } => {
                self.last_update = Some((*index, update.checkpoint));
                if *index == self.next_update {
                    self.next_update += 1;
                }
            }
            Verified::Resumed { chunk_index, update_index, .. } => {
                (self.next_chunk, self.next_update) = (*chunk_index, *update_index);
            }
            Verified::Chunk(_) | Verified::Acked { .. } | Verified::Refused { .. } => {}
        }
    }
}
