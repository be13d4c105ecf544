#!/usr/bin/env bash
# Four WebSocket clients leave out a message, change its text, or report another close code than the server sent.
#
# Guess: without compression there is not much to get wrong: clients give each message and the code of the close frame, and 1005 when the
# frame has no code (RFC 6455, 7.1.5).
#
# Seen 2026-11-29, from a small server that sends valid frames; "none" is a close frame without a code, "1012" one with that code
# (service restart, registered with IANA):
#
#                                      empty message,    one character in     none             1012
#                                      then "a"          two fragments
#   ws 8.23.0, undici 7.30.2,
#   websockets 17.4                    both              whole                1005             1012
#   websocket 1.0.35 (npm)             "a" alone         whole                1006, not clean  1012, not clean
#   nodejs-websocket 1.7.2             both              three U+FFFD         1005             1012
#   faye-websocket 0.11.4              both              whole                1000             1002
#   aiohttp 3.14.5                     both              whole                1006             1012
#
# So a protocol should give empty messages no meaning, send text in one frame, and always close with one of the codes of RFC 6455 itself:
# a client that treats 1006 as a lost connection, or 1002 as its own mistake, would otherwise do so after a clean end.
#
# Needs python3 with venv, node with npm, and network for the two package registries; else traffic on loopback only. Exits 1 when
# anything of this changes.
set -euo pipefail
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check websockets==17.4 aiohttp==3.14.5
npm install --silent --no-audit --no-fund --prefix js ws@8.23.0 undici@7.30.2 faye-websocket@0.11.4 websocket@1.0.35 \
    nodejs-websocket@1.7.2 >/dev/null

cat > server.py <<'PY'
import base64, hashlib, re, socket, threading
def frame(kind, data=b"", final=True):
    return bytes([final << 7 | kind, len(data)]) + data
TEXT, REST, CLOSE = 1, 0, 8
DONE = frame(CLOSE, (1000).to_bytes(2, "big"))
SENT = {
    "empty": frame(TEXT) + frame(TEXT, b"a") + DONE,
    "character": frame(TEXT, b"\xe2", final=False) + frame(REST, b"\x82\xac") + DONE,
    "none": frame(CLOSE),
    "1012": frame(CLOSE, (1012).to_bytes(2, "big")),
}
def serve(connection):
    with connection:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096) or b"\r\n\r\n"
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)[1]
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept
                           + b"\r\n\r\n" + SENT[head.split(b" ")[1].decode().strip("/")])
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
            try:
                while True:
                    messages.append(await socket.recv())
            except websockets.ConnectionClosed:
                pass
    else:
        import aiohttp
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            async for message in socket:
                messages.append(message.data)
    return socket.close_code
for sent in ["empty", "character", "none", "1012"]:
    messages = []
    code = asyncio.run(asyncio.wait_for(get(f"{address}/{sent}", messages), 60))
    print(f"{sent} {library}: {messages!a}, {code}")
PY
cat > js/get.cjs <<'JS'
const [library, address] = process.argv.slice(2)
const ascii = text => JSON.stringify(text).replace(/[^ -~]/g, one => '\\u' + one.charCodeAt(0).toString(16).padStart(4, '0')).replace(/"/g, "'")
const get = (url, messages) => new Promise(resolve => {
  if (library === 'nodejs-websocket') {
    const socket = require('nodejs-websocket').connect(url)
    socket.on('text', text => messages.push(text))
    socket.on('error', () => {})
    socket.on('close', code => resolve({ code }))
  } else if (library === 'faye-websocket') {
    const socket = new (require('faye-websocket').Client)(url)
    socket.on('message', event => messages.push(event.data))
    socket.on('close', resolve)
  } else {
    const socket = new { ws: require('ws'), undici: require('undici').WebSocket, websocket: require('websocket').w3cwebsocket }[library](url)
    socket.onmessage = event => messages.push(event.data)
    socket.onerror = () => {}
    socket.onclose = resolve
  }
})
const all = async () => {
  for (const sent of ['empty', 'character', 'none', '1012']) {
    const messages = []
    const { code, wasClean } = await get(`${address}/${sent}`, messages)
    console.log(`${sent} ${library}: [${messages.map(ascii).join(', ')}], ${code}${wasClean === false ? ', not clean' : ''}`)
  }
  process.exit(0)
}
all()
JS
python3 server.py > port & pids+=($!)
for _ in $(seq 100); do [ -s port ] && break; sleep 0.1; done
url=ws://127.0.0.1:$(cat port)
{
    for library in ws undici websocket nodejs-websocket faye-websocket; do timeout 60 node js/get.cjs $library "$url"; done
    for library in aiohttp websockets; do timeout 60 venv/bin/python get.py $library "$url"; done
} | tee seen
diff seen - <<'SEEN' && echo "as it was"
empty ws: ['', 'a'], 1000
character ws: ['\u20ac'], 1000
none ws: [], 1005
1012 ws: [], 1012
empty undici: ['', 'a'], 1000
character undici: ['\u20ac'], 1000
none undici: [], 1005
1012 undici: [], 1012
empty websocket: ['a'], 1000
character websocket: ['\u20ac'], 1000
none websocket: [], 1006, not clean
1012 websocket: [], 1012, not clean
empty nodejs-websocket: ['', 'a'], 1000
character nodejs-websocket: ['\ufffd\ufffd\ufffd'], 1000
none nodejs-websocket: [], 1005
1012 nodejs-websocket: [], 1012
empty faye-websocket: ['', 'a'], 1000
character faye-websocket: ['\u20ac'], 1000
none faye-websocket: [], 1000
1012 faye-websocket: [], 1002
empty aiohttp: ['', 'a'], 1000
character aiohttp: ['\u20ac'], 1000
none aiohttp: [], 1006
1012 aiohttp: [], 1012
empty websockets: ['', 'a'], 1000
character websockets: ['\u20ac'], 1000
none websockets: [], 1005
1012 websockets: [], 1012
SEEN
