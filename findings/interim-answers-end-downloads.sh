#!/usr/bin/env bash
# requests, urllib3, httplib2 and wget2 treat an interim answer (102 or 103) before the file as the whole answer: an empty file, no error.
#
# Guess: RFC 9110 (section 15.2) obliges clients to read any number of 1xx answers before the final one, asked for or not, and 103
# (RFC 8297) is sent by web servers and caches on their own. So each client skips them, or an old one fails.
#
# Seen on a file of 3,000 bytes with each such answer before it, 2026-11-29:
#
#                                                            103, or two of them     102          100
#   curl 7.88.1, wget 1.21.3, aria2 1.36.0, httpx 0.28.1,
#   aiohttp 3.14.5, Tornado 6.6.1                            the file                the file     the file
#   fetch and request of undici 7.30.2                       the file                the file     an error
#   requests 2.34.2 with raise_for_status, urllib3 2.8.0,
#   httplib2 0.32.1                                          0 bytes, no error       the same     the file
#   wget2 1.99.1                                             no file, exit 0         the same     the same
#   urllib of Python, axel 2.17.11, busybox 1.35.0           an error                an error     (each its own)
#   lftp 4.9.2                                               an error                the file     the file
#
# So a program that downloads with one of them must accept only a status of 200 or 206, and check the length. A server for unknown
# clients should turn off early hints (a client that gets none loses nothing).
#
# Needs Debian's apt-get, python3 with venv, node with npm, and network for the package registries; else traffic on loopback only.
# Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
chmod 755 .
apt-get download -q curl=7.88.1-10+deb12u15 libcurl4=7.88.1-10+deb12u15 wget=1.21.3-1+deb12u1 wget2=1.99.1-2.2 libwget0=1.99.1-2.2 \
    libgpgme11 axel=2.17.11-3 aria2=1.36.0-1 libaria2-0=1.36.0-1 libc-ares2 lftp=4.9.2-2+b1 busybox=1:1.35.0-4+deb12u1+b1 >/dev/null 2>&1
mkdir root home
for archive in *.deb; do dpkg -x "$archive" root; done
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check requests==2.34.2 urllib3==2.8.0 httpx==0.28.1 aiohttp==3.14.5 httplib2==0.32.1 tornado==6.6.1
npm install --silent --no-audit --no-fund --prefix js undici@7.30.2 >/dev/null
export LD_LIBRARY_PATH=$work/root/usr/lib/$(uname -m)-linux-gnu:$work/root/usr/lib PATH=$work/root/usr/bin:$work/root/bin:$PATH HOME=$work/home

