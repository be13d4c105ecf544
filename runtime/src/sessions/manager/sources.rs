//! The sources of a session: those that it was started with, those added or removed while it runs, and those that were
//! found.

use std::time::{Duration, Instant};

use libp2p::{PeerId, Swarm};
use rpp_p2p::{
    SnapshotSessionId,
    consumer::{DownloadSource, SourceView},
};

use super::{
    Manager, Tracked,
    tracked::{is_for_a_source, millis},
};
use crate::{
    bans::Ban,
    clock::{age, instant_text, text},
    error::SnapshotRuntimeError,
    handle::{PeerTarget, Reply, SourceTarget},
    limits::{MAX_MIRRORS, MAX_PEERS},
    peers::Peers,
    sessions::{
        record::{More, SourceName},
        rules::Hold,
    },
    status::{
        FailureCode, SessionState, SnapshotStreamStatus, SourceKind, SourceState, SourceStatus, WaitKind, WaitingOn,
    },
    swarm::NodeBehaviour,
};

impl Manager {
    /// Adds the sources of its record, except the first peer, to the machine of a session.
    pub(super) fn add_recorded(&mut self, session: SnapshotSessionId, now: Instant) {
        let Some(tracked) = self.sessions.get(&session) else { return };
        let names: Vec<_> = tracked.record.more.iter().map(More::name).collect();
        for name in names {
            self.put_in(session, &name, now);
        }
    }

    /// Adds one source to the machine of a session.
    pub(super) fn put_in(&mut self, session: SnapshotSessionId, name: &SourceName, now: Instant) {
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        let Some(machine) = &mut tracked.machine else { return };
        match name {
            SourceName::Peer(peer) => {
                let link = SnapshotSessionId::random();
                if machine.add_peer(now, *peer, link) {
                    self.links.insert(link, session);
                }
            }
            SourceName::Mirror(shown) => {
                let url = tracked.record.mirrors().find(|url| url.to_string() == *shown);
                let Some(url) = url.filter(|_| tracked.mirrors.named(shown).is_none()) else { return };
                let id = tracked.mirrors.add(url);
                if !machine.add_mirror(id) {
                    tracked.mirrors.remove(id);
                }
            }
        }
    }

    /// Removes one source from the machine of a session.
    pub(super) fn take_out(&mut self, session: SnapshotSessionId, name: &SourceName, now: Instant) {
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        match name {
            SourceName::Peer(peer) => {
                if let Some(machine) = &mut tracked.machine {
                    self.retired.extend(machine.links().filter(|(of, _)| of == peer));
                    machine.remove_source(now, DownloadSource::Peer(*peer));
                }
            }
            SourceName::Mirror(shown) => {
                if let Some(id) = tracked.mirrors.named(shown) {
                    tracked.mirrors.remove(id);
                    if let Some(machine) = &mut tracked.machine {
                        machine.remove_source(now, DownloadSource::Mirror(id));
                    }
                }
            }
        }
    }

    /// Adds a source. A failed session goes on with it. Answers with the status.
    pub(crate) fn add_source(
        &mut self,
        session: SnapshotSessionId,
        source: SourceTarget,
        reply: Reply<SnapshotStreamStatus>,
        swarm: &Swarm<NodeBehaviour>,
        peers: &Peers,
        now: Instant,
    ) {
        let result = self.try_add(session, source, swarm, peers, now);
        let _ = reply.send(result.and_then(|()| self.status(session, now)));
    }

    fn try_add(
        &mut self,
        session: SnapshotSessionId,
        source: SourceTarget,
        swarm: &Swarm<NodeBehaviour>,
        peers: &Peers,
        now: Instant,
    ) -> Result<(), SnapshotRuntimeError> {
        let tracked = self.sessions.get(&session).ok_or(SnapshotRuntimeError::UnknownSession { session })?;
        if tracked.record.state == SessionState::Complete {
            return Err(SnapshotRuntimeError::SessionOver { session });
        }
        if let SourceTarget::Peer(target) = &source {
            self.may_consume(Some(&target.peer))?;
        }
        self.not_banned(&source)?;
        if let SourceTarget::Peer(target) = &source {
            is_reachable(target, swarm, peers)?;
        }
        let tracked = self.sessions.get_mut(&session).ok_or(SnapshotRuntimeError::UnknownSession { session })?;
        let known = tracked.record.clone();
        let more = More::of(source);
        let name = more.name();
        if tracked.record.sources().any(|known| known == name) {
            self.name_again(session, more);
        } else {
            let kind = name.kind();
            let max = match kind {
                SourceKind::Peer => MAX_PEERS,
                SourceKind::Mirror => MAX_MIRRORS,
            };
            if tracked.record.sources().filter(|known| known.kind() == kind).count() >= max {
                return Err(SnapshotRuntimeError::TooManySources { session, kind, max });
            }
            tracked.record.more.push(more);
        }
        let tracked = self.sessions.get_mut(&session).ok_or(SnapshotRuntimeError::UnknownSession { session })?;
        let is_changed = tracked.record != known;
        let has_failed = tracked.record.state == SessionState::Failed;
        tracked.forget_source(&name);
        self.take_refused_out(session, &name, now);
        self.put_in(session, &name, now);
        self.apply_standing(session, now);
        if is_changed {
            self.rules.changed(session);
        }
        if has_failed {
            self.restart(session, None, now);
        } else if self.rules.standing(session).hold == Some(Hold::Seek) {
            self.rules.found(session);
        }
        self.publish(session, now);
        Ok(())
    }

