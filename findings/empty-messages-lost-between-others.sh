#!/usr/bin/env bash
# Libraries for length-prefixed messages lose empty messages, or all messages after one; read with "for await" three of them join messages.
#
# Guess: a message of length 0 is a message: in proto3 it is the one whose fields all have their defaults (protobuf's encoding: a field
# with its default value is not written). A library that writes such a stream can also read it.
#
# Seen with the stream that protobuf 7.36.2 of PyPI writes for the seven strings "a" "" "bc" "" "" "d" "" (StringValue), 2026-11-29:
#
#   protobuf, it-length-prefixed 11.0.1, pull-length-prefixed 1.3.3           the seven
#   length-prefixed-stream 2.0.0, @vweevers/length-prefixed-stream 1.0.0      "a" "bc" "d", no error; and one message of 10 bytes with
#                                                                             "for await" (a byte stream joins what is buffered)
#   length-prefixed-stream with allowEmpty (not in its documentation)         the seven, both ways
#   frame-stream 4.0.1 (length in four bytes)                                 as length-prefixed-stream
#   delimited-protobuf 1.0.0 of PyPI                                          "a", then None, which is also its end of the stream
#   betterproto 2.0.0b7, betterproto2 0.10.0                                  "a", then an error
#
# All of them write empty messages themselves. So if the count or the order of messages matters, a protocol must not use messages of
# length 0, or must number them; and a program that reads with these libraries must count the messages.
#
# Needs python3 with venv, node with npm, and network for the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check protobuf==7.36.2 betterproto==2.0.0b7 betterproto2==0.10.0 delimited-protobuf==1.0.0
npm install --silent --no-audit --no-fund --prefix js length-prefixed-stream@2.0.0 @vweevers/length-prefixed-stream@1.0.0 frame-stream@4.0.1 \
    it-length-prefixed@11.0.1 pull-length-prefixed@1.3.3 pull-stream@3.7.0 >/dev/null

cat > read.py <<'PY'
import dataclasses, io, json
import betterproto, betterproto2, delimited_protobuf
from google.protobuf import proto
from google.protobuf.wrappers_pb2 import StringValue
TEXTS = ["a", "", "bc", "", "", "d", ""]

@dataclasses.dataclass(eq=False, repr=False)
class First(betterproto.Message):
    value: str = betterproto.string_field(1)

@dataclasses.dataclass(eq=False, repr=False)
class Second(betterproto2.Message):
    value: str = betterproto2.field(1, betterproto2.TYPE_STRING)

def write_all(one):
    stream = io.BytesIO()
    for text in TEXTS:
        one(stream, text)
    return stream.getvalue()

WRITTEN = write_all(lambda stream, text: proto.serialize_length_prefixed(StringValue(value=text), stream))
open("stream", "wb").write(WRITTEN)
open("stream4", "wb").write(b"".join(len(one).to_bytes(4, "big") + one for one in (StringValue(value=text).SerializeToString() for text in TEXTS)))

def library(name, write, read):
    same = "as protobuf does" if write_all(write) == WRITTEN else "otherwise"
    stream, seen, end = io.BytesIO(WRITTEN), [], ""
    try:
        while stream.tell() < len(WRITTEN):
            message = read(stream)
            if message is None:
                end = ", None"
                break
            seen.append(message.value)
    except Exception as error:
        end = f", {type(error).__name__}"
    print(f"{name}: writes {same}, reads {json.dumps(seen)}{end}")

library("protobuf", lambda stream, text: proto.serialize_length_prefixed(StringValue(value=text), stream),
        lambda stream: proto.parse_length_prefixed(StringValue, stream))
library("delimited-protobuf", lambda stream, text: delimited_protobuf.write(stream, StringValue(value=text)),
        lambda stream: delimited_protobuf.read(stream, StringValue))
library("betterproto", lambda stream, text: First(value=text).dump(stream, betterproto.SIZE_DELIMITED),
        lambda stream: First().load(stream, betterproto.SIZE_DELIMITED))
library("betterproto2", lambda stream, text: Second(value=text).dump(stream, betterproto2.SIZE_DELIMITED),
        lambda stream: Second().load(stream, betterproto2.SIZE_DELIMITED))
PY
cat > js/read.mjs <<'JS'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { Readable } from 'node:stream'
import * as lp from 'it-length-prefixed'
const require = createRequire(import.meta.url)
const text = message => Buffer.from(message.subarray()).subarray(2).toString('latin1')
const say = (name, messages) => console.log(`${name}: reads ${JSON.stringify(messages.map(text))}`)
const written = readFileSync('stream')

const iterated = []
for await (const message of lp.decode([written])) iterated.push(message)
say('it-length-prefixed', iterated)
const pull = require('pull-stream')
await new Promise(resolve => pull(pull.values([written]), require('pull-length-prefixed').decode(), pull.collect((_, messages) => {
  say('pull-length-prefixed', messages)
  resolve()
})))
for (const [name, file, options] of [
  ['length-prefixed-stream', 'stream'], ['length-prefixed-stream', 'stream', { allowEmpty: true }],
  ['@vweevers/length-prefixed-stream', 'stream'], ['frame-stream', 'stream4']
]) {
  const { decode, encode } = require(name)
  const bytes = readFileSync(file)
  const said = name + (options ? ' with allowEmpty' : '')
  const events = []
  const decoder = decode(options)
  decoder.on('data', message => events.push(message))
  decoder.end(bytes)
  await new Promise(resolve => decoder.on('end', resolve))
  say(`${said}, data events`, events)
  const awaited = []
  for await (const message of Readable.from([bytes], { objectMode: false }).pipe(decode(options))) awaited.push(message.length)
  console.log(`${said}, for await: ${awaited.length} of ${awaited} bytes`)
  const encoder = encode()
  const wrote = []
  encoder.on('data', bytes => wrote.push(bytes))
  for (const one of iterated) encoder.write(Buffer.from(one.subarray()))
  encoder.end()
  await new Promise(resolve => encoder.on('end', resolve))
  console.log(`${said}: writes ${Buffer.concat(wrote).equals(bytes) ? 'as protobuf does' : 'otherwise'}`)
}
JS
{ venv/bin/python read.py; node js/read.mjs; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
protobuf: writes as protobuf does, reads ["a", "", "bc", "", "", "d", ""]
delimited-protobuf: writes as protobuf does, reads ["a"], None
betterproto: writes as protobuf does, reads ["a"], ValueError
betterproto2: writes as protobuf does, reads ["a"], ValueError
it-length-prefixed: reads ["a","","bc","","","d",""]
pull-length-prefixed: reads ["a","","bc","","","d",""]
length-prefixed-stream, data events: reads ["a","bc","d"]
length-prefixed-stream, for await: 1 of 10 bytes
length-prefixed-stream: writes as protobuf does
length-prefixed-stream with allowEmpty, data events: reads ["a","","bc","","","d",""]
length-prefixed-stream with allowEmpty, for await: 7 of 3,0,4,0,0,3,0 bytes
length-prefixed-stream with allowEmpty: writes as protobuf does
@vweevers/length-prefixed-stream, data events: reads ["a","bc","d"]
@vweevers/length-prefixed-stream, for await: 1 of 10 bytes
@vweevers/length-prefixed-stream: writes as protobuf does
frame-stream, data events: reads ["a","bc","d"]
frame-stream, for await: 1 of 10 bytes
frame-stream: writes as protobuf does
SEEN
