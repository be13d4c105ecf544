//! Recordings: the version once, then messages, appended as they arrive.
//!
//! Each message is one write without a flush to disk. A crash of the machine may lose the last ones. An incomplete
//! message at the end is cut off when the recording is continued.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, Read, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    envelope::{self, EnvelopeError, HEAD_BYTES, Part, VERSION, VERSION_BYTES},
    limits::MAX_SERVER_MESSAGE_BYTES,
    proto::{ServerMessage, server_message::Payload},
};

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The disk or the permissions are at fault.
    #[error("the recording {path:?}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not a recording, or it is damaged.
    #[error("the recording {path:?}: {source}")]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: EnvelopeError,
    },
}

/// Appends to a recording.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    file: File,
    /// Bytes of an incomplete message that were cut off when the file was opened.
    cut: u64,
}

impl Recorder {
    /// Starts a recording, or continues one.
    ///
    /// # Errors
    /// The file cannot be opened, is not a recording, or is damaged in another way than by an incomplete message at its
    /// end.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let failed = |source| RecordingError::Io { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let whole = if length == 0 {
            file.write_all(&VERSION.to_le_bytes()).map_err(failed)?;
            VERSION_BYTES as u64
        } else {
            whole_bytes(path)?
        };
        let cut = length.saturating_sub(whole);
        if cut > 0 {
            file.set_len(whole).map_err(failed)?;
        }
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, cut })
    }

    /// Bytes of an incomplete message that were cut off when the file was opened.
    #[must_use]
    pub fn cut_off(&self) -> u64 {
        self.cut
    }

    /// Appends a message if a recording holds its kind: runtime, the effective configuration, states, events, and
    /// notices that events were discarded. Returns whether it did.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(&mut self, part: &Part) -> Result<bool, RecordingError> {
        let kept = match &part.message.payload {
            Some(Payload::Runtime(_) | Payload::State(_) | Payload::Event(_) | Payload::Notice(_)) => true,
            // The observer toolkit shows no events without it.
            Some(Payload::Response(response)) => response.effective_config.is_some(),
            None => false,
        };
        if kept {
            self.file
                .write_all(&part.bytes)
                .map_err(|source| RecordingError::Io { path: self.path.clone(), source })?;
        }
        Ok(kept)
    }
}

/// The end of the last complete message.
fn whole_bytes(path: &Path) -> Result<u64, RecordingError> {
    let mut recording = Recording::open(path)?;
    loop {
        let end = recording.offset;
        match recording.next() {
            Some(Ok(_)) => {}
            None | Some(Err(RecordingError::Format { source: EnvelopeError::Truncated { .. }, .. })) => {
                return Ok(end as u64);
            }
            Some(Err(error)) => return Err(error),
        }
    }
}

/// Reads a recording message by message. Ends after the first error.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    file: BufReader<File>,
    offset: usize,
    ended: bool,
}

impl Recording {
    /// Opens a recording.
    ///
    /// # Errors
    /// The file cannot be opened or is not a recording.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let file = File::open(path).map_err(|source| RecordingError::Io { path: path.to_owned(), source })?;
        let mut recording = Self { path: path.to_owned(), file: BufReader::new(file), offset: 0, ended: false };
        let version = recording.up_to(VERSION_BYTES)?;
        envelope::read_version(&version).map_err(|source| recording.format(source))?;
        recording.offset = VERSION_BYTES;
        Ok(recording)
    }

    fn read(&mut self) -> Result<Option<ServerMessage>, RecordingError> {
        let offset = self.offset;
        let head = self.up_to(HEAD_BYTES)?;
        if head.is_empty() {
            return Ok(None);
        }
        let (checksum, length) =
            envelope::read_head(&head, offset, MAX_SERVER_MESSAGE_BYTES).map_err(|source| self.format(source))?;
        let message = self.up_to(length)?;
        if message.len() < length {
            return Err(self.format(EnvelopeError::Truncated { offset }));
        }
        let message = envelope::read_message(&message, checksum, offset).map_err(|source| self.format(source))?;
        self.offset += HEAD_BYTES + length;
        Ok(Some(message))
    }

    /// Up to `count` bytes; fewer at the end of the file.
    fn up_to(&mut self, count: usize) -> Result<Vec<u8>, RecordingError> {
        let mut bytes = Vec::new();
        let read = self.file.by_ref().take(count as u64).read_to_end(&mut bytes);
        read.map_err(|source| RecordingError::Io { path: self.path.clone(), source })?;
        Ok(bytes)
    }

    fn format(&self, source: EnvelopeError) -> RecordingError {
        RecordingError::Format { path: self.path.clone(), source }
    }
}

impl Iterator for Recording {
    type Item = Result<ServerMessage, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let read = self.read().transpose();
        self.ended = !matches!(read, Some(Ok(_)));
        read
    }
}
