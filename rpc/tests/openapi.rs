//! The OpenAPI description agrees with the routes.

use std::collections::BTreeSet;

use crate::node::{PEER, Sessions, full, open, status};
use crate::support::{get, once};
use rpp_p2p::{Hash, Offence, PayloadFormat, limits::MAX_SOURCES};
use rpp_rpc::{OPENAPI, ROUTES, Route, Traffic, openapi_3_0};
use rpp_runtime::{
    SessionState,
    bans::{Ban, BanKind},
    handle::Command,
    limits::{MAX_MIRRORS, MAX_PEERS},
    rates::{LimitsChange, LimitsInForce},
    status::{
        FailureCode, Head, Identity, OfferInfo, OfferedSnapshot, PeerInfo, SourceKind, SourceState, SourceStatus,
        WaitKind,
    },
};
use serde_json::{Value, json};

fn description() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

fn schema<'d>(description: &'d Value, name: &str) -> &'d Value {
    let schema = &description["components"]["schemas"][name];
    assert!(schema.is_object(), "{name}");
    schema
}

fn names<'v>(values: impl IntoIterator<Item = &'v Value>) -> BTreeSet<String> {
    values.into_iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// Without `HEAD` and the load balancers' `OPTIONS`, which would only give each client a second function.
fn methods(route: &Route) -> impl Iterator<Item = &'static str> {
    route.methods.split(", ").filter(|method| !["HEAD", "OPTIONS"].contains(method))
}

#[test]
fn it_has_exactly_the_routes_and_their_methods() {
    let description = description();
    let described = keys(&description["paths"]);
    assert_eq!(described, ROUTES.iter().map(|route| route.path.to_owned()).collect());
    for route in ROUTES {
        let operations = keys(&description["paths"][route.path]);
        assert_eq!(operations, methods(route).map(str::to_ascii_lowercase).collect(), "{}", route.path);
    }
    assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(description["openapi"], "3.1.0");
}

/// Several generators read the description as YAML, whose readers refuse a name that stands twice.
#[test]
fn no_name_stands_twice_in_one_object() {
    struct Once;
    impl<'de> serde::de::DeserializeSeed<'de> for Once {
        type Value = ();
        fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_any(self)
        }
    }
    impl<'de> serde::de::Visitor<'de> for Once {
        type Value = ();
        fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str("JSON")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            let mut seen = BTreeSet::new();
            while let Some(name) = map.next_key::<String>()? {
                map.next_value_seed(Once)?;
                assert!(seen.insert(name.clone()), "{name} stands twice beside {seen:?}");
            }
            Ok(())
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
            while items.next_element_seed(Once)?.is_some() {}
            Ok(())
        }
        fn visit_str<E>(self, _: &str) -> Result<(), E> {
            Ok(())
        }
        fn visit_bool<E>(self, _: bool) -> Result<(), E> {
            Ok(())
        }
        fn visit_u64<E>(self, _: u64) -> Result<(), E> {
            Ok(())
        }
        fn visit_i64<E>(self, _: i64) -> Result<(), E> {
            Ok(())
        }
        fn visit_unit<E>(self) -> Result<(), E> {
            Ok(())
        }
    }
    use serde::de::DeserializeSeed as _;
    Once.deserialize(&mut serde_json::Deserializer::from_str(OPENAPI)).unwrap();
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(description: &Value, value: &Value, seen: &mut usize) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    let path = reference.strip_prefix('#').unwrap();
                    assert!(description.pointer(path).is_some(), "{reference}");
                    *seen += 1;
                }
                fields.values().for_each(|field| walk(description, field, seen));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(description, item, seen)),
            _ => {}
        }
    }
    let mut seen = 0;
    walk(&description(), &description(), &mut seen);
    assert!(seen > 50, "{seen}");
}

/// A peer's row has the runtime's fields and the traffic that is counted elsewhere.
fn with_traffic(mut peer: Value) -> Value {
    let traffic = serde_json::to_value(Traffic { bytes_received: 1, bytes_sent: 2 }).unwrap();
    peer.as_object_mut().unwrap().extend(traffic.as_object().unwrap().clone());
    peer
}

