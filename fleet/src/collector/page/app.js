"use strict";
// The page: lists cuts, takes one, shows its processes, graph and waits. All text goes in through textContent.

const LARGE = 30000, ROW = 28, REFRESH_MS = 5000;
const $ = (id) => document.getElementById(id);

function el(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const state = {
  token: sessionStorage.getItem("token") || "",
  cuts: [], cut: null, summary: null, waits: null,
  nodes: [], edges: [], unresolved: [],
  visible: [], visibleIndex: new Map(), visibleEdges: [],
  processes: new Set(), kinds: new Set(), selected: null, loading: 0,
};

// ---- talking to the collector

async function call(method, path, body) {
  const headers = {};
  if (state.token) headers.authorization = "Bearer " + state.token;
  if (body !== undefined) headers["content-type"] = "application/json";
  const response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  if (response.status === 401) {
    $("login").hidden = false;
    throw new Error("this collector needs a token");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error || response.statusText);
  return answer;
}

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").className = bad ? "bad" : "";
}

async function attempt(what) {
  try {
    return await what();
  } catch (error) {
    say(error.message, true);
    return undefined;
  }
}

// ---- cuts and processes

async function refresh() {
  const connections = await call("GET", "/api/connections");
  $("connected").textContent = connections.length === 1 ? "1 process connected" : connections.length + " processes connected";
  state.cuts = await call("GET", "/api/snapshots");
  showCuts();
  if (state.cut === null && state.cuts.length) await open(state.cuts[0].snapshot_id);
}

async function take() {
  $("take").disabled = true;
  say("Asking all processes \u2026");
  await attempt(async () => {
    const cut = await call("POST", "/api/jump-now");
    const parts = [`${cut.responded} of ${cut.requested} answered`];
    if (cut.timed_out) parts.push(`${cut.timed_out} timed out`);
    if (cut.disconnected) parts.push(`${cut.disconnected} went away`);
    state.cuts = await call("GET", "/api/snapshots");
    await open(cut.snapshot_id);
    say(`Cut ${cut.snapshot_id}: ${parts.join(", ")}; ${cut.nodes} nodes, ${cut.edges} edges, ${cut.elapsed_ms} ms`);
  });
  $("take").disabled = false;
}

function showCuts() {
  $("cuts").replaceChildren(...state.cuts.map((cut) => {
    const missing = cut.requested - cut.responded;
    const button = el("button", { type: "button", title: `${cut.responded} of ${cut.requested} processes answered` },
      el("span", { className: "name", textContent: `#${cut.snapshot_id}  ${time(cut.requested_at_ns)}` }),
      el("span", { className: missing ? "count timeout" : "count", textContent: missing ? `${cut.responded}/${cut.requested}` : cut.requested }));
    button.setAttribute("aria-current", String(cut.snapshot_id === state.cut));
    button.addEventListener("click", () => attempt(() => open(cut.snapshot_id)));
    return el("li", {}, button);
  }));
}

function time(ns) {
  return new Date(ns / 1e6).toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" });
}

async function open(id) {
  const turn = ++state.loading;
  const [summary, waits] = await Promise.all([
    call("GET", `/api/snapshots/${id}`), call("GET", `/api/snapshots/${id}/waits`)]);
  const graph = summary.nodes <= LARGE ? await call("GET", `/api/snapshots/${id}/graph`) : null;
  if (turn !== state.loading) return;
  Object.assign(state, { cut: id, summary, waits, selected: null });
  state.processes.clear();
  state.kinds.clear();
  setGraph(graph || { nodes: [], edges: [], unresolved_edges: [] });
  $("empty").hidden = true;
  if (!graph) say(`Cut ${id} has ${summary.nodes} nodes, too many to draw at once: choose a process.`);
  showCuts();
  showWaits();
  view.highlight(null);
  $("clear").hidden = true;
  showDetails();
}

// A cut too large to draw is read one process at a time.
async function openProcess(key) {
  const turn = ++state.loading;
  const read = (sql, params) => call("POST", "/api/sql", { snapshot_id: state.cut, sql, params });
  const nodes = await read("SELECT id, label, kind, process, proc_key, attrs_json FROM nodes WHERE proc_key = ?", [key]);
  const edges = await read("SELECT src_id, dst_id, kind, attrs_json, src_proc_key, dst_proc_key FROM edges WHERE src_proc_key = ?", [key]);
  if (turn !== state.loading) return;
  const objects = (answer) => answer.rows.map((row) => Object.fromEntries(answer.columns.map((name, i) => [name, row[i]])));
  if (nodes.truncated || edges.truncated) say(`${key}: only the first ${nodes.row_count} nodes and ${edges.row_count} edges are shown.`);
  setGraph({ nodes: objects(nodes), edges: objects(edges), unresolved_edges: [] });
}

