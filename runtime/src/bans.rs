//! Bans: a peer or mirror that broke the rules is not used for a while, and the evidence is kept.
//!
//! `rules` decides who is banned until when, and `flood` which peers send too many requests that are refused. Both have
//! no I/O, and time is an argument. `file` keeps the table in `data/bans.json`. `warden` joins them for the node.
//!
//! A ban is in force at once, and on the disk a moment later. A crash in between forgets it. A request for the list of
//! bans, or to lift one, is answered only when the file agrees with the answer.

mod file;
mod flood;
mod metrics;
mod node;
mod rules;
mod warden;

pub use rules::{Ban, BanEvidence, BanKind, BanSource};
pub(crate) use {
    metrics::BanMetrics,
    node::Blame,
    warden::{Warden, load},
};
