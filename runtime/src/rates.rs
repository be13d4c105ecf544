//! Byte rate limits: from the configuration, changed by an operator while the node runs, and kept in
//! `data/limits.json`.
//!
//! They count bytes of payload. Other modules enforce them: a session asks before it requests a chunk, and the provider
//! asks before it serves one.

mod metrics;
mod node;

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    files::{
        self, Dir,
        sealed::{self, SealError},
    },
    limits::MAX_LIMITS_FILE,
};

pub(crate) use self::metrics::LimitMetrics;

const NAME: &str = "limits.json";
const VERSION: u32 = 1;

/// Bytes of payload a second; 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByteLimits {
    /// Of all downloads together.
    pub download_bytes_per_second: u64,
    /// To all peers together.
    pub upload_bytes_per_second: u64,
    /// To one peer.
    pub upload_bytes_per_second_per_peer: u64,
}

/// The limits in force: `GET /p2p/limits`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsInForce {
    /// The limits.
    #[serde(flatten)]
    pub limits: ByteLimits,
    /// The same limits hold after a restart, because they stand in the configuration or in `data/limits.json`.
    pub persistent: bool,
}

/// A change of the limits. A limit that is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // as in `ByteLimits`
pub struct LimitsChange {
    pub download_bytes_per_second: Option<u64>,
    pub upload_bytes_per_second: Option<u64>,
    pub upload_bytes_per_second_per_peer: Option<u64>,
    /// Keep the limits over a restart.
    pub persist: bool,
}

impl ByteLimits {
    /// These limits after a change.
    #[must_use]
    pub fn changed(self, change: &LimitsChange) -> Self {
        Self {
            download_bytes_per_second: change.download_bytes_per_second.unwrap_or(self.download_bytes_per_second),
            upload_bytes_per_second: change.upload_bytes_per_second.unwrap_or(self.upload_bytes_per_second),
            upload_bytes_per_second_per_peer: change
                .upload_bytes_per_second_per_peer
                .unwrap_or(self.upload_bytes_per_second_per_peer),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct LimitsFile {
    version: u32,
    limits: ByteLimits,
}

/// The limits that were saved; `None` if there is no file. Blocks.
///
/// # Errors
/// The file cannot be read; the sentence says what to do.
pub(crate) fn load(data_dir: &Path) -> Result<Option<ByteLimits>, UnreadableLimits> {
    let told = |reason| UnreadableLimits { path: data_dir.join(NAME), reason };
    let bytes = match Dir::open(data_dir).and_then(|folder| folder.read(NAME, MAX_LIMITS_FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(told(error.into())),
    };
    match sealed::open::<LimitsFile>(&bytes) {
        Ok(LimitsFile { version: VERSION, limits }) => Ok(Some(limits)),
        Ok(LimitsFile { version, .. }) => Err(told(LimitsFlaw::Version { found: version })),
        Err(error) => Err(told(error.into())),
    }
}

/// The saved limits cannot be read. The disk is at fault, or another version of this program wrote them.
#[derive(Debug, thiserror::Error)]
#[error(
    "the limits are those of the configuration, because {} cannot be read: {}; remove it, or set them anew with \
     `rpp-node limits --persist`",
    path.display(), files::with_causes(reason)
)]
pub(crate) struct UnreadableLimits {
    path: PathBuf,
    reason: LimitsFlaw,
}

/// What is wrong with the file of the limits.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LimitsFlaw {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("it is of version {found}, this program reads {VERSION}")]
    Version { found: u32 },
}

/// The limits could not be saved. The disk is at fault. They are in force all the same.
#[derive(Debug, thiserror::Error)]
#[error("the limits are in force, but would not outlive a restart: {}; try again", files::with_causes(.0))]
struct UnsavedLimits(io::Error);

/// Durable on return. Blocks.
fn save(data_dir: &Path, limits: ByteLimits) -> io::Result<()> {
    let bytes = sealed::seal(&LimitsFile { version: VERSION, limits })?;
    Dir::open(data_dir)?.write_atomic(NAME, &bytes, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_a_damaged_file_is_said() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path()).unwrap(), None);
        let change = LimitsChange { upload_bytes_per_second: Some(7), ..LimitsChange::default() };
        let limits = ByteLimits { download_bytes_per_second: 5, ..ByteLimits::default() }.changed(&change);
        assert_eq!((limits.download_bytes_per_second, limits.upload_bytes_per_second), (5, 7));
        save(folder.path(), limits).unwrap();
        assert_eq!(load(folder.path()).unwrap(), Some(limits));
        let path = folder.path().join(NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let said = load(folder.path()).unwrap_err().to_string();
        assert!(said.contains("checksum") && said.contains("limits --persist"), "{said}");
    }
}
