//! The rules between sessions. This module is pure: events go in together with the time, and actions come out.
//!
//! The life of a session, from the first call to its removal:
//!
//! ```text
//!               start                  recorded                  its turn
//!   (unknown) ────────> Unrecorded ─────────────> Waiting(Turn) ─────────> Active
//!    │     ^                │                       ^   ^    ^               │ ended
//!    │     │ not recordable │                resume │   │    │               v
//!    │     └────────────────┘    Waiting(Operator) ─┘   │    └── resume ── Ending
//!    │                            ^          │          │ resume, heal       │ its last record
//!    └───── load ─────────────────┴────── give up ──────┴─── Over <──────────┘ is durable
//!
//!   any but one that nobody was told of ── cancel, evict ──> (removing) ── record and payload gone ──> (unknown)
//! ```
//!
//! A session for which no provider is known yet waits as `Waiting(Seek)` instead. `found` moves it to `Waiting(Turn)`;
//! `seek_again` moves it back from there or from `Active`.
//!
//! The state of a root's store worker:
//!
//! ```text
//!              open                    opened
//!   Vacant ─────────────> Opening ───────────────> Open        of one session, which holds the root
//!     ^                      │ not opened            │ close, remove, trouble
//!     └──────────────────────┴───────────────────────┘
//! ```
//!
//! * **Recorded before shown.** While a session's record is being written, its status does not change. Only one record
//!   of a session is written at a time, and later changes go into the next one. So a worker never has more than one
//!   record of a session.
//! * **A call is answered when its session is durable.** If the record must wait for the disk, the call is answered
//!   with the reason.
//! * **One writer for each root.** A session holds its root from the opening of the payload until its end is recorded.
//!   Another session for the same root is told which session holds it. A worker does its jobs in order, so the next
//!   opening comes after the last closing by itself.
//! * **Turns.** At most `max_active` sessions are active or ending; the lowest id is next.
//! * **Nothing removed comes back.** A removal is requested only when no record of its session is being written any
//!   more. A session that is cancelled while the database cannot be read is remembered until it can.
//! * **A worker is dismissed only when it is idle**: it has nothing open, and every job that is counted here was
//!   answered.
//!
//! This module knows nothing of peers, links or progress: a session is a download, whatever its sources are.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use rpp_p2p::{Hash, SnapshotSessionId};

use super::trouble::{RecordError, RemoveError, Shared};
use crate::limits::RECORD_RETRY;

/// The queue of one store worker: that of a root, or `None` for records of sessions that have no plan yet.
pub(crate) type Lane = Option<Hash>;

/// Why a session that has not ended has no download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The number of active sessions is at its limit.
    Turn,
    /// It was reloaded, and `auto_resume` is off.
    Operator,
    /// No peer is known that offers what is wanted.
    Seek,
}

/// The states of a session; drawn above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its first record is not durable yet.
    Unrecorded,
    Waiting(Hold),
    /// It has a download.
    Active,
    /// Its download has ended, but this is not recorded yet.
    Ending {
        is_complete: bool,
    },
    Over {
        is_complete: bool,
    },
}

/// The state of a session that is loaded from the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loaded {
    /// It ended.
    Over {
        /// Whether every byte arrived.
        is_complete: bool,
    },
    /// It continues when this reason no longer holds it.
    Held(Hold),
}

