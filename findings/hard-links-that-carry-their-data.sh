#!/usr/bin/env bash
# A hard link that carries its bytes, as pax archives may, ends the archive for Python's tarfile: what follows is lost, with no error.
#
# Guess: a size in a header is the length of what follows it, whatever the entry is; a reader of pax archives skips the bytes or
# extracts them, and extracts all later files, or it fails.
#
# POSIX (pax, option linkdata; see also tar(5), "Pax Interchange Format") lets a pax archive have the bytes of a file behind a hard link
# to it, so that either can be extracted alone. Seen with such an archive of one, two (a link to one) and three, 2026-11-29:
#
#   bsdtar 3.6.2, node-tar 7.5.23, tar-fs 3.1.3      all three
#   GNU tar 1.34, pax 20201030                       all three, but a warning and exit 2 or 1
#   7-Zip 26.02                                      one and two, exit 2
#   busybox 1.35.0                                   one, exit 1
#   tarfile of Python 3.8 to 3.13                    one and two, no error: it takes the bytes of two for the next header, which is
#                                                    not one, and that is the end of an archive that is not at its beginning
#   the same with the link behind all other files    all three
#
# So a program that makes archives should write no bytes behind hard links, and one that unpacks with tarfile should count the files.
#
# Needs Debian's apt-get, GNU tar, python3, node with npm, and network for the package registries. Exits 1 when anything changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 .
apt-get download -q libarchive-tools=3.6.2-1+deb12u5 libarchive13=3.6.2-1+deb12u5 pax=1:20201030-1 busybox=1:1.35.0-4+deb12u1+b1 \
    7zip=22.01+really26.02+dfsg-0+deb12u1 tar=1.34+dfsg-1.2+deb12u1 >/dev/null 2>&1
mkdir root
for archive in *.deb; do dpkg -x "$archive" root; done
npm install --silent --no-audit --no-fund --prefix js tar@7.5.23 tar-fs@3.1.3 >/dev/null
export LD_LIBRARY_PATH=$work/root/usr/lib/$(uname -m)-linux-gnu PATH=$work/root/usr/bin:$work/root/bin:$PATH

cat > make.py <<'PY'
import tarfile
def header(name, kind, size, link=""):
    one = tarfile.TarInfo(name)
    one.type, one.size, one.linkname, one.mtime, one.mode = kind, size, link, 1_700_000_000, 0o644
    return one.tobuf(tarfile.USTAR_FORMAT)
def entry(name, kind, data, link=""):
    record = b"30 mtime=1700000000.123456789\n"
    assert len(record) == 30
    pad = lambda block: block + bytes(-len(block) % 512)
    return header("PaxHeaders/" + name, tarfile.XHDTYPE, len(record)) + pad(record) + header(name, kind, len(data), link) + pad(data)
BYTES = b"".join(b"%d\n" % number for number in range(300))
one, two, three = entry("one", b"0", BYTES), entry("two", b"1", BYTES, "one"), entry("three", b"0", b"three\n")
for path, entries in {"between.tar": one + two + three, "behind.tar": one + three + two}.items():
    open(path, "wb").write(entries + bytes(1024))
PY
python3 make.py
cat > js/read.cjs <<'JS'
const [name, path] = process.argv.slice(2)
if (name === 'tar') require('tar').x({ file: path, sync: true, strict: true })
else require('fs').createReadStream(path).pipe(require('tar-fs').extract('.')).on('error', () => { process.exitCode = 1 })
JS
out() { # out NAME COMMAND...: the files that the command leaves in an empty folder
    local name=$1 code=0 line= file
    shift
    rm -rf out
    mkdir out
    (cd out; "$@") >/dev/null 2>&1 || code=$?
    for file in one two three; do [ ! -e "out/$file" ] || line="$line $file $(stat -c %s "out/$file")"; done
    echo "$name:${line:- nothing}, exit $code"
}
for kind in between behind; do
    in=$work/$kind.tar
    out "$kind, bsdtar" bsdtar -xf "$in"
    out "$kind, GNU tar" tar -xf "$in"
    out "$kind, busybox" busybox tar -xf "$in"
    out "$kind, 7-Zip" 7zz x "$in"
    out "$kind, pax" sh -c 'pax -r -p e < "$0"' "$in"
    out "$kind, node-tar" node "$work/js/read.cjs" tar "$in"
    out "$kind, tar-fs" node "$work/js/read.cjs" tar-fs "$in"
    out "$kind, tarfile" python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall()' "$in"
    out "$kind, tarfile, a stream" sh -c 'python3 -c "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode=\"r|\").extractall()" < "$0"' "$in"
    out "$kind, python3 -m tarfile" python3 -m tarfile -e "$in" .
done | tee seen
diff seen - <<'SEEN' && echo "as it was"
between, bsdtar: one 1090 two 1090 three 6, exit 0
between, GNU tar: one 1090 two 1090 three 6, exit 2
between, busybox: one 1090, exit 1
between, 7-Zip: one 1090 two 1090, exit 2
between, pax: one 1090 two 1090 three 6, exit 1
between, node-tar: one 1090 two 1090 three 6, exit 0
between, tar-fs: one 1090 two 1090 three 6, exit 0
between, tarfile: one 1090 two 1090, exit 0
between, tarfile, a stream: one 1090 two 1090, exit 0
between, python3 -m tarfile: one 1090 two 1090, exit 0
behind, bsdtar: one 1090 two 1090 three 6, exit 0
behind, GNU tar: one 1090 two 1090 three 6, exit 2
behind, busybox: one 1090 three 6, exit 1
behind, 7-Zip: one 1090 two 1090 three 6, exit 2
behind, pax: one 1090 two 1090 three 6, exit 1
behind, node-tar: one 1090 two 1090 three 6, exit 0
behind, tar-fs: one 1090 two 1090 three 6, exit 0
behind, tarfile: one 1090 two 1090 three 6, exit 0
behind, tarfile, a stream: one 1090 two 1090 three 6, exit 0
behind, python3 -m tarfile: one 1090 two 1090 three 6, exit 0
SEEN
