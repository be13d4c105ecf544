//! Watches one session until it ends.

use std::time::{Duration, Instant};

use rpp_runtime::{SessionState, SnapshotStreamStatus};

use super::progress::Progress;
use crate::cli::api::{Api, ApiError};

/// Time between two polls of the session.
const POLL: Duration = Duration::from_millis(150);
/// How long to wait for a node that is being restarted.
const NODE_GONE: Duration = Duration::from_secs(60);

/// How watching ended.
pub(crate) enum Ended {
    /// Complete and verified.
    Verified(Box<SnapshotStreamStatus>),
    /// The session failed, or is complete without being verified.
    Failed(Box<SnapshotStreamStatus>),
    /// The node does not know the session any more.
    Gone,
    /// Ctrl-C.
    Interrupted,
}

/// Follows a session, showing its progress on standard error.
pub(crate) async fn follow(api: &Api, first: SnapshotStreamStatus) -> Result<Ended, ApiError> {
    let mut progress = Progress::new();
    let ended = tokio::select! {
        // The first poll installs the handler for the signal, so it must come before the first line is shown.
        biased;
        _ = tokio::signal::ctrl_c() => Ok(Ended::Interrupted),
        ended = watch(api, first, &mut progress) => ended,
    };
    progress.finish();
    ended
}

async fn watch(api: &Api, first: SnapshotStreamStatus, progress: &mut Progress) -> Result<Ended, ApiError> {
    let session = first.session.get();
    let mut status = first;
    loop {
        progress.show(&status);
        match status.state {
            SessionState::Complete if status.verified => return Ok(Ended::Verified(Box::new(status))),
            _ if status.is_being_verified_again() => {}
            SessionState::Complete | SessionState::Failed => return Ok(Ended::Failed(Box::new(status))),
            _ => {}
        }
        tokio::time::sleep(POLL).await;
        status = match look(api, session, progress).await? {
            Some(status) => status,
            None => return Ok(Ended::Gone),
        };
    }
}

/// `None`: unknown session. A node that does not answer is asked again for a while.
async fn look(api: &Api, session: u64, progress: &mut Progress) -> Result<Option<SnapshotStreamStatus>, ApiError> {
    let begun = Instant::now();
    loop {
        match api.session(session).await {
            Ok(status) => return Ok(Some(status)),
            Err(ApiError::Refused { status, .. }) if status == hyper::StatusCode::NOT_FOUND => return Ok(None),
            Err(ApiError::Refused { status, message, .. })
                if status.is_server_error() && begun.elapsed() < NODE_GONE =>
            {
                progress.hint(&message);
            }
            Err(ApiError::Unreachable { reason, .. }) if begun.elapsed() < NODE_GONE => {
                progress.hint(&format!("the node does not answer ({reason}); asking again"));
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
