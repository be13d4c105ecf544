#!/usr/bin/env bash
# Eight hash libraries of npm give wrong hashes of valid bytes, farmhash-modern of every multiple of 64 bytes from 128 on.
#
# Guess: a hash that is named after a published one gives the values of its reference: Fingerprint64 and Fingerprint32 of Google's FarmHash
# (which takes bytes as signed), XXH3 of 128 bits and XXH64 with any seed of 64 bits (xxHash's specification), MurmurHash2 and MurmurHash3 of
# SMHasher, Whirlpool (ISO/IEC 10118-3) for each length and as often as one asks; and the hexadecimal digits of a HighwayHash have their
# zeros. The references here are pyfarmhash, xxhash, mmh3 and mmh2 of PyPI, and two others of npm.
#
# Seen 2026-11-30 with the versions below and no error, and most other inputs give the right hash:
#
#   farmhash-modern 1.1.0     fingerprint64 and bigqueryFingerprint of 128, 192, 256, ... bytes; fingerprint32 of 1 to 4 bytes with one of 128 or more
#   xxh3-ts 2.0.1             XXH3_128 of 1 to 3 bytes if the middle one is 128 or more; with a seed, of 4 to 16 and of more than 240, too
#   murmurhash-wasm 1.3.0     MurmurHash3 of most texts of more than 4 bytes whose length is no multiple of 4
#   murmur-hash-js 1.0.0      MurmurHash2 leaves out the end of a text that is not ASCII: two texts have one hash
#   whirlpool-hash 1.1.6      32 to 55 bytes more than a multiple of 64; and for each hash but the first of an object
#   @intrnl/xxhash64 0.1.2    with a bigint as the seed, and
#   xxhashjs 0.2.2            with a number as the seed: only its lower 32 bits, so 2^32 is seed 0
#   highwayhash-wasm 1.2.6    toHex() loses the zeros at the start of each 64 bits, also of those in the middle
#
# A peer that keeps such hashes finds a chunk changed that is not, or finds it not at all. A digest that others compute is tested at the
# lengths around its blocks, with bytes of 128 and more, and with large seeds, against a second library.
#
# Needs node with npm, python3 with venv, two minutes, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . farmhash-modern@1.1.0 xxh3-ts@2.0.1 murmurhash-wasm@1.3.0 \
  murmur-hash-js@1.0.0 whirlpool-hash@1.1.6 @intrnl/xxhash64@0.1.2 xxhashjs@0.2.2 highwayhash-wasm@1.2.6 hash-wasm@4.13.0 \
  highwayhasher@0.4.4 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pyfarmhash==0.5.1 xxhash==4.1.0 mmh3==5.3.1 mmh2==0.1.0
