#!/bin/sh
# Runs a case of the benchmark over a slow link: two network namespaces, joined by TUN devices and a relay that delays
# packets and limits their rate. The kernel needs no netem, but this needs root, `ip` and /dev/net/tun.
#
#   bench/link.sh [--rtt-ms 50] [--mbit 1000] -- link --mib 256 --chunk-kib 64,1024
#   bench/link.sh -- many --count 64 --mib 16
#
# It removes everything that it made when it ends.
set -eu

if [ "$(id -u)" != 0 ]; then
    echo "link.sh makes network namespaces and TUN devices: run it as root" >&2
    exit 1
fi
rtt_ms=50 mbit=1000
while [ $# -gt 0 ]; do
    case "$1" in
        --rtt-ms) rtt_ms=$2; shift 2 ;;
        --mbit) mbit=$2; shift 2 ;;
        --) shift; break ;;
        *) echo "unknown option $1; see the beginning of link.sh" >&2; exit 2 ;;
    esac
done
if [ $# = 0 ]; then
    echo "no case: see the beginning of link.sh" >&2
    exit 2
fi

here=$(dirname "$(realpath "$0")")
bench=${RPP_BENCH:-$here/target/release/rpp-bench}
[ -x "$bench" ] || { echo "$bench is missing: cargo build --release --manifest-path $here/Cargo.toml" >&2; exit 1; }

# Device names have at most 15 characters. They differ for each run, so several runs do not collide.
id=$$
provider=rpp-bench-p-$id consumer=rpp-bench-c-$id
one=rpb${id}p other=rpb${id}c
relay=
said=$(mktemp)
end() {
    [ -z "$relay" ] || kill "$relay" 2>/dev/null || true
    ip netns del "$provider" 2>/dev/null || true
    ip netns del "$consumer" 2>/dev/null || true
    rm -f "$said"
}
trap end EXIT
trap 'exit 1' INT TERM

"$bench" relay --devices "$one" "$other" --rtt-ms "$rtt_ms" --mbit "$mbit" >"$said" &
relay=$!
until grep -q ready "$said"; do
    kill -0 "$relay" 2>/dev/null || { echo "the relay ended" >&2; exit 1; }
    sleep 0.1
done
ip netns add "$provider"
ip netns add "$consumer"
set_up() { # NAMESPACE DEVICE ADDRESS
    ip link set "$2" netns "$1"
    ip -n "$1" addr add "$3/30" dev "$2"
    ip -n "$1" link set lo up
    ip -n "$1" link set "$2" mtu 1500 txqueuelen 1000 up
}
set_up "$provider" "$one" 10.231.7.1
set_up "$consumer" "$other" 10.231.7.2

case=$1
shift
ip netns exec "$consumer" "$bench" "$case" --provider-namespace "$provider" --address 10.231.7.1 "$@"