#[test]
fn the_schemas_are_those_of_the_types() {
    let description = description();
    let hash = Hash([1; 32]);
    let snapshot = OfferedSnapshot { root: hash, height: 1, bytes: 1, format: PayloadFormat::Raw };
    let identity = Identity {
        peer_id: PEER.into(),
        listen: vec![],
        genesis: None,
        publishers: vec![],
        snapshots: vec![],
        version: String::new(),
    };
    let head = Head { step: 1, height: 1, block_hash: hash, state_root: hash, commitment: hash };
    let peer = PeerInfo {
        peer_id: PEER.into(),
        connected: true,
        addresses: vec![],
        rtt_ms: None,
        protocols: vec![],
        agent: None,
    };
    let offer = OfferInfo {
        root: hash,
        height: 1,
        step: 1,
        bytes: 1,
        format: PayloadFormat::Raw,
        peers: vec![],
        seen_at: String::new(),
    };
    let ban = json!({
        "source": PEER, "kind": "peer", "since": "2026-11-21T08:00:00Z", "until": "2026-11-21T08:10:00Z", "count": 1,
        "evidence": [{
            "at": "2026-11-21T08:00:00Z", "session": 7, "kind": "chunk", "plan_id": hash, "index": 3, "expected": hash,
            "received": hash, "length": 42, "reason": "chunk 3 does not verify"
        }]
    });
    let read: Ban = serde_json::from_value(ban.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), ban, "nothing is left out");
    let full = serde_json::to_value(full(7)).unwrap();
    for (name, value) in [
        ("SnapshotStreamStatus", full.clone()),
        ("WaitingOn", full["waiting_on"].clone()),
        ("SourceStatus", full["sources"][0].clone()),
        ("PeerInfo", with_traffic(serde_json::to_value(peer).unwrap())),
        ("Identity", serde_json::to_value(identity).unwrap()),
        ("OfferInfo", serde_json::to_value(offer).unwrap()),
        ("OfferedSnapshot", serde_json::to_value(snapshot).unwrap()),
        ("Head", serde_json::to_value(head).unwrap()),
        ("Limits", serde_json::to_value(LimitsInForce::default()).unwrap()),
        ("LimitsChange", serde_json::to_value(LimitsChange::default()).unwrap()),
        ("Ban", ban.clone()),
        ("BanEvidence", ban["evidence"][0].clone()),
    ] {
        assert_eq!(keys(&schema(&description, name)["properties"]), keys(&value), "{name}");
    }
    let empty = status(7, SessionState::Connecting).with(|status| status.peer = None);
    let empty = serde_json::to_value(empty).unwrap();
    let required = names(schema(&description, "SnapshotStreamStatus")["required"].as_array().unwrap());
    assert_eq!(required, keys(&empty), "required is what is always there");
    let source: SourceStatus = serde_json::from_value(full["sources"][0].clone()).unwrap();
    let source = source.with(|source| {
        source.protocol = None;
        source.verified_bytes_per_second = None;
        source.rtt_ms = None;
        source.window_bytes = None;
    });
    let required = names(schema(&description, "SourceStatus")["required"].as_array().unwrap());
    assert_eq!(required, keys(&serde_json::to_value(source).unwrap()));
    let start = &schema(&description, "Start")["properties"];
    assert_eq!((&start["peers"]["maxItems"], &start["mirrors"]["maxItems"]), (&json!(MAX_PEERS), &json!(MAX_MIRRORS)));
    assert_eq!(schema(&description, "SnapshotStreamStatus")["properties"]["sources"]["maxItems"], MAX_SOURCES);
}

#[test]
fn the_words_are_those_of_the_types() {
    fn of<T: serde::de::DeserializeOwned>(words: &Value) -> usize {
        let words = words["enum"].as_array().unwrap();
        for word in words.iter().filter(|word| !word.is_null()) {
            assert!(serde_json::from_value::<T>(word.clone()).is_ok(), "{word}");
        }
        words.iter().filter(|word| !word.is_null()).count()
    }
    let description = description();
    let status = &schema(&description, "SnapshotStreamStatus")["properties"];
    assert_eq!(of::<SessionState>(&status["state"]), 8);
    assert_eq!(of::<FailureCode>(schema(&description, "ErrorCode")), 10);
    assert_eq!(of::<WaitKind>(&schema(&description, "WaitingOn")["properties"]["what"]), 12);
    let source = &schema(&description, "SourceStatus")["properties"];
    assert_eq!(of::<SourceState>(&source["state"]), SourceState::ALL.len());
    assert_eq!(of::<SourceKind>(&source["kind"]), SourceKind::ALL.len());
    assert_eq!(of::<PayloadFormat>(schema(&description, "Format")), 2);
    assert_eq!(of::<BanKind>(&schema(&description, "Ban")["properties"]["kind"]), 2);
    let offences = &schema(&description, "BanEvidence")["properties"]["kind"];
    assert_eq!(of::<Offence>(offences), Offence::ALL.len());
}

