//! `manifest.json` and `plan.json`: the facts about a payload that are stored beside its bytes.

use std::sync::OnceLock;

use rpp_p2p::{
    Checkpoint, GenesisDescriptor, Hash, PayloadFormat, Plan, SnapshotHeader, TrustAnchor, Update, limits,
    plan::{self, AuthorityError, PlanBounds, PlanError},
    tree,
};
use rpp_proofs::{GenesisError, PROOF_SYSTEM};
use serde::{Deserialize, Serialize};

use super::error::{Misfit, StoreError};

pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const PLAN: &str = "plan.json";
pub(crate) const PAYLOAD: &str = "payload";
pub(crate) const OUTBOARD: &str = "outboard";
/// The file that says why a stored payload is no longer offered.
pub(crate) const DAMAGED: &str = "damaged";
/// The manifest that a payload had before it was found damaged.
pub(crate) const OFFERS: &str = "offers.json";
const VERSION: u32 = 1;
/// The largest manifest or plan file; some hundred thousand updates fit.
pub(crate) const MAX_DOCUMENT: u64 = 256 * 1024 * 1024;

/// One snapshot of a payload with its proof: everything from which plans and updates are served.
///
/// The first update is the snapshot's own checkpoint. The last one is the tip and has proof and signatures. Other
/// updates may have theirs, too; on the wire only the last one does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Pins chain, publishers and threshold.
    pub genesis: GenesisDescriptor,
    /// The snapshot.
    pub snapshot: SnapshotHeader,
    /// The tip to which the updates lead.
    pub tip: Checkpoint,
    /// From the snapshot to the tip.
    pub updates: Vec<Update>,
    #[serde(skip)]
    pub(super) sound: Sound,
}

/// The result of [`Offer::check_chain`], computed once for each offer in memory. A copy may be changed, so it is
/// checked anew.
#[derive(Debug, Default)]
pub(super) struct Sound(OnceLock<Result<(), OfferFlaw>>);

impl Clone for Sound {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Sound {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Sound {}

impl Offer {
    pub(crate) fn new(
        genesis: GenesisDescriptor,
        snapshot: SnapshotHeader,
        tip: Checkpoint,
        updates: Vec<Update>,
    ) -> Self {
        Self { genesis, snapshot, tip, updates, sound: Sound::default() }
    }

    /// From the plan of a session and all its updates, which the consumer has verified.
    #[must_use]
    pub fn from_plan(plan: &Plan, updates: &[Update]) -> Self {
        Self::new(plan.genesis.clone(), plan.snapshot, plan.tip, updates.to_vec())
    }

    /// The plan for a session with this chunk size.
    ///
    /// # Errors
    /// When the descriptor is not a genesis.
    pub fn plan(&self, chunk_size: u64) -> Result<Plan, GenesisError> {
        let mut plan = Plan {
            plan_id: Hash::default(),
            proof: PROOF_SYSTEM.to_owned(),
            genesis: self.genesis.clone(),
            snapshot: self.snapshot,
            tip: self.tip,
            chunk_size,
            total_chunks: tree::total_chunks(self.snapshot.checkpoint.payload_bytes, chunk_size),
            total_updates: self.updates.len() as u64,
        };
        plan.plan_id = plan::plan_id(&plan)?;
        Ok(plan)
    }

    /// Update `index` as it is sent.
    #[must_use]
    pub fn update(&self, index: u64) -> Option<Update> {
        let mut update = self.updates.get(usize::try_from(index).ok()?)?.clone();
        if index + 1 != self.updates.len() as u64 {
            update.recursive_proof = None;
        }
        Some(update)
    }

    /// All updates as they go over the wire.
    pub(crate) fn wire_updates(&self) -> Vec<Update> {
        (0..self.updates.len() as u64).filter_map(|index| self.update(index)).collect()
    }

    /// The key that distinguishes the offers of one payload.
    pub(crate) fn key(&self) -> (u64, Hash) {
        (self.snapshot.checkpoint.height, self.snapshot.checkpoint.commitment)
    }

    /// Whether the updates hash to the tip, and enough of the publishers that the genesis names signed it. It does not
    /// check the recursive proof. The first call computes one hash for each update. A file with the right checksum may
    /// still fail this check.
    pub(crate) fn check_chain(&self) -> Result<(), OfferFlaw> {
        let checked = || {
            let height = self.snapshot.checkpoint.height;
            self.hash_chain().map_err(|reason| OfferFlaw::Chain { height, reason: Box::new(reason) })
        };
        self.sound.0.get_or_init(checked).clone()
    }

    fn hash_chain(&self) -> Result<(), ChainFlaw> {
        let genesis = plan::genesis(&self.genesis)?;
        let own = TrustAnchor::new(Hash(genesis.commitment().to_bytes()));
        let plan = self.plan(limits::DEFAULT_CHUNK_SIZE)?;
        plan::check_plan(&plan, &own, &PlanBounds::default())?;
        Ok(plan::check_authority_signatures(&plan, &self.wire_updates(), &own)?)
    }

