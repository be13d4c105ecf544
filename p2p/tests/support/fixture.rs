//! A small chain with real commitments and signatures, a payload, and a provider in memory that can be made to fail.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use libp2p::PeerId;
use rpp_p2p::{
    Acknowledged, ArtefactKind, Checkpoint, ChunkData, GenesisDescriptor, Hash, PayloadFormat, PipelineError, Plan,
    PlanOffer, PlanRequest, Resumed, Signature, SnapshotHeader, SnapshotProvider, SnapshotSessionId, TrustAnchor,
    Update,
    error::Invalid,
    limits::{MAX_CHUNK_SIZE, MIN_CHUNK_SIZE},
    offers::Offer,
    plan::plan_id,
    tree,
};
use rpp_proofs::{Chain, Genesis, Signer};

use super::Gate;

/// Stands for a proof. [`super::FakeVerifier`] accepts only this.
pub const PROOF: &[u8] = b"a proof";

/// The offer of one provider: one payload, and a chain of three steps with the snapshot at step 1 and the tip at step
/// 3.
#[derive(Clone)]
pub struct Fixture {
    pub payload: Bytes,
    pub genesis: Genesis,
    pub plan: Plan,
    pub updates: Vec<Update>,
}

impl Fixture {
    /// An offer of the snapshot, with the tip's signatures.
    pub fn offer(&self, free_slots: u64) -> Offer {
        Offer {
            genesis: self.plan.genesis.clone(),
            snapshot: self.plan.snapshot,
            tip: self.plan.tip,
            signatures: self.updates.last().unwrap().signatures.clone(),
            min_chunk_size: 16_384,
            max_chunk_size: 4_194_304,
            free_slots,
        }
    }

    /// With chunks of 16 KiB.
    pub fn new(payload_bytes: usize) -> Self {
        Self::with_chunks(payload_bytes, MIN_CHUNK_SIZE)
    }

    pub fn with_chunks(payload_bytes: usize, chunk_size: u64) -> Self {
        let payload: Bytes = (0..payload_bytes).map(|i| (i * 31 + i / 251) as u8).collect::<Vec<_>>().into();
        let signer = Signer::from_seed([7; 32]);
        let genesis = Genesis::new("test".into(), vec![signer.public()], 1).unwrap();
        let updates = updates(&payload, &genesis, &signer);
        let plan = plan(&payload, &genesis, &updates, chunk_size);
        Self { payload, genesis, plan, updates }
    }

    /// Trusts this chain.
    pub fn trust(&self) -> TrustAnchor {
        TrustAnchor::new(self.genesis.commitment().to_bytes().into())
    }

    pub fn chunk(&self, index: u64) -> ChunkData {
        let range = tree::chunk_range(self.plan.snapshot.checkpoint.payload_bytes, self.plan.chunk_size, index);
        let bytes = self.payload.slice(range.start as usize..range.end as usize);
        ChunkData { bytes, proof: proof(&self.payload, self.plan.chunk_size, index) }
    }
}

/// Three steps; the first commits to the payload.
fn updates(payload: &[u8], genesis: &Genesis, signer: &Signer) -> Vec<Update> {
    let mut chain = Chain::genesis(genesis);
    (1..=3_u64)
        .map(|step| {
            let previous = chain.tip().commitment;
            let state_root = if step == 1 { blake3::hash(payload).into() } else { Hash([step as u8; 32]) };
            let native = rpp_proofs::Checkpoint {
                step,
                height: 100 + step * 10,
                block_hash: [step as u8; 32],
                state_root: state_root.0,
                payload_bytes: payload.len() as u64,
            };
            let commitment = chain.extend(&native).unwrap();
            let last = step == 3;
            let signed = signer.sign(&genesis.commitment(), &commitment, native.height, step);
            let signature =
                Signature { publisher: signed.publisher.into(), signature: Bytes::copy_from_slice(&signed.signature) };
            Update {
                checkpoint: Checkpoint {
                    step,
                    height: native.height,
                    block_hash: native.block_hash.into(),
                    state_root,
                    payload_bytes: native.payload_bytes,
                    commitment: commitment.to_bytes().into(),
                },
                previous_commitment: previous.to_bytes().into(),
                recursive_proof: last.then(|| Bytes::from_static(PROOF)),
                signatures: if last { vec![signature] } else { Vec::new() },
            }
        })
        .collect()
}

fn plan(payload: &[u8], genesis: &Genesis, updates: &[Update], chunk_size: u64) -> Plan {
    let mut plan = Plan {
        plan_id: Hash::default(),
        proof: rpp_proofs::PROOF_SYSTEM.to_owned(),
        genesis: GenesisDescriptor {
            chain_id: genesis.chain_id().to_owned(),
            publishers: genesis.publishers().iter().map(|key| Hash(*key)).collect(),
            threshold: u64::from(genesis.threshold()),
        },
        snapshot: SnapshotHeader { checkpoint: updates[0].checkpoint, format: PayloadFormat::Raw },
        tip: updates.last().unwrap().checkpoint,
        chunk_size,
        total_chunks: tree::total_chunks(payload.len() as u64, chunk_size),
        total_updates: updates.len() as u64,
    };
    plan.plan_id = plan_id(&plan).unwrap();
    plan
}

/// The sibling chaining values of a chunk, leaf to root, straight from the payload.
pub fn proof(payload: &[u8], chunk_size: u64, index: u64) -> Vec<Hash> {
    let range = tree::chunk_range(payload.len() as u64, chunk_size, index);
    let mut path = Vec::new();
    descend(payload, 0, range.start as usize, range.end as usize, &mut path);
    path.reverse();
    path
}

