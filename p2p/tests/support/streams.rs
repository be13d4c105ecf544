//! A peer that speaks `/rpp/snapshots/2.0.0`, and sends whatever a test wants on its streams.

#![allow(clippy::single_range_in_vec_init, reason = "what is wanted is a list of ranges")]

use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        NotifyHandler, Stream, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use rpp_p2p::{
    PROTOCOL_V2, SnapshotsRequest, SnapshotsResponse, json,
    stream::{ConsumerFrame, frame},
};

use super::node::{Node, within};

/// Opens streams, and accepts those of others.
#[derive(Default)]
pub struct RawStreams {
    opens: VecDeque<PeerId>,
    events: VecDeque<Stream>,
}

impl RawStreams {
    pub async fn start() -> Node<Self> {
        Node::start(Self::default()).await
    }
}

impl Node<RawStreams> {
    /// Opens a stream to a connected peer.
    pub async fn open(&mut self, peer: PeerId) -> RawEnd {
        self.call(move |swarm| swarm.behaviour_mut().opens.push_back(peer)).await;
        self.taken().await
    }

    /// The next stream, from any peer.
    pub async fn taken(&mut self) -> RawEnd {
        RawEnd { io: self.event().await, came: Vec::new(), decoder: frame::ConsumerDecoder::default() }
    }
}

/// One end of a stream.
pub struct RawEnd {
    io: Stream,
    came: Vec<u8>,
    decoder: frame::ConsumerDecoder,
}

impl RawEnd {
    pub async fn send(&mut self, bytes: &[u8]) {
        // The other side may already have closed the stream.
        let _ = self.io.write_all(bytes).await;
        let _ = self.io.flush().await;
    }

    pub async fn say(&mut self, response: &SnapshotsResponse) {
        self.send(&frame::message(&json::encode_response(response))).await;
    }

    pub async fn ask(&mut self, request: &SnapshotsRequest) {
        self.send(&frame::message(&json::encode_request(request))).await;
    }

    pub async fn chunk(&mut self, fixture: &super::Fixture, index: u64) {
        self.send(&chunk_frame(fixture, index)).await;
    }

    /// The next frame of a consumer; `None` at the end.
    pub async fn heard(&mut self) -> Option<ConsumerFrame> {
        loop {
            let mut rest = self.came.as_slice();
            let frame = self.decoder.feed(&mut rest).unwrap();
            self.came = rest.to_vec();
            if frame.is_some() {
                return frame;
            }
            self.more().await?;
        }
    }

    /// The ranges that the consumer wants first.
    pub async fn wanted(&mut self) -> rpp_p2p::stream::Wanted {
        loop {
            match self.heard().await {
                Some(ConsumerFrame::Want(wanted)) => return wanted,
                Some(_) => {}
                None => panic!("the stream ended"),
            }
        }
    }

    /// The next frame of a provider, as type and body; `None` at the end.
    pub async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(length) = self.came.first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if self.came.len() >= 4 + length {
                    let frame: Vec<_> = self.came.drain(..4 + length).skip(4).collect();
                    return Some((frame[0], frame[1..].to_vec()));
                }
            }
            self.more().await?;
        }
    }

    /// The next message of a provider.
    pub async fn told(&mut self) -> SnapshotsResponse {
        match self.frame().await {
            Some((frame::MESSAGE, body)) => json::decode_response(&body).unwrap(),
            other => panic!("no message: {other:?}"),
        }
    }

    /// Waits for the end.
    pub async fn ended(&mut self) {
        while self.frame().await.is_some() {}
    }

    async fn more(&mut self) -> Option<()> {
        let mut piece = vec![0; 64 * 1024];
        let read = within(self.io.read(&mut piece)).await.ok().filter(|read| *read > 0)?;
        self.came.extend_from_slice(&piece[..read]);
        Some(())
    }
}

/// A chunk as a frame.
pub fn chunk_frame(fixture: &super::Fixture, index: u64) -> Vec<u8> {
    let chunk = fixture.chunk(index);
    let mut bytes = frame::chunk_head(index, &chunk.proof, chunk.bytes.len());
    bytes.extend_from_slice(&chunk.bytes);
    bytes
}

type Upgrade = ReadyUpgrade<StreamProtocol>;

pub struct RawHandler {
    opens: usize,
    events: VecDeque<Stream>,
}

impl RawHandler {
    fn new() -> Self {
        Self { opens: 0, events: VecDeque::new() }
    }

    fn protocol() -> SubstreamProtocol<Upgrade> {
        SubstreamProtocol::new(ReadyUpgrade::new(StreamProtocol::new(PROTOCOL_V2)), ())
    }
}

impl ConnectionHandler for RawHandler {
    type FromBehaviour = ();
    type ToBehaviour = Stream;
    type InboundProtocol = Upgrade;
    type OutboundProtocol = Upgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Upgrade> {
        Self::protocol()
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Upgrade, (), Stream>> {
        if let Some(stream) = self.events.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(stream));
        }
        if self.opens > 0 {
            self.opens -= 1;
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol: Self::protocol() });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, (): ()) {
        self.opens += 1;
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Upgrade, Upgrade>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. })
            | ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                self.events.push_back(protocol);
            }
            _ => {}
        }
    }
}

impl NetworkBehaviour for RawStreams {
    type ConnectionHandler = RawHandler;
    type ToSwarm = Stream;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(RawHandler::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(RawHandler::new())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, stream: THandlerOutEvent<Self>) {
        self.events.push_back(stream);
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Stream, THandlerInEvent<Self>>> {
        if let Some(stream) = self.events.pop_front() {
            return Poll::Ready(ToSwarm::GenerateEvent(stream));
        }
        match self.opens.pop_front() {
            Some(peer_id) => Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::Any, event: () }),
            None => Poll::Pending,
        }
    }
}
