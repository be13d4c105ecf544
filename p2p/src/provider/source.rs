//! The source of a peer, by which limits are shared fairly.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use serde::{Deserialize, Serialize};

/// An IPv4 address, or the /64 that an IPv6 address is in: this is what one subscriber has, while keys can be made
/// freely.
///
/// A peer that is not reached by an IP address is a source of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    V4(Ipv4Addr),
    /// The first 64 bits.
    V6(u64),
    #[serde(with = "peer_text")]
    Peer(PeerId),
    Unknown,
}

mod peer_text {
    use libp2p::PeerId;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(peer: &PeerId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(peer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PeerId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Source {
    /// The source of a peer that is connected at this address.
    #[must_use]
    pub fn of_peer(address: &Multiaddr, peer: PeerId) -> Self {
        ip_of(address).map_or(Self(Kind::Peer(peer)), Self::of_ip)
    }

    /// The source of somebody at this address whose peer id is not known yet; all without an IP address are one source.
    #[must_use]
    pub fn of_address(address: &Multiaddr) -> Self {
        ip_of(address).map_or(Self(Kind::Unknown), Self::of_ip)
    }

    /// The source of an IP address. An IPv4 address that is written as an IPv6 one is the same source.
    #[must_use]
    pub fn of_ip(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(Kind::V4(address)),
            IpAddr::V6(address) => Self(Kind::V6((address.to_bits() >> 64) as u64)),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::V4(address) => address.fmt(f),
            Kind::V6(prefix) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(prefix) << 64)),
            Kind::Peer(peer) => peer.fmt(f),
            Kind::Unknown => f.write_str("an unknown address"),
        }
    }
}

fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(address) => Some(address.into()),
        Protocol::Ip6(address) => Some(address.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Source {
        Source::of_address(&address.parse().unwrap())
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_a_64_of_ipv6() {
        assert_eq!(source("/ip4/192.0.2.7/tcp/1"), source("/ip4/192.0.2.7/udp/2/quic-v1"));
        assert_eq!(source("/ip6/::ffff:192.0.2.7/tcp/1"), source("/ip4/192.0.2.7/tcp/1"));
        assert_ne!(source("/ip4/192.0.2.7/tcp/1"), source("/ip4/192.0.2.8/tcp/1"));
        assert_eq!(source("/ip6/2001:db8:0:1::1/tcp/1"), source("/ip6/2001:db8:0:1:ffff:ffff:ffff:ffff/tcp/1"));
        assert_ne!(source("/ip6/2001:db8:0:1::1/tcp/1"), source("/ip6/2001:db8:0:2::1/tcp/1"));
        assert_eq!(source("/ip4/192.0.2.7/tcp/1").to_string(), "192.0.2.7");
        assert_eq!(source("/ip6/2001:db8:0:1::1/tcp/1").to_string(), "2001:db8:0:1::/64");
    }

    #[test]
    fn who_has_no_ip_address_is_a_source_of_its_own() {
        let (one, other) = (PeerId::random(), PeerId::random());
        let name = "/dns4/node.example/tcp/1".parse().unwrap();
        assert_ne!(Source::of_peer(&name, one), Source::of_peer(&name, other));
        assert_eq!(Source::of_peer(&name, one).to_string(), one.to_string());
        for source in [Source::of_peer(&name, one), source("/ip6/2001:db8::1/tcp/1"), source("/memory/1")] {
            let text = serde_json::to_string(&source).unwrap();
            assert_eq!(serde_json::from_str::<Source>(&text).unwrap(), source, "{text}");
        }
        let address = "/ip4/192.0.2.7/tcp/1".parse().unwrap();
        assert_eq!(Source::of_peer(&address, one), Source::of_peer(&address, other));
    }
}
