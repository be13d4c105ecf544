//! Every route but `POST /p2p/snapshots` and the event streams: answers, methods, the token, wrong paths.

use crate::node::{self, PEER, Sessions, TOKEN, full, open, open_with, planned, status, with_sessions};
use crate::support::{get, once, request, soon};
use rpp_p2p::{Hash, PayloadFormat};
use rpp_rpc::{Options, ROUTES, ServeError};
use rpp_runtime::{
    SessionState, StorageFault,
    handle::Command,
    status::{Head, Identity, OfferedSnapshot, PeerInfo},
};
use serde_json::{Value, json};

#[tokio::test]
async fn sessions_are_listed_and_shown() {
    let sessions = Sessions::default();
    let port = open(with_sessions(&sessions));
    assert_eq!(port.get("/p2p/snapshots").await.json(), json!([]));
    sessions.put(full(7));
    sessions.put(status(9, SessionState::Connecting));
    let all = port.get("/p2p/snapshots").await;
    assert_eq!(all.status, 200);
    assert_eq!(all.json(), serde_json::to_value([full(7), status(9, SessionState::Connecting)]).unwrap());
    let one = port.get("/p2p/snapshots/7").await;
    assert_eq!((one.status, one.json()), (200, serde_json::to_value(full(7)).unwrap()));
    // Fields without a value are left out, except the four that are always there.
    let new = port.get("/p2p/snapshots/9").await.json();
    let fields: Vec<_> = new.as_object().unwrap().keys().map(String::as_str).collect();
    let always = [
        "bytes_durable",
        "bytes_received",
        "bytes_verified",
        "bytes_wasted",
        "error",
        "error_code",
        "payload_path",
        "peer",
        "session",
        "sources",
        "started_at",
        "state",
        "updated_at",
        "verified",
        "waiting_on",
    ];
    assert_eq!(fields, always);
    for field in ["error", "error_code", "payload_path", "waiting_on"] {
        assert_eq!(new[field], Value::Null, "{field}");
    }
}

#[tokio::test]
async fn a_session_in_a_path_is_a_number_and_known() {
    let port = open(with_sessions(&Sessions::default()));
    for method in ["GET", "DELETE"] {
        for wrong in ["x", "-1", "+7", "7x", "0x7", "7.0", "%37", "7%20", "\u{661}"] {
            let path = format!("/p2p/snapshots/{wrong}");
            assert_eq!(port.ask(method, &path, "").await.problem(), (400, "invalid_session".into()), "{path}");
        }
        for (unknown, named) in [
            ("7", "session 7 is"),
            ("0", "session 0 is"),
            ("007", "session 7 is"),
            ("9007199254740991", "session 9007199254740991 is"),
            ("9007199254740992", "session 9007199254740992 is"),
            ("18446744073709551616", "of 20 digits"),
            ("99999999999999999999999999999999", "of 32 digits"),
        ] {
            let path = format!("/p2p/snapshots/{unknown}");
            let answer = port.ask(method, &path, "").await;
            assert_eq!(answer.problem(), (404, "unknown_session".into()), "{path}");
            let sentence = answer.json()["error"].as_str().unwrap().to_owned();
            assert!(sentence.contains(named), "no number is rounded to another: {path}: {sentence}");
        }
    }
    assert_eq!(port.get("/p2p/snapshots/x/events").await.problem(), (400, "invalid_session".into()));
    assert_eq!(port.get("/p2p/snapshots/7/events").await.problem(), (404, "unknown_session".into()));
}

#[tokio::test]
async fn a_session_is_deleted_once() {
    let sessions = Sessions::default();
    sessions.put(planned(7, SessionState::Streaming));
    let port = open(with_sessions(&sessions));
    let mut client = port.connect().await;
    let answer = client.exchange(port.request("DELETE", "/p2p/snapshots/7", "")).await;
    assert_eq!((answer.status, answer.text()), (204, ""));
    let again = client.exchange(port.request("DELETE", "/p2p/snapshots/7", "")).await;
    assert_eq!(again.problem(), (404, "unknown_session".into()));
    assert_eq!(client.exchange(port.request("GET", "/p2p/snapshots/7", "")).await.status, 404);
}

