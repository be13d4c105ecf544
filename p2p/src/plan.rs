//! The rules of a plan (`docs/protocol.md`, The plan): its id, its chunk size, and when it is refused.

use rpp_proofs::{Commitment, Genesis, GenesisError, NotCanonical};

pub use crate::{
    authority::{
        AuthenticationError, AuthorityError, SignatureBytes, UpdateError, check_authority_signatures, check_update,
    },
    provider::{ChunkBounds, ChunkSizeError, choose_chunk_size},
};
use crate::{
    limits::{MAX_CHUNK_SIZE, MAX_UPDATES, MIN_CHUNK_SIZE},
    messages::{Checkpoint, GenesisDescriptor, PayloadFormat, Plan},
    tree,
    types::Hash,
};

/// What a consumer trusts: one genesis commitment, which pins chain, publishers and threshold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrustAnchor {
    /// `C_0`.
    pub genesis: Hash,
    /// If not empty, these must be the descriptor's publishers, in any order.
    pub publishers: Vec<Hash>,
    /// If not 0, this must be the descriptor's threshold.
    pub threshold: u64,
    /// Keys whose signatures no longer count.
    pub revoked: Vec<Hash>,
}

impl TrustAnchor {
    /// Trusts the chain that begins with this genesis commitment.
    #[must_use]
    pub fn new(genesis: Hash) -> Self {
        Self { genesis, ..Self::default() }
    }

    /// Requires that the descriptor names these publishers, in any order, and this threshold. An empty list or a 0 requires
    /// nothing.
    #[must_use]
    pub fn with_publishers(mut self, publishers: Vec<Hash>, threshold: u64) -> Self {
        (self.publishers, self.threshold) = (publishers, threshold);
        self
    }

    /// Signatures by these keys no longer count.
    #[must_use]
    pub fn with_revoked(mut self, revoked: Vec<Hash>) -> Self {
        self.revoked = revoked;
        self
    }
}

/// The bounds on plans that a consumer accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlanBounds {
    /// Smallest chunk size.
    pub min_chunk_size: u64,
    /// Largest chunk size.
    pub max_chunk_size: u64,
    /// Most updates.
    pub max_updates: u64,
    /// Largest payload; 0: no bound of its own.
    pub max_payload_bytes: u64,
}

impl Default for PlanBounds {
    fn default() -> Self {
        Self {
            min_chunk_size: MIN_CHUNK_SIZE,
            max_chunk_size: MAX_CHUNK_SIZE,
            max_updates: MAX_UPDATES,
            max_payload_bytes: 0,
        }
    }
}

impl PlanBounds {
    /// Accepts plans with chunks of `min` to `max` bytes; the protocol's own bounds hold as well.
    #[must_use]
    pub fn with_chunk_sizes(mut self, min: u64, max: u64) -> Self {
        (self.min_chunk_size, self.max_chunk_size) = (min, max);
        self
    }

    /// Accepts plans with at most this many updates.
    #[must_use]
    pub fn with_max_updates(mut self, max: u64) -> Self {
        self.max_updates = max;
        self
    }

    /// Accepts plans for payloads of at most this many bytes; 0: of any length.
    #[must_use]
    pub fn with_max_payload_bytes(mut self, max: u64) -> Self {
        self.max_payload_bytes = max;
        self
    }

    /// The chunk sizes of the protocol that lie between these bounds.
    pub(crate) fn chunk_sizes(&self) -> (u64, u64) {
        (self.min_chunk_size.max(MIN_CHUNK_SIZE), self.max_chunk_size.min(MAX_CHUNK_SIZE))
    }

    /// Whether a plan may have chunks of this size.
    pub(crate) fn allows_chunk_size(&self, chunk_size: u64) -> bool {
        let (min, max) = self.chunk_sizes();
        chunk_size.is_power_of_two() && (min..=max).contains(&chunk_size)
    }
}

