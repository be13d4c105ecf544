//! The registry and its client, the collector over its sockets, and the page in a browser.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod client;
mod common;
mod cuts;
mod faults;
mod http;
mod page;
mod registry;
mod sql;
mod wire;
