//! How long a response is likely to be: sizes the consumer's buffer, and is what a provider sets aside before it loads.

use super::event::RequestKind;

/// A response of a few fields.
const SMALL: usize = 2 * 1024;
/// A plan with as many publishers as there may be.
const PLAN: usize = 8 * 1024;
/// An update with its proof and a good number of signatures.
const UPDATE: usize = 32 * 1024;
/// All of a chunk's response but the chunk, its proof included.
const CHUNK_FRAME: usize = 8 * 1024;

/// About the bytes of a response; not below them for plans and chunks of an honest provider.
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
