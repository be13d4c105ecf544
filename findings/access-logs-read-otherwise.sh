#!/usr/bin/env bash
# Seven readers of web servers' access logs shift times, cut texts at escaped quotes or lose lines, and Paste writes the wrong time zone; no error.
#
# Guess: Apache's mod_log_config ("Custom Log Formats", "Format Notes") has %t as local time with a zone of a sign and four digits, hours and
# minutes, and writes a quote in %r or %i as \" and a backslash as \\; a missing value is "-". A client may have an IPv6 address, and a user
# has a name (%h, %u; nginx's "combined" format has both, too). So all readers find the same time, request, status, bytes, referrer and
# agent, at most with the escapes left as they are, from each line, and a writer's line says when the request was.
#
# Seen 2026-11-30 with clf-parser 0.0.2, common-log-format 2.0.1 and stream-log-stats 3.0.2 (which counts with the latter) of npm,
# apache-log-parser 1.7.0, clfparser 0.3, accesslog 0.1.0b5, dargslan-log-parser 1.0.0 (for nginx) and Paste 3.10.1 of PyPI, and no error;
# apachelogs 0.6.1 and tback-apachelog 1.2 of PyPI and alpine 0.2.1 of npm read all of it right, and Apache httpd 2.4.67 writes such lines:
#
#   10:00 at -0330, +0530, +0545   apache-log-parser: 27, 27 and 41 minutes off: it takes one digit of the minutes
#   an agent with \"               clf-parser, apache-log-parser, clfparser, accesslog: only what is before it
#   a referrer with \"             clfparser: neither referrer nor agent
#   a request with \"              clf-parser: the status as the bytes and the bytes as the referrer; clfparser: a line of empty fields;
#                                  common-log-format: no such line
#   an IPv6 address, a user        dargslan-log-parser: no such line
#   a file of 4000 lines           common-log-format, stream-log-stats: 3999, three of them with fewer bytes, by the ends of the chunks
#   TransLogger (Paste)            +0200 in Berlin in winter, an hour off, +0550 in India, 20 minutes off, -0250 in Newfoundland, 40 off
#
# So a log that is to be read elsewhere is written in UTC, and counted with a reader that knows \".
#
# Needs node with npm, python3 with venv, a minute, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . alpine@0.2.1 clf-parser@0.0.2 common-log-format@2.0.1 \
    stream-log-stats@3.0.2 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check setuptools==79.0.1 wheel==0.48.0
venv/bin/pip install --quiet --disable-pip-version-check --no-build-isolation apachelogs==0.6.1 tback-apachelog==1.2 apache-log-parser==1.7.0 \
    clfparser==0.3 accesslog==0.1.0b5 dargslan-log-parser==1.0.0 Paste==3.10.1
