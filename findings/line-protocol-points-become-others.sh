#!/usr/bin/env bash
# Writers of InfluxDB's line protocol, those of InfluxData among them, write other texts, numbers and times than they are given.
#
# Guess: in InfluxDB's reference of the line protocol ("Special Characters", "Escaping backslashes") a writer puts a backslash before each
# double quote and each backslash of a text, and two backslashes in a text are read as one; a backslash before another character is a
# backslash, and a comma or a blank in a text is itself. ("Float") 64 bits. ("Boolean", "Integer") a value without quotes is no text. ("Unix
# timestamp") the time may be before 1970, in ns or in the precision that is asked for. So every writer's line says what it was given.
#
# Seen 2026-11-30, read with line-protocol-parser 2.0.1 of PyPI, and no error (InfluxDB 1.6.7 of Debian reads these lines the same way):
#
#   times of whole ms or us, a DataFrame    influxdb-client 1.50.0 and influxdb3-python 0.21.0 (with the precision "ms" or "us"): one in
#                                           eight whole milliseconds is 1 ms (1 us) too early, so the point of 2 ms replaces that of 1 ms
#   a text "yes ,no" in a DataFrame         both: "yes no", if the first column has an empty cell anywhere
#   times of a DataFrame                    influxdb 5.3.2 with pandas 3.1.1: January 1970, since it takes microseconds for nanoseconds
#   a time without a zone (UTC) in summer   aioinflux 0.9.0: an hour too early in a zone with summer time
#   1.5 s before 1970                       aioinflux: 0.5 s before 1970
#   1234567.5                               influx-line-protocol 0.1.5: 1234570, six digits of every float
#   a text "a b, c"                         influx-line 1.0.0: with a backslash before each blank, comma, equals sign
#   a text "\\host\share"                   influx-line, pytelegraf 0.3.3, influxdb for a DataFrame, and telegrafjs 0.1.3, influxdb-lite
#                                           1.1.0, influxdb-v1 1.0.4 and influxdb-nodejs 3.1.0 of npm: "\host\share"
#   a text "it\'s"                          influx 5.12.0 of npm: with two backslashes
#   texts "12i", "t", "False"               influxdb-nodejs: the integer 12, true, false
#
# The reader pyilpp 0.1.0 of PyPI loses the backslash of "C:\x" and a blank at the start of a text, makes blanks of a tab, and reads a line
# as no line at all if a tag's value starts with "_". So times go out as integers in ns, one point at a time, and texts without backslashes.
#
# Needs node with npm, python3 with venv, two minutes, and network for the package registries; serves on loopback only. Exits 1 when
# anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . influx@5.12.0 @influxdata/influxdb-client@1.35.0 telegrafjs@0.1.3 \
    influxdb-lite@1.1.0 influxdb-v1@1.0.4 influxdb-nodejs@3.1.0 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check influxdb-client==1.50.0 influxdb3-python==0.21.0 influxdb==5.3.2 pandas==3.1.1 \
    aioinflux==0.9.0 influx-line-protocol==0.1.5 influx-line==1.0.0 pytelegraf==0.3.3 line-protocol-parser==2.0.1 pyilpp==0.1.0
cat > texts.json <<'JSON'
["yes, no", "a b, c", "\\\\host\\share", "it\\'s", "12i", "t", "False"]
JSON
cat > write.cjs <<'JS'
const { readFileSync } = require('node:fs')
const { createServer } = require('node:http')
const { InfluxDB } = require('influx')
const { Point } = require('@influxdata/influxdb-client')
const { Measurement } = require('telegrafjs')
const Client = require('influxdb-nodejs')
require('node:events').defaultMaxListeners = 0
let body
const server = createServer((request, response) => {
  body = ''
  request.on('data', data => { body += data })
  request.on('end', () => response.writeHead(204).end())
})
server.listen(0, '127.0.0.1', async () => {
  const { port } = server.address()
  const url = `http://127.0.0.1:${port}`
  const influx = new InfluxDB({ host: '127.0.0.1', port, database: 'd' })
  const client = new Client(`${url}/d`)
  const point = f => ({ measurement: 'm', fields: { f }, timestamp: 1 })
  const writers = {
    '@influxdata/influxdb-client (npm)': f => { body = new Point('m').stringField('f', f).timestamp('1').toLineProtocol() },
    influx: f => influx.writePoints([point(f)]),
    telegrafjs: f => { body = `${new Measurement('m', {}, { f }, 1)}` },
    'influxdb-lite': f => require('influxdb-lite').write({ url, db: 'd' }, point(f)),
    'influxdb-v1': f => require('influxdb-v1').write({ url, db: 'd' }, point(f)),
    'influxdb-nodejs': f => client.write('m').field({ f }).time(1, 'ns')
  }
  for (const text of JSON.parse(readFileSync('texts.json'))) {
    for (const [name, write] of Object.entries(writers)) {
      await write(text)
      console.log(JSON.stringify([`text ${text}`, name, 'ns', body]))
    }
  }
  process.exit()
})
JS
cat > write.py <<'PY'
import json
import os
import time
import warnings
os.environ["TZ"] = "CET-1CEST,M3.5.0,M10.5.0/3"
time.tzset()
warnings.simplefilter("ignore")
import threading
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
import aioinflux.serialization.mapping
import influxdb.line_protocol
import influxdb_client.client.write_api
import influxdb_client_3
import pandas
from influx_line import InfluxLine
from influx_line_protocol import Metric
from influxdb import DataFrameClient
from telegraf.protocol import Line
NOW = datetime(2026, 11, 30, 10, tzinfo=timezone.utc)