/// Why a plan is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The descriptor is not a genesis.
    #[error("its genesis descriptor is invalid: {0}")]
    Genesis(#[from] GenesisError),
    /// It is a genesis, but not the trusted one.
    #[error("its genesis is {found}, the trusted one is {trusted}: check [trust] genesis, or ask another peer")]
    Anchor {
        /// The trust anchor's.
        trusted: Hash,
        /// The plan's.
        found: Hash,
    },
    /// Publishers or threshold are not those of the trust anchor.
    #[error("its {what} are not the configured ones: check [trust] {what}")]
    AnchorDetail {
        /// `publishers` or `threshold`.
        what: &'static str,
    },
    /// Another proof system.
    #[error("it is proved by {found:?}, this node verifies {:?} only", rpp_proofs::PROOF_SYSTEM)]
    ProofSystem {
        /// Its name, escaped.
        found: String,
    },
    /// A commitment that is not a field element.
    #[error("a commitment is not canonical")]
    Commitment,
    /// The id does not match the contents.
    #[error("its plan_id is {found}, its contents make {computed}")]
    PlanId {
        /// What the plan says.
        found: Hash,
        /// The id of the contents.
        computed: Hash,
    },
    /// The chunk size is not a power of two within both sides' bounds.
    #[error("its chunk_size {chunk_size} is not a power of two between {min} and {max}")]
    ChunkSize {
        /// The plan's.
        chunk_size: u64,
        /// The smallest size that both sides accept.
        min: u64,
        /// The largest size that both sides accept.
        max: u64,
    },
    /// A number does not follow from the others.
    #[error("its {what} is {found}, it must be {expected}")]
    Number {
        /// Which field.
        what: &'static str,
        /// What the plan says.
        found: u64,
        /// What the number must be.
        expected: DueNumber,
    },
    /// It has a single update, but tip and snapshot differ.
    #[error("it has one update, but its tip is not its snapshot")]
    TipDiffers,
    /// It is not the payload or height that was asked for.
    #[error("its {what} is not the one that was asked for")]
    NotAsked {
        /// `root` or `height`.
        what: &'static str,
    },
}

/// What a number in a plan must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DueNumber {
    /// Exactly this number.
    #[error("{0}")]
    Exactly(u64),
    /// A number in this range.
    #[error("{least} to {most}")]
    Between {
        /// The smallest.
        least: u64,
        /// The largest.
        most: u64,
    },
    /// At most this many bytes, the largest payload that this node accepts.
    #[error("{0} at most ([snapshots] max_payload_bytes)")]
    PayloadBytes(u64),
    /// At least 1, the first step of a chain.
    #[error("1 or more")]
    FirstStep,
    /// The step of the last update.
    #[error("snapshot step + total_updates - 1")]
    LastStep,
    /// At least the step itself: heights start at 1 and rise by at least 1 with each step.
    #[error("{step} or more at step {step}")]
    HeightAtStep {
        /// The snapshot's step.
        step: u64,
    },
    /// The tip's height: from the snapshot on, heights rise by at least 1 with each update.
    #[error("the snapshot's plus 1 for each update after the first, or more")]
    TipHeight,
}

impl PlanError {
    /// Whether the error concerns trust, so that the anchor on our side may be wrong. All other errors are plans that
    /// no honest peer sends.
    #[must_use]
    pub fn is_about_trust(&self) -> bool {
        matches!(self, Self::Anchor { .. } | Self::AnchorDetail { .. })
    }
}

impl From<NotCanonical> for PlanError {
    fn from(_: NotCanonical) -> Self {
        Self::Commitment
    }
}

/// The id of a plan's contents, which is independent of the chunk size.
///
/// # Errors
/// The descriptor is not a genesis.
pub fn plan_id(plan: &Plan) -> Result<Hash, GenesisError> {
    Ok(plan_id_under(&Hash(genesis(&plan.genesis)?.commitment().to_bytes()), plan))
}

/// The same for a genesis commitment that is already known.
#[must_use]
pub fn plan_id_under(genesis: &Hash, plan: &Plan) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"rpp/plan/1\0").update(&genesis.0);
    for checkpoint in [&plan.snapshot.checkpoint, &plan.tip] {
        hasher.update(&checkpoint.step.to_le_bytes());
        hasher.update(&checkpoint.height.to_le_bytes());
        hasher.update(&checkpoint.block_hash.0);
        hasher.update(&checkpoint.state_root.0);
        hasher.update(&checkpoint.payload_bytes.to_le_bytes());
        hasher.update(&checkpoint.commitment.0);
    }
    let format = match plan.snapshot.format {
        PayloadFormat::Raw => 0,
        PayloadFormat::Tar => 1,
    };
    let name = plan.proof.as_bytes();
    let name = &name[..name.len().min(usize::from(u8::MAX))];
    hasher.update(&[format]).update(&plan.total_updates.to_le_bytes());
    hasher.update(&[name.len() as u8]).update(name);
    hasher.finalize().into()
}

/// Converts the descriptor to the type of the proofs, and checks it.
///
/// # Errors
/// What is wrong with it.
pub fn genesis(descriptor: &GenesisDescriptor) -> Result<Genesis, GenesisError> {
    let publishers = descriptor.publishers.iter().map(|key| key.0).collect();
    // A threshold beyond u32 is beyond the number of publishers too.
    let threshold = u32::try_from(descriptor.threshold).unwrap_or(u32::MAX);
    Genesis::new(descriptor.chain_id.clone(), publishers, threshold)
}

