#!/usr/bin/env bash
# On one LAN, js-libp2p finds py-libp2p by mDNS with one of its addresses; py-libp2p never finds js-libp2p.
#
# Guess: both follow the same specification (service _p2p._udp.local, one dnsaddr= attribute in TXT for each address), so that each
# finds the other with all addresses.
#
# Seen with @libp2p/mdns 12.0.32 (js-libp2p 3.3.11, Node 22) and py-libp2p 0.8.1 (zeroconf 0.150.5), two nodes of each that listen on
# two addresses, 2026-11-28. How many addresses a node of the row learns of one of the column:
#
#          js-libp2p   py-libp2p
#   js     2           1
#   py     not found   2
#
# py calls the second address `dnsaddr2=`, which js ignores. js answers with PTR and TXT; py asks for SRV and A as well, never gets
# them, and gives up. So a node that was found through mDNS may not have found the other node, and mixed networks need another way of
# discovery beside mDNS.
#
# Needs node with npm, python3 with venv, ip, unshare with the right to make a network namespace (all mDNS stays in there), and the
# two package registries. Exits 1 when anything of this changes.
set -euo pipefail
if [ -z "${LAN:-}" ]; then
    script=$(realpath "$0")
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir "$work/js"
    cd "$work/js"
    echo '{ "private": true, "type": "module" }' > package.json
    npm install --silent --no-audit --no-fund libp2p@3.3.11 @libp2p/tcp@11.0.28 @libp2p/mdns@12.0.32 @chainsafe/libp2p-noise@17.0.0 \
        @chainsafe/libp2p-yamux@8.0.1 node@22.23.3 >/dev/null
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check libp2p==0.8.1 zeroconf==0.150.5
    LAN=$work unshare --net --map-root-user "$BASH" "$script"
    exit
fi

# The LAN is one end of a veth pair that nobody is at the other end of: multicast comes back to the sockets of this namespace.
cd "$LAN/js"
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true' EXIT
ip link set lo up
ip link add lan type veth peer name other
ip addr add 10.77.0.1/24 dev lan
ip addr add 10.77.0.2/24 dev lan
ip link set other up
ip link set lan up multicast on
ip route add default dev lan

cat > node.mjs <<'JS'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { mdns } from '@libp2p/mdns'
import { tcp } from '@libp2p/tcp'
import { createLibp2p } from 'libp2p'
const [name, ...listen] = process.argv.slice(2)
const node = await createLibp2p({
  addresses: { listen }, transports: [tcp()], connectionEncrypters: [noise()], streamMuxers: [yamux()],
  peerDiscovery: [mdns({ interval: 2000 })], start: false
})
node.addEventListener('peer:discovery', ({ detail }) => console.log(name, 'found', detail.id.toString(), detail.multiaddrs.length))
await node.start()
console.log(name, 'is', node.peerId.toString())
JS
cat > node.py <<'PY'
import logging, sys
import trio
from libp2p import new_host
from libp2p.discovery.events.peerDiscovery import peerDiscovery
from multiaddr import Multiaddr
name, *listen = sys.argv[1:]
class GaveUp(logging.Handler):
    def emit(self, record):
        if record.getMessage().endswith("after retries"):
            print(name, "gave up", record.getMessage().split()[6], flush=True)
logging.getLogger("libp2p.discovery.mdns.listener").addHandler(GaveUp())
async def main():
    host = new_host(enable_mDNS=True)
    peerDiscovery.register_peer_discovered_handler(lambda peer: print(name, "found", peer.peer_id, len(peer.addrs), flush=True))
    async with host.run([Multiaddr(address) for address in listen]):
        print(name, "is", host.get_id(), flush=True)
        await trio.sleep_forever()
trio.run(main)
PY
: > said
start() { # start NAME PORT COMMAND...
    local name=$1 port=$2
    shift 2
    "$@" "$name" "/ip4/10.77.0.1/tcp/$port" "/ip4/10.77.0.2/tcp/$port" >> said 2>> err & pids+=($!)
}
lines() { # lines COUNT PATTERN: waits until so many different lines match
    for _ in $(seq 400); do [ "$(grep -E "$2" said | sort -u | wc -l)" -ge "$1" ] && return; sleep 0.5; done
    echo "not seen: $2" >&2
    cat said err >&2
    exit 1
}
start py1 4001 "$LAN/venv/bin/python" node.py
lines 1 '^py1 is'
start py2 4002 "$LAN/venv/bin/python" node.py
# Two that start at once may need long for both directions; one shows that py finds its own kind.
lines 1 '^py. found'
start js1 4003 node_modules/.bin/node node.mjs
start js2 4004 node_modules/.bin/node node.mjs
lines 6 '^js. found'
lines 4 '^py. gave up'
awk '$2 == "is" { name[$3] = $1 } $2 == "found" { count[$1 " " $3] = $4 }
    END { for (pair in count) { split(pair, part, " "); print substr(part[1], 1, 2), "finds", substr(name[part[2]], 1, 2), "with", count[pair] } }' \
    said | sort -u | tee seen
diff seen - <<'SEEN' && echo "as it was"
js finds js with 2
js finds py with 1
py finds py with 2
SEEN
