#!/usr/bin/env bash
# Avro of PyPI, fastavro and polars read other values, or none, from valid Avro data, with no error.
#
# Guess: what the Avro specification 1.12.0 says they read. "Complex Types": the default of bytes and fixed is a JSON string whose code
# points 0 to 255 are the bytes; a record's own fields have defaults, too. "Schema Resolution": a field that the reader has and the writer
# has not gets the default, and one that has been renamed is found by its alias (which is optional, but then it is missing). "Object
# Container Files": a file consists of blocks, each with a count of its objects, and nothing says that the count is not 0.
#
# Seen 2026-11-30; avsc 5.7.9 of npm reads the first five as the specification says:
#
#   default "\u00ff\u0001" of bytes     avro 1.12.2: c3bf01, fastavro 1.13.1: a str
#   the same of fixed, size 2           avro: c3bf01, which is 3 bytes, fastavro: a str
#   default {"y": 4} of a record with   fastavro: y only
#   x, whose own default is 3
#   a renamed field with alias and      avro: the default, also though the data has a value; without a default, an error
#   default
#   a file with an empty block          polars 2.1.0: only what is before the block; avro and fastavro: all
#   2^53 + 1 for ["double", "long"]     fastavro writes 2^53 as a double, avro the long
#
# So no new field of a schema has bytes with a default, fields keep their names, and a writer of files leaves out blocks without objects.
#
# Needs python3 with venv, node with npm, and network for the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check avro==1.12.2 fastavro==1.13.1 polars==2.1.0
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . avsc@5.7.9 >/dev/null
cat > cases.json <<'JSON'
[
  { "name": "bytes", "data": "02", "writer": [["a", "long"]], "reader": [["a", "long"], ["c", "bytes", "\u00ff\u0001"]] },
  {
    "name": "fixed",
    "data": "02",
    "writer": [["a", "long"]],
    "reader": [["a", "long"], ["c", { "type": "fixed", "name": "Two", "size": 2 }, "\u00ff\u0001"]]
  },
  {
    "name": "record",
    "data": "02",
    "writer": [["a", "long"]],
    "reader": [
      ["a", "long"],
      ["c", {
        "type": "record",
        "name": "Point",
        "fields": [{ "name": "x", "type": "long", "default": 3 }, { "name": "y", "type": "long" }]
      }, { "y": 4 }]
    ]
  },
  { "name": "alias with default", "data": "02", "writer": [["old", "long"]], "reader": [["new", "long", 5, ["old"]]] },
  { "name": "alias alone", "data": "02", "writer": [["old", "long"]], "reader": [["new", "long", null, ["old"]]] }
]
JSON
cat > read.py <<'PY'
import importlib.metadata
import io
import json
import sys
import avro.datafile
import avro.errors
import avro.io
import avro.schema
import fastavro
import polars

def record(fields):
    made = []
    for name, kind, *more in fields:
        field = {"name": name, "type": kind}
        if more and more[0] is not None:
            field["default"] = more[0]
        if len(more) > 1:
            field["aliases"] = more[1]
        made.append(field)
    return {"type": "record", "name": "Row", "fields": made}

def parsed(schema):
    return avro.schema.parse(json.dumps(schema))

def by_avro(data, writer, reader):
    return avro.io.DatumReader(parsed(writer), parsed(reader)).read(avro.io.BinaryDecoder(io.BytesIO(data)))

def by_fastavro(data, writer, reader):
    return fastavro.schemaless_reader(io.BytesIO(data), writer, reader)

def number(value):
    value = value << 1
    made = b""
    while value > 127:
        made += bytes([value & 127 | 128])
        value >>= 7
    return made + bytes([value])

def container(blocks):
    schema = record([["a", "long"]])
    made = b"Obj\x01" + number(2)
    for text in ("avro.schema", json.dumps(schema), "avro.codec", "null"):
        made += number(len(text)) + text.encode()
    made += number(0) + b"S" * 16
    for block in blocks:
        rows = b"".join(map(number, block))
        made += number(len(block)) + number(len(rows)) + rows + b"S" * 16
    return made

