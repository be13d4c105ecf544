//! Restricts what a query may read.
//!
//! For each column that is read, SQLite tells its authorizer the table, the database and the *accessor*. The accessor
//! is the name of the innermost view, or of anything else with a name in the query: a common table expression called
//! `nodes` is an accessor called `nodes`. So an accessor with a guessable name proves nothing. Only an accessor with
//! the random name of an inner view may read `main`. That name is new in each request, and each request is one
//! statement, so a caller who learns the name can no longer use it.
//!
//! A table of which no column is read (`SELECT count(*) FROM t`) is reported by its name as written, and so is a common
//! table expression. Then the name decides: every name that SQLite knows, of whatever kind, is refused.

use std::{
    collections::HashSet,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{
    Connection,
    hooks::{AuthAction, AuthContext, Authorization},
};

use crate::limits::SQL_MAX_FUNCTIONS;

/// The views with their columns.
const VIEWS: [(&str, &str); 4] = [
    ("nodes", "snapshot_id, id, label, kind, process, proc_key, attrs_json"),
    ("edges", "snapshot_id, src_id, dst_id, kind, attrs_json, src_proc_key, dst_proc_key"),
    (
        "unresolved_edges",
        "snapshot_id, src_id, dst_id, kind, missing_side, reason, referenced_proc_key, attrs_json, src_proc_key, \
         dst_proc_key",
    ),
    ("snapshot_processes", "snapshot_id, process, pid, proc_key, status, recv_at_ns, error_text"),
];

/// Functions that read nothing but their arguments, return nothing larger than these, and take time in proportion to
/// them.
const FUNCTIONS: &[&str] = &[
    "->",
    "->>",
    "abs",
    "avg",
    "ceil",
    "ceiling",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "count",
    "cume_dist",
    "date",
    "datetime",
    "dense_rank",
    "first_value",
    "floor",
    "glob",
    "group_concat",
    "hex",
    "if",
    "ifnull",
    "iif",
    "json",
    "json_array",
    "json_array_length",
    "json_extract",
    "json_group_array",
    "json_group_object",
    "json_object",
    "json_quote",
    "json_type",
    "json_valid",
    "julianday",
    "lag",
    "last_value",
    "lead",
    "length",
    "like",
    "likelihood",
    "likely",
    "lower",
    "max",
    "min",
    "mod",
    "nth_value",
    "ntile",
    "nullif",
    "octet_length",
    "percent_rank",
    "quote",
    "rank",
    "round",
    "row_number",
    "sign",
    "strftime",
    "string_agg",
    "substr",
    "substring",
    "subtype",
    "sum",
    "time",
    "total",
    "trunc",
    "typeof",
    "unicode",
    "unixepoch",
    "unlikely",
    "upper",
];

/// The views of one request.
pub(super) struct Scope {
    /// Random names of the inner views, in the order of [`VIEWS`].
    inner: [String; 4],
    /// Names of everything in the schemas, in lower case.
    existing: HashSet<String>,
    /// A database that has only the tables that SQLite makes by itself.
    bare: Mutex<Connection>,
}

/// The refused names, for the answer.
#[derive(Clone, Default)]
pub(super) struct Refusals(Arc<Mutex<Option<String>>>);

impl Refusals {
    pub(super) fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, what: String) -> Authorization {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
        Authorization::Deny
    }
}

impl Scope {
    /// Creates the views in the connection's temporary schema.
    pub(super) fn install(db: &Connection, snapshot_id: i64) -> Result<Self, rusqlite::Error> {
        let inner = std::array::from_fn(|_| format!("s_{}", hex::encode(rand::random::<[u8; 16]>())));
        let mut sql = String::new();
        for ((table, columns), inner) in VIEWS.iter().zip(&inner) {
            let _ = write!(
                sql,
                "CREATE TEMP VIEW {inner} AS SELECT {columns} FROM main.{table} WHERE snapshot_id = {snapshot_id};\
                 CREATE TEMP VIEW {table} AS SELECT {columns} FROM temp.{inner};"
            );
        }
        db.execute_batch(&sql)?;
        let mut names = db.prepare("SELECT name FROM main.sqlite_schema UNION SELECT name FROM temp.sqlite_schema")?;
        let existing = names
            .query_map([], |row| row.get::<_, String>(0))?
            .map(|name| name.map(|name| name.to_ascii_lowercase()))
            .collect::<Result<_, _>>()?;
        Ok(Self { inner, existing, bare: Mutex::new(Connection::open_in_memory()?) })
    }

    /// From here on the connection can read nothing else.
    pub(super) fn enforce(self, db: &mut Connection) -> Result<Refusals, rusqlite::Error> {
        let refusals = Refusals::default();
        let noted = refusals.clone();
        let mut functions = 0;
        db.authorizer(Some(move |context: AuthContext<'_>| match context.action {
            AuthAction::Select | AuthAction::Recursive => Authorization::Allow,
            AuthAction::Read { table_name, column_name } => {
                if self.may_read(table_name, column_name, &context) {
                    Authorization::Allow
                } else {
                    noted.note(format!("{table_name} is out of scope"))
                }
            }
            AuthAction::Function { function_name } => {
                functions += 1;
                if functions > SQL_MAX_FUNCTIONS {
                    noted.note(format!("more than {SQL_MAX_FUNCTIONS} calls of functions"))
                } else if FUNCTIONS.iter().any(|known| known.eq_ignore_ascii_case(function_name)) {
                    Authorization::Allow
                } else {
                    noted.note(format!("the function {function_name} is not allowed"))
                }
            }
            _ => noted.note("the statement does more than read".to_owned()),
        }))?;
        Ok(refusals)
    }

    fn may_read(&self, table: &str, column: &str, context: &AuthContext<'_>) -> bool {
        let outer = VIEWS.iter().position(|(view, _)| view.eq_ignore_ascii_case(table));
        let inner = self.inner.iter().position(|name| name == table);
        match (context.database_name, column) {
            // A table may be read through the inner view of that table.
            (Some("main"), _) => outer.is_some_and(|view| context.accessor == Some(&self.inner[view])),
            // An inner view may be read through its outer one, an outer one by everybody.
            (Some("temp"), _) => match inner {
                Some(view) => context.accessor.is_some_and(|by| by.eq_ignore_ascii_case(VIEWS[view].0)),
                None => outer.is_some(),
            },
            // No column is read, and the name was written without a database: a view, or a name defined in the query.
            (None, "") => outer.is_some() || self.is_nothing(table),
            _ => false,
        }
    }

    /// Whether SQLite does not know this name. Virtual tables such as `json_each` are created when they are used, so no
    /// list has them all; an empty database is asked.
    fn is_nothing(&self, name: &str) -> bool {
        let lower = name.to_ascii_lowercase();
        if lower.starts_with("sqlite_") || lower.starts_with("pragma_") || self.existing.contains(&lower) {
            return false;
        }
        let quoted = name.replace('"', "\"\"");
        let bare = self.bare.lock().unwrap_or_else(PoisonError::into_inner);
        match bare.prepare(&format!("SELECT 1 FROM \"{quoted}\"")) {
            Ok(_) => false,
            Err(error) => error.to_string().contains("no such table"),
        }
    }
}
