#!/usr/bin/env bash
# Libraries of npm that read tar archives lose the folder, the end of the name, or add a byte to it, once a path is over 100 bytes.
#
# Guess: a path of 101 bytes is stored in one of two old ways (the prefix of ustar, which bsdtar and npm use, or a long name of GNU tar),
# and every library that reads tar archives knows both.
#
# Seen on archives of GNU tar 1.34 and bsdtar 3.6.2 with their defaults, 2026-11-29: two folders of 90 letters, each with one file
# report.txt of other content. The path of the first of the two after reading:
#
#                                                        bsdtar             GNU tar
#   tar-stream 3.2.2, modern-tar 0.8.6, it-tar 6.0.6     right              right
#   nanotar 0.3.0                                        report.txt         right
#   @obsidize/tar-browserify 6.3.2                       report.txt         right, but for a zero byte at the end
#   @remix-run/tar-parser 0.7.1                          right              right, but for a zero byte at the end
#   @andrewbranch/untar.js 1.0.4                         right              cut to 100 bytes
#
# None reports an error. If both files are called report.txt, the second replaces the first. So archives for such a library need paths
# of at most 100 bytes, or must be made by `tar --format=pax`, which all but untar.js read correctly.
#
# Needs Debian's apt-get, tar, node with npm, and network for the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 .
for package in libarchive-tools=3.6.2-1+deb12u5 libarchive13=3.6.2-1+deb12u5; do apt-get download -q "$package" >/dev/null 2>&1; done
mkdir root source
for archive in *.deb; do dpkg -x "$archive" root; done
npm install --silent --no-audit --no-fund --prefix js tar-stream@3.2.2 modern-tar@0.8.6 it-tar@6.0.6 nanotar@0.3.0 @obsidize/tar-browserify@6.3.2 \
    @remix-run/tar-parser@0.7.1 @andrewbranch/untar.js@1.0.4 >/dev/null

for letter in a b; do
    folder=source/$(printf "$letter%.0s" $(seq 90))
    mkdir "$folder"
    echo "report of $letter" > "$folder/report.txt"
done
(cd source && LD_LIBRARY_PATH=$work/root/usr/lib/$(uname -m)-linux-gnu "$work/root/usr/bin/bsdtar" -cf ../bsdtar.tar -- */report.txt)
(cd source && tar -cf ../gnu.tar -- */report.txt && tar --format=pax -cf ../pax.tar -- */report.txt)

cat > js/read.mjs <<'JS'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'
import { Archive } from '@obsidize/tar-browserify'
import { parseTar as remix } from '@remix-run/tar-parser'
import { extract as itTar } from 'it-tar'
import { unpackTar } from 'modern-tar'
import { parseTar as nanotar } from 'nanotar'
import { extract as tarStream } from 'tar-stream'
const { untar } = createRequire(import.meta.url)('@andrewbranch/untar.js')
const readers = {
  'tar-stream': async bytes => {
    const names = []
    const reader = tarStream().on('entry', (header, stream, next) => { names.push(header.name); stream.on('end', next).resume() })
    await pipeline(Readable.from([bytes]), reader)
    return names
  },
  'modern-tar': async bytes => (await unpackTar(bytes)).map(entry => entry.header.name),
  'it-tar': async bytes => {
    const names = []
    for await (const entry of itTar()([bytes])) {
      names.push(entry.header.name)
      for await (const _ of entry.body);
    }
    return names
  },
  nanotar: async bytes => nanotar(bytes).map(entry => entry.name),
  'tar-browserify': async bytes => (await Archive.extract(bytes)).entries.map(entry => entry.fileName),
  'tar-parser': async bytes => {
    const names = []
    await remix(bytes, entry => { names.push(entry.name) })
    return names
  },
  'untar.js': async bytes => untar(bytes).map(entry => entry.filename)
}
const folder = { a: 'a'.repeat(90), b: 'b'.repeat(90) }
const short = name => JSON.stringify(name.replace(folder.a, 'A').replace(folder.b, 'B'))
for (const archive of ['bsdtar', 'gnu', 'pax']) {
  for (const [name, read] of Object.entries(readers)) {
    const names = await read(new Uint8Array(readFileSync(`${archive}.tar`)))
    console.log(`${archive} ${name}: ${names.map(short).join(' ')}`)
  }
}
JS
node js/read.mjs | tee seen
diff seen - <<'SEEN' && echo "as it was"
bsdtar tar-stream: "A/report.txt" "B/report.txt"
bsdtar modern-tar: "A/report.txt" "B/report.txt"
bsdtar it-tar: "A/report.txt" "B/report.txt"
bsdtar nanotar: "report.txt" "report.txt"
bsdtar tar-browserify: "report.txt" "report.txt"
bsdtar tar-parser: "A/report.txt" "B/report.txt"
bsdtar untar.js: "A/report.txt" "B/report.txt"
gnu tar-stream: "A/report.txt" "B/report.txt"
gnu modern-tar: "A/report.txt" "B/report.txt"
gnu it-tar: "A/report.txt" "B/report.txt"
gnu nanotar: "A/report.txt" "B/report.txt"
gnu tar-browserify: "A/report.txt\u0000" "B/report.txt\u0000"
gnu tar-parser: "A/report.txt\u0000" "B/report.txt\u0000"
gnu untar.js: "A/report.tx" "B/report.tx"
pax tar-stream: "A/report.txt" "B/report.txt"
pax modern-tar: "A/report.txt" "B/report.txt"
pax it-tar: "A/report.txt" "B/report.txt"
pax nanotar: "A/report.txt" "B/report.txt"
pax tar-browserify: "A/report.txt" "B/report.txt"
pax tar-parser: "A/report.txt" "B/report.txt"
pax untar.js: "A/report.tx" "B/report.tx"
SEEN
