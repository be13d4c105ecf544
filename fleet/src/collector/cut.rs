//! One cut while it is being taken: who was asked, who has answered. No clock, no sockets.
//!
//! ```text
//! asked -> responded     a reply with this cut's id came
//!       -> disconnected  the connection went away first
//!       -> timeout       the wait was over first, or the process does not read
//! ```

use std::collections::BTreeMap;

use super::roster::{ConnectionId, Name};
use crate::{limits::MAX_CUT_BYTES, wire::Graph};

/// How a process took part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Responded,
    Timeout,
    Disconnected,
}

impl Status {
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
    pub(crate) status: Status,
    pub(crate) error_text: Option<String>,
    pub(crate) recv_at_ns: Option<i64>,
    pub(crate) graph: Option<Graph>,
}

/// What is left when everybody answered or the wait was over.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) id: u64,
    pub(crate) requested_at_ns: i64,
    pub(crate) timeout_ms: u64,
    pub(crate) participants: Vec<Participant>,
}

/// An answer as it was read.
pub(crate) enum Answer {
    Graph(Graph),
    /// The process says that it has none, or what it sent is none.
    Nothing(String),
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

    /// The request is on its way to this process.
    pub(crate) fn asked(&mut self, connection: ConnectionId, name: Name) {
        if self.participants.insert(connection, (name, None)).is_none() {
            self.pending += 1;
        }
    }

    /// Whether this process's answer is still to come.
    pub(crate) fn awaits(&self, connection: ConnectionId) -> bool {
        matches!(self.participants.get(&connection), Some((_, None)))
    }

    pub(crate) fn answered(&mut self, connection: ConnectionId, name: Name, now_ns: i64, answer: Answer) {
        let (graph, error_text) = match answer {
            Answer::Nothing(why) => (None, Some(why)),
            Answer::Graph(graph) => match self.bytes.checked_add(graph.weight()) {
                Some(bytes) if bytes <= MAX_CUT_BYTES => {
                    self.bytes = bytes;
                    (Some(graph), None)
                }
                _ => (None, Some(format!("left out: all graphs of a cut together may take {MAX_CUT_BYTES} bytes"))),
            },
        };
        self.conclude(connection, Some(name), Status::Responded, error_text, Some(now_ns), graph);
    }

    pub(crate) fn left(&mut self, connection: ConnectionId) {
        self.conclude(connection, None, Status::Disconnected, Some("the connection ended".into()), None, None);
    }

    pub(crate) fn not_reading(&mut self, connection: ConnectionId) {
        self.conclude(connection, None, Status::Timeout, Some("not reading".into()), None, None);
    }

    /// The wait is over.
    pub(crate) fn finish(mut self) -> Finished {
        let silent: Vec<ConnectionId> =
            self.participants.iter().filter(|(_, (_, done))| done.is_none()).map(|(id, _)| *id).collect();
        for connection in silent {
            self.conclude(connection, None, Status::Timeout, Some("no answer in time".into()), None, None);
        }
        Finished {
            id: self.id,
            requested_at_ns: self.requested_at_ns,
            timeout_ms: self.timeout_ms,
            participants: self.participants.into_values().filter_map(|(_, participant)| participant).collect(),
        }
    }

    fn conclude(
        &mut self,
        connection: ConnectionId,
        renamed: Option<Name>,
        status: Status,
        error_text: Option<String>,
        recv_at_ns: Option<i64>,
        graph: Option<Graph>,
    ) {
        let Some((name, done @ None)) = self.participants.get_mut(&connection) else { return };
        let name = renamed.unwrap_or_else(|| name.clone());
        *done = Some(Participant { name, status, error_text, recv_at_ns, graph });
        self.pending -= 1;
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
        cut.answered(ConnectionId(1), name("a-1"), 7, Answer::Nothing("null".into()));
        cut.left(ConnectionId(1));
        cut.left(ConnectionId(2));
        cut.answered(ConnectionId(2), name("b-2"), 8, Answer::Nothing("late".into()));
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
