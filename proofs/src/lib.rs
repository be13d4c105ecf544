//! The commitment chain and its recursive proof.

mod chain;
mod circuit;
mod commitment;
mod cpu;
mod encoding;
mod field;
mod genesis;
mod params;
mod poseidon;
mod prover;
mod signature;
mod state;
mod verifier;

pub use chain::{Chain, ChainError, Checkpoint, Tip, next_commitment};
pub use commitment::{Commitment, NotCanonical, ParseCommitmentError};
pub use cpu::{CpuError, check_cpu};
pub use encoding::{EncodingError, PROOF_BYTES};
pub use genesis::{Genesis, GenesisError, MAX_CHAIN_ID, MAX_PUBLISHERS};
pub use params::{SetupError, VERIFIER_KEY_SHA256};
pub use prover::{Prover, ProverError};
pub use signature::{CheckpointSignature, MAX_SIGNATURES, SignatureError, Signer, verify_signatures};
pub use state::{Link, StateError};
pub use verifier::{ProofError, Verifier};

/// The proof system and its version, as a plan names it. Any change of library or circuit gets another name.
pub const PROOF_SYSTEM: &str = "nova-pallas-1";
