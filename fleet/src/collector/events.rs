//! Ingest events: what came in and could not be used. Rows of `ingest_events`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::roster::Name;
use crate::{escape, limits::EVENTS_PER_SECOND};

/// Now, as the database counts.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// A reply to a cut that is over, or a second reply to the one under way.
    LateReply,
    /// A reply to a cut that this collector never asked for.
    WrongId,
    /// A frame that is not JSON, or lacks what its type needs.
    UnreadableFrame,
    /// A graph that is not what the protocol says.
    UnreadableGraph,
    /// A node of a graph, which costs only itself.
    UnreadableNode,
    /// An edge of a graph, which costs only itself.
    UnreadableEdge,
    /// Two processes of a cut have the same name and process id.
    SameKey,
    /// The other side speaks a later protocol.
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
    /// An id or a text is longer than what is stored.
    TooLong,
    /// Events that came faster than they are written.
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

/// Lets a bounded number of events a second through and counts the others.
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

    /// An event that was let through found no room after all.
    pub(crate) fn lost(&mut self) {
        self.dropped += 1;
    }

    /// The row that stands for those that were not written.
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
