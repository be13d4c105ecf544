#!/usr/bin/env bash
# Node 22's zlib and two interfaces of python-zstandard read the output of pzstd as an empty file, without an error.
#
# Guess: RFC 8878 says that a zstd file is frames one after another, and that a reader skips skippable ones; so every reader
# that accepts the output of zstd accepts that of pzstd (of the same package), or fails.
#
# pzstd puts a skippable frame before each frame, and makes a frame for each core's share. Seen with both of zstd 1.5.4, 2026-11-29,
# on 8 MB; "two frames" is what `cat a.zst b.zst` makes, two halves packed alone:
#
#                                                  pzstd                  two frames
#   zstd, bsdtar, 7-Zip, node:zlib of Node 26.10   whole                  whole
#   python-zstandard 0.25.0, stream_reader         whole                  whole
#   python-zstandard, read_to_iter, decompressobj  0 bytes, no error      the first half, no error
#   node:zlib of Node 22.23.3, zstdDecompressSync  0 bytes, no error      the first half, no error
#   node:zlib of Node 22.23.3, pipeline            an error               an error, after the first half
#
# So a reader of files by others must be tried with the output of pzstd, and checked by a hash of the result, because the exit code does not show the loss.
#
# Needs Debian's apt-get, node with npm, python3 with venv, and network for the package registries. Exits 1 when anything changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 .
for package in zstd=1.5.4+dfsg2-5 libarchive-tools=3.6.2-1+deb12u5 libarchive13=3.6.2-1+deb12u5 7zip=22.01+really26.02+dfsg-0+deb12u1; do
    apt-get download -q "$package" >/dev/null 2>&1
done
mkdir root
for archive in *.deb; do dpkg -x "$archive" root; done
export LD_LIBRARY_PATH=$work/root/usr/lib/$(uname -m)-linux-gnu PATH=$work/root/usr/bin:$PATH
for version in 22.23.3 26.10.0; do npm install --silent --no-audit --no-fund --prefix "node${version%%.*}" "node@$version" >/dev/null; done
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check zstandard==0.25.0

seq 1 1100000 > file
pzstd -q -p 2 file -o pzstd.zst
head -c 4000000 file | zstd -q > frames.zst
tail -c +4000001 file | zstd -q >> frames.zst
cat > read.py <<'PY'
import sys, zstandard
data, reader = open(sys.argv[2], "rb"), zstandard.ZstdDecompressor()
if sys.argv[1] == "stream_reader":
    pieces = [reader.stream_reader(data).read()]
elif sys.argv[1] == "read_to_iter":
    pieces = reader.read_to_iter(data)
else:
    pieces = [reader.decompressobj().decompress(data.read())]
sys.stdout.buffer.write(b"".join(pieces))
PY
cat > read.js <<'JS'
const fs = require('fs'), zlib = require('zlib'), { pipeline } = require('stream/promises')
const [way, path] = process.argv.slice(2)
if (way === 'sync') process.stdout.write(zlib.zstdDecompressSync(fs.readFileSync(path)))
if (way === 'pipeline') pipeline(fs.createReadStream(path), zlib.createZstdDecompress(), process.stdout).catch(() => { process.exitCode = 1 })
JS
readers() { # readers FILE: what each of them makes of it
    local name code
    while read -r name command; do
        code=0
        $command "$1" > out 2>/dev/null </dev/null || code=$?
        if cmp -s out file; then found=whole; else found="$(wc -c < out) bytes of $(wc -c < file)"; fi
        echo "${1%.zst} $name: $found, exit $code"
    done <<READERS
zstd zstd -dcq
bsdcat bsdcat
7-zip 7zz x -so
zstandard-stream_reader venv/bin/python read.py stream_reader
zstandard-read_to_iter venv/bin/python read.py read_to_iter
zstandard-decompressobj venv/bin/python read.py decompressobj
node22-sync node22/node_modules/.bin/node read.js sync
node22-pipeline node22/node_modules/.bin/node read.js pipeline
node26-sync node26/node_modules/.bin/node read.js sync
node26-pipeline node26/node_modules/.bin/node read.js pipeline
READERS
}
{ readers pzstd.zst; readers frames.zst; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
pzstd zstd: whole, exit 0
pzstd bsdcat: whole, exit 0
pzstd 7-zip: whole, exit 0
pzstd zstandard-stream_reader: whole, exit 0
pzstd zstandard-read_to_iter: 0 bytes of 7688896, exit 0
pzstd zstandard-decompressobj: 0 bytes of 7688896, exit 0
pzstd node22-sync: 0 bytes of 7688896, exit 0
pzstd node22-pipeline: 0 bytes of 7688896, exit 1
pzstd node26-sync: whole, exit 0
pzstd node26-pipeline: whole, exit 0
frames zstd: whole, exit 0
frames bsdcat: whole, exit 0
frames 7-zip: whole, exit 0
frames zstandard-stream_reader: whole, exit 0
frames zstandard-read_to_iter: 4000000 bytes of 7688896, exit 0
frames zstandard-decompressobj: 4000000 bytes of 7688896, exit 0
frames node22-sync: 4000000 bytes of 7688896, exit 0
frames node22-pipeline: 4000000 bytes of 7688896, exit 1
frames node26-sync: whole, exit 0
frames node26-pipeline: whole, exit 0
SEEN
