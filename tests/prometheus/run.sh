#!/usr/bin/env bash
# Prometheus scrapes a provider and a consumer that fetches one snapshot. Then every expression of config/grafana.json and
# config/alerts.yml must return data. Last, one kind of event happens for the first time, and its alert must fire.
#
#   cargo build --release && tests/prometheus/run.sh
#
# Needs prometheus and promtool (Debian's package `prometheus`), curl and python3. Not part of the checks.
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
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
started() { # started NAME GENESIS: a node with free ports; its first line of output is in $dir/NAME.json
    sed -i -e 's#^listen = \["/ip4/.*#listen = ["/ip4/127.0.0.1/tcp/0"]#' -e 's#^listen = "127.*#listen = "127.0.0.1:0"#' \
        -e "s#^genesis = .*#genesis = \"$2\"#" "$dir/$1/node.toml"
    "$node" run --config "$dir/$1/node.toml" >"$dir/$1.json" 2>"$dir/$1.log" &
    pids+=($!)
    until [ -s "$dir/$1.json" ]; do sleep 0.1; done
}

promtool check rules "$repository/config/alerts.yml"
promtool test rules "$repository/config/alerts.test.yml"

"$node" init --dir "$dir/provider" --publisher >/dev/null
"$node" init --dir "$dir/consumer" >/dev/null
head -c 20000000 /dev/urandom >"$dir/payload"
genesis=$("$node" publish --config "$dir/provider/node.toml" --height 1 --json "$dir/payload" | field genesis)
started provider "$genesis"
started consumer "$genesis"
provider=$(field rpc <"$dir/provider.json")
consumer=$(field rpc <"$dir/consumer.json")
token=$(cat "$dir/consumer/rpc.token")

metrics() { curl -sS -H "Authorization: Bearer $token" "http://$consumer/metrics" "$@"; }
metrics | promtool check metrics
metrics -H 'Accept: application/openmetrics-text; version=1.0.0' | tail -n 1 | grep -qx '# EOF'

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$dir/prometheus.yml" <<END
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: ["$repository/config/alerts.yml"]
scrape_configs:
  - job_name: rpp-node
    authorization: { credentials_file: "$dir/consumer/rpc.token" }
    static_configs: [{ targets: ["$consumer"] }]
  - job_name: rpp-provider
    authorization: { credentials_file: "$dir/provider/rpc.token" }
    static_configs: [{ targets: ["$provider"] }]
END
prometheus --config.file="$dir/prometheus.yml" --storage.tsdb.path="$dir/tsdb" --web.listen-address="127.0.0.1:$port" \
    >"$dir/prometheus.log" 2>&1 &
pids+=($!)
until curl -sf "http://127.0.0.1:$port/-/ready" >/dev/null; do sleep 0.2; done
value() { # value QUERY: of its first sample
    curl -sSG "http://127.0.0.1:$port/api/v1/query" --data-urlencode "query=$1" |
        python3 -c 'import json, sys; found = json.load(sys.stdin)["data"]["result"]; print(found[0]["value"][1] if found else 0)'
}
scrapes() { value 'min(count_over_time(up[5m])) * (count(up) == bool 2)'; }
until [ "$(scrapes)" -ge 3 ]; do sleep 0.2; done # before anything happens, which takes Prometheus some seconds to begin

peer=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["listen"][0])' <"$dir/provider.json")
"$node" fetch --config "$dir/consumer/node.toml" --peer "$peer"
before=$(scrapes)
until [ "$(scrapes)" -ge $((before + 3)) ]; do sleep 0.2; done
metrics | promtool check metrics
python3 "$repository/tests/prometheus/ask.py" "http://127.0.0.1:$port" "$repository"

for _ in $(seq 25); do
    curl -s -o "$dir/refused" -H "Authorization: Bearer not-the-token-of-this-node" "http://$consumer/p2p/peers"
done
for _ in $(seq 30); do
    sleep 0.5
    fires=$(curl -sS -G "http://127.0.0.1:$port/api/v1/query" \
        --data-urlencode 'query=ALERTS{alertname="RppTokensTried",alertstate="firing"}')
    case $fires in *RppTokensTried*) echo "RppTokensTried fires at the first event"; exit 0 ;; esac
done
echo "RppTokensTried does not fire: $fires"
exit 1
