//! Many sources end to end: peers that end, lie, come and go; mirrors alone, and each trouble of a web server.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rpp_p2p::SnapshotsResponse;
use serde_json::{Value, json};

use crate::support::{
    CHUNK, FIRST_BYTES, Home, Running, eventually, made, noise,
    port::reserved_port,
    rogue::{Rogue, flipped},
    web::{Asked, Reply, Web, mirror},
};

/// A provider that sends at most this many bytes a second.
fn limited(rate: u64) -> Home {
    let mut home = Home::provider();
    home.config.limits.upload_bytes_per_second = rate;
    home
}

fn source<'s>(status: &'s Value, name: &str) -> &'s Value {
    let all = status["sources"].as_array().unwrap();
    all.iter().find(|source| source["source"] == name).unwrap_or_else(|| panic!("no {name}: {status}"))
}

fn bytes(source: &Value) -> u64 {
    source["bytes_verified"].as_u64().unwrap()
}

fn whole(status: &Value) {
    assert!(
        fs::read(status["payload_path"].as_str().unwrap()).unwrap() == noise(1, FIRST_BYTES),
        "the payload differs"
    );
    let all: u64 = status["sources"].as_array().unwrap().iter().map(bytes).sum();
    assert_eq!(all, FIRST_BYTES as u64, "who gave what: {status}");
}

async fn bans(node: &Running) -> Vec<Value> {
    node.get("/p2p/bans").await.as_array().unwrap().clone()
}

