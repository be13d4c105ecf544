//! The connected processes and their keys. It has no clock and no sockets.
//!
//! A process is identified by its connection. It is `unknown-<n>` until it has answered for the first time, and then
//! listed under its key. A second connection with the same key is `<key>#2`, and so on. A key that was used in the cut
//! in progress is not given to another connection before that cut ends, even if its owner has disconnected.

use std::collections::{BTreeMap, HashSet};

use tokio::sync::mpsc;

use crate::ids::proc_key;

/// Numbers connections from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// The name of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) proc_key: String,
    pub(crate) process: String,
    pub(crate) pid: Option<u64>,
}

pub(crate) struct Connection {
    pub(crate) name: Name,
    pub(crate) queue: mpsc::Sender<std::sync::Arc<[u8]>>,
    pub(crate) address: String,
    pub(crate) since_ns: i64,
    pub(crate) replies: u64,
    known: bool,
}

#[derive(Default)]
pub(crate) struct Roster {
    connections: BTreeMap<ConnectionId, Connection>,
    keys: HashSet<String>,
    /// Keys of connections that disconnected during the cut in progress.
    retired: Vec<String>,
    last: u64,
}

impl Roster {
    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        self.connections.iter().map(|(id, connection)| (*id, connection))
    }

    pub(crate) fn name(&self, id: ConnectionId) -> Option<Name> {
        self.connections.get(&id).map(|connection| connection.name.clone())
    }

    pub(crate) fn enter(
        &mut self,
        queue: mpsc::Sender<std::sync::Arc<[u8]>>,
        address: String,
        since_ns: i64,
    ) -> ConnectionId {
        self.last += 1;
        let id = ConnectionId(self.last);
        let key = self.free_key(&format!("unknown-{}", self.last));
        let name = Name { proc_key: key, process: String::new(), pid: None };
        self.connections.insert(id, Connection { name, queue, address, since_ns, replies: 0, known: false });
        id
    }

    /// The connection answered the cut in progress as this process.
    pub(crate) fn answered(&mut self, id: ConnectionId, process: &str, pid: u64) -> Option<Name> {
        let connection = self.connections.get_mut(&id)?;
        connection.replies += 1;
        if connection.known && connection.name.process == process && connection.name.pid == Some(pid) {
            return Some(connection.name.clone());
        }
        self.rename(id, process, pid)
    }

    /// The connection sent something else that names its process. It gets that name now if it has none yet; an
    /// unsolicited message never renames it.
    pub(crate) fn mentioned(&mut self, id: ConnectionId, process: &str, pid: u64) -> Option<Name> {
        match self.connections.get(&id)? {
            connection if connection.known => Some(connection.name.clone()),
            _ => self.rename(id, process, pid),
        }
    }

    fn rename(&mut self, id: ConnectionId, process: &str, pid: u64) -> Option<Name> {
        let connection = self.connections.get_mut(&id)?;
        let old = std::mem::take(&mut connection.name.proc_key);
        self.retired.push(old);
        let name =
            Name { proc_key: self.free_key(&proc_key(process, pid)), process: process.to_owned(), pid: Some(pid) };
        let connection = self.connections.get_mut(&id)?;
        connection.known = true;
        connection.name = name.clone();
        Some(name)
    }

    pub(crate) fn leave(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.remove(&id) {
            self.retired.push(connection.name.proc_key);
        }
    }

    /// No cut is in progress: keys of disconnected processes are free again.
    pub(crate) fn release_keys(&mut self) {
        for key in self.retired.drain(..) {
            self.keys.remove(&key);
        }
    }

    fn free_key(&mut self, base: &str) -> String {
        let mut key = base.to_owned();
        let mut number = 2u64;
        while !self.keys.insert(key.clone()) {
            key = format!("{base}#{number}");
            number += 1;
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(roster: &mut Roster) -> ConnectionId {
        roster.enter(mpsc::channel(1).0, "127.0.0.1:1".into(), 0)
    }

    #[test]
    fn keys_are_unique_and_stable() {
        let mut roster = Roster::default();
        let (a, b, c) = (enter(&mut roster), enter(&mut roster), enter(&mut roster));
        let keys = |roster: &Roster| roster.iter().map(|(_, c)| c.name.proc_key.clone()).collect::<Vec<_>>().join(" ");
        assert_eq!(keys(&roster), "unknown-1 unknown-2 unknown-3");
        assert_eq!(roster.answered(b, "svc", 7).unwrap().proc_key, "svc-7");
        assert_eq!(roster.answered(a, "svc", 7).unwrap().proc_key, "svc-7#2");
        assert_eq!(roster.answered(b, "svc", 7).unwrap().proc_key, "svc-7");
        roster.leave(b);
        // During a cut the key of a disconnected process is not used again.
        assert_eq!(roster.answered(c, "svc", 7).unwrap().proc_key, "svc-7#3");
        roster.release_keys();
        let d = enter(&mut roster);
        assert_eq!(roster.answered(d, "svc", 7).unwrap().proc_key, "svc-7");
        assert_eq!(keys(&roster), "svc-7#2 svc-7#3 svc-7");
        assert_eq!(roster.answered(d, "unknown", 5).unwrap().proc_key, "unknown-5");
        let e = enter(&mut roster);
        assert_eq!(roster.iter().find(|(id, _)| *id == e).unwrap().1.name.proc_key, "unknown-5#2");
        assert!(roster.answered(ConnectionId(99), "x", 1).is_none());
    }
}
