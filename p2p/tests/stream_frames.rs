//! The frames of `/rpp/snapshots/2.0.0`. What is written can be read back in pieces of any size, and nothing else is
//! accepted.

#![allow(
    clippy::reversed_empty_ranges,
    clippy::single_range_in_vec_init,
    reason = "what is wanted is a list of ranges, also of wrong ones"
)]

use bolero::TypeGenerator;
use proptest::prelude::*;
use rpp_p2p::{
    ArtefactKind, Hash, SnapshotSessionId, SnapshotsRequest, SnapshotsResponse, json,
    limits::{MAX_CHUNK_SIZE, MAX_PROOF_HASHES, MAX_PROVIDER_FRAME_BYTES, MAX_REQUEST_BYTES, MAX_WANT_FRAME_BYTES},
    stream::{
        ConsumerFrame, FrameError, Wanted,
        frame::{self, CHUNK, CREDIT, ConsumerDecoder, MAX_RANGES, MESSAGE, ProviderDecoder, ProviderPart, WANT},
    },
};

fn ack() -> SnapshotsRequest {
    let session_id = SnapshotSessionId::new(7).unwrap();
    SnapshotsRequest::Ack { session_id, kind: ArtefactKind::Chunk, index: 41 }
}

/// Everything that is read from `bytes`, which arrive in pieces that end at `cuts`; and the error that stopped it.
fn consumer(bytes: &[u8], cuts: &[usize]) -> (Vec<ConsumerFrame>, Option<FrameError>) {
    let (mut decoder, mut frames) = (ConsumerDecoder::default(), Vec::new());
    for mut piece in pieces(bytes, cuts) {
        loop {
            match decoder.feed(&mut piece) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(piece.is_empty(), "a decoder takes the whole piece");
    }
    (frames, None)
}

/// A part that is read from a provider: a message, or a chunk with all its bytes.
#[derive(Debug, PartialEq)]
enum Part {
    Message(Box<SnapshotsResponse>),
    Chunk(u64, Vec<Hash>, usize, Vec<u8>),
}

fn provider(bytes: &[u8], cuts: &[usize]) -> (Vec<Part>, Option<FrameError>) {
    let (mut decoder, mut parts) = (ProviderDecoder::default(), Vec::new());
    for mut piece in pieces(bytes, cuts) {
        loop {
            match decoder.feed(&mut piece) {
                Ok(Some(ProviderPart::Message(message, _))) => parts.push(Part::Message(message)),
                Ok(Some(ProviderPart::Chunk { index, proof, length })) => {
                    parts.push(Part::Chunk(index, proof, length, Vec::new()));
                }
                Ok(Some(ProviderPart::Bytes(more))) => match parts.last_mut() {
                    Some(Part::Chunk(_, _, length, bytes)) => {
                        bytes.extend_from_slice(more);
                        assert!(bytes.len() <= *length);
                    }
                    other => panic!("bytes after {other:?}"),
                },
                Ok(None) => break,
                Err(error) => return (parts, Some(error)),
            }
        }
        assert!(piece.is_empty(), "a decoder takes the whole piece");
    }
    (parts, None)
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let chunks = prop::collection::vec((0_u64..100, 1_u64..100), 0..5).prop_map(|steps| {
        let mut at = 0;
        steps
            .into_iter()
            .map(|(gap, length)| {
                let start = at + gap;
                at = start + length;
                start..at
            })
            .collect()
    });
    (chunks, 0_u64..10, 0_u64..10).prop_map(|(chunks, start, length)| Wanted { chunks, updates: start..start + length })
}

proptest! {
    #[test]
    fn a_consumers_frames_are_read_as_they_were_written(
        wanted in wanted(),
        credit in any::<u64>(),
        cuts in prop::collection::vec(any::<usize>(), 0..40),
    ) {
        let bytes = [
            frame::message(&json::encode_request(&ack())), frame::want(&wanted), frame::credit(credit),
        ].concat();
        let frames = vec![ConsumerFrame::Message(ack()), ConsumerFrame::Want(wanted), ConsumerFrame::Credit(credit)];
        prop_assert_eq!(consumer(&bytes, &cuts), (frames, None));
    }

    #[test]
    fn a_providers_frames_are_read_as_they_were_written(
        index in any::<u64>(),
        proof in prop::collection::vec(any::<[u8; 32]>().prop_map(Hash), 0..MAX_PROOF_HASHES),
        chunk in prop::collection::vec(any::<u8>(), 0..2000),
        cuts in prop::collection::vec(any::<usize>(), 0..40),
    ) {
        let session_id = SnapshotSessionId::new(7).unwrap();
        let message = SnapshotsResponse::Ack { session_id, kind: ArtefactKind::Chunk, index: 41 };
        let mut bytes = frame::chunk_head(index, &proof, chunk.len());
        bytes.extend_from_slice(&chunk);
        bytes.extend_from_slice(&frame::message(&json::encode_response(&message)));
        let parts = vec![Part::Chunk(index, proof, chunk.len(), chunk), Part::Message(Box::new(message))];
        prop_assert_eq!(provider(&bytes, &cuts), (parts, None));
    }
}

#[test]
fn one_byte_at_a_time_is_enough() {
    let wanted = Wanted { chunks: vec![1..2, 5..9], updates: 0..3 };
    let bytes = [frame::want(&wanted), frame::credit(9)].concat();
    let cuts: Vec<_> = (0..bytes.len()).collect();
    assert_eq!(consumer(&bytes, &cuts), (vec![ConsumerFrame::Want(wanted), ConsumerFrame::Credit(9)], None));
}

fn head(length: usize, kind: u8) -> Vec<u8> {
    [&u32::try_from(length).unwrap().to_be_bytes()[..], &[kind]].concat()
}

#[test]
fn a_frame_at_its_bound_is_taken_and_one_byte_more_is_refused_before_it_comes() {
    for (kind, bound) in [(MESSAGE, MAX_REQUEST_BYTES), (WANT, MAX_WANT_FRAME_BYTES), (CREDIT, 9)] {
        assert_eq!(consumer(&head(bound, kind), &[]), (Vec::new(), None), "{kind:#x}");
        let error = FrameError::TooLarge { kind, size: bound + 1, bound };
        assert_eq!(consumer(&head(bound + 1, kind), &[]), (Vec::new(), Some(error)));
    }
    for kind in [MESSAGE, CHUNK] {
        let bound = MAX_PROVIDER_FRAME_BYTES;
        assert_eq!(provider(&head(bound, kind), &[]), (Vec::new(), None), "{kind:#x}");
        let error = FrameError::TooLarge { kind, size: bound + 1, bound };
        assert_eq!(provider(&head(bound + 1, kind), &[]), (Vec::new(), Some(error)));
    }
}

#[test]
fn each_side_knows_only_the_frames_of_the_other() {
    assert_eq!(consumer(&head(9, CHUNK), &[]).1, Some(FrameError::Unknown { kind: CHUNK }));
    assert_eq!(provider(&head(9, WANT), &[]).1, Some(FrameError::Unknown { kind: WANT }));
    assert_eq!(consumer(&[0, 0, 0, 0], &[]).1, Some(FrameError::Empty));
    assert_eq!(provider(&[0, 0, 0, 0], &[]).1, Some(FrameError::Empty));
}

#[test]
fn the_most_ranges_fit_and_a_count_that_does_not_match_is_refused() {
    let chunks: Vec<_> = (0..MAX_RANGES as u64).map(|at| 2 * at..2 * at + 1).collect();
    let wanted = Wanted { chunks, updates: 0..0 };
    let bytes = frame::want(&wanted);
    assert!(bytes.len() <= MAX_WANT_FRAME_BYTES + 4);
    assert_eq!(consumer(&bytes, &[]), (vec![ConsumerFrame::Want(wanted.clone())], None));
    let mut bytes = bytes;
    bytes[5] -= 1;
    assert!(matches!(consumer(&bytes, &[]).1, Some(FrameError::Malformed { kind: WANT, .. })));
    for (chunks, updates) in [(vec![3..3], 0..0), (vec![1..3, 2..4], 0..0), (vec![4..5, 1..2], 0..0), (vec![], 2..1)] {
        let refused = consumer(&frame::want(&Wanted { chunks, updates }), &[]).1;
        assert!(matches!(refused, Some(FrameError::Malformed { kind: WANT, .. })), "{refused:?}");
    }
    // Neighbouring ranges may touch.
    assert_eq!(consumer(&frame::want(&Wanted { chunks: vec![1..2, 2..3], updates: 0..0 }), &[]).1, None);
}

#[test]
fn a_chunk_has_no_more_hashes_than_a_tree_and_no_more_bytes_than_a_chunk() {
    let most = usize::try_from(MAX_CHUNK_SIZE).unwrap();
    let proof = vec![Hash([3; 32]); MAX_PROOF_HASHES];
    let (parts, error) = provider(&frame::chunk_head(5, &proof, most), &[]);
    assert_eq!((parts.len(), error), (1, None));
    assert!(provider(&frame::chunk_head(5, &proof, most + 1), &[]).1.is_some());
    let proof = vec![Hash([3; 32]); MAX_PROOF_HASHES + 1];
    assert!(provider(&frame::chunk_head(5, &proof, most), &[]).1.is_some());
    // The frame is cut off within its hashes.
    let mut cut = frame::chunk_head(5, &proof[..2], 0);
    cut[3] -= 1;
    assert!(provider(&cut, &[]).1.is_some());
}

#[derive(Clone, Debug, TypeGenerator)]
struct Input {
    bytes: Vec<u8>,
    /// The type of the first frame, if that is to be a known one.
    kind: Option<u8>,
    cuts: Vec<u16>,
}

/// Feeds any bytes in any pieces. The result must be the same as in one piece, and nothing may panic. `cargo bolero
/// test stream_frames::any_bytes_in_any_pieces` fuzzes it.
#[test]
fn any_bytes_in_any_pieces() {
    bolero::check!().with_type::<Input>().for_each(|Input { bytes, kind, cuts }| {
        let kinds = [MESSAGE, CHUNK, WANT, CREDIT];
        let mut bytes = bytes.clone();
        if let Some(kind) = kind {
            let length = u32::try_from(bytes.len() + 1).unwrap();
            let head = [&length.to_be_bytes()[..], &[kinds[usize::from(kind % 4)]]].concat();
            bytes.splice(0..0, head);
        }
        let cuts: Vec<_> = cuts.iter().map(|cut| usize::from(*cut)).collect();
        assert_eq!(consumer(&bytes, &cuts), consumer(&bytes, &[]));
        let (parts, error) = provider(&bytes, &cuts);
        assert_eq!((parts, error), provider(&bytes, &[]));
    });
}
