//! A mirror that lied: what its sessions report and wait for, which requests are refused, and what helps.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    FIRST_BYTES, Home, Running, SECOND_BYTES, eventually, made, noise,
    web::{Asked, Reply, Web, listing, mirror},
};

fn is_payload(asked: &Asked) -> bool {
    asked.path.ends_with("/payload")
}

fn lying(mut honest: Reply) -> Reply {
    if let Some(byte) = honest.body.last_mut() {
        *byte ^= 1;
    }
    honest
}

/// A web server that changes bytes of each payload.
async fn liar(folder: &std::path::Path) -> Web {
    let web = Web::start(folder).await;
    web.now(|asked, honest| if is_payload(asked) { lying(honest) } else { honest });
    web
}

fn origin(web: &Web) -> String {
    web.url().trim_end_matches('/').to_owned()
}

/// The end of the only ban.
async fn until(node: &Running) -> String {
    let bans = eventually("the ban", || async {
        let bans = node.get("/p2p/bans").await;
        (bans.as_array().unwrap().len() == 1).then_some(bans)
    })
    .await;
    bans[0]["until"].as_str().unwrap().to_owned()
}

async fn lift(node: &Running, web: &Web) {
    let path = format!("/p2p/bans/{}", origin(web).replace(':', "%3A").replace('/', "%2F"));
    assert_eq!(node.request("DELETE", &path, None).await.status, 204);
}

/// Starts a session that fails; returns its status.
async fn fails(node: &Running, body: Value) -> Value {
    let answer = node.request("POST", "/p2p/snapshots", Some(body)).await;
    let path = answer.headers.get("location").cloned();
    let session = match path {
        Some(path) => path.to_str().unwrap().rsplit('/').next().unwrap().parse().unwrap(),
        None => answer.json()["session"].as_u64().unwrap(),
    };
    node.status_where(session, "the failure", |status| status["state"] == "failed").await
}

fn source<'s>(status: &'s Value, web: &Web) -> &'s Value {
    let all = status["sources"].as_array().unwrap();
    all.iter().find(|source| source["source"] == web.url()).unwrap_or_else(|| panic!("it is none: {status}"))
}

