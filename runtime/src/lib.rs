//! The node: swarm loop, session manager, catalog and disk.
pub mod config;
pub mod error;
pub mod files;
pub mod handle;
pub mod head;
pub mod keys;
pub mod publish;
pub mod serve;
pub mod status;
pub mod store;
pub mod tar;
pub mod unpack;
pub mod verify;

pub use config::Config;
pub use error::SnapshotRuntimeError;
pub use handle::NodeHandle;
pub use status::{NodeEvent, SessionState, SnapshotStreamStatus, WaitingOn};
