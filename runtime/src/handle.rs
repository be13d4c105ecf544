//! The handle through which everything outside sees the node.

use std::sync::Arc;

use libp2p::{Multiaddr, PeerId};
use rpp_p2p::{Hash, PlanWishes, SnapshotSessionId};
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::{
    address::{self, AddressError},
    bans::{Ban, BanSource},
    error::{NotReady, SnapshotRuntimeError, StorageFault},
    limits::CALL_TIMEOUT,
    queues::Queues,
    rates::{LimitsChange, LimitsInForce},
    sessions::record::More,
    sources::{
        mirror::MirrorUrl,
        named::{self, WarnedMirrors},
    },
    status::{Head, Identity, NodeEvent, OfferInfo, PeerInfo, SnapshotStreamStatus},
};

/// A peer as an operator names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTarget {
    /// The peer id.
    pub peer: PeerId,
    /// The address, if given.
    pub address: Option<Multiaddr>,
}

impl std::str::FromStr for PeerTarget {
    type Err = SnapshotRuntimeError;

    /// Parses a peer id, or a multiaddr that a transport here can dial and that ends in `/p2p/<peer id>`. Peer ids may
    /// be CIDs.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A URL here is a mirror in the wrong place, and may contain a password.
        let given = || if text.contains("://") { "a URL".to_owned() } else { text.chars().take(128).collect() };
        let usable = |peer: PeerId| match crate::peers::check_key(&peer) {
            Ok(()) => Ok(peer),
            Err(reason) => Err(SnapshotRuntimeError::UnusableKey { peer, reason }),
        };
        if let Some(peer) = address::peer_id(text.strip_prefix("/p2p/").unwrap_or(text)) {
            return Ok(Self { peer: usable(peer)?, address: None });
        }
        let address = address::of_peer(text).map_err(|reason| match reason {
            AddressError::Unreadable | AddressError::NoPeer => SnapshotRuntimeError::InvalidPeer { given: given() },
            reason => SnapshotRuntimeError::UndialableAddress { given: given(), reason },
        })?;
        match address.iter().last() {
            Some(libp2p::multiaddr::Protocol::P2p(peer)) => Ok(Self { peer: usable(peer)?, address: Some(address) }),
            _ => Err(SnapshotRuntimeError::InvalidPeer { given: given() }),
        }
    }
}

/// A source of a download as an operator names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceTarget {
    /// A node.
    Peer(PeerTarget),
    /// An object store or a web server.
    Mirror(MirrorUrl),
}

/// The request of `start_snapshot_stream`.
#[derive(Clone, Debug)]
pub struct StartStream {
    /// The first provider. If there are no peers and mirrors at all, the session uses those of `[sources]`, or any peer
    /// that offers a suitable snapshot.
    pub peer: Option<PeerTarget>,
    /// Further providers; with the first one at most [`MAX_PEERS`](crate::limits::MAX_PEERS), none twice.
    pub peers: Vec<PeerTarget>,
    /// Object stores and web servers; at most [`MAX_MIRRORS`](crate::limits::MAX_MIRRORS), none twice.
    pub mirrors: Vec<MirrorUrl>,
    /// Use no mirrors: if the request names no source, the mirrors of `[sources]` are not used either. Has no effect
    /// together with `mirrors`.
    pub without_mirrors: bool,
    /// Besides those sources, use any peer that offers a suitable snapshot. On a node with discovery, this also applies
    /// to the sources of `[sources]`.
    pub others_too: bool,
    /// The wishes for the snapshot; absent chunk sizes have their configured values.
    pub wishes: PlanWishes,
    /// Within 24 h, a request with the same key is answered with the session that the first one made, even if that
    /// session has ended.
    pub idempotency_key: Option<IdempotencyKey>,
}

impl StartStream {
    /// A request for the highest snapshot that the provider offers, with the configured chunk sizes.
    #[must_use]
    pub fn new(peer: PeerTarget) -> Self {
        Self { peer: Some(peer), ..Self::from_anybody() }
    }

    /// Whether the request leaves the choice of sources to the node.
    #[must_use]
    pub fn names_nobody(&self) -> bool {
        self.peer.is_none() && self.peers.is_empty() && self.mirrors.is_empty()
    }

    /// A request for the newest snapshot that any peer offers.
    #[must_use]
    pub fn from_anybody() -> Self {
        let wishes = PlanWishes::default();
        let (peers, mirrors) = (Vec::new(), Vec::new());
        let (without_mirrors, others_too) = (false, false);
        Self { peer: None, peers, mirrors, without_mirrors, others_too, wishes, idempotency_key: None }
    }
}

/// A caller's name for one request. Only its hash is kept; the name itself is neither kept nor shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey(Hash);

