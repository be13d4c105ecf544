//! The substreams of `/rpp/snapshots/2.0.0`: they are read and written on the task of their connection (`handler`). What is
//! to be sent goes there through an [`Outlet`]; what came goes to the behaviour as events, whose two halves are `consuming`
//! and `serving`.

mod handler;
mod outlet;
mod reading;
pub(super) mod receiving;
pub(super) mod sending;
mod upgrade;

pub(super) use self::{
    handler::{FromStreams, StreamHandler, StreamSettings, ToStreams},
    outlet::Outlet,
    receiving::{Ending, FromProvider, Say, StreamOpening},
    sending::{Heard, OutFrame},
};

/// A stream that this side opened, within one behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct StreamId(pub(super) u64);
