#!/usr/bin/env bash
# Four libraries of PyPI and npm that read Bluetooth beacons tell values that no sensor measured: "not available" is -163.84 degrees,
# 163.84 % and 3647 mV, one pressure is 100 times another, ".net" is a line end, and an uptime is negative, with no error.
#
# Guess: Ruuvi's data format 5 (docs.ruuvi.com, "Data format 5 (RAWv2)") has temperature in 0.005 degrees, humidity in 0.0025 %, pressure in
# Pa less 50000, acceleration in mg, and battery and transmission power in 11 and 5 bits, and for each a value that says "not available":
# 8000 for signed, all bits set for others; format 6 of Ruuvi Air has the first ones alike. Eddystone-URL (its specification, "HTTP URL
# encoding") has 7 to 13 for .com, .org, .edu, .net, .info, .biz and .gov, and Eddystone-TLM (plain) has counters of 32 bits without a sign.
# So a reader gives no value where there is none.
#
# Seen 2026-12-01; ruuvitag-ble 0.4.0 of PyPI, and advlib-ble-services 1.7.0 and eddystone-url-encoding 1.0.1 of npm have the right values:
#
#   format 5, nothing available    aioblescan 0.2.14 and advlib-ble-manufacturers 1.14.0 tell -163.84 degrees, 163.84 %, 1155.35 hPa,
#                                  -32768 mg, 3647 mV and 22 dBm, bleparser 3.7.3 tells the last two
#   no temperature only            simple-ruuvitag 0.0.8 tells -163.84 degrees, too, since it compares bytes with a number
#   no acceleration only           aioblescan, advlib-ble-manufacturers and simple-ruuvitag tell -32768 mg; ruuvi-decoders 0.2.0, which is
#                                  right otherwise, logs an error and gives no temperature either
#   format 6, no temperature       advlib-ble-manufacturers tells -163.84 degrees, since it compares a signed number with 8000
#   format 3 and format 5          aioblescan tells 101742 for the one and 1000.44 for the other, both as "pressure"
#   https://example.net            aioblescan reads .net and .gov as a line feed and a carriage return
#   7 years of uptime              aioblescan tells a negative one
#
# So values from beacons need a look at their range before they go into an average or an alarm.
#
# Needs node with npm, python3 with venv, a minute, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
for program in node npm python3; do command -v "$program" >/dev/null || { echo "$program is missing"; exit 2; }; done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export LC_ALL=C.UTF-8 PYTHONUTF8=1
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . advlib-ble-manufacturers@1.14.0 advlib-ble-services@1.7.0 \
  eddystone-url-encoding@1.0.1 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check aioblescan==0.2.14 bleparser==3.7.3 simple-ruuvitag==0.0.8 ruuvi-decoders==0.2.0 \
  ruuvitag-ble==0.4.0 >pip.log 2>&1 || { cat pip.log; exit 2; }
