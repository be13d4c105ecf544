//! Handles what happened: connections, answers, ends of blocking work, time.

use std::{sync::Arc, time::Instant};

use libp2p::{PeerId, Swarm};
use rpp_p2p::{
    AuthorityError, Evidence, Hash, SnapshotProtocolError, SnapshotSessionId, Violation,
    consumer::{self, Storage},
    snapshots,
};

use super::{Hold, Manager, expected, tracked::Tracked};
use crate::{
    error::SnapshotRuntimeError,
    jobs::{Authority, Done, Place, Unsettled},
    record,
    serve::Provider,
    status::NodeEvent,
    store::Offer,
    swarm::NodeBehaviour,
    writer::{self, Report, Reported, Trouble, Writer},
};

impl Manager {
    pub(crate) fn on_time(&mut self, now: Instant) {
        for machine in self.sessions.values_mut().filter_map(|tracked| tracked.machine.as_mut()) {
            if machine.poll_timeout().is_some_and(|at| at <= now) {
                machine.handle_timeout(now);
            }
        }
        let due = |tracked: &Tracked| {
            tracked.unrecorded.as_ref().and_then(|unrecorded| unrecorded.next).is_some_and(|next| next <= now)
        };
        let due: Vec<_> =
            self.sessions.iter().filter(|(_, tracked)| due(tracked)).map(|(session, _)| *session).collect();
        for session in due {
            self.put(session);
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let timeouts = |tracked: &Tracked| {
            let machine = tracked.machine.as_ref();
            let record = tracked.unrecorded.as_ref().and_then(|unrecorded| unrecorded.next);
            [machine.and_then(consumer::Session::poll_timeout), machine.and_then(|_| tracked.renewal()), record]
                .into_iter()
                .flatten()
                .min()
        };
        self.sessions.values().filter_map(timeouts).chain(self.rates.poll_timeout()).min()
    }

    pub(crate) fn on_connected(&mut self, peer: PeerId, now: Instant) {
        self.of_peer(peer).for_each(|machine| machine.handle_connected(now));
    }

    pub(crate) fn on_disconnected(&mut self, peer: PeerId, reason: &str, now: Instant) {
        self.of_peer(peer).for_each(|machine| machine.handle_disconnected(now, reason));
    }

    pub(crate) fn on_dial_failed(&mut self, peer: PeerId, reason: &str, now: Instant) {
        self.of_peer(peer).for_each(|machine| machine.handle_dial_failed(now, reason));
    }

    fn of_peer(&mut self, peer: PeerId) -> impl Iterator<Item = &mut consumer::Session> {
        self.sessions
            .values_mut()
            .filter(move |tracked| tracked.record.peer == peer)
            .filter_map(|tracked| tracked.machine.as_mut())
    }

    pub(crate) fn on_snapshots(
        &mut self,
        event: snapshots::Event,
        behaviour: &mut snapshots::Behaviour<Provider>,
        now: Instant,
    ) {
        let Some((peer, session)) = event.of() else { return };
        if let snapshots::Event::Error { error: SnapshotProtocolError::Remote(violation), .. }
        | snapshots::Event::StreamEnded { error: SnapshotProtocolError::Remote(violation), .. } = &event
        {
            self.on_violation(peer, session, violation);
        }
        match self.machine_of(session, peer) {
            Some(machine) => expected(session, event.tell(machine, now)),
            // The end of the last request of a session that was cancelled meanwhile.
            None => behaviour.forget(peer, session),
        }
    }

    fn on_violation(&mut self, peer: PeerId, session: SnapshotSessionId, violation: &Violation) {
        let reason = violation.to_string();
        tracing::warn!(%peer, %session, "protocol violation: {reason}");
        if let Some(evidence) = Evidence::of_violation(violation) {
            self.accuse(peer, session, evidence);
        }
        self.metrics.verification_failed(violation_kind(violation));
        self.watchers.each(|watcher| watcher.protocol_violation(peer, session, &reason));
        let _ = self.events.send(NodeEvent::ProtocolViolation { peer, session: Some(session), reason });
    }

    pub(crate) fn on_done(&mut self, done: Done, swarm: &mut Swarm<NodeBehaviour>, now: Instant) {
        match done {
            Done::Refreshed(_) => {} // Handled by the node.
            Done::Recorded { session, epoch, result } => self.on_recorded(session, epoch, result, swarm, now),
            Done::Removed { session, result } => self.on_removed(session, result),
            Done::TakenUp(sessions) => self.reload(sessions),
            Done::Authority { session, epoch, result } => self.on_authority(session, epoch, result, now),
            Done::Proof { session, epoch, plan_id, result } => self.on_proof(session, epoch, &plan_id, result, now),
            Done::Demoted { session, result } => self.on_demoted(session, result, now),
            Done::Kept { session, kept } => self.on_kept(session, kept, now),
            Done::Opened { session, epoch, result } => self.on_opened(session, epoch, result, now),
            Done::Disk(reported) => self.on_disk(reported, now),
        }
    }

    fn on_recorded(
        &mut self,
        session: SnapshotSessionId,
        epoch: u64,
        result: Result<(), Trouble>,
        swarm: &mut Swarm<NodeBehaviour>,
        now: Instant,
    ) {
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        tracked.recording = tracked.recording.saturating_sub(1);
        let answer = self.started.remove(&session);
        match result {
            Ok(()) => tracked.unrecorded = None,
            Err(Trouble::Unwritable(message)) => {
                tracing::warn!(%session, "the session's record is not written yet: {message}");
                let current = tracked.epoch == epoch;
                tracked.not_recorded(&message, now);
                if let (true, Some(machine)) = (current, &mut tracked.machine) {
                    expected(session, machine.handle_storage(now, Storage::Unwritable(message)));
                }
                let watched = tracked.status.subscribe();
                self.publish(session, now);
                // Whoever asked for it is told at once that it waits, and why.
                for reply in answer.into_iter().flatten() {
                    let _ = reply.send(Ok(watched.clone()));
                }
                return;
            }
            Err(Trouble::Full { .. }) => return, // Cannot happen for a record.
            Err(Trouble::Other(message)) => {
                tracing::error!(%session, "the session could not be recorded: {message}");
                if let Some(waiting) = answer {
                    self.sessions.remove(&session);
                    for reply in waiting {
                        let _ = reply.send(Err(SnapshotRuntimeError::Storage { message: message.clone() }));
                    }
                } else if let (true, Some(machine)) = (tracked.epoch == epoch, &mut tracked.machine) {
                    expected(session, machine.handle_storage(now, Storage::Failed(message)));
                }
                return;
            }
        }
        for reply in answer.into_iter().flatten() {
            let _ = reply.send(Ok(tracked.status.subscribe()));
        }
        // A new session gets its turn once its record is durable.
        if tracked.is_new() {
            tracked.hold = Some(if tracked.record.provider().is_none() { Hold::Seek } else { Hold::Turn });
            self.activate(now);
        }
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        let ended = tracked.record.state.is_final() && tracked.recording == 0 && tracked.machine.is_some();
        let peer = tracked.record.peer;
        self.publish(session, now);
        if ended {
            swarm.behaviour_mut().snapshots.forget(peer, session);
            self.retire(session, now);
            self.publish(session, now);
        }
    }

    fn on_removed(&mut self, session: SnapshotSessionId, result: Result<(), String>) {
        if let Some(reply) = self.removed.remove(&session) {
            let _ = reply.send(result.map_err(|message| SnapshotRuntimeError::Storage { message }));
        }
        let _ = self.events.send(NodeEvent::SnapshotStreamCancelled(session));
    }

    fn on_authority(
        &mut self,
        session: SnapshotSessionId,
        epoch: u64,
        result: Result<Authority, Unsettled>,
        now: Instant,
    ) {
        match &result {
            Ok(Authority::Settled(head) | Authority::Known(head)) => {
                self.metrics.head(head.height);
                self.head.send_if_modified(|old| {
                    let newer = old.as_ref() != Some(head);
                    *old = Some(head.clone());
                    newer
                });
            }
            Err(error) => {
                tracing::warn!(%session, "authority not established: {error}");
                self.metrics.verification_failed("authority");
            }
        }
        let Some(machine) = self.current(session, epoch) else { return };
        match result {
            Ok(Authority::Settled(_)) => expected(session, machine.handle_authority(now, Ok(()))),
            Ok(Authority::Known(_)) => expected(session, machine.handle_known_chain(now)),
            Err(Unsettled::Refused(error)) => {
                expected(session, machine.handle_authority(now, Err(error.clone())));
                self.blame_for(session, &error);
            }
            Err(Unsettled::Unfinished(reason)) => expected(session, machine.handle_unsettled(now, &reason)),
            Err(Unsettled::Storage(message)) => {
                expected(session, machine.handle_storage(now, Storage::Failed(message)));
            }
            Err(Unsettled::Unwritable(message)) => {
                expected(session, machine.handle_storage(now, Storage::Unwritable(message)));
            }
        }
    }

    fn on_proof(
        &mut self,
        session: SnapshotSessionId,
        epoch: u64,
        plan_id: &Hash,
        result: Result<(), Unsettled>,
        now: Instant,
    ) {
        if let Err(error) = &result {
            tracing::warn!(%session, "the proof of a tip that was known is not shown to hold: {error}");
            self.metrics.verification_failed("authority");
        }
        let Some(machine) = self.current(session, epoch) else { return };
        match result {
            Ok(()) => expected(session, machine.handle_proof(now, plan_id, Ok(()))),
            Err(Unsettled::Refused(error)) => {
                expected(session, machine.handle_proof(now, plan_id, Err(error.clone())));
                self.blame_for(session, &error);
            }
            // Neither yes nor no, and nobody checks it again by himself.
            Err(error) => expected(session, machine.handle_unsettled(now, &error.to_string())),
        }
    }

    /// A plan has no authority: its peer is blamed if it sent what does not hold. What this node had kept is nobody's fault.
    fn blame_for(&mut self, session: SnapshotSessionId, error: &AuthorityError) {
        let Some(tracked) = self.sessions.get(&session) else { return };
        let failure = tracked.machine.as_ref().and_then(|machine| machine.view().failure);
        if failure.is_some_and(|failure| failure.distrust)
            && let Some(evidence) = Evidence::of_authority(error)
        {
            self.accuse(tracked.record.peer, session, evidence);
        }
    }

    fn on_opened(&mut self, session: SnapshotSessionId, epoch: u64, result: Result<Place, Trouble>, now: Instant) {
        let Some(tracked) = self.sessions.get_mut(&session).filter(|tracked| tracked.epoch == epoch) else { return };
        tracked.opening = None;
        let (Some(machine), Some(plan)) = (&mut tracked.machine, &tracked.record.plan) else { return };
        let storage = match result {
            Ok(Place::Stored(path, progress)) => {
                tracked.progress = progress;
                Storage::AlreadyStored { path }
            }
            Ok(Place::Partial(partial, updates, progress)) => {
                tracked.progress = progress;
                let durable_chunks = record::Progress::of(plan, partial.durable_bytes()).confirmed_chunks;
                let unchecked_bytes = partial.unchecked_bytes();
                let queue = usize::try_from(self.config.snapshots.window / plan.chunk_size).unwrap_or(1024) + 8;
                let setting = writer::WriterContext {
                    session,
                    epoch,
                    plan: Arc::new(plan.clone()),
                    durability: self.config.snapshots.durability,
                    db: self.db.clone(),
                    reports: self.done.clone(),
                    watchers: self.watchers.clone(),
                    writable: Arc::clone(&self.writable),
                    offer: Offer::from_plan(plan, &updates),
                    before: progress,
                };
                tracked.writer = Some(Writer::spawn(*partial, setting, queue));
                Storage::Ready { durable_chunks, unchecked_bytes }
            }
            Err(Trouble::Full { needed, free }) => Storage::Full { needed, free },
            Err(Trouble::Unwritable(message)) => Storage::Unwritable(message),
            Err(Trouble::Other(message)) => Storage::Failed(message),
        };
        expected(session, machine.handle_storage(now, storage));
    }

    fn on_disk(&mut self, reported: Reported, now: Instant) {
        let Reported { session, epoch, report } = reported;
        let Some(tracked) = self.sessions.get_mut(&session).filter(|tracked| tracked.epoch == epoch) else { return };
        let Some(machine) = &mut tracked.machine else { return };
        match report {
            Report::Written(index) => expected(session, machine.handle_written(now, index)),
            Report::Durable { progress, chunks } => {
                // The last report of a worker that was closed may arrive after its successor has opened the payload. It
                // counts in the chunks of the plan for which the worker was started.
                if progress.bytes_durable > tracked.progress.bytes_durable {
                    tracked.progress = progress;
                }
                expected(session, machine.handle_durable(now, chunks));
            }
            Report::Rechecked { checked, missing } => {
                if !missing.is_empty() {
                    let chunks: Vec<_> = missing.iter().map(u64::to_string).collect();
                    tracing::warn!(
                        %session,
                        "what was on the disk of chunks {} does not hold: it is fetched again",
                        chunks.join(", ")
                    );
                    self.metrics.damaged_chunks(missing.len() as u64);
                }
                expected(session, machine.handle_rechecked(now, checked, &missing));
            }
            Report::Repaired => expected(session, machine.handle_repaired(now)),
            Report::Placed(path) => expected(session, machine.handle_placed(now, path)),
            Report::Full { needed, free } => {
                expected(session, machine.handle_storage(now, Storage::Full { needed, free }));
                self.let_go(session);
            }
            Report::Unwritable(message) => {
                expected(session, machine.handle_storage(now, Storage::Unwritable(message)));
                self.let_go(session);
            }
            Report::Failed(message) => {
                expected(session, machine.handle_storage(now, Storage::Failed(message)));
                self.let_go(session);
            }
        }
    }
}

/// The values of [`violation_kind`], and `authority`, which [`Manager::on_authority`] counts.
pub(crate) const VIOLATION_KINDS: [&str; 8] =
    ["plan", "chunk", "light_client_update", "unreadable", "mismatch", "stream", "authority", "other"];

fn violation_kind(violation: &Violation) -> &'static str {
    match violation {
        Violation::Plan(_) => "plan",
        Violation::Chunk { .. } => "chunk",
        Violation::Update { .. } => "light_client_update",
        Violation::Unreadable(_) => "unreadable",
        Violation::Mismatch { .. } => "mismatch",
        Violation::Stream(_) => "stream",
        _ => "other",
    }
}
