//! Reads and writes one JSON document in each direction of a substream, up to a bound, and never cut short.
//!
//! The text, not the end of the stream, shows where a message ends. After a complete answer a reset counts as a normal
//! end. An end inside an answer is a lost connection. Each message has its own time limit (`pace`), counted from the
//! last byte that moved.
//!
//! A message that cannot be read is passed to the behaviour as a value: an I/O error would only reset the stream, and
//! the peer would not learn why. Responses are made on blocking threads. Chunks are decoded and hashed as they arrive,
//! on the connection's task (`chunk_stream`). Small answers are checked there, too (`verify`), because waking a thread
//! takes longer than their check. Other large answers stay bytes and are checked on a blocking thread.

mod chunk_stream;
mod frame;
mod paced;
pub(crate) mod verify;

use std::io;

use futures::{AsyncRead, AsyncWrite};
use libp2p::{StreamProtocol, request_response};

use self::chunk_stream::{ChunkStream, Received};
pub(crate) use self::{
    frame::{RequestFrame, ResponseFrame, Seen},
    paced::Paced,
};

use crate::{
    exchange::Expectation,
    json::{self, DecodeError},
    limits::{MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES},
    pace::PaceLimits,
    stream_tags::{self, StreamTags},
};

/// The protocol's name on the wire.
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/rpp/snapshots/1.0.0");

/// The initial size of a read buffer if nothing is known about the message.
pub(crate) const SMALL: usize = 1024;
/// The most of an answer that is read at once.
const PIECE: usize = 64 * 1024;
/// An oversize request is read and dropped up to this many times its bound, so that its sender can read the refusal.
pub(crate) const DISCARDED_BOUNDS: usize = 16;

/// Reads and writes the messages of one substream. Cheap to clone before a request is known.
#[derive(Clone, Debug)]
pub struct Codec {
    max_request: usize,
    max_response: usize,
    pace: PaceLimits,
    /// The expected length of the answer on this substream; the buffer gets this size.
    expected_response: usize,
    /// The tags of this substream, once its request is known.
    tags: StreamTags,
    /// What to check the answer against, if it may be checked here.
    expectation: Option<Box<Expectation>>,
    /// The bytes of the answer that have arrived; the sender of the request reads it.
    seen: Seen,
}

impl Default for Codec {
    fn default() -> Self {
        Self::new(MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES)
    }
}

impl Codec {
    /// A codec with bounds on a request and on a response, in bytes.
    #[must_use]
    pub fn new(max_request: usize, max_response: usize) -> Self {
        Self {
            max_request,
            max_response,
            pace: PaceLimits::default(),
            expected_response: SMALL,
            tags: StreamTags::default(),
            expectation: None,
            seen: Seen::default(),
        }
    }

    /// Sets how slow a message may be.
    #[must_use]
    pub fn with_pace(mut self, pace: PaceLimits) -> Self {
        self.pace = pace;
        self
    }
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = RequestFrame;
    type Response = ResponseFrame;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<RequestFrame>
    where
        T: AsyncRead + Unpin + Send,
    {
        let (bound, mut body) = (self.max_request, Vec::new());
        let mut io = Paced::new(io, self.pace);
        let seen = read_pieces(&mut io, bound, SMALL, |piece| body.extend_from_slice(piece)).await?;
        let (bytes, request) = if seen <= bound {
            (seen, json::decode_request_within(&body, bound))
        } else {
            let size = seen + discard(&mut io, bound.saturating_mul(DISCARDED_BOUNDS)).await?;
            (size, Err(DecodeError::TooLarge { size, bound }))
        };
        self.tags = request.as_ref().map(stream_tags::of).unwrap_or_default();
        Ok(RequestFrame::Incoming { bytes, request })
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<ResponseFrame>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut stream = ChunkStream::new(self.expectation.take().map(|expectation| *expectation));
        let (bound, seen) = (self.max_response, std::mem::take(&mut self.seen));
        let read = read_pieces(&mut Paced::new(io, self.pace), bound, self.expected_response, |piece| {
            seen.more(piece.len());
            stream.feed(piece);
        })
        .await;
        let bytes = match read {
            Ok(bytes) => bytes,
            // If something is missing, the text shows that.
            Err(error) if is_end(&error) && seen.bytes() > 0 => usize::try_from(seen.bytes()).unwrap_or(usize::MAX),
            Err(error) => return Err(error),
        };
        if bytes > bound {
            return Ok(ResponseFrame::Oversize { seen: bytes, bound });
        }
        Ok(match stream.finish() {
            Received::Whole(body) => ResponseFrame::Whole(body),
            Received::Checked(checked) => ResponseFrame::Checked { bytes, checked },
        })
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, request: RequestFrame) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let RequestFrame::Outgoing { body, expected_response, tags, expectation, seen } = request else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a request that arrived is not sent on"));
        };
        self.expected_response = expected_response;
        self.tags = tags;
        self.expectation = expectation;
        self.seen = seen;
        stream_tags::scope(&self.tags, Paced::new(io, self.pace).write_all(&body)).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, response: ResponseFrame) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let ResponseFrame::Whole(body) = response else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a response that arrived is not sent on"));
        };
        stream_tags::scope(&self.tags, Paced::new(io, self.pace).write_all(&body)).await
    }
}