    /// Handles a source that the session already has. A new address of a peer, or new credentials of a mirror, are
    /// tried at once.
    pub(super) fn name_again(&mut self, session: SnapshotSessionId, more: More) {
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        match more {
            More::Peer { peer, addresses } => {
                let before = tracked.record.addresses_of(peer).to_vec();
                addresses.into_iter().for_each(|address| tracked.record.add_address(peer, address));
                if tracked.record.addresses_of(peer) != before
                    && let Some(machine) = &mut tracked.machine
                {
                    machine.retry_source(DownloadSource::Peer(peer));
                }
            }
            More::Mirror { url } if tracked.record.renew(&url) => {
                if let Some(id) = tracked.mirrors.named(&url.to_string()) {
                    tracked.mirrors.renew(id, &url);
                    if let Some(machine) = &mut tracked.machine {
                        machine.renew_mirror(id);
                    }
                }
            }
            More::Mirror { .. } => {}
        }
    }

    /// Takes a source that was refused out of the machine, so that it can be tried anew.
    fn take_refused_out(&mut self, session: SnapshotSessionId, name: &SourceName, now: Instant) {
        let Some(tracked) = self.sessions.get(&session) else { return };
        let Some(machine) = &tracked.machine else { return };
        let is_out = |view: &SourceView| view.state == SourceState::Refused;
        if machine.sources(now).iter().any(|view| is_out(view) && tracked.name_of(view.source).as_ref() == Some(name)) {
            self.take_out(session, name, now);
        }
    }

    /// Removes a source. Answers with the status.
    pub(crate) fn remove_source(
        &mut self,
        session: SnapshotSessionId,
        source: &str,
        reply: Reply<SnapshotStreamStatus>,
        now: Instant,
    ) {
        let result = self.try_remove(session, source, now);
        let _ = reply.send(result.and_then(|()| self.status(session, now)));
    }

    fn try_remove(
        &mut self,
        session: SnapshotSessionId,
        source: &str,
        now: Instant,
    ) -> Result<(), SnapshotRuntimeError> {
        let tracked = self.sessions.get_mut(&session).ok_or(SnapshotRuntimeError::UnknownSession { session })?;
        if tracked.record.state == SessionState::Complete {
            return Err(SnapshotRuntimeError::SessionOver { session });
        }
        let found = tracked.status_sources(now).into_iter().find(|known| known.source == source);
        let unknown = || SnapshotRuntimeError::UnknownSource { session, given: source.chars().take(256).collect() };
        let name = match found.map(|known| known.kind) {
            Some(SourceKind::Peer) => SourceName::Peer(source.parse().map_err(|_| unknown())?),
            Some(SourceKind::Mirror) => SourceName::Mirror(source.to_owned()),
            None => return Err(unknown()),
        };
        let is_recorded = tracked.record.remove(&name);
        if let SourceName::Peer(peer) = &name {
            tracked.record.refuse_found(*peer);
        }
        tracked.forget_source(&name);
        self.take_out(session, &name, now);
        if is_recorded {
            self.rules.changed(session);
        }
        self.publish(session, now);
        Ok(())
    }

    /// Records the newest round-trip time of a peer.
    pub(crate) fn on_round_trip(&mut self, peer: PeerId, time: Duration, now: Instant) {
        for tracked in self.sessions.values_mut() {
            let is_of = |machine: &&mut rpp_p2p::consumer::Session| machine.links().any(|(of, _)| of == peer);
            if let Some(machine) = tracked.machine.as_mut().filter(is_of) {
                machine.handle_round_trip(now, peer, time);
                tracked.here.round_trips.insert(peer, time.as_secs_f64() * 1e3);
            }
        }
    }
}

