#!/usr/bin/env python3
"""A node against a mirror behind nginx: one that works, and one for each trouble that makes a mirror useless.

    cargo build --release && tests/mirror/nginx.py [PATH OF rpp-node]

Needs nginx (Debian: nginx-light). Not part of the checks: the same troubles come from the tests' own web server there.
"""
import base64, hashlib, json, os, shutil, signal, socket, subprocess, sys, tempfile, time, urllib.error, urllib.request

HERE = os.path.dirname(os.path.realpath(__file__))
NODE = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "../../target/release/rpp-node")
PATIENCE = 60
folder = tempfile.mkdtemp(prefix="rpp-nginx-")
os.chmod(folder, 0o755)
store = os.path.join(folder, "mirror")
SECRET = "word-of-the-tests"


def place(name):
    return os.path.join(folder, name)


def run(*arguments):
    done = subprocess.run([NODE, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.exit(f"rpp-node {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def nginx(port):
    """Each location has the same mirror with another trouble, which concerns the payload."""
    odd = {
        "later": "add_header Retry-After 2 always; return 503;",
        "many": "add_header Retry-After 2 always; return 429;",
        "gone": "return 404;",
        "closed": "return 403;",
        "broken": "return 500;",
        "loop": "return 302 $request_uri;",
        "tls": "return 302 https://$host/plain/$1;",
        "moved": "return 302 /plain/$1;",
        "whole": "alias %s/$1; max_ranges 0;" % store,
    }
    locations = "".join(f"location ~ ^/{name}/(.*payload)$ {{ {manner} }} location /{name}/ {{ alias {store}/; }}\n" for name, manner in odd.items())
    digest = base64.b64encode(hashlib.sha1(SECRET.encode()).digest()).decode()
    with open(place("passwords"), "w") as file:
        file.write(f"user:{{SHA}}{digest}\n")
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "".join(f"{name}_temp_path {place(name)};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    with open(place("nginx.conf"), "w") as file:
        file.write(f"""daemon off; {user} pid {place('pid')}; error_log {place('nginx.log')}; worker_processes 1; events {{}}
http {{ access_log {place('access.log')}; {temporary}
server {{ listen 127.0.0.1:{port}; location /plain/ {{ alias {store}/; }}
location /auth/ {{ alias {store}/; auth_basic mirror; auth_basic_user_file {place('passwords')}; }}
{locations} }} }}
""")
    return subprocess.Popen(["nginx", "-c", place("nginx.conf")], stdin=subprocess.DEVNULL, stderr=open(place("nginx.err"), "w"))


class Node:
    def __init__(self, genesis):
        run("init", "--dir", place("consumer"))
        self.process = subprocess.Popen(
            [NODE, "run", "--config", place("consumer/node.toml"), f"--trust-genesis={genesis}", "--rpc-listen=127.0.0.1:0",
             "--p2p-listen=/ip4/127.0.0.1/tcp/0", "--introspection-enabled=false"],
            stdout=subprocess.PIPE, stderr=open(place("node.log"), "w"), stdin=subprocess.DEVNULL, text=True)
        self.rpc = json.loads(self.process.stdout.readline())["rpc"]
        self.token = open(place("consumer/rpc.token")).read().strip()
        self.said = ""

    def ask(self, method, path, body=None):
        request = urllib.request.Request(f"http://{self.rpc}{path}", method=method, data=None if body is None else json.dumps(body).encode(),
                                         headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            text = error.read().decode()
        self.said += text
        return json.loads(text) if text else None

    def begin(self, mirror):
        """Begins a download of which no bytes are present."""
        told = self.ask("POST", "/p2p/snapshots", {"mirrors": [mirror]})
        # A mirror that is refused at once ends its session.
        return told["session"] if "session" in told else max(self.ask("GET", "/p2p/snapshots"), key=lambda one: one["started_at"])["session"]

    def until(self, session, is_there, what):
        deadline = time.monotonic() + PATIENCE
        while True:
            status = self.ask("GET", f"/p2p/snapshots/{session}")
            if is_there(status):
                return status
            if time.monotonic() > deadline:
                sys.exit(f"{what} does not come: {json.dumps(status)}")
            time.sleep(0.05)


def main():
    run("init", "--publisher", "--dir", place("publisher"))
    payload = os.urandom(12 << 20)
    with open(place("payload"), "wb") as file:
        file.write(payload)
    config = place("publisher/node.toml")
    genesis = json.loads(run("publish", "--config", config, "--height", "1", "--json", place("payload")))["genesis"]
    run("mirror", "--config", config, f"file://{store}")
    port = free_port()
    server, node = nginx(port), Node(genesis)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"nginx did not start: {open(place('nginx.err')).read()}")
                time.sleep(0.05)
        url = lambda name, secret="": f"http://{secret}127.0.0.1:{port}/{name}"
        plain = url("plain")

        def goes_on(session, more, mirror):
            node.ask("POST", f"/p2p/snapshots/{session}/sources", {"mirror": more})
            status = node.until(session, lambda status: status["state"] == "complete", "the end")
            whole = status["verified"] and open(status["payload_path"], "rb").read() == payload
            source = next(source for source in status["sources"] if source["source"] == mirror)
            if not whole:
                sys.exit(f"the payload differs: {status}")
            # The stored snapshot must be fetched again in the next case.
            node.ask("DELETE", f"/p2p/snapshots/{session}")
            shutil.rmtree(place(f"consumer/data/snapshots/store/{status['root']}"))
            time.sleep(2.5)
            return source

        for name, state, words in [
            ("plain", "done", None), ("moved", "done", None),
            ("later", "backing_off", "it asks for patience (HTTP 503, 2 s)"), ("many", "backing_off", "it asks for patience (HTTP 429, 2 s)"),
            ("broken", "backing_off", "it answers HTTP 500"), ("gone", "refused", "it has no payload"),
            ("closed", "refused", "it refuses access (HTTP 403)"), ("loop", "refused", "it redirects more than 5 times"),
            ("tls", "refused", "it redirects to another scheme"), ("whole", "refused", "it must support ranges"),
        ]:
            session = node.begin(url(name))
            is_there = lambda status: any(
                source["source"] == url(name) and source["state"] == state and (words is None or words in (source["error"] or ""))
                for source in status["sources"])
            node.until(session, is_there, f"/{name}: {state}, {words}")
            goes_on(session, plain, url(name))
            print(f"   /{name}: {state}{f', {words!r}' if words else ''}; complete and verified{'' if words is None else ' from another mirror'}", flush=True)

        session = node.begin(url("auth", "user:wrong@"))
        is_refused = lambda status: any(source["state"] == "refused" and "HTTP 401" in source["error"] for source in status["sources"])
        node.until(session, is_refused, "401")
        source = goes_on(session, url("auth", f"user:{SECRET}@"), url("auth"))
        if source["bytes_verified"] != len(payload):
            sys.exit(f"it did not come from there: {source}")
        print("   /auth: refused with a wrong password; named again with the right one: complete and verified", flush=True)
        if SECRET in node.said + open(place("node.log")).read():
            sys.exit("a password was said")
        print("   no answer and no line of the log has the password\nmirrors behind nginx: ok")
    finally:
        node.process.send_signal(signal.SIGTERM)
        node.process.wait()
        server.send_signal(signal.SIGQUIT)
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


main()
