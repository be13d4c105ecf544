//! A provider with its own swarm. It answers like an honest one until its script says otherwise.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use hyper::body::Bytes;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder,
    futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _},
    identity::Keypair,
    noise,
    request_response::{self, Event, Message, ProtocolSupport},
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use rpp_p2p::{
    ErrorCode, SnapshotsRequest, SnapshotsResponse, json,
    limits::MAX_CHUNK_SIZE,
    offers::{self, OffersResponse},
};
use rpp_runtime::store::{Offer, Payload, Store};

use super::{DEADLINE, Home};

/// Its answer to a request.
pub enum Said {
    Answer(Box<SnapshotsResponse>),
    /// These bytes, valid or not.
    Bytes(Vec<u8>),
    Nothing,
}

impl Said {
    /// The first half of an answer, and the end of the stream.
    pub fn half(answer: &SnapshotsResponse) -> Self {
        let mut bytes = json::encode_response(answer);
        bytes.truncate(bytes.len() / 2);
        Self::Bytes(bytes)
    }

    /// An answer with something after it.
    pub fn followed(answer: &SnapshotsResponse, after: &str) -> Self {
        Self::Bytes([&json::encode_response(answer), after.as_bytes()].concat())
    }

    pub fn refusal(request: &SnapshotsRequest, code: ErrorCode) -> Self {
        let message = "the script says so".to_owned();
        Self::Answer(Box::new(SnapshotsResponse::Error { session_id: request.session_id(), code, message }))
    }
}

impl From<SnapshotsResponse> for Said {
    fn from(response: SnapshotsResponse) -> Self {
        Self::Answer(Box::new(response))
    }
}

/// Called with each request and the honest answer to it.
type Script = Box<dyn Fn(&SnapshotsRequest, SnapshotsResponse) -> Said + Send>;

/// A running rogue provider; stops when dropped.
pub struct Rogue {
    pub peer: PeerId,
    /// Ends in `/p2p/<id>`.
    pub address: Multiaddr,
    script: Arc<Mutex<Script>>,
    task: tokio::task::JoinHandle<()>,
}

impl Rogue {
    /// Serves the first payload of `super::made`.
    pub async fn start(script: impl Fn(&SnapshotsRequest, SnapshotsResponse) -> Said + Send + 'static) -> Self {
        Self::speaking(&[rpp_p2p::PROTOCOL_V1], script).await
    }

    /// The same, and it also makes offers, with more free slots than any other peer.
    pub async fn offering(script: impl Fn(&SnapshotsRequest, SnapshotsResponse) -> Said + Send + 'static) -> Self {
        Self::speaking(&[rpp_p2p::PROTOCOL_V1, rpp_p2p::offers::PROTOCOL], script).await
    }

    async fn speaking(
        protocols: &[&'static str],
        script: impl Fn(&SnapshotsRequest, SnapshotsResponse) -> Said + Send + 'static,
    ) -> Self {
        let served = Served::new();
        let mut swarm = plain(protocols, ProtocolSupport::Full);
        let peer = *swarm.local_peer_id();
        let address = listening(&mut swarm).await;
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        let rules = Arc::clone(&script);
        let task = tokio::spawn(async move {
            let mut unanswered = Vec::new();
            loop {
                let SwarmEvent::Behaviour(Event::Message { message, .. }) = swarm.select_next_some().await else {
                    continue;
                };
                let Message::Request { request, channel, .. } = message else { continue };
                if json::decode_offers_request(&request).is_ok() {
                    let offers = OffersResponse::Offers { offers: served.offers() };
                    let _ = swarm.behaviour_mut().send_response(channel, json::encode_offers_response(&offers));
                    continue;
                }
                let request = json::decode_request(&request).unwrap();
                let said = (rules.lock().unwrap())(&request, served.answer(&request));
                match said {
                    Said::Answer(response) => {
                        let _ = swarm.behaviour_mut().send_response(channel, json::encode_response(&response));
                    }
                    Said::Bytes(bytes) => {
                        let _ = swarm.behaviour_mut().send_response(channel, bytes);
                    }
                    Said::Nothing => unanswered.push(channel),
                }
            }
        });
        Self { peer, address, script, task }
    }

    /// A provider that answers everything except the requests that `silent` selects.
    pub async fn silent_at(silent: impl Fn(&SnapshotsRequest) -> bool + Send + 'static) -> Self {
        Self::start(move |request, honest| if silent(request) { Said::Nothing } else { honest.into() }).await
    }

    /// Uses this script from now on.
    pub fn now(&self, script: impl Fn(&SnapshotsRequest, SnapshotsResponse) -> Said + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }
}

impl Drop for Rogue {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Served {
    _home: Home,
    offer: Arc<Offer>,
    payload: Arc<Payload>,
    /// The chunk size of the newest plan, in bytes.
    chunk_size: AtomicU64,
}

impl Served {
    fn new() -> Self {
        let home = Home::provider();
        let store = Store::open(&home.snapshots()).unwrap();
        let (stored, offer) = store.best_offer(Some(super::made().first.root), None).unwrap();
        let payload = stored.open().unwrap();
        Self { _home: home, offer, payload, chunk_size: AtomicU64::new(super::CHUNK) }
    }