function setGraph(graph) {
  state.nodes = graph.nodes;
  state.unresolved = graph.unresolved_edges;
  const index = new Map(state.nodes.map((node, i) => [node.proc_key + "\n" + node.id, i]));
  state.edges = graph.edges
    .map((edge) => ({ ...edge, src: index.get(edge.src_proc_key + "\n" + edge.src_id), dst: index.get(edge.dst_proc_key + "\n" + edge.dst_id) }))
    .filter((edge) => edge.src !== undefined && edge.dst !== undefined);
  depths();
  applyFilter(false);
}

// How far down a chain of Needs each node stands; nodes of cycles and without such edges come after.
function depths() {
  const waiting = new Array(state.nodes.length).fill(0), out = new Map();
  for (const node of state.nodes) node.depth = 1e6;
  for (const edge of state.edges) {
    if (edge.kind !== "needs") continue;
    waiting[edge.dst] += 1;
    if (!out.has(edge.src)) out.set(edge.src, []);
    out.get(edge.src).push(edge.dst);
  }
  let level = [...out.keys()].filter((node) => waiting[node] === 0);
  for (let depth = 0; level.length; depth++) {
    const next = [];
    for (const node of level) {
      state.nodes[node].depth = depth;
      for (const to of out.get(node) || []) if (--waiting[to] === 0) next.push(to);
    }
    level = next;
  }
}

// ---- filters

function applyFilter(keepView) {
  const text = $("search").value.trim().toLowerCase(), large = state.summary && state.summary.nodes > LARGE;
  const wanted = (node) =>
    (large || !state.processes.size || state.processes.has(node.proc_key)) &&
    (!state.kinds.size || state.kinds.has(node.kind)) &&
    (!text || node.id.toLowerCase().includes(text) || node.label.toLowerCase().includes(text));
  state.visible = [];
  state.visibleIndex = new Map();
  state.nodes.forEach((node, index) => {
    if (!wanted(node)) return;
    state.visibleIndex.set(index, state.visible.length);
    state.visible.push(index);
  });
  state.visibleEdges = [];
  state.edges.forEach((edge, index) => {
    const src = state.visibleIndex.get(edge.src), dst = state.visibleIndex.get(edge.dst);
    if (src !== undefined && dst !== undefined) state.visibleEdges.push({ src, dst, kind: edge.kind, index });
  });
  view.show(state.visible.map((index) => state.nodes[index]), state.visibleEdges, keepView);
  $("shown").textContent = `${state.visible.length} of ${state.nodes.length} nodes`;
  view.highlight(null);
  $("clear").hidden = true;
  select(state.selected !== null && state.visibleIndex.has(state.selected) ? state.selected : null);
  showProcesses();
  showKinds();
  $("rows").style.height = state.visible.length * ROW + "px";
  showRows();
}

function toggle(set, value) {
  if (!set.delete(value)) set.add(value);
}

function filterButton(set, value, name, note, noteClass, title, act) {
  const button = el("button", { type: "button", title },
    el("span", { className: "name", textContent: name }),
    el("span", { className: "count " + noteClass, textContent: note }));
  button.setAttribute("aria-pressed", String(set.has(value)));
  button.addEventListener("click", act);
  return el("li", {}, button);
}

function showProcesses() {
  if (!state.summary) return;
  const large = state.summary.nodes > LARGE;
  $("processes").replaceChildren(...state.summary.processes.map((process) => filterButton(
    state.processes, process.proc_key, process.proc_key, process.status, process.status,
    [process.process, process.error_text].filter(Boolean).join(": "), () => {
      if (large) state.processes.clear();
      toggle(state.processes, process.proc_key);
      if (large) attempt(() => openProcess(process.proc_key));
      else applyFilter(false);
    })));
  $("all-processes").hidden = large || !state.processes.size;
}

function showKinds() {
  const counts = new Map();
  for (const node of state.nodes) counts.set(node.kind, (counts.get(node.kind) || 0) + 1);
  $("kinds").replaceChildren(...[...counts].sort().map(([kind, count]) =>
    filterButton(state.kinds, kind, kind, count, "", "", () => {
      toggle(state.kinds, kind);
      applyFilter(false);
    })));
  $("all-kinds").hidden = !state.kinds.size;
}

