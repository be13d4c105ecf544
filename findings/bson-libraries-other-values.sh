#!/usr/bin/env bash
# Libraries for BSON read and write other strings, numbers, ids and flags than the ones of the documents, with no error.
#
# Guess: what the BSON specification (version 1.1, bsonspec.org) says. A string has its length before it and may contain the byte 00;
# characters are UTF-8, and those outside the first 65536 have four bytes; the types 10 and 12 are signed integers of 32 and 64 bits; 07 is an
# ObjectId of 12 bytes, which is not a binary (05); 11 is a timestamp, which is not a number; the flag "s" of a regular expression is
# dotall ("." is also a line end).
#
# Seen 2026-11-30; pymongo 4.15.4 reads and writes all of it as the specification says, bson 7.3.4 of npm all but the last two rows:
#
#   @deepkit/bson 1.0.19 (npm)   cuts a short string at a byte 00; a bigint of -2^32, or another negative multiple of that, is 2^32 too
#                                small, so -2^63 becomes a positive number
#   bsonfy 1.0.2 (npm)           reads a character of four bytes as two others; writes it as six bytes that are not UTF-8, which pymongo
#                                refuses; writes 1e300 and Infinity as 0 and 1e20 as 7766279631452241920
#   bson 0.5.10 (PyPI)           reads an ObjectId as 24 bytes of hex digits, which it writes as a binary; reads a timestamp as a number,
#                                which it writes as such, and writes the number 2^63 as a timestamp: so what was read and written back
#                                is another document
#   bson 7.3.4, @deepkit/bson    write a bigint of 2^64 as 0
#   bson 7.3.4, @deepkit/bson    write JavaScript's flag "g" as dotall, and leave out its own dotall, "s": /a.b/g comes to match a line
#                                end, and /a.b/s no longer does
#
# So documents carry bigger numbers as strings, and nothing that came from elsewhere is written back by a different library.
#
# Needs python3 with venv, node with npm, and network for the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv right
python3 -m venv other
right/bin/pip install --quiet --disable-pip-version-check pymongo==4.15.4
other/bin/pip install --quiet --disable-pip-version-check bson==0.5.10
npm install --silent --no-audit --no-fund bson@7.3.4 @deepkit/bson@1.0.19 @deepkit/core@1.0.19 @deepkit/type@1.0.19 bsonfy@1.0.2 >/dev/null
cat > make.py <<'PY'
from bson import Int64, ObjectId, Timestamp, encode
for name, value in {"short-string": "x\0y", "long-string": "x\0" + "y" * 30, "character": "a\U0001f600b", "int32": -5, "int64": Int64(-2**63),
                    "object-id": ObjectId("00112233445566778899aabb"), "timestamp": Timestamp(1700000000, 1)}.items():
    print(name, encode({"a": value}).hex())
PY
right/bin/python make.py > documents
cat > javascript.mjs <<'JS'
import * as bson from 'bson'
import * as deepkit from '@deepkit/bson'
import { readFileSync, writeFileSync } from 'node:fs'
import bsonfy from 'bsonfy'
const shown = value => typeof value === 'string'
  ? JSON.stringify(value).replace(/[^ -~]/g, unit => '\\u' + unit.charCodeAt(0).toString(16).padStart(4, '0'))
  : String(value)
const readers = {
  bson: bytes => bson.deserialize(bytes, { useBigInt64: true }),
  '@deepkit/bson': bytes => deepkit.deserializeBSONWithoutOptimiser(bytes),
  bsonfy: bytes => bsonfy.BSON.deserialize(new Uint8Array(bytes), true)
}
for (const line of readFileSync('documents', 'utf8').trim().split('\n').slice(0, 4)) {
  const [name, item] = line.split(' ')
  for (const [library, read] of Object.entries(readers)) {
    console.log(`${library} reads ${name} as ${shown(read(Buffer.from(item, 'hex')).a)}`)
  }
}
const writers = {
  bson: bson.serialize,
  '@deepkit/bson': deepkit.serializeBSONWithoutOptimiser,
  bsonfy: bsonfy.BSON.serialize
}
const numbers = [1.5, 1e20, 1e300, Infinity, 'a\u{1f600}b']
const bigs = [-1n, -(2n ** 31n), -(2n ** 32n), -(2n ** 32n) - 1n, -(2n ** 40n), -(2n ** 63n), 2n ** 63n - 1n, 2n ** 64n]
const written = []
for (const [library, write] of Object.entries(writers)) {
  for (const value of [...numbers, ...(library === 'bsonfy' ? [] : [...bigs, /a.b/g, /a.b/s])]) {
    written.push(`${library} ${shown(value)} ${Buffer.from(write({ a: value })).toString('hex')}`)
  }
}
writeFileSync('written', written.join('\n') + '\n')
JS
cat > other.py <<'PY'
import bson
with open("written", "a") as written:
    for line in open("documents"):
        name, item = line.split()
        value = bson.loads(bytes.fromhex(item))["a"]
        print(f"bson-of-pypi reads {name} as {value!a}")
        print("bson-of-pypi", name, bson.dumps({"a": value}).hex(), file=written)
    print("bson-of-pypi", "2^63", bson.dumps({"a": 2**63}).hex(), file=written)
