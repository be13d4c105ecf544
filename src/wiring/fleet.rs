//! What this node puts into a cut: sessions, requests, responses, connections, blocking jobs, waits and queues.
//!
//! ```text
//! session [--> link, one a source] --> request ==(same id in both processes)==> response --> job (disk read)      at the provider
//!    |           `--> check of what came                  `--> connection, once made
//!    |--> disk, proof and record jobs
//!    `--> retry timer | connection being made | session that holds the payload | a free place | the operator
//! ```
//!
//! Every arrow is a `Needs` edge. An entry is removed when the node reports its end; a session's entry, when the
//! session has ended.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use libp2p::{PeerId, core::ConnectedPoint, swarm::ConnectionId};
use rpp_fleet::{EdgeGuard, EdgeKind, ExchangeId, NodeGuard, NodeKind, Registry};
use rpp_p2p::{
    SnapshotSessionId,
    snapshots::{Activity, Ended, Job, Observer, RequestId, RequestKind},
};
use rpp_runtime::{
    Queues, SessionState, SnapshotStreamStatus, Watcher, Work,
    status::{SourceState, SourceStatus, WaitKind, WaitingOn},
};

/// Entries of one sort; the node's own bounds are lower. Further entries are left out.
const MAX_ENTRIES: usize = 16_384;

/// Feeds a registry.
pub(crate) struct Fleet {
    registry: Registry,
    me: String,
    /// The node that a session needs while it waits for a free place.
    places: NodeGuard,
    live: Mutex<Live>,
}

/// The entries that exist now. Dropping a guard removes its entry from the registry.
#[derive(Default)]
struct Live {
    connections: BTreeMap<(PeerId, ConnectionId), NodeGuard>,
    sessions: HashMap<SnapshotSessionId, Session>,
    requests: HashMap<RequestId, Exchange>,
    responses: HashMap<RequestId, Exchange>,
    jobs: HashMap<(Job, RequestId), NodeGuard>,
    /// Which response waits for a job that was begun before the request (a prefetch).
    awaited: HashMap<RequestId, RequestId>,
    work: HashMap<u64, (NodeGuard, EdgeGuard)>,
    queues: BTreeMap<&'static str, NodeGuard>,
}

struct Session {
    node: NodeGuard,
    wait: Option<Wait>,
    /// One for each source that is not done yet, by name, if there is more than one source.
    links: BTreeMap<String, (NodeGuard, EdgeGuard)>,
}

/// What a session waits for, except requests and jobs, which have entries of their own.
struct Wait {
    for_what: (WaitKind, Option<String>, Option<String>),
    _node: NodeGuard,
    _edge: EdgeGuard,
}

/// A request of ours, or the answer to a peer's.
struct Exchange {
    node: NodeGuard,
    needs: EdgeGuard,
    _session: EdgeGuard,
    _uses: EdgeGuard,
}

impl Exchange {
    fn wait_for(&mut self, job: Job, node: &str) {
        self.needs = self.node.needs(node);
        self.node.set("stage", if job == Job::Check { "being checked" } else { "being made" });
    }
}

impl Fleet {
    pub(crate) fn new(registry: Registry, me: PeerId, max_active_sessions: usize) -> Self {
        let me = me.to_base58();
        let places = registry.node(
            NodeKind::Semaphore,
            format_args!("active-sessions:{me}"),
            "places for active sessions",
            [("capacity", max_active_sessions)],
        );
        Self { registry, me, places, live: Mutex::default() }
    }

