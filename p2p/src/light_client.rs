//! Follows the commitment chain of a session and says when a head is verified.
//!
//! What is verified, and in which order (cheap before dear): the plan against the trust anchor, each update against the
//! one before it, the tip's signatures, the recursive proof. Only then is the tip published as a head. Chunks are
//! checked against the root of the plan, in ascending order; they move no head.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    authority::{check_update, signature},
    messages::{Checkpoint, Plan, Update},
    plan::{self, PlanBounds, PlanError, TrustAnchor},
    tree::{self, ChunkError},
    types::Hash,
};

/// A verified tip.
pub type Head = Checkpoint;

/// Verifies a recursive proof that `tip` was reached from `genesis` by valid steps. Blocking: a tenth of a second, two
/// seconds at first use.
pub trait RecursiveProofVerifier: Send + Sync {
    /// Whether `proof` shows that.
    ///
    /// # Errors
    /// It does not, or it is not a proof at all.
    fn verify(
        &self,
        genesis: &rpp_proofs::Genesis,
        tip: &Checkpoint,
        proof: &[u8],
    ) -> Result<(), rpp_proofs::ProofError>;
}

impl RecursiveProofVerifier for rpp_proofs::Verifier {
    fn verify(
        &self,
        genesis: &rpp_proofs::Genesis,
        tip: &Checkpoint,
        proof: &[u8],
    ) -> Result<(), rpp_proofs::ProofError> {
        let commitment = plan::commitment(&tip.commitment).map_err(|_| rpp_proofs::ProofError::Commitment)?;
        let tip = rpp_proofs::Tip { step: tip.step, height: tip.height, commitment };
        Self::verify(self, genesis, &tip, proof)
    }
}

