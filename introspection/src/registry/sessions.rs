//! Turns the status of sessions into events: pure, with the time as an argument.

use std::collections::BTreeMap;

use rpp_p2p::{FailureCode, SessionState, SnapshotSessionId, SnapshotStreamStatus, WaitingOn};

use crate::{
    clock,
    events::{Event, Kind},
    limits::{MAX_SESSIONS, SESSION_EVENT_SPACING_MS},
};

/// Whether the session made progress between the two.
fn moved(before: &SnapshotStreamStatus, after: &SnapshotStreamStatus) -> bool {
    let marks = |status: &SnapshotStreamStatus| {
        (
            (
                status.last_chunk_index,
                status.last_update_index,
                status.confirmed_chunk_index,
                status.confirmed_update_index,
            ),
            (status.bytes_verified, status.bytes_durable, status.total_chunks, status.total_updates),
        )
    };
    marks(after) != marks(before) || after.state != before.state
}

fn event(of: &SnapshotStreamStatus, kind: Kind, now_ms: u64) -> Event {
    Event::new(kind, now_ms)
        .with("session", of.session.get())
        .with("peer", &of.peer.map(|peer| peer.to_base58()).unwrap_or_default())
}

fn root(of: &SnapshotStreamStatus) -> Option<String> {
    of.root.map(|root| root.to_string())
}

fn started(of: &SnapshotStreamStatus, now_ms: u64) -> Event {
    event(of, Kind::SessionStarted, now_ms)
        .with("state", of.state.as_str())
        .with("root", root(of).as_ref())
        .with("height", of.height)
        .with("total_chunks", of.total_chunks)
        .with("total_updates", of.total_updates)
        .with("total_bytes", of.total_bytes)
}

fn progress(of: &SnapshotStreamStatus, now_ms: u64) -> Event {
    event(of, Kind::SessionProgress, now_ms)
        .with("state", of.state.as_str())
        .with("root", root(of).as_ref())
        .with("last_chunk_index", of.last_chunk_index)
        .with("total_chunks", of.total_chunks)
        .with("last_update_index", of.last_update_index)
        .with("total_updates", of.total_updates)
        .with("confirmed_chunk_index", of.confirmed_chunk_index)
        .with("confirmed_update_index", of.confirmed_update_index)
        .with("bytes_received", of.bytes_received)
        .with("bytes_verified", of.bytes_verified)
        .with("bytes_durable", of.bytes_durable)
        .with("total_bytes", of.total_bytes)
        .with("bytes_per_second", of.verified_bytes_per_second)
}

fn ended(of: &SnapshotStreamStatus, now_ms: u64) -> Event {
    if of.state == SessionState::Complete {
        event(of, Kind::SessionCompleted, now_ms)
            .with("root", root(of).as_ref())
            .with("height", of.height)
            .with("total_bytes", of.total_bytes)
            .with("bytes_durable", of.bytes_durable)
    } else {
        failed(of, of.error_code, of.error.as_deref(), now_ms)
    }
}

fn failed(of: &SnapshotStreamStatus, code: Option<FailureCode>, error: Option<&str>, now_ms: u64) -> Event {
    event(of, Kind::SessionFailed, now_ms).with("code", code.map(FailureCode::as_str)).with("error", error)
}

/// A wait with its absolute beginning.
#[derive(Clone, Debug, PartialEq)]
struct Wait {
    on: WaitingOn,
    since: u64,
}

impl Wait {
    /// Two waits for the same thing are one.
    fn is_same(&self, other: &Self) -> bool {
        let key = |wait: &Self| {
            let WaitingOn { what, index, peer, reason, retry_at, .. } = wait.on.clone();
            (what, index, peer, reason, retry_at)
        };
        key(self) == key(other)
    }

    fn event(&self, of: &SnapshotStreamStatus, now_ms: u64) -> Event {
        event(of, Kind::SessionWaiting, now_ms)
            .with("state", of.state.as_str())
            .with("what", self.on.what.as_str())
            .with("index", self.on.index)
            .with("on", self.on.peer.as_ref())
            .with("since", self.since)
            .with("reason", &self.on.reason)
            .with("retry_at", self.on.retry_at.as_deref().and_then(clock::parse_ms))
    }
}

/// A kind of event of one session that is sent at most four times a second. Of the events in between, the newest is
/// kept and sent when the time has come.
#[derive(Clone, Debug, Default)]
struct Spaced {
    sent_ms: Option<u64>,
    due: bool,
}

impl Spaced {
    /// Whether the event may be sent now. If so, it counts as sent.
    fn take(&mut self, now_ms: u64) -> bool {
        let free = self.sent_ms.is_none_or(|sent| now_ms.saturating_sub(sent) >= SESSION_EVENT_SPACING_MS);
        let go = self.due && free;
        if go {
            *self = Self { sent_ms: Some(now_ms), due: false };
        }
        go
    }
}

