//! What is forgotten, and when: oldest first.

use rusqlite::{Connection, params};

use super::StoreError;
use crate::{
    collector::events::now_ns,
    limits::{EVENT_RETENTION, MAX_EVENTS, MAX_SNAPSHOTS},
};

/// Pages returned to the file system in one step.
const VACUUM_PAGES: u32 = 4096;

/// Forgets old cuts until there are fewer than the number kept and `wanted` bytes fit under `max_bytes`.
pub(super) fn make_room(db: &Connection, wanted: u64, max_bytes: u64) -> Result<(), StoreError> {
    if wanted > max_bytes {
        return Err(StoreError::Full(format!(
            "it needs about {wanted} bytes, and PEEPS_DB_MAX_BYTES is {max_bytes}: allow more"
        )));
    }
    while count(db)? >= MAX_SNAPSHOTS || used_bytes(db)? + wanted > max_bytes {
        if !forget_oldest(db)? {
            break;
        }
    }
    shrink(db, max_bytes)
}

/// Forgets what is beyond the bounds now.
pub(super) fn trim(db: &Connection, max_bytes: u64) -> Result<(), StoreError> {
    while (count(db)? > MAX_SNAPSHOTS || used_bytes(db)? > max_bytes) && forget_oldest(db)? {}
    let oldest = now_ns().saturating_sub(i64::try_from(EVENT_RETENTION.as_nanos()).unwrap_or(i64::MAX));
    db.execute("DELETE FROM ingest_events WHERE event_at_ns < ?1", [oldest])?;
    db.execute(
        "DELETE FROM ingest_events WHERE event_id <= (SELECT max(event_id) FROM ingest_events) - ?1",
        [MAX_EVENTS as i64],
    )?;
    shrink(db, max_bytes)
}

fn count(db: &Connection) -> Result<u64, StoreError> {
    let count: i64 = db.query_row("SELECT count(*) FROM snapshots", [], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

fn pragma(db: &Connection, name: &str) -> Result<u64, StoreError> {
    let value: i64 = db.pragma_query_value(None, name, |row| row.get(0))?;
    Ok(value.unsigned_abs())
}

/// Pages that hold something.
fn used_bytes(db: &Connection) -> Result<u64, StoreError> {
    Ok((pragma(db, "page_count")?.saturating_sub(pragma(db, "freelist_count")?)) * pragma(db, "page_size")?)
}

/// One transaction, so that a cut is never half forgotten.
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

/// Free pages are used again; the file is made smaller only when it is beyond its bound, or more than half empty.
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
