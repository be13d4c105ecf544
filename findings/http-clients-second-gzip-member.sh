#!/usr/bin/env bash
# wget, wget2, aria2 and httpx drop the second member of a gzip body that nginx serves, with exit 0; nginx's own gunzip does not.
#
# Guess: a file.gz beside a file is served by nginx's gzip_static as Content-Encoding: gzip, whatever gzip made it. RFC 1952 (2.2)
# says that gzip data is members one after another (bgzip makes it so, and `cat a.gz b.gz`), so every client gives the whole file.
#
# Seen with nginx 1.22.1 and a file.gz of two members, 2026-11-29:
#
#   requests 2.34.2, aiohttp 3.14.5, fetch of Node 22.23.3, got 16.1.0, nginx's gunzip       both members
#   wget 1.21.3 --compression=auto, wget2 1.99.1, aria2 1.36.0 --http-accept-gzip,
#   httpx 0.28.1                                                                            the first one, no error
#   curl 7.88.1 --compressed                                                                the first one, exit 23
#
# So files that are packed in pieces (appended logs, bgzip, parallel packers) must not be served as a content coding, or must be repacked.
#
# Needs Debian's apt-get, node with npm, python3 with venv, and network for the package registries; else traffic on loopback only.
# Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
chmod 755 .
apt-get download -q nginx=1.22.1-9+deb12u11 curl=7.88.1-10+deb12u15 libcurl4=7.88.1-10+deb12u15 wget=1.21.3-1+deb12u1 wget2=1.99.1-2.2 \
    libwget0=1.99.1-2.2 libgpgme11 aria2=1.36.0-1 libaria2-0=1.36.0-1 libc-ares2 >/dev/null 2>&1
mkdir root home
for archive in *.deb; do dpkg -x "$archive" root; done
npm install --silent --no-audit --no-fund --prefix js node@22.23.3 got@16.1.0 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check requests==2.34.2 aiohttp==3.14.5 httpx==0.28.1
export LD_LIBRARY_PATH=$work/root/usr/lib/$(uname -m)-linux-gnu:$work/root/usr/lib PATH=$work/root/usr/bin:$PATH HOME=$work/home

seq 1 200000 > first
seq 200001 300000 > second
cat first second > whole
mkdir files
{ gzip -c first; gzip -c second; } > files/log.txt.gz
port=$(python3 -c '
import random, socket
while True: # below the ports that the system hands out to clients
    port = random.randrange(20000, 30000)
    with socket.socket() as one:
        try: one.bind(("127.0.0.1", port)); break
        except OSError: pass
print(port)')
cat > nginx.conf <<CONF
daemon off; master_process off; pid $work/nginx.pid; error_log $work/nginx.log; events {}
http {
  access_log off; client_body_temp_path $work/t1; proxy_temp_path $work/t2; fastcgi_temp_path $work/t3;
  uwsgi_temp_path $work/t4; scgi_temp_path $work/t5;
  server { listen 127.0.0.1:$port; root $work/files; gzip_static always; gunzip on; }
}
CONF
root/usr/sbin/nginx -p "$work" -c "$work/nginx.conf" 2>/dev/null & pids+=($!)
export URL=http://127.0.0.1:$port/log.txt
for _ in $(seq 100); do curl -s "$URL" >/dev/null && break; sleep 0.1; done

cat > get.py <<'PY'
import asyncio, os, sys
url = os.environ["URL"]
if sys.argv[1] == "requests":
    import requests
    data = requests.get(url, timeout=10).content
elif sys.argv[1] == "httpx":
    import httpx
    data = httpx.get(url).content
else:
    import aiohttp
    async def get():
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return await answer.read()
    data = asyncio.run(get())
sys.stdout.buffer.write(data)
PY
cat > get.mjs <<'JS'
import { writeFileSync } from 'node:fs'
import got from 'got'
const { URL: url } = process.env
writeFileSync('/dev/stdout', process.argv[2] === 'got' ? await got(url).buffer() : new Uint8Array(await (await fetch(url)).arrayBuffer()))
JS
cp get.mjs js/
while read -r name command; do
    code=0
    rm -f out
    sh -c "$command" >/dev/null 2>&1 </dev/null || code=$?
    found=$(cmp -s out whole && echo "both members" || { cmp -s out first && echo "the first member" || echo "$(wc -c < out) bytes"; })
    echo "$name: $found, exit $code"
done <<'CLIENTS' | tee seen
nginx-gunzip curl -s -o out "$URL"
curl curl -s --compressed -o out "$URL"
wget wget --compression=auto -O out "$URL"
wget2 wget2 -O out "$URL"
aria2 aria2c --http-accept-gzip=true -o out "$URL"
requests venv/bin/python get.py requests > out
aiohttp venv/bin/python get.py aiohttp > out
httpx venv/bin/python get.py httpx > out
fetch js/node_modules/.bin/node js/get.mjs fetch > out
got js/node_modules/.bin/node js/get.mjs got > out
CLIENTS
diff seen - <<'SEEN' && echo "as it was"
nginx-gunzip: both members, exit 0
curl: the first member, exit 23
wget: the first member, exit 0
wget2: the first member, exit 0
aria2: the first member, exit 0
requests: both members, exit 0
aiohttp: both members, exit 0
httpx: the first member, exit 0
fetch: both members, exit 0
got: both members, exit 0
SEEN
