"use strict";
// The difference between two cuts: nodes that still wait for the same, new nodes, and nodes that are gone.

const SHOWN_DIFFERENCES = 200;

function differences(older, newer) {
  const come = newer.nodes.filter((node) => !older.index.has(keyOf(node.proc_key, node.id)));
  const gone = older.nodes.filter((node) => !newer.index.has(keyOf(node.proc_key, node.id)));
  const needs = (cut) => cut.edges.filter((edge) => edge.kind === "needs");
  const relation = (edge) => `${keyOf(edge.src_proc_key, edge.src_id)}\n${keyOf(edge.dst_proc_key, edge.dst_id)}`;
  const before = new Set(needs(older).map(relation));
  const still = needs(newer).filter((edge) => before.has(relation(edge)));
  const wait = (edge) => ageOf(edge.attrs_json) ?? -1;
  return { come, gone, still: still.sort((a, b) => wait(b) - wait(a)) };
}

function showDifferences(panel, older, newer, shown, onSelect) {
  const { come, gone, still } = differences(older, newer);
  const nodeLine = (cut) => (node) => {
    const index = cut === shown ? cut.index.get(keyOf(node.proc_key, node.id)) : undefined, known = index !== undefined;
    const line = el(known ? "button" : "span", known ? { type: "button" } : {},
      el("span", { className: "at", textContent: node.kind + " " }), el("bdi", { textContent: node.text }),
      el("span", { className: "at" }, " @", el("bdi", { textContent: cut.nameOf(node.proc_key) })));
    if (known) line.addEventListener("click", () => onSelect(index));
    return line;
  };
  const edgeLine = (edge) => {
    const [src, dst] = [newer.nodes[edge.src], newer.nodes[edge.dst]];
    const line = el("button", { type: "button" }, el("span", { className: "wait", textContent: duration(ageOf(edge.attrs_json)) }), " ",
      el("bdi", { textContent: src.text }), el("span", { className: "at" }, " @", el("bdi", { textContent: newer.nameOf(src.proc_key) })),
      " \u2192 ", el("bdi", { textContent: dst.text }), el("span", { className: "at" }, " @", el("bdi", { textContent: newer.nameOf(dst.proc_key) })));
    const index = shown.index.get(keyOf(src.proc_key, src.id));
    if (index !== undefined) line.addEventListener("click", () => onSelect(index));
    return line;
  };
  const section = (id, title, all, show) => el("section", { id },
    el("h3", { textContent: `${title}: ${all.length}` }),
    el("ul", {}, ...all.slice(0, SHOWN_DIFFERENCES).map((one) => el("li", {}, show(one)))),
    all.length > SHOWN_DIFFERENCES ? el("p", { className: "hint", textContent: `${all.length - SHOWN_DIFFERENCES} more` }) : null);
  panel.replaceChildren(
    el("p", { className: "hint", textContent:
      `From #${older.id} (${time(older.summary.requested_at_ns)}) to #${newer.id} (${time(newer.summary.requested_at_ns)})` }),
    section("still", "Still waits for the same", still, edgeLine),
    section("come", "New", come, nodeLine(newer)),
    section("gone", "Gone", gone, nodeLine(older)));
}
