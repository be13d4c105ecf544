//! The folder that is being filled. Nothing in it is reached through a link.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RawMode},
    io::Errno,
};

use super::{
    MAX_LISTED, Options, Refusal, UnpackError, Unpacked,
    reader::{EntryKind, Reader, TarEntry},
    refused, shown,
    small::{self, SmallFiles, Stopped},
    source::{ByteSource, Span},
};
use crate::{files::sparse, limits::MAX_DEPTH, store::explained, tar::links};

const MODE_SET_ID: u32 = 0o6000;
const FOLDER_MODE: u32 = 0o755;

pub(super) struct Target<'a> {
    root: OwnedFd,
    dest: &'a Path,
    options: &'a Options,
    /// Mode bits that the process may set.
    allowed: u32,
    root_mode: u32,
    /// The folder of the previous entry. Most entries are in the same folder as the one before.
    parent: Option<(Vec<u8>, OwnedFd)>,
    small: SmallFiles,
    /// Number of entries, and of folders that were made without one.
    made: u64,
    /// Whether some links can be judged only in the finished tree.
    walk: bool,
    unpacked: Unpacked,
}

/// Refuses an entry whose own header already forbids extracting it. Otherwise returns the names of its path.
pub(super) fn check(entry: &TarEntry) -> Result<Vec<&[u8]>, UnpackError> {
    if let EntryKind::Never(reason) = entry.kind {
        return Err(refused(&entry.path, reason));
    }
    if entry.mode & MODE_SET_ID != 0 {
        return Err(refused(&entry.path, "it has a set-user-id or set-group-id bit"));
    }
    let names = components(&entry.path, &entry.path)?;
    match entry.kind {
        EntryKind::Folder => {}
        _ if names.is_empty() => return Err(refused(&entry.path, "it has no name")),
        EntryKind::Symlink => {
            links::text(&entry.link, names.len() - 1).map_err(|reason| refused(&entry.path, reason))?;
        }
        EntryKind::HardLink => {
            original(entry)?;
        }
        _ => {}
    }
    Ok(names)
}

/// The names of the path to which a hard link refers.
fn original(entry: &TarEntry) -> Result<Vec<&[u8]>, UnpackError> {
    match components(&entry.link, &entry.path) {
        Ok(names) if !names.is_empty() => Ok(names),
        _ => Err(refused(&entry.path, NO_ORIGINAL)),
    }
}

const NO_ORIGINAL: &str = "it is a hard link to what no entry before it is";
const THROUGH: &str = "its path leads through something that is not a folder";
const NOT_EMPTY: &str = "a folder of this path holds something already";

impl<'a> Target<'a> {
    pub(super) fn new(
        folder: &File,
        allowed: u32,
        dest: &'a Path,
        options: &'a Options,
        small: SmallFiles,
    ) -> Result<Self, UnpackError> {
        let root = folder.try_clone().map_err(|source| UnpackError::Destination { path: dest.to_owned(), source })?;
        Ok(Self {
            root: root.into(),
            dest,
            options,
            allowed,
            root_mode: if options.private { 0o700 } else { FOLDER_MODE },
            parent: None,
            small,
            made: 0,
            walk: false,
            unpacked: Unpacked::default(),
        })
    }

    /// Hands over the last files. Returns the mode that the archive specifies for the destination itself.
    pub(super) fn finish(self) -> u32 {
        // If the writer has stopped, it reports the reason itself.
        let _ = self.small.finish();
        self.root_mode
    }

    pub(super) fn extract<I: ByteSource>(&mut self, reader: &mut Reader<I>) -> Result<Unpacked, UnpackError> {
        while let Some(entry) = reader.next()? {
            let taken = self.take(&entry, reader);
            self.unless_skipped(taken)?;
        }
        if self.walk {
            let root = self.root.try_clone().map_err(|error| self.failed(b"", error))?;
            self.judge_links(root, &mut Vec::new())?;
        }
        Ok(std::mem::take(&mut self.unpacked))
    }

    fn unless_skipped(&mut self, taken: Result<(), UnpackError>) -> Result<(), UnpackError> {
        match taken {
            Err(UnpackError::Refused { path, reason }) if self.options.skip_refused => {
                self.unpacked.refused_total += 1;
                if self.unpacked.refused.len() < MAX_LISTED {
                    self.unpacked.refused.push(Refusal { path, reason });
                }
                Ok(())
            }
            other => other,
        }
    }