for package in ("avro", "fastavro", "polars"):
    print(package, importlib.metadata.version(package), file=sys.stderr)
for case in json.load(open("cases.json")):
    for library, read in (("avro", by_avro), ("fastavro", by_fastavro)):
        try:
            seen = read(bytes.fromhex(case["data"]), record(case["writer"]), record(case["reader"]))
        except avro.errors.SchemaResolutionException:
            seen = "an error"
        print(f"{case['name']}, {library}: {seen}")
for blocks in ([[1, 2], [3]], [[1, 2], [], [3]]):
    data = container(blocks)
    print(f"{blocks}, avro:", [row["a"] for row in avro.datafile.DataFileReader(io.BytesIO(data), avro.io.DatumReader())])
    print(f"{blocks}, fastavro:", [row["a"] for row in fastavro.reader(io.BytesIO(data))])
    print(f"{blocks}, polars:", polars.read_avro(io.BytesIO(data))["a"].to_list())
union, value = ["double", "long"], 2 ** 53 + 1
made = io.BytesIO()
avro.io.DatumWriter(parsed(union)).write(value, avro.io.BinaryEncoder(made))
print("2^53 + 1, written by avro:", fastavro.schemaless_reader(io.BytesIO(made.getvalue()), union, None))
made = io.BytesIO()
fastavro.schemaless_writer(made, union, value)
print("2^53 + 1, written by fastavro:", avro.io.DatumReader(parsed(union)).read(avro.io.BinaryDecoder(io.BytesIO(made.getvalue()))))
PY
cat > read.cjs <<'JS'
const { readFileSync } = require('node:fs')
const avro = require('avsc')
const record = fields => ({
  type: 'record',
  name: 'Row',
  fields: fields.map(([name, type, value, aliases]) => (
    { name, type, aliases: aliases ?? [], ...(value == null ? {} : { default: value }) }
  ))
})
const shown = value => Buffer.isBuffer(value) ? value.toString('hex') : typeof value === 'object' ? JSON.stringify(value) : value
for (const { name, data, writer, reader } of JSON.parse(readFileSync('cases.json'))) {
  const types = [writer, reader].map(fields => avro.Type.forSchema(record(fields)))
  const row = types[1].fromBuffer(Buffer.from(data, 'hex'), types[1].createResolver(types[0]))
  console.log(`${name}, avsc: ${Object.entries(row).map(([field, value]) => `${field}=${shown(value)}`).join(' ')}`)
}
JS
{ venv/bin/python read.py; node read.cjs; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
bytes, avro: {'a': 1, 'c': b'\xc3\xbf\x01'}
bytes, fastavro: {'a': 1, 'c': 'ÿ\x01'}
fixed, avro: {'a': 1, 'c': b'\xc3\xbf\x01'}
fixed, fastavro: {'a': 1, 'c': 'ÿ\x01'}
record, avro: {'a': 1, 'c': {'x': 3, 'y': 4}}
record, fastavro: {'a': 1, 'c': {'y': 4}}
alias with default, avro: {'new': 5}
alias with default, fastavro: {'new': 1}
alias alone, avro: an error
alias alone, fastavro: {'new': 1}
[[1, 2], [3]], avro: [1, 2, 3]
[[1, 2], [3]], fastavro: [1, 2, 3]
[[1, 2], [3]], polars: [1, 2, 3]
[[1, 2], [], [3]], avro: [1, 2, 3]
[[1, 2], [], [3]], fastavro: [1, 2, 3]
[[1, 2], [], [3]], polars: [1, 2]
2^53 + 1, written by avro: 9007199254740993
2^53 + 1, written by fastavro: 9007199254740992.0
bytes, avsc: a=1 c=ff01
fixed, avsc: a=1 c=ff01
record, avsc: a=1 c={"x":3,"y":4}
alias with default, avsc: new=1
alias alone, avsc: new=1
SEEN
