//! A bounded pool of blocking jobs.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::{runtime::Handle, task::JoinError};

use super::observer::{Activity, Job, Observer};
use crate::error::Cause;

/// Runs jobs on tokio's blocking threads, at most `limit` at a time; the others wait in order.
///
/// The queue has no bound of its own: callers add one job for each request, and requests are bounded.
pub(super) struct Pool<T> {
    kind: Job,
    limit: usize,
    observer: Arc<dyn Observer>,
    queue: VecDeque<(Activity, Task<T>)>,
    running: FuturesUnordered<BoxFuture<'static, Done<T>>>,
}

type Task<T> = Box<dyn FnOnce() -> T + Send>;

/// The end of a job: `Err` if it panicked or the runtime is shutting down.
pub(super) type Done<T> = (Activity, Result<T, Failed>);

/// A job without a result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("the job panicked: {0}")]
    Panicked(#[source] Cause),
    #[error("there is no runtime to run the job on")]
    NoRuntime,
}

impl<T: Send + 'static> Pool<T> {
    pub(super) fn new(kind: Job, limit: usize, observer: Arc<dyn Observer>) -> Self {
        Self { kind, limit: limit.max(1), observer, queue: VecDeque::new(), running: FuturesUnordered::new() }
    }

    pub(super) fn push(&mut self, about: Activity, task: impl FnOnce() -> T + Send + 'static) {
        self.queue.push_back((about, Box::new(task)));
    }

    /// Removes a job that has not begun; returns whether there was one.
    pub(super) fn withdraw(&mut self, about: &Activity) -> bool {
        let before = self.queue.len();
        self.queue.retain(|(queued, _)| queued.id != about.id);
        self.queue.len() != before
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// Starts the jobs that may start, and returns the next one that ended.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Done<T>> {
        while self.running.len() < self.limit {
            let Some((about, task)) = self.queue.pop_front() else { break };
            self.running.push(self.start(about, task));
        }
        match self.running.poll_next_unpin(cx) {
            Poll::Ready(Some(done)) => Poll::Ready(done),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn start(&self, about: Activity, task: Task<T>) -> BoxFuture<'static, Done<T>> {
        let Ok(runtime) = Handle::try_current() else {
            return futures::future::ready((about, Err(Failed::NoRuntime))).boxed();
        };
        let (kind, observer) = (self.kind, Arc::clone(&self.observer));
        let handle = runtime.spawn_blocking(move || {
            let _watch = Watch::begin(kind, about, observer);
            task()
        });
        async move { (about, handle.await.map_err(Failed::from)) }.boxed()
    }
}

/// Reports the end of a job to the observer, even if it panics.
pub(super) struct Watch {
    job: Job,
    about: Activity,
    observer: Arc<dyn Observer>,
    since: Instant,
}

impl Watch {
    pub(super) fn begin(job: Job, about: Activity, observer: Arc<dyn Observer>) -> Self {
        observer.blocking_job_started(job, &about);
        Self { job, about, observer, since: Instant::now() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.observer.blocking_job_finished(self.job, &self.about, self.since.elapsed());
    }
}

impl From<JoinError> for Failed {
    fn from(error: JoinError) -> Self {
        match error.try_into_panic() {
            Ok(panic) => Self::Panicked(crate::text::of_panic(panic.as_ref())),
            Err(_) => Self::NoRuntime,
        }
    }
}
