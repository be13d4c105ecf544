//! Keeps the network's thread awake while messages of sessions over 1.0.0 follow each other quickly.
//!
//! If the thread slept between a request and its answer, it would have to be woken for each of them. That takes longer
//! than a small chunk itself, above all in a virtual machine. So while messages follow each other within [`AWAKE`], the
//! thread polls for the next one instead of sleeping. A longer pause ends that. With a peer that is far away, it never
//! begins. Other threads that want the processor get it first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rpp_p2p::{
    Protocol,
    snapshots::{Activity, Ended, Observer},
};
use rpp_runtime::Watcher;
use tokio::{runtime::Handle, sync::Notify, task};

use crate::limits::AWAKE;

/// Observes the messages.
pub(crate) struct Awake {
    begun: Instant,
    pace: Pace,
    rouse: Notify,
}

impl Awake {
    /// `None` if polling would not help. With several network threads, the one that waits for sockets sleeps whatever
    /// the others do. With one processor, the thread would only take time from the work that it waits for.
    pub(crate) fn new() -> Option<Arc<Self>> {
        let alone = Handle::current().metrics().num_workers() == 1;
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let awake = || Arc::new(Self { begun: Instant::now(), pace: Pace::default(), rouse: Notify::new() });
        (alone && processors > 1).then(awake)
    }

    /// Never ends; run it as a task of its own on the network's thread.
    pub(crate) async fn stay(self: Arc<Self>) {
        loop {
            self.rouse.notified().await;
            while self.pace.is_quick(self.begun.elapsed()) {
                // Threads that read, write and hash may have no processor but this one.
                thread::yield_now();
                // The runtime checks its sockets before it returns here.
                task::yield_now().await;
            }
        }
    }

    /// A stream has several messages in flight, so there is always something to wake up for.
    fn message(&self, message: &Activity) {
        if message.protocol == Protocol::V1 && self.pace.message(self.begun.elapsed()) {
            self.rouse.notify_one();
        }
    }
}

/// How quickly messages follow each other. All times are measured from one moment.
#[derive(Default)]
struct Pace {
    /// Microseconds until the latest message.
    latest: AtomicU64,
    /// The same, until the next one is expected.
    expected: AtomicU64,
}

impl Pace {
    /// Records a message; returns whether it followed quickly on the one before.
    fn message(&self, now: Duration) -> bool {
        let now = micros(now);
        let quick = now.saturating_sub(self.latest.swap(now, Ordering::Relaxed)) < micros(AWAKE);
        if quick {
            self.expected.store(now + micros(AWAKE), Ordering::Relaxed);
        }
        quick
    }

    /// Whether messages came quickly and the next one may still come as quickly.
    fn is_quick(&self, now: Duration) -> bool {
        micros(now) < self.expected.load(Ordering::Relaxed)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 2)
}

impl Observer for Awake {
    fn request_started(&self, message: &Activity) {
        self.message(message);
    }

    fn request_finished(&self, message: &Activity, _: &Ended) {
        self.message(message);
    }

    fn response_started(&self, message: &Activity) {
        self.message(message);
    }

    fn response_finished(&self, message: &Activity, _: &Ended) {
        self.message(message);
    }
}

impl Watcher for Awake {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_that_follow_quickly_keep_awake() {
        let pace = Pace::default();
        let at = |micros| Duration::from_secs(1) + Duration::from_micros(micros);
        assert!(!pace.message(at(0)));
        assert!(!pace.is_quick(at(1)));
        assert!(pace.message(at(900)));
        assert!(pace.is_quick(at(1899)));
        assert!(!pace.is_quick(at(1900)));
        assert!(!pace.message(at(5000)));
        assert!(!pace.is_quick(at(5001)));
    }
}