cat > cases <<'CASES'
ruuvi 0512fc5394c37c0004fffc040cac364200cd020000000001 everything available
ruuvi 058000ffffffff800080008000ffffffffff020000000001 nothing available
ruuvi 0580005394c37c0004fffc040cac364200cd020000000001 no temperature
ruuvi 0512fc5394c37c800080008000ac364200cd020000000001 no acceleration
ruuvi 0329841eca1e03e8fc17fbe60b53 format 3
air 068000566846c000d602008a0c4c00cd10000001 format 6 without a temperature
eddystone 10ec036578616d706c650a https://example.net
eddystone 10ec036578616d706c650d https://example.gov
eddystone 20000bb8fb800000006483aa7e80 7 years of uptime
CASES
cat > node.cjs <<'JS'
const { readFileSync, writeFileSync } = require('node:fs')
const seen = readFileSync('cases', 'utf8').trim().split('\n').map(line => {
  const [kind, hex] = line.split(' ')
  const bytes = Buffer.from(hex, 'hex')
  if (kind === 'eddystone') {
    const { uri, uptime } = require('advlib-ble-services/lib/eddystone').process(hex)
    const url = hex.startsWith('10') ? [['eddystone-url-encoding', require('eddystone-url-encoding').decode(bytes.subarray(2))]] : []
    return [['advlib-ble-services', uri ?? `${uptime} ms`], ...url]
  }
  const read = require('advlib-ble-manufacturers/lib/ruuvi').process(hex)
  const { temperature, relativeHumidity, pressure, acceleration, batteryVoltage, txPower } = read
  if (kind === 'ruuvi' && temperature === undefined) return []
  const mg = acceleration?.map(value => Math.round(value * 1000))
  const mv = batteryVoltage && Math.round(batteryVoltage * 1000)
  return [['advlib-ble-manufacturers', [temperature, relativeHumidity, pressure / 100, mg, mv, txPower]]]
})
writeFileSync('node.json', JSON.stringify(seen))
JS
cat > python.py <<'PY'
import json, logging, textwrap, warnings
warnings.simplefilter("ignore")
logging.disable()
import aioblescan, ruuvi_decoders, simple_ruuvitag.decoder
from aioblescan.plugins import EddyStone, RuuviWeather
from bleparser import BleParser
from ruuvitag_ble.df3_decoder import DataFormat3Decoder
from ruuvitag_ble.df5_decoder import DataFormat5Decoder
from ruuvitag_ble.df6_decoder import DataFormat6Decoder

def report(*parts):
    data = b"".join(bytes([len(part)]) + part for part in parts)
    body = bytes([2, 1, 0, 1, 1, 0, 0, 0, 0, 2, len(data)]) + data + bytes([0xc0])
    return bytes([4, 0x3e, len(body)]) + body

def by_aioblescan(kind, data):
    event = aioblescan.HCI_Event()
    if kind == "eddystone":
        event.decode(report(b"\x01\x06", b"\x03\xaa\xfe", b"\x16\xaa\xfe" + data))
        read = EddyStone().decode(event)
        return read.get("url") or f"{read['uptime']} ms"
    event.decode(report(b"\x01\x06", b"\xff\x99\x04" + data))
    read = RuuviWeather().decode(event)
    return [read["temperature"], read["humidity"], read["pressure"], read["accelerometer"][:3], read["voltage"], read.get("tx_power")]

def by_bleparser(kind, data):
    read = BleParser(discovery=True, filter_duplicates=False).parse_raw_data(report(b"\x01\x06", b"\xff\x99\x04" + data))[0]
    acceleration = [read.get(f"acceleration {axis}") for axis in "xyz"]
    power = read.get("tx power")
    return [read.get("temperature"), read.get("humidity"), read.get("pressure"), acceleration, round(read["voltage"] * 1000), power]

def by_dictionary(decoder):
    def read(kind, data):
        values = decoder(data[0]).decode_data(data.hex())
        if not values:
            return None
        acceleration = [values[f"acceleration_{axis}"] for axis in "xyz"]
        return [values["temperature"], values["humidity"], values["pressure"], acceleration, values["battery"], values.get("tx_power")]
    return read

def by_ruuvitag_ble(kind, data):
    read = {3: DataFormat3Decoder, 5: DataFormat5Decoder, 6: DataFormat6Decoder}[data[0]](data)
    values = [read.temperature_celsius, read.humidity_percentage, read.pressure_hpa]
    if data[0] == 6:
        return values
    return values + [read.acceleration_vector_mg, read.battery_voltage_mv, getattr(read, "tx_power_dbm", None)]

libraries = {
    "ruuvitag-ble": (["ruuvi", "air"], by_ruuvitag_ble),
    "aioblescan": (["ruuvi", "eddystone"], by_aioblescan),
    "bleparser": (["ruuvi"], by_bleparser),
    "simple-ruuvitag": (["ruuvi"], by_dictionary(simple_ruuvitag.decoder.get_decoder)),
    "ruuvi-decoders": (["ruuvi"], by_dictionary(ruuvi_decoders.get_decoder)),
}
units = ["degrees", "%", "hPa", "mg", "mV", "dBm"]

