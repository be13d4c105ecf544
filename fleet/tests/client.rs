//! The reporting client, and dashboards that misbehave towards it.

use crate::common::{PATIENCE, patiently, read_frame};
use rpp_fleet::{NodeKind, Registry, Reporter, client, limits};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

struct Dashboard {
    listener: TcpListener,
    reporter: Reporter,
}

impl Dashboard {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registry = Registry::with_pid("client", 9);
        let reporter = client::spawn(&listener.local_addr().unwrap().to_string(), registry).unwrap();
        Self { listener, reporter }
    }

    async fn accept(&self) -> TcpStream {
        patiently(self.listener.accept()).await.unwrap().0
    }
}

async fn send(stream: &mut TcpStream, content: &[u8]) {
    stream.write_all(&(content.len() as u32).to_be_bytes()).await.unwrap();
    stream.write_all(content).await.unwrap();
}

async fn ask(stream: &mut TcpStream, id: u64) -> Value {
    send(stream, format!(r#"{{"type":"snapshot_request","snapshot_id":{id},"timeout_ms":1}}"#).as_bytes()).await;
    let reply: Value = serde_json::from_slice(&patiently(read_frame(stream)).await).unwrap();
    assert_eq!(reply["snapshot_id"], id);
    reply
}

async fn closed(stream: &mut TcpStream) {
    let mut scratch = [0; 64];
    assert!(matches!(patiently(stream.read(&mut scratch)).await, Ok(0) | Err(_)), "still open");
}

#[tokio::test]
async fn frames_that_mean_nothing_are_skipped() {
    let dashboard = Dashboard::start().await;
    let mut stream = dashboard.accept().await;
    for nonsense in [&b"not json"[..], b"", b"{\"type\":\"hello\"}", b"\xff\xff", b"{\"type\":\"snapshot_request\"}"] {
        send(&mut stream, nonsense).await;
    }
    let node = dashboard.reporter.registry().node(NodeKind::Lock, "a", "a", ());
    assert_eq!(ask(&mut stream, 1).await["graph"]["nodes"][0]["id"], "a");
    drop(node);
    assert_eq!(ask(&mut stream, 2).await["graph"]["nodes"], serde_json::json!([]));
    let mut status = dashboard.reporter.status();
    let status = patiently(status.wait_for(|status| status.replies == 2)).await.unwrap();
    assert_eq!((status.connected, status.skipped, status.losses), (true, 5, 0));
}

#[tokio::test]
async fn many_requests_are_all_answered_in_order() {
    let dashboard = Dashboard::start().await;
    let mut stream = dashboard.accept().await;
    for id in 1..=8u64 {
        send(&mut stream, format!(r#"{{"type":"snapshot_request","snapshot_id":{id},"timeout_ms":1}}"#).as_bytes())
            .await;
    }
    for id in 1..=8u64 {
        let reply: Value = serde_json::from_slice(&patiently(read_frame(&mut stream)).await).unwrap();
        assert_eq!(reply["snapshot_id"], id);
    }
}

#[tokio::test]
async fn an_oversize_frame_closes_and_the_client_comes_back() {
    let dashboard = Dashboard::start().await;
    let mut stream = dashboard.accept().await;
    stream.write_all(&(limits::MAX_REQUEST_BYTES as u32 + 1).to_be_bytes()).await.unwrap();
    closed(&mut stream).await;
    let mut again = dashboard.accept().await;
    ask(&mut again, 7).await;
    // The longest frame that is allowed is read.
    send(&mut again, &vec![b' '; limits::MAX_REQUEST_BYTES]).await;
    ask(&mut again, 8).await;
}

#[tokio::test]
async fn a_dashboard_that_was_away_is_reported_to_again() {
    let Dashboard { listener, reporter } = Dashboard::start().await;
    let address = listener.local_addr().unwrap();
    let (stream, _) = patiently(listener.accept()).await.unwrap();
    drop((listener, stream));
    let mut status = reporter.status();
    // Nobody listens at first. The node works as usual.
    patiently(status.wait_for(|status| status.losses >= 2)).await.unwrap();
    let node = reporter.registry().node(NodeKind::Sleep, "meanwhile", "meanwhile", ());
    let listener = TcpListener::bind(address).await.unwrap();
    let (mut stream, _) = patiently(listener.accept()).await.unwrap();
    assert_eq!(ask(&mut stream, 1).await["graph"]["nodes"][0]["id"], "meanwhile");
    drop(node);
}

#[tokio::test]
async fn a_dashboard_that_does_not_read_holds_nobody_up() {
    let dashboard = Dashboard::start().await;
    let mut stream = dashboard.accept().await;
    let registry = dashboard.reporter.registry().clone();
    let nodes: Vec<_> = (0..50_000).map(|n| registry.node(NodeKind::Lock, n, "x".repeat(200), ())).collect();
    for id in 0..50 {
        let request = format!(r#"{{"type":"snapshot_request","snapshot_id":{id},"timeout_ms":1}}"#);
        send(&mut stream, request.as_bytes()).await;
    }
    // Replies of 10 MB fill the socket. The registry still works, and dropping the reporter does not block.
    for node in &nodes {
        node.set("n", 1u64);
    }
    drop(nodes);
    assert_eq!(registry.nodes(), 0);
    drop(dashboard);
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the client let go of its connection");
}

#[tokio::test]
async fn dropping_the_reporter_ends_it() {
    let dashboard = Dashboard::start().await;
    let mut stream = dashboard.accept().await;
    drop(dashboard.reporter);
    closed(&mut stream).await;
}

#[test]
fn no_dashboard_no_thread() {
    for dashboard in [None, Some(""), Some("  ")] {
        let reporter = Reporter::to(dashboard, "p");
        assert!(!reporter.registry().is_on() && !reporter.status().borrow().connected);
    }
    // A malformed address is retried for ever, like an unreachable one.
    let reporter = Reporter::to(Some("not an address"), "p");
    assert!(reporter.registry().is_on());
}
