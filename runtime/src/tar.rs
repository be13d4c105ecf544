//! A folder as one deterministic byte stream: equal content gives equal bytes on every machine (`docs/storage.md`, A folder as a
//! payload).
//!
//! The format is ustar. Entries are sorted by their path bytes as written (a folder's path ends in `/`, so its content
//! follows it directly); the folder itself has no entry. Times, owners and device numbers are zero, names of owners
//! empty. Modes are 0755 for folders and for files that their owner may execute, else 0644. A path longer than 100
//! bytes is split at the last `/` that leaves at most 155 bytes in front. A pax header is written only where a path,
//! link or size still does not fit. Hard links are written as separate files. Two zero blocks end the stream.
//!
//! Only the names of one folder for each level are held in memory. A file or folder that changes while it is read is an
//! error, as are sockets, FIFOs and devices. Each error names the path.

mod ahead;
mod header;
pub(crate) mod links;
mod survey;

use std::{
    ffi::{CString, OsStr},
    fs::File,
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt,
            fs::{FileExt as _, MetadataExt},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, Stat};

use crate::files::{
    shown,
    sparse::{self, Extent, Map, ZEROS},
};

use ahead::{Ahead, Small};
pub(crate) use header::BLOCK;
use header::HeaderKind;

use crate::limits::{MAX_DEPTH, MAX_ENTRIES};
pub use survey::Findings;
pub(crate) use survey::FolderSurvey;

const COPY_BUFFER: usize = 256 * 1024;

/// Why a folder could not be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// The input's fault: reading failed.
    #[error("cannot read {}", shown(.path))]
    Read {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The machine's fault: the stream could not be written.
    #[error("cannot write the tar")]
    Write(#[source] io::Error),
    /// The input's fault: this is not a file, a folder or a symlink.
    #[error("{} is a {kind}: only files, directories and symlinks can be published", shown(.path))]
    Unsupported {
        /// The path.
        path: PathBuf,
        /// Its kind.
        kind: &'static str,
    },
    /// The input's fault: it has bytes although its size says that it has none.
    #[error("{} has no size and can be read nevertheless, as files of /proc: publish a copy of it", shown(.path))]
    Sizeless {
        /// The file.
        path: PathBuf,
    },
    /// The input's fault: it changed while it was read.
    #[error("{} changed while it was read: publish from a folder that nobody writes to", shown(.path))]
    Changed {
        /// The path.
        path: PathBuf,
    },
    /// The input's fault: there are more entries than a consumer would unpack.
    #[error("more than {MAX_ENTRIES} entries")]
    TooManyEntries,
    /// The input's fault: folders are nested too deeply.
    #[error("{} is more than {MAX_DEPTH} folders deep", shown(.path))]
    TooDeep {
        /// The path.
        path: PathBuf,
    },
}

/// Writes the folder `root` as a tar.
pub fn pack(root: &Path, out: &mut dyn Write) -> Result<(), TarError> {
    let fd = rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| read_error(root, error.into()))?;
    let mut packer = Packer { root, out, buffer: vec![0; COPY_BUFFER], entries: 0, survey: None, ahead: Ahead::new() };
    packer.folder(fd, &mut Vec::new(), 0)?;
    packer.out.write_all(&[0; 2 * BLOCK]).map_err(TarError::Write)
}

/// Computes the length that the tar of `root` will have unless something changes, and finds everything that consumers
/// will not get unchanged. Reads no file's content.
pub(crate) fn survey(root: &Path) -> Result<FolderSurvey, TarError> {
    let open = || rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let fd = open().map_err(|error| read_error(root, error.into()))?;
    let top = open().map_err(|error| read_error(root, error.into()))?;
    let mut counter = Counter(2 * BLOCK as u64);
    let survey = Some(survey::Surveyor::new(top));
    let mut packer = Packer { root, out: &mut counter, buffer: Vec::new(), entries: 0, survey, ahead: Ahead::new() };
    packer.folder(fd, &mut Vec::new(), 0)?;
    let survey = packer.survey.take().map(|survey| survey.found).unwrap_or_default();
    Ok(survey.with_headers(counter.0))
}

struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Packer<'a> {
    root: &'a Path,
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
    entries: u64,
    /// Set during a survey, in which content is counted but not read.
    survey: Option<survey::Surveyor>,
    ahead: Ahead,
}

/// One name in a folder. Names of folders include their `/`, so that sorting gives the order of the stream.
struct Name {
    bytes: Vec<u8>,
    kind: FileType,
    /// Set during a survey, and if the listing does not tell the kind.
    stat: Option<Stat>,
    /// It is a file that may be read. Set only during a survey, and not always.
    is_readable: bool,
}

impl Name {
    fn plain(&self) -> &[u8] {
        self.bytes.strip_suffix(b"/").unwrap_or(&self.bytes)
    }

    fn mode(&self) -> u32 {
        self.stat.map_or(0, |stat| stat.st_mode)
    }
}

impl Packer<'_> {
    /// Writes the content of `folder`; `path` is its path in the stream, with the trailing `/`.
    fn folder(&mut self, folder: OwnedFd, path: &mut Vec<u8>, depth: usize) -> Result<(), TarError> {
        let folder = Arc::new(File::from(folder));
        let before = Stamp::of(&folder).map_err(|error| self.failed(path, error))?;
        let names: Arc<[Name]> = self.names(&folder, path)?.into();
        let length = path.len();
        let mut ahead = self.ahead.run(&folder, &names, names.len());
        for (at, name) in names.iter().enumerate() {
            let is_file = name.kind != FileType::Directory && self.survey.is_none();
            if is_file && ahead.is_over() {
                ahead = self.ahead.run(&folder, &names, at);
            }
            let small = if is_file { ahead.next() } else { None };
            path.extend_from_slice(&name.bytes);
            self.entry(&folder, path, name, small, depth)?;
            path.truncate(length);
        }
        let after = Stamp::of(&folder).map_err(|error| self.failed(path, error))?;
        self.unchanged(path, before == after)
    }

    fn names(&mut self, folder: &File, path: &[u8]) -> Result<Vec<Name>, TarError> {
        let mut names = Vec::new();
        let listing = rustix::fs::Dir::read_from(folder).map_err(|error| self.failed(path, error.into()))?;
        for entry in listing {
            let entry = entry.map_err(|error| self.failed(path, error.into()))?;
            let name = entry.file_name().to_bytes().to_vec();
            if matches!(name.as_slice(), b"." | b"..") {
                continue;
            }
            names.push(Name { bytes: name, kind: entry.file_type(), stat: None, is_readable: false });
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(TarError::TooManyEntries);
            }
        }
        if self.survey.is_some() {
            self.ahead.look(folder, &mut names);
        }
        for name in &mut names {
            if name.stat.is_none() && (self.survey.is_some() || name.kind == FileType::Unknown) {
                let found =
                    stat_at(folder, &name.bytes).map_err(|error| self.failed(&[path, &name.bytes].concat(), error))?;
                name.stat = Some(found);
            }
            if let Some(found) = &name.stat {
                name.kind = FileType::from_raw_mode(found.st_mode);
            }
            if name.kind == FileType::Directory {
                name.bytes.push(b'/');
            }
        }
        names.sort_unstable_by(|a, b| a.bytes.cmp(&b.bytes));
        Ok(names)
    }

    fn entry(
        &mut self,
        folder: &File,
        path: &mut Vec<u8>,
        name: &Name,
        small: Option<Small>,
        depth: usize,
    ) -> Result<(), TarError> {
        match name.kind {
            FileType::Directory => self.subfolder(folder, path, name, depth),
            FileType::RegularFile => self.file(folder, path, name, small),
            FileType::Symlink => self.symlink(folder, path, name),
            other => Err(TarError::Unsupported { path: self.shown(path), kind: kind_name(other) }),
        }
    }

    fn subfolder(&mut self, folder: &File, path: &mut Vec<u8>, name: &Name, depth: usize) -> Result<(), TarError> {
        if depth == MAX_DEPTH {
            return Err(TarError::TooDeep { path: self.shown(path) });
        }
        if let Some(survey) = &mut self.survey {
            survey.mode(path, name.mode(), 0o055);
        }
        self.header(HeaderKind::Folder, path, b"", 0, 0o755)?;
        let fd = self.open(folder, path, name.plain(), OFlags::DIRECTORY)?;
        self.folder(fd, path, depth + 1)
    }

    fn symlink(&mut self, folder: &File, path: &[u8], name: &Name) -> Result<(), TarError> {
        let target = c_name(&name.bytes)
            .and_then(|name| Ok(rustix::fs::readlinkat(folder, name, Vec::new())?))
            .map_err(|error| self.failed(path, error))?;
        if let Some(survey) = &mut self.survey {
            survey.link(path, target.as_bytes());
        }
        self.header(HeaderKind::Symlink, path, target.as_bytes(), 0, 0o644)
    }

    fn file(&mut self, folder: &File, path: &[u8], name: &Name, small: Option<Small>) -> Result<(), TarError> {
        if let (Some(_), Some(stat)) = (&self.survey, name.stat) {
            return self.survey_file(folder, path, name, &stat);
        }
        if let Some(Small { stamp, content }) = small {
            self.file_header(path, &stamp)?;
            self.out.write_all(&content).map_err(TarError::Write)?;
            return self.padding(stamp.size);
        }
        let file = File::from(self.open(folder, path, &name.bytes, OFlags::NONBLOCK)?);
        let before = Stamp::of(&file).map_err(|error| self.failed(path, error))?;
        self.unchanged(path, FileType::from_raw_mode(before.mode) == FileType::RegularFile)?;
        self.file_header(path, &before)?;
        self.content(path, &file, &before)?;
        let after = Stamp::of(&file).map_err(|error| self.failed(path, error))?;
        self.unchanged(path, before == after)?;
        match is_sizeless(&file, before.size).map_err(|error| self.failed(path, error))? {
            true => Err(TarError::Sizeless { path: self.shown(path) }),
            false => Ok(()),
        }
    }

    fn file_header(&mut self, path: &[u8], file: &Stamp) -> Result<(), TarError> {
        let mode = if file.mode & 0o100 == 0 { 0o644 } else { 0o755 };
        self.header(HeaderKind::File, path, b"", file.size, mode)
    }

    /// Does not open files without holes, because opening them takes longer than everything else here.
    fn survey_file(&mut self, folder: &File, path: &[u8], name: &Name, stat: &Stat) -> Result<(), TarError> {
        // An unreadable file must be found now, not after everything before it was read.
        if !name.is_readable {
            may_read(folder, &name.bytes).map_err(|error| self.failed(path, error))?;
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.header(HeaderKind::File, path, b"", size, 0o644)?;
        let Some(mut survey) = self.survey.take() else { return Ok(()) };
        survey.mode(path, name.mode(), 0o044);
        let full = sparse::is_full(size, u64::try_from(stat.st_blocks).unwrap_or(0));
        let open = || Ok(File::from(open_at(folder, &name.bytes, OFlags::NONBLOCK)?));
        let surveyed = survey.content::<io::Error>(size, full, open);
        self.survey = Some(survey);
        surveyed.map_err(|error| self.failed(path, error))
    }

    fn content(&mut self, path: &[u8], file: &File, before: &Stamp) -> Result<(), TarError> {
        let size = before.size;
        let mut map = Map::with(file, size, before.full);
        let mut at = 0;
        while at < size {
            at += match map.at(at).map_err(|error| self.failed(path, error))? {
                Extent::Hole(length) => self.zeros(length)?,
                Extent::Data(length) => self.data(path, file, at, length)?,
            };
        }
        self.padding(size)
    }

    fn padding(&mut self, size: u64) -> Result<(), TarError> {
        self.out.write_all(&[0; BLOCK][..header::padding(size)]).map_err(TarError::Write)
    }

    fn zeros(&mut self, length: u64) -> Result<u64, TarError> {
        let part = length.min(ZEROS.len() as u64);
        self.out.write_all(&ZEROS[..part as usize]).map_err(TarError::Write)?;
        Ok(part)
    }

    fn data(&mut self, path: &[u8], file: &File, at: u64, length: u64) -> Result<u64, TarError> {
        let want = self.buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        let read = match file.read_at(&mut self.buffer[..want], at) {
            Ok(0) => return Err(TarError::Changed { path: self.shown(path) }),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(0),
            Err(error) => return Err(self.failed(path, error)),
        };
        self.out.write_all(&self.buffer[..read]).map_err(TarError::Write)?;
        Ok(read as u64)
    }

    fn header(&mut self, kind: HeaderKind, path: &[u8], link: &[u8], size: u64, mode: u32) -> Result<(), TarError> {
        header::write(self.out, &header::HeaderFields { kind, path, link, size, mode }).map_err(TarError::Write)
    }

    fn open(&self, folder: &File, path: &[u8], name: &[u8], more: OFlags) -> Result<OwnedFd, TarError> {
        open_at(folder, name, more).map_err(|error| self.failed(path, error))
    }

    fn unchanged(&self, path: &[u8], same: bool) -> Result<(), TarError> {
        if same { Ok(()) } else { Err(TarError::Changed { path: self.shown(path) }) }
    }

    fn failed(&self, path: &[u8], error: io::Error) -> TarError {
        read_error(&self.shown(path), error)
    }

    fn shown(&self, path: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(path))
    }
}

