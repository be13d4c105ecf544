//! Which addresses count as one address.

use std::net::{IpAddr, Ipv6Addr};

/// One IPv6 host has a whole /64 to choose addresses from, so a /64 counts as one.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}
