//! Every bound of this crate.

use std::time::Duration;

/// Interval between states unless a client asks otherwise.
pub const DEFAULT_INTERVAL_MS: u64 = 2_000;
/// Smallest and largest interval a client gets.
pub const INTERVAL_MS: std::ops::RangeInclusive<u64> = 200..=60_000;
/// How long closed items stay visible unless a client asks otherwise.
pub const DEFAULT_RETENTION_MS: u64 = 120_000;
/// Shortest and longest retention a client gets.
pub const RETENTION_MS: std::ops::RangeInclusive<u64> = 1_000..=3_600_000;

/// Connections that are recorded, and that a state holds.
pub const MAX_CONNECTIONS: usize = 10_000;
/// Live streams recorded per connection; further ones are counted in the connection's traffic alone.
pub const MAX_STREAMS_PER_CONNECTION: usize = 1_024;
/// Live streams recorded in all.
pub const MAX_STREAMS: usize = 65_536;
/// Closed connections kept: the newest.
pub const MAX_CLOSED_CONNECTIONS: usize = 1_024;
/// Closed streams kept per connection: the newest.
pub const MAX_CLOSED_STREAMS_PER_CONNECTION: usize = 1_024;
/// Closed streams kept in all.
pub const MAX_CLOSED_STREAMS: usize = 16_384;
/// Sessions known at a time: the node's own bound on session records.
pub const MAX_SESSIONS: usize = 256;

/// Clients at a time unless configured otherwise.
pub const MAX_CLIENTS: usize = 32;
/// A message of a client.
pub const MAX_CLIENT_MESSAGE_BYTES: usize = 64 * 1024;
/// A message of a client above the bound is read up to here, so that its sender can be told why it is disconnected.
pub const MAX_READ_BYTES: usize = 1024 * 1024;
/// Unsent bytes of a client before it is dropped; one state if that is larger.
pub const SEND_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Events of a client wait in their own buffer while more than this is unsent.
pub const EVENT_WATERMARK_BYTES: usize = 64 * 1024;
/// Events that wait for one client.
pub const EVENT_BUFFER: usize = 1_024;
/// Events under way from the registry to the clients' tasks.
pub const EVENT_CHANNEL: usize = 1_024;
/// Time between two pings of a client: shorter than the minute after which many proxies take a connection for dead.
pub const PING_INTERVAL: Duration = Duration::from_secs(20);
/// Time for a client to take the close message.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// `SessionProgress` and `SessionWaiting`: at most one of each per session in this time.
pub const SESSION_EVENT_SPACING_MS: u64 = 250;
/// A text inside an event.
pub const MAX_TEXT_BYTES: usize = rpp_p2p::limits::MAX_PEER_TEXT_BYTES;

/// A bandwidth is measured over at least this time.
pub const MIN_RATE_WINDOW_MS: u64 = 100;
/// A bandwidth over a longer time than this says nothing about now and is left unset.
pub const MAX_RATE_WINDOW_MS: u64 = 90_000;

/// Clients that are forwarded to a node at a time.
pub const FORWARDED_CLIENTS: usize = 8;
/// A forwarded client must have said what it wants after this time.
pub const FORWARD_HANDSHAKE: Duration = Duration::from_secs(10);
/// Either side must take a forwarded message within this time.
pub const FORWARD_WRITE: Duration = Duration::from_secs(60);

/// One message of a server, as its client reads it.
pub const MAX_SERVER_MESSAGE_BYTES: usize = 32 * 1024 * 1024;

/// Connections above the number of clients: for those that are still being checked or refused.
pub const SPARE_CONNECTIONS: usize = 32;
/// A client may read nothing for this long, even though something is on its way to it.
pub const CLIENT_WRITE_TIMEOUT: Duration = Duration::from_secs(600);
