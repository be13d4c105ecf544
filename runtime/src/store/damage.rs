//! Kinds of damage to stored payloads.

use std::{io, path::PathBuf, sync::Arc};

use rpp_p2p::Hash;

use super::manifest::{MANIFEST, ManifestFlaw, OUTBOARD};
use crate::files::{sealed::SealError, with_causes};

/// Why stored bytes, or the documents beside them, cannot be used. The disk is at fault, or somebody changed the files.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// It was found damaged earlier. The text comes from the note about that, escaped.
    #[error("{0}")]
    Noted(String),
    /// It was found damaged earlier, and the note about that cannot be read.
    #[error("it was found damaged, and the note cannot be read: {0}")]
    NoteUnreadable(Arc<io::Error>),
    /// Its folder cannot be opened. The error names it.
    #[error("{0}")]
    Unopened(Arc<io::Error>),
    /// There is no manifest.
    #[error("it has no {MANIFEST}")]
    NoManifest,
    /// A file has the wrong length.
    #[error("{name} has {bytes} bytes instead of {expected}")]
    Length {
        /// Which file.
        name: &'static str,
        /// Its length.
        bytes: u64,
        /// The length that it should have.
        expected: u64,
    },
    /// A document does not match its checksum.
    #[error("{}", sealed_words(*.name, .reason))]
    Seal {
        /// Which document, if the error's path does not say it.
        name: Option<&'static str>,
        /// What is wrong with it.
        reason: Arc<SealError>,
    },
    /// A manifest contradicts itself, or belongs to another payload.
    #[error("{MANIFEST}: {0}")]
    Manifest(#[from] ManifestFlaw),
    /// A plan belongs to another payload.
    #[error("it is of another payload")]
    OtherPayload,
    /// The disk returns an error for a file; this may pass.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// The disk has lost a part of a file.
    #[error("{name} cannot be read: {source}")]
    Lost {
        /// Which file.
        name: &'static str,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// The payload's bytes changed.
    #[error("bytes {start} to {end} do not lead to its root")]
    Bytes {
        /// The first of them.
        start: u64,
        /// The offset after the last of them.
        end: u64,
    },
    /// The stored hashes changed.
    #[error("the hashes in {OUTBOARD} for bytes {start} to {end} are not theirs")]
    Hashes {
        /// The first byte that they cover.
        start: u64,
        /// The offset after the last byte that they cover.
        end: u64,
    },
    /// A payload that was fetched completely has another root.
    #[error("its bytes hash to {found}; remove it and fetch it again")]
    Root {
        /// Its root.
        found: Hash,
    },
    /// After a failed flush it is unknown what the disk has.
    #[error("a flush failed before: open it again")]
    Unflushed,
    /// It was moved into the store and could not be read there.
    #[error("it was put in place, and then could not be read: {0}")]
    UnreadableWhenPlaced(Box<Damage>),
    /// It was moved into the store and was not there.
    #[error("it was removed just after it was put in place")]
    GoneWhenPlaced,
}

/// Errors of the system cannot be compared, so this compares the texts.
impl PartialEq for Damage {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other) && self.to_string() == other.to_string()
    }
}

impl Eq for Damage {}

impl Damage {
    /// Whether the disk only failed to answer, which says nothing about its content. A missing file or a file of the
    /// wrong kind stays that way; any other error may pass.
    pub(super) fn may_pass(&self) -> bool {
        use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
        let Self::Io { source, .. } = self else { return false };
        // A symbolic link is not followed.
        let is_link = |code| code == rustix::io::Errno::LOOP.raw_os_error();
        source.raw_os_error().is_some_and(|code| !is_link(code))
            && ![IsADirectory, NotADirectory, NotFound].contains(&source.kind())
    }
}

fn sealed_words(name: Option<&str>, reason: &SealError) -> String {
    let words = with_causes(reason);
    name.map_or_else(|| words.clone(), |name| format!("{name}: {words}"))
}
