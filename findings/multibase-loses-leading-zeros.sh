#!/usr/bin/env bash
# py-multibase, which py-libp2p uses, loses zero bytes at the start in eight bases, and writes two of them in a way of its own.
#
# Guess: a multibase library decodes its own encoding to the same bytes, and so do other libraries, because each base has one definition.
#
# Seen with py-multibase 2.0.0 and multiformats 0.3.1.post4 (PyPI) and multiformats 14.0.5 (npm), 2026-11-29:
#
#   base16                                      the text is right; decoded it has lost its zero bytes at the start: f00ff is ff
#   base10, base36, base58btc, base58flickr     they are lost when it encodes and when it decodes: 00ff becomes z5Q, not z15Q
#   base2, base8, base32z                       likewise; base8 and base32z are other texts for most bytes, base2 for most first bytes
#   base32, base32hex, base64, base64urlpad     as the others
#
# There is no error. One in 256 digests begins with a zero byte, and so does each peer id that holds its key (00 24 08 01 12 ...):
# zvRF5b stands there for z1vRF5b. PyPI's multiformats writes base8 with =, npm's without. So between libraries only base32 and base64 are
# safe, and a program that decodes must compare the length.
#
# Needs python3 with venv, node with npm, and network for the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check py-multibase==2.0.0 multiformats==0.3.1.post4
npm install --silent --no-audit --no-fund --prefix js multiformats@14.0.5 >/dev/null

cat > encode.py <<'PY'
import sys
if sys.argv[1] == "py-multibase":
    import multibase
    encode, decode = lambda base, data: multibase.encode(base, data).decode(), multibase.decode
else:
    from multiformats import multibase
    encode, decode = lambda base, data: multibase.get(base).encode(data), multibase.decode
for line in sys.stdin:
    base, text = line.split()
    data = bytes.fromhex(text)
    print(base, text, encode(base, data), decode(encode(base, data)).hex())
PY
cat > js/encode.mjs <<'JS'
import { readFileSync } from 'node:fs'
import { bases } from 'multiformats/basics'
for (const line of readFileSync(0, 'utf8').trim().split('\n')) {
  const [base, text] = line.split(' ')
  const encoded = bases[base].encode(Buffer.from(text, 'hex'))
  console.log(base, text, encoded, Buffer.from(bases[base].decode(encoded)).toString('hex'))
}
JS
for base in base2 base8 base10 base16 base32 base32hex base32z base36 base58btc base58flickr base64 base64urlpad; do
    for data in 00ff 0024080112 0102030405060708; do echo "$base $data"; done
done > cases
for library in py-multibase multiformats; do venv/bin/python encode.py $library < cases > "$library.py.out"; done
node js/encode.mjs < cases > js.out
{
    echo "py-multibase: base, bytes, its text, what it decodes that to; npm's text"
    paste -d ' ' py-multibase.py.out js.out | awk '{ if ($3 "" != $7 "" || $4 "" != $8 "") print $1, $2, $3, $4 "; " $7 }'
    echo "multiformats of PyPI: base, bytes, its text; npm's text"
    paste -d ' ' multiformats.py.out js.out | awk '{ if ($3 "" != $7 "" || $4 "" != $8 "") print $1, $2, $3 "; " $7 }'
} | tee seen
diff seen - <<'SEEN' && echo "as it was"
py-multibase: base, bytes, its text, what it decodes that to; npm's text
base2 00ff 011111111 ff; 00000000011111111
base2 0024080112 0100100000010000000000100010010 24080112; 00000000000100100000010000000000100010010
base2 0102030405060708 0100000010000000110000010000000101000001100000011100001000 0102030405060708; 00000000100000010000000110000010000000101000001100000011100001000
base8 00ff 7377 ff; 7001774
base8 0024080112 74402000422 24080112; 700022010002110
base8 0102030405060708 74020060200501403410 0102030405060708; 70020100301002406016040
base10 00ff 9255 ff; 90255
base10 0024080112 9604504338 24080112; 90604504338
base16 00ff f00ff ff; f00ff
base16 0024080112 f0024080112 24080112; f0024080112
base32z 00ff h89 ff; hyd9o
base32z 0024080112 h1yoye1 24080112; hyy1yoye1
base32z 0102030405060708 hnyodyonocbae 0102030405060708; hyrbygbyfyadoo
base36 00ff k73 ff; k073
base36 0024080112 k9zwmj6 24080112; k09zwmj6
base58btc 00ff z5Q ff; z15Q
base58btc 0024080112 zvRF5b 24080112; z1vRF5b
base58flickr 00ff Z5p ff; Z15p
base58flickr 0024080112 ZVqf5A 24080112; Z1Vqf5A
multiformats of PyPI: base, bytes, its text; npm's text
base8 00ff 7001774==; 7001774
base8 0024080112 700022010002110==; 700022010002110
base8 0102030405060708 70020100301002406016040==; 70020100301002406016040
SEEN
