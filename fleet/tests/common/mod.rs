//! A collector in a temporary folder, scripted processes that report to it, and a small HTTP client.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

pub mod browser;

use std::{future::Future, net::SocketAddr, path::PathBuf, time::Duration};

use rpp_fleet::collector::{Collector, Options};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

/// Long enough for a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Fleet {
    pub collector: Collector,
    pub dir: TempDir,
}

impl Fleet {
    pub async fn start() -> Self {
        Self::start_with(|options| options.with_timeout(PATIENCE)).await
    }

    pub async fn start_with(change: impl FnOnce(Options) -> Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let collector = Collector::start(change(options(&dir))).await.unwrap();
        Self { collector, dir }
    }

    /// A collector whose next cut has this id.
    pub async fn start_at(id: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Collector::start(options(&dir)).await.unwrap().stop().await;
        let db = rusqlite::Connection::open(dir.path().join("fleet.sqlite")).unwrap();
        db.execute("UPDATE next_snapshot SET id = ?1", [id as i64]).unwrap();
        drop(db);
        Self { collector: Collector::start(options(&dir).with_timeout(PATIENCE)).await.unwrap(), dir }
    }

    pub fn db(&self) -> PathBuf {
        self.dir.path().join("fleet.sqlite")
    }

    pub async fn connect(&self) -> Process {
        Process::connect(self.collector.tcp()).await
    }

