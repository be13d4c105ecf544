//! Maps failures of the runtime to HTTP answers. This is the only place that does.

use http::{HeaderValue, StatusCode, header};
use rpp_http::Problem;
use rpp_runtime::{
    SnapshotRuntimeError, SnapshotStreamStatus,
    status::{FailureCode, SessionState},
};

pub(crate) const UNKNOWN_SESSION: &str = "unknown_session";
pub(crate) const INVALID_ARGUMENT: &str = "invalid_argument";
pub(crate) const INVALID_SOURCE: &str = "invalid_source";

/// Status, code and sentence for each failure of the runtime (`docs/http.md` lists them).
///
/// When the failure left a session behind, the answer's `Location` names it.
#[must_use]
pub fn snapshot_runtime_error_to_http(error: &SnapshotRuntimeError) -> Problem {
    use SnapshotRuntimeError as E;
    let (status, code) = match error {
        E::InvalidPeer { .. } | E::OwnPeer | E::UnusableKey { .. } => (StatusCode::BAD_REQUEST, "invalid_peer"),
        E::UndialableAddress { .. } => (StatusCode::BAD_REQUEST, "undialable_address"),
        E::UnknownAddress { .. } => (StatusCode::BAD_REQUEST, "unknown_address"),
        E::InvalidArgument { .. } => (StatusCode::BAD_REQUEST, INVALID_ARGUMENT),
        E::KeyReused { .. } => (StatusCode::CONFLICT, "idempotency_key_reused"),
        E::PeerMismatch { .. } => (StatusCode::BAD_REQUEST, "peer_mismatch"),
        E::NoTrustAnchor => (StatusCode::BAD_REQUEST, "no_trust_anchor"),
        E::InvalidSource { .. } => (StatusCode::BAD_REQUEST, INVALID_SOURCE),
        E::UnknownSession { .. } => (StatusCode::NOT_FOUND, UNKNOWN_SESSION),
        E::UnknownSource { .. } => (StatusCode::NOT_FOUND, "unknown_source"),
        E::TooManySources { .. } => (StatusCode::CONFLICT, "too_many_sources"),
        E::SessionOver { .. } => (StatusCode::CONFLICT, "session_complete"),
        E::UnknownBan { .. } => (StatusCode::NOT_FOUND, "unknown_ban"),
        E::Banned(_) => (StatusCode::CONFLICT, "peer_banned"),
        E::TooManySessions { .. } => (StatusCode::CONFLICT, "too_many_sessions"),
        E::ResumeMismatch { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "resume_mismatch"),
        E::Storage { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "storage"),
        E::Distrusted { status, .. } => (StatusCode::BAD_GATEWAY, code_of(status)),
        E::Failed(status) => match status.error_code {
            Some(FailureCode::ResumeMismatch | FailureCode::Storage) => {
                (StatusCode::INTERNAL_SERVER_ERROR, code_of(status))
            }
            _ => (StatusCode::BAD_GATEWAY, code_of(status)),
        },
        E::NotReady(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
        E::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting_down"),
        E::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, "timed_out"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    };
    let problem = Problem::new(status, code, error.to_string());
    match error {
        E::Failed(left) if left.error_code == Some(FailureCode::Storage) => problem,
        E::Failed(left) | E::Distrusted { status: left, .. } => with_location(problem, left),
        _ => problem,
    }
}

/// The runtime's error for a session that ended in `failed` while its `POST` still waited.
///
/// `None` when it has not failed.
pub(crate) fn failure(status: &SnapshotStreamStatus) -> Option<SnapshotRuntimeError> {
    (status.state == SessionState::Failed).then(|| SnapshotRuntimeError::Failed(Box::new(status.clone())))
}

/// The session's own error code.
fn code_of(status: &SnapshotStreamStatus) -> &'static str {
    status.error_code.unwrap_or(FailureCode::Provider).as_str()
}

fn with_location(problem: Problem, status: &SnapshotStreamStatus) -> Problem {
    match HeaderValue::from_str(&format!("/p2p/snapshots/{}", status.session)) {
        Ok(path) => problem.with_header(header::LOCATION, path),
        Err(_) => problem,
    }
}

/// Text of a request, escaped so that it can be shown.
pub(crate) fn shown(text: &str) -> String {
    rpp_p2p::text::escape(text)
}
