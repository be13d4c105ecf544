//! `/rpp/snapshots/2.0.0`: one substream for each session, with binary frames in both directions and credit
//! (`docs/protocol.md`, The stream). Sessions, plans, acks, codes and the rules of resuming are those of 1.0.0.
//!
//! ```text
//! consumer ── message | want | credit ──> provider
//!          <── message | chunk ──────────
//! ```
//!
//! No I/O and no clock in here: [`frame`] is what is on the wire, [`Incoming`] is what a consumer accepts of it, [`Served`] is
//! what a provider does with it. The substreams are the behaviour's.
//!
//! A stream carries each chunk and each update at most once. A consumer that has lost what it received opens another stream
//! and resumes there. So "wanted before, and did not come yet" decides alone whether something may come.

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
    /// Both: 2.0.0 wherever the other side has it.
    #[default]
    Auto,
    /// 1.0.0 alone.
    V1,
    /// 2.0.0 alone.
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
