//! Replaces the proof system in tests that are not about it.

use rpp_p2p::{Checkpoint, light_client::RecursiveProofVerifier};

use super::PROOF;

/// Accepts only [`PROOF`].
pub struct FakeVerifier;

impl RecursiveProofVerifier for FakeVerifier {
    fn verify(&self, _: &rpp_proofs::Genesis, _: &Checkpoint, proof: &[u8]) -> Result<(), rpp_proofs::ProofError> {
        if proof == PROOF { Ok(()) } else { Err(rpp_proofs::ProofError::Invalid("not the one".to_owned())) }
    }
}
