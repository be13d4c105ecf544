#!/usr/bin/env bash
# Six packages for numbers of variable length write or read other numbers than they are given, without an error: leb and
# @webassemblyjs/leb128 round negative numbers to multiples of 2048, others lose the sign or the upper bits.
#
# Guess: bytes in LEB128 mean one number only (DWARF 5, 7.6; WebAssembly Core, 5.2.2: bit 6 of the last byte is the sign), and so do the
# variable-length integers of QUIC (RFC 9000, 16) and sint64 of protobuf; a package for one of them writes a number that others read back
# as the same, and reads it, or refuses what it has no room for.
#
# Seen with numbers that JavaScript holds exactly, 2026-11-30; leb128 1.0.9 and aioquic 1.7.2 of PyPI, @thi.ng/leb128 3.1.93, leb128
# 0.0.5 and @bufbuild/protobuf 2.17.0 of npm are the right ones, and agree where both know the format:
#
#   leb 1.0.0, @webassemblyjs/leb128 1.14.1   write -2000 as -2048 and -100000 as -100352 with their functions for 64 bits: they add 2^64
#                                             to a double, which has 53 bits there; -1 to -1024 they refuse as out of range; with
#                                             the functions for 32 bits they write them right, and they read all of these right
#   @minhducsun2002/leb128 1.0.0              writes -1 and -128 as 0 and -65 as 63, and itself reads all three as -1; reads -64 as 0,
#                                             2^31 as -2147483648 and 2^32 as 0
#   pyleb128 0.2.4                            reads -2 as 126 and -64 as 64 (signed); in a stream it takes the number after 127 or 16383
#                                             for a part of it; writes 2^40 as 0
#   quicvarint 0.1.4                          is for numbers to 2^31 - 1, yet reads 2^31 as -2147483648, and 2^32 with read() as 0
#   signed-varint 2.0.1                       writes -(2^52) - 1 as +2^52: the sign is lost with the last bit
#
# So for sizes, offsets and differences that may be negative, take a package that works with BigInt, and try -1, -65 and -2000 first.
#
# Needs node with npm, python3 with venv, a minute, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . leb@1.0.0 @webassemblyjs/leb128@1.14.1 @minhducsun2002/leb128@1.0.0 \
  quicvarint@0.1.4 signed-varint@2.0.1 @thi.ng/leb128@3.1.93 leb128@0.0.5 @bufbuild/protobuf@2.17.0 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet leb128==1.0.9 pyleb128==0.2.4 aioquic==1.7.2
cat > numbers.py <<'PY'
import io
from importlib.metadata import version
import leb128
import pyleb128
from aioquic.buffer import Buffer

for name in "leb128", "pyleb128", "aioquic":
    print(f"version of {name} (PyPI): {version(name)}")
for number in -1, -2, -64, -65, -128, -129, -2000, -100000, -2**40 - 1:
    data = bytes(leb128.i.encode(number))
    print(f"signed {number}, leb128 (PyPI): {data.hex()} read as {leb128.i.decode(data)}")
for number in -2, -64:
    print(f"signed {number}, pyleb128: read as {pyleb128.sleb128.decode(bytes(leb128.i.encode(number)))}")
for number in 127, 16383, 2**31, 2**32:
    stream = io.BytesIO(bytes(leb128.u.encode(number)) + b"\x05")
    print(f"unsigned {number} before 5, leb128 (PyPI): {leb128.u.decode_reader(stream)[0]}, {leb128.u.decode_reader(stream)[0]}")
for number in 127, 16383:
    stream = io.BytesIO(bytes(leb128.u.encode(number)) + b"\x05")
    print(f"unsigned {number} before 5, pyleb128: {pyleb128.uleb128.decode_stream(stream)}, left: {stream.read().hex() or 'nothing'}")
print(f"unsigned {2**40}, leb128 (PyPI): {leb128.u.encode(2**40).hex()}, pyleb128: {pyleb128.uleb128(2**40).encoded.hex()}")
for number in 2**31 - 1, 2**31, 2**32:
    print(f"quic {number}, aioquic: {Buffer(data=(number | 3 << 62).to_bytes(8, 'big')).pull_uint_var()}")
