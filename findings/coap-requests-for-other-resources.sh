#!/usr/bin/env bash
# Four CoAP clients ask for other resources than the URI names, scapy takes a payload for options, and five libraries change options.
#
# Guess: RFC 7252 (6.4, steps 8 and 9) makes one Uri-Path of each segment and one Uri-Query of each argument, empty ones, too, and %2F
# becomes a slash in them; its appendix B has two URIs for it. (3) A message without options may have a payload, as in figure 16 (appendix
# A), (3.1) lengths count bytes, (3.2) a uint of no bytes is 0, a string is UTF-8. (5.10.1) A segment may be empty, (5.10.5) Max-Age may be
# 0, (5.10.6) an ETag is 1 to 8 bytes of any value. By RFC 7959 (2.2) the last block, if it is number 0 of 16 bytes, is the uint 0.
#
# Seen 2026-11-30 with coap 1.5.0 and node-coap-client 2.1.0 of npm, CoAPthon3 1.0.2, CoAPthon3-ACME-CSE 1.1.4, pycoap 0.0.7, piccata 2.0.3,
# txThings 0.3.0 and scapy 2.8.0 of PyPI, and no error (scapy logs a warning); aiocoap 0.4.17 and coap-packet 1.1.1 get all of it right:
#
#   five characters as %E3%81%93...   coap, node-coap-client, CoAPthon3 and pycoap ask for the 45 characters with the % signs
#   //%2F//?%2F%2F&?%26               all four keep the % signs of the path; of the four segments coap and node-coap-client send one, CoAPthon3
#                                     three; CoAPthon3 drops what follows the second "?", node-coap-client adds a "=" to each argument
#   a payload without options         scapy: no payload, but the option Uri-Query "22.3 C"; if it is longer, five options
#   the path a/ (segments a, empty)   CoAPthon3: the second segment is the three characters b'', and so it writes it
#   a path of one character, c3bc     CoAPthon3 and CoAPthon3-ACME-CSE write the length 1 and two bytes, so others find no payload
#   Max-Age 0 (do not keep this)      the same two: 60 seconds
#   Accept 50 (JSON)                  txThings: the byte "2" instead of the number; it has 16 for Accept, which is 17
#   block 0 of 16 bytes, the last     piccata and txThings write the length 1 and no byte, so others find no payload
#   the ETags ff01 and fe01           coap: one text for both, of U+FFFD and U+0001
#
# So what strangers are to find has a name of ASCII without % signs and empty segments, and a payload comes with its Content-Format.
#
# Needs node with npm, python3 with venv, a minute, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . coap@1.5.0 coap-packet@1.1.1 node-coap-client@2.1.0 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check aiocoap==0.4.17 CoAPthon3==1.0.2 pycoap==0.0.7 piccata==2.0.3 txThings==0.3.0 \
    scapy==2.8.0
venv/bin/pip install --quiet --disable-pip-version-check --no-deps --target acme CoAPthon3-ACME-CSE==1.1.4
cat > uris <<'URIS'
/.well-known/core
/%E3%81%93%E3%82%93%E3%81%AB%E3%81%A1%E3%81%AF
//%2F//?%2F%2F&?%26
URIS
cat > make.py <<'PY'
from aiocoap import CONTENT, GET, NON, Message
from coapthon.messages.request import Request
from coapthon.serializer import Serializer
from coapthon.utils import parse_uri
from pycoap.client import URI
from pycoap.packet.packet import Packet

def aiocoap(uri):
    message = Message(code=GET, _mtype=NON, _mid=1, _token=b"")
    message.set_request_uri(uri)
    return message.encode()

def coapthon(uri):
    request = Request()
    request.code, request.type, request.mid = 1, 1, 1
    request.uri_path = parse_uri(uri)[2]
    return bytes(Serializer.serialize(request))

def pycoap(uri):
    read = URI.from_string(uri)
    return bytes(Packet("NON", 1, messageID=1, token=b"", pathSegments=read.pathSegments, queryParams=read.queryParams))

with open("requests", "w") as file:
    for uri in open("uris").read().split():
        for name, make in [("aiocoap", aiocoap), ("CoAPthon3", coapthon), ("pycoap", pycoap)]:
            print(uri, name, make("coap://127.0.0.1" + uri).hex(), file=file)