/// Why a session's payloads are refused. But for [`SyncError::NoPlan`] and [`SyncError::OutOfOrder`], which are the
/// caller's, the peer that sent the payload is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// Nothing is accepted before a plan.
    #[error("no plan was accepted yet")]
    NoPlan,
    /// Another index is due.
    #[error("{what} {got} came where {expected} is due")]
    OutOfOrder {
        /// `update` or `chunk`.
        what: &'static str,
        /// The index due.
        expected: u64,
        /// The index that came.
        got: u64,
    },
    /// The plan contradicts itself or the trust anchor.
    #[error("the plan is refused: {0}")]
    Plan(#[from] PlanError),
    /// The update does not continue the chain.
    #[error("update {index} is refused: {reason}")]
    Update {
        /// Which update.
        index: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The publishers' authority over the tip is not shown.
    #[error("the tip's signatures are refused: {0}")]
    Signatures(#[from] rpp_proofs::SignatureError),
    /// The proof does not show that the tip is reached from the genesis.
    #[error("the recursive proof is refused: {0}")]
    Proof(#[from] rpp_proofs::ProofError),
    /// A properly signed and proven tip contradicts the head of the same step.
    #[error("step {step} has two signed commitments: {accepted} was accepted, {offered} is offered")]
    Equivocation {
        /// The step of both.
        step: u64,
        /// The head's commitment.
        accepted: Hash,
        /// The other one.
        offered: Hash,
    },
    /// The chunk is not that part of the payload.
    #[error("chunk {index} is refused: {reason}")]
    Chunk {
        /// Which chunk.
        index: u64,
        /// What is wrong with it.
        reason: ChunkError,
    },
}

/// Consumes plan, updates and chunks of one session and publishes a head when the chain is complete and verified.
///
/// [`another`](Self::another) makes one for a further session that publishes to the same receivers.
#[derive(Clone)]
pub struct LightClientSync {
    trust: Arc<TrustAnchor>,
    bounds: PlanBounds,
    verifier: Arc<dyn RecursiveProofVerifier>,
    heads: watch::Sender<Option<Head>>,
    session: Option<Session>,
}

#[derive(Clone)]
struct Session {
    plan: Arc<Plan>,
    genesis: rpp_proofs::Genesis,
    /// The newest accepted update's; `None` before the first.
    previous: Option<Checkpoint>,
    next_update: u64,
    next_chunk: u64,
    verified: bool,
}

impl LightClientSync {
    /// Trusts `trust` alone, with the protocol's bounds on plans.
    #[must_use]
    pub fn new(trust: TrustAnchor, verifier: Arc<dyn RecursiveProofVerifier>) -> Self {
        Self {
            trust: Arc::new(trust),
            bounds: PlanBounds::default(),
            verifier,
            heads: watch::channel(None).0,
            session: None,
        }
    }

    /// With other bounds on plans.
    #[must_use]
    pub fn with_bounds(mut self, bounds: PlanBounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Starts from a head that was accepted earlier; it is published at once.
    #[must_use]
    pub fn with_head(self, head: Option<Head>) -> Self {
        self.heads.send_replace(head);
        self
    }

    /// For another session: nothing accepted yet, the same trust, verifier and head.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { session: None, ..self.clone() }
    }

    /// The newest verified head. Moves only upwards, and only when a chain is complete and verified.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Option<Head>> {
        self.heads.subscribe()
    }

    /// The update that is due.
    #[must_use]
    pub fn next_update(&self) -> Option<u64> {
        self.session.as_ref().map(|session| session.next_update)
    }

    /// The chunk that is due.
    #[must_use]
    pub fn next_chunk(&self) -> Option<u64> {
        self.session.as_ref().map(|session| session.next_chunk)
    }

    /// Whether the chain is complete and verified: the plan has authority.
    #[must_use]
    pub fn is_authorized(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.verified)
    }

    /// Whether the chain is verified and every chunk was accepted.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.verified && session.next_chunk == session.plan.total_chunks)
    }

    /// Checks a plan against the trust anchor and starts anew with it.
    ///
    /// # Errors
    /// The plan is refused; what was accepted before stays.
    pub fn accept_plan(&mut self, plan: Arc<Plan>) -> Result<(), SyncError> {
        self.resume_plan(plan, 0)
    }

    /// Like [`accept_plan`](Self::accept_plan) for a session whose chunks below `next_chunk` were accepted earlier.
    ///
    /// # Errors
    /// The plan is refused, or has no such chunk.
    pub fn resume_plan(&mut self, plan: Arc<Plan>, next_chunk: u64) -> Result<(), SyncError> {
        let genesis = plan::check_plan(&plan, &self.trust, &self.bounds)?;
        if next_chunk > plan.total_chunks {
            return Err(SyncError::OutOfOrder { what: "chunk", expected: plan.total_chunks, got: next_chunk });
        }
        self.session = Some(Session { plan, genesis, previous: None, next_update: 0, next_chunk, verified: false });
        Ok(())
    }

    /// Takes the next update. With the last one the chain is verified: that blocks, so call it off the async tasks.
    /// `Some` is the verified tip.
    ///
    /// # Errors
    /// The update is refused; the same index is still due.
    pub fn accept_update(&mut self, index: u64, update: &Update) -> Result<Option<Head>, SyncError> {
        let session = self.session.as_mut().ok_or(SyncError::NoPlan)?;
        if index != session.next_update || session.verified {
            return Err(SyncError::OutOfOrder { what: "update", expected: session.next_update, got: index });
        }
        check_update(&session.plan, &self.trust.genesis, index, update, session.previous.as_ref())
            .map_err(|reason| SyncError::Update { index, reason })?;
        let head = if session.is_last(index) {
            authorize(session, update, &self.trust, self.verifier.as_ref())?;
            publish(&self.heads, update.checkpoint)?;
            session.verified = true;
            Some(update.checkpoint)
        } else {
            None
        };
        session.previous = Some(update.checkpoint);
        session.next_update += 1;
        Ok(head)
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// It is not that part of the payload; the same index is still due.
    pub fn accept_chunk(&mut self, index: u64, bytes: &[u8], proof: &[Hash]) -> Result<(), SyncError> {
        let session = self.session.as_mut().ok_or(SyncError::NoPlan)?;
        let plan = &session.plan;
        if index != session.next_chunk || index >= plan.total_chunks {
            return Err(SyncError::OutOfOrder { what: "chunk", expected: session.next_chunk, got: index });
        }
        let snapshot = &plan.snapshot.checkpoint;
        tree::verify_chunk(&snapshot.state_root, snapshot.payload_bytes, plan.chunk_size, index, bytes, proof)
            .map_err(|reason| SyncError::Chunk { index, reason })?;
        session.next_chunk += 1;
        Ok(())
    }
}

impl Session {
    fn is_last(&self, index: u64) -> bool {
        index.checked_add(1) == Some(self.plan.total_updates)
    }
}

/// The publishers' signatures over the tip, then its proof.
fn authorize(
    session: &Session,
    last: &Update,
    trust: &TrustAnchor,
    verifier: &dyn RecursiveProofVerifier,
) -> Result<(), SyncError> {
    let refused = |reason: String| SyncError::Update { index: session.next_update, reason };
    let tip = &last.checkpoint;
    let commitment = plan::commitment(&tip.commitment).map_err(|error| refused(error.to_string()))?;
    let signatures = last.signatures.iter().map(signature).collect::<Result<Vec<_>, _>>().map_err(refused)?;
    let revoked: Vec<[u8; 32]> = trust.revoked.iter().map(|key| key.0).collect();
    rpp_proofs::verify_signatures(&session.genesis, &commitment, tip.height, tip.step, &signatures, &revoked)?;
    let proof = last.recursive_proof.as_ref().ok_or_else(|| refused("the last update carries no proof".to_owned()))?;
    Ok(verifier.verify(&session.genesis, tip, proof)?)
}

/// Moves the head upwards, never down; the same step with another commitment is equivocation.
fn publish(heads: &watch::Sender<Option<Head>>, tip: Head) -> Result<(), SyncError> {
    let mut result = Ok(());
    heads.send_if_modified(|head| match head {
        Some(head) if head.step > tip.step => false,
        Some(head) if head.step == tip.step => {
            if head.commitment != tip.commitment {
                result =
                    Err(SyncError::Equivocation { step: tip.step, accepted: head.commitment, offered: tip.commitment });
            }
            false
        }
        _ => {
            *head = Some(tip);
            true
        }
    });
    result
}
