//! Every bound of a port, in one place.

use std::time::Duration;

/// Default of the connections of one port at once.
pub const MAX_CONNECTIONS: usize = 256;
/// Default of the largest request body in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// Largest request head in bytes; a longer one is `431`.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Connections beyond those, for open paths only: an orchestrator's checks still get through while all others are
/// taken.
pub const MAX_SPARE: usize = 16;
/// Spare connections of one address.
pub const MAX_SPARE_PER_ADDRESS: usize = 4;
/// Time for the head of a request on a spare connection.
pub const SPARE_HEADER_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections that are being answered "full" at once; further ones are closed without an answer.
pub const MAX_REFUSALS: usize = 16;
/// How long a closing connection still reads: closing with unread bytes would reset the connection and could take the
/// answer away from the client.
pub const LINGER: Duration = Duration::from_secs(1);
/// How many bytes a closing connection still reads.
pub const LINGER_BYTES: usize = 1024 * 1024;

/// Pause after a failed accept: a lack of file descriptors takes time to pass.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time between two log lines about failed accepts.
pub const ACCEPT_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Wrong tokens within [`WRONG_TOKENS_WINDOW`] that get an ordinary refusal; further ones are throttled.
pub const MAX_WRONG_TOKENS: usize = 20;
/// The time over which wrong tokens are counted: see [`MAX_WRONG_TOKENS`].
pub const WRONG_TOKENS_WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are counted separately. Beyond this number, all others share one count. They lose only the difference
/// between `401` and `429`, because a right token always passes.
pub const MAX_WRONG_ADDRESSES: usize = 4096;
/// A shorter token is refused when the port is set up.
pub const MIN_TOKEN_BYTES: usize = 16;

/// Default time for a request's head.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Default time for a request's body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Default time for which a client may read nothing of what is written to it.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Default time for which a connection may be idle between two requests.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Default time for which requests in flight may go on after shutdown.
pub const DRAIN: Duration = Duration::from_secs(10);

/// The bounds of a port. The defaults suit a control port.
#[derive(Clone, Debug)]
pub struct Limits {
    max_connections: usize,
    max_per_address: Option<usize>,
    max_body: usize,
    header_timeout: Duration,
    idle_timeout: Duration,
    body_timeout: Duration,
    write_timeout: Duration,
    drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: MAX_CONNECTIONS,
            max_per_address: None,
            max_body: MAX_BODY_BYTES,
            header_timeout: HEADER_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            body_timeout: BODY_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
            drain: DRAIN,
        }
    }
}

impl Limits {
    /// Connections at once, WebSockets included (default 256, at least 1). One more is answered `503` and closed.
    #[must_use]
    pub fn with_max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.clamp(1, 1 << 20);
        self
    }

    /// Connections of one address (one /64 of IPv6) at once, at least 1. By default three quarters of all, so that no
    /// address holds every place. A proxy counts as one address.
    #[must_use]
    pub fn with_max_connections_per_address(mut self, connections: usize) -> Self {
        self.max_per_address = Some(connections.max(1));
        self
    }

    /// Largest request body in bytes (default 64 KiB); a larger one is `413`, chunked or not.
    #[must_use]
    pub fn with_max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Time for a request's head from its first byte, and from the start of the connection to its first head (default
    /// 10 s). Then the connection is closed.
    #[must_use]
    pub fn with_header_timeout(mut self, timeout: Duration) -> Self {
        self.header_timeout = timeout;
        self
    }

    /// How long a connection may be idle between two requests (default 75 s, longer than clients keep theirs open).
    /// Answers announce it in whole seconds: `Keep-Alive: timeout=75`.
    #[must_use]
    pub fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Time for a request's whole body (default 10 s); then `408`.
    #[must_use]
    pub fn with_body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout;
        self
    }

    /// How long a client may read nothing of what is written to it (default 30 s). Then the connection is closed. This
    /// also holds for WebSockets and event streams.
    #[must_use]
    pub fn with_write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// How long requests in flight may go on after shutdown (default 10 s). Then they are closed.
    #[must_use]
    pub fn with_drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// See [`with_max_connections`](Self::with_max_connections).
    #[must_use]
    pub fn max_connections(&self) -> usize {
        self.max_connections
    }

    /// See [`with_max_connections_per_address`](Self::with_max_connections_per_address).
    #[must_use]
    pub fn max_connections_per_address(&self) -> usize {
        self.max_per_address.unwrap_or_else(|| (self.max_connections * 3 / 4).max(1))
    }

    /// See [`with_max_body`](Self::with_max_body).
    #[must_use]
    pub fn max_body(&self) -> usize {
        self.max_body
    }

    /// See [`with_header_timeout`](Self::with_header_timeout).
    #[must_use]
    pub fn header_timeout(&self) -> Duration {
        self.header_timeout
    }

    /// See [`with_idle_timeout`](Self::with_idle_timeout).
    #[must_use]
    pub fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// See [`with_body_timeout`](Self::with_body_timeout).
    #[must_use]
    pub fn body_timeout(&self) -> Duration {
        self.body_timeout
    }

    /// See [`with_write_timeout`](Self::with_write_timeout).
    #[must_use]
    pub fn write_timeout(&self) -> Duration {
        self.write_timeout
    }

    /// See [`with_drain`](Self::with_drain).
    #[must_use]
    pub fn drain(&self) -> Duration {
        self.drain
    }
}
