//! Deletes old cuts, oldest first, and bounds the size of the file and its write-ahead log together.
//!
//! A cut is written to the log first and moved to the file from there, so while it is stored it takes its space twice.
//! The log is emptied after each command. A program that holds an old state of the database open prevents that: then
//! every write makes the log longer. When the bound is reached, nothing more is written, and the error names that
//! program.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, params};

use super::{StoreError, holder};
use crate::{
    collector::events::now_ns,
    limits::{EVENT_RETENTION, MAX_EVENTS, MAX_SNAPSHOTS},
};

/// Pages returned to the file system in one step.
const VACUUM_PAGES: u32 = 4096;
/// How long emptying the log waits for readers in the normal case.
const EMPTY_WAIT: Duration = Duration::from_millis(50);
/// The same if there is no space otherwise. Our own readers end within a second.
const PINNED_WAIT: Duration = Duration::from_secs(2);
/// How long a writer waits for another one.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(5);

/// The bounds of one database.
pub(super) struct Retention {
    path: PathBuf,
    log: PathBuf,
    max_bytes: u64,
}

impl Retention {
    pub(super) fn new(path: &Path, max_bytes: u64) -> Self {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Self { path: path.into(), log: log.into(), max_bytes }
    }

    /// Deletes old cuts until there are fewer than the number kept, and `wanted` more bytes fit.
    pub(super) fn make_room(&self, db: &Connection, wanted: u64) -> Result<(), StoreError> {
        let twice = wanted.saturating_mul(2);
        if twice > self.max_bytes {
            return Err(StoreError::Full(format!(
                "it needs about {twice} bytes, half of them in the log for a moment, and PEEPS_DB_MAX_BYTES is {}: \
                 allow more",
                self.max_bytes
            )));
        }
        // Deleting does not help while the log cannot be emptied, because it makes the log longer.
        self.refuse_if_pinned(db, twice)?;
        while count(db)? >= MAX_SNAPSHOTS || used_bytes(db)? + twice > self.max_bytes {
            if !forget_oldest(db)? {
                break;
            }
            self.empty_log(db)?;
        }
        self.shrink(db, self.max_bytes - wanted)
    }

    /// Returns an error if `wanted` bytes would exceed the bound because the log cannot be emptied.
    pub(super) fn refuse_if_pinned(&self, db: &Connection, wanted: u64) -> Result<(), StoreError> {
        if self.bytes(db)? + wanted <= self.max_bytes {
            return Ok(());
        }
        let deadline = Instant::now() + PINNED_WAIT;
        while !self.empty_log(db)? && self.bytes(db)? + wanted > self.max_bytes {
            if Instant::now() >= deadline {
                return Err(StoreError::Full(self.pinned()));
            }
            thread::sleep(EMPTY_WAIT);
        }
        Ok(())
    }

    /// Deletes what exceeds the bounds now.
    pub(super) fn trim(&self, db: &Connection) -> Result<(), StoreError> {
        if !self.empty_log(db)? && self.bytes(db)? > self.max_bytes {
            return Ok(());
        }
        while (count(db)? > MAX_SNAPSHOTS || used_bytes(db)? > self.max_bytes) && forget_oldest(db)? {
            self.empty_log(db)?;
        }
        let oldest = now_ns().saturating_sub(i64::try_from(EVENT_RETENTION.as_nanos()).unwrap_or(i64::MAX));
        db.execute("DELETE FROM ingest_events WHERE event_at_ns < ?1", [oldest])?;
        db.execute(
            "DELETE FROM ingest_events WHERE event_id <= (SELECT max(event_id) FROM ingest_events) - ?1",
            [MAX_EVENTS as i64],
        )?;
        self.shrink(db, self.max_bytes)
    }

    /// Does nothing while the log cannot be emptied, because it would only become longer.
    fn shrink(&self, db: &Connection, max_bytes: u64) -> Result<(), StoreError> {
        if self.empty_log(db)? {
            shrink(db, max_bytes)?;
            self.empty_log(db)?;
        }
        Ok(())
    }

    /// Moves the content of the write-ahead log to the file and empties the log. `false` if a reader still needs it.
    pub(super) fn empty_log(&self, db: &Connection) -> Result<bool, StoreError> {
        db.busy_timeout(EMPTY_WAIT)?;
        let emptied = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        db.busy_timeout(BUSY_WAIT)?;
        match emptied.map_err(StoreError::from) {
            Ok(busy) => Ok(busy == 0),
            Err(StoreError::Locked { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The size of the log in bytes.
    pub(super) fn log_bytes(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |meta| meta.len())
    }

    /// Says which program keeps the log from being emptied, and what to do.
    pub(super) fn pinned(&self) -> String {
        let who = holder::reader(&self.path).unwrap_or_else(|| "a reader".to_owned());
        format!(
            "{who} stays in an old state of the database, so its log of {} bytes cannot be emptied: end that read, or \
             allow more than {} bytes (PEEPS_DB_MAX_BYTES)",
            self.log_bytes(),
            self.max_bytes
        )
    }

    /// The bytes of file and log, or of the file after the log has been moved to it.
    fn bytes(&self, db: &Connection) -> Result<u64, StoreError> {
        let file = fs::metadata(&self.path).map_or(0, |meta| meta.len());
        Ok(file.max(pragma(db, "page_count")? * pragma(db, "page_size")?) + self.log_bytes())
    }
}

fn count(db: &Connection) -> Result<u64, StoreError> {
    let count: i64 = db.query_row("SELECT count(*) FROM snapshots", [], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

fn pragma(db: &Connection, name: &str) -> Result<u64, StoreError> {
    let value: i64 = db.pragma_query_value(None, name, |row| row.get(0))?;
    Ok(value.unsigned_abs())
}

/// The bytes of used pages.
fn used_bytes(db: &Connection) -> Result<u64, StoreError> {
    Ok((pragma(db, "page_count")?.saturating_sub(pragma(db, "freelist_count")?)) * pragma(db, "page_size")?)
}

/// In one transaction, so that a cut is never deleted in part.
fn forget_oldest(db: &Connection) -> Result<bool, StoreError> {
    let oldest: Option<i64> = db.query_row("SELECT min(snapshot_id) FROM snapshots", [], |row| row.get(0))?;
    let Some(id) = oldest else { return Ok(false) };
    let transaction = db.unchecked_transaction()?;
    for table in ["snapshots", "snapshot_processes", "nodes", "edges", "unresolved_edges"] {
        transaction.execute(&format!("DELETE FROM {table} WHERE snapshot_id = ?1"), params![id])?;
    }
    transaction.commit()?;
    tracing::info!(snapshot_id = id, "forgot the oldest cut");
    Ok(true)
}

/// Free pages are used again. The file is made smaller only if it exceeds its bound, or is more than half empty.
fn shrink(db: &Connection, max_bytes: u64) -> Result<(), StoreError> {
    loop {
        let (pages, free) = (pragma(db, "page_count")?, pragma(db, "freelist_count")?);
        let beyond = pages * pragma(db, "page_size")? > max_bytes;
        if free == 0 || !(beyond || free > pages / 2 + 1024) {
            return Ok(());
        }
        db.execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES});"))?;
        if pragma(db, "freelist_count")? >= free {
            return Ok(());
        }
    }
}
