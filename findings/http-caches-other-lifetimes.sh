#!/usr/bin/env bash
# Five HTTP caches of npm and PyPI serve old answers whose headers say that they are over, and five parsers read Cache-Control otherwise.
#
# Guess: RFC 9111 (5.2) compares the names of Cache-Control regardless of case, and their values may be quoted; (5.2.3) a directive that a
# cache does not know is ignored, with its value; (5.3) where there is max-age, Expires is ignored; (4.2.3) an answer is as old as Age or Date
# says, whichever is more, for the origin's clock may be fast. RFC 8246 (2): immutable means something only while an answer is fresh. RFC
# 9110 (5.6.7): a recipient takes all three forms of a date, as UTC; (5.6.1.2) it ignores empty elements of a list. So all caches ask again,
# 2.5 s after their first request, wherever less than that is left.
#
# Seen 2026-11-30 in New York's zone, by the server's count. got is 14.6.6 with http-cache-semantics 4.3.0, which make-fetch-happen 15.0.6
# (npm's own client) uses, too; undici 7.30.2 asks again in all of these cases, hishel 2.0.0 (rfc=True) in all but that of Age:
#
#   from the cache, though not to be used   got  make-fetch-happen  axios-cache-interceptor 1.12.3  CacheControl 0.14.4  requests-cache 1.3.3
#   Max-Age=1, Expires in an hour           yes  yes                                                yes
#   max-age=1, x="a, max-age=3600, b"       yes  yes                yes                             yes                  yes
#   max-age=3600, Age: 7200, Date is now         yes                                                yes
#   the same, Date is 7200 s ago                 yes
#   max-age=1, immutable                                            yes
#   Expires an hour ago, as asctime         yes  yes                yes                                                  yes
#
#   Max-Age=60                              parse-cache-control 1.0.1, Werkzeug 3.1.9, WebOb 1.8.11: no max-age
#   max-age=60,,public                      parse-cache-control: nothing at all
#   max-age=60, x="a, max-age=5, b"         cache-parser 1.2.6, cache-control-parser 2.2.0: 5 (@tusbar/cache-control 3.0.1 reads all of it right)
#
# The documentation of requests-cache says that immutable has no end there, and does not name Age; hishel's says that it takes Date only.
#
# So a server writes the names of Cache-Control in small letters, sends max-age beside each Expires, and does not count on Age.
#
# Needs node with npm, python3 with venv, a minute, and network for the package registries; else traffic on loopback only. Exits 1 when
# anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . got@14.6.6 http-cache-semantics@4.3.0 make-fetch-happen@15.0.6 \
    axios@1.21.1 axios-cache-interceptor@1.12.3 cache-parser@1.2.6 undici@7.30.2 cache-control-parser@2.2.0 parse-cache-control@1.0.1 \
    @tusbar/cache-control@3.0.1 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check CacheControl==0.14.4 requests-cache==1.3.3 hishel==2.0.0 requests==2.34.2 \
    httpx==0.28.1 WebOb==1.8.11 Werkzeug==3.1.9
