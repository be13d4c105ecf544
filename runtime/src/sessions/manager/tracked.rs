//! A session as the node tracks it: its machine, its persisted record, and its status.

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::PeerId;
use rpp_p2p::{
    Plan, Protocol, Update,
    consumer::{self, DownloadSource, ExplicitResume, View, Waiting},
};
use tokio::sync::watch;

use super::{
    advice,
    kept::NotVerified,
    mirrors::Mirrors,
    seek::{Joined, Tried},
};
use crate::{
    bans::Ban,
    clock::{Meter, instant_text, now_text, text},
    sessions::{
        record::{self, SourceName},
        rules::{Hold, Standing, Unwritten},
    },
    status::{FailureCode, SessionState, SnapshotStreamStatus, SourceStatus, WaitKind, WaitingOn},
};

/// A banned source of a session.
pub(super) struct Banned<'a> {
    pub(super) source: SourceName,
    pub(super) ban: &'a Ban,
}

/// Name, end of the ban, its reason, and how to lift it.
impl fmt::Display for Banned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.source, self.ban.notice())
    }
}

/// One session.
pub(super) struct Tracked {
    pub(super) record: record::Session,
    pub(super) progress: record::Progress,
    pub(super) here: Here,
    /// The updates that were on the disk at the start; the first machine takes them.
    pub(super) updates: Vec<Update>,
    pub(super) machine: Option<consumer::Session>,
    /// Further peers that were found to offer the same snapshot.
    pub(super) joined: Joined,
    /// The mirrors that the machine reads.
    pub(super) mirrors: Mirrors,
    /// The providers that it chose and that could not serve.
    pub(super) tried: Tried,
    /// Explicit offsets from the operator, for the next machine.
    pub(super) explicit: Option<ExplicitResume>,
    /// The payload that the machine wants opened.
    pub(super) to_open: Option<(Arc<Plan>, Arc<Vec<Update>>)>,
    /// The time since which it has no machine.
    pub(super) held_since: Instant,
    /// The time when something was last verified, or when the session was loaded.
    progressed: Instant,
    /// `(hashed, total)`: bytes that must be hashed before its payload is open.
    pub(super) opening: Option<(u64, u64)>,
    pub(super) meter: Meter,
    pub(super) status: watch::Sender<SnapshotStreamStatus>,
    /// The state in the last event, so that each change is reported once.
    pub(super) announced: Option<SessionState>,
    /// When the watchers were last updated.
    renewed: Option<Instant>,
    /// Whether the status has changed since then.
    behind: bool,
    /// Payload bytes that were received but not needed.
    wasted: u64,
}

/// What this process knows about a session that no record contains.
#[derive(Debug, Default)]
pub(super) struct Here {
    /// `(bytes, chunks)`: how much this process verified, counted from the beginning.
    verified: (u64, u64),
    /// Bytes received over the wire.
    received: u64,
    /// The protocol version with which the session was last open.
    protocol: Option<Protocol>,
    /// The path of the payload, once it is in place.
    pub(super) payload_path: Option<PathBuf>,
    /// Whether this process has verified all of a complete session's payload, and its authority.
    pub(super) is_verified: bool,
    /// Bytes from the beginning that were hashed again so far, while `is_verified` is false.
    pub(super) hashed: u64,
    /// Why the payload cannot be called verified although it is stored.
    pub(super) unsettled: Option<NotVerified>,
    /// Whether it was found damaged since it was verified.
    pub(super) is_damaged: bool,
    /// Whether it is being prepared to be fetched again.
    pub(super) heals: bool,
    /// The banned ones among its sources, each with its ban.
    bans: Vec<(SourceName, Arc<Ban>)>,
    /// Round-trip times of its peers, in milliseconds.
    pub(super) round_trips: HashMap<PeerId, f64>,
    /// The contributions of each source to the last machine.
    pub(super) sources: Vec<SourceStatus>,
}

impl Here {
    pub(super) fn set_bans(&mut self, bans: Vec<(SourceName, Arc<Ban>)>) {
        self.bans = bans;
    }

    pub(super) fn is_any_banned(&self) -> bool {
        !self.bans.is_empty()
    }

    pub(super) fn ban_of(&self, source: &SourceName) -> Option<&Ban> {
        self.bans.iter().find(|(banned, _)| banned == source).map(|(_, ban)| &**ban)
    }

