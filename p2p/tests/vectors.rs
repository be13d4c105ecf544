//! Chunk proofs and the outboard, checked against test vectors from an independent program.

use std::collections::HashMap;

use rpp_p2p::{
    Hash,
    outboard::{self, GROUP, Layout},
    tree::{self, ChunkError, chunk_range, proof_len, total_chunks, verify_chunk},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    chunk_size: u64,
    payload_bytes: u64,
    root: Hash,
    total_chunks: u64,
    chunks: Vec<Chunk>,
}

#[derive(Deserialize)]
struct Chunk {
    chunk_index: u64,
    length: u64,
    proof: Vec<Hash>,
}

fn vectors() -> Vec<Case> {
    let vectors: Vectors = serde_json::from_str(include_str!("vectors/chunk-proofs.json")).unwrap();
    assert!(vectors.cases.len() >= 10);
    vectors.cases
}

fn payload(bytes: u64) -> Vec<u8> {
    (0..bytes).map(|i| ((i.wrapping_mul(i) ^ (i >> 7)).wrapping_mul(31).wrapping_add(7) % 251) as u8).collect()
}

fn slice(payload: &[u8], chunk_size: u64, index: u64) -> &[u8] {
    let range = chunk_range(payload.len() as u64, chunk_size, index);
    &payload[range.start as usize..range.end as usize]
}

#[test]
fn every_vector_verifies() {
    for case in vectors() {
        let payload = payload(case.payload_bytes);
        assert_eq!(Hash::from(blake3::hash(&payload)), case.root);
        assert_eq!(total_chunks(case.payload_bytes, case.chunk_size), case.total_chunks);
        for chunk in &case.chunks {
            let bytes = slice(&payload, case.chunk_size, chunk.chunk_index);
            assert_eq!(bytes.len() as u64, chunk.length);
            assert_eq!(proof_len(case.payload_bytes, case.chunk_size, chunk.chunk_index), chunk.proof.len());
            verify_chunk(&case.root, case.payload_bytes, case.chunk_size, chunk.chunk_index, bytes, &chunk.proof)
                .unwrap();
        }
    }
}

#[test]
fn whatever_is_changed_in_a_vector_is_refused() {
    for case in vectors() {
        let payload = payload(case.payload_bytes);
        for chunk in &case.chunks {
            let (size, index) = (case.chunk_size, chunk.chunk_index);
            let bytes = slice(&payload, size, index).to_vec();
            let verify =
                |bytes: &[u8], proof: &[Hash]| verify_chunk(&case.root, case.payload_bytes, size, index, bytes, proof);
            let mut longer = bytes.clone();
            longer.push(0);
            assert!(matches!(verify(&longer, &chunk.proof), Err(ChunkError::Length { .. })));
            let mut more = chunk.proof.clone();
            more.push(Hash::default());
            assert!(matches!(verify(&bytes, &more), Err(ChunkError::ProofLength { .. })));
            for at in [0, bytes.len() / 2, bytes.len().saturating_sub(1)] {
                let mut wrong = bytes.clone();
                if let Some(byte) = wrong.get_mut(at) {
                    *byte ^= 1;
                    assert!(matches!(verify(&wrong, &chunk.proof), Err(ChunkError::Root { .. })));
                }
            }
            for level in 0..chunk.proof.len() {
                let mut wrong = chunk.proof.clone();
                wrong[level].0[31] ^= 0x80;
                assert!(matches!(verify(&bytes, &wrong), Err(ChunkError::Root { .. })));
                wrong = chunk.proof.clone();
                wrong.remove(level);
                assert!(matches!(verify(&bytes, &wrong), Err(ChunkError::ProofLength { .. })));
            }
            assert!(
                verify_chunk(&case.root, case.payload_bytes, size, case.total_chunks, &bytes, &chunk.proof).is_err()
            );
            assert!(verify_chunk(&case.root, case.payload_bytes, size - 1, index, &bytes, &chunk.proof).is_err());
            assert!(verify_chunk(&case.root, case.payload_bytes, 0, index, &bytes, &chunk.proof).is_err());
        }
    }
}

