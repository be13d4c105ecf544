//! Turns the status of sessions into events: pure, with the time as an argument.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    clock,
    events::{Event, Kind},
    limits::{MAX_SESSIONS, SESSION_EVENT_SPACING_MS},
};

/// What a session says of itself. The field names are those of the control plane's status, whose JSON deserializes
/// into this.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // defined one by one in `docs/http.md`
pub struct SessionView {
    pub session: u64,
    pub peer: String,
    pub state: String,
    pub root: Option<String>,
    pub height: Option<u64>,
    pub total_chunks: Option<u64>,
    pub total_updates: Option<u64>,
    pub total_bytes: Option<u64>,
    pub last_chunk_index: Option<u64>,
    pub last_update_index: Option<u64>,
    pub confirmed_chunk_index: Option<u64>,
    pub confirmed_update_index: Option<u64>,
    pub bytes_received: u64,
    pub bytes_verified: u64,
    pub bytes_durable: u64,
    pub verified_bytes_per_second: Option<u64>,
    pub waiting_on: Option<WaitingView>,
    pub error: Option<String>,
    pub error_code: Option<String>,
}

/// What a session waits for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct WaitingView {
    /// `chunk`, `disk`, `retry` ...
    pub what: String,
    /// Which chunk or update.
    pub index: Option<u64>,
    /// On whom: a peer id, or a session number.
    pub peer: Option<String>,
    /// For how long already, in milliseconds.
    pub since_ms: u64,
    /// One sentence.
    pub reason: String,
    /// When the next try is.
    pub retry_at: Option<String>,
}

impl SessionView {
    fn is_complete(&self) -> bool {
        self.state == "complete"
    }

    fn has_ended(&self) -> bool {
        self.is_complete() || self.state == "failed"
    }

    /// Whether there is progress to speak of between the two.
    fn moved_since(&self, before: &Self) -> bool {
        let marks = |view: &Self| {
            (
                (
                    view.last_chunk_index,
                    view.last_update_index,
                    view.confirmed_chunk_index,
                    view.confirmed_update_index,
                ),
                (view.bytes_verified, view.bytes_durable, view.total_chunks, view.total_updates),
            )
        };
        marks(self) != marks(before) || self.state != before.state
    }

    fn event(&self, kind: Kind, now_ms: u64) -> Event {
        Event::new(kind, now_ms).with("session", self.session).with("peer", &self.peer)
    }

    fn started(&self, now_ms: u64) -> Event {
        self.event(Kind::SessionStarted, now_ms)
            .with("state", &self.state)
            .with("root", self.root.as_ref())
            .with("height", self.height)
            .with("total_chunks", self.total_chunks)
            .with("total_updates", self.total_updates)
            .with("total_bytes", self.total_bytes)
    }

    fn progress(&self, now_ms: u64) -> Event {
        self.event(Kind::SessionProgress, now_ms)
            .with("state", &self.state)
            .with("root", self.root.as_ref())
            .with("last_chunk_index", self.last_chunk_index)
            .with("total_chunks", self.total_chunks)
            .with("last_update_index", self.last_update_index)
            .with("total_updates", self.total_updates)
            .with("confirmed_chunk_index", self.confirmed_chunk_index)
            .with("confirmed_update_index", self.confirmed_update_index)
            .with("bytes_received", self.bytes_received)
            .with("bytes_verified", self.bytes_verified)
            .with("bytes_durable", self.bytes_durable)
            .with("total_bytes", self.total_bytes)
            .with("bytes_per_second", self.verified_bytes_per_second)
    }

    fn ended(&self, now_ms: u64) -> Event {
        if self.is_complete() {
            self.event(Kind::SessionCompleted, now_ms)
                .with("root", self.root.as_ref())
                .with("height", self.height)
                .with("total_bytes", self.total_bytes)
                .with("bytes_durable", self.bytes_durable)
        } else {
            self.event(Kind::SessionFailed, now_ms)
                .with("code", self.error_code.as_ref())
                .with("error", self.error.as_ref())
        }
    }
}

/// A wait with its absolute beginning.
#[derive(Clone, Debug, PartialEq)]
struct Wait {
    view: WaitingView,
    since: u64,
}

impl Wait {
    /// Two waits for the same thing are one.
    fn is_same(&self, other: &Self) -> bool {
        let key = |wait: &Self| {
            let WaitingView { what, index, peer, reason, retry_at, .. } = wait.view.clone();
            (what, index, peer, reason, retry_at)
        };
        key(self) == key(other)
    }

