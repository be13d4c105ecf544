//! The failures of the session database: from the disk, or from the database's library.

use std::{any::Any, io, path::PathBuf, sync::Arc};

/// Why the session database could not be opened, read or written. The machine is at fault, except with
/// [`DbFault::InUse`], where the operator may be.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DbFault {
    /// It was not opened yet.
    #[error("not opened yet")]
    NotOpened,
    /// Something else has it open.
    #[error("another part of this process, or another one, still has it open")]
    InUse,
    /// It was closed after an earlier failure, and is opened again later.
    #[error("it was closed after a failure")]
    Closed,
    /// A call on one of its files failed.
    #[error(transparent)]
    Io(#[from] Arc<io::Error>),
    /// A call on this file failed.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// The system starts no further thread for this process.
    #[error("no thread can be started for it ({0}): raise TasksMax of the service, `ulimit -u` or `ulimit -v`")]
    NoThread(Arc<io::Error>),
    /// A flush takes too long, so nothing waits for it any more.
    #[error("a flush did not end within {seconds} s")]
    Slow {
        /// How long the caller waited for it.
        seconds: u64,
    },
    /// Its log does not have the bytes that were written.
    #[error("its log is damaged")]
    LogDamaged,
    /// One of its trees is missing.
    #[error("a part of it is missing")]
    PartMissing,
    /// The library panicked while it read it.
    #[error("it is damaged in a way that its library does not survive")]
    Unreadable,
    /// The library panicked while it was open.
    #[error("it failed in a way that its library does not survive")]
    Panicked,
    /// Any other failure, with the library's text, escaped.
    #[error("{0}")]
    Library(String),
}

impl DbFault {
    /// What the system refused, if a panic of the library is about that. sled panics when a thread of it does not start.
    pub(super) fn of_panic(panic: &(dyn Any + Send)) -> Option<Self> {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied())?;
        let error = io::Error::from_raw_os_error(code_in(text)?);
        Some(if error.kind() == io::ErrorKind::WouldBlock { Self::NoThread(Arc::new(error)) } else { error.into() })
    }
}

impl From<io::Error> for DbFault {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// sled's error without names and numbers of its internals: sled stores a copy of an error as Rust's debug text.
impl From<&sled::Error> for DbFault {
    fn from(error: &sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => match system_code(error) {
                Some(code) => io::Error::from_raw_os_error(code).into(),
                None => Self::Library(rpp_p2p::text::escape(&error.to_string())),
            },
            sled::Error::Corruption { .. } => Self::LogDamaged,
            sled::Error::CollectionNotFound(_) => Self::PartMissing,
            sled::Error::Unsupported(reason) | sled::Error::ReportableBug(reason) => {
                Self::Library(rpp_p2p::text::escape(reason))
            }
        }
    }
}

/// The system's error number in one of sled's errors.
pub(super) fn system_code(error: &io::Error) -> Option<i32> {
    error.raw_os_error().or_else(|| code_in(&error.to_string()))
}

/// The system's error number, from the debug text.
fn code_in(text: &str) -> Option<i32> {
    let (_, rest) = text.split_once("Os { code: ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
