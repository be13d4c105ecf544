// Made-up answers of a node, for pictures and for what a real node does not say on demand: 200 downloads, text like markup.

const PEERS = ["12D3KooWGjLmW1BoGWE2fvTUrXVqXCvK8Yd2jGVHYiFDy5vQpQg6", "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN",
  "12D3KooWQnzMtNsnCStALsiTWFN5v2n3BcZFPqGvuFEZ5v4xAbCd"];
const VERSION = process.env.RPP_VERSION;
const GIB = 2 ** 30, MIB = 2 ** 20, BEGUN = Date.now();
const ago = (seconds) => new Date(BEGUN - seconds * 1000).toISOString();
const root = (n) => (BigInt(n + 7) * 0x9e3779b97f4a7c15f39cc0605cedc835n * 0x2545f4914f6cdd1d5851f42d4c957f2dn).toString(16).padStart(64, "a").slice(-64);

// Text that turns directions, colours terminals, and is long.
const LONG = "\u202e\u2066\u001b[31m" + "immeasurable".repeat(40);

// Text that would be visible if it were taken for markup.
export const MARKUP = "<b id=bold>bold</b><img src=x onerror=\"window.changed = true\"> \u05d0\u05d1\u05d2";

const KINDS = ["streaming", "several", "backing_off", "verifying", "slow", "failed", "complete", "paused", "connecting"];

// Only figures change with `moment`, which counts up.
function status(n, moment) {
  const kind = KINDS[n % KINDS.length], total = [8 * GIB, 3 * GIB, GIB, 512 * MIB, 6 * GIB, 40 * GIB, 2 * GIB, 700 * MIB, 0][n % 9];
  const one = { session: 4711 + n, peer: PEERS[n % 3], state: kind, bytes_received: 0, bytes_verified: 0, bytes_durable: 0, bytes_wasted: 0,
    verified: false, waiting_on: null, error: null, error_code: null, payload_path: null, started_at: ago(60 + n), updated_at: ago(0) };
  if (total) Object.assign(one, { root: root(n), plan_id: root(n + 1), format: n % 2 ? "tar" : "raw", height: 1200 + n, chunk_size: MIB,
    total_chunks: total / MIB, total_updates: 11, total_bytes: total, protocol: `/rpp/snapshots/${1 + n % 2}.0.0` });
  const at = (share, behind = 0, ahead = 0) => Object.assign(one, { bytes_verified: Math.floor(total * share),
    bytes_durable: Math.floor(total * (share - behind)), bytes_received: Math.floor(total * (share + ahead)) });
  const flow = (rate, share) => {
    at(share, 0.03, 0.02);
    const now = Math.floor(rate * (1 + 0.3 * Math.sin(moment / 3 + n) + 0.05 * Math.sin(moment * 7)));
    Object.assign(one, { state: "streaming", verified_bytes_per_second: now, eta_seconds: (total - one.bytes_verified) / now, tries: 1,
      waiting_on: { what: "chunk", index: Math.floor(one.bytes_verified / MIB), peer: one.peer, since_ms: 14, reason: "asked, not answered yet" } });
  };
  const waits = (what, since_ms, reason, more = {}) => { one.waiting_on = { what, since_ms, reason, ...more }; };
  switch (kind) {
    case "streaming": flow(96 * MIB, 0.43 + moment * 0.002); break;
    case "several":
      flow(41 * MIB, 0.62 + moment * 0.002);
      one.sources = [[PEERS[0], "peer", "active", 0.6, 0.55], [PEERS[1], "peer", "slow", 0.1, 0.04], ["https://mirror.example/snapshots", "mirror", "active", 0.3, 0.41]]
        .map(([source, kindOf, state, share, speed]) => ({ source, kind: kindOf, state, protocol: kindOf === "peer" ? "/rpp/snapshots/2.0.0" : undefined, error: null,
          bytes_verified: Math.floor(one.bytes_verified * share), bytes_wasted: state === "slow" ? 3 * MIB : 0, verified_bytes_per_second: Math.floor(one.verified_bytes_per_second * speed) }));
      break;
    case "slow": flow(90 * 1024, 0.12); waits("chunk", 17000 + moment * 1000, "asked, not answered yet; the connection is up", { index: 737 }); break;
    case "backing_off":
      at(0.71, 0, 0.01);
      waits("retry", 7300, "the connection to the provider was lost: connection reset by peer", { retry_at: new Date(BEGUN + 9000).toISOString() });
      Object.assign(one, { tries: 4, bytes_wasted: 2 * MIB, error: "connection reset by peer", error_code: "network" });
      break;
    case "verifying": at(1); waits("proof", 380, "chain, signatures and proof are being checked"); break;
    case "failed": at(0.31); Object.assign(one, { error: "chunk 12697 does not match the root", error_code: "checksum" }); break;
    case "complete": at(1); Object.assign(one, { verified: true, payload_path: `/var/lib/rpp-node/data/snapshots/store/${one.root}/payload` }); break;
    case "paused": at(0.05); waits("disk", 64000, "700 MiB are needed below /var/lib/rpp-node/data, 212 MiB are free"); break;
    default: waits("connection", 3100, "dialling /ip4/10.0.0.7/tcp/4001: no answer yet", { peer: one.peer });
  }
  return one;
}

