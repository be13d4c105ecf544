#!/usr/bin/env bash
# Eight NTP and SNTP clients of npm and PyPI tell other times than the server: 1903 for 2040, 1900 for "ask less often", a wrong part of
# the second each time, a clock that is right as 0.5 s wrong, and a precision of 10^71 s, with no error.
#
# Guess: RFC 4330 has times after 7 February 2036 with the first bit 0, and RFC 5905 takes differences of 64 bits, so that the era
# does not matter; an answer of stratum 0 tells no time, but why there is none (in both; RATE asks for fewer requests);
# the precision is an exponent of 8 bits with a sign (RFC 5905, 7.3); the offset is ((T2 - T1) + (T3 - T4)) / 2, so delays that are equal in both
# directions cancel out; and a server copies the time of a request into its answer as it is (7.3, origin timestamp). So a client of such a
# server knows the time to the delay of the network.
#
# Seen 2026-12-01 with a server on loopback; chumicro-ntp 0.15.3 of PyPI tells the right second in all cases, and none for RATE:
#
#   2040-01-01 00:00:00.25         ntp-client 0.5.3, ntpclient 1.16.1, @hapi/sntp 4.0.0, ntp-time 2.1.1, ntp-time-sync 0.5.0 and
#                                  ntplib 0.4.0: 1903-11-25 17:31:44; python-ntp 1.0.0 has an offset of as much
#   2030-06-01 12:00:00.25         @destinationstransfers/ntp 2.0.0: 12:00:00.958, since it takes the seconds of another field for the
#                                  fraction, so each time of a day comes with about the same one
#   stratum 0, RATE                ntp-client, ntpclient, @destinationstransfers/ntp: 1900-01-01, as if it was the time; ntp-time, too, and
#                                  reads the stratum as 2; @hapi/sntp and ntplib tell the stratum with it, so that one can see it
#   a right clock, 0.5 s of delay  ntp-time-sync: 0.5 s off, since it adds the absolute values, and it moves its time by that; the others
#   in both directions             that tell an offset tell 0
#   precision -20                  ntp-time reads 236, @hapi/sntp 1.1e74 ms
#   a request at x.75 s            ntp-time's server, as its documentation has it, answers with x.00 as the time of the request
#
# So a node should not set its clock, or date its snapshots, by such a client without a look at the answer's stratum and at its own clock.
#
# Needs node with npm, python3 with venv, a minute, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
for program in node npm python3; do command -v "$program" >/dev/null || { echo "$program is missing"; exit 2; }; done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export TZ=UTC
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . ntp-client@0.5.3 @destinationstransfers/ntp@2.0.0 ntpclient@1.16.1 \
  @hapi/sntp@4.0.0 ntp-time@2.1.1 ntp-time-sync@0.5.0 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check ntplib==0.4.0 python-ntp==1.0.0 chumicro-ntp==0.15.3 >pip.log 2>&1 ||
  { cat pip.log; exit 2; }
cat > clients.mjs <<'JS'
import { createSocket } from 'node:dgram'
import { createRequire } from 'node:module'
import { NTPClient } from 'ntpclient'
const require = createRequire(import.meta.url)
const { getNetworkTime } = require('ntp-client')
const { NtpTimeSync } = require('ntp-time-sync')
const { Client, Server } = require('ntp-time')
const ports = JSON.parse(process.argv[2])
const host = '127.0.0.1'
const iso = time => new Date(time).toISOString()
const clients = {
  'ntp-client': async port => ({
    time: iso(await new Promise((resolve, reject) => getNetworkTime(host, port, (error, time) => error ? reject(error) : resolve(time))))
  }),
  ntpclient: async port => ({ time: iso(await new NTPClient({ server: host, port }).getNetworkTime()) }),
  '@destinationstransfers/ntp': async port => {
    return { time: iso(await require('@destinationstransfers/ntp').getNetworkTime({ server: host, port })) }
  },
  '@hapi/sntp': async port => {
    const { transmitTimestamp, t, stratum, precision } = await require('@hapi/sntp').time({ host, port, timeout: 5000 })
    return { time: iso(transmitTimestamp), offset: t / 1000, stratum, precision: `${precision.toPrecision(2)} ms` }
  },
  'ntp-time': async port => {
    const { time, t, stratum, precision } = await new Client(host, port, { timeout: 5000 }).syncTime()
    return { time: iso(time), offset: t, stratum, precision }
  },
  'ntp-time-sync': async port => {
    const sync = new NtpTimeSync({ servers: [`${host}:${port}`], sampleCount: 1 })
    const { offset } = await sync.getTime(true)
    return { time: iso(sync.samples[0].data.transmitTimestamp), offset: offset / 1000 }
  }
}
const seen = []
for (const [name, port] of Object.entries(ports)) {
  for (const [client, ask] of Object.entries(clients)) {
    const answer = await ask(port).catch(() => null)
    seen.push([name, client, answer])
  }
}
const own = new Server()
own.handle((message, answer) => {
  message.transmitTimestamp = Math.floor(Date.now() / 1000)
  answer(message)
})
own.socket.bind(0, host, () => {
  const client = createSocket('udp4')
  const request = Buffer.alloc(48)
  request[0] = 0x23
  request.writeUInt32BE(3989088000, 40)
  request.writeUInt32BE(0xc0000000, 44)
  client.once('message', answer => {
    console.log(JSON.stringify({ seen, origin: answer.subarray(24, 32).toString('hex') }))
    process.exit()
  })
  client.send(request, own.address().port, host)
})
JS
cat > server.py <<'PY'
import datetime, json, socket, struct, subprocess, textwrap, threading, time
import ntp, ntplib
from chumicro_ntp.core import _parse_response as chumicro