impl IdempotencyKey {
    /// The key of that name.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        Self(blake3::hash(name).into())
    }
}

/// The request of `resume_snapshot_stream`.
#[derive(Clone, Debug)]
pub struct ResumeStream {
    /// Which session.
    pub session: SnapshotSessionId,
    /// Must be the session's peer, if given; it may come with a new address.
    pub peer: Option<PeerTarget>,
    /// Must be the session's chunk size, if given.
    pub chunk_size: Option<u64>,
    /// Explicit plan.
    pub plan_id: Option<Hash>,
    /// Explicit next chunk.
    pub chunk_index: Option<u64>,
    /// Explicit next update.
    pub update_index: Option<u64>,
}

/// The channel for the answer to a [`Command`].
pub type Reply<T> = oneshot::Sender<Result<T, SnapshotRuntimeError>>;

/// A call from the handle to the node's task. Public for programs that put another task behind a handle: see [`Seat`].
#[allow(missing_docs)] // each is the method of [`NodeHandle`] of that name
pub enum Command {
    Start(StartStream, Reply<watch::Receiver<SnapshotStreamStatus>>),
    Resume(ResumeStream, Reply<watch::Receiver<SnapshotStreamStatus>>),
    Cancel(SnapshotSessionId, Reply<()>),
    AddSource(SnapshotSessionId, SourceTarget, Reply<SnapshotStreamStatus>),
    RemoveSource(SnapshotSessionId, String, Reply<SnapshotStreamStatus>),
    Status(SnapshotSessionId, Reply<SnapshotStreamStatus>),
    Watch(SnapshotSessionId, Reply<watch::Receiver<SnapshotStreamStatus>>),
    List(Reply<Vec<SnapshotStreamStatus>>),
    Peers(Reply<Vec<PeerInfo>>),
    Identity(Reply<Identity>),
    Offers(Reply<Vec<OfferInfo>>),
    Queues(Reply<Queues>),
    Metrics(Reply<String>),
    Bans(Reply<Vec<Ban>>),
    LiftBan(BanSource, Reply<()>),
    Limits(Reply<LimitsInForce>),
    ChangeLimits(LimitsChange, Reply<LimitsInForce>),
    Shutdown(Reply<()>),
}

/// The other end of a handle without a node: for tests of code that watches nodes, and for programs that answer instead
/// of a node.
pub struct Seat {
    /// The calls of the handle.
    pub commands: mpsc::Receiver<Command>,
    /// The events that [`NodeHandle::subscribe`] delivers.
    pub events: broadcast::Sender<NodeEvent>,
    /// The value of [`NodeHandle::head`]; `None` at first.
    pub head: watch::Sender<Option<Head>>,
    /// The value of [`NodeHandle::readiness`]; `Ok` at first.
    pub ready: watch::Sender<Result<(), NotReady>>,
    /// The value of [`NodeHandle::cannot_write`]; `None` at first.
    pub cannot_write: watch::Sender<Option<String>>,
    /// The value of [`NodeHandle::head_error`]; `None` at first.
    pub head_error: watch::Sender<Option<StorageFault>>,
}

/// A cheap handle to a running node.
#[derive(Clone)]
pub struct NodeHandle {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) events: broadcast::Sender<NodeEvent>,
    pub(crate) head: watch::Receiver<Option<Head>>,
    pub(crate) ready: watch::Receiver<Result<(), NotReady>>,
    pub(crate) cannot_write: watch::Receiver<Option<String>>,
    pub(crate) head_error: watch::Receiver<Option<StorageFault>>,
    pub(crate) peer_id: PeerId,
    pub(crate) config: Arc<crate::Config>,
    pub(crate) warned: Arc<WarnedMirrors>,
}

impl NodeHandle {
    /// A handle without a node, and the other end that answers it.
    #[must_use]
    pub fn detached(peer_id: PeerId, config: Arc<crate::Config>) -> (Self, Seat) {
        let (commands, queue) = mpsc::channel(64);
        let (events, _) = broadcast::channel(1024);
        let (head, head_seen) = watch::channel(None);
        let (ready, ready_seen) = watch::channel(Ok(()));
        let (cannot_write, cannot_write_seen) = watch::channel(None);
        let (head_error, head_error_seen) = watch::channel(None);
        let handle = Self {
            commands,
            events: events.clone(),
            head: head_seen,
            ready: ready_seen,
            cannot_write: cannot_write_seen,
            head_error: head_error_seen,
            peer_id,
            config,
            warned: Arc::default(),
        };
        (handle, Seat { commands: queue, events, head, ready, cannot_write, head_error })
    }

