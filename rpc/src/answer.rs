//! Waits for a provider's first answer.

use std::time::Duration;

use rpp_runtime::{
    SnapshotRuntimeError, SnapshotStreamStatus,
    status::{FailureCode, SessionState},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::failure;

/// What the session was asked to do, which decides what counts as an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Start,
    Resume,
}

/// Returns when the provider has answered, when it is certain that no answer comes now, or when time is up; all of these
/// are a success. It does not matter what happens to the session when nobody waits any more: it goes on by itself.
///
/// # Errors
/// The session failed, or was cancelled meanwhile.
pub(crate) async fn first(
    watched: &mut watch::Receiver<SnapshotStreamStatus>,
    asked: Asked,
    wait: Duration,
    draining: &CancellationToken,
) -> Result<SnapshotStreamStatus, SnapshotRuntimeError> {
    let answered = tokio::select! {
        answered = watched.wait_for(|status| is_answered(status, asked)) => answered.map(drop),
        () = tokio::time::sleep(wait) => Ok(()),
        () = draining.cancelled() => Ok(()),
    };
    let status = watched.borrow().clone();
    match (answered, failure(&status)) {
        (_, Some(failure)) => Err(failure),
        (Err(_), None) => Err(SnapshotRuntimeError::UnknownSession { session: status.session }),
        (Ok(()), None) => Ok(status),
    }
}

fn is_answered(status: &SnapshotStreamStatus, asked: Asked) -> bool {
    match status.state {
        // A plan that is known is an answer to a start; a resume has had one all along.
        SessionState::Connecting | SessionState::Planning => asked == Asked::Start && status.total_chunks.is_some(),
        // Out of reach is no answer, and may still become one; "busy" is one.
        SessionState::BackingOff => status.error_code.is_some_and(|code| code != FailureCode::Network),
        // `Paused`: the node itself waits, so the provider is not even asked.
        SessionState::Streaming
        | SessionState::Verifying
        | SessionState::Paused
        | SessionState::Complete
        | SessionState::Failed => true,
    }
}
