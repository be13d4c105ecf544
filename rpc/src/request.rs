//! Parses the bodies of requests, and `{session}` and `{source}` in a path.

mod integer;
mod source;

use http::StatusCode;
use rpp_http::Problem;
use rpp_p2p::{Hash, PlanWishes, SnapshotSessionId, types::MAX_INTEGER};
use rpp_runtime::{
    handle::{PeerTarget, ResumeStream, StartStream},
    rates::LimitsChange,
    sources::mirror::MirrorUrl,
};
use serde::Deserialize;
use serde_json::value::RawValue;

pub(crate) use self::source::{added_source, banned_source_of_path, source_of_path};

use self::{
    integer::{Integer, given},
    source::Texts,
};
use crate::{error::INVALID_ARGUMENT, strict};

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
            Some(text) => Some(source::peer_at("peer", text)?),
            None => None,
        };
        match &body.resume {
            Some(resume) => body.resume(peer, &strict::read_field("resume", resume)?),
            None => {
                let peers = body.peers.as_ref().map_or(Ok(Vec::new()), source::peers)?;
                let mirrors = body.mirrors.as_ref().map_or(Ok(Vec::new()), source::mirrors)?;
                Ok(body.start(peer, peers, mirrors))
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default, deserialize_with = "given")]
    peer: Option<String>,
    #[serde(default, deserialize_with = "given")]
    peers: Option<Texts>,
    #[serde(default, deserialize_with = "given")]
    mirrors: Option<Texts>,
    #[serde(default, deserialize_with = "given")]
    chunk_size: Option<Integer>,
    #[serde(default, deserialize_with = "given")]
    min_chunk_size: Option<Integer>,
    #[serde(default, deserialize_with = "given")]
    max_chunk_size: Option<Integer>,
    #[serde(default, deserialize_with = "given")]
    root: Option<Hash>,
    #[serde(default, deserialize_with = "given")]
    height: Option<Integer>,
    #[serde(default, deserialize_with = "given")]
    resume: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resume {
    session: Integer,
    #[serde(default, deserialize_with = "given")]
    plan_id: Option<Hash>,
    #[serde(default, deserialize_with = "given")]
    chunk_index: Option<Integer>,
    #[serde(default, deserialize_with = "given")]
    update_index: Option<Integer>,
}

impl Body {
    fn start(self, peer: Option<PeerTarget>, peers: Vec<PeerTarget>, mirrors: Vec<MirrorUrl>) -> Stream {
        Stream::Start(StartStream {
            peer,
            peers,
            // An empty list differs from an absent one: the session does not use the configured mirrors either.
            without_mirrors: self.mirrors.is_some() && mirrors.is_empty(),
            mirrors,
            others_too: false,
            wishes: PlanWishes {
                chunk_size: number(self.chunk_size),
                min_chunk_size: number(self.min_chunk_size),
                max_chunk_size: number(self.max_chunk_size),
                root: self.root,
                height: number(self.height),
            },
            idempotency_key: None,
        })
    }

    fn resume(&self, peer: Option<PeerTarget>, resume: &Resume) -> Result<Stream, Problem> {
        let only_new = [
            ("min_chunk_size", self.min_chunk_size.is_some()),
            ("max_chunk_size", self.max_chunk_size.is_some()),
            ("root", self.root.is_some()),
            ("height", self.height.is_some()),
        ];
        if let Some(field) = [("peers", self.peers.is_some()), ("mirrors", self.mirrors.is_some())]
            .into_iter()
            .find_map(|(field, given)| given.then_some(field))
        {
            return Err(invalid(format!(
                "\"{field}\" is for new sessions: POST /p2p/snapshots/{}/sources adds a source to this one",
                resume.session.0
            )));
        }
        if let Some((field, _)) = only_new.into_iter().find(|(_, given)| *given) {
            return Err(invalid(format!("\"{field}\" is for new sessions: a resumed one keeps its own")));
        }
        Ok(Stream::Resume(ResumeStream {
            session: session(&resume.session.0.to_string())?,
            peer,
            chunk_size: number(self.chunk_size),
            plan_id: resume.plan_id,
            chunk_index: number(resume.chunk_index),
            update_index: number(resume.update_index),
        }))
    }

    /// These numbers go over the wire, which carries no larger integer.
    fn check_integers(&self) -> Result<(), Problem> {
        let given = [
            ("chunk_size", self.chunk_size),
            ("min_chunk_size", self.min_chunk_size),
            ("max_chunk_size", self.max_chunk_size),
            ("height", self.height),
        ];
        match given.into_iter().find(|(_, value)| value.is_some_and(|Integer(value)| value > MAX_INTEGER)) {
            Some((field, _)) => {
                let message = format!("\"{field}\" is above {MAX_INTEGER}, the largest integer of the protocol");
                Err(Problem::new(StatusCode::BAD_REQUEST, INVALID_ARGUMENT, message))
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
    session(segment)
}

/// A request of `PATCH /p2p/limits`.
///
/// # Errors
/// `400`.
pub(crate) fn limits_change(body: &[u8]) -> Result<LimitsChange, Problem> {
    let body: Limits = strict::read(body)?;
    let fields = [
        ("download_bytes_per_second", body.download_bytes_per_second),
        ("upload_bytes_per_second", body.upload_bytes_per_second),
        ("upload_bytes_per_second_per_peer", body.upload_bytes_per_second_per_peer),
    ];
    if let Some((field, _)) =
        fields.into_iter().find(|(_, value)| value.is_some_and(|Integer(value)| value > MAX_INTEGER))
    {
        let message = format!("\"{field}\" is above {MAX_INTEGER}; 0 means no limit");
        return Err(Problem::new(StatusCode::BAD_REQUEST, INVALID_ARGUMENT, message));
    }
    Ok(LimitsChange {
        download_bytes_per_second: number(body.download_bytes_per_second),
        upload_bytes_per_second: number(body.upload_bytes_per_second),
        upload_bytes_per_second_per_peer: number(body.upload_bytes_per_second_per_peer),
        persist: body.persist.unwrap_or(false),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    #[serde(default, deserialize_with = "given")]
    download_bytes_per_second: Option<Integer>,
    #[serde(default, deserialize_with = "given")]
    upload_bytes_per_second: Option<Integer>,
    #[serde(default, deserialize_with = "given")]
    upload_bytes_per_second_per_peer: Option<Integer>,
    #[serde(default, deserialize_with = "given")]
    persist: Option<bool>,
}

/// The session with that number. A number that no session can have is not rounded to one.
fn session(digits: &str) -> Result<SnapshotSessionId, Problem> {
    let known = digits.parse().ok().and_then(SnapshotSessionId::new);
    known.ok_or_else(|| {
        let number = digits.trim_start_matches('0');
        let message = match number.len() {
            0 => "session 0 is unknown: sessions are numbered from 1".into(),
            1..=16 => format!("session {number} is unknown: no session has a number above {MAX_INTEGER}"),
            _ => format!("no session has a number of {} digits: the largest is {MAX_INTEGER}", number.len()),
        };
        Problem::new(StatusCode::NOT_FOUND, crate::error::UNKNOWN_SESSION, message)
    })
}

fn number(given: Option<Integer>) -> Option<u64> {
    given.map(|Integer(value)| value)
}

fn invalid(message: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_request", message)
}