    pub(super) fn ban_shown(&self, source: &str) -> Option<&Ban> {
        self.bans.iter().find(|(banned, _)| banned.to_string() == source).map(|(_, ban)| &**ban)
    }

    /// If all sources of a session are banned, returns the one whose ban ends first.
    fn all_banned(&self, record: &record::Session) -> Option<Banned<'_>> {
        if self.bans.is_empty() {
            return None;
        }
        let ban = |source| self.ban_of(&source).map(|ban| Banned { source, ban });
        let all: Vec<_> = record.sources().map(ban).collect::<Option<_>>()?;
        all.into_iter().min_by_key(|banned| banned.ban.until)
    }

    /// The same for a session that is still going on, while it waits only for the end of that ban.
    fn barred(&self, record: &record::Session, view: &View) -> Option<Banned<'_>> {
        let is_wait = |wait: &Waiting| matches!(wait.what, WaitKind::Retry | WaitKind::Connection);
        if view.state.is_final() || !view.waiting.as_ref().is_some_and(is_wait) {
            return None;
        }
        match view.waits_for {
            // It waits for a peer that it found itself and that is not banned.
            Some(DownloadSource::Peer(peer)) if self.ban_of(&SourceName::Peer(peer)).is_none() => None,
            _ => self.all_banned(record),
        }
    }

    /// Why a complete session is not called verified.
    fn wait(&self) -> (WaitKind, String) {
        match (&self.unsettled, &self.payload_path) {
            (Some(reason), _) => (WaitKind::Operator, reason.to_string()),
            (None, Some(_)) => {
                let reason =
                    "its payload is hashed and its chain is checked again, because another process verified them";
                (WaitKind::Disk, reason.to_owned())
            }
            (None, None) if self.is_damaged => {
                (WaitKind::Operator, "its payload was found damaged on the disk: fetch it again".to_owned())
            }
            (None, None) => {
                let reason = "its payload is not stored here any more, so it cannot be verified again: fetch it again";
                (WaitKind::Operator, reason.to_owned())
            }
        }
    }
}

/// The least time between two updates to the watchers of a streaming session, which would otherwise get one for every
/// chunk.
const RENEWAL: Duration = Duration::from_millis(20);

impl Tracked {
    /// `since`: when the session began to wait, as the rules or the record tell it.
    pub(super) fn new(
        record: record::Session,
        progress: record::Progress,
        payload_path: Option<PathBuf>,
        standing: &Standing<'_>,
        since: Instant,
        now: Instant,
    ) -> Self {
        let here = Here { payload_path, ..Here::default() };
        let status = describe(&record, &progress, &here, None, standing.hold, since, now, None);
        Self {
            progressed: now,
            record,
            progress,
            here,
            updates: Vec::new(),
            machine: None,
            joined: Joined::default(),
            mirrors: Mirrors::default(),
            tried: Tried::default(),
            explicit: None,
            to_open: None,
            held_since: since,
            opening: None,
            meter: Meter::default(),
            status: watch::Sender::new(status),
            announced: None,
            renewed: None,
            behind: false,
            wasted: 0,
        }
    }

    /// The status at this moment.
    pub(super) fn current(&self, standing: &Standing<'_>, now: Instant) -> SnapshotStreamStatus {
        if standing.is_recording {
            return self.status.borrow().clone();
        }
        self.describe(standing, now)
    }

    fn describe(&self, standing: &Standing<'_>, now: Instant) -> SnapshotStreamStatus {
        let view = self.machine.as_ref().map(consumer::Session::view);
        let rate = view.as_ref().and_then(|view| self.meter.per_second(now, of_use(view)));
        let (record, progress, here) = (&self.record, &self.progress, &self.here);
        let mut status = describe(record, progress, here, view.as_ref(), standing.hold, self.held_since, now, rate);
        status.bytes_wasted = view.as_ref().map_or(self.wasted, |view| view.bytes_wasted);
        status.sources = self.status_sources(now);
        if let Some(view) = &view {
            match view.source {
                Some(DownloadSource::Peer(peer)) => status.peer = Some(peer),
                Some(_) => status.peer = None,
                None => {}
            }
            if let (Some(waiting), Some(source)) = (&mut status.waiting_on, view.waits_for)
                && is_for_a_source(waiting.what)
            {
                waiting.peer = self.name_of(source).map(|name| name.to_string());
            }
        }
        // Bytes that no record covers are hashed before the payload is open.
        let is_open = status.state != SessionState::Complete;
        if let Some((checked, there)) = self.opening.filter(|(_, there)| is_open && *there > 0) {
            (status.rechecked_bytes, status.recheck_bytes) = (Some(checked), Some(there));
        }
        if status.state != SessionState::Complete {
            let progressed = view.as_ref().map_or(self.progressed, |view| view.progressed.max(self.progressed));
            status.stalled_ms = Some(millis(progressed, now));
        }
        if let (Some(Hold::Seek), Some(waiting)) = (standing.hold, &mut status.waiting_on) {
            self.tried.reason().clone_into(&mut waiting.reason);
        }
        if let Some(unwritten) = standing.unwritten {
            wait_for_record(&mut status, unwritten, now);
        }
        status
    }