with open("cases", "w") as file:
    print("22.3 C without options (figure 16)|60457d34ff32322e332043|aiocoap scapy", file=file)
    for libraries, name, code, payload, options in [
        ("scapy", "22.3 C as plain text", CONTENT, b"22.3 C", {"content_format": 0}),
        ("scapy", "28 letters without options", CONTENT, b"the quick brown fox jumps on", {}),
        ("CoAPthon3", "the path a/b", GET, b"", {"uri_path": ["a", "b"]}),
        ("CoAPthon3 CoAPthon3-ACME-CSE", "the path a/", GET, b"", {"uri_path": ["a", ""]}),
        ("CoAPthon3 CoAPthon3-ACME-CSE", "the path u", GET, b"on", {"uri_path": ["u"]}),
        ("CoAPthon3 CoAPthon3-ACME-CSE piccata", "the path c3bc, one character", GET, b"on", {"uri_path": ["\xfc"]}),
        ("CoAPthon3 CoAPthon3-ACME-CSE", "Max-Age 5", CONTENT, b"on", {"max_age": 5}),
        ("CoAPthon3 CoAPthon3-ACME-CSE piccata", "Max-Age 0", CONTENT, b"on", {"max_age": 0}),
        ("txThings piccata", "Accept 50", GET, b"", {"accept": 50}),
        ("piccata txThings", "block 1 of 16 bytes, the last", CONTENT, b"22.3 C", {"block2": (1, False, 0)}),
        ("piccata txThings", "block 0 of 16 bytes, the last", CONTENT, b"22.3 C", {"block2": (0, False, 0)})
    ]:
        message = Message(code=code, payload=payload, _mtype=NON, _mid=1, _token=b"")
        for option, value in options.items():
            setattr(message.opt, option, value)
        print(f"{name}|{message.encode().hex()}|aiocoap {libraries}", file=file)
PY
cat > ask.cjs <<'JS'
const { createSocket } = require('node:dgram')
const { readFileSync } = require('node:fs')
const coap = require('coap')
const { CoapClient } = require('node-coap-client')
const { generate, parse } = require('coap-packet')
const ascii = value => JSON.stringify(value).replace(/[^\x20-\x7e]/g, one => '\\u' + one.charCodeAt(0).toString(16).padStart(4, '0'))
const show = (name, message) => {
  const values = option => message.options.filter(one => one.name === option).map(one => ascii(one.value.toString()))
  const [path, query] = ['Uri-Path', 'Uri-Query'].map(values)
  console.log(`  ${name}: ${path.join(', ')}${query.length ? ' and the arguments ' + query.join(', ') : ''}`)
}
const ask = url => new Promise((resolve, reject) => {
  coap.request(url).on('response', resolve).on('error', reject).end()
})
const server = createSocket('udp4')
let last
let etag = 'ff01'
server.on('message', (bytes, { port, address }) => {
  last = parse(bytes)
  const options = [{ name: 'ETag', value: Buffer.from(etag, 'hex') }]
  server.send(generate({ code: '2.05', ack: true, messageId: last.messageId, token: last.token, options, payload: Buffer.from('on') }), port, address)
})
server.bind(0, '127.0.0.1', async () => {
  const base = `coap://127.0.0.1:${server.address().port}`
  const requests = readFileSync('requests', 'utf8').trim().split('\n').map(line => line.split(' '))
  for (const uri of readFileSync('uris', 'utf8').trim().split('\n')) {
    console.log(`the request for ${uri}`)
    for (const [, name, bytes] of requests.filter(one => one[0] === uri)) show(name, parse(Buffer.from(bytes, 'hex')))
    await ask(base + uri)
    show('coap', last)
    await CoapClient.request(base + uri, 'get')
    show('node-coap-client', last)
  }
  for (etag of ['6131', 'ff01', 'fe01']) {
    console.log(`the ETag ${etag}\n  coap: ${ascii((await ask(base + '/a')).headers.ETag)}`)
  }
  process.exit()
})
JS
cat > read.py <<'PY'
import logging, sys
logging.disable(logging.CRITICAL)
NAMES = {11: "Uri-Path", 12: "Content-Format", 14: "Max-Age", 15: "Uri-Query", 17: "Accept", 23: "Block2"}

