//! A protocol that moves many bytes over one stream, and swarms that speak it over counted transports.
#![allow(dead_code, unreachable_pub)]

use std::io;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder,
    identity::Keypair,
    ping, request_response as rr,
    swarm::{NetworkBehaviour, SwarmEvent},
};
use rpp_introspection::{Registry, transport};
use rpp_p2p::stream_tags;

pub const PROTOCOL: &str = "/test/bulk/1";

/// Requests this many bytes. The answer is how many arrived.
#[derive(Clone, Default)]
pub struct Bulk;

impl rr::Codec for Bulk {
    type Protocol = StreamProtocol;
    type Request = u64;
    type Response = u64;

    async fn read_request<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<u64> {
        let mut bytes = [0; 8];
        io.read_exact(&mut bytes).await?;
        Ok(u64::from_be_bytes(bytes))
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<u64> {
        let mut buffer = vec![0; 64 * 1024];
        let mut total = 0;
        loop {
            match io.read(&mut buffer).await? {
                0 => return Ok(total),
                read => total += read as u64,
            }
        }
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: u64,
    ) -> io::Result<()> {
        stream_tags::scope(&["session=7".to_owned()].into(), io.write_all(&bytes.to_be_bytes())).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: u64,
    ) -> io::Result<()> {
        let block = vec![7; 64 * 1024];
        let mut left = bytes;
        while left > 0 {
            let part = left.min(block.len() as u64) as usize;
            io.write_all(&block[..part]).await?;
            left -= part as u64;
        }
        Ok(())
    }
}

#[derive(NetworkBehaviour)]
pub struct Behaviour {
    pub bulk: rr::Behaviour<Bulk>,
    pub ping: ping::Behaviour,
}

impl Behaviour {
    pub fn new() -> Self {
        let protocol = (StreamProtocol::new(PROTOCOL), rr::ProtocolSupport::Full);
        let config = rr::Config::default().with_request_timeout(std::time::Duration::from_secs(120));
        Self {
            bulk: rr::Behaviour::with_codec(Bulk, [protocol], config),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(std::time::Duration::from_millis(100))),
        }
    }
}

/// A node, wired as the documentation of `transport` says.
pub struct Node {
    pub swarm: Swarm<Behaviour>,
    pub registry: Registry,
}

impl Node {
    pub fn new() -> Self {
        let keypair = Keypair::generate_ed25519();
        let registry = Registry::new(&keypair.public().to_peer_id(), "0");
        let swarm = SwarmBuilder::with_existing_identity(keypair)
            .with_tokio()
            .with_other_transport(|keypair| transport::tcp(keypair, &registry))
            .unwrap()
            .with_other_transport(|keypair| transport::quic(keypair, &registry))
            .unwrap()
            .with_dns()
            .unwrap()
            .with_behaviour(|_| Behaviour::new())
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(std::time::Duration::from_secs(60)))
            .build();
        Self { swarm, registry }
    }

    pub fn peer(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    pub async fn listen(&mut self, address: &str) -> Multiaddr {
        self.swarm.listen_on(address.parse().unwrap()).unwrap();
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = self.next().await {
                return address;
            }
        }
    }

    /// The next event, which it also reports to the registry.
    pub async fn next(&mut self) -> SwarmEvent<BehaviourEvent> {
        let event = self.swarm.select_next_some().await;
        self.registry.handle_swarm_event(&event);
        if let SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { peer, connection, result: Ok(rtt) })) = &event {
            self.registry.latency(peer, *connection, *rtt);
        }
        event
    }

    /// Serves requests for as long as it is polled.
    pub async fn serve(&mut self) {
        loop {
            if let SwarmEvent::Behaviour(BehaviourEvent::Bulk(rr::Event::Message {
                message: rr::Message::Request { request, channel, .. },
                ..
            })) = self.next().await
            {
                self.swarm.behaviour_mut().bulk.send_response(channel, request).unwrap();
            }
        }
    }

    /// Asks for bytes and waits until they came.
    pub async fn fetch(&mut self, from: PeerId, bytes: u64) {
        self.swarm.behaviour_mut().bulk.send_request(&from, bytes);
        loop {
            match self.next().await {
                SwarmEvent::Behaviour(BehaviourEvent::Bulk(rr::Event::Message {
                    message: rr::Message::Response { response, .. },
                    ..
                })) => {
                    assert_eq!(response, bytes);
                    return;
                }
                SwarmEvent::Behaviour(BehaviourEvent::Bulk(rr::Event::OutboundFailure { error, .. })) => {
                    panic!("{error}")
                }
                _ => {}
            }
        }
    }
}
