//! Helpers for the tests over real swarms. Each test file uses only some of them.
#![allow(dead_code, unused_imports, unreachable_pub)]

mod fixture;
mod gate;
mod node;
mod plain;
mod raw;
mod relay;
mod streams;
mod verifier;

use std::sync::Arc;

use libp2p::{PeerId, identity::Keypair};
use rpp_p2p::{
    PlanWishes, SnapshotProtocolError, SnapshotSessionId, SnapshotsRequest, SnapshotsResponse, Verified, Violation,
    json,
    snapshots::{Behaviour, Config, Event, Outcome, PaceLimits, RequestId},
};

pub use self::{
    fixture::{Fixture, Markers, MemoryProvider, PROOF, proof},
    gate::Gate,
    node::{DEADLINE, Node, within},
    plain::PlainProvider,
    raw::{Asked, Bytes, Raw, raw_peer, raw_peer_speaking},
    relay::Relay,
    streams::{RawEnd, RawStreams, chunk_frame},
    verifier::FakeVerifier,
};

/// A peer that does both: it consumes, and it serves from memory.
pub type Peer = Node<Behaviour<MemoryProvider>>;

/// Serves `fixture`, with the protocol's defaults.
pub async fn provider(fixture: &Fixture) -> (Peer, Arc<MemoryProvider>) {
    provider_with(fixture, Config::default()).await
}

pub async fn provider_with(fixture: &Fixture, config: Config) -> (Peer, Arc<MemoryProvider>) {
    let memory = MemoryProvider::new(fixture.clone());
    let peer = Node::start(Behaviour::new(Arc::clone(&memory), config)).await;
    (peer, memory)
}

/// A provider and a consumer of a fixture, the line between them, and the patience of each of the two.
pub async fn over_a_line(fixture: &Fixture, provider: PaceLimits, consumer: PaceLimits) -> (Peer, Relay, Peer) {
    let start = async |pace| {
        let config = Config::default().with_trust(fixture.trust()).with_pace(pace);
        let behaviour = Behaviour::new(MemoryProvider::new(fixture.clone()), config);
        Node::start_tcp(behaviour, Keypair::generate_ed25519()).await
    };
    let (provider, consumer): (Peer, Peer) = (start(provider).await, start(consumer).await);
    let relay = Relay::start(&provider.address).await;
    let (them, address) = (provider.peer, relay.address.clone());
    consumer.call(move |swarm| swarm.add_peer_address(them, address)).await;
    consumer.call(move |swarm| swarm.dial(them).unwrap()).await;
    consumer.connected_to(them, true).await;
    provider.connected_to(consumer.peer, true).await;
    (provider, relay, consumer)
}

/// Trusts the chain of `fixture`.
pub async fn consumer(fixture: &Fixture) -> Peer {
    consumer_with(fixture, Config::default()).await
}

pub async fn consumer_with(fixture: &Fixture, config: Config) -> Peer {
    provider_with(fixture, config.with_trust(fixture.trust())).await.0
}

pub fn session(id: u64) -> SnapshotSessionId {
    SnapshotSessionId::new(id).unwrap()
}

/// A request as text.
pub fn request(request: &SnapshotsRequest) -> String {
    String::from_utf8(json::encode_request(request)).unwrap()
}

/// A response as text.
pub fn response(response: &SnapshotsResponse) -> String {
    String::from_utf8(json::encode_response(response)).unwrap()
}

pub fn plan_request(id: u64) -> String {
    request(&SnapshotsRequest::Plan { session_id: session(id), wishes: PlanWishes::default() })
}

pub fn chunk_request(id: u64, chunk_index: u64) -> String {
    request(&SnapshotsRequest::Chunk { session_id: session(id), chunk_index })
}

impl Fixture {
    pub fn plan_response(&self, session_id: SnapshotSessionId) -> SnapshotsResponse {
        SnapshotsResponse::Plan {
            session_id,
            plan: Box::new(self.plan.clone()),
            min_chunk_size: rpp_p2p::limits::MIN_CHUNK_SIZE,
            max_chunk_size: rpp_p2p::limits::MAX_CHUNK_SIZE,
        }
    }

    pub fn chunk_response(&self, session_id: SnapshotSessionId, chunk_index: u64) -> SnapshotsResponse {
        let data = self.chunk(chunk_index);
        SnapshotsResponse::Chunk { session_id, chunk_index, chunk: data.bytes, proof: data.proof }
    }

    pub fn update_response(&self, session_id: SnapshotSessionId, update_index: u64) -> SnapshotsResponse {
        let update = Box::new(self.updates[update_index as usize].clone());
        SnapshotsResponse::LightClientUpdate { session_id, update_index, update }
    }
}

impl Peer {
    /// Calls the behaviour.
    pub async fn with<R: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Behaviour<MemoryProvider>) -> R + Send + 'static,
    ) -> R {
        self.call(move |swarm| act(swarm.behaviour_mut())).await
    }

    /// The next event about our own requests.
    pub async fn outcome(&mut self) -> Event {
        self.pick(|event| (!matches!(event, Event::Inbound { .. })).then_some(event)).await
    }

    /// The next event about a request of another peer: its outcome.
    pub async fn served(&mut self) -> Outcome {
        self.pick(|event| match event {
            Event::Inbound { outcome, .. } => Some(outcome),
            _ => None,
        })
        .await
    }

    /// Like [`Self::served`], with the error.
    pub async fn ended(&mut self) -> (Outcome, String) {
        self.pick(|event| match event {
            Event::Inbound { outcome, error, .. } => {
                Some((outcome, error.map(|error| error.to_string()).unwrap_or_default()))
            }
            _ => None,
        })
        .await
    }

    /// The verified content of the next answer. Fails if the next event is something else.
    pub async fn verified(&mut self) -> Verified {
        match self.outcome().await {
            Event::Verified { verified, .. } => verified,
            other => panic!("{other:?}"),
        }
    }

    /// The error of the next event. Fails if it is something else.
    pub async fn error(&mut self) -> SnapshotProtocolError {
        match self.outcome().await {
            Event::Error { error, .. } => error,
            other => panic!("{other:?}"),
        }
    }

    /// The violation in the next event. Fails if it is something else.
    pub async fn violation(&mut self) -> Violation {
        match self.error().await {
            SnapshotProtocolError::Remote(violation) => violation,
            other => panic!("{other:?}"),
        }
    }

    pub async fn request_plan(&self, from: PeerId, id: u64) -> RequestId {
        self.with(move |b| b.request_plan(from, session(id), PlanWishes::default())).await.unwrap()
    }

    pub async fn request_chunk(&self, from: PeerId, id: u64, index: u64) -> RequestId {
        self.with(move |b| b.request_chunk(from, session(id), index)).await.unwrap()
    }

    /// Opens session `id` with a provider that answers.
    pub async fn open(&mut self, from: PeerId, id: u64) {
        self.request_plan(from, id).await;
        assert!(matches!(self.verified().await, Verified::Plan(..)));
    }

    /// Opens session `id` with a raw provider.
    pub async fn open_raw(&mut self, raw: &mut Node<Raw>, fixture: &Fixture, id: u64) {
        self.request_plan(raw.peer, id).await;
        let asked = raw.asked().await;
        raw.answer(asked, response(&fixture.plan_response(session(id)))).await;
        assert!(matches!(self.verified().await, Verified::Plan(..)));
    }

    pub async fn markers(&self, with: PeerId, id: u64) -> Option<(u64, u64)> {
        self.with(move |b| b.markers(with, session(id))).await
    }
}
