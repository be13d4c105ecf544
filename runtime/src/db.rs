//! The session database: sled under `data/snapshots/sessions/`.
//!
//! It is an index, never the truth: payload bytes live in files, and whatever is here can be lost at the price of work.
//! What is durable when: [`Db::put_session`], [`Db::put_progress`] and the ledger's writes return after the tree is
//! flushed; with [`Durability::Strict`] also after `fdatasync` of the database file, because sled's own flush ends in
//! `sync_file_range`, which survives a kill but not a power loss.
//!
//! A kill can leave `snap.*.generating` behind, which sled would read as corruption: it is deleted before opening
//! (the data folder's lock is held by then). A database that does not open, or panics, is set aside whole and named in a
//! [`Notice`]; the node starts with an empty one and rebuilds sessions from the partial payloads.

use std::{
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use libp2p::PeerId;
use rpp_p2p::{SnapshotSessionId, provider::Record};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    config::Durability,
    record,
    serve::{Ledger, LedgerError},
};

/// Bytes of sled's page cache.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// How long a database that is still in use is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(20);
/// The first byte of every value; a value of another version is skipped and reported.
const VALUE_VERSION: u8 = 1;

/// Why the database could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// The database itself failed; nothing written after this counts as durable.
    #[error("the session database failed: {0}")]
    Sled(#[from] sled::Error),
    /// A file beside it failed.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
    /// A value could not be written as JSON: a bug of ours.
    #[error("a record could not be encoded: {0}")]
    Encode(#[from] serde_json::Error),
}

/// What the operator should know about how the database was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A leftover of a kill was removed.
    RemovedLeftover(PathBuf),
    /// The database did not open and was moved here; the node started with an empty one.
    SetAside {
        /// Where it is now.
        to: PathBuf,
        /// Why it did not open.
        reason: String,
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

/// A session and how far it is durable.
pub(crate) type Known = (record::Session, record::Progress);

/// The open database.
#[derive(Clone)]
pub(crate) struct Db {
    db: sled::Db,
    sessions: sled::Tree,
    progress: sled::Tree,
    served: sled::Tree,
    /// For `fdatasync` under strict durability.
    file: Option<Arc<File>>,
    path: PathBuf,
}

impl Db {
    /// Opens the database in `folder`, repairing what a kill or damage left. The caller holds the data folder's lock.
    ///
    /// # Errors
    /// Only when not even an empty database can be made there.
    pub(crate) fn open(folder: &Path, durability: Durability) -> Result<(Self, Vec<Notice>), DbError> {
        let mut notices = Vec::new();
        remove_leftovers(folder, &mut notices)?;
        let opened = match open_patiently(folder) {
            Ok(opened) => opened,
            Err(reason) if is_locked(&reason) => {
                return Err(DbError::Io { path: folder.to_owned(), source: io::Error::other(reason) });
            }
            Err(reason) => {
                notices.push(set_aside(folder, reason)?);
                try_open(folder)
                    .map_err(|reason| DbError::Io { path: folder.to_owned(), source: io::Error::other(reason) })?
            }
        };
        let (db, sessions, progress, served) = opened;
        let file = match durability {
            Durability::Strict => {
                let path = folder.join("db");
                let file = File::open(&path).map_err(|source| DbError::Io { path, source })?;
                Some(Arc::new(file))
            }
            Durability::Process => None,
        };
        Ok((Self { db, sessions, progress, served, file, path: folder.to_owned() }, notices))
    }

    /// Writes a session's record; durable on return.
    ///
    /// # Errors
    /// The database or its file failed: nothing may be acknowledged on the strength of this call.
    pub(crate) fn put_session(&self, record: &record::Session) -> Result<(), DbError> {
        self.sessions.insert(session_key(record.session), encode(record)?)?;
        self.flush()
    }

    /// Writes how far a session is durable; durable on return.
    ///
    /// # Errors
    /// As [`Self::put_session`].
    pub(crate) fn put_progress(&self, session: SnapshotSessionId, progress: &record::Progress) -> Result<(), DbError> {
        self.progress.insert(session_key(session), encode(progress)?)?;
        self.flush()
    }

    /// Removes everything about a session; durable on return.
    ///
    /// # Errors
    /// As [`Self::put_session`].
    pub(crate) fn remove_session(&self, session: SnapshotSessionId) -> Result<(), DbError> {
        self.sessions.remove(session_key(session))?;
        self.progress.remove(session_key(session))?;
        self.flush()
    }

    /// All sessions with their progress, by id.
    ///
    /// # Errors
    /// The database failed.
    pub(crate) fn sessions(&self) -> Result<(Vec<Known>, Vec<Notice>), DbError> {
        let mut found = Vec::new();
        let mut notices = Vec::new();
        for entry in &self.sessions {
            let (key, value) = entry?;
            let Some(record) = decode::<record::Session>(&value) else {
                notices.push(Notice::SkippedRecord(format!("session {}", hex::encode(&key))));
                continue;
            };
            let progress = match self.progress.get(&key)? {
                None => record::Progress::default(),
                Some(value) => decode(&value).unwrap_or_else(|| {
                    notices.push(Notice::SkippedRecord(format!("progress of session {}", record.session)));
                    record::Progress::default()
                }),
            };
            found.push((record, progress));
        }
        for key in self.progress.iter().keys() {
            let key = key?;
            if !self.sessions.contains_key(&key)? {
                self.progress.remove(&key)?; // a worker's last flush after its session was removed
            }
        }
        Ok((found, notices))
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// The database or its file failed.
    pub(crate) fn flush(&self) -> Result<(), DbError> {
        self.db.flush()?;
        if let Some(file) = &self.file {
            file.sync_data().map_err(|source| DbError::Io { path: self.path.join("db"), source })?;
        }
        Ok(())
    }
}

impl Ledger for Db {
    fn load_all(&self) -> Result<Vec<(PeerId, SnapshotSessionId, Record)>, LedgerError> {
        let mut records = Vec::new();
        for entry in &self.served {
            let (key, value) = entry?;
            match (served_parts(&key), decode(&value)) {
                (Some((peer, session)), Some(record)) => records.push((peer, session, record)),
                _ => {
                    tracing::warn!("a record of a served session is unreadable and is left out: {}", hex::encode(&key))
                }
            }
        }
        Ok(records)
    }

    fn save(&self, peer: PeerId, session: SnapshotSessionId, record: &Record) -> Result<(), LedgerError> {
        self.served.insert(served_key(peer, session), encode(record)?)?;
        Ok(self.flush()?)
    }

    fn remove(&self, peer: PeerId, session: SnapshotSessionId) -> Result<(), LedgerError> {
        self.served.remove(served_key(peer, session))?;
        Ok(self.flush()?)
    }
}

/// The session first, so that a peer id of any length can follow.
fn served_key(peer: PeerId, session: SnapshotSessionId) -> Vec<u8> {
    let mut key = session.get().to_be_bytes().to_vec();
    key.extend(peer.to_bytes());
    key
}

fn served_parts(key: &[u8]) -> Option<(PeerId, SnapshotSessionId)> {
    let (session, peer) = key.split_first_chunk::<8>()?;
    Some((PeerId::from_bytes(peer).ok()?, SnapshotSessionId::new(u64::from_be_bytes(*session))?))
}

type Opened = (sled::Db, sled::Tree, sled::Tree, sled::Tree);

/// A node that was shut down in this process may have a last job that still holds the database.
fn open_patiently(folder: &Path) -> Result<Opened, String> {
    let begun = Instant::now();
    loop {
        match try_open(folder) {
            Err(reason) if is_locked(&reason) && begun.elapsed() < LOCK_PATIENCE => std::thread::sleep(LOCK_POLL),
            opened => return opened,
        }
    }
}

/// In use, which is no damage. sled says it in words only.
fn is_locked(reason: &str) -> bool {
    reason.contains("could not acquire lock")
}

/// sled may panic on a damaged file: that is a reason like any other.
fn try_open(folder: &Path) -> Result<Opened, String> {
    let open = || -> Result<Opened, sled::Error> {
        let db = sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).open()?;
        let trees = (db.open_tree("sessions")?, db.open_tree("progress")?, db.open_tree("served")?);
        // Reading everything once finds damage now and not in the middle of a stream.
        for tree in [&trees.0, &trees.1, &trees.2] {
            for entry in tree {
                entry?;
            }
        }
        Ok((db, trees.0, trees.1, trees.2))
    };
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it is damaged in a way that its library does not survive".to_owned()),
    }
}

fn remove_leftovers(folder: &Path, notices: &mut Vec<Notice>) -> Result<(), DbError> {
    let io = |source| DbError::Io { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
    };
    for entry in entries {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path()).map_err(io)?;
            notices.push(Notice::RemovedLeftover(entry.path()));
        }
    }
    Ok(())
}

fn set_aside(folder: &Path, reason: String) -> Result<Notice, DbError> {
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    let name = folder.file_name().map_or_else(|| "sessions".to_owned(), |n| n.to_string_lossy().into_owned());
    let to = folder.with_file_name(format!("{name}.damaged-{stamp}"));
    fs::rename(folder, &to).map_err(|source| DbError::Io { path: folder.to_owned(), source })?;
    Ok(Notice::SetAside { to, reason })
}

/// Big-endian, so that iteration is by number.
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
