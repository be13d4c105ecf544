//! Cuts over real sockets: which processes are asked, which are included, their keys and their status.

use std::time::Duration;

use crate::common::{Fleet, PATIENCE, Process, graph, until};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

/// How long a cut waits for a silent process. A process that answers does so within this time even on a busy machine.
const PATIENT: Duration = Duration::from_secs(5);

fn by_key(cut: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut all: Vec<_> =
        cut["processes"].as_array().unwrap().iter().map(|p| (text(&p["proc_key"]), text(&p["status"]))).collect();
    all.sort();
    all
}

fn keys(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, status)| ((*key).to_owned(), (*status).to_owned())).collect()
}

#[tokio::test]
async fn nothing_connected_is_a_conflict() {
    let fleet = Fleet::start().await;
    let (status, body) = fleet.send("POST", "/api/jump-now", None).await;
    assert_eq!((status, body["code"].as_str().unwrap()), (409, "nothing_connected"));
    assert!(body["error"].as_str().unwrap().contains(&fleet.collector.tcp().to_string()), "{body}");
    assert_eq!(fleet.get("/api/snapshots").await, json!([]));
    assert_eq!(fleet.send("GET", "/api/waits", None).await.0, 404);
}

#[tokio::test]
async fn a_cut_ends_with_the_last_answer_the_first_one_included() {
    // The time-out is a minute, so only answers can end the cut.
    let fleet = Fleet::start().await;
    let [a, b]: [Process; 2] = fleet.connect_all(2).await.try_into().ok().unwrap();
    let (mut a, mut b) = (a.named("svc a", 7), b.named("svc b", 8));
    let listed = fleet.get("/api/connections").await;
    let mut unknown: Vec<&str> = listed.as_array().unwrap().iter().map(|c| c["proc_key"].as_str().unwrap()).collect();
    unknown.sort_unstable();
    assert_eq!(unknown, ["unknown-1", "unknown-2"]);

    let cut = fleet
        .cut(&mut [
            (&mut a, graph(&[("lock:a", "Lock"), ("request:1", "Request")], &[("request:1", "response:1", "Needs")])),
            (&mut b, graph(&[("response:1", "Response")], &[("response:1", "lock:z", "Touches")])),
        ])
        .await;
    assert_eq!(by_key(&cut), keys(&[("svc-a-7", "responded"), ("svc-b-8", "responded")]));
    for (name, value) in [
        ("requested", 2),
        ("responded", 2),
        ("timed_out", 0),
        ("disconnected", 0),
        ("nodes", 3),
        ("edges", 1),
        ("unresolved_edges", 1),
    ] {
        assert_eq!(cut[name], value, "{name} in {cut}");
    }
    assert!(cut["elapsed_ms"].as_u64().unwrap() < PATIENCE.as_millis() as u64);
    let listed = fleet.get("/api/connections").await;
    assert!(listed.as_array().unwrap().iter().all(|c| c["proc_key"].as_str().unwrap().starts_with("svc-")));

    let id = &cut["snapshot_id"];
    assert_eq!(
        fleet.rows(id, "SELECT proc_key, process, id, kind, label, attrs_json FROM nodes ORDER BY id").await,
        json!([
            ["svc-a-7", "svc a", "lock:a", "lock", "label of lock:a", "{}"],
            ["svc-a-7", "svc a", "request:1", "request", "label of request:1", "{}"],
            ["svc-b-8", "svc b", "response:1", "response", "label of response:1", "{}"],
        ])
    );
    assert_eq!(
        fleet
            .rows(id, "SELECT src_id, dst_id, kind, missing_side, reason, referenced_proc_key FROM unresolved_edges")
            .await,
        json!([["response:1", "lock:z", "touches", "dst", "no process reported it", null]])
    );
    let summary = fleet.get(&format!("/api/snapshots/{id}")).await;
    assert_eq!((summary["nodes"].clone(), summary["timeout_ms"].clone()), (json!(3), json!(60_000)));
    assert_eq!(summary["processes"][0]["proc_key"], "svc-a-7");
    let whole = fleet.get(&format!("/api/snapshots/{id}/graph")).await;
    assert_eq!(whole["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(
        whole["edges"],
        json!([{
            "src_id": "request:1", "dst_id": "response:1", "kind": "needs", "attrs_json": "{}",
            "src_proc_key": "svc-a-7", "dst_proc_key": "svc-b-8",
        }])
    );
    assert_eq!(fleet.get("/api/snapshots").await[0]["snapshot_id"], *id);
}

#[tokio::test]
async fn silent_leaving_and_graphless_processes_are_told_apart() {
    let fleet = Fleet::start_with(|options| options.with_timeout(PATIENT)).await;
    let [a, b, mut c, d]: [Process; 4] = fleet.connect_all(4).await.try_into().ok().unwrap();
    let (mut a, mut b, mut d) = (a.named("a", 1), b.named("b", 2), d.named("d", 4));
    // An earlier cut made all processes known except `c`.
    let answers = async {
        for process in [&mut a, &mut b, &mut d] {
            let id = process.request().await;
            process.reply(id, graph(&[], &[])).await;
        }
    };
    tokio::join!(fleet.jump(), answers);
    c.request().await;

    let acts = async {
        let id = a.request().await;
        a.reply(id, Value::Null).await;
        b.request().await;
        drop(b);
        c.request().await;
        let id = d.request().await;
        d.reply(id, json!({"nodes": 7})).await;
    };
    let (cut, ()) = tokio::join!(fleet.jump(), acts);
    assert_eq!(
        by_key(&cut),
        keys(&[("a-1", "responded"), ("b-2", "disconnected"), ("d-4", "responded"), ("unknown-3", "timeout")])
    );
    let errors = fleet.rows(&cut["snapshot_id"], "SELECT error_text FROM snapshot_processes ORDER BY proc_key").await;
    assert_eq!(errors[0][0], "nothing reported");
    assert!(errors[2][0].as_str().unwrap().starts_with("the graph cannot be read"), "{errors}");
    assert!(fleet.events("unreadable_graph")[0].starts_with("d-4 "), "{:?}", fleet.events("unreadable_graph"));
    let received =
        fleet.rows(&cut["snapshot_id"], "SELECT recv_at_ns IS NULL FROM snapshot_processes ORDER BY proc_key");
    assert_eq!(received.await, json!([[0], [1], [0], [1]]));
}

#[tokio::test]
async fn one_key_on_two_connections_is_kept_twice() {
    let fleet = Fleet::start().await;
    let [mut a, mut b]: [Process; 2] = fleet.connect_all(2).await.try_into().ok().unwrap();
    let cut =
        fleet.cut(&mut [(&mut a, graph(&[("same", "Lock")], &[])), (&mut b, graph(&[("same", "Lock")], &[]))]).await;
    assert_eq!(by_key(&cut), keys(&[("svc-1", "responded"), ("svc-1#2", "responded")]));
    assert_eq!(cut["nodes"], 2);
    // One of them reconnects, and the two have the same two keys again.
    drop(a);
    fleet.until_connected(1).await;
    let mut again = fleet.connect().await;
    fleet.until_connected(2).await;
    let cut = fleet.cut(&mut [(&mut b, graph(&[], &[])), (&mut again, graph(&[], &[]))]).await;
    assert_eq!(by_key(&cut), keys(&[("svc-1", "responded"), ("svc-1#2", "responded")]));
}

#[tokio::test]
async fn two_hosts_with_one_name_and_the_same_ids_lose_no_wait_and_are_noted() {
    let fleet = Fleet::start().await;
    let [mut a, mut b]: [Process; 2] = fleet.connect_all(2).await.try_into().ok().unwrap();
    // Each is process 1 of its own container. The second edge of each leads to a node that nobody reported.
    let of = |wait: u64| {
        let nodes = [("task:1", "Future"), ("lock:1", "Lock")];
        let mut graph = graph(&nodes, &[("task:1", "lock:1", "Needs"), ("lock:1", "gone:1", "Needs")]);
        graph["edges"][0]["attrs_json"] = json!(format!("{{\"age_ms\":{wait}}}"));
        graph
    };
    let cut = fleet.cut(&mut [(&mut a, of(4000)), (&mut b, of(9000))]).await;
    assert_eq!(
        (cut["nodes"].clone(), cut["edges"].clone(), cut["unresolved_edges"].clone()),
        (json!(4), json!(2), json!(2)),
        "{cut}"
    );
    let id = &cut["snapshot_id"];
    let keys = "SELECT src_proc_key, dst_proc_key FROM edges ORDER BY 1";
    assert_eq!(fleet.rows(id, keys).await, json!([["svc-1", "svc-1"], ["svc-1#2", "svc-1#2"]]));
    let waits = fleet.get("/api/waits").await;
    let chains: Vec<(Value, Value)> = waits["chains"]
        .as_array()
        .unwrap()
        .iter()
        .map(|chain| (chain["wait_ms"].clone(), chain["processes"].clone()))
        .collect();
    assert_eq!(chains.len(), 2, "{waits}");
    assert_eq!((chains[0].0.clone(), chains[1].0.clone()), (json!(9000), json!(4000)));
    assert_ne!(chains[0].1, chains[1].1);
    // The cut reports it for both processes, and so do the events.
    for process in cut["processes"].as_array().unwrap() {
        let text = process["error_text"].as_str().unwrap_or_default();
        assert!(text.contains("same name and process id") && text.contains("[fleet] name"), "{process}");
    }
    assert_eq!(fleet.events("same_key").len(), 1);
}

#[tokio::test]
async fn late_and_wrong_replies_are_noted_and_nothing_is_lost() {
    let fleet = Fleet::start().await;
    let mut process = fleet.connect_all(1).await.remove(0).named("p", 1);
    process.reply(99, graph(&[], &[])).await;
    assert_eq!(fleet.until_events("wrong_id", 1).await, ["p-1 99 a reply to a cut that was never asked for"]);
    // It answered, so the list has it under its key.
    assert_eq!(fleet.get("/api/connections").await[0]["proc_key"], "p-1");
    let answers = async {
        let id = process.request().await;
        process.send(b"{ this is not json").await;
        process.send(br#"{"type":"hello","snapshot_id":"x"}"#).await;
        process.send(br#"{"type":"graph_reply","snapshot_id":1}"#).await;
        process.send(b"").await;
        process.reply(id + 5, graph(&[], &[])).await;
        process.reply(id, graph(&[("kept", "Lock")], &[])).await;
        process.reply(id, graph(&[("second", "Lock")], &[])).await;
        id
    };
    let (cut, id) = tokio::join!(fleet.jump(), answers);
    assert_eq!(fleet.rows(&cut["snapshot_id"], "SELECT id FROM nodes").await, json!([["kept"]]));
    assert_eq!(fleet.until_events("unreadable_frame", 3).await.len(), 3);
    assert_eq!(fleet.until_events("unknown_type", 1).await, ["p-1 - unknown type \"hello\""]);
    assert_eq!(fleet.until_events("wrong_id", 2).await.len(), 2);
    assert!(fleet.until_events("late_reply", 1).await[0].starts_with(&format!("p-1 {id} ")));
    // The connection still works.
    let cut = fleet.cut(&mut [(&mut process, graph(&[], &[]))]).await;
    assert_eq!(cut["responded"], 1);
}

#[tokio::test]
async fn duplicates_are_kept_once_and_noted() {
    let fleet = Fleet::start().await;
    let [mut a, b]: [Process; 2] = fleet.connect_all(2).await.try_into().ok().unwrap();
    let mut b = b.named("other", 2);
    let twice = graph(&[("n", "Lock"), ("m", "Lock"), ("n", "Sleep")], &[("n", "m", "Needs"), ("n", "m", "Needs")]);
    let cut = fleet.cut(&mut [(&mut a, twice), (&mut b, graph(&[], &[("n", "m", "Needs")]))]).await;
    assert_eq!((cut["nodes"].clone(), cut["edges"].clone()), (json!(2), json!(1)));
    let kinds = fleet.rows(&cut["snapshot_id"], "SELECT id, kind FROM nodes ORDER BY id").await;
    assert_eq!(kinds, json!([["m", "lock"], ["n", "lock"]]));
    assert_eq!(
        fleet.until_events("duplicate_node", 1).await,
        [format!("svc-1 {} node n came twice", cut["snapshot_id"])]
    );
    assert_eq!(fleet.until_events("duplicate_edge", 1).await.len(), 1);
}

#[tokio::test]
async fn unknown_kinds_and_long_texts_are_kept_within_bounds() {
    let fleet = Fleet::start().await;
    let mut process = fleet.connect_all(1).await.remove(0);
    let node = |id: &str, label: &str, attrs: String| json!({"id": id, "kind": "RemoteThing", "label": label, "attrs_json": attrs});
    let nodes = json!([
        node("a", &"\u{fc}".repeat(9000), "{}".into()),
        node("b", "b", format!("{{\"x\":\"{}\"}}", "y".repeat(100_000))),
        node(&"c".repeat(5000), "c", "{}".into()),
    ]);
    let graph = json!({"process_name": "svc", "proc_key": "svc-1", "nodes": nodes, "edges": []});
    let cut = fleet.cut(&mut [(&mut process, graph)]).await;
    let rows =
        fleet.rows(&cut["snapshot_id"], "SELECT id, kind, length(label), attrs_json FROM nodes ORDER BY id").await;
    assert_eq!(
        rows,
        json!([["a", "remote_thing", 2048, "{}"], ["b", "remote_thing", 1, "{\"attrs_left_out_bytes\":100008}"]])
    );
    assert_eq!(fleet.until_events("too_long", 3).await.len(), 3);
}

#[tokio::test]
async fn edges_to_silent_processes_say_so() {
    let fleet = Fleet::start_with(|options| options.with_timeout(PATIENT)).await;
    let [mut a, b]: [Process; 2] = fleet.connect_all(2).await.try_into().ok().unwrap();
    let mut b = b.named("other", 2);
    fleet.cut(&mut [(&mut a, graph(&[], &[])), (&mut b, graph(&[], &[]))]).await;
    let edges = graph(&[("n", "Lock")], &[("n", "file_op:other-2:7", "Needs"), ("n", "file_op:svc-1:9", "Needs")]);
    let cut = fleet.cut(&mut [(&mut a, edges)]).await;
    assert_eq!(cut["timed_out"], 1);
    assert_eq!(
        fleet
            .rows(&cut["snapshot_id"], "SELECT dst_id, reason, referenced_proc_key FROM unresolved_edges ORDER BY 1")
            .await,
        json!([
            ["file_op:other-2:7", "its process did not answer in time", "other-2"],
            ["file_op:svc-1:9", "its process did not report it", "svc-1"],
        ])
    );
    let waits = fleet.get(&format!("/api/snapshots/{}/waits", cut["snapshot_id"])).await;
    assert_eq!(waits["chains"][0]["ends"], "unresolved");
}

#[tokio::test]
async fn waits_over_processes_and_a_deadlock() {
    let fleet = Fleet::start().await;
    let [a, b, c]: [Process; 3] = fleet.connect_all(3).await.try_into().ok().unwrap();
    let (mut a, mut b, mut c) = (a.named("operator", 1), b.named("provider", 2), c.named("locks", 3));
    let with_wait = |mut graph: Value, waits: &[u64]| {
        for (index, wait) in waits.iter().enumerate() {
            graph["edges"][index]["attrs_json"] = json!(format!("{{\"age_ms\":{wait}}}"));
        }
        graph
    };
    let consumer = graph(
        &[("session:7", "Future"), ("request:r1", "Request")],
        &[("session:7", "request:r1", "Needs"), ("request:r1", "response:r1", "Needs")],
    );
    let provider = graph(
        &[("response:r1", "Response"), ("file:9", "FileOp")],
        &[("response:r1", "file:9", "Needs"), ("file:9", "session:7", "Touches")],
    );
    let locks = graph(&[("l1", "Lock"), ("l2", "Lock")], &[("l1", "l2", "Needs"), ("l2", "l1", "Needs")]);
    let cut = fleet
        .cut(&mut [
            (&mut a, with_wait(consumer, &[4000, 3900])),
            (&mut b, with_wait(provider, &[3800])),
            (&mut c, locks),
        ])
        .await;
    let waits = fleet.get(&format!("/api/snapshots/{}/waits", cut["snapshot_id"])).await;
    assert_eq!(waits, fleet.get("/api/waits").await);
    let chain = &waits["chains"][0];
    let ids: Vec<&str> = chain["steps"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["session:7", "request:r1", "response:r1", "file:9"]);
    assert_eq!(chain["processes"], json!(["operator-1", "provider-2"]));
    assert_eq!((chain["wait_ms"].clone(), chain["ends"].clone()), (json!(4000), json!("node")));
    assert_eq!(waits["deadlocks"][0]["name"], "deadlock of 2 at l1");
    assert_eq!(waits["chains"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_process_that_does_not_read_is_a_timeout_and_others_are_not_held_up() {
    let fleet = Fleet::start_with(|options| options.with_timeout(PATIENT)).await;
    let [mut reads, _deaf]: [Process; 2] = fleet.connect_all(2).await.try_into().ok().unwrap();
    for _ in 0..2 {
        let cut = fleet.cut(&mut [(&mut reads, graph(&[], &[]))]).await;
        assert_eq!((cut["responded"].clone(), cut["timed_out"].clone()), (json!(1), json!(1)));
    }
}

#[tokio::test]
async fn a_half_closed_process_has_left() {
    let fleet = Fleet::start().await;
    let mut process = fleet.connect_all(1).await.remove(0);
    let leaves = async {
        process.request().await;
        process.stream.shutdown().await.unwrap();
    };
    let (cut, ()) = tokio::join!(fleet.jump(), leaves);
    assert_eq!(cut["disconnected"], 1);
    until("the process to be gone", async || fleet.get("/api/connections").await == json!([])).await;
}