    /// Whether only the counts of a streaming session can have changed, and watchers were updated just now.
    /// [`renewal`](Self::renewal) says how long they may wait.
    pub(super) fn may_wait(&mut self, now: Instant) -> bool {
        let streams = |state| state == SessionState::Streaming;
        self.behind = self.renewed.is_some_and(|at| now < at + RENEWAL)
            && self.announced.is_some_and(streams)
            && self.machine.as_ref().is_some_and(|machine| streams(machine.state()));
        self.behind
    }

    /// When watchers must be updated next.
    pub(super) fn renewal(&self) -> Option<Instant> {
        self.renewed.filter(|_| self.behind).map(|at| at + RENEWAL)
    }

    /// Updates what watchers see; returns `true` if more than times and rates changed.
    pub(super) fn publish(&mut self, standing: &Standing<'_>, now: Instant) -> bool {
        if standing.is_recording {
            return false;
        }
        self.publish_now(standing, now)
    }

    /// Like [`Self::publish`], but also while a record is being written: for changes that are true whether or not the
    /// record gets written.
    pub(super) fn publish_now(&mut self, standing: &Standing<'_>, now: Instant) -> bool {
        if let Some(view) = self.machine.as_ref().map(consumer::Session::view) {
            self.meter.note(now, of_use(&view));
            self.here.verified = (view.bytes_verified, view.verified_chunks);
            self.here.received = view.bytes_received;
            self.wasted = view.bytes_wasted;
        }
        (self.renewed, self.behind) = (Some(now), false);
        let status = self.describe(standing, now);
        self.status.send_if_modified(|old| {
            if same_but_for_time(old, &status) {
                return false;
            }
            self.record.updated_at = now_text();
            *old = status.with(|status| status.updated_at = self.record.updated_at.clone());
            true
        })
    }

    pub(super) fn is_active(&self) -> bool {
        self.machine.is_some()
    }

    /// Removes the machine.
    pub(super) fn end_machine(&mut self, now: Instant) {
        if self.machine.is_some() {
            self.here.sources = self.own_sources(now);
        }
        self.mirrors = Mirrors::default();
        self.joined = Joined::default();
        if let Some(view) = self.machine.take().map(|machine| machine.view()) {
            self.progressed = self.progressed.max(view.progressed);
            self.here.protocol = view.protocol;
        }
    }
}

/// Hides progress that is not recorded yet, and an end as well.
fn wait_for_record(status: &mut SnapshotStreamStatus, unwritten: &Unwritten, now: Instant) {
    let reason = unwritten.error.to_string();
    status.state = SessionState::Paused;
    (status.verified, status.payload_path) = (false, None);
    status.waiting_on = Some(
        WaitingOn::new(WaitKind::Disk, millis(unwritten.since, now), reason.clone())
            .with(|wait| wait.retry_at = unwritten.next.map(|at| instant_text(at, now))),
    );
    (status.error, status.error_code) = (Some(reason), Some(FailureCode::Storage));
}

pub(super) fn millis(since: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX)
}

