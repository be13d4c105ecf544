//! Waits for a provider's first answer.

use std::time::Duration;

use rpp_runtime::{
    SnapshotRuntimeError, SnapshotStreamStatus,
    status::{FailureCode, SessionState},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::failure;

/// What was asked of the session; it decides what counts as an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Start,
    Resume,
}

/// Returns when the provider has answered, when it is certain that no answer will come now, or when the time is up. All
/// three are a success. If the caller stops waiting, the session goes on by itself.
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
        // For a start, a known plan is the answer. A resumed session has had one from the beginning.
        SessionState::Connecting | SessionState::Planning => asked == Asked::Start && status.total_chunks.is_some(),
        // An unreachable provider has not answered, but still may; "busy" is an answer.
        SessionState::BackingOff => status.error_code.is_some_and(|code| code != FailureCode::Network),
        // `Paused`: the node itself waits, so it asks the provider nothing.
        SessionState::Streaming
        | SessionState::Verifying
        | SessionState::Paused
        | SessionState::Complete
        | SessionState::Failed => true,
    }
}