    fn take<I: ByteSource>(&mut self, entry: &TarEntry, reader: &mut Reader<I>) -> Result<(), UnpackError> {
        // Refused entries count as well, so that their number is limited.
        self.count()?;
        let names = check(entry)?;
        let Some((name, folders)) = names.split_last() else {
            // This is the entry `./`, which other programs write.
            self.root_mode = self.folder_mode(entry.mode);
            return Ok(());
        };
        self.enter(folders, &entry.path)?;
        let name = c_name(name).map_err(|_| refused(&entry.path, "its name cannot be written"))?;
        match entry.kind {
            EntryKind::Folder => self.folder(&name, entry)?,
            EntryKind::Symlink => self.symlink(&name, folders.len(), entry, &entry.link)?,
            EntryKind::HardLink => self.hard_link(&name, folders.len(), entry)?,
            EntryKind::File => self.file(&name, entry, reader)?,
            EntryKind::Never(reason) => return Err(refused(&entry.path, reason)),
        }
        self.unpacked.entries += 1;
        Ok(())
    }

    fn count(&mut self) -> Result<(), UnpackError> {
        self.made += 1;
        if self.made > self.options.max_entries {
            return Err(UnpackError::TooManyEntries { max: self.options.max_entries });
        }
        Ok(())
    }

    /// Makes `folders` the current parent. They are opened one by one without following links, and created if they are
    /// missing.
    fn enter(&mut self, folders: &[&[u8]], path: &[u8]) -> Result<(), UnpackError> {
        if self.parent.as_ref().is_some_and(|(open, _)| is_joined(open, folders)) {
            return Ok(());
        }
        let mut fd = self.root.try_clone().map_err(|error| self.failed(path, error))?;
        for folder in folders {
            let name = c_name(folder).map_err(|_| refused(path, "its name cannot be written"))?;
            let mut opened = rustix::fs::openat(&fd, &name, folder_flags(), Mode::empty());
            if matches!(opened, Err(Errno::NOENT)) {
                self.count()?;
                let mode = bits(self.folder_mode(FOLDER_MODE));
                rustix::fs::mkdirat(&fd, &name, mode).map_err(|error| self.failed(path, error.into()))?;
                opened = rustix::fs::openat(&fd, &name, folder_flags(), Mode::empty());
            }
            fd = match opened {
                Ok(fd) => fd,
                Err(Errno::LOOP | Errno::NOTDIR) => return Err(refused(path, THROUGH)),
                Err(error) => return Err(self.failed(path, error.into())),
            };
        }
        self.parent = Some((folders.join(&b'/'), fd));
        Ok(())
    }

    fn parent(&self) -> &OwnedFd {
        self.parent.as_ref().map_or(&self.root, |(_, fd)| fd)
    }

    fn folder(&mut self, name: &CString, entry: &TarEntry) -> Result<(), UnpackError> {
        let mode = self.folder_mode(entry.mode);
        loop {
            match rustix::fs::mkdirat(self.parent(), name, bits(mode)) {
                Ok(()) => return Ok(()),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(self.failed(&entry.path, error.into())),
            }
            // The folder exists already, for its content or by an earlier entry.
            if self.kind(name, entry)? == FileType::Directory {
                let changed = rustix::fs::openat(self.parent(), name, folder_flags(), Mode::empty())
                    .and_then(|fd| rustix::fs::fchmod(&fd, bits((mode & self.allowed) | (self.allowed & 0o2000))));
                return changed.map_err(|error| self.failed(&entry.path, error.into()));
            }
            self.make_room(name, entry)?;
        }
    }

    fn symlink(&mut self, name: &CString, depth: usize, entry: &TarEntry, target: &[u8]) -> Result<(), UnpackError> {
        let judged = links::text(target, depth).map_err(|reason| refused(&entry.path, reason))?;
        self.walk |= judged == links::Text::Depends;
        let target = c_name(target).map_err(|_| refused(&entry.path, "its target has a zero byte"))?;
        loop {
            match rustix::fs::symlinkat(&target, self.parent(), name) {
                Ok(()) => return Ok(()),
                Err(Errno::EXIST) => self.make_room(name, entry)?,
                Err(error) => return Err(self.failed(&entry.path, error.into())),
            }
        }
    }

