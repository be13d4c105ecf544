"use strict";
// Polls the node and shows its answers. The token stays in this tab.

const EVERY_MS = 1000, EVERY_MANY_MS = 2000, EVERY_HIDDEN_MS = 10000, TIMEOUT_MS = 20000;
const $ = (id) => document.getElementById(id);

let token = sessionStorage.getItem("rpp-token") || "", timer = 0, round = 0, misses = 0;
const downloads = new Downloads(act, () => fetchOffer({})), panels = new Panels(copy, fetchOffer, lift), limitsForm = new LimitsForm(changeLimits);

class Refused extends Error {
  constructor(status, code, message) { super(message); Object.assign(this, { status, code }); }
}

async function call(method, path, body) {
  const headers = { authorization: "Bearer " + token };
  if (body !== undefined) headers["content-type"] = "application/json";
  const response = await fetch(path, { method, headers, cache: "no-store", credentials: "omit", redirect: "error",
    signal: AbortSignal.timeout(TIMEOUT_MS), body: body === undefined ? undefined : JSON.stringify(body) });
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, answer.code, answer.error || "the node answers " + response.status);
  return answer;
}

const get = (path) => call("GET", path);
// An error answer is not always a fault: there is no head before the first checkpoint, and no "ready" before the node is ready.
const orRefusal = (answer) => answer.catch((error) => { if (error instanceof Refused && error.status !== 401 && error.status !== 429) return error; throw error; });

async function refresh() {
  clearTimeout(timer);
  const mine = ++round;
  try {
    const [statuses, peers, offers, bans, limits, identity, head, events, ready] = await Promise.all([get("/p2p/snapshots"), get("/p2p/peers"), get("/p2p/offers"), get("/p2p/bans"),
      get("/p2p/limits"), get("/p2p/identity"), orRefusal(get("/p2p/head")), get("/p2p/events"), orRefusal(get("/readyz"))]);
    if (mine !== round) return;
    misses = 0;
    sessionStorage.setItem("rpp-token", token);
    enter(true);
    limitsForm.show(limits);
    show(statuses, peers, offers, bans, identity, head instanceof Refused ? null : head, events);
    health(ready instanceof Refused ? ["warn", ready.code === "cannot_write" ? "cannot write" : "not ready", ready.message] : ["good", "ready", ""]);
  } catch (error) {
    if (mine !== round) return;
    if (error instanceof Refused && (error.status === 401 || error.status === 429)) return leave(token ? error.message + "." : "");
    health(["bad", "no answer", ""]);
    // A single miss may pass in a moment.
    if (++misses > 1) trouble("The node does not answer (" + error.message + "). What is shown is what it said last; it is asked again and again.");
  }
  const every = document.hidden ? EVERY_HIDDEN_MS : downloads.cards.size > MANY ? EVERY_MANY_MS : EVERY_MS;
  timer = setTimeout(refresh, every);
}

function show(statuses, peers, offers, bans, identity, head, events) {
  const served = new Set(identity.snapshots.map((one) => one.root + one.height));
  downloads.around = { trusts: Boolean(identity.genesis), offered: offers.length, here: offers.filter((one) => served.has(one.root + one.height)).length };
  downloads.show(statuses, Date.now());
  panels.showOffers(offers, identity);
  panels.showPeers(peers);
  panels.showBans(bans);
  panels.showNode(identity, head);
  panels.showEvents(events);
  const rate = statuses.reduce((sum, one) => sum + (one.state === "streaming" ? one.verified_bytes_per_second || 0 : 0), 0);
  put($("rate").firstElementChild, bytes(rate) + "/s");
  put($("version"), identity.version);
  const going = statuses.filter((one) => group(one) === "active").length;
  document.title = (going ? going + " \u2193 " : "") + "rpp-node " + identity.peer_id.slice(-6);
}

function health([toneOf, text, why]) {
  put($("health"), text);
  $("health").dataset.tone = toneOf;
  mark($("health"), "title", why || null);
  if (toneOf !== "bad") trouble(why ? (text === "not ready" ? "The node is not ready: " : "The node cannot write: ") + why : "");
}

function trouble(text) {
  put($("trouble"), text);
  $("trouble").hidden = !text;
}

function enter(inside) {
  for (const id of ["page", "leave", "rate"]) $(id).hidden = !inside;
  $("login").hidden = inside;
}

// Shows the form for the token. `why` is the reason if a token was refused.
function leave(why) {
  clearTimeout(timer);
  round++;
  token = "";
  sessionStorage.removeItem("rpp-token");
  enter(false);
  health(["quiet", "not connected", ""]);
  put($("login-error"), why);
  $("token").value = "";
  $("token").focus();
}

const called = ({ height }) => (height === undefined ? "The download" : "The download of height " + height);

async function act(kind, status, source) {
  if (kind === "copy") return copy(status.payload_path, "The path");
  try {
    if (kind === "resume") await call("POST", "/p2p/snapshots", { resume: { session: status.session } });
    else if (kind === "add") await call("POST", "/p2p/snapshots/" + status.session + "/sources", sourceOf(source));
    else if (kind === "remove") await call("DELETE", "/p2p/snapshots/" + status.session + "/sources/" + encodeURIComponent(source));
    else await call("DELETE", "/p2p/snapshots/" + status.session);
    say(called(status) + { resume: " goes on", add: " has another source", remove: " has a source less", cancel: " is gone" }[kind]);
  } catch (error) {
    say(called(status) + ": " + error.message);
  }
  await refresh();
}

// Fetches a snapshot from any peer that offers it. Without a root, the newest one.
async function fetchOffer(offer) {
  try {
    await call("POST", "/p2p/snapshots", { root: offer.root, height: offer.height });
    say(called(offer) + " has begun");
  } catch (error) {
    say(called(offer) + ": " + error.message);
  }
  await refresh();
}

async function lift(source) {
  try {
    await call("DELETE", "/p2p/bans/" + encodeURIComponent(source));
    say("The ban of " + short(source) + " is lifted");
  } catch (error) {
    say("The ban of " + short(source) + ": " + error.message);
  }
  await refresh();
}

// Returns true if the node has accepted the change.
async function changeLimits(change) {
  let taken = true;
  try {
    await call("PATCH", "/p2p/limits", change);
    say(change.persist ? "The limits are in force, and kept over a restart" : "The limits are in force");
  } catch (error) {
    say("The limits: " + error.message);
    taken = false;
  }
  return taken;
}

async function copy(text, name) {
  try {
    await navigator.clipboard.writeText(text);
    say(name + " is copied");
  } catch {
    // Without TLS, browsers do not let a page from another machine use the clipboard.
    say(name + ": " + text);
  }
}

let silence = 0;
function say(text) {
  put($("said"), text);
  $("said").className = "said";
  clearTimeout(silence);
  silence = setTimeout(() => { $("said").className = "hidden"; put($("said"), ""); }, 6000);
}

$("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  put($("login-error"), "");
  if (token) refresh();
});
$("leave").addEventListener("click", () => leave(""));
document.addEventListener("visibilitychange", () => { if (!document.hidden && token) refresh(); });

if (token) refresh(); else leave("");
