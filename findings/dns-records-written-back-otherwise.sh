#!/usr/bin/env bash
# Ten DNS libraries read a dot within a label as the end of the label and write another name; four of npm write other or empty records.
#
# Guess: RFC 1035 (3.1) a label is a length and that many bytes, a dot among them, which (5.1) is written "\." as text, as in the mailbox of
# an SOA record (3.3.13); RFC 6763 (4.1.1, 4.3) the name of a service is one label of UTF-8 text, in which dots are allowed and escaped as
# text. RFC 1035 (3.3.14) TXT strings are bytes. So what a library reads of a valid answer it writes back as the same records.
#
# Seen 2026-11-30: answers made by dnspython 2.8.0 (PyPI), read and written back, and read by dnspython, which finds its own records again,
# as it does those of dnslib 0.9.26 (PyPI); and no error:
#
#   the service "Node v1.2"                 dns-packet 5.6.1, @dnsquery/dns-packet 6.1.1, @leichtgewicht/dns-packet 6.0.3, dns2 3.0.0, dns-js
#                                           0.3.1, mdns-js-packet 0.2.0 and native-dns-packet 0.1.1 of npm, zeroconf 0.154.0 of PyPI: two
#                                           labels, "Node v1" and "2", in PTR and SRV records
#   what service browsers find of it        bonjour-service 1.4.4 and bonjour-hap 3.10.5 of npm: the name "Node v1", the type "2" and the
#                                           protocol "snapshots"
#   the mailbox first\.last.example.com     the same libraries, but dns-packet has it right here, and zeroconf has no SOA records
#   the service "Büro"                      native-dns-packet: "BC<ro", and so it writes it; dns2 reads each byte as a character
#   a TXT record of the bytes ff 00         dns2, native-dns-packet: ef bf bd 00
#   a TXT record of "one" and "two"         dns-js, mdns-js-packet: "0=one" and "1=two"
#   an AAAA, an MX record                   dns-js, mdns-js-packet: a record of no bytes
#
# So a service has no dot in its name, and neither has what stands before the "@" of its SOA record's mailbox.
#
# Needs node with npm, python3 with venv, a minute, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . dns-packet@5.6.1 @dnsquery/dns-packet@6.1.1 @leichtgewicht/dns-packet@6.0.3 \
  dns2@3.0.0 dns-js@0.3.1 mdns-js-packet@0.2.0 native-dns-packet@0.1.1 bonjour-service@1.4.4 bonjour-hap@3.10.5 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check dnspython==2.8.0 dnslib==0.9.26 zeroconf==0.154.0
cat > cases <<'CASES'
service _snapshots._tcp.local. 120 IN PTR Node._snapshots._tcp.local.
service _snapshots._tcp.local. 120 IN PTR Node\032v1\.2._snapshots._tcp.local.
service Node\032v1\.2._snapshots._tcp.local. 120 IN SRV 0 0 7000 one.local.
service _snapshots._tcp.local. 120 IN PTR B\195\188ro._snapshots._tcp.local.
zone example.com. 3600 IN SOA ns.example.com. host.example.com. 1 86400 7200 604800 300
zone example.com. 3600 IN SOA ns.example.com. first\.last.example.com. 1 86400 7200 604800 300
zone example.com. 3600 IN TXT "one" "two"
zone example.com. 3600 IN TXT "\255\000"
zone example.com. 3600 IN AAAA 2001:db8::1
zone example.com. 3600 IN MX 10 mail.example.com.
CASES
cat > make.py <<'PY'
import dns.flags, dns.message, dns.rrset
with open("answers", "w") as file:
    for line in open("cases"):
        kind, name, ttl, _, rdtype, data = line.rstrip("\n").split(" ", 5)
        message = dns.message.make_response(dns.message.make_query(name, rdtype, id=1))
        message.answer.append(dns.rrset.from_text(name, int(ttl), "IN", rdtype, data))
        file.write(f"{message.to_wire().hex()}\n")
