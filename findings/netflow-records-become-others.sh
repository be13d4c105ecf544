#!/usr/bin/env bash
# Five NetFlow and IPFIX readers of PyPI and npm swap addresses, shift times by 70 years, invent records or lose them, with no error.
#
# Guess: NetFlow 9 (RFC 3954) has template ids that are unique for one Source ID (5.1, 5.2), sets of one or more option templates (2), scopes
# with numbers of their own, 1 for the system (6.1), and records one after another, with padding only at the end of a set (5.3, 6.2). IPFIX
# (RFC 7011) has the same for its domains (3.4.1), numbers of fields for each enterprise (3.2), of which 29305 means the other direction (RFC
# 5103, 6.1), and times in microseconds from 1900 on (6.1.9). So all readers find the same records.
#
# Seen 2026-11-30 with netflow 0.12.2, scapy 2.8.0, ipfix 0.9.7 and netflume 0.6.0 of PyPI, and node-netflowv9 0.2.16 of npm; each case is read
# right by at least one of them:
#
#   one template id, two domains    netflow, scapy, node-netflowv9: source and destination are swapped, by the template of the other domain
#   option records of 6 bytes       netflow: zeros in the second, from 2 bytes too far; scapy: the second is padding
#   one of 7 bytes, 1 of padding    netflow: two records, the second made of the padding and the next set
#   two option templates in a set   node-netflowv9: no record of either (netflow and scapy report an error)
#   records of 2 bytes              netflow: the last one is missing
#   the system as scope             netflume, scapy: take its number for octets
#   field 8 of an enterprise        netflow: takes it for the source address
#   40 octets and 1000 back         netflow: 1000 octets (only one of the two numbers is left, and which one depends on them)
#   10:00:00.5, in microseconds     ipfix: of the year 2096; it writes times 70 years too early, too
#
# The mistakes look like traffic: nothing tells a swapped or an invented flow from a real one.
#
# Needs node with npm, python3 with venv, a minute, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . node-netflowv9@0.2.16 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check netflow==0.12.2 scapy==2.8.0 netflume==0.6.0
venv/bin/pip install --quiet --disable-pip-version-check ipfix==0.9.7
cat > write.py <<'PY'
import datetime, json, struct, warnings
warnings.simplefilter("ignore")
import ipfix
import ipfix.ie, ipfix.message, ipfix.template
SECONDS = 1796032800

def one(id, body, padding=0):
    return struct.pack("!HH", id, 4 + len(body) + padding) + body + bytes(padding)

def v9(source, *sets):
    return struct.pack("!HHIIII", 9, len(sets), 1000, SECONDS, 0, source) + b"".join(sets)

def v10(domain, *sets):
    body = b"".join(sets)
    return struct.pack("!HHIII", 10, 16 + len(body), SECONDS, 0, domain) + body

def fields(entries):
    return b"".join(struct.pack("!HHI", 0x8000 | entry[0], *entry[1:]) if len(entry) > 2 else struct.pack("!HH", *entry) for entry in entries)

def template(*entries):
    return struct.pack("!HH", 256, len(entries)) + fields(entries)

def options(id, scopes, entries):
    return struct.pack("!HHH", id, 4 * len(scopes), 4 * len(entries)) + fields(scopes) + fields(entries)

def flow(octets):
    return bytes([192, 0, 2, 1, 192, 0, 2, 2]) + struct.pack("!I", octets)

