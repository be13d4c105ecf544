//! The errors of a configuration. Every variant names the key and what is allowed.

use std::{io, path::PathBuf};

/// Why a configuration was refused. The operator is at fault in all of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file is missing or cannot be read.
    #[error("cannot read the configuration file {}: {source}; `rpp-node init` writes a commented one", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is larger than any configuration can be.
    #[error("{} has more than {max} bytes: this is not a configuration file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        max: u64,
    },
    /// The file is not TOML.
    #[error("{} is not valid TOML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// The key does not exist.
    #[error("unknown key `{key}` ({place}); allowed here: {allowed}")]
    UnknownKey {
        /// The key as `section.key`.
        key: String,
        /// Where it was set.
        place: String,
        /// The keys that exist there.
        allowed: String,
    },
    /// The value has the wrong type or is out of range.
    #[error("`{key}` cannot be {given} ({place}); allowed: {allowed}")]
    Invalid {
        /// The key as `section.key`.
        key: String,
        /// The value given, as text.
        given: String,
        /// Where it was set.
        place: String,
        /// What is allowed.
        allowed: String,
    },
    /// Two values contradict each other.
    #[error("`{key}` {message}")]
    Conflict {
        /// The key to change.
        key: &'static str,
        /// What it contradicts, and what is allowed.
        message: String,
    },
    /// A file that a key names is missing.
    #[error("`{key}` names {}, which does not exist: {hint}", path.display())]
    MissingFile {
        /// The key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What to do.
        hint: &'static str,
    },
}
