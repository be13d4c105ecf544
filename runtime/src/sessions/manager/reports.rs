//! Handles events: connections, answers, results of blocking work, and time.

use std::{sync::Arc, time::Instant};

use libp2p::PeerId;
use rpp_p2p::{
    Evidence, Hash, SnapshotProtocolError, SnapshotSessionId, Violation,
    consumer::{self, Storage},
    error::Cause,
    snapshots,
};

use super::{Manager, expected, tracked::Tracked};
use crate::{
    bans::BanSource,
    serve::Provider,
    sessions::{
        Done,
        authority::{Authority, Unsettled},
        trouble::{RecordError, Trouble},
        worker::{Opened, Report, Reported},
    },
    status::{NodeEvent, SessionState},
};

impl Manager {
    pub(crate) fn on_time(&mut self, now: Instant) {
        for machine in self.sessions.values_mut().filter_map(|tracked| tracked.machine.as_mut()) {
            if machine.poll_timeout().is_some_and(|at| at <= now) {
                machine.handle_timeout(now);
            }
        }
        self.rules.handle_timeout(now);
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let timeouts = |tracked: &Tracked| {
            let machine = tracked.machine.as_ref();
            [machine.and_then(consumer::Session::poll_timeout), machine.and_then(|_| tracked.renewal())]
                .into_iter()
                .flatten()
                .min()
        };
        let timeouts = self.sessions.values().filter_map(timeouts);
        timeouts.chain(self.rules.poll_timeout()).chain(self.rates.poll_timeout()).min()
    }

    pub(crate) fn on_connected(&mut self, peer: PeerId, now: Instant) {
        self.machines().for_each(|machine| machine.handle_connected(now, peer));
    }

    pub(crate) fn on_disconnected(&mut self, peer: PeerId, reason: &str, now: Instant) {
        self.machines().for_each(|machine| machine.handle_disconnected(now, peer, reason));
    }

    pub(crate) fn on_dial_failed(&mut self, peer: PeerId, reason: &str, now: Instant) {
        self.machines().for_each(|machine| machine.handle_dial_failed(now, peer, reason));
    }

    /// All machines. Each ignores events of peers that are not its own.
    fn machines(&mut self) -> impl Iterator<Item = &mut consumer::Session> {
        self.sessions.values_mut().filter_map(|tracked| tracked.machine.as_mut())
    }

    pub(crate) fn on_snapshots(
        &mut self,
        event: snapshots::Event,
        behaviour: &mut snapshots::Behaviour<Provider>,
        now: Instant,
    ) {
        let Some((peer, link)) = event.of() else { return };
        let download = self.download_of(peer, link);
        if let snapshots::Event::Error { error: SnapshotProtocolError::Remote(violation), .. }
        | snapshots::Event::StreamEnded { error: SnapshotProtocolError::Remote(violation), .. } = &event
        {
            self.on_violation(peer, download.unwrap_or(link), violation);
        }
        let machine = download.and_then(|session| self.sessions.get_mut(&session)?.machine.as_mut());
        match machine {
            Some(machine) => expected(link, event.tell(machine, now)),
            // This was the end of the last request of a session that has been cancelled meanwhile.
            None => behaviour.forget(peer, link),
        }
    }

    fn on_violation(&mut self, peer: PeerId, session: SnapshotSessionId, violation: &Violation) {
        let reason = violation.to_string();
        tracing::warn!(%peer, %session, "protocol violation: {reason}");
        if let Some(evidence) = Evidence::of_violation(violation) {
            self.accuse(BanSource::Peer(peer), session, evidence);
        }
        self.metrics.verification_failed(violation_kind(violation));
        self.watchers.each(|watcher| watcher.protocol_violation(peer, session, &reason));
        let _ = self.events.send(NodeEvent::ProtocolViolation { peer, session: Some(session), reason });
    }

