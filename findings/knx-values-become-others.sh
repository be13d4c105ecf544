#!/usr/bin/env bash
# Six KNX libraries of npm and PyPI write or read valid values of the building bus as others: temperatures just below zero as -20.48,
# brightness and setpoints as a third or half, "no value" as 670760.96, and texts, dates and alarms change, too, with no error.
#
# Guess: the KNX standard (03_07_02, datapoint types) has 9.xxx as 0.01 * M * 2^E with M of 12 bits in two's complement and E of 4, and 7FFF
# for an invalid value; 10.001 with day 0 for "no day"; 11.001 with years from 90 to 99 as 1990 to 1999; 14.xxx as IEEE 754; 16.000 as 14
# characters of ASCII and 16.001 of ISO 8859-1, zeros behind them; 19.001 with flags that say which of its fields are not valid; 21.001 with
# five bits; and 213.100 as four temperatures in steps of 0.02 (to 655.34). A library that takes a value gives the nearest that the type
# has, and one that reads it gives the same.
#
# Seen 2026-12-01; xknx 4.0.0 has the right ones, and knxdclient 1.2.0 the same for its types, but for 7FFF and a step of 400000; they do
# not have 21.001 and 213.100, where the standard tells the right value and knxultimate 5.4.0 has the one of 21.001:
#
#   9.001: 0.29 (steps of 0.01)    knx 2.5.4, knxultimate, knxip 0.5 and knxpy 0.2.7 write 0.28
#   9.001: -0.004                  knxpy and knx-stack 0.9.2 write -20.48, knxip -0.01; 0 is right
#   9.004: 400000 (lux)            knxip writes 128778.24
#   9.001: 7FFF, no value          knx, knxultimate, knxip, knxpy, knx-stack and knxdclient read 670760.96; xknx has an error
#   10.001: 10:30 on no day        knx reads it as one on Sunday and writes that back
#   11.001: 31 December 1999       knxpy reads 2099
#   14.068: 21.7                   knxpy writes 21
#   16.000: "Temperatur 100"       knxpy reads "Temperatur 1"
#   16.001: "Küche"                knx reads "K|che", and leaves the zeros behind it, as does knxultimate
#   19.001: 10:30 on no date       knx and knxultimate read 30 November 1899
#   21.001: alarm not acknowledged knx writes back what it read as no alarm
#   213.100: 21, 20, 14 and 8      knxultimate reads 10.5, 10, 7 and 4, and writes 21 as 61.96
#
# So whoever collects values from a KNX bus should compare a few, also below zero and above 20.47, with what the device shows.
#
# Needs node with npm, python3 with venv, a minute, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
for program in node npm python3; do command -v "$program" >/dev/null || { echo "$program is missing"; exit 2; }; done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export TZ=UTC LC_ALL=C.UTF-8 PYTHONUTF8=1
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . knx@2.5.4 knxultimate@5.4.0 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check xknx==4.0.0 knxdclient==1.2.0 knxip==0.5 knxpy==0.2.7 \
  knx-stack==0.9.2 >pip.log 2>&1 || { cat pip.log; exit 2; }
cat > cases.json <<'CASES'
[["write", "9.001", 21.3], ["write", "9.001", 0.29], ["write", "9.001", -0.004], ["write", "9.004", 400000],
 ["write", "14.068", 21.7],
 ["write", "213.100", {"Comfort": 21, "Standby": 20, "Economy": 14, "BuildingProtection": 8}],
 ["read", "9.001", "7fff"], ["read", "10.001", "0a1e00"],
 ["read", "11.001", "1f0c63"], ["read", "16.000", "54656d7065726174757220313030"], ["read", "16.001", "4bfc636865000000000000000000"],
 ["read", "19.001", "0000000a1e001c00"], ["read", "21.001", "18"], ["read", "213.100", "041a03e802bc0190"],
 ["again", "10.001", "0a1e00"], ["again", "21.001", "18"]]
