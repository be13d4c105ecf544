//! The algorithms. They do not recurse, because a stranger can make a chain of any length.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet, VecDeque},
};

use super::{Ends, Step};
use crate::limits::MAX_CHAIN_STEPS;

#[derive(Default)]
pub(super) struct WaitGraph {
    places: HashMap<Box<str>, usize>,
    nodes: Vec<WaitNode>,
}

/// A node: its process, which is empty if nobody reported the node, and its id. Two hosts may use the same ids.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) proc_key: &'a str,
    pub(super) id: &'a str,
}

impl At<'_> {
    fn key(self) -> Box<str> {
        // A key contains no line feed.
        format!("{}\n{}", self.proc_key, self.id).into()
    }
}

#[derive(Default)]
struct WaitNode {
    id: Box<str>,
    about: Option<(String, String, String)>,
    missing: Option<Box<str>>,
    times: Times,
    out: Vec<(usize, Option<u64>)>,
    waited_for: bool,
}

impl WaitNode {
    /// Whether the node exists only for a wait.
    fn is_made_for_a_wait(&self) -> bool {
        const KINDS: [&str; 8] =
            ["request", "response", "file_op", "command", "sleep", "timeout", "net_readable", "net_writable"];
        self.about.as_ref().is_some_and(|(kind, ..)| KINDS.contains(&kind.as_str()))
    }
}

/// The times that a node reports, in milliseconds.
#[derive(Clone, Copy, Default)]
pub(super) struct Times {
    /// How long it has been waiting, as its process reports.
    pub(super) waited: Option<u64>,
    /// How long it has existed.
    pub(super) age: Option<u64>,
}

/// Strongly connected components.
pub(super) struct Components {
    of: Vec<usize>,
    /// The longest wait at or below each component.
    longest: Vec<Option<u64>>,
    /// Members of the components that are cycles.
    pub(super) cycles: Vec<Vec<usize>>,
    cycle_index: HashMap<usize, usize>,
}

impl Components {
    /// The cycle that contains a node.
    pub(super) fn cycle_of(&self, node: usize) -> Option<&[usize]> {
        let index = self.cycle_index.get(self.of.get(node)?)?;
        self.cycles.get(*index).map(Vec::as_slice)
    }
}

impl WaitGraph {
    fn index(&mut self, at: At<'_>) -> usize {
        let key = at.key();
        if let Some(index) = self.places.get(&key) {
            return *index;
        }
        let index = self.nodes.len();
        self.places.insert(key, index);
        self.nodes.push(WaitNode { id: at.id.into(), ..WaitNode::default() });
        index
    }

    pub(super) fn find(&self, at: At<'_>) -> Option<usize> {
        self.places.get(&at.key()).copied()
    }

    pub(super) fn id(&self, index: usize) -> &str {
        &self.nodes[index].id
    }

    pub(super) fn edge(&mut self, src: At<'_>, dst: At<'_>, wait: Option<u64>) {
        let (src, dst) = (self.index(src), self.index(dst));
        self.nodes[src].out.push((dst, wait));
        self.nodes[dst].waited_for = true;
    }

    pub(super) fn missing(&mut self, at: At<'_>, reason: &str) {
        let index = self.index(at);
        self.nodes[index].missing = Some(reason.into());
    }

    pub(super) fn describe(&mut self, node: usize, kind: String, label: String, proc_key: String, times: Times) {
        let node = &mut self.nodes[node];
        node.about = Some((kind, label, proc_key));
        node.times = times;
    }

    /// How long `src` has been waiting for `dst`: what the edge reports, or else what the source of the wait reports.
    /// If neither does, it is the age of an end that was created for the wait, such as a request. The age of a task
    /// does not count, because an old task may have begun to wait just now.
    fn wait(&self, src: usize, dst: usize, told: Option<u64>) -> Option<u64> {
        let (from, to) = (&self.nodes[src], &self.nodes[dst]);
        let made_for_it = |node: &WaitNode| node.times.age.filter(|_| node.is_made_for_a_wait());
        told.or(from.times.waited).or_else(|| match (made_for_it(from), made_for_it(to)) {
            (Some(from), Some(to)) => Some(from.min(to)),
            (from, to) => from.or(to),
        })
    }

    /// Tarjan's algorithm. Components that wait for nothing come first.
    pub(super) fn components(&self) -> Components {
        const NEW: usize = usize::MAX;
        let n = self.nodes.len();
        let (mut order, mut low, mut on_stack) = (vec![NEW; n], vec![0; n], vec![false; n]);
        let mut found = Components { of: vec![NEW; n], longest: vec![], cycles: vec![], cycle_index: HashMap::new() };
        let (mut stack, mut calls, mut next) = (Vec::new(), Vec::new(), 0);
        for root in 0..n {
            if order[root] != NEW {
                continue;
            }
            calls.push((root, 0));
            while let Some((node, edge)) = calls.pop() {
                if edge == 0 {
                    order[node] = next;
                    low[node] = next;
                    next += 1;
                    stack.push(node);
                    on_stack[node] = true;
                }
                if let Some((to, _)) = self.nodes[node].out.get(edge) {
                    calls.push((node, edge + 1));
                    if order[*to] == NEW {
                        calls.push((*to, 0));
                    } else if on_stack[*to] {
                        low[node] = low[node].min(order[*to]);
                    }
                    continue;
                }
                if low[node] == order[node] {
                    let at = stack.iter().rposition(|member| *member == node).unwrap_or(0);
                    let members = stack.split_off(at);
                    members.iter().for_each(|member| on_stack[*member] = false);
                    self.close(members, &mut found);
                }
                if let Some((parent, _)) = calls.last() {
                    low[*parent] = low[*parent].min(low[node]);
                }
            }
        }
        found
    }

