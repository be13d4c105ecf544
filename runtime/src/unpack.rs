//! Extracts a tar into a folder that appears by rename, and never writes outside of it (`node.md` section 3).
//!
//! The payload was proven to be what the publisher signed, but that says nothing about what is in it. So everything is
//! refused that is not a plain file, a folder or a relative symlink that stays inside; so are absolute paths, `..`,
//! paths through a symlink, duplicates, hard links, devices, set-id bits, an entry whose folder has no entry of its
//! own before it, and anything after the end but zeros. Every parent is opened component by component without following
//! links. A link's target may begin with `..` as often as its folder is deep, and must not have `..` after a
//! name: that name could itself be a link.

mod reader;

use std::{
    ffi::{CString, OsStr},
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use crate::{
    store::Stored,
    tar::{Kind, MAX_DEPTH, MAX_ENTRIES},
};
use reader::{Entry, Reader};

const COPY_BUFFER: usize = 256 * 1024;
const MODE_SET_ID: u32 = 0o6000;

/// Bounds of one extraction.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most entries.
    pub max_entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_entries: MAX_ENTRIES }
    }
}

/// What was extracted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Files, folders and symlinks.
    pub entries: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

/// Why a tar could not be extracted. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The operator's: the destination is taken.
    #[error("{path} exists already: give a name that does not exist yet")]
    Exists {
        /// The destination.
        path: PathBuf,
    },
    /// The operator's: the destination has no name or no parent.
    #[error("{path} cannot be made: its parent folder must exist and be writable")]
    Destination {
        /// The destination.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The machine's: the payload cannot be read.
    #[error("cannot read the payload")]
    Read(#[source] io::Error),
    /// The machine's: something cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// Where in the destination.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The publisher's: not a tar, or a damaged one.
    #[error("not a readable tar at byte {offset}: {reason}")]
    Malformed {
        /// Where.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// The publisher's: an entry that must not be extracted.
    #[error("entry {path:?} is refused: {reason}")]
    Refused {
        /// The entry's path, escaped and cut.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// The publisher's: more entries than allowed.
    #[error("more than {max} entries")]
    TooManyEntries {
        /// The bound.
        max: u64,
    },
}

/// Extracts `payload` into `dest`, which must not exist and appears only when everything is there.
///
/// # Errors
/// See [`UnpackError`]; nothing is left behind.
pub fn unpack(payload: &Path, dest: &Path, limits: &Limits) -> Result<Unpacked, UnpackError> {
    let file = crate::files::open_nofollow(payload).map_err(UnpackError::Read)?;
    unpack_file(file, dest, limits)
}

/// [`unpack`] of a stored payload, which is not removed meanwhile.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_stored(stored: &Stored, dest: &Path, limits: &Limits) -> Result<Unpacked, UnpackError> {
    let _held = stored.open().map_err(|error| UnpackError::Read(io::Error::other(error)))?;
    unpack(&stored.payload_path(), dest, limits)
}

/// [`unpack`] of an open file, from its position on.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_file(payload: File, dest: &Path, limits: &Limits) -> Result<Unpacked, UnpackError> {
    let length = payload.metadata().map_err(UnpackError::Read)?.len();
    let staging = Staging::new(dest)?;
    let root = rustix::fs::open(&staging.path, folder_flags(), Mode::empty())
        .map_err(|error| UnpackError::Destination { path: dest.to_owned(), source: error.into() })?;
    let reader = Reader::new(io::BufReader::with_capacity(COPY_BUFFER, payload), length);
    let mut target = Target { root, parent: None, buffer: vec![0; COPY_BUFFER] };
    let unpacked = target.extract(reader, limits)?;
    staging.place(&target.root)?;
    Ok(unpacked)
}

/// The temporary sibling of the destination; removed when dropped before it was placed.
struct Staging {
    path: PathBuf,
    dest: PathBuf,
    placed: bool,
}

impl Staging {
    fn new(dest: &Path) -> Result<Self, UnpackError> {
        if dest.symlink_metadata().is_ok() {
            return Err(UnpackError::Exists { path: dest.to_owned() });
        }
        let failed = |source| UnpackError::Destination { path: dest.to_owned(), source };
        let name = dest.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let mut temporary = OsStr::new(".").to_owned();
        temporary.push(name);
        temporary.push(format!(".unpacking-{}", std::process::id()));
        let path = dest.with_file_name(temporary);
        std::fs::create_dir(&path).map_err(failed)?;
        Ok(Self { path, dest: dest.to_owned(), placed: false })
    }

    fn place(mut self, root: &OwnedFd) -> Result<(), UnpackError> {
        let failed = |source: io::Error| UnpackError::Destination { path: self.dest.clone(), source };
        // What the rename shows must be there after a power loss, too.
        rustix::fs::syncfs(root).map_err(|error| failed(error.into()))?;
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(rustix::fs::CWD, &self.path, rustix::fs::CWD, &self.dest, flags) {
            Err(rustix::io::Errno::EXIST) => return Err(UnpackError::Exists { path: self.dest.clone() }),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                std::fs::rename(&self.path, &self.dest).map_err(failed)?;
            }
            other => other.map_err(|error| failed(error.into()))?,
        }
        self.placed = true;
        let parent = self.dest.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new("."))).and_then(|parent| parent.sync_all()).map_err(failed)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.placed
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a half-extracted folder stays behind");
        }
    }
}

struct Target {
    root: OwnedFd,
    /// The folder of the entry before: most entries share it with their neighbour.
    parent: Option<(Vec<u8>, OwnedFd)>,
    buffer: Vec<u8>,
}

