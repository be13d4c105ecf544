#!/usr/bin/env bash
# Six libraries of npm unpack valid bzip2 and xz files as other bytes, or as their first part, with no error.
#
# Guess: bunzip2's manual has several bzip2 files one after another as one file (as pbzip2 writes them), and every block and
# stream has a CRC. The .xz file format 1.2.1 has several streams (section 2), which may be empty, several blocks in one (3), and filters
# for machine code with a start offset (5.3.2), and every block has a check (3.4). So a reader gives back what was packed, or an error.
#
# Seen 2026-11-30; bzip2 and xz read all of it, and so do unbzip2-stream 1.4.3 and, with its third argument, seek-bzip 2.0.0:
#
#   the first byte is ff (as in a JPEG)   bz2 1.0.1: 00
#   a line of 255 hyphens                 bz2: 127 of the 256 bytes are other ones, also with its check on
#   1 MB of zero bytes, one block         bzip2 0.1.1: 900000 bytes
#   two bzip2 files in one                bz2, bzip2, compressjs 1.0.3, bzip-deflate 1.0.0, @foxglove/wasm-bz2 0.3.0: the first one
#   two small blocks in an xz             xz-compat 1.2.10, decodeXZ: the first one
#   an empty stream at the end of an xz   xz-compat: nothing at all
#   filters for arm64, Thumb and ia64     xz-compat: other bytes
#   filters for x86 and arm, at 4096      xz-compat: other bytes
#
# bz2 does not check the CRC by default, though its manual says so, and xz-compat reports none of these. With lzma-native 8.0.6 beside it,
# its decodeXZ reads all but arm64 right, its stream no more than here. So what they unpack is checked with a hash of the unpacked file.
#
# Needs python3, xz 5.4 or later, node with npm, and network for the package registry. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . bz2@1.0.1 bzip2@0.1.1 compressjs@1.0.3 bzip-deflate@1.0.0 \
    @foxglove/wasm-bz2@0.3.0 unbzip2-stream@1.4.3 seek-bzip@2.0.0 xz-compat@1.2.10 >/dev/null
cat > pack.py <<'PY'
import bz2
import lzma
import random
import subprocess

def put(name, plain, packed):
    open(name, "wb").write(packed)
    open(name + ".plain", "wb").write(plain)

def by_xz(plain, *options):
    return subprocess.run(["xz", "-c", *options], input=plain, check=True, stdout=subprocess.PIPE).stdout

def filtered(name, plain, filters):
    put(name, plain, lzma.compress(plain, filters=filters + [{"id": lzma.FILTER_LZMA2, "preset": 6}]))

