//! The state of one cut while it is taken: who was asked, who has answered. It has no clock and no sockets.
//!
//! ```text
//! asked -> responded     a reply with this cut's id came
//!       -> disconnected  the connection went away first
//!       -> timeout       the wait was over first, or the process does not read
//! ```

use std::collections::{BTreeMap, HashMap};

use super::{
    events::EventKind,
    roster::{ConnectionId, Name},
};
use crate::{
    limits::MAX_CUT_BYTES,
    wire::{Graph, Part, Unreadable},
};

/// The text for a process in which nothing is alive.
const NOTHING_REPORTED: &str = "nothing reported";

/// How a process took part in a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessStatus {
    Responded,
    Timeout,
    Disconnected,
}

impl ProcessStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Responded => "responded",
            Self::Timeout => "timeout",
            Self::Disconnected => "disconnected",
        }
    }
}

/// One process of a cut.
#[derive(Debug)]
pub(crate) struct Participant {
    pub(crate) name: Name,
    pub(crate) status: ProcessStatus,
    pub(crate) error_text: Option<String>,
    pub(crate) recv_at_ns: Option<i64>,
    pub(crate) graph: Option<Graph>,
    /// Notes about its answer for `ingest_events`.
    pub(crate) notes: Vec<(EventKind, String)>,
}

/// The result when everybody has answered or the time is up.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) id: u64,
    pub(crate) requested_at_ns: i64,
    pub(crate) timeout_ms: u64,
    pub(crate) participants: Vec<Participant>,
}

/// An answer after parsing.
pub(crate) enum Answer {
    /// The graph, and the parts of it that could not be read.
    Graph(Graph, Unreadable),
    /// The process says that it has no graph: nothing is alive in it.
    Nothing,
    /// What it sent is not a graph.
    Unreadable(String),
}

impl Answer {
    fn notes(&self) -> Vec<(EventKind, String)> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Unreadable(why) => vec![(EventKind::UnreadableGraph, why.clone())],
            Self::Graph(_, unreadable) => {
                let further = (unreadable.further > 0).then(|| {
                    let what = format!("{} further parts of the graph cannot be read", unreadable.further);
                    (EventKind::EventsDropped, what)
                });
                unreadable.parts.iter().map(note).chain(further).collect()
            }
        }
    }
}

fn note(part: &Part) -> (EventKind, String) {
    match part {
        Part::Node { place, why } => (EventKind::UnreadableNode, format!("node {place} was left out: {why}")),
        Part::Edge { place, why } => (EventKind::UnreadableEdge, format!("edge {place} was left out: {why}")),
    }
}

pub(crate) struct Cut {
    id: u64,
    requested_at_ns: i64,
    timeout_ms: u64,
    participants: BTreeMap<ConnectionId, (Name, Option<Participant>)>,
    pending: usize,
    bytes: usize,
}

