//! The notes that the inner parts of a transport make about the connection whose future is being polled.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use libp2p::Multiaddr;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Notes>>> = const { RefCell::new(None) };
}

/// The notes of one connection during its upgrade.
#[derive(Debug)]
pub(super) struct Notes(Mutex<Noted>);

#[derive(Clone, Debug, Default)]
pub(super) struct Noted {
    /// When the attempt began.
    pub(super) opened_ms: u64,
    pub(super) local_address: Option<String>,
    pub(super) encryption: Option<String>,
}

impl Notes {
    pub(super) fn new(opened_ms: u64) -> Self {
        Self(Mutex::new(Noted { opened_ms, ..Noted::default() }))
    }

    /// Makes these the current notes while `poll` runs.
    pub(super) fn while_polling<T>(self: &Arc<Self>, poll: impl FnOnce() -> T) -> T {
        let _restore = Restore(CURRENT.replace(Some(Arc::clone(self))));
        poll()
    }

    pub(super) fn read(&self) -> Noted {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Restore(Option<Arc<Notes>>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// Notes our own address of the connection whose future is being polled. For the innermost transport.
pub fn note_local_address(address: &Multiaddr) {
    note(|noted| noted.local_address = Some(address.to_string()));
}

/// Notes the encryption that was chosen for the connection whose future is being polled.
pub fn note_encryption(protocol: &str) {
    note(|noted| noted.encryption = Some(protocol.to_owned()));
}

fn note(write: impl FnOnce(&mut Noted)) {
    CURRENT.with_borrow(|notes| {
        if let Some(notes) = notes {
            write(&mut notes.lock());
        }
    });
}
