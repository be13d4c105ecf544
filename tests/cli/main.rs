//! The command line from a user's view: the real binary, its output and its exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod archives;
mod collect;
mod configuration;
mod demo;
mod documents;
mod end_to_end;
mod faults;
mod harness;
mod installed;
mod introspect;
mod kill;
mod limits;
mod mirror;
mod protocol;
mod quick_start;
mod running;
#[path = "../support"]
mod support {
    pub mod faults;
    pub mod port;
    pub mod process;
}
mod surroundings;
mod top;
mod usage;
