#!/usr/bin/env python3
"""Downloads from several sources over slow links, side by side.

Each source is in a network namespace of its own, behind a link of its own (TUN devices and the relay of rpp-bench). Needs
root, `ip`, /dev/net/tun; for the mirrors nginx and aria2c (Debian: nginx-light, aria2).

    cargo build --release && cargo build --release --manifest-path bench/Cargo.toml
    bench/sources.py [--mib 96] [--mbit 100] [--rtt-ms 50] [--repetitions 5] [--json] [CASE...]

Cases: one, two, slow (two and one ten times slower), dead (two, one is killed half-way), mirrors (two, beside aria2c with the
same two). Times are from POST to complete, verified and durable; the node's check of the proof is in them.
"""
import argparse, json, os, shutil, signal, statistics, subprocess, sys, tempfile, time, urllib.request

HERE = os.path.dirname(os.path.realpath(__file__))
CASES = ["one", "two", "slow", "dead", "mirrors"]
# Runs in a node's namespace and sends the requests that it is given over one connection.
ASKER = """
import http.client, json, sys
rpc, token = sys.argv[1:]
connection = http.client.HTTPConnection(rpc)
for line in sys.stdin:
    method, path, body = json.loads(line)
    connection.request(method, path, body, {"Authorization": "Bearer " + token, "Content-Type": "application/json"})
    print(json.dumps(json.loads(connection.getresponse().read())), flush=True)
"""


class Link:
    """A namespace behind a link; the consumer's end is in the namespace `consumer`."""

    def __init__(self, number, consumer, mbit, options):
        self.name = f"rpb-s{number}-{os.getpid()}"
        here, there = f"rs{os.getpid() % 100000}{number}c", f"rs{os.getpid() % 100000}{number}p"
        self.relay = subprocess.Popen(
            [options.bench, "relay", "--devices", here, there, "--rtt-ms", str(options.rtt_ms), "--mbit", str(mbit)],
            stdout=subprocess.PIPE, text=True)
        if "ready" not in self.relay.stdout.readline():
            sys.exit("the relay ended")
        self.address = f"10.232.{number}.1"
        run("ip", "netns", "add", self.name)
        for space, device, address in [(self.name, there, self.address), (consumer, here, f"10.232.{number}.2")]:
            run("ip", "link", "set", device, "netns", space)
            run("ip", "-n", space, "addr", "add", f"{address}/30", "dev", device)
            run("ip", "-n", space, "link", "set", "lo", "up")
            run("ip", "-n", space, "link", "set", device, "mtu", "1500", "txqueuelen", "1000", "up")

    def end(self):
        self.relay.kill()
        subprocess.run(["ip", "netns", "del", self.name], stderr=subprocess.DEVNULL)


