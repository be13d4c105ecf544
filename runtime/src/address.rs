//! Addresses as operators write them. Checks what a transport of this node can dial or listen on, and reads peer ids in
//! both of their forms.
//!
//! | to dial | to listen on |
//! |---|---|
//! | `/ip4`, `/ip6`, `/dns`, `/dns4` or `/dns6`, then `/tcp/PORT` or `/udp/PORT/quic-v1` | the same after `/ip4` or `/ip6` |
//! | no `/ip6` that is link-local: it would need a zone | the same |
//! | `/dnsaddr/NAME`, alone or with one of these transports | |
//!
//! An address to dial may end in `/p2p/PEER`. Any other part is refused by name, because dialling it would fail
//! forever.

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use serde::{Deserialize, Deserializer, de};

/// Why an address is useless here. Whoever wrote it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The text is not a multiaddr.
    #[error("it is no multiaddr")]
    Unreadable,
    /// It does not end in a peer id.
    #[error("it does not end in /p2p/<peer id>")]
    NoPeer,
    /// A part that no transport here supports, or not at this place.
    #[error(
        "no transport of this node can dial {part}: it speaks /tcp/PORT and /udp/PORT/quic-v1 after an IP address or a DNS name"
    )]
    Part {
        /// The part as it is written, escaped.
        part: String,
    },
    /// A part that this node cannot listen on, or not at this place.
    #[error("this node cannot listen on {part}: it listens on /tcp/PORT and /udp/PORT/quic-v1 after /ip4 or /ip6")]
    NotToListenOn {
        /// The part as it is written, escaped.
        part: String,
    },
    /// The system needs the interface as well, which no address here can name.
    #[error(
        "{address} is link-local: it means nothing without an interface, which no address here can name; use another address"
    )]
    LinkLocal {
        /// The part of the address.
        address: std::net::Ipv6Addr,
    },
    /// The address ends before a transport.
    #[error("/tcp/PORT or /udp/PORT/quic-v1 is missing in it")]
    NoTransport,
}

/// The longest text that is parsed as a peer id.
const MAX_PEER_TEXT: usize = 256;
/// The first bytes of a CID of version 1 with a libp2p key.
const CID_OF_KEY: [u8; 2] = [0x01, 0x72];

/// Parses a peer id: `12D3...` or `Qm...`, or the same as a CID, `bafz...`.
#[must_use]
pub fn peer_id(text: &str) -> Option<PeerId> {
    text.parse().ok().or_else(|| {
        let (_, bytes) = multibase::decode(Some(text).filter(|text| text.len() <= MAX_PEER_TEXT)?).ok()?;
        PeerId::from_bytes(bytes.strip_prefix(&CID_OF_KEY)?).ok()
    })
}

/// Parses a multiaddr, whose peer ids may be CIDs.
///
/// # Errors
/// [`AddressError::Unreadable`].
pub fn multiaddr(text: &str) -> Result<Multiaddr, AddressError> {
    let mut parts: Vec<_> = text.split('/').map(std::borrow::Cow::from).collect();
    for at in 1..parts.len() {
        if matches!(parts[at - 1].as_ref(), "p2p" | "ipfs")
            && let Some(peer) = peer_id(&parts[at])
        {
            parts[at - 1] = "p2p".into();
            parts[at] = peer.to_string().into();
        }
    }
    parts.join("/").parse().map_err(|_| AddressError::Unreadable)
}

/// Whether a transport of this node can dial the address, with or without a peer id at its end.
///
/// # Errors
/// Names the first part that cannot be dialled.
pub fn dialable(address: &Multiaddr) -> Result<(), AddressError> {
    let mut parts = address.iter();
    let mut next = parts.next().ok_or(AddressError::NoTransport)?;
    not_link_local(&next)?;
    match next {
        Protocol::Ip4(_) | Protocol::Ip6(_) | Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) => {
            next = parts.next().ok_or(AddressError::NoTransport)?;
        }
        // The resolved address has its own transport.
        Protocol::Dnsaddr(_) => match parts.next() {
            None => return Ok(()),
            Some(Protocol::P2p(peer)) => return ended(Protocol::P2p(peer), parts.next()),
            Some(after) => next = after,
        },
        other => return Err(part(&other)),
    }
    match next {
        Protocol::Tcp(port) if port > 0 => {}
        Protocol::Udp(port) if port > 0 => match parts.next().ok_or(AddressError::NoTransport)? {
            Protocol::QuicV1 => {}
            other => return Err(part(&other)),
        },
        other => return Err(part(&other)),
    }
    match parts.next() {
        None => Ok(()),
        Some(last) => ended(last, parts.next()),
    }
}

