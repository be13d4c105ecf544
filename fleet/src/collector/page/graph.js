"use strict";
// The graph on a canvas. Each process is a box with its nodes in a grid. The layout is one pass over the nodes and
// always the same, so thousands of nodes neither freeze the page nor jump about. Only the visible part is drawn.
//
// Up to ROUTED nodes, relations run in the lanes between the cells and between the boxes, so no node hides one.

const NODE_W = 168, NODE_H = 22, TITLE = 24, ROUTED = 1500;
// Room between the columns and the rows of a box, and between boxes.
const ROOMY = { lane: 44, rows: 16, gap: 44 }, TIGHT = { lane: 12, rows: 6, gap: 26 };
// Below these scales: no labels, and plain lines without arrows.
const LABELS_FROM = 0.5, PLAIN_BELOW = 0.3;
const LABEL_CHARS = 27;

const KINDS = ["future", "lock", "request", "response", "file_op", "tx", "rx", "net_connect", "net_accept", "sleep",
  "semaphore", "command", "notify", "timeout", "interval", "joinset", "oncecell", "remote_tx", "remote_rx",
  "net_readable", "net_writable"];

// Text from strangers must not change the text direction around it.
const isolated = (text) => `\u2068${text}\u2069`;

class GraphView {
  constructor(canvas, onSelect) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.onSelect = onSelect;
    this.nodes = [];
    this.places = [];
    this.edges = [];
    this.routes = [];
    this.ghosts = new Set();
    this.boxes = [];
    this.room = ROOMY;
    this.chain = null;
    this.selected = null;
    this.view = { x: 0, y: 0, scale: 1 };
    this.queued = false;
    this.drawn = 0;
    this.listen();
    this.theme();
  }

  // Nodes: {id, kind, text, proc_key, depth}; edges: {src, dst, kind} with indexes of nodes; ghosts: a set of indexes;
  // title: the title of a process's box.
  show(nodes, edges, ghosts, title, keepView) {
    this.places = nodes.map((node) => ({ node, x: 0, y: 0 }));
    Object.assign(this, { nodes, edges, ghosts, title });
    this.layout();
    if (!keepView) this.fit();
    this.draw();
  }

  layout() {
    const room = this.nodes.length <= ROUTED ? ROOMY : TIGHT;
    this.room = room;
    const cellW = NODE_W + room.lane, cellH = NODE_H + room.rows;
    const groups = new Map();
    for (const place of this.places) {
      const key = place.node.proc_key;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(place);
    }
    const boxes = [...groups].map(([key, members]) => {
      members.sort((a, b) => a.node.depth - b.node.depth ||
        (a.node.kind < b.node.kind ? -1 : a.node.kind > b.node.kind ? 1 : a.node.id < b.node.id ? -1 : 1));
      const columns = Math.max(1, Math.ceil(Math.sqrt(members.length * cellH / cellW * 1.6)));
      const rows = Math.ceil(members.length / columns), used = Math.ceil(members.length / rows);
      return { key, members, rows, columns: used, w: used * cellW + room.lane, h: TITLE + rows * cellH + room.rows };
    });
    boxes.sort((a, b) => b.h - a.h || (a.key < b.key ? -1 : 1));
    const area = boxes.reduce((sum, box) => sum + (box.w + room.gap) * (box.h + room.gap), 0);
    const width = Math.max(Math.sqrt(area * 1.5), ...boxes.map((box) => box.w));
    let x = 0, y = 0, height = 0;
    this.shelves = [0];
    for (const box of boxes) {
      if (x > 0 && x + box.w > width) {
        x = 0;
        y += height + room.gap;
        height = 0;
        this.shelves.push(y);
      }
      Object.assign(box, { x, y, shelf: this.shelves.length - 1 });
      x += box.w + room.gap;
      height = Math.max(height, box.h);
      // Column by column, so that a node is left of the nodes that it waits for.
      box.members.forEach((place, index) => {
        place.box = box;
        place.x = box.x + room.lane + Math.floor(index / box.rows) * cellW;
        place.y = box.y + TITLE + room.rows + (index % box.rows) * cellH;
      });
    }
    this.boxes = boxes;
    this.routes = room === ROOMY ? this.edges.map((edge, index) => this.route(edge, index)) : null;
  }

  // The corners of a relation: through the lane behind its start, a lane between rows or the corridor between boxes,
  // and the lane before its end. Neighbours in a lane are kept apart.
  route(edge, index) {
    const a = this.places[edge.src], b = this.places[edge.dst], { lane, rows, gap } = this.room;
    const aside = ((index * 7) % 9 - 4) * lane / 14, across = ((index * 5) % 3 - 1) * rows / 5;
    const start = [a.x + NODE_W, a.y + NODE_H / 2], end = [b.x, b.y + NODE_H / 2];
    const x1 = start[0] + lane / 2 + aside, x2 = end[0] - lane / 2 + aside;
    const corridor = (shelf) => this.shelves[shelf] - gap / 2 + across * 2;
    const turn = (y) => [start, [x1, start[1]], [x1, y], [x2, y], [x2, end[1]], end];
    if (a.box === b.box) {
      // Between neighbouring columns there is only one lane.
      if (Math.abs(x1 - x2) < 1) return [start, [x1, start[1]], [x1, end[1]], end];
      return turn(b.y - rows / 2 + across);
    }
    if (Math.abs(a.box.shelf - b.box.shelf) <= 1) return turn(corridor(Math.max(a.box.shelf, b.box.shelf)));
    const down = b.box.shelf > a.box.shelf, edgeOfAll = -gap / 2 + aside;
    const y1 = corridor(down ? a.box.shelf + 1 : a.box.shelf), y2 = corridor(down ? b.box.shelf : b.box.shelf + 1);
    return [start, [x1, start[1]], [x1, y1], [edgeOfAll, y1], [edgeOfAll, y2], [x2, y2], [x2, end[1]], end];
  }

  fit(only) {
    const around = only && only.length ? only.map((index) => this.places[index]) : this.boxes;
    if (!around.length) return;
    // Room for the lanes around the nodes.
    const aside = only && only.length || this.shelves.length > 2 ? this.room.lane : 0;
    const left = Math.min(...around.map((a) => a.x)) - aside, top = Math.min(...around.map((a) => a.y)) - aside;
    const right = Math.max(...around.map((a) => a.x + (a.w || NODE_W))) + aside;
    const bottom = Math.max(...around.map((a) => a.y + (a.h || NODE_H))) + aside;
    const { width, height } = this.size();
    const scale = Math.max(0.01, Math.min(1.6, 0.94 * Math.min(width / (right - left), height / (bottom - top))));
    this.view = { scale, x: (left + right) / 2 - width / 2 / scale, y: (top + bottom) / 2 - height / 2 / scale };
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

  // The position of a node on the page.
  positionOf(index) {
    const place = this.places[index], rect = this.canvas.getBoundingClientRect(), { x, y, scale } = this.view;
    return { x: rect.left + (place.x + NODE_W / 2 - x) * scale, y: rect.top + (place.y + NODE_H / 2 - y) * scale };
  }

  at(clientX, clientY) {
    const rect = this.canvas.getBoundingClientRect(), { x, y, scale } = this.view, { lane, rows } = this.room;
    const px = (clientX - rect.left) / scale + x, py = (clientY - rect.top) / scale + y;
    const box = this.boxes.find((b) => px >= b.x && px <= b.x + b.w && py >= b.y && py <= b.y + b.h);
    if (!box) return null;
    const column = Math.floor((px - box.x - lane / 2) / (NODE_W + lane));
    const row = Math.floor((py - box.y - TITLE - rows / 2) / (NODE_H + rows));
    if (column < 0 || row < 0 || row >= box.rows) return null;
    const place = box.members[column * box.rows + row];
    return place ? this.places.indexOf(place) : null;
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
      // From yellow-green to violet, because the warm colours are for the relations.
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
    c.direction = "ltr";
    const sight = { left: x, top: y, right: x + width / scale, bottom: y + height / scale };
    this.paintBoxes(c, sight);
    // Zoomed out, the relations are drawn over the marks. Zoomed in, the labels are drawn over the relations.
    if (scale < LABELS_FROM) {
      this.paintMarks(c, sight);
      this.paintEdges(c, sight);
    } else {
      this.paintEdges(c, sight);
      this.paintLabels(c, sight);
    }
    this.paintTitles(c, sight);
    this.drawn += 1;
  }

  paintBoxes(c, sight) {
    for (const box of this.boxes) {
      if (!inSight(box.x, box.y, box.w, box.h, sight)) continue;
      c.fillStyle = this.color.box;
      c.strokeStyle = this.color.line;
      c.lineWidth = 1;
      c.beginPath();
      c.roundRect(box.x, box.y, box.w, box.h, 8);
      c.fill();
      c.stroke();
    }
  }

  // The process's name. It is above the box if it would not fit inside.
  paintTitles(c, sight) {
    const size = Math.min(60, Math.max(12, 11 / this.view.scale));
    for (const box of this.boxes) {
      if (!inSight(box.x, box.y - size * 2, box.w, box.h + size * 2, sight) || box.w * this.view.scale < 40) continue;
      c.save();
      c.beginPath();
      c.rect(box.x, box.y - size * 2, box.w, size * 2 + TITLE);
      c.clip();
      c.font = `600 ${size}px system-ui, sans-serif`;
      const text = isolated(this.title(box.key)), y = size > 14 ? box.y - 4 : box.y + 16;
      c.fillStyle = size > 14 ? this.color.bg : this.color.box;
      c.fillRect(box.x + 6, y - size, c.measureText(text).width + 12, size * 1.25);
      c.fillStyle = this.color.text;
      c.fillText(text, box.x + 12, y);
      c.restore();
    }
  }

  paintEdges(c, sight) {
    const { scale } = this.view, chain = this.chain;
    const path = (pick) => {
      c.beginPath();
      for (let i = 0; i < this.edges.length; i++) {
        const edge = this.edges[i];
        if (pick(edge, i)) this.trace(c, edge, i, sight);
      }
      c.stroke();
    };
    const touches = (edge) => this.selected !== null && (edge.src === this.selected || edge.dst === this.selected);
    c.lineWidth = Math.max(0.8, 0.8 / scale);
    c.globalAlpha = chain ? 0.12 : 0.4;
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

  trace(c, edge, index, sight) {
    if (this.routes) return this.traceRoute(c, this.routes[index], sight);
    const a = this.places[edge.src], b = this.places[edge.dst];
    const ax = a.x + NODE_W, ay = a.y + NODE_H / 2, bx = b.x, by = b.y + NODE_H / 2;
    if (Math.max(ax, bx) < sight.left || Math.min(a.x, bx) > sight.right) return;
    if (Math.max(ay, by) < sight.top || Math.min(ay, by) > sight.bottom) return;
    c.moveTo(ax, ay);
    if (this.view.scale < PLAIN_BELOW) return c.lineTo(bx, by);
    const bend = Math.max(18, Math.abs(bx - ax) / 3);
    c.bezierCurveTo(ax + bend, ay, bx - bend, by, bx - 4, by);
    this.arrow(c, bx, by);
  }

  traceRoute(c, route, sight) {
    let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
    for (const [x, y] of route) {
      [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
    }
    if (!inSight(left, top, right - left, bottom - top, sight)) return;
    c.moveTo(route[0][0], route[0][1]);
    for (let i = 1; i + 1 < route.length; i++) {
      const [x, y] = route[i], [px, py] = route[i - 1], [nx, ny] = route[i + 1];
      const before = Math.abs(x - px) + Math.abs(y - py), after = Math.abs(nx - x) + Math.abs(ny - y);
      c.arcTo(x, y, nx, ny, Math.min(5, before / 2, after / 2));
    }
    const [x, y] = route[route.length - 1];
    c.lineTo(x - 2, y);
    if (this.view.scale >= PLAIN_BELOW) this.arrow(c, x, y);
  }

  arrow(c, x, y) {
    c.moveTo(x - 9, y - 4);
    c.lineTo(x - 2, y);
    c.lineTo(x - 9, y + 4);
  }

  alphaOf(index) {
    if (this.chain) return this.chain.nodes.has(index) ? 1 : 0.3;
    return this.ghosts.has(index) ? 0.45 : 1;
  }

  // Zoomed out, a node is only a mark. The marks of one kind are one path.
  paintMarks(c, sight) {
    const faint = new Map(), plain = new Map(), outlined = [];
    for (let i = 0; i < this.places.length; i++) {
      const { node, x, y } = this.places[i];
      if (!inSight(x, y, NODE_W, NODE_H, sight)) continue;
      const paths = this.alphaOf(i) < 1 ? faint : plain;
      if (!paths.has(node.kind)) paths.set(node.kind, []);
      paths.get(node.kind).push([x, y]);
      if ((this.chain && this.chain.nodes.has(i)) || i === this.selected) outlined.push(i);
    }
    for (const [paths, alpha] of [[faint, 0.3], [plain, 1]]) {
      c.globalAlpha = alpha;
      for (const [kind, places] of paths) {
        c.fillStyle = this.colorOf(kind);
        c.beginPath();
        for (const [x, y] of places) c.rect(x, y, NODE_W, NODE_H);
        c.fill();
      }
    }
    c.globalAlpha = 1;
    for (const i of outlined) this.outline(c, i);
  }

  outline(c, index) {
    const { x, y } = this.places[index];
    c.strokeStyle = index === this.selected ? this.color.accent : this.color.chain;
    c.lineWidth = Math.max(2, 2 / this.view.scale);
    c.strokeRect(x, y, NODE_W, NODE_H);
  }

  paintLabels(c, sight) {
    c.font = "11px system-ui, sans-serif";
    c.textBaseline = "middle";
    for (let i = 0; i < this.places.length; i++) {
      const { node, x, y } = this.places[i];
      if (!inSight(x, y, NODE_W, NODE_H, sight)) continue;
      c.globalAlpha = this.alphaOf(i);
      c.fillStyle = this.color.panel;
      c.fillRect(x, y, NODE_W, NODE_H);
      c.fillStyle = this.colorOf(node.kind);
      c.fillRect(x, y, 4, NODE_H);
      c.fillStyle = this.color.text;
      c.fillText(isolated(shorten(node.text, LABEL_CHARS)), x + 9, y + NODE_H / 2, NODE_W - 12);
      if (this.ghosts.has(i)) {
        c.strokeStyle = this.color.faint;
        c.lineWidth = 1;
        c.setLineDash([3, 3]);
        c.strokeRect(x, y, NODE_W, NODE_H);
        c.setLineDash([]);
      }
      c.globalAlpha = 1;
      if ((this.chain && this.chain.nodes.has(i)) || i === this.selected) this.outline(c, i);
    }
    c.textBaseline = "alphabetic";
  }
}

function inSight(x, y, w, h, sight) {
  return x <= sight.right && x + w >= sight.left && y <= sight.bottom && y + h >= sight.top;
}

function shorten(text, max) {
  const letters = [...text.slice(0, 2 * max)];
  return letters.length <= max && text.length <= 2 * max ? text : letters.slice(0, max - 1).join("") + "\u2026";
}
