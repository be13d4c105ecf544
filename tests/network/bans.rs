//! Bans: a peer that lies or floods is banned, with evidence; a peer that is merely of no use is not.

#[allow(dead_code)] // made for other binaries
#[path = "../support/process.rs"]
mod process;

use std::time::Duration;

use libp2p::{
    PeerId, StreamProtocol, Swarm, SwarmBuilder,
    futures::StreamExt as _,
    identity::Keypair,
    noise,
    request_response::{self, Event, Message, ProtocolSupport},
    swarm::SwarmEvent,
    tcp, yamux,
};
use rpp_p2p::{
    ErrorCode, SnapshotSessionId, SnapshotsRequest, SnapshotsResponse, json as wire,
    stream::{Wanted, frame},
};
use serde_json::{Value, json};

use self::process::Process;
use crate::support::{
    CHUNK, DEADLINE, Home, Running, eventually, made,
    port::reserved_port,
    rogue::{Plain, Rogue, Said, flipped},
};

/// A provider that lies in one bit of chunk 2.
async fn liar() -> Rogue {
    Rogue::start(|_, mut honest| {
        if let SnapshotsResponse::Chunk { chunk_index: 2, chunk, .. } = &mut honest {
            *chunk = flipped(chunk, 4711);
        }
        honest.into()
    })
    .await
}

async fn bans(node: &Running) -> Vec<Value> {
    node.get("/p2p/bans").await.as_array().unwrap().clone()
}

fn seconds(ban: &Value) -> i64 {
    let at = |field: &str| {
        let format = &time::format_description::well_known::Rfc3339;
        time::OffsetDateTime::parse(ban[field].as_str().unwrap(), format).unwrap()
    };
    (at("until") - at("since")).whole_seconds()
}

