#!/usr/bin/env bash
# Sixteen ASN.1 and SNMP libraries of npm and PyPI read or write valid times, numbers, object identifiers and bits as others, with no error.
#
# Guess: X.690 has integers in two's complement of any length (8.3.3), NaN as 42 and minus zero as 43 (8.5.9), exponents in two's complement
# (8.5.7.4), bit strings with 0 to 7 unused bits at the end (8.6.2.2), and object identifiers whose first number is X*40+Y of the first two,
# X = 2 for all from 80 on, with the example 06 03 81 34 03 for 2.100.3 (8.19.4, 8.19.5). X.680 has GeneralizedTime (46.3, with the example
# 19851106210627.3-0500) as local time with its difference to UTC, fractions included; if the seconds are left out, the fraction is one of a
# minute (RFC 4517, 3.3.13). DER has fractions, too (X.690, 11.7). A reader that takes an encoding gives its value.
#
# Seen 2026-11-30; asn1crypto 1.5.1 reads all but reals right, asn1-ts 11.1.0 all but one identifier, and asn1tools 0.169.0 all reals:
#
#   10:00 at +05:30                node-forge 1.4.3, @fidm/asn1 1.0.4: 05:00; asn1js 4.0.0: 15:30, and the 3rd of November for the 30th: it
#                                  adds the difference, and takes the day of the week for that of the month
#   a quarter of a second          asn1.js 5.4.1: left out
#   half a minute, as 2106.5Z      pyasn1 0.6.5, asn1tools: half a second
#   10:00 at -05:00                pyasn1 writes +1900, so 24 hours too early
#   2.100.3                        asn1 0.2.6 of npm, @ldapjs/asn1 2.0.0, asn1-ber 1.2.2 (net-snmp's reader), asn1.js, asn1tools and
#                                  asyncsnmplib 1.0.11: 4.20.3; @fidm/asn1, jsrsasign 11.1.5, x690 1.0.0.post1 (puresnmp's): 3.9.52.3;
#                                  snmp-native 1.2.0: 2.49.52.3; six of them write 2.100.3.1 as 2.6579.1
#   2.16.840                       snmp 1.4.0 of PyPI writes 2.0.840
#   2^31 in an identifier          asn1 of npm, @ldapjs/asn1, asn1.js, @fidm/asn1, asn1-ts: -2147483648
#   the integers -128, -129        asn1.js reads 128, 65407 and writes 128, 129; snmp-native writes 127 for -129
#   the integers 2^31, 2^32        @ldapjs/asn1 reads the first as -2^31; it and asn1 of npm write -2^31 and 0, asn1.js 0 for both
#   15 bits, 64 bits               asn1 3.3.0 of PyPI puts bits at wrong places; asn1-ber rounds 64 bits to a float's 53
#   NaN, minus zero                pyasn1: infinity, minus infinity
#   1e60, 1e-100                   asn1 of PyPI writes 8.6e-18, 1.2e-23
#
# So what strangers read has times in UTC to the second, numbers of 31 bits without a sign, and identifiers below 1.
#
# Needs node with npm, python3 with venv, a minute, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export TZ=UTC
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . asn1@0.2.6 @ldapjs/asn1@2.0.0 asn1-ber@1.2.2 asn1.js@5.4.1 bn.js@4.12.2 \
    asn1js@4.0.0 @lapo/asn1js@2.1.3 node-forge@1.4.3 @fidm/asn1@1.0.4 asn1-ts@11.1.0 jsrsasign@11.1.5 snmp-native@1.2.0 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check asn1crypto==1.5.1 pyasn1==0.6.5 asn1tools==0.169.0 asn1==3.3.0 x690==1.0.0.post1 \
    asyncsnmplib==1.0.11 snmp==1.4.0
