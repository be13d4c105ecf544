//! Text from outside.

pub(crate) use rpp_p2p::text::{cut, escape};
