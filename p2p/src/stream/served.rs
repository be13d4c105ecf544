//! What a provider does with a stream: it answers messages one at a time, and sends the wanted items, updates first, as
//! far as the credit goes. Pure.
//!
//! ```text
//!             plan or resume, served                    final ack, cancel, a breach
//!   Fresh ───────────────────────────> Open ────────────────────────────────────> Over
//!     └─────────── refused, cancelled, a breach ────────────────────────────────────^
//! ```
//!
//! Example: chunks of 1 MiB, `want 0..100`, `credit 4 MiB`. Chunks 0 to 3 are sent, and nothing more. `want 10..20` and
//! `credit 6 MiB` arrive: 10 and 11 are sent. `want 0..4`: nothing is sent, because a stream carries each chunk once.

use super::{ConsumerFrame, FrameError, Wanted};
use crate::{
    limits::MAX_SENT_RANGES, messages::SnapshotsRequest, ranges::IndexRanges, tree::chunk_range,
    types::SnapshotSessionId,
};

/// A consumer broke the rules of a stream, which ends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Breach {
    /// A frame that cannot be read.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The stream does not begin with the right frame.
    #[error("a stream begins with plan, resume or error, not with {what}")]
    Beginning {
        /// What arrived.
        what: &'static str,
    },
    /// A chunk or update was asked for by a message; on a stream these are wanted.
    #[error("{tag} is no message of a stream: chunks and updates are wanted by frames of their own")]
    NoMessage {
        /// The type.
        tag: &'static str,
    },
    /// A stream has one session.
    #[error("a message of session {other} on the stream of session {session}")]
    OtherSession {
        /// The stream's.
        session: SnapshotSessionId,
        /// The message's.
        other: SnapshotSessionId,
    },
    /// A message arrived before the one before it was answered.
    #[error("{tag} before the last message was answered")]
    TwoMessages {
        /// The type.
        tag: &'static str,
    },
    /// The credit fell, but granted bytes cannot be taken back.
    #[error("the credit fell from {from} to {to} bytes")]
    CreditFell {
        /// Granted before.
        from: u64,
        /// Granted now.
        to: u64,
    },
    /// The plan does not have these chunks or updates.
    #[error("{what} up to {end} are wanted, and there are {total}")]
    OutsideTotals {
        /// Chunks or updates.
        what: &'static str,
        /// The end of the range.
        end: u64,
        /// How many there are.
        total: u64,
    },
    /// The sent chunks form too many separate ranges to be tracked.
    #[error("chunks were wanted in more than {MAX_SENT_RANGES} separate ranges on one stream: open another one")]
    TooManyRanges,
}

/// What a session may want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Bytes of the payload.
    pub payload_bytes: u64,
    /// Bytes of a chunk.
    pub chunk_size: u64,
    /// How many chunks there are.
    pub chunks: u64,
    /// How many updates there are.
    pub updates: u64,
}

/// The next thing to do for a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamWork {
    /// Answer this; then call [`Served::answered`].
    Message(SnapshotsRequest),
    /// Send this update.
    Update(u64),
    /// Send these chunks, in this order.
    Chunks(Vec<u64>),
}

/// The provider's side of one stream.
#[derive(Debug, Default)]
pub struct Served {
    session: Option<SnapshotSessionId>,
    totals: Option<Totals>,
    /// A message that has arrived and is not being answered yet.
    message: Option<SnapshotsRequest>,
    is_answering: bool,
    /// An answer is being made or written.
    is_unwritten: bool,
    want: Wanted,
    chunks: IndexRanges,
    updates: IndexRanges,
    granted: u64,
    /// Payload bytes of the chunks that were sent.
    spent: u64,
}

impl Served {
    /// The session, once its first message has arrived.
    #[must_use]
    pub fn session(&self) -> Option<SnapshotSessionId> {
        self.session
    }

    /// A frame arrived.
    ///
    /// # Errors
    /// The consumer broke the protocol; the stream has ended.
    pub fn heard(&mut self, frame: ConsumerFrame) -> Result<(), Breach> {
        match frame {
            ConsumerFrame::Message(message) => self.message(message),
            ConsumerFrame::Want(_) if self.session.is_none() => Err(Breach::Beginning { what: "want" }),
            ConsumerFrame::Credit(_) if self.session.is_none() => Err(Breach::Beginning { what: "credit" }),
            ConsumerFrame::Want(wanted) => {
                self.want = wanted;
                self.check_want()
            }
            ConsumerFrame::Credit(to) if to < self.granted => Err(Breach::CreditFell { from: self.granted, to }),
            ConsumerFrame::Credit(to) => {
                self.granted = to;
                Ok(())
            }
        }
    }

