//! Which requests the gate lets through, over real sockets.

use crate::port::{TOKEN, guarded, plain};
use crate::support::{Client, get, once, request};
use rpp_http::Limits;

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

#[tokio::test]
async fn answers_and_problems_have_one_shape() {
    let port = plain(Limits::default());
    let mut client = Client::connect(port.address).await;
    let answer = client.exchange(get("/healthz")).await;
    assert_eq!((answer.status, answer.text()), (200, "ok"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(client.exchange(get("/nowhere")).await.problem(), (404, "not_found".into()));
    let wrong_method = client.exchange(request("PUT", "/healthz", "", "")).await;
    assert_eq!(wrong_method.problem(), (405, "method_not_allowed".into()));
    assert_eq!(client.exchange(get("/ws")).await.problem(), (400, "invalid".into()));
    let own = client.socket.local_addr().unwrap().to_string();
    assert_eq!(client.exchange(get("/peer")).await.text(), own);
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_forbidden_before_the_token_is_looked_at() {
    let port = guarded(Limits::default());
    for (headers, code) in [
        ("host: evil.example\r\n", "host_not_allowed"),
        ("host: \r\n", "host_not_allowed"),
        ("host: localhost\r\nhost: localhost\r\n", "host_not_allowed"),
        ("host: localhost\r\norigin: http://evil.example\r\n", "origin_not_allowed"),
        ("host: localhost\r\norigin: null\r\n", "origin_not_allowed"),
    ] {
        let answer = once(port.address, format!("GET /healthz HTTP/1.1\r\n{headers}\r\n")).await;
        assert_eq!(answer.problem(), (403, code.into()), "{headers}");
        assert!(!answer.head.to_ascii_lowercase().contains("access-control"), "no CORS headers: {}", answer.head);
    }
    let none = once(port.address, format!("GET /peer HTTP/1.1\r\n{}\r\n", bearer(TOKEN))).await;
    assert_eq!(none.problem(), (403, "host_not_allowed".into()));
    let own = format!("origin: http://localhost\r\n{}", bearer(TOKEN));
    assert_eq!(once(port.address, request("GET", "/peer", &own, "")).await.status, 200);
}

#[tokio::test]
async fn the_token_is_asked_for_before_the_body() {
    let port = guarded(Limits::default());
    let mut client = Client::connect(port.address).await;
    let head = "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 10\r\n";
    let answer = client.exchange(format!("{head}expect: 100-continue\r\n\r\n")).await;
    assert_eq!(answer.problem(), (401, "unauthorized".into()));
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    assert!(client.rest().await.is_empty(), "the connection ends: its body was never read");
    // The same when a part of the body has been sent, and when the body has the wrong type and is too large.
    let mut client = Client::connect(port.address).await;
    let head = "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ncontent-length: 1000000\r\n\r\n";
    assert_eq!(client.exchange(format!("{head}{}", "x".repeat(100_000))).await.status, 401);
    assert_eq!(once(port.address, get("/healthz")).await.status, 200, "an open path needs none");
    assert_eq!(once(port.address, get("/nowhere")).await.status, 401, "a path that does not exist does");
    assert_eq!(once(port.address, get("/healthz/")).await.status, 401);
}

#[tokio::test]
async fn wrong_tokens_are_throttled_and_a_right_one_passes() {
    let port = guarded(Limits::default());
    let mut client = Client::connect(port.address).await;
    for _ in 0..20 {
        assert_eq!(client.exchange(request("GET", "/peer", &bearer("wrong"), "")).await.status, 401);
    }
    let answer = client.exchange(request("GET", "/peer", &bearer("wrong"), "")).await;
    assert_eq!(answer.problem(), (429, "too_many_wrong_tokens".into()));
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() <= 61);
    assert_eq!(client.exchange(request("GET", "/peer", &bearer(TOKEN), "")).await.status, 200);
}

#[tokio::test]
async fn routes_never_see_the_token() {
    let port = guarded(Limits::default());
    let answer = once(port.address, request("GET", &format!("/uri?a=1&token={TOKEN}"), &bearer(TOKEN), "")).await;
    assert_eq!((answer.status, answer.text()), (200, "a=1|"));
    let answer = once(port.address, get(&format!("/uri?token={TOKEN}"))).await;
    assert_eq!((answer.status, answer.text()), (200, "|"));
    assert_eq!(once(port.address, get("/uri?token=wrong")).await.status, 401);
}

#[tokio::test]
async fn bodies_are_json_and_bounded() {
    let port = plain(Limits::default());
    let post = |headers: &str, body: &str| format!("POST /echo HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n{body}");
    for media in ["application/json", "Application/JSON; charset=utf-8"] {
        let answer = once(port.address, post(&format!("content-type: {media}\r\ncontent-length: 2\r\n"), "{}")).await;
        assert_eq!((answer.status, answer.text()), (200, "{}"), "{media}");
    }
    let json = "content-type: application/json\r\n";
    for headers in [
        String::new(),
        "content-type: text/plain\r\n".into(),
        "content-type: application/jsonx\r\n".into(),
        "content-type: application/x-www-form-urlencoded\r\n".into(),
        format!("{json}content-type: text/plain\r\n"),
    ] {
        let answer = once(port.address, post(&format!("{headers}content-length: 2\r\n"), "{}")).await;
        assert_eq!(answer.problem(), (415, "unsupported_media_type".into()), "{headers}");
    }
    let answer = once(port.address, post("content-length: 0\r\n", "")).await;
    assert_eq!((answer.status, answer.text()), (200, ""), "no body needs no type");
    let answer = once(port.address, post("transfer-encoding: chunked\r\n", "0\r\n\r\n")).await;
    assert_eq!((answer.status, answer.text()), (200, ""), "nor does an encoded one that is empty");
    let answer = once(port.address, post("transfer-encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n")).await;
    assert_eq!(answer.problem(), (415, "unsupported_media_type".into()));

    let exact = "x".repeat(64 * 1024);
    let answer = once(port.address, post(&format!("{json}content-length: 65536\r\n"), &exact)).await;
    assert_eq!((answer.status, answer.body.len()), (200, 65_536));
    let more = format!("{exact}x");
    let answer = once(port.address, post(&format!("{json}content-length: 65537\r\n"), &more)).await;
    assert_eq!(answer.problem(), (413, "too_large".into()));
    let announced = once(port.address, post(&format!("{json}content-length: 9000000000000\r\n"), "x")).await;
    assert_eq!(announced.status, 413);

    let chunked = format!("{json}transfer-encoding: chunked\r\n");
    let answer = once(port.address, post(&chunked, &format!("10000\r\n{exact}\r\n0\r\n\r\n"))).await;
    assert_eq!((answer.status, answer.body.len()), (200, 65_536));
    let answer = once(port.address, post(&chunked, &format!("10000\r\n{exact}\r\n1\r\nx\r\n0\r\n\r\n"))).await;
    assert_eq!(answer.problem(), (413, "too_large".into()));
    let answer = once(port.address, post(&chunked, "2\r\n{}\r\nnot a chunk\r\n")).await;
    assert_eq!(answer.problem(), (400, "malformed_body".into()));
}

#[tokio::test]
async fn a_refused_large_body_does_not_take_the_answer_away() {
    let port = plain(Limits::default());
    let body = "x".repeat(600_000);
    let head = "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 600000\r\n";
    for _ in 0..20 {
        assert_eq!(once(port.address, format!("{head}\r\n{body}")).await.problem(), (413, "too_large".into()));
    }
}

#[tokio::test]
async fn a_request_with_two_lengths_is_never_two_requests() {
    let port = plain(Limits::default());
    let hidden = "GET /peer HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let json = "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    // The encoding is used, and the connection is closed: what follows is never read as a request.
    for both in
        ["content-length: 4\r\ntransfer-encoding: chunked\r\n", "transfer-encoding: chunked\r\ncontent-length: 4\r\n"]
    {
        let mut client = Client::connect(port.address).await;
        let answer = client.exchange(format!("{json}{both}\r\n2\r\n{{}}\r\n0\r\n\r\n{hidden}")).await;
        assert_eq!((answer.status, answer.text()), (200, "{}"), "{both}");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(client.rest().await.is_empty(), "{both}");
    }
    for bad in [
        "content-length: 2\r\ncontent-length: 4\r\n",
        "content-length: +2\r\n",
        "content-length: 2, 2\r\n",
        "content-length: -1\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding : chunked\r\n",
        "x: y\r\n transfer-encoding: chunked\r\n",
    ] {
        let mut client = Client::connect(port.address).await;
        client.send(format!("{json}{bad}\r\n{{}}{hidden}")).await;
        let all = String::from_utf8(client.rest().await).unwrap();
        assert!(all.starts_with("HTTP/1.1 4"), "{bad}: {all}");
        assert_eq!(all.matches("HTTP/1.1").count(), 1, "{bad}: {all}");
    }
}

#[tokio::test]
async fn only_targets_in_origin_form_reach_the_routes() {
    for port in [plain(Limits::default()), guarded(Limits::default())] {
        for token in [String::new(), bearer(TOKEN), bearer("wrong")] {
            for (line, expected) in [
                ("GET http://127.0.0.1/healthz", (400, "invalid_target")),
                ("GET http://localhost/uri?a=1", (400, "invalid_target")),
                ("GET http://evil.example/healthz", (400, "invalid_target")),
                ("POST https://localhost/echo", (400, "invalid_target")),
                ("OPTIONS *", (404, "not_found")),
                ("GET *", (404, "not_found")),
                ("CONNECT localhost:22", (405, "method_not_allowed")),
                ("CONNECT evil.example:22", (405, "method_not_allowed")),
            ] {
                let request = format!("{line} HTTP/1.1\r\nhost: localhost\r\n{token}\r\n");
                let (status, code) = once(port.address, request).await.problem();
                assert_eq!((status, &*code), expected, "{line} {token}");
            }
        }
    }
}

#[tokio::test]
async fn odd_paths_are_answered() {
    let port = guarded(Limits::default());
    let rest = format!("HTTP/1.1\r\nhost: localhost\r\n{}\r\n", bearer(TOKEN));
    for (line, expected) in [
        ("GET /healthz?a#b", 200),
        ("GET //healthz", 404),
        ("GET /%68ealthz", 404),
        ("GET /../healthz", 404),
        ("BREW /healthz", 405),
    ] {
        assert_eq!(once(port.address, format!("{line} {rest}")).await.status, expected, "{line}");
    }
    assert_eq!(once(port.address, get("/%68ealthz")).await.status, 401, "open is what is spelt so");
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let port = guarded(Limits::default());
    let mut client = Client::connect(port.address).await;
    for (path, token) in [("/healthz", String::new()), ("/uri?a=1", bearer(TOKEN)), ("/nowhere", bearer(TOKEN))] {
        let expected = once(port.address, request("GET", path, &token, "")).await;
        client.send(request("HEAD", path, &token, "")).await;
        let head = client.until("\r\n\r\n").await.unwrap();
        let without_date = |head: &str| {
            let lines: Vec<_> = head.lines().filter(|line| !line.is_empty() && !line.starts_with("date:")).collect();
            lines.join("\n")
        };
        // The next bytes on the connection are the next head, so there was no body.
        assert_eq!(without_date(&head), without_date(&expected.head), "{path}");
    }
    client.send(request("HEAD", "/peer", "", "")).await;
    assert!(client.until("\r\n\r\n").await.unwrap().starts_with("HTTP/1.1 401 "));
}

#[tokio::test]
async fn probes_need_no_host() {
    let port = guarded(Limits::default());
    for version in ["1.0", "1.1"] {
        for method in ["GET", "HEAD"] {
            let mut client = Client::connect(port.address).await;
            client.send(format!("{method} /healthz HTTP/{version}\r\nconnection: close\r\n\r\n")).await;
            let all = String::from_utf8(client.rest().await).unwrap();
            assert!(all.starts_with(&format!("HTTP/{version} 200 OK\r\n")), "{all}");
            assert_eq!(all.ends_with("\r\n\r\nok"), method == "GET", "{all}");
        }
    }
    let mut client = Client::connect(port.address).await;
    let answer = client.exchange("GET /healthz HTTP/1.0\r\nhost: evil.example\r\n\r\n").await;
    assert_eq!(answer.problem(), (403, "host_not_allowed".into()), "a wrong one is wrong all the same");
    let answer = once(port.address, format!("GET /peer HTTP/1.0\r\n{}\r\n", bearer(TOKEN))).await;
    assert_eq!(answer.problem(), (403, "host_not_allowed".into()));
}

#[tokio::test]
async fn what_is_not_http_ends_the_connection() {
    let port = plain(Limits::default());
    for bytes in [
        b"\0\0\0\0\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
        format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(100_000)).into_bytes(),
        format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x: y\r\n".repeat(200)).into_bytes(),
        format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "y".repeat(100_000)).into_bytes(),
    ] {
        let mut client = Client::connect(port.address).await;
        client.send(&bytes).await;
        let answer = client.rest().await;
        let start = String::from_utf8_lossy(&bytes[..60.min(bytes.len())]).into_owned();
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{start:?} ({} bytes): {:?}",
            bytes.len(),
            String::from_utf8_lossy(&answer)
        );
    }
    assert_eq!(once(port.address, get("/healthz")).await.status, 200);
}
