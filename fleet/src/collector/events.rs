//! Ingest events: what arrived and could not be used. They are rows of `ingest_events`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::roster::Name;
use crate::{escape, limits::EVENTS_PER_SECOND};

/// The present time in the database's unit.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// A reply to a cut that is over, or a second reply to the one in progress.
    LateReply,
    /// A reply to a cut that this collector never asked for.
    WrongId,
    /// A frame that is not JSON, or lacks a field that its type needs.
    UnreadableFrame,
    /// A graph that does not follow the protocol.
    UnreadableGraph,
    /// A node of a graph that cannot be read; the rest is kept.
    UnreadableNode,
    /// An edge of a graph that cannot be read; the rest is kept.
    UnreadableEdge,
    /// Two processes of a cut have the same name and process id.
    SameKey,
    /// The other side speaks the later protocol.
    OtherProtocol,
    UnknownType,
    OversizeFrame,
    TruncatedFrame,
    SlowFrame,
    /// The connection failed.
    ConnectionLost,
    ConnectionRefused,
    DuplicateNode,
    DuplicateEdge,
    /// An id or a text is longer than the bound.
    TooLong,
    /// Events that arrived faster than they can be written.
    EventsDropped,
}

impl EventKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::LateReply => "late_reply",
            Self::WrongId => "wrong_id",
            Self::UnreadableFrame => "unreadable_frame",
            Self::UnreadableGraph => "unreadable_graph",
            Self::UnreadableNode => "unreadable_node",
            Self::UnreadableEdge => "unreadable_edge",
            Self::SameKey => "same_key",
            Self::OtherProtocol => "other_protocol",
            Self::UnknownType => "unknown_type",
            Self::OversizeFrame => "oversize_frame",
            Self::TruncatedFrame => "truncated_frame",
            Self::SlowFrame => "slow_frame",
            Self::ConnectionLost => "connection_lost",
            Self::ConnectionRefused => "connection_refused",
            Self::DuplicateNode => "duplicate_node",
            Self::DuplicateEdge => "duplicate_edge",
            Self::TooLong => "too_long",
            Self::EventsDropped => "events_dropped",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) at_ns: i64,
    pub(crate) snapshot_id: Option<u64>,
    pub(crate) name: Option<Name>,
    pub(crate) kind: EventKind,
    pub(crate) detail: String,
}

impl Event {
    pub(crate) fn new(kind: EventKind, detail: &str) -> Self {
        Self { at_ns: now_ns(), snapshot_id: None, name: None, kind, detail: escape(detail) }
    }

    pub(crate) fn of(mut self, name: Option<Name>) -> Self {
        self.name = name;
        self
    }

    pub(crate) fn in_cut(mut self, snapshot_id: u64) -> Self {
        self.snapshot_id = Some(snapshot_id);
        self
    }
}

/// Passes a bounded number of events a second and counts the others.
pub(crate) struct Throttle {
    second: Option<Instant>,
    passed: u32,
    dropped: u64,
}

impl Throttle {
    pub(crate) fn new() -> Self {
        Self { second: None, passed: 0, dropped: 0 }
    }

    /// Whether an event may pass now.
    pub(crate) fn admit(&mut self, now: Instant) -> bool {
        if self.second.is_none_or(|start| now.saturating_duration_since(start) >= Duration::from_secs(1)) {
            self.second = Some(now);
            self.passed = 0;
        }
        let admitted = self.passed < EVENTS_PER_SECOND;
        if admitted {
            self.passed += 1;
        } else {
            self.dropped += 1;
        }
        admitted
    }

    /// An event that was admitted could not be queued after all.
    pub(crate) fn lost(&mut self) {
        self.dropped += 1;
    }

    /// The row that stands for events that were not written.
    pub(crate) fn take_dropped(&mut self) -> Option<Event> {
        let dropped = std::mem::take(&mut self.dropped);
        let detail = format!("{dropped} events came faster than they are written");
        (dropped > 0).then(|| Event::new(EventKind::EventsDropped, &detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_one_row() {
        let mut throttle = Throttle::new();
        let start = Instant::now();
        let passed = (0..EVENTS_PER_SECOND + 7).filter(|_| throttle.admit(start)).count();
        assert_eq!(passed, EVENTS_PER_SECOND as usize);
        assert!(throttle.take_dropped().unwrap().detail.starts_with("7 events"));
        assert!(throttle.take_dropped().is_none());
        assert!(throttle.admit(start + Duration::from_secs(1)));
    }
}
