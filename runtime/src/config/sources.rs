//! The sources of values: the file, the environment, and flags. Each becomes a list of entries with their places.

use std::{fmt, path::Path};

use toml::{
    Value,
    de::{DeTable, DeValue},
};

use super::{
    error::ConfigError,
    kubernetes,
    table::{self, ConfigKey, KEYS},
};

/// The prefix of variables of a known section.
const ENV_PREFIX: &str = "RPP_";

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// Nobody set the value.
    Default,
    /// The configuration file, at this line.
    File {
        /// Counted from 1.
        line: usize,
    },
    /// This environment variable.
    Env(String),
    /// This flag.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { line } => write!(f, "file, line {line}"),
            Self::Env(name) => write!(f, "environment, {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A value that somebody set.
pub(super) struct Given {
    pub(super) key: &'static ConfigKey,
    pub(super) value: Value,
    pub(super) source: Source,
}

/// All entries of a configuration file.
pub(super) fn from_file(path: &Path, text: &str) -> Result<Vec<Given>, ConfigError> {
    let document = DeTable::parse(text)
        .map_err(|error| ConfigError::Syntax { path: path.to_owned(), message: explained(text, &error) })?;
    let mut entries = Vec::new();
    for (name, value) in document.get_ref() {
        let source = Source::File { line: line_of(text, name.span().start) };
        let name = name.get_ref().as_ref();
        match value.get_ref() {
            DeValue::Table(section) if table::is_section(name) => section_entries(text, name, section, &mut entries)?,
            _ if table::is_section(name) => {
                return Err(invalid(name, &brief(value.get_ref()), &source, &format!("a section, written [{name}]")));
            }
            value => entries.push(entry("", name, value, source)?),
        }
    }
    Ok(entries)
}

/// The error with its line, unless the line has a URL, which may contain a password.
fn explained(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| line_of(text, span.start));
    match line {
        Some(number) if text.lines().nth(number - 1).is_some_and(|line| line.contains("://")) => {
            format!("line {number}: {}", error.message())
        }
        _ => error.to_string(),
    }
}

fn section_entries(
    text: &str,
    section: &str,
    values: &DeTable<'_>,
    entries: &mut Vec<Given>,
) -> Result<(), ConfigError> {
    for (name, value) in values {
        let source = Source::File { line: line_of(text, name.span().start) };
        entries.push(entry(section, name.get_ref(), value.get_ref(), source)?);
    }
    Ok(())
}

fn entry(section: &str, name: &str, value: &DeValue<'_>, source: Source) -> Result<Given, ConfigError> {
    let key = table::find(section, name).ok_or_else(|| unknown(section, name, &source))?;
    let value = plain(value).ok_or_else(|| invalid(&key.path(), &brief(value), &source, &key.allowed()))?;
    Ok(Given { key, value, source })
}

/// Variables with our prefix that are not keys, and that may belong to another program.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Skipped {
    /// They have the form of Kubernetes' variables for services.
    pub services: Vec<String>,
    /// They name no existing section.
    pub unknown: Vec<String>,
}

/// The entries of environment variables; an empty variable counts as unset. A variable of a known section must name one
/// of its keys. Others with our prefix become no entries and are listed in `skipped`.
pub(super) fn from_env(variables: &[(String, String)], skipped: &mut Skipped) -> Result<Vec<Given>, ConfigError> {
    let mut entries = Vec::new();
    for (name, text) in variables {
        let Some(rest) = name.strip_prefix(ENV_PREFIX) else { continue };
        let lower = rest.to_ascii_lowercase();
        let split = table::split(&lower, '_').filter(|(section, key)| !is_token(section, key) && !text.is_empty());
        let known = split.is_some_and(|(section, key)| table::find(section, key).is_some());
        if !known && kubernetes::is_service_variable(name, text) {
            skipped.services.push(name.clone());
        } else if let Some((section, key)) = split {
            entries.push(text_entry(section, key, text, Source::Env(name.clone()))?);
        } else if !is_read_elsewhere(rest) && !text.is_empty() {
            skipped.unknown.push(name.clone());
        }
    }
    Ok(entries)
}

/// Variables that the command line, the collector, tests and benchmarks read themselves.
fn is_read_elsewhere(rest: &str) -> bool {
    const VARIABLES: [&str; 3] = ["CONFIG", "RPC_TOKEN", "INTROSPECTION_TOKEN"];
    const GROUPS: [&str; 4] = ["COLLECTOR_", "TEST_", "BENCH_", "SIM_"];
    VARIABLES.contains(&rest) || GROUPS.iter().any(|group| rest.starts_with(group))
}

/// `RPP_RPC_TOKEN` and `RPP_INTROSPECTION_TOKEN` contain secrets and are not configuration keys.
fn is_token(section: &str, key: &str) -> bool {
    key == "token" && matches!(section, "rpc" | "introspection")
}

/// Entries of flags, each as (`section.key`, text).
pub(super) fn from_flags(flags: &[(String, String)]) -> Result<Vec<Given>, ConfigError> {
    flags
        .iter()
        .map(|(path, text)| {
            let source = Source::Flag(format!("--{}", path.replace(['.', '_'], "-")));
            let (section, key) = path.split_once('.').unwrap_or(("", path));
            text_entry(section, key, text, source)
        })
        .collect()
}

fn text_entry(section: &str, name: &str, text: &str, source: Source) -> Result<Given, ConfigError> {
    let key = table::find(section, name).ok_or_else(|| unknown(section, name, &source))?;
    let value = key.parse(text).ok_or_else(|| invalid(&key.path(), &key.shown_text(text), &source, &key.allowed()))?;
    Ok(Given { key, value, source })
}

pub(super) fn unknown(section: &str, name: &str, source: &Source) -> ConfigError {
    let allowed: Vec<_> = if section.is_empty() {
        let sections = table::sections().into_iter().map(|name| format!("[{name}]"));
        KEYS.iter().filter(|key| key.section.is_empty()).map(|key| key.name.to_owned()).chain(sections).collect()
    } else {
        KEYS.iter().filter(|key| key.section == section).map(|key| key.name.to_owned()).collect()
    };
    let key = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
    ConfigError::UnknownKey { key, place: source.to_string(), allowed: allowed.join(", ") }
}

pub(super) fn invalid(key: &str, given: &str, source: &Source, allowed: &str) -> ConfigError {
    ConfigError::Invalid {
        key: key.to_owned(),
        given: given.to_owned(),
        place: source.to_string(),
        allowed: allowed.to_owned(),
    }
}

/// The value without its spans; `None` for kinds of values that no key has, and for integers beyond 64 bits.
fn plain(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Integer(digits) => Value::Integer(i64::from_str_radix(digits.as_str(), digits.radix()).ok()?),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| plain(item.get_ref())).collect::<Option<_>>()?),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => return None,
    })
}

fn brief(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(digits) => digits.to_string(),
        DeValue::Float(digits) => digits.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "this list".to_owned(),
        DeValue::Table(_) => "a section".to_owned(),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
