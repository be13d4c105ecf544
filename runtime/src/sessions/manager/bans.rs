//! Sessions and bans: which sources a session blames, and what the ban of a source means for a session.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::PeerId;
use rpp_p2p::{
    Evidence, SnapshotSessionId,
    consumer::{Blame as Blamed, DownloadSource, Fault},
};

use super::{Manager, Tracked, heal::plan_id};
use crate::{
    bans::{Ban, BanSource, Blame},
    clock::instant_at,
    error::SnapshotRuntimeError,
    handle::SourceTarget,
    sessions::record::{self, SourceName},
    status::SourceState,
};

/// Whether a source is banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SourceStanding {
    /// It is banned: this ban is in force.
    Banned(Arc<Ban>),
    /// It was banned, and the ban is over.
    Readmitted,
}

/// The shortest wait for the end of a ban. A ban whose time is up stays in force until the node checks it next.
const LOOK: Duration = Duration::from_secs(1);

impl Manager {
    /// Records that a source of a session broke the rules in it.
    pub(super) fn accuse(&mut self, source: BanSource, session: SnapshotSessionId, evidence: Evidence) {
        let plan_id = self.sessions.get(&session).and_then(|tracked| plan_id(&tracked.record));
        self.blames.push(Blame { source, session: Some(session), evidence: evidence.in_plan(plan_id) });
    }

    /// Takes the blames that a session's machine reports for its sources.
    pub(super) fn settle_blames(&mut self, session: SnapshotSessionId, now: Instant) {
        let blamed = |manager: &mut Self| manager.sessions.get_mut(&session)?.machine.as_mut()?.poll_blame();
        while let Some(Blamed { source, fault, .. }) = blamed(self) {
            let reason = match &fault {
                Fault::Violation(violation) => violation.to_string(),
                Fault::Authority(error) => error.to_string(),
                _ => "it broke the protocol".to_owned(),
            };
            let banned = match source {
                DownloadSource::Peer(peer) => Some(BanSource::Peer(peer)),
                DownloadSource::Mirror(mirror) => self.origin_of(session, mirror),
                _ => None,
            };
            let evidence = match (&source, &fault) {
                // The evidence was already taken from the event.
                (DownloadSource::Peer(_), Fault::Violation(_)) => None,
                (DownloadSource::Mirror(_), Fault::Violation(violation)) => Evidence::of_violation(violation),
                (_, Fault::Authority(error)) => Evidence::of_authority(error),
                _ => None,
            };
            if let (Some(banned), Some(evidence)) = (banned, evidence) {
                self.accuse(banned, session, evidence);
            }
            if let DownloadSource::Peer(peer) = source {
                self.distrust(session, peer, &reason, now);
            }
        }
    }

    /// The blames since the last call.
    pub(crate) fn take_blames(&mut self) -> Vec<Blame> {
        std::mem::take(&mut self.blames)
    }

    /// `source` is banned. Its sessions show that in their status.
    pub(crate) fn ban(&mut self, source: &BanSource, ban: Ban, now: Instant) {
        self.standing.insert(source.clone(), SourceStanding::Banned(Arc::new(ban)));
        self.tell_standing(source, now);
    }

    /// The ban of `source` is over. Its sessions try it at once, and those that failed because of it may be resumed.
    pub(crate) fn end_ban(&mut self, source: &BanSource, now: Instant) {
        self.standing.insert(source.clone(), SourceStanding::Readmitted);
        self.tell_standing(source, now);
        // A source without a session needs no entry any more.
        self.standing.retain(|source, standing| {
            *standing != SourceStanding::Readmitted || self.sessions.values().any(|tracked| tracked.has_source(source))
        });
    }