async fn add(node: &Running, session: u64, body: Value) -> Value {
    let answer = node.request("POST", &format!("/p2p/snapshots/{session}/sources"), Some(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_from_three_providers_goes_on_when_one_of_them_ends() {
    let homes = [limited(400_000), limited(400_000), limited(400_000)];
    let (first, second, third) = tokio::join!(homes[0].start(), homes[1].start(), homes[2].start());
    let home = Home::consumer();
    let node = home.start().await;
    let peers: Vec<_> = [&first, &second, &third].map(|node| node.address.to_string()).to_vec();
    let session = node.stream(json!({ "peers": peers, "height": 100 })).await;
    let lost = homes[1].peer().to_string();
    let all_gave = |status: &Value| homes.iter().all(|home| bytes(source(status, &home.peer().to_string())) > 0);
    node.status_where(session, "bytes of all three", all_gave).await;
    second.stop().await;
    node.status_where(session, "the loss to be noticed", |status| source(status, &lost)["state"] != "active").await;
    let status = node.complete(session).await;
    whole(&status);
    assert!(homes.iter().all(|home| bytes(source(&status, &home.peer().to_string())) > 0), "{status}");
    for home in &homes {
        let source = source(&status, &home.peer().to_string());
        assert_eq!((&source["kind"], &source["state"]), (&json!("peer"), &json!("done")), "{source}");
    }
    assert_eq!(bans(&node).await, Vec::<Value>::new());
    let metrics = node.request("GET", "/metrics", None).await.body;
    assert!(metrics.contains(&format!("rpp_source_verified_bytes_total{{kind=\"peer\"}} {FIRST_BYTES}")), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_providers_the_one_that_lies_is_banned_and_nobody_else() {
    let liar = Rogue::start(|_, mut honest| {
        if let SnapshotsResponse::Chunk { chunk, .. } = &mut honest {
            *chunk = flipped(chunk, 4711);
        }
        honest.into()
    })
    .await;
    let homes = [limited(1_000_000), limited(1_000_000)];
    let (first, second) = tokio::join!(homes[0].start(), homes[1].start());
    let home = Home::consumer();
    let node = home.start().await;
    let (liars_address, first, second) =
        (liar.address.to_string(), first.address.to_string(), second.address.to_string());
    let session = node.stream(json!({ "peer": first, "peers": [liars_address, second], "height": 100 })).await;
    let status = node.complete(session).await;
    whole(&status);
    let lied = source(&status, &liar.peer.to_string());
    assert_eq!((&lied["state"], bytes(lied), &lied["error_code"]), (&json!("banned"), 0, &json!("checksum")), "{lied}");
    let bans = bans(&node).await;
    assert_eq!((bans.len(), &bans[0]["source"]), (1, &json!(liar.peer.to_string())), "{bans:?}");
    let evidence = &bans[0]["evidence"][0];
    assert_eq!((&evidence["kind"], &evidence["session"]), (&json!("chunk"), &json!(session)), "{evidence}");
    assert!(evidence["expected"].is_string() && evidence["received"].is_string() && evidence["index"].is_u64());
}

/// `RPP_TEST_LIES` says how often (3), `RPP_TEST_SEED` repeats a run's decisions.
#[tokio::test(flavor = "multi_thread")]
async fn of_five_providers_the_one_that_changes_any_bit_of_any_chunk_is_banned_with_evidence() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("RPP_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("RPP_TEST_SEED={seed}");
    let homes = [limited(1_000_000), limited(1_000_000), limited(1_000_000), limited(1_000_000)];
    let honest = tokio::join!(homes[0].start(), homes[1].start(), homes[2].start(), homes[3].start());
    let honest: Vec<_> = [honest.0, honest.1, honest.2, honest.3].into();
    let root = made().first.root.to_string();
    let (lies, mut lied, mut round) = (number("RPP_TEST_LIES").unwrap_or(3), 0, 0_u64);
    while lied < lies {
        round += 1;
        let random = |what: &str, below: u64| {
            let hash = blake3::hash(format!("{seed} {round} {what}").as_bytes());
            u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap()) % below
        };
        // The first chunks that it sends are right.
        let (right, bit) = (random("right", 3), random("bit", CHUNK * 8));
        let sent = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&sent);
        let liar = Rogue::start(move |_, mut answer| {
            if let SnapshotsResponse::Chunk { chunk, .. } = &mut answer
                && count.fetch_add(1, Ordering::Relaxed) >= right
            {
                // The last chunk is shorter.
                let at = bit % (chunk.len() as u64 * 8);
                let mut bytes = chunk.to_vec();
                bytes[usize::try_from(at / 8).unwrap()] ^= 1 << (at % 8);
                *chunk = bytes.into();
            }
            answer.into()
        })
        .await;
        let mut peers: Vec<_> = honest.iter().map(|node| node.address.to_string()).collect();
        peers.insert(usize::try_from(random("place", 5)).unwrap(), liar.address.to_string());
        let home = Home::consumer();
        let node = home.start().await;
        let session = node.stream(json!({ "peers": peers, "height": 100 })).await;
        let status = node.complete(session).await;
        whole(&status);
        let liars = source(&status, &liar.peer.to_string());
        if liars["state"] == "done" && liars["error"].is_null() {
            // The others delivered everything before its first changed chunk.
            assert!(sent.load(Ordering::Relaxed) <= right + 1, "{status}");
            continue;
        }
        lied += 1;
        let banned = eventually("the ban", || async { bans(&node).await.pop() }).await;
        assert_eq!((&banned["source"], bans(&node).await.len()), (&json!(liar.peer.to_string()), 1), "{banned}");
        let evidence = &banned["evidence"][0];
        assert_eq!((&evidence["kind"], &evidence["session"]), (&json!("chunk"), &json!(session)), "{evidence}");
        assert_eq!((&evidence["expected"], &evidence["plan_id"]), (&json!(root), &status["plan_id"]), "{evidence}");
        assert!(evidence["index"].is_u64() && evidence["received"].as_str().unwrap() != root, "{evidence}");
        assert_eq!(bytes(source(&status, &liar.peer.to_string())), right * CHUNK, "{status}");
    }
    println!(
        "{round} downloads, {lied} in which a changed chunk was sent: its provider was banned each time, and nobody else"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_are_added_and_taken_away_while_it_runs_and_without_any_it_waits() {
    let homes = [limited(150_000), limited(0)];
    let (slow, quick) = tokio::join!(homes[0].start(), homes[1].start());
    let home = Home::consumer();
    let node = home.start().await;
    let session = node.stream(json!({ "peers": [slow.address.to_string()], "height": 100 })).await;
    node.status_where(session, "durable chunks", |status| status["confirmed_chunk_index"].as_u64() > Some(3)).await;
    let path = |name: &str| format!("/p2p/snapshots/{session}/sources/{name}");
    let name = homes[0].peer().to_string();
    let answer = node.request("DELETE", &path(&name), None).await;
    assert_eq!((answer.status, &answer.json()["sources"]), (200, &json!([])), "{}", answer.body);
    let status = node
        .status_where(session, "the operator to be waited for", |status| status["waiting_on"]["what"] == "operator")
        .await;
    assert!(status["waiting_on"]["reason"].as_str().unwrap().contains("no source"), "{status}");
    assert_ne!(status["state"], "failed");
    let answer = node.request("DELETE", &path(&name), None).await;
    assert_eq!((answer.status, &answer.json()["code"]), (404, &json!("unknown_source")), "{}", answer.body);
    let kept = status["bytes_durable"].as_u64().unwrap();
    let status = add(&node, session, json!({ "peer": quick.address.to_string() })).await;
    source(&status, &homes[1].peer().to_string());
    assert!(status["bytes_durable"].as_u64().unwrap() >= kept && kept > 0, "{status}");
    let status = node.complete(session).await;
    assert!(fs::read(status["payload_path"].as_str().unwrap()).unwrap() == noise(1, FIRST_BYTES));
    let gave = bytes(source(&status, &homes[1].peer().to_string()));
    assert!(gave > 0 && gave <= FIRST_BYTES as u64 - kept, "what was had is not asked for again: {status}");
    for answer in [
        node.request("DELETE", &path(&homes[1].peer().to_string()), None).await,
        node.request(
            "POST",
            &format!("/p2p/snapshots/{session}/sources"),
            Some(json!({ "peer": slow.address.to_string() })),
        )
        .await,
    ] {
        assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("session_complete")), "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_alone_is_enough_for_a_verified_start() {
    let copy = mirror();
    let web = Web::start(&copy.folder).await;
    let file = format!("file://{}", copy.folder.display());
    let secret = web.url().replace("http://", "http://user:word@");
    for (given, shown) in [(&file, &file), (&secret, &web.url())] {
        let home = Home::consumer();
        let node = home.start().await;
        let answer = node.request("POST", "/p2p/snapshots", Some(json!({ "mirrors": [given] }))).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let status = node.complete(answer.json()["session"].as_u64().unwrap()).await;
        whole(&status);
        let mirror = source(&status, shown);
        assert_eq!((&mirror["kind"], &mirror["state"]), (&json!("mirror"), &json!("done")), "{mirror}");
        assert_eq!((status["height"].as_u64(), &status["verified"]), (Some(100), &json!(true)));
        assert!(!answer.body.contains("word") && !status.to_string().contains("word"), "{status}");
    }
    let asked = web.asked();
    let credentials = "Basic dXNlcjp3b3Jk";
    assert!(asked.iter().all(|asked| asked.headers.get("authorization").map(String::as_str) == Some(credentials)));
    // A payload is never asked for as a whole.
    assert!(asked.iter().filter(|asked| asked.path.ends_with("/payload")).all(|asked| asked.range.is_some()));
}

fn is_payload(asked: &Asked) -> bool {
    asked.path.ends_with("/payload")
}

/// A server that has no time until this date, which is not far from its own.
fn until(date: &str) -> Reply {
    Reply::status(503).with("date", "Sun, 29 Nov 2026 12:00:00 GMT").with("retry-after", date)
}

/// The server's behaviour for the payload, the state that results, and words of the error.
type Trouble = (fn(&Asked, Reply) -> Reply, &'static str, &'static str);

const TROUBLES: [Trouble; 16] = [
    (|_, _| Reply { body: noise(1, FIRST_BYTES), ..Reply::status(200) }, "refused", "must support ranges"),
    (|_, _| Reply::status(416), "refused", "refuses or shifts a range"),
    (|_, honest| honest.with("content-range", format!("bytes 1-16384/{FIRST_BYTES}")), "refused", "shifts a range"),
    (|asked, honest| honest.with("etag", format!("\"{}\"", asked.before)), "refused", "its ETag is another one"),
    (|_, _| Reply::status(404), "refused", "it has no payload"),
    (|_, _| Reply::status(403), "refused", "check the credentials"),
    (|_, _| Reply::status(302).with("location", "ftp://host/"), "refused", "redirects to another scheme"),
    (|asked, _| Reply::status(307).with("location", asked.path.clone()), "refused", "redirects more than 5 times"),
    (|_, _| Reply::status(429).with("retry-after", "7"), "backing_off", "patience (HTTP 429, 7 s)"),
    (|_, _| Reply::status(503), "backing_off", "patience (HTTP 503)"),
    (|_, _| until("Sun, 29 Nov 2026 12:01:30 GMT"), "backing_off", "patience (HTTP 503, 90 s)"),
    (|_, _| Reply::status(503).with("retry-after", "9".repeat(30)), "backing_off", "patience (HTTP 503, 86400 s)"),
    (|_, honest| honest.with("content-encoding", "gzip"), "refused", "the mirror must serve files as they are"),
    (|_, _| Reply::status(500), "backing_off", "it answers HTTP 500"),
    (|_, honest| Reply { cut: Some(honest.body.len() / 2), ..honest }, "backing_off", "ended an answer early"),
    (|_, honest| Reply { body: honest.body[1..].to_vec(), ..honest }, "backing_off", "bytes instead of"),
];

/// The mirror is alone at first, so that it must be asked. Then a peer delivers what the mirror did not.
#[tokio::test(flavor = "multi_thread")]
async fn each_trouble_of_a_web_server_is_told_and_another_source_does_its_work() {
    let copy = mirror();
    let provider = Home::provider().start().await;
    for (script, state, words) in TROUBLES {
        let web = Web::start(&copy.folder).await;
        web.now(move |asked, honest| if is_payload(asked) { script(asked, honest) } else { honest });
        let mut home = Home::consumer();
        // Several reads of the payload.
        home.config.snapshots.window = 32 * CHUNK;
        home.config.snapshots.max_chunk_size = CHUNK;
        let node = home.start().await;
        let body = json!({ "mirrors": [web.url()], "height": 100 });
        node.request("POST", "/p2p/snapshots", Some(body)).await;
        let session = node.get("/p2p/snapshots").await[0]["session"].as_u64().unwrap();
        let is_told = |status: &Value| {
            let mirror = source(status, &web.url());
            mirror["state"] == state && mirror["error"].as_str().is_some_and(|error| error.contains(words))
        };
        node.status_where(session, words, is_told).await;
        add(&node, session, json!({ "peer": provider.address.to_string() })).await;
        let status = node.complete(session).await;
        assert!(fs::read(status["payload_path"].as_str().unwrap()).unwrap() == noise(1, FIRST_BYTES), "{words}");
        let mirror = source(&status, &web.url());
        assert!(mirror["error"].as_str().is_none_or(|error| error.contains(words)), "{mirror}");
        assert_eq!(bans(&node).await, Vec::<Value>::new(), "{words}");
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_hangs_holds_nobody_up() {
    let copy = mirror();
    let web = Web::start(&copy.folder).await;
    web.now(|asked, honest| Reply { hangs: is_payload(asked), ..honest });
    let provider = Home::provider().start().await;
    let home = Home::consumer();
    let node = home.start().await;
    let session = node.stream(json!({ "mirrors": [web.url()], "height": 100 })).await;
    eventually("the payload to be asked for", || async { web.asked().iter().any(is_payload).then_some(()) }).await;
    add(&node, session, json!({ "peer": provider.address.to_string() })).await;
    let status = node.complete(session).await;
    whole(&status);
    assert_eq!(bytes(source(&status, &web.url())), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_lies_is_banned_by_its_origin() {
    let copy = mirror();
    let web = Web::start(&copy.folder).await;
    web.now(|asked, mut honest| {
        if let (true, Some(byte)) = (is_payload(asked), honest.body.last_mut()) {
            *byte ^= 1;
        }
        honest
    });
    let provider = Home::provider().start().await;
    let home = Home::consumer();
    let node = home.start().await;
    node.request("POST", "/p2p/snapshots", Some(json!({ "mirrors": [web.url()], "height": 100 }))).await;
    let session = node.get("/p2p/snapshots").await[0]["session"].as_u64().unwrap();
    let is_banned = |status: &Value| source(status, &web.url())["state"] == "banned";
    node.status_where(session, "the ban", is_banned).await;
    let banned = eventually("the ban", || async { bans(&node).await.pop() }).await;
    let origin = web.url().trim_end_matches('/').to_owned();
    assert_eq!((&banned["source"], &banned["kind"]), (&json!(origin), &json!("mirror")), "{banned}");
    assert_eq!((&banned["evidence"][0]["kind"], bans(&node).await.len()), (&json!("chunk"), 1));
    add(&node, session, json!({ "peer": provider.address.to_string() })).await;
    let status = node.complete(session).await;
    assert!(fs::read(status["payload_path"].as_str().unwrap()).unwrap() == noise(1, FIRST_BYTES));
    // The session is over, so it waits for nothing from the mirror any more. The reason why the mirror was of no use
    // stays.
    let error = source(&status, &web.url())["error"].as_str().unwrap();
    assert!(error.contains("banned until") && error.contains("does not verify"), "{status}");
}

/// Accepts only the credentials `user:right`.
fn guarded(asked: &Asked, honest: Reply, otherwise: Reply) -> Reply {
    let is_right = asked.headers.get("authorization").is_some_and(|given| given == "Basic dXNlcjpyaWdodA==");
    if is_right { honest } else { otherwise }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_is_named_again_with_other_credentials_is_read_with_those() {
    let copy = mirror();
    let web = Web::start(&copy.folder).await;
    let with = |word: &str| web.url().replace("http://", &format!("http://user:{word}@"));
    // The mirror is refused, then added again.
    web.now(|asked, honest| guarded(asked, honest, Reply::status(401)));
    let home = Home::consumer();
    let node = home.start().await;
    let body = |word: &str| json!({ "mirrors": [with(word)], "height": 100 });
    node.request("POST", "/p2p/snapshots", Some(body("wrong"))).await;
    let session = node.get("/p2p/snapshots").await[0]["session"].as_u64().unwrap();
    let is_refused = |status: &Value| source(status, &web.url())["state"] == "refused";
    node.status_where(session, "the refusal", is_refused).await;
    let status = add(&node, session, json!({ "mirror": with("right") })).await;
    assert!(!status.to_string().contains("right") && !status.to_string().contains("wrong"), "{status}");
    whole(&node.complete(session).await);
    // The session has to wait for an hour. The same request with other credentials makes it try at once.
    let later = Reply::status(503).with("retry-after", "3600");
    web.now(move |asked, honest| guarded(asked, honest, later.clone()));
    let home = Home::consumer();
    let node = home.start().await;
    let session = node.stream(body("wrong")).await;
    let waits = |status: &Value| source(status, &web.url())["state"] == "backing_off";
    node.status_where(session, "the back-off", waits).await;
    assert_eq!(node.stream(body("right")).await, session, "it is the same request");
    whole(&node.complete(session).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_named_again_with_another_address_is_reached_there() {
    let provider = Home::provider().start().await;
    let peer = provider.handle.peer_id();
    let home = Home::consumer();
    let node = home.start().await;
    let nobody = reserved_port();
    let gone = format!("/ip4/127.0.0.1/tcp/{nobody}/p2p/{peer}");
    let session = node.stream(json!({ "peers": [gone], "height": 100 })).await;
    let waits = |status: &Value| source(status, &peer.to_string())["state"] == "backing_off";
    node.status_where(session, "the back-off", waits).await;
    add(&node, session, json!({ "peer": provider.address.to_string() })).await;
    whole(&node.complete(session).await);
}

/// A mirror of the configuration, the server's behaviour for its files, and whether the node has discovery.
type Configured = (fn(&Asked, Reply) -> Reply, bool);

#[tokio::test(flavor = "multi_thread")]
async fn beside_the_sources_of_the_configuration_a_node_with_discovery_asks_whoever_offers_it() {
    let copy = mirror();
    let provider = Home::provider().start().await;
    let cases: [Configured; 4] = [
        (|_, _| Reply::status(404), false),
        (|_, _| Reply::status(404), true),
        (|asked, honest| if is_payload(asked) { Reply::status(404) } else { honest }, true),
        (|asked, honest| Reply { hangs: is_payload(asked), ..honest }, true),
    ];
    for (number, (script, has_discovery)) in cases.into_iter().enumerate() {
        let web = Web::start(&copy.folder).await;
        web.now(script);
        let mut home = Home::consumer();
        home.config.sources.mirrors = vec![web.url().parse().unwrap()];
        home.config.discovery.kad = has_discovery;
        home.config.p2p.peers = vec![provider.address.clone()];
        let node = home.start().await;
        let answer = node.request("POST", "/p2p/snapshots", Some(json!({ "height": 100 }))).await;
        let session = match answer.json()["session"].as_u64() {
            Some(session) => session,
            None => node.get("/p2p/snapshots").await[0]["session"].as_u64().unwrap(),
        };
        if !has_discovery {
            let status = node.status_where(session, "the end", |status| status["state"] == "failed").await;
            assert_eq!(status["sources"].as_array().unwrap().len(), 1, "{status}");
            continue;
        }
        let status = node.complete(session).await;
        assert!(fs::read(status["payload_path"].as_str().unwrap()).unwrap() == noise(1, FIRST_BYTES), "{number}");
        let gave = bytes(source(&status, &provider.handle.peer_id().to_string()));
        assert_eq!(gave, FIRST_BYTES as u64, "{number}: {status}");
        assert_eq!(source(&status, &web.url())["kind"], "mirror", "{number}: {status}");
    }
}
