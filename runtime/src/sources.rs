//! Where bytes may come from besides peers, and which sources an operator may name.

pub(crate) mod metrics;
pub mod mirror;
pub(crate) mod named;
