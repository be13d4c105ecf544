#!/usr/bin/env bash
# Five protobuf compilers lose the first part of a message in two parts, signs, defaults or map values of valid messages, with no error.
#
# Guess: what the encoding guide of Protocol Buffers says each compiler reads. An embedded message that comes twice is merged ("Last One
# Wins": so two messages one after another are their merge); a negative int32, int64 or enum is a varint of ten bytes ("Signed Integers");
# the fields of an unknown group are passed over ("Groups"). The language guide for proto3: an enum that is not there is its first value,
# which is zero; a map entry without a value, which some languages write, has the default one.
#
# Seen 2026-11-29; protobuf 7.36.2 of PyPI and protobufjs 8.8.1 read all of it as the guides say, and what is not named the others, too:
#
#   an embedded message in two parts, alone,    protons 9.0.2 (js-libp2p's), pbf 5.1.2, protocol-buffers 5.0.0, protobufjs 7.6.6 and
#   in a map, in a oneof, with a list within    betterproto 1.2.5 (PyPI): only the second part
#   a map entry without a value                 protons, pbf: undefined; protocol-buffers: null; protobufjs 7: an error
#   int32 -1                                    protocol-buffers: 18446744069414584000
#   int64 -1 and 2^63 - 1                       protocol-buffers: -2^63 for both; pbf rounds the second
#   enum -1                                     pbf, protocol-buffers, betterproto: 2^64 - 1, the first two rounded
#   no enum, with values for 0 and -1           protons: -1, also for a 0 that it wrote itself
#   an unknown group with a field 1             betterproto: that field is taken for the message's own; pbf, protocol-buffers: an error
#
# So a message is written once, whole; a map of messages is a list of pairs, signed numbers are sint64, and no enum has negative values.
#
# Needs python3 with venv, node with npm, and network for the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check protobuf==7.36.2 betterproto==1.2.5
npm install --silent --no-audit --no-fund protons@9.0.2 protons-runtime@7.1.2 esbuild@0.28.2 protobufjs@8.8.1 old@npm:protobufjs@7.6.6 \
    protocol-buffers@5.0.0 pbf@5.1.2 >/dev/null
cat > message.proto <<'PROTO'
syntax = "proto3";
enum Sign { ZERO = 0; MINUS = -1; }
message Inner { uint32 a = 1; uint32 b = 2; repeated uint32 c = 3; }
message Outer {
  Inner inner = 1;
  map<string, Inner> map = 2;
  int32 number = 3;
  oneof choice { Inner x = 4; string y = 5; }
  Sign sign = 6;
  int64 long = 7;
}
PROTO
bin=node_modules/.bin
$bin/protons message.proto -o . >/dev/null
$bin/esbuild message.ts --format=esm --log-level=error --outfile=protons.mjs
$bin/protocol-buffers message.proto -o protocol-buffers.cjs
$bin/pbf message.proto > pbf.mjs
cat > cases <<'CASES'
inner-in-two-parts 0a0208010a021002
list-in-two-parts 0a0218010a021802
map-value-in-two-parts 120b0a016b1202080112021002
oneof-in-two-parts 2202080122021002
map-entry-without-value 12030a016b
int32--1 18ffffffffffffffffff01
int64--1 38ffffffffffffffffff01
int64-2^63-1 38ffffffffffffffff7f
enum--1 30ffffffffffffffffff01
nothing 1800
unknown-group 7b08027c1805
CASES
cat > read.py <<'PY'
import typing
from dataclasses import dataclass
import betterproto
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
FIELDS = {"Inner": [("a", 13), ("b", 13), ("c", 13)], "MapEntry": [("key", 9), ("value", 11)],
          "Outer": [("inner", 11), ("map", 11), ("number", 5), ("x", 11), ("y", 9), ("sign", 14), ("long", 3)]}
file = descriptor_pb2.FileDescriptorProto(name="message.proto", syntax="proto3")
sign = file.enum_type.add(name="Sign")
sign.value.add(name="ZERO", number=0)
sign.value.add(name="MINUS", number=-1)
outer = file.message_type.add(name="Outer")
outer.oneof_decl.add(name="choice")
for name, fields in FIELDS.items():
    message = outer if name == "Outer" else outer.nested_type.add(name=name) if name == "MapEntry" else file.message_type.add(name=name)
    message.options.map_entry = name == "MapEntry"
    for number, (field, kind) in enumerate(fields, 1):
        added = message.field.add(name=field, number=number, type=kind, label=3 if field in ("c", "map") else 1)
        if kind in (11, 14):
            added.type_name = ".Outer.MapEntry" if field == "map" else ".Sign" if kind == 14 else ".Inner"
        if field in ("x", "y"):
            added.oneof_index = 0
