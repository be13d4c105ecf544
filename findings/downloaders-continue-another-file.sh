#!/usr/bin/env bash
# Most download tools complete an interrupted download with the bytes of another file, although the server says that the file changed.
#
# Guess: a tool that has lost its connection asks for the rest with `If-Range` and the ETag or the date that the first answer had, or
# compares them with those of the second; so a file that has been replaced in between is loaded anew, or the tool fails.
#
# Seen with Debian 12's packages, 2026-11-28. The server cuts the connection after 400,000 of 1,000,000 bytes; from then on it has
# another file with another strong ETag and another Last-Modified, of equal length or of 400,000 bytes. It honours If-Range:
#
#                           equal length                  400,000 bytes
#   curl 7.88.1 --retry     the new file                  the new file
#   curl 7.88.1 -C -        old + new in one, exit 0      an error
#   aria2 1.36.0            old + new in one, exit 0      an error
#   lftp 4.9.2 get          old + new in one, exit 0      the 400,000 old bytes, exit 0
#   wget 1.21.3             old + new in one, exit 0      the 400,000 old bytes, exit 0
#   wget2 1.99.1 -c         old + new in one, exit 0      the 400,000 old bytes, exit 0
#
# curl -C - and wget2 -c are second calls; wget, aria2 and lftp do this in one call, with their default retries. None sends If-Range.
# So a mirror that is updated must give each version its own path, and what came over HTTP must be checked against a hash.
#
# Needs Debian's apt-get and python3; traffic on loopback only. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
chmod 755 .
apt-get download -q curl=7.88.1-10+deb12u15 libcurl4=7.88.1-10+deb12u15 wget=1.21.3-1+deb12u1 wget2=1.99.1-2.2 libwget0=1.99.1-2.2 \
    libgpgme11 aria2=1.36.0-1 libaria2-0=1.36.0-1 libc-ares2 lftp=4.9.2-2+b1 >/dev/null 2>&1
mkdir root home
for archive in *.deb; do dpkg -x "$archive" root; done
export LD_LIBRARY_PATH=$work/root/usr/lib/$(uname -m)-linux-gnu:$work/root/usr/lib PATH=$work/root/usr/bin:$PATH HOME=$work/home

cat > server.py <<'PY'
import re, socketserver, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
OLD = bytes((index * 7 + index // 256) % 251 for index in range(1_000_000))
NEW = bytes(255 - byte for byte in OLD)
replaced = set()
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def do_HEAD(self): self.do_GET()
    def do_GET(self):
        now = self.path in replaced
        data = OLD if not now else NEW if self.path.startswith("/equal/") else NEW[:400_000]
        tag, date = ('"new"', "Sun, 01 Jan 2023 00:00:00 GMT") if now else ('"old"', "Sat, 01 Jan 2022 00:00:00 GMT")
        if self.headers.get("If-Range"):
            print(self.path, file=sys.stderr, flush=True)
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if self.headers.get("If-Range", tag) not in (tag, date):
            span = None
        start, end = (int(span[1]), min(int(span[2] or len(data) - 1), len(data) - 1)) if span else (0, len(data) - 1)
        if start >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if span else 200)
        for header in [("ETag", tag), ("Last-Modified", date), ("Accept-Ranges", "bytes"), ("Content-Length", str(end - start + 1))]:
            self.send_header(*header)
        if span:
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if not now:
            replaced.add(self.path)
            self.close_connection = True
        self.wfile.write(data[start:end + 1] if now else data[start:400_000])
class Server(socketserver.ThreadingMixIn, HTTPServer):
    daemon_threads = True
if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
PY
python3 server.py > port 2>if-range & pids+=($!)
for _ in $(seq 100); do [ -s port ] && break; sleep 0.1; done
url=http://127.0.0.1:$(cat port)
python3 -c 'import server as s
for name, data in ("old", s.OLD), ("new", s.NEW), ("mixed", s.OLD[:400_000] + s.NEW[400_000:]), ("old part", s.OLD[:400_000]), ("new short", s.NEW[:400_000]):
    open(name, "wb").write(data)'

program() { # program NAME COMMAND...: what it makes of /equal/NAME and /short/NAME in an empty folder
    local name=$1 kind code what seen=''
    shift
    for kind in equal short; do
        code=0 what='other bytes'
        mkdir "$kind.$name"
        (cd "$kind.$name"; timeout 60 "$@" "$url/$kind/$name") >/dev/null 2>&1 || code=$?
        for file in old new mixed 'old part' 'new short'; do
            if cmp -s "$kind.$name/$name" "$file"; then what=$file; fi
        done
        if [ "$code" != 0 ]; then what='an error'; fi
        seen="$seen, $kind: $what"
    done
    echo "$name$seen"
}
{
    program curl-retry curl -sf -O --retry 3 --retry-all-errors
    program curl-continue sh -c 'curl -sf -O "$0"; curl -sf -C - -O "$0"'
    program aria2 aria2c -q --no-conf --retry-wait=1 --max-tries=4
    program lftp sh -c 'lftp -c "set net:max-retries 3; set net:reconnect-interval-base 1; get $0"'
    program wget wget -q --tries=3 --waitretry=1
    program wget2 sh -c 'wget2 -q --tries=1 "$0"; wget2 -q -c --tries=1 "$0"'
    echo "with If-Range: $(wc -l < if-range)"
} | tee seen
diff seen - <<'SEEN' && echo "as it was"
curl-retry, equal: new, short: new short
curl-continue, equal: mixed, short: an error
aria2, equal: mixed, short: an error
lftp, equal: mixed, short: old part
wget, equal: mixed, short: old part
wget2, equal: mixed, short: old part
with If-Range: 0
SEEN
