"use strict";
// The page's knowledge of a cut, and the names in it. Nothing here touches the page.

const IDLE_KINDS = new Set(["sleep", "interval", "notify", "net_accept", "net_readable"]);
// Peer ids as text: of Ed25519, secp256k1 and older keys.
const PEER_ID = /\b(?:12D3Koo|16Uiu2)[1-9A-HJ-NP-Za-km-z]{20,80}|\bQm[1-9A-HJ-NP-Za-km-z]{44}\b/g;

// Ids are unique only within a process. Two processes may use the same one.
const keyOf = (procKey, id) => `${procKey}\n${id}`;

class Cut {
  constructor(id, summary, waits, graph) {
    this.id = id;
    this.summary = summary;
    this.waits = waits;
    this.processes = new Map(summary.processes.map((process) => [process.proc_key, process]));
    this.setGraph(graph);
  }

  setGraph(graph) {
    this.nodes = graph.nodes;
    this.unresolved = graph.unresolved_edges;
    this.index = new Map(this.nodes.map((node, i) => [keyOf(node.proc_key, node.id), i]));
    this.edges = [];
    for (const edge of graph.edges) {
      const src = this.index.get(keyOf(edge.src_proc_key, edge.src_id));
      const dst = this.index.get(keyOf(edge.dst_proc_key, edge.dst_id));
      if (src !== undefined && dst !== undefined) this.edges.push({ ...edge, src, dst });
    }
    for (const node of this.nodes) node.age = ageOf(node.attrs_json);
    this.findNames();
    for (const node of this.nodes) node.text = this.say(node.label || node.id);
    this.findRoles();
    this.findDepths();
  }

  // A process is shown by its name, or by its key if several have the same name.
  findNames() {
    const count = new Map();
    for (const process of this.processes.values()) count.set(process.process, (count.get(process.process) || 0) + 1);
    this.names = new Map([...this.processes.values()].map((process) =>
      [process.proc_key, process.process && count.get(process.process) === 1 ? process.process : process.proc_key]));
    // One of our own nodes tells its peer id.
    this.peers = new Map();
    for (const node of this.nodes) {
      const [what, peer] = node.id.split(":");
      if (what === "active-sessions" && peer) this.peers.set(peer, this.nameOf(node.proc_key));
    }
  }

  nameOf(procKey) {
    return this.names.get(procKey) || procKey;
  }

  // Peer ids are replaced by the names of their processes, to show which process provides.
  say(text) {
    return text.replace(PEER_ID, (peer) => this.peers.get(peer) || `\u2026${peer.slice(-6)}`);
  }

  findRoles() {
    const roles = new Map();
    for (const node of this.nodes) {
      if (node.kind !== "request" && node.kind !== "response") continue;
      if (!roles.has(node.proc_key)) roles.set(node.proc_key, { request: 0, response: 0 });
      roles.get(node.proc_key)[node.kind] += 1;
    }
    this.roles = new Map([...roles].map(([key, { request, response }]) =>
      [key, [response ? `provides ${response}` : "", request ? `asks ${request}` : ""].filter(Boolean).join(", ")]));
  }

  // The depth of each node in its chain of Needs edges. Nodes in cycles and nodes without such edges come last.
  findDepths() {
    const waiting = new Array(this.nodes.length).fill(0), out = new Map();
    for (const node of this.nodes) node.depth = 1e6;
    for (const edge of this.edges) {
      if (edge.kind !== "needs") continue;
      waiting[edge.dst] += 1;
      if (!out.has(edge.src)) out.set(edge.src, []);
      out.get(edge.src).push(edge.dst);
    }
    let level = [...out.keys()].filter((node) => waiting[node] === 0);
    for (let depth = 0; level.length; depth++) {
      const next = [];
      for (const node of level) {
        this.nodes[node].depth = depth;
        for (const to of out.get(node) || []) if (--waiting[to] === 0) next.push(to);
      }
      level = next;
    }
  }
}

// The age in milliseconds, if the attributes tell it.
function ageOf(json) {
  let attrs;
  try {
    attrs = JSON.parse(json);
  } catch {
    return null;
  }
  if (attrs === null || typeof attrs !== "object") return null;
  for (const [name, unit] of [["age_ms", 1], ["elapsed_ms", 1], ["age_ns", 1e-6], ["elapsed_ns", 1e-6]]) {
    if (typeof attrs[name] === "number" && attrs[name] >= 0) return attrs[name] * unit;
  }
  return null;
}

function duration(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
  const s = Math.floor(ms / 1000);
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return s < 172800 ? `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min` : `${Math.floor(s / 86400)} days`;
}

function time(ns) {
  return new Date(ns / 1e6).toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" });
}
