//! A cut over 500 processes: time, database and the collector's memory.
//!
//! `cargo bench -p rpp-fleet --bench cut` measures both sizes;
//! `cargo bench -p rpp-fleet --bench cut -- 500 200 300` one of processes, nodes and edges each.
//!
//! The collector runs in a process of its own, so that its memory can be measured. The 500 processes are connections of
//! this process, each with a prepared reply. So only the collector is measured.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rpp_fleet::{
    collector::{Collector, Options},
    frame,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

const CHILD: &str = "RPP_FLEET_BENCH_DB";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Ok(db) = std::env::var(CHILD) {
        return runtime.block_on(collect(Path::new(&db)));
    }
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    match sizes[..] {
        [processes, nodes, edges] => runtime.block_on(measure(processes, nodes, edges)),
        _ => {
            runtime.block_on(measure(500, 200, 300));
            runtime.block_on(measure(500, 1000, 1500));
        }
    }
}

async fn collect(db: &Path) {
    let options = Options::default().with_listen("127.0.0.1:0").with_http("127.0.0.1:0").with_db(db);
    let collector = Collector::start(options).await.unwrap();
    println!("{} {}", collector.tcp(), collector.http());
    collector.wait().await;
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn measure(processes: usize, nodes: usize, edges: usize) {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("bench.sqlite");
    let mut child =
        Command::new(std::env::current_exe().unwrap()).env(CHILD, &db).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let child = Running(child);
    let (tcp, http) = line.trim().split_once(' ').unwrap();
    let (tcp, http): (SocketAddr, SocketAddr) = (tcp.parse().unwrap(), http.parse().unwrap());
    let mut clients = JoinSet::new();
    let mut bytes = 0;
    for process in 0..processes {
        let graph = graph(process, nodes, edges);
        bytes += graph.len();
        let stream = TcpStream::connect(tcp).await.unwrap();
        clients.spawn(report(stream, process, graph));
    }
    println!(
        "{processes} processes with {nodes} nodes and {edges} edges each ({:.0} MB of replies):",
        bytes as f64 / 1e6
    );
    while request(http, "GET", "/api/connections").await.as_array().unwrap().len() < processes {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for round in ["first cut ", "second cut"] {
        let cut = request(http, "POST", "/api/jump-now").await;
        let listed = request(http, "GET", "/api/snapshots").await[0].clone();
        println!(
            "  {round}: {:>6} ms, {} of {} answered, {} nodes, {} edges, {} unresolved; database {:.0} MB; collector's peak \
             memory {} MB",
            cut["elapsed_ms"],
            cut["responded"],
            listed["requested"],
            cut["nodes"],
            cut["edges"],
            cut["unresolved_edges"],
            std::fs::metadata(&db).unwrap().len() as f64 / 1e6,
            peak_memory_mb(child.0.id()),
        );
    }
    clients.shutdown().await;
}

async fn report(mut stream: TcpStream, process: usize, graph: String) {
    loop {
        let length = stream.read_u32().await.unwrap();
        let mut frame = vec![0; length as usize];
        stream.read_exact(&mut frame).await.unwrap();
        let id = rpp_fleet::wire::decode_request(&frame).unwrap().snapshot_id;
        let reply = format!(
            r#"{{"type":"graph_reply","snapshot_id":{id},"process":"bench {process}","pid":{process},"graph":{graph}}}"#
        );
        frame::write(&mut stream, reply.as_bytes()).await.unwrap();
    }
}

/// A graph like those of our nodes: ids of 40 bytes, attributes, chains of `Needs`, some of which lead into the next
/// process.
fn graph(process: usize, nodes: usize, edges: usize) -> String {
    let id = |process: usize, node: usize| format!("request:{:032x}", (process << 32) + node);
    let list: Vec<Value> = (0..nodes)
        .map(|n| {
            json!({"id": id(process, n), "kind": if n % 3 == 0 { "Request" } else { "FileOp" },
                "label": format!("chunk {n} of session {process}"),
                "attrs_json": format!("{{\"age_ms\":{n},\"bytes\":1048576,\"peer\":\"12D3KooWExample{process}\"}}")})
        })
        .collect();
    let relations: Vec<Value> = (0..edges)
        .map(|e| {
            let (kind, to) = match e % 10 {
                0 => ("Needs", id(process + 1, e % nodes)),
                1..6 => ("Needs", id(process, (e + 7) % nodes)),
                _ => ("Touches", id(process, (e * 31 + 1) % nodes)),
            };
            json!({"src": id(process, (e * 13 + e / nodes) % nodes), "dst": to, "kind": kind,
                "attrs_json": format!("{{\"age_ms\":{e}}}")})
        })
        .collect();
    json!({"process_name": format!("bench {process}"), "proc_key": format!("bench-{process}-{process}"),
        "nodes": list, "edges": relations})
    .to_string()
}

async fn request(http: SocketAddr, method: &str, path: &str) -> Value {
    let mut stream = TcpStream::connect(http).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {http}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn peak_memory_mb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
}
