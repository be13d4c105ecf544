//! A provider made of the real `Slots` and `Records`, with a disk that survives its restarts.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Instant, SystemTime},
};

use libp2p::{Multiaddr, PeerId};
use rpp_p2p::{
    ArtefactKind, ErrorCode, PipelineError, Plan, PlanWishes, SnapshotSessionId, SnapshotsRequest, SnapshotsResponse,
    error::Unavailable,
    json,
    plan::{ChunkBounds, choose_chunk_size},
    provider::{Record, RecordLimits, Records, SessionKey, SlotLimits, SlotOutcome, Slots, Source, Ticket},
};

use crate::world::WORLD;

/// (snapshot step, tip step)
pub type Offer = (u64, u64);

pub struct Provider {
    pub offers: Vec<Offer>,
    pub up: bool,
    /// Counts restarts. Requests from before a restart are dropped.
    pub life: u32,
    slots: Slots,
    records: Records,
    disk: HashMap<SessionKey, String>,
    slot_limits: SlotLimits,
    /// The number of requests being served, by session. The slots must keep it at one.
    serving: HashMap<SessionKey, u32>,
}

/// A request that was admitted.
pub struct Serving {
    pub ticket: Ticket,
    pub request: SnapshotsRequest,
    pub life: u32,
}

pub enum Arrival {
    Answer(SnapshotsResponse),
    Serve(Box<Serving>),
}

impl Provider {
    pub fn new(offers: Vec<Offer>, slot_limits: SlotLimits) -> Self {
        Self {
            offers,
            up: true,
            life: 0,
            slots: Slots::new(slot_limits),
            records: Records::new(RecordLimits::default()),
            disk: HashMap::new(),
            slot_limits,
            serving: HashMap::new(),
        }
    }

    pub fn restart(&mut self) {
        self.life += 1;
        self.up = true;
        self.serving.clear();
        self.slots = Slots::new(self.slot_limits);
        self.records = Records::new(RecordLimits::default());
        for ((peer, session), text) in &self.disk {
            self.records.put(*peer, *session, serde_json::from_str(text).unwrap());
        }
    }

    pub fn forget_everything(&mut self) {
        self.disk.clear();
        self.records = Records::new(RecordLimits::default());
    }

    /// Every session now streams a different plan, as if it had been planned anew without the consumer's knowledge.
    pub fn change_plans(&mut self) {
        let keys: Vec<SessionKey> = self.records.iter().map(|(key, _)| *key).collect();
        for (peer, session) in keys {
            let mut record = self.records.get(peer, session).unwrap().clone();
            let (snapshot, tip) = self.offers[0];
            record.plan = Arc::new(WORLD.plan(snapshot, tip, record.plan.chunk_size));
            (record.confirmed_chunk, record.confirmed_update) = (None, None);
            self.persist(peer, session, record);
        }
    }

    pub fn record(&self, peer: PeerId, session: SnapshotSessionId) -> Option<Record> {
        self.records.get(peer, session).ok().cloned()
    }

    pub fn arrive(&mut self, now: Instant, peer: PeerId, bytes: &[u8]) -> Arrival {
        let request = match json::decode_request(bytes) {
            Ok(request) => request,
            Err(error) => {
                let session_id = SnapshotSessionId::UNREADABLE;
                let message = error.to_string();
                return Arrival::Answer(SnapshotsResponse::Error { session_id, code: ErrorCode::Invalid, message });
            }
        };
        let session = request.session_id();
        if let SnapshotsRequest::Error { .. } = request {
            self.slots.free(peer, session);
            self.records.remove(peer, session);
            self.disk.remove(&(peer, session));
            return Arrival::Answer(refusal(session, &PipelineError::Cancelled));
        }
        match self.slots.admit(now, Source::of_peer(&Multiaddr::empty(), peer), peer, session) {
            Err(error) => Arrival::Answer(refusal(session, &error)),
            Ok(ticket) => {
                let serving = self.serving.entry((peer, session)).or_insert(0);
                *serving += 1;
                assert_eq!(*serving, 1, "two requests of one session are served at once");
                Arrival::Serve(Box::new(Serving { ticket, request, life: self.life }))
            }
        }
    }

    pub fn serve(&mut self, now: Instant, wall: SystemTime, serving: Serving) -> SnapshotsResponse {
        let key @ (peer, session) = serving.ticket.key();
        *self.serving.get_mut(&key).unwrap() -= 1;
        let others = |records: &Records| -> HashMap<SessionKey, Record> {
            records.iter().filter(|(other, _)| **other != key).map(|(key, record)| (*key, record.clone())).collect()
        };
        let before = others(&self.records);
        let (response, outcome) = match self.answer(peer, session, &serving.request, wall) {
            Ok(answer) => answer,
            Err(error) => {
                let gone = matches!(error, PipelineError::NotFound(_));
                (refusal(session, &error), if gone { SlotOutcome::Free } else { SlotOutcome::Keep })
            }
        };
        assert_eq!(before, others(&self.records), "a request touched another session");
        self.slots.release(now, serving.ticket, outcome);
        response
    }

