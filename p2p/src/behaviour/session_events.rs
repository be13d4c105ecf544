//! Connects the events of the behaviour to a consumer session.

use std::time::Instant;

use super::event::{Event, RequestId};
use crate::{
    consumer::{Session, Unexpected},
    error::{NotSent, SnapshotProtocolError, StreamFailure},
    exchange::Verified,
};

impl Event {
    /// Passes this event to the session. The event must be of the session's peer and id ([`Self::of`]). The session
    /// handles only the event that ends its request in flight. Any other event is late and ignored: the session was
    /// resumed meanwhile, or gave the request up.
    ///
    /// # Errors
    /// It is not an answer to what the session asked for.
    pub fn tell(self, session: &mut Session, now: Instant) -> Result<(), Unexpected> {
        match self {
            Self::Verified { request_id, protocol, verified, .. } => {
                session.handle_protocol(request_id, protocol);
                session.handle_verified(now, request_id, verified)
            }
            Self::Streamed { request_id, verified, .. } => session.handle_streamed(now, request_id, verified),
            Self::StreamEnded { request_id, error, .. } => {
                match error {
                    SnapshotProtocolError::Remote(violation) => session.handle_violation(now, request_id, &violation),
                    error => session.handle_stream_ended(now, request_id, &error),
                }
                Ok(())
            }
            Self::Error { request_id: Some(request_id), error, .. } => tell_error(error, request_id, session, now),
            // The session's own calls return why they sent nothing.
            Self::Error { request_id: None, .. } | Self::Cancelled { .. } | Self::Inbound { .. } => Ok(()),
        }
    }
}

fn tell_error(
    error: SnapshotProtocolError,
    id: RequestId,
    session: &mut Session,
    now: Instant,
) -> Result<(), Unexpected> {
    match error {
        SnapshotProtocolError::Provider { code, message } => {
            return session.handle_verified(now, id, Verified::Refused { code, message });
        }
        SnapshotProtocolError::Remote(violation) => session.handle_violation(now, id, &violation),
        SnapshotProtocolError::Outbound(failure) => session.handle_request_failed(now, id, &failure),
        SnapshotProtocolError::UnknownSession(unknown) => {
            session.handle_request_failed(now, id, &StreamFailure::from(NotSent::UnknownSession(unknown)).into());
        }
        SnapshotProtocolError::Unfit(unfit) => {
            session.handle_request_failed(now, id, &StreamFailure::from(NotSent::Unfit(unfit)).into());
        }
        // An inbound request does not concern any session of ours.
        SnapshotProtocolError::Inbound(_) => {}
    }
    Ok(())
}
