#!/usr/bin/env bash
# Three MessagePack libraries of npm write other numbers and dates than they are given, with no error.
#
# Guess: the MessagePack specification has integers from -2^63 to 2^64 - 1 ("Limitation") and floats of 64 bits, which hold every number of
# JavaScript. Its timestamps ("Timestamp extension type") are signed seconds and 0 to 999999999 nanoseconds that count forwards from them,
# so 1.5 s before 1970 is -2 and 500000000. A writer takes each number and each Date of JavaScript, or reports an error.
#
# Seen 2026-11-30, read with msgpack 1.2.4 of PyPI; @msgpack/msgpack 3.1.3 and msgpackr 2.1.4 write all of it as it is:
#
#   2^64, 1e300             notepack.io 3.0.1 and messagepack 1.1.12: 0
#   1e20, -1e19             both: 7766279631452241920, 8446744073709551616
#   2^63, -2^63             @ygoe/msgpack 1.0.3: -2^63, 2^63 - 1
#   2^64, 1e20, 1e300       @ygoe/msgpack: 0, and 2^64 - 1 for the other two
#   1.5 s before 1970       @ygoe/msgpack: half a second before it; messagepack: 3794967296 nanoseconds, which it reads as 2.8 s after
#                           1970 and Python refuses
#
# They take a number without a fraction for an integer, however large it is, and read what they wrote as wrongly as the others do. So large
# numbers are written as text or as bytes.
#
# Needs python3 with venv, node with npm, and network for the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check msgpack==1.2.4
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . @msgpack/msgpack@3.1.3 msgpackr@2.1.4 notepack.io@3.0.1 \
    messagepack@1.1.12 @ygoe/msgpack@1.0.3 >/dev/null
cat > write.cjs <<'JS'
const { readFileSync } = require('node:fs')
const writers = {
  '@msgpack/msgpack': require('@msgpack/msgpack'),
  msgpackr: { encode: require('msgpackr').pack, decode: require('msgpackr').unpack },
  'notepack.io': require('notepack.io'),
  messagepack: require('messagepack'),
  '@ygoe/msgpack': require('@ygoe/msgpack')
}
const values = {
  '2^63': 2 ** 63,
  '-2^63': -(2 ** 63),
  '2^64': 2 ** 64,
  '1e20': 1e20,
  '-1e19': -1e19,
  '1e300': 1e300,
  '2026-11-30T08:00:00.123Z': new Date('2026-11-30T08:00:00.123Z'),
  '1969-12-31T23:59:58.500Z': new Date(-1500)
}
for (const name of Object.keys(writers)) {
  console.error(`${name} ${JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version}`)
}
for (const [text, value] of Object.entries(values)) {
  for (const [name, writer] of Object.entries(writers)) {
    const bytes = Buffer.from(writer.encode(value))
    const own = writer.decode(bytes)
    console.log(`${text} ${name} ${bytes.toString('hex')} ${own instanceof Date ? own.toISOString() : own}`)
  }
}
JS
cat > read.py <<'PY'
import datetime
import sys
import msgpack
print("msgpack", ".".join(map(str, msgpack.version)), file=sys.stderr)
for line in sys.stdin:
    value, writer, data, own = line.split()
    try:
        read = msgpack.unpackb(bytes.fromhex(data), timestamp=3)
    except ValueError:
        read = "an error"
    if isinstance(read, datetime.datetime):
        read = read.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    print(f"{value}, {writer}: {data} is {read}, for itself {own}")
