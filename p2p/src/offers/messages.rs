//! The messages of `/rpp/offers/1.0.0` (`docs/discovery.md`).

use serde::Serialize;

use crate::{
    messages::{Checkpoint, ErrorCode, GenesisDescriptor, Signature, SnapshotHeader},
    types::Hash,
};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum OffersRequest {
    /// What is offered of the chain with this genesis commitment?
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
    /// What is offered, newest first; at most 64.
    Offers {
        /// The offers.
        offers: Vec<Offer>,
    },
    /// There is no answer.
    Error {
        /// The kind of refusal.
        code: ErrorCode,
        /// The peer's message; cut to 512 bytes when it is read.
        message: String,
    },
}

/// One snapshot that a peer would serve.
///
/// It counts only when its tip's signatures hold ([`check`](super::check())). They say nothing of an older snapshot than
/// the tip: whether that is of the same chain is known only with the updates between the two, in a session.
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
    /// Sessions that the peer could take more at this moment. A hint.
    pub free_slots: u64,
}
