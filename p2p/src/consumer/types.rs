//! The inputs and outputs of a consumer [`Session`](super::Session).

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::PeerId;

use crate::{
    exchange::{Exchange, VerifiedChunk},
    limits::{ACK_BYTES, ACK_INTERVAL, DEFAULT_CHUNK_SIZE, MAX_CHUNK_SIZE, MIN_CHUNK_SIZE, WINDOW},
    link::Grant,
    messages::{Plan, PlanWishes, Update},
    status::{FailureCode, SessionState, WaitKind},
    stream::Protocol,
    types::{Hash, SnapshotSessionId},
};

/// How a session behaves; see `[snapshots]` in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What the plan should be of.
    pub wishes: PlanWishes,
    /// A group is made durable and acknowledged after this many bytes
    pub ack_bytes: u64,
    /// or after this long, whichever comes first.
    pub ack_interval: Duration,
    /// The most bytes that may be verified but not yet durable. At least one chunk is always allowed.
    pub window: u64,
    /// A session without progress for this long fails; `None`: it tries without end.
    pub give_up_after: Option<Duration>,
    /// Makes the jitter of back-offs repeatable.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            wishes: PlanWishes {
                chunk_size: Some(DEFAULT_CHUNK_SIZE),
                min_chunk_size: Some(MIN_CHUNK_SIZE),
                max_chunk_size: Some(MAX_CHUNK_SIZE),
                root: None,
                height: None,
            },
            ack_bytes: ACK_BYTES,
            ack_interval: ACK_INTERVAL,
            window: WINDOW,
            give_up_after: None,
            seed: rand::random(),
        }
    }
}

/// What is on the disk of a session that an earlier process ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The accepted plan.
    pub plan: Arc<Plan>,
    /// Its first updates, as many as are available (possibly none; the others are fetched again).
    pub updates: Vec<Update>,
    /// How many chunks are recorded as durable.
    pub confirmed_chunks: u64,
    /// How many updates are recorded as durable.
    pub confirmed_updates: u64,
}

/// Offsets that an operator names for a resume. They are never "recovered": a refusal fails the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExplicitResume {
    /// The plan.
    pub plan_id: Hash,
    /// The next chunk.
    pub chunk_index: u64,
    /// The next update.
    pub update_index: u64,
}

/// What the session wants done. Each action is returned once; its documentation names the answer that ends it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Action {
    /// Connect to the peer. Answer: `handle_connected` (at once if connected already) or `handle_dial_failed`.
    Connect,
    /// Send a request. Answer: `handle_sent` at once; then, with the request's id, `handle_verified`,
    /// `handle_request_failed` or `handle_violation`. No other request is wanted before.
    Request(Exchange),
    /// Tell the peer, on the stream that an earlier request opened, what is wanted and granted. No answer; what comes is told
    /// by `handle_streamed`, and the stream's end by `handle_stream_ended` or `handle_violation`. Never wanted where the driver
    /// does not tell of a stream by `handle_protocol`.
    Grant(Grant),
    /// The plan was accepted (it may differ from the one before). Persist the session's record before asking for the
    /// next action. No answer.
    PlanAccepted(Arc<Plan>),
    /// Check signatures, chain, recursive proof, and the tip against the node's head. Answer: `handle_authority`. If
    /// everything but the proof was checked and the proof of this tip was verified before: `handle_known_chain`, and
    /// `handle_proof` when it was checked again.
    VerifyAuthority {
        /// The plan.
        plan: Arc<Plan>,
        /// All its updates.
        updates: Arc<Vec<Update>>,
    },
    /// Open the partial payload, or check it again: does it fit the disk? Make plan and updates durable and record
    /// them. Answer: `handle_storage`. No write is in progress when this is wanted.
    OpenStorage {
        /// The plan.
        plan: Arc<Plan>,
        /// All its updates.
        updates: Arc<Vec<Update>>,
    },
    /// Write a chunk. Answer: `handle_written`, or `handle_storage` with the failure. In order; several may be
    /// outstanding.
    Write(VerifiedChunk),
    /// Make everything written so far durable, then record it. Answer: `handle_durable`, or `handle_storage` with the
    /// failure.
    Sync,
    /// Write these chunks over damaged ones and make them durable. Answer: `handle_repaired`, or `handle_storage` with
    /// the failure.
    Repair(Vec<VerifiedChunk>),
    /// Everything is verified and durable: move the payload into the store. Answer: `handle_placed`, or
    /// `handle_storage`.
    Place,
}

