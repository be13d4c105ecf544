//! Drives the download of each session: carries out its actions.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::{PeerId, Swarm};
use rpp_p2p::{
    Exchange, Have, Plan, SnapshotSessionId, Update,
    consumer::{self, Action},
};

use super::{Manager, expected, heal::root, mirrors::Mirrors, tracked::trouble};
use crate::{
    discovery::Wish,
    peers::Peers,
    sessions::{
        authority::AuthorityCheck,
        record::SourceName,
        worker::{DiskJob, Job},
    },
    status::SessionState,
    swarm::{self, NodeBehaviour},
};

impl Manager {
    /// Lets every session do all it can do now.
    pub(crate) fn pump(&mut self, swarm: &mut Swarm<NodeBehaviour>, peers: &Peers, now: Instant) {
        self.workers.flush();
        loop {
            self.apply(now);
            for (peer, session) in std::mem::take(&mut self.retired) {
                self.links.remove(&session);
                swarm.behaviour_mut().snapshots.forget(peer, session);
            }
            let active: Vec<_> =
                self.sessions.iter().filter(|(_, tracked)| tracked.is_active()).map(|(session, _)| *session).collect();
            for session in active {
                self.drive(session, swarm, peers, now);
            }
            while let Some(session) = self.next_grant(now) {
                self.drive(session, swarm, peers, now);
            }
            if self.rules.is_idle() {
                return;
            }
        }
    }

    pub(super) fn next_action(&mut self, session: SnapshotSessionId, now: Instant) -> Option<Action> {
        self.sessions.get_mut(&session)?.machine.as_mut()?.poll_action(now)
    }

    /// Creates the machine of a session from its record.
    pub(super) fn begin(&mut self, session: SnapshotSessionId, now: Instant) {
        let options = self.options(session);
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        let (id, first) = (tracked.record.session, tracked.record.provider());
        tracked.mirrors = Mirrors::default();
        tracked.machine = Some(match (&tracked.record.plan, first) {
            (Some(plan), first) => {
                let saved = consumer::Saved {
                    plan: Arc::new(plan.clone()),
                    updates: std::mem::take(&mut tracked.updates),
                    confirmed_chunks: tracked.progress.confirmed_chunks,
                    confirmed_updates: tracked.progress.confirmed_updates,
                    durable: Have::prefix(
                        plan.snapshot.checkpoint.payload_bytes,
                        tracked.progress.confirmed_bytes(plan),
                    ),
                };
                match first {
                    Some(peer) => consumer::Session::restore(id, peer, options, saved, tracked.explicit.take(), now),
                    None => consumer::Session::restore_without_sources(id, options, saved, now),
                }
            }
            (None, Some(peer)) => consumer::Session::new(id, peer, options, now),
            (None, None) => consumer::Session::without_sources(id, options, now),
        });
        tracked.record.begin();
        self.add_recorded(session, now);
    }

    fn options(&self, session: SnapshotSessionId) -> consumer::Options {
        let snapshots = &self.config.snapshots;
        let wanted = self.sessions.get(&session).map(|tracked| tracked.record.wanted);
        let mut options = consumer::Options {
            ack_bytes: snapshots.ack_bytes,
            ack_interval: Duration::from_millis(snapshots.ack_ms),
            window: snapshots.window,
            give_up_after: (snapshots.give_up_after_s > 0).then(|| Duration::from_secs(snapshots.give_up_after_s)),
            ..consumer::Options::default()
        };
        if let Some(wanted) = wanted {
            options.wishes = wanted;
        }
        options
    }

    pub(super) fn perform(
        &mut self,
        session: SnapshotSessionId,
        action: Action,
        swarm: &mut Swarm<NodeBehaviour>,
        peers: &Peers,
        now: Instant,
    ) {
        match action {
            Action::Connect(peer) => self.connect(session, peer, swarm, peers, now),
            Action::Request(peer, exchange) => self.request(session, peer, exchange, swarm, now),
            Action::Grant(peer, grant) => swarm.behaviour_mut().snapshots.grant(peer, grant),
            Action::Close(peer, link) => {
                self.links.remove(&link);
                swarm.behaviour_mut().snapshots.forget(peer, link);
            }
            Action::Mirror(mirror, number, job) => self.read_mirror(session, (mirror, number), job, now),
            Action::PlanAccepted(plan) => self.accept(session, &plan),
            Action::VerifyAuthority { plan, updates } => self.verify(session, plan, updates),
            Action::OpenStorage { plan, updates } => {
                if let Some(tracked) = self.sessions.get_mut(&session) {
                    tracked.to_open = Some((plan, updates));
                    self.rules.open(session);
                }
            }
            Action::Write(chunk) => self.disk_job(session, DiskJob::Write(chunk)),
            Action::Sync => self.disk_job(session, DiskJob::Sync),
            Action::Repair(chunks) => self.disk_job(session, DiskJob::Repair(chunks)),
            Action::Place => self.disk_job(session, DiskJob::Place),
            other => tracing::error!(%session, "an action this node does not know: {other:?}"),
        }
    }

