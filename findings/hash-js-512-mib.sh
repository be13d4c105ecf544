#!/usr/bin/env bash
# hash.js gives wrong SHA-256 and SHA-1 of data of 512 MiB or more, with no error.
#
# Guess: FIPS 180-4 (5.1.1) has SHA-1 and SHA-256 for messages of less than 2^64 bits, with the length in the last 64 bits; a library that
# takes data in pieces gives the hash of all of them, or says how much it can take.
#
# Seen with hash.js 1.1.7 (npm), beside sha256-uint8array 0.12.1 of the same registry and Node's own crypto, in pieces of 64 KiB of one
# byte, 2026-11-29:
#
#   512 MiB less one piece    all agree
#   512 MiB                   hash.js has another hash, for sha256 and for sha1
#
# It ends the data with a length of 32 bits, and its manual names no limit. So a good copy of a large snapshot counts as bad, and what it
# tells as the hash no other program finds.
#
# Needs node with npm, a minute or two, and network for the package registry. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . hash.js@1.1.7 sha256-uint8array@0.12.1 >/dev/null
cat > digest.cjs <<'JS'
const hashes = require('hash.js')
const crypto = require('crypto')
const small = require('sha256-uint8array')
const piece = new Uint8Array(65536).fill(97)
const array = Array.from(piece)
const name = process.argv[2]
const counts = [8191, 8192]
for (const count of counts) {
  const makers = { 'Node': () => crypto.createHash(name), 'hash.js': () => hashes[name]() }
  if (name === 'sha256') makers['sha256-uint8array'] = () => small.createHash()
  for (const [library, make] of Object.entries(makers)) {
    const hash = make()
    for (let done = 0; done < count; done++) hash.update(library === 'hash.js' ? array : piece)
    console.log(`${name} of ${count * 65536} bytes, ${library}: ${hash.digest('hex').slice(0, 16)}`)
  }
}
JS
for name in sha256 sha1; do node digest.cjs $name; done | tee seen
diff seen - <<'SEEN' && echo "as it was"
sha256 of 536805376 bytes, Node: 5a0d57c71ec948f4
sha256 of 536805376 bytes, hash.js: 5a0d57c71ec948f4
sha256 of 536805376 bytes, sha256-uint8array: 5a0d57c71ec948f4
sha256 of 536870912 bytes, Node: b9045a713caed5df
sha256 of 536870912 bytes, hash.js: 9af183e7dc0da18f
sha256 of 536870912 bytes, sha256-uint8array: b9045a713caed5df
sha1 of 536805376 bytes, Node: 85febce1b2a6d076
sha1 of 536805376 bytes, hash.js: 85febce1b2a6d076
sha1 of 536870912 bytes, Node: 0ea59bfe87879398
sha1 of 536870912 bytes, hash.js: 40cd9c4b14e7b8d0
SEEN
