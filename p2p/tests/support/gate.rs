//! Holds provider calls until a test releases them.

use std::sync::{Arc, Condvar, Mutex};

use tokio::sync::watch;

use super::node::{DEADLINE, within};

/// Opens when dropped, so that a failed test does not wait for its blocking threads.
pub struct Gate {
    inner: Arc<Inner>,
    arrived: watch::Receiver<usize>,
}

/// The place where a provider's hook waits.
#[derive(Clone)]
pub struct Turnstile(Arc<Inner>);

struct Inner {
    open: Mutex<bool>,
    opened: Condvar,
    arrivals: watch::Sender<usize>,
}

impl Gate {
    pub fn closed() -> Self {
        let (arrivals, arrived) = watch::channel(0);
        Self { inner: Arc::new(Inner { open: Mutex::new(false), opened: Condvar::new(), arrivals }), arrived }
    }

    pub fn turnstile(&self) -> Turnstile {
        Turnstile(Arc::clone(&self.inner))
    }

    /// Waits until `count` calls have arrived.
    pub async fn arrived(&self, count: usize) {
        let mut arrived = self.arrived.clone();
        within(arrived.wait_for(|arrived| *arrived >= count)).await.unwrap();
    }

    /// The number of calls that have arrived.
    pub fn arrivals(&self) -> usize {
        *self.arrived.borrow()
    }

    pub fn open(&self) {
        *self.inner.open.lock().unwrap() = true;
        self.inner.opened.notify_all();
    }
}

impl Turnstile {
    /// Blocks the thread until the gate is open.
    pub fn pass(&self) {
        self.0.arrivals.send_modify(|count| *count += 1);
        let open = self.0.open.lock().unwrap();
        drop(self.0.opened.wait_timeout_while(open, DEADLINE, |open| !*open).unwrap());
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}
