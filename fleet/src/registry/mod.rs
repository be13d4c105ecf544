//! The registry of what is alive now.
//!
//! A node is added when the thing that it stands for is created, and removed when that thing is dropped. An edge exists
//! as long as the relation. Guards do both. One lock protects everything; it is held while one pointer for each entry
//! is copied. So a graph is taken in one step, and nobody ever sees a half-changed state. Texts are built before the
//! lock is taken and freed after it.
//!
//! ```
//! use rpp_fleet::{NodeKind, Registry};
//! let registry = Registry::new("my-service");
//! let session = registry.node(NodeKind::Future, format_args!("session:{}", 7), "session 7", ());
//! let queue = registry.fresh(NodeKind::Tx, "write queue", [("capacity", 16u64)]);
//! let waits = session.needs(queue.id());
//! queue.set("fill", 16u64);
//! assert_eq!((registry.nodes(), registry.edges()), (2, 1));
//! drop(session); // its edges go with it
//! assert_eq!((registry.nodes(), registry.edges()), (1, 0));
//! # drop(waits);
//! ```

mod guards;
mod state;

use std::{
    fmt::{self, Display},
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub use guards::{EdgeGuard, Group, GroupGuard, NodeGuard};
use state::{EdgeEntry, NodeEntry, State};

use rpp_common::text::cut_to;

use crate::{
    attrs::{About, IntoAttrs, Origin},
    ids::proc_key,
    kinds::{EdgeKind, NodeKind},
    limits::{MAX_ID_BYTES, MAX_TEXT_BYTES},
    wire::{Edge, Graph, Node},
};

/// The graph of what is alive in this process, or nothing at all. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry {
    shared: Option<Arc<Shared>>,
}

/// The parts of a registry that is on.
struct Shared {
    process: Box<str>,
    pid: u64,
    proc_key: Box<str>,
    next: AtomicU64,
    state: Mutex<State>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A holder cannot panic between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// A registry that holds nothing and costs one branch for each call.
    #[must_use]
    pub const fn off() -> Self {
        Self { shared: None }
    }

    /// An empty registry of this process, with a name for people.
    #[must_use]
    pub fn new(process: &str) -> Self {
        Self::with_pid(process, u64::from(process::id()))
    }

    /// An empty registry of a process with another id than this one: for several nodes in one process, and tests.
    #[must_use]
    pub fn with_pid(process: &str, pid: u64) -> Self {
        let process = cut_to(process, crate::limits::MAX_PROCESS_NAME_BYTES);
        let shared = Shared {
            process: process.into(),
            pid,
            proc_key: proc_key(process, pid).into(),
            next: AtomicU64::new(0),
            state: Mutex::default(),
        };
        Self { shared: Some(Arc::new(shared)) }
    }

