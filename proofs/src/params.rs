//! The parameters of the proof system: transparent (no ceremony, no secret), deterministic, made once per process at their
//! first use.
//!
//! Prover and verifier have separate parameters. A prover computes its own with the library. A verifier's key is built from
//! tables, which takes less time and memory.

use std::sync::{Arc, OnceLock};

use ff::PrimeField;
use halo2curves::serde::Repr;
use nova_snark::{
    nova::{CompressedSNARK, ProverKey, PublicParams, RecursiveSNARK, VerifierKey},
    provider::pasta::{pallas, vesta},
    traits::{Engine, snark::RelaxedR1CSSNARKTrait},
};
use sha2::{Digest, Sha256};

use crate::{
    circuit::{ARITY, ChainStep},
    cpu::{CpuError, check_cpu},
    curve::{Pallas as Primary, Vesta as Secondary},
    field::Scalar,
    generators::{self, Half, LABEL},
    oracle::Constants,
    shapes,
    spartan::Spartan,
    threads,
};

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

/// The digest of the parameters of folding, as the library computes it: little-endian, in hex. Every proof depends on it.
const PUBLIC_DIGEST: &str = "48506fe776a3c4d5957444fe130942861270fc9c5ec7c23330553303e6090900";

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
    /// The tables in this program do not give the pinned parameters: the program's file was changed, or the machine is faulty.
    #[error("the proof system's tables in this program are not as they were built ({reason}): install it again")]
    Tables {
        /// What was found.
        reason: String,
    },
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

/// The prover's parameters. The first call computes them.
pub(crate) fn proving() -> Result<Arc<Proving>, SetupError> {
    if let Some(made) = PROVING.get() {
        return made.clone();
    }
    // Not in the closure: what cannot be started now is not kept for good.
    threads::ready()?;
    PROVING.get_or_init(|| compute().map(Arc::new)).clone()
}

/// The verifier's key. The first call builds it from the tables.
pub(crate) fn verifying() -> Result<Arc<Key>, SetupError> {
    if let Some(made) = VERIFYING.get() {
        return made.clone();
    }
    threads::ready()?;
    VERIFYING.get_or_init(|| build().map(Arc::new)).clone()
}

/// The prover's parameters, computed with the library. The verifier's key that comes with them must be the pinned one.
fn compute() -> Result<Proving, SetupError> {
    check_cpu()?;
    let (primary, secondary) = (Spartan::<Primary>::ck_floor(), Spartan::<Secondary>::ck_floor());
    let public = Public::setup(&ChainStep::shape(), &*primary, &*secondary)?;
    let (compressing, key) = Compressed::setup(&public)?;
    let found = fingerprint(&key)?;
    if found != VERIFIER_KEY_SHA256 {
        return Err(SetupError::OtherKey { found });
    }
    Ok(Proving { public, compressing })
}

/// The verifier's key from the tables. Its three parts have pinned digests, so the whole key need not be hashed.
fn build() -> Result<Key, SetupError> {
    check_cpu()?;
    let damaged = |reason: &str| SetupError::Tables { reason: reason.to_owned() };
    let digest = hex::decode(PUBLIC_DIGEST).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let digest: Option<Scalar> = digest.and_then(|bytes| Scalar::from_repr(Repr::from(bytes)).into());
    let digest = digest.ok_or_else(|| damaged("the pinned digest is no number"))?;
    let no_bases = || damaged("the table of bases");
    let blinding_primary = generators::known::<pallas::Affine>(Half::Pallas, LABEL, 1).ok_or_else(no_bases)?;
    let blinding_secondary = generators::known::<vesta::Affine>(Half::Vesta, LABEL, 1).ok_or_else(no_bases)?;
    // The fields of the library's key in their order. After the digest the two circuits' keys follow, of which nothing is
    // read: see `crate::spartan`.
    let fields = (
        ARITY,
        Constants::<<Primary as Engine>::Base>::default(),
        Constants::<<Secondary as Engine>::Base>::default(),
        digest,
        blinding_primary[0],
        blinding_secondary[0],
    );
    let config = bincode::config::legacy();
    let bytes = bincode::serde::encode_to_vec(&fields, config).map_err(|error| damaged(&error.to_string()))?;
    let (key, read): (Key, usize) =
        bincode::serde::decode_from_slice(&bytes, config).map_err(|error| damaged(&error.to_string()))?;
    if read == bytes.len() { Ok(key) } else { Err(damaged("the table of the oracle")) }
}

/// See [`crate::shapes`].
pub(crate) fn table_of_constraints() -> Result<Vec<u8>, SetupError> {
    let too_large = || SetupError::Tables { reason: "the constraints do not fit the table's format".into() };
    shapes::table(&proving()?.public).ok_or_else(too_large)
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
    fn the_verifiers_key_from_the_tables_is_the_pinned_one() {
        let key = verifying().unwrap();
        assert_eq!(fingerprint(&key).unwrap(), VERIFIER_KEY_SHA256);
        assert_eq!(VERIFIER_KEY_SHA256, "b8716748a3852d0ccb93c2f2cbb6284eb9d562bd17f892228cd1491488a9325b");
    }

    #[test]
    fn the_pinned_digest_is_that_of_the_librarys_parameters() {
        assert_eq!(hex::encode(proving().unwrap().public.digest().to_repr().inner()), PUBLIC_DIGEST);
    }

    /// Both circuits are padded to 2^14. The lengths in a proof depend on that.
    #[test]
    fn the_circuits_have_their_sizes() {
        assert_eq!(proving().unwrap().public.num_constraints(), (10_221, 10_349));
    }
}
