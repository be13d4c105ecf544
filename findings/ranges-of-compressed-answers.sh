#!/usr/bin/env bash
# curl --compressed -C - and wget2 -c leave a download half done, with exit 0, if the server has the file compressed beside it; and one
# range request gets three different answers from servers once gzip is allowed.
#
# Guess: a client that continues a download asks for the rest in the coding in which it counts its bytes, or notices that it has not got it
# (RFC 9110, 8.1 and 14.1.2: a range counts the bytes of the representation, that is those after its content coding). And a server that
# compresses on its own leaves answers to range requests alone.
#
# Seen on a file of 1,288,895 bytes that is 428,481 bytes compressed, 2026-11-29. What "Range: bytes=100000-" with "Accept-Encoding: gzip" is:
#
#   sirv 3.0.2 with gzip, express-static-gzip 3.0.2, static files of
#   aiohttp 3.14.5, Caddy 2.6.2 with precompressed                       bytes 100000 to 428480 of the compressed file
#   sirv, or express 5.3.0, behind compression 1.8.2, aiohttp with
#   enable_compression, Caddy with encode                                bytes 100000 to 1288894 of the file, compressed afterwards
#   hono 4.13.19 with compress, starlette 1.10.0 with GZipMiddleware     bytes 100000 to 1288894 of the file, as they are
#
# A download that was cut off and is continued from the first four, by its client's own bytes, which are those of the unpacked file:
#
#                                           less was there than 428,481 bytes    more was there
#   wget 1.21.3 -c --compression=auto       whole                                whole
#   curl 7.88.1 --compressed -C -           exit 61, nothing added               exit 0, nothing added (the server says 416)
#   wget2 1.99.1 -c                         (not tried here)                     exit 0, nothing added (the same)
#
# The second four count in one coding and send another, which RFC 9110 does not provide for. nginx 1.22.1 with `slice` in front of them,
# for a client that takes gzip, promises 1,288,895 bytes and sends one gzip member after another, a third of that: curl keeps the first
# slice and fails.
#
# So continue a download without a content coding, compare its length or hash afterwards, and switch compression off for files with ranges.
#
# Needs Debian's apt-get, python3 with venv, node with npm, and network for the package registries; else traffic on loopback only.
# Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
chmod 755 .
apt-get download -q nginx=1.22.1-9+deb12u11 caddy=2.6.2-5 curl=7.88.1-10+deb12u15 libcurl4=7.88.1-10+deb12u15 wget=1.21.3-1+deb12u1 \
    wget2=1.99.1-2.2 libwget0=1.99.1-2.2 libgpgme11 >/dev/null 2>&1
mkdir root home
for archive in *.deb; do dpkg -x "$archive" root; done
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check aiohttp==3.14.5 starlette==1.10.0 uvicorn==0.54.0
npm install --silent --no-audit --no-fund --prefix js node@22.23.3 express@5.3.0 compression@1.8.2 express-static-gzip@3.0.2 polka@0.5.2 \
    sirv@3.0.2 hono@4.13.19 @hono/node-server@2.1.9 >/dev/null
export LD_LIBRARY_PATH=$work/root/usr/lib/$(uname -m)-linux-gnu:$work/root/usr/lib PATH=$work/root/usr/bin:$PATH HOME=$work/home

mkdir plain packed # the same file, alone and with its compressed copy beside it
seq 1 200000 > plain/file.txt
cp plain/file.txt packed
gzip -k packed/file.txt

cat > js/serve.mjs <<'JS'
import compression from 'compression'
import express from 'express'
import expressStaticGzip from 'express-static-gzip'
import { serve } from '@hono/node-server'
import { serveStatic } from '@hono/node-server/serve-static'
import { Hono } from 'hono'
import { compress } from 'hono/compress'
import polka from 'polka'
import sirv from 'sirv'
const tell = (name, app) => { const server = app.listen(0, '127.0.0.1', () => console.log(name, (server.server ?? server).address().port)) }
tell('sirv', polka().use(sirv('packed', { gzip: true })))
tell('express-static-gzip', express().use(expressStaticGzip('packed', {})))
tell('express-compression', express().use(compression()).use(express.static('plain')))
tell('sirv-compression', polka().use(compression(), sirv('plain')))
const hono = new Hono().use(compress()).use('/*', serveStatic({ root: 'plain' }))
serve({ fetch: hono.fetch, port: 0, hostname: '127.0.0.1' }, address => console.log('hono-compress', address.port))
JS
cat > serve.py <<'PY'
import asyncio, socket
from aiohttp import web
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
async def compressed(request):
    answer = web.FileResponse("plain/" + request.match_info["name"])
    answer.enable_compression()
    return answer
def listening():
    one = socket.create_server(("127.0.0.1", 0))
    return one, one.getsockname()[1]
