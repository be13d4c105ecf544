//! A custom swarm with snapshot streaming: one peer serves a payload from memory through its own [`SnapshotProvider`].
//! Another peer streams it, verifies every byte, the signatures and the recursive proof, and acknowledges.
//!
//! `cargo run --release -p rpp-p2p --example embed`

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;
use bytes::Bytes;
use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder,
    core::upgrade::Version,
    noise, ping,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use rpp_p2p::{
    Acknowledged, ArtefactKind, ChunkData, Hash, Have, LightClientSync, PayloadFormat, PipelineError, Plan, PlanOffer,
    PlanRequest, PlanWishes, Resumed, SnapshotHeader, SnapshotProvider, SnapshotSessionId, TrustAnchor, Update,
    consumer::{Action, Options, Session, Storage, Unexpected},
    error::Unavailable,
    limits::{MAX_CHUNK_SIZE, MIN_CHUNK_SIZE},
    outboard::{self, Layout},
    plan::{ChunkBounds, descriptor, plan_id},
    provider::{Record, RecordLimits, Records},
    snapshots::{self, Config},
    tree,
};
use rpp_proofs::{Checkpoint, Genesis, Prover, Signer, Verifier};

#[tokio::main]
#[allow(dead_code)] // a test includes this file and calls `run`
async fn main() -> anyhow::Result<()> {
    let payload: Vec<u8> = (0..3_000_000_u32).map(|i| (i ^ (i >> 7)) as u8).collect();
    let (received, head) = run(payload.clone()).await?;
    anyhow::ensure!(received == payload, "the payload arrived changed");
    println!("{} bytes verified, head at step {}: {}", received.len(), head.step, head.commitment);
    Ok(())
}

/// Streams `payload` from one swarm to another. Returns what arrived, and the verified head.
pub(crate) async fn run(payload: Vec<u8>) -> anyhow::Result<(Vec<u8>, rpp_p2p::Checkpoint)> {
    // A consumer needs only one string beforehand: the genesis commitment.
    let shelf = tokio::task::spawn_blocking(move || Shelf::publish(payload)).await??;
    let trust = TrustAnchor::new(shelf.genesis);

    let mut provider = swarm(shelf, Config::default())?;
    provider.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
    let address = listening(&mut provider).await;
    let provider_id = *provider.local_peer_id();
    let serving = tokio::spawn(async move {
        loop {
            provider.select_next_some().await;
        }
    });

    // A consumer may be a provider as well. This one has nothing to offer.
    let mut consumer = swarm(Shelf::empty(), Config::default().with_trust(trust.clone()))?;
    consumer.add_peer_address(provider_id, address);
    let light_client = LightClientSync::new(trust, Arc::new(Verifier::shared()));
    let received = stream(&mut consumer, provider_id, &light_client).await;
    serving.abort();
    let head = *light_client.head().borrow();
    Ok((received?, head.context("no head was verified")?))
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    snapshots: snapshots::Behaviour<Shelf>,
    ping: ping::Behaviour,
}

fn swarm(shelf: Shelf, config: Config) -> anyhow::Result<Swarm<Behaviour>> {
    Ok(SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)?
        .with_behaviour(|_| Behaviour {
            snapshots: snapshots::Behaviour::new(Arc::new(shelf), config),
            ping: ping::Behaviour::default(),
        })?
        .with_swarm_config(|config| {
            config
                // This saves a round trip for each request, with peers that are known to support it.
                .with_substream_upgrade_protocol_override(Version::V1Lazy)
                .with_idle_connection_timeout(Duration::from_secs(60))
        })
        .build())
}

async fn listening(swarm: &mut Swarm<Behaviour>) -> Multiaddr {
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return address;
        }
    }
}

/// Drives one session to its end. The session decides; this function carries out its actions, with a `Vec` as its disk.
async fn stream(swarm: &mut Swarm<Behaviour>, peer: PeerId, light_client: &LightClientSync) -> anyhow::Result<Vec<u8>> {
    let id = SnapshotSessionId::random();
    let wishes = PlanWishes { chunk_size: Some(64 * 1024), ..PlanWishes::default() };
    let options = Options { wishes, ..Options::default() };
    let mut session = Session::new(id, peer, options, Instant::now());
    let mut disk = Vec::new();
    loop {
        while let Some(action) = session.poll_action(Instant::now()) {
            perform(action, swarm, &mut session, &mut disk, light_client).await?;
        }
        let view = session.view();
        if let Some(failure) = view.failure {
            anyhow::bail!("the session failed: {}", failure.message);
        }
        if view.verified {
            swarm.behaviour_mut().snapshots.forget(peer, id);
            return Ok(disk);
        }
        let timeout = session.poll_timeout().unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
        tokio::select! {
            event = swarm.select_next_some() => {
                if let SwarmEvent::ConnectionEstablished { peer_id, .. } = &event {
                    // Peers of this crate accept a request before they have confirmed its protocol.
                    swarm.behaviour_mut().snapshots.negotiate_lazily(*peer_id);
                }
                tell(event, &mut session)?;
            }
            () = tokio::time::sleep_until(timeout.into()) => session.handle_timeout(Instant::now()),
        }
    }
}

