//! The frames: `length: u32 big-endian, of what follows | type: u8 | body`. Pure; they are read in pieces of any size.
//!
//! | type | from | body |
//! |---|---|---|
//! | 0x01 message | both | one JSON message of 1.0.0 |
//! | 0x10 chunk | provider | index u64 BE, number of proof hashes u8, the hashes (32 bytes each, leaf to root), the bytes |
//! | 0x20 want | consumer | count u8, as many `[first u64, end u64)` of chunks, one such pair of updates |
//! | 0x21 credit | consumer | payload bytes of chunks granted since the stream was opened, u64 BE |
//!
//! Length and type are checked before anything is allocated for the body, and no more of a body is buffered than has
//! arrived.

use std::ops::Range;

use crate::{
    json::{self, DecodeError},
    limits::{
        MAX_CHUNK_SIZE, MAX_CREDIT_FRAME_BYTES, MAX_PROOF_HASHES, MAX_PROVIDER_FRAME_BYTES, MAX_REQUEST_BYTES,
        MAX_WANT_FRAME_BYTES,
    },
    messages::{SnapshotsRequest, SnapshotsResponse},
    types::Hash,
};

/// The type of a message.
pub const MESSAGE: u8 = 0x01;
/// The type of a chunk.
pub const CHUNK: u8 = 0x10;
/// The type of a want.
pub const WANT: u8 = 0x20;
/// The type of a credit.
pub const CREDIT: u8 = 0x21;

/// Bytes of a frame's length.
const LENGTH: usize = 4;
/// Bytes of a chunk's body before its hashes.
const CHUNK_HEAD: usize = 8 + 1;
/// Bytes of one hash.
const HASH: usize = 32;
/// Bytes of one range.
const RANGE: usize = 16;
/// Ranges of chunks in one frame.
pub const MAX_RANGES: usize = u8::MAX as usize;

/// A frame that breaks the protocol, whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A length of 0: there is not even a type.
    #[error("a frame without a type")]
    Empty,
    /// A type that this side never receives.
    #[error("a frame of the unknown type {kind:#04x}")]
    Unknown {
        /// The type.
        kind: u8,
    },
    /// Longer than such a frame may be.
    #[error("a frame of type {kind:#04x} with {size} bytes, the bound is {bound}")]
    TooLarge {
        /// The type.
        kind: u8,
        /// Its length, which counts the type.
        size: usize,
        /// The most.
        bound: usize,
    },
    /// The body is not what its type says.
    #[error("a frame of type {kind:#04x} that cannot be read: {what}")]
    Malformed {
        /// The type.
        kind: u8,
        /// What is wrong.
        what: &'static str,
    },
    /// The message is no message of the protocol.
    #[error("an unreadable message: {0}")]
    Message(#[from] DecodeError),
}

/// Ranges of chunks that ascend and do not overlap, and one of updates (empty: none).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// At most [`MAX_RANGES`], none of them empty.
    pub chunks: Vec<Range<u64>>,
    /// The provider sends them before the chunks.
    pub updates: Range<u64>,
}

/// What a consumer sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerFrame {
    /// A message.
    Message(SnapshotsRequest),
    /// Replaces the part of earlier wants that is not sent yet.
    Want(Wanted),
    /// Granted in all since the stream was opened.
    Credit(u64),
}

/// A message as a frame; `json` is the document.
#[must_use]
pub fn message(json: &[u8]) -> Vec<u8> {
    let mut frame = begin(MESSAGE, json.len());
    frame.extend_from_slice(json);
    frame
}

/// A want as a frame. Ranges beyond [`MAX_RANGES`] are left out.
#[must_use]
pub fn want(wanted: &Wanted) -> Vec<u8> {
    let chunks = &wanted.chunks[..wanted.chunks.len().min(MAX_RANGES)];
    let mut frame = begin(WANT, 1 + RANGE * (chunks.len() + 1));
    frame.push(u8::try_from(chunks.len()).unwrap_or(u8::MAX));
    for range in chunks.iter().chain([&wanted.updates]) {
        frame.extend_from_slice(&range.start.to_be_bytes());
        frame.extend_from_slice(&range.end.to_be_bytes());
    }
    frame
}

/// A credit as a frame.
#[must_use]
pub fn credit(granted: u64) -> Vec<u8> {
    let mut frame = begin(CREDIT, 8);
    frame.extend_from_slice(&granted.to_be_bytes());
    frame
}

/// A chunk's frame up to its first byte; `length` bytes of the chunk follow. At most 255 hashes are written.
#[must_use]
pub fn chunk_head(index: u64, proof: &[Hash], length: usize) -> Vec<u8> {
    let proof = &proof[..proof.len().min(usize::from(u8::MAX))];
    let mut frame = begin(CHUNK, CHUNK_HEAD + proof.len() * HASH + length);
    frame.extend_from_slice(&index.to_be_bytes());
    frame.push(u8::try_from(proof.len()).unwrap_or(u8::MAX));
    proof.iter().for_each(|hash| frame.extend_from_slice(&hash.0));
    frame
}

