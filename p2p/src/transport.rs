//! The layers of a TCP connection: encryption that uses the processor's AES ([`Tls`]), a layer below it that makes fewer and
//! larger reads ([`Gathered`]), and a layer above it that makes fewer and larger writes ([`Yamux`]).
//!
//! yamux writes the header and the body of each frame separately and flushes after every frame. Behind an encryption
//! each of these becomes a record and a system call of its own: about 170 for a chunk of 1 MiB, each of which may wake
//! the other side. [`Yamux`] sends frames that are written together in one system call.

mod gathered;
mod tls;

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::{
    core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
    yamux,
};

use crate::limits::GATHERED_BYTES;
pub use gathered::Gathered;
pub use tls::{Tls, TlsError, TlsStream};

/// Bytes copied at once. Above 2 KiB the C library uses an instruction that is several times slower on some processors
/// if source and destination are aligned differently.
const BLOCK: usize = 1024;

/// libp2p's yamux over a [`Corked`] connection.
#[derive(Clone, Debug, Default)]
pub struct Yamux(yamux::Config);

impl UpgradeInfo for Yamux {
    type Info = <yamux::Config as UpgradeInfo>::Info;
    type InfoIter = <yamux::Config as UpgradeInfo>::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.protocol_info()
    }
}

impl<C> InboundConnectionUpgrade<C> for Yamux
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = yamux::Muxer<Corked<C>>;
    type Error = io::Error;
    type Future = <yamux::Config as InboundConnectionUpgrade<Corked<C>>>::Future;

    fn upgrade_inbound(self, connection: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_inbound(Corked::new(connection), info)
    }
}

impl<C> OutboundConnectionUpgrade<C> for Yamux
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = yamux::Muxer<Corked<C>>;
    type Error = io::Error;
    type Future = <yamux::Config as OutboundConnectionUpgrade<Corked<C>>>::Future;

    fn upgrade_outbound(self, connection: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_outbound(Corked::new(connection), info)
    }
}

/// Gathers writes until it is flushed twice without a write in between, or until the buffer is full.
///
/// The first flush after a write only asks to be polled again, so that everything that has more to write at this moment
/// is written first. Nothing stays in the buffer longer than one turn of its task.
#[derive(Debug)]
pub struct Corked<C> {
    inner: C,
    /// Kept from one burst to the next.
    buffer: Vec<u8>,
    /// The number of bytes of `buffer` that are written.
    written: usize,
    /// Whether a flush was put off and nothing was written since.
    put_off: bool,
}

impl<C> Corked<C> {
    /// Wraps a connection on which nothing was written yet.
    pub fn new(inner: C) -> Self {
        Self { inner, buffer: Vec::new(), written: 0, put_off: false }
    }
}