/// The outboard file of a payload, made in pieces of `piece` bytes.
fn build(payload: &[u8], piece: u64) -> (Layout, HashMap<u64, Hash>, Option<Hash>) {
    let layout = Layout::new(payload.len() as u64);
    let mut file = HashMap::new();
    for index in 0..total_chunks(layout.payload_bytes(), piece) {
        for (offset, hash) in outboard::chunk_nodes(&layout, piece, index, slice(payload, piece, index)) {
            assert_eq!(file.insert(offset, hash), None, "a node twice");
        }
    }
    let cell = std::cell::RefCell::new(file);
    let root = outboard::parents(
        &layout,
        piece,
        |offset| Ok(cell.borrow()[&offset]),
        |offset, hash| {
            assert_eq!(cell.borrow_mut().insert(offset, hash), None, "a node twice");
            Ok(())
        },
    )
    .unwrap();
    (layout, cell.into_inner(), root)
}

#[test]
fn one_outboard_serves_the_vectors_of_every_chunk_size() {
    let mut files = HashMap::new();
    for case in vectors() {
        let payload = payload(case.payload_bytes);
        let (layout, file, root) =
            files.entry(case.payload_bytes).or_insert_with(|| build(&payload, 64 * 1024)).clone();
        assert_eq!(layout.file_len(), file.len() as u64 * outboard::NODE, "no gaps");
        assert!(file.keys().all(|offset| offset % outboard::NODE == 0 && *offset < layout.file_len()));
        assert_eq!(root.unwrap_or_else(|| blake3::hash(&payload).into()), case.root);
        for chunk in &case.chunks {
            let nodes = outboard::proof_nodes(&layout, case.chunk_size, chunk.chunk_index);
            let proof: Vec<Hash> = nodes.iter().map(|offset| file[offset]).collect();
            assert_eq!(proof, chunk.proof);
        }
    }
}

#[test]
fn the_outboard_is_the_same_whatever_the_pieces_and_each_size_has_its_proofs() {
    for groups in [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33] {
        for extra in [0, 1, 1023, 1025] {
            let payload = payload(groups * GROUP + extra);
            let (layout, file, root) = build(&payload, GROUP);
            let root = root.unwrap_or_else(|| blake3::hash(&payload).into());
            assert_eq!(root, blake3::hash(&payload).into());
            for piece in [2 * GROUP, 4 * GROUP, 256 * GROUP] {
                assert_eq!(build(&payload, piece).1, file);
            }
            for chunk_size in [GROUP, 2 * GROUP, 8 * GROUP, 64 * GROUP] {
                check_size(&payload, &layout, &file, root, chunk_size);
            }
        }
    }
}

/// Checks that each chunk proves itself, and that a consumer that fills its outboard from chunks and proofs ends with
/// the same file.
fn check_size(payload: &[u8], layout: &Layout, file: &HashMap<u64, Hash>, root: Hash, chunk_size: u64) {
    let bytes = payload.len() as u64;
    let mut partial = HashMap::new();
    for index in 0..total_chunks(bytes, chunk_size) {
        let proof: Vec<Hash> =
            outboard::proof_nodes(layout, chunk_size, index).iter().map(|offset| file[offset]).collect();
        let chunk = slice(payload, chunk_size, index);
        verify_chunk(&root, bytes, chunk_size, index, chunk, &proof).unwrap();
        partial.extend(outboard::proof_placement(layout, chunk_size, index, &proof));
        partial.extend(outboard::chunk_nodes(layout, chunk_size, index, chunk));
    }
    assert_eq!(&partial, file);
}

#[test]
fn numbers_from_a_stranger_never_panic() {
    let numbers = [0, 1, 2, 1023, 1024, 16_384, 16_385, 1 << 20, (1 << 53) - 1, 1 << 63, u64::MAX];
    for payload_bytes in numbers {
        let layout = Layout::new(payload_bytes);
        for chunk_size in numbers {
            for index in numbers {
                let _ = total_chunks(payload_bytes, chunk_size);
                let _ = tree::chunk_range(payload_bytes, chunk_size, index);
                let _ = proof_len(payload_bytes, chunk_size, index);
                let _ = outboard::proof_nodes(&layout, chunk_size, index);
                let _ = outboard::chunk_nodes(&layout, chunk_size, index, &[]);
                let _ = layout.offset(3, index);
                let _ = verify_chunk(&Hash::default(), payload_bytes, chunk_size, index, &[1, 2, 3], &[]);
            }
        }
    }
}
