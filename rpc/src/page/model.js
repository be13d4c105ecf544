"use strict";
// Turns the node's answers into what the page shows: figures, sentences, the last ten minutes. Uses no element and no network.

const HISTORY_MS = 600000, BUCKET_MS = 5000, BUCKETS = HISTORY_MS / BUCKET_MS;

const bytes = (count) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = Number(count) || 0, unit = 0;
  while (value >= 1000 && unit + 1 < units.length) { value /= 1024; unit++; }
  return (unit === 0 ? String(Math.round(value)) : value.toFixed(value < 99.95 ? 1 : 0)) + "\u00a0" + units[unit];
};

const duration = (ms) => {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (ms < 1000) return Math.round(ms) + "\u00a0ms";
  if (seconds < 60) return seconds + "\u00a0s";
  if (seconds < 3600) return Math.floor(seconds / 60) + "\u00a0min " + (seconds % 60) + "\u00a0s";
  if (seconds < 172800) return Math.floor(seconds / 3600) + "\u00a0h " + Math.floor(seconds % 3600 / 60) + "\u00a0min";
  return Math.floor(seconds / 86400) + "\u00a0days";
};

// A rate in the form in which it is typed; 0 means no limit.
const rateText = (rate) => {
  if (!rate) return "none";
  const [unit, size] = [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]].find(([, size]) => rate % size === 0) || ["", 1];
  return unit ? rate / size + " " + unit : String(rate);
};

// The typed rate in bytes a second; null if it is not a rate.
const rateOf = (text) => {
  if (/^(none)?$/i.test(text.trim())) return 0;
  const [, number, unit] = /^(\d+)\s*([kmg])?(?:i?b)?$/i.exec(text.trim()) || [];
  const rate = Number(number) * 1024 ** (unit ? 1 + "kmg".indexOf(unit.toLowerCase()) : 0);
  return Number.isSafeInteger(rate) ? rate : null;
};

const short = (id) => (id && id.length > 16 ? id.slice(0, 6) + "\u2026" + id.slice(-6) : id || "");
const words = (word) => String(word || "").replaceAll("_", " ");

// The look of each state, and the filter that it belongs to.
const STATES = {
  connecting: ["wait", "waiting"], planning: ["wait", "waiting"], verifying: ["go", "active"], streaming: ["go", "active"],
  backing_off: ["warn", "waiting"], paused: ["warn", "waiting"], complete: ["good", "complete"], failed: ["bad", "failed"],
};
const tone = (status) => {
  const slow = status.state === "streaming" && status.waiting_on && status.waiting_on.since_ms >= LONG_MS;
  return slow ? "warn" : (STATES[status.state] || ["quiet"])[0];
};
const group = (status) => (STATES[status.state] || ["", "waiting"])[1];
const isFinal = (status) => status.state === "complete" || status.state === "failed";

// Shares of the whole for the bar: durable bytes, further verified bytes, and further received bytes.
function shares(status) {
  const total = status.total_bytes || 0;
  if (status.state === "complete") return { durable: 1, verified: 0, received: 0 };
  if (!total) return { durable: 0, verified: 0, received: 0 };
  const share = (count) => Math.min(1, Math.max(0, count / total));
  const durable = share(status.bytes_durable);
  const verified = Math.max(durable, share(status.bytes_verified));
  const ahead = Math.max(0, status.bytes_received - status.bytes_verified - (status.bytes_wasted || 0));
  return { durable, verified: verified - durable, received: Math.min(1 - verified, ahead / total) };
}

// Rounded down, so that 99.99 % is not shown as done.
const percent = (share) => (Math.floor(share * 1000) / 10).toFixed(1) + "\u00a0%";

