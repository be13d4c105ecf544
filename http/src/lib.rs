//! What all our HTTP ports have in common.
//!
//! A port is a warp filter (the routes), a [`guard::Gate`] (which requests may reach them) and [`Limits`] (sizes and
//! times); [`serve`] runs the three over a listener:
//!
//! ```no_run
//! use rpp_http::{Limits, guard::{Bearer, Gate, HostOriginRules}};
//! use warp::Filter as _;
//!
//! # async fn run(token: secrecy::SecretString) -> Result<(), Box<dyn std::error::Error>> {
//! let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! let gate = Gate::new(HostOriginRules::default())
//!     .with_bearer(Bearer::new(&token)?)
//!     .with_open_path("/healthz");
//! let routes = warp::path!("healthz").map(|| "ok\n");
//! rpp_http::serve(listener, routes, gate, Limits::default(), std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! What holds for every request, before a route sees it:
//!
//! - Its target has origin form (`/path?query`); routers do not expect the other forms.
//! - Its path does not end in a slash, except `/` itself: warp's filters would treat it like the path without the
//!   slash.
//! - `Host` is an IP literal, `localhost` or a configured name, and `Origin`, if any, the listener's own or an allowed
//!   one; else `403`. So a web page cannot reach a port through the operator's browser, with a rebound name or without.
//! - The bearer token is checked before a byte of the body is read, and removed from the request.
//! - A body is JSON, at most [`Limits::max_body`] bytes, and arrives within [`Limits::body_timeout`].
//!
//! A route finds the whole body already read (`warp::body::bytes()`). Among the request's extensions are its peer
//! ([`Peer`]) and the end of the server ([`Draining`]). A request without a route, a rejection of warp and a refusal of
//! the gate are answered with the same JSON: `{"error":"<sentence>","code":"<stable word>"}` ([`Problem`]). So is a
//! route that panics ([`panics`]). `HEAD` reaches the routes as `GET`.
//!
//! There is no TLS here. A listener that is not on loopback logs a warning at its start.

pub mod accept;
mod address;
mod connection;
mod failures;
pub mod guard;
mod io;
pub mod limits;
mod page;
pub mod panics;
mod phase;
mod places;
mod problem;

pub use accept::{Draining, Peer, serve};
pub use failures::Failures;
pub use limits::Limits;
pub use page::page_file;
pub use problem::{Problem, json, recover};
