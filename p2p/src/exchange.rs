//! One request and its answer: what the answer must be, and what was verified about it.
//!
//! ```text
//! Exchange { request, plan, previous update } ── check(rules, response), on a blocking thread ──> Verified, or Violation
//! ```
//!
//! An exchange is a value: it knows only what its check needs of the session. Its maker, a
//! [`consumer::Session`](crate::consumer::Session) or an application that calls the behaviour itself, decides which
//! request comes next and which markers move when it is answered. Only [`Exchange::check`] makes a [`Verified`].

use std::{ops::Deref, sync::Arc};

use bytes::Bytes;

use crate::{
    authority::{check_tip_signatures, check_update},
    error::{Mismatch, Unfit, Violation},
    messages::{ArtefactKind, Checkpoint, ErrorCode, Plan, SnapshotsRequest, SnapshotsResponse, Update},
    plan::{PlanBounds, PlanError, TrustAnchor, check_plan},
    tree::{ChunkError, verify_chunk_groups},
    types::{Hash, SnapshotSessionId},
};

/// What a check has proved.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Verified {
    /// A plan that is acceptable under the trust anchor. Its authority is not checked yet.
    Plan(VerifiedPlan),
    /// A chunk of the plan's payload.
    Chunk(VerifiedChunk),
    /// An update that continues the chain.
    #[non_exhaustive]
    Update {
        /// Which.
        index: u64,
        /// The step of the chain.
        update: Box<Update>,
    },
    /// The provider continues where we asked it to.
    #[non_exhaustive]
    Resumed {
        /// The next chunk.
        chunk_index: u64,
        /// The next update.
        update_index: u64,
        /// The chunk size of the session.
        chunk_size: u64,
    },
    /// The provider has persisted our ack.
    #[non_exhaustive]
    Acked {
        /// Of which kind.
        kind: ArtefactKind,
        /// Up to and including.
        index: u64,
    },
    /// The provider refused, which is allowed.
    #[non_exhaustive]
    Refused {
        /// Why.
        code: ErrorCode,
        /// Its message, not escaped; at most 512 bytes.
        message: String,
    },
}

/// A plan that was checked against the trust anchor and against the request. Only [`Exchange::check`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedPlan(Arc<Plan>);

impl Deref for VerifiedPlan {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.0
    }
}

impl From<VerifiedPlan> for Arc<Plan> {
    fn from(plan: VerifiedPlan) -> Self {
        plan.0
    }
}

/// A chunk that was verified against its payload's root, with the hashes inside and above it. Only
/// [`VerifiedChunk::verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedChunk {
    /// Which chunk.
    pub index: u64,
    /// Its bytes.
    pub bytes: Bytes,
    /// Sibling chaining values, leaf to root.
    pub proof: Vec<Hash>,
    /// The chaining values of its 16 KiB groups, in order; empty when the payload is a single group. See
    /// [`crate::outboard::chunk_nodes`].
    pub groups: Vec<Hash>,
}

impl VerifiedChunk {
    /// Checks a chunk against the root.
    ///
    /// # Errors
    /// Anything that does not match.
    pub fn verify(
        root: &Hash,
        payload_bytes: u64,
        chunk_size: u64,
        index: u64,
        bytes: Bytes,
        proof: Vec<Hash>,
    ) -> Result<Self, ChunkError> {
        Self::verify_hashed(root, payload_bytes, chunk_size, index, bytes, None, proof)
    }

    /// The same for bytes whose groups may have been hashed already, at the position of chunk `index`.
    fn verify_hashed(
        root: &Hash,
        payload_bytes: u64,
        chunk_size: u64,
        index: u64,
        bytes: Bytes,
        groups: Option<Vec<Hash>>,
        proof: Vec<Hash>,
    ) -> Result<Self, ChunkError> {
        let groups = verify_chunk_groups(root, payload_bytes, chunk_size, index, &bytes, groups, &proof)?;
        Ok(Self { index, bytes, proof, groups })
    }
}

/// The rules for every answer.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The trust anchor of the chain.
    pub trust: Arc<TrustAnchor>,
    /// The bounds of acceptable plans.
    pub bounds: PlanBounds,
}

/// One request, with what its answer is checked against.
#[derive(Clone, Debug)]
pub struct Exchange {
    request: SnapshotsRequest,
    plan: Option<Arc<Plan>>,
    previous: Option<Checkpoint>,
}

impl Exchange {
    /// `plan` is the session's plan, if it has one. `previous` is the update before the requested one, if it is known:
    /// the answer must continue it.
    #[must_use]
    pub fn new(request: SnapshotsRequest, plan: Option<Arc<Plan>>, previous: Option<Checkpoint>) -> Self {
        Self { request, plan, previous }
    }

