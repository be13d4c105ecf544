#!/usr/bin/env bash
# requests and httpx cut the address of a Link header at a ";", http-link-header loses links, and others read other valid headers wrongly.
#
# Guess: a Link header (RFC 8288, section 3) names mirrors of a file (RFC 6249, section 3) or the next page of a list, and every library
# gets the same addresses out of it.
#
# Seen with valid headers of a server on loopback, 2026-11-30, none with an error; weblinking 1.0.0 (PyPI) reads all of them correctly:
#
#   a path with a ";" (RFC 3986, 3.3)                 requests 2.34.2, httpx 0.28.1: the address ends before the ";", which is an
#                                                     address of something else
#   a blank before the "," between two links          http-link-header 1.1.4: the second link is lost, it becomes a parameter of
#   (RFC 9110, 5.6.1.1: OWS)                          the first
#   a parameter without a value before rel            requests, httpx, http-link-header, li 1.3.0: a link without rel
#   (RFC 8288, 3: "=" and the value are optional)
#   the parameter in capitals, REL=next               requests, httpx, aiohttp 3.14.5, li: a link without rel; parse-link-header
#   (RFC 8288, 3: names are case-insensitive)         2.0.0, linkheader-parser 0.1.2: no link
#   two relations, rel="next last" (RFC 8288, 3.3)    requests, httpx, aiohttp: one relation with the name "next last"
#   a title with "; rel=prev" (RFC 9110, 5.6.4)       aiohttp: the relation is prev" instead of next
#   two mirrors, both rel=duplicate                   requests, httpx (their `links`), parse-link-header: the last one only
#
# So a server that wants to be understood writes no blank before a comma or a semicolon, rel as the first parameter, in small letters and
# with one relation, no parameter without a value, and "%3B" for ";" in its own paths; a client that needs all mirrors reads
# the header itself.
#
# Needs python3 with venv, node with npm, and network for the two package registries; else traffic on loopback only. Exits 1 when anything
# of this changes.
set -euo pipefail
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check requests==2.34.2 httpx==0.28.1 aiohttp==3.14.5 weblinking==1.0.0
npm install --silent --no-audit --no-fund --ignore-scripts --prefix js http-link-header@1.1.4 parse-link-header@2.0.0 li@1.3.0 \
    linkheader-parser@0.1.2 >/dev/null
# Name of the case, the links that the header has (relation and address), the header.
cat > cases.json <<'CASES'
[
  ["semicolon", [["next", "http://m.example/a;v=1/s.car"]], "<http://m.example/a;v=1/s.car>; rel=\"next\""],
  ["blank", [["next", "http://m.example/a"], ["prev", "http://m.example/b"]],
    "<http://m.example/a>; rel=\"next\" , <http://m.example/b>; rel=\"prev\""],
  ["no-value", [["next", "http://m.example/a"]], "<http://m.example/a>; crossorigin; rel=next"],
  ["capitals", [["next", "http://m.example/a"]], "<http://m.example/a>; REL=next"],
  ["two-relations", [["last", "http://m.example/a"], ["next", "http://m.example/a"]], "<http://m.example/a>; rel=\"next last\""],
  ["title", [["next", "http://m.example/a"]], "<http://m.example/a>; title=\"one; rel=prev\"; rel=\"next\""],
  ["mirrors", [["duplicate", "http://m.example/a"], ["duplicate", "http://n.example/a"]],
    "<http://m.example/a>; rel=duplicate, <http://n.example/a>; rel=duplicate"]
]
CASES
cat > server.py <<'PY'
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
headers = {name: header for name, _, header in json.load(open("cases.json"))}
class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_GET(self):
        self.send_response(200)
        self.send_header("Link", headers[self.path[1:]])
        self.send_header("Content-Length", "0")
        self.end_headers()
server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
PY
python3 server.py > port 2>/dev/null & pids+=($!)
for _ in $(seq 100); do [ -s port ] && break; sleep 0.1; done
url=http://127.0.0.1:$(cat port)

