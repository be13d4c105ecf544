//! The store worker of a root. It does all work on the files and records of the sessions of one payload, one job after
//! the other, on one blocking thread.
//!
//! The order for each group of chunks is: write, make durable, record, and only then report durable. An acknowledgement
//! may cover only what was reported durable. A removal goes the other way: first the data that would restore the
//! session, then the bytes. A crash between any two steps loses only work.
//!
//! A group is made durable and recorded on a thread of its own ([`Beside`]), while the worker writes chunks of the next
//! one. Everything else waits for it.
//!
//! Between jobs the worker hashes the bytes that were on disk before this process. When it finds a damaged chunk, it
//! pauses hashing until the chunk is repaired. While it hashes much at once, it goes on writing records, and it stops
//! if the session no longer wants the payload.
//!
//! This module decides the order of the steps; the [`Disk`] carries them out. So the simulation can run this worker on
//! a disk that may crash between any two of them.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use rpp_p2p::{Hash, Have, Plan, SnapshotSessionId, Update, VerifiedChunk};

use super::{
    record::{self, Progress},
    rules::Lane,
    trouble::{RecordError, RemoveError, Shared, Trouble},
};
use crate::{
    hooks::{Watchers, Work},
    store::{Found, StoreError},
};

/// A job for a worker. A worker does its jobs in order.
pub(crate) enum Job {
    /// Write a session's record. Report: [`Report::Recorded`].
    Record(Box<record::Session>),
    /// Open the payload. Report: [`Report::Opened`].
    Open(Box<Opening>),
    /// Do something with the open payload. Nothing happens if it was closed meanwhile.
    Disk { session: SnapshotSessionId, epoch: u64, job: DiskJob },
    /// Close the payload, if this session has it open. Report: [`Report::Closed`].
    Close(SnapshotSessionId),
    /// Remove a session's record, and the payload with it. Report: [`Report::Removed`].
    Remove { session: SnapshotSessionId, payload: bool },
    /// Turn a damaged payload into a partial one. Report: [`Report::Demoted`].
    Demote(SnapshotSessionId),
    /// A group is durable, or failed: see [`Beside::poll`].
    Synced,
}

/// A payload to open, and the session for which it is opened.
pub(crate) struct Opening {
    pub(crate) epoch: u64,
    pub(crate) record: record::Session,
    pub(crate) plan: Arc<Plan>,
    pub(crate) updates: Arc<Vec<Update>>,
    /// The progress in the database: nothing beyond it counts as durable before it is written again.
    pub(crate) before: Progress,
}

/// A job on an open payload.
pub(crate) enum DiskJob {
    /// Write a verified chunk. Not durable yet.
    Write(VerifiedChunk),
    /// Make everything written durable, then record it.
    Sync,
    /// Write chunks over damaged ones, and make them durable.
    Repair(Vec<VerifiedChunk>),
    /// Move the complete payload into the store.
    Place,
}

/// A report, and the session that it is about.
pub(crate) struct Reported {
    pub(crate) lane: Lane,
    pub(crate) session: SnapshotSessionId,
    /// The download's epoch; 0 in reports that belong to no download.
    pub(crate) epoch: u64,
    pub(crate) report: Report,
}

/// The reports of a worker.
pub(crate) enum Report {
    /// The record is durable, or not.
    Recorded(Result<(), RecordError>),
    /// The session is removed, or some of its files could not be removed.
    Removed(Result<(), Shared<RemoveError>>),
    /// Whether there was a payload to demote that nobody is fetching already.
    Demoted(Result<bool, StoreError>),
    /// Bytes that were hashed, of the bytes that must be hashed before the payload is open.
    Opening { checked: u64, there: u64 },
    /// The payload is open, or could not be opened.
    Opened(Result<Opened, Trouble>),
    /// This session no longer has the payload open.
    Closed,
    /// Everything up to this chunk is written.
    Written(u64),
    /// This much is durable and recorded.
    Durable {
        /// The recorded progress. Confirmed progress never falls.
        progress: Progress,
        /// The parts that are on the disk. They are less than what is confirmed if the partial payload was lost.
        durable: Have,
    },
    /// The bytes from before this process are hashed again up to `checked`; the chunks in `missing` do not match.
    Rechecked {
        /// The offset.
        checked: u64,
        /// Chunks that must be fetched again before hashing continues.
        missing: Vec<u64>,
    },
    /// The repaired chunks are written and durable.
    Repaired,
    /// The payload is in place.
    Placed(PathBuf),
    /// Something failed. The payload is closed.
    Trouble(Trouble),
}

