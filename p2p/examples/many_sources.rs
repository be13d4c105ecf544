//! One download from many sources: a peer that lies, an honest peer, and a mirror, which this program reads itself. The
//! mirror is a folder here; a web server or a bucket is read in the same way. Everything that they send is verified
//! before it counts, and the peer that lied is named.
//!
//! `cargo run --release -p rpp-p2p --example many_sources`

#[path = "provider_on_disk.rs"]
pub(crate) mod provider_on_disk;

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use futures::StreamExt as _;
use libp2p::{PeerId, Swarm, identity::Keypair, swarm::SwarmEvent};
use provider_on_disk::{Folder, serve, swarm, write_durably};
use rpp_p2p::{
    Hash, Have, LightClientSync, Plan, PlanWishes, Rules, SnapshotSessionId, TrustAnchor, Update, VerifiedChunk,
    consumer::{Action, DownloadSource, MirrorFailure, MirrorId, MirrorJob, Options, Session, Storage},
    error::{Cause, Violation},
    mirror::MirrorPlan,
    outboard::{Layout, NODE, proof_nodes},
    snapshots::{Behaviour, Config, Event},
    status::FailureCode,
    tree,
};
use rpp_proofs::Verifier;
use tokio::task::spawn_blocking;

const CHUNK_SIZE: u64 = 64 * 1024;
const MIRROR: MirrorId = MirrorId(1);

#[tokio::main]
#[allow(dead_code)] // a test includes this file and calls `run`
async fn main() -> anyhow::Result<()> {
    let payload: Vec<u8> = (0..30_000_000_u32).map(|i| (i ^ (i >> 7)) as u8).collect();
    let outcome = run(payload).await?;
    for (name, bytes) in [("honest peer", outcome.honest), ("mirror", outcome.mirror), ("liar", outcome.liar)] {
        println!("{name}: {bytes} verified bytes");
    }
    println!("the liar is {}", outcome.liar_peer);
    outcome.blamed.iter().for_each(|blamed| println!("blamed: {blamed}"));
    Ok(())
}

/// How many bytes each source gave, and which source was named as a liar.
pub(crate) struct Outcome {
    pub(crate) honest: u64,
    pub(crate) mirror: u64,
    pub(crate) liar: u64,
    pub(crate) liar_peer: PeerId,
    pub(crate) blamed: Vec<String>,
}

/// Publishes `payload` and streams it from all three sources.
pub(crate) async fn run(payload: Vec<u8>) -> anyhow::Result<Outcome> {
    let (offered, damaged) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (path, bytes) = (offered.path().to_owned(), payload.clone());
    let genesis = spawn_blocking(move || Folder::publish(&path, &bytes)).await??;
    damage(offered.path(), damaged.path())?;
    let (honest, liar) = (serve(offered.path()).await?, serve(damaged.path()).await?);

    let trust = TrustAnchor::new(genesis);
    let key = Keypair::generate_ed25519();
    let mut swarm = swarm(key, Folder::empty(), Config::default().with_trust(trust.clone()))?;
    for serving in [&honest, &liar] {
        swarm.add_peer_address(serving.peer, serving.address.clone());
    }
    let wishes = PlanWishes { chunk_size: Some(CHUNK_SIZE), ..PlanWishes::default() };
    let options = Options { wishes, ..Options::default() };
    // The first source leads. The download uses its plan, once the signatures and the proof are checked.
    let mut session = Session::new(SnapshotSessionId::random(), liar.peer, options, Instant::now());
    // The requests to a further peer have a session id of their own.
    session.add_peer(Instant::now(), honest.peer, SnapshotSessionId::random());
    session.add_mirror(MIRROR);
    let light_client = LightClientSync::new(trust.clone(), Arc::new(Verifier::shared()));
    let rules = Rules { trust: Arc::new(trust), ..Rules::default() };
    let mirror = offered.path().to_owned();
    let (bytes, have, blamed) = (Vec::new(), Have::nothing(0), Vec::new());
    let mut download = Download { swarm, session, light_client, rules, mirror, bytes, have, blamed };
    download.stream().await?;
    ensure!(download.bytes == payload, "the payload arrived changed");

    let sources = download.session.sources(Instant::now());
    let gave = |wanted| sources.iter().find(|of| of.source == wanted).map_or(0, |of| of.bytes_verified);
    let outcome = Outcome {
        honest: gave(DownloadSource::Peer(honest.peer)),
        mirror: gave(DownloadSource::Mirror(MIRROR)),
        liar: gave(DownloadSource::Peer(liar.peer)),
        liar_peer: liar.peer,
        blamed: download.blamed,
    };
    honest.stop().await;
    liar.stop().await;
    Ok(outcome)
}

