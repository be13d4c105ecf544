#!/usr/bin/env bash
# A torrent of version 2 that torrentfile makes of one file is never complete in libtorrent, with that very file beside it.
#
# Guess: a torrent of version 2 (BEP 52) that one program makes of a file is found complete by another that checks the same file.
#
# Seen with torrentfile 0.9.2 and libtorrent 2.1.1 (PyPI), 2026-11-29, with pieces of 32 KiB. The share of the
# complete data that libtorrent finds when it checks it (it reports no error and continues as a downloader):
#
#   made by torrentfile              version 1   version 2   hybrid
#   one file of 100,000 bytes        100 %       0 %         98 %, all but the last piece
#   one file of 98,304 (3 pieces)    100 %       0 %         100 %
#   a folder with that file          100 %       100 %       100 %
#
# Made by libtorrent itself all nine are complete. For one file torrentfile puts the `length` of version 1 beside the file tree of
# version 2, and in a hybrid it hashes the last piece of version 1 as if zeros came after the file.
#
# So torrents of single files made with it must be made anew; put the file into a folder, or use another maker.
#
# Needs python3 with venv and network for the package registry; libtorrent listens on loopback only. Exits 1 when anything changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check libtorrent==2.1.1 torrentfile==0.9.2
mkdir folder home
export HOME=$work/home
python3 -c '
for name, size in [("file", 100_000), ("even", 3 * 32768)]:
    open(name, "wb").write(bytes((index * index // 7 + index) % 251 for index in range(size)))'
cp file folder
cat > check.py <<'PY'
import sys, time, warnings
import libtorrent
warnings.simplefilter("ignore", DeprecationWarning)
FLAGS = {"1": libtorrent.create_torrent.v1_only, "2": libtorrent.create_torrent.v2_only, "3": 0}
session = libtorrent.session({"listen_interfaces": "127.0.0.1:0", "enable_dht": False, "enable_lsd": False, "enable_upnp": False,
                              "enable_natpmp": False})

def made(content, version):
    files = libtorrent.file_storage()
    libtorrent.add_files(files, content)
    torrent = libtorrent.create_torrent(files, 32768, FLAGS[version])
    libtorrent.set_piece_hashes(torrent, ".")
    return torrent.generate()

def found(name, info):
    parameters = libtorrent.add_torrent_params()
    parameters.ti, parameters.save_path = info, "."
    torrent = session.add_torrent(parameters)
    for _ in range(600):
        status = torrent.status()
        if status.state in (status.downloading, status.finished, status.seeding):
            break
        time.sleep(0.1)
    hashes = info.info_hashes()
    print(f"{name}: {status.progress:.0%}, {status.errc.message()}, {str(hashes.v1)[:6]} {str(hashes.v2)[:6]}")
    session.remove_torrent(torrent)

for content in ["file", "even", "folder"]:
    for version in FLAGS:
        found(f"{content} {version} torrentfile", libtorrent.torrent_info(f"{content}-{version}.torrent"))
        found(f"{content} {version} libtorrent", libtorrent.torrent_info(made(content, version)))
PY
for content in file even folder; do
    for version in 1 2 3; do
        venv/bin/torrentfile create --prog 0 --meta-version $version --piece-length 15 -o "$content-$version.torrent" $content \
            >/dev/null 2>&1 </dev/null
    done
done
venv/bin/python check.py | tee seen
diff seen - <<'SEEN' && echo "as it was"
file 1 torrentfile: 100%, Success, acac02 000000
file 1 libtorrent: 100%, Success, acac02 000000
file 2 torrentfile: 0%, Success, 30cefd 2c8f10
file 2 libtorrent: 100%, Success, 000000 bb43e7
file 3 torrentfile: 98%, Success, a51528 8ca1d5
file 3 libtorrent: 100%, Success, 22d48f 5afbda
even 1 torrentfile: 100%, Success, 2fdd50 000000
even 1 libtorrent: 100%, Success, 2fdd50 000000
even 2 torrentfile: 0%, Success, 167bb2 5dde57
even 2 libtorrent: 100%, Success, 000000 d64767
even 3 torrentfile: 100%, Success, 38c627 f32b66
even 3 libtorrent: 100%, Success, 38c627 f32b66
folder 1 torrentfile: 100%, Success, 608988 000000
folder 1 libtorrent: 100%, Success, 608988 000000
folder 2 torrentfile: 100%, Success, 000000 71dccc
folder 2 libtorrent: 100%, Success, 000000 71dccc
folder 3 torrentfile: 100%, Success, 1ad86d 3b2a6d
folder 3 libtorrent: 100%, Success, 1879a2 236fda
SEEN