PY
cat > read.py <<'PY'
import re
import bson
for line in open("documents"):
    name, item = line.split()
    print(f"pymongo reads {name} as {bson.decode(bytes.fromhex(item))['a']!a}")
for line in open("written"):
    library, value, item = line.split()
    try:
        read = bson.decode(bytes.fromhex(item))["a"]
    except bson.InvalidBSON:
        print(f"{library} writes {value}, pymongo refuses {item}")
        continue
    if isinstance(read, bson.Regex):
        read = "a pattern that matches a line end" if re.search(read.try_compile(), "a\nb") else "a pattern that matches no line end"
    print(f"{library} writes {value}, pymongo reads {read!a}")
PY
{ node javascript.mjs; other/bin/python other.py; right/bin/python read.py; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
bson reads short-string as "x\u0000y"
@deepkit/bson reads short-string as "x"
bsonfy reads short-string as "x\u0000y"
bson reads long-string as "x\u0000yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
@deepkit/bson reads long-string as "x\u0000yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
bsonfy reads long-string as "x\u0000yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
bson reads character as "a\ud83d\ude00b"
@deepkit/bson reads character as "a\ud83d\ude00b"
bsonfy reads character as "a\u07d8\u0880"
bson reads int32 as -5
@deepkit/bson reads int32 as -5
bsonfy reads int32 as -5
bson-of-pypi reads short-string as 'x\x00y'
bson-of-pypi reads long-string as 'x\x00yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy'
bson-of-pypi reads character as 'a\U0001f600b'
bson-of-pypi reads int32 as -5
bson-of-pypi reads int64 as -9223372036854775808
bson-of-pypi reads object-id as b'00112233445566778899aabb'
bson-of-pypi reads timestamp as 7301444403200000001
pymongo reads short-string as 'x\x00y'
pymongo reads long-string as 'x\x00yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy'
pymongo reads character as 'a\U0001f600b'
pymongo reads int32 as -5
pymongo reads int64 as -9223372036854775808
pymongo reads object-id as ObjectId('00112233445566778899aabb')
pymongo reads timestamp as Timestamp(1700000000, 1)
bson writes 1.5, pymongo reads 1.5
bson writes 100000000000000000000, pymongo reads 1e+20
bson writes 1e+300, pymongo reads 1e+300
bson writes Infinity, pymongo reads inf
bson writes "a\ud83d\ude00b", pymongo reads 'a\U0001f600b'
bson writes -1, pymongo reads -1
bson writes -2147483648, pymongo reads -2147483648
bson writes -4294967296, pymongo reads -4294967296
bson writes -4294967297, pymongo reads -4294967297
bson writes -1099511627776, pymongo reads -1099511627776
bson writes -9223372036854775808, pymongo reads -9223372036854775808
bson writes 9223372036854775807, pymongo reads 9223372036854775807
bson writes 18446744073709551616, pymongo reads 0
bson writes /a.b/g, pymongo reads 'a pattern that matches a line end'
bson writes /a.b/s, pymongo reads 'a pattern that matches no line end'
@deepkit/bson writes 1.5, pymongo reads 1.5
@deepkit/bson writes 100000000000000000000, pymongo reads 1e+20
@deepkit/bson writes 1e+300, pymongo reads 1e+300
@deepkit/bson writes Infinity, pymongo reads inf
@deepkit/bson writes "a\ud83d\ude00b", pymongo reads 'a\U0001f600b'
@deepkit/bson writes -1, pymongo reads -1
@deepkit/bson writes -2147483648, pymongo reads -2147483648
@deepkit/bson writes -4294967296, pymongo reads -8589934592
@deepkit/bson writes -4294967297, pymongo reads -4294967297
@deepkit/bson writes -1099511627776, pymongo reads -1103806595072
@deepkit/bson writes -9223372036854775808, pymongo reads 9223372032559808512
@deepkit/bson writes 9223372036854775807, pymongo reads 9223372036854775807
@deepkit/bson writes 18446744073709551616, pymongo reads 0
@deepkit/bson writes /a.b/g, pymongo reads 'a pattern that matches a line end'
@deepkit/bson writes /a.b/s, pymongo reads 'a pattern that matches no line end'
bsonfy writes 1.5, pymongo reads 1.5
bsonfy writes 100000000000000000000, pymongo reads 7766279631452241920
bsonfy writes 1e+300, pymongo reads 0
bsonfy writes Infinity, pymongo reads 0
bsonfy writes "a\ud83d\ude00b", pymongo refuses 130000000261000900000061eda0bdedb88062
bson-of-pypi writes short-string, pymongo reads 'x\x00y'
bson-of-pypi writes long-string, pymongo reads 'x\x00yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy'
bson-of-pypi writes character, pymongo reads 'a\U0001f600b'
bson-of-pypi writes int32, pymongo reads -5
bson-of-pypi writes int64, pymongo reads -9223372036854775808
bson-of-pypi writes object-id, pymongo reads b'00112233445566778899aabb'
bson-of-pypi writes timestamp, pymongo reads 7301444403200000001
bson-of-pypi writes 2^63, pymongo reads Timestamp(2147483648, 0)
SEEN
