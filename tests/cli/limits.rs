//! `docs/limits.md` against the tables of limits: each constant has one row, and each number comes from a constant or a key.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use rpp_runtime::{Config, config::Overrides};

use crate::harness::repository;

/// The binary's own limits, included here because it has no library.
#[path = "../../src/limits.rs"]
#[allow(dead_code, unreachable_pub)]
mod of_the_binary;

/// Name and value, as the page writes it, of every constant of one file.
struct Table {
    file: &'static str,
    shown: BTreeMap<&'static str, String>,
}

macro_rules! table {
    ($file:literal, $($module:ident)::+ { $($unit:ident: $($name:ident)+;)+ }) => {{
        use $($module)::+ as limits;
        let mut shown = BTreeMap::new();
        $($(
            #[allow(clippy::unnecessary_cast, clippy::cast_lossless)]
            let value = $unit!(limits::$name);
            shown.insert(stringify!($name), value);
        )+)+
        Table { file: $file, shown }
    }};
}

macro_rules! bytes {
    ($value:expr) => {
        size($value as u64)
    };
}

/// Small sizes, as plain bytes.
macro_rules! octets {
    ($value:expr) => {
        format!("{} bytes", $value)
    };
}

macro_rules! count {
    ($value:expr) => {
        number($value as u64)
    };
}

macro_rules! time {
    ($value:expr) => {
        period($value)
    };
}

macro_rules! millis {
    ($value:expr) => {
        period(Duration::from_millis($value))
    };
}

macro_rules! between {
    ($value:expr) => {
        [*$value.start(), *$value.end()].map(|end| period(Duration::from_millis(end))).join(" to ")
    };
}

macro_rules! rate {
    ($value:expr) => {
        format!("{}/s", size($value as u64))
    };
}

