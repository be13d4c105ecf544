//! The HTTP control plane: what operators and their programs ask of a running node.
//!
//! [`serve`] puts the routes of `docs/http.md` in front of a [`NodeHandle`](rpp_runtime::NodeHandle). What all our
//! ports have in common (`Host` and `Origin` rules, the bearer token, bounded bodies, time-outs, draining) is in
//! [`rpp_http`]. This crate has the routes, reads the requests, and maps failures of the runtime to HTTP answers in one
//! place: [`snapshot_runtime_error_to_http`].
//!
//! Participants: the operator (or `rpp-node fetch`, or a dashboard), who is trusted once the token is right, and the node's
//! task, which may be slow or gone. A route never waits longer for the node than
//! [`CALL_TIMEOUT`](rpp_runtime::limits::CALL_TIMEOUT), and never for a provider longer than [`FIRST_ANSWER`].

mod answer;
mod error;
mod events;
mod idempotency;
pub mod limits;
mod metrics;
mod openapi;
mod page;
mod peers;
mod recent;
mod request;
mod routes;
mod server;
mod strict;

pub use error::snapshot_runtime_error_to_http;
pub use idempotency::IDEMPOTENCY_KEY;
pub use limits::MAX_RECENT_EVENTS;
pub use limits::{EVENT_INTERVAL, FIRST_ANSWER, KEEP_ALIVE, MAX_EVENT_STREAMS, MAX_KEY_BYTES};
pub use openapi::{OPENAPI, openapi_3_0};
pub use peers::Traffic;
pub use routes::{ROUTES, Route};
pub use server::{Options, ServeError, serve};