SOURCE, TARGET, OCTETS, SYSTEM = (8, 4), (12, 4), (1, 4), (1, 4)
FLOW, SWAPPED = template(SOURCE, TARGET, OCTETS), template(TARGET, SOURCE, OCTETS)
SAMPLER = options(257, [SYSTEM], [(48, 1), (50, 2)])
sampled = b"\0\0\0\5\7" + struct.pack("!H", 100)
ipfix.ie.use_iana_default()
message = ipfix.message.MessageBuffer()
message.begin_export(1)
message.add_template(ipfix.template.for_specs(256, "flowStartMicroseconds"))
message.export_new_set(256)
message.export_namedict({"flowStartMicroseconds": datetime.datetime(2026, 11, 30, 10, 0, 0, 500000)})
messages = {
    "NetFlow 9, two flows": [v9(1, one(0, FLOW), one(256, flow(1000) + flow(2000)))],
    "NetFlow 9, one template id, two domains": [v9(1, one(0, FLOW)), v9(2, one(0, SWAPPED)), v9(1, one(256, flow(1000)))],
    "NetFlow 9, option records of 6 bytes": [
        v9(1, one(1, options(257, [SYSTEM], [(48, 1), (49, 1)]), 2), one(257, b"\0\0\0\5\7\1\0\0\0\6\x08\2"))],
    "NetFlow 9, an option record of 7 bytes, a flow": [
        v9(1, one(0, FLOW), one(1, SAMPLER, 2), one(257, sampled, 1), one(256, flow(1000)))],
    "NetFlow 9, two option templates": [
        v9(1, one(1, SAMPLER + options(258, [SYSTEM], [(34, 4)])), one(257, sampled, 1), one(258, b"\0\0\0\5\0\0\0\x32"))],
    "NetFlow 9, records of 2 bytes": [v9(1, one(0, template((11, 2))), one(256, struct.pack("!HHHH", 80, 443, 22, 53)))],
    "IPFIX, a flow": [v10(1, one(2, FLOW), one(256, flow(1000)))],
    "IPFIX, one template id, two domains": [
        v10(1, one(2, FLOW), one(256, flow(1000))), v10(2, one(2, SWAPPED), one(256, flow(1000))), v10(1, one(256, flow(2000)))],
    "IPFIX, field 8 of an enterprise": [
        v10(1, one(2, template(SOURCE, (8, 4, 32473), OCTETS)), one(256, bytes([192, 0, 2, 1]) + struct.pack("!II", 5, 1000)))],
    "IPFIX, octets in both directions": [v10(1, one(2, template(SOURCE, TARGET, OCTETS, (1, 4, 29305))),
                                            one(256, flow(40) + struct.pack("!I", 1000)))],
    "IPFIX, a time": [v10(1, one(2, template((154, 8))), one(256, struct.pack("!II", SECONDS + 2208988800, 1 << 31)))],
    "IPFIX, the same time, written by ipfix": [message.to_bytes()]}
json.dump({case: [one.hex() for one in several] for case, several in messages.items()}, open("messages", "w"))
PY
cat > read.cjs <<'JS'
const { readFileSync } = require('node:fs')
const Collector = require('node-netflowv9')
for (const [name, messages] of Object.entries(JSON.parse(readFileSync('messages', 'utf8')))) {
  if (name.startsWith('IPFIX')) continue
  const collector = new Collector({})
  for (const message of messages) {
    const bytes = Buffer.from(message, 'hex')
    for (const { fsId, isOption, ...flow } of collector.nfPktDecode(bytes, { address: '192.0.2.9', port: 1, size: bytes.length }).flows) {
      console.log(`${name}|${Object.entries(flow).map(([field, value]) => `${field} ${value}`).join(', ')}`)
    }
  }
}
process.exit()
JS
cat > read.py <<'PY'
import datetime, ipaddress, json, sys, warnings
warnings.simplefilter("ignore")
import ipfix
import ipfix.ie, ipfix.message, netflow, netflume
from scapy.config import conf
from scapy.layers.netflow import NetflowDataflowsetV9, NetflowHeader, netflowv9_defragment
conf.verb = 0
ipfix.ie.use_iana_default()
ipfix.ie.use_5103_default()

def use_netflume(messages):
    store = netflume.TemplateStore()
    for message in messages:
        _, flows, options = netflume.parse_message(message, "192.0.2.9", store)
        yield from flows + options

def use_netflow(messages):
    templates = {"netflow": {}, "ipfix": {}}
    for message in messages:
        packet = netflow.parse_packet(message, templates)
        yield from [flow.data for flow in packet.flows]
        yield from [{**option.scopes, **option.data} for option in getattr(packet, "options", [])]

def use_ipfix(messages):
    buffer = ipfix.message.MessageBuffer()
    for message in messages:
        buffer.from_bytes(message)
        yield from list(buffer.namedict_iterator())

def use_scapy(messages):
    packets = [NetflowHeader(message) for message in messages]
    netflowv9_defragment(packets, verb=0)
    for layer in packets:
        while NetflowDataflowsetV9 in layer:
            layer = layer[NetflowDataflowsetV9]
            for record in layer.records:
                yield {field.name: record.getfieldval(field.name) for field in record.fields_desc}
            layer = layer.payload

