//! A provider that lies, in any field of any answer.

use bytes::Bytes;
use rpp_p2p::{ArtefactKind, Checkpoint, ErrorCode, Hash, PayloadFormat, SnapshotSessionId, SnapshotsResponse, Update};

use crate::simulation::rng::Rng;

/// Changes one thing in an answer.
pub fn lie(rng: &mut Rng, response: &mut SnapshotsResponse) {
    if rng.chance(8) {
        let session_id = response.session_id();
        let code = rng.pick(&[
            ErrorCode::NotFound,
            ErrorCode::Unauthorized,
            ErrorCode::Busy,
            ErrorCode::Invalid,
            ErrorCode::PlanChanged,
            ErrorCode::ResumeRegressed,
            ErrorCode::ResumeOutOfBounds,
            ErrorCode::Cancelled,
            ErrorCode::Internal,
        ]);
        *response = SnapshotsResponse::Error { session_id, code, message: "\u{202e}a lie\n".repeat(60) };
        return;
    }
    if rng.chance(10) {
        *session_of(response) = SnapshotSessionId::random();
        return;
    }
    match response {
        SnapshotsResponse::Plan { plan, min_chunk_size, max_chunk_size, .. } => match rng.below(14) {
            0 => hash(rng, &mut plan.plan_id),
            1 => plan.proof.push('2'),
            2 => plan.genesis.chain_id.push('x'),
            3 => plan.genesis.publishers = vec![Hash([9; 32])],
            4 => plan.genesis.threshold = rng.below(3),
            5 | 6 => checkpoint(rng, &mut plan.snapshot.checkpoint),
            7 | 8 => checkpoint(rng, &mut plan.tip),
            9 => plan.snapshot.format = PayloadFormat::Tar,
            10 => number(rng, &mut plan.chunk_size),
            11 => number(rng, &mut plan.total_chunks),
            12 => number(rng, &mut plan.total_updates),
            _ => std::mem::swap(min_chunk_size, max_chunk_size),
        },
        SnapshotsResponse::Chunk { chunk_index, chunk, proof, .. } => match rng.below(5) {
            0 => number(rng, chunk_index),
            1 => *chunk = flipped(rng, chunk),
            2 => *chunk = chunk.slice(..chunk.len() / 2),
            3 => proof.push(Hash([1; 32])),
            _ => match proof.first_mut() {
                Some(first) => hash(rng, first),
                None => *chunk = flipped(rng, chunk),
            },
        },
        SnapshotsResponse::LightClientUpdate { update_index, update, .. } => match rng.below(6) {
            0 => number(rng, update_index),
            1 | 2 => checkpoint(rng, &mut update.checkpoint),
            3 => hash(rng, &mut update.previous_commitment),
            _ => attachments(rng, update),
        },
        SnapshotsResponse::Resume { plan_id, chunk_index, update_index, chunk_size, .. } => match rng.below(4) {
            0 => hash(rng, plan_id),
            1 => number(rng, chunk_index),
            2 => number(rng, update_index),
            _ => number(rng, chunk_size),
        },
        SnapshotsResponse::Ack { kind, index, .. } => match rng.below(2) {
            0 => *kind = if *kind == ArtefactKind::Chunk { ArtefactKind::Plan } else { ArtefactKind::Chunk },
            _ => number(rng, index),
        },
        SnapshotsResponse::Error { code, .. } => *code = ErrorCode::Internal,
    }
}

/// Damages the text of an answer.
pub fn damage(rng: &mut Rng, text: &mut Vec<u8>) {
    let at = rng.below(text.len() as u64) as usize;
    match rng.below(3) {
        0 => text[at] ^= 1 << rng.below(8),
        1 => text.truncate(at),
        _ => text.insert(at, b'{'),
    }
}

fn session_of(response: &mut SnapshotsResponse) -> &mut SnapshotSessionId {
    match response {
        SnapshotsResponse::Plan { session_id, .. }
        | SnapshotsResponse::Chunk { session_id, .. }
        | SnapshotsResponse::LightClientUpdate { session_id, .. }
        | SnapshotsResponse::Resume { session_id, .. }
        | SnapshotsResponse::Ack { session_id, .. }
        | SnapshotsResponse::Error { session_id, .. } => session_id,
    }
}

fn number(rng: &mut Rng, number: &mut u64) {
    *number = match rng.below(4) {
        0 => *number + 1,
        1 => number.saturating_sub(1),
        2 => (1 << 53) - 1,
        _ => 0,
    };
}

fn hash(rng: &mut Rng, hash: &mut Hash) {
    hash.0[rng.below(32) as usize] ^= 1 << rng.below(8);
}

fn checkpoint(rng: &mut Rng, checkpoint: &mut Checkpoint) {
    match rng.below(6) {
        0 => number(rng, &mut checkpoint.step),
        1 => number(rng, &mut checkpoint.height),
        2 => hash(rng, &mut checkpoint.block_hash),
        3 => hash(rng, &mut checkpoint.state_root),
        4 => number(rng, &mut checkpoint.payload_bytes),
        _ => hash(rng, &mut checkpoint.commitment),
    }
}

fn attachments(rng: &mut Rng, update: &mut Update) {
    match rng.below(4) {
        0 => {
            update.recursive_proof = match &update.recursive_proof {
                Some(proof) if rng.chance(50) => Some(flipped(rng, proof)),
                Some(_) => None,
                None => Some(Bytes::from_static(b"a proof")),
            }
        }
        1 => update.signatures.clear(),
        2 => {
            if let Some(first) = update.signatures.first_mut() {
                first.signature = flipped(rng, &first.signature);
            }
        }
        _ => {
            if let Some(first) = update.signatures.first_mut() {
                hash(rng, &mut first.publisher);
            }
        }
    }
}

fn flipped(rng: &mut Rng, bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let at = rng.below(bytes.len() as u64) as usize;
    match bytes.get_mut(at) {
        Some(byte) => *byte ^= 1 << rng.below(8),
        None => bytes.push(0),
    }
    bytes.into()
}