cat > cases <<'CASES'
read time 20261130100000.25Z
read time 20261130100000+0530
read time 19851106210627.3-0500
read time 198511062106.5Z
read integer 020180
read integer 0202ff7f
read integer 02050080000000
read identifier 06062b0601040102
read identifier 0603813403
read identifier 060a2b060104018880808000
read bits 030304a5f0
read bits 030301a5fe
read bits 0309000123456789abcdef
read real 0903800003
read real 090142
read real 090143
write time 2026-11-30T10:00:00+02:00
write time 2026-11-30T10:00:00-05:00
write integer -128
write integer -129
write integer 2147483648
write integer 4294967296
write identifier 2.16.840.1.101
write identifier 2.100.3.1
write real 1e40
write real 1e60
write real 1e-100
CASES
cat > node.mjs <<'JS'
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import * as ts from 'asn1-ts'
import * as peculiar from 'asn1js'
import { ASN1 as Lapo } from '@lapo/asn1js'
const require = createRequire(import.meta.url)
const schema = require('asn1.js')
const BN = require('bn.js')
const forge = require('node-forge').asn1
const { ASN1: Fidm } = require('@fidm/asn1')
const native = require('snmp-native/lib/asn1ber')
const { ASN1HEX, KJUR: { asn1: jsrsasign } } = require('jsrsasign')
const hex = bytes => Buffer.from(bytes).toString('hex')
const iso = time => new Date(time).toISOString()
const bits = (bytes, length) => [...bytes].map(byte => byte.toString(2).padStart(8, '0')).join('').slice(0, length)
const node = type => schema.define('Value', function () { this[type]() })
const lapo = bytes => Lapo.decode(bytes).content()
const element = bytes => {
  const value = new ts.BERElement()
  value.fromBytes(bytes)
  return value
}
const decoded = bytes => {
  const { offset, result } = peculiar.fromBER(new Uint8Array(bytes).buffer)
  if (offset < 0 || result.error) throw new Error(result.error)
  return result
}
const content = bytes => forge.fromDer(bytes.toString('binary'), { decodeBitStrings: false }).value
const libraries = {
  '@lapo/asn1js': {
    read: {
      integer: lapo, identifier: lapo, bits: bytes => lapo(bytes).split('\n')[1]
    }
  },
  asn1js: {
    read: {
      time: bytes => iso(decoded(bytes).toDate()),
      integer: bytes => decoded(bytes).toBigInt(),
      identifier: bytes => decoded(bytes).getValue(),
      bits: bytes => {
        const { valueHexView, unusedBits } = decoded(bytes).valueBlock
        return bits(valueHexView, valueHexView.length * 8 - unusedBits)
      }
    }
  },
  'asn1.js': {
    read: {
      time: bytes => iso(node('gentime').decode(bytes, 'der')),
      integer: bytes => node('int').decode(bytes, 'der'),
      identifier: bytes => node('objid').decode(bytes, 'der').join('.'),
      bits: bytes => {
        const { data, unused } = node('bitstr').decode(bytes, 'der')
        return bits(data, data.length * 8 - unused)
      }
    },
    write: {
      integer: text => node('int').encode(Number(text) < 0 ? new BN(text) : Number(text), 'der'),
      identifier: text => node('objid').encode(text.split('.').map(Number), 'der')
    }
  },
  'node-forge': {
    read: {
      time: bytes => iso(forge.generalizedTimeToDate(content(bytes))),
      integer: bytes => forge.derToInteger(content(bytes)),
      identifier: bytes => forge.derToOid(content(bytes))
    }
  },
  '@fidm/asn1': {
    read: {
      time: bytes => iso(Fidm.fromDER(bytes).value),
      integer: bytes => Fidm.fromDER(bytes).value,
      identifier: bytes => Fidm.fromDER(bytes).value,
      bits: bytes => bits(Fidm.fromDER(bytes).value.buf, Fidm.fromDER(bytes).value.bitLen)
    },
    write: { integer: text => Fidm.Integer(Number(text)).toDER(), identifier: text => Fidm.OID(text).toDER() }
  },
  'asn1-ts': {
    read: {
      time: bytes => iso(element(bytes).generalizedTime),
      integer: bytes => element(bytes).integer,
      identifier: bytes => element(bytes).objectIdentifier,
      bits: bytes => element(bytes).bitString.join(''),
      real: bytes => Object.is(element(bytes).real, -0) ? '-0' : element(bytes).real
    }
  },
  jsrsasign: {
    read: { identifier: bytes => ASN1HEX.hextooidstr(hex(bytes.subarray(2))) },
    write: { identifier: text => Buffer.from(new jsrsasign.DERObjectIdentifier({ oid: text }).tohex(), 'hex') }
  },
  'snmp-native': {
    read: { integer: native.parseInteger, identifier: bytes => native.parseOid(bytes).join('.') },
    write: {
      integer: text => native.encodeInteger(Number(text)),
      identifier: text => native.encodeOid(text.split('.').map(Number))
    }
  }
}
for (const [name, { BerReader, BerWriter }] of [['asn1 (npm)', require('asn1')], ['@ldapjs/asn1', require('@ldapjs/asn1')],
  ['asn1-ber', require('asn1-ber')]]) {
  const written = fill => {
    const writer = new BerWriter()
    fill(writer)
    return writer.buffer
  }
  libraries[name] = {
    read: { integer: bytes => new BerReader(bytes).readInt(), identifier: bytes => new BerReader(bytes).readOID() },
    write: {
      integer: text => written(writer => writer.writeInt(Number(text))),
      identifier: text => written(writer => writer.writeOID(text))
    }
  }
  if (BerReader.prototype.readBitString) libraries[name].read.bits = bytes => new BerReader(bytes).readBitString()
}
for (const line of readFileSync('cases', 'utf8').trim().split('\n')) {
  const [way, kind, text] = line.split(' ')
  for (const [name, library] of Object.entries(libraries)) {
    const use = library[way]?.[kind]
    if (!use || (name === 'asn1.js' && /^1985|\+/.test(text))) continue // it reads DER only, which has times in UTC with seconds
    const time = Buffer.from([24, text.length, ...Buffer.from(text)])
    let value
    try {
      value = way === 'write' ? hex(use(text)) : use(kind === 'time' ? time : Buffer.from(text, 'hex'))
    } catch {
      value = 'an error'
    }
    console.log(`${line}|${name}|${value}`)
  }
}
JS
cat > python.py <<'PY'
import datetime, sys, textwrap, warnings
warnings.simplefilter("ignore")
import asn1, asn1tools, asn1crypto.core as crypto, snmp.asn1, x690, x690.types
from asyncsnmplib.asn1 import Decoder as Async
from pyasn1.codec.ber import decoder, encoder
from pyasn1.type import useful
module = asn1tools.compile_string("""M DEFINITIONS AUTOMATIC TAGS ::= BEGIN Time ::= GeneralizedTime Integer ::= INTEGER
    Identifier ::= OBJECT IDENTIFIER Bits ::= BIT STRING Real ::= REAL END""", "ber")

