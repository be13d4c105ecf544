#!/usr/bin/env bash
# Five Borsh libraries write maps, floats, texts or options as other bytes than Borsh has for them, and four of them read other values; no error.
#
# Guess: the Borsh specification (borsh.io) has integers and floats in little endian, a String as the number of its UTF-8 bytes (u32) and those
# bytes, a Vec as its length (u32) and its elements, an Option as a byte 1 and the value, or 0, a HashMap as its length (u32) and its keys and
# values, and a struct as its fields in their order; nothing comes between those. So all libraries write the same bytes for one record of such
# a value and a u16 of 7 after it, and read the same record from them.
#
# Seen 2026-11-30 with @coral-xyz/borsh 0.32.1, @project-serum/borsh 0.2.5 and @subsquid/borsh 0.3.0 of npm, borsh-python 0.1.5 and qborsh 1.0.1
# of PyPI, and no error; borsh 2.0.0, borsher 4.0.0, @anchor-lang/borsh 1.2.0 and @zorsh/zorsh 0.5.0 of npm, borsh-construct 0.1.0 and
# pyborsh 1.1.0 of PyPI write and read these records (those of npm: the ones with a map or a float) as the specification has it:
#
#   a map of bcd to a u32        @coral-xyz/borsh, @project-serum/borsh: write the u16 over the length of the key, so that key and value are
#                                lost, and read 25088 instead of 7 from right bytes; qborsh: puts a length before the key and before the value
#   the f32 1.5, the f64 1.5     @subsquid/borsh: writes them in big endian, and reads little endian: 6.896490392174587e-41 of its own bytes
#   the text Zoë                 borsh-python: writes the length 3 instead of 4, and reads ZoÃ«
#   an option with a 5           borsh-python: writes it the second time without its byte 1, since the first time has changed the schema
#   a list of 1, 2, 3            borsh-python: skips 3 bytes instead of the 4 of the length, and reads 0, 1, 2, and 1795 instead of 7 after it
#
# So a record that one of those has written is another one elsewhere, with other fields after the map, the text or the list.
#
# Needs python3 with venv, node with npm, and network for the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check borsh-construct==0.1.0 pyborsh==1.1.0 borsh-python==0.1.5 qborsh==1.0.1
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . borsh@2.0.0 borsher@4.0.0 @coral-xyz/borsh@0.32.1 \
    @project-serum/borsh@0.2.5 @anchor-lang/borsh@1.2.0 @subsquid/borsh@0.3.0 @zorsh/zorsh@0.5.0 >/dev/null
cat > run.cjs <<'JS'
const borsh = require('borsh')
const { BorshSchema } = require('borsher')
const subsquid = require('@subsquid/borsh')
const { b: zorsh } = require('@zorsh/zorsh')
const values = {
  'map bcd 5': new Map([['bcd', 5]]),
  'f32 1.5': 1.5,
  'f64 1.5': 1.5
}
// One record of the value and a u16 after it, per library: what writes and what reads it.
const libraries = {}
const cases = (name, make, types) => {
  libraries[name] = Object.fromEntries(Object.keys(values).map((key, i) => [key, types[i] && make(types[i])]))
}
cases('borsh', (type) => {
  const schema = { struct: { value: type, end: 'u16' } }
  return { write: (record) => borsh.serialize(schema, record), read: (bytes) => borsh.deserialize(schema, bytes) }
}, [{ map: { key: 'string', value: 'u32' } }, 'f32', 'f64'])
cases('borsher', (type) => {
  const schema = BorshSchema.Struct({ value: type, end: BorshSchema.u16 })
  return { write: (record) => schema.serialize(record), read: (bytes) => schema.deserialize(bytes) }
}, [BorshSchema.HashMap(BorshSchema.String, BorshSchema.u32), BorshSchema.f32, BorshSchema.f64])
for (const name of ['@coral-xyz/borsh', '@project-serum/borsh', '@anchor-lang/borsh']) {
  const layouts = require(name)
  cases(name, (type) => {
    const layout = layouts.struct([type, layouts.u16('end')])
    return {
      write: (record) => {
        const bytes = Buffer.alloc(100)
        return bytes.subarray(0, layout.encode(record, bytes))
      },
      read: (bytes) => layout.decode(bytes)
    }
  }, [layouts.map(layouts.str('k'), layouts.u32('v'), 'value'),
    layouts.f32 && layouts.f32('value'), layouts.f64 && layouts.f64('value')])
}
cases('@subsquid/borsh', (type) => {
  const struct = subsquid.struct({ value: type, end: subsquid.u16 })
  return {
    write: (record) => {
      const sink = new subsquid.Sink()
      struct.encode(sink, record)
      return sink.result()
    },
    read: (bytes) => struct.decode(new subsquid.Src(bytes))
  }
}, [subsquid.hashMap(subsquid.string, subsquid.u32), subsquid.f32, subsquid.f64])
cases('@zorsh/zorsh', (type) => {
  const schema = zorsh.struct({ value: type, end: zorsh.u16() })
  return { write: (record) => schema.serialize(record), read: (bytes) => schema.deserialize(bytes) }
}, [zorsh.hashMap(zorsh.string(), zorsh.u32()), zorsh.f32(), zorsh.f64()])

