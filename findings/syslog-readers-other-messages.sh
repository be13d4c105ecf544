#!/usr/bin/env bash
# Four syslog libraries cut valid messages, mix up their structured data or tell another time, and two of them write what others misread.
#
# Guess: RFC 5424 (6.2.1) has priorities from 0 (kern, emerg) on; (6.2.3) times with an offset of hours and minutes and a fraction of the
# second, so .003 is 3 ms; (6.2.4) a host may be an IPv6 address; (6.2.6) PROCID is a text; (6.3) the structured data ends where its last
# element does, and brackets in the message belong to the message; (6.3.1) an element may be an id alone; (6.3.3) \" \\ and \] in a value
# are a quote, a backslash and a bracket; (6.4) before UTF-8 text there may be the byte order mark ef bb bf. So all readers find the same.
#
# Seen 2026-11-30 with glossy 0.1.7 (by which winston-syslog 2.7.1 writes, too) and nsyslog-parser 0.10.1 of npm, hat-syslog 0.7.28 and
# syslog-rfc5424-parser 0.3.2 of PyPI, and no error; syslog2cef 0.3.3 of PyPI reads all of it right, only it has no place for an id alone:
#
#   priority 0                              glossy: neither facility nor severity
#   a message with [x] in it                glossy: only what comes after the last "]", if there is structured data before it
#   a message with [x y="z"] in it          nsyslog-parser: the same; without structured data before it, only what comes before the "["
#   \" \\ \] in a value                     nsyslog-parser: no data, all of it is the message; syslog-rfc5424-parser keeps the backslashes
#   an element with an id alone, another    glossy, nsyslog-parser: one element, with the id "a@1][b@1"
#   10:00 at +02:00, -03:30, +05:30         hat-syslog: 2 and 33 minutes too early, 25 too late: it takes the hours for the minutes, too
#   the host 2001:db8::1                    nsyslog-parser: no host, and the header up to the data is the message; the message is gone
#   PROCID 007                              syslog-rfc5424-parser: 7
#   a message "BOMBAY"                      hat-syslog: "BAY"; and it writes the letters B, O, M before each message, which others read
#   a time of 3 ms and of 12 ms             glossy writes .03 and .12, so 30 and 120 ms: the second seems later than one of 110 ms
#
# So a log line for strangers has its time in UTC, a host by name, no brackets in its message, and no backslashes in its structured data.
#
# Needs node with npm, python3 with venv, a minute, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . glossy@0.1.7 nsyslog-parser@0.10.1 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check syslog2cef==0.3.3 syslog-rfc5424-parser==0.3.2 hat-syslog==0.7.28
cat > cases <<'CASES'
priority|<0>1 2026-11-30T10:00:00.250Z host app 1 ID - text
priority|<165>1 2026-11-30T10:00:00.250Z host app 1 ID - text
message|<34>1 2026-11-30T10:00:00.250Z host app 1 ID - open [x] shut
message|<34>1 2026-11-30T10:00:00.250Z host app 1 ID [a@1 k="v"] open [x] shut
message|<34>1 2026-11-30T10:00:00.250Z host app 1 ID - open [x y="z"] shut
message|<34>1 2026-11-30T10:00:00.250Z host app 1 ID [a@1 k="v"] open [x y="z"] shut
message|<34>1 2026-11-30T10:00:00.250Z host app 1 ID - BOMBAY
data|<34>1 2026-11-30T10:00:00.250Z host app 1 ID [a@1 k="v" l=""][b@1 k="w x"] text
data|<34>1 2026-11-30T10:00:00.250Z host app 1 ID [a@1 k="\"v\" \\ [w\]"] text
message|<34>1 2026-11-30T10:00:00.250Z host app 1 ID [a@1 k="\"v\" \\ [w\]"] text
data|<34>1 2026-11-30T10:00:00.250Z host app 1 ID [a@1][b@1 k="w"] text
time|<34>1 2026-11-30T10:00:00.250Z host app 1 ID - text
time|<34>1 2026-11-30T10:00:00.250+02:00 host app 1 ID - text
time|<34>1 2026-11-30T10:00:00.250-03:30 host app 1 ID - text
time|<34>1 2026-11-30T10:00:00.250+05:30 host app 1 ID - text
host|<34>1 2026-11-30T10:00:00.250Z 2001:db8::1 app 1 ID [a@1 k="v"] text
message|<34>1 2026-11-30T10:00:00.250Z 2001:db8::1 app 1 ID [a@1 k="v"] text
process|<34>1 2026-11-30T10:00:00.250Z host app 007 ID - text
CASES
cat > write.cjs <<'JS'
const { Produce } = require('glossy')
const writer = new Produce({ type: 'RFC5424' })
for (const ms of [3, 12, 120]) {
  const date = new Date(Date.UTC(2026, 10, 30, 10, 0, 0, ms))
  const header = { facility: 'auth', severity: 'crit', host: 'host', appName: 'app', pid: '1', msgID: 'ID', date }
  console.log('time|' + writer.produce({ ...header, message: 'text' }))
}
JS
cat > write.py <<'PY'
from hat.syslog import common, encoder
print("message|" + encoder.msg_to_str(common.Msg(
    facility=common.Facility(4), severity=common.Severity(2), version=1, timestamp=1796032800.25, hostname="host", app_name="app",
    procid="1", msgid="ID", data=None, msg="text")))
