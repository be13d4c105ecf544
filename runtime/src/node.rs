//! The node: start-up in a fixed order, then one task that owns the swarm and all session machines.
//!
//! Nothing on that task blocks: disk, hashing and proofs run on blocking threads and report through one bounded queue.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Swarm, allow_block_list,
    core::ConnectedPoint,
    identity::Keypair,
    swarm::{ConnectionId, ListenError, SwarmEvent},
};
use rpp_p2p::{
    Protocols, TrustAnchor,
    plan::check_plan,
    provider::{ChunkBounds, RecordLimits, SlotLimits},
    snapshots,
};
use tokio::sync::{broadcast, mpsc, watch};

use crate::{
    bans::{self, Ban, BanSource, Blame, Warden},
    config::Config,
    db::{Db, DbError, Known, Notice},
    discovery::{self, Finder},
    error::StorageFault,
    handle::{Command, NodeHandle},
    head::{HeadError, HeadFile},
    hooks::{Hooks, Watchers},
    limits::{COMMAND_QUEUE, DONE_QUEUE, EVENT_QUEUE, SHUTDOWN_GRACE},
    listeners::{self, Listeners},
    lock::{DataLock, LockError},
    metrics::Metrics,
    peers::Peers,
    queues::Queues,
    rates::ByteLimits,
    serve::{Provider, ProviderConfig},
    sessions::{Context, Done, FileDisk, Manager, NoHead, Reloaded, Shared, from_partials, plan_bounds, record},
    status::{Identity, NodeEvent, OfferedSnapshot, SessionState},
    store::{DiskSpace, Space, Store, StoreError},
    swarm::{self, NodeBehaviour, NodeBehaviourEvent, SwarmError},
    writable::{Part, Writable},
};

