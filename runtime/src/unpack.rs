//! Extracts a tar into a folder that appears by rename, and never writes outside of it (`docs/storage.md`, Unpacking).
//!
//! The payload is hashed while it is read. The folder appears only if the hash equals the root. The root proves that
//! the payload is what the publisher signed, but not that its content is harmless. So an entry is refused unless it is
//! a file, a folder, a link that stays inside, or a hard link to an earlier file. Absolute paths, `..`, paths through a
//! symlink, and set-id bits are refused as well. Every parent is opened component by component without following links.
//! A refused entry ends the extraction, or is left out and listed. Otherwise, tars of other programs are read as GNU
//! tar reads them: folders need no entry, and if two entries have the same path, the last one wins.

mod reader;
mod small;
mod source;
mod staging;
mod target;

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    thread,
};

use rpp_p2p::Hash;
use serde::Serialize;

use crate::{
    limits::{MAX_ENTRIES, MAX_LISTED},
    store::Stored,
    tar::Findings,
};
use reader::Reader;
use source::PayloadReader;
use staging::Staging;
use target::Target;

/// The options of an extraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most entries. Folders without an entry of their own count as well.
    pub max_entries: u64,
    /// Leave refused entries out and list them, instead of ending the extraction.
    pub skip_refused: bool,
    /// Make everything accessible to its owner only: 0700 and 0600.
    pub private: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_entries: MAX_ENTRIES, skip_refused: false, private: false }
    }
}

/// The result of an extraction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unpacked {
    /// Number of extracted files, folders and links.
    pub entries: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// The first [`MAX_LISTED`] entries that were left out.
    pub refused: Vec<Refusal>,
    /// Number of entries that were left out.
    pub refused_total: u64,
}

/// An entry that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Its path, escaped and cut.
    pub path: String,
    /// Why.
    pub reason: &'static str,
}

