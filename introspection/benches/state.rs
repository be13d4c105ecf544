//! How long a state of 1,000 connections with 4 streams each takes: build and encode.
//!
//! `cargo bench -p rpp-introspection --bench state`; ends with 1 when the median is above 10 ms.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use rpp_introspection::{envelope, proto::server_message::Payload};

const ROUNDS: usize = 200;
const BOUND: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    let registry = support::registry();
    let open = support::simulate(&registry, 1_000);
    let mut bytes = 0;
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            bytes = envelope::encode(Payload::State(registry.state())).len();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    let (median, worst) = (times[ROUNDS / 2], times[ROUNDS - 1]);
    println!("state: {} connections, {} streams, {bytes} bytes", open.len(), 4 * open.len());
    println!("build and encode: median {median:?}, worst of {ROUNDS} {worst:?}, bound {BOUND:?}");
    if median <= BOUND { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