    fn event(&self, of: &SessionView, now_ms: u64) -> Event {
        of.event(Kind::SessionWaiting, now_ms)
            .with("state", &of.state)
            .with("what", &self.view.what)
            .with("index", self.view.index)
            .with("on", self.view.peer.as_ref())
            .with("since", self.since)
            .with("reason", &self.view.reason)
            .with("retry_at", self.view.retry_at.as_deref().and_then(clock::parse_ms))
    }
}

/// A kind of event of one session that is sent at most four times a second; what comes in between is kept (the newest)
/// and sent when its time has come.
#[derive(Clone, Debug, Default)]
struct Spaced {
    sent_ms: Option<u64>,
    due: bool,
}

impl Spaced {
    /// Whether it may go out now; it is then taken as sent.
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
    view: SessionView,
    wait: Option<Wait>,
    progress: Spaced,
    waiting: Spaced,
}

impl Entry {
    fn due(&mut self, now_ms: u64) -> Vec<Event> {
        let mut events = Vec::new();
        if self.progress.take(now_ms) {
            events.push(self.view.progress(now_ms));
        }
        if self.waiting.take(now_ms) {
            events.extend(self.wait.as_ref().map(|wait| wait.event(&self.view, now_ms)));
        }
        events
    }
}

/// All sessions that are known.
#[derive(Debug, Default)]
pub(crate) struct Sessions(BTreeMap<u64, Entry>);

impl Sessions {
    /// A session's status changed; the events that go out now.
    pub(crate) fn handle_status(&mut self, now_ms: u64, view: SessionView) -> Vec<Event> {
        let known = self.0.get(&view.session);
        let was_over = known.is_none_or(|entry| entry.view.has_ended());
        match (was_over, view.has_ended()) {
            (true, true) => {
                let news = known.is_some_and(|entry| entry.view.state != view.state);
                let event = news.then(|| view.ended(now_ms));
                self.remember(Entry { view, wait: None, progress: Spaced::default(), waiting: Spaced::default() });
                event.into_iter().collect()
            }
            (true, false) => {
                let mut events = vec![view.started(now_ms)];
                let id = view.session;
                // The start says all but what it waits for.
                let progress = Spaced { sent_ms: Some(now_ms), due: false };
                self.remember(Entry { view: view.clone(), wait: None, progress, waiting: Spaced::default() });
                events.extend(self.0.get_mut(&id).map(|entry| entry.update(now_ms, view)).unwrap_or_default());
                events
            }
            (false, _) => self.0.get_mut(&view.session).map(|entry| entry.update(now_ms, view)).unwrap_or_default(),
        }
    }

    /// A session was cancelled or its record is gone.
    pub(crate) fn handle_removed(&mut self, now_ms: u64, session: u64) -> Vec<Event> {
        let Some(entry) = self.0.remove(&session) else { return Vec::new() };
        if entry.view.has_ended() {
            return Vec::new();
        }
        let cancelled = SessionView {
            error: Some("the session was cancelled".to_owned()),
            error_code: Some("cancelled".to_owned()),
            state: "failed".to_owned(),
            ..entry.view
        };
        vec![cancelled.ended(now_ms)]
    }

    /// Time went by; the events that were held back and may go out now.
    pub(crate) fn handle_timeout(&mut self, now_ms: u64) -> Vec<Event> {
        self.0.values_mut().flat_map(|entry| entry.due(now_ms)).collect()
    }

    /// The present, for somebody who begins to listen: each running session and what it waits for.
    pub(crate) fn present(&self, now_ms: u64) -> Vec<Event> {
        let running = self.0.values().filter(|entry| !entry.view.has_ended());
        let told = running.flat_map(|Entry { view, wait, .. }| {
            let wait = wait.as_ref().map(|wait| wait.event(view, now_ms));
            [view.started(now_ms), view.progress(now_ms)].into_iter().chain(wait)
        });
        told.collect()
    }

    /// Keeps an entry; an ended session makes room for it, or it is not kept.
    fn remember(&mut self, entry: Entry) {
        if !self.0.contains_key(&entry.view.session) && self.0.len() >= MAX_SESSIONS {
            let over = self.0.values().find(|entry| entry.view.has_ended()).map(|entry| entry.view.session);
            let Some(over) = over else { return };
            self.0.remove(&over);
        }
        self.0.insert(entry.view.session, entry);
    }
}

