//! The session database: sled under `data/snapshots/sessions/`.
//!
//! It is an index and never authoritative: payload bytes are in files, and losing anything here costs only work.
//! [`Db::put_session`], [`Db::put_progress`] and the ledger's writes return after the tree is flushed. With
//! [`Durability::Strict`] they also wait for `fdatasync` of the database file, because sled's own flush ends in
//! `sync_file_range`, which survives a kill but not a power loss.
//!
//! **After a failed write.** sled keeps its first error for good. So the database is then closed, and opened again once
//! the disk accepts writes. Its content is small and is also kept in memory ([`Mirror`]). After a failed flush it is
//! unknown what is on the disk. So after the opening, everything that was promised is compared, and rows that are
//! missing are written again. Until then every write fails at once, and [`Writable`] says so. The node can also start
//! without the database: its content is loaded when it can be opened.
//!
//! A kill can leave `snap.*.generating` behind, which sled would read as corruption. It is deleted before opening (the
//! data folder's lock is held by then). A database that is damaged, or whose opening panics, is set aside as a whole
//! and named in a [`Notice`]. The node then continues with an empty one and rebuilds sessions from the partial
//! payloads.

mod engine;
mod fault;
mod mirror;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use libp2p::PeerId;
use rpp_p2p::{SnapshotSessionId, error::Cause, provider::Record};
use serde::{Serialize, de::DeserializeOwned};

pub use self::fault::DbFault;
use self::{
    engine::{Engine, Unopened},
    mirror::Mirror,
};
use crate::{
    config::Durability,
    limits::DB_RETRY,
    serve::{Ledger, LedgerError},
    sessions::record,
    writable::{Part, Writable},
};

/// How long the node waits at its start for a database that is still in use.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// The same after a failed write, when only this process can be using it.
const REOPEN_PATIENCE: Duration = Duration::from_secs(3);
/// The first byte of every value. A value of another version is skipped and reported.
const VALUE_VERSION: u8 = 1;

/// Its trees.
const TABLES: [&str; 3] = ["sessions", "progress", "served"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Sessions,
    Progress,
    Served,
}

/// The rows of the trees.
type Rows = [std::collections::BTreeMap<Vec<u8>, Vec<u8>>; TABLES.len()];

/// One row to write, or to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    table: Table,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

/// Why the database could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// The machine's fault. No write of this call counts as durable. The database is opened again when the disk accepts
    /// writes.
    #[error("cannot write the session database {path}: {reason}")]
    Write {
        /// Its folder.
        path: PathBuf,
        /// The error of the disk or the library.
        reason: DbFault,
    },
    /// Something else has the database open: the operator's fault, or an earlier node in this process.
    #[error("cannot open the session database {path}")]
    Open {
        /// Its folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A value could not be written as JSON, which is a bug.
    #[error("a record could not be encoded")]
    Encode(#[from] serde_json::Error),
}

/// What the operator should know about the opening of the database.
#[derive(Debug, Clone)]
pub(crate) enum Notice {
    /// A leftover of a kill was removed.
    RemovedLeftover(PathBuf),
    /// The database could not be opened and was moved; the node started with an empty one.
    SetAside {
        /// Where it is now.
        to: PathBuf,
        /// Why it did not open.
        reason: DbFault,
    },
    /// A record could not be read and was left out.
    SkippedRecord(String),
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RemovedLeftover(path) => write!(f, "removed {}, a leftover of a killed process", path.display()),
            Self::SetAside { to, reason } => write!(
                f,
                "the session database did not open ({reason}); it was moved to {} and sessions are rebuilt from the partial payloads",
                to.display()
            ),
            Self::SkippedRecord(what) => write!(f, "a record was unreadable and is left out: {what}"),
        }
    }
}

/// A session and its durable progress.
pub(crate) type Known = (record::Session, record::Progress);

/// The database; cheap to clone. Calls block.
#[derive(Clone)]
pub(crate) struct Db {
    inner: Arc<DbCore>,
}

