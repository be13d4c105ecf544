//! The messages of `/rpp/offers/1.0.0` (`docs/discovery.md`).

use serde::Serialize;

use crate::{
    messages::{Checkpoint, ErrorCode, GenesisDescriptor, Signature, SnapshotHeader},
    types::Hash,
};

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum OffersRequest {
    /// Asks for the snapshots of the chain with this genesis commitment.
    Offers {
        /// The commitment, C_0.
        genesis: Hash,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum OffersResponse {
    /// The offers, newest first; at most 64.
    Offers {
        /// The offers.
        offers: Vec<Offer>,
    },
    /// A refusal.
    Error {
        /// The kind of refusal.
        code: ErrorCode,
        /// The peer's message; cut to 512 bytes when it is read.
        message: String,
    },
}

/// One snapshot that a peer would serve.
///
/// It counts only if its tip's signatures are valid ([`check`](super::check())). These say nothing about a snapshot
/// that is older than the tip: only a session, which fetches the updates between the two, shows whether it belongs to
/// the same chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// Pins chain, publishers and threshold.
    pub genesis: GenesisDescriptor,
    /// The snapshot.
    pub snapshot: SnapshotHeader,
    /// The tip to which the peer has the updates.
    pub tip: Checkpoint,
    /// The publishers' signatures over the tip.
    pub signatures: Vec<Signature>,
    /// The peer's smallest chunk size, bytes.
    pub min_chunk_size: u64,
    /// The peer's largest chunk size, bytes.
    pub max_chunk_size: u64,
    /// Further sessions that the peer could serve at this moment. A hint.
    pub free_slots: u64,
}
