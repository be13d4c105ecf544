//! What a consumer accepts on a stream: items that it wants, in the order in which it wants them, within its credit,
//! and only if they verify. Pure; chunks are hashed while they arrive.
//!
//! A provider learns of a new want some time after it was sent. Until an item arrives that only the new want allows,
//! the next item may follow any of the wants sent since. Nothing arrives twice on one stream, so the items that have
//! arrived are also those that were sent before the next one: each want allows exactly one next item.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use super::{
    Wanted,
    buffers::{Buffers, Filling},
    frame::{FrameError, ProviderDecoder, ProviderPart},
};
use crate::{
    error::Violation,
    exchange::{Exchange, Expectation, Rules, Verified},
    messages::{Checkpoint, ErrorCode, Plan, SnapshotsRequest, SnapshotsResponse},
    outboard::{self, GROUP},
    ranges::IndexRanges,
    tree::chunk_range,
    types::{Hash, SnapshotSessionId},
};

/// A provider broke the rules of a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamViolation {
    /// A frame that cannot be read.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A chunk that exceeds the credit.
    #[error("chunk {index} makes {sent} bytes, and {granted} were granted")]
    BeyondCredit {
        /// Which chunk.
        index: u64,
        /// Payload bytes including this chunk.
        sent: u64,
        /// Payload bytes that were granted.
        granted: u64,
    },
    /// An item that was not wanted on this stream.
    #[error("{what} {index}, which was not wanted")]
    Unwanted {
        /// Chunk or update.
        what: &'static str,
        /// Which.
        index: u64,
    },
    /// An item that arrived before.
    #[error("{what} {index} a second time")]
    Twice {
        /// Chunk or update.
        what: &'static str,
        /// Which.
        index: u64,
    },
    /// An item that is wanted later.
    #[error("{what} {index} before {expected}, which is wanted first")]
    OutOfOrder {
        /// Chunk or update.
        what: &'static str,
        /// Which.
        index: u64,
        /// The expected index.
        expected: u64,
    },
    /// A message that answers nothing, or must not be sent on a stream.
    #[error("a message of type {tag} that nothing asked for")]
    Unasked {
        /// Its type.
        tag: &'static str,
    },
}

/// Something that arrived and verifies.
#[derive(Debug)]
#[non_exhaustive]
pub enum Came {
    /// The answer to the message. The bytes are those of its document.
    Answer(Verified, usize),
    /// A wanted chunk or update, and its bytes on the wire.
    Artefact(Verified, usize),
    /// The provider says why it ends the stream, without being asked.
    Refused {
        /// Why.
        code: ErrorCode,
        /// Its message, not escaped.
        message: String,
    },
}

/// The receiving end of a consumer's stream.
#[derive(Debug)]
pub struct Incoming {
    session: SnapshotSessionId,
    rules: Rules,
    decoder: ProviderDecoder,
    /// The message that is not answered yet.
    asked: Option<Expectation>,
    plan: Option<Arc<Plan>>,
    /// The wants that may be in force at the provider, in the order in which they were sent.
    wants: VecDeque<Wanted>,
    chunks: IndexRanges,
    updates: IndexRanges,
    granted: u64,
    /// Payload bytes of the chunks that have arrived or begun to arrive.
    received: u64,
    /// The newest update, or the one before the first wanted one: the next update must continue it.
    previous: Option<(u64, Checkpoint)>,
    arriving: Option<Arriving>,
    buffers: Buffers,
}

/// A chunk that is arriving.
#[derive(Debug)]
struct Arriving {
    index: u64,
    proof: Vec<Hash>,
    bytes: Filling,
    /// Where the chunk begins; `None` if the payload has no groups.
    start: Option<u64>,
    groups: Vec<Hash>,
}