cat > lines <<'LINES'
192.0.2.1 - - [30/Nov/2026:10:00:00 +0100] "GET /a?b=c HTTP/1.1" 200 512 "https://example.org/?q=1" "Agent/1.0 (Linux)"
192.0.2.1 - - [30/Nov/2026:10:00:00 -0330] "GET /a HTTP/1.1" 200 512 "-" "Agent/1.0"
192.0.2.1 - - [30/Nov/2026:10:00:00 +0530] "GET /a HTTP/1.1" 200 512 "-" "Agent/1.0"
192.0.2.1 - - [30/Nov/2026:10:00:00 +0545] "GET /a HTTP/1.1" 200 512 "-" "Agent/1.0"
192.0.2.1 - - [30/Nov/2026:10:00:00 +0100] "GET /a HTTP/1.1" 200 512 "-" "Agent \"One\" (Linux)"
192.0.2.1 - - [30/Nov/2026:10:00:00 +0100] "GET /a HTTP/1.1" 200 512 "https://example.org/?q=\"a\"" "Agent/1.0"
192.0.2.1 - - [30/Nov/2026:10:00:00 +0100] "GET /a?q=\"b\" HTTP/1.1" 200 512 "-" "Agent/1.0"
2001:db8::1 - - [30/Nov/2026:10:00:00 +0100] "GET /a HTTP/1.1" 200 512 "-" "Agent/1.0"
192.0.2.1 - ann [30/Nov/2026:10:00:00 +0100] "GET /a HTTP/1.1" 200 512 "-" "Agent/1.0"
LINES
cat > read.cjs <<'JS'
const { readFileSync } = require('node:fs')
const Alpine = require('alpine')
const Clf = require('common-log-format')
const parse = require('clf-parser')
const alpine = new Alpine('%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-agent}i"')
const iso = time => new Date(time).toISOString().slice(0, 16)
const readers = {
  alpine: line => {
    const { request, status, sizeCLF, ...rest } = alpine.parseLine(line)
    return { request, status, bytes: sizeCLF, referrer: rest['RequestHeader Referer'], agent: rest['RequestHeader User-agent'] }
  },
  'clf-parser': line => {
    const read = parse(line)
    const { request, status, body_bytes_sent: bytes, http_referer: referrer, http_user_agent: agent } = read
    return { time: iso(read.time_local), request, status, bytes, referrer, agent }
  },
  'common-log-format': line => {
    const clf = new Clf()
    clf.write(line + '\n')
    const one = clf.read()
    if (!one) return null
    const { request, status, bytes } = JSON.parse(one)
    return { request, status, bytes }
  }
}
const show = value => value == null || Number.isNaN(value) ? '-' : String(value)
readFileSync('lines', 'utf8').trim().split('\n').forEach((line, at) => {
  for (const [name, read] of Object.entries(readers)) {
    const found = read(line)
    if (!found) console.log(JSON.stringify([at, name, null]))
    else console.log(JSON.stringify([at, name, Object.fromEntries(Object.entries(found).map(([key, value]) => [key, show(value)]))]))
  }
})
JS
cat > read.py <<'PY'
import datetime, json, warnings
warnings.simplefilter("ignore")
import apache_log_parser, apachelog, apachelogs
from accesslog.clparser import CLParser
from clfparser import CLFParser
from dargslan_log_parser import LogParser
FORMAT = '%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"'

def iso(time):
    return time.astimezone(datetime.timezone.utc).isoformat()[:16]

def read_apachelogs(line):
    read = apachelogs.LogParser(FORMAT).parse(line)
    return dict(time=iso(read.request_time), request=read.request_line, status=read.final_status, bytes=read.bytes_sent,
                referrer=read.headers_in["Referer"], agent=read.headers_in["User-Agent"])

def read_apachelog(line):
    read = apachelog.parser(FORMAT.replace('"', r'\"')).parse(line)
    return dict(request=read["%r"], status=read["%>s"], bytes=read["%b"], referrer=read["%{Referer}i"], agent=read["%{User-Agent}i"])

def read_apache_log_parser(line):
    read = apache_log_parser.make_parser(FORMAT)(line)
    return dict(time=read["time_received_utc_isoformat"][:16], request=read["request_first_line"], status=read["status"],
                bytes=read["response_bytes_clf"], referrer=read["request_header_referer"], agent=read["request_header_user_agent"])

def read_clfparser(line):
    read = CLFParser.logDict(line)
    return dict(request=read["r"], status=read["s"], bytes=read["b"], referrer=read["Referer"], agent=read["Useragent"])

def read_accesslog(line):
    read = CLParser().parse(line)
    return dict(time=f"{read['date']}T{read['time'][:5]}", request=read["request"], status=read["status"], bytes=read["size"],
                referrer=read["referrer"], agent=read["agent"])

def read_dargslan(line):
    open("one", "w").write(line + "\n")
    for read in LogParser().parse_nginx_access("one"):
        return dict(status=read["status"], bytes=read["bytes"], referrer=read["referer"], agent=read["user_agent"])

READERS = {"apachelogs": read_apachelogs, "tback-apachelog": read_apachelog, "apache-log-parser": read_apache_log_parser,
           "clfparser": read_clfparser, "accesslog": read_accesslog, "dargslan-log-parser": read_dargslan}
for at, line in enumerate(open("lines")):
    for name, read in READERS.items():
        if name == "dargslan-log-parser" and '\\' in line:  # nginx writes quotes in another way
            continue
        found = read(line.rstrip("\n"))
        print(json.dumps([at, name, found and {key: "-" if value is None else str(value) for key, value in found.items()}]))
