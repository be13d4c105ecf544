//! Who may connect.

use std::time::Duration;

use crate::support::{Server, TOKEN, registry, soon, start};
use futures::StreamExt as _;
use http::{HeaderName, HeaderValue, StatusCode, header};
use rpp_introspection::{Options, ServeError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error, client::IntoClientRequest as _},
};

/// The status of the answer: 101 when the server lets the client in.
async fn status(url: String, headers: &[(HeaderName, &str)]) -> StatusCode {
    Box::pin(attempt(url, headers)).await
}

async fn attempt(url: String, headers: &[(HeaderName, &str)]) -> StatusCode {
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    }
    match soon(connect_async(request)).await {
        Ok((_, response)) => response.status(),
        Err(Error::Http(response)) => {
            let body: serde_json::Value = serde_json::from_slice(response.body().as_deref().unwrap()).unwrap();
            assert!(body["error"].is_string() && body["code"].is_string(), "{body}");
            assert!(!body.to_string().contains("token-of"), "tokens are not echoed: {body}");
            response.status()
        }
        Err(other) => panic!("{other}"),
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn server() -> Server {
    let options = Options::new(TOKEN.into()).with_allowed_origins(["https://observer.example".to_owned()]);
    start(&registry(), options)
}

#[tokio::test]
async fn the_token_may_stand_in_the_header_or_the_query() {
    let server = server();
    let right = bearer(TOKEN);
    let wrong = bearer("a-token-of-somebody-else");
    assert_eq!(status(server.url(), &[(header::AUTHORIZATION, &right)]).await, 101);
    assert_eq!(status(format!("{}?token={TOKEN}", server.url()), &[]).await, 101);
    assert_eq!(status(server.url(), &[]).await, 401);
    assert_eq!(status(server.url(), &[(header::AUTHORIZATION, &wrong)]).await, 401);
    assert_eq!(status(format!("{}?token=a-token-of-somebody-else", server.url()), &[]).await, 401);
}

#[tokio::test]
async fn a_foreign_origin_or_host_is_forbidden() {
    let server = server();
    let token = bearer(TOKEN);
    let own = format!("http://{}", server.address);
    for (name, value, expected) in [
        (header::ORIGIN, "https://evil.example", 403),
        (header::ORIGIN, "null", 403),
        (header::HOST, "evil.example", 403),
        (header::ORIGIN, "https://observer.example", 101),
        (header::ORIGIN, &own, 101),
    ] {
        let got = status(server.url(), &[(header::AUTHORIZATION, &token), (name.clone(), value)]).await;
        assert_eq!(got.as_u16(), expected, "{name}: {value}");
    }
}

#[tokio::test]
async fn the_path_is_taken_as_it_stands() {
    let server = server();
    let token = bearer(TOKEN);
    for (path, expected) in [("", 101), ("/", 404), ("/x", 404), ("x", 404)] {
        let url = format!("{}{path}", server.url());
        assert_eq!(status(url, &[(header::AUTHORIZATION, &token)]).await.as_u16(), expected, "{path:?}");
    }
}

/// The whole answer to one request that must not be upgraded.
async fn ask(server: &Server, request: String) -> String {
    let mut socket = soon(tokio::net::TcpStream::connect(server.address)).await.unwrap();
    soon(socket.write_all(request.as_bytes())).await.unwrap();
    let mut answer = String::new();
    soon(socket.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn only_targets_in_origin_form_reach_the_route() {
    let server = server();
    for token in [String::new(), format!("authorization: {}\r\n", bearer(TOKEN))] {
        for (line, expected) in
            [("GET http://localhost/introspect", "400 "), ("OPTIONS *", "404 "), ("CONNECT localhost:1", "405 ")]
        {
            let rest = "HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
            let answer = ask(&server, format!("{line} {rest}{token}\r\n")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{line}: {answer}");
        }
    }
}

#[tokio::test]
async fn clients_are_pinged() {
    let server = start(&registry(), Options::new(TOKEN.into()).with_ping_interval(Duration::from_millis(10)));
    let (mut socket, _) = soon(connect_async(format!("{}?token={TOKEN}", server.url()))).await.unwrap();
    for _ in 0..3 {
        soon(async { while !socket.next().await.unwrap().unwrap().is_ping() {} }).await;
    }
}

#[tokio::test]
async fn the_33rd_client_is_turned_away_until_another_leaves() {
    let server = server();
    let mut clients = Vec::new();
    for _ in 0..32 {
        clients.push(server.connect().await);
    }
    let token = bearer(TOKEN);
    assert_eq!(status(server.url(), &[(header::AUTHORIZATION, &token)]).await, 503);
    for client in &mut clients {
        client.greeting().await;
    }
    clients.pop().unwrap().connection.close().await;
    soon(async {
        while status(server.url(), &[(header::AUTHORIZATION, &token)]).await != 101 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_short_token_is_refused_at_start() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let served =
        rpp_introspection::serve(listener, registry(), Options::new("short".into()), std::future::pending()).await;
    assert!(matches!(served, Err(ServeError::Token(_))));
}
