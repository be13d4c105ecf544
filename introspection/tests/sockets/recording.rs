//! Recordings: written from a live node, continued, replayed, damaged.

use crate::support::{self, options, peer, registry, simulate, soon, start};
use rpp_introspection::{
    client::{Recorder, Recording, RecordingError, Style, record, replay, replay_json, watch},
    envelope::EnvelopeError,
    proto::{Dht, dht, server_message::Payload},
};

/// Records until so many states are in the file.
async fn record_states(server: &support::Server, path: &std::path::Path, count: usize) {
    let mut recorder = Recorder::open(path).unwrap();
    let client = server.connect().await;
    let enough = async {
        while Recording::open(path)
            .unwrap()
            .map_while(Result::ok)
            .filter(|message| matches!(message.payload, Some(Payload::State(_))))
            .count()
            < count
        {
            tokio::task::yield_now().await;
        }
    };
    soon(record(client.connection, &mut recorder, enough)).await.unwrap();
}

#[tokio::test]
async fn a_recording_is_one_version_then_messages_and_can_be_continued() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.rec");
    let registry = registry();
    let _open = simulate(&registry, 2);
    let server = start(&registry, options());
    let mut fast = server.connect().await;
    fast.greeting().await;
    fast.hello(10).await; // states come often
    record_states(&server, &path, 2).await;
    let first = std::fs::read(&path).unwrap();
    assert_eq!(first[..4], [1, 0, 0, 0]);
    record_states(&server, &path, 5).await;
    let second = std::fs::read(&path).unwrap();
    assert!(second.starts_with(&first) && second.len() > first.len(), "it is appended to");
    let messages: Vec<_> = Recording::open(&path).unwrap().collect::<Result<_, _>>().unwrap();
    let runtimes = messages.iter().filter(|message| matches!(message.payload, Some(Payload::Runtime(_)))).count();
    assert_eq!(runtimes, 2, "one a connection");
    // After each runtime comes the configuration of its connection, and no other response.
    for (index, message) in messages.iter().enumerate() {
        let runtime = matches!(&message.payload, Some(Payload::Runtime(_)));
        let configuration = match messages.get(index + 1).and_then(|next| next.payload.as_ref()) {
            Some(Payload::Response(response)) => response.effective_config,
            _ => None,
        };
        assert_eq!(runtime, configuration.is_some(), "{index}");
        if let Some(configuration) = configuration {
            assert_eq!((configuration.retention_period_ms, configuration.state_snapshot_interval_ms), (120_000, 2_000));
        }
    }
    let responses = messages.iter().filter(|message| matches!(message.payload, Some(Payload::Response(_))));
    assert_eq!(responses.count(), 2);

    let mut printed = Vec::new();
    replay_json(&path, &mut printed).unwrap();
    let lines: Vec<serde_json::Value> = printed
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines.len(), messages.len());
    assert_eq!(lines[1]["configuration"]["state_snapshot_interval_ms"], 2_000);
    let stream = &lines[2]["state"]["connections"][0]["streams"][0];
    assert_eq!(
        (stream["protocol"].as_str(), stream["tags"][0].as_str()),
        (Some("/rpp/snapshots/1.0.0"), Some("session=7"))
    );

    let mut printed = Vec::new();
    replay(&path, &mut printed).unwrap();
    let printed = String::from_utf8(printed).unwrap();
    assert!(printed.starts_with("runtime rpp-node"), "{printed}");
    assert!(printed.contains("/rpp/snapshots/1.0.0") && printed.contains("session=7 chunk=3"), "{printed}");
}

