#!/usr/bin/env bash
# Four libraries of PyPI and npm for CEF, the event lines of many appliances, read valid events as others or leave values out: a name with
# "|", "=" or "\" takes the severity and the first key with it, addresses end at "=", and messages and zeros are lost, with no error.
#
# Guess: the Common Event Format (ArcSight, "Implementing ArcSight Common Event Format", character encoding) has seven fields of a header
# with "|" between them, in which "|" and "\" stand behind a "\", and "=" stands as it is; then key=value pairs, in which "=" and "\" stand
# behind a "\", "|" stands as it is, and line ends are \n or \r. LEEF 2.0 (IBM, "Log Event Extended Format") has pairs with a character of
# the header's sixth field between them, which may be written as 0x5E, too. So a reader gives what was meant.
#
# Seen 2026-12-01; cefp 0.0.2 reads all events right, also those that format-cef 0.0.4 writes:
#
#   a name with \|, \\ or =        pycef 1.11 reads another name (empty), no severity, and a key "b|5|src"; pourover 0.1b8 and
#                                  nsyslog-parser 0.10.1 keep the backslashes
#   a message with "|"             pourover loses it
#   a name that ends with \\       pourover has an error
#   request=http://x/?a\=1&b\=2    nsyslog-parser reads http://x/?a\; pycef and pourover keep the backslashes
#   line ends, \\ in values        pycef, pourover and nsyslog-parser keep the escapes, so C:\\new is not C:\new
#   a number of 0                  cefevent 0.5.6 leaves it out under the key cn1 and tells False, as for a wrong value, but not under the
#                                  key's long name, and -5 not either
#   LEEF 2.0 with 0x5E             nsyslog-parser reads one pair instead of three
#
# So what such a library has read should be compared with the line, and what is written for it should have no "|", "=" or "\".
#
# Needs node with npm, python3 with venv, a minute, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
for program in node npm python3; do command -v "$program" >/dev/null || { echo "$program is missing"; exit 2; }; done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export LC_ALL=C.UTF-8 PYTHONUTF8=1
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . nsyslog-parser@0.10.1 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pycef==1.11 cefp==0.0.2 pourover==0.1b8 cefevent==0.5.6 \
  format-cef==0.0.4 >pip.log 2>&1 || { cat pip.log; exit 2; }
cat > cases <<'CASES'
CEF:0|Vendor|Product|1.0|100|started|5|src=192.0.2.1 msg=all is well cnt=3
CEF:0|Vendor|Product|1.0|100|a \| b|5|src=192.0.2.1
CEF:0|Vendor|Product|1.0|100|level=3|5|src=192.0.2.1
CEF:0|Vendor|Product|1.0|100|C:\\|5|src=192.0.2.1
CEF:0|Vendor|Product|1.0|100|started|5|msg=a | b src=192.0.2.1
CEF:0|Vendor|Product|1.0|100|started|5|request=http://x/?a\=1&b\=2 src=192.0.2.1
CEF:0|Vendor|Product|1.0|100|started|5|filePath=C:\\new msg=one\ntwo
CASES
cat > node.cjs <<'JS'
const { readFileSync, writeFileSync } = require('node:fs')
const parse = require('nsyslog-parser')
writeFileSync('node.json', JSON.stringify(readFileSync('cases', 'utf8').trim().split('\n').map(line => {
  const { cef, fields } = parse(line)
  return [cef.name, cef.severity, fields]
})))
const leef = [
  'LEEF:2.0|Vendor|Product|1.0|100|^|src=192.0.2.1^cnt=3^usrName=me', 'LEEF:2.0|Vendor|Product|1.0|100|0x5E|src=192.0.2.1^cnt=3^usrName=me'
]
for (const line of leef) console.log(`${line}\n  ${JSON.stringify(parse(line).fields)}: nsyslog-parser`)
JS
cat > python.py <<'PY'
import json, textwrap, warnings
warnings.simplefilter("ignore")
import cefp, pourover, pycef
from cefevent import CEFEvent
from format_cef import format_cef

header = ["CEFVersion", "DeviceVendor", "DeviceProduct", "DeviceVersion", "DeviceEventClassID", "Name", "DeviceName", "Severity",
          "DeviceSeverity"]

def by_cefp(line):
    event = cefp.CEFParser.parse(line)
    return event["name"], event["severity"], event["extension"]

def by_pycef(line):
    event = pycef.parse(line)
    return event["Name"], event.get("Severity"), {key: value for key, value in event.items() if key not in header}

def by_pourover(line):
    event = pourover.parse_line(line)
    return event.headers["Name"], event.headers["Severity"], dict(event.extensions)

def told(value):
    name, severity, fields = value
    return ", ".join([f"{name!r}, severity {severity}"] + [f"{key}: {value!r}" for key, value in fields.items()])

