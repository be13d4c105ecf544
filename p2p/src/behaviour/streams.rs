//! The substreams of `/rpp/snapshots/2.0.0`. The task of their connection reads and writes them (`handler`). Items to
//! send go there through an [`Outlet`]. Received items go to the behaviour as events; `consuming` and `serving` are its
//! two halves.

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
