//! Every key of the configuration: what it may contain, and its default.

use libp2p::multiaddr::Protocol;
use rpp_p2p::{Hash, limits, types::MAX_INTEGER};
use toml::Value;

use crate::{
    address,
    limits::{MAX_FILE_ROOTS, MAX_MIRRORS, MAX_PEERS},
    sources::mirror::MirrorUrl,
};

/// One key.
pub(super) struct ConfigKey {
    /// Empty for the keys before the first section.
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) kind: ValueKind,
    pub(super) default: Default,
}

/// The kind of a key's value.
pub(super) enum ValueKind {
    /// Relative to the configuration file's folder.
    Path,
    /// Like `Path`, or empty.
    OptionalPath,
    Switch,
    Number {
        min: u64,
        max: u64,
    },
    PowerOfTwo {
        min: u64,
        max: u64,
    },
    Word(&'static [&'static str]),
    Text(Rule),
    List {
        max: usize,
        each: Rule,
    },
    /// Each relative to the configuration file's folder.
    Paths {
        max: usize,
    },
}

/// A check of one text, and the words that describe it.
pub(super) struct Rule {
    allowed: &'static str,
    holds: fn(&str) -> bool,
}

pub(super) enum Default {
    Text(&'static str),
    Number(u64),
    Switch(bool),
    List(&'static [&'static str]),
}

const ADDRESS: Rule = Rule {
    allowed: "an IP address and a port such as \"127.0.0.1:7070\" (port 0: any free one)",
    holds: |text| text.parse::<std::net::SocketAddr>().is_ok(),
};
const LISTEN: Rule = Rule {
    allowed: "multiaddrs to listen on such as \"/ip4/0.0.0.0/tcp/4001\" or \"/ip4/0.0.0.0/udp/4001/quic-v1\"",
    holds: |text| address::to_listen_on(text).is_ok(),
};
const PEER: Rule = Rule {
    allowed: "multiaddrs that end in a peer id (of an Ed25519, secp256k1, ECDSA or RSA key), such as \"/ip4/10.0.0.7/tcp/4001/p2p/12D3...\"",
    holds: is_address_of_peer,
};
const MIRROR: Rule = Rule {
    allowed: "URLs of mirrors such as \"https://host/folder\", \"s3://bucket/folder\" or \"file:///folder\"",
    holds: |text| text.parse::<MirrorUrl>().is_ok(),
};
const HOST: Rule =
    Rule { allowed: "host names without scheme, port or path, such as \"node.example\"", holds: is_host };
const ORIGIN: Rule =
    Rule { allowed: "origins such as \"https://ui.example\" or \"http://localhost:3000\"", holds: is_origin };
const GENESIS: Rule = Rule {
    allowed: "a genesis commitment as `publish` prints it, which is 64 lower-case hex digits below the field's modulus, or empty",
    holds: |text| text.is_empty() || text.parse::<rpp_proofs::Commitment>().is_ok(),
};
const HASH: Rule = Rule { allowed: "64 lower-case hex digits each", holds: |text| text.parse::<Hash>().is_ok() };
const CHAIN_ID: Rule = Rule { allowed: "1 to 64 of the characters A-Z a-z 0-9 . _ -", holds: is_chain_id };
const DASHBOARD: Rule = Rule { allowed: "host:port, or empty", holds: |text| text.is_empty() || is_host_port(text) };
const NAME: Rule = Rule {
    allowed: "at most 64 of the characters A-Z a-z 0-9 . _ -, or empty",
    holds: |text| text.is_empty() || is_chain_id(text),
};
const FILTER: Rule = Rule {
    allowed: "a level (error, warn, info, debug, trace) or directives such as \"info,rpp_runtime=debug\"",
    holds: |text| !text.trim().is_empty(),
};

const fn key(section: &'static str, name: &'static str, kind: ValueKind, default: Default) -> ConfigKey {
    ConfigKey { section, name, kind, default }
}

const fn number(section: &'static str, name: &'static str, min: u64, max: u64, default: u64) -> ConfigKey {
    key(section, name, ValueKind::Number { min, max }, Default::Number(default))
}

