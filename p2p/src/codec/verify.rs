//! From the bytes of an answer to what has been found true of it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use crate::{
    error::Violation,
    exchange::{Expectation, Verified},
    json::{self, DecodeError},
    messages::SnapshotsResponse,
    text,
    types::Hash,
};

/// What came of checking an answer.
#[derive(Debug)]
pub struct Checked(pub(crate) Result<Verified, CheckFailed>);

/// Why a response is not used.
#[derive(Debug)]
pub(crate) enum CheckFailed {
    /// It ends before it says anything: the provider has no room for another stream, or lost the connection.
    Cut,
    /// The provider is at fault.
    Violation(Violation),
    /// We are.
    Panicked(String),
}

/// A chunk that was taken out of its answer while that arrived.
pub(crate) struct Streamed {
    /// What stood between the quotes, decoded.
    pub(crate) bytes: Bytes,
    /// The chaining values of its groups, where the chunk that was asked for stands.
    pub(crate) groups: Vec<Hash>,
}

/// Checks an answer, from which the chunk may have been taken out: up to 8 MiB to read and 4 MiB to hash.
pub(crate) fn check(body: Vec<u8>, streamed: Option<Streamed>, expectation: Expectation) -> Checked {
    let checked = catch_unwind(AssertUnwindSafe(|| check_body(body, streamed, expectation)));
    Checked(checked.unwrap_or_else(|panic| Err(CheckFailed::Panicked(text::of_panic(panic.as_ref())))))
}

/// What an answer above the bound is.
pub(crate) fn oversize(seen: usize, bound: usize) -> Checked {
    Checked(Err(CheckFailed::Violation(DecodeError::TooLarge { size: seen, bound }.into())))
}

fn check_body(body: Vec<u8>, streamed: Option<Streamed>, expectation: Expectation) -> Result<Verified, CheckFailed> {
    // The codec has applied the bound.
    let mut response = json::decode_response_within(&body, body.len()).map_err(|error| match error {
        // The stream ended before the document did: a lost connection, not a lie.
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
