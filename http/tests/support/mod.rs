//! A raw HTTP/1.1 client: sends exactly the bytes it is given, and reads answers.
#![allow(dead_code, unreachable_pub, clippy::missing_panics_doc)]

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Longer than anything in a test, so that a hang becomes a failure.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Fails instead of hanging.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("took too long")
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value.trim()))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status and code of a problem answer, whose shape is checked.
    pub fn problem(&self) -> (u16, String) {
        let json = self.json();
        let fields: Vec<_> = json.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["code", "error"], "{self:?}");
        assert!(json["error"].as_str().is_some_and(|error| error.len() > 10), "{self:?}");
        (self.status, json["code"].as_str().unwrap().to_owned())
    }
}

pub struct Client {
    pub socket: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { socket: soon(TcpStream::connect(address)).await.unwrap(), buffer: Vec::new() }
    }

    /// Connects from another address of the loopback network.
    pub async fn connect_from(own: &str, address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(own.parse().unwrap(), 0)).unwrap();
        Self { socket: soon(socket.connect(address)).await.unwrap(), buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.socket.write_all(bytes.as_ref())).await.unwrap();
    }

    /// The next answer, or `None` when the connection ends before one.
    pub async fn try_answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at;
            }
            self.fill().await?;
        };
        let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
        self.buffer.drain(..end + 4);
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: Vec::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.buffer.len() < length {
            self.fill().await?;
        }
        answer.body = self.buffer.drain(..length).collect();
        Some(answer)
    }

    pub async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("an answer before the end of the connection")
    }

    pub async fn exchange(&mut self, bytes: impl AsRef<[u8]>) -> Answer {
        self.send(bytes).await;
        self.answer().await
    }

    /// Everything up to and including `mark`; `None` when the connection ends before it.
    pub async fn until(&mut self, mark: &str) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|bytes| bytes == mark.as_bytes()) {
                let taken: Vec<_> = self.buffer.drain(..at + mark.len()).collect();
                return Some(String::from_utf8(taken).unwrap());
            }
            self.fill().await?;
        }
    }

    /// Everything until the server ends the connection, cleanly or not.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await.is_some() {}
        std::mem::take(&mut self.buffer)
    }

    async fn fill(&mut self) -> Option<()> {
        match soon(self.socket.read_buf(&mut self.buffer)).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }
}

/// One request on a connection of its own.
pub async fn once(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Answer {
    Client::connect(address).await.exchange(bytes).await
}

/// A request with a body, if it is not empty, as JSON.
pub fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let body_headers = match body.len() {
        0 => String::new(),
        length => format!("content-type: application/json\r\ncontent-length: {length}\r\n"),
    };
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}{body_headers}\r\n{body}")
}

pub fn get(path: &str) -> String {
    request("GET", path, "", "")
}