cat > server.py <<'PY'
import socketserver
DATA = bytes((index * 7 + index // 256) % 251 for index in range(3000))
FINAL = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 3000\r\n\r\n"
INTERIM = {
    "103": b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n",
    "102": b"HTTP/1.1 102 Processing\r\n\r\n",
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "none": b"",
}
INTERIM["twice"] = 2 * INTERIM["103"]
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline():
            method, path, _ = line.decode().split()
            while self.rfile.readline().strip():
                pass
            self.wfile.write(INTERIM[path.split("/")[1]] + FINAL + (b"" if method == "HEAD" else DATA))
class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
PY
python3 server.py > port 2>/dev/null & pids+=($!)
for _ in $(seq 300); do [ -s port ] && break; sleep 0.1; done
export URL=http://127.0.0.1:$(cat port)
python3 -c 'import server; open("whole", "wb").write(server.DATA)'

program() { # program NAME COMMAND...: what it makes of the file behind each kind of interim answer
    local name=$1 kind code line=
    shift
    for kind in none 103 twice 102 100; do
        rm -rf out
        mkdir out
        code=0
        (cd out; timeout 60 "$@" "$URL/$kind/file") >/dev/null 2>&1 || code=$?
        if [ "$code" != 0 ]; then seen='an error'; elif cmp -s out/file whole; then seen='the file'; elif [ -e out/file ]; then seen="$(stat -c %s out/file) bytes"; else seen='no file'; fi
        line="$line; $kind $seen"
    done
    echo "$name:${line#;}"
}
cat > get.py <<'PY'
import asyncio, os
import aiohttp, httplib2, httpx, requests, tornado.httpclient, urllib.request, urllib3
from server import DATA
def with_requests(url):
    answer = requests.get(url, timeout=30)
    answer.raise_for_status()
    return answer.content
def with_httpx(url):
    answer = httpx.get(url, timeout=30)
    answer.raise_for_status()
    return answer.content
async def with_aiohttp(url):
    async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(url) as answer:
        return await answer.read()
async def with_tornado(url):
    return (await tornado.httpclient.AsyncHTTPClient().fetch(url)).body
for name, get in {
    "requests": with_requests, "urllib3": lambda url: urllib3.request("GET", url, timeout=30).data,
    "httplib2": lambda url: httplib2.Http(timeout=30).request(url)[1], "urllib": lambda url: urllib.request.urlopen(url, timeout=30).read(),
    "httpx": with_httpx, "aiohttp": lambda url: asyncio.run(with_aiohttp(url)), "tornado": lambda url: asyncio.run(with_tornado(url)),
}.items():
    line = []
    for kind in ["none", "103", "twice", "102", "100"]:
        try:
            came = get(f"{os.environ['URL']}/{kind}/file")
            line.append(f"{kind} " + ("the file" if came == DATA else f"{len(came)} bytes"))
        except Exception:
            line.append(f"{kind} an error")
    print(f"{name}: {'; '.join(line)}")
PY
cat > js/get.mjs <<'JS'
import { readFileSync } from 'node:fs'
import { fetch, request } from 'undici'
const whole = readFileSync('whole')
const clients = {
  'undici fetch': async url => (await fetch(url)).arrayBuffer(),
  'undici request': async url => (await request(url)).body.arrayBuffer()
}
for (const [name, get] of Object.entries(clients)) {
  const line = []
  for (const kind of ['none', '103', 'twice', '102', '100']) {
    const seen = await get(`${process.env.URL}/${kind}/file`)
      .then(came => whole.equals(Buffer.from(came)) ? 'the file' : `${came.byteLength} bytes`, () => 'an error')
    line.push(`${kind} ${seen}`)
  }
  console.log(`${name}: ${line.join('; ')}`)
}
JS
{
    program curl curl -sf -O
    program wget wget -q --tries=1
    program aria2 aria2c -q --no-conf --max-tries=1
    program wget2 wget2 -q --tries=1
    program axel axel -q -n 1
    program lftp sh -c 'lftp -c "set net:max-retries 1; get $0"'
    program busybox busybox wget -q
    venv/bin/python get.py
    node js/get.mjs
} | tee seen
diff seen - <<'SEEN' && echo "as it was"
curl: none the file; 103 the file; twice the file; 102 the file; 100 the file
wget: none the file; 103 the file; twice the file; 102 the file; 100 the file
aria2: none the file; 103 the file; twice the file; 102 the file; 100 the file
wget2: none the file; 103 no file; twice no file; 102 no file; 100 no file
axel: none the file; 103 an error; twice an error; 102 an error; 100 an error
lftp: none the file; 103 an error; twice an error; 102 the file; 100 the file
busybox: none the file; 103 an error; twice an error; 102 an error; 100 the file
requests: none the file; 103 0 bytes; twice 0 bytes; 102 0 bytes; 100 the file
urllib3: none the file; 103 0 bytes; twice 0 bytes; 102 0 bytes; 100 the file
httplib2: none the file; 103 0 bytes; twice 0 bytes; 102 0 bytes; 100 the file
urllib: none the file; 103 an error; twice an error; 102 an error; 100 the file
httpx: none the file; 103 the file; twice the file; 102 the file; 100 the file
aiohttp: none the file; 103 the file; twice the file; 102 the file; 100 the file
tornado: none the file; 103 the file; twice the file; 102 the file; 100 the file
undici fetch: none the file; 103 the file; twice the file; 102 the file; 100 an error
undici request: none the file; 103 the file; twice the file; 102 the file; 100 an error
SEEN