# a hash, a seed if it has one, a text and how often the text comes
cat > cases <<'CASES'
fingerprint64||a|127
fingerprint64||a|128
fingerprint64||a|192
fingerprint32||ab|1
fingerprint32||é|1
XXH3_128|0|abc|1
XXH3_128|0|é|1
XXH3_128|0|abcd|1
XXH3_128|1|abcd|1
XXH3_128|1|a|17
XXH3_128|1|a|241
XXH64|4294967295|abc|1
XXH64|4294967296|abc|1
MurmurHash3|1|abcd|1
MurmurHash3|1|abcde|1
MurmurHash2|1|abcd|1
MurmurHash2|1|èèèa|1
MurmurHash2|1|èèèb|1
Whirlpool||a|31
Whirlpool||a|32
Whirlpool||a|55
Whirlpool||a|56
Whirlpool, second||a|31
HighwayHash 64||1|1
HighwayHash 64||18|1
HighwayHash 128||10|1
CASES
cat > read.mjs <<'JS'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
const require = createRequire(import.meta.url)
console.log = () => {}                        // one of them prints its settings
const farm = await import('farmhash-modern')
const { XXH3_128 } = require('xxh3-ts')
const { MurmurHash3 } = await import('murmurhash-wasm')
const js = require('murmur-hash-js')
const { Whirlpool, encoders } = require('whirlpool-hash')
const intrnl = await import('@intrnl/xxhash64')
const { h64 } = require('xxhashjs')
const wasm = require('hash-wasm')
const { HighwayHash } = require('highwayhasher')
const key = Uint8Array.from({ length: 32 }, (_, at) => at)
const highway = await require('highwayhash-wasm').useHighwayHash({ key })
const hex = (value, digits) => value.toString(16).padStart(digits, '0')
const again = new Whirlpool()
again.getHash('abc')
async function words(bits, bytes) {
  const hash = await HighwayHash.load(key)
  hash.append(bytes)
  const out = Buffer.from(hash['finalize' + bits]())
  return Array.from({ length: bits / 64 }, (_, at) => hex(out.readBigUInt64LE(8 * at), 16)).join('')
}
const hashes = {
  'fingerprint64': (_, text) => ({ 'farmhash-modern': hex(farm.fingerprint64(text), 16) }),
  'fingerprint32': (_, text) => ({ 'farmhash-modern': hex(farm.fingerprint32(text), 8) }),
  'XXH3_128': (seed, text) => ({ 'xxh3-ts': hex(XXH3_128(Buffer.from(text), BigInt(seed)), 32) }),
  'XXH64': (seed, text) => ({ '@intrnl/xxhash64': hex(intrnl.hash(text, BigInt(seed)), 16), 'xxhashjs': hex(h64(text, seed), 16) }),
  'MurmurHash3': (seed, text) => ({
    'murmurhash-wasm': MurmurHash3.hash32(text, seed).toString('hex'), 'murmur-hash-js': hex(js.murmur3(text, seed), 8)
  }),
  'MurmurHash2': (seed, text) => ({ 'murmur-hash-js': hex(js.murmur2(text, seed), 8) }),
  'Whirlpool': async (_, text) => ({
    'hash-wasm': (await wasm.whirlpool(text)).slice(0, 32), 'whirlpool-hash': encoders.toHex(new Whirlpool().getHash(text)).slice(0, 32)
  }),
  'Whirlpool, second': async (_, text) => ({
    'hash-wasm': (await wasm.whirlpool(text)).slice(0, 32), 'whirlpool-hash': encoders.toHex(again.getHash(text)).slice(0, 32)
  }),
  'HighwayHash 64': async (_, text) => ({
    'highwayhasher': await words(64, Buffer.from(text)), 'highwayhash-wasm': highway.hash64(Buffer.from(text)).toHex().toLowerCase()
  }),
  'HighwayHash 128': async (_, text) => ({
    'highwayhasher': await words(128, Buffer.from(text)), 'highwayhash-wasm': highway.hash128(Buffer.from(text)).toHex().toLowerCase()
  })
}
for (const line of readFileSync('cases', 'utf8').trim().split('\n')) {
  const [name, seed, text, times] = line.split('|')
  for (const [library, value] of Object.entries(await hashes[name](Number(seed), text.repeat(times)))) {
    process.stdout.write(`${line} | ${library}: ${value}\n`)
  }
}
JS
cat > read.py <<'PY'
import farmhash, mmh3, xxhash
from mmh2 import MurmurHash2
HASHES = {
    "fingerprint64": ("pyfarmhash", lambda seed, data: f"{farmhash.fingerprint64(data):016x}"),
    "fingerprint32": ("pyfarmhash", lambda seed, data: f"{farmhash.fingerprint32(data):08x}"),
    "XXH3_128": ("xxhash", lambda seed, data: xxhash.xxh3_128_hexdigest(data, seed)),
    "XXH64": ("xxhash", lambda seed, data: xxhash.xxh64_hexdigest(data, seed)),
    "MurmurHash3": ("mmh3", lambda seed, data: f"{mmh3.hash(data, seed, signed=False):08x}"),
    "MurmurHash2": ("mmh2", lambda seed, data: f"{MurmurHash2.hash32(data, seed):08x}"),
}
for line in open("cases", encoding="utf-8").read().splitlines():
    name, seed, text, times = line.split("|")
    if name in HASHES:
        library, value = HASHES[name]
        print(f"{line} | {library}: {value(int(seed or 0), (text * int(times)).encode())}")
PY
PYTHONUTF8=1 venv/bin/python read.py > read
node read.mjs >> read
while IFS='|' read -r name seed text times; do
  echo "$name of $text times $times${seed:+, seed $seed}"
  grep -F -- "$name|$seed|$text|$times | " read | sed 's/.* | /  /'
done < cases | tee seen
diff seen - <<'SEEN' && echo "as it was"
fingerprint64 of a times 127
  pyfarmhash: 68856353fabbad12
  farmhash-modern: 68856353fabbad12
