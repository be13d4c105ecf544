"use strict";
// The downloads. Each has a card, which is kept and changed in place, so that nothing jumps. Text is never inserted as HTML.

const SVG = "http://www.w3.org/2000/svg", PLOT_W = 240, PLOT_H = 44;
// From this many downloads on, the page polls less often. A round then updates the cards that are visible, those whose state
// changed, and one slice of the others.
const MANY = 50, SLICES = 8;

function el(tag, properties = {}, ...children) {
  const { attributes, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Writes a text only if it differs. So an unchanged page costs nothing and keeps selections.
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function mark(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

// Our own words, and text from others in elements of its own, so that it cannot change the text direction around it.
function putParts(element, parts) {
  const text = parts.map((part) => (part.foreign !== undefined ? "\u0001" + part.foreign : part.own)).join("\u0000");
  if (element.dataset.parts === text) return;
  element.dataset.parts = text;
  element.replaceChildren(...parts.map((part) => (part.foreign !== undefined ? el("bdi", { textContent: part.foreign }) : part.own)));
}

function bar(label) {
  const parts = ["durable", "verified", "received"].map((name) => el("span", { className: name }));
  const written = [];
  const whole = el("div", { className: "bar", attributes: { role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100 } }, ...parts);
  return { whole, show(shares, text) {
    let from = 0;
    [shares.durable, shares.verified, shares.received].forEach((share, k) => {
      const transform = "translateX(" + (from * 100).toFixed(2) + "%) scaleX(" + share.toFixed(4) + ")";
      if (transform !== written[k]) parts[k].style.transform = written[k] = transform;
      from += share;
    });
    mark(whole, "aria-valuenow", Math.floor((shares.durable + shares.verified) * 100));
    mark(whole, "aria-valuetext", text);
  } };
}

const version = (protocol) => (protocol ? "protocol " + protocol.split("/").at(-1) : null);

class Card {
  constructor(status, act) {
    this.session = status.session;
    this.act = act;
    this.history = new History();
    this.sources = new Map();
    const id = "d" + status.session;
    this.height = el("span");
    this.root = el("span", { className: "mono root" });
    this.name = el("h3", { id }, this.height, " ", this.root);
    this.who = el("bdi", { className: "mono" });
    this.how = el("span");
    this.state = el("span", { className: "pill" });
    this.progress = bar("Progress of download " + status.session);
    this.share = el("b", { className: "share" });
    this.size = el("span", { className: "size" });
    this.figures = ["durable", "verified", "received"].map((name) => el("dd", { className: "num" }));
    this.rate = el("span", { className: "now" });
    this.eta = el("span", { className: "faint eta" });
    this.area = svg("path", { class: "area" });
    this.line = svg("path", { class: "line" });
    this.plot = svg("svg", { viewBox: "0 0 " + PLOT_W + " " + PLOT_H, preserveAspectRatio: "none", class: "plot", role: "img", "aria-label": "Rate over the last ten minutes" }, this.area, this.line);
    this.peak = el("span");
    this.why = el("p", { className: "why" });
    this.buttons = el("div", { className: "buttons" });
    this.from = el("ul", { className: "sources", attributes: { "aria-label": "Sources" } });
    this.element = el("article", { className: "card", tabIndex: -1, attributes: { "aria-labelledby": id, "data-session": status.session } },
      el("div", { className: "head" }, this.name, el("p", { className: "from faint" }, "from ", this.who, this.how), this.state),
      el("div", { className: "body" },
        el("div", { className: "amount" }, el("p", { className: "line" }, this.share, " ", this.size), this.progress.whole,
          el("dl", { className: "figures" }, ...["Durable", "Verified", "Received"].map((name, k) =>
            el("div", { className: name.toLowerCase() }, el("dt", { textContent: name }), this.figures[k])))),
        el("div", { className: "speed" }, el("p", { className: "line" }, this.rate, this.eta),
          el("div", {}, this.plot, el("p", { className: "axis faint", attributes: { "aria-hidden": "true" } }, "10 min", this.peak)))),
      this.from,
      el("div", { className: "foot" }, this.why, this.buttons));
  }

  // Keeps a status until the card is visible, or until it is its slice's turn.
  keep(status) {
    this.status = status;
    this.behind = true;
  }

  show(status) {
    this.status = status;
    this.behind = false;
    const done = shares(status), total = status.total_bytes;
    put(this.height, status.height === undefined ? "Snapshot" : "Height " + status.height);
    put(this.root, status.root ? short(status.root) : "not known yet");
    mark(this.name, "title", "session " + status.session + (status.root ? ", root " + status.root : ""));
    put(this.state, words(status.state));
    mark(this.state, "data-tone", tone(status));
    mark(this.element, "data-tone", tone(status));
    this.element.classList.toggle("over", isFinal(status));
    const share = percent(done.durable + done.verified);
    put(this.share, total || status.state === "complete" ? share : "\u2013");
    put(this.size, total ? "of " + bytes(total) + (status.format === "tar" ? ", a folder" : "") : "size not known yet");
    this.progress.show(done, total ? share + " of " + bytes(total) + " verified" : "not known yet");
    [status.bytes_durable, status.bytes_verified, status.bytes_received].forEach((count, k) => put(this.figures[k], bytes(count)));
    const flows = status.state === "streaming";
    put(this.rate, isFinal(status) ? "" : bytes(flows ? status.verified_bytes_per_second : 0) + "/s");
    this.rate.classList.toggle("idle", !flows);
    put(this.eta, flows && Number.isFinite(status.eta_seconds) && status.eta_seconds < 1e7 ? duration(status.eta_seconds * 1000) + " left" : "");
    putParts(this.why, sentence(status));
    mark(this.why, "title", this.why.textContent);
    this.showSources(status);
    this.showButtons(status);
  }

  note(now) {
    if (!isFinal(this.status)) this.history.note(this.status.state === "streaming" ? this.status.verified_bytes_per_second : 0, now);
  }

  draw(now) {
    const peak = this.history.peak, { line, area } = outline(this.history.points(now), peak, PLOT_W, PLOT_H);
    mark(this.line, "d", line);
    mark(this.area, "d", area);
    mark(this.plot, "aria-label", "Rate over the last ten minutes, at most " + bytes(peak) + " a second");
    put(this.peak, peak ? "peak " + bytes(peak) + "/s" : "");
  }

  // A single provider is shown in the card's head. Several sources get a bar each. So does a banned source of a failed download, to show when its ban ends.
  showSources(status) {
    const all = sources(status), several = all.length > 1, seen = new Set(), first = all[0];
    put(this.who, several ? all.length + " sources" : first.kind === "mirror" ? first.source : short(first.source));
    this.who.classList.toggle("mono", !several);
    mark(this.who, "title", several ? null : first.source);
    const wasted = status.bytes_wasted ? bytes(status.bytes_wasted) + " in vain" : null, tries = status.tries > 1 ? status.tries + " tries" : null;
    put(this.how, [several ? null : version(first.protocol), tries, wasted].filter(Boolean).map((part) => " \u00b7 " + part).join(""));
    const lied = status.state === "failed" && all.some((source) => source.state === "banned");
    for (const source of several || lied ? all : []) {
      seen.add(source.source);
      let row = this.sources.get(source.source);
      if (!row) {
        row = { bar: bar("Share of " + short(source.source)), who: el("bdi", { className: "mono" }), what: el("span", { className: "faint num" }) };
        const remove = el("button", { type: "button", className: "small", textContent: "Remove", title: "Take nothing more from it",
          attributes: { "aria-label": "Remove the source " + short(source.source) + " of " + this.name.textContent }, onclick: () => this.run("remove", source.source) });
        row.remove = remove;
        row.element = el("li", {}, row.who, row.bar.whole, row.what, remove);
        this.sources.set(source.source, row);
        this.from.append(row.element);
      }
      put(row.who, source.kind === "mirror" ? source.source : short(source.source));
      mark(row.who, "title", source.source);
      row.bar.show({ durable: status.total_bytes ? Math.min(1, source.bytes_verified / status.total_bytes) : 0, verified: 0, received: 0 },
        bytes(source.bytes_verified) + " verified");
      putParts(row.what, sourceParts(source));
      mark(row.what, "title", row.what.textContent);
      row.remove.hidden = status.state === "complete";
    }
    for (const [source, row] of this.sources) {
      if (!seen.has(source)) { row.element.remove(); this.sources.delete(source); }
    }
  }

  showButtons(status) {
    const wanted = actions(status), key = JSON.stringify(wanted) + (this.asking || "") + (this.busy || "");
    if (this.buttons.dataset.key === key) return;
    const held = this.buttons.contains(document.activeElement);
    this.buttons.dataset.key = key;
    const name = this.name.textContent, asked = wanted.find((action) => action.kind === this.asking);
    if (this.busy) this.buttons.replaceChildren(el("span", { className: "faint", textContent: this.busy }));
    else if (asked?.field) {
      const input = el("input", { type: "text", spellcheck: false, autocomplete: "off", placeholder: asked.field, attributes: { "aria-label": asked.field + ", for " + name } });
      this.buttons.replaceChildren(el("form", { className: "add", onsubmit: (event) => {
        event.preventDefault();
        if (input.value.trim()) this.run(asked.kind, input.value.trim());
      } }, input, el("button", { type: "submit", className: "primary", textContent: asked.yes }), el("button", { type: "button", textContent: "Leave it", onclick: () => this.ask(null) })));
      input.focus();
      return;
    } else if (asked) {
      const keep = el("button", { type: "button", textContent: "Keep it", onclick: () => this.ask(null) });
      const yes = el("button", { type: "button", className: "danger", textContent: asked.yes, onclick: () => this.run("cancel") });
      this.buttons.replaceChildren(el("span", { className: "question", textContent: asked.ask }), yes, keep);
    } else {
      this.asking = null;
      this.buttons.replaceChildren(...wanted.map((action) => el("button", {
        type: "button", className: action.main ? "primary" : "", textContent: action.label,
        attributes: { "aria-label": action.label + ": " + name },
        onclick: () => (action.ask || action.field ? this.ask(action.kind) : action.kind === "copy" ? this.act("copy", this.status) : this.run(action.kind)),
      })));
    }
    if (held) (this.buttons.querySelector("button:last-of-type") || this.element).focus();
  }

  ask(kind) {
    this.asking = kind;
    this.showButtons(this.status);
  }

  async run(kind, source) {
    this.asking = null;
    this.busy = { resume: "Asking", add: "Adding", remove: "Removing", cancel: "Cancelling" }[kind] + " \u2026";
    this.showButtons(this.status);
    await this.act(kind, this.status, source);
    this.busy = null;
    if (this.element.isConnected) this.showButtons(this.status);
  }
}

const FILTERS = [["all", "All"], ["active", "Active"], ["waiting", "Waiting"], ["failed", "Failed"], ["complete", "Complete"]];

class Downloads {
  constructor(act, fetchNewest) {
    this.act = act;
    this.fetchNewest = fetchNewest;
    // What an empty list shows: whether a genesis is trusted, how many snapshots are offered, and how many of them are stored here.
    this.around = { trusts: true, offered: 0, here: 0 };
    this.cards = new Map();
    this.filter = "all";
    this.list = document.getElementById("list");
    this.none = document.getElementById("none");
    this.near = new Set();
    this.slice = 0;
    // Only visible plots are drawn.
    this.watch = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const card = this.cards.get(entry.target.dataset.session);
        if (!card) continue;
        if (!entry.isIntersecting) { this.near.delete(card); continue; }
        this.near.add(card);
        if (card.behind) card.show(card.status);
        card.draw(Date.now());
      }
    }, { rootMargin: "200px" });
    this.chips = FILTERS.map(([name, label]) => {
      const count = el("span", { className: "num" });
      const button = el("button", { type: "button", className: "chip", attributes: { "data-filter": name }, onclick: () => this.choose(name) }, label + " ", count);
      return { name, button, count };
    });
    document.getElementById("filters").append(...this.chips.map((chip) => chip.button));
    this.list.addEventListener("keydown", (event) => this.move(event));
  }

  choose(name) {
    this.filter = name;
    this.sift();
  }

  // The newest comes first. The order does not change when a state changes.
  show(statuses, now) {
    const seen = new Set(), sorted = [...statuses].sort((a, b) => (a.started_at < b.started_at ? 1 : a.started_at > b.started_at ? -1 : b.session - a.session));
    const many = sorted.length > MANY;
    let place = null;
    this.slice = (this.slice + 1) % SLICES;
    for (const status of sorted) {
      const key = String(status.session);
      seen.add(key);
      let card = this.cards.get(key);
      const old = card?.status;
      if (!card) {
        card = new Card(status, this.act);
        this.cards.set(key, card);
        this.watch.observe(card.element);
      }
      if (!many || old?.state !== status.state || this.near.has(card) || status.session % SLICES === this.slice) card.show(status);
      else card.keep(status);
      card.note(now);
      const wanted = place ? place.nextSibling : this.list.firstChild;
      if (wanted !== card.element) this.list.insertBefore(card.element, wanted);
      place = card.element;
    }
    for (const [key, card] of this.cards) {
      if (seen.has(key)) continue;
      this.watch.unobserve(card.element);
      this.near.delete(card);
      // If the card had the focus, the next card or the list gets it.
      if (card.element.contains(document.activeElement)) (card.element.nextElementSibling || document.getElementById("downloads")).focus();
      card.element.remove();
      this.cards.delete(key);
    }
    for (const card of this.near) card.draw(now);
    this.sift();
  }

  sift() {
    const counts = { all: this.cards.size, active: 0, waiting: 0, failed: 0, complete: 0 };
    let shown = 0;
    for (const card of this.cards.values()) {
      const of = group(card.status);
      counts[of]++;
      card.element.hidden = this.filter !== "all" && this.filter !== of;
      if (!card.element.hidden) shown++;
    }
    for (const chip of this.chips) {
      put(chip.count, String(counts[chip.name]));
      mark(chip.button, "aria-pressed", chip.name === this.filter);
      chip.button.classList.toggle("alarm", chip.name === "failed" && counts.failed > 0);
    }
    this.none.hidden = shown > 0;
    if (!shown) this.showNone();
  }

  // Why there is no download, and what helps. Written again only if that changes, because a button may have the focus.
  showNone() {
    const { trusts, offered, here } = this.around, key = this.cards.size ? "sifted" : !trusts ? "trust" : offered > here ? "offered" : offered ? "here" : "nobody";
    if (this.none.dataset.key === key) return;
    this.none.dataset.key = key;
    const code = (text) => el("code", { textContent: text }), newest = el("button", { type: "button", className: "primary", textContent: "Fetch the newest", onclick: () => this.fetchNewest() });
    const parts = {
      sifted: ["None of these now."],
      trust: ["This node trusts no chain yet. Write the genesis that its publisher announced into ", code("[trust] genesis"), " of the configuration, and start the node again."],
      offered: ["Peers offer snapshots: take the newest, or press Fetch at another one."],
      here: ["All that its peers offer is on this node."],
      nobody: ["No peer offers a snapshot of this chain. A fetch waits until one does. To name a provider, run on the node\u2019s machine ", el("code", { className: "command", textContent: "rpp-node fetch --config node.toml --peer ADDRESS" })],
    }[key];
    this.none.replaceChildren(...(key === "sifted" ? [] : [el("b", { textContent: "No downloads" })]), el("p", {}, ...parts), ...(["offered", "nobody"].includes(key) ? [newest] : []));
  }

  // Arrow keys move from card to card, wherever the focus is in a card.
  move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const cards = [...this.list.children].filter((card) => !card.hidden);
    const at = cards.findIndex((card) => card.contains(document.activeElement)), next = cards[at + step];
    if (!next) return;
    event.preventDefault();
    (next.querySelector("button") || next).focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  }
}
