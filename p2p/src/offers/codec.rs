//! One JSON document in each direction of a substream, as in `/rpp/snapshots/1.0.0`.

use std::io;

use futures::{AsyncRead, AsyncWrite};
use libp2p::{StreamProtocol, request_response};

use super::messages::{OffersRequest, OffersResponse};
use crate::{
    codec::{DISCARDED_BOUNDS, Paced, SMALL, discard, is_end, read_pieces},
    json::{self, DecodeError},
    limits::{MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES},
    pace::PaceLimits,
};

/// The protocol's name on the wire.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new(super::PROTOCOL);

/// A request: as it is sent, or as it was read.
pub(super) type Question = Result<OffersRequest, DecodeError>;

/// An answer.
#[derive(Debug)]
pub enum AnswerFrame {
    /// To be sent.
    Ours(OffersResponse),
    /// As it arrived; it is parsed on a blocking thread.
    Theirs(Vec<u8>),
    /// It is larger than allowed; none of it is kept.
    Oversize,
}

/// Reads and writes the messages of one substream.
#[derive(Clone, Debug, Default)]
pub struct OffersCodec {
    pace: PaceLimits,
}

impl request_response::Codec for OffersCodec {
    type Protocol = StreamProtocol;
    type Request = Question;
    type Response = AnswerFrame;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Question>
    where
        T: AsyncRead + Unpin + Send,
    {
        let (bound, mut body) = (MAX_REQUEST_BYTES, Vec::new());
        let mut io = Paced::new(io, self.pace);
        let seen = read_pieces(&mut io, bound, SMALL, |piece| body.extend_from_slice(piece)).await?;
        if seen <= bound {
            return Ok(json::decode_offers_request(&body));
        }
        // The sender can read the refusal only when it has sent everything.
        let size = seen + discard(&mut io, bound.saturating_mul(DISCARDED_BOUNDS)).await?;
        Ok(Err(DecodeError::TooLarge { size, bound }))
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<AnswerFrame>
    where
        T: AsyncRead + Unpin + Send,
    {
        let (bound, mut body) = (MAX_RESPONSE_BYTES, Vec::new());
        let read =
            read_pieces(&mut Paced::new(io, self.pace), bound, SMALL, |piece| body.extend_from_slice(piece)).await;
        match read {
            Ok(seen) if seen > bound => Ok(AnswerFrame::Oversize),
            Ok(_) => Ok(AnswerFrame::Theirs(body)),
            // If something is missing, the text shows that.
            Err(error) if is_end(&error) && !body.is_empty() => Ok(AnswerFrame::Theirs(body)),
            Err(error) => Err(error),
        }
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, question: Question) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let Ok(request) = question else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a question that arrived is not sent on"));
        };
        Paced::new(io, self.pace).write_all(&json::encode_offers_request(&request)).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, answer: AnswerFrame) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let AnswerFrame::Ours(response) = answer else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "an answer that arrived is not sent on"));
        };
        Paced::new(io, self.pace).write_all(&json::encode_offers_response(&response)).await
    }
}
