//! A short loopback address that adds the token.

use futures::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use rpp_introspection::{
    client::{Forward, ForwardError},
    envelope,
    limits::FORWARDED_CLIENTS,
    proto::{
        ClientCommand, Version,
        client_command::{Command, Source},
        server_message::Payload,
    },
};
use tokio::{net::TcpStream, sync::oneshot};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, protocol::frame::coding::CloseCode},
};

use crate::support::{TOKEN, options, registry, simulate, soon, start};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A forwarder to a URL; ends when the sender is dropped.
async fn forward(url: &str, origins: &[&str]) -> (String, oneshot::Sender<()>) {
    let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
    let forward = Forward::listen("127.0.0.1:0".parse().unwrap(), url, &TOKEN.into(), &origins).await.unwrap();
    let short = format!("ws://{}", forward.address());
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(forward.run(|_| {}, async { drop(stopped.await) }));
    (short, stop)
}

async fn payloads(socket: &mut Socket) -> Vec<Payload> {
    loop {
        if let Message::Binary(bytes) = soon(socket.next()).await.unwrap().unwrap() {
            return envelope::messages(bytes).unwrap().map(|part| part.unwrap().message.payload.unwrap()).collect();
        }
    }
}

/// As the observer toolkit sends them: with version 0.
async fn command(socket: &mut Socket, id: u64, command: Command, source: Source) {
    let command = ClientCommand {
        version: Some(Version { version: 0 }),
        id,
        command: command.into(),
        source: source.into(),
        config: None,
    };
    socket.send(Message::Binary(command.encode_to_vec().into())).await.unwrap();
}

async fn refused(short: &str, header: &'static str, value: &str) -> u16 {
    let mut request = short.into_client_request().unwrap();
    request.headers_mut().insert(header, value.parse().unwrap());
    match soon(connect_async(request)).await {
        Err(Error::Http(response)) => response.status().as_u16(),
        Ok(_) => 101,
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_toolkit_s_commands_go_through_a_short_address_without_a_token() {
    let registry = registry();
    let _open = simulate(&registry, 1);
    let server = start(&registry, options());
    let (short, stop) = forward(&server.url(), &[]).await;
    let (mut socket, _) = soon(connect_async(&short)).await.unwrap();
    let mut seen = payloads(&mut socket).await;
    command(&mut socket, 1, Command::Hello, Source::State).await;
    command(&mut socket, 2, Command::Request, Source::Runtime).await;
    command(&mut socket, 3, Command::PushEnable, Source::Events).await;
    command(&mut socket, 4, Command::PushEnable, Source::State).await;
    let all = |seen: &[Payload]| {
        let count = |is: fn(&Payload) -> bool| seen.iter().filter(|payload| is(payload)).count();
        count(|p| matches!(p, Payload::Runtime(_))) == 2
            && count(|p| matches!(p, Payload::State(_))) >= 2
            && count(|p| matches!(p, Payload::Response(response) if response.error.is_empty())) == 4
    };
    while !all(&seen) {
        seen.extend(payloads(&mut socket).await);
    }
    // A client that closes gets an answer; without one, a browser reports a broken connection.
    let (mut leaving, _) = soon(connect_async(&short)).await.unwrap();
    payloads(&mut leaving).await;
    leaving.close(None).await.unwrap();
    let answered = loop {
        if let Message::Close(frame) = soon(leaving.next()).await.unwrap().unwrap() {
            break frame;
        }
    };
    assert_eq!(answered, None);
    // A forwarder that ends tells its clients.
    drop(stop);
    let end = loop {
        if let Message::Close(frame) = soon(socket.next()).await.unwrap().unwrap() {
            break frame.unwrap();
        }
    };
    assert_eq!(end.code, CloseCode::Away);
    server.stop().await;
}

#[tokio::test]
async fn only_this_machine_and_its_web_pages_get_in() {
    let server = start(&registry(), options());
    let (short, _stop) = forward(&server.url(), &["https://observer.example"]).await;
    for origin in ["http://localhost:3000", "http://127.0.0.1:8080", "http://[::1]:9", "https://observer.example"] {
        assert_eq!(refused(&short, "origin", origin).await, 101, "{origin}");
    }
    for origin in ["https://evil.example", "http://localhost.evil.example", "null", "http://10.0.0.7:3000"] {
        assert_eq!(refused(&short, "origin", origin).await, 403, "{origin}");
    }
    assert_eq!(refused(&short, "host", "rebound.evil.example").await, 403);
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.7:0"] {
        let listening = Forward::listen(address.parse().unwrap(), &server.url(), &TOKEN.into(), &[]).await;
        assert!(matches!(listening, Err(ForwardError::NotLoopback(_))), "{address}");
    }
}

#[tokio::test]
async fn places_are_bounded_and_a_node_that_refuses_is_told() {
    let server = start(&registry(), options());
    let (short, _stop) = forward(&server.url(), &[]).await;
    let mut held = Vec::new();
    for _ in 0..FORWARDED_CLIENTS {
        let (mut socket, _) = soon(connect_async(&short)).await.unwrap();
        payloads(&mut socket).await;
        held.push(socket);
    }
    assert_eq!(refused(&short, "x-one-more", "1").await, 503);
    // A place that became free can be used again.
    drop(held.pop());
    while refused(&short, "x-one-more", "2").await == 503 {
        tokio::task::yield_now().await;
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (short, _stop) = forward(&format!("ws://{nobody}/introspect"), &[]).await;
    let (mut socket, _) = soon(connect_async(&short)).await.unwrap();
    let Message::Close(Some(frame)) = soon(socket.next()).await.unwrap().unwrap() else { panic!("a close") };
    assert_eq!(frame.code, CloseCode::Error);
    assert!(frame.reason.contains("no connection to the node"), "{}", frame.reason);
}