const fn text(section: &'static str, name: &'static str, rule: Rule, default: &'static str) -> ConfigKey {
    key(section, name, ValueKind::Text(rule), Default::Text(default))
}

const fn list(section: &'static str, name: &'static str, max: usize, each: Rule) -> ConfigKey {
    key(section, name, ValueKind::List { max, each }, Default::List(&[]))
}

const CHUNK: ValueKind = ValueKind::PowerOfTwo { min: limits::MIN_CHUNK_SIZE, max: limits::MAX_CHUNK_SIZE };
const YEAR_S: u64 = 366 * 24 * 60 * 60;
const GIB: u64 = 1 << 30;

/// The keys in the order of the commented file.
pub(super) const KEYS: &[ConfigKey] = &[
    key("", "data_dir", ValueKind::Path, Default::Text("data")),
    key(
        "p2p",
        "listen",
        ValueKind::List { max: 64, each: LISTEN },
        Default::List(&["/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/udp/4001/quic-v1"]),
    ),
    list("p2p", "peers", 256, PEER),
    number("p2p", "max_connections", 1, 65_536, 256),
    number("p2p", "max_connections_per_peer", 1, 1024, 4),
    text("rpc", "listen", ADDRESS, "127.0.0.1:7070"),
    key("rpc", "token_file", ValueKind::Path, Default::Text("rpc.token")),
    list("rpc", "allowed_hosts", 64, HOST),
    list("rpc", "allowed_origins", 64, ORIGIN),
    number("snapshots", "chunk_size", limits::MIN_CHUNK_SIZE, limits::MAX_CHUNK_SIZE, limits::DEFAULT_CHUNK_SIZE),
    key("snapshots", "min_chunk_size", CHUNK, Default::Number(limits::MIN_CHUNK_SIZE)),
    key("snapshots", "max_chunk_size", CHUNK, Default::Number(limits::MAX_CHUNK_SIZE)),
    key("snapshots", "protocol", ValueKind::Word(&["auto", "1.0.0", "2.0.0"]), Default::Text("auto")),
    number("snapshots", "window", limits::MIN_CHUNK_SIZE, GIB, 16 << 20),
    key("snapshots", "durability", ValueKind::Word(&["strict", "process"]), Default::Text("strict")),
    number("snapshots", "ack_bytes", limits::MIN_CHUNK_SIZE, GIB, limits::ACK_BYTES),
    number("snapshots", "ack_ms", 1, 60_000, 500),
    key("snapshots", "auto_resume", ValueKind::Switch, Default::Switch(true)),
    number("snapshots", "give_up_after_s", 0, YEAR_S, 0),
    number("snapshots", "max_inbound_sessions", 1, 4096, 64),
    number("snapshots", "max_inbound_sessions_per_peer", 1, 4096, 8),
    number("snapshots", "session_retention_s", 1, YEAR_S, 86_400),
    number("snapshots", "max_sessions", 1, 4096, 256),
    number("snapshots", "max_active_sessions", 1, 64, 8),
    number("snapshots", "max_updates", 1, limits::MAX_UPDATES, limits::MAX_UPDATES),
    number("snapshots", "max_payload_bytes", 0, MAX_INTEGER, 0),
    number("snapshots", "keep", 0, 1_000_000, 0),
    number("snapshots", "scrub_bytes_per_second", 0, MAX_INTEGER, 16 << 20),
    list("sources", "peers", MAX_PEERS, PEER),
    list("sources", "mirrors", MAX_MIRRORS, MIRROR),
    key("sources", "file_roots", ValueKind::Paths { max: MAX_FILE_ROOTS }, Default::List(&["/"])),
    key("discovery", "kad", ValueKind::Switch, Default::Switch(false)),
    list("discovery", "bootstrap", 64, PEER),
    key("discovery", "mdns", ValueKind::Switch, Default::Switch(false)),
    number("limits", "download_bytes_per_second", 0, MAX_INTEGER, 0),
    number("limits", "upload_bytes_per_second", 0, MAX_INTEGER, 0),
    number("limits", "upload_bytes_per_second_per_peer", 0, MAX_INTEGER, 0),
    text("trust", "genesis", GENESIS, ""),
    list("trust", "publishers", limits::MAX_PUBLISHERS, HASH),
    number("trust", "threshold", 0, limits::MAX_PUBLISHERS as u64, 0),
    list("trust", "revoked", 1024, HASH),
    key("publisher", "key_file", ValueKind::Path, Default::Text("publisher.key")),
    text("publisher", "chain_id", CHAIN_ID, "example"),
    key("introspection", "enabled", ValueKind::Switch, Default::Switch(true)),
    text("introspection", "listen", ADDRESS, "127.0.0.1:7071"),
    key("introspection", "token_file", ValueKind::OptionalPath, Default::Text("")),
    list("introspection", "allowed_origins", 64, ORIGIN),
    number("introspection", "max_clients", 1, 1024, 32),
    text("fleet", "dashboard", DASHBOARD, ""),
    text("fleet", "name", NAME, ""),
    key("log", "format", ValueKind::Word(&["auto", "text", "json"]), Default::Text("auto")),
    text("log", "filter", FILTER, "info"),
];

