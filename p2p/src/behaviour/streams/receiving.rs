//! The consumer's end of a stream: writes messages, wants and credit, and checks what arrives while it is read.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use futures::{AsyncRead as _, AsyncWrite as _};
use libp2p::{PeerId, swarm::Stream};

use super::{
    StreamId,
    outlet::Outlet,
    reading::{Alarm, Piece},
};
use crate::{
    codec::is_end,
    error::{Cause, RequestFailure, StreamFailure, TooSlow, Violation},
    exchange::{Exchange, Rules},
    json,
    limits::MAX_OPEN_WANTS,
    messages::{Checkpoint, Plan},
    pace::{Pace, PaceLimits},
    stream::{Came, Incoming, Wanted, frame},
    stream_tags::{self, StreamTags},
    text,
    types::SnapshotSessionId,
};

/// Largest read of bytes that do not belong to a chunk.
const PIECE: usize = 8 * 1024;

/// Something to send.
#[derive(Debug)]
pub(in crate::behaviour) enum Say {
    /// A message; the next one follows its answer.
    Message(Box<Exchange>),
    Want {
        plan: Arc<Plan>,
        wanted: Wanted,
        /// The update before the first one, if it is known.
        previous: Option<Checkpoint>,
    },
    Credit(u64),
}

/// A stream that is to be opened.
#[derive(Debug)]
pub struct StreamOpening {
    pub(in crate::behaviour) id: StreamId,
    pub(in crate::behaviour) peer: PeerId,
    pub(in crate::behaviour) session: SnapshotSessionId,
    pub(in crate::behaviour) rules: Rules,
    pub(in crate::behaviour) outlet: Outlet<Say>,
    /// Payload bytes of the arriving chunk that have been received.
    pub(in crate::behaviour) unfinished: Arc<AtomicU64>,
}

/// An event on a consumer's end.
#[derive(Debug)]
pub(in crate::behaviour) enum FromProvider {
    /// Something arrived and verifies.
    Came(Came),
    /// The stream has ended.
    Ended(Ending),
}

/// Why a stream has ended.
#[derive(Debug)]
pub(in crate::behaviour) enum Ending {
    /// This side has closed it.
    Closed,
    /// The peer does not support the protocol.
    Unsupported,
    /// The provider broke the protocol.
    Violation(Violation),
    /// The transport failed, or it took too long. Has the bytes of the chunk that did not arrive completely.
    Failure(RequestFailure),
}

/// One stream.
pub(super) struct Receiving {
    pub(super) id: StreamId,
    peer: PeerId,
    io: Stream,
    incoming: Incoming,
    unfinished: Arc<AtomicU64>,
    outlet: Outlet<Say>,
    /// A want that waits until the provider has received the earlier ones.
    held: Option<(Arc<Plan>, Wanted, Option<Checkpoint>)>,
    out: Vec<u8>,
    written: usize,
    is_flushed: bool,
    /// Writing failed; bytes that the provider sent before are still read.
    deaf: bool,
    piece: Piece,
    /// Bytes that were read directly into the chunk's buffer.
    placed: usize,
    has_read: bool,
    pace: Option<Pace>,
    limits: PaceLimits,
    alarm: Alarm,
    pub(super) tags: StreamTags,
}

impl Receiving {
    pub(super) fn new(io: Stream, opening: StreamOpening, limits: PaceLimits) -> Self {
        let StreamOpening { id, peer, session, rules, outlet, unfinished } = opening;
        Self {
            id,
            peer,
            io,
            incoming: Incoming::new(session, rules),
            unfinished,
            outlet,
            held: None,
            out: Vec::new(),
            written: 0,
            is_flushed: true,
            deaf: false,
            piece: Piece::new(PIECE),
            placed: 0,
            has_read: false,
            pace: None,
            limits,
            alarm: Alarm::default(),
            tags: stream_tags::of_stream(session),
        }
    }

    /// The next event. There is none after [`FromProvider::Ended`].
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<FromProvider> {
        if self.poll_say(cx) {
            return Poll::Ready(FromProvider::Ended(Ending::Closed));
        }
        if let Poll::Ready(received) = self.poll_read(cx) {
            return Poll::Ready(received);
        }
        self.poll_stall(cx).map(|failure| FromProvider::Ended(Ending::Failure(failure)))
    }

