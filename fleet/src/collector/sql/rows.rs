//! Reads rows until a bound is reached.

use rusqlite::{ErrorCode, Statement, types::ValueRef};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::limits::{SQL_MAX_JSON_BYTES, SQL_MAX_ROWS};

#[derive(Debug, Serialize)]
pub(crate) struct SqlAnswer {
    pub(crate) columns: Vec<String>,
    /// The array of rows as JSON text.
    pub(crate) rows: Box<RawValue>,
    pub(crate) row_count: usize,
    /// A bound of time, rows or bytes was reached; there may be more rows.
    pub(crate) truncated: bool,
}

pub(super) fn collect(statement: &mut Statement<'_>) -> Result<SqlAnswer, rusqlite::Error> {
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let width = columns.len();
    let names: usize = columns.iter().map(|name| 6 * name.len() + 3).sum();
    let (mut json, mut row_count, mut truncated) = (String::from("["), 0, false);
    let mut rows = statement.raw_query();
    loop {
        match rows.next() {
            Ok(None) => break,
            Ok(Some(_)) if row_count == SQL_MAX_ROWS => {
                truncated = true;
                break;
            }
            Ok(Some(row)) => {
                let before = json.len();
                json.push_str(if row_count == 0 { "[" } else { ",[" });
                for column in 0..width {
                    if column > 0 {
                        json.push(',');
                    }
                    push(&mut json, row.get_ref(column)?);
                }
                json.push(']');
                if json.len() + names > SQL_MAX_JSON_BYTES {
                    json.truncate(before);
                    truncated = true;
                    break;
                }
                row_count += 1;
            }
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
                truncated = true;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    drop(rows);
    json.push(']');
    // It consists of valid pieces.
    let rows = RawValue::from_string(json).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    Ok(SqlAnswer { columns, rows, row_count, truncated })
}

fn push(json: &mut String, value: ValueRef<'_>) {
    let written = match value {
        ValueRef::Null => Ok("null".to_owned()),
        ValueRef::Integer(integer) => Ok(integer.to_string()),
        ValueRef::Real(real) => serde_json::to_string(&real),
        ValueRef::Text(text) => serde_json::to_string(&String::from_utf8_lossy(text)),
        ValueRef::Blob(blob) => serde_json::to_string(&hex::encode(blob)),
    };
    json.push_str(written.as_deref().unwrap_or("null"));
}
