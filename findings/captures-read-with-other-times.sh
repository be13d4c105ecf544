#!/usr/bin/env bash
# Readers of network captures give packets other times, leave them out or read them as empty, without an error: dpkt and scapy for pcapng
# files with two interfaces, two sections or a time offset, pycapng, pypcapfile and pypcapkit for files in the other byte order.
#
# Guess: draft-ietf-opsawg-pcapng says what each of these files means: every interface has its own resolution (4.2, if_tsresol) and offset
# (4.2, if_tsoffset, in seconds), interfaces and byte order hold for one section (4.1), simple packets have no time (4.4) and are as long
# as they were if the snap length is 0, no limit (4.2). draft-ietf-opsawg-pcap (4) has pcap in both byte orders, with microseconds or
# nanoseconds. So a reader gives all packets and their times, or says that it does not know something.
#
# Seen with packets of 61 bytes of 2023-11-14 22:13:20.5 UTC, that is 1700000000.5, 2026-11-30; pktcap 0.1.3 reads all of them right (and
# tshark 4.0.17, which is not run here):
#
#   microseconds and nanoseconds on two interfaces   dpkt 1.9.8: the second one's packet is of the year 55840
#   two sections, nanoseconds and microseconds       dpkt, scapy 2.8.0, pycapng 0.19.7: the second one's packet is of 1970
#   two sections, little- and big-endian             dpkt, pycapng: the second one's packet is left out
#   an offset of 1700000000 s                        scapy, pycapng, python-pcapng 2.1.1: the packet is of 1970
#   a simple packet, then another                    dpkt leaves the first out; for scapy it is empty
#   a big-endian file                                pycapng: no packets; it only writes a line to standard error
#   pcap with nanoseconds                            pycapng, and timestamp_us of pypcapfile 0.12.0: 499.5 s later
#   pcap, big-endian                                 pypcapfile: no packets; pypcapkit 1.4.1.post2: one of two, of 1970, of 1 GB
#
# dpkt's first case is known (issue 681 of kbandla/dpkt). So before times of captures from several interfaces or machines are compared,
# write them anew as one little-endian pcap with microseconds, which all of these but python-pcapng read.
#
# Needs python3 with venv, a minute, and network for the package registry. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet dpkt==1.9.8 scapy==2.8.0 python-pcapng==2.1.1 pycapng==0.19.7 pypcapfile==0.12.0 pypcapkit==1.4.1.post2 \
  pktcap==0.1.3
cat > read.py <<'PY'
import logging
import sys
from importlib.metadata import version
from struct import pack

logging.disable(logging.CRITICAL)
SECONDS, HALF = 1700000000, 500000


def packet(number):
    return b"\xff" * 6 + b"\x02\0\0\0\0\x01\x88\xb5" + bytes([number]) * 47


def block(order, kind, body):
    body += bytes(-len(body) % 4)
    size = pack(order + "I", len(body) + 12)
    return pack(order + "I", kind) + size + body + size


def section(order):
    return block(order, 0x0A0D0D0A, pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def interface(order, code=0, value=b""):
    option = pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4) + bytes(4) if code else b""
    return block(order, 1, pack(order + "HHI", 1, 0, 0) + option)


def enhanced(order, number, time, on=0):
    return block(order, 6, pack(order + "IIIII", on, time >> 32, time & 0xFFFFFFFF, 61, 61) + packet(number))


def pcap(order, magic, fraction):
    packets = b"".join(pack(order + "IIII", SECONDS, fraction, 61, 61) + packet(number) for number in (1, 2))
    return pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, 1) + packets


micro, nano = SECONDS * 10**6 + HALF, (SECONDS * 10**6 + HALF) * 1000
in_nanoseconds, offset = (9, b"\x09"), (14, pack("<q", SECONDS))
FILES = {
    "plain": section("<") + interface("<") + enhanced("<", 1, micro) + enhanced("<", 2, micro),
    "two interfaces": section("<") + interface("<") + interface("<", *in_nanoseconds) + enhanced("<", 1, micro) + enhanced("<", 2, nano, 1),
    "two sections": section("<") + interface("<", *in_nanoseconds) + enhanced("<", 1, nano)
    + section("<") + interface("<") + enhanced("<", 2, micro),
    "two orders": section("<") + interface("<") + enhanced("<", 1, micro) + section(">") + interface(">") + enhanced(">", 2, micro),
    "offset": section("<") + interface("<", *offset) + enhanced("<", 1, HALF),
    "simple": section("<") + interface("<") + block("<", 3, pack("<I", 61) + packet(1)) + enhanced("<", 2, micro),
    "big-endian": section(">") + interface(">") + enhanced(">", 1, micro),
    "pcap, micro": pcap("<", 0xA1B2C3D4, HALF),
    "pcap, nano": pcap("<", 0xA1B23C4D, HALF * 1000),
    "pcap, micro, big-endian": pcap(">", 0xA1B2C3D4, HALF),
}


def with_pktcap(name):
    import pktcap
    return [(frame.time if frame.time else None, frame.data) for frame in pktcap.read_frames(name)]


def with_dpkt(name):
    import dpkt
    with open(name, "rb") as file:
        return list(dpkt.pcap.UniversalReader(file))