/// The result of opening a payload. Everything in it is durable and recorded.
pub(crate) enum Opened {
    /// The payload is stored already, and this process has verified it.
    Stored { path: PathBuf, progress: Progress },
    /// The partial payload is open.
    Partial {
        progress: Progress,
        /// The parts that are durable.
        durable: Have,
        /// The parts of `durable` that are still to be hashed.
        unchecked: Have,
    },
}

/// What a [`Disk`] opened.
pub(crate) enum Place<P> {
    /// The payload is stored, and verified now.
    Stored(PathBuf),
    /// A partial payload. While this lives, it has no other writer.
    Partial(P),
}

/// The steps of a worker. The effect of each is durable when it returns, unless its comment says otherwise.
pub(crate) trait Disk: Clone + Send + 'static {
    /// An open partial payload.
    type Partial;

    /// Writes a session's record.
    fn record(&self, record: &record::Session) -> Result<(), RecordError>;

    /// Writes the progress of a session.
    fn record_progress(&self, session: SnapshotSessionId, progress: &Progress) -> Result<(), Trouble>;

    /// Removes the note from which the session would be restored if the database were lost.
    fn remove_note(&self, root: &Hash, session: SnapshotSessionId) -> Result<(), RemoveError>;

    /// Removes record and progress of a session, now or as soon as the database takes it.
    fn remove_record(&self, session: SnapshotSessionId);

    /// Removes a partial payload that no process has open.
    fn remove_payload(&self, root: &Hash) -> Result<(), RemoveError>;

    /// Turns a damaged payload into a partial one. Returns `false` if there is none, or if somebody is fetching it
    /// already.
    fn demote(&self, root: &Hash) -> Result<bool, StoreError>;

    /// Opens the payload of `opening`. `watch` is told how far hashing is, and returns whether to go on.
    fn open(&self, opening: &Opening, watch: &mut dyn FnMut(Found) -> bool) -> Result<Place<Self::Partial>, Trouble>;

    /// Writes the note beside the payload that says to which session it belongs.
    fn write_note(&self, opening: &Opening) -> Result<(), Trouble>;

    /// The durable parts, wherever they are in the payload.
    fn durable(&self, partial: &Self::Partial) -> Have;

    /// The durable parts that this process has not hashed yet.
    fn unchecked(&self, partial: &Self::Partial) -> Have;

    /// Writes a chunk. It is not durable yet.
    fn write(&self, partial: &mut Self::Partial, chunk: &VerifiedChunk) -> Result<(), Trouble>;

    /// What makes everything durable that is written now, and returns all durable parts. It may run on another thread
    /// while chunks are written; until it has ended, nothing else is done with the partial payload.
    fn group(&self, partial: &mut Self::Partial) -> Result<MakeDurable, Trouble>;

    /// Told what [`Self::group`] made durable.
    fn synced(&self, partial: &mut Self::Partial, durable: Have);

    /// Told when a group of the payload is durable, which shows that the payload can be written.
    fn works(&self) {}

    /// Hashes the next part of the bytes from before this process. Returns its damaged chunks.
    fn recheck(&self, partial: &mut Self::Partial) -> Result<Vec<u64>, Trouble>;

    /// Writes chunks over damaged ones.
    fn repair(&self, partial: &mut Self::Partial, chunks: &[VerifiedChunk]) -> Result<(), Trouble>;

    /// Moves a complete payload into the store, with the offer of this plan.
    fn place(&self, partial: Self::Partial, plan: &Plan, updates: &[Update]) -> Result<PathBuf, Trouble>;
}

