#!/usr/bin/env bash
# bsdtar packs an mtree list's files with names that are not ASCII as zero bytes of the right length, under other names, with exit 0.
#
# Guess: an mtree list (names, sizes, hashes of a tree) is one format of which bsdtar writes and reads what mtree does: so `bsdtar @list`,
# the documented way to pack the files of a list, packs those that mtree has found to be as listed, or fails.
#
# Seen with mtree-netbsd 20180822 and libarchive 3.6.2, 2026-11-29. For each file, the list of `mtree -c`, and what its two readers do:
#
#   name                in the list          mtree -f    bsdtar -cf archive @list
#   plain, a b, q?x     plain, a\sb, q?x     intact      the file
#   a line feed         \n                   intact      the file
#   äx                  \M-C\M-$x            intact      a file \M-C\M-$x of zero bytes, as long as listed, exit 0
#   in a folder é       \M-C\M-)             intact      a file in a folder \M-C\M-) of zero bytes, as long as listed, exit 0
#   an escape sign      \^[                  intact      a file \^[ of zero bytes, as long as listed, exit 0
#   a#b, a=b            a\#b, a=b            intact      the whole list is refused: "Unrecognized archive format"
#
# libarchive knows only some of the escapes of vis(3), in which mtree writes names, and looks for a file of the name that is left. A file
# that it does not find comes out as zero bytes too, whatever its name: that is also so for one that was deleted after the list was made.
# The other way round, mtree reads bsdtar's octal escapes, but takes *, ? and [ ] in names for patterns, which bsdtar leaves as they are:
# if q?x is renamed to qzx, mtree says nothing.
#
# So let bsdtar write the list itself, and compare the archive with the list afterwards, by the hashes in it.
#
# Needs Debian's apt-get, GNU tar, python3, and network for the package registry. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 .
apt-get download -q mtree-netbsd=20180822-7 libarchive-tools=3.6.2-1+deb12u5 libarchive13=3.6.2-1+deb12u5 >/dev/null 2>&1
mkdir root
for archive in *.deb; do dpkg -x "$archive" root; done
export LD_LIBRARY_PATH=$work/root/usr/lib/$(uname -m)-linux-gnu PATH=$work/root/usr/bin:$work/root/usr/sbin:$PATH LC_ALL=C.UTF-8

judge() { # judge NAME: what is in archive.tar for the only file of the tree, which was NAME
    python3 - "$1" <<'PY'
import sys, tarfile
wanted = sys.argv[1].encode() + b"\n"
with tarfile.open("archive.tar") as archive:
    for member in archive:
        if member.isfile():
            data = archive.extractfile(member).read()
            name = "its name" if member.name.removeprefix("./") == sys.argv[1] else member.name
            print(name, "its bytes" if data == wanted else "zero bytes" if not any(data) and len(data) == len(wanted) else data)
PY
}
while IFS= read -r quoted; do
    name=$(printf "$quoted")
    rm -rf tree && mkdir tree
    case $name in */*) mkdir "tree/${name%/*}" ;; esac
    echo "$name" > "tree/$name"
    mtree -c -k type,size,mode,sha256 -p tree > list
    code=0
    mtree -f list -p tree > said || code=$?
    [ "$code" = 0 ] && [ ! -s said ] && verdict=intact || verdict="not intact"
    rm -f archive.tar
    code=0
    (cd tree && bsdtar -cf ../archive.tar @../list 2>../said) || code=$?
    [ "$code" = 0 ] && packed=$(judge "$name") || packed=$(head -n 1 said)
    printf '%q: mtree %s; bsdtar exit %s, %s\n' "$name" "$verdict" "$code" "$packed"
done > seen <<'NAMES'
plain
a b
q?x
a\nb
\303\244x
\303\251/in
a\033b
a#b
a=b
NAMES
rm -rf tree && mkdir tree
echo "gone" > tree/gone
mtree -c -k type,size,mode,sha256 -p tree > list
rm tree/gone
code=0
(cd tree && bsdtar -cf ../archive.tar @../list) || code=$?
echo "deleted: bsdtar exit $code, $(judge gone)" >> seen

echo "q?x" > "tree/q?x"
echo é > tree/é
bsdtar --format=mtree --options='!all,type,size,mode,sha256' -cf list -C tree .
mtree -f list -p tree > said && echo "bsdtar's list: mtree exit 0, $(wc -l < said) lines" >> seen
mv "tree/q?x" tree/qzx
mtree -f list -p tree > said && echo "q?x is now qzx: mtree exit 0, $(wc -l < said) lines" >> seen
cat seen
diff seen - <<'SEEN' && echo "as it was"
plain: mtree intact; bsdtar exit 0, its name its bytes
a\ b: mtree intact; bsdtar exit 0, its name its bytes
q\?x: mtree intact; bsdtar exit 0, its name its bytes
$'a\nb': mtree intact; bsdtar exit 0, its name its bytes
äx: mtree intact; bsdtar exit 0, \M-C\M-$x zero bytes
é/in: mtree intact; bsdtar exit 0, \M-C\M-)/in zero bytes
$'a\Eb': mtree intact; bsdtar exit 0, a\^[b zero bytes
a#b: mtree intact; bsdtar exit 1, bsdtar: Unrecognized archive format
a=b: mtree intact; bsdtar exit 1, bsdtar: Unrecognized archive format
deleted: bsdtar exit 0, its name zero bytes
bsdtar's list: mtree exit 0, 0 lines
q?x is now qzx: mtree exit 0, 0 lines
SEEN
