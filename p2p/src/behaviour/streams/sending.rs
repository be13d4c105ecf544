//! The provider's end of a stream: reads the consumer's frames, writes messages and chunks.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use futures::AsyncWrite as _;
use libp2p::swarm::Stream;

use super::{
    outlet::Outlet,
    reading::{Alarm, Piece},
};
use crate::{
    error::{Cause, Unserved},
    limits::{FIRST_FRAME, STREAM_BATCH, STREAM_IDLE},
    pace::{Pace, PaceLimits},
    stream::{
        ConsumerFrame, FrameError,
        frame::{self, ConsumerDecoder},
    },
    stream_tags::{self, StreamTags},
};

/// Largest read.
const PIECE: usize = 8 * 1024;

/// A frame to be sent: its beginning, and a chunk's bytes after that.
#[derive(Debug)]
pub(in crate::behaviour) struct OutFrame {
    head: Vec<u8>,
    chunk: Bytes,
    /// Payload bytes that are reported when the frame is written.
    counts: usize,
    /// It answers the consumer's message.
    answers: bool,
}

impl OutFrame {
    pub(in crate::behaviour) fn chunk(head: Vec<u8>, chunk: Bytes) -> Self {
        Self { counts: chunk.len(), head, chunk, answers: false }
    }

    /// An update or a refusal, which answers no message.
    pub(in crate::behaviour) fn unasked(json: &[u8]) -> Self {
        Self { head: frame::message(json), chunk: Bytes::new(), counts: json.len(), answers: false }
    }

    pub(in crate::behaviour) fn answer(json: &[u8]) -> Self {
        Self { counts: 0, answers: true, ..Self::unasked(json) }
    }
}

/// An event on a provider's end.
#[derive(Debug)]
pub(in crate::behaviour) enum Heard {
    /// A frame arrived.
    Frame(ConsumerFrame),
    /// The bytes that arrived are not a frame; nothing more is read.
    Broken(FrameError),
    /// This many bytes of chunks and updates were written since the last such event.
    Written(usize),
    /// The answer to the last message was written.
    Answered,
    /// The stream has ended: either side closed it, or it was lost for this reason.
    Ended(Option<Unserved>),
}

/// One stream.
pub(super) struct Sending {
    io: Stream,
    decoder: ConsumerDecoder,
    piece: Piece,
    reads: bool,
    outlet: Outlet<OutFrame>,
    writing: Option<(OutFrame, usize)>,
    written: usize,
    answered: bool,
    is_flushed: bool,
    opened: Instant,
    moved: Instant,
    has_begun: bool,
    pace: Option<Pace>,
    limits: PaceLimits,
    alarm: Alarm,
    pub(super) tags: StreamTags,
}

impl Sending {
    pub(super) fn new(io: Stream, outlet: Outlet<OutFrame>, limits: PaceLimits) -> Self {
        let now = Instant::now();
        Self {
            io,
            decoder: ConsumerDecoder::default(),
            piece: Piece::new(PIECE),
            reads: true,
            outlet,
            writing: None,
            written: 0,
            answered: false,
            is_flushed: true,
            opened: now,
            moved: now,
            has_begun: false,
            pace: None,
            limits,
            alarm: Alarm::default(),
            tags: StreamTags::default(),
        }
    }

    /// The next event. There is none after [`Heard::Ended`].
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        match self.poll_write(cx) {
            Ok(true) => return Poll::Ready(Heard::Ended(None)),
            Ok(false) => {}
            Err(error) => return Poll::Ready(self.lost(&error)),
        }
        // Before anything else is read, because the next message may follow now.
        if std::mem::take(&mut self.answered) {
            return Poll::Ready(Heard::Answered);
        }
        if self.written >= STREAM_BATCH / 2 || (self.written > 0 && self.writing.is_none()) {
            return Poll::Ready(Heard::Written(std::mem::take(&mut self.written)));
        }
        match self.poll_read(cx) {
            Poll::Ready(heard) => return Poll::Ready(heard),
            Poll::Pending => {}
        }
        self.poll_late(cx).map(|reason| Heard::Ended(Some(reason)))
    }

    /// Writes what is queued; `true` when everything is written and nothing follows.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        loop {
            let Some((frame, done)) = &mut self.writing else {
                match self.outlet.poll_next(cx) {
                    Poll::Ready(Some(frame)) => {
                        self.writing = Some((frame, 0));
                        continue;
                    }
                    Poll::Ready(None) => return self.poll_close(cx),
                    Poll::Pending => break,
                }
            };
            let head = frame.head.len();
            let bytes = match frame.head.get(*done..) {
                Some(rest) if !rest.is_empty() => rest,
                _ => &frame.chunk[*done - head..],
            };
            if bytes.is_empty() {
                self.written += frame.counts;
                self.answered |= frame.answers;
                self.writing = None;
                continue;
            }
            match Pin::new(&mut self.io).poll_write(cx, bytes) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => {
                    *done += written;
                    self.is_flushed = false;
                    let now = Instant::now();
                    self.moved = now;
                    self.pace.get_or_insert_with(|| Pace::new(self.limits, now)).moved(now, written);
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.pace.get_or_insert_with(|| Pace::new(self.limits, Instant::now()));
                    break;
                }
            }
        }
        if !self.is_flushed {
            self.is_flushed = Pin::new(&mut self.io).poll_flush(cx)?.is_ready();
        }
        if self.writing.is_none() && self.is_flushed {
            self.pace = None;
        }
        Ok(false)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        self.reads = false;
        Ok(Pin::new(&mut self.io).poll_close(cx)?.is_ready())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        while self.reads {
            let mut rest = self.piece.rest();
            let fed = self.decoder.feed(&mut rest);
            let left = rest.len();
            self.piece.left(left);
            match fed {
                Ok(Some(frame)) => {
                    self.has_begun = true;
                    if let ConsumerFrame::Message(message) = &frame {
                        self.tags = stream_tags::of_stream(message.session_id());
                    }
                    return Poll::Ready(Heard::Frame(frame));
                }
                Ok(None) => {}
                Err(error) => {
                    self.reads = false;
                    return Poll::Ready(Heard::Broken(error));
                }
            }
            match self.piece.poll_read(cx, &mut self.io) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => {
                    self.reads = false;
                    return Poll::Ready(Heard::Ended(None));
                }
                Poll::Ready(Ok(_)) => self.moved = Instant::now(),
                Poll::Ready(Err(error)) => return Poll::Ready(self.lost(&error)),
            }
        }
        Poll::Pending
    }

    /// Ready with the reason when it has been quiet for too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Unserved> {
        loop {
            let quiet = if self.has_begun { self.moved + STREAM_IDLE } else { self.opened + FIRST_FRAME };
            let at = self.pace.as_ref().map_or(quiet, |pace| pace.deadline().min(quiet));
            if self.alarm.poll(cx, at).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if now >= quiet {
                return Poll::Ready(match self.has_begun {
                    true => Unserved::Idle(STREAM_IDLE),
                    false => Unserved::NoFrame(FIRST_FRAME),
                });
            }
            if let Some(Err(stall)) = self.pace.as_mut().map(|pace| pace.check(now)) {
                return Poll::Ready(Unserved::Unread(stall));
            }
        }
    }

    fn lost(&mut self, error: &io::Error) -> Heard {
        self.reads = false;
        Heard::Ended((!crate::codec::is_end(error)).then(|| Unserved::Lost(Cause::told(error))))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.outlet.abandon();
    }
}
