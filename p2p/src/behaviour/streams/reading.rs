//! A buffer of bytes that were read and not used yet, and a timer.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use futures::AsyncRead;
use tokio::time::Sleep;

/// Bytes that were read from a stream.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

impl Piece {
    pub(super) fn new(size: usize) -> Self {
        Self { bytes: vec![0; size], from: 0, to: 0 }
    }

    /// The bytes that were not used yet.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.from..self.to]
    }

    /// Records that only the last `left` bytes are unused.
    pub(super) fn left(&mut self, left: usize) {
        self.from = self.to - left.min(self.to);
    }

    /// Reads more when everything was used. 0 bytes mean the end of the stream.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, io: impl AsyncRead + Unpin) -> Poll<io::Result<usize>> {
        let mut io = io;
        let read = ready!(Pin::new(&mut io).poll_read(cx, &mut self.bytes))?;
        (self.from, self.to) = (0, read);
        Poll::Ready(Ok(read))
    }
}

/// Wakes a task at a time that may change. If the time moves later, the runtime's timer is changed only when it fires.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready when `at` has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        loop {
            if at <= Instant::now() {
                return Poll::Ready(());
            }
            let sleep = match &mut self.0 {
                Some(sleep) => sleep,
                None if tokio::runtime::Handle::try_current().is_err() => return Poll::Pending,
                None => self.0.insert(Box::pin(tokio::time::sleep_until(at.into()))),
            };
            if sleep.deadline() > at.into() {
                sleep.as_mut().reset(at.into());
            }
            ready!(sleep.as_mut().poll(cx));
            self.0 = None;
        }
    }
}
