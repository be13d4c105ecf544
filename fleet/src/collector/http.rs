//! The routes.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::Stream;
use http::{HeaderValue, Method, StatusCode, header};
use rpp_http::{Problem, json};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Semaphore, mpsc},
    task::spawn_blocking,
};
use warp::{Filter, Reply as _, hyper::body::Bytes, path::FullPath, reply::Response};

use super::{
    hub::{CutError, Hub},
    page, read,
    sql::{self, Query, SqlError},
    store::{StoreError, schema::open_reader},
    waits,
};
use crate::limits::{MAX_READERS, MAX_SENDERS};

/// What every route needs.
pub(crate) struct Api {
    hub: Arc<Hub>,
    db: PathBuf,
    readers: Arc<Semaphore>,
    /// Graphs being sent: their readers may be slow, and must not hold up the others.
    senders: Arc<Semaphore>,
}

impl Api {
    pub(crate) fn new(hub: Arc<Hub>, db: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            hub,
            db,
            readers: Arc::new(Semaphore::new(MAX_READERS)),
            senders: Arc::new(Semaphore::new(MAX_SENDERS)),
        })
    }
}

/// All routes as one filter.
pub(crate) fn routes(
    api: Arc<Api>,
) -> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone + Send + Sync + 'static {
    warp::method().and(warp::path::full()).and(warp::body::bytes()).then(
        move |method: Method, path: FullPath, body: Bytes| {
            let api = Arc::clone(&api);
            async move {
                match api.route(&method, path.as_str(), &body).await {
                    Ok(response) => response,
                    Err(problem) => problem.into_response(),
                }
            }
        },
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SqlBody {
    snapshot_id: i64,
    sql: String,
    #[serde(default)]
    params: Vec<serde_json::Value>,
}

/// `{}`, or nothing at all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoBody {}

#[derive(Serialize)]
struct Connected {
    proc_key: String,
    process: String,
    pid: Option<u64>,
    address: String,
    connected_at_ns: i64,
    replies: u64,
}

impl Api {
    async fn route(&self, method: &Method, path: &str, body: &[u8]) -> Result<Response, Problem> {
        let get = |allowed: &Method| if method == allowed { Ok(()) } else { Err(wrong_method(allowed)) };
        if let Some(file) = page::file(path) {
            get(&Method::GET)?;
            return Ok(file);
        }
        match path {
            "/health" => get(&Method::GET).map(|()| plain("ok")),
            "/api/jump-now" => {
                get(&Method::POST)?;
                self.jump(body).await
            }
            "/api/sql" => {
                get(&Method::POST)?;
                self.sql(body).await
            }
            "/api/connections" => get(&Method::GET).map(|()| self.connections()),
            "/api/snapshots" => {
                get(&Method::GET)?;
                self.read(|db| Ok(ok(&read::list(db)?))).await
            }
            "/api/waits" => {
                get(&Method::GET)?;
                self.read(|db| match read::newest(db)? {
                    Some(id) => Ok(ok(&waits::read(db, id)?)),
                    None => Err(no_such_cut("there is no cut yet").into()),
                })
                .await
            }
            _ => match path.strip_prefix("/api/snapshots/") {
                Some(rest) => {
                    get(&Method::GET)?;
                    self.snapshot(rest).await
                }
                None => Err(Problem::not_found()),
            },
        }
    }

    async fn jump(&self, body: &[u8]) -> Result<Response, Problem> {
        if !body.is_empty() {
            parse::<NoBody>(body)?;
        }
        match self.hub.jump().await {
            Ok(saved) => Ok(ok(&*saved)),
            Err(error) => Err(cut_problem(&error)),
        }
    }

    async fn sql(&self, body: &[u8]) -> Result<Response, Problem> {
        let SqlBody { snapshot_id, sql, params } = parse(body)?;
        let query = Query { snapshot_id, sql, params };
        let path = self.db.clone();
        let answer = self.blocking(move || sql::run(&path, &query)).await?;
        answer.map(|rows| ok(&rows)).map_err(|error| match error {
            SqlError::Refused(why) => Problem::new(StatusCode::BAD_REQUEST, "sql", why),
            SqlError::NoSuchCut(_) => no_such_cut(&error.to_string()),
            SqlError::Store(source) => store_problem(&self.db, source),
        })
    }

    fn connections(&self) -> Response {
        let all: Vec<Connected> = self.hub.with_roster(|roster| {
            roster
                .iter()
                .map(|(_, connection)| Connected {
                    proc_key: connection.name.proc_key.clone(),
                    process: connection.name.process.clone(),
                    pid: connection.name.pid,
                    address: connection.address.clone(),
                    connected_at_ns: connection.since_ns,
                    replies: connection.replies,
                })
                .collect()
        });
        ok(&all)
    }

    async fn snapshot(&self, rest: &str) -> Result<Response, Problem> {
        let (id, part) = rest.split_once('/').unwrap_or((rest, ""));
        let id: i64 =
            id.parse().map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "invalid", "the id of a cut is a number"))?;
        match part {
            "" if !rest.contains('/') => {
                self.read(move |db| match read::summary(db, id)? {
                    Some(summary) => Ok(ok(&summary)),
                    None => Err(unknown(id).into()),
                })
                .await
            }
            "waits" => {
                self.read(move |db| match read::exists(db, id)? {
                    true => Ok(ok(&waits::read(db, id)?)),
                    false => Err(unknown(id).into()),
                })
                .await
            }
            "graph" => self.graph(id).await,
            _ => Err(Problem::not_found()),
        }
    }

    async fn graph(&self, id: i64) -> Result<Response, Problem> {
        self.read(move |db| if read::exists(db, id)? { Ok(()) } else { Err(unknown(id).into()) }).await?;
        let permit = Arc::clone(&self.senders).acquire_owned().await.map_err(|_| stopping())?;
        let (sender, receiver) = mpsc::channel(4);
        let path = self.db.clone();
        // Ends when the client goes away: then nobody takes the chunks.
        spawn_blocking(move || {
            let mut out = Chunks { buffer: Vec::with_capacity(CHUNK_BYTES), sender };
            let written =
                open_reader(&path).map_err(read::GraphError::from).and_then(|db| read::write_graph(&db, id, &mut out));
            if let Err(error) = written {
                tracing::debug!(%error, snapshot_id = id, "a graph was not sent to its end");
                // The connection must break off: a graph cut short must not look whole.
                let _ = out.sender.blocking_send(Err(io::Error::other("the graph could not be read to its end")));
            }
            drop(permit);
        });
        let mut response = warp::reply::stream(chunks(receiver)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }

    async fn read<T, F>(&self, query: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Connection) -> Result<T, ReadError> + Send + 'static,
    {
        let path = self.db.clone();
        let answer = self.blocking(move || query(&open_reader(&path)?)).await?;
        answer.map_err(|error| match error {
            ReadError::Problem(problem) => problem,
            ReadError::Store(source) => store_problem(&self.db, source),
        })
    }

    /// Bounded in number; the permit is held until the work is over, not until its caller is gone.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let permit = Arc::clone(&self.readers).acquire_owned().await.map_err(|_| stopping())?;
        let done = spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        done.await.map_err(|error| {
            tracing::error!(%error, "a request failed");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request could not be handled")
        })
    }
}

