//! What can go wrong with the database.

use std::path::PathBuf;

use rusqlite::ErrorCode;

/// The database cannot do what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Not a database of ours, or of a newer version.
    #[error("{path:?} is not a database of this collector (schema {found}, {wanted} is needed): name another file")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it says of itself.
        found: i64,
        /// What we write.
        wanted: i64,
    },
    /// Another collector uses it.
    #[error("the database is in use by another collector: stop that one, or name another file")]
    InUse,
    /// The disk, or the configured bound.
    #[error("there is no room for the cut: {0}")]
    Full(String),
    /// SQLite failed in another way.
    #[error("the database failed: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// The writer is gone: the collector is stopping.
    #[error("the database is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(
                "the disk, or the size set by PEEPS_DB_MAX_BYTES, is used up; make room and ask again".into(),
            ),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse,
            _ => Self::Sqlite(error),
        }
    }
}

impl StoreError {
    /// SQLite's memory bound was reached, by queries that end soon.
    pub(super) fn is_memory(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::OutOfMemory))
    }

    /// The connection may be unusable from here on.
    pub(super) fn is_io(&self) -> bool {
        matches!(self, Self::Sqlite(error) if matches!(error.sqlite_error_code(),
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::DatabaseCorrupt)))
    }
}
