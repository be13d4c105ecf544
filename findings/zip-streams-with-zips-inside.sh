#!/usr/bin/env bash
# fflate and unzipper, which read a zip as a stream, take files of an archive inside it for files of its own, with no error; unzipper
# leaves out what comes after it.
#
# Guess: a zip that was written as a stream has the length of each file behind its data (bit 3 and data descriptor, APPNOTE 4.4.4 and
# 4.3.9; with any method, so also with files that are stored as they are). A library that reads a zip as a stream returns such files whole,
# or refuses them; the sizes and the CRC behind the data tell it whether it found the end.
#
# Seen with archives of first.txt, inner.zip and report.txt, stored, where inner.zip has a data.txt and another report.txt, 2026-11-30. The
# writers are Python's zipfile to a pipe (stored is its default), client-zip 2.5.1 (always stored), archiver 8.0.0 and yazl 3.3.1 without
# compression, and all four make no difference. In the folder after unpacking:
#
#                         inner.zip was written to a file             inner.zip was written as a stream itself
#   jszip 3.10.2, fflate  the three files                             the three files
#   0.8.3 with unzipSync
#   unzip-stream 0.3.4    the three files                             the three files
#   fflate with Unzip     inner.zip with other bytes, and a data.txt  the same
#   unzipper 0.12.5 with  the three files                             inner.zip, cut off, and the inner report.txt instead of the
#   Extract                                                           outer one
#
# The first two read the list of files at the end. An archive in an archive is common (.jar, .whl, .docx, .apk). fflate looks for the next
# signature of a header, unzipper for the one of a data descriptor; any file may have either, and a long compressed one has it by chance.
# So read a zip from its end, or as a stream only if the lengths are in front of the data, and compare what came out with the list.
#
# Needs python3, node with npm, and network for npm. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix js client-zip@2.5.1 archiver@8.0.0 yazl@3.3.1 fflate@0.8.3 unzipper@0.12.5 \
    unzip-stream@0.3.4 jszip@3.10.2 >/dev/null
cat > write.py <<'PY'
import zipfile
def write(target, files):
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files:
            archive.writestr(name, content)
class Pipe: # what zipfile gets to see of a pipe or a socket: it can be written to, and that is all
    def __init__(self, path): self.file = open(path, "wb")
    def write(self, data): return self.file.write(data)
    def flush(self): self.file.flush()
inside = [("data.txt", b"data of the inner archive"), ("report.txt", b"report of the inner archive")]
write("inner-file.zip", inside)
write(Pipe("inner-stream.zip"), inside)
for inner in ("file", "stream"):
    write(Pipe(f"zipfile-{inner}.zip"), [("first.txt", b"first"), ("inner.zip", open(f"inner-{inner}.zip", "rb").read()), ("report.txt", b"report")])
    print(f"zipfile-{inner}:", "sound" if zipfile.ZipFile(f"zipfile-{inner}.zip").testzip() is None else "broken")
