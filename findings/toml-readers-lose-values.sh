#!/usr/bin/env bash
# Three TOML libraries lose valid values without an error: all after a string with CRLF, octal numbers, the second half of a character.
#
# Guess: a library reads valid TOML 1.0 correctly or refuses it; old libraries refuse newer syntax.
#
# Seen with toml 0.10.2 (PyPI), @ltd/j-toml 1.38.0 and fast-toml 0.5.4 (npm), beside tomllib of Python and smol-toml 1.9.1, 2026-11-29:
#
#                                                    tomllib, smol-toml    the other
#   """ over two lines, in a file with CRLF, and     all three             toml: only what stands before the string (loads; load with
#   a key before and a table after it                                      Python's own translation of line ends is right)
#   mode = 0o755, mask = 0b11                        493, 3                @ltd/j-toml with { bigint: false }: 0, 0
#   "\U0001F600"                                     U+1F600               fast-toml: U+F600
#   a line that ends in \ in a """ string            no blanks             fast-toml: keeps those of the next line
#
# So check a configuration after reading it with one of them: no error tells that half of it is missing.
#
# Needs python3 (3.11 or newer) with venv, node with npm, and network for the two package registries. Exits 1 when anything changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check toml==0.10.2
npm install --silent --no-audit --no-fund --prefix js @ltd/j-toml@1.38.0 fast-toml@0.5.4 smol-toml@1.9.1 >/dev/null
printf 'before = 1\r\ntext = """one\r\ntwo"""\r\n[after]\r\nmore = 2\r\n' > lines.toml
printf 'mode = 0o755\nmask = 0b11\n' > numbers.toml
printf 'text = "\\U0001F600"\n' > character.toml
printf 'text = """one \\\n   two"""\n' > backslash.toml
cat > read.py <<'PY'
import json, tomllib
import toml
for name in ["lines", "numbers", "character", "backslash"]:
    with open(f"{name}.toml", newline="") as file:
        text = file.read()
    for library in [tomllib, toml]:
        print(name, library.__name__, json.dumps(library.loads(text), separators=(",", ":")))
PY
cat > js/read.cjs <<'JS'
const { readFileSync } = require('fs')
const libraries = {
  'smol-toml': require('smol-toml').parse,
  '@ltd/j-toml': text => require('@ltd/j-toml').parse(text, { bigint: false, joiner: '\n' }),
  'fast-toml': require('fast-toml').parse
}
const ascii = value => JSON.stringify(value).replace(/[^ -~]/g, one => '\\u' + one.charCodeAt(0).toString(16).padStart(4, '0'))
for (const name of ['lines', 'numbers', 'character', 'backslash']) {
  for (const [library, parse] of Object.entries(libraries)) console.log(name, library, ascii(parse(readFileSync(`${name}.toml`, 'utf8'))))
}
JS
{ venv/bin/python read.py; node js/read.cjs; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
lines tomllib {"before":1,"text":"one\ntwo","after":{"more":2}}
lines toml {"before":1}
numbers tomllib {"mode":493,"mask":3}
numbers toml {"mode":493,"mask":3}
character tomllib {"text":"\ud83d\ude00"}
character toml {"text":"\ud83d\ude00"}
backslash tomllib {"text":"one two"}
backslash toml {"text":"one two"}
lines smol-toml {"before":1,"text":"one\r\ntwo","after":{"more":2}}
lines @ltd/j-toml {"before":1,"text":"one\ntwo","after":{"more":2}}
lines fast-toml {"before":1,"text":"one\r\ntwo","after":{"more":2}}
numbers smol-toml {"mode":493,"mask":3}
numbers @ltd/j-toml {"mode":0,"mask":0}
numbers fast-toml {"mode":493,"mask":3}
character smol-toml {"text":"\ud83d\ude00"}
character @ltd/j-toml {"text":"\ud83d\ude00"}
character fast-toml {"text":"\uf600"}
backslash smol-toml {"text":"one two"}
backslash @ltd/j-toml {"text":"one two"}
backslash fast-toml {"text":"one    two"}
SEEN
