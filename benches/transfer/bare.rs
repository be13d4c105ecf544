//! The speed of the transport alone: messages of a chunk's size, one request in flight, and no other work.

use std::{
    io,
    time::{Duration, Instant},
};

use libp2p::futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _};
use libp2p::{
    Multiaddr, StreamProtocol, Swarm, SwarmBuilder,
    core::upgrade::Version,
    request_response::{self, Message, ProtocolSupport},
    swarm::SwarmEvent,
    tcp, tls, yamux,
};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/rpp/bench/bare");

type Wire = request_response::Behaviour<Codec>;

/// The time that `mib` MiB take as JSON answers of `chunk_size` bytes each in base64.
pub(crate) fn exchange(chunk_size: u64, mib: u64) -> Duration {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut provider = swarm();
        provider.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = provider.select_next_some().await {
                break address.with_p2p(*provider.local_peer_id()).unwrap();
            }
        };
        let answer = vec![b'x'; usize::try_from(chunk_size / 3 * 4 + 512).unwrap()];
        tokio::spawn(serve(provider, answer));
        tokio::spawn(ask(address, mib * 1024 * 1024 / chunk_size)).await.unwrap()
    })
}

async fn serve(mut provider: Swarm<Wire>, answer: Vec<u8>) {
    loop {
        if let SwarmEvent::Behaviour(request_response::Event::Message {
            message: Message::Request { channel, .. },
            ..
        }) = provider.select_next_some().await
        {
            provider.behaviour_mut().send_response(channel, answer.clone()).unwrap();
        }
    }
}

async fn ask(address: Multiaddr, count: u64) -> Duration {
    let mut consumer = swarm();
    consumer.dial(address).unwrap();
    let peer = loop {
        if let SwarmEvent::ConnectionEstablished { peer_id, .. } = consumer.select_next_some().await {
            break peer_id;
        }
    };
    let begun = Instant::now();
    let mut answered = 0;
    consumer.behaviour_mut().send_request(&peer, b"chunk".to_vec());
    while answered < count {
        match consumer.select_next_some().await {
            SwarmEvent::Behaviour(request_response::Event::Message { message: Message::Response { .. }, .. }) => {
                answered += 1;
                consumer.behaviour_mut().send_request(&peer, b"chunk".to_vec());
            }
            SwarmEvent::Behaviour(request_response::Event::OutboundFailure { error, .. }) => panic!("{error}"),
            _ => {}
        }
    }
    begun.elapsed()
}

fn swarm() -> Swarm<Wire> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::new(), tls::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| {
            Wire::with_codec(Codec, [(PROTOCOL, ProtocolSupport::Full)], request_response::Config::default())
        })
        .unwrap()
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(Duration::from_secs(60))
                .with_substream_upgrade_protocol_override(Version::V1Lazy)
        })
        .build()
}

#[derive(Clone)]
struct Codec;

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        all(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        all(io).await
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, request: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&request).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, response: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&response).await
    }
}

async fn all<T: AsyncRead + Unpin>(io: &mut T) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io.read_to_end(&mut bytes).await?;
    Ok(bytes)
}