#[derive(Clone, Debug)]
struct Entry {
    status: SnapshotStreamStatus,
    wait: Option<Wait>,
    progress: Spaced,
    waiting: Spaced,
}

impl Entry {
    fn due(&mut self, now_ms: u64) -> Vec<Event> {
        let mut events = Vec::new();
        if self.progress.take(now_ms) {
            events.push(progress(&self.status, now_ms));
        }
        if self.waiting.take(now_ms) {
            events.extend(self.wait.as_ref().map(|wait| wait.event(&self.status, now_ms)));
        }
        events
    }
}

/// All sessions that are known.
#[derive(Debug, Default)]
pub(crate) struct Sessions(BTreeMap<SnapshotSessionId, Entry>);

impl Sessions {
    /// A session's status changed; the events that go out now.
    pub(crate) fn handle_status(&mut self, now_ms: u64, status: SnapshotStreamStatus) -> Vec<Event> {
        let known = self.0.get(&status.session);
        let was_over = known.is_none_or(|entry| entry.status.state.is_final());
        match (was_over, status.state.is_final()) {
            (true, true) => {
                let news = known.is_some_and(|entry| entry.status.state != status.state);
                let event = news.then(|| ended(&status, now_ms));
                self.remember(Entry { status, wait: None, progress: Spaced::default(), waiting: Spaced::default() });
                event.into_iter().collect()
            }
            (true, false) => {
                let mut events = vec![started(&status, now_ms)];
                let id = status.session;
                // The start event contains everything except what the session waits for.
                let progress = Spaced { sent_ms: Some(now_ms), due: false };
                self.remember(Entry { status: status.clone(), wait: None, progress, waiting: Spaced::default() });
                events.extend(self.0.get_mut(&id).map(|entry| entry.update(now_ms, status)).unwrap_or_default());
                events
            }
            (false, _) => self.0.get_mut(&status.session).map(|entry| entry.update(now_ms, status)).unwrap_or_default(),
        }
    }

    /// A session was cancelled or its record is gone.
    pub(crate) fn handle_removed(&mut self, now_ms: u64, session: SnapshotSessionId) -> Vec<Event> {
        let Some(entry) = self.0.remove(&session) else { return Vec::new() };
        if entry.status.state.is_final() {
            return Vec::new();
        }
        let code = Some(FailureCode::Cancelled);
        vec![failed(&entry.status, code, Some("the session was cancelled"), now_ms)]
    }

    /// Time went by; the events that were held back and may go out now.
    pub(crate) fn handle_timeout(&mut self, now_ms: u64) -> Vec<Event> {
        self.0.values_mut().flat_map(|entry| entry.due(now_ms)).collect()
    }

    /// The present state for a new listener: each running session and what it waits for.
    pub(crate) fn present(&self, now_ms: u64) -> Vec<Event> {
        let running = self.0.values().filter(|entry| !entry.status.state.is_final());
        let told = running.flat_map(|Entry { status, wait, .. }| {
            let wait = wait.as_ref().map(|wait| wait.event(status, now_ms));
            [started(status, now_ms), progress(status, now_ms)].into_iter().chain(wait)
        });
        told.collect()
    }

    /// Keeps an entry, in place of an ended session if there is no space. If no session has ended, the entry is not
    /// kept.
    fn remember(&mut self, entry: Entry) {
        if !self.0.contains_key(&entry.status.session) && self.0.len() >= MAX_SESSIONS {
            let over = self.0.values().find(|entry| entry.status.state.is_final()).map(|entry| entry.status.session);
            let Some(over) = over else { return };
            self.0.remove(&over);
        }
        self.0.insert(entry.status.session, entry);
    }
}