async def main():
    static, dynamic = web.Application(), web.Application()
    static.router.add_static("/", "packed")
    dynamic.router.add_get("/{name}", compressed)
    for name, app in [("aiohttp-static", static), ("aiohttp-compression", dynamic)]:
        runner = web.AppRunner(app)
        await runner.setup()
        one, port = listening()
        await web.SockSite(runner, one).start()
        print(name, port, flush=True)
    app = Starlette(routes=[Mount("/", StaticFiles(directory="plain"))], middleware=[Middleware(GZipMiddleware)])
    one, port = listening()
    print("starlette-gzip", port, flush=True)
    await uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off")).serve([one])
asyncio.run(main())
PY
cat > Caddyfile <<CADDY
{
    admin off
    auto_https off
}
http:// {
    bind unix/$work/caddy-precompressed
    root * $work/packed
    file_server {
        precompressed gzip
    }
}
http://plain {
    bind unix/$work/caddy-encode
    root * $work/plain
    encode gzip
    file_server
}
CADDY
cat > relay.py <<'PY'
"""Passes connections on to each server; cuts the answers after as many bytes as the file `cut` says."""
import socket, sys, threading
def one(client, target):
    server = socket.socket(socket.AF_UNIX if target.startswith("/") else socket.AF_INET)
    server.connect(target if target.startswith("/") else ("127.0.0.1", int(target)))
    left = int(open("cut").read()) or None
    def upwards():
        try:
            while data := client.recv(65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            pass
    threading.Thread(target=upwards, daemon=True).start()
    try:
        while data := server.recv(65536):
            if left is None:
                client.sendall(data)
                continue
            client.sendall(data[:left])
            left -= len(data[:left])
            if left == 0:
                break
        client.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    client.close()
    server.close()
def accept(listener, target):
    while True:
        threading.Thread(target=one, args=(listener.accept()[0], target), daemon=True).start()
for line in open("servers"):
    name, target = line.split()
    listener = socket.create_server(("127.0.0.1", 0))
    print(name, listener.getsockname()[1], flush=True)
    threading.Thread(target=accept, args=(listener, target), daemon=True).start()
threading.Event().wait()
PY
js/node_modules/.bin/node js/serve.mjs > servers.js 2>/dev/null & pids+=($!)
venv/bin/python serve.py > servers.py 2>/dev/null & pids+=($!)
root/usr/bin/caddy run --config Caddyfile --adapter caddyfile > caddy.log 2>&1 & pids+=($!)
for _ in $(seq 300); do
    [ "$(cat servers.js servers.py | wc -l)" = 8 ] && [ -S caddy-encode ] && [ -S caddy-precompressed ] && break
    sleep 0.1
done
{ cat servers.js servers.py; echo "caddy-precompressed $work/caddy-precompressed"; echo "caddy-encode $work/caddy-encode"; } | sort > servers
echo 0 > cut
python3 relay.py > ports & pids+=($!)
for _ in $(seq 100); do [ "$(wc -l < ports)" = 10 ] && break || sleep 0.1; done

{
    echo "daemon off; master_process off; pid $work/nginx.pid; error_log $work/nginx.log; events {}"
    echo "http { access_log off; client_body_temp_path $work/t1; proxy_temp_path $work/t2; fastcgi_temp_path $work/t3;"
    echo "uwsgi_temp_path $work/t4; scgi_temp_path $work/t5; proxy_cache_path $work/cache keys_zone=zone:1m;"
    while read -r name port; do
        echo "server { listen unix:$work/nginx-$name; location / { slice 200k; proxy_cache zone; proxy_cache_valid 200 206 1h;"
        echo "proxy_cache_key $name\$http_accept_encoding\$uri\$slice_range; proxy_set_header Range \$slice_range;"
        echo "proxy_set_header Host plain; proxy_http_version 1.1; proxy_pass http://127.0.0.1:$port; } }"
    done < ports
    echo "}"
} > nginx.conf
root/usr/sbin/nginx -p "$work" -c "$work/nginx.conf" 2>nginx.err & pids+=($!)
for _ in $(seq 100); do [ -S nginx-caddy-encode ] && break || sleep 0.1; done

found() { # found FILE: what it is of the file
    if cmp -s "$1" plain/file.txt; then echo whole
    elif cmp -s "$1" <(head -c "$(stat -c %s "$1")" plain/file.txt); then echo the start
    else echo other bytes; fi
}
curl_() { (cd got && curl -s -m 30 --compressed -C - -H 'Host: plain' -O "$1"); }
wget_() { (cd got && wget -q -T 30 --tries=1 -c --compression=auto --header 'Host: plain' "$1"); }
wget2_() { (cd got && wget2 -q -T 30 --tries=1 -c "$1"); }
while read -r name port; do
    url=http://127.0.0.1:$port/file.txt
    curl -s -m 30 -D head -o part -H 'Host: plain' -H 'Accept-Encoding: gzip' -H 'Range: bytes=100000-' "$url"
    if cmp -s part <(tail -c +100001 packed/file.txt.gz); then seen="a part of the compressed file"
    elif cmp -s part <(tail -c +100001 plain/file.txt); then seen="a part of the file"
    elif gzip -dc part 2>/dev/null | cmp -s - <(tail -c +100001 plain/file.txt); then seen="a part of the file, compressed"
    else seen="other bytes"; fi
    echo "$name: $(head -n 1 head | cut -d ' ' -f 2), $seen"
    case $seen in "a part of the compressed file")
        for client in wget_ curl_ wget2_; do
            for cut in 60000 200000; do
                [ $client$cut != wget2_60000 ] || continue
                rm -rf got && mkdir got
                echo $cut > cut
                $client "$url" || true
                before=$(stat -c %s got/file.txt)
                echo 0 > cut
                code=0
                $client "$url" || code=$?
                [ "$(stat -c %s got/file.txt)" = "$before" ] && added="nothing added" || added="bytes added"
                echo "  ${client%_}, cut at $cut: exit $code, $added, $(found got/file.txt)"
            done
        done ;;
    esac
    for way in --compressed --no-compressed; do
        code=0
        curl -s -m 30 $way --unix-socket "nginx-$name" -H 'Connection: close' http://127.0.0.1/file.txt > sliced || code=$?
        echo "  through nginx's slice, curl $way: exit $code, $(found sliced)"
    done
    if [ "$seen" = "a part of the file, compressed" ]; then
        curl -s -m 30 -D head --unix-socket "nginx-$name" -H 'Connection: close' -H 'Accept-Encoding: gzip' http://127.0.0.1/file.txt \
            > sliced || true
        gzip -dc sliced > unpacked
        [ "$(stat -c %s sliced)" -lt 500000 ] && sent=fewer || sent=more
        echo "  what nginx sends: $(tr -d '\r' < head | grep -i '^content-length'), $sent bytes, $(found unpacked)"
    fi
