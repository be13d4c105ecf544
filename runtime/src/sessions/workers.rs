//! The running store workers, by root. The rules decide when one is needed, and when it is idle and can be dismissed.

use std::collections::{HashMap, VecDeque};

use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    Done,
    beside::SyncThread,
    disk::FileDisk,
    rules::Lane,
    worker::{Job, Jobs, Next, Report, Worker},
};
use crate::{hooks::Watchers, limits::STORE_QUEUE};

/// All of them.
pub(crate) struct Workers {
    disk: FileDisk,
    watchers: Watchers,
    done: mpsc::Sender<Done>,
    running: HashMap<Lane, Handle>,
    /// Workers that were dismissed but whose threads have not ended yet.
    leaving: Vec<JoinHandle<()>>,
}

struct Handle {
    jobs: mpsc::Sender<Job>,
    /// Jobs that did not fit into the queue, in order: at most a window's chunks, and one record and one removal of
    /// each session.
    waiting: VecDeque<Job>,
    ended: JoinHandle<()>,
}

impl Workers {
    pub(crate) fn new(disk: FileDisk, watchers: Watchers, done: mpsc::Sender<Done>) -> Self {
        Self { disk, watchers, done, running: HashMap::new(), leaving: Vec::new() }
    }

    /// Sends a job to the lane's worker, which is started if there is none.
    pub(crate) fn send(&mut self, lane: Lane, job: Job) {
        if matches!(job, Job::Disk { .. }) && !self.running.contains_key(&lane) {
            return; // It was closed meanwhile.
        }
        let (disk, watchers, done) = (&self.disk, &self.watchers, &self.done);
        let handle = self.running.entry(lane).or_insert_with(|| Handle::spawn(lane, disk, watchers, done));
        handle.waiting.push_back(job);
        handle.flush();
    }

    /// Sends jobs that have been waiting for room in a queue.
    pub(crate) fn flush(&mut self) {
        self.running.values_mut().for_each(Handle::flush);
    }

    /// Lets a worker end that has nothing open and nothing to do.
    pub(crate) fn dismiss(&mut self, lane: Lane) {
        if let Some(handle) = self.running.remove(&lane) {
            self.leaving.retain(|ended| !ended.is_finished());
            self.leaving.push(handle.ended);
        }
    }

    /// The number of jobs that wait.
    pub(crate) fn depth(&self) -> usize {
        let of = |handle: &Handle| handle.waiting.len() + handle.jobs.max_capacity() - handle.jobs.capacity();
        self.running.values().map(of).sum()
    }

    /// Ends all workers after their jobs. Resolves when everything they wrote is durable and recorded.
    pub(crate) fn close(&mut self) -> impl Future<Output = ()> + use<> {
        let running: Vec<_> = self.running.drain().map(|(_, handle)| handle).collect();
        let leaving = std::mem::take(&mut self.leaving);
        async move {
            let ending = running.into_iter().map(|handle| async move {
                for job in handle.waiting {
                    let _ = handle.jobs.send(job).await;
                }
                drop(handle.jobs);
                let _ = handle.ended.await;
            });
            futures::future::join_all(ending).await;
            futures::future::join_all(leaving).await;
        }
    }
}

impl Handle {
    fn spawn(lane: Lane, disk: &FileDisk, watchers: &Watchers, done: &mpsc::Sender<Done>) -> Self {
        let (jobs, received) = mpsc::channel(STORE_QUEUE);
        let (disk, watchers, done) = (disk.clone(), watchers.clone(), done.clone());
        let beside = Box::new(SyncThread::new(jobs.downgrade()));
        let ended = tokio::task::spawn_blocking(move || {
            let tell = move |reported: super::worker::Reported| match reported.report {
                // If the queue is full, there are more urgent reports.
                Report::Opening { .. } => done.try_send(Done::Store(reported)).is_ok(),
                _ => done.blocking_send(Done::Store(reported)).is_ok(),
            };
            let mut worker = Worker::new(lane, disk, beside, watchers, Box::new(tell));
            let mut jobs = LaneQueue(received);
            loop {
                if worker.step(&mut jobs) {
                    continue;
                }
                match jobs.0.blocking_recv() {
                    Some(job) => worker.take(job, &mut jobs),
                    None => break,
                }
            }
            worker.close();
        });
        Self { jobs, waiting: VecDeque::new(), ended }
    }

    fn flush(&mut self) {
        while let Some(job) = self.waiting.pop_front() {
            match self.jobs.try_send(job) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(job)) => return self.waiting.push_front(job),
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    tracing::error!("a store worker has ended before its time; please report it");
                }
            }
        }
    }
}

struct LaneQueue(mpsc::Receiver<Job>);

impl Jobs for LaneQueue {
    fn next(&mut self) -> Next {
        match self.0.try_recv() {
            Ok(job) => Next::Job(job),
            Err(mpsc::error::TryRecvError::Empty) => Next::Nothing,
            Err(mpsc::error::TryRecvError::Disconnected) => Next::Ended,
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