node = json.load(open("node.json"))
for line, other in zip(open("cases").read().splitlines(), node):
    values = {}
    for library, read in {"cefp": by_cefp, "pycef": by_pycef, "pourover": by_pourover}.items():
        try:
            value = told(read(line))
        except ValueError:
            value = "an error"
        values.setdefault(value, []).append(library)
    values.setdefault(told(other), []).append("nsyslog-parser")
    print(line)
    for value, libraries in values.items():
        print(textwrap.fill(f"{value}: {', '.join(libraries)}", 140, initial_indent="  ", subsequent_indent="      "))

def by_cefevent(name, field, value):
    event = CEFEvent()
    prefixes = {"deviceVendor": "Vendor", "deviceProduct": "Product", "deviceVersion": "1.0", "signatureId": "100", "severity": 5}
    for key, part in {**prefixes, "name": name}.items():
        event.set_prefix(key, part)
    if event.set_field(field, value) is False:
        print("  cefevent's set_field tells False")
    return event.build_cef()

def by_format_cef(name, field, value):
    return format_cef("Vendor", "Product", "1.0", "100", name, 5, {long.get(field, field): value}).decode()

long = {"msg": "message", "cn1": "deviceCustomNumber1"}
for name, field, value in [("a|b", "msg", "C:\\=|"), ("started", "cn1", -5), ("started", "deviceCustomNumber1", 0), ("started", "cn1", 0)]:
    print(f"written: name {name!r}, {field} {value!r}")
    values = {}
    for library, write in {"format-cef": by_format_cef, "cefevent": by_cefevent}.items():
        values.setdefault(told(by_cefp(write(name, field, value))), []).append(library)
    for text, libraries in values.items():
        print(textwrap.fill(f"{text}: {', '.join(libraries)}", 140, initial_indent="  ", subsequent_indent="      "))
PY
node node.cjs > leef
{ venv/bin/python python.py 2>errors || cat errors; cat leef; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
CEF:0|Vendor|Product|1.0|100|started|5|src=192.0.2.1 msg=all is well cnt=3
  'started', severity 5, src: '192.0.2.1', msg: 'all is well', cnt: '3': cefp, pycef, pourover, nsyslog-parser
CEF:0|Vendor|Product|1.0|100|a \| b|5|src=192.0.2.1
  'a | b', severity 5, src: '192.0.2.1': cefp
  '', severity None, b|5|src: '192.0.2.1': pycef
  'a \\| b', severity 5, src: '192.0.2.1': pourover, nsyslog-parser
CEF:0|Vendor|Product|1.0|100|level=3|5|src=192.0.2.1
  'level=3', severity 5, src: '192.0.2.1': cefp, pourover, nsyslog-parser
  '', severity None, 3|5|src: '192.0.2.1': pycef
CEF:0|Vendor|Product|1.0|100|C:\\|5|src=192.0.2.1
  'C:\\', severity 5, src: '192.0.2.1': cefp
  '', severity None, C:\\|5|src: '192.0.2.1': pycef
  an error: pourover
  'C:\\\\', severity 5, src: '192.0.2.1': nsyslog-parser
CEF:0|Vendor|Product|1.0|100|started|5|msg=a | b src=192.0.2.1
  'started', severity 5, msg: 'a | b', src: '192.0.2.1': cefp, pycef, nsyslog-parser
  'started', severity 5, src: '192.0.2.1': pourover
CEF:0|Vendor|Product|1.0|100|started|5|request=http://x/?a\=1&b\=2 src=192.0.2.1
  'started', severity 5, request: 'http://x/?a=1&b=2', src: '192.0.2.1': cefp
  'started', severity 5, request: 'http://x/?a\\=1&b\\=2', src: '192.0.2.1': pycef, pourover
  'started', severity 5, request: 'http://x/?a\\', src: '192.0.2.1': nsyslog-parser
CEF:0|Vendor|Product|1.0|100|started|5|filePath=C:\\new msg=one\ntwo
  'started', severity 5, filePath: 'C:\\new', msg: 'one\ntwo': cefp
  'started', severity 5, filePath: 'C:\\\\new', msg: 'one\\ntwo': pycef, pourover, nsyslog-parser
written: name 'a|b', msg 'C:\\=|'
  'a|b', severity 5, msg: 'C:\\=|': format-cef, cefevent
written: name 'started', cn1 -5
  'started', severity 5, cn1: '-5': format-cef, cefevent
written: name 'started', deviceCustomNumber1 0
  'started', severity 5, cn1: '0': format-cef, cefevent
written: name 'started', cn1 0
  cefevent's set_field tells False
  'started', severity 5, cn1: '0': format-cef
  'started', severity 5: cefevent
LEEF:2.0|Vendor|Product|1.0|100|^|src=192.0.2.1^cnt=3^usrName=me
  {"src":"192.0.2.1","cnt":"3","usrName":"me"}: nsyslog-parser
LEEF:2.0|Vendor|Product|1.0|100|0x5E|src=192.0.2.1^cnt=3^usrName=me
  {"src":"192.0.2.1^cnt"}: nsyslog-parser
SEEN
