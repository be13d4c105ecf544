//! The disk side of one streaming session: a blocking worker that owns the partial payload.
//!
//! The order for each group is: write, make durable, record, and only then report durable, which is what an
//! acknowledgement may cover. A crash between any two loses only work.
//!
//! Between jobs it hashes what was on the disk before this process. When it finds a damaged chunk it pauses until that
//! is repaired.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rpp_p2p::{Plan, SnapshotSessionId, VerifiedChunk};
use tokio::sync::mpsc;

use crate::{
    config::Durability,
    db::{Db, DbError},
    hooks::{Watchers, Work},
    jobs::{Done, explain},
    record::Progress,
    store::{Offer, Partial, StoreError},
    writable::{Part, Writable},
};

/// The jobs of the worker, in this order.
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

/// The reports of the worker.
pub(crate) enum Report {
    /// Everything up to this chunk is written.
    Written(u64),
    /// So much is durable and recorded.
    Durable {
        /// As recorded: what was confirmed once never falls.
        progress: Progress,
        /// Chunks that are there, from the first on: fewer than are confirmed when the partial payload was lost.
        chunks: u64,
    },
    /// So many bytes from before this process are hashed again; these chunks of them do not match.
    Rechecked {
        /// Bytes from the beginning.
        checked: u64,
        /// To be fetched again before it continues.
        missing: Vec<u64>,
    },
    /// The repaired chunks are written and durable.
    Repaired,
    /// The payload is in place.
    Placed(std::path::PathBuf),
    /// The disk is full.
    Full {
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// A file of this node cannot be written now; says which, and what to do.
    Unwritable(String),
    /// The disk failed.
    Failed(String),
}

/// A report and its session.
pub(crate) struct Reported {
    pub(crate) session: SnapshotSessionId,
    pub(crate) epoch: u64,
    pub(crate) report: Report,
}

/// The surroundings of a worker.
pub(crate) struct WriterContext {
    pub(crate) session: SnapshotSessionId,
    pub(crate) epoch: u64,
    pub(crate) plan: Arc<Plan>,
    pub(crate) offer: Offer,
    /// The progress confirmed before, which never falls.
    pub(crate) before: Progress,
    pub(crate) durability: Durability,
    pub(crate) db: Db,
    pub(crate) reports: mpsc::Sender<Done>,
    pub(crate) watchers: Watchers,
    pub(crate) writable: Arc<Writable>,
}

/// The sending side. Dropping it ends the worker after its queued jobs.
pub(crate) struct Writer {
    jobs: mpsc::Sender<DiskJob>,
    /// Resolves when the worker has released the partial payload.
    pub(crate) ended: tokio::task::JoinHandle<()>,
}

impl Writer {
    /// Starts a worker. `queue` bounds its jobs; a session never has more chunks in flight than its window.
    pub(crate) fn spawn(partial: Partial, setting: WriterContext, queue: usize) -> Self {
        let (jobs, received) = mpsc::channel(queue);
        let recheck = Recheck { end: partial.unchecked_bytes(), waits: false, told: Instant::now() };
        let ended = tokio::task::spawn_blocking(move || {
            Worker { partial: Some(partial), setting, recheck, untold: None }.run(received)
        });
        Self { jobs, ended }
    }

    /// Queues a job; `false` if the queue is full or the worker has ended, which its session treats as a failure.
    pub(crate) fn send(&self, job: DiskJob) -> bool {
        self.jobs.try_send(job).is_ok()
    }

    /// The number of queued jobs.
    pub(crate) fn depth(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    /// Lets the worker finish its queued jobs and end.
    pub(crate) fn close(self) -> tokio::task::JoinHandle<()> {
        self.ended
    }
}

struct Worker {
    partial: Option<Partial>,
    setting: WriterContext,
    recheck: Recheck,
    /// The last written chunk, if that was not reported yet.
    untold: Option<u64>,
}

/// The progress of hashing what was there before.
struct Recheck {
    /// Bytes to hash; 0 when it is done.
    end: u64,
    /// A damaged chunk was found and is not repaired yet.
    waits: bool,
    /// When progress was last reported.
    told: Instant,
}

/// The least time between two reports of progress.
const RECHECK_TOLD: Duration = Duration::from_millis(50);

impl Worker {
    fn run(mut self, mut jobs: mpsc::Receiver<DiskJob>) {
        let trouble = loop {
            let job = match self.next(&mut jobs) {
                Ok(Some(job)) => job,
                Ok(None) => break None,
                Err(trouble) => break Some(trouble),
            };
            let is_sync = matches!(job, DiskJob::Sync);
            match self.execute(job) {
                // The report on the next one includes it.
                Ok(Report::Written(index)) if !jobs.is_empty() => self.untold = Some(index),
                Ok(report) => {
                    if let Some(index) = self.untold.take()
                        && !matches!(report, Report::Written(_))
                    {
                        self.report(Report::Written(index));
                    }
                    if !self.report(report) {
                        return; // The node has ended.
                    }
                }
                Err(trouble) => break Some(trouble),
            }
            // Even when it is busy, it does a step now and then.
            if is_sync && let Err(trouble) = self.recheck_on() {
                break Some(trouble);
            }
        };
        // Chunks that were written but not synced are kept if that costs only a flush. This is reported before the
        // failure, which ends the counting.
        if let Ok(durable) = self.sync() {
            self.report(durable);
        }
        let report = match trouble {
            None => return,
            Some(Trouble::Full { needed, free }) => Report::Full { needed, free },
            Some(Trouble::Unwritable(message)) => Report::Unwritable(message),
            Some(Trouble::Other(message)) => Report::Failed(message),
        };
        self.partial = None; // Whoever opens it next need not wait for the session to release it.
        self.report(report);
        // Jobs that were still queued follow a chunk that was not written.
        while jobs.blocking_recv().is_some() {}
    }

