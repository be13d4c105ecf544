#!/usr/bin/env bash
# Amazon's Ion libraries for JavaScript and Python make another time of a timestamp with many digits after the second, with no error.
#
# Guess: a timestamp that a library of Ion reads and writes stays what it was. In the specification of Ion 1.0, a timestamp's fraction of
# a second may have any number of digits ("The Ion Data Model", "Timestamps"); in binary it is an exponent and a coefficient of any length
# (type 6), and text and binary can be turned into each other without loss.
#
# Seen 2026-11-30; each of the two libraries gets right what the other gets wrong:
#
#   ion-js 5.2.1 (npm)         in the last half of the last millisecond of a minute, it writes in binary the date, hour and minute of the
#                              next minute, but the second and fraction of this one: 23:59:59.999999999 on the last of December becomes
#                              00:00:59.999999999 on the first of January, and amazon.ion reads that from it, too. With microseconds, it
#                              is one timestamp in 120000. As text it is right.
#   amazon.ion 0.15.0 (PyPI)   of a fraction of more than nine digits, its C extension, which it uses where it can, takes the digits as
#                              nanoseconds, or gives 0 if they do not fit: .000000000123 becomes .000000123, and .123456789012 becomes
#                              .000000000, in text and in binary. With simpleion.c_ext = False it is right.
#
# So a time of more than milliseconds goes into Ion as an integer.
#
# Needs python3 with venv, node with npm, and network for the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check amazon.ion==0.15.0
npm install --silent --no-audit --no-fund ion-js@5.2.1 >/dev/null
cat > times <<'TIMES'
2000-01-01T12:34:56.9996Z
2000-01-01T12:34:59.9994Z
2000-01-01T12:34:59.9996Z
2000-02-29T23:59:59.9999999Z
2000-12-31T23:59:59.999999999-08:00
2000-01-01T12:34:56.123456789Z
2000-01-01T12:34:56.0000000001Z
2000-01-01T12:34:56.000000000123Z
2000-01-01T12:34:56.123456789012Z
TIMES
cat > ion.mjs <<'JS'
import ion from 'ion-js'
import { readFileSync, writeFileSync } from 'node:fs'
const lines = readFileSync('times', 'utf8').trim().split('\n').map(time => {
  const read = ion.load(time)
  const binary = ion.dumpBinary(read)
  return [time, Buffer.from(binary).toString('hex'), ion.dumpText(read), ion.dumpText(ion.load(binary))].join(' ')
})
writeFileSync('from-js', lines.join('\n'))
JS
cat > ion.py <<'PY'
from amazon.ion import simpleion
def text(time):
    return simpleion.dumps(time, binary=False, omit_version_marker=True)
for line in open("from-js"):
    time, item, of_text, of_binary = line.split()
    print(time)
    print("  ion-js, of the text:", of_text)
    print("  ion-js, of its own binary:", of_binary)
    simpleion.c_ext = False
    right = simpleion.loads(time)
    binary = simpleion.dumps(right, binary=True)
    print("  amazon.ion without the extension, of the text:", text(right))
    print("  amazon.ion without the extension, of its own binary:", text(simpleion.loads(binary)))
    print("  amazon.ion without the extension, of ion-js's binary:", text(simpleion.loads(bytes.fromhex(item))))
    simpleion.c_ext = True
    for kind, data in ("the text", time), ("the right binary", binary):
        read = simpleion.loads(data)
        print(f"  amazon.ion, of {kind}: {text(read)}, which is second {read.second} and {read.fractional_seconds:f}")
PY
node ion.mjs
venv/bin/python ion.py | tee seen
diff seen - <<'SEEN' && echo "as it was"
2000-01-01T12:34:56.9996Z
  ion-js, of the text: 2000-01-01T12:34:56.9996Z
  ion-js, of its own binary: 2000-01-01T12:34:56.9996Z
  amazon.ion without the extension, of the text: 2000-01-01T12:34:56.9996Z
  amazon.ion without the extension, of its own binary: 2000-01-01T12:34:56.9996Z
  amazon.ion without the extension, of ion-js's binary: 2000-01-01T12:34:56.9996Z
  amazon.ion, of the text: 2000-01-01T12:34:56.9996Z, which is second 56 and 0.9996
  amazon.ion, of the right binary: 2000-01-01T12:34:56.9996Z, which is second 56 and 0.9996
2000-01-01T12:34:59.9994Z
  ion-js, of the text: 2000-01-01T12:34:59.9994Z
  ion-js, of its own binary: 2000-01-01T12:34:59.9994Z
  amazon.ion without the extension, of the text: 2000-01-01T12:34:59.9994Z
  amazon.ion without the extension, of its own binary: 2000-01-01T12:34:59.9994Z
  amazon.ion without the extension, of ion-js's binary: 2000-01-01T12:34:59.9994Z
  amazon.ion, of the text: 2000-01-01T12:34:59.9994Z, which is second 59 and 0.9994
  amazon.ion, of the right binary: 2000-01-01T12:34:59.9994Z, which is second 59 and 0.9994
