//! A consumer that is killed in the middle and continues where it was. It keeps on disk the plan with its updates, the
//! payload so far, and the proof of each chunk. The next process checks every byte on the disk again before it counts.
//! Then it resumes the session and fetches the rest.
//!
//! `cargo run --release -p rpp-p2p --example resume`

#[path = "provider_on_disk.rs"]
pub(crate) mod provider_on_disk;

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use futures::StreamExt as _;
use libp2p::{Swarm, identity::Keypair, swarm::SwarmEvent};
use provider_on_disk::{Folder, Serving, serve, swarm, write_durably};
use rpp_p2p::{
    Hash, Have, LightClientSync, Plan, PlanWishes, SnapshotSessionId, TrustAnchor, Update, VerifiedChunk,
    consumer::{Action, Options, Saved, Session, Storage},
    snapshots::{Behaviour, Config, Event},
    tree,
};
use rpp_proofs::Verifier;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

const CHUNK_SIZE: u64 = 64 * 1024;

#[tokio::main]
#[allow(dead_code)] // a test includes this file and calls `run`
async fn main() -> anyhow::Result<()> {
    let payload: Vec<u8> = (0..3_000_000_u32).map(|i| (i ^ (i >> 7)) as u8).collect();
    let (before, after) = run(payload).await?;
    println!("{before} bytes fetched before the consumer was killed, {after} after: the payload is whole and verified");
    Ok(())
}

/// Streams `payload` with two consumers, one after the other over one folder. Returns the bytes that each fetched.
pub(crate) async fn run(payload: Vec<u8>) -> anyhow::Result<(u64, u64)> {
    let (offered, mine) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (path, bytes) = (offered.path().to_owned(), payload.clone());
    let genesis = spawn_blocking(move || Folder::publish(&path, &bytes)).await??;
    let serving = serve(offered.path()).await?;
    let trust = TrustAnchor::new(genesis);
    write_durably(&mine.path().join("key"), &Keypair::generate_ed25519().to_protobuf_encoding()?)?;

    let third = payload.len() as u64 / 3;
    let mut first = Consumer::open(mine.path(), &serving, trust.clone())?;
    let before = first.stream(|durable| durable >= third).await?;
    drop(first);
    let mut second = Consumer::open(mine.path(), &serving, trust)?;
    let after = second.stream(|_| false).await?;
    serving.stop().await;
    ensure!(fs::read(mine.path().join("payload"))? == payload, "the payload arrived changed");
    Ok((before, after))
}

/// What a consumer keeps of its session.
///
/// ```text
/// key             its identity: sessions are with a peer
/// session.json    this, written when the plan has authority
/// partial         the payload so far
/// proofs          for each chunk in it, a line of JSON: its proof
/// payload         the payload, once it is whole
/// ```
#[derive(Serialize, Deserialize)]
struct Kept {
    session: SnapshotSessionId,
    plan: Plan,
    updates: Vec<Update>,
}

struct Consumer {
    folder: PathBuf,
    swarm: Swarm<Behaviour<Folder>>,
    session: Session,
    light_client: LightClientSync,
    /// Bytes of the payload that are on disk.
    durable: u64,
}

impl Consumer {
    /// Starts a new session, or continues with the content of the folder.
    fn open(folder: &Path, serving: &Serving, trust: TrustAnchor) -> anyhow::Result<Self> {
        let key = Keypair::from_protobuf_encoding(&fs::read(folder.join("key"))?)?;
        let mut swarm = swarm(key, Folder::empty(), Config::default().with_trust(trust.clone()))?;
        swarm.add_peer_address(serving.peer, serving.address.clone());
        let wishes = PlanWishes { chunk_size: Some(CHUNK_SIZE), ..PlanWishes::default() };
        let options = Options { wishes, ack_bytes: 4 * CHUNK_SIZE, ..Options::default() };
        let now = Instant::now();
        let session = match fs::read(folder.join("session.json")) {
            Ok(text) => {
                let Kept { session, plan, updates } = serde_json::from_slice(&text)?;
                let durable = checked(folder, &plan)?;
                let confirmed_chunks = durable.prefix_chunks(plan.chunk_size);
                let saved = Saved { plan: Arc::new(plan), updates, confirmed_chunks, confirmed_updates: 0, durable };
                Session::restore(session, serving.peer, options, saved, None, now)
            }
            Err(_) => Session::new(SnapshotSessionId::random(), serving.peer, options, now),
        };
        let light_client = LightClientSync::new(trust, Arc::new(Verifier::shared()));
        Ok(Self { folder: folder.to_owned(), swarm, session, light_client, durable: 0 })
    }