    /// Starts a stream. Returns when the session is persisted, with a receiver of its status. The receiver has the
    /// newest value at each change and is closed when the session is cancelled. If a session for the same peer, root
    /// and height is alive, that session is returned.
    ///
    /// # Errors
    /// A mistake of the operator; too many live sessions; a store that cannot be written; a node that is shutting down.
    /// A request that names no source uses the sources of `[sources]`, if there are any.
    pub async fn start_snapshot_stream(
        &self,
        request: StartStream,
    ) -> Result<watch::Receiver<SnapshotStreamStatus>, SnapshotRuntimeError> {
        let request = named::checked(request, self.peer_id, &self.config, &self.warned).await?;
        self.call(|reply| Command::Start(request, reply)).await
    }

    /// Resumes a session. This ends a back-off at once, restarts a failed session, and changes nothing about a running
    /// or complete one.
    ///
    /// # Errors
    /// Unknown session, another peer or chunk size than the session's, offsets that do not fit the node's own record.
    pub async fn resume_snapshot_stream(
        &self,
        request: ResumeStream,
    ) -> Result<watch::Receiver<SnapshotStreamStatus>, SnapshotRuntimeError> {
        self.call(|reply| Command::Resume(request, reply)).await
    }

    /// Cancels a session and removes its status. Its partial payload is removed unless another session uses it.
    ///
    /// # Errors
    /// Unknown session.
    pub async fn cancel_snapshot_stream(&self, session: SnapshotSessionId) -> Result<(), SnapshotRuntimeError> {
        self.call(|reply| Command::Cancel(session, reply)).await
    }

    /// Adds a source to a session, which goes on if it had failed. A source that it has already gets the new address.
    /// Returns when this is recorded.
    ///
    /// # Errors
    /// Unknown session, one that is complete, a mistake of the operator, a banned peer, or as many sources as allowed.
    pub async fn add_source(
        &self,
        session: SnapshotSessionId,
        source: SourceTarget,
    ) -> Result<SnapshotStreamStatus, SnapshotRuntimeError> {
        named::check_added(&source, self.peer_id, &self.config, &self.warned).await?;
        let name = More::of(source.clone()).name().to_string();
        let answered = self.call(|reply| Command::AddSource(session, source, reply)).await?;
        self.until_shown(session, answered, |status| status.sources.iter().any(|known| known.source == name)).await
    }

    /// Removes a source from a session. `source`: the text that [`SourceStatus`](rpp_p2p::status::SourceStatus) has. A
    /// session without sources waits until it gets one. Returns when this is recorded.
    ///
    /// # Errors
    /// Unknown session or source, or a session that is complete.
    pub async fn remove_source(
        &self,
        session: SnapshotSessionId,
        source: String,
    ) -> Result<SnapshotStreamStatus, SnapshotRuntimeError> {
        let name = source.clone();
        let answered = self.call(|reply| Command::RemoveSource(session, source, reply)).await?;
        self.until_shown(session, answered, |status| status.sources.iter().all(|known| known.source != name)).await
    }

    /// The status as soon as it shows the change, which is when the change is recorded.
    async fn until_shown(
        &self,
        session: SnapshotSessionId,
        answered: SnapshotStreamStatus,
        shows: impl Fn(&SnapshotStreamStatus) -> bool,
    ) -> Result<SnapshotStreamStatus, SnapshotRuntimeError> {
        if shows(&answered) {
            return Ok(answered);
        }
        let mut watched = self.watch_snapshot_stream(session).await?;
        match tokio::time::timeout(CALL_TIMEOUT, watched.wait_for(shows)).await {
            Ok(Ok(status)) => Ok(status.clone()),
            Ok(Err(_)) => Err(SnapshotRuntimeError::UnknownSession { session }), // It was cancelled meanwhile.
            Err(_) => Err(SnapshotRuntimeError::TimedOut { seconds: CALL_TIMEOUT.as_secs() }),
        }
    }

    /// The status of one session.
    ///
    /// # Errors
    /// Unknown session.
    pub async fn snapshot_stream_status(
        &self,
        session: SnapshotSessionId,
    ) -> Result<SnapshotStreamStatus, SnapshotRuntimeError> {
        self.call(|reply| Command::Status(session, reply)).await
    }

    /// A receiver of one session's status.
    ///
    /// # Errors
    /// Unknown session.
    pub async fn watch_snapshot_stream(
        &self,
        session: SnapshotSessionId,
    ) -> Result<watch::Receiver<SnapshotStreamStatus>, SnapshotRuntimeError> {
        self.call(|reply| Command::Watch(session, reply)).await
    }

