//! The facts about a folder that are found before its files are read: the length of its tar, the links that no consumer
//! will unpack, and the files that more users will be able to read after unpacking than here.

use std::{fs::File, io, os::fd::OwnedFd};

use super::{header::padding, links};
use crate::files::sparse::Map;
use crate::limits::MAX_NAMED;

/// Entries of one kind: their number, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The number of entries.
    pub total: u64,
    /// The path and the finding for the first [`MAX_NAMED`]; paths are escaped and cut.
    pub first: Vec<(String, String)>,
}

impl Findings {
    /// Adds an entry.
    pub(crate) fn add(&mut self, path: &[u8], what: impl Into<String>) {
        self.total += 1;
        if self.first.len() < MAX_NAMED {
            self.first.push((rpp_p2p::text::escape(&String::from_utf8_lossy(path)), what.into()));
        }
    }
}

/// The findings about a folder that is to be packed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FolderSurvey {
    /// Length of the tar.
    pub(crate) bytes: u64,
    /// Bytes that take space. The rest is holes.
    pub(crate) data_bytes: u64,
    /// Links that `unpack` refuses.
    pub(crate) links: Findings,
    /// Files and folders that fewer users may read here than the modes in the tar allow.
    pub(crate) private: Findings,
}

impl FolderSurvey {
    pub(super) fn with_headers(mut self, bytes: u64) -> Self {
        self.bytes = self.bytes.saturating_add(bytes);
        self.data_bytes = self.data_bytes.saturating_add(bytes);
        self
    }
}

pub(super) struct Surveyor {
    root: OwnedFd,
    pub(super) found: FolderSurvey,
}

impl Surveyor {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root, found: FolderSurvey::default() }
    }

    /// Counts a file's content. `open` is called only if the file has holes.
    pub(super) fn content<E: From<io::Error>>(
        &mut self,
        size: u64,
        full: bool,
        open: impl FnOnce() -> Result<File, E>,
    ) -> Result<(), E> {
        let padding = padding(size) as u64;
        let data = if full { size } else { Map::new(&open()?, size)?.data_bytes()? };
        self.found.bytes = self.found.bytes.saturating_add(size).saturating_add(padding);
        self.found.data_bytes = self.found.data_bytes.saturating_add(data).saturating_add(padding);
        Ok(())
    }

    /// `open`: the mode bits by which everybody may read the file after it is unpacked.
    pub(super) fn mode(&mut self, path: &[u8], mode: u32, open: u32) {
        if mode & open != open {
            self.found.private.add(path, format!("mode {:04o}", mode & 0o7777));
        }
    }

    pub(super) fn link(&mut self, path: &[u8], target: &[u8]) {
        let folder = path.iter().rposition(|&byte| byte == b'/').map_or(&b""[..], |slash| &path[..slash]);
        let depth = if folder.is_empty() { 0 } else { folder.split(|&byte| byte == b'/').count() };
        let judged = match links::text(target, depth) {
            Ok(links::Text::Depends) => links::walk(&self.root, folder, target),
            other => other.map(drop),
        };
        if let Err(reason) = judged {
            self.found.links.add(path, reason);
        }
    }
}
