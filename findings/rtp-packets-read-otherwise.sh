#!/usr/bin/env bash
# Eight RTP libraries of npm and PyPI read valid RTP and RTCP packets as other sound, senders, losses and times, or write others; no error.
#
# Guess: RFC 3550 (5.1) has contributing sources after 12 bytes, and padding whose last byte is its length; (5.3.1)
# an extension has its length in words; none of these is payload. (6.1) Several RTCP packets come in one, each with its length; (6.4.1) the
# packets lost are a signed number of 24 bits, and the NTP time is a fixed-point number, so 80000000 is half a second; (6.5) the items of a
# chunk end with a zero byte, then the chunk is padded to 4 bytes. RFC 4585 (6.2.1) counts the lost packets of a NACK modulo 2^16. RFC 8285
# (4.2) has elements of 1 to 16 bytes with a header of one byte, and (4.3) for two bytes the profile 100x, in which the receiver ignores x
# if nothing else was agreed. RFC 5450 (2) has an offset as a signed number of 24 bits. So all readers find the same.
#
# Seen 2026-11-30 with werift-rtp 0.8.9, rtp.js 0.15.5 and rtp-parser 1.0.0 of npm, aiortc 1.16.0, dpkt 1.9.8, pyVoIP 1.6.8,
# rtp 0.0.4 and scapy 2.8.0 of PyPI, and no error; rtpkit 0.3.0 of PyPI reads all of it right, but has no NACKs:
#
#   padding                            rtp-parser, dpkt, pyVoIP, rtp, scapy: part of the payload
#   a header extension                 rtp-parser, dpkt, pyVoIP: part of the payload
#   two contributing sources           rtp-parser: two other numbers, from 3 bytes too early
#   5000 lost packets, -2              rtp.js: 904, 4094; werift-rtp and scapy: 16777214 for -2; rtp.js writes -2 as -8388606
#   a NACK of three, then a PLI        werift-rtp: a NACK of 13; it reads all that comes after a packet as a part of it
#   a description, then a NACK         werift-rtp: a second and a third sender are described, too
#   a NACK of 65534 to 1               werift-rtp, rtp.js, aiortc: 65534, 65535, 65536, 65537
#   the NTP fractions 1/2, 1/256       werift-rtp: .2147484, .1677723
#   an element, profile 1005           aiortc: none; werift-rtp: one with the number 0
#   an offset of -1, of 5000           rtp.js reads -1 as 16777215; aiortc writes two bytes, ffff and 0013
#   two descriptions                   after one of 12 bytes, werift-rtp writes no zero byte, and aiortc two, not four; rtpkit fails to read both
#
# So a sender of RTP that strangers read leaves out padding, extensions and contributing sources, and an RTCP packet has the NACK at its end.
#
# Needs node with npm, python3 with venv, two minutes, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . werift-rtp@0.8.9 rtp.js@0.15.5 rtp-parser@1.0.0 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check aiortc==1.16.0 dpkt==1.9.8 pyVoIP==1.6.8 rtp==0.0.4 scapy==2.8.0 rtpkit==0.3.0
report='81c90007 00000111 00000222'
name='81ca0003 00000111 01056140622e6300'
info="000103e8 00000010 00000000 00000000 $name"
first="80c90001 00000111 $name"
cat > packets <<PACKETS
payload|a plain packet|800003e8 00003e80 12345678 6162636465666768
payload|with 4 bytes of padding|a00003e8 00003e80 12345678 6162636465666768 00000004
payload|with an element 1 "abc" in an extension|900003e8 00003e80 12345678 bede0001 12616263 6162636465666768
payload|with two contributing sources|820003e8 00003e80 12345678 00000111 00000222 6162636465666768
sources|with two contributing sources|820003e8 00003e80 12345678 00000111 00000222 6162636465666768
elements|1 "abc"|900003e8 00003e80 12345678 bede0001 12616263 6162636465666768
elements|1 "ab" with two bytes, profile 1000|900003e8 00003e80 12345678 10000001 01026162 6162636465666768
elements|1 "ab" with two bytes, profile 1005|900003e8 00003e80 12345678 10050001 01026162 6162636465666768
offset|1|900003e8 00003e80 12345678 bede0001 22000001 6162636465666768
offset|-1|900003e8 00003e80 12345678 bede0001 22ffffff 6162636465666768
lost|100|$report 00000064 $info
lost|5000|$report 00001388 $info
lost|-2|$report 00fffffe $info
nack|100, 101, 103|$first 81cd0003 00000111 00000222 00640005
nack|100, 101, 103, then a PLI|$first 81cd0003 00000111 00000222 00640005 81ce0002 00000111 00000222
nack|65534, 65535, 0, 1|$first 81cd0003 00000111 00000222 fffe0007
names|of 111 only|$first
names|of 111 only, then a NACK|$first 81cd0003 00000111 00000222 00640005
seconds|3900000000 and no fraction|80c80006 00000111 e8754700 00000000 00003e80 00000001 00000008 $name
seconds|3900000000 and 1/2|80c80006 00000111 e8754700 80000000 00003e80 00000001 00000008 $name
seconds|3900000000 and 1/256|80c80006 00000111 e8754700 01000000 00003e80 00000001 00000008 $name
PACKETS
cat > tools.cjs <<'JS'
const werift = require('werift-rtp')
const { packets } = require('rtp.js')
const { parseRtpPacket } = require('rtp-parser')
exports.view = bytes => new DataView(new Uint8Array(bytes).buffer)
exports.bytes = view => Buffer.from(view.buffer, view.byteOffset, view.byteLength)
const hex = number => number.toString(16)
const text = view => exports.bytes(view).toString('latin1').replace(/[^ -~]/g, one => '\\x' + one.charCodeAt().toString(16).padStart(2, '0'))
const elements = list => list.map(([id, value]) => `${id} "${text(value)}"`).join(', ')
const names = chunks => chunks.map(({ ssrc, items }) => `${hex(ssrc)} ${items.map(({ type, text }) => `${type}="${text}"`)}`.trim()).join(', ')
exports.readers = {
  'werift-rtp': (bytes, field) => {
    if (bytes[1] >= 200) {
      const all = werift.RtcpPacketConverter.deSerialize(bytes)
      const chunks = all.flatMap(one => one.chunks ?? []).map(({ source, items }) => ({ ssrc: source, items }))
      return {
        lost: all[0].reports[0]?.packetsLost,
        nack: all.flatMap(one => one.feedback?.lost ?? []).join(', '),
        names: names(chunks),
        seconds: all[0].senderInfo && werift.ntpTime2Sec(all[0].senderInfo.ntpTimestamp)
      }
    }
    const { header, payload } = werift.RtpPacket.deSerialize(bytes)
    if (field === 'offset') return {}
    const list = header.extensions.map(({ id, payload }) => [id, payload])
    const sources = header.csrc.map(hex).join(', ')
    return { payload: text(payload), sources, elements: elements(list) }
  },
  'rtp.js': bytes => {
    if (bytes[1] >= 200) {
      const all = new packets.CompoundPacket(exports.view(bytes)).getPackets()
      const chunks = all.flatMap(one => one.getChunks?.() ?? []).map(one => ({ ssrc: one.getSsrc(), items: one.getItems() }))
      return {
        lost: all[0].getReports()[0]?.getTotalLost(),
        nack: all.flatMap(one => one.getItems?.() ?? []).flatMap(one => packets.parseNackItem(one.pid, one.bitmask)).join(', '),
        names: names(chunks)
      }
    }
    const packet = new packets.RtpPacket(exports.view(bytes))
    packet.setExtensionMapping({ 7: 2 })
    return {
      payload: text(packet.getPayload()),
      sources: packet.getCsrcs().map(hex).join(', '),
      elements: elements([...packet.getExtensions()]),
      offset: packet.getTransmissionOffsetExtension()
    }
  },
  'rtp-parser': bytes => {
    if (bytes[1] >= 200) return {}
    const { payload, csrc } = parseRtpPacket(bytes)
    return { payload: text(payload), sources: csrc.map(hex).join(', ') }
  }
}
JS
cat > read.cjs <<'JS'
const { readFileSync } = require('node:fs')
const { readers } = require('./tools.cjs')
for (const line of readFileSync('packets', 'utf8').trim().split('\n')) {
  const [field, what, hex] = line.split('|')
  for (const [name, read] of Object.entries(readers)) {
    const value = read(Buffer.from(hex.replaceAll(' ', ''), 'hex'), field)[field]
    if (value !== undefined) console.log(`${field}, ${what} | ${name}: ${value === '' ? 'none' : value}`)
  }
}
JS
cat > write.cjs <<'JS'
const { RtcpSourceDescriptionPacket, SourceDescriptionChunk, SourceDescriptionItem } = require('werift-rtp')
const { ReceptionReport, ReceiverReportPacket } = require('rtp.js').packets
const { bytes } = require('./tools.cjs')
for (const lost of [100, 5000, -2]) {
  const report = new ReceptionReport()
  report.setSsrc(0x222)
  report.setTotalLost(lost)
  const packet = new ReceiverReportPacket()
  packet.setSsrc(0x111)
  packet.addReport(report)
  packet.serialize()
  console.log(`lost|${lost}, written by rtp.js|${bytes(packet.getView()).toString('hex')}`)
}
for (const text of ['a@bc', 'a@b.cd']) {
  const chunks = [0x111, 0xabcd0333].map(source => new SourceDescriptionChunk({ source, items: [new SourceDescriptionItem({ type: 1, text })] }))
  const packet = new RtcpSourceDescriptionPacket({ chunks })
  console.log(`names|of 111 and abcd0333, "${text}", written by werift-rtp|${packet.serialize().toString('hex')}`)
}
JS
cat > tools.py <<'PY'
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensionsMap
KNOWN = HeaderExtensionsMap()
KNOWN.configure(RTCRtpParameters(headerExtensions=[
    RTCRtpHeaderExtensionParameters(id=1, uri="urn:ietf:params:rtp-hdrext:sdes:mid"),
    RTCRtpHeaderExtensionParameters(id=2, uri="urn:ietf:params:rtp-hdrext:toffset")]))
