#!/usr/bin/env bash
# Valid pages in Prometheus' text format: promtool accepts pages that Prometheus of the same version refuses, and other readers differ again.
#
# Guess: what `promtool check metrics` parses is scraped by the Prometheus it comes with, and a valid page has one meaning: blanks and tabs
# around tokens do not matter, a line that starts with "#" is a comment unless HELP or TYPE follows, a timestamp is an int64.
#
# Seen with Prometheus 2.42.0 (Debian 12), prometheus_client 0.26.0 (Python) and parse-prometheus-text-format 1.1.1 (npm),
# 2026-11-28. The names of the samples that each gets out of a page with one sample `m`:
#
#   page                          promtool   Prometheus    Python    npm
#   blanks before the sample      passes     refuses all   m         m
#   a blank after the sample      refuses    m             m         m
#   tabs in the TYPE line         passes     refuses all   m         m and one named #
#   a time before 1970            passes     refuses all   m         m
#   comments without a blank      passes     m             m         m and two named #no and #
#   HELP without a text           passes     m             m         refuses all
#   a counter named m             passes     m             m_total   m
#   tabs around the labels        passes     m             m         refuses all
#
# So an exporter that all of them can read writes one blank between tokens and none elsewhere, a text in every HELP, no comments
# but HELP and TYPE, and `_total` at the end of each counter's name; and promtool does not test this.
#
# Needs Debian's apt-get, python3 with venv, node and npm; traffic on loopback only. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
chmod 755 .
apt-get download -q prometheus=2.42.0+ds-5+deb12u1 >/dev/null 2>&1
dpkg -x prometheus_*.deb root
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check prometheus_client==0.26.0
npm install --silent --no-audit --no-fund --prefix js parse-prometheus-text-format@1.1.1 >/dev/null
cat > pages.json <<'JSON'
{
  "blanks before": "  m 1\n",
  "blank after": "m 1 \n",
  "tabs in TYPE": "#\tTYPE  m\t gauge\nm 1\n",
  "before 1970": "m 1 -1000\n",
  "comments": "#no blank\n#\nm 1\n",
  "HELP alone": "# HELP m\n# TYPE m gauge\nm 1\n",
  "counter": "# TYPE m counter\nm 1\n",
  "tabs around labels": "m\t{ a = \"b\" , }\t1\n"
}
JSON
cat > js/read.mjs <<'JS'
import fs from 'node:fs'
import parse from 'parse-prometheus-text-format'
for (const text of Object.values(JSON.parse(fs.readFileSync('pages.json', 'utf8')))) {
  try { console.log(parse(text).flatMap(family => family.metrics.map(() => family.name)).join(' ')) } catch { console.log('refuses') }
}
JS
node js/read.mjs > js.read
cat > read.py <<'PY'
import json, subprocess, threading, time, urllib.parse, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from prometheus_client.parser import text_string_to_metric_families as families
pages = json.load(open("pages.json"))
texts = list(pages.values())

class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.end_headers()
        self.wfile.write(texts[int(self.path[1:])].encode())

def python(text):
    try:
        return " ".join(sample.name for family in families(text) for sample in family.samples)
    except ValueError:
        return "refuses"

def promtool(text):
    code = subprocess.run(["root/usr/bin/promtool", "check", "metrics"], input=text.encode(), capture_output=True).returncode
    return {0: "passes", 3: "passes", 1: "refuses"}[code]  # 3: it has style advice

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
jobs = [{"job_name": str(index), "metrics_path": f"/{index}", "static_configs": [{"targets": [f"127.0.0.1:{server.server_port}"]}]}
        for index in range(len(texts))]
json.dump({"global": {"scrape_interval": "5s", "scrape_timeout": "5s"}, "scrape_configs": jobs}, open("prometheus.yml", "w"))
with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as free:
    port = free.server_port
process = subprocess.Popen(["root/usr/bin/prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                            f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
def ask(path):
    return json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10))["data"]
try:
    for _ in range(600):
        time.sleep(0.2)
        try:
            targets = ask("/api/v1/targets")["activeTargets"]
        except OSError:
            continue
        if len(targets) == len(texts) and all(target["health"] != "unknown" for target in targets):
            break
    health = {target["labels"]["job"]: target["health"] for target in targets}
    scraped = []
    for index in range(len(texts)):
        query = urllib.parse.quote(f'{{job="{index}",__name__!~"up|scrape_.*"}}')
        found = ask(f"/api/v1/query?query={query}")["result"]
        scraped.append("refuses" if health[str(index)] == "down" else " ".join(one["metric"]["__name__"] for one in found))
finally:
    process.terminate()
    process.wait()
for name, text, prometheus, npm in zip(pages, texts, scraped, open("js.read").read().splitlines()):
    print(f"{name}: promtool {promtool(text)}, Prometheus {prometheus}, Python {python(text)}, npm {npm}")
PY
venv/bin/python read.py | tee seen
diff seen - <<'SEEN' && echo "as it was"
blanks before: promtool passes, Prometheus refuses, Python m, npm m
blank after: promtool refuses, Prometheus m, Python m, npm m
tabs in TYPE: promtool passes, Prometheus refuses, Python m, npm # m
before 1970: promtool passes, Prometheus refuses, Python m, npm m
comments: promtool passes, Prometheus m, Python m, npm #no # m
HELP alone: promtool passes, Prometheus m, Python m, npm refuses
counter: promtool passes, Prometheus m, Python m_total, npm m
tabs around labels: promtool passes, Prometheus m, Python m, npm refuses
SEEN
