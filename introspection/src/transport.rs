//! Wraps the connections of libp2p transports with the counting wrapper.
//!
//! [`observe`] accepts any authenticated, multiplexed transport. Some facts are not visible from outside, such as the
//! own address of a dialled TCP connection, or which of several encryptions was chosen. The inner parts of the
//! transport note these facts: while the future of one connection is polled, they write into that connection's notes.
//! [`tcp`], [`quic`] and [`transport`] are complete transports of this kind.
//!
//! # Wiring
//! ```no_run
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use libp2p::{PeerId, SwarmBuilder, identity::Keypair, ping};
//! use rpp_introspection::{Registry, transport};
//!
//! let keypair = Keypair::generate_ed25519();
//! let registry = Registry::new(&keypair.public().to_peer_id(), env!("CARGO_PKG_VERSION"));
//! let swarm = SwarmBuilder::with_existing_identity(keypair)
//!     .with_tokio()
//!     .with_other_transport(|keypair| transport::tcp(keypair, &registry))?
//!     .with_other_transport(|keypair| transport::quic(keypair, &registry))?
//!     .with_dns()?
//!     .with_behaviour(|_| ping::Behaviour::default())?
//!     .build();
//! # drop(swarm);
//! # Ok(())
//! # }
//! ```

mod notes;
mod security;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use libp2p::{
    Multiaddr, PeerId, Transport,
    core::{
        ConnectedPoint,
        muxing::{StreamMuxer, StreamMuxerBox},
        transport::{Boxed, DialOpts, ListenerId, OrTransport, TransportError, TransportEvent},
        upgrade::Version,
    },
    identity::Keypair,
    multiaddr::Protocol,
};
use rpp_p2p::transport::Yamux;

use crate::{
    muxer::Counting,
    registry::{NewConnection, Registry, role_of, without_peer},
};
use notes::Notes;

pub use notes::{note_encryption, note_local_address};

/// The names for the connections of a transport, where the connection itself does not note them.
#[derive(Clone, Debug)]
pub struct Names {
    transport: String,
    multiplexer: String,
    encryption: String,
}

impl Names {
    /// The transport (`tcp`, `quic-v1`), the multiplexer and the encryption.
    #[must_use]
    pub fn new(transport: &str, multiplexer: &str, encryption: &str) -> Self {
        Self { transport: transport.to_owned(), multiplexer: multiplexer.to_owned(), encryption: encryption.to_owned() }
    }
}

/// Counts the bytes of all connections of `transport`.
pub fn observe<T>(transport: T, registry: &Registry, names: Names) -> Observed<T> {
    Observed { transport, registry: registry.clone(), names: Arc::new(names) }
}

/// The result of building a transport.
pub type TransportResult<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// TCP (no delay) with TLS 1.3 or Noise and yamux.
///
/// # Errors
/// The TLS certificate of this identity cannot be made.
pub fn tcp(
    keypair: &Keypair,
    registry: &Registry,
) -> TransportResult<
    impl Transport<
        Output = (PeerId, impl StreamMuxer<Substream: Send + 'static, Error: Send + Sync + 'static> + Send + use<>),
        Error: Send + Sync + 'static,
        Dial: Send,
        ListenerUpgrade: Send,
    > + Send
    + Unpin
    + use<>,
> {
    let socket = libp2p::tcp::tokio::Transport::new(libp2p::tcp::Config::default().nodelay(true)).map(
        |stream: libp2p::tcp::tokio::TcpStream, _| {
            if let Some(address) = stream.0.local_addr().ok().map(socket_address) {
                note_local_address(&address);
            }
            stream
        },
    );
    let transport =
        socket.upgrade(Version::V1Lazy).authenticate(security::Secure::new(keypair)?).multiplex(Yamux::default());
    Ok(observe(transport, registry, Names::new("tcp", "/yamux/1.0.0", "")))
}

/// QUIC version 1.
pub fn quic(
    keypair: &Keypair,
    registry: &Registry,
) -> impl Transport<
    Output = (PeerId, impl StreamMuxer<Substream: Send + 'static, Error: Send + Sync + 'static> + Send + use<>),
    Error: Send + Sync + 'static,
    Dial: Send,
    ListenerUpgrade: Send,
> + Send
+ Unpin
+ use<> {
    let transport = libp2p::quic::tokio::Transport::new(libp2p::quic::Config::new(keypair));
    observe(transport, registry, Names::new("quic-v1", "quic-v1", "/tls/1.0.0"))
}

