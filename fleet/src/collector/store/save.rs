//! Stores one cut in the database, in one transaction.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, Statement, TransactionBehavior, params};
use serde::Serialize;

use super::StoreError;
use rpp_common::text::cut_to;

use crate::{
    collector::{
        cut::{Finished, Participant, ProcessStatus},
        events::{Event, EventKind, now_ns},
    },
    limits::{MAX_STORED_ATTRS_BYTES, MAX_STORED_ID_BYTES, MAX_STORED_KIND_BYTES, MAX_STORED_LABEL_BYTES},
    wire::{Edge, Node},
};

/// The answer to the caller of a cut.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Saved {
    pub(crate) snapshot_id: u64,
    pub(crate) requested: u64,
    pub(crate) responded: u64,
    pub(crate) timed_out: u64,
    pub(crate) disconnected: u64,
    pub(crate) nodes: u64,
    pub(crate) edges: u64,
    pub(crate) unresolved_edges: u64,
    pub(crate) elapsed_ms: u64,
    pub(crate) processes: Vec<ProcessRow>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProcessRow {
    pub(crate) proc_key: String,
    pub(crate) process: String,
    pub(crate) pid: Option<u64>,
    pub(crate) status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error_text: Option<String>,
}

/// An estimate of what a cut takes in the file, rather too high than too low.
pub(super) fn estimate(finished: &Finished) -> u64 {
    let graphs = finished.participants.iter().filter_map(|p| p.graph.as_ref().map(|graph| (p, graph)));
    let bytes = graphs.map(|(p, graph)| {
        let names = p.name.proc_key.len() + p.name.process.len();
        let nodes: usize =
            graph.nodes.iter().map(|n| 2 * n.id.len() + n.label.len() + n.attrs_json.len() + 2 * names + 80).sum();
        let edges: usize =
            graph.edges.iter().map(|e| 2 * (e.src.len() + e.dst.len()) + e.attrs_json.len() + 4 * names + 80).sum();
        (nodes + edges) as u64
    });
    // Pages are never completely full.
    bytes.sum::<u64>() / 4 * 5 + 256 * finished.participants.len() as u64 + 64 * 1024
}

/// Stores everything, or nothing. Also returns the notes about the graphs.
pub(super) fn save(db: &mut Connection, finished: &Finished) -> Result<(Saved, Vec<Event>), StoreError> {
    let mut notes = Notes { snapshot_id: finished.id, events: Vec::new(), unnoted: 0 };
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let id = finished.id as i64;
    transaction.execute(
        "INSERT INTO snapshots VALUES (?1, ?2, ?3, ?4)",
        params![id, finished.requested_at_ns, now_ns(), finished.timeout_ms as i64],
    )?;
    save_processes(&transaction, id, &finished.participants)?;
    for participant in &finished.participants {
        for (kind, what) in &participant.notes {
            notes.add(participant, *kind, format_args!("{what}"));
        }
    }
    let nodes = save_nodes(&transaction, id, &finished.participants, &mut notes)?;
    let (edges, unresolved) = save_edges(&transaction, id, &finished.participants, &mut notes)?;
    transaction.commit()?;
    let count = |status| finished.participants.iter().filter(|p| p.status == status).count() as u64;
    let saved = Saved {
        snapshot_id: finished.id,
        requested: finished.participants.len() as u64,
        responded: count(ProcessStatus::Responded),
        timed_out: count(ProcessStatus::Timeout),
        disconnected: count(ProcessStatus::Disconnected),
        nodes,
        edges,
        unresolved_edges: unresolved,
        elapsed_ms: 0,
        processes: finished.participants.iter().map(process_row).collect(),
    };
    Ok((saved, notes.finish()))
}

fn process_row(participant: &Participant) -> ProcessRow {
    ProcessRow {
        proc_key: participant.name.proc_key.clone(),
        process: participant.name.process.clone(),
        pid: participant.name.pid,
        status: participant.status.as_str(),
        error_text: participant.error_text.clone(),
    }
}

fn save_processes(db: &Connection, id: i64, participants: &[Participant]) -> Result<(), StoreError> {
    let mut insert = db.prepare("INSERT INTO snapshot_processes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    for p in participants {
        // SQLite's integers end at 2^63 - 1; no process id comes near.
        let pid = p.name.pid.map(|pid| i64::try_from(pid).unwrap_or(i64::MAX));
        insert.execute(params![
            id,
            p.name.process,
            pid,
            p.name.proc_key,
            p.status.as_str(),
            p.recv_at_ns,
            p.error_text
        ])?;
    }
    Ok(())
}