PY
node write.cjs > written
venv/bin/python read.py < written | tee seen
diff seen - <<'SEEN' && echo "as it was"
2^63, @msgpack/msgpack: cb43e0000000000000 is 9.223372036854776e+18, for itself 9223372036854776000
2^63, msgpackr: cb43e0000000000000 is 9.223372036854776e+18, for itself 9223372036854776000
2^63, notepack.io: cf8000000000000000 is 9223372036854775808, for itself 9223372036854776000
2^63, messagepack: cf8000000000000000 is 9223372036854775808, for itself 9223372036854776000
2^63, @ygoe/msgpack: d38000000000000000 is -9223372036854775808, for itself -9223372036854776000
-2^63, @msgpack/msgpack: cbc3e0000000000000 is -9.223372036854776e+18, for itself -9223372036854776000
-2^63, msgpackr: cbc3e0000000000000 is -9.223372036854776e+18, for itself -9223372036854776000
-2^63, notepack.io: d38000000000000000 is -9223372036854775808, for itself -9223372036854776000
-2^63, messagepack: d38000000000000000 is -9223372036854775808, for itself -9223372036854776000
-2^63, @ygoe/msgpack: d37fffffffffffffff is 9223372036854775807, for itself 9223372036854776000
2^64, @msgpack/msgpack: cb43f0000000000000 is 1.8446744073709552e+19, for itself 18446744073709552000
2^64, msgpackr: cb43f0000000000000 is 1.8446744073709552e+19, for itself 18446744073709552000
2^64, notepack.io: cf0000000000000000 is 0, for itself 0
2^64, messagepack: cf0000000000000000 is 0, for itself 0
2^64, @ygoe/msgpack: d30000000000000000 is 0, for itself 0
1e20, @msgpack/msgpack: cb4415af1d78b58c40 is 1e+20, for itself 100000000000000000000
1e20, msgpackr: cb4415af1d78b58c40 is 1e+20, for itself 100000000000000000000
1e20, notepack.io: cf6bc75e2d63100000 is 7766279631452241920, for itself 7766279631452242000
1e20, messagepack: cf6bc75e2d63100000 is 7766279631452241920, for itself 7766279631452242000
1e20, @ygoe/msgpack: cfffffffffffffffff is 18446744073709551615, for itself 18446744073709552000
-1e19, @msgpack/msgpack: cbc3e158e460913d00 is -1e+19, for itself -10000000000000000000
-1e19, msgpackr: cbc3e158e460913d00 is -1e+19, for itself -10000000000000000000
-1e19, notepack.io: d37538dcfb76180000 is 8446744073709551616, for itself 8446744073709552000
-1e19, messagepack: d37538dcfb76180000 is 8446744073709551616, for itself 8446744073709552000
-1e19, @ygoe/msgpack: d38000000000000000 is -9223372036854775808, for itself -9223372036854776000
1e300, @msgpack/msgpack: cb7e37e43c8800759c is 1e+300, for itself 1e+300
1e300, msgpackr: cb7e37e43c8800759c is 1e+300, for itself 1e+300
1e300, notepack.io: cf0000000000000000 is 0, for itself 0
1e300, messagepack: cf0000000000000000 is 0, for itself 0
1e300, @ygoe/msgpack: cfffffffffffffffff is 18446744073709551615, for itself 18446744073709552000
2026-11-30T08:00:00.123Z, @msgpack/msgpack: d7ff1d5353006b0d2d00 is 2026-11-30T08:00:00.123Z, for itself 2026-11-30T08:00:00.123Z
2026-11-30T08:00:00.123Z, msgpackr: d7ff1d5353006b0d2d00 is 2026-11-30T08:00:00.123Z, for itself 2026-11-30T08:00:00.123Z
2026-11-30T08:00:00.123Z, notepack.io: d7ff1d5353006b0d2d00 is 2026-11-30T08:00:00.123Z, for itself 2026-11-30T08:00:00.123Z
2026-11-30T08:00:00.123Z, messagepack: c70cff0754d4c0000000006b0d2d00 is 2026-11-30T08:00:00.123Z, for itself 2026-11-30T08:00:00.123Z
2026-11-30T08:00:00.123Z, @ygoe/msgpack: d7ff1d5353006b0d2d00 is 2026-11-30T08:00:00.123Z, for itself 2026-11-30T08:00:00.123Z
1969-12-31T23:59:58.500Z, @msgpack/msgpack: c70cff1dcd6500fffffffffffffffe is 1969-12-31T23:59:58.500Z, for itself 1969-12-31T23:59:58.500Z
1969-12-31T23:59:58.500Z, msgpackr: c70cff1dcd6500fffffffffffffffe is 1969-12-31T23:59:58.500Z, for itself 1969-12-31T23:59:58.500Z
1969-12-31T23:59:58.500Z, notepack.io: c70cff1dcd6500fffffffffffffffe is 1969-12-31T23:59:58.500Z, for itself 1969-12-31T23:59:58.500Z
1969-12-31T23:59:58.500Z, messagepack: c70cffe2329b00ffffffffffffffff is an error, for itself 1970-01-01T00:00:02.794Z
1969-12-31T23:59:58.500Z, @ygoe/msgpack: c70cff1dcd6500ffffffffffffffff is 1969-12-31T23:59:59.500Z, for itself 1969-12-31T23:59:59.500Z
SEEN
