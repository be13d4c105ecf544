//! Every bound of this crate.

use std::time::Duration;

/// Interval between states by default.
pub const DEFAULT_INTERVAL_MS: u64 = 2_000;
/// Smallest and largest interval that a client can have.
pub const INTERVAL_MS: std::ops::RangeInclusive<u64> = 200..=60_000;
/// How long closed items stay visible by default.
pub const DEFAULT_RETENTION_MS: u64 = 120_000;
/// Shortest and longest retention that a client can have.
pub const RETENTION_MS: std::ops::RangeInclusive<u64> = 1_000..=3_600_000;

/// Connections that are recorded, and that a state contains.
pub const MAX_CONNECTIONS: usize = 10_000;
/// Live streams recorded for each connection; the bytes of further ones count only in the connection's traffic.
pub const MAX_STREAMS_PER_CONNECTION: usize = 1_024;
/// Live streams recorded in all.
pub const MAX_STREAMS: usize = 65_536;
/// Closed connections that are kept; the newest.
pub const MAX_CLOSED_CONNECTIONS: usize = 1_024;
/// Closed streams that are kept for each connection; the newest.
pub const MAX_CLOSED_STREAMS_PER_CONNECTION: usize = 1_024;
/// Closed streams kept in all.
pub const MAX_CLOSED_STREAMS: usize = 16_384;
/// Sessions known at a time; the same bound as the node's on session records.
pub const MAX_SESSIONS: usize = 256;

/// Clients at a time by default.
pub const MAX_CLIENTS: usize = 32;
/// Largest message of a client.
pub const MAX_CLIENT_MESSAGE_BYTES: usize = 64 * 1024;
/// A client's message above that bound is read up to this size, so that the client can be told why it is disconnected.
pub const MAX_READ_BYTES: usize = 1024 * 1024;
/// Unsent bytes of a client, above which it is disconnected; one state if that is larger.
pub const SEND_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// While more than this is unsent, a client's events wait in their own buffer.
pub const EVENT_WATERMARK_BYTES: usize = 64 * 1024;
/// Events queued for one client.
pub const EVENT_BUFFER: usize = 1_024;
/// Events in flight from the registry to the clients' tasks.
pub const EVENT_CHANNEL: usize = 1_024;
/// Time between two pings of a client: shorter than the minute after which many proxies close a quiet connection.
pub const PING_INTERVAL: Duration = Duration::from_secs(20);
/// Time for a client to read the close message.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Shortest time between two `SessionProgress` events of a session, and between two `SessionWaiting` events.
pub const SESSION_EVENT_SPACING_MS: u64 = 250;
/// Longest text in an event.
pub const MAX_TEXT_BYTES: usize = rpp_p2p::limits::MAX_PEER_TEXT_BYTES;

/// A bandwidth is measured over at least this time.
pub const MIN_RATE_WINDOW_MS: u64 = 100;
/// A bandwidth over a longer time than this is left unset, because it does not describe the present.
pub const MAX_RATE_WINDOW_MS: u64 = 90_000;

/// Clients forwarded to a node at a time.
pub const FORWARDED_CLIENTS: usize = 8;
/// Time for a forwarded client to finish its handshake.
pub const FORWARD_HANDSHAKE: Duration = Duration::from_secs(10);
/// Time for either side to read a forwarded message.
pub const FORWARD_WRITE: Duration = Duration::from_secs(60);

/// Largest message of a server that a client reads.
pub const MAX_SERVER_MESSAGE_BYTES: usize = 32 * 1024 * 1024;

/// Connections beyond the number of clients: for those that are being checked or refused.
pub const SPARE_CONNECTIONS: usize = 32;
/// How long a client may read nothing although something is being written to it.
pub const CLIENT_WRITE_TIMEOUT: Duration = Duration::from_secs(600);
