//! The sources of a session: in a start, added, and taken away.

use std::sync::{Arc, Mutex};

use crate::node::{PEER, Sessions, config_with, id, listening, of_target, open, open_as, planned, with_sessions};
use libp2p::identity::Keypair;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rpp_rpc::Options;
use rpp_runtime::{
    SessionState, SnapshotRuntimeError,
    bans::Ban,
    handle::{Command, SourceTarget, StartStream},
    limits::{MAX_MIRRORS, MAX_PEERS},
    status::SourceKind,
};
use serde_json::{Value, json};

const OTHER: &str = "12D3KooWGjLmW1BoGWE2fvTUrXVqXCvK8Yd2jGVHYiFDy5vQpQg6";
const SECRETS: [&str; 3] = ["word", "user", "key=1"];

fn is_clean(text: &str) {
    assert!(!SECRETS.iter().any(|secret| text.contains(secret)), "{text}");
}

fn peers(count: usize) -> Vec<String> {
    (0..count).map(|_| Keypair::generate_ed25519().public().to_peer_id().to_string()).collect()
}

#[tokio::test]
async fn a_start_with_many_sources_reaches_the_node_as_it_was_sent() {
    let (port, seen) = listening();
    let address = format!("/ip4/10.0.0.7/tcp/4001/p2p/{OTHER}");
    let folder = tempfile::tempdir().unwrap();
    let file = format!("file://{}", folder.path().display());
    let urls = ["https://user:word@host/a?key=1", "s3://bucket/a", &file];
    for body in [
        json!({ "peers": [address, PEER], "mirrors": urls }),
        json!({ "peer": PEER, "peers": [OTHER] }),
        json!({ "mirrors": urls }),
        json!({ "peer": PEER, "mirrors": [] }),
        json!({ "peers": peers(MAX_PEERS) }),
        json!({ "peer": PEER, "peers": peers(MAX_PEERS - 1) }),
        json!({ "mirrors": (0..MAX_MIRRORS).map(|at| format!("https://host/{at}")).collect::<Vec<_>>() }),
        json!({ "mirrors": [] }),
        json!({}),
    ] {
        let answer = port.post(&body.to_string()).await;
        assert_eq!((answer.status, &answer.json()["session"]), (200, &json!(7)), "{body}: {}", answer.text());
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 9);
    let of = |start: &StartStream| start.peers.iter().map(|target| target.peer.to_string()).collect::<Vec<_>>();
    assert_eq!((seen[0].peer.is_none(), of(&seen[0])), (true, vec![OTHER.to_owned(), PEER.to_owned()]));
    assert_eq!(seen[0].peers[0].address.as_ref().unwrap().to_string(), address);
    let shown: Vec<_> = seen[0].mirrors.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["https://host/a", "s3://bucket/a", &file]);
    assert_eq!((seen[1].peer.as_ref().unwrap().peer.to_string(), of(&seen[1])), (PEER.into(), vec![OTHER.into()]));
    assert_eq!((seen[2].names_nobody(), seen[2].mirrors.len()), (false, 3));
    assert_eq!((seen[4].peers.len(), seen[6].mirrors.len()), (MAX_PEERS, MAX_MIRRORS));
    // An empty list says: no mirrors, not even those of the configuration.
    let without: Vec<_> = seen.iter().map(|start| start.without_mirrors).collect();
    assert_eq!(without, [false, false, false, true, false, false, false, true, false]);
    assert!(seen[7].names_nobody() && seen[8].names_nobody());
}

