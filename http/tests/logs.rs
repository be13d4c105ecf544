//! What a port writes to the log at the most verbose level: the warning about TLS, one record for a panic, and never a
//! token.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod port;
mod support;

use std::{
    io,
    sync::{Arc, Mutex},
};

use port::{TOKEN, guarded};
use rpp_http::{
    Limits,
    guard::{Gate, HostOriginRules},
};
use support::{Client, get, once, request, soon};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

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
async fn the_log_warns_and_keeps_secrets() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .init();
    rpp_http::panics::install();

    let guess = "a-wrong-token-that-somebody-tried";
    let port = guarded(Limits::default());
    for token in [TOKEN, guess] {
        let header = format!("authorization: Bearer {token}\r\n");
        for path in ["/peer", "/nowhere", "/echo", &format!("/uri?token={token}"), &format!("/ws?token={token}")] {
            let answer = once(port.address, request("GET", path, &header, "")).await;
            assert!(!answer.head.contains(token) && !answer.text().contains(token), "{answer:?}");
            once(port.address, request("POST", path, &header, "{}")).await;
            once(port.address, get(path)).await;
        }
    }
    assert!(!log.text().contains("has no TLS"), "a loopback listener needs no warning");

    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let gate = Gate::new(HostOriginRules::default());
    let routes = warp::Filter::map(warp::any(), || "ok");
    soon(rpp_http::serve(listener, routes, gate, Limits::default(), std::future::ready(()))).await.unwrap();
    let text = log.text();
    assert!(text.contains("has no TLS"), "{text}");
    assert!(text.contains("TRACE") || text.contains("DEBUG"), "the log was listened to: {text}");
    assert!(!text.contains(TOKEN) && !text.contains(guess), "{text}");

    // A route that panics is answered, and its connection stays open.
    let mut client = Client::connect(port.address).await;
    let token = format!("authorization: Bearer {TOKEN}\r\n");
    let before = rpp_http::panics::count();
    assert_eq!(client.exchange(request("GET", "/panics", &token, "")).await.problem(), (500, "internal".into()));
    assert_eq!(client.exchange(get("/healthz")).await.status, 200);
    assert_eq!(rpp_http::panics::count(), before + 1);
    let records: Vec<serde_json::Value> =
        log.text().lines().map(|line| serde_json::from_str(line).expect("every line is a record")).collect();
    let errors: Vec<_> = records.iter().filter(|record| record["level"] == "ERROR").collect();
    let [record] = errors[..] else { panic!("one record for one panic: {errors:?}") };
    assert_eq!(record["panic"], "a test's\n panic");
    assert!(record["place"].as_str().unwrap().contains("port/mod.rs:"), "{record}");
}
