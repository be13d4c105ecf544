//! A provider that keeps its payload, tree and records on disk. One peer streams half of a snapshot. Then the
//! provider's process ends, and another one opens the same folder. The peer continues where it was, because every
//! acknowledgement was on disk before it was answered.
//!
//! `cargo run --release -p rpp-p2p --example provider_on_disk`

use std::{
    cell::RefCell,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::{bail, ensure};
use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, identity::Keypair, multiaddr::Protocol, noise, swarm::SwarmEvent, tcp,
    yamux,
};
use rpp_p2p::{
    Acknowledged, ArtefactKind, ChunkData, Hash, PayloadFormat, PipelineError, Plan, PlanOffer, PlanRequest,
    PlanWishes, Resumed, SnapshotHeader, SnapshotProvider, SnapshotSessionId, TrustAnchor, Update, Verified,
    error::Unavailable,
    limits::{MAX_CHUNK_SIZE, MIN_CHUNK_SIZE},
    outboard::{self, Layout, NODE},
    plan::{ChunkBounds, descriptor, plan_id},
    provider::{Record, RecordLimits, Records},
    snapshots::{Behaviour, Config, Event, RequestId},
    tree,
};
use rpp_proofs::{Checkpoint, Genesis, Prover, Signer};
use tokio::task::{JoinHandle, spawn_blocking};

#[tokio::main]
#[allow(dead_code)] // another example and a test include this file
async fn main() -> anyhow::Result<()> {
    let payload: Vec<u8> = (0..3_000_000_u32).map(|i| (i ^ (i >> 7)) as u8).collect();
    let (before, after) = run(payload).await?;
    println!("{before} chunks before the provider's restart, {after} after it: all verified and acknowledged");
    Ok(())
}

/// Publishes `payload` and streams it across a restart of its provider. Returns the numbers of chunks before and after.
pub(crate) async fn run(payload: Vec<u8>) -> anyhow::Result<(u64, u64)> {
    let folder = tempfile::tempdir()?;
    let (path, bytes) = (folder.path().to_owned(), payload.clone());
    let genesis = spawn_blocking(move || Folder::publish(&path, &bytes)).await??;
    let trust = TrustAnchor::new(genesis);

    let serving = serve(folder.path()).await?;
    let mut consumer = Consumer {
        swarm: swarm(Keypair::generate_ed25519(), Folder::empty(), Config::default().with_trust(trust))?,
        provider: serving.peer,
        session: SnapshotSessionId::random(),
    };
    consumer.connect(&serving).await?;
    let plan = consumer.plan().await?;
    let half = plan.total_chunks / 2;
    let mut received = consumer.fetch(0..half).await?;
    serving.stop().await;

    // Like another process, the new provider knows only the content of the folder.
    let serving = serve(folder.path()).await?;
    consumer.connect(&serving).await?;
    consumer.resume(&plan, half).await?;
    received.extend(consumer.fetch(half..plan.total_chunks).await?);
    serving.stop().await;
    ensure!(received == payload, "the payload arrived changed");
    Ok((half, plan.total_chunks - half))
}

/// A provider that serves from a folder, on a task of its own.
pub(crate) struct Serving {
    pub(crate) peer: PeerId,
    pub(crate) address: Multiaddr,
    task: JoinHandle<()>,
}

impl Serving {
    /// Stops without telling anybody, as a killed process does.
    pub(crate) async fn stop(self) {
        self.task.abort();
        // The error says only that the task was cancelled.
        let _ = self.task.await;
    }
}

/// Serves the folder to every peer.
pub(crate) async fn serve(folder: &Path) -> anyhow::Result<Serving> {
    let key = Keypair::from_protobuf_encoding(&fs::read(folder.join("key"))?)?;
    let mut swarm = swarm(key, Folder::open(folder)?, Config::default())?;
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    let peer = *swarm.local_peer_id();
    let task = tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    Ok(Serving { peer, address: address.with(Protocol::P2p(peer)), task })
}

pub(crate) fn swarm(key: Keypair, folder: Folder, config: Config) -> anyhow::Result<Swarm<Behaviour<Folder>>> {
    Ok(SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)?
        .with_behaviour(|_| Behaviour::new(Arc::new(folder), config))?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build())
}

