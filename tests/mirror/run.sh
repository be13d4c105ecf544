#!/usr/bin/env bash
# Mirrors in a bucket, on a server that speaks S3: moto, a Python package that simulates Amazon's services on this
# machine. The test kills `rpp-node mirror` and runs it again, lets two of them write at once, and lets a node download
# meanwhile (s3.py). Then it tests copying and reading with the library.
#
#   cargo build --release && tests/mirror/run.sh
#
# A step of .ci/run. Needs python3 with venv and, the first time, PyPI: it installs moto into a folder below target.
# RPP_NODE names another binary. SKIP_LIBRARY=1 skips the test of the library; otherwise that test is built if it does
# not exist yet. With the argument `install` it only installs moto.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$repository/target}
node=${RPP_NODE:-$target/release/rpp-node}
moto=5.2.5 flask=3.1.3 flask_cors=6.0.5
venv=$target/moto-$moto

if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    echo "this needs python3 with its module venv, to run an S3 server for the tests (Debian: apt-get install python3-venv)" >&2
    exit 1
fi
if [ ! -e "$venv/installed" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --retries 5 \
        "moto[s3]==$moto" "flask==$flask" "flask-cors==$flask_cors" || {
        echo "moto could not be installed: this needs PyPI, or what pip is configured to use instead" >&2
        exit 1
    }
    touch "$venv/installed"
fi
[ "${1:-}" != install ] || exit 0
[ -x "$node" ] || { echo "$node is missing: cargo build --release" >&2; exit 1; }
"$venv/bin/python" "$repository/tests/mirror/s3.py" "$node" </dev/null

if [ -z "${SKIP_LIBRARY:-}" ]; then
    cd "$repository"
    "$venv/bin/python" tests/mirror/serve.py -- \
        cargo test --release --workspace --locked --lib -- --quiet --ignored what_is_copied_to_a_bucket </dev/null
fi
