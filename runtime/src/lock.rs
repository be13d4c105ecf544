//! The lock that lets only one node use a data folder.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::limits::DATA_LOCK_PATIENCE;

const POLL: Duration = Duration::from_millis(10);

/// Why the folder could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another node has locked the folder.
    #[error("{folder} is in use by another node{holder}: stop that one, or give this one its own data_dir")]
    Held {
        /// The data folder.
        folder: PathBuf,
        /// Its process id, if known.
        holder: String,
    },
    /// The lock file could not be used.
    #[error("cannot lock {path}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The lock. It is held until dropped; the kernel frees it at the latest when the process ends.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

impl DataLock {
    /// Locks `folder`, which must exist.
    ///
    /// # Errors
    /// Another node holds it, or the lock file cannot be opened.
    pub fn acquire(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join("lock");
        let io = |source| LockError::Io { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0))
            .open(&path)
            .map_err(io)?;
        match lock_soon(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim().parse::<u32>() {
                    Ok(pid) => format!(" (process {pid})"),
                    Err(_) => String::new(),
                };
                return Err(LockError::Held { folder: folder.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        // The file is written only for the message above, so a full disk must not keep the node from starting.
        if let Err(error) = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())) {
            tracing::warn!("cannot write this process's number to {}: {error}", path.display());
        }
        Ok(Self { _file: file })
    }
}

/// Locks a file that nobody else may hold for long. A child process has a copy of every open file of its parent until
/// it executes its program. So a lock that was released a moment ago may still be held by that copy. Blocks for a
/// second at most.
pub(crate) fn lock_soon(file: &File) -> Result<(), TryLockError> {
    let until = Instant::now() + DATA_LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(POLL),
            done => return done,
        }
    }
}