struct DbCore {
    folder: PathBuf,
    durability: Durability,
    state: RwLock<EngineState>,
    /// Only one opening at a time.
    opening: Mutex<()>,
    mirror: Mutex<Mirror>,
    /// Whether the mirror has everything that the disk had. Separate from the mirror, so a query never waits for a
    /// flush.
    whole: AtomicBool,
    /// Set when the disk's content was loaded since the last [`Db::tend`].
    taken_up: Mutex<Option<Vec<Notice>>>,
    writable: Arc<Writable>,
}

enum EngineState {
    Open(Arc<Engine>),
    Failed { reason: DbFault, next: Instant },
}

impl Db {
    /// Opens the database in `folder`, and repairs what a kill or damage left. The caller holds the data folder's lock.
    /// If the disk prevents the opening, it is tried again later: see [`Db::is_taken_up`].
    ///
    /// # Errors
    /// Only when something else has it open.
    pub(crate) fn open(
        folder: &Path,
        durability: Durability,
        writable: Arc<Writable>,
    ) -> Result<(Self, Vec<Notice>), DbError> {
        let inner = DbCore {
            folder: folder.to_owned(),
            durability,
            state: RwLock::new(EngineState::Failed { reason: DbFault::NotOpened, next: Instant::now() }),
            opening: Mutex::default(),
            mirror: Mutex::default(),
            whole: AtomicBool::new(false),
            taken_up: Mutex::default(),
            writable,
        };
        match inner.reopen(LOCK_PATIENCE) {
            Ok(()) => {}
            Err(Unopened::Locked(reason)) => {
                return Err(DbError::Open { path: folder.to_owned(), source: io::Error::other(reason) });
            }
            Err(Unopened::Disk(reason) | Unopened::Damaged(reason)) => inner.give_up(reason),
        }
        let db = Self { inner: Arc::new(inner) };
        let notices = db.news().unwrap_or_default();
        Ok((db, notices))
    }

    /// Whether the disk's content is loaded. Until then only what this process wrote is known.
    pub(crate) fn is_taken_up(&self) -> bool {
        self.inner.whole.load(Ordering::SeqCst)
    }

    /// After a failure, opens the database again when it is time. Call it regularly; it is cheap while all is well.
    /// Returns the notices of the first opening if that came after the start: then [`Db::sessions`] and
    /// [`Ledger::load_all`] return more.
    pub(crate) fn tend(&self) -> Option<Vec<Notice>> {
        let _ = self.inner.engine(); // The failure was reported where it happened.
        self.news()
    }

