//! The inputs and outputs of a consumer [`Session`](super::Session).

use std::{
    ops::Range,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::PeerId;

use crate::{
    authority::AuthorityError,
    error::{Cause, Violation},
    exchange::{Exchange, VerifiedChunk},
    have::Have,
    limits::{ACK_BYTES, ACK_INTERVAL, DEFAULT_CHUNK_SIZE, MAX_CHUNK_SIZE, MIN_CHUNK_SIZE, WINDOW},
    link::Grant,
    messages::{Plan, PlanWishes, Update},
    status::{FailureCode, SessionState, SourceState, WaitKind},
    stream::Protocol,
    types::{Hash, SnapshotSessionId},
};

/// How a session behaves; see `[snapshots]` in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The plan that is wished for.
    pub wishes: PlanWishes,
    /// A group is made durable and acknowledged after this many bytes
    pub ack_bytes: u64,
    /// or after this long, whichever comes first.
    pub ack_interval: Duration,
    /// Largest number of bytes that may be in flight or wait to be written. A stream may need less for its path. At
    /// least one chunk is always allowed.
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
    /// How many chunks are recorded as durable, from the first on without a gap.
    pub confirmed_chunks: u64,
    /// How many updates are recorded as durable.
    pub confirmed_updates: u64,
    /// All that is recorded as durable, wherever it stands.
    pub durable: Have,
}

/// Offsets that an operator names for a resume. The session does not recover from a refusal of them: it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExplicitResume {
    /// The plan.
    pub plan_id: Hash,
    /// The next chunk.
    pub chunk_index: u64,
    /// The next update.
    pub update_index: u64,
}

/// Where a download may get its payload from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DownloadSource {
    /// A peer.
    Peer(PeerId),
    /// A mirror.
    Mirror(MirrorId),
}

/// The driver's number for a mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MirrorId(pub u32);

/// The session's number for a job of a mirror; each job of a mirror has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MirrorJobId(pub u64);

/// A job for the reader of a mirror. Several jobs of a mirror may be in flight at a time.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum MirrorJob {
    /// Read the manifest, make a plan of it that fits these wishes, and check it ([`MirrorPlan::check`](crate::mirror::MirrorPlan::check)). Answer:
    /// `handle_mirror_plan`.
    Plan {
        /// The plan that is wished for.
        wishes: PlanWishes,
        /// Bytes of the payload that the session will ask for first if it accepts the plan; the payload may be shorter.
        /// They are read in the pieces that [`reads`](crate::mirror::reads) returns, and may be prefetched as soon as
        /// the root is known. Empty: none.
        ahead: Range<u64>,
    },
    /// Read these chunks, neighbours in one go, and check each against the root. Answer: `handle_mirror_chunk` for each of
    /// them, ascending; after the last one, or earlier, `handle_mirror_read`.
    Chunks {
        /// The mirror's plan.
        plan: Arc<Plan>,
        /// Which chunks; never empty.
        chunks: Range<u64>,
    },
}

/// Why a mirror's job failed. Answers any [`MirrorJob`]; the mirror's other jobs are given up with it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum MirrorFailure {
    /// It may pass: the mirror is asked again later.
    Passing {
        /// What happened, without credentials and query.
        reason: Cause,
        /// The earliest time of the next attempt, as the mirror says.
        retry_after: Option<Duration>,
    },
    /// It does not have this snapshot, or not in a readable form. No rule was broken.
    Refused {
        /// The code of the failure.
        code: FailureCode,
        /// What happened.
        reason: Cause,
    },
    /// What it has does not verify.
    Lied(Violation),
}

