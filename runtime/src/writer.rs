//! The disk side of one streaming session: a blocking worker that owns the partial payload.
//!
//! Order, per group: write, make durable, record, and only then report durable, which is what an acknowledgement may
//! say. A crash between any two loses work at most.

use std::sync::Arc;

use rpp_p2p::{Plan, SnapshotSessionId, VerifiedChunk};
use tokio::sync::mpsc;

use crate::{
    config::Durability,
    db::Db,
    hooks::{Watchers, Work},
    jobs::{Done, explain},
    record::Progress,
    store::{Offer, Partial, StoreError},
};

/// What the worker is asked to do, in this order.
pub(crate) enum Job {
    /// Write a verified chunk. Not durable yet.
    Write(VerifiedChunk),
    /// Make everything written durable, then record it.
    Sync,
    /// Put the complete payload in place.
    Place,
}

/// What the worker reports.
pub(crate) enum Report {
    /// Everything up to this chunk is written.
    Written(u64),
    /// So much is durable and recorded.
    Durable(Progress),
    /// The payload is in place.
    Placed(std::path::PathBuf),
    /// The disk has no room.
    Full {
        /// Bytes needed.
        needed: u64,
        /// Bytes there.
        free: u64,
    },
    /// The disk or the database failed.
    Failed(String),
}

/// A report and whose it is.
pub(crate) struct Reported {
    pub(crate) session: SnapshotSessionId,
    pub(crate) epoch: u64,
    pub(crate) report: Report,
}

/// What a worker needs.
pub(crate) struct Setting {
    pub(crate) session: SnapshotSessionId,
    pub(crate) epoch: u64,
    pub(crate) plan: Arc<Plan>,
    pub(crate) offer: Offer,
    pub(crate) durability: Durability,
    pub(crate) db: Db,
    pub(crate) reports: mpsc::Sender<Done>,
    pub(crate) watchers: Watchers,
}

/// The sending side. Dropping it ends the worker after the jobs it has.
pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
    /// Resolves when the worker has let go of the partial payload.
    pub(crate) ended: tokio::task::JoinHandle<()>,
}

impl Writer {
    /// Starts a worker. `queue` bounds its jobs; a session never has more chunks under way than its window.
    pub(crate) fn spawn(partial: Partial, setting: Setting, queue: usize) -> Self {
        let (jobs, received) = mpsc::channel(queue);
        let ended = tokio::task::spawn_blocking(move || Worker { partial: Some(partial), setting }.run(received));
        Self { jobs, ended }
    }

    /// Hands over a job; `false` when the queue is full or the worker is gone, which its session treats as a failure.
    pub(crate) fn send(&self, job: Job) -> bool {
        self.jobs.try_send(job).is_ok()
    }

    /// Jobs waiting.
    pub(crate) fn depth(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    /// Lets the worker finish what it has and go.
    pub(crate) fn close(self) -> tokio::task::JoinHandle<()> {
        self.ended
    }
}

struct Worker {
    partial: Option<Partial>,
    setting: Setting,
}

impl Worker {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let trouble = loop {
            let Some(job) = jobs.blocking_recv() else { break None };
            match self.execute(job) {
                // The report on the next one, or on a flush, says it too.
                Ok(Report::Written(_)) if !jobs.is_empty() => {}
                Ok(report) => {
                    if !self.report(report) {
                        return; // the node is gone
                    }
                }
                Err(trouble) => break Some(trouble),
            }
        };
        // What was written and not asked to be durable yet is kept when that costs nothing but a flush; it is told before
        // the trouble, which ends the counting.
        if let Ok(progress) = self.sync() {
            self.report(Report::Durable(progress));
        }
        let report = match trouble {
            None => return,
            Some(Trouble::Full { needed, free }) => Report::Full { needed, free },
            Some(Trouble::Other(message)) => Report::Failed(message),
        };
        self.partial = None; // whoever opens it next need not wait for the session to let go
        self.report(report);
        // Jobs that were on their way follow a chunk that was not written.
        while jobs.blocking_recv().is_some() {}
    }

    /// Whether there is still a node to be told.
    fn report(&self, report: Report) -> bool {
        let reported = Reported { session: self.setting.session, epoch: self.setting.epoch, report };
        self.setting.reports.blocking_send(Done::Disk(reported)).is_ok()
    }

    fn execute(&mut self, job: Job) -> Result<Report, Trouble> {
        let work = match &job {
            Job::Write(_) => Work::Write,
            Job::Sync => Work::Sync,
            Job::Place => Work::Place,
        };
        let _work = self.setting.watchers.work(work, self.setting.session);
        match job {
            Job::Write(chunk) => {
                self.partial()?.write(&chunk)?;
                Ok(Report::Written(chunk.index))
            }
            Job::Sync => self.sync().map(Report::Durable),
            Job::Place => {
                let partial = self.partial.take().ok_or_else(placed_already)?;
                let stored = partial.finish(self.setting.offer.clone())?;
                Ok(Report::Placed(stored.payload_path()))
            }
        }
    }

    fn sync(&mut self) -> Result<Progress, Trouble> {
        let durability = self.setting.durability;
        let bytes_durable = self.partial()?.sync(durability)?;
        let progress = Progress::of(&self.setting.plan, bytes_durable);
        self.setting.db.put_progress(self.setting.session, &progress).map_err(|e| Trouble::Other(explain(&e)))?;
        Ok(progress)
    }

    fn partial(&mut self) -> Result<&mut Partial, Trouble> {
        self.partial.as_mut().ok_or_else(placed_already)
    }
}

fn placed_already() -> Trouble {
    Trouble::Other("the payload is in place already".to_owned())
}

/// What keeps the disk from doing its part.
pub(crate) enum Trouble {
    Full { needed: u64, free: u64 },
    Other(String),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full { needed, free } => Self::Full { needed, free },
            other => Self::Other(explain(&other)),
        }
    }
}
