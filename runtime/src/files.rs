//! Access to folders and files under `data/`: nothing is opened through a symlink, and nothing appears half-written.
//!
//! [`Dir`] is an open folder. Everything in it is reached by a single name relative to its descriptor, and never by a
//! path in which somebody could have put a link meanwhile.
//!
//! [`Dir::write_atomic`] writes a temporary sibling, makes it durable, renames it, and makes the folder durable. After
//! a crash at any moment the file has the old bytes or the new ones.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Write},
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode, RenameFlags, Stat};

/// JSON documents with a checksum.
pub(crate) mod direct;
pub mod sealed;
pub(crate) mod sparse;

/// The prefix of the temporary files of [`Dir::write_atomic`]; a killed process may leave one.
pub const TEMPORARY_PREFIX: &str = ".tmp-";

/// An open folder.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    /// For messages, and for calls that need a path.
    path: PathBuf,
}

impl Dir {
    /// Opens a folder; its last component must not be a symlink.
    pub fn open(path: &Path) -> io::Result<Self> {
        let opened = rustix::fs::open(path, dir_flags(), Mode::empty());
        let fd = opened.map_err(|error| in_file(path)(error.into()))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens a folder. It is created with mode 0700 if absent, and so are missing parents.
    pub fn create(path: &Path) -> io::Result<Self> {
        create_dir_private(path).map_err(in_file(path))?;
        Self::open(path)
    }

    /// The folder's path when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to this folder. It does not when the folder, or one above it, was moved or replaced.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn is_in_place(&self) -> io::Result<bool> {
        let here = rustix::fs::fstat(&self.fd).map_err(|error| in_file(&self.path)(error.into()))?;
        match rustix::fs::stat(&self.path) {
            Ok(there) => Ok((there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(false),
            Err(error) => Err(in_file(&self.path)(error.into())),
        }
    }

    /// Opens a folder inside.
    pub fn dir(&self, name: &str) -> io::Result<Self> {
        let open = || Ok(rustix::fs::openat(&self.fd, single(name)?, dir_flags(), Mode::empty())?);
        let fd = open().map_err(self.about(name))?;
        Ok(Self { fd, path: self.path.join(name) })
    }

    /// Opens a folder inside; it is created with mode 0700 if absent.
    pub fn create_dir(&self, name: &str) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.fd, single(name)?, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => self.dir(name),
            Err(error) => Err(self.about(name)(error.into())),
        }
    }

    /// Opens a regular file for reading.
    pub fn open_read(&self, name: &str) -> io::Result<File> {
        self.open_with(name, OFlags::RDONLY)
    }

    /// Opens a regular file for reading and writing; it is created with mode 0600 if absent.
    pub fn open_write(&self, name: &str) -> io::Result<File> {
        self.open_with(name, OFlags::RDWR | OFlags::CREATE)
    }

    /// Opens a regular file that exists for writes past the page cache, where the file system takes them.
    pub(crate) fn open_direct(&self, name: &str) -> io::Result<File> {
        self.open_with(name, OFlags::WRONLY | OFlags::DIRECT)
    }