// ---- the list: only the rows in sight exist

function showRows() {
  const panel = $("view-list"), first = Math.max(0, Math.floor(panel.scrollTop / ROW) - 10);
  const last = Math.min(state.visible.length, first + Math.ceil((panel.clientHeight || 600) / ROW) + 20);
  const rows = [];
  for (let i = first; i < last; i++) {
    const index = state.visible[i], node = state.nodes[index];
    const row = el("button", { type: "button", className: "row" },
      el("span", { textContent: node.kind }), el("span", { textContent: node.label || node.id }),
      el("span", { className: "at", textContent: node.proc_key }));
    row.style.top = i * ROW + "px";
    row.setAttribute("aria-current", String(index === state.selected));
    row.addEventListener("click", () => select(index));
    rows.push(row);
  }
  $("rows").replaceChildren(...rows);
}

// ---- waits

function seconds(ms) {
  if (ms === null || ms === undefined) return "";
  return ms < 1000 ? `${ms} ms` : ms < 60000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.floor(ms / 60000)} min ${Math.round(ms / 1000) % 60} s`;
}

function stepText(step) {
  const name = el("span", { textContent: step.label || step.id });
  if (step.proc_key) name.append(el("span", { className: "at", textContent: ` @${step.proc_key}` }));
  if (step.missing) name.append(el("span", { className: "at", textContent: ` (${step.missing})` }));
  return name;
}

function chainButton(title, chain, closed) {
  const button = el("button", { type: "button" }, title);
  chain.steps.slice(0, 40).forEach((step, i) => button.append(i ? " \u2192 " : " ", stepText(step)));
  if (chain.steps.length > 40) button.append(` \u2192 \u2026 ${chain.steps.length - 40} more`);
  if (chain.deadlock) button.append(` \u2192 ${chain.deadlock}`);
  button.addEventListener("click", () => showChain(chain.steps.map((step) => step.id), closed));
  return el("li", {}, button);
}

function showWaits() {
  const { deadlocks, chains, truncated } = state.waits;
  $("deadlocks").replaceChildren(...deadlocks.map((deadlock) =>
    chainButton(el("b", { textContent: deadlock.name + ":" }), deadlock, true)));
  const items = chains.map((chain) =>
    chainButton(el("span", { className: "wait", textContent: seconds(chain.wait_ms) }), chain, false));
  if (truncated) items.push(el("li", { className: "hint", textContent: "There are more than are listed." }));
  if (!items.length && !deadlocks.length) items.push(el("li", { className: "hint", textContent: "Nothing waits." }));
  $("chains").replaceChildren(...items);
  const badge = deadlocks.length ? ` (${chains.length}, ${deadlocks.length} deadlocked)` : chains.length ? ` (${chains.length})` : "";
  $("tab-waits").textContent = "Waits" + badge;
}

function showChain(ids, closed) {
  const pairs = new Set();
  ids.forEach((id, i) => {
    if (i + 1 < ids.length) pairs.add(id + "\n" + ids[i + 1]);
    else if (closed) pairs.add(id + "\n" + ids[0]);
  });
  const wanted = new Set(ids), nodes = new Set(), edges = new Set();
  state.visible.forEach((index, i) => {
    if (wanted.has(state.nodes[index].id)) nodes.add(i);
  });
  state.visibleEdges.forEach((edge, i) => {
    const { src_id, dst_id, kind } = state.edges[edge.index];
    if (kind === "needs" && pairs.has(src_id + "\n" + dst_id)) edges.add(i);
  });
  openTab("graph");
  view.highlight(nodes, edges);
  view.fit([...nodes].map((i) => view.nodes[i]));
  $("clear").hidden = false;
}

// Everything that this node waits for, and that waits for it.
function reach(index) {
  const forward = new Map(), backward = new Map(), nodes = new Set([index]), edges = new Set();
  const add = (map, from, to, edge) => {
    if (!map.has(from)) map.set(from, []);
    map.get(from).push([to, edge]);
  };
  state.visibleEdges.forEach((edge, i) => {
    if (edge.kind !== "needs") return;
    add(forward, edge.src, edge.dst, i);
    add(backward, edge.dst, edge.src, i);
  });
  for (const map of [forward, backward]) {
    const seen = new Set([index]), queue = [index];
    while (queue.length) {
      for (const [to, edge] of map.get(queue.pop()) || []) {
        edges.add(edge);
        nodes.add(to);
        if (!seen.has(to)) {
          seen.add(to);
          queue.push(to);
        }
      }
    }
  }
  return { nodes, edges };
}

// ---- details

function select(index) {
  state.selected = index;
  const at = index === null ? null : state.visibleIndex.get(index);
  view.select(at === undefined ? null : at);
  if (at !== null && at !== undefined) {
    const { nodes, edges } = reach(at);
    if (edges.size) {
      view.highlight(nodes, edges);
      $("clear").hidden = false;
    }
  }
  showDetails();
  showRows();
}

function attributes(json) {
  let attrs;
  try {
    attrs = JSON.parse(json);
  } catch {
    return el("dl", {}, el("dt", { textContent: "text" }), el("dd", { textContent: json }));
  }
  const list = el("dl");
  const pairs = attrs !== null && typeof attrs === "object" ? Object.entries(attrs) : [["value", attrs]];
  for (const [name, value] of pairs.slice(0, 200)) {
    list.append(el("dt", { textContent: name }), el("dd", { textContent: typeof value === "string" ? value : JSON.stringify(value) }));
  }
  return list;
}

function showDetails() {
  const panel = $("details"), node = state.selected === null ? null : state.nodes[state.selected];
  if (!node) {
    panel.replaceChildren(el("p", { className: "hint", textContent: "Select something to see its attributes." }));
    return;
  }
  const about = el("dl");
  for (const [name, value] of [["kind", node.kind], ["id", node.id], ["process", node.proc_key]]) {
    about.append(el("dt", { textContent: name }), el("dd", { textContent: value }));
  }
  panel.replaceChildren(el("h3", { textContent: node.label || node.id }), about,
    el("h4", { textContent: "Attributes" }), attributes(node.attrs_json));
  const related = (title, edges, other) => {
    if (!edges.length) return;
    const items = edges.slice(0, 200).map((edge) => {
      const index = other(edge), name = state.nodes[index].label || state.nodes[index].id;
      const button = el("button", { type: "button" }, el("span", { className: "at", textContent: edge.kind + " " }), name);
      button.addEventListener("click", () => select(index));
      return el("li", {}, button);
    });
    panel.append(el("h4", { textContent: title }), el("ul", {}, ...items));
  };
  related("Leads to", state.edges.filter((edge) => edge.src === state.selected), (edge) => edge.dst);
  related("Comes from", state.edges.filter((edge) => edge.dst === state.selected), (edge) => edge.src);
  const missing = state.unresolved.filter((edge) => edge.src_id === node.id || edge.dst_id === node.id);
  if (missing.length) {
    panel.append(el("h4", { textContent: "Unresolved" }), el("ul", {}, ...missing.slice(0, 200).map((edge) =>
      el("li", { textContent: `${edge.kind} ${edge.src_id === node.id ? edge.dst_id : edge.src_id}: ${edge.reason}` }))));
  }
}

// ---- tabs and start

function openTab(name) {
  for (const tab of ["graph", "list", "waits"]) {
    $("tab-" + tab).setAttribute("aria-selected", String(tab === name));
    $("view-" + tab).hidden = tab !== name;
  }
  if (name === "list") showRows();
  if (name === "graph") view.draw();
}

const view = new GraphView($("graph"), (at) => select(at === null ? null : state.visible[at]));
// For tests: what stands where.
$("graph").fleet = { view, state, positionOf: (id) => view.positionOf(view.nodes.findIndex((node) => node.id === id)) };

$("take").addEventListener("click", take);
$("fit").addEventListener("click", () => view.fit());
$("clear").addEventListener("click", () => {
  view.highlight(null);
  $("clear").hidden = true;
});
for (const tab of ["graph", "list", "waits"]) $("tab-" + tab).addEventListener("click", () => openTab(tab));
$("view-list").addEventListener("scroll", showRows);
$("search").addEventListener("input", () => applyFilter(false));
$("all-processes").addEventListener("click", () => {
  state.processes.clear();
  applyFilter(false);
});
$("all-kinds").addEventListener("click", () => {
  state.kinds.clear();
  applyFilter(false);
});
$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  state.token = $("token").value;
  sessionStorage.setItem("token", state.token);
  $("token").value = "";
  $("login").hidden = true;
  say("");
  attempt(refresh);
});
attempt(refresh);
setInterval(() => {
  if (!document.hidden && $("login").hidden) attempt(refresh);
}, REFRESH_MS);
