//! Every bound of the control plane, in one place (`docs/limits.md`); those of the port are in `rpp_http::limits`.

use std::time::Duration;

/// How long a `POST` waits for the first answer of the provider.
pub const FIRST_ANSWER: Duration = Duration::from_secs(5);
/// Event streams at once, of all sessions; one more is `503`.
pub const MAX_EVENT_STREAMS: usize = 16;
/// Shortest time between two events of one stream: at most ten a second.
pub const EVENT_INTERVAL: Duration = Duration::from_millis(100);
/// After this time without an event, a comment is sent on an event stream.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Longest idempotency key, in bytes. A UUID has 36.
pub const MAX_KEY_BYTES: usize = 255;
/// Events that are kept; the oldest is evicted first.
pub const MAX_RECENT_EVENTS: usize = 128;
/// Sessions whose last state is remembered; far more than a node has.
pub const MAX_RECENT_STATES: usize = 4096;
