"use strict";
// The page: lists cuts, takes a new one, and shows its processes, graph, waits, and changes. Text is never inserted as HTML.

const LARGE = 30000, REFRESH_MS = 5000, TABS = ["graph", "list", "waits", "compare"];
const $ = (id) => document.getElementById(id);

function el(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const state = {
  token: sessionStorage.getItem("token") || "",
  cuts: [], cut: null, against: null,
  visible: [], visibleIndex: new Map(), visibleEdges: [],
  processes: new Set(), kinds: new Set(), selected: null, chain: null, loading: 0,
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

// ---- cuts

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
  const shown = state.cut && state.cut.id;
  $("cuts").replaceChildren(...state.cuts.map((cut) => {
    const missing = cut.requested - cut.responded;
    const button = el("button", { type: "button", title: `${cut.responded} of ${cut.requested} processes answered` },
      el("span", { className: "name", textContent: `#${cut.snapshot_id}  ${time(cut.requested_at_ns)}` }),
      el("span", { className: missing ? "count timeout" : "count", textContent: missing ? `${cut.responded}/${cut.requested}` : cut.requested }));
    button.setAttribute("aria-current", String(cut.snapshot_id === shown));
    button.addEventListener("click", () => attempt(() => open(cut.snapshot_id)));
    return el("li", {}, button);
  }));
  const choice = $("against"), before = choice.value;
  choice.replaceChildren(el("option", { value: "", textContent: "choose a cut" }), ...state.cuts
    .filter((cut) => cut.snapshot_id !== shown)
    .map((cut) => el("option", { value: String(cut.snapshot_id), textContent: `#${cut.snapshot_id}  ${time(cut.requested_at_ns)}` })));
  if ([...choice.options].some((option) => option.value === before)) choice.value = before;
}

const NO_GRAPH = { nodes: [], edges: [], unresolved_edges: [] };

async function load(id) {
  const [summary, waits] = await Promise.all([
    call("GET", `/api/snapshots/${id}`), call("GET", `/api/snapshots/${id}/waits`)]);
  const graph = summary.nodes <= LARGE ? await call("GET", `/api/snapshots/${id}/graph`) : NO_GRAPH;
  return new Cut(id, summary, waits, graph);
}

const isLarge = (cut) => cut.summary.nodes > LARGE;

async function open(id) {
  const turn = ++state.loading;
  const cut = await load(id);
  if (turn !== state.loading) return;
  Object.assign(state, { cut, selected: null, chain: null });
  state.processes.clear();
  state.kinds.clear();
  $("empty").hidden = true;
  if (isLarge(cut)) say(`Cut ${id} has ${cut.summary.nodes} nodes, too many to draw at once: choose a process.`);
  showCuts();
  applyFilter(false);
  await compare();
}

// A cut that is too large to draw is read one process at a time.
async function openProcess(key) {
  const turn = ++state.loading;
  const read = (sql) => call("POST", "/api/sql", { snapshot_id: state.cut.id, sql, params: [key] });
  const nodes = await read("SELECT id, label, kind, process, proc_key, attrs_json FROM nodes WHERE proc_key = ?");
  const edges = await read("SELECT src_id, dst_id, kind, attrs_json, src_proc_key, dst_proc_key FROM edges WHERE src_proc_key = ?");
  if (turn !== state.loading) return;
  const objects = (answer) => answer.rows.map((row) => Object.fromEntries(answer.columns.map((name, i) => [name, row[i]])));
  if (nodes.truncated || edges.truncated) say(`${key}: only the first ${nodes.row_count} nodes and ${edges.row_count} edges are shown.`);
  state.cut.setGraph({ nodes: objects(nodes), edges: objects(edges), unresolved_edges: [] });
  state.selected = null;
  state.chain = null;
  applyFilter(false);
}

async function compare() {
  const panel = $("differences"), id = Number($("against").value);
  if (!id || !state.cut) return panel.replaceChildren(el("p", { className: "hint", textContent: "Choose a cut to see what still waits for the same, what is new, and what is gone." }));
  const other = state.against && state.against.id === id ? state.against : await load(id);
  state.against = other;
  if (isLarge(other) || isLarge(state.cut)) return panel.replaceChildren(el("p", { className: "hint", textContent: "These cuts are too large to compare here: use SQL." }));
  const [older, newer] = other.id < state.cut.id ? [other, state.cut] : [state.cut, other];
  showDifferences(panel, older, newer, state.cut, (index) => {
    openTab("graph");
    select(index);
  });
}

// ---- filters

const filter = () => ({ text: $("search").value.trim().toLowerCase(), processes: state.processes, kinds: state.kinds });

function applyFilter(keepView) {
  const { cut } = state;
  if (!cut) return;
  const { text, processes, kinds } = filter(), large = isLarge(cut);
  const wanted = (node) =>
    (large || !processes.size || processes.has(node.proc_key)) && (!kinds.size || kinds.has(node.kind)) &&
    (!text || [node.id, node.label, node.text].some((part) => part.toLowerCase().includes(text)));
  const chosen = new Set();
  cut.nodes.forEach((node, index) => {
    if (wanted(node)) chosen.add(index);
  });
  const inChain = new Set(state.chain ? state.chain.indexes : []);
  // The neighbours of a chosen process's nodes stay visible as ghosts: what it waits for is often in another process.
  const ghosts = new Set([...inChain].filter((index) => !chosen.has(index)));
  if (processes.size && !large) {
    for (const { src, dst } of cut.edges) {
      if (chosen.has(src) !== chosen.has(dst)) ghosts.add(chosen.has(src) ? dst : src);
    }
  }
  state.visible = cut.nodes.map((_, index) => index).filter((index) => chosen.has(index) || ghosts.has(index));
  // A chain that would be too small among all others is shown alone.
  if (state.chain && state.chain.alone) state.visible = state.visible.filter((index) => inChain.has(index));
  state.visibleIndex = new Map(state.visible.map((index, i) => [index, i]));
  state.visibleEdges = [];
  cut.edges.forEach((edge, index) => {
    const src = state.visibleIndex.get(edge.src), dst = state.visibleIndex.get(edge.dst);
    if (src !== undefined && dst !== undefined) state.visibleEdges.push({ src, dst, kind: edge.kind, index });
  });
  const faint = new Set([...ghosts].filter((index) => !inChain.has(index)).map((index) => state.visibleIndex.get(index)));
  view.show(state.visible.map((index) => cut.nodes[index]), state.visibleEdges, faint, title, keepView);
  $("legend-ghost").hidden = !faint.size;
  $("shown").textContent = `${chosen.size} of ${cut.nodes.length} nodes`;
  list.show(cut, chosen, state.selected);
  showWaits(cut, filter(), chooseChain);
  showProcesses();
  showKinds();
  if (state.chain) return markChain();
  view.highlight(null);
  $("clear").hidden = true;
  select(state.selected !== null && state.visibleIndex.has(state.selected) ? state.selected : null);
}

// The process's name and its role here.
function title(procKey) {
  const role = state.cut.roles.get(procKey);
  return state.cut.nameOf(procKey) + (role ? ` \u00b7 ${role}` : "");
}

function toggle(set, value) {
  if (!set.delete(value)) set.add(value);
}

function filterButton(set, value, name, note, noteClass, hint, act) {
  const button = el("button", { type: "button", title: hint }, el("span", { className: "name" }, name),
    el("span", { className: "count " + noteClass, textContent: note }));
  button.setAttribute("aria-pressed", String(set.has(value)));
  button.addEventListener("click", act);
  return el("li", {}, button);
}

function showProcesses() {
  const large = isLarge(state.cut);
  $("processes").replaceChildren(...state.cut.summary.processes.map((process) => {
    const key = process.proc_key, role = state.cut.roles.get(key);
    const name = el("bdi", { textContent: state.cut.nameOf(key) });
    const hint = [key, process.error_text].filter(Boolean).join(": ");
    const item = filterButton(state.processes, key, name, process.status, process.status, hint, () => {
      if (large) state.processes.clear();
      toggle(state.processes, key);
      if (large) attempt(() => openProcess(key));
      else applyFilter(false);
    });
    if (role) item.append(el("p", { className: "note role", textContent: role }));
    if (process.error_text) item.append(el("p", { className: "note" }, el("bdi", { textContent: process.error_text })));
    return item;
  }));
  $("all-processes").hidden = large || !state.processes.size;
}

function showKinds() {
  const counts = new Map();
  for (const node of state.cut.nodes) counts.set(node.kind, (counts.get(node.kind) || 0) + 1);
  $("kinds").replaceChildren(...[...counts].sort().map(([kind, count]) =>
    filterButton(state.kinds, kind, el("bdi", { textContent: kind }), count, "", "", () => {
      toggle(state.kinds, kind);
      applyFilter(false);
    })));
  $("all-kinds").hidden = !state.kinds.size;
}

// ---- chains

function chooseChain(chain, closed) {
  const keys = chain.steps.map(stepKey), pairs = new Set();
  keys.forEach((key, i) => {
    if (i + 1 < keys.length) pairs.add(key + "\n" + keys[i + 1]);
    else if (closed) pairs.add(key + "\n" + keys[0]);
  });
  const indexes = keys.map((key) => state.cut.index.get(key)).filter((index) => index !== undefined);
  state.selected = null;
  state.chain = { chain, closed, pairs, indexes, alone: false };
  openTab("graph");
  applyFilter(true);
  view.fit(markedNodes());
  if (view.view.scale < LABELS_FROM && indexes.length < state.visible.length) {
    state.chain.alone = true;
    applyFilter(false);
    view.fit(markedNodes());
  }
  showSteps($("details"), chain, closed, state.cut, select);
}

const markedNodes = () => state.chain.indexes.map((index) => state.visibleIndex.get(index)).filter((at) => at !== undefined);

function markChain() {
  const edges = new Set();
  state.visibleEdges.forEach((edge, i) => {
    const { src_id, src_proc_key, dst_id, dst_proc_key, kind } = state.cut.edges[edge.index];
    if (kind === "needs" && state.chain.pairs.has(keyOf(src_proc_key, src_id) + "\n" + keyOf(dst_proc_key, dst_id))) edges.add(i);
  });
  view.select(null);
  view.highlight(new Set(markedNodes()), edges);
  $("clear").hidden = false;
}

function clearHighlight() {
  const alone = state.chain && state.chain.alone;
  state.chain = null;
  if (alone) return applyFilter(false);
  view.highlight(null);
  $("clear").hidden = true;
  showDetails();
}

// Everything that this node waits for, and everything that waits for it.
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
  const at = index === null ? undefined : state.visibleIndex.get(index);
  view.select(at === undefined ? null : at);
  // If the node is in the chosen chain, the chain's marks stay.
  if (at !== undefined && !(state.chain && state.chain.indexes.includes(index))) {
    state.chain = null;
    const { nodes, edges } = reach(at);
    view.highlight(edges.size ? nodes : null, edges);
    $("clear").hidden = !edges.size;
  }
  showDetails();
  list.select(index);
}

