#!/usr/bin/env bash
# websockets, Tornado, undici and faye-websocket return some valid compressed WebSocket messages as empty or still compressed.
#
# Guess: libraries that negotiate permessage-deflate (RFC 7692) inflate what is valid there, or close the connection.
#
# Seen 2026-11-29, from a small server that sends three things which the RFC allows: a message whose last block says that it is the last
# one (as in the example of 7.2.3.4) and another message; a compressed message in two fragments; the same with a ping between them:
#
#                                                       last block, then "second"   fragments   fragments and a ping
#   ws 8.23.0, aiohttp 3.14.5                           first, second               whole       whole
#   websockets 17.4, undici 7.30.2,
#   faye-websocket 0.11.4                               first, ""                   whole       whole
#   Tornado 6.6.1                                       first, ""                   whole       the bytes, still compressed
#
# (Node's own WebSocket is undici's.) There is no error and the connection stays open. In the first case, the inflater has seen the end of
# its stream and returns nothing from then on. Tornado takes "compressed" from the newest frame, which is the ping. So a server for unknown clients does better without this extension,
# or flushes each message (Z_SYNC_FLUSH), never finishes it, and sends it in one frame.
#
# Needs python3 with venv, node with npm, and network for the two package registries; else traffic on loopback only. Exits 1 when
# anything of this changes.
set -euo pipefail
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check websockets==17.4 aiohttp==3.14.5 tornado==6.6.1
npm install --silent --no-audit --no-fund --prefix js ws@8.23.0 undici@7.30.2 faye-websocket@0.11.4 permessage-deflate@0.1.7 >/dev/null

cat > server.py <<'PY'
import base64, hashlib, re, socket, threading, zlib
def frame(kind, data, final=True, compressed=False):
    return bytes([final << 7 | compressed << 6 | kind, len(data)]) + data
def deflated(data, flush):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush(flush)
def flushed(data):
    return deflated(data, zlib.Z_SYNC_FLUSH)[:-4]
TEXT, BINARY, REST, CLOSE, PING = 1, 2, 0, 8, 9
whole = flushed(b"whole")
SENT = {
    # The zero is the head of the block that RFC 7692, 7.2.1, has a sender append; the four bytes that are left out follow it.
    "last": frame(TEXT, deflated(b"first", zlib.Z_FINISH) + b"\0", compressed=True) + frame(TEXT, flushed(b"second"), compressed=True),
    "fragments": frame(BINARY, whole[:3], final=False, compressed=True) + frame(REST, whole[3:]),
    "ping": frame(BINARY, whole[:3], final=False, compressed=True) + frame(PING, b"") + frame(REST, whole[3:]),
}
def serve(connection):
    with connection:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096) or b"\r\n\r\n"
        if b"permessage-deflate" not in head.lower():
            return
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)[1]
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept
                           + b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
        connection.sendall(SENT[head.split(b" ")[1].decode().strip("/")] + frame(CLOSE, b"\x03\xe8"))
        answer = b""
        while b"\x88" not in answer: # the head of the other side's close frame
            answer += connection.recv(4096) or b"\x88"
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
PY
cat > get.py <<'PY'
import asyncio, sys
library, address = sys.argv[1:]
async def get(url, messages):
    if library == "websockets":
        import websockets
        async with websockets.connect(url) as socket:
            async for message in socket:
                messages.append(message)
    elif library == "aiohttp":
        import aiohttp
        async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=15) as socket:
            async for message in socket:
                messages.append(message.data)
    else:
        from tornado.websocket import websocket_connect
        socket = await websocket_connect(url, compression_options={})
        while (message := await socket.read_message()) is not None:
            messages.append(message)
for sent in ["last", "fragments", "ping"]:
    messages = []
    asyncio.run(asyncio.wait_for(get(f"{address}/{sent}", messages), 60))
    shown = [f'"{message}"' if isinstance(message, str) else message.hex() if message != b"whole" else "whole" for message in messages]
    print(f"{sent} {library}:", ", ".join(shown))
PY
cat > js/get.cjs <<'JS'
const [library, address] = process.argv.slice(2)
const shown = message => typeof message === 'string' ? `"${message}"` : Buffer.from(message).equals(Buffer.from('whole')) ? 'whole'
  : Buffer.from(message).toString('hex')
const get = (url, messages) => new Promise(resolve => {
  if (library === 'faye-websocket') {
    const socket = new (require('faye-websocket').Client)(url, [], { extensions: [require('permessage-deflate')] })
    socket.on('message', event => messages.push(event.data))
    return socket.on('close', resolve)
  }
  const socket = new { ws: require('ws'), undici: require('undici').WebSocket }[library](url)
  socket.binaryType = 'arraybuffer'
  socket.onmessage = event => messages.push(event.data)
  socket.onerror = () => messages.push('an error')
  socket.onclose = resolve
})
const all = async () => {
  for (const sent of ['last', 'fragments', 'ping']) {
    const messages = []
    await get(`${address}/${sent}`, messages)
    console.log(`${sent} ${library}: ${messages.map(shown).join(', ')}`)
  }
  process.exit(0)
}
all()
JS
python3 server.py > port & pids+=($!)
for _ in $(seq 100); do [ -s port ] && break; sleep 0.1; done
url=ws://127.0.0.1:$(cat port)
{
    for library in ws undici faye-websocket; do timeout 60 node js/get.cjs $library "$url"; done
    for library in aiohttp websockets tornado; do timeout 60 venv/bin/python get.py $library "$url"; done
} | tee seen
diff seen - <<'SEEN' && echo "as it was"
last ws: "first", "second"
fragments ws: whole
ping ws: whole
last undici: "first", ""
fragments undici: whole
ping undici: whole
last faye-websocket: "first", ""
fragments faye-websocket: whole
ping faye-websocket: whole
last aiohttp: "first", "second"
fragments aiohttp: whole
ping aiohttp: whole
last websockets: "first", ""
fragments websockets: whole
ping websockets: whole
last tornado: "first", ""
fragments tornado: whole
ping tornado: 2acfc8cf490500
SEEN
