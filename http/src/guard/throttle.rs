//! Counts wrong tokens for each address. Pure: time is an argument.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use crate::address::network_of;
use crate::limits::{MAX_WRONG_ADDRESSES, MAX_WRONG_TOKENS, WRONG_TOKENS_WINDOW};

/// What is done about a wrong token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Refused,
    /// It is refused until this time has passed.
    Throttled(Duration),
}

/// The times of each address's newest wrong tokens, at most [`MAX_WRONG_TOKENS`].
#[derive(Debug, Default)]
pub(crate) struct WrongTokens {
    seen: HashMap<IpAddr, VecDeque<Instant>>,
}

impl WrongTokens {
    /// Counts one wrong token, unless it is throttled.
    pub(crate) fn note(&mut self, address: IpAddr, now: Instant) -> Verdict {
        let key = self.key(address, now);
        let times = self.seen.entry(key).or_default();
        while times.front().is_some_and(|first| now.saturating_duration_since(*first) >= WRONG_TOKENS_WINDOW) {
            times.pop_front();
        }
        match times.front() {
            Some(first) if times.len() >= MAX_WRONG_TOKENS => {
                Verdict::Throttled(WRONG_TOKENS_WINDOW.saturating_sub(now.saturating_duration_since(*first)))
            }
            _ => {
                times.push_back(now);
                Verdict::Refused
            }
        }
    }

    fn key(&mut self, address: IpAddr, now: Instant) -> IpAddr {
        let key = network_of(address);
        if self.seen.contains_key(&key) || self.seen.len() < MAX_WRONG_ADDRESSES {
            return key;
        }
        self.seen.retain(|_, times| {
            times.back().is_some_and(|last| now.saturating_duration_since(*last) < WRONG_TOKENS_WINDOW)
        });
        if self.seen.len() < MAX_WRONG_ADDRESSES { key } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn address(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    #[test]
    fn the_twenty_first_within_a_minute_is_throttled() {
        let (mut wrong, start) = (WrongTokens::default(), Instant::now());
        for n in 0..20 {
            assert_eq!(wrong.note(address(1), start + Duration::from_secs(n)), Verdict::Refused);
        }
        let later = start + Duration::from_secs(30);
        assert_eq!(wrong.note(address(1), later), Verdict::Throttled(Duration::from_secs(30)));
        assert_eq!(wrong.note(address(2), later), Verdict::Refused, "another address is not concerned");
        // The first one leaves the window after a minute, the second one a second later.
        let minute = start + WRONG_TOKENS_WINDOW;
        assert_eq!(wrong.note(address(1), minute), Verdict::Refused);
        assert_eq!(wrong.note(address(1), minute), Verdict::Throttled(Duration::from_secs(1)));
        assert_eq!(wrong.note(address(1), minute + Duration::from_secs(1)), Verdict::Refused);
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let (mut wrong, now) = (WrongTokens::default(), Instant::now());
        for n in 0..20_u16 {
            assert_eq!(wrong.note(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, n, 0, 0, 1).into(), now), Verdict::Refused);
        }
        let other = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 9, 9, 9, 9);
        assert!(matches!(wrong.note(other.into(), now), Verdict::Throttled(_)));
        let mapped: IpAddr = Ipv4Addr::LOCALHOST.to_ipv6_mapped().into();
        for _ in 0..20 {
            assert_eq!(wrong.note(mapped, now), Verdict::Refused);
        }
        assert!(matches!(wrong.note(Ipv4Addr::LOCALHOST.into(), now), Verdict::Throttled(_)));
    }

    #[test]
    fn the_table_is_bounded_and_frees_itself() {
        let (mut wrong, now) = (WrongTokens::default(), Instant::now());
        let many = MAX_WRONG_ADDRESSES as u32 * 3;
        for n in 0..many {
            wrong.note(address(n), now);
        }
        assert!(wrong.seen.len() <= MAX_WRONG_ADDRESSES + 1);
        assert!(matches!(wrong.note(address(many), now), Verdict::Throttled(_)), "those without a place share a count");
        assert_eq!(wrong.note(address(many), now + WRONG_TOKENS_WINDOW), Verdict::Refused);
        assert!(wrong.seen.len() <= 2, "old rows went");
    }
}
