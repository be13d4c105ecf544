#!/usr/bin/env bash
# The multihash of one text with murmur3 differs between four libraries: the other half, another byte order, more bytes under one code.
#
# Guess: a multihash names its function by a code of the multicodec table, so each library that knows a code gives one digest for it. The
# table has 0x22 as murmur3-x64-64, the first 64 bits of murmur3-x64-128 (UnixFS places the names of a sharded folder by it), and 0x23
# as murmur3-32.
#
# Seen with "The quick brown fox jumps over the lazy dog" and seed 0, 2026-11-29. mmh3 5.3.1 (PyPI) tells the two halves as the numbers
# e34bbc7bbc071b6c and 7a433ca9c49a9347, and murmur3-32 as 2e4ff723:
#
#                                              0x22                                0x23
#   @multiformats/murmur3 2.2.8 (npm)          e34bbc7bbc071b6c                    23f74f2e
#   the same, murmur3128                       e34bbc7bbc071b6c 7a433ca9c49a9347
#   multihashing-async 2.1.4 (npm)             e34bbc7bbc071b6c 7a433ca9c49a9347   23f74f2e
#   multiformats 0.3.1.post4 (PyPI)            7a433ca9c49a9347                    2e4ff723
#   py-multihash 3.0.0 (PyPI)                  6c1b07bc7bbc4be3 47939ac4a93c437a   23f74f2e
#
# Of shake-128 and shake-256 multihashing-async gives 16 and 32 bytes, the others 32 and 64; of sha2-256 and blake2b-256 all give one
# digest. There is no error. So whoever looks for a name in a sharded folder with PyPI's multiformats takes another branch than the one
# it is in.
#
# Needs python3 with venv, node with npm, and network for the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check multiformats==0.3.1.post4 py-multihash==3.0.0 mmh3==5.3.1 blake3==1.0.11
npm install --silent --no-audit --no-fund --ignore-scripts --prefix js multiformats@14.0.5 @multiformats/murmur3@2.2.8 @multiformats/sha3@4.0.0 \
    multihashing-async@2.1.4 >/dev/null
cat > digest.py <<'PY'
import mmh3, multihash
from multiformats import multihash as multiformats
TEXT = b"The quick brown fox jumps over the lazy dog"
halves = mmh3.hash64(TEXT, 0, signed=False)
print(f"mmh3: x64-128 {halves[0]:016x} {halves[1]:016x}, 32 {mmh3.hash(TEXT, 0, signed=False):08x}")
for name in ["murmur3-x64-64", "murmur3-32", "shake-128", "shake-256", "sha2-256", "blake2b-256"]:
    print("multiformats of PyPI,", name, multiformats.digest(TEXT, name).hex())
for name in ["murmur3_128", "murmur3_32", "shake_128", "shake_256", "sha2_256", "blake2b_256"]:
    print("py-multihash,", name, multihash.digest(TEXT, getattr(multihash.Func, name)).encode().hex())
PY
cat > js/digest.mjs <<'JS'
import { createRequire } from 'node:module'
import { murmur332, murmur364, murmur3128 } from '@multiformats/murmur3'
import { shake128, shake256 } from '@multiformats/sha3'
import { sha256 } from 'multiformats/hashes/sha2'
const require = createRequire(import.meta.url)
const multihashing = require('multihashing-async')
const text = Buffer.from('The quick brown fox jumps over the lazy dog')
for (const hasher of [murmur364, murmur3128, murmur332, shake128, shake256, sha256]) {
  console.log('multiformats of npm,', hasher.name, Buffer.from((await hasher.digest(text)).bytes).toString('hex'))
}
for (const name of ['murmur3-128', 'murmur3-32', 'shake-128', 'shake-256', 'sha2-256', 'blake2b-256']) {
  console.log('multihashing-async,', name, Buffer.from(await multihashing(text, name)).toString('hex'))
}
JS
{ venv/bin/python digest.py; node js/digest.mjs; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
mmh3: x64-128 e34bbc7bbc071b6c 7a433ca9c49a9347, 32 2e4ff723
multiformats of PyPI, murmur3-x64-64 22087a433ca9c49a9347
multiformats of PyPI, murmur3-32 23042e4ff723
multiformats of PyPI, shake-128 1820f4202e3c5852f9182a0430fd8144f0a74b95e7417ecae17db0f8cfeed0e3e66e
multiformats of PyPI, shake-256 19402f671343d9b2e1604dc9dcf0753e5fe15c7c64a0d283cbbf722d411a0e36f6ca1d01d1369a23539cd80f7c054b6e5daf9c962cad5b8ed5bd11998b40d5734442
multiformats of PyPI, sha2-256 1220d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592
multiformats of PyPI, blake2b-256 a0e4022001718cec35cd3d796dd00020e0bfecb473ad23457d063b75eff29c0ffa2e58a9
py-multihash, murmur3_128 22106c1b07bc7bbc4be347939ac4a93c437a
py-multihash, murmur3_32 230423f74f2e
py-multihash, shake_128 1820f4202e3c5852f9182a0430fd8144f0a74b95e7417ecae17db0f8cfeed0e3e66e
py-multihash, shake_256 19402f671343d9b2e1604dc9dcf0753e5fe15c7c64a0d283cbbf722d411a0e36f6ca1d01d1369a23539cd80f7c054b6e5daf9c962cad5b8ed5bd11998b40d5734442
py-multihash, sha2_256 1220d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592
py-multihash, blake2b_256 a0e4022001718cec35cd3d796dd00020e0bfecb473ad23457d063b75eff29c0ffa2e58a9
multiformats of npm, murmur3-x64-64 2208e34bbc7bbc071b6c
multiformats of npm, murmur3-128 2210e34bbc7bbc071b6c7a433ca9c49a9347
multiformats of npm, murmur3-32 230423f74f2e
multiformats of npm, shake-128 1820f4202e3c5852f9182a0430fd8144f0a74b95e7417ecae17db0f8cfeed0e3e66e
multiformats of npm, shake-256 19402f671343d9b2e1604dc9dcf0753e5fe15c7c64a0d283cbbf722d411a0e36f6ca1d01d1369a23539cd80f7c054b6e5daf9c962cad5b8ed5bd11998b40d5734442
multiformats of npm, sha2-256 1220d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592
multihashing-async, murmur3-128 2210e34bbc7bbc071b6c7a433ca9c49a9347
multihashing-async, murmur3-32 230423f74f2e
multihashing-async, shake-128 1810f4202e3c5852f9182a0430fd8144f0a7
multihashing-async, shake-256 19202f671343d9b2e1604dc9dcf0753e5fe15c7c64a0d283cbbf722d411a0e36f6ca
multihashing-async, sha2-256 1220d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592
multihashing-async, blake2b-256 a0e4022001718cec35cd3d796dd00020e0bfecb473ad23457d063b75eff29c0ffa2e58a9
SEEN