    /// A link to a file that was extracted earlier; if the original is a symlink, a second symlink.
    fn hard_link(&mut self, name: &CString, depth: usize, entry: &TarEntry) -> Result<(), UnpackError> {
        let parts = original(entry)?;
        if is_joined(&components(&entry.path, &entry.path)?.join(&b'/'), &parts) {
            return Ok(());
        }
        let Some((original, folders)) = parts.split_last() else { return Err(refused(&entry.path, NO_ORIGINAL)) };
        let folder = self.find(folders, &entry.path)?;
        let original = c_name(original).map_err(|_| refused(&entry.path, NO_ORIGINAL))?;
        let stat = match rustix::fs::statat(&folder, &original, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Err(refused(&entry.path, NO_ORIGINAL)),
            Err(error) => return Err(self.failed(&entry.path, error.into())),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&folder, &original, Vec::new())
                    .map_err(|error| self.failed(&entry.path, error.into()))?;
                return self.symlink(name, depth, entry, target.as_bytes());
            }
            _ => return Err(refused(&entry.path, "it is a hard link to a folder")),
        }
        loop {
            match rustix::fs::linkat(&folder, &original, self.parent(), name, AtFlags::empty()) {
                Ok(()) => return Ok(()),
                Err(Errno::EXIST) => self.make_room(name, entry)?,
                Err(error) => return Err(self.failed(&entry.path, error.into())),
            }
        }
    }

    /// The folder of a hard link's original.
    fn find(&self, folders: &[&[u8]], path: &[u8]) -> Result<OwnedFd, UnpackError> {
        let mut fd = self.root.try_clone().map_err(|error| self.failed(path, error))?;
        for folder in folders {
            let name = c_name(folder).map_err(|_| refused(path, NO_ORIGINAL))?;
            fd = match rustix::fs::openat(&fd, name, folder_flags(), Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Err(refused(path, NO_ORIGINAL)),
                Err(error) => return Err(self.failed(path, error.into())),
            };
        }
        Ok(fd)
    }

    fn file<I: ByteSource>(
        &mut self,
        name: &CString,
        entry: &TarEntry,
        reader: &mut Reader<I>,
    ) -> Result<(), UnpackError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = bits(self.file_mode(entry.mode));
        let file = loop {
            match rustix::fs::openat(self.parent(), name, flags, mode) {
                Ok(fd) => break File::from(fd),
                Err(Errno::EXIST) => self.make_room(name, entry)?,
                Err(error) => return Err(self.failed(&entry.path, error.into())),
            }
        };
        if reader.left() <= small::LARGEST {
            return self.small_file(file, entry, reader);
        }
        // Zeros are not written, so the end of the written part and the length of the file differ.
        let (mut written, mut length) = (0, 0);
        loop {
            match reader.content()? {
                Span::Data([]) => break,
                Span::Data(bytes) => {
                    written = write(&file, bytes, length, written).map_err(|error| self.failed(&entry.path, error))?;
                    length += bytes.len() as u64;
                }
                Span::Zeros(zeros) => length += zeros,
            }
        }
        if written < length {
            file.set_len(length).map_err(|error| self.failed(&entry.path, error))?;
        }
        self.unpacked.bytes += length;
        self.small.wrote(length);
        Ok(())
    }

    /// Creates the file now, so that later entries find it. Another thread writes its content.
    fn small_file<I: ByteSource>(
        &mut self,
        file: File,
        entry: &TarEntry,
        reader: &mut Reader<I>,
    ) -> Result<(), UnpackError> {
        let length = reader.left();
        if length == 0 {
            return Ok(());
        }
        let content = self.small.content();
        loop {
            match reader.content()? {
                Span::Data([]) => break,
                Span::Data(bytes) => content.extend_from_slice(bytes),
                Span::Zeros(zeros) => content.resize(content.len() + zeros as usize, 0),
            }
        }
        self.small.add(file, &entry.path).map_err(|Stopped| self.stopped(&entry.path))?;
        self.unpacked.bytes += length;
        Ok(())
    }

    fn kind(&self, name: &CString, entry: &TarEntry) -> Result<FileType, UnpackError> {
        let stat = rustix::fs::statat(self.parent(), name, AtFlags::SYMLINK_NOFOLLOW);
        stat.map(|stat| FileType::from_raw_mode(stat.st_mode)).map_err(|error| self.failed(&entry.path, error.into()))
    }

    /// Removes what an earlier entry made at the same path.
    fn make_room(&mut self, name: &CString, entry: &TarEntry) -> Result<(), UnpackError> {
        // The length of the earlier file counts only once it is written.
        self.small.settle().map_err(|Stopped| self.stopped(&entry.path))?;
        let stat = rustix::fs::statat(self.parent(), name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.failed(&entry.path, error.into()))?;
        let folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let flags = if folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(self.parent(), name, flags) {
            Ok(()) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) if folder => return Err(refused(&entry.path, NOT_EMPTY)),
            Err(error) => return Err(self.failed(&entry.path, error.into())),
        }
        self.unpacked.entries = self.unpacked.entries.saturating_sub(1);
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1 {
            self.unpacked.bytes = self.unpacked.bytes.saturating_sub(u64::try_from(stat.st_size).unwrap_or(0));
        }
        Ok(())
    }

    /// Walks the finished tree and refuses links that lead outside. `path` is the path of `folder`.
    fn judge_links(&mut self, folder: OwnedFd, path: &mut Vec<u8>) -> Result<(), UnpackError> {
        let depth = if path.is_empty() { 0 } else { path.split(|&byte| byte == b'/').count() };
        let mut listed = Vec::new();
        let entries = rustix::fs::Dir::read_from(&folder).map_err(|error| self.failed(path, error.into()))?;
        for entry in entries {
            let entry = entry.map_err(|error| self.failed(path, error.into()))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") && entry.file_type() != FileType::RegularFile {
                listed.push(entry.file_name().to_owned());
            }
        }
        for name in listed {
            let length = path.len();
            let Ok(target) = rustix::fs::readlinkat(&folder, &name, Vec::new()) else {
                // Not a link.
                if let Ok(inner) = rustix::fs::openat(&folder, &name, folder_flags(), Mode::empty()) {
                    join(path, name.as_bytes());
                    self.judge_links(inner, path)?;
                    path.truncate(length);
                }
                continue;
            };
            let judged = match links::text(target.as_bytes(), depth) {
                Ok(links::Text::Depends) => links::walk(&self.root, path, target.as_bytes()),
                other => other.map(drop),
            };
            if let Err(reason) = judged {
                join(path, name.as_bytes());
                self.unless_skipped(Err(refused(path, reason)))?;
                let removed = rustix::fs::unlinkat(&folder, &name, AtFlags::empty());
                removed.map_err(|error| self.failed(path, error.into()))?;
                self.unpacked.entries = self.unpacked.entries.saturating_sub(1);
                path.truncate(length);
            }
        }
        Ok(())
    }

    /// Returns a mode that allows no more than the archive says, and always lets the owner use the folder.
    fn folder_mode(&self, mode: u32) -> u32 {
        if self.options.private { 0o700 } else { (mode & FOLDER_MODE) | 0o700 }
    }

    /// Like [`Self::folder_mode`]. The file is executable only if it is so for its owner.
    fn file_mode(&self, mode: u32) -> u32 {
        let mode = if mode & 0o100 == 0 { (mode & 0o644) | 0o600 } else { (mode & 0o755) | 0o700 };
        if self.options.private { mode & 0o700 } else { mode }
    }

    fn failed(&self, path: &[u8], source: io::Error) -> UnpackError {
        failed(self.dest, path, source)
    }

    /// A placeholder, which the writer's own error replaces.
    fn stopped(&self, path: &[u8]) -> UnpackError {
        self.failed(path, io::ErrorKind::BrokenPipe.into())
    }
}