EPOCH = 2208988800

def stamp(seconds):
    return struct.pack("!Q", round((seconds + EPOCH) * 2**32) % 2**64)

def answered(stratum, origin, seconds):
    head = struct.pack("!BBbbII4B", 0x24, stratum, 6, -20, 1024, 2048, 192, 0, 2, 1)
    return head + stamp(seconds - 10) + origin + stamp(seconds) + stamp(seconds)

def unix(text):
    return datetime.datetime.fromisoformat(text + "+00:00").timestamp()

def late(origin):
    time.sleep(0.5)
    now = time.time()
    time.sleep(0.5)
    return answered(2, origin, now)

answers = {
    "2030-06-01 12:00:00.25": lambda origin: answered(2, origin, unix("2030-06-01T12:00:00.250000")),
    "2040-01-01 00:00:00.25": lambda origin: answered(2, origin, unix("2040-01-01T00:00:00.250000")),
    "RATE": lambda origin: bytes([0xe4, 0, 6, 0xec]) + bytes(8) + b"RATE" + bytes(8) + origin + bytes(16),
    "now, with 0.5 s of delay in both directions": late,
}
ports = {}
for name, use in answers.items():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    ports[name] = server.getsockname()[1]

    def serve(server=server, use=use):
        while True:
            request, sender = server.recvfrom(100)
            server.sendto(use(request[40:48]), sender)

    threading.Thread(target=serve, daemon=True).start()

def exchange(port, request):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(request, ("127.0.0.1", port))
        return client.recv(100)

def iso(seconds):
    time = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return time.isoformat(timespec="milliseconds") + "Z"

def by_ntplib(port):
    answer = ntplib.NTPClient().request("127.0.0.1", version=4, port=port)
    return {"time": iso(answer.tx_time), "offset": answer.offset, "stratum": answer.stratum, "precision": answer.precision}

def by_python_ntp(port):
    association = ntp.NtpAssociation(address="127.0.0.1", port=port)
    association.process_response(exchange(port, association.prepare_request()))
    return {"offset": association.state.offset, "stratum": association.incoming.stratum, "precision": association.incoming.precision}

def by_chumicro(port):
    return {"time": iso(chumicro(exchange(port, b"\x23" + bytes(39) + stamp(time.time()))))}

run = subprocess.run(["node", "--no-deprecation", "clients.mjs", json.dumps(ports)], check=True, capture_output=True, text=True)
node = json.loads(run.stdout.splitlines()[-1])
for name, port in ports.items():
    values = [(client, answer) for case, client, answer in node["seen"] if case == name]
    for client, ask in {"ntplib": by_ntplib, "python-ntp": by_python_ntp, "chumicro-ntp": by_chumicro}.items():
        try:
            values.append((client, ask(port)))
        except Exception:
            values.append((client, None))
    print(name)
    told = {}
    for client, answer in values:
        if answer is None:
            text = "an error"
        elif name.startswith("now"):
            text = f"{abs(round(answer['offset'] / 0.5)) * 0.5:.1f} s off" if "offset" in answer else ""
        elif "time" in answer:
            text = answer["time"]
        else:
            years = (answer["offset"] + time.time() - unix(f"{name}0000".replace(" ", "T"))) / 31556952
            text = "the same by its offset" if abs(years) < 1e-7 else f"{years:.0f} years off by its offset"
        if name == "RATE" and answer and "stratum" in answer:
            text += f", stratum {answer['stratum']}"
        if text:
            told.setdefault(text, []).append(client)
    for text in told:
        print(textwrap.fill(f"{text}: {', '.join(told[text])}", 140, initial_indent="  ", subsequent_indent="      "))
    if name.startswith("2030"):
        for client, answer in values:
            if answer and "precision" in answer:
                print(f"  precision: {answer['precision']}: {client}")
print(f"a request at {3989088000:08x}c0000000: ntp-time's server copies its time as {node['origin']}")
PY
venv/bin/python server.py | tee seen
diff seen - <<'SEEN' && echo "as it was"
2030-06-01 12:00:00.25
  2030-06-01T12:00:00.250Z: ntp-client, ntpclient, @hapi/sntp, ntp-time, ntp-time-sync, ntplib
  2030-06-01T12:00:00.958Z: @destinationstransfers/ntp
  the same by its offset: python-ntp
  2030-06-01T12:00:00.000Z: chumicro-ntp
  precision: 1.1e+74 ms: @hapi/sntp
  precision: 236: ntp-time
  precision: -20: ntplib
  precision: -20: python-ntp
2040-01-01 00:00:00.25
  1903-11-25T17:31:44.250Z: ntp-client, ntpclient, @hapi/sntp, ntp-time, ntp-time-sync, ntplib
  1903-11-25T17:31:44.028Z: @destinationstransfers/ntp
  -136 years off by its offset: python-ntp
  2040-01-01T00:00:00.000Z: chumicro-ntp
RATE
  1900-01-01T00:00:00.000Z: ntp-client, ntpclient, @destinationstransfers/ntp
  1900-01-01T00:00:00.000Z, stratum death: @hapi/sntp
  1900-01-01T00:00:00.000Z, stratum 2: ntp-time
  an error: ntp-time-sync, python-ntp, chumicro-ntp
  1900-01-01T00:00:00.000Z, stratum 0: ntplib
now, with 0.5 s of delay in both directions
  0.0 s off: @hapi/sntp, ntp-time, ntplib, python-ntp
  0.5 s off: ntp-time-sync
a request at edc4a700c0000000: ntp-time's server copies its time as edc4a70000000000
SEEN