PY
cat > compare.py <<'PY'
import json
found = {}
for file in ("two", "one.js"):
    for at, name, fields in map(json.loads, open(file)):
        found.setdefault(at, {})[name] = fields
plain = lambda text: text if text in ('"', "") else text[1:-1] if text[0] == text[-1] == '"' else text
for at, line in enumerate(open("lines")):
    print(line, end="")
    right, same = found[at]["apachelogs"], []
    for name, fields in found[at].items():
        if fields is None:
            print(f"  {name}: no such line")
            continue
        other = {key: plain(value) for key, value in fields.items() if plain(value).replace('\\"', '"') != right[key]}
        if other:
            print(f"  {name}:", ", ".join(f"{key} {value or 'nothing'}" for key, value in other.items()))
        elif "time" in fields or at not in (1, 2, 3):
            same.append(name)
    print("  " + (f"time {right['time']}: " if at in (1, 2, 3) else "the same: ") + ", ".join(same))
PY
cat > many.cjs <<'JS'
const { createReadStream, writeFileSync } = require('node:fs')
const Clf = require('common-log-format')
const streamLogStats = require('stream-log-stats')
const stats = require('stream-log-stats/lib/stats')
const given = Array.from({ length: 4000 }, (_, at) => 100000 + at)
writeFileSync('many', given.map(bytes => `::1 - - [30/Nov/2026:10:00:00 +0000] "GET /a HTTP/1.1" 200 ${bytes}\n`).join(''))
const sum = given.reduce((sum, bytes) => sum + bytes, 0)
const read = []
createReadStream('many').pipe(new Clf()).on('data', one => {
  for (const object of one.toString().match(/{[^}]*}/g)) read.push(JSON.parse(object).bytes)
}).on('end', () => {
  const others = read.filter(bytes => !given.includes(bytes))
  createReadStream('many').pipe(streamLogStats())
  process.on('exit', () => writeFileSync('counted', `4000 lines, common-log-format: ${read.length} lines, other bytes: ${others.join(', ')}
4000 lines, stream-log-stats: ${stats.requests} requests, ${sum - stats.bytes} bytes are missing\n`))
})
JS
cat > write.py <<'PY'
import datetime, logging, os, re, time
from unittest import mock
from paste.translogger import TransLogger

class Lines(logging.Handler):
    def emit(self, record):
        self.line = record.getMessage()

