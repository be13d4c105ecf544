#!/usr/bin/env bash
# For inputs longer than one chunk, blake3-jit gives wrong long outputs, and a different hash when it is asked twice.
#
# Guess: BLAKE3 has one output of any length: the first 32 bytes of a longer one are the hash, and a hasher that is asked again answers
# the same. A library whose 32-byte hashes are right at all lengths is right in these too.
#
# Seen with blake3-jit 1.1.0 (npm), against blake3 1.0.11 (Python, the reference code in Rust) and @noble/hashes 2.4.0 (npm),
# 2026-11-28, on bytes that count up to 250 again and again:
#
#                                      1,024 bytes   1,025 bytes   2,048 bytes   100,000 bytes
#   hash(), keyed, derive key          right         right         right         right
#   finalize(64)                       right         right         right         right
#   finalize(65)                       right         wrong         wrong         wrong: the first 64 bytes as well
#   finalizeXof().read(65)             right         right         right         right
#   finalize() a second time           right         wrong         wrong         wrong
#
# @noble/hashes is right in every function that it has. So test a tree hash library with more than one chunk in each of its functions,
# not only with its 32-byte test vectors; and take long outputs of this library from finalizeXof().
#
# Needs python3 with venv, node 20.19 or later and npm; no network but the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check blake3==1.0.11
npm install --silent --no-audit --no-fund --prefix js blake3-jit@1.1.0 @noble/hashes@2.4.0 >/dev/null
cat > expect.py <<'PY'
from blake3 import blake3
for size in 1024, 1025, 2048, 100_000:
    data = bytes(index % 251 for index in range(size))
    print(blake3(data).digest(length=65).hex(), blake3(data, key=bytes(range(32))).hexdigest(),
          blake3(data, derive_key_context="findings").hexdigest())
PY
cat > js/hash.mjs <<'JS'
import fs from 'node:fs'
import { blake3 as noble } from '@noble/hashes/blake3.js'
import { createDeriveKey, createHasher, createKeyed, hash } from 'blake3-jit'
const hex = bytes => Buffer.from(bytes).toString('hex')
const lines = fs.readFileSync('expected', 'utf8').trimEnd().split('\n')
for (const [index, size] of [1024, 1025, 2048, 100000].entries()) {
  const [long, keyed, derived] = lines[index].split(' ')
  const data = Uint8Array.from({ length: size }, (_, at) => at % 251)
  const key = Uint8Array.from({ length: 32 }, (_, at) => at)
  const hasher = () => createHasher().update(data)
  const twice = hasher()
  const said = (name, bytes, wanted) => console.log(`${size}: ${name} ${hex(bytes) === wanted ? 'right' : 'wrong'}`)
  said('hash', hash(data), long.slice(0, 64))
  said('keyed', createKeyed(key).update(data).finalize(), keyed)
  said('derived', createDeriveKey('findings').update(data).finalize(), derived)
  said('finalize(64)', hasher().finalize(64), long.slice(0, 128))
  said('finalize(65)', hasher().finalize(65), long)
  said('its first 64', hasher().finalize(65).subarray(0, 64), long.slice(0, 128))
  said('finalizeXof', hasher().finalizeXof().read(65), long)
  said('first finalize', twice.finalize(), long.slice(0, 64))
  said('second finalize', twice.finalize(), long.slice(0, 64))
  said('noble of 65', noble(data, { dkLen: 65 }), long)
  said('noble keyed', noble(data, { key }), keyed)
  said('noble derived', noble(data, { context: new TextEncoder().encode('findings') }), derived)
}
JS
venv/bin/python expect.py > expected
node js/hash.mjs | tee seen
[ "$(wc -l < seen)" = 48 ]
grep wrong seen | diff - <(for size in 1025 2048 100000; do
    for what in 'finalize(65)' 'its first 64' 'second finalize'; do echo "$size: $what wrong"; done
done) && echo "as it was"
