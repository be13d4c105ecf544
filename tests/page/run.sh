#!/usr/bin/env bash
# The node's page in a headless Chromium, against a real node.
#
#   cargo build --release && tests/page/run.sh             checks it
#   cargo build --release && tests/page/run.sh pictures    makes the pictures of docs/images anew
#
# Needs Chromium (apt-get install chromium), node with npm, and the npm registry for puppeteer-core, which drives the browser, and
# axe-core, which tests accessibility. TOOLS names a folder that keeps them. Not part of the checks.
set -eu
repository=$(cd "$(dirname "$0")/../.." && pwd)
node=${RPP_NODE:-$repository/target/release/rpp-node}
dir=$(mktemp -d)
tools=${TOOLS:-$dir/tools}
mkdir -p "$tools"
pid=
cleanup() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT

[ -d "$tools/node_modules/axe-core" ] ||
    (cd "$tools" && npm init -y >/dev/null && npm install --no-audit --no-fund --silent puppeteer-core@25 axe-core@4)
# Node.js looks for modules from the script's folder.
mkdir "$dir/page"
cp "$repository"/tests/page/*.mjs "$dir/page"
ln -s "$tools/node_modules" "$dir/page/node_modules"

"$node" init --dir "$dir/node" --genesis "$(printf '07%.0s' $(seq 32))" >/dev/null
"$node" run --config "$dir/node/node.toml" --p2p-listen=/ip4/127.0.0.1/tcp/0 --rpc-listen=127.0.0.1:0 \
    --introspection-listen=127.0.0.1:0 --json >"$dir/node.json" 2>"$dir/node.log" &
pid=$!
until [ -s "$dir/node.json" ]; do sleep 0.1; done
RPP_URL=http://$(sed 's/.*"rpc":"\([^"]*\)".*/\1/' "$dir/node.json")
RPP_TOKEN=$(cat "$dir/node/rpc.token")
PICTURES=$repository/docs/images
RPP_VERSION=$("$node" --version | cut -d' ' -f2)
export RPP_URL RPP_TOKEN RPP_VERSION PICTURES
mkdir -p "$PICTURES"
"${NODEJS:-node}" "$dir/page/${1:-check}.mjs"
