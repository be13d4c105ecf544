//! The parameters of the proof system: transparent (no ceremony, no secret), deterministic, computed once per process
//! at their first use.
//!
//! Prover and verifier have separate parameters. A process that only verifies computes what both need, keeps the
//! verifier's key and frees the rest.

use std::sync::{Arc, OnceLock};

use nova_snark::{
    nova::{CompressedSNARK, ProverKey, PublicParams, RecursiveSNARK, VerifierKey},
    provider::ipa_pc::EvaluationEngine,
    spartan::snark::RelaxedR1CSSNARK,
    traits::snark::RelaxedR1CSSNARKTrait,
};
use sha2::{Digest, Sha256};

use crate::{
    circuit::ChainStep,
    cpu::{CpuError, check_cpu},
    curve::{Pallas as Primary, Vesta as Secondary},
    threads,
};

type Spartan<E> = RelaxedR1CSSNARK<E, EvaluationEngine<E>>;

/// The parameters of folding.
pub(crate) type Public = PublicParams<Primary, Secondary, ChainStep>;
/// The chain folded so far; the prover's state.
pub(crate) type Folded = RecursiveSNARK<Primary, Secondary, ChainStep>;
/// The proof.
pub(crate) type Compressed = CompressedSNARK<Primary, Secondary, ChainStep, Spartan<Primary>, Spartan<Secondary>>;
/// The parameters of verifying.
pub(crate) type Key = VerifierKey<Primary, Secondary, ChainStep, Spartan<Primary>, Spartan<Secondary>>;
type CompressingKey = ProverKey<Primary, Secondary, ChainStep, Spartan<Primary>, Spartan<Secondary>>;

/// The SHA-256 of the verifier's key in nova-snark's encoding, in hex.
///
/// It pins the circuit, the curves, the library's version and its features: with different keys, neither side accepts
/// the other's proofs. So a change of this constant is also a change of [`crate::PROOF_SYSTEM`].
pub const VERIFIER_KEY_SHA256: &str = "b8716748a3852d0ccb93c2f2cbb6284eb9d562bd17f892228cd1491488a9325b";

/// The parameters could not be computed. The fault is in this program or machine, not in any proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The processor cannot run the curve library.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// The operating system starts no more threads. Asked again later, it may.
    #[error(
        "the threads that check proofs cannot be started ({reason}): allow this process more, with TasksMax in its unit or \
         `ulimit -u`"
    )]
    Threads {
        /// The system's words.
        reason: String,
    },
    /// The library refused the circuit.
    #[error("the proof system's parameters could not be made: {0}")]
    Library(#[from] nova_snark::errors::NovaError),
    /// The parameters differ from the pinned ones: another version or feature of the library, or a faulty machine.
    #[error("the verifier's key has the SHA-256 {found}; it must be {VERIFIER_KEY_SHA256}")]
    OtherKey {
        /// The hash of the key that this process computed.
        found: String,
    },
}

/// What a publishing process keeps.
pub(crate) struct Proving {
    pub(crate) public: Public,
    pub(crate) compressing: CompressingKey,
}

static PROVING: OnceLock<Result<Arc<Proving>, SetupError>> = OnceLock::new();
static VERIFYING: OnceLock<Result<Arc<Key>, SetupError>> = OnceLock::new();

/// The prover's parameters. The first call computes them together with the verifier's.
pub(crate) fn proving() -> Result<Arc<Proving>, SetupError> {
    if let Some(made) = PROVING.get() {
        return made.clone();
    }
    // Not in the closure: what cannot be started now is not kept for good.
    threads::ready()?;
    PROVING
        .get_or_init(|| {
            let (proving, key) = make()?;
            // If a verifier came first, it keeps its own key, which is equal.
            let _ = VERIFYING.set(Ok(Arc::new(key)));
            Ok(Arc::new(proving))
        })
        .clone()
}

/// The verifier's key. The first call computes it and frees what only a prover needs.
pub(crate) fn verifying() -> Result<Arc<Key>, SetupError> {
    if let Some(made) = VERIFYING.get() {
        return made.clone();
    }
    threads::ready()?;
    VERIFYING.get_or_init(|| make().map(|(_, key)| Arc::new(key))).clone()
}

fn make() -> Result<(Proving, Key), SetupError> {
    check_cpu()?;
    let (primary, secondary) = (Spartan::<Primary>::ck_floor(), Spartan::<Secondary>::ck_floor());
    let public = Public::setup(&ChainStep::shape(), &*primary, &*secondary)?;
    let (compressing, key) = Compressed::setup(&public)?;
    let found = fingerprint(&key)?;
    if found != VERIFIER_KEY_SHA256 {
        return Err(SetupError::OtherKey { found });
    }
    Ok((Proving { public, compressing }, key))
}

fn fingerprint(key: &Key) -> Result<String, SetupError> {
    let mut hasher = Hasher(Sha256::new());
    bincode::serde::encode_into_std_write(key, &mut hasher, bincode::config::legacy())
        .map_err(|_| nova_snark::errors::NovaError::DigestError)?;
    Ok(hex::encode(hasher.0.finalize()))
}

/// Hashes what is written to it, so memory never holds a second copy of the key.
struct Hasher(Sha256);

impl std::io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_key_is_the_pinned_one() {
        let key = verifying().unwrap();
        assert_eq!(fingerprint(&key).unwrap(), VERIFIER_KEY_SHA256);
        assert_eq!(VERIFIER_KEY_SHA256, "b8716748a3852d0ccb93c2f2cbb6284eb9d562bd17f892228cd1491488a9325b");
    }

    /// Both circuits are padded to 2^14. The lengths in a proof depend on that.
    #[test]
    fn the_circuits_have_their_sizes() {
        assert_eq!(proving().unwrap().public.num_constraints(), (10_221, 10_349));
    }
}