    fn tell_standing(&mut self, source: &BanSource, now: Instant) {
        let of_source: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, tracked)| tracked.has_source(source))
            .map(|(session, _)| *session)
            .collect();
        for session in of_source {
            if self.standing.get(source) == Some(&SourceStanding::Readmitted) {
                self.readmit(session, source, now);
            }
            self.apply_standing(session, now);
        }
    }

    /// Applies the bans of its sources to one session.
    pub(super) fn apply_standing(&mut self, session: SnapshotSessionId, now: Instant) {
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        let known = tracked.ban_sources();
        let known: Vec<_> =
            known.into_iter().filter_map(|(name, source)| Some((name, self.standing.get(&source)?))).collect();
        if known.is_empty() && !tracked.here.is_any_banned() {
            return;
        }
        let in_force = |(name, standing): (SourceName, &SourceStanding)| match standing {
            SourceStanding::Banned(ban) => Some((name, Arc::clone(ban))),
            SourceStanding::Readmitted => None,
        };
        let bans: Vec<_> = known.into_iter().filter_map(in_force).collect();
        tracked.here.set_bans(bans.clone());
        if bans.is_empty() && tracked.record.distrust && tracked.machine.is_none() {
            tracked.record.distrust = false;
            tracked.record.advice = Some("the ban of its source is over".to_owned());
            self.rules.changed(session);
        }
        for (name, _) in bans {
            self.bar(session, &name, now);
        }
        self.publish(session, now);
    }

    /// Keeps a session from asking anything of a source while it is banned. Returns `false` if it is not banned.
    pub(super) fn bar(&mut self, session: SnapshotSessionId, name: &SourceName, now: Instant) -> bool {
        let Some(tracked) = self.sessions.get_mut(&session) else { return false };
        let Some(ban) = tracked.here.ban_of(name) else { return false };
        let source = match name {
            SourceName::Peer(peer) => Some(DownloadSource::Peer(*peer)),
            SourceName::Mirror(shown) => tracked.mirrors.give_up(shown).map(DownloadSource::Mirror),
        };
        if let (Some(source), Some(machine)) = (source, &mut tracked.machine) {
            let until = instant_at(ban.until, now).max(now + LOOK);
            machine.handle_barred(now, source, until, &ban.notice());
        }
        true
    }

    /// Lets a source that was cut off take part again. If the session waits for the end of its ban, it is asked at
    /// once.
    fn readmit(&mut self, session: SnapshotSessionId, source: &BanSource, now: Instant) {
        let Some(tracked) = self.sessions.get(&session) else { return };
        let named = tracked.ban_sources().into_iter().filter(|(_, known)| known == source).map(|(name, _)| name);
        let named: Vec<_> = named.collect();
        let Some(views) = tracked.machine.as_ref().map(|machine| machine.sources(now)) else { return };
        for view in views {
            let Some(name) = self.sessions.get(&session).and_then(|tracked| tracked.name_of(view.source)) else {
                continue;
            };
            if !named.contains(&name) {
                continue;
            }
            if view.state == SourceState::Banned {
                self.take_out(session, &name, now);
                self.put_in(session, &name, now);
            } else if let Some(machine) = self.sessions.get_mut(&session).and_then(|tracked| tracked.machine.as_mut()) {
                machine.retry_source(view.source);
            }
        }
    }

    /// The peers that are banned now.
    pub(super) fn banned(&self) -> HashSet<PeerId> {
        let banned = |(source, standing): (&BanSource, &SourceStanding)| match (source, standing) {
            (BanSource::Peer(peer), SourceStanding::Banned(_)) => Some(*peer),
            _ => None,
        };
        self.standing.iter().filter_map(banned).collect()
    }

    fn ban_of(&self, source: &BanSource) -> Option<&Arc<Ban>> {
        match self.standing.get(source) {
            Some(SourceStanding::Banned(ban)) => Some(ban),
            _ => None,
        }
    }

    /// Refuses to add a banned source.
    pub(super) fn not_banned(&self, target: &SourceTarget) -> Result<(), SnapshotRuntimeError> {
        let source = match target {
            SourceTarget::Peer(target) => BanSource::Peer(target.peer),
            SourceTarget::Mirror(url) => BanSource::Mirror(url.origin()),
        };
        self.ban_of(&source).map_or(Ok(()), |ban| Err(SnapshotRuntimeError::Banned(Arc::clone(ban))))
    }

    /// Refuses a session all of whose sources are banned, unless the session also looks for other peers that offer the
    /// snapshot.
    pub(super) fn not_all_banned(&self, record: &record::Session) -> Result<(), SnapshotRuntimeError> {
        if record.looked_for().is_some() {
            return Ok(());
        }
        let bans: Option<Vec<_>> = ban_sources(record).map(|(_, source)| self.ban_of(&source)).collect();
        match bans.into_iter().flatten().min_by_key(|ban| ban.until) {
            Some(first) => Err(SnapshotRuntimeError::Banned(Arc::clone(first))),
            None => Ok(()),
        }
    }
}

/// The sources of a record, with the names that bans use.
fn ban_sources(record: &record::Session) -> impl Iterator<Item = (SourceName, BanSource)> + '_ {
    let mirrors = record.mirrors();
    let mirrors = mirrors.map(|url| (SourceName::Mirror(url.to_string()), BanSource::Mirror(url.origin())));
    record.peers().map(of_peer).chain(mirrors)
}

fn of_peer(peer: PeerId) -> (SourceName, BanSource) {
    (SourceName::Peer(peer), BanSource::Peer(peer))
}

impl Tracked {
    /// Its sources, with the names that bans use.
    fn ban_sources(&self) -> Vec<(SourceName, BanSource)> {
        let mut all: Vec<_> = ban_sources(&self.record).collect();
        let joined = self.machine.iter().flat_map(|machine| machine.links()).map(|(peer, _)| of_peer(peer));
        for one in joined {
            if !all.contains(&one) {
                all.push(one);
            }
        }
        all
    }

    pub(super) fn has_peer(&self, peer: PeerId) -> bool {
        self.has_source(&BanSource::Peer(peer))
    }

    fn has_source(&self, source: &BanSource) -> bool {
        self.ban_sources().iter().any(|(_, known)| known == source)
    }
}
