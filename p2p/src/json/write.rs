//! Messages as JSON. serde writes all of them except the answer with a chunk: it would copy the chunk's bytes twice,
//! and search them for characters to escape, which base64 does not have.

use base64_simd::STANDARD;
use serde::Serialize;

use crate::{
    messages::{SnapshotsRequest, SnapshotsResponse},
    types::{Hash, SnapshotSessionId},
};

/// The tag, the numbers and the punctuation of a chunk's answer, in bytes.
const ENVELOPE: usize = 128;
/// A hash with its quotes and a comma, in bytes.
const HASH: usize = 67;

pub(super) fn request(request: &SnapshotsRequest) -> Vec<u8> {
    written(request)
}

pub(super) fn response(response: &SnapshotsResponse) -> Vec<u8> {
    match response {
        SnapshotsResponse::Chunk { session_id, chunk_index, chunk, proof } => {
            self::chunk(*session_id, *chunk_index, chunk, proof)
        }
        _ => written(response),
    }
}

/// How the answer with this chunk begins, up to the first character of its base64.
pub(super) fn chunk_head(session: SnapshotSessionId, chunk_index: u64) -> Vec<u8> {
    format!(r#"{{"type":"chunk","session_id":{session},"chunk_index":{chunk_index},"chunk":""#).into_bytes()
}

/// Allocated once, at its final size.
fn chunk(session: SnapshotSessionId, chunk_index: u64, chunk: &[u8], proof: &[Hash]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ENVELOPE + STANDARD.encoded_length(chunk.len()) + proof.len() * HASH);
    out.extend_from_slice(&chunk_head(session, chunk_index));
    STANDARD.encode_append(chunk, &mut out);
    out.extend_from_slice(br#"","proof":"#);
    out.extend_from_slice(&written(proof));
    out.push(b'}');
    out
}

pub(super) fn written<T: Serialize + ?Sized>(message: &T) -> Vec<u8> {
    // It cannot fail: every key is a field's name, and the messages' own serializers return no errors.
    serde_json::to_vec(message).unwrap_or_default()
}