CASES
cat > node.cjs <<'JS'
const { readFileSync, writeFileSync } = require('node:fs')
const libraries = { knx: require('knx/src/dptlib'), knxultimate: require('knxultimate/build/dptlib') }
const seen = []
const write = (library, type, value) => {
  const apdu = {}
  library.populateAPDU(value, apdu, type)
  return apdu.data.toString('hex')
}
const shown = (type, value) => {
  if (type === '10.001') return `${value.getDay() === 0 ? 'Sunday' : 'another day'}, ${value.toISOString().slice(11, 19)}`
  if (value instanceof Date) return value.toISOString()
  return typeof value === 'number' ? value : JSON.stringify(value)
}
JSON.parse(readFileSync('cases.json')).forEach(([way, type, value], i) => {
  for (const [name, library] of Object.entries(libraries)) {
    if (name === 'knx' && type === '213.100') continue
    if (name === 'knxultimate' && type === '10.001') continue // it reads "no day" as today
    try {
      const read = () => library.fromBuffer(Buffer.from(value, 'hex'), library.resolve(type))
      if (way === 'write') seen.push([i, name, write(library, type, value)])
      else if (way === 'read') seen.push([i, name, shown(type, read())])
      else seen.push([i, name, write(library, type, read())])
    } catch {
      seen.push([i, name, 'an error'])
    }
  }
})
writeFileSync('node.json', JSON.stringify(seen))
JS
cat > python.py <<'PY'
import datetime, json, logging, struct, textwrap
logging.disable()
import knxip.conversion, knxpy.util
from knx_stack.datapointtypes import DPT_Float_16
from knxdclient.encoding import KNXDPT, decode_value, encode_value
from xknx.dpt import DPTArray, DPTBase

def xknx_read(kind, data):
    value = DPTBase.parse_transcoder(kind).from_knx(DPTArray(list(data)))
    return {name: part for name, part in value.as_dict().items() if part not in (None, False)} if hasattr(value, "as_dict") else value

def xknx_write(kind, value):
    return bytes(DPTBase.parse_transcoder(kind).to_knx(value).value)

def stack_read(kind, data):
    value = DPT_Float_16()
    value.value = int.from_bytes(data, "big")
    return value.decode()

def stack_write(kind, value):
    written = DPT_Float_16()
    written.encode(value)
    return written.value.to_bytes(2, "big")

def setpoints(data):
    return ", ".join(f"{value * 0.02:.2f}" for value in struct.unpack(">4h", data))

daemon = {"9": KNXDPT.FLOAT16, "10": KNXDPT.TIME, "11": KNXDPT.DATE, "14": KNXDPT.FLOAT32, "16": KNXDPT.STRING}
bus = ["9", "11", "14", "16"]
plain = {"16": "16.000"}
readers = {
    "xknx": (["9", "10", "11", "14", "16", "19"], xknx_read),
    "knxdclient": (list(daemon), lambda kind, data: decode_value(data, daemon[kind.split(".")[0]])),
    "knxip": (["9", "11"], lambda kind, data: (knxip.conversion.knx2_to_float if kind[0] == "9" else knxip.conversion.knx_to_date)(data)),
    "knxpy": (bus, lambda kind, data: knxpy.util.decode_dpt(data, plain.get(kind.split(".")[0], kind.split(".")[0]))),
    "knx-stack": (["9"], stack_read),
}
writers = {
    "xknx": (["9", "14"], xknx_write),
    "knxdclient": (["9", "14"], lambda kind, value: encode_value(float(value), daemon[kind.split(".")[0]])),
    "knxip": (["9"], lambda kind, value: bytes(knxip.conversion.float_to_knx2(value))),
    "knxpy": (["9", "14"], lambda kind, value: bytes(knxpy.util.encode_dpt(value, kind.split(".")[0]))[1:]),
    "knx-stack": (["9"], stack_write),
}

def meant(kind, data):
    if kind == "213.100":
        return setpoints(data)
    if kind == "21.001":
        names = ["out of service", "fault", "overridden", "alarm", "not acknowledged"]
        return ", ".join(name for i, name in enumerate(names) if data[0] >> i & 1)
    value = xknx_read(kind, data)
    return f"{value:.8g}" if isinstance(value, (int, float)) else value