function attributes(json) {
  let attrs;
  try {
    attrs = JSON.parse(json);
  } catch {
    return el("dl", {}, el("dt", { textContent: "text" }), el("dd", {}, el("bdi", { textContent: json })));
  }
  const rows = el("dl");
  const pairs = attrs !== null && typeof attrs === "object" ? Object.entries(attrs) : [["value", attrs]];
  for (const [name, value] of pairs.slice(0, 200)) {
    rows.append(el("dt", {}, el("bdi", { textContent: name })),
      el("dd", {}, el("bdi", { textContent: typeof value === "string" ? value : JSON.stringify(value) })));
  }
  return rows;
}

function showDetails() {
  const panel = $("details"), { cut, chain } = state, node = state.selected === null ? null : cut.nodes[state.selected];
  if (!node) {
    if (chain) return showSteps(panel, chain.chain, chain.closed, cut, select);
    return panel.replaceChildren(el("p", { className: "hint", textContent: "Select something to see its attributes." }));
  }
  const about = el("dl");
  for (const [name, value] of [["kind", node.kind], ["age", duration(node.age) || "unknown"], ["id", node.id],
    ["process", `${cut.nameOf(node.proc_key)} (${node.proc_key})`]]) {
    about.append(el("dt", { textContent: name }), el("dd", {}, el("bdi", { textContent: value })));
  }
  panel.replaceChildren(el("h3", {}, el("bdi", { textContent: node.label || node.id })), about);
  if (chain) {
    const back = el("button", { type: "button", className: "plain", textContent: "back to the chain" });
    back.addEventListener("click", () => select(null));
    panel.prepend(back);
  }
  panel.append(el("h4", { textContent: "Attributes" }), attributes(node.attrs_json));
  const related = (heading, edges, other) => {
    if (!edges.length) return;
    const items = edges.slice(0, 200).map((edge) => {
      const index = other(edge), to = cut.nodes[index];
      const button = el("button", { type: "button" }, el("span", { className: "at", textContent: edge.kind + " " }),
        el("bdi", { textContent: to.text }));
      if (to.proc_key !== node.proc_key) button.append(el("span", { className: "at" }, " @", el("bdi", { textContent: cut.nameOf(to.proc_key) })));
      button.addEventListener("click", () => select(index));
      return el("li", {}, button);
    });
    panel.append(el("h4", { textContent: heading }), el("ul", {}, ...items));
  };
  related("Leads to", cut.edges.filter((edge) => edge.src === state.selected), (edge) => edge.dst);
  related("Comes from", cut.edges.filter((edge) => edge.dst === state.selected), (edge) => edge.src);
  const missing = cut.unresolved.filter((edge) =>
    (edge.src_id === node.id && edge.src_proc_key === node.proc_key) || (edge.dst_id === node.id && edge.dst_proc_key === node.proc_key));
  if (missing.length) {
    panel.append(el("h4", { textContent: "Unresolved" }), el("ul", {}, ...missing.slice(0, 200).map((edge) =>
      el("li", {}, `${edge.kind} `, el("bdi", { textContent: edge.src_id === node.id ? edge.dst_id : edge.src_id }), `: ${edge.reason}`))));
  }
}

