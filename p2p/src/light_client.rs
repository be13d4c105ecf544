//! Follows the commitment chain of a session and reports when a head is verified.
//!
//! It checks in this order, cheap checks first: the plan against the trust anchor, each update against the one before
//! it, the tip's signatures, the recursive proof. Only then is the tip published as a head. Chunks are checked against
//! the root of the plan, in ascending order; they move no head.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    authority::{AuthenticationError, AuthorityError, UpdateError, check_update, signature},
    messages::{Checkpoint, Plan, Update},
    plan::{self, PlanBounds, PlanError, TrustAnchor},
    tree::{self, ChunkError},
    types::Hash,
};

/// Verifies a recursive proof that `tip` was reached from `genesis` by valid steps. Blocking: a tenth of a second, and
/// a quarter of a second more at first use.
pub trait RecursiveProofVerifier: Send + Sync {
    /// Checks whether `proof` shows that.
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

/// The process's only verifier. It is created when the first proof is checked, which takes a quarter of a second more.
#[derive(Clone, Copy, Debug, Default)]
pub struct SharedVerifier;

impl RecursiveProofVerifier for SharedVerifier {
    fn verify(
        &self,
        genesis: &rpp_proofs::Genesis,
        tip: &Checkpoint,
        proof: &[u8],
    ) -> Result<(), rpp_proofs::ProofError> {
        RecursiveProofVerifier::verify(rpp_proofs::Verifier::shared(), genesis, tip, proof)
    }
}

/// Lets the process's one verifier be passed on: `Arc::new(rpp_proofs::Verifier::shared())`.
impl<V: RecursiveProofVerifier + ?Sized> RecursiveProofVerifier for &V {
    fn verify(
        &self,
        genesis: &rpp_proofs::Genesis,
        tip: &Checkpoint,
        proof: &[u8],
    ) -> Result<(), rpp_proofs::ProofError> {
        V::verify(self, genesis, tip, proof)
    }
}

/// Why a payload of a session is refused. The peer that sent it is at fault, except for [`SyncError::NoPlan`] and
/// [`SyncError::OutOfOrder`], which are the caller's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// Nothing is accepted before a plan.
    #[error("no plan was accepted yet")]
    NoPlan,
    /// Another index is expected.
    #[error("{what} {got} came where {expected} is due")]
    OutOfOrder {
        /// `update` or `chunk`.
        what: &'static str,
        /// The index that is expected.
        expected: u64,
        /// The index that was given.
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
        reason: UpdateError,
    },
    /// The tip's signatures do not show the publishers' authority.
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

impl From<SyncError> for AuthorityError {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::Signatures(error) => Self::Signatures(error),
            SyncError::Update { index, reason } => Self::Chain { index, reason },
            SyncError::Proof(reason) => Self::Proof { reason },
            SyncError::Equivocation { step, accepted, offered } => {
                Self::Equivocation { step, accepted, offered, evidence: String::new() }
            }
            SyncError::NoPlan | SyncError::OutOfOrder { .. } | SyncError::Plan(_) | SyncError::Chunk { .. } => {
                Self::Authentication { reason: AuthenticationError::Sync(Box::new(error)) }
            }
        }
    }
}

/// Consumes plan, updates and chunks of one session, and publishes a head when the chain is complete and verified.
///
/// [`another`](Self::another) makes one for a further session, which publishes to the same receivers.
#[derive(Clone)]
pub struct LightClientSync {
    trust: Arc<TrustAnchor>,
    bounds: PlanBounds,
    verifier: Arc<dyn RecursiveProofVerifier>,
    heads: watch::Sender<Option<Checkpoint>>,
    session: Option<Followed>,
}

#[derive(Clone)]
struct Followed {
    plan: Arc<Plan>,
    genesis: rpp_proofs::Genesis,
    /// The newest accepted update; `None` before the first.
    previous: Option<Checkpoint>,
    next_update: u64,
    next_chunk: u64,
    verified: bool,
}

impl LightClientSync {
    /// Trusts only `trust`, with the protocol's bounds on plans.
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

    /// Sets other bounds on plans.
    #[must_use]
    pub fn with_bounds(mut self, bounds: PlanBounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Starts with a head that was accepted earlier; it is published at once.
    #[must_use]
    pub fn with_head(self, head: Option<Checkpoint>) -> Self {
        self.heads.send_replace(head);
        self
    }

    /// A follower for another session: nothing accepted yet; the same trust, verifier and head.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { session: None, ..self.clone() }
    }

