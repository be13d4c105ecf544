//! `GET /p2p/events`: what happened in the node lately, oldest first. Repetitions are not kept: neither progress within
//! one state, nor further attempts that fail for the same reason.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rpp_p2p::SnapshotSessionId;
use rpp_runtime::{NodeEvent, SessionState, SnapshotStreamStatus};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::error::shown;
use crate::limits::{MAX_RECENT_EVENTS, MAX_RECENT_STATES};

/// One event. A field without a value is left out.
#[derive(Clone, Debug, Serialize)]
struct Event {
    /// Rises by one with each event. Numbers below the first one that is shown belong to events that were evicted.
    seq: u64,
    /// RFC 3339.
    at: String,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SnapshotSessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<SessionState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The newest events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recent(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    next: u64,
    events: VecDeque<Event>,
    sessions: HashMap<SnapshotSessionId, Last>,
}

/// The last event that was kept of a session.
#[derive(Debug)]
struct Last {
    state: SessionState,
    /// Why the session is held up; `None` while it makes progress.
    trouble: Option<String>,
}

impl Recent {
    /// Records the node's events, for ever.
    pub(crate) async fn follow(self, mut events: Receiver<NodeEvent>) {
        loop {
            match events.recv().await {
                Ok(event) => self.kept().note(event),
                // Too many events at once: the oldest are lost, as always.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }

    /// All events, ready to be serialised as JSON.
    pub(crate) fn all(&self) -> impl Serialize + use<> {
        self.kept().events.iter().cloned().collect::<Vec<_>>()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the second state says more than that another attempt follows the first.
fn ends_otherwise(before: SessionState, now: SessionState) -> bool {
    let tries = |state| matches!(state, SessionState::Connecting | SessionState::Planning);
    !tries(now) && before != now
}

impl Kept {
    fn note(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::SnapshotStreamProgress(status)
            | NodeEvent::SnapshotStreamCompleted(status)
            | NodeEvent::SnapshotStreamFailed(status) => self.state(&status),
            NodeEvent::SnapshotStreamCancelled(session) => {
                self.sessions.remove(&session);
                self.push("cancelled", |event| event.session = Some(session));
            }
            NodeEvent::PeerConnected(peer) => self.push("peer_connected", |event| event.peer = Some(peer.to_string())),
            NodeEvent::PeerDisconnected(peer) => {
                self.push("peer_disconnected", |event| event.peer = Some(peer.to_string()));
            }
            NodeEvent::ProtocolViolation { peer, session, reason } => self.push("violation", |event| {
                event.peer = Some(peer.to_string());
                event.session = session;
                event.reason = Some(shown(&reason));
            }),
            NodeEvent::Banned(ban) => self.push("banned", |event| {
                event.reason = Some(shown(&ban.sentence()));
                event.peer = Some(ban.source);
            }),
            NodeEvent::BanEnded { source, lifted, .. } => {
                self.push(if lifted { "ban_lifted" } else { "ban_ended" }, |event| event.peer = Some(source));
            }
            // Kinds of events that do not exist yet.
            _ => {}
        }
    }

    fn state(&mut self, status: &SnapshotStreamStatus) {
        if self.sessions.len() >= MAX_RECENT_STATES {
            self.sessions.clear();
        }
        let last = self.sessions.get(&status.session);
        let trouble = match status.state {
            // A further attempt: the earlier cause may hold it up again. After a failure, the operator started the
            // session again.
            SessionState::Connecting | SessionState::Planning => {
                last.filter(|last| last.state != SessionState::Failed).and_then(|last| last.trouble.clone())
            }
            SessionState::BackingOff | SessionState::Paused | SessionState::Failed => {
                Some(status.error.as_deref().map(shown).unwrap_or_default())
            }
            SessionState::Streaming | SessionState::Verifying | SessionState::Complete => None,
        };
        let told = last.is_some_and(|last| match &last.trouble {
            Some(before) => trouble.as_ref() == Some(before) && !ends_otherwise(last.state, status.state),
            None => last.state == status.state,
        });
        if told {
            return;
        }
        let reason = trouble.clone().filter(|reason| !reason.is_empty());
        self.sessions.insert(status.session, Last { state: status.state, trouble });
        self.push("state", |event| {
            event.session = Some(status.session);
            event.peer = status.peer.map(|peer| peer.to_string());
            event.state = Some(status.state);
            event.reason = reason;
        });
    }

    fn push(&mut self, event: &'static str, fill: impl FnOnce(&mut Event)) {
        // The formatter fails only for years beyond 9999.
        let at = OffsetDateTime::now_utc();
        let at = at.replace_millisecond(at.millisecond()).unwrap_or(at).format(&Rfc3339).unwrap_or_default();
        let mut new = Event { seq: self.next, at, event, session: None, peer: None, state: None, reason: None };
        fill(&mut new);
        self.next += 1;
        if self.events.len() >= MAX_RECENT_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(new);
    }
}
