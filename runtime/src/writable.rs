//! What of its own files the node cannot write now: for `readyz`, `healthz`, the metric and the log.
//!
//! Each part is reported by whoever writes it, when a write fails and when one works again. A part that nobody writes by
//! himself again is tried by [`Writable::probe`].

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::files::{self, Dir};

/// Bytes of a probe: what the smallest of the node's files take.
const PROBE: [u8; 16 * 1024] = [0; 16 * 1024];
const PROBE_NAME: &str = ".probe";

/// A part of the node's own files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    /// The session database.
    Database,
    /// `head.json`.
    Head,
    /// The notes beside partial payloads, and the catalog's own files.
    Store,
}

impl Part {
    /// For the metric: each is there from the start.
    pub(crate) const ALL: [Self; 3] = [Self::Database, Self::Head, Self::Store];

    /// One stable word.
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
            Self::Store => "the partial payloads",
        }
    }
}

/// Which parts cannot be written, and why.
#[derive(Debug)]
pub(crate) struct Writable {
    troubles: Mutex<BTreeMap<Part, String>>,
    said: watch::Sender<Option<String>>,
}

impl Writable {
    pub(crate) fn new() -> Self {
        Self { troubles: Mutex::default(), said: watch::Sender::new(None) }
    }

    /// One sentence while something cannot be written.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<String>> {
        self.said.subscribe()
    }

    /// A write failed. Logged when that is news.
    pub(crate) fn failed(&self, part: Part, reason: &str) {
        let mut troubles = self.troubles();
        if troubles.insert(part, reason.to_owned()).as_deref() != Some(reason) {
            tracing::error!(
                part = part.name(),
                "cannot write: {reason}; it is tried again, make room or mend the disk"
            );
        }
        self.say(&troubles);
    }

    /// A write worked.
    pub(crate) fn works(&self, part: Part) {
        let mut troubles = self.troubles();
        if troubles.remove(&part).is_some() {
            tracing::info!(part = part.name(), "can be written again");
            self.say(&troubles);
        }
    }

    /// Whether a part cannot be written now.
    pub(crate) fn is_failed(&self, part: Part) -> bool {
        self.troubles().contains_key(&part)
    }

    /// Tries a small write in `folder` for the parts that nobody writes until they are needed again.
    pub(crate) fn probe(&self, folder: &Path) {
        let waiting = [Part::Head, Part::Store].into_iter().filter(|part| self.is_failed(*part));
        let waiting: Vec<_> = waiting.collect();
        if waiting.is_empty() || try_write(folder).is_err() {
            return;
        }
        waiting.into_iter().for_each(|part| self.works(part));
    }

    /// Probes need no token, so they are not told where the files are.
    fn say(&self, troubles: &BTreeMap<Part, String>) {
        let parts: Vec<_> = troubles.keys().map(|part| part.label()).collect();
        let text = format!("cannot write {}: make room or mend the disk; the node's log says why", parts.join(", "));
        let _ = self.said.send_replace((!parts.is_empty()).then_some(text));
    }

    fn troubles(&self) -> MutexGuard<'_, BTreeMap<Part, String>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes and flushes something small in `folder`, and takes it away.
///
/// # Errors
/// What the disk said, with the file.
pub(crate) fn try_write(folder: &Path) -> Result<(), String> {
    let tried = Dir::open(folder).and_then(|dir| {
        let written = dir.write_atomic(PROBE_NAME, &PROBE, 0o600);
        dir.remove_file(PROBE_NAME).and(written)
    });
    tried.map_err(|error| format!("{}: {}", folder.join(PROBE_NAME).display(), files::with_causes(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_said_until_it_works_again() {
        let (writable, temp) = (Writable::new(), tempfile::tempdir().unwrap());
        let said = writable.watch();
        writable.failed(Part::Database, "/secret-place/sessions: no room");
        writable.failed(Part::Head, "head.json: no room");
        let text = said.borrow().clone().unwrap();
        assert!(text.starts_with("cannot write the session database, head.json: make room"), "{text}");
        assert!(!text.contains("secret-place"), "probes are told no path: {text}");
        // A small write works: what nobody writes by himself is said to work, the database says so itself.
        writable.probe(temp.path());
        assert!(writable.is_failed(Part::Database) && !writable.is_failed(Part::Head));
        writable.works(Part::Database);
        assert_eq!(*said.borrow(), None);
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0, "nothing is left of the probe");
        // A folder that is not there cannot be written.
        writable.failed(Part::Head, "head.json: no room");
        writable.probe(&temp.path().join("gone"));
        assert!(writable.is_failed(Part::Head));
    }
}
