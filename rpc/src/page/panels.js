"use strict";
// The panels beside the downloads: the node itself, its snapshots, its peers, its events.

const EVENTS_SHOWN = 60, OFFERS_SHOWN = 64;

// An address without the peer id at its end.
const place = (address) => (address || "").replace(/\/p2p\/[^/]+$/, "");

// A list that keeps its rows by key and changes them in place.
class Rows {
  constructor(id, make, fill) {
    this.list = document.getElementById(id);
    this.make = make;
    this.fill = fill;
    this.rows = new Map();
    this.empty = el("li", { className: "empty" });
  }

  show(items, empty) {
    const seen = new Set();
    let place = null;
    for (const item of items) {
      seen.add(item.key);
      let row = this.rows.get(item.key);
      if (!row) {
        row = this.make(item);
        this.rows.set(item.key, row);
      }
      this.fill(row, item);
      const wanted = place ? place.nextSibling : this.list.firstChild;
      if (wanted !== row.element) this.list.insertBefore(row.element, wanted);
      place = row.element;
    }
    for (const [key, row] of this.rows) {
      if (!seen.has(key)) { row.element.remove(); this.rows.delete(key); }
    }
    if (items.length) this.empty.remove();
    else {
      put(this.empty, empty);
      this.list.append(this.empty);
    }
  }
}

class Panels {
  constructor(copy, fetchOffer, lift) {
    this.copy = copy;
    this.fetchOffer = fetchOffer;
    this.lift = lift;
    this.node = document.getElementById("node");
    this.facts = new Map();
    this.serves = new Rows("serves", (item) => this.makeSnapshot(item), (row, item) => {
      put(row.size, (item.format === "tar" ? "folder \u00b7 " : "") + bytes(item.bytes));
    });
    this.offers = new Rows("offers", (item) => this.makeOffer(item), (row, item) => {
      row.item = item;
      put(row.size, (item.format === "tar" ? "folder \u00b7 " : "") + bytes(item.bytes));
      put(row.from, item.peers.length === 1 ? "1 peer" : item.peers.length + " peers");
      put(row.fetch, item.here ? "here" : "Fetch");
      row.fetch.disabled = item.here;
      mark(row.fetch, "aria-label", item.here ? "Height " + item.height + " is here" : "Fetch height " + item.height);
    });
    this.peers = new Rows("peers", (item) => this.makePeer(item), (row, item) => {
      row.dot.dataset.tone = item.connected ? "good" : "quiet";
      put(row.connected, item.connected ? "connected" : "not connected");
      put(row.agent, item.agent || (item.connected ? "says nothing of itself" : "not connected"));
      put(row.latency, Number.isFinite(item.rtt_ms) ? (item.rtt_ms < 10 ? item.rtt_ms.toFixed(1) : Math.round(item.rtt_ms)) + "\u00a0ms" : "\u2013");
      put(row.received, item.bytes_received === undefined ? "\u2013" : bytes(item.bytes_received));
      put(row.sent, item.bytes_sent === undefined ? "\u2013" : bytes(item.bytes_sent));
    });
    this.bans = new Rows("bans", (item) => this.makeBan(item), (row, item) => {
      put(row.left, duration(Math.max(0, Date.parse(item.until) - Date.now())) + " left");
      put(row.why, item.evidence.length ? item.evidence[item.evidence.length - 1].reason : "");
      mark(row.why, "title", row.why.textContent);
    });
    this.events = new Rows("events", (item) => this.makeEvent(item), (row) => {
      put(row.when, Date.now() - row.at < 1000 ? "now" : duration(Math.floor((Date.now() - row.at) / 1000) * 1000).split(" ")[0] + " ago");
    });
  }

  makeSnapshot(item) {
    const size = el("span", { className: "num" });
    const root = el("button", { type: "button", className: "copy", title: "Copy the root " + item.root, textContent: short(item.root),
      attributes: { "aria-label": "Copy the root of height " + item.height + ", " + short(item.root) }, onclick: () => this.copy(item.root, "The root") });
    return { size, element: el("li", { className: "snapshot" }, el("b", { textContent: "Height " + item.height }), root, size) };
  }

  makeOffer(item) {
    const row = { size: el("span", { className: "num" }), from: el("span", { className: "faint" }), item };
    row.fetch = el("button", { type: "button", className: "small", onclick: () => this.fetchOffer(row.item) });
    const root = el("button", { type: "button", className: "copy", title: "Copy the root " + item.root, textContent: short(item.root),
      attributes: { "aria-label": "Copy the root of the offer of height " + item.height + ", " + short(item.root) }, onclick: () => this.copy(item.root, "The root") });
    row.element = el("li", { className: "snapshot offer" }, el("b", { textContent: "Height " + item.height }), root, row.from, row.size, row.fetch);
    return row;
  }

  makePeer(item) {
    const row = { dot: el("span", { className: "dot" }), connected: el("span", { className: "hidden" }), agent: el("bdi", { className: "agent faint" }) };
    const figure = (name, title) => {
      row[name] = el("span", { className: "num" });
      return el("span", { className: "pair", title }, el("span", { className: "faint", textContent: { latency: "latency", received: "in", sent: "out" }[name] }), row[name]);
    };
    row.element = el("li", { className: "peer" },
      el("span", { className: "who" }, row.dot, row.connected,
        el("button", { type: "button", className: "copy", title: "Copy the peer id " + item.peer_id, textContent: short(item.peer_id),
          attributes: { "aria-label": "Copy the peer id " + short(item.peer_id) }, onclick: () => this.copy(item.peer_id, "The peer id") }), row.agent),
      el("span", { className: "pairs" }, figure("latency", "time of a ping there and back"),
        figure("received", "received over its present connections"), figure("sent", "sent over its present connections")));
    return row;
  }