#[tokio::test]
async fn a_bad_source_is_a_problem_that_names_its_field_and_no_secret() {
    let port = open(|_| panic!("nothing may reach the node"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let absent = format!("file://{}/absent", folder.path().display());
    let no_folder = format!("file://{}", file.display());
    let many: Vec<_> = (0..=MAX_MIRRORS).map(|at| format!("https://host/{at}")).collect();
    let secret = "https://user:word@host/a?key=1";
    for (body, code, field, word) in [
        (json!({ "peers": [] }), "invalid_source", "\"peers\"", "empty"),
        (json!({ "peers": peers(MAX_PEERS + 1) }), "invalid_source", "\"peers\"", "33"),
        (json!({ "peer": PEER, "peers": peers(MAX_PEERS) }), "invalid_source", "\"peers\"", "33"),
        (json!({ "peers": [PEER, "x"] }), "invalid_peer", "\"peers[1]\"", "neither"),
        (json!({ "peers": [secret] }), "invalid_peer", "\"peers[0]\"", "a URL"),
        (json!({ "peer": secret }), "invalid_peer", "\"peer\": \"a URL\"", "neither"),
        (
            json!({ "peers": [format!("/ip4/10.0.0.7/tcp/1/ws/p2p/{PEER}")] }),
            "undialable_address",
            "\"peers[0]\"",
            "ws",
        ),
        (json!({ "peers": [PEER, OTHER, PEER] }), "invalid_source", "\"peers[2]\"", "\"peers[0]\""),
        (json!({ "peer": PEER, "peers": [OTHER, PEER] }), "invalid_source", "\"peers[1]\"", "\"peer\""),
        (json!({ "peers": [crate::node::ME] }), "invalid_source", "\"peers[0]\"", "this node itself"),
        (json!({ "mirrors": many }), "invalid_source", "\"mirrors\"", "9"),
        (
            json!({ "mirrors": ["https://host/a", "ftp://user:word@host"] }),
            "invalid_source",
            "\"mirrors[1]\"",
            "scheme",
        ),
        (json!({ "mirrors": ["https://user:word@host/a#b"] }), "invalid_source", "\"mirrors[0]\"", "fragment"),
        (json!({ "mirrors": ["s3://"] }), "invalid_source", "\"mirrors[0]\"", "bucket"),
        (json!({ "mirrors": ["host/a"] }), "invalid_source", "\"mirrors[0]\"", "URL"),
        (json!({ "mirrors": ["file:relative"] }), "invalid_source", "\"mirrors[0]\"", "cannot be opened"),
        (json!({ "mirrors": ["file://host/a"] }), "invalid_source", "\"mirrors[0]\"", "file"),
        (
            json!({ "mirrors": [secret, "s3://b", "https://host/a/"] }),
            "invalid_source",
            "\"mirrors[2]\"",
            "\"mirrors[0]\"",
        ),
        (json!({ "mirrors": ["s3://b", absent] }), "invalid_source", "\"mirrors[1]\"", "cannot be opened"),
        (json!({ "mirrors": [no_folder] }), "invalid_source", "\"mirrors[0]\"", "cannot be opened"),
        (json!({ "peers": secret }), "invalid_request", "\"peers\": ", "list"),
        (json!({ "peers": [7] }), "invalid_request", "\"peers\": ", "list"),
        (json!({ "mirrors": secret }), "invalid_request", "\"mirrors\": ", "list"),
        (json!({ "mirrors": [[secret]] }), "invalid_request", "\"mirrors\": ", "list"),
        (json!({ "mirrors": null }), "invalid_request", "\"mirrors\": ", "list"),
        (json!({ "resume": { "session": 7 }, "peers": [PEER] }), "invalid_request", "\"peers\"", "/7/sources"),
        (json!({ "resume": { "session": 7 }, "mirrors": [] }), "invalid_request", "\"mirrors\"", "/7/sources"),
    ] {
        let answer = port.post(&body.to_string()).await;
        assert_eq!(answer.problem(), (400, code.into()), "{body}: {}", answer.text());
        let sentence = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(sentence.contains(field) && sentence.contains(word), "{body}: {sentence}");
        is_clean(&sentence);
    }
}

#[tokio::test]
async fn folders_are_read_where_the_configuration_allows_it() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["data/snapshots/store", "mirrors", "other"] {
        std::fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    let sessions = Sessions::default();
    let config = config_with(&json!({
        "data_dir": folder.path().join("data"),
        "sources": { "peers": [], "mirrors": [], "file_roots": [folder.path().join("mirrors"), folder.path().join("data")] },
    }));
    let port = open_as(config, Options::new(crate::node::TOKEN.into()), with_sessions(&sessions));
    for (name, code, word) in [
        ("mirrors", "no_trust_anchor", "trust"),
        ("other", "invalid_source", "file_roots"),
        ("data/snapshots/store", "invalid_source", "own data folder"),
    ] {
        let url = format!("file://{}", folder.path().join(name).display());
        let answer = port.post(&json!({ "mirrors": [url] }).to_string()).await;
        assert_eq!(answer.problem(), (400, code.into()), "{name}");
        assert!(answer.text().contains(word), "{name}: {}", answer.text());
        let added = port.ask("POST", "/p2p/snapshots/7/sources", &json!({ "mirror": url }).to_string()).await;
        let expected = if code == "invalid_source" { (400, code) } else { (404, "unknown_session") };
        assert_eq!(added.problem(), (expected.0, expected.1.into()), "{name}");
    }
}

#[tokio::test]
async fn a_source_is_added_and_taken_away() {
    let sessions = Sessions::default();
    sessions.put(planned(7, SessionState::Streaming));
    let port = open(with_sessions(&sessions));
    let add = |body: Value| {
        let (port, body) = (&port, body.to_string());
        async move { port.ask("POST", "/p2p/snapshots/7/sources", &body).await }
    };
    let sources = |answer: &crate::support::Answer| {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let status = answer.json();
        let all = status["sources"].as_array().unwrap().iter();
        all.map(|source| source["source"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(sources(&add(json!({ "peer": OTHER })).await), [OTHER]);
    let url = "https://host/a%20b";
    let both = add(json!({ "mirror": "https://user:word@host/a%20b/?key=1" })).await;
    assert_eq!(sources(&both), [OTHER, url]);
    is_clean(both.text());
    let path = |source: &str| format!("/p2p/snapshots/7/sources/{}", utf8_percent_encode(source, NON_ALPHANUMERIC));
    assert_eq!(sources(&port.ask("DELETE", &path(url), "").await), [OTHER]);
    assert_eq!(port.ask("DELETE", &path(url), "").await.problem(), (404, "unknown_source".into()));
    assert_eq!(sources(&port.ask("DELETE", &path(OTHER), "").await), [""; 0]);
    for (body, code, word) in [
        (json!({}), "invalid_request", "must say"),
        (json!({ "peer": PEER, "mirror": url }), "invalid_request", "one at a time"),
        (json!({ "source": PEER }), "invalid_request", "unknown field"),
        (json!({ "mirror": { "url": "https://user:word@host" } }), "invalid_request", "one URL"),
        (json!({ "mirror": null }), "invalid_request", "one URL"),
        (json!({ "peer": "x" }), "invalid_peer", "\"peer\""),
        (json!({ "peer": crate::node::ME }), "invalid_source", "this node itself"),
        (json!({ "mirror": "https://user:word@host#x" }), "invalid_source", "\"mirror\""),
        (json!({ "mirror": "file:///nonexistent" }), "invalid_source", "cannot be opened"),
    ] {
        let answer = add(body.clone()).await;
        assert_eq!(answer.problem(), (400, code.into()), "{body}");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(word), "{body}: {error}");
        is_clean(answer.text());
    }
    for (source, code) in
        [("x", "invalid_source"), ("ftp://user:word@host", "invalid_source"), ("https://host#x", "invalid_source")]
    {
        let answer = port.ask("DELETE", &path(source), "").await;
        assert_eq!(answer.problem(), (400, code.into()), "{source}");
        is_clean(answer.text());
    }
    for wrong in ["x", "7x", "%37"] {
        let at = format!("/p2p/snapshots/{wrong}/sources");
        assert_eq!(port.ask("POST", &at, "{}").await.problem(), (400, "invalid_session".into()));
        assert_eq!(port.ask("DELETE", &format!("{at}/{OTHER}"), "").await.problem(), (400, "invalid_session".into()));
    }
}

fn ban(source: &str, kind: &str) -> Ban {
    let evidence = json!({ "at": "2026-11-28T10:00:00Z", "kind": "chunk", "reason": "chunk 3 does not verify" });
    serde_json::from_value(json!({ "source": source, "kind": kind, "since": "2026-11-28T10:00:00Z",
        "until": "2026-11-28T10:10:00Z", "count": 1, "evidence": [evidence] }))
    .unwrap()
}

#[test]
fn a_ban_says_of_whom_until_when_why_and_how_it_is_lifted() {
    let error = SnapshotRuntimeError::Banned(Arc::new(ban("https://host:8443", "mirror"))).to_string();
    assert_eq!(
        error,
        "mirror https://host:8443 is banned until 2026-11-28T10:10:00Z: chunk 3 does not verify; take another source, or lift the \
         ban with `rpp-node bans --lift https://host:8443` (DELETE /p2p/bans/https%3A%2F%2Fhost%3A8443)"
    );
}

#[tokio::test]
async fn what_the_node_refuses_of_sources_comes_through() {
    let peer = OTHER.parse().unwrap();
    for (error, expected) in [
        (SnapshotRuntimeError::UnknownSession { session: id(7) }, (404, "unknown_session")),
        (SnapshotRuntimeError::SessionOver { session: id(7) }, (409, "session_complete")),
        (
            SnapshotRuntimeError::TooManySources { session: id(7), kind: SourceKind::Mirror, max: MAX_MIRRORS },
            (409, "too_many_sources"),
        ),
        (SnapshotRuntimeError::Banned(Arc::new(ban("https://host:8443", "mirror"))), (409, "peer_banned")),
        (SnapshotRuntimeError::Banned(Arc::new(ban(OTHER, "peer"))), (409, "peer_banned")),
        (SnapshotRuntimeError::UnknownAddress { peer }, (400, "unknown_address")),
        (SnapshotRuntimeError::ShuttingDown, (503, "shutting_down")),
    ] {
        let given = error.clone();
        let port = open(move |command| match command {
            Command::AddSource(_, _, reply) | Command::RemoveSource(_, _, reply) => {
                drop(reply.send(Err(given.clone())))
            }
            _ => panic!("not asked for"),
        });
        let body = json!({ "peer": OTHER }).to_string();
        for answer in [
            port.ask("POST", "/p2p/snapshots/7/sources", &body).await,
            port.ask("DELETE", &format!("/p2p/snapshots/7/sources/{OTHER}"), "").await,
        ] {
            assert_eq!(answer.problem(), (expected.0, expected.1.into()));
            assert_eq!(answer.json()["error"], error.to_string());
        }
    }
}

/// The node's task gets the whole URL; nobody else does.
#[tokio::test]
async fn an_added_mirror_reaches_the_node_with_its_credentials() {
    let seen: Arc<Mutex<Vec<SourceTarget>>> = Arc::default();
    let heard = Arc::clone(&seen);
    let port = open(move |command| match command {
        Command::AddSource(session, source, reply) => {
            let status = planned(session.get(), SessionState::Streaming);
            drop(reply.send(Ok(status.with(|status| status.sources.push(of_target(&source))))));
            heard.lock().unwrap().push(source);
        }
        _ => panic!("not asked for"),
    });
    let url = "https://user:word@host/a?key=1";
    let answer = port.ask("POST", "/p2p/snapshots/7/sources", &json!({ "mirror": url }).to_string()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(seen.lock().unwrap()[..], [SourceTarget::Mirror(url.parse().unwrap())]);
}