// ---- tabs and start

function openTab(name) {
  for (const tab of TABS) {
    $("tab-" + tab).setAttribute("aria-selected", String(tab === name));
    $("tab-" + tab).tabIndex = tab === name ? 0 : -1;
    $("view-" + tab).hidden = tab !== name;
  }
  if (name === "list") list.draw();
  if (name === "graph") view.draw();
}

function moveTab(event) {
  const at = TABS.findIndex((tab) => $("tab-" + tab) === event.target);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: TABS.length - 1 }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  const name = TABS[(to + TABS.length) % TABS.length];
  openTab(name);
  $("tab-" + name).focus();
}

const view = new GraphView($("graph"), (at) => select(at === null ? null : state.visible[at]));
const list = new NodeList(select);
// For tests: the positions of the nodes.
$("graph").fleet = { view, state, positionOf: (id) => view.positionOf(view.nodes.findIndex((node) => node.id === id)) };

$("take").addEventListener("click", take);
$("fit").addEventListener("click", () => view.fit());
$("clear").addEventListener("click", clearHighlight);
for (const tab of TABS) $("tab-" + tab).addEventListener("click", () => openTab(tab));
document.querySelector("[role=tablist]").addEventListener("keydown", moveTab);
$("search").addEventListener("input", () => applyFilter(false));
$("against").addEventListener("change", () => attempt(compare));
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
