//! The authority over a plan: its updates form an unbroken chain from snapshot to tip, and enough publishers signed the
//! tip. The recursive proof, which leads the tip back to genesis, is checked by `rpp_proofs::Verifier`.

use rpp_proofs::{CheckpointSignature, SignatureError};

use crate::{
    limits::{MAX_RECURSIVE_PROOF_BYTES, MAX_SIGNATURES},
    messages::{Checkpoint, Plan, Signature, Update},
    plan::{TrustAnchor, commitment, genesis},
    types::Hash,
};

// The reader of messages knows these bounds without the proofs, too.
const _: () = assert!(
    crate::limits::MAX_PUBLISHERS == rpp_proofs::MAX_PUBLISHERS && MAX_SIGNATURES == rpp_proofs::MAX_SIGNATURES
);

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
        reason: String,
    },
    /// The updates do not form a chain from the snapshot to the tip.
    #[error("update {index} breaks the commitment chain: {reason}")]
    Chain {
        /// Which update.
        index: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The recursive proof does not verify.
    #[error("the recursive proof of the tip does not verify: {reason}")]
    Proof {
        /// The verifier's message.
        reason: String,
    },
    /// The tip is older than the accepted head and is not one of its ancestors.
    #[error("the tip is stale: {reason}")]
    Stale {
        /// Which steps.
        reason: String,
    },
    /// Another properly signed tip at the step of an accepted one.
    #[error("equivocation: {reason}")]
    Equivocation {
        /// Both commitments, and where the evidence is.
        reason: String,
    },
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
        let reason = format!("there are {count} updates instead of {}", plan.total_updates);
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
    let refused = |reason: String| AuthorityError::Authentication { reason };
    let genesis = genesis(&plan.genesis).map_err(|error| refused(error.to_string()))?;
    if genesis.commitment().to_bytes() != trust.genesis.0 {
        return Err(refused("the genesis descriptor is not the trusted one".to_owned()));
    }
    let commitment = commitment(&plan.tip.commitment).map_err(|error| refused(error.to_string()))?;
    let signatures = tip.signatures.iter().map(signature).collect::<Result<Vec<_>, _>>().map_err(refused)?;
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
            Err(_) => return Err(refused(format!("the signature of publisher {} is wrong", carried.publisher))),
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

/// Checks one update of a plan: its position, its numbers, its commitment, and that it continues `previous`, the update
/// before it, if that is known.
///
/// # Errors
/// What is wrong, in words.
pub fn check_update(
    plan: &Plan,
    genesis: &Hash,
    index: u64,
    update: &Update,
    previous: Option<&Checkpoint>,
) -> Result<(), String> {
    let here = &update.checkpoint;
    let is_last = index.checked_add(1) == Some(plan.total_updates);
    if index >= plan.total_updates {
        return Err(format!("the plan has {} updates only", plan.total_updates));
    }
    if index == 0 && *here != plan.snapshot.checkpoint {
        return Err("it is not the plan's snapshot".to_owned());
    }
    if is_last && *here != plan.tip {
        return Err("it is not the plan's tip".to_owned());
    }
    if plan.snapshot.checkpoint.step.checked_add(index) != Some(here.step) {
        return Err(format!("its step is {}", here.step));
    }
    check_heights(plan, index, here, previous)?;
    check_attachments(update, is_last)?;
    let expected = match previous {
        _ if here.step == 1 => Some(*genesis),
        Some(previous) => Some(previous.commitment),
        None => None,
    };
    if expected.is_some_and(|expected| expected != update.previous_commitment) {
        return Err("its previous_commitment is not that of the step before".to_owned());
    }
    let previous = commitment(&update.previous_commitment).map_err(|error| error.to_string())?;
    let computed = rpp_proofs::next_commitment(&previous, &here.into());
    if computed.to_bytes() != here.commitment.0 {
        return Err(format!("its contents make the commitment {computed}"));
    }
    Ok(())
}

fn check_heights(plan: &Plan, index: u64, here: &Checkpoint, previous: Option<&Checkpoint>) -> Result<(), String> {
    let lowest = match previous {
        Some(previous) => previous.height.saturating_add(1),
        None => plan.snapshot.checkpoint.height.saturating_add(index),
    };
    let highest = plan.tip.height.saturating_sub(plan.total_updates - 1 - index);
    if (lowest..=highest).contains(&here.height) {
        Ok(())
    } else {
        Err(format!("its height is {}, it must be {lowest} to {highest}", here.height))
    }
}

fn check_attachments(update: &Update, is_last: bool) -> Result<(), String> {
    match &update.recursive_proof {
        None if is_last => return Err("the last update carries no proof".to_owned()),
        Some(_) if !is_last => return Err("a proof belongs on the last update only".to_owned()),
        Some(proof) if proof.len() > MAX_RECURSIVE_PROOF_BYTES => {
            return Err(format!("a proof of {} bytes: at most {MAX_RECURSIVE_PROOF_BYTES}", proof.len()));
        }
        _ => {}
    }
    if update.signatures.len() > MAX_SIGNATURES {
        return Err(format!("{} signatures: at most {MAX_SIGNATURES}", update.signatures.len()));
    }
    update.signatures.iter().try_for_each(|each| signature(each).map(drop))
}

/// Converts a signature of a message to the type of the proofs.
pub(crate) fn signature(signature: &Signature) -> Result<CheckpointSignature, String> {
    let bytes: [u8; 64] = signature
        .signature
        .as_ref()
        .try_into()
        .map_err(|_| format!("a signature of {} bytes instead of 64", signature.signature.len()))?;
    Ok(CheckpointSignature { publisher: signature.publisher.0, signature: bytes })
}

impl From<&CheckpointSignature> for Signature {
    fn from(signature: &CheckpointSignature) -> Self {
        Self { publisher: Hash(signature.publisher), signature: bytes::Bytes::copy_from_slice(&signature.signature) }
    }
}