/// The key of that name.
pub(super) fn find(section: &str, name: &str) -> Option<&'static ConfigKey> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

pub(super) fn is_section(name: &str) -> bool {
    !name.is_empty() && KEYS.iter().any(|key| key.section == name)
}

/// The sections in order.
pub(super) fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = KEYS.iter().map(|key| key.section).filter(|section| !section.is_empty()).collect();
    sections.dedup();
    sections
}

/// Splits `rpc_listen` into `("rpc", "listen")` and `data_dir` into `("", "data_dir")`; `None` if the text does not
/// begin with one of our sections.
pub(super) fn split(joined: &str, separator: char) -> Option<(&str, &str)> {
    if find("", joined).is_some() {
        return Some(("", joined));
    }
    joined.split_once(separator).filter(|(section, _)| is_section(section))
}

impl ConfigKey {
    /// `section.key`.
    pub(super) fn path(&self) -> String {
        if self.section.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.section, self.name) }
    }

    pub(super) fn default_value(&self) -> Value {
        match self.default {
            Default::Text(text) => Value::String(text.to_owned()),
            Default::Number(number) => integer(number),
            Default::Switch(on) => Value::Boolean(on),
            Default::List(items) => Value::Array(items.iter().map(|item| Value::String((*item).to_owned())).collect()),
        }
    }

    /// Reads the value from a variable or a flag; lists are separated by commas or written as in the file.
    pub(super) fn parse(&self, text: &str) -> Option<Value> {
        match self.kind {
            ValueKind::Switch => text.parse().ok().map(Value::Boolean),
            ValueKind::Number { .. } | ValueKind::PowerOfTwo { .. } => {
                text.replace('_', "").parse().ok().map(Value::Integer)
            }
            ValueKind::Path | ValueKind::OptionalPath | ValueKind::Word(_) | ValueKind::Text(_) => {
                Some(Value::String(text.to_owned()))
            }
            ValueKind::List { .. } | ValueKind::Paths { .. } if text.trim_start().starts_with('[') => parse_array(text),
            ValueKind::List { .. } | ValueKind::Paths { .. } => Some(Value::Array(
                text.split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .map(|item| Value::String(item.to_owned()))
                    .collect(),
            )),
        }
    }

    /// Whether the key may have this value.
    pub(super) fn accepts(&self, value: &Value) -> bool {
        match (&self.kind, value) {
            (ValueKind::Path, Value::String(text)) => !text.is_empty() && !text.contains('\0'),
            (ValueKind::OptionalPath, Value::String(text)) => !text.contains('\0'),
            (ValueKind::Switch, Value::Boolean(_)) => true,
            (ValueKind::Number { min, max }, Value::Integer(number)) => within(*number, *min, *max),
            (ValueKind::PowerOfTwo { min, max }, Value::Integer(number)) => {
                within(*number, *min, *max) && number.count_ones() == 1
            }
            (ValueKind::Word(words), Value::String(text)) => words.contains(&text.as_str()),
            (ValueKind::Text(rule), Value::String(text)) => (rule.holds)(text),
            (ValueKind::List { max, each }, Value::Array(items)) => {
                items.len() <= *max && items.iter().all(|item| item.as_str().is_some_and(each.holds))
            }
            (ValueKind::Paths { max }, Value::Array(items)) => {
                let is_path = |text: &str| !text.is_empty() && !text.contains('\0');
                items.len() <= *max && items.iter().all(|item| item.as_str().is_some_and(is_path))
            }
            _ => false,
        }
    }

    /// Whether a value may contain a password.
    fn may_be_secret(&self) -> bool {
        matches!(&self.kind, ValueKind::List { each, .. } if each.allowed == MIRROR.allowed)
    }

    /// A value in the form in which it may be shown: without user, password and query of a URL.
    pub(super) fn shown(&self, value: &Value) -> Value {
        if !self.may_be_secret() {
            return value.clone();
        }
        let shown = |item: &Value| match item.as_str().map(str::parse::<MirrorUrl>) {
            Some(Ok(url)) => Value::String(url.to_string()),
            _ => Value::String("(not shown)".to_owned()),
        };
        match value {
            Value::Array(items) => Value::Array(items.iter().map(shown).collect()),
            other => shown(other),
        }
    }

    /// An invalid value of the key, in the form in which it may be shown.
    pub(super) fn shown_text(&self, text: &str) -> String {
        if self.may_be_secret() { "this text (not shown)".to_owned() } else { format!("{text:?}") }
    }

    /// For a refused list: the first refused item, quoted or counted, and, if known, what is wrong with it.
    pub(super) fn wrong_item(&self, value: &Value) -> Option<(String, Option<String>)> {
        let (ValueKind::List { each, .. }, Value::Array(items)) = (&self.kind, value) else { return None };
        let is_wrong = |item: &&str| !(each.holds)(item);
        if self.may_be_secret() {
            let (at, item) = items.iter().filter_map(Value::as_str).enumerate().find(|(_, item)| is_wrong(item))?;
            let reason = item.parse::<MirrorUrl>().err().map(|error| error.to_string());
            return Some((format!("item {} of the list", at + 1), reason));
        }
        let item = items.iter().filter_map(Value::as_str).find(is_wrong)?;
        let error = match each.allowed {
            allowed if allowed == PEER.allowed => address::of_peer(item).err(),
            allowed if allowed == LISTEN.allowed => address::to_listen_on(item).err(),
            _ => None,
        };
        Some((format!("{item:?}"), error.map(|error| error.to_string())))
    }

    /// What the key may contain, in words.
    pub(super) fn allowed(&self) -> String {
        match &self.kind {
            ValueKind::Path => "a path".to_owned(),
            ValueKind::OptionalPath => "a path, or empty".to_owned(),
            ValueKind::Switch => "true or false".to_owned(),
            ValueKind::Number { min, max } => format!("a whole number from {min} to {max}"),
            ValueKind::PowerOfTwo { min, max } => format!("a power of two from {min} to {max}"),
            ValueKind::Word(words) => words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", "),
            ValueKind::Text(rule) => rule.allowed.to_owned(),
            ValueKind::List { max, each } => format!("a list of at most {max}: {}", each.allowed),
            ValueKind::Paths { max } => format!("a list of at most {max}: paths of folders"),
        }
    }
}

fn within(number: i64, min: u64, max: u64) -> bool {
    u64::try_from(number).is_ok_and(|number| (min..=max).contains(&number))
}

fn integer(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn parse_array(text: &str) -> Option<Value> {
    let document: toml::Table = toml::from_str(&format!("list = {text}")).ok()?;
    document.into_iter().next().map(|(_, value)| value)
}

fn is_address_of_peer(text: &str) -> bool {
    address::of_peer(text).is_ok_and(
        |address| matches!(address.iter().last(), Some(Protocol::P2p(peer)) if crate::peers::check_key(&peer).is_ok()),
    )
}

fn is_host(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

fn is_host_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let known = bare.parse::<std::net::IpAddr>().is_ok() || is_host(bare);
        known && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

fn is_origin(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        let named = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        !scheme.is_empty() && named && (is_host(rest) || is_host_port(rest))
    })
}

fn is_chain_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}
