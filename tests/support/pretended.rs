//! TCP on loopback that pretends to be a network of machines with addresses of any kind.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, Transport,
    core::transport::{DialOpts, ListenerId, TransportError, TransportEvent},
    multiaddr::Protocol,
    tcp::tokio::TcpStream,
};

/// The loopback addresses of the pretended network's machines, and the addresses that were dialled in it.
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    places: HashMap<Multiaddr, Multiaddr>,
    dialled: Vec<Multiaddr>,
}

impl Network {
    /// The addresses that were dialled from here, without peer ids. No connection has left this machine.
    pub fn dialled(&self) -> Vec<Multiaddr> {
        self.0.lock().unwrap().dialled.clone()
    }

    /// Makes the listeners of `other` reachable from here.
    pub fn joins(&self, other: &Self) {
        let places = other.0.lock().unwrap().places.clone();
        self.0.lock().unwrap().places.extend(places);
    }
}

/// A machine's transport. It listens on loopback, reports another address, and dials only the machines that
/// [`Network::joins`] named.
pub struct Pretended {
    network: Network,
    listeners: HashMap<ListenerId, Multiaddr>,
    tcp: libp2p::tcp::tokio::Transport,
}

impl Pretended {
    pub fn new(network: Network) -> Self {
        Self { network, listeners: HashMap::new(), tcp: libp2p::tcp::tokio::Transport::default() }
    }
}

impl Transport for Pretended {
    type Output = TcpStream;
    type Error = io::Error;
    type ListenerUpgrade = <libp2p::tcp::tokio::Transport as Transport>::ListenerUpgrade;
    type Dial = <libp2p::tcp::tokio::Transport as Transport>::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.listeners.insert(id, address);
        self.tcp.listen_on(id, "/ip4/127.0.0.1/tcp/0".parse().unwrap())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.tcp.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let address: Multiaddr = address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect();
        let place = {
            let mut network = self.network.0.lock().unwrap();
            network.dialled.push(address.clone());
            network.places.get(&address).cloned()
        };
        match place {
            Some(place) => self.tcp.dial(place, options),
            None => Err(TransportError::MultiaddrNotSupported(address)),
        }
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.tcp).poll(cx).map(|event| match event {
            TransportEvent::NewAddress { listener_id, listen_addr } => {
                let pretended = self.listeners[&listener_id].clone();
                self.network.0.lock().unwrap().places.insert(pretended.clone(), listen_addr);
                TransportEvent::NewAddress { listener_id, listen_addr: pretended }
            }
            other => other,
        })
    }
}
