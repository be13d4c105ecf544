//! One update of a plan: its place, its numbers, what it carries, and its commitment.

use rpp_proofs::{CheckpointSignature, Commitment, NotCanonical};

use crate::{
    limits::{MAX_RECURSIVE_PROOF_BYTES, MAX_SIGNATURES},
    messages::{Checkpoint, Plan, Signature, Update},
    plan::commitment,
    types::Hash,
};

/// Why an update does not belong to its plan's chain. Whoever sent it is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// Some updates are missing, or there are too many.
    #[error("there are {found} updates instead of {total}")]
    Missing {
        /// How many there are.
        found: u64,
        /// How many the plan has.
        total: u64,
    },
    /// Its index is beyond the plan's updates.
    #[error("the plan has {total} updates only")]
    Beyond {
        /// How many the plan has.
        total: u64,
    },
    /// The first update is not the plan's snapshot.
    #[error("it is not the plan's snapshot")]
    NotSnapshot,
    /// The last update is not the plan's tip.
    #[error("it is not the plan's tip")]
    NotTip,
    /// Its step does not follow from its index.
    #[error("its step is {step}")]
    Step {
        /// The step that it names.
        step: u64,
    },
    /// Its height leaves no room for the updates before or after it.
    #[error("its height is {height}, it must be {lowest} to {highest}")]
    Height {
        /// The height that it names.
        height: u64,
        /// The lowest that is possible.
        lowest: u64,
        /// The highest that is possible.
        highest: u64,
    },
    /// The last update has no recursive proof.
    #[error("the last update carries no proof")]
    NoProof,
    /// An update before the last one has a recursive proof.
    #[error("a proof belongs on the last update only")]
    EarlyProof,
    /// The recursive proof is longer than any valid one.
    #[error("a proof of {bytes} bytes: at most {MAX_RECURSIVE_PROOF_BYTES}")]
    ProofBytes {
        /// Its length.
        bytes: usize,
    },
    /// It has more signatures than a chain may have publishers.
    #[error("{count} signatures: at most {MAX_SIGNATURES}")]
    Signatures {
        /// How many.
        count: usize,
    },
    /// A signature is malformed.
    #[error(transparent)]
    Signature(#[from] SignatureBytes),
    /// It does not continue the update before it, or the genesis.
    #[error("its previous_commitment is not that of the step before")]
    Previous,
    /// A commitment is malformed.
    #[error(transparent)]
    Commitment(#[from] NotCanonical),
    /// Its commitment is not that of its contents.
    #[error("its contents make the commitment {computed}")]
    Contents {
        /// The commitment of its contents.
        computed: Commitment,
    },
}

/// A signature does not have the 64 bytes that each signature has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signature of {bytes} bytes instead of 64")]
pub struct SignatureBytes {
    /// How many it has.
    bytes: usize,
}

/// Checks one update of a plan: its position, its numbers, its commitment, and that it continues `previous`, the update
/// before it, if that is known.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_update(
    plan: &Plan,
    genesis: &Hash,
    index: u64,
    update: &Update,
    previous: Option<&Checkpoint>,
) -> Result<(), UpdateError> {
    let here = &update.checkpoint;
    let is_last = index.checked_add(1) == Some(plan.total_updates);
    if index >= plan.total_updates {
        return Err(UpdateError::Beyond { total: plan.total_updates });
    }
    if index == 0 && *here != plan.snapshot.checkpoint {
        return Err(UpdateError::NotSnapshot);
    }
    if is_last && *here != plan.tip {
        return Err(UpdateError::NotTip);
    }
    if plan.snapshot.checkpoint.step.checked_add(index) != Some(here.step) {
        return Err(UpdateError::Step { step: here.step });
    }
    check_heights(plan, index, here, previous)?;
    check_attachments(update, is_last)?;
    let expected = match previous {
        _ if here.step == 1 => Some(*genesis),
        Some(previous) => Some(previous.commitment),
        None => None,
    };
    if expected.is_some_and(|expected| expected != update.previous_commitment) {
        return Err(UpdateError::Previous);
    }
    let previous = commitment(&update.previous_commitment)?;
    let computed = rpp_proofs::next_commitment(&previous, &here.into());
    if computed.to_bytes() != here.commitment.0 {
        return Err(UpdateError::Contents { computed });
    }
    Ok(())
}

fn check_heights(plan: &Plan, index: u64, here: &Checkpoint, previous: Option<&Checkpoint>) -> Result<(), UpdateError> {
    let lowest = match previous {
        Some(previous) => previous.height.saturating_add(1),
        None => plan.snapshot.checkpoint.height.saturating_add(index),
    };
    let highest = plan.tip.height.saturating_sub(plan.total_updates - 1 - index);
    if (lowest..=highest).contains(&here.height) {
        Ok(())
    } else {
        Err(UpdateError::Height { height: here.height, lowest, highest })
    }
}

fn check_attachments(update: &Update, is_last: bool) -> Result<(), UpdateError> {
    match &update.recursive_proof {
        None if is_last => return Err(UpdateError::NoProof),
        Some(_) if !is_last => return Err(UpdateError::EarlyProof),
        Some(proof) if proof.len() > MAX_RECURSIVE_PROOF_BYTES => {
            return Err(UpdateError::ProofBytes { bytes: proof.len() });
        }
        _ => {}
    }
    if update.signatures.len() > MAX_SIGNATURES {
        return Err(UpdateError::Signatures { count: update.signatures.len() });
    }
    update.signatures.iter().try_for_each(|each| Ok(signature(each).map(drop)?))
}

/// Converts a signature of a message to the type of the proofs.
pub(crate) fn signature(signature: &Signature) -> Result<CheckpointSignature, SignatureBytes> {
    let bytes: [u8; 64] =
        signature.signature.as_ref().try_into().map_err(|_| SignatureBytes { bytes: signature.signature.len() })?;
    Ok(CheckpointSignature { publisher: signature.publisher.0, signature: bytes })
}