impl Entry {
    fn update(&mut self, now_ms: u64, status: SnapshotStreamStatus) -> Vec<Event> {
        if status.state.is_final() {
            let event = ended(&status, now_ms);
            *self = Self { status, wait: None, progress: Spaced::default(), waiting: Spaced::default() };
            return vec![event];
        }
        let wait = status.waiting_on.clone().map(|on| Wait { since: now_ms.saturating_sub(on.since_ms), on });
        self.waiting.due |= match (&wait, &self.wait) {
            (Some(new), Some(old)) => !new.is_same(old),
            (new, _) => new.is_some(),
        };
        self.progress.due |= moved(&self.status, &status);
        if let (Some(new), Some(old)) = (&wait, &self.wait)
            && new.is_same(old)
        {
            // The same wait goes on: keep its beginning free of rounding.
        } else {
            self.wait = wait;
        }
        if self.wait.is_none() {
            self.waiting.due = false;
        }
        self.status = status;
        self.due(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use rpp_p2p::WaitKind;
    use serde_json::json;

    use super::*;

    fn id(session: u64) -> SnapshotSessionId {
        SnapshotSessionId::new(session).unwrap()
    }

    fn status(session: u64, state: SessionState) -> SnapshotStreamStatus {
        serde_json::from_value(json!({ "session": session, "state": state,
            "peer": "12D3KooWGjLmW1BoGWE2fvTUrXVqXCvK8Yd2jGVHYiFDy5vQpQg6", "bytes_received": 0, "bytes_verified": 0,
            "bytes_durable": 0, "verified": false, "started_at": "", "updated_at": "" }))
        .unwrap()
    }

    fn view(chunk: u64) -> SnapshotStreamStatus {
        status(7, SessionState::Streaming).with(|status| status.last_chunk_index = Some(chunk))
    }

    fn waiting(chunk: u64, what: WaitKind, index: u64) -> SnapshotStreamStatus {
        let (peer, reason, retry_at) = (None, String::new(), None);
        let wait = WaitingOn::new(what, 5, reason).with(|wait| {
            wait.index = Some(index);
            wait.peer = peer;
            wait.retry_at = retry_at;
        });
        view(chunk).with(|status| status.waiting_on = Some(wait))
    }

    fn kinds(events: &[Event]) -> Vec<Kind> {
        events.iter().map(Event::kind).collect()
    }

    #[test]
    fn a_session_starts_moves_and_ends_once() {
        let mut sessions = Sessions::default();
        assert_eq!(kinds(&sessions.handle_status(0, view(0))), [Kind::SessionStarted]);
        assert_eq!(kinds(&sessions.handle_status(1_000, view(1))), [Kind::SessionProgress]);
        let complete = view(9).with(|status| status.state = SessionState::Complete);
        assert_eq!(kinds(&sessions.handle_status(1_001, complete.clone())), [Kind::SessionCompleted]);
        assert!(sessions.handle_status(1_002, complete).is_empty());
        assert!(sessions.present(2_000).is_empty());
    }

    #[test]
    fn progress_comes_at_most_four_times_a_second_and_the_last_is_not_lost() {
        let mut sessions = Sessions::default();
        sessions.handle_status(0, view(0));
        let sent: usize = (1..1_000).map(|ms| sessions.handle_status(ms, view(ms)).len()).sum();
        assert_eq!(sent, 3, "at 250, 500 and 750 ms");
        let late = sessions.handle_timeout(1_000);
        assert_eq!(late[0].content()["last_chunk_index"], 999);
        assert!(sessions.handle_timeout(2_000).is_empty());
    }

    #[test]
    fn a_wait_is_told_with_its_beginning_and_a_stuck_one_is_the_last_told() {
        let mut sessions = Sessions::default();
        let events = sessions.handle_status(1_000, waiting(0, WaitKind::Chunk, 0));
        assert_eq!(kinds(&events), [Kind::SessionStarted, Kind::SessionWaiting]);
        assert_eq!(events[1].content()["since"], 995);
        for index in 1..=100 {
            sessions.handle_status(1_000 + index, waiting(0, WaitKind::Chunk, index));
        }
        let told = sessions.handle_timeout(1_250);
        assert_eq!((told[0].kind(), &told[0].content()["index"]), (Kind::SessionWaiting, &100.into()));
        assert_eq!(told[0].content()["since"], 1_095);
        assert!(sessions.handle_status(5_000, waiting(0, WaitKind::Chunk, 100)).is_empty());
    }

    #[test]
    fn a_cancelled_session_is_told_and_forgotten() {
        let mut sessions = Sessions::default();
        sessions.handle_status(0, view(0));
        let told = sessions.handle_removed(1, id(7));
        assert_eq!((told[0].kind(), &told[0].content()["code"]), (Kind::SessionFailed, &"cancelled".into()));
        assert!(sessions.handle_removed(2, id(7)).is_empty());
    }

    #[test]
    fn who_begins_to_listen_learns_the_present() {
        let mut sessions = Sessions::default();
        sessions.handle_status(0, waiting(4, WaitKind::Disk, 5));
        let told = kinds(&sessions.present(10));
        assert_eq!(told, [Kind::SessionStarted, Kind::SessionProgress, Kind::SessionWaiting]);
    }

    #[test]
    fn the_number_of_sessions_is_bounded_and_ended_ones_make_room() {
        let mut sessions = Sessions::default();
        for session in 1..=2_000 {
            sessions.handle_status(0, status(session, SessionState::Failed));
        }
        assert_eq!(sessions.0.len(), MAX_SESSIONS);
        assert_eq!(
            kinds(&sessions.handle_status(0, view(0).with(|status| status.session = id(5_000)))),
            [Kind::SessionStarted]
        );
        assert!(sessions.0.contains_key(&id(5_000)));
    }
}