enum ReadError {
    Problem(Problem),
    Store(rusqlite::Error),
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error)
    }
}

impl From<Problem> for ReadError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

const CHUNK_BYTES: usize = 64 * 1024;

/// Collects what is written and hands it on in chunks.
struct Chunks {
    buffer: Vec<u8>,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

impl io::Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            io::Write::flush(self)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK_BYTES));
        self.sender.blocking_send(Ok(chunk.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

fn chunks(receiver: mpsc::Receiver<io::Result<Bytes>>) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync {
    futures::stream::unfold(
        receiver,
        |mut receiver| async move { receiver.recv().await.map(|chunk| (chunk, receiver)) },
    )
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid", crate::escape(&format!("the body cannot be read: {error}")))
    })
}

fn ok(value: &impl Serialize) -> Response {
    json(StatusCode::OK, value)
}

fn plain(text: &'static str) -> Response {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn wrong_method(allowed: &Method) -> Problem {
    let allow = if allowed == Method::GET { "GET, HEAD" } else { "POST" };
    Problem::method_not_allowed(Some(HeaderValue::from_static(allow)))
}

fn unknown(id: i64) -> Problem {
    no_such_cut(&format!("there is no cut {id}"))
}

fn no_such_cut(message: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_cut", message)
}

fn stopping() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the collector is stopping")
}

fn cut_problem(error: &CutError) -> Problem {
    match error {
        CutError::NothingConnected(_) => Problem::new(StatusCode::CONFLICT, "nothing_connected", error.to_string()),
        CutError::Stopping => stopping(),
        CutError::Store(source) => match &**source {
            StoreError::Full(_) => Problem::new(StatusCode::INSUFFICIENT_STORAGE, "full", source.to_string()),
            StoreError::Locked { .. } => locked(&source.to_string()),
            StoreError::Closed => stopping(),
            other => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "storage", other.to_string()),
        },
    }
}

fn locked(message: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "locked", message)
}

fn store_problem(db: &Path, error: rusqlite::Error) -> Problem {
    tracing::warn!(%error, "the database could not be read");
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            locked(&StoreError::from(error).with_holder(db).to_string())
        }
        Some(rusqlite::ErrorCode::OutOfMemory) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too much memory is in use; try again")
        }
        _ => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "storage", "the database could not be read"),
    }
}