fn ended(last: Protocol<'_>, after: Option<Protocol<'_>>) -> Result<(), AddressError> {
    match (last, after) {
        (Protocol::P2p(_), None) => Ok(()),
        (Protocol::P2p(_), Some(other)) | (other, _) => Err(part(&other)),
    }
}

/// Without a zone, the system neither dials nor binds a link-local address of IPv6.
fn not_link_local(part: &Protocol<'_>) -> Result<(), AddressError> {
    match part {
        Protocol::Ip6(address) if address.is_unicast_link_local() => Err(AddressError::LinkLocal { address: *address }),
        _ => Ok(()),
    }
}

fn part(part: &Protocol<'_>) -> AddressError {
    AddressError::Part { part: rpp_p2p::text::escape(&part.to_string()) }
}

/// Parses an address of a peer: it can be dialled and names the peer.
///
/// # Errors
/// See [`AddressError`].
pub fn of_peer(text: &str) -> Result<Multiaddr, AddressError> {
    let address = multiaddr(text)?;
    let has_peer = matches!(address.iter().last(), Some(Protocol::P2p(_)));
    match dialable(&address) {
        Ok(()) if has_peer => Ok(address),
        Err(_) if has_peer && address.iter().count() == 1 => Err(AddressError::NoTransport),
        Err(error) if has_peer => Err(error),
        // If there are two mistakes, the unsupported part is reported. A peer id in a wrong place counts as a missing
        // one.
        Err(AddressError::Part { part }) if !part.starts_with("/p2p/") => Err(AddressError::Part { part }),
        Ok(()) | Err(_) => Err(AddressError::NoPeer),
    }
}

/// Parses an address to listen on.
///
/// # Errors
/// See [`AddressError`].
pub fn to_listen_on(text: &str) -> Result<Multiaddr, AddressError> {
    let address = multiaddr(text)?;
    let parts: Vec<_> = address.iter().collect();
    parts.first().map_or(Ok(()), not_link_local)?;
    match parts.as_slice() {
        [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Tcp(_)]
        | [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Udp(_), Protocol::QuicV1] => Ok(address),
        [] | [_] => Err(AddressError::NoTransport),
        _ => {
            let fits = |(at, found): &(usize, &Protocol<'_>)| match at {
                0 => matches!(found, Protocol::Ip4(_) | Protocol::Ip6(_)),
                1 => matches!(found, Protocol::Tcp(_) | Protocol::Udp(_)),
                2 => matches!((&parts[1], found), (Protocol::Udp(_), Protocol::QuicV1)),
                _ => false,
            };
            let wrong = parts.iter().enumerate().find(|found| !fits(found));
            Err(wrong.map_or(AddressError::NoTransport, |(_, found)| AddressError::NotToListenOn {
                part: rpp_p2p::text::escape(&found.to_string()),
            }))
        }
    }
}

