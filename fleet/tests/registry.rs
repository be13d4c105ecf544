//! The registry: a graph never has half of a change, and nothing is left over.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
};

use rpp_fleet::{EdgeKind, NodeKind, Registry, limits};

/// Eight threads add and remove pairs; a graph never has half a pair, nor an edge without its node.
#[test]
fn a_graph_is_taken_in_one_step() {
    let registry = Registry::with_pid("pairs", 1);
    let (stop, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for worker in 0..8 {
            let (registry, stop, rounds) = (registry.clone(), &stop, &rounds);
            scope.spawn(move || {
                let mut round = 0;
                while !stop.load(Relaxed) {
                    let id = format!("{worker}.{round}");
                    let mut pair = registry.group();
                    pair.node(NodeKind::Request, format_args!("left:{id}"), "left", ());
                    pair.node(NodeKind::Response, format_args!("right:{id}"), "right", ());
                    pair.edge(EdgeKind::Needs, format_args!("left:{id}"), format_args!("right:{id}"), ());
                    let pair = pair.enter();
                    // An ordinary node, whose edges are removed with it.
                    let single = registry.node(NodeKind::Lock, format_args!("single:{id}"), "single", ());
                    let edge = single.needs(format_args!("elsewhere:{id}"));
                    if round % 2 == 0 {
                        drop(pair);
                        drop(single);
                        drop(edge);
                    } else {
                        drop(edge);
                        drop(single);
                        drop(pair);
                    }
                    round += 1;
                    rounds.fetch_add(1, Relaxed);
                }
            });
        }
        let mut seen = 0;
        let mut graphs = 0;
        while graphs < 500 || seen == 0 || rounds.load(Relaxed) < 1000 {
            let graph = registry.graph().unwrap();
            let ids: HashSet<&str> = graph.nodes.iter().map(|node| &*node.id).collect();
            let edges: HashMap<&str, &str> = graph.edges.iter().map(|edge| (&*edge.src, &*edge.dst)).collect();
            for id in &ids {
                if let Some(rest) = id.strip_prefix("left:") {
                    seen += 1;
                    assert!(ids.contains(format!("right:{rest}").as_str()), "only the left of {rest}");
                    assert_eq!(edges.get(id), Some(&format!("right:{rest}").as_str()), "a pair without its edge");
                } else if let Some(rest) = id.strip_prefix("right:") {
                    assert!(ids.contains(format!("left:{rest}").as_str()), "only the right of {rest}");
                }
            }
            for src in edges.keys() {
                assert!(ids.contains(src), "an edge without its node {src}");
            }
            graphs += 1;
        }
        stop.store(true, Relaxed);
    });
    assert_eq!((registry.nodes(), registry.edges(), registry.refused()), (0, 0, 0));
}

#[test]
fn nothing_leaks_after_a_thousand_sessions() {
    let registry = Registry::new("sessions");
    let queue = registry.fresh(NodeKind::Tx, "queue", [("capacity", 8u64)]);
    let before = (registry.nodes(), registry.edges());
    for session in 0..1000u64 {
        let session = registry.node(NodeKind::Future, format_args!("session:{session}"), "session", ());
        let uses = session.touches(queue.id());
        let request = registry.fresh(NodeKind::Request, "chunk", |attrs: &mut rpp_fleet::Attrs| {
            attrs.set("index", 7u64);
        });
        let waits = session.needs(request.id());
        request.set("bytes", 1u64);
        session.set_label("streaming");
        waits.set("retry", true);
        if waits_first() {
            drop(waits);
        } else {
            std::mem::forget(waits);
        }
        // The guard is moved into a task that is dropped, like a cancelled future.
        let task = async move { (session, uses, request) };
        drop(task);
    }
    assert_eq!((registry.nodes(), registry.edges()), before);
    drop(queue);
    assert_eq!((registry.nodes(), registry.edges()), (0, 0));
}

/// Half of the edges' guards outlive their node (here for ever). The edges themselves must not.
fn waits_first() -> bool {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    TURN.fetch_add(1, Relaxed).is_multiple_of(2)
}