    /// Drives the session to its end, or until `enough` returns `true` for the bytes on disk. Returns the bytes that it
    /// fetched.
    async fn stream(&mut self, enough: impl Fn(u64) -> bool) -> anyhow::Result<u64> {
        loop {
            while let Some(action) = self.session.poll_action(Instant::now()) {
                self.perform(action).await?;
            }
            let view = self.session.view();
            if let Some(failure) = view.failure {
                bail!("the session failed: {}", failure.message);
            }
            if view.verified || enough(self.durable) {
                return Ok(view.bytes_received);
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
            // There is only one session and one provider here, so every event belongs to them.
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

    async fn perform(&mut self, action: Action) -> anyhow::Result<()> {
        match action {
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
            Action::VerifyAuthority { plan, updates } => {
                // Checking the proof takes a tenth of a second, too long for the swarm's task.
                let light_client = self.light_client.clone();
                let verdict = spawn_blocking(move || light_client.authorize(plan, &updates)).await?;
                self.session.handle_authority(Instant::now(), verdict.map(drop).map_err(Into::into))?;
            }
            Action::OpenStorage { plan, updates } => {
                let kept = Kept { session: self.session.id(), plan: (*plan).clone(), updates: (*updates).clone() };
                write_durably(&self.folder.join("session.json"), &serde_json::to_vec(&kept)?)?;
                let durable = checked(&self.folder, &plan)?;
                let unchecked = Have::nothing(durable.payload_bytes());
                self.session.handle_storage(Instant::now(), Storage::Ready { durable, unchecked })?;
            }
            Action::Write(chunk) => {
                self.append(&chunk)?;
                self.session.handle_written(Instant::now(), chunk.index)?;
            }
            Action::Sync => {
                for name in ["partial", "proofs"] {
                    fs::File::open(self.folder.join(name))?.sync_all()?;
                }
                self.durable = self.session.view().bytes_written;
                let total = self.session.plan().map_or(0, |plan| plan.snapshot.checkpoint.payload_bytes);
                // From a single peer, chunks arrive in order, so the written part has no gap.
                self.session.handle_durable(Instant::now(), &Have::prefix(total, self.durable))?;
            }
            Action::Place => {
                let place = self.folder.join("payload");
                fs::rename(self.folder.join("partial"), &place)?;
                self.session.handle_placed(Instant::now(), place)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes the bytes before the proof. A chunk without its proof does not count and is fetched again.
    fn append(&self, chunk: &VerifiedChunk) -> anyhow::Result<()> {
        let open = |name| OpenOptions::new().create(true).append(true).open(self.folder.join(name));
        open("partial")?.write_all(&chunk.bytes)?;
        let mut line = serde_json::to_vec(&chunk.proof)?;
        line.push(b'\n');
        Ok(open("proofs")?.write_all(&line)?)
    }
}

/// The chunks on disk, from the first one on, that verify against the root. Everything after them is cut off.
fn checked(folder: &Path, plan: &Plan) -> anyhow::Result<Have> {
    let total = plan.snapshot.checkpoint.payload_bytes;
    let (Ok(mut bytes), Ok(mut lines)) = (fs::read(folder.join("partial")), fs::read_to_string(folder.join("proofs")))
    else {
        return Ok(Have::nothing(total));
    };
    let header = &plan.snapshot.checkpoint;
    let (mut chunks, mut kept) = (0, 0);
    for line in lines.lines() {
        let range = tree::chunk_range(header.payload_bytes, plan.chunk_size, chunks);
        let Some(chunk) = bytes.get(range.start as usize..range.end as usize) else { break };
        let Ok(proof) = serde_json::from_str::<Vec<Hash>>(line) else { break };
        if tree::verify_chunk(&header.state_root, header.payload_bytes, plan.chunk_size, chunks, chunk, &proof).is_err()
        {
            break;
        }
        chunks += 1;
        kept += line.len() + 1;
    }
    bytes.truncate(tree::chunk_range(header.payload_bytes, plan.chunk_size, chunks).start as usize);
    lines.truncate(kept);
    write_durably(&folder.join("partial"), &bytes)?;
    write_durably(&folder.join("proofs"), lines.as_bytes())?;
    Ok(Have::prefix(total, bytes.len() as u64))
}
