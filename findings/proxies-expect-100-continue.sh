#!/usr/bin/env bash
# Three reverse proxies do three different things with "Expect: 100-continue".
#
# Guess: a client that asks before it sends a large body is answered by the server behind the proxy: a proxy that speaks HTTP/1.1 to
# it forwards the expectation (RFC 9110, section 10.1.1), so that a request which is refused anyway costs no upload.
#
# Seen with Debian 12's packages, 2026-11-28. The server answers 401 to every head without reading a body; the client waits for the
# first answer before it sends its 100,000 bytes:
#
#                    first answer    what the server sees
#   no proxy         401             the expectation
#   haproxy 2.6.12   401             the expectation
#   nginx 1.22.1     100             no expectation
#   caddy 2.6.2      100             the expectation, which Caddy has answered itself
#
# So behind nginx and Caddy the client sends its body although it is refused (nginx takes all of it before it asks the server at all),
# and "100 Continue" there does not say that the server has seen the request.
#
# Needs Debian's apt-get and python3; traffic on loopback only. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
chmod 755 .
for package in nginx=1.22.1-9+deb12u11 caddy=2.6.2-5 haproxy=2.6.12-1+deb12u3 liblua5.3-0 libopentracing-c-wrapper0 libopentracing1; do
    apt-get download -q "$package" >/dev/null 2>&1
done
mkdir root
for archive in *.deb; do dpkg -x "$archive" root; done
export LD_LIBRARY_PATH=$work/root/usr/lib/$(uname -m)-linux-gnu
read -r server nginx haproxy caddy < <(python3 - <<'PY'
import random, socket
# Below the ports that the system hands out to clients.
ports = []
while len(ports) < 4:
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
cat > server.py <<'PY'
import os, socket, sys, threading

def serve(connection):
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(65536)
        if not more:
            return
        received += more
    head = received.partition(b"\r\n\r\n")[0]
    expects = "the expectation" if b"expect: 100-continue" in head.lower() else "no expectation"
    name = head.split(b" ")[1].decode().strip("/")
    with open(f"{name}.tmp", "w") as out:
        out.write(expects)
    os.rename(f"{name}.tmp", f"{name}.seen")
    connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    connection.shutdown(socket.SHUT_WR)
    # What else comes is taken, until nothing more does: a proxy may keep the connection.
    connection.settimeout(5)
    try:
        while connection.recv(65536):
            pass
    except OSError:
        pass

listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
PY
cat > nginx.conf <<CONF
daemon off; master_process off; pid $work/nginx.pid; error_log $work/nginx.log; events {}
http {
  access_log off; client_body_temp_path $work/t1; proxy_temp_path $work/t2; fastcgi_temp_path $work/t3;
  uwsgi_temp_path $work/t4; scgi_temp_path $work/t5;
  server { listen 127.0.0.1:$nginx; location / { proxy_pass http://127.0.0.1:$server; } }
}
CONF
cat > haproxy.cfg <<CONF
defaults
  mode http
  timeout connect 10s
  timeout client 30s
  timeout server 30s
frontend in
  bind 127.0.0.1:$haproxy
  default_backend out
backend out
  server one 127.0.0.1:$server
CONF
printf '{\n\tadmin off\n}\nhttp://127.0.0.1:%s {\n\treverse_proxy 127.0.0.1:%s\n}\n' "$caddy" "$server" > Caddyfile
python3 server.py "$server" & pids+=($!)
root/usr/sbin/nginx -p "$work" -c "$work/nginx.conf" 2>nginx.err & pids+=($!)
root/usr/sbin/haproxy -db -f haproxy.cfg >haproxy.err 2>&1 & pids+=($!)
HOME=$work XDG_DATA_HOME=$work/data root/usr/bin/caddy run --config Caddyfile --adapter caddyfile >caddy.err 2>&1 & pids+=($!)

python3 - direct "$server" haproxy "$haproxy" nginx "$nginx" caddy "$caddy" <<'PY' | tee seen
import os, socket, sys, time

def connect(port):
    end = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=20)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)

for name, port in zip(sys.argv[1::2], sys.argv[2::2]):
    with connect(int(port)) as client:
        client.sendall(f"POST /{name} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n".encode())
        first = client.recv(65536).split(b" ")[1].decode()
        if first == "100":
            client.sendall(b"x" * 100000)
            client.recv(65536)
    end = time.monotonic() + 20
    while not os.path.exists(f"{name}.seen") and time.monotonic() < end:
        time.sleep(0.05)
    with open(f"{name}.seen") as seen:
        print(f"{name}: {first}; {seen.read()}", flush=True)
PY
diff seen - <<'SEEN' && echo "as it was"
direct: 401; the expectation
haproxy: 401; the expectation
nginx: 100; no expectation
caddy: 100; the expectation
SEEN
