//! Which snapshots are offered, and by which peers. Pure; time is an argument.
//!
//! A stranger cannot make it grow: each answer replaces its peer's earlier offers, so a peer is in at most
//! [`MAX_OFFERS`](crate::limits::MAX_OFFERS) entries. There are at most 1,024 entries with 64 peers each, and the
//! oldest are evicted. The signatures of a tip say nothing about an older snapshot than the tip, so such a snapshot can
//! be invented. A snapshot that is itself signed cannot, and is never evicted for one that is not.

use std::{
    cmp::Reverse,
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::PeerId;

use super::check::Found;
use crate::{
    limits::{MAX_KNOWN_OFFERS, MAX_OFFER_PEERS, OFFER_LIFE},
    messages::{Checkpoint, SnapshotHeader},
    provider::ChunkBounds,
    types::Hash,
};

/// The bounds of a [`Book`].
#[derive(Clone, Copy, Debug)]
pub struct BookLimits {
    /// Snapshots.
    pub offers: usize,
    /// Peers of each.
    pub peers: usize,
    /// An offer that is not repeated for this long is forgotten.
    pub life: Duration,
}

impl Default for BookLimits {
    fn default() -> Self {
        Self { offers: MAX_KNOWN_OFFERS, peers: MAX_OFFER_PEERS, life: OFFER_LIFE }
    }
}

/// The snapshots that peers offer.
#[derive(Debug, Default)]
pub struct Book {
    limits: BookLimits,
    known: HashMap<SnapshotHeader, Known>,
}

/// One snapshot, and the peers that offer it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Known {
    /// The snapshot.
    pub snapshot: SnapshotHeader,
    /// Whether the publishers signed the snapshot itself, not only a later tip.
    pub is_signed: bool,
    /// The peers; never empty.
    pub peers: Vec<Holder>,
    /// When it was last confirmed.
    pub seen: Instant,
}

/// A peer that offers a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The peer.
    pub peer: PeerId,
    /// The tip to which it has the updates.
    pub tip: Checkpoint,
    /// The chunk sizes that it serves.
    pub chunks: ChunkBounds,
    /// Further sessions that it could serve when it was asked.
    pub free_slots: u64,
    /// When it was asked.
    pub seen: Instant,
}

impl Book {
    /// An empty book.
    #[must_use]
    pub fn new(limits: BookLimits) -> Self {
        Self { limits, known: HashMap::new() }
    }

    /// The number of snapshots.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no snapshot is offered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Records a peer's offers in place of its earlier ones. Returns whether anything but times and slots changed.
    pub fn record(&mut self, peer: PeerId, found: &[Found], now: Instant) -> bool {
        let mut changed = self
            .retain(|known, holder| holder.peer != peer || found.iter().any(|found| found.snapshot == known.snapshot));
        for found in found {
            changed |= self.note(peer, found, now);
        }
        while self.known.len() > self.limits.offers {
            let oldest =
                self.known.values().min_by_key(|known| (known.is_signed, known.seen)).map(|known| known.snapshot);
            let Some(oldest) = oldest else { break };
            self.known.remove(&oldest);
        }
        changed
    }

    fn note(&mut self, peer: PeerId, found: &Found, now: Instant) -> bool {
        let is_new = !self.known.contains_key(&found.snapshot);
        let known = self.known.entry(found.snapshot).or_insert_with(|| Known {
            snapshot: found.snapshot,
            is_signed: false,
            peers: Vec::new(),
            seen: now,
        });
        known.seen = now;
        known.is_signed |= found.is_signed();
        let holder = Holder { peer, tip: found.tip, chunks: found.chunks, free_slots: found.free_slots, seen: now };
        if let Some(before) = known.peers.iter_mut().find(|holder| holder.peer == peer) {
            *before = holder;
            return is_new;
        }
        if known.peers.len() >= self.limits.peers
            && let Some(oldest) = (0..known.peers.len()).min_by_key(|index| known.peers[*index].seen)
        {
            known.peers.swap_remove(oldest);
        }
        known.peers.push(holder);
        true
    }

    /// Forgets a peer's offers: it could not be reached, or did not serve what it offered.
    pub fn forget(&mut self, peer: &PeerId) -> bool {
        self.retain(|_, holder| holder.peer != *peer)
    }

    /// Forgets that a peer offers one snapshot.
    pub fn strike(&mut self, peer: &PeerId, snapshot: &SnapshotHeader) -> bool {
        self.retain(|known, holder| holder.peer != *peer || known.snapshot != *snapshot)
    }

    /// Forgets offers that were not repeated for too long.
    pub fn expire(&mut self, now: Instant) -> bool {
        let life = self.limits.life;
        self.retain(|_, holder| now.saturating_duration_since(holder.seen) < life)
    }

    /// When something expires next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let seen = self.known.values().flat_map(|known| &known.peers).map(|holder| holder.seen).min()?;
        Some(seen + self.limits.life)
    }

    /// All snapshots, newest first.
    #[must_use]
    pub fn newest_first(&self) -> Vec<&Known> {
        let mut known: Vec<_> = self.known.values().collect();
        known.sort_unstable_by_key(|known| known.rank());
        known
    }

    /// The newest wanted snapshot that a usable peer offers, and the best of those peers: a peer with free slots comes
    /// before one without, then the one with most of them, then the one that was asked last.
    pub fn choose(
        &self,
        root: Option<Hash>,
        height: Option<u64>,
        usable: impl Fn(&SnapshotHeader, &Holder) -> bool,
    ) -> Option<(SnapshotHeader, Holder)> {
        let wanted = |known: &&Known| {
            let snapshot = &known.snapshot.checkpoint;
            root.is_none_or(|root| snapshot.state_root == root) && height.is_none_or(|height| snapshot.height == height)
        };
        let best = |known: &Known| {
            let usable = known.peers.iter().filter(|holder| usable(&known.snapshot, holder));
            usable.max_by_key(|holder| (holder.free_slots, holder.seen, holder.peer)).copied()
        };
        let found = self.known.values().filter(wanted).filter_map(|known| Some((known, best(known)?)));
        found.min_by_key(|(known, _)| known.rank()).map(|(known, holder)| (known.snapshot, holder))
    }

    fn retain(&mut self, keep: impl Fn(&Known, &Holder) -> bool) -> bool {
        let mut changed = false;
        self.known.retain(|_, known| {
            let before = known.peers.len();
            let peers = std::mem::take(&mut known.peers);
            known.peers = peers.into_iter().filter(|holder| keep(known, holder)).collect();
            changed |= known.peers.len() != before;
            !known.peers.is_empty()
        });
        changed
    }
}

impl Known {
    /// Newest first; among snapshots of one height, those that are signed themselves come first.
    fn rank(&self) -> impl Ord + use<> {
        let snapshot = &self.snapshot.checkpoint;
        (Reverse(snapshot.height), Reverse(self.is_signed), Reverse(snapshot.step), snapshot.state_root)
    }
}
