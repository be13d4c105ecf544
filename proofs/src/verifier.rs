//! Verifies a proof from an untrusted peer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ff::PrimeField;
use nova_snark::errors::NovaError;

use crate::{
    chain::Tip,
    encoding::{self, EncodingError},
    field::Scalar,
    genesis::Genesis,
    params::{self, Compressed, SetupError},
};

/// Verifies proofs. Its parameters are computed once per process, at their first use (about 0.1 s), and shared.
///
/// Blocking: call it on a thread that may block. It uses rayon's thread pool.
#[derive(Debug)]
pub struct Verifier(());

/// A proof does not show what it was sent for. An error is the sender's fault unless [`ProofError::is_local`] says that it is
/// not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The bytes are not a proof.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// Genesis has no proof, and a chain cannot have so many steps on this machine.
    #[error("no proof has {step} steps")]
    Step {
        /// The step of the tip.
        step: u64,
    },
    /// The proof is about another commitment.
    #[error("the proof ends in another commitment than the tip's")]
    Commitment,
    /// The proof is about another height.
    #[error("the proof ends at another height than the tip's")]
    Height,
    /// The proof does not verify: another genesis, another number of steps, or not a proof at all.
    #[error("the proof does not verify: {0}")]
    Invalid(String),
    /// The check itself panicked. That shows nothing about the proof.
    #[error("the proof could not be checked: a fault of this program or machine ended the check; the log has it")]
    Panicked,
    /// The parameters could not be computed, or threads not be started. That shows nothing about the proof.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

impl ProofError {
    /// Whether this program or machine is at fault, and not the proof's sender.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Setup(_) | Self::Panicked)
    }
}

impl Verifier {
    /// The process's verifier. This call is cheap: the first [`Verifier::prepare`] or [`Verifier::verify`] computes the
    /// parameters.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: Verifier = Verifier(());
        &SHARED
    }

    /// Computes the parameters now, so that the first proof does not wait for them. Blocks for about 0.1 s.
    ///
    /// # Errors
    /// When they cannot be computed on this machine.
    pub fn prepare(&self) -> Result<(), SetupError> {
        params::verifying().map(drop)
    }

    /// Checks that some chain leads from `genesis` to `tip` in `tip.step` steps with rising heights.
    ///
    /// It does not say who made that chain: see [`crate::verify_signatures`]. `tip.commitment` must be one that the caller
    /// computed from the tip's checkpoint.
    ///
    /// # Errors
    /// See [`ProofError`]. No input makes this panic or allocate more than a constant.
    pub fn verify(&self, genesis: &Genesis, tip: &Tip, proof: &[u8]) -> Result<(), ProofError> {
        let steps = usize::try_from(tip.step).ok().filter(|steps| *steps > 0);
        let steps = steps.ok_or(ProofError::Step { step: tip.step })?;
        let decoded = decode(proof)?;
        check_claim(tip, proof)?;
        check_argument(genesis, tip, steps, &decoded)
    }
}

/// The claim is at the end of the proof in canonical encoding, so it is compared before anything expensive.
fn check_claim(tip: &Tip, proof: &[u8]) -> Result<(), ProofError> {
    let (commitment, height) = encoding::claimed(proof).ok_or(EncodingError::Length { found: proof.len() })?;
    if commitment != tip.commitment.as_bytes() {
        return Err(ProofError::Commitment);
    }
    if height.as_slice() != Scalar::from(tip.height).to_repr().as_ref() {
        return Err(ProofError::Height);
    }
    Ok(())
}

fn decode(proof: &[u8]) -> Result<Compressed, ProofError> {
    Ok(catch_unwind(|| encoding::decode(proof)).map_err(|_| ProofError::Panicked)??)
}

fn check_argument(genesis: &Genesis, tip: &Tip, steps: usize, proof: &Compressed) -> Result<(), ProofError> {
    let key = params::verifying()?;
    let start = [genesis.commitment().scalar(), Scalar::zero()];
    let verify = AssertUnwindSafe(|| proof.verify(&key, steps, &start));
    let end = catch_unwind(verify).map_err(|_| ProofError::Panicked)?.map_err(invalid)?;
    match end.as_slice() {
        [commitment, _] if *commitment != tip.commitment.scalar() => Err(ProofError::Commitment),
        [_, height] if *height != Scalar::from(tip.height) => Err(ProofError::Height),
        [_, _] => Ok(()),
        _ => Err(ProofError::Invalid("another number of outputs".into())),
    }
}

fn invalid(error: NovaError) -> ProofError {
    ProofError::Invalid(match error {
        NovaError::ProofVerifyError { reason } => reason,
        other => other.to_string(),
    })
}