cat > cases.json <<'JSON'
[
  ["Cache-Control: max-age=3600"],
  ["Cache-Control: max-age=1"],
  ["Cache-Control: max-age=1", "Expires: +3600 IMF"],
  ["Cache-Control: Max-Age=1", "Expires: +3600 IMF"],
  ["Cache-Control: max-age=1, x=\"a, b\""],
  ["Cache-Control: max-age=1, x=\"a, max-age=3600, b\""],
  ["Cache-Control: max-age=3600", "Age: 1800"],
  ["Cache-Control: max-age=3600", "Age: 7200"],
  ["Date: -7200 IMF", "Cache-Control: max-age=3600", "Age: 7200"],
  ["Cache-Control: max-age=3600, immutable"],
  ["Cache-Control: max-age=1, immutable"],
  ["Expires: +3600 IMF"],
  ["Expires: -3600 IMF"],
  ["Expires: +3600 asctime"],
  ["Expires: -3600 asctime"]
]
JSON
cat > server.py <<'PY'
import collections, datetime, http.server, json
cases = json.load(open("cases.json"))
asked = collections.Counter()
CLIENTS = ["got", "make-fetch-happen", "axios-cache-interceptor", "undici", "CacheControl", "requests-cache", "hishel"]
FORMS = {"IMF": "%a, %d %b %Y %H:%M:%S GMT", "asctime": "%a %b %e %H:%M:%S %Y"}

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/asked":
            for number, lines in enumerate(cases):
                twice = [name for name in CLIENTS if asked[name, str(number)] == 2]
                once = [name for name in CLIENTS if asked[name, str(number)] == 1]
                print(*lines, sep=" | ")
                print("  asked again:", ", ".join(twice) or "nobody")
                print("  from the cache:", ", ".join(once) or "nobody", flush=True)
        who, case = self.path.split("/")[-2:]
        lines = cases[int(case)] if case.isdigit() else []
        if not any(line.startswith("Date:") for line in lines):
            lines = ["Date: +0 IMF", *lines]
        self.send_response_only(200)
        for line in lines:
            name, value = line.split(": ", 1)
            if name in ("Date", "Expires"):
                seconds, form = value.split()
                time = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=int(seconds))
                value = time.strftime(FORMS[form])
            self.send_header(name, value)
        asked[who, case] += 1
        body = "text"
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
open("port", "w").write(str(server.server_port))
server.serve_forever()
PY
cat > ask.mjs <<'JS'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { setTimeout } from 'node:timers/promises'
import axios from 'axios'
import { setupCache } from 'axios-cache-interceptor'
import got from 'got'
import { Agent, interceptors, request } from 'undici'
const url = `http://127.0.0.1:${readFileSync('port', 'utf8')}`
const fetch = createRequire(import.meta.url)('make-fetch-happen').defaults({ cachePath: 'cache' })
const cache = new Map()
const dispatcher = new Agent().compose(interceptors.cache())
const cached = setupCache(axios.create())
const clients = {
  got: url => got(url, { cache }).text(),
  'make-fetch-happen': async url => (await fetch(url)).text(),
  'axios-cache-interceptor': url => cached.get(url),
  undici: async url => (await request(url, { dispatcher })).body.text()
}
const cases = JSON.parse(readFileSync('cases.json'))
for (const turn of [1, 2]) {
  for (const [name, ask] of Object.entries(clients)) {
    for (const number of cases.keys()) {
      await ask(`${url}/${name}/${number}`)
    }
  }
  if (turn === 1) await setTimeout(2500)
}
process.exit()
JS
cat > ask.py <<'PY'
import json, time
import httpx, requests, requests_cache
from cachecontrol import CacheControl
from hishel.httpx import CacheTransport
url = f"http://127.0.0.1:{open('port').read()}"
clients = {
    "CacheControl": CacheControl(requests.Session()),
    "requests-cache": requests_cache.CachedSession(backend="memory", cache_control=True),
    "hishel": httpx.Client(transport=CacheTransport(httpx.HTTPTransport(), rfc=True)),
}
for turn in (1, 2):
    for name, client in clients.items():
        for number in range(len(json.load(open("cases.json")))):
            client.get(f"{url}/{name}/{number}")
    if turn == 1:
        time.sleep(2.5)
PY
cat > parse.mjs <<'JS'
import { createRequire } from 'node:module'
import { parse as tusbar } from '@tusbar/cache-control'
const require = createRequire(import.meta.url)
const parsers = {
  '@tusbar/cache-control': header => tusbar(header).maxAge,
  'cache-parser': header => require('cache-parser').parse(header).maxAge,
  'cache-control-parser': header => require('cache-control-parser').parse(header)['max-age'],
  'parse-cache-control': header => require('parse-cache-control')(header)?.['max-age']
}
for (const header of ['max-age=60', 'Max-Age=60', 'max-age=60,,public', 'max-age=60, x="a, b"', 'max-age=60, x="a, max-age=5, b"']) {
  console.log(`max-age of ${header} | ` + Object.entries(parsers).map(([name, parse]) => `${name} ${parse(header) ?? 'none'}`).join(', '))
}
JS
cat > parse.py <<'PY'
import webob
from werkzeug.datastructures import ResponseCacheControl
from werkzeug.http import parse_cache_control_header
for header in ("max-age=60", "Max-Age=60"):
    values = {"Werkzeug": parse_cache_control_header(header, cls=ResponseCacheControl).max_age}
    values["WebOb"] = webob.Response(headerlist=[("Cache-Control", header)]).cache_control.max_age
    print(f"max-age of {header} |", ", ".join(f"{name} {'none' if value is None else value}" for name, value in values.items()))
