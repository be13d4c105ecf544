//! The command line from a user's view: the real binary, its output and its exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod archives;
mod collect;
mod configuration;
mod demo;
mod documents;
mod end_to_end;
mod harness;
mod installed;
mod introspect;
mod limits;
mod mirror;
mod protocol;
mod quick_start;
mod running;
mod surroundings;
mod top;
mod usage;
