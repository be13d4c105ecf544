//! `GET /p2p/snapshots/{session}/events`.

use std::time::Instant;

use crate::node::{Port, Sessions, full, id, open, planned, with_sessions};
use crate::support::{Client, soon};
use rpp_rpc::{EVENT_INTERVAL, MAX_EVENT_STREAMS};
use rpp_runtime::{SessionState, SnapshotStreamStatus};
use serde_json::{Value, json};

struct Events(Client);

impl Events {
    async fn open(port: &Port, path: &str) -> Self {
        let mut client = port.connect().await;
        let request = port.request("GET", path, "").replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
        client.send(request).await;
        let head = client.until("\r\n\r\n").await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        for line in
            ["content-type: text/event-stream", "x-accel-buffering: no", "cache-control: no-store, no-transform"]
        {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
        }
        Self(client)
    }

    /// The next event: its name, empty for a status, and its data.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            let block = self.0.until("\n\n").await?;
            let field = |name: &str| {
                block.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim_start().to_owned())
            };
            if let Some(data) = field("data:") {
                return Some((field("event:").unwrap_or_default(), serde_json::from_str(&data).unwrap()));
            }
        }
    }
}

fn at_chunk(index: u64) -> SnapshotStreamStatus {
    planned(7, SessionState::Streaming).with(|status| status.last_chunk_index = Some(index))
}

fn end(reason: &str) -> Option<(String, Value)> {
    Some(("end".into(), json!({ "reason": reason })))
}

#[tokio::test]
async fn each_change_is_an_event_until_the_end() {
    for (last, reason) in [(SessionState::Complete, "complete"), (SessionState::Failed, "failed")] {
        let sessions = Sessions::default();
        sessions.put(full(7));
        let port = open(with_sessions(&sessions));
        let mut events = Events::open(&port, "/p2p/snapshots/7/events").await;
        let first = serde_json::to_value(full(7)).unwrap();
        assert_eq!(events.next().await, Some((String::new(), first)), "the status of now comes at once");
        for index in 0..3 {
            sessions.put(at_chunk(index));
            let (name, status) = events.next().await.unwrap();
            assert_eq!((name.as_str(), status), ("", serde_json::to_value(at_chunk(index)).unwrap()));
        }
        sessions.put(planned(7, last));
        assert_eq!(events.next().await.unwrap().1, serde_json::to_value(planned(7, last)).unwrap());
        assert_eq!(events.next().await, end(reason));
        assert_eq!(events.next().await, None);
    }
}

#[tokio::test]
async fn a_session_that_has_ended_is_told_at_once() {
    let sessions = Sessions::default();
    sessions.put(planned(7, SessionState::Complete));
    let port = open(with_sessions(&sessions));
    let mut events = Events::open(&port, "/p2p/snapshots/7/events").await;
    assert_eq!(events.next().await.unwrap().1["state"], "complete");
    assert_eq!(events.next().await, end("complete"));
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn fast_changes_are_merged_and_the_newest_stays() {
    let sessions = Sessions::default();
    sessions.put(at_chunk(0));
    let port = open(with_sessions(&sessions));
    let mut events = Events::open(&port, "/p2p/snapshots/7/events").await;
    let begun = Instant::now();
    let changer = tokio::spawn({
        let sessions = sessions.clone();
        async move {
            for index in 1..=2000 {
                sessions.put(at_chunk(index));
                tokio::task::yield_now().await;
            }
            sessions.put(planned(7, SessionState::Complete));
        }
    });
    let (mut count, mut newest) = (0_u32, 0);
    loop {
        let (name, data) = events.next().await.unwrap();
        if name == "end" {
            break;
        }
        count += 1;
        if data["state"] == "streaming" {
            let index = data["last_chunk_index"].as_u64().unwrap();
            assert!(index >= newest, "never an older status");
            newest = index;
        }
    }
    soon(changer).await.unwrap();
    // The first event comes at once, the others at least one interval apart. On a slow machine there are fewer.
    let most = begun.elapsed().as_millis() / EVENT_INTERVAL.as_millis() + 2;
    assert!(u128::from(count) <= most, "{count} events, at most {most}");
}

#[tokio::test]
async fn a_cancelled_session_ends_its_streams() {
    let sessions = Sessions::default();
    sessions.put(at_chunk(1));
    let port = open(with_sessions(&sessions));
    let mut events = Events::open(&port, "/p2p/snapshots/7/events").await;
    events.next().await.unwrap();
    assert!(sessions.remove(id(7)));
    assert_eq!(events.next().await, end("cancelled"));
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_shutdown_ends_all_streams() {
    let sessions = Sessions::default();
    sessions.put(at_chunk(1));
    let port = open(with_sessions(&sessions));
    let mut events = Events::open(&port, "/p2p/snapshots/7/events").await;
    events.next().await.unwrap();
    port.shutdown.cancel();
    assert_eq!(events.next().await, end("shutdown"));
    assert_eq!(events.next().await, None);
    port.stopped().await;
}

#[tokio::test]
async fn streams_are_bounded_and_give_their_place_back() {
    let sessions = Sessions::default();
    sessions.put(at_chunk(1));
    let port = open(with_sessions(&sessions));
    let mut streams = Vec::new();
    for _ in 0..MAX_EVENT_STREAMS {
        streams.push(Events::open(&port, "/p2p/snapshots/7/events").await);
    }
    let refused = port.get("/p2p/snapshots/7/events").await;
    assert_eq!(refused.problem(), (503, "too_many_streams".into()));
    assert!(refused.header("retry-after").is_some());
    let metrics = port.get("/metrics").await;
    assert!(metrics.text().contains("rpp_http_event_streams 16\n"), "{}", metrics.text());
    streams.pop();
    soon(async {
        loop {
            let mut client = port.connect().await;
            client.send(port.request("GET", "/p2p/snapshots/7/events", "")).await;
            let head = client.until("\r\n\r\n").await.unwrap();
            if head.starts_with("HTTP/1.1 200") {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}
