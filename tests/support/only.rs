//! A TCP transport that reaches one port only.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, Transport,
    core::transport::{DialOpts, ListenerId, TransportError, TransportEvent},
    tcp::tokio::TcpStream,
};

use super::bound::socket_address;

/// TCP that reaches one port only, like a network with a single route.
pub struct Only {
    port: u16,
    tcp: libp2p::tcp::tokio::Transport,
}

impl Only {
    /// Dials `port` and nothing else.
    pub fn new(port: u16) -> Self {
        Self { port, tcp: libp2p::tcp::tokio::Transport::default() }
    }
}

impl Transport for Only {
    type Output = TcpStream;
    type Error = io::Error;
    type ListenerUpgrade = <libp2p::tcp::tokio::Transport as Transport>::ListenerUpgrade;
    type Dial = <libp2p::tcp::tokio::Transport as Transport>::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.tcp.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.tcp.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        match socket_address(&address) {
            Some(to) if to.port() == self.port => self.tcp.dial(address, options),
            _ => Err(TransportError::MultiaddrNotSupported(address)),
        }
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.tcp).poll(cx)
    }
}