    /// The request.
    #[must_use]
    pub fn request(&self) -> &SnapshotsRequest {
        &self.request
    }

    /// The session's plan.
    #[must_use]
    pub fn plan(&self) -> Option<&Arc<Plan>> {
        self.plan.as_ref()
    }

    /// Whether the request makes sense with this plan.
    ///
    /// # Errors
    /// There is no plan that it needs, or the plan does not have what it names.
    pub fn fits(&self) -> Result<(), Unfit> {
        let plan = self.plan.as_deref();
        let fits = match &self.request {
            SnapshotsRequest::Plan { .. } | SnapshotsRequest::Error { .. } => return Ok(()),
            SnapshotsRequest::Chunk { chunk_index, .. } => plan.map(|plan| *chunk_index < plan.total_chunks),
            SnapshotsRequest::LightClientUpdate { update_index, .. } => {
                plan.map(|plan| *update_index < plan.total_updates)
            }
            SnapshotsRequest::Resume { plan_id, .. } => plan.map(|plan| *plan_id == plan.plan_id),
            SnapshotsRequest::Ack { kind, index, .. } => plan.map(|plan| *index < total(plan, *kind)),
        };
        match fits {
            None => Err(Unfit::NoPlan),
            Some(false) => Err(Unfit::OutsidePlan),
            Some(true) => Ok(()),
        }
    }

    /// Checks that the answer matches its request and that its content verifies. Hashes up to 4 MiB, so do not call it
    /// on the swarm's task.
    ///
    /// # Errors
    /// The provider broke the protocol; nothing of the answer may be used.
    pub fn check(self, rules: &Rules, response: SnapshotsResponse) -> Result<Verified, Violation> {
        self.expecting(rules).check_hashed(response, None)
    }

    /// The exchange with the rules for its answer, for another task or thread.
    pub(crate) fn expecting(self, rules: &Rules) -> Expectation {
        Expectation { exchange: self, rules: rules.clone() }
    }
}

fn total(plan: &Plan, kind: ArtefactKind) -> u64 {
    match kind {
        ArtefactKind::Plan => 1,
        ArtefactKind::Chunk => plan.total_chunks,
        ArtefactKind::LightClientUpdate => plan.total_updates,
    }
}

/// An exchange with the rules for its answer. It owns everything, so it can be checked on another task or thread.
#[derive(Clone, Debug)]
pub struct Expectation {
    exchange: Exchange,
    rules: Rules,
}

impl Expectation {
    pub(crate) fn request(&self) -> &SnapshotsRequest {
        &self.exchange.request
    }

    /// Checks an answer. The groups of its chunk may have been hashed as they arrived, at the position of the requested
    /// chunk.
    pub(crate) fn check_hashed(
        self,
        response: SnapshotsResponse,
        groups: Option<Vec<Hash>>,
    ) -> Result<Verified, Violation> {
        let session = self.exchange.request.session_id();
        if let SnapshotsResponse::Error { session_id, code, message } = response {
            // 0 is used when the provider could not read the request.
            if session_id == session || session_id == SnapshotSessionId::UNREADABLE {
                return Ok(Verified::Refused { code, message });
            }
            return Err(Mismatch::RefusedSession { asked: session, found: session_id }.into());
        }
        if response.session_id() != session {
            return Err(Mismatch::Session { asked: session, found: response.session_id() }.into());
        }
        match (&self.exchange.request, response) {
            (SnapshotsRequest::Plan { .. }, SnapshotsResponse::Plan { plan, min_chunk_size, max_chunk_size, .. }) => {
                self.check_plan(plan, min_chunk_size, max_chunk_size)
            }
            (
                SnapshotsRequest::Chunk { chunk_index: asked, .. },
                SnapshotsResponse::Chunk { chunk_index, chunk, proof, .. },
            ) => {
                same("chunk", *asked, chunk_index)?;
                self.check_chunk(chunk_index, chunk, groups, proof)
            }
            (
                SnapshotsRequest::LightClientUpdate { update_index: asked, .. },
                SnapshotsResponse::LightClientUpdate { update_index, update, .. },
            ) => {
                same("update", *asked, update_index)?;
                self.check_update(update_index, update)
            }
            (
                SnapshotsRequest::Resume { .. },
                SnapshotsResponse::Resume { plan_id, chunk_index, update_index, chunk_size, .. },
            ) => self.check_resume(plan_id, chunk_index, update_index, chunk_size),
            (
                SnapshotsRequest::Ack { kind, index, .. },
                SnapshotsResponse::Ack { kind: answered, index: mirrored, .. },
            ) => {
                if *kind != answered {
                    return Err(Mismatch::AckKind { asked: *kind, found: answered }.into());
                }
                same("ack of", *index, mirrored)?;
                Ok(Verified::Acked { kind: answered, index: mirrored })
            }
            (request, response) => Err(Mismatch::Answer { asked: request.tag(), found: response.tag() }.into()),
        }
    }