/// One payload, and everything that is needed to serve it:
///
/// ```text
/// key             the provider's identity: sessions are with a peer
/// payload         the bytes
/// outboard        the interior hashes of their tree, once for all chunk sizes
/// offer.json      the plan, and the update that leads to its tip
/// records/        one file for each session: its plan, and what its consumer acknowledged
/// ```
pub(crate) struct Folder {
    path: PathBuf,
    /// `None` in a consumer, which offers nothing.
    item: Option<Item>,
    records: Mutex<Records>,
}

struct Item {
    payload: Mutex<File>,
    outboard: Mutex<File>,
    /// With a single update, the snapshot itself is the tip.
    plan: Plan,
    update: Update,
}

impl Folder {
    /// Nothing to offer.
    pub(crate) fn empty() -> Self {
        Self { path: PathBuf::new(), item: None, records: Mutex::default() }
    }

    /// Fills a folder with the first checkpoint of a new chain and returns its genesis. Blocks for some seconds, because
    /// it makes a proof.
    pub(crate) fn publish(path: &Path, payload: &[u8]) -> anyhow::Result<Hash> {
        fs::create_dir_all(path.join("records"))?;
        write_durably(&path.join("key"), &Keypair::generate_ed25519().to_protobuf_encoding()?)?;
        write_durably(&path.join("payload"), payload)?;
        write_durably(&path.join("outboard"), &outboard_of(payload)?)?;
        let signer = Signer::generate();
        let genesis = Genesis::new("example".to_owned(), vec![signer.public()], 1)?;
        let mut prover = Prover::open(&path.join("chain"), genesis.clone())?;
        let checkpoint = Checkpoint {
            step: 1,
            height: 1200,
            block_hash: [1; 32],
            state_root: *blake3::hash(payload).as_bytes(),
            payload_bytes: payload.len() as u64,
        };
        let tip = prover.extend(&checkpoint)?;
        let signature = signer.sign(&genesis.commitment(), &tip.commitment, tip.height, tip.step);
        let checkpoint = rpp_p2p::Checkpoint {
            step: checkpoint.step,
            height: checkpoint.height,
            block_hash: checkpoint.block_hash.into(),
            state_root: checkpoint.state_root.into(),
            payload_bytes: checkpoint.payload_bytes,
            commitment: tip.commitment.to_bytes().into(),
        };
        let mut plan = Plan {
            plan_id: Hash::default(),
            proof: rpp_proofs::PROOF_SYSTEM.to_owned(),
            genesis: descriptor(&genesis),
            snapshot: SnapshotHeader { checkpoint, format: PayloadFormat::Raw },
            tip: checkpoint,
            chunk_size: MAX_CHUNK_SIZE,
            total_chunks: tree::total_chunks(checkpoint.payload_bytes, MAX_CHUNK_SIZE),
            total_updates: 1,
        };
        plan.plan_id = plan_id(&plan)?;
        let update = Update {
            checkpoint,
            previous_commitment: genesis.commitment().to_bytes().into(),
            recursive_proof: Some(prover.prove()?.into()),
            signatures: vec![(&signature).into()],
        };
        write_durably(&path.join("offer.json"), &serde_json::to_vec(&(plan, update))?)?;
        Ok(genesis.commitment().to_bytes().into())
    }

    /// Opens a folder, with the sessions that an earlier process recorded.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let (plan, update) = serde_json::from_slice(&fs::read(path.join("offer.json"))?)?;
        let file = |name| File::open(path.join(name)).map(Mutex::new);
        let item = Item { payload: file("payload")?, outboard: file("outboard")?, plan, update };
        let mut records = Records::new(RecordLimits::default());
        for entry in fs::read_dir(path.join("records"))? {
            let entry = entry?;
            let name = entry.file_name();
            // An incomplete file that a crash left behind ends in `.new`.
            let Some((peer, session)) = name.to_str().and_then(|name| name.split_once('-')) else { continue };
            let (Ok(peer), Ok(session)) = (peer.parse::<PeerId>(), session.parse::<u64>()) else { continue };
            let Some(session) = SnapshotSessionId::new(session) else { continue };
            records.put(peer, session, serde_json::from_slice(&fs::read(entry.path())?)?);
        }
        Ok(Self { path: path.to_owned(), item: Some(item), records: Mutex::new(records) })
    }

    fn item(&self) -> Result<&Item, PipelineError> {
        self.item.as_ref().ok_or_else(|| Unavailable::Own("nothing is offered here").into())
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record_path(&self, peer: PeerId, session: SnapshotSessionId) -> PathBuf {
        self.path.join("records").join(format!("{peer}-{session}"))
    }

    /// Writes the record to disk before memory, so an answer from memory never tells more than the disk holds.
    fn keep(
        &self,
        records: &mut Records,
        peer: PeerId,
        session: SnapshotSessionId,
        record: Record,
    ) -> Result<(), PipelineError> {
        let text = serde_json::to_vec(&record).map_err(PipelineError::internal)?;
        write_durably(&self.record_path(peer, session), &text).map_err(PipelineError::internal)?;
        records.put(peer, session, record);
        Ok(())
    }
}

