//! Merges the sources and makes one checked [`Config`] from them.

use std::{
    fs,
    io::Read as _,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use libp2p::{Multiaddr, multiaddr::Protocol};
use serde::Deserialize as _;
use toml::{Table, Value};

use super::{
    Config,
    error::ConfigError,
    sources::{self, Given, Skipped, Source},
    table::{self, ConfigKey, KEYS, ValueKind},
};

use crate::{limits::MAX_CONFIG_BYTES, sources::named};

/// The sources that override the file: environment variables, and flags above those.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    env: Vec<(String, String)>,
    flags: Vec<(String, String)>,
}

impl Overrides {
    /// No overrides.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The environment of this process. A variable that is not UTF-8 is left out.
    #[must_use]
    pub fn from_env() -> Self {
        let env =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self { env: env.collect(), flags: Vec::new() }
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn with_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Adds a flag for a key named `section.key`.
    #[must_use]
    pub fn with_flag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.flags.push((key.into(), value.into()));
        self
    }
}

/// One key with its effective value.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Empty for the keys before the first section.
    pub section: &'static str,
    /// The key's name within its section.
    pub name: &'static str,
    /// The value as it would stand in the file; paths as they were given, URLs without user, password and query.
    pub value: Value,
    /// The source of the value.
    pub source: Source,
}

impl Setting {
    /// `section.key`.
    #[must_use]
    pub fn path(&self) -> String {
        if self.section.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.section, self.name) }
    }
}

/// A configuration, with the source of each value.
#[derive(Clone, Debug)]
pub struct Effective {
    /// The configuration, every path absolute.
    pub config: Config,
    /// All keys in the order of the file.
    pub settings: Vec<Setting>,
    /// The file that was read, absolute.
    pub file: PathBuf,
    /// Variables with our prefix that are not keys.
    pub skipped: Skipped,
}

impl Effective {
    /// What an operator should know although the configuration is valid; one sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let services = named(&self.skipped.services).map(|names| {
            format!(
                "variables that Kubernetes makes for services are no keys and are skipped: {names}; \
                 `enableServiceLinks: false` keeps them out of the pod"
            )
        });
        let unknown = named(&self.skipped.unknown).map(|names| {
            let sections = table::sections().join(", ");
            format!(
                "no key has the name of these variables, so they change nothing: {names}; the sections are {sections}"
            )
        });
        services.into_iter().chain(unknown).collect()
    }
}

/// The first of these names, escaped, and how many more there are.
fn named(names: &[String]) -> Option<String> {
    let first: Vec<_> = names.iter().take(MAX_NAMED).map(|name| rpp_p2p::text::escape(name)).collect();
    let more = match names.len() - first.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!first.is_empty()).then(|| format!("{}{more}", first.join(", ")))
}

/// The most skipped variables that are named.
const MAX_NAMED: usize = 8;

