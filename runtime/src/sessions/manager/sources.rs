//! The sources of a session: added and taken away while it runs.

use std::time::Instant;

use libp2p::Swarm;
use rpp_p2p::SnapshotSessionId;

use super::Manager;
use crate::{
    error::SnapshotRuntimeError,
    handle::{Reply, SourceTarget},
    peers::Peers,
    status::SnapshotStreamStatus,
    swarm::NodeBehaviour,
};

impl Manager {
    pub(crate) fn add_source(
        &mut self,
        session: SnapshotSessionId,
        _source: SourceTarget,
        reply: Reply<SnapshotStreamStatus>,
        _swarm: &Swarm<NodeBehaviour>,
        _peers: &Peers,
        _now: Instant,
    ) {
        let _ = reply.send(Err(SnapshotRuntimeError::UnknownSession { session }));
    }

    pub(crate) fn remove_source(
        &mut self,
        session: SnapshotSessionId,
        source: &str,
        reply: Reply<SnapshotStreamStatus>,
        _swarm: &mut Swarm<NodeBehaviour>,
        _now: Instant,
    ) {
        let given = source.to_owned();
        let _ = reply.send(Err(SnapshotRuntimeError::UnknownSource { session, given }));
    }
}
