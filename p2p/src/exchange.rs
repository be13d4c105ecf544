//! One consumer session's requests: which is in flight, what its answer must look like, and what moves on when it does.
//!
//! ```text
//! begin(request) ──> Expectation ── check(response), on a blocking thread ──> Verified ──> complete(&verified)
//!        │                                          └──> Violation ──┐
//!        └── no answer ──────────────────────────────────────────────┴──> abort()
//! ```
//!
//! At most one request is in flight. Only [`Expectation::check`] makes a [`Verified`], and only a [`Verified`] moves
//! `next_chunk` and `next_update`.

use std::{ops::Deref, sync::Arc};

use bytes::Bytes;
use libp2p::PeerId;

use crate::{
    authority::{check_tip_signatures, check_update},
    error::{NotSent, Unfit, Violation},
    messages::{ArtefactKind, Checkpoint, ErrorCode, Plan, SnapshotsRequest, SnapshotsResponse, Update},
    plan::{PlanBounds, PlanError, TrustAnchor, check_plan},
    tree::{ChunkError, verify_chunk_groups},
    types::{Hash, SnapshotSessionId},
};

/// What a check has found to be true.
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
    /// The provider goes on from where we asked.
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
    /// The provider answered, as it may, that it does not.
    #[non_exhaustive]
    Refused {
        /// Why.
        code: ErrorCode,
        /// Its words, not escaped; at most 512 bytes.
        message: String,
    },
}

/// A plan that was checked against the trust anchor and what was asked for. Only [`Expectation::check`] makes one.
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

/// A chunk that verified against its payload's root, with the hashes inside and above it. Only [`VerifiedChunk::verify`]
/// makes one.
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
    /// Whatever does not fit.
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

    /// The same, of bytes whose groups may have been hashed already, where chunk `index` stands.
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

/// The requests of one consumer session.
#[derive(Debug)]
pub struct Exchange {
    session: SnapshotSessionId,
    peer: PeerId,
    trust: Arc<TrustAnchor>,
    bounds: PlanBounds,
    plan: Option<Arc<Plan>>,
    next_chunk: u64,
    next_update: u64,
    /// The newest verified update, so that the next one must continue it.
    last_update: Option<(u64, Checkpoint)>,
    in_flight: bool,
}

impl Exchange {
    /// A session without a plan.
    #[must_use]
    pub fn new(session: SnapshotSessionId, peer: PeerId, trust: Arc<TrustAnchor>, bounds: PlanBounds) -> Self {
        Self {
            session,
            peer,
            trust,
            bounds,
            plan: None,
            next_chunk: 0,
            next_update: 0,
            last_update: None,
            in_flight: false,
        }
    }

    /// Takes up a session whose plan was accepted earlier. What is in flight stays in flight.
    pub fn adopt(&mut self, plan: Arc<Plan>, next_chunk: u64, next_update: u64) {
        self.next_chunk = next_chunk.min(plan.total_chunks);
        self.next_update = next_update.min(plan.total_updates);
        self.last_update = None;
        self.plan = Some(plan);
    }

