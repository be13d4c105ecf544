//! Limits by the byte, in both directions.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use rpp_runtime::config::Protocol;

use crate::support::{CHUNK, Home, Running, eventually, http, made, web::Web};

const RATE: u64 = 256 * 1024;

/// Waits until another MiB has arrived, and checks that this took at least the time that the limit requires. There is
/// no upper bound, because the machine may be busy.
async fn comes_no_faster(node: &Running, session: u64) {
    const BYTES: u64 = 1 << 20;
    let received = |status: &Value| status["bytes_received"].as_u64().unwrap();
    let first = received(&node.status_where(session, "the first bytes", |status| received(status) > 0).await);
    let begun = Instant::now();
    let last = node.status_where(session, "a MiB", |status| received(status) >= first + BYTES).await;
    // The allowance that may be saved and granted in advance (200 ms and 250 ms) is less than half a second of the
    // rate.
    let bytes = received(&last) - first;
    let least = Duration::from_millis(bytes * 1000 / RATE).saturating_sub(Duration::from_millis(500));
    assert!(begun.elapsed() >= least, "{bytes} bytes in {:?}", begun.elapsed());
}

async fn change(node: &Running, body: Value) -> http::Answer {
    node.request("PATCH", "/p2p/limits", Some(body)).await
}

/// The value of one limit in `/metrics`.
async fn limit_metric(node: &Running, limit: &str) -> u64 {
    let metrics = node.request("GET", "/metrics", None).await.body;
    let series = format!("rpp_limit_bytes_per_second{{limit=\"{limit}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&series)).expect(&series).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_keeps_to_its_limit_says_so_and_goes_on_fast_when_it_is_lifted() {
    let provider = Home::provider().start().await;
    let mut home = Home::consumer();
    home.config.limits.download_bytes_per_second = RATE;
    let node = home.start().await;
    let session = node.stream(json!({ "peer": provider.address.to_string(), "height": 100 })).await;
    let status =
        node.status_where(session, "the limit to be told", |status| status["waiting_on"]["what"] == "throttle").await;
    let reason = status["waiting_on"]["reason"].as_str().unwrap();
    assert!(reason.contains("download_bytes_per_second") && reason.contains(&RATE.to_string()), "{reason}");
    assert!(status["waiting_on"]["peer"].is_null() && status["error"].is_null(), "{status}");
    comes_no_faster(&node, session).await;
    assert_eq!(limit_metric(&node, "download").await, RATE);
    let answer = change(&node, json!({ "download_bytes_per_second": 0 })).await;
    assert_eq!((answer.status, &answer.json()["persistent"]), (200, &json!(false)), "{}", answer.body);
    assert_eq!(limit_metric(&node, "download").await, 0);
    let done = node.complete(session).await;
    assert_eq!((&done["tries"], &done["bytes_wasted"]), (&Value::Null, &json!(0)), "{done}");
    assert_eq!(done["root"], made().first.root.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_keeps_to_its_limit_and_is_not_busy_for_it() {
    let mut home = Home::provider();
    home.config.limits.upload_bytes_per_second = 2 * RATE;
    home.config.limits.upload_bytes_per_second_per_peer = RATE;
    let provider = home.start().await;
    let node = Home::consumer().start().await;
    let session = node.stream(json!({ "peer": provider.address.to_string(), "height": 100 })).await;
    comes_no_faster(&node, session).await;
    let status = node.get(&format!("/p2p/snapshots/{session}")).await;
    assert_eq!((&status["state"], &status["tries"]), (&json!("streaming"), &json!(1)), "{status}");
    assert_eq!(
        change(&provider, json!({ "upload_bytes_per_second_per_peer": 0, "upload_bytes_per_second": 0 })).await.status,
        200
    );
    node.complete(session).await;
    let metrics = provider.request("GET", "/metrics", None).await.body;
    for outcome in ["busy", "lost"] {
        let count =
            format!("rpp_snapshot_requests_total{{direction=\"received\",kind=\"chunk\",outcome=\"{outcome}\"}} 0\n");
        assert!(metrics.contains(&count), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_kept_over_a_restart_only_when_asked_to() {
    let mut home = Home::provider();
    home.config.limits.upload_bytes_per_second = 1000;
    let node = home.start().await;
    let limits = |download: u64, upload: u64, persistent: bool| {
        json!({ "download_bytes_per_second": download, "upload_bytes_per_second": upload,
            "upload_bytes_per_second_per_peer": 0, "persistent": persistent })
    };
    assert_eq!(node.get("/p2p/limits").await, limits(0, 1000, true));
    assert_eq!(change(&node, json!({ "download_bytes_per_second": 7 })).await.json(), limits(7, 1000, false));
    for wrong in
        [json!({ "download": 1 }), json!({ "download_bytes_per_second": -1 }), json!({ "persist": 1 }), json!([])]
    {
        assert_eq!(change(&node, wrong.clone()).await.status, 400, "{wrong}");
    }
    node.stop().await;
    let node = home.start().await;
    assert_eq!(node.get("/p2p/limits").await, limits(0, 1000, true));
    assert_eq!(
        change(&node, json!({ "upload_bytes_per_second": 2000, "persist": true })).await.json(),
        limits(0, 2000, true)
    );
    node.stop().await;
    let node = home.start().await;
    assert_eq!(node.get("/p2p/limits").await, limits(0, 2000, true));
}

/// A limit of the consumer holds for all its sources together, and each of them delivers a part. `bench/rates.py`
/// measures the exact rates.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_of_all_sources_together_and_all_of_them_give() {
    let mirror = Home::provider();
    let web = Web::start(&mirror.snapshots().join("store")).await;
    for protocol in [Protocol::V2, Protocol::V1] {
        let homes = [Home::provider(), Home::provider()];
        let (first, second) = tokio::join!(homes[0].start(), homes[1].start());
        let mut home = Home::consumer();
        home.config.limits.download_bytes_per_second = RATE;
        home.config.snapshots.protocol = protocol;
        let node = home.start().await;
        let root = made().first.root.to_string();
        let body = json!({ "peers": [first.address.to_string(), second.address.to_string()], "mirrors": [web.url()],
            "root": root, "chunk_size": CHUNK });
        let session = node.stream(body).await;
        comes_no_faster(&node, session).await;
        let status = node.status_where(session, "the limit", |status| status["waiting_on"]["what"] == "throttle").await;
        let given: Vec<u64> = status["sources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|source| source["bytes_verified"].as_u64().unwrap())
            .collect();
        let all: u64 = given.iter().sum();
        assert!(given.len() == 3 && given.iter().all(|part| *part > all / 10), "{protocol:?}: {given:?} of {all}");
        assert_eq!(change(&node, json!({ "download_bytes_per_second": 0 })).await.status, 200);
        let done = node.complete(session).await;
        assert_eq!(done["root"], root);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_downloads_at_once_share_a_limit_evenly_and_both_say_so() {
    let provider = Home::provider().start().await;
    let mut home = Home::consumer();
    home.config.limits.download_bytes_per_second = RATE;
    let node = home.start().await;
    let mut sessions = Vec::new();
    for height in [100, 110] {
        let body = json!({ "peer": provider.address.to_string(), "height": height, "chunk_size": CHUNK });
        sessions.push(node.stream(body).await);
    }
    let received = |status: &Value| status["bytes_received"].as_u64().unwrap();
    for session in &sessions {
        let said = |status: &Value| received(status) > 0 && status["waiting_on"]["what"] == "throttle";
        node.status_where(*session, "the limit", said).await;
    }
    let both = || async {
        let (one, other) = (
            node.get(&format!("/p2p/snapshots/{}", sessions[0])).await,
            node.get(&format!("/p2p/snapshots/{}", sessions[1])).await,
        );
        [received(&one), received(&other)]
    };
    let before = both().await;
    let after = eventually("a MiB", || async {
        let now = both().await;
        (now[0] + now[1] >= before[0] + before[1] + (1 << 20)).then_some(now)
    })
    .await;
    let gained = [after[0] - before[0], after[1] - before[1]];
    // A few chunks of each are granted in advance.
    assert!(gained[0].abs_diff(gained[1]) <= 8 * CHUNK + (gained[0] + gained[1]) / 10, "{gained:?}");
}
