//! Everything about one root: its plan, the authority over it, its bytes on the disk. Pure, and without knowledge of
//! peers: any source that has the payload may deliver it. [`Session`](crate::consumer::Session), which joins a download
//! to its [`Link`](crate::link::Link), decides who is at fault.

mod demand;
mod output;
mod recheck;
mod status;
mod storage;
mod tally;
mod throttle;
mod window;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

pub(crate) use self::{
    demand::{Demand, Durable, Want},
    output::Hold,
    status::Phase,
};
use self::{
    recheck::Recheck,
    tally::{DiskJob, Tally},
    throttle::Throttle,
    window::Window,
};
use crate::{
    authority::AuthorityError,
    consumer::{Input, Options, Saved, Unexpected},
    error::Cause,
    exchange::VerifiedChunk,
    have::Have,
    limits::MAX_UNVERIFIED_BYTES,
    messages::{Checkpoint, Plan, Update},
    types::{Hash, SnapshotSessionId},
};

/// One payload on its way to this disk.
#[derive(Debug)]
pub(crate) struct Download {
    window: u64,
    ack_bytes: u64,
    ack_interval: Duration,
    state: DownloadState,
    /// Durable and recorded at some time; they never fall.
    confirmed_chunks: u64,
    confirmed_updates: u64,
    /// When something was last verified.
    progressed: Instant,
    /// Verified bytes that were lost with a full disk.
    wasted: u64,
    tally: Tally,
    /// Set while there is a limit by the byte.
    throttle: Option<Throttle>,
}

/// The state of a download.
///
/// ```text
///              accept_plan, or a record
///   Unplanned ──────────────────────────> Planned ──┐
///                                            ^      │ accept_plan: the same snapshot, in smaller
///                                            └──────┘ chunks or under another tip
/// ```
#[derive(Debug)]
enum DownloadState {
    /// No plan was accepted yet.
    Unplanned,
    Planned(Box<Work>),
}

/// The state that depends on the plan.
#[derive(Debug)]
struct Work {
    plan: Arc<Plan>,
    /// The plan has not been reported yet.
    announce: bool,
    chain: Chain,
    authority: Authority,
    place: Place,
    /// The last pause, kept until something is durable again. If a try ends in the same pause, nothing is reported.
    pause: Option<Paused>,
    window: Window,
    recheck: Recheck,
    /// The durable bytes according to the record, also while the place is not open.
    recorded: Have,
}

/// The updates of the plan, from the first on.
#[derive(Debug, Default)]
struct Chain {
    updates: Arc<Vec<Update>>,
    bytes: u64,
    /// How many of them came from the disk. If these do not verify, no source is at fault.
    from_disk: usize,
}

/// The authority over the plan.
///
/// ```text
///                all updates are there            it holds
///   Missing ──────────────────────────> Checking ──────────────────> Holds
///      ^  ^            it does not, or          │                      ^
///      │  └──────────── the disk has trouble ───┤                      │ the proof holds
///      │                                        │ the chain is known   │
///      └──────── the proof does not hold ───────┴────> Known ──────────┘
/// ```
///
/// A plan with another tip begins at `Missing`.
#[derive(Debug, PartialEq, Eq)]
enum Authority {
    Missing,
    Checking {
        since: Instant,
    },
    /// It is given, except for the proof, which was checked earlier and is checked again: chunks may arrive.
    Known {
        since: Instant,
    },
    Holds,
}

impl Authority {
    fn is_given(&self) -> bool {
        matches!(self, Self::Known { .. } | Self::Holds)
    }
}

/// The place of the payload on the disk.
///
/// ```text
///            authority            Ready            all durable, all acknowledged
///   Closed ────────────> Opening ───────> Open ────────────────────────────────> Placing ──> Placed
///    ^  ^                 │   │            │ │                                     │            ^
///    │  │    trouble      │   └────────────┼─┼──────── AlreadyStored ──────────────┼────────────┘
///    │  └── Paused <──────┴────────────────┘ │                                     │
///    │   time  ^ └─────────────────────────────────────────────────────────────────┘
///    └─────────────── another plan ──────────┘
/// ```
///
/// A `Paused` place is tried again every [`PAUSE_RECHECK`](crate::limits::PAUSE_RECHECK), through `Closed` and
/// `Opening`. The download reports itself as paused all that time: see [`Work::paused`].
///
/// While it is `Closed` for another plan, chunks that were verified before are still written.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// Not open, or must be opened again.
    Closed,
    Opening {
        since: Instant,
    },
    Open,
    /// The session cannot go on now. [`Work::pause`] says why, and until when.
    Paused,
    Placing {
        since: Instant,
    },
    /// The payload is in its place.
    Placed {
        path: PathBuf,
    },
}

