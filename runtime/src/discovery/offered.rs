//! This node's own offers: the newest snapshots of its catalog.

use std::{
    cmp::Reverse,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, PoisonError},
};

use rpp_p2p::{Hash, offers::Offer, plan, provider::ChunkBounds};

use crate::store::{Store, Stored};

/// The offers, which are built again when the catalog changes.
#[derive(Default)]
pub(crate) struct Offered {
    made: Mutex<OfferedNow>,
}

#[derive(Default)]
struct OfferedNow {
    /// The mark of the catalog from which they were built.
    mark: u64,
    offers: Arc<[(Hash, Offer)]>,
}

impl Offered {
    /// Builds them again if the catalog has changed. Blocks: each chain of updates is hashed once.
    pub(crate) fn renew(&self, store: &Store, chunks: ChunkBounds) {
        let stored = store.list();
        let mark = mark(&stored);
        if self.made().mark == mark {
            return;
        }
        let offers = newest(store, &stored, chunks);
        *self.made() = OfferedNow { mark, offers };
    }

    /// Newest first, each with its genesis commitment.
    pub(crate) fn newest(&self) -> Arc<[(Hash, Offer)]> {
        Arc::clone(&self.made().offers)
    }

    fn made(&self) -> std::sync::MutexGuard<'_, OfferedNow> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A changed catalog has other entries in memory, or more or fewer.
fn mark(stored: &[Arc<Stored>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for stored in stored {
        (Arc::as_ptr(stored) as usize, stored.offers().len()).hash(&mut hasher);
    }
    hasher.finish() | 1
}

fn newest(store: &Store, stored: &[Arc<Stored>], chunks: ChunkBounds) -> Arc<[(Hash, Offer)]> {
    let mut known: Vec<_> = stored
        .iter()
        .flat_map(|stored| stored.offers().iter().map(|offer| offer.snapshot.checkpoint))
        .map(|snapshot| (Reverse(snapshot.height), Reverse(snapshot.step), snapshot.state_root))
        .collect();
    known.sort_unstable();
    known.dedup();
    let offer = |(height, _, root): &(Reverse<u64>, Reverse<u64>, Hash)| {
        // With the updates to the newest tip, like a plan.
        let (_, offer) = store.best_offer(Some(*root), Some(height.0)).filter(|(_, offer)| store.is_sound(offer))?;
        let genesis = Hash(plan::genesis(&offer.genesis).ok()?.commitment().to_bytes());
        let offer = Offer {
            genesis: offer.genesis.clone(),
            snapshot: offer.snapshot,
            tip: offer.tip,
            signatures: offer.updates.last()?.signatures.clone(),
            min_chunk_size: chunks.min,
            max_chunk_size: chunks.max,
            free_slots: 0,
        };
        Some((genesis, offer))
    };
    known.iter().filter_map(offer).take(rpp_p2p::limits::MAX_OFFERS).collect()
}