def aiocoap():
    from aiocoap import Message
    def read(data):
        message = Message.decode(data)
        return [(int(one.number), one.value) for one in message.opt.option_list()], message.payload, data
    return read

def coapthon():
    from coapthon.serializer import Serializer
    def read(data):
        message = Serializer.deserialize(data, ("127.0.0.1", 5683))
        return [(one.number, one.value) for one in message.options], message.payload, bytes(Serializer.serialize(message))
    return read

def piccata():
    from piccata.message import Message
    def read(data):
        message = Message.decode(data)
        return [(one.number, one.value) for one in message.opt.option_list()], message.payload, message.encode()
    return read

def txthings():
    from txthings.coap import Message
    def read(data):
        message = Message.decode(data)
        return [(one.number, one.value) for one in message.opt.optionList()], message.payload, message.encode()
    return read

def scapy():
    from scapy.contrib.coap import CoAP
    def read(data):
        message = CoAP(data)
        return message.options, bytes(message.payload), bytes(message)
    return read

def shown(value):
    if isinstance(value, tuple):
        return "/".join(str(int(one)) for one in (getattr(value, "block_number", value[0]), *value[1:]))
    return str(int(value)) if isinstance(value, int) else ascii(value)

libraries = {"aiocoap": aiocoap, "CoAPthon3": coapthon, "CoAPthon3-ACME-CSE": coapthon, "piccata": piccata, "txThings": txthings, "scapy": scapy}
name = sys.argv[1]
read = libraries[name]()
for line in open("cases").read().splitlines():
    case, data, readers = line.split("|")
    if name not in readers.split():
        continue
    options, payload, written = read(bytes.fromhex(data))
    texts = [f"{NAMES.get(number, number)} {shown(value)}" for number, value in options] + [f"payload {shown(payload)}" if payload else "no payload"]
    print(case, data, name, ", ".join(texts), written.hex(), sep="|")
PY
cat > show.cjs <<'JS'
const { readFileSync } = require('node:fs')
const { generate, parse } = require('coap-packet')
const text = bytes => /^[\x20-\x7e]+$/.test(bytes) ? `"${bytes}"` : bytes.toString('hex') || 'empty'
let before
for (const [name, data, library, read, written] of readFileSync(0, 'utf8').trim().split('\n').map(line => line.split('|'))) {
  if (name !== before) console.log(`${before = name}, ${data}${generate(parse(Buffer.from(data, 'hex'))).toString('hex') === data ? '' : ' (other)'}`)
  console.log(`  ${library}: ${read}`)
  if (written === data) continue
  const { options, payload } = parse(Buffer.from(written, 'hex'))
  const values = options.map(one => `${one.name} ${text(one.value)}`)
  console.log(`    writes ${written}: ${values.join(', ')}, ${payload.length ? 'payload ' + text(payload) : 'no payload'}`)
}
JS
venv/bin/python -W ignore make.py
for name in aiocoap scapy CoAPthon3 CoAPthon3-ACME-CSE piccata txThings; do
  if [ $name = CoAPthon3-ACME-CSE ]; then path=acme; else path=; fi
  PYTHONPATH=$path venv/bin/python -W ignore read.py $name
done > read
{
  node ask.cjs
  while IFS='|' read -r case data libraries; do grep "^$case|" read; done < cases | node show.cjs
} | tee seen
diff seen - <<'SEEN' && echo "as it was"
the request for /.well-known/core
  aiocoap: ".well-known", "core"
  CoAPthon3: ".well-known", "core"
  pycoap: ".well-known", "core"
  coap: ".well-known", "core"
  node-coap-client: ".well-known", "core"
the request for /%E3%81%93%E3%82%93%E3%81%AB%E3%81%A1%E3%81%AF
  aiocoap: "\u3053\u3093\u306b\u3061\u306f"
  CoAPthon3: "%E3%81%93%E3%82%93%E3%81%AB%E3%81%A1%E3%81%AF"
  pycoap: "%E3%81%93%E3%82%93%E3%81%AB%E3%81%A1%E3%81%AF"
  coap: "%E3%81%93%E3%82%93%E3%81%AB%E3%81%A1%E3%81%AF"
  node-coap-client: "%E3%81%93%E3%82%93%E3%81%AB%E3%81%A1%E3%81%AF"
