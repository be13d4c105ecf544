#!/usr/bin/env bash
# A sparse file that bsdtar packs with its defaults comes out of most other extractors as another file, with exit 0.
#
# Guess: `bsdtar -c` without any option makes an archive that every extractor for pax archives restores completely; one that does
# not know a way of storing a file reports that.
#
# Seen with bsdtar of libarchive 3.6.2 (Debian 12), 2026-11-28, on a file `disk.img` of 8 MiB that is all hole but for its first and
# last four bytes. bsdtar stores it as pax's "GNU sparse 1.0" without being asked (GNU tar does so with --sparse --format=pax):
#
#   GNU tar 1.34, bsdtar, Python tarfile      disk.img, whole
#   busybox 1.35.0, 7-Zip 26.02,              GNUSparseFile.0/disk.img: a list of numbers and the 8 bytes among zeros, some
#   node-tar 7.5.23, tar-fs 3.1.3             KiB; no disk.img; no word; exit 0
#
# So a file that is packed for others must not be sparse on the disk, or must be packed with `bsdtar --no-read-sparse`, as the last line shows.
#
# Needs Debian's apt-get, tar, python3, node and npm, a temporary folder with holes in files, and network for the two package
# registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 .
for package in libarchive-tools=3.6.2-1+deb12u5 libarchive13=3.6.2-1+deb12u5 busybox=1:1.35.0-4+deb12u1+b1 7zip=22.01+really26.02+dfsg-0+deb12u1; do
    apt-get download -q "$package" >/dev/null 2>&1
done
mkdir root js source
for archive in *.deb; do dpkg -x "$archive" root; done
npm install --silent --no-audit --no-fund --prefix js tar@7.5.23 tar-fs@3.1.3 >/dev/null
export LD_LIBRARY_PATH=$work/root/usr/lib/$(uname -m)-linux-gnu NODE_PATH=$work/js/node_modules
bsdtar=$work/root/usr/bin/bsdtar

printf boot > source/disk.img
truncate -s $((8 * 1024 * 1024 - 4)) source/disk.img
printf end. >> source/disk.img
"$bsdtar" -C source -cf sparse.tar disk.img
"$bsdtar" -C source --no-read-sparse -cf plain.tar disk.img

extracted() { # extracted NAME ARCHIVE COMMAND...: what a command makes of an archive in an empty folder
    local name=$1 code=0
    archive=$work/$2
    shift 2
    rm -rf out
    mkdir out
    (cd out && archive=$archive "$@" </dev/null >../log 2>&1) || code=$?
    if cmp -s out/disk.img source/disk.img; then found=whole; else found=$(cd out && find . -type f | sed 's#^\./##'); fi
    echo "$name: $found, exit $code, $(wc -l <log) lines of output"
}
export TAR="require('tar').x({ file: process.env.archive, cwd: '.', sync: true, strict: true })"
export TAR_FS="require('fs').createReadStream(process.env.archive).pipe(require('tar-fs').extract('.'))"
{
    extracted 'GNU tar' sparse.tar sh -c 'tar xf "$archive"'
    extracted bsdtar sparse.tar sh -c "$bsdtar"' -xf "$archive"'
    extracted Python sparse.tar sh -c 'python3 -m tarfile -e "$archive"'
    extracted busybox sparse.tar sh -c "$work"'/root/bin/busybox tar xf "$archive"'
    extracted 7-Zip sparse.tar sh -c "$work"'/root/usr/bin/7zz x -ttar -y -bso0 -bsp0 "$archive"'
    extracted node-tar sparse.tar node -e "$TAR"
    extracted tar-fs sparse.tar node -e "$TAR_FS"
    extracted 'node-tar, not sparse' plain.tar node -e "$TAR"
} | tee seen
diff seen - <<'SEEN' && echo "as it was"
GNU tar: whole, exit 0, 0 lines of output
bsdtar: whole, exit 0, 0 lines of output
Python: whole, exit 0, 0 lines of output
busybox: GNUSparseFile.0/disk.img, exit 0, 0 lines of output
7-Zip: GNUSparseFile.0/disk.img, exit 0, 0 lines of output
node-tar: GNUSparseFile.0/disk.img, exit 0, 0 lines of output
tar-fs: GNUSparseFile.0/disk.img, exit 0, 0 lines of output
node-tar, not sparse: whole, exit 0, 0 lines of output
SEEN
