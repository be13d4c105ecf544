//! The wire format in both directions, byte for byte, over real sockets.

use crate::common::{Fleet, Process, patiently, read_frame};
use proptest::prelude::*;
use rpp_fleet::{
    EdgeKind, NodeKind, Registry, client, limits,
    wire::{self, Graph, Request, SkipError},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

const REQUEST: &str = r#"{"type":"snapshot_request","snapshot_id":42,"timeout_ms":5000}"#;
const REPLY: &str = r#"{"type":"graph_reply","snapshot_id":42,"process":"probe svc","pid":7,"graph":{"process_name":"probe svc","proc_key":"probe-svc-7","nodes":[{"id":"lock:01M7","kind":"Lock","label":"lock a","attrs_json":"{\"waiter_count\":1}"}],"edges":[]}}"#;

#[test]
fn vectors() {
    let request = Request { snapshot_id: 42, timeout_ms: 5000 };
    assert_eq!(String::from_utf8(wire::encode_request(request)).unwrap(), REQUEST);
    assert_eq!(wire::decode_request(REQUEST.as_bytes()).unwrap(), request);
    let reply = wire::decode_reply(REPLY.as_bytes()).unwrap();
    assert_eq!((reply.snapshot_id, &*reply.process, reply.pid), (42, "probe svc", 7));
    let graph = reply.graph().unwrap().unwrap();
    assert_eq!(
        (&*graph.proc_key, &*graph.nodes[0].id, &graph.nodes[0].kind),
        ("probe-svc-7", "lock:01M7", &NodeKind::Lock)
    );
    assert_eq!(&*graph.nodes[0].attrs_json, "{\"waiter_count\":1}");
    assert_eq!(String::from_utf8(wire::encode_reply(42, "probe svc", 7, Some(&graph))).unwrap(), REPLY);
    let null = r#"{"type":"graph_reply","snapshot_id":42,"process":"probe svc","pid":7,"graph":null}"#;
    assert_eq!(String::from_utf8(wire::encode_reply(42, "probe svc", 7, None)).unwrap(), null);
    assert!(wire::decode_reply(null.as_bytes()).unwrap().graph().unwrap().is_none());
}

/// A sender may choose the order of members, add spaces, and add further members.
#[test]
fn replies_are_read_liberally_where_json_is() {
    let reply = r#" { "graph" : { "edges":[{"dst":"b","src":"a","kind":"Borrows","attrs_json":"{}","more":[1]}], "nodes":[],
        "proc_key":"p-1","process_name":"p", "version":2 }, "pid":1, "process":"\u0070", "snapshot_id":3, "type":"graph_reply", "x":{} } "#;
    let read = wire::decode_reply(reply.as_bytes()).unwrap();
    assert_eq!(&*read.process, "p");
    assert_eq!(read.graph().unwrap().unwrap().edges[0].kind, EdgeKind::Other("Borrows".into()));
}