impl SnapshotProvider for Folder {
    fn plan(&self, peer: PeerId, request: &PlanRequest) -> Result<PlanOffer, PipelineError> {
        let mut plan = self.item()?.plan.clone();
        plan.chunk_size = request.wishes.fit_chunk_size(ChunkBounds::default())?;
        plan.total_chunks = tree::total_chunks(plan.snapshot.checkpoint.payload_bytes, plan.chunk_size);
        let now = SystemTime::now();
        let mut records = self.records();
        let mut gone = records.expire(now);
        gone.extend(records.make_room(peer, request.session, request.source, now)?);
        for (peer, session) in gone {
            fs::remove_file(self.record_path(peer, session)).map_err(PipelineError::internal)?;
        }
        let record = Record::new(Arc::new(plan.clone()), now).with_source(request.source);
        self.keep(&mut records, peer, request.session, record)?;
        Ok(PlanOffer { plan, min_chunk_size: MIN_CHUNK_SIZE, max_chunk_size: MAX_CHUNK_SIZE })
    }

    fn chunk(&self, peer: PeerId, session: SnapshotSessionId, index: u64) -> Result<ChunkData, PipelineError> {
        let plan = self.records().serve(peer, session, ArtefactKind::Chunk, index, SystemTime::now())?;
        let item = self.item()?;
        let total = plan.snapshot.checkpoint.payload_bytes;
        let range = tree::chunk_range(total, plan.chunk_size, index);
        let bytes = read_at(&item.payload, range.start, range.end - range.start).map_err(PipelineError::internal)?;
        let proof = outboard::proof_nodes(&Layout::new(total), plan.chunk_size, index)
            .into_iter()
            .map(|offset| hash_of(&read_at(&item.outboard, offset, NODE)?))
            .collect::<io::Result<_>>()
            .map_err(PipelineError::internal)?;
        Ok(ChunkData { bytes: bytes.into(), proof })
    }

    fn update(&self, peer: PeerId, session: SnapshotSessionId, index: u64) -> Result<Update, PipelineError> {
        self.records().serve(peer, session, ArtefactKind::LightClientUpdate, index, SystemTime::now())?;
        Ok(self.item()?.update.clone())
    }

    fn resume_session(
        &self,
        peer: PeerId,
        session: SnapshotSessionId,
        plan_id: Hash,
        chunk_index: u64,
        update_index: u64,
    ) -> Result<Resumed, PipelineError> {
        self.records().resume(peer, session, plan_id, chunk_index, update_index, SystemTime::now())
    }

    fn acknowledge(
        &self,
        peer: PeerId,
        session: SnapshotSessionId,
        kind: ArtefactKind,
        index: u64,
    ) -> Result<Acknowledged, PipelineError> {
        let mut records = self.records();
        let record = records.acknowledged(peer, session, kind, index, SystemTime::now())?;
        let finished = record.is_finished();
        self.keep(&mut records, peer, session, record)?;
        Ok(Acknowledged { finished })
    }

    fn cancel(&self, peer: PeerId, session: SnapshotSessionId) {
        self.records().remove(peer, session);
        // If the file stays, a later process evicts the record when its retention is over.
        let _ = fs::remove_file(self.record_path(peer, session));
    }
}

