//! Decides who may connect: connections are shared by their source, and quiet ones are closed to make room.
//!
//! [`rules`] decides, without I/O and with time as an argument. [`behaviour`] tells it what the swarm does, and closes
//! the connections that it names.

mod behaviour;
mod metrics;
mod report;
mod rules;

pub(crate) use behaviour::Doorkeeper;
pub(crate) use metrics::DoorMetrics;
pub(crate) use report::{RefusalLog, RefusalSummary};
pub use rules::ConnectionRules;