    /// Sends what is queued; `true` when this side has finished with the stream.
    fn poll_say(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            match self.outlet.poll_next(cx) {
                Poll::Ready(Some(say)) => self.say(say),
                Poll::Ready(None) => {
                    let _ = self.poll_write(cx);
                    // If the stream cannot be closed now, it is reset, which the provider accepts as well.
                    let _ = Pin::new(&mut self.io).poll_close(cx);
                    return true;
                }
                Poll::Pending => break,
            }
        }
        if self.incoming.open_wants() < MAX_OPEN_WANTS
            && let Some((plan, wanted, previous)) = self.held.take()
        {
            self.out.extend_from_slice(&frame::want(&wanted));
            self.incoming.wanting(plan, wanted, previous);
        }
        if !self.deaf && self.poll_write(cx).is_err() {
            self.deaf = true;
        }
        false
    }

    fn say(&mut self, say: Say) {
        match say {
            Say::Message(exchange) => {
                self.out.extend_from_slice(&frame::message(&json::encode_request(exchange.request())));
                self.incoming.asking(*exchange);
            }
            // A later want replaces one that was not sent yet.
            Say::Want { plan, wanted, previous } => self.held = Some((plan, wanted, previous)),
            Say::Credit(granted) => {
                self.out.extend_from_slice(&frame::credit(granted));
                self.incoming.granting(granted);
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.written < self.out.len() {
            match Pin::new(&mut self.io).poll_write(cx, &self.out[self.written..])? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => {
                    self.written += written;
                    self.is_flushed = false;
                    if let Some(pace) = &mut self.pace {
                        pace.moved(Instant::now(), written);
                    }
                }
                Poll::Pending => break,
            }
        }
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        if !self.is_flushed {
            self.is_flushed = Pin::new(&mut self.io).poll_flush(cx)?.is_ready();
        }
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<FromProvider> {
        loop {
            let mut rest = self.piece.rest();
            if !rest.is_empty() || self.placed > 0 {
                let (incoming, placed) = (&mut self.incoming, std::mem::take(&mut self.placed));
                let fed = catch_unwind(AssertUnwindSafe(|| match placed {
                    0 => incoming.feed(&mut rest),
                    placed => incoming.filled(placed),
                }));
                let left = rest.len();
                self.piece.left(left);
                match fed {
                    Ok(Ok(Some(came))) => return Poll::Ready(FromProvider::Came(came)),
                    Ok(Ok(None)) => {}
                    Ok(Err(violation)) => return Poll::Ready(FromProvider::Ended(Ending::Violation(violation))),
                    Err(panic) => {
                        let reason = text::of_panic(panic.as_ref());
                        tracing::error!(peer = %self.peer, %reason, "checking what came on a stream panicked");
                        let failure = StreamFailure::Panicked(reason).into();
                        return Poll::Ready(FromProvider::Ended(Ending::Failure(failure)));
                    }
                }
            }
            // Bytes of a chunk are read directly into its buffer when possible, which saves a copy.
            let space = self.incoming.space();
            let (read, is_placed) = match space.is_empty() {
                true => (self.piece.poll_read(cx, &mut self.io), false),
                false => (Pin::new(&mut self.io).poll_read(cx, space), true),
            };
            let received = self.incoming.unfinished_bytes();
            self.unfinished.store(received, Ordering::Relaxed);
            match read {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(FromProvider::Ended(Ending::Failure(RequestFailure::ConnectionClosed {
                        received,
                    })));
                }
                Poll::Ready(Ok(read)) => {
                    self.has_read = true;
                    self.placed = if is_placed { read } else { 0 };
                    if let Some(pace) = &mut self.pace {
                        pace.moved(Instant::now(), read);
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(FromProvider::Ended(self.lost(&error, received))),
            }
        }
    }

    fn lost(&self, error: &io::Error, received: u64) -> Ending {
        match error {
            // With `V1Lazy` the refusal of a protocol becomes visible when the first byte is read.
            error if !self.has_read && super::super::is_refused_protocol(error) => Ending::Unsupported,
            error if is_end(error) => Ending::Failure(RequestFailure::ConnectionClosed { received }),
            error => Ending::Failure(StreamFailure::Transport(Cause::told(error)).into()),
        }
    }

    /// Ready when the provider could have sent something and has not for too long.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<RequestFailure> {
        if !self.incoming.is_expecting() && self.out.is_empty() {
            self.pace = None;
            return Poll::Pending;
        }
        loop {
            let pace = self.pace.get_or_insert_with(|| Pace::new(self.limits, Instant::now()));
            if self.alarm.poll(cx, pace.deadline()).is_pending() {
                return Poll::Pending;
            }
            if let Err(stall) = pace.check(Instant::now()) {
                let reason = TooSlow::Stream { peer: self.peer, stall };
                return Poll::Ready(RequestFailure::Timeout { reason, received: self.incoming.unfinished_bytes() });
            }
        }
    }
}
