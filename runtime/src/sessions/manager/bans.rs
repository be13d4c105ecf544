//! Sessions and bans: who is blamed by a session, and what the ban of its peer means for one.

use std::{collections::HashSet, sync::Arc, time::Instant};

use libp2p::PeerId;
use rpp_p2p::{Evidence, SnapshotSessionId};

use super::{Manager, Tracked, heal::plan_id};
use crate::{
    bans::{BanSource, Blame},
    error::SnapshotRuntimeError,
};

/// What is known of a peer's bans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Until when, and why, in one sentence.
    Banned(Arc<str>),
    /// It was banned; that is over.
    Readmitted,
}

impl Manager {
    /// The peer of a session broke the rules in it.
    pub(super) fn accuse(&mut self, peer: PeerId, session: SnapshotSessionId, evidence: Evidence) {
        let plan_id = self.sessions.get(&session).and_then(|tracked| plan_id(&tracked.record));
        let (source, evidence) = (BanSource::Peer(peer), evidence.in_plan(plan_id));
        self.blames.push(Blame { source, session: Some(session), evidence });
    }

    /// Who was blamed since the last call.
    pub(crate) fn take_blames(&mut self) -> Vec<Blame> {
        std::mem::take(&mut self.blames)
    }

    /// `peer` is banned; its sessions say so.
    pub(crate) fn ban(&mut self, peer: PeerId, sentence: &str, now: Instant) {
        self.standing.insert(peer, Standing::Banned(sentence.into()));
        self.tell_standing(peer, now);
    }

    /// The ban of `peer` is over: its sessions try at once, and those that failed for what it did may be resumed.
    pub(crate) fn end_ban(&mut self, peer: PeerId, now: Instant) {
        self.standing.insert(peer, Standing::Readmitted);
        self.tell_standing(peer, now);
        // Whoever has no session any more is of no interest.
        self.standing.retain(|peer, standing| {
            *standing != Standing::Readmitted || self.sessions.values().any(|tracked| tracked.record.peer == *peer)
        });
    }

    fn tell_standing(&mut self, peer: PeerId, now: Instant) {
        let of_peer: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, tracked)| tracked.record.peer == peer)
            .map(|(session, _)| *session)
            .collect();
        for session in of_peer {
            self.apply_standing(session, now);
        }
    }

    /// What the peer's standing means for one session.
    pub(super) fn apply_standing(&mut self, session: SnapshotSessionId, now: Instant) {
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        match self.standing.get(&tracked.record.peer) {
            None => return,
            Some(Standing::Banned(sentence)) => tracked.here.banned = Some(Arc::clone(sentence)),
            Some(Standing::Readmitted) => {
                tracked.here.banned = None;
                if tracked.record.distrust && tracked.machine.is_none() {
                    tracked.record.distrust = false;
                    tracked.record.advice = Some("the ban of its provider is over".to_owned());
                    self.rules.changed(session);
                } else if let Some(machine) = &mut tracked.machine {
                    machine.retry_now(now);
                }
            }
        }
        self.publish(session, now);
    }

    /// The peers that are banned now.
    pub(super) fn banned(&self) -> HashSet<PeerId> {
        let banned = |(peer, standing): (&PeerId, &Standing)| matches!(standing, Standing::Banned(_)).then_some(*peer);
        self.standing.iter().filter_map(banned).collect()
    }

    /// Refuses what would need a banned peer.
    pub(super) fn not_banned(&self, peer: &PeerId) -> Result<(), SnapshotRuntimeError> {
        match self.standing.get(peer) {
            Some(Standing::Banned(sentence)) => {
                Err(SnapshotRuntimeError::PeerBanned { peer: *peer, sentence: sentence.to_string() })
            }
            _ => Ok(()),
        }
    }
}

/// Why a banned peer is not dialled, as the session's trouble says it.
pub(super) fn not_dialled(tracked: &Tracked) -> Option<String> {
    let sentence = tracked.here.banned.as_ref()?;
    let peer = tracked.record.peer;
    Some(format!("it is {sentence}; `rpp-node bans --lift {peer}` lifts the ban"))
}
