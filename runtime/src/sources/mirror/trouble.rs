//! Why a mirror cannot be used, or cannot be used now.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rpp_p2p::{Violation, error::Cause, plan::ChunkSizeError};
use rpp_proofs::GenesisError;

use super::list::UnreadableList;
use crate::{
    limits::{MAX_MIRROR_ANSWER, MAX_MIRROR_PUT},
    store::{ManifestFlaw, explained},
};

/// Why a mirror did not deliver what it was asked for. It contains no text of the server and no URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MirrorTrouble {
    /// It cannot be reached.
    #[error("it cannot be reached: {reason}")]
    Unreachable {
        /// The system's error.
        #[source]
        reason: Cause,
    },
    /// It answers `429` or `503`.
    #[error("it asks for patience (HTTP {status}{})", .retry_after.map(|wait| format!(", {} s", wait.as_secs())).unwrap_or_default())]
    Later {
        /// The status.
        status: u16,
        /// The value of `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// It has no such file.
    #[error("it has no {what}")]
    NotFound {
        /// Which.
        what: &'static str,
    },
    /// It answers a range with the whole file.
    #[error("it answers a range of a file with the whole file: it must support ranges")]
    IgnoresRanges,
    /// It answers `416`, or with another range than was asked for.
    #[error("it refuses or shifts a range: the file is shorter or longer there than its manifest says")]
    Range,
    /// Fewer or more bytes than it announced.
    #[error("it sent {received} bytes instead of {expected}")]
    Length {
        /// The number of bytes that it announced.
        expected: u64,
        /// The number of bytes that arrived.
        received: u64,
    },
    /// It ended an answer early.
    #[error("it ended an answer early")]
    ClosedEarly,
    /// No byte came in time.
    #[error("it sent no byte for {} s", .waited.as_secs())]
    Slow {
        /// How long the reader waited.
        waited: Duration,
    },
    /// Bytes came, but too few.
    #[error("it sent less than {} KiB/s over {} s", f64::from(*.slowest) / 1024.0, .over.as_secs_f64())]
    TooSlow {
        /// The slowest rate that is waited for, in bytes per second,
        slowest: u32,
        /// measured over this time.
        over: Duration,
    },
    /// It does not say how long a file is.
    #[error("its answer does not say how long it is (no Content-Length)")]
    NoLength,
    /// It compresses a file.
    #[error("its answer is compressed (Content-Encoding: {encoding}): the mirror must serve files as they are")]
    Compressed {
        /// How.
        encoding: &'static str,
    },
    /// The file has changed since the first answer.
    #[error("the file changed under way (its {what} is another one)")]
    Changed {
        /// `ETag` or `length`.
        what: &'static str,
    },
    /// It redirects to a place to which it may not.
    #[error("it redirects {how}")]
    Redirect {
        /// What is wrong with it.
        how: &'static str,
    },
    /// It wants other credentials, or refuses ours.
    #[error("it refuses access (HTTP {status}): check the credentials")]
    Access {
        /// The status.
        status: u16,
    },
    /// Any other status.
    #[error("it answers HTTP {status}")]
    Status {
        /// The status.
        status: u16,
    },
    /// Its list cannot be used.
    #[error(transparent)]
    List(#[from] UnreadableList),
    /// Its manifest cannot be used.
    #[error("its manifest cannot be used: {0}")]
    Manifest(#[from] UnusableManifest),
    /// No chunk size is within the requested bounds.
    #[error(transparent)]
    ChunkSize(#[from] ChunkSizeError),
    /// A chunk could not be checked. This is a fault of this program.
    #[error("not checked: {0}")]
    Unchecked(#[source] Cause),
    /// An answer exceeds the largest allowed length.
    #[error("its answer has more than {MAX_MIRROR_ANSWER} bytes")]
    TooLong,
    /// The store, the bucket or the URL cannot be used as configured. The crate's own errors may contain URLs and
    /// answers of the server, so this says only that it failed.
    #[error("{what}")]
    Unusable {
        /// What cannot be used, and what to check.
        what: &'static str,
    },
    /// The folder of a mirror on this machine cannot be created.
    #[error("{} cannot be made: {reason}", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why not.
        #[source]
        reason: Cause,
    },
    /// It does not support an operation.
    #[error("it cannot do what is needed of it")]
    Incapable,
    /// A request failed for any other reason.
    #[error("the request for its {what} failed{}", .reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Failed {
        /// What was asked for.
        what: &'static str,
        /// The system's error, if it is one.
        reason: Option<Cause>,
    },
    /// The file is too long for a web server.
    #[error(
        "a web server takes a file of at most {MAX_MIRROR_PUT} bytes in one PUT, and this one has {bytes}: copy the folder `store` to \
         where the server has its files, or use a bucket"
    )]
    TooLargeToPut {
        /// The length of the file.
        bytes: u64,
    },
    /// Other writers changed its list at each try.
    #[error("other writers changed its {what} {tries} times under way: try again")]
    Contended {
        /// Which file.
        what: &'static str,
        /// The number of tries.
        tries: u32,
    },
    /// What it sent does not verify.
    #[error("{0}")]
    Lied(Violation),
}

/// Why a mirror's manifest cannot be used. Its author is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnusableManifest {
    /// The file is not a manifest. The JSON parser's message is left out, because it may repeat text of the document.
    #[error("it is none")]
    Shape,
    /// It contradicts itself, or belongs to another payload.
    #[error(transparent)]
    Flaw(#[from] ManifestFlaw),
    /// Its genesis is invalid, so it yields no plan.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
}

impl MirrorTrouble {
    /// Whether the trouble may pass, so that another try makes sense.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Later { .. }
            | Self::ClosedEarly
            | Self::Slow { .. }
            | Self::TooSlow { .. }
            | Self::Length { .. } => true,
            Self::Status { status } => *status >= 500,
            _ => false,
        }
    }

    /// The earliest time for another try, if the server named one.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Later { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The trouble of a mirror in this folder: if a file could not be written for lack of room, it says what was
    /// lacking.
    pub(super) fn in_folder(self, folder: &Path) -> Self {
        match self {
            Self::Failed { what, reason: Some(reason) } => {
                let failed = reason.error().and_then(|error| error.downcast_ref::<io::Error>());
                let reason = match failed.and_then(io::Error::raw_os_error) {
                    Some(number) => Cause::new(explained(io::Error::from_raw_os_error(number), &folder.join(what))),
                    None => reason,
                };
                Self::Failed { what, reason: Some(reason) }
            }
            other => other,
        }
    }

    /// The trouble of a request for `what`. Only texts of this module are repeated, because the crate's texts may
    /// contain URLs.
    pub(super) fn of(error: &object_store::Error, what: &'static str) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        let mut reason = None;
        while let Some(here) = cause {
            if let Some(Self::NotFound { .. }) = here.downcast_ref::<Self>() {
                return Self::NotFound { what };
            }
            if let Some(told) = here.downcast_ref::<Self>() {
                return told.clone();
            }
            // The text of an error number is the system's. Any other may be the crate's.
            let number = here.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
            reason = number.map(|number| Cause::new(io::Error::from_raw_os_error(number))).or(reason);
            cause = here.source();
        }
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound { what },
            object_store::Error::PermissionDenied { .. } => Self::Access { status: 403 },
            object_store::Error::Unauthenticated { .. } => Self::Access { status: 401 },
            object_store::Error::Precondition { .. } => Self::Changed { what: "ETag" },
            object_store::Error::NotSupported { .. } | object_store::Error::NotImplemented { .. } => Self::Incapable,
            _ => Self::Failed { what, reason },
        }
    }
}
