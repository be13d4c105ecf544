//! The sources of a request: peers and mirrors. A refusal names the field and repeats nothing of a URL, because a URL
//! may contain a password.

use http::StatusCode;
use rpp_http::Problem;
use rpp_runtime::{
    address,
    bans::BanSource,
    handle::{PeerTarget, SourceTarget},
    limits::{MAX_MIRRORS, MAX_PEERS},
    sources::mirror::MirrorUrl,
};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::value::RawValue;

use super::{integer::given, invalid};
use crate::{
    error::{INVALID_SOURCE, snapshot_runtime_error_to_http},
    strict,
};

/// A list of texts whose error shows none of them.
#[derive(Debug)]
pub(super) struct Texts(Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        serde_json::from_str(raw.get()).map(Self).map_err(|_| D::Error::custom("it must be a list of texts"))
    }
}

/// A text whose error does not show it.
#[derive(Debug)]
struct UrlText(String);

impl<'de> Deserialize<'de> for UrlText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        serde_json::from_str(raw.get()).map(Self).map_err(|_| D::Error::custom("it must be one URL"))
    }
}

/// A request of `POST /p2p/snapshots/{session}/sources`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Added {
    #[serde(default, deserialize_with = "given")]
    peer: Option<String>,
    #[serde(default, deserialize_with = "given")]
    mirror: Option<UrlText>,
}

/// The source that a body names.
///
/// # Errors
/// `400`: no source, two sources, or an invalid one.
pub(crate) fn added_source(body: &[u8]) -> Result<SourceTarget, Problem> {
    let body: Added = strict::read(body)?;
    match (body.peer, body.mirror) {
        (Some(peer), None) => peer_at("peer", &peer).map(SourceTarget::Peer),
        (None, Some(UrlText(url))) => mirror_at("mirror", &url).map(SourceTarget::Mirror),
        (Some(_), Some(_)) => Err(invalid("\"peer\" and \"mirror\" are two sources: add one at a time".to_owned())),
        (None, None) => Err(invalid("\"peer\" or \"mirror\" must say which source to add".to_owned())),
    }
}

/// The field `peers`.
///
/// # Errors
/// `400`: none, too many, or an invalid one.
pub(super) fn peers(Texts(texts): &Texts) -> Result<Vec<PeerTarget>, Problem> {
    if texts.is_empty() {
        return Err(refused("\"peers\" is empty: leave it out, or name 1 to 32 peers".to_owned()));
    }
    if texts.len() > MAX_PEERS {
        return Err(refused(format!("\"peers\" has {} entries: a download may have {MAX_PEERS} peers", texts.len())));
    }
    texts.iter().enumerate().map(|(at, text)| peer_at(&format!("peers[{at}]"), text)).collect()
}

/// The field `mirrors`.
///
/// # Errors
/// `400`: too many, or an invalid one.
pub(super) fn mirrors(Texts(texts): &Texts) -> Result<Vec<MirrorUrl>, Problem> {
    if texts.len() > MAX_MIRRORS {
        let message = format!("\"mirrors\" has {} entries: a download may have {MAX_MIRRORS} mirrors", texts.len());
        return Err(refused(message));
    }
    texts.iter().enumerate().map(|(at, text)| mirror_at(&format!("mirrors[{at}]"), text)).collect()
}

pub(super) fn peer_at(field: &str, text: &str) -> Result<PeerTarget, Problem> {
    text.parse().map_err(|error| {
        let problem = snapshot_runtime_error_to_http(&error);
        Problem::new(problem.status(), problem.code(), format!("\"{field}\": {}", problem.message()))
    })
}

fn mirror_at(field: &str, text: &str) -> Result<MirrorUrl, Problem> {
    text.parse().map_err(|error| refused(format!("\"{field}\" is no mirror: {error}")))
}

fn refused(message: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, INVALID_SOURCE, message)
}

/// The source of a session that `{source}` in a path names, as the status shows it.
///
/// # Errors
/// `400` when it is neither a peer id nor the URL of a mirror.
pub(crate) fn source_of_path(segment: &str) -> Result<String, Problem> {
    let text = decoded(segment);
    let peer = address::peer_id(&text).map(|peer| peer.to_string());
    let named = peer.or_else(|| text.parse::<MirrorUrl>().ok().map(|url| url.to_string()));
    named.ok_or_else(|| {
        refused(
            "the source in the path must be a peer id or the percent-encoded URL of a mirror, as the status shows it"
                .to_owned(),
        )
    })
}

/// The source that `{source}` in a path of bans names.
///
/// # Errors
/// `400` when it is neither a peer id nor the origin of a mirror.
pub(crate) fn banned_source_of_path(segment: &str) -> Result<BanSource, Problem> {
    BanSource::parse(&decoded(segment)).ok_or_else(|| {
        refused(
            "the source in the path must be a peer id, or the origin of a mirror as GET /p2p/bans shows it".to_owned(),
        )
    })
}

fn decoded(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_in_a_path_is_what_the_status_shows() {
        let peer = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        for (segment, named) in [
            (peer, peer),
            ("https%3A%2F%2Fhost%2Fa", "https://host/a"),
            ("https%3A%2F%2Fuser%3Aword%40host%2Fa%2F%3Fkey%3D1", "https://host/a"),
            ("s3%3a%2f%2fbucket%2fa%2520b", "s3://bucket/a%20b"),
            ("file%3A%2F%2F%2Fsrv%2Fmirror", "file:///srv/mirror"),
        ] {
            assert_eq!(source_of_path(segment).unwrap(), named, "{segment}");
        }
        for segment in ["", "x", "ftp%3A%2F%2Fhost", "https%3A%2F%2F", "%ff", "https%3A%2F%2Fuser%3Aword%40host%23x"] {
            let problem = source_of_path(segment).unwrap_err();
            assert!(problem.code() == INVALID_SOURCE && !problem.message().contains("word"), "{segment}");
        }
    }
}
