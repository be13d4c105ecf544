#!/usr/bin/env bash
# Mirrors on a server that speaks S3: moto, a Python package that plays Amazon's services on this machine. The library copies to a bucket
# and reads from it; then `rpp-node mirror` is killed half-way and goes on.
#
#   cargo build --release && tests/mirror/run.sh
#
# Needs python3 with venv, and PyPI. Not part of the checks.
set -eu
repository=$(cd "$(dirname "$0")/../.." && pwd)
node=${RPP_NODE:-$repository/target/release/rpp-node}
dir=$(mktemp -d)
pids=()
cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT
got() { curl -sS -f --aws-sigv4 "aws:amz:$AWS_REGION:s3" --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" "$AWS_ENDPOINT/$1"; }
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

if [ -z "${MOTO_SERVER:-}" ]; then
    python3 -m venv "$dir/venv"
    "$dir/venv/bin/pip" -q install 'moto[server]>=5,<6'
    MOTO_SERVER=$dir/venv/bin/moto_server
fi
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$MOTO_SERVER" -H 127.0.0.1 -p "$port" >"$dir/moto.log" 2>&1 &
pids+=($!)
export AWS_ENDPOINT=http://127.0.0.1:$port AWS_ACCESS_KEY_ID=tests AWS_SECRET_ACCESS_KEY=only-for-tests AWS_REGION=us-east-1
until curl -sS -o /dev/null "$AWS_ENDPOINT" 2>/dev/null; do sleep 0.1; done
for bucket in mirror other; do curl -sS -f -o /dev/null -X PUT "$AWS_ENDPOINT/$bucket"; done

if [ -z "${SKIP_LIBRARY:-}" ]; then
    (cd "$repository" && cargo test --release --workspace --locked --lib -- --ignored what_is_copied_to_a_bucket)
fi

"$node" init --dir "$dir/publisher" --publisher >/dev/null
head -c 60000000 /dev/urandom >"$dir/payload"
root=$("$node" publish --config "$dir/publisher/node.toml" --height 1 --json "$dir/payload" | field root)
"$node" mirror --config "$dir/publisher/node.toml" s3://other >"$dir/first" 2>&1 &
first=$!
sleep 0.3
kill -9 "$first" 2>/dev/null || true
wait "$first" 2>/dev/null || true
! got other/snapshots.json >/dev/null 2>&1 || echo "(it was done before it was killed)"
"$node" mirror --config "$dir/publisher/node.toml" s3://other
got "other/$root/payload" | cmp - "$dir/payload"
got other/snapshots.json | grep -q "$root"
sent=$("$node" mirror --config "$dir/publisher/node.toml" --json s3://other | field bytes)
[ "$sent" = 0 ] || { echo "$sent bytes were sent again"; exit 1; }
if grep -q only-for-tests "$dir/first"; then echo "a secret was printed"; exit 1; fi
echo "mirrors: ok"
