#!/usr/bin/env python3
"""Measures limits by the byte on the real program: does a rate hold, also when it is changed during a download, and is it shared evenly?

    cargo build --release
    bench/rates.py [--rate 4000000] [--seconds 10] [--tolerance 5] [CASE...]

Cases: download (one and several sources: peers, mirrors, both), upload (one consumer, two consumers with a limit each), downloads (eight of one
node at once), consumers (eight of one provider at once). download and upload run over /rpp/snapshots/2.0.0 and over 1.0.0. Everything runs over
loopback, so only the limits bound the rates. A rate is the number of bytes, read from the status, divided by the time. It is measured from two
seconds after every download has received its first bytes. The script exits with 1 if a rate is off by more than the tolerance in percent, or a
share by more than twice that.
"""
import argparse, functools, http.server, json, os, re, shutil, signal, subprocess, sys, tempfile, threading, time, urllib.request

HERE = os.path.dirname(os.path.realpath(__file__))
CASES = ["download", "upload", "downloads", "consumers"]
SETTLE = 2.0


class Ranges(http.server.SimpleHTTPRequestHandler):
    """A static web server with ranges."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        try:
            file = open(self.translate_path(self.path), "rb")
        except OSError:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        with file:
            total = os.fstat(file.fileno()).st_size
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            first, last = (int(asked[1]), min(int(asked[2]), total - 1)) if asked else (0, total - 1)
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {first}-{last}/{total}")
            self.send_header("Content-Length", str(last - first + 1))
            self.end_headers()
            file.seek(first)
            self.wfile.write(file.read(last - first + 1))


class Node:
    def __init__(self, options, folder, *flags):
        self.folder, self.options = folder, options
        self.log = open(os.path.join(folder, "log"), "a")
        command = [options.node, "run", "--config", os.path.join(folder, "node.toml"), "--p2p-listen=/ip4/127.0.0.1/tcp/0",
                   "--rpc-listen=127.0.0.1:0", "--introspection-enabled=false", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, stdin=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"a node did not start: {open(self.log.name).read()}")
        said = json.loads(line)
        self.rpc, self.address = said["rpc"], said["listen"][0]
        self.token = open(os.path.join(folder, "rpc.token")).read().strip()

    def ask(self, method, path, body=None):
        request = urllib.request.Request(f"http://{self.rpc}{path}", method=method, data=None if body is None else json.dumps(body).encode(),
                                         headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def stream(self, body):
        return self.ask("POST", "/p2p/snapshots", body)["session"]

    def received(self, session):
        status = self.ask("GET", f"/p2p/snapshots/{session}")
        if status["state"] in ("complete", "failed"):
            sys.exit(f"it ended while it was measured ({status['state']}, {status['error']}): use a larger --mib")
        return status["bytes_received"]

    def end(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class World:
    def __init__(self, options):
        self.options, self.folder, self.nodes = options, tempfile.mkdtemp(prefix="rpp-rates-"), []
        self.publisher = self.place("publisher")
        self.run("init", "--publisher", "--dir", self.publisher)
        self.roots = []

    def place(self, name):
        path = os.path.join(self.folder, name)
        os.makedirs(path, exist_ok=True)
        return path

    def run(self, *arguments):
        done = subprocess.run([self.options.node, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            sys.exit(f"{' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def publish(self, count):
        """Publishes this many snapshots; the first one is the largest."""
        while len(self.roots) < count:
            data = os.path.join(self.folder, "input")
            mib = self.options.mib if not self.roots else max(8, self.options.mib // 4)
            with open(data, "wb") as file:
                for _ in range(mib):
                    file.write(os.urandom(1 << 20))
            config = os.path.join(self.publisher, "node.toml")
            told = json.loads(self.run("publish", "--config", config, "--height", str(len(self.roots) + 1), "--json", data))
            self.genesis = told["genesis"]
            self.roots.append(told["root"])
            os.remove(data)

    def provider(self, name, *flags):
        folder, store = self.place(name), os.path.join("data", "snapshots", "store")
        if not os.path.exists(os.path.join(folder, "node.toml")):
            self.run("init", "--dir", folder)
            os.makedirs(os.path.join(folder, os.path.dirname(store)), exist_ok=True)
            shutil.copytree(os.path.join(self.publisher, store), os.path.join(folder, store), copy_function=os.link)
        return self.start(folder, *flags)

    def consumer(self, *flags):
        folder = tempfile.mkdtemp(dir=self.folder, prefix="consumer-")
        self.run("init", "--dir", folder)
        return self.start(folder, f"--trust-genesis={self.genesis}", *flags)

    def start(self, folder, *flags):
        self.nodes.append(Node(self.options, folder, *flags))
        return self.nodes[-1]

    def mirror(self):
        """A web server that serves the publisher's store."""
        files = os.path.join(self.publisher, "data", "snapshots", "store")
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Ranges, directory=files))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/"

    def clear(self):
        for node in self.nodes:
            node.end()
        self.nodes = []

    def end(self):
        self.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


class Report:
    def __init__(self, options):
        self.options, self.is_good = options, True

    def rate(self, name, due, came, seconds):
        off = (came / seconds / due - 1) * 100
        self.tell(name, f"{due:,} B/s", f"{came / seconds:,.0f} B/s", off, self.options.tolerance)

    def share(self, name, shares):
        mean = sum(shares) / len(shares)
        worst = max(shares, key=lambda share: abs(share - mean))
        self.tell(name, "all alike", f"{min(shares) / mean:.3f} to {max(shares) / mean:.3f} of the mean", (worst / mean - 1) * 100,
                  2 * self.options.tolerance)

    def tell(self, name, due, came, off, allowed):
        is_good = abs(off) <= allowed
        self.is_good &= is_good
        print(f"| {name} | {due} | {came} | {off:+.1f} % |{'' if is_good else ' **off** |'}", flush=True)