class Node:
    """A running node in a namespace."""

    def __init__(self, space, folder, options, listen, flags=()):
        self.log = open(os.path.join(folder, "log"), "a")
        command = ["ip", "netns", "exec", space, options.node, "run", "--config", os.path.join(folder, "node.toml"),
                   f"--p2p-listen={listen}", "--rpc-listen=127.0.0.1:0", "--introspection-enabled=false", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"a node did not start: see {self.log.name}")
        said = json.loads(line)
        self.rpc, self.address, self.peer = said["rpc"], said["listen"][0], said["peer_id"]
        token = open(os.path.join(folder, "rpc.token")).read().strip()
        self.asker = subprocess.Popen(["ip", "netns", "exec", space, sys.executable, "-c", ASKER, self.rpc, token],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, method, path, body=None):
        """From within its namespace."""
        print(json.dumps([method, path, None if body is None else json.dumps(body)]), file=self.asker.stdin, flush=True)
        answer = json.loads(self.asker.stdout.readline())
        if "error" in answer and "session" not in answer:
            sys.exit(f"{method} {path}: {answer}")
        return answer

    def kill(self, how=signal.SIGKILL):
        self.asker.kill()
        self.asker.wait()
        self.process.send_signal(how)
        self.process.wait()


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def fetch(world, options, body, dies=None):
    """One download by a fresh node: its seconds, the seconds before its first byte, and the bytes of each source."""
    folder = tempfile.mkdtemp(dir=world["folder"], prefix="consumer-")
    run(options.node, "init", "--dir", folder)
    node = Node(world["consumer"], folder, options, "/ip4/0.0.0.0/tcp/0", [f"--trust-genesis={world['genesis']}"])
    try:
        node.ask("GET", "/p2p/snapshots")
        begun = time.monotonic()
        session = node.ask("POST", "/p2p/snapshots", body)["session"]
        first = None
        while True:
            status = node.ask("GET", f"/p2p/snapshots/{session}")
            now = time.monotonic() - begun
            if first is None and status["bytes_verified"]:
                first = now
            if dies and status["bytes_verified"] * 2 > (status.get("total_bytes") or 1 << 62):
                dies.kill()
                dies = None
            if status["state"] == "complete" and status["verified"]:
                gave = [(source["kind"], source["bytes_verified"], source["bytes_wasted"]) for source in status["sources"]]
                return now, first or 0.0, gave
            if status["state"] == "failed":
                sys.exit(f"it failed: {status['error']}")
            time.sleep(0.02)
    finally:
        node.kill()
        shutil.rmtree(folder)


