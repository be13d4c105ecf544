#!/usr/bin/env bash
# ipld-car reads every block of an archive of IPFS as another one, without an error, if the blocks have CIDs of version 0; it writes them
# right. ipfs-car-decoder fails at an empty file among CIDs of version 1.
#
# Guess: in a CAR archive a block is a length, a CID and the bytes, and the CID may be of version 0 (18, 32 and the hash without a version in
# front: CARv1 specification, section "CID"), which IPFS uses by default. So what a library writes it reads as well.
#
# Seen on folders that ipfs-unixfs-importer 17.1.1 made and @ipld/car 5.4.7 (npm) packed, 2026-11-29:
#
#                                          CIDs of version 0                CIDs of version 1    the same with an empty file
#   @ipld/car: blocks with their hash      5 of 5                           5 of 5               5 of 5
#   ipld-car 0.0.1 (PyPI): the same        0 of 5: other CIDs, each block   5 of 5               5 of 5
#                                          a byte longer; no error
#   written by ipld-car                    the same archive                 the same archive     the same archive
#   ipfs-car 3.1.0 (npm) unpacks           all files                        all files            all files
#   ipfs-car-decoder 0.1.1 (PyPI) unpacks  all files                        all files            an error, and one file is missing
#
# ipld-car takes one byte too few for the CID. So a reader must compare each block with the hash in its CID, which ipld-car does not do, and
# archives for unknown readers are made of CIDs of version 1.
#
# Needs python3 with venv, node with npm, and network for the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check ipld-car==0.0.1 ipfs-car-decoder==0.1.1 multiformats==0.3.1.post4
npm install --silent --no-audit --no-fund --prefix js node@22.23.3 @ipld/car@5.4.7 ipfs-car@3.1.0 \
    ipfs-unixfs-importer@17.1.1 >/dev/null
node=$work/js/node_modules/.bin/node

# Archives of a folder as IPFS makes them (blocks of at most 1,000 bytes), each by the library that defines the format.
cat > js/make.mjs <<'JS'
import { createWriteStream, writeFileSync } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { CarWriter } from '@ipld/car'
import { importer } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
const file = (path, size, byte) => ({ path, content: Buffer.alloc(size, byte) })
const kinds = {
  'version 0': [{ cidVersion: 0, rawLeaves: false }, [file('a', 1500, 65), file('b', 10, 66)]],
  'version 1': [{ cidVersion: 1, rawLeaves: true }, [file('a', 1500, 65), file('b', 10, 66)]],
  'version 1 with an empty file': [{ cidVersion: 1, rawLeaves: true }, [file('a', 1500, 65), file('empty', 0)]]
}
for (const [kind, [options, files]] of Object.entries(kinds)) {
  const blocks = new Map()
  const store = {
    async put (cid, bytes) {
      blocks.set(cid.toString(), { cid, bytes })
      return cid
    }
  }
  let root
  const all = { wrapWithDirectory: true, chunker: fixedSize({ chunkSize: 1000 }), ...options }
  for await (const entry of importer(files, store, all)) root = entry.cid
  const { writer, out } = CarWriter.create([root])
  const written = pipeline(Readable.from(out), createWriteStream(`../${kind}.car`))
  for (const block of blocks.values()) await writer.put(block)
  await writer.close()
  await written
  writeFileSync(`../${kind}.root`, root.toString())
}
JS
# Each reader prints the blocks, as the hex digits of the CID and of the bytes.
cat > js/read.mjs <<'JS'
import { readFileSync } from 'node:fs'
import { CarBlockIterator } from '@ipld/car'
const hex = bytes => Buffer.from(bytes).toString('hex')
const blocks = await CarBlockIterator.fromBytes(readFileSync(process.argv[2]))
for await (const { cid, bytes } of blocks) console.log(hex(cid.bytes), hex(bytes) || '-')
JS
cat > read.py <<'PY'
import sys
import ipld_car
for cid, data in ipld_car.decode(open(sys.argv[1], "rb").read())[1]:
    print(bytes(cid).hex(), bytes(data).hex() or "-")
