//! A connection's socket. It holds the connection's place and can be closed from outside. It times out a client that
//! does not finish a request's head or does not read. It closes in such a way that the client still gets the last
//! answer.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::{
    limits::{LINGER, LINGER_BYTES},
    phase::{Phase, Waiting},
    places::Place,
};

/// How long the connection waits for a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) head: Duration,
    pub(crate) idle: Duration,
    pub(crate) write: Duration,
}

/// Lives as long as the connection, also after it became a WebSocket.
pub(crate) struct Io {
    socket: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    phase: Arc<Phase>,
    timeouts: Timeouts,
    /// Runs while the connection waits for the client to send.
    waited: Option<(Waiting, Pin<Box<Sleep>>)>,
    /// Runs while the client does not read.
    stalled: Option<Pin<Box<Sleep>>>,
    closing: Option<Closing>,
    _place: Place,
}

struct Closing {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl Io {
    pub(crate) fn new(
        socket: TcpStream,
        place: Place,
        phase: Arc<Phase>,
        cut: CancellationToken,
        timeouts: Timeouts,
    ) -> Self {
        let cut = Box::pin(cut.cancelled_owned());
        Self { socket, cut, phase, timeouts, waited: None, stalled: None, closing: None, _place: place }
    }

    fn check_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server stopped")),
            Poll::Pending => Ok(()),
        }
    }

    /// Whether the client took too long to finish a head, or to begin the next one.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        self.phase.wake_when_answered(cx);
        let waiting = self.phase.waiting();
        if waiting != self.waited.as_ref().map(|(waiting, _)| *waiting) {
            let timeouts = self.timeouts;
            self.waited = waiting.map(|waiting| {
                let timeout = if waiting == Waiting::Idle { timeouts.idle } else { timeouts.head };
                (waiting, Box::pin(tokio::time::sleep(timeout)))
            });
        }
        self.waited.as_mut().is_some_and(|(_, until)| until.as_mut().poll(cx).is_ready())
    }

    fn watch_stall<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timeout = self.timeouts.write;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }

    /// For a moment, reads and drops what still arrives.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let closing = self.closing.get_or_insert_with(|| Closing {
            until: Box::pin(tokio::time::sleep_until(Instant::now() + LINGER)),
            left: LINGER_BYTES,
        });
        let mut scratch = [0; 4096];
        while closing.left > 0 && closing.until.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    closing.left = closing.left.saturating_sub(buffer.filled().len());
                }
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check_cut(cx)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buffer);
        if buffer.filled().len() > before && self.phase.bytes_came() {
            self.waited = None;
        }
        if read.is_ready() || !self.is_late(cx) {
            return read;
        }
        match self.phase.waiting() {
            // As if the client had closed the connection: nothing is lost.
            Some(Waiting::Idle) => Poll::Ready(Ok(())),
            _ => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the request's head does not end"))),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_cut(cx)?;
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.watch_stall(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_cut(cx)?;
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, buffers);
        self.watch_stall(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_cut(cx)?;
        if self.closing.is_none() {
            ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
        }
        self.poll_linger(cx).map(Ok)
    }
}
