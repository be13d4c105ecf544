//! Processes an answer while it arrives. No I/O.
//!
//! A chunk is nearly all of its answer, and nearly all of the work on it. So its base64 is decoded and its groups are
//! hashed piece by piece while the rest is in flight. This is done if the answer begins exactly as this crate writes
//! the chunk that was asked for. The rest of such a document, with nothing between the quotes of the chunk, is parsed
//! as strictly as any other. Every other answer is stored as it is.

use base64_simd::STANDARD;
use memchr::memchr;

use super::verify::{self, Checked, Streamed};
use crate::{
    exchange::Expectation,
    json,
    messages::SnapshotsRequest,
    outboard::{self, GROUP},
    tree::chunk_range,
    types::Hash,
};

/// Other answers up to this many bytes are checked where they are read: about 0.1 ms of work.
const SMALL: usize = 64 * 1024;

/// An answer that is arriving.
pub(crate) struct ChunkStream {
    expectation: Option<Expectation>,
    stage: Stage,
}

/// A complete answer.
pub(crate) enum Received {
    /// The bytes as they arrived.
    Whole(Vec<u8>),
    /// Already checked.
    Checked(Checked),
}

enum Stage {
    /// Not more than the beginning of `head` has arrived.
    Head {
        head: Vec<u8>,
        body: Vec<u8>,
    },
    Chunk(Chunk),
    Plain(Vec<u8>),
}

struct Chunk {
    /// The document up to the first character of the chunk.
    head: Vec<u8>,
    /// Characters that do not form three bytes yet; fewer than four.
    carry: Vec<u8>,
    /// Padding has arrived: only the quote may follow.
    padded: bool,
    bytes: Vec<u8>,
    groups: Groups,
    /// The document from the closing quote on.
    tail: Option<Vec<u8>>,
}

/// The chaining values of a chunk's groups.
struct Groups {
    /// The position of the chunk in its payload; `None` if the payload has no groups.
    start: Option<u64>,
    values: Vec<Hash>,
}

impl ChunkStream {
    /// `expectation` is `None` if the answer is not to be checked here.
    pub(crate) fn new(expectation: Option<Expectation>) -> Self {
        let head = expectation.as_ref().and_then(|expectation| match expectation.request() {
            SnapshotsRequest::Chunk { session_id, chunk_index } => Some(json::chunk_head(*session_id, *chunk_index)),
            _ => None,
        });
        let stage = match head {
            Some(head) => Stage::Head { head, body: Vec::new() },
            None => Stage::Plain(Vec::new()),
        };
        Self { expectation, stage }
    }

    /// Processes the next bytes.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        let stage = std::mem::replace(&mut self.stage, Stage::Plain(Vec::new()));
        self.stage = match stage {
            Stage::Plain(mut body) => {
                body.extend_from_slice(piece);
                Stage::Plain(body)
            }
            Stage::Head { head, mut body } => {
                body.extend_from_slice(piece);
                if body.len() < head.len() && head.starts_with(&body) {
                    Stage::Head { head, body }
                } else {
                    match body.strip_prefix(head.as_slice()) {
                        Some(rest) => feed_chunk(Chunk::new(head, self.expectation.as_ref()), rest),
                        None => Stage::Plain(body),
                    }
                }
            }
            Stage::Chunk(chunk) => feed_chunk(chunk, piece),
        };
    }

    /// The answer has ended.
    pub(crate) fn finish(self) -> Received {
        let (body, streamed) = match self.stage {
            Stage::Chunk(chunk) => chunk.finish(),
            Stage::Plain(body) | Stage::Head { body, .. } => (body, None),
        };
        match self.expectation {
            Some(expectation) if streamed.is_some() || body.len() <= SMALL => {
                Received::Checked(verify::check(body, streamed, expectation))
            }
            _ => Received::Whole(body),
        }
    }
}

