//! Reading a mirror: the list, a plan with its updates, and chunks with their proofs.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt as _, path::Path};
use rpp_p2p::{
    Hash, Plan, PlanWishes, Update, VerifiedChunk, Violation,
    error::Cause,
    mirror,
    outboard::{Layout, NODE, proof_nodes},
    plan::ChunkBounds,
    snapshots::PaceLimits,
    tree::chunk_range,
};

use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    MirrorFile, MirrorPlace,
    list::SnapshotList,
    pace,
    trouble::{MirrorTrouble, UnusableManifest},
    url::MirrorUrl,
};
use crate::{
    limits::{MAX_MIRROR_NODES, WARM_LIFE},
    store::Manifest,
};

/// When proofs are read, the proofs of this many further bytes of payload are read as well.
const AHEAD: u64 = 64 * 1024 * 1024;
/// Ranges of the outboard that are read at the same time.
const PROOF_READS: usize = 3;
/// Two ranges of the outboard that are at most this many bytes apart are read as one, to save a request.
const GAP: u64 = 16 * 1024;

/// Reads one mirror. A call takes as long as the server does. Dropping its future cancels it.
#[derive(Debug)]
pub struct MirrorReader {
    url: MirrorUrl,
    place: MirrorPlace,
    /// Hashes of outboards that were read. Most proofs share most of their hashes.
    nodes: Mutex<BTreeMap<(Hash, u64), Hash>>,
    /// If several reads lack hashes, one of them requests them.
    asks: tokio::sync::Mutex<()>,
    /// Ranges that were requested together with the manifest.
    begun: Mutex<Vec<Begun>>,
}

/// A range of a payload that is in flight.
#[derive(Debug)]
struct Begun {
    root: Hash,
    range: Range<u64>,
    at: Instant,
    answer: JoinHandle<object_store::Result<GetResult>>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.answer.abort();
    }
}

impl MirrorReader {
    /// Sends nothing yet.
    ///
    /// # Errors
    /// The store cannot be used as it is configured.
    pub fn open(url: &MirrorUrl) -> Result<Self, MirrorTrouble> {
        Self::open_with(url, pace())
    }

    /// With another limit for how slow it may be.
    pub(super) fn open_with(url: &MirrorUrl, pace: PaceLimits) -> Result<Self, MirrorTrouble> {
        Ok(Self {
            url: url.clone(),
            place: MirrorPlace::open(url, false, pace)?,
            nodes: Mutex::default(),
            asks: tokio::sync::Mutex::default(),
            begun: Mutex::default(),
        })
    }

    /// The URL that it reads.
    #[must_use]
    pub fn url(&self) -> &MirrorUrl {
        &self.url
    }

    /// The list of snapshots. It is not trusted: it only says what may be asked for.
    ///
    /// # Errors
    /// What is wrong with the mirror.
    pub async fn snapshots(&self) -> Result<SnapshotList, MirrorTrouble> {
        let bytes = self.document(&self.place.snapshots(), "snapshots.json").await?;
        Ok(SnapshotList::read(&bytes)?)
    }

    /// The plan for these wishes, and its updates, as the manifest has them. Wishes without root and height mean the
    /// highest snapshot. The result is **not checked**: apply the same rules as to a peer's plan before using any of
    /// it.
    ///
    /// # Errors
    /// What is wrong with the mirror, or that it has no such snapshot.
    pub async fn plan(&self, wishes: &PlanWishes) -> Result<(Plan, Vec<Update>), MirrorTrouble> {
        self.plan_and_begin(wishes, 0..0).await
    }

