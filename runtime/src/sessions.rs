//! The sessions of this node: the rules between downloads, and between a download and the disk.
//!
//! | part | what it knows |
//! |---|---|
//! | [`rules`] | the rules between sessions: one pure state machine, drawn in that file |
//! | [`worker`] | the work on one root's files and records, in order; it knows no session's state |
//! | [`disk`], [`workers`] | the steps of a worker on the node's own disk; the running workers |
//! | [`authority`] | checks of chain, head and proof on blocking threads |
//! | [`manager`] | the driver: it carries inputs and actions between all of these, the swarm and the callers |
//! | [`record`], [`note`] | what is written about a session: in the database, and beside its payload |
//!
//! What happens inside a download belongs to the protocol ([`rpp_p2p::consumer`]).

mod authority;
mod beside;
mod disk;
mod manager;
mod note;
pub(crate) mod record;
mod rules;
#[cfg(test)]
mod simulation;
mod trouble;
mod worker;
mod workers;

use std::io;

use rpp_p2p::{
    Hash, SnapshotSessionId,
    consumer::{MirrorId, MirrorJobId},
    limits,
    plan::PlanBounds,
};

pub(crate) use self::{
    authority::NoHead,
    disk::FileDisk,
    manager::{Context, Manager, VIOLATION_KINDS},
    note::from_partials,
    trouble::Shared,
};
use self::{
    authority::{Authority, Unsettled},
    manager::{Kept, MirrorTold},
    worker::Reported,
};
use crate::config::Config;

/// The results that come back to the node's task.
pub(crate) enum Done {
    /// The catalog was read again. `true` if it changed.
    Refreshed(io::Result<bool>),
    /// The database could be read at last; this is its content.
    TakenUp(Vec<Reloaded>),
    /// The result for chain, signatures and head rules. The proof is included unless its tip is known.
    Authority { session: SnapshotSessionId, epoch: u64, result: Result<Authority, Unsettled> },
    /// The proof of a known tip was checked again.
    Proof { session: SnapshotSessionId, epoch: u64, plan_id: Hash, result: Result<(), Unsettled> },
    /// For a session that was complete before this process began: how far its payload is hashed again, or the result.
    Kept { session: SnapshotSessionId, kept: Kept },
    /// A report from the reader of a session's mirror.
    Mirror { session: SnapshotSessionId, epoch: u64, mirror: (MirrorId, MirrorJobId), told: MirrorTold },
    /// A report from a store worker.
    Store(Reported),
}

/// A session that was found at the start.
pub(crate) struct Reloaded {
    pub(crate) record: record::Session,
    pub(crate) progress: record::Progress,
    /// The updates stored beside its partial payload.
    pub(crate) updates: Vec<rpp_p2p::Update>,
    /// The session was restored from the note beside its payload, because the database does not have it, or not all of
    /// it. The note is removed when the payload is placed.
    pub(crate) is_rebuilt: bool,
}

/// The limits on plans, from the configuration.
pub(crate) fn plan_bounds(config: &Config) -> PlanBounds {
    let rules = &config.snapshots;
    PlanBounds::default()
        .with_chunk_sizes(rules.min_chunk_size, rules.max_chunk_size)
        .with_max_updates(rules.max_updates.min(limits::MAX_UPDATES))
        .with_max_payload_bytes(rules.max_payload_bytes)
}
