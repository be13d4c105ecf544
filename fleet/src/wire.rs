//! The messages: what a collector asks and what a process answers.

use std::{borrow::Cow, io, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    kinds::{EdgeKind, NodeKind},
    limits::{MAX_REPLY_BYTES, MAX_REQUEST_BYTES, MAX_UNREADABLE_PARTS},
};

const REQUEST: &str = "snapshot_request";
const REPLY: &str = "graph_reply";

/// A process's graph as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    /// The process's name for people.
    pub process_name: Box<str>,
    /// Its name in the database.
    pub proc_key: Box<str>,
    /// What is alive.
    pub nodes: Vec<Node>,
    /// How the nodes are related.
    pub edges: Vec<Edge>,
}

/// One live thing.
///
/// On the wire `label` and `attrs_json` may be `null` or absent: the node is then labelled with its id, and has no
/// attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "NodeOnWire")]
pub struct Node {
    /// Unique in the fleet. Shared with the registry, as all ids and labels: taking a graph copies no text.
    pub id: Arc<str>,
    /// What it is.
    pub kind: NodeKind,
    /// For people.
    pub label: Arc<str>,
    /// A JSON text.
    pub attrs_json: Box<str>,
}

/// One relation. On the wire `attrs_json` may be `null` or absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Id of the node that it starts from.
    pub src: Arc<str>,
    /// Id of the node that it leads to, which may belong to another process.
    pub dst: Arc<str>,
    /// The kind of relation.
    pub kind: EdgeKind,
    /// A JSON text.
    #[serde(default = "no_attrs", deserialize_with = "attrs")]
    pub attrs_json: Box<str>,
}

#[derive(Deserialize)]
struct NodeOnWire {
    id: Arc<str>,
    kind: NodeKind,
    label: Option<Arc<str>>,
    attrs_json: Option<Box<str>>,
}

impl From<NodeOnWire> for Node {
    fn from(NodeOnWire { id, kind, label, attrs_json }: NodeOnWire) -> Self {
        let label = label.unwrap_or_else(|| Arc::clone(&id));
        Self { id, kind, label, attrs_json: attrs_json.unwrap_or_else(no_attrs) }
    }
}

fn no_attrs() -> Box<str> {
    "{}".into()
}

fn attrs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<str>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(no_attrs))
}

impl Graph {
    /// An estimate of the memory that it takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        const PER_TEXT: usize = 32;
        let nodes: usize = self.nodes.iter().map(|n| n.id.len() + n.label.len() + n.attrs_json.len()).sum();
        let edges: usize = self.edges.iter().map(|e| e.src.len() + e.dst.len() + e.attrs_json.len()).sum();
        nodes
            + edges
            + self.nodes.len() * (size_of::<Node>() + 3 * PER_TEXT)
            + self.edges.len() * (size_of::<Edge>() + 3 * PER_TEXT)
    }
}

/// What a collector asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Names the cut.
    pub snapshot_id: u64,
    /// How long the collector waits.
    pub timeout_ms: u64,
}

/// Why a frame was skipped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SkipError {
    /// The sender wrote something that is not JSON, or lacks what its type needs.
    #[error("the frame cannot be read: {0}")]
    Unreadable(#[source] serde_json::Error),
    /// The sender knows messages that we do not.
    #[error("unknown type {0:?}")]
    UnknownType(String),
}

#[derive(Serialize, Deserialize)]
struct RequestFrame<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    snapshot_id: u64,
    timeout_ms: u64,
}

#[derive(Deserialize)]
struct AnyFrame<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

/// The request as JSON, without its length.
#[must_use]
pub fn encode_request(request: Request) -> Vec<u8> {
    let frame =
        RequestFrame { kind: Cow::Borrowed(REQUEST), snapshot_id: request.snapshot_id, timeout_ms: request.timeout_ms };
    // Two numbers and a constant text: nothing in it can fail to serialize.
    serde_json::to_vec(&frame).unwrap_or_default()
}

/// Reads a request.
///
/// # Errors
/// The frame is not JSON or not a request; it is to be skipped.
pub fn decode_request(frame: &[u8]) -> Result<Request, SkipError> {
    match serde_json::from_slice::<RequestFrame<'_>>(frame) {
        Ok(request) if request.kind == REQUEST => {
            Ok(Request { snapshot_id: request.snapshot_id, timeout_ms: request.timeout_ms })
        }
        Ok(other) => Err(SkipError::UnknownType(other.kind.into_owned())),
        Err(error) => Err(classify(frame, REQUEST, error)),
    }
}

/// A reply whose graph has not been parsed yet.
#[derive(Debug, Deserialize)]
pub struct Reply<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    /// The cut that it answers.
    pub snapshot_id: u64,
    /// The process's name.
    #[serde(borrow)]
    pub process: Cow<'a, str>,
    /// Its process id.
    pub pid: u64,
    #[serde(borrow)]
    graph: Option<&'a RawValue>,
}