/// A pause. Tries to end it that fail belong to it.
#[derive(Debug, PartialEq, Eq)]
struct Paused {
    why: Pause,
    since: Instant,
    /// The time of the next try; while a try is under way, the time at which it was due.
    recheck: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum Pause {
    Held(SnapshotSessionId),
    Full { needed: u64, free: u64 },
    Unwritable(Cause),
}

impl Pause {
    /// Whether the operator waits for the same thing as with `before`: another session, or the disk.
    fn continues(&self, before: &Self) -> bool {
        matches!(self, Self::Held(_)) == matches!(before, Self::Held(_))
    }

    /// Whether this tells the operator nothing new compared with `before`. The free space of a disk in use differs by a
    /// few bytes each time.
    fn is_no_news_after(&self, before: &Self) -> bool {
        match (before, self) {
            (Self::Full { needed: old, free: before }, Self::Full { needed, free }) => {
                old == needed && before.abs_diff(*free) < NEWS_OF_A_FULL_DISK
            }
            _ => before == self,
        }
    }
}

/// A change of a disk's free space by fewer bytes than this is not reported.
const NEWS_OF_A_FULL_DISK: u64 = 16 << 20;

/// Why a plan has no authority.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The updates came from the disk; they are wanted again.
    Kept(AuthorityError),
    /// The source that sent them is at fault.
    Sent(AuthorityError),
}

/// The plan is for another snapshot than the download's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OtherSnapshot;

/// What was done with an update.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Yes,
    /// It is not the next one.
    No,
    /// The updates need more memory than is allowed before they are verified.
    TooLarge,
}

/// An estimate of the memory that an update occupies.
fn weight(update: &Update) -> u64 {
    256 + update.recursive_proof.as_ref().map_or(0, |proof| proof.len() as u64) + 160 * update.signatures.len() as u64
}

impl Download {
    /// A download that starts from nothing.
    pub(crate) fn new(options: &Options, now: Instant) -> Self {
        Self {
            window: options.window,
            ack_bytes: options.ack_bytes,
            ack_interval: options.ack_interval,
            state: DownloadState::Unplanned,
            confirmed_chunks: 0,
            confirmed_updates: 0,
            progressed: now,
            wasted: 0,
            tally: Tally::default(),
            throttle: None,
        }
    }

    /// A download that an earlier process began. It goes on after the confirmed chunks; the authority is checked again.
    pub(crate) fn restore(options: &Options, saved: Saved, now: Instant) -> Self {
        let mut restored = Self::new(options, now);
        let mut updates = saved.updates;
        updates.truncate(usize::try_from(saved.plan.total_updates).unwrap_or(usize::MAX));
        restored.confirmed_chunks = saved.confirmed_chunks.min(saved.plan.total_chunks);
        restored.confirmed_updates = saved.confirmed_updates.min(saved.plan.total_updates);
        let mut work = restored.work_on(saved.plan);
        if saved.durable.payload_bytes() == work.payload_bytes() {
            work.recorded = saved.durable;
        }
        work.announce = false;
        work.chain =
            Chain { bytes: updates.iter().map(weight).sum(), from_disk: updates.len(), updates: Arc::new(updates) };
        restored.state = DownloadState::Planned(Box::new(work));
        restored
    }

    fn work_on(&self, plan: Arc<Plan>) -> Work {
        let payload_bytes = plan.snapshot.checkpoint.payload_bytes;
        Work {
            window: self.window_for(&plan),
            recheck: Recheck::new(payload_bytes),
            recorded: Have::nothing(payload_bytes),
            plan,
            announce: true,
            chain: Chain::default(),
            authority: Authority::Missing,
            place: Place::Closed,
            pause: None,
        }
    }