/// What makes a group durable.
pub(crate) type MakeDurable = Box<dyn FnOnce() -> Result<Have, Trouble> + Send>;

/// The progress that was recorded, and the parts of the payload that are durable.
pub(crate) type Synced = Result<(Progress, Have), Trouble>;

/// What makes a group durable, and records it.
pub(crate) type GroupSync = Box<dyn FnOnce() -> Synced + Send>;

/// Makes groups durable beside the worker, one at a time.
pub(crate) trait Beside: Send {
    /// Begins. Nothing else is in progress.
    fn start(&mut self, sync: GroupSync);

    /// The result, if there is one. When it comes later, the worker gets [`Job::Synced`] unless other jobs wait.
    /// `is_idle`: the worker has nothing else to do.
    fn poll(&mut self, is_idle: bool) -> Option<Synced>;

    /// Waits for the result of what was begun.
    fn wait(&mut self) -> Synced;
}

/// The source of jobs.
pub(crate) trait Jobs {
    /// The next job, if there is one now.
    fn next(&mut self) -> Next;

    /// Whether there is no further job now.
    fn is_empty(&self) -> bool;
}

/// The result of [`Jobs::next`].
pub(crate) enum Next {
    Job(Job),
    Nothing,
    /// No more jobs will come.
    Ended,
}

/// Sends a report to the node's task. Returns `false` if that task has ended.
pub(crate) type Tell = Box<dyn FnMut(Reported) -> bool + Send>;

/// One worker.
pub(crate) struct Worker<D: Disk> {
    desk: Desk<D>,
    beside: Box<dyn Beside>,
    open: Option<Open<D::Partial>>,
}

/// Everything that a worker uses except the open payload.
struct Desk<D> {
    lane: Lane,
    disk: D,
    watchers: Watchers,
    tell: Tell,
    /// Jobs that were taken while another one was in progress: at most one record and one removal of each session.
    ahead: VecDeque<Job>,
}

/// An open payload.
struct Open<P> {
    session: SnapshotSessionId,
    epoch: u64,
    plan: Arc<Plan>,
    updates: Arc<Vec<Update>>,
    /// The progress confirmed before this opening. Confirmed progress never falls.
    before: Progress,
    /// `None` once the payload is in place.
    partial: Option<P>,
    recheck: Recheck,
    /// The last written chunk, if it was not reported yet.
    untold: Option<u64>,
    /// Whether something was written since the last group was formed, or that group was not made durable.
    is_behind: bool,
    /// Whether a group is being made durable.
    is_syncing: bool,
}

/// The progress of hashing the bytes from before this process.
struct Recheck {
    /// Whether there is something left to hash.
    is_left: bool,
    /// Whether a damaged chunk was found that is not repaired yet.
    waits: bool,
    /// When progress was last reported.
    told: Instant,
}

/// The least time between two reports of progress.
const TOLD: Duration = Duration::from_millis(50);

impl<D: Disk> Worker<D> {
    /// A worker with nothing open.
    pub(crate) fn new(lane: Lane, disk: D, beside: Box<dyn Beside>, watchers: Watchers, tell: Tell) -> Self {
        Self { desk: Desk { lane, disk, watchers, tell, ahead: VecDeque::new() }, beside, open: None }
    }

    /// Does one job, or one step of hashing. Returns `false` if there was nothing to do.
    pub(crate) fn step(&mut self, jobs: &mut impl Jobs) -> bool {
        let next = self.desk.ahead.pop_front().map_or_else(|| jobs.next(), Next::Job);
        // The next job may be about something other than chunks, so the written chunks are reported first.
        if !matches!(next, Next::Job(Job::Disk { .. })) {
            self.tell_written();
        }
        match next {
            Next::Job(job) => self.take(job, jobs),
            Next::Nothing if self.poll_sync(true) => {}
            Next::Nothing if self.open.as_ref().is_some_and(Open::may_recheck) => self.recheck(),
            Next::Nothing | Next::Ended => return false,
        }
        true
    }

