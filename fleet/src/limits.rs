//! Every bound of this crate, in one place.

use std::time::Duration;

/// Longest request frame that a reporting program accepts.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// Longest reply frame, sent or accepted.
pub const MAX_REPLY_BYTES: usize = 128 * 1024 * 1024;
/// A frame must be complete this long after its first byte.
pub const FRAME_DEADLINE: Duration = Duration::from_secs(30);

/// First pause before the client connects again.
pub const RECONNECT_FIRST: Duration = Duration::from_secs(1);
/// Longest pause before the client connects again.
pub const RECONNECT_MAX: Duration = Duration::from_secs(30);
/// How long the client waits for a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shortest time between two graphs that the client makes, however many requests arrive.
pub const GRAPH_INTERVAL: Duration = Duration::from_millis(50);
/// Time for the dashboard to read a reply.
pub const REPLY_WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Most nodes that a registry holds; further ones get a guard that does nothing and are counted.
pub const MAX_REGISTRY_NODES: usize = 100_000;
/// Most edges that a registry holds.
pub const MAX_REGISTRY_EDGES: usize = 200_000;
/// Longest id that a registry keeps; a longer one is replaced by its start and a hash.
pub const MAX_ID_BYTES: usize = 256;
/// Longest label or attribute text that a registry keeps; the rest is cut off.
pub const MAX_TEXT_BYTES: usize = rpp_common::text::MAX_TEXT_BYTES;
/// Most attributes of one node or edge.
pub const MAX_ATTRS: usize = 32;

/// How long a cut waits for answers.
pub const CUT_TIMEOUT: Duration = Duration::from_millis(5000);
/// Time that the collector adds to the time-out in its request.
pub const CUT_GRACE: Duration = Duration::from_millis(500);
/// Requests queued for one process. When one more comes, the process counts as not reading.
pub const REQUEST_QUEUE: usize = 32;
/// Most connections of processes.
pub const MAX_CONNECTIONS: usize = 4096;
/// Bytes of all frames in flight together.
pub const MAX_FRAMES_BYTES: usize = 512 * 1024 * 1024;
/// Memory of the graphs of one cut; a graph beyond it is left out, and the cut says so.
pub const MAX_CUT_BYTES: usize = 640 * 1024 * 1024;
/// Large replies that are parsed at the same time.
pub const MAX_PARSERS: usize = 2;

/// Nodes and edges of one reply that cannot be read and are noted one by one; further ones are counted in one row.
pub const MAX_UNREADABLE_PARTS: usize = 100;
/// Longest node id that is stored; a node or edge with a longer one is left out and noted.
pub const MAX_STORED_ID_BYTES: usize = 1024;
/// Longest label that is stored; the rest is cut off and noted.
pub const MAX_STORED_LABEL_BYTES: usize = 4096;
/// Longest kind that is stored.
pub const MAX_STORED_KIND_BYTES: usize = 64;
/// Longest attributes that are stored; longer ones are replaced by their size and noted.
pub const MAX_STORED_ATTRS_BYTES: usize = 64 * 1024;
/// Longest process name that is kept.
pub const MAX_PROCESS_NAME_BYTES: usize = 256;

/// Number of newest cuts that are kept.
pub const MAX_SNAPSHOTS: u64 = 500;
/// Default bound of the database.
pub const DEFAULT_DB_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// Smallest bound of the database.
pub const MIN_DB_BYTES: u64 = 256 * 1024;
/// How long ingest events are kept.
pub const EVENT_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
/// Most ingest events that are kept.
pub const MAX_EVENTS: u64 = 100_000;
/// Ingest events written per second; the others are counted in one row.
pub const EVENTS_PER_SECOND: u32 = 500;
/// Memory that SQLite may use in all (a runaway query ends with an error).
pub const SQLITE_HEAP_BYTES: i64 = 384 * 1024 * 1024;

/// Time that one SQL request may run.
pub const SQL_TIMEOUT: Duration = Duration::from_millis(750);
/// Most rows of one SQL answer.
pub const SQL_MAX_ROWS: usize = 5000;
/// Most JSON of one SQL answer.
pub const SQL_MAX_JSON_BYTES: usize = 4 * 1024 * 1024;
/// Longest SQL text.
pub const SQL_MAX_TEXT_BYTES: usize = 16 * 1024;
/// Longest text, blob or row that a query may produce.
pub const SQL_MAX_VALUE_BYTES: i32 = 128 * 1024;
/// Most parameters of one SQL request.
pub const SQL_MAX_PARAMS: usize = 100;
/// Function calls in one statement. They bound what runs between two checks of the clock.
pub const SQL_MAX_FUNCTIONS: u32 = 48;
/// Readers of the database at the same time.
pub const MAX_READERS: usize = 4;
/// Graphs of cuts that are sent at the same time.
pub const MAX_SENDERS: usize = 4;

/// Most chains in one answer about waits.
pub const MAX_CHAINS: usize = 1000;
/// Most steps of one chain that are written out.
pub const MAX_CHAIN_STEPS: usize = 256;

/// Body of an HTTP request.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