/// Passes the swarm's events about its peer to the session.
fn tell(event: SwarmEvent<BehaviourEvent>, session: &mut Session) -> Result<(), Unexpected> {
    let now = Instant::now();
    match event {
        SwarmEvent::Behaviour(BehaviourEvent::Snapshots(event))
            if event.of().is_some_and(|(peer, link)| session.has_link(peer, link)) =>
        {
            return event.tell(session, now);
        }
        SwarmEvent::ConnectionEstablished { peer_id, .. } => session.handle_connected(now, peer_id),
        SwarmEvent::ConnectionClosed { peer_id, num_established: 0, cause, .. } => {
            let reason = cause.map_or_else(|| "closed".to_owned(), |cause| cause.to_string());
            session.handle_disconnected(now, peer_id, &reason);
        }
        SwarmEvent::OutgoingConnectionError { peer_id: Some(peer_id), error, .. } => {
            session.handle_dial_failed(now, peer_id, &error.to_string());
        }
        _ => {}
    }
    Ok(())
}

async fn perform(
    action: Action,
    swarm: &mut Swarm<Behaviour>,
    session: &mut Session,
    disk: &mut Vec<u8>,
    light_client: &LightClientSync,
) -> Result<(), Unexpected> {
    match action {
        Action::Connect(peer) if swarm.is_connected(&peer) => session.handle_connected(Instant::now(), peer),
        Action::Connect(peer) => {
            if let Err(error) = swarm.dial(peer) {
                session.handle_dial_failed(Instant::now(), peer, &error.to_string());
            }
        }
        Action::Request(peer, exchange) => {
            let sent = swarm.behaviour_mut().snapshots.request(peer, exchange);
            session.handle_sent(Instant::now(), sent)?;
        }
        Action::Grant(peer, grant) => swarm.behaviour_mut().snapshots.grant(peer, grant),
        Action::VerifyAuthority { plan, updates } => {
            // Checking the proof takes a tenth of a second (four tenths the first time), too long for the swarm's task.
            let light_client = light_client.clone();
            let verdict = tokio::task::spawn_blocking(move || light_client.authorize(plan, &updates)).await;
            if let Ok(verdict) = verdict {
                session.handle_authority(Instant::now(), verdict.map(drop).map_err(Into::into))?;
            }
        }
        Action::OpenStorage { plan, .. } => {
            let nothing = Have::nothing(plan.snapshot.checkpoint.payload_bytes);
            session.handle_storage(Instant::now(), Storage::Ready { durable: nothing.clone(), unchecked: nothing })?;
        }
        // From a single peer, chunks arrive in order.
        Action::Write(chunk) => {
            disk.extend_from_slice(&chunk.bytes);
            session.handle_written(Instant::now(), chunk.index)?;
        }
        // In this example, memory counts as durable. A node would sync its file and then record what it has.
        Action::Sync => {
            let total = session.plan().map_or(0, |plan| plan.snapshot.checkpoint.payload_bytes);
            session.handle_durable(Instant::now(), &Have::prefix(total, disk.len() as u64))?;
        }
        Action::Place => session.handle_placed(Instant::now(), PathBuf::from("memory"))?,
        _ => {} // `PlanAccepted`: a node would persist it
    }
    Ok(())
}

/// A provider with one payload in memory, or none.
struct Shelf {
    genesis: Hash,
    item: Option<Item>,
    /// The library's rules for sessions. A node would also persist each record.
    records: Mutex<Records>,
}

struct Item {
    payload: Bytes,
    outboard: Vec<u8>,
    /// With a single update, the snapshot itself is the tip.
    plan: Plan,
    update: Update,
}

impl Shelf {
    fn empty() -> Self {
        Self { genesis: Hash::default(), item: None, records: Mutex::new(Records::new(RecordLimits::default())) }
    }

