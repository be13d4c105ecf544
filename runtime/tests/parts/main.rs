//! Parts of a node through the public surface of the crate.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod config;
mod connections;
mod disk_publish;
mod keys;
