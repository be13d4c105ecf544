#!/usr/bin/env bash
# Five CBOR libraries read valid items as other values, without an error: floats the wrong way round, numbers rounded, signs or keys lost.
#
# Guess: RFC 8949 has one meaning for each of these items (3.3: floats big-endian as all numbers; 3.4.3: tag 2 and 3 are positive and
# negative bignums; 3: integers to 64 bits); a library for JavaScript returns values that a number cannot hold as BigInt, marks them or refuses them.
#
# Seen with items of appendix A of RFC 8949, and two more (2^53 + 1, the map), 2026-11-29; cbor2 6.3.0 of PyPI, cbor 10.0.12 and cbor2
# 2.3.0 of npm read all of them right:
#
#   100000.0, 1.1 and 1.0e+300 as float        @harmoniclabs/cbor 2.0.1: 7.4e-39, -1.5e-180 and another; it writes them the
#                                              wrong way round, too, so others read its floats wrong; half floats are right
#   2^53 + 1 and 2^64 - 1 (with 8 bytes)       cbor-js 0.1.0, cbor-sync 1.0.4: rounded
#   -2^64 (with 8 bytes)                       these, and @oslojs/cbor 1.0.0: rounded
#   2^64 and -2^64 - 1 (tags 2 and 3)          cbor-js, cbor-sync, @oslojs/cbor: the same nine bytes for both, the sign is lost
#   a map with the keys "1" and 1              cbor-js, cbor-sync and cbor-x: one key; the second value takes the place of the first
#
# So in CBOR for unknown readers, keep heights, sizes and amounts below 2^53 or write them as text, use keys of one type, and no floats.
#
# Needs python3 with venv, node with npm, and network for the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check cbor2==6.3.0
npm install --silent --no-audit --no-fund --ignore-scripts --prefix js cbor@10.0.12 cbor-x@1.6.8 npm-cbor2@npm:cbor2@2.3.0 cbor-js@0.1.0 \
    cbor-sync@1.0.4 @oslojs/cbor@1.0.0 @harmoniclabs/cbor@2.0.1 >/dev/null
cat > items <<'ITEMS'
float16 f93e00
float32 fa47c35000
float64 fb3ff199999999999a
float64 fb7e37e43c8800759c
integer 1b0020000000000001
integer 1bffffffffffffffff
integer 3bffffffffffffffff
bignum c249010000000000000000
bignum c349010000000000000000
map a26131010102
ITEMS
cat > read.py <<'PY'
import cbor2
for line in open("items"):
    kind, item = line.split()
    print(kind, item, "cbor2-of-PyPI", cbor2.loads(bytes.fromhex(item)))