/// Another provider of the same snapshot. Every chunk of its payload is wrong.
fn damage(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to.join("records"))?;
    for name in ["outboard", "offer.json"] {
        fs::copy(from.join(name), to.join(name))?;
    }
    let mut payload = fs::read(from.join("payload"))?;
    payload.iter_mut().step_by(1024).for_each(|byte| *byte ^= 1);
    write_durably(&to.join("payload"), &payload)?;
    Ok(write_durably(&to.join("key"), &Keypair::generate_ed25519().to_protobuf_encoding()?)?)
}

struct Download {
    swarm: Swarm<Behaviour<Folder>>,
    session: Session,
    light_client: LightClientSync,
    rules: Rules,
    /// A folder with payload, outboard and offer.
    mirror: PathBuf,
    /// The payload. A real program keeps it in a file, as the example `resume` does.
    bytes: Vec<u8>,
    /// The parts that have arrived. Chunks arrive in any order.
    have: Have,
    blamed: Vec<String>,
}

impl Download {
    async fn stream(&mut self) -> anyhow::Result<()> {
        loop {
            while let Some(action) = self.session.poll_action(Instant::now()) {
                self.perform(action).await?;
            }
            // The session has already cut off the source. A real program would also remember it and not use it again
            // for a while.
            while let Some(blame) = self.session.poll_blame() {
                self.blamed.push(format!("{:?}: {:?}", blame.source, blame.fault));
            }
            let view = self.session.view();
            if let Some(failure) = view.failure {
                bail!("the session failed: {}", failure.message);
            }
            if view.verified {
                return Ok(());
            }
            let timeout = self.session.poll_timeout().unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
            tokio::select! {
                event = self.swarm.select_next_some() => self.tell(event)?,
                () = tokio::time::sleep_until(timeout.into()) => self.session.handle_timeout(Instant::now()),
            }
        }
    }

    fn tell(&mut self, event: SwarmEvent<Event>) -> anyhow::Result<()> {
        let now = Instant::now();
        match event {
            SwarmEvent::Behaviour(event) => event.tell(&mut self.session, now)?,
            SwarmEvent::ConnectionEstablished { peer_id, .. } => self.session.handle_connected(now, peer_id),
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => {
                self.session.handle_disconnected(now, peer_id, "closed");
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer_id), error, .. } => {
                self.session.handle_dial_failed(now, peer_id, &error.to_string());
            }
            _ => {}
        }
        Ok(())
    }

    /// An action about a source names the source: a peer, or a mirror with a job.
    async fn perform(&mut self, action: Action) -> anyhow::Result<()> {
        match action {
            Action::Connect(peer) if self.swarm.is_connected(&peer) => {
                self.session.handle_connected(Instant::now(), peer);
            }
            Action::Connect(peer) => {
                if let Err(error) = self.swarm.dial(peer) {
                    self.session.handle_dial_failed(Instant::now(), peer, &error.to_string());
                }
            }
            Action::Request(peer, exchange) => {
                let sent = self.swarm.behaviour_mut().request(peer, exchange);
                self.session.handle_sent(Instant::now(), sent)?;
            }
            Action::Grant(peer, grant) => self.swarm.behaviour_mut().grant(peer, grant),
            Action::Close(peer, link) => self.swarm.behaviour_mut().forget(peer, link),
            Action::Mirror(mirror, number, job) => {
                // A real program reads on a task of its own. Several jobs may be in flight, and the session continues
                // meanwhile.
                let (folder, rules) = (self.mirror.clone(), self.rules.clone());
                let read = spawn_blocking(move || read_mirror(&folder, &rules, job)).await?;
                let now = Instant::now();
                match read {
                    Ok(Read::Plan(plan)) => self.session.handle_mirror_plan(now, mirror, number, plan)?,
                    Ok(Read::Chunks(chunks)) => {
                        for chunk in chunks {
                            self.session.handle_mirror_chunk(now, mirror, number, chunk)?;
                        }
                        self.session.handle_mirror_read(mirror, number)?;
                    }
                    Err(failure) => self.session.handle_mirror_failed(now, mirror, number, failure)?,
                }
            }
            Action::VerifyAuthority { plan, updates } => {
                let light_client = self.light_client.clone();
                let verdict = spawn_blocking(move || light_client.authorize(plan, &updates)).await?;
                self.session.handle_authority(Instant::now(), verdict.map(drop).map_err(Into::into))?;
            }
            Action::OpenStorage { plan, .. } => {
                let total = plan.snapshot.checkpoint.payload_bytes;
                self.bytes.resize(total as usize, 0);
                self.have = Have::nothing(total);
                let (durable, unchecked) = (self.have.clone(), self.have.clone());
                self.session.handle_storage(Instant::now(), Storage::Ready { durable, unchecked })?;
            }
            Action::Write(chunk) => {
                let place = self.place(chunk.index)?;
                self.bytes[place.start as usize..place.end as usize].copy_from_slice(&chunk.bytes);
                self.have.insert_bytes(place);
                self.session.handle_written(Instant::now(), chunk.index)?;
            }
            // In this example, memory counts as durable.
            Action::Sync => self.session.handle_durable(Instant::now(), &self.have)?,
            Action::Place => self.session.handle_placed(Instant::now(), PathBuf::from("memory"))?,
            _ => {}
        }
        Ok(())
    }

    fn place(&self, index: u64) -> anyhow::Result<Range<u64>> {
        let plan = self.session.plan().context("a chunk without a plan")?;
        Ok(tree::chunk_range(plan.snapshot.checkpoint.payload_bytes, plan.chunk_size, index))
    }
}

