//! Who waits for whom: chains of `Needs` edges over all processes of a cut.
//!
//! A chain starts at a node that nothing waits for. It ends at a node that does not wait, at something that no process
//! reported, or in a cycle; a cycle is a deadlock and gets a name. Chains are ordered by the longest wait in them.

mod graph;

use std::collections::HashMap;

use rusqlite::{Connection, Row};
use serde::Serialize;

use self::graph::{At, Times, WaitGraph};
use crate::limits::{MAX_CHAIN_STEPS, MAX_CHAINS};

/// The most chains from one start, so that one busy process does not hide the others.
const MAX_CHAINS_PER_START: usize = 50;
const MAX_DEADLOCKS: usize = 100;

#[derive(Debug, Serialize)]
pub(crate) struct Waits {
    pub(crate) snapshot_id: i64,
    pub(crate) chains: Vec<Chain>,
    pub(crate) deadlocks: Vec<Deadlock>,
    /// There are more chains, or longer ones, than are listed.
    pub(crate) truncated: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Chain {
    /// The longest wait in the chain, if a process reported how long it has been waiting.
    pub(crate) wait_ms: Option<u64>,
    pub(crate) length: usize,
    pub(crate) processes: Vec<String>,
    pub(crate) ends: Ends,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deadlock: Option<String>,
    pub(crate) steps: Vec<Step>,
}

/// Why a chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ends {
    /// At a node that waits for nothing.
    Node,
    /// In a cycle.
    Deadlock,
    /// At something that no process reported.
    Unresolved,
    /// It goes on, but only so many steps are listed.
    Truncated,
}

#[derive(Debug, Serialize)]
pub(crate) struct Deadlock {
    pub(crate) name: String,
    pub(crate) wait_ms: Option<u64>,
    pub(crate) processes: Vec<String>,
    /// One path around the cycle; the last step waits for the first.
    pub(crate) steps: Vec<Step>,
    /// The number of all nodes in the cycle, on this path or another.
    pub(crate) members: usize,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proc_key: Option<String>,
    /// How long it has been waiting for the next step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wait_ms: Option<u64>,
    /// Why nothing is known about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) missing: Option<String>,
}

/// Reads the waits of one cut.
pub(crate) fn read(db: &Connection, snapshot_id: i64) -> Result<Waits, rusqlite::Error> {
    let mut graph = WaitGraph::default();
    load_edges(db, snapshot_id, &mut graph)?;
    load_nodes(db, snapshot_id, &mut graph)?;
    Ok(trace(&graph, snapshot_id))
}

fn load_edges(db: &Connection, snapshot_id: i64, graph: &mut WaitGraph) -> Result<(), rusqlite::Error> {
    const ENDS: &str = "src_id, src_proc_key, dst_id, dst_proc_key, attrs_json";
    let mut resolved = db.prepare(&format!("SELECT {ENDS} FROM edges WHERE snapshot_id = ?1 AND kind = 'needs'"))?;
    let mut rows = resolved.query([snapshot_id])?;
    while let Some(row) = rows.next()? {
        load_edge(row, graph)?;
    }
    let mut unresolved = db.prepare(&format!(
        "SELECT {ENDS}, missing_side, reason FROM unresolved_edges WHERE snapshot_id = ?1 AND kind = 'needs'"
    ))?;
    let mut rows = unresolved.query([snapshot_id])?;
    while let Some(row) = rows.next()? {
        let (src, dst) = load_edge(row, graph)?;
        let (side, reason) = (row.get_ref(5)?.as_str()?, row.get_ref(6)?.as_str()?);
        graph.missing(if side == "src" { src } else { dst }, reason);
        if side == "both" {
            graph.missing(src, "no process reported it");
        }
    }
    Ok(())
}

fn load_edge<'r>(row: &'r Row<'_>, graph: &mut WaitGraph) -> Result<(At<'r>, At<'r>), rusqlite::Error> {
    let text = |column: usize| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str()?);
    let src = At { id: text(0)?, proc_key: text(1)? };
    let dst = At { id: text(2)?, proc_key: text(3)? };
    graph.edge(src, dst, wait_of(text(4)?));
    Ok((src, dst))
}

fn load_nodes(db: &Connection, snapshot_id: i64, graph: &mut WaitGraph) -> Result<(), rusqlite::Error> {
    let mut nodes = db.prepare("SELECT id, kind, label, proc_key, attrs_json FROM nodes WHERE snapshot_id = ?1")?;
    let mut rows = nodes.query([snapshot_id])?;
    while let Some(row) = rows.next()? {
        let at = At { id: row.get_ref(0)?.as_str()?, proc_key: row.get_ref(3)?.as_str()? };
        let Some(index) = graph.find(at) else { continue };
        let times = times_of(row.get_ref(4)?.as_str()?);
        graph.describe(index, row.get(1)?, row.get(2)?, row.get(3)?, times);
    }
    Ok(())
}