pool = descriptor_pool.DescriptorPool()
pool.AddSerializedFile(file.SerializeToString())
protobuf = message_factory.GetMessageClass(pool.FindMessageTypeByName("Outer"))

class Sign(betterproto.Enum):
    ZERO = 0
    MINUS = -1

@dataclass
class Inner(betterproto.Message):
    a: int = betterproto.uint32_field(1)
    b: int = betterproto.uint32_field(2)
    c: typing.List[int] = betterproto.uint32_field(3)

@dataclass
class Outer(betterproto.Message):
    inner: Inner = betterproto.message_field(1)
    map: typing.Dict[str, Inner] = betterproto.map_field(2, betterproto.TYPE_STRING, betterproto.TYPE_MESSAGE)
    number: int = betterproto.int32_field(3)
    x: Inner = betterproto.message_field(4, group="choice")
    y: str = betterproto.string_field(5, group="choice")
    sign: Sign = betterproto.enum_field(6)
    long: int = betterproto.int64_field(7)

for line in open("cases"):
    name, item = line.split()
    data = bytes.fromhex(item)
    print(f"{name}, protobuf: {' '.join(str(protobuf.FromString(data)).split())}")
    read, default = Outer().parse(data), Outer()
    print(f"{name}, betterproto:", *(f"{field}={getattr(read, field)}" for field, _ in FIELDS["Outer"]
                                    if getattr(read, field) != getattr(default, field)))
PY
cat > read.mjs <<'JS'
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import { PbfReader } from 'pbf'
import { Outer as protons } from './protons.mjs'
import { readOuter } from './pbf.mjs'
const require = createRequire(import.meta.url)
const protobufjs = library => {
  const type = library.loadSync('message.proto').lookupType('Outer')
  return bytes => type.toObject(type.decode(bytes), { longs: String, enums: Number, defaults: true })
}
const compilers = {
  'protobufjs 8': protobufjs(require('protobufjs')),
  'protobufjs 7': protobufjs(require('old')),
  protons: bytes => protons.decode(bytes),
  pbf: bytes => readOuter(new PbfReader(bytes)),
  'protocol-buffers': bytes => require('./protocol-buffers.cjs').Outer.decode(Buffer.from(bytes))
}
const empty = value => value == null || ['', 0, '0', 0n, 'ZERO'].includes(value) ||
  (typeof value === 'object' && !(value instanceof Map ? value.size : Object.keys(value).length))
