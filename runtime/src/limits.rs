//! Every bound of the node, in one place (`docs/limits.md`); those of the protocol are in `rpp_p2p::limits`.

use std::time::Duration;

/// How long a lock that somebody holds is tried again before it counts as in use. A lock that was released may be held a moment longer by the copy
/// that a process has which is being started.
pub const DATA_LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Connections that this node makes at once.
pub const MAX_PENDING_CONNECTIONS: u32 = 64;
/// Pings in a row that may bring no answer, on a connection where one was answered.
pub const MAX_SILENT_PINGS: u32 = 3;
/// Time between two log lines about refused connections, and between two about failing listeners.
pub const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Sources of refused connections that are counted one by one between two of those lines; the rest only as a sum.
pub const MAX_COUNTED_SOURCES: usize = 256;
/// Sources of connections whose rate is kept; more have none until some are forgotten.
pub const MAX_RATES: usize = 4096;
/// Connections above the configured bound: those that came at this moment, and those whose other side holds up the closing.
pub const MAX_OVER: usize = 64;
/// Calls from handles that may wait for the node's task.
pub const COMMAND_QUEUE: usize = 256;
/// The most reports of blocking threads that wait for the node's task.
pub const DONE_QUEUE: usize = 1024;
/// How many events a subscriber may be behind before it loses the oldest.
pub const EVENT_QUEUE: usize = 1024;
/// Time for what is in flight to finish when the node stops.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// Time for the node's task to answer a call.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The node does not wait longer than this for a listener to announce an address.
pub const ANNOUNCING: Duration = Duration::from_secs(2);
/// Time between tries to open the database anew.
pub const DB_RETRY: Duration = Duration::from_secs(1);
/// Bytes of sled's page cache.
pub const DB_CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// Flushes of the database that may wait for the one under way.
pub const FLUSH_QUEUE: usize = 1024;
/// After this time a flush counts as failed, because sled may wait forever for a write that failed.
pub const FLUSH_PATIENCE: Duration = Duration::from_secs(20);
/// Jobs in the queue of one store worker. Jobs that do not fit wait at the node's task; the window and the number of
/// sessions bound them.
pub const STORE_QUEUE: usize = 1024;
/// The most proofs checked at once; each needs the verifier's working memory.
pub const PROOF_JOBS: usize = 1;
/// Time between two tries to write a record.
pub const RECORD_RETRY: Duration = Duration::from_secs(2);
/// Addresses that are kept for the peer of one session.
pub const MAX_ADDRESSES: usize = 8;
/// Peers that one download may be given.
pub const MAX_PEERS: usize = 32;
/// Mirrors that one download may be given.
pub const MAX_MIRRORS: usize = 8;
/// Mirrors over plain http for which a warning was logged once. Beyond this number the warning may repeat.
pub const MAX_WARNED_MIRRORS: usize = 64;
/// Folders beneath which mirrors may be.
pub const MAX_FILE_ROOTS: usize = 64;
/// Peers that one session without a named provider remembers as useless. The oldest are dropped.
pub const MAX_REFUSED: usize = 64;
/// Peers whose proven addresses are kept. The oldest are dropped.
pub const MAX_ADDRESS_BOOK: usize = 1024;
/// Unreachable peers for which the reason is kept. The oldest are dropped.
pub const MAX_UNREACHABLE: usize = 64;
/// Provider records of other nodes that this node stores for the DHT. The oldest are dropped.
pub const MAX_DHT_RECORDS: usize = 4096;
/// Such records for one key.
pub const MAX_DHT_RECORDS_PER_KEY: usize = 20;
/// Such records from one peer.
pub const MAX_DHT_RECORDS_PER_PEER: usize = 128;
/// Peers from one answer of the DHT that are dialled because they are said to serve the wanted snapshot.
pub const MAX_FOUND: usize = 32;
/// Dials at addresses of one host that others named, and that did not reach the peer, or not yet. Kademlia's walk may make
/// half of them. A host is an IPv4 address or an IPv6 /64; all names are one host.
pub const UNPROVEN_DIALS_PER_HOST: u32 = 16;
/// The time after which one more of [`UNPROVEN_DIALS_PER_HOST`] may be made.
pub const UNPROVEN_HOST_AGAIN: Duration = Duration::from_secs(4);
/// Of those, the dials at one host because of one answer that names providers.
pub const UNPROVEN_DIALS_PER_ANSWER: u32 = 2;
/// The same dials at all hosts together.
pub const UNPROVEN_DIALS: u32 = 256;
/// The time after which one more of [`UNPROVEN_DIALS`] may be made.
pub const UNPROVEN_AGAIN: Duration = Duration::from_millis(500);
/// Peers on the same link that are remembered, so that none is dialled more than once in [`NEIGHBOUR_AGAIN`].
pub const MAX_NEIGHBOURS: usize = 64;
/// Time between two dials of a peer on the same link.
pub const NEIGHBOUR_AGAIN: Duration = Duration::from_secs(60);
/// Peers that are named in the reason why a session without a provider waits. The rest are only counted.
pub const MAX_EXPLAINED: usize = 8;
/// First pause before a configured peer is dialled again; it doubles up to [`REDIAL_MAX`], with jitter.
pub const REDIAL_MIN: Duration = Duration::from_secs(1);
/// Longest pause before a configured peer is dialled again.
pub const REDIAL_MAX: Duration = Duration::from_secs(60);
/// Addresses and protocols that are kept of a peer's identify message.
pub const MAX_SAID: usize = 32;
/// Log lines about what peers say that they offer, in [`REFUSAL_LOG_INTERVAL`]. Further ones are only counted.
pub const MAX_SAID_LINES: usize = 64;
/// How long a repeated request with the same key is answered with the same session.
pub const KEY_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// Idempotency keys of one session. The oldest are dropped.
pub const MAX_KEYS: usize = 16;
/// Bytes of a stored payload that the background check reads and hashes in one step.
pub const SCRUB_PIECE: u64 = 1024 * 1024;
/// Bytes of a partial payload hashed in one step; a chunk, when that is larger.
pub const RECHECK_STEP: u64 = 1024 * 1024;
/// Bytes of a partial payload that are made durable at once, of those that no record covers.
pub const RECHECK_SLICE: u64 = 64 * 1024 * 1024;
/// Bytes of the note beside a damaged payload that are read.
pub const MAX_DAMAGE_NOTE: u64 = 4096;
/// Largest configuration file, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// The fewest bytes of a token.
pub const MIN_TOKEN_BYTES: usize = 16;
/// The most bytes of a token or key file.
pub const MAX_SECRET_BYTES: usize = 4096;
/// The most entries of a tar; packing and unpacking refuse more.
pub const MAX_ENTRIES: u64 = 10_000_000;
/// The deepest nesting of folders; each level holds a descriptor open.
pub const MAX_DEPTH: usize = 256;
/// Entries of one kind that `publish` lists by name. All of them are counted.
pub const MAX_NAMED: usize = 20;
/// Links that are followed to judge one link; the kernel follows as many for one path.
pub const MAX_LINKS: usize = 40;
/// Refused entries that `unpack` lists by name. All of them are counted.
pub const MAX_LISTED: usize = 1000;
/// Largest pax header or long name.
pub const MAX_EXTENSION: u64 = 1024 * 1024;
/// Incoming connections in their handshake at one time, over TCP; and as many over QUIC.
pub const MAX_HANDSHAKES: usize = 128;
/// Of those, the most from one source. A source is an IPv4 address or an IPv6 /64.
pub const MAX_HANDSHAKES_PER_SOURCE: usize = 16;
/// Connections that one source may open in a burst.
pub const CONNECTION_BURST: u32 = 64;
/// Connections that one source may open in a second once its burst is used up.
pub const CONNECTIONS_PER_SECOND: u32 = 32;
/// Time for the handshake of an incoming connection.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// A connection without streams closes after this long.
pub const CONNECTION_IDLE: Duration = Duration::from_secs(60);
/// A connection without a session closes after this long, whatever streams its peer opens.
pub const CONNECTION_QUIET: Duration = Duration::from_secs(60);
/// A part of the node's files that could not be written, and that nothing tries to write, is tested by a small write
/// after this time. A session that waits for the disk tries sooner; its result counts for more than the small write's.
pub const PROBE_AFTER: Duration = rpp_p2p::limits::PAUSE_RECHECK.saturating_mul(5);
/// Bans that are kept, including those that ran out. Of the latter, the oldest are dropped first.
pub const MAX_BANS: usize = 4096;
/// Pieces of evidence for one ban. The oldest are dropped.
pub const MAX_BAN_EVIDENCE: usize = 8;
/// The length of a source's first ban. Each further ban is twice as long.
pub const BAN_FIRST: Duration = Duration::from_secs(10 * 60);
/// The longest ban.
pub const BAN_LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The number of earlier bans of a source is forgotten this long after the last one.
pub const BAN_MEMORY: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Bytes of `bans.json` that are read; a full table takes less.
pub const MAX_BANS_FILE: u64 = 64 * 1024 * 1024;
/// Time between two tries to write `bans.json`.
pub const BAN_RETRY: Duration = Duration::from_secs(1);
/// Bytes of one answer of a mirror: its manifest, or a range.
pub const MAX_MIRROR_ANSWER: u64 = 256 * 1024 * 1024;
/// Hashes of a mirror's outboards that are kept in memory before they are dropped.
pub const MAX_MIRROR_NODES: usize = 65_536;
/// Redirects of a mirror that are followed for one request.
pub const MAX_REDIRECTS: usize = 5;
/// Time to connect to a mirror.
pub const MIRROR_CONNECT: Duration = Duration::from_secs(10);
/// Connections that are opened ahead to a mirror beside the first one, because a reader asks for several things next.
pub const WARM_CONNECTIONS: usize = rpp_p2p::limits::MIRROR_READS + 2;
/// How long connections that were opened ahead, and answers that were requested ahead, wait to be used.
pub const WARM_LIFE: Duration = Duration::from_secs(10);
/// A mirror that sends no byte for this long is given up for now.
pub const MIRROR_IDLE: Duration = Duration::from_secs(30);
/// Bytes of a file in one part of an upload to a mirror.
pub const MIRROR_PART: u64 = 8 * 1024 * 1024;
/// Bytes of a file that one PUT to a web server may carry.
pub const MAX_MIRROR_PUT: u64 = 256 * 1024 * 1024;
/// Bytes of `limits.json` that are read.
pub const MAX_LIMITS_FILE: u64 = 4096;
/// Refused requests that one peer may make within [`FLOOD_WINDOW`]. One more bans it.
pub const MAX_REFUSED_REQUESTS: u32 = 600;
/// See [`MAX_REFUSED_REQUESTS`].
pub const FLOOD_WINDOW: Duration = Duration::from_secs(60);
/// Peers whose refused requests are counted.
pub const MAX_FLOOD_PEERS: usize = 1024;
/// The pause before the payload of a complete session is read again if it could not be read after a start.
pub const RESTORE_RETRY: Duration = Duration::from_secs(60);
