#!/usr/bin/env bash
# Three static web servers give one strong ETag to two files.
#
# Guess: a strong ETag changes when the bytes change, so a download that was cut off can be continued with `If-Range: <ETag>`, and
# gets the rest of the file it began with or the new file from its start.
#
# Seen with Debian 12's nginx 1.22.1, caddy 2.6.2 and busybox httpd 1.35.0, 2026-11-28: the tag is made of the modification time in
# whole seconds and the length. A file that is replaced (by rename) with another of equal length and time keeps its tag: the
# continued download is answered 206 with bytes of the *new* file, a conditional GET 304. Equal times are common: reproducible
# builds set all to one value, `cp -p` and `rsync -t` keep them, and two writes within one second have the same.
#
# So parts fetched over HTTP are known to belong to one file only if the parts themselves are verified.
#
# Needs Debian's apt-get and python3; traffic on loopback only. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
chmod 755 .
for package in nginx=1.22.1-9+deb12u11 caddy=2.6.2-5 busybox=1:1.35.0-4+deb12u1+b1; do
    apt-get download -q "$package" >/dev/null 2>&1
done
mkdir root files
for archive in *.deb; do dpkg -x "$archive" root; done
read -r nginx caddy busybox < <(python3 - <<'PY'
import random, socket
# Below the ports that the system hands out to clients.
ports = []
while len(ports) < 3:
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
root/usr/sbin/nginx -p "$work" -c "$work/nginx.conf" 2>/dev/null & pids+=($!)
HOME=$work XDG_DATA_HOME=$work/data root/usr/bin/caddy file-server --listen "127.0.0.1:$caddy" --root files 2>/dev/null & pids+=($!)
root/bin/busybox httpd -f -p "127.0.0.1:$busybox" -h "$work/files" 2>busybox.log & pids+=($!)

python3 - "$nginx" "$caddy" "$busybox" <<'PY' | tee seen
import http.client, os, socket, sys, time

def get(port, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/payload", headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.getheader("ETag"), answer.read()

def put(byte):
    with open("files/new", "wb") as file:
        file.write(byte * 1000)
    os.utime("files/new", (1700000000, 1700000000))
    os.rename("files/new", "files/payload")

for name, port in zip(("nginx", "caddy", "busybox"), map(int, sys.argv[1:])):
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.1)
    put(b"A")
    status, tag, body = get(port, Range="bytes=0-499")
    put(b"B")
    _, now, _ = get(port)
    rest, _, end = get(port, Range="bytes=500-999", If_Range=tag)
    same, _, _ = get(port, If_None_Match=tag)
    strong = not tag.startswith("W/")
    print(f"{name}: {status} {body[:1].decode()}x{len(body)}, strong tag: {strong}, same tag for the other file: {tag == now}, "
          f"If-Range: {rest} {end[:1].decode()}x{len(end)}, If-None-Match: {same}")
PY
cat > expected <<'EXPECTED'
nginx: 206 Ax500, strong tag: True, same tag for the other file: True, If-Range: 206 Bx500, If-None-Match: 304
caddy: 206 Ax500, strong tag: True, same tag for the other file: True, If-Range: 206 Bx500, If-None-Match: 304
busybox: 206 Ax500, strong tag: True, same tag for the other file: True, If-Range: 206 Bx500, If-None-Match: 304
EXPECTED
diff expected seen && echo "as described"
