//! The commitment chain outside the circuit: a publisher extends it, and a consumer hashes it again.

use serde::{Deserialize, Serialize};

use crate::{
    commitment::Commitment,
    field::{Scalar, limbs, wide},
    genesis::Genesis,
    poseidon,
};

/// One step of the chain: the header of a snapshot, as the commitment contains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its number: genesis is 0, the first checkpoint 1.
    pub step: u64,
    /// The height, strictly above that of the checkpoint before.
    pub height: u64,
    /// The hash of the block at that height; opaque here.
    pub block_hash: [u8; 32],
    /// The BLAKE3 hash of the payload.
    pub state_root: [u8; 32],
    /// The payload's length.
    pub payload_bytes: u64,
}

/// The last step of a chain, and its commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    /// The number of steps since genesis.
    pub step: u64,
    /// The height of the last checkpoint; 0 at genesis.
    pub height: u64,
    /// The commitment of the last checkpoint, or `C_0`.
    pub commitment: Commitment,
}

/// A checkpoint does not continue the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The step is not the next one.
    #[error("step {found} does not follow step {after}")]
    Step {
        /// The last step.
        after: u64,
        /// The checkpoint's.
        found: u64,
    },
    /// The height does not rise.
    #[error("height {found} is not above height {after}")]
    Height {
        /// The last height.
        after: u64,
        /// The checkpoint's.
        found: u64,
    },
}

/// A chain outside the circuit. It hashes checkpoints and refuses those that do not follow.
///
/// ```
/// use rpp_proofs::{Chain, Checkpoint, Genesis, Signer};
///
/// let publisher = Signer::generate();
/// let genesis = Genesis::new("example".into(), vec![publisher.public()], 1)?;
/// let mut chain = Chain::genesis(&genesis);
/// let checkpoint = Checkpoint { step: 1, height: 10, block_hash: [1; 32], state_root: [2; 32], payload_bytes: 3 };
/// let commitment = chain.extend(&checkpoint)?;
/// assert_eq!(chain.tip().commitment, commitment);
/// assert!(chain.extend(&checkpoint).is_err(), "neither step nor height rises");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    tip: Tip,
}

impl Chain {
    /// The chain that has only its genesis.
    #[must_use]
    pub fn genesis(genesis: &Genesis) -> Self {
        Self::at(0, 0, genesis.commitment())
    }

    /// A chain that ends at this step. If the height there is unknown, use 0: every checkpoint's height is above it.
    #[must_use]
    pub fn at(step: u64, height: u64, commitment: Commitment) -> Self {
        Self { tip: Tip { step, height, commitment } }
    }

    /// The chain's last step.
    #[must_use]
    pub fn tip(&self) -> Tip {
        self.tip
    }

    /// Appends a checkpoint and returns its commitment.
    ///
    /// # Errors
    /// When its step is not the next or its height does not rise; the chain stays as it was.
    pub fn extend(&mut self, checkpoint: &Checkpoint) -> Result<Commitment, ChainError> {
        self.check(checkpoint)?;
        let commitment = next_commitment(&self.tip.commitment, checkpoint);
        self.tip = Tip { step: checkpoint.step, height: checkpoint.height, commitment };
        Ok(commitment)
    }

    /// Whether a checkpoint may come next.
    ///
    /// # Errors
    /// See [`Chain::extend`].
    pub fn check(&self, checkpoint: &Checkpoint) -> Result<(), ChainError> {
        if self.tip.step.checked_add(1) != Some(checkpoint.step) {
            return Err(ChainError::Step { after: self.tip.step, found: checkpoint.step });
        }
        if checkpoint.height <= self.tip.height {
            return Err(ChainError::Height { after: self.tip.height, found: checkpoint.height });
        }
        Ok(())
    }
}

/// `Poseidon(previous, height, bh_lo, bh_hi, sr_lo, sr_hi + payload_bytes * 2^128)`.
///
/// This only hashes. [`Chain::extend`] checks step and height. The step is not an input: it is the number of links.
#[must_use]
pub fn next_commitment(previous: &Commitment, checkpoint: &Checkpoint) -> Commitment {
    let [height, rest @ ..] = inputs(checkpoint);
    let [bh_lo, bh_hi, sr_lo, sr_hi] = rest;
    Commitment::from_scalar(poseidon::hash(&[previous.scalar(), height, bh_lo, bh_hi, sr_lo, sr_hi]))
}

/// The field elements of a checkpoint that are hashed, in order; they are also the circuit's witness.
pub(crate) fn inputs(checkpoint: &Checkpoint) -> [Scalar; 5] {
    let [bh_lo, bh_hi] = limbs(&checkpoint.block_hash);
    let [sr_lo, sr_hi] = limbs(&checkpoint.state_root);
    [
        Scalar::from(checkpoint.height),
        wide(bh_lo, 0),
        wide(bh_hi, 0),
        wide(sr_lo, 0),
        wide(sr_hi, checkpoint.payload_bytes),
    ]
}