/// Calls each operation in several ways. Every answer, and its media type, must be in the description.
#[tokio::test]
async fn what_comes_back_is_described() {
    let description = description();
    let sessions = Sessions::default();
    sessions.put(full(7));
    let played = sessions.clone();
    let port = open(move |command| match command {
        Command::Identity(reply) => {
            let identity = Identity {
                peer_id: PEER.into(),
                listen: vec![],
                genesis: None,
                publishers: vec![],
                snapshots: vec![],
                version: "0.1.0".into(),
            };
            drop(reply.send(Ok(identity)));
        }
        other => played.play(other),
    });
    let mut tried = BTreeSet::new();
    for route in ROUTES {
        for method in methods(route) {
            // Another route may have removed it.
            sessions.put(full(7));
            let body = json!({ "peer": PEER }).to_string();
            assert_eq!(port.ask("POST", "/p2p/snapshots/7/sources", &body).await.status, 200);
            for (session, body) in [("8", ""), ("x", ""), ("7", "{\"resume\":{\"session\":7}}"), ("7", "")] {
                if route.path.ends_with("/events") && session == "7" {
                    continue; // never ends; `tests/events.rs` reads it
                }
                let path = route
                    .path
                    .replace("{session}", session)
                    .replace("{source}", if session == "x" { session } else { PEER });
                let answers = [
                    port.ask(method, &path, body).await,
                    once(port.address, get(&path).replace("GET", method)).await,
                    once(port.address, get(&path).replace("GET", method).replace("localhost", "evil.example")).await,
                ];
                for answer in answers {
                    let operation = &description["paths"][route.path][method.to_ascii_lowercase()];
                    let described = &operation["responses"][answer.status.to_string()];
                    assert!(described.is_object(), "{method} {path}: {}", answer.status);
                    if let Some(found) = answer.header("content-type") {
                        assert!(described["content"][found].is_object(), "{method} {path}: {found}");
                    }
                    tried.insert((route.path, method, answer.status));
                }
            }
        }
    }
    for expected in [
        ("/p2p/snapshots", "POST", 200),
        ("/p2p/snapshots", "POST", 400),
        ("/p2p/snapshots/{session}", "DELETE", 204),
        ("/p2p/snapshots/{session}", "GET", 404),
        ("/p2p/snapshots/{session}/sources", "POST", 400),
        ("/p2p/snapshots/{session}/sources/{source}", "DELETE", 200),
        ("/p2p/head", "GET", 404),
        ("/readyz", "GET", 200),
        ("/metrics", "GET", 401),
    ] {
        assert!(tried.contains(&expected), "{expected:?}");
    }
    let served = port.get("/openapi.json").await;
    assert_eq!(served.json(), description);
    let older = port.get("/openapi-3.0.json").await;
    assert_eq!(older.text(), openapi_3_0());
    assert_eq!(description["paths"]["/healthz"]["get"]["security"], json!([]));
}

#[test]
fn a_stream_of_events_is_text() {
    let description = description();
    let answer = &description["paths"]["/p2p/snapshots/{session}/events"]["get"]["responses"]["200"];
    assert_eq!(answer["content"]["text/event-stream"]["schema"]["type"], "string");
    for word in ["SnapshotStreamStatus", "`end`", "cancelled", "shutdown"] {
        assert!(answer["description"].as_str().unwrap().contains(word), "{word}");
    }
    assert_eq!(description["info"]["license"]["identifier"], "MIT OR Apache-2.0");
    assert!(description["servers"][0]["url"].is_string());
}

#[test]
fn the_3_0_copy_has_nothing_that_only_3_1_knows() {
    fn walk(value: &Value, nullable: &mut usize) {
        match value {
            Value::Object(fields) => {
                assert!(!fields.contains_key("const"), "{fields:?}");
                assert!(fields.get("type").is_none_or(|kind| kind.is_string() && kind != "null"), "{fields:?}");
                let may_be_null = fields.get("nullable") == Some(&Value::Bool(true));
                assert!(!may_be_null || fields.contains_key("type"), "3.0 reads it beside a type only: {fields:?}");
                *nullable += usize::from(may_be_null);
                fields.values().for_each(|field| walk(field, nullable));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, nullable)),
            _ => {}
        }
    }
    let older: Value = serde_json::from_str(openapi_3_0()).unwrap();
    assert_eq!(older["openapi"], "3.0.3");
    assert!(older["info"]["license"].get("identifier").is_none());
    let mut nullable = 0;
    walk(&older, &mut nullable);
    assert!(nullable >= 7, "{nullable}");
    assert_eq!(keys(&older["paths"]), keys(&description()["paths"]));
    let status = &older["components"]["schemas"]["SnapshotStreamStatus"]["properties"];
    let waiting = &older["components"]["schemas"]["WaitingOn"];
    assert_eq!(status["waiting_on"]["properties"], waiting["properties"]);
    assert_eq!((&status["waiting_on"]["type"], &status["waiting_on"]["nullable"]), (&json!("object"), &json!(true)));
    assert_eq!(
        status["error_code"]["enum"].as_array().unwrap().last(),
        Some(&Value::Null),
        "an enumeration names null"
    );
}
