#!/usr/bin/env bash
# Nine readers of newline-delimited JSON hand out other values than a valid stream has: doubled, lost, characters cut, null as false.
#
# Guess: where the network cuts a stream into pieces makes no difference to what a reader of NDJSON hands out, and each JSON text is a
# value: the NDJSON specification (3.1) has JSON texts of RFC 8259 in UTF-8, each followed by a line feed; RFC 8259 (2) names null,
# false, numbers and strings as texts of their own. A reader that does not want them says so.
#
# Seen with Node 20 and the versions below (npm), through pipeline() of node:stream, 2026-11-29; split2 with JSON.parse, it-ndjson,
# iterable-ndjson and can-ndjson-stream hand out what was sent. No run had an error but where one is named:
#
#   a piece that ends within a character    jsonlines, ldjson-stream, lstream, byline, readline-transform, pull-ndjson: U+FFFD for each
#                                           of its bytes
#   a piece that ends before the line feed  json-stream: the value twice
#   the values 0, false and ""              json-stream: left out
#   the value null                          newline-json: false; json-stream: left out; ndjson, jsonlines, ldjson-stream: left out when
#                                           it is the last, else an error, and all after it is lost
#
# So lines are cut at the line feed as bytes, decoded whole, and an object per line is safe where a bare value is not.
#
# Needs node with npm, and network for the package registry. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . ndjson@2.0.0 jsonlines@0.1.1 ldjson-stream@1.2.1 json-stream@1.0.0 \
    newline-json@0.1.1 lstream@0.0.4 byline@5.0.0 readline-transform@2.0.0 pull-ndjson@0.2.0 pull-stream@3.7.0 split2@4.2.0 it-ndjson@2.0.0 \
    iterable-ndjson@1.1.0 can-ndjson-stream@1.0.2 >/dev/null