def shown(name, value):
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if name in ("sourceIPv4Address", "destinationIPv4Address") and isinstance(value, int):
        return ipaddress.IPv4Address(value)
    return value.hex() if isinstance(value, bytes) else value

found = {}
for line in sys.stdin:
    case, record = line.rstrip("\n").split("|")
    found.setdefault(case, []).append(record)
for case, messages in json.load(open("messages")).items():
    print(case)
    for use in use_netflume, use_netflow, use_scapy, use_ipfix:
        if use is use_ipfix and not case.startswith("IPFIX"):
            continue
        try:
            records = [", ".join(sorted(f"{name} {shown(name, value)}" for name, value in record.items()))
                       for record in use([bytes.fromhex(message) for message in messages])]
        except Exception:
            records = ["an error"]
        for record in records:
            print(f"  {use.__name__[4:]}: {record}")
    if not case.startswith("IPFIX"):
        for record in found.get(case, ["nothing"]):
            print(f"  node-netflowv9: {record}")
PY
venv/bin/python write.py
node --no-deprecation read.cjs > read
venv/bin/python read.py < read | tee seen
diff seen - <<'SEEN' && echo "as it was"
NetFlow 9, two flows
  netflume: dst_addr 192.0.2.2, octets 1000, src_addr 192.0.2.1
  netflume: dst_addr 192.0.2.2, octets 2000, src_addr 192.0.2.1
  netflow: IN_BYTES 1000, IPV4_DST_ADDR 192.0.2.2, IPV4_SRC_ADDR 192.0.2.1
  netflow: IN_BYTES 2000, IPV4_DST_ADDR 192.0.2.2, IPV4_SRC_ADDR 192.0.2.1
  scapy: IN_BYTES 1000, IPV4_DST_ADDR 192.0.2.2, IPV4_SRC_ADDR 192.0.2.1
  scapy: IN_BYTES 2000, IPV4_DST_ADDR 192.0.2.2, IPV4_SRC_ADDR 192.0.2.1
  node-netflowv9: ipv4_src_addr 192.0.2.1, ipv4_dst_addr 192.0.2.2, in_bytes 1000
  node-netflowv9: ipv4_src_addr 192.0.2.1, ipv4_dst_addr 192.0.2.2, in_bytes 2000
NetFlow 9, one template id, two domains
  netflume: dst_addr 192.0.2.2, octets 1000, src_addr 192.0.2.1
  netflow: IN_BYTES 1000, IPV4_DST_ADDR 192.0.2.1, IPV4_SRC_ADDR 192.0.2.2
  scapy: IN_BYTES 1000, IPV4_DST_ADDR 192.0.2.1, IPV4_SRC_ADDR 192.0.2.2
  node-netflowv9: ipv4_dst_addr 192.0.2.1, ipv4_src_addr 192.0.2.2, in_bytes 1000
NetFlow 9, option records of 6 bytes
  netflume: octets 5, sampler_id 7, sampler_mode 1
  netflume: octets 6, sampler_id 8, sampler_mode 2
  netflow: FLOW_SAMPLER_ID 7, FLOW_SAMPLER_MODE 1, System 5
  netflow: FLOW_SAMPLER_ID 0, FLOW_SAMPLER_MODE 0, System 395266
  scapy: IN_BYTES 5
  scapy: FLOW_SAMPLER_ID 07, FLOW_SAMPLER_MODE 1
  scapy: load 000000060802
  node-netflowv9: scope_system 00000005, flow_sampler_id 7, flow_sampler_mode 1
  node-netflowv9: scope_system 00000006, flow_sampler_id 8, flow_sampler_mode 2
NetFlow 9, an option record of 7 bytes, a flow
  netflume: dst_addr 192.0.2.2, octets 1000, src_addr 192.0.2.1
  netflume: octets 5, sampler_id 7, sampler_interval 100
  netflow: IN_BYTES 1000, IPV4_DST_ADDR 192.0.2.2, IPV4_SRC_ADDR 192.0.2.1
  netflow: FLOW_SAMPLER_ID 7, NTERVAL 100, System 5
  netflow: FLOW_SAMPLER_ID 16, NTERVAL 49152, System 65536
  scapy: an error
  node-netflowv9: scope_system 00000005, flow_sampler_id 7, flow_sampler_random_interval 100
  node-netflowv9: ipv4_src_addr 192.0.2.1, ipv4_dst_addr 192.0.2.2, in_bytes 1000
