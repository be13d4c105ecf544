#!/usr/bin/env bash
# On js-libp2p and py-libp2p over TCP, a connection that is lost in the middle of an answer looks like the answer's end.
#
# Guess: a stream tells the two apart. A frame of yamux closes its half, so the reader sees an end; if the connection is lost without
# such a frame, the stream returns an error.
#
# Seen with js-libp2p 3.3.11 (@libp2p/tcp 11.0.28, noise 17.0.0, yamux 8.0.1; Node 22) and py-libp2p 0.8.1, each between two processes
# of its own kind, 2026-11-28. One side sends 1,000 bytes and closes its half; another time its process exits after 1,000 bytes of an
# answer that would have more:
#
#                                     js-libp2p                        py-libp2p
#   all of it came                    1000 bytes, the iteration ends   1000 bytes, StreamEOF
#   the process is gone in between    1000 bytes, the iteration ends   1000 bytes, StreamEOF
#
# So a message over these must itself tell where it ends (a length in front, a closing bracket, a hash). Otherwise half a message is
# taken for the whole.
#
# Needs node with npm, python3 with venv, and network for the two package registries; else traffic on loopback only. Exits 1 when
# anything of this changes.
set -euo pipefail
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
mkdir "$work/js"
cd "$work/js"
echo '{ "private": true, "type": "module" }' > package.json
npm install --silent --no-audit --no-fund libp2p@3.3.11 @libp2p/tcp@11.0.28 @chainsafe/libp2p-noise@17.0.0 @chainsafe/libp2p-yamux@8.0.1 \
    @multiformats/multiaddr@13.0.3 node@22.23.3 >/dev/null
node=$work/js/node_modules/.bin/node
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check libp2p==0.8.1

cat > end.mjs <<'JS'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
const [mode, address] = process.argv.slice(2)
const node = await createLibp2p({
  addresses: { listen: mode === 'serve' ? ['/ip4/127.0.0.1/tcp/0'] : [] },
  transports: [tcp()], connectionEncrypters: [noise()], streamMuxers: [yamux()]
})
if (mode === 'serve') {
  await node.handle('/whole/1', async stream => { stream.send(new Uint8Array(1000)); await stream.close() })
  await node.handle('/half/1', stream => { stream.send(new Uint8Array(1000)); setTimeout(() => process.exit(0), 1000) })
  console.log(node.getMultiaddrs()[0].toString())
} else {
  for (const protocol of ['/whole/1', '/half/1']) {
    const stream = await node.dialProtocol(multiaddr(address), protocol)
    let bytes = 0, end = 'the iteration ends'
    try { for await (const piece of stream) bytes += piece.byteLength } catch (error) { end = error.name }
    console.log(`js ${protocol}: ${bytes} bytes, ${end}`)
  }
  process.exit(0)
}
JS
cat > end.py <<'PY'
import os, sys
import trio
from libp2p import new_host
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr

async def whole(stream):
    await stream.write(bytes(1000))
    await stream.close_write()

async def half(stream):
    await stream.write(bytes(1000))
    await trio.sleep(1)
    os._exit(0)

async def main():
    host = new_host()
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        if sys.argv[1] == "serve":
            host.set_stream_handler("/whole/1", whole)
            host.set_stream_handler("/half/1", half)
            print(host.get_addrs()[0], flush=True)
            await trio.sleep_forever()
        info = info_from_p2p_addr(Multiaddr(sys.argv[2]))
        await host.connect(info)
        for protocol in ["/whole/1", "/half/1"]:
            stream = await host.new_stream(info.peer_id, [protocol])
            count, end = 0, "an empty read"
            try:
                while piece := await stream.read(65536):
                    count += len(piece)
            except Exception as error:
                end = type(error).__name__
            print(f"py {protocol}: {count} bytes, {end}", flush=True)
        os._exit(0)

trio.run(main)
PY
both() { # both NAME COMMAND...: the one that serves, and the one that asks it
    local name=$1; shift
    "$@" serve > "$name.address" 2>"$name.err" & pids+=($!)
    for _ in $(seq 300); do [ -s "$name.address" ] && break; sleep 0.2; done
    timeout 60 "$@" ask "$(head -1 "$name.address")" 2>>"$name.err"
}
{ both js "$node" end.mjs; both py "$work/venv/bin/python" end.py; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
js /whole/1: 1000 bytes, the iteration ends
js /half/1: 1000 bytes, the iteration ends
py /whole/1: 1000 bytes, StreamEOF
py /half/1: 1000 bytes, StreamEOF
SEEN
