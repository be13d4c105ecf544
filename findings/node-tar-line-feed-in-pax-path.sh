#!/bin/sh
# node-tar reads a pax header line by line, although its records say how long they are.
#
# Input: a POSIX pax archive with one file whose name is long enough for a pax header and has a line feed in it, which POSIX
# allows: the record's length counts it. Python's tarfile and GNU tar restore the name. node-tar ignores the record,
# and extracts the file under the first 100 bytes of its name, without a warning in strict mode.
#
# Exits with 0 while this is so, and with 1 if it has changed. Needs npm, node and python3.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm --prefix . --silent --no-fund --no-audit install tar@7.5.23
python3 - <<'PYTHON'
import io, tarfile
with tarfile.open("line.tar", "w", format=tarfile.PAX_FORMAT) as out:
    entry = tarfile.TarInfo("first\n" + "n" * 120)
    entry.size = 2
    out.addfile(entry, io.BytesIO(b"x\n"))
PYTHON
mkdir node python
python3 -m tarfile -e line.tar python
code=0
said=$(node -e 'require("tar").x({file: "line.tar", cwd: "node", sync: true, strict: true})' 2>&1) || code=$?
names() { python3 -c 'import os, sys; print(ascii(os.listdir(sys.argv[1])))' "$1"; }
echo "version:  $(node -p 'require("tar/package.json").version') on node $(node --version)"
printf "%s\n" "tarfile:  $(names python)"
printf "%s\n" "node-tar: exit $code: $(names node) $said"
[ "$code" = 0 ] && [ "$(names node)" != "$(names python)" ]
