//! The envelope of messages, in a live connection and in a recording.
//!
//! ```text
//! version u32 LE = 1 | [ FNV-1a-32 of the message u32 LE | length u32 LE | ServerMessage ] ...
//! ```

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;

use crate::proto::{self, server_message::Payload};

/// The schema version that this crate speaks.
pub const VERSION: u32 = 1;
/// Bytes of the version.
pub const VERSION_BYTES: usize = 4;
/// Bytes of checksum and length.
pub const HEAD_BYTES: usize = 8;

/// What is wrong with an envelope. The sender is at fault, or whatever damaged the file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The bytes end within the version or within a message.
    #[error("cut short at byte {offset}")]
    Truncated {
        /// Where the incomplete part begins.
        offset: usize,
    },
    /// Another schema version.
    #[error("schema version {found}; this program reads version {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// A message does not match its checksum.
    #[error("the message at byte {offset} does not match its checksum")]
    Checksum {
        /// Where the message's head begins.
        offset: usize,
    },
    /// A message claims to be longer than the bound.
    #[error("the message at byte {offset} says it has {length} bytes; at most {max} are read")]
    TooLong {
        /// Where the message's head begins.
        offset: usize,
        /// The claimed length.
        length: u32,
        /// The bound.
        max: usize,
    },
    /// The checksum is right, but the message cannot be decoded.
    #[error("the message at byte {offset} is no ServerMessage: {source}")]
    Message {
        /// Where the message's head begins.
        offset: usize,
        /// The decoder's reason.
        source: prost::DecodeError,
    },
}

/// FNV-1a with 32 bits.
#[must_use]
pub fn fnv1a32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// One WebSocket message: the version and one payload.
#[must_use]
pub fn encode(payload: Payload) -> Bytes {
    let message = proto::ServerMessage { version: Some(proto::Version { version: VERSION }), payload: Some(payload) };
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(VERSION_BYTES + HEAD_BYTES + length);
    frame.put_u32_le(VERSION);
    frame.put_u32_le(0);
    frame.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode_raw(&mut frame);
    let checksum = fnv1a32(&frame[VERSION_BYTES + HEAD_BYTES..]);
    frame[VERSION_BYTES..VERSION_BYTES + 4].copy_from_slice(&checksum.to_le_bytes());
    frame.freeze()
}

/// Reads and checks the version at the beginning.
///
/// # Errors
/// Too few bytes, or another version.
pub fn read_version(bytes: &[u8]) -> Result<(), EnvelopeError> {
    match word(bytes, 0) {
        Some(VERSION) => Ok(()),
        Some(found) => Err(EnvelopeError::Version { found }),
        None => Err(EnvelopeError::Truncated { offset: 0 }),
    }
}

/// The head of a message, checked against the bound: its checksum and its length.
///
/// # Errors
/// Too few bytes, or a length above `max`.
pub fn read_head(bytes: &[u8], offset: usize, max: usize) -> Result<(u32, usize), EnvelopeError> {
    let (Some(checksum), Some(length)) = (word(bytes, 0), word(bytes, 4)) else {
        return Err(EnvelopeError::Truncated { offset });
    };
    match usize::try_from(length) {
        Ok(size) if size <= max => Ok((checksum, size)),
        _ => Err(EnvelopeError::TooLong { offset, length, max }),
    }
}

/// Decodes a message whose head contained `checksum`.
///
/// # Errors
/// The checksum differs, or the bytes are not a message.
pub fn read_message(bytes: &[u8], checksum: u32, offset: usize) -> Result<proto::ServerMessage, EnvelopeError> {
    if fnv1a32(bytes) != checksum {
        return Err(EnvelopeError::Checksum { offset });
    }
    proto::ServerMessage::decode(bytes).map_err(|source| EnvelopeError::Message { offset, source })
}

/// Iterates over the messages in one WebSocket message.
///
/// # Errors
/// Too few bytes for a version, or another version.
pub fn messages(bytes: Bytes) -> Result<Messages, EnvelopeError> {
    read_version(&bytes)?;
    Ok(Messages { bytes, offset: VERSION_BYTES })
}

/// A message, and its bytes after checksum and length, as a recording holds them.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The message.
    pub message: proto::ServerMessage,
    /// The bytes as they arrived.
    pub bytes: Bytes,
}

/// See [`messages`]. Ends after the first error.
#[derive(Debug)]
pub struct Messages {
    bytes: Bytes,
    offset: usize,
}

impl Messages {
    fn read(&mut self) -> Result<Part, EnvelopeError> {
        let offset = self.offset;
        let (checksum, length) = read_head(&self.bytes[offset..], offset, self.bytes.len())?;
        let (start, end) = (offset + HEAD_BYTES, offset + HEAD_BYTES + length);
        let message = self.bytes.get(start..end).ok_or(EnvelopeError::Truncated { offset })?;
        self.offset = end;
        Ok(Part { message: read_message(message, checksum, offset)?, bytes: self.bytes.slice(offset..end) })
    }
}

impl Iterator for Messages {
    type Item = Result<Part, EnvelopeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.bytes.len() {
            return None;
        }
        let part = self.read();
        if part.is_err() {
            self.offset = self.bytes.len();
        }
        Some(part)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}