// What a session waits for, and what helps; docs/troubleshooting.md has more.
const WAITS = {
  connection: ["a connection to the provider", "Check its address, and that its port is open."], plan: ["the plan"], ack: ["an acknowledgement"],
  light_client_update: ["update"], proof: ["the proof"], credit: ["its window", "What came has to become durable first."], disk: ["the disk", "It goes on by itself when there is room."], throttle: ["its rate limit"],
  session: ["download", "It goes on when that one ends."], operator: ["you", "The node cannot go on by itself."],
};
const FAILURES = {
  network: "Check the address and the firewall, then resume.", checksum: "Add another source: it goes on from what is verified.",
  authentication: "Compare trust.genesis with what the publisher announces.", resume_mismatch: "Resume: the node knows where it was.",
  provider: "Add another source, or fetch its newest snapshot.", storage: "Mend the disk or the permissions, then resume.",
  proof: "Add another source.", stale: "Add a source that is not behind.",
  equivocation: "Do not go on before the publisher has explained it.",
};
// Failures against which another source helps, but not another try with the same one.
const OTHERS_HELP = ["checksum", "authentication", "provider", "proof", "stale"];
const REMOVED = "Verified, and its payload was removed since. Fetch it again if you need it.";
// A wait is long once an ordinary answer would have arrived.
const LONG_MS = 10000, MOMENT_MS = 2000;

// One sentence that explains the session's state. Text from others is marked, so that it is shown in an element of its own.
function sentence(status) {
  const waiting = status.waiting_on;
  const checked = status.recheck_bytes && (status.rechecked_bytes || 0) < status.recheck_bytes
    ? "Hashing again what is on the disk, " + bytes(status.rechecked_bytes) + " of " + bytes(status.recheck_bytes) + ". " : "";
  if (status.state === "complete") {
    if (status.verified) return status.payload_path ? [{ own: "Verified and in place: " }, { foreign: status.payload_path }] : [{ own: REMOVED }];
    return waiting ? [{ own: checked + "Complete, but not verified: " }, { foreign: waiting.reason }] : [{ own: "Complete, but not verified any more." }];
  }
  if (status.state === "failed") {
    return [{ own: "Failed (" + words(status.error_code || "no reason") + "): " }, { foreign: status.error || "it does not say why" },
      { own: ". " + (FAILURES[status.error_code] || "") }];
  }
  if (!waiting) return [{ own: checked || "At work." }];
  if (status.state === "streaming" && waiting.since_ms < MOMENT_MS && waiting.index !== undefined) {
    return [{ own: checked + "Flowing: " + (WAITS[waiting.what]?.[0] || words(waiting.what)) + " " + waiting.index + " is on its way." }];
  }
  if (waiting.what === "retry") {
    const left = Date.parse(waiting.retry_at) - Date.now();
    const next = left > 0 ? "Tries again in " + duration(Math.ceil(left / 1000) * 1000) : waiting.retry_at ? "Tries again now" : "Tries again soon";
    return [{ own: checked + next + ": " }, { foreign: waiting.reason }];
  }
  const [what, help] = WAITS[waiting.what] || [words(waiting.what)];
  const which = waiting.index !== undefined ? " " + waiting.index : waiting.what === "session" && waiting.peer ? " " + waiting.peer : "";
  return [{ own: checked + "Waits for " + what + which + ", for " + duration(waiting.since_ms) + ": " }, { foreign: waiting.reason },
    { own: help ? ". " + help : "" }];
}