    /// Creates a file that must not exist, mode 0600.
    pub fn create_new(&self, name: &str) -> io::Result<File> {
        self.open_with(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    fn open_with(&self, name: &str, flags: OFlags) -> io::Result<File> {
        // NONBLOCK, because opening a FIFO must not hang; it has no effect on regular files.
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let open = || {
            let file = File::from(rustix::fs::openat(&self.fd, single(name)?, flags, Mode::RUSR | Mode::WUSR)?);
            match file.metadata()?.is_file() {
                true => Ok(file),
                false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
            }
        };
        open().map_err(self.about(name))
    }

    /// Adds to an error the entry that it is about.
    fn about(&self, name: &str) -> impl Fn(io::Error) -> io::Error {
        in_file(self.path.join(name))
    }

    /// The whole content of a file that may have at most `bound` bytes.
    pub fn read(&self, name: &str, bound: u64) -> io::Result<Vec<u8>> {
        read_bounded(self.open_read(name)?, bound).map_err(self.about(name))
    }

    /// Replaces or creates a file with `bytes`: completely or not at all, and durable when this returns.
    pub fn write_atomic(&self, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        let temporary = temporary_name();
        let written = self.write_temporary(&temporary, bytes, mode).and_then(|()| {
            rustix::fs::renameat(&self.fd, &temporary, &self.fd, single(name)?)?;
            self.sync()
        });
        if written.is_err() {
            // It was renamed already, or never created; neither matters.
            let _ = rustix::fs::unlinkat(&self.fd, &temporary, AtFlags::empty());
        }
        // The name that the file was to get is the only one that callers know.
        written.map_err(|error| self.about(name)(split_error(error).1))
    }

    fn write_temporary(&self, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        let mut file = self.create_new(name)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode as RawMode))?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// Moves an entry to another folder, where the name must be free. Neither folder is synced.
    pub fn rename_new(&self, name: &str, to: &Self, new_name: &str) -> io::Result<()> {
        let (name, new_name) = (single(name)?, single(new_name)?);
        self.rename_unless_there(name, to, new_name).map_err(|error| to.about(new_name)(split_error(error).1))
    }

    fn rename_unless_there(&self, name: &str, to: &Self, new_name: &str) -> io::Result<()> {
        match rustix::fs::renameat_with(&self.fd, name, &to.fd, new_name, RenameFlags::NOREPLACE) {
            // Some file systems do not support the flag.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                if to.exists(new_name)? {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                Ok(rustix::fs::renameat(&self.fd, name, &to.fd, new_name)?)
            }
            other => Ok(other?),
        }
    }

    /// Whether something with this name exists, a dangling link included.
    pub fn exists(&self, name: &str) -> io::Result<bool> {
        Ok(self.stat(name)?.is_some())
    }

    /// The entry with this name, without following links; `None` if there is none.
    pub fn stat(&self, name: &str) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.fd, single(name)?, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(self.about(name)(error.into())),
        }
    }

    /// The names in the folder, sorted. A name that is not UTF-8 is not one of ours and is left out.
    pub fn names(&self) -> io::Result<Vec<String>> {
        self.list().map_err(in_file(&self.path))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Removes a file, if it exists.
    pub fn remove_file(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, single(name)?, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(self.about(name)(error.into())),
        }
    }

    /// Removes a file, a link (not its target) or a folder with all its content, if it exists.
    pub fn remove_all(&self, name: &str) -> io::Result<()> {
        let Some(stat) = self.stat(name)? else { return Ok(()) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return self.remove_file(name);
        }
        self.dir(name)?.clear(0)?;
        Ok(rustix::fs::unlinkat(&self.fd, single(name)?, AtFlags::REMOVEDIR)?)
    }

    fn clear(&self, depth: u8) -> io::Result<()> {
        const DEEPEST: u8 = 16;
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?;
                continue;
            }
            if depth == DEEPEST {
                return Err(io::Error::other(format!("{} is nested too deeply to remove", self.path.display())));
            }
            let fd = rustix::fs::openat(&self.fd, name, dir_flags(), Mode::empty())?;
            let path = self.path.join(OsStr::from_bytes(name.to_bytes()));
            Self { fd, path }.clear(depth + 1)?;
            rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)?;
        }
        Ok(())
    }

    /// Removes temporary files that a killed writer left.
    pub fn remove_temporaries(&self) -> io::Result<()> {
        for name in self.names()?.iter().filter(|name| name.starts_with(TEMPORARY_PREFIX)) {
            self.remove_all(name)?;
        }
        Ok(())
    }

    /// Makes the folder's entries durable.
    pub fn sync(&self) -> io::Result<()> {
        rustix::fs::fsync(&self.fd).map_err(|error| in_file(&self.path)(error.into()))
    }

    /// Bytes that an ordinary user may still write here.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.fd)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

fn dir_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// Checks that a name stays in its folder.
fn single(name: &str) -> io::Result<&str> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is not a plain file name")));
    }
    Ok(name)
}

