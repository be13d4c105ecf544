//! Real swarms over real transports, with peers that fail and lie. Also runs the examples.
#![allow(clippy::duplicate_mod)] // each example is a program of its own, with what it shares with others
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod examples;
mod inbound_failures;
mod offers_wire;
mod outbound_failures;
mod sessions;
mod streams;
mod support;
