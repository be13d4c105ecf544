//! TCP from a chosen host of 127.0.0.0/8, so that connections come from different addresses on one machine.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, Transport,
    core::transport::{DialOpts, ListenerId, TransportError, TransportEvent},
    multiaddr::Protocol,
    tcp::tokio::TcpStream,
};
use tokio::net::TcpSocket;

/// Dials from 127.0.0.x; does not listen.
#[derive(Clone, Copy)]
pub struct Bound(pub u8);

impl Bound {
    /// A plain connection.
    pub async fn connect(self, to: SocketAddr) -> io::Result<tokio::net::TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, self.0], 0).into())?;
        socket.connect(to).await
    }
}

/// The socket address in a TCP multiaddr.
pub fn socket_address(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    match (parts.next(), parts.next()) {
        (Some(Protocol::Ip4(ip)), Some(Protocol::Tcp(port))) => Some((ip, port).into()),
        _ => None,
    }
}

impl Transport for Bound {
    type Output = TcpStream;
    type Error = io::Error;
    type ListenerUpgrade = std::future::Pending<io::Result<TcpStream>>;
    type Dial = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

    fn listen_on(&mut self, _: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let Some(to) = socket_address(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let from = *self;
        Ok(Box::pin(async move { from.connect(to).await.map(TcpStream) }))
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Poll::Pending
    }
}
