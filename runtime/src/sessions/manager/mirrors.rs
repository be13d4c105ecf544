//! The mirrors of a session. Each job of a mirror is a task of its own.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Instant};

use rpp_p2p::{
    Rules, SnapshotSessionId, VerifiedChunk,
    consumer::{MirrorFailure, MirrorId, MirrorJob, MirrorJobId},
    error::Cause,
    mirror::MirrorPlan,
};
use tokio::{sync::mpsc, task::AbortHandle};

use super::{Manager, expected};
use crate::{
    bans::BanSource,
    sessions::{Done, plan_bounds, record::SourceName},
    sources::mirror::{MirrorReader, MirrorTrouble, MirrorUrl},
    status::FailureCode,
};

/// A report about a mirror's job.
pub(crate) enum MirrorTold {
    /// The plan from its manifest, checked against the rules.
    Plan(MirrorPlan),
    /// The next chunk of a read.
    Chunk(VerifiedChunk),
    /// The read is finished.
    Read,
    /// The job failed.
    Failed(MirrorFailure),
}

/// The mirrors of one session. Dropping this cancels the reads in flight.
#[derive(Default)]
pub(super) struct Mirrors {
    all: BTreeMap<MirrorId, ReadMirror>,
    next: u32,
}

struct ReadMirror {
    url: MirrorUrl,
    /// Created with the first job.
    reader: Option<Arc<MirrorReader>>,
    jobs: BTreeMap<MirrorJobId, AbortHandle>,
}

impl ReadMirror {
    fn give_up(&mut self) {
        std::mem::take(&mut self.jobs).into_values().for_each(|job| job.abort());
    }
}

impl Drop for ReadMirror {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Mirrors {
    pub(super) fn add(&mut self, url: &MirrorUrl) -> MirrorId {
        let id = MirrorId(self.next);
        self.next = self.next.wrapping_add(1);
        self.all.insert(id, ReadMirror { url: url.clone(), reader: None, jobs: BTreeMap::new() });
        id
    }

    pub(super) fn remove(&mut self, id: MirrorId) {
        self.all.remove(&id);
    }

    /// Replaces the URL of a mirror by one with other credentials. Both look the same in the status.
    pub(super) fn renew(&mut self, id: MirrorId, url: &MirrorUrl) {
        if let Some(mirror) = self.all.get_mut(&id) {
            mirror.give_up();
            (mirror.url, mirror.reader) = (url.clone(), None);
        }
    }

    /// Gives up the reads of a mirror. `shown`: its URL as the status shows it.
    pub(super) fn give_up(&mut self, shown: &str) -> Option<MirrorId> {
        let id = self.named(shown)?;
        self.all.get_mut(&id)?.give_up();
        Some(id)
    }

    pub(super) fn url(&self, id: MirrorId) -> Option<&MirrorUrl> {
        self.all.get(&id).map(|mirror| &mirror.url)
    }

    /// The mirror whose URL the status shows like this.
    pub(super) fn named(&self, shown: &str) -> Option<MirrorId> {
        self.all.iter().find(|(_, mirror)| mirror.url.to_string() == shown).map(|(id, _)| *id)
    }
}

impl Manager {
    /// Starts a job of a mirror.
    pub(super) fn read_mirror(
        &mut self,
        session: SnapshotSessionId,
        (id, number): (MirrorId, MirrorJobId),
        job: MirrorJob,
        now: Instant,
    ) {
        let epoch = self.rules.epoch(session);
        let shown = self.sessions.get(&session).and_then(|tracked| tracked.mirrors.url(id)).map(MirrorUrl::to_string);
        if shown.is_some_and(|shown| self.bar(session, &SourceName::Mirror(shown), now)) {
            return;
        }
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        let Some(mirror) = tracked.mirrors.all.get_mut(&id) else { return };
        if mirror.reader.is_none() {
            match MirrorReader::open(&mirror.url) {
                Ok(reader) => mirror.reader = Some(Arc::new(reader)),
                Err(trouble) => {
                    if let Some(machine) = &mut tracked.machine {
                        expected(session, machine.handle_mirror_failed(now, id, number, failure(trouble)));
                    }
                    return;
                }
            }
        }
        let (Some(reader), Some(trust)) = (mirror.reader.clone(), self.trust.clone()) else { return };
        let reading = Reading {
            session,
            epoch,
            mirror: id,
            job: number,
            rules: Rules { trust, bounds: plan_bounds(&self.config) },
            done: self.done.clone(),
        };
        mirror.jobs.insert(number, tokio::spawn(reading.run(reader, job)).abort_handle());
    }