    /// Whether the numbers fit together and fit the payload. [`Self::check_chain`] checks hashes and signatures;
    /// `verify` checks the proof.
    pub(crate) fn check(&self, root: &Hash, bytes: u64) -> Result<(), OfferFlaw> {
        let snapshot = &self.snapshot.checkpoint;
        let height = snapshot.height;
        if snapshot.state_root != *root || snapshot.payload_bytes != bytes {
            return Err(OfferFlaw::OtherPayload { height });
        }
        let (Some(first), Some(last)) = (self.updates.first(), self.updates.last()) else {
            return Err(OfferFlaw::NoUpdates { height });
        };
        let linked = self.updates.windows(2).all(|pair| {
            let (one, next) = (&pair[0].checkpoint, &pair[1]);
            next.previous_commitment == one.commitment
                && Some(next.checkpoint.step) == one.step.checked_add(1)
                && next.checkpoint.height > one.height
        });
        if first.checkpoint != *snapshot || last.checkpoint != self.tip || !linked {
            return Err(OfferFlaw::Unlinked { height });
        }
        if last.recursive_proof.is_none() {
            return Err(OfferFlaw::NoProof { height });
        }
        if self.updates.len() as u64 > limits::MAX_UPDATES {
            return Err(OfferFlaw::TooManyUpdates { height });
        }
        Ok(())
    }
}

/// What is wrong with an offer. Its author is at fault, or the disk that kept it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // `height` is the height of the snapshot
pub enum OfferFlaw {
    /// It belongs to another payload.
    #[error("the offer at height {height} is of another payload")]
    OtherPayload { height: u64 },
    /// It has no updates.
    #[error("the offer at height {height} has no updates")]
    NoUpdates { height: u64 },
    /// Its updates do not lead from its snapshot to its tip.
    #[error("the updates of the offer at height {height} do not lead to its tip")]
    Unlinked { height: u64 },
    /// Its last update has no recursive proof.
    #[error("the offer at height {height} has no proof")]
    NoProof { height: u64 },
    /// It has more updates than a plan may have.
    #[error("the offer at height {height} has more than {} updates", limits::MAX_UPDATES)]
    TooManyUpdates { height: u64 },
    /// Its updates do not hash to its tip, or too few of its publishers signed that.
    #[error("the chain of the offer at height {height} in {MANIFEST} does not hold: {reason}")]
    Chain { height: u64, reason: Box<ChainFlaw> },
}

/// Why the chain of an offer does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainFlaw {
    /// Its descriptor is not a genesis.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The plan that it makes breaks a rule.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Its updates or signatures do not hold.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// What is wrong with a manifest whose checksum is right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestFlaw {
    /// Another version of this program wrote it.
    #[error("version {found} is unknown here")]
    Version {
        /// The version that it names.
        found: u32,
    },
    /// It is of another payload.
    #[error("it names another root, {found}")]
    OtherRoot {
        /// The root that it names.
        found: Hash,
    },
    /// It has no offers.
    #[error("it has no offers")]
    NoOffers,
    /// One of its offers cannot be used.
    #[error(transparent)]
    Offer(#[from] OfferFlaw),
}

/// `store/<root>/manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    /// The payload's BLAKE3 hash.
    pub root: Hash,
    /// Its length.
    pub bytes: u64,
    /// A hint for the operator.
    pub format: PayloadFormat,
    /// The snapshots whose payload this is.
    pub offers: Vec<Offer>,
}

impl Manifest {
    pub(crate) fn new(offer: Offer) -> Self {
        let snapshot = &offer.snapshot;
        Self {
            version: VERSION,
            root: snapshot.checkpoint.state_root,
            bytes: snapshot.checkpoint.payload_bytes,
            format: snapshot.format,
            offers: vec![offer],
        }
    }

    /// Checks the content of a manifest for `root`.
    pub(crate) fn check(&self, root: &Hash) -> Result<(), ManifestFlaw> {
        if self.version != VERSION {
            return Err(ManifestFlaw::Version { found: self.version });
        }
        if self.root != *root {
            return Err(ManifestFlaw::OtherRoot { found: self.root });
        }
        if self.offers.is_empty() {
            return Err(ManifestFlaw::NoOffers);
        }
        Ok(self.offers.iter().try_for_each(|offer| offer.check(root, self.bytes))?)
    }

    /// Adds an offer. An existing offer of the same snapshot is replaced only if the new one leads to a later tip.
    /// Returns whether anything changed.
    pub(crate) fn add(&mut self, mut offer: Offer) -> Result<bool, StoreError> {
        offer.check(&self.root, self.bytes).map_err(Misfit::from)?;
        let Some(known) = self.offers.iter_mut().find(|known| known.key() == offer.key()) else {
            self.offers.push(offer);
            return Ok(true);
        };
        if *known == offer || known.tip.step > offer.tip.step {
            return Ok(false);
        }
        // If the snapshot's own proof is kept, older plans of it can still be served.
        if offer.updates[0].recursive_proof.is_none() {
            offer.updates[0] = known.updates[0].clone();
        }
        let changed = *known != offer;
        *known = offer;
        Ok(changed)
    }
}

/// `partial/<root>/plan.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PlanFile {
    version: u32,
    pub(crate) plan: Plan,
    pub(crate) updates: Vec<Update>,
}

impl PlanFile {
    pub(crate) fn new(plan: Plan, updates: Vec<Update>) -> Self {
        Self { version: VERSION, plan, updates }
    }
}
