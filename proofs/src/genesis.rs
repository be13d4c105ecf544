//! The genesis descriptor: who may publish, and the commitment `C_0` that pins it.

use ed25519_dalek::VerifyingKey;

use crate::{
    commitment::Commitment,
    field::{Scalar, limbs, wide},
    limits::{MAX_CHAIN_ID, MAX_PUBLISHERS},
    poseidon,
};

/// Names a chain, its publishers, and how many of them must sign a tip. One string, [`Genesis::commitment`], pins all of it.
///
/// ```
/// use rpp_proofs::{Genesis, Signer};
///
/// let (alice, bob) = (Signer::generate(), Signer::generate());
/// let mut publishers = vec![alice.public(), bob.public()];
/// publishers.sort();
/// let genesis = Genesis::new("example".into(), publishers, 2)?;
/// println!("give this to your consumers: {}", genesis.commitment());
/// # Ok::<(), rpp_proofs::GenesisError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    chain_id: String,
    publishers: Vec<[u8; 32]>,
    threshold: u32,
    /// Derived from the other three fields; stored because every check compares it.
    commitment: Commitment,
}

/// The descriptor is not a valid genesis, or not the trusted one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GenesisError {
    /// The chain id has another length or other characters.
    #[error("chain_id must be 1 to {MAX_CHAIN_ID} characters of A-Z, a-z, 0-9, '.', '_' and '-'")]
    ChainId,
    /// Too few or too many publishers.
    #[error("{found} publishers: there must be 1 to {MAX_PUBLISHERS}")]
    PublisherCount {
        /// How many there are.
        found: usize,
    },
    /// A publisher is equal to or below the one before it.
    #[error("publisher {index} is not above the one before it: publishers must be ascending and distinct")]
    PublisherOrder {
        /// Its place in the list.
        index: usize,
    },
    /// A publisher is not a canonical point, or one of low order, for which anybody could sign.
    #[error("publisher {index} is not a usable Ed25519 key")]
    PublisherKey {
        /// Its place in the list.
        index: usize,
    },
    /// The threshold is 0 or above the number of publishers.
    #[error("threshold {threshold} must be 1 to {publishers}, the number of publishers")]
    Threshold {
        /// The descriptor's.
        threshold: u32,
        /// The number of publishers.
        publishers: usize,
    },
    /// The descriptor is valid, but its chain is not the trusted one.
    #[error("the descriptor's genesis is {found}, the trusted one is {trusted}")]
    NotTrusted {
        /// The trust anchor.
        trusted: Commitment,
        /// The genesis commitment of the descriptor.
        found: Commitment,
    },
}

impl Genesis {
    /// Checks a descriptor and derives its commitment. `publishers` are Ed25519 verifying keys, ascending and distinct.
    ///
    /// # Errors
    /// See [`GenesisError`].
    pub fn new(chain_id: String, publishers: Vec<[u8; 32]>, threshold: u32) -> Result<Self, GenesisError> {
        check_chain_id(&chain_id)?;
        check_publishers(&publishers)?;
        if threshold == 0 || usize::try_from(threshold).is_ok_and(|threshold| threshold > publishers.len()) {
            return Err(GenesisError::Threshold { threshold, publishers: publishers.len() });
        }
        let commitment = commit(&canonical_json(&chain_id, &publishers, threshold));
        Ok(Self { chain_id, publishers, threshold, commitment })
    }

    /// Whether the commitment of this descriptor is `trusted`, a configured genesis commitment.
    ///
    /// # Errors
    /// [`GenesisError::NotTrusted`] when it is another.
    pub fn check(&self, trusted: &Commitment) -> Result<(), GenesisError> {
        if self.commitment == *trusted {
            return Ok(());
        }
        Err(GenesisError::NotTrusted { trusted: *trusted, found: self.commitment })
    }

    /// The chain's name.
    #[must_use]
    pub fn chain_id(&self) -> &str {
        &self.chain_id
    }

    /// The publishers' verifying keys, ascending.
    #[must_use]
    pub fn publishers(&self) -> &[[u8; 32]] {
        &self.publishers
    }

    /// How many of them must sign a tip.
    #[must_use]
    pub fn threshold(&self) -> u32 {
        self.threshold
    }

    /// The canonical encoding of the descriptor: fixed order, no white space.
    #[must_use]
    pub fn canonical_json(&self) -> String {
        canonical_json(&self.chain_id, &self.publishers, self.threshold)
    }

    /// `C_0`, the trust anchor.
    #[must_use]
    pub fn commitment(&self) -> Commitment {
        self.commitment
    }
}

fn check_chain_id(chain_id: &str) -> Result<(), GenesisError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=MAX_CHAIN_ID).contains(&chain_id.len()) && chain_id.bytes().all(allowed) {
        return Ok(());
    }
    Err(GenesisError::ChainId)
}

fn check_publishers(publishers: &[[u8; 32]]) -> Result<(), GenesisError> {
    if !(1..=MAX_PUBLISHERS).contains(&publishers.len()) {
        return Err(GenesisError::PublisherCount { found: publishers.len() });
    }
    if let Some(index) = publishers.windows(2).position(|pair| pair[0] >= pair[1]) {
        return Err(GenesisError::PublisherOrder { index: index + 1 });
    }
    match publishers.iter().position(|key| !is_usable(key)) {
        Some(index) => Err(GenesisError::PublisherKey { index }),
        None => Ok(()),
    }
}

/// Whether this is the canonical encoding (so that one key has one text) of a point that is not of low order.
fn is_usable(bytes: &[u8; 32]) -> bool {
    VerifyingKey::from_bytes(bytes).is_ok_and(|key| !key.is_weak() && key.to_edwards().compress().as_bytes() == bytes)
}

fn canonical_json(chain_id: &str, publishers: &[[u8; 32]], threshold: u32) -> String {
    // No character of a chain id or of hex needs escaping.
    let publishers: Vec<_> = publishers.iter().map(|key| format!("\"{}\"", hex::encode(key))).collect();
    format!(r#"{{"chain_id":"{chain_id}","publishers":[{}],"threshold":{threshold}}}"#, publishers.join(","))
}

/// `Poseidon(0, 0, g_lo, g_hi, 0, 0)`, where `g` is the BLAKE3 hash of the descriptor. No link of the chain has height
/// 0, so none has the same inputs.
fn commit(descriptor: &str) -> Commitment {
    let [g_lo, g_hi] = limbs(blake3::hash(descriptor.as_bytes()).as_bytes());
    let zero = Scalar::zero();
    Commitment::from_scalar(poseidon::hash(&[zero, zero, wide(g_lo, 0), wide(g_hi, 0), zero, zero]))
}
