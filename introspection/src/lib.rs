//! A node's live libp2p state over WebSocket.
//!
//! # Participants
//! - The **node** feeds a [`Registry`]: connections and streams by themselves through the counting wrapper
//!   ([`transport`]), the rest by a call per event ([`Registry::handle_swarm_event`], [`Registry::latency`],
//!   [`Registry::session`], [`Registry::protocol_violation`]).
//! - The **server** ([`serve`]) makes states of it for its clients, which *pull*: each state goes to a client at most once,
//!   and only after that client said "ready".
//! - **Clients**: the libp2p observer toolkit, and [`client`], which watches, records and replays.
//!
//! # Goals
//! True figures at a cost that cannot be noticed; slow, silent and hostile clients cost nobody else anything; nothing
//! grows while nobody looks.
//!
//! # Non-goals
//! History (record it), control (that is the control plane's), TLS (put a proxy in front).
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
