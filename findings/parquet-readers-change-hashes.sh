#!/usr/bin/env bash
# fastparquet drops zero bytes at the end of fixed-length bytes, so one SHA-256 in 256 comes out short, and dates after 2262 as past ones;
# @dsnp/parquetjs reads unsigned numbers as negative ones, hyparquet hashes as text.
#
# Guess: a list of files in Parquet, with hash, size, date and price, has the same values for every reader. The Parquet format defines them
# (its document on types and the one on logical types): fixed_len_byte_array and byte_array are bytes, INT with isSigned=false is unsigned,
# DATE counts days in an int32, and DECIMAL is an exact number: an integer with a scale.
#
# Seen with a file of 1,000 rows that pyarrow 26.0.1 wrote with its defaults, 2026-11-30; none reports an error, and pyarrow reads all right:
#
#                               fastparquet 2026.9.0         hyparquet 1.33.0                @dsnp/parquetjs 1.8.8
#   SHA-256, 32 fixed bytes     short if they end in 0       right                           right
#                               (2 of the 1,000)
#   SHA-256, variable bytes     right                        text with U+FFFD for most       right
#                                                            bytes; right with utf8: false
#   4294967295, uint32          right                        right                           -1
#   2^64 - 1, uint64            right                        right                           -1
#   2300-01-01, 9999-12-31      1715-06-13, 1816-03-29       right                           right
#   90071992547409.93           90071992547409.92            90071992547409.92               the bytes of the integer
#
# fastparquet reads its own files of fixed-length bytes (written with fixed_text) as short, too. Of @dsnp/parquetjs, 1.8.9 reads the same but
# asks for Node 24, and the package of 1.9.3 has no code in it.
#
# So write hashes as bytes of variable length or as hexadecimal text, numbers as signed and below 2^63, amounts as integers, and "never" as
# null instead of a far date; and compare the length of a hash that was read before its bytes.
#
# Needs python3 with venv, node with npm, and network for the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pyarrow==26.0.1 fastparquet==2026.9.0 pandas==3.1.1 numpy==2.4.6 cramjam==2.14.0
npm install --silent --no-audit --no-fund --ignore-scripts --prefix js hyparquet@1.33.0 hyparquet-compressors@1.1.2 @dsnp/parquetjs@1.8.8 >/dev/null
cat > files.py <<'PY'
import datetime, decimal, hashlib, json
import fastparquet, pandas, pyarrow, pyarrow.parquet
hashes = [hashlib.sha256(str(number).encode()).digest() for number in range(1000)]
def column(values, kind): # the values in turn
    return pyarrow.array([values[row % len(values)] for row in range(1000)], kind)
dates = [datetime.date(2300, 1, 1), datetime.date(9999, 12, 31)]
prices = [decimal.Decimal("90071992547409.93"), decimal.Decimal("12345678901234567890.12")]
pyarrow.parquet.write_table(pyarrow.table({
    "fixed": pyarrow.array(hashes, pyarrow.binary(32)),
    "bytes": pyarrow.array(hashes, pyarrow.binary()),
    "unsigned32": column([7, 2**32 - 1], pyarrow.uint32()),
    "unsigned64": column([7, 2**64 - 1], pyarrow.uint64()),
    "date": column(dates, pyarrow.date32()),
    "price": column(prices, pyarrow.decimal128(22, 2)),
}), "files.parquet")
json.dump([hash.hex() for hash in hashes], open("hashes.json", "w"))
def tell(name, table):
    for kind in "fixed", "bytes":
        if kind in table:
            wrong = [(came, hash) for came, hash in zip(table[kind], hashes) if came != hash]
            short = all(came == hash.rstrip(b"\0") for came, hash in wrong)
            print(f"{name}: {kind}: {len(wrong)} of 1000 other hashes" + (", all without the zero bytes at their end" if wrong and short else ""))
    for kind in "unsigned32", "unsigned64", "date", "price":
        if kind in table:
            print(f"{name}: {kind}:", *(str(value)[:10] if kind == "date" else value for value in table[kind][:2]))