    fn close(&self, members: Vec<usize>, found: &mut Components) {
        let component = found.longest.len();
        members.iter().for_each(|member| found.of[*member] = component);
        let mut longest = None;
        for member in &members {
            for (to, wait) in &self.nodes[*member].out {
                longest = longest.max(self.wait(*member, *to, *wait));
                if found.of[*to] != component {
                    longest = longest.max(found.longest[found.of[*to]]);
                }
            }
        }
        found.longest.push(longest);
        let itself = |node: usize| self.nodes[node].out.iter().any(|(to, _)| *to == node);
        if members.len() > 1 || itself(members[0]) {
            found.cycle_index.insert(component, found.cycles.len());
            found.cycles.push(members);
        }
    }

    /// Nodes that wait and that nobody waits for, longest wait first.
    pub(super) fn starts(&self, components: &Components) -> Vec<usize> {
        let mut starts: Vec<usize> =
            (0..self.nodes.len()).filter(|n| !self.nodes[*n].waited_for && !self.nodes[*n].out.is_empty()).collect();
        starts.sort_by_key(|node| (Reverse(components.longest[components.of[*node]]), &self.nodes[*node].id));
        starts
    }

    /// At most `max` paths from `start` to an end, longest waits first, and whether these are all.
    pub(super) fn paths(
        &self,
        start: usize,
        components: &Components,
        max: usize,
        max_steps: usize,
    ) -> (Vec<(Vec<usize>, Ends)>, bool) {
        let mut found = Vec::new();
        let mut path = vec![start];
        let mut choices = vec![self.choices(start, components)];
        while let Some(open) = choices.last_mut() {
            if found.len() >= max {
                return (found, false);
            }
            let Some(next) = open.pop() else {
                choices.pop();
                path.pop();
                continue;
            };
            path.push(next);
            let node = &self.nodes[next];
            let ends = if components.cycle_of(next).is_some() {
                Some(Ends::Deadlock)
            } else if node.out.is_empty() {
                Some(if node.missing.is_some() { Ends::Unresolved } else { Ends::Node })
            } else {
                (path.len() >= max_steps).then_some(Ends::Truncated)
            };
            match ends {
                Some(ends) => {
                    found.push((path.clone(), ends));
                    path.pop();
                }
                None => choices.push(self.choices(next, components)),
            }
        }
        (found, true)
    }

    /// The next nodes from here. The longest wait is last, because they are taken from the end.
    fn choices(&self, node: usize, components: &Components) -> Vec<usize> {
        let mut out: Vec<(Option<u64>, usize)> = self.nodes[node]
            .out
            .iter()
            .map(|(to, wait)| (self.wait(node, *to, *wait).max(components.longest[components.of[*to]]), *to))
            .collect();
        out.sort_unstable();
        out.into_iter().map(|(_, to)| to).collect()
    }

    /// A shortest path around a cycle, from its first member by id.
    pub(super) fn way_around(&self, members: &[usize], components: &Components) -> Vec<usize> {
        let Some(first) = members.iter().copied().min_by_key(|member| &self.nodes[*member].id) else { return vec![] };
        let (mut from, mut queue) = (HashMap::new(), VecDeque::from([first]));
        let mut seen = HashSet::from([first]);
        while let Some(node) = queue.pop_front() {
            for (to, _) in &self.nodes[node].out {
                if *to == first {
                    let mut way = vec![node];
                    while let Some(previous) = way.last().and_then(|node| from.get(node)) {
                        way.push(*previous);
                    }
                    way.reverse();
                    way.truncate(MAX_CHAIN_STEPS);
                    return way;
                }
                if components.of[*to] == components.of[first] && seen.insert(*to) {
                    from.insert(*to, node);
                    queue.push_back(*to);
                }
            }
        }
        vec![first]
    }

    /// A path as it is shown. `closed`: the last node waits for the first.
    pub(super) fn steps(&self, path: &[usize], closed: bool) -> Vec<Step> {
        let next = path.iter().skip(1).map(Some).chain([if closed { path.first() } else { None }]);
        path.iter().zip(next).map(|(node, next)| self.step(*node, next.copied())).collect()
    }

    fn step(&self, index: usize, next: Option<usize>) -> Step {
        let node = &self.nodes[index];
        let wait = next.and_then(|next| {
            let edges = node.out.iter().filter(|(to, _)| *to == next);
            edges.filter_map(|(to, told)| self.wait(index, *to, *told)).max()
        });
        let about = node.about.as_ref();
        Step {
            id: node.id.to_string(),
            kind: about.map(|(kind, ..)| kind.clone()),
            label: about.map(|(_, label, _)| label.clone()),
            proc_key: about.map(|(.., key)| key.clone()),
            wait_ms: wait,
            missing: node.missing.as_deref().map(str::to_owned),
        }
    }
}
