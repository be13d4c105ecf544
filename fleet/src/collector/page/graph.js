"use strict";
// The graph on a canvas. Each process is a box, its nodes stand in a grid: the layout is one pass over the nodes and
// always the same, so thousands of them neither freeze the page nor jump about. Only what is in sight is drawn.

const CELL_W = 150, CELL_H = 26, NODE_W = 138, NODE_H = 20, PAD = 14, TITLE = 22, GAP = 26;
// Below these scales: no labels, and plain lines without arrows.
const LABELS_FROM = 0.55, PLAIN_BELOW = 0.3;

const KINDS = ["future", "lock", "request", "response", "file_op", "tx", "rx", "net_connect", "net_accept", "sleep",
  "semaphore", "command", "notify", "timeout", "interval", "joinset", "oncecell", "remote_tx", "remote_rx",
  "net_readable", "net_writable"];

class GraphView {
  constructor(canvas, onSelect) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.onSelect = onSelect;
    this.nodes = [];
    this.edges = [];
    this.boxes = [];
    this.chain = null;
    this.selected = null;
    this.view = { x: 0, y: 0, scale: 1 };
    this.queued = false;
    this.drawn = 0;
    this.listen();
    this.theme();
  }

  // Nodes: {id, kind, label, proc_key, depth}; edges: {src, dst, kind} with indexes of nodes.
  show(nodes, edges, keepView) {
    this.nodes = nodes;
    this.edges = edges;
    this.layout();
    if (!keepView) this.fit();
    this.draw();
  }

  layout() {
    const groups = new Map();
    for (const node of this.nodes) {
      if (!groups.has(node.proc_key)) groups.set(node.proc_key, []);
      groups.get(node.proc_key).push(node);
    }
    const boxes = [...groups].map(([key, members]) => {
      members.sort((a, b) => a.depth - b.depth || (a.kind < b.kind ? -1 : a.kind > b.kind ? 1 : a.id < b.id ? -1 : 1));
      const columns = Math.max(1, Math.ceil(Math.sqrt(members.length * CELL_H / CELL_W * 1.6)));
      const rows = Math.ceil(members.length / columns);
      return { key, members, columns, rows, w: columns * CELL_W + 2 * PAD, h: rows * CELL_H + TITLE + PAD };
    });
    boxes.sort((a, b) => b.h - a.h || (a.key < b.key ? -1 : 1));
    const area = boxes.reduce((sum, box) => sum + (box.w + GAP) * (box.h + GAP), 0);
    const width = Math.max(Math.sqrt(area * 1.5), ...boxes.map((box) => box.w));
    let x = 0, y = 0, shelf = 0;
    for (const box of boxes) {
      if (x > 0 && x + box.w > width) {
        x = 0;
        y += shelf + GAP;
        shelf = 0;
      }
      box.x = x;
      box.y = y;
      x += box.w + GAP;
      shelf = Math.max(shelf, box.h);
      // Down the columns, so that what waits stands left of what it waits for.
      box.members.forEach((node, index) => {
        node.x = box.x + PAD + Math.floor(index / box.rows) * CELL_W;
        node.y = box.y + TITLE + (index % box.rows) * CELL_H;
      });
    }
    this.boxes = boxes;
  }

  fit(only) {
    const around = only && only.length ? only : this.boxes;
    if (!around.length) return;
    const left = Math.min(...around.map((a) => a.x)), top = Math.min(...around.map((a) => a.y));
    const right = Math.max(...around.map((a) => a.x + (a.w || NODE_W)));
    const bottom = Math.max(...around.map((a) => a.y + (a.h || NODE_H)));
    const { width, height } = this.size();
    const scale = Math.min(1.6, 0.94 * Math.min(width / (right - left), height / (bottom - top)));
    this.view = {
      scale: Math.max(scale, 0.01),
      x: (left + right) / 2 - width / 2 / scale,
      y: (top + bottom) / 2 - height / 2 / scale,
    };
    this.draw();
  }

  highlight(nodes, edges) {
    this.chain = nodes ? { nodes, edges } : null;
    this.draw();
  }

  select(index) {
    this.selected = index;
    this.draw();
  }

  // Where a node is on the page.
  positionOf(index) {
    const node = this.nodes[index], rect = this.canvas.getBoundingClientRect(), { x, y, scale } = this.view;
    return { x: rect.left + (node.x + NODE_W / 2 - x) * scale, y: rect.top + (node.y + NODE_H / 2 - y) * scale };
  }

  at(clientX, clientY) {
    const rect = this.canvas.getBoundingClientRect(), { x, y, scale } = this.view;
    const px = (clientX - rect.left) / scale + x, py = (clientY - rect.top) / scale + y;
    const box = this.boxes.find((b) => px >= b.x && px <= b.x + b.w && py >= b.y && py <= b.y + b.h);
    if (!box) return null;
    const column = Math.floor((px - box.x - PAD) / CELL_W), row = Math.floor((py - box.y - TITLE) / CELL_H);
    if (column < 0 || row < 0 || row >= box.rows) return null;
    const node = box.members[column * box.rows + row];
    return node ? this.nodes.indexOf(node) : null;
  }

  listen() {
    const canvas = this.canvas, pointers = new Map();
    let moved = 0, spread = 0;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, event);
      moved = 0;
      spread = 0;
    });
    canvas.addEventListener("pointermove", (event) => {
      const last = pointers.get(event.pointerId);
      if (!last) return;
      const dx = event.clientX - last.clientX, dy = event.clientY - last.clientY;
      pointers.set(event.pointerId, event);
      moved += Math.abs(dx) + Math.abs(dy);
      if (pointers.size === 2) {
        const [a, b] = [...pointers.values()];
        const distance = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
        if (spread) this.zoom(distance / spread, (a.clientX + b.clientX) / 2, (a.clientY + b.clientY) / 2);
        spread = distance;
      } else {
        this.view.x -= dx / this.view.scale;
        this.view.y -= dy / this.view.scale;
      }
      this.draw();
    });
    const up = (event) => {
      const known = pointers.delete(event.pointerId);
      if (known && moved < 5 && event.type === "pointerup") this.onSelect(this.at(event.clientX, event.clientY));
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), event.clientX, event.clientY);
    }, { passive: false });
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.theme();
      this.draw();
    });
  }

  zoom(factor, clientX, clientY) {
    const rect = this.canvas.getBoundingClientRect(), view = this.view;
    const scale = Math.min(4, Math.max(0.01, view.scale * factor));
    const px = clientX - rect.left, py = clientY - rect.top;
    view.x += px / view.scale - px / scale;
    view.y += py / view.scale - py / scale;
    view.scale = scale;
    this.draw();
  }

  theme() {
    const style = getComputedStyle(document.documentElement);
    this.color = {};
    for (const name of ["bg", "panel", "text", "faint", "line", "accent", "needs", "chain", "box", "edge"]) {
      this.color[name] = style.getPropertyValue("--" + name).trim();
    }
    this.dark = matchMedia("(prefers-color-scheme: dark)").matches;
    this.hues = new Map();
  }

  colorOf(kind) {
    if (!this.hues.has(kind)) {
      let place = KINDS.indexOf(kind);
      if (place < 0) for (const c of kind) place = (Math.abs(place) * 31 + c.codePointAt(0)) % 3600;
      // From yellow-green to violet: the warm colours belong to the relations.
      this.hues.set(kind, `hsl(${75 + (place * 97) % 235} ${35 + (place % 3) * 12}% ${this.dark ? "58%" : "45%"})`);
    }
    return this.hues.get(kind);
  }

  size() {
    return { width: this.canvas.clientWidth || 1, height: this.canvas.clientHeight || 1 };
  }

  draw() {
    if (this.queued) return;
    this.queued = true;
    requestAnimationFrame(() => {
      this.queued = false;
      this.paint();
    });
  }

  paint() {
    const { width, height } = this.size(), ratio = window.devicePixelRatio || 1, c = this.context;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    const { x, y, scale } = this.view;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    c.setTransform(ratio * scale, 0, 0, ratio * scale, -x * scale * ratio, -y * scale * ratio);
    const sight = { left: x, top: y, right: x + width / scale, bottom: y + height / scale };
    this.paintBoxes(c, sight);
    // From afar the relations are drawn over the marks; near, the labels over the relations.
    if (this.view.scale < LABELS_FROM) {
      this.paintMarks(c, sight);
      this.paintEdges(c, sight);
    } else {
      this.paintEdges(c, sight);
      this.paintLabels(c, sight);
    }
    this.drawn += 1;
  }

  paintBoxes(c, sight) {
    const size = Math.min(60, Math.max(12, 11 / this.view.scale));
    for (const box of this.boxes) {
      if (!inSight(box.x, box.y, box.w, box.h, sight)) continue;
      c.fillStyle = this.color.box;
      c.strokeStyle = this.color.line;
      c.lineWidth = 1;
      c.beginPath();
      c.roundRect(box.x, box.y, box.w, box.h, 8);
      c.fill();
      c.stroke();
      if (box.w * this.view.scale < 40) continue;
      c.save();
      c.beginPath();
      c.rect(box.x, box.y - size * 2, box.w, size * 2 + TITLE);
      c.clip();
      c.fillStyle = this.color.faint;
      c.font = `600 ${size}px system-ui, sans-serif`;
      c.fillText(box.key, box.x + PAD, size > 14 ? box.y - 4 : box.y + 15);
      c.restore();
    }
  }

  paintEdges(c, sight) {
    const { scale } = this.view, chain = this.chain;
    const path = (pick) => {
      c.beginPath();
      for (let i = 0; i < this.edges.length; i++) {
        const edge = this.edges[i];
        if (pick(edge, i)) this.trace(c, edge, sight);
      }
      c.stroke();
    };
    const touches = (edge) => this.selected !== null && (edge.src === this.selected || edge.dst === this.selected);
    c.lineWidth = Math.max(0.8, 0.8 / scale);
    c.globalAlpha = chain ? 0.12 : 0.3;
    c.strokeStyle = this.color.edge;
    path((edge) => edge.kind !== "needs");
    c.globalAlpha = chain ? 0.2 : 0.85;
    c.strokeStyle = this.color.needs;
    c.lineWidth = Math.max(1.4, 1.2 / scale);
    path((edge) => edge.kind === "needs");
    c.globalAlpha = 1;
    c.lineWidth = Math.max(1.8, 1.6 / scale);
    c.strokeStyle = this.color.accent;
    path((edge) => touches(edge));
    if (chain) {
      c.lineWidth = Math.max(3, 2.4 / scale);
      c.strokeStyle = this.color.chain;
      path((edge, index) => chain.edges.has(index));
    }
  }

  trace(c, edge, sight) {
    const a = this.nodes[edge.src], b = this.nodes[edge.dst];
    const ax = a.x + NODE_W, ay = a.y + NODE_H / 2, bx = b.x, by = b.y + NODE_H / 2;
    if (Math.max(ax, bx) < sight.left || Math.min(a.x, bx) > sight.right) return;
    if (Math.max(ay, by) < sight.top || Math.min(ay, by) > sight.bottom) return;
    if (this.view.scale < PLAIN_BELOW) {
      c.moveTo(ax, ay);
      c.lineTo(bx, by);
      return;
    }
    if (a.x === b.x) {
      // One column: around its left side.
      c.moveTo(a.x, ay);
      c.bezierCurveTo(a.x - 14, ay, bx - 14, by, bx - 3, by);
      c.moveTo(bx - 8, by - 4);
      c.lineTo(bx - 1, by);
      c.lineTo(bx - 8, by + 4);
      return;
    }
    const bend = Math.max(18, Math.abs(bx - ax) / 3);
    c.moveTo(ax, ay);
    c.bezierCurveTo(ax + bend, ay, bx - bend, by, bx - 4, by);
    c.moveTo(bx - 9, by - 4);
    c.lineTo(bx - 2, by);
    c.lineTo(bx - 9, by + 4);
  }

  // From afar a node is a mark: one path for each kind, drawn at once.
  paintMarks(c, sight) {
    const faint = new Map(), plain = new Map(), outlined = [];
    for (let i = 0; i < this.nodes.length; i++) {
      const node = this.nodes[i];
      if (!inSight(node.x, node.y, NODE_W, NODE_H, sight)) continue;
      const inChain = this.chain && this.chain.nodes.has(i), paths = this.chain && !inChain ? faint : plain;
      if (!paths.has(node.kind)) paths.set(node.kind, []);
      paths.get(node.kind).push(node);
      if (inChain || i === this.selected) outlined.push(i);
    }
    for (const [paths, alpha] of [[faint, 0.3], [plain, 1]]) {
      c.globalAlpha = alpha;
      for (const [kind, nodes] of paths) {
        c.fillStyle = this.colorOf(kind);
        c.beginPath();
        for (const node of nodes) c.rect(node.x, node.y, NODE_W, NODE_H);
        c.fill();
      }
    }
    c.globalAlpha = 1;
    for (const i of outlined) this.outline(c, i);
  }

  outline(c, index) {
    const node = this.nodes[index];
    c.strokeStyle = index === this.selected ? this.color.accent : this.color.chain;
    c.lineWidth = Math.max(2, 2 / this.view.scale);
    c.strokeRect(node.x, node.y, NODE_W, NODE_H);
  }

  paintLabels(c, sight) {
    c.font = "11px system-ui, sans-serif";
    c.textBaseline = "middle";
    for (let i = 0; i < this.nodes.length; i++) {
      const node = this.nodes[i];
      if (!inSight(node.x, node.y, NODE_W, NODE_H, sight)) continue;
      const inChain = this.chain && this.chain.nodes.has(i);
      c.globalAlpha = this.chain && !inChain ? 0.3 : 1;
      c.fillStyle = this.color.panel;
      c.fillRect(node.x, node.y, NODE_W, NODE_H);
      c.fillStyle = this.colorOf(node.kind);
      c.fillRect(node.x, node.y, 4, NODE_H);
      c.fillStyle = this.color.text;
      c.fillText(shorten(node.label || node.id, 21), node.x + 9, node.y + NODE_H / 2, NODE_W - 12);
      if (inChain || i === this.selected) {
        c.globalAlpha = 1;
        this.outline(c, i);
      }
    }
    c.globalAlpha = 1;
    c.textBaseline = "alphabetic";
  }
}

function inSight(x, y, w, h, sight) {
  return x <= sight.right && x + w >= sight.left && y <= sight.bottom && y + h >= sight.top;
}

function shorten(text, max) {
  return text.length <= max ? text : text.slice(0, max - 1) + "\u2026";
}
