//! Guards: creating one adds an entry, dropping it removes the entry.

use std::{fmt::Display, sync::Arc, time::Instant};

use super::{
    Shared, bounded_id, bounded_text,
    state::{EdgeEntry, Gone, NodeEntry, Place},
};
use crate::{
    attrs::{IntoAttrs, Value},
    kinds::{EdgeKind, NodeKind},
};

/// Keeps a node in the registry, together with the edges that start from it.
#[must_use = "the node leaves the registry when the guard is dropped"]
pub struct NodeGuard {
    live: Option<Live>,
}

struct Live {
    shared: Arc<Shared>,
    place: Place,
    id: Arc<str>,
}

impl NodeGuard {
    /// A guard without an entry, as a registry that is off returns it.
    pub const fn off() -> Self {
        Self { live: None }
    }

    pub(super) fn enter(shared: &Arc<Shared>, entry: NodeEntry) -> Self {
        let (id, entry) = (Arc::clone(&entry.id), Arc::new(entry));
        let mut state = shared.lock();
        if !state.has_room(1, 0) {
            return Self::off();
        }
        let place = state.add_node(entry);
        drop(state);
        Self { live: Some(Live { shared: Arc::clone(shared), place, id }) }
    }

    /// The node's id; empty when off.
    #[must_use]
    pub fn id(&self) -> &str {
        self.live.as_ref().map_or("", |live| &live.id)
    }

    /// Sets one attribute.
    #[inline]
    pub fn set(&self, name: &'static str, value: impl Into<Value>) {
        if let Some(live) = &self.live {
            let value = value.into();
            live.change(|entry| {
                entry.attrs.set(name, value);
            });
        }
    }

    /// Changes the label.
    #[inline]
    pub fn set_label(&self, label: impl Display) {
        if let Some(live) = &self.live {
            let label = bounded_text(&label);
            live.change(|entry| entry.label = label);
        }
    }

    /// This node cannot go on before `dst` does.
    #[inline]
    pub fn needs(&self, dst: impl Display) -> EdgeGuard {
        self.edge(EdgeKind::Needs, dst, ())
    }

    /// This node uses `dst`.
    #[inline]
    pub fn touches(&self, dst: impl Display) -> EdgeGuard {
        self.edge(EdgeKind::Touches, dst, ())
    }

    /// This node started `dst`.
    #[inline]
    pub fn spawned(&self, dst: impl Display) -> EdgeGuard {
        self.edge(EdgeKind::Spawned, dst, ())
    }

    /// This node was closed by `dst`.
    #[inline]
    pub fn closed_by(&self, dst: impl Display) -> EdgeGuard {
        self.edge(EdgeKind::ClosedBy, dst, ())
    }

    /// An edge from this node. It is removed when its guard or this node's guard is dropped, whichever comes first.
    #[inline]
    pub fn edge(&self, kind: EdgeKind, dst: impl Display, attrs: impl IntoAttrs) -> EdgeGuard {
        match &self.live {
            None => EdgeGuard::off(),
            Some(live) => {
                let entry = EdgeEntry::new(kind, Arc::clone(&live.id), bounded_id(&dst), attrs);
                EdgeGuard::enter(&live.shared, Some(live.place), entry)
            }
        }
    }
}

impl Live {
    /// The entry is replaced and not changed, so that a graph that was taken earlier keeps its values.
    fn change(&self, change: impl FnOnce(&mut NodeEntry)) {
        let mut state = self.shared.lock();
        if let Some(node) = state.nodes.get_mut(self.place) {
            change(Arc::make_mut(&mut node.entry));
        }
    }
}

impl Drop for NodeGuard {
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            let mut gone = Gone::default();
            live.shared.lock().remove_node(live.place, &mut gone);
        }
    }
}

/// Keeps an edge in the registry.
#[must_use = "the edge leaves the registry when the guard is dropped"]
pub struct EdgeGuard {
    live: Option<(Arc<Shared>, Place)>,
}

impl EdgeGuard {
    /// A guard without an entry.
    pub const fn off() -> Self {
        Self { live: None }
    }

