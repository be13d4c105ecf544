//! Whole nodes in this process, end to end: HTTP, network, persistence, verifier, introspection and fleet.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod banned_mirrors;
mod bans;
mod damage;
mod discovery;
mod foreign;
#[allow(dead_code)] // another test program uses the rest
#[path = "../cli/harness.rs"]
mod harness;
mod rates;
mod resume;
mod snapshots;
mod sources;
mod stops;
mod strangers;
#[path = "../support/mod.rs"]
mod support;
mod wiring;