PY
cat > read.cjs <<'JS'
const { readFileSync } = require('node:fs')
const parser = require('nsyslog-parser')
const { Parse } = require('glossy')
const shown = value => value == null || value === '' ? 'none' : value
const pairs = elements => elements.flatMap(([id, element]) => {
  const values = Object.entries(element).filter(([name]) => name !== '$id').map(([name, value]) => `${id} ${name}=${value}`)
  return values.length ? values : [id]
}).join(', ')
const readers = {
  'glossy': line => {
    const { facility, severity, time, host, pid, structuredData, message } = Parse.parse(line)
    const data = pairs(Object.entries(structuredData || {}))
    return { priority: facility && `${facility}.${severity}`, time, host, process: pid, data, message }
  },
  'nsyslog-parser': line => {
    const { facility, level, ts, host, pid, structuredData, message } = parser(line)
    const data = pairs(structuredData.map(one => [one.$id, one]))
    return { priority: `${facility}.${level}`, time: ts, host, process: pid, data, message }
  }
}
for (const line of readFileSync(process.argv[2], 'utf8').trim().split('\n')) {
  const at = line.indexOf('|')
  for (const [name, read] of Object.entries(readers)) {
    const value = shown(read(line.slice(at + 1))[line.slice(0, at)])
    console.log(`${line} | ${name}: ${value instanceof Date ? value.toISOString() : value}`)
  }
}
JS
cat > read.py <<'PY'
import datetime, json, sys
from hat.syslog import encoder
from syslog_rfc5424_parser import SyslogMessage
from syslogcef import parsers
FACILITY = {0: "kern", 4: "auth", 20: "local4"}
SEVERITY = {0: "emerg", 2: "crit", 5: "notice"}

def utc(time):
    return time.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

def pairs(data):
    return ", ".join(text for id, element in data.items() for text in [f"{id} {name}={value}" for name, value in element.items()] or [id])

def cef(line):
    read = parsers.parse_rfc5424(line)
    data = ", ".join(f"{name.replace('.', ' ', 1)}={value}" for name, value in read.sd.items())
    return dict(priority=f"{FACILITY[read.facility]}.{SEVERITY[read.severity]}", time=utc(read.ts), host=read.host, process=read.pid,
                data=data, message=read.msg)

def hat(line):
    read = encoder.msg_from_str(line)
    return dict(priority=f"{FACILITY[read.facility.value]}.{SEVERITY[read.severity.value]}",
                time=utc(datetime.datetime.fromtimestamp(read.timestamp, datetime.timezone.utc)),
                host=read.hostname, process=read.procid, data=pairs(json.loads(read.data or "{}")), message=read.msg)

def rfc5424(line):
    read = SyslogMessage.parse(line)
    return dict(priority=f"{read.facility.name}.{read.severity.name}",
                time=utc(datetime.datetime.fromisoformat(read.timestamp.replace("Z", "+00:00"))),
                host=read.hostname, process=read.procid, data=pairs(read.sd), message=read.msg)

for line in open(sys.argv[1]):
    field, message = line.rstrip("\n").split("|", 1)
    for name, read in [("syslog2cef", cef), ("hat-syslog", hat), ("syslog-rfc5424-parser", rfc5424)]:
        print(f"{field}|{message} | {name}: {read(message)[field]}")