    /// Makes the first checkpoint of a new chain. Blocks for some seconds while it makes a proof.
    fn publish(payload: Vec<u8>) -> anyhow::Result<Self> {
        let signer = Signer::generate();
        let genesis = Genesis::new("example".to_owned(), vec![signer.public()], 1)?;
        let dir = tempfile::tempdir()?;
        let mut prover = Prover::open(dir.path(), genesis.clone())?;
        let checkpoint = Checkpoint {
            step: 1,
            height: 1200,
            block_hash: [1; 32],
            state_root: *blake3::hash(&payload).as_bytes(),
            payload_bytes: payload.len() as u64,
        };
        let tip = prover.extend(&checkpoint)?;
        let signature = signer.sign(&genesis.commitment(), &tip.commitment, tip.height, tip.step);
        let checkpoint = rpp_p2p::Checkpoint {
            step: 1,
            height: 1200,
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
        let item = Item { outboard: outboard_of(&payload)?, payload: payload.into(), plan, update };
        Ok(Self { genesis: genesis.commitment().to_bytes().into(), item: Some(item), ..Self::empty() })
    }

    fn item(&self) -> Result<&Item, PipelineError> {
        self.item.as_ref().ok_or_else(|| Unavailable::Own("nothing is offered here").into())
    }

    fn records(&self) -> std::sync::MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SnapshotProvider for Shelf {
    fn plan(&self, peer: PeerId, request: &PlanRequest) -> Result<PlanOffer, PipelineError> {
        let mut plan = self.item()?.plan.clone();
        plan.chunk_size = request.wishes.fit_chunk_size(ChunkBounds::default())?;
        plan.total_chunks = tree::total_chunks(plan.snapshot.checkpoint.payload_bytes, plan.chunk_size);
        let now = SystemTime::now();
        let mut records = self.records();
        records.expire(now);
        records.make_room(peer, request.session, request.source, now)?;
        records.put(peer, request.session, Record::new(Arc::new(plan.clone()), now).with_source(request.source));
        Ok(PlanOffer { plan, min_chunk_size: MIN_CHUNK_SIZE, max_chunk_size: MAX_CHUNK_SIZE })
    }

    fn chunk(&self, peer: PeerId, session: SnapshotSessionId, index: u64) -> Result<ChunkData, PipelineError> {
        let plan = self.records().serve(peer, session, ArtefactKind::Chunk, index, SystemTime::now())?;
        let Item { payload, outboard, .. } = self.item()?;
        let range = tree::chunk_range(payload.len() as u64, plan.chunk_size, index);
        let layout = Layout::new(payload.len() as u64);
        let nodes = outboard::proof_nodes(&layout, plan.chunk_size, index);
        let proof = nodes.into_iter().map(|offset| node(outboard, offset)).collect::<Result<_, _>>();
        let bytes = payload.slice(range.start as usize..range.end as usize);
        Ok(ChunkData { bytes, proof: proof.map_err(PipelineError::internal)? })
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
        records.put(peer, session, record); // a node persists it first
        Ok(Acknowledged { finished })
    }

    fn cancel(&self, peer: PeerId, session: SnapshotSessionId) {
        self.records().remove(peer, session);
    }
}

/// The interior hashes of the payload's tree, once for all chunk sizes.
fn outboard_of(payload: &[u8]) -> anyhow::Result<Vec<u8>> {
    let total = payload.len() as u64;
    let layout = Layout::new(total);
    let mut file = vec![0; usize::try_from(layout.file_len())?];
    for index in 0..tree::total_chunks(total, MAX_CHUNK_SIZE) {
        let range = tree::chunk_range(total, MAX_CHUNK_SIZE, index);
        let bytes = &payload[range.start as usize..range.end as usize];
        for (offset, value) in outboard::chunk_nodes(&layout, MAX_CHUNK_SIZE, index, bytes) {
            put_node(&mut file, offset, value);
        }
    }
    let file = std::cell::RefCell::new(file);
    outboard::parents(
        &layout,
        MAX_CHUNK_SIZE,
        |offset| node(&file.borrow(), offset),
        |offset, value| {
            put_node(&mut file.borrow_mut(), offset, value);
            Ok(())
        },
    )?;
    Ok(file.into_inner())
}

fn node(file: &[u8], offset: u64) -> std::io::Result<Hash> {
    let start = offset as usize;
    let bytes = file.get(start..start + 32).and_then(|bytes| bytes.try_into().ok());
    bytes.map(Hash).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

fn put_node(file: &mut [u8], offset: u64, value: Hash) {
    file[offset as usize..offset as usize + 32].copy_from_slice(&value.0);
}
