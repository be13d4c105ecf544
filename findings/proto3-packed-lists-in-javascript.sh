#!/usr/bin/env bash
# js-libp2p's protobuf compiler, protons, and protocol-buffers read a proto3 list of numbers as one number and other fields.
#
# Guess: any compiler for proto3 makes code that can read what Google's library writes. There a list of numbers is packed by default:
# one length, then the values; the specification says that a reader takes packed and unpacked.
#
# Seen with protobuf 6.33.6 (Python) as the writer, 2026-11-29; `n` is `repeated int32`, `last` an int32, `big` a fixed64:
#
#              protobufjs 8.8.1, pbf 5.1.2   protons 9.0.2 (runtime 7.1.2)   protocol-buffers 5.0.0
#   n: 56, 1   n: 56, 1                      n: 2, last: 1                   n: 2, last: 1
#   n: 3, 4, 5 n: 3, 4, 5                    an error                        an error
#   big: 2^63  2^63                          -2^63                           8 bytes
#
# The length is taken for the list's only number, and the values for further fields (56 is what stands before an int32 of field 7). So
# a schema that others read with these needs `[packed = false]` on each list of numbers, and uint64 instead of fixed64.
#
# Needs python3 with venv, node with npm, and network for the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check protobuf==6.33.6 grpcio-tools==1.76.0
mkdir js
cd js
echo '{ "private": true, "type": "module" }' > package.json
npm install --silent --no-audit --no-fund protons@9.0.2 protons-runtime@7.1.2 esbuild@0.28.2 protobufjs@8.8.1 protocol-buffers@5.0.0 pbf@5.1.2 >/dev/null
cat > list.proto <<'PROTO'
syntax = "proto3";
message List {
  repeated int32 n = 1;
  int32 last = 7;
  fixed64 big = 8;
}
PROTO
../venv/bin/python -m grpc_tools.protoc -I. --python_out=. list.proto
bin=node_modules/.bin
$bin/protons list.proto -o . >/dev/null
$bin/esbuild list.ts --format=esm --log-level=error --outfile=protons.mjs
$bin/protocol-buffers list.proto -o protocol-buffers.cjs
$bin/pbf list.proto > pbf.mjs
cat > read.mjs <<'JS'
import { createRequire } from 'node:module'
import { PbfReader } from 'pbf'
import protobufjs from 'protobufjs'
import { readList } from './pbf.mjs'
import { List as protons } from './protons.mjs'
const old = createRequire(import.meta.url)('./protocol-buffers.cjs').List
const plain = protobufjs.loadSync('list.proto').lookupType('List')
const readers = {
  protobufjs: bytes => plain.decode(bytes),
  pbf: bytes => readList(new PbfReader(bytes)),
  protons: bytes => protons.decode(bytes),
  'protocol-buffers': bytes => old.decode(bytes)
}
const shown = ({ n, last, big }) => `n: ${n}, last: ${last}, big: ${Buffer.isBuffer(big) ? big.toString('hex') : big}`
for (const line of process.argv.slice(2)) {
  const [name, hex] = line.split('=')
  for (const [reader, read] of Object.entries(readers)) {
    try { console.log(`${name} ${reader}: ${shown(read(Buffer.from(hex, 'hex')))}`) } catch { console.log(`${name} ${reader}: an error`) }
  }
}
JS
python=../venv/bin/python
mapfile -t written < <($python -c '
from list_pb2 import List
for name, one in [("56,1", List(n=[56, 1])), ("3,4,5", List(n=[3, 4, 5])), ("2^63", List(big=2**63))]:
    print(f"{name}={one.SerializeToString().hex()}")')
node read.mjs "${written[@]}" | tee seen
diff seen - <<'SEEN' && echo "as it was"
56,1 protobufjs: n: 56,1, last: 0, big: 0
56,1 pbf: n: 56,1, last: 0, big: 0
56,1 protons: n: 2, last: 1, big: 0
56,1 protocol-buffers: n: 2, last: 1, big: null
3,4,5 protobufjs: n: 3,4,5, last: 0, big: 0
3,4,5 pbf: n: 3,4,5, last: 0, big: 0
3,4,5 protons: an error
3,4,5 protocol-buffers: an error
2^63 protobufjs: n: , last: 0, big: 9223372036854775808
2^63 pbf: n: , last: 0, big: 9223372036854776000
2^63 protons: n: , last: 0, big: -9223372036854775808
2^63 protocol-buffers: n: , last: 0, big: 0000000000000080
SEEN
