//! The thread on which a store worker's groups are made durable and recorded, while the worker goes on writing.

use std::{sync::mpsc, thread};

use super::{
    trouble::Trouble,
    worker::{Beside, GroupSync, Job, Synced},
};

/// A thread that starts with the first group, and ends with its worker.
pub(crate) struct SyncThread {
    /// The worker's own queue. If this kept it open, the worker would never end.
    jobs: tokio::sync::mpsc::WeakSender<Job>,
    thread: Option<mpsc::SyncSender<GroupSync>>,
    /// One group is in progress at a time.
    results: (mpsc::SyncSender<Synced>, mpsc::Receiver<Synced>),
}

impl SyncThread {
    /// For the worker that takes its jobs from this queue.
    pub(crate) fn new(jobs: tokio::sync::mpsc::WeakSender<Job>) -> Self {
        Self { jobs, thread: None, results: mpsc::sync_channel(1) }
    }

    fn spawn(&self) -> std::io::Result<mpsc::SyncSender<GroupSync>> {
        let (syncs, received) = mpsc::sync_channel::<GroupSync>(1);
        let (results, jobs) = (self.results.0.clone(), self.jobs.clone());
        thread::Builder::new().name("make-durable".to_owned()).spawn(move || {
            for sync in received {
                if results.send(sync()).is_err() {
                    return;
                }
                // If the queue is full, the worker asks for the result before its next job anyway.
                if let Some(jobs) = jobs.upgrade() {
                    let _ = jobs.try_send(Job::Synced);
                }
            }
        })?;
        Ok(syncs)
    }
}

impl Beside for SyncThread {
    fn start(&mut self, sync: GroupSync) {
        if self.thread.is_none() {
            // Without a thread the worker waits, as little as it can help it.
            self.thread = self.spawn().ok();
        }
        let left = match &self.thread {
            Some(thread) => thread.send(sync).err().map(|unsent| unsent.0),
            None => Some(sync),
        };
        if let Some(sync) = left {
            self.thread = None;
            let _ = self.results.0.send(sync());
        }
    }

    fn poll(&mut self, _: bool) -> Option<Synced> {
        self.results.1.try_recv().ok()
    }

    fn wait(&mut self) -> Synced {
        self.results.1.recv().unwrap_or(Err(Trouble::Unforeseen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> GroupSync {
        Box::new(|| Err(Trouble::Unforeseen))
    }

    #[test]
    fn the_worker_is_told_and_its_queue_still_ends() {
        let (jobs, mut received) = tokio::sync::mpsc::channel(1);
        let mut beside = SyncThread::new(jobs.downgrade());
        assert!(beside.poll(true).is_none());
        for _ in 0..2 {
            beside.start(failed());
            assert!(matches!(received.blocking_recv(), Some(Job::Synced)));
            assert!(matches!(beside.poll(false), Some(Err(Trouble::Unforeseen))));
            assert!(beside.poll(true).is_none(), "a result comes once");
        }
        drop(jobs);
        assert!(received.blocking_recv().is_none());
        beside.start(failed());
        assert!(matches!(beside.wait(), Err(Trouble::Unforeseen)), "also for a worker that ends");
    }

    #[test]
    fn a_full_queue_keeps_no_result_back() {
        let (jobs, _received) = tokio::sync::mpsc::channel(1);
        let mut beside = SyncThread::new(jobs.downgrade());
        jobs.try_send(Job::Synced).ok().unwrap();
        for _ in 0..3 {
            beside.start(failed());
            assert!(matches!(beside.wait(), Err(Trouble::Unforeseen)));
        }
    }
}