    /// Does a job.
    pub(crate) fn take(&mut self, job: Job, jobs: &mut impl Jobs) {
        self.poll_sync(false);
        match job {
            Job::Synced => {}
            Job::Record(record) => self.desk.record(&record),
            Job::Open(opening) => {
                self.close();
                self.open(*opening, jobs);
            }
            Job::Disk { session, epoch, job } => {
                let is_open = |open: &Open<_>| (open.session, open.epoch) == (session, epoch);
                if self.open.as_ref().is_some_and(is_open) {
                    self.disk_job(job, jobs);
                }
            }
            Job::Close(session) => {
                if self.open.as_ref().is_some_and(|open| open.session == session) {
                    self.close();
                }
                self.desk.tell(session, 0, Report::Closed);
            }
            Job::Remove { session, payload } => self.remove(session, payload),
            Job::Demote(session) => {
                let demoted = self.desk.lane.map_or(Ok(false), |root| self.desk.disk.demote(&root));
                self.desk.tell(session, 0, Report::Demoted(demoted));
            }
        }
    }

    fn open(&mut self, opening: Opening, jobs: &mut impl Jobs) {
        let (session, epoch) = (opening.record.session, opening.epoch);
        let desk = &mut self.desk;
        let work = desk.watchers.work(Work::Open, session);
        let opened = guarded(|| desk.open(&opening, jobs));
        drop(work);
        let report = opened.map(|place| {
            let Opening { plan, updates, before, .. } = opening;
            match place {
                (Place::Stored(path), progress) => Opened::Stored { path, progress },
                (Place::Partial(partial), progress) => {
                    let unchecked = self.desk.disk.unchecked(&partial);
                    let durable = self.desk.disk.durable(&partial);
                    let recheck = Recheck { is_left: unchecked.bytes() > 0, waits: false, told: Instant::now() };
                    let before = progress.after(&before);
                    let partial = Some(partial);
                    self.open = Some(Open {
                        session,
                        epoch,
                        plan,
                        updates,
                        before,
                        partial,
                        recheck,
                        untold: None,
                        is_behind: false,
                        is_syncing: false,
                    });
                    Opened::Partial { progress, durable, unchecked }
                }
            }
        });
        self.desk.tell(session, epoch, Report::Opened(report));
    }

    fn disk_job(&mut self, job: DiskJob, jobs: &impl Jobs) {
        if !matches!(job, DiskJob::Write(_)) {
            self.tell_written();
            self.finish_sync();
        }
        match job {
            DiskJob::Write(chunk) => self.execute(Work::Write, jobs, |open, disk| open.write(&chunk, disk)),
            DiskJob::Sync => self.start_sync(),
            DiskJob::Repair(chunks) => self.execute(Work::Sync, jobs, |open, disk| open.repair(&chunks, disk)),
            DiskJob::Place => self.execute(Work::Place, jobs, Open::place),
        }
    }

    /// Does one step on the open payload, and reports it.
    fn execute(
        &mut self,
        kind: Work,
        jobs: &impl Jobs,
        step: impl FnOnce(&mut Open<D::Partial>, &D) -> Result<Report, Trouble>,
    ) {
        let Some(open) = &mut self.open else { return };
        let work = self.desk.watchers.work(kind, open.session);
        let done = guarded(|| step(open, &self.desk.disk));
        drop(work);
        match done {
            // The report about the next chunk will include this one.
            Ok(Report::Written(index)) if !(self.desk.ahead.is_empty() && jobs.is_empty()) => {
                open.untold = Some(index);
            }
            Ok(report) => {
                open.untold = None;
                self.desk.tell(open.session, open.epoch, report);
            }
            Err(trouble) => {
                // If the flush failed, that is why nothing can be written.
                self.finish_sync();
                self.trouble(trouble);
            }
        }
    }

