#!/usr/bin/env bash
# Runs a node behind nginx, HAProxy and Caddy with the unchanged configurations of config/proxies (only the certificate is
# made for the test), and runs check.py through each.
#
#   cargo build --release && tests/proxies/run.sh
#
# Needs nginx, haproxy, caddy, openssl and python3, and root or user namespaces: it takes the ports 443, 7070 and 7071 in a
# network namespace of its own. Not part of the checks.
set -eu
repository=$(cd "$(dirname "$0")/../.." && pwd)
node=${RPP_NODE:-$repository/target/release/rpp-node}
if [ "${1:-}" != inside ]; then
    [ "$(id -u)" = 0 ] && as=() || as=(--user --map-root-user)
    RPP_NODE=$node exec unshare "${as[@]}" --net "$0" inside
fi
ip link set lo up
dir=$(mktemp -d)
pids=()
cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT
started() { # started FILE-OF-LOG COMMAND...
    local log=$dir/$1
    shift
    "$@" >"$log" 2>&1 &
    pids+=($!)
}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=node.example \
    -addext subjectAltName=DNS:node.example -keyout "$dir/key" -out "$dir/cert" 2>/dev/null
cat "$dir/cert" "$dir/key" >"$dir/both"
configured() { # the configuration with this run's certificate
    sed -e "s#/etc/rpp/tls/node.example.both.pem#$dir/both#" -e "s#/etc/rpp/tls/node.example.pem#$dir/cert#" \
        -e "s#/etc/rpp/tls/node.example.key#$dir/key#" "$repository/config/proxies/$1"
}

"$node" init --dir "$dir/node" >/dev/null
sed -i -e 's#^allowed_hosts = \[\]#allowed_hosts = ["node.example"]#' \
    -e '/^\[rpc\]/,/^\[/ s#^allowed_origins = \[\]#allowed_origins = ["https://node.example"]#' \
    -e 's#^listen = \["/ip4/.*#listen = ["/ip4/127.0.0.1/tcp/0"]#' \
    -e "s#^genesis = \"\"#genesis = \"$(printf '07%.0s' $(seq 32))\"#" "$dir/node/node.toml"
started node.log "$node" run --config "$dir/node/node.toml"
token=$(cat "$dir/node/rpc.token")

ask() { RPP_TOKEN=$token python3 "$repository/tests/proxies/check.py" "$1" "$dir/cert"; }
failed=0
for proxy in nginx haproxy caddy; do
    case $proxy in
    nginx)
        { echo "daemon off; user root; pid $dir/nginx.pid; error_log stderr; events {} http {"
          configured nginx.conf
          for kind in client_body proxy fastcgi uwsgi scgi; do echo "${kind}_temp_path $dir/$kind;"; done
          echo "}"; } >"$dir/nginx.conf"
        started nginx.log nginx -e stderr -c "$dir/nginx.conf" ;;
    haproxy)
        configured haproxy.cfg >"$dir/haproxy.cfg"
        started haproxy.log haproxy -db -f "$dir/haproxy.cfg" ;;
    caddy)
        { printf '{\n\tadmin off\n\tauto_https disable_redirects\n}\n'; configured Caddyfile; } >"$dir/Caddyfile"
        started caddy.log env XDG_DATA_HOME="$dir" XDG_CONFIG_HOME="$dir" caddy run --config "$dir/Caddyfile" --adapter caddyfile ;;
    esac
    pid=${pids[-1]}
    ask $proxy || { failed=1; tail -n 20 "$dir/$proxy.log" "$dir/node.log"; }
    kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true
    unset 'pids[-1]'
done
exit $failed
