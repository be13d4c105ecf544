//! Fleet cuts: one consistent view of all processes at one moment.
//!
//! A *collector* asks all connected processes for the graph of what is alive in them: requests, locks, queues, files,
//! connections, and what each of them needs. It joins the answers into one cut. Nothing is sent that was not asked for.
//!
//! A program needs five lines to report. Without `PEEPS_DASHBOARD=<host:port>` they do nothing and cost one branch for
//! each call:
//!
//! ```
//! use rpp_fleet::{NodeKind, Reporter};
//! let fleet = Reporter::from_env("my-service");
//! let job = fleet.registry().node(NodeKind::Future, "job:7", "import of tenant 7", ());
//! let file = fleet.registry().node(NodeKind::FileOp, "file:7", "read /data/7", ());
//! let waits = job.needs(file.id()); // dropped when the wait is over, as are the nodes
//! ```
//!
//! | part | does |
//! |---|---|
//! | [`Registry`] | holds what is alive; guards add and remove; a graph is copied in one step |
//! | [`Reporter`] | connects to the collector, again and again, and answers its requests on a thread of its own |
//! | [`collector`] | asks all, waits a bounded time, stores the cut in SQLite, answers over HTTP (feature `collector`) |
//! | [`wire`] | the messages, for programs that speak the protocol themselves |
//!
//! Not a goal: tracing over time, metrics, or authentication between processes and collector (listen on loopback).
//! Every bound is in [`limits`].

mod attrs;
pub mod client;
#[cfg(feature = "collector")]
pub mod collector;
pub mod frame;
mod ids;
mod kinds;
pub mod limits;
mod registry;
mod socket;
pub mod wire;

pub use attrs::{Attrs, IntoAttrs, Value};
pub use client::Reporter;
pub use ids::{ExchangeId, proc_key};
pub use kinds::{EdgeKind, NodeKind};
pub use registry::{EdgeGuard, Group, GroupGuard, NodeGuard, Registry};
pub use rpp_common::text::escape;