    fn window_for(&self, plan: &Plan) -> Window {
        Window::new(plan, self.window, self.ack_bytes, self.ack_interval)
    }

    fn work(&self) -> Option<&Work> {
        match &self.state {
            DownloadState::Unplanned => None,
            DownloadState::Planned(work) => Some(work),
        }
    }

    fn work_mut(&mut self) -> Option<&mut Work> {
        match &mut self.state {
            DownloadState::Unplanned => None,
            DownloadState::Planned(work) => Some(work),
        }
    }

    pub(crate) fn plan(&self) -> Option<&Arc<Plan>> {
        self.work().map(|work| &work.plan)
    }

    pub(crate) fn updates(&self) -> Option<&Arc<Vec<Update>>> {
        self.work().map(|work| &work.chain.updates)
    }

    /// The update before this one, if a source sent it: the answer must continue it.
    pub(crate) fn previous(&self, update_index: u64) -> Option<Checkpoint> {
        let chain = &self.work()?.chain;
        let index = usize::try_from(update_index).ok()?.checked_sub(1)?;
        chain.updates.get(index).filter(|_| index >= chain.from_disk).map(|update| update.checkpoint)
    }

    /// The plan was accepted: the first one, the same again, or the same snapshot under another tip. It may have
    /// smaller chunks only if `may_shrink` is set.
    pub(crate) fn accept_plan(&mut self, plan: Arc<Plan>, may_shrink: bool) -> Result<(), OtherSnapshot> {
        let new_window = self.window_for(&plan);
        let DownloadState::Planned(work) = &mut self.state else {
            self.state = DownloadState::Planned(Box::new(self.work_on(plan)));
            return Ok(());
        };
        let (old, new) = (&work.plan.snapshot.checkpoint, &plan.snapshot.checkpoint);
        let shrinks = may_shrink && plan.chunk_size < work.plan.chunk_size;
        if old.state_root != new.state_root || (work.plan.chunk_size != plan.chunk_size && !shrinks) {
            return Err(OtherSnapshot);
        }
        let same = work.plan.plan_id == plan.plan_id;
        if same && !shrinks {
            return Ok(());
        }
        if shrinks {
            // Everything is durable, in chunks that consist of whole new chunks.
            self.confirmed_chunks = match self.confirmed_chunks {
                all if all == work.plan.total_chunks => plan.total_chunks,
                some => work.window.bytes(some) / plan.chunk_size,
            };
            work.window = new_window;
            // Chunks that do not match are found again, in the smaller size, when the partial payload is opened.
            work.recheck.resize(work.plan.chunk_size);
        }
        work.plan = plan;
        work.announce = true;
        if !same {
            // The same snapshot with another tip: its chain is checked and recorded like the first one.
            work.chain = Chain::default();
            work.authority = Authority::Missing;
        }
        self.close_place();
        Ok(())
    }

    /// Another plan follows: verified chunks are written, and no more of the present chunks are wanted.
    pub(crate) fn close_place(&mut self) {
        if let Some(work) = self.work_mut()
            && work.place == Place::Open
        {
            work.place = Place::Closed;
        }
    }

    pub(crate) fn accept_update(&mut self, now: Instant, index: u64, update: Update) -> Taken {
        let Some(work) = self.work_mut() else { return Taken::No };
        let chain = &mut work.chain;
        if index != chain.updates.len() as u64 {
            return Taken::No;
        }
        chain.bytes = chain.bytes.saturating_add(weight(&update));
        if chain.bytes > MAX_UNVERIFIED_BYTES {
            return Taken::TooLarge;
        }
        Arc::make_mut(&mut chain.updates).push(update);
        self.progressed = now;
        Taken::Yes
    }

    /// `false` if the chunk is not wanted: the disk failed after it was asked for.
    pub(crate) fn accept_chunk(&mut self, now: Instant, chunk: VerifiedChunk) -> bool {
        let bytes = chunk.bytes.len() as u64;
        let Some(work) = self.work_mut() else { return false };
        let is_taken = if work.window.is_open() && work.recheck.is_missing(chunk.index) {
            work.recheck.push(chunk);
            true
        } else {
            work.window.push(now, chunk)
        };
        if let Some(throttle) = &mut self.throttle {
            throttle.came(bytes);
        }
        if is_taken {
            self.progressed = now;
        }
        is_taken
    }