    fn news(&self) -> Option<Vec<Notice>> {
        self.inner.taken_up.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Writes a session's record; durable on return.
    ///
    /// # Errors
    /// The database or its file failed: nothing may be acknowledged because of this call.
    pub(crate) fn put_session(&self, record: &record::Session) -> Result<(), DbError> {
        self.put(Table::Sessions, session_key(record.session).to_vec(), encode(record)?)
    }

    /// Writes the durable progress of a session; durable on return.
    ///
    /// # Errors
    /// As [`Self::put_session`].
    pub(crate) fn put_progress(&self, session: SnapshotSessionId, progress: &record::Progress) -> Result<(), DbError> {
        self.put(Table::Progress, session_key(session).to_vec(), encode(progress)?)
    }

    /// Removes everything about a session; durable on return.
    ///
    /// # Errors
    /// As [`Self::put_session`]. The session is removed nevertheless, as soon as the removal can be written.
    pub(crate) fn remove_session(&self, session: SnapshotSessionId) -> Result<(), DbError> {
        let remove = |table| Change { table, key: session_key(session).to_vec(), value: None };
        self.inner.write(&[remove(Table::Sessions), remove(Table::Progress)], IfUnwritten::Holds)
    }

    /// All sessions with their progress, by id.
    pub(crate) fn sessions(&self) -> (Vec<Known>, Vec<Notice>) {
        let mut notices = Vec::new();
        let mirror = self.inner.mirror();
        // Left by a worker's last flush after its session was removed.
        let orphans = mirror.orphans(Table::Progress, Table::Sessions);
        let mut found = Vec::new();
        for (key, value) in mirror.rows(Table::Sessions) {
            let Some(record) = decode::<record::Session>(value) else {
                notices.push(Notice::SkippedRecord(format!("session {}", hex::encode(key))));
                continue;
            };
            let progress = match mirror.get(Table::Progress, key) {
                None => record::Progress::default(),
                Some(value) => decode(value).unwrap_or_else(|| {
                    notices.push(Notice::SkippedRecord(format!("progress of session {}", record.session)));
                    record::Progress::default()
                }),
            };
            found.push((record, progress));
        }
        drop(mirror);
        if !orphans.is_empty() {
            let _ = self.inner.write(&orphans, IfUnwritten::Holds); // Reported where it failed.
        }
        (found, notices)
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// The database or its file failed.
    pub(crate) fn flush(&self) -> Result<(), DbError> {
        self.inner.write(&[], IfUnwritten::IsUndone)
    }

    fn put(&self, table: Table, key: Vec<u8>, value: Vec<u8>) -> Result<(), DbError> {
        self.inner.write(&[Change { table, key, value: Some(value) }], IfUnwritten::IsUndone)
    }
}

impl Ledger for Db {
    fn load_all(&self) -> Result<Vec<(PeerId, SnapshotSessionId, Record)>, LedgerError> {
        let mut records = Vec::new();
        for (key, value) in self.inner.mirror().rows(Table::Served) {
            match (served_parts(key), decode(value)) {
                (Some((peer, session)), Some(record)) => records.push((peer, session, record)),
                _ => {
                    tracing::warn!("a record of a served session is unreadable and is left out: {}", hex::encode(key))
                }
            }
        }
        Ok(records)
    }

    fn is_loaded(&self) -> bool {
        self.is_taken_up()
    }

    fn save(&self, peer: PeerId, session: SnapshotSessionId, record: &Record) -> Result<(), LedgerError> {
        Ok(self.put(Table::Served, served_key(peer, session), encode(record)?)?)
    }

    fn keep(&self, peer: PeerId, session: SnapshotSessionId, record: &Record) -> Result<(), LedgerError> {
        let change = Change { table: Table::Served, key: served_key(peer, session), value: Some(encode(record)?) };
        Ok(self.inner.write(&[change], IfUnwritten::Holds)?)
    }

    fn remove(&self, peer: PeerId, session: SnapshotSessionId) -> Result<(), LedgerError> {
        let change = Change { table: Table::Served, key: served_key(peer, session), value: None };
        Ok(self.inner.write(&[change], IfUnwritten::Holds)?)
    }
}

/// What happens to changes that cannot be written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IfUnwritten {
    /// They are written when the database is opened again.
    Holds,
    /// The caller was told that they failed, so they are undone.
    IsUndone,
}

impl DbCore {
    fn write(&self, changes: &[Change], unwritten: IfUnwritten) -> Result<(), DbError> {
        let before = self.mirror().apply(changes);
        let written = self.write_through(changes);
        if written.is_err() && unwritten == IfUnwritten::IsUndone {
            self.mirror().undo(changes, before);
        }
        written
    }

    fn write_through(&self, changes: &[Change]) -> Result<(), DbError> {
        let engine = self.engine()?;
        let written = engine.apply(changes).and_then(|()| engine.flush());
        written.map_err(|reason| {
            self.close(&engine, reason.clone());
            self.failed(reason)
        })
    }

    /// The open database. Opens it again if it is time for that.
    fn engine(&self) -> Result<Arc<Engine>, DbError> {
        match self.look() {
            Ok(engine) => return Ok(engine),
            Err((reason, next)) if Instant::now() < next => return Err(self.failed(reason)),
            Err(_) => {}
        }
        let _one = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may just have opened it, or tried.
        match self.look() {
            Ok(engine) => return Ok(engine),
            Err((reason, next)) if Instant::now() < next => return Err(self.failed(reason)),
            Err(_) => {}
        }
        match self.reopen(REOPEN_PATIENCE) {
            Ok(()) => self.look().map_err(|(reason, _)| self.failed(reason)),
            Err(Unopened::Locked(reason) | Unopened::Disk(reason) | Unopened::Damaged(reason)) => {
                self.give_up(reason.clone());
                Err(self.failed(reason))
            }
        }
    }

