"""Mirrors in a bucket: `rpp-node` copies to a server that speaks S3 and downloads from it.

The server is moto, a Python package that plays Amazon's services, in this process. A gate before it holds requests back, so that a kill
and a second writer come exactly where they are meant to. Started by run.sh; takes the path of rpp-node.
"""
import json, logging, os, re, signal, subprocess, sys, tempfile, threading, time

import boto3
from botocore.exceptions import ClientError
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

NODE = sys.argv[1]
SECRET = "only-for-these-tests"
PATIENCE = 120


class Gate:
    """Records the requests in front of the server, and holds back those that a test selects."""

    def __init__(self, app):
        self.app, self.lock, self.asked = app, threading.Condition(), []
        self.held, self.waiting, self.is_lost = None, 0, False

    def __call__(self, environ, start_response):
        asked = (environ["REQUEST_METHOD"], environ["PATH_INFO"])
        with self.lock:
            self.asked.append(asked)
            if self.held and asked[0] == self.held[0] and asked[1].endswith(self.held[1]):
                self.waiting += 1
                self.lock.notify_all()
                self.lock.wait_for(lambda: self.held is None, PATIENCE)
                if self.is_lost:
                    start_response("503 Service Unavailable", [])
                    return []
        return self.app(environ, start_response)

    def hold(self, method, end):
        with self.lock:
            self.held, self.waiting, self.is_lost = (method, end), 0, False

    def wait(self, count=1):
        """Waits until this many requests are held."""
        with self.lock:
            if not self.lock.wait_for(lambda: self.waiting >= count, PATIENCE):
                sys.exit(f"{self.held} was not asked for {count} times: {self.asked[-20:]}")

    def open(self, is_lost=False):
        """Lets the held requests go on, or, if they are lost, never reach the server."""
        with self.lock:
            self.held, self.is_lost = None, is_lost
            self.lock.notify_all()

    def count(self, method, part):
        with self.lock:
            return sum(asked[0] == method and part in asked[1] for asked in self.asked)


gate = Gate(DomainDispatcherApplication(create_backend_app))
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = make_server("127.0.0.1", 0, gate, threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
endpoint = f"http://127.0.0.1:{server.port}"
environment = {**os.environ, "AWS_ENDPOINT": endpoint, "AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": SECRET,
               "AWS_REGION": "us-east-1"}
s3 = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id="tests", aws_secret_access_key=SECRET, region_name="us-east-1")
folder = tempfile.TemporaryDirectory(prefix="rpp-s3-")
said, running = [], []


def place(name):
    return os.path.join(folder.name, name)