    fn answer(
        &mut self,
        peer: PeerId,
        session_id: SnapshotSessionId,
        request: &SnapshotsRequest,
        wall: SystemTime,
    ) -> Result<(SnapshotsResponse, SlotOutcome), PipelineError> {
        let response = match *request {
            SnapshotsRequest::Plan { wishes, .. } => {
                let PlanWishes { chunk_size, min_chunk_size, max_chunk_size, root, height } = wishes;
                let (snapshot, tip) = self
                    .offers
                    .iter()
                    .copied()
                    .filter(|(snapshot, _)| {
                        let snapshot = WORLD.checkpoint(*snapshot);
                        root.is_none_or(|root| root == snapshot.state_root)
                            && height.is_none_or(|height| height == snapshot.height)
                    })
                    .max()
                    .ok_or(PipelineError::from(Unavailable::Own("no such snapshot is offered")))?;
                let ours = ChunkBounds::default();
                let theirs =
                    ChunkBounds { min: min_chunk_size.unwrap_or(ours.min), max: max_chunk_size.unwrap_or(ours.max) };
                let chunk_size = choose_chunk_size(chunk_size, theirs, ours)?;
                let plan = WORLD.plan(snapshot, tip, chunk_size);
                if let Some(gone) = self.records.make_room(peer, session_id, None, wall)? {
                    self.disk.remove(&gone);
                }
                self.persist(peer, session_id, Record::new(Arc::new(plan.clone()), wall));
                let (min_chunk_size, max_chunk_size) = (ours.min, ours.max);
                SnapshotsResponse::Plan { session_id, plan: Box::new(plan), min_chunk_size, max_chunk_size }
            }
            SnapshotsRequest::Chunk { chunk_index, .. } => {
                let plan = self.records.serve(peer, session_id, ArtefactKind::Chunk, chunk_index, wall)?;
                let (chunk, proof) = payload_chunk(&plan, chunk_index);
                SnapshotsResponse::Chunk { session_id, chunk_index, chunk, proof }
            }
            SnapshotsRequest::LightClientUpdate { update_index, .. } => {
                let kind = ArtefactKind::LightClientUpdate;
                let plan = self.records.serve(peer, session_id, kind, update_index, wall)?;
                let update = Box::new(WORLD.update(&plan, update_index));
                SnapshotsResponse::LightClientUpdate { session_id, update_index, update }
            }
            SnapshotsRequest::Resume { plan_id, chunk_index, update_index, .. } => {
                let at = self.records.resume(peer, session_id, plan_id, chunk_index, update_index, wall)?;
                SnapshotsResponse::Resume {
                    session_id,
                    plan_id: at.plan_id,
                    chunk_index: at.chunk_index,
                    update_index: at.update_index,
                    chunk_size: at.chunk_size,
                }
            }
            SnapshotsRequest::Ack { kind, index, .. } => {
                let record = self.records.acknowledged(peer, session_id, kind, index, wall)?;
                let finished = record.is_finished();
                self.persist(peer, session_id, record);
                let outcome = if finished { SlotOutcome::Free } else { SlotOutcome::Keep };
                return Ok((SnapshotsResponse::Ack { session_id, kind, index }, outcome));
            }
            SnapshotsRequest::Error { .. } => return Err(PipelineError::Cancelled),
        };
        Ok((response, SlotOutcome::Keep))
    }

    /// Writes to disk first, as the real provider does.
    fn persist(&mut self, peer: PeerId, session: SnapshotSessionId, record: Record) {
        self.disk.insert((peer, session), serde_json::to_string(&record).unwrap());
        self.records.put(peer, session, record);
    }
}

fn payload_chunk(plan: &Plan, index: u64) -> (bytes::Bytes, Vec<rpp_p2p::Hash>) {
    WORLD.payload(&plan.snapshot.checkpoint.state_root).chunk(plan.chunk_size, index)
}

fn refusal(session_id: SnapshotSessionId, error: &PipelineError) -> SnapshotsResponse {
    SnapshotsResponse::Error { session_id, code: error.code(), message: error.to_string() }
}

/// Tight limits, so that some consumers run into them.
pub fn small_slots() -> SlotLimits {
    SlotLimits::default().with_total(3).with_per_peer(2)
}
