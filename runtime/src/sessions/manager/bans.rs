//! Sessions and bans: which sources a session blames, and what the ban of a source means for a session.

use std::{collections::HashSet, sync::Arc, time::Instant};

use libp2p::PeerId;
use rpp_p2p::{
    Evidence, SnapshotSessionId,
    consumer::{Blame as Blamed, DownloadSource, Fault},
};

use super::{Manager, Tracked, heal::plan_id};
use crate::{
    bans::{BanSource, Blame},
    error::SnapshotRuntimeError,
    sessions::record::{self, SourceName},
    status::SourceState,
};

/// Whether a source is banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The end of the ban and its reason, in one sentence.
    Banned(Arc<str>),
    /// It was banned, and the ban is over.
    Readmitted,
}

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
    pub(crate) fn ban(&mut self, source: &BanSource, sentence: &str, now: Instant) {
        self.standing.insert(source.clone(), Standing::Banned(sentence.into()));
        self.tell_standing(source, now);
    }

    /// The ban of `source` is over. Its sessions try it at once, and those that failed because of it may be resumed.
    pub(crate) fn end_ban(&mut self, source: &BanSource, now: Instant) {
        self.standing.insert(source.clone(), Standing::Readmitted);
        self.tell_standing(source, now);
        // A source without a session needs no entry any more.
        self.standing.retain(|source, standing| {
            *standing != Standing::Readmitted || self.sessions.values().any(|tracked| tracked.has_source(source))
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
            if self.standing.get(source) == Some(&Standing::Readmitted) {
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
        let sentence = |(name, standing): (SourceName, &Standing)| match standing {
            Standing::Banned(sentence) => Some((name, Arc::clone(sentence))),
            Standing::Readmitted => None,
        };
        tracked.here.set_bans(known.into_iter().filter_map(sentence).collect());
        let is_readmitted = !tracked.here.is_any_banned();
        if is_readmitted && tracked.record.distrust && tracked.machine.is_none() {
            tracked.record.distrust = false;
            tracked.record.advice = Some("the ban of its provider is over".to_owned());
            self.rules.changed(session);
        } else if let Some(machine) = tracked.machine.as_mut().filter(|_| is_readmitted) {
            machine.retry_now(now);
        }
        self.publish(session, now);
    }

    /// Lets a source that was cut off take part again.
    fn readmit(&mut self, session: SnapshotSessionId, source: &BanSource, now: Instant) {
        let Some(tracked) = self.sessions.get(&session) else { return };
        let Some(machine) = &tracked.machine else { return };
        let cut_off = machine.sources(now).into_iter().filter(|view| view.state == SourceState::Banned);
        let cut_off: Vec<_> = cut_off.filter_map(|view| tracked.name_of(view.source)).collect();
        let named = tracked.ban_sources().into_iter().filter(|(_, known)| known == source).map(|(name, _)| name);
        let named: Vec<_> = named.filter(|name| cut_off.contains(name)).collect();
        for name in named {
            self.take_out(session, &name);
            self.put_in(session, &name, now);
        }
    }

    /// The peers that are banned now.
    pub(super) fn banned(&self) -> HashSet<PeerId> {
        let banned = |(source, standing): (&BanSource, &Standing)| match (source, standing) {
            (BanSource::Peer(peer), Standing::Banned(_)) => Some(*peer),
            _ => None,
        };
        self.standing.iter().filter_map(banned).collect()
    }

    /// Refuses an operation that would need a banned peer.
    pub(super) fn not_banned(&self, peer: &PeerId) -> Result<(), SnapshotRuntimeError> {
        match self.standing.get(&BanSource::Peer(*peer)) {
            Some(Standing::Banned(sentence)) => {
                Err(SnapshotRuntimeError::PeerBanned { peer: *peer, sentence: sentence.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// Refuses a session all of whose sources are banned.
    pub(super) fn not_all_banned(&self, record: &record::Session) -> Result<(), SnapshotRuntimeError> {
        let refused = record.peers().map(|peer| self.not_banned(&peer));
        let mut refused: Vec<_> = refused.collect();
        match record.mirrors().next() {
            None if !refused.is_empty() && refused.iter().all(Result::is_err) => refused.swap_remove(0),
            _ => Ok(()),
        }
    }
}

impl Tracked {
    /// Its sources, with the names that bans use.
    fn ban_sources(&self) -> Vec<(SourceName, BanSource)> {
        let of_peer = |peer: PeerId| (SourceName::Peer(peer), BanSource::Peer(peer));
        let peers = self.record.peers().map(of_peer);
        let mirrors = self.record.mirrors();
        let mirrors = mirrors.map(|url| (SourceName::Mirror(url.to_string()), BanSource::Mirror(url.origin())));
        let mut all: Vec<_> = peers.chain(mirrors).collect();
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

    /// Why a banned peer is not dialled, in the words of the session's trouble.
    pub(super) fn not_dialled(&self, peer: PeerId) -> Option<String> {
        let sentence = self.here.ban_of(&SourceName::Peer(peer))?;
        Some(format!("it is {sentence}; `rpp-node bans --lift {peer}` lifts the ban"))
    }
}