const right = JSON.parse(process.argv[2])
const show = ({ value, end }) => `${value instanceof Map ? [...value].flat() : value}; ${end}`
for (const [key, value] of Object.entries(values)) {
  for (const [name, codecs] of Object.entries(libraries)) {
    if (!codecs[key]) continue
    const bytes = Buffer.from(codecs[key].write({ value, end: 7 }))
    console.log(`${key}; 7 by ${name}: ${bytes.toString('hex')}; reads ${show(codecs[key].read(Buffer.from(right[key], 'hex')))}`)
    if (key === 'f32 1.5' && name === '@subsquid/borsh') console.log(`  and reads its own as ${show(codecs[key].read(bytes))}`)
  }
}
JS
cat > run.py <<'PY'
import json
from typing import Annotated, Optional
import borsh
import borsh_construct
import pydantic
import pyborsh
import qborsh
from borsh import types
c = borsh_construct
CASES = {
    "map bcd 5": ({"bcd": 5}, c.HashMap(c.String, c.U32), dict[str, Annotated[int, pyborsh.U32]], None,
                  qborsh.Map[qborsh.String, qborsh.U32]),
    "f32 1.5": (1.5, c.F32, Annotated[float, pyborsh.F32], types.f32, qborsh.F32),
    "f64 1.5": (1.5, c.F64, float, types.f64, qborsh.F64),
    "text Zoë": ("Zoë", c.String, str, types.string, qborsh.String),
    "option 5": (5, c.Option(c.U8), Optional[Annotated[int, pyborsh.U8]], types.option(types.u8), qborsh.Optional[qborsh.U8]),
    "list 1, 2, 3": ([1, 2, 3], c.Vec(c.U8), list[Annotated[int, pyborsh.U8]], types.dynamic_array(types.u8), qborsh.Vector[qborsh.U8]),
}
right = {}

def line(key, name, written, read):
    value, end = read
    value = dict(value) if isinstance(value, dict) else value
    print(f"{key}; 7 by {name}: {', then '.join(written)}; reads {value}; {end}")

for key, (value, construct, annotation, own, quick) in CASES.items():
    struct = c.CStruct("value" / construct, "end" / c.U16)
    data = struct.build({"value": value, "end": 7})
    right[key] = data.hex()
    read = struct.parse(data)
    line(key, "borsh-construct", [data.hex()], (list(read.value) if isinstance(value, list) else read.value, read.end))
    model = type("Model", (pyborsh.Borsh, pydantic.BaseModel), {"__annotations__": {"value": annotation, "end": Annotated[int, pyborsh.U16]}})
    read = model.from_borsh(data)
    line(key, "pyborsh", [model(value=value, end=7).to_borsh().hex()], (read.value, read.end))
    if own is not None:
        schema = borsh.schema({"value": own, "end": types.u16})
        written = [borsh.serialize(schema, {"value": value, "end": 7}).hex() for _ in range(2)]
        read = borsh.deserialize(borsh.schema({"value": own, "end": types.u16}), data)
        line(key, "borsh-python", sorted(set(written), key=written.index), (read["value"], read["end"]))
    if quick is not None:
        schema = qborsh.schema(type("Record", (), {"__annotations__": {"value": quick, "end": qborsh.U16}}))
        written = schema.encode({"value": value, "end": 7})
        try:
            read = schema.decode(data)
        except RuntimeError:
            read = {"value": "an error", "end": "nothing"}
        line(key, "qborsh", [written.hex()], (read["value"], read["end"]))