    fn look(&self) -> Result<Arc<Engine>, (DbFault, Instant)> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            EngineState::Open(engine) => Ok(Arc::clone(engine)),
            EngineState::Failed { reason, next } => Err((reason.clone(), *next)),
        }
    }

    fn reopen(&self, patience: Duration) -> Result<(), Unopened> {
        match Engine::open(&self.folder, self.durability, patience) {
            Err(Unopened::Locked(reason)) if self.mirror().is_whole() => {
                // A thread of the failed database does not end. Everything in it is also in memory.
                tracing::warn!("the session database is begun anew: {reason}");
                let aside = engine::set_aside(&self.folder).map_err(|error| Unopened::Disk(error.into()))?;
                let taken = Engine::open(&self.folder, self.durability, patience).and_then(|opened| self.take(opened));
                match taken {
                    Ok(()) => drop(std::fs::remove_dir_all(aside)), // What cannot be removed only takes space.
                    Err(_) => engine::put_back(&aside, &self.folder),
                }
                taken
            }
            opened => self.take(opened?),
        }
    }

    /// Starts using an opened database, after it has everything that it should have.
    fn take(&self, (engine, notices): (Engine, Vec<Notice>)) -> Result<(), Unopened> {
        let mut mirror = self.mirror();
        let first = !mirror.is_whole();
        let rows = engine.rows().map_err(Unopened::Disk)?;
        let changes = mirror.reconcile(&rows, Table::ALL);
        if !changes.is_empty() {
            engine.apply(&changes).and_then(|()| engine.flush()).map_err(Unopened::Disk)?;
        }
        mirror.take_up(rows, &changes, Table::ALL);
        drop(mirror);
        self.whole.store(true, Ordering::SeqCst);
        for notice in notices.iter().filter(|_| !first) {
            tracing::warn!("{notice}");
        }
        if first {
            *self.taken_up.lock().unwrap_or_else(PoisonError::into_inner) = Some(notices);
        }
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = EngineState::Open(Arc::new(engine));
        self.writable.works(Part::Database);
        Ok(())
    }

    /// After a failed write no part of sled is used any more.
    fn close(&self, failed: &Arc<Engine>, reason: DbFault) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*state, EngineState::Open(engine) if Arc::ptr_eq(engine, failed)) {
            let old =
                std::mem::replace(&mut *state, EngineState::Failed { reason: reason.clone(), next: Instant::now() });
            drop(state);
            drop(old);
            self.writable.failed(Part::Database, Cause::new(self.failed(reason)));
        }
    }

    fn give_up(&self, reason: DbFault) {
        self.writable.failed(Part::Database, Cause::new(self.failed(reason.clone())));
        let failed = EngineState::Failed { reason, next: Instant::now() + DB_RETRY };
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = failed;
    }

    fn failed(&self, reason: DbFault) -> DbError {
        DbError::Write { path: self.folder.clone(), reason }
    }

    fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    const ALL: [Self; TABLES.len()] = [Self::Sessions, Self::Progress, Self::Served];
}

/// The session comes first, so that a peer id of any length can follow.
fn served_key(peer: PeerId, session: SnapshotSessionId) -> Vec<u8> {
    let mut key = session.get().to_be_bytes().to_vec();
    key.extend(peer.to_bytes());
    key
}

fn served_parts(key: &[u8]) -> Option<(PeerId, SnapshotSessionId)> {
    let (session, peer) = key.split_first_chunk::<8>()?;
    Some((PeerId::from_bytes(peer).ok()?, SnapshotSessionId::new(u64::from_be_bytes(*session))?))
}

/// Big-endian, so that iteration is in numeric order.
fn session_key(session: SnapshotSessionId) -> [u8; 8] {
    session.get().to_be_bytes()
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, DbError> {
    let mut bytes = vec![VALUE_VERSION];
    serde_json::to_writer(&mut bytes, value)?;
    Ok(bytes)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match bytes.split_first() {
        Some((&VALUE_VERSION, json)) => serde_json::from_slice(json).ok(),
        _ => None,
    }
}