PY
{ node write.cjs; venv/bin/python write.py; } > written
for file in cases written; do
  node read.cjs $file > one
  venv/bin/python read.py $file > two
  while read -r line; do
    echo "${line/|/ of }"
    for name in syslog2cef hat-syslog syslog-rfc5424-parser glossy nsyslog-parser; do
      { grep -hF -- "$line | $name: " one two || echo "$line | $name: nothing"; } | sed "s/.* | /  /"
    done
  done < $file
done | tee seen
diff seen - <<'SEEN' && echo "as it was"
priority of <0>1 2026-11-30T10:00:00.250Z host app 1 ID - text
  syslog2cef: kern.emerg
  hat-syslog: kern.emerg
  syslog-rfc5424-parser: kern.emerg
  glossy: none
  nsyslog-parser: kern.emerg
priority of <165>1 2026-11-30T10:00:00.250Z host app 1 ID - text
  syslog2cef: local4.notice
  hat-syslog: local4.notice
  syslog-rfc5424-parser: local4.notice
  glossy: local4.notice
  nsyslog-parser: local4.notice
message of <34>1 2026-11-30T10:00:00.250Z host app 1 ID - open [x] shut
  syslog2cef: open [x] shut
  hat-syslog: open [x] shut
  syslog-rfc5424-parser: open [x] shut
  glossy: open [x] shut
  nsyslog-parser: open [x] shut
message of <34>1 2026-11-30T10:00:00.250Z host app 1 ID [a@1 k="v"] open [x] shut
  syslog2cef: open [x] shut
  hat-syslog: open [x] shut
  syslog-rfc5424-parser: open [x] shut
  glossy: shut
  nsyslog-parser: open [x] shut
message of <34>1 2026-11-30T10:00:00.250Z host app 1 ID - open [x y="z"] shut
  syslog2cef: open [x y="z"] shut
  hat-syslog: open [x y="z"] shut
  syslog-rfc5424-parser: open [x y="z"] shut
  glossy: open [x y="z"] shut
  nsyslog-parser: open
message of <34>1 2026-11-30T10:00:00.250Z host app 1 ID [a@1 k="v"] open [x y="z"] shut
  syslog2cef: open [x y="z"] shut
  hat-syslog: open [x y="z"] shut
  syslog-rfc5424-parser: open [x y="z"] shut
  glossy: shut
  nsyslog-parser: shut
message of <34>1 2026-11-30T10:00:00.250Z host app 1 ID - BOMBAY
  syslog2cef: BOMBAY
  hat-syslog: BAY
  syslog-rfc5424-parser: BOMBAY
  glossy: BOMBAY
  nsyslog-parser: BOMBAY
data of <34>1 2026-11-30T10:00:00.250Z host app 1 ID [a@1 k="v" l=""][b@1 k="w x"] text
  syslog2cef: a@1 k=v, a@1 l=, b@1 k=w x
  hat-syslog: a@1 k=v, a@1 l=, b@1 k=w x
  syslog-rfc5424-parser: a@1 k=v, a@1 l=, b@1 k=w x
  glossy: a@1 k=v, a@1 l=, b@1 k=w x
  nsyslog-parser: a@1 k=v, a@1 l=, b@1 k=w x
data of <34>1 2026-11-30T10:00:00.250Z host app 1 ID [a@1 k="\"v\" \\ [w\]"] text
  syslog2cef: a@1 k="v" \ [w]
  hat-syslog: a@1 k="v" \ [w]
  syslog-rfc5424-parser: a@1 k=\"v\" \\ [w\]
  glossy: a@1 k="v" \ [w]
  nsyslog-parser: none
message of <34>1 2026-11-30T10:00:00.250Z host app 1 ID [a@1 k="\"v\" \\ [w\]"] text
  syslog2cef: text
  hat-syslog: text
  syslog-rfc5424-parser: text
  glossy: text
  nsyslog-parser: [a@1 k="\"v\" \\ [w\]"] text
