"use strict";
// The waits of a cut that pass the filters, grouped by their common start. Waits that only idle come last.

const SHOWN_STEPS = 5, SHOWN_WAYS = 50;

const stepKey = (step) => keyOf(step.proc_key || "", step.id);

// One entry for each start, with all paths from it. The longest wait comes first, and waits that end in idling come last.
function foldWaits(chains) {
  const groups = new Map();
  for (const chain of chains) {
    const key = stepKey(chain.steps[0]);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(chain);
  }
  const idle = (chain) => IDLE_KINDS.has(chain.steps[chain.steps.length - 1].kind);
  const wait = (chain) => chain.wait_ms === null ? -1 : chain.wait_ms;
  const byWait = (a, b) => idle(a) - idle(b) || wait(b) - wait(a);
  const folded = [...groups.values()].map((ways) => [...ways].sort(byWait));
  return folded.sort((a, b) => byWait(a[0], b[0])).map((ways) => ({ ways, idle: idle(ways[0]) }));
}

// Whether any step of it passes the filters.
function waitWanted(chain, cut, filter) {
  const { text, processes, kinds } = filter;
  return (!processes.size || chain.steps.some((step) => processes.has(step.proc_key))) &&
    (!kinds.size || chain.steps.some((step) => kinds.has(step.kind))) &&
    (!text || chain.steps.some((step) =>
      [step.id, step.label || "", cut.say(step.label || step.id)].some((part) => part.toLowerCase().includes(text))));
}

function stepText(step, cut) {
  const name = el("span", {}, el("bdi", { textContent: cut.say(step.label || step.id) }));
  if (step.proc_key) name.append(el("span", { className: "at" }, " @", el("bdi", { textContent: cut.nameOf(step.proc_key) })));
  if (step.missing) name.append(el("span", { className: "at", textContent: ` (${step.missing})` }));
  return name;
}

// The start, the end, and the number of steps between them.
function chainButton(title, chain, closed, cut, onChoose) {
  const { steps } = chain, button = el("button", { type: "button", className: "way" }, title);
  const short = steps.length <= SHOWN_STEPS ? steps : [...steps.slice(0, 2), null, ...steps.slice(-2)];
  short.forEach((step, i) => button.append(i ? " \u2192 " : " ",
    step ? stepText(step, cut) : el("span", { className: "at", textContent: `${steps.length - 4} more` })));
  if (chain.deadlock) button.append(` \u2192 ${chain.deadlock}`);
  button.addEventListener("click", () => onChoose(chain, closed));
  return button;
}

function showWaits(cut, filter, onChoose) {
  const wanted = (chain) => waitWanted(chain, cut, filter);
  const deadlocks = cut.waits.deadlocks.filter(wanted), chains = cut.waits.chains.filter(wanted);
  $("deadlocks").replaceChildren(...deadlocks.map((deadlock) => el("li", {},
    chainButton(el("b", {}, el("bdi", { textContent: deadlock.name }), ":"), deadlock, true, cut, onChoose))));
  const items = [];
  let idling = false;
  for (const { ways, idle } of foldWaits(chains)) {
    if (idle && !idling) items.push(el("li", { className: "hint", textContent: "Only idling: timers, and waits for something to come" }));
    idling = idle;
    items.push(waitGroup(ways, cut, onChoose));
  }
  if (cut.waits.truncated) items.push(el("li", { className: "hint", textContent: "There are more than are listed." }));
  const hidden = cut.waits.chains.length + cut.waits.deadlocks.length - chains.length - deadlocks.length;
  if (hidden) items.push(el("li", { className: "hint", textContent: `${hidden} are left out by the filters.` }));
  if (!items.length && !deadlocks.length) items.push(el("li", { className: "hint", textContent: "Nothing waits." }));
  $("chains").replaceChildren(...items);
  const badge = deadlocks.length ? ` (${chains.length}, ${deadlocks.length} deadlocked)` : chains.length ? ` (${chains.length})` : "";
  $("tab-waits").textContent = "Waits" + badge;
}

function waitGroup(ways, cut, onChoose) {
  const waited = (chain) => el("span", { className: "wait", textContent: duration(chain.wait_ms) || "?" });
  const item = el("li", { className: "group" }, chainButton(waited(ways[0]), ways[0], false, cut, onChoose));
  if (ways.length === 1) return item;
  const more = el("button", { type: "button", className: "plain more", textContent: `${ways.length - 1} more from there` });
  more.setAttribute("aria-expanded", "false");
  more.addEventListener("click", () => {
    const open = more.getAttribute("aria-expanded") === "true";
    more.setAttribute("aria-expanded", String(!open));
    if (open) return more.nextElementSibling.remove();
    const list = el("ol", {}, ...ways.slice(1, 1 + SHOWN_WAYS).map((chain) =>
      el("li", {}, chainButton(waited(chain), chain, false, cut, onChoose))));
    if (ways.length > 1 + SHOWN_WAYS) list.append(el("li", { className: "hint", textContent: `${ways.length - 1 - SHOWN_WAYS} further ones` }));
    more.after(list);
  });
  item.append(more);
  return item;
}

// The steps of a chosen chain, one below the other.
function showSteps(panel, chain, closed, cut, onSelect) {
  const steps = chain.steps.map((step) => {
    const index = cut.index.get(stepKey(step)), known = index !== undefined;
    const line = el(known ? "button" : "span", known ? { type: "button" } : {}, stepText(step, cut));
    if (step.kind) line.prepend(el("span", { className: "at", textContent: step.kind + " " }));
    if (known) line.addEventListener("click", () => onSelect(index));
    const item = el("li", {}, line);
    if (step.wait_ms !== undefined) item.append(el("span", { className: "wait", textContent: `waits ${duration(step.wait_ms)} for` }));
    return item;
  });
  const title = closed ? chain.name : `Wait of ${duration(chain.wait_ms) || "unknown length"}`;
  panel.replaceChildren(el("h3", {}, el("bdi", { textContent: title })), el("ol", { className: "steps" }, ...steps));
  if (closed) panel.append(el("p", { className: "hint", textContent: "The last waits for the first." }));
  if (chain.deadlock) panel.append(el("p", { className: "hint", textContent: `It ends in the ${chain.deadlock}.` }));
  if (chain.ends === "truncated") panel.append(el("p", { className: "hint", textContent: "It goes on." }));
}