    pub(super) fn on_mirror(
        &mut self,
        session: SnapshotSessionId,
        epoch: u64,
        (mirror, job): (MirrorId, MirrorJobId),
        told: MirrorTold,
        now: Instant,
    ) {
        if self.rules.epoch(session) != epoch {
            return;
        }
        if let Some(read) = self.sessions.get_mut(&session).and_then(|tracked| tracked.mirrors.all.get_mut(&mirror)) {
            match &told {
                MirrorTold::Chunk(_) => {}
                // The job was cancelled, so nobody waits for this late report.
                _ if read.jobs.remove(&job).is_none() => return,
                MirrorTold::Failed(_) => read.give_up(),
                MirrorTold::Plan(_) | MirrorTold::Read => {}
            }
        }
        if let MirrorTold::Failed(failed) = &told
            && let Some(url) = self.sessions.get(&session).and_then(|tracked| tracked.mirrors.url(mirror))
        {
            let reason = match failed {
                MirrorFailure::Passing { reason, .. } | MirrorFailure::Refused { reason, .. } => reason.to_string(),
                MirrorFailure::Lied(violation) => violation.to_string(),
                _ => "it failed".to_owned(),
            };
            tracing::warn!(%session, mirror = %url, "a mirror is no help: {reason}");
        }
        let Some(machine) = self.current(session, epoch) else { return };
        let result = match told {
            MirrorTold::Plan(plan) => machine.handle_mirror_plan(now, mirror, job, plan),
            MirrorTold::Chunk(chunk) => machine.handle_mirror_chunk(now, mirror, job, chunk),
            MirrorTold::Read => machine.handle_mirror_read(mirror, job),
            MirrorTold::Failed(failure) => machine.handle_mirror_failed(now, mirror, job, failure),
        };
        expected(session, result);
    }

    /// The source to ban if a mirror of this session sends false data.
    pub(super) fn origin_of(&self, session: SnapshotSessionId, mirror: MirrorId) -> Option<BanSource> {
        let url = self.sessions.get(&session)?.mirrors.url(mirror)?;
        Some(BanSource::Mirror(url.origin()))
    }
}

/// One job in progress.
struct Reading {
    session: SnapshotSessionId,
    epoch: u64,
    mirror: MirrorId,
    job: MirrorJobId,
    rules: Rules,
    done: mpsc::Sender<Done>,
}

impl Reading {
    async fn run(self, reader: Arc<MirrorReader>, job: MirrorJob) {
        let told = match job {
            MirrorJob::Plan { wishes, ahead } => self.plan(&reader, wishes, ahead).await,
            MirrorJob::Chunks { plan, chunks } => {
                let (read, mut verified) = mpsc::channel(1);
                let tell = async {
                    while let Some(chunk) = verified.recv().await {
                        self.tell(MirrorTold::Chunk(chunk)).await;
                    }
                };
                match tokio::join!(reader.send_chunks(&plan, chunks, read), tell).0 {
                    Ok(()) => MirrorTold::Read,
                    Err(trouble) => MirrorTold::Failed(failure(trouble)),
                }
            }
            _ => {
                let reason = Cause::told("this node does not know that job");
                MirrorTold::Failed(MirrorFailure::Refused { code: FailureCode::Provider, reason })
            }
        };
        self.tell(told).await;
    }

    async fn plan(&self, reader: &MirrorReader, wishes: rpp_p2p::PlanWishes, ahead: Range<u64>) -> MirrorTold {
        let (plan, updates) = match reader.plan_and_begin(&wishes, ahead).await {
            Ok(found) => found,
            Err(trouble) => return MirrorTold::Failed(failure(trouble)),
        };
        let rules = self.rules.clone();
        let checked = tokio::task::spawn_blocking(move || MirrorPlan::check(plan, updates, wishes, &rules)).await;
        match checked {
            Ok(Ok(plan)) => MirrorTold::Plan(plan),
            Ok(Err(violation)) => MirrorTold::Failed(MirrorFailure::Lied(violation)),
            Err(error) => {
                let reason = Cause::told(&format_args!("this node could not check its manifest: {error}"));
                MirrorTold::Failed(MirrorFailure::Passing { reason, retry_after: None })
            }
        }
    }

    async fn tell(&self, told: MirrorTold) {
        let (session, epoch, mirror) = (self.session, self.epoch, (self.mirror, self.job));
        // If the node is stopping, nobody receives this.
        let _ = self.done.send(Done::Mirror { session, epoch, mirror, told }).await;
    }
}

fn failure(trouble: MirrorTrouble) -> MirrorFailure {
    let code = match trouble {
        MirrorTrouble::Lied(violation) => return MirrorFailure::Lied(violation),
        MirrorTrouble::Access { .. } => FailureCode::Authentication,
        _ => FailureCode::Provider,
    };
    match (trouble.may_pass(), trouble.retry_after()) {
        (true, retry_after) => MirrorFailure::Passing { reason: Cause::new(trouble), retry_after },
        (false, _) => MirrorFailure::Refused { code, reason: Cause::new(trouble) },
    }
}