/// Length and type of a frame whose body has this many bytes; for chunks only the head is allocated.
fn begin(kind: u8, body: usize) -> Vec<u8> {
    let length = u32::try_from(body + 1).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(if kind == CHUNK { 512 } else { LENGTH + 1 + body });
    frame.extend_from_slice(&length.to_be_bytes());
    frame.push(kind);
    frame
}

/// Moves bytes from a piece to the end of `to`, until that has `most` bytes. `true` when it has.
fn fill(to: &mut Vec<u8>, most: usize, piece: &mut &[u8]) -> bool {
    let (taken, rest) = piece.split_at(piece.len().min(most.saturating_sub(to.len())));
    to.extend_from_slice(taken);
    *piece = rest;
    to.len() >= most
}

/// Length and type of the frame that is arriving.
#[derive(Debug, Default)]
struct Envelope {
    bytes: Vec<u8>,
}

impl Envelope {
    /// `Some`: the type, and how many bytes of body follow. `bound`: the largest frame of a type; `None` for an unknown
    /// type.
    fn feed(
        &mut self,
        piece: &mut &[u8],
        bound: impl Fn(u8) -> Option<usize>,
    ) -> Result<Option<(u8, usize)>, FrameError> {
        if fill(&mut self.bytes, LENGTH, piece) && self.length() == 0 {
            return Err(FrameError::Empty);
        }
        if !fill(&mut self.bytes, LENGTH + 1, piece) {
            return Ok(None);
        }
        let (size, kind) = (self.length(), self.bytes[LENGTH]);
        let bound = bound(kind).ok_or(FrameError::Unknown { kind })?;
        if size > bound {
            return Err(FrameError::TooLarge { kind, size, bound });
        }
        self.bytes.clear();
        Ok(Some((kind, size - 1)))
    }

