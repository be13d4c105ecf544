//! Bans: who broke the rules is neither dialled nor let in for a while, and the evidence is kept.
//!
//! `rules` says who is banned until when, and `flood` who asks in vain too often; both without I/O and with time as an argument. `file`
//! keeps the table in `data/bans.json`. `warden` joins them for the node.
//!
//! A ban is in force at once, and on the disk a moment later. A crash in between forgets it; whoever asks for the list, or lifts a ban,
//! is answered when the file holds what he is told.

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
