//! Reading a mirror: the list, a plan with its updates, and chunks with their proofs.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, path::Path};
use rpp_p2p::{
    Hash, Plan, PlanWishes, Update, VerifiedChunk, Violation,
    limits::MIRROR_READS,
    outboard::{Layout, NODE, proof_nodes},
    plan::{ChunkBounds, choose_chunk_size},
    tree::chunk_range,
};

use tokio::sync::mpsc;

use super::{MirrorFile, MirrorPlace, list::SnapshotList, trouble::MirrorTrouble, url::MirrorUrl};
use crate::{
    limits::{MAX_MIRROR_NODES, MIRROR_IDLE},
    store::Manifest,
};

/// Proofs of so many bytes of payload after those that are asked for are read with theirs.
const AHEAD: u64 = 64 * 1024 * 1024;
/// Bytes between two ranges of the outboard that are read as well, to save a request.
const GAP: u64 = 16 * 1024;

/// Reads one mirror. Calls take as long as the server does; dropping one ends it.
#[derive(Debug)]
pub struct MirrorReader {
    url: MirrorUrl,
    place: MirrorPlace,
    /// Hashes of outboards that were read: most proofs share most of theirs.
    nodes: Mutex<BTreeMap<(Hash, u64), Hash>>,
    /// Of several reads that lack hashes, one asks for them.
    asks: tokio::sync::Mutex<()>,
}

impl MirrorReader {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// The store cannot be used as it is configured.
    pub fn open(url: &MirrorUrl) -> Result<Self, MirrorTrouble> {
        Self::open_with(url, MIRROR_IDLE)
    }

    /// With another time without a byte than 30 s.
    pub(super) fn open_with(url: &MirrorUrl, patience: Duration) -> Result<Self, MirrorTrouble> {
        Ok(Self {
            url: url.clone(),
            place: MirrorPlace::open(url, false, patience)?,
            nodes: Mutex::default(),
            asks: tokio::sync::Mutex::default(),
        })
    }

    /// Where it reads.
    #[must_use]
    pub fn url(&self) -> &MirrorUrl {
        &self.url
    }

    /// The list of snapshots. Nothing of it is believed: it only says what may be asked for.
    ///
    /// # Errors
    /// The mirror's.
    pub async fn snapshots(&self) -> Result<SnapshotList, MirrorTrouble> {
        let bytes = self.document(&self.place.snapshots(), "snapshots.json").await?;
        Ok(SnapshotList::read(&bytes)?)
    }