one, two = b"the first part of the file\n" * 40, b"the second part of it\n" * 30
code = random.Random(1).randbytes(100000)
put("0-text.bz2", one, bz2.compress(one))
put("1-jpeg.bz2", b"\xff\xd8\xff\xe0" + one, bz2.compress(b"\xff\xd8\xff\xe0" + one))
put("2-line.bz2", b"-" * 255 + b"\n", bz2.compress(b"-" * 255 + b"\n"))
put("3-zeros.bz2", bytes(1000000), bz2.compress(bytes(1000000)))
put("4-two.bz2", one + two, bz2.compress(one) + bz2.compress(two))
put("5-text.xz", one, lzma.compress(one))
put("6-blocks.xz", one + two, by_xz(one + two, f"--block-size={len(one)}"))
put("7-empty-stream.xz", one, lzma.compress(one) + lzma.compress(b""))
filtered("8-x86.xz", code, [{"id": lzma.FILTER_X86}])
filtered("9-x86-at-4096.xz", code, [{"id": lzma.FILTER_X86, "start_offset": 4096}])
filtered("a-arm.xz", code, [{"id": lzma.FILTER_ARM}])
filtered("b-arm-at-4096.xz", code, [{"id": lzma.FILTER_ARM, "start_offset": 4096}])
filtered("c-thumb.xz", code, [{"id": lzma.FILTER_ARMTHUMB}])
filtered("d-ia64.xz", code, [{"id": lzma.FILTER_IA64}])
put("e-arm64.xz", code, by_xz(code, "--arm64", "--lzma2"))
PY
cat > unpack.mjs <<'JS'
import { createRequire } from 'node:module'
import { readdirSync, readFileSync } from 'node:fs'
import foxglove from '@foxglove/wasm-bz2'
import { decodeXZ, createXZDecoder } from 'xz-compat'
const require = createRequire(import.meta.url)
const stream = (bytes, unpacker) => new Promise((resolve, reject) => {
  const parts = []
  unpacker.on('data', part => parts.push(part)).on('end', () => resolve(Buffer.concat(parts))).on('error', reject)
  unpacker.end(bytes)
})
const bzip2 = require('bzip2')
const wasm = await (foxglove.default ?? foxglove).init()
const readers = {
  bz2: {
    bz2: bytes => require('bz2').decompress(bytes),
    'bz2 with check': bytes => require('bz2').decompress(bytes, true),
    bzip2: bytes => bzip2.simple(bzip2.array(bytes)),
    compressjs: bytes => require('compressjs').Bzip2.decompressFile(bytes),
    'bzip-deflate': bytes => require('bzip-deflate')(bytes),
    '@foxglove/wasm-bz2': bytes => wasm.decompress(bytes, 2000000, { small: false }),
    'unbzip2-stream': bytes => stream(bytes, require('unbzip2-stream')()),
    'seek-bzip': bytes => require('seek-bzip').decode(bytes, undefined, true)
  },
  xz: {
    'xz-compat, decodeXZ': async bytes => {
      const unpacked = await decodeXZ(bytes)
      return unpacked.toBuffer ? unpacked.toBuffer() : unpacked
    },
    'xz-compat, createXZDecoder': bytes => stream(bytes, createXZDecoder())
  }
}
for (const name of ['bz2', 'bzip2', 'compressjs', 'bzip-deflate', '@foxglove/wasm-bz2', 'unbzip2-stream', 'seek-bzip', 'xz-compat']) {
  console.error(`${name} ${JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version}`)
}
for (const file of readdirSync('.').filter(name => /^.-.*(bz2|xz)$/.test(name)).sort()) {
  const plain = readFileSync(`${file}.plain`)
  for (const [reader, read] of Object.entries(readers[file.split('.').pop()])) {
    let seen
    try {
      const unpacked = Buffer.from(await read(readFileSync(file)))
      const others = unpacked.reduce((count, byte, at) => count + (byte !== plain[at]), 0)
      seen = unpacked.equals(plain) ? 'as packed' : `${unpacked.length} bytes, ${others} of them other ones`
    } catch {
      seen = 'an error'
    }
    console.log(`${file.slice(2)}, ${plain.length} bytes, ${reader}: ${seen}`)
  }
}
JS
python3 pack.py
for file in ?-*.bz2; do bzip2 -dc "$file" | cmp - "$file.plain"; done
for file in ?-*.xz; do xz -dc "$file" | cmp - "$file.plain"; done
xz --version | head -n 1 >&2
LZMA_NATIVE_DISABLE=1 node unpack.mjs | tee seen
diff seen - <<'SEEN' && echo "as it was"
text.bz2, 1080 bytes, bz2: as packed
text.bz2, 1080 bytes, bz2 with check: as packed
text.bz2, 1080 bytes, bzip2: as packed
text.bz2, 1080 bytes, compressjs: as packed
text.bz2, 1080 bytes, bzip-deflate: as packed
text.bz2, 1080 bytes, @foxglove/wasm-bz2: as packed
text.bz2, 1080 bytes, unbzip2-stream: as packed
text.bz2, 1080 bytes, seek-bzip: as packed
jpeg.bz2, 1084 bytes, bz2: 1084 bytes, 1 of them other ones
jpeg.bz2, 1084 bytes, bz2 with check: an error
jpeg.bz2, 1084 bytes, bzip2: as packed
jpeg.bz2, 1084 bytes, compressjs: as packed
jpeg.bz2, 1084 bytes, bzip-deflate: as packed
jpeg.bz2, 1084 bytes, @foxglove/wasm-bz2: as packed
jpeg.bz2, 1084 bytes, unbzip2-stream: as packed
jpeg.bz2, 1084 bytes, seek-bzip: as packed
line.bz2, 256 bytes, bz2: 256 bytes, 127 of them other ones
line.bz2, 256 bytes, bz2 with check: 256 bytes, 127 of them other ones
line.bz2, 256 bytes, bzip2: as packed
line.bz2, 256 bytes, compressjs: as packed
line.bz2, 256 bytes, bzip-deflate: as packed
line.bz2, 256 bytes, @foxglove/wasm-bz2: as packed
line.bz2, 256 bytes, unbzip2-stream: as packed
line.bz2, 256 bytes, seek-bzip: as packed
zeros.bz2, 1000000 bytes, bz2: as packed
zeros.bz2, 1000000 bytes, bz2 with check: as packed
zeros.bz2, 1000000 bytes, bzip2: 900000 bytes, 0 of them other ones
zeros.bz2, 1000000 bytes, compressjs: as packed
zeros.bz2, 1000000 bytes, bzip-deflate: as packed
zeros.bz2, 1000000 bytes, @foxglove/wasm-bz2: as packed
zeros.bz2, 1000000 bytes, unbzip2-stream: as packed
zeros.bz2, 1000000 bytes, seek-bzip: as packed
two.bz2, 1740 bytes, bz2: 1080 bytes, 0 of them other ones
two.bz2, 1740 bytes, bz2 with check: 1080 bytes, 0 of them other ones
two.bz2, 1740 bytes, bzip2: 1080 bytes, 0 of them other ones
two.bz2, 1740 bytes, compressjs: 1080 bytes, 0 of them other ones
two.bz2, 1740 bytes, bzip-deflate: 1080 bytes, 0 of them other ones
two.bz2, 1740 bytes, @foxglove/wasm-bz2: 1080 bytes, 0 of them other ones
two.bz2, 1740 bytes, unbzip2-stream: as packed
two.bz2, 1740 bytes, seek-bzip: as packed
text.xz, 1080 bytes, xz-compat, decodeXZ: as packed
text.xz, 1080 bytes, xz-compat, createXZDecoder: as packed
blocks.xz, 1740 bytes, xz-compat, decodeXZ: 1080 bytes, 0 of them other ones
blocks.xz, 1740 bytes, xz-compat, createXZDecoder: as packed
empty-stream.xz, 1080 bytes, xz-compat, decodeXZ: 0 bytes, 0 of them other ones
empty-stream.xz, 1080 bytes, xz-compat, createXZDecoder: 0 bytes, 0 of them other ones
x86.xz, 100000 bytes, xz-compat, decodeXZ: as packed
x86.xz, 100000 bytes, xz-compat, createXZDecoder: as packed
x86-at-4096.xz, 100000 bytes, xz-compat, decodeXZ: 100000 bytes, 9 of them other ones
x86-at-4096.xz, 100000 bytes, xz-compat, createXZDecoder: 100000 bytes, 9 of them other ones
arm.xz, 100000 bytes, xz-compat, decodeXZ: as packed
arm.xz, 100000 bytes, xz-compat, createXZDecoder: as packed
arm-at-4096.xz, 100000 bytes, xz-compat, decodeXZ: 100000 bytes, 95 of them other ones
arm-at-4096.xz, 100000 bytes, xz-compat, createXZDecoder: 100000 bytes, 95 of them other ones
thumb.xz, 100000 bytes, xz-compat, decodeXZ: 100000 bytes, 46 of them other ones
thumb.xz, 100000 bytes, xz-compat, createXZDecoder: 100000 bytes, 46 of them other ones
ia64.xz, 100000 bytes, xz-compat, decodeXZ: 100000 bytes, 220 of them other ones
ia64.xz, 100000 bytes, xz-compat, createXZDecoder: 100000 bytes, 220 of them other ones
arm64.xz, 100000 bytes, xz-compat, decodeXZ: 100000 bytes, 877 of them other ones
arm64.xz, 100000 bytes, xz-compat, createXZDecoder: 100000 bytes, 877 of them other ones
SEEN