data of <34>1 2026-11-30T10:00:00.250Z host app 1 ID [a@1][b@1 k="w"] text
  syslog2cef: b@1 k=w
  hat-syslog: a@1, b@1 k=w
  syslog-rfc5424-parser: a@1, b@1 k=w
  glossy: a@1][b@1 k=w
  nsyslog-parser: a@1][b@1 k=w
time of <34>1 2026-11-30T10:00:00.250Z host app 1 ID - text
  syslog2cef: 2026-11-30T10:00:00.250Z
  hat-syslog: 2026-11-30T10:00:00.250Z
  syslog-rfc5424-parser: 2026-11-30T10:00:00.250Z
  glossy: 2026-11-30T10:00:00.250Z
  nsyslog-parser: 2026-11-30T10:00:00.250Z
time of <34>1 2026-11-30T10:00:00.250+02:00 host app 1 ID - text
  syslog2cef: 2026-11-30T08:00:00.250Z
  hat-syslog: 2026-11-30T07:58:00.250Z
  syslog-rfc5424-parser: 2026-11-30T08:00:00.250Z
  glossy: 2026-11-30T08:00:00.250Z
  nsyslog-parser: 2026-11-30T08:00:00.250Z
time of <34>1 2026-11-30T10:00:00.250-03:30 host app 1 ID - text
  syslog2cef: 2026-11-30T13:30:00.250Z
  hat-syslog: 2026-11-30T12:57:00.250Z
  syslog-rfc5424-parser: 2026-11-30T13:30:00.250Z
  glossy: 2026-11-30T13:30:00.250Z
  nsyslog-parser: 2026-11-30T13:30:00.250Z
time of <34>1 2026-11-30T10:00:00.250+05:30 host app 1 ID - text
  syslog2cef: 2026-11-30T04:30:00.250Z
  hat-syslog: 2026-11-30T04:55:00.250Z
  syslog-rfc5424-parser: 2026-11-30T04:30:00.250Z
  glossy: 2026-11-30T04:30:00.250Z
  nsyslog-parser: 2026-11-30T04:30:00.250Z
host of <34>1 2026-11-30T10:00:00.250Z 2001:db8::1 app 1 ID [a@1 k="v"] text
  syslog2cef: 2001:db8::1
  hat-syslog: 2001:db8::1
  syslog-rfc5424-parser: 2001:db8::1
  glossy: 2001:db8::1
  nsyslog-parser: none
message of <34>1 2026-11-30T10:00:00.250Z 2001:db8::1 app 1 ID [a@1 k="v"] text
  syslog2cef: text
  hat-syslog: text
  syslog-rfc5424-parser: text
  glossy: text
  nsyslog-parser: 2001:db8::1 app 1 ID
process of <34>1 2026-11-30T10:00:00.250Z host app 007 ID - text
  syslog2cef: 007
  hat-syslog: 007
  syslog-rfc5424-parser: 7
  glossy: 007
  nsyslog-parser: 007
time of <34>1 2026-11-30T10:00:00.03Z host app 1 ID - text
  syslog2cef: 2026-11-30T10:00:00.030Z
  hat-syslog: 2026-11-30T10:00:00.030Z
  syslog-rfc5424-parser: 2026-11-30T10:00:00.030Z
  glossy: 2026-11-30T10:00:00.030Z
  nsyslog-parser: 2026-11-30T10:00:00.030Z
time of <34>1 2026-11-30T10:00:00.12Z host app 1 ID - text
  syslog2cef: 2026-11-30T10:00:00.120Z
  hat-syslog: 2026-11-30T10:00:00.120Z
  syslog-rfc5424-parser: 2026-11-30T10:00:00.120Z
  glossy: 2026-11-30T10:00:00.120Z
  nsyslog-parser: 2026-11-30T10:00:00.120Z
time of <34>1 2026-11-30T10:00:00.120Z host app 1 ID - text
  syslog2cef: 2026-11-30T10:00:00.120Z
  hat-syslog: 2026-11-30T10:00:00.120Z
  syslog-rfc5424-parser: 2026-11-30T10:00:00.120Z
  glossy: 2026-11-30T10:00:00.120Z
  nsyslog-parser: 2026-11-30T10:00:00.120Z
message of <34>1 2026-11-30T10:00:00.250000Z host app 1 ID - BOMtext
  syslog2cef: BOMtext
  hat-syslog: text
  syslog-rfc5424-parser: BOMtext
  glossy: BOMtext
  nsyslog-parser: BOMtext
SEEN