service = dns.message.Message(id=0)
service.flags = dns.flags.QR | dns.flags.AA
name = r"Node\032v1\.2._snapshots._tcp.local."
service.answer.append(dns.rrset.from_text("_snapshots._tcp.local.", 120, "IN", "PTR", name))
service.additional.append(dns.rrset.from_text(name, 120, "IN", "SRV", "0 0 7000 one.local."))
service.additional.append(dns.rrset.from_text(name, 120, "IN", "TXT", '"a=b"'))
service.additional.append(dns.rrset.from_text("one.local.", 120, "IN", "A", "127.0.0.1"))
open("service", "wb").write(service.to_wire())
PY
cat > write.mjs <<'JS'
import { appendFileSync, readFileSync } from 'node:fs'
import dnsPacket from 'dns-packet'
import * as dnsquery from '@dnsquery/dns-packet'
import * as leichtgewicht from '@leichtgewicht/dns-packet'
import dns2 from 'dns2'
import dnsJs from 'dns-js'
import mdnsJs from 'mdns-js-packet'
import native from 'native-dns-packet'
const nativeWrite = message => {
  const buffer = Buffer.alloc(4096)
  return buffer.subarray(0, native.write(buffer, message))
}
const libraries = {
  'dns-packet': [dnsPacket.decode, dnsPacket.encode],
  '@dnsquery/dns-packet': [dnsquery.decode, dnsquery.encode],
  '@leichtgewicht/dns-packet': [leichtgewicht.decode, leichtgewicht.encode],
  'dns2': [bytes => dns2.Packet.parse(bytes), message => message.toBuffer()],
  'dns-js': [dnsJs.DNSPacket.parse, dnsJs.DNSPacket.toBuffer],
  'mdns-js-packet': [mdnsJs.DNSPacket.parse, mdnsJs.DNSPacket.toBuffer],
  'native-dns-packet': [native.parse, nativeWrite]
}
const cases = readFileSync('cases', 'utf8').trim().split('\n')
readFileSync('answers', 'utf8').trim().split('\n').forEach((answer, i) => {
  for (const [name, [read, write]] of Object.entries(libraries)) {
    const message = read(Buffer.from(answer, 'hex'))
    const [{ data, domain }] = message.answers || message.answer
    if (cases[i].includes('195')) console.log(`the service of ${cases[i].split(' ')[5]} as ${name} tells it: ${data || domain}`)
    let written = 'error'
    try {
      written = Buffer.from(write(message)).toString('hex')
    } catch {}
    appendFileSync('written', `${i} ${name} ${written}\n`)
  }
})
JS
cat > browse.cjs <<'JS'
const dgram = require('node:dgram')
const { readFileSync } = require('node:fs')
const name = process.argv[2]
const library = require(name)
const free = dgram.createSocket('udp4').bind(0, '127.0.0.1', () => {
  const { port } = free.address()
  free.close(() => {
    const options = { port, ip: '127.0.0.1', interface: '127.0.0.1', multicast: false, loopback: false }
    const finder = library.Bonjour ? new library.Bonjour(options) : library(options)
    finder.find({ type: 'snapshots' }, found => {
      console.log(`the service Node v1.2 as ${name} finds it: name ${found.name}, type ${found.type}, protocol ${found.protocol}`)
      process.exit()
    })
    const sender = dgram.createSocket('udp4')
    let sent = 0
    setInterval(() => sent++ < 150 ? sender.send(readFileSync('service'), port, '127.0.0.1') : process.exit(2), 200)
  })
})
JS
cat > show.py <<'PY'
import dns.message, dnslib
from zeroconf import DNSIncoming, DNSOutgoing
cases = open("cases").read().splitlines()
answers = [bytes.fromhex(line) for line in open("answers")]
written = [line.split() for line in open("written")]

def zeroconf(answer):
    out = DNSOutgoing(0x8400)
    for record in DNSIncoming(answer).answers():
        record.created += 1000
        out.add_answer_at_time(record, 0)
    return out.packets()[0]

