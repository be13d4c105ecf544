//! The policy of one consumer session, pure: what happened goes in with the time, what to do comes out.
//!
//! ```text
//! connect -> plan (or resume) -> updates, in order -> authority -> storage -> chunks, in order -> place
//! ```
//!
//! * **Authority first.** No chunk is asked for before signatures, chain and proof are checked.
//! * **Order at the disk.** Verify, write, make durable, record, acknowledge; each has its own counter. An ack never says
//!   more than what is durable and recorded.
//! * **One request in flight.** The next chunk is asked for while earlier ones are being written, as long as what is
//!   verified and not yet durable fits the window. An ack takes its turn before the next chunk.
//! * **Recovery by itself.** What may pass is backed off and resumed; a session that the provider lost, or whose plan it
//!   changed, is planned anew once, with the same root and height; everything else fails with the reason.
//! * **A slow line is asked for less.** A chunk that did not come in time, or twice not to its end, is asked for in smaller
//!   chunks: the same snapshot is planned anew with them, and what is durable stays.
//! * **Only what this process verified counts.** What was on the disk before is hashed again by the driver while new chunks
//!   come; what does not hold is asked for again. Nothing is put in its place before all of it counts. So it is with the
//!   proof: where the driver knows the tip from an earlier check, chunks come while the proof is checked again.
//! * **A provider that cannot record goes on serving.** An ack that is refused as `busy` or `internal` is sent again later;
//!   chunks are asked for meanwhile.
//! * **The last ack is a courtesy.** When every byte is durable the payload goes into its place even if the provider is
//!   gone before it mirrors the last ack.
//!
//! The machine has no clock and does no I/O. It is never stuck: at every moment there is an action to take, an answer to
//! come, a timeout to wait for, or it is over. The driver's loop:
//!
//! ```text
//! loop {
//!     while let Some(action) = session.poll_action(now) { start(action) }
//!     wait for an answer (then call its handle_*) or for session.poll_timeout() (then call handle_timeout)
//! }
//! ```

mod backoff;
mod input;
mod output;
mod recheck;
mod recovery;
mod slow;
mod status;
mod types;
mod window;

use std::{path::PathBuf, sync::Arc, time::Instant};

use libp2p::PeerId;

pub use types::{
    Action, ExplicitResume, Failure, FailureCode, Options, Saved, State, Storage, View, WaitKind, Waiting,
};

use self::{backoff::Backoff, recheck::Recheck, window::Window};
use crate::{
    messages::{Plan, SnapshotsRequest, Update},
    types::{RequestId, SnapshotSessionId},
};

/// One session of a consumer with one provider.
#[derive(Debug)]
pub struct Session {
    id: SnapshotSessionId,
    peer: PeerId,
    options: Options,
    started: Instant,

    link: Link,
    /// The provider accepted `plan` or `resume` since the last trouble.
    opened: bool,
    asked: Option<InFlight>,
    retry: Option<Retry>,
    backoff: Backoff,
    /// The next opening is by `plan`, although there is a plan.
    plan_anew: bool,
    /// It was once, and no chunk came since.
    planned_anew: bool,
    explicit: Option<ExplicitResume>,
    trouble: Option<(FailureCode, String)>,

    work: Option<Work>,
    /// The accepted plan is still to be reported.
    announce: bool,
    authority: bool,
    /// The proof is being checked again, since then; the chain was known.
    proving: Option<Instant>,
    /// The updates are what the disk had: should they not hold, that is not the provider's fault.
    updates_from_disk: bool,
    storage: StorageState,
    confirmed_chunks: u64,
    confirmed_updates: u64,
    acked_chunks: u64,
    acked_updates: u64,
    /// The provider did not take the last ack.
    ack_given_up: bool,
    slow: slow::Slow,
    /// The provider could not record an ack: the next one is not sent before.
    ack_after: Option<Instant>,
    /// From the provider, in this session.
    bytes_received: u64,
    /// When something was verified.
    progressed: Instant,
    /// How many tries the present opening took.
    tries: u32,

    placed: Option<PathBuf>,
    complete: bool,
    failure: Option<(Failure, Instant)>,
}

/// What a plan brings with it.
#[derive(Debug)]
struct Work {
    plan: Arc<Plan>,
    /// Verified, from the first on.
    updates: Arc<Vec<Update>>,
    update_bytes: u64,
    window: Window,
    recheck: Recheck,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down,
    Dialing(Instant),
    Up,
}

/// The request in flight.
#[derive(Debug)]
struct InFlight {
    request: SnapshotsRequest,
    /// Only what comes under this id is its answer; `None` until the driver has sent it.
    id: Option<RequestId>,
    since: Instant,
}

/// A back-off.
#[derive(Debug)]
struct Retry {
    at: Instant,
    since: Instant,
    cause: String,
    /// A connection from the other side ends it.
    for_connection: bool,
}