fn temporary_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{TEMPORARY_PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn read_bounded(file: File, bound: u64) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    file.take(bound.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bound {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {bound} bytes")));
    }
    Ok(bytes)
}

/// Replaces or creates the file at `path` with `bytes`: completely or not at all, and durable when this returns.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (parent, name) = split(path)?;
    Dir::open(parent)?.write_atomic(name, bytes, mode)
}

/// Opens a regular file for reading; its last component must not be a symlink.
pub fn open_nofollow(path: &Path) -> io::Result<File> {
    let (parent, name) = split(path)?;
    Dir::open(parent)?.open_read(name)
}

fn split(path: &Path) -> io::Result<(&Path, &str)> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, format!("{} names no file", path.display()));
    let name = path.file_name().and_then(OsStr::to_str).ok_or_else(invalid)?;
    let parent = path.parent().ok_or_else(invalid)?;
    Ok((if parent.as_os_str().is_empty() { Path::new(".") } else { parent }, name))
}

/// Makes a folder and its missing parents, each with mode 0700.
pub fn create_dir_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Takes all rights on a folder from group and others. Returns the mode that it had, if it had to be changed.
pub(crate) fn restrict_to_owner(folder: &Path) -> io::Result<Option<u32>> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(folder)?.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(None);
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    Ok(Some(mode))
}

/// The folder itself, or the first entry in it, that is a symlink. `None` also if there is no such folder.
pub(crate) fn first_link(folder: &Path) -> io::Result<Option<PathBuf>> {
    match std::fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(found) if found.is_symlink() => return Ok(Some(folder.to_owned())),
        found => {
            found?;
        }
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_symlink() {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// Bytes that an ordinary user may still write on the file system of `path`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Whether an ordinary user may make another file on the file system of `path`. File systems without a fixed number of
/// inodes report 0 in all.
pub fn has_inodes(path: &Path) -> io::Result<bool> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_files == 0 || stat.f_favail > 0)
}

/// The mount that a folder is on.
pub(crate) fn mount_of(folder: &Path) -> io::Result<crate::store::Mount> {
    let device = rustix::fs::stat(folder)?.st_dev;
    let mask = rustix::fs::StatxFlags::MNT_ID;
    let id = match rustix::fs::statx(rustix::fs::CWD, folder, AtFlags::empty(), mask) {
        Ok(found) if found.stx_mask & mask.bits() != 0 => found.stx_mnt_id,
        // Kernels before 5.8 do not report this.
        Ok(_) | Err(_) => 0,
    };
    Ok(crate::store::Mount { device, id })
}

/// An error with its causes in one line, for a status or a log.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        let cause_text = not_said_twice(&text, &cause_text);
        // Some errors already contain the text of their cause.
        if !text.contains(cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// A cause without the path at its beginning, if the text before it already has that path.
#[must_use]
pub fn not_said_twice<'a>(text: &str, cause: &'a str) -> &'a str {
    cause
        .split_once(": ")
        .filter(|(path, _)| path.starts_with('/') && text.contains(path))
        .map_or(cause, |(_, rest)| rest)
}

/// A path that can be shown: anybody may choose names, so a line feed in one must not end the line.
#[must_use]
pub fn shown(path: &Path) -> String {
    let mut buffer = [0; 4];
    path.to_string_lossy().chars().map(|c| rpp_p2p::text::escape(c.encode_utf8(&mut buffer))).collect()
}

/// Adds to an error the file that it is about, unless it has one; [`split_error`] separates the two again.
pub(crate) fn in_file(path: impl AsRef<Path>) -> impl Fn(io::Error) -> io::Error {
    move |source| match source.get_ref() {
        Some(inner) if inner.is::<InFile>() => source,
        _ => io::Error::new(source.kind(), InFile { path: path.as_ref().to_owned(), source }),
    }
}

/// The file that an error is about, if it has one, and the system's error.
pub(crate) fn split_error(error: io::Error) -> (Option<PathBuf>, io::Error) {
    match error.downcast::<InFile>() {
        Ok(InFile { path, source }) => (Some(path), source),
        Err(error) => (None, error),
    }
}

