//! All connections: live by id, closed by time.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol, swarm::ConnectionId};

use super::records::ConnectionRecord;
use crate::{
    limits::{MAX_CLOSED_CONNECTIONS, MAX_CONNECTIONS},
    proto::Role,
};

#[derive(Debug, Default)]
pub(super) struct Table {
    live: BTreeMap<u64, Arc<ConnectionRecord>>,
    closed: VecDeque<Arc<ConnectionRecord>>,
    by_peer: HashMap<PeerId, Vec<u64>>,
    by_swarm: HashMap<ConnectionId, u64>,
}

impl Table {
    /// Adds a connection, unless there are too many.
    pub(super) fn add(&mut self, connection: &Arc<ConnectionRecord>) {
        if self.live.len() < MAX_CONNECTIONS {
            self.live.insert(connection.id, Arc::clone(connection));
            self.by_peer.entry(connection.about.peer).or_default().push(connection.id);
        }
    }

    /// Marks a connection as closed. It is kept among the closed ones if `keep` is set.
    pub(super) fn end(&mut self, connection: &Arc<ConnectionRecord>, keep: bool) {
        if self.live.remove(&connection.id).is_none() {
            return;
        }
        if let Some(ids) = self.by_peer.get_mut(&connection.about.peer) {
            ids.retain(|id| *id != connection.id);
            if ids.is_empty() {
                self.by_peer.remove(&connection.about.peer);
            }
        }
        if let Some(swarm) = connection.addresses().swarm {
            self.by_swarm.remove(&swarm);
        }
        if keep {
            if self.closed.len() >= MAX_CLOSED_CONNECTIONS {
                self.closed.pop_front();
            }
            self.closed.push_back(Arc::clone(connection));
        }
    }

    /// Finds the connection to which the swarm gave the id `swarm`. Among those to this peer in this role that have no
    /// id yet, it is the one with this remote address, else the newest.
    pub(super) fn bind(&mut self, swarm: ConnectionId, peer: &PeerId, role: Role, remote: &Multiaddr) {
        let wanted = without_peer(remote).to_string();
        let free: Vec<_> = self
            .of_peer(peer)
            .filter(|record| record.about.role == role && record.addresses().swarm.is_none())
            .collect();
        let same = free.iter().find(|record| record.addresses().remote.as_deref() == Some(wanted.as_str()));
        if let Some(record) = same.or(free.last()).map(|record| Arc::clone(record)) {
            record.addresses().swarm = Some(swarm);
            self.by_swarm.insert(swarm, record.id);
        }
    }

    /// The connection with the swarm's id, else the newest one to this peer.
    pub(super) fn find(&self, swarm: ConnectionId, peer: &PeerId) -> Option<&Arc<ConnectionRecord>> {
        let bound = self.by_swarm.get(&swarm).and_then(|id| self.live.get(id));
        bound.or_else(|| self.of_peer(peer).last())
    }

    /// Live ones first, then the newest closed ones, `limit` in all.
    pub(super) fn all(&self, limit: usize) -> Vec<Arc<ConnectionRecord>> {
        self.live.values().chain(self.closed.iter().rev()).take(limit).map(Arc::clone).collect()
    }

    /// Drops what was closed before `horizon_ms`.
    pub(super) fn forget(&mut self, horizon_ms: u64) {
        self.closed.retain(|connection| connection.closed_ms.load(Relaxed) >= horizon_ms);
        for connection in self.live.values().chain(&self.closed) {
            connection.forget_streams(horizon_ms);
        }
    }

    fn of_peer(&self, peer: &PeerId) -> impl DoubleEndedIterator<Item = &Arc<ConnectionRecord>> {
        self.by_peer.get(peer).into_iter().flatten().filter_map(|id| self.live.get(id))
    }
}

/// The address without the peer, which the swarm adds to what it dials.
pub(crate) fn without_peer(address: &Multiaddr) -> Multiaddr {
    let mut address = address.clone();
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}