    fn accept(&mut self, session: SnapshotSessionId, plan: &Plan) {
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        if let Some(old) = tracked.record.plan.as_ref().filter(|old| old.chunk_size != plan.chunk_size) {
            // If the new plan has smaller chunks, the same bytes are more chunks.
            let confirmed = tracked.progress.confirmed_bytes(old);
            let same = Have::prefix(plan.snapshot.checkpoint.payload_bytes, confirmed);
            tracked.progress.confirmed_chunks = same.prefix_chunks(plan.chunk_size);
        }
        let source = tracked.machine.as_ref().and_then(consumer::Session::source);
        let source = source.and_then(|source| tracked.name_of(source)).map(|name| name.to_string());
        tracked.record.plan_source = source;
        tracked.record.plan = Some(plan.clone());
        self.rules.planned(session, plan.snapshot.checkpoint.state_root);
    }

    fn connect(
        &mut self,
        session: SnapshotSessionId,
        peer: PeerId,
        swarm: &mut Swarm<NodeBehaviour>,
        peers: &Peers,
        now: Instant,
    ) {
        if self.bar(session, &SourceName::Peer(peer), now) {
            return;
        }
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        let Some(machine) = &mut tracked.machine else { return };
        if swarm.is_connected(&peer) {
            machine.handle_connected(now, peer);
            return;
        }
        let mut operators = peers.addresses(&peer).to_vec();
        let mut told: Vec<_> = tracked.joined.addresses.get(&peer).into_iter().flatten().cloned().collect();
        let of_record = tracked.record.addresses_of(peer).iter().cloned();
        if tracked.record.has_found(peer) {
            told.extend(of_record);
        } else {
            operators.extend(of_record);
        }
        if let Err(error) = swarm::dial_told(swarm, peer, operators, told, Wish::Own) {
            machine.handle_dial_failed(now, peer, &error.to_string());
        }
    }

    fn request(
        &mut self,
        session: SnapshotSessionId,
        peer: PeerId,
        exchange: Exchange,
        swarm: &mut Swarm<NodeBehaviour>,
        now: Instant,
    ) {
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        let Some(machine) = &mut tracked.machine else { return };
        let behaviour = &mut swarm.behaviour_mut().snapshots;
        let sent = behaviour.request(peer, exchange);
        expected(session, machine.handle_sent(now, sent));
    }

    fn verify(&mut self, session: SnapshotSessionId, plan: Arc<Plan>, updates: Arc<Vec<Update>>) {
        let check = AuthorityCheck {
            session,
            epoch: self.rules.epoch(session),
            plan,
            updates,
            head: self.head_file.clone(),
            light: self.light.clone(),
            permits: Arc::clone(&self.proofs),
            done: self.done.clone(),
            watchers: self.watchers.clone(),
            writable: Arc::clone(&self.disk.writable),
        };
        tokio::spawn(check.run());
    }

    fn disk_job(&mut self, session: SnapshotSessionId, job: DiskJob) {
        let lane = self.sessions.get(&session).and_then(|tracked| root(&tracked.record));
        let epoch = self.rules.epoch(session);
        self.workers.send(lane, Job::Disk { session, epoch, job });
    }

    /// Called after a session did what it could. Records how it ended, and publishes changes.
    pub(super) fn settle(&mut self, session: SnapshotSessionId, now: Instant) {
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        if let Some(machine) = &tracked.machine
            && machine.state().is_final()
            && self.rules.is_active(session)
        {
            let view = machine.view();
            let trouble = view.failure.as_ref().and_then(|_| trouble(&view));
            let distrust = view.failure.as_ref().is_some_and(|failure| failure.distrust);
            let is_complete = view.state == SessionState::Complete;
            tracked.record.state = view.state;
            (tracked.record.error_code, tracked.record.error) = trouble.unzip();
            tracked.record.advice = view.failure.and(view.waiting).map(|wait| wait.reason);
            tracked.here.payload_path = view.payload_path;
            tracked.here.is_verified = is_complete;
            tracked.record.distrust = distrust;
            self.rules.ended(session, is_complete);
            return;
        }
        if !tracked.may_wait(now) {
            self.publish(session, now);
        }
    }
}