def client(value, when):
    return influxdb_client.Point("m").field("f", value).time(when).to_line_protocol()

def lines(value, when):
    return influxdb.line_protocol.make_line("m", fields={"f": value}, time=when)

def aio(value, when):
    return aioinflux.serialization.mapping.serialize({"measurement": "m", "fields": {"f": value}, "time": when}).decode()

def metric(value, when):
    metric = Metric("m")
    metric.add_value("f", value)
    return str(metric)

def builder(value, when):
    line = InfluxLine("m")
    line.add_field("f", value)
    return str(line)

def telegraf(value, when):
    return Line("m", {"f": value}).to_line_protocol()

ALL = {"influxdb-client": client, "influxdb": lines, "aioinflux": aio, "influx-line-protocol": metric, "influx-line": builder,
       "pytelegraf": telegraf}
WITH_TIME = {name: ALL[name] for name in ("influxdb-client", "influxdb", "aioinflux")}
cases = [(f"text {text}", ALL, text, NOW) for text in json.load(open("texts.json"))]
cases += [("float 1.5", ALL, 1.5, NOW), ("float 1234567.5", ALL, 1234567.5, NOW)]
for name, when in [("time 2026-11-30 10:00, no zone, in winter", datetime(2026, 11, 30, 10)),
                   ("time 2026-07-01 10:00, no zone, in summer", datetime(2026, 7, 1, 10)),
                   ("time 1969-12-31 23:59:58.500", datetime(1969, 12, 31, 23, 59, 58, 500000, timezone.utc))]:
    cases.append((name, WITH_TIME, 1.5, when))
for name, writers, value, when in cases:
    for writer, write in writers.items():
        print(json.dumps([name, writer, "ns", write(value, when)]))

class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        Server.body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments):
        pass

server = HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
two = influxdb_client.InfluxDBClient(url, "t", org="o").write_api(influxdb_client.client.write_api.SYNCHRONOUS)
three = influxdb_client_3.InfluxDBClient3(url, token="t", database="d", write_client_options=influxdb_client_3.write_client_options(
    write_options=influxdb_client_3.SYNCHRONOUS))
old = DataFrameClient("127.0.0.1", server.server_port, database="d")

def frame(name, precision, fields, times):
    table = pandas.DataFrame(fields, index=pandas.DatetimeIndex(times))
    two.write("b", record=table.copy(), data_frame_measurement_name="m", write_precision=precision)
    print(json.dumps([name, "influxdb-client", precision, Server.body]))
    three.write(table.copy(), data_frame_measurement_name="m", write_precision=precision)
    print(json.dumps([name, "influxdb3-python", precision, Server.body]))
    if precision == "ns":
        old.write_points(table.copy(), "m")
        print(json.dumps([name, "influxdb", "ns", Server.body]))

TIMES = ["2026-11-30T10:00:00.001Z", "2026-11-30T10:00:00.002Z"]
frame("a DataFrame's times .001 and .002, in ns", "ns", {"f": [1.5, 2.5]}, TIMES)
frame("a DataFrame's times .001 and .002, in ms", "ms", {"f": [1.5, 2.5]}, TIMES)
frame("a DataFrame's times .001 and .002, in us", "us", {"f": [1.5, 2.5]}, TIMES)
frame("a DataFrame's text \\\\host\\share", "ns", {"f": ["\\\\host\\share", "x"]}, TIMES)
frame("a DataFrame's text yes ,no", "ns", {"e": [1.5, 2.5], "f": ["yes ,no", "x"]}, TIMES)
frame("a DataFrame's text yes ,no, an empty cell below", "ns", {"e": [1.5, None], "f": ["yes ,no", "x"]}, TIMES)
PY
cat > read.py <<'PY'
import datetime
import json
import sys
import textwrap
import pyilpp
from line_protocol_parser import parse_line
NAMES = {str: "text", int: "integer", float: "float", bool: "boolean"}
FACTOR = {"ns": 1, "us": 1000, "ms": 1000000}

def stamp(time):
    seconds, rest = divmod(time, 10 ** 9)
    return f"{datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)}.{rest:09}"

cases = {}
for line in sys.stdin:
    name, writer, precision, lines = json.loads(line)
    read = [parse_line(line) for line in lines.strip().split("\n")]
    if "time" in name:
        result = " and ".join(stamp(point["time"] * FACTOR[precision]) for point in read)
    else:
        value = read[0]["fields"]["f"]
        result = f"{NAMES[type(value)]} {value}"
    cases.setdefault(name, {}).setdefault(result, []).append(writer)