/// The state of the partial payload.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Storage {
    /// It is open and fits the disk. Plan and updates are durable and recorded, and so are this many chunks.
    Ready {
        /// From the first on without a gap, as recorded.
        durable_chunks: u64,
        /// How many of their bytes, from the first on, this process has not hashed yet. The driver hashes them and
        /// reports by `handle_rechecked`.
        unchecked_bytes: u64,
    },
    /// The payload is already stored, complete and verified; the offer of this plan was added to it.
    AlreadyStored {
        /// Its path.
        path: PathBuf,
    },
    /// Another session writes the same payload.
    HeldBy(SnapshotSessionId),
    /// It does not fit the disk.
    Full {
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// This node's own files cannot be written now. The sentence says which, why, and what to do. This passes by
    /// itself.
    Unwritable(String),
    /// The disk failed.
    Failed(String),
}

/// What a session waits for, since when, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What.
    pub what: WaitKind,
    /// Which chunk or update.
    pub index: Option<u64>,
    /// The session that holds the payload, for [`WaitKind::Session`].
    pub session: Option<SnapshotSessionId>,
    /// Since when.
    pub since: Instant,
    /// One sentence, with what the operator can do.
    pub reason: String,
    /// When the next try is.
    pub retry_at: Option<Instant>,
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The stable word.
    pub code: FailureCode,
    /// One sentence that names the peer, and the chunk or update if it is about one.
    pub message: String,
    /// The provider broke the protocol or invented a chain: it must not be trusted again.
    pub distrust: bool,
}

/// Everything that a session can say about itself. Counts are numbers of chunks or updates from the first on; the last
/// index is one less.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct View {
    /// The session.
    pub session: SnapshotSessionId,
    /// The provider.
    pub peer: PeerId,
    /// Where it stands.
    pub state: SessionState,
    /// What it waits for; `None` if it is complete or its next action is about to be taken.
    pub waiting: Option<Waiting>,
    /// Why it is over.
    pub failure: Option<Failure>,
    /// The last failure that it is recovering from: whose fault it is, and what happened.
    pub trouble: Option<(FailureCode, String)>,
    /// The version of the protocol by which the session was opened last.
    pub protocol: Option<Protocol>,
    /// The accepted plan.
    pub plan: Option<Arc<Plan>>,
    /// Chunks verified by this process, from the first on without a gap.
    pub verified_chunks: u64,
    /// Updates verified.
    pub verified_updates: u64,
    /// Height of the newest verified update.
    pub last_update_height: Option<u64>,
    /// Chunks durable and recorded. Never falls.
    pub confirmed_chunks: u64,
    /// Updates durable and recorded. Never falls.
    pub confirmed_updates: u64,
    /// Payload bytes received since this machine was created, including wasted ones.
    pub bytes_received: u64,
    /// Payload bytes received in vain: from answers that broke off or came too slowly (an estimate), that did not
    /// verify, or that a full disk lost.
    pub bytes_wasted: u64,
    /// Payload bytes verified by this process.
    pub bytes_verified: u64,
    /// Of the bytes that were on the disk before, the number that was hashed again.
    pub bytes_rechecked: u64,
    /// The number of those bytes.
    pub bytes_to_recheck: u64,
    /// The number of those bytes that did not match, so that they are fetched again.
    pub bytes_damaged: u64,
    /// Payload bytes written.
    pub bytes_written: u64,
    /// Payload bytes durable.
    pub bytes_durable: u64,
    /// Every byte, the chain and its authority are verified, and the payload is in place.
    pub verified: bool,
    /// The path of the payload.
    pub payload_path: Option<PathBuf>,
    /// Tries that failed since the last progress.
    pub failed_tries: u32,
    /// How many tries opening the session took this time, or has taken so far; 1 if nothing fails.
    pub tries: u32,
    /// When something was last verified, over all tries; before that, the start.
    pub progressed: Instant,
}