impl Entry {
    fn update(&mut self, now_ms: u64, view: SessionView) -> Vec<Event> {
        if view.has_ended() {
            let event = view.ended(now_ms);
            *self = Self { view, wait: None, progress: Spaced::default(), waiting: Spaced::default() };
            return vec![event];
        }
        let wait = view.waiting_on.clone().map(|view| Wait { since: now_ms.saturating_sub(view.since_ms), view });
        self.waiting.due |= match (&wait, &self.wait) {
            (Some(new), Some(old)) => !new.is_same(old),
            (new, _) => new.is_some(),
        };
        self.progress.due |= view.moved_since(&self.view);
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
        self.view = view;
        self.due(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(chunk: u64) -> SessionView {
        SessionView {
            session: 7,
            peer: "P".into(),
            state: "streaming".into(),
            last_chunk_index: Some(chunk),
            ..SessionView::default()
        }
    }

    fn waiting(chunk: u64, what: &str, index: u64) -> SessionView {
        let wait = WaitingView { what: what.into(), index: Some(index), since_ms: 5, ..WaitingView::default() };
        SessionView { waiting_on: Some(wait), ..view(chunk) }
    }

    fn kinds(events: &[Event]) -> Vec<Kind> {
        events.iter().map(Event::kind).collect()
    }

    #[test]
    fn a_session_starts_moves_and_ends_once() {
        let mut sessions = Sessions::default();
        assert_eq!(kinds(&sessions.handle_status(0, view(0))), [Kind::SessionStarted]);
        assert_eq!(kinds(&sessions.handle_status(1_000, view(1))), [Kind::SessionProgress]);
        let complete = SessionView { state: "complete".into(), ..view(9) };
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
        let events = sessions.handle_status(1_000, waiting(0, "chunk", 0));
        assert_eq!(kinds(&events), [Kind::SessionStarted, Kind::SessionWaiting]);
        assert_eq!(events[1].content()["since"], 995);
        for index in 1..=100 {
            sessions.handle_status(1_000 + index, waiting(0, "chunk", index));
        }
        let told = sessions.handle_timeout(1_250);
        assert_eq!((told[0].kind(), &told[0].content()["index"]), (Kind::SessionWaiting, &100.into()));
        assert_eq!(told[0].content()["since"], 1_095);
        assert!(sessions.handle_status(5_000, waiting(0, "chunk", 100)).is_empty());
    }

    #[test]
    fn a_cancelled_session_is_told_and_forgotten() {
        let mut sessions = Sessions::default();
        sessions.handle_status(0, view(0));
        let told = sessions.handle_removed(1, 7);
        assert_eq!((told[0].kind(), &told[0].content()["code"]), (Kind::SessionFailed, &"cancelled".into()));
        assert!(sessions.handle_removed(2, 7).is_empty());
    }

    #[test]
    fn who_begins_to_listen_learns_the_present() {
        let mut sessions = Sessions::default();
        sessions.handle_status(0, waiting(4, "disk", 5));
        let told = kinds(&sessions.present(10));
        assert_eq!(told, [Kind::SessionStarted, Kind::SessionProgress, Kind::SessionWaiting]);
    }

    #[test]
    fn the_number_of_sessions_is_bounded_and_ended_ones_make_room() {
        let mut sessions = Sessions::default();
        for session in 0..2_000 {
            sessions.handle_status(0, SessionView { session, state: "failed".into(), ..SessionView::default() });
        }
        assert_eq!(sessions.0.len(), MAX_SESSIONS);
        assert_eq!(
            kinds(&sessions.handle_status(0, SessionView { session: 5_000, ..view(0) })),
            [Kind::SessionStarted]
        );
        assert!(sessions.0.contains_key(&5_000));
    }

    #[test]
    fn the_control_planes_status_is_a_view() {
        let json = r#"{ "session": 7, "peer": "12D3", "state": "streaming", "root": "ab", "plan_id": "cd", "format": "raw",
            "total_chunks": 1024, "bytes_received": 1, "verified": false,
            "waiting_on": { "what": "chunk", "index": 312, "peer": "12D3", "since_ms": 14, "reason": "asked" },
            "error": null, "error_code": null, "payload_path": null }"#;
        let view: SessionView = serde_json::from_str(json).unwrap();
        assert_eq!((view.total_chunks, view.waiting_on.unwrap().index), (Some(1024), Some(312)));
    }
}
