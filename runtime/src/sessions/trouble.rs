//! Failures of this node's own files during a session.

use std::{path::PathBuf, sync::Arc};

use rpp_p2p::error::Cause;

use crate::{db::DbError, error::explain, store::StoreError};

/// An error that several receivers share. It is equal only to its own clones.
#[derive(Debug)]
pub(crate) struct Shared<E>(Arc<E>);

impl<E> Shared<E> {
    pub(crate) fn new(error: E) -> Self {
        Self(Arc::new(error))
    }
}

impl<E> Clone for Shared<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E> PartialEq for Shared<E> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<E> Eq for Shared<E> {}

impl<E: std::error::Error> std::fmt::Display for Shared<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&*self.0, f)
    }
}

impl<E: std::error::Error> std::error::Error for Shared<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl<E> std::ops::Deref for Shared<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.0
    }
}

/// A record could not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    /// The machine's fault: the database cannot be written now. This passes when there is room, or when the disk is
    /// repaired.
    #[error("{}", unwritable(&**.0))]
    Unwritable(Shared<DbError>),
    /// A fault of this node: the record cannot be encoded. It does not pass.
    #[error("{}", explain(&**.0))]
    Unfit(Shared<DbError>),
}

impl RecordError {
    /// Whether the same record may be written later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Unwritable(_))
    }
}

impl From<DbError> for RecordError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Encode(_) => Self::Unfit(Shared::new(error)),
            _ => Self::Unwritable(Shared::new(error)),
        }
    }
}

/// Something of a removed session is still on disk and could not be removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoveError {
    /// The note beside its payload, from which the session would be restored.
    #[error("cannot remove {path}")]
    Note {
        /// The note.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Its payload.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the disk failed to do a step for a payload.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The payload does not fit on the disk.
    #[error("{needed} bytes are needed, {free} are free")]
    Full { needed: u64, free: u64 },
    /// A file of this node cannot be written now. The session pauses.
    #[error("{}", cannot_write(.0))]
    Unwritable(StoreError),
    /// The database cannot be written now. The session pauses.
    #[error("{}", unwritable(.0))]
    Unrecorded(DbError),
    /// The disk failed, or it returns other bytes than were written.
    #[error("{}", explain(.0))]
    Store(StoreError),
    /// A fault of this node: a value cannot be encoded.
    #[error("{}", explain(.0))]
    Encode(DbError),
    /// The store's folder could not be read.
    #[error("the store cannot be listed: {0}")]
    Unlisted(#[source] std::io::Error),
    /// Another process keeps moving the payload in and out of the store.
    #[error("payload {root} is put into the store and taken out of it again and again")]
    Unsteady { root: rpp_p2p::Hash },
    /// Its session was cancelled, or the node stops.
    #[error("the session was cancelled")]
    Cancelled,
    /// A fault of this node: the payload is already in place, so nothing can be written to it.
    #[error("the payload is in place already")]
    PlacedAlready,
    /// A fault of this node: its store panicked.
    #[error("this node's store failed in an unforeseen way; see the log")]
    Unforeseen,
}

impl From<DbError> for Trouble {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Encode(_) => Self::Encode(error),
            _ => Self::Unrecorded(error),
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full { path: None, needed, free } => Self::Full { needed, free },
            StoreError::Full { .. } | StoreError::NoRoom { .. } | StoreError::Note { .. } => Self::Unwritable(error),
            StoreError::Abandoned { .. } => Self::Cancelled,
            other => Self::Store(other),
        }
    }
}

impl From<Trouble> for rpp_p2p::consumer::Storage {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Full { needed, free } => Self::Full { needed, free },
            Trouble::Unwritable(_) | Trouble::Unrecorded(_) => Self::Unwritable(Cause::new(trouble)),
            other => Self::Failed(Cause::new(other)),
        }
    }
}

fn cannot_write(error: &StoreError) -> String {
    match error {
        StoreError::Full { .. } => {
            format!("the disk is full: {error}; make room, and the session goes on by itself")
        }
        other => unwritable(other),
    }
}

/// The operator's message about a write that is tried again.
pub(crate) fn unwritable(error: &dyn std::error::Error) -> String {
    format!("{}: make room or mend the disk, and it goes on by itself", explain(error))
}

#[cfg(test)]
mod tests {
    use rpp_p2p::consumer::Storage;

    use super::*;
    use crate::store::NoRoom;

    #[test]
    fn a_lack_of_inodes_pauses_and_is_said_without_free_bytes() {
        let reason = NoRoom::Inodes(std::io::Error::from_raw_os_error(28));
        let error = StoreError::NoRoom { path: "/data/payload".into(), reason };
        let Storage::Unwritable(cause) = Storage::from(Trouble::from(error)) else { panic!("it does not pause") };
        let said = cause.as_str();
        assert!(said.starts_with("cannot write /data/payload: no inodes are left (df -i)"), "{said}");
        assert!(said.contains("by itself") && !said.contains("needed, "), "{said}");
    }
}