impl Reply<'_> {
    /// The graph, without the nodes and edges that cannot be read; `None` when nothing is alive, or the process could
    /// not build it.
    ///
    /// # Errors
    /// The graph as a whole is not what the protocol says.
    pub fn graph(&self) -> Result<Option<Graph>, serde_json::Error> {
        Ok(self.graph_and_unreadable()?.map(|(graph, _)| graph))
    }

    /// The same, with the parts that could not be read.
    ///
    /// # Errors
    /// The graph as a whole is not what the protocol says.
    pub fn graph_and_unreadable(&self) -> Result<Option<(Graph, Unreadable)>, serde_json::Error> {
        let Some(raw) = self.graph else { return Ok(None) };
        // Nearly every graph can be read at once.
        if let Ok(graph) = serde_json::from_str(raw.get()) {
            return Ok(Some((graph, Unreadable::default())));
        }
        let parts: GraphInParts<'_> = serde_json::from_str(raw.get())?;
        let mut unreadable = Unreadable::default();
        let graph = Graph {
            process_name: parts.process_name.unwrap_or_default(),
            proc_key: parts.proc_key.unwrap_or_default(),
            nodes: unreadable.keep_readable(&parts.nodes, |place, why| Part::Node { place, why }),
            edges: unreadable.keep_readable(&parts.edges, |place, why| Part::Edge { place, why }),
        };
        Ok(Some((graph, unreadable)))
    }
}

#[derive(Deserialize)]
struct GraphInParts<'a> {
    process_name: Option<Box<str>>,
    proc_key: Option<Box<str>>,
    #[serde(borrow)]
    nodes: Vec<&'a RawValue>,
    #[serde(borrow)]
    edges: Vec<&'a RawValue>,
}

/// The parts of a graph that could not be read. The rest of the graph is kept.
#[derive(Debug, Default)]
pub struct Unreadable {
    /// The first of them, at most [`MAX_UNREADABLE_PARTS`].
    pub parts: Vec<Part>,
    /// How many more there were.
    pub further: u64,
}

/// A node or an edge that could not be read.
#[derive(Debug)]
pub enum Part {
    /// A node.
    Node {
        /// Which one of the list, from 1.
        place: usize,
        /// What is wrong with it.
        why: serde_json::Error,
    },
    /// An edge.
    Edge {
        /// Which one of the list, from 1.
        place: usize,
        /// What is wrong with it.
        why: serde_json::Error,
    },
}

impl Unreadable {
    fn keep_readable<T: DeserializeOwned>(
        &mut self,
        raw: &[&RawValue],
        part: impl Fn(usize, serde_json::Error) -> Part,
    ) -> Vec<T> {
        let mut kept = Vec::with_capacity(raw.len());
        for (index, raw) in raw.iter().enumerate() {
            match serde_json::from_str(raw.get()) {
                Ok(value) => kept.push(value),
                Err(why) if self.parts.len() < MAX_UNREADABLE_PARTS => self.parts.push(part(index + 1, why)),
                Err(_) => self.further += 1,
            }
        }
        kept
    }
}

/// Reads a reply's envelope.
///
/// # Errors
/// The frame is not JSON or not a reply; it is to be skipped.
pub fn decode_reply(frame: &[u8]) -> Result<Reply<'_>, SkipError> {
    match serde_json::from_slice::<Reply<'_>>(frame) {
        Ok(reply) if reply.kind == REPLY => Ok(reply),
        Ok(other) => Err(SkipError::UnknownType(other.kind.into_owned())),
        Err(error) => Err(classify(frame, REPLY, error)),
    }
}

fn classify(frame: &[u8], expected: &str, error: serde_json::Error) -> SkipError {
    match serde_json::from_slice::<AnyFrame<'_>>(frame) {
        Ok(any) if any.kind != expected => SkipError::UnknownType(any.kind.into_owned()),
        _ => SkipError::Unreadable(error),
    }
}

#[derive(Serialize)]
struct ReplyFrame<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    snapshot_id: u64,
    process: &'a str,
    pid: u64,
    graph: Option<&'a Graph>,
}

/// The reply as JSON, without its length. A graph that does not fit into a frame is sent as `null`.
#[must_use]
pub fn encode_reply(snapshot_id: u64, process: &str, pid: u64, graph: Option<&Graph>) -> Vec<u8> {
    let frame = |graph| ReplyFrame { kind: REPLY, snapshot_id, process, pid, graph };
    bounded(&frame(graph), MAX_REPLY_BYTES).or_else(|_| bounded(&frame(None), MAX_REQUEST_BYTES)).unwrap_or_default()
}

fn bounded(value: &impl Serialize, max: usize) -> Result<Vec<u8>, serde_json::Error> {
    let mut writer = Bounded { bytes: Vec::new(), max };
    serde_json::to_writer(&mut writer, value)?;
    Ok(writer.bytes)
}

struct Bounded {
    bytes: Vec<u8>,
    max: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than a frame may be"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_that_does_not_fit_is_null() {
        let node = Node {
            id: "a".into(),
            kind: NodeKind::Lock,
            label: "x".repeat(MAX_REPLY_BYTES / 2).into(),
            attrs_json: "{}".into(),
        };
        let graph =
            Graph { process_name: "p".into(), proc_key: "p-1".into(), nodes: vec![node.clone(), node], edges: vec![] };
        let frame = encode_reply(3, "p", 1, Some(&graph));
        assert_eq!(
            String::from_utf8(frame).unwrap(),
            r#"{"type":"graph_reply","snapshot_id":3,"process":"p","pid":1,"graph":null}"#
        );
    }
}
