//! Where bytes may come from besides peers.

pub mod mirror;