    /// Whether anything is recorded.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.shared.is_some()
    }

    /// Adds a node under an id that must be unique in the fleet. The node stays until the guard is dropped.
    ///
    /// `id` and `label` are formatted, and `attrs` is evaluated, only while the registry is on: pass `format_args!` and
    /// closures.
    #[inline]
    pub fn node(&self, kind: NodeKind, id: impl Display, label: impl Display, attrs: impl IntoAttrs) -> NodeGuard {
        match &self.shared {
            None => NodeGuard::off(),
            Some(shared) => NodeGuard::enter(shared, NodeEntry::new(kind, bounded_id(&id), &label, attrs)),
        }
    }

    /// Adds a node under an id that the registry makes (`<kind>:<process key>:<number>`).
    #[inline]
    pub fn fresh(&self, kind: NodeKind, label: impl Display, attrs: impl IntoAttrs) -> NodeGuard {
        match &self.shared {
            None => NodeGuard::off(),
            Some(shared) => {
                let number = shared.next.fetch_add(1, Relaxed);
                let id = bounded_id(&format_args!("{}:{}:{number}", kind.snake_case(), shared.proc_key));
                NodeGuard::enter(shared, NodeEntry::new(kind, id, &label, attrs))
            }
        }
    }

    /// Adds an edge between any two ids, of this process or another. The edge stays until the guard is dropped.
    #[inline]
    pub fn edge(&self, kind: EdgeKind, src: impl Display, dst: impl Display, attrs: impl IntoAttrs) -> EdgeGuard {
        match &self.shared {
            None => EdgeGuard::off(),
            Some(shared) => {
                EdgeGuard::enter(shared, None, EdgeEntry::new(kind, bounded_id(&src), bounded_id(&dst), attrs))
            }
        }
    }

    /// Collects nodes and edges that are added in one step and removed in one step.
    pub fn group(&self) -> Group {
        Group::new(self.shared.clone())
    }

    /// Nodes that are alive.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.shared.as_ref().map_or(0, |shared| shared.lock().nodes.len())
    }

    /// Edges that exist.
    #[must_use]
    pub fn edges(&self) -> usize {
        self.shared.as_ref().map_or(0, |shared| shared.lock().edges.len())
    }

    /// Nodes and edges that were refused because the registry was full, since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shared.as_ref().map_or(0, |shared| shared.lock().refused)
    }

    /// The process's name; empty when off.
    #[must_use]
    pub fn process(&self) -> &str {
        self.shared.as_ref().map_or("", |shared| &shared.process)
    }

    /// The process id; 0 when off.
    #[must_use]
    pub fn pid(&self) -> u64 {
        self.shared.as_ref().map_or(0, |shared| shared.pid)
    }

    /// The process's key in the database; empty when off.
    #[must_use]
    pub fn proc_key(&self) -> &str {
        self.shared.as_ref().map_or("", |shared| &shared.proc_key)
    }

    /// Everything that is alive at one moment; `None` when off.
    #[must_use]
    pub fn graph(&self) -> Option<Graph> {
        let shared = self.shared.as_ref()?;
        let (nodes, edges) = shared.lock().copy();
        let (now, mut json) = (Instant::now(), String::new());
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(Graph {
            process_name: shared.process.clone(),
            proc_key: shared.proc_key.clone(),
            nodes: nodes.iter().map(|node| node.to_wire(now, since_1970, &shared.process, &mut json)).collect(),
            edges: edges.iter().map(|edge| edge.to_wire(now, &mut json)).collect(),
        })
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("process", &self.process())
            .field("nodes", &self.nodes())
            .field("edges", &self.edges())
            .finish()
    }
}

/// An id that is too long is replaced by its start and a hash, the same in every process.
fn bounded_id(id: &dyn Display) -> Arc<str> {
    const HASH: usize = 32;
    let id = id.to_string();
    if id.len() <= MAX_ID_BYTES {
        return id.into();
    }
    let hash = blake3::hash(id.as_bytes()).to_hex();
    format!("{}~{}", cut_to(&id, MAX_ID_BYTES - HASH - 1), &hash[..HASH]).into()
}

fn bounded_text(text: &dyn Display) -> Arc<str> {
    cut_to(&text.to_string(), MAX_TEXT_BYTES).into()
}

impl NodeEntry {
    /// `since_1970` is `now` on the calendar's clock.
    fn to_wire(&self, now: Instant, since_1970: Duration, process: &str, json: &mut String) -> Node {
        let age = now.saturating_duration_since(self.since);
        let created_at = u64::try_from(since_1970.saturating_sub(age).as_nanos()).unwrap_or(u64::MAX);
        Node {
            id: Arc::clone(&self.id),
            kind: self.kind.clone(),
            label: Arc::clone(&self.label),
            attrs_json: self.attrs.to_json(
                &About {
                    age,
                    label: Some(&self.label),
                    exchange: matches!(self.kind, NodeKind::Request | NodeKind::Response),
                    origin: Some(Origin { created_at, source: process }),
                },
                json,
            ),
        }
    }
}

impl EdgeEntry {
    fn to_wire(&self, now: Instant, json: &mut String) -> Edge {
        Edge {
            src: Arc::clone(&self.src),
            dst: Arc::clone(&self.dst),
            kind: self.kind.clone(),
            attrs_json: self.attrs.to_json(
                &About { age: now.saturating_duration_since(self.since), label: None, exchange: false, origin: None },
                json,
            ),
        }
    }
}