    /// Begins to make everything durable that is written now, and to record it.
    fn start_sync(&mut self) {
        let Some(open) = &mut self.open else { return };
        let disk = &self.desk.disk;
        match open.group(disk) {
            Ok(sync) => {
                let work = self.desk.watchers.work(Work::Sync, open.session);
                (open.is_syncing, open.is_behind) = (true, false);
                self.beside.start(Box::new(move || {
                    let _work = work;
                    guarded(sync)
                }));
            }
            Err(trouble) => self.trouble(trouble),
        }
    }

    /// Takes the result of the group that is being made durable, if there is one.
    fn poll_sync(&mut self, is_idle: bool) -> bool {
        if !self.open.as_ref().is_some_and(|open| open.is_syncing) {
            return false;
        }
        let Some(synced) = self.beside.poll(is_idle) else { return false };
        self.end_sync(synced);
        true
    }

    /// Waits for the group that is being made durable. If that failed, the payload is closed afterwards.
    fn finish_sync(&mut self) {
        if self.open.as_ref().is_some_and(|open| open.is_syncing) {
            let synced = self.beside.wait();
            self.end_sync(synced);
        }
    }

    fn end_sync(&mut self, synced: Synced) {
        let Some(open) = &mut self.open else { return };
        match open.end_sync(&self.desk.disk, synced) {
            Ok(durable) => {
                // A sync after a failure does not count: it only makes earlier writes durable.
                self.desk.disk.works();
                self.desk.tell(open.session, open.epoch, durable);
                // A busy worker does a step of hashing now and then as well.
                self.recheck();
            }
            Err(trouble) => self.trouble(trouble),
        }
    }

    /// Reports the chunks that were written and not reported yet.
    fn tell_written(&mut self) {
        if let Some(open) = &mut self.open
            && let Some(index) = open.untold.take()
        {
            self.desk.tell(open.session, open.epoch, Report::Written(index));
        }
    }

    /// Hashes one step of the bytes from before this process, and reports the progress now and then.
    fn recheck(&mut self) {
        let Some(open) = self.open.as_mut().filter(|open| open.may_recheck()) else { return };
        let _work = self.desk.watchers.work(Work::Recheck, open.session);
        match open.recheck(&self.desk.disk) {
            Ok(None) => {}
            Ok(Some(report)) => self.desk.tell(open.session, open.epoch, report),
            Err(trouble) => self.trouble(trouble),
        }
    }

    /// Closes the payload, so that whoever opens it next need not wait for this session to release it.
    fn trouble(&mut self, trouble: Trouble) {
        let Some(open) = &self.open else { return };
        let (session, epoch) = (open.session, open.epoch);
        self.close();
        self.desk.tell(session, epoch, Report::Trouble(trouble));
    }

    /// Keeps chunks that were written but not synced, because that costs only a flush.
    pub(crate) fn close(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        if open.is_syncing
            && let Ok(durable) = open.end_sync(&self.desk.disk, self.beside.wait())
        {
            self.desk.tell(open.session, open.epoch, durable);
        }
        if open.partial.is_some()
            && open.is_behind
            && let Ok(durable) = guarded(|| open.sync(&self.desk.disk))
        {
            self.desk.tell(open.session, open.epoch, durable);
        }
    }

    fn remove(&mut self, session: SnapshotSessionId, payload: bool) {
        // Removing the payload also closes it for another session that is being removed; no other session needs it
        // then.
        if let Some(mut open) = self.open.take_if(|open| payload || open.session == session) {
            if open.is_syncing {
                let _ = open.end_sync(&self.desk.disk, self.beside.wait());
            }
            if !payload && open.is_behind {
                // Another session needs the bytes.
                let _ = guarded(|| open.make_durable(&self.desk.disk));
            }
        }
        let removed = self.desk.forget(session).and_then(|()| match self.desk.lane {
            Some(root) if payload => self.desk.disk.remove_payload(&root),
            _ => Ok(()),
        });
        self.desk.tell(session, 0, Report::Removed(removed.map_err(Shared::new)));
    }
}

