//! Decides which configured addresses the node listens on, and when enough of them work for it to be ready.
//! [`Listeners`] is pure: it uses no socket and no clock.
//!
//! A listener on all interfaces announces many addresses. It announces none if no interface has an address of its
//! family, for instance where IPv6 is switched off. So this module counts listeners, not the addresses that they
//! announce.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Instant,
};

use libp2p::{Multiaddr, core::transport::ListenerId, multiaddr::Protocol};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType, sockopt},
};

use crate::{error::NotReady, limits::ANNOUNCING};

/// The listeners of a node.
#[derive(Debug)]
pub(crate) struct Listeners {
    live: HashMap<ListenerId, Listener>,
    /// The number of listeners that the operator configured.
    wanted: usize,
    until: Instant,
    /// Whether the warning about listeners that announce nothing was already given.
    told: bool,
}

#[derive(Debug)]
struct Listener {
    asked: Multiaddr,
    announced: bool,
}

impl Listeners {
    pub(crate) fn new(wanted: usize, now: Instant) -> Self {
        Self { live: HashMap::new(), wanted, until: now + ANNOUNCING, told: false }
    }

    /// A socket is bound.
    pub(crate) fn bound(&mut self, id: ListenerId, asked: Multiaddr) {
        self.live.insert(id, Listener { asked, announced: false });
    }

    /// The listener has an address that others can use.
    pub(crate) fn announced(&mut self, id: ListenerId) {
        if let Some(listener) = self.live.get_mut(&id) {
            listener.announced = true;
        }
    }

    /// The listener was closed. Returns the address that it was to listen on.
    pub(crate) fn closed(&mut self, id: ListenerId) -> Option<Multiaddr> {
        self.live.remove(&id).map(|listener| listener.asked)
    }

    /// Whether this node listens, or why not.
    pub(crate) fn ready(&self, now: Instant) -> Result<(), NotReady> {
        if self.wanted > 0 && self.live.is_empty() {
            return Err(NotReady::NoListener);
        }
        match self.silent().next() {
            Some(asked) if now < self.until => Err(NotReady::NoAddress { listener: asked.clone() }),
            _ => Ok(()),
        }
    }

    /// When [`Self::ready`] must be asked again even if nothing happens.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        Some(self.until).filter(|_| !self.told && self.silent().next().is_some())
    }

    /// Listeners that announced nothing within their time. Each is returned once.
    pub(crate) fn untold(&mut self, now: Instant) -> Vec<Multiaddr> {
        if self.told || now < self.until {
            return Vec::new();
        }
        self.told = true;
        self.silent().cloned().collect()
    }

    fn silent(&self) -> impl Iterator<Item = &Multiaddr> {
        self.live.values().filter(|listener| !listener.announced).map(|listener| &listener.asked)
    }
}

/// Whether this machine does not have the address at all: the family is switched off, or no interface has the address.
/// This is no mistake if the configuration names other addresses as well. The transports' own errors do not tell this
/// in a form that a program can read.
pub(crate) fn is_absent(address: &Multiaddr) -> bool {
    let ip: IpAddr = match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return false,
    };
    let absent = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL, Errno::PROTONOSUPPORT].map(Errno::raw_os_error);
    let refused = UdpSocket::bind((ip, 0)).err().and_then(|error| error.raw_os_error());
    refused.is_some_and(|code| absent.contains(&code))
}

/// Whether another program listens on the address. libp2p's TCP sockets have `SO_REUSEPORT`, so with them a second node on
/// the same port would start, and each would get a part of the connections that are meant for the other.
pub(crate) fn is_taken(address: &Multiaddr) -> bool {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return false,
    };
    let Some(Protocol::Tcp(port @ 1..)) = parts.next() else { return false };
    bind_alone(SocketAddr::new(ip, port)) == Err(Errno::ADDRINUSE)
}

