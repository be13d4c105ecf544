//! The node's page, as far as it can be tested without a browser. `tests/page/run.sh` tests it in one.

use std::collections::BTreeSet;

use crate::node::{PEER, Port, Sessions, TOKEN, failed, id, open, open_with, planned, with_sessions};
use crate::support::{self, Answer, get, once, request};
use libp2p::PeerId;
use rpp_rpc::{MAX_RECENT_EVENTS, Options, ROUTES, Traffic};
use rpp_runtime::{
    NodeEvent, SessionState,
    handle::Command,
    status::{FailureCode, PeerInfo},
};
use serde_json::{Value, json};

const FILES: [&str; 8] =
    ["/", "/app.js", "/model.js", "/downloads.js", "/panels.js", "/limits.js", "/style.css", "/favicon.svg"];

fn quiet() -> Port {
    open(with_sessions(&Sessions::default()))
}

async fn without_token(port: &Port, path: &str) -> Answer {
    once(port.address, get(path)).await
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

#[tokio::test]
async fn its_files_need_no_token_and_come_with_a_policy_that_allows_nothing_but_themselves() {
    let port = quiet();
    for path in FILES {
        let answer = without_token(&port, path).await;
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        let rules: BTreeSet<&str> = policy.split("; ").collect();
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ] {
            assert!(rules.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        assert_eq!(once(port.address, request("POST", path, "", "{}")).await.status, 405, "{path}");
    }
    // Everything else still needs the token.
    for path in ["/index.html", "/page", "//", "/app.js/", "/p2p/events", "/p2p/peers"] {
        assert_eq!(without_token(&port, path).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn it_names_only_its_own_files_and_writes_no_markup() {
    let port = quiet();
    let html = text(&without_token(&port, "/").await);
    for attribute in ["src=\"", "href=\""] {
        for target in html.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(FILES.contains(&target) || target.starts_with('#'), "{target}");
        }
    }
    assert_eq!(html.matches("<script").count(), html.matches("<script src=\"/").count());
    assert!(!html.contains("style=") && !html.contains("<style") && !html.contains("javascript:"), "nothing inline");
    for handler in ["onclick", "onload", "onerror", "onsubmit", "onfocus"] {
        assert!(!html.contains(handler), "{handler}");
    }
    for path in FILES.iter().filter(|path| path.ends_with(".js")) {
        let script = text(&without_token(&port, path).await);
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "setTimeout(\"",
            "http:",
            "https:",
            "WebSocket",
            "localStorage",
            "cookie",
        ] {
            let script = script.replace("http://www.w3.org/2000/svg", "");
            assert!(!script.contains(way), "{path}: {way}");
        }
    }
    let style = text(&without_token(&port, "/style.css").await);
    assert!(!style.contains("url(") && !style.contains("@import"));
    for feature in ["prefers-color-scheme: dark", "prefers-reduced-motion: reduce", "tabular-nums", "max-width: 640px"]
    {
        assert!(style.contains(feature), "{feature}");
    }
}

/// The sentence and the buttons that the page's own script makes of each status; `None` if this machine has no Node.js.
async fn said(statuses: &Value) -> Option<Value> {
    let model = text(&without_token(&quiet(), "/model.js").await);
    let each = "({ says: sentence(one).map((part) => part.own ?? part.foreign).join(''), buttons: actions(one).map((one) => one.kind) })";
    let script = format!("{model}\nprocess.stdout.write(JSON.stringify({statuses}.map((one) => {each})));");
    let Ok(output) = std::process::Command::new("node").args(["-e", &script]).output() else {
        eprintln!("there is no Node.js here");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test]
async fn it_says_that_the_payload_of_a_complete_download_was_removed() {
    let complete = |verified: bool, path: Value, waiting: Value| json!({ "state": "complete", "verified": verified, "payload_path": path, "waiting_on": waiting });
    let reason = "its payload is not stored here any more, so it cannot be verified again: fetch it again";
    let statuses = json!([
        complete(true, json!("/data/payload"), Value::Null),
        complete(true, Value::Null, Value::Null),
        complete(false, Value::Null, json!({ "what": "operator", "since_ms": 7, "reason": reason })),
    ]);
    let Some(said) = said(&statuses).await else { return };
    assert_eq!(said[0]["says"], "Verified and in place: /data/payload");
    let removed = said[1]["says"].as_str().unwrap();
    assert!(removed.contains("its payload was removed") && !removed.contains("in place"), "{removed}");
    assert_eq!(said[2]["says"], format!("Complete, but not verified: {reason}"));
}

#[tokio::test]
async fn it_offers_no_resume_that_a_ban_refuses() {
    let of = |state: &str, sources: &[&str]| {
        let sources: Vec<_> = sources.iter().map(|state| json!({ "source": "x", "state": state })).collect();
        json!({ "state": state, "error": "a lie", "error_code": "checksum", "waiting_on": null, "sources": sources })
    };
    let statuses = json!([
        of("failed", &["banned"]),
        of("backing_off", &["banned"]),
        of("failed", &["banned", "refused"]),
        of("backing_off", &["backing_off"]),
    ]);
    let Some(said) = said(&statuses).await else { return };
    let buttons: Vec<_> = said.as_array().unwrap().iter().map(|one| &one["buttons"]).collect();
    let expected =
        json!([["add", "cancel"], ["add", "cancel"], ["add", "resume", "cancel"], ["resume", "add", "cancel"]]);
    assert_eq!(json!(buttons), expected);
}

#[tokio::test]
async fn it_asks_only_for_routes_that_exist() {
    let port = quiet();
    let mut asked = BTreeSet::new();
    for path in FILES.iter().filter(|path| path.ends_with(".js")) {
        let script = text(&without_token(&port, path).await)
            .replace("\" + status.session + \"", "{session}")
            .replace("\" + encodeURIComponent(source)", "{source}\"");
        for (at, _) in script.match_indices("call(\"").chain(script.match_indices("get(\"")) {
            let words: Vec<&str> = script[at..].split('"').take(4).collect();
            let (method, path) = match words[1].starts_with('/') {
                true => ("GET", words[1].to_owned()),
                false if words[2] == ", " => (words[1], words[3].to_owned()),
                // `get` itself.
                false => continue,
            };
            let path = match path.as_str() {
                "/p2p/bans/" => path + "{source}",
                _ if path.ends_with('/') => path + "{session}",
                _ => path,
            };
            asked.insert((method.to_owned(), path));
        }
    }
    assert!(asked.len() >= 13, "{asked:?}");
    for (method, path) in asked {
        let route = ROUTES.iter().find(|route| route.path == path).unwrap_or_else(|| panic!("{method} {path}"));
        assert!(route.methods.split(", ").any(|known| known == method), "{method} {path}");
    }
}

#[tokio::test]
async fn events_are_told_when_something_changes_and_the_oldest_go_first() {
    let port = quiet();
    assert_eq!(port.get("/p2p/events").await.json(), json!([]));
    let peer: PeerId = PEER.parse().unwrap();
    let progress = |bytes| {
        let mut status = planned(7, SessionState::Streaming);
        status.bytes_verified = bytes;
        NodeEvent::SnapshotStreamProgress(status)
    };
    for event in [
        NodeEvent::PeerConnected(peer),
        progress(1),
        progress(2),
        NodeEvent::ProtocolViolation { peer, session: Some(id(7)), reason: "a lie\u{202e}".into() },
        NodeEvent::SnapshotStreamFailed(failed(7, FailureCode::Checksum, "chunk 3 does not match")),
        NodeEvent::SnapshotStreamCancelled(id(7)),
        NodeEvent::PeerDisconnected(peer),
    ] {
        port.events.send(event).unwrap();
    }
    let events = until(&port, |events| events.len() == 6).await;
    let told: Vec<_> = events.iter().map(|event| (&event["event"], &event["state"], &event["session"])).collect();
    assert_eq!(
        json!(told),
        json!([
            ["peer_connected", null, null],
            ["state", "streaming", 7],
            ["violation", null, 7],
            ["state", "failed", 7],
            ["cancelled", null, 7],
            ["peer_disconnected", null, null]
        ])
    );
    assert_eq!(events[3]["reason"], "chunk 3 does not match");
    assert!(!events[2]["reason"].as_str().unwrap().contains('\u{202e}'), "{}", events[2]);
    // Consecutive tries that fail for the same reason make one event. Another reason makes a new one.
    for reason in ["nobody there", "nobody there", "nobody there", "refused"] {
        for state in [SessionState::Connecting, SessionState::Planning, SessionState::BackingOff] {
            let mut status = planned(8, state);
            status.error = Some(reason.into());
            port.events.send(NodeEvent::SnapshotStreamProgress(status)).unwrap();
        }
    }
    let events = until(&port, |events| events.last().is_some_and(|event| event["reason"] == "refused")).await;
    let told: Vec<_> = events[6..].iter().map(|event| (&event["state"], &event["reason"])).collect();
    let tries =
        json!([["connecting", null], ["planning", null], ["backing_off", "nobody there"], ["backing_off", "refused"]]);
    assert_eq!(json!(told), tries);
    assert!(events.iter().all(|event| event["at"].as_str().unwrap().ends_with('Z')));
    for _ in 0..MAX_RECENT_EVENTS {
        port.events.send(NodeEvent::PeerConnected(peer)).unwrap();
    }
    let last = 10 + MAX_RECENT_EVENTS as u64 - 1;
    let events = until(&port, |events| events.last().is_some_and(|event| event["seq"] == last)).await;
    assert_eq!((events.len(), &events[0]["seq"]), (MAX_RECENT_EVENTS, &json!(10)));
}

/// Polls until the events match, and returns them.
async fn until(port: &Port, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    support::soon(async {
        loop {
            let events = port.get("/p2p/events").await.json();
            let events = events.as_array().unwrap();
            if wanted(events) {
                return events.clone();
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn peers_come_with_their_traffic_when_it_is_counted() {
    let info = |peer: &str| PeerInfo {
        peer_id: peer.into(),
        connected: true,
        addresses: vec![],
        rtt_ms: None,
        protocols: vec![],
        agent: None,
    };
    let play = move |command| {
        if let Command::Peers(reply) = command {
            drop(reply.send(Ok(vec![info(PEER), info("other")])));
        }
    };
    let traffic = Traffic { bytes_received: 5, bytes_sent: 3 };
    let options = Options::new(TOKEN.into()).with_traffic(move || [(PEER.to_owned(), traffic)].into());
    let peers = open_with(options, play).get("/p2p/peers").await.json();
    assert_eq!((&peers[0]["bytes_received"], &peers[0]["bytes_sent"]), (&json!(5), &json!(3)));
    assert_eq!(peers[1], serde_json::to_value(info("other")).unwrap());
    assert_eq!(open(play).get("/p2p/peers").await.json()[0], serde_json::to_value(info(PEER)).unwrap());
}
