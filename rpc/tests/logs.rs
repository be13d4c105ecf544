//! The token is never in the log or in an answer, at the most verbose level.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod node;
#[path = "../../http/tests/support/mod.rs"]
mod support;

use std::{
    io,
    sync::{Arc, Mutex},
};

use node::{Sessions, TOKEN, full, open, with_sessions};
use rpp_rpc::ROUTES;
use support::{once, request};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One test, because the subscriber is global to the process.
#[tokio::test]
async fn no_token_is_logged_or_answered() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).init();
    let sessions = Sessions::default();
    sessions.put(full(9));
    let port = open(with_sessions(&sessions));
    let guess = "a-wrong-token-that-somebody-tried";
    for token in [TOKEN, guess] {
        let header = format!("authorization: Bearer {token}\r\n");
        for route in ROUTES {
            let path = route.path.replace("{session}", "7");
            for (method, body) in [("GET", ""), ("POST", "{}"), ("DELETE", ""), ("PUT", "x")] {
                for path in [path.clone(), format!("{path}?token={token}")] {
                    let answer = once(port.address, request(method, &path, &header, body)).await;
                    assert!(!answer.head.contains(token) && !answer.text().contains(token), "{answer:?}");
                }
            }
        }
    }
    port.shutdown.cancel();
    port.stopped().await;
    tracing::info!("the log is listened to");
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("the log is listened to"));
    assert!(!text.contains(TOKEN) && !text.contains(guess), "{text}");
}
