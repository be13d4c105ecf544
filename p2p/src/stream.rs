//! `/rpp/snapshots/2.0.0`: one substream for each session, with binary frames in both directions and credit
//! (`docs/protocol.md`, The stream). Sessions, plans, acks, codes and the rules of resuming are those of 1.0.0.
//!
//! ```text
//! consumer ── message | want | credit ──> provider
//!          <── message | chunk ──────────
//! ```
//!
//! There is no I/O and no clock here. [`frame`] has the wire format, [`Incoming`] decides what a consumer accepts, and
//! [`Served`] what a provider sends. The behaviour has the substreams.
//!
//! A stream carries each chunk and each update at most once. A consumer that has lost what it received opens another
//! stream and resumes there. So an item may arrive exactly if it was wanted and has not arrived yet.

mod buffers;
pub mod frame;
mod incoming;
mod served;

pub use self::{
    frame::{ConsumerFrame, FrameError, Wanted},
    incoming::{Came, Incoming, StreamViolation},
    served::{Breach, Served, StreamWork, Totals},
};

/// A version of the protocol between two peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// `/rpp/snapshots/1.0.0`: a request and its answer, in JSON.
    V1,
    /// `/rpp/snapshots/2.0.0`: a stream with credit.
    V2,
}

impl Protocol {
    /// Its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => crate::PROTOCOL_V1,
            Self::V2 => crate::PROTOCOL_V2,
        }
    }
}

/// Which versions a node speaks, in both roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocols {
    /// Both: 2.0.0 if the other side supports it.
    #[default]
    Auto,
    /// Only 1.0.0.
    V1,
    /// Only 2.0.0.
    V2,
}

impl Protocols {
    pub(crate) fn has_v1(self) -> bool {
        self != Self::V2
    }

    pub(crate) fn has_v2(self) -> bool {
        self != Self::V1
    }
}
