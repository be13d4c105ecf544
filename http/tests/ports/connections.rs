//! Slow clients, the connection cap, WebSockets and the end of a server, over real sockets.

use std::time::Duration;

use crate::port::{Port, TOKEN, guarded, plain};
use crate::support::{Client, DEADLINE, get, once, request, soon};
use futures::{SinkExt as _, StreamExt as _};
use rpp_http::Limits;
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

const SHORT: Duration = Duration::from_millis(200);

type WebSocket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn websocket(port: &Port, path: &str) -> WebSocket {
    soon(tokio_tungstenite::connect_async(format!("ws://{}{path}", port.address))).await.unwrap().0
}

/// Waits until the port has a free place again.
async fn served_again(port: &Port) {
    soon(async {
        loop {
            let answer = Client::connect(port.address).await;
            let mut client = answer;
            client.send(get("/healthz")).await;
            match client.try_answer().await {
                Some(answer) if answer.status == 200 => break,
                Some(answer) => assert_eq!(answer.problem(), (503, "too_many_connections".into())),
                None => {}
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_off() {
    let port = plain(Limits::default().with_header_timeout(SHORT));
    for start in ["", "GET", "GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: "] {
        let mut client = Client::connect(port.address).await;
        client.send(start).await;
        assert!(client.rest().await.is_empty(), "{start:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let port = plain(Limits::default().with_idle_timeout(SHORT).with_header_timeout(DEADLINE));
    let mut client = Client::connect(port.address).await;
    assert_eq!(client.exchange(get("/healthz")).await.status, 200);
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn idle_connections_outlive_the_time_for_a_head_and_say_so() {
    let begun = std::time::Instant::now();
    let port = plain(Limits::default().with_header_timeout(SHORT));
    let mut idle = Client::connect(port.address).await;
    let answer = idle.exchange(get("/healthz")).await;
    assert_eq!((answer.header("connection"), answer.header("keep-alive")), (Some("keep-alive"), Some("timeout=75")));
    // Heads that have begun on other connections time out. On this one no head has begun, so it stays open.
    for _ in 0..3 {
        let mut late = Client::connect(port.address).await;
        late.send("GET").await;
        assert!(late.rest().await.is_empty());
    }
    assert!(begun.elapsed() > 2 * SHORT);
    assert_eq!(idle.exchange(get("/healthz")).await.status, 200);
    // The first head's time limit holds for the next head, too.
    idle.send("GET /healthz HTTP/1.1\r\n").await;
    assert!(idle.rest().await.is_empty());
}

#[tokio::test]
async fn whether_the_connection_goes_on_is_said_once_and_is_true() {
    let port = plain(Limits::default());
    let lines = |answer: &crate::support::Answer| answer.head.to_ascii_lowercase().matches("\r\nconnection:").count();
    for (version, headers, stays) in [
        ("1.0", "connection: keep-alive\r\n", true),
        ("1.0", "connection: Keep-Alive, x\r\n", true),
        ("1.0", "", false),
        ("1.0", "connection: close\r\n", false),
        ("1.1", "", true),
        ("1.1", "connection: close\r\n", false),
    ] {
        let mut client = Client::connect(port.address).await;
        let request = format!("GET /healthz HTTP/{version}\r\nhost: localhost\r\n{headers}\r\n");
        let answer = client.exchange(&request).await;
        assert_eq!((answer.status, answer.text(), lines(&answer)), (200, "ok", 1), "{answer:?}");
        assert!(answer.head.starts_with(&format!("HTTP/{version} ")), "{answer:?}");
        assert_eq!(answer.header("connection"), Some(if stays { "keep-alive" } else { "close" }), "{request}");
        assert_eq!(answer.header("keep-alive"), stays.then_some("timeout=75"), "{request}");
        if stays {
            assert_eq!(client.exchange(&request).await.status, 200, "{request}");
        } else {
            assert!(client.rest().await.is_empty(), "{request}");
        }
    }
    // A body of unknown length ends with the connection.
    let mut client = Client::connect(port.address).await;
    client.send("GET /flood HTTP/1.0\r\nhost: localhost\r\nconnection: keep-alive\r\n\r\n").await;
    let head = client.until("\r\n\r\n").await.unwrap();
    assert!(head.starts_with("HTTP/1.0 200") && head.contains("connection: close\r\n"), "{head}");
    assert!(!head.contains("keep-alive") && !head.contains("chunked"), "{head}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_a_408() {
    let port = plain(Limits::default().with_body_timeout(SHORT));
    let json = "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    for rest in
        ["content-length: 10\r\n\r\n", "content-length: 10\r\n\r\n{\"a\"", "transfer-encoding: chunked\r\n\r\n2\r\n{}"]
    {
        let mut client = Client::connect(port.address).await;
        assert_eq!(client.exchange(format!("{json}{rest}")).await.problem(), (408, "body_timeout".into()), "{rest}");
        assert!(client.rest().await.is_empty());
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_place() {
    let port = plain(Limits::default().with_write_timeout(SHORT).with_max_connections(1));
    let mut client = Client::connect(port.address).await;
    client.send(get("/flood")).await;
    served_again(&port).await;
    drop(client);
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let two = Limits::default().with_max_connections(2);
    let port = plain(two.with_max_connections_per_address(2).with_header_timeout(DEADLINE));
    let mut first = Client::connect(port.address).await;
    let mut second = Client::connect(port.address).await;
    assert_eq!(first.exchange(get("/healthz")).await.status, 200);
    assert_eq!(second.exchange(get("/healthz")).await.status, 200);
    let answer = once(port.address, request("POST", "/echo", "", &"x".repeat(60_000))).await;
    assert_eq!(answer.problem(), (503, "too_many_connections".into()));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(first.exchange(get("/healthz")).await.status, 200, "those who are in stay in");
    drop(second);
    served_again(&port).await;
}

#[tokio::test]
async fn a_hundred_too_many_harm_nobody() {
    let port = plain(Limits::default().with_max_connections(1).with_header_timeout(DEADLINE));
    let mut first = Client::connect(port.address).await;
    assert_eq!(first.exchange(get("/healthz")).await.status, 200);
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(Client::connect(port.address).await);
    }
    assert_eq!(first.exchange(get("/healthz")).await.status, 200);
    for mut one in crowd {
        let told = String::from_utf8(one.rest().await).unwrap();
        assert!(told.is_empty() || told.contains("too_many_connections"), "{told}");
    }
}

#[tokio::test]
async fn no_address_holds_all_places() {
    let port = plain(Limits::default().with_max_connections(4).with_header_timeout(DEADLINE));
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(port.address).await;
        assert_eq!(client.exchange(get("/healthz")).await.status, 200);
        held.push(client);
    }
    assert_eq!(once(port.address, get("/healthz")).await.problem(), (503, "too_many_connections".into()));
    let mut other = Client::connect_from("127.0.0.2", port.address).await;
    assert_eq!(other.exchange(get("/healthz")).await.status, 200, "a place is left for another address");
}

#[tokio::test]
async fn open_paths_have_places_of_their_own() {
    let port = guarded(Limits::default().with_header_timeout(DEADLINE));
    // More connections than there are places of any kind, from several addresses. None sends anything.
    let mut crowd = Vec::new();
    for n in 0..300 {
        crowd.push(Client::connect_from(["127.0.0.1", "127.0.0.2", "127.0.0.3"][n % 3], port.address).await);
    }
    for address in ["127.0.0.1", "127.0.0.2", "127.0.0.9"] {
        let mut client = Client::connect_from(address, port.address).await;
        let answer = client.exchange(get("/healthz")).await;
        assert_eq!((answer.status, answer.text()), (200, "ok"), "{address}");
        assert_eq!(answer.header("connection"), Some("close"), "one request each");
        assert!(client.rest().await.is_empty());
        let token = format!("authorization: Bearer {TOKEN}\r\n");
        let mut client = Client::connect_from(address, port.address).await;
        let answer = client.exchange(request("GET", "/peer", &token, "")).await;
        assert_eq!(answer.problem(), (503, "too_many_connections".into()), "{address}");
        assert!(answer.header("retry-after").is_some());
    }
    drop(crowd);
}

#[tokio::test]
async fn websockets_work_and_keep_their_place() {
    let port = plain(Limits::default().with_max_connections(1).with_header_timeout(SHORT));
    let mut socket = websocket(&port, "/ws").await;
    for n in 0..3 {
        soon(socket.send(Message::text(format!("hello {n}")))).await.unwrap();
        assert_eq!(soon(socket.next()).await.unwrap().unwrap(), Message::text(format!("hello {n}")));
    }
    assert_eq!(once(port.address, get("/healthz")).await.problem(), (503, "too_many_connections".into()));
    soon(socket.close(None)).await.unwrap();
    drop(socket);
    served_again(&port).await;
}

#[tokio::test]
async fn requests_in_flight_end_after_shutdown() {
    let port = plain(Limits::default().with_header_timeout(DEADLINE));
    let mut idle = Client::connect(port.address).await;
    assert_eq!(idle.exchange(get("/healthz")).await.status, 200);
    let mut busy = Client::connect(port.address).await;
    busy.send(get("/slow")).await;
    soon(port.entered.notified()).await;
    port.shutdown.cancel();
    assert!(idle.rest().await.is_empty(), "an idle connection ends at once");
    assert!(tokio::net::TcpStream::connect(port.address).await.is_err(), "nobody new comes in");
    assert!(!port.served.is_finished(), "the one in flight is waited for");
    port.release.notify_one();
    let answer = busy.answer().await;
    assert_eq!((answer.status, answer.text()), (200, "done"));
    assert!(busy.rest().await.is_empty());
    port.stopped().await;
}

#[tokio::test]
async fn what_does_not_end_is_cut_at_the_deadline() {
    let port = plain(Limits::default().with_drain(SHORT));
    let mut stuck = Client::connect(port.address).await;
    stuck.send(get("/slow")).await;
    soon(port.entered.notified()).await;
    let mut half = Client::connect(port.address).await;
    half.send("POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{")
        .await;
    let mut deaf = websocket(&port, "/deaf").await;
    port.shutdown.cancel();
    assert!(stuck.rest().await.is_empty());
    half.rest().await;
    let end = soon(deaf.next()).await;
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
    port.stopped().await;
}

#[tokio::test]
async fn websockets_hear_of_the_shutdown() {
    let port = plain(Limits::default());
    let mut socket = websocket(&port, "/ws").await;
    port.shutdown.cancel();
    let Some(Ok(Message::Close(Some(frame)))) = soon(socket.next()).await else { panic!("expected a close frame") };
    assert_eq!((frame.code, frame.reason.as_str()), (CloseCode::Away, "shutting down"));
    drop(socket);
    port.stopped().await;
}