def run(*arguments):
    done = subprocess.run([NODE, *arguments], env=environment, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    said.append(done.stdout + done.stderr)
    if done.returncode != 0:
        sys.exit(f"rpp-node {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def start(name, *arguments):
    """Starts a process in the background; its output goes to files."""
    process = subprocess.Popen([NODE, *arguments], env=environment, stdin=subprocess.DEVNULL,
                               stdout=open(place(f"{name}.out"), "w"), stderr=open(place(f"{name}.err"), "w"))
    running.append(process)
    return process


def succeeds(name, process):
    if process.wait(PATIENCE) != 0:
        sys.exit(f"{name}: {open(place(f'{name}.err')).read()}")
    return json.loads(open(place(f"{name}.out")).read())


def has(bucket, key):
    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError:
        return None


def listed(bucket, base=""):
    found = has(bucket, f"{base}snapshots.json")
    return [one["root"] for one in json.loads(found)["snapshots"]] if found else []


def check(is_so, what):
    if not is_so:
        sys.exit(f"not so: {what}")
    print(f"   {what}")


def main():
    for bucket in ("mirror", "both"):
        s3.create_bucket(Bucket=bucket)
    publisher = place("publisher/node.toml")
    run("init", "--publisher", "--dir", place("publisher"))
    roots, payloads = [], [os.urandom(20 << 20), os.urandom(100_000)]
    for height, payload in enumerate(payloads, 1):
        with open(place("payload"), "wb") as file:
            file.write(payload)
        published = json.loads(run("publish", "--config", publisher, "--height", str(height), "--json", place("payload")))
        roots.append(published["root"])
    old, new = roots
    copy = ("mirror", "--config", publisher, "--json")

    # It is killed when the payload is there and the outboard is being sent.
    gate.hold("PUT", f"{old}/outboard")
    first = start("killed", *copy, "s3://mirror/a/folder", old)
    gate.wait()
    first.send_signal(signal.SIGKILL)
    first.wait()
    gate.open(is_lost=True)
    check(listed("mirror", "a/folder/") == [] and has("mirror", f"a/folder/{old}/payload") == payloads[0],
          "a copy that was killed shows nothing to readers, and what was sent is there")
    uploads = gate.count("POST", f"{old}/payload")
    again = json.loads(run(*copy, "s3://mirror/a/folder", old))
    is_kept = gate.count("POST", f"{old}/payload") == uploads and 0 < again["bytes"] < 200_000
    check(is_kept, f"the next one goes on: it sends {again['bytes']} bytes, and the payload not again")
    check(json.loads(run(*copy, "s3://mirror/a/folder", old))["bytes"] == 0, "when all is there nothing is sent")

    # A node that has nothing but the bucket, while a newer snapshot is half written.
    run("init", "--dir", place("consumer"))
    consumer = place("consumer/node.toml")
    node = start("node", "run", "--config", consumer, f"--trust-genesis={published['genesis']}", "--rpc-listen=127.0.0.1:0",
                 "--p2p-listen=/ip4/127.0.0.1/tcp/0", "--introspection-enabled=false")
    deadline = time.monotonic() + PATIENCE
    while not (line := open(place("node.out")).readline()).endswith("\n"):
        if node.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"the node did not start: {open(place('node.err')).read()}")
        time.sleep(0.05)
    rpc = f"--rpc-listen={json.loads(line)['rpc']}"
    fetch = ("fetch", "--config", consumer, rpc, "--json", "--mirror", "s3://mirror/a/folder")
    gate.hold("PUT", f"{new}/manifest.json")
    second = start("second", *copy, "s3://mirror/a/folder")
    gate.wait()
    check(has("mirror", f"a/folder/{new}/payload") == payloads[1], "the payload of a newer snapshot is there, its manifest is not")
    got = json.loads(run(*fetch))
    is_whole = open(got["payload_path"], "rb").read() == payloads[0]
    source = got["sources"][0]
    check(is_whole and got["verified"] and got["state"] == "complete" and got["root"] == old,
          "meanwhile a node downloads the older one from s3://, complete and verified")
    check((source["source"], source["kind"], source["state"]) == ("s3://mirror/a/folder", "mirror", "done")
          and source["bytes_verified"] == len(payloads[0]), "its only source was the mirror, and the status says so")
    gate.open()
    succeeds("second", second)
    check(listed("mirror", "a/folder/") == [new, old], "then the list has both, the newest first")
    got = json.loads(run(*fetch))
    check(got["root"] == new and got["verified"] and open(got["payload_path"], "rb").read() == payloads[1],
          "and the next download takes the newer one")

    # Both want to write the list when it is not there yet.
    gate.hold("PUT", "snapshots.json")
    writers = [(name, start(name, *copy, "s3://both", root)) for name, root in (("one", old), ("other", new))]
    gate.wait(2)
    gate.open()
    for name, writer in writers:
        succeeds(name, writer)
    check(sorted(listed("both")) == sorted(roots), "of two writers at once neither loses its snapshot")

    # The secret is in no output, log or status.
    metrics = run("status", "--config", consumer, rpc, "--json")
    logs = "".join(open(place(name)).read() for name in os.listdir(folder.name) if re.search(r"\.(out|err)$", name))
    check(SECRET not in logs + metrics + "".join(said), "the secret is in no output, log or status")
    node.send_signal(signal.SIGTERM)
    check(node.wait(PATIENCE) == 0, "the node ends by itself")


try:
    main()
    print("mirrors on S3: ok")
finally:
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()
    folder.cleanup()