    fn length(&self) -> usize {
        let length = self.bytes.first_chunk::<LENGTH>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        usize::try_from(length).unwrap_or(usize::MAX)
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Reads a consumer's frames.
#[derive(Debug, Default)]
pub struct ConsumerDecoder {
    envelope: Envelope,
    /// Type, length, and the part of the body that has arrived.
    body: Option<(u8, usize, Vec<u8>)>,
}

impl ConsumerDecoder {
    /// Takes bytes from the piece up to the end of the next frame; `None`: the piece is used up before that.
    ///
    /// # Errors
    /// The frame breaks the protocol. Nothing more can be read then.
    pub fn feed(&mut self, piece: &mut &[u8]) -> Result<Option<ConsumerFrame>, FrameError> {
        let (kind, length, mut body) = match self.body.take() {
            Some(body) => body,
            None => match self.envelope.feed(piece, consumer_bound)? {
                Some((kind, length)) => (kind, length, Vec::new()),
                None => return Ok(None),
            },
        };
        if !fill(&mut body, length, piece) {
            self.body = Some((kind, length, body));
            return Ok(None);
        }
        match kind {
            MESSAGE => Ok(ConsumerFrame::Message(json::decode_request_within(&body, body.len())?)),
            WANT => wanted(&body).map(ConsumerFrame::Want),
            _ => match body.try_into() {
                Ok(granted) => Ok(ConsumerFrame::Credit(u64::from_be_bytes(granted))),
                Err(_) => Err(FrameError::Malformed { kind, what: "a credit has 8 bytes" }),
            },
        }
        .map(Some)
    }

    /// Whether a frame has begun and not ended.
    #[must_use]
    pub fn is_within(&self) -> bool {
        self.body.is_some() || !self.envelope.is_empty()
    }
}

fn consumer_bound(kind: u8) -> Option<usize> {
    match kind {
        MESSAGE => Some(MAX_REQUEST_BYTES),
        WANT => Some(MAX_WANT_FRAME_BYTES),
        CREDIT => Some(MAX_CREDIT_FRAME_BYTES),
        _ => None,
    }
}

fn wanted(body: &[u8]) -> Result<Wanted, FrameError> {
    let malformed = |what| FrameError::Malformed { kind: WANT, what };
    let (count, ranges) = body.split_first().ok_or_else(|| malformed("it has no count"))?;
    if ranges.len() != RANGE * (usize::from(*count) + 1) {
        return Err(malformed("its length does not match its count"));
    }
    let mut ranges = ranges.chunks_exact(RANGE).map(|range| {
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_be_bytes);
        number(&range[..8])..number(&range[8..])
    });
    let chunks: Vec<_> = ranges.by_ref().take(usize::from(*count)).collect();
    if chunks.iter().any(Range::is_empty) {
        return Err(malformed("an empty range of chunks"));
    }
    if chunks.windows(2).any(|pair| pair[0].end > pair[1].start) {
        return Err(malformed("ranges that overlap or do not ascend"));
    }
    let updates = ranges.next().unwrap_or_default();
    if updates.start > updates.end {
        return Err(malformed("a range of updates that descends"));
    }
    Ok(Wanted { chunks, updates })
}

/// A part of a provider's frames.
#[derive(Debug, PartialEq, Eq)]
pub enum ProviderPart<'a> {
    /// A message, and the length of its document in bytes.
    Message(Box<SnapshotsResponse>, usize),
    /// A chunk begins: `length` bytes of it follow.
    Chunk {
        /// Which.
        index: u64,
        /// Sibling hashes, leaf to root.
        proof: Vec<Hash>,
        /// Bytes; 0 for an empty payload.
        length: usize,
    },
    /// The next bytes of the chunk.
    Bytes(&'a [u8]),
}

/// Reads a provider's frames. Messages are returned whole; a chunk's bytes are passed on as they arrive.
#[derive(Debug, Default)]
pub struct ProviderDecoder {
    envelope: Envelope,
    stage: PartStage,
}

#[derive(Debug, Default)]
enum PartStage {
    #[default]
    Between,
    /// A message of this many bytes.
    Message(usize, Vec<u8>),
    /// A chunk's body of this many bytes; index, count and hashes are arriving.
    Head(usize, Vec<u8>),
    /// This many bytes of a chunk have not arrived yet.
    Bytes(usize),
}

impl ProviderDecoder {
    /// The next part that is complete; `None`: the piece is used up before that.
    ///
    /// # Errors
    /// The frame breaks the protocol. Nothing more can be read then.
    pub fn feed<'a>(&mut self, piece: &mut &'a [u8]) -> Result<Option<ProviderPart<'a>>, FrameError> {
        if let PartStage::Between = self.stage {
            match self.envelope.feed(piece, provider_bound)? {
                Some((MESSAGE, length)) => self.stage = PartStage::Message(length, Vec::new()),
                Some((kind, length)) if length < CHUNK_HEAD => {
                    return Err(FrameError::Malformed { kind, what: "it ends before its chunk begins" });
                }
                Some((_, length)) => self.stage = PartStage::Head(length, Vec::with_capacity(CHUNK_HEAD)),
                None => return Ok(None),
            }
        }
        match &mut self.stage {
            PartStage::Between => Ok(None),
            PartStage::Message(length, body) => {
                if !fill(body, *length, piece) {
                    return Ok(None);
                }
                let response = json::decode_response_within(body, *length)?;
                let bytes = *length;
                self.stage = PartStage::Between;
                Ok(Some(ProviderPart::Message(Box::new(response), bytes)))
            }
            PartStage::Head(length, head) => {
                if !fill(head, CHUNK_HEAD, piece) {
                    return Ok(None);
                }
                let (end, bytes) = chunk_extent(*length, head[CHUNK_HEAD - 1])?;
                if !fill(head, end, piece) {
                    return Ok(None);
                }
                let index = head.first_chunk().map_or(0, |index| u64::from_be_bytes(*index));
                let hashes = head[CHUNK_HEAD..].chunks_exact(HASH);
                let proof = hashes.map(|hash| Hash(hash.try_into().unwrap_or_default())).collect();
                self.stage = if bytes == 0 { PartStage::Between } else { PartStage::Bytes(bytes) };
                Ok(Some(ProviderPart::Chunk { index, proof, length: bytes }))
            }
            PartStage::Bytes(left) => {
                let (bytes, rest) = piece.split_at(piece.len().min(*left));
                if bytes.is_empty() {
                    return Ok(None);
                }
                *piece = rest;
                *left -= bytes.len();
                if *left == 0 {
                    self.stage = PartStage::Between;
                }
                Ok(Some(ProviderPart::Bytes(bytes)))
            }
        }
    }

    /// How many bytes of a chunk come next; 0: none do.
    #[must_use]
    pub fn chunk_bytes_left(&self) -> usize {
        match self.stage {
            PartStage::Bytes(left) => left,
            _ => 0,
        }
    }

    /// This many of [`Self::chunk_bytes_left`] bypassed the decoder.
    pub(super) fn pass(&mut self, bytes: usize) {
        if let PartStage::Bytes(left) = &mut self.stage {
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                self.stage = PartStage::Between;
            }
        }
    }

    /// Whether a frame has begun and not ended.
    #[must_use]
    pub fn is_within(&self) -> bool {
        !matches!(self.stage, PartStage::Between) || !self.envelope.is_empty()
    }
}

fn provider_bound(kind: u8) -> Option<usize> {
    matches!(kind, MESSAGE | CHUNK).then_some(MAX_PROVIDER_FRAME_BYTES)
}

/// Where the hashes end in a chunk's body, and how many bytes of the chunk follow.
fn chunk_extent(body: usize, hashes: u8) -> Result<(usize, usize), FrameError> {
    let malformed = |what| FrameError::Malformed { kind: CHUNK, what };
    if usize::from(hashes) > MAX_PROOF_HASHES {
        return Err(malformed("more hashes than any tree has levels"));
    }
    let end = CHUNK_HEAD + usize::from(hashes) * HASH;
    let bytes = body.checked_sub(end).ok_or_else(|| malformed("it ends within its hashes"))?;
    if bytes as u64 > MAX_CHUNK_SIZE {
        return Err(malformed("a chunk has 4 MiB at most"));
    }
    Ok((end, bytes))
}