PY
export TZ=America/New_York
python3 server.py > asked &
server=$!
until [ -s port ]; do sleep 0.1; done
node ask.mjs
venv/bin/python ask.py
python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1])' "http://127.0.0.1:$(cat port)/asked"
{ cat asked; node parse.mjs; venv/bin/python parse.py; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
Cache-Control: max-age=3600
  asked again: nobody
  from the cache: got, make-fetch-happen, axios-cache-interceptor, undici, CacheControl, requests-cache, hishel
Cache-Control: max-age=1
  asked again: got, make-fetch-happen, axios-cache-interceptor, undici, CacheControl, requests-cache, hishel
  from the cache: nobody
Cache-Control: max-age=1 | Expires: +3600 IMF
  asked again: got, make-fetch-happen, axios-cache-interceptor, undici, CacheControl, requests-cache, hishel
  from the cache: nobody
Cache-Control: Max-Age=1 | Expires: +3600 IMF
  asked again: axios-cache-interceptor, undici, requests-cache, hishel
  from the cache: got, make-fetch-happen, CacheControl
Cache-Control: max-age=1, x="a, b"
  asked again: got, make-fetch-happen, axios-cache-interceptor, undici, CacheControl, requests-cache, hishel
  from the cache: nobody
Cache-Control: max-age=1, x="a, max-age=3600, b"
  asked again: undici, hishel
  from the cache: got, make-fetch-happen, axios-cache-interceptor, CacheControl, requests-cache
Cache-Control: max-age=3600 | Age: 1800
  asked again: nobody
  from the cache: got, make-fetch-happen, axios-cache-interceptor, undici, CacheControl, requests-cache, hishel
Cache-Control: max-age=3600 | Age: 7200
  asked again: got, axios-cache-interceptor, undici
  from the cache: make-fetch-happen, CacheControl, requests-cache, hishel
Date: -7200 IMF | Cache-Control: max-age=3600 | Age: 7200
  asked again: got, axios-cache-interceptor, undici, CacheControl, hishel
  from the cache: make-fetch-happen, requests-cache
Cache-Control: max-age=3600, immutable
  asked again: nobody
  from the cache: got, make-fetch-happen, axios-cache-interceptor, undici, CacheControl, requests-cache, hishel
Cache-Control: max-age=1, immutable
  asked again: got, make-fetch-happen, undici, CacheControl, hishel
  from the cache: axios-cache-interceptor, requests-cache
Expires: +3600 IMF
  asked again: nobody
  from the cache: got, make-fetch-happen, axios-cache-interceptor, undici, CacheControl, requests-cache, hishel
Expires: -3600 IMF
  asked again: got, make-fetch-happen, axios-cache-interceptor, undici, CacheControl, requests-cache, hishel
  from the cache: nobody
Expires: +3600 asctime
  asked again: nobody
  from the cache: got, make-fetch-happen, axios-cache-interceptor, undici, CacheControl, requests-cache, hishel
Expires: -3600 asctime
  asked again: undici, CacheControl, hishel
  from the cache: got, make-fetch-happen, axios-cache-interceptor, requests-cache
max-age of max-age=60 | @tusbar/cache-control 60, cache-parser 60, cache-control-parser 60, parse-cache-control 60
max-age of Max-Age=60 | @tusbar/cache-control 60, cache-parser 60, cache-control-parser 60, parse-cache-control none
max-age of max-age=60,,public | @tusbar/cache-control 60, cache-parser 60, cache-control-parser 60, parse-cache-control none
max-age of max-age=60, x="a, b" | @tusbar/cache-control 60, cache-parser 60, cache-control-parser 60, parse-cache-control 60
max-age of max-age=60, x="a, max-age=5, b" | @tusbar/cache-control 60, cache-parser 5, cache-control-parser 5, parse-cache-control 60
max-age of max-age=60 | Werkzeug 60, WebOb 60
max-age of Max-Age=60 | Werkzeug none, WebOb none
SEEN
