#!/usr/bin/env bash
# Six clients of server-sent events read wrong events from valid streams.
#
# Guess: the format is small and has one specification (HTML, section 9.2.6), so that clients differ in how they reconnect, but not in
# which events they take out of a stream.
#
# Seen 2026-11-28 with httpx-sse 0.4.3, sseclient-py 1.9.0 (Python), eventsource 4.1.1, undici 7.30.2, launchdarkly-eventsource 2.2.0
# and @microsoft/fetch-event-source 2.0.1 (npm):
#
#   bom       a byte order mark, then an event: httpx-sse and sseclient-py lose it
#   cr        line ends of CR alone: eventsource keeps an event back until another byte comes, so at the end it loses one
#   id        an event without an id has that of the one before: not in sseclient-py, eventsource and fetch-event-source
#   half      an event that the stream's end cuts off is none: sseclient-py hands it out
#   nodata    a block without data is no event: it is one for httpx-sse and fetch-event-source
#   empty     two empty data lines are one line feed: nothing for fetch-event-source
#   bookmark  a block with an id alone moves the place to go on from: of the three that reconnect by themselves only undici sends it
#
# undici alone is right in all of them. So a server should end lines with LF, write no mark at the start, give every event an id
# and data, and send no block without data as a bookmark. With sseclient-py, an event that was cut off cannot be recognised.
#
# Needs python3 with venv, node 20 or later and npm; traffic on loopback only. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check httpx==0.28.1 httpx-sse==0.4.3 requests==2.34.2 sseclient-py==1.9.0
mkdir js
npm install --silent --no-audit --no-fund --prefix js eventsource@4.1.1 undici@7.30.2 launchdarkly-eventsource@2.2.0 \
    @microsoft/fetch-event-source@2.0.1 >/dev/null
cat > server.py <<'PY'
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
STREAMS = {
    "bom": "\ufeffdata: a\n\n",
    "cr": "data: a\r\rdata: b\r\r",
    "id": "id: 1\ndata: a\n\ndata: b\n\n",
    "half": "data: a\n\ndata: b\n",
    "nodata": "event: x\n\ndata: a\n\n",
    "empty": "data:\ndata:\n\n",
}
asked = {}
class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_GET(self):
        part = self.path[1:].split("/")
        if part[0] == "asked":
            said = asked.get(part[1], [])
            text = said[1] if len(said) > 1 else "not yet"
        elif part[0] == "bookmark":
            said = asked.setdefault(part[1], [])
            said.append(self.headers.get("Last-Event-ID", "none"))
            text = "retry: 100\n\nid: 7\n\n" if len(said) == 1 else ""
        else:
            text = STREAMS[part[0]]
        self.send_response(200 if text else 204)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(text.encode())
if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
PY
cat > clients.py <<'PY'
import json, sys
import httpx, httpx_sse, requests, sseclient
from server import STREAMS
base = sys.argv[1]

def by_httpx(url):
    with httpx.Client() as client, httpx_sse.connect_sse(client, "GET", url) as stream:
        return [[event.data, event.id] for event in stream.iter_sse()]

def by_sseclient(url):
    return [[event.data, event.id or ""] for event in sseclient.SSEClient(requests.get(url, stream=True)).events()]

for name, client in ("httpx-sse", by_httpx), ("sseclient-py", by_sseclient):
    for stream in STREAMS:
        print(f"{stream}\t{name}\t{json.dumps(client(base + stream), separators=(',', ':'))}")
PY
cat > js/clients.mjs <<'JS'
import { EventSource } from 'eventsource'
import { EventSource as Undici } from 'undici'
import launchdarkly from 'launchdarkly-eventsource'
import { fetchEventSource } from '@microsoft/fetch-event-source'
const [base, ...streams] = process.argv.slice(2)
const classes = { eventsource: EventSource, undici: Undici, 'launchdarkly-eventsource': launchdarkly.EventSource }
const print = (stream, name, events) => console.log(`${stream}\t${name}\t${JSON.stringify(events)}`)
// They reconnect when the stream has ended, and say so with an event.
const until = (Class, url) => new Promise(resolve => {
  const events = []
  const source = new Class(url)
  for (const kind of ['message', 'x']) source.addEventListener(kind, ({ data, lastEventId }) => events.push([data, lastEventId]))
  for (const kind of ['error', 'end', 'retrying']) source.addEventListener(kind, () => { source.close(); resolve(events) })
})
for (const [name, Class] of Object.entries(classes)) {
  for (const stream of streams) print(stream, name, await until(Class, base + stream))
  const source = new Class(`${base}bookmark/${name}`)
  source.onerror = () => {}
  let said
  do {
    await new Promise(resolve => setTimeout(resolve, 100))
    said = await (await fetch(`${base}asked/${name}`)).text()
  } while (said === 'not yet')
  source.close()
  print('bookmark', name, said)
}
globalThis.document = { addEventListener () {}, removeEventListener () {}, hidden: false }
globalThis.window = globalThis
for (const stream of streams) {
  const events = []
  await fetchEventSource(base + stream, { openWhenHidden: true, fetch, onmessage: ({ data, id }) => events.push([data, id]) })
  print(stream, 'fetch-event-source', events)
}
process.exit(0)
JS
python3 server.py > port 2>/dev/null & pids+=($!)
for _ in $(seq 100); do [ -s port ] && break; sleep 0.1; done
base=http://127.0.0.1:$(cat port)/
{
    venv/bin/python clients.py "$base"
    timeout 120 node --no-warnings js/clients.mjs "$base" bom cr id half nodata empty
} | LC_ALL=C sort | tee seen
diff seen - <<'SEEN' && echo "as it was"
bom	eventsource	[["a",""]]
bom	fetch-event-source	[["a",""]]
bom	httpx-sse	[]
bom	launchdarkly-eventsource	[["a",""]]
bom	sseclient-py	[]
bom	undici	[["a",""]]
bookmark	eventsource	"none"
bookmark	launchdarkly-eventsource	"none"
bookmark	undici	"7"
cr	eventsource	[["a",""]]
cr	fetch-event-source	[["a",""],["b",""]]
cr	httpx-sse	[["a",""],["b",""]]
cr	launchdarkly-eventsource	[["a",""],["b",""]]
cr	sseclient-py	[["a",""],["b",""]]
cr	undici	[["a",""],["b",""]]
empty	eventsource	[["\n",""]]
empty	fetch-event-source	[["",""]]
empty	httpx-sse	[["\n",""]]
empty	launchdarkly-eventsource	[["\n",""]]
empty	sseclient-py	[["\n",""]]
empty	undici	[["\n",""]]
half	eventsource	[["a",""]]
half	fetch-event-source	[["a",""]]
half	httpx-sse	[["a",""]]
half	launchdarkly-eventsource	[["a",""]]
half	sseclient-py	[["a",""],["b",""]]
half	undici	[["a",""]]
id	eventsource	[["a","1"],["b",""]]
id	fetch-event-source	[["a","1"],["b",""]]
id	httpx-sse	[["a","1"],["b","1"]]
id	launchdarkly-eventsource	[["a","1"],["b","1"]]
id	sseclient-py	[["a","1"],["b",""]]
id	undici	[["a","1"],["b","1"]]
nodata	eventsource	[["a",""]]
nodata	fetch-event-source	[["",""],["a",""]]
nodata	httpx-sse	[["",""],["a",""]]
nodata	launchdarkly-eventsource	[["a",""]]
nodata	sseclient-py	[["a",""]]
nodata	undici	[["a",""]]
SEEN
