//! Migrates databases of earlier versions when they are opened, cut by cut.
//!
//! Each cut is one transaction, and the version changes with the last one. After a crash the next start continues.

use rusqlite::{Connection, params};

use super::{StoreError, schema};

/// Migrates from version 1, whose edges did not say which processes their ends belong to. It assigns them to the first
/// process, in the order of keys, that reported the id.
pub(super) fn from_1(db: &Connection) -> Result<(), StoreError> {
    tracing::info!("the database is of an earlier version: bringing its cuts up to date");
    db.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS edges_2 ({}) WITHOUT ROWID;\
         CREATE TABLE IF NOT EXISTS unresolved_edges_2 ({}) WITHOUT ROWID;\
         CREATE TEMP TABLE owner (id TEXT PRIMARY KEY, proc_key TEXT NOT NULL) WITHOUT ROWID;",
        schema::EDGES,
        schema::UNRESOLVED_EDGES,
    ))?;
    while let Some(id) = next(db)? {
        let transaction = db.unchecked_transaction()?;
        transaction.execute("DELETE FROM temp.owner", [])?;
        transaction.execute(
            "INSERT INTO temp.owner SELECT id, min(proc_key) FROM main.nodes WHERE snapshot_id = ?1 GROUP BY id",
            params![id],
        )?;
        for table in ["edges", "unresolved_edges"] {
            transaction.execute(
                &format!(
                    "INSERT INTO main.{table}_2 SELECT e.*, coalesce(s.proc_key, ''), coalesce(d.proc_key, '') \
                     FROM main.{table} e LEFT JOIN temp.owner s ON s.id = e.src_id \
                     LEFT JOIN temp.owner d ON d.id = e.dst_id WHERE e.snapshot_id = ?1"
                ),
                params![id],
            )?;
            transaction.execute(&format!("DELETE FROM main.{table} WHERE snapshot_id = ?1"), params![id])?;
        }
        transaction.commit()?;
    }
    db.execute_batch(&format!(
        "BEGIN IMMEDIATE;\
         DROP TABLE main.edges; ALTER TABLE main.edges_2 RENAME TO edges; {}\
         DROP TABLE main.unresolved_edges; ALTER TABLE main.unresolved_edges_2 RENAME TO unresolved_edges;\
         PRAGMA user_version = 2; COMMIT; DROP TABLE temp.owner;",
        schema::EDGE_INDEX,
    ))?;
    Ok(())
}

/// The oldest cut that still has edges in the old tables.
fn next(db: &Connection) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT min(id) FROM (SELECT min(snapshot_id) AS id FROM main.edges \
               UNION ALL SELECT min(snapshot_id) FROM main.unresolved_edges)";
    Ok(db.query_row(sql, [], |row| row.get(0))?)
}
