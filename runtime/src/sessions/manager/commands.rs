//! The operators' calls: start, resume, cancel and status.

use std::time::Instant;

use libp2p::{PeerId, Swarm};
use rpp_p2p::{
    PlanWishes, SnapshotSessionId,
    consumer::{self, ExplicitResume},
    limits::DEFAULT_CHUNK_SIZE,
};
use tokio::sync::watch;

use super::{Call, Manager, Tracked, sources::is_reachable};
use crate::{
    clock::now_text,
    error::{InvalidArgument, PeerMismatch, ResumeMismatch, SnapshotRuntimeError, StorageFault},
    handle::{PeerTarget, Reply, ResumeStream, SourceTarget, StartStream},
    peers::Peers,
    sessions::{
        record::{self, More, SourceName},
        rules::{Hold, Standing},
    },
    status::{SessionState, SnapshotStreamStatus},
    swarm::NodeBehaviour,
};

type Watched = watch::Receiver<SnapshotStreamStatus>;

impl Manager {
    /// Checks the request, persists the session, then answers. The session starts when it is its turn. A repeated
    /// request is answered with the session that the first one made.
    pub(crate) fn start(
        &mut self,
        request: StartStream,
        reply: Reply<Watched>,
        swarm: &Swarm<NodeBehaviour>,
        peers: &Peers,
        now: Instant,
    ) {
        let record = match self.wanted(request.wishes).and_then(|wanted| {
            self.may_consume(None)?;
            for target in request.peer.iter().chain(&request.peers) {
                self.may_consume(Some(&target.peer))?;
            }
            Ok((self.made_before(&request)?, wanted))
        }) {
            Ok((Some(session), _)) => return self.start_again(session, request, reply),
            Ok((None, wanted)) => self.new_record(request, wanted, swarm, peers),
            Err(error) => Err(error),
        };
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let _ = reply.send(Err(error));
                return;
            }
        };
        let session = record.session;
        let first = if record.seeks() { Hold::Seek } else { Hold::Turn };
        let tracked = Tracked::new(record, record::Progress::default(), None, &Standing::default(), now, now);
        self.sessions.insert(session, tracked);
        self.rules.start(session, first, Call::Start(reply));
        self.apply_standing(session, now);
    }

    pub(super) fn may_consume(&self, peer: Option<&PeerId>) -> Result<(), SnapshotRuntimeError> {
        if self.light.is_none() {
            return Err(SnapshotRuntimeError::NoTrustAnchor);
        }
        if let Err(error) = &self.head_file {
            return Err(StorageFault::new(error.clone()).into());
        }
        if peer.is_some_and(|peer| *peer == self.me) {
            return Err(SnapshotRuntimeError::OwnPeer);
        }
        Ok(())
    }

    /// The session that an equal earlier request started: the one with the request's key, else one that is alive.
    fn made_before(&self, request: &StartStream) -> Result<Option<SnapshotSessionId>, SnapshotRuntimeError> {
        let same = |tracked: &Tracked| {
            let record = &tracked.record;
            let wished = (request.wishes.root, request.wishes.height);
            if request.without_mirrors && record.sources().any(|name| matches!(name, SourceName::Mirror(_))) {
                return false;
            }
            match (request.names_nobody(), &record.sought) {
                (false, None) => {
                    let has = |name: SourceName| record.sources().any(|known| known == name);
                    named(request).all(has) && (record.wanted.root, record.wanted.height) == wished
                }
                (true, Some(sought)) => (sought.root, sought.height) == wished,
                _ => false,
            }
        };
        if let Some(key) = &request.idempotency_key
            && let Some((session, tracked)) = self.sessions.iter().find(|(_, tracked)| tracked.record.carries(key))
        {
            return match same(tracked) {
                true => Ok(Some(*session)),
                false => Err(SnapshotRuntimeError::KeyReused { session: *session }),
            };
        }
        let alive = |tracked: &Tracked| !tracked.record.state.is_final() && same(tracked);
        Ok(self.sessions.iter().find(|(_, tracked)| alive(tracked)).map(|(session, _)| *session))
    }

    /// Answers with an existing session, and adds a new key or address to it. New credentials of a mirror are used from
    /// now on.
    fn start_again(&mut self, session: SnapshotSessionId, request: StartStream, reply: Reply<Watched>) {
        let Some(tracked) = self.sessions.get(&session) else { return };
        let known = tracked.record.clone();
        let peers = request.peer.into_iter().chain(request.peers).map(SourceTarget::Peer);
        for source in peers.chain(request.mirrors.into_iter().map(SourceTarget::Mirror)) {
            self.name_again(session, More::of(source));
        }
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        if let Some(key) = request.idempotency_key {
            tracked.record.carry(key);
        }
        let is_changed = tracked.record != known;
        self.rules.start_again(session, Call::Start(reply));
        if is_changed {
            self.rules.changed(session);
        }
    }

    fn new_record(
        &mut self,
        request: StartStream,
        wanted: PlanWishes,
        swarm: &Swarm<NodeBehaviour>,
        peers: &Peers,
    ) -> Result<record::Session, SnapshotRuntimeError> {
        for target in request.peer.iter().chain(&request.peers) {
            is_reachable(target, swarm, peers)?;
        }
        let sought = request.names_nobody().then(|| record::Sought::new(wanted.root, wanted.height));
        let mut named = request.peer.into_iter().chain(request.peers);
        let first = named.next();
        let lacks_peer = first.is_none() && sought.is_none();
        let PeerTarget { peer, address } = first.unwrap_or(PeerTarget { peer: self.me, address: None });
        let further = named.map(SourceTarget::Peer).chain(request.mirrors.into_iter().map(SourceTarget::Mirror));
        let mut session = SnapshotSessionId::random();
        while self.rules.is_taken(session) {
            session = SnapshotSessionId::random();
        }
        let started_at = now_text();
        let record = record::Session {
            session,
            peer,
            lacks_peer,
            more: further.map(More::of).collect(),
            sought,
            beside: request.others_too.then(|| record::Sought::new(wanted.root, wanted.height)),
            addresses: address.into_iter().collect(),
            wanted,
            plan: None,
            plan_source: None,
            state: SessionState::Connecting,
            error: None,
            error_code: None,
            advice: None,
            distrust: false,
            keys: request.idempotency_key.map(record::Key::new).into_iter().collect(),
            updated_at: started_at.clone(),
            started_at,
        };
        self.not_all_banned(&record)?;
        self.make_room()?;
        Ok(record)
    }

    /// Only sessions that are alive count against `max_sessions`: the record that ended longest ago is evicted.
    /// Complete sessions come first, because a failed one may still be resumed from its bytes on the disk.
    fn make_room(&mut self) -> Result<(), SnapshotRuntimeError> {
        let max = self.config.snapshots.max_sessions;
        while self.sessions.len() >= max {
            let ended = self.sessions.iter().filter(|(session, _)| self.rules.is_evictable(**session));
            let oldest = ended.min_by_key(|(_, tracked)| {
                (tracked.record.state != SessionState::Complete, tracked.record.updated_at.as_str())
            });
            let Some(session) = oldest.map(|(session, _)| *session) else {
                return Err(SnapshotRuntimeError::TooManySessions { max });
            };
            tracing::info!(%session, "the record of this session gives way to a new one: [snapshots] max_sessions is {max}");
            self.rules.evict(session);
            self.forget(session);
        }
        Ok(())
    }

    /// The operator's wishes, limited by the node's own bounds. All chunk sizes are set.
    fn wanted(&self, wishes: PlanWishes) -> Result<PlanWishes, SnapshotRuntimeError> {
        let ours = &self.config.snapshots;
        let positive = |name: &'static str, value: Option<u64>, default: u64| match value {
            Some(0) => Err(InvalidArgument::Zero { name }),
            Some(value) => Ok(value),
            None => Ok(default),
        };
        let wanted = positive("chunk_size", wishes.chunk_size, ours.chunk_size)?;
        let min = positive("min_chunk_size", wishes.min_chunk_size, ours.min_chunk_size)?.max(ours.min_chunk_size);
        let max = positive("max_chunk_size", wishes.max_chunk_size, ours.max_chunk_size)?.min(ours.max_chunk_size);
        if min > max {
            let (own_min, own_max) = (ours.min_chunk_size, ours.max_chunk_size);
            return Err(InvalidArgument::NoChunkSize { min, max, own_min, own_max }.into());
        }
        Ok(PlanWishes { chunk_size: Some(wanted), min_chunk_size: Some(min), max_chunk_size: Some(max), ..wishes })
    }

    /// Ends a back-off, restarts a session that failed or is held, and leaves a running or complete one unchanged.
    pub(crate) fn resume(
        &mut self,
        request: ResumeStream,
        reply: Reply<Watched>,
        swarm: &mut Swarm<NodeBehaviour>,
        now: Instant,
    ) {
        let result = self.try_resume(request, swarm, now);
        let _ = reply.send(result);
    }

    fn try_resume(
        &mut self,
        request: ResumeStream,
        swarm: &mut Swarm<NodeBehaviour>,
        now: Instant,
    ) -> Result<Watched, SnapshotRuntimeError> {
        let session = request.session;
        let unknown = SnapshotRuntimeError::UnknownSession { session };
        let tracked = self.sessions.get(&session).ok_or(unknown.clone())?;
        if tracked.record.state != SessionState::Complete {
            self.not_all_banned(&tracked.record)?;
        }
        let standing = self.rules.standing(session);
        let tracked = self.sessions.get_mut(&session).ok_or(unknown)?;
        same_peer_and_size(tracked, &request)?;
        let explicit = explicit_offsets(tracked, &request)?;
        if let Some(PeerTarget { peer, address: Some(address) }) = request.peer {
            tracked.record.add_address(peer, address);
        }
        let watched = tracked.status.subscribe();
        match &mut tracked.machine {
            Some(machine) if !machine.state().is_final() => machine.retry_now(now),
            _ if standing.hold == Some(Hold::Seek) => swarm.behaviour_mut().offers.ask_now(now),
            _ if tracked.record.state == SessionState::Complete => {}
            // With a ban, the source that broke the rules is not asked, so the session may go on with the others.
            _ if tracked.record.distrust && !tracked.here.is_any_banned() => {
                return Err(refused(tracked, &standing, now));
            }
            _ => {
                if self.light.is_none() {
                    return Err(SnapshotRuntimeError::NoTrustAnchor);
                }
                self.restart(session, explicit, now);
            }
        }
        Ok(watched)
    }

    /// Queues a session for its turn again, even if it had one.
    pub(super) fn restart(&mut self, session: SnapshotSessionId, explicit: Option<ExplicitResume>, now: Instant) {
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        tracked.explicit = explicit;
        tracked.record.begin();
        self.rules.resume(session);
        self.apply(now);
        // The status that the caller gets must not show the old error.
        if let Some(tracked) = self.sessions.get_mut(&session) {
            tracked.publish_now(&self.rules.standing(session), now);
        }
    }

    /// Removes a session. Its status disappears at once; its record and partial payload are gone before the answer.
    pub(crate) fn cancel(&mut self, session: SnapshotSessionId, reply: Reply<()>, swarm: &mut Swarm<NodeBehaviour>) {
        let is_loaded = self.disk.db.is_taken_up();
        if !self.rules.cancel(session, Call::Cancel(reply), is_loaded) {
            return;
        }
        let Some(tracked) = self.forget(session) else { return };
        let behaviour = &mut swarm.behaviour_mut().snapshots;
        for (peer, link) in tracked.machine.iter().flat_map(consumer::Session::links) {
            self.links.remove(&link);
            if behaviour.cancel(peer, link, "cancelled by the consumer's operator").is_none() {
                // Nothing can be sent while the session has a request in flight. The provider frees the slot by itself.
                behaviour.forget(peer, link);
            }
        }
    }

    /// Takes the session out of sight. Dropping the returned value ends its status for watchers.
    fn forget(&mut self, session: SnapshotSessionId) -> Option<Tracked> {
        self.watchers.each(|watcher| watcher.session_removed(session));
        self.rates.leave(session);
        self.sessions.remove(&session)
    }

    pub(crate) fn status(
        &self,
        session: SnapshotSessionId,
        now: Instant,
    ) -> Result<SnapshotStreamStatus, SnapshotRuntimeError> {
        self.sessions
            .get(&session)
            .map(|tracked| tracked.current(&self.rules.standing(session), now))
            .ok_or(SnapshotRuntimeError::UnknownSession { session })
    }

    pub(crate) fn watch(&self, session: SnapshotSessionId) -> Result<Watched, SnapshotRuntimeError> {
        self.sessions
            .get(&session)
            .map(|tracked| tracked.status.subscribe())
            .ok_or(SnapshotRuntimeError::UnknownSession { session })
    }

    pub(crate) fn list(&self, now: Instant) -> Vec<SnapshotStreamStatus> {
        let current =
            |(session, tracked): (&SnapshotSessionId, &Tracked)| tracked.current(&self.rules.standing(*session), now);
        self.sessions.iter().map(current).collect()
    }
}