impl Config {
    /// Reads a file and applies environment and flags on top.
    ///
    /// # Errors
    /// The file is missing or malformed, a key is unknown, or a value is not allowed for its key. The error names the
    /// key and what is allowed.
    pub fn load(path: &Path, overrides: &Overrides) -> Result<Effective, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let file = std::path::absolute(path).map_err(read)?;
        let text = read_bounded(path)?;
        let mut skipped = Skipped::default();
        let entries = [
            sources::from_file(path, &text)?,
            sources::from_env(&overrides.env, &mut skipped)?,
            sources::from_flags(&overrides.flags)?,
        ];
        let settings = merge(entries.into_iter().flatten())?;
        let folder = file.parent().unwrap_or(Path::new("/"));
        let config = build(folder, &settings)?;
        let settings = settings.into_iter().map(as_shown).collect();
        Ok(Effective { config, settings, file, skipped })
    }

    /// All defaults, with relative paths under `folder`. For tests and embedders.
    ///
    /// # Errors
    /// `folder` cannot be made absolute.
    pub fn defaults_in(folder: &Path) -> Result<Self, ConfigError> {
        let folder =
            std::path::absolute(folder).map_err(|source| ConfigError::Read { path: folder.to_owned(), source })?;
        build(&folder, &merge(std::iter::empty())?)
    }

    /// Checks that the token files that `run` needs exist.
    ///
    /// # Errors
    /// A file is missing; the error has the key that names it. `rpc_token` and `introspection_token` say that the token
    /// is in the environment, so that its file is not needed.
    pub fn check_token_files(&self, rpc_token: bool, introspection_token: bool) -> Result<(), ConfigError> {
        if !rpc_token && !self.rpc.token_file.exists() {
            return Err(missing(
                "rpc.token_file",
                &self.rpc.token_file,
                "set RPP_RPC_TOKEN, or let `rpp-node init` make one",
            ));
        }
        match &self.introspection.token_file {
            Some(path) if self.introspection.enabled && !introspection_token && !path.exists() => Err(missing(
                "introspection.token_file",
                path,
                "set RPP_INTROSPECTION_TOKEN, or leave the key empty to use the control plane's token",
            )),
            _ => Ok(()),
        }
    }

    /// Checks that the folders of `sources.mirrors` can be opened and may be read.
    ///
    /// # Errors
    /// The first one that cannot be opened or may not be read, with the key to change.
    pub fn check_source_folders(&self) -> Result<(), ConfigError> {
        let folders = self.sources.mirrors.iter().filter_map(crate::sources::mirror::MirrorUrl::local_folder);
        folders.into_iter().try_for_each(|folder| {
            named::check_folder(&folder, self).map_err(|reason| ConfigError::Conflict {
                key: "sources.mirrors",
                message: format!("cannot be used: {reason}"),
            })
        })
    }

    /// Every key as (section, name, what it may contain). The section is empty for the keys before the first one.
    pub fn keys() -> impl Iterator<Item = (&'static str, &'static str, String)> {
        KEYS.iter().map(|key| (key.section, key.name, key.allowed()))
    }
}

fn missing(key: &'static str, path: &Path, hint: &'static str) -> ConfigError {
    ConfigError::MissingFile { key, path: path.to_owned(), hint }
}

fn read_bounded(path: &Path) -> Result<String, ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    fs::File::open(path).map_err(read)?.take(MAX_CONFIG_BYTES + 1).read_to_string(&mut text).map_err(read)?;
    if text.len() as u64 > MAX_CONFIG_BYTES {
        return Err(ConfigError::TooLarge { path: path.to_owned(), max: MAX_CONFIG_BYTES });
    }
    Ok(text)
}

/// Merges entries; a later one wins.
fn merge(entries: impl Iterator<Item = Given>) -> Result<Vec<Setting>, ConfigError> {
    let mut settings: Vec<_> = KEYS.iter().map(default_setting).collect();
    for Given { key, value, source } in entries {
        if !key.accepts(&value) {
            let given = match key.wrong_item(&value) {
                Some((item, Some(reason))) => format!("{item}, because {reason}"),
                Some((item, None)) => item,
                None => key.shown(&value).to_string(),
            };
            return Err(sources::invalid(&key.path(), &given, &source, &key.allowed()));
        }
        if let Some(setting) = settings.iter_mut().find(|s| s.section == key.section && s.name == key.name) {
            setting.value = value;
            setting.source = source;
        }
    }
    Ok(settings)
}

/// A setting without the secrets in its value.
fn as_shown(setting: Setting) -> Setting {
    let key = table::find(setting.section, setting.name);
    let value = key.map_or_else(|| setting.value.clone(), |key| key.shown(&setting.value));
    Setting { value, ..setting }
}

fn default_setting(key: &ConfigKey) -> Setting {
    Setting { section: key.section, name: key.name, value: key.default_value(), source: Source::Default }
}

fn build(folder: &Path, settings: &[Setting]) -> Result<Config, ConfigError> {
    let mut root = Table::new();
    for setting in settings {
        let Some(value) = effective_value(folder, setting) else { continue };
        if setting.section.is_empty() {
            root.insert(setting.name.to_owned(), value);
        } else if let Value::Table(section) = root.entry(setting.section).or_insert_with(|| Value::Table(Table::new()))
        {
            section.insert(setting.name.to_owned(), value);
        }
    }
    let config = Config::deserialize(root)
        .map_err(|error| ConfigError::Syntax { path: folder.to_owned(), message: error.to_string() })?;
    check_together(&config)?;
    Ok(config)
}

