// Uses the client of hey-api.
import { client } from "./client/client.gen";
import {
  cancelSnapshotStream,
  getHead,
  getIdentity,
  getMetrics,
  getSnapshotStream,
  startOrResumeSnapshotStream,
  watchSnapshotStream,
} from "./client";

client.setConfig({ baseUrl: process.env.RPP_URL!, auth: process.env.RPP_TOKEN! });
const peer = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

function must<T>(value: T | undefined, what: unknown): T {
  if (value === undefined) throw new Error(JSON.stringify(what));
  return value;
}

const identity = await getIdentity();
must(identity.data, identity.error).snapshots.map((snapshot) => snapshot.height);
const missing = await getHead();
if (missing.error?.code !== "no_head") throw new Error(JSON.stringify(missing));
const started = await startOrResumeSnapshotStream({ body: { peer, chunk_size: 32768 } });
const session = must(started.data, started.error).session;
const again = await startOrResumeSnapshotStream({ body: { resume: { session } } });
if (must(again.data, again.error).session !== session) throw new Error("another session");
const status = await getSnapshotStream({ path: { session } });
must(status.data, status.error).waiting_on?.reason;
const { stream } = await watchSnapshotStream({ path: { session } });
for await (const event of stream) {
  if (!JSON.stringify(event).includes(`"session":${session}`)) throw new Error(JSON.stringify(event));
  break;
}
const metrics = await getMetrics({ parseAs: "text" });
if (!must(metrics.data, metrics.error).includes("rpp_build_info")) throw new Error("no metrics");
const gone = await cancelSnapshotStream({ path: { session } });
if (gone.response?.status !== 204) throw new Error(String(gone.response?.status));
console.log("the client of hey-api works");
process.exit(0);
