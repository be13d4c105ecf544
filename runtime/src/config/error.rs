//! What can be wrong with a configuration. Every variant names the key and what is allowed.

use std::{io, path::PathBuf};

/// Why a configuration was refused. The operator is at fault in all of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file is not there or cannot be read.
    #[error("cannot read the configuration file {}: {source}; `rpp-node init` writes a commented one", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is larger than any configuration.
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
    /// A key that does not exist.
    #[error("unknown key `{key}` ({place}); allowed here: {allowed}")]
    UnknownKey {
        /// The key as `section.key`.
        key: String,
        /// Where it was set.
        place: String,
        /// The keys that exist there.
        allowed: String,
    },
    /// A value of the wrong type or out of range.
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
    /// Two values that do not go together.
    #[error("`{key}` {message}")]
    Conflict {
        /// The key to change.
        key: &'static str,
        /// With what it conflicts and what is allowed.
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
