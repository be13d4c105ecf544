//! A peer that sends whatever a test wants, whether or not the protocol allows it.

use std::io;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::{
    PeerId, StreamProtocol,
    request_response::{self, Event, InboundRequestId, Message, ProtocolSupport, ResponseChannel},
};

use super::node::Node;

/// The raw peer's behaviour: bytes in, bytes out.
pub type Raw = request_response::Behaviour<RawCodec>;

/// A codec that writes bytes unchanged, and reads to the end of the stream.
#[derive(Clone, Debug, Default)]
pub struct RawCodec;

/// The bytes to write on a substream.
#[derive(Clone, Debug)]
pub enum Bytes {
    /// All of it, then the end of the stream.
    Whole(Vec<u8>),
    /// This much, then the stream is reset.
    Reset(Vec<u8>),
}

impl Bytes {
    /// The received bytes.
    pub fn text(&self) -> String {
        let (Self::Whole(bytes) | Self::Reset(bytes)) = self;
        String::from_utf8_lossy(bytes).into_owned()
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Self {
        Self::Whole(text.as_bytes().to_vec())
    }
}

impl From<String> for Bytes {
    fn from(text: String) -> Self {
        Self::Whole(text.into_bytes())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Whole(bytes)
    }
}

impl request_response::Codec for RawCodec {
    type Protocol = StreamProtocol;
    type Request = Bytes;
    type Response = Bytes;

    async fn read_request<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Bytes> {
        read(io).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Bytes> {
        read(io).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Bytes,
    ) -> io::Result<()> {
        write(io, bytes).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Bytes,
    ) -> io::Result<()> {
        write(io, bytes).await
    }
}

async fn read<T: AsyncRead + Unpin>(io: &mut T) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    io.read_to_end(&mut bytes).await?;
    Ok(Bytes::Whole(bytes))
}

async fn write<T: AsyncWrite + Unpin>(io: &mut T, bytes: Bytes) -> io::Result<()> {
    match bytes {
        Bytes::Whole(bytes) => io.write_all(&bytes).await,
        Bytes::Reset(bytes) => {
            io.write_all(&bytes).await?;
            io.flush().await?;
            Err(io::ErrorKind::ConnectionAborted.into())
        }
    }
}

/// A raw peer that speaks `/rpp/snapshots/1.0.0`.
pub async fn raw_peer() -> Node<Raw> {
    raw_peer_speaking("/rpp/snapshots/1.0.0").await
}

/// A raw peer that speaks another protocol.
pub async fn raw_peer_speaking(protocol: &'static str) -> Node<Raw> {
    let protocols = [(StreamProtocol::new(protocol), ProtocolSupport::Full)];
    let config = request_response::Config::default().with_request_timeout(super::node::DEADLINE);
    Node::start(Raw::with_codec(RawCodec, protocols, config)).await
}

/// A request that waits for the raw peer's answer.
pub struct Asked {
    pub id: InboundRequestId,
    pub text: String,
    pub channel: ResponseChannel<Bytes>,
}

impl Node<Raw> {
    /// Sends `request` without waiting.
    pub async fn send(&self, peer: PeerId, request: impl Into<Bytes>) -> request_response::OutboundRequestId {
        let request = request.into();
        self.call(move |swarm| swarm.behaviour_mut().send_request(&peer, request)).await
    }

    /// Sends `request`, and returns the text of the answer.
    pub async fn ask(&mut self, peer: PeerId, request: impl Into<Bytes>) -> String {
        let sent = self.send(peer, request).await;
        self.answer_to(sent).await
    }

    /// The text of the answer to `sent`.
    pub async fn answer_to(&mut self, sent: request_response::OutboundRequestId) -> String {
        let [answer] = self.answers_to([sent]).await;
        answer
    }

    /// The texts of the answers to `sent`, in whatever order they arrive.
    pub async fn answers_to<const N: usize>(&mut self, sent: [request_response::OutboundRequestId; N]) -> [String; N] {
        let mut answers = [const { None }; N];
        while answers.iter().any(Option::is_none) {
            let place = |id| sent.iter().position(|sent| *sent == id);
            let (place, text) = self
                .pick(|event| match event {
                    Event::Message { message: Message::Response { request_id, response }, .. } => {
                        Some((place(request_id)?, response.text()))
                    }
                    Event::OutboundFailure { request_id, error, .. } => {
                        Some((place(request_id)?, format!("failed: {error}")))
                    }
                    _ => None,
                })
                .await;
            answers[place] = Some(text);
        }
        answers.map(Option::unwrap_or_default)
    }

    /// The next request from another peer.
    pub async fn asked(&mut self) -> Asked {
        self.pick(|event| match event {
            Event::Message { message: Message::Request { request_id, request, channel }, .. } => {
                Some(Asked { id: request_id, text: request.text(), channel })
            }
            _ => None,
        })
        .await
    }

    /// Answers a request.
    pub async fn answer(&self, asked: Asked, response: impl Into<Bytes>) {
        let response = response.into();
        self.call(move |swarm| drop(swarm.behaviour_mut().send_response(asked.channel, response))).await;
    }
}