PY
cat > write.py <<'PY'
from aiortc.rtp import RtcpSdesPacket, RtcpSourceInfo, RtpPacket
from tools import KNOWN
for offset in [-1, 5000]:
    packet = RtpPacket(ssrc=0x12345678, payload=b"abcdefgh")
    packet.extensions.transmission_offset = offset
    print(f"elements|2, the offset {offset}, written by aiortc|{packet.serialize(KNOWN).hex()}")
for text in ["a@bc", "a@b.cd"]:
    chunks = [RtcpSourceInfo(source, [(1, text.encode())]) for source in [0x111, 0xabcd0333]]
    print(f'names|of 111 and abcd0333, "{text}", written by aiortc|{bytes(RtcpSdesPacket(chunks)).hex()}')
PY
cat > read.py <<'PY'
import re
import sys
import aiortc.rtp, dpkt, pyVoIP.RTP, rtp, rtpkit
import scapy.contrib.rtcp, scapy.layers.rtp
from tools import KNOWN

def text(data):
    return re.sub("[^ -~]", lambda one: "\\x%02x" % ord(one[0]), bytes(data).decode("latin1"))

def hexes(numbers):
    return ", ".join(f"{number:x}" for number in numbers)

def names(chunks):
    return ", ".join(f"{ssrc:x} " + ",".join(f'{type}="{text(value)}"' for type, value in items) for ssrc, items in chunks)