pub(super) fn failed(dest: &Path, path: &[u8], source: io::Error) -> UnpackError {
    UnpackError::Write { path: dest.join(PathBuf::from(shown(path))), source: explained(source, dest) }
}

/// Writes content at `at`. Returns the end of the written part of the file.
fn write(file: &File, bytes: &[u8], at: u64, written: u64) -> io::Result<u64> {
    if bytes.len() < sparse::BLOCK {
        file.write_all_at(bytes, at)?;
        return Ok(at + bytes.len() as u64);
    }
    Ok(sparse::write_new_at(file, bytes, at)?.unwrap_or(written))
}

/// The names of a path. Refuses a path that could leave the destination.
fn components<'p>(path: &'p [u8], entry: &[u8]) -> Result<Vec<&'p [u8]>, UnpackError> {
    if path.first() == Some(&b'/') {
        return Err(refused(entry, "its path is absolute"));
    }
    let parts: Vec<&[u8]> = path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if parts.contains(&b"..".as_slice()) {
        return Err(refused(entry, "its path contains '..'"));
    }
    if parts.len() > MAX_DEPTH + 1 {
        return Err(refused(entry, "it is nested too deeply"));
    }
    Ok(parts)
}

/// Whether `path` is these names with `/` between them.
fn is_joined(path: &[u8], names: &[&[u8]]) -> bool {
    let mut rest = path;
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            let Some(after) = rest.strip_prefix(b"/") else { return false };
            rest = after;
        }
        let Some(after) = rest.strip_prefix(*name) else { return false };
        rest = after;
    }
    rest.is_empty()
}

fn join(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

fn bits(mode: u32) -> Mode {
    Mode::from_raw_mode(mode as RawMode)
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn c_name(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}
