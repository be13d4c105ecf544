//! What every HTTP port has in common, over real connections.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod connections;
mod gate;
#[path = "../port/mod.rs"]
mod port;
#[path = "../support/mod.rs"]
mod support;