/// A list of peers' addresses in the configuration.
pub(crate) fn peers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Multiaddr>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| multiaddr(text).map_err(de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    /// The peer id as a CID in the given base.
    fn cid(base: multibase::Base) -> String {
        let peer: PeerId = PEER.parse().unwrap();
        multibase::encode(base, [&CID_OF_KEY[..], &peer.to_bytes()].concat())
    }

    #[test]
    fn a_peer_id_is_understood_in_both_forms() {
        let peer = PEER.parse().unwrap();
        assert!(cid(multibase::Base::Base32Lower).starts_with("bafz"));
        for text in [PEER.to_owned(), cid(multibase::Base::Base32Lower), cid(multibase::Base::Base36Lower)] {
            assert_eq!(peer_id(&text), Some(peer), "{text}");
            let whole = format!("/ip4/10.0.0.7/tcp/4001/p2p/{text}");
            assert_eq!(of_peer(&whole).unwrap().to_string(), format!("/ip4/10.0.0.7/tcp/4001/p2p/{PEER}"));
        }
        // A CID of something else: dag-pb (0x70) in place of a libp2p key.
        let other = multibase::encode(multibase::Base::Base32Lower, [&[0x01, 0x70], &*peer.to_bytes()].concat());
        for text in [&*other, "", "b", "bafz", "bafzü", "/", PEER.get(1..).unwrap(), &"b".repeat(300)] {
            assert_eq!(peer_id(text), None, "{text}");
        }
    }

    #[test]
    fn what_a_transport_here_speaks_can_be_dialled() {
        for text in [
            "/ip4/10.0.0.7/tcp/4001",
            "/ip6/::1/tcp/4001",
            "/ip4/10.0.0.7/udp/4001/quic-v1",
            "/dns/node.example/tcp/4001",
            "/dns4/node.example/udp/4001/quic-v1",
            "/dns6/node.example/tcp/4001",
            "/dnsaddr/node.example",
            "/dnsaddr/node.example/tcp/4001",
        ] {
            assert_eq!(dialable(&text.parse().unwrap()), Ok(()), "{text}");
            assert!(of_peer(&format!("{text}/p2p/{PEER}")).is_ok(), "{text}");
            assert_eq!(of_peer(text), Err(AddressError::NoPeer));
        }
    }

    #[test]
    fn the_part_that_cannot_be_dialled_is_named() {
        for (text, part) in [
            ("/ip4/10.0.0.7/tcp/443/wss", "/wss"),
            ("/dns4/node.example/tcp/443/tls/ws", "/tls"),
            ("/ip4/10.0.0.7/tcp/80/ws", "/ws"),
            ("/ip4/10.0.0.7/udp/4001/quic", "/quic"),
            ("/ip4/10.0.0.7/udp/4001/webrtc-direct", "/webrtc-direct"),
            ("/ip4/10.0.0.7/udp/4001/quic-v1/webtransport", "/webtransport"),
            (&format!("/ip4/10.0.0.7/tcp/4001/p2p/{PEER}/p2p-circuit"), "/p2p-circuit"),
            (&format!("/p2p/{PEER}/p2p-circuit"), &format!("/p2p/{PEER}")),
            ("/ip4/10.0.0.7/tcp/0", "/tcp/0"),
            ("/ip4/10.0.0.7/udp/0/quic-v1", "/udp/0"),
            ("/ip6zone/eth0/ip6/fe80::1/tcp/4001", "/ip6zone/eth0"),
            ("/unix/%2Frun%2Fnode.sock", "/unix/"),
            ("/memory/7", "/memory/7"),
            ("/ip4/10.0.0.7/ip4/10.0.0.8/tcp/4001", "/ip4/10.0.0.8"),
        ] {
            for text in [text.to_owned(), format!("{text}/p2p/{PEER}")] {
                let address = text.parse().unwrap();
                let Err(AddressError::Part { part: named }) = dialable(&address) else { panic!("{text}") };
                assert!(named.starts_with(part), "{text}: {named}");
                assert!(of_peer(&text).is_err());
            }
        }
        for text in ["/ip4/10.0.0.7", "/dns4/node.example", "/ip4/10.0.0.7/udp/4001"] {
            assert!(matches!(dialable(&text.parse().unwrap()), Err(AddressError::NoTransport)), "{text}");
        }
        assert_eq!(of_peer(&format!("/p2p/{PEER}")), Err(AddressError::NoTransport));
        for text in ["/ip4/10.0.0.7/tcp/4001", "/ip4/10.0.0.7", &format!("/p2p/{PEER}/tcp/4001")] {
            assert_eq!(of_peer(text), Err(AddressError::NoPeer), "{text}");
        }
        let link_local = format!("/ip6/fe80::d8ba:33ff:fe02:6476/tcp/4001/p2p/{PEER}");
        assert!(matches!(of_peer(&link_local), Err(AddressError::LinkLocal { .. })));
        assert!(matches!(of_peer("/ip4/10.0.0.7/tcp/443/wss"), Err(AddressError::Part { .. })));
        assert_eq!(of_peer("10.0.0.7:4001"), Err(AddressError::Unreadable));
    }

    #[test]
    fn only_what_can_be_bound_is_listened_on() {
        for text in ["/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/4001", "/ip6/::/udp/0/quic-v1"] {
            assert!(to_listen_on(text).is_ok(), "{text}");
        }
        for (text, named) in [
            ("/ip4/0.0.0.0/tcp/4001/ws", "/ws"),
            ("/ip4/0.0.0.0/udp/4001/quic", "/quic"),
            ("/ip4/0.0.0.0/tcp/4001/quic-v1", "/quic-v1"),
            ("/dns4/node.example/tcp/4001", "/dns4/node.example"),
            (&format!("/ip4/0.0.0.0/tcp/4001/p2p/{PEER}"), "/p2p/"),
            ("/dns4/node.example/tcp/4001", "after /ip4 or /ip6"),
            ("/ip6/fe80::1/tcp/4001", "fe80::1 is link-local"),
            ("/memory/7", "/udp/PORT/quic-v1 is missing"),
            ("/ip4/0.0.0.0/udp/4001", "/udp/PORT/quic-v1 is missing"),
        ] {
            let error = to_listen_on(text).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