json.dump(right, open("right.json", "w"))
PY
{
  PYTHONIOENCODING=utf-8 venv/bin/python run.py 2> errors || { cat errors >&2; exit 1; }
  node run.cjs "$(cat right.json)"
} | tee seen
diff seen - <<'SEEN' && echo "as it was"
map bcd 5; 7 by borsh-construct: 0100000003000000626364050000000700; reads {'bcd': 5}; 7
map bcd 5; 7 by pyborsh: 0100000003000000626364050000000700; reads {'bcd': 5}; 7
map bcd 5; 7 by qborsh: 01000000070000000300000062636404000000050000000700; reads an error; nothing
f32 1.5; 7 by borsh-construct: 0000c03f0700; reads 1.5; 7
f32 1.5; 7 by pyborsh: 0000c03f0700; reads 1.5; 7
f32 1.5; 7 by borsh-python: 0000c03f0700; reads 1.5; 7
f32 1.5; 7 by qborsh: 0000c03f0700; reads 1.5; 7
f64 1.5; 7 by borsh-construct: 000000000000f83f0700; reads 1.5; 7
f64 1.5; 7 by pyborsh: 000000000000f83f0700; reads 1.5; 7
f64 1.5; 7 by borsh-python: 000000000000f83f0700; reads 1.5; 7
f64 1.5; 7 by qborsh: 000000000000f83f0700; reads 1.5; 7
text Zoë; 7 by borsh-construct: 040000005a6fc3ab0700; reads Zoë; 7
text Zoë; 7 by pyborsh: 040000005a6fc3ab0700; reads Zoë; 7
text Zoë; 7 by borsh-python: 030000005a6fc3ab0700; reads ZoÃ«; 7
text Zoë; 7 by qborsh: 040000005a6fc3ab0700; reads Zoë; 7
option 5; 7 by borsh-construct: 01050700; reads 5; 7
option 5; 7 by pyborsh: 01050700; reads 5; 7
option 5; 7 by borsh-python: 01050700, then 050700; reads 5; 7
option 5; 7 by qborsh: 01050700; reads 5; 7
list 1, 2, 3; 7 by borsh-construct: 030000000102030700; reads [1, 2, 3]; 7
list 1, 2, 3; 7 by pyborsh: 030000000102030700; reads [1, 2, 3]; 7
list 1, 2, 3; 7 by borsh-python: 030000000102030700; reads [0, 1, 2]; 1795
list 1, 2, 3; 7 by qborsh: 030000000102030700; reads [1, 2, 3]; 7
map bcd 5; 7 by borsh: 0100000003000000626364050000000700; reads bcd,5; 7
map bcd 5; 7 by borsher: 0100000003000000626364050000000700; reads bcd,5; 7
map bcd 5; 7 by @coral-xyz/borsh: 010000000300000700; reads bcd,5; 25088
map bcd 5; 7 by @project-serum/borsh: 010000000300000700; reads bcd,5; 25088
map bcd 5; 7 by @anchor-lang/borsh: 0100000003000000626364050000000700; reads bcd,5; 7
map bcd 5; 7 by @subsquid/borsh: 0100000003000000626364050000000700; reads bcd,5; 7
map bcd 5; 7 by @zorsh/zorsh: 0100000003000000626364050000000700; reads bcd,5; 7
f32 1.5; 7 by borsh: 0000c03f0700; reads 1.5; 7
f32 1.5; 7 by borsher: 0000c03f0700; reads 1.5; 7
f32 1.5; 7 by @coral-xyz/borsh: 0000c03f0700; reads 1.5; 7
f32 1.5; 7 by @project-serum/borsh: 0000c03f0700; reads 1.5; 7
f32 1.5; 7 by @anchor-lang/borsh: 0000c03f0700; reads 1.5; 7
f32 1.5; 7 by @subsquid/borsh: 3fc000000700; reads 1.5; 7
  and reads its own as 6.896490392174587e-41; 7
f32 1.5; 7 by @zorsh/zorsh: 0000c03f0700; reads 1.5; 7
f64 1.5; 7 by borsh: 000000000000f83f0700; reads 1.5; 7
f64 1.5; 7 by borsher: 000000000000f83f0700; reads 1.5; 7
f64 1.5; 7 by @coral-xyz/borsh: 000000000000f83f0700; reads 1.5; 7
f64 1.5; 7 by @project-serum/borsh: 000000000000f83f0700; reads 1.5; 7
f64 1.5; 7 by @anchor-lang/borsh: 000000000000f83f0700; reads 1.5; 7
f64 1.5; 7 by @subsquid/borsh: 3ff80000000000000700; reads 1.5; 7
f64 1.5; 7 by @zorsh/zorsh: 000000000000f83f0700; reads 1.5; 7
SEEN
