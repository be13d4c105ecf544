//! The collector's HTTP port: who is admitted, and how routes answer unknown ids, methods and paths.

use crate::common::{Fleet, graph, http, options};
use rpp_fleet::collector::{Collector, StartError};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const TOKEN: &str = "0123456789abcdef";

#[tokio::test]
async fn the_page_and_health_need_no_token_and_all_else_does() {
    let fleet = Fleet::start_with(|options| options.with_token(Some(TOKEN.into()))).await;
    let address = fleet.collector.http();
    for path in ["/", "/app.js", "/graph.js", "/style.css", "/favicon.svg", "/health"] {
        let response = http(address, "GET", path, &[], None).await;
        assert_eq!(response.status, 200, "{path}");
        assert!(!response.body.is_empty(), "{path}");
    }
    let health = http(address, "GET", "/health", &[], None).await;
    assert_eq!(health.body, b"ok");
    for (method, path) in [
        ("POST", "/api/jump-now"),
        ("POST", "/api/sql"),
        ("GET", "/api/snapshots"),
        ("GET", "/api/snapshots/1"),
        ("GET", "/api/snapshots/1/graph"),
        ("GET", "/api/snapshots/1/waits"),
        ("GET", "/api/connections"),
        ("GET", "/api/waits"),
        ("GET", "/nowhere"),
    ] {
        let none = http(address, method, path, &[], None).await;
        assert_eq!(none.status, 401, "{path}");
        assert!(none.head.contains("www-authenticate: bearer"), "{}", none.head);
        let wrong = http(address, method, path, &[("authorization", "Bearer 0123456789abcdeX")], None).await;
        assert_eq!(wrong.status, 401, "{path}");
        let right = http(address, method, path, &[("authorization", &format!("Bearer {TOKEN}"))], None).await;
        assert_ne!(right.status, 401, "{path}");
    }
}

/// The whole answer to one request; the server closes the connection after it.
async fn raw(fleet: &Fleet, request: String) -> String {
    let mut socket = tokio::net::TcpStream::connect(fleet.collector.http()).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn only_targets_in_origin_form_reach_the_routes() {
    for token in [None, Some(TOKEN)] {
        let fleet = Fleet::start_with(|options| options.with_token(token.map(Into::into))).await;
        for shown in [String::new(), format!("authorization: Bearer {TOKEN}\r\n")] {
            for (line, expected) in [
                ("GET http://localhost/health", "400 "),
                ("POST http://localhost/api/jump-now", "400 "),
                ("OPTIONS *", "404 "),
                ("CONNECT localhost:1", "405 "),
            ] {
                let rest = "HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
                let answer = raw(&fleet, format!("{line} {rest}{shown}\r\n")).await;
                assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{line}: {answer}");
            }
        }
    }
}

#[tokio::test]
async fn head_works_where_get_does_and_health_needs_no_host() {
    let fleet = Fleet::start().await;
    for (path, expected) in [("/", "200 "), ("/health", "200 "), ("/api/snapshots", "200 "), ("/api/sql", "405 ")] {
        let request = format!("HEAD {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let answer = raw(&fleet, request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")) && answer.ends_with("\r\n\r\n"), "{answer}");
    }
    let answer = raw(&fleet, "GET /health HTTP/1.0\r\n\r\n".into()).await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
}

#[tokio::test]
async fn the_page_forbids_inline_script_and_frames() {
    let fleet = Fleet::start().await;
    let response = http(fleet.collector.http(), "GET", "/", &[], None).await;
    for header in [
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self';",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "content-type: text/html; charset=utf-8",
    ] {
        assert!(response.head.contains(header), "{header} in {}", response.head);
    }
    assert!(!response.head.contains("unsafe-inline"));
}

