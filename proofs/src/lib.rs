//! The commitment chain and its recursive proof.

mod chain;
mod commitment;
mod cpu;
mod field;
mod genesis;
mod poseidon;
mod signature;

pub use chain::{Chain, ChainError, Checkpoint, Tip, next_commitment};
pub use commitment::{Commitment, NotCanonical, ParseCommitmentError};
pub use cpu::{CpuError, check_cpu};
pub use genesis::{Genesis, GenesisError, MAX_CHAIN_ID, MAX_PUBLISHERS};
pub use signature::{CheckpointSignature, MAX_SIGNATURES, SignatureError, Signer, verify_signatures};

/// The proof system and its version, as a plan names it. Any change of library or circuit gets another name.
pub const PROOF_SYSTEM: &str = "nova-pallas-1";