/// Errors of this module name their file themselves, because the caller knows a folder at best.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
struct InFile {
    path: PathBuf,
    source: io::Error,
}

/// Whether a write failed for lack of space: full file system, quota, or file size limit.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_leaves_no_temporary() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        dir.write_atomic("a", b"one", 0o600).unwrap();
        dir.write_atomic("a", b"two", 0o600).unwrap();
        assert_eq!(dir.read("a", 3).unwrap(), b"two");
        assert_eq!(dir.names().unwrap(), ["a"]);
        assert_eq!(dir.read("a", 2).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn an_error_says_its_file_and_keeps_its_kind() {
        let error = in_file("outboard")(io::Error::from_raw_os_error(28));
        assert!(is_full(&error));
        let (name, source) = split_error(error);
        assert_eq!((name, source.raw_os_error()), (Some("outboard".into()), Some(28)));
        let (name, source) = split_error(io::Error::from_raw_os_error(5));
        assert_eq!((name, source.raw_os_error()), (None, Some(5)));
        // A folder's own errors name the file, and nothing appears twice.
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let path = temp.path().join("gone");
        let error = dir.open_read("gone").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let system = io::Error::from_raw_os_error(2).to_string();
        assert_eq!(error.to_string(), format!("{}: {system}", path.display()));
        let told = crate::store::StoreError::Io { doing: "read", path: path.clone(), source: error };
        assert_eq!(with_causes(&told), format!("cannot read {}: {system}", path.display()));
        let error = dir.open_read("gone").unwrap_err();
        let told = crate::store::StoreError::Io { doing: "read", path: temp.path().to_owned(), source: error };
        assert_eq!(with_causes(&told), format!("cannot read {}: {}: {system}", temp.path().display(), path.display()));
    }

    #[test]
    fn a_path_is_shown_in_one_line() {
        assert_eq!(shown(Path::new("/a/line\nfeed\u{202e}/b")), "/a/line\\u{a}feed\\u{202e}/b");
        let long = format!("/{}", "x".repeat(3000));
        assert_eq!(shown(Path::new(&long)), long, "nothing is cut");
    }

    #[test]
    fn nothing_is_opened_through_a_symlink() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        dir.write_atomic("real", b"secret", 0o600).unwrap();
        dir.create_dir("folder").unwrap();
        std::os::unix::fs::symlink("real", temp.path().join("link")).unwrap();
        std::os::unix::fs::symlink("folder", temp.path().join("linked-folder")).unwrap();
        assert!(dir.open_read("link").is_err());
        assert!(dir.open_write("link").is_err());
        assert!(dir.dir("linked-folder").is_err());
        assert!(dir.create_dir("linked-folder").is_err());
        assert!(Dir::open(&temp.path().join("linked-folder")).is_err());
        assert!(open_nofollow(&temp.path().join("link")).is_err());
        dir.remove_all("linked-folder").unwrap();
        assert!(dir.exists("folder").unwrap());
    }

    #[test]
    fn a_name_that_leaves_the_folder_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        for name in ["", ".", "..", "a/b", "/etc", "a\0b"] {
            assert!(dir.open_read(name).is_err(), "{name:?}");
            assert!(dir.write_atomic(name, b"", 0o600).is_err(), "{name:?}");
            assert!(dir.remove_all(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_fifo_is_refused_without_hanging() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        rustix::fs::mknodat(&dir.fd, "fifo", FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(dir.open_read("fifo").is_err());
        dir.remove_all("fifo").unwrap();
    }

    #[test]
    fn a_rename_never_replaces() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        dir.create_dir("a").unwrap();
        dir.create_dir("b").unwrap().write_atomic("kept", b"", 0o600).unwrap();
        assert_eq!(dir.rename_new("a", &dir, "b").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(dir.dir("b").unwrap().exists("kept").unwrap());
        dir.remove_all("b").unwrap();
        dir.rename_new("a", &dir, "b").unwrap();
        assert_eq!(dir.names().unwrap(), ["b"]);
    }
}
