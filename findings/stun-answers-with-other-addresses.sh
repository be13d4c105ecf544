#!/usr/bin/env bash
# Three STUN libraries of npm turn a valid answer into another one, without an error: @msimerson/stun reads wrong IPv6 addresses, node-turn
# writes wrong ones, and stun reads 401 (unauthorized) as 404 and 438 (stale nonce) as 552.
#
# Guess: RFC 8489 (14.2) has an IPv6 address in XOR-MAPPED-ADDRESS XORed with the magic cookie and the transaction id, all 16 bytes; (14.8)
# an error code is 100 times its class (3 to 6) plus its number (0 to 99). RFC 4291 (2.2): "::" stands for as many zeros as are missing.
# So every library finds the address and the code that were meant.
#
# Seen with the addresses and the transaction id of RFC 5769 (2.3) and with others, 2026-11-30; aioice 0.13.0 of PyPI, webrtc-stun 3.0.0
# and vs-stun 0.0.7 of npm read all of them right (error codes: aioice and vs-stun, webrtc-stun has none):
#
#   the IPv6 address of the answer          @msimerson/stun 3.2.1: the first four bytes are right, the other twelve stay XORed with the
#                                           transaction id, so the same server tells another address each time; IPv4 is right, so is
#                                           what it writes, and so is stun 2.1.0, from which it comes
#   401, 420, 438, 487                      stun: 404, 480, 552, 748, since it adds 100 to the number and then multiplies by the class;
#                                           only 300, 400, 500 and 600 are right
#   2001:db8::1 and others with "::" after  node-turn 0.0.6 fills in too few zeros: what follows moves forward, and the last bytes of the
#   more than one group                     address that others read are those of the transaction id; ::1 and fe80::1 are right
#
# So an IPv6 node that learns its address over STUN should ask twice, and believe the address if both answers are the same.
#
# Needs node with npm, python3 with venv, a minute, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . @msimerson/stun@3.2.1 stun@2.1.0 node-turn@0.0.6 webrtc-stun@3.0.0 \
  vs-stun@0.0.7 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet aioice==0.13.0
cat > answers.cjs <<'JS'
const { readFileSync, writeFileSync } = require('node:fs')
const cookie = Buffer.from('2112a442', 'hex')
const ids = ['b7e7a701bc34d686fa87dfae', '000102030405060708090a0b']
const uint16 = (...numbers) => Buffer.concat(numbers.map(number => Buffer.from([number >> 8, number & 255])))
const answer = (type, id, kind, value) => {
  const attribute = Buffer.concat([uint16(kind, value.length), value, Buffer.alloc(-value.length & 3)])
  return Buffer.concat([uint16(type, attribute.length), cookie, Buffer.from(id, 'hex'), attribute])
}
const address = (id, family, bytes) => {
  const key = Buffer.concat([cookie, Buffer.from(id, 'hex')])
  return answer(0x0101, id, 0x20, Buffer.concat([Buffer.from([0, family]), uint16(32853 ^ 0x2112), bytes.map((byte, i) => byte ^ key[i])]))
}
const error = code => answer(0x0111, ids[0], 9, Buffer.concat([Buffer.from([0, 0, Math.floor(code / 100), code % 100]), Buffer.from('reason')]))
const from = ip => Buffer.from(ip.split(':').map(group => group.padStart(4, '0')).join(''), 'hex')
const cases = []
const ipv6 = '2001:db8:1234:5678:11:2233:4455:6677'
for (const id of ids) cases.push([`IPv6 ${ipv6} with id ${id.slice(0, 4)}`, address(id, 2, from(ipv6))])
cases.push(['IPv4 192.0.2.1', address(ids[0], 1, Buffer.from([192, 0, 2, 1]))])
for (const code of [300, 400, 401, 420, 438, 487]) cases.push([`error ${code}`, error(code)])

