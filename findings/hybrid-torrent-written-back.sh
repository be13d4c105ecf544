#!/usr/bin/env bash
# libtorrent refuses a hybrid torrent that torrentool or three bencode libraries of npm have read and written back.
#
# Guess: a hybrid torrent (BEP 52) is made for programs that know only version 1: reading it, changing the comment or a tracker and writing
# it gives the same torrent, as with one of version 1, since what is not known is kept.
#
# Seen with torrents of libtorrent 2.1.1, 2026-11-29; "refused" is what libtorrent then says to it:
#
#                                            version 1     hybrid of the same folder
#   bencode.py 4.1.0, fastbencode 0.3.12     same bytes    same bytes
#   torrentool 1.2.0 (PyPI)                  same bytes    written without an error, refused; tells another info hash
#   bencode 4.0.1, bencodec 3.1.0,
#   dht-bencode 0.1.2 (npm)                  same bytes    written without an error, refused
#   torf 4.3.1 (PyPI)                        same bytes    an error
#   transmission-edit -a, 3.00               a new tracker not changed, exit 0
#
# The keys of `piece layers` are hashes, that is bytes, which these tools treat as text. So change a hybrid only with a tool that is known
# to keep them (or make it anew), and check it with another program before you publish it.
#
# Needs Debian's apt-get, python3 with venv, node with npm, and network for the package registries. Exits 1 when anything changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 .
apt-get download -q transmission-cli=3.00-2.1+deb12u1 libevent-2.1-7 libminiupnpc17 libnatpmp1 >/dev/null 2>&1
mkdir root home
for archive in *.deb; do dpkg -x "$archive" root; done
export HOME=$work/home
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check libtorrent==2.1.1 bencode.py==4.1.0 fastbencode==0.3.12 torrentool==1.2.0 torf==4.3.1
npm install --silent --no-audit --no-fund --prefix js bencode@4.0.1 bencodec@3.1.0 dht-bencode@0.1.2 >/dev/null

cat > make.py <<'PY'
import os, warnings
import libtorrent
warnings.simplefilter("ignore", DeprecationWarning)
os.mkdir("folder")
for name, size in [("one", 100_000), ("two", 70_000)]:
    with open(f"folder/{name}", "wb") as out:
        out.write(bytes((index * index // 7 + index + size) % 251 for index in range(size)))
for version, flags in [("1", libtorrent.create_torrent.v1_only), ("hybrid", 0)]:
    files = libtorrent.file_storage()
    libtorrent.add_files(files, "folder")
    torrent = libtorrent.create_torrent(files, 32768, flags)
    libtorrent.set_piece_hashes(torrent, ".")
    with open(f"{version}.torrent", "wb") as out:
        out.write(libtorrent.bencode(torrent.generate()))
PY
cat > back.py <<'PY'
import io, sys
library, torrent = sys.argv[1:]
data = open(torrent, "rb").read()
if library == "bencode.py":
    import bencodepy
    written = bencodepy.encode(bencodepy.decode(data))
elif library == "fastbencode":
    import fastbencode
    written = fastbencode.bencode(fastbencode.bdecode(data))
elif library == "torf":
    import torf
    written = torf.Torrent.read_stream(io.BytesIO(data)).dump()
else:
    from torrentool.api import Torrent
    written = Torrent.from_string(data).to_string()
open("back.torrent", "wb").write(written)
PY
cat > back.mjs <<'JS'
import { readFileSync, writeFileSync } from 'node:fs'
const [library, torrent] = process.argv.slice(2)
const { default: all, ...named } = await import(library)
const { encode = all.encode ?? all.bencode, decode = all.decode ?? all.bdecode } = named
writeFileSync('back.torrent', encode(decode(readFileSync(torrent))))
JS
cp back.mjs js
cat > judge.py <<'PY'
import sys, warnings
import libtorrent
warnings.simplefilter("ignore", DeprecationWarning)
original, back = (open(path, "rb").read() for path in (sys.argv[1], "back.torrent"))
if original == back:
    print("same bytes")
else:
    try:
        same = libtorrent.torrent_info(back).info_hashes() == libtorrent.torrent_info(original).info_hashes()
        print("the same torrent" if same else "another torrent")
    except RuntimeError as error:
        print("refused:", error)
PY
transmission() { # as the libraries, with a tracker added
    cp "$1" back.torrent
    LD_LIBRARY_PATH=$work/root/usr/lib/$(uname -m)-linux-gnu root/usr/bin/transmission-edit -a http://127.0.0.1/announce back.torrent
}
venv/bin/python make.py
for torrent in 1.torrent hybrid.torrent; do
    while read -r name command; do
        code=0
        rm -f back.torrent
        $command $torrent >/dev/null 2>&1 </dev/null || code=1
        echo "$torrent $name: exit $code, $([ -s back.torrent ] && venv/bin/python judge.py $torrent || echo nothing written)"
    done <<'LIBRARIES'
bencode.py venv/bin/python back.py bencode.py
fastbencode venv/bin/python back.py fastbencode
torf venv/bin/python back.py torf
torrentool venv/bin/python back.py torrentool
bencode node js/back.mjs bencode
bencodec node js/back.mjs bencodec
dht-bencode node js/back.mjs dht-bencode
transmission transmission
LIBRARIES
    venv/bin/python - $torrent <<'PY'
import sys, warnings
import libtorrent
from torrentool.api import Torrent
warnings.simplefilter("ignore", DeprecationWarning)
hash = str(libtorrent.torrent_info(sys.argv[1]).info_hashes().v1)
print(f"{sys.argv[1]} torrentool's info hash:", "the same" if Torrent.from_file(sys.argv[1]).info_hash == hash else "another")
PY
done | tee seen
diff seen - <<'SEEN' && echo "as it was"
1.torrent bencode.py: exit 0, same bytes
1.torrent fastbencode: exit 0, same bytes
1.torrent torf: exit 0, same bytes
1.torrent torrentool: exit 0, same bytes
1.torrent bencode: exit 0, same bytes
1.torrent bencodec: exit 0, same bytes
1.torrent dht-bencode: exit 0, same bytes
1.torrent transmission: exit 0, the same torrent
1.torrent torrentool's info hash: the same
hybrid.torrent bencode.py: exit 0, same bytes
hybrid.torrent fastbencode: exit 0, same bytes
hybrid.torrent torf: exit 1, nothing written
hybrid.torrent torrentool: exit 0, refused: a v2 file entry has no root hash [libtorrent:216]
hybrid.torrent bencode: exit 0, refused: a piece layer is invalid [libtorrent:215]
hybrid.torrent bencodec: exit 0, refused: a piece layer is invalid [libtorrent:215]
hybrid.torrent dht-bencode: exit 0, refused: a piece layer is invalid [libtorrent:215]
hybrid.torrent transmission: exit 0, same bytes
hybrid.torrent torrentool's info hash: another
SEEN
