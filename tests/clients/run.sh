#!/usr/bin/env bash
# Tests generated clients of the control plane, each against its own real node. schemathesis calls every operation with all
# of its checks; redocly finds no error in the description; clients by openapi-python-client, openapi-typescript, hey-api and
# progenitor are generated, compiled and used.
#
#   cargo build --release && tests/clients/run.sh [schemathesis|redocly|python|typescript|hey-api|progenitor]...
#
# Needs python3 with venv, node with npm, cargo, and a registry for each. TOOLS names a folder that keeps the installed tools,
# EXAMPLES sets the number of requests of schemathesis for each operation (50). Not part of the checks.
set -eu
repository=$(cd "$(dirname "$0")/../.." && pwd)
here=$repository/tests/clients
node=${RPP_NODE:-$repository/target/release/rpp-node}
dir=$(mktemp -d)
tools=${TOOLS:-$dir/tools}
mkdir -p "$tools"
pid=
cleanup_node() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    wait 2>/dev/null || true
    pid=
    rm -rf "$dir/node" "$dir/node.json"
}
cleanup() {
    cleanup_node
    rm -rf "$dir"
}
trap cleanup EXIT

fresh_node() { # one that no other tool has asked, in RPP_URL and RPP_TOKEN; its descriptions are in $dir
    cleanup_node
    "$node" init --dir "$dir/node" >/dev/null
    sed -i -e 's#^listen = \["/ip4/.*#listen = ["/ip4/127.0.0.1/tcp/0"]#' -e 's#^listen = "127.*#listen = "127.0.0.1:0"#' \
        -e "s#^genesis = .*#genesis = \"$(printf '07%.0s' $(seq 32))\"#" "$dir/node/node.toml"
    "$node" run --config "$dir/node/node.toml" >"$dir/node.json" 2>"$dir/node.log" &
    pid=$!
    until [ -s "$dir/node.json" ]; do sleep 0.1; done
    RPP_URL=http://$(python3 -c 'import json, sys; print(json.load(sys.stdin)["rpc"])' <"$dir/node.json")
    RPP_TOKEN=$(cat "$dir/node/rpc.token")
    export RPP_URL RPP_TOKEN
    for version in "" -3.0; do
        curl -sSf -H "Authorization: Bearer $RPP_TOKEN" "$RPP_URL/openapi$version.json" -o "$dir/openapi$version.json"
    done
}

python_tools() {
    [ -x "$tools/venv/bin/openapi-python-client" ] && return
    python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" -q install 'schemathesis==4.*' 'openapi-python-client==0.29.*' httpx attrs python-dateutil
}

npm_tools() {
    [ -d "$tools/node_modules/@redocly/cli" ] && return
    (cd "$tools" && npm init -y >/dev/null && npm install --no-audit --no-fund --silent openapi-typescript@7 openapi-fetch@0.17 \
        @hey-api/openapi-ts@0.95 typescript@5 @types/node@20 esbuild @redocly/cli@2)
}

compiled() { # compiled FOLDER: its TypeScript, strictly, as bundlers resolve it; then the bundle is run
    ln -s "$tools/node_modules" "$1/node_modules"
    (cd "$1" &&
        npx tsc --noEmit --strict --module esnext --moduleResolution bundler --target es2022 --skipLibCheck main.ts &&
        npx esbuild main.ts --bundle --platform=node --format=esm --outfile=main.mjs --log-level=warning &&
        node main.mjs)
}

schemathesis() {
    python_tools
    python3 "$here/described.py" "$dir/openapi.json" >"$dir/described.json"
    # schemathesis writes files into the current folder, so it gets its own.
    (cd "$dir" && "$tools/venv/bin/schemathesis" run "$dir/described.json" --url "$RPP_URL" -H "Authorization: Bearer $RPP_TOKEN" \
        --checks all --max-examples "${EXAMPLES:-50}" --request-timeout 20 --no-color)
}

redocly() {
    npm_tools
    for version in "" -3.0; do
        (cd "$dir" && REDOCLY_TELEMETRY=off "$tools/node_modules/.bin/redocly" lint "$dir/openapi$version.json") || return 1
    done
}

python() {
    python_tools
    (cd "$dir" && "$tools/venv/bin/openapi-python-client" generate --path openapi.json --meta none --output-path rpp_client &&
        "$tools/venv/bin/python" -m compileall -q rpp_client && PYTHONPATH=$dir "$tools/venv/bin/python" "$here/main.py")
}

typescript() {
    npm_tools
    mkdir "$dir/typescript"
    (cd "$tools" && npx openapi-typescript "$dir/openapi.json" -o "$dir/typescript/schema.d.ts")
    cp "$here/typescript.ts" "$dir/typescript/main.ts"
    compiled "$dir/typescript"
}

hey_api() {
    npm_tools
    mkdir "$dir/hey-api"
    (cd "$tools" && npx openapi-ts -i "$dir/openapi.json" -o "$dir/hey-api/client" --silent --no-log-file)
    cp "$here/hey-api.ts" "$dir/hey-api/main.ts"
    compiled "$dir/hey-api"
}

progenitor() {
    mkdir -p "$dir/progenitor/src"
    cp "$here/progenitor.toml" "$dir/progenitor/Cargo.toml"
    cp "$here/progenitor.rs" "$dir/progenitor/src/main.rs"
    cp "$dir/openapi-3.0.json" "$dir/progenitor/openapi.json"
    (cd "$dir/progenitor" && CARGO_TARGET_DIR=$tools/target cargo run --quiet)
}

[ $# -gt 0 ] || set -- schemathesis redocly python typescript hey-api progenitor
failed=()
for tool in "$@"; do
    echo "== $tool"
    fresh_node
    ("${tool/-/_}") || failed+=("$tool")
done
[ ${#failed[@]} -eq 0 ] && echo "all of them work: $*" || { echo "failed: ${failed[*]}"; exit 1; }