def told(value):
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return repr(value)
    parts = []
    for part, unit in zip(value, units):
        if isinstance(part, (list, tuple)):
            part = None if None in part else "/".join(map(str, part))
        elif isinstance(part, float):
            part = f"{part:.2f}"
        parts.append(f"no {unit}" if part is None else f"{part} {unit}")
    return ", ".join(parts)

for line, other in zip(open("cases").read().splitlines(), json.load(open("node.json"))):
    kind, data, name = line.split(" ", 2)
    values = [(library, use(kind, bytes.fromhex(data))) for library, (kinds, use) in libraries.items() if kind in kinds] + other
    print(f"{kind}: {name}")
    names = {}
    for library, value in values:
        names.setdefault(told(value[:3] if kind == "air" else value), []).append(library)
    for text in names:
        line = f"{text}: {', '.join(names[text])}"
        print(textwrap.fill(line, 140, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False))
PY
node --no-deprecation node.cjs
venv/bin/python python.py | tee seen
diff seen - <<'SEEN' && echo "as it was"
ruuvi: everything available
  24.30 degrees, 53.49 %, 1000.44 hPa, 4/-4/1036 mg, 2977 mV, 4 dBm: ruuvitag-ble, aioblescan, bleparser, simple-ruuvitag, ruuvi-decoders,
      advlib-ble-manufacturers
ruuvi: nothing available
  no degrees, no %, no hPa, no mg, no mV, no dBm: ruuvitag-ble
  -163.84 degrees, 163.84 %, 1155.35 hPa, -32768/-32768/-32768 mg, 3647 mV, 22 dBm: aioblescan, advlib-ble-manufacturers
  no degrees, no %, no hPa, no mg, 3647 mV, 22 dBm: bleparser
  nothing: simple-ruuvitag, ruuvi-decoders
ruuvi: no temperature
  no degrees, 53.49 %, 1000.44 hPa, 4/-4/1036 mg, 2977 mV, 4 dBm: ruuvitag-ble, bleparser, ruuvi-decoders
  -163.84 degrees, 53.49 %, 1000.44 hPa, 4/-4/1036 mg, 2977 mV, 4 dBm: aioblescan, simple-ruuvitag, advlib-ble-manufacturers
ruuvi: no acceleration
  24.30 degrees, 53.49 %, 1000.44 hPa, no mg, 2977 mV, 4 dBm: ruuvitag-ble, bleparser
  24.30 degrees, 53.49 %, 1000.44 hPa, -32768/-32768/-32768 mg, 2977 mV, 4 dBm: aioblescan, simple-ruuvitag, advlib-ble-manufacturers
  nothing: ruuvi-decoders
ruuvi: format 3
  -4.30 degrees, 20.50 %, 1017.42 hPa, 1000/-1001/-1050 mg, 2899 mV, no dBm: ruuvitag-ble, bleparser, simple-ruuvitag, ruuvi-decoders
  -4.30 degrees, 20.50 %, 101742 hPa, 1000/-1001/-1050 mg, 2899 mV, no dBm: aioblescan
air: format 6 without a temperature
  no degrees, 55.30 %, 681.12 hPa: ruuvitag-ble
  -163.84 degrees, 55.30 %, 681.12 hPa: advlib-ble-manufacturers
eddystone: https://example.net
  'https://example\n': aioblescan
  'https://example.net': advlib-ble-services, eddystone-url-encoding
eddystone: https://example.gov
  'https://example\r': aioblescan
  'https://example.gov': advlib-ble-services, eddystone-url-encoding
eddystone: 7 years of uptime
  '-208597849600 ms': aioblescan
  '220898880000 ms': advlib-ble-services
SEEN
