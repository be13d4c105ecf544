//! The JSON of the wire, read strictly (`docs/protocol.md`, Messages).
//!
//! One document with nothing after it but white space; no key twice in an object; at most 16 objects and arrays inside
//! one another; every integer a plain literal in `0 ..= 2^53 - 1`; binary in padded standard base64, hashes in lower-case
//! hex of the exact length. Unknown fields are ignored (they must still be JSON); an unknown `type` is refused.
//!
//! Reading scans the text once and borrows from it. Besides the message, a reader allocates only a list of the members
//! of each object on the way, at most 1,024 each. A chunk's base64 is decoded directly from the text. serde is not
//! suitable for reading: it keeps the last of two equal keys, and to find the `type` of a message it holds the whole
//! message as a tree, which takes many times its size. serde writes all messages except the answer with a chunk.
//!
//! No document is the beginning of another one, so the text alone shows that a message was cut off
//! ([`DecodeError::Incomplete`]). This is necessary because several transports and libraries show a lost connection as
//! a clean end.

#[cfg(feature = "proofs")]
mod offers;
mod read;
mod scan;
mod write;

use crate::{
    limits::{MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES},
    messages::{SnapshotsRequest, SnapshotsResponse},
};
#[cfg(feature = "proofs")]
use crate::{
    offers::{OffersRequest, OffersResponse},
    types::SnapshotSessionId,
};

/// Why a message cannot be read. Text in it is escaped and short.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It is larger than allowed. Nothing of it was read.
    #[error("a message of {size} bytes: the bound is {bound}")]
    TooLarge {
        /// Its size, as far as it is known.
        size: usize,
        /// The bound.
        bound: usize,
    },
    /// It is not UTF-8.
    #[error("the message is not UTF-8")]
    Utf8,
    /// It ends before its document does, so it was probably cut off.
    #[error("the message ends inside its document, at byte {at}")]
    Incomplete {
        /// Where.
        at: usize,
    },
    /// It is not JSON.
    #[error("not JSON at byte {at}: {what}")]
    Syntax {
        /// Where.
        at: usize,
        /// What was expected, or is wrong.
        what: &'static str,
    },
    /// It has more nested objects and arrays than allowed.
    #[error("nested deeper than {} at byte {at}", crate::limits::MAX_JSON_DEPTH)]
    TooDeep {
        /// Where.
        at: usize,
    },
    /// A key occurs twice in one object.
    #[error("the key {key:?} stands twice in one object")]
    DuplicateKey {
        /// Which, escaped and cut.
        key: String,
    },
    /// An object has more members than allowed.
    #[error("more than {} members in one object", crate::limits::MAX_JSON_MEMBERS)]
    TooManyMembers,
    /// A required field is missing.
    #[error("the field {field:?} is missing")]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// A field has the wrong kind of value.
    #[error("the field {field:?} must be {expected}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it must contain.
        expected: &'static str,
    },
    /// The type of the message is unknown.
    #[error("the type {found:?} is unknown")]
    UnknownType {
        /// Which, escaped and cut.
        found: String,
    },
}

/// Writes a request.
#[must_use]
pub fn encode_request(request: &SnapshotsRequest) -> Vec<u8> {
    write::request(request)
}

/// The beginning of the answer with this chunk as [`encode_response`] writes it, up to the first character of the
/// base64.
#[cfg(feature = "proofs")]
pub(crate) fn chunk_head(session: SnapshotSessionId, chunk_index: u64) -> Vec<u8> {
    write::chunk_head(session, chunk_index)
}

/// Writes a response. The buffer is allocated once, at its final size.
#[must_use]
pub fn encode_response(response: &SnapshotsResponse) -> Vec<u8> {
    write::response(response)
}

/// Reads a request of at most 64 KiB.
///
/// # Errors
/// Why it cannot be read; the answer is then `invalid` with `session_id` 0.
pub fn decode_request(bytes: &[u8]) -> Result<SnapshotsRequest, DecodeError> {
    decode_request_within(bytes, MAX_REQUEST_BYTES)
}

/// Reads a request of at most `bound` bytes.
///
/// # Errors
/// Why it cannot be read.
pub fn decode_request_within(bytes: &[u8], bound: usize) -> Result<SnapshotsRequest, DecodeError> {
    check_size(bytes.len(), bound)?;
    read::request(text(bytes)?)
}

/// Reads a response of at most 8 MiB.
///
/// # Errors
/// Why it cannot be read: the provider broke the protocol.
pub fn decode_response(bytes: &[u8]) -> Result<SnapshotsResponse, DecodeError> {
    decode_response_within(bytes, MAX_RESPONSE_BYTES)
}

/// Reads a response of at most `bound` bytes.
///
/// # Errors
/// Why it cannot be read.
pub fn decode_response_within(bytes: &[u8], bound: usize) -> Result<SnapshotsResponse, DecodeError> {
    check_size(bytes.len(), bound)?;
    read::response(text(bytes)?)
}

/// Writes a request of `/rpp/offers/1.0.0`.
#[cfg(feature = "proofs")]
#[must_use]
pub fn encode_offers_request(request: &OffersRequest) -> Vec<u8> {
    write::written(request)
}

/// Writes an answer of `/rpp/offers/1.0.0`.
#[cfg(feature = "proofs")]
#[must_use]
pub fn encode_offers_response(response: &OffersResponse) -> Vec<u8> {
    write::written(response)
}

/// Reads a request of `/rpp/offers/1.0.0` of at most 64 KiB.
///
/// # Errors
/// Why it cannot be read; the answer is then `invalid`.
#[cfg(feature = "proofs")]
pub fn decode_offers_request(bytes: &[u8]) -> Result<OffersRequest, DecodeError> {
    check_size(bytes.len(), MAX_REQUEST_BYTES)?;
    offers::request(text(bytes)?)
}

/// Reads an answer of `/rpp/offers/1.0.0` of at most 8 MiB.
///
/// # Errors
/// Why it cannot be read: the peer broke the protocol.
#[cfg(feature = "proofs")]
pub fn decode_offers_response(bytes: &[u8]) -> Result<OffersResponse, DecodeError> {
    check_size(bytes.len(), MAX_RESPONSE_BYTES)?;
    offers::response(text(bytes)?)
}

/// Refuses a message above its bound. For code that reads or writes the stream.
///
/// # Errors
/// [`DecodeError::TooLarge`], naming size and bound.
pub fn check_size(size: usize, bound: usize) -> Result<(), DecodeError> {
    if size <= bound { Ok(()) } else { Err(DecodeError::TooLarge { size, bound }) }
}

fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|error| {
        // A message may also be cut inside a character, but only where its document continues.
        let (whole, _) = bytes.split_at(error.valid_up_to());
        match std::str::from_utf8(whole).map(scan::document) {
            Ok(Err(cut @ DecodeError::Incomplete { .. })) if error.error_len().is_none() => cut,
            _ => DecodeError::Utf8,
        }
    })
}
