//! The two messages of a substream, as the codec takes and gives them.

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
        /// About how long the answer will be, in bytes. Only a hint for the buffer.
        expected_response: usize,
        /// For whoever watches the substream.
        tags: StreamTags,
        /// To check the answer with while it is read, where that may be done; `None` leaves it as it comes.
        expectation: Option<Box<Expectation>>,
        /// Told of the answer's bytes as they come.
        seen: Seen,
    },
    /// As it arrived.
    Incoming {
        /// Bytes read.
        bytes: usize,
        /// The message, or why it cannot be read.
        request: Result<SnapshotsRequest, DecodeError>,
    },
}

/// A response as it stands on the wire.
#[derive(Debug)]
pub enum ResponseFrame {
    /// All of it.
    Whole(Vec<u8>),
    /// It is longer than the bound and was not read to its end.
    Oversize {
        /// Bytes seen before reading stopped.
        seen: usize,
        /// The bound.
        bound: usize,
    },
    /// It is checked.
    Checked {
        /// Its length.
        bytes: usize,
        /// What came of it.
        checked: Checked,
    },
}

/// How many bytes of an answer came so far.
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