impl<D: Disk> Desk<D> {
    fn tell(&mut self, session: SnapshotSessionId, epoch: u64, report: Report) {
        // If the node has ended, nobody receives this.
        let _ = (self.tell)(Reported { lane: self.lane, session, epoch, report });
    }

    fn record(&mut self, record: &record::Session) {
        let _work = self.watchers.work(Work::Record, record.session);
        let recorded = self.disk.record(record);
        self.tell(record.session, 0, Report::Recorded(recorded));
    }

    /// Removes the note that would restore the session, then its record; both go before the bytes. If a crash leaves
    /// the bytes, a later session uses them.
    fn forget(&mut self, session: SnapshotSessionId) -> Result<(), RemoveError> {
        let _work = self.watchers.work(Work::Record, session);
        if let Some(root) = &self.lane {
            self.disk.remove_note(root, session)?;
        }
        self.disk.remove_record(session);
        Ok(())
    }

    /// Returns only after the plan, updates and progress are recorded. If the session no longer wants the payload,
    /// nothing is left that would restore it.
    fn open(&mut self, opening: &Opening, jobs: &mut impl Jobs) -> Result<(Place<D::Partial>, Progress), Trouble> {
        let (session, epoch) = (opening.record.session, opening.epoch);
        let mut is_wanted = !self.ahead.iter().any(|job| job.ends(session));
        let mut told = None::<Instant>;
        // The closure borrows every field of the desk except the disk.
        let Self { lane, disk, watchers, tell, ahead } = self;
        let mut attend = |found: Option<Found>| {
            is_wanted = is_wanted && attend(*lane, disk, watchers, tell, ahead, jobs, session);
            let Some(found) = found.filter(|_| is_wanted) else { return is_wanted };
            if told.is_none_or(|told| told.elapsed() >= TOLD) {
                told = Some(Instant::now());
                let report = Report::Opening { checked: found.checked, there: found.there };
                let _ = tell(Reported { lane: *lane, session, epoch, report });
            }
            true
        };
        let place = disk.open(opening, &mut |found| attend(Some(found)))?;
        if !attend(None) {
            return Err(Trouble::Cancelled);
        }
        let durable = match &place {
            Place::Stored(_) => Progress::complete(&opening.plan),
            Place::Partial(partial) => {
                disk.write_note(opening)?;
                Progress::of(&opening.plan, &disk.durable(partial)).after(&opening.before)
            }
        };
        disk.record_progress(session, &durable)?;
        Ok((place, durable))
    }
}

/// Handles jobs that cannot wait until the payload is open: records, and removals of other sessions. Returns whether
/// the session still wants the payload.
fn attend<D: Disk>(
    lane: Lane,
    disk: &D,
    watchers: &Watchers,
    tell: &mut Tell,
    ahead: &mut VecDeque<Job>,
    jobs: &mut impl Jobs,
    session: SnapshotSessionId,
) -> bool {
    loop {
        match jobs.next() {
            Next::Job(Job::Record(record)) => {
                let _work = watchers.work(Work::Record, record.session);
                let report = Report::Recorded(disk.record(&record));
                let _ = tell(Reported { lane, session: record.session, epoch: 0, report });
            }
            Next::Job(job) => {
                let is_over = job.ends(session);
                ahead.push_back(job);
                if is_over {
                    return false;
                }
            }
            Next::Nothing => return true,
            Next::Ended => return false,
        }
    }
}

impl Job {
    /// Whether this session no longer wants the payload open.
    fn ends(&self, session: SnapshotSessionId) -> bool {
        matches!(self, Self::Close(other) | Self::Remove { session: other, .. } if *other == session)
    }
}

impl<P> Open<P> {
    fn write<D: Disk<Partial = P>>(&mut self, chunk: &VerifiedChunk, disk: &D) -> Result<Report, Trouble> {
        let partial = self.partial.as_mut().ok_or(Trouble::PlacedAlready)?;
        self.is_behind = true;
        disk.write(partial, chunk)?;
        Ok(Report::Written(chunk.index))
    }