const Attribute = require('node-turn/lib/attribute')
const Address = require('node-turn/lib/address')
for (const id of ids) {
  for (const ip of ['::1', 'fe80::1', '2001:db8::1', '2001:db8:1::5:6', '2001:db8:1:2:3:4:5:6']) {
    const message = { magicCookie: 0x2112a442, transactionID: id }
    const written = new Attribute(message, 'xor-mapped-address', new Address(ip, 32853)).toBuffer()
    cases.push([`node-turn's ${ip} with id ${id.slice(0, 4)}`, answer(0x0101, id, 0x20, written.subarray(4))])
  }
}
writeFileSync('cases', cases.map(([name, bytes]) => `${bytes.toString('hex')} ${name}\n`).join(''))

const decoded = library => bytes => {
  const read = require(library).decode(bytes)
  return read.getError()?.code ?? read.getXorAddress().address
}
const libraries = {
  '@msimerson/stun': decoded('@msimerson/stun'),
  stun: decoded('stun'),
  'vs-stun': bytes => {
    const { errorCode, xorMappedAddress } = require('vs-stun/lib/Packet').parse(bytes).attribute
    return errorCode?.code ?? xorMappedAddress.host
  },
  'webrtc-stun': bytes => {
    const read = require('webrtc-stun').createBlank()
    read.loadBuffer(bytes)
    return read.getXorMappedAddressAttribute().address
  }
}
for (const name of [...Object.keys(libraries), 'node-turn']) {
  console.log(`version of ${name} (npm): ${JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version}`)
}
for (const [name, bytes] of cases) {
  for (const [library, read] of Object.entries(libraries)) {
    if (library === 'webrtc-stun' ? name.startsWith('error') : name.startsWith('node-turn')) continue
    console.log(`${name}, ${library}: ${read(bytes)}`)
  }
}
const own = require('@msimerson/stun').createMessage(0x0101, Buffer.from(ids[0], 'hex'))
own.addXorAddress(ipv6, 32853)
console.log(`@msimerson/stun writes the IPv6 answer ${require('@msimerson/stun').encode(own).equals(cases[0][1]) ? 'right' : 'otherwise'}`)
JS
cat > answers.py <<'PY'
from importlib.metadata import version
from aioice import stun

print(f"version of aioice (PyPI): {version('aioice')}")
for line in open("cases"):
    data, name = line.rstrip("\n").split(" ", 1)
    read = stun.parse_message(bytes.fromhex(data)).attributes
    print(f"{name}, aioice: {read.get('ERROR-CODE', read.get('XOR-MAPPED-ADDRESS'))[0]}")