#[tokio::test]
async fn a_replay_shows_the_buckets_and_queries_of_the_dht() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.rec");
    let registry = registry();
    let peer = peer().to_base58();
    let known = dht::PeerInDht { peer_id: peer.clone(), ..dht::PeerInDht::default() };
    registry.dht(Dht {
        protocol: "/rpp/kad/1.0.0".into(),
        buckets: vec![dht::Bucket { cpl: 3, peers: vec![known] }],
        incoming_queries: Some(dht::QueryGauge { success: 12, error: 0, timeout: 0 }),
        ..Dht::default()
    });
    let server = start(&registry, options());
    record_states(&server, &path, 1).await;
    let mut printed = Vec::new();
    replay(&path, &mut printed).unwrap();
    let printed = String::from_utf8(printed).unwrap();
    assert!(printed.contains("dht /rpp/kad/1.0.0: 1 peers in 1 buckets"), "{printed}");
    assert!(printed.contains("queries answered 12"), "{printed}");
    assert!(printed.contains(&format!("common prefix 3: {peer} active")), "{printed}");
}

#[tokio::test]
async fn what_was_cut_short_is_cut_off_and_what_is_damaged_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.rec");
    let server = start(&registry(), options());
    record_states(&server, &path, 1).await;
    let whole = std::fs::read(&path).unwrap();

    std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    let error = Recording::open(&path).unwrap().last().unwrap().unwrap_err();
    assert!(matches!(error, RecordingError::Format { source: EnvelopeError::Truncated { .. }, .. }));
    assert!(replay(&path, &mut Vec::new()).is_err());
    let recorder = Recorder::open(&path).unwrap();
    assert!(recorder.cut_off() > 0);
    assert!(Recording::open(&path).unwrap().all(|message| message.is_ok()));

    let mut damaged = whole.clone();
    damaged[20] ^= 0x40;
    std::fs::write(&path, &damaged).unwrap();
    assert!(matches!(
        Recorder::open(&path),
        Err(RecordingError::Format { source: EnvelopeError::Checksum { offset: 4 }, .. })
    ));
    assert_eq!(std::fs::read(&path).unwrap(), damaged, "it is left as it was");

    std::fs::write(&path, b"something else").unwrap();
    assert!(matches!(Recorder::open(&path), Err(RecordingError::Format { source: EnvelopeError::Version { .. }, .. })));
}

#[tokio::test]
async fn watching_shows_connections_streams_sessions_and_what_they_wait_for() {
    let registry = registry();
    let _open = simulate(&registry, 1);
    let waiting_on = serde_json::json!({ "what": "chunk", "index": 312, "peer": peer().to_base58(), "since_ms": 5000,
        "reason": "asked, not answered yet \u{1b}[31m" });
    let status = serde_json::json!({ "session": 9, "peer": peer().to_base58(), "state": "streaming",
        "total_chunks": 1024, "last_chunk_index": 311, "bytes_received": 0, "bytes_verified": 0, "bytes_durable": 0,
        "verified": false, "started_at": "", "updated_at": "", "waiting_on": waiting_on });
    registry.session(&serde_json::from_value(status).unwrap());
    for style in [Style::Plain, Style::Screen { columns: 400, rows: 50 }] {
        let server = start(&registry, options());
        let mut fast = server.connect().await;
        fast.greeting().await;
        fast.hello(10).await;
        let (shown, mut out) = Shown::new();
        let done = shown.until(|text| text.contains("waits for chunk 312"));
        soon(watch(server.connect().await.connection, || style, &mut out, done)).await.unwrap();
        let text = shown.text();
        for part in ["session 9", "chunk 311 of 1024", "connection", "session=7 chunk=0", "/noise", "since 5s"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("\\u{1b}"), "text of the node is escaped: {text}");
        assert_eq!(text.contains("\x1b["), style != Style::Plain, "no control sequences in plain lines");
    }
}

/// A copy of what was written so far.
#[derive(Clone, Default)]
struct Shown(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Shown {
    fn new() -> (Self, Self) {
        let shown = Self::default();
        (shown.clone(), shown)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    async fn until(&self, found: impl Fn(&str) -> bool) {
        while !found(&self.text()) {
            tokio::task::yield_now().await;
        }
    }
}

impl std::io::Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