def with_scapy(name):
    from scapy.utils import PcapReader, RawPcapReader
    with RawPcapReader(name) as raw, PcapReader(name) as reader:
        return [(None if getattr(meta, "tshigh", 0) is None else read.time, data) for (data, meta), read in zip(raw, reader)]


def with_python_pcapng(name):
    import pcapng
    with open(name, "rb") as file:
        return [(getattr(one, "timestamp", None), one.packet_data) for one in pcapng.FileScanner(file) if hasattr(one, "packet_data")]


def with_pycapng(name):
    import pycapng
    return [(one.timestamp_ns / 10**9 if one.has_timestamp else None, bytes(one.data)) for one in pycapng.read_packets(name)]


def with_pypcapfile(name):
    from pcapfile import savefile
    with open(name, "rb") as file:
        return [(one.timestamp + one.timestamp_us / 10**6, one.raw()) for one in savefile.load_savefile(file).packets]


def with_pypcapkit(name):
    import pcapkit
    frames = pcapkit.extract(fin=name, nofile=True, store=True, verbose=False).frame
    return [(frame.info.time_epoch, range(frame.info.cap_len)) for frame in frames]


READERS = {"pktcap": with_pktcap, "dpkt": with_dpkt, "scapy": with_scapy, "python-pcapng": with_python_pcapng, "pycapng": with_pycapng,
           "pypcapfile": with_pypcapfile, "pypcapkit": with_pypcapkit}
for reader in READERS:
    print(f"version of {reader}: {version(reader)}")
for case, data in FILES.items():
    with open("file.pcap", "wb") as file:
        file.write(data)
    for reader, read in READERS.items():
        if reader.startswith("pypcap") and not case.startswith("pcap") or reader == "python-pcapng" and case.startswith("pcap"):
            continue
        packets = [f"{'no time' if time is None else f'{float(time):.6f}'} ({len(data)} bytes)" for time, data in read("file.pcap")]
        print(f"{case}, {reader}: {', '.join(packets) or 'nothing'}")
PY
venv/bin/python read.py 2>errors | tee seen
diff seen - <<'SEEN' && echo "as it was"
version of pktcap: 0.1.3
version of dpkt: 1.9.8
version of scapy: 2.8.0
version of python-pcapng: 2.1.1
version of pycapng: 0.19.7
version of pypcapfile: 0.12.0
version of pypcapkit: 1.4.1.post2
plain, pktcap: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
plain, dpkt: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
plain, scapy: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
plain, python-pcapng: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
plain, pycapng: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
two interfaces, pktcap: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
two interfaces, dpkt: 1700000000.500000 (61 bytes), 1700000000500.000000 (61 bytes)
two interfaces, scapy: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
two interfaces, python-pcapng: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
two interfaces, pycapng: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
two sections, pktcap: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
two sections, dpkt: 1700000000.500000 (61 bytes), 1700000.000500 (61 bytes)
two sections, scapy: 1700000000.500000 (61 bytes), 1700000.000500 (61 bytes)
two sections, python-pcapng: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
two sections, pycapng: 1700000000.500000 (61 bytes), 1700000.000500 (61 bytes)
two orders, pktcap: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
two orders, dpkt: 1700000000.500000 (61 bytes)
two orders, scapy: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
two orders, python-pcapng: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
two orders, pycapng: 1700000000.500000 (61 bytes)
offset, pktcap: 1700000000.500000 (61 bytes)
offset, dpkt: 1700000000.500000 (61 bytes)
offset, scapy: 0.500000 (61 bytes)
offset, python-pcapng: 0.500000 (61 bytes)
offset, pycapng: 0.500000 (61 bytes)
simple, pktcap: no time (61 bytes), 1700000000.500000 (61 bytes)
simple, dpkt: 1700000000.500000 (61 bytes)
simple, scapy: no time (0 bytes), 1700000000.500000 (61 bytes)
simple, python-pcapng: no time (61 bytes), 1700000000.500000 (61 bytes)
simple, pycapng: no time (61 bytes), 1700000000.500000 (61 bytes)
big-endian, pktcap: 1700000000.500000 (61 bytes)
big-endian, dpkt: 1700000000.500000 (61 bytes)
big-endian, scapy: 1700000000.500000 (61 bytes)
big-endian, python-pcapng: 1700000000.500000 (61 bytes)
big-endian, pycapng: nothing
pcap, micro, pktcap: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
pcap, micro, dpkt: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
pcap, micro, scapy: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
pcap, micro, pycapng: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
pcap, micro, pypcapfile: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
pcap, micro, pypcapkit: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
pcap, nano, pktcap: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
pcap, nano, dpkt: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
pcap, nano, scapy: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
pcap, nano, pycapng: 1700000500.000000 (61 bytes), 1700000500.000000 (61 bytes)
pcap, nano, pypcapfile: 1700000500.000000 (61 bytes), 1700000500.000000 (61 bytes)
pcap, nano, pypcapkit: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
pcap, micro, big-endian, pktcap: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
pcap, micro, big-endian, dpkt: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
pcap, micro, big-endian, scapy: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
pcap, micro, big-endian, pycapng: 1700000000.500000 (61 bytes), 1700000000.500000 (61 bytes)
pcap, micro, big-endian, pypcapfile: nothing
pcap, micro, big-endian, pypcapkit: 15816072.424000 (1023410176 bytes)
SEEN
