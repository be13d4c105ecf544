//! The commitment chain and its recursive proof.
//!
//! A publisher commits to one snapshot after another, and each commitment hashes the one before it. A consumer knows a
//! single string, the *genesis commitment*. From one proof of 10,624 bytes it learns that a tip was reached from that
//! genesis in `n` valid steps, however large `n` is. From signatures it learns that the publishers mean this tip.
//!
//! ```
//! use rpp_proofs::{Chain, Checkpoint, Genesis, Signer, verify_signatures};
//!
//! // The publisher.
//! let signer = Signer::generate();
//! let genesis = Genesis::new("example".into(), vec![signer.public()], 1)?;
//! let anchor = genesis.commitment(); // its consumers configure this
//! let checkpoint = Checkpoint { step: 1, height: 10, block_hash: [1; 32], state_root: [2; 32], payload_bytes: 3 };
//! let mut chain = Chain::genesis(&genesis);
//! chain.extend(&checkpoint)?;
//! let tip = chain.tip();
//! let signature = signer.sign(&anchor, &tip.commitment, tip.height, tip.step);
//!
//! // A consumer, told descriptor, checkpoint and signature by a stranger. Cheap checks first.
//! genesis.check(&anchor)?;
//! verify_signatures(&genesis, &tip.commitment, tip.height, tip.step, &[signature], &[])?;
//! let mut told = Chain::at(0, 0, anchor);
//! assert_eq!(told.extend(&checkpoint)?, tip.commitment);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With the proof, which takes seconds to make ([`Prover`]) and a tenth of a second to verify ([`Verifier`]):
//!
//! ```no_run
//! # use rpp_proofs::{Checkpoint, Genesis, Prover, Verifier};
//! # fn example(genesis: Genesis, checkpoint: Checkpoint) -> Result<(), Box<dyn std::error::Error>> {
//! let mut prover = Prover::open("data/snapshots/chain".as_ref(), genesis.clone())?;
//! let tip = prover.extend(&checkpoint)?;
//! let proof = prover.prove()?;
//! Verifier::shared().verify(&genesis, &tip, &proof)?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is shown, and by what
//!
//! | claim | shown by |
//! |---|---|
//! | this descriptor is the one I trust | [`Genesis::check`] |
//! | these bytes are the snapshot of a checkpoint | not here: BLAKE3 against `state_root`, and `payload_bytes` |
//! | this checkpoint is in the chain that ends at the tip | hashing the updates from it to the tip again ([`Chain`]) |
//! | the tip is `step` links after genesis, heights rising strictly | the proof ([`Verifier`]) |
//! | the publishers mean this tip | their signatures ([`verify_signatures`]) |
//!
//! **The proof alone shows no authority.** Anyone can invent a chain from a known genesis and prove it. Nor do signatures
//! alone show that there is a chain. Both are required.
//!
//! Nothing here shows:
//!
//! - that the chain passes through a commitment that a consumer accepted earlier. To notice a rollback or a fork, a
//!   consumer keeps what it accepted and hashes the updates since;
//! - that the state is right. `state_root` and `block_hash` are what the publishers say; nothing is executed;
//! - anything about earlier checkpoints, except their number and that their heights rose. The prover chooses their
//!   inputs: a link in the middle need not even be the hash of a checkpoint;
//! - that the tip is the newest.
//!
//! # The trust anchor
//!
//! [`Genesis`] is a descriptor: chain id, publishers' Ed25519 keys, threshold. Its canonical JSON is hashed with
//! BLAKE3, and the result with Poseidon. This gives `C_0`, one string that pins all three. It has to reach a consumer
//! over a channel that the consumer trusts, such as the publisher's own site or a release. Everything else may come
//! from strangers. The proof system needs no ceremony and has no secret: its parameters are derived from fixed labels,
//! and [`VERIFIER_KEY_SHA256`] pins the result.
//!
//! # Construction
//!
//! The chain is folded step by step with Nova (Kothapalli, Setty, Tzialla: *Nova: Recursive Zero-Knowledge Arguments from
//! Folding Schemes*, CRYPTO 2022; for the two-curve cycle as amended by Nguyen, Boneh, Setty, 2023) and compressed with
//! Spartan (Setty, CRYPTO 2020) over inner-product commitments, on the Pallas/Vesta cycle, all as implemented by the crate
//! `nova-snark`, whose exact version is pinned. The hash is its Poseidon (Grassi and others, USENIX Security 2021) of six
//! elements. Soundness rests on discrete logarithms in these curves (about 126 bits, not against a quantum computer) and,
//! as everywhere in recursion, on Fiat-Shamir with concrete hashes.
//!
//! The step circuit: `z = [commitment, height]`, one Poseidon, and `height + 1 + d = height'` with `d` in 64 bits. 10,221 and
//! 10,349 constraints with the library's own on the two curves.
//!
//! The library is used unchanged except for one part. Multi-scalar multiplications of thousands of points take most of
//! the time of a step and of a verification, and are computed here (Pippenger's method; affine additions that share
//! inversions). Proofs and keys are the same, and tests compare the results with the library's.
//!
//! # Untrusted bytes
//!
//! [`Verifier::verify`], [`verify_signatures`], [`Genesis::new`] and [`Commitment::from_bytes`] accept any input. None
//! of them panics or allocates beyond a constant. A proof is checked in this order: its length; every length field
//! inside; that each number and point has its canonical encoding; what it claims; and only then the argument. The last
//! runs inside `catch_unwind`, so a program that verifies must not be built with `panic = "abort"`.
//!
//! # Limits
//!
//! | | |
//! |---|---|
//! | proof | [`PROOF_BYTES`], exactly |
//! | publishers in a genesis | [`MAX_PUBLISHERS`] |
//! | chain id | [`MAX_CHAIN_ID`] characters |
//! | signatures that are checked | [`MAX_SIGNATURES`] |
//!
//! # Processor
//!
//! On x86-64 the curve library uses BMI2 and ADX without checking for them: call [`check_cpu`] at start.

mod chain;
mod circuit;
mod commitment;
mod cpu;
mod curve;
mod encoding;
mod field;
mod generators;
mod genesis;
mod limits;
mod msm;
mod oracle;
mod params;
mod poseidon;
mod prover;
mod shapes;
mod signature;
mod spartan;
mod state;
mod threads;
mod verifier;

pub use chain::{Chain, ChainError, Checkpoint, Tip, next_commitment};
pub use commitment::{Commitment, NotCanonical, ParseCommitmentError};
pub use cpu::{CpuError, check_cpu};
pub use encoding::EncodingError;
pub use genesis::{Genesis, GenesisError};
pub use limits::{MAX_CHAIN_ID, MAX_PUBLISHERS, MAX_SIGNATURES, PROOF_BYTES};
pub use params::{SetupError, VERIFIER_KEY_SHA256};
pub use prover::{Prover, ProverError};
pub use signature::{CheckpointSignature, SignatureError, Signer, verify_signatures};
pub use state::{Link, StateError};
pub use verifier::{ProofError, Verifier};

/// The table of constraints, computed anew: for `examples/tables.rs`.
///
/// # Errors
/// When the parameters cannot be computed.
#[doc(hidden)]
pub fn table_of_constraints() -> Result<Vec<u8>, SetupError> {
    params::table_of_constraints()
}

/// The name of the proof system and its version in a plan. Any change of library or circuit gets another name.
pub const PROOF_SYSTEM: &str = "nova-pallas-1";

/// The example of the README runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