#[test]
fn what_is_skipped_and_why() {
    for unreadable in [
        "",
        "nonsense",
        "[]",
        "7",
        "{}",
        r#"{"type":7}"#,
        r#"{"type":"graph_reply"}"#,
        r#"{"type":"graph_reply","snapshot_id":-1,"process":"p","pid":1,"graph":null}"#,
        r#"{"type":"graph_reply","snapshot_id":1,"process":"p","pid":"1","graph":null}"#,
        r#"{"type":"graph_reply","snapshot_id":1,"process":"p","pid":1,"graph":null}}"#,
        "{\"type\":\"graph_reply\",\"snapshot_id\":1,\"process\":\"\u{0}\",\"pid\":1,\"graph\":null}",
    ] {
        assert!(matches!(wire::decode_reply(unreadable.as_bytes()), Err(SkipError::Unreadable(_))), "{unreadable}");
    }
    assert!(matches!(wire::decode_reply(b"\xff\xfe"), Err(SkipError::Unreadable(_))));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(wire::decode_reply(deep.as_bytes()), Err(SkipError::Unreadable(_))));
    for unknown in [r#"{"type":"hello"}"#, REQUEST] {
        assert!(matches!(wire::decode_reply(unknown.as_bytes()), Err(SkipError::UnknownType(_))), "{unknown}");
    }
    assert!(matches!(wire::decode_request(REPLY.as_bytes()), Err(SkipError::UnknownType(_))));
    assert!(matches!(wire::decode_request(br#"{"type":"snapshot_request"}"#), Err(SkipError::Unreadable(_))));
    for broken in [r#"{"nodes":7}"#, r#"{"nodes":[],"edges":{}}"#, "[]", "\"x\""] {
        let reply = format!(r#"{{"type":"graph_reply","snapshot_id":1,"process":"p","pid":1,"graph":{broken}}}"#);
        assert!(wire::decode_reply(reply.as_bytes()).unwrap().graph().is_err(), "{broken}");
    }
}

/// Our collector's request is the document's, and it takes the document's reply.
#[tokio::test]
async fn a_program_of_the_source_document_reports_to_our_collector() {
    let fleet = Fleet::start_with(|options| options).await;
    let mut program = Process::connect(fleet.collector.tcp()).await;
    fleet.until_connected(1).await;
    let answer = async {
        let request = program.frame().await;
        let id = wire::decode_request(&request).unwrap().snapshot_id;
        assert_eq!(
            String::from_utf8(request).unwrap(),
            format!(r#"{{"type":"snapshot_request","snapshot_id":{id},"timeout_ms":5000}}"#)
        );
        program.send(REPLY.replace("\"snapshot_id\":42", &format!("\"snapshot_id\":{id}")).as_bytes()).await;
    };
    let (cut, ()) = tokio::join!(fleet.jump(), answer);
    assert_eq!(
        cut["processes"],
        json!([{"proc_key":"probe-svc-7","process":"probe svc","pid":7,"status":"responded"}])
    );
    let nodes = fleet.rows(&cut["snapshot_id"], "SELECT id, kind, label, proc_key, attrs_json FROM nodes").await;
    assert_eq!(nodes, json!([["lock:01M7", "lock", "lock a", "probe-svc-7", "{\"waiter_count\":1}"]]));
}

/// Our client answers the document's request with the document's reply.
#[tokio::test]
async fn our_client_reports_to_a_dashboard_of_the_source_document() {
    let dashboard = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let registry = Registry::with_pid("probe svc", 7);
    let set = [("waiter_count", 1u64), ("age_ms", 0), ("created_at", 5)];
    let _lock = registry.node(NodeKind::Lock, "lock:01M7", "lock a", set);
    let _reporter = client::spawn(&dashboard.local_addr().unwrap().to_string(), registry).unwrap();
    let (mut stream, _) = patiently(dashboard.accept()).await.unwrap();
    stream.write_all(&(REQUEST.len() as u32).to_be_bytes()).await.unwrap();
    stream.write_all(REQUEST.as_bytes()).await.unwrap();
    let reply = patiently(read_frame(&mut stream)).await;
    let ours = r#"{\"waiter_count\":1,\"age_ms\":0,\"created_at\":5,\"label\":\"lock a\",\"source\":\"probe svc\"}"#;
    let expected = REPLY.replace(r#"{\"waiter_count\":1}"#, ours);
    assert_eq!(String::from_utf8(reply).unwrap(), expected);
    // The client sends nothing unasked.
    let mut scratch = [0; 1];
    let more = tokio::time::timeout(std::time::Duration::from_millis(200), stream.read(&mut scratch)).await;
    assert!(more.is_err(), "unasked bytes");
}

/// A cut of one process that answers with a frame as another program sent it, which names cut 42.
async fn cut_of(frame: &str) -> (Fleet, Value) {
    let fleet = Fleet::start_at(42).await;
    let mut program = fleet.connect_all(1).await.remove(0);
    let answer = async {
        assert_eq!(program.request().await, 42);
        program.send(frame.as_bytes()).await;
    };
    let (cut, ()) = tokio::join!(fleet.jump(), answer);
    assert_eq!((cut["snapshot_id"].clone(), cut["responded"].clone()), (json!(42), json!(1)), "{cut}");
    (fleet, cut)
}

#[tokio::test]
async fn a_node_without_a_label_is_kept_and_shown_by_its_id() {
    let (fleet, cut) = cut_of(include_str!("fixtures/label-null-and-absent.json")).await;
    assert_eq!((cut["nodes"].clone(), cut["edges"].clone()), (json!(3), json!(1)), "{cut}");
    let labels = fleet.rows(&json!(42), "SELECT id, label FROM nodes ORDER BY id").await;
    assert_eq!(
        labels,
        json!([["lock:01M7", "x"], ["request:01M8", "request:01M8"], ["response:01M9", "response:01M9"]])
    );
    let steps = fleet.get("/api/waits").await["chains"][0]["steps"].clone();
    assert_eq!((steps[0]["label"].clone(), steps[1]["label"].clone()), (json!("request:01M8"), json!("x")));
    assert_eq!(fleet.all_events(), Vec::<String>::new());
}

#[tokio::test]
async fn one_bad_node_and_one_bad_edge_cost_only_themselves() {
    let (fleet, cut) = cut_of(include_str!("fixtures/one-bad-node-one-bad-edge.json")).await;
    assert_eq!((cut["nodes"].clone(), cut["edges"].clone()), (json!(2), json!(1)), "{cut}");
    let edges = fleet.rows(&json!(42), "SELECT src_id, dst_id, kind, attrs_json FROM edges").await;
    assert_eq!(edges, json!([["tx:01MA", "lock:01M7", "touches", "{}"]]));
    // It can be read as soon as the cut is complete.
    let events = fleet.all_events();
    assert_eq!(events.len(), 2, "{events:?}");
    let named = |event: &str, kind: &str| event.starts_with(&format!("probe svc probe-svc-7 42 {kind}"));
    assert!(named(&events[0], "unreadable_node node 2 was left out: missing field `id`"), "{events:?}");
    assert!(named(&events[1], "unreadable_edge edge 1 was left out: invalid type: null"), "{events:?}");
}

#[tokio::test]
async fn bad_parts_without_end_are_counted() {
    let bad = vec!["{}"; limits::MAX_UNREADABLE_PARTS + 7].join(",");
    let graph = format!(r#"{{"process_name":"p","proc_key":"p-1","nodes":[{bad}],"edges":[]}}"#);
    let frame = format!(r#"{{"type":"graph_reply","snapshot_id":42,"process":"p","pid":1,"graph":{graph}}}"#);
    let (fleet, cut) = cut_of(&frame).await;
    assert_eq!(cut["nodes"], 0);
    assert_eq!(fleet.events("unreadable_node").len(), limits::MAX_UNREADABLE_PARTS);
    assert_eq!(fleet.events("events_dropped"), ["p-1 42 7 further parts of the graph cannot be read"]);
}

#[tokio::test]
async fn a_process_in_which_nothing_is_alive_has_reported_nothing() {
    let (fleet, cut) = cut_of(include_str!("fixtures/nothing-alive.json")).await;
    assert_eq!(
        cut["processes"],
        json!([{
            "proc_key": "myservice.api-v2-7", "process": "MyService.Api v2", "pid": 7, "status": "responded",
            "error_text": "nothing reported",
        }])
    );
    assert_eq!(cut["nodes"], 0);
    assert_eq!(fleet.all_events(), Vec::<String>::new());
}

#[tokio::test]
async fn kinds_are_stored_as_peeps_stores_them() {
    let (fleet, _) = cut_of(include_str!("fixtures/kinds-as-stored.json")).await;
    let kinds = fleet.rows(&json!(42), "SELECT kind FROM nodes ORDER BY kind").await;
    assert_eq!(kinds, json!([["file_op"], ["joinset"], ["oncecell"]]));
}

/// The queries of peeps' dashboard give rows for our nodes.
#[tokio::test]
async fn names_and_stuck_requests_are_where_the_dashboard_of_peeps_looks() {
    let fleet = Fleet::start().await;
    let registry = Registry::with_pid("probe svc", 7);
    let _request = registry.node(NodeKind::Request, "request:1", "chunk 7 of session 3", [("method", "chunk")]);
    let _lock = registry.node(NodeKind::Lock, "lock:1", "the lock", ());
    let _reporter = client::spawn(&fleet.collector.tcp().to_string(), registry).unwrap();
    fleet.until_connected(1).await;
    let cut = fleet.jump().await;
    let stuck = "SELECT r.id, json_extract(r.attrs_json, '$.method'), r.process FROM nodes r WHERE r.kind = 'request' \
                 AND CAST(json_extract(r.attrs_json, '$.elapsed_ns') AS INTEGER) > 0";
    assert_eq!(fleet.rows(&cut["snapshot_id"], stuck).await, json!([["request:1", "chunk", "probe svc"]]));
    let labels = "SELECT json_extract(attrs_json, '$.label') FROM nodes ORDER BY id";
    assert_eq!(fleet.rows(&cut["snapshot_id"], labels).await, json!([["the lock"], ["chunk 7 of session 3"]]));
}

#[tokio::test]
async fn every_kind_arrives_in_the_database() {
    let fleet = Fleet::start().await;
    let registry = Registry::with_pid("all kinds", 1);
    let nodes: Vec<_> = NodeKind::ALL.iter().map(|kind| registry.node(kind.clone(), kind, kind, ())).collect();
    let edges: Vec<_> = EdgeKind::ALL.iter().map(|kind| nodes[0].edge(kind.clone(), nodes[1].id(), ())).collect();
    let _reporter = client::spawn(&fleet.collector.tcp().to_string(), registry).unwrap();
    fleet.until_connected(1).await;
    let cut = fleet.jump().await;
    let kinds = fleet.rows(&cut["snapshot_id"], "SELECT id, kind FROM nodes").await;
    for kind in NodeKind::ALL {
        assert!(kinds.as_array().unwrap().contains(&json!([kind.as_str(), kind.snake_case()])), "{kind}");
    }
    let kinds = fleet.rows(&cut["snapshot_id"], "SELECT kind FROM edges ORDER BY kind").await;
    assert_eq!(kinds, json!([["closed_by"], ["needs"], ["spawned"], ["touches"]]));
    drop(edges);
}

fn text() -> impl Strategy<Value = String> {
    ".{0,40}"
}

fn graphs() -> impl Strategy<Value = Graph> {
    let node = (text(), "[A-Z][a-z]{0,9}", text(), text()).prop_map(|(id, kind, label, attrs_json)| wire::Node {
        id: id.into(),
        kind: kind.as_str().into(),
        label: label.into(),
        attrs_json: attrs_json.into(),
    });
    let edge = (text(), text(), "[A-Z][a-z]{0,9}", text()).prop_map(|(src, dst, kind, attrs_json)| wire::Edge {
        src: src.into(),
        dst: dst.into(),
        kind: kind.as_str().into(),
        attrs_json: attrs_json.into(),
    });
    let lists = (prop::collection::vec(node, 0..8), prop::collection::vec(edge, 0..8));
    (text(), text(), lists).prop_map(|(process_name, proc_key, (nodes, edges))| Graph {
        process_name: process_name.into(),
        proc_key: proc_key.into(),
        nodes,
        edges,
    })
}

proptest! {
    #[test]
    fn any_graph_survives_the_wire(graph in graphs(), id in any::<u64>(), process in ".{0,20}", pid in any::<u64>()) {
        let frame = wire::encode_reply(id, &process, pid, Some(&graph));
        let reply = wire::decode_reply(&frame).unwrap();
        prop_assert_eq!((reply.snapshot_id, reply.pid, &*reply.process), (id, pid, process.as_str()));
        prop_assert_eq!(reply.graph().unwrap().unwrap(), graph);
        prop_assert!(serde_json::from_slice::<Value>(&frame).is_ok());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = wire::decode_request(&bytes);
        if let Ok(reply) = wire::decode_reply(&bytes) {
            let _ = reply.graph();
        }
    }
}
