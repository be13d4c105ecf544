#!/usr/bin/env bash
# examples/other-languages/run.sh [NODE] [BYTES]
#
# Streams a snapshot between a node (default: target/release/rpp-node) and programs on other libp2p libraries, both
# ways: their client from our node, and our node from their mirror. Everything is compared byte by byte. The script
# installs what it needs into a temporary folder, in pinned versions. npm and python3 must be there. litep2p also needs
# cargo and protoc, and is left out without them.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
node=$(realpath "${1:-target/release/rpp-node}")
bytes=${2:-5000000}
work=$(mktemp -d)
started=()
finish() {
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

export RPP_INTROSPECTION_ENABLED=false RPP_LOG_FILTER=warn
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
now() { date +%s%3N; }
row() { printf '%-28s %-5s %7d ms   %s\n' "$1" "$2" $(($(now) - begun)) "$3"; }

# background NAME COMMAND...: a program that prints where it listens. `waited` puts that into $address.
background() { local name=$1; shift; "$@" >"$work/$name.log" 2>&1 & started+=($!); }
waited() {
  for _ in $(seq 600); do
    address=$(sed -n 's/^listening on //p' "$work/$1.log" | head -1)
    [ -n "$address" ] && return
    sleep 0.1
  done
  cat "$work/$1.log"; return 1
}

# ours NAME INIT-OPTIONS...: a node of ours in $work/NAME, and its configuration in $config.
ours() {
  local name=$1; shift
  "$node" init --dir "$work/$name" "$@" >"$work/$name.init"
  config=$work/$name/node.toml
  sed -i -e "s|^listen = \[.*|listen = [\"/ip4/127.0.0.1/tcp/$(port)\", \"/ip4/127.0.0.1/udp/$(port)/quic-v1\"]|" \
    -e "s|127.0.0.1:7070|127.0.0.1:$(port)|" "$config"
}
run_ours() {
  "$node" run --config "$2" >"$work/$1.log" 2>&1 & started+=($!)
  for _ in $(seq 600); do grep -qs '"event":"listening"' "$work/$1.log" && return; sleep 0.1; done
  cat "$work/$1.log"; return 1
}

echo "installing into $work"
cp -r "$here/js" "$here/python" "$work"
(cd "$work/js" && npm install --no-audit --no-fund --no-package-lock >"$work/npm.log" 2>&1) || { cat "$work/npm.log"; exit 1; }
js=$work/js/node_modules/.bin/node
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q -r "$work/python/requirements.txt"
py=$work/venv/bin/python
lite=${LITEP2P:-} # one that is built already
if [ -z "$lite" ] && command -v cargo >/dev/null && command -v protoc >/dev/null; then
  cp -r "$here/litep2p" "$work"
  (cd "$work/litep2p" && cargo build -q --release --locked) && lite=$work/litep2p/target/release/rpp-snapshots-litep2p
fi

head -c "$bytes" /dev/urandom >"$work/payload"
ours publisher --publisher
genesis=$(awk '$1 == "genesis" { print $2 }' "$work/publisher.init")
"$node" publish --config "$config" --height 100 "$work/payload" >"$work/published" 2>&1 || { cat "$work/published"; exit 1; }
run_ours publisher "$config"
listens() { grep -o "/ip4[^\"]*$1[^\"]*" "$work/publisher.log" | grep /p2p/ | head -1; }
tcp=$(listens /tcp/) quic=$(listens /quic-v1/)

echo
echo "their clients, our provider"
failed=0
client() { # NAME WORD COMMAND...
  local name=$1 word=$2; shift 2
  begun=$(now)
  if timeout 120 "$@" "$work/got" >"$work/client.log" 2>&1 && cmp -s "$work/got" "$work/payload"; then
    row "$name" "$word" "$(tail -1 "$work/client.log")"
  else
    row "$name" "$word" FAILED; tail -20 "$work/client.log"; failed=1
  fi
  rm -f "$work/got"
}
client js-libp2p tcp "$js" "$work/js/client.mjs" "$tcp"
client py-libp2p tcp "$py" "$work/python/client.py" "$tcp"
client py-libp2p quic "$py" "$work/python/client.py" "$quic"

echo
echo "their providers, our consumer"
provider() { # NAME WORD: what listens at $address
  ours "consumer-$1-$2" --genesis "$genesis"
  run_ours "consumer-$1-$2" "$config"
  begun=$(now)
  if timeout 120 "$node" fetch --config "$config" --peer "$address" >"$work/fetch.log" 2>&1 \
      && cmp -s "$work/consumer-$1-$2/data/snapshots/store/"*/payload "$work/payload"; then
    row "$1" "$2" "verified"
  else
    row "$1" "$2" FAILED; tail -5 "$work/fetch.log"; failed=1
  fi
}
background js "$js" "$work/js/mirror.mjs" "$tcp" /ip4/127.0.0.1/tcp/0
waited js; provider js-libp2p tcp
background py "$py" "$work/python/mirror.py" "$tcp" "/ip4/127.0.0.1/tcp/$(port)"
waited py; provider py-libp2p tcp
background pyq "$py" "$work/python/mirror.py" "$quic" "/ip4/127.0.0.1/udp/$(port)/quic-v1"
waited pyq; provider py-libp2p quic
if [ -n "$lite" ]; then
  background lite "$lite" "$tcp" "/ip4/127.0.0.1/tcp/$(port)"
  waited lite; provider litep2p tcp
  background nagle env NAGLE=1 "$lite" "$tcp" "/ip4/127.0.0.1/tcp/$(port)"
  waited nagle; provider litep2p-without-nodelay tcp
fi
exit "$failed"
