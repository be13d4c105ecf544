//! SQL queries over one cut that cannot reach anything else.
//!
//! For each request a connection of its own gets two temporary views for each table: an inner one with an unguessable
//! name over `main.X WHERE snapshot_id = N`, and an outer one `X` over the inner one. Then an authorizer is set. It
//! lets `main` be read only through an inner view, and an inner view only through its outer one ([`scope`]).
//!
//! The clock is checked between steps of SQLite's virtual machine. What runs between two checks is bounded by the size
//! of values and the number of function calls; functions whose time grows with the product of two texts are not
//! available.

mod rows;
mod scope;

use std::{path::Path, time::Instant};

use rusqlite::{
    Batch, Connection, Statement, fallible_iterator::FallibleIterator as _, limits::Limit, types::ToSqlOutput,
};
use serde::Serialize;

use self::{
    rows::SqlAnswer,
    scope::{Refusals, Scope},
};
use crate::{
    collector::store::schema::open_reader,
    limits::{SQL_MAX_PARAMS, SQL_MAX_TEXT_BYTES, SQL_MAX_VALUE_BYTES, SQL_TIMEOUT},
};

/// Steps of SQLite's virtual machine between two checks of the clock.
const STEPS_BETWEEN_LOOKS: i32 = 200;

/// A query over one cut.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) snapshot_id: i64,
    pub(crate) sql: String,
    pub(crate) params: Vec<serde_json::Value>,
}

/// Why a query returns no rows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SqlError {
    /// The caller's SQL is at fault.
    #[error("{0}")]
    Refused(String),
    #[error("there is no cut {0}")]
    NoSuchCut(i64),
    #[error("the database failed: {0}")]
    Store(#[from] rusqlite::Error),
}

#[derive(Debug, Serialize)]
pub(crate) struct Rows {
    pub(crate) snapshot_id: i64,
    #[serde(flatten)]
    pub(crate) answer: SqlAnswer,
}

/// Runs a query. Blocks for a second at most.
pub(crate) fn run(path: &Path, query: &Query) -> Result<Rows, SqlError> {
    let deadline = Instant::now() + SQL_TIMEOUT;
    if query.sql.len() > SQL_MAX_TEXT_BYTES {
        return Err(SqlError::Refused(format!("the SQL is longer than {SQL_MAX_TEXT_BYTES} bytes")));
    }
    if query.params.len() > SQL_MAX_PARAMS {
        return Err(SqlError::Refused(format!("there are more than {SQL_MAX_PARAMS} params")));
    }
    let mut db = open_reader(path)?;
    // One transaction, so that the database does not change between the look-up of the cut and the last row.
    db.execute_batch("BEGIN")?;
    let known: bool = db.query_row(
        "SELECT EXISTS (SELECT 1 FROM main.snapshots WHERE snapshot_id = ?1 AND completed_at_ns IS NOT NULL)",
        [query.snapshot_id],
        |row| row.get(0),
    )?;
    if !known {
        return Err(SqlError::NoSuchCut(query.snapshot_id));
    }
    let scope = Scope::install(&db, query.snapshot_id)?;
    db.pragma_update(None, "query_only", true)?;
    bound(&db)?;
    let refusals = scope.enforce(&mut db)?;
    db.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || Instant::now() >= deadline))?;
    let answer = execute(&db, query).map_err(|error| refused(&error, &refusals));
    Ok(Rows { snapshot_id: query.snapshot_id, answer: answer? })
}

fn bound(db: &Connection) -> Result<(), rusqlite::Error> {
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, SQL_MAX_VALUE_BYTES),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, SQL_MAX_TEXT_BYTES as i32),
        (Limit::SQLITE_LIMIT_COLUMN, 200),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 50),
        (Limit::SQLITE_LIMIT_VDBE_OP, 100_000),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, 16),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 64),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, SQL_MAX_PARAMS as i32),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 0),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        db.set_limit(limit, value)?;
    }
    Ok(())
}

fn execute(db: &Connection, query: &Query) -> Result<SqlAnswer, Failure> {
    // Statement by statement, because `prepare` would look for a second one by calling itself.
    let mut batch = Batch::new(db, &query.sql);
    let Some(mut statement) = batch.next()? else { return Err(Failure::Empty) };
    match batch.next() {
        Ok(None) => {}
        // A second statement, whether it could be prepared or not.
        Ok(Some(_)) | Err(_) => return Err(Failure::Several),
    }
    if statement.is_explain() != 0 {
        return Err(Failure::Explain);
    }
    if !statement.readonly() || statement.column_count() == 0 {
        return Err(Failure::NotARead);
    }
    bind(&mut statement, &query.params)?;
    Ok(rows::collect(&mut statement)?)
}

/// What is wrong with a query.
enum Failure {
    Empty,
    Several,
    Explain,
    NotARead,
    Params { given: usize, wanted: usize },
    Param(usize),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn bind(statement: &mut Statement<'_>, params: &[serde_json::Value]) -> Result<(), Failure> {
    if statement.parameter_count() != params.len() {
        return Err(Failure::Params { given: params.len(), wanted: statement.parameter_count() });
    }
    for (index, value) in params.iter().enumerate() {
        let output = match value {
            serde_json::Value::Null => ToSqlOutput::from(rusqlite::types::Null),
            serde_json::Value::Bool(flag) => ToSqlOutput::from(*flag),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => ToSqlOutput::from(integer),
                (None, Some(real)) => ToSqlOutput::from(real),
                (None, None) => return Err(Failure::Param(index)),
            },
            serde_json::Value::String(text) => ToSqlOutput::from(text.as_str()),
            serde_json::Value::Array(_) | serde_json::Value::Object(_) => return Err(Failure::Param(index)),
        };
        statement.raw_bind_parameter(index + 1, output)?;
    }
    Ok(())
}

fn refused(failure: &Failure, refusals: &Refusals) -> SqlError {
    let message = match failure {
        Failure::Empty => "there is no SQL statement".to_owned(),
        Failure::Several => "exactly one statement is allowed".to_owned(),
        Failure::Explain => "EXPLAIN is not allowed".to_owned(),
        Failure::NotARead => "only a query is allowed".to_owned(),
        Failure::Params { given, wanted } => format!("the SQL has {wanted} parameters and params has {given}"),
        Failure::Param(index) => format!("params[{index}] must be null, a boolean, a number or a text"),
        Failure::Sqlite(error) => match refusals.last() {
            Some(what) => {
                format!("{what}: only the views nodes, edges, unresolved_edges and snapshot_processes can be read")
            }
            None => message_of(error),
        },
    };
    SqlError::Refused(crate::escape(&message))
}

/// SQLite's message without our text around it.
fn message_of(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        rusqlite::Error::SqliteFailure(_, Some(msg)) => msg.clone(),
        other => other.to_string(),
    }
}
