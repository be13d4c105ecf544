#!/usr/bin/env bash
# Makes the Debian package, target/debian/rpp-node_<version>_<architecture>.deb, of the release build: the binary, the systemd unit,
# manual pages, completions, documentation. Needs cargo-deb (`cargo install cargo-deb --locked`).
#   packaging/debian.sh              builds first
#   packaging/debian.sh --no-build   takes target/release/rpp-node as it is
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[ "${1:-}" = --no-build ] || cargo build --release --locked --bin rpp-node
binary=target/release/rpp-node
made=target/packaging
rm -rf "$made"
mkdir -p "$made"
"$binary" man "$made/man" >"$made/pages"
for shell in bash zsh fish; do
    "$binary" completions "$shell" >"$made/completion.$shell"
done
version=$("$binary" --version | cut -d' ' -f2)
# Debian requires a changelog in its own format. The package also has ours, unchanged.
cat >"$made/changelog" <<EOF
rpp-node ($version-1) unstable; urgency=medium

  * See /usr/share/doc/rpp-node/changelog.gz.

 -- The rpp-node maintainers <maintainers@rpp-node.example>  $(date -uR -d "@${SOURCE_DATE_EPOCH:-$(stat -c %Y CHANGELOG.md)}")
EOF
cargo deb --no-build --locked --strip
