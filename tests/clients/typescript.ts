// Uses the types of openapi-typescript through openapi-fetch.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

const client = createClient<paths>({
  baseUrl: process.env.RPP_URL!,
  headers: { Authorization: `Bearer ${process.env.RPP_TOKEN}` },
});
const peer = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

function must<T>(value: T | undefined, what: unknown): T {
  if (value === undefined) throw new Error(JSON.stringify(what));
  return value;
}

const identity = await client.GET("/p2p/identity");
must(identity.data, identity.error).publishers.map((key: string) => key.length);
const missing = await client.GET("/p2p/head");
if (missing.error?.code !== "no_head") throw new Error(JSON.stringify(missing));
const started = await client.POST("/p2p/snapshots", { body: { peer, chunk_size: 32768 } });
const status: components["schemas"]["SnapshotStreamStatus"] = must(started.data, started.error);
const session = status.session;
const events = await client.GET("/p2p/snapshots/{session}/events", { params: { path: { session } }, parseAs: "stream" });
const first = await must(events.data, events.error)!.getReader().read();
if (!new TextDecoder().decode(first.value as Uint8Array).startsWith("data:{")) throw new Error("no event");
const metrics = await client.GET("/metrics", { parseAs: "text" });
if (!must(metrics.data, metrics.error).includes("rpp_build_info")) throw new Error("no metrics");
const gone = await client.DELETE("/p2p/snapshots/{session}", { params: { path: { session } } });
if (gone.response.status !== 204) throw new Error(String(gone.response.status));
console.log("the client of openapi-typescript works");
process.exit(0);
