//! The download rate limit, which the sessions share evenly.

use std::time::Instant;

use libp2p::Swarm;
use rpp_p2p::SnapshotSessionId;

use super::Manager;
use crate::{peers::Peers, swarm::NodeBehaviour};

impl Manager {
    /// Sets the limit: bytes of payload a second for all sessions together. 0 means no limit.
    pub(crate) fn limit_rate(&mut self, limit: u64, now: Instant) {
        self.download_limit = (limit > 0).then_some(limit);
        self.rates.set_rates(now, limit, 0);
    }

    /// Lets a session do all it can do now.
    pub(super) fn drive(
        &mut self,
        session: SnapshotSessionId,
        swarm: &mut Swarm<NodeBehaviour>,
        peers: &Peers,
        now: Instant,
    ) {
        if let Some(machine) = self.sessions.get_mut(&session).and_then(|tracked| tracked.machine.as_mut()) {
            machine.limit_rate(self.download_limit);
        }
        while let Some(action) = self.next_action(session, now) {
            self.perform(session, action, swarm, peers, now);
        }
        let machine = self.sessions.get_mut(&session).and_then(|tracked| tracked.machine.as_mut());
        match machine.and_then(|machine| machine.thirst(now)) {
            Some(bytes) => self.rates.ask(session, (), bytes),
            None => self.rates.leave(session),
        }
        self.leave_source(session, swarm, now);
        self.settle(session, now);
        self.settle_blames(session, now);
    }

    /// The next session that may request more bytes.
    pub(super) fn next_grant(&mut self, now: Instant) -> Option<SnapshotSessionId> {
        let (session, bytes) = self.rates.poll(now)?;
        if let Some(machine) = self.sessions.get_mut(&session).and_then(|tracked| tracked.machine.as_mut()) {
            machine.allow(bytes);
        }
        Some(session)
    }
}