// The buttons that help: their text, their action, whether they ask for confirmation, and which one is most likely to help.
function actions(status) {
  if (status.state === "complete") {
    const forget = { kind: "cancel", label: "Forget", ask: "Forget this entry? The payload stays.", yes: "Forget it" };
    return status.payload_path ? [{ kind: "copy", label: "Copy path" }, forget] : [forget];
  }
  const banned = sources(status).every((source) => source.state === "banned"), add = { kind: "add", label: "Add a source", field: "A peer\u2019s address or id, or a mirror\u2019s URL", yes: "Add it" };
  if (status.state === "failed") {
    const others = OTHERS_HELP.includes(status.error_code), resume = { kind: "resume", label: "Resume", main: !others };
    // While all sources are banned, the node refuses to resume the session.
    const both = banned ? [{ ...add, main: true }] : others ? [{ ...add, main: true }, resume] : [resume, add];
    return [...both, { kind: "cancel", label: "Discard", ask: "Discard it with what it has fetched?", yes: "Discard it" }];
  }
  const retry = status.state === "backing_off" || status.waiting_on?.what === "retry";
  const cancel = { kind: "cancel", label: "Cancel", ask: "Cancel, and drop what it has fetched?", yes: "Cancel it" };
  if (banned) return [{ ...add, main: true }, cancel];
  return retry ? [{ kind: "resume", label: "Try now", main: true }, add, cancel] : [add, cancel];
}

// A source in the form of the control plane: a URL is a mirror, anything else is a peer.
const sourceOf = (text) => (/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? { mirror: text } : { peer: text });

// The state of a source, in a few words. Text from others is marked.
function sourceParts(source) {
  const known = [words(source.state), bytes(source.bytes_verified), source.verified_bytes_per_second ? bytes(source.verified_bytes_per_second) + "/s" : null,
    source.protocol ? "protocol " + source.protocol.split("/").at(-1) : null, Number.isFinite(source.rtt_ms) ? Math.round(source.rtt_ms) + "\u00a0ms" : null,
    source.bytes_wasted ? bytes(source.bytes_wasted) + " in vain" : null];
  const flows = source.state === "active" && !source.error;
  const why = source.error || (flows ? "" : source.waiting_on?.reason) || "";
  return [{ own: known.filter(Boolean).join(" \u00b7 ") + (why ? ": " : "") }, { foreign: why }];
}

// The sources of a session: those that the status names, else the provider.
function sources(status) {
  if (Array.isArray(status.sources) && status.sources.length) return status.sources;
  // A download from any peer has no provider at first.
  return [{ source: status.peer || "anybody", kind: "peer", state: status.state, protocol: status.protocol, bytes_verified: status.bytes_verified,
    bytes_wasted: status.bytes_wasted, verified_bytes_per_second: status.verified_bytes_per_second, alone: true }];
}

// Rates of the last ten minutes, in buckets of five seconds. Time without a poll is a gap.
class History {
  constructor() { this.buckets = new Map(); }
  note(rate, now) {
    const bucket = Math.floor(now / BUCKET_MS), [sum, count] = this.buckets.get(bucket) || [0, 0];
    this.buckets.set(bucket, [sum + (rate || 0), count + 1]);
    for (const old of this.buckets.keys()) {
      if (old > bucket - BUCKETS) break;
      this.buckets.delete(old);
    }
  }
  points(now) {
    const last = Math.floor(now / BUCKET_MS);
    return Array.from({ length: BUCKETS }, (_, k) => {
      const bucket = this.buckets.get(last - BUCKETS + 1 + k);
      return bucket ? bucket[0] / bucket[1] : null;
    });
  }
  get peak() { return Math.max(0, ...[...this.buckets.values()].map(([sum, count]) => sum / count)); }
}

// The outline of a plot of `width` by `height`: one piece for each period without a gap.
function outline(points, peak, width, height) {
  const step = width / (points.length - 1), y = (rate) => height - 1 - (peak ? rate / peak : 0) * (height - 3);
  let line = "", area = "", open = -1;
  points.forEach((rate, k) => {
    const x = (k * step).toFixed(1);
    if (rate !== null) {
      const at = x + " " + y(rate).toFixed(1);
      line += (open < 0 ? "M" : "L") + at;
      area += (open < 0 ? "M" + x + " " + height + "L" : "L") + at;
      if (open < 0) open = k;
    }
    if (open >= 0 && (rate === null || k === points.length - 1)) {
      const end = rate === null ? ((k - 1) * step).toFixed(1) : x;
      area += "L" + end + " " + height + "Z";
      open = -1;
    }
  });
  return { line, area };
}