    fn offers(&self) -> Vec<offers::Offer> {
        vec![offers::Offer { free_slots: 1 << 40, ..offered(&self.offer) }]
    }

    fn answer(&self, request: &SnapshotsRequest) -> SnapshotsResponse {
        let session_id = request.session_id();
        let size = || self.chunk_size.load(Ordering::Relaxed);
        match *request {
            SnapshotsRequest::Plan { wishes, .. } => {
                self.chunk_size.store(wishes.chunk_size.unwrap_or(super::CHUNK), Ordering::Relaxed);
                SnapshotsResponse::Plan {
                    session_id,
                    plan: Box::new(self.offer.plan(size()).unwrap()),
                    min_chunk_size: super::CHUNK,
                    max_chunk_size: MAX_CHUNK_SIZE,
                }
            }
            SnapshotsRequest::Chunk { chunk_index, .. } => {
                let (chunk, proof) = self.payload.read_chunk(chunk_index, size()).unwrap();
                SnapshotsResponse::Chunk { session_id, chunk_index, chunk, proof }
            }
            SnapshotsRequest::LightClientUpdate { update_index, .. } => {
                let update = Box::new(self.offer.update(update_index).unwrap());
                SnapshotsResponse::LightClientUpdate { session_id, update_index, update }
            }
            SnapshotsRequest::Resume { plan_id, chunk_index, update_index, .. } => {
                SnapshotsResponse::Resume { session_id, plan_id, chunk_index, update_index, chunk_size: size() }
            }
            SnapshotsRequest::Ack { kind, index, .. } => SnapshotsResponse::Ack { session_id, kind, index },
            SnapshotsRequest::Error { .. } => SnapshotsResponse::Error {
                session_id,
                code: ErrorCode::Cancelled,
                message: "the session was cancelled".to_owned(),
            },
        }
    }
}

/// A swarm that speaks only these protocols, and reads and writes bytes as they are.
pub fn plain(protocols: &[&'static str], support: ProtocolSupport) -> Swarm<request_response::Behaviour<Plain>> {
    let protocols: Vec<_> = protocols.iter().map(|name| (StreamProtocol::new(name), support.clone())).collect();
    let config = request_response::Config::default().with_request_timeout(DEADLINE);
    SwarmBuilder::with_existing_identity(Keypair::generate_ed25519())
        .with_tokio()
        .with_tcp(tcp::Config::new(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| request_response::Behaviour::with_codec(Plain, protocols, config))
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(DEADLINE))
        .build()
}

/// Lets a swarm listen; its address ends in `/p2p/<id>`.
pub async fn listening<B: NetworkBehaviour>(swarm: &mut Swarm<B>) -> Multiaddr {
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return address.with_p2p(*swarm.local_peer_id()).unwrap();
        }
    }
}

/// The offers of an honest provider of the two made snapshots, newest first.
pub fn offers(store: &Store) -> Vec<offers::Offer> {
    [110, 100].iter().map(|height| offered(&store.best_offer(None, Some(*height)).unwrap().1)).collect()
}

fn offered(offer: &Offer) -> offers::Offer {
    offers::Offer {
        genesis: offer.genesis.clone(),
        snapshot: offer.snapshot,
        tip: offer.tip,
        signatures: offer.updates.last().unwrap().signatures.clone(),
        min_chunk_size: super::CHUNK,
        max_chunk_size: MAX_CHUNK_SIZE,
        free_slots: 0,
    }
}

/// The same bytes with one bit of byte `at` changed.
pub fn flipped(bytes: &Bytes, at: usize) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes.into()
}

/// Sends bytes as they are, to the end of the stream.
#[derive(Clone)]
pub struct Plain;

impl request_response::Codec for Plain {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        read(io).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        read(io).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()> {
        io.write_all(&bytes).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()> {
        io.write_all(&bytes).await
    }
}

async fn read<T: AsyncRead + Unpin>(io: &mut T) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io.read_to_end(&mut bytes).await?;
    Ok(bytes)
}
