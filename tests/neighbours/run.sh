#!/usr/bin/env bash
# Shows that mDNS finds a neighbour. Two network namespaces are joined by one virtual link. A publisher runs in one of
# them. In the other, a consumer that is given no address fetches and verifies the publisher's snapshot.
#
#   sudo tests/neighbours/run.sh [RPP_NODE]      default: target/release/rpp-node
#
# It needs root, because it makes network namespaces, and iproute2. It changes nothing outside them, and removes them again.
set -euo pipefail

node=$(realpath "${1:-target/release/rpp-node}")
[ "$(id -u)" = 0 ] || { echo "run.sh: network namespaces need root"; exit 2; }
command -v ip >/dev/null || { echo "run.sh: ip of iproute2 is missing"; exit 2; }
[ -x "$node" ] || { echo "run.sh: no program $node: cargo build --release --locked"; exit 2; }

work=$(mktemp -d)
one=rpp-one-$$ two=rpp-two-$$
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    ip netns delete "$one" 2>/dev/null || true
    ip netns delete "$two" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

ip netns add "$one"
ip netns add "$two"
ip -n "$one" link add link0 type veth peer name link0 netns "$two"
number=1
for space in "$one" "$two"; do
    ip -n "$space" link set lo up
    ip -n "$space" address add "10.77.0.$number/24" dev link0
    ip -n "$space" link set link0 up
    # Multicast goes over the link.
    ip -n "$space" route add 224.0.0.0/4 dev link0
    number=$((number + 1))
done

"$node" init --dir "$work/publisher" --publisher >"$work/init.txt"
"$node" init --dir "$work/consumer" >/dev/null
head -c 3000000 /dev/urandom >"$work/state"
genesis=$("$node" publish --config "$work/publisher/node.toml" --height 1 --json "$work/state" |
    sed -n 's/.*"genesis" *: *"\([0-9a-f]\{64\}\)".*/\1/p')
[ -n "$genesis" ] || { echo "run.sh: publish named no genesis"; exit 1; }

run() { # run NAMESPACE FOLDER VARIABLES...
    local space=$1 folder=$2
    shift 2
    ip netns exec "$space" env RPP_DISCOVERY_MDNS=true RPP_INTROSPECTION_ENABLED=false "$@" \
        "$node" run --config "$folder/node.toml" >"$folder/out.txt" 2>"$folder/log.txt" &
    pids+=($!)
    for _ in $(seq 1200); do
        ip netns exec "$space" "$node" health --ready --config "$folder/node.toml" >/dev/null 2>&1 && return
        sleep 0.1
    done
    cat "$folder/log.txt"
    echo "run.sh: the node of $folder is not ready"
    exit 1
}
run "$one" "$work/publisher"
run "$two" "$work/consumer" "RPP_TRUST_GENESIS=$genesis"

if ! ip netns exec "$two" env "RPP_TRUST_GENESIS=$genesis" timeout 300 \
    "$node" fetch --config "$work/consumer/node.toml" --json >"$work/fetched.json" 2>"$work/fetch.txt"; then
    cat "$work/fetch.txt" "$work/consumer/log.txt"
    echo "run.sh: the neighbour was not found"
    exit 1
fi
root=$(sed -n 's/.*"root" *: *"\([0-9a-f]\{64\}\)".*/\1/p' "$work/fetched.json" | head -n 1)
cmp "$work/state" "$work/consumer/data/snapshots/store/$root/payload"
grep -q '"verified" *: *true' "$work/fetched.json"
echo "found, fetched and verified: $root"