const shown = (value, inMap) => {
  if (value instanceof Map) value = Object.fromEntries(value)
  if (!value || typeof value !== 'object') return String(value)
  if (Array.isArray(value)) return `[${value}]`
  const fields = Object.entries(value).filter(([name, one]) => inMap || (name !== 'choice' && !empty(one)))
  return '{' + fields.map(([name, one]) => `${name}: ${shown(one, name === 'map')}`).join(', ') + '}'
}
for (const line of readFileSync('cases', 'utf8').trim().split('\n')) {
  const [name, item] = line.split(' ')
  for (const [compiler, read] of Object.entries(compilers)) {
    let seen
    try {
      seen = shown(read(new Uint8Array(Buffer.from(item, 'hex'))))
    } catch {
      seen = 'an error'
    }
    console.log(`${name}, ${compiler}: ${seen}`)
  }
}
const own = protons.decode(protons.encode({ number: 1, map: new Map(), sign: 'ZERO', long: 0n }))
console.log(`ZERO written by protons and read by it: ${own.sign}`)
JS
{ venv/bin/python read.py; node read.mjs; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
inner-in-two-parts, protobuf: inner { a: 1 b: 2 }
inner-in-two-parts, betterproto: inner=Inner(a=0, b=2, c=[])
list-in-two-parts, protobuf: inner { c: 1 c: 2 }
list-in-two-parts, betterproto: inner=Inner(a=0, b=0, c=[2])
map-value-in-two-parts, protobuf: map { key: "k" value { a: 1 b: 2 } }
map-value-in-two-parts, betterproto: map={'k': Inner(a=0, b=2, c=[])}
oneof-in-two-parts, protobuf: x { a: 1 b: 2 }
oneof-in-two-parts, betterproto: x=Inner(a=0, b=2, c=[])
map-entry-without-value, protobuf: map { key: "k" value { } }
map-entry-without-value, betterproto: map={'k': Inner(a=0, b=0, c=[])}
int32--1, protobuf: number: -1
int32--1, betterproto: number=-1
int64--1, protobuf: long: -1
int64--1, betterproto: long=-1
int64-2^63-1, protobuf: long: 9223372036854775807
int64-2^63-1, betterproto: long=9223372036854775807
enum--1, protobuf: sign: MINUS
enum--1, betterproto: sign=18446744073709551615
nothing, protobuf: 
nothing, betterproto:
unknown-group, protobuf: number: 5
unknown-group, betterproto: inner=2 number=5
inner-in-two-parts, protobufjs 8: {inner: {a: 1, b: 2}}
inner-in-two-parts, protobufjs 7: {inner: {b: 2}}
inner-in-two-parts, protons: {sign: MINUS, inner: {b: 2}}
inner-in-two-parts, pbf: {inner: {b: 2}}
inner-in-two-parts, protocol-buffers: {inner: {b: 2}}
list-in-two-parts, protobufjs 8: {inner: {c: [1,2]}}
list-in-two-parts, protobufjs 7: {inner: {c: [2]}}
list-in-two-parts, protons: {sign: MINUS, inner: {c: [2]}}
list-in-two-parts, pbf: {inner: {c: [2]}}
list-in-two-parts, protocol-buffers: {inner: {c: [2]}}
map-value-in-two-parts, protobufjs 8: {map: {k: {a: 1, b: 2}}}
map-value-in-two-parts, protobufjs 7: {map: {k: {b: 2}}}
map-value-in-two-parts, protons: {map: {k: {b: 2}}, sign: MINUS}
map-value-in-two-parts, pbf: {map: {k: {b: 2}}}
map-value-in-two-parts, protocol-buffers: {map: {k: {b: 2}}}
oneof-in-two-parts, protobufjs 8: {x: {a: 1, b: 2}}
oneof-in-two-parts, protobufjs 7: {x: {b: 2}}
oneof-in-two-parts, protons: {sign: MINUS, x: {b: 2}}
oneof-in-two-parts, pbf: {x: {b: 2}}
oneof-in-two-parts, protocol-buffers: {x: {b: 2}}
map-entry-without-value, protobufjs 8: {map: {k: {}}}
map-entry-without-value, protobufjs 7: an error
map-entry-without-value, protons: {map: {k: undefined}, sign: MINUS}
map-entry-without-value, pbf: {map: {k: undefined}}
map-entry-without-value, protocol-buffers: {map: {k: null}}
int32--1, protobufjs 8: {number: -1}
int32--1, protobufjs 7: {number: -1}
int32--1, protons: {number: -1, sign: MINUS}
int32--1, pbf: {number: -1}
int32--1, protocol-buffers: {number: 18446744069414584000}
int64--1, protobufjs 8: {long: -1}
int64--1, protobufjs 7: {long: -1}
int64--1, protons: {sign: MINUS, long: -1}
int64--1, pbf: {long: -1}
int64--1, protocol-buffers: {long: -9223372036854776000}
int64-2^63-1, protobufjs 8: {long: 9223372036854775807}
int64-2^63-1, protobufjs 7: {long: 9223372036854775807}
int64-2^63-1, protons: {sign: MINUS, long: 9223372036854775807}
int64-2^63-1, pbf: {long: 9223372036854776000}
int64-2^63-1, protocol-buffers: {long: -9223372036854776000}
enum--1, protobufjs 8: {sign: -1}
enum--1, protobufjs 7: {sign: -1}
enum--1, protons: {sign: MINUS}
enum--1, pbf: {sign: 18446744073709552000}
enum--1, protocol-buffers: {sign: 18446744073709552000}
nothing, protobufjs 8: {}
nothing, protobufjs 7: {}
nothing, protons: {sign: MINUS}
nothing, pbf: {}
nothing, protocol-buffers: {}
unknown-group, protobufjs 8: {number: 5}
unknown-group, protobufjs 7: {number: 5}
unknown-group, protons: {number: 5, sign: MINUS}
unknown-group, pbf: an error
unknown-group, protocol-buffers: an error
ZERO written by protons and read by it: MINUS
SEEN
