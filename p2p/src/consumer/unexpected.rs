//! Inputs that a driver must not give.

/// An input that answers nothing that the session asked for. The session stays as it was before. The driver, or the
/// session itself, has a bug. A late answer is not such an input: it is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{input} was told, and nothing was asked that this answers")]
pub struct Unexpected {
    /// The kind of input.
    pub input: Input,
}

/// The kinds of a driver's inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // each is the `handle_*` of its name
pub enum Input {
    Sent,
    Verified,
    Authority,
    KnownChain,
    Proof,
    Unsettled,
    StorageOpen,
    StorageHeld,
    Written,
    Durable,
    Rechecked,
    Repaired,
    Placed,
    Mirror,
}

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sent => "that a request was sent",
            Self::Verified => "an answer of another kind than its request",
            Self::Authority => "the outcome of a check of authority",
            Self::KnownChain => "that a chain is known",
            Self::Proof => "the outcome of a check of a proof",
            Self::Unsettled => "that a check came to no end",
            Self::StorageOpen => "that a place is open",
            Self::StorageHeld => "that another session has the place",
            Self::Written => "that a chunk is written",
            Self::Durable => "that chunks are durable",
            Self::Rechecked => "that bytes were hashed again",
            Self::Repaired => "that chunks were repaired",
            Self::Placed => "that the payload is in its place",
            Self::Mirror => "what a mirror has",
        })
    }
}
