//! What a write lacked that failed for lack of room.

use std::{io, path::Path};

use super::space::{DiskSpace, Space};
use crate::files::is_full;

/// Why a file cannot be made, or cannot grow, although bytes are free.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoRoom {
    /// The file system can hold no more files.
    #[error("no inodes are left (df -i): remove files that nobody needs")]
    Inodes(#[source] io::Error),
    /// The user or the folder may have no more.
    #[error("the disk quota is used up")]
    Quota(#[source] io::Error),
    /// The file may not grow.
    #[error("the file would be larger than the file system, or the limit of this process (ulimit -f), allows")]
    FileSize(#[source] io::Error),
    /// Only the system knows.
    #[error(transparent)]
    Unknown(io::Error),
}

/// What was lacking.
#[derive(Debug)]
pub(crate) enum Lack {
    /// Bytes; so many are free.
    Bytes { free: u64 },
    /// Anything else.
    Room(NoRoom),
}

/// Finds out what a write of `needed` bytes in `folder` lacked.
///
/// # Errors
/// The error itself, if it is not about room.
pub(crate) fn lack(source: io::Error, needed: u64, space: &dyn Space, folder: &Path) -> Result<Lack, io::Error> {
    if !is_full(&source) {
        return Err(source);
    }
    Ok(match source.kind() {
        io::ErrorKind::QuotaExceeded => Lack::Room(NoRoom::Quota(source)),
        io::ErrorKind::FileTooLarge => Lack::Room(NoRoom::FileSize(source)),
        _ => match space.free_bytes(folder) {
            Ok(free) if free < needed => Lack::Bytes { free },
            _ if matches!(space.has_inodes(folder), Ok(false)) => Lack::Room(NoRoom::Inodes(source)),
            _ => Lack::Room(NoRoom::Unknown(source)),
        },
    })
}

/// The error of a file that could not be made or written; says what was lacking if that is not bytes.
pub(crate) fn explained(source: io::Error, path: &Path) -> io::Error {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let kind = source.kind();
    match lack(source, 0, &DiskSpace, folder) {
        Ok(Lack::Room(NoRoom::Unknown(source))) | Err(source) => source,
        Ok(Lack::Room(reason)) => io::Error::new(kind, reason),
        Ok(Lack::Bytes { .. }) => kind.into(), // No file has fewer bytes than none.
    }
}