impl Incoming {
    /// Nothing was asked, wanted or granted yet.
    #[must_use]
    pub fn new(session: SnapshotSessionId, rules: Rules) -> Self {
        Self {
            session,
            rules,
            decoder: ProviderDecoder::default(),
            asked: None,
            plan: None,
            wants: VecDeque::from([Wanted::default()]),
            chunks: IndexRanges::default(),
            updates: IndexRanges::default(),
            granted: 0,
            received: 0,
            previous: None,
            arriving: None,
            buffers: Buffers::default(),
        }
    }

    /// A message is being sent; no other is sent before it is answered.
    pub fn asking(&mut self, exchange: Exchange) {
        self.asked = Some(exchange.expecting(&self.rules));
    }

    /// A want for this plan is being sent. `previous`: the update before the first wanted one, if it is known.
    pub fn wanting(&mut self, plan: Arc<Plan>, wanted: Wanted, previous: Option<Checkpoint>) {
        self.plan = Some(plan);
        if let (Some(previous), Some(before)) = (previous, wanted.updates.start.checked_sub(1)) {
            self.previous = Some((before, previous));
        }
        self.wants.push_back(wanted);
        self.forget_covered();
    }

    /// Credit is being sent.
    pub fn granting(&mut self, granted: u64) {
        self.granted = self.granted.max(granted);
    }

    /// Whether the provider has something to send and may.
    #[must_use]
    pub fn is_expecting(&self) -> bool {
        self.asked.is_some() || self.decoder.is_within() || self.wants.back().is_some_and(|want| self.may_come(want))
    }

    fn may_come(&self, want: &Wanted) -> bool {
        self.next_update(want).is_some()
            || self.next_chunk(want).is_some_and(|index| self.received + self.chunk_bytes(index) <= self.granted)
    }

    /// Payload bytes of the arriving chunk that have been received: they are wasted if it ends now.
    #[must_use]
    pub fn unfinished_bytes(&self) -> u64 {
        self.arriving.as_ref().map_or(0, |arriving| arriving.bytes.filled().len() as u64)
    }

    /// Reads from the piece up to the end of the next item; `None`: the piece is used up before that.
    ///
    /// # Errors
    /// The provider broke the protocol. Nothing more may be read from this stream.
    pub fn feed(&mut self, piece: &mut &[u8]) -> Result<Option<Came>, Violation> {
        while let Some(part) = self.decoder.feed(piece).map_err(StreamViolation::Frame)? {
            let came = match part {
                ProviderPart::Message(response, bytes) => Some(self.message(*response, bytes)?),
                ProviderPart::Chunk { index, proof, length } => {
                    self.begin(index, proof, length)?;
                    self.finished()?
                }
                ProviderPart::Bytes(bytes) => {
                    if let Some(arriving) = &mut self.arriving {
                        arriving.take(bytes);
                    }
                    self.finished()?
                }
            };
            if came.is_some() {
                return Ok(came);
            }
        }
        Ok(None)
    }

    /// The space into which the next bytes of the stream can be read directly, if they are bytes of a chunk and all
    /// others were fed; otherwise empty. [`Self::filled`] reports how many were read.
    pub fn space(&mut self) -> &mut [u8] {
        let left = self.decoder.chunk_bytes_left();
        let space = self.arriving.as_mut().map(|arriving| arriving.bytes.space()).unwrap_or_default();
        let count = space.len().min(left);
        &mut space[..count]
    }

    /// This many bytes were read into [`Self::space`]: the same as feeding them.
    ///
    /// # Errors
    /// As [`Self::feed`].
    pub fn filled(&mut self, count: usize) -> Result<Option<Came>, Violation> {
        let count = count.min(self.space().len());
        if let Some(arriving) = &mut self.arriving {
            self.decoder.pass(count);
            arriving.bytes.advance(count);
            arriving.hash(false);
        }
        self.finished()
    }