/// In the order of the primary key, so that the file grows at its end.
fn save_nodes(db: &Connection, id: i64, all: &[Participant], notes: &mut Notes) -> Result<u64, StoreError> {
    let mut insert = db.prepare("INSERT INTO nodes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    let mut participants: Vec<&Participant> = all.iter().filter(|p| p.graph.is_some()).collect();
    participants.sort_by(|a, b| a.name.proc_key.cmp(&b.name.proc_key));
    let mut stored = 0;
    for participant in participants {
        let Some(graph) = &participant.graph else { continue };
        let mut nodes: Vec<&Node> = graph.nodes.iter().collect();
        // A stable sort: of nodes with one id the first is kept.
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        let mut previous: Option<&str> = None;
        for node in nodes {
            if previous == Some(&node.id) {
                notes.add(participant, EventKind::DuplicateNode, format_args!("node {} came twice", node.id));
            } else if node.id.len() > MAX_STORED_ID_BYTES {
                notes.add(participant, EventKind::TooLong, format_args!("left out: node with the id {}", node.id));
            } else {
                insert_node(&mut insert, id, participant, node, notes)?;
                stored += 1;
            }
            previous = Some(&node.id);
        }
    }
    Ok(stored)
}

fn insert_node(
    insert: &mut Statement<'_>,
    id: i64,
    participant: &Participant,
    node: &Node,
    notes: &mut Notes,
) -> Result<(), StoreError> {
    let label = cut_to(&node.label, MAX_STORED_LABEL_BYTES);
    if label.len() < node.label.len() {
        notes.add(participant, EventKind::TooLong, format_args!("the label of {} was cut", node.id));
    }
    let kind = node.kind.snake_case();
    insert.execute(params![
        id,
        node.id,
        label,
        cut_to(&kind, MAX_STORED_KIND_BYTES),
        participant.name.process,
        participant.name.proc_key,
        stored_attrs(&node.attrs_json, participant, &node.id, notes),
    ])?;
    Ok(())
}

fn stored_attrs<'a>(
    attrs: &'a str,
    participant: &Participant,
    owner: &str,
    notes: &mut Notes,
) -> std::borrow::Cow<'a, str> {
    if attrs.len() <= MAX_STORED_ATTRS_BYTES {
        return attrs.into();
    }
    notes.add(participant, EventKind::TooLong, format_args!("attributes of {owner}: {} bytes", attrs.len()));
    format!("{{\"attrs_left_out_bytes\":{}}}", attrs.len()).into()
}

fn save_edges(db: &Connection, id: i64, all: &[Participant], notes: &mut Notes) -> Result<(u64, u64), StoreError> {
    let mut insert = db.prepare("INSERT INTO edges VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    let mut insert_unresolved =
        db.prepare("INSERT INTO unresolved_edges VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?;
    let index = Index::new(all);
    let (mut resolved, mut unresolved) = (0, 0);
    let mut previous: Option<Placed<'_>> = None;
    for placed in index.sorted_edges(all) {
        let Placed { edge, by, src, dst } = placed;
        if edge.src.len().max(edge.dst.len()) > MAX_STORED_ID_BYTES {
            notes.add(by, EventKind::TooLong, format_args!("left out: edge {} -> {}", edge.src, edge.dst));
            continue;
        }
        if let Some(same) = previous.filter(|previous| previous.key() == placed.key()) {
            // Two processes may report the same edge; one process should not report it twice.
            if std::ptr::eq(same.by, by) {
                let what = format_args!("edge {} -> {} ({}) came twice", edge.src, edge.dst, edge.kind);
                notes.add(by, EventKind::DuplicateEdge, what);
            }
            continue;
        }
        previous = Some(placed);
        let kind = edge.kind.snake_case();
        let kind = cut_to(&kind, MAX_STORED_KIND_BYTES);
        let attrs = stored_attrs(&edge.attrs_json, by, &edge.src, notes);
        let (src_key, dst_key) = (src.unwrap_or(&by.name.proc_key), dst.unwrap_or_default());
        match index.missing(&placed) {
            None => {
                insert.execute(params![id, edge.src, edge.dst, kind, attrs, src_key, dst_key])?;
                resolved += 1;
            }
            Some(m) => {
                insert_unresolved.execute(params![
                    id,
                    edge.src,
                    edge.dst,
                    kind,
                    m.side,
                    m.reason,
                    m.referenced,
                    attrs,
                    src_key,
                    dst_key,
                ])?;
                unresolved += 1;
            }
        }
    }
    Ok((resolved, unresolved))
}

/// An edge, and the processes that its ends belong to, because two hosts may use the same ids.
#[derive(Clone, Copy)]
struct Placed<'a> {
    edge: &'a Edge,
    by: &'a Participant,
    src: Option<&'a str>,
    dst: Option<&'a str>,
}

impl<'a> Placed<'a> {
    /// What distinguishes this edge from others. An end that nobody reported counts as its reporter's own.
    fn key(&self) -> (&'a str, &'a str, &'a str, &'a str, &'a str) {
        let Self { edge, by, src, dst } = *self;
        let src = src.unwrap_or(&by.name.proc_key);
        (&edge.src, &edge.dst, edge.kind.as_str(), src, dst.unwrap_or_default())
    }
}

/// Which ids exist in which process, and which processes did not answer.
struct Index<'a> {
    /// Keys of the processes that reported an id, in order; nearly always one.
    owners: HashMap<&'a str, Vec<&'a str>>,
    silent: HashMap<&'a str, ProcessStatus>,
    answered: HashSet<&'a str>,
}

