//! The writer's connection. It writes the file at the configured path, also after that file was removed or replaced.
//!
//! SQLite keeps writing to a file that was removed or replaced, and reports success. Everything that it writes then is
//! lost when the connection closes. So before each command, the file at the path is compared with the open one.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, config::DbConfig, params};

use super::{StoreError, schema};

/// Identifies a file independently of its name: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId(u64, u64);

impl FileId {
    /// The file at the path; `None` if there is none.
    fn of(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(file) => Ok(Some(Self(file.dev(), file.ino()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The database, open for writing and locked against other collectors.
pub(super) struct WritableDb {
    db: Connection,
    path: PathBuf,
    max_bytes: u64,
    /// The file that is open; `None` if opening it again failed.
    file: Option<FileId>,
    /// The id of the next cut. The file contains it as well, but may be removed.
    next_id: i64,
    /// Released after the database is closed; `None` if the file system has no locks.
    lock: Option<File>,
}

impl WritableDb {
    /// Opens the database, and creates it if it is absent.
    ///
    /// # Errors
    /// Another collector uses it, it belongs to another program, or it cannot be opened.
    pub(super) fn open(path: &Path, max_bytes: u64) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        let db = schema::open_writer(path, max_bytes).map_err(|error| error.with_file(path))?;
        let file = FileId::of(path).map_err(|source| StoreError::unreachable(path, source))?;
        let next_id = db.query_row("SELECT id FROM next_snapshot", [], |row| row.get(0))?;
        Ok(Self { db, path: path.into(), max_bytes, file, next_id, lock })
    }

    /// The connection to the file at the path. If the open file was removed or replaced, this logs it and opens the
    /// file that is at the path now, or creates one. The ids of cuts go on in that file.
    ///
    /// # Errors
    /// The path cannot be examined, or the file there cannot be used.
    pub(super) fn current(&mut self) -> Result<&mut Connection, StoreError> {
        let there = FileId::of(&self.path).map_err(|source| StoreError::unreachable(&self.path, source))?;
        if there.is_none() || there != self.file {
            if self.file.take().is_some() {
                tracing::error!(
                    "the database {} was {} while it was in use: {}, and the cuts of the old file are not in it",
                    self.path.display(),
                    if there.is_some() { "replaced" } else { "removed" },
                    if there.is_some() { "the new file is used" } else { "a new one is begun" },
                );
            }
            self.reopen()?;
        }
        Ok(&mut self.db)
    }

    /// The connection, without looking at the path.
    pub(super) fn connection(&self) -> &Connection {
        &self.db
    }

    /// Opens the file at the path again, or creates it.
    pub(super) fn reopen(&mut self) -> Result<(), StoreError> {
        // Otherwise, closing the last connection would move the log into the file that is at the path now, or remove
        // that file's log.
        let _ = self.db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        self.file = None;
        self.db = Connection::open_in_memory()?;
        self.lock = None;
        self.lock = lock(&self.path)?;
        let opened = schema::open_writer(&self.path, self.max_bytes);
        self.db = opened.map_err(|error| error.with_file(&self.path))?;
        self.file = FileId::of(&self.path).map_err(|source| StoreError::unreachable(&self.path, source))?;
        self.db.execute("UPDATE next_snapshot SET id = max(id, ?1)", params![self.next_id])?;
        Ok(())
    }

    /// A cut was stored under this id.
    pub(super) fn allocated(&mut self, id: i64) {
        self.next_id = self.next_id.max(id.saturating_add(1));
    }
}

/// Locked while a collector runs; `None` if the file system has no locks.
fn lock(db: &Path) -> Result<Option<File>, StoreError> {
    let mut path = db.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    // If the folder cannot be written, SQLite reports it.
    let Ok(file) = File::options().create(true).write(true).truncate(false).open(&path) else { return Ok(None) };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { lock: path }),
        Err(TryLockError::Error(error)) => {
            tracing::debug!(%error, "no lock on this file system: a second collector would not be noticed");
            Ok(None)
        }
    }
}