for name, results in cases.items():
    print(name)
    for result, writers in results.items():
        print(textwrap.fill(f"{result} | {', '.join(writers)}", 140, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False))
for line in ["m,t=x f=\"a b\"", "m f=\"C:\\x\"", "m f=\" x\"", "m f=\"x\ty\"", "m,t=_x f=\"a b\""]:
    one = [parse_line(line)]
    two = pyilpp.parse(line)
    for name, read in [("line-protocol-parser", one), ("pyilpp", two)]:
        print(f"{line} | {name}: {[read['fields']['f'] for read in read]}".replace("\t", "\\t"))
PY
{ node write.cjs; venv/bin/python write.py; } > written
venv/bin/python read.py < written | tee seen
diff seen - <<'SEEN' && echo "as it was"
text yes, no
  text yes, no | @influxdata/influxdb-client (npm), influx, telegrafjs, influxdb-lite, influxdb-v1, influxdb-nodejs, influxdb-client,
    influxdb, aioinflux, influx-line-protocol, pytelegraf
  text yes\,\ no | influx-line
text a b, c
  text a b, c | @influxdata/influxdb-client (npm), influx, telegrafjs, influxdb-lite, influxdb-v1, influxdb-nodejs, influxdb-client,
    influxdb, aioinflux, influx-line-protocol, pytelegraf
  text a\ b\,\ c | influx-line
text \\host\share
  text \\host\share | @influxdata/influxdb-client (npm), influx, influxdb-client, influxdb, aioinflux, influx-line-protocol
  text \host\share | telegrafjs, influxdb-lite, influxdb-v1, influxdb-nodejs, influx-line, pytelegraf
text it\'s
  text it\'s | @influxdata/influxdb-client (npm), telegrafjs, influxdb-lite, influxdb-v1, influxdb-nodejs, influxdb-client, influxdb,
    aioinflux, influx-line-protocol, influx-line, pytelegraf
  text it\\'s | influx
text 12i
  text 12i | @influxdata/influxdb-client (npm), influx, telegrafjs, influxdb-lite, influxdb-v1, influxdb-client, influxdb, aioinflux,
    influx-line-protocol, influx-line, pytelegraf
  integer 12 | influxdb-nodejs
text t
  text t | @influxdata/influxdb-client (npm), influx, telegrafjs, influxdb-lite, influxdb-v1, influxdb-client, influxdb, aioinflux,
    influx-line-protocol, influx-line, pytelegraf
  boolean True | influxdb-nodejs
text False
  text False | @influxdata/influxdb-client (npm), influx, telegrafjs, influxdb-lite, influxdb-v1, influxdb-client, influxdb, aioinflux,
    influx-line-protocol, influx-line, pytelegraf
  boolean False | influxdb-nodejs
float 1.5
  float 1.5 | influxdb-client, influxdb, aioinflux, influx-line-protocol, influx-line, pytelegraf
float 1234567.5
  float 1234567.5 | influxdb-client, influxdb, aioinflux, influx-line, pytelegraf
  float 1234570.0 | influx-line-protocol
time 2026-11-30 10:00, no zone, in winter
  2026-11-30 10:00:00.000000000 | influxdb-client, influxdb, aioinflux
time 2026-07-01 10:00, no zone, in summer
  2026-07-01 10:00:00.000000000 | influxdb-client, influxdb
  2026-07-01 09:00:00.000000000 | aioinflux
time 1969-12-31 23:59:58.500
  1969-12-31 23:59:58.500000000 | influxdb-client, influxdb
  1969-12-31 23:59:59.500000000 | aioinflux
a DataFrame's times .001 and .002, in ns
  2026-11-30 10:00:00.001000000 and 2026-11-30 10:00:00.002000000 | influxdb-client, influxdb3-python
  1970-01-21 18:53:52.800001000 and 1970-01-21 18:53:52.800002000 | influxdb
a DataFrame's times .001 and .002, in ms
  2026-11-30 10:00:00.001000000 and 2026-11-30 10:00:00.001000000 | influxdb-client, influxdb3-python
a DataFrame's times .001 and .002, in us
  2026-11-30 10:00:00.001000000 and 2026-11-30 10:00:00.001999000 | influxdb-client, influxdb3-python
a DataFrame's text \\host\share
  text \\host\share | influxdb-client, influxdb3-python
  text \host\share | influxdb
a DataFrame's text yes ,no
  text yes ,no | influxdb-client, influxdb3-python, influxdb
a DataFrame's text yes ,no, an empty cell below
  text yes no | influxdb-client, influxdb3-python
  text yes ,no | influxdb
m,t=x f="a b" | line-protocol-parser: ['a b']
m,t=x f="a b" | pyilpp: ['a b']
m f="C:\x" | line-protocol-parser: ['C:\\x']
m f="C:\x" | pyilpp: ['C:x']
m f=" x" | line-protocol-parser: [' x']
m f=" x" | pyilpp: ['x']
m f="x\ty" | line-protocol-parser: ['x\ty']
m f="x\ty" | pyilpp: ['x  y']
m,t=_x f="a b" | line-protocol-parser: ['a b']
m,t=_x f="a b" | pyilpp: []
SEEN
