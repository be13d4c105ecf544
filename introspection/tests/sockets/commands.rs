//! Configuration, and messages that break the rules.

use crate::support::{self, Server, TOKEN, registry, soon, start};
use futures::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use rpp_introspection::{
    Options,
    proto::{
        ClientCommand, Configuration,
        client_command::{Command, Source},
    },
};
use tokio_tungstenite::tungstenite::{Error, Message};

type Raw = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn raw(server: &Server) -> Raw {
    let (mut socket, _) =
        soon(tokio_tungstenite::connect_async(format!("{}?token={TOKEN}", server.url()))).await.unwrap();
    for _ in 0..2 {
        soon(socket.next()).await.unwrap().unwrap();
    }
    socket
}

/// The code and reason with which the server closes.
async fn closed(socket: &mut Raw) -> (u16, String) {
    loop {
        match soon(socket.next()).await {
            Some(Ok(Message::Close(frame))) => {
                let frame = frame.unwrap();
                return (frame.code.into(), frame.reason.to_string());
            }
            Some(Ok(_)) => {}
            other => panic!("closed without a reason: {other:?}"),
        }
    }
}

#[tokio::test]
async fn hello_and_update_answer_with_the_effective_configuration() {
    let server = start(&registry(), Options::new(TOKEN.into()));
    let mut client = server.connect().await;
    client.greeting().await;
    let config = client.hello(0).await;
    assert_eq!((config.state_snapshot_interval_ms, config.retention_period_ms), (2_000, 120_000));
    for (asked, effective) in
        [((1, 1), (200, 1_000)), ((u64::MAX, u64::MAX), (60_000, 3_600_000)), ((500, 0), (500, 3_600_000))]
    {
        let asked = Configuration { state_snapshot_interval_ms: asked.0, retention_period_ms: asked.1 };
        let config = client.hello_with(asked).await;
        assert_eq!((config.state_snapshot_interval_ms, config.retention_period_ms), effective);
    }
    server.stop().await;
}

#[tokio::test]
async fn each_command_gets_one_response_with_its_id() {
    let server = start(&registry(), Options::new(TOKEN.into()));
    let mut client = server.connect().await;
    client.greeting().await;
    client.hello(0).await;
    let mut ids = Vec::new();
    for command in [Command::PushPause, Command::PushPause, Command::PushResume, Command::PushResume] {
        ids.push(client.send(command, Source::State).await);
    }
    for id in ids {
        let response = client.response().await;
        assert_eq!((response.id, response.error.as_str()), (id, ""));
    }
}

#[tokio::test]
async fn what_breaks_the_rules_closes_that_connection_with_a_reason() {
    let server = start(&registry(), Options::new(TOKEN.into()));
    let mut bystander = server.connect().await;
    bystander.greeting().await;
    bystander.hello(0).await;
    let before_hello = ClientCommand { command: Command::Request.into(), ..ClientCommand::default() }.encode_to_vec();
    for (message, code, word) in [
        (Message::binary(vec![0xff; 10]), 1007, "ClientCommand"),
        (Message::binary(before_hello), 1008, "HELLO"),
        (Message::binary(vec![0; 64 * 1024 + 1]), 1009, "64 KiB"),
        (Message::text("x".repeat(64 * 1024 + 1)), 1009, "64 KiB"),
        (Message::binary(vec![0; 3 * 1024 * 1024]), 1009, "64 KiB"),
    ] {
        let socket = raw(&server).await;
        let size = message.len();
        // The server may stop reading before all is written.
        let (mut sink, mut stream) = socket.split();
        let sent = tokio::spawn(async move {
            let result = sink.send(message).await;
            (sink, result)
        });
        let (got, reason) = loop {
            match soon(stream.next()).await {
                Some(Ok(Message::Close(Some(frame)))) => break (u16::from(frame.code), frame.reason.to_string()),
                Some(Ok(_)) => {}
                other => panic!("{size} bytes: closed without a reason: {other:?}"),
            }
        };
        assert!(got == code && reason.contains(word), "{size} bytes: {got} {reason}");
        sent.abort();
    }
    bystander.expect_silence().await;
}

#[tokio::test]
async fn a_text_at_the_bound_is_a_ready() {
    let server = start(&registry(), support::options());
    let mut socket = raw(&server).await;
    let mut other = server.connect().await;
    other.greeting().await;
    other.hello(10).await;
    soon(socket.send(Message::text("x".repeat(64 * 1024)))).await.unwrap();
    let message = soon(socket.next()).await.unwrap().unwrap();
    assert!(message.is_binary());
}

#[tokio::test]
async fn a_stopping_node_says_goodbye() {
    let server = start(&registry(), Options::new(TOKEN.into()));
    let mut socket = raw(&server).await;
    let stopped = tokio::spawn(server.stop());
    let (code, reason) = closed(&mut socket).await;
    assert_eq!((code, reason.as_str()), (1001, "the node stops"));
    while !matches!(soon(socket.next()).await, None | Some(Err(Error::ConnectionClosed | Error::AlreadyClosed))) {}
    soon(stopped).await.unwrap();
}
