//! Why a node does not start.

use std::path::PathBuf;

use crate::{db::DbError, error::ListenFault, lock::LockError, store::StoreError, swarm::SwarmError};

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data folder is in use, or cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A folder or file could not be opened.
    #[error("cannot open {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// How.
        source: std::io::Error,
    },
    /// The session database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The catalog.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The transports.
    #[error(transparent)]
    Swarm(#[from] SwarmError),
    /// The node cannot listen on an address.
    #[error("cannot listen on {address} ([p2p] listen): {reason}")]
    Listen {
        /// Which.
        address: String,
        /// Why.
        #[source]
        reason: ListenFault,
    },
    /// This processor lacks what the proof library needs.
    #[error(transparent)]
    Cpu(#[from] rpp_proofs::CpuError),
}
