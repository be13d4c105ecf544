//! Publishers' signatures over a tip. They show the authority that a proof alone cannot show.

use std::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use rand::TryRngCore as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::limits::MAX_SIGNATURES;
use crate::{commitment::Commitment, genesis::Genesis};

/// Separates a checkpoint's signature from any other use of the key.
const CONTEXT: &[u8; 16] = b"rpp/checkpoint/1";

/// One publisher's signature over a tip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointSignature {
    /// The Ed25519 verifying key.
    pub publisher: [u8; 32],
    /// The signature, `R` and `s`.
    pub signature: [u8; 64],
}

/// A publisher's signing key; wiped from memory when dropped.
pub struct Signer(SigningKey);

impl Signer {
    /// From the 32 secret bytes (RFC 8032's seed), which are wiped.
    #[must_use]
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        let signer = Self(SigningKey::from_bytes(&seed));
        seed.zeroize();
        signer
    }

    /// A fresh key from the system's randomness.
    #[must_use]
    pub fn generate() -> Self {
        let mut seed = [0; 32];
        let mut rng = rand::rngs::OsRng.unwrap_err();
        rand::RngCore::fill_bytes(&mut rng, &mut seed);
        let signer = Self::from_seed(seed);
        seed.zeroize();
        signer
    }

    /// The secret bytes, for the key file; wiped when dropped.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The verifying key, as a genesis names it.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs a tip of the chain with this genesis.
    #[must_use]
    pub fn sign(&self, genesis: &Commitment, tip: &Commitment, height: u64, step: u64) -> CheckpointSignature {
        let signature = self.0.sign(&message(genesis, tip, height, step)).to_bytes();
        CheckpointSignature { publisher: self.public(), signature }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", hex::encode(self.public()))
    }
}

/// A tip is not signed by enough publishers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// There are too many signatures.
    #[error("{found} signatures; at most {MAX_SIGNATURES} are looked at")]
    TooMany {
        /// The number of signatures.
        found: usize,
    },
    /// There are fewer valid signatures than the genesis asks for.
    #[error(
        "{valid} of the {threshold} signatures needed are valid \
         (wrong: {wrong}, by unknown publishers: {unknown}, by revoked ones: {revoked}, repeated: {repeated})"
    )]
    BelowThreshold {
        /// Number of distinct publishers whose signature is valid.
        valid: usize,
        /// Number of valid signatures that the genesis asks for.
        threshold: u32,
        /// Signatures by a publisher of the genesis that do not verify.
        wrong: usize,
        /// Signatures by keys that the genesis does not name.
        unknown: usize,
        /// Signatures by keys that were revoked.
        revoked: usize,
        /// Further signatures by a publisher that was already counted.
        repeated: usize,
    },
}

/// Counts the publishers of `genesis` with a valid signature over this tip. Each counts once; unknown and revoked ones
/// never count.
///
/// # Errors
/// When there are fewer than the threshold. The error says what was wrong with the others.
pub fn verify_signatures(
    genesis: &Genesis,
    tip: &Commitment,
    height: u64,
    step: u64,
    signatures: &[CheckpointSignature],
    revoked: &[[u8; 32]],
) -> Result<usize, SignatureError> {
    if signatures.len() > MAX_SIGNATURES {
        return Err(SignatureError::TooMany { found: signatures.len() });
    }
    let message = message(&genesis.commitment(), tip, height, step);
    let mut counted = Vec::with_capacity(genesis.publishers().len());
    let (mut wrong, mut unknown, mut barred, mut repeated) = (0, 0, 0, 0);
    for signature in signatures {
        let publisher = &signature.publisher;
        if genesis.publishers().binary_search(publisher).is_err() {
            unknown += 1;
        } else if revoked.contains(publisher) {
            barred += 1;
        } else if counted.contains(publisher) {
            repeated += 1;
        } else if is_valid(signature, &message) {
            counted.push(*publisher);
        } else {
            wrong += 1;
        }
    }
    let (valid, threshold) = (counted.len(), genesis.threshold());
    if u32::try_from(valid).is_ok_and(|valid| valid < threshold) {
        return Err(SignatureError::BelowThreshold { valid, threshold, wrong, unknown, revoked: barred, repeated });
    }
    Ok(valid)
}

fn is_valid(signature: &CheckpointSignature, message: &[u8; 96]) -> bool {
    VerifyingKey::from_bytes(&signature.publisher)
        .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(&signature.signature)).is_ok())
}

/// The 96 bytes that are signed.
fn message(genesis: &Commitment, tip: &Commitment, height: u64, step: u64) -> [u8; 96] {
    let mut message = [0; 96];
    message[..16].copy_from_slice(CONTEXT);
    message[16..48].copy_from_slice(genesis.as_bytes());
    message[48..80].copy_from_slice(tip.as_bytes());
    message[80..88].copy_from_slice(&height.to_le_bytes());
    message[88..].copy_from_slice(&step.to_le_bytes());
    message
}
