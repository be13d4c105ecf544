//! The node: swarm loop, session manager, catalog and disk.
pub mod config;
pub mod error;
pub mod files;
pub mod handle;
pub mod head;
pub mod hooks;
pub mod keys;
pub mod publish;
pub mod serve;
pub mod status;
pub mod store;
pub mod tar;
pub mod unpack;
pub mod verify;

mod clock;
mod db;
mod jobs;
pub mod lock;
mod manager;
mod metrics;
pub mod node;
mod peers;
mod rebuild;
mod record;
mod swarm;
mod writer;

pub use config::Config;
pub use db::DbError;
pub use error::SnapshotRuntimeError;
pub use handle::NodeHandle;
pub use hooks::{Hooks, Watcher, Work};
pub use lock::{DataLock, LockError};
pub use node::{Node, SHUTDOWN_GRACE, StartError};
pub use status::{NodeEvent, SessionState, SnapshotStreamStatus, WaitingOn};
pub use swarm::SwarmError;
