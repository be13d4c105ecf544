//! The provider's side: the trait that serves artefacts, and the pure rules of its sessions.
//!
//! The key of a session is (authenticated peer, session id), so nothing that one peer sends can touch another's
//! session. An active session occupies a *slot* ([`Slots`]). Its *record* ([`Records`]: plan and acknowledged markers)
//! outlives the slot, the connection and the process.

mod budget;
mod chunk_size;
mod records;
mod slots;
mod source;

use bytes::Bytes;
use libp2p::PeerId;

pub use budget::{Budget, BudgetLimits, BudgetWait};
pub use chunk_size::{ChunkBounds, ChunkSizeError, choose_chunk_size};
pub use records::{Record, RecordLimits, Records};
pub use slots::{Asked, SlotLimits, SlotOutcome, Slots, Ticket};
pub use source::Source;

use crate::{
    error::PipelineError,
    messages::{ArtefactKind, Plan, PlanWishes, Update},
    types::{Hash, SnapshotSessionId},
};

/// (authenticated peer, session id): the key of every map of a provider.
pub type SessionKey = (PeerId, SnapshotSessionId);

/// A consumer's request for a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanRequest {
    /// The session to open, or to start anew.
    pub session: SnapshotSessionId,
    /// The wishes for the plan.
    pub wishes: PlanWishes,
    /// The consumer's source, so that the records are shared fairly.
    pub source: Option<Source>,
}

/// A plan for a session, and the provider's bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanOffer {
    /// What the session streams.
    pub plan: Plan,
    /// The provider's smallest chunk size.
    pub min_chunk_size: u64,
    /// The provider's largest chunk size.
    pub max_chunk_size: u64,
}

/// One chunk with its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkData {
    /// The bytes.
    pub bytes: Bytes,
    /// Sibling chaining values, leaf to root.
    pub proof: Vec<Hash>,
}

/// The offsets that a provider accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The session's plan.
    pub plan_id: Hash,
    /// The next chunk.
    pub chunk_index: u64,
    /// The next update.
    pub update_index: u64,
    /// The session's chunk size.
    pub chunk_size: u64,
    /// Bytes of the plan's payload.
    pub payload_bytes: u64,
    /// Updates of the plan.
    pub total_updates: u64,
}

/// The effect of an ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Everything is acknowledged, so the session's slot is freed.
    pub finished: bool,
}

/// Serves snapshots. Calls may block: the behaviour makes them on blocking threads, never on the swarm's task, and
/// never two at once for one session. Chunks that are likely to be asked for next are prefetched.
///
/// `peer` is authenticated. A session that this peer has not opened is [`PipelineError::NotFound`], even if another
/// peer has opened it.
pub trait SnapshotProvider: Send + Sync + 'static {
    /// Opens a session, or starts it anew.
    ///
    /// # Errors
    /// There is nothing to offer, no common chunk size, or no space for a record.
    fn plan(&self, peer: PeerId, request: &PlanRequest) -> Result<PlanOffer, PipelineError>;

    /// A chunk of the session's plan, any within the totals.
    ///
    /// # Errors
    /// Unknown session, an index beyond the totals, a payload that is gone or unreadable.
    fn chunk(&self, peer: PeerId, session: SnapshotSessionId, index: u64) -> Result<ChunkData, PipelineError>;

    /// An update of the session's plan, any within the totals.
    ///
    /// # Errors
    /// Unknown session, an index beyond the totals.
    fn update(&self, peer: PeerId, session: SnapshotSessionId, index: u64) -> Result<Update, PipelineError>;

    /// Accepts or refuses the offsets at which a consumer wants to continue. Moves no marker.
    ///
    /// # Errors
    /// Unknown session, another plan, offsets behind what was acknowledged or beyond the totals.
    fn resume_session(
        &self,
        peer: PeerId,
        session: SnapshotSessionId,
        plan_id: Hash,
        chunk_index: u64,
        update_index: u64,
    ) -> Result<Resumed, PipelineError>;

    /// Records that everything of `kind` up to and including `index` is durable at the consumer. This must be persisted
    /// before it returns.
    ///
    /// # Errors
    /// Unknown session, an index beyond the last or below the latest, a record that cannot be persisted.
    fn acknowledge(
        &self,
        peer: PeerId,
        session: SnapshotSessionId,
        kind: ArtefactKind,
        index: u64,
    ) -> Result<Acknowledged, PipelineError>;

    /// The consumer cancels the session. Unknown sessions are ignored.
    fn cancel(&self, peer: PeerId, session: SnapshotSessionId);
}
