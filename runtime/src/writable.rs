//! Which of its own files the node cannot write now: for `readyz`, `healthz`, the metric and the log.
//!
//! The code that writes a part reports when a write fails, and when one works again. If nothing has tried to write a
//! part for a while, for instance because its session is gone, [`Writable::probe`] tries.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use rpp_p2p::error::Cause;
use tokio::sync::watch;

use crate::{
    files::{self, Dir},
    limits::PROBE_AFTER,
    store::StoreError,
};

/// The bytes of a probe: as many as the node's smallest file has.
const PROBE: [u8; 16 * 1024] = [0; 16 * 1024];
const PROBE_NAME: &str = ".probe";

/// A part of the node's own files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    /// The session database.
    Database,
    /// `head.json`.
    Head,
    /// Payloads that are being fetched, their outboards, and the notes beside them.
    Store,
}

impl Part {
    /// All parts; each has a series of the metric from the start.
    pub(crate) const ALL: [Self; 3] = [Self::Database, Self::Head, Self::Store];

    /// A stable name for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Head => "head",
            Self::Store => "store",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Database => "the session database",
            Self::Head => "head.json",
            Self::Store => "the payloads",
        }
    }
}

/// The parts that cannot be written, and why.
#[derive(Debug)]
pub(crate) struct Writable {
    troubles: Mutex<BTreeMap<Part, PartTrouble>>,
    said: watch::Sender<Option<String>>,
}

#[derive(Debug)]
struct PartTrouble {
    reason: Cause,
    /// When it happened last.
    at: Instant,
}

impl Writable {
    pub(crate) fn new() -> Self {
        Self { troubles: Mutex::default(), said: watch::Sender::new(None) }
    }

    /// A sentence about the parts that cannot be written; `None` if all can.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<String>> {
        self.said.subscribe()
    }

    /// A write failed. A new failure is logged.
    pub(crate) fn failed(&self, part: Part, reason: Cause) {
        let mut troubles = self.troubles();
        let before = troubles.insert(part, PartTrouble { reason: reason.clone(), at: Instant::now() });
        if before.is_none_or(|before| before.reason != reason) {
            tracing::error!(
                part = part.name(),
                "cannot write: {reason}; it is tried again, make room or mend the disk"
            );
        }
        self.say(&troubles);
    }

    /// An error of the store. It counts only if a write failed that may work later.
    pub(crate) fn store_failed(&self, error: &StoreError) {
        match error {
            // The free space changes from try to try, and the session reports it.
            StoreError::Full { path: Some(path), .. } => {
                self.failed(Part::Store, Cause::told(&format_args!("{}: the disk is full", path.display())));
            }
            StoreError::NoRoom { .. } | StoreError::Note { .. } => {
                self.failed(Part::Store, Cause::told(&files::with_causes(error)));
            }
            _ => {}
        }
    }

    /// A write succeeded.
    pub(crate) fn works(&self, part: Part) {
        let mut troubles = self.troubles();
        if troubles.remove(&part).is_some() {
            tracing::info!(part = part.name(), "can be written again");
            self.say(&troubles);
        }
    }

    /// Whether this part cannot be written now.
    pub(crate) fn is_failed(&self, part: Part) -> bool {
        self.troubles().contains_key(&part)
    }

    /// Tries a small write in `folder` for the parts that nothing has tried to write for a while. The database makes
    /// its own tries.
    pub(crate) fn probe(&self, folder: &Path) {
        self.probe_at(folder, Instant::now());
    }

    fn probe_at(&self, folder: &Path, now: Instant) {
        let troubles = self.troubles();
        let is_due = |part: &Part| {
            troubles.get(part).is_some_and(|trouble| now.saturating_duration_since(trouble.at) >= PROBE_AFTER)
        };
        let waiting: Vec<_> = [Part::Head, Part::Store].into_iter().filter(is_due).collect();
        drop(troubles);
        if waiting.is_empty() || try_write(folder).is_err() {
            return;
        }
        waiting.into_iter().for_each(|part| self.works(part));
    }

    /// The sentence for probes. They need no token, so it does not say where the files are.
    fn say(&self, troubles: &BTreeMap<Part, PartTrouble>) {
        let parts: Vec<_> = troubles.keys().map(|part| part.label()).collect();
        let text = format!("cannot write {}: make room or mend the disk; the node's log says why", parts.join(", "));
        let _ = self.said.send_replace((!parts.is_empty()).then_some(text));
    }

    fn troubles(&self) -> MutexGuard<'_, BTreeMap<Part, PartTrouble>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes and flushes a small file in `folder`, and removes it.
///
/// # Errors
/// The system's error, with the file.
pub(crate) fn try_write(folder: &Path) -> io::Result<()> {
    let tried = Dir::open(folder).and_then(|dir| {
        let written = dir.write_atomic(PROBE_NAME, &PROBE, 0o600);
        dir.remove_file(PROBE_NAME).and(written)
    });
    tried.map_err(files::in_file(folder.join(PROBE_NAME)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Damage;

    #[test]
    fn what_the_store_cannot_write_is_said_and_logged_once() {
        let (writable, path) = (Writable::new(), std::path::PathBuf::from("payload"));
        for free in [0, 7] {
            writable.store_failed(&StoreError::Full { path: Some(path.clone()), needed: 100, free });
            assert_eq!(writable.troubles()[&Part::Store].reason.as_str(), "payload: the disk is full");
        }
        writable.works(Part::Store);
        // A shortage found before any byte is written is not a failed write, and neither is damage.
        writable.store_failed(&StoreError::Full { path: None, needed: 100, free: 7 });
        writable.store_failed(&StoreError::Damaged { path, reason: Damage::GoneWhenPlaced });
        assert!(!writable.is_failed(Part::Store));
    }

    #[test]
    fn each_part_is_said_until_it_works_again() {
        let (writable, temp) = (Writable::new(), tempfile::tempdir().unwrap());
        let said = writable.watch();
        writable.failed(Part::Database, Cause::told("/secret-place/sessions: no room"));
        writable.failed(Part::Head, Cause::told("head.json: no room"));
        let text = said.borrow().clone().unwrap();
        assert!(text.starts_with("cannot write the session database, head.json: make room"), "{text}");
        assert!(!text.contains("secret-place"), "probes are told no path: {text}");
        // A small write proves nothing while the real one is being tried. Later it does, except for the database, which
        // reports itself.
        let later = Instant::now() + PROBE_AFTER;
        writable.probe(temp.path());
        assert!(writable.is_failed(Part::Head));
        writable.probe_at(temp.path(), later);
        assert!(writable.is_failed(Part::Database) && !writable.is_failed(Part::Head));
        writable.works(Part::Database);
        assert_eq!(*said.borrow(), None);
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0, "nothing is left of the probe");
        // Nothing can be written in a folder that does not exist.
        writable.failed(Part::Head, Cause::told("head.json: no room"));
        writable.probe_at(&temp.path().join("gone"), later + PROBE_AFTER);
        assert!(writable.is_failed(Part::Head));
    }
}