impl Cut {
    pub(crate) fn new(id: u64, requested_at_ns: i64, timeout_ms: u64) -> Self {
        Self { id, requested_at_ns, timeout_ms, participants: BTreeMap::new(), pending: 0, bytes: 0 }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn is_done(&self) -> bool {
        self.pending == 0
    }

    /// The request has been sent to this process.
    pub(crate) fn asked(&mut self, connection: ConnectionId, name: Name) {
        if self.participants.insert(connection, (name, None)).is_none() {
            self.pending += 1;
        }
    }

    /// Whether this process's answer is still missing.
    pub(crate) fn awaits(&self, connection: ConnectionId) -> bool {
        matches!(self.participants.get(&connection), Some((_, None)))
    }

    pub(crate) fn answered(&mut self, connection: ConnectionId, name: Name, now_ns: i64, answer: Answer) {
        let notes = answer.notes();
        let (graph, error_text) = match answer {
            Answer::Nothing => (None, Some(NOTHING_REPORTED.into())),
            Answer::Unreadable(why) => (None, Some(why)),
            Answer::Graph(graph, _) => match self.bytes.checked_add(graph.weight()) {
                Some(bytes) if bytes <= MAX_CUT_BYTES => {
                    self.bytes = bytes;
                    (Some(graph), None)
                }
                _ => (None, Some(format!("left out: all graphs of a cut together may take {MAX_CUT_BYTES} bytes"))),
            },
        };
        let status = ProcessStatus::Responded;
        let done = Participant { name, status, error_text, recv_at_ns: Some(now_ns), graph, notes };
        self.conclude(connection, |_| done);
    }

    pub(crate) fn left(&mut self, connection: ConnectionId) {
        self.unanswered(connection, ProcessStatus::Disconnected, "the connection ended");
    }

    pub(crate) fn not_reading(&mut self, connection: ConnectionId) {
        self.unanswered(connection, ProcessStatus::Timeout, "not reading");
    }

    /// Called when the time is up or everybody has answered.
    pub(crate) fn finish(mut self) -> Finished {
        let silent: Vec<ConnectionId> =
            self.participants.iter().filter(|(_, (_, done))| done.is_none()).map(|(id, _)| *id).collect();
        for connection in silent {
            self.unanswered(connection, ProcessStatus::Timeout, "no answer in time");
        }
        let mut participants: Vec<_> =
            self.participants.into_values().filter_map(|(_, participant)| participant).collect();
        note_twins(&mut participants);
        Finished { id: self.id, requested_at_ns: self.requested_at_ns, timeout_ms: self.timeout_ms, participants }
    }

    fn unanswered(&mut self, connection: ConnectionId, status: ProcessStatus, why: &str) {
        let error_text = Some(why.to_owned());
        self.conclude(connection, |name| Participant {
            name: name.clone(),
            status,
            error_text,
            recv_at_ns: None,
            graph: None,
            notes: Vec::new(),
        });
    }

    fn conclude(&mut self, connection: ConnectionId, participant: impl FnOnce(&Name) -> Participant) {
        let Some((name, done @ None)) = self.participants.get_mut(&connection) else { return };
        *done = Some(participant(name));
        self.pending -= 1;
    }
}

/// Adds a note to every process with a number after its key (`svc-1#2`): another connection has the same name and
/// process id. Either two containers have a process 1 of one name, or a process came back before its old connection was
/// known to be lost.
fn note_twins(participants: &mut [Participant]) {
    let mut seen: HashMap<(String, Option<u64>), usize> = HashMap::new();
    for index in 0..participants.len() {
        let name = &participants[index].name;
        if name.pid.is_none() {
            continue;
        }
        let Some(first) = seen.insert((name.process.clone(), name.pid), index) else { continue };
        let key = participants[first].name.proc_key.clone();
        let name = &participants[index].name;
        let what = crate::escape(&format!(
            "{key} on another connection has the same name and process id as {}: give each host a name of its own \
             ([fleet] name of a node), or wait until a lost connection is noticed",
            name.proc_key
        ));
        participants[index].notes.push((EventKind::SameKey, what.clone()));
        for twin in [first, index] {
            let text = participants[twin].error_text.get_or_insert_default();
            *text += if text.is_empty() { "" } else { "; " };
            *text += &what;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(key: &str) -> Name {
        Name { proc_key: key.into(), process: key.into(), pid: None }
    }

    #[test]
    fn each_process_is_concluded_once() {
        let mut cut = Cut::new(1, 0, 5000);
        for (id, key) in [(1, "unknown-1"), (2, "b-2"), (3, "c-3"), (4, "d-4")] {
            cut.asked(ConnectionId(id), name(key));
        }
        cut.answered(ConnectionId(1), name("a-1"), 7, Answer::Nothing);
        cut.left(ConnectionId(1));
        cut.left(ConnectionId(2));
        cut.answered(ConnectionId(2), name("b-2"), 8, Answer::Nothing);
        cut.not_reading(ConnectionId(3));
        cut.left(ConnectionId(9));
        assert!(!cut.is_done() && cut.awaits(ConnectionId(4)) && !cut.awaits(ConnectionId(3)));
        let finished = cut.finish();
        let seen: Vec<(&str, &str)> =
            finished.participants.iter().map(|p| (p.name.proc_key.as_str(), p.status.as_str())).collect();
        assert_eq!(seen, [("a-1", "responded"), ("b-2", "disconnected"), ("c-3", "timeout"), ("d-4", "timeout")]);
    }

    #[test]
    fn done_with_the_last_answer() {
        let mut cut = Cut::new(1, 0, 5000);
        assert!(cut.is_done());
        cut.asked(ConnectionId(1), name("a"));
        assert!(!cut.is_done());
        cut.left(ConnectionId(1));
        assert!(cut.is_done());
    }
}