PY
cat > js/read.mjs <<'JS'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { decode as cborX } from 'cbor-x'
import cbor from 'cbor'
import { decode as cbor2 } from 'npm-cbor2'
import { decodeCBORToNativeValue as oslo } from '@oslojs/cbor'
const require = createRequire(import.meta.url)
const { Cbor, CborSimple } = require('@harmoniclabs/cbor')
const cborJs = require('cbor-js')
const cborSync = require('cbor-sync')
const text = value => {
  if (value instanceof ArrayBuffer) return text(new Uint8Array(value))
  if (value instanceof Uint8Array) return 'bytes ' + Buffer.from(value).toString('hex')
  if (value instanceof Map) return '{' + [...value].map(([key, one]) => `${JSON.stringify(key)}: ${one}`).join(', ') + '}'
  if (value && typeof value === 'object') return '{' + Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}: ${one}`).join(', ') + '}'
  return String(value)
}
const harmonic = bytes => {
  const read = Cbor.parse(bytes)
  return read.simple ?? read.num ?? new Map(read.map.map(({ k, v }) => [k.text ?? Number(k.num), v.num]))
}
const libraries = {
  cbor: cbor.decodeFirstSync,
  'cbor-x': cborX,
  'cbor2-of-npm': cbor2,
  'cbor-js': bytes => cborJs.decode(Uint8Array.from(bytes).buffer),
  'cbor-sync': bytes => cborSync.decode(Buffer.from(bytes)),
  '@oslojs/cbor': bytes => oslo(bytes, 8)[0],
  '@harmoniclabs/cbor': harmonic
}
for (const line of readFileSync('items', 'utf8').trim().split('\n')) {
  const [kind, item] = line.split(' ')
  for (const [name, decode] of Object.entries(libraries)) {
    let value
    try {
      value = text(decode(Uint8Array.from(Buffer.from(item, 'hex'))))
    } catch {
      value = 'an error'
    }
    console.log(kind, item, name, value)
  }
}
for (const value of [1.5, 1.1, 1e300]) {
  const wrote = Cbor.encode(new CborSimple(value, 'float'))
  console.log(`@harmoniclabs/cbor writes ${value} as ${Buffer.from(wrote).toString('hex')} and reads that as ${Cbor.parse(wrote).simple}`)
}
JS
{ venv/bin/python read.py; node js/read.mjs; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
float16 f93e00 cbor2-of-PyPI 1.5
float32 fa47c35000 cbor2-of-PyPI 100000.0
float64 fb3ff199999999999a cbor2-of-PyPI 1.1
float64 fb7e37e43c8800759c cbor2-of-PyPI 1e+300
integer 1b0020000000000001 cbor2-of-PyPI 9007199254740993
integer 1bffffffffffffffff cbor2-of-PyPI 18446744073709551615
integer 3bffffffffffffffff cbor2-of-PyPI -18446744073709551616
bignum c249010000000000000000 cbor2-of-PyPI 18446744073709551616
bignum c349010000000000000000 cbor2-of-PyPI -18446744073709551617
map a26131010102 cbor2-of-PyPI {'1': 1, 1: 2}
float16 f93e00 cbor 1.5
float16 f93e00 cbor-x 1.5
float16 f93e00 cbor2-of-npm 1.5
float16 f93e00 cbor-js 1.5
float16 f93e00 cbor-sync 1.5
float16 f93e00 @oslojs/cbor 1.5
float16 f93e00 @harmoniclabs/cbor 1.5
float32 fa47c35000 cbor 100000
float32 fa47c35000 cbor-x 100000
float32 fa47c35000 cbor2-of-npm 100000
float32 fa47c35000 cbor-js 100000
float32 fa47c35000 cbor-sync 100000
float32 fa47c35000 @oslojs/cbor 100000
float32 fa47c35000 @harmoniclabs/cbor 7.416892004169359e-39
float64 fb3ff199999999999a cbor 1.1
float64 fb3ff199999999999a cbor-x 1.1
float64 fb3ff199999999999a cbor2-of-npm 1.1
float64 fb3ff199999999999a cbor-js 1.1
float64 fb3ff199999999999a cbor-sync 1.1
float64 fb3ff199999999999a @oslojs/cbor 1.1
float64 fb3ff199999999999a @harmoniclabs/cbor -1.5423487136706484e-180
float64 fb7e37e43c8800759c cbor 1e+300
float64 fb7e37e43c8800759c cbor-x 1e+300
float64 fb7e37e43c8800759c cbor2-of-npm 1e+300
float64 fb7e37e43c8800759c cbor-js 1e+300
float64 fb7e37e43c8800759c cbor-sync 1e+300
float64 fb7e37e43c8800759c @oslojs/cbor 1e+300
float64 fb7e37e43c8800759c @harmoniclabs/cbor -1.3586411504376828e-171
integer 1b0020000000000001 cbor 9007199254740993
integer 1b0020000000000001 cbor-x 9007199254740993
integer 1b0020000000000001 cbor2-of-npm 9007199254740993
integer 1b0020000000000001 cbor-js 9007199254740992
integer 1b0020000000000001 cbor-sync 9007199254740992
integer 1b0020000000000001 @oslojs/cbor 9007199254740993
integer 1b0020000000000001 @harmoniclabs/cbor 9007199254740993
integer 1bffffffffffffffff cbor 18446744073709551615
integer 1bffffffffffffffff cbor-x 18446744073709551615
integer 1bffffffffffffffff cbor2-of-npm 18446744073709551615
integer 1bffffffffffffffff cbor-js 18446744073709552000
integer 1bffffffffffffffff cbor-sync 18446744073709552000
integer 1bffffffffffffffff @oslojs/cbor 18446744073709551615
integer 1bffffffffffffffff @harmoniclabs/cbor 18446744073709551615
integer 3bffffffffffffffff cbor -18446744073709551616
integer 3bffffffffffffffff cbor-x -18446744073709551616
integer 3bffffffffffffffff cbor2-of-npm -18446744073709551616
integer 3bffffffffffffffff cbor-js -18446744073709552000
integer 3bffffffffffffffff cbor-sync -18446744073709552000
integer 3bffffffffffffffff @oslojs/cbor -18446744073709552000
integer 3bffffffffffffffff @harmoniclabs/cbor -18446744073709551616
bignum c249010000000000000000 cbor 18446744073709551616
bignum c249010000000000000000 cbor-x 18446744073709551616
bignum c249010000000000000000 cbor2-of-npm 18446744073709551616
bignum c249010000000000000000 cbor-js bytes 010000000000000000
bignum c249010000000000000000 cbor-sync bytes 010000000000000000
bignum c249010000000000000000 @oslojs/cbor bytes 010000000000000000
bignum c249010000000000000000 @harmoniclabs/cbor 18446744073709551616
bignum c349010000000000000000 cbor -18446744073709551617
bignum c349010000000000000000 cbor-x -18446744073709551617
bignum c349010000000000000000 cbor2-of-npm -18446744073709551617
bignum c349010000000000000000 cbor-js bytes 010000000000000000
bignum c349010000000000000000 cbor-sync bytes 010000000000000000
bignum c349010000000000000000 @oslojs/cbor bytes 010000000000000000
bignum c349010000000000000000 @harmoniclabs/cbor -18446744073709551617
map a26131010102 cbor {"1": 1, 1: 2}
map a26131010102 cbor-x {"1": 2}
map a26131010102 cbor2-of-npm {"1": 1, 1: 2}
map a26131010102 cbor-js {"1": 2}
map a26131010102 cbor-sync {"1": 2}
map a26131010102 @oslojs/cbor an error
map a26131010102 @harmoniclabs/cbor {"1": 1, 1: 2}
@harmoniclabs/cbor writes 1.5 as fb000000000000f83f and reads that as 1.5
@harmoniclabs/cbor writes 1.1 as fb9a9999999999f13f and reads that as 1.1
@harmoniclabs/cbor writes 1e+300 as fb9c7500883ce4377e and reads that as 1e+300
SEEN