    /// Like [`plan`](Self::plan), and also requests a part of the payload, in bytes, while the manifest is in flight.
    /// This begins as soon as the root is known. The next calls of [`send_chunks`](Self::send_chunks) for it, in the
    /// pieces that [`reads`](mirror::reads) returns, continue with these answers. Any other read cancels them, and so
    /// does the next plan.
    ///
    /// # Errors
    /// Those of [`plan`](Self::plan). Trouble with the part of the payload is reported when that part is read.
    pub async fn plan_and_begin(
        &self,
        wishes: &PlanWishes,
        part: Range<u64>,
    ) -> Result<(Plan, Vec<Update>), MirrorTrouble> {
        self.begun().clear();
        let chunk_size = wishes.fit_chunk_size(ChunkBounds::default())?;
        let (root, total) = match wishes.root {
            Some(root) => (root, None),
            None => {
                let list = self.snapshots().await?;
                let fits = |height: u64| wishes.height.is_none_or(|wished| wished == height);
                let newest =
                    list.snapshots.iter().filter(|listed| fits(listed.height)).max_by_key(|listed| listed.height);
                let newest = newest.ok_or(MirrorTrouble::NotFound { what: "such snapshot" })?;
                (newest.root, Some(newest.bytes))
            }
        };
        let part = part.start..total.map_or(part.end, |total| part.end.min(total));
        if !part.is_empty() {
            self.begin(root, &part, chunk_size);
        }
        let path = self.place.file(&root, MirrorFile::Manifest);
        let manifest = self.document(&path, "manifest.json of that root");
        let bytes = match total.filter(|_| !part.is_empty()) {
            Some(total) => self.beside_proofs(manifest, &root, total, chunk_size, part).await?,
            None => manifest.await?,
        };
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|_| UnusableManifest::Shape)?;
        manifest.check(&root).map_err(UnusableManifest::from)?;
        let fits = |height: u64| wishes.height.is_none_or(|wished| wished == height);
        let offer = manifest.offers.iter().filter(|offer| fits(offer.snapshot.checkpoint.height));
        let offer = offer.max_by_key(|offer| (offer.snapshot.checkpoint.height, offer.tip.step));
        let offer = offer.ok_or(MirrorTrouble::NotFound { what: "such snapshot" })?;
        let plan = offer.plan(chunk_size).map_err(UnusableManifest::from)?;
        Ok((plan, offer.wire_updates()))
    }

    /// Requests a part of the payload.
    fn begin(&self, root: Hash, part: &Range<u64>, chunk_size: u64) {
        let path = self.place.file(&root, MirrorFile::Payload);
        for range in mirror::reads(part.clone(), chunk_size) {
            let (store, path, options) = (Arc::clone(&self.place.store), path.clone(), in_range(range.clone()));
            let answer = tokio::spawn(async move { store.get_opts(&path, options).await });
            self.begun().push(Begun { root, range, at: Instant::now(), answer });
        }
    }

    fn begun(&self) -> MutexGuard<'_, Vec<Begun>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a document, and meanwhile the proofs for a part of the payload. The payload's length is not verified yet.
    /// If the proofs fail, they are requested again with the part itself.
    async fn beside_proofs(
        &self,
        document: impl Future<Output = Result<Bytes, MirrorTrouble>>,
        root: &Hash,
        total: u64,
        chunk_size: u64,
        part: Range<u64>,
    ) -> Result<Bytes, MirrorTrouble> {
        let layout = Layout::new(total);
        let chunks = part.start / chunk_size..part.end.div_ceil(chunk_size);
        let needed = chunks.flat_map(|index| proof_nodes(&layout, chunk_size, index));
        let proofs = self.nodes_at(root, &layout, needed, std::iter::empty());
        tokio::pin!(document, proofs);
        let mut are_there = false;
        loop {
            tokio::select! {
                read = &mut document => return read,
                _ = &mut proofs, if !are_there => are_there = true,
            }
        }
    }

    /// The answer with this range of the payload: one in flight, else a new one.
    async fn payload(&self, root: &Hash, range: Range<u64>) -> Result<GetResult, MirrorTrouble> {
        let told = |error: object_store::Error| MirrorTrouble::of(&error, "payload");
        let under_way = {
            let mut begun = self.begun();
            // A server does not keep an unread answer open for long.
            begun.retain(|begun| begun.at.elapsed() < WARM_LIFE);
            let found = begun.iter().position(|begun| begun.root == *root && begun.range == range);
            let found = found.map(|at| begun.remove(at));
            if found.is_none() {
                begun.clear();
            }
            found
        };
        if let Some(mut under_way) = under_way
            && let Ok(answer) = (&mut under_way.answer).await
        {
            return answer.map_err(told);
        }
        self.place.store.get_opts(&self.place.file(root, MirrorFile::Payload), in_range(range)).await.map_err(told)
    }

    /// Reads these chunks, and verifies each against the root; see [`send_chunks`](Self::send_chunks).
    ///
    /// # Errors
    /// [`MirrorTrouble::Lied`] for the first chunk that does not verify; then no chunk is returned. Otherwise what is
    /// wrong with the mirror.
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

    /// Reads these chunks, and sends each one, in ascending order, when it is verified against the root. It makes one
    /// request for the payload. At the same time it makes one or a few small requests for proofs that are not known
    /// yet; payload bytes that arrive earlier wait in memory. After that, it holds one chunk at a time besides those in
    /// the channel. It ends early when the receiver is gone.
    ///
    /// # Errors
    /// [`MirrorTrouble::Lied`] for the first chunk that does not verify. Otherwise what is wrong with the mirror.
    /// Chunks that were sent before stay valid.
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
        // The proofs of the next reads are included; otherwise each read would wait for two answers.
        let ahead = chunks.start..(chunks.end + AHEAD / size).min(plan.total_chunks);
        let ahead = ahead.flat_map(|index| proof_nodes(&layout, size, index));
        let start = chunk_range(total, size, chunks.start).start;
        let end = chunk_range(total, size, chunks.end - 1).end;
        // Both requests are sent without waiting for the other, and both answers are read as they arrive.
        let payload = async { Ok(Body::new(self.payload(&root, start..end).await?, end - start)) };
        let nodes = self.nodes_at(&root, &layout, needed, ahead);
        let (nodes, mut body) = read_beside(nodes, payload).await?;
        for index in chunks {
            let range = chunk_range(total, size, index);
            let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let chunk = body.next(length).await?;
            let proof =
                proof_nodes(&layout, size, index).iter().filter_map(|offset| nodes.get(offset).copied()).collect();
            let received = chunk.len() as u64;
            let checked =
                tokio::task::spawn_blocking(move || VerifiedChunk::verify(&root, total, size, index, chunk, proof));
            let checked = checked.await.map_err(|error| MirrorTrouble::Unchecked(Cause::new(error)))?;
            let chunk = checked.map_err(|source| MirrorTrouble::Lied(Violation::Chunk { index, received, source }))?;
            if verified.send(chunk).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The nodes at these offsets. If some are not known yet, they are read together with those of `ahead`.
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
        let mut reads = futures::stream::iter(reads).buffer_unordered(PROOF_READS);
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

fn in_range(range: Range<u64>) -> GetOptions {
    GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() }
}