    fn message(&mut self, response: SnapshotsResponse, bytes: usize) -> Result<Came, Violation> {
        match response {
            SnapshotsResponse::LightClientUpdate { update_index, .. } => {
                self.accept("update", update_index)?;
                let request = SnapshotsRequest::LightClientUpdate { session_id: self.session, update_index };
                let before = self.previous.filter(|(index, _)| index.checked_add(1) == Some(update_index));
                let exchange = Exchange::new(request, self.plan.clone(), before.map(|(_, checkpoint)| checkpoint));
                let verified = exchange.check(&self.rules, response)?;
                if let Verified::Update { index, update } = &verified {
                    self.previous = Some((*index, update.checkpoint));
                }
                Ok(Came::Artefact(verified, bytes))
            }
            SnapshotsResponse::Chunk { .. } => Err(StreamViolation::Unasked { tag: response.tag() }.into()),
            response => match (self.asked.take(), response) {
                (Some(asked), response) => Ok(Came::Answer(asked.check_hashed(response, None)?, bytes)),
                (None, SnapshotsResponse::Error { session_id, code, message })
                    if session_id == self.session || session_id == SnapshotSessionId::UNREADABLE =>
                {
                    Ok(Came::Refused { code, message })
                }
                (None, other) => Err(StreamViolation::Unasked { tag: other.tag() }.into()),
            },
        }
    }

    /// A chunk begins. It is checked against wants and credit before any byte of it is kept.
    fn begin(&mut self, index: u64, proof: Vec<Hash>, length: usize) -> Result<(), Violation> {
        self.accept("chunk", index)?;
        let Some(plan) = &self.plan else { return Err(StreamViolation::Unwanted { what: "chunk", index }.into()) };
        let payload_bytes = plan.snapshot.checkpoint.payload_bytes;
        let range = chunk_range(payload_bytes, plan.chunk_size, index);
        let (expected, actual) = (range.end - range.start, length as u64);
        if expected != actual {
            let source = crate::tree::ChunkError::Length { expected, actual };
            return Err(Violation::Chunk { index, received: 0, source });
        }
        let sent = self.received + actual;
        if sent > self.granted {
            return Err(StreamViolation::BeyondCredit { index, sent, granted: self.granted }.into());
        }
        self.received = sent;
        let start = (payload_bytes > GROUP).then_some(range.start);
        let bytes = self.buffers.take(length);
        self.arriving = Some(Arriving { index, proof, bytes, start, groups: Vec::new() });
        Ok(())
    }

    /// Checks the chunk when it has arrived completely.
    fn finished(&mut self) -> Result<Option<Came>, Violation> {
        let Some(mut arriving) = self.arriving.take_if(|arriving| arriving.bytes.is_full()) else {
            return Ok(None);
        };
        arriving.hash(true);
        let Arriving { index, proof, bytes, groups, .. } = arriving;
        let bytes = bytes.into_bytes();
        let wire = bytes.len() + proof.len() * 32;
        let (session_id, chunk_index) = (self.session, index);
        let request = SnapshotsRequest::Chunk { session_id, chunk_index };
        let response = SnapshotsResponse::Chunk { session_id, chunk_index, chunk: bytes, proof };
        let expectation = Exchange::new(request, self.plan.clone(), None).expecting(&self.rules);
        Ok(Some(Came::Artefact(expectation.check_hashed(response, Some(groups))?, wire)))
    }

    /// Records that this item arrives now, if one of the wants that may be in force allows it.
    fn accept(&mut self, what: &'static str, index: u64) -> Result<(), StreamViolation> {
        let is_chunk = what == "chunk";
        let came = if is_chunk { &self.chunks } else { &self.updates };
        let next = |want: &Wanted| if is_chunk { self.next_chunk(want) } else { self.next_update(want) };
        let Some(at) = self.wants.iter().position(|want| next(want) == Some(index)) else {
            let expected = self.wants.iter().find_map(next);
            let is_wanted = self.wants.iter().any(|want| match is_chunk {
                true => want.chunks.iter().any(|range| range.contains(&index)),
                false => want.updates.contains(&index),
            });
            return Err(match expected {
                _ if came.contains(index) => StreamViolation::Twice { what, index },
                Some(expected) if is_wanted => StreamViolation::OutOfOrder { what, index, expected },
                _ => StreamViolation::Unwanted { what, index },
            });
        };
        self.wants.drain(..at);
        if is_chunk {
            self.chunks.insert(index..index + 1)
        } else {
            self.updates.insert(index..index + 1)
        }
        self.forget_covered();
        Ok(())
    }