/// Goes from the node that begins at `offset` down to `[start, end)`, and notes the sibling at each step.
fn descend(node: &[u8], offset: usize, start: usize, end: usize, path: &mut Vec<Hash>) {
    if offset == start && offset + node.len() == end {
        return;
    }
    let (left, right) = node.split_at(left_len(node.len()));
    let middle = offset + left.len();
    if start < middle {
        path.push(chaining_value(right, middle));
        descend(left, offset, start, end, path);
    } else {
        path.push(chaining_value(left, offset));
        descend(right, middle, start, end, path);
    }
}

fn left_len(len: usize) -> usize {
    let units = len.div_ceil(1024);
    1024 * (units.next_power_of_two() / 2)
}

fn chaining_value(node: &[u8], offset: usize) -> Hash {
    use blake3::hazmat::HasherExt as _;
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset as u64).update(node);
    Hash(hasher.finalize_non_root())
}

type Hook = Box<dyn Fn(&str) -> Result<(), PipelineError> + Send + Sync>;

/// Serves a fixture from memory, and keeps sessions by peer and id. Each call first runs a hook.
pub struct MemoryProvider {
    pub fixture: Fixture,
    sessions: Mutex<HashMap<(PeerId, SnapshotSessionId), Markers>>,
    hook: Mutex<Option<Arc<Hook>>>,
}

/// The acknowledged counts of a session: chunks and updates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Markers {
    pub chunks: u64,
    pub updates: u64,
}

impl MemoryProvider {
    pub fn new(fixture: Fixture) -> Arc<Self> {
        Arc::new(Self { fixture, sessions: Mutex::default(), hook: Mutex::default() })
    }

    /// Runs `hook` at the start of each call, with the call's name. The hook may fail, panic or wait.
    pub fn hook(&self, hook: impl Fn(&str) -> Result<(), PipelineError> + Send + Sync + 'static) {
        *self.hook.lock().unwrap() = Some(Arc::new(Box::new(hook)));
    }

    /// From now on, calls wait at the returned gate.
    pub fn hold(&self) -> Gate {
        let gate = Gate::closed();
        let turnstile = gate.turnstile();
        self.hook(move |_| {
            turnstile.pass();
            Ok(())
        });
        gate
    }

    /// From now on, calls run without a hook.
    pub fn unhook(&self) {
        *self.hook.lock().unwrap() = None;
    }

    pub fn markers(&self, peer: PeerId, session: SnapshotSessionId) -> Option<Markers> {
        self.sessions.lock().unwrap().get(&(peer, session)).copied()
    }

    fn enter(&self, call: &str) -> Result<(), PipelineError> {
        let hook = self.hook.lock().unwrap().clone();
        hook.map_or(Ok(()), |hook| hook(call))
    }

    fn session(&self, peer: PeerId, session: SnapshotSessionId) -> Result<Markers, PipelineError> {
        self.markers(peer, session).ok_or_else(|| PipelineError::unknown_session(session))
    }
}

impl SnapshotProvider for MemoryProvider {
    fn plan(&self, peer: PeerId, request: &PlanRequest) -> Result<PlanOffer, PipelineError> {
        self.enter("plan")?;
        self.sessions.lock().unwrap().insert((peer, request.session), Markers::default());
        Ok(PlanOffer {
            plan: self.fixture.plan.clone(),
            min_chunk_size: MIN_CHUNK_SIZE,
            max_chunk_size: MAX_CHUNK_SIZE,
        })
    }

    fn chunk(&self, peer: PeerId, session: SnapshotSessionId, index: u64) -> Result<ChunkData, PipelineError> {
        self.enter("chunk")?;
        self.session(peer, session)?;
        if index >= self.fixture.plan.total_chunks {
            return Err(Invalid::Own("there is no such chunk").into());
        }
        Ok(self.fixture.chunk(index))
    }

    fn update(&self, peer: PeerId, session: SnapshotSessionId, index: u64) -> Result<Update, PipelineError> {
        self.enter("update")?;
        self.session(peer, session)?;
        let update = usize::try_from(index).ok().and_then(|index| self.fixture.updates.get(index));
        update.cloned().ok_or_else(|| Invalid::Own("there is no such update").into())
    }

    fn resume_session(
        &self,
        peer: PeerId,
        session: SnapshotSessionId,
        plan_id: Hash,
        chunk_index: u64,
        update_index: u64,
    ) -> Result<Resumed, PipelineError> {
        self.enter("resume")?;
        self.session(peer, session)?;
        let plan = &self.fixture.plan;
        Ok(Resumed {
            plan_id,
            chunk_index,
            update_index,
            chunk_size: plan.chunk_size,
            payload_bytes: plan.snapshot.checkpoint.payload_bytes,
            total_updates: plan.total_updates,
        })
    }

    fn acknowledge(
        &self,
        peer: PeerId,
        session: SnapshotSessionId,
        kind: ArtefactKind,
        index: u64,
    ) -> Result<Acknowledged, PipelineError> {
        self.enter("acknowledge")?;
        self.session(peer, session)?;
        let mut sessions = self.sessions.lock().unwrap();
        let markers = sessions.get_mut(&(peer, session)).unwrap();
        match kind {
            ArtefactKind::Chunk => markers.chunks = index + 1,
            ArtefactKind::LightClientUpdate => markers.updates = index + 1,
            ArtefactKind::Plan => {}
        }
        let plan = &self.fixture.plan;
        Ok(Acknowledged { finished: markers.chunks == plan.total_chunks && markers.updates == plan.total_updates })
    }

    fn cancel(&self, peer: PeerId, session: SnapshotSessionId) {
        // A cancel cannot fail.
        let _ = self.enter("cancel");
        self.sessions.lock().unwrap().remove(&(peer, session));
    }
}