impl Target {
    fn extract<R: Read>(&mut self, mut reader: Reader<R>, limits: &Limits) -> Result<Unpacked, UnpackError> {
        let mut unpacked = Unpacked::default();
        while let Some(entry) = reader.next()? {
            unpacked.entries += 1;
            if unpacked.entries > limits.max_entries {
                return Err(UnpackError::TooManyEntries { max: limits.max_entries });
            }
            if entry.mode & MODE_SET_ID != 0 {
                return Err(refused(&entry.path, "it has a set-user-id or set-group-id bit"));
            }
            let components = components(&entry.path)?;
            let Some((name, folders)) = components.split_last() else {
                // "./", as other programs write it.
                unpacked.entries -= 1;
                self.only_folder(&entry)?;
                continue;
            };
            self.enter(folders, &entry.path)?;
            match entry.kind {
                Kind::Folder => self.folder(name, &entry)?,
                Kind::Symlink => self.symlink(name, folders.len(), &entry)?,
                Kind::File => unpacked.bytes += self.file(name, &entry, &mut reader)?,
            }
        }
        Ok(unpacked)
    }

    fn only_folder(&self, entry: &Entry) -> Result<(), UnpackError> {
        match entry.kind {
            Kind::Folder => Ok(()),
            _ => Err(refused(&entry.path, "it has no name")),
        }
    }

    /// Makes `folders` the parent, opened one by one without following links.
    fn enter(&mut self, folders: &[&[u8]], path: &[u8]) -> Result<(), UnpackError> {
        let joined = folders.join(&b'/');
        if self.parent.as_ref().is_some_and(|(open, _)| *open == joined) {
            return Ok(());
        }
        let mut fd = self.root.try_clone().map_err(|error| failed(path, error))?;
        for folder in folders {
            let name = c_name(folder).map_err(|error| failed(path, error))?;
            fd = match rustix::fs::openat(&fd, name, folder_flags(), Mode::empty()) {
                Ok(fd) => fd,
                Err(rustix::io::Errno::NOENT) => return Err(refused(path, "its folder has no entry before it")),
                Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
                    return Err(refused(path, "its path leads through something that is not a folder"));
                }
                Err(error) => return Err(failed(path, error.into())),
            };
        }
        self.parent = Some((joined, fd));
        Ok(())
    }

    fn parent(&self) -> &OwnedFd {
        self.parent.as_ref().map_or(&self.root, |(_, fd)| fd)
    }

    fn folder(&self, name: &[u8], entry: &Entry) -> Result<(), UnpackError> {
        let made =
            c_name(name).and_then(|name| Ok(rustix::fs::mkdirat(self.parent(), name, Mode::from_raw_mode(0o755))?));
        made.map_err(|error| taken(&entry.path, error))
    }

    fn symlink(&self, name: &[u8], depth: usize, entry: &Entry) -> Result<(), UnpackError> {
        stays_inside(&entry.link, depth).map_err(|reason| refused(&entry.path, reason))?;
        let made =
            c_name(&entry.link).and_then(|target| Ok(rustix::fs::symlinkat(target, self.parent(), c_name(name)?)?));
        made.map_err(|error| taken(&entry.path, error))
    }

    fn file<R: Read>(&mut self, name: &[u8], entry: &Entry, reader: &mut Reader<R>) -> Result<u64, UnpackError> {
        let mode = if entry.mode & 0o100 == 0 { 0o644 } else { 0o755 };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = c_name(name)
            .and_then(|name| Ok(rustix::fs::openat(self.parent(), name, flags, Mode::from_raw_mode(mode))?));
        let mut file = File::from(made.map_err(|error| taken(&entry.path, error))?);
        let mut written = 0;
        loop {
            let read = reader.read_content(&mut self.buffer)?;
            if read == 0 {
                return Ok(written);
            }
            file.write_all(&self.buffer[..read]).map_err(|error| failed(&entry.path, error))?;
            written += read as u64;
        }
    }
}

/// The names of a path; refuses what could leave the destination.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, UnpackError> {
    if path.first() == Some(&b'/') {
        return Err(refused(path, "its path is absolute"));
    }
    let parts: Vec<&[u8]> = path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if parts.contains(&b"..".as_slice()) {
        return Err(refused(path, "its path contains '..'"));
    }
    if parts.len() > MAX_DEPTH + 1 {
        return Err(refused(path, "it is nested too deeply"));
    }
    Ok(parts)
}

/// Whether a link in a folder that is `depth` deep can lead only to what is inside.
fn stays_inside(target: &[u8], depth: usize) -> Result<(), &'static str> {
    if target.is_empty() {
        return Err("its target is empty");
    }
    if target[0] == b'/' {
        return Err("its target is absolute");
    }
    let mut up = 0;
    let mut named = false;
    for part in target.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if named => return Err("its target has '..' after a name, which could lead outside"),
            b".." => up += 1,
            _ => named = true,
        }
    }
    if up > depth { Err("its target leads outside") } else { Ok(()) }
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn c_name(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn refused(path: &[u8], reason: &'static str) -> UnpackError {
    UnpackError::Refused { path: shown(path), reason }
}

fn failed(path: &[u8], source: io::Error) -> UnpackError {
    UnpackError::Write { path: PathBuf::from(shown(path)), source }
}

fn taken(path: &[u8], error: io::Error) -> UnpackError {
    match error.kind() {
        io::ErrorKind::AlreadyExists => refused(path, "there is an entry of this path already"),
        io::ErrorKind::InvalidInput => refused(path, "its name cannot be written"),
        _ => failed(path, error),
    }
}

fn shown(path: &[u8]) -> String {
    rpp_p2p::text::escape(&String::from_utf8_lossy(path))
}

#[cfg(test)]
mod tests;
