//! Every bound of the protocol, in one place (`docs/limits.md`).

use std::time::Duration;

/// Largest request, bytes of JSON.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// Largest response, bytes of JSON.
pub const MAX_RESPONSE_BYTES: usize = 8 * 1024 * 1024;
/// Smallest chunk size, bytes.
pub const MIN_CHUNK_SIZE: u64 = 16 * 1024;
/// Largest chunk size, bytes.
pub const MAX_CHUNK_SIZE: u64 = 4 * 1024 * 1024;
/// Default chunk size, bytes.
pub const DEFAULT_CHUNK_SIZE: u64 = 1024 * 1024;
/// Deepest nesting of a JSON document.
pub const MAX_JSON_DEPTH: usize = 16;
/// A request is abandoned when no byte of it, or of its answer, moved for this long.
pub const REQUEST_IDLE: Duration = Duration::from_secs(30);
/// Slowest rate of a request or an answer, in bytes per second,
pub const SLOWEST_RATE: u32 = 1024;
/// measured over each period of this length, from its first byte on.
pub const SLOWEST_OVER: Duration = Duration::from_secs(60);
/// Request streams per connection.
pub const MAX_STREAMS_PER_CONNECTION: usize = 16;
/// Response bytes in flight on a provider, in all.
pub const MAX_RESPONSE_BYTES_IN_FLIGHT: usize = 32 * 1024 * 1024;
/// Response bytes in flight on a provider, to one peer.
pub const MAX_RESPONSE_BYTES_IN_FLIGHT_PER_PEER: usize = 8 * 1024 * 1024;
/// How long a response waits for the byte budget before it becomes `busy`.
pub const RESPONSE_BUDGET_WAIT: Duration = Duration::from_secs(5);
/// Bytes of JSON of the chunks that a provider prefetches, in all.
pub const MAX_READ_AHEAD_BYTES: usize = 16 * 1024 * 1024;
/// The same, for one peer.
pub const MAX_READ_AHEAD_BYTES_PER_PEER: usize = 8 * 1024 * 1024;
/// The same, for one session; always at least one chunk.
pub const READ_AHEAD_BATCH: usize = 1024 * 1024;
/// Prefetched chunks are dropped if their session asks for none for this long.
pub const READ_AHEAD_IDLE: Duration = Duration::from_secs(10);
/// Session slots on a provider, in all.
pub const MAX_SLOTS: usize = 64;
/// Session slots on a provider, of one peer.
pub const MAX_SLOTS_PER_PEER: usize = 8;
/// A slot is freed after this long without a request.
pub const SLOT_IDLE: Duration = Duration::from_secs(60);
/// After this long without a request, a slot may be given to another session.
pub const SLOT_GIVES_WAY: Duration = Duration::from_secs(1);
/// How long a session waits for a slot before it is `busy`.
pub const SLOT_WAIT: Duration = Duration::from_secs(5);
/// Sessions that may wait for a slot.
pub const MAX_SLOT_WAITERS: usize = 64;
/// How long a provider keeps the record of a session that has no slot.
pub const RECORD_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
/// Records of sessions on a provider, in all.
pub const MAX_RECORDS: usize = 4096;
/// Records of sessions on a provider, of one peer.
pub const MAX_RECORDS_PER_PEER: usize = 64;
/// Consumer sessions that one behaviour keeps open.
pub const MAX_SESSIONS: usize = 256;
/// Blocking jobs of each kind (provider calls for requests, provider calls for prefetching, checks) that run at the
/// same time.
pub const MAX_BLOCKING_JOBS: usize = 4;
/// How long a session's next request waits for the notice that the last answer was written, before it is `busy`.
pub const HANDOVER_WAIT: Duration = Duration::from_secs(1);
/// Cancels served at the same time for sessions without a slot.
pub const MAX_LOOSE_CANCELS: usize = 64;
/// Updates in one plan.
pub const MAX_UPDATES: u64 = 65_536;
/// Publishers in one genesis descriptor.
pub const MAX_PUBLISHERS: usize = 64;
/// Text from a peer is cut to this many bytes before it is kept or shown.
pub const MAX_PEER_TEXT_BYTES: usize = rpp_common::text::MAX_TEXT_BYTES;
/// Bytes made durable in one group before they are acknowledged.
pub const ACK_BYTES: u64 = 16 * 1024 * 1024;
/// Longest time before a group is made durable and acknowledged.
pub const ACK_INTERVAL: Duration = Duration::from_millis(500);
/// First back-off of a consumer; it doubles up to [`BACKOFF_MAX`].
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest back-off of a consumer.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// The unused allowance that a limit by the byte keeps, as time at its rate.
pub const RATE_BURST: Duration = Duration::from_millis(200);
/// The allowance that a limited download may be granted before the bytes arrive, as time at the limit; at least one
/// chunk.
pub const RATE_AHEAD: Duration = Duration::from_millis(250);
/// Members of one JSON object; more is refused.
pub const MAX_JSON_MEMBERS: usize = 1024;
/// Sibling hashes of one chunk; no tree of 2^64 bytes has more.
pub const MAX_PROOF_HASHES: usize = 64;
/// Signatures on one update; more is refused.
pub const MAX_SIGNATURES: usize = 256;
/// The most bytes of an update's recursive proof that are kept. The verifier accepts exactly one length, which is below
/// this.
pub const MAX_RECURSIVE_PROOF_BYTES: usize = 64 * 1024;
/// The most bytes of a session that a consumer fetches before its chain is verified.
pub const MAX_UNVERIFIED_BYTES: u64 = 64 * 1024 * 1024;
/// Default window: bytes of a session that may be in flight or wait to be written. As many again may be written and not
/// durable.
pub const WINDOW: u64 = 16 * 1024 * 1024;
/// How far a stream's window exceeds twice the product of rate and round trip, in bytes: for the disk, and for threads
/// that wake late.
pub const WINDOW_HEAD_ROOM: u64 = 12 * 1024 * 1024;
/// The rate that is assumed for a stream until its own is measured, bytes per second.
pub const FIRST_RATE: u64 = 128 * 1024 * 1024;
/// A measured round trip counts for a stream's window for at least this long.
pub const ROUND_TRIP_MEMORY: Duration = Duration::from_secs(5 * 60);
/// How often a paused consumer checks for free disk space, or for a payload that another session holds.
pub const PAUSE_RECHECK: Duration = Duration::from_secs(2);
/// Time before an acknowledgement that the provider could not record is sent again.
pub const ACK_RETRY: Duration = Duration::from_secs(2);
/// Bytes gathered for one system call, per connection and direction; a quiet connection keeps less.
pub const GATHERED_BYTES: usize = 64 * 1024;
/// After reading this many bytes of a connection without a pause, its streams take what came, in bytes. They fit into
/// the cache of one processor.
pub const TURN_BYTES: usize = 128 * 1024;
/// Errors about invalid calls that are kept until the next poll.
pub const MAX_QUEUED_EVENTS: usize = 1024;
/// Offers in one answer of `/rpp/offers/1.0.0`; an answer with more is refused.
pub const MAX_OFFERS: usize = 64;
/// Offers of peers that a node knows; the oldest are evicted.
pub const MAX_KNOWN_OFFERS: usize = 1024;
/// Peers that are known to offer one snapshot; the oldest are evicted.
pub const MAX_OFFER_PEERS: usize = 64;
/// An offer that its peer does not repeat for this long is forgotten.
pub const OFFER_LIFE: Duration = Duration::from_secs(10 * 60);
/// Time after which a peer is asked for its offers again, while something needs offers.
pub const ASK_INTERVAL: Duration = Duration::from_secs(60);
/// The longest such time, to which it doubles for a peer whose answers have no usable offer.
pub const MAX_ASK_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// The shortest time between an answer and the next request to that peer.
pub const MIN_ASK_INTERVAL: Duration = Duration::from_secs(5);
/// Time for one request and its answer.
pub const ASK_TIME: Duration = Duration::from_secs(20);
/// Peers that are asked at the same time.
pub const MAX_ASKS: usize = 8;
/// Invalid offers in one answer after which the rest of it is ignored.
pub const MAX_WRONG_OFFERS: usize = 4;
/// Disconnected peers whose last answer is still known.
pub const MAX_GONE: usize = 64;
/// Requests for offers that one peer may make at once, and then in each [`ASK_INTERVAL`].
pub const MAX_OFFER_ANSWERS: u32 = 8;
/// Largest frame of a provider on a stream, in bytes, including the type.
pub const MAX_PROVIDER_FRAME_BYTES: usize = 8 * 1024 * 1024 + 64 * 1024;
/// Largest `want` frame of a consumer, in bytes, including the type.
pub const MAX_WANT_FRAME_BYTES: usize = 8 * 1024;
/// Largest `credit` frame of a consumer, in bytes, including the type.
pub const MAX_CREDIT_FRAME_BYTES: usize = 9;
/// The first frame of a stream must arrive within this time.
pub const FIRST_FRAME: Duration = Duration::from_secs(10);
/// The provider closes a stream on which nothing moves for this long.
pub const STREAM_IDLE: Duration = SLOT_IDLE;
/// Payload bytes that a provider reads at once for a stream; always at least one chunk.
pub const STREAM_BATCH: usize = 2 * 1024 * 1024;
/// Payload bytes of a stream that a provider has read and not written yet, as far as the byte budget allows; always at
/// least one chunk, and two of the largest.
pub const MAX_STREAM_BYTES: usize = 4 * 1024 * 1024;
/// Separate ranges of chunks that a provider sends on one stream.
pub const MAX_SENT_RANGES: usize = 4096;
/// Wants that a consumer has sent and a provider may not have received yet.
pub const MAX_OPEN_WANTS: usize = 16;
/// Ranges that the file `have` names; bytes that are present beyond those are found by hashing.
pub const MAX_HAVE_RANGES: usize = 4096;
/// A source is asked for as much at a time as it delivers in this time, within its share of the window.
pub const RUN: Duration = Duration::from_secs(2);
/// Bytes that a source is asked for while its rate is not known; half of these may be in flight.
pub const FIRST_RUN: u64 = 2 << 20;
/// A source is slow when its rate is below the others' mean divided by this,
pub const SLOW_PART: u64 = 8;
/// for this long,
pub const SLOW_AFTER: Duration = Duration::from_secs(10);
/// and is tried again after this long.
pub const SLOW_FOR: Duration = Duration::from_secs(60);
/// Sources of one download.
pub const MAX_SOURCES: usize = 40;
/// Reads of one mirror that may be in flight at once.
pub const MIRROR_READS: usize = 6;
/// Bytes that are prefetched from a mirror, within the window, while the authority over the plan is checked.
pub const EARLY_READ: u64 = 8 << 20;
/// Until the authority over a plan is given, a leading source that delivers nothing for this long is replaced by
/// another.
pub const LEAD_PATIENCE: Duration = Duration::from_secs(10);