/// [`tcp`] and [`quic`] combined. It resolves no names, and the upgrade has no timeout: `SwarmBuilder` adds both.
///
/// # Errors
/// The TLS certificate of this identity cannot be made.
pub fn transport(keypair: &Keypair, registry: &Registry) -> TransportResult<Boxed<(PeerId, StreamMuxerBox)>> {
    let tcp = tcp(keypair, registry)?.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let quic = quic(keypair, registry).map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    Ok(OrTransport::new(tcp, quic).map(|either, _| either.into_inner()).boxed())
}

fn socket_address(address: std::net::SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Tcp(address.port()))
}

/// See [`observe`].
#[derive(Debug)]
pub struct Observed<T> {
    transport: T,
    registry: Registry,
    names: Arc<Names>,
}

impl<T> Observed<T> {
    fn watch<F>(&self, future: F, endpoint: ConnectedPoint) -> Watched<F> {
        Watched {
            future: Box::pin(future),
            notes: Arc::new(Notes::new(self.registry.now_ms())),
            endpoint,
            registry: self.registry.clone(),
            names: Arc::clone(&self.names),
        }
    }
}

impl<T, M> Transport for Observed<T>
where
    T: Transport<Output = (PeerId, M)> + Unpin,
    M: StreamMuxer + Unpin,
    M::Substream: Unpin,
{
    type Output = (PeerId, Counting<M>);
    type Error = T::Error;
    type ListenerUpgrade = Watched<T::ListenerUpgrade>;
    type Dial = Watched<T::Dial>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<T::Error>> {
        self.transport.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.transport.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<T::Error>> {
        let dial = self.transport.dial(address.clone(), options)?;
        let endpoint = ConnectedPoint::Dialer { address, role_override: options.role, port_use: options.port_use };
        Ok(self.watch(dial, endpoint))
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        let this = self.get_mut();
        let event = ready!(Pin::new(&mut this.transport).poll(cx));
        Poll::Ready(match event {
            TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr } => {
                let endpoint =
                    ConnectedPoint::Listener { local_addr: local_addr.clone(), send_back_addr: send_back_addr.clone() };
                let upgrade = this.watch(upgrade, endpoint);
                TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr }
            }
            TransportEvent::NewAddress { listener_id, listen_addr } => {
                TransportEvent::NewAddress { listener_id, listen_addr }
            }
            TransportEvent::AddressExpired { listener_id, listen_addr } => {
                TransportEvent::AddressExpired { listener_id, listen_addr }
            }
            TransportEvent::ListenerClosed { listener_id, reason } => {
                TransportEvent::ListenerClosed { listener_id, reason }
            }
            TransportEvent::ListenerError { listener_id, error } => {
                TransportEvent::ListenerError { listener_id, error }
            }
        })
    }
}

/// A connection during its upgrade.
#[derive(Debug)]
pub struct Watched<F> {
    future: Pin<Box<F>>,
    notes: Arc<Notes>,
    endpoint: ConnectedPoint,
    registry: Registry,
    names: Arc<Names>,
}

impl<F, M, E> Future for Watched<F>
where
    F: Future<Output = Result<(PeerId, M), E>>,
{
    type Output = Result<(PeerId, Counting<M>), E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (peer, muxer) = ready!(this.notes.while_polling(|| this.future.as_mut().poll(cx)))?;
        let connection = this.registry.connection_opened(this.describe(peer));
        Poll::Ready(Ok((peer, Counting::new(muxer, connection))))
    }
}

impl<F> Watched<F> {
    fn describe(&self, peer: PeerId) -> NewConnection {
        let noted = self.notes.read();
        let (local, remote) = match &self.endpoint {
            ConnectedPoint::Dialer { address, .. } => (noted.local_address, address),
            ConnectedPoint::Listener { local_addr, send_back_addr } => (Some(local_addr.to_string()), send_back_addr),
        };
        NewConnection {
            peer,
            role: role_of(&self.endpoint),
            transport: self.names.transport.clone(),
            local,
            remote: Some(without_peer(remote).to_string()),
            opened_ms: noted.opened_ms,
            multiplexer: self.names.multiplexer.clone(),
            encryption: noted.encryption.unwrap_or_else(|| self.names.encryption.clone()),
        }
    }
}