  makeBan(item) {
    const row = { left: el("span", { className: "num faint" }), why: el("bdi", { className: "faint reason" }) };
    row.element = el("li", { className: "peer" },
      el("span", { className: "who" }, el("span", { className: "dot", attributes: { "data-tone": "bad" } }),
        el("button", { type: "button", className: "copy", title: "Copy " + item.source, textContent: short(item.source),
          attributes: { "aria-label": "Copy the banned source " + short(item.source) }, onclick: () => this.copy(item.source, "The source") }),
        row.left,
        el("button", { type: "button", className: "small", title: "Let it in again", textContent: "Lift",
          attributes: { "aria-label": "Lift the ban of " + short(item.source) }, onclick: () => this.lift(item.source) })),
      row.why);
    return row;
  }

  makeEvent(item) {
    const when = el("time", { dateTime: item.at, title: item.at });
    const [toneOf, parts] = told(item), what = el("span", { className: "what" });
    putParts(what, parts);
    mark(what, "title", what.textContent);
    return { when, at: Date.parse(item.at), element: el("li", { className: "event" }, el("span", { className: "dot", attributes: { "data-tone": toneOf } }), what, when) };
  }

  showNode(identity, head) {
    const facts = [
      ["Peer id", identity.peer_id, short(identity.peer_id)],
      ["Listens on", identity.listen[0], place(identity.listen[0]) + (identity.listen.length > 1 ? " +" + (identity.listen.length - 1) : "")],
      ["Trusts", identity.genesis, identity.genesis ? short(identity.genesis) : "nothing: [trust] genesis is not set"],
      ["Verified head", null, head ? "height " + head.height + ", step " + head.step : "none yet"],
    ];
    for (const [name, whole, text] of facts) {
      let value = this.facts.get(name);
      if (!value) {
        value = el("dd");
        this.facts.set(name, value);
        this.node.append(el("dt", { textContent: name }), value);
      }
      const key = whole + "\u0000" + text;
      if (value.dataset.key === key) continue;
      value.dataset.key = key;
      value.replaceChildren(whole ? el("button", { type: "button", className: "copy", title: "Copy " + whole, textContent: text,
        attributes: { "aria-label": "Copy " + name + ": " + text }, onclick: () => this.copy(whole, name) }) : text || "\u2013");
    }
    put(document.getElementById("serves-count"), String(identity.snapshots.length));
    this.serves.show(identity.snapshots.map((one) => ({ ...one, key: one.root + one.height })), "Nothing yet: publish or fetch a snapshot.");
  }

  showOffers(offers, identity) {
    const here = new Set(identity.snapshots.map((one) => one.root + one.height));
    put(document.getElementById("offers-count"), String(offers.length));
    const rows = offers.slice(0, OFFERS_SHOWN).map((one) => ({ ...one, key: one.root + one.height + one.format, here: here.has(one.root + one.height) }));
    this.offers.show(rows, identity.genesis ? "No peer offers a snapshot of this chain." : "Offers count only for a chain that this node trusts.");
  }

  showPeers(peers) {
    const connected = peers.filter((peer) => peer.connected).length;
    put(document.getElementById("peers-count"), connected + " of " + peers.length);
    const rows = peers.map((peer) => ({ ...peer, key: peer.peer_id }));
    this.peers.show(rows.sort((a, b) => b.connected - a.connected || (a.key < b.key ? -1 : 1)), "No peers yet: [p2p] peers, [discovery] bootstrap or mdns of the configuration find some.");
  }

  showBans(bans) {
    document.getElementById("bans-section").hidden = bans.length === 0;
    put(document.getElementById("bans-count"), String(bans.length));
    this.bans.show(bans.map((ban) => ({ ...ban, key: ban.source })), "");
  }

  showEvents(events) {
    const rows = events.slice(-EVENTS_SHOWN).reverse().map((event) => ({ ...event, key: event.seq }));
    this.events.show(rows, "Nothing has happened since the node started.");
  }
}

// States as an event's verb.
const BECOMES = { failed: "failed", backing_off: "backs off", verifying: "verifies", streaming: "streams" };

// An event in words. Text from others gets an element of its own. A download has the same name as on its card.
function told(event) {
  const peer = short(event.peer || ""), card = downloads.cards.get(String(event.session));
  const session = card ? card.height.textContent : "Download " + event.session;
  switch (event.event) {
    case "peer_connected": return ["good", [{ own: "Connected to " + peer }]];
    case "peer_disconnected": return ["quiet", [{ own: "Lost the last connection to " + peer }]];
    case "cancelled": return ["quiet", [{ own: session + " was cancelled" }]];
    case "violation": return ["bad", [{ own: peer + " broke the protocol: " }, { foreign: event.reason || "" }]];
    case "banned": return ["bad", [{ own: peer + " is " }, { foreign: event.reason || "banned" }]];
    case "ban_ended": return ["quiet", [{ own: "The ban of " + peer + " has run out" }]];
    case "ban_lifted": return ["quiet", [{ own: "The ban of " + peer + " is lifted" }]];
    case "state": return [tone(event), [{ own: session + " " + (BECOMES[event.state] || "is " + words(event.state)) + (event.reason ? ": " : "") }, { foreign: event.reason || "" }]];
    default: return ["quiet", [{ own: words(event.event) }]];
  }
}