impl<C: AsyncWrite + Unpin> Corked<C> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.buffer.len() {
            // In blocks, for the same reason: TLS copies them to where they are encrypted, after a head of five bytes.
            let mut blocks = [IoSlice::new(&[]); GATHERED_BYTES.div_ceil(BLOCK)];
            let rest = self.buffer[self.written..].chunks(BLOCK);
            let count = rest.len().min(blocks.len());
            blocks.iter_mut().zip(rest).for_each(|(block, bytes)| *block = IoSlice::new(bytes));
            match ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, &blocks[..count]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        if self.buffer.len() < GATHERED_BYTES / 16 {
            self.buffer = Vec::new(); // A quiet connection keeps no buffer.
        }
        self.buffer.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Corked<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Corked<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.buffer.len() >= GATHERED_BYTES {
            ready!(self.poll_drain(cx))?;
        }
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(GATHERED_BYTES);
        }
        let taken = bytes.len().min(GATHERED_BYTES - self.buffer.len());
        for block in bytes[..taken].chunks(BLOCK) {
            self.buffer.extend_from_slice(block);
        }
        self.put_off = false;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.buffer.is_empty() {
            if !std::mem::replace(&mut self.put_off, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            ready!(self.poll_drain(cx))?;
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::{AsyncWriteExt as _, executor::block_on, future::poll_fn, task::noop_waker};
    use proptest::prelude::*;

    use super::*;

    /// Accepts at most `most` bytes in a call, and nothing in every other call.
    #[derive(Default)]
    struct SlowSocket {
        most: usize,
        calls: usize,
        flushed: usize,
        closed: bool,
        got: Vec<u8>,
    }

    impl AsyncWrite for SlowSocket {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.calls += 1;
            if self.calls.is_multiple_of(2) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let taken = bytes.len().min(self.most);
            self.got.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }

        /// All buffers in one call, as a socket.
        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffers: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.iter().copied()).collect();
            self.poll_write(cx, &all)
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushed = self.got.len();
            Poll::Ready(Ok(()))
        }

        fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.closed = true;
            Poll::Ready(Ok(()))
        }
    }

    fn corked(most: usize) -> Corked<SlowSocket> {
        Corked::new(SlowSocket { most, ..SlowSocket::default() })
    }

    #[test]
    fn frames_that_are_flushed_one_by_one_leave_together() {
        let mut connection = corked(usize::MAX);
        let mut cx = Context::from_waker(futures::task::noop_waker_ref());
        for frame in [&b"head"[..], b"body", b"head", b"body"] {
            assert!(Pin::new(&mut connection).poll_write(&mut cx, frame).is_ready());
            assert!(Pin::new(&mut connection).poll_flush(&mut cx).is_pending(), "there may be more");
        }
        assert_eq!(connection.inner.calls, 0);
        assert!(Pin::new(&mut connection).poll_flush(&mut cx).is_ready(), "there was no more");
        assert_eq!((connection.inner.calls, connection.inner.flushed), (1, 16));
        assert_eq!(connection.buffer.capacity(), 0, "an idle connection holds no buffer");
    }

    #[test]
    fn a_flush_that_was_put_off_asks_to_be_polled_again() {
        let mut connection = corked(3);
        block_on(async {
            connection.write_all(b"all of it").await.unwrap();
            connection.flush().await.unwrap();
        });
        assert_eq!((connection.inner.got.as_slice(), connection.inner.flushed), (&b"all of it"[..], 9));
    }

    #[test]
    fn no_more_waits_here_than_the_buffer_holds() {
        let mut connection = corked(usize::MAX);
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        let bytes = vec![7; GATHERED_BYTES + 1];
        assert!(matches!(Pin::new(&mut connection).poll_write(&mut cx, &bytes), Poll::Ready(Ok(GATHERED_BYTES))));
        assert!(matches!(Pin::new(&mut connection).poll_write(&mut cx, &bytes[GATHERED_BYTES..]), Poll::Ready(Ok(1))));
        assert_eq!(connection.inner.got.len(), GATHERED_BYTES);
    }

    #[test]
    fn an_end_of_the_line_is_an_error() {
        let mut connection = corked(0);
        let error = block_on(async {
            connection.write_all(b"x").await.unwrap();
            connection.flush().await.unwrap_err()
        });
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }

    proptest! {
        #[test]
        fn every_byte_arrives_in_order(
            pieces in prop::collection::vec((0_usize..100_000, any::<bool>()), 0..12),
            most in 1_usize..80_000,
        ) {
            let mut connection = corked(most);
            let mut sent = Vec::new();
            block_on(async {
                for (length, flush) in pieces {
                    let piece: Vec<u8> = (0..length).map(|at| ((sent.len() + at) % 251) as u8).collect();
                    connection.write_all(&piece).await.unwrap();
                    sent.extend(piece);
                    if flush {
                        connection.flush().await.unwrap();
                        assert_eq!(connection.inner.flushed, sent.len());
                    }
                }
                poll_fn(|cx| Pin::new(&mut connection).poll_close(cx)).await.unwrap();
            });
            prop_assert!(connection.inner.closed);
            prop_assert_eq!(&connection.inner.got, &sent);
        }
    }
}
