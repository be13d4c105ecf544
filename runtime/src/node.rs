//! The node: start-up in a fixed order, then one task that owns the swarm and all session machines.
//!
//! Nothing on that task blocks: disk, hashing and proofs run on blocking threads and report through one bounded queue.

mod error;
mod network;
mod opened;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use libp2p::{Multiaddr, Swarm, identity::Keypair, swarm::SwarmEvent};
use rpp_common::FailedAccepts;
use rpp_p2p::{
    Protocols, TrustAnchor,
    error::Cause,
    provider::{ChunkBounds, SlotLimits},
    snapshots,
};
use tokio::sync::{broadcast, mpsc, watch};

pub use self::error::StartError;
use self::opened::{OpenedParts, reloaded};
use crate::{
    bans::Warden,
    config::Config,
    db::Db,
    discovery::{self, Finder},
    error::{ListenFault, StorageFault},
    handle::{Command, NodeHandle},
    hooks::{Hooks, Watchers},
    limits::{COMMAND_QUEUE, DONE_QUEUE, EVENT_QUEUE, REFUSAL_LOG_INTERVAL, SHUTDOWN_GRACE},
    listeners::{self, Listeners},
    lock::DataLock,
    metrics::Metrics,
    peers::Peers,
    queues::Queues,
    rates::ByteLimits,
    sessions::{Context, Done, FileDisk, Manager, NoHead, Shared, plan_bounds},
    status::{Identity, NodeEvent, OfferedSnapshot},
    store::{DiskSpace, NotInPlace, Store},
    swarm::{self, NodeBehaviour, NodeBehaviourEvent},
    writable::{Part, Writable},
};

/// How often the catalog is checked for what `publish` added beside the node.
const STORE_REFRESH: Duration = Duration::from_secs(1);
/// Time for connections to close when the node stops.
const FAREWELL: Duration = Duration::from_secs(1);

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
    failed_accepts: FailedAccepts,
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
            source: std::io::Error::other(error),
        })??;
        if config.trust.genesis.is_some() {
            // What every check of a proof needs is made before the first session. If this fails, its check reports it.
            tokio::task::spawn_blocking(|| rpp_proofs::Verifier::shared().prepare());
        }
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
            failed_accepts: FailedAccepts::new(REFUSAL_LOG_INTERVAL),
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
        if let Some(withheld) = self.swarm.behaviour_mut().poll_report(now) {
            tracing::warn!("{withheld}");
        }
        if let Some(count) = self.discovery.said.poll_left_out(now) {
            tracing::warn!(
                "{count} more answers of peers about their offers were useless or had changed; only the first are logged"
            );
        }
    }

    /// Closes connections when there are too many. Configured peers, and peers with a session in either direction, keep
    /// theirs.
    fn settle_connections(&mut self, now: Instant) {
        let behaviour = &mut **self.swarm.behaviour_mut();
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
                    Err(error) if NotInPlace::is_cause_of(&error) => {
                        self.manager.on_catalog(Instant::now());
                        self.writable.failed(Part::Store, Cause::told(&error));
                    }
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
                self.metrics.discovery.observe(behaviour.offers.book(), behaviour.withheld());
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
    let mut absent = Vec::new();
    let mut bound = 0;
    if let Some(taken) = addresses.iter().find(|address| listeners::is_taken(address)) {
        return Err(StartError::Listen { address: taken.to_string(), reason: ListenFault::Taken });
    }
    for address in addresses {
        match swarm.listen_on(address.clone()) {
            Ok(id) => {
                listeners.bound(id, address.clone());
                bound += 1;
            }
            Err(error) => {
                let reason = ListenFault::Transport(Cause::innermost(error));
                let failed = StartError::Listen { address: address.to_string(), reason };
                if !listeners::is_absent(address) {
                    return Err(failed);
                }
                absent.push(failed);
            }
        }
    }
    if bound == 0 && !absent.is_empty() {
        return Err(absent.swap_remove(0));
    }
    for failed in absent {
        tracing::warn!("{failed}; the node goes on without it");
    }
    Ok(listeners)
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