#[tokio::test]
async fn other_hosts_origins_and_content_types_are_refused() {
    let fleet = Fleet::start_with(|options| {
        options
            .with_allowed_hosts(vec!["fleet.example".into()])
            .with_allowed_origins(vec!["https://fleet.example".into()])
    })
    .await;
    let address = fleet.collector.http();
    let own = format!("http://{address}");
    for (path, headers, status) in [
        ("/api/snapshots", vec![("host", "evil.example")], 403),
        ("/", vec![("host", "evil.example")], 403),
        ("/api/snapshots", vec![("host", "fleet.example:9130")], 200),
        ("/api/snapshots", vec![("host", "localhost:9130")], 200),
        ("/api/snapshots", vec![("origin", "http://evil.example")], 403),
        ("/api/snapshots", vec![("origin", "null")], 403),
        ("/api/snapshots", vec![("host", "fleet.example"), ("origin", "https://fleet.example")], 200),
        ("/api/snapshots", vec![("origin", own.as_str())], 200),
    ] {
        let response = http(address, "GET", path, &headers, None).await;
        assert_eq!(response.status, status, "{path} {headers:?}");
        assert!(!response.head.contains("access-control"), "{}", response.head);
    }
    let body = || Some(r#"{"snapshot_id":1,"sql":"SELECT 1"}"#.to_owned());
    let plain = http(address, "POST", "/api/sql", &[("content-type", "text/plain")], body()).await;
    assert_eq!(plain.status, 415);
    let form = http(
        address,
        "POST",
        "/api/jump-now",
        &[("content-type", "application/x-www-form-urlencoded")],
        Some("a=b".into()),
    )
    .await;
    assert_eq!(form.status, 415);
    let other = http(address, "POST", "/api/jump-now", &[("origin", "http://evil.example")], None).await;
    assert_eq!(other.status, 403);
}

#[tokio::test]
async fn routes_answer_clearly_to_what_they_do_not_know() {
    let fleet = Fleet::start().await;
    let mut process = fleet.connect_all(1).await.remove(0);
    fleet.cut(&mut [(&mut process, graph(&[], &[]))]).await;
    for (method, path, status) in [
        ("GET", "/api/snapshots/1", 200),
        ("GET", "/api/snapshots/2", 404),
        ("GET", "/api/snapshots/2/graph", 404),
        ("GET", "/api/snapshots/2/waits", 404),
        ("GET", "/api/snapshots/1/other", 404),
        ("GET", "/api/snapshots/1/", 404),
        ("GET", "/api/snapshots/x", 400),
        ("GET", "/api/snapshots/99999999999999999999", 400),
        ("GET", "/api/snapshots/-1", 404),
        ("GET", "/api", 404),
        ("GET", "/../etc/passwd", 404),
        ("GET", "/api/jump-now", 405),
        ("GET", "/api/sql", 405),
        ("POST", "/api/snapshots", 405),
        ("DELETE", "/api/snapshots/1", 405),
        ("POST", "/", 405),
    ] {
        let (got, body) = fleet.send(method, path, None).await;
        assert_eq!(got, status, "{method} {path}: {body}");
        if status >= 400 {
            assert!(body["error"].is_string() && body["code"].is_string(), "{path}: {body}");
        }
    }
    assert_eq!(fleet.send("POST", "/api/jump-now", Some(json!({"more": 1}))).await.0, 400);
    assert_eq!(fleet.send("POST", "/api/sql", None).await.0, 400);
}

#[tokio::test]
async fn a_cut_may_be_asked_for_with_an_empty_object() {
    let fleet = Fleet::start().await;
    let mut process = fleet.connect_all(1).await.remove(0);
    let answer = async {
        let id = process.request().await;
        process.reply(id, graph(&[], &[])).await;
    };
    let ((status, _), ()) = tokio::join!(fleet.send("POST", "/api/jump-now", Some(json!({}))), answer);
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_short_token_and_a_taken_port_are_told_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let short = Collector::start(options(&dir).with_token(Some("short".into()))).await;
    assert!(matches!(short, Err(StartError::Token(_))), "{short:?}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = Collector::start(options(&dir).with_http(address)).await;
    assert!(matches!(refused, Err(StartError::Listen { .. })), "{refused:?}");
}

#[tokio::test]
async fn stopping_closes_the_database_and_the_next_one_has_it_all() {
    let fleet = Fleet::start().await;
    let mut process = fleet.connect_all(1).await.remove(0);
    fleet.cut(&mut [(&mut process, graph(&[("x", "Lock")], &[]))]).await;
    let Fleet { collector, dir } = fleet;
    collector.stop().await;
    process.until_closed().await;
    let fleet = Fleet { collector: Collector::start(options(&dir)).await.unwrap(), dir };
    assert_eq!(fleet.get("/api/snapshots/1").await["nodes"], 1);
}