/// Combines the record, the progress, this process's knowledge and the machine's view. The fields of a plan come from
/// the record, because it is persisted.
#[allow(clippy::too_many_arguments)] // Each is one source of the status.
fn describe(
    record: &record::Session,
    progress: &record::Progress,
    here: &Here,
    view: Option<&View>,
    hold: Option<Hold>,
    held_since: Instant,
    now: Instant,
    rate: Option<u64>,
) -> SnapshotStreamStatus {
    let plan = record.plan.as_ref();
    let total_bytes = plan.map(|plan| plan.snapshot.checkpoint.payload_bytes);
    let state = match (view, hold) {
        (Some(view), _) => view.state,
        (None, Some(Hold::Seek)) => SessionState::Connecting,
        (None, Some(_)) => SessionState::Paused,
        (None, None) => record.state,
    };
    let complete = state == SessionState::Complete;
    let durable = if complete { total_bytes.unwrap_or(progress.bytes_durable) } else { progress.bytes_durable };
    let verified_here = view.map_or(here.verified, |view| (view.bytes_verified, view.verified_chunks));
    let verified = complete && (view.is_some() || here.is_verified) && !here.is_damaged;
    let (verified_bytes, verified_chunks) = match plan.filter(|_| complete) {
        Some(plan) if verified => (durable, plan.total_chunks),
        Some(plan) => (here.hashed, here.hashed / plan.chunk_size),
        None => verified_here,
    };
    let left = total_bytes.map(|total| total.saturating_sub(verified_bytes.max(durable)));
    let recheck = view.filter(|view| view.bytes_to_recheck > 0);
    // The session was complete before this process began.
    let kept = total_bytes
        .filter(|_| complete && !verified && here.payload_path.is_some() && here.unsettled.is_none())
        .map(|total| (here.hashed, total));
    SnapshotStreamStatus::new(record.session, state, record.started_at.clone(), record.updated_at.clone()).with(
        |status| {
            status.peer = match &record.plan_source {
                // The URL of a mirror is not a peer id.
                Some(source) => source.parse().ok(),
                None => record.provider(),
            };
            status.root = plan.map(|plan| plan.snapshot.checkpoint.state_root);
            status.plan_id = plan.map(|plan| plan.plan_id);
            status.format = plan.map(|plan| plan.snapshot.format);
            status.height = plan.map(|plan| plan.snapshot.checkpoint.height);
            status.chunk_size = plan.map(|plan| plan.chunk_size);
            status.total_chunks = plan.map(|plan| plan.total_chunks);
            status.total_updates = plan.map(|plan| plan.total_updates);
            status.total_bytes = total_bytes;
            status.last_chunk_index = verified_chunks.checked_sub(1);
            status.last_update_index =
                view.map_or(progress.confirmed_updates, |view| view.verified_updates).checked_sub(1);
            status.last_update_height = match view {
                Some(view) => view.last_update_height,
                None => plan.filter(|_| complete).map(|plan| plan.tip.height),
            };
            status.confirmed_chunk_index = progress.confirmed_chunks.checked_sub(1);
            status.confirmed_update_index = progress.confirmed_updates.checked_sub(1);
            status.bytes_received = view.map_or(here.received, |view| view.bytes_received);
            status.bytes_verified = verified_bytes;
            status.bytes_durable = durable;
            status.bytes_wasted = view.map_or(0, |view| view.bytes_wasted);
            status.rechecked_bytes = recheck.map(|view| view.bytes_rechecked).or(kept.map(|(hashed, _)| hashed));
            status.recheck_bytes = recheck.map(|view| view.bytes_to_recheck).or(kept.map(|(_, total)| total));
            status.damaged_bytes = recheck.map(|view| view.bytes_damaged).filter(|bytes| *bytes > 0);
            status.verified_bytes_per_second = rate.filter(|_| state == SessionState::Streaming);
            status.eta_seconds = rate
                .filter(|rate| *rate > 0 && state == SessionState::Streaming)
                .zip(left)
                .map(|(rate, left)| seconds(left, rate));
            status.tries = view.filter(|_| !state.is_final()).map(|view| view.tries);
            status.verified = verified;
            status.protocol =
                view.map_or(here.protocol, |view| view.protocol).map(|protocol| protocol.as_str().to_owned());
            status.waiting_on = waiting(view, hold, state, record, here, held_since, now);
            (status.error_code, status.error) = match (view, view.and_then(|view| here.barred(record, view))) {
                (None, _) => (record.error_code, record.error.clone()),
                (Some(_), Some(banned)) => (Some(FailureCode::Provider), Some(banned.to_string())),
                (Some(view), None) => trouble(view).unzip(),
            };
            status.payload_path = view
                .and_then(|view| view.payload_path.clone())
                .or_else(|| here.payload_path.clone())
                .filter(|_| verified);
        },
    )
}