PY
cat > js/write.mjs <<'JS'
import { createWriteStream, readFileSync, writeFileSync } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ZipArchive } from 'archiver'
import { downloadZip } from 'client-zip'
import yazl from 'yazl'
for (const inner of ['file', 'stream']) {
  const files = [['first.txt', Buffer.from('first')], ['inner.zip', readFileSync(`inner-${inner}.zip`)], ['report.txt', Buffer.from('report')]]
  writeFileSync(`client-zip-${inner}.zip`, Buffer.from(await downloadZip(files.map(([name, input]) => ({ name, input }))).arrayBuffer()))
  const archive = new ZipArchive({ store: true })
  for (const [name, content] of files) archive.append(Readable.from([content]), { name })
  archive.finalize()
  await pipeline(archive, createWriteStream(`archiver-${inner}.zip`))
  const yazlFile = new yazl.ZipFile()
  for (const [name, content] of files) yazlFile.addReadStream(Readable.from([content]), name, { compress: false })
  yazlFile.end()
  await pipeline(yazlFile.outputStream, createWriteStream(`yazl-${inner}.zip`))
}
JS
cat > js/read.mjs <<'JS'
import { createReadStream, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
const require = createRequire(import.meta.url)
const { Unzip, UnzipInflate, unzipSync } = require('fflate')
const JSZip = require('jszip')
const extract = Extract => (path, folder) => new Promise((resolve, reject) =>
  createReadStream(path).pipe(Extract({ path: folder })).on('error', reject).on('close', resolve))
const readers = {
  jszip: async (path, folder) => {
    const archive = await JSZip.loadAsync(readFileSync(path))
    for (const name in archive.files) writeFileSync(`${folder}/${name}`, await archive.files[name].async('nodebuffer'))
  },
  'fflate.unzipSync': async (path, folder) => {
    for (const [name, content] of Object.entries(unzipSync(readFileSync(path)))) writeFileSync(`${folder}/${name}`, content)
  },
  'fflate.Unzip': async (path, folder) => {
    const unzip = new Unzip(file => {
      const pieces = []
      file.ondata = (error, piece, last) => {
        if (error) throw error
        pieces.push(Buffer.from(piece))
        if (last) writeFileSync(`${folder}/${file.name}`, Buffer.concat(pieces))
      }
      file.start()
    })
    unzip.register(UnzipInflate)
    for await (const piece of createReadStream(path)) unzip.push(piece)
    unzip.push(new Uint8Array(0), true)
  },
  'unzip-stream': extract(require('unzip-stream').Extract),
  unzipper: extract(require('unzipper').Extract),
}
const [, , writer, inner] = process.argv
const inside = { 'data.txt': 'data of the inner archive', 'report.txt': 'report of the inner archive' }
for (const [name, read] of Object.entries(readers)) {
  const folder = `${writer}-${inner}-${name}`
  mkdirSync(folder)
  let end = ''
  try {
    await read(`${writer}-${inner}.zip`, folder)
  } catch (error) {
    end = ', an error'
  }
  const packed = { 'first.txt': 'first', 'inner.zip': readFileSync(`inner-${inner}.zip`, 'latin1'), 'report.txt': 'report' }
  const told = readdirSync(folder).sort().map(file => {
    const content = readFileSync(`${folder}/${file}`, 'latin1')
    if (content === packed[file]) return `${file} right`
    return content === inside[file] ? `${file} of the inner archive` : `${file} ${packed[file].startsWith(content) ? 'cut off' : 'with other bytes'}`
  })
  for (const file in packed) if (!existsSync(`${folder}/${file}`)) told.push(`${file} missing`)
  console.log(`${writer}, inner.zip a ${inner}, ${name}: ${told.join(', ')}${end}`)
}
JS
{
    python3 write.py
    node js/write.mjs
    for writer in zipfile client-zip archiver yazl; do
        for inner in file stream; do node js/read.mjs $writer $inner; done
    done
} | tee seen
diff seen - <<'SEEN' && echo "as it was"
zipfile-file: sound
zipfile-stream: sound
zipfile, inner.zip a file, jszip: first.txt right, inner.zip right, report.txt right
zipfile, inner.zip a file, fflate.unzipSync: first.txt right, inner.zip right, report.txt right
zipfile, inner.zip a file, fflate.Unzip: data.txt of the inner archive, first.txt right, inner.zip with other bytes, report.txt right
zipfile, inner.zip a file, unzip-stream: first.txt right, inner.zip right, report.txt right
zipfile, inner.zip a file, unzipper: first.txt right, inner.zip right, report.txt right
zipfile, inner.zip a stream, jszip: first.txt right, inner.zip right, report.txt right
zipfile, inner.zip a stream, fflate.unzipSync: first.txt right, inner.zip right, report.txt right
zipfile, inner.zip a stream, fflate.Unzip: data.txt of the inner archive, first.txt right, inner.zip with other bytes, report.txt right
zipfile, inner.zip a stream, unzip-stream: first.txt right, inner.zip right, report.txt right
zipfile, inner.zip a stream, unzipper: first.txt right, inner.zip cut off, report.txt of the inner archive
client-zip, inner.zip a file, jszip: first.txt right, inner.zip right, report.txt right
client-zip, inner.zip a file, fflate.unzipSync: first.txt right, inner.zip right, report.txt right
client-zip, inner.zip a file, fflate.Unzip: data.txt of the inner archive, first.txt right, inner.zip with other bytes, report.txt right
client-zip, inner.zip a file, unzip-stream: first.txt right, inner.zip right, report.txt right
client-zip, inner.zip a file, unzipper: first.txt right, inner.zip right, report.txt right
client-zip, inner.zip a stream, jszip: first.txt right, inner.zip right, report.txt right
client-zip, inner.zip a stream, fflate.unzipSync: first.txt right, inner.zip right, report.txt right
client-zip, inner.zip a stream, fflate.Unzip: data.txt of the inner archive, first.txt right, inner.zip with other bytes, report.txt right
client-zip, inner.zip a stream, unzip-stream: first.txt right, inner.zip right, report.txt right
client-zip, inner.zip a stream, unzipper: first.txt right, inner.zip cut off, report.txt of the inner archive
archiver, inner.zip a file, jszip: first.txt right, inner.zip right, report.txt right
archiver, inner.zip a file, fflate.unzipSync: first.txt right, inner.zip right, report.txt right
archiver, inner.zip a file, fflate.Unzip: data.txt of the inner archive, first.txt right, inner.zip with other bytes, report.txt right
archiver, inner.zip a file, unzip-stream: first.txt right, inner.zip right, report.txt right
archiver, inner.zip a file, unzipper: first.txt right, inner.zip right, report.txt right
archiver, inner.zip a stream, jszip: first.txt right, inner.zip right, report.txt right
archiver, inner.zip a stream, fflate.unzipSync: first.txt right, inner.zip right, report.txt right
archiver, inner.zip a stream, fflate.Unzip: data.txt of the inner archive, first.txt right, inner.zip with other bytes, report.txt right
archiver, inner.zip a stream, unzip-stream: first.txt right, inner.zip right, report.txt right
archiver, inner.zip a stream, unzipper: first.txt right, inner.zip cut off, report.txt of the inner archive
yazl, inner.zip a file, jszip: first.txt right, inner.zip right, report.txt right
yazl, inner.zip a file, fflate.unzipSync: first.txt right, inner.zip right, report.txt right
yazl, inner.zip a file, fflate.Unzip: data.txt of the inner archive, first.txt right, inner.zip with other bytes, report.txt right
yazl, inner.zip a file, unzip-stream: first.txt right, inner.zip right, report.txt right
yazl, inner.zip a file, unzipper: first.txt right, inner.zip right, report.txt right
yazl, inner.zip a stream, jszip: first.txt right, inner.zip right, report.txt right
yazl, inner.zip a stream, fflate.unzipSync: first.txt right, inner.zip right, report.txt right
yazl, inner.zip a stream, fflate.Unzip: data.txt of the inner archive, first.txt right, inner.zip with other bytes, report.txt right
yazl, inner.zip a stream, unzip-stream: first.txt right, inner.zip right, report.txt right
yazl, inner.zip a stream, unzipper: first.txt right, inner.zip cut off, report.txt of the inner archive
SEEN
