//! Reads stored payloads again in the background, slowly, and hashes them, so that payloads that nobody asks for are
//! checked as well.

use std::{sync::Arc, time::Duration};

use rpp_p2p::tree::{chunk_range, total_chunks};
use tokio::task::JoinHandle;

use crate::{
    config::Config,
    jobs::explain,
    limits::SCRUB_PIECE,
    metrics::Metrics,
    store::{Store, StoreError, Stored},
};

const SMALLEST_PIECE: u64 = 16 * 1024;
/// The pause between two rounds, and when there is nothing to read.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts the task, which runs until it is aborted. It reads one piece at a time.
pub(crate) fn spawn(store: Arc<Store>, metrics: Arc<Metrics>, config: &Config) -> JoinHandle<()> {
    let rate = config.snapshots.scrub_bytes_per_second;
    tokio::spawn(async move {
        if rate == 0 {
            return;
        }
        loop {
            for stored in store.list() {
                scrub(&store, &stored, rate, &metrics).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
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
                // Removed, or out of descriptors: the next round will show.
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