fingerprint64 of a times 128
  pyfarmhash: be1d09846d3143f6
  farmhash-modern: d33c42b2598ca1c9
fingerprint64 of a times 192
  pyfarmhash: d33c42b2598ca1c9
  farmhash-modern: 73e8e56da1688943
fingerprint32 of ab times 1
  pyfarmhash: 417330fd
  farmhash-modern: 417330fd
fingerprint32 of é times 1
  pyfarmhash: 75a86f6b
  farmhash-modern: 45426228
XXH3_128 of abc times 1, seed 0
  xxhash: 06b05ab6733a618578af5f94892f3950
  xxh3-ts: 06b05ab6733a618578af5f94892f3950
XXH3_128 of é times 1, seed 0
  xxhash: 90326970ab18793af7940a006cf10cb3
  xxh3-ts: 90326970ab18793aa7b06cf27bb3138d
XXH3_128 of abcd times 1, seed 0
  xxhash: 8d6b60383dfa90c21be79eecd1b1353d
  xxh3-ts: 8d6b60383dfa90c21be79eecd1b1353d
XXH3_128 of abcd times 1, seed 1
  xxhash: afe98936341904391f291598aa9f7b26
  xxh3-ts: ce564e338b82e37d7e34f1674b631fd0
XXH3_128 of a times 17, seed 1
  xxhash: a59bc5d9f75455d7dfab5018d6725f27
  xxh3-ts: a59bc5d9f75455d7dfab5018d6725f27
XXH3_128 of a times 241, seed 1
  xxhash: a02aca03c74d724f8f8a9162affe76fa
  xxh3-ts: 3e7bebe4a2c07b0bf6cfef5c5aca1930
XXH64 of abc times 1, seed 4294967295
  xxhash: 453354140ee73869
  @intrnl/xxhash64: 453354140ee73869
  xxhashjs: 453354140ee73869
XXH64 of abc times 1, seed 4294967296
  xxhash: 977ae3bf0a8eaf17
  @intrnl/xxhash64: 44bc2cf5ad770999
  xxhashjs: 44bc2cf5ad770999
MurmurHash3 of abcd times 1, seed 1
  mmh3: 9bf54592
  murmurhash-wasm: 9bf54592
  murmur-hash-js: 9bf54592
MurmurHash3 of abcde times 1, seed 1
  mmh3: ffacb11b
  murmurhash-wasm: dee4dcd4
  murmur-hash-js: ffacb11b
MurmurHash2 of abcd times 1, seed 1
  mmh2: c93f7a16
  murmur-hash-js: c93f7a16
MurmurHash2 of èèèa times 1, seed 1
  mmh2: 3509d4ee
  murmur-hash-js: 431b4723
MurmurHash2 of èèèb times 1, seed 1
  mmh2: cee0c6c7
  murmur-hash-js: 431b4723
Whirlpool of a times 31
  hash-wasm: 698d25826e50bfd1f4e67a1ddbe0d40f
  whirlpool-hash: 698d25826e50bfd1f4e67a1ddbe0d40f
Whirlpool of a times 32
  hash-wasm: 661fe85e302a100bc85048438a734d21
  whirlpool-hash: 0b3944e5399326797adf00ff7dab7c4c
Whirlpool of a times 55
  hash-wasm: d2ad17cc1c7bdf4ad1f4b5c44f01b16e
  whirlpool-hash: 980da6b719cc5eb5ef6b40cbca2346e6
Whirlpool of a times 56
  hash-wasm: bd6db2734d023e8ab5131390a4d3e730
  whirlpool-hash: bd6db2734d023e8ab5131390a4d3e730
Whirlpool, second of a times 31
  hash-wasm: 698d25826e50bfd1f4e67a1ddbe0d40f
  whirlpool-hash: ecc9c02a6113384186d87f89862c1bcf
HighwayHash 64 of 1 times 1
  highwayhasher: f4bcae2ef85aad65
  highwayhash-wasm: f4bcae2ef85aad65
HighwayHash 64 of 18 times 1
  highwayhasher: 00c26927da428a11
  highwayhash-wasm: c26927da428a11
HighwayHash 128 of 10 times 1
  highwayhasher: 67f489d1d98256db024b8b555f7ae346
  highwayhash-wasm: 67f489d1d98256db24b8b555f7ae346
SEEN
