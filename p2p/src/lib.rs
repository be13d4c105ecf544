//! The snapshot streaming protocol: messages, codec, session machines and the libp2p behaviour.
pub mod authority;
pub mod consumer;
pub mod error;
pub mod exchange;
pub mod json;
pub mod limits;
pub mod messages;
pub mod outboard;
pub mod plan;
pub mod provider;
pub mod text;
pub mod tree;
pub mod types;

pub use authority::AuthorityError;
pub use error::{PipelineError, RequestFailure, ResumeReason, SnapshotProtocolError, Violation};
pub use exchange::{Exchange, Expectation, Verified, VerifiedChunk};
pub use messages::{
    ArtefactKind, Checkpoint, ErrorCode, GenesisDescriptor, PayloadFormat, Plan, Signature, SnapshotHeader,
    SnapshotsRequest, SnapshotsResponse, Update,
};
pub use plan::{PlanBounds, PlanError, TrustAnchor};
pub use provider::{Acknowledged, ChunkData, PlanOffer, PlanRequest, Resumed, SnapshotProvider};
pub use types::{Hash, SnapshotSessionId};

/// The request/response protocol that this crate speaks.
pub const PROTOCOL_V1: &str = "/rpp/snapshots/1.0.0";