    fn check_plan(&self, plan: Box<Plan>, min: u64, max: u64) -> Result<Verified, Violation> {
        let SnapshotsRequest::Plan { wishes, .. } = &self.exchange.request else {
            return Err(Mismatch::Unasked("a plan that was not asked for").into());
        };
        let bounds = PlanBounds {
            min_chunk_size: self.rules.bounds.min_chunk_size.max(wishes.min_chunk_size.unwrap_or(0)).max(min),
            max_chunk_size: self.rules.bounds.max_chunk_size.min(wishes.max_chunk_size.unwrap_or(u64::MAX)).min(max),
            ..self.rules.bounds
        };
        check_plan(&plan, &self.rules.trust, &bounds)?;
        let snapshot = &plan.snapshot.checkpoint;
        if wishes.root.is_some_and(|root| root != snapshot.state_root) {
            return Err(PlanError::NotAsked { what: "root" }.into());
        }
        if wishes.height.is_some_and(|height| height != snapshot.height) {
            return Err(PlanError::NotAsked { what: "height" }.into());
        }
        Ok(Verified::Plan(VerifiedPlan(Arc::from(plan))))
    }

    fn check_chunk(
        &self,
        index: u64,
        bytes: Bytes,
        groups: Option<Vec<Hash>>,
        proof: Vec<Hash>,
    ) -> Result<Verified, Violation> {
        let plan = self.plan()?;
        let Checkpoint { state_root, payload_bytes, .. } = &plan.snapshot.checkpoint;
        let received = bytes.len() as u64;
        VerifiedChunk::verify_hashed(state_root, *payload_bytes, plan.chunk_size, index, bytes, groups, proof)
            .map(Verified::Chunk)
            .map_err(|source| Violation::Chunk { index, received, source })
    }

    /// Only the publishers' signatures over the tip count: these are checked, and all others are dropped. The recursive
    /// proof is checked together with the whole chain.
    fn check_update(&self, index: u64, mut update: Box<Update>) -> Result<Verified, Violation> {
        let plan = self.plan()?;
        check_update(plan, &self.rules.trust.genesis, index, &update, self.exchange.previous.as_ref())
            .map_err(|reason| Violation::Update { index, reason })?;
        update.signatures = if index + 1 == plan.total_updates {
            check_tip_signatures(plan, &update, &self.rules.trust)?
        } else {
            Vec::new()
        };
        Ok(Verified::Update { index, update })
    }

    fn check_resume(
        &self,
        plan_id: Hash,
        chunk_index: u64,
        update_index: u64,
        chunk_size: u64,
    ) -> Result<Verified, Violation> {
        let SnapshotsRequest::Resume { plan_id: id, chunk_index: chunk, update_index: update, .. } =
            &self.exchange.request
        else {
            return Err(Mismatch::Unasked("a resume that was not asked for").into());
        };
        if plan_id != *id {
            return Err(Mismatch::Plan { asked: *id, found: plan_id }.into());
        }
        same("chunk", *chunk, chunk_index)?;
        same("update", *update, update_index)?;
        let ours = self.plan()?.chunk_size;
        if chunk_size != ours && self.rules.bounds.allows_chunk_size(chunk_size) {
            // The provider planned this session anew, and its answer was lost on the way to us.
            let message = format!("its session has chunks of {chunk_size} bytes, ours of {ours}");
            return Ok(Verified::Refused { code: ErrorCode::PlanChanged, message });
        }
        same("chunk size", ours, chunk_size)?;
        Ok(Verified::Resumed { chunk_index, update_index, chunk_size })
    }

    pub(crate) fn plan(&self) -> Result<&Plan, Violation> {
        // `Exchange::fits` lets no such request be sent without a plan.
        self.exchange.plan.as_deref().ok_or(Violation::Mismatch(Mismatch::Unasked("an artefact before any plan")))
    }
}

fn same(what: &'static str, asked: u64, found: u64) -> Result<(), Mismatch> {
    if asked == found { Ok(()) } else { Err(Mismatch::Number { what, asked, found }) }
}