/// Whether a stream that failed this way has simply ended: several libraries end every stream by a reset.
pub(crate) fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof, WriteZero};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof | WriteZero)
}

/// Feeds everything until the end of the stream, or just past `bound`. Returns the number of bytes.
pub(crate) async fn read_pieces<T: AsyncRead + Unpin>(
    io: &mut Paced<'_, T>,
    bound: usize,
    expected: usize,
    mut feed: impl FnMut(&[u8]) + Send,
) -> io::Result<usize> {
    // One byte more than the message, so that its end is seen at once.
    let mut piece = vec![0; expected.saturating_add(1).clamp(SMALL, PIECE)];
    let mut seen = 0;
    while seen <= bound {
        let most = piece.len().min(bound.saturating_add(1) - seen);
        match io.read(&mut piece[..most]).await? {
            0 => break,
            read => {
                feed(&piece[..read]);
                seen += read;
            }
        }
    }
    Ok(seen)
}

/// Reads and drops up to `most` bytes; returns how many there were.
pub(crate) async fn discard<T: AsyncRead + Unpin>(io: &mut Paced<'_, T>, most: usize) -> io::Result<usize> {
    let mut buffer = [0; 4096];
    let mut dropped = 0;
    while dropped < most {
        match io.read(&mut buffer).await? {
            0 => break,
            read => dropped += read,
        }
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use futures::{executor::block_on, io::Cursor};
    use libp2p::request_response::Codec as _;

    use super::*;

    fn read_response(bytes: &[u8], bound: usize, expected: usize) -> ResponseFrame {
        let mut codec = Codec { expected_response: expected, ..Codec::new(0, bound) };
        block_on(codec.read_response(&PROTOCOL, &mut Cursor::new(bytes))).unwrap()
    }

    #[test]
    fn a_message_at_the_bound_is_whole_and_one_above_is_refused() {
        let bytes = vec![7; 5000];
        for expected in [0, 1, 4999, 5000, 5001, 100_000] {
            assert!(matches!(read_response(&bytes, 5000, expected), ResponseFrame::Whole(body) if body == bytes));
            assert!(matches!(
                read_response(&bytes, 4999, expected),
                ResponseFrame::Oversize { seen: 5000, bound: 4999 }
            ));
        }
    }

    #[test]
    fn an_oversize_request_is_a_value_naming_size_and_bound() {
        let mut codec = Codec::new(100, 100);
        let frame = block_on(codec.read_request(&PROTOCOL, &mut Cursor::new(vec![b' '; 333]))).unwrap();
        let RequestFrame::Incoming { bytes: 333, request: Err(error) } = frame else { panic!("{frame:?}") };
        assert!(error.to_string().contains("333") && error.to_string().contains("100"), "{error}");
    }

    #[test]
    fn a_request_sizes_the_buffer_of_its_answer() {
        let mut codec = Codec::default();
        let mut sent = Vec::new();
        let request = RequestFrame::Outgoing {
            body: b"{}".to_vec(),
            expected_response: 4321,
            tags: StreamTags::default(),
            expectation: None,
            seen: Seen::default(),
        };
        block_on(codec.write_request(&PROTOCOL, &mut sent, request)).unwrap();
        assert_eq!((sent.as_slice(), codec.expected_response), (&b"{}"[..], 4321));
    }
}