/// How long an edge has existed, in milliseconds.
fn wait_of(attrs_json: &str) -> Option<u64> {
    let Times { waited, age } = times_of(attrs_json);
    waited.or(age)
}

/// The times in the attributes, in milliseconds, by the names that are in use for them.
fn times_of(attrs_json: &str) -> Times {
    let Ok(attrs) = serde_json::from_str::<HashMap<String, serde_json::Value>>(attrs_json) else {
        return Times::default();
    };
    let number = |name: &str| attrs.get(name).and_then(|value| value.as_f64()).filter(|number| *number >= 0.0);
    let first = |ms: &[&str], ns: &[&str]| {
        let found = ms.iter().find_map(|name| number(name));
        found.or_else(|| ns.iter().find_map(|name| number(name)).map(|ns| ns / 1e6)).map(|ms| ms as u64)
    };
    Times {
        waited: first(&["waited_ms", "wait_ms"], &["waited_ns", "wait_ns"]),
        age: first(&["age_ms", "elapsed_ms", "since_ms"], &["age_ns", "elapsed_ns"]),
    }
}

fn trace(graph: &WaitGraph, snapshot_id: i64) -> Waits {
    let components = graph.components();
    let deadlocks: Vec<Deadlock> = components
        .cycles
        .iter()
        .take(MAX_DEADLOCKS)
        .map(|members| {
            let cycle = graph.way_around(members, &components);
            let steps = graph.steps(&cycle, true);
            Deadlock {
                name: deadlock_name(graph, members),
                wait_ms: steps.iter().filter_map(|step| step.wait_ms).max(),
                processes: processes(&steps),
                members: members.len(),
                steps,
            }
        })
        .collect();
    let mut truncated = components.cycles.len() > MAX_DEADLOCKS;
    let mut chains = Vec::new();
    for start in graph.starts(&components) {
        let room = MAX_CHAINS.saturating_sub(chains.len()).min(MAX_CHAINS_PER_START);
        let (paths, complete) = graph.paths(start, &components, room, MAX_CHAIN_STEPS);
        truncated |= !complete;
        chains.extend(paths.into_iter().map(|(path, ends)| {
            truncated |= ends == Ends::Truncated;
            chain(graph, &components, &path, ends)
        }));
        if chains.len() >= MAX_CHAINS {
            truncated = true;
            break;
        }
    }
    chains.sort_by_key(|chain| std::cmp::Reverse((chain.wait_ms, chain.length)));
    Waits { snapshot_id, chains, deadlocks, truncated }
}

fn chain(graph: &WaitGraph, components: &graph::Components, path: &[usize], ends: Ends) -> Chain {
    let steps = graph.steps(path, false);
    let deadlock = match (ends, path.last()) {
        (Ends::Deadlock, Some(last)) => components.cycle_of(*last).map(|members| deadlock_name(graph, members)),
        _ => None,
    };
    Chain {
        wait_ms: steps.iter().filter_map(|step| step.wait_ms).max(),
        length: steps.len(),
        processes: processes(&steps),
        ends,
        deadlock,
        steps,
    }
}

/// The name of a deadlock: the same from every chain, because it comes from the member with the first id.
fn deadlock_name(graph: &WaitGraph, members: &[usize]) -> String {
    let first = members.iter().map(|member| graph.id(*member)).min().unwrap_or("");
    format!("deadlock of {} at {}", members.len(), crate::escape(first))
}