    /// Shows how full the node's queues are.
    pub(crate) fn queues(&self, queues: &Queues) {
        let mut live = self.live();
        for (queue, fill) in queues.named() {
            let new = || {
                let id = format_args!("queue:{}:{queue}", self.me);
                self.registry.node(NodeKind::Tx, id, format_args!("queue {queue}"), [("fill", fill)])
            };
            live.queues.entry(queue).or_insert_with(new).set("fill", fill);
        }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session_id(&self, session: impl std::fmt::Display) -> String {
        format!("session:{}:{session}", self.me)
    }

    /// An edge from a session that exists.
    fn session_needs(&self, live: &Live, session: SnapshotSessionId, dst: &str) -> EdgeGuard {
        live.sessions.get(&session).map_or_else(EdgeGuard::off, |session| session.node.needs(dst))
    }

    /// The node of what a session waits for, unless that has an entry already, and the edge to it.
    fn wait(&self, node: &NodeGuard, session: SnapshotSessionId, on: &WaitingOn, state: SessionState) -> Option<Wait> {
        let for_what = (on.what, on.peer.clone(), on.retry_at.clone());
        let (kind, word) = match on.what {
            WaitKind::Session => {
                let other = on.peer.as_ref().map(|other| self.session_id(other));
                let edge = node.needs(other.as_deref().unwrap_or(self.places.id()));
                return Some(Wait { for_what, _node: NodeGuard::off(), _edge: edge });
            }
            WaitKind::Connection => (NodeKind::NetConnect, "dial"),
            WaitKind::Retry => (NodeKind::Sleep, "retry"),
            WaitKind::Operator => (NodeKind::Notify, "operator"),
            // A wait for the disk without a job: the disk is full.
            WaitKind::Disk if state == SessionState::Paused => (NodeKind::Notify, "space"),
            _ => return None,
        };
        let own = self.registry.node(
            kind,
            format_args!("{word}:{}:{session}", self.me),
            format_args!("{word} of session {session}: {}", on.reason),
            |attrs: &mut rpp_fleet::Attrs| {
                for (name, value) in [("peer", &on.peer), ("retry_at", &on.retry_at)] {
                    if let Some(value) = value {
                        attrs.set(name, value);
                    }
                }
            },
        );
        let edge = node.needs(own.id());
        Some(Wait { for_what, _node: own, _edge: edge })
    }

    /// A download from several sources needs everything that each of them still has to do.
    fn show_links(&self, session: &mut Session, status: &SnapshotStreamStatus) {
        let many = status.sources.len() > 1;
        let is_needed = |source: &&SourceStatus| {
            many && !matches!(source.state, SourceState::Refused | SourceState::Banned | SourceState::Done)
        };
        let needed: Vec<_> = status.sources.iter().filter(is_needed).collect();
        session.links.retain(|name, _| needed.iter().any(|source| source.source == *name));
        for source in needed {
            let name = &source.source;
            let (node, _) = session.links.entry(name.clone()).or_insert_with(|| {
                let id = format_args!("link:{}:{}:{name}", self.me, status.session);
                let node = self.registry.node(NodeKind::Future, id, "", [("source", name.clone())]);
                let edge = session.node.needs(node.id());
                (node, edge)
            });
            node.set_label(format_args!("{} {name} of session {}: {}", source.kind, status.session, source.state));
            node.set("state", source.state.as_str());
            node.set("bytes_verified", source.bytes_verified);
            node.set("error", source.error.as_deref().unwrap_or_default());
        }
    }

    fn exchange(&self, live: &Live, kind: NodeKind, id: &str, about: &Activity) -> Exchange {
        let what = describe(about);
        let (session, peer) = (about.session, about.peer);
        let label = match &kind {
            NodeKind::Request => format!("{what} of session {session}, asked of {peer}"),
            _ => format!("{what} of session {session}, for {peer}"),
        };
        let node = self.registry.node(kind.clone(), id, label, |attrs: &mut rpp_fleet::Attrs| {
            attrs.set("peer", peer.to_base58()).set("session", session.get());
            if let Some(kind) = about.kind {
                attrs.set("method", kind.as_str());
            }
            if let Some(index) = about.index {
                attrs.set("index", index);
            }
        });
        let uses = live.connection(peer).map_or_else(EdgeGuard::off, |connection| node.touches(connection));
        // The first request may be reported before the first status of its session, and a request of a cancelled
        // session after its last status.
        let session = match kind {
            NodeKind::Request if about.kind != Some(RequestKind::Cancel) => {
                let asks = live.link(session, &peer).map_or_else(|| self.session_id(session), str::to_owned);
                self.registry.edge(EdgeKind::Needs, asks, node.id(), ())
            }
            _ => EdgeGuard::off(),
        };
        Exchange { node, needs: EdgeGuard::off(), _session: session, _uses: uses }
    }
}

impl Live {
    /// The id of the link with this peer, in the session with this number, else in any session.
    fn link(&self, number: SnapshotSessionId, peer: &PeerId) -> Option<&str> {
        let peer = peer.to_base58();
        let first = self.sessions.get(&number).into_iter();
        let mut all = first.chain(self.sessions.values());
        all.find_map(|session| session.links.get(&peer)).map(|(node, _)| node.id())
    }

