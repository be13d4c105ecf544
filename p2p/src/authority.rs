//! The authority over a plan: its updates form an unbroken chain from snapshot to tip, and enough publishers signed the
//! tip. The recursive proof, which leads the tip back to genesis, is checked by `rpp_proofs::Verifier`.

mod update;

use rpp_proofs::{CheckpointSignature, GenesisError, NotCanonical, ProofError, SignatureError};

use crate::{
    light_client::SyncError,
    limits::{MAX_PUBLISHERS, MAX_SIGNATURES},
    messages::{Plan, Signature, Update},
    plan::{TrustAnchor, commitment, genesis},
    types::Hash,
};
pub(crate) use update::signature;
pub use update::{SignatureBytes, UpdateError, check_update};

// The reader of messages knows these bounds without the proofs, too.
const _: () = assert!(MAX_PUBLISHERS == rpp_proofs::MAX_PUBLISHERS && MAX_SIGNATURES == rpp_proofs::MAX_SIGNATURES);

/// Why a plan has no authority here. The first four are the provider's fault; an honest mirror may have a stale tip.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// Too few publishers signed the tip.
    #[error("the tip is not authorised: {0}")]
    Signatures(#[from] SignatureError),
    /// The genesis descriptor is not the trust anchor's, or a signature is malformed.
    #[error("the tip is not authorised: {reason}")]
    Authentication {
        /// What differs.
        reason: AuthenticationError,
    },
    /// The updates do not form a chain from the snapshot to the tip.
    #[error("update {index} breaks the commitment chain: {reason}")]
    Chain {
        /// Which update.
        index: u64,
        /// What is wrong with it.
        reason: UpdateError,
    },
    /// The recursive proof does not verify. If [`ProofError::is_local`], this machine could not check it and is at fault.
    #[error(
        "the recursive proof of the tip {}: {reason}",
        if reason.is_local() { "could not be checked" } else { "does not verify" }
    )]
    Proof {
        /// What the verifier says.
        reason: ProofError,
    },
    /// The tip is older than the accepted head and is not one of its ancestors.
    #[error(
        "the tip is stale: its tip is step {tip}, the accepted head is step {head}, and nothing in it was accepted \
         before: ask another provider, or wait until this one has caught up"
    )]
    Stale {
        /// The tip's step.
        tip: u64,
        /// The accepted head's.
        head: u64,
    },
    /// Another properly signed tip at the step of an accepted one. The publishers are at fault.
    #[error(
        "equivocation: publishers signed two histories: step {step} was accepted as {accepted} and is offered as \
         {offered}{}. Ask the publishers which one holds", after_semicolon(.evidence)
    )]
    Equivocation {
        /// The step of both.
        step: u64,
        /// The accepted commitment.
        accepted: Hash,
        /// The other one.
        offered: Hash,
        /// Where the driver keeps the evidence, in words for the operator; may be empty.
        evidence: String,
    },
}

fn after_semicolon(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("; {words}") }
}

/// Why the tip of a plan is not authentic. The provider is at fault, with two exceptions: with
/// [`AuthenticationError::NotTrusted`] the trust anchor may be wrong, and [`AuthenticationError::Sync`] says who is at
/// fault itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthenticationError {
    /// The descriptor is not a genesis.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// It is a genesis, but not the trusted one.
    #[error("the genesis descriptor is not the trusted one")]
    NotTrusted,
    /// The tip's commitment is malformed.
    #[error(transparent)]
    Commitment(#[from] NotCanonical),
    /// A signature is malformed.
    #[error(transparent)]
    Signature(#[from] SignatureBytes),
    /// A publisher's signature does not verify.
    #[error("the signature of publisher {publisher} is wrong")]
    WrongSignature {
        /// The publisher's key.
        publisher: Hash,
    },
    /// The plan is refused, or updates are missing.
    #[error("{0}")]
    Sync(Box<SyncError>),
}

/// Checks the signatures first, because they are cheap, and then that the updates are exactly the chain from the plan's
/// snapshot to its tip (25 us for each update). The plan has passed [`crate::plan::check_plan`]. The recursive proof
/// and the node's own head remain to be checked.
///
/// # Errors
/// What is missing or wrong.
pub fn check_authority_signatures(plan: &Plan, updates: &[Update], trust: &TrustAnchor) -> Result<(), AuthorityError> {
    let count = updates.len() as u64;
    let Some(last) = updates.last().filter(|_| count == plan.total_updates) else {
        let reason = UpdateError::Missing { found: count, total: plan.total_updates };
        return Err(AuthorityError::Chain { index: count, reason });
    };
    check_tip_signatures(plan, last, trust)?;
    rehash(plan, updates, &trust.genesis)
}

/// Checks that enough publishers signed the plan's tip, and that no publisher's signature is wrong. Returns the
/// signatures by publishers of the genesis.
///
/// # Errors
/// Too few signatures, or a wrong one.
pub fn check_tip_signatures(plan: &Plan, tip: &Update, trust: &TrustAnchor) -> Result<Vec<Signature>, AuthorityError> {
    let refused = |reason| AuthorityError::Authentication { reason };
    let genesis = genesis(&plan.genesis).map_err(|error| refused(error.into()))?;
    if genesis.commitment().to_bytes() != trust.genesis.0 {
        return Err(refused(AuthenticationError::NotTrusted));
    }
    let commitment = commitment(&plan.tip.commitment).map_err(|error| refused(error.into()))?;
    let signatures: Result<Vec<_>, _> = tip.signatures.iter().map(signature).collect();
    let signatures = signatures.map_err(|error| refused(error.into()))?;
    let revoked: Vec<_> = trust.revoked.iter().map(|key| key.0).collect();
    let verify = |signatures: &[CheckpointSignature], revoked: &[[u8; 32]]| {
        rpp_proofs::verify_signatures(&genesis, &commitment, plan.tip.height, plan.tip.step, signatures, revoked)
    };
    verify(&signatures, &revoked)?;
    let mut kept = Vec::new();
    for (each, carried) in signatures.iter().zip(&tip.signatures) {
        match verify(std::slice::from_ref(each), &[]) {
            Ok(_) | Err(SignatureError::BelowThreshold { valid: 1, .. }) => kept.push(carried.clone()),
            Err(SignatureError::BelowThreshold { unknown: 1, .. }) => {}
            Err(_) => return Err(refused(AuthenticationError::WrongSignature { publisher: carried.publisher })),
        }
    }
    Ok(kept)
}

/// Hashes the chain of updates again, from the snapshot to the tip.
fn rehash(plan: &Plan, updates: &[Update], genesis: &Hash) -> Result<(), AuthorityError> {
    let mut previous = None;
    for (index, update) in (0..).zip(updates) {
        check_update(plan, genesis, index, update, previous)
            .map_err(|reason| AuthorityError::Chain { index, reason })?;
        previous = Some(&update.checkpoint);
    }
    Ok(())
}

impl From<&CheckpointSignature> for Signature {
    fn from(signature: &CheckpointSignature) -> Self {
        Self { publisher: Hash(signature.publisher), signature: bytes::Bytes::copy_from_slice(&signature.signature) }
    }
}