    /// A want need not be kept if a later want begins with everything that it still allows, or if it allows nothing.
    /// The last want is always kept.
    fn forget_covered(&mut self) {
        let mut at = 0;
        while at + 1 < self.wants.len() {
            let (want, later) = (self.rest(&self.wants[at]), self.rest(&self.wants[at + 1]));
            if begins_with(&later, &want) {
                self.wants.remove(at);
            } else {
                at += 1;
            }
        }
    }

    /// What a want still allows: updates, then chunks, as ranges.
    fn rest(&self, want: &Wanted) -> [Vec<Range<u64>>; 2] {
        let rest = |came: &IndexRanges, ranges: &[Range<u64>]| {
            let mut rest = Vec::new();
            for range in ranges {
                // The part of a range that has arrived is its beginning, unless the wants have changed.
                if let Some(first) = came.first_missing(range) {
                    rest.push(first..range.end);
                }
            }
            rest
        };
        [rest(&self.updates, std::slice::from_ref(&want.updates)), rest(&self.chunks, &want.chunks)]
    }

    fn next_update(&self, want: &Wanted) -> Option<u64> {
        self.updates.first_missing(&want.updates)
    }

    /// Chunks come after the updates of the same want.
    fn next_chunk(&self, want: &Wanted) -> Option<u64> {
        match self.next_update(want) {
            Some(_) => None,
            None => want.chunks.iter().find_map(|range| self.chunks.first_missing(range)),
        }
    }

    fn chunk_bytes(&self, index: u64) -> u64 {
        self.plan.as_ref().map_or(0, |plan| {
            let range = chunk_range(plan.snapshot.checkpoint.payload_bytes, plan.chunk_size, index);
            range.end - range.start
        })
    }

    /// How many wants may be in force at the provider.
    #[must_use]
    pub fn open_wants(&self) -> usize {
        self.wants.len()
    }
}

/// Whether everything that may follow `want` may also follow `later`.
fn begins_with(later: &[Vec<Range<u64>>; 2], want: &[Vec<Range<u64>>; 2]) -> bool {
    let [updates, chunks] = want;
    if updates.is_empty() && chunks.is_empty() {
        return true;
    }
    // Chunks follow only after all updates.
    let same_updates = later[0] == *updates;
    match chunks.split_last() {
        None => match (updates.first(), later[0].first()) {
            (Some(ours), Some(theirs)) => ours.start == theirs.start && ours.end <= theirs.end,
            _ => false,
        },
        Some((last, before)) => {
            let follows = later[1].get(before.len());
            same_updates
                && later[1].starts_with(before)
                && follows.is_some_and(|range| range.start == last.start && last.end <= range.end)
        }
    }
}

impl Arriving {
    fn take(&mut self, bytes: &[u8]) {
        let space = self.bytes.space();
        let count = bytes.len().min(space.len());
        space[..count].copy_from_slice(&bytes[..count]);
        self.bytes.advance(count);
        self.hash(false);
    }

    /// Hashes the groups that are complete; at the end also the last one.
    fn hash(&mut self, is_end: bool) {
        let Some(start) = self.start else { return };
        let hashed = self.groups.len() * GROUP as usize;
        let rest = self.bytes.filled().get(hashed..).unwrap_or_default();
        let ready = if is_end { rest.len() } else { rest.len() / GROUP as usize * GROUP as usize };
        self.groups.extend(outboard::groups(start + hashed as u64, &rest[..ready]));
    }
}