/// Why a tar could not be extracted. Unless the variant says so, nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The operator's fault: the destination exists.
    #[error("{path} exists already: give a name that does not exist yet")]
    Exists {
        /// The destination.
        path: PathBuf,
    },
    /// The operator's fault: the destination has no name or no parent.
    #[error("{path} cannot be made: its parent folder must exist and be writable")]
    Destination {
        /// The destination.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The disk's fault: the payload differs from what was stored.
    #[error(
        "the payload's bytes hash to {found}, not to {root}: they changed on the disk; \
         remove it and fetch or publish it again"
    )]
    Damaged {
        /// The expected hash.
        root: Hash,
        /// The hash of the bytes that were read.
        found: Hash,
    },
    /// The machine's fault: the payload cannot be read.
    #[error("cannot read the payload")]
    Read(#[source] io::Error),
    /// The machine's fault: something cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The path in the destination.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The machine's fault: the destination is complete, but may be lost in a power loss.
    #[error("{path} is complete, but its folder could not be flushed: it may be gone after a power loss")]
    Unsynced {
        /// The destination.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The publisher's fault: this is not a tar, or it is damaged.
    #[error("not a readable tar at byte {offset}: {reason}")]
    Malformed {
        /// The position.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// The publisher's fault: this may be a tar, but it is compressed.
    #[error(
        "the payload is compressed ({with}), and only a plain tar is unpacked: use `{with}` and `tar` on the payload"
    )]
    Compressed {
        /// The program that compressed it.
        with: &'static str,
    },
    /// The publisher's fault: an entry that must not be extracted.
    #[error("entry \"{path}\" is refused: {reason}")]
    Refused {
        /// The entry's path, escaped and cut.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// The publisher's fault: there are more entries than allowed.
    #[error("more than {max} entries")]
    TooManyEntries {
        /// The bound.
        max: u64,
    },
}

impl UnpackError {
    fn is_of_reading(&self) -> bool {
        matches!(self, Self::Read(_))
    }

    /// Whether the error is about the payload's content.
    fn is_of_content(&self) -> bool {
        matches!(
            self,
            Self::Malformed { .. } | Self::Compressed { .. } | Self::Refused { .. } | Self::TooManyEntries { .. }
        )
    }
}

/// Extracts the file `payload` into `dest`. If `root` is given, the payload's hash must be `root`. `dest` must not
/// exist, and appears only when everything is there. `progress` is called with the bytes read so far and in all.
///
/// # Errors
/// See [`UnpackError`].
pub fn unpack(
    payload: &Path,
    root: Option<&Hash>,
    dest: &Path,
    options: &Options,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Unpacked, UnpackError> {
    let file = crate::files::open_nofollow(payload).map_err(UnpackError::Read)?;
    extract(&file, root, dest, options, progress)
}

/// [`unpack`] for a stored payload, which cannot be removed meanwhile.
///
/// # Errors
/// Those of [`unpack`].
pub fn unpack_stored(
    stored: &Stored,
    dest: &Path,
    options: &Options,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Unpacked, UnpackError> {
    let held = stored.open().map_err(|error| UnpackError::Read(io::Error::other(error)))?;
    let file = held.reader().map_err(UnpackError::Read)?;
    extract(&file, Some(&stored.root()), dest, options, progress)
}

fn extract(
    file: &File,
    root: Option<&Hash>,
    dest: &Path,
    options: &Options,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Unpacked, UnpackError> {
    let length = file.metadata().map_err(UnpackError::Read)?.len();
    let staging = Staging::new(dest)?;
    let (small, writer) = small::pair(staging.folder());
    let target = Target::new(staging.folder(), staging.allowed(), dest, options, small)?;
    let progress = &mut |done| progress(done, length);
    // The threads end when target and source are dropped. Both are dropped in here, even by a panic.
    let (extracted, written, hashed, mode) = thread::scope(|scope| {
        let mut target = target;
        let (source, feeder) = source::open(file, length, progress);
        let hashing = scope.spawn(move || feeder.run());
        let writing = scope.spawn(move || writer.run());
        let extracted = take(file, source, length, &mut target);
        let mode = target.finish();
        let written = writing.join().unwrap_or_else(|_| {
            Err(small::Failed { path: Vec::new(), error: io::Error::other("the writer panicked") })
        });
        let hashed = hashing.join().unwrap_or_else(|_| Err(io::Error::other("the reader panicked")));
        (extracted, written, hashed, mode)
    });
    let extracted = match (extracted, written) {
        // If the writer stopped, that is also why the extraction ended, so its error comes first.
        (Ok(_) | Err(UnpackError::Write { .. }), Err(small::Failed { path, error })) => {
            Err(target::failed(dest, &path, error))
        }
        (extracted, _) => extracted,
    };
    match (hashed, root) {
        // The read error counts only if nothing else went wrong, or if the failed read looked like an early end of the
        // tar.
        (Err(error), _) if extracted.as_ref().err().is_none_or(|seen| seen.is_of_content() || seen.is_of_reading()) => {
            return Err(UnpackError::Read(error));
        }
        (Ok(found), Some(&root)) if found != root => return Err(UnpackError::Damaged { root, found }),
        _ => {}
    }
    let unpacked = extracted?;
    staging.place(mode)?;
    Ok(unpacked)
}

/// Extracts, and reads the payload to its end so that all of it is hashed, unless the destination failed.
fn take(file: &File, source: PayloadReader<'_>, length: u64, target: &mut Target<'_>) -> Result<Unpacked, UnpackError> {
    let mut reader = Reader::new(source, length);
    let extracted = match compressed(file).map_err(UnpackError::Read)? {
        Some(with) => Err(UnpackError::Compressed { with }),
        None => target.extract(&mut reader),
    };
    if extracted.as_ref().err().is_none_or(UnpackError::is_of_content) {
        reader.into_input().drain();
    }
    extracted
}

/// The program that produces files with this beginning.
fn compressed(file: &File) -> io::Result<Option<&'static str>> {
    const KNOWN: [(&[u8], &str); 8] = [
        (&[0x1f, 0x8b], "gzip"),
        (&[0x1f, 0x9d], "compress"),
        (b"BZh", "bzip2"),
        (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
        (&[0x04, 0x22, 0x4d, 0x18], "lz4"),
        (b"PK\x03\x04", "zip"),
        (&[b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c], "7z"),
    ];
    let mut first = [0; 6];
    let mut read = 0;
    while read < first.len() {
        match file.read_at(&mut first[read..], read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(KNOWN.iter().find(|(magic, _)| first[..read].starts_with(magic)).map(|&(_, name)| name))
}

/// The entries that [`unpack`] would refuse if this file is a tar. Reads only headers, and judges each entry by itself.
pub(crate) fn inspect(file: &File, length: u64) -> io::Result<Findings> {
    let mut findings = Findings::default();
    let mut magic = [0; 5];
    if length < crate::tar::BLOCK as u64 || file.read_exact_at(&mut magic, 257).is_err() || magic != *b"ustar" {
        return Ok(findings);
    }
    let mut reader = Reader::new(source::Headers::new(file), length);
    for _ in 0..MAX_ENTRIES {
        match reader.next() {
            Ok(Some(entry)) => {
                if let Err(UnpackError::Refused { reason, .. }) = target::check(&entry) {
                    findings.add(&entry.path, reason);
                }
            }
            Ok(None) => break,
            Err(UnpackError::Read(error)) => return Err(error),
            // A payload may contain any bytes, so it may stop being a tar anywhere.
            Err(_) => break,
        }
    }
    Ok(findings)
}

fn refused(path: &[u8], reason: &'static str) -> UnpackError {
    UnpackError::Refused { path: shown(path), reason }
}

fn shown(path: &[u8]) -> String {
    rpp_p2p::text::escape(&String::from_utf8_lossy(path))
}

#[cfg(test)]
mod tests;
