#!/usr/bin/env bash
# Some HTTP clients treat a 206 with fewer bytes than requested as the end of the file; one returns shifted bytes.
#
# Guess: a server may answer a range with a part of it, and names that part in Content-Range (RFC 9110, section 15.3.7, which also
# obliges the client to check). So a client requests the rest, or fails.
#
# Seen on a file of 1,000,000 bytes whose server sends at most 300,000 to a range, 2026-11-28. The programs had their first
# connection cut after 100,000 bytes and continue (curl with -C -, wget2 with -c; the others by themselves); the libraries read the
# 700,000 bytes from 200,000 on:
#
#   axel 2.17.11, smart_open 9.0.2              all of it
#   aria2 1.36.0, lftp 4.9.2                    an error
#   curl 7.88.1, wget 1.21.3, wget2 1.99.1      400,000 bytes, exit 0
#   httpio 0.3.0, fsspec 2026.9.0               300,000 bytes, no error
#   fsspec 2026.9.0 with cache_type blockcache  400,000 bytes, no error: two pieces of the file that do not follow each other
#
# So a program that continues a download or reads pieces must compare the received length with the requested one, whatever the exit code.
#
# Needs Debian's apt-get and python3 with venv; traffic on loopback only. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
chmod 755 .
apt-get download -q curl=7.88.1-10+deb12u15 libcurl4=7.88.1-10+deb12u15 wget=1.21.3-1+deb12u1 wget2=1.99.1-2.2 libwget0=1.99.1-2.2 \
    libgpgme11 axel=2.17.11-3 aria2=1.36.0-1 libaria2-0=1.36.0-1 libc-ares2 lftp=4.9.2-2+b1 >/dev/null 2>&1
mkdir root home
for archive in *.deb; do dpkg -x "$archive" root; done
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check fsspec==2026.9.0 aiohttp==3.14.5 smart_open==9.0.2 requests==2.34.2 httpio==0.3.0
export LD_LIBRARY_PATH=$work/root/usr/lib/$(uname -m)-linux-gnu:$work/root/usr/lib PATH=$work/root/usr/bin:$PATH HOME=$work/home

cat > server.py <<'PY'
import re, socketserver
from http.server import BaseHTTPRequestHandler, HTTPServer
DATA = bytes((index * 7 + index // 256) % 251 for index in range(1_000_000))
cut = set()
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def do_HEAD(self): self.do_GET()
    def do_GET(self):
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        start, end = (int(span[1]), int(span[2] or len(DATA) - 1)) if span else (0, len(DATA) - 1)
        if start >= len(DATA):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(DATA)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        # Some programs ask for all of it as a range first.
        part = span and (start > 0 or end < len(DATA) - 1)
        end = min(end, len(DATA) - 1, start + 299_999 if part else len(DATA))
        self.send_response(206 if span else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(end - start + 1))
        if span:
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(DATA)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        first = self.path.startswith("/cut/") and start == 0 and self.path not in cut
        if first:
            cut.add(self.path)
            self.close_connection = True
        self.wfile.write(DATA[start:start + 100_000 if first else end + 1])
class Server(socketserver.ThreadingMixIn, HTTPServer):
    daemon_threads = True
if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
PY
python3 server.py > port 2>/dev/null & pids+=($!)
for _ in $(seq 100); do [ -s port ] && break; sleep 0.1; done
url=http://127.0.0.1:$(cat port)
python3 -c 'import server; open("whole", "wb").write(server.DATA)'

program() { # program NAME COMMAND...: what it makes of /cut/NAME in an empty folder
    local name=$1 code=0 seen
    shift
    mkdir "out.$name"
    (cd "out.$name"; timeout 60 "$@" "$url/cut/$name") >/dev/null 2>&1 || code=$?
    if cmp -s "out.$name/$name" whole; then seen='the whole file'; else seen="$(stat -c %s "out.$name/$name") bytes"; fi
    if [ "$code" != 0 ]; then seen='an error'; fi
    echo "$name: $seen"
}
{
    program axel axel -q -n 1
    program aria2 aria2c -q --no-conf --retry-wait=1 --max-tries=4
    program lftp sh -c 'lftp -c "set net:max-retries 3; set net:reconnect-interval-base 1; get $0"'
    program curl sh -c 'curl -sf -O "$0"; curl -sf -C - -O "$0"'
    program wget wget -q --tries=3 --waitretry=1
    program wget2 sh -c 'wget2 -q --tries=1 "$0"; wget2 -q -c --tries=1 "$0"'
    venv/bin/python - "$url/whole" <<'PY'
import sys
import fsspec, httpio, smart_open
from server import DATA
url = sys.argv[1]
def said(name, opened):
    try:
        opened.seek(200_000)
        came = bytes(opened.read(700_000))
    except Exception as error:
        return print(f"{name}: {type(error).__name__}")
    as_asked = DATA[200_000:900_000]
    what = "all that was asked" if came == as_asked else "the start of it" if as_asked.startswith(came) else "other bytes"
    print(f"{name}: {len(came)} bytes, {what}")
said("smart_open", smart_open.open(url, "rb"))
said("httpio", httpio.open(url))
web = fsspec.filesystem("http")
said("fsspec", web.open(url, block_size=600_000))
said("fsspec blockcache", web.open(url, block_size=600_000, cache_type="blockcache"))
PY
} | tee seen
diff seen - <<'SEEN' && echo "as it was"
axel: the whole file
aria2: an error
lftp: an error
curl: 400000 bytes
wget: 400000 bytes
wget2: 400000 bytes
smart_open: 700000 bytes, all that was asked
httpio: 300000 bytes, the start of it
fsspec: 300000 bytes, the start of it
fsspec blockcache: 400000 bytes, other bytes
SEEN
