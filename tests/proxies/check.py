"""Tests a node through the TLS proxy on port 443: check.py NAME CERTIFICATE, with the token in RPP_TOKEN."""

import base64
import http.client
import json
import os
import socket
import ssl
import sys
import time

NAME, CERTIFICATE = sys.argv[1:]
TOKEN = os.environ["RPP_TOKEN"]
PEER = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
context = ssl.create_default_context(cafile=CERTIFICATE)


def connect(timeout=10):
    plain = socket.create_connection(("127.0.0.1", 443), timeout=timeout)
    return context.wrap_socket(plain, server_hostname="node.example")


def ask(method, path, body=None, token=True, **headers):
    connection = http.client.HTTPSConnection("node.example", timeout=10)
    connection.sock = connect()
    if token:
        headers["Authorization"] = f"Bearer {TOKEN}"
    if body is not None:
        headers["Content-Type"] = "application/json"
        body = json.dumps(body)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def until(condition, what):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            if condition():
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.1)
    raise SystemExit(f"{NAME}: {what} did not happen within 30 s")


def holds(what, found, expected):
    print(f"{NAME}: {what}: {found}")
    if found != expected:
        raise SystemExit(f"{NAME}: {what}: expected {expected}")


# The proxy's own checks must find the node alive: HAProxy and Caddy answer 503 themselves until then.
until(lambda: ask("GET", "/readyz", token=False)[0] == 200, "readiness through the proxy")
time.sleep(3)  # further checks of the proxy, every second
holds("readyz after the proxy's checks", ask("GET", "/readyz", token=False)[0], 200)
holds("HEAD", ask("HEAD", "/healthz", token=False), (200, b""))
holds("without token", ask("GET", "/p2p/identity", token=False)[0], 401)
holds("with token", ask("GET", "/p2p/identity")[0], 200)
holds("the page's own origin", ask("GET", "/p2p/identity", Origin="https://node.example")[0], 200)
holds("a foreign origin", ask("GET", "/p2p/identity", Origin="https://evil.example")[0], 403)
holds("metrics", ask("GET", "/metrics")[1].startswith(b"# HELP"), True)

status, body = ask("POST", "/p2p/snapshots", {"peer": PEER})
holds("a session is started", status, 200)
session = json.loads(body)["session"]
stream = connect(timeout=5)
begun = time.monotonic()
stream.sendall(
    f"GET /p2p/snapshots/{session}/events HTTP/1.1\r\nHost: node.example\r\nAuthorization: Bearer {TOKEN}\r\n"
    "Accept-Encoding: gzip\r\n\r\n".encode()
)
received = b""
while b"\n\n" not in received.partition(b"\r\n\r\n")[2]:
    more = stream.recv(65536)
    if not more:
        raise SystemExit(f"{NAME}: the event stream ended: {received}")
    received += more
holds("the first event comes at once", time.monotonic() - begun < 3 and b"data:{" in received, True)
end = time.monotonic() + 40
while b"\n:" not in received.partition(b"\r\n\r\n")[2] and time.monotonic() < end:
    try:
        received += stream.recv(65536)
    except TimeoutError:
        pass
holds("a comment keeps it open", b"\n:" in received.partition(b"\r\n\r\n")[2], True)
stream.close()
holds("the session is cancelled", ask("DELETE", f"/p2p/snapshots/{session}")[0], 204)

socket_ = connect(timeout=30)
key = base64.b64encode(os.urandom(16)).decode()
socket_.sendall(
    f"GET /introspect HTTP/1.1\r\nHost: node.example\r\nAuthorization: Bearer {TOKEN}\r\nUpgrade: websocket\r\n"
    f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
)
received = b""
while b"\r\n\r\n" not in received:
    received += socket_.recv(1)
holds("the WebSocket opens", received.split(b" ")[1], b"101")


def exactly(count):
    received = b""
    while len(received) < count:
        more = socket_.recv(count - len(received))
        if not more:
            raise SystemExit(f"{NAME}: the WebSocket ended")
        received += more
    return received


def frame():
    first, length = exactly(2)
    size = {126: 2, 127: 8}.get(length)
    length = int.from_bytes(exactly(size), "big") if size else length
    exactly(length)
    return first & 0x0F


holds("its first message is binary", frame(), 2)
begun = time.monotonic()
while frame() != 9:
    pass
holds("it is pinged within 20 s", time.monotonic() - begun < 25, True)
print(f"{NAME}: all holds")