fn feed_chunk(mut chunk: Chunk, piece: &[u8]) -> Stage {
    match chunk.feed(piece) {
        Ok(()) => Stage::Chunk(chunk),
        Err(rest) => Stage::Plain(chunk.unread(rest)),
    }
}

impl Chunk {
    fn new(head: Vec<u8>, expectation: Option<&Expectation>) -> Self {
        let asked = expectation.and_then(|expectation| match (expectation.request(), expectation.plan()) {
            (SnapshotsRequest::Chunk { chunk_index, .. }, Ok(plan)) => {
                let payload_bytes = plan.snapshot.checkpoint.payload_bytes;
                Some((chunk_range(payload_bytes, plan.chunk_size, *chunk_index), payload_bytes))
            }
            _ => None,
        });
        let length = asked.as_ref().map_or(0, |(range, _)| usize::try_from(range.end - range.start).unwrap_or(0));
        let start = asked.filter(|(_, payload_bytes)| *payload_bytes > GROUP).map(|(range, _)| range.start);
        Self {
            head,
            carry: Vec::new(),
            padded: false,
            bytes: Vec::with_capacity(length),
            groups: Groups { start, values: Vec::new() },
            tail: None,
        }
    }

    /// `Err` with the rest of the piece if this is not plain base64.
    fn feed<'a>(&mut self, piece: &'a [u8]) -> Result<(), &'a [u8]> {
        if let Some(tail) = &mut self.tail {
            tail.extend_from_slice(piece);
            return Ok(());
        }
        let quote = memchr(b'"', piece);
        let (mut text, after) = piece.split_at(quote.unwrap_or(piece.len()));
        if !self.carry.is_empty() {
            let (filling, rest) = text.split_at(text.len().min(4 - self.carry.len()));
            self.carry.extend_from_slice(filling);
            text = rest;
            if self.carry.len() == 4 {
                let four = std::mem::take(&mut self.carry);
                if !self.decode(&four) {
                    self.carry = four;
                    return Err(&piece[filling.len()..]);
                }
            }
        }
        if self.carry.is_empty() {
            let (whole, rest) = text.split_at(text.len() / 4 * 4);
            if !self.decode(whole) {
                return Err(&piece[piece.len() - after.len() - text.len()..]);
            }
            self.carry.extend_from_slice(rest);
        }
        self.groups.update(&self.bytes, false);
        if quote.is_some() {
            if !self.carry.is_empty() {
                return Err(after);
            }
            self.tail = Some(after.to_vec());
        }
        Ok(())
    }

    /// Decodes complete groups of four characters; returns whether they are valid, and allowed here.
    fn decode(&mut self, text: &[u8]) -> bool {
        if text.is_empty() {
            return true;
        }
        let before = self.bytes.len();
        if self.padded || STANDARD.decode_append(text, &mut self.bytes).is_err() {
            self.bytes.truncate(before);
            return false;
        }
        self.padded = self.bytes.len() - before < text.len() / 4 * 3;
        true
    }

    /// The document as it has arrived so far, with the rest of the last piece. Strictly decoded base64 is encoded to
    /// the same characters again.
    fn unread(self, rest: &[u8]) -> Vec<u8> {
        let mut body = self.head;
        STANDARD.encode_append(&self.bytes, &mut body);
        body.extend_from_slice(&self.carry);
        body.extend_from_slice(rest);
        body
    }

    fn finish(mut self) -> (Vec<u8>, Option<Streamed>) {
        self.groups.update(&self.bytes, true);
        let mut body = self.head;
        // Without a tail this is an incomplete document, and the parser will say so.
        body.extend(self.tail.unwrap_or_default());
        (body, Some(Streamed { bytes: self.bytes.into(), groups: self.groups.values }))
    }
}