enum Read {
    Plan(MirrorPlan),
    Chunks(Vec<VerifiedChunk>),
}

/// Does a job of the mirror. The mirror is not trusted: the plan is checked against the rules, and each chunk against
/// the root.
fn read_mirror(folder: &Path, rules: &Rules, job: MirrorJob) -> Result<Read, MirrorFailure> {
    let passing = |reason: anyhow::Error| MirrorFailure::Passing { reason: Cause::told(&reason), retry_after: None };
    match job {
        MirrorJob::Plan { wishes, .. } => {
            let (plan, update) = offer(folder, &wishes).map_err(passing)?;
            MirrorPlan::check(plan, vec![update], wishes, rules).map(Read::Plan).map_err(MirrorFailure::Lied)
        }
        MirrorJob::Chunks { plan, chunks } => {
            let (payload, outboard) = files(folder).map_err(passing)?;
            let verified = chunks.map(|index| chunk(&plan, index, &payload, &outboard)).collect::<Result<_, _>>();
            verified.map(Read::Chunks).map_err(MirrorFailure::Lied)
        }
        _ => {
            let reason = Cause::told(&"this program does not know that job");
            Err(MirrorFailure::Refused { code: FailureCode::Provider, reason })
        }
    }
}

/// The plan with the wished chunk size, and its only update.
fn offer(folder: &Path, wishes: &PlanWishes) -> anyhow::Result<(Plan, Update)> {
    let (mut plan, update): (Plan, Update) = serde_json::from_slice(&fs::read(folder.join("offer.json"))?)?;
    plan.chunk_size = wishes.chunk_size.unwrap_or(CHUNK_SIZE);
    plan.total_chunks = tree::total_chunks(plan.snapshot.checkpoint.payload_bytes, plan.chunk_size);
    Ok((plan, update))
}

/// A real program reads only the ranges that it needs.
fn files(folder: &Path) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    Ok((fs::read(folder.join("payload"))?, fs::read(folder.join("outboard"))?))
}

fn chunk(plan: &Plan, index: u64, payload: &[u8], outboard: &[u8]) -> Result<VerifiedChunk, Violation> {
    let header = &plan.snapshot.checkpoint;
    let (root, total, size) = (header.state_root, header.payload_bytes, plan.chunk_size);
    let range = tree::chunk_range(total, size, index);
    let bytes = payload.get(range.start as usize..range.end as usize).unwrap_or_default().to_vec();
    let node = |offset: u64| outboard.get(offset as usize..(offset + NODE) as usize)?.try_into().ok().map(Hash);
    let proof = proof_nodes(&Layout::new(total), size, index).into_iter().filter_map(node).collect();
    let received = bytes.len() as u64;
    VerifiedChunk::verify(&root, total, size, index, bytes.into(), proof).map_err(|source| Violation::Chunk {
        index,
        received,
        source,
    })
}
