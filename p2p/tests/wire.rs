//! Real swarms over real transports, with peers that fail and lie; and the examples.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod examples;
mod inbound_failures;
mod offers_wire;
mod outbound_failures;
mod sessions;
mod streams;
mod support;
