#!/usr/bin/env bash
# py-libp2p reads some peer ids in CID form as another peer, and js-libp2p reads that form in only two of the usual bases.
#
# Guess: the peer id specification has two text forms, which the first letters tell apart (1 or Qm is base58, all else a CIDv1 in any
# multibase). Libraries read both, or refuse what they do not know.
#
# Seen with py-libp2p 0.8.1 (ID.from_string) and @libp2p/peer-id 6.0.15 (peerIdFromString), 2026-11-28, on 1,000 Ed25519 peer ids, each
# written in six ways:
#
#                        py-libp2p                                            js-libp2p
#   base58               right                                                right
#   CID, base32 (b...)   805 refused, 195 another peer                        right
#   CID, base36 (k...)   952 refused, 48 another peer                         right
#   CID, base58 (z...)   all another peer                                     refused
#   CID, base16 (f...)   refused                                              refused
#   CID, BASE32 (B...)   refused                                              refused
#
# py tries base58 on any text, and a CID that has no "l" or "0" in it by chance is valid base58 of other bytes. So a list of allowed or
# blocked peers in CID form may work in a test with one id, and name a different peer with the next. Base58 is the form to exchange.
#
# Needs python3 with venv, node and npm; no network but the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check libp2p==0.8.1 base58==2.1.1
npm install --silent --no-audit --no-fund --prefix js @libp2p/peer-id@6.0.15 >/dev/null
cat > read.py <<'PY'
import base64, hashlib, json, sys
import base58
from libp2p.peer.id import ID

def base36(data):
    digits, number = "", int.from_bytes(data, "big")
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits

# A CID's first byte is 1: there are no zeros in front that a base would have to keep.
FORMS = {
    "base58": lambda hashed, cid: base58.b58encode(hashed).decode(),
    "b": lambda hashed, cid: "b" + base64.b32encode(cid).decode().rstrip("=").lower(),
    "k": lambda hashed, cid: "k" + base36(cid),
    "z": lambda hashed, cid: "z" + base58.b58encode(cid).decode(),
    "f": lambda hashed, cid: "f" + cid.hex(),
    "B": lambda hashed, cid: "B" + base64.b32encode(cid).decode().rstrip("="),
}
texts = {form: [] for form in FORMS}
counts = {form: {"right": 0, "refused": 0, "another peer": 0} for form in FORMS}
for number in range(1000):
    # An Ed25519 public key as protobuf in an identity multihash; the CID says version 1 and libp2p-key.
    hashed = bytes.fromhex("002408011220") + hashlib.sha256(str(number).encode()).digest()
    for form, write in FORMS.items():
        text = write(hashed, b"\x01\x72" + hashed)
        texts[form].append([text, hashed.hex()])
        try:
            what = "right" if ID.from_string(text).to_bytes() == hashed else "another peer"
        except ValueError:
            what = "refused"
        counts[form][what] += 1
json.dump(texts, open("texts.json", "w"))
for form, count in counts.items():
    print("py", form, ", ".join(f"{number} {what}" for what, number in count.items() if number))
PY
cat > js/read.mjs <<'JS'
import fs from 'node:fs'
import { peerIdFromString } from '@libp2p/peer-id'
for (const [form, texts] of Object.entries(JSON.parse(fs.readFileSync('texts.json', 'utf8')))) {
  const count = { right: 0, refused: 0, 'another peer': 0 }
  for (const [text, hashed] of texts) {
    let what = 'refused'
    try {
      what = Buffer.from(peerIdFromString(text).toMultihash().bytes).toString('hex') === hashed ? 'right' : 'another peer'
    } catch {}
    count[what]++
  }
  console.log('js', form, Object.entries(count).filter(([, number]) => number).map(([what, number]) => `${number} ${what}`).join(', '))
}
JS
{ venv/bin/python read.py; node js/read.mjs; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
py base58 1000 right
py b 805 refused, 195 another peer
py k 952 refused, 48 another peer
py z 1000 another peer
py f 1000 refused
py B 1000 refused
js base58 1000 right
js b 1000 right
js k 1000 right
js z 1000 refused
js f 1000 refused
js B 1000 refused
SEEN
