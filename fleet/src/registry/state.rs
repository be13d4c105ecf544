//! The registry's content, without locks.

use std::{fmt::Display, sync::Arc, time::Instant};

use super::bounded_text;
use crate::{
    attrs::{Attrs, IntoAttrs},
    kinds::{EdgeKind, NodeKind},
    limits::{MAX_REGISTRY_EDGES, MAX_REGISTRY_NODES},
};

#[derive(Clone)]
pub(super) struct NodeEntry {
    pub(super) id: Arc<str>,
    pub(super) kind: NodeKind,
    pub(super) label: Arc<str>,
    pub(super) attrs: Attrs,
    pub(super) since: Instant,
}

impl NodeEntry {
    pub(super) fn new(kind: NodeKind, id: Arc<str>, label: &dyn Display, attrs: impl IntoAttrs) -> Self {
        Self { id, kind, label: bounded_text(label), attrs: attrs.into_attrs(), since: Instant::now() }
    }
}

#[derive(Clone)]
pub(super) struct EdgeEntry {
    pub(super) src: Arc<str>,
    pub(super) dst: Arc<str>,
    pub(super) kind: EdgeKind,
    pub(super) attrs: Attrs,
    pub(super) since: Instant,
}

impl EdgeEntry {
    pub(super) fn new(kind: EdgeKind, src: Arc<str>, dst: Arc<str>, attrs: impl IntoAttrs) -> Self {
        Self { src, dst, kind, attrs: attrs.into_attrs(), since: Instant::now() }
    }
}

/// Identifies an entry for good: slots are reused, numbers are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    slot: u32,
    number: u64,
}

/// A list with free places: adding, removing and finding are O(1), copying is one pass.
pub(super) struct Slots<T> {
    slots: Vec<Option<(u64, T)>>,
    free: Vec<u32>,
    next: u64,
    max: usize,
}

impl<T> Slots<T> {
    fn new(max: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), next: 0, max }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn has_room(&self, wanted: usize) -> bool {
        self.len() + wanted <= self.max
    }

    fn insert(&mut self, value: T) -> Place {
        let number = self.next;
        self.next += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            // `max` fits into u32.
            (self.slots.len() - 1) as u32
        });
        self.slots[slot as usize] = Some((number, value));
        Place { slot, number }
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut T> {
        match self.slots.get_mut(place.slot as usize) {
            Some(Some((number, value))) if *number == place.number => Some(value),
            _ => None,
        }
    }

    fn remove(&mut self, place: Place) -> Option<T> {
        self.get_mut(place)?;
        let (_, value) = self.slots.get_mut(place.slot as usize)?.take()?;
        self.free.push(place.slot);
        Some(value)
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten().map(|(_, value)| value)
    }
}

pub(super) struct LiveNode {
    pub(super) entry: Arc<NodeEntry>,
    /// Edges that are removed with it.
    out: Vec<Place>,
}

pub(super) struct LiveEdge {
    pub(super) entry: Arc<EdgeEntry>,
    source: Option<Place>,
}

pub(super) struct State {
    pub(super) nodes: Slots<LiveNode>,
    pub(super) edges: Slots<LiveEdge>,
    pub(super) refused: u64,
}

impl Default for State {
    fn default() -> Self {
        Self { nodes: Slots::new(MAX_REGISTRY_NODES), edges: Slots::new(MAX_REGISTRY_EDGES), refused: 0 }
    }
}

/// The entries that were removed. The caller drops them after it has released the lock.
pub(super) type Gone = (Vec<Arc<NodeEntry>>, Vec<Arc<EdgeEntry>>);

impl State {
    pub(super) fn has_room(&mut self, nodes: usize, edges: usize) -> bool {
        let room = self.nodes.has_room(nodes) && self.edges.has_room(edges);
        if !room {
            self.refused += (nodes + edges) as u64;
        }
        room
    }

    pub(super) fn add_node(&mut self, entry: Arc<NodeEntry>) -> Place {
        self.nodes.insert(LiveNode { entry, out: Vec::new() })
    }

    /// If the edge's node has already been removed, the edge is not added.
    pub(super) fn add_edge(&mut self, source: Option<Place>, entry: Arc<EdgeEntry>) -> Option<Place> {
        if let Some(place) = source {
            self.nodes.get_mut(place)?;
        }
        let place = self.edges.insert(LiveEdge { entry, source });
        if let Some(node) = source.and_then(|source| self.nodes.get_mut(source)) {
            node.out.push(place);
        }
        Some(place)
    }

    pub(super) fn remove_node(&mut self, place: Place, gone: &mut Gone) {
        let Some(node) = self.nodes.remove(place) else { return };
        gone.0.push(node.entry);
        gone.1.extend(node.out.into_iter().filter_map(|edge| self.edges.remove(edge)).map(|edge| edge.entry));
    }

    pub(super) fn remove_edge(&mut self, place: Place, gone: &mut Gone) {
        let Some(edge) = self.edges.remove(place) else { return };
        if let Some(node) = edge.source.and_then(|source| self.nodes.get_mut(source)) {
            node.out.retain(|known| *known != place);
        }
        gone.1.push(edge.entry);
    }

    pub(super) fn copy(&self) -> Gone {
        let mut nodes = Vec::with_capacity(self.nodes.len());
        nodes.extend(self.nodes.iter().map(|node| Arc::clone(&node.entry)));
        let mut edges = Vec::with_capacity(self.edges.len());
        edges.extend(self.edges.iter().map(|edge| Arc::clone(&edge.entry)));
        (nodes, edges)
    }
}
