//! What can go wrong with the database.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;

use super::holder;

/// The database cannot do what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file is not a database of ours, or of a newer version.
    #[error("{path:?} is not a database of this collector (schema {found}, {wanted} is needed): name another file")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The version that the file has.
        found: i64,
        /// The version that this program writes.
        wanted: i64,
    },
    /// Another collector is using it.
    #[error("another collector uses the database (it holds {lock:?}): stop that one, or name another file")]
    InUse {
        /// The file that a running collector keeps locked.
        lock: PathBuf,
    },
    /// Another program keeps the collector from writing.
    #[error(
        "the database is locked by {}: end its open transaction (in a shell: COMMIT or ROLLBACK) and ask again",
        by.as_deref().unwrap_or("another program, as a shell with an open transaction")
    )]
    Locked {
        /// Which program, if the system tells.
        by: Option<String>,
    },
    /// The disk or the configured bound is full.
    #[error("there is no room for the cut: {0}")]
    Full(String),
    /// The path of the database cannot be examined.
    #[error("the database {path:?} cannot be reached ({source}): make its folder available and ask again")]
    Unreachable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file, or one that SQLite needs beside it, cannot be opened or made.
    #[error("{} cannot be opened or made: {source}{}", file.display(), hint(source))]
    NotOpened {
        /// Which file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is no database.
    #[error("{} is no SQLite database: name another file", path.display())]
    NoDatabase {
        /// The file.
        path: PathBuf,
    },
    /// SQLite failed in another way.
    #[error("the database failed: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// The writer has ended because the collector is stopping.
    #[error("the database is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(
                "the disk, or the size set by PEEPS_DB_MAX_BYTES, is used up; make room and ask again".into(),
            ),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { by: None },
            _ => Self::Sqlite(error),
        }
    }
}

impl StoreError {
    /// Names the program that holds the lock.
    pub(crate) fn with_holder(self, db: &Path) -> Self {
        match self {
            Self::Locked { by: None } => Self::Locked { by: holder::writer(db) },
            other => other,
        }
    }

    /// Adds the file and the system's error, which SQLite does not tell.
    pub(super) fn with_file(self, db: &Path) -> Self {
        let code = match &self {
            Self::Sqlite(error) => error.sqlite_error_code(),
            _ => None,
        };
        match code {
            Some(ErrorCode::NotADatabase) => Self::NoDatabase { path: db.into() },
            Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure) => match unopened(db) {
                Some((file, source)) => Self::NotOpened { file, source },
                None => self,
            },
            _ => self,
        }
    }

    pub(super) fn unreachable(path: &Path, source: io::Error) -> Self {
        Self::Unreachable { path: path.into(), source }
    }

    /// Whether SQLite's memory bound was reached, because of queries that end soon.
    pub(super) fn is_memory(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::OutOfMemory))
    }

    /// Whether the connection may be unusable from here on.
    pub(super) fn is_io(&self) -> bool {
        match self {
            Self::NotOpened { .. } => true,
            Self::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::DatabaseCorrupt)
            ),
            _ => false,
        }
    }
}

/// The first of the database's files that cannot be opened, and why. Those that are missing are made, as SQLite does.
fn unopened(db: &Path) -> Option<(PathBuf, io::Error)> {
    ["", "-wal", "-shm"].into_iter().find_map(|suffix| {
        let mut file = db.as_os_str().to_owned();
        file.push(suffix);
        let file = PathBuf::from(file);
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(&file);
        Some((file, opened.err()?))
    })
}

/// A file that is being made takes no bytes, so something else is lacking.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => "; look at the free inodes as well (df -i)",
        io::ErrorKind::NotFound => "; its folder must exist",
        _ => "",
    }
}