/// How often the catalog is checked for what `publish` added beside the node.
const STORE_REFRESH: Duration = Duration::from_secs(1);
/// Time for connections to close when the node stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data folder is in use, or cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A folder or file could not be opened.
    #[error("cannot open {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// How.
        source: std::io::Error,
    },
    /// The session database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The catalog.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The transports.
    #[error(transparent)]
    Swarm(#[from] SwarmError),
    /// The node cannot listen on an address.
    #[error("cannot listen on {address} ([p2p] listen): {reason}")]
    Listen {
        /// Which.
        address: String,
        /// Why.
        reason: String,
    },
    /// This processor lacks what the proof library needs.
    #[error(transparent)]
    Cpu(#[from] rpp_proofs::CpuError),
}

/// A running node. [`Node::start`] makes it; it is used through [`NodeHandle`].
pub struct Node {
    pub(crate) swarm: Swarm<NodeBehaviour>,
    pub(crate) manager: Manager,
    pub(crate) warden: Warden,
    pub(crate) peers: Peers,
    discovery: Finder,
    pub(crate) metrics: Arc<Metrics>,
    watchers: Watchers,
    pub(crate) store: Arc<Store>,
    pub(crate) config: Arc<Config>,
    /// The limits in force, and those that would be in force after a restart.
    pub(crate) limits: ByteLimits,
    pub(crate) kept_limits: ByteLimits,
    /// The records of the provider and of the sessions. Like the catalog, it is checked regularly.
    db: Db,
    writable: Arc<Writable>,
    pub(crate) events: broadcast::Sender<NodeEvent>,
    ready: watch::Sender<Result<(), crate::NotReady>>,
    listeners: Listeners,
    refreshing: bool,
    _lock: DataLock,
}

impl Node {
    /// Starts a node and returns its handle. When this returns, the store is open and the sessions are reloaded;
    /// listening follows at once (see [`NodeHandle::readiness`]).
    ///
    /// # Errors
    /// Anything that an operator must repair first; the message says what.
    pub async fn start(config: Config, keypair: Keypair) -> Result<NodeHandle, StartError> {
        Self::start_with(config, keypair, Hooks::default()).await
    }

    /// [`Node::start`] with [`Hooks`].
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn start_with(config: Config, keypair: Keypair, hooks: Hooks) -> Result<NodeHandle, StartError> {
        rpp_proofs::check_cpu()?;
        let config = Arc::new(config);
        let writable = Arc::new(Writable::new());
        let opened = {
            let config = Arc::clone(&config);
            let space = hooks.space.unwrap_or_else(|| Arc::new(DiskSpace));
            let writable = Arc::clone(&writable);
            tokio::task::spawn_blocking(move || OpenedParts::open(&config, space, writable)).await
        };
        let opened = opened.map_err(|error| StartError::Io {
            path: config.data_dir.clone(),
            source: std::io::Error::other(error.to_string()),
        })??;
        for notice in &opened.notices {
            tracing::warn!("{notice}");
        }
        let trust = trust_anchor(&config);
        let metrics = Arc::new(Metrics::new(&hooks.counters));
        let watchers = Watchers::new(hooks.watchers);
        let provider = Arc::new(opened.provider);
        let protocol = protocol_config(&config, trust.clone(), watchers.observer(Arc::clone(&metrics)));
        let mut swarm = swarm::build(keypair, &config, provider, protocol, hooks.connections, hooks.transport)?;
        let listeners = listen(&mut swarm, &config.p2p.listen)?;
        let (events, _) = broadcast::channel(EVENT_QUEUE);
        let (commands, command_queue) = mpsc::channel(COMMAND_QUEUE);
        let (done, done_queue) = mpsc::channel(DONE_QUEUE);
        let (head, head_seen) = watch::channel(opened.head.as_ref().ok().and_then(|head| head.as_ref()?.newest()));
        let head_file = match opened.head {
            Ok(Some(head)) => Ok(Arc::new(Mutex::new(head))),
            Ok(None) => Err(Shared::new(NoHead::NoTrustAnchor)),
            Err(error) => Err(Shared::new(NoHead::Unreadable(error))),
        };
        let unreadable = head_file.as_ref().err().filter(|why| matches!(***why, NoHead::Unreadable(_)));
        let (_, head_error) = watch::channel(unreadable.cloned().map(StorageFault::new));
        let (ready, ready_seen) = watch::channel(Err(crate::NotReady::Starting));
        let peer_id = *swarm.local_peer_id();
        let manager = Manager::new(Context {
            config: Arc::clone(&config),
            me: peer_id,
            trust,
            head_file,
            disk: FileDisk {
                store: Arc::clone(&opened.store),
                db: opened.db.clone(),
                writable: Arc::clone(&writable),
                partials: config.data_dir.join("snapshots").join("partial"),
                durability: config.snapshots.durability,
            },
            done,
            head,
            events: events.clone(),
            metrics: Arc::clone(&metrics),
            watchers: watchers.clone(),
        });
        let cannot_write = writable.watch();
        let mut node = Self {
            swarm,
            manager,
            warden: Warden::new(opened.bans, config.data_dir.clone(), time::OffsetDateTime::now_utc()),
            peers: Peers::new(&config.p2p.peers, Instant::now()),
            discovery: Finder::new(&config, peer_id, Instant::now()),
            metrics,
            watchers,
            store: opened.store,
            config: Arc::clone(&config),
            limits: opened.limits,
            kept_limits: opened.limits,
            db: opened.db,
            writable,
            events: events.clone(),
            ready,
            listeners,
            refreshing: false,
            _lock: opened.lock,
        };
        node.set_limits(opened.limits);
        node.restore_bans();
        node.manager.reload(opened.sessions);
        tokio::spawn(node.run(command_queue, done_queue));
        Ok(NodeHandle {
            commands,
            events,
            head: head_seen,
            ready: ready_seen,
            cannot_write,
            head_error,
            peer_id,
            config,
            warned: Arc::default(),
        })
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>, mut done: mpsc::Receiver<Done>) {
        self.note_readiness();
        let mut refresh = tokio::time::interval(STORE_REFRESH);
        refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let permits = self.manager.proof_permits();
        let scrub = crate::scrub::spawn(Arc::clone(&self.store), Arc::clone(&self.metrics), permits, &self.config);
        let stop = loop {
            self.turn();
            let wake = self.next_wake();
            tokio::select! {
                biased;
                // Results of local work come first, then commands, then events of the network.
                Some(report) = done.recv() => self.on_done(report),
                command = commands.recv() => match command {
                    Some(Command::Shutdown(reply)) => break Some(reply),
                    Some(command) => self.on_command(command),
                    None => break None, // Every handle was dropped.
                },
                () = sleep_until(wake) => {
                    self.manager.on_time(Instant::now());
                    self.note_readiness();
                }
                event = self.swarm.select_next_some() => self.on_swarm(event),
                _ = refresh.tick() => {
                    self.settle_connections(Instant::now());
                    self.tend_bans();
                    self.refresh_store();
                    self.refresh_offers();
                    self.tend_dht(Instant::now());
                }
            }
        };
        scrub.abort();
        // The future is boxed because it holds the whole node.
        Box::pin(self.stop(done, stop)).await;
    }

    /// Dials the peers that are due, and lets every session do what it can do now.
    fn turn(&mut self) {
        let now = Instant::now();
        for (peer, addresses) in self.peers.due(now) {
            if self.is_banned(&peer) {
                continue;
            }
            swarm::dial(&mut self.swarm, peer, addresses).ok();
        }
        let is_alone = self.swarm.connected_peers().next().is_none();
        for (peer, address) in self.discovery.dht.poll_bootstrap(is_alone, now) {
            swarm::dial(&mut self.swarm, peer, vec![address]).ok();
        }
        self.manager.seek(&mut self.swarm, &self.discovery, now);
        self.manager.pump(&mut self.swarm, &self.peers, now);
        // By now, the end of each session that blames a source is recorded.
        self.settle_blames();
        if self.swarm.behaviour().doors.is_crowded() {
            self.settle_connections(now);
        }
        if let Some(summary) = self.swarm.behaviour_mut().doors.poll_report(now) {
            tracing::warn!("{summary}");
        }
    }

    /// Closes connections when there are too many. Configured peers, and peers with a session in either direction, keep
    /// theirs.
    fn settle_connections(&mut self, now: Instant) {
        let behaviour = self.swarm.behaviour_mut();
        let in_use = behaviour.snapshots.served_peers().chain(self.manager.peers()).chain(self.peers.configured());
        behaviour.doors.settle(now, in_use.collect());
    }

    fn next_wake(&self) -> Option<Instant> {
        [self.manager.next_timeout(), self.peers.next_due(), self.listeners.next_look()].into_iter().flatten().min()
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Refreshed(result) => {
                self.refreshing = false;
                self.refresh_offers();
                match result {
                    Ok(true) => {
                        tracing::info!("the catalog changed: {} snapshots on offer", self.store.list().len());
                        self.manager.on_catalog(Instant::now());
                    }
                    Ok(false) => {}
                    Err(error) => tracing::warn!("the catalog could not be read again: {error}"),
                }
            }
            other => self.manager.on_done(other, Instant::now()),
        }
    }

    fn on_command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Start(request, reply) => {
                if request.names_nobody() || request.others_too {
                    self.swarm.behaviour_mut().offers.ask_now(now);
                }
                self.manager.start(request, reply, &self.swarm, &self.peers, now);
            }
            Command::Resume(request, reply) => self.manager.resume(request, reply, &mut self.swarm, now),
            Command::Cancel(session, reply) => self.manager.cancel(session, reply, &mut self.swarm),
            Command::AddSource(session, source, reply) => {
                self.manager.add_source(session, source, reply, &self.swarm, &self.peers, now);
            }
            Command::RemoveSource(session, source, reply) => {
                self.manager.remove_source(session, &source, reply, now);
            }
            Command::Status(session, reply) => {
                let _ = reply.send(self.manager.status(session, now));
            }
            Command::Watch(session, reply) => {
                let _ = reply.send(self.manager.watch(session));
            }
            Command::List(reply) => {
                let _ = reply.send(Ok(self.manager.list(now)));
            }
            Command::Peers(reply) => {
                let _ = reply.send(Ok(self.peers.list()));
            }
            Command::Identity(reply) => {
                let _ = reply.send(Ok(self.identity()));
            }
            Command::Offers(reply) => {
                self.swarm.behaviour_mut().offers.want(now);
                let _ = reply.send(Ok(discovery::list(self.swarm.behaviour().offers.book(), now)));
            }
            Command::Queues(reply) => {
                let _ = reply.send(Ok(self.queues()));
            }
            Command::Metrics(reply) => {
                self.manager.observe();
                self.observe_bans();
                self.metrics.queues(&self.queues());
                Part::ALL.into_iter().for_each(|part| self.metrics.cannot_write(part, self.writable.is_failed(part)));
                let behaviour = self.swarm.behaviour();
                self.metrics.doors.observe(&behaviour.doors.counts(), &behaviour.snapshots.load());
                self.metrics.discovery.observe(behaviour.offers.book());
                self.metrics.sources.observe(&self.manager.list(now));
                let _ = reply.send(Ok(self.metrics.text()));
            }
            Command::Bans(reply) => self.list_bans(reply),
            Command::LiftBan(source, reply) => self.lift_ban(&source, reply),
            Command::Limits(reply) => {
                let _ = reply.send(Ok(self.limits_in_force()));
            }
            Command::ChangeLimits(change, reply) => self.change_limits(&change, reply),
            Command::Shutdown(_) => {} // Handled by `run`.
        }
    }

    fn queues(&self) -> Queues {
        let load = self.swarm.behaviour().snapshots.load();
        Queues { check: load.checks_running, provide: load.provider_jobs_running, ..self.manager.queues() }
    }

    fn on_swarm(&mut self, event: SwarmEvent<NodeBehaviourEvent>) {
        use libp2p::metrics::Recorder as _;
        self.metrics.libp2p.record(&event);
        let now = Instant::now();
        match event {
            SwarmEvent::NewListenAddr { listener_id, address, .. } => {
                tracing::info!("listening on {address}");
                self.listeners.announced(listener_id);
                self.note_readiness();
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!("a listener reported: {error}"),
            SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. } => {
                let asked = self.listeners.closed(listener_id).map_or_else(String::new, |asked| format!(" on {asked}"));
                tracing::error!("the listener{asked} closed: {error}");
                self.note_readiness();
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let first = self.peers.connected(peer_id, connection_id, endpoint.get_remote_address().clone());
                self.discovery.on_connected(peer_id, &endpoint);
                self.watchers.each(|watcher| {
                    watcher.connection_established(peer_id, connection_id, &endpoint, first);
                });
                if first {
                    let _ = self.events.send(NodeEvent::PeerConnected(peer_id));
                    self.manager.on_connected(peer_id, now);
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, endpoint, cause, .. } => {
                let reason = cause.map_or_else(|| "it was closed".to_owned(), |cause| cause.to_string());
                if self.on_closed(peer_id, connection_id, &endpoint, &reason, now) {
                    let _ = self.events.send(NodeEvent::PeerDisconnected(peer_id));
                    self.manager.on_disconnected(peer_id, &reason, now);
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. }
                if !self.peers.is_connected(&peer) =>
            {
                let reason = swarm::explain_dial_error(&error);
                self.discovery.on_unreachable(peer, &reason);
                self.swarm.behaviour_mut().offers.forget(&peer);
                self.manager.on_dial_failed(peer, &reason, now);
            }
            SwarmEvent::IncomingConnectionError { error: ListenError::Denied { cause }, .. }
                if cause.downcast_ref::<allow_block_list::Blocked>().is_some() =>
            {
                self.metrics.bans.refused();
            }
            SwarmEvent::Behaviour(event) => self.on_behaviour(event, now),
            _ => {}
        }
    }

    fn note_readiness(&mut self) {
        let now = Instant::now();
        for asked in self.listeners.untold(now) {
            tracing::warn!(
                "{asked} is listened on, but no interface of this machine has such an address: is IPv6 off?"
            );
        }
        let ready = self.listeners.ready(now);
        self.ready.send_if_modified(|old| {
            let changed = *old != ready;
            *old = ready;
            changed
        });
    }

    /// Tells the watchers that a connection closed. Returns whether it was the last one to its peer.
    fn on_closed(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
        reason: &str,
        now: Instant,
    ) -> bool {
        let last = self.peers.disconnected(peer, connection, now);
        self.watchers.each(|watcher| watcher.connection_closed(peer, connection, endpoint, reason, last));
        last
    }

    fn on_behaviour(&mut self, event: NodeBehaviourEvent, now: Instant) {
        use libp2p::metrics::Recorder as _;
        match event {
            NodeBehaviourEvent::Identify(event) => {
                let (_, event) = event;
                self.metrics.libp2p.record(&event);
                if let libp2p::identify::Event::Received { peer_id, info, connection_id } = event {
                    self.peers.identified(peer_id, &info);
                    if let Some(over) = self.peers.address_of(&peer_id, connection_id) {
                        self.discovery.on_identified(&mut self.swarm.behaviour_mut().kad, peer_id, &info, over);
                    }
                    if info.agent_version.starts_with(swarm::AGENT) {
                        self.swarm.behaviour_mut().snapshots.negotiate_lazily(peer_id);
                    }
                }
            }
            NodeBehaviourEvent::Ping(event) => {
                self.metrics.libp2p.record(&event);
                if let Ok(rtt) = event.result {
                    self.peers.measured(event.peer, rtt);
                    self.manager.on_round_trip(event.peer, rtt, now);
                    self.watchers.each(|watcher| watcher.round_trip(event.peer, event.connection, rtt));
                }
            }
            NodeBehaviourEvent::Snapshots(event) => {
                if let Some((peer, evidence)) = self.warden.note(now, &event) {
                    self.accuse(Blame { source: BanSource::Peer(peer), session: None, evidence });
                }
                self.manager.on_snapshots(event, &mut self.swarm.behaviour_mut().snapshots, now);
            }
            NodeBehaviourEvent::Offers(event) => discovery::on_said(&event, &self.metrics),
            NodeBehaviourEvent::Kad((scope, event)) => {
                self.metrics.libp2p.record(&event);
                let kad = &mut self.swarm.behaviour_mut().kad;
                for peer in self.discovery.dht.on_event(kad, scope, event, now) {
                    // Kademlia knows the addresses while its query runs.
                    if !self.peers.is_connected(&peer) {
                        swarm::dial(&mut self.swarm, peer, self.discovery.addresses(&peer)).ok();
                    }
                }
            }
            NodeBehaviourEvent::Mdns(libp2p::mdns::Event::Discovered(found)) => {
                let peers = &self.peers;
                for (peer, addresses) in self.discovery.neighbours.due(found, |peer| peers.is_connected(peer), now) {
                    tracing::debug!(%peer, "a neighbour");
                    swarm::dial(&mut self.swarm, peer, addresses).ok();
                }
            }
            _ => {}
        }
    }

    /// Updates what this node offers, and how many more sessions it could serve now.
    fn refresh_offers(&mut self) {
        let taken = self.swarm.behaviour().snapshots.load().slots;
        let free = self.config.snapshots.max_inbound_sessions.saturating_sub(taken);
        let offers = &mut self.swarm.behaviour_mut().offers;
        offers.set_offers(self.discovery.offered.newest());
        offers.set_free_slots(free as u64);
    }

    /// Announces in the DHT what this node offers, searches for what its sessions need, and tells the watchers.
    fn tend_dht(&mut self, now: Instant) {
        let behaviour = self.swarm.behaviour_mut();
        let dht = &mut self.discovery.dht;
        dht.announce(&mut behaviour.kad, &self.discovery.offered.newest(), now);
        if let (Some(genesis), Some(roots)) = (self.config.trust.genesis, self.manager.sought()) {
            dht.search(&mut behaviour.kad, &genesis, roots.into_iter(), now);
        }
        if let Some(view) = dht.view(&mut behaviour.kad, now) {
            self.metrics.discovery.dht(&view);
            self.watchers.each(|watcher| watcher.dht(&view));
        }
    }

    fn refresh_store(&mut self) {
        if self.refreshing {
            return;
        }
        self.refreshing = true;
        let (store, provider) = (Arc::clone(&self.store), Arc::clone(self.swarm.behaviour().snapshots.provider()));
        let done = self.manager.done();
        let (db, writable) = (self.db.clone(), Arc::clone(&self.writable));
        let offered = Arc::clone(&self.discovery.offered);
        let (config, snapshots) = (Arc::clone(&self.config), self.config.data_dir.join("snapshots"));
        tokio::task::spawn_blocking(move || {
            writable.probe(&snapshots);
            if let Some(notices) = db.tend() {
                let (sessions, more) = db.sessions();
                for notice in notices.iter().chain(&more) {
                    tracing::warn!("{notice}");
                }
                if let Err(error) = provider.take_up_records() {
                    tracing::warn!("what this provider knows of earlier sessions is not read: {error}");
                }
                let _ = done.blocking_send(Done::TakenUp(reloaded(&store, &config, sessions)));
            }
            // Payloads that no session uses any more may then be removed.
            provider.release_idle();
            let result = store.refresh();
            let (min, max) = (config.snapshots.min_chunk_size, config.snapshots.max_chunk_size);
            offered.renew(&store, ChunkBounds { min, max });
            let _ = done.blocking_send(Done::Refreshed(result));
        });
    }

    fn identity(&self) -> Identity {
        let mut snapshots: Vec<_> = self
            .store
            .list()
            .iter()
            .flat_map(|stored| {
                stored.offers().iter().map(|offer| OfferedSnapshot {
                    root: offer.snapshot.checkpoint.state_root,
                    height: offer.snapshot.checkpoint.height,
                    bytes: offer.snapshot.checkpoint.payload_bytes,
                    format: offer.snapshot.format,
                })
            })
            .collect();
        snapshots.sort_by_key(|snapshot| (snapshot.height, snapshot.root));
        Identity {
            peer_id: self.swarm.local_peer_id().to_string(),
            listen: self.swarm.listeners().map(|a| format!("{a}/p2p/{}", self.swarm.local_peer_id())).collect(),
            genesis: self.config.trust.genesis,
            publishers: self.config.trust.publishers.clone(),
            snapshots,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Accepts nothing new, lets the writers flush, and closes. Takes at most [`SHUTDOWN_GRACE`].
    async fn stop(mut self, mut done: mpsc::Receiver<Done>, reply: Option<crate::handle::Reply<()>>) {
        let _ = self.ready.send_replace(Err(crate::NotReady::ShuttingDown));
        let deadline = tokio::time::Instant::now() + SHUTDOWN_GRACE;
        let bans_saved = self.warden.saved();
        let closing = self.manager.close();
        let mut closing = std::pin::pin!(async {
            closing.await;
            let _ = bans_saved.await;
        });
        let finished = tokio::time::timeout_at(deadline, async {
            loop {
                tokio::select! {
                    () = &mut closing => break,
                    _ = done.recv() => {}
                    event = self.swarm.select_next_some() => self.on_farewell(event),
                }
            }
        });
        if finished.await.is_err() {
            tracing::warn!(
                "some writes did not finish within {} s; nothing acknowledged is lost",
                SHUTDOWN_GRACE.as_secs()
            );
        }
        let _ = tokio::time::timeout(FAREWELL, self.disconnect()).await;
        // The caller may start another node on this folder at once, so database and lock are released first.
        drop((self, done));
        if let Some(reply) = reply {
            let _ = reply.send(Ok(()));
        }
    }
}

impl Node {
    /// Closes every connection, so that peers and watchers know at once.
    async fn disconnect(&mut self) {
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer); // It may be gone already.
        }
        while self.swarm.connected_peers().next().is_some() {
            let event = self.swarm.select_next_some().await;
            self.on_farewell(event);
        }
    }

    fn on_farewell(&mut self, event: SwarmEvent<NodeBehaviourEvent>) {
        if let SwarmEvent::ConnectionClosed { peer_id, connection_id, endpoint, .. } = event {
            self.on_closed(peer_id, connection_id, &endpoint, "this node stops", Instant::now());
        }
    }
}

/// Binds every address. If this machine does not have one of them (such as IPv6 where that is switched off), this is
/// only a warning as long as another address works. A mistake, such as a port that is in use, is an error.
fn listen(swarm: &mut Swarm<NodeBehaviour>, addresses: &[Multiaddr]) -> Result<Listeners, StartError> {
    let mut listeners = Listeners::new(addresses.len(), Instant::now());
    let mut absent = None;
    let mut bound = 0;
    if let Some(taken) = addresses.iter().find(|address| listeners::is_taken(address)) {
        let reason = "another program listens there: give this node another port".to_owned();
        return Err(StartError::Listen { address: taken.to_string(), reason });
    }
    for address in addresses {
        match swarm.listen_on(address.clone()) {
            Ok(id) => {
                listeners.bound(id, address.clone());
                bound += 1;
            }
            Err(error) => {
                let failed = StartError::Listen { address: address.to_string(), reason: swarm::innermost(&error) };
                if !listeners::is_absent(address) {
                    return Err(failed);
                }
                tracing::warn!("{failed}; the node goes on without it");
                absent.get_or_insert(failed);
            }
        }
    }
    match absent {
        Some(error) if bound == 0 => Err(error),
        _ => Ok(listeners),
    }
}

/// What the start opens on a blocking thread, in this order: folder, lock, catalog, head, database.
struct OpenedParts {
    lock: DataLock,
    store: Arc<Store>,
    /// `None` without a trust anchor.
    head: Result<Option<HeadFile>, HeadError>,
    db: Db,
    provider: Provider,
    sessions: Vec<Reloaded>,
    bans: Vec<Ban>,
    limits: ByteLimits,
    notices: Vec<Notice>,
}

impl OpenedParts {
    fn open(config: &Config, space: Arc<dyn Space>, writable: Arc<Writable>) -> Result<Self, StartError> {
        let io = |path: &std::path::Path| {
            let path = path.to_owned();
            move |source| StartError::Io { path, source }
        };
        crate::files::create_dir_private(&config.data_dir).map_err(io(&config.data_dir))?;
        keep_private(&config.data_dir);
        let lock = DataLock::acquire(&config.data_dir)?;
        let snapshots = config.data_dir.join("snapshots");
        crate::files::create_dir_private(&snapshots).map_err(io(&snapshots))?;
        let store = Arc::new(Store::open_with(&snapshots, space)?);
        let head = match config.trust.genesis {
            Some(genesis) => HeadFile::load(&snapshots.join("head.json"), genesis).map(Some),
            None => Ok(None),
        };
        if let Err(error) = &head {
            tracing::error!("{error}");
        }
        let (bans, unreadable) = bans::load(&config.data_dir);
        if let Some(unreadable) = unreadable {
            tracing::error!("{unreadable}");
        }
        let limits = crate::rates::load(&config.data_dir).unwrap_or_else(|unreadable| {
            tracing::error!("{unreadable}");
            None
        });
        let limits = limits.unwrap_or(config.limits);
        let sessions = snapshots.join("sessions");
        // sled would follow a link. If the path cannot be examined here, sled cannot open it either.
        if let Ok(Some(link)) = crate::files::first_link(&sessions) {
            return Err(io(&link)(rustix::io::Errno::LOOP.into()));
        }
        let (db, mut notices) = Db::open(&sessions, config.snapshots.durability, writable)?;
        let (mut sessions, more) = db.sessions();
        notices.extend(more);
        // A damaged database may still open, with fewer or older records. The note beside a payload is written only
        // once its session has a plan.
        let known = sessions
            .iter()
            .filter(|(record, _)| record.plan.is_some() || record.state.is_final())
            .map(|(record, _)| record.session)
            .collect();
        let mut rebuilt_ids = BTreeSet::new();
        for rebuilt in from_partials(&snapshots.join("partial"), &known) {
            rebuilt_ids.insert(rebuilt.0.session);
            match sessions.iter_mut().find(|(record, _)| record.session == rebuilt.0.session) {
                Some(older) => *older = rebuilt,
                None => sessions.push(rebuilt),
            }
        }
        let mut sessions = reloaded(&store, config, sessions);
        for found in &mut sessions {
            found.is_rebuilt = rebuilt_ids.contains(&found.record.session);
        }
        let bounds = ProviderConfig::default()
            .with_chunk_sizes(config.snapshots.min_chunk_size, config.snapshots.max_chunk_size)
            .with_records(
                RecordLimits::default().with_retention(Duration::from_secs(config.snapshots.session_retention_s)),
            );
        let provider = Provider::new((*store).clone(), Arc::new(db.clone()), bounds).map_err(|error| {
            StartError::Io { path: snapshots.join("sessions"), source: std::io::Error::other(error) }
        })?;
        Ok(Self { lock, store, head, db, provider, sessions, bans, limits, notices })
    }
}

/// Removes everybody else's access to the data folder. Another program, such as a service manager, may have created it.
fn keep_private(folder: &std::path::Path) {
    let shown = folder.display();
    match crate::files::restrict_to_owner(folder) {
        Ok(None) => {}
        Ok(Some(mode)) => tracing::info!("{shown} had mode {mode:04o}, now 0700: it is its owner's alone"),
        Err(error) => tracing::warn!("{shown} should have mode 0700, which cannot be set: {error}"),
    }
}

/// The sessions, with the updates that are stored beside their partial payloads.
fn reloaded(store: &Store, config: &Config, sessions: Vec<Known>) -> Vec<Reloaded> {
    let trust = trust_anchor(config);
    let updates = |record: &record::Session| {
        let plan = record.plan.as_ref().filter(|_| !record.state.is_final())?;
        let found = store.partial_plan(&plan.snapshot.checkpoint.state_root).ok()?;
        (found.plan.plan_id == plan.plan_id).then_some(found.updates)
    };
    let reload = |(record, progress)| {
        let (record, progress) = believable(store, config, trust.as_deref(), record, progress);
        Reloaded { updates: updates(&record).unwrap_or_default(), record, progress, is_rebuilt: false }
    };
    sessions.into_iter().map(reload).collect()
}

/// Reduces a record to the part that can be trusted after a start: the disk and the configuration may have changed.
fn believable(
    store: &Store,
    config: &Config,
    trust: Option<&TrustAnchor>,
    mut record: record::Session,
    mut progress: record::Progress,
) -> (record::Session, record::Progress) {
    let Some(plan) = &record.plan else { return (record, progress) };
    let root = plan.snapshot.checkpoint.state_root;
    // The damaged payload was moved back to be fetched again, and then the process ended.
    if record.state == SessionState::Complete && store.get(&root).is_none() && store.is_demoted(&root) {
        record.state = SessionState::Connecting;
    }
    let (false, Some(trust)) = (record.state.is_final(), trust) else { return (record, progress) };
    if let Err(error) = check_plan(plan, trust, &plan_bounds(config)) {
        tracing::warn!(session = %record.session, "its recorded plan is not used, and it is planned anew: {error}");
        record.plan = None;
        progress = record::Progress::default();
    }
    (record, progress)
}

/// The trust anchor of the configuration; `None` if this node cannot consume.
#[must_use]
pub fn trust_anchor(config: &Config) -> Option<Arc<TrustAnchor>> {
    let trust = &config.trust;
    let anchor = TrustAnchor::new(trust.genesis?)
        .with_publishers(trust.publishers.clone(), trust.threshold)
        .with_revoked(trust.revoked.clone());
    Some(Arc::new(anchor))
}

fn protocol_config(
    config: &Config,
    trust: Option<Arc<TrustAnchor>>,
    observer: Arc<dyn snapshots::Observer>,
) -> snapshots::Config {
    let protocol = snapshots::Config::default()
        .with_slots({
            let most = &config.snapshots;
            SlotLimits::default()
                .with_total(most.max_inbound_sessions)
                .with_per_peer(most.max_inbound_sessions_per_peer)
        })
        .with_plan_bounds(plan_bounds(config))
        .with_protocols(match config.snapshots.protocol {
            crate::config::Protocol::Auto => Protocols::Auto,
            crate::config::Protocol::V1 => Protocols::V1,
            crate::config::Protocol::V2 => Protocols::V2,
        })
        .with_observer(observer);
    match trust {
        Some(trust) => protocol.with_trust((*trust).clone()),
        None => protocol,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