def by_aiortc(data, field):
    if data[1] >= 200:
        packets = aiortc.rtp.RtcpPacket.parse(data)
        lost = [report.packets_lost for one in packets for report in getattr(one, "reports", [])]
        return dict(lost=lost and lost[0], nack=", ".join(str(number) for one in packets for number in getattr(one, "lost", [])),
                    names=names((chunk.ssrc, chunk.items) for one in packets for chunk in getattr(one, "chunks", [])))
    if field == "offset":
        return {}
    packet = aiortc.rtp.RtpPacket.parse(data, KNOWN)
    return dict(payload=text(packet.payload), sources=hexes(packet.csrc),
                elements=packet.extensions.mid and f'1 "{packet.extensions.mid}"')

def by_dpkt(data, field):
    if data[1] < 200:
        packet = dpkt.rtp.RTP(data)
        return dict(payload=text(packet.data),
                    sources=hexes(int.from_bytes(packet.csrc[at:at + 4], "big") for at in range(0, len(packet.csrc), 4)))

def by_pyvoip(data, field):
    if data[1] < 200:
        packet = pyVoIP.RTP.RTPMessage(data, {})
        return dict(payload=text(packet.payload), sources=hexes(int.from_bytes(one, "big") for one in packet.CSRC))

def by_rtp(data, field):
    if data[1] < 200:
        packet = rtp.RTP().fromBytes(data)
        return dict(payload=text(packet.payload), sources=hexes(packet.csrcList))