/// The refusal to continue a session with a peer that broke the protocol in it.
fn refused(tracked: &Tracked, standing: &Standing<'_>, now: Instant) -> SnapshotRuntimeError {
    let status = Box::new(tracked.current(standing, now));
    SnapshotRuntimeError::Distrusted { sources: sources_of(&tracked.record), status }
}

/// The sources that a request names.
fn named(request: &StartStream) -> impl Iterator<Item = SourceName> + '_ {
    let peers = request.peer.iter().chain(&request.peers).map(|target| SourceName::Peer(target.peer));
    peers.chain(request.mirrors.iter().map(|url| SourceName::Mirror(url.to_string())))
}

fn sources_of(record: &record::Session) -> Vec<String> {
    record.sources().map(|source| source.to_string()).collect()
}

fn same_peer_and_size(tracked: &Tracked, request: &ResumeStream) -> Result<(), PeerMismatch> {
    let record = &tracked.record;
    let session = record.session;
    if let Some(target) = &request.peer
        && record.peers().all(|peer| target.peer != peer)
    {
        return Err(PeerMismatch::Peer { session, sources: sources_of(record), asked: target.peer });
    }
    let wished = record.wanted.chunk_size;
    let size = record.plan.as_ref().map(|plan| plan.chunk_size).or(wished).unwrap_or(DEFAULT_CHUNK_SIZE);
    match request.chunk_size {
        Some(asked) if asked != size && Some(asked) != wished => Err(PeerMismatch::ChunkSize { session, size, asked }),
        _ => Ok(()),
    }
}