/// An action for the driver. Each action is returned once; its documentation names the answer that ends it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Action {
    /// Connect to this peer. Answer: `handle_connected` (at once if connected already), `handle_dial_failed` or
    /// `handle_barred`.
    Connect(PeerId),
    /// Send a request to this peer. Answer: `handle_sent` at once, before the next action; then, with the request's id,
    /// `handle_verified`, `handle_request_failed` or `handle_violation`. Before that, no other request to this peer is
    /// wanted.
    Request(PeerId, Exchange),
    /// Tell this peer, on the stream that an earlier request opened, which ranges are wanted and how much is granted.
    /// There is no answer. What arrives is reported by `handle_streamed`, and the stream's end by `handle_stream_ended`
    /// or `handle_violation`. This action is returned only if the driver has reported a stream by `handle_protocol`.
    Grant(PeerId, Grant),
    /// The link with this peer has ended while the download goes on: forget the transport's session with it. No answer.
    Close(PeerId, SnapshotSessionId),
    /// Read something from a mirror. Answer: see the job; otherwise `handle_mirror_failed` or `handle_barred`.
    Mirror(MirrorId, MirrorJobId, MirrorJob),
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
    /// Write a chunk at its place; chunks come in any order. Answer: `handle_written`, or `handle_storage` with the failure.
    /// Several may be outstanding; they are written in the order in which they are handed out.
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
    /// It is open and fits the disk. Plan and updates are durable and recorded, and so is what is there of the payload.
    Ready {
        /// What is there, as recorded.
        durable: Have,
        /// The part of it that this process has not hashed yet. The driver hashes it in ascending order, and reports by
        /// `handle_rechecked`.
        unchecked: Have,
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
    Unwritable(Cause),
    /// The disk failed.
    Failed(Cause),
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
    /// The code of the failure.
    pub code: FailureCode,
    /// One sentence that names the peer, and the chunk or update if one is concerned.
    pub message: String,
    /// The provider broke the protocol or invented a chain: it must not be trusted again.
    pub distrust: bool,
}

/// The results of one source of a download.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SourceView {
    /// The source.
    pub source: DownloadSource,
    /// The wire session with a peer.
    pub link: Option<SnapshotSessionId>,
    /// The version of the protocol by which a peer's session was opened last.
    pub protocol: Option<Protocol>,
    /// Its state.
    pub state: SourceState,
    /// Verified payload bytes that were used.
    pub bytes_verified: u64,
    /// Payload bytes that could not be used.
    pub bytes_wasted: u64,
    /// Its rate in bytes per second, if it is known.
    pub rate: Option<u64>,
    /// For a peer whose session is carried by a stream: payload bytes that may be in flight or wait for the disk.
    pub window: Option<u64>,
    /// What the session waits for from it.
    pub waiting: Option<Waiting>,
    /// Why it is not used any more, or the failure from which it is recovering.
    pub trouble: Option<(FailureCode, String)>,
}

/// A source broke the protocol: it is not used any more, and nothing that it sent then counts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Blame {
    /// The source.
    pub source: DownloadSource,
    /// The wire session with a peer.
    pub link: Option<SnapshotSessionId>,
    /// The plan of that session.
    pub plan_id: Option<Hash>,
    /// What it did.
    pub fault: Fault,
}

/// What a source did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// An answer that breaks the protocol.
    Violation(Violation),
    /// A plan without authority.
    Authority(AuthorityError),
}

/// Everything that a session can say about itself. Counts are numbers of chunks or updates from the first on; the last
/// index is one less.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct View {
    /// The session.
    pub session: SnapshotSessionId,
    /// The source whose plan the session uses; `None` while there is no source.
    pub source: Option<DownloadSource>,
    /// Its state.
    pub state: SessionState,
    /// What it waits for; `None` if it is complete or its next action is about to be taken.
    pub waiting: Option<Waiting>,
    /// The source that this wait is for, if it is for one.
    pub waits_for: Option<DownloadSource>,
    /// Why it has ended.
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
    /// Payload bytes that were received and could not be used: from answers that broke off or came too slowly (an
    /// estimate), that did not verify, or that a full disk lost.
    pub bytes_wasted: u64,
    /// Payload bytes verified by this process.
    pub bytes_verified: u64,
    /// Of the bytes that were on the disk before, how many have been hashed again.
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
    /// How many attempts it took this time to open the session, or has taken so far; 1 if nothing fails.
    pub tries: u32,
    /// When something was last verified, over all attempts; before that, the start.
    pub progressed: Instant,
}
