//! The control plane over real sockets: every route, and the checks before it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod bodies;
mod events;
mod node;
mod openapi;
mod page;
mod post;
mod real_node;
mod routes;
mod sources;
#[path = "../../http/tests/support/mod.rs"]
mod support;