/// An action for the driver. `W` is a call that waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action<W> {
    /// Hand the session's present record to the lane's worker. Answer: [`Rules::handle_recorded`].
    Record { session: SnapshotSessionId, lane: Lane, epoch: u64 },
    /// Make its download and drive it.
    Begin { session: SnapshotSessionId, epoch: u64 },
    /// Have the payload opened. Answer: [`Rules::handle_opened`].
    Open { session: SnapshotSessionId, root: Hash, epoch: u64 },
    /// Tell the download that another session writes its payload.
    HeldBy { session: SnapshotSessionId, holder: SnapshotSessionId },
    /// Have the payload closed. Answer: [`Rules::handle_closed`].
    Close { session: SnapshotSessionId, root: Hash },
    /// Tell the download that its record cannot be written now.
    Paused { session: SnapshotSessionId, error: RecordError },
    /// Tell the download that its record can never be written.
    Unrecordable { session: SnapshotSessionId, error: RecordError },
    /// Drop the download: its end is durable, or it starts again.
    Retire { session: SnapshotSessionId },
    /// The status may be shown.
    Show { session: SnapshotSessionId },
    /// Forget a session that was never recorded.
    Drop { session: SnapshotSessionId },
    /// Have its record removed, and its payload if no other session needs it. Answer: [`Rules::handle_removed`].
    Remove { session: SnapshotSessionId, lane: Lane, payload: bool },
    /// All of it is removed, or will be as soon as the disk accepts writes.
    Removed { session: SnapshotSessionId },
    /// Let the lane's worker end.
    Dismiss { lane: Lane },
    /// Answer a call.
    Answer { call: W, outcome: Outcome },
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The session is durable; or its status says that its record waits for the disk.
    Started(SnapshotSessionId),
    /// There is no such session.
    Unknown(SnapshotSessionId),
    /// It could not be recorded, and is gone.
    NotRecorded(RecordError),
    /// It is removed.
    Removed,
    /// It is removed, but not all of its files are.
    NotRemoved(Shared<RemoveError>),
}

/// The state of a session, for its status.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing<'a> {
    /// Why it waits without a download.
    pub(crate) hold: Option<Hold>,
    /// Whether its record is being written. Until then its status does not change.
    pub(crate) is_recording: bool,
    /// Its newest record could not be written.
    pub(crate) unwritten: Option<&'a Unwritten>,
}

/// A record whose write failed and is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unwritten {
    /// Since when.
    pub(crate) since: Instant,
    /// When the next try is; `None` while one is under way.
    pub(crate) next: Option<Instant>,
    /// What happened, to what, and what to do.
    pub(crate) error: RecordError,
}

/// All sessions. The rules are at the top of this file.
#[derive(Debug)]
pub(crate) struct Rules<W> {
    max_active: usize,
    sessions: BTreeMap<SnapshotSessionId, Entry<W>>,
    removing: BTreeMap<SnapshotSessionId, Removal<W>>,
    /// Sessions that were cancelled while the database could not be read.
    forgotten: BTreeSet<SnapshotSessionId>,
    lanes: BTreeMap<Lane, Hand>,
    actions: VecDeque<Action<W>>,
}

#[derive(Debug)]
struct Entry<W> {
    state: State,
    /// Counts downloads, so that late results can be recognised.
    epoch: u64,
    root: Lane,
    recording: Recording,
    /// The state in which it waits once its first record is durable.
    first: Hold,
    /// Calls that wait for its first record.
    calls: Vec<W>,
}

#[derive(Debug, Default)]
struct Recording {
    /// The epoch of the record that is being written.
    under_way: Option<u64>,
    /// Whether the session has changed since that record.
    again: bool,
    unwritten: Option<Unwritten>,
}

#[derive(Debug)]
struct Removal<W> {
    lane: Lane,
    is_complete: bool,
    call: Option<W>,
    /// Whether a record of it is still being written.
    is_recording: bool,
}

/// The state of one worker.
#[derive(Debug, Default)]
struct Hand {
    /// The session that may open the payload.
    holder: Option<SnapshotSessionId>,
    /// The session for which the payload was last requested to be opened, until it is closed.
    open: Option<SnapshotSessionId>,
    /// Openings in progress.
    opening: u32,
    /// Records, openings, closings, removals and demotions in progress.
    jobs: u32,
}

impl<W> Rules<W> {
    /// No session yet. At most `max_active` sessions will be active at once.
    pub(crate) fn new(max_active: usize) -> Self {
        Self {
            max_active,
            sessions: BTreeMap::new(),
            removing: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            lanes: BTreeMap::new(),
            actions: VecDeque::new(),
        }
    }

    /// The next action. Turns are given when no other action is left.
    pub(crate) fn poll_action(&mut self) -> Option<Action<W>> {
        if self.actions.is_empty() {
            self.give_turns();
        }
        self.actions.pop_front()
    }