    /// The plan for these wishes (without root and height: of the highest snapshot) and its updates, as the manifest says. They are
    /// **not checked**: hold them to the rules for a peer's before anything of them is used.
    ///
    /// # Errors
    /// The mirror's; or it has no such snapshot.
    pub async fn plan(&self, wishes: &PlanWishes) -> Result<(Plan, Vec<Update>), MirrorTrouble> {
        let root = match wishes.root {
            Some(root) => root,
            None => {
                let list = self.snapshots().await?;
                let fits = |height: u64| wishes.height.is_none_or(|wished| wished == height);
                let newest =
                    list.snapshots.iter().filter(|listed| fits(listed.height)).max_by_key(|listed| listed.height);
                newest.ok_or(MirrorTrouble::NotFound { what: "such snapshot" })?.root
            }
        };
        let bytes = self.document(&self.place.file(&root, MirrorFile::Manifest), "manifest.json of that root").await?;
        let unreadable =
            |reason: String| MirrorTrouble::Refused { reason: format!("its manifest cannot be used: {reason}") };
        // The words of the reader of JSON may repeat what is written there.
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|_| unreadable("it is none".to_owned()))?;
        manifest.check(&root).map_err(|flaw| unreadable(flaw.to_string()))?;
        let fits = |height: u64| wishes.height.is_none_or(|wished| wished == height);
        let offer = manifest.offers.iter().filter(|offer| fits(offer.snapshot.checkpoint.height));
        let offer = offer.max_by_key(|offer| (offer.snapshot.checkpoint.height, offer.tip.step));
        let offer = offer.ok_or(MirrorTrouble::NotFound { what: "such snapshot" })?;
        let mut bounds = ChunkBounds::default();
        bounds.min = wishes.min_chunk_size.unwrap_or(bounds.min);
        bounds.max = wishes.max_chunk_size.unwrap_or(bounds.max);
        let chunk_size = choose_chunk_size(wishes.chunk_size, bounds, ChunkBounds::default());
        let chunk_size = chunk_size.map_err(|error| MirrorTrouble::Refused { reason: error.to_string() })?;
        let plan = offer.plan(chunk_size).map_err(|error| unreadable(error.to_string()))?;
        Ok((plan, offer.wire_updates()))
    }

    /// These chunks, each verified against the root; see [`send_chunks`](Self::send_chunks).
    ///
    /// # Errors
    /// [`MirrorTrouble::Lied`] for the first chunk that does not verify; nothing is returned then. Else the mirror's.
    pub async fn chunks(&self, plan: &Plan, chunks: Range<u64>) -> Result<Vec<VerifiedChunk>, MirrorTrouble> {
        let (read, mut verified) = mpsc::channel(1);
        let collect = async {
            let mut all = Vec::new();
            while let Some(chunk) = verified.recv().await {
                all.push(chunk);
            }
            all
        };
        let (result, all) = tokio::join!(self.send_chunks(plan, chunks, read), collect);
        result.map(|()| all)
    }

    /// Reads these chunks and sends each when it is verified against the root, in ascending order. One request for the
    /// payload, and at the same time one or a few small ones for proofs that are not known yet. One chunk is in memory at a
    /// time, besides those in the channel. It ends early when nobody receives them any more.
    ///
    /// # Errors
    /// [`MirrorTrouble::Lied`] for the first chunk that does not verify. Else the mirror's. What was given before counts.
    pub async fn send_chunks(
        &self,
        plan: &Plan,
        chunks: Range<u64>,
        verified: mpsc::Sender<VerifiedChunk>,
    ) -> Result<(), MirrorTrouble> {
        let snapshot = &plan.snapshot.checkpoint;
        let (root, total, size) = (snapshot.state_root, snapshot.payload_bytes, plan.chunk_size);
        let chunks = chunks.start..chunks.end.min(plan.total_chunks);
        if chunks.is_empty() {
            return Ok(());
        }
        let layout = Layout::new(total);
        let needed = chunks.clone().flat_map(|index| proof_nodes(&layout, size, index));
        // Those of the next reads as well: else each read would wait for two answers.
        let ahead = chunks.start..(chunks.end + AHEAD / size).min(plan.total_chunks);
        let ahead = ahead.flat_map(|index| proof_nodes(&layout, size, index));
        let start = chunk_range(total, size, chunks.start).start;
        let end = chunk_range(total, size, chunks.end - 1).end;
        let told = |error: object_store::Error| MirrorTrouble::of(&error, "payload");
        let options = GetOptions { range: Some(GetRange::Bounded(start..end)), ..GetOptions::default() };
        let path = self.place.file(&root, MirrorFile::Payload);
        // Neither answer is waited for before the other one is asked for.
        let payload = async { self.place.store.get_opts(&path, options).await.map_err(told) };
        let (nodes, payload) = tokio::try_join!(self.nodes_at(&root, &layout, needed, ahead), payload)?;
        let mut pieces = payload.into_stream();
        let (expected, mut received, mut buffer) = (end - start, 0_u64, BytesMut::new());
        for index in chunks {
            let range = chunk_range(total, size, index);
            let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            while buffer.len() < length {
                let Some(piece) = pieces.try_next().await.map_err(told)? else {
                    return Err(MirrorTrouble::Length { expected, received });
                };
                received += piece.len() as u64;
                if received > expected {
                    return Err(MirrorTrouble::Length { expected, received });
                }
                buffer.reserve(length.saturating_sub(buffer.len()));
                buffer.extend_from_slice(&piece);
            }
            let chunk = buffer.split_to(length).freeze();
            let proof =
                proof_nodes(&layout, size, index).iter().filter_map(|offset| nodes.get(offset).copied()).collect();
            let received = chunk.len() as u64;
            let checked =
                tokio::task::spawn_blocking(move || VerifiedChunk::verify(&root, total, size, index, chunk, proof));
            let checked =
                checked.await.map_err(|error| MirrorTrouble::Refused { reason: format!("not checked: {error}") })?;
            let chunk = checked.map_err(|source| MirrorTrouble::Lied(Violation::Chunk { index, received, source }))?;
            if verified.send(chunk).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The nodes at these offsets; when some are not known yet, they are read with those `ahead`.
    async fn nodes_at(
        &self,
        root: &Hash,
        layout: &Layout,
        offsets: impl Iterator<Item = u64>,
        ahead: impl Iterator<Item = u64>,
    ) -> Result<BTreeMap<u64, Hash>, MirrorTrouble> {
        let offsets: BTreeSet<u64> = offsets.collect();
        let (mut found, mut missing) = self.known_of(root, &offsets);
        if missing.is_empty() {
            return Ok(found);
        }
        let _asks = self.asks.lock().await;
        (found, missing) = self.known_of(root, &offsets);
        if !missing.is_empty() {
            let known = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            missing.extend(ahead.filter(|offset| !known.contains_key(&(*root, *offset))));
        }
        let path = self.place.file(root, MirrorFile::Outboard);
        // Each level of the tree lies elsewhere in the file.
        let reads = runs(&missing).into_iter().map(|run| {
            let run = run.start..run.end.min(layout.file_len());
            let path = &path;
            async move { Ok::<_, MirrorTrouble>((run.start, self.range(path, run, "outboard").await?)) }
        });
        let mut reads = futures::stream::iter(reads).buffer_unordered(MIRROR_READS);
        while let Some((start, bytes)) = reads.try_next().await? {
            let hashes = bytes.chunks_exact(32).filter_map(|hash| Some(Hash(hash.try_into().ok()?)));
            let mut known = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            for (offset, hash) in (start..).step_by(32).zip(hashes) {
                known.insert((*root, offset), hash);
                found.insert(offset, hash);
            }
        }
        Ok(found)
    }

    /// The nodes at these offsets that are known, and the offsets of the others.
    fn known_of(&self, root: &Hash, offsets: &BTreeSet<u64>) -> (BTreeMap<u64, Hash>, BTreeSet<u64>) {
        let mut known = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > MAX_MIRROR_NODES {
            known.clear();
        }
        let (mut found, mut missing) = (BTreeMap::new(), BTreeSet::new());
        for offset in offsets {
            match known.get(&(*root, *offset)) {
                Some(hash) => {
                    found.insert(*offset, *hash);
                }
                None => {
                    missing.insert(*offset);
                }
            }
        }
        (found, missing)
    }

    async fn range(&self, path: &Path, range: Range<u64>, what: &'static str) -> Result<Bytes, MirrorTrouble> {
        let expected = range.end - range.start;
        if expected == 0 {
            return Ok(Bytes::new());
        }
        let store: &Arc<dyn ObjectStore> = &self.place.store;
        let bytes = store.get_range(path, range).await.map_err(|error| MirrorTrouble::of(&error, what))?;
        match bytes.len() as u64 {
            received if received == expected => Ok(bytes),
            received => Err(MirrorTrouble::Length { expected, received }),
        }
    }

    async fn document(&self, path: &Path, what: &'static str) -> Result<Bytes, MirrorTrouble> {
        let told = |error: object_store::Error| MirrorTrouble::of(&error, what);
        self.place.store.get(path).await.map_err(told)?.bytes().await.map_err(told)
    }
}

/// Ranges that cover these nodes, in order; neighbours in one.
fn runs(offsets: &BTreeSet<u64>) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for &offset in offsets {
        match runs.last_mut() {
            Some(run) if offset <= run.end + GAP => run.end = offset + NODE,
            _ => runs.push(offset..offset + NODE),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_hashes_are_read_together() {
        let runs = |offsets: &[u64]| runs(&offsets.iter().copied().collect());
        assert_eq!(runs(&[]), Vec::<Range<u64>>::new());
        let far = 64 + GAP + NODE + 1;
        assert_eq!(runs(&[0, 32, 64, far, far + GAP]), [0..96, far..far + GAP + 32]);
    }
}
