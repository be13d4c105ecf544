//! The destination while it is being filled: a sibling folder with a name of its own, which becomes the destination by
//! one rename.
//!
//! The process that fills the folder holds a lock on it. If the lock is free, the folder was left by a killed process,
//! whatever process id is in its name. The next extraction to the same destination removes it.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, TryLockError},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags};

use super::UnpackError;
use crate::store::explained;

/// Bytes of the destination's name that are used; file names may have 255 bytes.
const KEPT_OF_NAME: usize = 200;
/// Names that are tried if others make or remove folders at the same time.
const TRIES: u32 = 16;

pub(super) struct Staging {
    path: PathBuf,
    dest: PathBuf,
    folder: File,
    /// The mode bits that the umask and the parent folder allow for new folders.
    allowed: u32,
    placed: bool,
}

impl Staging {
    /// Makes the folder, empty and accessible to its owner only; `dest` must not exist.
    pub(super) fn new(dest: &Path) -> Result<Self, UnpackError> {
        let failed = |source| UnpackError::Destination { path: dest.to_owned(), source: explained(source, dest) };
        let name = dest.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        if dest.symlink_metadata().is_ok() {
            return Err(UnpackError::Exists { path: dest.to_owned() });
        }
        let prefix = prefix(name);
        remove_abandoned(parent(dest), &prefix);
        for _ in 0..TRIES {
            let mut name = prefix.clone();
            name.push(format!("{:016x}", rand::random::<u64>()));
            let path = dest.with_file_name(name);
            match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755)) {
                Err(rustix::io::Errno::EXIST) => continue,
                made => made.map_err(|error| failed(error.into()))?,
            }
            let locked = lock(&path).and_then(|folder| {
                let allowed = folder.as_ref().map(|folder| folder.metadata().map(|metadata| metadata.mode() & 0o7777));
                Ok(folder.zip(allowed.transpose()?))
            });
            let locked = locked.map_err(|error| {
                // The folder is empty, and nobody uses it.
                let _ = std::fs::remove_dir(&path);
                failed(error)
            })?;
            if let Some((folder, allowed)) = locked {
                let staging = Self { path, dest: dest.to_owned(), folder, allowed, placed: false };
                staging.folder.set_permissions(PermissionsExt::from_mode(0o700)).map_err(failed)?;
                return Ok(staging);
            }
        }
        Err(failed(io::Error::other("others remove what is made here")))
    }

    pub(super) fn folder(&self) -> &File {
        &self.folder
    }

    /// Mode bits that new folders may have here, according to the umask or the parent's default ACL.
    pub(super) fn allowed(&self) -> u32 {
        self.allowed
    }

    /// Makes everything durable and renames it to the destination. Its mode is `mode`, as far as allowed.
    pub(super) fn place(mut self, mode: u32) -> Result<(), UnpackError> {
        let failed = |source: io::Error| UnpackError::Destination { path: self.dest.clone(), source };
        let mode = (mode & self.allowed) | (self.allowed & 0o2000);
        self.folder.set_permissions(PermissionsExt::from_mode(mode)).map_err(failed)?;
        // The content must be durable before the rename makes it visible.
        rustix::fs::syncfs(&self.folder).map_err(|error| failed(error.into()))?;
        match rustix::fs::renameat_with(CWD, &self.path, CWD, &self.dest, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::EXIST) => return Err(UnpackError::Exists { path: self.dest.clone() }),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                std::fs::rename(&self.path, &self.dest).map_err(failed)?;
            }
            other => other.map_err(|error| failed(error.into()))?,
        }
        self.placed = true;
        let synced = File::open(parent(&self.dest)).and_then(|parent| parent.sync_all());
        synced.map_err(|source| UnpackError::Unsynced { path: self.dest.clone(), source })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.placed
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a half-extracted folder stays until the next unpack");
        }
    }
}

fn parent(dest: &Path) -> &Path {
    dest.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn prefix(name: &OsStr) -> OsString {
    let name = name.as_bytes();
    let mut prefix = OsString::from(".");
    prefix.push(OsStr::from_bytes(&name[..name.len().min(KEPT_OF_NAME)]));
    prefix.push(".unpacking-");
    prefix
}

/// Opens and locks a folder; `None` if somebody else holds or removed it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let folder = match open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match folder.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        // If the file system has no locks, no other process removes folders either.
        Err(TryLockError::Error(error)) if is_unsupported(&error) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // A process that removes an abandoned folder holds its lock until the folder is gone.
    let (open, there) = (folder.metadata()?, path.symlink_metadata());
    let same = there.is_ok_and(|there| (there.dev(), there.ino()) == (open.dev(), open.ino()));
    Ok(same.then_some(folder))
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

fn is_unsupported(error: &io::Error) -> bool {
    let error = rustix::io::Errno::from_io_error(error);
    matches!(error, Some(rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOLCK))
}

/// Removes folders that killed extractions to the same destination left. If one cannot be removed, it stays and does no
/// harm.
fn remove_abandoned(parent: &Path, prefix: &OsStr) {
    let Ok(names) = std::fs::read_dir(parent) else { return };
    for entry in names.flatten() {
        let name = entry.file_name();
        let rest = name.as_bytes().strip_prefix(prefix.as_bytes());
        if !rest.is_some_and(|rest| !rest.is_empty() && rest.iter().all(u8::is_ascii_hexdigit)) {
            continue;
        }
        let path = parent.join(&name);
        let Ok(folder) = open(&path) else { continue };
        // Without the lock it is unknown whether a process is using it.
        if folder.try_lock().is_err() {
            continue;
        }
        match std::fs::remove_dir_all(&path) {
            Ok(()) => tracing::info!(path = %path.display(), "removed what a killed unpack left"),
            Err(error) => tracing::warn!(path = %path.display(), %error, "what a killed unpack left stays"),
        }
    }
}