/// The blocking work on this side: at most one of its kinds at a time.
#[derive(Debug, PartialEq, Eq)]
enum StorageState {
    /// Not open, or to be opened again.
    Closed,
    /// The authority is being checked.
    Checking(Instant),
    Opening(Instant),
    Open,
    /// It cannot go on now.
    Paused {
        why: Pause,
        since: Instant,
        recheck: Instant,
    },
    Placing(Instant),
    /// The payload is in its place.
    Placed,
}

#[derive(Debug, PartialEq, Eq)]
enum Pause {
    Held(SnapshotSessionId),
    Full { needed: u64, free: u64 },
    Unwritable(String),
}

impl Session {
    /// A session that starts from nothing.
    #[must_use]
    pub fn new(session: SnapshotSessionId, peer: PeerId, options: Options, now: Instant) -> Self {
        Self {
            id: session,
            peer,
            started: now,
            link: Link::Down,
            opened: false,
            asked: None,
            retry: None,
            backoff: Backoff::new(options.give_up_after, options.seed),
            plan_anew: false,
            planned_anew: false,
            explicit: None,
            trouble: None,
            work: None,
            announce: false,
            authority: false,
            proving: None,
            updates_from_disk: false,
            storage: StorageState::Closed,
            confirmed_chunks: 0,
            confirmed_updates: 0,
            acked_chunks: 0,
            acked_updates: 0,
            ack_given_up: false,
            slow: slow::Slow::default(),
            ack_after: None,
            bytes_received: 0,
            progressed: now,
            tries: 0,
            placed: None,
            complete: false,
            failure: None,
            options,
        }
    }

    /// A session that an earlier process ran, or that failed and is tried again. It goes on from what is confirmed; its
    /// authority is checked again. Explicit offsets go into the first `resume`; with another plan the session fails at once.
    #[must_use]
    pub fn restore(
        session: SnapshotSessionId,
        peer: PeerId,
        options: Options,
        saved: Saved,
        explicit: Option<ExplicitResume>,
        now: Instant,
    ) -> Self {
        let mut restored = Self::new(session, peer, options, now);
        let mut updates = saved.updates;
        updates.truncate(usize::try_from(saved.plan.total_updates).unwrap_or(usize::MAX));
        restored.confirmed_chunks = saved.confirmed_chunks.min(saved.plan.total_chunks);
        restored.confirmed_updates = saved.confirmed_updates.min(saved.plan.total_updates);
        let plan_id = saved.plan.plan_id;
        let mut work = restored.work_on(saved.plan);
        work.update_bytes = updates.iter().map(input::weight).sum();
        restored.updates_from_disk = !updates.is_empty();
        work.updates = Arc::new(updates);
        restored.work = Some(work);
        if let Some(explicit) = explicit.filter(|explicit| explicit.plan_id != plan_id) {
            let message = format!("session {session} streams plan {plan_id}, not {}", explicit.plan_id);
            restored.fail(now, FailureCode::ResumeMismatch, message, false);
        }
        restored.explicit = explicit;
        restored
    }

    fn work_on(&self, plan: Arc<Plan>) -> Work {
        let window = self.window_for(&plan);
        Work { plan, updates: Arc::default(), update_bytes: 0, window, recheck: Recheck::default() }
    }

    fn window_for(&self, plan: &Plan) -> Window {
        let Options { window, ack_bytes, ack_interval, .. } = self.options;
        Window::new(plan, window, ack_bytes, ack_interval)
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> SnapshotSessionId {
        self.id
    }

    /// The provider.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// The accepted plan.
    #[must_use]
    pub fn plan(&self) -> Option<&Arc<Plan>> {
        self.work.as_ref().map(|work| &work.plan)
    }

    /// The verified updates of the plan, from the first on.
    #[must_use]
    pub fn updates(&self) -> Option<&Arc<Vec<Update>>> {
        self.work.as_ref().map(|work| &work.updates)
    }

    /// Whether a request is in flight.
    #[must_use]
    pub fn in_flight(&self) -> bool {
        self.asked.is_some()
    }

    /// Complete or failed: nothing will be wanted any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.complete || self.failure.is_some()
    }

    /// Whether the session needs the provider to get on.
    fn needs_provider(&self) -> bool {
        let Some(work) = &self.work else { return true };
        if self.explicit.is_some() || self.plan_anew || work.has_missing_updates() {
            return true;
        }
        match self.storage {
            // While the authority is checked the way is prepared, unless nothing seems to be missing.
            StorageState::Closed | StorageState::Checking(_) | StorageState::Opening(_) => {
                self.confirmed_chunks < work.plan.total_chunks
            }
            StorageState::Open => work.window.verified_chunks() < work.plan.total_chunks || work.recheck.has_missing(),
            StorageState::Paused { .. } | StorageState::Placing(_) | StorageState::Placed => false,
        }
    }

    /// Every byte is durable, and was verified by this process.
    fn is_all_durable(&self) -> bool {
        self.work
            .as_ref()
            .is_some_and(|work| work.window.is_complete() && work.recheck.is_done() && !work.has_missing_updates())
    }
}

impl Work {
    fn has_missing_updates(&self) -> bool {
        (self.updates.len() as u64) < self.plan.total_updates
    }
}