/// Checks that an address is known for a peer that was named without one.
pub(super) fn is_reachable(
    target: &PeerTarget,
    swarm: &Swarm<NodeBehaviour>,
    peers: &Peers,
) -> Result<(), SnapshotRuntimeError> {
    let peer = target.peer;
    if target.address.is_none() && peers.addresses(&peer).is_empty() && !swarm.is_connected(&peer) {
        return Err(SnapshotRuntimeError::UnknownAddress { peer });
    }
    Ok(())
}

impl Tracked {
    /// The status's name for a source of the machine.
    pub(super) fn name_of(&self, source: DownloadSource) -> Option<SourceName> {
        match source {
            DownloadSource::Peer(peer) => Some(SourceName::Peer(peer)),
            DownloadSource::Mirror(id) => self.mirrors.url(id).map(|url| SourceName::Mirror(url.to_string())),
            _ => None,
        }
    }

    /// The machine's view of its sources; without a machine, the last machine's.
    pub(super) fn own_sources(&self, now: Instant) -> Vec<SourceStatus> {
        match &self.machine {
            Some(machine) => machine.sources(now).into_iter().filter_map(|view| self.of_view(view, now)).collect(),
            None => self.here.sources.clone(),
        }
    }

    /// What each source delivers, or delivered. Sources of the record that no machine has had yet come last.
    pub(super) fn status_sources(&self, now: Instant) -> Vec<SourceStatus> {
        let mut all = self.own_sources(now);
        let fresh = if self.record.state == SessionState::Complete { SourceState::Done } else { SourceState::Idle };
        for name in self.record.sources() {
            let shown = name.to_string();
            if !all.iter().any(|known| known.source == shown) {
                all.push(SourceStatus::new(shown, name.kind(), fresh));
            }
        }
        for source in all.iter_mut().filter(|source| source.state != SourceState::Done) {
            match self.here.ban_shown(&source.source) {
                Some(ban) => self.tell_ban(source, ban),
                // It was cut off, but its ban is over.
                None if source.state == SourceState::Banned && self.machine.is_none() => {
                    source.state = SourceState::Refused;
                }
                None => {}
            }
        }
        all
    }

    /// Shows the ban of a source in its status: until when, why, and how to lift it.
    fn tell_ban(&self, source: &mut SourceStatus, ban: &Ban) {
        source.state = SourceState::Banned;
        source.error = Some(ban.notice());
        source.error_code.get_or_insert(FailureCode::Provider);
        let goes_on = self.machine.as_ref().is_some_and(|machine| !machine.is_over());
        source.waiting_on = goes_on.then(|| {
            let reason = "it is asked again by itself when its ban is over".to_owned();
            WaitingOn::new(WaitKind::Retry, age(ban.since), reason).with(|told| told.retry_at = Some(text(ban.until)))
        });
    }

    fn of_view(&self, view: SourceView, now: Instant) -> Option<SourceStatus> {
        let name = self.name_of(view.source)?;
        let rtt_ms = match &name {
            SourceName::Peer(peer) => self.here.round_trips.get(peer).copied(),
            SourceName::Mirror(_) => None,
        };
        let (error_code, error) = view.trouble.unzip();
        let is_peer = name.kind() == SourceKind::Peer;
        Some(SourceStatus::new(name.to_string(), name.kind(), view.state).with(|source| {
            source.protocol = view.protocol.map(|protocol| protocol.as_str().to_owned());
            source.bytes_verified = view.bytes_verified;
            source.bytes_wasted = view.bytes_wasted;
            source.verified_bytes_per_second = view.rate;
            source.rtt_ms = rtt_ms;
            source.window_bytes = view.window;
            source.waiting_on = view.waiting.map(|wait| {
                WaitingOn::new(wait.what, millis(wait.since, now), wait.reason).with(|told| {
                    told.index = wait.index;
                    told.peer = (is_peer && is_for_a_source(wait.what)).then(|| name.to_string());
                    told.retry_at = wait.retry_at.map(|at| instant_text(at, now));
                })
            });
            source.error = error;
            source.error_code = error_code;
        }))
    }

    /// Forgets the status of a source that was removed, or that is tried anew.
    fn forget_source(&mut self, name: &SourceName) {
        let shown = name.to_string();
        self.here.sources.retain(|known| known.source != shown);
    }
}