    /// Connects several processes and waits until the collector lists them all.
    pub async fn connect_all(&self, count: usize) -> Vec<Process> {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(self.connect().await);
        }
        self.until_connected(count).await;
        all
    }

    pub async fn until_connected(&self, count: usize) {
        until("the processes to be connected", async || {
            self.get("/api/connections").await.as_array().unwrap().len() == count
        })
        .await;
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send("GET", path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub async fn send(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let response = http(self.collector.http(), method, path, &[], body.map(|body| body.to_string())).await;
        (response.status, response.json())
    }

    pub async fn jump(&self) -> Value {
        let (status, body) = self.send("POST", "/api/jump-now", None).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// A cut of these processes with these graphs.
    pub async fn cut(&self, processes: &mut [(&mut Process, Value)]) -> Value {
        let answers = async {
            for (process, graph) in processes.iter_mut() {
                let id = process.request().await;
                let graph = graph.clone();
                process.reply(id, graph).await;
            }
        };
        tokio::join!(self.jump(), answers).0
    }

    pub async fn sql(&self, snapshot: &Value, sql: &str) -> (u16, Value) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.send("POST", "/api/sql", Some(json!({"snapshot_id": snapshot, "sql": sql}))).await;
            // SQLite's memory limit holds for the whole process, and another test uses all of it for a moment.
            if answer.0 != 503 || Instant::now() > deadline {
                return answer;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn rows(&self, snapshot: &Value, sql: &str) -> Value {
        let (status, body) = self.sql(snapshot, sql).await;
        assert_eq!(status, 200, "{sql}: {body}");
        body["rows"].clone()
    }

    /// Waits until `sql` over the whole database gives `count` rows.
    pub async fn until_events(&self, kind: &str, count: usize) -> Vec<String> {
        let mut seen = Vec::new();
        until(&format!("{count} events of the kind {kind}"), async || {
            seen = self.events(kind);
            seen.len() >= count
        })
        .await;
        seen
    }

    /// Every row of `ingest_events`, with the process's name.
    pub fn all_events(&self) -> Vec<String> {
        let db = rusqlite::Connection::open(self.db()).unwrap();
        let mut query = db
            .prepare(
                "SELECT coalesce(process, '-') || ' ' || coalesce(proc_key, '-') || ' ' || coalesce(snapshot_id, '-') \
                 || ' ' || event_kind || ' ' || detail FROM ingest_events ORDER BY event_id",
            )
            .unwrap();
        query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    pub fn events(&self, kind: &str) -> Vec<String> {
        let db = rusqlite::Connection::open(self.db()).unwrap();
        let mut query = db
            .prepare(
                "SELECT coalesce(proc_key, '-') || ' ' || coalesce(snapshot_id, '-') || ' ' || detail \
                 FROM ingest_events WHERE event_kind = ?1 ORDER BY event_id",
            )
            .unwrap();
        query.query_map([kind], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }
}

pub fn options(dir: &TempDir) -> Options {
    Options::default().with_listen("127.0.0.1:0").with_http("127.0.0.1:0").with_db(dir.path().join("fleet.sqlite"))
}

/// Polls until the condition holds.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

pub async fn patiently<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("took too long")
}

/// A process that writes the protocol by hand, like a program that does not use our library.
pub struct Process {
    pub stream: TcpStream,
    pub name: String,
    pub pid: u64,
}

impl Process {
    pub async fn connect(tcp: SocketAddr) -> Self {
        let stream = patiently(TcpStream::connect(tcp)).await.unwrap();
        Self { stream, name: "svc".into(), pid: 1 }
    }

    pub fn named(mut self, name: &str, pid: u64) -> Self {
        self.name = name.into();
        self.pid = pid;
        self
    }

    /// The id of the next request.
    pub async fn request(&mut self) -> u64 {
        let frame: Value = serde_json::from_slice(&self.frame().await).unwrap();
        assert_eq!(frame["type"], "snapshot_request");
        frame["snapshot_id"].as_u64().unwrap()
    }

    pub async fn frame(&mut self) -> Vec<u8> {
        patiently(read_frame(&mut self.stream)).await
    }

    pub async fn reply(&mut self, id: u64, graph: Value) {
        let reply = json!({
            "type": "graph_reply", "snapshot_id": id, "process": self.name, "pid": self.pid, "graph": graph,
        });
        self.send(reply.to_string().as_bytes()).await;
    }

    pub async fn send(&mut self, content: &[u8]) {
        self.stream.write_all(&(content.len() as u32).to_be_bytes()).await.unwrap();
        self.stream.write_all(content).await.unwrap();
    }

    /// Waits until the collector closes the connection.
    pub async fn until_closed(&mut self) {
        let mut scratch = [0; 1024];
        patiently(async { while matches!(self.stream.read(&mut scratch).await, Ok(1..)) {} }).await;
    }
}

pub async fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let length = stream.read_u32().await.unwrap();
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame).await.unwrap();
    frame
}

pub fn graph(nodes: &[(&str, &str)], edges: &[(&str, &str, &str)]) -> Value {
    let nodes: Vec<Value> = nodes
        .iter()
        .map(|(id, kind)| json!({"id": id, "kind": kind, "label": format!("label of {id}"), "attrs_json": "{}"}))
        .collect();
    let edges: Vec<Value> = edges
        .iter()
        .map(|(src, dst, kind)| json!({"src": src, "dst": dst, "kind": kind, "attrs_json": "{}"}))
        .collect();
    json!({"process_name": "svc", "proc_key": "svc-1", "nodes": nodes, "edges": edges})
}

pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&self.body)))
    }
}

/// One request on a connection of its own.
pub async fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<String>,
) -> Response {
    patiently(async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut request = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            request += &format!("host: {address}\r\n");
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = &body {
            if !headers.iter().any(|(name, _)| *name == "content-type") {
                request += "content-type: application/json\r\n";
            }
            request += &format!("content-length: {}\r\n", body.len());
        }
        request += "\r\n";
        request += body.as_deref().unwrap_or("");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        parse(&answer)
    })
    .await
}

fn parse(answer: &[u8]) -> Response {
    let split = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a whole head");
    let head = String::from_utf8(answer[..split].to_vec()).unwrap().to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut body = answer[split + 4..].to_vec();
    if head.contains("transfer-encoding: chunked") {
        body = unchunk(&body);
    }
    Response { status, head, body }
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let line = rest.windows(2).position(|w| w == b"\r\n").expect("a chunk's length");
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap().trim(), 16).unwrap();
        rest = &rest[line + 2..];
        if length == 0 {
            return whole;
        }
        whole.extend_from_slice(&rest[..length]);
        rest = &rest[length + 2..];
    }
}
