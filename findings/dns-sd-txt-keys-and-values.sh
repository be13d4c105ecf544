#!/usr/bin/env bash
# bonjour joins all strings of a service's TXT record into one key and value, bonjour-service hands out other keys and other values.
#
# Guess: RFC 6763 (6.4, 6.5) says what a client of DNS-SD makes of a TXT record: of a key that comes more than once, in any case of its
# letters, the first counts; a string without "=" is a key that is there, one that ends in "=" a key with an empty value; values are bytes.
#
# Seen with one answer of a service on loopback, 2026-11-29; all are of npm but zeroconf (PyPI), and none tells an error:
#
#   strings                     bonjour-service 1.4.4         bonjour-hap 3.10.5   zeroconf 0.154.0       bonjour 3.5.1
#   first=1, First=2, first=3   first: 3, First: 2            first: 1             first: 1, First: 2     one key "irst", and all that
#   x                           left out                      x: true              x: no value            follows as its value
#   flag                        flag: undefined               flag: true           flag: no value
#   empty=                      a key "empty=", undefined     empty: ""            empty: ""
#   bytes=ff 00 80              U+FFFD, 0, U+FFFD             the same             ff 00 80
#
# So a key is written once, in small letters, with a value of ASCII text that is not empty; and what a stranger reads of it is tried.
#
# Needs python3 with venv, node with npm, and network for the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check zeroconf==0.154.0
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . bonjour-service@1.4.4 bonjour@3.5.1 bonjour-hap@3.10.5 dns-packet@5.6.1 >/dev/null
cat > read.py <<'PY'
from zeroconf import ServiceInfo
STRINGS = [b"first=1", b"First=2", b"first=3", b"x", b"flag", b"empty=", b"bytes=\xff\x00\x80"]
record = b"".join(bytes([len(string)]) + string for string in STRINGS)
service = ServiceInfo("_snapshots._tcp.local.", "one._snapshots._tcp.local.", port=7000, properties=record)
print("zeroconf:", ", ".join(f"{key.decode()}: {value}" for key, value in service.properties.items()))
PY
cat > read.cjs <<'JS'
const dgram = require('dgram')
const packet = require('dns-packet')
const name = process.argv[2]
const library = require(name)
const type = '_snapshots._tcp.local'
const service = `one.${type}`
const strings = ['first=1', 'First=2', 'first=3', 'x', 'flag', 'empty=', 'bytes=\xff\0\x80'].map(string => Buffer.from(string, 'latin1'))
const answer = packet.encode({
  type: 'response',
  flags: packet.AUTHORITATIVE_ANSWER,
  answers: [{ name: type, type: 'PTR', ttl: 120, data: service }],
  additionals: [
    { name: service, type: 'SRV', ttl: 120, data: { port: 7000, target: 'one.local' } },
    { name: service, type: 'TXT', ttl: 120, data: strings },
    { name: 'one.local', type: 'A', ttl: 120, data: '127.0.0.1' }
  ]
})
const ascii = text => JSON.stringify(text).replace(/[^ -~]/g, one => '\\u' + one.charCodeAt(0).toString(16).padStart(4, '0'))
const free = dgram.createSocket('udp4').bind(0, '127.0.0.1', () => {
  const { port } = free.address()
  free.close(() => {
    const options = { port, ip: '127.0.0.1', interface: '127.0.0.1', multicast: false, loopback: false }
    const finder = library.Bonjour ? new library.Bonjour(options) : library(options)
    finder.find({ type: 'snapshots' }, found => {
      const shown = Object.entries(found.txt).map(([key, value]) => `${key}: ${value === undefined ? 'undefined' : ascii(value)}`)
      console.log(`${name}: ${shown.join(', ')}`)
      process.exit()
    })
    const sender = dgram.createSocket('udp4')
    let sent = 0
    setInterval(() => sent++ < 50 ? sender.send(answer, port, '127.0.0.1') : process.exit(2), 200)
  })
})
JS
{ venv/bin/python read.py; for name in bonjour-service bonjour bonjour-hap; do node read.cjs $name || echo "$name: nothing"; done; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
zeroconf: first: b'1', First: b'2', x: None, flag: None, empty: b'', bytes: b'\xff\x00\x80'
bonjour-service: first: "3", First: "2", flag: undefined, empty=: undefined, bytes: "\ufffd\u0000\ufffd"
bonjour: irst: "1First=2first=3xflagempty=bytes=\ufffd\u0000\ufffd"
bonjour-hap: first: "1", x: true, flag: true, empty: "", bytes: "\ufffd\u0000\ufffd"
SEEN