NetFlow 9, two option templates
  netflume: octets 5, sampler_id 7, sampler_interval 100
  netflume: octets 5, sampling_interval 50
  netflow: an error
  scapy: an error
  node-netflowv9: nothing
NetFlow 9, records of 2 bytes
  netflume: dst_port 80
  netflume: dst_port 443
  netflume: dst_port 22
  netflume: dst_port 53
  netflow: L4_DST_PORT 80
  netflow: L4_DST_PORT 443
  netflow: L4_DST_PORT 22
  scapy: L4_DST_PORT 80
  scapy: L4_DST_PORT 443
  scapy: L4_DST_PORT 22
  scapy: L4_DST_PORT 53
  node-netflowv9: l4_dst_port 80
  node-netflowv9: l4_dst_port 443
  node-netflowv9: l4_dst_port 22
  node-netflowv9: l4_dst_port 53
IPFIX, a flow
  netflume: dst_addr 192.0.2.2, octets 1000, src_addr 192.0.2.1
  netflow: destinationIPv4Address 192.0.2.2, octetDeltaCount 1000, sourceIPv4Address 192.0.2.1
  scapy: IN_BYTES 1000, IPV4_DST_ADDR 192.0.2.2, IPV4_SRC_ADDR 192.0.2.1
  ipfix: destinationIPv4Address 192.0.2.2, octetDeltaCount 1000, sourceIPv4Address 192.0.2.1
IPFIX, one template id, two domains
  netflume: dst_addr 192.0.2.2, octets 1000, src_addr 192.0.2.1
  netflume: dst_addr 192.0.2.1, octets 1000, src_addr 192.0.2.2
  netflume: dst_addr 192.0.2.2, octets 2000, src_addr 192.0.2.1
  netflow: destinationIPv4Address 192.0.2.2, octetDeltaCount 1000, sourceIPv4Address 192.0.2.1
  netflow: destinationIPv4Address 192.0.2.1, octetDeltaCount 1000, sourceIPv4Address 192.0.2.2
  netflow: destinationIPv4Address 192.0.2.1, octetDeltaCount 2000, sourceIPv4Address 192.0.2.2
  scapy: IN_BYTES 1000, IPV4_DST_ADDR 192.0.2.2, IPV4_SRC_ADDR 192.0.2.1
  scapy: IN_BYTES 1000, IPV4_DST_ADDR 192.0.2.1, IPV4_SRC_ADDR 192.0.2.2
  scapy: IN_BYTES 2000, IPV4_DST_ADDR 192.0.2.1, IPV4_SRC_ADDR 192.0.2.2
  ipfix: destinationIPv4Address 192.0.2.2, octetDeltaCount 1000, sourceIPv4Address 192.0.2.1
  ipfix: destinationIPv4Address 192.0.2.1, octetDeltaCount 1000, sourceIPv4Address 192.0.2.2
  ipfix: destinationIPv4Address 192.0.2.2, octetDeltaCount 2000, sourceIPv4Address 192.0.2.1
IPFIX, field 8 of an enterprise
  netflume: e32473.8 5, octets 1000, src_addr 192.0.2.1
  netflow: octetDeltaCount 1000, sourceIPv4Address 0.0.0.5
  scapy: an error
  ipfix: _ipfix_32473_8 00000005, octetDeltaCount 1000, sourceIPv4Address 192.0.2.1
IPFIX, octets in both directions
  netflume: dst_addr 192.0.2.2, e29305.1 1000, octets 40, src_addr 192.0.2.1
  netflow: destinationIPv4Address 192.0.2.2, octetDeltaCount 1000, sourceIPv4Address 192.0.2.1
  scapy: an error
  ipfix: destinationIPv4Address 192.0.2.2, octetDeltaCount 40, reverseOctetDeltaCount 1000, sourceIPv4Address 192.0.2.1
IPFIX, a time
  netflume: flow_start_us 1796032800.5
  netflow: flowStartMicroseconds (4005021600, 2147483648)
  scapy: flowStartMicroseconds 17201436793921077248
  ipfix: flowStartMicroseconds 2096-11-29T10:00:00.500000
IPFIX, the same time, written by ipfix
  netflume: flow_start_us -412955999.5
  netflow: flowStartMicroseconds (1796032800, 2147483648)
  scapy: flowStartMicroseconds 7713902140690792448
  ipfix: flowStartMicroseconds 2026-11-30T10:00:00.500000
SEEN