    /// Whether there is no action to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.actions.is_empty()
    }

    /// When [`Self::handle_timeout`] is to be called at the latest.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.sessions.values().filter_map(|entry| entry.recording.unwritten.as_ref()?.next).min()
    }

    /// Time has passed: records that could not be written are tried again.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let is_due = |entry: &Entry<W>| {
            entry.recording.unwritten.as_ref().and_then(|unwritten| unwritten.next).is_some_and(|next| next <= now)
        };
        let due: Vec<_> =
            self.sessions.iter().filter(|(_, entry)| is_due(entry)).map(|(session, _)| *session).collect();
        due.into_iter().for_each(|session| self.record(session));
    }

    /// Loads a session from the database. Returns `false` if it is already known, or was cancelled before it could be
    /// read.
    pub(crate) fn load(&mut self, session: SnapshotSessionId, loaded: Loaded, root: Lane) -> bool {
        if self.is_taken(session) || self.forgotten.remove(&session) {
            return false;
        }
        let state = match loaded {
            Loaded::Over { is_complete } => State::Over { is_complete },
            Loaded::Held(hold) => State::Waiting(hold),
        };
        self.sessions.insert(session, Entry::new(state, root));
        true
    }

    /// All sessions of the database are loaded. None will be added later.
    pub(crate) fn loaded_all(&mut self) {
        self.forgotten.clear();
    }

    /// Whether an id is in use, or was in use until a moment ago.
    pub(crate) fn is_taken(&self, session: SnapshotSessionId) -> bool {
        self.sessions.contains_key(&session) || self.removing.contains_key(&session)
    }

    /// A new session. When its record is durable, it waits for `first`, and `call` is answered.
    pub(crate) fn start(&mut self, session: SnapshotSessionId, first: Hold, call: W) {
        let mut entry = Entry { first, ..Entry::new(State::Unrecorded, None) };
        entry.calls.push(call);
        self.sessions.insert(session, entry);
        self.record(session);
    }

    /// A call that is answered with the session of an earlier call.
    pub(crate) fn start_again(&mut self, session: SnapshotSessionId, call: W) {
        match self.sessions.get_mut(&session) {
            Some(entry) if !entry.calls.is_empty() => entry.calls.push(call),
            Some(_) => self.answer(call, Outcome::Started(session)),
            None => self.answer(call, Outcome::Unknown(session)),
        }
    }

    /// The session changed, so its record is written.
    pub(crate) fn changed(&mut self, session: SnapshotSessionId) {
        self.record(session);
    }

    /// The session has a plan, so it belongs to this root from now on.
    pub(crate) fn planned(&mut self, session: SnapshotSessionId, root: Hash) {
        if self.sessions.get(&session).is_some_and(|entry| entry.root != Some(root)) {
            self.release(session);
        }
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.root = Some(root);
            self.record(session);
        }
    }

    /// Its download wants the payload opened, possibly again.
    pub(crate) fn open(&mut self, session: SnapshotSessionId) {
        let Some(entry) = self.sessions.get(&session).filter(|entry| entry.state == State::Active) else { return };
        let (Some(root), epoch) = (entry.root, entry.epoch) else { return };
        let hand = self.lanes.entry(Some(root)).or_default();
        match hand.holder {
            Some(holder) if holder != session => self.actions.push_back(Action::HeldBy { session, holder }),
            _ => {
                (hand.holder, hand.open) = (Some(session), Some(session));
                hand.opening += 1;
                hand.jobs += 1;
                self.actions.push_back(Action::Open { session, root, epoch });
            }
        }
    }

    /// An opening finished.
    pub(crate) fn handle_opened(&mut self, lane: Lane, session: SnapshotSessionId, is_open: bool) {
        if let Some(hand) = self.lanes.get_mut(&lane) {
            hand.opening = hand.opening.saturating_sub(1);
            if !is_open {
                hand.vacate(session);
            }
        }
        self.answered(lane);
    }

    /// The worker had trouble with the payload that it had open, and closed it.
    pub(crate) fn handle_trouble(&mut self, lane: Lane, session: SnapshotSessionId) {
        if let Some(hand) = self.lanes.get_mut(&lane) {
            hand.vacate(session);
        }
        self.dismiss(lane);
    }

    /// A closing finished.
    pub(crate) fn handle_closed(&mut self, lane: Lane, session: SnapshotSessionId) {
        if let Some(hand) = self.lanes.get_mut(&lane) {
            hand.vacate(session);
        }
        self.answered(lane);
    }

    /// Its download is over: complete or failed.
    pub(crate) fn ended(&mut self, session: SnapshotSessionId, is_complete: bool) {
        if let Some(entry) = self.sessions.get_mut(&session).filter(|entry| entry.state == State::Active) {
            entry.state = State::Ending { is_complete };
            self.record(session);
        }
    }

    /// A provider was found: the session waits for its turn.
    pub(crate) fn found(&mut self, session: SnapshotSessionId) {
        if let Some(entry) = self.sessions.get_mut(&session).filter(|entry| entry.state == State::Waiting(Hold::Seek)) {
            entry.state = State::Waiting(Hold::Turn);
            self.record(session);
        }
    }

    /// Its provider cannot serve it: the session waits for another offer.
    pub(crate) fn seek_again(&mut self, session: SnapshotSessionId) {
        let Some(entry) = self.sessions.get_mut(&session) else { return };
        if matches!(entry.state, State::Active | State::Waiting(Hold::Turn)) {
            entry.state = State::Waiting(Hold::Seek);
            self.release(session);
            self.actions.push_back(Action::Retire { session });
            self.record(session);
        }
    }

    /// The session failed before it had its turn.
    pub(crate) fn give_up(&mut self, session: SnapshotSessionId) {
        if let Some(entry) = self.sessions.get_mut(&session).filter(|entry| matches!(entry.state, State::Waiting(_))) {
            entry.state = State::Over { is_complete: false };
            self.record(session);
        }
    }

    /// The session is to continue: it gets its turn, again if it had one. An active session stays active. If the
    /// session was never recorded, that is tried again.
    pub(crate) fn resume(&mut self, session: SnapshotSessionId) {
        let Some(entry) = self.sessions.get_mut(&session) else { return };
        match entry.state {
            State::Active => return,
            State::Unrecorded => {}
            State::Waiting(_) | State::Ending { .. } | State::Over { .. } => {
                entry.state = State::Waiting(Hold::Turn);
                self.release(session);
                self.actions.push_back(Action::Retire { session });
                self.give_turns();
            }
        }
        self.record(session);
    }

    /// An operator removes a session. `is_loaded`: the database could be read, so nothing of this session can be added
    /// later.
    pub(crate) fn cancel(&mut self, session: SnapshotSessionId, call: W, is_loaded: bool) -> bool {
        // While the first call of a session still waits, nobody knows its id.
        if self.sessions.get(&session).is_none_or(|entry| !entry.calls.is_empty()) {
            self.answer(call, Outcome::Unknown(session));
            return false;
        }
        if !is_loaded {
            self.forgotten.insert(session);
        }
        self.remove(session, Some(call));
        true
    }

    /// Whether the session ended and nothing of it is in progress, so that its record may be evicted.
    pub(crate) fn is_evictable(&self, session: SnapshotSessionId) -> bool {
        let settled = |entry: &Entry<W>| entry.calls.is_empty() && entry.recording.under_way.is_none();
        self.sessions.get(&session).is_some_and(|entry| matches!(entry.state, State::Over { .. }) && settled(entry))
    }

    /// Evicts the record of a session.
    pub(crate) fn evict(&mut self, session: SnapshotSessionId) {
        self.remove(session, None);
    }

    fn remove(&mut self, session: SnapshotSessionId, call: Option<W>) {
        let Some(entry) = self.sessions.remove(&session) else { return };
        if let Some(hand) = self.lanes.get_mut(&entry.root)
            && hand.holder == Some(session)
        {
            hand.holder = None;
        }
        let is_recording = entry.recording.under_way.is_some();
        let (lane, is_complete) = (entry.root, entry.is_complete());
        self.removing.insert(session, Removal { lane, is_complete, call, is_recording });
        self.ask_removal(session);
    }

    /// Requests the removal. A record that is being written is waited for: if it were written after the removal, the
    /// session would come back.
    fn ask_removal(&mut self, session: SnapshotSessionId) {
        let Some(removal) = self.removing.get(&session).filter(|removal| !removal.is_recording) else { return };
        let lane = removal.lane;
        let needs = |entry: &Entry<W>| entry.root == lane && !entry.is_complete();
        let payload = lane.is_some() && !removal.is_complete && !self.sessions.values().any(needs);
        self.lanes.entry(lane).or_default().jobs += 1;
        self.actions.push_back(Action::Remove { session, lane, payload });
    }

    /// A removal finished.
    pub(crate) fn handle_removed(
        &mut self,
        lane: Lane,
        session: SnapshotSessionId,
        result: Result<(), Shared<RemoveError>>,
    ) {
        if let Some(hand) = self.lanes.get_mut(&lane) {
            hand.vacate(session);
        }
        if let Some(removal) = self.removing.remove(&session) {
            if let Some(call) = removal.call {
                self.answer(call, result.map_or_else(Outcome::NotRemoved, |()| Outcome::Removed));
            }
            self.actions.push_back(Action::Removed { session });
        }
        self.answered(lane);
    }

    /// Takes a damaged payload out of the store, by the worker of its root. Answer: [`Self::handle_demoted`].
    pub(crate) fn demote(&mut self, session: SnapshotSessionId) -> Lane {
        let root = self.sessions.get(&session)?.root?;
        self.lanes.entry(Some(root)).or_default().jobs += 1;
        Some(root)
    }

    /// The demotion finished.
    pub(crate) fn handle_demoted(&mut self, lane: Lane) {
        self.answered(lane);
    }

    /// The write of a record finished, with or without success.
    pub(crate) fn handle_recorded(
        &mut self,
        now: Instant,
        lane: Lane,
        session: SnapshotSessionId,
        result: Result<(), RecordError>,
    ) {
        if let Some(removal) = self.removing.get_mut(&session) {
            removal.is_recording = false;
            self.ask_removal(session);
        } else if let Some(entry) = self.sessions.get_mut(&session) {
            let is_current = entry.recording.under_way.take() == Some(entry.epoch);
            let again = std::mem::take(&mut entry.recording.again);
            match result {
                Ok(()) => self.recorded(session, again),
                Err(error) => self.not_recorded(now, session, error, is_current, again),
            }
        }
        self.answered(lane);
    }

    fn recorded(&mut self, session: SnapshotSessionId, again: bool) {
        let Some(entry) = self.sessions.get_mut(&session) else { return };
        entry.recording.unwritten = None;
        for call in std::mem::take(&mut entry.calls) {
            self.actions.push_back(Action::Answer { call, outcome: Outcome::Started(session) });
        }
        if entry.state == State::Unrecorded {
            entry.state = State::Waiting(entry.first);
        }
        match entry.state {
            // An end counts only once the newest record is written.
            _ if again => self.record(session),
            State::Ending { is_complete } => self.finish(session, is_complete),
            _ => {}
        }
        self.give_turns();
        self.actions.push_back(Action::Show { session });
    }

    fn finish(&mut self, session: SnapshotSessionId, is_complete: bool) {
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.state = State::Over { is_complete };
        }
        self.release(session);
        self.actions.push_back(Action::Show { session });
        self.actions.push_back(Action::Retire { session });
    }

    fn not_recorded(
        &mut self,
        now: Instant,
        session: SnapshotSessionId,
        error: RecordError,
        is_current: bool,
        again: bool,
    ) {
        let Some(entry) = self.sessions.get_mut(&session) else { return };
        let calls = std::mem::take(&mut entry.calls);
        if error.is_passing() {
            let since = entry.recording.unwritten.as_ref().map_or(now, |before| before.since);
            let unwritten = Unwritten { since, next: Some(now + RECORD_RETRY), error: error.clone() };
            entry.recording.unwritten = Some(unwritten);
            if is_current && entry.state == State::Active {
                self.actions.push_back(Action::Paused { session, error });
            }
            self.actions.push_back(Action::Show { session });
            // The callers are told at once that the record waits, and why.
            for call in calls {
                self.answer(call, Outcome::Started(session));
            }
            return;
        }
        if entry.state == State::Unrecorded {
            self.sessions.remove(&session);
            self.actions.push_back(Action::Drop { session });
            for call in calls {
                self.answer(call, Outcome::NotRecorded(error.clone()));
            }
            return;
        }
        match entry.state {
            State::Active if is_current => self.actions.push_back(Action::Unrecordable { session, error }),
            State::Ending { is_complete } if !again => {
                self.finish(session, is_complete);
                self.actions.push_back(Action::Show { session });
            }
            _ => {}
        }
        if again {
            self.record(session);
        }
    }

    /// Releases its root.
    fn release(&mut self, session: SnapshotSessionId) {
        let Some(root) = self.sessions.get(&session).and_then(|entry| entry.root) else { return };
        let Some(hand) = self.lanes.get_mut(&Some(root)) else { return };
        if hand.holder == Some(session) {
            hand.holder = None;
        }
        if hand.open == Some(session) {
            hand.jobs += 1;
            self.actions.push_back(Action::Close { session, root });
        }
    }

    fn record(&mut self, session: SnapshotSessionId) {
        let Some(entry) = self.sessions.get_mut(&session) else { return };
        if let Some(unwritten) = &mut entry.recording.unwritten {
            unwritten.next = None;
        }
        if entry.recording.under_way.is_some() {
            entry.recording.again = true;
            return;
        }
        entry.recording.under_way = Some(entry.epoch);
        let (lane, epoch) = (entry.root, entry.epoch);
        self.lanes.entry(lane).or_default().jobs += 1;
        self.actions.push_back(Action::Record { session, lane, epoch });
    }

    fn give_turns(&mut self) {
        let is_active = |entry: &&Entry<W>| matches!(entry.state, State::Active | State::Ending { .. });
        let mut free = self.max_active.saturating_sub(self.sessions.values().filter(is_active).count());
        let waiting = self.sessions.iter_mut().filter(|(_, entry)| entry.state == State::Waiting(Hold::Turn));
        for (session, entry) in waiting {
            if free == 0 {
                return;
            }
            free -= 1;
            entry.state = State::Active;
            entry.epoch += 1;
            self.actions.push_back(Action::Begin { session: *session, epoch: entry.epoch });
        }
    }

    fn answer(&mut self, call: W, outcome: Outcome) {
        self.actions.push_back(Action::Answer { call, outcome });
    }

    fn answered(&mut self, lane: Lane) {
        if let Some(hand) = self.lanes.get_mut(&lane) {
            hand.jobs = hand.jobs.saturating_sub(1);
        }
        self.dismiss(lane);
    }

    fn dismiss(&mut self, lane: Lane) {
        let Some(hand) = self.lanes.get(&lane) else { return };
        if hand.jobs == 0 && hand.open.is_none() {
            if hand.holder.is_none() {
                self.lanes.remove(&lane);
            }
            self.actions.push_back(Action::Dismiss { lane });
        }
    }

    /// The state of a session, for its status.
    pub(crate) fn standing(&self, session: SnapshotSessionId) -> Standing<'_> {
        let Some(entry) = self.sessions.get(&session) else { return Standing::default() };
        Standing {
            hold: match entry.state {
                State::Waiting(hold) => Some(hold),
                _ => None,
            },
            is_recording: entry.recording.under_way.is_some(),
            unwritten: entry.recording.unwritten.as_ref(),
        }
    }

    /// Whether its download is driven.
    pub(crate) fn is_active(&self, session: SnapshotSessionId) -> bool {
        self.sessions.get(&session).is_some_and(|entry| entry.state == State::Active)
    }

    /// Whether a result belongs to the session's current download.
    pub(crate) fn is_current(&self, session: SnapshotSessionId, epoch: u64) -> bool {
        self.sessions.get(&session).is_some_and(|entry| entry.epoch == epoch)
    }

    /// The number of the session's current download.
    pub(crate) fn epoch(&self, session: SnapshotSessionId) -> u64 {
        self.sessions.get(&session).map_or(0, |entry| entry.epoch)
    }

    /// The number of records that are being written.
    pub(crate) fn records_under_way(&self) -> usize {
        let of_removed = self.removing.values().filter(|removal| removal.is_recording).count();
        of_removed + self.sessions.values().filter(|entry| entry.recording.under_way.is_some()).count()
    }
}

impl<W> Entry<W> {
    fn new(state: State, root: Lane) -> Self {
        Self { state, epoch: 0, root, recording: Recording::default(), first: Hold::Turn, calls: Vec::new() }
    }

    fn is_complete(&self) -> bool {
        matches!(self.state, State::Ending { is_complete: true } | State::Over { is_complete: true })
    }
}

impl Hand {
    /// The session has nothing open any more, unless another opening is in progress.
    fn vacate(&mut self, session: SnapshotSessionId) {
        if self.opening == 0 && self.open == Some(session) {
            self.open = None;
        }
    }
}