lines = Lines()
logger = logging.getLogger("access")
logger.setLevel(logging.INFO)
logger.addHandler(lines)
logger.propagate = False

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/a", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "192.0.2.1"}
real = time.localtime
for when in (1796032800, 1782813600):
    for zone in ("UTC", "Asia/Tokyo", "Europe/Berlin", "America/New_York", "Australia/Sydney", "Asia/Kolkata", "America/St_Johns"):
        os.environ["TZ"] = zone
        time.tzset()
        with mock.patch("time.localtime", lambda *args: real(when)):
            TransLogger(app, logger=logger)(environ, lambda *args: None)
        text = re.search(r"\[(.*)\]", lines.line)[1]
        off = (datetime.datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z").timestamp() - when) / 60
        print(f"TransLogger in {zone}: {text}, with {time.strftime('%z', real(when))} there: {off:.0f} minutes off")
PY
node read.cjs > one.js
venv/bin/python read.py > two
node many.cjs >/dev/null 2>&1
{ venv/bin/python compare.py; cat counted; venv/bin/python write.py; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
192.0.2.1 - - [30/Nov/2026:10:00:00 +0100] "GET /a?b=c HTTP/1.1" 200 512 "https://example.org/?q=1" "Agent/1.0 (Linux)"
  the same: apachelogs, tback-apachelog, apache-log-parser, clfparser, accesslog, dargslan-log-parser, alpine, clf-parser, common-log-format
192.0.2.1 - - [30/Nov/2026:10:00:00 -0330] "GET /a HTTP/1.1" 200 512 "-" "Agent/1.0"
  apache-log-parser: time 2026-11-30T13:03
  time 2026-11-30T13:30: apachelogs, accesslog, clf-parser
192.0.2.1 - - [30/Nov/2026:10:00:00 +0530] "GET /a HTTP/1.1" 200 512 "-" "Agent/1.0"
  apache-log-parser: time 2026-11-30T04:57
  time 2026-11-30T04:30: apachelogs, accesslog, clf-parser
192.0.2.1 - - [30/Nov/2026:10:00:00 +0545] "GET /a HTTP/1.1" 200 512 "-" "Agent/1.0"
  apache-log-parser: time 2026-11-30T04:56
  time 2026-11-30T04:15: apachelogs, accesslog, clf-parser
192.0.2.1 - - [30/Nov/2026:10:00:00 +0100] "GET /a HTTP/1.1" 200 512 "-" "Agent \"One\" (Linux)"
  apache-log-parser: agent Agent \
  clfparser: agent Agent \
  accesslog: agent Agent \
  clf-parser: agent Agent \
  the same: apachelogs, tback-apachelog, alpine, common-log-format
192.0.2.1 - - [30/Nov/2026:10:00:00 +0100] "GET /a HTTP/1.1" 200 512 "https://example.org/?q=\"a\"" "Agent/1.0"
  clfparser: referrer nothing, agent nothing
  the same: apachelogs, tback-apachelog, apache-log-parser, accesslog, alpine, clf-parser, common-log-format
192.0.2.1 - - [30/Nov/2026:10:00:00 +0100] "GET /a?q=\"b\" HTTP/1.1" 200 512 "-" "Agent/1.0"
  clfparser: request nothing, status nothing, bytes nothing, referrer nothing, agent nothing
  clf-parser: request GET /a?q=\"b\, status -, bytes 200, referrer 512, agent -
  common-log-format: no such line
  the same: apachelogs, tback-apachelog, apache-log-parser, accesslog, alpine
2001:db8::1 - - [30/Nov/2026:10:00:00 +0100] "GET /a HTTP/1.1" 200 512 "-" "Agent/1.0"
  dargslan-log-parser: no such line
  the same: apachelogs, tback-apachelog, apache-log-parser, clfparser, accesslog, alpine, clf-parser, common-log-format
192.0.2.1 - ann [30/Nov/2026:10:00:00 +0100] "GET /a HTTP/1.1" 200 512 "-" "Agent/1.0"
  dargslan-log-parser: no such line
  the same: apachelogs, tback-apachelog, apache-log-parser, clfparser, accesslog, alpine, clf-parser, common-log-format
4000 lines, common-log-format: 3999 lines, other bytes: 10099, 101, 1
4000 lines, stream-log-stats: 3999 requests, 399725 bytes are missing
TransLogger in UTC: 30/Nov/2026:10:00:00 +0000, with +0000 there: 0 minutes off
TransLogger in Asia/Tokyo: 30/Nov/2026:19:00:00 +0900, with +0900 there: 0 minutes off
TransLogger in Europe/Berlin: 30/Nov/2026:11:00:00 +0200, with +0100 there: -60 minutes off
TransLogger in America/New_York: 30/Nov/2026:05:00:00 -0400, with -0500 there: -60 minutes off
TransLogger in Australia/Sydney: 30/Nov/2026:21:00:00 +1100, with +1100 there: 0 minutes off
TransLogger in Asia/Kolkata: 30/Nov/2026:15:30:00 +0550, with +0530 there: -20 minutes off
TransLogger in America/St_Johns: 30/Nov/2026:06:30:00 -0250, with -0330 there: -40 minutes off
TransLogger in UTC: 30/Jun/2026:10:00:00 +0000, with +0000 there: 0 minutes off
TransLogger in Asia/Tokyo: 30/Jun/2026:19:00:00 +0900, with +0900 there: 0 minutes off
TransLogger in Europe/Berlin: 30/Jun/2026:12:00:00 +0200, with +0200 there: 0 minutes off
TransLogger in America/New_York: 30/Jun/2026:06:00:00 -0400, with -0400 there: 0 minutes off
TransLogger in Australia/Sydney: 30/Jun/2026:20:00:00 +1100, with +1000 there: -60 minutes off
TransLogger in Asia/Kolkata: 30/Jun/2026:15:30:00 +0550, with +0530 there: -20 minutes off
TransLogger in America/St_Johns: 30/Jun/2026:07:30:00 -0250, with -0230 there: 20 minutes off
SEEN
