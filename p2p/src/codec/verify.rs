//! Checks the bytes of an answer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use crate::{
    error::{Cause, Violation},
    exchange::{Expectation, Verified},
    json::{self, DecodeError},
    messages::SnapshotsResponse,
    text,
    types::Hash,
};

/// The result of checking an answer.
#[derive(Debug)]
pub struct Checked(pub(crate) Result<Verified, CheckFailed>);

/// Why a response cannot be used.
#[derive(Debug)]
pub(crate) enum CheckFailed {
    /// It ends before it says anything: the provider accepts no further stream, or lost the connection.
    Cut,
    /// The provider is at fault.
    Violation(Violation),
    /// We are at fault.
    Panicked(Cause),
}

/// A chunk that was removed from its answer while that arrived.
pub(crate) struct Streamed {
    /// The decoded bytes that stood between the quotes.
    pub(crate) bytes: Bytes,
    /// The chaining values of its groups, at the position of the chunk that was asked for.
    pub(crate) groups: Vec<Hash>,
}

/// Checks an answer, from which the chunk may have been removed: up to 8 MiB to parse and 4 MiB to hash.
pub(crate) fn check(body: Vec<u8>, streamed: Option<Streamed>, expectation: Expectation) -> Checked {
    let checked = catch_unwind(AssertUnwindSafe(|| check_body(body, streamed, expectation)));
    Checked(checked.unwrap_or_else(|panic| Err(CheckFailed::Panicked(text::of_panic(panic.as_ref())))))
}

/// The result for an answer above the bound.
pub(crate) fn oversize(seen: usize, bound: usize) -> Checked {
    Checked(Err(CheckFailed::Violation(DecodeError::TooLarge { size: seen, bound }.into())))
}

fn check_body(body: Vec<u8>, streamed: Option<Streamed>, expectation: Expectation) -> Result<Verified, CheckFailed> {
    // The codec has already applied the bound.
    let mut response = json::decode_response_within(&body, body.len()).map_err(|error| match error {
        // The stream ended before the document did: a lost connection and not a lie.
        DecodeError::Incomplete { .. } => CheckFailed::Cut,
        error => CheckFailed::Violation(error.into()),
    })?;
    drop(body);
    let mut groups = None;
    if let (SnapshotsResponse::Chunk { chunk, .. }, Some(streamed)) = (&mut response, streamed) {
        *chunk = streamed.bytes;
        groups = Some(streamed.groups);
    }
    expectation.check_hashed(response, groups).map_err(CheckFailed::Violation)
}
