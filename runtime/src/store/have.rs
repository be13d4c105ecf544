//! `partial/<root>/have`: which parts of a partial payload are durable, wherever they are. The file is written as a
//! whole and synced after the bytes that it names, and before the record of them. [`Have`] defines its format.

use std::io;

use rpp_p2p::{
    Hash, Have,
    have::{HaveError, MAX_HAVE_BYTES},
};

use crate::files::Dir;

/// Its name.
pub(crate) const HAVE: &str = "have";

/// The content of the file.
#[derive(Debug)]
pub(super) enum Said {
    Has(Have),
    /// There is no file: nothing was durable yet, or an earlier version of this program wrote the payload.
    Missing,
    /// Its content cannot be trusted.
    Damaged(UnreadableHave),
}

/// Why the content cannot be trusted. The disk is at fault, or the program or person that changed the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnreadableHave {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Content(#[from] HaveError),
}

/// Reads the file.
pub(super) fn read(folder: &Dir, root: &Hash, payload_bytes: u64) -> Said {
    match folder.read(HAVE, MAX_HAVE_BYTES as u64) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Said::Missing,
        Err(error) => Said::Damaged(error.into()),
        Ok(bytes) => match Have::decode(root, payload_bytes, &bytes) {
            Ok(have) => Said::Has(have),
            Err(error) => Said::Damaged(error.into()),
        },
    }
}

/// Writes the file; on return it is durable.
pub(super) fn write(folder: &Dir, root: &Hash, have: &Have) -> io::Result<()> {
    folder.write_atomic(HAVE, &have.encode(root), 0o600)
}