PY
cat > numbers.mjs <<'JS'
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import { encodeSLEB128, decodeSLEB128, encodeULEB128, decodeULEB128 } from '@thi.ng/leb128'
import { BinaryWriter, BinaryReader } from '@bufbuild/protobuf/wire'
const require = createRequire(import.meta.url)
const leb = require('leb'), wasm = require('@webassemblyjs/leb128'), bn = require('leb128'), small = require('@minhducsun2002/leb128')
const quic = require('quicvarint'), zigzag = require('signed-varint')
const hex = bytes => Buffer.from(bytes).toString('hex')
const tried = action => {
  try {
    return action()
  } catch (error) {
    return `refused (${error.message})`
  }
}
const names = ['leb', '@webassemblyjs/leb128', '@minhducsun2002/leb128', 'quicvarint', 'signed-varint', '@thi.ng/leb128', 'leb128',
  '@bufbuild/protobuf']
for (const name of names) console.log(`version of ${name} (npm): ${JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version}`)
const written = bytes => `${hex(bytes)}, that is ${decodeSLEB128(new Uint8Array(bytes))[0]}`
for (const number of [-1, -2, -64, -65, -128, -129, -2000, -100000, -(2 ** 40) - 1]) {
  console.log(`signed ${number}, @thi.ng/leb128: ${hex(encodeSLEB128(number))}, leb128 (npm): ${hex(bn.signed.encode(number))}`)
}
for (const number of [-1, -1024, -1025, -2000, -2048, -100000, -(2 ** 40) - 1]) {
  console.log(`signed ${number} in 64 bits, leb: ${tried(() => written(leb.encodeInt64(number)))}`)
  console.log(`signed ${number} in 64 bits, @webassemblyjs/leb128: ${tried(() => written(wasm.encodeI64(number)))}`)
}
for (const number of [-1, -2000, -100000]) {
  const bytes = Buffer.from(encodeSLEB128(number))
  console.log(`signed ${number} in 32 bits, leb: ${written(leb.encodeInt32(number))}, @webassemblyjs/leb128: ${written(wasm.encodeI32(number))}`)
  console.log(`signed ${number} in 64 bits, leb reads ${leb.decodeInt64(bytes).value}, @webassemblyjs/leb128 ${wasm.decodeInt64(bytes).value}`)
}
for (const number of [-1, -64, -65, -128, -129]) {
  const bytes = small.LEB128.encode(number)
  console.log(`signed ${number}, @minhducsun2002/leb128: ${written(bytes)}; it reads that as ${small.LEB128.decode(bytes, 0, true)}`)
}
for (const number of [2 ** 31 - 1, 2 ** 31, 2 ** 32]) {
  const bytes = encodeULEB128(number)
  console.log(`unsigned ${number}, @minhducsun2002/leb128: read as ${small.LEB128.decode(bytes)}, @thi.ng/leb128: ${decodeULEB128(bytes)[0]}`)
  const view = new DataView(new ArrayBuffer(8))
  view.setBigUint64(0, BigInt(number) | 3n << 62n)
  console.log(`quic ${number}, quicvarint: read() ${quic.read(view, 0).value}, decode() ${tried(() => quic.decode(new Uint8Array(view.buffer)).value)}`)
}
for (const number of [-(2 ** 52), -(2 ** 52) - 1]) {
  const right = new BinaryWriter().sint64(String(number)).finish(), other = Buffer.from(zigzag.encode(number))
  console.log(`sint64 ${number}, @bufbuild/protobuf: ${hex(right)}, signed-varint: ${hex(other)}, that is ${new BinaryReader(other).sint64()}`)
}
JS
{ venv/bin/python numbers.py; node numbers.mjs; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
version of leb128 (PyPI): 1.0.9
version of pyleb128 (PyPI): 0.2.4
version of aioquic (PyPI): 1.7.2
signed -1, leb128 (PyPI): 7f read as -1
signed -2, leb128 (PyPI): 7e read as -2
signed -64, leb128 (PyPI): 40 read as -64
signed -65, leb128 (PyPI): bf7f read as -65
signed -128, leb128 (PyPI): 807f read as -128
signed -129, leb128 (PyPI): ff7e read as -129
signed -2000, leb128 (PyPI): b070 read as -2000
signed -100000, leb128 (PyPI): e0f279 read as -100000
signed -1099511627777, leb128 (PyPI): ffffffffff5f read as -1099511627777
signed -2, pyleb128: read as 126
signed -64, pyleb128: read as 64
unsigned 127 before 5, leb128 (PyPI): 127, 5
unsigned 16383 before 5, leb128 (PyPI): 16383, 5
unsigned 2147483648 before 5, leb128 (PyPI): 2147483648, 5
unsigned 4294967296 before 5, leb128 (PyPI): 4294967296, 5
unsigned 127 before 5, pyleb128: 767, left: nothing
unsigned 16383 before 5, pyleb128: 98303, left: nothing
unsigned 1099511627776, leb128 (PyPI): 808080808020, pyleb128: 00
quic 2147483647, aioquic: 2147483647
quic 2147483648, aioquic: 2147483648
quic 4294967296, aioquic: 4294967296
version of leb (npm): 1.0.0
version of @webassemblyjs/leb128 (npm): 1.14.1
version of @minhducsun2002/leb128 (npm): 1.0.0
version of quicvarint (npm): 0.1.4
version of signed-varint (npm): 2.0.1
version of @thi.ng/leb128 (npm): 3.1.93
version of leb128 (npm): 0.0.5
version of @bufbuild/protobuf (npm): 2.17.0
signed -1, @thi.ng/leb128: 7f, leb128 (npm): 7f
signed -2, @thi.ng/leb128: 7e, leb128 (npm): 7e
signed -64, @thi.ng/leb128: 40, leb128 (npm): 40
signed -65, @thi.ng/leb128: bf7f, leb128 (npm): bf7f
signed -128, @thi.ng/leb128: 807f, leb128 (npm): 807f
signed -129, @thi.ng/leb128: ff7e, leb128 (npm): ff7e
signed -2000, @thi.ng/leb128: b070, leb128 (npm): b070
signed -100000, @thi.ng/leb128: e0f279, leb128 (npm): e0f279
signed -1099511627777, @thi.ng/leb128: ffffffffff5f, leb128 (npm): ffffffffff5f
signed -1 in 64 bits, leb: refused (Value out of range.)
signed -1 in 64 bits, @webassemblyjs/leb128: refused (Value out of range.)
signed -1024 in 64 bits, leb: refused (Value out of range.)
signed -1024 in 64 bits, @webassemblyjs/leb128: refused (Value out of range.)
signed -1025 in 64 bits, leb: 8070, that is -2048
signed -1025 in 64 bits, @webassemblyjs/leb128: 8070, that is -2048
signed -2000 in 64 bits, leb: 8070, that is -2048
signed -2000 in 64 bits, @webassemblyjs/leb128: 8070, that is -2048
signed -2048 in 64 bits, leb: 8070, that is -2048
signed -2048 in 64 bits, @webassemblyjs/leb128: 8070, that is -2048
signed -100000 in 64 bits, leb: 80f079, that is -100352
signed -100000 in 64 bits, @webassemblyjs/leb128: 80f079, that is -100352
signed -1099511627777 in 64 bits, leb: 808080808060, that is -1099511627776
signed -1099511627777 in 64 bits, @webassemblyjs/leb128: 808080808060, that is -1099511627776
signed -1 in 32 bits, leb: 7f, that is -1, @webassemblyjs/leb128: 7f, that is -1
signed -1 in 64 bits, leb reads -1, @webassemblyjs/leb128 -1
signed -2000 in 32 bits, leb: b070, that is -2000, @webassemblyjs/leb128: b070, that is -2000
signed -2000 in 64 bits, leb reads -2000, @webassemblyjs/leb128 -2000
signed -100000 in 32 bits, leb: e0f279, that is -100000, @webassemblyjs/leb128: e0f279, that is -100000
signed -100000 in 64 bits, leb reads -100000, @webassemblyjs/leb128 -100000
signed -1, @minhducsun2002/leb128: 00, that is 0; it reads that as -1
signed -64, @minhducsun2002/leb128: 40, that is -64; it reads that as 0
signed -65, @minhducsun2002/leb128: 3f, that is 63; it reads that as -1
signed -128, @minhducsun2002/leb128: 00, that is 0; it reads that as -1
signed -129, @minhducsun2002/leb128: ff7e, that is -129; it reads that as -129
unsigned 2147483647, @minhducsun2002/leb128: read as 2147483647, @thi.ng/leb128: 2147483647
quic 2147483647, quicvarint: read() 2147483647, decode() 2147483647
unsigned 2147483648, @minhducsun2002/leb128: read as -2147483648, @thi.ng/leb128: 2147483648
quic 2147483648, quicvarint: read() -2147483648, decode() -2147483648
unsigned 4294967296, @minhducsun2002/leb128: read as 0, @thi.ng/leb128: 4294967296
quic 4294967296, quicvarint: read() 0, decode() refused (Cannot decode number greater than 2147483647)
sint64 -4503599627370496, @bufbuild/protobuf: ffffffffffffff0f, signed-varint: ffffffffffffff0f, that is -4503599627370496
sint64 -4503599627370497, @bufbuild/protobuf: 8180808080808010, signed-varint: 8080808080808010, that is 4503599627370496
SEEN
