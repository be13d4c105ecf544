#!/usr/bin/env bash
# Two multiaddr libraries encode the same valid text as different bytes.
#
# Guess: a multiaddr's text stands for one sequence of bytes, so an address that py-multiaddr encodes is the address that
# js-multiaddr decodes.
#
# Seen with py-multiaddr 0.2.0 (PyPI) and @multiformats/multiaddr 13.0.3 (npm), 2026-11-28:
#
#   text                       py                          js                        what the other makes of it
#   /memory/1234               8-byte integer              string with its length    both refuse
#   /p2p/bafz... (a CID)       the whole CID               only its multihash        js reads another peer id out of py's bytes
#   /http-path/a%2Fb           a/b                         /a/b                      js drops py's first character, py keeps js' slash
#   /unix/tmp/sock             tmp/sock                    refused                   js prints py's bytes as /unix/tmp%2Fsock
#
# while /p2p/<base58>, /ip4, /ip6, /dns*, /quic-v1, /certhash and /tls/sni agree byte for byte. So peers of both kinds must be
# handed addresses with base58 peer ids, and an address book in binary form cannot be shared between the two.
#
# Needs python3 with venv, node and npm; no network but the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check multiaddr==0.2.0
npm install --silent --no-audit --no-fund --prefix js @multiformats/multiaddr@13.0.3 >/dev/null

cat > texts <<'TEXTS'
/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA
/ip4/192.0.2.1/udp/4001/quic-v1
/dns4/example.com/tcp/443/tls/sni/example.com/ws
/memory/1234
/p2p/bafzbeigweq4zr4x4ky2dvv7nanbkw6egutvrrvzw6g3h2rftp7gidyhtt4
/http-path/a%2Fb
/unix/tmp/sock
TEXTS

cat > encode.py <<'PY'
import sys
from multiaddr import Multiaddr
def shown(make):
    try:
        return make()
    except Exception as error:
        return "refused (" + type(error).__name__ + ")"
if sys.argv[1] == "encode":
    for line in open("texts"):
        print(shown(lambda: Multiaddr(line.strip()).to_bytes().hex()))
else:
    for line in open(sys.argv[2]):
        text = line.strip()
        print("-" if text.startswith("refused") else shown(lambda: str(Multiaddr(bytes.fromhex(text)))))
PY
cat > js/encode.mjs <<'JS'
import { multiaddr } from '@multiformats/multiaddr'
import fs from 'node:fs'
const [mode, file] = process.argv.slice(2)
const lines = name => fs.readFileSync(name, 'utf8').trimEnd().split('\n')
const shown = make => { try { return make() } catch (error) { return `refused (${error.name})` } }
for (const line of lines(file)) {
  if (mode === 'encode') console.log(shown(() => Buffer.from(multiaddr(line).bytes).toString('hex')))
  else console.log(line.startsWith('refused') ? '-' : shown(() => multiaddr(Buffer.from(line, 'hex')).toString()))
}
JS
venv/bin/python encode.py encode > py.bytes
node js/encode.mjs encode texts > js.bytes
venv/bin/python encode.py decode js.bytes > py-reads-js
node js/encode.mjs decode py.bytes > js-reads-py
paste -d'|' texts py.bytes js.bytes py-reads-js js-reads-py | awk -F'|' '{
  printf "%s\n  py bytes     %s\n  js bytes     %s\n  py reads js  %s\n  js reads py  %s\n", $1, $2, $3, $4, $5 }' | tee seen

cat > expected <<'EXPECTED'
/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA
  py bytes     047f000001060fa1a503260024080112202ffa35a99d3a3cfbb17bb7c1dc5561b18a8dcca4df38dc613ea859c37eb1336b
  js bytes     047f000001060fa1a503260024080112202ffa35a99d3a3cfbb17bb7c1dc5561b18a8dcca4df38dc613ea859c37eb1336b
  py reads js  /ip4/127.0.0.1/tcp/4001/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA
  js reads py  /ip4/127.0.0.1/tcp/4001/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA
/ip4/192.0.2.1/udp/4001/quic-v1
  py bytes     04c000020191020fa1cd03
  js bytes     04c000020191020fa1cd03
  py reads js  /ip4/192.0.2.1/udp/4001/quic-v1
  js reads py  /ip4/192.0.2.1/udp/4001/quic-v1
/dns4/example.com/tcp/443/tls/sni/example.com/ws
  py bytes     360b6578616d706c652e636f6d0601bbc003c1030b6578616d706c652e636f6ddd03
  js bytes     360b6578616d706c652e636f6d0601bbc003c1030b6578616d706c652e636f6ddd03
  py reads js  /dns4/example.com/tcp/443/tls/sni/example.com/ws
  js reads py  /dns4/example.com/tcp/443/tls/sni/example.com/ws
/memory/1234
  py bytes     890600000000000004d2
  js bytes     89060431323334
  py reads js  refused (BinaryParseError)
  js reads py  refused (UnknownProtocolError)
/p2p/bafzbeigweq4zr4x4ky2dvv7nanbkw6egutvrrvzw6g3h2rftp7gidyhtt4
  py bytes     a5032401721220d6243998f2fc56343ad7ed0342ab7886a4eb18d736f1b67d44b37fcc81e0f39f
  js bytes     a503221220d6243998f2fc56343ad7ed0342ab7886a4eb18d736f1b67d44b37fcc81e0f39f
  py reads js  /p2p/QmckZzdVd72h9QUFuJJpQqhsZqGLwjhh81qSvZ9BhB2FQi
  js reads py  /p2p/dvgqFpuAq9E2pQq3bFQ62Ep4qQUda9vKVi6bULsxTZhb9o4S
/http-path/a%2Fb
  py bytes     e10303612f62
  js bytes     e103042f612f62
  py reads js  /http-path/%2Fa%2Fb
  js reads py  /http-path/%2Fb
/unix/tmp/sock
  py bytes     900308746d702f736f636b
  js bytes     refused (UnknownProtocolError)
  py reads js  -
  js reads py  /unix/tmp%2Fsock
EXPECTED
diff expected seen && echo "as described"