export function answers({ downloads = 9, markup = false, long = false } = {}) {
  let moment = 0;
  const others = markup ? MARKUP : long ? LONG : undefined;
  return {
    step() { moment += 1; },
    "/p2p/snapshots": () => Array.from({ length: downloads }, (_, n) => status(n, moment)).map((one) => {
      if (!others) return one;
      if (one.error) one.error = others;
      if (one.waiting_on) one.waiting_on.reason = others;
      for (const source of one.sources || []) source.error = others;
      return one;
    }),
    "/p2p/peers": () => PEERS.map((peer_id, n) => ({ peer_id, connected: n < 2, addresses: [], protocols: [], rtt_ms: n < 2 ? 12.3 + 160 * n + (moment % 3) : null,
      agent: n < 2 ? others || `rpp-node/${VERSION}` : null, ...(n < 2 ? { bytes_received: 4 * GIB / (1 + n) + moment * 96 * MIB, bytes_sent: 3 * MIB + moment } : {}) })),
    "/p2p/offers": () => [0, 1].map((n) => ({ root: root(n ? 50 : 60), height: 1210 - 11 * n, step: 17 - n, bytes: (4 + n) * GIB, format: "tar",
      peers: PEERS.slice(0, 2 - n), seen_at: ago(20) })),
    "/p2p/bans": () => [{ source: PEERS[1], kind: "peer", since: ago(190), until: ago(-410), count: 1, evidence: [{ at: ago(190), session: 4716, kind: "chunk",
      index: 12697, expected: root(1), received: root(2), length: MIB, reason: others || "chunk 12697 does not verify" }] }],
    "/p2p/limits": () => ({ download_bytes_per_second: 0, upload_bytes_per_second: 20 * MIB, upload_bytes_per_second_per_peer: 5 * MIB, persistent: true }),
    "/p2p/identity": () => ({ peer_id: PEERS[2], version: VERSION, genesis: root(99), publishers: [],
      listen: [`/ip4/10.0.0.9/tcp/4001/p2p/${PEERS[2]}`, `/ip4/10.0.0.9/udp/4001/quic-v1/p2p/${PEERS[2]}`],
      snapshots: [0, 1, 2].map((n) => ({ root: root(50 + n), height: 1199 - n, bytes: (n + 1) * 730 * MIB, format: n % 2 ? "tar" : "raw" })) }),
    "/p2p/head": () => ({ step: 17, height: 1210, block_hash: root(1), state_root: root(2), commitment: root(3) }),
    "/p2p/events": () => [["peer_connected", { peer: PEERS[0] }, 700], ["state", { session: 4717, state: "complete" }, 420],
      ["violation", { peer: PEERS[1], reason: others || "a chunk that does not match the root" }, 190],
      ["state", { session: 4716, state: "failed", reason: others || "chunk 12697 does not match the root" }, 189],
      ["peer_disconnected", { peer: PEERS[2] }, 95], ["state", { session: 4711, state: "streaming" }, 62]]
      .map(([event, more, seconds], seq) => ({ seq, at: ago(seconds), event, ...more })),
    "/readyz": () => ({ status: "ok" }),
  };
}
