//! Stops a node's blocking work at one point, so that a test finds it exactly there.

use std::sync::{Arc, Condvar, Mutex};

use rpp_p2p::{
    SnapshotSessionId,
    snapshots::{Activity, Job, Observer, RequestKind},
};
use rpp_runtime::{Hooks, Watcher, Work};

/// Lets `after` pieces of one kind of work begin, and blocks later ones until the gate is opened. Dropping the test's
/// handle opens it, so a failed test leaves no blocked thread behind.
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    held: Held,
    after: u32,
    state: Mutex<State>,
    changed: Condvar,
}

/// The kind of work that waits at a gate.
#[derive(Debug, PartialEq, Eq)]
enum Held {
    Work(Work),
    /// Chunks that a provider reads.
    Reads,
}

#[derive(Debug, Default)]
struct State {
    begun: u32,
    open: bool,
}

impl Gate {
    pub fn new(work: Work, after: u32) -> Self {
        Self::holding(Held::Work(work), after)
    }

    /// Blocks a provider's reads for its peers.
    pub fn of_reads(after: u32) -> Self {
        Self::holding(Held::Reads, after)
    }

    fn holding(held: Held, after: u32) -> Self {
        Self(Arc::new(Inner { held, after, state: Mutex::default(), changed: Condvar::new() }))
    }

    pub fn hooks(&self) -> Hooks {
        Hooks { watchers: vec![self.0.clone()], ..Hooks::default() }
    }

    /// Whether a piece of work is blocked at the gate.
    pub fn is_reached(&self) -> bool {
        self.0.state.lock().unwrap().begun > self.0.after
    }

    pub fn open_when(&self, condition: bool) {
        if condition {
            self.open();
        }
    }

    pub fn open(&self) {
        self.0.state.lock().unwrap().open = true;
        self.0.changed.notify_all();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}

impl Inner {
    fn pass(&self, what: &Held) {
        if *what != self.held {
            return;
        }
        let mut state = self.state.lock().unwrap();
        state.begun += 1;
        if state.begun > self.after {
            drop(self.changed.wait_while(state, |state| !state.open).unwrap());
        }
    }
}

impl Observer for Inner {
    fn blocking_job_started(&self, job: Job, about: &Activity) {
        if (job, about.kind) == (Job::Provide, Some(RequestKind::Chunk)) {
            self.pass(&Held::Reads);
        }
    }
}

impl Watcher for Inner {
    fn work_started(&self, _: u64, work: Work, _: SnapshotSessionId) {
        self.pass(&Held::Work(work));
    }
}

/// Runs a closure when the `after`-th piece of one kind of work begins.
pub struct Trip<F> {
    work: Work,
    at: u32,
    begun: Mutex<u32>,
    act: F,
}

impl<F: Fn() + Send + Sync + 'static> Trip<F> {
    pub fn new(work: Work, at: u32, act: F) -> Arc<Self> {
        Arc::new(Self { work, at, begun: Mutex::new(0), act })
    }
}

impl<F: Fn() + Send + Sync + 'static> Observer for Trip<F> {}

impl<F: Fn() + Send + Sync + 'static> Watcher for Trip<F> {
    fn work_started(&self, _: u64, work: Work, _: SnapshotSessionId) {
        if work == self.work {
            let mut begun = self.begun.lock().unwrap();
            *begun += 1;
            if *begun == self.at {
                (self.act)();
            }
        }
    }
}
