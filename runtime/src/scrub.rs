//! The background check of stored payloads, so that those nobody asks for are checked as well. It checks the recursive
//! proof of each offer once, and hashes the payloads again and again, slowly.

use std::{collections::HashSet, sync::Arc, time::Duration};

use rpp_p2p::{
    Hash,
    tree::{chunk_range, total_chunks},
};
use tokio::{sync::Semaphore, task::JoinHandle, time::Instant};

use crate::{
    config::Config,
    error::explain,
    limits::SCRUB_PIECE,
    metrics::Metrics,
    store::{Offer, Store, StoreError, Stored},
    verify,
};

const SMALLEST_PIECE: u64 = 16 * 1024;
/// The pause between two rounds, and when there is nothing to read.
const PAUSE: Duration = Duration::from_secs(1);

/// Proofs are not checked before this time, because a node that has just started needs its processors for more urgent
/// work.
const PROOFS_AFTER: Duration = Duration::from_secs(5);

/// Starts the task, which runs until it is aborted. It reads one piece at a time, and checks one proof at a time, for which
/// it takes one of `permits`.
pub(crate) fn spawn(
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    permits: Arc<Semaphore>,
    config: &Config,
) -> JoinHandle<()> {
    let rate = config.snapshots.scrub_bytes_per_second;
    tokio::spawn(async move {
        let started = Instant::now();
        let mut proven = HashSet::new();
        loop {
            if started.elapsed() >= PROOFS_AFTER {
                prove(&store, &permits, &mut proven).await;
            }
            if rate > 0 {
                for stored in store.list() {
                    scrub(&store, &stored, rate, &metrics).await;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
}

/// Checks the proofs that are not yet known to hold. A payload with an offer whose proof does not hold is no longer
/// offered: a consumer that took it would blame this node.
async fn prove(store: &Arc<Store>, permits: &Arc<Semaphore>, proven: &mut HashSet<Hash>) {
    let mut there = HashSet::new();
    for stored in store.list() {
        for offer in stored.offers() {
            let Some(name) = proof_name(offer) else { continue };
            there.insert(name);
            if proven.contains(&name) {
                continue;
            }
            let Ok(permit) = Arc::clone(permits).acquire_owned().await else { return };
            let (store, stored, offer) = (Arc::clone(store), Arc::clone(&stored), Arc::clone(offer));
            let checked = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                let Err(reason) = verify::check_proof(&offer) else { return true };
                if reason.is_local() {
                    tracing::warn!(root = %stored.root(), "a proof could not be checked, and is checked again later: {reason}");
                    return false;
                }
                // It is left alone if another entry has taken its place meanwhile.
                if store.get(&stored.root()).is_some_and(|now| Arc::ptr_eq(&now, &stored)) {
                    store.condemn(&stored.root(), reason);
                }
                false
            });
            if let Ok(true) = checked.await {
                proven.insert(name);
            }
        }
    }
    proven.retain(|name| there.contains(name));
}

/// A name that is equal for the same proof of the same tip under the same genesis.
fn proof_name(offer: &Offer) -> Option<Hash> {
    let proof = offer.updates.last()?.recursive_proof.as_ref()?;
    let genesis = serde_json::to_vec(&offer.genesis).ok()?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&genesis).update(&offer.tip.commitment.0).update(proof);
    Some(Hash(hasher.finalize().into()))
}

/// Reads one payload to its end, unless it is damaged or removed.
async fn scrub(store: &Arc<Store>, stored: &Arc<Stored>, rate: u64, metrics: &Metrics) {
    let piece = rate.clamp(SMALLEST_PIECE, SCRUB_PIECE);
    let piece = 1 << piece.ilog2();
    let root = stored.root();
    for index in 0..total_chunks(stored.bytes(), piece) {
        let begun = tokio::time::Instant::now();
        let reading = Arc::clone(stored);
        let checked = tokio::task::spawn_blocking(move || reading.check(index, piece)).await;
        match checked {
            Ok(Ok(())) => {}
            Ok(Err(StoreError::Damaged { reason, .. })) => {
                let store = Arc::clone(store);
                let _ = tokio::task::spawn_blocking(move || store.condemn(&root, &reason)).await;
                return;
            }
            Ok(Err(error)) => {
                // It was removed, or there are no descriptors left. The next round will tell.
                tracing::debug!(%root, "could not be read in the background: {}", explain(&error));
                return;
            }
            Err(_) => return, // The runtime is shutting down.
        }
        let range = chunk_range(stored.bytes(), piece, index);
        let bytes = range.end - range.start;
        metrics.scrubbed(bytes);
        tokio::time::sleep_until(begun + Duration::from_secs_f64(bytes as f64 / rate as f64)).await;
        // It was found damaged, or removed.
        if store.get(&root).is_none_or(|now| !Arc::ptr_eq(&now, stored)) {
            return;
        }
    }
}
