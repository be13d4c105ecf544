//! `data/run.json`: the addresses of the running node. `run` writes it; `fetch`, `status`, `introspect` and `demo` read it.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The addresses of a running node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunFile {
    /// Always `listening`.
    pub(crate) event: String,
    pub(crate) pid: u32,
    pub(crate) peer_id: String,
    /// Multiaddrs ending in the peer id.
    pub(crate) listen: Vec<String>,
    pub(crate) rpc: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) introspection: Option<SocketAddr>,
    pub(crate) version: String,
}

impl RunFile {
    /// The path of the file.
    pub(crate) fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("run.json")
    }

    /// Writes the file completely or not at all. Nothing relies on it after a power loss.
    pub(crate) fn write(&self, data_dir: &Path) -> io::Result<()> {
        let mut new = tempfile::Builder::new().prefix(".run-").tempfile_in(data_dir)?;
        serde_json::to_writer(&mut new, self)?;
        new.write_all(b"\n")?;
        new.persist(Self::path(data_dir)).map_err(|error| error.error)?;
        Ok(())
    }

    /// Why a running node cannot be reached: `key` has port 0, and there is no file.
    pub(crate) fn missing(key: &str, data_dir: &Path) -> String {
        let path = Self::path(data_dir);
        format!("`{key}` has port 0 and no node has written its address to {}: is it running?", path.display())
    }

    /// Removes the file, if it exists.
    pub(crate) fn remove(data_dir: &Path) {
        let _ = std::fs::remove_file(Self::path(data_dir));
    }
}