    /// All sessions, by session id.
    ///
    /// # Errors
    /// Only those of a node that does not answer.
    pub async fn snapshot_streams(&self) -> Result<Vec<SnapshotStreamStatus>, SnapshotRuntimeError> {
        self.call(Command::List).await
    }

    /// Peers, connected and configured.
    ///
    /// # Errors
    /// Only those of a node that does not answer.
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, SnapshotRuntimeError> {
        self.call(Command::Peers).await
    }

    /// The identity of this node, and what it serves.
    ///
    /// # Errors
    /// Only those of a node that does not answer.
    pub async fn identity(&self) -> Result<Identity, SnapshotRuntimeError> {
        self.call(Command::Identity).await
    }

    /// The snapshots that peers offer, signatures verified, newest first. Connected peers are asked again meanwhile,
    /// once a minute.
    ///
    /// # Errors
    /// Only those of a node that does not answer.
    pub async fn offers(&self) -> Result<Vec<OfferInfo>, SnapshotRuntimeError> {
        self.call(Command::Offers).await
    }

    /// How full the node's queues are.
    ///
    /// # Errors
    /// Only those of a node that does not answer.
    pub async fn queues(&self) -> Result<Queues, SnapshotRuntimeError> {
        self.call(Command::Queues).await
    }

    /// All metrics as Prometheus text (OpenMetrics).
    ///
    /// # Errors
    /// Only those of a node that does not answer.
    pub async fn metrics_text(&self) -> Result<String, SnapshotRuntimeError> {
        self.call(Command::Metrics).await
    }

    /// The bans in force, by source. All of them are on the disk, unless the disk accepts no writes.
    ///
    /// # Errors
    /// Only those of a node that does not answer.
    pub async fn bans(&self) -> Result<Vec<Ban>, SnapshotRuntimeError> {
        self.call(Command::Bans).await
    }

    /// Lifts a ban, and forgets how often the source was banned. Durable on return.
    ///
    /// # Errors
    /// It is not banned, or the disk accepts no writes (then the ban is lifted until a restart).
    pub async fn lift_ban(&self, source: BanSource) -> Result<(), SnapshotRuntimeError> {
        self.call(|reply| Command::LiftBan(source, reply)).await
    }

    /// The limits by the byte.
    ///
    /// # Errors
    /// Only those of a node that does not answer.
    pub async fn limits(&self) -> Result<LimitsInForce, SnapshotRuntimeError> {
        self.call(Command::Limits).await
    }

    /// Changes the limits by the byte, from the next chunk on. Limits that must survive a restart are durable on
    /// return.
    ///
    /// # Errors
    /// They cannot be stored; they are in force nevertheless.
    pub async fn change_limits(&self, change: LimitsChange) -> Result<LimitsInForce, SnapshotRuntimeError> {
        self.call(|reply| Command::ChangeLimits(change, reply)).await
    }

    /// The node's events from now on. A receiver that falls more than 1,024 behind loses the oldest.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<NodeEvent> {
        self.events.subscribe()
    }

    /// The newest checkpoint that the node has fully verified.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Option<Head>> {
        self.head.clone()
    }

    /// Why it is unknown what was verified: `head.json` cannot be read. The text says what to do.
    #[must_use]
    pub fn head_error(&self) -> Option<StorageFault> {
        self.head_error.borrow().clone()
    }

    /// `Ok` if the node listens, its store is open and its sessions are reloaded.
    ///
    /// # Errors
    /// The reason why not.
    pub fn readiness(&self) -> Result<(), NotReady> {
        self.ready.borrow().clone()
    }

    /// One sentence while the node cannot write its own files because of a full or failing disk. The node serves what
    /// it has, sessions wait, and it recovers by itself.
    #[must_use]
    pub fn cannot_write(&self) -> Option<String> {
        self.cannot_write.borrow().clone()
    }

    /// This node's peer id.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// The configuration the node runs with.
    #[must_use]
    pub fn config(&self) -> &crate::Config {
        &self.config
    }

    /// Stops the node: it accepts nothing new, gives what is in flight 10 s to finish, and flushes. Returns when
    /// everything is on disk.
    pub async fn shutdown(&self) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Shutdown(reply)).await.is_ok() {
            let _ = done.await;
        }
    }

    async fn call<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, SnapshotRuntimeError> {
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            self.commands.send(command(reply)).await.map_err(|_| SnapshotRuntimeError::ShuttingDown)?;
            answer.await.map_err(|_| SnapshotRuntimeError::ShuttingDown)?
        };
        tokio::time::timeout(CALL_TIMEOUT, exchange)
            .await
            .unwrap_or(Err(SnapshotRuntimeError::TimedOut { seconds: CALL_TIMEOUT.as_secs() }))
    }
}