    /// The authority over the plan was checked.
    pub(crate) fn handle_authority(
        &mut self,
        result: Result<(), AuthorityError>,
    ) -> Result<Result<(), Refused>, Unexpected> {
        if !self.ends_check(Input::Authority)? {
            return Ok(Ok(()));
        }
        let Some(work) = self.work_mut() else { return Ok(Ok(())) };
        Ok(match result {
            Ok(()) => {
                work.authority = Authority::Holds;
                Ok(())
            }
            Err(error) => Err(work.refuse(error)),
        })
    }

    /// Everything but the proof is valid, and the proof was checked earlier.
    pub(crate) fn handle_known_chain(&mut self, now: Instant) -> Result<(), Unexpected> {
        let is_fresh = self.ends_check(Input::KnownChain)?;
        self.tally.asked(DiskJob::Proof);
        if let (true, Some(work)) = (is_fresh, self.work_mut()) {
            work.authority = Authority::Known { since: now };
        }
        Ok(())
    }

    /// Whether the check that has ended is the one that the session waits for.
    fn ends_check(&mut self, input: Input) -> Result<bool, Unexpected> {
        let is_out = self.tally.answered(DiskJob::Authority, input)?;
        Ok(is_out && self.work().is_some_and(|work| matches!(work.authority, Authority::Checking { .. })))
    }

    /// A check did not finish. Returns whether the session waited for it.
    pub(crate) fn handle_unsettled(&mut self) -> Result<bool, Unexpected> {
        let job = match self.work().map(|work| &work.authority) {
            Some(Authority::Known { .. }) => DiskJob::Proof,
            _ => DiskJob::Authority,
        };
        let is_out = self.tally.answered(job, Input::Unsettled)?;
        let waits = |work: &Work| matches!(work.authority, Authority::Checking { .. } | Authority::Known { .. });
        Ok(is_out && self.work().is_some_and(waits))
    }

    /// The proof of a known chain was checked again. The result is ignored if the plan has changed since.
    pub(crate) fn handle_proof(
        &mut self,
        plan_id: &Hash,
        result: Result<(), AuthorityError>,
    ) -> Result<Result<(), Refused>, Unexpected> {
        if self.plan().is_none_or(|plan| plan.plan_id != *plan_id) {
            return Ok(Ok(()));
        }
        let is_fresh = self.tally.answered(DiskJob::Proof, Input::Proof)?;
        let Some(work) = self.work_mut() else { return Ok(Ok(())) };
        if !is_fresh || !matches!(work.authority, Authority::Known { .. }) {
            return Ok(Ok(()));
        }
        Ok(match result {
            Ok(()) => {
                work.authority = Authority::Holds;
                Ok(())
            }
            Err(error) => {
                let refused = work.refuse(error);
                if matches!(work.place, Place::Open | Place::Placed { .. }) {
                    work.place = Place::Closed;
                }
                Err(refused)
            }
        })
    }

    /// The session has ended: nothing more is written.
    pub(crate) fn close(&mut self) {
        if let Some(work) = self.work_mut() {
            work.window.close();
            work.recheck.close();
        }
    }

    /// The payload is placed, and no check of it remains.
    pub(crate) fn is_finished(&self) -> bool {
        self.work().is_some_and(|work| {
            matches!(work.place, Place::Placed { .. }) && !matches!(work.authority, Authority::Known { .. })
        })
    }
}

impl Work {
    fn payload_bytes(&self) -> u64 {
        self.plan.snapshot.checkpoint.payload_bytes
    }

    fn has_missing_updates(&self) -> bool {
        (self.chain.updates.len() as u64) < self.plan.total_updates
    }

    fn is_all_durable(&self) -> bool {
        self.window.is_complete() && self.recheck.is_done() && !self.has_missing_updates()
    }

    /// The plan has no authority. Updates that came from the disk are wanted again.
    fn refuse(&mut self, error: AuthorityError) -> Refused {
        self.authority = Authority::Missing;
        if self.chain.from_disk == 0 {
            return Refused::Sent(error);
        }
        self.chain = Chain::default();
        Refused::Kept(error)
    }
}