tell("pyarrow", pyarrow.parquet.read_table("files.parquet").to_pydict())
tell("fastparquet", fastparquet.ParquetFile("files.parquet").to_pandas().to_dict("list"))
fastparquet.write("own.parquet", pandas.DataFrame({"fixed": hashes}), object_encoding="bytes", fixed_text={"fixed": 32})
tell("fastparquet, own file", fastparquet.ParquetFile("own.parquet").to_pandas().to_dict("list"))
PY
cat > js/read.mjs <<'JS'
import { readFileSync } from 'node:fs'
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import parquetjs from '@dsnp/parquetjs'
const hashes = JSON.parse(readFileSync('hashes.json'))
const text = value => {
  if (value instanceof Date) return value.toISOString().slice(0, 10)
  return value instanceof Uint8Array ? `bytes ${Buffer.from(value).toString('hex')}` : String(value)
}
const tell = (name, rows) => {
  for (const kind of ['fixed', 'bytes']) {
    const came = rows.map(row => row[kind])
    const wrong = came.filter((value, index) => typeof value === 'string' || Buffer.from(value).toString('hex') !== hashes[index])
    const replaced = wrong.every(value => typeof value === 'string' && value.includes('\ufffd'))
    console.log(`${name}: ${kind}: ${wrong.length} of ${rows.length} other hashes${wrong.length && replaced ? ', all of them text with U+FFFD' : ''}`)
  }
  for (const kind of ['unsigned32', 'unsigned64', 'date', 'price']) {
    console.log(`${name}: ${kind}:`, ...rows.slice(0, 2).map(row => text(row[kind])))
  }
}
const file = await asyncBufferFromFile('files.parquet')
tell('hyparquet', await parquetReadObjects({ file, compressors }))
tell('hyparquet, utf8 false', await parquetReadObjects({ file, compressors, utf8: false }))
const reader = await parquetjs.ParquetReader.openFile('files.parquet')
const cursor = reader.getCursor()
const rows = []
for (let row; (row = await cursor.next());) rows.push(row)
await reader.close()
tell('@dsnp/parquetjs', rows)
JS
{ venv/bin/python files.py; node js/read.mjs; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
pyarrow: fixed: 0 of 1000 other hashes
pyarrow: bytes: 0 of 1000 other hashes
pyarrow: unsigned32: 7 4294967295
pyarrow: unsigned64: 7 18446744073709551615
pyarrow: date: 2300-01-01 9999-12-31
pyarrow: price: 90071992547409.93 12345678901234567890.12
fastparquet: fixed: 2 of 1000 other hashes, all without the zero bytes at their end
fastparquet: bytes: 0 of 1000 other hashes
fastparquet: unsigned32: 7 4294967295
fastparquet: unsigned64: 7 18446744073709551615
fastparquet: date: 1715-06-13 1816-03-29
fastparquet: price: 90071992547409.92 1.2345678901234567e+19
fastparquet, own file: fixed: 2 of 1000 other hashes, all without the zero bytes at their end
hyparquet: fixed: 0 of 1000 other hashes
hyparquet: bytes: 1000 of 1000 other hashes, all of them text with U+FFFD
hyparquet: unsigned32: 7 4294967295
hyparquet: unsigned64: 7 18446744073709551615
hyparquet: date: 2300-01-01 9999-12-31
hyparquet: price: 90071992547409.92 12345678901234567000
hyparquet, utf8 false: fixed: 0 of 1000 other hashes
hyparquet, utf8 false: bytes: 0 of 1000 other hashes
hyparquet, utf8 false: unsigned32: 7 4294967295
hyparquet, utf8 false: unsigned64: 7 18446744073709551615
hyparquet, utf8 false: date: 2300-01-01 9999-12-31
hyparquet, utf8 false: price: 90071992547409.92 12345678901234567000
@dsnp/parquetjs: fixed: 0 of 1000 other hashes
@dsnp/parquetjs: bytes: 0 of 1000 other hashes
@dsnp/parquetjs: unsigned32: 7 -1
@dsnp/parquetjs: unsigned64: 7 -1
@dsnp/parquetjs: date: 2300-01-01 9999-12-31
@dsnp/parquetjs: price: bytes 00000020000000000001 bytes 0042ed123b0bd8203a14
SEEN
