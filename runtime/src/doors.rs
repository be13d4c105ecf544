//! Who may connect: shares of the connections by where they come from, and who gives way.
//!
//! [`rules`] decides, without I/O and with the time as an argument; [`behaviour`] tells it what the swarm does and closes what it
//! says.

mod behaviour;
mod metrics;
mod report;
mod rules;

pub(crate) use behaviour::Doorkeeper;
pub(crate) use metrics::DoorMetrics;
pub use rules::ConnectionRules;
