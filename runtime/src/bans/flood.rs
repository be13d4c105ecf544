//! Peers that send too many requests that are refused.

use std::{collections::HashMap, time::Instant};

use libp2p::PeerId;
use rpp_p2p::{Evidence, Offence};

use crate::limits::{FLOOD_WINDOW, MAX_FLOOD_PEERS, MAX_REFUSED_REQUESTS};

/// Refused requests of each peer within the last minute, counted from the first one on.
#[derive(Debug, Default)]
pub(super) struct Floods {
    peers: HashMap<PeerId, FloodWindow>,
}

#[derive(Clone, Copy, Debug)]
struct FloodWindow {
    since: Instant,
    refused: u32,
}

impl Floods {
    /// A request of `peer` was refused. `Some`: that was one too many.
    pub(super) fn refused(&mut self, now: Instant, peer: PeerId) -> Option<Evidence> {
        let is_over = |window: &FloodWindow| now.saturating_duration_since(window.since) >= FLOOD_WINDOW;
        if self.peers.len() >= MAX_FLOOD_PEERS && !self.peers.contains_key(&peer) {
            self.peers.retain(|_, window| !is_over(window));
            if self.peers.len() >= MAX_FLOOD_PEERS {
                // There are more peers at once than connections: the one with the fewest refusals is not the flood.
                let least = self.peers.iter().min_by_key(|(_, window)| window.refused).map(|(peer, _)| *peer);
                least.and_then(|least| self.peers.remove(&least));
            }
        }
        let window = self.peers.entry(peer).or_insert(FloodWindow { since: now, refused: 0 });
        if is_over(window) {
            *window = FloodWindow { since: now, refused: 0 };
        }
        window.refused += 1;
        if window.refused <= MAX_REFUSED_REQUESTS {
            return None;
        }
        self.peers.remove(&peer);
        let reason = format!(
            "more than {MAX_REFUSED_REQUESTS} of its requests were refused within {} s",
            FLOOD_WINDOW.as_secs()
        );
        Some(Evidence::new(Offence::Flood, reason))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn six_hundred_a_minute_are_borne_and_one_more_is_not() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let mut floods = Floods::default();
        for _ in 0..MAX_REFUSED_REQUESTS {
            assert_eq!(floods.refused(now, peer), None);
        }
        let late = now + FLOOD_WINDOW - Duration::from_millis(1);
        assert_eq!(floods.refused(late, peer).map(|it| it.kind), Some(Offence::Flood));
        // In the next minute, counting starts again.
        for _ in 0..MAX_REFUSED_REQUESTS {
            assert_eq!(floods.refused(late, peer), None);
        }
        assert_eq!(floods.refused(late + FLOOD_WINDOW, peer), None);
    }

    #[test]
    fn strangers_make_nothing_grow_and_hide_no_flood() {
        let (now, flood) = (Instant::now(), PeerId::random());
        let mut floods = Floods::default();
        for count in 0..MAX_REFUSED_REQUESTS {
            assert_eq!(floods.refused(now, flood), None);
            for _ in 0..if count == 2 { 3 * MAX_FLOOD_PEERS } else { 2 } {
                assert_eq!(floods.refused(now, PeerId::random()), None);
            }
        }
        assert_eq!(floods.peers.len(), MAX_FLOOD_PEERS);
        assert!(floods.refused(now, flood).is_some());
    }
}
