#!/usr/bin/env bash
# When bsdtar converts a cpio archive into a tar, it writes each file with two names as 0 bytes; pax extracts them as empty; both exit 0.
#
# Guess: bsdtar -cf out.tar @in.cpio (in its manual: entries are copied from the archive) keeps the bytes of all files, whatever of the
# common formats they come in; and each cpio extracts what GNU cpio writes with -H newc.
#
# In a newc archive (initramfs, rpm) the bytes of a file with several names stand behind the last name only, the names before it have
# the size 0 (cpio(5), "New ASCII Format"). Seen with libarchive 3.6.2 and an archive of a, b (one file of 1,092 bytes) and z, written
# by GNU cpio 2.13 and by bsdcpio, 2026-11-29:
#
#   bsdtar -x, bsdcpio, GNU cpio, busybox 1.35.0, 7-Zip 26.02   a and b are the file
#   bsdtar -cf out.tar @in.cpio                                 a and b are empty in out.tar, exit 0
#   bsdtar -cf out.zip --format zip @in.cpio                    a is empty, b is the file, exit 0
#   bsdtar -xf in.cpio a                                        empty, exit 0; GNU cpio gives the file
#   pax 20201030 -r, paxcpio -i                                 a and b are empty, exit 0
#
# The odc format, in which each name has the bytes, is converted and extracted correctly. So pack a snapshot anew from files, never
# convert it from one archive format into another, and check a hash of the extracted files.
#
# Needs Debian's apt-get, python3, and network for its packages only. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 .
apt-get download -q libarchive-tools=3.6.2-1+deb12u5 libarchive13=3.6.2-1+deb12u5 pax=1:20201030-1 cpio=2.13+dfsg-7.1 busybox=1:1.35.0-4+deb12u1+b1 \
    7zip=22.01+really26.02+dfsg-0+deb12u1 >/dev/null 2>&1
mkdir root files
for archive in *.deb; do dpkg -x "$archive" root; done
export LD_LIBRARY_PATH=$work/root/usr/lib/$(uname -m)-linux-gnu PATH=$work/root/usr/bin:$work/root/bin:$PATH

cd files
seq 1 300 > a
ln a b
echo z > z
printf '%s\n' a b z > ../names
cpio -o -H newc < ../names > ../gnu.cpio 2>/dev/null
bsdcpio -o -H newc < ../names > ../bsd.cpio 2>/dev/null
bsdcpio -o -H odc < ../names > ../odc.cpio 2>/dev/null
cd ..
out() { # out NAME COMMAND...: the files that the command leaves in an empty folder
    local name=$1 code=0 line= file
    shift
    rm -rf out
    mkdir out
    (cd out; "$@") >/dev/null 2>&1 || code=$?
    for file in a b z; do [ ! -e "out/$file" ] || line="$line $file $(stat -c %s "out/$file")"; done
    echo "$name:${line:- nothing}, exit $code"
}
for kind in gnu bsd odc; do
    in=$work/$kind.cpio
    out "$kind, bsdtar" bsdtar -xf "$in"
    out "$kind, bsdcpio" sh -c 'bsdcpio -i < "$0"' "$in"
    out "$kind, GNU cpio" sh -c 'cpio -i < "$0"' "$in"
    out "$kind, busybox" sh -c 'busybox cpio -i < "$0"' "$in"
    out "$kind, 7-Zip" 7zz x "$in"
    out "$kind, pax" sh -c 'pax -r < "$0"' "$in"
    out "$kind, paxcpio" sh -c 'paxcpio -i < "$0"' "$in"
    out "$kind, bsdtar, of a alone" bsdtar -xf "$in" a
    out "$kind, GNU cpio, of a alone" sh -c 'cpio -i a < "$0"' "$in"
    bsdtar -cf "$kind.tar" --format pax "@$in"
    bsdtar -cf "$kind.zip" --format zip "@$in"
    out "$kind, turned into tar" tar -xf "$work/$kind.tar"
    out "$kind, turned into zip" python3 -m zipfile -e "$work/$kind.zip" .
done | tee seen
diff seen - <<'SEEN' && echo "as it was"
gnu, bsdtar: a 1092 b 1092 z 2, exit 0
gnu, bsdcpio: a 1092 b 1092 z 2, exit 0
gnu, GNU cpio: a 1092 b 1092 z 2, exit 0
gnu, busybox: a 1092 b 1092 z 2, exit 0
gnu, 7-Zip: a 1092 b 1092 z 2, exit 0
gnu, pax: a 0 b 0 z 2, exit 0
gnu, paxcpio: a 0 b 0 z 2, exit 0
gnu, bsdtar, of a alone: a 0, exit 0
gnu, GNU cpio, of a alone: a 1092, exit 0
gnu, turned into tar: a 0 b 0 z 2, exit 0
gnu, turned into zip: a 0 b 1092 z 2, exit 0
bsd, bsdtar: a 1092 b 1092 z 2, exit 0
bsd, bsdcpio: a 1092 b 1092 z 2, exit 0
bsd, GNU cpio: a 1092 b 1092 z 2, exit 0
bsd, busybox: a 1092 b 1092 z 2, exit 0
bsd, 7-Zip: a 1092 b 1092 z 2, exit 0
bsd, pax: a 0 b 0 z 2, exit 0
bsd, paxcpio: a 0 b 0 z 2, exit 0
bsd, bsdtar, of a alone: a 0, exit 0
bsd, GNU cpio, of a alone: a 1092, exit 0
bsd, turned into tar: a 0 b 0 z 2, exit 0
bsd, turned into zip: a 0 b 1092 z 2, exit 0
odc, bsdtar: a 1092 b 1092 z 2, exit 0
odc, bsdcpio: a 1092 b 1092 z 2, exit 0
odc, GNU cpio: a 1092 b 1092 z 2, exit 0
odc, busybox: nothing, exit 1
odc, 7-Zip: a 1092 b 1092 z 2, exit 0
odc, pax: a 1092 b 1092 z 2, exit 0
odc, paxcpio: a 1092 b 1092 z 2, exit 0
odc, bsdtar, of a alone: a 1092, exit 0
odc, GNU cpio, of a alone: a 1092, exit 0
odc, turned into tar: a 1092 b 1092 z 2, exit 0
odc, turned into zip: a 1092 b 1092 z 2, exit 0
SEEN
