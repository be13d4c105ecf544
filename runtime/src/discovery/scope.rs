//! Which addresses can be reached from the whole network. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

use libp2p::{Multiaddr, multiaddr::Protocol};

/// Whether an address can be used everywhere. A name counts as public unless its form shows that it is local.
pub(crate) fn is_public(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => is_public_ip4(ip),
        Some(Protocol::Ip6(ip)) => is_public_ip6(ip),
        Some(Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) | Protocol::Dnsaddr(name)) => {
            is_public_name(&name)
        }
        _ => false,
    }
}

/// Whether an address belongs to this machine.
pub(crate) fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    }
}

fn is_public_ip4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b); // RFC 6598
    let protocols = a == 192 && b == 0 && c == 0; // RFC 6890
    let benchmarks = a == 198 && (18..20).contains(&b); // RFC 2544
    let reserved = a == 0 || a >= 240;
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation()
        || shared
        || protocols
        || benchmarks
        || reserved)
}

fn is_public_ip6(ip: Ipv6Addr) -> bool {
    if let Some(ip) = ip.to_ipv4_mapped() {
        return is_public_ip4(ip);
    }
    let [first, second, ..] = ip.segments();
    let documentation = (first == 0x2001 && second == 0x0db8) || first == 0x3fff;
    (0x2000..0x4000).contains(&first) && !documentation
}

fn is_public_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let local = ["local", "localhost", "internal", "lan", "home.arpa"];
    let is_local = |suffix: &&str| name == **suffix || name.ends_with(&format!(".{suffix}"));
    name.contains('.') && !local.iter().any(is_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_some_can_reach_is_private() {
        let public = [
            "/ip4/8.8.8.8/tcp/4001",
            "/ip4/172.32.0.1/udp/4001/quic-v1",
            "/ip6/2a00:1450::1/tcp/4001",
            "/dns4/node.example.org/tcp/4001",
            "/dnsaddr/bootstrap.example.net.",
        ];
        let private = [
            "/ip4/127.0.0.1/tcp/4001",
            "/ip4/10.0.0.7/tcp/4001",
            "/ip4/172.16.9.9/tcp/4001",
            "/ip4/192.168.1.2/tcp/4001",
            "/ip4/169.254.1.1/tcp/4001",
            "/ip4/100.64.0.1/tcp/4001",
            "/ip4/0.0.0.0/tcp/4001",
            "/ip4/192.0.2.7/tcp/4001",
            "/ip4/224.0.0.251/udp/5353",
            "/ip4/255.255.255.255/tcp/1",
            "/ip6/::1/tcp/4001",
            "/ip6/fe80::1/tcp/4001",
            "/ip6/fd00::1/tcp/4001",
            "/ip6/2001:db8::1/tcp/4001",
            "/ip6/::ffff:10.0.0.7/tcp/4001",
            "/dns4/localhost/tcp/4001",
            "/dns/nas/tcp/4001",
            "/dns4/printer.local/tcp/4001",
            "/memory/7",
        ];
        for text in public {
            assert!(is_public(&text.parse().unwrap()), "{text}");
        }
        for text in private {
            assert!(!is_public(&text.parse().unwrap()), "{text}");
        }
    }
}
