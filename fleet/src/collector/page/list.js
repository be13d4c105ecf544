"use strict";
// The nodes as a list. Only the visible rows exist, however many nodes there are.

const ROW = 28;

class NodeList {
  constructor(onSelect) {
    this.onSelect = onSelect;
    this.cut = null;
    this.order = [];
    this.selected = null;
    this.sort = { by: null, down: false };
    $("list-body").addEventListener("scroll", () => this.draw());
    for (const button of document.querySelectorAll("#list-head button")) {
      button.addEventListener("click", () => this.sortBy(button.dataset.sort));
    }
    this.markSort();
  }

  show(cut, indexes, selected) {
    Object.assign(this, { cut, indexes, selected });
    this.arrange();
  }

  select(index) {
    this.selected = index;
    this.draw();
  }

  // First click: the most useful order (ages: oldest first). Second: the reverse. Third: the original order.
  sortBy(by) {
    const first = by === "age";
    if (this.sort.by !== by) this.sort = { by, down: first };
    else if (this.sort.down === first) this.sort = { by, down: !first };
    else this.sort = { by: null, down: false };
    this.markSort();
    this.arrange();
  }

  markSort() {
    for (const button of document.querySelectorAll("#list-head button")) {
      const sorted = button.dataset.sort === this.sort.by ? (this.sort.down ? "descending" : "ascending") : "none";
      button.parentElement.setAttribute("aria-sort", sorted);
    }
  }

  arrange() {
    if (!this.cut) return;
    const { nodes } = this.cut, { by, down } = this.sort;
    const value = {
      kind: (node) => node.kind, label: (node) => node.text.toLowerCase(), process: (node) => this.cut.nameOf(node.proc_key),
      age: (node) => node.age,
    }[by];
    this.order = [...this.indexes];
    if (value) {
      const missing = (v) => v === null;
      this.order.sort((a, b) => {
        const [x, y] = [value(nodes[a]), value(nodes[b])];
        // Nodes without an age come last in either order.
        if (missing(x) || missing(y)) return missing(x) - missing(y);
        return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1) || a - b;
      });
    }
    $("rows").style.height = this.order.length * ROW + "px";
    $("list-body").scrollTop = 0;
    this.draw();
  }

  draw() {
    const body = $("list-body"), first = Math.max(0, Math.floor(body.scrollTop / ROW) - 10);
    const last = Math.min(this.order.length, first + Math.ceil((body.clientHeight || 600) / ROW) + 20);
    const rows = [];
    for (let i = first; i < last; i++) {
      const index = this.order[i], node = this.cut.nodes[index];
      const row = el("button", { type: "button", className: "row", title: node.label },
        el("span", {}, el("bdi", { textContent: node.kind })), el("span", {}, el("bdi", { textContent: node.text })),
        el("span", { className: "age", textContent: duration(node.age) }),
        el("span", { className: "at" }, el("bdi", { textContent: this.cut.nameOf(node.proc_key) })));
      row.style.top = i * ROW + "px";
      row.setAttribute("aria-current", String(index === this.selected));
      row.addEventListener("click", () => this.onSelect(index));
      rows.push(row);
    }
    $("rows").replaceChildren(...rows);
  }
}