node = json.load(open("node.json"))
for i, (way, kind, value) in enumerate(json.load(open("cases.json"))):
    main = kind.split(".")[0]
    values = [(name, result) for case, name, result in node if case == i]
    for name, (kinds, use) in (writers if way == "write" else readers if way == "read" else {}).items():
        if main in kinds and not (name == "knxpy" and kind == "16.001"):  # it has an error of its own there
            try:
                values.append((name, use(kind, value).hex() if way == "write" else use(kind, bytes.fromhex(value))))
            except Exception:
                values.append((name, "an error"))
    print(f"{'read and write back' if way == 'again' else way} {kind} {value}")
    names = {}
    for name, result in values:
        if way != "read" and result != "an error":
            result = f"{result} is {meant(kind, bytes.fromhex(result))}"
        elif isinstance(result, (int, float)):
            result = f"{result:.8g}"
        elif isinstance(result, str) and result.startswith('"'):
            result = json.loads(result)
        names.setdefault(repr(result) if main == "16" else str(result), []).append(name)
    for result in names:
        print(textwrap.fill(f"{result}: {', '.join(names[result])}", 140, initial_indent="  ", subsequent_indent="      "))
    if main == "213" and way == "read":
        print(f"  {setpoints(bytes.fromhex(value))}: the standard's 16 bits with a sign in steps of 0.02")
PY
node node.cjs >node.log 2>&1 || { cat node.log; exit 1; }
venv/bin/python python.py | tee seen
diff seen - <<'SEEN' && echo "as it was"
write 9.001 21.3
  0c29 is 21.3: knx, knxultimate, xknx, knxdclient, knxip, knxpy, knx-stack
write 9.001 0.29
  001c is 0.28: knx, knxultimate, knxip, knxpy
  001d is 0.29: xknx, knxdclient, knx-stack
write 9.001 -0.004
  7800 is 0: knx
  0000 is 0: knxultimate, xknx, knxdclient
  87ff is -0.01: knxip
  8000 is -20.48: knxpy, knx-stack
write 9.004 400000
  7cc4 is 399769.6: knx, knxultimate, knxdclient, knxpy, knx-stack
  7cc5 is 400097.28: xknx
  7989 is 128778.24: knxip
write 14.068 21.7
  41ad999a is 21.7: knx, knxultimate, xknx, knxdclient
  41a80000 is 21: knxpy
write 213.100 {'Comfort': 21, 'Standby': 20, 'Economy': 14, 'BuildingProtection': 8}
  0c1a07d005780320 is 61.96, 40.00, 28.00, 16.00: knxultimate
read 9.001 7fff
  670760.96: knx, knxultimate, knxdclient, knxip, knxpy, knx-stack
  an error: xknx
read 10.001 0a1e00
  Sunday, 10:30:00: knx
  {'hour': 10, 'minutes': 30, 'day': 'no_day'}: xknx
  KNXTime(time=datetime.time(10, 30), weekday=None): knxdclient
read 11.001 1f0c63
  1999-12-31T00:00:00.000Z: knx, knxultimate
  {'year': 1999, 'month': 12, 'day': 31}: xknx
  1999-12-31: knxdclient, knxip
  2099-12-31: knxpy
read 16.000 54656d7065726174757220313030
  'Temperatur 100': knx, knxultimate, xknx, knxdclient
  'Temperatur 1': knxpy
read 16.001 4bfc636865000000000000000000
  'K|che\x00\x00\x00\x00\x00\x00\x00\x00\x00': knx
  'Küche\x00\x00\x00\x00\x00\x00\x00\x00\x00': knxultimate
  'Küche': xknx, knxdclient
read 19.001 0000000a1e001c00
  1899-11-30T10:30:00.000Z: knx, knxultimate
  {'hour': 10, 'minutes': 30}: xknx
read 21.001 18
  {"outofservice":0,"fault":0,"overridden":0,"inalarm":1,"alarmunack":1}: knx
  {"outOfService":false,"fault":false,"overridden":false,"inAlarm":true,"alarmUnAck":true}: knxultimate
read 213.100 041a03e802bc0190
  {"Comfort":10.5,"Standby":10,"Economy":7,"BuildingProtection":4}: knxultimate
  21.00, 20.00, 14.00, 8.00: the standard's 16 bits with a sign in steps of 0.02
read and write back 10.001 0a1e00
  ea1e00 is {'hour': 10, 'minutes': 30, 'day': 'sunday'}: knx
read and write back 21.001 18
  08 is alarm: knx
  18 is alarm, not acknowledged: knxultimate
SEEN
