//! The input of a publish: a file as it is, or a folder as a tar.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rpp_p2p::PayloadFormat;
use rustix::fs::{Mode, OFlags};

use super::{PublishError, Survey};
use crate::{
    files::sparse::Map,
    tar::{self, FolderSurvey, Stamp, TarError},
    unpack,
};

pub(super) enum Input {
    File { path: PathBuf, file: File, before: Stamp },
    Folder { path: PathBuf, survey: FolderSurvey },
}

impl Input {
    pub(super) fn open(path: &Path) -> Result<Self, PublishError> {
        let failed = |source: io::Error| TarError::Read { path: path.to_owned(), source };
        // NONBLOCK, because a FIFO must be refused and not waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))?);
        let kind = file.metadata().map_err(failed)?.file_type();
        if kind.is_dir() {
            return Ok(Self::Folder { path: path.to_owned(), survey: tar::survey(path)? });
        }
        if !kind.is_file() {
            return Err(PublishError::Unsupported { path: path.to_owned() });
        }
        let before = Stamp::of(&file).map_err(failed)?;
        Ok(Self::File { path: path.to_owned(), file, before })
    }

    pub(super) fn format(&self) -> PayloadFormat {
        match self {
            Self::File { .. } => PayloadFormat::Raw,
            Self::Folder { .. } => PayloadFormat::Tar,
        }
    }

    /// The length of the payload, unless the input changes.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::File { before, .. } => before.size,
            Self::Folder { survey, .. } => survey.bytes,
        }
    }

    /// The most bytes that a copy writes. Holes take no space.
    pub(super) fn data_bytes(&self) -> Result<u64, TarError> {
        match self {
            Self::File { path, file, before } => Map::new(file, before.size)
                .and_then(|mut map| map.data_bytes())
                .map_err(|source| TarError::Read { path: path.clone(), source }),
            Self::Folder { survey, .. } => Ok(survey.data_bytes),
        }
    }

    /// Everything that consumers will not get unchanged.
    pub(super) fn survey(&self) -> Result<Survey, TarError> {
        match self {
            Self::File { path, file, before } => {
                let failed = |source| TarError::Read { path: path.clone(), source };
                let refused = unpack::inspect(file, before.size).map_err(failed)?;
                Ok(Survey { refused, ..Survey::default() })
            }
            Self::Folder { survey, .. } => {
                Ok(Survey { refused: survey.links.clone(), private: survey.private.clone(), is_folder: true })
            }
        }
    }

    /// Checks that the file has not changed since it was opened. A folder is checked while it is packed.
    pub(super) fn check_unchanged(&self, read: u64) -> Result<(), TarError> {
        let Self::File { path, file, before } = self else { return Ok(()) };
        let after = Stamp::of(file).map_err(|source| TarError::Read { path: path.clone(), source })?;
        if after != *before || read != before.size {
            return Err(TarError::Changed { path: path.clone() });
        }
        match tar::is_sizeless(file, before.size).map_err(|source| TarError::Read { path: path.clone(), source })? {
            true => Err(TarError::Sizeless { path: path.clone() }),
            false => Ok(()),
        }
    }
}
