//! Between the behaviour and the policy of a session.

use std::time::Instant;

use super::event::Event;
use crate::{
    consumer::Session,
    error::{RequestFailure, SnapshotProtocolError},
    exchange::Verified,
};

impl Event {
    /// Tells a session what this event means for it. The event must be the session's: its peer and its id.
    ///
    /// An event without a request id answers a call that returned `None`: for the session that request failed.
    pub fn tell(self, session: &mut Session, now: Instant) {
        match self {
            Self::Verified { verified, .. } => session.handle_verified(now, verified),
            Self::Error { error, .. } => tell_error(error, session, now),
            Self::Cancelled { .. } | Self::Inbound { .. } => {}
        }
    }
}

fn tell_error(error: SnapshotProtocolError, session: &mut Session, now: Instant) {
    match error {
        SnapshotProtocolError::Provider { code, message } => {
            session.handle_verified(now, Verified::Refused { code, message });
        }
        SnapshotProtocolError::Remote(violation) => session.handle_violation(now, &violation),
        SnapshotProtocolError::Outbound(failure) => session.handle_request_failed(now, &failure),
        ours @ (SnapshotProtocolError::UnknownSession(_)
        | SnapshotProtocolError::Unfit { .. }
        | SnapshotProtocolError::Inbound { .. }) => {
            session.handle_request_failed(now, &RequestFailure::Io { reason: ours.to_string() });
        }
    }
}