def aria2(world, urls):
    folder = tempfile.mkdtemp(dir=world["folder"], prefix="aria2-")
    begun = time.monotonic()
    run("ip", "netns", "exec", world["consumer"], "aria2c", "--quiet", "--dir", folder, "--split=2", "--min-split-size=1M",
        "--max-connection-per-server=1", "--file-allocation=none", "--out=payload", *[f"{url}{world['root']}/payload" for url in urls])
    took = time.monotonic() - begun
    shutil.rmtree(folder)
    return took, 0.0, []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--mib", type=int, default=96)
    parser.add_argument("--mbit", type=int, default=100)
    parser.add_argument("--rtt-ms", type=int, default=50)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--chunk-kib", type=int, default=256)
    parser.add_argument("--node", default=os.path.join(HERE, "../target/release/rpp-node"))
    parser.add_argument("--bench", default=os.path.join(HERE, "target/release/rpp-bench"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("sources.py makes network namespaces and TUN devices: run it as root")
    cases = options.cases or CASES
    world = {"folder": tempfile.mkdtemp(prefix="rpp-sources-"), "consumer": f"rpb-c-{os.getpid()}"}
    links, nodes, web = [], {}, []
    try:
        run("ip", "netns", "add", world["consumer"])
        run("ip", "-n", world["consumer"], "link", "set", "lo", "up")
        # 1 and 2 are alike, 3 is ten times slower.
        links = [Link(1, world["consumer"], options.mbit, options), Link(2, world["consumer"], options.mbit, options),
                 Link(3, world["consumer"], options.mbit // 10, options)]
        first = os.path.join(world["folder"], "source-1")
        run(options.node, "init", "--publisher", "--dir", first)
        data = os.path.join(world["folder"], "input")
        with open(data, "wb") as file:
            for _ in range(options.mib):
                file.write(os.urandom(1 << 20))
        config = os.path.join(first, "node.toml")
        published = json.loads(run(options.node, "publish", "--config", config, "--height", "1", "--json", data))
        os.remove(data)
        world["root"], world["genesis"] = published["root"], published["genesis"]
        mirror = os.path.join(world["folder"], "mirror")
        run(options.node, "mirror", "--config", config, f"file://{mirror}")
        store = os.path.join("data", "snapshots", "store")
        for number in (2, 3):
            folder = os.path.join(world["folder"], f"source-{number}")
            run(options.node, "init", "--dir", folder)
            os.makedirs(os.path.join(folder, store), exist_ok=True)
            run("cp", "-r", os.path.join(first, store, world["root"]), os.path.join(folder, store))

        def start(number):
            link = links[number - 1]
            listen = f"/ip4/{link.address}/tcp/7000"
            nodes[number] = Node(link.name, os.path.join(world["folder"], f"source-{number}"), options, listen)

        for number in (1, 2, 3):
            start(number)
        for number in (1, 2):
            link = links[number - 1]
            path = os.path.join(world["folder"], f"nginx-{number}.conf")
            with open(path, "w") as file:
                file.write(f"daemon off; pid {path}.pid; error_log {path}.log; worker_processes 1; user root;\n"
                           f"events {{}} http {{ access_log off; client_body_temp_path {path}.d; proxy_temp_path {path}.e;\n"
                           f"fastcgi_temp_path {path}.f; uwsgi_temp_path {path}.g; scgi_temp_path {path}.h;\n"
                           f"server {{ listen {link.address}:8000; root {mirror}; }} }}\n")
            if "mirrors" in cases:
                web.append(subprocess.Popen(["ip", "netns", "exec", link.name, "nginx", "-c", path]))
        time.sleep(1)
        peer = lambda number: nodes[number].address
        body = lambda *peers: {"peers": [peer(number) for number in peers], "chunk_size": options.chunk_kib << 10}
        urls = [f"http://{links[number].address}:8000/" for number in (0, 1)]
        results = {}
        for turn in range(options.repetitions):
            def note(name, result):
                results.setdefault(name, []).append(result)
                print(f"{turn + 1}: {name}: {result[0]:.2f} s, first byte after {result[1]:.2f} s, {result[2]}", file=sys.stderr)
            if {"one", "two", "slow", "dead"} & set(cases):
                note("one", fetch(world, options, body(1)))
            if "two" in cases or "dead" in cases:
                note("two", fetch(world, options, body(1, 2)))
            if "slow" in cases:
                note("slow", fetch(world, options, body(3, 1, 2)))
            if "dead" in cases:
                note("dead", fetch(world, options, body(1, 2), dies=nodes[2]))
                start(2)
            if "mirrors" in cases:
                note("mirrors", fetch(world, options, {"mirrors": urls, "chunk_size": options.chunk_kib << 10}))
                note("aria2c", aria2(world, urls))
        median = {name: statistics.median(result[0] for result in of) for name, of in results.items()}
        streaming = {name: statistics.median(result[0] - result[1] for result in of) for name, of in results.items()}
        if options.json:
            print(json.dumps({"mib": options.mib, "mbit": options.mbit, "rtt_ms": options.rtt_ms, "seconds": median,
                              "after_the_first_byte": streaming}))
            return
        print(f"{options.mib} MiB, {options.mbit} Mbit/s and {options.rtt_ms} ms a link, medians of {options.repetitions}, "
              f"load {os.getloadavg()[0]:.1f}\n")
        print("| case | seconds | after the first byte | MB/s | times one |\n|---|---|---|---|---|")
        for name, seconds in median.items():
            rate = options.mib * 1.048576 / seconds
            times = f"{median['one'] / seconds:.2f}" if "one" in median else ""
            print(f"| {name} | {seconds:.2f} | {streaming[name]:.2f} | {rate:.1f} | {times} |")
        if "aria2c" in median:
            print(f"\nmirrors, times aria2c: {median['aria2c'] / median['mirrors']:.2f}, after the first byte "
                  f"{median['aria2c'] / streaming['mirrors']:.2f}")
        if "dead" in median:
            left = median["two"] + (median["one"] - median["two"]) * 0.5
            print(f"\na provider that dies half-way costs {median['dead'] - left:.2f} s more than the other one needs for its part")
    finally:
        for node in nodes.values():
            if node.process.poll() is None:
                node.kill()
        for server in web:
            server.send_signal(signal.SIGQUIT)
        for link in links:
            link.end()
        subprocess.run(["ip", "netns", "del", world["consumer"]], stderr=subprocess.DEVNULL)
        shutil.rmtree(world["folder"], ignore_errors=True)


if __name__ == "__main__":
    main()