#[tokio::test]
async fn the_node_shows_peers_identity_and_head() {
    let peer = PeerInfo {
        peer_id: PEER.into(),
        connected: true,
        addresses: vec!["/ip4/10.0.0.7/tcp/4001".into()],
        rtt_ms: Some(1.5),
        protocols: vec!["/rpp/snapshots/1.0.0".into()],
        agent: None,
    };
    let snapshot = OfferedSnapshot { root: Hash([1; 32]), height: 1200, bytes: 1 << 30, format: PayloadFormat::Tar };
    let identity = Identity {
        peer_id: PEER.into(),
        listen: vec!["/ip4/127.0.0.1/tcp/4001".into()],
        genesis: Some(Hash([3; 32])),
        publishers: vec![Hash([4; 32])],
        snapshots: vec![snapshot],
        version: "0.1.0".into(),
    };
    let (peers, node) = (vec![peer.clone()], identity.clone());
    let port = open(move |command| match command {
        Command::Peers(reply) => drop(reply.send(Ok(peers.clone()))),
        Command::Identity(reply) => drop(reply.send(Ok(node.clone()))),
        _ => panic!("not asked for"),
    });
    assert_eq!(port.get("/p2p/peers").await.json(), serde_json::to_value([peer]).unwrap());
    assert_eq!(port.get("/p2p/identity").await.json(), serde_json::to_value(identity).unwrap());
    assert_eq!(port.get("/p2p/head").await.problem(), (404, "no_head".into()));
    let head = Head {
        step: 128,
        height: 1210,
        block_hash: Hash([5; 32]),
        state_root: Hash([6; 32]),
        commitment: Hash([7; 32]),
    };
    port.head.send_replace(Some(head.clone()));
    let answer = port.get("/p2p/head").await;
    assert_eq!((answer.status, answer.json()), (200, serde_json::to_value(head).unwrap()));
    // An unreadable head must not look like "nothing was verified yet".
    port.head.send_replace(None);
    port.head_error.send_replace(Some(StorageFault::new(std::io::Error::other("head.json cannot be read"))));
    let answer = port.get("/p2p/head").await;
    assert_eq!(answer.problem(), (500, "storage".into()));
    assert!(answer.json()["error"].as_str().unwrap().contains("head.json cannot be read"));
}

#[tokio::test]
async fn health_and_readiness_need_no_token_and_say_why_not() {
    let port = open(with_sessions(&Sessions::default()));
    for path in ["/healthz", "/readyz"] {
        let answer = once(port.address, get(path)).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "status": "ok" })));
    }
    // The requests of HAProxy's `option httpchk`.
    for method in ["GET", "OPTIONS", "HEAD"] {
        let mut client = port.connect().await;
        client.send(format!("{method} /readyz HTTP/1.0\r\n\r\n")).await;
        let all = String::from_utf8(client.rest().await).unwrap();
        assert!(all.starts_with("HTTP/1.0 200 OK\r\n"), "{all}");
    }
    drop(port.ready.send_replace(Err(rpp_runtime::NotReady::Starting)));
    let answer = once(port.address, get("/readyz")).await;
    assert_eq!(answer.problem(), (503, "not_ready".into()));
    assert!(answer.json()["error"].as_str().unwrap().contains("not listening yet"));
    assert_eq!(once(port.address, get("/healthz")).await.status, 200, "alive all the same");
    drop(port.ready.send_replace(Ok(())));
    // The disk takes no writes: a restart would not make room.
    port.cannot_write.send_replace(Some("cannot write the session database".into()));
    let alive = once(port.address, get("/healthz")).await;
    let said = json!({ "status": "cannot write", "reason": "cannot write the session database" });
    assert_eq!((alive.status, alive.json()), (200, said));
    let answer = once(port.address, get("/readyz")).await;
    assert_eq!(answer.problem(), (503, "cannot_write".into()));
    assert!(answer.json()["error"].as_str().unwrap().contains("cannot write the session database"));
    port.cannot_write.send_replace(None);
    assert_eq!(once(port.address, get("/readyz")).await.status, 200);
    // The node's task has ended.
    port.node.abort();
    for path in ["/healthz", "/readyz"] {
        soon(async { while once(port.address, get(path)).await.status == 200 {} }).await;
        assert_eq!(once(port.address, get(path)).await.problem(), (503, "shutting_down".into()));
    }
    assert_eq!(port.get("/p2p/snapshots").await.problem(), (503, "shutting_down".into()));
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_a_504_and_not_healthy() {
    let mut kept = Vec::new();
    let port = open(move |command| kept.push(command));
    let (asked, health) = tokio::join!(port.get("/p2p/snapshots"), once(port.address, get("/healthz")));
    assert_eq!(asked.problem(), (504, "timed_out".into()));
    assert_eq!(health.problem(), (503, "timed_out".into()));
}

