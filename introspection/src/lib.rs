//! A node's live libp2p state over WebSocket.
//!
//! # Participants
//! - The **node** fills a [`Registry`]. The counting wrapper ([`transport`]) adds connections and streams by itself;
//!   the rest takes one call for each event ([`Registry::handle_swarm_event`], [`Registry::latency`],
//!   [`Registry::session`], [`Registry::protocol_violation`]).
//! - The **server** ([`serve`]) makes states from the registry for its clients, which *pull*: each state is sent to a
//!   client at most once, and only after that client said "ready".
//! - **Clients**: the libp2p observer toolkit, and [`client`], which watches, records and replays.
//!
//! All figures are measured, and the cost is not noticeable. Slow, silent and hostile clients do not affect others.
//! Without clients, no memory grows.
//!
//! # Non-goals
//! History (make a recording), control (see the control plane), TLS (use a proxy).
//!
//! # Limits
//! All of them are in [`limits`].
//!
//! # Example
//! ```
//! use rpp_introspection::{Options, Registry, serve};
//!
//! # async fn example(peer: libp2p::PeerId, token: secrecy::SecretString) -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::new(&peer, env!("CARGO_PKG_VERSION"));
//! let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! serve(listener, registry, Options::new(token), std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```

pub mod client;
pub mod clock;
pub mod envelope;
pub mod events;
pub mod limits;
mod muxer;
mod negotiation;
pub mod proto;
mod registry;
mod server;
mod text;
pub mod transport;

pub use muxer::{CountedStream, Counting};
pub use registry::{NewConnection, OpenConnection, OpenStream, Registry};
pub use server::{Options, ServeError, serve};
