//! The configuration. Field names are the keys of the file, and every value is the effective one.
//!
//! [`Config::load`] reads the file and applies the environment (`RPP_<SECTION>_<KEY>`) and flags on top.
//! `config/table.rs` is the only place that says what a key may contain.

mod data_dir;
mod error;
mod kubernetes;
mod load;
mod sources;
mod table;

use std::{net::SocketAddr, path::PathBuf};

pub use error::ConfigError;
pub use load::{Effective, Overrides, Setting};
pub use sources::{Skipped, Source};

use libp2p::Multiaddr;
use rpp_p2p::Hash;
use serde::{Deserialize, Serialize};

use crate::{rates::ByteLimits, sources::mirror::MirrorUrl};

/// The whole configuration. Every value is the effective one, every path is absolute.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // each key is documented in the commented file that `rpp-node init` writes
pub struct Config {
    pub data_dir: PathBuf,
    pub p2p: P2p,
    pub rpc: Rpc,
    pub snapshots: Snapshots,
    #[serde(default)]
    pub sources: Sources,
    pub discovery: Discovery,
    #[serde(default)]
    pub limits: ByteLimits,
    pub trust: Trust,
    pub publisher: Publisher,
    pub introspection: Introspection,
    pub fleet: Fleet,
    pub log: Log,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct P2p {
    pub listen: Vec<Multiaddr>,
    #[serde(deserialize_with = "crate::address::peers")]
    pub peers: Vec<Multiaddr>,
    pub max_connections: u32,
    pub max_connections_per_peer: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Rpc {
    pub listen: SocketAddr,
    pub token_file: PathBuf,
    pub allowed_hosts: Vec<String>,
    pub allowed_origins: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Snapshots {
    pub chunk_size: u64,
    pub min_chunk_size: u64,
    pub max_chunk_size: u64,
    pub protocol: Protocol,
    pub window: u64,
    pub durability: Durability,
    pub ack_bytes: u64,
    pub ack_ms: u64,
    pub auto_resume: bool,
    pub give_up_after_s: u64,
    pub max_inbound_sessions: usize,
    pub max_inbound_sessions_per_peer: usize,
    pub session_retention_s: u64,
    pub max_sessions: usize,
    pub max_active_sessions: usize,
    pub max_updates: u64,
    pub max_payload_bytes: u64,
    pub keep: usize,
    pub scrub_bytes_per_second: u64,
}

/// Sources of a download that names none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Sources {
    #[serde(deserialize_with = "crate::address::peers")]
    pub peers: Vec<Multiaddr>,
    pub mirrors: Vec<MirrorUrl>,
    /// Folders below which `file` mirrors may lie; `/`: anywhere but in the node's own data folder.
    pub file_roots: Vec<PathBuf>,
}

impl Default for Sources {
    fn default() -> Self {
        Self { peers: Vec::new(), mirrors: Vec::new(), file_roots: vec![PathBuf::from("/")] }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Discovery {
    pub kad: bool,
    #[serde(deserialize_with = "crate::address::peers")]
    pub bootstrap: Vec<Multiaddr>,
    pub mdns: bool,
}

/// Which versions of `/rpp/snapshots` the node speaks, in both roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Protocol {
    /// Both; a session uses the newest one that both nodes support.
    #[serde(rename = "auto")]
    Auto,
    /// Only `/rpp/snapshots/1.0.0`.
    #[serde(rename = "1.0.0")]
    V1,
    /// Only `/rpp/snapshots/2.0.0`.
    #[serde(rename = "2.0.0")]
    V2,
}

/// What an acknowledged chunk survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// A power loss.
    Strict,
    /// SIGKILL of the process.
    Process,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Trust {
    /// `None` (an empty string in the file): this node cannot consume.
    pub genesis: Option<Hash>,
    pub publishers: Vec<Hash>,
    pub threshold: u64,
    pub revoked: Vec<Hash>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Publisher {
    pub key_file: PathBuf,
    pub chain_id: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Introspection {
    pub enabled: bool,
    pub listen: SocketAddr,
    /// `None` (an empty string in the file): the control plane's token.
    pub token_file: Option<PathBuf>,
    pub allowed_origins: Vec<String>,
    pub max_clients: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Fleet {
    /// `host:port`, or empty.
    pub dashboard: String,
    /// The name of this node in a cut; empty: `rpp-node-` and the last six characters of its peer id.
    pub name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Log {
    pub format: LogFormat,
    pub filter: String,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum LogFormat {
    Auto,
    Text,
    Json,
}