#[test]
fn an_edge_guard_never_removes_another_edge() {
    let registry = Registry::new("slots");
    let first = registry.node(NodeKind::Lock, "first", "first", ());
    let old = first.needs("x");
    drop(first);
    // The slot of the edge that was removed with its node is reused.
    let second = registry.node(NodeKind::Lock, "second", "second", ());
    let new = second.needs("y");
    old.set("mark", true);
    drop(old);
    let graph = registry.graph().unwrap();
    assert_eq!(graph.edges.len(), 1);
    assert_eq!((&*graph.edges[0].src, &*graph.edges[0].dst), ("second", "y"));
    assert!(!graph.edges[0].attrs_json.contains("mark"));
    drop(new);
}

#[test]
fn a_graph_keeps_what_it_saw_and_ages_are_told() {
    let registry = Registry::with_pid("Probe svc", 7);
    let node = registry.node(NodeKind::FileOp, "file:1", "read", [("bytes", 1u64)]);
    let before = registry.graph().unwrap();
    node.set("bytes", 2u64);
    node.set_label("write");
    let after = registry.graph().unwrap();
    assert_eq!((&*before.process_name, &*before.proc_key), ("Probe svc", "probe-svc-7"));
    let attrs =
        |graph: &rpp_fleet::wire::Graph| serde_json::from_str::<serde_json::Value>(&graph.nodes[0].attrs_json).unwrap();
    assert_eq!((attrs(&before)["bytes"].clone(), attrs(&after)["bytes"].clone()), (1.into(), 2.into()));
    assert_eq!((&*before.nodes[0].label, &*after.nodes[0].label), ("read", "write"));
    assert!(attrs(&after)["age_ms"].is_u64());
    // The newest dashboard of peeps requires these two attributes.
    let created = attrs(&after)["created_at"].as_u64().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    assert!(u128::from(created) <= now && u128::from(created) + 3_600_000_000_000 > now, "{created} {now}");
    assert_eq!(attrs(&after)["source"], "Probe svc");
}

#[test]
fn off_evaluates_nothing() {
    struct Never;
    impl std::fmt::Display for Never {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("written although the registry is off")
        }
    }
    let registry = Registry::off();
    let node = registry.node(NodeKind::Lock, Never, Never, |_: &mut rpp_fleet::Attrs| panic!("evaluated"));
    let edge = node.needs(Never);
    node.set("x", 1u64);
    node.set_label(Never);
    let mut group = registry.group();
    group.node(NodeKind::Lock, Never, Never, ());
    let group = group.enter();
    assert!(registry.graph().is_none() && node.id().is_empty() && !registry.is_on());
    drop((node, edge, group));
}

#[test]
fn bounded_in_nodes_edges_and_texts() {
    let registry = Registry::new("full");
    let nodes: Vec<_> =
        (0..limits::MAX_REGISTRY_NODES + 10).map(|n| registry.node(NodeKind::Lock, n, "", ())).collect();
    assert_eq!((registry.nodes(), registry.refused()), (limits::MAX_REGISTRY_NODES, 10));
    assert_eq!(nodes.last().unwrap().id(), "");
    // An edge to a node that the full registry refused is not recorded.
    let edge = nodes[0].needs(nodes.last().unwrap().id());
    assert_eq!(registry.edges(), 0);
    let mut group = registry.group();
    group.node(NodeKind::Lock, "x", "x", ());
    drop((group.enter(), edge));
    drop(nodes);
    let long = "y".repeat(9999);
    let node = registry.node(NodeKind::Lock, &long, &long, [("text", long.as_str())]);
    let other = registry.node(NodeKind::Lock, format!("{long}!"), "", ());
    assert_eq!(node.id().len(), limits::MAX_ID_BYTES);
    assert_ne!(node.id(), other.id());
    let graph = registry.graph().unwrap();
    assert!(graph.nodes.iter().all(|node| node.label.len() <= limits::MAX_TEXT_BYTES && node.attrs_json.len() < 1200));
}