def iso(time):
    return time.astimezone(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")

def bits(data, length):
    return "".join(f"{byte:08b}" for byte in data)[:length]

def pyasn1(data):
    return decoder.decode(data)[0]

def plain(data):
    reader = asn1.Decoder()
    reader.start(data)
    return reader.read()[1]

def plain_bits(data):
    length = (len(data) - 3) * 8 - data[2]
    return f"{int.from_bytes(plain(data), 'big'):0{length}b}"

def plain_real(text):
    writer = asn1.Encoder()
    writer.start(asn1.Encoding.DER)
    writer.write(float(text), asn1.Numbers.Real)
    return writer.output()

libraries = {
    "asn1crypto": {"read": {
        "time": lambda data: iso(crypto.GeneralizedTime.load(data, strict=True).native),
        "integer": lambda data: crypto.Integer.load(data, strict=True).native,
        "identifier": lambda data: crypto.ObjectIdentifier.load(data, strict=True).dotted,
        "bits": lambda data: "".join(map(str, crypto.BitString.load(data, strict=True).native))}},
    "pyasn1": {"read": {
        "time": lambda data: iso(pyasn1(data).asDateTime), "integer": lambda data: int(pyasn1(data)), "identifier": lambda data: pyasn1(data),
        "bits": lambda data: pyasn1(data).asBinary().zfill(len(pyasn1(data))), "real": lambda data: float(pyasn1(data))},
        "write": {"time": lambda text: encoder.encode(useful.GeneralizedTime.fromDateTime(datetime.datetime.fromisoformat(text)))}},
    "asn1tools": {"read": {
        "time": lambda data: iso(module.decode("Time", data)), "integer": lambda data: module.decode("Integer", data),
        "identifier": lambda data: module.decode("Identifier", data), "bits": lambda data: bits(*module.decode("Bits", data)),
        "real": lambda data: module.decode("Real", data)},
        "write": {"integer": lambda text: module.encode("Integer", int(text)), "identifier": lambda text: module.encode("Identifier", text),
                  "real": lambda text: module.encode("Real", float(text))}},
    "asn1 (PyPI)": {"read": {"integer": plain, "identifier": plain, "bits": plain_bits, "real": plain}, "write": {"real": plain_real}},
    "x690": {"read": {"integer": lambda data: x690.decode(data)[0].value, "identifier": lambda data: x690.decode(data)[0].value},
             "write": {"integer": lambda text: bytes(x690.types.Integer(int(text))),
                       "identifier": lambda text: bytes(x690.types.ObjectIdentifier(text))}},
    "asyncsnmplib": {"read": {"integer": lambda data: Async(data).read()[1],
                              "identifier": lambda data: ".".join(map(str, Async(data).read()[1]))}},
    "snmp": {"read": {"integer": lambda data: snmp.asn1.INTEGER.decodeExact(data).value,
                      "identifier": lambda data: snmp.asn1.OBJECT_IDENTIFIER.decodeExact(data)},
             "write": {"integer": lambda text: snmp.asn1.INTEGER(int(text)).encode(),
                       "identifier": lambda text: snmp.asn1.OBJECT_IDENTIFIER.parse(text).encode()}}}

def used(use, value):
    try:
        return str(use(value))
    except Exception:
        return "an error"

found = {}
for line in sys.stdin:
    case, name, value = line.rstrip("\n").split("|")
    found.setdefault(case, []).append((name, value))
for case in open("cases").read().split("\n")[:-1]:
    way, kind, text = case.split(" ")
    results = found.get(case, [])
    for name, library in libraries.items():
        use = library.get(way, {}).get(kind)
        if not use:
            continue
        if way == "write":
            results.append((name, used(lambda text: use(text).hex(), text)))
        else:
            results.append((name, used(use, bytes([24, len(text)]) + text.encode() if kind == "time" else bytes.fromhex(text))))
    shown = {}
    for name, value in results:
        if way == "write" and value != "an error":
            reader = (lambda data: module.decode("Real", data)) if kind == "real" else libraries["asn1crypto"]["read"][kind]
            value = f"{value} is {used(reader, bytes.fromhex(value))}"
        shown.setdefault(value, []).append(name)
    print(case)
    for value in sorted(shown):
        print(textwrap.fill(f"{value}: {', '.join(sorted(shown[value]))}", 140, initial_indent="  ", subsequent_indent="      ",
                            break_on_hyphens=False))
PY
node --no-deprecation node.mjs > read
venv/bin/python python.py < read | tee seen
diff seen - <<'SEEN' && echo "as it was"
read time 20261130100000.25Z
  2026-11-30T10:00:00.000Z: asn1.js
  2026-11-30T10:00:00.250Z: @fidm/asn1, asn1-ts, asn1crypto, asn1js, asn1tools, node-forge, pyasn1
read time 20261130100000+0530
  2026-11-03T15:30:00.000Z: asn1js
  2026-11-30T04:30:00.000Z: asn1-ts, asn1crypto, asn1tools, pyasn1
  2026-11-30T05:00:00.000Z: @fidm/asn1, node-forge
read time 19851106210627.3-0500
  1985-11-05T16:06:27.300Z: asn1js
  1985-11-07T02:06:27.300Z: @fidm/asn1, asn1-ts, asn1crypto, asn1tools, node-forge, pyasn1
read time 198511062106.5Z
  1985-11-06T21:06:00.500Z: asn1tools, pyasn1
  1985-11-06T21:06:30.000Z: asn1-ts, asn1crypto, asn1js
  an error: @fidm/asn1, node-forge
read integer 020180
  -128: @fidm/asn1, @lapo/asn1js, @ldapjs/asn1, asn1 (PyPI), asn1 (npm), asn1-ber, asn1-ts, asn1crypto, asn1js, asn1tools, asyncsnmplib,
      node-forge, pyasn1, snmp, snmp-native, x690
  128: asn1.js
read integer 0202ff7f
  -129: @fidm/asn1, @lapo/asn1js, @ldapjs/asn1, asn1 (PyPI), asn1 (npm), asn1-ber, asn1-ts, asn1crypto, asn1js, asn1tools, asyncsnmplib,
      node-forge, pyasn1, snmp, snmp-native, x690
  65407: asn1.js
read integer 02050080000000
  -2147483648: @ldapjs/asn1
  2147483648: @fidm/asn1, @lapo/asn1js, asn1 (PyPI), asn1-ber, asn1-ts, asn1.js, asn1crypto, asn1js, asn1tools, asyncsnmplib, pyasn1, snmp,
      snmp-native, x690
  an error: asn1 (npm), node-forge
read identifier 06062b0601040102
  1.3.6.1.4.1.2: @fidm/asn1, @lapo/asn1js, @ldapjs/asn1, asn1 (PyPI), asn1 (npm), asn1-ber, asn1-ts, asn1.js, asn1crypto, asn1js, asn1tools,
      asyncsnmplib, jsrsasign, node-forge, pyasn1, snmp, snmp-native, x690
read identifier 0603813403
  2.100.3: @lapo/asn1js, asn1 (PyPI), asn1-ts, asn1crypto, asn1js, node-forge, pyasn1
  2.49.52.3: snmp-native
  3.9.52.3: @fidm/asn1, jsrsasign, x690
  4.20.3: @ldapjs/asn1, asn1 (npm), asn1-ber, asn1.js, asn1tools, asyncsnmplib
  an error: snmp
read identifier 060a2b060104018880808000
  1.3.6.1.4.1.-2147483648: @fidm/asn1, @ldapjs/asn1, asn1 (npm), asn1-ts, asn1.js
  1.3.6.1.4.1.2147483648: @lapo/asn1js, asn1 (PyPI), asn1-ber, asn1crypto, asn1js, asn1tools, asyncsnmplib, jsrsasign, node-forge, pyasn1,
      snmp, snmp-native, x690
read bits 030304a5f0
  101001011111: @fidm/asn1, @lapo/asn1js, asn1 (PyPI), asn1-ber, asn1-ts, asn1.js, asn1crypto, asn1js, asn1tools, pyasn1
read bits 030301a5fe
  101001001111111: asn1 (PyPI)
  101001011111111: @fidm/asn1, @lapo/asn1js, asn1-ber, asn1-ts, asn1.js, asn1crypto, asn1js, asn1tools, pyasn1
read bits 0309000123456789abcdef
  0000000100100011010001010110011110001001101010111100110111101111: @fidm/asn1, @lapo/asn1js, asn1 (PyPI), asn1-ts, asn1.js, asn1crypto,
      asn1js, asn1tools, pyasn1
  0000000100100011010001010110011110001001101010111100110111110000: asn1-ber
read real 0903800003
  3: asn1-ts
  3.0: asn1 (PyPI), asn1tools, pyasn1
read real 090142
  NaN: asn1-ts
  inf: pyasn1
  nan: asn1 (PyPI), asn1tools
read real 090143
  -0: asn1-ts
  -0.0: asn1 (PyPI), asn1tools
  -inf: pyasn1
write time 2026-11-30T10:00:00+02:00
  181332303236313133303130303030302b30323030 is 2026-11-30T08:00:00.000Z: pyasn1
write time 2026-11-30T10:00:00-05:00
  181332303236313133303130303030302b31393030 is 2026-11-29T15:00:00.000Z: pyasn1
write integer -128
  020180 is -128: @fidm/asn1, @ldapjs/asn1, asn1 (npm), asn1-ber, asn1tools, snmp, snmp-native, x690
  02020080 is 128: asn1.js
write integer -129
  02017f is 127: snmp-native
  02020081 is 129: asn1.js
  0202ff7f is -129: @fidm/asn1, @ldapjs/asn1, asn1 (npm), asn1-ber, asn1tools, snmp, x690
write integer 2147483648
  02020000 is 0: asn1.js
  020480000000 is -2147483648: @ldapjs/asn1, asn1 (npm)
  02050080000000 is 2147483648: @fidm/asn1, asn1-ber, asn1tools, snmp, snmp-native, x690
write integer 4294967296
  020100 is 0: @ldapjs/asn1, asn1 (npm)
  02020000 is 0: asn1.js
  02050100000000 is 4294967296: @fidm/asn1, asn1-ber, asn1tools, snmp, snmp-native, x690
write identifier 2.16.840.1.101
  06055086480165 is 2.0.840.1.101: snmp
  06056086480165 is 2.16.840.1.101: @fidm/asn1, @ldapjs/asn1, asn1 (npm), asn1-ber, asn1.js, asn1tools, jsrsasign, snmp-native, x690
write identifier 2.100.3.1
  0603b40301 is 2.6579.1: @fidm/asn1, @ldapjs/asn1, asn1 (npm), asn1-ber, jsrsasign, x690
  060481340301 is 2.100.3.1: asn1tools
  an error: asn1.js, snmp, snmp-native
write real 1e40
  090980501d6329f1c35ca5 is 1e+40: asn1 (PyPI), asn1tools
write real 1e60
  0909809504fa793930bcd1 is 8.636168555094444e-18: asn1 (PyPI)
  090a81009504fa793930bcd1 is 1e+60: asn1tools
write real 1e-100
  090a81fe8301bff2ee48e053 is 1e-100: asn1tools
  090a81ff8301bff2ee48e053 is 1.157920892373162e-23: asn1 (PyPI)
SEEN