done < ports | tee seen
diff seen - <<'SEEN' && echo "as it was"
aiohttp-compression: 206, a part of the file, compressed
  through nginx's slice, curl --compressed: exit 23, the start
  through nginx's slice, curl --no-compressed: exit 0, whole
  what nginx sends: Content-Length: 1288895, fewer bytes, whole
aiohttp-static: 206, a part of the compressed file
  wget, cut at 60000: exit 0, bytes added, whole
  wget, cut at 200000: exit 0, bytes added, whole
  curl, cut at 60000: exit 61, nothing added, the start
  curl, cut at 200000: exit 0, nothing added, the start
  wget2, cut at 200000: exit 0, nothing added, the start
  through nginx's slice, curl --compressed: exit 0, whole
  through nginx's slice, curl --no-compressed: exit 0, whole
caddy-encode: 206, a part of the file, compressed
  through nginx's slice, curl --compressed: exit 23, the start
  through nginx's slice, curl --no-compressed: exit 0, whole
  what nginx sends: Content-Length: 1288895, fewer bytes, whole
caddy-precompressed: 206, a part of the compressed file
  wget, cut at 60000: exit 0, bytes added, whole
  wget, cut at 200000: exit 0, bytes added, whole
  curl, cut at 60000: exit 61, nothing added, the start
  curl, cut at 200000: exit 0, nothing added, the start
  wget2, cut at 200000: exit 0, nothing added, the start
  through nginx's slice, curl --compressed: exit 0, whole
  through nginx's slice, curl --no-compressed: exit 0, whole
express-compression: 206, a part of the file, compressed
  through nginx's slice, curl --compressed: exit 23, the start
  through nginx's slice, curl --no-compressed: exit 0, whole
  what nginx sends: Content-Length: 1288895, fewer bytes, whole
express-static-gzip: 206, a part of the compressed file
  wget, cut at 60000: exit 0, bytes added, whole
  wget, cut at 200000: exit 0, bytes added, whole
  curl, cut at 60000: exit 61, nothing added, the start
  curl, cut at 200000: exit 0, nothing added, the start
  wget2, cut at 200000: exit 0, nothing added, the start
  through nginx's slice, curl --compressed: exit 0, whole
  through nginx's slice, curl --no-compressed: exit 0, whole
hono-compress: 206, a part of the file
  through nginx's slice, curl --compressed: exit 0, whole
  through nginx's slice, curl --no-compressed: exit 0, whole
sirv: 206, a part of the compressed file
  wget, cut at 60000: exit 0, bytes added, whole
  wget, cut at 200000: exit 0, bytes added, whole
  curl, cut at 60000: exit 61, nothing added, the start
  curl, cut at 200000: exit 0, nothing added, the start
  wget2, cut at 200000: exit 0, nothing added, the start
  through nginx's slice, curl --compressed: exit 0, whole
  through nginx's slice, curl --no-compressed: exit 0, whole
sirv-compression: 206, a part of the file, compressed
  through nginx's slice, curl --compressed: exit 23, the start
  through nginx's slice, curl --no-compressed: exit 0, whole
  what nginx sends: Content-Length: 1288895, fewer bytes, whole
starlette-gzip: 206, a part of the file
  through nginx's slice, curl --compressed: exit 0, whole
  through nginx's slice, curl --no-compressed: exit 0, whole
SEEN