def by_scapy(data, field):
    if data[1] >= 200:
        packet = scapy.contrib.rtcp.RTCP(data)
        return dict(lost=packet.report_blocks[0].cumulative_lost) if packet.report_blocks else {}
    packet = scapy.layers.rtp.RTP(data)
    payload = (packet.getlayer(scapy.layers.rtp.RTPExtension) or packet).payload
    return dict(payload=text(bytes(payload)), sources=hexes(packet.sync))

def by_rtpkit(data, field):
    if data[1] < 200:
        packet = rtpkit.parse_rtp(data)
        elements = packet.header_extension and rtpkit.parse_extension_elements(packet.header_extension) or []
        offsets = [int.from_bytes(one.data, "big", signed=True) for one in elements if one.id == 2]
        return dict(payload=text(packet.payload), sources=hexes(packet.csrc),
                    elements=", ".join(f'{one.id} "{text(one.data)}"' for one in elements), offset=offsets and offsets[0])
    if field == "nack":
        return {}
    try:
        packets = rtpkit.parse_rtcp_lenient(data) if sys.argv[1] == "packets" else rtpkit.parse_rtcp(data)
    except rtpkit.RtcpError as error:
        return {field: f"an error, {error}"}
    lost = [block.cumulative_lost for one in packets for block in getattr(one, "report_blocks", [])]
    sent = [one.sender_info for one in packets if hasattr(one, "sender_info")]
    return dict(lost=lost and lost[0], seconds=sent and float(sent[0].ntp_seconds + sent[0].ntp_fraction / 2 ** 32),
                names=names((chunk.ssrc, [(item.type, item.text) for item in chunk.items])
                            for one in packets for chunk in getattr(one, "chunks", [])))

readers = dict(aiortc=by_aiortc, dpkt=by_dpkt, pyVoIP=by_pyvoip, rtp=by_rtp, scapy=by_scapy, rtpkit=by_rtpkit)
for line in open(sys.argv[1]):
    field, what, data = line.strip().split("|")
    for name, read in readers.items():
        if sys.argv[1] == "packets" or name == "rtpkit":
            values = read(bytes.fromhex(data), field) or {}
            if field in values:
                print(f"{field}, {what} | {name}: {'none' if values[field] in ('', None) else values[field]}")
PY
node read.cjs > one
venv/bin/python read.py packets > two 2> errors || { cat errors; exit 1; }
{ node write.cjs; venv/bin/python write.py; } > written
venv/bin/python read.py written > three
{
  while IFS='|' read -r field what data; do
    echo "$field, $what: $data"
    cat one two | grep -F -- "$field, $what | " | sed 's/.* | /  /'
  done < packets
  while IFS='|' read -r field what data; do
    echo "$field, $what: $data"
    grep -F -- "$field, $what | " three | sed 's/.* | /  /'
  done < written
} | tee seen
diff seen - <<'SEEN' && echo "as it was"
payload, a plain packet: 800003e8 00003e80 12345678 6162636465666768
  werift-rtp: abcdefgh
  rtp.js: abcdefgh
  rtp-parser: abcdefgh
  aiortc: abcdefgh
  dpkt: abcdefgh
  pyVoIP: abcdefgh
  rtp: abcdefgh
  scapy: abcdefgh
  rtpkit: abcdefgh