def over(seconds, look):
    """The bytes that each of them received in the time, and the time itself. It begins when all of them have received something."""
    deadline = time.monotonic() + 60
    while not all(look()):
        if time.monotonic() > deadline:
            sys.exit("not everybody got something within 60 s")
        time.sleep(0.1)
    time.sleep(SETTLE)
    begun, before = time.monotonic(), look()
    time.sleep(seconds)
    after, ended = look(), time.monotonic()
    return [late - early for early, late in zip(before, after)], ended - begun


def download(world, report, protocol):
    options = world.options
    providers = [world.provider(f"provider-{number}") for number in range(3)]
    mirrors = [world.mirror(), world.mirror()]
    peers = [provider.address for provider in providers]
    kinds = [("one peer", peers[:1], []), ("three peers", peers, []), ("two mirrors", [], mirrors), ("two peers and a mirror", peers[:2], mirrors[:1])]
    for name, some_peers, some_mirrors in kinds:
        if protocol == "1.0.0" and not some_peers:
            continue
        node = world.consumer(f"--limits-download-bytes-per-second={options.rate}", f"--snapshots-protocol={protocol}")
        named = {"peers": some_peers} if some_peers else {}
        named |= {"mirrors": some_mirrors} if some_mirrors else {}
        session = node.stream({**named, "root": world.roots[0], "chunk_size": options.chunk_kib << 10})
        changed = options.rate // 2
        came, took = over(options.seconds, lambda: [node.received(session)])
        report.rate(f"download, {protocol}, {name}", options.rate, came[0], took)
        waits = node.ask("GET", f"/p2p/snapshots/{session}")
        node.ask("PATCH", "/p2p/limits", {"download_bytes_per_second": changed})
        came, took = over(options.seconds, lambda: [node.received(session)])
        report.rate(f"the same, changed to {changed:,}", changed, came[0], took)
        gave = [source["bytes_verified"] for source in node.ask("GET", f"/p2p/snapshots/{session}")["sources"]]
        if len(gave) > 1:
            told = (waits["waiting_on"] or {}).get("what")
            print(f"  (waits for {told}; its sources gave {', '.join(f'{part / sum(gave):.2f}' for part in gave)} of it)", flush=True)
        node.end()


def upload(world, report, protocol):
    options = world.options
    provider = world.provider("provider-0", f"--limits-upload-bytes-per-second={options.rate}", f"--snapshots-protocol={protocol}")
    body = {"peer": provider.address, "root": world.roots[0], "chunk_size": options.chunk_kib << 10}
    first = world.consumer()
    session = first.stream(body)
    came, took = over(options.seconds, lambda: [first.received(session)])
    report.rate(f"upload, {protocol}, one consumer", options.rate, came[0], took)
    changed = options.rate * 3 // 4
    provider.ask("PATCH", "/p2p/limits", {"upload_bytes_per_second": 0, "upload_bytes_per_second_per_peer": changed})
    second = world.consumer()
    other = second.stream(body)
    came, took = over(options.seconds, lambda: [first.received(session), second.received(other)])
    for number, part in enumerate(came, 1):
        report.rate(f"upload, {protocol}, changed to {changed:,} for each peer, consumer {number}", changed, part, took)


def downloads(world, report):
    options = world.options
    world.publish(8)
    provider = world.provider("provider-eight")
    rate = min(options.rate, (max(8, options.mib // 4) << 20) * 8 // int(2 * (options.seconds + SETTLE + 1)))
    node = world.consumer(f"--limits-download-bytes-per-second={rate}")
    body = lambda root: {"peer": provider.address, "root": root, "chunk_size": options.chunk_kib << 10}
    sessions = [node.stream(body(root)) for root in world.roots]
    came, took = over(options.seconds, lambda: [node.received(session) for session in sessions])
    report.rate("eight downloads of one node, together", rate, sum(came), took)
    report.share("each of them", came)


def consumers(world, report):
    options = world.options
    provider = world.provider("provider-one", f"--limits-upload-bytes-per-second={options.rate}")
    nodes = [world.consumer() for _ in range(8)]
    body = {"peer": provider.address, "root": world.roots[0], "chunk_size": options.chunk_kib << 10}
    sessions = [node.stream(body) for node in nodes]
    came, took = over(options.seconds, lambda: [node.received(session) for node, session in zip(nodes, sessions)])
    report.rate("eight consumers of one provider, together", options.rate, sum(came), took)
    report.share("each of them", came)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--rate", type=int, default=4_000_000, help="bytes a second")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--tolerance", type=float, default=5, help="percent")
    parser.add_argument("--mib", type=int, default=128)
    parser.add_argument("--chunk-kib", type=int, default=64)
    parser.add_argument("--node", default=os.path.join(HERE, "../target/release/rpp-node"))
    options = parser.parse_args()
    cases = options.cases or CASES
    world, report = World(options), Report(options)
    try:
        world.publish(1)
        print(f"{options.seconds:g} s each, chunks of {options.chunk_kib} KiB, load {os.getloadavg()[0]:.1f}\n\n| what | due | came | off |\n|---|---|---|---|")
        for protocol in ("2.0.0", "1.0.0"):
            for name, case in (("download", download), ("upload", upload)):
                if name in cases:
                    case(world, report, protocol)
                    world.clear()
        for name, case in (("downloads", downloads), ("consumers", consumers)):
            if name in cases:
                case(world, report)
                world.clear()
    finally:
        world.end()
    sys.exit(0 if report.is_good else 1)


if __name__ == "__main__":
    main()
