//! Which provider records of other nodes this node stores: 4,096 in all, 20 for one key, 128 of one peer; the oldest
//! are evicted. Pure.

use std::collections::{HashMap, VecDeque};

use libp2p::{PeerId, kad::RecordKey};

use super::scoped::Scope;
use crate::limits::{MAX_DHT_RECORDS, MAX_DHT_RECORDS_PER_KEY, MAX_DHT_RECORDS_PER_PEER};

/// A record's place.
pub(super) type RecordPlace = (Scope, RecordKey, PeerId);

/// The places of all records, oldest first.
#[derive(Debug, Default)]
pub(super) struct Records {
    order: VecDeque<RecordPlace>,
    per_key: HashMap<(Scope, RecordKey), usize>,
    per_peer: HashMap<PeerId, usize>,
}

impl Records {
    /// Records the arrival of a record; returns those that it evicts.
    pub(super) fn note(&mut self, place: &RecordPlace) -> Vec<RecordPlace> {
        self.remove(place);
        let mut gone = Vec::new();
        let of_key = |(scope, key, _): &RecordPlace| (*scope, key.clone());
        if self.per_peer.get(&place.2).is_some_and(|count| *count >= MAX_DHT_RECORDS_PER_PEER) {
            gone.extend(self.remove_oldest(|other| other.2 == place.2));
        }
        if self.per_key.get(&of_key(place)).is_some_and(|count| *count >= MAX_DHT_RECORDS_PER_KEY) {
            gone.extend(self.remove_oldest(|other| of_key(other) == of_key(place)));
        }
        if self.order.len() >= MAX_DHT_RECORDS {
            gone.extend(self.remove_oldest(|_| true));
        }
        self.order.push_back(place.clone());
        *self.per_key.entry(of_key(place)).or_default() += 1;
        *self.per_peer.entry(place.2).or_default() += 1;
        gone
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    fn remove_oldest(&mut self, fits: impl Fn(&RecordPlace) -> bool) -> Option<RecordPlace> {
        let place = self.order.iter().find(|place| fits(place))?.clone();
        self.remove(&place);
        Some(place)
    }

    fn remove(&mut self, place: &RecordPlace) {
        let Some(at) = self.order.iter().position(|known| known == place) else { return };
        self.order.remove(at);
        let key = (place.0, place.1.clone());
        if let Some(count) = self.per_key.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.per_key.remove(&key);
            }
        }
        if let Some(count) = self.per_peer.get_mut(&place.2) {
            *count -= 1;
            if *count == 0 {
                self.per_peer.remove(&place.2);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(key: u32, peer: PeerId) -> RecordPlace {
        (Scope::Private, RecordKey::new(&key.to_le_bytes()), peer)
    }

    #[test]
    fn a_peer_that_floods_pushes_out_its_own_records() {
        let (mut records, honest, flood) = (Records::default(), PeerId::random(), PeerId::random());
        assert!(records.note(&place(0, honest)).is_empty());
        let gone: Vec<_> = (1..=10_000).flat_map(|key| records.note(&place(key, flood))).collect();
        assert_eq!(records.len(), 1 + MAX_DHT_RECORDS_PER_PEER);
        assert!(gone.iter().all(|gone| gone.2 == flood) && gone[0] == place(1, flood));
        // The same record again is not a further one.
        assert!(records.note(&place(10_000, flood)).is_empty());
    }

    #[test]
    fn of_a_key_and_of_all_the_oldest_go() {
        let mut records = Records::default();
        let peers: Vec<_> = (0..=MAX_DHT_RECORDS_PER_KEY).map(|_| PeerId::random()).collect();
        let gone: Vec<_> = peers.iter().flat_map(|peer| records.note(&place(7, *peer))).collect();
        assert_eq!(gone, [place(7, peers[0])]);
        let mut gone = Vec::new();
        let more = u32::try_from(MAX_DHT_RECORDS).unwrap();
        for key in 0..more {
            gone.extend(records.note(&place(100 + key, PeerId::random())));
        }
        assert_eq!(records.len(), MAX_DHT_RECORDS);
        assert_eq!(gone.len(), MAX_DHT_RECORDS_PER_KEY, "{:?}", gone[0]);
        assert_eq!((records.per_key.len(), records.per_peer.len()), (MAX_DHT_RECORDS, MAX_DHT_RECORDS));
    }
}
