//! The phase of a connection between two requests, shared by its socket and its service.
//!
//! ```text
//! reading (from accept, or the first byte of the next request) -- head complete --> answering
//!   ^                                                                                  | answer sent
//!   +---------------- first byte ------------------ idle <---------------------------- +
//! answering -- 101 --> upgraded, for good
//! ```
//! A head has [`header_timeout`](crate::Limits::header_timeout) from its first byte; an idle connection may wait longer
//! ([`idle_timeout`](crate::Limits::idle_timeout)). hyper has only one timer for both, so the socket keeps these times.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::task::AtomicWaker;
use http_body_util::{BodyExt as _, combinators::BoxBody};
use hyper::body::{Body, Frame, SizeHint};

/// What a connection waits for from its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// The rest of a head, or the first head.
    Head,
    /// The next request.
    Idle,
}

/// See the drawing above.
#[derive(Debug, Default)]
pub(crate) struct Phase {
    now: AtomicU8,
    /// The task that reads the socket. hyper polls it before the answer has ended, but not again after that.
    reader: AtomicWaker,
}

const READING: u8 = 0;
const ANSWERING: u8 = 1;
const IDLE: u8 = 2;
const UPGRADED: u8 = 3;

impl Phase {
    pub(crate) fn answer(&self) {
        self.now.store(ANSWERING, Relaxed);
    }

    pub(crate) fn upgrade(&self) {
        self.now.store(UPGRADED, Relaxed);
    }

    pub(crate) fn is_answering(&self) -> bool {
        self.now.load(Relaxed) == ANSWERING
    }

    pub(crate) fn waiting(&self) -> Option<Waiting> {
        match self.now.load(Relaxed) {
            READING => Some(Waiting::Head),
            IDLE => Some(Waiting::Idle),
            _ => None,
        }
    }

    /// Called when bytes arrive; returns whether they begin the next request.
    pub(crate) fn bytes_came(&self) -> bool {
        self.now.compare_exchange(IDLE, READING, Relaxed, Relaxed).is_ok()
    }

    /// Wakes the task of `cx` when the answer is sent.
    pub(crate) fn wake_when_answered(&self, cx: &Context<'_>) {
        self.reader.register(cx.waker());
    }

    fn answered(&self) {
        if self.now.compare_exchange(ANSWERING, IDLE, Relaxed, Relaxed).is_ok() {
            self.reader.wake();
        }
    }
}

/// An answer's body. The connection is idle again when hyper drops it.
pub(crate) struct Answered {
    body: BoxBody<Bytes, warp::Error>,
    phase: Arc<Phase>,
}

impl Answered {
    pub(crate) fn new(
        body: impl Body<Data = Bytes, Error = warp::Error> + Send + Sync + 'static,
        phase: Arc<Phase>,
    ) -> Self {
        Self { body: body.boxed(), phase }
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.phase.answered();
    }
}

impl Body for Answered {
    type Data = Bytes;
    type Error = warp::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, warp::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