payload, with 4 bytes of padding: a00003e8 00003e80 12345678 6162636465666768 00000004
  werift-rtp: abcdefgh
  rtp.js: abcdefgh
  rtp-parser: abcdefgh\x00\x00\x00\x04
  aiortc: abcdefgh
  dpkt: abcdefgh\x00\x00\x00\x04
  pyVoIP: abcdefgh\x00\x00\x00\x04
  rtp: abcdefgh\x00\x00\x00\x04
  scapy: abcdefgh\x00\x00\x00\x04
  rtpkit: abcdefgh
payload, with an element 1 "abc" in an extension: 900003e8 00003e80 12345678 bede0001 12616263 6162636465666768
  werift-rtp: abcdefgh
  rtp.js: abcdefgh
  rtp-parser: \xbe\xde\x00\x01\x12abcabcdefgh
  aiortc: abcdefgh
  dpkt: \xbe\xde\x00\x01\x12abcabcdefgh
  pyVoIP: \xbe\xde\x00\x01\x12abcabcdefgh
  rtp: abcdefgh
  scapy: abcdefgh
  rtpkit: abcdefgh
payload, with two contributing sources: 820003e8 00003e80 12345678 00000111 00000222 6162636465666768
  werift-rtp: abcdefgh
  rtp.js: abcdefgh
  rtp-parser: abcdefgh
  aiortc: abcdefgh
  dpkt: abcdefgh
  pyVoIP: abcdefgh
  rtp: abcdefgh
  scapy: abcdefgh
  rtpkit: abcdefgh
sources, with two contributing sources: 820003e8 00003e80 12345678 00000111 00000222 6162636465666768
  werift-rtp: 111, 222
  rtp.js: 111, 222
  rtp-parser: 34567800, 11100
  aiortc: 111, 222
  dpkt: 111, 222
  pyVoIP: 111, 222
  rtp: 111, 222
  scapy: 111, 222
  rtpkit: 111, 222
elements, 1 "abc": 900003e8 00003e80 12345678 bede0001 12616263 6162636465666768
  werift-rtp: 1 "abc"
  rtp.js: 1 "abc"
  aiortc: 1 "abc"
  rtpkit: 1 "abc"
elements, 1 "ab" with two bytes, profile 1000: 900003e8 00003e80 12345678 10000001 01026162 6162636465666768
  werift-rtp: 1 "ab"
  rtp.js: 1 "ab"
  aiortc: 1 "ab"
  rtpkit: 1 "ab"
elements, 1 "ab" with two bytes, profile 1005: 900003e8 00003e80 12345678 10050001 01026162 6162636465666768
  werift-rtp: 0 "\x01\x02ab"
  rtp.js: 1 "ab"
  aiortc: none
  rtpkit: 1 "ab"
offset, 1: 900003e8 00003e80 12345678 bede0001 22000001 6162636465666768
  rtp.js: 1
  rtpkit: 1
offset, -1: 900003e8 00003e80 12345678 bede0001 22ffffff 6162636465666768
  rtp.js: 16777215
  rtpkit: -1
lost, 100: 81c90007 00000111 00000222 00000064 000103e8 00000010 00000000 00000000 81ca0003 00000111 01056140622e6300
  werift-rtp: 100
  rtp.js: 100
  aiortc: 100
  scapy: 100
  rtpkit: 100
lost, 5000: 81c90007 00000111 00000222 00001388 000103e8 00000010 00000000 00000000 81ca0003 00000111 01056140622e6300
  werift-rtp: 5000
  rtp.js: 904
  aiortc: 5000
  scapy: 5000
  rtpkit: 5000
lost, -2: 81c90007 00000111 00000222 00fffffe 000103e8 00000010 00000000 00000000 81ca0003 00000111 01056140622e6300
  werift-rtp: 16777214
  rtp.js: 4094
  aiortc: -2
  scapy: 16777214
  rtpkit: -2