    fn repair<D: Disk<Partial = P>>(&mut self, chunks: &[VerifiedChunk], disk: &D) -> Result<Report, Trouble> {
        let partial = self.partial.as_mut().ok_or(Trouble::PlacedAlready)?;
        disk.repair(partial, chunks)?;
        self.recheck.waits = false;
        Ok(Report::Repaired)
    }

    fn place<D: Disk<Partial = P>>(&mut self, disk: &D) -> Result<Report, Trouble> {
        let partial = self.partial.take().ok_or(Trouble::PlacedAlready)?;
        self.recheck.is_left = false;
        disk.place(partial, &self.plan, &self.updates).map(Report::Placed)
    }

    /// Makes the data durable, records it, and only then reports it.
    fn sync<D: Disk<Partial = P>>(&mut self, disk: &D) -> Result<Report, Trouble> {
        let synced = self.group(disk)?();
        self.end_sync(disk, synced)
    }

    /// Makes the data durable without recording it.
    fn make_durable<D: Disk<Partial = P>>(&mut self, disk: &D) -> Result<(), Trouble> {
        let Some(partial) = &mut self.partial else { return Ok(()) };
        let durable = disk.group(partial)?()?;
        disk.synced(partial, durable);
        Ok(())
    }

    /// What makes everything durable that is written now, and then records it.
    fn group<D: Disk<Partial = P>>(&mut self, disk: &D) -> Result<GroupSync, Trouble> {
        let partial = self.partial.as_mut().ok_or(Trouble::PlacedAlready)?;
        let make_durable = guarded(|| disk.group(partial))?;
        let (disk, session, plan, before) = (disk.clone(), self.session, Arc::clone(&self.plan), self.before);
        Ok(Box::new(move || {
            let durable = make_durable()?;
            let progress = Progress::of(&plan, &durable).after(&before);
            disk.record_progress(session, &progress)?;
            Ok((progress, durable))
        }))
    }

    fn end_sync<D: Disk<Partial = P>>(&mut self, disk: &D, synced: Synced) -> Result<Report, Trouble> {
        let was_syncing = std::mem::take(&mut self.is_syncing);
        match synced {
            Ok((progress, durable)) => {
                // What was written beside it belongs to the next group.
                self.is_behind &= was_syncing;
                if let Some(partial) = &mut self.partial {
                    disk.synced(partial, durable.clone());
                }
                Ok(Report::Durable { progress, durable })
            }
            Err(trouble) => {
                self.is_behind = true;
                Err(trouble)
            }
        }
    }

    /// Whether bytes from before this process may be hashed now.
    fn may_recheck(&self) -> bool {
        self.recheck.is_due() && !self.is_syncing
    }

    fn recheck<D: Disk<Partial = P>>(&mut self, disk: &D) -> Result<Option<Report>, Trouble> {
        let partial = self.partial.as_mut().ok_or(Trouble::PlacedAlready)?;
        let missing = disk.recheck(partial)?;
        let left = disk.unchecked(partial);
        // This is everything before the first byte that is left to hash.
        let checked = left.byte_ranges().next().map_or(left.payload_bytes(), |range| range.start);
        let is_done = left.bytes() == 0;
        self.recheck.waits = !missing.is_empty();
        let is_told = is_done || self.recheck.waits || self.recheck.told.elapsed() >= TOLD;
        if is_done {
            self.recheck.is_left = false;
        }
        if !is_told {
            return Ok(None);
        }
        self.recheck.told = Instant::now();
        Ok(Some(Report::Rechecked { checked, missing }))
    }
}

impl Recheck {
    fn is_due(&self) -> bool {
        self.is_left && !self.waits
    }
}

/// Catches a panic of the store. It must not end the worker, because others wait for its answers.
fn guarded<T>(work: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Trouble::Unforeseen))
}