2000-01-01T12:34:59.9996Z
  ion-js, of the text: 2000-01-01T12:34:59.9996Z
  ion-js, of its own binary: 2000-01-01T12:35:59.9996Z
  amazon.ion without the extension, of the text: 2000-01-01T12:34:59.9996Z
  amazon.ion without the extension, of its own binary: 2000-01-01T12:34:59.9996Z
  amazon.ion without the extension, of ion-js's binary: 2000-01-01T12:35:59.9996Z
  amazon.ion, of the text: 2000-01-01T12:34:59.9996Z, which is second 59 and 0.9996
  amazon.ion, of the right binary: 2000-01-01T12:34:59.9996Z, which is second 59 and 0.9996
2000-02-29T23:59:59.9999999Z
  ion-js, of the text: 2000-02-29T23:59:59.9999999Z
  ion-js, of its own binary: 2000-03-01T00:00:59.9999999Z
  amazon.ion without the extension, of the text: 2000-02-29T23:59:59.9999999Z
  amazon.ion without the extension, of its own binary: 2000-02-29T23:59:59.9999999Z
  amazon.ion without the extension, of ion-js's binary: 2000-03-01T00:00:59.9999999Z
  amazon.ion, of the text: 2000-02-29T23:59:59.9999999Z, which is second 59 and 0.9999999
  amazon.ion, of the right binary: 2000-02-29T23:59:59.9999999Z, which is second 59 and 0.9999999
2000-12-31T23:59:59.999999999-08:00
  ion-js, of the text: 2000-12-31T23:59:59.999999999-08:00
  ion-js, of its own binary: 2001-01-01T00:00:59.999999999-08:00
  amazon.ion without the extension, of the text: 2000-12-31T23:59:59.999999999-08:00
  amazon.ion without the extension, of its own binary: 2000-12-31T23:59:59.999999999-08:00
  amazon.ion without the extension, of ion-js's binary: 2001-01-01T00:00:59.999999999-08:00
  amazon.ion, of the text: 2000-12-31T23:59:59.999999999-08:00, which is second 59 and 0.999999999
  amazon.ion, of the right binary: 2000-12-31T23:59:59.999999999-08:00, which is second 59 and 0.999999999
2000-01-01T12:34:56.123456789Z
  ion-js, of the text: 2000-01-01T12:34:56.123456789Z
  ion-js, of its own binary: 2000-01-01T12:34:56.123456789Z
  amazon.ion without the extension, of the text: 2000-01-01T12:34:56.123456789Z
  amazon.ion without the extension, of its own binary: 2000-01-01T12:34:56.123456789Z
  amazon.ion without the extension, of ion-js's binary: 2000-01-01T12:34:56.123456789Z
  amazon.ion, of the text: 2000-01-01T12:34:56.123456789Z, which is second 56 and 0.123456789
  amazon.ion, of the right binary: 2000-01-01T12:34:56.123456789Z, which is second 56 and 0.123456789
2000-01-01T12:34:56.0000000001Z
  ion-js, of the text: 2000-01-01T12:34:56.0000000001Z
  ion-js, of its own binary: 2000-01-01T12:34:56.0000000001Z
  amazon.ion without the extension, of the text: 2000-01-01T12:34:56.0000000001Z
  amazon.ion without the extension, of its own binary: 2000-01-01T12:34:56.0000000001Z
  amazon.ion without the extension, of ion-js's binary: 2000-01-01T12:34:56.0000000001Z
  amazon.ion, of the text: 2000-01-01T12:34:56.000000001Z, which is second 56 and 0.000000001
  amazon.ion, of the right binary: 2000-01-01T12:34:56.000000001Z, which is second 56 and 0.000000001
2000-01-01T12:34:56.000000000123Z
  ion-js, of the text: 2000-01-01T12:34:56.000000000123Z
  ion-js, of its own binary: 2000-01-01T12:34:56.000000000123Z
  amazon.ion without the extension, of the text: 2000-01-01T12:34:56.000000000123Z
  amazon.ion without the extension, of its own binary: 2000-01-01T12:34:56.000000000123Z
  amazon.ion without the extension, of ion-js's binary: 2000-01-01T12:34:56.000000000123Z
  amazon.ion, of the text: 2000-01-01T12:34:56.000000123Z, which is second 56 and 0.000000123
  amazon.ion, of the right binary: 2000-01-01T12:34:56.000000123Z, which is second 56 and 0.000000123
2000-01-01T12:34:56.123456789012Z
  ion-js, of the text: 2000-01-01T12:34:56.123456789012Z
  ion-js, of its own binary: 2000-01-01T12:34:56.123456789012Z
  amazon.ion without the extension, of the text: 2000-01-01T12:34:56.123456789012Z
  amazon.ion without the extension, of its own binary: 2000-01-01T12:34:56.123456789012Z
  amazon.ion without the extension, of ion-js's binary: 2000-01-01T12:34:56.123456789012Z
  amazon.ion, of the text: 2000-01-01T12:34:56.000000000Z, which is second 56 and 0.000000000
  amazon.ion, of the right binary: 2000-01-01T12:34:56.000000000Z, which is second 56 and 0.000000000
SEEN
