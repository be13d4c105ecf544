//! A muxer that counts the bytes of its streams.
//!
//! The cost is two relaxed additions for each read or write, and a look at a thread-local for each write. A lock is
//! taken only when a stream is opened, closed, learns its protocol or changes its tags.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};

use crate::{
    negotiation::{Learnt, Side, Sniffer},
    proto::Role,
    registry::{OpenConnection, OpenStream},
};

/// Wraps a muxer for as long as its connection lives.
#[derive(Debug)]
pub struct Counting<M> {
    muxer: M,
    connection: OpenConnection,
}

impl<M> Counting<M> {
    /// Counts the bytes that flow through `muxer` for `connection`.
    pub fn new(muxer: M, connection: OpenConnection) -> Self {
        Self { muxer, connection }
    }

    fn wrap<S>(&self, stream: S, role: Role, side: Side) -> CountedStream<S> {
        CountedStream {
            stream,
            record: self.connection.stream_opened(role),
            sniffer: Some(Box::new(Sniffer::new(side))),
        }
    }
}

impl<M> StreamMuxer for Counting<M>
where
    M: StreamMuxer + Unpin,
    M::Substream: Unpin,
{
    type Substream = CountedStream<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        let this = self.get_mut();
        let stream = ready!(Pin::new(&mut this.muxer).poll_inbound(cx))?;
        Poll::Ready(Ok(this.wrap(stream, Role::Responder, Side::Responder)))
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        let this = self.get_mut();
        let stream = ready!(Pin::new(&mut this.muxer).poll_outbound(cx))?;
        Poll::Ready(Ok(this.wrap(stream, Role::Initiator, Side::Initiator)))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let this = self.get_mut();
        this.connection.closing();
        Pin::new(&mut this.muxer).poll_close(cx)
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        let this = self.get_mut();
        let event = ready!(Pin::new(&mut this.muxer).poll(cx))?;
        let StreamMuxerEvent::AddressChange(address) = &event;
        this.connection.set_remote(address);
        Poll::Ready(Ok(event))
    }
}

/// A stream whose bytes are counted.
#[derive(Debug)]
pub struct CountedStream<S> {
    stream: S,
    record: OpenStream,
    /// `None` once the protocol is known.
    sniffer: Option<Box<Sniffer>>,
}

impl<S> CountedStream<S> {
    #[inline]
    fn received(&mut self, bytes: &[u8]) {
        self.record.received(bytes.len());
        if let Some(sniffer) = &mut self.sniffer {
            let learnt = sniffer.handle_read(bytes);
            self.learn(learnt);
        }
    }

    #[inline]
    fn sent(&mut self, bytes: &[u8]) {
        self.record.sent(bytes.len());
        if let Some(sniffer) = &mut self.sniffer {
            let learnt = sniffer.handle_written(bytes);
            self.learn(learnt);
        }
    }

    #[cold]
    fn learn(&mut self, learnt: Option<Learnt>) {
        match learnt {
            None => {}
            Some(Learnt::Proposed(protocol)) => self.record.set_protocol(Some(protocol), false),
            Some(Learnt::Agreed(protocol)) => {
                self.record.set_protocol(Some(protocol), true);
                self.sniffer = None;
            }
            Some(Learnt::Nothing) => {
                self.record.set_protocol(None, true);
                self.sniffer = None;
            }
        }
    }

    fn noted<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.record.failed();
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CountedStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.stream).poll_read(cx, buf));
        let read = this.noted(result)?;
        this.received(&buf[..read]);
        Poll::Ready(Ok(read))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [io::IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.sniffer.is_some() {
            let buf = bufs.iter_mut().find(|buf| !buf.is_empty()).map_or(&mut [][..], |buf| &mut **buf);
            return Pin::new(this).poll_read(cx, buf);
        }
        let result = ready!(Pin::new(&mut this.stream).poll_read_vectored(cx, bufs));
        let read = this.noted(result)?;
        this.record.received(read);
        Poll::Ready(Ok(read))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountedStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.stream).poll_write(cx, buf));
        let written = this.noted(result)?;
        this.sent(&buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.sniffer.is_some() {
            let buf = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| &**buf);
            return Pin::new(this).poll_write(cx, buf);
        }
        let result = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, bufs));
        let written = this.noted(result)?;
        this.record.sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.stream).poll_flush(cx));
        Poll::Ready(this.noted(result))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.stream).poll_close(cx));
        Poll::Ready(this.noted(result))
    }
}