/// Makes paths absolute; `None` for an empty value of an optional key.
fn effective_value(folder: &Path, setting: &Setting) -> Option<Value> {
    let text = setting.value.as_str();
    match table::find(setting.section, setting.name).map(|key| &key.kind) {
        Some(ValueKind::Path | ValueKind::OptionalPath) => {
            let text = text.filter(|text| !text.is_empty())?;
            Some(Value::String(folder.join(text).to_string_lossy().into_owned()))
        }
        Some(ValueKind::Paths { .. }) => {
            let absolute = |item: &Value| item.as_str().map(|text| folder.join(text).to_string_lossy().into_owned());
            let items = setting.value.as_array().into_iter().flatten();
            Some(Value::Array(items.filter_map(absolute).map(Value::String).collect()))
        }
        _ if (setting.section, setting.name) == ("trust", "genesis") && text == Some("") => None,
        _ => Some(setting.value.clone()),
    }
}

/// Checks values that depend on each other.
fn check_together(config: &Config) -> Result<(), ConfigError> {
    let snapshots = &config.snapshots;
    if snapshots.min_chunk_size > snapshots.max_chunk_size {
        let message = format!(
            "is {}, above `snapshots.max_chunk_size`, which is {}: the smallest size cannot exceed the largest",
            snapshots.min_chunk_size, snapshots.max_chunk_size
        );
        return Err(ConfigError::Conflict { key: "snapshots.min_chunk_size", message });
    }
    if snapshots.window < 2 * snapshots.max_chunk_size {
        let message = format!(
            "is {}, too small for two chunks: allowed from twice `snapshots.max_chunk_size`, which is {}",
            snapshots.window, snapshots.max_chunk_size
        );
        return Err(ConfigError::Conflict { key: "snapshots.window", message });
    }
    check_ports(config)?;
    let peers = config.sources.peers.iter().map(|address| address.iter().last().map(|part| part.to_string()));
    if let Some(Some(peer)) = first_twice(peers) {
        let message = format!("names the same peer twice: {}", peer.trim_start_matches("/p2p/"));
        return Err(ConfigError::Conflict { key: "sources.peers", message });
    }
    if let Some(url) = first_twice(config.sources.mirrors.iter().map(ToString::to_string)) {
        return Err(ConfigError::Conflict {
            key: "sources.mirrors",
            message: format!("names the same mirror twice: {url}"),
        });
    }
    let trust = &config.trust;
    if !trust.publishers.is_empty() && trust.threshold > trust.publishers.len() as u64 {
        let message = format!(
            "is {}, but `trust.publishers` names {}: allowed up to their number",
            trust.threshold,
            trust.publishers.len()
        );
        return Err(ConfigError::Conflict { key: "trust.threshold", message });
    }
    Ok(())
}

/// Checks that no two listeners use the same TCP port.
fn check_ports(config: &Config) -> Result<(), ConfigError> {
    let mut listeners = vec![("rpc.listen", config.rpc.listen)];
    if config.introspection.enabled {
        listeners.push(("introspection.listen", config.introspection.listen));
    }
    listeners.extend(config.p2p.listen.iter().filter_map(tcp_address).map(|address| ("p2p.listen", address)));
    for (at, &(key, address)) in listeners.iter().enumerate() {
        let Some((other, taken)) = listeners[..at].iter().find(|(_, earlier)| overlap(*earlier, address)) else {
            continue;
        };
        let message = format!("has {address}, and `{other}` has {taken}: each needs a port of its own");
        return Err(ConfigError::Conflict { key, message });
    }
    Ok(())
}

/// Whether two listeners cannot have these addresses at once.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_same_ip = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && one.is_ipv4() == other.is_ipv4() && is_same_ip
}

fn tcp_address(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::from(ip),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

fn first_twice<T: Ord + Clone>(items: impl Iterator<Item = T>) -> Option<T> {
    let mut seen = std::collections::BTreeSet::new();
    items.into_iter().find(|item| !seen.insert(item.clone()))
}