    /// Whether a request may begin now.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self, request: &SnapshotsRequest) -> Result<(), NotSent> {
        if self.in_flight {
            return Err(NotSent::Busy);
        }
        if request.session_id() != self.session {
            return Err(Unfit::OtherSession.into());
        }
        let plan = self.plan.as_deref();
        let fits = match request {
            SnapshotsRequest::Plan { .. } | SnapshotsRequest::Error { .. } => return Ok(()),
            SnapshotsRequest::Chunk { chunk_index, .. } => plan.map(|plan| *chunk_index < plan.total_chunks),
            SnapshotsRequest::LightClientUpdate { update_index, .. } => {
                plan.map(|plan| *update_index < plan.total_updates)
            }
            SnapshotsRequest::Resume { plan_id, .. } => plan.map(|plan| *plan_id == plan.plan_id),
            SnapshotsRequest::Ack { kind, index, .. } => plan.map(|plan| *index < total(plan, *kind)),
        };
        match fits {
            None => Err(Unfit::NoPlan.into()),
            Some(false) => Err(Unfit::OutsidePlan.into()),
            Some(true) => Ok(()),
        }
    }

    /// Begins a request, which is in flight until `complete` or `abort`. `None` when it is not [`Self::ready`]: above all
    /// while another is in flight.
    pub fn begin(&mut self, request: SnapshotsRequest) -> Option<Expectation> {
        self.ready(&request).ok()?;
        self.in_flight = true;
        let previous = match (&request, &self.last_update) {
            (SnapshotsRequest::LightClientUpdate { update_index, .. }, Some((index, checkpoint)))
                if index.checked_add(1) == Some(*update_index) =>
            {
                Some(*checkpoint)
            }
            _ => None,
        };
        Some(Expectation {
            request,
            trust: Arc::clone(&self.trust),
            bounds: self.bounds,
            plan: self.plan.clone(),
            previous,
        })
    }

    /// The request in flight was answered. Moves `next_chunk` and `next_update`; nothing else does.
    pub fn complete(&mut self, verified: &Verified) {
        self.in_flight = false;
        match verified {
            Verified::Plan(plan) => self.adopt(Arc::clone(&plan.0), 0, 0),
            Verified::Chunk(chunk) if chunk.index == self.next_chunk => self.next_chunk += 1,
            Verified::Update { index, update } => {
                self.last_update = Some((*index, update.checkpoint));
                if *index == self.next_update {
                    self.next_update += 1;
                }
            }
            Verified::Resumed { chunk_index, update_index, .. } => {
                self.next_chunk = *chunk_index;
                self.next_update = *update_index;
            }
            Verified::Chunk(_) | Verified::Acked { .. } | Verified::Refused { .. } => {}
        }
    }

    /// The request in flight got no answer, or one that broke the protocol. Moves nothing.
    pub fn abort(&mut self) {
        self.in_flight = false;
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> SnapshotSessionId {
        self.session
    }

    /// The provider.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// The accepted plan.
    #[must_use]
    pub fn plan(&self) -> Option<&Arc<Plan>> {
        self.plan.as_ref()
    }

    /// The chunk after the last verified one.
    #[must_use]
    pub fn next_chunk(&self) -> u64 {
        self.next_chunk
    }

    /// The update after the last verified one.
    #[must_use]
    pub fn next_update(&self) -> u64 {
        self.next_update
    }

    /// Whether a request is in flight.
    #[must_use]
    pub fn in_flight(&self) -> bool {
        self.in_flight
    }
}

fn total(plan: &Plan, kind: ArtefactKind) -> u64 {
    match kind {
        ArtefactKind::Plan => 1,
        ArtefactKind::Chunk => plan.total_chunks,
        ArtefactKind::LightClientUpdate => plan.total_updates,
    }
}

/// What the answer to one request must look like. Owned, so that it is checked on another task or thread.
#[derive(Clone, Debug)]
pub struct Expectation {
    request: SnapshotsRequest,
    trust: Arc<TrustAnchor>,
    bounds: PlanBounds,
    plan: Option<Arc<Plan>>,
    previous: Option<Checkpoint>,
}

impl Expectation {
    /// The request.
    #[must_use]
    pub fn request(&self) -> &SnapshotsRequest {
        &self.request
    }

    /// Checks that the answer matches its request and that what it carries verifies. Hashes up to 4 MiB: not for the
    /// swarm's task.
    ///
    /// # Errors
    /// The provider broke the protocol; nothing of the answer may be used.
    pub fn check(self, response: SnapshotsResponse) -> Result<Verified, Violation> {
        self.check_hashed(response, None)
    }