nack, 100, 101, 103: 80c90001 00000111 81ca0003 00000111 01056140622e6300 81cd0003 00000111 00000222 00640005
  werift-rtp: 100, 101, 103
  rtp.js: 100, 101, 103
  aiortc: 100, 101, 103
nack, 100, 101, 103, then a PLI: 80c90001 00000111 81ca0003 00000111 01056140622e6300 81cd0003 00000111 00000222 00640005 81ce0002 00000111 00000222
  werift-rtp: 100, 101, 103, 33230, 33232, 0, 1, 5, 9, 0, 2, 6, 10
  rtp.js: 100, 101, 103
  aiortc: 100, 101, 103
nack, 65534, 65535, 0, 1: 80c90001 00000111 81ca0003 00000111 01056140622e6300 81cd0003 00000111 00000222 fffe0007
  werift-rtp: 65534, 65535, 65536, 65537
  rtp.js: 65534, 65535, 65536, 65537
  aiortc: 65534, 65535, 65536, 65537
names, of 111 only: 80c90001 00000111 81ca0003 00000111 01056140622e6300
  werift-rtp: 111 1="a@b.c"
  rtp.js: 111 1="a@b.c"
  aiortc: 111 1="a@b.c"
  rtpkit: 111 1="a@b.c"
names, of 111 only, then a NACK: 80c90001 00000111 81ca0003 00000111 01056140622e6300 81cd0003 00000111 00000222 00640005
  werift-rtp: 111 1="a@b.c", 81cd0003, 222
  rtp.js: 111 1="a@b.c"
  aiortc: 111 1="a@b.c"
  rtpkit: 111 1="a@b.c"
seconds, 3900000000 and no fraction: 80c80006 00000111 e8754700 00000000 00003e80 00000001 00000008 81ca0003 00000111 01056140622e6300
  werift-rtp: 3900000000
  rtpkit: 3900000000.0
seconds, 3900000000 and 1/2: 80c80006 00000111 e8754700 80000000 00003e80 00000001 00000008 81ca0003 00000111 01056140622e6300
  werift-rtp: 3900000000.2147484
  rtpkit: 3900000000.5
seconds, 3900000000 and 1/256: 80c80006 00000111 e8754700 01000000 00003e80 00000001 00000008 81ca0003 00000111 01056140622e6300
  werift-rtp: 3900000000.1677723
  rtpkit: 3900000000.0039062
lost, 100, written by rtp.js: 81c9000700000111000002220000006400000000000000000000000000000000
  rtpkit: 100
lost, 5000, written by rtp.js: 81c9000700000111000002220000138800000000000000000000000000000000
  rtpkit: 5000
lost, -2, written by rtp.js: 81c9000700000111000002220080000200000000000000000000000000000000
  rtpkit: -8388606
names, of 111 and abcd0333, "a@bc", written by werift-rtp: 82ca0006000001110104614062630000abcd03330104614062630000
  rtpkit: 111 1="a@bc", abcd0333 1="a@bc"
names, of 111 and abcd0333, "a@b.cd", written by werift-rtp: 82ca00060000011101066140622e6364abcd033301066140622e6364
  rtpkit: an error, Malformed RTCP packet: SDES item data truncated
elements, 2, the offset -1, written by aiortc: 900000000000000012345678bede000121ffff006162636465666768
  rtpkit: 2 "\xff\xff"
elements, 2, the offset 5000, written by aiortc: 900000000000000012345678bede0001210013006162636465666768
  rtpkit: 2 "\x00\x13"
names, of 111 and abcd0333, "a@bc", written by aiortc: 82ca0006000001110104614062630000abcd03330104614062630000
  rtpkit: 111 1="a@bc", abcd0333 1="a@bc"
names, of 111 and abcd0333, "a@b.cd", written by aiortc: 82ca00070000011101066140622e63640000abcd033301066140622e63640000
  rtpkit: an error, Malformed RTCP packet: SDES item data truncated
SEEN
