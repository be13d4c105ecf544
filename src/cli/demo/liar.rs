//! A provider that lies: it serves a stored snapshot like any other provider, but changes one bit of each chunk.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use bytes::Bytes;
use libp2p::{
    PeerId, SwarmBuilder, futures::StreamExt as _, multiaddr::Protocol, noise, swarm::SwarmEvent, tcp, yamux,
};
use rpp_p2p::{
    Acknowledged, ArtefactKind, ChunkData, Hash, PipelineError, Plan, PlanOffer, PlanRequest, Resumed,
    SnapshotProvider, SnapshotSessionId, Update,
    error::Unavailable,
    plan::ChunkBounds,
    provider::SessionKey,
    snapshots::{Behaviour, Config},
};
use rpp_runtime::store::{Offer, Payload, Store};
use tokio::task::JoinHandle;

/// The provider runs on a task of its own until this is dropped.
pub(super) struct Liar {
    pub(super) peer: PeerId,
    /// Ends in its peer id.
    pub(super) address: String,
    task: JoinHandle<()>,
}

impl Liar {
    /// Serves the snapshot with this root. `snapshots` holds the folder `store`.
    pub(super) async fn start(snapshots: &Path, root: &str) -> anyhow::Result<Self> {
        let lies = Lies::open(snapshots, root)?;
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)?
            .with_behaviour(|_| Behaviour::new(Arc::new(lies), Config::default()))?
            .build();
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
        Ok(Self { peer, address: address.with(Protocol::P2p(peer)).to_string(), task })
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A stored snapshot, and the plans of its sessions.
struct Lies {
    offer: Arc<Offer>,
    payload: Arc<Payload>,
    plans: Mutex<HashMap<SessionKey, Plan>>,
}

impl Lies {
    fn open(snapshots: &Path, root: &str) -> anyhow::Result<Self> {
        let store = Store::open(snapshots)?;
        let (stored, offer) = store.best_offer(root.parse().ok(), None).context("the copy holds no snapshot")?;
        Ok(Self { offer, payload: stored.open()?, plans: Mutex::default() })
    }

    fn plans(&self) -> MutexGuard<'_, HashMap<SessionKey, Plan>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plan_of(&self, peer: PeerId, session: SnapshotSessionId) -> Result<Plan, PipelineError> {
        let plan = self.plans().get(&(peer, session)).cloned();
        plan.ok_or_else(|| PipelineError::unknown_session(session))
    }
}

impl SnapshotProvider for Lies {
    fn plan(&self, peer: PeerId, request: &PlanRequest) -> Result<PlanOffer, PipelineError> {
        let ours = ChunkBounds::default();
        let size = request.wishes.fit_chunk_size(ours)?;
        let plan = self.offer.plan(size).map_err(PipelineError::internal)?;
        self.plans().insert((peer, request.session), plan.clone());
        Ok(PlanOffer { plan, min_chunk_size: ours.min, max_chunk_size: ours.max })
    }

    fn chunk(&self, peer: PeerId, session: SnapshotSessionId, index: u64) -> Result<ChunkData, PipelineError> {
        let size = self.plan_of(peer, session)?.chunk_size;
        let (bytes, proof) = self.payload.read_chunk(index, size).map_err(PipelineError::internal)?;
        let mut bytes = Vec::from(bytes);
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 1;
        }
        Ok(ChunkData { bytes: Bytes::from(bytes), proof })
    }

    fn update(&self, _: PeerId, _: SnapshotSessionId, index: u64) -> Result<Update, PipelineError> {
        self.offer.update(index).ok_or_else(|| Unavailable::Own("there is no such update").into())
    }

    fn resume_session(
        &self,
        peer: PeerId,
        session: SnapshotSessionId,
        plan_id: Hash,
        chunk_index: u64,
        update_index: u64,
    ) -> Result<Resumed, PipelineError> {
        let plan = self.plan_of(peer, session)?;
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
        _: PeerId,
        _: SnapshotSessionId,
        _: ArtefactKind,
        _: u64,
    ) -> Result<Acknowledged, PipelineError> {
        Ok(Acknowledged { finished: false })
    }

    fn cancel(&self, peer: PeerId, session: SnapshotSessionId) {
        self.plans().remove(&(peer, session));
    }
}