    /// The id of a connection to this peer.
    fn connection(&self, peer: PeerId) -> Option<&str> {
        let first = (peer, ConnectionId::new_unchecked(0));
        self.connections.range(first..).next().filter(|((to, _), _)| *to == peer).map(|(_, node)| node.id())
    }
}

impl Observer for Fleet {
    fn request_started(&self, request: &Activity) {
        let id = ExchangeId::derive(&self.me, &request.peer, request.session.get(), &describe(request));
        let mut live = self.live();
        let mut exchange = self.exchange(&live, NodeKind::Request, &id.request(), request);
        exchange.needs = exchange.node.needs(id.response());
        insert(&mut live.requests, request.id, exchange);
    }

    fn request_finished(&self, request: &Activity, _ended: &Ended) {
        self.live().requests.remove(&request.id);
    }

    fn response_started(&self, response: &Activity) {
        let id = ExchangeId::derive(&response.peer, &self.me, response.session.get(), &describe(response));
        let mut live = self.live();
        let exchange = self.exchange(&live, NodeKind::Response, &id.response(), response);
        exchange.node.set("stage", "waits for its turn");
        insert(&mut live.responses, response.id, exchange);
    }

    fn response_finished(&self, response: &Activity, _ended: &Ended) {
        let mut live = self.live();
        live.responses.remove(&response.id);
        live.awaited.retain(|_, waiting| *waiting != response.id);
    }

    fn response_waits(&self, response: &Activity, job: &Activity) {
        let mut live = self.live();
        insert(&mut live.awaited, job.id, response.id);
        let Some(job) = live.jobs.get(&(Job::Provide, job.id)).map(|node| node.id().to_owned()) else { return };
        if let Some(exchange) = live.responses.get_mut(&response.id) {
            exchange.wait_for(Job::Provide, &job);
        }
    }

    fn blocking_job_started(&self, job: Job, about: &Activity) {
        let what = describe(about);
        let mut live = self.live();
        let node = match job {
            Job::Check => self.registry.fresh(NodeKind::Command, format_args!("hash: check {what}"), ()),
            _ => self.registry.fresh(NodeKind::FileOp, format_args!("disk: read {what}"), ()),
        };
        node.set("session", about.session.get());
        let response = live.awaited.get(&about.id).copied().unwrap_or(about.id);
        let exchange = match job {
            Job::Check => live.requests.get_mut(&about.id),
            _ => live.responses.get_mut(&response),
        };
        if let Some(exchange) = exchange {
            exchange.wait_for(job, node.id());
        }
        insert(&mut live.jobs, (job, about.id), node);
    }

    fn blocking_job_finished(&self, job: Job, about: &Activity, _elapsed: Duration) {
        let mut live = self.live();
        live.jobs.remove(&(job, about.id));
        if job == Job::Provide {
            let connection = live.connection(about.peer).map(str::to_owned);
            if let Some(exchange) = live.responses.get_mut(&about.id) {
                exchange.needs = connection.map_or_else(EdgeGuard::off, |id| exchange.node.needs(id));
                exchange.node.set("stage", "being sent");
            }
        }
    }
}

impl Watcher for Fleet {
    fn connection_established(&self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint, _first: bool) {
        let kind = if endpoint.is_dialer() { NodeKind::NetConnect } else { NodeKind::NetAccept };
        let address = endpoint.get_remote_address();
        let node = self.registry.node(
            kind,
            format_args!("connection:{}:{connection}", self.me),
            format_args!("connection with {peer} at {address}"),
            |attrs: &mut rpp_fleet::Attrs| {
                attrs.set("peer", peer.to_base58()).set("address", address.to_string());
            },
        );
        let mut live = self.live();
        if live.connections.len() < MAX_ENTRIES {
            live.connections.insert((peer, connection), node);
        }
    }

