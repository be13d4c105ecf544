//! Sources of bytes other than peers, and which sources an operator may name.

pub(crate) mod metrics;
pub mod mirror;
pub(crate) mod named;
