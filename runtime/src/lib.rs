//! The node: the swarm's task, the session manager, the catalog and the disk.
pub mod address;
pub mod bans;
pub mod config;
pub mod error;
pub mod files;
pub mod handle;
pub mod head;
pub mod hooks;
pub mod keys;
pub mod limits;
pub mod publish;
pub mod rates;
pub mod serve;
pub mod sources;
pub mod status;
pub mod store;
pub mod tar;
pub mod unpack;
pub mod verify;

mod clock;
mod db;
mod discovery;
mod doors;
mod listeners;
pub mod lock;
mod metrics;
pub mod node;
mod peers;
mod ping;
mod queues;
mod resolver;
mod scrub;
mod sessions;
mod swarm;
mod writable;

pub use config::Config;
pub use db::{DbError, DbFault};
pub use doors::ConnectionRules;
pub use error::{
    InvalidArgument, InvalidSource, ListenFault, NotReady, PeerMismatch, ResumeMismatch, SnapshotRuntimeError,
    StorageFault,
};
pub use handle::NodeHandle;
pub use hooks::{DhtBucket, DhtPeer, DhtView, Hooks, QueryCounts, Watcher, Work};
pub use limits::SHUTDOWN_GRACE;
pub use lock::{DataLock, LockError};
pub use node::{Node, StartError};
pub use queues::Queues;
pub use status::{NodeEvent, SessionState, SnapshotStreamStatus, WaitingOn};
pub use swarm::SwarmError;

/// The example of the repository's README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The examples of the embedder's page compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
struct Embedding;