/// A consumer that decides by itself what to request next. The example `resume` leaves that to a `Session`, which also
/// recovers from failures.
struct Consumer {
    swarm: Swarm<Behaviour<Folder>>,
    provider: PeerId,
    session: SnapshotSessionId,
}

impl Consumer {
    async fn connect(&mut self, serving: &Serving) -> anyhow::Result<()> {
        // Otherwise a request might use the connection to the process that has ended, if its end is not reported yet.
        while self.swarm.is_connected(&self.provider) {
            self.swarm.select_next_some().await;
        }
        self.swarm.dial(serving.address.clone())?;
        loop {
            match self.swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { .. } => return Ok(()),
                SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error.into()),
                _ => {}
            }
        }
    }

    /// Waits for the verified answer to the request that was just sent. If it was not sent (`None`), an event says why.
    async fn answer(&mut self, _: Option<RequestId>) -> anyhow::Result<Verified> {
        loop {
            match self.swarm.select_next_some().await {
                SwarmEvent::Behaviour(Event::Verified { verified, .. }) => return Ok(verified),
                SwarmEvent::Behaviour(Event::Error { error, .. }) => return Err(error.into()),
                _ => {}
            }
        }
    }

    async fn plan(&mut self) -> anyhow::Result<Arc<Plan>> {
        let wishes = PlanWishes { chunk_size: Some(64 * 1024), ..PlanWishes::default() };
        let (provider, session) = (self.provider, self.session);
        let asked = self.swarm.behaviour_mut().request_plan(provider, session, wishes);
        let Verified::Plan(plan, ..) = self.answer(asked).await? else { bail!("that was no plan") };
        // This example does not check the update and its proof. The example `resume` does.
        Ok(plan.into())
    }

    async fn resume(&mut self, plan: &Arc<Plan>, chunk: u64) -> anyhow::Result<()> {
        let (provider, session) = (self.provider, self.session);
        let asked = self.swarm.behaviour_mut().resume(provider, session, Arc::clone(plan), chunk, 0);
        let Verified::Resumed { .. } = self.answer(asked).await? else { bail!("that resumed nothing") };
        Ok(())
    }

    /// Fetches these chunks and acknowledges each. They are kept only in memory.
    async fn fetch(&mut self, chunks: std::ops::Range<u64>) -> anyhow::Result<Vec<u8>> {
        let (provider, session) = (self.provider, self.session);
        let mut bytes = Vec::new();
        for index in chunks {
            let asked = self.swarm.behaviour_mut().request_chunk(provider, session, index);
            let Verified::Chunk(chunk) = self.answer(asked).await? else { bail!("that was no chunk") };
            bytes.extend_from_slice(&chunk.bytes);
            let asked = self.swarm.behaviour_mut().acknowledge(provider, session, ArtefactKind::Chunk, index);
            self.answer(asked).await?;
        }
        Ok(bytes)
    }
}

/// The interior hashes of the payload's tree, once for all chunk sizes.
fn outboard_of(payload: &[u8]) -> io::Result<Vec<u8>> {
    let total = payload.len() as u64;
    let layout = Layout::new(total);
    let file = RefCell::new(vec![0; layout.file_len() as usize]);
    let put = |offset: u64, value: Hash| {
        file.borrow_mut()[offset as usize..(offset + NODE) as usize].copy_from_slice(&value.0);
    };
    for index in 0..tree::total_chunks(total, MAX_CHUNK_SIZE) {
        let range = tree::chunk_range(total, MAX_CHUNK_SIZE, index);
        let bytes = &payload[range.start as usize..range.end as usize];
        for (offset, value) in outboard::chunk_nodes(&layout, MAX_CHUNK_SIZE, index, bytes) {
            put(offset, value);
        }
    }
    outboard::parents(
        &layout,
        MAX_CHUNK_SIZE,
        |offset| hash_of(&file.borrow()[offset as usize..(offset + NODE) as usize]),
        |offset, value| {
            put(offset, value);
            Ok(())
        },
    )?;
    Ok(file.into_inner())
}

fn hash_of(bytes: &[u8]) -> io::Result<Hash> {
    bytes.try_into().map(Hash).map_err(io::Error::other)
}

fn read_at(file: &Mutex<File>, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bytes = vec![0; len as usize];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// After a crash, the file has either the old content or the new one.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    // The folder's entry must be durable as well.
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
