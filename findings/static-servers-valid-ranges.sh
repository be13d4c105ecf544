#!/usr/bin/env bash
# Six static web servers answer the same valid range requests in five ways.
#
# Guess: a server that says `Accept-Ranges: bytes` answers a valid range with 206 and the bytes asked for, shortens one that ends
# beyond the file, and answers 416 when it begins at the end (RFC 9110, section 14).
#
# Seen on a file of 1,000 bytes with Debian 12's packages, 2026-11-28 (all but python3 say `Accept-Ranges: bytes` in their 200):
#
#   range          nginx 1.22.1    caddy 2.6.2   lighttpd 1.4.69   busybox 1.35.0   webfs 1.21      python3 http.server
#   10-19          206, 10         206, 10       206, 10           206, 10          206, 10         200, whole
#   990-5000       206, 10         206, 10       206, 10           206, 10          400             200, whole
#   -5             206, 5          206, 5        206, 5            200, whole       206, 5          200, whole
#   1000-          416             416           416, no length    200, whole       206, 1000-999   200, whole
#   0-1,5-6        206, multipart  multipart     206, 0-6          200, whole       multipart       200, whole
#   0- of nothing  200             416           200               200              206, 0--1       200
#
# So a client that reads pieces must know the length before it asks (webfs refuses a range that is too long), must take a 200 as "no
# ranges" even from a server that announces them, must not send an open range for what may be empty, and must compare Content-Range
# with what it asked: lighttpd's answer to two ranges has neither.
#
# Needs Debian's apt-get and python3; traffic on loopback only. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
chmod 755 .
for package in nginx=1.22.1-9+deb12u11 caddy=2.6.2-5 lighttpd=1.4.69-1 busybox=1:1.35.0-4+deb12u1+b1 webfs=1.21+ds1-12+b1; do
    apt-get download -q "$package" >/dev/null 2>&1
done
mkdir root files
for archive in *.deb; do dpkg -x "$archive" root; done
head -c 1000 /dev/zero | tr '\0' A > files/payload
: > files/empty
read -r nginx caddy lighttpd busybox webfs python < <(python3 - <<'PY'
import random, socket
# Below the ports that the system hands out to clients.
ports = []
while len(ports) < 6:
    port = random.randrange(20000, 30000)
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            continue
    ports.append(port)
print(*ports)
PY
)
cat > nginx.conf <<CONF
daemon off; master_process off; pid $work/nginx.pid; error_log $work/nginx.log; events {}
http {
  access_log off; client_body_temp_path $work/t1; proxy_temp_path $work/t2; fastcgi_temp_path $work/t3;
  uwsgi_temp_path $work/t4; scgi_temp_path $work/t5;
  server { listen 127.0.0.1:$nginx; root $work/files; }
}
CONF
printf 'server.document-root="%s"\nserver.port=%s\nserver.bind="127.0.0.1"\n' "$work/files" "$lighttpd" > lighttpd.conf
root/usr/sbin/nginx -p "$work" -c "$work/nginx.conf" 2>nginx.err & pids+=($!)
HOME=$work XDG_DATA_HOME=$work/data root/usr/bin/caddy file-server --listen "127.0.0.1:$caddy" --root "$work/files" 2>caddy.err & pids+=($!)
root/usr/sbin/lighttpd -D -f lighttpd.conf -m root/usr/lib/lighttpd 2>lighttpd.err & pids+=($!)
root/bin/busybox httpd -f -p "127.0.0.1:$busybox" -h "$work/files" 2>busybox.err & pids+=($!)
root/usr/bin/webfsd -F -i 127.0.0.1 -p "$webfs" -r "$work/files" 2>webfs.err & pids+=($!)
python3 -m http.server "$python" -b 127.0.0.1 -d "$work/files" >/dev/null 2>&1 & pids+=($!)

python3 - "$nginx" "$caddy" "$lighttpd" "$busybox" "$webfs" "$python" <<'PY' | tee seen
import http.client, socket, sys, time

def get(port, path, ranges=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Range": "bytes=" + ranges} if ranges else {})
    answer = connection.getresponse()
    body = answer.read()
    kind = answer.getheader("Content-Type") or ""
    shown = "multipart" if kind.startswith("multipart/") else str(len(body)) if answer.status < 300 else "-"
    return f"{answer.status} {shown} [{answer.getheader('Content-Range') or ''}]", answer.getheader("Accept-Ranges")

for name, port in zip(("nginx", "caddy", "lighttpd", "busybox", "webfs", "python"), map(int, sys.argv[1:])):
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.1)
    print(f"{name}: announces {get(port, '/payload')[1]}")
    for ranges in ("10-19", "990-5000", "-5", "1000-", "0-1,5-6"):
        print(f"  {ranges:9} {get(port, '/payload', ranges)[0]}")
    print(f"  0- empty  {get(port, '/empty', '0-')[0]}")
PY
cat > expected <<'EXPECTED'
nginx: announces bytes
  10-19     206 10 [bytes 10-19/1000]
  990-5000  206 10 [bytes 990-999/1000]
  -5        206 5 [bytes 995-999/1000]
  1000-     416 - [bytes */1000]
  0-1,5-6   206 multipart []
  0- empty  200 0 []
caddy: announces bytes
  10-19     206 10 [bytes 10-19/1000]
  990-5000  206 10 [bytes 990-999/1000]
  -5        206 5 [bytes 995-999/1000]
  1000-     416 - [bytes */1000]
  0-1,5-6   206 multipart []
  0- empty  416 - [bytes */0]
lighttpd: announces bytes
  10-19     206 10 [bytes 10-19/1000]
  990-5000  206 10 [bytes 990-999/1000]
  -5        206 5 [bytes 995-999/1000]
  1000-     416 - []
  0-1,5-6   206 7 [bytes 0-6/1000]
  0- empty  200 0 []
busybox: announces bytes
  10-19     206 10 [bytes 10-19/1000]
  990-5000  206 10 [bytes 990-999/1000]
  -5        200 1000 []
  1000-     200 1000 []
  0-1,5-6   200 1000 []
  0- empty  200 0 []
webfs: announces bytes
  10-19     206 10 [bytes 10-19/1000]
  990-5000  400 - []
  -5        206 5 [bytes 995-999/1000]
  1000-     206 0 [bytes 1000-999/1000]
  0-1,5-6   206 multipart []
  0- empty  206 0 [bytes 0--1/0]
python: announces None
  10-19     200 1000 []
  990-5000  200 1000 []
  -5        200 1000 []
  1000-     200 1000 []
  0-1,5-6   200 1000 []
  0- empty  200 0 []
EXPECTED
diff expected seen && echo "as described"