fn processes(steps: &[Step]) -> Vec<String> {
    let mut processes: Vec<String> = Vec::new();
    for key in steps.iter().filter_map(|step| step.proc_key.as_ref()) {
        if !processes.contains(key) {
            processes.push(key.clone());
        }
    }
    processes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(id: &str) -> At<'_> {
        At { proc_key: "", id }
    }

    fn graph(edges: &[(&str, &str, Option<u64>)]) -> WaitGraph {
        let mut graph = WaitGraph::default();
        for (src, dst, wait) in edges {
            graph.edge(at(src), at(dst), *wait);
        }
        for id in edges.iter().flat_map(|(src, dst, _)| [src, dst]) {
            let index = graph.find(at(id)).unwrap();
            graph.describe(index, "lock".into(), format!("label {id}"), format!("p{}", &id[..1]), Times::default());
        }
        graph
    }

    fn shown(waits: &Waits) -> Vec<String> {
        let ids = |steps: &[Step]| steps.iter().map(|step| step.id.as_str()).collect::<Vec<_>>().join(">");
        waits.chains.iter().map(|c| format!("{} {:?} {:?}", ids(&c.steps), c.wait_ms, c.ends)).collect()
    }

    #[test]
    fn chains_cross_processes_longest_wait_first() {
        let waits = trace(
            &graph(&[("a1", "b1", Some(5)), ("b1", "c1", Some(3)), ("b1", "c2", Some(90)), ("x1", "y1", None)]),
            7,
        );
        assert_eq!(shown(&waits), ["a1>b1>c2 Some(90) Node", "a1>b1>c1 Some(5) Node", "x1>y1 None Node"]);
        assert_eq!(waits.chains[0].processes, ["pa", "pb", "pc"]);
        assert!(waits.deadlocks.is_empty() && !waits.truncated);
    }

    #[test]
    fn cycles_are_named_once_with_all_who_are_caught() {
        let waits = trace(
            &graph(&[
                ("s1", "a1", Some(1)),
                ("a1", "b1", Some(2)),
                ("b1", "c1", Some(9)),
                ("c1", "a1", None),
                ("z1", "z1", None),
            ]),
            7,
        );
        assert_eq!(shown(&waits), ["s1>a1 Some(1) Deadlock"]);
        let mut names: Vec<&str> = waits.deadlocks.iter().map(|d| d.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["deadlock of 1 at z1", "deadlock of 3 at a1"]);
        let three = waits.deadlocks.iter().find(|d| d.members == 3).unwrap();
        assert_eq!((three.steps.len(), three.wait_ms, three.processes.len()), (3, Some(9), 3));
        assert_eq!(waits.chains[0].deadlock.as_deref(), Some("deadlock of 3 at a1"));
    }

    #[test]
    fn what_nobody_reported_ends_a_chain() {
        let mut graph = graph(&[("a1", "b1", Some(5))]);
        graph.edge(at("b1"), at("gone"), Some(4));
        graph.missing(at("gone"), "its process went away");
        let waits = trace(&graph, 7);
        assert_eq!(shown(&waits), ["a1>b1>gone Some(5) Unresolved"]);
        assert_eq!(waits.chains[0].steps[2].missing.as_deref(), Some("its process went away"));
    }

    #[test]
    fn a_lattice_and_a_long_line_are_bounded() {
        let layers: Vec<Vec<String>> = (0..30).map(|l| (0..4).map(|n| format!("n{l:02}.{n}")).collect()).collect();
        let mut graph = WaitGraph::default();
        for pair in layers.windows(2) {
            for src in &pair[0] {
                for dst in &pair[1] {
                    graph.edge(at(src), at(dst), None);
                }
            }
        }
        let waits = trace(&graph, 7);
        assert_eq!((waits.chains.len(), waits.truncated), (4 * MAX_CHAINS_PER_START, true));

        let mut line = WaitGraph::default();
        for n in 0..20_000 {
            line.edge(at(&format!("n{n}")), at(&format!("n{}", n + 1)), Some(1));
        }
        let waits = trace(&line, 7);
        assert_eq!((waits.chains.len(), waits.chains[0].length), (1, MAX_CHAIN_STEPS));
        assert_eq!(waits.chains[0].ends, Ends::Truncated);
        line.edge(at("n20000"), at("n0"), None);
        assert_eq!(trace(&line, 7).deadlocks[0].members, 20_001);
    }

    #[test]
    fn the_age_of_a_wait_is_not_that_of_a_task() {
        let mut graph = WaitGraph::default();
        let kinds = [("task", "future", 36_000_000), ("lock", "lock", 36_000_000), ("request", "request", 4000)];
        for (src, dst) in [("task", "lock"), ("lock", "request"), ("request", "response")] {
            graph.edge(at(src), at(dst), None);
        }
        for (id, kind, age) in kinds.into_iter().chain([("response", "response", 3000)]) {
            let times = Times { waited: None, age: Some(age) };
            graph.describe(graph.find(at(id)).unwrap(), kind.into(), id.into(), "p-1".into(), times);
        }
        let waits = trace(&graph, 7);
        let told: Vec<_> = waits.chains[0].steps.iter().map(|step| step.wait_ms).collect();
        // Nothing reports how long the task waits for the lock; the other waits are as old as what was created for
        // them.
        assert_eq!((told, waits.chains[0].wait_ms), (vec![None, Some(4000), Some(3000), None], Some(4000)));
    }

    #[test]
    fn waits_as_programs_tell_them() {
        assert_eq!(wait_of(r#"{"age_ms":3,"waited_ms":12}"#), Some(12));
        assert_eq!(wait_of(r#"{"elapsed_ns":5000000}"#), Some(5));
        for none in ["{}", "[1]", "nonsense", r#"{"age_ms":"x"}"#, r#"{"age_ms":-1}"#] {
            assert_eq!(wait_of(none), None, "{none}");
        }
    }
}