/// What is missing for an edge.
struct Missing<'a> {
    side: &'static str,
    reason: &'static str,
    referenced: Option<&'a str>,
}

impl<'a> Index<'a> {
    fn new(all: &'a [Participant]) -> Self {
        let (mut owners, mut silent, mut answered) = (HashMap::<_, Vec<_>>::new(), HashMap::new(), HashSet::new());
        for participant in all {
            let key = participant.name.proc_key.as_str();
            match &participant.graph {
                Some(graph) => {
                    for node in &graph.nodes {
                        let of_id = owners.entry(&*node.id).or_default();
                        if of_id.last() != Some(&key) {
                            of_id.push(key);
                        }
                    }
                    answered.insert(key);
                }
                None => {
                    silent.insert(key, participant.status);
                }
            }
        }
        Self { owners, silent, answered }
    }

    /// The process that an id means when `by` uses it: `by` itself if it has that node, else the first that has.
    fn owner(&self, id: &str, by: &Participant) -> Option<&'a str> {
        let owners = self.owners.get(id)?;
        owners.iter().find(|key| **key == by.name.proc_key).or(owners.first()).copied()
    }

    /// All edges, sorted so that equal ones are adjacent; an edge that a process reports of itself comes first.
    fn sorted_edges(&self, all: &'a [Participant]) -> Vec<Placed<'a>> {
        let graphs = all.iter().filter_map(|by| by.graph.as_ref().map(|graph| (graph, by)));
        let mut edges: Vec<Placed<'a>> = graphs
            .flat_map(|(graph, by)| graph.edges.iter().map(move |edge| (edge, by)))
            .map(|(edge, by)| Placed { edge, by, src: self.owner(&edge.src, by), dst: self.owner(&edge.dst, by) })
            .collect();
        let foreign = |placed: &Placed<'_>| placed.src != Some(&placed.by.name.proc_key);
        edges.sort_by(|a, b| a.key().cmp(&b.key()).then(foreign(a).cmp(&foreign(b))));
        edges
    }

    fn missing(&self, placed: &Placed<'a>) -> Option<Missing<'a>> {
        let (side, id) = match (placed.src, placed.dst) {
            (Some(_), Some(_)) => return None,
            (Some(_), None) => ("dst", &placed.edge.dst),
            (None, Some(_)) => ("src", &placed.edge.src),
            (None, None) => ("both", &placed.edge.dst),
        };
        // Ids of our registry contain the key of their process between colons.
        for part in id.split(':') {
            let reason = match self.silent.get(part) {
                Some(ProcessStatus::Timeout) => "its process did not answer in time",
                Some(ProcessStatus::Disconnected) => "its process went away",
                Some(ProcessStatus::Responded) => "its process reported nothing",
                None if self.answered.contains(part) => "its process did not report it",
                None => continue,
            };
            return Some(Missing { side, reason, referenced: Some(part) });
        }
        Some(Missing { side, reason: "no process reported it", referenced: None })
    }
}

/// Notes about the graphs, a bounded number for each cut.
struct Notes {
    snapshot_id: u64,
    events: Vec<Event>,
    unnoted: u64,
}

impl Notes {
    const MAX: usize = 1000;

    fn add(&mut self, participant: &Participant, kind: EventKind, what: std::fmt::Arguments<'_>) {
        if self.events.len() >= Self::MAX {
            self.unnoted += 1;
            return;
        }
        let event = Event::new(kind, &what.to_string());
        self.events.push(event.of(Some(participant.name.clone())).in_cut(self.snapshot_id));
    }

    fn finish(mut self) -> Vec<Event> {
        if self.unnoted > 0 {
            let what = format!("{} further notes about this cut were not written", self.unnoted);
            self.events.push(Event::new(EventKind::EventsDropped, &what).in_cut(self.snapshot_id));
        }
        self.events
    }
}