fn tables() -> Vec<Table> {
    vec![
        table!("p2p/src/limits.rs", rpp_p2p::limits {
            bytes: MAX_REQUEST_BYTES MAX_RESPONSE_BYTES MIN_CHUNK_SIZE MAX_CHUNK_SIZE DEFAULT_CHUNK_SIZE
                MAX_RESPONSE_BYTES_IN_FLIGHT MAX_RESPONSE_BYTES_IN_FLIGHT_PER_PEER MAX_READ_AHEAD_BYTES
                MAX_READ_AHEAD_BYTES_PER_PEER READ_AHEAD_BATCH MAX_UNVERIFIED_BYTES WINDOW ACK_BYTES
                MAX_RECURSIVE_PROOF_BYTES GATHERED_BYTES TURN_BYTES MAX_PROVIDER_FRAME_BYTES MAX_WANT_FRAME_BYTES STREAM_BATCH
                MAX_STREAM_BYTES FIRST_RUN WINDOW_HEAD_ROOM EARLY_READ;
            octets: MAX_PEER_TEXT_BYTES MAX_CREDIT_FRAME_BYTES;
            count: MAX_JSON_DEPTH MAX_JSON_MEMBERS MAX_PROOF_HASHES MAX_STREAMS_PER_CONNECTION MAX_SLOTS MAX_SLOTS_PER_PEER
                MAX_SLOT_WAITERS MAX_RECORDS MAX_RECORDS_PER_PEER MAX_UPDATES MAX_PUBLISHERS MAX_SIGNATURES MAX_SESSIONS
                MAX_BLOCKING_JOBS MAX_LOOSE_CANCELS MAX_QUEUED_EVENTS MAX_SENT_RANGES MAX_OPEN_WANTS MAX_OFFERS MAX_KNOWN_OFFERS
                MAX_OFFER_PEERS MAX_ASKS MAX_WRONG_OFFERS MAX_GONE MAX_OFFER_ANSWERS
                MAX_HAVE_RANGES MAX_SOURCES SLOW_PART MIRROR_READS;
            time: REQUEST_IDLE SLOWEST_OVER SLOT_IDLE SLOT_GIVES_WAY SLOT_WAIT RECORD_RETENTION RESPONSE_BUDGET_WAIT
                READ_AHEAD_IDLE ACK_INTERVAL HANDOVER_WAIT FIRST_FRAME STREAM_IDLE PAUSE_RECHECK ACK_RETRY RATE_BURST RATE_AHEAD
                BACKOFF_MIN BACKOFF_MAX OFFER_LIFE ASK_INTERVAL MAX_ASK_INTERVAL MIN_ASK_INTERVAL ASK_TIME RUN SLOW_AFTER
                SLOW_FOR LEAD_PATIENCE ROUND_TRIP_MEMORY;
            rate: SLOWEST_RATE FIRST_RATE;
        }),
        // Limits that it shares with the protocol stand in the protocol's rows.
        table!("proofs/src/limits.rs", rpp_proofs { count: PROOF_BYTES MAX_CHAIN_ID MAX_PUBLISHERS MAX_SIGNATURES; }),
        table!("runtime/src/limits.rs", rpp_runtime::limits {
            bytes: DB_CACHE_BYTES RECHECK_STEP RECHECK_SLICE SCRUB_PIECE MAX_DAMAGE_NOTE MAX_CONFIG_BYTES MAX_SECRET_BYTES
                MAX_EXTENSION MAX_BANS_FILE MAX_LIMITS_FILE MAX_MIRROR_ANSWER MIRROR_PART MAX_MIRROR_PUT;
            octets: MIN_TOKEN_BYTES;
            count: MAX_OVER MAX_PENDING_CONNECTIONS MAX_HANDSHAKES MAX_HANDSHAKES_PER_SOURCE CONNECTION_BURST
                CONNECTIONS_PER_SECOND MAX_RATES MAX_SILENT_PINGS MAX_COUNTED_SOURCES MAX_SAID MAX_SAID_LINES MAX_ADDRESSES MAX_KEYS
                PROOF_JOBS COMMAND_QUEUE DONE_QUEUE STORE_QUEUE FLUSH_QUEUE EVENT_QUEUE MAX_ENTRIES MAX_DEPTH MAX_LISTED
                MAX_NAMED MAX_LINKS MAX_REFUSED MAX_ADDRESS_BOOK MAX_UNREACHABLE MAX_EXPLAINED MAX_DHT_RECORDS
                MAX_DHT_RECORDS_PER_KEY MAX_DHT_RECORDS_PER_PEER MAX_FOUND UNPROVEN_DIALS_PER_HOST UNPROVEN_DIALS_PER_ANSWER UNPROVEN_DIALS MAX_NEIGHBOURS MAX_BANS MAX_BAN_EVIDENCE MAX_REFUSED_REQUESTS MAX_FLOOD_PEERS MAX_MIRROR_NODES MAX_REDIRECTS MAX_PEERS
                MAX_MIRRORS MAX_WARNED_MIRRORS MAX_FILE_ROOTS WARM_CONNECTIONS;
            time: HANDSHAKE_TIME CONNECTION_IDLE CONNECTION_QUIET REFUSAL_LOG_INTERVAL REDIAL_MIN REDIAL_MAX KEY_LIFE
                CALL_TIMEOUT ANNOUNCING DATA_LOCK_PATIENCE FLUSH_PATIENCE DB_RETRY RECORD_RETRY SHUTDOWN_GRACE PROBE_AFTER
                RESTORE_RETRY UNPROVEN_HOST_AGAIN UNPROVEN_AGAIN NEIGHBOUR_AGAIN BAN_FIRST BAN_LONGEST BAN_MEMORY BAN_RETRY FLOOD_WINDOW MIRROR_CONNECT MIRROR_IDLE WARM_LIFE;
        }),
        table!("src/limits.rs", of_the_binary {
            bytes: MAX_LOG_BYTES;
            count: MAX_BLOCKING_THREADS MAX_LOG_LINES;
            time: LAST_LINES AWAKE ONE_STOP BENCH_CONNECT BENCH_PING BENCH_GOODBYE;
        }),
        table!("http/src/limits.rs", rpp_http::limits {
            bytes: MAX_BODY_BYTES MAX_HEAD_BYTES LINGER_BYTES;
            octets: MIN_TOKEN_BYTES;
            count: MAX_CONNECTIONS MAX_SPARE MAX_SPARE_PER_ADDRESS MAX_REFUSALS MAX_WRONG_TOKENS MAX_WRONG_ADDRESSES;
            time: SPARE_HEADER_TIMEOUT LINGER ACCEPT_PAUSE ACCEPT_LOG_INTERVAL WRONG_TOKENS_WINDOW HEADER_TIMEOUT
                BODY_TIMEOUT WRITE_TIMEOUT IDLE_TIMEOUT DRAIN;
        }),
        table!("rpc/src/limits.rs", rpp_rpc::limits {
            octets: MAX_KEY_BYTES;
            count: MAX_EVENT_STREAMS MAX_RECENT_EVENTS MAX_RECENT_STATES;
            time: FIRST_ANSWER EVENT_INTERVAL KEEP_ALIVE;
        }),
        table!("introspection/src/limits.rs", rpp_introspection::limits {
            bytes: MAX_CLIENT_MESSAGE_BYTES MAX_READ_BYTES SEND_BUFFER_BYTES EVENT_WATERMARK_BYTES MAX_SERVER_MESSAGE_BYTES;
            octets: MAX_TEXT_BYTES;
            count: MAX_CONNECTIONS MAX_STREAMS_PER_CONNECTION MAX_STREAMS MAX_CLOSED_CONNECTIONS
                MAX_CLOSED_STREAMS_PER_CONNECTION MAX_CLOSED_STREAMS MAX_SESSIONS MAX_CLIENTS EVENT_BUFFER EVENT_CHANNEL
                FORWARDED_CLIENTS SPARE_CONNECTIONS;
            time: PING_INTERVAL CLOSE_DEADLINE FORWARD_HANDSHAKE FORWARD_WRITE CLIENT_WRITE_TIMEOUT;
            millis: DEFAULT_INTERVAL_MS DEFAULT_RETENTION_MS SESSION_EVENT_SPACING_MS MIN_RATE_WINDOW_MS MAX_RATE_WINDOW_MS;
            between: INTERVAL_MS RETENTION_MS;
        }),
        table!("fleet/src/limits.rs", rpp_fleet::limits {
            bytes: MAX_REQUEST_BYTES MAX_REPLY_BYTES MAX_FRAMES_BYTES MAX_CUT_BYTES MAX_STORED_ID_BYTES MAX_STORED_LABEL_BYTES
                MAX_STORED_ATTRS_BYTES DEFAULT_DB_BYTES MIN_DB_BYTES SQLITE_HEAP_BYTES SQL_MAX_JSON_BYTES SQL_MAX_TEXT_BYTES
                SQL_MAX_VALUE_BYTES MAX_BODY_BYTES;
            octets: MAX_ID_BYTES MAX_TEXT_BYTES MAX_STORED_KIND_BYTES MAX_PROCESS_NAME_BYTES;
            count: MAX_REGISTRY_NODES MAX_REGISTRY_EDGES MAX_ATTRS REQUEST_QUEUE MAX_CONNECTIONS MAX_PARSERS
                MAX_UNREADABLE_PARTS MAX_SNAPSHOTS MAX_EVENTS EVENTS_PER_SECOND SQL_MAX_ROWS SQL_MAX_PARAMS SQL_MAX_FUNCTIONS
                MAX_READERS MAX_SENDERS MAX_CHAINS MAX_CHAIN_STEPS;
            time: FRAME_DEADLINE RECONNECT_FIRST RECONNECT_MAX CONNECT_TIMEOUT GRAPH_INTERVAL REPLY_WRITE_TIMEOUT CUT_TIMEOUT
                CUT_GRACE EVENT_RETENTION SQL_TIMEOUT;
        }),
    ]
}