PY
{ node --no-deprecation answers.cjs; venv/bin/python answers.py; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
version of @msimerson/stun (npm): 3.2.1
version of stun (npm): 2.1.0
version of vs-stun (npm): 0.0.7
version of webrtc-stun (npm): 3.0.0
version of node-turn (npm): 0.0.6
IPv6 2001:db8:1234:5678:11:2233:4455:6677 with id b7e7, @msimerson/stun: 2001:db8:a5d3:f179:bc25:f4b5:bed2:b9d9
IPv6 2001:db8:1234:5678:11:2233:4455:6677 with id b7e7, stun: 2001:db8:1234:5678:11:2233:4455:6677
IPv6 2001:db8:1234:5678:11:2233:4455:6677 with id b7e7, vs-stun: 2001:0db8:1234:5678:0011:2233:4455:6677
IPv6 2001:db8:1234:5678:11:2233:4455:6677 with id b7e7, webrtc-stun: 2001:db8:1234:5678:11:2233:4455:6677
IPv6 2001:db8:1234:5678:11:2233:4455:6677 with id 0001, @msimerson/stun: 2001:db8:1235:547b:414:2434:4c5c:6c7c
IPv6 2001:db8:1234:5678:11:2233:4455:6677 with id 0001, stun: 2001:db8:1234:5678:11:2233:4455:6677
IPv6 2001:db8:1234:5678:11:2233:4455:6677 with id 0001, vs-stun: 2001:0db8:1234:5678:0011:2233:4455:6677
IPv6 2001:db8:1234:5678:11:2233:4455:6677 with id 0001, webrtc-stun: 2001:db8:1234:5678:11:2233:4455:6677
IPv4 192.0.2.1, @msimerson/stun: 192.0.2.1
IPv4 192.0.2.1, stun: 192.0.2.1
IPv4 192.0.2.1, vs-stun: 192.0.2.1
IPv4 192.0.2.1, webrtc-stun: 192.0.2.1
error 300, @msimerson/stun: 300
error 300, stun: 300
error 300, vs-stun: 300
error 400, @msimerson/stun: 400
error 400, stun: 400
error 400, vs-stun: 400
error 401, @msimerson/stun: 401
error 401, stun: 404
error 401, vs-stun: 401
error 420, @msimerson/stun: 420
error 420, stun: 480
error 420, vs-stun: 420
error 438, @msimerson/stun: 438
error 438, stun: 552
error 438, vs-stun: 438
error 487, @msimerson/stun: 487
error 487, stun: 748
error 487, vs-stun: 487
node-turn's ::1 with id b7e7, webrtc-stun: ::1
node-turn's fe80::1 with id b7e7, webrtc-stun: fe80::1
node-turn's 2001:db8::1 with id b7e7, webrtc-stun: 2001:db8::1:dfae
node-turn's 2001:db8:1::5:6 with id b7e7, webrtc-stun: 2001:db8:1:0:5:6:fa87:dfae
node-turn's 2001:db8:1:2:3:4:5:6 with id b7e7, webrtc-stun: 2001:db8:1:2:3:4:5:6
node-turn's ::1 with id 0001, webrtc-stun: ::1
node-turn's fe80::1 with id 0001, webrtc-stun: fe80::1
node-turn's 2001:db8::1 with id 0001, webrtc-stun: 2001:db8::1:a0b
node-turn's 2001:db8:1::5:6 with id 0001, webrtc-stun: 2001:db8:1:0:5:6:809:a0b
node-turn's 2001:db8:1:2:3:4:5:6 with id 0001, webrtc-stun: 2001:db8:1:2:3:4:5:6
@msimerson/stun writes the IPv6 answer right
version of aioice (PyPI): 0.13.0
IPv6 2001:db8:1234:5678:11:2233:4455:6677 with id b7e7, aioice: 2001:db8:1234:5678:11:2233:4455:6677
IPv6 2001:db8:1234:5678:11:2233:4455:6677 with id 0001, aioice: 2001:db8:1234:5678:11:2233:4455:6677
IPv4 192.0.2.1, aioice: 192.0.2.1
error 300, aioice: 300
error 400, aioice: 400
error 401, aioice: 401
error 420, aioice: 420
error 438, aioice: 438
error 487, aioice: 487
node-turn's ::1 with id b7e7, aioice: ::1
node-turn's fe80::1 with id b7e7, aioice: fe80::1
node-turn's 2001:db8::1 with id b7e7, aioice: 2001:db8::1:dfae
node-turn's 2001:db8:1::5:6 with id b7e7, aioice: 2001:db8:1:0:5:6:fa87:dfae
node-turn's 2001:db8:1:2:3:4:5:6 with id b7e7, aioice: 2001:db8:1:2:3:4:5:6
node-turn's ::1 with id 0001, aioice: ::1
node-turn's fe80::1 with id 0001, aioice: fe80::1
node-turn's 2001:db8::1 with id 0001, aioice: 2001:db8::1:a0b
node-turn's 2001:db8:1::5:6 with id 0001, aioice: 2001:db8:1:0:5:6:809:a0b
node-turn's 2001:db8:1:2:3:4:5:6 with id 0001, aioice: 2001:db8:1:2:3:4:5:6
SEEN
