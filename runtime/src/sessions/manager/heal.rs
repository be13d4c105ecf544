//! Handles sessions when the store changes under them, and when a peer turns out to have sent false data.

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use libp2p::PeerId;
use rpp_p2p::{Hash, SnapshotSessionId};

use super::{Manager, Tracked};
use crate::{
    error::explain,
    sessions::{record, rules::Hold, worker::Job},
    status::{FailureCode, SessionState},
    store::{Damage, Store, StoreError},
};

/// The current path of a complete session's payload. It may differ from the path when the session ended.
pub(super) fn payload_path(store: &Store, record: &record::Session) -> Option<PathBuf> {
    let root = root(record).filter(|_| record.state == SessionState::Complete)?;
    store.get(&root).map(|stored| stored.payload_path())
}

pub(super) fn root(record: &record::Session) -> Option<Hash> {
    record.plan.as_ref().map(|plan| plan.snapshot.checkpoint.state_root)
}

pub(super) fn plan_id(record: &record::Session) -> Option<Hash> {
    record.plan.as_ref().map(|plan| plan.plan_id)
}

impl Manager {
    /// The catalog changed. Statuses are updated. A payload that was found damaged is fetched again by the session that
    /// had fetched it.
    pub(crate) fn on_catalog(&mut self, now: Instant) {
        let damaged: BTreeMap<Hash, Damage> = self
            .disk
            .store
            .damaged()
            .into_iter()
            .filter_map(|entry| Some((entry.path.file_name()?.to_str()?.parse().ok()?, entry.reason)))
            .collect();
        let complete: Vec<SnapshotSessionId> = self
            .sessions
            .iter()
            .filter(|(_, tracked)| tracked.record.state == SessionState::Complete && tracked.machine.is_none())
            .map(|(session, _)| *session)
            .collect();
        for session in complete {
            let Some(tracked) = self.sessions.get_mut(&session) else { continue };
            let root = root(&tracked.record);
            let stored = root.and_then(|root| self.disk.store.get(&root));
            let is_damaged = root.is_some_and(|root| damaged.contains_key(&root));
            // A payload whose files were touched is hashed again. If it was removed, it still counts as verified.
            let was_touched = stored.as_ref().is_some_and(|stored| !stored.is_verified());
            let here = &mut tracked.here;
            let is_verified = here.is_verified && !is_damaged && !was_touched;
            let path = stored.map(|stored| stored.payload_path());
            if (&path, is_damaged, is_verified) != (&here.payload_path, here.is_damaged, here.is_verified) {
                (here.payload_path, here.is_damaged, here.is_verified) = (path, is_damaged, is_verified);
                self.publish(session, now);
            }
        }
        self.check_kept();
        for (root, reason) in damaged {
            self.heal(root, &reason);
        }
    }

    /// Fetches a damaged payload again, if a session knows from which peer.
    fn heal(&mut self, root: Hash, reason: &Damage) {
        let is_of = |tracked: &Tracked| self::root(&tracked.record) == Some(root);
        let is_under_way = self.sessions.values().any(|tracked| is_of(tracked) && !tracked.record.state.is_final());
        let source = self
            .sessions
            .values_mut()
            .filter(|tracked| is_of(tracked) && tracked.record.state == SessionState::Complete && !tracked.here.heals)
            .max_by(|one, other| one.record.updated_at.cmp(&other.record.updated_at));
        let Some(tracked) = source.filter(|_| !is_under_way && self.light.is_some()) else { return };
        tracked.here.heals = true;
        let session = tracked.record.session;
        tracing::warn!(%root, %session, "what is damaged of it is fetched again: {reason}");
        let lane = self.rules.demote(session);
        self.workers.send(lane, Job::Demote(session));
    }

    pub(super) fn on_demoted(&mut self, session: SnapshotSessionId, result: Result<bool, StoreError>, now: Instant) {
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        match result {
            Ok(true) => {
                (tracked.here.payload_path, tracked.here.is_damaged, tracked.here.heals) = (None, false, false);
                (tracked.here.is_verified, tracked.here.unsettled) = (false, None);
                self.restart(session, None, now);
            }
            Ok(false) => tracked.here.heals = false,
            // This is not tried again automatically, because it would fail each second.
            Err(error) => {
                tracing::error!(%session, "the damaged payload cannot be fetched again: {}", explain(&error));
            }
        }
    }

    /// A peer broke the protocol in `session`: other sessions that stream the same payload from it end as well.
    pub(super) fn distrust(&mut self, session: SnapshotSessionId, peer: PeerId, reason: &str, now: Instant) {
        let Some(liar) = self.sessions.get(&session) else { return };
        let Some(root) = root(&liar.record) else { return };
        let reason = liar.record.error.as_deref().unwrap_or(reason);
        let message = format!("{peer} is refused for this payload since session {session}: {reason}");
        let others: Vec<SnapshotSessionId> = self
            .sessions
            .values()
            .filter(|other| other.record.session != session && other.has_peer(peer))
            .filter(|other| self::root(&other.record) == Some(root) && !other.record.state.is_final())
            .map(|other| other.record.session)
            .collect();
        for session in others {
            let Some(tracked) = self.sessions.get_mut(&session) else { continue };
            if let Some(machine) = &mut tracked.machine {
                machine.handle_distrust(now, peer, &message);
                continue;
            }
            let hold = self.rules.standing(session).hold;
            if let (Some(Hold::Turn), Some(sought)) = (hold, &mut tracked.record.sought) {
                sought.refuse(peer);
                tracked.seek_again(now);
                self.rules.seek_again(session);
                continue;
            }
            let is_only = tracked.record.sources().nth(1).is_none();
            if is_only && matches!(hold, Some(Hold::Turn | Hold::Operator)) {
                tracked.held_since = now;
                tracked.record.state = SessionState::Failed;
                tracked.record.error = Some(message.clone());
                tracked.record.error_code = Some(FailureCode::Provider);
                tracked.record.advice = None;
                tracked.record.distrust = true;
                self.rules.give_up(session);
            }
        }
    }
}
