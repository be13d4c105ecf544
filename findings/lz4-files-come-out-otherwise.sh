#!/usr/bin/env bash
# lz4js returns the block checksums of an lz4 file as content; four libraries lose the second frame, two lose all after a skippable one.
#
# Guess: what the lz4 program writes with its own switches is one format (LZ4 Frame Format 1.6: block checksums are a flag of the
# header, frames follow each other, skippable ones are passed over); a library reads it or fails.
#
# Seen with lz4 1.9.4 on 1,288,895 bytes, 2026-11-29. "-BX" is lz4 -BX (a checksum per block), "two" is `cat a.lz4 b.lz4`, "skippable" is
# a skippable frame of four bytes and then the file:
#
#                                                  -BX                      two              skippable
#   lz4                                            whole                    whole            whole
#   LZ4FrameFile of lz4 4.4.5, cramjam 2.14.0      whole                    whole            whole
#   lz4.frame.decompress of lz4 4.4.5 (PyPI)       whole                    the first        0 bytes, no error
#   lz4js 0.2.0                                    longer, other bytes,     the first        an error
#                                                  no error
#   lz4-napi 2.10.0                                whole                    the first        an error
#   @foxglove/wasm-lz4 1.0.2                       whole                    the first        0 bytes, no error
#   bsdcat of libarchive 3.6.2                     whole                    whole            an error: takes it for zstd, which has
#                                                                                            the same number for skippable frames
#
# So pack for unknown readers in one frame without block checksums; and after unpacking, compare the length and a hash.
#
# Needs Debian's apt-get, python3 with venv, node with npm, and network for the package registries. Exits 1 when anything changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 .
apt-get download -q lz4=1.9.4-1 liblz4-1=1.9.4-1 libarchive-tools=3.6.2-1+deb12u5 libarchive13=3.6.2-1+deb12u5 >/dev/null 2>&1
mkdir root
for archive in *.deb; do dpkg -x "$archive" root; done
export LD_LIBRARY_PATH=$work/root/usr/lib/$(uname -m)-linux-gnu PATH=$work/root/usr/bin:$PATH
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check lz4==4.4.5 cramjam==2.14.0
npm install --silent --no-audit --no-fund --prefix js lz4js@0.2.0 lz4-napi@2.10.0 @foxglove/wasm-lz4@1.0.2 >/dev/null

seq 1 200000 > file
lz4 -q file plain.lz4
lz4 -q -BX file blocks.lz4
{ head -c 700000 file | lz4 -q; tail -c +700001 file | lz4 -q; } > two.lz4
{ printf 'P*M\030\004\000\000\000abcd'; cat plain.lz4; } > skippable.lz4
cat > read.py <<'PY'
import sys
import cramjam, lz4.frame
way, path = sys.argv[1:]
with open(path, "rb") as file:
    if way == "LZ4FrameFile":
        came = lz4.frame.LZ4FrameFile(file).read()
    else:
        came = {"lz4.frame": lz4.frame.decompress, "cramjam": cramjam.lz4.decompress}[way](file.read())
sys.stdout.buffer.write(bytes(came))
PY
cat > js/read.cjs <<'JS'
const { readFileSync, writeSync } = require('fs')
const [name, path] = process.argv.slice(2)
const packed = readFileSync(path)
async function unpack () {
  if (name === 'lz4js') return require('lz4js').decompress(packed)
  if (name === 'lz4-napi') return require('lz4-napi').decompressFrameSync(packed)
  const foxglove = require('@foxglove/wasm-lz4')
  await foxglove.isLoaded
  return foxglove(packed, 1288895)
}
unpack().then(came => { for (let at = 0; at < came.length;) at += writeSync(1, came, at) }, () => { process.exitCode = 1 })
JS
while read -r name command; do
    line=
    for kind in plain blocks two skippable; do
        code=0
        $command "$kind.lz4" > out 2>/dev/null </dev/null || code=$?
        if [ "$code" != 0 ]; then seen='an error'
        elif cmp -s out file; then seen=whole
        elif cmp -s out <(head -c "$(stat -c %s out)" file); then seen="the first $(stat -c %s out) bytes"
        else seen="$(stat -c %s out) bytes, not those of the file"; fi
        line="$line; $kind $seen"
    done
    echo "$name:${line#;}"
done <<READERS | tee seen
lz4 lz4 -dc
LZ4FrameFile venv/bin/python read.py LZ4FrameFile
cramjam venv/bin/python read.py cramjam
lz4.frame venv/bin/python read.py lz4.frame
lz4js node js/read.cjs lz4js
lz4-napi node js/read.cjs lz4-napi
@foxglove/wasm-lz4 node js/read.cjs @foxglove/wasm-lz4
bsdcat bsdcat
READERS
diff seen - <<'SEEN' && echo "as it was"
lz4: plain whole; blocks whole; two whole; skippable whole
LZ4FrameFile: plain whole; blocks whole; two whole; skippable whole
cramjam: plain whole; blocks whole; two whole; skippable whole
lz4.frame: plain whole; blocks whole; two the first 700000 bytes; skippable the first 0 bytes
lz4js: plain whole; blocks 1290544 bytes, not those of the file; two the first 700000 bytes; skippable an error
lz4-napi: plain whole; blocks whole; two the first 700000 bytes; skippable an error
@foxglove/wasm-lz4: plain whole; blocks whole; two the first 700000 bytes; skippable the first 0 bytes
bsdcat: plain whole; blocks whole; two whole; skippable an error
SEEN