cat > read.py <<'PY'
import asyncio, json, sys
import aiohttp, httpx, requests, weblinking
url = sys.argv[1]
async def with_aiohttp(address):
    async with aiohttp.ClientSession() as session, session.get(address) as answer:
        return [(name, str(link["url"])) for name, link in answer.links.items()]
def with_weblinking(address):
    links = weblinking.parse(requests.get(address).headers["Link"])
    return [(name, link.uri) for link in links for name in link.rels]
libraries = {
    "requests": lambda address: [(name, link["url"]) for name, link in requests.get(address).links.items()],
    "httpx": lambda address: [(name, link["url"]) for name, link in httpx.get(address).links.items()],
    "aiohttp": lambda address: asyncio.run(with_aiohttp(address)),
    "weblinking": with_weblinking,
}
for case, links, _ in json.load(open("cases.json")):
    for library, read in libraries.items():
        found = sorted([name, target] for name, target in read(f"{url}/{case}"))
        # A link without rel stands under its address.
        print(case, library, "right" if found == links else
              "; ".join("no rel " + target if name == target else name + " " + target for name, target in found))
PY
cat > js/read.mjs <<'JS'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
const require = createRequire(import.meta.url)
const LinkHeader = require('http-link-header')
const li = require('li')
const parseLinkHeader = require('parse-link-header')
const linkheaderParser = require('linkheader-parser')
const libraries = {
  'http-link-header': header => LinkHeader.parse(header).refs.map(link => [link.rel, link.uri]),
  'parse-link-header': header => Object.entries(parseLinkHeader(header)).map(([name, link]) => [name, link.url]),
  li: header => li.parse(header, { extended: true }).flatMap(link => (link.rel ?? [undefined]).map(name => [name, link.link])),
  'linkheader-parser': header => Object.entries((linkheaderParser.parse ?? linkheaderParser)(header))
    .flatMap(([name, links]) => [links].flat().map(link => [name, link.href]))
}
for (const [name, links] of JSON.parse(readFileSync('cases.json', 'utf8'))) {
  const header = (await fetch(`${process.argv[2]}/${name}`)).headers.get('link')
  for (const [library, read] of Object.entries(libraries)) {
    const found = read(header).sort()
    const told = found.map(([name, target]) => `${name ?? 'no rel'} ${target}`).join('; ')
    console.log(name, library, JSON.stringify(found) === JSON.stringify(links) ? 'right' : told || 'nothing')
  }
}
JS
{ venv/bin/python read.py "$url"; node js/read.mjs "$url"; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
semicolon requests next http://m.example/a
semicolon httpx next http://m.example/a
semicolon aiohttp right
semicolon weblinking right
blank requests right
blank httpx right
blank aiohttp right
blank weblinking right
no-value requests no rel http://m.example/a
no-value httpx no rel http://m.example/a
no-value aiohttp right
no-value weblinking right
capitals requests no rel http://m.example/a
capitals httpx no rel http://m.example/a
capitals aiohttp no rel http://m.example/a
capitals weblinking right
two-relations requests next last http://m.example/a
two-relations httpx next last http://m.example/a
two-relations aiohttp next last http://m.example/a
two-relations weblinking right
title requests right
title httpx right
title aiohttp prev" http://m.example/a
title weblinking right
mirrors requests duplicate http://n.example/a
mirrors httpx duplicate http://n.example/a
mirrors aiohttp right
mirrors weblinking right
semicolon http-link-header right
semicolon parse-link-header right
semicolon li right
semicolon linkheader-parser right
blank http-link-header next http://m.example/a
blank parse-link-header right
blank li right
blank linkheader-parser right
no-value http-link-header no rel http://m.example/a
no-value parse-link-header right
no-value li no rel http://m.example/a
no-value linkheader-parser right
capitals http-link-header right
capitals parse-link-header nothing
capitals li no rel http://m.example/a
capitals linkheader-parser nothing
two-relations http-link-header right
two-relations parse-link-header right
two-relations li right
two-relations linkheader-parser right
title http-link-header right
title parse-link-header right
title li right
title linkheader-parser right
mirrors http-link-header right
mirrors parse-link-header duplicate http://n.example/a
mirrors li right
mirrors linkheader-parser right
SEEN
