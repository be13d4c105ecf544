#!/usr/bin/env bash
# tracing loses the events of a thread's own subscriber at every place in the code that another thread without one reached first.
#
# Guess: `tracing::subscriber::set_default` makes a subscriber the default of the calling thread, so it gets every event of that thread
# that it is interested in, whatever other threads do. Tests that run at the same time in one process rely on that to look at their own
# log.
#
# Seen 2026-11-30 with tracing 0.1.44 (tracing-core 0.1.36, tracing-subscriber 0.3.23):
#
#   subscribers that the process has        events of the thread that has one, at a place that ...
#                                           it reached first     a thread without one reached first
#   this thread's alone                     arrive               never arrive
#   this thread's, and one that nobody      arrive               arrive
#   uses, but that was made before
#
# Whether anybody is interested in a place is asked once and kept. As long as there is one subscriber, tracing-core asks the default of the
# thread that happens to come first instead of that subscriber. So a test that reads its own log fails now and then, when another test
# was faster; and a program that sets a subscriber for one thread misses what its other threads logged before.
#
# Needs cargo and the network for the crates.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "seen"
version = "0.0.0"
edition = "2021"

[dependencies]
tracing = "=0.1.44"
tracing-core = "=0.1.36"
tracing-subscriber = { version = "=0.3.23", default-features = false, features = ["fmt"] }

[workspace]
TOML
cat > src/main.rs <<'RUST'
fn one_place(by: &str) {
    tracing::warn!("one place, reached by {by}");
}

fn other_place(by: &str) {
    tracing::warn!("other place, reached by {by}");
}

fn main() {
    let plain = || tracing_subscriber::fmt().without_time().with_ansi(false).with_target(false).with_writer(std::io::stdout);
    let has_second = std::env::args().nth(1).as_deref() == Some("second");
    let _second = has_second.then(|| tracing::Dispatch::new(plain().finish()));
    let _guard = tracing::subscriber::set_default(plain().finish());
    one_place("the thread with a subscriber");
    std::thread::spawn(|| {
        one_place("a thread without one");
        other_place("a thread without one");
    })
    .join()
    .unwrap();
    one_place("the thread with a subscriber");
    other_place("the thread with a subscriber");
    other_place("the thread with a subscriber");
}
RUST
cargo build --quiet --release

cat > expected <<'SEEN'
-- one subscriber
 WARN one place, reached by the thread with a subscriber
 WARN one place, reached by the thread with a subscriber
-- and a second one that nobody uses
 WARN one place, reached by the thread with a subscriber
 WARN one place, reached by the thread with a subscriber
 WARN other place, reached by the thread with a subscriber
 WARN other place, reached by the thread with a subscriber
SEEN
{
    echo "-- one subscriber"
    ./target/release/seen
    echo "-- and a second one that nobody uses"
    ./target/release/seen second
} > seen
cat seen
if diff expected seen; then
    echo "as it was"
else
    echo "this has changed" >&2
    exit 1
fi