    /// The next job. Until there is one, it hashes what was there before. `None` if there will be no more.
    fn next(&mut self, jobs: &mut mpsc::Receiver<DiskJob>) -> Result<Option<DiskJob>, Trouble> {
        while self.recheck.end > 0 && !self.recheck.waits {
            match jobs.try_recv() {
                Ok(job) => return Ok(Some(job)),
                Err(mpsc::error::TryRecvError::Disconnected) => return Ok(None),
                Err(mpsc::error::TryRecvError::Empty) => self.recheck_on()?,
            }
        }
        Ok(jobs.blocking_recv())
    }

    /// Hashes one step of what was there before, and reports that now and then.
    fn recheck_on(&mut self) -> Result<(), Trouble> {
        if self.recheck.end == 0 || self.recheck.waits {
            return Ok(());
        }
        let _work = self.setting.watchers.work(Work::Recheck, self.setting.session);
        let missing = self.partial()?.recheck();
        let missing = self.stored(missing)?;
        let left = self.partial()?.unchecked_bytes();
        let checked = self.recheck.end - left;
        self.recheck.waits = !missing.is_empty();
        if left == 0 || self.recheck.waits || self.recheck.told.elapsed() >= RECHECK_TOLD {
            self.recheck.told = Instant::now();
            self.report(Report::Rechecked { checked, missing });
        }
        if left == 0 {
            self.recheck.end = 0;
        }
        Ok(())
    }

    /// Whether the node still receives reports.
    fn report(&self, report: Report) -> bool {
        let reported = Reported { session: self.setting.session, epoch: self.setting.epoch, report };
        self.setting.reports.blocking_send(Done::Disk(reported)).is_ok()
    }

    fn execute(&mut self, job: DiskJob) -> Result<Report, Trouble> {
        let work = match &job {
            DiskJob::Write(_) => Work::Write,
            DiskJob::Sync | DiskJob::Repair(_) => Work::Sync,
            DiskJob::Place => Work::Place,
        };
        let _work = self.setting.watchers.work(work, self.setting.session);
        match job {
            DiskJob::Write(chunk) => {
                let written = self.partial()?.write(&chunk);
                self.stored(written)?;
                Ok(Report::Written(chunk.index))
            }
            DiskJob::Sync => {
                let durable = self.sync()?;
                self.setting.writable.works(Part::Store);
                Ok(durable)
            }
            DiskJob::Repair(chunks) => {
                let repaired = self.partial()?.repair(&chunks);
                self.stored(repaired)?;
                self.setting.writable.works(Part::Store);
                self.recheck.waits = false;
                Ok(Report::Repaired)
            }
            DiskJob::Place => {
                let partial = self.partial.take().ok_or_else(placed_already)?;
                let finished = partial.finish(self.setting.offer.clone());
                let stored = self.stored(finished)?;
                self.setting.writable.works(Part::Store);
                // At once, unless another process had stored the same payload.
                stored.verify(&mut |_| true)?;
                Ok(Report::Placed(stored.payload_path()))
            }
        }
    }

    /// What the store said; that it cannot write is said by the node as well.
    fn stored<T>(&self, result: Result<T, StoreError>) -> Result<T, Trouble> {
        result.map_err(|error| {
            self.setting.writable.store_failed(&error);
            error.into()
        })
    }

    fn sync(&mut self) -> Result<Report, Trouble> {
        let durability = self.setting.durability;
        let synced = self.partial()?.sync(durability);
        let there = Progress::of(&self.setting.plan, self.stored(synced)?);
        let progress = there.after(&self.setting.before);
        self.setting.db.put_progress(self.setting.session, &progress)?;
        Ok(Report::Durable { progress, chunks: there.confirmed_chunks })
    }

    fn partial(&mut self) -> Result<&mut Partial, Trouble> {
        self.partial.as_mut().ok_or_else(placed_already)
    }
}

fn placed_already() -> Trouble {
    Trouble::Other("the payload is in place already".to_owned())
}

/// Why the disk could not do its part.
pub(crate) enum Trouble {
    /// The payload does not fit.
    Full {
        needed: u64,
        free: u64,
    },
    /// A file of this node cannot be written now: what happened, to which file, and what to do. The session pauses.
    Unwritable(String),
    Other(String),
}

/// The operator's message about a write that is tried again.
pub(crate) fn unwritable(error: &dyn std::error::Error) -> String {
    format!("{}: make room or mend the disk, and it goes on by itself", explain(error))
}

impl From<DbError> for Trouble {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Encode(_) => Self::Other(explain(&error)),
            _ => Self::Unwritable(unwritable(&error)),
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full { path: None, needed, free } => Self::Full { needed, free },
            StoreError::Full { .. } => {
                Self::Unwritable(format!("the disk is full: {error}; make room, and the session goes on by itself"))
            }
            StoreError::Note { .. } => Self::Unwritable(unwritable(&error)),
            other => Self::Other(explain(&other)),
        }
    }
}
