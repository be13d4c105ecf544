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
use warp::{Filter, Reply as _, filters::BoxedFilter, hyper::body::Bytes, reply::Response};

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
    /// Bounds the graphs that are being sent: their readers may be slow, and must not hold up other requests.
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

/// Where a request goes.
enum Target {
    /// A file of the page.
    Page(&'static str),
    Health,
    Jump,
    Sql,
    Connections,
    Snapshots,
    NewestWaits,
    /// One cut, by the path's segment for its id.
    Snapshot(String),
    Waits(String),
    Graph(String),
}

/// Finds what a path refers to.
fn target() -> BoxedFilter<(Target,)> {
    let whole = warp::path!("health")
        .map(|| Target::Health)
        .or(warp::path!("api" / "jump-now").map(|| Target::Jump))
        .unify()
        .or(warp::path!("api" / "sql").map(|| Target::Sql))
        .unify()
        .or(warp::path!("api" / "connections").map(|| Target::Connections))
        .unify()
        .or(warp::path!("api" / "waits").map(|| Target::NewestWaits))
        .unify();
    let snapshots = warp::path!("api" / "snapshots")
        .map(|| Target::Snapshots)
        .or(warp::path!("api" / "snapshots" / String).map(Target::Snapshot))
        .unify()
        .or(warp::path!("api" / "snapshots" / String / "waits").map(Target::Waits))
        .unify()
        .or(warp::path!("api" / "snapshots" / String / "graph").map(Target::Graph))
        .unify();
    page::path().map(Target::Page).or(whole).unify().or(snapshots).unify().boxed()
}

/// All routes as one filter. It rejects every other path.
pub(crate) fn routes(
    api: Arc<Api>,
) -> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone + Send + Sync + 'static {
    target().and(warp::method()).and(warp::body::bytes()).then(move |target: Target, method: Method, body: Bytes| {
        let api = Arc::clone(&api);
        async move { api.answer(target, &method, &body).await.unwrap_or_else(Problem::into_response) }
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SqlBody {
    snapshot_id: i64,
    sql: String,
    #[serde(default)]
    params: Vec<serde_json::Value>,
}

/// `{}`, or an empty body.
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
    /// Our code, not warp's filters, selects the method: a rejection of warp does not say which method a route has.
    async fn answer(&self, target: Target, method: &Method, body: &[u8]) -> Result<Response, Problem> {
        let known = if matches!(target, Target::Jump | Target::Sql) { Method::POST } else { Method::GET };
        if *method != known {
            return Err(wrong_method(&known));
        }
        match target {
            Target::Page(path) => page::file(path).ok_or_else(Problem::not_found),
            Target::Health => Ok(plain("ok")),
            Target::Jump => self.jump(body).await,
            Target::Sql => self.sql(body).await,
            Target::Connections => Ok(self.connections()),
            Target::Snapshots => self.read(|db| Ok(ok(&read::list(db)?))).await,
            Target::NewestWaits => {
                self.read(|db| match read::newest(db)? {
                    Some(id) => Ok(ok(&waits::read(db, id)?)),
                    None => Err(no_such_cut("there is no cut yet").into()),
                })
                .await
            }
            Target::Snapshot(id) => self.snapshot(number(&id)?).await,
            Target::Waits(id) => self.waits(number(&id)?).await,
            Target::Graph(id) => self.graph(number(&id)?).await,
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

    async fn snapshot(&self, id: i64) -> Result<Response, Problem> {
        self.read(move |db| match read::summary(db, id)? {
            Some(summary) => Ok(ok(&summary)),
            None => Err(unknown(id).into()),
        })
        .await
    }

    async fn waits(&self, id: i64) -> Result<Response, Problem> {
        self.read(move |db| if read::exists(db, id)? { Ok(ok(&waits::read(db, id)?)) } else { Err(unknown(id).into()) })
            .await
    }

    async fn graph(&self, id: i64) -> Result<Response, Problem> {
        self.read(move |db| if read::exists(db, id)? { Ok(()) } else { Err(unknown(id).into()) }).await?;
        let permit = Arc::clone(&self.senders).acquire_owned().await.map_err(|_| stopping())?;
        let (sender, receiver) = mpsc::channel(4);
        let path = self.db.clone();
        // It ends when the client disconnects, because then nobody receives the chunks.
        spawn_blocking(move || {
            let mut out = Chunks { buffer: Vec::with_capacity(CHUNK_BYTES), sender };
            let written =
                open_reader(&path).map_err(read::GraphError::from).and_then(|db| read::write_graph(&db, id, &mut out));
            if let Err(error) = written {
                tracing::debug!(%error, snapshot_id = id, "a graph was not sent to its end");
                // The connection must break off: a graph that was cut short must not look complete.
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

    /// Runs a bounded number of jobs at once. The permit is held until the job is over, even if its caller has gone.
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

/// Collects what is written and passes it on in chunks.
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

fn number(id: &str) -> Result<i64, Problem> {
    id.parse().map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "invalid", "the id of a cut is a number"))
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
