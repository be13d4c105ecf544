//! The two messages of a substream, in the form in which the codec takes and returns them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::verify::Checked;
use crate::{exchange::Expectation, json::DecodeError, messages::SnapshotsRequest, stream_tags::StreamTags};

/// A request: encoded where it is sent, decoded where it arrives.
#[derive(Debug)]
pub enum RequestFrame {
    /// To be sent.
    Outgoing {
        /// The document.
        body: Vec<u8>,
        /// The approximate length of the answer in bytes; only a hint for the buffer.
        expected_response: usize,
        /// For whoever observes the substream.
        tags: StreamTags,
        /// To check the answer while it is read, if that may be done here; with `None` the answer stays as it is.
        expectation: Option<Box<Expectation>>,
        /// Counts the answer's bytes as they arrive.
        seen: Seen,
    },
    /// As it arrived.
    Incoming {
        /// Bytes read.
        bytes: usize,
        /// The message, or why it cannot be parsed.
        request: Result<SnapshotsRequest, DecodeError>,
    },
}

/// A response as it is on the wire.
#[derive(Debug)]
pub enum ResponseFrame {
    /// The complete response.
    Whole(Vec<u8>),
    /// It exceeds the bound and was not read to its end.
    Oversize {
        /// Bytes read before reading stopped.
        seen: usize,
        /// The bound.
        bound: usize,
    },
    /// It was checked.
    Checked {
        /// Its length.
        bytes: usize,
        /// The result of the check.
        checked: Checked,
    },
}

/// The number of bytes of an answer that have arrived.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<AtomicU64>);

impl Seen {
    /// Bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn more(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
