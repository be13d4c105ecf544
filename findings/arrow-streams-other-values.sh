#!/usr/bin/env bash
# Two of Apache's readers of Arrow streams make large positive decimals of negative ones, or lose digits, with no error.
#
# Guess: what the Arrow format says each reader gives. A decimal is an integer in two's complement of 32, 64, 128 or 256 bits with a scale
# (Schema.fbs, "Decimal"), so -1.50 is the integer -150 with the scale 2.
#
# Seen 2026-11-30; pyarrow 26.0.1, which wrote the streams, arro3 0.9.1 (PyPI) and @uwdata/flechette 2.6.0 (npm) read all of it rightly, and
# so does polars 2.1.0 (PyPI), which has no decimals of 256 bits:
#
#   nanoarrow 0.9.0 (PyPI)       reads a negative decimal of 128 or 256 bits as one that is 2^128 or 2^256 too large (and rounds it to the
#                                precision of the type): -1.50 is 3402823669209384634633746074317682113.1
#   apache-arrow 21.2.0 (npm)    toString() of a value of 256 bits loses digits: 225 becomes 5, 123456789 becomes 9, and -150 becomes -0.
#                                That of a negative value of 64 bits is 2^64 too large: -150 becomes 18446744073709551466. With 32 and
#                                128 bits it is right, and so is valueOf(2), which makes a number of it, with 64, 128 and 256 bits
#
# So amounts cross from one language to another as integers or as strings.
#
# Needs python3 with venv, node with npm, and network for the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pyarrow==26.0.1 polars==2.1.0 nanoarrow==0.9.0 arro3-core==0.9.1 arro3-io==0.9.1
npm install --silent --no-audit --no-fund apache-arrow@21.2.0 @uwdata/flechette@2.6.0 >/dev/null
cat > python.py <<'PY'
from decimal import Decimal
import nanoarrow
import polars
import pyarrow
from arro3.io import read_ipc_stream

values = [Decimal(value) for value in ("2.25", "1234567.89", "-1.50", "-0.01")]
types = {32: pyarrow.decimal32(9, 2), 64: pyarrow.decimal64(18, 2), 128: pyarrow.decimal128(38, 2), 256: pyarrow.decimal256(76, 2)}
for bits, kind in types.items():
    batch = pyarrow.record_batch([pyarrow.array(values, kind)], names=["a"])
    with pyarrow.ipc.new_stream(f"decimal-{bits}", batch.schema) as stream:
        stream.write_batch(batch)

def with_nanoarrow(name):
    with nanoarrow.ArrayStream.from_path(name) as stream:
        return [row["a"] for batch in stream for row in batch.iter_py()]

readers = {
    "pyarrow": lambda name: pyarrow.ipc.open_stream(name).read_all()["a"].to_pylist(),
    "arro3": lambda name: [value.as_py() for chunk in read_ipc_stream(name).read_all()["a"].chunks for value in chunk],
    "polars": lambda name: polars.read_ipc_stream(name)["a"].to_list(),
    "nanoarrow": with_nanoarrow,
}
# what a reader says that it does not know is left out
unknown = {("polars", 256), ("nanoarrow", 32), ("nanoarrow", 64)}
for bits in types:
    for reader, read in readers.items():
        if (reader, bits) not in unknown:
            print(f"decimal-{bits}, {reader}:", *read(f"decimal-{bits}"))
PY
cat > javascript.mjs <<'JS'
import { readFileSync } from 'node:fs'
import * as arrow from 'apache-arrow'
import * as flechette from '@uwdata/flechette'
for (const bits of [32, 64, 128, 256]) {
  const stream = readFileSync(`decimal-${bits}`)
  const values = [...arrow.tableFromIPC(stream).getChild('a')]
  console.log(`decimal-${bits}, apache-arrow, toString(): ${values.map(value => value.toString()).join(' ')}`)
  if (bits > 32) {
    console.log(`decimal-${bits}, apache-arrow, valueOf(2): ${values.map(value => value.valueOf(2)).join(' ')}`)
  }
  console.log(`decimal-${bits}, flechette: ${[...flechette.tableFromIPC(stream).getChild('a')].join(' ')}`)
}
JS
{ venv/bin/python python.py; node javascript.mjs; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
decimal-32, pyarrow: 2.25 1234567.89 -1.50 -0.01
decimal-32, arro3: 2.25 1234567.89 -1.50 -0.01
decimal-32, polars: 2.25 1234567.89 -1.50 -0.01
decimal-64, pyarrow: 2.25 1234567.89 -1.50 -0.01
decimal-64, arro3: 2.25 1234567.89 -1.50 -0.01
decimal-64, polars: 2.25 1234567.89 -1.50 -0.01
decimal-128, pyarrow: 2.25 1234567.89 -1.50 -0.01
decimal-128, arro3: 2.25 1234567.89 -1.50 -0.01
decimal-128, polars: 2.25 1234567.89 -1.50 -0.01
decimal-128, nanoarrow: 2.25 1234567.89 3402823669209384634633746074317682113.1 3402823669209384634633746074317682114.6
decimal-256, pyarrow: 2.25 1234567.89 -1.50 -0.01
decimal-256, arro3: 2.25 1234567.89 -1.50 -0.01
decimal-256, nanoarrow: 2.25 1234567.89 1157920892373161954235709850086879078532699846656405640394575840079131296398 1157920892373161954235709850086879078532699846656405640394575840079131296399
decimal-32, apache-arrow, toString(): 225 123456789 -150 -1
decimal-32, flechette: 2.25 1234567.89 -1.5 -0.01
decimal-64, apache-arrow, toString(): 225 123456789 18446744073709551466 18446744073709551615
decimal-64, apache-arrow, valueOf(2): 2.25 1234567.89 -1.5 -0.01
decimal-64, flechette: 2.25 1234567.89 -1.5 -0.01
decimal-128, apache-arrow, toString(): 225 123456789 -150 -1
decimal-128, apache-arrow, valueOf(2): 2.25 1234567.89 -1.5 -0.01
decimal-128, flechette: 2.25 1234567.89 -1.5 -0.01
decimal-256, apache-arrow, toString(): 5 9 -0 -1
decimal-256, apache-arrow, valueOf(2): 2.25 1234567.89 -1.5 -0.01
decimal-256, flechette: 2.25 1234567.89 -1.5 -0.01
SEEN