/// Waits for both, and reads the part of the body that arrives meanwhile.
async fn read_beside<N>(
    nodes: impl Future<Output = Result<N, MirrorTrouble>>,
    payload: impl Future<Output = Result<Body, MirrorTrouble>>,
) -> Result<(N, Body), MirrorTrouble> {
    tokio::pin!(nodes, payload);
    let mut body = tokio::select! {
        found = &mut nodes => return Ok((found?, payload.await?)),
        opened = &mut payload => opened?,
    };
    loop {
        tokio::select! {
            found = &mut nodes => return Ok((found?, body)),
            more = body.more(), if !body.is_whole() => more?,
        }
    }
}

/// The body of an answer, which must have the expected number of bytes.
struct Body {
    pieces: BoxStream<'static, object_store::Result<Bytes>>,
    expected: u64,
    received: u64,
    buffer: BytesMut,
}

impl Body {
    fn new(answer: GetResult, expected: u64) -> Self {
        Self { pieces: answer.into_stream(), expected, received: 0, buffer: BytesMut::new() }
    }

    fn is_whole(&self) -> bool {
        self.received >= self.expected
    }

    /// Reads the next piece. Dropping the future loses nothing.
    async fn more(&mut self) -> Result<(), MirrorTrouble> {
        let (expected, told) = (self.expected, |error: object_store::Error| MirrorTrouble::of(&error, "payload"));
        let piece = self.pieces.try_next().await.map_err(told)?;
        self.received += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        match piece {
            Some(piece) if self.received <= expected => self.buffer.extend_from_slice(&piece),
            _ => return Err(MirrorTrouble::Length { expected, received: self.received }),
        }
        Ok(())
    }

    /// The next `length` bytes.
    async fn next(&mut self, length: usize) -> Result<Bytes, MirrorTrouble> {
        while self.buffer.len() < length {
            self.buffer.reserve(length - self.buffer.len());
            self.more().await?;
        }
        Ok(self.buffer.split_to(length).freeze())
    }
}

/// Ranges that cover these nodes, in order. Neighbouring nodes share one range.
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