    pub(super) fn enter(shared: &Arc<Shared>, source: Option<Place>, entry: EdgeEntry) -> Self {
        // The other end has no id if it is off, or if the registry was full.
        if entry.src.is_empty() || entry.dst.is_empty() {
            return Self::off();
        }
        let entry = Arc::new(entry);
        let mut state = shared.lock();
        if !state.has_room(0, 1) {
            return Self::off();
        }
        let place = state.add_edge(source, entry);
        drop(state);
        Self { live: place.map(|place| (Arc::clone(shared), place)) }
    }

    /// Sets one attribute.
    #[inline]
    pub fn set(&self, name: &'static str, value: impl Into<Value>) {
        if let Some((shared, place)) = &self.live {
            let value = value.into();
            let mut state = shared.lock();
            if let Some(edge) = state.edges.get_mut(*place) {
                Arc::make_mut(&mut edge.entry).attrs.set(name, value);
            }
        }
    }
}

impl Drop for EdgeGuard {
    fn drop(&mut self) {
        if let Some((shared, place)) = self.live.take() {
            let mut gone = Gone::default();
            shared.lock().remove_edge(place, &mut gone);
        }
    }
}

/// Collects entries that are to be added in one step.
///
/// ```
/// use rpp_fleet::{EdgeKind, NodeKind, Registry};
/// let registry = Registry::new("my-service");
/// let mut group = registry.group();
/// group.node(NodeKind::Request, "request:1", "a request", ());
/// group.node(NodeKind::Sleep, "sleep:1", "its time-out", ());
/// group.edge(EdgeKind::Spawned, "request:1", "sleep:1", ());
/// let both = group.enter();
/// assert_eq!(registry.nodes(), 2);
/// drop(both);
/// assert_eq!(registry.nodes(), 0);
/// ```
#[must_use = "nothing is in the registry before `enter`"]
pub struct Group {
    shared: Option<Arc<Shared>>,
    nodes: Vec<Arc<NodeEntry>>,
    edges: Vec<Arc<EdgeEntry>>,
}

impl Group {
    pub(super) fn new(shared: Option<Arc<Shared>>) -> Self {
        Self { shared, nodes: Vec::new(), edges: Vec::new() }
    }

    /// Adds a node.
    pub fn node(&mut self, kind: NodeKind, id: impl Display, label: impl Display, attrs: impl IntoAttrs) {
        if self.shared.is_some() {
            self.nodes.push(Arc::new(NodeEntry::new(kind, bounded_id(&id), &label, attrs)));
        }
    }

    /// Adds an edge.
    pub fn edge(&mut self, kind: EdgeKind, src: impl Display, dst: impl Display, attrs: impl IntoAttrs) {
        if self.shared.is_some() {
            self.edges.push(Arc::new(EdgeEntry::new(kind, bounded_id(&src), bounded_id(&dst), attrs)));
        }
    }

    /// Adds all of it in one step, or nothing if there is not enough space.
    pub fn enter(self) -> GroupGuard {
        let now = Instant::now();
        let mut guard = GroupGuard { shared: None, nodes: Vec::new(), edges: Vec::new() };
        let Some(shared) = self.shared else { return guard };
        guard.nodes.reserve(self.nodes.len());
        guard.edges.reserve(self.edges.len());
        let mut state = shared.lock();
        if !state.has_room(self.nodes.len(), self.edges.len()) {
            return guard;
        }
        for mut node in self.nodes {
            Arc::make_mut(&mut node).since = now;
            guard.nodes.push(state.add_node(node));
        }
        for edge in self.edges {
            guard.edges.extend(state.add_edge(None, edge));
        }
        drop(state);
        guard.shared = Some(shared);
        guard
    }
}

/// Keeps a group in the registry.
#[must_use = "the group leaves the registry when the guard is dropped"]
pub struct GroupGuard {
    shared: Option<Arc<Shared>>,
    nodes: Vec<Place>,
    edges: Vec<Place>,
}

impl Drop for GroupGuard {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        let mut gone = (Vec::with_capacity(self.nodes.len()), Vec::with_capacity(self.edges.len()));
        let mut state = shared.lock();
        for place in self.edges.drain(..) {
            state.remove_edge(place, &mut gone);
        }
        for place in self.nodes.drain(..) {
            state.remove_node(place, &mut gone);
        }
        drop(state);
    }
}