the request for //%2F//?%2F%2F&?%26
  aiocoap: "", "/", "", "" and the arguments "//", "?&"
  CoAPthon3: "%2F", "", "" and the arguments "%2F%2F", ""
  pycoap: "", "%2F", "", "" and the arguments "%2F%2F", "?%26"
  coap: "%2F" and the arguments "%2F%2F", "?%26"
  node-coap-client: "%2F" and the arguments "//=", "?&="
the ETag 6131
  coap: "a1"
the ETag ff01
  coap: "\ufffd\u0001"
the ETag fe01
  coap: "\ufffd\u0001"
22.3 C without options (figure 16), 60457d34ff32322e332043
  aiocoap: payload b'22.3 C'
  scapy: Uri-Query b'22.3 C', no payload
22.3 C as plain text, 50450001c0ff32322e332043
  aiocoap: Content-Format 0, payload b'22.3 C'
  scapy: Content-Format b'', payload b'22.3 C'
28 letters without options, 50450001ff74686520717569636b2062726f776e20666f78206a756d7073206f6e
  aiocoap: payload b'the quick brown fox jumps on'
  scapy: Uri-Query b'the quick brown', Accept b'', Block2 b'ox jum', 30 b'', 37 b' on', no payload
the path a/b, 50010001b1610162
  aiocoap: Uri-Path 'a', Uri-Path 'b', no payload
  CoAPthon3: Uri-Path 'a', Uri-Path 'b', no payload
the path a/, 50010001b16100
  aiocoap: Uri-Path 'a', Uri-Path '', no payload
  CoAPthon3: Uri-Path 'a', Uri-Path "b''", no payload
    writes 50010001b16103622727: Uri-Path "a", Uri-Path "b''", no payload
  CoAPthon3-ACME-CSE: Uri-Path 'a', Uri-Path '', no payload
the path u, 50010001b175ff6f6e
  aiocoap: Uri-Path 'u', payload b'on'
  CoAPthon3: Uri-Path 'u', payload 'on'
  CoAPthon3-ACME-CSE: Uri-Path 'u', payload b'on'
the path c3bc, one character, 50010001b2c3bcff6f6e
  aiocoap: Uri-Path '\xfc', payload b'on'
  CoAPthon3: Uri-Path '\xfc', payload 'on'
    writes 50010001b1c3bcff6f6e: Uri-Path c3, 22 ff6f6e, no payload
  CoAPthon3-ACME-CSE: Uri-Path '\xfc', payload b'on'
    writes 50010001b1c3bcff6f6e: Uri-Path c3, 22 ff6f6e, no payload
  piccata: Uri-Path b'\xc3\xbc', payload b'on'
Max-Age 5, 50450001d10105ff6f6e
  aiocoap: Max-Age 5, payload b'on'
  CoAPthon3: Max-Age 5, payload 'on'
  CoAPthon3-ACME-CSE: Max-Age 5, payload b'on'
Max-Age 0, 50450001d001ff6f6e
  aiocoap: Max-Age 0, payload b'on'
  CoAPthon3: Max-Age 60, payload 'on'
  CoAPthon3-ACME-CSE: Max-Age 60, payload b'on'
  piccata: Max-Age 0, payload b'on'
Accept 50, 50010001d10432
  aiocoap: Accept 50, no payload
  piccata: Accept 50, no payload
  txThings: Accept b'2', no payload
block 1 of 16 bytes, the last, 50450001d10a10ff32322e332043
  aiocoap: Block2 1/0/0, payload b'22.3 C'
  piccata: Block2 1/0/0, payload b'22.3 C'
  txThings: Block2 1/0/0, payload b'22.3 C'
block 0 of 16 bytes, the last, 50450001d00aff32322e332043
  aiocoap: Block2 0/0/0, payload b'22.3 C'
  piccata: Block2 0/0/0, payload b'22.3 C'
    writes 50450001d10aff32322e332043: Block2 ff, 26 "2.", 29 " C", no payload
  txThings: Block2 0/0/0, payload b'22.3 C'
    writes 50450001d10aff32322e332043: Block2 ff, 26 "2.", 29 " C", no payload
SEEN
