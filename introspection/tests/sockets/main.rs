//! The server and its clients over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod auth;
mod commands;
mod envelope;
mod events;
mod forward;
mod pull;
mod recording;
mod retention;
#[path = "../support/mod.rs"]
mod support;
mod swarm;