fn waiting(
    view: Option<&View>,
    hold: Option<Hold>,
    state: SessionState,
    record: &record::Session,
    here: &Here,
    held_since: Instant,
    now: Instant,
) -> Option<WaitingOn> {
    let since_ms = |since: Instant| millis(since, now);
    // The text about a ban is the same for a failed session with and without a machine.
    let banned = here.all_banned(record);
    if let Some(view) = view.filter(|view| view.state != SessionState::Failed || banned.is_none()) {
        return view.waiting.as_ref().map(|wait| {
            let barred = here.barred(record, view);
            let reason = match &barred {
                Some(banned) => format!("{banned}; this session goes on by itself when the ban is over"),
                None => wait.reason.clone(),
            };
            WaitingOn::new(wait.what, since_ms(wait.since), reason).with(|told| {
                told.index = wait.index;
                told.peer = match (wait.session, wait.what) {
                    (Some(session), _) => Some(session.to_string()),
                    (None, what) if !is_for_a_source(what) => None,
                    (None, _) => record.provider().map(|peer| peer.to_string()),
                };
                told.retry_at = match &barred {
                    Some(banned) => Some(text(banned.ban.until)),
                    None => wait.retry_at.map(|at| instant_text(at, now)),
                };
            })
        });
    }
    let (what, reason) = match (hold, state, &banned) {
        (Some(Hold::Turn), ..) => (
            WaitKind::Session,
            "as many sessions are active as [snapshots] max_active_sessions allows; this one starts when one of them ends"
                .to_owned(),
        ),
        // The caller knows a better reason and replaces this one.
        (Some(Hold::Seek), ..) => (WaitKind::Connection, Tried::default().reason().to_owned()),
        (Some(Hold::Operator), _, Some(banned)) => (WaitKind::Operator, banned.to_string()),
        (Some(Hold::Operator), ..) => (
            WaitKind::Operator,
            format!(
                "[snapshots] auto_resume is off: POST /p2p/snapshots with {{\"resume\":{{\"session\":{}}}}} to go on",
                record.session
            ),
        ),
        (None, SessionState::Failed, banned) => {
            (WaitKind::Operator, advice::after_failure(record, banned.as_ref(), here.is_any_banned()))
        }
        (None, SessionState::Complete, _) if !here.is_verified => here.wait(),
        _ => return None,
    };
    Some(WaitingOn::new(what, since_ms(held_since), reason))
}

/// Whether the session waits for a source to do something.
pub(super) fn is_for_a_source(what: WaitKind) -> bool {
    !matches!(
        what,
        WaitKind::Disk
            | WaitKind::Credit
            | WaitKind::Proof
            | WaitKind::Throttle
            | WaitKind::Session
            | WaitKind::Operator
    )
}

/// The reason why the session failed, or from which it is recovering.
pub(super) fn trouble(view: &View) -> Option<(FailureCode, String)> {
    if let Some(failure) = &view.failure {
        return Some((failure.code, failure.message.clone()));
    }
    if let (SessionState::Paused, Some(wait)) = (view.state, &view.waiting)
        && wait.what == WaitKind::Disk
    {
        return Some((FailureCode::Storage, wait.reason.clone()));
    }
    view.trouble.clone()
}

/// Received payload bytes that were needed.
fn of_use(view: &View) -> u64 {
    view.bytes_received.saturating_sub(view.bytes_wasted)
}

#[allow(clippy::cast_precision_loss)]
fn seconds(left: u64, rate: u64) -> f64 {
    (left as f64 / rate as f64 * 10.0).round() / 10.0
}

fn same_but_for_time(a: &SnapshotStreamStatus, b: &SnapshotStreamStatus) -> bool {
    let strip = |status: &SnapshotStreamStatus| {
        let mut status = status.clone();
        status.updated_at.clear();
        status.verified_bytes_per_second = None;
        status.eta_seconds = None;
        status.stalled_ms = None;
        for source in &mut status.sources {
            (source.verified_bytes_per_second, source.rtt_ms, source.window_bytes) = (None, None, None);
            if let Some(wait) = &mut source.waiting_on {
                (wait.since_ms, wait.retry_at) = (0, None);
            }
        }
        if let Some(wait) = &mut status.waiting_on {
            wait.since_ms = 0;
            wait.retry_at = None;
        }
        status
    };
    strip(a) == strip(b)
}