    /// The same, when the groups of a chunk were hashed as it came, as those of the chunk that was asked for.
    pub(crate) fn check_hashed(
        self,
        response: SnapshotsResponse,
        groups: Option<Vec<Hash>>,
    ) -> Result<Verified, Violation> {
        let session = self.request.session_id();
        if let SnapshotsResponse::Error { session_id, code, message } = response {
            // 0 stands where the provider could not read the request.
            if session_id == session || session_id == SnapshotSessionId::UNREADABLE {
                return Ok(Verified::Refused { code, message });
            }
            return Err(mismatch(format!("an error for session {session_id} instead of {session}")));
        }
        if response.session_id() != session {
            return Err(mismatch(format!("session {} instead of {session}", response.session_id())));
        }
        match (&self.request, response) {
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
                    return Err(mismatch(format!("an ack of kind {answered:?} instead of {kind:?}")));
                }
                same("ack of", *index, mirrored)?;
                Ok(Verified::Acked { kind: answered, index: mirrored })
            }
            (request, response) => Err(mismatch(format!("{} in answer to {}", response.tag(), request.tag()))),
        }
    }

    fn check_plan(&self, plan: Box<Plan>, min: u64, max: u64) -> Result<Verified, Violation> {
        let SnapshotsRequest::Plan { chunk_size: _, min_chunk_size, max_chunk_size, root, height, .. } = &self.request
        else {
            return Err(mismatch("a plan that was not asked for".to_owned()));
        };
        let bounds = PlanBounds {
            min_chunk_size: self.bounds.min_chunk_size.max(min_chunk_size.unwrap_or(0)).max(min),
            max_chunk_size: self.bounds.max_chunk_size.min(max_chunk_size.unwrap_or(u64::MAX)).min(max),
            ..self.bounds
        };
        check_plan(&plan, &self.trust, &bounds)?;
        let snapshot = &plan.snapshot.checkpoint;
        if root.is_some_and(|root| root != snapshot.state_root) {
            return Err(PlanError::NotAsked { what: "root" }.into());
        }
        if height.is_some_and(|height| height != snapshot.height) {
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

    /// Of the signatures only the publishers' over the tip say anything: they are checked, the others are dropped. The
    /// recursive proof is checked with the whole chain.
    fn check_update(&self, index: u64, mut update: Box<Update>) -> Result<Verified, Violation> {
        let plan = self.plan()?;
        check_update(plan, &self.trust.genesis, index, &update, self.previous.as_ref())
            .map_err(|reason| Violation::Update { index, reason })?;
        update.signatures = if index + 1 == plan.total_updates {
            check_tip_signatures(plan, &update, &self.trust)?
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
        let SnapshotsRequest::Resume { plan_id: id, chunk_index: chunk, update_index: update, .. } = &self.request
        else {
            return Err(mismatch("a resume that was not asked for".to_owned()));
        };
        if plan_id != *id {
            return Err(mismatch(format!("plan {plan_id} instead of {id}")));
        }
        same("chunk", *chunk, chunk_index)?;
        same("update", *update, update_index)?;
        let ours = self.plan()?.chunk_size;
        if chunk_size != ours && self.bounds.allows_chunk_size(chunk_size) {
            // It planned this session anew, and its answer was lost on the way to us.
            let message = format!("its session has chunks of {chunk_size} bytes, ours of {ours}");
            return Ok(Verified::Refused { code: ErrorCode::PlanChanged, message });
        }
        same("chunk size", ours, chunk_size)?;
        Ok(Verified::Resumed { chunk_index, update_index, chunk_size })
    }

    pub(crate) fn plan(&self) -> Result<&Plan, Violation> {
        // `Exchange::ready` lets no such request begin without a plan.
        self.plan.as_deref().ok_or_else(|| mismatch("an artefact before any plan".to_owned()))
    }
}

fn same(what: &str, asked: u64, answered: u64) -> Result<(), Violation> {
    if asked == answered { Ok(()) } else { Err(mismatch(format!("{what} {answered} instead of {asked}"))) }
}

fn mismatch(what: String) -> Violation {
    Violation::Mismatch { what }
}
