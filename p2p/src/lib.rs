//! The snapshot streaming protocol: messages, codec, session machines and the libp2p behaviour.
pub mod limits;
pub mod messages;
pub mod types;

pub use messages::{
    ArtefactKind, Checkpoint, ErrorCode, GenesisDescriptor, PayloadFormat, Plan, Signature, SnapshotHeader,
    SnapshotsRequest, SnapshotsResponse, Update,
};
pub use types::{Hash, SnapshotSessionId};