cat > read.mjs <<'JS'
import { createRequire } from 'node:module'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setImmediate as turn } from 'node:timers/promises'
const require = createRequire(import.meta.url)
const bytes = texts => texts.map(text => Buffer.from(text))
const character = Buffer.from('{"a":"\u20ac"}\n')
const streams = {
  'cut within a character': [character.subarray(0, 7), character.subarray(7)],
  'cut before the line feed': bytes(['{"a":1}', '\n{"a":2}', '\n']),
  'empty values': bytes(['[0]\n0\nfalse\n""\n"x"\n']),
  'null between others': bytes(['1\nnull\n2\n']),
  'null at the end': bytes(['1\nnull\n'])
}
async function * source (pieces) {
  for (const piece of pieces) {
    yield piece
    await turn()
    await turn()
  }
}
const piped = make => async pieces => {
  const values = []
  const stages = [make()].flat()
  const sink = new Writable({ objectMode: true, write (value, _, done) { values.push(value); done() } })
  try {
    await pipeline(Readable.from(source(pieces), { objectMode: false }), ...stages, sink)
  } catch (error) {
    values.push('an error')
  }
  return values
}
const lines = make => async pieces => (await piped(make)(pieces)).map(line => JSON.parse(String(line)))
const collected = parse => async pieces => {
  const values = []
  for await (const value of parse(source(pieces))) values.push(value)
  return values
}
const web = pieces => new ReadableStream({
  start (controller) {
    for (const piece of pieces) controller.enqueue(new Uint8Array(piece))
    controller.close()
  }
})
const readers = {
  'split2 with JSON.parse': lines(() => require('split2')()),
  'it-ndjson': collected((await import('it-ndjson')).parse),
  'iterable-ndjson': collected(require('iterable-ndjson').parse),
  'can-ndjson-stream': async pieces => {
    const values = []
    for await (const value of require('can-ndjson-stream')(web(pieces))) values.push(value)
    return values
  },
  ndjson: piped(() => require('ndjson').parse()),
  jsonlines: piped(() => require('jsonlines').parse()),
  'ldjson-stream': piped(() => require('ldjson-stream').parse()),
  'json-stream': piped(() => require('json-stream')()),
  'newline-json': piped(() => new (require('newline-json').Parser)()),
  'lstream with JSON.parse': lines(() => new (require('lstream'))()),
  'byline with JSON.parse': lines(() => require('byline').createStream()),
  'readline-transform with JSON.parse': lines(() => new (require('readline-transform'))()),
  'pull-ndjson': pieces => new Promise((resolve, reject) => {
    const pull = require('pull-stream')
    pull(pull.values(pieces), require('pull-ndjson').parse(), pull.collect((error, values) => error ? reject(error) : resolve(values)))
  })
}
const ascii = values => JSON.stringify(values).replace(/[^ -~]/g, one => '\\u' + one.charCodeAt(0).toString(16).padStart(4, '0'))
for (const [stream, pieces] of Object.entries(streams)) {
  for (const [name, read] of Object.entries(readers)) console.log(`${stream}; ${name}: ${ascii(await read(pieces))}`)
}
JS
node read.mjs | tee seen
diff seen - <<'SEEN' && echo "as it was"
cut within a character; split2 with JSON.parse: [{"a":"\u20ac"}]
cut within a character; it-ndjson: [{"a":"\u20ac"}]
cut within a character; iterable-ndjson: [{"a":"\u20ac"}]
cut within a character; can-ndjson-stream: [{"a":"\u20ac"}]
cut within a character; ndjson: [{"a":"\u20ac"}]
cut within a character; jsonlines: [{"a":"\ufffd\ufffd\ufffd"}]
cut within a character; ldjson-stream: [{"a":"\ufffd\ufffd\ufffd"}]
cut within a character; json-stream: [{"a":"\u20ac"}]
cut within a character; newline-json: [{"a":"\u20ac"}]
cut within a character; lstream with JSON.parse: [{"a":"\ufffd\ufffd\ufffd"}]
cut within a character; byline with JSON.parse: [{"a":"\ufffd\ufffd\ufffd"}]
cut within a character; readline-transform with JSON.parse: [{"a":"\ufffd\ufffd\ufffd"}]
cut within a character; pull-ndjson: [{"a":"\ufffd\ufffd\ufffd"}]
cut before the line feed; split2 with JSON.parse: [{"a":1},{"a":2}]
cut before the line feed; it-ndjson: [{"a":1},{"a":2}]
cut before the line feed; iterable-ndjson: [{"a":1},{"a":2}]
cut before the line feed; can-ndjson-stream: [{"a":1},{"a":2}]
cut before the line feed; ndjson: [{"a":1},{"a":2}]
cut before the line feed; jsonlines: [{"a":1},{"a":2}]
cut before the line feed; ldjson-stream: [{"a":1},{"a":2}]
cut before the line feed; json-stream: [{"a":1},{"a":1},{"a":2},{"a":2}]
cut before the line feed; newline-json: [{"a":1},{"a":2}]
cut before the line feed; lstream with JSON.parse: [{"a":1},{"a":2}]
cut before the line feed; byline with JSON.parse: [{"a":1},{"a":2}]
cut before the line feed; readline-transform with JSON.parse: [{"a":1},{"a":2}]
cut before the line feed; pull-ndjson: [{"a":1},{"a":2}]
empty values; split2 with JSON.parse: [[0],0,false,"","x"]
empty values; it-ndjson: [[0],0,false,"","x"]
empty values; iterable-ndjson: [[0],0,false,"","x"]
empty values; can-ndjson-stream: [[0],0,false,"","x"]
empty values; ndjson: [[0],0,false,"","x"]
empty values; jsonlines: [[0],0,false,"","x"]
empty values; ldjson-stream: [[0],0,false,"","x"]
empty values; json-stream: [[0],"x"]
empty values; newline-json: [[0],0,false,"","x"]
empty values; lstream with JSON.parse: [[0],0,false,"","x"]
empty values; byline with JSON.parse: [[0],0,false,"","x"]
empty values; readline-transform with JSON.parse: [[0],0,false,"","x"]
empty values; pull-ndjson: [[0],0,false,"","x"]
null between others; split2 with JSON.parse: [1,null,2]
null between others; it-ndjson: [1,null,2]
null between others; iterable-ndjson: [1,null,2]
null between others; can-ndjson-stream: [1,null,2]
null between others; ndjson: [1,"an error"]
null between others; jsonlines: [1,"an error"]
null between others; ldjson-stream: [1,"an error"]
null between others; json-stream: [1,2]
null between others; newline-json: [1,false,2]
null between others; lstream with JSON.parse: [1,null,2]
null between others; byline with JSON.parse: [1,null,2]
null between others; readline-transform with JSON.parse: [1,null,2]
null between others; pull-ndjson: [1,null,2]
null at the end; split2 with JSON.parse: [1,null]
null at the end; it-ndjson: [1,null]
null at the end; iterable-ndjson: [1,null]
null at the end; can-ndjson-stream: [1,null]
null at the end; ndjson: [1]
null at the end; jsonlines: [1]
null at the end; ldjson-stream: [1]
null at the end; json-stream: [1]
null at the end; newline-json: [1,false]
null at the end; lstream with JSON.parse: [1,null]
null at the end; byline with JSON.parse: [1,null]
null at the end; readline-transform with JSON.parse: [1,null]
null at the end; pull-ndjson: [1,null]
SEEN
