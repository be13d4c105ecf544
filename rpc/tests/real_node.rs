//! The control plane over a real node without peers: everything that needs no provider.

use std::{net::SocketAddr, time::Duration};

use crate::node::{self, PEER, TOKEN};
use crate::support::{Answer, get, once, request, soon};
use libp2p::identity::Keypair;
use rpp_p2p::Hash;
use rpp_rpc::Options;
use rpp_runtime::{Node, NodeHandle};
use serde_json::json;
use tokio_util::sync::CancellationToken;

struct Running {
    address: SocketAddr,
    handle: NodeHandle,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

impl Running {
    async fn start(genesis: Option<Hash>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = node::config();
        config.data_dir = dir.path().join("data");
        config.p2p.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        config.trust.genesis = genesis;
        let handle = soon(Node::start(config, Keypair::generate_ed25519())).await.unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let options = Options::new(TOKEN.into()).with_first_answer(Duration::from_millis(100));
        tokio::spawn(rpp_rpc::serve(listener, handle.clone(), options, stop.clone().cancelled_owned()));
        Self { address, handle, stop, _dir: dir }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let token = format!("authorization: Bearer {TOKEN}\r\n");
        once(self.address, request(method, path, &token, body)).await
    }

    async fn post(&self, body: serde_json::Value) -> Answer {
        self.ask("POST", "/p2p/snapshots", &body.to_string()).await
    }
}

#[tokio::test]
async fn a_node_without_trust_anchor_says_so() {
    let running = Running::start(None).await;
    let peer = format!("/ip4/127.0.0.1/tcp/1/p2p/{PEER}");
    assert_eq!(running.post(json!({ "peer": peer })).await.problem(), (400, "no_trust_anchor".into()));
    assert_eq!(running.ask("GET", "/p2p/snapshots", "").await.json(), json!([]));
    running.handle.shutdown().await;
}

#[tokio::test]
async fn a_session_lives_and_goes() {
    let running = Running::start(Some(Hash([7; 32]))).await;
    soon(async { while once(running.address, get("/readyz")).await.status != 200 {} }).await;
    let identity = running.ask("GET", "/p2p/identity", "").await.json();
    assert_eq!(identity["peer_id"], running.handle.peer_id().to_string());
    assert_eq!(identity["genesis"], "07".repeat(32));
    assert_eq!(running.ask("GET", "/p2p/head", "").await.problem(), (404, "no_head".into()));

    assert_eq!(running.post(json!({ "peer": PEER })).await.problem(), (400, "unknown_address".into()));
    let peer = format!("/ip4/127.0.0.1/tcp/1/p2p/{PEER}");
    let nothing = json!({ "peer": peer, "chunk_size": 0 });
    assert_eq!(running.post(nothing).await.problem(), (400, "invalid_argument".into()));

    let started = running.post(json!({ "peer": peer })).await;
    assert_eq!(started.status, 200, "{started:?}");
    let session = started.json()["session"].as_u64().unwrap();
    assert_eq!(started.json()["peer"], PEER);
    let path = format!("/p2p/snapshots/{session}");
    let status = running.ask("GET", &path, "").await.json();
    assert!(["connecting", "backing_off"].contains(&status["state"].as_str().unwrap()), "{status}");
    assert!(status["waiting_on"]["reason"].is_string(), "{status}");
    let listed = running.ask("GET", "/p2p/snapshots", "").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1);

    let other = running.handle.peer_id().to_string();
    let marker = json!({ "session": session });
    let mismatch = running.post(json!({ "peer": other, "resume": marker })).await;
    assert_eq!(mismatch.problem(), (400, "peer_mismatch".into()));
    let offsets = json!({ "resume": { "session": session, "chunk_index": 5 } });
    assert_eq!(running.post(offsets).await.problem(), (500, "resume_mismatch".into()));
    assert_eq!(running.post(json!({ "resume": marker })).await.status, 200);
    assert_eq!(running.post(json!({ "resume": { "session": 1 } })).await.problem(), (404, "unknown_session".into()));

    let token = format!("authorization: Bearer {TOKEN}\r\naccept: application/openmetrics-text\r\n");
    let metrics = once(running.address, request("GET", "/metrics", &token, "")).await;
    let text = metrics.text();
    assert!(text.contains("\nrpp_http_requests_total{") && text.contains("rpp_sessions{"), "{text}");
    assert_eq!(text.matches("# EOF").count(), 1);
    assert_eq!(running.ask("DELETE", &path, "").await.status, 204);
    assert_eq!(running.ask("GET", &path, "").await.problem(), (404, "unknown_session".into()));
    assert_eq!(running.ask("DELETE", &path, "").await.problem(), (404, "unknown_session".into()));

    soon(running.handle.shutdown()).await;
    assert_eq!(running.ask("GET", "/p2p/snapshots", "").await.problem(), (503, "shutting_down".into()));
    running.stop.cancel();
}

/// The metrics in a file of queries, each with its equality matchers in the form in which samples have them.
fn selectors(queries: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for rest in queries.split("rpp_").skip(1) {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let inside = rest.strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or_default();
        let equal = inside.split(',').filter(|matcher| matcher.contains("=\"") && !matcher.contains("!="));
        found.push((format!("rpp_{name}"), equal.map(str::to_owned).collect()));
    }
    found
}

#[tokio::test]
async fn what_the_dashboard_and_the_alerts_ask_for_is_there_before_anything_happens() {
    let running = Running::start(None).await;
    let metrics = running.ask("GET", "/metrics", "").await;
    let samples: Vec<_> = metrics.text().lines().filter(|line| !line.starts_with('#')).collect();
    let config = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let read = |file: &str| std::fs::read_to_string(config.join(file)).unwrap().replace("\\\"", "\"");
    let asked: Vec<_> = ["grafana.json", "alerts.yml"].iter().flat_map(|file| selectors(&read(file))).collect();
    assert!(asked.len() > 20, "{asked:?}");
    for (name, matchers) in &asked {
        let series = samples.iter().filter(|sample| {
            let (found, labels) = sample.split_once(['{', ' ']).unwrap();
            found == name && matchers.iter().all(|matcher| labels.contains(matcher.as_str()))
        });
        assert!(series.count() > 0, "no series of {name} with {matchers:?}");
    }
    for line in [
        r#"rpp_verification_failures_total{kind="chunk"} 0"#,
        r#"rpp_verification_failures_total{kind="authority"} 0"#,
        r#"rpp_resumes_total{result="served"} 0"#,
        r#"rpp_retries_total{kind="storage"} 0"#,
        r#"rpp_acks_total{direction="sent",kind="ack"} 0"#,
        r#"rpp_snapshot_requests_total{direction="received",kind="plan",outcome="busy"} 0"#,
        r#"rpp_sessions{state="failed"} 0"#,
    ] {
        assert!(samples.contains(&line), "{line}");
    }
    running.handle.shutdown().await;
}