/// Asserts that the text says exactly once until when the mirror is banned, and how to lift the ban.
fn tells(text: &Value, web: &Web, until: &str) {
    let text = text.as_str().unwrap_or_default();
    for words in
        [format!("banned until {until}"), format!("`rpp-node bans --lift {}`", origin(web)), "/p2p/bans/".into()]
    {
        assert_eq!(text.matches(&words).count(), 1, "{words}: {text}");
    }
    assert_eq!(text.matches("banned").count(), 1, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_mirror_is_not_taken_before_the_ban_is_lifted() {
    let copy = mirror();
    let web = liar(&copy.folder).await;
    let home = Home::consumer();
    let node = home.start().await;
    let start = json!({ "mirrors": [web.url()], "height": 100 });
    let session = fails(&node, start.clone()).await["session"].as_u64().unwrap();
    let until = until(&node).await;
    let is_told = |status: &Value| source(status, &web)["state"] == "banned";
    let status = node.status_where(session, "the ban to be told", is_told).await;
    assert_eq!((&status["error_code"], &source(&status, &web)["error_code"]), (&json!("checksum"), &json!("checksum")));
    tells(&source(&status, &web)["error"], &web, &until);
    assert!(source(&status, &web)["waiting_on"].is_null(), "nothing goes on by itself: {status}");
    tells(&status["waiting_on"]["reason"], &web, &until);
    // The advice names sources of both kinds, and says that a further one revives the session.
    let advice = status["waiting_on"]["reason"].as_str().unwrap();
    for words in ["add another source", &format!("rpp-node sources {session} --add-peer PEER"), "--add-mirror URL"] {
        assert!(advice.contains(words), "{words}: {advice}");
    }
    assert!(
        advice.contains(&format!("POST /p2p/snapshots/{session}/sources")) && !advice.contains("provider"),
        "{advice}"
    );
    assert!(!advice.contains("resume"), "that is refused: {advice}");
    // After a restart, it is the same.
    node.stop().await;
    let node = home.start().await;
    tells(&node.status_where(session, "the ban", is_told).await["waiting_on"]["reason"], &web, &until);
    let asked = web.asked().len();
    let sources = format!("/p2p/snapshots/{session}/sources");
    for (path, body) in [
        ("/p2p/snapshots", json!({ "resume": { "session": session } })),
        ("/p2p/snapshots", start),
        (sources.as_str(), json!({ "mirror": web.url() })),
    ] {
        let answer = node.request("POST", path, Some(body)).await;
        assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("peer_banned")), "{}", answer.body);
        tells(&answer.json()["error"], &web, &until);
    }
    assert_eq!((web.asked().len(), node.get("/p2p/snapshots").await.as_array().unwrap().len()), (asked, 1));
    web.now(|_, honest| honest);
    lift(&node, &web).await;
    let offers_resume = |status: &Value| status["waiting_on"]["reason"].as_str().unwrap().contains("\"resume\"");
    let status = node.status_where(session, "a resume to be offered", offers_resume).await;
    assert_eq!(source(&status, &web)["state"], "idle", "{status}");
    node.stream(json!({ "resume": { "session": session } })).await;
    node.complete(session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_mirror_is_banned_for_another_one_waits_until_the_end_of_the_ban() {
    let copy = listing(&[(&made().second, SECOND_BYTES), (&made().first, FIRST_BYTES)]);
    let web = Web::start(&copy.folder).await;
    let root = made().first.root.to_string();
    web.now(move |asked, honest| match (is_payload(asked), asked.path.contains(&root)) {
        (true, true) => Reply { hangs: true, ..honest },
        (true, false) => lying(honest),
        (false, _) => honest,
    });
    let home = Home::consumer();
    let node = home.start().await;
    let session = node.stream(json!({ "mirrors": [web.url()], "height": 100 })).await;
    node.status_where(session, "a chunk", |status| status["waiting_on"]["what"] == "chunk").await;
    fails(&node, json!({ "mirrors": [web.url()], "height": 110 })).await;
    let until = until(&node).await;
    // By then, a back-off would have made its first tries.
    let waits_long = |status: &Value| {
        status["waiting_on"]["what"] == "retry" && status["waiting_on"]["since_ms"].as_u64().is_some_and(|ms| ms > 1500)
    };
    let status = node.status_where(session, "the ban to be waited for", waits_long).await;
    assert_eq!(
        (&status["state"], &status["waiting_on"]["retry_at"]),
        (&json!("backing_off"), &json!(until)),
        "{status}"
    );
    for text in [&status["error"], &status["waiting_on"]["reason"], &source(&status, &web)["error"]] {
        tells(text, &web, &until);
        assert!(!text.as_str().unwrap().contains("failed"), "{text}");
    }
    assert_eq!(source(&status, &web)["state"], "banned", "{status}");
    assert_eq!(source(&status, &web)["waiting_on"]["retry_at"], until, "{status}");
    // Once the ban is lifted, the mirror is asked at once.
    web.now(|_, honest| honest);
    lift(&node, &web).await;
    let status = node.complete(session).await;
    assert!(status["error"].is_null() && source(&status, &web)["error"].is_null(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_good_mirror_the_end_of_the_ban_is_said_and_stays() {
    let copy = listing(&[(&made().second, SECOND_BYTES), (&made().first, FIRST_BYTES)]);
    let (web, good) = (liar(&copy.folder).await, Web::start(&copy.folder).await);
    let mut home = Home::consumer();
    // The limit makes the download last a while.
    home.config.limits.download_bytes_per_second = 150_000;
    let node = home.start().await;
    // The first session finds that it lies. In the second session it is banned from the beginning.
    for height in [100, 110] {
        let session = node.stream(json!({ "mirrors": [web.url(), good.url()], "height": height })).await;
        let until = until(&node).await;
        let is_told = |status: &Value| source(status, &web)["state"] == "banned";
        let first = node.status_where(session, "the ban", is_told).await;
        let more = first["bytes_verified"].as_u64().unwrap() + 100_000;
        let moved = |status: &Value| status["bytes_verified"].as_u64().unwrap() > more;
        let second = node.status_where(session, "more of the other", moved).await;
        for status in [first, second] {
            tells(&source(&status, &web)["error"], &web, &until);
            assert_eq!(source(&status, &web)["waiting_on"]["retry_at"], until, "{status}");
            assert!(!status["waiting_on"].to_string().contains("banned"), "it keeps nobody: {status}");
        }
        assert_eq!(node.request("DELETE", &format!("/p2p/snapshots/{session}"), None).await.status, 204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_with_a_banned_mirror_is_resumed_with_its_other_sources() {
    let copy = mirror();
    let (web, other) = (liar(&copy.folder).await, Web::start(&copy.folder).await);
    other.now(|_, _| Reply::status(404));
    let home = Home::consumer();
    let node = home.start().await;
    let failed = fails(&node, json!({ "mirrors": [other.url(), web.url()], "height": 100 })).await;
    let session = failed["session"].as_u64().unwrap();
    assert_eq!((&failed["error_code"], &source(&failed, &other)["state"]), (&json!("checksum"), &json!("refused")));
    until(&node).await;
    let offers_resume = |status: &Value| status["waiting_on"]["reason"].as_str().unwrap().contains("\"resume\"");
    node.status_where(session, "a resume to be offered", offers_resume).await;
    other.now(|_, honest| honest);
    let asked = web.asked().len();
    node.stream(json!({ "resume": { "session": session } })).await;
    let status = node.complete(session).await;
    assert!(fs::read(status["payload_path"].as_str().unwrap()).unwrap() == noise(1, FIRST_BYTES));
    assert_eq!(web.asked().len(), asked, "not before the end of its ban: {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failure_of_a_mirror_the_advice_speaks_of_sources_and_a_further_one_revives_the_session() {
    let copy = mirror();
    let web = Web::start(&copy.folder).await;
    let provider = Home::provider().start().await;
    let home = Home::consumer();
    for (status, code) in [(404, "provider"), (401, "authentication")] {
        web.now(move |_, _| Reply::status(status));
        let node = home.start().await;
        let failed = fails(&node, json!({ "mirrors": [web.url()], "height": 100 })).await;
        let session = failed["session"].as_u64().unwrap();
        let advice = failed["waiting_on"]["reason"].as_str().unwrap();
        let adds = format!(
            "`rpp-node sources {session} --add-peer PEER` or `--add-mirror URL` (POST /p2p/snapshots/{session}/sources)"
        );
        assert!(advice.contains("add another source") && advice.contains(&adds), "{advice}");
        assert!(!advice.contains("provider") && !advice.contains("this peer"), "{advice}");
        assert_eq!((&failed["error_code"], advice.contains("credentials")), (&json!(code), code == "authentication"));
        let body = json!({ "peer": provider.address.to_string() });
        let answer = node.request("POST", &format!("/p2p/snapshots/{session}/sources"), Some(body)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        node.complete(session).await;
        assert_eq!(node.request("DELETE", &format!("/p2p/snapshots/{session}"), None).await.status, 204);
        node.stop().await;
        fs::remove_dir_all(home.snapshots().join("store")).unwrap();
    }
}