async fn metric(node: &Running, name: &str) -> String {
    let text = node.request("GET", "/metrics", None).await.body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// A session with it fails; returns its status.
async fn failed(node: &Running, provider: &Rogue) -> Value {
    let body = json!({ "peer": provider.address.to_string() });
    node.request("POST", "/p2p/snapshots", Some(body)).await;
    let sessions = node.get("/p2p/snapshots").await;
    let session = sessions.as_array().unwrap().iter().find(|one| one["peer"] == provider.peer.to_string()).unwrap();
    let session = session["session"].as_u64().unwrap();
    node.status_where(session, "the failure", |status| status["state"] == "failed").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_is_banned_with_evidence_over_restarts_until_it_is_lifted() {
    let liar = liar().await;
    let home = Home::consumer();
    let node = home.start().await;
    let status = failed(&node, &liar).await;
    let session = status["session"].as_u64().unwrap();
    let banned = eventually("the ban", || async { bans(&node).await.pop() }).await;
    assert_eq!((&banned["source"], &banned["kind"]), (&json!(liar.peer.to_string()), &json!("peer")));
    assert_eq!((seconds(&banned), &banned["count"]), (600, &json!(1)));
    let evidence = &banned["evidence"][0];
    let root = made().first.root.to_string();
    assert_eq!(
        [&evidence["kind"], &evidence["index"], &evidence["session"], &evidence["length"]],
        [&json!("chunk"), &json!(2), &json!(session), &json!(CHUNK)]
    );
    assert_eq!((evidence["expected"].as_str(), &evidence["plan_id"]), (Some(root.as_str()), &status["plan_id"]));
    assert!(evidence["received"].as_str().is_some_and(|hash| hash.len() == 64 && hash != root), "{evidence}");
    // It is banned, and status, start and resume all report that.
    eventually("its connection to end", || async {
        let peers = node.get("/p2p/peers").await;
        peers.as_array().unwrap().is_empty().then_some(())
    })
    .await;
    let start = json!({ "peer": liar.address.to_string() });
    for body in [start, json!({ "resume": { "session": session } })] {
        let answer = node.request("POST", "/p2p/snapshots", Some(body)).await;
        assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("peer_banned")), "{}", answer.body);
        assert!(
            answer.body.contains("banned until") && answer.body.contains("rpp-node bans --lift"),
            "{}",
            answer.body
        );
    }
    let says = |status: &Value, words: &str| {
        status["waiting_on"]["reason"].as_str().is_some_and(|reason| reason.contains(words))
    };
    let is_told = |status: &Value| {
        says(status, "banned until") && says(status, "/p2p/bans/") && says(status, "broke the protocol")
    };
    node.status_where(session, "the ban to be told", is_told).await;
    assert_eq!(metric(&node, "rpp_bans_total{kind=\"peer\",offence=\"chunk\"}").await, "1");
    assert_eq!(metric(&node, "rpp_banned_sources{kind=\"peer\"}").await, "1");
    // The same after a restart.
    node.stop().await;
    let node = home.start().await;
    assert_eq!(bans(&node).await, [banned]);
    node.status_where(session, "the ban to be told", is_told).await;
    // After the ban was lifted, it is asked again.
    liar.now(|_, honest| honest.into());
    let lift = format!("/p2p/bans/{}", liar.peer);
    assert_eq!(node.request("DELETE", &lift, None).await.status, 204);
    let again = node.request("DELETE", &lift, None).await;
    assert_eq!((again.status, &again.json()["code"]), (404, &json!("unknown_ban")));
    assert_eq!(bans(&node).await, Vec::<Value>::new());
    let is_open = |status: &Value| says(status, "{\"resume\"") && !says(status, "banned until");
    node.status_where(session, "a resume to be offered", is_open).await;
    let resumed = node.request("POST", "/p2p/snapshots", Some(json!({ "resume": { "session": session } }))).await;
    assert_eq!(resumed.status, 200, "{}", resumed.body);
    node.complete(session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_a_banned_peer_waits_and_says_so() {
    let rogue = Rogue::start(|request, mut honest| match (request, &mut honest) {
        (SnapshotsRequest::Chunk { chunk_index: 9, .. }, _) => Said::Nothing,
        _ => honest.into(),
    })
    .await;
    let home = Home::consumer();
    let node = home.start().await;
    let waiting = node.stream(json!({ "peer": rogue.address.to_string() })).await;
    node.status_where(waiting, "chunk 9", |status| status["waiting_on"]["index"] == 9).await;
    rogue.now(|request, honest| match request {
        SnapshotsRequest::Plan { .. } => Said::followed(&honest, "and more"),
        _ => honest.into(),
    });
    // Another session with it finds the lie before it knows which payload the chunk belongs to.
    let other = json!({ "peer": rogue.address.to_string(), "height": 100 });
    node.request("POST", "/p2p/snapshots", Some(other)).await;
    let status = node
        .status_where(waiting, "the ban to be said", |status| {
            status["waiting_on"]["reason"].as_str().is_some_and(|reason| reason.contains("banned until"))
        })
        .await;
    assert_eq!((&status["state"], &status["waiting_on"]["what"]), (&json!("backing_off"), &json!("retry")), "{status}");
    let until = &bans(&node).await[0]["until"];
    for wait in [&status["waiting_on"], &status["sources"][0]["waiting_on"]] {
        assert_eq!(&wait["retry_at"], until, "{status}");
    }
    let reason = status["waiting_on"]["reason"].as_str().unwrap();
    assert!(reason.matches("banned").count() == 1 && !reason.contains("cannot be reached"), "{reason}");
    let resume = json!({ "resume": { "session": waiting } });
    let answer = node.request("POST", "/p2p/snapshots", Some(resume)).await;
    assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("peer_banned")));
    // When the ban is lifted, the session goes on by itself.
    rogue.now(|_, honest| honest.into());
    assert_eq!(node.request("DELETE", &format!("/p2p/bans/{}", rogue.peer), None).await.status, 204);
    node.complete(waiting).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_of_no_use_is_not_banned() {
    type Script = fn(&SnapshotsRequest, SnapshotsResponse) -> Said;
    let scripts: [Script; 5] = [
        |request, _| Said::refusal(request, ErrorCode::Busy),
        |request, _| Said::refusal(request, ErrorCode::NotFound),
        |request, _| Said::refusal(request, ErrorCode::Unauthorized),
        |_, honest| Said::half(&honest),
        |_, mut honest| {
            if let SnapshotsResponse::Plan { plan, .. } = &mut honest {
                plan.proof = "another proof system".to_owned();
            }
            honest.into()
        },
    ];
    let home = Home::consumer();
    let node = home.start().await;
    for script in scripts {
        let rogue = Rogue::start(script).await;
        let answer = node.request("POST", "/p2p/snapshots", Some(json!({ "peer": rogue.address.to_string() }))).await;
        let sessions = node.get("/p2p/snapshots").await;
        let of_it = |one: &&Value| one["peer"] == rogue.peer.to_string();
        let session = sessions.as_array().unwrap().iter().find(of_it).unwrap()["session"].as_u64().unwrap();
        node.status_where(session, "its trouble", |status| !status["error"].is_null()).await;
        assert_eq!(bans(&node).await, Vec::<Value>::new(), "{}", answer.body);
    }
    let other = Home::provider_of_other_chain().start().await;
    let answer = node.request("POST", "/p2p/snapshots", Some(json!({ "peer": other.address.to_string() }))).await;
    assert_eq!(answer.json()["code"], "authentication", "{}", answer.body);
    assert_eq!(bans(&node).await, Vec::<Value>::new());
}

type Client = Swarm<request_response::Behaviour<Plain>>;

fn client(identity: &Keypair) -> Client {
    client_by(identity, rpp_p2p::PROTOCOL_V1)
}

/// Over 2.0.0 a "request" is all the frames that it sends.
fn client_by(identity: &Keypair, protocol: &'static str) -> Client {
    let protocols = [(StreamProtocol::new(protocol), ProtocolSupport::Full)];
    SwarmBuilder::with_existing_identity(identity.clone())
        .with_tokio()
        .with_tcp(tcp::Config::new(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| {
            request_response::Behaviour::with_codec(Plain, protocols, request_response::Config::default())
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(DEADLINE))
        .build()
}

/// Asks for a chunk of a session that it never opened. `false`: the connection ended before an answer.
async fn ask_in_vain(client: &mut Client, provider: PeerId) -> bool {
    let request = SnapshotsRequest::Chunk { session_id: SnapshotSessionId::new(7).unwrap(), chunk_index: 0 };
    client.behaviour_mut().send_request(&provider, wire::encode_request(&request));
    loop {
        match client.select_next_some().await {
            SwarmEvent::Behaviour(Event::Message { message: Message::Response { .. }, .. }) => return true,
            SwarmEvent::Behaviour(Event::OutboundFailure { .. }) => return false,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_requests_in_vain_is_banned_at_the_bound_and_not_let_in_again() {
    let home = Home::provider();
    let node = home.start().await;
    let identity = Keypair::generate_ed25519();
    let mut flood = client(&identity);
    flood.dial(node.address.clone()).unwrap();
    let provider = home.peer();
    for _ in 0..rpp_runtime::limits::MAX_REFUSED_REQUESTS {
        assert!(ask_in_vain(&mut flood, provider).await);
    }
    assert_eq!(bans(&node).await, Vec::<Value>::new(), "as many as are borne");
    // The answer may still come before the end.
    let _ = ask_in_vain(&mut flood, provider).await;
    let banned = eventually("the ban", || async { bans(&node).await.pop() }).await;
    assert_eq!(banned["source"], identity.public().to_peer_id().to_string());
    assert_eq!((&banned["evidence"][0]["kind"], seconds(&banned)), (&json!("flood"), 600));
    tokio::time::timeout(DEADLINE, async {
        while flood.is_connected(&provider) {
            flood.select_next_some().await;
        }
    })
    .await
    .unwrap();
    flood.dial(node.address.clone()).unwrap();
    // The handshake may succeed on the client's side; the connection is then closed at once.
    let refused = async {
        loop {
            tokio::select! {
                _ = flood.select_next_some() => {}
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
            if metric(&node, "rpp_banned_connections_refused_total").await == "1" && !flood.is_connected(&provider) {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, refused).await.unwrap();
    // Others are served.
    let mut other = client(&Keypair::generate_ed25519());
    other.dial(node.address.clone()).unwrap();
    assert!(ask_in_vain(&mut other, provider).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_whose_credit_falls_is_banned_and_one_that_wants_too_much_is_not() {
    let home = Home::provider();
    let node = home.start().await;
    let plan = SnapshotsRequest::Plan {
        session_id: SnapshotSessionId::new(7).unwrap(),
        wishes: rpp_p2p::PlanWishes::default(),
    };
    let opening = frame::message(&wire::encode_request(&plan));
    let too_much = Wanted { chunks: vec![0..1, 1_000_000..1_000_001], updates: 0..0 };
    for (breach, offence) in
        [(vec![frame::want(&too_much)], None), (vec![frame::credit(CHUNK), frame::credit(CHUNK - 1)], Some("credit"))]
    {
        let identity = Keypair::generate_ed25519();
        let mut consumer = client_by(&identity, rpp_p2p::PROTOCOL_V2);
        consumer.dial(node.address.clone()).unwrap();
        consumer.behaviour_mut().send_request(&home.peer(), [opening.clone(), breach.concat()].concat());
        // Until its stream has ended.
        let ended = async {
            loop {
                match consumer.select_next_some().await {
                    SwarmEvent::Behaviour(Event::Message { .. } | Event::OutboundFailure { .. })
                    | SwarmEvent::ConnectionClosed { .. } => return,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(DEADLINE, ended).await.unwrap();
        match offence {
            None => assert_eq!(bans(&node).await, Vec::<Value>::new()),
            Some(offence) => {
                let banned = eventually("the ban", || async { bans(&node).await.pop() }).await;
                assert_eq!(banned["source"], identity.public().to_peer_id().to_string());
                assert_eq!(banned["evidence"][0]["kind"], offence, "{banned}");
            }
        }
    }
}

#[test]
fn a_ban_survives_sigkill_and_the_command_line_shows_and_lifts_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let liar = runtime.block_on(liar());
    let mut node = Process::new(&[], reserved_port());
    node.flag(&format!("--trust-genesis={}", made().first.genesis));
    // A configured peer is banned like any other, and the log says so.
    node.flag(&format!("--p2p-peers={}", liar.address));
    node.flag("--snapshots-chunk-size=16384");
    node.start();
    let peer = liar.peer.to_string();
    let body = json!({ "peer": liar.address.to_string() });
    let (_, answer) = node.request("POST", "/p2p/snapshots", Some(&body));
    let session = format!("/p2p/snapshots/{}", crate::harness::json(&answer)["session"]);
    // A session that has not recorded its failure would ask the liar again as soon as the ban is lifted.
    crate::harness::eventually("the failure", || {
        let (_, status) = node.request("GET", &session, None);
        (crate::harness::json(&status)["state"] == "failed").then_some(())
    });
    let shown = crate::harness::eventually("the ban", || {
        let (_, bans) = node.request("GET", "/p2p/bans", None);
        bans.contains(&peer).then_some(bans)
    });
    // The command says what happened, what can be done, and until when the ban lasts.
    let until = serde_json::from_str::<Value>(&shown).unwrap()[0]["until"].as_str().unwrap().to_owned();
    let told = node.place.succeed("status", &[]);
    for words in [
        "chunk 2 does not verify",
        "add another source",
        "--add-mirror URL",
        "removes the session",
        &format!("banned until {until}"),
        "bans --lift",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    node.kill();
    assert!(node.logged().contains("It is one of [p2p] peers"), "{}", node.logged());
    node.start();
    assert_eq!(node.request("GET", "/p2p/bans", None).1, shown);
    let said = node.place.succeed("bans", &[]);
    assert!(said.contains(&peer) && said.contains("chunk 2 does not verify"), "{said}");
    let found: Value = serde_json::from_str(&node.place.succeed("bans", &["--json"])).unwrap();
    assert_eq!(found, serde_json::from_str::<Value>(&shown).unwrap());
    assert!(node.place.succeed("bans", &["--lift", &peer]).contains("lifted"));
    assert!(node.place.fail("bans", &["--lift", &peer]).contains("not banned"));
    node.kill();
    node.start();
    assert_eq!(node.request("GET", "/p2p/bans", None).1, "[]");
}
