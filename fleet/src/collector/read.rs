//! The queries behind HTTP answers: the list of cuts, one cut's summary, one cut's graph.

use std::io::{self, Write};

use rusqlite::{Connection, OptionalExtension as _, Row};
use serde::Serialize;

/// A cut in the list.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    pub(crate) snapshot_id: i64,
    pub(crate) requested_at_ns: i64,
    pub(crate) completed_at_ns: i64,
    pub(crate) timeout_ms: i64,
    pub(crate) requested: i64,
    pub(crate) responded: i64,
    pub(crate) timed_out: i64,
    pub(crate) disconnected: i64,
}

/// One cut.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    #[serde(flatten)]
    pub(crate) listed: Listed,
    pub(crate) nodes: i64,
    pub(crate) edges: i64,
    pub(crate) unresolved_edges: i64,
    pub(crate) processes: Vec<Process>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Process {
    proc_key: String,
    process: String,
    pid: Option<i64>,
    status: String,
    recv_at_ns: Option<i64>,
    error_text: Option<String>,
}

const LISTED: &str = "SELECT s.snapshot_id, s.requested_at_ns, s.completed_at_ns, s.timeout_ms, count(p.status), \
    count(*) FILTER (WHERE p.status = 'responded'), count(*) FILTER (WHERE p.status = 'timeout'), \
    count(*) FILTER (WHERE p.status = 'disconnected') \
    FROM snapshots s LEFT JOIN snapshot_processes p USING (snapshot_id) \
    WHERE s.completed_at_ns IS NOT NULL";

fn listed(row: &Row<'_>) -> Result<Listed, rusqlite::Error> {
    Ok(Listed {
        snapshot_id: row.get(0)?,
        requested_at_ns: row.get(1)?,
        completed_at_ns: row.get(2)?,
        timeout_ms: row.get(3)?,
        requested: row.get(4)?,
        responded: row.get(5)?,
        timed_out: row.get(6)?,
        disconnected: row.get(7)?,
    })
}

/// Newest first.
pub(crate) fn list(db: &Connection) -> Result<Vec<Listed>, rusqlite::Error> {
    let mut query = db.prepare(&format!("{LISTED} GROUP BY s.snapshot_id ORDER BY s.snapshot_id DESC"))?;
    query.query_map([], listed)?.collect()
}

/// The newest complete cut.
pub(crate) fn newest(db: &Connection) -> Result<Option<i64>, rusqlite::Error> {
    let sql = "SELECT max(snapshot_id) FROM snapshots WHERE completed_at_ns IS NOT NULL";
    db.query_row(sql, [], |row| row.get(0))
}

/// Whether this cut exists and is complete.
pub(crate) fn exists(db: &Connection, id: i64) -> Result<bool, rusqlite::Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM snapshots WHERE snapshot_id = ?1 AND completed_at_ns IS NOT NULL)";
    db.query_row(sql, [id], |row| row.get(0))
}

pub(crate) fn summary(db: &Connection, id: i64) -> Result<Option<Summary>, rusqlite::Error> {
    db.execute_batch("BEGIN")?;
    let sql = format!("{LISTED} AND s.snapshot_id = ?1 GROUP BY s.snapshot_id");
    let Some(listed) = db.query_row(&sql, [id], listed).optional()? else { return Ok(None) };
    let count = |table: &str| {
        db.query_row(&format!("SELECT count(*) FROM {table} WHERE snapshot_id = ?1"), [id], |row| row.get(0))
    };
    let mut processes = db.prepare(
        "SELECT proc_key, process, pid, status, recv_at_ns, error_text FROM snapshot_processes \
         WHERE snapshot_id = ?1 ORDER BY proc_key",
    )?;
    let processes = processes.query_map([id], |row| {
        Ok(Process {
            proc_key: row.get(0)?,
            process: row.get(1)?,
            pid: row.get(2)?,
            status: row.get(3)?,
            recv_at_ns: row.get(4)?,
            error_text: row.get(5)?,
        })
    })?;
    Ok(Some(Summary {
        listed,
        nodes: count("nodes")?,
        edges: count("edges")?,
        unresolved_edges: count("unresolved_edges")?,
        processes: processes.collect::<Result<_, _>>()?,
    }))
}

/// Why a graph could not be written completely.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GraphError {
    #[error("the database failed")]
    Store(#[from] rusqlite::Error),
    #[error("the reader went away")]
    Write(#[from] io::Error),
    #[error("a row could not be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// Writes a cut's graph as JSON, row by row, because it may be too large for memory.
pub(crate) fn write_graph(db: &Connection, id: i64, out: &mut impl Write) -> Result<(), GraphError> {
    db.execute_batch("BEGIN")?;
    write!(out, "{{\"snapshot_id\":{id}")?;
    write_table(db, id, out, "nodes", &["id", "label", "kind", "process", "proc_key", "attrs_json"])?;
    write_table(db, id, out, "edges", &["src_id", "dst_id", "kind", "attrs_json", "src_proc_key", "dst_proc_key"])?;
    let unresolved = [
        "src_id",
        "dst_id",
        "kind",
        "missing_side",
        "reason",
        "referenced_proc_key",
        "attrs_json",
        "src_proc_key",
        "dst_proc_key",
    ];
    write_table(db, id, out, "unresolved_edges", &unresolved)?;
    out.write_all(b"}")?;
    out.flush()?;
    Ok(())
}

fn write_table(
    db: &Connection,
    id: i64,
    out: &mut impl Write,
    table: &str,
    columns: &[&str],
) -> Result<(), GraphError> {
    write!(out, ",\"{table}\":[")?;
    let mut query = db.prepare(&format!("SELECT {} FROM {table} WHERE snapshot_id = ?1", columns.join(", ")))?;
    let mut rows = query.query([id])?;
    let mut first = true;
    while let Some(row) = rows.next()? {
        out.write_all(if first { b"{" } else { b",{" })?;
        first = false;
        for (index, column) in columns.iter().enumerate() {
            write!(out, "{}\"{column}\":", if index == 0 { "" } else { "," })?;
            serde_json::to_writer(&mut *out, &row.get_ref(index)?.as_str_or_null().unwrap_or(None))?;
        }
        out.write_all(b"}")?;
    }
    out.write_all(b"]")?;
    Ok(())
}