/// Binds exclusively, as a server does that shares its port with nobody, and closes the socket again.
fn bind_alone(address: SocketAddr) -> rustix::io::Result<()> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    // Connections of a process that has ended may still hold the port, but they are not listeners.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn every_listener_is_waited_for_and_none_counts_twice() {
        let now = Instant::now();
        let mut listeners = Listeners::new(2, now);
        let (tcp, quic) = (ListenerId::next(), ListenerId::next());
        listeners.bound(tcp, address("/ip4/0.0.0.0/tcp/4001"));
        listeners.bound(quic, address("/ip4/0.0.0.0/udp/4001/quic-v1"));
        for _ in 0..3 {
            listeners.announced(tcp);
            let reason = listeners.ready(now).unwrap_err();
            assert!(
                reason.to_string().contains("quic-v1"),
                "three addresses of one listener are not two listeners: {reason}"
            );
        }
        listeners.announced(quic);
        assert_eq!((listeners.ready(now), listeners.next_look()), (Ok(()), None));
    }

    #[test]
    fn one_without_addresses_is_waited_for_a_moment_and_told_of_once() {
        let now = Instant::now();
        let mut listeners = Listeners::new(2, now);
        let (four, six) = (ListenerId::next(), ListenerId::next());
        listeners.bound(four, address("/ip4/0.0.0.0/tcp/4001"));
        listeners.bound(six, address("/ip6/::/tcp/4001"));
        listeners.announced(four);
        assert!(listeners.ready(now).is_err() && listeners.untold(now).is_empty());
        let later = listeners.next_look().unwrap();
        assert_eq!(later, now + ANNOUNCING);
        assert_eq!(listeners.ready(later), Ok(()));
        assert_eq!(listeners.untold(later), [address("/ip6/::/tcp/4001")]);
        assert_eq!((listeners.untold(later).len(), listeners.next_look()), (0, None));
    }

    #[test]
    fn a_port_is_taken_while_somebody_listens_on_it() {
        let at = |ip: &str, port: u16| address(&format!("{ip}/tcp/{port}"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(is_taken(&at("/ip4/127.0.0.1", port)) && is_taken(&at("/ip4/0.0.0.0", port)));
        // Another family, another address, port 0 and a UDP port do not conflict with it.
        for free in [at("/ip6/::", port), at("/ip4/127.0.0.2", port), at("/ip4/127.0.0.1", 0)] {
            assert!(!is_taken(&free), "{free}");
        }
        assert!(!is_taken(&address(&format!("/ip4/127.0.0.1/udp/{port}/quic-v1"))));
        // A connection that outlives its listener does not hold the port.
        let connection = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        drop((listener, accepted));
        assert!(!is_taken(&at("/ip4/127.0.0.1", port)));
        drop(connection);
    }

    #[test]
    fn a_node_is_ready_as_long_as_one_is_left() {
        let now = Instant::now();
        let mut listeners = Listeners::new(2, now);
        let (one, other) = (ListenerId::next(), ListenerId::next());
        listeners.bound(one, address("/ip4/127.0.0.1/tcp/1"));
        listeners.bound(other, address("/ip4/127.0.0.1/tcp/2"));
        listeners.announced(one);
        listeners.announced(other);
        assert_eq!(listeners.closed(one), Some(address("/ip4/127.0.0.1/tcp/1")));
        assert_eq!(listeners.ready(now), Ok(()));
        listeners.closed(other);
        assert!(listeners.ready(now).is_err());
        assert_eq!(Listeners::new(0, now).ready(now), Ok(()), "a node that is asked for none is ready");
    }

    #[test]
    fn what_this_machine_has_not_is_told_from_what_it_has() {
        // From a block that is reserved for documentation.
        assert!(is_absent(&address("/ip4/192.0.2.1/tcp/1")) && is_absent(&address("/ip6/2001:db8::1/udp/1/quic-v1")));
        assert!(!is_absent(&address("/ip4/127.0.0.1/tcp/1")) && !is_absent(&address("/ip4/0.0.0.0/tcp/1")));
        assert!(!is_absent(&address("/memory/7")));
    }
}