    pub(crate) fn on_done(&mut self, done: Done, now: Instant) {
        match done {
            Done::Refreshed(_) => {} // Handled by the node.
            Done::TakenUp(sessions) => {
                self.reload(sessions);
                self.rules.loaded_all();
            }
            Done::Authority { session, epoch, result } => self.on_authority(session, epoch, result, now),
            Done::Proof { session, epoch, plan_id, result } => self.on_proof(session, epoch, &plan_id, result, now),
            Done::Kept { session, kept } => self.on_kept(session, kept, now),
            Done::Mirror { session, epoch, mirror, told } => self.on_mirror(session, epoch, mirror, told, now),
            Done::Store(reported) => self.on_store(reported, now),
        }
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
                // A paused session tries this again and again; the failure is logged once.
                let is_known = matches!(error, Unsettled::Unwritable(_))
                    && self.current(session, epoch).is_some_and(|machine| machine.state() == SessionState::Paused);
                if !is_known {
                    tracing::warn!(%session, "authority not established: {error}");
                }
                self.metrics.verification_failed("authority");
            }
        }
        let Some(machine) = self.current(session, epoch) else { return };
        match result {
            Ok(Authority::Settled(_)) => expected(session, machine.handle_authority(now, Ok(()))),
            Ok(Authority::Known(_)) => expected(session, machine.handle_known_chain(now)),
            Err(Unsettled::Refused(error)) => {
                expected(session, machine.handle_authority(now, Err(error)));
            }
            Err(error) if error.is_unfinished() => {
                expected(session, machine.handle_unsettled(now, &error.to_string()));
            }
            Err(error @ Unsettled::Unwritable(_)) => {
                expected(session, machine.handle_storage(now, Storage::Unwritable(Cause::new(error))));
            }
            Err(error) => expected(session, machine.handle_storage(now, Storage::Failed(Cause::new(error)))),
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
                expected(session, machine.handle_proof(now, plan_id, Err(error)));
            }
            // The check gave no answer, and nothing else repeats it.
            Err(error) => expected(session, machine.handle_unsettled(now, &error.to_string())),
        }
    }

    fn on_store(&mut self, reported: Reported, now: Instant) {
        let Reported { lane, session, epoch, report } = reported;
        match report {
            Report::Recorded(result) => {
                // Each try has an error of its own, so their texts are compared.
                let is_new = |error: &RecordError| {
                    let before = self.rules.standing(session).unwritten.map(|before| before.error.to_string());
                    before.is_none_or(|before| before != error.to_string())
                };
                if let Err(error) = &result
                    && is_new(error)
                {
                    tracing::warn!(%session, "the session's record is not written: {error}");
                }
                self.rules.handle_recorded(now, lane, session, result);
            }
            Report::Removed(result) => self.rules.handle_removed(lane, session, result),
            Report::Demoted(result) => {
                self.rules.handle_demoted(lane);
                self.on_demoted(session, result, now);
            }
            Report::Closed => self.rules.handle_closed(lane, session),
            Report::Opened(result) => {
                self.rules.handle_opened(lane, session, matches!(result, Ok(Opened::Partial { .. })));
                self.on_opened(session, epoch, result, now);
            }
            Report::Trouble(trouble) => {
                self.rules.handle_trouble(lane, session);
                if self.rules.is_current(session, epoch) {
                    self.tell_storage(session, now, trouble.into());
                }
            }
            Report::Opening { checked, there } => {
                if let Some(tracked) = self.of_epoch(session, epoch)
                    && let Some(opening) = &mut tracked.opening
                {
                    *opening = (checked, there);
                }
            }
            other => self.on_disk(session, epoch, other, now),
        }
    }

    fn of_epoch(&mut self, session: SnapshotSessionId, epoch: u64) -> Option<&mut Tracked> {
        self.sessions.get_mut(&session).filter(|_| self.rules.is_current(session, epoch))
    }

    fn on_opened(&mut self, session: SnapshotSessionId, epoch: u64, result: Result<Opened, Trouble>, now: Instant) {
        let Some(tracked) = self.of_epoch(session, epoch) else { return };
        let opening = tracked.opening.take();
        let storage = match result {
            Ok(Opened::Stored { path, progress }) => {
                // This process has hashed the whole payload, now or earlier. Until the session is complete, its bytes
                // count as verified only because of this entry.
                tracked.opening = opening.map(|(_, there)| (there, there));
                tracked.progress = progress;
                Storage::AlreadyStored { path }
            }
            Ok(Opened::Partial { progress, durable, unchecked }) => {
                tracked.progress = progress;
                Storage::Ready { durable, unchecked }
            }
            Err(trouble) => trouble.into(),
        };
        self.tell_storage(session, now, storage);
    }

    fn on_disk(&mut self, session: SnapshotSessionId, epoch: u64, report: Report, now: Instant) {
        let metrics = Arc::clone(&self.metrics);
        let Some(tracked) = self.of_epoch(session, epoch) else { return };
        let Some(machine) = &mut tracked.machine else { return };
        match report {
            Report::Written(index) => expected(session, machine.handle_written(now, index)),
            Report::Durable { progress, durable } => {
                // A closed worker's last report may arrive after its successor has opened the payload. The report
                // counts in chunks of the plan for which that worker was started.
                if progress.bytes_durable > tracked.progress.bytes_durable {
                    tracked.progress = progress;
                }
                expected(session, machine.handle_durable(now, &durable));
            }
            Report::Rechecked { checked, missing } => {
                if !missing.is_empty() {
                    let chunks: Vec<_> = missing.iter().map(u64::to_string).collect();
                    tracing::warn!(
                        %session,
                        "what was on the disk of chunks {} does not hold: it is fetched again",
                        chunks.join(", ")
                    );
                    metrics.damaged_chunks(missing.len() as u64);
                }
                expected(session, machine.handle_rechecked(now, checked, &missing));
            }
            Report::Repaired => expected(session, machine.handle_repaired(now)),
            Report::Placed(path) => expected(session, machine.handle_placed(now, path)),
            _ => {} // Handled by the caller.
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
        Violation::Mismatch(_) => "mismatch",
        Violation::Stream(_) => "stream",
        _ => "other",
    }
}
