#!/bin/sh
# busybox tar takes the path of a pax header, but not its size.
#
# Input: a POSIX pax archive with a file of 8 GiB, whose size only the pax header can say, and a small file after it. GNU tar lists
# both. One would expect the same of busybox, which takes the path from the same kind of header, or an error. Instead, the
# large file is listed with 0 bytes, the small one is not listed at all, and the exit code is 0. Extracting does the same.
#
# Exits with 0 while this is so, and with 1 if it has changed. Needs apt-get, dpkg, tar and python3; takes no room.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download 'busybox-static=1:1.35.0-4+deb12u1+b1' >/dev/null 2>&1
dpkg -x busybox-static_*.deb root
busybox=root/bin/busybox
[ -x "$busybox" ] || busybox=root/usr/bin/busybox
python3 - <<'PYTHON'
import tarfile
size = 8 << 30
with open("large.tar", "wb") as out:
    name = tarfile.TarInfo("large")
    name.size = size
    header = name.tobuf(tarfile.PAX_FORMAT)
    after = tarfile.TarInfo("after")
    after.size = 6
    out.write(header)
    out.seek(size, 1)
    out.write(after.tobuf(tarfile.PAX_FORMAT) + b"after\n".ljust(512, b"\0") + bytes(1024))
PYTHON
version=$("$busybox" | head -n 1)
expected=$(tar tf large.tar | tr '\n' ' ')
code=0
seen=$("$busybox" tar tvf large.tar 2>&1) || code=$?
echo "version:  $version"
echo "GNU tar:  $expected"
echo "busybox:  exit $code: $seen"
[ "$expected" = "large after " ]
[ "$code" = 0 ] && [ "$(echo "$seen" | wc -l)" = 1 ] && echo "$seen" | grep -q ' 0 .* large$'
