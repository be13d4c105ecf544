//! The tables, and the settings of connections.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{StoreError, migrate, retention::BUSY_WAIT};
use crate::limits::SQLITE_HEAP_BYTES;

/// Written into `PRAGMA user_version`.
const VERSION: i64 = 2;
const PAGE_BYTES: i64 = 4096;

/// The primary key includes the process, because two hosts may use the same ids.
pub(super) const EDGES: &str = "
    snapshot_id INTEGER NOT NULL,
    src_id TEXT NOT NULL,
    dst_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    attrs_json TEXT NOT NULL,
    src_proc_key TEXT NOT NULL,
    dst_proc_key TEXT NOT NULL,
    PRIMARY KEY (snapshot_id, src_id, dst_id, kind, src_proc_key, dst_proc_key)
";
pub(super) const UNRESOLVED_EDGES: &str = "
    snapshot_id INTEGER NOT NULL,
    src_id TEXT NOT NULL,
    dst_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    missing_side TEXT NOT NULL,
    reason TEXT NOT NULL,
    referenced_proc_key TEXT,
    attrs_json TEXT NOT NULL,
    src_proc_key TEXT NOT NULL,
    dst_proc_key TEXT NOT NULL,
    PRIMARY KEY (snapshot_id, src_id, dst_id, kind, src_proc_key, dst_proc_key)
";
pub(super) const EDGE_INDEX: &str = "CREATE INDEX edges_by_destination ON edges (snapshot_id, dst_id);";

/// Without row ids the table is stored in the order of the primary key, in which a cut is read.
const TABLES: &str = "
CREATE TABLE snapshots (
    snapshot_id INTEGER PRIMARY KEY,
    requested_at_ns INTEGER NOT NULL,
    completed_at_ns INTEGER,
    timeout_ms INTEGER NOT NULL
);
CREATE TABLE snapshot_processes (
    snapshot_id INTEGER NOT NULL,
    process TEXT NOT NULL,
    pid INTEGER,
    proc_key TEXT NOT NULL,
    status TEXT NOT NULL,
    recv_at_ns INTEGER,
    error_text TEXT,
    PRIMARY KEY (snapshot_id, proc_key)
) WITHOUT ROWID;
CREATE TABLE nodes (
    snapshot_id INTEGER NOT NULL,
    id TEXT NOT NULL,
    label TEXT NOT NULL,
    kind TEXT NOT NULL,
    process TEXT NOT NULL,
    proc_key TEXT NOT NULL,
    attrs_json TEXT NOT NULL,
    PRIMARY KEY (snapshot_id, proc_key, id)
) WITHOUT ROWID;
CREATE TABLE ingest_events (
    event_id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_at_ns INTEGER NOT NULL,
    snapshot_id INTEGER,
    process TEXT,
    pid INTEGER,
    proc_key TEXT,
    event_kind TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE TABLE next_snapshot (id INTEGER NOT NULL);
INSERT INTO next_snapshot VALUES (1);
CREATE INDEX nodes_by_kind ON nodes (snapshot_id, kind);
";

/// Opens the database for the one writer. Creates it if it is absent.
pub(crate) fn open_writer(path: &Path, max_bytes: u64) -> Result<Connection, StoreError> {
    let db = Connection::open(path)?;
    db.busy_timeout(BUSY_WAIT)?;
    harden(&db)?;
    // Both settings take effect only before the first table exists.
    db.pragma_update(None, "page_size", PAGE_BYTES)?;
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    db.pragma_update(None, "hard_heap_limit", SQLITE_HEAP_BYTES)?;
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let ours = [1, VERSION].contains(&version) || (version == 0 && tables == 0);
    if !ours {
        return Err(StoreError::Foreign { path: path.into(), found: version, wanted: VERSION });
    }
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    // The writer does this itself, after its caller has the answer.
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    db.pragma_update(None, "cache_size", -65_536)?;
    if version == 1 {
        migrate::from_1(&db)?;
    }
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
    if tables == 0 {
        db.execute_batch(&format!(
            "BEGIN IMMEDIATE;{TABLES}\
             CREATE TABLE edges ({EDGES}) WITHOUT ROWID; {EDGE_INDEX}\
             CREATE TABLE unresolved_edges ({UNRESOLVED_EDGES}) WITHOUT ROWID;\
             PRAGMA user_version = {VERSION};COMMIT;"
        ))?;
    }
    db.pragma_update(None, "max_page_count", i64::try_from(max_bytes).unwrap_or(i64::MAX) / PAGE_BYTES)?;
    Ok(db)
}

/// Opens the database read-only for one request.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY_WAIT)?;
    harden(&db)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "cache_size", -8192)?;
    Ok(db)
}

/// Somebody else may have written the file, so its schema must not run anything.
fn harden(db: &Connection) -> Result<(), rusqlite::Error> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    Ok(())
}