/// Converts a genesis to the descriptor in a plan.
#[must_use]
pub fn descriptor(genesis: &Genesis) -> GenesisDescriptor {
    GenesisDescriptor {
        chain_id: genesis.chain_id().to_owned(),
        publishers: genesis.publishers().iter().copied().map(Hash).collect(),
        threshold: genesis.threshold().into(),
    }
}

/// Converts a commitment of a message to the type of the proofs.
///
/// # Errors
/// It is not a field element in canonical encoding.
pub fn commitment(hash: &Hash) -> Result<Commitment, NotCanonical> {
    Commitment::from_bytes(hash.0)
}

impl From<&Checkpoint> for rpp_proofs::Checkpoint {
    fn from(checkpoint: &Checkpoint) -> Self {
        Self {
            step: checkpoint.step,
            height: checkpoint.height,
            block_hash: checkpoint.block_hash.0,
            state_root: checkpoint.state_root.0,
            payload_bytes: checkpoint.payload_bytes,
        }
    }
}

/// Checks everything about a plan that can be checked without its updates, cheap checks first. Nothing is allocated or
/// extended from its numbers before [`check_authority_signatures`] and the recursive proof.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_plan(plan: &Plan, trust: &TrustAnchor, bounds: &PlanBounds) -> Result<Genesis, PlanError> {
    if plan.proof != rpp_proofs::PROOF_SYSTEM {
        return Err(PlanError::ProofSystem { found: crate::text::escape(&plan.proof) });
    }
    let genesis = genesis(&plan.genesis)?;
    check_anchor(plan, &genesis, trust)?;
    check_sizes(plan, bounds)?;
    check_steps(plan, bounds)?;
    commitment(&plan.snapshot.checkpoint.commitment)?;
    commitment(&plan.tip.commitment)?;
    let computed = plan_id_under(&trust.genesis, plan);
    if computed != plan.plan_id {
        return Err(PlanError::PlanId { found: plan.plan_id, computed });
    }
    Ok(genesis)
}

fn check_anchor(plan: &Plan, genesis: &Genesis, trust: &TrustAnchor) -> Result<(), PlanError> {
    let found = Hash(genesis.commitment().to_bytes());
    if found != trust.genesis {
        return Err(PlanError::Anchor { trusted: trust.genesis, found });
    }
    let mut publishers = trust.publishers.clone();
    publishers.sort_unstable();
    publishers.dedup();
    if !publishers.is_empty() && publishers != plan.genesis.publishers {
        return Err(PlanError::AnchorDetail { what: "publishers" });
    }
    if trust.threshold != 0 && trust.threshold != plan.genesis.threshold {
        return Err(PlanError::AnchorDetail { what: "threshold" });
    }
    Ok(())
}

fn check_sizes(plan: &Plan, bounds: &PlanBounds) -> Result<(), PlanError> {
    let chunk_size = plan.chunk_size;
    if !bounds.allows_chunk_size(chunk_size) {
        let (min, max) = bounds.chunk_sizes();
        return Err(PlanError::ChunkSize { chunk_size, min, max });
    }
    let payload_bytes = plan.snapshot.checkpoint.payload_bytes;
    if bounds.max_payload_bytes != 0 && payload_bytes > bounds.max_payload_bytes {
        let expected = DueNumber::PayloadBytes(bounds.max_payload_bytes);
        return Err(PlanError::Number { what: "payload_bytes", found: payload_bytes, expected });
    }
    let total_chunks = tree::total_chunks(payload_bytes, chunk_size);
    number("total_chunks", plan.total_chunks, plan.total_chunks == total_chunks, DueNumber::Exactly(total_chunks))
}

fn check_steps(plan: &Plan, bounds: &PlanBounds) -> Result<(), PlanError> {
    let (snapshot, tip, updates) = (&plan.snapshot.checkpoint, &plan.tip, plan.total_updates);
    let most = bounds.max_updates;
    number("total_updates", updates, (1..=most).contains(&updates), DueNumber::Between { least: 1, most })?;
    number("snapshot step", snapshot.step, snapshot.step >= 1, DueNumber::FirstStep)?;
    let last = snapshot.step.checked_add(updates - 1);
    number("tip step", tip.step, last == Some(tip.step), DueNumber::LastStep)?;
    let due = DueNumber::HeightAtStep { step: snapshot.step };
    number("snapshot height", snapshot.height, snapshot.height >= snapshot.step, due)?;
    let lowest = snapshot.height.checked_add(updates - 1);
    number("tip height", tip.height, lowest.is_some_and(|lowest| tip.height >= lowest), DueNumber::TipHeight)?;
    if updates == 1 && snapshot != tip { Err(PlanError::TipDiffers) } else { Ok(()) }
}

fn number(what: &'static str, found: u64, holds: bool, expected: DueNumber) -> Result<(), PlanError> {
    if holds { Ok(()) } else { Err(PlanError::Number { what, found, expected }) }
}
