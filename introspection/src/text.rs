//! The helper for text from outside; all crates of the workspace use the same one.

pub(crate) use rpp_p2p::text::{cut, escape};
