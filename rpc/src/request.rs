//! What `POST /p2p/snapshots` and `{session}` in a path mean.

use http::StatusCode;
use rpp_http::Problem;
use rpp_p2p::{Hash, SnapshotSessionId, types::MAX_INTEGER};
use rpp_runtime::{
    SnapshotRuntimeError,
    handle::{PeerTarget, ResumeStream, StartStream},
};
use serde::Deserialize;

use crate::{error::snapshot_runtime_error_to_http, strict};

/// A request of `POST /p2p/snapshots`.
#[derive(Debug)]
pub(crate) enum Stream {
    Start(StartStream),
    Resume(ResumeStream),
}

impl Stream {
    /// # Errors
    /// `400`.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Problem> {
        let body: Body = strict::read(body)?;
        body.check_integers()?;
        let peer = match &body.peer {
            Some(text) => Some(text.parse::<PeerTarget>().map_err(|error| snapshot_runtime_error_to_http(&error))?),
            None => None,
        };
        match body.resume {
            Some(strict::Object(ref resume)) => body.resume(peer, resume),
            None => body.start(peer),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    peer: Option<String>,
    chunk_size: Option<u64>,
    min_chunk_size: Option<u64>,
    max_chunk_size: Option<u64>,
    root: Option<Hash>,
    height: Option<u64>,
    resume: Option<strict::Object<Resume>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resume {
    session: u64,
    plan_id: Option<Hash>,
    chunk_index: Option<u64>,
    update_index: Option<u64>,
}

impl Body {
    fn start(self, peer: Option<PeerTarget>) -> Result<Stream, Problem> {
        let peer = peer.ok_or_else(|| {
            invalid("\"peer\" is missing: name the provider, or the session to go on with in \"resume\"".into())
        })?;
        let Self { chunk_size, min_chunk_size, max_chunk_size, root, height, .. } = self;
        Ok(Stream::Start(StartStream { peer, chunk_size, min_chunk_size, max_chunk_size, root, height }))
    }

    fn resume(&self, peer: Option<PeerTarget>, resume: &Resume) -> Result<Stream, Problem> {
        let only_new = [
            ("min_chunk_size", self.min_chunk_size.is_some()),
            ("max_chunk_size", self.max_chunk_size.is_some()),
            ("root", self.root.is_some()),
            ("height", self.height.is_some()),
        ];
        if let Some((field, _)) = only_new.into_iter().find(|(_, given)| *given) {
            return Err(invalid(format!("\"{field}\" is for new sessions: a resumed one keeps its own")));
        }
        Ok(Stream::Resume(ResumeStream {
            session: session(resume.session)?,
            peer,
            chunk_size: self.chunk_size,
            plan_id: resume.plan_id,
            chunk_index: resume.chunk_index,
            update_index: resume.update_index,
        }))
    }

    /// These go over the wire, which carries no larger integer.
    fn check_integers(&self) -> Result<(), Problem> {
        let given = [
            ("chunk_size", self.chunk_size),
            ("min_chunk_size", self.min_chunk_size),
            ("max_chunk_size", self.max_chunk_size),
            ("height", self.height),
        ];
        match given.into_iter().find(|(_, value)| value.is_some_and(|value| value > MAX_INTEGER)) {
            Some((field, _)) => {
                let message = format!("\"{field}\" is above {MAX_INTEGER}, the largest integer of the protocol");
                Err(snapshot_runtime_error_to_http(&SnapshotRuntimeError::InvalidArgument { message }))
            }
            None => Ok(()),
        }
    }
}

/// The session of a path like `/p2p/snapshots/7`.
///
/// # Errors
/// `400` when it is not a number, `404` when no session can have that number.
pub(crate) fn session_of_path(segment: &str) -> Result<SnapshotSessionId, Problem> {
    if segment.is_empty() || !segment.bytes().all(|b| b.is_ascii_digit()) {
        let message = "the session in the path must be a number, as in /p2p/snapshots/7";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_session", message));
    }
    // More digits than a u64 holds: a number, but nobody's.
    session(segment.parse().unwrap_or(u64::MAX))
}

fn session(id: u64) -> Result<SnapshotSessionId, Problem> {
    SnapshotSessionId::new(id).ok_or_else(|| {
        let message = format!("session {id} is unknown");
        Problem::new(StatusCode::NOT_FOUND, crate::error::UNKNOWN_SESSION, message)
    })
}

fn invalid(message: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_request", message)
}