#[tokio::test]
async fn metrics_are_openmetrics() {
    let sessions = Sessions::default();
    let port = open(move |command| match command {
        Command::Metrics(reply) => {
            let text = "# HELP rpp_sessions Sessions.\n# TYPE rpp_sessions gauge\nrpp_sessions 0\n# EOF\n";
            drop(reply.send(Ok(text.into())));
        }
        other => sessions.play(other),
    });
    port.get("/p2p/snapshots/7").await;
    port.get("/p2p/snapshots/8").await;
    port.ask("PUT", "/p2p/snapshots", "").await;
    once(port.address, get("/p2p/peers")).await;
    once(port.address, get("/p2p/peers").replace("localhost", "evil.example")).await;
    let accepting = |accept: &str| {
        let header = format!("\r\naccept: {accept}\r\n\r\n");
        once(port.address, port.request("GET", "/metrics", "").replace("\r\n\r\n", &header))
    };
    let answer = accepting("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1").await;
    assert_eq!(answer.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert_eq!(answer.header("vary"), Some("accept"));
    let text = answer.text();
    assert!(text.starts_with("# HELP rpp_sessions Sessions.\n"), "{text}");
    assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
    for line in [
        r#"rpp_http_requests_total{route="/p2p/snapshots/{session}",method="GET",status="404"} 2"#,
        r#"rpp_http_requests_total{route="/p2p/snapshots",method="other",status="405"} 1"#,
        r#"rpp_http_request_seconds_count{route="/p2p/snapshots/{session}"} 2"#,
        r#"rpp_http_refusals_total{code="unauthorized"} 1"#,
        r#"rpp_http_refusals_total{code="host_not_allowed"} 1"#,
        "rpp_http_event_streams 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    // All others get the classic format: the same samples, with that format's names and types.
    for accept in ["text/plain", "*/*", "application/json"] {
        let classic = accepting(accept).await;
        assert_eq!(classic.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let classic = classic.text();
        assert!(classic.contains("# TYPE rpp_http_requests_total counter\n"), "{classic}");
        assert!(!classic.contains("# EOF") && !classic.contains("# TYPE rpp_http_requests counter"), "{classic}");
        let refused = r#"rpp_http_refusals_total{code="unauthorized"} 1"#;
        assert!(classic.lines().any(|found| found == refused), "{classic}");
    }
}

/// An alert on an increase needs a series from before its first event.
#[tokio::test]
async fn known_series_begin_at_0() {
    let port = open(with_sessions(&Sessions::default()));
    let answer = port.get("/metrics").await;
    let text = answer.text();
    for code in rpp_http::guard::REFUSALS {
        let line = format!("rpp_http_refusals_total{{code=\"{code}\"}} 0");
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    for line in [
        r#"rpp_http_requests_total{route="/p2p/snapshots",method="POST",status="502"} 0"#,
        r#"rpp_http_requests_total{route="/p2p/snapshots/{session}",method="DELETE",status="204"} 0"#,
        "rpp_panics_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
}

/// Every refusal of the gate has a series from the start.
#[tokio::test]
async fn every_refusal_is_a_known_one() {
    let port = open(with_sessions(&Sessions::default()));
    let token = format!("authorization: Bearer {TOKEN}\r\n");
    for request in [
        "OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
        "GET http://localhost/healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
        "CONNECT localhost:1 HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
        get("/p2p/peers").replace("localhost", "evil.example"),
        request("GET", "/p2p/peers", "origin: null\r\n", ""),
        get("/p2p/peers"),
        request("POST", "/p2p/snapshots", &token, "{}").replace("application/json", "text/plain"),
        request("POST", "/p2p/snapshots", &token, &"x".repeat(70_000)),
        request("POST", "/p2p/snapshots", &format!("{token}transfer-encoding: chunked\r\n"), "")
            .replace("\r\n\r\n", "\r\ncontent-type: application/json\r\n\r\nno chunk\r\n"),
    ] {
        let (_, code) = once(port.address, &request).await.problem();
        assert!(rpp_http::guard::REFUSALS.contains(&&*code), "{code}: {request:.60}");
        let line = format!("rpp_http_refusals_total{{code=\"{code}\"}} 1");
        let metrics = port.get("/metrics").await;
        assert!(metrics.text().lines().any(|found| found == line), "{line}");
    }
}

#[tokio::test]
async fn only_known_routes_and_methods() {
    let port = open(with_sessions(&Sessions::default()));
    for path in
        ["/healthz/", "/p2p", "/p2p/snapshots/", "/p2p/snapshots/7/event", "/p2p//snapshots", "/P2P/peers", "/metrics/"]
    {
        assert_eq!(port.get(path).await.problem(), (404, "not_found".into()), "{path}");
        assert_eq!(port.ask("POST", path, "{}").await.problem(), (404, "not_found".into()), "{path}");
    }
    for route in ROUTES {
        let path = route.path.replace("{session}", "7");
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "GET"] {
            if route.methods.split(", ").any(|known| known == method) {
                continue;
            }
            let answer = port.ask(method, &path, "").await;
            assert_eq!(answer.problem(), (405, "method_not_allowed".into()), "{method} {path}");
            assert_eq!(answer.header("allow"), Some(route.methods));
        }
    }
    // `HEAD` is `GET` without the body.
    let mut client = port.connect().await;
    client.send(port.request("HEAD", "/healthz", "").replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")).await;
    let all = String::from_utf8(client.rest().await).unwrap();
    assert!(all.starts_with("HTTP/1.1 200") && all.ends_with("\r\n\r\n"), "{all}");
}

#[tokio::test]
async fn every_route_but_two_asks_for_the_token_first() {
    let port = open(|_| panic!("nothing may reach the node"));
    let paths = ROUTES.iter().map(|route| route.path.replace("{session}", "x"));
    for path in paths.chain(["/nowhere".into()]) {
        if ["/healthz", "/readyz"].contains(&&*path) {
            continue;
        }
        for method in ["GET", "POST", "DELETE", "PUT"] {
            let answer = once(port.address, request(method, &path, "", "not json")).await;
            assert_eq!(answer.problem(), (401, "unauthorized".into()), "{method} {path}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    let query = get(&format!("/p2p/peers?token={TOKEN}"));
    assert_eq!(once(port.address, query).await.status, 401, "only the header counts here");
    let header = "authorization: Bearer the-token-of-the-control-planf\r\n";
    assert_eq!(once(port.address, request("GET", "/p2p/peers", header, "")).await.status, 401);
}

#[tokio::test]
async fn hosts_and_origins_are_as_configured() {
    let options = Options::new(TOKEN.into())
        .with_allowed_hosts(["node.example".to_owned()])
        .with_allowed_origins(["https://ui.example".to_owned()]);
    let port = open_with(options, with_sessions(&Sessions::default()));
    // Behind a TLS proxy the page's scheme differs from the port's.
    for (origin, expected) in
        [("https://ui.example", 200), ("http://ui.example", 403), ("http://node.example", 200), ("null", 403)]
    {
        let request = port.request("GET", "/p2p/snapshots", "").replace("localhost", "node.example");
        let request = request.replace("\r\n\r\n", &format!("\r\norigin: {origin}\r\n\r\n"));
        assert_eq!(once(port.address, request).await.status, expected, "{origin}");
    }
    for (host, expected) in [("node.example:7070", 200), ("127.0.0.1", 200), ("other.example", 403)] {
        let request = port.request("GET", "/p2p/snapshots", "").replace("localhost", host);
        assert_eq!(once(port.address, request).await.status, expected, "{host}");
    }
    let answer = once(port.address, port.request("GET", "/healthz", "").replace("localhost", "evil.example")).await;
    assert_eq!(answer.problem(), (403, "host_not_allowed".into()));
}

#[tokio::test]
async fn a_token_that_could_be_guessed_is_refused() {
    let (handle, _seat) = rpp_runtime::NodeHandle::detached(PEER.parse().unwrap(), node::config().into());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let options = Options::new("fifteen--bytes-".into());
    let served = rpp_rpc::serve(listener, handle, options, std::future::pending()).await;
    assert!(matches!(served, Err(ServeError::Token(_))), "{served:?}");
}