/// `4,096`.
fn number(value: u64) -> String {
    let digits = value.to_string();
    let parts: Vec<_> = digits.as_bytes().rchunks(3).rev().map(|part| std::str::from_utf8(part).unwrap()).collect();
    parts.join(",")
}

/// `64 KiB`.
fn size(value: u64) -> String {
    for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if value >= unit && value.is_multiple_of(unit) {
            return format!("{} {name}", number(value / unit));
        }
    }
    format!("{} bytes", number(value))
}

/// `30 s`.
fn period(value: Duration) -> String {
    let (millis, seconds) = (value.as_millis(), value.as_secs());
    match seconds {
        _ if !millis.is_multiple_of(1000) => format!("{millis} ms"),
        0..120 => format!("{seconds} s"),
        _ if seconds.is_multiple_of(86_400) && seconds > 86_400 => format!("{} days", seconds / 86_400),
        _ if seconds.is_multiple_of(3600) => format!("{} h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

/// A row of the page.
struct Row {
    what: String,
    bound: String,
    /// What stands between backticks in the last column.
    origin: Vec<String>,
}

/// The sections of the page: the files that a heading names, and the rows below it.
fn sections() -> Vec<(Vec<String>, Vec<Row>)> {
    let page = fs::read_to_string(repository().join("docs/limits.md")).unwrap();
    let ticked = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    page.split("\n## ")
        .skip(1)
        .map(|section| {
            let (heading, body) = section.split_once('\n').unwrap();
            let rows = body.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what |"));
            let rows = rows.map(|line| {
                let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
                let [what, bound, origin] = cells[..] else { panic!("{line}") };
                Row { what: what.to_owned(), bound: bound.to_owned(), origin: ticked(origin) }
            });
            (ticked(heading), rows.collect())
        })
        .collect()
}

/// The names of the constants of a file of limits.
fn constants(file: &str) -> BTreeSet<String> {
    let source = fs::read_to_string(repository().join(file)).unwrap();
    let names = source
        .lines()
        .filter_map(|line| line.trim_start_matches("pub(crate) ").trim_start_matches("pub ").strip_prefix("const "));
    names.map(|rest| rest.split(':').next().unwrap().to_owned()).collect()
}

#[test]
fn the_tables_name_every_constant() {
    for Table { file, shown } in tables() {
        let named: BTreeSet<_> = shown.keys().map(|name| (*name).to_owned()).collect();
        assert_eq!(named, constants(file), "{file}");
    }
}

#[test]
fn the_page_has_one_row_for_each_constant_with_its_value() {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let tables = tables();
    let of_file = |file: &String| tables.iter().find(|table| table.file == file).unwrap_or_else(|| panic!("{file}"));
    for (files, rows) in sections() {
        assert!(!files.is_empty());
        let mut seen = BTreeSet::new();
        for Row { what, bound, origin } in &rows {
            assert!(seen.insert(what), "twice: {what}");
            let mut rest = bound.clone();
            for name in origin.iter().filter(|name| !name.contains('.')) {
                let Some((table, value)) =
                    files.iter().map(of_file).find_map(|table| Some((table, table.shown.get(name.as_str())?)))
                else {
                    assert_eq!(name, "TOKIO_WORKER_THREADS", "no such constant in {files:?}: {what}");
                    continue;
                };
                let at = rest.find(value.as_str()).unwrap_or_else(|| panic!("{what}: {name} is {value}, not {bound}"));
                rest.replace_range(at..at + value.len(), "");
                let first = found.entry(table.file.to_owned()).or_default().insert(name.clone());
                assert!(first, "{name} has two rows");
            }
            for key in origin.iter().filter(|name| name.contains('.')) {
                rest = without_default(&rest, bound, key, what);
            }
            assert!(!rest.contains(|c: char| c.is_ascii_digit()), "{what}: where does {rest} come from?");
        }
    }
    // What two crates share is one constant, in the row of the protocol.
    found
        .entry("proofs/src/limits.rs".to_owned())
        .or_default()
        .extend(["MAX_PUBLISHERS", "MAX_SIGNATURES"].map(str::to_owned));
    for Table { file, shown } in tables {
        let named: BTreeSet<_> = shown.keys().map(|name| (*name).to_owned()).collect();
        assert_eq!(found.get(file), Some(&named), "{file}");
    }
}

/// Removes this key's default from a bound, which must contain it, and returns the rest.
fn without_default(rest: &str, bound: &str, key: &str, what: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    fs::write(&file, "").unwrap();
    let settings = Config::load(&file, &Overrides::none()).unwrap().settings;
    let setting =
        settings.iter().find(|setting| setting.path() == key).unwrap_or_else(|| panic!("no key {key}: {what}"));
    let Some(value) = setting.value.as_integer().and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0)
    else {
        // The key is a list and has the list's bound, or it has none.
        return Config::keys()
            .find(|(section, name, _)| format!("{section}.{name}") == key)
            .and_then(|(_, _, allowed)| {
                let most = allowed.strip_prefix("a list of at most ")?.split(':').next()?.parse().ok()?;
                Some(rest.replacen(&number(most), "", 1))
            })
            .unwrap_or_else(|| rest.to_owned());
    };
    let forms = [number(value), size(value), period(Duration::from_secs(value)), period(Duration::from_millis(value))];
    let form = forms.iter().rev().find(|form| bound.contains(form.as_str()));
    let form = form.unwrap_or_else(|| panic!("{what}: the default of {key} is {value}, not {bound}"));
    // If the bound names a constant too, that one was removed before.
    rest.replacen(form.as_str(), "", 1)
}

#[test]
fn numbers_are_written_as_the_page_writes_them() {
    assert_eq!((number(7), number(4096), number(10_000_000)), ("7".into(), "4,096".into(), "10,000,000".into()));
    assert_eq!((size(512), size(65_536), size(8 << 30)), ("512 bytes".into(), "64 KiB".into(), "8 GiB".into()));
    let times =
        [500, 1000, 75_000, 120_000, 3_600_000, 86_400_000, 604_800_000].map(|ms| period(Duration::from_millis(ms)));
    assert_eq!(times, ["500 ms", "1 s", "75 s", "2 min", "1 h", "24 h", "7 days"]);
}