    fn message(&mut self, message: SnapshotsRequest) -> Result<(), Breach> {
        let (tag, other) = (message.tag(), message.session_id());
        let opens = matches!(
            message,
            SnapshotsRequest::Plan { .. } | SnapshotsRequest::Resume { .. } | SnapshotsRequest::Error { .. }
        );
        let is_allowed = opens || matches!(message, SnapshotsRequest::Ack { .. });
        match self.session {
            _ if !is_allowed => return Err(Breach::NoMessage { tag }),
            None if !opens => return Err(Breach::Beginning { what: tag }),
            Some(session) if session != other => return Err(Breach::OtherSession { session, other }),
            // A cancel may be sent at any time.
            Some(_) if matches!(message, SnapshotsRequest::Error { .. }) => {}
            Some(_) if self.is_answering || self.is_unwritten || self.message.is_some() => {
                return Err(Breach::TwoMessages { tag });
            }
            _ => {}
        }
        if matches!(message, SnapshotsRequest::Error { .. }) {
            self.want = Wanted::default();
        }
        self.session = Some(other);
        self.message = Some(message);
        Ok(())
    }

    /// The session streams this from now on.
    ///
    /// # Errors
    /// An earlier want lies outside of these totals.
    pub fn opened(&mut self, totals: Totals) -> Result<(), Breach> {
        self.totals = Some(totals);
        self.check_want()
    }

    /// The message was answered; the answer must be written now.
    pub fn answered(&mut self) {
        self.is_answering = false;
        self.is_unwritten = true;
    }

    /// The answer is written: the next message may arrive.
    pub fn answer_written(&mut self) {
        self.is_unwritten = false;
    }

    fn check_want(&self) -> Result<(), Breach> {
        let Some(totals) = self.totals else { return Ok(()) };
        let outside = |what, end: u64, total: u64| match end > total {
            true => Err(Breach::OutsideTotals { what, end, total }),
            false => Ok(()),
        };
        outside("chunks", self.want.chunks.last().map_or(0, |range| range.end), totals.chunks)?;
        outside("updates", self.want.updates.end, totals.updates)
    }

    /// The next piece of work, as the request that it would be in 1.0.0, and the payload bytes of the chunk that it
    /// asks for.
    #[must_use]
    pub fn next_request(&self) -> Option<(SnapshotsRequest, u64)> {
        if let Some(message) = &self.message {
            return (!self.is_answering).then(|| (message.clone(), 0));
        }
        let (session_id, totals) = (self.session?, self.totals?);
        if let Some(update_index) = self.updates.first_missing(&self.want.updates) {
            return Some((SnapshotsRequest::LightClientUpdate { session_id, update_index }, 0));
        }
        let (chunk_index, bytes) = self.next_chunk(&totals)?;
        Some((SnapshotsRequest::Chunk { session_id, chunk_index }, bytes))
    }

    /// The next piece of work. Chunks of up to `most` payload bytes, and at least one; they count as sent.
    ///
    /// # Errors
    /// The consumer's wants can no longer be tracked.
    pub fn poll_work(&mut self, most: u64) -> Result<Option<StreamWork>, Breach> {
        if self.is_answering {
            return Ok(None);
        }
        if let Some(message) = self.message.take() {
            self.is_answering = true;
            return Ok(Some(StreamWork::Message(message)));
        }
        let Some(totals) = self.totals else { return Ok(None) };
        if let Some(index) = self.updates.first_missing(&self.want.updates) {
            self.updates.insert(index..index + 1);
            return Ok(Some(StreamWork::Update(index)));
        }
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        while let Some((index, size)) = self.next_chunk(&totals) {
            if !chunks.is_empty() && bytes + size > most {
                break;
            }
            bytes += size;
            self.spent += size;
            self.chunks.insert(index..index + 1);
            chunks.push(index);
            if self.chunks.pieces() > MAX_SENT_RANGES {
                return Err(Breach::TooManyRanges);
            }
            if bytes >= most {
                break;
            }
        }
        Ok((!chunks.is_empty()).then_some(StreamWork::Chunks(chunks)))
    }

    /// Whether this chunk was sent.
    #[must_use]
    pub fn has_sent(&self, chunk: u64) -> bool {
        self.chunks.contains(chunk)
    }

    /// Payload bytes of these chunks.
    #[must_use]
    pub fn bytes_of(&self, chunks: &[u64]) -> usize {
        let Some(totals) = self.totals else { return 0 };
        let size = |index: &u64| {
            let range = chunk_range(totals.payload_bytes, totals.chunk_size, *index);
            usize::try_from(range.end - range.start).unwrap_or(usize::MAX)
        };
        chunks.iter().map(size).sum()
    }

    /// The first wanted chunk that was not sent, and its size, if all of it fits the credit.
    fn next_chunk(&self, totals: &Totals) -> Option<(u64, u64)> {
        let index = self.want.chunks.iter().find_map(|range| self.chunks.first_missing(range))?;
        let range = chunk_range(totals.payload_bytes, totals.chunk_size, index);
        let size = range.end - range.start;
        (self.spent.saturating_add(size) <= self.granted).then_some((index, size))
    }
}