/// Whether a file has bytes although its size is 0. Such files are generated while they are read, so their size is not
/// known before.
pub(crate) fn is_sizeless(file: &File, size: u64) -> io::Result<bool> {
    Ok(size == 0 && file.read_at(&mut [0], 0)? > 0)
}

/// The properties that must not change while something is read.
pub(crate) struct Stamp {
    /// Whether it has no holes. Unlike the other properties, this may change.
    full: bool,
    device: u64,
    inode: u64,
    mode: u32,
    pub(crate) size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            full: sparse::is_full(meta.size(), meta.blocks()),
            device: meta.dev(),
            inode: meta.ino(),
            mode: meta.mode(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

impl PartialEq for Stamp {
    fn eq(&self, other: &Self) -> bool {
        let fixed = |stamp: &Self| (stamp.device, stamp.inode, stamp.mode, stamp.size, stamp.modified, stamp.changed);
        fixed(self) == fixed(other)
    }
}

/// Opens an entry of a folder to be read, without following a link.
fn open_at(folder: &File, name: &[u8], more: OFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
    Ok(rustix::fs::openat(folder, c_name(name)?, flags, Mode::empty())?)
}

/// The properties of an entry of a folder; of a link, its own.
fn stat_at(folder: &File, name: &[u8]) -> io::Result<Stat> {
    Ok(rustix::fs::statat(folder, c_name(name)?, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// An error if an entry of a folder may not be read.
fn may_read(folder: &File, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::accessat(folder, c_name(name)?, Access::READ_OK, AtFlags::EACCESS)?)
}

fn c_name(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(io::Error::other)
}

fn read_error(path: &Path, source: io::Error) -> TarError {
    TarError::Read { path: path.to_owned(), source }
}

fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "FIFO",
        FileType::Socket => "socket",
        FileType::CharacterDevice => "character device",
        FileType::BlockDevice => "block device",
        _ => "file of an unknown kind",
    }
}

#[cfg(test)]
mod tests;