impl Groups {
    /// Hashes the groups that are complete; at the end also the last one.
    fn update(&mut self, bytes: &[u8], is_end: bool) {
        let Some(start) = self.start else { return };
        let hashed = self.values.len() * GROUP as usize;
        let rest = bytes.get(hashed..).unwrap_or_default();
        let ready = if is_end { rest.len() } else { rest.len() / GROUP as usize * GROUP as usize };
        self.values.extend(outboard::groups(start + hashed as u64, &rest[..ready]));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use proptest::{prelude::*, sample::Index};

    use super::*;
    use crate::{
        codec::verify::CheckFailed,
        exchange::{Exchange, Rules, Verified},
        messages::{Checkpoint, GenesisDescriptor, PayloadFormat, Plan, SnapshotHeader, SnapshotsResponse},
        outboard::{Layout, proof_nodes},
        tree::total_chunks,
        types::SnapshotSessionId,
    };

    fn session() -> SnapshotSessionId {
        SnapshotSessionId::new(7).unwrap()
    }

    fn payload(length: usize) -> Bytes {
        (0..length).map(|at| (at * 31 % 251) as u8).collect()
    }

    fn expectation(payload: &[u8], chunk_size: u64, chunk_index: u64) -> Expectation {
        let payload_bytes = payload.len() as u64;
        let checkpoint = Checkpoint {
            step: 1,
            height: 1,
            block_hash: Hash::default(),
            state_root: blake3::hash(payload).into(),
            payload_bytes,
            commitment: Hash::default(),
        };
        let plan = Plan {
            plan_id: Hash::default(),
            proof: String::new(),
            genesis: GenesisDescriptor { chain_id: String::new(), publishers: Vec::new(), threshold: 1 },
            snapshot: SnapshotHeader { checkpoint, format: PayloadFormat::Raw },
            tip: checkpoint,
            chunk_size,
            total_chunks: total_chunks(payload_bytes, chunk_size),
            total_updates: 1,
        };
        let request = SnapshotsRequest::Chunk { session_id: session(), chunk_index };
        Exchange::new(request, Some(Arc::new(plan)), None).expecting(&Rules::default())
    }

    /// The answer of an honest provider.
    fn answer(payload: &Bytes, chunk_size: u64, chunk_index: u64) -> Vec<u8> {
        let layout = Layout::new(payload.len() as u64);
        let mut outboard = vec![0; usize::try_from(layout.file_len()).unwrap()];
        for (offset, value) in (0..total_chunks(payload.len() as u64, GROUP)).flat_map(|index| {
            let range = chunk_range(payload.len() as u64, GROUP, index);
            outboard::chunk_nodes(&layout, GROUP, index, &payload[range.start as usize..range.end as usize])
        }) {
            outboard[offset as usize..][..32].copy_from_slice(&value.0);
        }
        let read = |file: &[u8], offset: u64| Hash(file[offset as usize..][..32].try_into().unwrap());
        let written = std::cell::RefCell::new(outboard);
        outboard::parents(
            &layout,
            GROUP,
            |offset| Ok(read(&written.borrow(), offset)),
            |offset, hash| {
                written.borrow_mut()[offset as usize..][..32].copy_from_slice(&hash.0);
                Ok(())
            },
        )
        .unwrap();
        let file = written.into_inner();
        let range = chunk_range(payload.len() as u64, chunk_size, chunk_index);
        json::encode_response(&SnapshotsResponse::Chunk {
            session_id: session(),
            chunk_index,
            chunk: payload.slice(range.start as usize..range.end as usize),
            proof: proof_nodes(&layout, chunk_size, chunk_index).iter().map(|offset| read(&file, *offset)).collect(),
        })
    }

    /// Feeds an answer in pieces that end at `cuts`.
    fn arrive(expectation: Expectation, answer: &[u8], cuts: &[usize]) -> Received {
        let mut stream = ChunkStream::new(Some(expectation));
        let mut at = 0;
        for cut in cuts.iter().copied().chain([answer.len()]) {
            stream.feed(&answer[at..cut.max(at)]);
            at = cut.max(at);
        }
        assert_eq!(at, answer.len());
        stream.finish()
    }

    /// The result, without positions in a document from which the chunk was removed.
    fn meaning(checked: Checked) -> String {
        match checked.0 {
            Ok(verified) => format!("{verified:?}"),
            Err(CheckFailed::Violation(violation)) => {
                let text = format!("{violation:?}");
                text.split(" at: ").next().unwrap_or_default().to_owned()
            }
            Err(other) => format!("{other:?}"),
        }
    }

    fn cuts_of(indices: &[Index], length: usize) -> Vec<usize> {
        let mut cuts: Vec<_> = indices.iter().map(|index| index.index(length + 1)).collect();
        cuts.sort_unstable();
        cuts
    }

    #[test]
    fn a_chunk_is_decoded_and_hashed_as_it_arrives() {
        let payload = payload(150_000);
        let answer = answer(&payload, 65_536, 1);
        let mut stream = ChunkStream::new(Some(expectation(&payload, 65_536, 1)));
        for byte in &answer {
            stream.feed(std::slice::from_ref(byte));
        }
        let Stage::Chunk(chunk) = &stream.stage else { panic!("kept as it came") };
        assert_eq!((chunk.bytes.as_slice(), chunk.groups.values.len()), (&payload[65_536..131_072], 4));
        let Received::Checked(Checked(Ok(Verified::Chunk(chunk)))) = stream.finish() else { panic!("refused") };
        assert_eq!(chunk.bytes, payload.slice(65_536..131_072));
        assert_eq!(chunk.groups, outboard::groups(65_536, &chunk.bytes));
    }

    #[test]
    fn a_large_answer_of_another_make_is_left_as_it_came() {
        let payload = payload(150_000);
        let answer = answer(&payload, 131_072, 0);
        let spaced = [b" ", answer.as_slice()].concat();
        let arrived = arrive(expectation(&payload, 131_072, 0), &spaced, &[3, 70_000]);
        assert!(matches!(arrived, Received::Whole(body) if body == spaced));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 200 } else { 1000 }))]

        /// However the answer is cut and whatever is changed, the result is the same as for the complete answer.
        #[test]
        fn it_makes_no_difference_when_an_answer_is_read(
            length in prop_oneof![0_usize..40, 16_000..17_000_usize, 30_000..90_000_usize],
            power in 14_u32..17,
            chunk in any::<Index>(),
            cuts in prop::collection::vec(any::<Index>(), 0..6),
            changes in prop::collection::vec((any::<Index>(), prop_oneof![
                Just(b"".to_vec()), Just(b"\"".to_vec()), Just(b"\\/".to_vec()), Just(b"=".to_vec()), Just(b"==".to_vec()),
                Just(b"A".to_vec()), Just(b"\n".to_vec()), Just(b"}".to_vec()), any::<u8>().prop_map(|byte| vec![byte]),
            ], any::<bool>()), 0..3),
            cut_off in proptest::option::weighted(0.1, any::<Index>()),
        ) {
            let payload = payload(length);
            let size = 1 << power;
            let index = chunk.index(total_chunks(length as u64, size) as usize) as u64;
            let mut answer = answer(&payload, size, index);
            let untouched = changes.is_empty() && cut_off.is_none();
            for (place, with, replace) in changes {
                let at = place.index(answer.len());
                answer.splice(at..at + usize::from(replace), with);
            }
            if let Some(end) = cut_off {
                answer.truncate(end.index(answer.len() + 1));
            }
            let whole = meaning(verify::check(answer.clone(), None, expectation(&payload, size, index)));
            let cuts = cuts_of(&cuts, answer.len());
            match arrive(expectation(&payload, size, index), &answer, &cuts) {
                Received::Checked(checked) => prop_assert_eq!(meaning(checked), whole.clone()),
                Received::Whole(body) => prop_assert_eq!(body, answer),
            }
            if untouched {
                prop_assert!(whole.starts_with("Chunk"), "{}", whole);
            }
        }
    }
}
