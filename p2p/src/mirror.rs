//! Checks a mirror's manifest by the same rules as a peer's answers.

use std::{ops::Range, sync::Arc};

use crate::{
    authority::UpdateError,
    error::{Mismatch, Violation},
    exchange::{Exchange, Rules, Verified},
    limits::{MAX_CHUNK_SIZE, MIN_CHUNK_SIZE, MIRROR_READS},
    messages::{Checkpoint, Plan, PlanWishes, SnapshotsRequest, SnapshotsResponse, Update},
    types::SnapshotSessionId,
};

/// A valid plan with all its updates. Signatures, chain and proof as a whole are checked with the authority.
#[derive(Clone, Debug)]
pub struct MirrorPlan {
    pub(crate) plan: Arc<Plan>,
    pub(crate) updates: Vec<Update>,
}

impl MirrorPlan {
    /// Checks a manifest as if a peer had answered with it to a request with these wishes. Hashes each update, so do
    /// not call it on the swarm's task.
    ///
    /// # Errors
    /// It is not what was asked for, or breaks the rules.
    pub fn check(plan: Plan, updates: Vec<Update>, wishes: PlanWishes, rules: &Rules) -> Result<Self, Violation> {
        // Nothing goes over the network, so any id will do.
        let session_id = SnapshotSessionId::random();
        let request = SnapshotsRequest::Plan { session_id, wishes };
        let (min_chunk_size, max_chunk_size) = (MIN_CHUNK_SIZE, MAX_CHUNK_SIZE);
        let response = SnapshotsResponse::Plan { session_id, plan: Box::new(plan), min_chunk_size, max_chunk_size };
        let plan: Arc<Plan> = match Exchange::new(request, None, None).check(rules, response)? {
            Verified::Plan(plan) => plan.into(),
            _ => return Err(Mismatch::Unasked("something else than a plan").into()),
        };
        let found = updates.len() as u64;
        if found != plan.total_updates {
            let reason = UpdateError::Missing { found, total: plan.total_updates };
            return Err(Violation::Update { index: found, reason });
        }
        let mut checked: Vec<Update> = Vec::with_capacity(updates.len());
        let mut previous: Option<Checkpoint> = None;
        for (update_index, update) in (0..).zip(updates) {
            let request = SnapshotsRequest::LightClientUpdate { session_id, update_index };
            let update = Box::new(update);
            let response = SnapshotsResponse::LightClientUpdate { session_id, update_index, update };
            let exchange = Exchange::new(request, Some(Arc::clone(&plan)), previous);
            if let Verified::Update { update, .. } = exchange.check(rules, response)? {
                previous = Some(update.checkpoint);
                checked.push(*update);
            }
        }
        Ok(Self { plan, updates: checked })
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }
}

/// The requests for the first part of the payload, as byte ranges: this many at once, in whole chunks of this size.
pub fn reads(part: Range<u64>, chunk_size: u64) -> impl Iterator<Item = Range<u64>> {
    let size = chunk_size.max(1);
    let length = (read_bytes(part.end.saturating_sub(part.start), size) / size).saturating_mul(size);
    let start = move |number: u64| part.start.saturating_add(number.saturating_mul(length)).min(part.end);
    (0..MIRROR_READS as u64).map(move |number| start(number)..start(number + 1)).filter(|read| !read.is_empty())
}

/// The largest read, in bytes, if `budget` bytes may be in flight.
pub(crate) fn read_bytes(budget: u64, chunk_size: u64) -> u64 {
    (budget / MIRROR_READS as u64).max(chunk_size)
}