/// Checks explicit offsets against this node's own record, before anything goes over the network.
fn explicit_offsets(tracked: &Tracked, request: &ResumeStream) -> Result<Option<ExplicitResume>, ResumeMismatch> {
    if request.plan_id.is_none() && request.chunk_index.is_none() && request.update_index.is_none() {
        return Ok(None);
    }
    let session = request.session;
    let Some(plan) = &tracked.record.plan else {
        return Err(ResumeMismatch::NoPlan { session });
    };
    if let Some(asked) = request.plan_id
        && asked != plan.plan_id
    {
        return Err(ResumeMismatch::OtherPlan { session, plan: plan.plan_id, asked });
    }
    let check = |marker: &'static str, asked: Option<u64>, expected: u64, total: u64| match asked {
        None => Ok(expected),
        Some(asked) if asked < expected => Err(ResumeMismatch::Behind { session, marker, asked, expected }),
        Some(asked) if asked > total => Err(ResumeMismatch::Beyond { session, marker, asked, total }),
        Some(asked) => Ok(asked),
    };
    let chunk = check("chunk", request.chunk_index, tracked.progress.confirmed_chunks, plan.total_chunks)?;
    let update = check("update", request.update_index, tracked.progress.confirmed_updates, plan.total_updates)?;
    Ok(Some(ExplicitResume { plan_id: plan.plan_id, chunk_index: chunk, update_index: update }))
}