for i, case in enumerate(cases):
    kind, record = case.split(" ", 1)
    print(record)
    copies = [("dnspython", dns.message.from_wire(answers[i]).to_wire().hex()), ("dnslib", dnslib.DNSRecord.parse(answers[i]).pack().hex())]
    if kind == "service":
        copies.append(("zeroconf", zeroconf(answers[i]).hex()))
    copies += [(name, data) for number, name, data in written if number == str(i)]
    for name, data in copies:
        if data == "error":
            seen = "an error"
        else:
            try:
                seen = str(dns.message.from_wire(bytes.fromhex(data)).answer[0])
            except dns.exception.DNSException:
                seen = f"no {record.split()[3]} record, but {data[-40:]}"
        print(f"  {name}: {'the same' if seen == record else seen}")
PY
venv/bin/python make.py
{ node write.mjs; for name in bonjour-service bonjour-hap; do node browse.cjs $name || echo "$name: nothing"; done; venv/bin/python show.py; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
the service of B\195\188ro._snapshots._tcp.local. as dns-packet tells it: Büro._snapshots._tcp.local
the service of B\195\188ro._snapshots._tcp.local. as @dnsquery/dns-packet tells it: Büro._snapshots._tcp.local
the service of B\195\188ro._snapshots._tcp.local. as @leichtgewicht/dns-packet tells it: Büro._snapshots._tcp.local
the service of B\195\188ro._snapshots._tcp.local. as dns2 tells it: BÃ¼ro._snapshots._tcp.local
the service of B\195\188ro._snapshots._tcp.local. as dns-js tells it: Büro._snapshots._tcp.local
the service of B\195\188ro._snapshots._tcp.local. as mdns-js-packet tells it: Büro._snapshots._tcp.local
the service of B\195\188ro._snapshots._tcp.local. as native-dns-packet tells it: BC<ro._snapshots._tcp.local
the service Node v1.2 as bonjour-service finds it: name Node v1, type 2, protocol snapshots
the service Node v1.2 as bonjour-hap finds it: name Node v1, type 2, protocol snapshots
_snapshots._tcp.local. 120 IN PTR Node._snapshots._tcp.local.
  dnspython: the same
  dnslib: the same
  zeroconf: the same
  dns-packet: the same
  @dnsquery/dns-packet: the same
  @leichtgewicht/dns-packet: the same
  dns2: the same
  dns-js: the same
  mdns-js-packet: the same
  native-dns-packet: the same
_snapshots._tcp.local. 120 IN PTR Node\032v1\.2._snapshots._tcp.local.
  dnspython: the same
  dnslib: the same
  zeroconf: _snapshots._tcp.local. 120 IN PTR Node\032v1.2._snapshots._tcp.local.
  dns-packet: _snapshots._tcp.local. 120 IN PTR Node\032v1.2._snapshots._tcp.local.
  @dnsquery/dns-packet: _snapshots._tcp.local. 120 IN PTR Node\032v1.2._snapshots._tcp.local.
  @leichtgewicht/dns-packet: _snapshots._tcp.local. 120 IN PTR Node\032v1.2._snapshots._tcp.local.
  dns2: _snapshots._tcp.local. 120 IN PTR Node\032v1.2._snapshots._tcp.local.
  dns-js: _snapshots._tcp.local. 120 IN PTR Node\032v1.2._snapshots._tcp.local.
  mdns-js-packet: _snapshots._tcp.local. 120 IN PTR Node\032v1.2._snapshots._tcp.local.
  native-dns-packet: _snapshots._tcp.local. 120 IN PTR Node\032v1.2._snapshots._tcp.local.
Node\032v1\.2._snapshots._tcp.local. 120 IN SRV 0 0 7000 one.local.
  dnspython: the same
  dnslib: the same
  zeroconf: Node\032v1.2._snapshots._tcp.local. 120 IN SRV 0 0 7000 one.local.
  dns-packet: Node\032v1.2._snapshots._tcp.local. 120 IN SRV 0 0 7000 one.local.
  @dnsquery/dns-packet: Node\032v1.2._snapshots._tcp.local. 120 IN SRV 0 0 7000 one.local.
  @leichtgewicht/dns-packet: Node\032v1.2._snapshots._tcp.local. 120 IN SRV 0 0 7000 one.local.
  dns2: Node\032v1.2._snapshots._tcp.local. 120 IN SRV 0 0 7000 one.local.
  dns-js: Node\032v1.2._snapshots._tcp.local. 120 IN SRV 0 0 7000 one.local.
  mdns-js-packet: Node\032v1.2._snapshots._tcp.local. 120 IN SRV 0 0 7000 one.local.
  native-dns-packet: Node\032v1.2._snapshots._tcp.local. 120 IN SRV 0 0 7000 one.local.
_snapshots._tcp.local. 120 IN PTR B\195\188ro._snapshots._tcp.local.
  dnspython: the same
  dnslib: the same
  zeroconf: the same
  dns-packet: the same
  @dnsquery/dns-packet: the same
  @leichtgewicht/dns-packet: the same
  dns2: the same
  dns-js: the same
  mdns-js-packet: the same
  native-dns-packet: _snapshots._tcp.local. 120 IN PTR BC<ro._snapshots._tcp.local.
example.com. 3600 IN SOA ns.example.com. host.example.com. 1 86400 7200 604800 300
  dnspython: the same
  dnslib: the same
  dns-packet: the same
  @dnsquery/dns-packet: the same
  @leichtgewicht/dns-packet: the same
  dns2: the same
  dns-js: the same
  mdns-js-packet: the same
  native-dns-packet: the same
example.com. 3600 IN SOA ns.example.com. first\.last.example.com. 1 86400 7200 604800 300
  dnspython: the same
  dnslib: the same
  dns-packet: the same
  @dnsquery/dns-packet: example.com. 3600 IN SOA ns.example.com. first.last.example.com. 1 86400 7200 604800 300
  @leichtgewicht/dns-packet: example.com. 3600 IN SOA ns.example.com. first.last.example.com. 1 86400 7200 604800 300
  dns2: example.com. 3600 IN SOA ns.example.com. first.last.example.com. 1 86400 7200 604800 300
  dns-js: example.com. 3600 IN SOA ns.example.com. first.last.example.com. 1 86400 7200 604800 300
  mdns-js-packet: example.com. 3600 IN SOA ns.example.com. first.last.example.com. 1 86400 7200 604800 300
  native-dns-packet: example.com. 3600 IN SOA ns.example.com. first.last.example.com. 1 86400 7200 604800 300
example.com. 3600 IN TXT "one" "two"
  dnspython: the same
  dnslib: the same
  dns-packet: the same
  @dnsquery/dns-packet: the same
  @leichtgewicht/dns-packet: the same
  dns2: the same
  dns-js: example.com. 3600 IN TXT "0=one" "1=two"
  mdns-js-packet: example.com. 3600 IN TXT "0=one" "1=two"
  native-dns-packet: the same
example.com. 3600 IN TXT "\255\000"
  dnspython: the same
  dnslib: the same
  dns-packet: the same
  @dnsquery/dns-packet: the same
  @leichtgewicht/dns-packet: the same
  dns2: example.com. 3600 IN TXT "\239\191\189\000"
  dns-js: example.com. 3600 IN TXT "0=\239\191\189\000"
  mdns-js-packet: example.com. 3600 IN TXT "0=\239\191\189\000"
  native-dns-packet: example.com. 3600 IN TXT "\239\191\189\000"
example.com. 3600 IN AAAA 2001:db8::1
  dnspython: the same
  dnslib: the same
  dns-packet: the same
  @dnsquery/dns-packet: the same
  @leichtgewicht/dns-packet: the same
  dns2: the same
  dns-js: no AAAA record, but 636f6d00001c0001c00c001c000100000e100000
  mdns-js-packet: no AAAA record, but 636f6d00001c0001c00c001c000100000e100000
  native-dns-packet: the same
example.com. 3600 IN MX 10 mail.example.com.
  dnspython: the same
  dnslib: the same
  dns-packet: the same
  @dnsquery/dns-packet: the same
  @leichtgewicht/dns-packet: the same
  dns2: the same
  dns-js: no MX record, but 636f6d00000f0001c00c000f000100000e100000
  mdns-js-packet: no MX record, but 636f6d00000f0001c00c000f000100000e100000
  native-dns-packet: the same
SEEN
