//! Estimates the length of a response. The consumer's buffer gets this size, and a provider reserves as much before it
//! loads data.

use super::event::RequestKind;

/// A response of a few fields.
const SMALL: usize = 2 * 1024;
/// A plan with the most publishers.
const PLAN: usize = 8 * 1024;
/// An update with its proof and many signatures.
const UPDATE: usize = 32 * 1024;
/// A chunk's response without the chunk, but with its proof.
const CHUNK_FRAME: usize = 8 * 1024;

/// About the length of a response in bytes; never less than an honest provider's plan or chunk has.
pub(super) fn response(kind: RequestKind, chunk_size: u64) -> usize {
    match kind {
        RequestKind::Plan => PLAN,
        RequestKind::LightClientUpdate => UPDATE,
        RequestKind::Chunk => {
            let chunk = usize::try_from(chunk_size).unwrap_or(usize::MAX);
            (chunk / 3).saturating_mul(4).saturating_add(CHUNK_FRAME)
        }
        RequestKind::Resume | RequestKind::Ack | RequestKind::Cancel => SMALL,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        json,
        limits::{MAX_CHUNK_SIZE, MAX_PROOF_HASHES, MAX_RESPONSE_BYTES},
        messages::SnapshotsResponse,
        types::{Hash, MAX_INTEGER, SnapshotSessionId},
    };

    #[test]
    fn a_chunk_with_the_longest_proof_fits() {
        for size in [1, 16 * 1024, 1024 * 1024, MAX_CHUNK_SIZE] {
            let response = SnapshotsResponse::Chunk {
                session_id: SnapshotSessionId::new(MAX_INTEGER).unwrap(),
                chunk_index: MAX_INTEGER,
                chunk: Bytes::from(vec![255; usize::try_from(size).unwrap()]),
                proof: vec![Hash([255; 32]); MAX_PROOF_HASHES],
            };
            let len = json::encode_response(&response).len();
            assert!(len <= super::response(RequestKind::Chunk, size), "{size}: {len}");
            assert!(super::response(RequestKind::Chunk, size) <= MAX_RESPONSE_BYTES);
        }
    }
}
