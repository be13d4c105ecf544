//! Whether an offer counts: its numbers fit together, its genesis is trusted, and enough publishers signed its tip.

use rpp_proofs::{PROOF_SYSTEM, SignatureError};

use super::messages::Offer;
use crate::{
    authority::{self, AuthenticationError},
    limits::MAX_WRONG_OFFERS,
    messages::{Checkpoint, Plan, Signature, SnapshotHeader},
    plan::{self, PlanBounds, PlanError, TrustAnchor},
    provider::{ChunkBounds, ChunkSizeError, choose_chunk_size},
    text, tree,
    types::Hash,
};

/// An offer whose tip's signatures are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// The snapshot.
    pub snapshot: SnapshotHeader,
    /// The tip that is signed.
    pub tip: Checkpoint,
    /// The chunk sizes that the peer serves.
    pub chunks: ChunkBounds,
    /// Further sessions that the peer could serve.
    pub free_slots: u64,
}

impl Found {
    /// Whether the signatures are over the snapshot itself, so that it cannot be invented.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.snapshot.checkpoint == self.tip
    }
}

/// Why an offer does not count. It is no offence: the peer may serve another chain, or its publishers may be revoked here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// Its genesis is another one, or its numbers do not fit together or into this node's bounds.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The peer's chunk sizes do not suit this node.
    #[error(transparent)]
    ChunkSize(#[from] ChunkSizeError),
    /// Too few publishers signed its tip.
    #[error("its tip is not signed: {0}")]
    Signatures(#[from] SignatureError),
    /// A signature is malformed.
    #[error("its tip is not signed: {reason}")]
    Malformed {
        /// What is wrong.
        reason: AuthenticationError,
    },
}

/// Checks one offer. A signature takes about 60 us.
///
/// # Errors
/// Why it does not count.
pub fn check(offer: &Offer, trust: &TrustAnchor, bounds: &PlanBounds) -> Result<Found, OfferError> {
    let found = check_numbers(offer, trust, bounds)?;
    check_signatures(offer, trust)?;
    Ok(found)
}

/// The result of one answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) found: Vec<Found>,
    /// Offers that do not count, or were ignored after too many of those.
    pub(super) refused: usize,
    /// Why the first of them does not count.
    pub(super) reason: Option<String>,
}

/// Checks the offers of one answer. After [`MAX_WRONG_OFFERS`] invalid ones the rest is ignored, so an answer costs
/// little whatever it contains.
pub(super) fn check_all(offers: &[Offer], trust: &TrustAnchor, bounds: &PlanBounds) -> Judged {
    let mut checked = Judged::default();
    // Most offers of an answer have the same tip.
    let mut signed: Vec<(&Checkpoint, &[Signature])> = Vec::new();
    for offer in offers {
        if checked.refused >= MAX_WRONG_OFFERS {
            break;
        }
        let tip = (&offer.tip, offer.signatures.as_slice());
        let result = check_numbers(offer, trust, bounds).and_then(|found| {
            if !signed.contains(&tip) {
                check_signatures(offer, trust)?;
                signed.push(tip);
            }
            Ok(found)
        });
        match result {
            Ok(found) => checked.found.push(found),
            Err(error) => {
                checked.refused += 1;
                checked.reason.get_or_insert_with(|| text::escape(&error.to_string()));
            }
        }
    }
    checked.refused = offers.len() - checked.found.len();
    checked
}

fn check_numbers(offer: &Offer, trust: &TrustAnchor, bounds: &PlanBounds) -> Result<Found, OfferError> {
    let chunks = ChunkBounds { min: offer.min_chunk_size, max: offer.max_chunk_size };
    let (min, max) = bounds.chunk_sizes();
    let chunk_size = choose_chunk_size(None, ChunkBounds { min, max }, chunks)?;
    let snapshot = &offer.snapshot.checkpoint;
    let mut plan = Plan {
        plan_id: Hash::default(),
        proof: PROOF_SYSTEM.to_owned(),
        genesis: offer.genesis.clone(),
        snapshot: offer.snapshot,
        tip: offer.tip,
        chunk_size,
        total_chunks: tree::total_chunks(snapshot.payload_bytes, chunk_size),
        // 0, which is no number of updates, if the tip is older than the snapshot.
        total_updates: offer.tip.step.saturating_add(1).saturating_sub(snapshot.step),
    };
    plan.plan_id = plan::plan_id_under(&trust.genesis, &plan);
    plan::check_plan(&plan, trust, bounds)?;
    Ok(Found { snapshot: offer.snapshot, tip: offer.tip, chunks, free_slots: offer.free_slots })
}

fn check_signatures(offer: &Offer, trust: &TrustAnchor) -> Result<(), OfferError> {
    let malformed = |reason| OfferError::Malformed { reason };
    let genesis = plan::genesis(&offer.genesis).map_err(|error| malformed(error.into()))?;
    let tip = plan::commitment(&offer.tip.commitment).map_err(|error| malformed(error.into()))?;
    let signatures: Result<Vec<_>, _> = offer.signatures.iter().map(authority::signature).collect();
    let signatures = signatures.map_err(|error| malformed(error.into()))?;
    let revoked: Vec<_> = trust.revoked.iter().map(|key| key.0).collect();
    rpp_proofs::verify_signatures(&genesis, &tip, offer.tip.height, offer.tip.step, &signatures, &revoked)?;
    Ok(())
}
