//! Text from outside: one helper for all of us.

pub(crate) use rpp_p2p::text::{cut, escape};