PY
cat > count.py <<'PY'
"""Counts the blocks read, and those whose bytes have the SHA-256 at the end of their CID."""
import hashlib, sys
blocks = [line.split() for line in sys.stdin]
right = sum(hashlib.sha256(bytes.fromhex(data.strip("-"))).hexdigest() == cid[-64:] for cid, data in blocks)
size = sum(len(data.strip("-")) // 2 for _, data in blocks)
print(f"{len(blocks)} blocks, {right} right, {size} bytes")
PY
cat > unpack.py <<'PY'
import asyncio, pathlib, sys
from ipfs_car_decoder import FileByteStream, write_car_filesystem_to_path
async def main(car, root, out):
    async with FileByteStream(pathlib.Path(car)) as stream:
        await write_car_filesystem_to_path(root, stream, out)
asyncio.run(main(*sys.argv[1:]))
PY
cat > again.py <<'PY'
"""Writes the same blocks with ipld-car."""
import sys
import ipld_car
from multiformats import CID
blocks = [(CID.decode(bytes.fromhex(cid)), bytes.fromhex(data.strip("-"))) for cid, data in map(str.split, sys.stdin)]
sys.stdout.buffer.write(ipld_car.encode([CID.decode(sys.argv[1])], blocks))
PY
(cd js && "$node" make.mjs)
for kind in 'version 0' 'version 1' 'version 1 with an empty file'; do
    while read -r name command; do
        code=0
        $command "$kind.car" > blocks 2>/dev/null || code=$?
        [ "$code" = 0 ] && seen=$(venv/bin/python count.py < blocks) || seen="an error"
        echo "$kind, $name: $seen"
        [ "$name" != @ipld/car ] || cp blocks right
    done <<READERS
@ipld/car $node js/read.mjs
ipld-car venv/bin/python read.py
READERS
    venv/bin/python again.py "$(cat "$kind.root")" < right > again.car
    echo "$kind, written by ipld-car: $(cmp -s again.car "$kind.car" && echo the same archive || echo another archive)"
    for name in ipfs-car ipfs-car-decoder; do
        rm -rf out && mkdir out
        code=0
        if [ $name = ipfs-car ]; then
            "$node" js/node_modules/ipfs-car/bin.js unpack "$kind.car" --output out/folder >/dev/null 2>&1 || code=$?
        else
            venv/bin/python unpack.py "$kind.car" "$(cat "$kind.root")" out >/dev/null 2>&1 || code=$?
        fi
        echo "$kind, $name: exit $code, unpacked $(find out -type f -printf '%f %s\n' | sort | paste -sd ' ')"
    done
done | tee seen
diff seen - <<'SEEN' && echo "as it was"
version 0, @ipld/car: 5 blocks, 5 right, 1730 bytes
version 0, ipld-car: 5 blocks, 0 right, 1735 bytes
version 0, written by ipld-car: the same archive
version 0, ipfs-car: exit 0, unpacked a 1500 b 10
version 0, ipfs-car-decoder: exit 0, unpacked a 1500 b 10
version 1, @ipld/car: 5 blocks, 5 right, 1708 bytes
version 1, ipld-car: 5 blocks, 5 right, 1708 bytes
version 1, written by ipld-car: the same archive
version 1, ipfs-car: exit 0, unpacked a 1500 b 10
version 1, ipfs-car-decoder: exit 0, unpacked a 1500 b 10
version 1 with an empty file, @ipld/car: 5 blocks, 5 right, 1702 bytes
version 1 with an empty file, ipld-car: 5 blocks, 5 right, 1702 bytes
version 1 with an empty file, written by ipld-car: the same archive
version 1 with an empty file, ipfs-car: exit 0, unpacked a 1500 empty 0
version 1 with an empty file, ipfs-car-decoder: exit 1, unpacked a 1500
SEEN