    /// The newest verified head. It only moves upwards, and only when a chain is complete and verified.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Option<Checkpoint>> {
        self.heads.subscribe()
    }

    /// The index of the update that is expected next.
    #[must_use]
    pub fn next_update(&self) -> Option<u64> {
        self.session.as_ref().map(|session| session.next_update)
    }

    /// The index of the chunk that is expected next.
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

    /// Checks a plan against the trust anchor, and starts anew with it.
    ///
    /// # Errors
    /// The plan is refused; what was accepted before stays accepted.
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
        self.session = Some(Followed { plan, genesis, previous: None, next_update: 0, next_chunk, verified: false });
        Ok(())
    }

    /// Checks the next update. With the last one the whole chain is verified; this blocks, so do not call it on an
    /// async task. Returns `Some` with the verified tip.
    ///
    /// # Errors
    /// The update is refused; the same index is still expected.
    pub fn accept_update(&mut self, index: u64, update: &Update) -> Result<Option<Checkpoint>, SyncError> {
        let mut head = None;
        if let Some(chain) = self.check_next(index, update)? {
            let proven = self.check_proof(&chain)?;
            publish(&self.heads, proven)?;
            head = Some(proven);
        }
        let session = self.session.as_mut().ok_or(SyncError::NoPlan)?;
        session.verified = head.is_some();
        session.take(update);
        Ok(head)
    }

    /// Does everything of [`accept_plan`](Self::accept_plan) and [`accept_update`](Self::accept_update) at once, in a
    /// session of its own. This is what [`Action::VerifyAuthority`](crate::consumer::Action::VerifyAuthority) asks for.
    /// Blocks.
    ///
    /// It calls [`check_chain`](Self::check_chain) and [`check_proof`](Self::check_proof), and publishes the tip. A
    /// node that knows the tip from before may let chunks arrive between the two.
    ///
    /// # Errors
    /// Plan or updates are refused, or updates are missing.
    pub fn authorize(&self, plan: Arc<Plan>, updates: &[Update]) -> Result<Checkpoint, SyncError> {
        let head = self.check_proof(&self.check_chain(plan, updates)?)?;
        publish(&self.heads, head)?;
        Ok(head)
    }

    /// Checks everything about a plan and its updates except the recursive proof: 25 us for each update. Publishes
    /// nothing.
    ///
    /// # Errors
    /// Plan or updates are refused, or updates are missing.
    pub fn check_chain(&self, plan: Arc<Plan>, updates: &[Update]) -> Result<SignedChain, SyncError> {
        let mut session = self.another();
        session.accept_plan(plan)?;
        let mut signed = None;
        for (index, update) in (0..).zip(updates) {
            signed = session.check_next(index, update)?;
            session.session.iter_mut().for_each(|session| session.take(update));
        }
        let got = updates.len() as u64;
        signed.ok_or(SyncError::OutOfOrder { what: "end of the updates", expected: got.saturating_add(1), got })
    }

    /// Checks the recursive proof of a chain, which [`check_chain`](Self::check_chain) left out. Publishes nothing.
    /// Blocks.
    ///
    /// # Errors
    /// The proof is refused.
    pub fn check_proof(&self, chain: &SignedChain) -> Result<Checkpoint, SyncError> {
        self.verifier.verify(&chain.genesis, &chain.tip, &chain.proof)?;
        Ok(chain.tip)
    }

    /// Checks the next update. Returns `Some` if it completes the chain and the tip is signed.
    fn check_next(&self, index: u64, update: &Update) -> Result<Option<SignedChain>, SyncError> {
        let session = self.session.as_ref().ok_or(SyncError::NoPlan)?;
        if index != session.next_update || session.verified {
            return Err(SyncError::OutOfOrder { what: "update", expected: session.next_update, got: index });
        }
        check_update(&session.plan, &self.trust.genesis, index, update, session.previous.as_ref())
            .map_err(|reason| SyncError::Update { index, reason })?;
        session.is_last(index).then(|| signed(session, update, &self.trust)).transpose()
    }

    /// Checks the next chunk.
    ///
    /// # Errors
    /// It is not that part of the payload; the same index is still expected.
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

impl Followed {
    fn is_last(&self, index: u64) -> bool {
        index.checked_add(1) == Some(self.plan.total_updates)
    }

    fn take(&mut self, update: &Update) {
        self.previous = Some(update.checkpoint);
        self.next_update += 1;
    }
}

/// A chain from a plan's snapshot to a tip that enough publishers signed. The recursive proof, which leads the tip back
/// to genesis, remains to be checked. Only [`LightClientSync::check_chain`] makes one.
#[derive(Clone, Debug)]
pub struct SignedChain {
    genesis: rpp_proofs::Genesis,
    tip: Checkpoint,
    proof: bytes::Bytes,
}

impl SignedChain {
    /// The tip.
    #[must_use]
    pub fn tip(&self) -> &Checkpoint {
        &self.tip
    }
}

/// Checks the publishers' signatures over the tip.
fn signed(session: &Followed, last: &Update, trust: &TrustAnchor) -> Result<SignedChain, SyncError> {
    let refused = |reason| SyncError::Update { index: session.next_update, reason };
    let tip = &last.checkpoint;
    let commitment = plan::commitment(&tip.commitment).map_err(|error| refused(error.into()))?;
    let signatures: Result<Vec<_>, _> = last.signatures.iter().map(signature).collect();
    let signatures = signatures.map_err(|error| refused(error.into()))?;
    let revoked: Vec<[u8; 32]> = trust.revoked.iter().map(|key| key.0).collect();
    rpp_proofs::verify_signatures(&session.genesis, &commitment, tip.height, tip.step, &signatures, &revoked)?;
    let proof = last.recursive_proof.clone().ok_or_else(|| refused(UpdateError::NoProof))?;
    Ok(SignedChain { genesis: session.genesis.clone(), tip: *tip, proof })
}

/// Moves the head upwards, never down. The same step with another commitment is equivocation.
fn publish(heads: &watch::Sender<Option<Checkpoint>>, tip: Checkpoint) -> Result<(), SyncError> {
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