    fn connection_closed(&self, peer: PeerId, id: ConnectionId, _at: &ConnectedPoint, _reason: &str, _last: bool) {
        self.live().connections.remove(&(peer, id));
    }

    fn round_trip(&self, peer: PeerId, connection: ConnectionId, elapsed: Duration) {
        if let Some(node) = self.live().connections.get(&(peer, connection)) {
            node.set("round_trip_ms", elapsed.as_secs_f64() * 1000.0);
        }
    }

    fn session(&self, status: &SnapshotStreamStatus) {
        if status.state.is_final() {
            return self.session_removed(status.session);
        }
        let mut live = self.live();
        if !live.sessions.contains_key(&status.session) {
            let id = self.session_id(status.session);
            // A session without a named provider has no peer at first.
            let peer = status.peer.map_or_else(|| "anybody".to_owned(), |peer| peer.to_base58());
            let node = self.registry.node(NodeKind::Future, id, "", [("peer", peer)]);
            insert(&mut live.sessions, status.session, Session { node, wait: None, links: BTreeMap::new() });
        }
        let Some(session) = live.sessions.get_mut(&status.session) else { return };
        show(&session.node, status);
        self.show_links(session, status);
        let known = |wait: &Wait, on: &WaitingOn| {
            (wait.for_what.0, &wait.for_what.1, &wait.for_what.2) == (on.what, &on.peer, &on.retry_at)
        };
        match (&session.wait, &status.waiting_on) {
            (Some(wait), Some(on)) if known(wait, on) => {}
            (_, on) => {
                // The old node is removed first, because the new one may have the same id.
                session.wait = None;
                session.wait = on.as_ref().and_then(|on| self.wait(&session.node, status.session, on, status.state));
            }
        }
    }

    fn session_removed(&self, session: SnapshotSessionId) {
        self.live().sessions.remove(&session);
    }

    fn work_started(&self, id: u64, work: Work, session: SnapshotSessionId) {
        let (kind, sort) = match work {
            Work::Chain | Work::Proof => (NodeKind::Command, "proof"),
            _ => (NodeKind::FileOp, "disk"),
        };
        let label = format_args!("{sort}: {} of session {session}", work.name());
        let node = self.registry.fresh(kind, label, [("session", session.get())]);
        let mut live = self.live();
        let edge = self.session_needs(&live, session, node.id());
        insert(&mut live.work, id, (node, edge));
    }

    fn work_finished(&self, id: u64) {
        self.live().work.remove(&id);
    }
}

/// Updates a session's node.
fn show(node: &NodeGuard, status: &SnapshotStreamStatus) {
    node.set_label(format_args!("session {}: {}", status.session, status.state.as_str()));
    node.set("state", status.state.as_str());
    node.set("bytes_verified", status.bytes_verified);
    node.set("bytes_durable", status.bytes_durable);
    if let Some(total) = status.total_bytes {
        node.set("total_bytes", total);
    }
    if let Some(root) = status.root {
        node.set("root", root.to_string());
    }
    node.set("waits_for", status.waiting_on.as_ref().map_or("", |on| on.reason.as_str()));
    node.set("error", status.error.as_deref().unwrap_or_default());
}

/// The description that both sides of an exchange use.
fn describe(about: &Activity) -> String {
    match (about.kind, about.index) {
        (Some(kind), Some(index)) => format!("{} {index}", kind.as_str()),
        (Some(kind), None) => kind.as_str().to_owned(),
        (None, _) => format!("unreadable {:?}", about.id),
    }
}

fn insert<K: Hash + Eq, V>(map: &mut HashMap<K, V>, key: K, value: V) {
    if map.len() < MAX_ENTRIES {
        map.insert(key, value);
    }
}
